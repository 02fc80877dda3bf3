"""First surfaces through the kernel; same signature as in `reference.py`."""

from __future__ import annotations

import math

from torch import Tensor

from humanpose_cli.engine.launching import launch, plain
from humanpose_cli.engine.warping.rays import kernel
from humanpose_cli.engine.warping.rays.reference import ALIKE

__all__ = ["surfaces"]

# Nanoseconds that a row's rays take one CPU thread with one capsule.
_CAPSULE_COST = 60


def surfaces(
    capsules: Tensor,
    part_of_capsule: Tensor,
    plates: Tensor,
    part_of_plate: Tensor,
    target_to_source: Tensor,
    size: tuple[int, int],
    softness: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """depth (B, H, W), point (B, H, W, 3), covered (B, H, W)."""
    (batch, count), (height, width), device = capsules.shape[:2], size, capsules.device
    order, depth = (capsules.new_full((batch, height, width), math.inf) for _ in range(2))
    point, covered = capsules.new_zeros((batch, height, width, 3)), capsules.new_zeros((batch, height, width))
    if depth.numel() and (capsules.numel() or plates.numel()):
        columns = width if device.type == "cpu" else 1
        blocks = batch * height * -(-width // columns)
        arguments = [
            *(columns, target_to_source.shape[1], height, width),
            plain(capsules.contiguous()),
            plain(part_of_capsule.contiguous()),
            plain(plates.contiguous()),
            plain(part_of_plate.contiguous()),
            plain(target_to_source.contiguous().view(-1)),
            softness,
            ALIKE,
            *(plain(made.view(-1)) for made in (order, depth, point, covered)),
        ]
        launch(kernel.follow_rays, blocks, arguments, device, blocks * (count + plates.shape[1]) * _CAPSULE_COST)
    return depth, point, covered
