"""The surfaces of all people in one frame as OBJ or PLY: metres, y up, in the world of `export.motion`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import sample_at
from humanpose_cli.export.motion import TO_Y_UP
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.atomic import write_bytes
from humanpose_cli.rendering.overlay import person_colour

Array = NDArray[Any]
Textures = Mapping[int, NDArray[np.uint8]]


def frame_surfaces(fit: Fit, frame: int, body: Body) -> dict[int, Array]:
    """Compute the surface (V, 3) of every track in a frame, metres in the world, y up."""
    rows = fit.rows_for(frame)
    if not len(rows):
        return {}
    turn = fit.world_to_camera[frame].astype(np.float64)
    points = body_vertices(body, fit, rows).double().numpy() - turn[:3, 3]
    world = points @ turn[:3, :3] @ TO_Y_UP.T
    return dict(zip(fit.track_id[rows].tolist(), world, strict=True))


def materials_text(tracks: Sequence[int], images: Mapping[int, str]) -> str:
    """Write the material library (`.mtl`) of people: their colours, or the names of their texture images."""
    lines = []
    for track in tracks:
        colour = (1.0, 1.0, 1.0) if track in images else person_colour(track).tolist()
        lines += [f"newmtl person{track}", "Kd " + " ".join(f"{value:.4f}" for value in colour), "Ks 0 0 0", "illum 1"]
        lines += [f"map_Kd {images[track]}"] if track in images else []
    return "\n".join(lines) + "\n"


def obj_text(body: Body, surfaces: Mapping[int, Array], materials: str) -> str:
    """Write one frame as OBJ: an object `personN` for each, with texture coordinates.

    surfaces   of tracks, (V, 3) metres
    materials  name of the material library in the same folder
    """
    uv = body.uv.numpy() * (1, -1) + (0, 1)  # OBJ's v goes up
    text = [f"mtllib {materials}\n", _lines("vt %.6f %.6f\n", uv)]
    faces, uv_faces, first = body.faces.numpy() + 1, body.uv_faces.numpy() + 1, 0
    for track, vertices in surfaces.items():
        corners = np.stack((faces + first, uv_faces), -1).reshape(-1, 6)
        text += [f"o person{track}\nusemtl person{track}\n", _lines("v %.6f %.6f %.6f\n", vertices)]
        text.append(_lines("f %d/%d %d/%d %d/%d\n", corners))
        first += len(vertices)
    return "".join(text)


def _lines(pattern: str, rows: Array) -> str:
    """Format a line for each row; one formatting of all of them is several times faster than one each."""
    return (pattern * len(rows)) % tuple(rows.reshape(-1).tolist())


def write_ply(path: Path | str, body: Body, surfaces: Mapping[int, Array], textures: Textures) -> None:
    """Write one frame as one mesh (binary) with colours at its vertices: the people's textures', or their own.

    surfaces  of tracks, (V, 3) metres
    """
    vertex = np.dtype([("at", "<f4", 3), ("colour", "u1", 3)])
    face = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
    vertices = np.zeros((len(surfaces), len(body.template)), vertex)
    faces = np.zeros((len(surfaces), len(body.faces)), face)
    faces["count"] = 3
    for number, (track, points) in enumerate(surfaces.items()):
        vertices["at"][number] = points
        vertices["colour"][number] = vertex_colours(body, track, textures)
        faces["corners"][number] = body.faces.numpy() + number * len(points)
    names = "".join(f"property float {axis}\n" for axis in "xyz")
    names += "".join(f"property uchar {colour}\n" for colour in ("red", "green", "blue"))
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {vertices.size}\n{names}"
        f"element face {faces.size}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    write_bytes(path, head.encode("ascii") + vertices.tobytes() + faces.tobytes())


def vertex_colours(body: Body, track: int, textures: Textures) -> Array:
    """Sample colours (V, 3) uint8 sRGB: the texture's at each vertex, or the person's colour."""
    if track not in textures:
        return np.tile(np.rint(255 * person_colour(track)).astype(np.uint8), (len(body.template), 1))
    corner = np.zeros(len(body.template), np.int64)
    corner[body.faces.numpy().reshape(-1)] = body.uv_faces.numpy().reshape(-1)
    texture = textures[track][..., :3].astype(np.float32)
    at = body.uv.numpy()[corner] * texture.shape[0]
    return np.rint(sample_at(texture, at[:, 0], at[:, 1])).astype(np.uint8)
