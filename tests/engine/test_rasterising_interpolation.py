"""Interpolation of attributes and visibility of vertices."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.errors import raises
from helpers.raster_cases import on_screen, scene, sphere

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.rasterising.op import Raster, interpolate, rasterise

BACKENDS = ("reference", "kernel")


def random(*shape: int, seed: int = 0, **options) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(**options)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_the_reference_passes_gradcheck(shared):
    drawn = sphere(1, batch=2, size=(9, 12), focal=13.0)
    raster = drawn.raster("reference")
    raster = Raster(raster.face, raster.barycentrics.double(), raster.depth)
    attributes = random(1 if shared else 2, drawn.vertices.shape[1], 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: interpolate(raster, drawn.faces, values, backend="reference"), attributes
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_vertices_as_attributes_give_back_depth_and_pixel(backend):
    drawn = sphere(3)
    raster = drawn.raster(backend)
    points = interpolate(raster, drawn.faces, drawn.vertices, backend=backend)
    visible = raster.face >= 0
    torch.testing.assert_close(points[..., 2][visible], raster.depth[visible], rtol=1e-6, atol=0)
    _, y, x = visible.nonzero(as_tuple=True)
    pixels = 90 * points[visible][:, :2] / points[visible][:, 2:] + torch.tensor([40.0, 30.0])
    torch.testing.assert_close(pixels, torch.stack((x, y), -1) + 0.5, rtol=0, atol=1e-4)
    assert (points[~visible] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_faces_of_a_texture_may_differ_from_those_of_the_mesh(backend):
    square = on_screen([(10, 10), (10, 30), (30, 30), (30, 10)])
    raster = scene(square, [(0, 1, 2), (0, 2, 3)]).raster(backend)
    uv_faces = torch.tensor([(0, 1, 2), (3, 4, 5)], dtype=torch.int32)  # a seam along the diagonal
    uv = torch.tensor([[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (5.0, 5.0), (6.0, 6.0), (6.0, 5.0)]])
    image = interpolate(raster, uv_faces, uv, backend=backend)
    torch.testing.assert_close(image[0, 25, 12], torch.tensor([2.5 / 20, 15.5 / 20]), rtol=1e-5, atol=0)
    torch.testing.assert_close(image[0, 12, 25], torch.tensor([5 + 15.5 / 20, 5 + 2.5 / 20]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("channels", [0, 1, 3, 64, 100])
def test_the_kernel_agrees_with_the_reference(device, path, channels, shared):
    drawn = sphere(3, batch=3, device=device)
    raster = drawn.raster("reference")
    attributes = random(1 if shared else 3, drawn.vertices.shape[1], channels).to(device, torch.float32)
    found, expected = (interpolate(raster, drawn.faces, attributes, backend=b) for b in ("kernel", "reference"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_kernel_takes_views_of_any_stride(device, path):
    drawn = sphere(3, batch=2, device=device)
    raster = drawn.raster("kernel")
    apart = Raster(*(t.transpose(1, 2).contiguous().transpose(1, 2) for t in raster))
    attributes = random(4, drawn.vertices.shape[1], 2).to(device, torch.float32).permute(2, 1, 0)
    image = interpolate(apart, drawn.faces.mT.contiguous().mT, attributes, backend="kernel")
    expected = interpolate(raster, drawn.faces, attributes, backend="reference")
    torch.testing.assert_close(image, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_attributes_that_are_not_finite_stay_with_their_corners(device, value):
    drawn = sphere(2, device=device)
    raster = drawn.raster("reference")
    attributes = random(1, drawn.vertices.shape[1], 3, dtype=torch.float32).to(device)
    clean = interpolate(raster, drawn.faces, attributes, backend="kernel")
    corner = int(drawn.faces[raster.face[raster.face >= 0][0], 0])
    attributes[0, corner, 1] = value
    found, expected = (interpolate(raster, drawn.faces, attributes, backend=b) for b in ("kernel", "reference"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert torch.equal(found[..., ::2], clean[..., ::2])
    touched = (drawn.faces == corner).any(1)[raster.face.clamp_min(0).long()] & (raster.face >= 0)
    assert torch.equal(found[~touched], clean[~touched])
    assert not found[touched][:, 1].isfinite().all()


@pytest.mark.parametrize("wanted", ["attributes", "barycentrics"])
def test_gradients_run_the_reference_or_are_refused(device, wanted):
    drawn = sphere(2, device=device)
    raster, attributes = drawn.raster("kernel"), torch.ones(1, drawn.vertices.shape[1], 2, device=device)
    leaf = attributes if wanted == "attributes" else raster.barycentrics
    leaf.requires_grad_()
    with raises(UsageError, got="a tensor that requires a gradient"):
        interpolate(raster, drawn.faces, attributes, backend="kernel")
    (gradient,) = torch.autograd.grad(interpolate(raster, drawn.faces, attributes).sum(), leaf)
    shown = (raster.face >= 0).sum()  # of each visible pixel, weights that sum up to 1, or three corners' two channels
    assert float(gradient.sum()) == pytest.approx(float(2 * shown * (1 if wanted == "attributes" else 3)), rel=1e-5)
    with torch.no_grad():
        assert interpolate(raster, drawn.faces, attributes, backend="kernel").shape == (*raster.face.shape, 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_to_draw(device, backend):
    drawn = sphere(1, device=device)
    for empty in (
        scene(torch.zeros(0, 12, 3), drawn.faces.cpu()[:0], device=device),
        scene(drawn.vertices.cpu(), torch.zeros(0, 3), device=device),
        scene(drawn.vertices.cpu(), drawn.faces.cpu(), size=(0, 5), device=device),
    ):
        raster = empty.raster(backend)
        attributes = torch.ones(len(raster.face), 42, 3, device=device)
        image = interpolate(raster, empty.faces, attributes, backend=backend)
        assert image.shape == (*raster.face.shape, 3)
        assert not image.any()


@pytest.mark.parametrize("batch", [1, 3])
def test_threads_change_no_bit(two_threads, batch):
    drawn = sphere(4, batch=batch, size=(240, 320), focal=400.0)
    raster = drawn.raster("kernel")
    attributes = random(batch, drawn.vertices.shape[1], 5, dtype=torch.float32)
    split = interpolate(raster, drawn.faces, attributes, backend="kernel")
    torch.set_num_threads(1)
    assert torch.equal(interpolate(raster, drawn.faces, attributes, backend="kernel"), split)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faces": torch.zeros(4, 2, dtype=torch.int32)}, {"subject": "faces"}),
        ({"faces": torch.full((320, 3), 50, dtype=torch.int32)}, {"subject": "faces", "expected": "0 to 41"}),
        ({"faces": torch.zeros(7, 3, dtype=torch.int32)}, {"subject": "raster.face", "expected": "-1 to 6"}),
        ({"attributes": torch.zeros(2, 42, 3)}, {"subject": "attributes"}),
        ({"attributes": torch.zeros(42, 3)}, {"subject": "attributes"}),
        ({"attributes": torch.zeros(1, 42, 3, dtype=torch.int64)}, {"subject": "attributes"}),
        ({"attributes": torch.zeros(1, 42, 3, dtype=torch.float64)}, {"subject": "barycentrics"}),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_refuses_what_does_not_fit(backend, change, message):
    drawn = sphere(1)
    arguments = {"raster": drawn.raster(), "faces": drawn.faces, "attributes": torch.zeros(1, 42, 3)} | change
    with raises(UsageError, **message):
        interpolate(**arguments, backend=backend)


def test_a_raster_of_other_faces_is_refused_where_one_is_seen():
    drawn = sphere(2, size=(20, 24))
    attributes = random(1, drawn.vertices.shape[1], 3).float()
    raster = drawn.raster("kernel")
    few = drawn.faces[: int(raster.face.max())]
    with raises(UsageError, subject="raster.face", problem="points outside"):
        interpolate(raster, few, attributes)
    hidden = torch.cat((drawn.faces, drawn.faces.new_zeros(1, 3)))  # a face without area, which nobody sees
    raster = rasterise(drawn.vertices, hidden, drawn.focal, drawn.principal_point, drawn.size)
    interpolate(raster, drawn.faces, attributes)
