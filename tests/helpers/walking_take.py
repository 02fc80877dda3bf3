"""The walking person before two cameras: a take whose bodies may be farther away than its keypoints show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from helpers.walking_person import CAMERA, Walk
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.fitting.result import Fit, FrameSource
from humanpose_cli.io.take_views import TakeViews

_CENTRE = np.array((0.0, 0.0, 3.2))  # metres, where the person walks

TURN = np.eye(4)
"""Axes of the first camera to those of the second, which looks at the same place from the right."""
TURN[:3, :3] = Rotation.from_euler("y", 80, degrees=True).as_matrix()
TURN[:3, 3] = _CENTRE - TURN[:3, :3] @ _CENTRE


def walking_take(walk: Walk, farther: float = 0.0) -> Fit:
    """The walk as two cameras film it at once, which no network sees: frames are black, keypoints are the true ones.

    farther  share of the depth that the bodies are farther away than the keypoints show
    """
    moved = walk.fit(trans=walk.trans * (1 + farther))
    true, count = walk.fit(), len(walk.frames)
    with torch.no_grad():
        posed = walk.body.pose(walk.rotations, torch.zeros(count, 10), walk.trans)
        landmarks = walk.body.pose_landmarks("blazepose33", posed, torch.zeros(count, 10)).double().numpy()
    keypoints, boxes = [], []
    for matrix in (np.eye(4), TURN):
        pixels = CAMERA.project(landmarks @ matrix[:3, :3].T + matrix[:3, 3])
        keypoints.append(np.concatenate((pixels, np.ones((count, len(BLAZEPOSE33), 1))), 2))
        boxes.append(np.concatenate((pixels.min(1), pixels.max(1)), 1))
    views = TakeViews.build(
        names=["front.mp4", "right.mp4"],
        image_size=[CAMERA.size] * 2,
        focal=[CAMERA.focal] * 2,
        principal_point=[CAMERA.principal_point] * 2,
        from_first=np.stack((np.eye(4), TURN)),
        offset=[0.0, 0.0],
        frame=np.tile(np.arange(count), (2, 1)),
        frame_names=np.tile(true.frame_names, (2, 1)),
        keypoints2d=keypoints,
        boxes=boxes,
        reprojection_error=np.zeros((2, count)),
        weight=np.ones((2, count)),
    )
    sources = tuple(FrameSource(array=np.zeros_like(walk.frames)) for _ in range(2))
    return replace(moved, views=views, sources=sources, model=walk.body)
