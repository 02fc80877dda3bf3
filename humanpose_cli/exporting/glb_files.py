"""glTF files of characters: binary, or JSON with its buffers inside or beside it; and bones at rest.

Source: glTF 2.0 specification, Khronos Group, ISO/IEC 12113:2022; VRM 1.0 and 0.x, humanoid, VRM Consortium.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.sniffing import describe_file, read_bytes, reading

Array = NDArray[Any]

MAX_FILE = 512 << 20
"""Maximum of a character's file, and of its buffers together, bytes."""
MAX_BONES = 5000
"""Maximum number of bones of a rig."""
FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error)
"""What damaged files raise."""
_UNEVEN = 1e-3  # maximum relative difference between the scales of a bone's axes
_POSED = 0.02  # difference of poses: of axes, or of positions as a share of the character's size
_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_TURNS = [
    turn
    for axes in itertools.permutations(np.eye(3))
    for signs in itertools.product((1, -1), repeat=3)
    if np.linalg.det(turn := np.array(axes) * signs) > 0
]


@dataclass(frozen=True, eq=False)
class GlbFile:
    """A glTF file with B bones: the nodes of its skins and those above them, or all nodes; parents first.

    Bones rest as they were bound to the surface. If the nodes stand in another pose, the document is changed to it.

    Attributes:
        path: The file.
        document: Its JSON document, in which bones have no `matrix`.
        data: Its binary data, buffer 0.
        names: Names of the bones.
        nodes: Numbers of the bones' nodes.
        parents: Row of each bone's parent, −1 for roots.
        matrices: (B, 4, 4) float. Maps from the axes of bones to the file's.
        axes: (B, 3, 3) float. Axes of bones, as columns.
        humanoid: Rows of bones by VRM's names.
        unit: Metres of its unit.
    """

    path: Path
    document: dict[str, Any]
    data: bytes
    names: list[str]
    nodes: list[int]
    parents: list[int]
    matrices: Array
    axes: Array
    humanoid: dict[str, int]
    unit: float = 1.0


def read_glb(path: Path) -> GlbFile:
    """Read a glTF file. Raises InputError for other files, damaged ones and bones with uneven scales."""
    try:
        document, data = _content(path)
        with np.errstate(all="ignore"):  # the axes are checked
            nodes, parents, matrices = _bones(document, data)
        names = [str(document["nodes"][node].get("name") or f"node{node}") for node in nodes]
        extensions = document.get("extensions", {})
        bones = extensions.get("VRMC_vrm", extensions.get("VRM", {})).get("humanoid", {}).get("humanBones", {})
        if not isinstance(bones, dict):  # VRM 0 has other names of thumbs
            old = {"ThumbProximal": "ThumbMetacarpal", "ThumbIntermediate": "ThumbProximal"}
            bones = {re.sub("Thumb[PI].*", lambda match: old[match[0]], bone["bone"]): bone for bone in bones}
        rows = {node: row for row, node in enumerate(nodes)}
        humanoid = {name: rows[bone["node"]] for name, bone in bones.items()}
        return GlbFile(path, document, data, names, nodes, parents, matrices, even_axes(names, matrices), humanoid)
    except FAULTS as error:
        raise InputError(path, f"cannot be read as a character ({error})", remedy="export it again") from error


def even_axes(names: list[str], matrices: Array) -> Array:
    """Return the axes (B, 3, 3) of bones. Raises ValueError if one is mirrored, unevenly scaled or not finite."""
    scales = np.linalg.norm(matrices[:, :3, :3], axis=1)
    axes = matrices[:, :3, :3] / np.where(scales > 0, scales, np.nan)[:, None]
    errors = np.abs(np.swapaxes(axes, 1, 2) @ axes - np.eye(3)).max((1, 2)) + np.ptp(scales, axis=1) / scales.max(1)
    uneven = np.flatnonzero(~((errors < _UNEVEN) & (np.linalg.det(axes) > 0)))
    if len(uneven):
        raise ValueError(f"the bone {names[uneven[0]]} is mirrored or unevenly scaled: apply its scale")
    return axes


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


def rest_matrices(parents: list[int], matrices: Array, skins: Iterable[tuple[list[int], Array]]) -> Array | None:
    """Find the pose (B, 4, 4) in which bones were bound to surfaces; None if they stand in it.

    Args:
        parents: Row of each bone's parent, −1 for roots.
        matrices: (B, 4, 4) float. Maps from the axes of bones to the file's.
        skins: Rows of bones and their inverse bind matrices (K, 4, 4), in axes of each skin's own.
    """
    bind: dict[int, Array] = {}
    size = np.ptp(matrices[:, :3, 3], axis=0).max()
    for rows, inverse in sorted(skins, key=lambda skin: -len(skin[0])):
        place = matrices[rows] @ inverse  # from the skin's axes to the file's: the same for all bones in the bind pose
        scale = np.cbrt(np.median(np.linalg.det(place[:, :3, :3])))
        spread = np.ptp(place[:, :3], axis=0) / (scale, scale, scale, size)
        if not (spread < _POSED).all():
            own = np.eye(4)
            own[:3, :3] = scale * max(_TURNS, key=lambda turn: (turn * place[:, :3, :3].sum(0)).sum())
            bind = {**dict(zip(rows, own @ np.linalg.inv(inverse), strict=True)), **bind}
    if not bind:
        return None
    rest = matrices.copy()
    for row, parent in enumerate(parents):  # other bones follow
        if row in bind or parent >= 0:
            rest[row] = bind[row] if row in bind else rest[parent] @ np.linalg.solve(matrices[parent], matrices[row])
    return rest


