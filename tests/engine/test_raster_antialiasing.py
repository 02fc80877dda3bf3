"""Smooth edges: where the samples lie, and that their mean is the covered part of a pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from raster_cases import on_screen, scene, sphere

from humanpose_cli.engine.rasterising import (
    average_samples,
    coverage,
    interpolate,
    rasterise,
    rasterise_samples,
    sample_offsets,
)
from humanpose_cli.errors import UsageError


def sampled(drawn, samples, **options):
    return rasterise_samples(
        drawn.vertices, drawn.faces, drawn.focal, drawn.principal_point, drawn.size, samples=samples, **options
    )


@pytest.mark.parametrize("samples", range(1, 33))
def test_no_two_samples_share_a_row_or_a_column(samples):
    rows = [(i + 0.5) / samples for i in range(samples)]
    x, y = zip(*sample_offsets(samples), strict=True)
    assert sorted(x) == sorted(y) == pytest.approx(rows)


@pytest.mark.parametrize("samples", [4, 8, 9, 16])
def test_samples_keep_apart_as_on_a_grid(samples):
    points = torch.tensor(sample_offsets(samples), dtype=torch.float64)
    apart = (points[:, None] - points).abs()
    distance = torch.minimum(apart, 1 - apart).norm(dim=-1) + torch.eye(samples)
    assert distance.min() > 0.7 / samples**0.5
    assert (samples, sample_offsets(1)) == (samples, ((0.5, 0.5),))


def test_one_sample_is_the_pixel_centre(device):
    drawn = sphere(3, batch=2, device=device)
    for a, b in zip(sampled(drawn, 1), drawn.raster(), strict=True):
        assert torch.equal(a, b)


def test_rows_hold_the_samples_of_each_picture(device):
    drawn = sphere(3, batch=2, device=device)
    drawn = replace(drawn, focal=torch.tensor([70.0, 110.0], device=device))
    raster = sampled(drawn, 4)
    for s, offset in enumerate(sample_offsets(4)):
        centre = drawn.principal_point + 0.5 - torch.tensor(offset, device=device)
        one = rasterise(drawn.vertices, drawn.faces, drawn.focal, centre, drawn.size)
        for a, b in zip(raster, one, strict=True):
            assert torch.equal(a[s::4], b)


@pytest.mark.parametrize("samples", [4, 8, 16])
@pytest.mark.parametrize("along", ["columns", "rows"])
def test_an_edge_along_the_pixels_is_told_to_one_sample(samples, along):
    for share in (0.1, 0.3, 0.5, 0.6, 0.9):
        corners = [(10, 10), (10, 30), (20 + share, 30), (20 + share, 10)]
        if along == "rows":
            corners = [(y, x) for x, y in reversed(corners)]
        drawn = scene(on_screen(corners), [(0, 1, 2), (0, 2, 3)])
        found = coverage(sampled(drawn, samples), samples)[0]
        pixel = found[15, 20] if along == "columns" else found[20, 15]
        assert abs(float(pixel) - share) <= 0.5 / samples + 1e-6
        assert found[15, 15] == 1
        assert found[5, 5] == 0


@pytest.mark.parametrize("side", [2, 3, 4])
def test_edges_near_the_axes_are_smoother_than_on_a_grid(side):
    """Half planes turned by up to 8 degrees from the columns; a fine grid tells the area."""
    errors = {"pattern": [], "grid": []}
    for degrees in (-7, -4, -2, 1, 3, 6):
        lean = 25 * float(np.tan(np.deg2rad(degrees)))
        drawn = scene(on_screen([(10, 5), (10, 55), (40 - lean, 55), (40 + lean, 5)]), [(0, 1, 2), (0, 2, 3)])

        def on_a_grid(count, drawn=drawn):
            zoomed = (count * drawn.focal, count * drawn.principal_point, (60 * count, 80 * count))
            face = rasterise(drawn.vertices, drawn.faces, *zoomed).face
            return torch.nn.functional.avg_pool2d((face >= 0).float()[:, None], count)[:, 0]

        exact = on_a_grid(24)
        edge = (exact > 0) & (exact < 1)
        found = {"pattern": coverage(sampled(drawn, side**2), side**2), "grid": on_a_grid(side)}
        for name, image in found.items():
            errors[name].append((image - exact)[edge].square().mean())
    assert sum(errors["pattern"]) < 0.5 * sum(errors["grid"])


def test_colours_are_averaged_with_their_gradients(device):
    drawn = sphere(2, batch=2, device=device)
    raster = sampled(drawn, 4)
    attributes = torch.ones(1, drawn.vertices.shape[1], 3, device=device, requires_grad=True)
    image = average_samples(interpolate(raster, drawn.faces, attributes), 4)
    assert image.shape == (2, 60, 80, 3)
    expected = coverage(raster, 4)
    torch.testing.assert_close(image, expected[..., None].expand(-1, -1, -1, 3), rtol=0, atol=1e-6)
    (gradient,) = torch.autograd.grad(image.sum(), attributes)
    torch.testing.assert_close(gradient.sum(), 3 * expected.sum(), rtol=1e-5, atol=0)


def test_options_reach_the_rasteriser():
    front = scene(on_screen([(10, 10), (10, 30), (30, 10)]), [(0, 2, 1)])
    assert (sampled(front, 2).face == 0).any()
    assert not (sampled(front, 2, cull_back_faces=True).face == 0).any()
    assert not (sampled(front, 2, near=3.0).face == 0).any()
    with pytest.raises(UsageError, match="backend"):
        sampled(front, 2, backend="fast")


def test_refuses_no_samples():
    with pytest.raises(UsageError, match="samples: must be positive"):
        sampled(sphere(1), 0)


def test_refuses_batches_that_are_no_multiple_of_the_samples():
    for values, samples in ((torch.zeros(5, 2), 2), (torch.zeros(4, 2), 0)):
        with pytest.raises(UsageError, match="samples: do not divide the batch"):
            average_samples(values, samples)
    camera = torch.ones(1), torch.ones(1, 2)
    with pytest.raises(UsageError, match="vertices: has the wrong shape"):
        rasterise_samples(torch.zeros(4, 3), torch.zeros(0, 3, dtype=torch.int32), *camera, (4, 4))
