"""Rotations, kinematics, blend shapes and whole bodies posed: the reference's gradients and invariants, smplx as an
oracle, and the kernels beside it with views and degenerate bodies."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from helpers.errors import raises
from helpers.skinning_cases import PARENTS, Body, assert_close, random_body
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.skinning import op
from humanpose_cli.engine.skinning.op import (
    axis_angle_to_rotations,
    blend_shapes,
    forward_kinematics,
    pose_vertices,
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


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_a_bent_elbow_moves_the_hand_where_it_must(backend):
    """T pose, left upper arm along x; the left elbow turns by 90° about y, which takes x to −z."""
    shoulder, elbow, wrist = SMPL24.indices(["left_shoulder", "left_elbow", "left_wrist"])
    joints = torch.zeros(1, 24, 3)
    joints[0, [shoulder, elbow, wrist], 0] = torch.tensor([0.2, 0.5, 0.7])
    turns = torch.zeros(1, 24, 3)
    turns[0, elbow, 1] = torch.pi / 2
    rotations = axis_angle_to_matrix(turns)
    posed = forward_kinematics(rotations, joints, PARENTS, backend=backend)
    torch.testing.assert_close(posed.positions[0, wrist], torch.tensor([0.5, 0.0, -0.2]), atol=1e-6, rtol=0)
    point = torch.tensor([[[0.8, 0.1, 0.0]]])  # beyond the wrist, fixed to it
    skinned = skin_vertices(
        point,
        joints,
        posed.linear,
        posed.positions,
        torch.tensor([[wrist]], dtype=torch.int32),
        torch.ones(1, 1),
        backend=backend,
    )
    torch.testing.assert_close(skinned[0, 0], torch.tensor([0.5, 0.1, -0.3]), atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_scales_lengthen_their_segment_only(backend):
    hip, knee, ankle, foot = SMPL24.indices(["left_hip", "left_knee", "left_ankle", "left_foot"])
    body = random_body(1)
    scales = torch.ones(1, 24)
    scales[0, knee] = 2.0
    plain = forward_kinematics(body.rotations, body.joints, PARENTS, backend=backend).positions[0]
    longer = forward_kinematics(body.rotations, body.joints, PARENTS, scales, backend=backend).positions[0]

    def bone(positions, child, parent):
        return positions[child] - positions[parent]

    assert_close(bone(longer, ankle, knee), 2 * bone(plain, ankle, knee))
    assert_close(bone(longer, knee, hip), bone(plain, knee, hip))
    assert_close(bone(longer, foot, ankle), bone(plain, foot, ankle))


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_absolute_rotations_are_the_relative_ones_composed(backend):
    body = random_body(2)
    relative = forward_kinematics(
        body.rotations, body.joints, PARENTS, body.scales, body.rest_rotations, backend=backend
    )
    absolute = forward_kinematics(
        relative.rotations, body.joints, PARENTS, body.scales, body.rest_rotations, absolute=True, backend=backend
    )
    for a, b in zip(relative, absolute, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_turning_the_root_turns_the_complete_body(backend):
    body = random_body(1)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.5]))
    pelvis = SMPL24.index("pelvis")
    turned_rotations = body.rotations.detach().clone()
    turned_rotations[:, pelvis] = turn @ turned_rotations[:, pelvis]

    def skinned(rotations):
        posed = forward_kinematics(rotations, body.joints, PARENTS, body.scales, body.rest_rotations, backend=backend)
        arguments = (body.vertices, body.joints, posed.linear, posed.positions, body.bone_indices, body.bone_weights)
        return skin_vertices(*arguments, backend=backend)

    root = body.joints[:, pelvis : pelvis + 1]
    assert_close(skinned(turned_rotations) - root, (skinned(body.rotations) - root) @ turn.mT)


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
        (
            {"bone_indices": torch.full((200, 4), 24, dtype=torch.int32)},
            {"subject": "bone_indices", "expected": "0 to 23"},
        ),
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
        monkeypatch.setattr(op, "_LARGE_PRODUCT", 0)
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


def translation_of(body: Body) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(len(body.joints), 3, generator=generator).to(body.joints).requires_grad_()


def posed(body: Body, backend: str, translation: Tensor | None = None, *, scaled=True, turned=True, absolute=False):
    """Every output: vertices, rotations, linear, positions."""
    vertices, bones = pose_vertices(
        body.vertices,
        body.bone_indices,
        body.bone_weights,
        body.rotations,
        body.joints,
        PARENTS,
        body.scales if scaled else None,
        body.rest_rotations if turned else None,
        translation,
        absolute=absolute,
        backend=backend,
    )
    return vertices, *bones


def assert_same(body: Body, inputs: list[Tensor], translation: Tensor | None = None, **options) -> None:
    """Outputs of kernel and reference agree, and so do the gradients to `inputs` of all outputs and of each alone."""
    found, expected = (posed(body, backend, translation, **options) for backend in ("kernel", "reference"))
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(e.shape, generator=generator).to(e.device) for e in expected]
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    for chosen in (slice(None), *(slice(i, i + 1) for i in range(4))):
        wanted = torch.autograd.grad(
            expected[chosen], inputs, upstream[chosen], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        gradients = torch.autograd.grad(
            found[chosen], inputs, upstream[chosen], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for a, b in zip(gradients, wanted, strict=True):
            assert_close(a, b)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("scaled", "turned", "moved"), list(itertools.product([True, False], repeat=3)))
def test_agrees_with_the_reference(device, scaled, turned, moved, absolute):
    body = random_body(device=device)
    translation = translation_of(body) if moved else None
    optional = [body.scales] * scaled + [translation] * moved
    inputs = [body.rotations, body.joints, body.vertices, *optional]
    assert_same(body, inputs, translation, scaled=scaled, turned=turned, absolute=absolute)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_is_kinematics_and_skinning(device, backend):
    body = random_body(device=device)
    bones = forward_kinematics(body.rotations, body.joints, PARENTS, body.scales, body.rest_rotations, backend=backend)
    skin = (bones.linear, bones.positions, body.bone_indices, body.bone_weights)
    expected = (skin_vertices(body.vertices, body.joints, *skin, backend=backend), *bones)
    for a, b in zip(posed(body, backend), expected, strict=True):
        assert_close(a, b, 1e-6)
    translation = translation_of(body)
    assert_close(posed(body, backend, translation)[0], expected[0] + translation[:, None], 1e-6)
    assert_close(posed(body, backend, translation)[3], expected[3] + translation[:, None], 1e-6)


@pytest.mark.parametrize(("batch", "vertices"), [(0, 5), (3, 0), (0, 0), (1, 1), (1, 5000), (7, 2049)])
def test_agrees_at_every_size(device, batch, vertices):
    body = random_body(batch, vertices, device=device)
    translation = translation_of(body)
    assert_same(body, [body.rotations, body.joints, body.vertices, translation], translation)


@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=5)))
def test_every_combination_of_needed_gradients(device, needed):
    body = random_body(2, 30, device=device)
    translation = translation_of(body)
    leaves = [body.rotations, body.joints, body.scales, body.vertices, translation]
    for leaf, need in zip(leaves, needed, strict=True):
        leaf.requires_grad_(need)
    found, expected = (posed(body, backend, translation) for backend in ("kernel", "reference"))
    assert any(output.requires_grad for output in found) == any(needed)
    inputs = [leaf for leaf, need in zip(leaves, needed, strict=True) if need]
    if inputs:
        gradients = torch.autograd.grad(found[0].square().sum(), inputs)
        for a, b in zip(gradients, torch.autograd.grad(expected[0].square().sum(), inputs), strict=True):
            assert_close(a, b)


def test_views_and_one_shared_rest_body(device):
    body = random_body(4, 60, device=device)
    apart = replace(
        body,
        rotations=body.rotations.detach().mT.contiguous().mT.requires_grad_(),
        joints=body.joints.detach().repeat(2, 2, 2)[::2, 24:, :3].requires_grad_(),
        vertices=body.vertices.detach()[:1].requires_grad_(),
        bone_indices=body.bone_indices.mT.contiguous().mT,
    )
    translation = translation_of(body).detach()[:1].requires_grad_()
    assert not apart.rotations.is_contiguous()
    inputs = [apart.rotations, apart.joints, apart.vertices, translation]
    found, expected = (posed(apart, backend, translation.expand(4, 3)) for backend in ("kernel", "reference"))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    gradients = torch.autograd.grad(found[0].square().sum(), inputs)
    for a, b in zip(gradients, torch.autograd.grad(expected[0].square().sum(), inputs), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("case", ["identity", "zero-length bones", "coincident joints", "no weights", "one bone"])
def test_degenerate_bodies(device, case):
    body = random_body(2, 50, device=device)
    with torch.no_grad():
        if case == "identity":
            body.rotations.copy_(torch.eye(3))
        elif case == "zero-length bones":
            for child in (4, 7, 20):
                body.joints[:, child] = body.joints[:, PARENTS[child]]
        elif case == "coincident joints":
            body.joints.copy_(body.joints[:, :1])
        elif case == "no weights":
            body.bone_weights.zero_()
        else:
            body.bone_indices.fill_(3)
    assert_same(body, [body.rotations, body.joints, body.scales, body.vertices])
    if case == "identity":
        unchanged = posed(body, "kernel", scaled=False, turned=False)[0]
        assert_close(unchanged, body.vertices, 2e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_stay_with_their_body(device, value):
    body = random_body(3, 50, device=device)
    with torch.no_grad():
        body.rotations[1, 16] = value
        body.vertices[2, 7] = value
    outputs = [posed(body, backend) for backend in ("kernel", "reference")]
    for found, expected in zip(*outputs, strict=True):
        assert torch.equal(found.isfinite(), expected.isfinite())
        assert found[0].isfinite().all()
    gradients = [torch.autograd.grad(found.square().sum(), body.vertices)[0] for found, *_ in outputs]
    assert torch.equal(*(gradient.isfinite() for gradient in gradients))
    assert gradients[0][0].isfinite().all()


def test_threads_change_no_bit(two_threads):
    body = random_body(16, 14000)

    def results():
        outputs = posed(body, "kernel")
        return [*outputs, *torch.autograd.grad(outputs[0].square().sum(), [body.joints, body.vertices])]

    split = results()
    torch.set_num_threads(1)
    for a, b in zip(split, results(), strict=True):
        assert torch.equal(a, b)


def test_second_derivatives_are_refused():
    body = random_body(1, 5)
    (first,) = torch.autograd.grad(posed(body, "kernel")[0].square().sum(), body.rotations, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_constants_that_require_a_gradient_run_the_reference():
    body = random_body(1, 5)
    body.rest_rotations.requires_grad_()
    assert torch.autograd.grad(posed(body, "auto")[0].sum(), body.rest_rotations)[0].shape == (24, 3, 3)
    with raises(UsageError, got="rest_rotations that require a gradient"):
        posed(body, "kernel")


def test_a_translation_of_another_shape_is_refused():
    body = random_body(2, 5)
    with raises(UsageError, subject="translation", expected="(2, 3)", got="(1, 3)"):
        posed(body, "kernel", torch.zeros(1, 3))
