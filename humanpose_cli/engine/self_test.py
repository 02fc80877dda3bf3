"""A quick check that the kernels agree with the reference on this machine, for `hpc doctor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.dispatch import Backend
from humanpose_cli.engine.drawing.op import Lighting, MeshPaint, light_vertices, paint, yuv420
from humanpose_cli.engine.rasterising.op import draw_samples, interpolate, merge_meshes, rasterise
from humanpose_cli.engine.skinning.op import forward_kinematics, pose_vertices, skin_vertices
from humanpose_cli.engine.warping.op import capsule_masks, warp_parts
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

Run = Callable[[Backend, torch.device], Sequence[Tensor]]
"""Computes results of an operation with one of its implementations."""
# Largest accepted difference, relative to the largest value: float32 sums may be in another order.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class SelfTestResult:
    """The agreement of one operation's kernel with the reference on one device.

    Attributes:
        device: The name of the device.
        op: The name of the operation.
        error: The largest difference of results and gradients, relative to their largest value; inf if it did not run.
        ok: Whether the error is within tolerance.
        problem: Why the operation did not run, "" if it did.
    """

    device: str
    op: str
    error: float
    ok: bool
    problem: str = ""


def self_test(
    devices: Sequence[str] | None = None, operations: Mapping[str, Run] | None = None
) -> list[SelfTestResult]:
    """Compare the kernels of every operation with the reference on small inputs, gradients included.

    Args:
        devices: Names of devices. None means the CPU and every GPU.
        operations: Operations by name. None means the engine's.

    Returns:
        A result for each device and operation.
    """
    if devices is None:
        devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return [_compare(op, run, device) for device in devices for op, run in (operations or _OPERATIONS).items()]


def _compare(op: str, run: Run, device: str) -> SelfTestResult:
    try:
        reference, result = run("reference", torch.device(device)), run("kernel", torch.device(device))
    except Exception as problem:  # a diagnosis: whatever the device or its driver raise is the finding
        return SelfTestResult(device, op, float("inf"), False, str(problem.__cause__ or problem))
    error = max(_difference(a, b) for a, b in zip(result, reference, strict=True))
    return SelfTestResult(device, op, error, error <= _TOLERANCE)


def _difference(result: Tensor, reference: Tensor) -> float:
    scale = float(reference.abs().max().clamp_min(1e-6))
    difference = float((result - reference).abs().max()) / scale
    return difference if difference == difference else float("inf")


def _random(seed: int, device: torch.device, *shape: int) -> Tensor:
    """Draw the same random numbers on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def _with_gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    weights = [_random(100 + i, output.device, *output.shape) for i, output in enumerate(outputs)]
    return [*(o.detach() for o in outputs), *torch.autograd.grad(outputs, inputs, weights)]


