"""What the rasteriser draws, by hand-made answers and by Embree; the same tests run over both backends."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.raster_cases import BACKENDS, Scene, on_screen, scene, sphere
from scipy.spatial import Delaunay

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.rasterising.op import rasterise

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def test_a_triangle_covers_the_pixel_centres_inside_it(backend):
    corners = on_screen([(10.2, 10.2), (10.2, 20.2), (20.2, 10.2)])
    face = scene(corners, [(0, 1, 2)]).raster(backend).face[0]
    y, x = np.mgrid[:60, :80] + 0.5
    inside = (x > 10.2) & (y > 10.2) & (x + y < 30.4)
    assert inside.sum() == 55
    assert np.array_equal(face.numpy() == 0, inside)
    assert (face.numpy()[~inside] == -1).all()


def test_pixels_hold_the_point_their_ray_meets(backend):
    """Perspective-correct: a face slanting from 1 m to 5 m, whose point at a pixel projects to its centre."""
    corners = torch.tensor([(-0.3, -0.2, 1.0), (0.2, 1.0, 3.0), (1.8, -0.9, 5.0)])
    drawn = scene(corners, [(0, 1, 2)])
    raster = drawn.raster(backend)
    y, x = (raster.face[0] == 0).nonzero(as_tuple=True)
    assert len(x) > 200
    weights = raster.barycentrics[0, y, x]
    points = weights @ corners
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(x)), rtol=0, atol=1e-6)
    torch.testing.assert_close(raster.depth[0, y, x], points[:, 2], rtol=1e-6, atol=0)
    pixels = 100 * points[:, :2] / points[:, 2:] + torch.tensor([40.0, 30.0])
    torch.testing.assert_close(pixels, torch.stack((x, y), -1) + 0.5, rtol=0, atol=1e-4)


def test_pixels_without_a_face(backend):
    raster = scene(on_screen([(10, 10), (10, 20), (20, 10)]), [(0, 1, 2)]).raster(backend)
    empty = raster.face == -1
    assert (raster.barycentrics[empty] == 0).all()
    assert torch.isposinf(raster.depth[empty]).all()
    assert raster.face.dtype == torch.int32


def test_the_nearest_face_is_visible(backend):
    square = [(10, 10), (10, 30), (30, 30), (30, 10)]
    vertices = np.concatenate([on_screen(square, 3.0), on_screen(square, 2.0), on_screen(square, 4.0)])
    faces = [(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7), (8, 9, 10), (8, 10, 11)]
    raster = scene(vertices, faces).raster(backend)
    assert set(raster.face.unique().tolist()) == {-1, 2, 3}
    torch.testing.assert_close(raster.depth[raster.face >= 0], torch.full((400,), 2.0))


def test_two_faces_that_pierce_each_other_meet_where_their_depths_do(backend):
    """One face at 2 m; the other's depth grows with x, through 2 m at the image's middle."""
    vertices = [(-3, -3, 2), (-3, 3, 2), (6, 0, 2), (-2, -9, 1), (-2, 9, 1), (2, 9, 3), (2, -9, 3)]
    raster = scene(vertices, [(0, 1, 2), (3, 4, 5), (3, 5, 6)]).raster(backend)
    slanting = raster.face[0] > 0
    assert slanting[:, :40].all()
    assert not slanting[:, 40:].any()


def test_equal_depths_go_to_the_lowest_face(backend):
    mesh = sphere()
    faces = torch.cat((mesh.faces, mesh.faces))
    twice = scene(mesh.vertices, faces, 90.0).raster(backend)
    once = mesh.raster(backend)
    assert torch.equal(twice.face, once.face)
    assert (once.face >= 0).sum() > 900


def test_the_order_of_faces_does_not_matter(backend):
    mesh = sphere()
    order = torch.randperm(len(mesh.faces), generator=torch.Generator().manual_seed(0))
    once, shuffled = mesh.raster(backend), scene(mesh.vertices, mesh.faces[order], 90.0).raster(backend)
    assert torch.equal(shuffled.depth, once.depth)


def test_neighbouring_faces_leave_no_gap(backend):
    """A triangulation of the whole image whose corners and edges lie on pixel centres too."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-5, 85, (400, 2))
    points[:200] = np.floor(points[:200]) + 0.5
    points = np.unique(np.concatenate([points, [(-9, -9), (-9, 99), (99, 99), (99, -9)]]), axis=0)
    depths = rng.uniform(1, 4, len(points))
    vertices = on_screen(points) * (depths / 2)[:, None]
    assert (scene(vertices, Delaunay(points).simplices).raster(backend).face >= 0).all()


