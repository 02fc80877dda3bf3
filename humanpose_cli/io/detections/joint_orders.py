"""Orders of pose detectors' joints, by name and by count, and the mapping of their names to blazepose33.

Sources: keypoint_info of MMPose's configs/_base_/datasets (coco.py, coco_wholebody.py, halpe.py, halpe26.py, mpii.py
and, for names, crowdpose.py, aic.py, posetrack18.py, h36m.py); OpenPose's doc/02_output.md (BODY_25, COCO); AlphaPose's
docs/output.md (COCO, MPII); Halpe-FullBody's README.md (26 and 136); MediaPipe's PoseLandmark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, LIMB_JOINTS, MPII16
from humanpose_cli.core.errors import InputError

_HALF_FACE = 68
_HANDS = 42
_TOES_AND_HEEL = ("foot_index", "small_toe", "heel")
_COCO_FEET = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in _TOES_AND_HEEL)
_UPPER = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)
_LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
HALPE26 = (
    *COCO17.joint_names,
    *("head_top", "neck", "pelvis"),
    *(f"{side}_{joint}" for joint in _TOES_AND_HEEL for side in ("left", "right")),
)

ORDERS: dict[str, tuple[str, ...]] = {
    "COCO": COCO17.joint_names,
    "COCO-WholeBody": (*COCO17.joint_names, *_COCO_FEET, *("",) * (_HALF_FACE + _HANDS)),
    "Halpe 26": HALPE26,
    "Halpe 136": (*HALPE26, *("",) * (_HALF_FACE + _HANDS)),
    "BODY_25": (*_UPPER, "pelvis", *_LEGS, *_FACE, *_COCO_FEET),
    "OpenPose's COCO": (*_UPPER, *_LEGS, *_FACE),
    "MPII": MPII16.joint_names,
    "MediaPipe": BLAZEPOSE33.joint_names,
}
"""Names of the joints, from blazepose33 if it has them; "" for joints that no body uses."""
_OPENPOSE_ONLY = ("BODY_25", "OpenPose's COCO")  # easy_ViTPose has another order of 25 joints, with names
_OF_COUNT = {len(joints): name for name, joints in ORDERS.items()}
_COUNTS = ", ".join(f"{count} ({name})" for count, name in sorted(_OF_COUNT.items()))
_REMEDY = "name the joints, as COCO's categories do: CrowdPose and AIC both have 14, PoseTrack and Human3.6M 17"
_MIN_LIMB_JOINTS = 6
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}


def joints_by_count(where: str, kind: str, count: int, *, openpose: bool = False) -> tuple[str, ...]:
    """Return the joints of people with `count` unnamed points.

    Args:
        where: The file and the record, for errors.
        kind: The kind of file, for errors.
        count: Number of points.
        openpose: Whether the file has OpenPose's form.

    Returns:
        Names of the joints.

    Raises:
        InputError: If no order or several orders have this count.
    """
    name = _OF_COUNT.get(count)
    if name is None or (name in _OPENPOSE_ONLY and not openpose):
        problem = f"holds {count} unnamed points ({kind})"
        raise InputError(where, problem, expected=_COUNTS, got=str(count), remedy=_REMEDY)
    return ORDERS[name]


def joints_by_name(where: str, kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return blazepose33's names of a file's joints; "" for joints that blazepose33 lacks.

    Names may be written as left_shoulder, LShoulder, "shoulder left" or l-shoulder. A foot is the ankle if the file
    names no ankle, as in Human3.6M; a big toe is the index of the foot. Raises InputError if less than half of the
    limbs' joints are named.
    """
    joints = _joints(tuple(names))
    if len(set(joints).intersection(LIMB_JOINTS)) < _MIN_LIMB_JOINTS:
        got = ", ".join(names)[:80]
        raise InputError(where, f"holds joints of other names ({kind})", expected=", ".join(LIMB_JOINTS), got=got)
    return joints


@lru_cache(maxsize=64)  # files with 100,000 people have the same names in each
def _joints(names: tuple[str, ...]) -> tuple[str, ...]:
    joints = [_joint(name) for name in names]
    if not any(joint.endswith("_ankle") for joint in joints):
        joints = [joint.replace("_foot", "_ankle") if joint.endswith("_foot") else joint for joint in joints]
    return tuple(joint if joint in BLAZEPOSE33 else "" for joint in joints)


def has_limbs(names: Sequence[str]) -> bool:
    """Return whether all twelve joints of arms and legs are among a file's names; animals lack some."""
    return set(LIMB_JOINTS) <= {_joint(name) for name in names}


def _joint(name: str) -> str:
    """Convert a name to blazepose33's form: the side first, in lower case."""
    tokens = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+", name)]
    side = next((_SIDES[word] for word in tokens if word in _SIDES), "")
    joint = "_".join(word for word in tokens if word not in _SIDES)
    joint = "foot_index" if joint in ("big_toe", "bigtoe") else joint
    return f"{side}_{joint}" if side else joint


def to_blazepose(rows: np.ndarray, joints: Sequence[str]) -> np.ndarray:
    """Reorder joints (K, 3) x, y, score to (33, 3) float32; scores are clipped to 0 to 1, missing joints are 0."""
    result = np.zeros((len(BLAZEPOSE33), 3), np.float32)
    from_rows, to_rows = _places(tuple(joints))
    seen = rows[from_rows, 2] > 0
    result[to_rows[seen]] = rows[from_rows[seen]]
    np.minimum(result[:, 2], 1, out=result[:, 2])
    return result


@lru_cache(maxsize=64)
def _places(joints: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a file's joints that blazepose33 has, and their rows there."""
    pairs = [(row, BLAZEPOSE33.index(joint)) for row, joint in enumerate(joints) if joint in BLAZEPOSE33]
    from_rows, to_rows = np.array(pairs, np.intp).reshape(-1, 2).T
    return from_rows, to_rows