def _joints(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw rotations, rest joints and scales of three bodies, which require gradients, and rest rotations."""
    joints = len(SMPL24)
    rotations = axis_angle_to_matrix(_random(1, device, 3, joints, 3)).requires_grad_()
    rest = _random(2, device, 3, joints, 3).requires_grad_()
    scales = (1 + 0.1 * _random(3, device, 3, joints)).requires_grad_()
    return rotations, rest, scales, axis_angle_to_matrix(_random(4, device, joints, 3))


def _kinematics(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    *inputs, rest_turns = _joints(device)
    rotations, rest, scales = inputs
    outputs = forward_kinematics(rotations, rest, SMPL24.parents, scales, rest_turns, backend=backend)
    return _with_gradients(outputs, inputs)


def _bones(device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw four bones for each of 5000 vertices, and their weights."""
    indices = (_random(8, device, 5000, 4).abs() * 1000).int() % len(SMPL24)
    return indices, torch.softmax(_random(9, device, 5000, 4), -1)


def _skinning(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    shapes = ((2, 5000, 3), (2, 24, 3), (2, 24, 3, 3), (2, 24, 3))
    inputs = [_random(i, device, *shape).requires_grad_() for i, shape in enumerate(shapes)]
    vertices, joints, linear, positions = inputs
    indices, weights = _bones(device)
    points = skin_vertices(vertices, joints, linear, positions, indices, weights, backend=backend)
    return _with_gradients([points], inputs)


def _posing(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    vertices, translation = _random(5, device, 1, 5000, 3).requires_grad_(), _random(6, device, 3, 3).requires_grad_()
    rotations, rest, scales, rest_turns = _joints(device)
    indices, weights = _bones(device)
    points, kinematics = pose_vertices(
        vertices, indices, weights, rotations, rest, SMPL24.parents, scales, rest_turns, translation, backend=backend
    )
    return _with_gradients([points, *kinematics], [vertices, rotations, rest, scales, translation])


def _scene(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    vertices = _random(1, device, 2, 120, 3) + torch.tensor((0.0, 0.0, 2.0), device=device)  # some behind the camera
    faces = torch.arange(120, dtype=torch.int32, device=device).view(-1, 3)
    return vertices, faces, torch.full((2,), 90.0, device=device), torch.full((2, 2), 45.0, device=device)


def _rasterising(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    vertices, faces, focal, centre = _scene(device)
    face, barycentrics, depth = rasterise(vertices, faces, focal, centre, (80, 90), backend=backend)
    return face.float(), barycentrics, torch.where(depth.isfinite(), depth, torch.zeros_like(depth))


def _interpolating(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    vertices, faces, focal, centre = _scene(device)
    raster = rasterise(vertices, faces, focal, centre, (80, 90), backend="reference")
    return [interpolate(raster, faces, _random(5, device, 2, 120, 5), backend=backend)]


def _lighting(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    vertices, faces, *_ = _scene(device)
    return [light_vertices(vertices[0], faces, Lighting(), backend=backend)]


def _painting(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    vertices, faces, focal, centre = _scene(device)
    vertices = vertices[:1] + torch.tensor((0.0, 0.0, 30.0), device=device)  # far: samples are nearly their mean
    image = draw_samples(vertices, faces, 10 * focal[:1], centre[:1], (80, 90), backend=backend)
    target = torch.full((80, 90, 3), 128, dtype=torch.uint8, device=device)
    light = MeshPaint(
        torch.sigmoid(_random(17, device, 120)), (0.3, 0.5, 0.8), torch.ones(120, dtype=torch.bool, device=device)
    )
    paint(image, merge_meshes([vertices], [faces]), [light], target, opacity=0.7, stripe=3)
    return [target.float().mean((0, 1))]  # a pixel may differ by one level


def _converting(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    return [yuv420((80 * _random(16, device, 40, 60, 3) + 128).byte(), backend=backend).float()]


def _capsules(device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw eight capsules of four parts in each of two volumes of 12 × 16 × 20."""
    extent = torch.tensor((20.0, 16.0, 12.0) * 2, device=device)
    ends = torch.sigmoid(_random(10, device, 2, 8, 6)) * extent
    radii = 2.5 + _random(11, device, 2, 8, 1).tanh()
    return torch.cat((ends, radii), -1), torch.arange(8, dtype=torch.int32, device=device) % 4


def _masking(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    # A soft edge: whether a voxel is inside of a hard one may hang on a rounding.
    capsules, rows = _capsules(device)
    return [capsule_masks(capsules, rows, 4, (12, 16, 20), softness=1.0, backend=backend)]


def _warping(backend: Backend, device: torch.device) -> Sequence[Tensor]:
    volume = _random(12, device, 2, 20, 12, 16, 20).requires_grad_()
    rotations = axis_angle_to_matrix(0.3 * _random(13, device, 2, 4, 3))
    transforms = torch.cat((rotations, _random(14, device, 2, 4, 3, 1)), -1).requires_grad_()
    capsules, rows = _capsules(device)
    features = warp_parts(volume, capsules, rows, transforms, softness=1.0, backend=backend)
    return _with_gradients([features], [volume, transforms])


_OPERATIONS: dict[str, Run] = {
    "forward_kinematics": _kinematics,
    "skin_vertices": _skinning,
    "pose_vertices": _posing,
    "rasterise": _rasterising,
    "interpolate": _interpolating,
    "light_vertices": _lighting,
    "paint": _painting,
    "yuv420": _converting,
    "capsule_masks": _masking,
    "warp_parts": _warping,
}
