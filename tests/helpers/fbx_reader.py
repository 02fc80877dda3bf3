"""Reads FBX files by ufbx, in a process of its own: its bindings crash when their objects are collected.

    python fbx_reader.py FILE OUT.npz TIME…

OUT.npz has `names` (N,) and world matrices `nodes` (T, N, 3, 4) of nodes, skinned vertices `skin NAME` (T, V, 3),
`uv NAME` (C, 2) and `corners NAME` (C,) of faces' corners, `texture NAME` (bytes), lenses `camera NAME` (focal length,
width and height of the film, mm, and its offset to the right and downwards, inches), `rate` and `unit`.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

_kept: list[Any] = []


def read_fbx(path: Path, times: np.ndarray) -> dict[str, np.ndarray]:
    """Evaluate a file at times, seconds."""
    out = path.with_suffix(".evaluated.npz")
    command = [sys.executable, __file__, str(path), str(out), *map(repr, times.tolist())]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(out) as values:
        return dict(values)


def kept(value: Any) -> Any:
    _kept.append(value)
    return value


def each(values: Any) -> list[Any]:
    return [kept(kept(values)[i]) for i in range(len(values))]


def main(path: str, out: str, *times: str) -> None:
    import ufbx

    gc.disable()
    scene = kept(ufbx.load_file(path))
    settings = kept(scene.settings)
    result: dict[str, Any] = {"rate": settings.frames_per_second, "unit": settings.unit_meters, "nodes": []}
    result["names"] = [node.name for node in each(scene.nodes)]
    stacks = each(scene.anim_stacks)
    animation = kept(stacks[0].anim if stacks else scene.anim)
    for time in times:
        now = kept(scene.evaluate(animation, float(time), evaluate_skinning=True))
        matrices = [kept(node.node_to_world) for node in each(now.nodes)]
        columns = [[kept(getattr(m, f"c{i}")) for i in range(4)] for m in matrices]
        result["nodes"].append(np.transpose([[[c.x, c.y, c.z] for c in four] for four in columns], (0, 2, 1)))
        for mesh in each(now.meshes):
            points = each(kept(kept(mesh.skinned_position).values))
            result.setdefault(f"skin {mesh.name}", []).append([[p.x, p.y, p.z] for p in points])
    for mesh in each(scene.meshes):
        uv = kept(mesh.vertex_uv)
        values, rows = each(uv.values), list(kept(uv.indices))
        result[f"uv {mesh.name}"] = [[values[row].x, values[row].y] for row in rows]
        result[f"corners {mesh.name}"] = list(kept(mesh.vertex_indices))
    for texture in each(scene.textures):
        result[f"texture {texture.name}"] = np.frombuffer(bytes(texture.content), np.uint8)
    for camera in each(scene.cameras):
        film = kept(camera.film_size_inch)
        properties = kept(camera.props)
        offset = [properties.find_real(f"FilmOffset{axis}", 0.0) for axis in "XY"]
        result[f"camera {camera.name}"] = [camera.focal_length_mm, 25.4 * film.x, 25.4 * film.y, *offset]
    np.savez(out, **result)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
