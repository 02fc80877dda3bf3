"""The meshes of all people in one frame as OBJ or PLY: metres, y up, in the world of `exporting.motion`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.texture import sample_at
from humanpose_cli.exporting.skins import SkinnedMesh
from humanpose_cli.outputs.atomic import write_bytes
from humanpose_cli.rendering.overlay import person_colour

Array = NDArray[Any]


def materials_text(meshes: Sequence[SkinnedMesh], images: Mapping[str, str]) -> str:
    """Return the material library (`.mtl`) of meshes: the people's colours, or the file names of images by mesh."""
    lines = []
    for mesh in meshes:
        colour = (1.0, 1.0, 1.0) if mesh.name in images else person_colour(mesh.track).tolist()
        lines += [f"newmtl {mesh.name}", "Kd " + " ".join(f"{value:.4f}" for value in colour), "Ks 0 0 0", "illum 1"]
        lines += [f"map_Kd {images[mesh.name]}"] if mesh.name in images else []
    return "\n".join(lines) + "\n"


def obj_text(meshes: Sequence[SkinnedMesh], materials: str) -> str:
    """Return the meshes of one frame as OBJ, each an object such as `person0_skirt` with texture coordinates.

    Args:
        meshes: The meshes.
        materials: Name of the material library in the same folder.
    """
    text, first, first_uv = [f"mtllib {materials}\n"], 1, 1
    for mesh in meshes:
        corners = np.stack((mesh.faces + first, mesh.uv_faces + first_uv), -1).reshape(-1, 6)
        text += [f"o {mesh.name}\nusemtl {mesh.name}\n", _lines("v %.6f %.6f %.6f\n", mesh.vertices)]
        text.append(_lines("vt %.6f %.6f\n", mesh.uv * (1, -1) + (0, 1)))  # OBJ's v goes up
        text.append(_lines("f %d/%d %d/%d %d/%d\n", corners))
        first, first_uv = first + len(mesh.vertices), first_uv + len(mesh.uv)
    return "".join(text)


def _lines(pattern: str, rows: Array) -> str:
    """Format a line for each row, all at once, which is several times faster."""
    return (pattern * len(rows)) % tuple(rows.reshape(-1).tolist())


def write_ply(path: Path | str, meshes: Sequence[SkinnedMesh]) -> None:
    """Write the meshes of one frame as one binary PLY with colours of vertices: the images' or the people's."""
    vertex = np.dtype([("position", "<f4", 3), ("colour", "u1", 3)])
    face = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
    vertices = np.zeros(sum(len(mesh.vertices) for mesh in meshes), vertex)
    faces = np.zeros(sum(len(mesh.faces) for mesh in meshes), face)
    faces["count"] = 3
    first = first_face = 0
    for mesh in meshes:
        rows = slice(first, first + len(mesh.vertices))
        vertices["position"][rows] = mesh.vertices
        vertices["colour"][rows] = vertex_colours(mesh)
        faces["corners"][first_face : first_face + len(mesh.faces)] = mesh.faces + first
        first, first_face = rows.stop, first_face + len(mesh.faces)
    names = "".join(f"property float {axis}\n" for axis in "xyz")
    names += "".join(f"property uchar {colour}\n" for colour in ("red", "green", "blue"))
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {vertices.size}\n{names}"
        f"element face {faces.size}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    write_bytes(path, head.encode("ascii") + vertices.tobytes() + faces.tobytes())


def vertex_colours(mesh: SkinnedMesh) -> Array:
    """Return colours (V, 3) uint8 sRGB of vertices, from the image or the person's colour."""
    if mesh.image is None:
        return np.tile(np.rint(255 * person_colour(mesh.track)).astype(np.uint8), (len(mesh.vertices), 1))
    corner = np.zeros(len(mesh.vertices), np.int64)
    corner[mesh.faces.reshape(-1)] = mesh.uv_faces.reshape(-1)
    texture = mesh.image[..., :3].astype(np.float32)
    x, y = (mesh.uv[corner] * texture.shape[1::-1]).T
    return np.rint(sample_at(texture, x, y)).astype(np.uint8)
