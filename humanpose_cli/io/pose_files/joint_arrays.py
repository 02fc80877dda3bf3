"""Joint positions from `.npy`: (J, 3) or (T, J, 3) metres; J decides the skeleton.

Lengths that do not depend on the pose decide whether the numbers can be joint positions of a person in metres, so that
handstands, dancers and children pass; errors say what the numbers look like instead. The bounds are wide enough for
comic figures and for the jitter of networks that lift poses from video.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.conventions import SKELETONS, SMPL24, Skeleton, skeleton_by_name, skeletons_with
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.value_limits import check_limits
from humanpose_cli.io.pose_files.target_pose import (
    AXES,
    JointTarget,
    axes_to_camera,
    check_axes,
    choose_person,
    standing_axes,
)

_LIMBS = {
    "upper arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
    "thigh": ("hip", "knee"),
    "shank": ("knee", "ankle"),
}
_SIDES = ("left", "right")

# Shares of the size (leg + trunk). Adults have .16–.21 for the arm's and .29–.32 for the leg's bones, .39 for the
# trunk, .27 from shoulder to shoulder and .09–.2 from hip to hip.
_LIMB_SHARE = (0.05, 0.6)
_TRUNK_SHARE = (0.1, 0.65)
_SHOULDER_SHARE = (0.05, 0.55)
_HIP_SHARE = (0.02, 0.4)
# Maximum shares of small bones, by the joint at their end; they are larger if numbers are mixed up.
_SMALL_BONES = {
    **dict.fromkeys(("hand", "pinky", "index", "thumb", "eye", "ear", "heel"), 0.25),
    **dict.fromkeys(("foot", "spine1", "spine2", "spine3", "head", "collar"), 0.3),
}
_MAX_RATIO = 2.0  # left to right, and between neighbouring bones; at most 1.5 in people
# Maximum change of a bone's length in a motion: (95th − 5th percentile) / median.
_MEDIAN_SWING, _LARGEST_SWING = 0.3, 0.5

_MAX_GAP = 10  # frames from the nearest number, up to which a position is held
_SIZE_METRES = (0.4, 2.6)  # leg + trunk: 1.3 for an adult, 0.5 for a one-year-old
_ADULT_SIZE = 1.3
_UNITS = {"millimetres": 1000.0, "centimetres": 100.0, "inches": 39.37, "feet": 3.281, "kilometres": 0.001}

_AXIS_ANGLE_REMEDY = (
    "axis-angle rotations go into an AMASS file: numpy.savez('pose.npz', poses=p.reshape(-1, 72), "
    "trans=numpy.zeros((len(p), 3)), mocap_framerate=30)"
)


def check_joints(path: Path | str, joints: np.ndarray, skeleton: Skeleton, *, rigid: bool = True) -> tuple[str, ...]:
    """Check that joints can be a person's in metres.

    Args:
        path: The file, for errors.
        joints: (T, J, 3) float, metres. The joints.
        skeleton: Their skeleton.
        rigid: Whether changing lengths of limbs are an error; otherwise they are a warning, and build and unit are not
            checked.

    Returns:
        Warnings.

    Raises:
        InputError: If they cannot; it says what the numbers look like.
    """
    wrong = np.argwhere(~np.isfinite(joints))
    if len(wrong):
        frame, joint, _ = wrong[0]
        got = f"{joints[tuple(wrong[0])]} at frame {frame}, {skeleton.joint_names[joint]}"
        remedy = "leave the frame out or fill the gap"
        raise InputError(path, "holds values that are not finite", got=got, remedy=remedy)
    limbs = {
        f"{side} {bone}": _between(joints, skeleton, f"{side}_{start}", f"{side}_{end}")
        for bone, (start, end) in _LIMBS.items()
        for side in _SIDES
    }
    body_axis = _middle(joints, skeleton, "shoulder") - _middle(joints, skeleton, "hip")
    trunk = float(np.median(np.linalg.norm(body_axis, axis=-1)))
    median = {bone: float(np.median(lengths)) for bone, lengths in limbs.items()}
    size = sum(median[f"{side} {bone}"] for side in _SIDES for bone in ("thigh", "shank")) / 2 + trunk
    if size == 0:
        raise InputError(path, "has all joints at one point", expected="joint positions in metres")
    change = _length_change(limbs)
    if change and not rigid:
        check_limits("joints", joints, path)
        return (f"limb lengths change from frame to frame, as {change}: rotations are read from AMASS files instead",)
    _check_build(path, joints, skeleton, {bone: length / size for bone, length in median.items()}, trunk / size, size)
    _check_unit(path, joints, size)
    check_limits("joints", joints, path)
    if change:
        problem = "cannot be joint positions of one person: bone lengths change"
        remedy = f"give one person's joints, scaled alike in all frames; {_AXIS_ANGLE_REMEDY}"
        raise InputError(path, problem, expected="lengths that stay", got=change, remedy=remedy)
    return ()


def _between(joints: np.ndarray, skeleton: Skeleton, start: str, end: str) -> np.ndarray:
    """Return the distances (T,) of two joints."""
    return np.linalg.norm(joints[:, skeleton.index(start)] - joints[:, skeleton.index(end)], axis=-1)


def _middle(joints: np.ndarray, skeleton: Skeleton, joint: str) -> np.ndarray:
    return joints[:, skeleton.indices(f"{side}_{joint}" for side in _SIDES)].mean(axis=1)


def _check_build(
    path: Path | str, joints: np.ndarray, skeleton: Skeleton, limbs: dict[str, float], trunk: float, size: float
) -> None:
    """Raise InputError for impossible proportions, as of axis-angle vectors or another order of joints."""
    # `limbs` and `trunk` are shares of `size`, the length of leg and trunk in the file's unit.

    def share(start: str, end: str) -> float:
        return float(np.median(_between(joints, skeleton, start, end))) / size

    shares = [(bone, length, _LIMB_SHARE) for bone, length in limbs.items()] + [
        ("trunk", trunk, _TRUNK_SHARE),
        ("shoulder width", share("left_shoulder", "right_shoulder"), _SHOULDER_SHARE),
        ("hip width", share("left_hip", "right_hip"), _HIP_SHARE),
    ]
    for parent, child in skeleton.bones:
        name = skeleton.joint_names[child]
        longest = _SMALL_BONES.get(name.removeprefix("left_").removeprefix("right_"))
        if longest is not None:
            length = share(skeleton.joint_names[parent], name)
            shares.append((f"bone to the {name}".replace("_", " "), length, (0.0, longest)))
    for what, length, (low, high) in shares:
        if not low <= length <= high:
            raise _impossible(path, skeleton, f"the {what} is {length:.2f} of leg and trunk together")
    pairs = [(f"left {bone}", f"right {bone}") for bone in _LIMBS]
    neighbours = (("upper arm", "forearm"), ("thigh", "shank"))
    pairs += [(f"{side} {a}", f"{side} {b}") for side in _SIDES for a, b in neighbours]
    for a, b in pairs:
        ratio = max(limbs[a], limbs[b]) / min(limbs[a], limbs[b])
        if ratio > _MAX_RATIO:
            raise _impossible(path, skeleton, f"the {a} and the {b} differ {ratio:.1f} times in length")


def _impossible(path: Path | str, skeleton: Skeleton, description: str) -> InputError:
    other_order = f"check that the joints stand in the order of {skeleton.name}"
    remedy = f"{_AXIS_ANGLE_REMEDY}; otherwise {other_order}" if len(skeleton) == 24 else other_order
    expected = "a person's joints (J, 3) or (T, J, 3)"
    return InputError(path, "cannot be joint positions", expected=expected, got=description, remedy=remedy)


def _check_unit(path: Path | str, joints: np.ndarray, size: float) -> None:
    low, high = _SIZE_METRES
    if low <= size <= high:
        return
    unit = min(_UNITS, key=lambda name: abs(math.log(size / (_ADULT_SIZE * _UNITS[name]))))
    factor = _UNITS[unit]
    within = low <= size / factor <= high
    looks = [unit] if within else []
    if size > 30 and (joints[..., :2] >= 0).all():
        looks.append("pixels")
    got = f"a person with leg and trunk of {size:.3g}" + (f", as in {' or '.join(looks)}" if looks else "")
    scale = f"divide them by {factor:g}" if within else f"multiply them by {_ADULT_SIZE / size:.3g} for an adult"
    raise InputError(path, "is not in metres", expected=f"leg and trunk of {low}–{high} m", got=got, remedy=scale)


def _length_change(lengths: dict[str, np.ndarray]) -> str:
    """Describe the bone with the largest change of length in a motion, beyond estimators' noise; "" if none."""
    frames = len(next(iter(lengths.values())))
    swing = {
        bone: float((np.percentile(values, 95) - np.percentile(values, 5)) / max(np.median(values), 1e-9))
        for bone, values in lengths.items()
    }
    worst = max(swing, key=lambda bone: swing[bone])
    if np.median(list(swing.values())) <= _MEDIAN_SWING and swing[worst] <= _LARGEST_SWING:
        return ""
    return f"a {worst} of {lengths[worst].min():.2f} to {lengths[worst].max():.2f} m over {frames} frames"


