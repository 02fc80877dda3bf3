"""Axes, units and skeletons: the conventions of all files and functions.

- Lengths in metres, angles in radians. Images are HxWx3 uint8 RGB; pixel (0, 0)'s corner is the origin, its centre
  is (0.5, 0.5).
- Camera axes: x right, y down, z forward. Body axes: x to the person's left, y up, z forward. Zero pose = T pose.
- Rotations are matrices inside and axis-angle in files; names read source_to_target. `poses[0]` (pelvis) maps body
  axes to camera axes; the root's position is the pelvis of the shaped rest body plus `trans`, added after posing.
- Joints are addressed by name through a `Skeleton`, never by a literal index.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

ASSUMED_FRAME_RATE = 30.0
"""Frames per second of sequences without a known rate."""


@dataclass(frozen=True)
class Skeleton:
    """Named joints in a fixed order, with their tree and their left/right pairs.

    Attributes:
        name: Name of the skeleton.
        joint_names: Names of the joints.
        parent_names: Name of each joint's parent, "" for a root. In `coco17` and `blazepose33` the tree is used only to
            draw, and for bones of constant length.
    """

    name: str
    joint_names: tuple[str, ...]
    parent_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.joint_names) != len(self.parent_names):
            raise ValueError(f"{self.name}: {len(self.joint_names)} joints, {len(self.parent_names)} parents")

    def __len__(self) -> int:
        return len(self.joint_names)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.joint_names)}

    def index(self, joint: str) -> int:
        """Return the row of a joint. Raises KeyError with the skeleton's name for an unknown joint."""
        try:
            return self._index[joint]
        except KeyError:
            raise KeyError(f"{self.name} has no joint named {joint!r}") from None

    def indices(self, joints: Iterable[str]) -> list[int]:
        """List the rows of several joints."""
        return [self.index(joint) for joint in joints]

    def __contains__(self, joint: object) -> bool:
        return joint in self._index

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Row of each joint's parent, -1 for a root."""
        return tuple(self._index[p] if p else -1 for p in self.parent_names)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) rows."""
        return tuple((p, c) for c, p in enumerate(self.parents) if p >= 0)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """Row of each joint after left and right are swapped."""
        return tuple(self._index[_other_side(name)] for name in self.joint_names)


def _other_side(name: str) -> str:
    for side, opposite in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(side):
            return opposite + name.removeprefix(side)
    return name


def _tree(name: str, *joints: tuple[str, str]) -> Skeleton:
    return Skeleton(name, tuple(joint for joint, _ in joints), tuple(parent for _, parent in joints))


# Elbows to ankles with their parents, in the order that several skeletons share.
_ARMS = (
    ("left_elbow", "left_shoulder"),
    ("right_elbow", "right_shoulder"),
    ("left_wrist", "left_elbow"),
    ("right_wrist", "right_elbow"),
)
_LEGS = (
    ("left_hip", "left_shoulder"),
    ("right_hip", "right_shoulder"),
    ("left_knee", "left_hip"),
    ("right_knee", "right_hip"),
    ("left_ankle", "left_knee"),
    ("right_ankle", "right_knee"),
)

SMPL24 = _tree(
    "smpl24",
    ("pelvis", ""),
    ("left_hip", "pelvis"),
    ("right_hip", "pelvis"),
    ("spine1", "pelvis"),
    ("left_knee", "left_hip"),
    ("right_knee", "right_hip"),
    ("spine2", "spine1"),
    ("left_ankle", "left_knee"),
    ("right_ankle", "right_knee"),
    ("spine3", "spine2"),
    ("left_foot", "left_ankle"),
    ("right_foot", "right_ankle"),
    ("neck", "spine3"),
    ("left_collar", "spine3"),
    ("right_collar", "spine3"),
    ("head", "neck"),
    ("left_shoulder", "left_collar"),
    ("right_shoulder", "right_collar"),
    *_ARMS,
    ("left_hand", "left_wrist"),
    ("right_hand", "right_wrist"),
)

FINGERS = tuple(f"{finger}{joint}" for finger in ("index", "middle", "pinky", "ring", "thumb") for joint in (1, 2, 3))
"""Joints of a hand from the knuckles to the ends, in the order of SMPL-H and SMPL-X."""


def _fingers_of(side: str) -> list[tuple[str, str]]:
    """List the finger joints of one side with their parents; in SMPL24, the thumb belongs to the wrist."""
    roots = {finger: f"{side}_wrist" if finger == "thumb1" else f"{side}_hand" for finger in FINGERS[::3]}
    above = {joint: roots.get(joint, f"{side}_{joint[:-1]}{int(joint[-1]) - 1}") for joint in FINGERS}
    return [(f"{side}_{joint}", parent) for joint, parent in above.items()]


SMPL24_FINGERS = _tree(
    "smpl24-fingers",
    *zip(SMPL24.joint_names, SMPL24.parent_names, strict=True),
    *_fingers_of("left"),
    *_fingers_of("right"),
)
"""SMPL24, then the joints `FINGERS` of the left and of the right hand."""

HAND21 = _tree(
    "hand21",
    ("wrist", ""),
    *(
        (f"{finger}{joint}", f"{finger}{joint - 1}" if joint > 1 else "wrist")
        for finger in ("thumb", "index", "middle", "ring", "pinky")
        for joint in (1, 2, 3, 4)
    ),
)
"""Landmarks of a hand in MediaPipe's order: joints 1 to 3 of `FINGERS`, and 4 for the tip."""

