"""The person's own pixels, moved by the part warp's transforms at the picture's full resolution. Beyond the paper.

The feature volume is as coarse as its voxels, so whatever is finer (a print on a shirt, a face) must be made up by the
decoder; the paper names that as its limit. Colours need no learning to be moved, though: the capsules that cut the
volume into parts are solid bodies, and the transforms that move the parts move them too. A ray of every target pixel
is followed to the first moved capsule; where it meets that, the inverse transform tells the place in the input, and the
input's pixel there is the colour, on whichever side of the limb that is. The decoder is given that picture at its last
resolution and takes from it what fits.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from humanpose_cli.bodies.warping_parts import WarpingParts
from humanpose_cli.engine.warping import first_surfaces
from humanpose_cli.engine.warping.rays.op import Surfaces
from humanpose_cli.geometry.capsules import segment_distances_squared
from humanpose_cli.reposing.warp3d.config import GeneratorConfig

__all__ = ["CARRIED_CHANNELS", "carried_picture"]

CARRIED_CHANNELS: Final = 5
"""Colours, how much of the pixel meets the person, how much of what it meets was seen in the input."""

_THICK = 1 / 32  # of the picture's side: what lies so far behind the input's front was not seen
_FAR = 1e6


@torch.no_grad()
def carried_picture(
    image: Tensor, parts: WarpingParts, config: GeneratorConfig, person: Tensor | None = None
) -> Tensor:
    """(B, 5, S, S) float32: colours −1 to 1 (0 where nobody is), how much of the person the pixel shows, 0 to 1 across
    an outline as soft as the part masks', and how surely that was in front in the input, 0 to 1.

    image   (B, 3, S, S) −1 to 1
    parts   of float32 joints in pixels of the volume's frame, planar where `config.warping` is; z grows away from the
            camera
    person  (B, 1, S, S) 0 to 1 where the input shows the person: pixels elsewhere are not carried; None: not known
    """
    planar = config.warping == "2d"
    if planar:
        surface = _flat_surfaces(parts, config.size, config.softness)
    else:
        surface = _cast(parts, parts.target_to_source, config)
    places = 2 * surface.point[..., :2] / config.size - 1
    colours = grid_sample(image.float(), places, "bilinear", "border", align_corners=False)
    seen = torch.ones_like(surface.depth)
    if not planar:
        still = torch.eye(3, 4, device=image.device).expand_as(parts.target_to_source)
        front = _cast(parts, still, config).depth[:, None].clamp_max(_FAR)
        behind = surface.point[..., 2] - grid_sample(front, places, "nearest", "border", align_corners=False)[:, 0]
        seen = (1 - behind / (_THICK * config.size)).clamp(0, 1)
    covered = surface.covered[:, None]
    if person is not None:
        own = grid_sample(person.float(), places, "bilinear", "zeros", align_corners=False)
        colours, covered = colours * own, covered * own
    shown = torch.cat((colours, covered, seen[:, None]), 1)
    return torch.where((surface.depth < math.inf)[:, None], shown, 0.0)


def _cast(parts: WarpingParts, target_to_source: Tensor, config: GeneratorConfig) -> Surfaces:
    return first_surfaces(
        parts.capsules,
        parts.part_of_capsule,
        target_to_source,
        (config.size, config.size),
        softness=config.softness,
        plates=parts.plates,
        part_of_plate=parts.part_of_plate,
    )


def _flat_surfaces(parts: WarpingParts, size: int, softness: float) -> Surfaces:
    """Without depth: of the parts whose flat capsules hold a pixel, the one that it lies deepest in."""
    pixels = torch.arange(size, device=parts.capsules.device) + 0.5
    rows, columns = pixels[:, None], pixels[None, :]
    deepest = parts.capsules.new_zeros((len(parts.capsules), size, size))
    point = parts.capsules.new_zeros((*deepest.shape, 3))
    for capsule, part in enumerate(parts.part_of_capsule.tolist()):
        # (2, B, 1, 1) columns of the part's map
        x, y, _, offset = parts.target_to_source[:, part, :2].permute(2, 1, 0)[..., None, None]
        place = (x * columns + y * rows + offset).movedim(0, -1)
        start, end = (parts.capsules[:, capsule, None, None, i : i + 2] for i in (0, 3))
        reach = parts.capsules[:, capsule, 6, None, None] + softness / 2
        within = reach - segment_distances_squared(place, start, end).sqrt()
        better = within > deepest
        deepest = torch.where(better, within, deepest)
        point[..., :2] = torch.where(better[..., None], place, point[..., :2])
    covered = (deepest / softness).clamp(0, 1) if softness else (deepest > 0).float()
    return Surfaces(torch.where(deepest > 0, 0.0, math.inf), point, covered)
