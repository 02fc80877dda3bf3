"""Rotations, kinematics, blend shapes and whole bodies posed: the reference's gradients and invariants, smplx as an
oracle, and the kernels beside it with views and degenerate bodies."""

import math

import pytest
import torch
from helpers.errors import raises
from helpers.skinning_cases import PARENTS, assert_close, random_body

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.skinning import products
from humanpose_cli.engine.skinning.op import (
    axis_angle_to_rotations,
    blend_shapes,
    forward_kinematics,
    skin_vertices,
)
from humanpose_cli.geometry.rotations import axis_angle_to_matrix


@pytest.mark.slow
@pytest.mark.parametrize("absolute", [False, True])
def test_kinematics_passes_gradcheck(absolute):
    parents = (2, 2, -1, 1, 0)  # parents after their children, two branches
    body = random_body(2, 1, joints=5, dtype=torch.float64)

    def run(rotations, joints, scales, rest):
        return tuple(
            forward_kinematics(rotations, joints, parents, scales, rest, absolute=absolute, backend="reference")
        )

    assert torch.autograd.gradcheck(
        run, (body.rotations, body.joints, body.scales, body.rest_rotations.requires_grad_())
    )


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_skinning_passes_gradcheck(shared):
    body = random_body(2, 4, joints=3, dtype=torch.float64)
    vertices = (body.vertices[:1] if shared else body.vertices).detach().requires_grad_()
    linear = torch.randn(2, 3, 3, 3, dtype=torch.float64).requires_grad_()
    positions = torch.randn(2, 3, 3, dtype=torch.float64).requires_grad_()

    def run(vertices, joints, linear, positions, weights):
        return skin_vertices(vertices, joints, linear, positions, body.bone_indices, weights, backend="reference")

    inputs = (vertices, body.joints, linear, positions, body.bone_weights.requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_agrees_with_smplx_forwards_and_backwards(backend):
    lbs = pytest.importorskip("smplx.lbs").lbs
    torch.manual_seed(0)
    batch, count, joints = 5, 300, len(PARENTS)
    template, shapes = torch.randn(count, 3), torch.randn(count, 3, 10)
    pose_shapes = 0.01 * torch.randn(207, count * 3)
    regressor = torch.softmax(torch.randn(joints, count), -1)
    weights = torch.softmax(3 * torch.randn(count, joints), -1)
    betas, pose = torch.randn(batch, 10).requires_grad_(), torch.randn(batch, joints * 3).requires_grad_()
    expected = lbs(betas, pose, template, shapes, pose_shapes, regressor, torch.tensor(PARENTS), weights)

    shaped = template + torch.einsum("bs,vcs->bvc", betas, shapes)
    rest = torch.einsum("jv,bvc->bjc", regressor, shaped)
    rotations = axis_angle_to_matrix(pose.view(batch, joints, 3))
    features = (rotations[:, 1:] - torch.eye(3)).flatten(1)
    shaped = shaped + (features @ pose_shapes).view(batch, count, 3)
    posed = forward_kinematics(rotations, rest, PARENTS, backend=backend)
    bones = torch.arange(joints, dtype=torch.int32).expand(count, joints)
    vertices = skin_vertices(shaped, rest, posed.linear, posed.positions, bones, weights, backend=backend)

    assert_close(vertices, expected[0])
    assert_close(posed.positions, expected[1])
    upstream = torch.randn(batch, count, 3)
    gradients = torch.autograd.grad(vertices, (betas, pose), upstream)
    for found, wanted in zip(gradients, torch.autograd.grad(expected[0], (betas, pose), upstream), strict=True):
        assert_close(found, wanted, 1e-4)


def test_several_roots_are_separate_trees():
    body = random_body(1, joints=3)
    posed = forward_kinematics(body.rotations, body.joints, (-1, -1, 1))
    torch.testing.assert_close(posed.positions[:, :2], body.joints[:, :2], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": torch.zeros(2, 24, 3)}, {"subject": "joints", "expected": "(3, 24, 3)", "got": "(2, 24, 3)"}),
        ({"rotations": torch.zeros(3, 23, 3, 3)}, {"subject": "rotations", "expected": "(B, 24, 3, 3)"}),
        ({"scales": torch.zeros(3, 24, dtype=torch.float64)}, {"subject": "scales"}),
        ({"rest_rotations": torch.zeros(24, 9)}, {"subject": "rest_rotations"}),
        ({"joints": torch.zeros(3, 24, 3, device="meta")}, {"subject": "joints", "expected": "cpu as rotations"}),
        ({"parents": (*PARENTS[:-1], 24)}, {"problem": "joint 23 has no such parent"}),
        ({"parents": (23, *PARENTS[1:])}, {"problem": "not connected to a root"}),
        ({"backend": "fastest"}, {"subject": "backend"}),
    ],
)
def test_kinematics_refuses_what_does_not_fit(change, message):
    body = random_body(3)
    arguments = {"rotations": body.rotations, "joints": body.joints, "parents": PARENTS} | change
    with raises(UsageError, **message):
        forward_kinematics(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": torch.zeros(2, 200, 3)}, {"subject": "vertices", "expected": "(3, V, 3)"}),
        ({"positions": torch.zeros(3, 23, 3)}, {"subject": "positions"}),
        ({"bone_weights": torch.zeros(200, 3)}, {"subject": "bone_weights"}),
        ({"bone_indices": torch.full((200, 4), 24)}, {"subject": "bone_indices", "expected": "0 to 23"}),
        ({"bone_indices": torch.full((200, 4), -1)}, {"subject": "bone_indices"}),
        ({"bone_indices": torch.zeros(200, 4)}, {"problem": "must be integers"}),
    ],
)
@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_skinning_refuses_what_does_not_fit(backend, change, message):
    body = random_body(3)
    arguments = {
        "vertices": body.vertices,
        "joints": body.joints,
        "linear": torch.zeros(3, 24, 3, 3),
        "positions": torch.zeros(3, 24, 3),
        "bone_indices": body.bone_indices,
        "bone_weights": body.bone_weights,
    } | change
    with raises(UsageError, **message):
        skin_vertices(**arguments, backend=backend)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-5, 1e-3, 0.03, 0.0316, 0.032, 0.3, 3.0, math.pi, 20.0])
