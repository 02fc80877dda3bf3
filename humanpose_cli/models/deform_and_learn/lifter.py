"""Depths of 2-D joints, learned from 2-D joints alone (Kudo et al. 2018, "Unsupervised adversarial learning of 3D human
pose from 2D joint locations"): whatever yaw a lifted person is turned by, their image must look like a person's.

Two losses are not theirs. Lifting the turned image and turning it back must give what was there (Chen et al. 2019,
"Unsupervised 3D pose estimation with geometric self-supervision"), and bones must have the proportions of the body's
template, which is known without any 3-D data. On 512 held-out synthetic people, with 5,962 others to learn from, mean
errors of depth were 0.87 of the mean depth's without the two, 0.72 with bones, 0.80 with consistency, 0.66 with both;
the same network learns 0.44 from true depths.

This is not `models.lifter`, which `hpc fit` uses and which learned from motion capture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from humanpose_cli.core.conventions import Skeleton, skeleton_by_name
from humanpose_cli.core.errors import UsageError
from humanpose_cli.data.loader import BatchLoader, LoaderOptions
from humanpose_cli.networks.weights import fill, read_weights
from humanpose_cli.train.recipe import Phase, Recipe, check_batch

MODEL = "depth-lifter"
"""What weights files call it."""

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
_SLOPE = 0.2  # of LeakyReLU
_SIDES = ("left", "right")
_TINY = 1e-6


@dataclass(frozen=True)
class DepthLifterOptions:
    """The network and its game; the first defaults are Kudo et al.'s, those from `consistency` on ours.

    width, layers   of the hidden layers of both networks
    learning_rate, beta1, weight_decay  of Adam
    most, least     the discriminator learns while its accuracy is at most the one, the generator while it is at least
                    the other
    heuristic       weight of `back_bending`
    consistency     weight of the mean squared difference when a turned person is lifted again and turned back
    bones           weight of `bone_error`
    pitch, roll     standard deviations, radians: of the cameras' pitch, about whose vertical people are turned, and of
                    turns in the image that all people get, since cameras are held obliquely
    """

    width: int = 1024
    layers: int = 3
    learning_rate: float = 2e-4
    beta1: float = 0.5
    weight_decay: float = 1e-5
    most: float = 0.9
    least: float = 0.1
    heuristic: float = 1.0
    consistency: float = 0.3
    bones: float = 10.0
    pitch: float = 0.15
    roll: float = 0.1

    def __post_init__(self) -> None:
        if min(self.width, self.layers) < 1 or self.learning_rate <= 0:
            raise UsageError("lifter", "is out of range", expected="width and layers of 1 or more, a rate above 0")
        if not 0 <= self.least <= self.most <= 1:
            raise UsageError("lifter", "is gated wrongly", expected="0 ≤ least ≤ most ≤ 1")


class HipFrame(NamedTuple):
    """2-D people of one size about their hips.

    points  (B, J, 2) from the middle of the hips, their mean distance from it 1; x right, y down
    scale   (B,) what one unit was
    """

    points: Tensor
    scale: Tensor


def hip_frame(points: Tensor, skeleton: Skeleton) -> HipFrame:
    """Points (B, J, 2) in any unit, x right, y down."""
    hips = points[:, _rows(skeleton, "hip")].mean(1)
    centred = points - hips[:, None]
    scale = centred.norm(dim=-1).mean(1).clamp_min(_TINY)
    return HipFrame(centred / scale[:, None, None], scale)


def turned(space: Tensor, yaw: Tensor, pitch: Tensor | None = None) -> Tensor:
    """People turned about a vertical through their hips: (B, J, 3) x right, y down, z away → the same.

    yaw    (B,) radians; 0 gives the people themselves, and −yaw turns them back
    pitch  (B,) radians by which the camera looks up, so that the vertical leans; None: it is the image's
    """
    upright = space if pitch is None else _about_x(space, pitch)
    cosine, sine = yaw.cos()[:, None], yaw.sin()[:, None]
    x, y, z = upright.unbind(-1)
    around = torch.stack((cosine * x + sine * z, y, cosine * z - sine * x), -1)
    return around if pitch is None else _about_x(around, -pitch)


def _about_x(space: Tensor, angle: Tensor) -> Tensor:
    cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = space.unbind(-1)
    return torch.stack((x, cosine * y - sine * z, sine * y + cosine * z), -1)


def bone_error(space: Tensor, lengths: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean squared difference (B,) of the bones' lengths from those of a body, both over their mean.

    space (B, J, 3) in any unit; lengths (bones,) of the body in any unit
    """
    first, second = zip(*skeleton.bones, strict=True)
    found = (space[:, first] - space[:, second]).norm(dim=-1)
    return (found / found.mean(1, keepdim=True) - lengths / lengths.mean()).square().mean(1)


