"""Texture maps: texels' surface points, what a photo shows of them, filling, and the atlas of bodies without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import (
    PhotoSource,
    TexelMap,
    bake_photo,
    bleed_islands,
    fill_smoothly,
    mirror_uv_corners,
    paint_vertices,
    part_atlas,
    sample_at,
)
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24

QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
UV = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def wall(depth: float = 2.0) -> torch.Tensor:
    """A square of 2 m that faces the camera; its texture coordinates go right and down."""
    return torch.tensor([[-1.0, -1.0, depth], [1.0, -1.0, depth], [1.0, 1.0, depth], [-1.0, 1.0, depth]])


def source(photo: np.ndarray, depth: float | np.ndarray = 2.0) -> PhotoSource:
    size = photo.shape[:2]
    ones = np.ones(size, np.float32)
    return PhotoSource(photo, ones, ones.copy(), np.full(size, depth, np.float32), Camera(100.0, (50.0, 50.0)))


def test_texels_lie_where_their_coordinates_say() -> None:
    texels = TexelMap(UV, QUAD, 64)
    assert texels.covered.all()
    positions = texels.interpolate(UV.numpy(), QUAD)
    centres = (np.arange(64) + 0.5) / 64
    np.testing.assert_allclose(positions[..., 0], np.broadcast_to(centres, (64, 64)), atol=1e-5)
    np.testing.assert_allclose(positions[..., 1], np.broadcast_to(centres[:, None], (64, 64)), atol=1e-5)


def test_photo_of_a_wall_becomes_its_texture() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    towards = torch.tensor([[0.0, 0.0, -1.0]]).expand(4, 3)
    texels = TexelMap(UV, QUAD, 100)
    baked = bake_photo(source(photo), wall(), towards, QUAD, texels)
    # 100 px · 2 m / 2 m: the wall fills the image, a texel is a pixel.
    inside = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(baked.colour[inside] * 255, photo[inside], atol=0.05)
    # Corners are seen at 35°.
    assert baked.confidence[inside].min() > 0.9


def test_hidden_averted_and_untrusted_texels_are_unknown() -> None:
    photo = np.full((100, 100, 3), 90, np.uint8)
    towards = torch.tensor([[0.0, 0.0, -1.0]]).expand(4, 3)
    texels = TexelMap(UV, QUAD, 50)
    depth = np.full((100, 100), 2.0, np.float32)
    depth[:, :50] = 1.5
    hidden = bake_photo(source(photo, depth), wall(), towards, QUAD, texels).confidence
    assert hidden[:, :24].max() == 0
    assert hidden[1:-1, 27:-1].min() > 0.9
    assert bake_photo(source(photo), wall(), -towards, QUAD, texels).confidence.max() == 0
    doubtful = source(photo)
    doubtful.trust[:] = 0.25
    np.testing.assert_allclose(bake_photo(doubtful, wall(), towards, QUAD, texels).confidence[25, 25], 0.25, atol=1e-5)


def test_look_ups_at_pixel_centres_are_the_pixels() -> None:
    image = np.random.default_rng(1).random((40, 30, 2)).astype(np.float32)
    y, x = np.mgrid[:40, :30]
    found = sample_at(image, x.ravel() + 0.5, y.ravel() + 0.5)
    np.testing.assert_allclose(found, image.reshape(-1, 2), atol=1e-6)
    assert sample_at(image, np.zeros(0), np.zeros(0)).shape == (0, 2)


def test_vertices_gather_their_texels() -> None:
    texels = TexelMap(UV, QUAD, 64)
    faces = QUAD.numpy()
    corner = np.array([[0.0], [1.0], [1.0], [0.0]], np.float32)
    values = texels.interpolate(corner, QUAD)
    painted, weight = paint_vertices(texels, faces, values, np.ones((64, 64), np.float32))
    np.testing.assert_allclose(weight, 1, atol=1e-6)
    assert (painted[:, 0] > 0.6).tolist() == [False, True, True, False]
    left = np.zeros((64, 64), np.float32)
    left[:, :32] = 1
    _, weight = paint_vertices(texels, faces, values, left)
    assert weight[0] > 0.5 > weight[1]


def test_mirror_images_of_faces_take_their_corners_along() -> None:
    # Two triangles side by side that mirror each other, and one without a partner.
    faces = np.array([[0, 1, 2], [3, 2, 1], [0, 1, 4]])
    mirror = np.array([3, 1, 2, 0, 4])
    uv = np.arange(12, dtype=np.float32).reshape(6, 2)
    uv_faces = np.array([[0, 1, 2], [3, 4, 5], [0, 1, 3]])
    corners, found = mirror_uv_corners(faces, uv, uv_faces, mirror)
    assert found.tolist() == [True, True, False]
    # Corner 0 of the first face mirrors to vertex 3, which is corner 0 of the second; 1 stays 1, 2 stays 2.
    np.testing.assert_array_equal(corners[0], uv[[3, 5, 4]])
    np.testing.assert_array_equal(corners[2], uv[[0, 1, 3]])


def test_islands_bleed_their_nearest_colour() -> None:
    covered = np.zeros((20, 20), bool)
    covered[5:10, 5:10] = covered[5:10, 15:18] = True
    image = np.zeros((20, 20, 3), np.float32)
    image[5:10, 5:10], image[5:10, 15:18] = 0.25, 0.75
    bleed_islands(image, covered, reach=2)
    assert image[7, 11, 0] == 0.25
    assert image[7, 13, 0] == 0.75
    assert image[12, 7, 0] == 0  # three texels away
    np.testing.assert_array_equal(image[5:10, 5:10], np.float32(0.25))


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (33, 18)])
def test_smooth_filling_keeps_what_is_present_and_stays_in_range(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    values = random.random((*shape, 3)).astype(np.float32)
    weights = (random.random(shape) < 0.3).astype(np.float32)
    weights.flat[0] = 1
    filled = fill_smoothly(values, weights)
    present = weights > 0
    np.testing.assert_allclose(filled[present], values[present], atol=1e-6)
    assert filled.min() >= values[present].min() - 1e-5
    assert filled.max() <= values[present].max() + 1e-5


def test_smooth_filling_prefers_near_evidence() -> None:
    values, weights = np.zeros((64, 64, 1), np.float32), np.zeros((64, 64), np.float32)
    values[:, :4], weights[:, :4], weights[:, -4:] = 1, 1, 1
    filled = fill_smoothly(values, weights)[32, :, 0]
    assert filled[8] > 0.8
    assert filled[-8] < 0.2
    assert fill_smoothly(values, np.zeros_like(weights)).max() == 0


Atlas = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def atlas(body: Body) -> Atlas:
    """uv (T, 2), uv_faces (F, 3), posed corners (F, 3, 3), face labels (F,)."""
    posed = body.pose(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10))
    vertices, joints = posed.vertices[0].double().numpy(), posed.joints[0].double().numpy()
    faces, labels = body.faces.numpy(), body.part_labels.numpy()
    uv, uv_faces = part_atlas(vertices, faces, labels, joints)
    return uv, uv_faces, vertices[faces], labels[faces]


def doubled_areas(triangles: np.ndarray) -> np.ndarray:
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def test_every_triangle_has_texels(atlas: Atlas) -> None:
    uv, uv_faces, corners, _ = atlas
    assert uv_faces.shape == (len(corners), 3)
    assert np.unique(uv_faces).size == len(uv)
    assert uv.min() > 0
    assert uv.max() < 1


def test_resolution_is_even(atlas: Atlas) -> None:
    uv, uv_faces, corners, labels = atlas
    in_texture = doubled_areas(uv[uv_faces])
    on_body = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    limbs = np.isin(labels[:, 0], SMPL24.indices(("left_hip", "right_knee", "left_elbow", "spine2")))
    ratio = in_texture[limbs] / on_body[limbs]
    low, middle, high = np.quantile(ratio, (0.05, 0.5, 0.95))
    assert low > 0.4 * middle
    assert high < 2.0 * middle


def test_charts_of_different_parts_do_not_overlap(atlas: Atlas) -> None:
    """Centres of triangles fall into a fine grid in which no cell belongs to two far parts of the body."""
    uv, uv_faces, corners, _ = atlas
    cells = np.floor(uv[uv_faces].mean(1) * 400).astype(int)
    centres = corners.mean(1)
    order = np.lexsort(cells.T)
    same = (np.diff(cells[order], axis=0) == 0).all(1)
    apart = np.linalg.norm(np.diff(centres[order], axis=0), axis=1)[same]
    assert (apart < 0.3).all()
    assert np.quantile(apart, 0.9) < 0.05
