"""Depths of 2-D joints, learned from 2-D joints alone (Kudo et al. 2018, "Unsupervised adversarial learning of 3D human
pose from 2D joint locations"): whatever yaw a lifted person is turned by, their image must look like a person's.

Two losses are not theirs. Lifting the turned image and turning it back must give the first points (Chen et al. 2019,
"Unsupervised 3D pose estimation with geometric self-supervision"), and bones must have the proportions of the body's
template, which is known without any 3-D data. docs/research/deform-and-learn.md has what each of them changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.core.conventions import Skeleton, skeleton_by_name
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.networks.weights import fill, options_of, read_weights

MODEL = "depth-lifter"
"""Its name in weights files."""

_SLOPE = 0.2  # of LeakyReLU
_SIDES = ("left", "right")
_TINY = 1e-6
_NEW_NAMES = {"most": "max_accuracy", "least": "min_accuracy"}  # fields in headers of older weights


@dataclass(frozen=True)
class DepthLifterOptions(Options):
    """The network and its adversarial training; the defaults up to `heuristic` are Kudo et al.'s."""

    width: int = option(1024, "Units of the hidden layers of both networks.", minimum=1)
    layers: int = option(3, "Hidden layers of both networks.", minimum=1)
    learning_rate: float = option(2e-4, "Learning rate of Adam.", above=0)
    max_accuracy: float = option(0.9, "Accuracy of the discriminator up to which it is trained.", minimum=0, maximum=1)
    min_accuracy: float = option(
        0.1, "Accuracy of the discriminator from which the generator is trained.", minimum=0, maximum=1
    )
    heuristic: float = option(1.0, "Weight of `back_bending`.")
    consistency: float = option(
        0.3, "Weight of the mean squared difference after a turned person is lifted again and turned back."
    )
    bones: float = option(10.0, "Weight of `bone_error`.")
    turn: Literal["auto"] | float = option(
        "auto",
        "Maximum angle that people are turned by; auto is 180, or 90 if at most one of twenty shows their back.",
        unit="degrees",
        above=0,
        maximum=180,
    )
    pitch: float = option(
        0.15,
        "Standard deviation of the pitch of the cameras, around whose vertical axis people are turned.",
        unit="radians",
    )
    roll: float = option(
        0.1, "Standard deviation of turns in the image, because cameras are not held level.", unit="radians"
    )
    mirror: float = option(0.5, "Fraction of people that are mirrored in training.", minimum=0, maximum=1)
    rescaled: bool = option(
        True,
        "Scale turned people to the size of observed ones, so that the discriminator cannot use their size.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_accuracy > self.max_accuracy:
            got = f"{self.min_accuracy}, {self.max_accuracy}"
            raise UsageError("min_accuracy", "is more than `max_accuracy`", expected="less or as much", got=got)


class HipFrame(NamedTuple):
    """2-D people of one size about their hips.

    Attributes:
        points: (B, J, 2) from the middle of the hips, their mean distance from it 1; x right, y down.
        scale: (B,) size of one unit before.
    """

    points: Tensor
    scale: Tensor


def hip_frame(points: Tensor, skeleton: Skeleton) -> HipFrame:
    """Normalise points (B, J, 2) in any unit, x right, y down."""
    hips = points[:, _rows(skeleton, "hip")].mean(1)
    offsets = points - hips[:, None]
    scale = offsets.norm(dim=-1).mean(1).clamp_min(_TINY)
    return HipFrame(offsets / scale[:, None, None], scale)


def turned(space: Tensor, yaw: Tensor, pitch: Tensor | None = None) -> Tensor:
    """Turn people about a vertical through their hips: (B, J, 3) x right, y down, z away → the same.

    Args:
        yaw: (B,) radians; 0 gives the people themselves, and −yaw turns them back.
        pitch: (B,) radians by which the camera looks up, so that the vertical leans; None: it is the image's.
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
    """Compute the mean squared difference (B,) of the bones' lengths from those of a body, both over their mean.

    space (B, J, 3) in any unit; lengths (bones,) of the body in any unit
    """
    first, second = zip(*skeleton.bones, strict=True)
    found_lengths = (space[:, first] - space[:, second]).norm(dim=-1)
    return (found_lengths / found_lengths.mean(1, keepdim=True) - lengths / lengths.mean()).square().mean(1)


def back_bending(points: Tensor, depth: Tensor, skeleton: Skeleton) -> Tensor:
    """Measure how much of a person is back to front: (B,) 0…1.

    From above, a person faces f, across the line of their hips. The mean of max(0, −d·f) over the directions d
    that lead forward in a body: neck or thorax to nose and ankle to toes, of length 1, and from the middle between hip
    and ankle to the knee, over the thigh's length, so that a straight leg adds nothing. Kudo et al. use the nose alone,
    which smpl24 lacks. Mirroring the depth turns all signs.
    """
    space = torch.cat((points, depth[..., None]), -1)
    left, right = (space[:, skeleton.index(f"{side}_hip")] for side in _SIDES)
    # In (x, z): a person who faces the camera has the left hip at the image's right, (1, 0), and looks along (0, −1).
    across = torch.nn.functional.normalize((left - right)[:, [0, 2]], dim=-1, eps=_TINY)
    facing = torch.stack((across[:, 1], -across[:, 0]), -1)
    ahead = torch.stack(_forward_directions(space, skeleton), 1)  # [B, D, 3]
    return (-(ahead[..., [0, 2]] * facing[:, None]).sum(-1)).clamp_min(0).mean(1)


def _forward_directions(space: Tensor, skeleton: Skeleton) -> list[Tensor]:
    """Compute directions (B, 3) that lead forward in a person's body, as far as the skeleton has them."""
    names, directions = skeleton.joint_names, []
    unit = torch.nn.functional.normalize
    neck = next((name for name in ("neck", "thorax") if name in names), None)
    if neck is not None and "nose" in names:
        directions.append(unit(space[:, skeleton.index("nose")] - space[:, skeleton.index(neck)], dim=-1, eps=_TINY))
    for side in _SIDES:
        hip, knee, ankle = (space[:, skeleton.index(f"{side}_{name}")] for name in ("hip", "knee", "ankle"))
        thigh = (knee - hip).norm(dim=-1, keepdim=True).clamp_min(_TINY)
        directions.append((knee - (hip + ankle) / 2) / thigh)
        toes = next((f"{side}_{name}" for name in ("foot_index", "foot") if f"{side}_{name}" in names), None)
        if toes is not None:
            directions.append(unit(space[:, skeleton.index(toes)] - ankle, dim=-1, eps=_TINY))
    return directions


def _rows(skeleton: Skeleton, name: str) -> list[int]:
    return [skeleton.index(f"{side}_{name}") for side in _SIDES]


def _mlp(inputs: int, outputs: int, options: DepthLifterOptions) -> nn.Sequential:
    """Build `layers` hidden layers with LeakyReLU."""
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
        """Predict depths (B, J) of points (B, J, 2) of a `HipFrame`, in its unit, from the middle of the hips away."""
        depth: Tensor = self.network(points.flatten(1))
        return depth - depth[:, _rows(self.skeleton, "hip")].mean(1, keepdim=True)

    def lift(self, points: Tensor) -> Tensor:
        """Predict depths (B, J) of points (B, J, 2) in any unit, in that unit, from the middle of the hips away."""
        frame = hip_frame(points, self.skeleton)
        depth: Tensor = self(frame.points)
        return depth * frame.scale[:, None]

    @classmethod
    def load(cls, path: Path) -> DepthLifter:
        """Load the network of a weights file. Raises InputError if it is damaged or of another model."""
        tensors, header = read_weights(path, MODEL)
        values = {_NEW_NAMES.get(name, name): value for name, value in header.config["options"].items()}
        options = options_of(DepthLifterOptions, values, path)
        game = LifterGame(skeleton_by_name(header.config["skeleton"]), options)
        fill(game, tensors, path)
        return game.generator.eval()


class LifterGame(nn.Module):
    """The lifter, and the network that distinguishes turned people from observed ones."""

    def __init__(self, skeleton: Skeleton, options: DepthLifterOptions) -> None:
        super().__init__()
        self.generator = DepthLifter(skeleton, options)
        self.discriminator = _mlp(2 * len(skeleton), 1, options)