def back_bending(points: Tensor, depth: Tensor, skeleton: Skeleton) -> Tensor:
    """How much of a person is back to front: (B,) 0…1.

    Seen from above, a person faces f, across the line of their hips. The mean of max(0, −d·f) over the directions d
    that lead forward in a body: neck or thorax to nose and ankle to toes, of length 1, and from the middle between hip
    and ankle to the knee, over the thigh's length, so that a straight leg has no say. Kudo et al. use the nose alone,
    which smpl24 lacks. Mirroring the depth turns all signs.
    """
    space = torch.cat((points, depth[..., None]), -1)
    left, right = (space[:, skeleton.index(f"{side}_hip")] for side in _SIDES)
    # In (x, z): who faces the camera has their left hip at the image's right, (1, 0), and looks along (0, −1).
    across = torch.nn.functional.normalize((left - right)[:, [0, 2]], dim=-1, eps=_TINY)
    facing = torch.stack((across[:, 1], -across[:, 0]), -1)
    ahead = torch.stack(_forward_directions(space, skeleton), 1)  # [B, D, 3]
    return (-(ahead[..., [0, 2]] * facing[:, None]).sum(-1)).clamp_min(0).mean(1)


def _forward_directions(space: Tensor, skeleton: Skeleton) -> list[Tensor]:
    """Directions (B, 3) that lead forward in a person's body, as far as the skeleton has them."""
    names, found = skeleton.joint_names, []
    unit = torch.nn.functional.normalize
    neck = next((name for name in ("neck", "thorax") if name in names), None)
    if neck is not None and "nose" in names:
        found.append(unit(space[:, skeleton.index("nose")] - space[:, skeleton.index(neck)], dim=-1, eps=_TINY))
    for side in _SIDES:
        hip, knee, ankle = (space[:, skeleton.index(f"{side}_{name}")] for name in ("hip", "knee", "ankle"))
        thigh = (knee - hip).norm(dim=-1, keepdim=True).clamp_min(_TINY)
        found.append((knee - (hip + ankle) / 2) / thigh)
        toes = next((f"{side}_{name}" for name in ("foot_index", "foot") if f"{side}_{name}" in names), None)
        if toes is not None:
            found.append(unit(space[:, skeleton.index(toes)] - ankle, dim=-1, eps=_TINY))
    return found


def _rows(skeleton: Skeleton, name: str) -> list[int]:
    return [skeleton.index(f"{side}_{name}") for side in _SIDES]


def _mlp(inputs: int, outputs: int, options: DepthLifterOptions) -> nn.Sequential:
    """`layers` hidden layers with LeakyReLU."""
    layers: list[nn.Module] = []
    for _ in range(options.layers):
        layers += [nn.Linear(inputs, options.width), nn.LeakyReLU(_SLOPE)]
        inputs = options.width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class DepthLifter(nn.Module):
    """2-D joints of a skeleton → their depths about the hips."""

    def __init__(self, skeleton: Skeleton, options: DepthLifterOptions | None = None) -> None:
        super().__init__()
        self.skeleton, self.options = skeleton, options or DepthLifterOptions()
        self.network = _mlp(2 * len(skeleton), len(skeleton), self.options)

    def forward(self, points: Tensor) -> Tensor:
        """Points (B, J, 2) of a `HipFrame` → depths (B, J) in its unit, from the middle of the hips away."""
        depth: Tensor = self.network(points.flatten(1))
        return depth - depth[:, _rows(self.skeleton, "hip")].mean(1, keepdim=True)

    def lift(self, points: Tensor) -> Tensor:
        """Points (B, J, 2) in any unit → depths (B, J) in that unit, from the middle of the hips away."""
        frame = hip_frame(points, self.skeleton)
        depth: Tensor = self(frame.points)
        return depth * frame.scale[:, None]

    @classmethod
    def load(cls, path: Path) -> DepthLifter:
        """Of a weights file; InputError where it is damaged or of another model."""
        tensors, header = read_weights(path, MODEL)
        options = DepthLifterOptions(**header.config["options"])
        game = _Game(skeleton_by_name(header.config["skeleton"]), options)
        fill(game, tensors, path)
        return game.generator.eval()


class _Game(nn.Module):
    """The lifter, and the network that tells turned people from observed ones."""

    def __init__(self, skeleton: Skeleton, options: DepthLifterOptions) -> None:
        super().__init__()
        self.generator = DepthLifter(skeleton, options)
        self.discriminator = _mlp(2 * len(skeleton), 1, options)


