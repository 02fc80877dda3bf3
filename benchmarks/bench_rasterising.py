"""Rasterising the default body (27,420 triangles) to 512×512 on one core, against Embree.

Ours gives face, barycentrics and depth; Embree (embreex, which trimesh uses, called without trimesh's own work) only
finds the face of each ray, and its rays are made beforehand. Its tree must be built anew whenever a body moves.

    python benchmarks/bench_rasterising.py [--device cuda] [--threads N] [--repeats N]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from side_by_side import Work, compare

from humanpose_cli.body.body import default_body
from humanpose_cli.engine.rasterising.op import rasterise

SIZE = 512
FOCAL = 1.2 * SIZE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    body = default_body().to(options.device)
    with torch.no_grad():
        vertices = _standing(body, options.device)
    faces = body.faces
    focal = torch.full((1,), FOCAL, device=options.device)
    centre = torch.full((1, 2), SIZE / 2, device=options.device)

    def ours():
        return rasterise(vertices, faces, focal, centre, (SIZE, SIZE), backend="kernel")

    points, triangles = vertices[0].cpu().numpy(), faces.cpu().numpy()
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([(x - SIZE / 2) / FOCAL, (y - SIZE / 2) / FOCAL, np.ones_like(x)], -1).reshape(-1, 3)
    rays = rays.astype(np.float32)
    origins = np.zeros_like(rays)

    def build() -> EmbreeScene:
        scene = EmbreeScene()
        TriangleMesh(scene=scene, vertices=points, indices=triangles)
        return scene

    built = build()
    expected = built.run(origins, rays).reshape(SIZE, SIZE)
    found = ours().face[0].cpu().numpy()
    if np.mean(found != expected) > 1e-3 or np.mean(found >= 0) < 0.05:
        raise SystemExit(f"the two disagree about {np.mean(found != expected):.2%} of the pixels")

    common = {"device": options.device, "repeats": options.repeats}
    covered = int(np.sum(found >= 0))
    # Vertices and faces read, 20 bytes a pixel written; a face's three edges, a covered pixel's barycentrics and depth.
    work = Work(12 * (len(points) + len(triangles)) + 20 * SIZE**2, 40 * len(triangles) + 25 * covered)
    name = f"rasterising {len(triangles)} faces to {SIZE}×{SIZE}"
    trace = "Embree's trace"
    compare(name, ours, lambda: built.run(origins, rays), against=trace, reach=3.0, work=work, **common)
    both = "Embree's build and trace"
    compare(name, ours, lambda: build().run(origins, rays), against=both, reach=6.0, work=work, **common)


def _standing(body, device: str) -> torch.Tensor:
    """(1, V, 3): a body in T pose that fills the image's height, turned towards the camera."""
    rotations = torch.eye(3, device=device).expand(1, 24, 3, 3).clone()
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0], device=device))  # y up, z to the camera
    posed = body.pose(rotations, torch.zeros(1, 10, device=device)).vertices
    height = posed[..., 1].max() - posed[..., 1].min()
    middle = (posed.amax(1) + posed.amin(1)) / 2
    away = torch.stack((-middle[0, 0], -middle[0, 1], 1.1 * FOCAL / SIZE * height + 0.3))
    return (posed + away).contiguous()


if __name__ == "__main__":
    main()
