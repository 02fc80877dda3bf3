"""Bodies in the frames of a sequence that were not searched, interpolated between searched frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.times_between import TimesBetween
from humanpose_cli.fitting.tracks import FrameCamera


def complete_bodies(
    body: Body,
    people: Sequence[DetectedPerson],
    cameras: Sequence[FrameCamera],
    searched: Sequence[int],
    solved: KeypointFit,
) -> KeypointFit:
    """Give every row of a sequence a body, by cubic splines in world axes in frames that were not searched.

    Args:
        body: The body.
        people: N rows, sorted by track and frame. Rows of unsearched frames lie between others of their track.
        cameras: The cameras of all frames.
        searched: Rising. The M rows whose bodies are known.
        solved: The bodies of these rows.
    """
    if len(searched) == len(people):
        return solved
    keys = np.asarray(searched)
    completed = {
        name: np.empty((len(people), *values.shape[1:]), np.float32) for name, values in solved.columns.items()
    }
    for first, last in _runs(people):
        begin, end = np.searchsorted(keys, (first, last))
        run_keys = keys[begin:end]
        bodies = solved.rows(slice(begin, end))
        parts = [(run_keys, bodies)]
        if len(rows := np.setdiff1d(np.arange(first, last), run_keys)):
            key_cameras, row_cameras = ([cameras[people[row].frame] for row in part] for part in (run_keys, rows))
            parts.append((rows, _bodies_between(body, bodies, key_cameras, row_cameras)))
        for part_rows, part in parts:
            for name, values in completed.items():
                values[part_rows] = getattr(part, name)
    return KeypointFit(**completed)


def _runs(people: Sequence[DetectedPerson]) -> list[tuple[int, int]]:
    """Return the first row of each person in consecutive frames, and the row behind the last one."""
    pairs = enumerate(pairwise(people), 1)
    ends = [row for row, (a, b) in pairs if (b.track, b.frame) != (a.track, a.frame + 1)]
    return list(pairwise([0, *ends, len(people)]))


def _bodies_between(
    body: Body, bodies: KeypointFit, cameras: Sequence[FrameCamera], cameras_between: Sequence[FrameCamera]
) -> KeypointFit:
    """Interpolate the K bodies of one person to the times of N cameras in between."""
    from scipy.interpolate import CubicSpline  # not needed for photographs
    from scipy.spatial.transform import Rotation

    times = np.array([camera.time for camera in cameras])
    times_between = np.array([camera.time for camera in cameras_between])
    to_world = Rotation.from_matrix(np.stack([camera.turn.rotation for camera in cameras])).inv()
    to_camera = Rotation.from_matrix(np.stack([camera.turn.rotation for camera in cameras_between]))
    rotations = Rotation.from_rotvec(bodies.poses.reshape(-1, 3)).as_quat().reshape(len(times), -1, 4)
    rotations[:, 0] = (to_world * Rotation.from_quat(rotations[:, 0])).as_quat()
    # Each rotation has two quaternions. The one nearer to its predecessor is taken.
    signs = np.where((rotations[1:] * rotations[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    rotations[1:] *= np.cumprod(signs, axis=0)
    turns = CubicSpline(times, rotations)(times_between)
    turns[:, 0] = (to_camera * Rotation.from_quat(turns[:, 0])).as_quat()
    poses = Rotation.from_quat(turns.reshape(-1, 4)).as_rotvec().reshape(len(times_between), -1)
    # The pelvis moves in the world. It is at a constant offset from `trans`.
    pelvis = to_world.apply(bodies.joints3d[:, 0] - np.stack([camera.turn.translation for camera in cameras]))
    shifts = np.stack([camera.turn.translation for camera in cameras_between])
    pelvis = to_camera.apply(CubicSpline(times, pelvis)(times_between)) + shifts
    trans = pelvis - (bodies.joints3d[0, 0] - bodies.trans[0])
    shares = TimesBetween.at(times_between, times)
    columns = {
        name: shares.values(getattr(bodies, name))
        for name in ("betas", "segment_scales", "confidence", "joint_confidence", "reprojection_error")
    }
    matrices = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(len(poses), -1, 3, 3)
    parameters = (matrices, columns["betas"], trans, columns["segment_scales"])
    with torch.no_grad():
        posed = body.pose(*(torch.from_numpy(values).float() for values in parameters), vertices=False)
    joints = posed.joints.numpy()
    lens = Camera.stack(camera.camera for camera in cameras_between)
    computed = {"poses": poses, "trans": trans, "joints3d": joints, "joints2d": lens.project(joints)}
    return KeypointFit(**{name: values.astype(np.float32) for name, values in {**columns, **computed}.items()})
