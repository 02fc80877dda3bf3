"""Moments of a person that several views show, by which cameras are estimated and compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from humanpose_cli.views.cameras import ViewSamples
from humanpose_cli.views.tracks import LANDMARKS, MAX_GAP, Array, ViewTrack

MOMENTS = 40
"""Maximum number of moments of a take by which its cameras are estimated."""
MIN_CONFIDENCE = 0.3
"""Minimum confidence of keypoints by which cameras are estimated."""
_SPEED_STEP = 1 / 30  # seconds before and after a moment between which a landmark's speed is measured
_ONE_MOMENT = 1e-6  # seconds that a single moment counts


def sample_people(people: Sequence[Sequence[ViewTrack]], views: int) -> list[ViewSamples]:
    """Select moments of each person that two or more views show, spread over the take."""
    count = max(MOMENTS // max(len(people), 1), 1)
    return [sample_person(tracks, views, count) for tracks in people]


def sample_person(tracks: Sequence[ViewTrack], views: int, count: int, all_times: Array | None = None) -> ViewSamples:
    """Select at most `count` moments of one person that two or more views show, of given times or the tracks'."""
    if all_times is None:
        all_times = np.unique(np.concatenate([track.times for track in tracks]))
    if all(len(track) == 1 for track in tracks):
        all_times = all_times[:1]
    visible = np.zeros((views, len(all_times)), bool)
    for track in tracks:
        visible[track.view] |= track.shows(all_times) if len(all_times) > 1 else True
    rows = np.flatnonzero(visible.sum(0) >= 2)
    steps = np.diff(all_times, prepend=all_times[0]).clip(max=MAX_GAP)
    seconds = max(float(steps[rows].sum()), _ONE_MOMENT * bool(len(rows)))
    times = all_times[:1]
    if len(rows):
        times = all_times[rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]]
    points = np.zeros((views, len(times), len(LANDMARKS), 2))
    weights = np.zeros(points.shape[:3])
    speeds = np.zeros_like(points)
    heights = np.ones(views)
    for track in tracks:
        track_times = times if len(track) > 1 else track.times
        moments = track.at(track_times)
        landmarks = moments.keypoints[:, list(LANDMARKS)]
        confident = np.where(landmarks[..., 2] >= MIN_CONFIDENCE, landmarks[..., 2], 0.0) * moments.visible[:, None]
        new = (confident > 0).any(1) & (weights[track.view] == 0).all(1)
        points[track.view][new] = landmarks[new, :, :2]
        weights[track.view][new] = confident[new]
        before, after = (track.at(track_times + step) for step in (-_SPEED_STEP, _SPEED_STEP))
        moving = new & before.visible & after.visible
        change = after.keypoints[:, list(LANDMARKS), :2] - before.keypoints[:, list(LANDMARKS), :2]
        speeds[track.view][moving] = change[moving] / (2 * _SPEED_STEP)
        heights[track.view] = max(heights[track.view], track.stature)
    leg = float(np.average([track.leg for track in tracks], weights=[len(track) for track in tracks]))
    return ViewSamples(times, points, weights, speeds, heights, leg, seconds)
