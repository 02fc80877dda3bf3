"""The person's own pixels, moved by the part warp at the picture's full resolution. Beyond the paper.

The feature volume is as coarse as its voxels, so whatever is finer (a print on a shirt, a face) must be made up by the
decoder; the paper names that as its limit. Colours need no learning to be moved, though: every pixel is spread along
its ray through the person, cut into parts by the same capsules, moved by the same transforms, and seen from the front
again. The decoder is given that picture at its last resolution and takes from it what fits.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from humanpose_cli.bodies.warping_parts import warping_parts
from humanpose_cli.engine.warping import capsule_masks, warp_parts
from humanpose_cli.reposing.warp3d.config import GeneratorConfig

__all__ = ["CARRIED_CHANNELS", "carried_picture"]

CARRIED_CHANNELS: Final = 5
"""Colours, how much of the ray meets the person, how much of what it meets was seen in the input."""

_NOTHING = 1e-3  # of a ray's share that is covered: less has no colour


@torch.no_grad()
def carried_picture(image: Tensor, source: Tensor, target: Tensor, config: GeneratorConfig) -> Tensor:
    """(B, 5, S, S) float32: colours −1 to 1 (0 where nothing is), share of the ray that is covered, 0 to 1, and the
    share of what it shows that was in front in the input, not behind another surface.

    image           (B, 3, S, S) −1 to 1
    source, target  (B, 19, 3) float32 joints in pixels of the volume's frame; z grows away from the camera
    """
    size = (1.0, 1.0, config.size / config.depth)
    planar = config.warping == "2d"
    parts = warping_parts(source, target, voxel_size=size, planar=planar)
    grid = (config.depth, config.size, config.size)
    volume = torch.empty(
        (len(image), CARRIED_CHANNELS, *grid), device=image.device, memory_format=torch.channels_last_3d
    )
    volume[:, :3] = (image / 2 + 0.5)[:, :, None]
    volume[:, 3] = 1
    volume[:, 4] = 1
    if not planar:
        anyone = torch.zeros_like(parts.part_of_capsule)
        person = capsule_masks(parts.capsules, anyone, 1, grid, softness=config.softness, voxel_size=size)
        volume[:, 4] = _before(person[:, 0])
    moved = warp_parts(
        volume,
        parts.capsules,
        parts.part_of_capsule,
        parts.target_to_source,
        softness=config.softness,
        planar=planar,
        voxel_size=size,
    )
    shown = (moved * _before(moved[:, 3])[:, None]).sum(2)
    covered = shown[:, 3:4]
    each = shown / covered.clamp_min(_NOTHING)
    there = covered > _NOTHING
    colours = torch.where(there, 2 * each[:, :3].clamp(0, 1) - 1, 0.0)
    return torch.cat((colours, covered.clamp(0, 1), each[:, 4:].clamp(0, 1)), 1)


def _before(solid: Tensor) -> Tensor:
    """How much of a ray is left when it reaches each voxel: (B, D, H, W) of 0 to 1 → the same."""
    left = torch.cumprod(1 - solid.clamp(0, 1), 1)
    return torch.cat((torch.ones_like(left[:, :1]), left[:, :-1]), 1)
