"""Posing whole bodies in one step, by kernel and reference: values, gradients, views, degenerate bodies."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from skinning_cases import PARENTS, Body, assert_close, random_body
from torch import Tensor

from humanpose_cli.engine.skinning import forward_kinematics, pose_vertices, skin_vertices
from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix


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
    given = [body.scales] * scaled + [translation] * moved
    inputs = [body.rotations, body.joints, body.vertices, *given]
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


def test_the_reference_passes_gradcheck():
    parents = (2, 2, -1, 1, -1)
    body = random_body(2, 4, joints=5, dtype=torch.float64)

    def run(vertices, rotations, joints, scales, translation):
        found, bones = pose_vertices(
            vertices,
            body.bone_indices,
            body.bone_weights,
            rotations,
            joints,
            parents,
            scales,
            body.rest_rotations,
            translation,
            backend="reference",
        )
        return found, *bones

    assert torch.autograd.gradcheck(
        run, (body.vertices, body.rotations, body.joints, body.scales, translation_of(body))
    )


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
    with pytest.raises(UsageError, match="rest_rotations that require a gradient"):
        posed(body, "kernel")


def test_a_translation_of_another_shape_is_refused():
    body = random_body(2, 5)
    with pytest.raises(UsageError, match=r"translation: has the wrong shape, expected \(2, 3\), found \(1, 3\)"):
        posed(body, "kernel", torch.zeros(1, 3))


def test_a_hand_where_it_must_be(device):
    """A quarter turn of the root about z takes +x to +y; then everything moves by the translation."""
    body = random_body(1, 1, device=device)
    turns = torch.zeros(1, 24, 3, device=device)
    turns[0, 0, 2] = torch.pi / 2
    with torch.no_grad():
        body.rotations.copy_(axis_angle_to_matrix(turns))
        body.joints.zero_()
        body.vertices.copy_(torch.tensor([[[1.0, 0.0, 0.0]]]))
    moved = posed(body, "kernel", torch.tensor([[0.0, 0.0, 2.0]], device=device), scaled=False, turned=False)[0]
    torch.testing.assert_close(moved.cpu(), torch.tensor([[[0.0, 1.0, 2.0]]]), atol=1e-6, rtol=0)