def test_fronts_are_counter_clockwise_on_screen(backend):
    points = on_screen([(10, 10), (10, 30), (30, 10)])  # down, then right: counter-clockwise
    normal = np.cross(points[1] - points[0], points[2] - points[0])
    assert normal[2] < 0  # towards the camera
    front, back = scene(points, [(0, 1, 2)]), scene(points, [(0, 2, 1)])
    assert (front.raster(backend, cull_back_faces=True).face == 0).sum() == 190
    assert (back.raster(backend).face == 0).sum() == 190
    assert (back.raster(backend, cull_back_faces=True).face == 0).sum() == 0


def test_a_closed_body_looks_the_same_without_its_back_faces(backend):
    mesh = sphere()
    complete, culled = mesh.raster(backend), mesh.raster(backend, cull_back_faces=True)
    for a, b in zip(complete, culled, strict=True):
        assert torch.equal(a, b)


def test_the_ground_reaches_from_the_near_plane_to_the_horizon(backend):
    """The plane y = 1 under and behind the camera: at row y its depth is f / (y + 0.5 − cy)."""
    corners = [(-500, 1, -50), (500, 1, -50), (500, 1, 300), (-500, 1, 300)]
    raster = scene(corners, [(0, 1, 2), (0, 2, 3)]).raster(backend)
    rows = torch.arange(60) + 0.5 - 30
    expected = torch.where(rows > 100 / 300, 100 / rows, torch.inf)[:, None].expand(60, 80)
    torch.testing.assert_close(raster.depth[0], expected, rtol=1e-5, atol=0)
    nothing_below = scene(corners, [(0, 1, 2), (0, 2, 3)]).raster(backend, near=5.0)
    torch.testing.assert_close(
        nothing_below.depth[0], torch.where(expected >= 5, expected, torch.inf), rtol=1e-5, atol=0
    )


def test_nothing_behind_the_camera_is_visible(backend):
    mesh = sphere()
    behind = scene(mesh.vertices * torch.tensor([1.0, 1.0, -1.0]), mesh.faces)
    assert (behind.raster(backend).face == -1).all()


def test_faces_without_area_are_not_visible(backend):
    points = on_screen([(10.5, 10.5), (30.5, 10.5), (20.5, 10.5), (10, 10), (10, 30), (30, 10)])
    ray = np.array([(20.5 - 40) / 100, (20.5 - 30) / 100, 1.0])  # a face seen edge-on along a pixel's ray
    vertices = np.concatenate([points, np.outer([1, 2, 3], ray)])
    faces = [(0, 1, 2), (0, 0, 0), (1, 1, 2), (6, 7, 8), (3, 4, 5)]
    assert set(scene(vertices, faces).raster(backend).face.unique().tolist()) <= {-1, 4}


