"""Side views of the people of a fit record: upright on their ground, one view per shot."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.fitting.grounding import on_the_ground, sole_depth
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.rendering.side_view import SideView, SideViews

_BEYOND_JOINTS = 0.2  # metres that heads and hands reach beyond the joints
_DOWN = torch.tensor((0.0, 1.0, 0.0))  # in a world that stands on its ground


def side_views(body: Body, record: FitRecord) -> SideViews:
    """Place one view per shot that shows all of its people. The view stays while people and camera move."""
    grounded = on_the_ground(record, body, by_people=True)
    cameras = grounded.world_to_camera.astype(np.float64)
    to_upright = np.tile(np.eye(4), (record.frame_count, 1, 1))
    shots = np.unique(record.shot_id)
    for shot in shots:
        frames = record.shot_id == shot
        turn = _heading(cameras[frames][0]) @ cameras[frames, :3, :3].transpose(0, 2, 1)
        to_upright[frames, :3, :3] = turn
        to_upright[frames, :3, 3] = -np.einsum("fij,fj->fi", turn, cameras[frames, :3, 3])
    matrices = to_upright[record.frame_index]
    joints = np.einsum("nij,nkj->nki", matrices[:, :3, :3], record.joints3d) + matrices[:, None, :3, 3]
    views = {}
    for shot in shots.tolist():
        rows = np.flatnonzero(record.shot_id[record.frame_index] == shot)
        tracks = record.track_id[rows]
        soles = {
            track: sole_depth(grounded, rows[tracks == track], body, _DOWN) for track in np.unique(tracks).tolist()
        }
        if record.ground is not None and record.ground[record.shot_id == shot][0].any():
            soles = dict.fromkeys(soles, 0.0)  # all stand on the ground of the images, or float
        points = torch.from_numpy(joints[rows])
        views[shot] = SideView.around(points, _BEYOND_JOINTS, track_ids=tracks.tolist(), soles=soles)
    return SideViews(body.faces, to_upright, record.shot_id, views)


def _heading(world_to_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the rotation (3, 3) about the world's y axis after which a camera looks along z."""
    x, _, z = world_to_camera[2, :3] / max(float(np.linalg.norm(world_to_camera[2, [0, 2]])), 1e-9)
    return np.array([[z, 0.0, -x], [0.0, 1.0, 0.0], [x, 0.0, z]])
