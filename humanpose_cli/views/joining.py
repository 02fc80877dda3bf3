"""Who is who under given cameras, by what all views explain together.

If tracks of several views are one person, their landmarks meet in points. Joining them saves a person in every second
that two views show, as far as the views' directions differ, and costs what the reprojection leaves unexplained, more if
the clothes differ in colour. The tracks are joined that save the most. No single view's shape takes part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from humanpose_cli.detect.clothes import colour_difference
from humanpose_cli.views.cameras import KEYPOINT_NOISE, ViewCamera, ViewSamples, reprojection
from humanpose_cli.views.samples import sample_person
from humanpose_cli.views.tracks import Array, ViewTrack

_MOMENTS = 24  # of a person, at most, that are compared
_HALF = 3.0  # noise levels of a landmark's distance at which it is half explained
_DOUBT = 0.1  # of a view that a joined track must explain more than it leaves unexplained
_NEAR = 1e-6  # metres
_UNKNOWN = 0.5  # of a view without a landmark that another view shows: neither for nor against
# Radians between two views at which they show a person's depth as well as one view does: 14 mm of noise to 0.1 m.
_PARALLAX = 0.14
_MOMENT = 0.3  # seconds that one moment counts
_CLOTHES_DIFFERENCE = 18.0  # of colours (CIELAB), beyond which they speak against one person
_LIGHTNESS = 0.4  # weight of lightness: cameras are exposed differently
_CLOTHES = 0.25  # logarithm of the factor by which clothes change a distance, at most


def join_tracks(tracks: Sequence[ViewTrack], cameras: Sequence[ViewCamera]) -> list[list[ViewTrack]]:
    """Join tracks that are one person, those first that explain each other best; a person has one track at a time in
    each view.
    """
    groups = {number: [track] for number, track in enumerate(tracks)}
    values = dict.fromkeys(groups, 0.0)
    together: dict[tuple[int, int], float] = {}
    recent = list(groups)
    while True:
        for a, b in combinations(groups, 2):
            if a in recent or b in recent:
                group = [*groups[a], *groups[b]]
                together[a, b] = -np.inf if simultaneous(group) else explained_seconds(group, cameras)
        saved = {pair: value - values[pair[0]] - values[pair[1]] for pair, value in together.items()}
        pair = max(saved, key=lambda pair: saved[pair], default=None)
        if pair is None or saved[pair] <= 0:
            return sorted_people(groups.values())
        a, b = pair
        groups[a] += groups.pop(b)
        values[a], recent = together[pair], [a]
        together = {pair: value for pair, value in together.items() if b not in pair}


def explained_seconds(tracks: Sequence[ViewTrack], cameras: Sequence[ViewCamera]) -> float:
    """Measure the seconds of a person in further views that tracks save, if they are one person; negative if their
    landmarks do not meet.
    """
    if len({track.view for track in tracks}) < 2:
        return 0.0
    samples = sample_person(tracks, len(cameras), _MOMENTS)
    if not samples.seconds:
        return 0.0
    points, errors, weights = reprojection(cameras, samples)
    visible = np.asarray((samples.weights > 0).any(2))  # (V, K)
    total = weights.sum(2)
    unexplained = (weights * errors**2 / (errors**2 + _HALF**2)).sum(2) / np.where(total > 0, total, 1)
    unexplained = np.where(total > 0, unexplained, _UNKNOWN) * visible
    common = np.asarray(weights.any(0))[..., None]  # (K, L, 1)
    middles = (points * common).sum(1) / common.sum(1).clip(1)
    rays = np.stack([middles - camera.centre for camera in cameras])
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True).clip(_NEAR)
    cosines = np.einsum("akx,bkx->abk", rays, rays)
    parallax = ((1 - cosines**2).clip(0) * visible[:, None] * visible).max((0, 1))
    pairs = [clothes_factor(a, b) for a, b in combinations(tracks, 2) if a.view != b.view]
    further = (visible.sum(0) - 1).clip(0) * (depth_share(parallax) - _DOUBT - (np.mean(pairs) - 1))
    per_second = float((further - unexplained.sum(0)).mean())
    return per_second * _independent_seconds(samples)


def _independent_seconds(samples: ViewSamples) -> float:
    """Measure the seconds of a person that count: of one who stands still, all frames say what one says."""
    visible = samples.weights > 0
    count = visible.sum(1, keepdims=True).clip(1)[..., None]
    middles = (samples.points * visible[..., None]).sum(1, keepdims=True) / count
    noise = KEYPOINT_NOISE * samples.heights[:, None, None]
    motion = np.square(np.linalg.norm(samples.points - middles, axis=-1) / noise)[visible].mean()
    return min(samples.seconds, _MOMENT) + max(samples.seconds - _MOMENT, 0.0) * motion / (motion + _HALF**2)


def depth_share(parallax: Array) -> Array:
    """Compute how much of a person's depth two views show, 0 to 1; of the squared sine of the angle between them."""
    return parallax / (parallax + _PARALLAX**2)


def simultaneous(tracks: Sequence[ViewTrack]) -> bool:
    """Check whether two of some tracks are of one view at one time."""
    return any(
        a.view == b.view and a.times[0] <= b.times[-1] and b.times[0] <= a.times[-1] for a, b in combinations(tracks, 2)
    )


def sorted_people(people: Iterable[list[ViewTrack]]) -> list[list[ViewTrack]]:
    """Sort people, those first that the most views and frames show, and their tracks by view."""
    ordered = [sorted(tracks, key=lambda track: (track.view, -len(track))) for tracks in people]
    return sorted(ordered, key=lambda tracks: (-len({t.view for t in tracks}), -sum(map(len, tracks))))


def clothes_factor(first: ViewTrack, second: ViewTrack) -> float:
    """Compute a factor of their distance: below 1 for clothes of like colours, above for others; 1 if unknown."""
    if first.clothes is None or second.clothes is None:
        return 1.0
    difference = colour_difference(first.clothes, second.clothes, _LIGHTNESS)
    if difference is None:
        return 1.0
    return float(np.exp(np.clip((difference / _CLOTHES_DIFFERENCE - 1) * _CLOTHES, -_CLOTHES, _CLOTHES)))
