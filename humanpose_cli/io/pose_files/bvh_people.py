"""A person's SMPL joints in a BVH file: names of the usual programs, and the unit of length.

Known names: MotionBuilder, Mixamo, CMU (LeftUpLeg, LeftLeg, LeftFoot, LeftToeBase; LeftShoulder, LeftArm,
LeftForeArm, LeftHand), plain (LeftHip, LeftKnee, LeftAnkle; LeftCollar, LeftShoulder, LeftElbow, LeftWrist), SMPL
(L_Hip …), Poser and Daz (lThigh, lShin, lShldr, lForeArm), 3ds Max Biped (Bip01 L Thigh, Calf, UpperArm, Clavicle),
Blender and MakeHuman (thigh.L, shin.L, upper_arm.L), Unreal (thigh_l, calf_l), Acclaim (lfemur, ltibia, lhumerus).
The trunk is told by the tree: what lies between the hips' and the arms' branching points.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from humanpose_cli.conventions import SMPL24
from humanpose_cli.errors import InputError
from humanpose_cli.io.pose_files.bvh import BvhMotion, read_bvh_motion
from humanpose_cli.io.pose_files.target_pose import TargetPose, axes_to_camera, check_axes

__all__ = ["find_smpl_joints", "read_bvh", "unit_in_metres"]

_HIP = ("upleg", "upperleg", "thigh", "femur", "hip", "legupper")
_KNEE = ("knee", "lowleg", "lowerleg", "shin", "calf", "tibia", "leglower", "leg")
_ANKLE = ("ankle", "foot")
_TOES = ("toebase", "toe", "toes", "ball", "toe0", "foot")
_COLLAR = ("collar", "clavicle", "shoulder")
_SHOULDER = ("uparm", "upperarm", "arm", "shldr", "humerus", "shoulder")
_ELBOW = ("elbow", "forearm", "lowarm", "lowerarm", "radius")
_WRIST = ("wrist", "hand")
_HAND = ("hand", "handmiddle1", "middle1", "middleproximal", "mid1", "fingerbase", "finger2", "handindex1", "index1")
# In the order in which they claim a joint: "Foot" is the ankle unless there is an "Ankle", and so on.
_ROLES = {
    "hip": _HIP,
    "knee": _KNEE,
    "ankle": _ANKLE,
    "foot": _TOES,
    "shoulder": _SHOULDER,
    "collar": _COLLAR,
    "elbow": _ELBOW,
    "wrist": _WRIST,
    "hand": _HAND,
}
_NEEDED = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_WORDS = {word for words in _ROLES.values() for word in words}

_HEAD = ("head", "skull")
_NECK = ("neck", "neck1", "upperneck", "lowerneck")

# Roughly where the file puts a joint that SMPL puts a little elsewhere.
_NEAR = 0.5

_ADULT_SIZE = 1.3  # metres, leg and trunk
_UNITS = {
    "metres": 1.0,
    "centimetres": 0.01,
    "millimetres": 0.001,
    "inches": 0.0254,
    "CMU units": 0.0254 / 0.45,  # the CMU library's skeletons are in inches times 0.45
}


def _words(name: str) -> tuple[str, str]:
    """'mixamorig:LeftUpLeg', 'thigh.L', 'L_Hip', 'lfemur' → (side, word): ('left', 'upleg'), ('left', 'thigh') …"""
    plain = re.split(r"[:|]", name)[-1]
    parts = [part.lower() for part in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", plain)]
    side, rest = "", []
    for part in parts:
        sided = re.fullmatch(r"(left|right)(.*)", part)
        if side == "" and part in {"l", "r"}:
            side = "left" if part == "l" else "right"
        elif side == "" and sided:
            side = sided[1]
            rest.append(sided[2])
        elif side == "" and part[0] in "lr" and part[1:] in _WORDS and part not in _WORDS:
            side = "left" if part[0] == "l" else "right"
            rest.append(part[1:])
        else:
            rest.append(part.lstrip("0") or part)
    word = re.sub(r"^(mixamorig\d*|j?bip\d*|character\d*|ccbase|def|org)(?=\D)", "", "".join(rest))
    shorter = word.removesuffix("bend").removesuffix("1")  # Daz's lThighBend, MakeHuman's upperarm01
    return side, shorter if word not in _WORDS and shorter in _WORDS else word


def find_smpl_joints(motion: BvhMotion) -> dict[str, tuple[int, float]]:
    """SMPL joint → (row in the file, confidence): 1, or `_NEAR` for a joint that SMPL puts a little elsewhere.

    Joints that the file lacks are left out. KeyError naming the limb joints that could not be found.
    """
    named = {_words(joint.name): row for row, joint in reversed(list(enumerate(motion.joints))) if not joint.is_end}
    found: dict[str, tuple[int, float]] = {}
    for side in ("left", "right"):
        taken: set[int] = set()
        for role, words in _ROLES.items():
            row = next((named[side, word] for word in words if named.get((side, word), -1) not in {-1, *taken}), None)
            if row is not None:
                found[f"{side}_{role}"] = (row, 1.0)
                taken.add(row)
    missing = [f"{side} {role}" for side in ("left", "right") for role in _NEEDED if f"{side}_{role}" not in found]
    if missing:
        raise KeyError(", ".join(missing))
    _add_ends(motion, found)
    _add_trunk(motion, named, found)
    return found


def _add_ends(motion: BvhMotion, found: dict[str, tuple[int, float]]) -> None:
    """Toes and hands from the end sites of feet and wrists, where there are no joints of their own."""
    for end, joint in (("foot", "ankle"), ("hand", "wrist")):
        for side in ("left", "right"):
            parent = found[f"{side}_{joint}"][0]
            tips = [row for row, tip in enumerate(motion.joints) if tip.is_end and tip.parent == parent]
            if f"{side}_{end}" not in found and len(tips) == 1 and np.any(motion.joints[tips[0]].offset):
                found[f"{side}_{end}"] = (tips[0], _NEAR)


def _ancestors(motion: BvhMotion, row: int) -> list[int]:
    """The row itself, its parent, … up to the root."""
    chain = [row]
    while (row := motion.joints[row].parent) >= 0:
        chain.append(row)
    return chain


def _branching_point(motion: BvhMotion, a: int, b: int) -> int:
    above = set(_ancestors(motion, b))
    return next(row for row in _ancestors(motion, a) if row in above)


def _add_trunk(motion: BvhMotion, named: dict[tuple[str, str], int], found: dict[str, tuple[int, float]]) -> None:
    """Pelvis, spine, neck and head by the tree."""
    pelvis = _branching_point(motion, found["left_hip"][0], found["right_hip"][0])
    chest = _branching_point(motion, found["left_shoulder"][0], found["right_shoulder"][0])
    found["pelvis"] = (pelvis, 1.0)
    chain = _ancestors(motion, chest)
    spine = chain[: chain.index(pelvis)][::-1] if pelvis in chain else []
    places = {1: ("spine2",), 2: ("spine1", "spine3")}.get(len(spine), ("spine1", "spine2", "spine3"))
    if spine:
        rows = [spine[round(i * (len(spine) - 1) / max(1, len(places) - 1))] for i in range(len(places))]
        found.update({place: (row, _NEAR) for place, row in zip(places, rows, strict=True)})
    for joint, words in (("neck", _NECK), ("head", _HEAD)):
        row = next((named["", word] for word in words if ("", word) in named), None)
        if row is not None:
            found[joint] = (row, 1.0)


def unit_in_metres(positions: np.ndarray, found: dict[str, tuple[int, float]]) -> tuple[str, float]:
    """Name and length in metres of the file's unit: the one that brings leg and trunk nearest to an adult's 1.3 m.

    Known units: metres, centimetres, millimetres, inches, and the CMU library's 5.64 cm. They lie further apart than
    children and adults do. positions (J, 3) of one frame; ValueError where they have no extent.
    """

    def place(joint: str) -> np.ndarray:
        return positions[found[joint][0]]

    def between(a: str, b: str) -> float:
        return float(np.linalg.norm(place(a) - place(b)))

    leg = (("hip", "knee"), ("knee", "ankle"))
    legs = [between(f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in leg]
    middle = [(place(f"left_{joint}") + place(f"right_{joint}")) / 2 for joint in ("shoulder", "hip")]
    size = sum(legs) / 2 + float(np.linalg.norm(middle[0] - middle[1]))
    if not 0 < size < math.inf:
        raise ValueError("its bones have no length")
    name = min(_UNITS, key=lambda unit: abs(math.log(size * _UNITS[unit] / _ADULT_SIZE)))
    return name, _UNITS[name]


def _up_axis(motion: BvhMotion, found: dict[str, tuple[int, float]]) -> str:
    """'y-up' as usual, unless the rest skeleton stands along z."""
    rest = motion.rest_positions()
    feet = (rest[found["left_ankle"][0]] + rest[found["right_ankle"][0]]) / 2
    up = (rest[found["left_shoulder"][0]] + rest[found["right_shoulder"][0]]) / 2 - feet
    return "z-up" if abs(up[2]) > abs(up[1]) else "y-up"


def read_bvh(path: Path, axes: str | None) -> TargetPose:
    """A motion from a `.bvh` file as SMPL joint positions in metres, camera axes.

    axes None: y up, or z up if the rest skeleton stands so. Joints that the file lacks have confidence 0. InputError
    for damage and for skeletons whose limbs have no known names.
    """
    motion = read_bvh_motion(path)
    try:
        found = find_smpl_joints(motion)
        positions = motion.positions()
        _, metres = unit_in_metres(positions[0], found)
    except KeyError as error:
        names = ", ".join(joint.name for joint in motion.joints[:12] if not joint.is_end)
        raise InputError(
            path,
            f"has no joints known as {error.args[0]}",
            expected="a person with the names of Mixamo, CMU, SMPL or Blender",
            got=names,
            remedy="rename the joints (LeftUpLeg, LeftLeg, LeftFoot, LeftArm, LeftForeArm, LeftHand …)",
        ) from error
    except ValueError as error:
        raise InputError(path, f"is no person: {error}") from error
    axes = axes or _up_axis(motion, found)
    check_axes(axes)
    positions = axes_to_camera(positions * metres, axes)
    joints = np.zeros((len(positions), len(SMPL24), 3), np.float32)
    confidence = np.zeros(len(SMPL24), np.float32)
    for row, (joint, parent) in enumerate(zip(SMPL24.joint_names, SMPL24.parents, strict=True)):
        if joint in found:
            source, confidence[row] = found[joint]
            joints[:, row] = positions[:, source]
        else:
            joints[:, row] = joints[:, parent]
    return TargetPose(
        path,
        "bvh",
        frame_rate=1.0 / motion.frame_time,
        joints=joints,
        skeleton=SMPL24,
        joint_confidence=confidence,
        axes_rotation=np.eye(3, dtype=np.float32),
    )
