"""Volumes, capsules and transforms for the tests of the part warp."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from humanpose_cli.engine.warping.op import warp_parts


@dataclass(frozen=True)
class Case:
    """Arguments of `warp_parts`; volume and transforms require a gradient."""

    volume: Tensor
    capsules: Tensor
    part_of_capsule: Tensor
    target_to_source: Tensor

    def warped(self, backend: str, **options: Any) -> Tensor:
        return warp_parts(
            self.volume, self.capsules, self.part_of_capsule, self.target_to_source, backend=backend, **options
        )

    def to(self, dtype: torch.dtype) -> Case:
        """The same numbers in another dtype; a volume of 16 bits keeps its float32 capsules and transforms."""
        others = torch.float32 if dtype.itemsize == 2 else dtype
        return Case(
            self.volume.detach().to(dtype).requires_grad_(),
            self.capsules.to(others),
            self.part_of_capsule,
            self.target_to_source.detach().to(others).requires_grad_(),
        )


def random_case(
    batch: int = 2,
    channels: int = 5,
    size: tuple[int, int, int] = (6, 11, 9),
    *,
    parts: int = 4,
    capsules: int = 7,
    turned: float = 0.25,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Case:
    """Capsules anywhere in the volume, some of them partly outside; transforms near the identity if `turned` is 0."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    extent = torch.tensor([size[2], size[1], size[0]], dtype=torch.float32)
    start = torch.rand((batch, capsules, 3), generator=generator) * extent
    end = start + 0.3 * extent * random(batch, capsules, 3)
    radius = min(size) * (0.15 + 0.25 * torch.rand((batch, capsules, 1), generator=generator))
    linear = torch.eye(3) + turned * random(batch, parts, 3, 3)
    middle = 0.5 * extent
    offset = middle - (linear @ middle[:, None]).squeeze(-1) + 2 * turned * random(batch, parts, 3)
    return Case(
        random(batch, channels, *size).to(device).requires_grad_(),
        torch.cat((start, end, radius), -1).to(device),
        (torch.arange(capsules, dtype=torch.int32) % max(parts, 1)).to(device),
        torch.cat((linear, offset[..., None]), -1).to(device).requires_grad_(),
    )


def with_values(case: Case, **values: Tensor) -> Case:
    """The case with other tensors, detached; what required a gradient does so again."""
    made = {name: value.detach().clone().requires_grad_(name in ("volume", "target_to_source"))
            for name, value in values.items()}  # fmt: skip
    return replace(case, **made)


def outputs_and_gradients(case: Case, backend: str, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The warped volume, and a random scalar's gradients to volume and transforms."""
    warped = case.warped(backend, **options)
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(warped.shape, generator=generator).to(warped.device, warped.dtype)
    return warped, *torch.autograd.grad(warped, (case.volume, case.target_to_source), upstream)


def assert_near(found: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    """Within `tolerance` of the largest value; what is not finite is so alike."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    finite = expected.detach().abs().nan_to_num(0.0, 0.0, 0.0)
    scale = float(finite.max()) if expected.numel() else 1.0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(scale, 1e-6), equal_nan=True)


def with_half_widths(capsules: torch.Tensor) -> torch.Tensor:
    """Capsules (B, K, 7) whose radius is multiplied by 1, 1.4 and 0.6 along x, y and z: (B, K, 9)."""
    factors = torch.tensor((1.0, 1.4, 0.6), dtype=capsules.dtype, device=capsules.device)
    return torch.cat((capsules[..., :6], capsules[..., 6:] * factors), -1)