def _content(path: Path) -> tuple[dict[str, Any], bytes]:
    """Read a file's document and all its data as one buffer; images beside the file come into it."""
    data = bytearray()
    if path.suffix.lower() == ".gltf":
        document = json.loads(read_bytes(path, MAX_FILE))
    else:
        with reading(path), path.open("rb") as file:
            head = file.read(20).ljust(20, b"\0")
            if head[:8] != b"glTF\2\0\0\0":
                raise ValueError(f"not binary glTF 2.0, but {describe_file(path)}")
            total, size = struct.unpack_from("<2I", head, 8)
            if not size <= total <= min(MAX_FILE, path.stat().st_size):
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
    buffers, views, *_ = lists
    kept: list[dict[str, Any]] = [{}]
    places = []  # number and start of each buffer in the new file
    for number, buffer in enumerate(buffers):
        if number and "uri" not in buffer:  # that readers fill: EXT_meshopt_compression
            places.append((len(kept), 0))
            kept.append(buffer)
            continue
        places.append((0, len(data) if "uri" in buffer else 0))
        if "uri" in buffer:
            data += _resource(folder, buffer["uri"], buffer["byteLength"])
        if not 0 <= buffer["byteLength"] <= len(data) - places[-1][1] or len(data) > MAX_FILE:
            raise ValueError("its data are not in the file, or too many")
        data += bytes(-len(data) % 4)
    for part in [part for view in views for part in (view, *view.get("extensions", {}).values()) if "buffer" in part]:
        number, start = places[part["buffer"]]
        offset, length = part.get("byteOffset", 0), part["byteLength"]
        if min(offset, length) < 0 or (number == 0 and start + offset + length > len(data)):
            raise ValueError("a view reaches beyond the data")
        part |= {"buffer": number, "byteOffset": start + offset}
    for image in document.get("images", ()):
        kind, uri = _IMAGES.get(Path(image.get("uri", "")).suffix.lower()), image.get("uri", "")
        if kind and not uri.startswith("data:") and (folder / unquote(uri)).is_file():
            picture = _resource(folder, image.pop("uri"), MAX_FILE - len(data))
            views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(picture)})
            image |= {"bufferView": len(views) - 1, "mimeType": kind}
            data += picture + bytes(-len(picture) % 4)
    document["buffers"] = kept


def _resource(folder: Path, uri: str, size: int) -> bytes:
    """Read a data URI, or up to that many bytes of a file in the folder or below it."""
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition("base64,")[2])
    path = (folder / unquote(uri)).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{uri} is outside of its folder")
    with reading(path), path.open("rb") as file:
        return file.read(min(size, MAX_FILE))


def _bones(document: dict[str, Any], data: bytes) -> tuple[list[int], list[int], Array]:
    """Return the nodes of bones, the rows of their parents, and their maps to the file's axes at rest."""
    nodes, skins = document["nodes"], document.get("skins", [])
    links = [(child, number) for number, node in enumerate(nodes) for child in node.get("children", ())]
    above = dict(links)
    used = {joint for skin in skins for joint in skin["joints"]} or set(range(len(nodes)))
    if len(above) < len(links) or not above.keys() | used <= {*range(len(nodes))}:
        raise ValueError("nodes with two parents, in a circle, or missing")
    order, parents = bone_order(used, above)
    matrices = np.tile(np.eye(4), (len(order), 1, 1))
    for row, (number, parent) in enumerate(zip(order, parents, strict=True)):
        node, local = nodes[number], np.eye(4)
        if "matrix" in node:
            local = np.array(node["matrix"], float).reshape(4, 4).T
            _place(node, local)
        else:
            local[:3, :3] = Rotation.from_quat(node.get("rotation", (0, 0, 0, 1))).as_matrix()
            local[:3, :3] *= np.array(node.get("scale", (1, 1, 1)), float)
            local[:3, 3] = node.get("translation", (0, 0, 0))
        matrices[row] = matrices[parent] @ local if parent >= 0 else local
    rows, bound = {node: row for row, node in enumerate(order)}, []
    for skin in skins:
        accessor = document["accessors"][skin["inverseBindMatrices"]] if "inverseBindMatrices" in skin else {}
        view = document["bufferViews"][accessor["bufferView"]] if "bufferView" in accessor else {"buffer": 1}
        if view["buffer"] == 0 and "sparse" not in accessor:
            start = view["byteOffset"] + accessor.get("byteOffset", 0)
            values = np.frombuffer(data, "<f4", 16 * len(skin["joints"]), start).reshape(-1, 4, 4)
            bound.append(([rows[joint] for joint in skin["joints"]], values.swapaxes(1, 2).astype(np.float64)))
    rest = rest_matrices(parents, matrices, bound)
    for row, (number, parent) in enumerate(zip(order, parents, strict=True) if rest is not None else ()):
        _place(nodes[number], np.linalg.solve(rest[parent], rest[row]) if parent >= 0 else rest[row])
    return order, parents, matrices if rest is None else rest


def _place(node: dict[str, Any], local: Array) -> None:
    """Give a node the map (4, 4) to its parent's axes; animated nodes have no `matrix`."""
    node.pop("matrix", None)
    scale = np.linalg.norm(local[:3, :3], axis=0)
    turn = Rotation.from_matrix(local[:3, :3] / scale).as_quat().tolist()
    node |= {"translation": local[:3, 3].tolist(), "rotation": turn, "scale": scale.tolist()}