class _Points:
    """Picks a person's 2-D joints, or those of their mirror image, who is a person too; and a yaw and a pitch."""

    def __init__(self, points: NDArray[np.float32], skeleton: Skeleton, options: DepthLifterOptions) -> None:
        self.points, self.mirror, self.options = points, list(skeleton.mirror), options

    def __call__(self, number: int, random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        yaw, points = random.uniform(0, 2 * math.pi), self.points[number]
        if random.random() < 0.5:
            points = points[self.mirror] * np.array([-1, 1], np.float32)
        pitch, roll = np.array([self.options.pitch, self.options.roll]) * random.normal(size=2)
        cosine, sine = math.cos(roll), math.sin(roll)
        rolled = points @ np.array([[cosine, sine], [-sine, cosine]], np.float32)
        return rolled, np.array([yaw, pitch], np.float32)


@dataclass(frozen=True)
class LifterData:
    """What the lifter learns from and is measured on.

    skeleton   of the joints
    points     (N, J, 2) 2-D joints of people, each with all of them, in any unit
    held_out   (M, J, 2) those of others
    bones      (bones,) lengths of the skeleton's bones in the body, in any unit
    describe   where they are from, for the run's record
    start      weights of the round before; None begins at random
    """

    skeleton: Skeleton
    points: NDArray[np.float32]
    held_out: NDArray[np.float32]
    bones: Tensor
    describe: Mapping[str, Any]
    start: Path | None = None


class DepthLifterRecipe(Recipe[tuple[Tensor, Tensor]]):
    """The game of the two networks. No depth is ever known, so `back_bent` of held-out people is all that is measured
    here; the last weights are the ones to use.
    """

    name, criterion = MODEL, "back_bent"
    model: _Game

    def __init__(self, data: LifterData, options: DepthLifterOptions | None = None, *, seed: int = 0) -> None:
        self.data, self.options = data, options or DepthLifterOptions()
        torch.manual_seed(seed)
        self.model = _Game(data.skeleton, self.options)
        if data.start is not None:
            fill(self.model, read_weights(data.start, MODEL)[0], data.start)
        frames = [hip_frame(torch.from_numpy(p), data.skeleton).points for p in (data.points, data.held_out)]
        self.points, self.held_out = frames[0].numpy(), frames[1]

    def phases(self) -> Sequence[Phase]:
        o = self.options
        return [
            Phase(name, list(getattr(self.model, name).parameters()), o.learning_rate, (o.beta1, 0.999), o.weight_decay)
            for name in (GENERATOR, DISCRIMINATOR)
        ]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        check_batch(Path(str(self.data.describe.get("data", ""))), len(self.points), options)
        return BatchLoader(range(len(self.points)), _Points(self.points, self.data.skeleton, self.options), options)

    def losses(self, phase: str, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor] | None:
        points, (yaw, pitch) = batch[0], batch[1].unbind(1)
        o, skeleton, lift = self.options, self.data.skeleton, self.model.generator
        with torch.set_grad_enabled(phase == GENERATOR):
            space = torch.cat((points, lift(points)[..., None]), -1)
            seen = turned(space, yaw, pitch)
        real, false = (self.model.discriminator(p.flatten(1)).squeeze(1) for p in (points, seen[..., :2]))
        accuracy = (((real > 0).float().mean() + (false <= 0).float().mean()) / 2).detach()
        if not learns(phase, float(accuracy), o):
            return None
        softplus = nn.functional.softplus
        if phase == DISCRIMINATOR:
            return {"loss": softplus(-real).mean() + softplus(false).mean(), "accuracy": accuracy}
        bent = back_bending(points, space[..., 2], skeleton).mean()
        again = torch.cat((seen[..., :2], lift.lift(seen[..., :2])[..., None]), -1)
        back = turned(again, -yaw, pitch)
        consistency = (again - seen)[..., 2].square().mean() + (back - space)[..., :2].square().mean()
        bones = bone_error(space, self.data.bones.to(space), skeleton).mean()
        loss = softplus(-false).mean() + o.heuristic * bent + o.consistency * consistency + o.bones * bones
        return {"loss": loss, "back_bending": bent, "consistency": consistency, "bones": bones}

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """back_bent: the share of held-out people who are more back to front than front; `bending`: how much so."""
        points = self.held_out.to(self.device)
        depth = self.model.generator(points)
        bent = back_bending(points, depth, self.data.skeleton)
        mirrored = back_bending(points, -depth, self.data.skeleton)
        return {"back_bent": float((bent > mirrored).float().mean()), "bending": float(bent.mean())}

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        config = {"skeleton": self.data.skeleton.name, "options": asdict(self.options)}
        return self.model.state_dict(), config  # the discriminator too: the next round goes on with both

    def describe(self) -> Mapping[str, Any]:
        return {**self.data.describe, "people": len(self.points), "recipe": asdict(self.options)}


def learns(phase: str, accuracy: float, options: DepthLifterOptions) -> bool:
    """Whether a side of the game learns at an accuracy of the discriminator: neither side may run away."""
    return accuracy <= options.most if phase == DISCRIMINATOR else accuracy >= options.least
