"""Several meshes in one z-buffer, exact where bodies touch, hide and pass through each other; several samples a pixel,
whose mean is the part of it that is covered."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from helpers.errors import raises
from helpers.raster_cases import BACKENDS, Scene, on_screen, scene, sphere

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.rasterising.op import (
    Raster,
    draw_samples,
    interpolate,
    merge_meshes,
    rasterise,
    sample_offsets,
)

SQUARE = [(10, 10), (10, 30), (30, 30), (30, 10)]
TWO = [(0, 1, 2), (0, 2, 3)]


def crowd(people=4, batch=1, size=(120, 160), focal=200.0, device="cpu"):
    """Ellipsoids of different topologies that hide and pass through each other, and the whole scene of them."""
    offsets = torch.tensor([(0.0, 0.0, 0.0), (0.35, 0.1, 0.1), (-0.2, -0.15, -0.2), (0.1, 0.3, 0.6)], device=device)
    meshes = [sphere(2 + i % 2, batch=batch, size=size, focal=focal, device=device) for i in range(people)]
    merged = merge_meshes([m.vertices + o for m, o in zip(meshes, offsets, strict=False)], [m.faces for m in meshes])
    joint_scene = Scene(merged.vertices, merged.faces, meshes[0].focal, meshes[0].principal_point, size)
    return merged, joint_scene


def mesh_of_pixels(merged, raster):
    """Which mesh each pixel sees: (B, H, W), −1 where there is none."""
    ends = torch.tensor(merged.first_face[1:], dtype=torch.int32, device=raster.face.device)
    return torch.where(raster.face < 0, -1, torch.bucketize(raster.face, ends, right=True))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_each_pixel_sees_the_nearest_of_the_people_drawn_alone(backend):
    """The oracle draws everyone alone and takes the nearest depth of each pixel, the first person among equals."""
    merged, joint_scene = crowd(batch=2)
    together = joint_scene.raster(backend)
    alone = []
    for i in range(len(merged)):
        vertices = merged.vertices[:, merged.first_vertex[i] : merged.first_vertex[i + 1]]
        faces = merged.faces[merged.first_face[i] : merged.first_face[i + 1]] - merged.first_vertex[i]
        alone.append(
            Scene(vertices, faces, joint_scene.focal, joint_scene.principal_point, joint_scene.size).raster(backend)
        )
    depths = torch.stack([raster.depth for raster in alone])
    assert torch.equal(together.depth, depths.amin(0))
    nearest = torch.where(together.face < 0, -1, depths.argmin(0))
    assert torch.equal(mesh_of_pixels(merged, together), nearest)
    for i, raster in enumerate(alone):
        assert (nearest == i).sum() > 300
        assert torch.equal(merged.faces_of(together.face, i), torch.where(nearest == i, raster.face, -1))
        assert torch.equal(together.barycentrics[nearest == i], raster.barycentrics[nearest == i])


@pytest.mark.parametrize("backend", BACKENDS)
def test_agrees_with_embree_on_a_crowd(backend):
    merged, joint_scene = crowd()
    mesh = trimesh.Trimesh(merged.vertices[0].numpy(), merged.faces.numpy(), process=False)
    y, x = np.mgrid[:120, :160] + 0.5
    rays = np.stack([(x - 80) / 200, (y - 60) / 200, np.ones_like(x)], -1).reshape(-1, 3)
    tracer = trimesh.ray.ray_pyembree.RayMeshIntersector(mesh)
    expected = tracer.intersects_first(np.zeros_like(rays), rays).reshape(120, 160)
    raster = joint_scene.raster(backend)
    face = raster.face[0].numpy()
    # Inside a face the two agree; a ray through an edge, an outline or where two people meet may go either way.
    differing = face != expected
    assert (expected >= 0).sum() > 5000
    assert differing.sum() <= 0.002 * (expected >= 0).sum()
    smallest = raster.barycentrics[0].amin(-1).numpy()
    for row, column in np.argwhere(differing):
        a, b = face[row, column], expected[row, column]
        on_an_edge = smallest[row, column] < 1e-3 or min(a, b) < 0
        assert on_an_edge or len(np.intersect1d(merged.faces[a], merged.faces[b])) == 0  # two people at one depth


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_equal_depths_the_first_person_is_visible(backend):
    faces = torch.tensor(TWO)
    near = torch.tensor(on_screen(SQUARE), dtype=torch.float32)[None]
    both = merge_meshes([near, near], [faces, faces.flip(0)])
    raster = scene(both.vertices, both.faces).raster(backend)
    assert set(mesh_of_pixels(both, raster).unique().tolist()) == {-1, 0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_of_a_batch_may_hold_different_people(backend):
    first, second = sphere(2, batch=2), sphere(3, batch=2)
    absent = second.vertices - torch.tensor([0.3, 0.0, 0.5])
    present = absent.clone()
    absent[0] = torch.nan
    merged = merge_meshes([first.vertices, absent], [first.faces, second.faces])
    raster = scene(merged.vertices, merged.faces, 90.0).raster(backend)
    assert set(mesh_of_pixels(merged, raster)[0].unique().tolist()) == {-1, 0}
    assert torch.equal(raster.depth[0], first.raster(backend).depth[0])
    everyone = merge_meshes([first.vertices, present], [first.faces, second.faces])
    expected = scene(everyone.vertices, everyone.faces, 90.0).raster(backend)
    assert torch.equal(raster.face[1], expected.face[1])


def test_first_and_last_faces_belong_to_their_mesh():
    one, two = sphere(1), sphere(2)
    merged = merge_meshes([one.vertices, two.vertices, one.vertices], [one.faces, two.faces, one.faces])
    face = torch.tensor([[[-1, 0, 79, 80, 399, 400, 479]]], dtype=torch.int32)
    raster = Raster(face, torch.ones(*face.shape, 3), torch.ones(face.shape))
    assert mesh_of_pixels(merged, raster).flatten().tolist() == [-1, 0, 0, 1, 1, 2, 2]
    assert merged.faces_of(raster.face, 1).flatten().tolist() == [-1, -1, -1, 0, 319, -1, -1]
    assert merged.faces_of(raster.face, 2).flatten().tolist() == [-1, -1, -1, -1, -1, 0, 79]


def test_empty_meshes_and_batches():
    none = torch.zeros(0, 3, dtype=torch.int32)
    merged = merge_meshes([torch.zeros(0, 5, 3), torch.zeros(0, 0, 3)], [none, none])
    assert merged.vertices.shape == (0, 5, 3)
    raster = scene(merged.vertices, merged.faces).raster()
    assert mesh_of_pixels(merged, raster).shape == (0, 60, 80)
    one = sphere(1)
    merged = merge_meshes([one.vertices[:, :0], one.vertices, one.vertices[:, :0]], [none, one.faces, none])
    raster = scene(merged.vertices, merged.faces, 90.0).raster()
    assert set(mesh_of_pixels(merged, raster).unique().tolist()) == {-1, 1}
    assert (merged.faces_of(raster.face, 0) == -1).all()


ONE, FACE = torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]])


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        ([], [], {"subject": "faces"}),
        ([ONE], [], {"subject": "faces", "expected": "1 ≥ 1", "got": "0"}),
        ([ONE, torch.zeros(2, 3, 3)], [FACE] * 2, {"subject": "vertices"}),
        ([ONE], [FACE + 1], {"subject": "faces", "expected": "0 to 2"}),
        ([ONE, ONE.double()], [FACE] * 2, {"problem": "another dtype"}),
    ],
)
def test_refuses_what_does_not_fit(vertices, faces, message):
    with raises(UsageError, **message):
        merge_meshes(vertices, faces)


def average(values, samples):
    return values.unflatten(0, (-1, samples)).mean(1)


def coverage(raster, samples):
    """The share of each pixel's samples that show a face."""
    return average((raster.face >= 0).float(), samples)


