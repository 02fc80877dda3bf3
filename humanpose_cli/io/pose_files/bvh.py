"""BVH (Biovision Hierarchy): the format, and a person's SMPL joints in it.

A file holds a tree of joints with offsets, and channel values for each frame. Known names: MotionBuilder, Mixamo,
CMU (LeftUpLeg, LeftLeg, LeftFoot, LeftToeBase; LeftShoulder, LeftArm, LeftForeArm, LeftHand), plain (LeftHip,
LeftKnee, LeftAnkle; LeftCollar, LeftShoulder, LeftElbow, LeftWrist), SMPL (L_Hip …), Poser and Daz (lThigh, lShin,
lShldr, lForeArm), 3ds Max Biped (Bip01 L Thigh, Calf, UpperArm, Clavicle), Blender and MakeHuman (thigh.L, shin.L,
upper_arm.L), Unreal (thigh_l, calf_l), Acclaim (lfemur, ltibia, lhumerus), OptiTrack (LThigh, LUArm, LFArm), OpenSim
(talus_l), Auto-Rig Pro (thigh_stretch.l), Valve (ValveBiped.Bip01_L_Thigh, bip_hip_L, leg_upper_L), MikuMikuDance
(左足, 足.L, leg_L), and SOMA, where Leg is the thigh and Shin is below it (kimodo/skeleton/definitions.py,
nv-tlabs/kimodo@7330e7eb). What most names of a file begin or end with is cut (m_avg_, Bob_, Skeleton1_, DEF-, J_Bip_,
_joint), and numbers behind nearly all names (Sketchfab's Hips_01). The trunk follows from the tree: what lies between
the hips' and the arms' branching points.
"""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import ne
from pathlib import Path

import numpy as np

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.sniffing import file_kind, read_bytes
from humanpose_cli.files.value_limits import LIMITS, check_limits
from humanpose_cli.io.pose_files.target_pose import JointTarget, axes_to_camera, standing_axes

_CHANNEL = re.compile(r"([xyz])(position|rotation)", re.IGNORECASE)
_MAX_JOINTS = 2000


@dataclass
class BvhJoint:
    """A joint or an end site.

    Attributes:
        name: Its name.
        parent: Row of its parent; −1 for the root.
        offset: (3,) float. Position relative to its parent in the file's unit.
        channels: (axis 0 to 2, 'position' or 'rotation') of each channel.
        is_end: Whether it is an end site.
    """

    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: list[tuple[int, str]] = field(default_factory=list)
    is_end: bool = False


@dataclass(frozen=True, eq=False)
class BvhMotion:
    """A parsed file; lengths are in the file's unit, angles in degrees.

    Attributes:
        joints: The joints in the file's order, parents first.
        values: (T, C) float. Values of all channels.
        frame_time: Seconds per frame.
        notes: Sentences about irregularities of the file.
    """

    joints: list[BvhJoint]
    values: np.ndarray
    frame_time: float
    notes: tuple[str, ...] = ()

    def positions(self) -> np.ndarray:
        """Compute joint positions (T, J, 3) in the file's axes and unit.

        Rotation channels turn in the order listed, the first outermost. Position channels replace the offset along
        their axis, as in animation programs.
        """
        count = len(self.values)
        positions = np.empty((count, len(self.joints), 3))
        rotations = np.empty((count, len(self.joints), 3, 3))
        column = 0
        for row, joint in enumerate(self.joints):
            values = self.values[:, column : column + len(joint.channels)]
            column += len(joint.channels)
            shift, turn = _local(joint, values)
            if joint.parent < 0:
                positions[:, row], rotations[:, row] = shift, turn
            else:
                above = rotations[:, joint.parent]
                positions[:, row] = positions[:, joint.parent] + np.einsum("tij,tj->ti", above, shift)
                rotations[:, row] = above @ turn
        return positions

    def rest_positions(self) -> np.ndarray:
        """Compute joint positions (J, 3) with all rotations zero and the root at the origin."""
        positions = np.zeros((len(self.joints), 3))
        for row, joint in enumerate(self.joints):
            if joint.parent >= 0:
                positions[row] = positions[joint.parent] + joint.offset
        return positions


