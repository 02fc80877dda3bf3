"""Moments of a person that several views show, by which cameras are solved and compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.views.cameras import ViewSamples
from humanpose_cli.views.tracks import LANDMARKS, MAX_GAP, ViewTrack

MOMENTS = 40
"""Moments of a take, at most, that place its cameras."""
MIN_CONFIDENCE = 0.3
"""Keypoints of less confidence do not place cameras."""
_SPEED_STEP = 1 / 30  # seconds before and after a moment between which a landmark's speed is taken
_ONE_MOMENT = 1e-6  # seconds that a single moment counts


def sample_people(people: Sequence[Sequence[ViewTrack]], views: int) -> list[ViewSamples]:
    """Select moments of each person that two views or more show, spread over the take."""
    count = max(MOMENTS // max(len(people), 1), 1)
    return [sample_person(tracks, views, count) for tracks in people]


def sample_person(tracks: Sequence[ViewTrack], views: int, count: int) -> ViewSamples:
    """Select at most `count` moments of one person that two of the views or more show."""
    every = np.unique(np.concatenate([track.times for track in tracks]))
    if all(len(track) == 1 for track in tracks):
        every = every[:1]
    visible = np.zeros((views, len(every)), bool)
    for track in tracks:
        visible[track.view] |= track.shows(every) if len(every) > 1 else True
    rows = np.flatnonzero(visible.sum(0) >= 2)
    seconds = max(float(np.diff(every, prepend=every[0]).clip(max=MAX_GAP)[rows].sum()), _ONE_MOMENT * bool(len(rows)))
    chosen = (
        every[rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]] if len(rows) else every[:1]
    )
    points = np.zeros((views, len(chosen), len(LANDMARKS), 2))
    weights, speeds = np.zeros(points.shape[:3]), np.zeros_like(points)
    joints = np.zeros((views, len(chosen), len(SMPL24), 3))
    heights = np.ones(views)
    for track in tracks:
        at = chosen if len(track) > 1 else track.times
        moments = track.at(at)
        landmarks = moments.keypoints[:, list(LANDMARKS)]
        confident = np.where(landmarks[..., 2] >= MIN_CONFIDENCE, landmarks[..., 2], 0.0) * moments.visible[:, None]
        fresh = (confident > 0).any(1) & (weights[track.view] == 0).all(1)
        points[track.view][fresh], weights[track.view][fresh] = landmarks[fresh, :, :2], confident[fresh]
        joints[track.view][fresh] = moments.joints[fresh]
        sides = [track.at(at + step) for step in (-_SPEED_STEP, _SPEED_STEP)]
        moving = fresh & sides[0].visible & sides[1].visible
        change = sides[1].keypoints[:, list(LANDMARKS), :2] - sides[0].keypoints[:, list(LANDMARKS), :2]
        speeds[track.view][moving] = change[moving] / (2 * _SPEED_STEP)
        heights[track.view] = max(heights[track.view], track.height)
    leg = float(np.average([track.leg for track in tracks], weights=[len(track) for track in tracks]))
    return ViewSamples(chosen, points, weights, speeds, heights, leg, seconds, joints)
