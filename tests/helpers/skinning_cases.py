"""Random bodies for the tests of kinematics and skinning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

PARENTS = SMPL24.parents


@dataclass(frozen=True)
class Body:
    """Leaves that require a gradient, and constants."""

    rotations: Tensor
    joints: Tensor
    scales: Tensor
    rest_rotations: Tensor
    vertices: Tensor
    bone_indices: Tensor
    bone_weights: Tensor


def random_body(
    batch: int = 3,
    vertices: int = 200,
    bones: int = 4,
    *,
    joints: int = len(PARENTS),
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Body:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    return Body(
        rotations=axis_angle_to_matrix(random(batch, joints, 3)).requires_grad_(),
        joints=random(batch, joints, 3).requires_grad_(),
        scales=(1 + 0.1 * random(batch, joints)).requires_grad_(),
        rest_rotations=axis_angle_to_matrix(random(joints, 3)),
        vertices=random(batch, vertices, 3).requires_grad_(),
        bone_indices=torch.randint(joints, (vertices, bones), generator=generator, dtype=torch.int32).to(device),
        bone_weights=torch.softmax(random(vertices, bones), -1),
    )


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    """Within `tolerance` of the largest value: sums in another order round differently."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert found.device == expected.device
    scale = float(expected.detach().abs().max()) if expected.numel() else 1.0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(scale, 1e-6))
