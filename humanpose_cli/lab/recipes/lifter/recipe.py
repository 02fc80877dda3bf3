"""`hpc train lifter`: from landmarks in the image to joints in metres. Needs no dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.geometry.similarity import procrustes_align
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions
from humanpose_cli.lab.recipes.lifter.examples import (
    CameraRanges,
    DetectionErrors,
    LifterBatch,
    PosePool,
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

_JOINTS = len(LIFTED_JOINTS)
_LIMBS = slice(LIFTED_JOINTS.index("left_hip"), _JOINTS)
_LOW = ("crouching", "kneeling", "chair", "floor", "crawling", "lying")
_WITHIN = 0.6827  # of normally distributed errors lie within their σ
_LANDMARK_WEIGHT = 0.4  # of a landmark in the loss, against 1 of a joint
_PLAIN = 5.0  # weight of the mean error in metres beside the likelihood


@dataclass(frozen=True)
class LifterTraining(Options):
    """What is learned and from what."""

    network: LifterOptions = option(LifterOptions(), "The network.")
    poses: int = option(120_000, "Number of posed bodies in the pool that batches are drawn from.", minimum=1)
    epoch: int = option(500, "Steps of one epoch of the loop.", minimum=1)
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
            precision="mixed",
            clip=1.0,
            average=0.999,
            decay=1.0,
            validate_every=500,
            log_every=100,
        ),
    ),
}
"""`small`: 0.5 million parameters, half an hour on one thread."""


def _training_poses(options: LifterTraining, seed: int) -> PosePool:
    return pose_pool(options.poses, seed, "train")


class _Batches:
    """Makes whole batches by their number."""

    def __init__(self, options: LifterTraining, size: int, seed: int) -> None:
        self.options, self.size, self.seed = options, size, seed

    def __call__(self, number: int, random: np.random.Generator) -> LifterBatch:
        pool = _training_poses(self.options, self.seed)
        return lifter_batch(pool, pool.draw(self.size, random), random, CameraRanges(), DetectionErrors())


def _only(batches: list[LifterBatch]) -> LifterBatch:
    return batches[0]


class LifterRecipe(Recipe[LifterBatch]):
    """Laplace likelihood of joints and landmarks, evaluated on held-out activities with detection errors."""

    name, criterion = MODEL, "pa_mpjpe_mm"
    model: LifterNetwork

    def __init__(self, data: Path | str | None = None, options: LifterTraining | None = None, *, seed: int = 0) -> None:
        if data is not None:
            raise UsageError("data", "is of no use: the lifter makes its own examples", got=str(data))
        self.options, self.seed = options or LifterTraining(), seed
        poses = {"count": self.options.held_out // 2, "unit": "poses"}
        self.validation_data = {**poses, "data": "held-out activities of the pose library"}
        torch.manual_seed(seed)
        self.model = LifterNetwork(self.options.network)
        if self.options.start:
            path = find_weights(self.options.start)
            fill(self.model, read_weights(path, MODEL)[0], path)

    def phases(self) -> Sequence[Phase]:
        o = self.options
        return [Phase("lift", list(self.model.parameters()), o.learning_rate, (0.9, 0.98))]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        make = _Batches(self.options, options.batch_size, self.seed)
        if options.workers:
            _training_poses(self.options, self.seed)  # before they are forked, which then share it
        numbers = range(self.options.epoch * options.world_size)
        return BatchLoader(numbers, make, replace(options, batch_size=1), collate=_only)

    def losses(self, phase: str, batch: LifterBatch) -> Mapping[str, Tensor]:
        points, noise = self.model(batch.rays)
        return lifter_loss(points, noise, batch.points)

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return errors in mm of the limbs' twelve joints after Procrustes alignment (of all, of seated, crouching and
        lying people, and with true landmarks) and of all joints about the pelvis; share of errors within their σ.
        """
        rows = self._held_out
        of_calibration, of_evaluation = slice(0, None, 2), slice(1, None, 2)
        lifts = self._lifted(rows.detected, batch_size)
        self.model.calibration.copy_(_calibration(lifts.rows(of_calibration)))
        lifts = lifts.rows(of_evaluation)
        clean = self._lifted(rows.clean, batch_size).rows(of_evaluation)
        low = torch.tensor([family in _LOW for family in rows.family])[of_evaluation]
        errors, within = 1000 * lifts.aligned(), lifts.within(self.model.calibration.cpu())
        return {
            "pa_mpjpe_mm": float(errors.mean()),
            "pa_low_mm": float(errors[low].mean()),
            "pa_true_2d_mm": float(1000 * clean.aligned().mean()),
            "mpjpe_mm": float(1000 * (lifts.points - lifts.truth)[:, :_JOINTS].norm(dim=-1).mean()),
            "within_sigma": float(within),
        }

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return self.model.state_dict(), lifter_config(self.options.network)

    def describe(self) -> Mapping[str, Any]:
        shares = "held-out activities of the pose library and of the key poses"
        return {"data": "posed default bodies, not rendered", "evaluated_on": shares, "recipe": asdict(self.options)}

    @cached_property
    def _held_out(self) -> _HeldOut:
        """The same in every run."""
        o = self.options
        pool: PosePool = pose_pool(o.held_out, 1, "held_out")
        random = np.random.default_rng(1)
        rows = pool.draw(o.held_out, random)
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
    """The same rows with detection errors and without."""

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
        """Return (N,) metres: mean error of the limbs' joints after Procrustes alignment."""
        moved_there = procrustes_align(self.points[:, _LIMBS], self.truth[:, _LIMBS])
        return (moved_there - self.truth[:, _LIMBS]).norm(dim=-1).mean(1)

    def scaled(self) -> tuple[Tensor, Tensor]:
        """Divide absolute errors by the predicted noise: across (2 N, 47) and along the centre ray (N, 47)."""
        errors = (self.points - self.truth).abs()
        across, along = self.noise.exp().unbind(-1)
        return (errors[..., :2] / across[..., None]).movedim(2, 1).flatten(0, 1), errors[..., 2] / along

    def within(self, calibration: Tensor) -> Tensor:
        """Return the share of all errors that lie within their σ."""
        across, along = self.scaled()
        return torch.cat((across < calibration[:, 0], along < calibration[:, 1])).float().mean()


