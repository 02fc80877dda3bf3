"""Motion capture files: C3D (HumanEva-I) and NASA's Common Data Format (Human3.6M).

Libraries do not replace these readers. On 300 files with up to three changed bytes each, every third of them truncated,
ezc3d 1.7.2 crashed on 3 (segmentation fault) and returned positions for 75 that are refused here. It also refuses MIPS
files, and takes 226 ms for 2,000 frames, against 16 ms. cdflib 1.3.16 reads the same numbers in 21 ms, against 28 ms,
but did not terminate on one of the 300 and returned values for a file that is truncated before them.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.sniffing import describe_file, read_bytes, reading_error
from humanpose_cli.io.unpacking import UnpackedBudget
from humanpose_cli.lab.datasets.reading import COPY_AGAIN

# C3D motion capture files: labelled points over time, from Intel, DEC and MIPS machines.
#
# After the C3D User Guide: blocks of 512 bytes; a header, parameters in named groups, then the frames, each with four
# numbers per point (coordinates and quality, as scaled integers or floats) and with analog measurements, which are
# skipped.

_BLOCK = 512
_MARK = 0x50
_DEC = 85
_MIPS = 86
_MACHINES = (84, _DEC, _MIPS)
Parameters = Mapping[tuple[str, str], Any]


@dataclass(frozen=True, eq=False)
class C3dPoints:
    """Labelled points over time.

    Attributes:
        path: The file.
        labels: Names of the P points.
        positions: (frames, P, 3) in the file's unit, (0, 0, 0) for missing points.
        unit: Unit of the positions.
    """

    path: Path
    labels: Sequence[str]
    positions: NDArray[np.float64]
    unit: str

    def find(self, name: str) -> int:
        """Find the first point whose label contains a name.

        Args:
            name: The name, which follows the subject's name in a label.

        Raises:
            InputError: If there is no such point.
        """
        for number, label in enumerate(self.labels):
            if name in label:
                return number
        raise InputError(self.path, f"has no point {name}", got=", ".join(self.labels)[:120] or "none")


def read_c3d(path: Path) -> C3dPoints:
    """Read the points of a file.

    Args:
        path: The file.

    Raises:
        InputError: If the file is missing, damaged or truncated.
    """
    content = read_bytes(path)
    if len(content) < 2 * _BLOCK or content[1] != _MARK:
        raise InputError(path, "is no C3D file", got=describe_file(path), remedy=COPY_AGAIN)
    try:
        return _parse(path, content)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise InputError(path, f"is a damaged C3D file ({error})", remedy=COPY_AGAIN) from error


def _parse(path: Path, content: bytes) -> C3dPoints:
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
        count_found = len(data) // frame_bytes
        raise InputError(path, "is cut short", expected=f"{frames} frames", got=str(count_found), remedy=COPY_AGAIN)
    raw = data[: frames * frame_bytes]
    numbers = _floats(raw, machine) if scale < 0 else np.frombuffer(raw, f"{order}i2").astype(np.float64) * scale
    positions = numbers.reshape(frames, -1)[:, : 4 * count].reshape(frames, count, 4)[..., :3].astype(np.float64)
    if not np.isfinite(positions).all():
        raise ValueError("positions that are not finite")
    unit = next(iter(parameters.get(("POINT", "UNITS"), ())), "mm")
    return C3dPoints(path, labels[:count], positions, unit)


def _floats(raw: bytes, machine: int) -> NDArray[Any]:
    """Convert a machine's floats; DEC's have swapped halves and an exponent that is 2 larger."""
    if machine == _DEC:
        return np.ascontiguousarray(np.frombuffer(raw, "<u2").reshape(-1, 2)[:, ::-1]).view("<f4").ravel() / 4
    return np.frombuffer(raw, ">f4" if machine == _MIPS else "<f4")


def _parameters(content: bytes, offset: int, order: str, machine: int) -> Parameters:
    """Read (group, name) → value: lists of text, or arrays of numbers."""
    groups: dict[int, str] = {}
    values: dict[tuple[int, str], Any] = {}
    while offset + 2 <= len(content):
        length, number = struct.unpack_from("bb", content, offset)
        if length == 0 or number == 0:
            break
        end_of_name = offset + 2 + abs(length)
        name = content[offset + 2 : end_of_name].decode("latin-1").strip().upper()
        (step,) = struct.unpack_from(f"{order}h", content, end_of_name)
        if number < 0:
            groups[-number] = name
        else:
            values[number, name] = _value(content, end_of_name + 2, order, machine)
        if step <= 0:
            break
        offset = end_of_name + step
    return {(groups.get(number, ""), name): value for (number, name), value in values.items()}


def _value(content: bytes, offset: int, order: str, machine: int) -> Any:
    kind, dimensions = struct.unpack_from("bB", content, offset)
    shape = content[offset + 2 : offset + 2 + dimensions]
    size = int(np.prod([int(n) for n in shape], dtype=np.int64)) if dimensions else 1
    start = offset + 2 + dimensions
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


# NASA's Common Data Format, as far as Human3.6M's pose files need it: numeric variables of versions 2.6 to 3.
#
# After the CDF Internal Format Description (NASA GSFC). Records point to each other: the descriptor (CDR) to the global
# descriptor (GDR), this to the variables (VDR), and a variable to an index (VXR) of the blocks with its values (VVR, or
# CVVR if compressed). Numbers in records are big-endian; the descriptor gives the order of values.

_V3 = 0xCDF30001
_V2 = 0xCDF26002
_PLAIN = 0x0000FFFF
_PACKED = 0xCCCC0001
_CDR = 1
_GDR = 2
_R_VARIABLE = 3
_INDEX = 6
_VALUES = 7
_Z_VARIABLE = 8
_FILE = 10
_METHOD = 11
_PACKED_VALUES = 13
_GZIP = 5
_BIG = frozenset((1, 2, 5, 7, 9, 11, 12, 18))
_LITTLE = frozenset((4, 6, 13, 16, 17))
_TYPES = {1: "i1", 2: "i2", 4: "i4", 8: "i8", 11: "u1", 12: "u2", 14: "u4", 21: "f4", 22: "f8", 41: "i1"}
_TYPES |= {44: "f4", 45: "f8"}
_MAX_SIDE = 1 << 31
_MAX_RECORDS = 100_000


@dataclass(frozen=True)
class _Variable:
    """A variable: its shape (records, dimensions…), type, and the offset of its index."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    index: int


