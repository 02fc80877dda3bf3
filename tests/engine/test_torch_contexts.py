"""Every operation inside torch's other machinery: in-place changes, checkpoints, mixed precision, defaults."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.errors import raises
from helpers.skinning_cases import PARENTS, random_body
from helpers.warping_cases import random_case
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.rasterising.op import Raster, interpolate, rasterise
from humanpose_cli.engine.skinning.op import axis_angle_to_rotations, blend_shapes, forward_kinematics, pose_vertices
from humanpose_cli.engine.warping.op import capsule_masks, warp_parts

_CASE, _BODY = random_case(), random_body(2, 300)
_FACES = torch.arange(30, dtype=torch.int32).view(10, 3)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float32)


def _raster(backend: str) -> Raster:
    vertices = _random(2, 30, 3) + torch.tensor((0.0, 0.0, 3.0), dtype=torch.float32)
    focal = torch.full((2,), 20.0, dtype=torch.float32)
    return rasterise(vertices, _FACES, focal, focal[:, None].expand(-1, 2), (40, 40), backend=backend)


def _warped(volume: Tensor, backend: str, dtype: torch.dtype = torch.float32) -> Tensor:
    others = _CASE.capsules, _CASE.part_of_capsule, _CASE.target_to_source.detach()
    return warp_parts(volume.to(dtype), *others, backend=backend)


def _posed(rotations: Tensor, backend: str) -> Tensor:
    vertices, indices, weights = _BODY.vertices.detach(), _BODY.bone_indices, _BODY.bone_weights
    return pose_vertices(vertices, indices, weights, rotations, _BODY.joints.detach(), PARENTS, backend=backend)[0]


# What an operation makes of one tensor, and that tensor.
OPERATIONS: dict[str, tuple[Callable[[Tensor, str], Tensor], Tensor]] = {
    "warp_parts": (_warped, _CASE.volume.detach()),
    "warp_parts of 16 bits": (lambda v, backend: _warped(v, backend, torch.bfloat16), _CASE.volume.detach()),
    "warp_parts of nothing": (_warped, _CASE.volume.detach()[:, :0]),
    "capsule_masks": (lambda c, backend: capsule_masks(c, _CASE.part_of_capsule, 4, (5, 6, 7), backend=backend),
                      _CASE.capsules),
    "pose_vertices": (_posed, _BODY.rotations.detach()),
    "forward_kinematics": (lambda r, backend: forward_kinematics(r, _BODY.joints.detach(), PARENTS,
                                                                 backend=backend).positions, _BODY.rotations.detach()),
    "axis_angle_to_rotations": (lambda v, backend: axis_angle_to_rotations(v, backend=backend), _random(4, 3)),
    "interpolate": (lambda a, backend: interpolate(_raster(backend), _FACES, a, backend=backend), _random(2, 30, 4)),
    "blend_shapes": (lambda w, backend: blend_shapes(_random(200, 3), w, _random(20, 600)), _random(64, 20)),
}  # fmt: skip
DIFFERENTIABLE = [name for name in OPERATIONS if name not in ("capsule_masks", "interpolate")]


@pytest.fixture(params=["kernel", "reference"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def _gradient(compute: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    values = values.clone().requires_grad_()
    result = compute(values)
    result.float().square().sum().backward()
    return result.detach(), values.grad


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_results_may_be_modified(name, backend):
    """A network's ReLU may overwrite what it is given."""
    compute, values = OPERATIONS[name]
    changed = _gradient(lambda x: compute(x, backend).relu_(), values)
    for found, expected in zip(changed, _gradient(lambda x: compute(x, backend).relu(), values), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_computes_the_same_again(name, reentrant, backend):
    compute, values = OPERATIONS[name]
    expected = _gradient(lambda x: compute(x, backend), values)
    found = _gradient(lambda x: checkpoint(compute, x, backend, use_reentrant=reentrant), values)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("name", OPERATIONS)
def test_mixed_precision_rounds_no_position(name, backend):
    compute, values = OPERATIONS[name]
    expected = compute(values, backend)
    with torch.autocast("cpu", torch.bfloat16):
        found = compute(values, backend)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_torchs_defaults_do_not_matter(name, backend):
    from humanpose_cli.engine.skinning import launches

    compute, values = OPERATIONS[name]
    expected = compute(values, backend)
    launches._nothing.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(compute(values, backend), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", OPERATIONS)
def test_inference_mode_changes_no_bit(name, backend):
    compute, values = OPERATIONS[name]
    with torch.inference_mode():
        assert torch.equal(compute(values.clone(), backend), compute(values, backend))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.complex64, torch.uint16])
def test_indices_of_other_types_are_refused(dtype, backend):
    rows = torch.zeros(7, dtype=torch.int32).to(dtype)
    with raises(UsageError, subject="indices"):
        capsule_masks(_CASE.capsules, rows, 4, (2, 2, 2), backend=backend)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int64])
def test_indices_of_any_integers_do(dtype, backend):
    expected = capsule_masks(_CASE.capsules, _CASE.part_of_capsule, 4, (4, 5, 6), backend=backend)
    found = capsule_masks(_CASE.capsules, _CASE.part_of_capsule.to(dtype), 4, (4, 5, 6), backend=backend)
    assert torch.equal(found, expected)