_AXIS_ANGLE_WIDTHS = {66, 69, 72, 132, 135, 144, 156, 159, 165}  # 3 for each joint of SMPL, SMPL-H or SMPL-X
_COUNTS = ", ".join(f"{len(skeleton)} ({skeleton.name})" for skeleton in SKELETONS.values())
_WITHOUT_HANDS = len(SMPL24) - 2
_TEXT_TO_MOTION_RATE = 20.0
MOTION_X = 322
"""Numbers per frame in Motion-X's `.npy`: rotations of SMPL-X and others."""


def joints_of(content: Any, track: int | None, path: Path) -> tuple[np.ndarray, int | None] | None:
    """Return the array of joint positions in a file's contents, and the number of its sample; None for anything else.

    Contents are an array of numbers, or MDM's `results.npy` with several samples: `motion` (N, J, 3, T) and `lengths`
    (N,) (sample/generate.py, GuyTevet/motion-diffusion-model). `track` selects the sample, by default the first.
    """
    if isinstance(content, np.ndarray) and not content.dtype.hasobject and content.shape[1:] != (MOTION_X,):
        return content, None
    if not isinstance(content, Mapping) or not {"motion", "lengths"} <= content.keys():
        return None
    motion = np.asarray(content["motion"])
    if motion.ndim != 4 or motion.shape[2] != 3:
        raise InputError(path, "has a motion of the wrong shape", expected="(N, J, 3, T)", got=str(motion.shape))
    sample, _ = choose_person(path, range(len(motion)), 0, track)
    length = int(np.ravel(content["lengths"])[sample])
    return motion[sample].transpose(2, 0, 1)[:length], sample


