"""The part warp of warp3d: features of body parts carried from one pose to another, in a volume.

Knoche, Sárándi, Leibe 2020: Reposing Humans by Warping 3D Features, section 3.1:

    V' = maxᵢ Tᵢ(Mᵢ ⊙ V)

Every part i has a mask Mᵢ, the union of its capsules, evaluated at voxel centres, and a transform Tᵢ. Its features
Mᵢ ⊙ V are moved with trilinear interpolation, and every number of the result is the greatest of the parts':

    V'(y) = maxᵢ Σ_c w_c(Aᵢ y) Mᵢ(c) V(c)

with Aᵢ from target to source and the eight voxels c around the sample; those outside the volume count 0.

`backend`: "auto" runs the Warp kernels on CPU and CUDA, for float32 and for bfloat16 and float16 volumes, else the
reference in plain torch; "kernel" and "reference" ask for one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from humanpose_cli.engine.dispatch import Backend, check_shape, check_tensors, uses_kernel
from humanpose_cli.engine.warping import reference
from humanpose_cli.engine.warping.masks.op import check_capsules, check_widened
from humanpose_cli.errors import UsageError

__all__ = ["MOST_PARTS", "warp_parts"]

_KERNELS = "humanpose_cli.engine.warping.kernel"
# The winning part of a voxel and channel is kept in a byte.
MOST_PARTS = 254
_HALF = (torch.bfloat16, torch.float16)


def warp_parts(
    volume: Tensor,
    capsules: Tensor,
    part_of_capsule: Tensor,
    target_to_source: Tensor,
    *,
    softness: float = 0.0,
    widened: int = 0,
    planar: bool = False,
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
    backend: Backend = "auto",
) -> Tensor:
    """Moves every part's features to where the part is in the target: (B, C, D, H, W), channels-last.

    volume            (B, C, D, H, W) features in any memory format; channels-last (`torch.channels_last_3d`) is read
                      where it lies, others are copied. Voxel [d, h, w] has its centre at (w + 0.5, h + 0.5, d + 0.5).
    capsules          (B, K, 7) start x, y, z, end x, y, z, radius in the source, in units of which a voxel is
                      `voxel_size` along x, y, z (by default voxels)
    part_of_capsule   (K,) integer, 0 to P − 1: a part is the union of its capsules, P is at most 254
    target_to_source  (B, P, 3, 4) affine maps of voxel coordinates (x, y, z)
    softness          width of the masks' edge in the unit of the capsules: M = clamp((radius − distance) / softness
                      + 1/2, 0, 1); 0 for the paper's hard masks, 1 where distance ≤ radius
    widened           voxels by which every mask is wider on every side (1 in the authors' code)
    planar            the paper's ablation (section 4.3): masks projected along z and copied to all depths, every
                      slice warped by itself by rows 0, 1 and columns 0, 1, 3 of the transforms

    A part that does not reach a voxel (each of its voxels there has weight · mask 0) contributes 0, so a negative
    number only comes through where all parts reach. Where numbers tie, that 0 comes first, then the first part;
    gradients go to the winner.

    Numbers that are not finite: a capsule with one covers nothing, a part whose transform has one reaches nothing. In
    the volume they spread to the samples that read them with a weight · mask other than 0; one that is not a number
    wins over all numbers.

    Differentiable (once) to volume and target_to_source; at kinks (samples on voxel centres, ties) to the right.
    Beside the result, the kernels keep a byte for each of its numbers where a gradient may be asked for, and need
    four for each part and voxel (its mask; on the CPU only where a mask has voxels).

    The kernels' results are the same for any number of CPU threads. On CUDA the gradient to the volume is added up
    by atomics, in an order that varies from run to run, so its last bits do too.

    The numbers are float32 or float64 (reference only); a bfloat16 or float16 volume comes with float32 capsules and
    transforms, and is computed with in float32 (on the CPU through a float32 copy). UsageError for arguments that do
    not fit.
    """
    _check(volume, capsules, part_of_capsule, target_to_source, softness, voxel_size)
    check_widened(widened)
    unfit = "" if volume.dtype in (torch.float32, *_HALF) else str(volume.dtype)
    if uses_kernel(backend, _KERNELS, volume.device, unfit) and uses_kernel(
        backend, "humanpose_cli.engine.warping.masks.kernel", volume.device, unfit
    ):
        from humanpose_cli.engine.warping import autograd

        compute = autograd.warp_parts
    else:
        compute = reference.warp_parts
    part_of_capsule = part_of_capsule.int()
    return compute(
        volume,
        capsules,
        part_of_capsule,
        target_to_source,
        float(softness),
        int(widened),
        bool(planar),
        tuple(map(float, voxel_size)),
    )


def _check(
    volume: Tensor,
    capsules: Tensor,
    part_of_capsule: Tensor,
    target_to_source: Tensor,
    softness: float,
    voxel_size: Sequence[float],
) -> None:
    check_shape("volume", volume, "B", "C", "D", "H", "W")
    batch = volume.shape[0]
    check_shape("capsules", capsules, batch, "K", 7)
    check_shape("target_to_source", target_to_source, batch, "P", 3, 4)
    parts = target_to_source.shape[1]
    if parts > MOST_PARTS:
        raise UsageError("target_to_source", "has too many parts", expected=f"at most {MOST_PARTS}", got=str(parts))
    check_capsules(capsules, part_of_capsule, parts, 7, softness, voxel_size)
    if volume.dtype in _HALF:
        check_tensors(capsules=capsules, target_to_source=target_to_source)
        if capsules.dtype != torch.float32 or capsules.device != volume.device:
            raise UsageError(
                "capsules",
                "do not fit the volume",
                expected=f"torch.float32 on {volume.device}",
                got=f"{capsules.dtype} on {capsules.device}",
            )
    else:
        check_tensors(volume=volume, capsules=capsules, target_to_source=target_to_source)
