"""The people of one camera's fit, on that camera's clock: the input of this room."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import ASSUMED_FRAME_RATE, BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_files import FitRecord

Array = NDArray[np.float64]

STATURE = 1.7
"""Metres, to which noise in images is relative."""
MAX_GAP = 0.25
"""Seconds between two frames of a track that are interpolated."""
_MIN_LENGTH = 1e-6  # metres, of a bone
_NEAR = 0.1  # metres, smallest distance of a person
_COVERED = 0.2  # factor on the confidence of a keypoint in the box of another person
NECK = SMPL24.index("neck")
"""The joint of `ViewTrack` about which people are compared."""
_PELVIS = SMPL24.index("pelvis")
_LEG = [SMPL24.indices((f"{side}_hip", f"{side}_knee", f"{side}_ankle")) for side in ("left", "right")]
_TIME_TOLERANCE = 1e-3  # seconds between a time and its frame


class Moments(NamedTuple):
    """A person in one camera at K times.

    Attributes:
        visible: (K,) bool. Whether the camera shows the person.
        keypoints: (K, 33, 3). Pixels and confidence, zero if unknown.
        joints: (K, 24, 3) metres. See `ViewTrack`.
        seen: (K, 24). The confidence of the joints.
    """

    visible: NDArray[np.bool_]
    keypoints: Array
    joints: Array
    seen: Array


@dataclass(frozen=True, eq=False)
class ViewTrack:
    """One person in the T frames of one camera that show the person.

    Attributes:
        view: The number of the camera.
        track: The person's number in the camera's fit.
        rows: (T,) int. The rows of the camera's fit.
        times: (T,) seconds, rising, on the take's clock.
        keypoints: (T, 33, 3). Pixels and confidence 0 to 1.
        joints: (T, 24, 3) metres in camera axes, with the mean shape, because views do not agree about a person's
            shape.
        seen: (T, 24). The confidence of the joints, low for hidden ones, which are guessed.
        clothes: (6, 4). Colours and weights of the clothes. None if unknown.
        leg: Metres. From hip to ankle with the fit's own shape.
        stature: Pixels. What `STATURE` metres measure at the person's distance, however much of the person is visible.
    """

    view: int
    track: int
    rows: NDArray[Any]
    times: Array
    keypoints: Array
    joints: Array
    seen: Array
    clothes: Array | None = None
    leg: float = 0.85
    stature: float = 1.0

    def __len__(self) -> int:
        return len(self.times)

    def moved(self, offset: float, drift: float = 0.0) -> ViewTrack:
        """Return the track with its clock set back by `offset` seconds, and by `drift` in each second."""
        return replace(self, times=(self.times - offset) / (1 + drift))

    def shows(self, times: Array) -> NDArray[np.bool_]:
        """Return whether the camera shows the person at times (K,)."""
        return self._neighbours(times)[2]

    def _neighbours(self, times: Array) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Find the frames (K,) before and after times, and whether they show the person in between."""
        after = np.searchsorted(self.times, times - _TIME_TOLERANCE).clip(0, len(self) - 1)
        exact = np.abs(self.times[after] - times) <= _TIME_TOLERANCE
        before = np.where(exact, after, (after - 1).clip(0))
        inside = (self.times[before] <= times) & (times <= self.times[after])
        return before, after, exact | (inside & (self.times[after] - self.times[before] <= MAX_GAP))

    def at(self, times: Array) -> Moments:
        """Interpolate keypoints and joints at times (K,), linearly between frames that are at most `MAX_GAP` apart."""
        before, after, visible = self._neighbours(times)
        gap = self.times[after] - self.times[before]
        share = np.where(gap > 0, (times - self.times[before]) / np.where(gap > 0, gap, 1), 0.0).clip(0, 1)
        share = share[:, None, None]
        low, high = self.keypoints[before], self.keypoints[after]
        keypoints = (1 - share) * low + share * high
        # A joint that is hidden in one of the two frames is hidden between them.
        keypoints[..., 2] = np.minimum(low[..., 2], high[..., 2])
        joints = (1 - share) * self.joints[before] + share * self.joints[after]
        seen = np.minimum(self.seen[before], self.seen[after])
        return Moments(visible, np.where(visible[:, None, None], keypoints, 0.0), joints, seen)


