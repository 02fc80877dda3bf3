"""The foreground mask that weights SSIM_fg in the warp3d paper: the projected masks of the target's parts.

The masks are those of the authors' code (MKnoche/warp3d_reposing@522e783, dataset.py `create_part_masks`, train.py
`valid_mask_to`).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.body.warping_parts import warping_parts

_VOXELS = np.array((64, 64, 32))
# Capsules that the authors draw from the other end: of the torso all but the first, and the head's.
_REVERSED = range(1, 7)


def capsule_mask(joints: ArrayLike, size: int) -> NDArray[np.bool_]:
    """Draw the mask of a pose.

    Stamps of the capsules' width are on integer voxels along the bone, up to the voxel before its end. The authors
    leave out the last row and column of the 64 and stretch the others to the image. Parts with unknown joints are left
    out.

    Args:
        joints: (19, 3) float, pixels of the volume's frame. Joints of REPOSING19.
        size: The side of the image in pixels.

    Returns:
        (size, size) bool. The mask.
    """
    pose = torch.as_tensor(np.asarray(joints, np.float64))[None]
    capsules = warping_parts(pose, pose).capsules[0].numpy()
    mask = np.zeros(_VOXELS[1::-1], bool)
    for row, capsule in enumerate(capsules):
        if not np.isfinite(capsule).all():
            continue
        start, end = capsule[:6].reshape(2, 3) * _VOXELS / size
        _draw(mask, *((end, start) if row in _REVERSED else (start, end)), capsule[6] * _VOXELS / size)
    nearest = np.arange(size) * (len(mask) - 1) // size
    return mask[nearest][:, nearest]


def _draw(mask: NDArray[np.bool_], start: NDArray, end: NDArray, half_widths: NDArray) -> None:
    """Draw a capsule in voxels as the camera views it."""
    reach = half_widths.astype(int) + 1
    # A stamp's middle is its half-width, not its middle voxel.
    x, y, z = (((np.arange(2 * r + 1) - w) / (w + 1)) ** 2 for r, w in zip(reach, half_widths, strict=True))
    stamp = y[:, None] + x + z.min() <= 1
    length = max(float(np.linalg.norm(end - start)), 1.0)
    steps = np.arange(int(length))[:, None]
    points = np.clip(np.round(start + steps * (end - start) / length).astype(int), 0, _VOXELS - 1)
    padded = np.pad(mask, reach[0])  # as far along both axes: voxels are squares in the image
    for column, row in np.unique(points[:, :2], axis=0):
        padded[row : row + len(y), column : column + len(x)] |= stamp
    mask[:] = padded[reach[0] : -reach[0], reach[0] : -reach[0]]
