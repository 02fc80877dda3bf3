"""The kernels of kinematics and skinning against the reference: values, gradients, views, threads, bad numbers."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.errors import raises
from helpers.skinning_cases import PARENTS, Body, assert_close, random_body
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine import launching
from humanpose_cli.engine.skinning.op import forward_kinematics, skin_vertices


def posed(body: Body, backend: str, *, scaled=True, turned=True, absolute=False, vertices: Tensor | None = None):
    """Every output of both operations."""
    bones = forward_kinematics(
        body.rotations,
        body.joints,
        PARENTS,
        body.scales if scaled else None,
        body.rest_rotations if turned else None,
        absolute=absolute,
        backend=backend,
    )
    skinned = skin_vertices(
        body.vertices if vertices is None else vertices,
        body.joints,
        bones.linear,
        bones.positions,
        body.bone_indices,
        body.bone_weights,
        backend=backend,
    )
    return (*bones, skinned)


def assert_same(body: Body, inputs: list[Tensor], tolerance: float = 2e-5, **options) -> None:
    """Outputs of kernel and reference agree, and so do the gradients to `inputs`."""
    found, expected = posed(body, "kernel", **options), posed(body, "reference", **options)
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(e.shape, generator=generator).to(e.device) for e in expected]
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, tolerance)
    if inputs:
        gradients = torch.autograd.grad(found, inputs, upstream)
        for a, b in zip(gradients, torch.autograd.grad(expected, inputs, upstream), strict=True):
            assert_close(a, b, tolerance)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("scaled", "turned"), [(True, True), (False, True), (True, False), (False, False)])
def test_agrees_with_the_reference(device, scaled, turned, absolute):
    body = random_body(device=device)
    inputs = [body.rotations, body.joints, body.vertices, *([body.scales] if scaled else [])]
    assert_same(body, inputs, scaled=scaled, turned=turned, absolute=absolute)


@pytest.mark.parametrize(("batch", "vertices"), [(0, 5), (3, 0), (0, 0)])
def test_empty_batches_give_empty_results_and_zero_gradients(device, batch, vertices):
    body = random_body(batch, vertices, device=device)
    assert_same(body, [body.rotations, body.joints, body.vertices])


@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=4)))
def test_every_combination_of_needed_gradients(device, needed):
    body = random_body(2, 30, device=device)
    leaves = [body.rotations, body.joints, body.scales, body.vertices]
    for leaf, need in zip(leaves, needed, strict=True):
        leaf.requires_grad_(need)
    if not any(needed):
        assert not any(output.requires_grad for output in posed(body, "kernel"))
    inputs = [leaf for leaf, need in zip(leaves, needed, strict=True) if need]
    found, expected = posed(body, "kernel")[-1].sum(), posed(body, "reference")[-1].sum()
    if inputs:
        gradients = torch.autograd.grad(found, inputs)
        for a, b in zip(gradients, torch.autograd.grad(expected, inputs), strict=True):
            assert_close(a, b)


def test_each_input_of_skinning_has_its_gradient(device):
    body = random_body(2, 40, device=device)
    bones = [output.detach() for output in posed(body, "reference")[:3]]
    inputs = [t.detach().requires_grad_() for t in (body.vertices, body.joints, bones[1], bones[2])]
    upstream = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(2)).to(device)
    for one in inputs:
        gradients = [
            torch.autograd.grad(
                skin_vertices(*inputs, body.bone_indices, body.bone_weights, backend=backend), one, upstream
            )[0]
            for backend in ("kernel", "reference")
        ]
        assert_close(*gradients)


def test_takes_views_of_any_stride(device):
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
    for a, b in zip(posed(apart, "kernel"), posed(body, "kernel"), strict=True):
        assert_close(a, b, 0)
    assert_same(apart, [apart.rotations, apart.joints, apart.scales, apart.vertices])
    expanded = body.joints.detach()[:1].requires_grad_()
    repeated = Body(**{**vars(body), "joints": expanded.expand(4, -1, -1)})
    assert_same(repeated, [expanded, body.rotations])


def test_views_with_complete_vectors_are_not_copied():
    from humanpose_cli.engine.skinning import launches

    launching.start()
    shared = torch.randn(1, 50, 3).expand(9, -1, -1)
    every_other = torch.randn(8, 24, 3, 3)[::2, ::3]
    assert launches._vectors(shared)[0] is shared
    assert launches._matrices(every_other)[0] is every_other


def test_gradients_may_come_from_expanded_tensors(device):
    body = random_body(2, 30, device=device)
    for backend in ("kernel", "reference"):
        torch.stack([output.sum() for output in posed(body, backend)]).sum().backward()
    # Accumulated twice the same: backends agree where the halves do.
    total = body.vertices.grad
    alone = torch.autograd.grad(posed(body, "reference")[-1].sum(), body.vertices)[0]
    assert_close(total, 2 * alone)


def test_huge_and_tiny_scales(device):
    body = random_body(2, 30, device=device)
    with torch.no_grad():
        body.scales[0], body.scales[1] = 1e-3, 1e3
    assert_same(body, [body.rotations, body.joints, body.scales, body.vertices])


def test_bodies_do_not_depend_on_their_batch():
    body = random_body(5, 3000)
    together = posed(body, "kernel")
    alone = Body(**{**vars(body), **{n: getattr(body, n)[3:4] for n in ("rotations", "joints", "scales", "vertices")}})
    for a, b in zip(posed(alone, "kernel"), together, strict=True):
        assert torch.equal(a[0], b[3])


def test_sums_sorted_by_bone_agree_with_those_in_vertex_order(monkeypatch):
    """What CUDA runs, on the CPU: one vertex a thread, and bones' sums shared by lanes."""
    from humanpose_cli.engine.skinning import launches

    body = random_body(3, 500)
    bones = launches.Bones(body.bone_indices, body.bone_weights)
    saved = (body.vertices.detach(), torch.randn(3, 24, 16), bones)
    grad = torch.randn(3, 500, 3, generator=torch.Generator().manual_seed(5))
    launching.start()
    to_vertices, to_maps = launches._skin_adjoint(*saved, grad, True, True)
    monkeypatch.setattr(launches, "_on_cpu", lambda device: False)
    monkeypatch.setattr(
        launches, "launch", lambda k, n, a, device, cost=0: launching.launch(k, n, a, saved[0].device, 0)
    )
    cuda_vertices, cuda_maps = launches._skin_adjoint(*saved, grad, True, True)
    assert cuda_maps.shape == (3, 1, 24, 16)
    assert torch.equal(cuda_vertices, to_vertices)
    assert_close(cuda_maps.sum(1), to_maps.sum(1))


