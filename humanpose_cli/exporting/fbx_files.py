"""Binary FBX 7 files: their records, and characters in them.

Source: no specification is published. The records follow the descriptions of Blender's and ufbx's authors; the tests
read the files by ufbx. Transforms: FBX SDK 2020, "Computing transformation matrices".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import InputError
from humanpose_cli.exporting.glb_files import FAULTS, MAX_FILE, bone_order, even_axes, rest_matrices
from humanpose_cli.io.sniffing import describe_file, reading

Array = NDArray[Any]

MAGIC = b"Kaydara FBX Binary  \0\x1a\0"
"""First bytes of a file; the version follows."""
_OLDEST, _WIDE = 7000, 7500  # versions: of objects with numbers, of positions with 64 bits
_MAX_RECORDS = 500_000
_SCALARS = {"C": "<?", "B": "<?", "Y": "<h", "I": "<i", "F": "<f", "D": "<d", "L": "<q"}
_ARRAYS = {"int32": b"i", "int64": b"l", "float32": b"f", "float64": b"d"}
_POLE = 1e-9  # cosine of the second angle at which the third is chosen as 0
_KINDS: dict[type, str] = {int: "int", float: "double", bool: "bool"}
_LABELS = {"int": "Integer", "double": "Number", "KTime": "Time", "Vector3D": "Vector", "ColorRGB": "Color"}
_ANIMATED = ("Lcl Translation", "Lcl Rotation", "Lcl Scaling", "FocalLength")
_ORDERS = ("xyz", "xzy", "yzx", "yxz", "zxy", "zyx", "xyz")  # by number; the first axis turns first


class Raw(bytes):
    """A value of a file that was read: a letter for its type, and its bytes."""

    @property
    def value(self) -> Any:
        """The number, text as bytes, or array of float64."""
        kind = chr(self[0])
        if kind in _SCALARS:
            return struct.unpack_from(_SCALARS[kind], self, 1)[0]
        if kind != "d":
            return self[5:]
        count, packed = struct.unpack_from("<2I", self, 1)
        data = zlib.decompressobj().decompress(self[13:], 8 * count) if packed else self[13:]
        return np.frombuffer(data, "<f8", count)


class Record:
    """A record of a file: a name, values and further records."""

    def __init__(self, name: str | bytes, *values: Any) -> None:
        self.name, self.values = name.encode("ascii") if isinstance(name, str) else name, values
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
        return next((record for record in self.records if record.name == name.encode()), Record(name))

    @property
    def read(self) -> list[Any]:
        """The values of a record that was read."""
        return [value.value for value in self.values]

    @property
    def read_properties(self) -> dict[str, list[Any]]:
        """The properties of a record that was read."""
        values = (entry.read for entry in self.get("Properties70").records)
        return {name.decode(): numbers for name, _, _, _, *numbers in values}

    def properties(self, **values: Any) -> None:
        """Set properties by name, in which `_` stands for a space: numbers, (type, value) or vectors (3,)."""
        block = self.get("Properties70")
        if block not in self.records:
            self.records.append(block)
        for name, value in values.items():
            name = name.replace("_", " ")
            kind, value = value if isinstance(value, tuple) else (_KINDS.get(type(value), name), value)
            numbers = value.tolist() if isinstance(value, np.ndarray) else [value]
            block.records = [entry for entry in block.records if encoded(entry.values[0]) != encoded(name)]
            block.add("P", name, kind, _LABELS.get(kind, ""), "A" if name in _ANIMATED else "", *numbers)

    def encoded(self, start: int) -> bytes:
        """Encode the record for a position in the file."""
        values = b"".join(map(encoded, self.values))
        position = start + 25 + len(self.name) + len(values)
        inner = []
        for record in self.records:
            inner.append(record.encoded(position))
            position += len(inner[-1])
        if self.records:
            inner.append(bytes(25))
            position += 25
        head = struct.pack("<3QB", position, len(self.values), len(values), len(self.name))
        return b"".join((head, self.name, values, *inner))


def encoded(value: Any) -> bytes:
    """Encode a value. Numbers of objects and times are np.int64, other integers have 32 bits."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, np.ndarray):
        data = zlib.compress(value.astype(value.dtype.newbyteorder("<")).tobytes(), 1)
        return _ARRAYS[value.dtype.name] + struct.pack("<3I", value.size, 1, len(data)) + data
    if isinstance(value, str | bytes):
        data = value.encode("utf-8") if isinstance(value, str) else value
        return (b"S" if isinstance(value, str) else b"R") + struct.pack("<I", len(data)) + data
    if isinstance(value, np.int64):
        return b"L" + struct.pack("<q", value)
    return b"D" + struct.pack("<d", value) if isinstance(value, float) else b"I" + struct.pack("<i", value)


