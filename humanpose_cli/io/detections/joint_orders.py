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

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, LIMB_JOINTS, MHR70_ROWS, MPII16
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

_OF_ROW = {row: name for name, row in MHR70_ROWS.items()}  # Sapiens' first 70 are MHR's

ORDERS: dict[str, tuple[str, ...]] = {
    "COCO": COCO17.joint_names,
    "COCO-WholeBody": (*COCO17.joint_names, *_COCO_FEET, *("",) * (_HALF_FACE + _HANDS)),
    "Halpe 26": HALPE26,
    "Sapiens": tuple(_OF_ROW.get(row, "") for row in range(308)),
    "Halpe 136": (*HALPE26, *("",) * (_HALF_FACE + _HANDS)),
    "BODY_25": (*_UPPER, "pelvis", *_LEGS, *_FACE, *_COCO_FEET),
    "BODY_25B": (*COCO17.joint_names, "neck", "head_top", *_COCO_FEET),
    "OpenPose's COCO": (*_UPPER, *_LEGS, *_FACE),
    "MPII": MPII16.joint_names,
    "MediaPipe": BLAZEPOSE33.joint_names,
    "Human3.6M": (
        *("pelvis", *(f"{side}_{joint}" for side in ("right", "left") for joint in ("hip", "knee", "ankle"))),
        *("spine", "thorax", "neck", "head"),
        *(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist")),
    ),
    "CrowdPose": (*COCO17.joint_names[5:], "head_top", "neck"),
    "AIC": (
        *(f"{side}_{joint}" for side in ("right", "left") for joint in ("shoulder", "elbow", "wrist")),
        *(f"{side}_{joint}" for side in ("right", "left") for joint in ("hip", "knee", "ankle")),
        *("head_top", "neck"),
    ),
    "LSP": (
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
        *("neck", "head_top"),
    ),
}
"""Names of the joints, from blazepose33 if it has them; "" and other names for joints that no body uses."""
_OPENPOSE_ONLY = ("BODY_25", "BODY_25B", "OpenPose's COCO")  # easy_ViTPose has another order of 25 joints, with names
_DEFAULTS = ("COCO", "BODY_25")  # of several orders with one count, the ones that are read without a note
_COUNTS = ", ".join(f"{len(joints)} ({name})" for name, joints in sorted(ORDERS.items(), key=lambda item: len(item[1])))
_REMEDY = "name the joints, as COCO's categories do"
_MARGIN = 0.7  # largest score of the likeliest order, as a share of the next order's
_LIMBS = {  # lengths of an adult's limbs in metres
    **{(f"{side}_shoulder", f"{side}_elbow"): 0.29 for side in ("left", "right")},
    **{(f"{side}_elbow", f"{side}_wrist"): 0.26 for side in ("left", "right")},
    **{(f"{side}_hip", f"{side}_knee"): 0.42 for side in ("left", "right")},
    **{(f"{side}_knee", f"{side}_ankle"): 0.42 for side in ("left", "right")},
    **{(f"{side}_shoulder", f"{side}_hip"): 0.5 for side in ("left", "right")},
}
_MIN_LIMB_JOINTS = 6
_MIN_LIMBS = 4
COUNTS = frozenset(map(len, ORDERS.values()))
"""Numbers of joints of the orders."""
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}


def check_count(where: str, kind: str, count: int, *, openpose: bool = False) -> list[str]:
    """Return the orders of people with `count` unnamed points. Raises InputError about record `where` if none has.

    Args:
        where: The file and the record, for errors.
        kind: The kind of file, for errors.
        count: Number of points.
        openpose: Whether the file has OpenPose's form.
    """
    names = [n for n, joints in ORDERS.items() if len(joints) == count and (openpose or n not in _OPENPOSE_ONLY)]
    if not names:
        problem = f"holds {count} unnamed points ({kind})"
        raise InputError(where, problem, expected=_COUNTS, got=str(count), remedy=_REMEDY)
    return names