def sampled(drawn, samples, **options):
    return draw_samples(
        drawn.vertices, drawn.faces, drawn.focal, drawn.principal_point, drawn.size, samples=samples, **options
    ).raster


@pytest.mark.parametrize("samples", [1, 4, 7, 32])
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


@pytest.mark.parametrize("samples", [1, 4])
def test_rows_hold_the_samples_of_each_image(device, samples):
    drawn = sphere(3, batch=2, device=device)
    drawn = replace(drawn, focal=torch.tensor([70.0, 110.0], device=device))
    raster = sampled(drawn, samples)
    for s, offset in enumerate(sample_offsets(samples)):
        centre = drawn.principal_point + 0.5 - torch.tensor(offset, device=device)
        one = rasterise(drawn.vertices, drawn.faces, drawn.focal, centre, drawn.size)
        for a, b in zip(raster, one, strict=True):
            assert torch.equal(a[s::samples], b)


@pytest.mark.parametrize("samples", [4, 8, 16])
@pytest.mark.parametrize("along", ["columns", "rows"])
def test_an_edge_along_the_pixels_is_right_to_one_sample(samples, along):
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


def test_colours_are_averaged_with_their_gradients(device):
    drawn = sphere(2, batch=2, device=device)
    raster = sampled(drawn, 4)
    attributes = torch.ones(1, drawn.vertices.shape[1], 3, device=device, requires_grad=True)
    image = average(interpolate(raster, drawn.faces, attributes), 4)
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
    with raises(UsageError, subject="backend"):
        sampled(front, 2, backend="fast")


def test_refuses_no_samples_and_other_shapes():
    with raises(UsageError, subject="samples"):
        sampled(sphere(1), 0)
    camera = torch.ones(1), torch.ones(1, 2)
    with raises(UsageError, subject="vertices"):
        draw_samples(torch.zeros(4, 3), torch.zeros(0, 3, dtype=torch.int32), *camera, (4, 4))
