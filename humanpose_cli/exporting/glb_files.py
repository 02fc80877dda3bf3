"""glTF files of characters: binary, or JSON with its buffers inside or beside it; and bones at rest.

Source: glTF 2.0 specification, Khronos Group, ISO/IEC 12113:2022; VRM 1.0 and 0.x, humanoid, VRM Consortium.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.files.sniffing import file_kind, read_bytes, reading

Array = NDArray[Any]

MAX_FILE = 512 << 20
"""Maximum of a character's file, and of its buffers together, bytes."""
MAX_TEXT = 128 << 20
"""Maximum of a document, bytes."""
MAX_BONES = 5000
"""Maximum number of bones of a rig."""
FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error, zlib.error)
"""What damaged files raise."""
_UNEVEN = 1e-3  # maximum relative difference between the scales of a bone's axes
_POSED = 0.02  # difference of poses: of axes, or of positions as a share of the character's size
_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_TURNS = Rotation.create_group("O").as_matrix()  # onto other axes


@dataclass(frozen=True, eq=False, kw_only=True)
class CharacterFile:
    """A file with B bones, parents first. They rest as they were bound to the surface, also if nodes stood otherwise.

    Attributes:
        path: The file.
        names: Names of the bones.
        parents: Row of each bone's parent, −1 for roots.
        matrices: (B, 4, 4) float. Maps from the axes of bones to the file's.
        humanoid: Rows of bones by VRM's names.
        unit: Metres of its unit.
    """

    path: Path
    names: list[str]
    parents: list[int]
    matrices: Array
    humanoid: Mapping[str, int] = field(default_factory=dict)
    unit: float = 1.0

    @property
    def axes(self) -> Array:
        """(B, 3, 3) float. Axes of bones, as columns. Raises ValueError if one is mirrored or unevenly scaled."""
        scales = np.linalg.norm(self.matrices[:, :3, :3], axis=1)
        axes = self.matrices[:, :3, :3] / np.where(scales > 0, scales, np.nan)[:, None]
        errors = np.abs(np.swapaxes(axes, 1, 2) @ axes - np.eye(3)).max((1, 2)) + np.ptp(scales, axis=1) / scales.max(1)
        uneven = np.flatnonzero(~((errors < _UNEVEN) & (np.linalg.det(axes) > 0)))
        if len(uneven):
            raise ValueError(f"the bone {self.names[uneven[0]]} is mirrored or unevenly scaled: apply its scale")
        return axes


@dataclass(frozen=True, eq=False, kw_only=True)
class GlbFile(CharacterFile):
    """A glTF file. Its bones are the nodes of its skins and those above them, or all nodes.

    Attributes:
        document: Its JSON document, in which bones have no `matrix`.
        data: Its binary data, buffer 0.
        nodes: Numbers of the bones' nodes.
    """

    document: dict[str, Any]
    data: bytes
    nodes: list[int]


def read_glb(path: Path) -> GlbFile:
    """Read a glTF file. Raises one of `FAULTS` for other files and damaged ones, InputError if files are missing."""
    document, data = _content(path)
    nodes, parents, matrices = _bones(document, data)
    names = [str(document["nodes"][node].get("name") or f"node{node}") for node in nodes]
    extensions = document.get("extensions", {})
    bones = extensions.get("VRMC_vrm", extensions.get("VRM", {})).get("humanoid", {}).get("humanBones", {})
    if not isinstance(bones, dict):  # VRM 0 has other names of thumbs
        old = {"ThumbProximal": "ThumbMetacarpal", "ThumbIntermediate": "ThumbProximal"}
        bones = {re.sub("Thumb[PI].*", lambda match: old[match[0]], bone["bone"]): bone for bone in bones}
    rows = {node: row for row, node in enumerate(nodes)}
    humanoid = {name: rows[bone["node"]] for name, bone in bones.items()}
    own: dict[str, Any] = {"document": document, "data": data, "nodes": nodes}
    return GlbFile(path=path, names=names, parents=parents, matrices=matrices, humanoid=humanoid, **own)