def _calibration(lifts: _Lifted) -> Tensor:
    """Return (47, 2) σ over predicted noise: what 68 % of the errors stay below, on both sides together."""
    both = [torch.cat((errors, errors[:, MIRRORED_POINTS])) for errors in lifts.scaled()]
    return torch.stack([torch.quantile(errors, _WITHIN, dim=0) for errors in both], -1)


def lifter_loss(points: Tensor, noise: Tensor, truth: Tensor) -> Mapping[str, Tensor]:
    """Compute the negative log-likelihood of errors under Laplace distributions, radial across the ray, and the plain
    mean error.

    points, truth (B, 47, 3) metres; noise (B, 47, 2) logarithms of the scales across and along
    """
    error = points - truth
    across = (error[..., :2].square().sum(-1) + 1e-8).sqrt()
    along = (error[..., 2].square() + 1e-8).sqrt()
    likelihood = across * (-noise[..., 0]).exp() + 2 * noise[..., 0] + along * (-noise[..., 1]).exp() + noise[..., 1]
    plain = (error.square().sum(-1) + 1e-8).sqrt()
    weight = points.new_full((points.shape[1],), _LANDMARK_WEIGHT)
    weight[:_JOINTS] = 1.0
    weight = weight / weight.sum()
    both = ((likelihood + _PLAIN * plain) * weight).sum(1).mean()
    return {"loss": both, "error_mm": 1000 * plain[:, :_JOINTS].mean().detach()}