@pytest.mark.parametrize(("size", "visible"), [(1e-18, True), (1e-20, False), (1e-23, False)])
def test_faces_too_small_for_their_area_to_be_inverted_are_not_visible(backend, size, visible):
    corners = torch.tensor([[0.0, -size, 2.0], [-size, size, 2.0], [size, size, 2.0]])
    raster = scene(corners, [(0, 1, 2)], focal=1.0, size=(3, 3)).raster(backend)
    assert (raster.face[0, 1, 1] == 0) == visible
    assert raster.depth[0, 1, 1] == (2.0 if visible else float("inf"))
    assert (raster.face >= 0).sum() == visible


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e38])
def test_faces_with_corners_that_are_not_finite_are_left_out(backend, value):
    mesh = sphere()
    rows = torch.arange(0, mesh.vertices.shape[1], 7)
    for axis in range(3):
        vertices = mesh.vertices.clone()
        vertices[:, rows, axis] = value
        broken = torch.isin(mesh.faces, rows).any(-1)
        raster = scene(vertices, mesh.faces, 90.0).raster(backend)
        complete = scene(vertices.nan_to_num(0, 0, 0), mesh.faces[~broken], 90.0).raster(backend)
        kept = (~broken).nonzero().flatten().int()
        expected = torch.where(complete.face >= 0, kept[complete.face.clamp(min=0).long()], complete.face)
        if abs(value) < float("inf"):  # finite but far: such a face may be seen, nothing may break
            assert raster.barycentrics.isfinite().all()
        else:
            assert torch.equal(raster.face, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_camera_that_is_not_finite_sees_nothing(backend, value):
    mesh = sphere()
    for focal, centre in ((value, (40.0, 30.0)), (90.0, (value, 30.0))):
        assert (scene(mesh.vertices, mesh.faces, focal, centre).raster(backend).face == -1).all()


def test_images_of_a_batch_are_independent(backend):
    mesh = sphere(batch=3)
    focal, centre = torch.tensor([60.0, 90.0, 120.0]), torch.tensor([(40.0, 30.0), (10.0, 55.5), (70.0, 0.0)])
    together = replace(mesh, focal=focal, principal_point=centre).raster(backend)
    for b in range(3):
        one = slice(b, b + 1)
        alone = Scene(mesh.vertices[one], mesh.faces, focal[one], centre[one], mesh.size).raster(backend)
        for a, c in zip(alone, together, strict=True):
            assert torch.equal(a[0], c[b])


def test_empty_scenes(backend):
    mesh = sphere(batch=2)
    no_faces = scene(mesh.vertices, torch.zeros(0, 3)).raster(backend)
    assert no_faces.face.shape == (2, 60, 80)
    assert (no_faces.face == -1).all()
    assert scene(torch.zeros(0, 9, 3), mesh.faces[:0]).raster(backend).depth.shape == (0, 60, 80)
    for size in ((0, 80), (60, 0)):
        assert scene(mesh.vertices, mesh.faces, size=size).raster(backend).barycentrics.shape == (2, *size, 3)
    assert scene(torch.zeros(1, 0, 3), torch.zeros(0, 3)).raster(backend).face.max() == -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": torch.zeros(1, 9, 2)}, {"subject": "vertices", "expected": "(B, V, 3)"}),
        ({"faces": torch.zeros(4, 4, dtype=torch.int32)}, {"subject": "faces"}),
        ({"faces": torch.full((4, 3), 9)}, {"subject": "faces", "expected": "0 to 8", "got": "9 to 9"}),
        ({"faces": torch.full((4, 3), -1)}, {"subject": "faces"}),
        ({"faces": torch.zeros(4, 3)}, {"problem": "must be integers"}),
        ({"focal": torch.zeros(2)}, {"subject": "focal"}),
        ({"principal_point": torch.zeros(1, 3)}, {"subject": "principal_point"}),
        ({"focal": torch.zeros(1, dtype=torch.float64)}, {"subject": "focal"}),
        ({"size": (-1, 5)}, {"subject": "size"}),
        ({"near": 0.0}, {"subject": "near"}),
        ({"near": float("nan")}, {"subject": "near"}),
        ({"backend": "fast"}, {"subject": "backend"}),
    ],
)
def test_refuses_what_does_not_fit(backend, change, message):
    arguments = {
        "vertices": torch.ones(1, 9, 3),
        "faces": torch.zeros(4, 3, dtype=torch.int32),
        "focal": torch.ones(1),
        "principal_point": torch.ones(1, 2),
        "size": (4, 5),
        "backend": backend.replace("cuda", "kernel"),
    } | change
    with raises(UsageError, **message):
        rasterise(**arguments)