def joint_target(
    values: np.ndarray, path: Path | str, skeleton: Skeleton | str | None, axes: str | None
) -> JointTarget:
    """Build a target from an array of joint positions.

    22 joints are SMPL's without the hands, as text-to-motion programs write them, y up and 20 frames a second
    (HumanML3D's `new_joints`: utils/paramUtil.py and README.md, EricGuo5513/HumanML3D). Networks change the lengths of
    limbs, which is a warning.

    Args:
        values: (J, 3) or (T, J, 3), metres. The joints.
        path: The file, for errors.
        skeleton: The skeleton or its name; None selects it by the number of joints.
        axes: The file's axes; None for camera axes.

    Returns:
        The target in camera axes.

    Raises:
        InputError: If shape, count or values cannot be joint positions in metres.
        UsageError: If 17 joints come without the skeleton's name.
    """
    if values.dtype.kind not in "fiu":
        raise InputError(path, "holds no numbers", expected="joint positions", got=str(values.dtype))
    if values.ndim == 2:
        values = values[None]
    _check_shape(path, values)
    confidence, notes, frame_rate = np.ones(values.shape[1], np.float32), list[str](), None
    without_hands = skeleton is None and values.shape[1] == _WITHOUT_HANDS
    if without_hands:
        values, frame_rate = np.concatenate((values, values[:, -2:]), axis=1), _TEXT_TO_MOTION_RATE
        confidence = np.pad(confidence, (0, 2))
        notes.append(f"22 joints are read as SMPL's without the hands, {frame_rate:g} frames a second, as of HumanML3D")
    source_skeleton = _skeleton_for(path, values.shape[1], skeleton)
    joints, found = _held(values.astype(np.float64)), list[str]()
    if not without_hands:
        joints, found = _in_metres(joints, source_skeleton)
    notes += [*found, *check_joints(path, joints, source_skeleton, rigid=not without_hands)]
    chest, feet = _middle(joints, source_skeleton, "shoulder"), _middle(joints, source_skeleton, "ankle")
    if without_hands and axes is None:
        axes, note = standing_axes(chest, feet, "y-up", ("z-up", "camera"))
        notes += note
    axes = axes or "camera"
    check_axes(axes)
    best, note = standing_axes(chest, feet, axes, tuple(AXES))
    lies = f"the person lies or stands on their head in {axes} axes: if that is not so, give `axes={best}`"
    notes += note if best == axes else (lies,)
    in_camera = axes_to_camera(joints, axes).astype(np.float32)
    warnings = tuple(dict.fromkeys(notes))
    return JointTarget(in_camera, source_skeleton, frame_rate, confidence, warnings)


