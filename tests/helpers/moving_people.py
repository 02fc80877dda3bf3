"""Two people before a camera that turns and moves: the second is absent at first and in between, and has long shins."""

from __future__ import annotations

import numpy as np
import torch

from helpers.fit_values import fit_of_rows
from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import COLUMNS, ROW_COLUMNS

FRAMES = 5
PRESENT = {0: range(FRAMES), 2: (1, 3, 4)}


def moving_people() -> Fit:
    generator = np.random.default_rng(0)
    angles = np.stack([np.array([0.02, 0.3, 0.05]) * frame / FRAMES for frame in range(FRAMES)])
    cameras = np.tile(np.eye(4), (FRAMES, 1, 1))
    cameras[:, :3, :3] = axis_angle_to_matrix(torch.from_numpy(angles)).numpy()
    cameras[:, :3, 3] = np.linspace((0, 0, 0), (0.3, -0.1, 0.2), FRAMES)
    rows = [(track, frame) for track, frames in PRESENT.items() for frame in frames]
    poses = generator.normal(0, 0.25, (len(rows), 72))
    poses[:, :3] += (np.pi, 0, 0)  # upright: body axes turned into the camera's
    trans = np.array([(0.6 * track + 0.05 * frame, 0.1, 3.5) for track, frame in rows])
    shapes = {track: generator.normal(0, 1, 10) for track in PRESENT}
    scales = np.ones((len(rows), len(SMPL24)))
    scales[[track == 2 for track, _ in rows], SMPL24.index("left_knee")] = 1.2
    betas = np.array([shapes[track] for track, _ in rows])
    body = default_body()
    with torch.no_grad():
        posed = body.pose(
            axis_angle_to_matrix(torch.from_numpy(poses).float().view(len(rows), -1, 3)),
            torch.from_numpy(betas).float(),
            torch.from_numpy(trans).float(),
            torch.from_numpy(scales).float(),
            vertices=False,
        )
    return fit_of_rows(
        Fit,
        [f"{i:06d}" for i in range(FRAMES)],
        (640, 480),
        600.0,
        track_id=[track for track, _ in rows],
        frame_index=[frame for _, frame in rows],
        poses=poses,
        betas=betas,
        trans=trans,
        segment_scales=scales,
        joints3d=posed.joints.numpy(),
        boxes=np.tile((0, 0, 10, 10), (len(rows), 1)),
        principal_point=np.tile((327, 237), (FRAMES, 1)),
        world_to_camera=cameras,
        frame_rate=25.0,
    )


def world_joints(fit: Fit) -> np.ndarray:
    """(N, 24, 3) of every row, metres in the first camera's world, y up."""
    camera = fit.world_to_camera[fit.frame_index].astype(np.float64)
    points = np.einsum("nji,nkj->nki", camera[:, :3, :3], fit.joints3d - camera[:, None, :3, 3])
    return points * (1, -1, -1)


def one_frame(fit: Fit, frame: int) -> Fit:
    """The photograph of one frame."""
    fit = fit.select(fit.rows_for(frame))
    rows = {name: getattr(fit, name) for name in ROW_COLUMNS if name != "frame_index"}
    frames = {name: getattr(fit, name)[frame : frame + 1] for name in COLUMNS if name not in ROW_COLUMNS}
    return Fit.build(**rows, **frames, frame_index=np.zeros(len(fit)))
