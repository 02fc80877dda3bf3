"""The rasteriser's kernels against the reference, bit by bit: neither fuses products and sums."""

from __future__ import annotations

import pytest
import torch
from helpers.raster_cases import Scene, scene, soup, sphere, through_the_near_plane

from humanpose_cli.engine import launching
from humanpose_cli.engine.rasterising import launches, reference
from humanpose_cli.engine.rasterising.op import draw_samples


def assert_same(drawn: Scene, **options) -> None:
    found, expected = drawn.raster("kernel", **options), drawn.raster("reference", **options)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize(("seed", "spread"), [(0, 1.0), (1, 0.3), (2, 4.0), (3, 100.0)])
def test_random_faces_through_the_camera(device, seed, spread, cull):
    drawn = soup(seed=seed, spread=spread, device=device)
    assert (drawn.raster("kernel").face >= 0).float().mean() > 0.2
    assert_same(drawn, cull_back_faces=cull)


@pytest.mark.slow
@pytest.mark.parametrize("near", [1e-6, 0.5, 3.0])
def test_near_planes(device, near):
    assert_same(soup(seed=5, device=device), near=near)


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("size", "near", "seed"), [(1.0, 0.05, 0), (30.0, 0.05, 0), (3000.0, 0.05, 3), (300.0, 1.0, 1)]
)
def test_a_faces_bounds_never_decide_about_a_pixel(size, near, seed, monkeypatch):
    drawn = through_the_near_plane(size, near, seed)
    assert_same(drawn, near=near)
    bounded = drawn.raster("reference", near=near)

    def complete_image(corners, focal, principal_point, near, size):
        shape = (len(corners), 2)
        return torch.zeros(shape, dtype=torch.int64), torch.tensor((size[1], size[0])).expand(shape)

    monkeypatch.setattr(reference, "_pixel_bounds", complete_image)
    for a, b in zip(drawn.raster("reference", near=near), bounded, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (33, 47), (200, 300)])
def test_sizes(device, size):
    assert_same(sphere(2, batch=2, size=size, focal=0.9 * min(max(size), 200), device=device))


@pytest.mark.extensive
@pytest.mark.parametrize("samples", [2, 4, 9])
def test_samples_of_a_pixel(device, samples):
    drawn = soup(seed=samples, device=device)
    tensors = (drawn.vertices, drawn.faces, drawn.focal, drawn.principal_point, (61, 83))
    rasters = [draw_samples(*tensors, samples=samples, backend=backend).raster for backend in ("kernel", "reference")]
    assert len(rasters[0].face) == samples * len(drawn.vertices)
    assert (rasters[0].face >= 0).float().mean() > 0.2
    for a, b in zip(*rasters, strict=True):
        assert torch.equal(a, b)


def test_damaged_bodies(device):
    drawn = sphere(3, device=device)
    vertices = drawn.vertices.clone()
    for row, value in ((3, float("nan")), (50, float("inf")), (90, -float("inf")), (120, 1e30), (200, 1e-30)):
        vertices[0, row] = value
    assert_same(scene(vertices.cpu(), drawn.faces.cpu(), 90.0, device=device))


def test_views_of_any_stride(device):
    drawn = sphere(2, batch=3, device=device)
    apart = Scene(
        drawn.vertices.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        drawn.faces.mT.contiguous().mT,
        drawn.focal.repeat_interleave(2)[::2],
        drawn.principal_point.mT.contiguous().mT,
        drawn.size,
    )
    for a, b in zip(apart.raster("kernel"), drawn.raster("kernel"), strict=True):
        assert torch.equal(a, b)


def test_vertices_that_require_a_gradient_are_drawn_without_one(device):
    drawn = sphere(2, device=device)
    drawn.vertices.requires_grad_()
    assert not drawn.raster("kernel").depth.requires_grad


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_threads_change_no_bit(two_threads, batch):
    drawn = sphere(5, batch=batch, size=(240, 320), focal=400.0)
    split = drawn.raster("kernel")
    torch.set_num_threads(1)
    for a, b in zip(split, drawn.raster("kernel"), strict=True):
        assert torch.equal(a, b)


def test_one_face_a_thread(monkeypatch):
    """The launches of CUDA, on the CPU: many threads an image, each face's rows shared, one pixel a thread."""
    drawn = soup(seed=7)
    expected = drawn.raster("kernel")
    monkeypatch.setattr(launches, "on_cpu", lambda device: False)
    monkeypatch.setattr(
        launches, "launch", lambda k, n, a, device, cost=0: launching.launch(k, n, a, drawn.vertices.device, 0)
    )
    for a, b in zip(drawn.raster("kernel"), expected, strict=True):
        assert torch.equal(a, b)
