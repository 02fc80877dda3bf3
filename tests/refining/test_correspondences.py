"""Displacements: of a rendering whose shift is known, and from pixels to surface points against a plain loop."""

import numpy as np
import pytest
import torch
from helpers.walking_person import CAMERA, patchwork

from humanpose_cli.models.refiner.network import DisplacementEstimate
from humanpose_cli.refining.correspondences import (
    Displacements,
    FlowCorrespondence,
    NetworkCorrespondence,
    SurfacePoints,
    farthest_points,
)
from humanpose_cli.rendering.body_maps import crop_of_body, render_bodies

SIZE = 192


@pytest.fixture(scope="module")
def vertices(body, walk):
    return body.pose(walk.rotations[:1], torch.zeros(1, 10), walk.trans[:1]).vertices


def drawn(body, vertices, shift=(0.0, 0.0)):
    """The rendering of a body in its crop, and the camera whose image is moved by `shift` pixels."""
    crop = crop_of_body(vertices[0], CAMERA, SIZE)
    x, y = CAMERA.principal_point
    moved = type(CAMERA)(CAMERA.focal, (x + shift[0] / crop.scale, y + shift[1] / crop.scale), CAMERA.size)
    return render_bodies(body, vertices, [moved.cropped(crop)], SIZE, [patchwork(body)])


def test_flow_finds_a_shift(body, vertices):
    shift = (4.0, -3.0)
    here, there = drawn(body, vertices), drawn(body, vertices, shift)
    photos = torch.where(there.mask > 0, there.rgb, torch.tensor([0.4, 0.45, 0.5])[:, None, None])
    found = FlowCorrespondence()(here, photos)
    trusted = found.noise[0, 0] < 4
    assert trusted.sum() > 0.3 * here.mask.sum()
    error = (found.pixels[0, :, trusted].T - torch.tensor(shift)).norm(dim=1)
    assert error.median() < 0.5
    assert error.quantile(0.9) < 2


@pytest.mark.slow
def test_the_networks_noise_is_the_deviation_that_it_claims(body, vertices):
    here = drawn(body, vertices)
    claimed = DisplacementEstimate(torch.randn(1, 2, SIZE, SIZE), torch.rand(1, 1, SIZE, SIZE))
    found = NetworkCorrespondence(lambda rendering, photos: claimed)(here, torch.zeros(1, 3, SIZE, SIZE))
    assert found.pixels is claimed.pixels
    inside = here.mask > 0
    assert torch.equal(found.noise[inside], claimed.deviation[inside])
    assert found.noise[~inside].isinf().all()


def test_flow_trusts_nothing_where_the_photograph_shows_something_else(body, vertices):
    here = drawn(body, vertices)
    noise = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    found = FlowCorrespondence()(here, noise)
    same = FlowCorrespondence()(here, here.rgb)
    assert (found.noise**-2).sum() < 0.05 * (same.noise**-2).sum()
    assert found.noise[here.mask == 0].isinf().all()


@pytest.mark.slow
def test_points_take_the_weighted_mean_of_the_pixels_of_their_vertices(body, vertices):
    here, points = drawn(body, vertices), SurfacePoints(body, 60)
    random = torch.Generator().manual_seed(1)
    moved = Displacements(
        torch.randn(1, 2, SIZE, SIZE, generator=random),
        torch.where(here.mask > 0, 0.5 + torch.rand(1, 1, SIZE, SIZE, generator=random), torch.inf),
    )
    pixels, noise, area = points.displacements(here, moved)
    expected, total, shown = np.zeros((60, 2)), np.zeros(60), np.zeros(60)
    for y, x in torch.nonzero(here.faces[0] >= 0).tolist():
        for corner in range(3):
            vertex = int(body.faces[here.faces[0, y, x], corner])
            share = float(here.barycentrics[0, y, x, corner])
            weight = share / float(moved.noise[0, 0, y, x]) ** 2
            shown[points.group[vertex]] += share
            expected[points.group[vertex]] += weight * moved.pixels[0, :, y, x].numpy()
            total[points.group[vertex]] += weight
    np.testing.assert_allclose(area[0], shown, atol=1e-4)
    np.testing.assert_allclose(pixels[0], expected / np.maximum(total, 1e-9)[:, None], atol=1e-4)
    visible = shown > 0.1
    np.testing.assert_allclose(noise[0, visible], np.sqrt(shown / np.maximum(total, 1e-9))[visible], rtol=1e-4)
    assert (area == 0).any()  # of the back
    assert area.sum() == pytest.approx(float(here.mask.sum()), rel=1e-5)


def test_points_lie_apart_and_every_vertex_belongs_to_the_nearest(body):
    points = SurfacePoints(body, 100)
    chosen = body.template[points.rows]
    apart = torch.cdist(chosen, chosen) + torch.eye(100)
    assert apart.min() > 0.05
    distance = torch.cdist(body.template, chosen)
    assert torch.equal(points.group, distance.argmin(1))
    assert points.group[points.rows].tolist() == list(range(100))


def test_all_vertices_may_be_points(body):
    points = SurfacePoints(body, 10**6)
    rows = torch.arange(len(body.template))
    assert torch.equal(points.rows, rows)
    assert torch.equal(points.group, rows)


def test_the_farthest_point_comes_next():
    line = torch.tensor([[0.0, 0, 0], [1.0, 0.1, 0], [5.0, 0, 0], [2.6, 0, 0]])
    assert farthest_points(line, 3).tolist() == [1, 2, 3]
    assert farthest_points(line, 9).tolist() == [0, 1, 2, 3]
