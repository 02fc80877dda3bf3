"""Maps of bodies in crops: against single pixels worked out by hand, and against the drawing of whole images."""

import math

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.body_maps import crop_of_body, position_colours, render_bodies
from humanpose_cli.rendering.shading import render_people
from humanpose_cli.rendering.surfaces import Surface, vertex_normals

SIZE = 96
CAMERA = Camera(900.0, (310.0, 250.0), (640, 480))


@pytest.fixture(scope="module")
def vertices(body: Body) -> torch.Tensor:
    """Two bodies that face the camera, one farther and turned."""
    turns = torch.zeros(2, len(SMPL24), 3)
    turns[1, SMPL24.index("left_shoulder")] = torch.tensor([0.0, 0.4, -1.0])
    rotations = axis_angle_to_matrix(turns)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotations[1, 0] = rotations[1, 0] @ axis_angle_to_matrix(torch.tensor([0.0, 0.9, 0.0]))
    trans = torch.tensor([[0.1, 0.0, 4.0], [-0.6, 0.1, 6.0]])
    return body.pose(rotations, torch.zeros(2, body.shape_count), trans).vertices


@pytest.fixture(scope="module")
def crops(vertices: torch.Tensor) -> list[Crop]:
    return [crop_of_body(points, CAMERA, SIZE) for points in vertices]


def texture_of_uv(size: int = 256) -> np.ndarray:
    """A texture that says where it was looked up: u, v, 0.5; its left half is known."""
    u, v = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size)
    return np.stack((u, v, np.full_like(u, 0.5), u < 0.5), -1).astype(np.float32)


@pytest.mark.slow
def test_pixels_show_the_surface_points_of_their_face(body, vertices, crops):
    cameras = [CAMERA.cropped(crop) for crop in crops]
    maps = render_bodies(body, vertices, cameras, SIZE, [texture_of_uv()] * 2)
    normals, colours = vertex_normals(vertices, body.faces), position_colours(body)
    random = np.random.default_rng(0)
    for row, camera in enumerate(cameras):
        pelvis = vertices[row, body.part_labels == SMPL24.index("pelvis"), 2].mean()
        shown = torch.nonzero(maps.mask[row, 0]).tolist()
        assert len(shown) > 500
        for y, x in [shown[i] for i in random.choice(len(shown), 40, replace=False)]:
            face = int(maps.faces[row, y, x])
            weights = maps.barycentrics[row, y, x]
            corners = body.faces[face].long()
            point = weights @ vertices[row, corners]
            np.testing.assert_allclose(camera.project(point), (x + 0.5, y + 0.5), atol=2e-3)
            assert abs(float(maps.depth[row, 0, y, x] - (point[2] - pelvis))) < 1e-4
            normal = torch.nn.functional.normalize(weights @ normals[row, corners], dim=0)
            torch.testing.assert_close(maps.normals[row, :, y, x], normal, atol=1e-4, rtol=0)
            torch.testing.assert_close(maps.colours[row, :, y, x], weights @ colours[corners], atol=1e-5, rtol=0)
            uv = weights @ body.uv[body.uv_faces[face].long()]
            torch.testing.assert_close(maps.rgb[row, :2, y, x], uv, atol=0.02, rtol=0)
            if abs(float(uv[0]) - 0.5) > 0.05:
                assert float(maps.textured[row, 0, y, x]) == pytest.approx(float(uv[0] < 0.5), abs=1e-3)


def test_everything_is_zero_off_the_body(body, vertices, crops):
    maps = render_bodies(body, vertices, [CAMERA.cropped(crop) for crop in crops], SIZE, [texture_of_uv()] * 2)
    off = maps.faces < 0
    assert off.any()
    for name in ("rgb", "textured", "depth", "normals", "colours", "mask"):
        assert not getattr(maps, name).movedim(1, -1)[off].any(), name
    assert maps.mask[:, 0][~off].all()


@pytest.mark.slow
def test_a_crop_shows_what_the_complete_image_shows(body, vertices, crops):
    """The mask in the crop is the crop of the image's mask, but for pixels that the outline passes through."""
    maps = render_bodies(body, vertices[:1], [CAMERA.cropped(crops[0])], SIZE)
    coverage = render_people([Surface(vertices[0], body.faces)], CAMERA)[..., 3]
    expected = crops[0].warp(coverage / np.float32(255), 1)
    mask = maps.mask[0, 0].numpy()
    clear = (expected < 0.02) | (expected > 0.98)
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(mask[clear], expected[clear] > 0.5)


def test_the_crop_holds_the_body_in_its_middle(vertices, crops):
    for points, crop in zip(vertices, crops, strict=True):
        pixels = crop.points(CAMERA.project(points))
        low, high = pixels.min(0), pixels.max(0)
        assert max(high - low) == pytest.approx(0.75 * SIZE, abs=1e-2)
        np.testing.assert_allclose((low + high) / 2, SIZE / 2, atol=1e-2)


def test_bodies_do_not_depend_on_their_batch(body, vertices, crops):
    cameras = [CAMERA.cropped(crop) for crop in crops]
    both = render_bodies(body, vertices, cameras, SIZE, [texture_of_uv(), texture_of_uv(64)])
    one = render_bodies(body, vertices[1:], cameras[1:], SIZE, [texture_of_uv(64)])
    for name, values in vars(one).items():
        torch.testing.assert_close(getattr(both, name)[1:], values, atol=0, rtol=0)


def test_vertex_colours_distinguish_vertices(body):
    colours = position_colours(body)
    assert float(colours.min()) == 0
    assert float(colours.max()) == 1
    assert len(torch.unique(body.template, dim=0)) == len(torch.unique(colours, dim=0))


def test_arguments_that_do_not_match_are_refused(body, vertices, crops):
    with raises(UsageError, problem="do not match the bodies"):
        render_bodies(body, vertices, [CAMERA.cropped(crops[0])], SIZE)
    with raises(UsageError, problem="not finite"):
        crop_of_body(vertices[0] * math.nan, CAMERA, SIZE)