def clock_times(fit: FitRecord) -> Array:
    """Compute the seconds (F,) of a fit's frames on the camera's own clock, from 0."""
    if fit.frame_times is not None:
        return np.asarray(fit.frame_times, np.float64)
    return np.arange(fit.frame_count) / (fit.frame_rate or ASSUMED_FRAME_RATE)


def tracks_of(fit: Fit, view: int, body: Body) -> list[ViewTrack]:
    """List the people of one camera's fit, those in most frames first, without interpolated frames.

    Args:
        fit: The fit.
        view: The number of the camera.
        body: The body of the fit.
    """
    times = clock_times(fit)
    tracks = []
    for track in fit.tracks:
        rows = fit.rows_of(track)
        rows = rows[~fit.interpolated[rows] & (fit.keypoints2d[rows, :, 2] > 0).any(1)]
        if not len(rows):
            continue
        keypoints = fit.keypoints2d[rows].astype(np.float64)
        keypoints[..., 2] *= np.where(_in_other_boxes(fit, rows), _COVERED, 1.0)
        joints = fit.joints3d[rows].astype(np.float64)
        view_track = ViewTrack(
            view=view,
            track=track,
            rows=rows,
            times=times[fit.frame_index[rows]],
            keypoints=keypoints,
            joints=_mean_shaped(body, joints),
            seen=fit.joint_confidence[rows].astype(np.float64),
            clothes=fit.clothes.get(track),
            leg=_leg_length(joints),
            stature=float(np.median(STATURE * fit.focal[fit.frame_index[rows]] / joints[:, _PELVIS, 2].clip(_NEAR))),
        )
        tracks.append(view_track)
    return sorted(tracks, key=lambda track: -len(track))


def _in_other_boxes(fit: Fit, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the keypoints (T, 33) of rows that lie in the box of another person, who may hide them."""
    points = fit.keypoints2d[rows, :, :2]
    inside = np.zeros(points.shape[:2], bool)
    for track in fit.tracks:
        track_rows = fit.rows_of(track)
        position = np.searchsorted(fit.frame_index[track_rows], fit.frame_index[rows]).clip(0, len(track_rows) - 1)
        candidates = track_rows[position]
        both = (fit.frame_index[candidates] == fit.frame_index[rows]) & (candidates != rows)
        boxes = fit.boxes[candidates][:, None]  # (T, 1, 4)
        within = (points >= boxes[..., :2]) & (points <= boxes[..., 2:])
        inside |= within.all(-1) & both[:, None]
    return inside


def _mean_shaped(body: Body, joints: Array) -> Array:
    """Give the bones of joints (T, 24, 3) the lengths of the mean shape. Neck and directions stay."""
    rest = body.rest_joints(torch.zeros(1, body.joint_directions.shape[-1]).to(body.template))[0].double().cpu().numpy()
    result = joints.copy()
    for joint, parent in enumerate(body.skeleton.parents):
        if parent >= 0:
            bone = joints[:, joint] - joints[:, parent]
            rest_length = np.linalg.norm(rest[joint] - rest[parent])
            length = np.linalg.norm(bone, axis=-1, keepdims=True).clip(_MIN_LENGTH)
            result[:, joint] = result[:, parent] + rest_length * bone / length
    return about_neck(result) + joints[:, NECK, None]


def _leg_length(joints: Array) -> float:
    bones = [joints[:, a] - joints[:, b] for hip, knee, ankle in _LEG for a, b in ((hip, knee), (knee, ankle))]
    return float(np.median(sum(np.linalg.norm(bone, axis=-1) for bone in bones)) / 2)


def about_neck(joints: Array) -> Array:
    """Subtract the neck, which most images show, from joints (..., 24, 3)."""
    return joints - joints[..., NECK, None, :]


def mirrored(joints: Array) -> Array:
    """Mirror joints (..., 24, 3): x is reversed, left and right are exchanged."""
    return (joints * np.array((-1.0, 1.0, 1.0)))[..., list(SMPL24.mirror), :]


_PAIRED = ("ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel", "foot_index")
LANDMARKS = BLAZEPOSE33.indices(["nose", *(f"{side}_{name}" for name in _PAIRED for side in ("left", "right"))])
"""Rows of BlazePose's landmarks by which cameras are estimated. Landmarks of hands and face are noisy."""
