"""Training of the depth lifter by Kudo et al.'s game (2018), with two further losses (see `DepthLifterOptions`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions
from humanpose_cli.lab.recipes.lifter.depth import (
    MODEL,
    DepthLifterOptions,
    LifterGame,
    back_bending,
    bone_error,
    hip_frame,
    turned,
)
from humanpose_cli.lab.train.recipe import Phase, Recipe, check_batch
from humanpose_cli.networks.weights import fill, read_weights

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"

_BETAS = (0.5, 0.999)  # of Adam (Kudo et al.)
_WEIGHT_DECAY = 1e-5  # of Adam (Kudo et al.)
_MIN_REVERSED = 0.05  # share of people who show their backs above which people are turned by all angles


def reversed_share(points: NDArray[np.float32], skeleton: Skeleton) -> float:
    """Return the share of people who show their backs.

    Args:
        points: (N, J, 2) float, any unit. Joints in the image. A back has the left hip and the left shoulder on the
            left.
        skeleton: Skeleton of the joints.
    """
    widths = [
        points[:, skeleton.index(f"left_{name}"), 0] - points[:, skeleton.index(f"right_{name}"), 0]
        for name in ("hip", "shoulder")
    ]
    return float((np.max(widths, axis=0) < 0).mean())


class _Points:
    """Makes an example of a person: 2-D joints, perhaps mirrored and rolled, and a random yaw and pitch."""

    def __init__(self, points: NDArray[np.float32], skeleton: Skeleton, options: DepthLifterOptions) -> None:
        self.points, self.mirror, self.options = points, list(skeleton.mirror), options

    def __call__(self, number: int, random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        max_yaw = math.radians(float(self.options.turn))
        yaw = random.uniform(-max_yaw, max_yaw)
        points = self.points[number]
        if random.random() < self.options.mirror:
            points = points[self.mirror] * np.array([-1, 1], np.float32)
        pitch, roll = np.array([self.options.pitch, self.options.roll]) * random.normal(size=2)
        cosine, sine = math.cos(roll), math.sin(roll)
        result = points @ np.array([[cosine, sine], [-sine, cosine]], np.float32)
        return result, np.array([yaw, pitch], np.float32)


@dataclass(frozen=True)
class LifterData:
    """Training and validation data of the depth lifter.

    Attributes:
        skeleton: Skeleton of the joints.
        points: (N, J, 2) float32, any unit. Complete 2-D joints of the training people.
        held_out: (M, J, 2) float32. Complete 2-D joints of the held-out people.
        bones: (bones,) float, any unit. Lengths of the skeleton's bones in the body.
        describe: Origin of the data for the record of the run.
        start: Weights to start from; None starts at random.
    """

    skeleton: Skeleton
    points: NDArray[np.float32]
    held_out: NDArray[np.float32]
    bones: Tensor
    describe: Mapping[str, Any]
    start: Path | None = None


class DepthLifterRecipe(Recipe[tuple[Tensor, Tensor]]):
    """Adversarial training of the two networks.

    True depths are unknown, so that `back_bent` of held-out people is the only metric. Use the last weights.

    Args:
        data: Training and validation data.
        options: Options of the lifter.
        seed: Seed of the weights.
    """

    name, criterion = MODEL, "back_bent"
    model: LifterGame

    def __init__(self, data: LifterData, options: DepthLifterOptions | None = None, *, seed: int = 0) -> None:
        self.data, self.options = data, options or DepthLifterOptions()
        if self.options.turn == "auto":
            turn = 180.0 if reversed_share(data.points, data.skeleton) > _MIN_REVERSED else 90.0
            self.options = replace(self.options, turn=turn)
        torch.manual_seed(seed)
        self.model = LifterGame(data.skeleton, self.options)
        if data.start is not None:
            fill(self.model, read_weights(data.start, MODEL)[0], data.start)
        frames = [hip_frame(torch.from_numpy(p), data.skeleton).points for p in (data.points, data.held_out)]
        self.points, self.held_out = frames[0].numpy(), frames[1]
        self.validation_data = {"count": len(self.held_out), "unit": "people held out with all keypoints"}

    def phases(self) -> Sequence[Phase]:
        rate = self.options.learning_rate
        return [
            Phase(name, list(getattr(self.model, name).parameters()), rate, _BETAS, _WEIGHT_DECAY)
            for name in (GENERATOR, DISCRIMINATOR)
        ]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        check_batch(Path(str(self.data.describe.get("data", ""))), len(self.points), options)
        return BatchLoader(range(len(self.points)), _Points(self.points, self.data.skeleton, self.options), options)

    def graph_key(self, step: int) -> None:
        """Return None: accuracies decide who learns."""

    def losses(self, phase: str, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor] | None:
        points, (yaw, pitch) = batch[0], batch[1].unbind(1)
        o, skeleton, lift = self.options, self.data.skeleton, self.model.generator
        with torch.set_grad_enabled(phase == GENERATOR):
            space = torch.cat((points, lift(points)[..., None]), -1)
            view = turned(space, yaw, pitch)
            image = hip_frame(view[..., :2], skeleton).points if o.rescaled else view[..., :2]
        real, false = (self.model.discriminator(p.flatten(1)).squeeze(1) for p in (points, image))
        accuracy = (((real > 0).float().mean() + (false <= 0).float().mean()) / 2).detach()
        if not learns(phase, float(accuracy), o):
            return None
        softplus = nn.functional.softplus
        if phase == DISCRIMINATOR:
            return {"loss": softplus(-real).mean() + softplus(false).mean(), "accuracy": accuracy}
        bending = back_bending(points, space[..., 2], skeleton).mean()
        lifted_view = torch.cat((view[..., :2], lift.lift(view[..., :2])[..., None]), -1)
        restored = turned(lifted_view, -yaw, pitch)
        consistency = (lifted_view - view)[..., 2].square().mean() + (restored - space)[..., :2].square().mean()
        bones = bone_error(space, self.data.bones.to(space), skeleton).mean()
        loss = softplus(-false).mean() + o.heuristic * bending + o.consistency * consistency + o.bones * bones
        return {"loss": loss, "back_bending": bending, "consistency": consistency, "bones": bones}

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return back_bent, the share of people whose negated depths bend less, and bending, its mean."""
        points = self.held_out.to(self.device)
        depth = self.model.generator(points)
        bending = back_bending(points, depth, self.data.skeleton)
        mirror_bending = back_bending(points, -depth, self.data.skeleton)
        return {"back_bent": float((bending > mirror_bending).float().mean()), "bending": float(bending.mean())}

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        config = {"skeleton": self.data.skeleton.name, "options": asdict(self.options)}
        return self.model.state_dict(), config  # including the discriminator, from which the next round continues

    def describe(self) -> Mapping[str, Any]:
        return {**self.data.describe, "people": len(self.points), "recipe": asdict(self.options)}


def learns(phase: str, accuracy: float, options: DepthLifterOptions) -> bool:
    """Return whether a network may learn, so that neither becomes much better than the other.

    Args:
        phase: `GENERATOR` or `DISCRIMINATOR`.
        accuracy: Accuracy of the discriminator, 0 … 1.
        options: Options with the limits.
    """
    return accuracy <= options.max_accuracy if phase == DISCRIMINATOR else accuracy >= options.min_accuracy