def _local(joint: BvhJoint, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a joint's shift (T, 3) and rotation (T, 3, 3) within its parent."""
    shift = np.tile(joint.offset, (len(values), 1))
    turn = np.tile(np.eye(3), (len(values), 1, 1))
    for (axis, kind), column in zip(joint.channels, values.T, strict=True):
        if kind == "position":
            shift[:, axis] = column
        else:
            turn = turn @ _about_axis(axis, np.deg2rad(column))
    return shift, turn


def _about_axis(axis: int, angles: np.ndarray) -> np.ndarray:
    """Return right-handed rotations (T, 3, 3) about x, y or z by angles (T,) in radians."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrices = np.zeros((len(angles), 3, 3))
    matrices[:, axis, axis] = 1
    matrices[:, i, i] = matrices[:, j, j] = np.cos(angles)
    matrices[:, j, i] = np.sin(angles)
    matrices[:, i, j] = -np.sin(angles)
    return matrices


def read_bvh_motion(path: Path) -> BvhMotion:
    """Parse a `.bvh` file. Raises InputError with the line of an error."""
    text = read_bytes(path).decode("utf-8", "replace")
    if not text.lstrip("\ufeff \t\r\n").upper().startswith("HIERARCHY"):
        raise InputError(path, "is no BVH file", expected="a text that begins with HIERARCHY", got=file_kind(path))
    lines = _Lines(path, text)
    joints = _parse_hierarchy(lines)
    count, frame_time = _parse_motion_header(lines)
    width = sum(len(joint.channels) for joint in joints)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy's warning about text that is not numbers
            values = np.fromstring(lines.rest(), np.float64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise InputError(path, "holds something other than numbers in its motion") from error
    notes: tuple[str, ...] = ()
    if width and len(values) == (count + 1) * width:  # some programs count from 0
        count += 1
        notes = (f"{path}: holds {count} frames, one more than its header says: all are read",)
    if width == 0 or len(values) != count * width:
        got = f"{len(values)} numbers ({len(values) / width:.5g} frames)" if width else "no channel"
        expected = f"{count} frames of {width} numbers"
        raise InputError(path, "is truncated or damaged", expected=expected, got=got, remedy="export it again")
    if not np.isfinite(values).all():
        frame = int(np.argwhere(~np.isfinite(values))[0][0]) // width
        raise InputError(path, "holds values that are not finite", got=f"in frame {frame}", remedy="export it again")
    values = values.reshape(count, width)
    check_limits("channels", values, path)
    return BvhMotion(joints, values, frame_time, notes)


class _Lines:
    """The file's lines without empty ones, with each brace on a line of its own."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text.lstrip("\ufeff")
        self._parts = re.finditer(r"[{}]|[^{}\r\n]+", self._text)
        self._end = 0

    def next(self) -> tuple[str, str]:
        """Return the keyword in capitals and the rest of the next line; ("", "") at the end."""
        for part in self._parts:
            self._end = part.end()
            if line := part[0].strip():
                keyword, _, rest = line.replace("\t", " ").partition(" ")
                return keyword.upper(), rest.strip()
        return "", ""

    def rest(self) -> str:
        """Return all further lines."""
        return self._text[self._end :]

    def error(self, expected: str, got: str) -> InputError:
        number = len(re.findall(r"\r\n|\r|\n", self._text[: self._end])) + 1
        return InputError(f"{self._path}, line {number}", "is not BVH", expected=expected, got=got or "the end")


def _parse_hierarchy(lines: _Lines) -> list[BvhJoint]:
    joints: list[BvhJoint] = []
    open_joints: list[int] = []
    keyword, _ = lines.next()  # HIERARCHY, as checked
    while True:
        keyword, rest = lines.next()
        if keyword == "MOTION" and joints and not open_joints:
            return joints
        if keyword in {"ROOT", "JOINT", "END"}:
            if (keyword == "ROOT") == bool(open_joints) or (keyword == "ROOT" and joints):
                got = f"another one, {rest}: several people" if keyword == "ROOT" else keyword
                raise lines.error("one ROOT with all other joints inside it", got)
            if len(joints) >= _MAX_JOINTS:
                raise lines.error(f"at most {_MAX_JOINTS} joints", "more")
            parent = open_joints[-1] if open_joints else -1
            name = f"{joints[parent].name}_end" if keyword == "END" else rest
            joints.append(BvhJoint(name, parent, is_end=keyword == "END"))
            brace, _ = lines.next()
            if brace != "{":
                raise lines.error("{", brace)
            open_joints.append(len(joints) - 1)
        elif keyword == "}" and open_joints:
            open_joints.pop()
        elif keyword == "OFFSET" and open_joints:
            joints[open_joints[-1]].offset = _offset(lines, rest)
        elif keyword == "CHANNELS" and open_joints:
            joints[open_joints[-1]].channels = _channels(lines, rest)
        else:
            raise lines.error("ROOT, JOINT, End Site, OFFSET, CHANNELS, MOTION or a brace", f"{keyword} {rest}".strip())


def _offset(lines: _Lines, rest: str) -> np.ndarray:
    try:
        offset = np.array(rest.split(), np.float64)
    except ValueError:
        offset = np.zeros(0)
    if offset.shape != (3,) or not (np.abs(offset) <= LIMITS["channels"].high).all():
        raise lines.error(f"OFFSET with three numbers up to {LIMITS['channels'].high:g}", f"OFFSET {rest}")
    return offset


def _channels(lines: _Lines, rest: str) -> list[tuple[int, str]]:
    count, *names = rest.split() or [""]
    matches = [_CHANNEL.fullmatch(name) for name in names]
    channels = [("xyz".index(match[1].lower()), match[2].lower()) for match in matches if match]
    if _count(count) != len(names) or len(channels) != len(names):
        raise lines.error("CHANNELS, their number, and names such as Xposition or Zrotation", f"CHANNELS {rest}")
    return channels


def _parse_motion_header(lines: _Lines) -> tuple[int, float]:
    keyword, rest = lines.next()
    frames = _count(rest)
    if keyword != "FRAMES:" or not frames:
        raise lines.error("Frames: and their number", f"{keyword} {rest}".strip())
    keyword, text = lines.next()
    match = re.fullmatch(r"TIME:\s*(\S+)", text, re.IGNORECASE)
    try:
        seconds = float(match[1]) if keyword == "FRAME" and match else 0.0
    except ValueError:
        seconds = 0.0
    if not 1e-5 < seconds < 1e4:
        comma = " with a decimal point" if "," in text else ""
        raise lines.error(f"Frame Time: and seconds{comma}", f"{keyword} {text}".strip())
    return frames, seconds


def _count(text: str) -> int | None:
    """Parse a count; None for anything else, and for too many digits."""
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


# Known names of joints, in the order in which they claim one: "Foot" is the ankle unless there is an "Ankle".
_SHINS = ("knee", "lowleg", "lowerleg", "shin", "calf", "tibia", "leglower")
_THIGH_OVER_SHIN = "leg"
_ROLES = {
    "hip": ("upleg", "upperleg", "thigh", "femur", "hip", "legupper", _THIGH_OVER_SHIN),
    "knee": (*_SHINS, "leg"),
    "ankle": ("ankle", "talus", "foot"),
    "foot": ("toebase", "toe", "toes", "ball", "toe0", "foot"),
    "shoulder": ("uparm", "upperarm", "armupper", "uarm", "arm", "shldr", "humerus", "shoulder"),
    "collar": ("collar", "clavicle", "scapula", "shoulder"),
    "elbow": ("elbow", "forearm", "lowarm", "lowerarm", "armlower", "farm", "radius"),
    "wrist": ("wrist", "hand"),
    "hand": (
        *("hand", "handmiddle1", "middle1", "middleproximal", "mid1", "fingerbase", "finger2"),
        *("handindex1", "index1"),
    ),
}
_NEEDED = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_ALIASES = {word for aliases in _ROLES.values() for word in aliases}
# MikuMikuDance's names behind the side. The surface is moved by the bones with D, copies of the others.
_JAPANESE = {
    "足D": "thigh", "足": "hip", "ひざD": "knee", "ひざ": "shin", "足首D": "ankle", "足首": "talus",
    "足先EX": "toebase", "つま先": "toe", "肩": "collar", "腕": "uparm", "ひじ": "elbow", "手首": "wrist",
    "首": "neck", "頭": "head",
}  # fmt: skip

_COMMON = 0.6  # minimum share of the joints that have a common prefix or ending
_NUMBERED = 0.9  # of the joints that have a number behind their name, if it does not belong to it

_HEAD = ("head", "head1", "head0", "skull")
_NECK = ("neck", "neck1", "neck0", "upperneck", "lowerneck")

_NEAR = 0.5  # confidence of a joint that is at a slightly different position in SMPL

_ADULT_SIZE = 1.3  # metres, leg and trunk
# Metres, centimetres, millimetres, inches, and the unit of the CMU library, whose skeletons are in inches times 0.45
_UNITS = (1.0, 0.01, 0.001, 0.0254, 0.0254 / 0.45)


def plain_names(names: Sequence[str]) -> list[str]:
    """Cut numbers behind names, the prefix of most names, up to a separator or a capital letter, and their ending."""
    names = [re.split(r"[:|]", unicodedata.normalize("NFKC", name))[-1] for name in names]
    numbered = [re.sub(r"(?<=.)_\d+$", "", name) for name in names]
    if sum(map(ne, names, numbered)) >= _NUMBERED * len(names):
        names = numbered
    starts = Counter(
        name[: m.start()] for name in names for m in re.finditer(r"(?<=[_\-. ])(?=.)|(?<=[a-z\d])(?=[A-Z])", name)
    )
    ends = Counter(name[m.start() :] for name in names for m in re.finditer(r"(?<!^)[_\-. ]", name))
    prefix, ending = (
        max((part for part, count in parts.items() if count >= _COMMON * len(names)), key=len, default="")
        for parts in (starts, ends)
    )
    return [name.removeprefix(prefix).removesuffix(ending) or name for name in names]


def _side_and_alias(plain: str) -> tuple[str, str]:
    """Split 'LeftUpLeg', 'thigh.L', 'L_Hip', 'lfemur' or 'LUArm' to ('left', 'upleg'), ('left', 'thigh') and so on."""
    plain = re.sub(r"[^\x00-\xff]+[A-Z]*", lambda word: _translated(word[0]), plain)
    parts = [part.lower() for part in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", plain)]
    side, rest = "", list[str]()
    for part in parts:
        match = re.fullmatch(r"(left|right)(.*)", part)
        if side == "" and part in {"l", "r"}:
            side = "left" if part == "l" else "right"
        elif (part == "c" and not rest) or (part in ("x", "m") and rest and part == parts[-1]):
            continue  # in the middle: VRM's J_Bip_C_Neck, Auto-Rig Pro's head.x, Advanced Skeleton's Head_M
        elif side == "" and match:
            side = match[1]
            rest.append(match[2])
        elif side == "" and part[0] in "lr" and part[1:] in _ALIASES and part not in _ALIASES:
            side = "left" if part[0] == "l" else "right"
            rest.append(part[1:])
        else:
            rest.append(part.lstrip("0") or part)
    word = re.sub(r"^(mixamorig\d*|j?bip\d*|character\d*|ccbase|def|org)(?=\D)", "", "".join(rest))
    if side == "" and word[:1] in ("l", "r") and word[1:] in _ALIASES and word not in _ALIASES:
        side, word = "left" if word[0] == "l" else "right", word[1:]
    # Daz's lThighBend, Auto-Rig Pro's thigh_stretch, MakeHuman's upperarm01
    shorter = word.removesuffix("bend").removesuffix("stretch").removesuffix("1")
    return side, shorter if word not in _ALIASES and shorter in _ALIASES else word


def _translated(word: str) -> str:
    """Translate '左足' to ' left hip '; unknown words are cut."""
    side = {"左": "left", "右": "right"}.get(word[0], "")
    return f" {side} {_JAPANESE.get(word[bool(side) :], '')} "


def find_smpl_joints(tree: Sequence[BvhJoint]) -> dict[str, tuple[int, float]]:
    """Map SMPL joints to (row in the file, confidence 1, or `_NEAR` if SMPL's joint lies a little elsewhere).

    Joints that the file lacks are left out. Raises KeyError with the limb joints that are missing.
    """
    rows = [row for row, joint in enumerate(tree) if not joint.is_end]
    names = plain_names([tree[row].name for row in rows])
    rows_by_alias = {_side_and_alias(name): row for row, name in reversed(list(zip(rows, names, strict=True)))}
    joints: dict[str, tuple[int, float]] = {}
    for side in ("left", "right"):
        used_rows: set[int] = set()
        has_shin = any((side, word) in rows_by_alias for word in _SHINS)
        for role, aliases in _ROLES.items():
            row = next(
                (
                    rows_by_alias[side, word]
                    for word in aliases
                    if rows_by_alias.get((side, word), -1) not in {-1, *used_rows}
                    and (role != "hip" or word != _THIGH_OVER_SHIN or has_shin)
                ),
                None,
            )
            if row is not None:
                joints[f"{side}_{role}"] = (row, 1.0)
                used_rows.add(row)
    missing = [f"{side} {role}" for side in ("left", "right") for role in _NEEDED if f"{side}_{role}" not in joints]
    if missing:
        raise KeyError(", ".join(missing))
    _add_ends(tree, joints)
    _add_trunk(tree, rows_by_alias, joints)
    return joints


def _add_ends(tree: Sequence[BvhJoint], joints: dict[str, tuple[int, float]]) -> None:
    """Add toes and hands from the end sites of feet and wrists, if they have no joints of their own."""
    for end, joint in (("foot", "ankle"), ("hand", "wrist")):
        for side in ("left", "right"):
            parent = joints[f"{side}_{joint}"][0]
            tips = [row for row, tip in enumerate(tree) if tip.is_end and tip.parent == parent]
            if f"{side}_{end}" not in joints and len(tips) == 1 and np.any(tree[tips[0]].offset):
                joints[f"{side}_{end}"] = (tips[0], _NEAR)


def ancestors(tree: Sequence[BvhJoint], row: int) -> list[int]:
    """List the row itself, its parent and so on, up to the root."""
    chain = [row]
    while (row := tree[row].parent) >= 0:
        chain.append(row)
    return chain


def _branching_point(tree: Sequence[BvhJoint], a: int, b: int) -> int:
    above = set(ancestors(tree, b))
    return next(row for row in ancestors(tree, a) if row in above)


def _add_trunk(
    tree: Sequence[BvhJoint], rows_by_alias: dict[tuple[str, str], int], joints: dict[str, tuple[int, float]]
) -> None:
    """Add pelvis, spine, neck and head by the tree."""
    pelvis = _branching_point(tree, joints["left_hip"][0], joints["right_hip"][0])
    chest = _branching_point(tree, joints["left_shoulder"][0], joints["right_shoulder"][0])
    joints["pelvis"] = (pelvis, 1.0)
    chain = ancestors(tree, chest)
    spine = chain[: chain.index(pelvis)][::-1] if pelvis in chain else []
    targets = {1: ("spine2",), 2: ("spine1", "spine3")}.get(len(spine), ("spine1", "spine2", "spine3"))
    if spine:
        rows = [spine[round(i * (len(spine) - 1) / max(1, len(targets) - 1))] for i in range(len(targets))]
        joints.update({joint: (row, _NEAR) for joint, row in zip(targets, rows, strict=True)})
    for joint, aliases in (("neck", _NECK), ("head", _HEAD)):
        row = next((rows_by_alias["", word] for word in aliases if ("", word) in rows_by_alias), None)
        if row is not None:
            joints[joint] = (row, 1.0)


def unit_in_metres(positions: np.ndarray, joints: dict[str, tuple[int, float]]) -> float:
    """Find the file's unit in metres: with it, leg and trunk are nearest to an adult's 1.3 m.

    Units are metres, centimetres, millimetres, inches, and the CMU library's 5.64 cm. They differ more than children
    and adults do.

    Args:
        positions: (J, 3) float. Joint positions in one frame.
        joints: Rows of the joints, from `find_smpl_joints`.

    Returns:
        The length of the unit in metres.

    Raises:
        ValueError: If the positions have no extent.
    """

    def position(joint: str) -> np.ndarray:
        return positions[joints[joint][0]]

    def between(a: str, b: str) -> float:
        return float(np.linalg.norm(position(a) - position(b)))

    leg = (("hip", "knee"), ("knee", "ankle"))
    legs = [between(f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in leg]
    middle = [(position(f"left_{joint}") + position(f"right_{joint}")) / 2 for joint in ("shoulder", "hip")]
    size = sum(legs) / 2 + float(np.linalg.norm(middle[0] - middle[1]))
    if not 0 < size < math.inf:
        raise ValueError("its bones have no length")
    return min(_UNITS, key=lambda unit: abs(math.log(size * unit / _ADULT_SIZE)))


def _axes(motion: BvhMotion, positions: np.ndarray, rows: dict[str, int]) -> tuple[str, tuple[str, ...]]:
    """Find the axes in which the person stands in most frames, otherwise at rest: y up, unless z or −y is up."""
    ankles = [rows["left_ankle"], rows["right_ankle"]]
    shoulders = [rows["left_shoulder"], rows["right_shoulder"]]
    rest = motion.rest_positions()
    up = rest[shoulders].mean(0) - rest[ankles].mean(0)
    at_rest = "z-up" if abs(up[2]) > abs(up[1]) else "y-up"
    alternatives = ["y-up", "z-up", *(["camera"] if -up[1] > abs(up[2]) else [])]
    chest, feet = positions[:, shoulders].mean(1), positions[:, ankles].mean(1)
    return standing_axes(chest, feet, at_rest, alternatives)


def read_bvh(path: Path, axes: str | None) -> JointTarget:
    """Read a motion from a `.bvh` file.

    Args:
        path: The file.
        axes: The file's axes; None finds them from the way in which the person stands in most frames, or at rest.

    Returns:
        SMPL joint positions in metres, camera axes; joints that the file lacks have confidence 0.

    Raises:
        InputError: If the file is damaged, or if names of limbs are unknown.
    """
    motion = read_bvh_motion(path)
    try:
        smpl_joints = find_smpl_joints(motion.joints)
        positions = motion.positions()
        metres = unit_in_metres(positions[0], smpl_joints)
    except KeyError as error:
        names = ", ".join(joint.name for joint in motion.joints[:12] if not joint.is_end)
        expected = "a person with the names of Mixamo, CMU, SMPL or Blender"
        remedy = "rename the joints (LeftUpLeg, LeftLeg, LeftFoot, LeftArm, LeftForeArm, LeftHand …)"
        problem = f"has no joints known as {error.args[0]}"
        raise InputError(path, problem, expected=expected, got=names, remedy=remedy) from error
    except ValueError as error:
        raise InputError(path, f"is no person: {error}") from error
    notes = motion.notes
    if axes is None:
        axes, note = _axes(motion, positions, {joint: row for joint, (row, _) in smpl_joints.items()})
        notes += note
    positions = axes_to_camera(positions * metres, axes)
    check_limits("joints", positions, path)
    joints = np.zeros((len(positions), len(SMPL24), 3), np.float32)
    confidence = np.zeros(len(SMPL24), np.float32)
    for row, (joint, parent) in enumerate(zip(SMPL24.joint_names, SMPL24.parents, strict=True)):
        if joint in smpl_joints:
            source, confidence[row] = smpl_joints[joint]
            joints[:, row] = positions[:, source]
        else:
            joints[:, row] = joints[:, parent]
    return JointTarget(joints, SMPL24, 1.0 / motion.frame_time, confidence, notes)
