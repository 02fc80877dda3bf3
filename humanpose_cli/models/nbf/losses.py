"""The losses of Neural Body Fitting (section 3.3 and appendix B), each over the samples that have its labels.

With predictions hatted, R a sample's 24 part rotations, β its shape, J points in metres and π J their projection in
units of half the crop:

    L_lat = Σ ρ(R̂ − R) + Σ ρ(β̂ − β)     equation 6; ρ the absolute value or one of the appendix's others
    L_3D  = 24 mean |Ĵ − J|²             equation 7; the mean makes 24 joints, 91 landmarks and a mesh alike
    L_2D  = 24 mean |π Ĵ − π J|²         equation 8; over the points that are labelled
    L_σ   = mean |e| / σ + log σ         e the joints' errors across and along the line of sight, σ told by the network;
                                         not of the pelvis, which the errors are relative to

each summed over the batch's samples with labels and divided by the batch's size, so that a sample without labels
counts as zero (equation 9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.models.nbf.body import BodyLayer, BodyParameters, PointSet

__all__ = ["LossOptions", "Robust", "Targets", "keeps_3d", "nbf_losses", "robust"]

Robust = Literal["l1", "l2", "geman-mcclure", "tukey"]
_KINDS = ("l1", "l2", "geman-mcclure", "tukey")
_MOVING = [row for row, parent in enumerate(SMPL24.parents) if parent >= 0]
_POINTS = ("joints", "landmarks", "vertices")


@dataclass(frozen=True)
class LossOptions:
    """Weights of the losses, 0 for none, and what they see.

    latent, points3d, points2d, noise  weights of L_lat, L_3D, L_2D and L_σ
    robust        ρ of L_lat, and its scale (no meaning for l1 and l2)
    points        what L_3D and L_2D compare
    fraction_3d   share of the samples that keep their 3-D labels (parameters and joints in space)
    extra_2d      whether the others keep their 2-D labels (the paper's Table 4) or are of no use (its control)
    seed          which samples keep them
    """

    latent: float = 1.0
    points3d: float = 0.0
    points2d: float = 0.0
    noise: float = 0.0
    robust: Robust = "l1"
    scale: float = 0.5
    points: PointSet = "joints"
    fraction_3d: float = 1.0
    extra_2d: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        weights = (self.latent, self.points3d, self.points2d, self.noise)
        if min(weights) < 0 or max(weights) == 0:
            raise UsageError("loss weights", "leave nothing to learn", expected="0 or more, one above 0")
        if self.robust not in _KINDS:
            raise UsageError("robust loss", "is not known", expected=", ".join(_KINDS), got=self.robust)
        if self.points not in _POINTS:
            raise UsageError("points of the loss", "are not known", expected=", ".join(_POINTS), got=self.points)
        if not 0 <= self.fraction_3d <= 1 or self.scale <= 0:
            raise UsageError("loss options", "are out of range", expected="fraction_3d 0 to 1, scale above 0")

    @property
    def needs_parameters(self) -> bool:
        """Whether poses and shapes are needed as labels."""
        return self.latent > 0 or self.points3d > 0 or self.noise > 0 or self.points != "joints"


@dataclass(frozen=True)
class Targets:
    """Labels of B samples; what is not known may hold any number, NaN included.

    betas (B, 10), rotations (B, 24, 3, 3)
    has_3d    (B,) bool: whether these are known and may be used
    joints2d  (B, 24, 3) x, y in units of half the crop, and 1 where labelled
    """

    betas: Tensor
    rotations: Tensor
    has_3d: Tensor
    joints2d: Tensor

    @classmethod
    def of_batch(cls, batch: Mapping[str, Any]) -> Targets:
        """From a loader's batch with these names."""
        return cls(batch["betas"], batch["rotations"], batch["has_3d"], batch["joints2d"])


def keeps_3d(row: int, options: LossOptions) -> bool:
    """Whether the sample of that row keeps its 3-D labels: the same in every epoch, run and process.

    A smaller fraction's samples are among a larger one's.
    """
    return bool(np.random.default_rng((options.seed, 3, row)).random() < options.fraction_3d)


def robust(difference: Tensor, kind: Robust, scale: float) -> Tensor:
    """ρ of each element. Geman-McClure: s² x² / (x² + s²); Tukey: s²/6 (1 − (1 − x²/s²)³), s²/6 beyond s."""
    if kind == "l1":
        return difference.abs()
    squared = difference.square()
    if kind == "l2":
        return squared
    share = squared / scale**2
    if kind == "geman-mcclure":
        return squared / (1 + share)
    return scale**2 / 6 * (1 - (1 - share).clamp_min(0) ** 3)


def nbf_losses(found: BodyParameters, targets: Targets, layer: BodyLayer, options: LossOptions) -> dict[str, Tensor]:
    """`loss`, the weighted sum, and each of its terms unweighted: scalars."""
    known = targets.has_3d
    # Unknown labels are replaced, not multiplied by zero: NaN times zero is NaN.
    betas = torch.where(known[:, None], targets.betas, found.betas.detach())
    rotations = torch.where(known[:, None, None, None], targets.rotations, found.rotations.detach())
    terms: dict[str, Tensor] = {}
    weights = {"latent": options.latent, "points3d": options.points3d, "points2d": options.points2d}
    if options.latent:
        terms["latent"] = _latent(found, betas, rotations, options)
    if options.points3d or options.points2d or options.noise:
        placed = layer(found.betas, found.rotations, options.points)
        with torch.no_grad():
            true = layer(betas, rotations, options.points)
        if options.points3d:
            apart = (placed.points - true.points).square().sum(-1).mean(1)
            terms["points3d"] = len(SMPL24) * (apart * known).mean()
        if options.points2d:
            terms["points2d"] = _projected(placed.points, true.points, targets, layer, options)
        if options.noise and found.log_noise is not None:
            terms["noise"] = _noise(found.log_noise, (placed.joints - true.joints).detach(), known)
            weights["noise"] = options.noise
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return {"loss": total, **terms}


def _latent(found: BodyParameters, betas: Tensor, rotations: Tensor, options: LossOptions) -> Tensor:
    turned = robust(found.rotations - rotations, options.robust, options.scale).flatten(1).sum(1)
    shaped = robust(found.betas - betas, options.robust, options.scale).sum(1)
    return (turned + shaped).mean()


def _projected(points: Tensor, true: Tensor, targets: Targets, layer: BodyLayer, options: LossOptions) -> Tensor:
    """L_2D: joints are compared with their labels in the image, other points with the true body's."""
    seen = layer.project(points)
    if options.points == "joints":
        labelled = targets.joints2d[..., 2] > 0
        wanted = torch.where(labelled[..., None], targets.joints2d[..., :2], seen.detach())
    else:
        labelled = (targets.joints2d[..., 2] > 0).any(1)[:, None].expand(seen.shape[:2])
        wanted = torch.where(labelled[..., None], layer.project(true), seen.detach())
    apart = (seen - wanted).square().sum(-1).sum(1) / labelled.sum(1).clamp_min(1)
    return len(SMPL24) * apart.mean()


def _noise(log_noise: Tensor, error: Tensor, known: Tensor) -> Tensor:
    # The pelvis is where it is by definition; its noise would shrink without end.
    error, log_noise = error[:, _MOVING], log_noise[:, _MOVING]
    split = torch.stack((torch.linalg.vector_norm(error[..., :2], dim=-1), error[..., 2].abs()), -1)
    told = (split * (-log_noise).exp() + log_noise).flatten(1).mean(1)
    return (told * known).mean()
