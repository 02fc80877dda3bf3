"""Depths of 2-D joints, learned from 2-D joints alone.

Kudo et al. 2018, "Unsupervised adversarial learning of 3D human pose from 2D joint locations": a lifted person must
look like a person from any yaw.

Two losses are additions. Lifting the turned image and turning it back must give the original points (Chen et al. 2019,
"Unsupervised 3D pose estimation with geometric self-supervision"), and bones must have the proportions of the body's
template, which needs no 3-D data. docs/research/deform-and-learn.md shows the effect of each.
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
"""Name of the model in weights files."""

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
    """2-D people of one size relative to their hips.

    Attributes:
        points: (B, J, 2) float. x right, y down from the middle of the hips; their mean distance from it is 1.
        scale: (B,) float. The size of one unit in the original unit.
    """

    points: Tensor
    scale: Tensor


def hip_frame(points: Tensor, skeleton: Skeleton) -> HipFrame:
    """Normalise points to the hips.

    Args:
        points: (B, J, 2) float, any unit. x right, y down.
        skeleton: The skeleton of the points.
    """
    hips = points[:, _rows(skeleton, "hip")].mean(1)
    offsets = points - hips[:, None]
    scale = offsets.norm(dim=-1).mean(1).clamp_min(_TINY)
    return HipFrame(offsets / scale[:, None, None], scale)


def turned(space: Tensor, yaw: Tensor, pitch: Tensor | None = None) -> Tensor:
    """Turn people about a vertical through their hips.

    Args:
        space: (B, J, 3) float. x right, y down, z away.
        yaw: (B,) float, radians. 0 gives the same people, and −yaw turns them back.
        pitch: (B,) float, radians. The angle by which the camera looks up, so that the vertical leans. None means that
            it is vertical in the image.

    Returns:
        (B, J, 3) float. The turned people.
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
    """Compute the mean squared difference of the bones' relative lengths from those of a body.

    Args:
        space: (B, J, 3) float, any unit. The joints.
        lengths: (bones,) float, any unit. The bones of the body.
        skeleton: The skeleton of the joints.

    Returns:
        (B,) float. The error of lengths divided by their mean.
    """
    first, second = zip(*skeleton.bones, strict=True)
    bones = (space[:, first] - space[:, second]).norm(dim=-1)
    return (bones / bones.mean(1, keepdim=True) - lengths / lengths.mean()).square().mean(1)


def back_bending(points: Tensor, depth: Tensor, skeleton: Skeleton) -> Tensor:
    """Measure how much a person is back to front.

    From above, a person faces f, perpendicular to the line of their hips. The measure is the mean of max(0, −d·f) over
    the directions d that lead forward in a body: neck or thorax to nose and ankle to toes, of length 1, and from the
    middle between hip and ankle to the knee, relative to the thigh's length, so that a straight leg adds nothing. Kudo
    et al. use the nose alone, which smpl24 lacks. Mirroring the depth changes all signs.

    Args:
        points: (B, J, 2) float. x right, y down.
        depth: (B, J) float. Depths, away from the camera.
        skeleton: The skeleton of the joints.

    Returns:
        (B,) float, 0 to 1. 0 if nothing bends backwards.
    """
    space = torch.cat((points, depth[..., None]), -1)
    left, right = (space[:, skeleton.index(f"{side}_hip")] for side in _SIDES)
    # In (x, z): a person who faces the camera has the left hip at the image's right, (1, 0), and looks along (0, −1).
    across = torch.nn.functional.normalize((left - right)[:, [0, 2]], dim=-1, eps=_TINY)
    facing = torch.stack((across[:, 1], -across[:, 0]), -1)
    ahead = torch.stack(_forward_directions(space, skeleton), 1)  # [B, D, 3]
    return (-(ahead[..., [0, 2]] * facing[:, None]).sum(-1)).clamp_min(0).mean(1)


def _forward_directions(space: Tensor, skeleton: Skeleton) -> list[Tensor]:
    """Return directions (B, 3) that lead forward in a person's body, as far as the skeleton has them."""
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
    """Build `layers` hidden layers with LeakyReLU, and a linear layer."""
    layers: list[nn.Module] = []
    for _ in range(options.layers):
        layers += [nn.Linear(inputs, options.width), nn.LeakyReLU(_SLOPE)]
        inputs = options.width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class DepthLifter(nn.Module):
    """2-D joints of a skeleton → their depths relative to the hips."""

    def __init__(self, skeleton: Skeleton, options: DepthLifterOptions | None = None) -> None:
        super().__init__()
        self.skeleton, self.options = skeleton, options or DepthLifterOptions()
        self.network = _mlp(2 * len(skeleton), len(skeleton), self.options)

    def forward(self, points: Tensor) -> Tensor:
        """Predict depths (B, J), away from the camera, of points (B, J, 2) of a `HipFrame`, in its unit."""
        depth: Tensor = self.network(points.flatten(1))
        return depth - depth[:, _rows(self.skeleton, "hip")].mean(1, keepdim=True)

    def lift(self, points: Tensor) -> Tensor:
        """Predict depths (B, J), away from the camera, of points (B, J, 2) in any unit, in that unit."""
        frame = hip_frame(points, self.skeleton)
        depth: Tensor = self(frame.points)
        return depth * frame.scale[:, None]

    @classmethod
    def load(cls, path: Path) -> DepthLifter:
        """Load the network from a weights file.

        Args:
            path: The weights file.

        Raises:
            InputError: If the file is damaged or contains another model.
        """
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
