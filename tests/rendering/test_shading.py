"""Drawing surfaces: silhouettes, depth order, smooth edges, textures, things behind the camera."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.drawing.op import light_vertices
from humanpose_cli.rendering.boxes import Box, body_box
from humanpose_cli.rendering.shading import draw_people
from humanpose_cli.rendering.surfaces import (
    Lighting,
    Surface,
    Texture,
    sample_texture,
    vertex_normals,
)

VIEW = Camera(200.0, (80.0, 60.0), (160, 120))


def square(depth: float, x: float = 0.0, side: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """A square that faces the camera, centred at (x, 0, depth)."""
    corners = [[x - side, -side], [x + side, -side], [x + side, side], [x - side, side]]
    vertices = torch.tensor([[*corner, depth] for corner in corners])
    return vertices, torch.tensor([[0, 3, 2], [0, 2, 1]], dtype=torch.int32)


def rendered(surfaces: list[Surface], view: Camera = VIEW, **options: int) -> np.ndarray:
    """RGBA with straight alpha, 0 to 1, in steps of 1/255."""
    image = np.zeros((*view.size[::-1], 4), np.uint8)
    draw_people(image, surfaces, view, **options)
    return image / 255


def flat(depth: float, colour: tuple[float, float, float], **kwargs: float) -> Surface:
    vertices, faces = square(depth, **kwargs)
    return Surface(vertices, faces, colour, lit=False)


def test_square_covers_its_projection_and_nothing_else() -> None:
    image = rendered([flat(2.0, (1.0, 0.5, 0.25))])
    # 200 px · 0.2 m / 2 m = 20 px on each side of the principal point.
    expected = np.zeros((120, 160))
    expected[40:80, 60:100] = 1
    np.testing.assert_array_equal(image[..., 3], expected)
    np.testing.assert_allclose(image[50, 70, :3], (1.0, 0.5, 0.25), atol=0.002)


def test_edges_are_smooth_in_proportion_to_coverage() -> None:
    view = Camera(200.0, (80.25, 60.0), (160, 120))
    image = rendered([flat(2.0, (1.0, 0.0, 0.0))], view, supersampling=4)
    np.testing.assert_allclose(image[50, 60, 3], 0.75, atol=0.002)
    np.testing.assert_allclose(image[50, 100, 3], 0.25, atol=0.002)
    # Colour is not darkened by the transparency of the edge.
    np.testing.assert_allclose(image[50, 60, :3], (1.0, 0.0, 0.0), atol=0.002)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nearer_surface_hides_the_farther_in_any_order(order: tuple[int, int]) -> None:
    both = [flat(2.0, (1.0, 0.0, 0.0)), flat(3.0, (0.0, 1.0, 0.0), x=0.2)]
    image = rendered([both[i] for i in order])
    np.testing.assert_allclose(image[60, 95, :3], (1.0, 0.0, 0.0), atol=0.002)
    np.testing.assert_allclose(image[60, 103, :3], (0.0, 1.0, 0.0), atol=0.002)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_edge_where_three_surfaces_meet_is_exact(order: tuple[int, int, int]) -> None:
    """A quarter of a pixel column red before green before blue: its colour is the shares of what is seen."""
    view = Camera(200.0, (80.25, 60.0), (160, 120))
    surfaces = [
        flat(2.0, (1.0, 0.0, 0.0), x=0.2),  # from column 80.25 on
        flat(3.0, (0.0, 1.0, 0.0), x=0.1925, side=0.2),  # 0.5 pixels to its left, cut at 79.75
        flat(4.0, (0.0, 0.0, 1.0), side=0.5),
    ]
    image = rendered([surfaces[i] for i in order], view, supersampling=4)
    np.testing.assert_allclose(image[60, 80], (0.75, 0.25, 0.0, 1.0), atol=0.002)
    np.testing.assert_allclose(image[60, 79], (0.0, 0.25, 0.75, 1.0), atol=0.002)


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    hatched = flat(3.0, (0.0, 1.0, 0.0), x=0.3)
    hatched = replace(hatched, hatched=torch.ones(len(hatched.vertices), dtype=torch.bool))
    low = flat(2.0, (0.0, 0.0, 1.0))
    low = replace(low, vertices=low.vertices + torch.tensor([0.36, 0.36, 0.0]))  # nothing is in two corners of both
    surfaces = [flat(2.0, (1.0, 0.0, 0.0)), hatched, low]
    image = rendered(surfaces)
    monkeypatch.setattr("humanpose_cli.rendering.shading._MAX_SAMPLES", 1500)
    np.testing.assert_allclose(rendered(surfaces), image, atol=0.002)


def test_texture_is_visible_where_its_coordinates_point() -> None:
    vertices, faces = square(2.0)
    image = np.zeros((40, 40, 3), np.uint8)
    image[:20, :20] = (255, 0, 0)
    image[20:, 20:] = (0, 0, 255)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    image = rendered([Surface(vertices, faces, texture=Texture(image, corners, faces), lit=False)])
    expected = np.zeros((40, 40, 3))
    expected[:20, :20, 0] = expected[20:, 20:, 2] = 1
    np.testing.assert_allclose(image[40:80, 60:100, :3], expected, atol=0.26)
    np.testing.assert_allclose(image[42:58, 62:78, :3], expected[2:18, 2:18], atol=1e-5)


def test_fine_texture_is_averaged_not_sampled() -> None:
    vertices, faces = square(2.0)
    noise = np.random.default_rng(0).integers(0, 2, (1280, 1280, 1)).astype(np.uint8) * 255
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    texture = Texture(np.repeat(noise, 3, 2), corners, faces)
    pixels = rendered([Surface(vertices, faces, texture=texture, lit=False)])[42:78, 62:98, 0]
    # 32 × 32 texels a pixel: the mean of 1,024 coin tosses strays by 0.016.
    assert abs(pixels - 0.5).max() < 0.12


def test_samples_of_a_pixel_read_a_texture_as_fine_as_they_are() -> None:
    """Stripes one texel wide, four texels a pixel: one sample sees their mean, sixteen see the stripes."""
    stripes = np.zeros((64, 64, 1), np.float32)
    stripes[:, ::2] = 1
    across = ((np.arange(16) * 4 + 0.5) / 64).astype(np.float32)
    uv = np.stack(np.broadcast_arrays(across, np.float32(0.5)), -1)[None, None].repeat(3, 1)
    covered = np.ones(uv.shape[:-1], bool)
    np.testing.assert_allclose(sample_texture(stripes, uv, covered), 0.5, atol=1e-6)
    np.testing.assert_allclose(sample_texture(stripes, uv, covered, samples=16), 1, atol=1e-6)


@pytest.mark.slow
def test_normals_of_a_sphere_point_outwards_and_light_comes_from_its_side() -> None:
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(3, 1.0)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32)
    faces = torch.tensor(sphere.faces, dtype=torch.int32)
    normals = vertex_normals(vertices, faces)
    assert ((normals * vertices).sum(-1) > 0.998).all()
    shade = light_vertices(vertices + torch.tensor([0, 0, 5.0]), faces, Lighting(direction=(-1, 0, 0), rim=0))
    assert shade[vertices[:, 0].argmin()] > 0.99
    np.testing.assert_allclose(shade[vertices[:, 0].argmax()], Lighting().ambient, atol=1e-6)


def test_body_box_bounds_the_projection() -> None:
    vertices, _ = square(2.0)
    assert body_box(vertices, VIEW) == Box(58, 38, 103, 83)
    assert body_box(vertices + torch.tensor([0, 0, -5.0]), VIEW).empty
    assert body_box(vertices * torch.tensor([1e6, 1e6, 1.0]), VIEW) == Box.of_image(VIEW)


def test_impossible_cameras_and_shapes_are_refused() -> None:
    with raises(UsageError, subject="focal"):
        Camera(0.0, (1.0, 1.0), (4, 4))
    with raises(UsageError, problem="empty"):
        Camera(1.0, (1.0, 1.0), (0, 4))
    with raises(UsageError, problem="wrong shape"):
        Surface(torch.zeros(1, 4, 3), torch.zeros(1, 3, dtype=torch.int32))