class _Damaged(Exception):
    """Damage, which `_open` reports with the file's name."""


class _File:
    """The bytes of a CDF, unpacked if the complete file was compressed."""

    def __init__(self, path: Path, content: bytes | mmap.mmap) -> None:
        if len(content) < 8:
            raise _Damaged("too short")
        version, packing = struct.unpack(">II", content[:8])
        if version not in (_V2, _V3) or packing not in (_PLAIN, _PACKED):
            raise _Damaged("not of version 2.6 to 3")
        self._pointer, self._name_bytes = ("q", 256) if version == _V3 else ("i", 64)
        self.content: bytes | mmap.mmap = content
        self._budget = UnpackedBudget(path, len(content))
        if packing == _PACKED:
            _, start, end = self.record(8, _FILE)
            _, method, _ = self.record(self.fields(start, "p")[0], _METHOD)
            if self.fields(method, "i")[0] != _GZIP:
                raise _Damaged("compressed by another method than gzip")
            self.content = content[:8] + self._inflate(content[start + self._layout("ppi").size : end])

    def _layout(self, form: str) -> struct.Struct:
        """Return the layout of fields as in `struct`; "p" is an offset in the file, 8 bytes in version 3."""
        return struct.Struct(">" + form.replace("p", self._pointer))

    def fields(self, offset: int, form: str) -> tuple[Any, ...]:
        """Read the fields that begin at an offset."""
        layout = self._layout(form)
        if not 0 <= offset <= len(self.content) - layout.size:
            raise _Damaged(f"cut short: it points to byte {offset} of {len(self.content)}")
        return layout.unpack(self.content[offset : offset + layout.size])

    def record(self, offset: int, *kinds: int) -> tuple[int, int, int]:
        """Read (kind, start of the fields, end) of the record at an offset."""
        length, kind = self.fields(offset, "pi")
        if kind not in kinds:
            raise _Damaged(f"record of kind {kind} where {kinds} was meant")
        if length < 0 or offset + length > len(self.content):
            raise _Damaged(f"cut short: a record of {length} bytes at byte {offset} of {len(self.content)}")
        return kind, offset + self._layout("pi").size, offset + length

    def variables(self) -> Iterator[_Variable]:
        """Yield all numeric variables."""
        _, cdr, _ = self.record(8, _CDR)
        gdr_offset, _, _, encoding, flags = self.fields(cdr, "piiii")
        if encoding not in _BIG | _LITTLE:
            raise _Damaged(f"numbers of an unknown machine (encoding {encoding})")
        order = ">" if encoding in _BIG else "<"
        self.row_major = bool(flags & 1)
        _, gdr, _ = self.record(gdr_offset, _GDR)
        head = "ppppiiii"
        *heads, _, _, _, _, _, count = self.fields(gdr, head)
        sizes = self.fields(gdr, f"{head}ipiii{_check_count(count, 10)}i")[13:]
        for kind, first in zip((_R_VARIABLE, _Z_VARIABLE), heads, strict=True):
            yield from self._variables(kind, first, order, sizes)

    def _variables(self, kind: int, offset: int, order: str, common_sizes: tuple[int, ...]) -> Iterator[_Variable]:
        head = f"piipp7ipi{self._name_bytes}s"
        for _ in range(_MAX_RECORDS):
            if offset == 0:
                return
            _, start, _ = self.record(offset, kind)
            offset, data_type, last, index, *_, raw_name = self.fields(start, head)
            name = raw_name.split(b"\0")[0].decode("latin-1").strip()
            after = start + self._layout(head).size
            sizes = common_sizes
            if kind == _Z_VARIABLE:
                count = _check_count(self.fields(after, "i")[0], 10)
                sizes = self.fields(after, f"i{count}i")[1:]
                after += 4 + 4 * count
            varies = self.fields(after, f"{len(sizes)}i")
            varying = [size for size, changes in zip(sizes, varies, strict=True) if changes]
            if data_type in _TYPES:
                dtype = np.dtype(order + _TYPES[data_type])
                shape = tuple(_check_count(size, _MAX_SIDE) for size in (last + 1, *varying))
                self._budget.refuse(prod(shape) * dtype.itemsize)
                yield _Variable(name, shape, dtype, index)
        raise _Damaged("its variables go round in a circle")

    def values(self, variable: _Variable) -> NDArray[np.generic]:
        """Read all values of a variable, in its shape."""
        record_bytes = prod(variable.shape[1:]) * variable.dtype.itemsize
        content = bytearray(record_bytes * variable.shape[0])
        byte_count = 0
        for first, last, block in self._blocks(variable.index, 0):
            begin = first * record_bytes
            end = (last + 1) * record_bytes
            if not (0 <= begin <= end <= len(content) and end - begin <= len(block)):
                raise _Damaged(f"{variable.name} lacks values")
            content[begin:end] = block[: end - begin]
            byte_count += end - begin
        if byte_count != len(content):
            raise _Damaged(f"{variable.name} lacks values")
        flat = np.frombuffer(bytes(content), variable.dtype)
        if self.row_major:
            return flat.reshape(variable.shape)
        reversed_shape = (variable.shape[0], *variable.shape[:0:-1])
        return flat.reshape(reversed_shape).transpose(0, *range(len(variable.shape) - 1, 0, -1))

    def _blocks(self, offset: int, depth: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (first record, last record, bytes) of the blocks of an index."""
        if depth > 8:
            raise _Damaged("its index goes round in a circle")
        for _ in range(_MAX_RECORDS):
            if offset == 0:
                return
            _, start, _ = self.record(offset, _INDEX)
            offset, entries, use_count = self.fields(start, "pii")
            rows = _check_count(entries, _MAX_RECORDS)
            numbers = self.fields(start, f"pii{2 * rows}i{min(rows, _check_count(use_count, _MAX_RECORDS))}p")[3:]
            for first, last, block in zip(numbers[:rows], numbers[rows : 2 * rows], numbers[2 * rows :], strict=False):
                kind, begin, end = self.record(block, _VALUES, _PACKED_VALUES, _INDEX)
                if kind == _INDEX:
                    yield from self._blocks(block, depth + 1)
                elif kind == _VALUES:
                    yield first, last, self.content[begin:end]
                else:
                    yield first, last, self._inflate(self.content[begin + self._layout("ip").size : end])
        raise _Damaged("its index goes round in a circle")

    def _inflate(self, data: bytes) -> bytes:
        """Unpack gzip, the method of all tools but the oldest."""
        try:
            return self._budget.inflate(data, zlib.MAX_WBITS | 16)
        except (zlib.error, ValueError) as error:
            raise _Damaged(f"its compressed part is broken or not by gzip ({error})") from error


def _check_count(number: int, limit: int) -> int:
    if not 0 <= number <= limit:
        raise _Damaged(f"the count {number}")
    return number


def read_cdf(path: Path, name: str) -> NDArray[np.generic]:
    """Read all values of a numeric variable.

    Args:
        path: The file.
        name: Name of the variable.

    Returns:
        (records, dimensions…) values.

    Raises:
        InputError: If the file or the variable is missing, damaged or truncated.
    """
    with _open(path) as file:
        return file.values(_find_variable(path, file, name))


def cdf_shape(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of `read_cdf` from the headers alone."""
    with _open(path) as file:
        return _find_variable(path, file, name).shape


@contextmanager
def _open(path: Path) -> Iterator[_File]:
    """Map the file into memory: a listing opens hundreds of them and reads their headers."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield _File(path, content)
    except OSError as error:
        raise reading_error(path, error) from error
    except ValueError as error:  # what mmap says of a file without bytes
        raise InputError(path, "is empty", expected="a CDF file", remedy=COPY_AGAIN) from error
    except _Damaged as error:
        raise InputError(path, f"is no readable CDF file ({error})", remedy=COPY_AGAIN) from error


def _find_variable(path: Path, file: _File, name: str) -> _Variable:
    variables = {variable.name: variable for variable in file.variables()}
    if name not in variables:
        raise InputError(path, f"has no variable {name!r}", got=", ".join(variables) or "none")
    return variables[name]
