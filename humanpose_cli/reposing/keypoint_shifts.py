"""Shifts from a target's fitted body to its detected keypoints, which the reposed body follows as well.

A fit leaves some pixels between its landmarks and the detector's. The photographed person is drawn with the same
shifts, scaled to their height, so that the result matches the target's image more closely than the fit does.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from humanpose_cli.avatar.dressing import MIN_CONFIDENCE, landmark_points, max_shift
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.fitting.stature import statures
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.pose_files import RotationTarget, Target

_CHUNK = 256  # frames posed together: bounds memory
_SMOOTHING = 2.0  # frames: standard deviation over which a motion's shifts are averaged


def keypoint_shifts(target: Target, motion: BodyParams, body: Body) -> tuple[Tensor | None, ...]:
    """Compute the shift of each landmark in each of T frames.

    The shifts of a motion are averaged over some frames, and fade where a landmark is not detected.

    Args:
        target: The target.
        motion: The target's poses on the photographed person's body, whose size the shifts have.
        body: The body model.

    Returns:
        (33, 2) float, metres in the image plane, for each frame; NaN for landmarks that are not moved. None for each
        frame if the target has no keypoints, or was fitted with another body model.
    """
    detections = target.detected if isinstance(target, RotationTarget) else None
    if not isinstance(target, RotationTarget) or detections is None or detections.body != body.name:
        return (None,) * len(motion)
    params = target.params.tensors()
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(params)).split(_CHUNK):
            chunk = params.rows(rows)
            posed_body = body.pose(chunk.rotations, chunk.betas, chunk.trans, chunk.segment_scales, vertices=False)
            parts.append(landmark_points(body, posed_body, chunk.betas))
        heights = [float(statures(body, betas)) for betas in (params.betas[:1], motion.betas[:1].to(params.betas))]
    points = torch.cat(parts)
    keypoints = torch.from_numpy(np.asarray(detections.keypoints, np.float32))
    focal = torch.from_numpy(np.asarray(detections.focal, np.float32))
    camera = Camera(focal, torch.from_numpy(np.asarray(detections.principal_point, np.float32)))
    shift = (keypoints[..., :2] - camera.project(points)) * points[..., 2:] / focal[:, None, None]
    usable = torch.isfinite(keypoints).all(-1) & (keypoints[..., 2] >= MIN_CONFIDENCE)
    usable &= (points[..., 2] > 0.1) & (shift.norm(dim=-1) < max_shift(heights[0]))
    # The photographed person may be drawn from another side, for example if the downward directions differ.
    turn = motion.rotations[:, 0].to(shift) @ params.rotations[:, 0].mT
    solid = torch.nn.functional.pad(torch.where(usable[..., None], shift, 0.0), (0, 1))
    shifts = (solid @ turn.mT)[..., :2] * (heights[1] / heights[0])
    if len(shifts) > 1:
        smooth = gaussian_filter1d(shifts.numpy(), _SMOOTHING, axis=0, mode="nearest")
        share = gaussian_filter1d(usable.numpy().astype(np.float32), _SMOOTHING, axis=0, mode="nearest")
        shifts = torch.from_numpy(smooth)
        usable = torch.from_numpy(share > 0.01)
    shifts[~usable] = torch.nan
    assert shifts.shape[1:] == (len(BLAZEPOSE33), 2)
    return tuple(shifts)