# The order of warp3d's public pose files (reference-facts.md).
REPOSING19 = _tree(
    "reposing19",
    ("neck", "pelvis"),
    ("nose", "neck"),
    ("left_shoulder", "neck"),
    ("left_elbow", "left_shoulder"),
    ("left_wrist", "left_elbow"),
    ("left_hip", "pelvis"),
    ("left_knee", "left_hip"),
    ("left_ankle", "left_knee"),
    ("right_shoulder", "neck"),
    ("right_elbow", "right_shoulder"),
    ("right_wrist", "right_elbow"),
    ("right_hip", "pelvis"),
    ("right_knee", "right_hip"),
    ("right_ankle", "right_knee"),
    ("left_eye", "nose"),
    ("left_ear", "left_eye"),
    ("right_eye", "nose"),
    ("right_ear", "right_eye"),
    ("pelvis", ""),
)

H36M17 = _tree(
    "h36m17",
    ("pelvis", ""),
    ("right_hip", "pelvis"),
    ("right_knee", "right_hip"),
    ("right_ankle", "right_knee"),
    ("left_hip", "pelvis"),
    ("left_knee", "left_hip"),
    ("left_ankle", "left_knee"),
    ("spine", "pelvis"),
    ("thorax", "spine"),
    ("nose", "thorax"),
    ("head_top", "nose"),
    ("left_shoulder", "thorax"),
    ("left_elbow", "left_shoulder"),
    ("left_wrist", "left_elbow"),
    ("right_shoulder", "thorax"),
    ("right_elbow", "right_shoulder"),
    ("right_wrist", "right_elbow"),
)

COCO17 = _tree(
    "coco17",
    ("nose", ""),
    ("left_eye", "nose"),
    ("right_eye", "nose"),
    ("left_ear", "left_eye"),
    ("right_ear", "right_eye"),
    ("left_shoulder", "right_shoulder"),
    ("right_shoulder", ""),
    *_ARMS,
    *_LEGS,
)

_FEET = (
    ("left_heel", "left_ankle"),
    ("right_heel", "right_ankle"),
    ("left_foot_index", "left_heel"),
    ("right_foot_index", "right_heel"),
)

