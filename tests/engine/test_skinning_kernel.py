"""The kernels of kinematics and skinning against the reference, in two operations and in one: values, gradients, views,
threads, bad numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from helpers.errors import raises
from helpers.skinning_cases import PARENTS, Body, assert_close, random_body
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine import launching
from humanpose_cli.engine.skinning import kernel, launches
from humanpose_cli.engine.skinning.op import forward_kinematics, pose_vertices, skin_vertices

UNUSED = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}


@pytest.fixture(params=["one", "two"])
def operations(request) -> str:
    """Whether bodies are posed by `pose_vertices`, or by kinematics and skinning one after the other."""
    return request.param


def translation_of(body: Body) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(len(body.joints), 3, generator=generator).to(body.joints).requires_grad_()


def posed(body: Body, backend: str, operations: str, translation=None, *, scaled=True, turned=True, absolute=False):
    """Every output: vertices, rotations, linear, positions."""
    skin = body.bone_indices, body.bone_weights
    tree = (
        body.rotations,
        body.joints,
        PARENTS,
        body.scales if scaled else None,
        body.rest_rotations if turned else None,
    )
    options = {"absolute": absolute, "backend": backend}
    if operations == "one":
        vertices, bones = pose_vertices(body.vertices, *skin, *tree, translation, **options)
        return vertices, *bones
    bones = forward_kinematics(*tree, **options)
    return skin_vertices(body.vertices, body.joints, bones.linear, bones.positions, *skin, backend=backend), *bones


def assert_same(body: Body, inputs: list[Tensor], operations: str, translation=None, **options) -> None:
    """Outputs of kernel and reference agree, and so do the gradients to `inputs` of all outputs and of each alone."""
    found, expected = (posed(body, backend, operations, translation, **options) for backend in ("kernel", "reference"))
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(e.shape, generator=generator).to(e.device) for e in expected]
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    for chosen in (slice(None), *(slice(i, i + 1) for i in range(4))):
        wanted = torch.autograd.grad(expected[chosen], inputs, upstream[chosen], **UNUSED)
        gradients = torch.autograd.grad(found[chosen], inputs, upstream[chosen], **UNUSED)
        for a, b in zip(gradients, wanted, strict=True):
            assert_close(a, b)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("scaled", "turned"), list(itertools.product([True, False], repeat=2)))
def test_agrees_with_the_reference(device, operations, scaled, turned, absolute):
    body = random_body(device=device)
    inputs = [body.rotations, body.joints, body.vertices, *([body.scales] * scaled)]
    assert_same(body, inputs, operations, scaled=scaled, turned=turned, absolute=absolute)


@pytest.mark.parametrize(("batch", "vertices"), [(0, 5), (3, 0), (0, 0), (1, 1), (1, 5000), (7, 2049)])
def test_agrees_at_every_size(device, batch, vertices):
    body = random_body(batch, vertices, device=device)
    translation = translation_of(body)
    assert_same(body, [body.rotations, body.joints, body.vertices], "two")
    assert_same(body, [body.rotations, body.joints, body.vertices, translation], "one", translation)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("axis_angles", [False, True])
@pytest.mark.parametrize(("features", "alike"), [(True, False), (True, True), (False, False), (False, True)])
@pytest.mark.parametrize("batch", [3, 0])
def test_shaped_bodies_agree_with_the_reference(device, path, batch, absolute, axis_angles, features, alike):
    body, count = random_body(batch, device=device), len(PARENTS)
    generator = torch.Generator().manual_seed(6)
    sizes = (1 if alike else batch, 5), (5 + 9 * (count - 1) * features, 600), (5, count, 3), (batch, count, 3)
    betas, directions, joint_directions, turns = (torch.randn(n, generator=generator).to(device) for n in sizes)
    rotations = turns.requires_grad_() if axis_angles else body.rotations
    template, joints = (t[0].detach() for t in (random_body().vertices.to(device), random_body().joints.to(device)))
    inputs = [betas.requires_grad_(), rotations, body.scales, translation_of(body)]

    def run(backend):
        points, bones = pose_vertices(
            *(template, body.bone_indices, body.bone_weights, rotations, joints),
            *(PARENTS, body.scales, body.rest_rotations, inputs[3]),
            betas=betas, directions=0.1 * directions, joint_directions=joint_directions,
            absolute=absolute, backend=backend,
        )  # fmt: skip
        return points, *bones

    found, expected = run("kernel"), run("reference")
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    upstream = [torch.randn(e.shape, generator=generator).to(device) for e in expected]
    for chosen in (slice(None), *(slice(i, i + 1) for i in range(5))):
        wanted = torch.autograd.grad(expected[chosen], inputs, upstream[chosen], **UNUSED)
        for a, b in zip(torch.autograd.grad(found[chosen], inputs, upstream[chosen], **UNUSED), wanted, strict=True):
            assert_close(a, b)


@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=5)))
def test_every_combination_of_needed_gradients(device, operations, needed):
    body = random_body(2, 30, device=device)
    translation = translation_of(body)
    leaves = [body.rotations, body.joints, body.scales, body.vertices]
    leaves += [translation] if operations == "one" else []
    for leaf, need in zip(leaves, needed, strict=False):
        leaf.requires_grad_(need)
    found, expected = (posed(body, backend, operations, translation) for backend in ("kernel", "reference"))
    inputs = [leaf for leaf in leaves if leaf.requires_grad]
    assert any(output.requires_grad for output in found) == bool(inputs)
    if inputs:
        gradients = torch.autograd.grad(found[0].square().sum(), inputs)
        for a, b in zip(gradients, torch.autograd.grad(expected[0].square().sum(), inputs), strict=True):
            assert_close(a, b)


def test_takes_views_of_any_stride(device, operations):
    body = random_body(4, 60, device=device)
    generator = torch.Generator().manual_seed(3)

    def view(tensor: Tensor) -> Tensor:
        """The same numbers, each dimension reversed in memory and with gaps."""
        spaced = torch.randn([2 * n for n in reversed(tensor.shape)], generator=generator).to(device)
        result = spaced.permute(*reversed(range(tensor.ndim)))[tuple(slice(None, None, 2) for _ in tensor.shape)]
        result.copy_(tensor.detach())
        assert not result.is_contiguous()
        return result.requires_grad_()

    apart = Body(
        *(view(t) for t in (body.rotations, body.joints, body.scales)),
        view(body.rest_rotations).detach(),
        view(body.vertices),
        body.bone_indices.mT.contiguous().mT,
        body.bone_weights.mT.contiguous().mT,
    )
    for a, b in zip(posed(apart, "kernel", operations), posed(body, "kernel", operations), strict=True):
        assert_close(a, b, 0)
    assert_same(apart, [apart.rotations, apart.joints, apart.scales, apart.vertices], operations)
    one, shared = (t.detach()[:1].requires_grad_() for t in (body.joints, body.vertices))
    assert_same(replace(body, joints=one.expand(4, -1, -1), vertices=shared), [one, shared, body.rotations], operations)


def test_gradients_may_come_from_expanded_tensors(device, operations):
    body = random_body(2, 30, device=device)
    for backend in ("kernel", "reference"):
        torch.stack([output.sum() for output in posed(body, backend, operations)]).sum().backward()
    # Accumulated twice the same: backends agree where the halves do.
    alone = torch.autograd.grad(posed(body, "reference", operations)[0].sum(), body.vertices)[0]
    assert_close(body.vertices.grad, 2 * alone)


@pytest.mark.parametrize("case", ["identity", "zero lengths", "coincident joints", "no weights", "one bone", "scales"])
def test_degenerate_bodies(device, operations, case):
    body = random_body(2, 50, device=device)
    with torch.no_grad():
        if case == "identity":
            body.rotations.copy_(torch.eye(3))
        elif case == "zero lengths":
            for child in (4, 7, 20):
                body.joints[:, child] = body.joints[:, PARENTS[child]]
        elif case == "coincident joints":
            body.joints.copy_(body.joints[:, :1])
        elif case == "no weights":
            body.bone_weights.zero_()
        elif case == "one bone":
            body.bone_indices.fill_(3)
        else:
            body.scales[0], body.scales[1] = 1e-3, 1e3
    assert_same(body, [body.rotations, body.joints, body.scales, body.vertices], operations)
    if case == "identity":
        unchanged = posed(body, "kernel", operations, scaled=False, turned=False)[0]
        assert_close(unchanged, body.vertices, 2e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_stay_with_their_body(device, value):
    body = random_body(3, 50, device=device)
    with torch.no_grad():
        body.rotations[1, 16] = value
        body.vertices[2, 7] = value
    outputs = [posed(body, backend, "one") for backend in ("kernel", "reference")]
    for found, expected in zip(*outputs, strict=True):
        assert torch.equal(found.isfinite(), expected.isfinite())
        assert found[0].isfinite().all()
    gradients = [torch.autograd.grad(found.square().sum(), body.vertices)[0] for found, *_ in outputs]
    assert torch.equal(*(gradient.isfinite() for gradient in gradients))
    assert gradients[0][0].isfinite().all()


def test_bodies_do_not_depend_on_their_batch(operations):
    body = random_body(5, 3000)
    names = ("rotations", "joints", "scales", "vertices")
    alone = replace(body, **{name: getattr(body, name)[3:4] for name in names})
    for a, b in zip(posed(alone, "kernel", operations), posed(body, "kernel", operations), strict=True):
        assert torch.equal(a[0], b[3])


def test_threads_change_no_bit(two_threads):
    body = random_body(16, 14000)

    def results():
        outputs = posed(body, "kernel", "one")
        return [*outputs, *torch.autograd.grad(outputs[0].square().sum(), [body.joints, body.vertices])]

    split = results()
    torch.set_num_threads(1)
    for a, b in zip(split, results(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("absolute", [False, True])
def test_lanes_of_a_body_meet_only_between_levels(monkeypatch, absolute):
    """What CUDA runs, on the CPU: 32 threads a body, each level a launch of its own, its last thread first."""
    body, cpu, launched = random_body(2, 30), torch.device("cpu"), []

    def by_level(kernel_, size, arguments, device, cost=0):
        if kernel_ not in (kernel.pose_joints, kernel.pose_joints_adjoint):
            launching.launch(kernel_, size, arguments, cpu)
            return
        (tree, _), begin = arguments[2].array, 4 * len(PARENTS) + 1
        launched.append((arguments[0], size))
        levels = range(begin, len(tree) - 1)
        for level in levels if kernel_ is kernel.pose_joints else reversed(levels):
            one = torch.cat((tree[:begin], tree[level : level + 2]))
            of_level = [*arguments[:2], launching.scalars(one), *arguments[3:]]
            for thread in reversed(range(size)):
                launching._run(kernel_, thread, thread + 1, of_level, cpu, None)

    launching.start()
    monkeypatch.setattr(launches, "on_cpu", lambda device: False)
    monkeypatch.setattr(launches, "launch", by_level)
    assert_same(body, [body.rotations, body.joints, body.scales, body.vertices], "two", absolute=absolute)
    assert set(launched) == {(32, 64)}


def test_what_kernels_do_not_take_runs_the_reference_or_is_refused(operations):
    double = random_body(1, 5, dtype=torch.float64)
    assert posed(double, "auto", operations)[0].dtype == torch.float64
    with raises(UsageError, expected="float32 on CPU or CUDA", got="torch.float64"):
        posed(double, "kernel", operations)
    for name in ("bone_weights", "rest_rotations"):
        body = random_body(1, 5)
        constant = getattr(body, name).requires_grad_()
        assert torch.autograd.grad(posed(body, "auto", operations)[0].sum(), constant)[0].shape == constant.shape
        with raises(UsageError, got=f"{name} that require a gradient"):
            posed(body, "kernel", operations)
        with torch.no_grad():
            posed(body, "kernel", operations)


def test_second_derivatives_are_refused(operations):
    body = random_body(1, 5)
    first = torch.autograd.grad(posed(body, "kernel", operations)[0].square().sum(), body.rotations, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first[0].sum().backward()


def test_a_translation_of_another_shape_is_refused():
    with raises(UsageError, subject="translation", expected="(2, 3)", got="(1, 3)"):
        posed(random_body(2, 5), "kernel", "one", torch.zeros(1, 3))