def order_of_points(where: str, people: Sequence[np.ndarray], *, openpose: bool) -> tuple[tuple[str, ...], str]:
    """Find the order of unnamed points: of several with their count, the one with the likeliest lengths of limbs.

    Args:
        where: The file, for errors.
        people: (K, 3) of each person: x, y and confidence.
        openpose: Whether the file has OpenPose's form.

    Returns:
        Names of the joints, and a note if the order is not the usual one.

    Raises:
        InputError: If no order, or none of several unusual orders, is likely.
    """
    names = check_count(where, "keypoints", len(people[0]), openpose=openpose)
    if len(names) == 1:
        return ORDERS[names[0]], ""
    points = np.stack(people)
    points = np.where(points[..., 2:] > 0, points[..., :2], np.nan)
    scores = {name: _unlikeliness(points, ORDERS[name]) for name in names}
    best, second = sorted(names, key=scores.__getitem__)[:2]
    usual = next((name for name in _DEFAULTS if name in names), "")
    # An order that has too few limbs cannot be compared.
    if not (np.isfinite(scores[second]) and scores[best] <= _MARGIN * scores[second]):
        if not usual:
            problem, got = f"holds {len(people[0])} unnamed points", " or ".join(names)
            raise InputError(where, problem, expected="an order that the points tell", got=got, remedy=_REMEDY)
        best = usual
    return ORDERS[best], "" if best == usual else f"the order of the {len(people[0])} points is that of {best}"


def _unlikeliness(points: np.ndarray, joints: Sequence[str]) -> float:
    """Return how much the ratios of limbs in points (N, K, 2) to an adult's limbs vary, as mean absolute logarithm."""
    ends = np.array([[joints.index(a), joints.index(b)] for a, b in _LIMBS])
    lengths = np.linalg.norm(points[:, ends[:, 0]] - points[:, ends[:, 1]], axis=-1)
    logarithms = np.log(np.maximum(lengths, 1e-9) / [*_LIMBS.values()])
    logarithms = logarithms[np.isfinite(logarithms).sum(1) >= _MIN_LIMBS]
    if not len(logarithms):
        return np.inf
    return float(np.nanmean(np.abs(logarithms - np.nanmedian(logarithms, 1, keepdims=True))))


def joints_by_name(where: str, kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return blazepose33's names of a file's joints; "" for joints that blazepose33 lacks.

    Names may be written as left_shoulder, LShoulder, "shoulder left" or l-shoulder. A foot is the ankle if the file
    names no ankle, as in Human3.6M; a big toe is the index of the foot. Raises InputError if less than half of the
    limbs' joints are named.
    """
    joints = [_joint(name) for name in names]
    if not any(joint.endswith("_ankle") for joint in joints):
        joints = [joint.replace("_foot", "_ankle") if joint.endswith("_foot") else joint for joint in joints]
    joints = [joint if joint in BLAZEPOSE33 else "" for joint in joints]
    if len(set(joints).intersection(LIMB_JOINTS)) < _MIN_LIMB_JOINTS:
        got = ", ".join(names)[:80]
        raise InputError(where, f"holds joints of other names ({kind})", expected=", ".join(LIMB_JOINTS), got=got)
    return tuple(joints)


def has_limbs(names: Sequence[str]) -> bool:
    """Return whether all twelve joints of arms and legs are among a file's names; animals lack some."""
    return set(LIMB_JOINTS) <= {_joint(name) for name in names}


def body_joint(name: str) -> bool:
    """Return whether a name is that of a joint that blazepose33 has."""
    return _joint(name) in BLAZEPOSE33


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


@lru_cache(maxsize=64)  # all people of a file have few orders
def _places(joints: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a file's joints that blazepose33 has, and their rows there."""
    pairs = [(row, BLAZEPOSE33.index(joint)) for row, joint in enumerate(joints) if joint in BLAZEPOSE33]
    from_rows, to_rows = np.array(pairs, np.intp).reshape(-1, 2).T
    return from_rows, to_rows
