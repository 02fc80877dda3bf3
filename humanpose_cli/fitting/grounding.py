"""Fits in a world that stands on its ground, in place of the first camera's.

The tilt of a camera is unknown, unless the program that made the fit knows it. People show it: a person who stands
still is in balance (see `avatar.ground`), and soles are on the ground. This gives the way down to some degrees, while
cameras are often tilted by 15° to 50°, and the height of the camera above the soles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.avatar.ground import tilt_of, turn_between
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.evidence import joint_visibility
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.io.fit_files import FitRecord

Record = TypeVar("Record", bound=FitRecord)

_MAX_BODIES = 24  # of a shot that are measured
_MIN_VISIBILITY = 0.5  # of both ankles
_MAX_GAP = 0.15  # metres between the ground and soles that stand on it; higher people leap or stand on something
_GROUND_QUANTILE = 0.9  # of the soles' depths below the camera, because some frames are wrong and some show leaps


def on_the_ground(fit: Record, body: Body) -> Record:
    """Move a fit into a world whose y axis points down and whose ground is y = 0. Bodies and cameras stay.

    If the ground of the images is known (`FitRecord.ground`), it is used. Else each shot's first camera is above or
    below the origin. The ground is below the soles of the largest person with detected feet, or of the largest of all
    people if no feet are detected. An upright world (`FitRecord.options`) keeps its axes. Otherwise the camera counts
    as level if no feet are detected or nobody stands. Shots without people do not change.

    Args:
        fit: The fit.
        body: The body of the fit.
    """
    feet = joint_visibility(fit)[:, [SMPL24.index("left_ankle"), SMPL24.index("right_ankle")]]
    has_feet = np.min(feet, 1) > _MIN_VISIBILITY
    cameras = fit.world_to_camera.astype(np.float64)
    for shot in np.unique(fit.shot_id):
        frames = np.flatnonzero(fit.shot_id == shot)
        rows = np.flatnonzero(fit.shot_id[fit.frame_index] == shot)
        if not len(rows):
            continue
        if fit.ground is not None and (plane := fit.ground[frames[0]].astype(np.float64)).any():
            _stand(cameras, frames, -torch.from_numpy(plane[:3]), plane[3])
            continue
        with_feet = rows[has_feet[rows]]
        down = torch.tensor((0.0, 1.0, 0.0))
        if len(with_feet):
            rows = with_feet
            if not fit.options.upright:
                few = _few(with_feet)
                down = tilt_of(world_vertices(fit, few, body), torch.from_numpy(fit.joints3d[few]), body)
        largest = rows[fit.track_id[rows] == fit.select(rows).largest_track]
        _stand(cameras, frames, down.double(), sole_depth(fit, largest, body, down))
    return replace(fit, world_to_camera=cameras.astype(fit.world_to_camera.dtype))


def sole_depth(fit: FitRecord, rows: np.ndarray, body: Body, down: Tensor) -> float:
    """Measure how far the soles of a person's rows usually are along a direction (3,) of the world, metres."""
    depths = (world_vertices(fit, _few(rows), body) @ down).max(1).values
    return float(depths.quantile(_GROUND_QUANTILE))


def on_their_soles(fit: Record, soles: Mapping[int, float | None]) -> Record:
    """Move people of an image vertically onto the ground y = 0 if their soles are near it.

    Args:
        fit: A fit whose ground is y = 0.
        soles: Track to metres along the way down. None for people who do not stand.
    """
    gaps = np.array([soles.get(track) or 0.0 for track in fit.track_id.tolist()])
    gaps = np.where(np.abs(gaps) <= _MAX_GAP, gaps, 0.0)[:, None]
    shifts = -gaps * fit.world_to_camera[fit.frame_index, :3, 1]
    trans = (fit.trans + shifts).astype(np.float32)
    joints = (fit.joints3d + shifts[:, None]).astype(np.float32)
    return replace(fit, trans=trans, joints3d=joints)


def _stand(cameras: np.ndarray, frames: np.ndarray, down: Tensor, height: float) -> None:
    """Change the world of frames, in place, so that the plane down · x = height becomes its ground."""
    turn = turn_between(down, torch.tensor((0.0, 1.0, 0.0), dtype=torch.float64)).numpy()
    cameras[frames, :3, :3] = cameras[frames, :3, :3] @ turn.T
    cameras[frames, :3, 3] += height * cameras[frames, :3, 1]


def world_vertices(fit: FitRecord, rows: np.ndarray, body: Body) -> Tensor:
    """Compute the bodies (R, V, 3) of some rows, metres in world axes."""
    camera = torch.from_numpy(fit.world_to_camera[fit.frame_index[rows]].astype(np.float32))
    return (body_vertices(body, fit, rows) - camera[:, None, :3, 3]) @ camera[:, :3, :3]


def _few(rows: np.ndarray) -> np.ndarray:
    """Choose up to `_MAX_BODIES` of the rows, evenly."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, _MAX_BODIES).round().astype(int))]