def test_rotations_and_gradients_are_those_of_double_precision(device, size):
    generator = torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator), dim=-1)
    vectors = (size * axes).to(device).requires_grad_()
    upstream = torch.randn(40, 3, 3, generator=generator).to(device)
    exact = vectors.detach().double().requires_grad_()
    found, expected = axis_angle_to_rotations(vectors, backend="kernel"), axis_angle_to_matrix(exact)
    torch.testing.assert_close(found.double(), expected, atol=1e-6 * max(1, size / 3), rtol=0)
    (gradient,) = torch.autograd.grad(found, vectors, upstream)
    (wanted,) = torch.autograd.grad(expected, exact, upstream.double())
    torch.testing.assert_close(gradient.double(), wanted, atol=4e-6, rtol=0)


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3), (2, 24, 3)])
@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_rotations_take_any_batch_shape_and_views(device, shape, backend):
    vectors = torch.randn(*shape[:-1], 6, generator=torch.Generator().manual_seed(1)).to(device)[..., ::2]
    rotations = axis_angle_to_rotations(vectors.requires_grad_(), backend=backend)
    assert rotations.shape == (*shape, 3)
    assert_close(rotations, axis_angle_to_matrix(vectors), 1e-6)
    upstream = torch.ones((), device=device).expand(rotations.shape)
    (gradient,) = torch.autograd.grad(rotations, vectors, upstream)
    assert_close(gradient, torch.autograd.grad(axis_angle_to_matrix(vectors).sum(), vectors)[0], 1e-5)


def test_rotations_of_numbers_that_are_not_finite(device):
    vectors = torch.tensor([[0.1, 0.2, 0.3], [math.nan, 0, 0], [math.inf, 0, 0]], device=device)
    rotations = axis_angle_to_rotations(vectors, backend="kernel")
    assert rotations[0].isfinite().all()
    assert rotations[1:].isnan().any(-1).any(-1).all()


def test_vectors_of_another_length_are_refused():
    with raises(UsageError, subject="axis_angles", expected="(..., 3)", got="(2, 4)"):
        axis_angle_to_rotations(torch.zeros(2, 4))
    with raises(UsageError, problem="must be floating"):
        axis_angle_to_rotations(torch.zeros(2, 3, dtype=torch.int64))


@pytest.fixture(params=["each product", "only large ones", "none"])
def onednn(request, monkeypatch):
    """Which products go to oneDNN."""
    if request.param == "each product":
        monkeypatch.setattr(products, "_LARGE_PRODUCT", 0)
    elif request.param == "none":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("batch", "shapes", "vertices"), [(0, 10, 5), (1, 10, 40), (3, 207, 33), (64, 10, 1500), (20, 217, 700), (2, 3, 0)]
)
@pytest.mark.parametrize("by_vertex", [False, True])
def test_blend_shapes_are_the_sum_of_their_directions(device, onednn, batch, shapes, vertices, by_vertex):
    generator = torch.Generator().manual_seed(2)
    template = torch.randn(vertices, 3, generator=generator).to(device).requires_grad_()
    weights = torch.randn(batch, shapes, generator=generator).to(device).requires_grad_()
    directions = torch.randn(shapes, 3 * vertices, generator=generator).to(device)
    if by_vertex:  # as a body has them
        directions = directions.mT.contiguous().mT
    upstream = torch.randn(batch, vertices, 3, generator=generator).to(device)
    found = blend_shapes(template, weights, directions)
    expected = template + torch.einsum("bs,svc->bvc", weights, directions.view(shapes, vertices, 3))
    assert_close(found, expected)
    gradients = torch.autograd.grad(found, (template, weights), upstream)
    for a, b in zip(gradients, torch.autograd.grad(expected, (template, weights), upstream), strict=True):
        assert_close(a, b)


def test_blend_shapes_have_second_derivatives_and_gradients_to_their_directions(onednn):
    generator = torch.Generator().manual_seed(3)
    template, weights = torch.randn(20, 3, generator=generator), torch.randn(4, 50, generator=generator)
    directions = torch.randn(50, 60, generator=generator)
    weights.requires_grad_()
    (first,) = torch.autograd.grad(
        blend_shapes(template, weights, directions).square().sum(), weights, create_graph=True
    )
    (second,) = torch.autograd.grad(first.sum(), weights)
    assert_close(second, 2 * (torch.ones(4, 50) @ directions @ directions.mT))
    directions.requires_grad_()
    (found,) = torch.autograd.grad(blend_shapes(template, weights, directions).sum(), directions)
    assert_close(found, weights.detach().sum(0)[:, None].expand(50, 60))


def test_blend_shapes_that_do_not_fit_are_refused():
    with raises(UsageError, subject="directions", expected="(10, 12)", got="(10, 11)"):
        blend_shapes(torch.zeros(4, 3), torch.zeros(2, 10), torch.zeros(10, 11))
    with raises(UsageError, subject="directions"):
        blend_shapes(torch.zeros(4, 3), torch.zeros(2, 10), torch.zeros(10, 12, dtype=torch.float64))
