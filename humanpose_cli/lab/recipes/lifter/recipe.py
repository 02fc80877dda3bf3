"""`hpc train lifter`: from landmarks in the image to joints in metres. Needs no dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.core.options import Options, option
from humanpose_cli.geometry.similarity import procrustes_align
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions
from humanpose_cli.lab.recipes.lifter.examples import (
    CameraRanges,
    DetectionErrors,
    LifterBatch,
    lifter_batch,
    pose_pool,
)
from humanpose_cli.lab.train.recipe import Phase, Recipe, TrainOptions, moved
from humanpose_cli.models.lifter.metric import (
    LIFTED_JOINTS,
    MIRRORED_POINTS,
    MODEL,
    LifterNetwork,
    LifterOptions,
    NormalisedRays,
    lifter_config,
)
from humanpose_cli.networks.weights import fill, find_weights, read_weights

_JOINT_COUNT = len(LIFTED_JOINTS)
_LIMBS = slice(LIFTED_JOINTS.index("left_hip"), _JOINT_COUNT)
_LOW_FAMILIES = ("crouching", "kneeling", "chair", "floor", "crawling", "lying")
_SIGMA_SHARE = 0.6827  # share of normally distributed errors within their σ
_LANDMARK_WEIGHT = 0.4  # weight of a landmark in the loss; a joint has 1
_ERROR_WEIGHT = 5.0  # weight in the loss of the mean error in metres; the likelihood has 1


@dataclass(frozen=True)
class LifterTraining(Options):
    """Options of the lifter's training."""

    network: LifterOptions = option(LifterOptions(), "The network.")
    poses: int = option(120_000, "Number of posed bodies in the pool that batches are drawn from.", minimum=1)
    learning_rate: float = option(1e-3, "Learning rate of Adam.", above=0)
    start: str = option("", "Initial weights from another run.", unset="random weights")
    held_out: int = option(
        4096, "Number of validation poses from held-out activities; half of them calibrate the noise.", minimum=2
    )


LIFTER_PRESETS: Mapping[str, tuple[LifterTraining, TrainOptions]] = {
    "small": (
        LifterTraining(),
        TrainOptions(
            steps=24_000,
            batch_size=1024,
            workers=0,
            clip=1.0,
            average=0.999,
            decay=1.0,
            validate_every=500,
            log_every=100,
        ),
    ),
}
"""`small`: 0.5 million parameters, half an hour on one thread."""


@dataclass(frozen=True)
class _Batches:
    """Makes complete batches from the pool of (count, seed) poses."""

    poses: int
    seed: int
    size: int
    library: Path | None

    def __call__(self, number: int, random: np.random.Generator) -> LifterBatch:
        pool = pose_pool(self.poses, self.seed, "train", self.library)
        return lifter_batch(pool, pool.draw(self.size, random), random, CameraRanges(), DetectionErrors())