@pytest.mark.parametrize("absolute", [False, True])
def test_lanes_of_a_body_meet_only_between_levels(monkeypatch, absolute):
    """What CUDA runs, on the CPU: 32 threads a body, each level a launch of its own, its last thread first."""
    from humanpose_cli.engine.skinning import kernel, launches

    body, cpu, launched = random_body(2, 30), torch.device("cpu"), []

    def by_level(kernel_, size, arguments, device, cost=0):
        if kernel_ not in (kernel.pose_joints, kernel.pose_joints_adjoint):
            launching.launch(kernel_, size, arguments, cpu)
            return
        (starts, _), levels = arguments[6], range(len(arguments[6][0]) - 1)
        launched.append((arguments[0], size))
        for level in levels if kernel_ is kernel.pose_joints else reversed(levels):
            of_level = [*arguments[:6], launching.plain(starts[level : level + 2]), *arguments[7:]]
            for thread in reversed(range(size)):
                launching._run(kernel_, thread, thread + 1, of_level, cpu, None)

    launching.start()
    monkeypatch.setattr(launches, "_on_cpu", lambda device: False)
    monkeypatch.setattr(launches, "launch", by_level)
    assert_same(body, [body.rotations, body.joints, body.scales, body.vertices], absolute=absolute)
    assert launched == [(32, 64)] * 2


def test_other_precisions_run_the_reference_or_are_refused():
    body = random_body(1, 5, dtype=torch.float64)
    assert posed(body, "auto")[-1].dtype == torch.float64
    with raises(UsageError, expected="float32 on CPU or CUDA", got="torch.float64"):
        posed(body, "kernel")


def test_gradients_to_weights_run_the_reference_or_are_refused():
    body = random_body(1, 5)
    body.bone_weights.requires_grad_()
    assert torch.autograd.grad(posed(body, "auto")[-1].sum(), body.bone_weights)[0].shape == (5, 4)
    with raises(UsageError, got="bone_weights that require a gradient"):
        posed(body, "kernel")
    with torch.no_grad():
        posed(body, "kernel")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_runs_on_torchs_current_stream():
    body = random_body(64, 7000, device="cuda")
    expected = posed(body, "reference")[-1]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = body.rotations * 1.0
        torch.cuda._sleep(20_000_000)  # the kernel must wait for what the stream does before it
        moved = Body(**{**vars(body), "rotations": late})
        found = posed(moved, "kernel")[-1]
    stream.synchronize()
    assert_close(found, expected)
