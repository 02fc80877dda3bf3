"""C3D motion capture files: labelled points over time, from Intel, DEC and MIPS machines.

Written from the C3D User Guide: blocks of 512 bytes; a header, parameters in named groups, then the frames, each with
four numbers a point (place and quality, as integers to be scaled or as floats) and with analog measurements, which are
passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.errors import InputError
from humanpose_cli.io.sniffing import describe_file, reading_error

__all__ = ["C3dPoints", "read_c3d"]

_BLOCK, _MARK = 512, 0x50
_DEC, _MIPS = 85, 86
_MACHINES = (84, _DEC, _MIPS)
_AGAIN = "unpack or download it again"
Parameters = Mapping[tuple[str, str], Any]


@dataclass(frozen=True, eq=False)
class C3dPoints:
    """labels of P points; places (frames, P, 3) in the file's unit, (0, 0, 0) where a point was not seen; unit."""

    path: Path
    labels: Sequence[str]
    places: NDArray[np.float64]
    unit: str

    def find(self, name: str) -> int:
        """The first point whose label contains `name` (labels may begin with the subject's). InputError if none."""
        for number, label in enumerate(self.labels):
            if name in label:
                return number
        raise InputError(self.path, f"has no point {name}", got=", ".join(self.labels)[:120] or "none")


def read_c3d(path: Path) -> C3dPoints:
    """The points of a file. InputError if it is missing, damaged or cut short."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise reading_error(path, error) from error
    if len(content) < 2 * _BLOCK or content[1] != _MARK:
        raise InputError(path, "is no C3D file", got=describe_file(path), remedy=_AGAIN)
    try:
        return _parsed(path, content)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise InputError(path, f"is a damaged C3D file ({error})", remedy=_AGAIN) from error


def _parsed(path: Path, content: bytes) -> C3dPoints:
    start = (content[0] - 1) * _BLOCK
    machine = content[start + 3]
    if machine not in _MACHINES:
        raise ValueError(f"of an unknown machine, {machine}")
    order = ">" if machine == _MIPS else "<"
    count, analog, first, last = struct.unpack_from(f"{order}4H", content, 2)
    scale = float(_floats(content[12:16], machine)[0])
    block = struct.unpack_from(f"{order}H", content, 16)[0]
    parameters = _parameters(content, start + 4, order, machine)
    labels = [*parameters.get(("POINT", "LABELS"), ()), *parameters.get(("POINT", "LABELS2"), ())]
    if len(labels) < count:
        raise ValueError(f"{count} points, {len(labels)} labels")
    frames = last - first + 1
    width = 4 if scale < 0 else 2
    frame_bytes = (4 * count + analog) * width
    data = content[(block - 1) * _BLOCK :]
    if frames < 1 or count < 1 or block < 1:
        raise ValueError(f"{frames} frames of {count} points")
    if len(data) < frames * frame_bytes:
        found = len(data) // frame_bytes
        raise InputError(path, "is cut short", expected=f"{frames} frames", got=str(found), remedy=_AGAIN)
    raw = data[: frames * frame_bytes]
    numbers = _floats(raw, machine) if scale < 0 else np.frombuffer(raw, f"{order}i2").astype(np.float64) * scale
    places = numbers.reshape(frames, -1)[:, : 4 * count].reshape(frames, count, 4)[..., :3].astype(np.float64)
    if not np.isfinite(places).all():
        raise ValueError("places that are not finite")
    unit = next(iter(parameters.get(("POINT", "UNITS"), ())), "mm")
    return C3dPoints(path, labels[:count], places, unit)


def _floats(raw: bytes, machine: int) -> NDArray[Any]:
    """Floats of a machine; DEC's have their halves swapped and an exponent that is 2 larger."""
    if machine == _DEC:
        halves = np.frombuffer(raw, "<u2").reshape(-1, 2)[:, ::-1]
        return np.ascontiguousarray(halves).view("<f4").ravel() / 4
    return np.frombuffer(raw, ">f4" if machine == _MIPS else "<f4")


def _parameters(content: bytes, at: int, order: str, machine: int) -> Parameters:
    """(group, name) → value: lists of text, or arrays of numbers."""
    groups: dict[int, str] = {}
    found: dict[tuple[int, str], Any] = {}
    while at + 2 <= len(content):
        length, number = struct.unpack_from("bb", content, at)
        if length == 0 or number == 0:
            break
        end_of_name = at + 2 + abs(length)
        name = content[at + 2 : end_of_name].decode("latin-1").strip().upper()
        (step,) = struct.unpack_from(f"{order}h", content, end_of_name)
        if number < 0:
            groups[-number] = name
        else:
            found[number, name] = _value(content, end_of_name + 2, order, machine)
        if step <= 0:
            break
        at = end_of_name + step
    return {(groups.get(number, ""), name): value for (number, name), value in found.items()}


def _value(content: bytes, at: int, order: str, machine: int) -> Any:
    kind, dimensions = struct.unpack_from("bB", content, at)
    shape = content[at + 2 : at + 2 + dimensions]
    size = int(np.prod([int(n) for n in shape], dtype=np.int64)) if dimensions else 1
    start = at + 2 + dimensions
    raw = content[start : start + size * abs(kind)]
    if len(raw) < size * abs(kind) or kind not in (-1, 1, 2, 4):
        raise ValueError("a parameter that is cut short")
    if kind == -1:
        length = shape[0] if dimensions else 1
        pieces = [raw[i : i + length] for i in range(0, size, length)] if length else []
        return [piece.decode("latin-1").strip() for piece in pieces]
    if kind == 4:
        return _floats(raw, machine)
    return np.frombuffer(raw, f"{order}i{kind}")
