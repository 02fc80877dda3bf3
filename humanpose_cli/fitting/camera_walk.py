"""The size of the world that a camera walks through, from feet that stand in it.

The background shows the path of a camera up to its unit of length. In the world the foot that carries a person does not
move, though it does before a camera that walks: the unit is the one in which the slower foot of each person is at rest
from frame to frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.odometry.camera_path import CameraPath

Array = NDArray[np.float64]

_FEET = SMPL24.indices(("left_foot", "right_foot"))
_ANKLES = "left_ankle", "right_ankle"
_MIN_CONFIDENCE = 0.5  # of the ankles of feet that may stand
_STEP = 1 / 30  # seconds, at least, between two frames that are compared
_NOISE = 0.01  # metres by which a standing foot seems to move in that time
_SPEEDS = 0.02, 8.0  # metres a second of a camera that walks, in its median step
_CANDIDATES = 600
_MIN_STEPS = 10  # pairs of frames that show feet
_ROUNDS = 5


@dataclass(frozen=True)
class PathScale:
    """Metres for the unit of a camera's path, the relative deviation, and the pairs of feet that it follows from."""

    metres: float
    deviation: float
    steps: int


def path_scale(
    path: CameraPath, first: int, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]
) -> PathScale | None:
    """Find the unit of a path whose first frame is the sequence's `first`, from the rows of all people in its frames.

    bodies  of the rows of `people`, which are sorted by track and frame; times  seconds of the sequence's frames

    None if too few frames show feet or the camera hardly moves.
    """
    feet, shifts = _foot_steps(path, first, people, bodies, times)
    if len(feet) < _MIN_STEPS:
        return None
    length = np.linalg.norm(shifts, axis=-1)
    usual = float(np.median(length))
    if usual < 1e-12:
        return None
    scales = np.geomspace(*(speed * _STEP / usual for speed in _SPEEDS), _CANDIDATES)
    cost = [float(np.log1p(_slower(feet + scale * shifts)[0]).sum()) for scale in scales]
    best = int(np.argmin(cost))
    if best in (0, _CANDIDATES - 1):
        return None  # no step of a foot depends on the size
    scale = float(scales[best])
    for _ in range(_ROUNDS):
        squared, slower = _slower(feet + scale * shifts)
        weights = 1 / (1 + squared) ** 2
        steps, moves = (np.take_along_axis(values, slower, 1)[:, 0] for values in (feet, shifts))
        information = float((weights * (moves**2).sum(-1)).sum())
        scale = -float((weights * (steps * moves).sum(-1)).sum()) / max(information, 1e-12)
        if not scale > 0:
            return None
    return PathScale(scale, _NOISE / (scale * np.sqrt(information)), len(feet))


def _slower(steps: Array) -> tuple[Array, NDArray[np.int64]]:
    """Compute the squared length, in units of the noise, of the shorter step of two feet (N, 2, 3), and which it is."""
    squared = (steps**2).sum(-1) / _NOISE**2
    slower = squared.argmin(1)
    return squared.min(1), slower[:, None, None]


def _shows_feet(person: DetectedPerson) -> bool:
    ankles = person.keypoints[list(person.skeleton.indices(_ANKLES)), 2]
    return not person.interpolated and bool(ankles.min() > _MIN_CONFIDENCE)


def _foot_steps(
    path: CameraPath, first: int, people: Sequence[DetectedPerson], bodies: KeypointFit, times: Sequence[float]
) -> tuple[Array, Array]:
    """Compute the steps of feet (N, 2, 3) in metres, as if the camera only turned, and of the camera (N, 1, 3) in the
    path's unit, both across the line of sight: depth is what the body shows worst.
    """
    frames = np.array([person.frame for person in people])
    tracks = np.array([person.track for person in people])
    inside = (frames >= first) & (frames < first + len(path.rotations))
    visible = inside & np.array([_shows_feet(person) for person in people])
    visible[visible] &= path.solved[frames[visible] - first]
    seconds = np.asarray(times, float)[frames]
    pairs = []
    rows = np.flatnonzero(visible)
    for track in np.unique(tracks[rows]):
        of_track = rows[tracks[rows] == track]
        # The next row at least one step later, where it is not much later.
        later = np.searchsorted(seconds[of_track], seconds[of_track] + 0.9 * _STEP)
        usable = later < len(of_track)
        a, b = of_track[usable], of_track[later[usable]]
        near = seconds[b] - seconds[a] < 2.5 * _STEP
        pairs.append(np.stack((a[near], b[near]), 1))
    if not pairs:
        return np.zeros((0, 2, 3)), np.zeros((0, 1, 3))
    before, after = np.concatenate(pairs).T
    to_world = path.rotations.transpose(0, 2, 1)
    centres = -np.einsum("tij,tj->ti", to_world, path.translations)
    here, there = frames[before] - first, frames[after] - first
    joints = bodies.joints3d[:, _FEET].astype(float)
    positions = [np.einsum("nij,nkj->nki", to_world[at], joints[row]) for at, row in ((here, before), (there, after))]
    sight = positions[1] / np.linalg.norm(positions[1], axis=-1, keepdims=True)

    def across(steps: Array) -> Array:
        return steps - (steps * sight).sum(-1, keepdims=True) * sight

    return across(positions[1] - positions[0]), across((centres[there] - centres[here])[:, None])