BLAZEPOSE33 = _tree(
    "blazepose33",
    ("nose", ""),
    ("left_eye_inner", "nose"),
    ("left_eye", "left_eye_inner"),
    ("left_eye_outer", "left_eye"),
    ("right_eye_inner", "nose"),
    ("right_eye", "right_eye_inner"),
    ("right_eye_outer", "right_eye"),
    ("left_ear", "left_eye_outer"),
    ("right_ear", "right_eye_outer"),
    ("left_mouth", "right_mouth"),
    ("right_mouth", ""),
    ("left_shoulder", "right_shoulder"),
    ("right_shoulder", ""),
    *_ARMS,
    ("left_pinky", "left_wrist"),
    ("right_pinky", "right_wrist"),
    ("left_index", "left_wrist"),
    ("right_index", "right_wrist"),
    ("left_thumb", "left_wrist"),
    ("right_thumb", "right_wrist"),
    *_LEGS,
    *_FEET,
)

# COCO's joints and feet, for detectors that have both.
COCO21 = _tree("coco21", *zip(COCO17.joint_names, COCO17.parent_names, strict=True), *_FEET)

# Joints of detectors, in the order of MPII.
MPII16 = _tree(
    "mpii16",
    ("right_ankle", "right_knee"),
    ("right_knee", "right_hip"),
    ("right_hip", "pelvis"),
    ("left_hip", "pelvis"),
    ("left_knee", "left_hip"),
    ("left_ankle", "left_knee"),
    ("pelvis", ""),
    ("thorax", "pelvis"),
    ("upper_neck", "thorax"),
    ("head_top", "upper_neck"),
    ("right_wrist", "right_elbow"),
    ("right_elbow", "right_shoulder"),
    ("right_shoulder", "thorax"),
    ("left_shoulder", "thorax"),
    ("left_elbow", "left_shoulder"),
    ("left_wrist", "left_elbow"),
)

_MHR70_FIRST = [name for name in COCO17.joint_names if not name.endswith("wrist")]
MHR70_ROWS: dict[str, int] = {name: row for row, name in enumerate(_MHR70_FIRST)} | {
    "left_foot_index": 15,
    "left_heel": 17,
    "right_foot_index": 18,
    "right_heel": 20,
    # Fingers begin at the tip: the knuckle is the fourth, the thumb's the third.
    "right_thumb": 23,
    "right_index": 28,
    "right_pinky": 40,
    "right_wrist": 41,
    "left_thumb": 44,
    "left_index": 49,
    "left_pinky": 61,
    "left_wrist": 62,
}
"""Rows of MHR's 70 joints by their names in BLAZEPOSE33 (SAM 3D Body's sam_3d_body/metadata/mhr70.py)."""

LIMB_JOINTS = tuple(
    f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
"""The twelve joints of arms and legs, with equal names in all skeletons of bodies and images."""
SKELETONS: dict[str, Skeleton] = {s.name: s for s in (SMPL24, REPOSING19, H36M17, COCO17, BLAZEPOSE33)}
"""Skeletons of poses and bodies, by name."""


def skeleton_by_name(name: str) -> Skeleton:
    """Return the skeleton with this name. Raises KeyError with all names for an unknown one."""
    try:
        return COCO21 if name == COCO21.name else SKELETONS[name]
    except KeyError:
        raise KeyError(f"no skeleton named {name!r}; there are {', '.join(SKELETONS)}") from None


def skeletons_with(joint_count: int) -> list[Skeleton]:
    """List the skeletons with this number of joints (two have 17)."""
    return [s for s in SKELETONS.values() if len(s) == joint_count]


DENSEPOSE_CHARTS = 24
"""Number of charts of DensePose's body surface, which are numbered from 1."""
GARMENTS = ("skin", "hair", "upper", "hanging", "trousers", "shoes")
"""Garment labels, numbered from 1: hair with headwear; hanging are skirts, lower parts of dresses, and tails of coats;
trousers with shorts."""
