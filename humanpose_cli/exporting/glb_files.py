"""Binary glTF files of characters.

Source: glTF 2.0 specification, Khronos Group, ISO/IEC 12113:2022; VRM 1.0 and 0.x, humanoid, VRM Consortium.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.sniffing import describe_file, read_bytes

Array = NDArray[Any]

_UNEVEN = 1e-3  # maximum relative difference between the scales of a bone's axes
_MAX_NODES = 5000


@dataclass(frozen=True, eq=False)
class GlbFile:
    """A glTF file with B bones: the nodes of its skins and those above them, or all nodes; parents first.

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


def read_glb(path: Path) -> GlbFile:
    """Read a binary glTF file. Raises InputError for other files, damaged ones and bones with uneven scales."""
    content = read_bytes(path)
    try:
        if content[:8] != b"glTF\2\0\0\0":
            raise ValueError(f"not binary glTF 2.0, but {describe_file(path)}")
        (size,) = struct.unpack_from("<I", content, 12)
        document = json.loads(content[20 : 20 + size])
        (length,) = struct.unpack_from("<I", content, 20 + size)
        data = content[28 + size : 28 + size + length]
        if len(data) < length or any("uri" in buffer for buffer in document["buffers"][:1]):
            raise ValueError("its data are not in the file")
        nodes, parents, matrices = _bones(document)
        names = [str(document["nodes"][node].get("name", f"node{node}")) for node in nodes]
        scales = np.linalg.norm(matrices[:, :3, :3], axis=1)
        axes = matrices[:, :3, :3] / scales[:, None]
        errors = np.abs(np.swapaxes(axes, 1, 2) @ axes - np.eye(3)).max((1, 2)) + np.ptp(scales, axis=1) / scales.max(1)
        uneven = np.flatnonzero(~((errors < _UNEVEN) & (np.linalg.det(axes) > 0)))
        if len(uneven):
            raise ValueError(f"the bone {names[uneven[0]]} is mirrored or unevenly scaled: apply its scale")
        extensions = document.get("extensions", {})
        bones = extensions.get("VRMC_vrm", extensions.get("VRM", {})).get("humanoid", {}).get("humanBones", {})
        if not isinstance(bones, dict):  # VRM 0 has other names of thumbs
            old = {"ThumbProximal": "ThumbMetacarpal", "ThumbIntermediate": "ThumbProximal"}
            bones = {re.sub("Thumb[PI].*", lambda match: old[match[0]], bone["bone"]): bone for bone in bones}
        humanoid = {name: nodes.index(bone["node"]) for name, bone in bones.items()}
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise InputError(path, f"cannot be read as a character ({error})", remedy="export it again") from error
    return GlbFile(path, document, data, names, nodes, parents, matrices, axes, humanoid)


def _bones(document: dict[str, Any]) -> tuple[list[int], list[int], Array]:
    """Return the nodes of bones, the rows of their parents, and their maps to the file's axes."""
    nodes = document["nodes"]
    above = {child: number for number, node in enumerate(nodes) for child in node.get("children", ())}
    used = {joint for skin in document.get("skins", ()) for joint in skin["joints"]} or set(range(len(nodes)))
    for node in [*used]:
        while node in above and above[node] not in used:
            node = above[node]
            used.add(node)
    order = sorted(used - above.keys())
    for node in order:  # grows
        order += [child for child in nodes[node].get("children", ()) if child in used]
        if len(order) > min(len(used), _MAX_NODES):
            raise ValueError("nodes in a circle, or too many")
    rows = {node: row for row, node in enumerate(order)}
    parents = [rows[above[node]] if node in above else -1 for node in order]
    matrices = np.tile(np.eye(4), (len(order), 1, 1))
    for row, (number, parent) in enumerate(zip(order, parents, strict=True)):
        node, local = nodes[number], np.eye(4)
        if "matrix" in node:  # animated nodes have none
            local = np.array(node.pop("matrix"), float).reshape(4, 4).T
            scale = np.linalg.norm(local[:3, :3], axis=0)
            turn = Rotation.from_matrix(local[:3, :3] / scale).as_quat().tolist()
            node |= {"translation": local[:3, 3].tolist(), "rotation": turn, "scale": scale.tolist()}
        else:
            local[:3, :3] = Rotation.from_quat(node.get("rotation", (0, 0, 0, 1))).as_matrix()
            local[:3, :3] *= np.array(node.get("scale", (1, 1, 1)), float)
            local[:3, 3] = node.get("translation", (0, 0, 0))
        matrices[row] = matrices[parent] @ local if parent >= 0 else local
    return order, parents, matrices