@dataclass(frozen=True, eq=False)
class FbxJoint:
    """The constants between a node's animated properties and its map to its parent's axes.

    Attributes:
        order: Its axes in the order in which they turn.
        before: (3, 3) float. Rotation after those of `order`, PreRotation.
        after: (3, 3) float. Rotation before them, the inverse of PostRotation.
        start: (3,) float. Position of its pivot without translation.
        arm: (3,) float. From the pivot to its origin, before the rotation.
    """

    order: str
    before: Array
    after: Array
    start: Array
    arm: Array

    def animated(self, turns: Array, positions: Array) -> tuple[Array, Array]:
        """Return angles (R, 3), degrees, and translations (R, 3) for rotations (R, 3, 3) and positions (R, 3)."""
        angles = euler_angles((self.before.T @ turns @ self.after.T)[:, None], self.order)[:, 0]
        return angles, positions - self.start - turns @ self.arm


@dataclass(frozen=True, eq=False)
class FbxFile:
    """An FBX file with B bones: limbs, nodes that move surfaces, and those above them; parents first.

    Bones rest as they were bound to the surface. If the nodes stand in another pose, the records are changed to it.

    Attributes:
        path: The file.
        records: Its records.
        names: Names of the bones.
        nodes: The records of bones.
        parents: Row of each bone's parent, −1 for roots.
        matrices: (B, 4, 4) float. Maps from the axes of bones to the file's, in its unit.
        axes: (B, 3, 3) float. Axes of bones, as columns.
        joints: How properties move the bones.
        unit: Metres of its unit.
        humanoid: Nothing: names tell which joints bones are.
    """

    path: Path
    records: list[Record]
    names: list[str]
    nodes: list[Record]
    parents: list[int]
    matrices: Array
    axes: Array
    joints: list[FbxJoint]
    unit: float
    humanoid: Mapping[str, int]


def read_fbx(path: Path) -> FbxFile:
    """Read a binary FBX file. Raises InputError for other files, damaged ones and bones with uneven scales."""
    try:
        with reading(path), path.open("rb") as file:
            if (head := file.read(27))[:23] != MAGIC or path.stat().st_size > MAX_FILE:
                raise ValueError(f"no binary FBX of at most {MAX_FILE >> 20} MiB, but {describe_file(path)}")
            (version,) = struct.unpack_from("<I", head, 23)
            if version < _OLDEST:
                raise ValueError(f"FBX {version / 1000:.1f} is too old")
            data = head + file.read()
        layout = struct.Struct("<3QB" if version >= _WIDE else "<3IB")
        records = _records(data, 27, len(data), layout, iter(range(_MAX_RECORDS)))
        with np.errstate(all="ignore"):  # the axes are checked
            return _character(path, records)
    except (*FAULTS, zlib.error) as error:
        remedy = "export it again, as binary FBX of version 7.4"
        raise InputError(path, f"cannot be read as a character ({error})", remedy=remedy) from error


def _records(data: bytes, start: int, end: int, layout: struct.Struct, left: Iterator[int]) -> list[Record]:
    """Read the records between two positions."""
    records = []
    while start + layout.size <= end:
        stop, _, size, length = layout.unpack_from(data, start)
        if not stop:
            break
        values = start + layout.size + length
        if not values + size <= stop <= end or next(left, None) is None:
            raise ValueError("a record reaches beyond its end, or there are too many")
        record = Record(data[values - length : values], *_values(data, values, values + size))
        record.records = _records(data, values + size, stop, layout, left)
        records.append(record)
        start = stop
    return records


def _values(data: bytes, start: int, end: int) -> Iterator[Raw]:
    """Split the values of a record."""
    while start < end:
        kind = chr(data[start])
        size = struct.calcsize(_SCALARS.get(kind, "<I"))
        if kind not in _SCALARS:
            place = start + (1 if kind in "SR" else 9)
            size = place + 3 - start + struct.unpack_from("<I", data, place)[0]
        if start + 1 + size > end:
            raise ValueError("a value reaches beyond its record")
        yield Raw(data[start : start + 1 + size])
        start += 1 + size