def bone_order(used: set[int], above: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """List nodes and those above them, parents first, and the row of each one's parent, −1 for roots.

    Args:
        used: The nodes.
        above: The parents of nodes that have one.

    Raises:
        ValueError: If there is none, a circle, or more than `MAX_BONES`.
    """
    for node in [*used]:
        while node in above and above[node] not in used:
            node = above[node]
            used.add(node)
    below: dict[int, list[int]] = {}
    for child, parent in above.items():
        below.setdefault(parent, []).extend({child} & used)
    order = sorted(used - above.keys())
    for node in order:  # grows
        order += below.get(node, ())
    if not len(used) == len(order) <= MAX_BONES or not order:
        raise ValueError(f"no bones, more than {MAX_BONES}, or bones in a circle")
    rows = {node: row for row, node in enumerate(order)}
    return order, [rows[above[node]] if node in above else -1 for node in order]


def at_rest(
    parents: list[int], local: Array, skins: Iterable[tuple[list[int], Array]], place: Callable[[int, Array], None]
) -> Array:
    """Find the maps (B, 4, 4) from the axes of bones to the file's in the pose in which they were bound to surfaces.

    Args:
        parents: Row of each bone's parent, −1 for roots.
        local: (B, 4, 4) float. Maps from the axes of nodes to those of their parents.
        skins: Rows of bones and their inverse bind matrices (K, 4, 4), in axes of each skin's own.
        place: Called with a row and such a map of the pose, if nodes stand in another pose.
    """
    matrices, bind = local.copy(), dict[int, Array]()
    for row, parent in enumerate(parents):
        matrices[row] = matrices[parent] @ local[row] if parent >= 0 else local[row]
    size = np.ptp(matrices[:, :3, 3], axis=0).max()
    for rows, inverse in sorted((skin for skin in skins if skin[0]), key=lambda skin: -len(skin[0])):
        maps = matrices[rows] @ inverse  # from the skin's axes to the file's: the same for all bones in the bind pose
        scale = np.cbrt(np.median(np.linalg.det(maps[:, :3, :3])))
        spread = np.ptp(maps[:, :3], axis=0) / (scale, scale, scale, size)
        if not scale < 0 and not (spread < _POSED).all():
            own = np.eye(4)
            own[:3, :3] = scale * max(_TURNS, key=lambda turn: (turn * maps[:, :3, :3].sum(0)).sum())
            bind = {**dict(zip(rows, own @ np.linalg.inv(inverse), strict=True)), **bind}
    for row, parent in enumerate(parents if bind else ()):  # other bones follow
        matrices[row] = bind[row] if row in bind else matrices[parent] @ local[row] if parent >= 0 else local[row]
        place(row, np.linalg.solve(matrices[parent], matrices[row]) if parent >= 0 else matrices[row])
    return matrices


def _content(path: Path) -> tuple[dict[str, Any], bytes]:
    """Read a file's document and all its data as one buffer; images beside the file come into it."""
    data = bytearray()
    if path.suffix.lower() == ".gltf":
        document = json.loads(read_bytes(path, MAX_TEXT))
    else:
        with reading(path), path.open("rb") as file:
            head = file.read(20).ljust(20, b"\0")
            if head[:8] != b"glTF\2\0\0\0":
                raise ValueError(f"not binary glTF 2.0, but {file_kind(path)}")
            total, size = struct.unpack_from("<2I", head, 8)
            if not size <= min(total, MAX_TEXT) or not total <= min(MAX_FILE, path.stat().st_size):
                raise ValueError("its data are not in the file, or too many")
            document = json.loads(file.read(size))
            (length,) = struct.unpack("<I4x", file.read(8).ljust(8, b"\0"))
            data += file.read(min(length, total))
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()  # as it will be written
    _gather(path.parent, document, data)
    return document, bytes(data)


def _gather(folder: Path, document: dict[str, Any], data: bytearray) -> None:
    """Add a document's other buffers and the images of its folder to the data of its first buffer."""
    lists = [document.setdefault(name, []) for name in ("buffers", "bufferViews", "accessors", "nodes")]
    if not all(isinstance(value, list) for value in (*lists, document.get("animations", []))):
        raise ValueError("its lists are none")
    buffers, views, accessors, _ = lists
    starts = [0] * len(buffers)
    if all("uri" in buffer for buffer in buffers[1:]):  # readers may fill others: EXT_meshopt_compression
        for number, buffer in enumerate(buffers):
            starts[number] = len(data) if "uri" in buffer else 0
            data += _resource(folder, buffer["uri"], buffer["byteLength"], data) if "uri" in buffer else b""
            data += bytes(-len(data) % 4)
        document["buffers"] = [{}]
        for view in views:
            view |= {"byteOffset": view.get("byteOffset", 0) + starts[view["buffer"]], "buffer": 0}
    ends = [(view.get("byteOffset", 0), view["byteLength"]) for view in views if view["buffer"] == 0]
    if any(min(end) < 0 or sum(end) > len(data) for end in ends) or any(entry["count"] < 0 for entry in accessors):
        raise ValueError("its data are not in the file, or too many")
    for image in document.get("images", ()):
        picture = folder / unquote(image.get("uri", ""))
        if picture.suffix.lower() in _IMAGES and not image["uri"].startswith("data:") and picture.is_file():
            content = _resource(folder, image.pop("uri"), picture.stat().st_size, data)
            views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(content)})
            image |= {"bufferView": len(views) - 1, "mimeType": _IMAGES[picture.suffix.lower()]}
            data += content + bytes(-len(content) % 4)


