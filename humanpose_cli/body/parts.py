"""Body parts: the 24 labels of a body's vertices, joined to coarser sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24


def parts_mask(part_labels: NDArray[np.integer], names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Select the vertices (V,) of the named parts."""
    return np.isin(part_labels, SMPL24.indices(names))


@dataclass(frozen=True)
class PartMap:
    """A partition of the 24 joints' parts.

    Attributes:
        name: A description.
        names: The coarse parts, in the order of their labels.
        of_joint: The name of the coarse part for each joint of SMPL24.
    """

    name: str
    names: tuple[str, ...]
    of_joint: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The coarse label of each of the 24 labels."""
        return tuple(self.names.index(self.of_joint[joint]) for joint in SMPL24.joint_names)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """The label of each part after left and right are swapped."""
        mirrored = dict(zip(self.rows, (self.rows[m] for m in SMPL24.mirror), strict=True))
        return tuple(mirrored[label] for label in range(len(self)))

    def labels(self, part_labels: Tensor) -> Tensor:
        """Convert a tensor of the 24 labels, such as a body's `part_labels`, to coarse labels."""
        return torch.tensor(self.rows, dtype=part_labels.dtype, device=part_labels.device)[part_labels.long()]


def _join(name: str, names: str, table: Mapping[str, str]) -> PartMap:
    """Build a part map from blank-separated names and a table of blank-separated joints and their part."""
    # `hip` stands for `left_hip` and `right_hip`; `{}` in the part is replaced by the side.
    of_joint: dict[str, str] = {}
    for joints, part in table.items():
        for joint in joints.split():
            sides = {joint: part} if joint in SMPL24 else {f"{s}_{joint}": part.format(s) for s in ("left", "right")}
            of_joint |= sides
    return PartMap(name, tuple(names.split()), of_joint)


PARTS24 = PartMap("24 parts", SMPL24.joint_names, {joint: joint for joint in SMPL24.joint_names})

# The order in nbf's public code.
PARTS12 = _join(
    "12 parts",
    "head upper_torso left_forearm right_upper_arm left_thigh right_thigh "
    "neck pelvis left_upper_arm right_forearm left_shank right_shank",
    {
        "pelvis spine1": "pelvis",
        "spine2 spine3 collar": "upper_torso",
        "neck": "neck",
        "head": "head",
        "shoulder": "{}_upper_arm",
        "elbow wrist hand": "{}_forearm",
        "hip": "{}_thigh",
        "knee ankle foot": "{}_shank",
    },
)

_TORSO = {"pelvis spine1 spine2 spine3 collar": "torso", "neck head": "head"}

PARTS6 = _join(
    "6 parts",
    "head torso left_arm right_arm left_leg right_leg",
    {**_TORSO, "shoulder elbow wrist hand": "{}_arm", "hip knee ankle foot": "{}_leg"},
)

# nbf does not define its three parts; these can be distinguished from a distance.
PARTS3 = PartMap(
    "3 parts",
    ("trunk", "arms", "legs"),
    {
        joint: "arms" if part.endswith("arm") else "legs" if part.endswith("leg") else "trunk"
        for joint, part in PARTS6.of_joint.items()
    },
)

PARTS1 = PartMap("1 part", ("person",), dict.fromkeys(SMPL24.joint_names, "person"))

# The rigid parts that warp3d moves: torso, head, upper and lower arms, thighs, shanks.
WARPING10 = _join(
    "10 warping parts",
    "torso head left_upper_arm right_upper_arm left_lower_arm right_lower_arm "
    "left_thigh right_thigh left_shank right_shank",
    {
        **_TORSO,
        "shoulder": "{}_upper_arm",
        "elbow wrist hand": "{}_lower_arm",
        "hip": "{}_thigh",
        "knee ankle foot": "{}_shank",
    },
)

PART_MAPS: dict[int, PartMap] = {len(m): m for m in (PARTS24, PARTS12, WARPING10, PARTS6, PARTS3, PARTS1)}
"""The part maps by their number of parts."""
