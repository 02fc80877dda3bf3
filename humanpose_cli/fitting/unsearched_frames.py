"""Bodies in the frames of a sequence that were not searched for people, between those of the frames that were."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

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
    """Give every row of a sequence a body, those of unsearched frames by cubic splines in world axes.

    Args:
        people: N rows, sorted by track and frame; those of unsearched frames lie between others of their track.
        cameras: Of all frames.
        searched: Numbers of the M rows that `solved` has the bodies of, rising.
    """
    if len(searched) == len(people):
        return solved
    keys = np.asarray(searched)
    completed = {name: np.empty((len(people), *values.shape[1:]), np.float32) for name, values in vars(solved).items()}
    for first, last in _runs(people):
        begin, end = np.searchsorted(keys, (first, last))
        run_keys, bodies = keys[begin:end], solved.rows(slice(begin, end))
        parts = [(run_keys, bodies)]
        if len(rows := np.setdiff1d(np.arange(first, last), run_keys)):
            frames, frames_between = ([cameras[people[row].frame] for row in some] for some in (run_keys, rows))
            parts.append((rows, _bodies_between(body, bodies, frames, frames_between)))
        for part_rows, part in parts:
            for name, values in completed.items():
                values[part_rows] = getattr(part, name)
    return KeypointFit(**completed)


def _runs(people: Sequence[DetectedPerson]) -> list[tuple[int, int]]:
    """List the first row of each person in consecutive frames, and the one behind their last."""
    pairs = enumerate(pairwise(people), 1)
    ends = [row for row, (a, b) in pairs if (b.track, b.frame) != (a.track, a.frame + 1)]
    return list(pairwise([0, *ends, len(people)]))


def _bodies_between(
    body: Body, bodies: KeypointFit, cameras: Sequence[FrameCamera], cameras_between: Sequence[FrameCamera]
) -> KeypointFit:
    """Interpolate the K bodies of one person before cameras to the times of other cameras, N of them, in between."""
    from scipy.interpolate import CubicSpline  # which photographs need not import

    times, between = (np.array([camera.time for camera in some]) for some in (cameras, cameras_between))
    to_world, to_camera = (
        Rotation.from_matrix(np.stack([camera.turn.rotation for camera in some])) for some in (cameras, cameras_between)
    )
    to_world = to_world.inv()
    rotations = Rotation.from_rotvec(bodies.poses.reshape(-1, 3)).as_quat().reshape(len(times), -1, 4)
    rotations[:, 0] = (to_world * Rotation.from_quat(rotations[:, 0])).as_quat()
    # Of the two quaternions of a rotation, the one that is nearer to the one before.
    signs = np.where((rotations[1:] * rotations[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    rotations[1:] *= np.cumprod(signs, axis=0)
    turns = CubicSpline(times, rotations)(between)
    turns[:, 0] = (to_camera * Rotation.from_quat(turns[:, 0])).as_quat()
    poses = Rotation.from_quat(turns.reshape(-1, 4)).as_rotvec().reshape(len(between), -1)
    # The pelvis moves in the world; it is at a constant offset from `trans`.
    shifts, shifts_between = (np.stack([camera.turn.translation for camera in s]) for s in (cameras, cameras_between))
    pelvis = to_world.apply(bodies.joints3d[:, 0] - shifts)
    pelvis = to_camera.apply(CubicSpline(times, pelvis)(between)) + shifts_between
    trans = pelvis - (bodies.joints3d[0, 0] - bodies.trans[0])
    shares = TimesBetween.at(between, times)
    columns = {
        name: shares.values(getattr(bodies, name))
        for name in ("betas", "segment_scales", "confidence", "joint_confidence", "reprojection_error")
    }
    joints = _joints(body, poses, trans, columns)
    views = [camera.camera for camera in cameras_between]
    lens = Camera(np.array([view.focal for view in views]), np.array([view.principal_point for view in views]))
    computed = {"poses": poses, "trans": trans, "joints3d": joints, "joints2d": lens.project(joints)}
    return KeypointFit(**{name: values.astype(np.float32) for name, values in {**columns, **computed}.items()})


def _joints(
    body: Body,
    poses: NDArray[np.float64],
    trans: NDArray[np.float64],
    columns: dict[str, NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Compute the joints (N, 24, 3) of bodies."""
    matrices = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(len(poses), -1, 3, 3)
    rotations, betas, moved, scales = (
        torch.from_numpy(values).float() for values in (matrices, columns["betas"], trans, columns["segment_scales"])
    )
    with torch.no_grad():
        return np.asarray(body.pose(rotations, betas, moved, scales, vertices=False).joints.numpy())
