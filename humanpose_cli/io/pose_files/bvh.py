"""The BVH format (Biovision Hierarchy): a tree of joints with offsets, and channel values for each frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from humanpose_cli.errors import InputError
from humanpose_cli.io.sniffing import describe_file, reading_error

__all__ = ["BvhJoint", "BvhMotion", "parse_bvh", "read_bvh_motion"]

_CHANNEL = re.compile(r"([xyz])(position|rotation)", re.IGNORECASE)
_MAX_JOINTS = 2000


@dataclass
class BvhJoint:
    """A joint or an end site. parent is a row, −1 for the root; channels are (axis 0–2, 'position' or 'rotation')."""

    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: list[tuple[int, str]] = field(default_factory=list)
    is_end: bool = False


@dataclass(frozen=True, eq=False)
class BvhMotion:
    """A parsed file: joints in the file's order (parents first), values (T, C) of all channels, seconds a frame.

    Lengths are in the file's unit, angles in degrees, as stored.
    """

    joints: list[BvhJoint]
    values: np.ndarray
    frame_time: float

    @property
    def parents(self) -> list[int]:
        """Row of each joint's parent, −1 for the root."""
        return [joint.parent for joint in self.joints]

    def positions(self) -> np.ndarray:
        """Joint positions (T, J, 3) in the file's axes and unit.

        Rotation channels turn in the order listed, the first outermost. Position channels take the place of the
        offset along their axis, as animation programs do it.
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
        """Joint positions (J, 3) with all rotations zero and the root at the origin."""
        positions = np.zeros((len(self.joints), 3))
        for row, joint in enumerate(self.joints):
            if joint.parent >= 0:
                positions[row] = positions[joint.parent] + joint.offset
        return positions


def _local(joint: BvhJoint, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A joint's shift (T, 3) and rotation (T, 3, 3) within its parent."""
    shift = np.tile(joint.offset, (len(values), 1))
    turn = np.tile(np.eye(3), (len(values), 1, 1))
    for (axis, kind), column in zip(joint.channels, values.T, strict=True):
        if kind == "position":
            shift[:, axis] = column
        else:
            turn = turn @ _about_axis(axis, np.deg2rad(column))
    return shift, turn


def _about_axis(axis: int, angles: np.ndarray) -> np.ndarray:
    """Right-handed rotations about x, y or z: (T,) radians → (T, 3, 3)."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrices = np.zeros((len(angles), 3, 3))
    matrices[:, axis, axis] = 1
    matrices[:, i, i] = matrices[:, j, j] = np.cos(angles)
    matrices[:, j, i] = np.sin(angles)
    matrices[:, i, j] = -np.sin(angles)
    return matrices


def read_bvh_motion(path: Path) -> BvhMotion:
    """Parse a `.bvh` file. InputError with the line where it is not as it should be."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise reading_error(path, error) from error
    if not text.lstrip("\ufeff \t\r\n").upper().startswith("HIERARCHY"):
        raise InputError(path, "is no BVH file", expected="a text that begins with HIERARCHY", got=describe_file(path))
    return parse_bvh(text, path)


def parse_bvh(text: str, path: Path) -> BvhMotion:
    """Parse the text of a `.bvh` file; `path` is for messages."""
    lines = _Lines(path, text)
    joints = _parse_hierarchy(lines)
    count, frame_time = _parse_motion_header(lines)
    width = sum(len(joint.channels) for joint in joints)
    numbers = lines.rest()
    try:
        values = np.array(numbers, np.float64)
    except ValueError as error:
        raise InputError(path, f"holds something other than numbers in its motion ({error})") from error
    if width == 0 or len(values) != count * width:
        found = f"{len(values)} numbers ({len(values) / width:.5g} frames)" if width else "no channel"
        expected = f"{count} frames of {width} numbers"
        raise InputError(path, "is truncated or damaged", expected=expected, got=found, remedy="export it again")
    if not np.isfinite(values).all():
        frame = int(np.argwhere(~np.isfinite(values))[0][0]) // width
        raise InputError(path, "holds values that are not finite", got=f"in frame {frame}", remedy="export it again")
    return BvhMotion(joints, values.reshape(count, width), frame_time)


class _Lines:
    """The file's lines that are not empty, with braces on lines of their own."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._all = self._split(text.lstrip("\ufeff"))
        self._number = 0

    @staticmethod
    def _split(text: str) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(text.splitlines(), 1):
            for part in re.split(r"([{}])", line):
                if part.strip():
                    yield number, part.strip()

    def next(self) -> tuple[str, str]:
        """Keyword in capitals and the rest of the next line; ("", "") at the end."""
        self._number, line = next(self._all, (self._number, ""))
        keyword, _, rest = line.replace("\t", " ").partition(" ")
        return keyword.upper(), rest.strip()

    def rest(self) -> list[str]:
        """All further words."""
        return [word for _, line in self._all for word in line.split()]

    def error(self, expected: str, got: str) -> InputError:
        return InputError(f"{self.path}, line {self._number}", "is not BVH", expected=expected, got=got or "the end")


def _parse_hierarchy(lines: _Lines) -> list[BvhJoint]:
    joints: list[BvhJoint] = []
    open_joints: list[int] = []
    keyword, _ = lines.next()  # HIERARCHY, as checked
    while True:
        keyword, rest = lines.next()
        if keyword == "MOTION" and joints and not open_joints:
            return joints
        if keyword in {"ROOT", "JOINT", "END"}:
            _check_place(lines, keyword, joints, open_joints)
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


def _check_place(lines: _Lines, keyword: str, joints: list[BvhJoint], open_joints: list[int]) -> None:
    if (keyword == "ROOT") == bool(open_joints) or (keyword == "ROOT" and joints):
        raise lines.error("one ROOT with all other joints inside it", keyword)
    if len(joints) >= _MAX_JOINTS:
        raise lines.error(f"at most {_MAX_JOINTS} joints", "more")


def _offset(lines: _Lines, rest: str) -> np.ndarray:
    try:
        offset = np.array(rest.split(), np.float64)
    except ValueError:
        offset = np.zeros(0)
    if offset.shape != (3,) or not np.isfinite(offset).all():
        raise lines.error("OFFSET with three numbers", f"OFFSET {rest}")
    return offset


def _channels(lines: _Lines, rest: str) -> list[tuple[int, str]]:
    count, *names = rest.split() or [""]
    matches = [_CHANNEL.fullmatch(name) for name in names]
    channels = [("xyz".index(match[1].lower()), match[2].lower()) for match in matches if match]
    if not count.isdigit() or int(count) != len(names) or len(channels) != len(names):
        raise lines.error("CHANNELS, their number, and names such as Xposition or Zrotation", f"CHANNELS {rest}")
    return channels


def _parse_motion_header(lines: _Lines) -> tuple[int, float]:
    keyword, rest = lines.next()
    if keyword != "FRAMES:" or not rest.isdigit() or int(rest) == 0:
        raise lines.error("Frames: and their number", f"{keyword} {rest}".strip())
    keyword, text = lines.next()
    match = re.fullmatch(r"TIME:\s*(\S+)", text, re.IGNORECASE)
    try:
        seconds = float(match[1]) if keyword == "FRAME" and match else 0.0
    except ValueError:
        seconds = 0.0
    if not 1e-5 < seconds < 1e4:
        raise lines.error("Frame Time: and seconds", f"{keyword} {text}".strip())
    return int(rest), seconds