def _character(path: Path, records: list[Record]) -> FbxFile:
    top = Record("")
    top.records = records
    objects = {record.read[0]: record for record in top.get("Objects").records}
    models = {number: record for number, record in objects.items() if record.name == b"Model"}
    above, clusters = {}, []
    for link in top.get("Connections").records:
        _, child, parent, *_ = link.read
        if child in models and parent in models:
            above[child] = parent
        elif child in models and objects.get(parent, top).get("TransformLink").values:
            clusters.append((child, objects[parent].get("TransformLink").read[0].reshape(4, 4).T))
    used = {number for number, model in models.items() if model.read[2] == b"LimbNode"} | {bone for bone, _ in clusters}
    order, parents = bone_order(used or {*models}, above)
    nodes, joints = [models[number] for number in order], []
    matrices = np.tile(np.eye(4), (len(order), 1, 1))
    for row, parent in enumerate(parents):
        joint, local = _joint(nodes[row].read_properties)
        joints.append(joint)
        matrices[row] = matrices[parent] @ local if parent >= 0 else local
    rows = {number: row for row, number in enumerate(order)}
    bound = [rows[bone] for bone, _ in clusters], np.linalg.inv([np.eye(4), *(link for _, link in clusters)])[1:]
    rest = rest_matrices(parents, matrices, [bound] if clusters else [])
    for row, parent in enumerate(parents if rest is not None else ()):
        local = np.linalg.solve(rest[parent], rest[row]) if parent >= 0 else rest[row]
        scale = np.linalg.norm(local[:3, :3], axis=0)
        angles, shifts = joints[row].animated(local[None, :3, :3] / scale, local[None, :3, 3])
        nodes[row].properties(Lcl_Translation=shifts[0], Lcl_Rotation=angles[0], Lcl_Scaling=scale)
    matrices = matrices if rest is None else rest
    names = [node.read[1].split(b"\0")[0].decode("utf-8", "replace") or f"node{row}" for row, node in enumerate(nodes)]
    (unit,) = top.get("GlobalSettings").read_properties.get("UnitScaleFactor", [1.0])
    axes = even_axes(names, matrices)
    return FbxFile(path, records, names, nodes, parents, matrices, axes, joints, unit / 100, {})


def _joint(properties: Mapping[str, list[Any]]) -> tuple[FbxJoint, Array]:
    """Return how properties move a node, and its map (4, 4) to its parent's axes."""

    def vector(name: str, default: float = 0.0) -> Array:
        return np.array(properties.get(name, [default] * 3), float).reshape(3)

    is_active = bool(properties.get("RotationActive", [0])[0])
    order = _ORDERS[int(properties.get("RotationOrder", [0])[0])] if is_active else "xyz"
    before, after = (
        Rotation.from_euler("xyz", vector(name) * is_active, degrees=True).as_matrix()
        for name in ("PreRotation", "PostRotation")
    )
    pivot, centre, scale = vector("RotationPivot"), vector("ScalingPivot"), vector("Lcl Scaling", 1.0)
    start = vector("RotationOffset") + pivot
    arm = vector("ScalingOffset") + centre - pivot - scale * centre
    local = np.eye(4)
    angles = vector("Lcl Rotation")[["xyz".index(axis) for axis in order]]
    turn = before @ Rotation.from_euler(order, angles, degrees=True).as_matrix() @ after.T
    local[:3, :3], local[:3, 3] = turn * scale, vector("Lcl Translation") + start + turn @ arm
    return FbxJoint(order, before, after.T, start, arm), local


def euler_angles(rotations: Array, order: str = "xyz") -> Array:
    """Convert rotations (R, J, 3, 3) to angles (R, J, 3) about x, y and z, degrees, for axes that turn in an order.

    Of the two triples of a rotation, and their complete turns, each row takes the one nearest to the row before.
    SciPy's conversion is not used, because it warns where the second angle is a right one.
    """
    axes = np.array(["xyz".index(axis) for axis in order])
    sign = np.linalg.det(np.eye(3)[axes])  # of angles, after the axes are renamed to x, y and z
    rotations = rotations[..., axes[:, None], axes]
    (a, _, _), (b, e, f), (c, h, i) = np.moveaxis(rotations, (-2, -1), (0, 1))
    cosine = np.hypot(a, b)
    regular = cosine > _POLE
    x = np.where(regular, np.arctan2(h, i), np.arctan2(-f, e))
    z = np.where(regular, np.arctan2(b, a), 0.0)
    angles = np.degrees(np.stack((x, np.arctan2(-c, cosine), z), -1))
    for row in range(1, len(angles)):
        before = angles[row - 1]
        choices = np.stack((angles[row], angles[row] * (1, -1, 1) + 180))
        choices += 360 * np.rint((before - choices) / 360)
        best = np.abs(choices - before).sum(-1).argmin(0)
        angles[row] = np.where(best[:, None] == 0, choices[0], choices[1])
    return sign * angles[..., np.argsort(axes)]
