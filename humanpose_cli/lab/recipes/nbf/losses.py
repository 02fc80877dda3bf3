"""Losses of Neural Body Fitting (section 3.3 and appendix B), each over the samples that have its labels.

Predictions have hats; R are a sample's 24 part rotations, β its shape, J joints in metres and π J their projection in
units of half the crop:

    L_lat = Σ |R̂ − R| + Σ |β̂ − β|       equation 6
    L_3D  = Σ |Ĵ − J|²                   equation 7
    L_2D  = 24 mean |π Ĵ − π J|²         equation 8, over the labelled joints
    L_σ   = mean |e| / σ + log σ         e are the joints' errors across and along the line of sight relative to the
                                         pelvis, which is left out; the network predicts σ

Each is summed over the batch's samples with labels and divided by the batch's size, so that a sample without labels
counts as zero (equation 9). With `of_labelled`, L_lat and L_3D are divided by the number of samples with labels, as in
the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.models.nbf.body import BodyLayer, BodyParameters

_SEED = 0  # decides which samples keep their 3-D labels
_NOT_PELVIS = [row for row, parent in enumerate(SMPL24.parents) if parent >= 0]


@dataclass(frozen=True)
class LossOptions(Options):
    """Weights of the losses, and the labels that they use."""

    latent: float = option(1.0, "Weight of L_lat.", minimum=0)
    points3d: float = option(0.0, "Weight of L_3D.", minimum=0)
    points2d: float = option(0.0, "Weight of L_2D.", minimum=0)
    noise: float = option(0.0, "Weight of L_σ.", minimum=0)
    fraction_3d: float = option(
        1.0,
        "Fraction of the samples that keep their 3-D labels (parameters and joints in space).",
        minimum=0,
        maximum=1,
    )
    extra_2d: bool = option(
        True, "Keep the 2-D labels of the other samples (the paper's Table 4) instead of dropping them (its control)."
    )
    of_labelled: bool = option(False, "Average L_lat and L_3D over those samples of a batch that have 3-D labels.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.latent or self.points3d or self.points2d or self.noise):
            raise UsageError("loss weights", "are all 0", expected="one above 0")

    @property
    def needs_parameters(self) -> bool:
        """Whether a loss needs poses and shapes as labels."""
        return self.latent > 0 or self.points3d > 0 or self.noise > 0


def keeps_3d(row: int, options: LossOptions) -> bool:
    """Return whether a sample keeps its 3-D labels: the same in every epoch, run and process.

    The samples of a smaller fraction are a subset of a larger fraction's.

    Args:
        row: Row in the people table.
        options: Options with the fraction.
    """
    return bool(np.random.default_rng((_SEED, 3, row)).random() < options.fraction_3d)


def nbf_losses(
    estimate: BodyParameters, batch: Mapping[str, Tensor], layer: BodyLayer, options: LossOptions
) -> dict[str, Tensor]:
    """Compute the losses of a batch.

    Args:
        estimate: Predictions for B samples.
        batch: Labels of B samples; unknown values may be NaN. betas (B, 10); rotations (B, 24, 3, 3); has_3d (B,)
            bool, whether these are known and may be used; joints2d (B, 24, 3) x, y in units of half the crop, and 1
            for labelled joints.
        layer: The body.
        options: Weights of the losses.

    Returns:
        loss: the weighted sum; and its unweighted terms.
    """
    has_3d = batch["has_3d"]
    # Unknown labels are replaced, not multiplied by zero: NaN times zero is NaN.
    betas = torch.where(has_3d[:, None], batch["betas"], estimate.betas.detach())
    rotations = torch.where(has_3d[:, None, None, None], batch["rotations"], estimate.rotations.detach())
    count = has_3d.sum().clamp_min(1) if options.of_labelled else len(has_3d)
    terms: dict[str, Tensor] = {}
    weights = {"latent": options.latent, "points3d": options.points3d, "points2d": options.points2d}
    if options.latent:
        # Equation 6.
        rotation_errors = (estimate.rotations - rotations).abs().flatten(1).sum(1)
        terms["latent"] = (rotation_errors + (estimate.betas - betas).abs().sum(1)).sum() / count
    if options.points3d or options.points2d or options.noise:
        joints = layer(estimate.betas, estimate.rotations)
        with torch.no_grad():
            true = layer(betas, rotations)
        if options.points3d:
            errors = (joints - true).square().sum(-1).mean(1)  # (B,), equation 7 over 24
            terms["points3d"] = len(SMPL24) * (errors * has_3d).sum() / count
        if options.points2d:
            terms["points2d"] = _projected(layer.project(joints), batch["joints2d"])
        if options.noise and estimate.log_noise is not None:
            terms["noise"] = _noise(estimate.log_noise, (joints - true).detach(), has_3d)
            weights["noise"] = options.noise
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return {"loss": total, **terms}


def _projected(points: Tensor, labels: Tensor) -> Tensor:
    """Compute L_2D of projected joints (B, 24, 2) and their labels (B, 24, 3)."""
    label_mask = labels[..., 2] > 0
    goals = torch.where(label_mask[..., None], labels[..., :2], points.detach())
    errors = (points - goals).square().sum(-1).sum(1) / label_mask.sum(1).clamp_min(1)
    return len(SMPL24) * errors.mean()


def _noise(log_noise: Tensor, error: Tensor, has_3d: Tensor) -> Tensor:
    """Compute L_σ of predicted log σ (B, 24, 2) and the joints' errors (B, 24, 3) in metres."""
    # The pelvis has no error by definition; its predicted noise would shrink without limit.
    error = error[:, _NOT_PELVIS]
    log_noise = log_noise[:, _NOT_PELVIS]
    split = torch.stack((torch.linalg.vector_norm(error[..., :2], dim=-1), error[..., 2].abs()), -1)
    return ((split * (-log_noise).exp() + log_noise).flatten(1).mean(1) * has_3d).mean()
