"""Which moved part each pixel's ray meets first, and where that lies in the source: the public operation.

The parts' capsules, and plates between them (triangles as thick as capsules), stand in the frame of the source; the
maps say where they are in the target. A ray runs along z through the centre of every pixel of the target; pixel [h, w]
has its centre at (w + 0.5, h + 0.5) in the unit of the capsules. The point at which it enters the first body is found
in closed form, so there is no depth resolution. Which one is first is decided as if bodies were cones round their axes
(`geometry.capsule_rays`): parts overlap, and a round head would hide the collar below it.

`backend`: "auto" runs the Warp kernel for float32 on CPU and CUDA, else the reference in plain torch; "kernel" and
"reference" ask for one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import Backend, check_rows, check_shape, check_size, check_tensors, uses_kernel
from humanpose_cli.engine.warping.rays import reference
from humanpose_cli.errors import UsageError

__all__ = ["Surfaces", "first_surfaces"]

_KERNELS = "humanpose_cli.engine.warping.rays.kernel"


class Surfaces(NamedTuple):
    """What the rays of H × W pixels meet.

    depth    (B, H, W) z in the target at which the ray enters the first body; infinite where there is none
    point    (B, H, W, 3) that point in the source; 0 where there is none
    covered  (B, H, W) 0 to 1: how far inside the outline of the parts the ray is, over `softness`; 1 for hard ones
    """

    depth: Tensor
    point: Tensor
    covered: Tensor


@torch.no_grad()
def first_surfaces(
    capsules: Tensor,
    part_of_capsule: Tensor,
    target_to_source: Tensor,
    size: tuple[int, int],
    *,
    plates: Tensor | None = None,
    part_of_plate: Tensor | None = None,
    softness: float = 0.0,
    backend: Backend = "auto",
) -> Surfaces:
    """The first capsule or plate on each ray, of parts moved by the inverses of `target_to_source`.

    capsules          (B, K, 7) start x, y, z, end x, y, z, radius, in the source
    part_of_capsule   (K,) integer rows of the maps
    target_to_source  (B, P, 3, 4) affine maps of points
    size              (H, W) of the target
    plates            (B, F, 10) three corners and a radius, in the source; part_of_plate (F,). Their rims are open:
                      they are to lie between capsules of the same radius
    softness          width of the outline, half of it outside the radius, as that of the part masks

    Capsules, plates and maps with a number that is not finite are met nowhere. Not differentiable. UsageError for
    shapes that do not fit.
    """
    check_shape("capsules", capsules, "B", "K", 7)
    check_shape("target_to_source", target_to_source, capsules.shape[0], "P", 3, 4)
    check_shape("part_of_capsule", part_of_capsule, capsules.shape[1])
    if plates is None or part_of_plate is None:
        plates, part_of_plate = capsules.new_zeros((capsules.shape[0], 0, 10)), part_of_capsule[:0]
    check_shape("plates", plates, capsules.shape[0], "F", 10)
    check_shape("part_of_plate", part_of_plate, plates.shape[1])
    check_tensors(part_of_capsule, part_of_plate, capsules=capsules, target_to_source=target_to_source, plates=plates)
    check_rows("part_of_capsule", part_of_capsule, target_to_source.shape[1])
    check_rows("part_of_plate", part_of_plate, target_to_source.shape[1])
    height, width = check_size(size, "height", "width")
    if not (softness >= 0 and math.isfinite(softness)):
        raise UsageError("softness", "is no width", expected="a finite number ≥ 0", got=str(softness))
    unfit = "" if capsules.dtype == torch.float32 else str(capsules.dtype)
    if uses_kernel(backend, _KERNELS, capsules.device, unfit):
        from humanpose_cli.engine.warping.rays import launches

        compute = launches.surfaces
    else:
        compute = reference.surfaces
    given = capsules, part_of_capsule.int(), plates, part_of_plate.int(), target_to_source
    depth, point, covered = compute(*given, (height, width), float(softness))
    return Surfaces(depth, point, torch.where(depth < math.inf, covered, 0.0))
