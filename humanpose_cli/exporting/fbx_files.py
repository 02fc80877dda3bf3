"""Binary FBX 7 files: their records, and characters in them.

Source: no specification is published. The records follow the descriptions of Blender's and ufbx's authors; the tests
read the files by ufbx. Transforms: FBX SDK 2020, "Computing transformation matrices".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.exporting.glb_files import MAX_FILE, CharacterFile, at_rest, bone_order
from humanpose_cli.exporting.motion import euler_angles
from humanpose_cli.files.sniffing import file_kind, reading

Array = NDArray[Any]

MAGIC = b"Kaydara FBX Binary  \0\x1a\0"
"""First bytes of a file; the version follows."""
_OLDEST, _WIDE = 7000, 7500  # versions: of objects with numbers, of positions with 64 bits
_MATRIX = struct.pack("<I", 16)  # count of a matrix
_FIXED = ("PreRotation", "PostRotation")
_MAX_RECORDS = 100_000
_SIZES = {"C": 1, "B": 1, "Y": 2, "I": 4, "F": 4, "D": 8, "L": 8}  # bytes of values by type; others state theirs
_NUMBERS: dict[str, tuple[str, type]] = {"I": ("<i", int), "D": ("<d", float), "L": ("<q", np.int64)}
_ARRAYS = {"int32": b"i", "int64": b"l", "float32": b"f", "float64": b"d"}
_KINDS: dict[type, str] = {int: "int", float: "double", bool: "bool"}
_LABELS = {"int": "Integer", "double": "Number", "KTime": "Time", "Vector3D": "Vector", "ColorRGB": "Color"}
_ANIMATED = ("Lcl Translation", "Lcl Rotation", "Lcl Scaling", "FocalLength")
_ORDERS = ("xyz", "xzy", "yzx", "yxz", "zxy", "zyx", "xyz")  # by number; the first axis turns first


class _Raw(bytes):
    """A value of a file that nobody needs to know: its type and its bytes."""


class Record:
    """A record of a file: a name, values and further records."""

    def __init__(self, name: str, *values: Any) -> None:
        self.name, self.values = name, values
        self.records: list[Record] = []

    def add(self, name: str, *values: Any) -> Record:
        """Add a record and return it."""
        self.records.append(Record(name, *values))
        return self.records[-1]

    def fill(self, **values: Any) -> None:
        """Add a record of one value for each name."""
        for name, value in values.items():
            self.add(name, value)

    def get(self, name: str) -> Record:
        """Return the first record of a name, or an empty one."""
        return next((record for record in self.records if record.name == name), Record(name))

    @property
    def settings(self) -> dict[str, tuple[Any, ...]]:
        """The values of the properties by name."""
        return {entry.values[0]: entry.values[4:] for entry in self.get("Properties70").records}

    def properties(self, **values: Any) -> None:
        """Set properties by name, in which `_` stands for a space: numbers, (type, value) or vectors (3,)."""
        block = self.get("Properties70")
        if block not in self.records:
            self.records.append(block)
        for name, value in values.items():
            name = name.replace("_", " ")
            kind, value = value if isinstance(value, tuple) else (_KINDS.get(type(value), name), value)
            numbers = value.tolist() if isinstance(value, np.ndarray) else [value]
            block.records = [entry for entry in block.records if entry.values[0] != name]
            block.add("P", name, kind, _LABELS.get(kind, ""), "A" if name in _ANIMATED else "", *numbers)

    def encoded(self, start: int) -> bytes:
        """Encode the record for a position in the file."""
        name, values = self.name.encode("latin-1"), b"".join(map(_encoded, self.values))
        position = start + 25 + len(name) + len(values)
        inner = []
        for record in self.records:
            inner.append(record.encoded(position))
            position += len(inner[-1])
        if self.records:
            inner.append(bytes(25))
            position += 25
        head = struct.pack("<3QB", position, len(self.values), len(values), len(name))
        return b"".join((head, name, values, *inner))


def _encoded(value: Any) -> bytes:
    """Encode a value. Numbers of objects and times are np.int64, other integers have 32 bits."""
    if isinstance(value, _Raw):
        return value
    if isinstance(value, np.ndarray):
        data = zlib.compress(value.astype(value.dtype.newbyteorder("<")).tobytes(), 1)
        return _ARRAYS[value.dtype.name] + struct.pack("<3I", value.size, 1, len(data)) + data
    if isinstance(value, str | bytes):
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        return (b"S" if isinstance(value, str) else b"R") + struct.pack("<I", len(data)) + data
    if isinstance(value, np.int64):
        return b"L" + struct.pack("<q", value)
    return b"D" + struct.pack("<d", value) if isinstance(value, float) else b"I" + struct.pack("<i", value)


@dataclass(frozen=True, eq=False, kw_only=True)
class FbxFile(CharacterFile):
    """An FBX file. Its bones are limbs, nodes that move surfaces, and those above them; or all nodes.

    Attributes:
        records: Its records.
        nodes: The records of bones.
        motions: Functions from rotations (R, 3, 3) and positions (R, 3) of each bone, in the axes of its parent, to
            the angles (R, 3), degrees, and translations (R, 3) of its node.
    """

    records: list[Record]
    nodes: list[Record]
    motions: list[Callable[[Array, Array], tuple[Array, Array]]]


def read_fbx(path: Path) -> FbxFile:
    """Read a binary FBX file. Raises one of `FAULTS` for other files and damaged ones."""
    with reading(path), path.open("rb") as file:
        if (head := file.read(27))[:23] != MAGIC:
            raise ValueError(f"not binary FBX, but {file_kind(path)}")
        if (version := struct.unpack_from("<I", head, 23)[0]) < _OLDEST:
            raise ValueError(f"FBX {version / 1000:.1f}, expected 7.0 or newer")
        data = head + file.read(MAX_FILE)
    layout, top = struct.Struct("<3QB" if version >= _WIDE else "<3IB"), Record("")
    top.records = _records(data, 27, len(data), layout, iter(range(_MAX_RECORDS)))
    objects = {record.values[0]: record for record in top.get("Objects").records}
    models = {number: record for number, record in objects.items() if record.name == "Model"}
    above, bound = dict[int, int](), dict[int, Array]()
    for _, child, parent, *_ in (link.values for link in top.get("Connections").records):
        bind = objects.get(parent, top).get("TransformLink").values
        if child in models and parent in models:
            above[child] = parent
        elif child in models and bind:
            bound[child] = bind[0].reshape(4, 4).T
    limbs = {number for number, model in models.items() if model.values[2] == "LimbNode"} | bound.keys()
    order, parents = bone_order(limbs or {*models}, above)
    nodes, rows = [models[number] for number in order], {number: row for row, number in enumerate(order)}
    local, motions = zip(*(_motion(node.settings) for node in nodes), strict=True)

    def place(row: int, matrix: Array) -> None:
        scale = np.linalg.norm(matrix[:3, :3], axis=0)
        angles, shifts = motions[row](matrix[None, :3, :3] / scale, matrix[None, :3, 3])
        nodes[row].properties(Lcl_Translation=shifts[0], Lcl_Rotation=angles[0], Lcl_Scaling=scale)

    skins = [([rows[bone] for bone in bound], np.linalg.inv([*bound.values()]))] if bound else []
    matrices = at_rest(parents, np.array(local), skins, place)
    names = [node.values[1].split("\0")[0] or f"node{row}" for row, node in enumerate(nodes)]
    (unit,) = top.get("GlobalSettings").settings.get("UnitScaleFactor", (1.0,))
    own: dict[str, Any] = {"records": top.records, "nodes": nodes, "motions": [*motions]}
    return FbxFile(path=path, names=names, parents=parents, matrices=matrices, unit=unit / 100, **own)


def _records(data: bytes, start: int, end: int, layout: struct.Struct, left: Iterator[int]) -> list[Record]:
    """Read the records between two positions; those of animations without what is in them."""
    records = []
    while start + layout.size <= end:
        stop, _, size, length = layout.unpack_from(data, start)
        if not stop:
            break
        values = start + layout.size + length
        if not values + size <= stop <= end or next(left, None) is None:
            raise ValueError("a record reaches beyond its end, or there are too many")
        record = Record(data[values - length : values].decode("latin-1"), *_values(data, values, values + size))
        if not record.name.startswith("Animation"):
            record.records = _records(data, values + size, stop, layout, left)
        records.append(record)
        start = stop
    return records


def _values(data: bytes, start: int, end: int) -> Iterator[Any]:
    """Read the values of a record; of arrays, matrices only."""
    while start < end:
        kind, size = chr(data[start]), _SIZES.get(chr(data[start]))
        if size is None:
            place = start + (1 if kind in "SR" else 9)
            size = place + 3 - start + struct.unpack_from("<I", data, place)[0]
        value, start = _Raw(data[start : start + 1 + size]), start + 1 + size
        if start > end:
            raise ValueError("a value reaches beyond its record")
        if kind in _NUMBERS:
            yield _NUMBERS[kind][1](struct.unpack_from(_NUMBERS[kind][0], value, 1)[0])
        elif kind == "d" and value[1:5] == _MATRIX:
            numbers = zlib.decompressobj().decompress(value[13:], 128) if value[5] else value[13:]
            yield np.frombuffer(numbers, "<f8", 16)
        else:
            yield value[5:].decode("utf-8", "surrogateescape") if kind == "S" else value


def _motion(settings: Mapping[str, tuple[Any, ...]]) -> tuple[Array, Callable[[Array, Array], tuple[Array, Array]]]:
    """Return the map (4, 4) from a node's axes to its parent's, and the function of `FbxFile.motions`."""

    def vector(name: str, default: float = 0.0) -> Array:
        return np.array(settings.get(name, [default] * 3), float).reshape(3)

    is_active = bool(settings.get("RotationActive", (0,))[0])
    order = _ORDERS[int(settings.get("RotationOrder", (0,))[0]) * is_active]
    turns = (Rotation.from_euler("xyz", vector(name) * is_active, degrees=True) for name in _FIXED)
    before, after = (turn.as_matrix() for turn in turns)
    pivot, centre, scale = vector("RotationPivot"), vector("ScalingPivot"), vector("Lcl Scaling", 1.0)
    start, arm = vector("RotationOffset") + pivot, vector("ScalingOffset") + centre - pivot - scale * centre
    angles = vector("Lcl Rotation")[["xyz".index(axis) for axis in order]]
    turn, local = before @ Rotation.from_euler(order, angles, degrees=True).as_matrix() @ after.T, np.eye(4)
    local[:3, :3], local[:3, 3] = turn * scale, vector("Lcl Translation") + start + turn @ arm

    def motion(rotations: Array, positions: Array) -> tuple[Array, Array]:
        angles = euler_angles((before.T @ rotations @ after)[:, None], order)[:, 0]
        return angles, positions - start - rotations @ arm

    return local, motion