class LifterRecipe(Recipe[LifterBatch]):
    """Laplace likelihood of joints and landmarks, evaluated on held-out activities with detection errors.

    Args:
        data: File of the pose library. None means the library that comes with the package.
        options: Options of the training.
        seed: Seed of the weights and of the training poses.

    Raises:
        InputError: If the file is damaged or of another kind.
    """

    name, criterion = MODEL, "pa_mpjpe_mm"
    model: LifterNetwork

    def __init__(self, data: Path | str | None = None, options: LifterTraining | None = None, *, seed: int = 0) -> None:
        self.options, self.seed = options or LifterTraining(), seed
        self.library = None if data is None else Path(data)
        pose_library(self.library)  # raises now if it is another file
        poses = {"count": self.options.held_out // 2, "unit": "poses"}
        self.validation_data = {**poses, "data": "held-out activities of the pose library"}
        torch.manual_seed(seed)
        self.model = LifterNetwork(self.options.network)
        if self.options.start:
            path = find_weights(self.options.start)
            fill(self.model, read_weights(path, MODEL)[0], path)

    def phases(self) -> Sequence[Phase]:
        return [Phase("lift", list(self.model.parameters()), self.options.learning_rate, (0.9, 0.98))]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        make = _Batches(self.options.poses, self.seed, options.batch_size, self.library)
        if options.workers:
            # Before the workers are forked, which then share it.
            pose_pool(make.poses, make.seed, "train", self.library)
        numbers = range(500 * options.world_size)  # steps of an epoch
        return BatchLoader(numbers, make, replace(options, batch_size=1), collate=itemgetter(0))

    def losses(self, phase: str, batch: LifterBatch) -> Mapping[str, Tensor]:
        points, noise = self.model(batch.rays)
        return lifter_loss(points, noise, batch.points)

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return the errors on held-out poses.

        Returns:
            pa_mpjpe_mm: mean error of the limbs' twelve joints after Procrustes alignment; pa_low_mm: the same for
            people who sit, crouch or lie; pa_true_2d_mm: the same for true landmarks; mpjpe_mm: mean error of all
            joints relative to the pelvis; within_sigma: share of the errors within the predicted σ.
        """
        calibration_rows = slice(0, None, 2)
        evaluation_rows = slice(1, None, 2)
        lifts = self._lifted(self._held_out.detected, batch_size)
        self.model.calibration.copy_(_calibration(lifts.rows(calibration_rows)))
        lifts = lifts.rows(evaluation_rows)
        clean = self._lifted(self._held_out.clean, batch_size).rows(evaluation_rows)
        low = torch.tensor([family in _LOW_FAMILIES for family in self._held_out.family])[evaluation_rows]
        errors = 1000 * lifts.aligned()
        return {
            "pa_mpjpe_mm": float(errors.mean()),
            "pa_low_mm": float(errors[low].mean()),
            "pa_true_2d_mm": float(1000 * clean.aligned().mean()),
            "mpjpe_mm": float(1000 * (lifts.points - lifts.truth)[:, :_JOINT_COUNT].norm(dim=-1).mean()),
            "within_sigma": float(lifts.within(self.model.calibration.cpu())),
        }

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return self.model.state_dict(), lifter_config(self.options.network)

    def describe(self) -> Mapping[str, Any]:
        shares = "held-out activities of the pose library and of the key poses"
        data = f"posed bodies, not rendered; {len(pose_library(self.library)):,} frames of tools/build_pose_library.py"
        return {"data": data, "evaluated_on": shares, "recipe": asdict(self.options)}

    @cached_property
    def _held_out(self) -> _HeldOut:
        """The held-out poses, which do not depend on the seed of the run."""
        count = self.options.held_out
        pool = pose_pool(count, 1, "held_out", self.library)
        random = np.random.default_rng(1)
        rows = pool.draw(count, random)
        with_errors = lifter_batch(pool, rows, random, CameraRanges(), DetectionErrors())
        clean = lifter_batch(pool, rows, random, CameraRanges(), None)
        return _HeldOut(with_errors, clean, tuple(pool.family[row] for row in rows))

    def _lifted(self, batch: LifterBatch, size: int) -> _Lifted:
        points: list[Tensor] = []
        noise: list[Tensor] = []
        for start in range(0, len(batch.points), size):
            rays = NormalisedRays._make(values[start : start + size] for values in batch.rays)
            for values, parts in zip(self.model.symmetric(moved(rays, self.device)), (points, noise), strict=True):
                parts.append(values.cpu())
        return _Lifted(torch.cat(points), torch.cat(noise), batch.points)


class _HeldOut(NamedTuple):
    """The same examples with and without detection errors."""

    detected: LifterBatch
    clean: LifterBatch
    family: tuple[str, ...]


class _Lifted(NamedTuple):
    """Predicted points (N, 47, 3), their log noise (N, 47, 2), and the truth (N, 47, 3)."""

    points: Tensor
    noise: Tensor
    truth: Tensor

    def rows(self, index: slice) -> _Lifted:
        return _Lifted._make(values[index] for values in self)

    def aligned(self) -> Tensor:
        """Return (N,) metres, the mean error of the limbs' joints after Procrustes alignment."""
        aligned = procrustes_align(self.points[:, _LIMBS], self.truth[:, _LIMBS])
        return (aligned - self.truth[:, _LIMBS]).norm(dim=-1).mean(1)

    def scaled(self) -> tuple[Tensor, Tensor]:
        """Divide errors by the predicted noise: lateral (2 N, 47) and radial (N, 47), along the centre ray."""
        errors = (self.points - self.truth).abs()
        lateral, radial = self.noise.exp().unbind(-1)
        return (errors[..., :2] / lateral[..., None]).movedim(2, 1).flatten(0, 1), errors[..., 2] / radial

    def within(self, calibration: Tensor) -> Tensor:
        """Return the share of all errors within their σ."""
        lateral, radial = self.scaled()
        return torch.cat((lateral < calibration[:, 0], radial < calibration[:, 1])).float().mean()


def _calibration(lifts: _Lifted) -> Tensor:
    """Return (47, 2) the ratio of σ and predicted noise, the same for the left and the right side."""
    mirrored = [torch.cat((errors, errors[:, MIRRORED_POINTS])) for errors in lifts.scaled()]
    return torch.stack([torch.quantile(errors, _SIGMA_SHARE, dim=0) for errors in mirrored], -1)


def lifter_loss(points: Tensor, noise: Tensor, truth: Tensor) -> Mapping[str, Tensor]:
    """Compute the negative log-likelihood under Laplace distributions, and the mean error.

    Args:
        points: (B, 47, 3) float, metres. The predicted points.
        noise: (B, 47, 2) float. Logarithms of the predicted scales, lateral and along the centre ray.
        truth: (B, 47, 3) float, metres. The true points.

    Returns:
        loss: the loss; error_mm: the mean error of the joints.
    """
    error = points - truth
    lateral = (error[..., :2].square().sum(-1) + 1e-8).sqrt()
    radial = (error[..., 2].square() + 1e-8).sqrt()
    likelihood = lateral * (-noise[..., 0]).exp() + 2 * noise[..., 0] + radial * (-noise[..., 1]).exp() + noise[..., 1]
    distance = (error.square().sum(-1) + 1e-8).sqrt()
    weight = points.new_full((points.shape[1],), _LANDMARK_WEIGHT)
    weight[:_JOINT_COUNT].fill_(1.0)  # an assignment would synchronise with the GPU
    weight = weight / weight.sum()
    loss = ((likelihood + _ERROR_WEIGHT * distance) * weight).sum(1).mean()
    return {"loss": loss, "error_mm": 1000 * distance[:, :_JOINT_COUNT].mean().detach()}
