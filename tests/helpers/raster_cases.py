"""Scenes for the tests of the rasteriser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from humanpose_cli.engine.rasterising.op import Raster, rasterise
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

# "cuda" runs the kernel there and brings the result back, so that one test serves all.
BACKENDS = (
    "reference",
    "kernel",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
        ],
    ),
)


@dataclass(frozen=True)
class Scene:
    vertices: Tensor
    faces: Tensor
    focal: Tensor
    principal_point: Tensor
    size: tuple[int, int]

    def raster(self, backend: str = "auto", **options) -> Raster:
        tensors = (self.vertices, self.faces, self.focal, self.principal_point)
        if backend == "cuda":
            raster = rasterise(*(t.cuda() for t in tensors), self.size, backend="kernel", **options)
            return Raster(*(t.cpu() for t in raster))
        return rasterise(*tensors, self.size, backend=backend, **options)


def scene(vertices, faces, focal=100.0, centre=None, size=(60, 80), device="cpu") -> Scene:
    """A scene of one image or, with vertices (B, V, 3), of several."""
    vertices = torch.as_tensor(np.asarray(vertices), dtype=torch.float32)
    vertices = vertices[None] if vertices.ndim == 2 else vertices
    batch = len(vertices)
    centre = (size[1] / 2, size[0] / 2) if centre is None else centre
    return Scene(
        vertices.to(device),
        torch.as_tensor(np.asarray(faces), dtype=torch.int32).to(device),
        torch.full((batch,), float(focal), device=device),
        torch.tensor(centre, dtype=torch.float32, device=device).expand(batch, 2),
        size,
    )


def on_screen(points, depth=2.0, focal=100.0, centre=(40.0, 30.0)) -> np.ndarray:
    """Vertices (N, 3) at that depth which project to pixels (N, 2)."""
    points = np.asarray(points, dtype=np.float64)
    return np.column_stack([(points - centre) / focal * depth, np.full(len(points), depth)])


def sphere(subdivisions=3, batch=1, device="cpu", size=(60, 80), focal=90.0) -> Scene:
    """Turned ellipsoids 3 m away, seen whole."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    points = torch.tensor(np.asarray(mesh.vertices), dtype=torch.float32) * torch.tensor([0.5, 0.9, 0.7])
    turns = axis_angle_to_matrix(torch.randn(batch, 3, generator=torch.Generator().manual_seed(4)))
    vertices = points @ turns.mT + torch.tensor([0.05, -0.02, 3.0])
    return scene(vertices, mesh.faces, focal, size=size, device=device)


def soup(faces=300, batch=2, device="cpu", seed=0, spread=1.0) -> Scene:
    """Random triangles around the camera: many cross the near plane, the image's borders and each other."""
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randn((batch, 3 * faces, 3), generator=generator) * spread
    vertices[..., 2] += 1.0
    ids = torch.randint(3 * faces, (faces, 3), generator=generator)
    return scene(vertices, ids, device=device)


def through_the_near_plane(size: float, near: float, seed: int) -> Scene:
    """Faces as large as `size` metres whose edges cross the near plane within the image."""
    generator = torch.Generator().manual_seed(seed)
    pixels = (torch.rand((400, 2, 2), generator=generator) - 0.5) * torch.tensor([80.0, 60.0])
    crossing = torch.cat((pixels / 1000 * near, torch.full((400, 2, 1), near)), -1)
    behind = torch.randn((400, 1, 3), generator=generator) * size
    behind[..., 2] = -behind[..., 2].abs()
    beyond = crossing + (torch.rand((400, 2, 1), generator=generator) + 0.5) * (crossing - behind)
    vertices = torch.cat((behind, beyond), 1).reshape(1, -1, 3)
    return scene(vertices, torch.arange(1200).view(-1, 3), 1000.0)