def _resource(folder: Path, uri: str, size: int, before: bytearray) -> bytes:
    """Read a data URI, or that many bytes of a file in the folder or below it, after what was read before."""
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition("base64,")[2])
    path = (folder / unquote(uri)).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{uri} is outside of its folder")
    with reading(path), path.open("rb") as file:
        if not 0 <= size <= min(MAX_FILE - len(before), path.stat().st_size):
            raise ValueError(f"{uri} has not {size} bytes, or has too many")
        return file.read(size)


def _bones(document: dict[str, Any], data: bytes) -> tuple[list[int], list[int], Array]:
    """Return the nodes of bones, the rows of their parents, and their maps to the file's axes at rest."""
    nodes, skins = document["nodes"], document.get("skins", [])
    links = [(child, number) for number, node in enumerate(nodes) for child in node.get("children", ())]
    above = dict(links)
    used = {joint for skin in skins for joint in skin["joints"]} or set(range(len(nodes)))
    if len(above) < len(links) or not above.keys() | used <= {*range(len(nodes))}:
        raise ValueError("nodes with two parents, in a circle, or missing")
    order, parents = bone_order(used, above)
    local, rows, bound = np.tile(np.eye(4), (len(order), 1, 1)), {node: row for row, node in enumerate(order)}, []
    for row, node in enumerate(nodes[number] for number in order):
        if "matrix" in node:
            local[row] = np.array(node["matrix"], float).reshape(4, 4).T
            _place(node, local[row])
        else:
            turn = Rotation.from_quat(node.get("rotation", (0, 0, 0, 1))).as_matrix()
            local[row, :3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), float)
            local[row, :3, 3] = node.get("translation", (0, 0, 0))
    for skin in skins:
        accessor = document["accessors"][skin["inverseBindMatrices"]] if "inverseBindMatrices" in skin else {}
        view = document["bufferViews"][accessor["bufferView"]] if "bufferView" in accessor else {"buffer": 1}
        if view["buffer"] == 0 and "sparse" not in accessor:
            start, count = view.get("byteOffset", 0) + accessor.get("byteOffset", 0), 16 * accessor["count"]
            values = np.frombuffer(data, "<f4", count, start).reshape(-1, 4, 4)[: len(skin["joints"])]
            bound.append(([rows[joint] for joint in skin["joints"]], values.swapaxes(1, 2).astype(np.float64)))
    return order, parents, at_rest(parents, local, bound, lambda row, place: _place(nodes[order[row]], place))


def _place(node: dict[str, Any], local: Array) -> None:
    """Give a node the map (4, 4) to its parent's axes; animated nodes have no `matrix`."""
    node.pop("matrix", None)
    scale = np.linalg.norm(local[:3, :3], axis=0)
    turn = Rotation.from_matrix(local[:3, :3] / scale).as_quat().tolist()
    node |= {"translation": local[:3, 3].tolist(), "rotation": turn, "scale": scale.tolist()}
