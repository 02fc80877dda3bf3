"""The frame of the feature volume: joints in space → pixels of a crop, with a depth in pixels too.

For a crop of S pixels (256 in the paper, of voxels 4 × 4 × 8 pixels; other sizes alike),

    x_px = f x / z + c_x,  y_px = f y / z + c_y,  z_px = S / 2 + (z − z_root) f / z_root

with the person's own pelvis as the root: depth is measured in pixels as at the person's distance, and the person
stands in the middle of the volume, in the input and in the target alike. The volume's first corner is the origin; it
spans S pixels along each axis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from humanpose_cli.conventions import REPOSING19
from humanpose_cli.data.augmentation import Example
from humanpose_cli.errors import InputError, UsageError

__all__ = ["NEAREST", "frame_joints", "frame_of_example"]

NEAREST = 0.05
"""Metres before the camera; joints nearer than that have no place in a picture."""

_HIPS = REPOSING19.indices(("left_hip", "right_hip"))
_PELVIS = REPOSING19.index("pelvis")


def frame_joints(joints: ArrayLike, focal: float, principal_point: ArrayLike, size: int) -> NDArray[np.float32]:
    """Joints (19, 3) or (T, 19, 3) of REPOSING19 in metres, camera axes → pixels x, y, z of the frame, the same shape.

    focal, principal_point  of the crop's camera, in the crop's pixels; size of the crop's sides

    Joints that are not finite, or behind the camera, are NaN in the result; the middle of the hips stands in for an
    unknown pelvis, and where that is not known either, all of the pose is NaN. UsageError for other shapes.
    """
    points = np.asarray(joints, np.float64)
    if points.shape[-2:] != (len(REPOSING19), 3) or points.ndim not in (2, 3):
        raise UsageError("joints", "are no poses", expected="(19, 3) or (T, 19, 3)", got=str(points.shape))
    if not focal > 0 or not np.isfinite(focal):
        raise UsageError("focal", "is no focal length", expected="pixels above 0", got=str(focal))
    known = np.isfinite(points).all(-1) & (points[..., 2] > NEAREST)
    points = np.where(known[..., None], points, np.nan)
    root = points[..., _PELVIS, 2]
    root = np.where(np.isfinite(root), root, points[..., _HIPS, 2].mean(-1))[..., None]
    centre = np.asarray(principal_point, np.float64)
    pixels = focal * points[..., :2] / points[..., 2:] + centre
    depth = size / 2 + (points[..., 2] - root) * focal / root
    framed = np.concatenate((pixels, depth[..., None]), -1)
    return np.where(np.isfinite(root)[..., None], framed, np.nan).astype(np.float32)


def frame_of_example(example: Example) -> NDArray[np.float32]:
    """(19, 3) pixels of a crop's person; joints that are not labelled are NaN. InputError without such joints."""
    labelled = example.person.joints.get(REPOSING19.name)
    if labelled is None:
        raise InputError(
            example.name,
            f"has nobody with joints of {REPOSING19.name} in space",
            remedy="make its cache again, with --fits where the source has no 3-D poses",
        )
    joints = np.where(labelled[:, 3:] > 0, labelled[:, :3], np.nan)
    width, height = example.size
    if width != height:
        raise UsageError(example.name, "is no square crop", got=f"{width} × {height}")
    return frame_joints(joints, example.focal, example.principal_point, width)