def _held(joints: np.ndarray) -> np.ndarray:
    """Hold the positions of joints (T, J, 3) through short gaps without numbers."""
    held = joints.copy()
    for joint in range(joints.shape[1]):
        known = np.flatnonzero(np.isfinite(joints[:, joint]).all(-1))
        if len(known):
            nearest = known[np.abs(np.arange(len(joints))[:, None] - known).argmin(1)]
            near = np.abs(nearest - np.arange(len(joints))) <= _MAX_GAP
            held[near, joint] = joints[nearest[near], joint]
    return held


def _in_metres(joints: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, list[str]]:
    """Convert joints (T, J, 3) in millimetres or centimetres, whichever gives a person a human size, with a note.

    Pixels, which are not below 0, and other units, which random numbers suit as well, stay.
    """
    size = _size(joints, skeleton)
    units = [name for name, factor in _UNITS.items() if _SIZE_METRES[0] <= size / factor <= _SIZE_METRES[1]]
    if len(units) != 1 or units[0] not in ("millimetres", "centimetres") or (joints[..., :2] >= 0).all():
        return joints, []
    return joints / _UNITS[units[0]], [f"joint positions are read as {units[0]}, in which a person has a human size"]


def _size(joints: np.ndarray, skeleton: Skeleton) -> float:
    """Measure the length of leg and trunk in the unit of joints (T, J, 3)."""
    trunk = np.linalg.norm(_middle(joints, skeleton, "shoulder") - _middle(joints, skeleton, "hip"), axis=-1)
    bones = [
        _between(joints, skeleton, f"{side}_{start}", f"{side}_{end}")
        for side in _SIDES
        for start, end in (_LIMBS["thigh"], _LIMBS["shank"])
    ]
    return float(np.median(trunk) + sum(np.median(bone) for bone in bones) / 2)


def _check_shape(path: Path | str, values: np.ndarray) -> None:
    """Raise InputError unless the shape is (T, J, 3) with T and J above 0; it names usual mix-ups."""
    shape = values.shape
    if len(shape) == 3 and shape[2] == 3 and 0 not in shape:
        return
    flat = shape[-1] if shape else 0
    remedy = "save an array of shape (J, 3) for a pose or (T, J, 3) for a motion"
    if len(shape) in (1, 3) and flat in _AXIS_ANGLE_WIDTHS:
        remedy = _AXIS_ANGLE_REMEDY
    elif flat == 263:
        remedy = "these are features of HumanML3D: save the joints that it recovers from them, (T, 22, 3)"
    elif len(shape) == 3 and flat == 2:
        remedy = "this looks like 2-D joints: a target pose needs depth"
    elif len(shape) == 3 and flat == 4:
        remedy = "if the fourth column is a confidence, leave it out: pose[..., :3]"
    elif len(shape) == 3 and shape[1] == 3 and skeletons_with(flat):
        remedy = "this looks transposed: numpy.swapaxes(pose, -1, -2)"
    elif len(shape) == 4 and shape[2:] == (3, 3):
        remedy = f"these look like rotation matrices; {_AXIS_ANGLE_REMEDY}"
    elif len(shape) == 4 and shape[3] == 3:
        remedy = "if it holds several persons, save one of them: pose[:, 0]"
    got = str(tuple(shape[1:] if len(shape) == 3 and shape[0] == 1 else shape))
    raise InputError(path, "has the wrong shape", expected="(J, 3) or (T, J, 3)", got=got, remedy=remedy)


def _skeleton_for(path: Path | str, count: int, requested_skeleton: Skeleton | str | None) -> Skeleton:
    if isinstance(requested_skeleton, str):
        try:
            requested_skeleton = skeleton_by_name(requested_skeleton)
        except KeyError:
            expected, got = ", ".join(SKELETONS), str(requested_skeleton)
            raise UsageError("skeleton", "is unknown", expected=expected, got=got) from None
    if requested_skeleton is not None:
        if len(requested_skeleton) != count:
            expected = f"{len(requested_skeleton)} for {requested_skeleton.name}"
            raise InputError(path, "has the wrong number of joints", expected=expected, got=str(count))
        return requested_skeleton
    candidates = skeletons_with(count)
    if len(candidates) > 1:
        names = " or ".join(sorted((skeleton.name for skeleton in candidates), reverse=True))
        raise UsageError(path, f"has {count} joints, which two skeletons have", remedy=f"give `skeleton`: {names}")
    if not candidates:
        expected = f"{_COUNTS}, {_WITHOUT_HANDS} (smpl24 without hands)"
        remedy = "convert it to one of them"
        raise InputError(path, "has the wrong number of joints", expected=expected, got=str(count), remedy=remedy)
    return candidates[0]
