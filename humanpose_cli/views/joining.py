"""Identifies people across views with given cameras, by what all views explain together.

If tracks of several views are one person, their landmarks meet in points. Joining them saves a person in every second
that two views show, as far as the views' directions differ. It costs what the reprojection leaves unexplained, and more
if the clothes differ in colour. The tracks that save the most are joined. Single views' shapes are not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from humanpose_cli.detect.identity import ClothesOdds
from humanpose_cli.views.cameras import KEYPOINT_NOISE, ViewCamera, ViewSamples, reprojection
from humanpose_cli.views.samples import sample_person
from humanpose_cli.views.tracks import Array, ViewTrack

_MOMENTS = 24  # maximum number of moments of a person that are compared
_HALF = 3.0  # noise levels of a landmark's distance at which half of it is explained
_DOUBT = 0.1  # share of a view that a joined track must explain beyond what it leaves unexplained
_MIN_LENGTH = 1e-6  # metres, of a ray
_UNKNOWN = 0.5  # unexplained share of a view without a landmark in common with other views
# Radians between two views at which they show depth as well as one view does: 14 mm of noise against 0.1 m.
_PARALLAX = 0.14
_MOMENT = 0.3  # seconds that one moment counts
# Lightness counts little because cameras are exposed differently.
_CLOTHES = ClothesOdds(lightness=0.4, neutral=18.0, scale=72.0, largest=0.25)


def join_tracks(tracks: Sequence[ViewTrack], cameras: Sequence[ViewCamera]) -> list[list[ViewTrack]]:
    """Join tracks that are one person, starting with those that explain each other best.

    A person has one track at a time in each view.
    """
    groups = {number: [track] for number, track in enumerate(tracks)}
    values = dict.fromkeys(groups, 0.0)
    joined_values: dict[tuple[int, int], float] = {}
    changed = list(groups)
    while True:
        for a, b in combinations(groups, 2):
            if a in changed or b in changed:
                group = [*groups[a], *groups[b]]
                joined_values[a, b] = -np.inf if simultaneous(group) else explained_seconds(group, cameras)
        saved = {pair: value - values[pair[0]] - values[pair[1]] for pair, value in joined_values.items()}
        pair = max(saved, key=lambda pair: saved[pair], default=None)
        if pair is None or saved[pair] <= 0:
            return sorted_people(groups.values())
        a, b = pair
        groups[a] += groups.pop(b)
        values[a] = joined_values[pair]
        changed = [a]
        joined_values = {pair: value for pair, value in joined_values.items() if b not in pair}


def explained_seconds(tracks: Sequence[ViewTrack], cameras: Sequence[ViewCamera]) -> float:
    """Measure the seconds of a person in further views that tracks save if they are one person.

    The result is negative if their landmarks do not meet.
    """
    values = _explained(tracks, cameras)
    return values.saving * values.seconds


def explained_share(tracks: Sequence[ViewTrack], cameras: Sequence[ViewCamera]) -> float:
    """Measure the share of a person in further views that tracks save if they are one person.

    If landmarks meet exactly and show all depth, the share is 0.9 for clothes of unknown colours, 1.1 for equal ones.
    It is 0 if no two views show confident landmarks at one moment.
    """
    values = _explained(tracks, cameras)
    return values.saving / values.views if values.views else 0.0


class _Explained(NamedTuple):
    """How well landmarks of a person meet.

    Attributes:
        saving: Seconds a second that are saved by joining the tracks.
        views: The mean number of further views.
        seconds: The seconds that count.
    """

    saving: float = 0.0
    views: float = 0.0
    seconds: float = 0.0


def _explained(tracks: Sequence[ViewTrack], cameras: Sequence[ViewCamera]) -> _Explained:
    if len({track.view for track in tracks}) < 2:
        return _Explained()
    samples = sample_person(tracks, len(cameras), _MOMENTS)
    if not samples.seconds:
        return _Explained()
    points, errors, weights = reprojection(cameras, samples)
    visible = np.asarray((samples.weights > 0).any(2))  # (V, K)
    total = weights.sum(2)
    unexplained = (weights * errors**2 / (errors**2 + _HALF**2)).sum(2) / np.where(total > 0, total, 1)
    unexplained = np.where(total > 0, unexplained, _UNKNOWN) * visible
    common = np.asarray(weights.any(0))[..., None]  # (K, L, 1)
    middles = (points * common).sum(1) / common.sum(1).clip(1)
    rays = np.stack([middles - camera.centre for camera in cameras])
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True).clip(_MIN_LENGTH)
    cosines = np.einsum("akx,bkx->abk", rays, rays)
    parallax = ((1 - cosines**2).clip(0) * visible[:, None] * visible).max((0, 1))
    pairs = [clothes_factor(a, b) for a, b in combinations(tracks, 2) if a.view != b.view]
    further = (visible.sum(0) - 1).clip(0)
    explained = further * (depth_share(parallax) - _DOUBT - (np.mean(pairs) - 1))
    saving, views = float((explained - unexplained.sum(0)).mean()), float(further.mean())
    return _Explained(saving, views, _independent_seconds(samples))


def _independent_seconds(samples: ViewSamples) -> float:
    """Measure the seconds of a person that count. All frames of a person who stands still are equal."""
    visible = samples.weights > 0
    count = visible.sum(1, keepdims=True).clip(1)[..., None]
    middles = (samples.points * visible[..., None]).sum(1, keepdims=True) / count
    noise = KEYPOINT_NOISE * samples.heights[:, None, None]
    motion = np.square(np.linalg.norm(samples.points - middles, axis=-1) / noise)[visible].mean()
    return min(samples.seconds, _MOMENT) + max(samples.seconds - _MOMENT, 0.0) * motion / (motion + _HALF**2)


def depth_share(parallax: Array) -> Array:
    """Compute how much of a person's depth two views show, 0 to 1, from the squared sine of the angle between them."""
    return parallax / (parallax + _PARALLAX**2)


def simultaneous(tracks: Sequence[ViewTrack]) -> bool:
    """Return whether two of the tracks are in one view at the same time."""
    return any(
        a.view == b.view and a.times[0] <= b.times[-1] and b.times[0] <= a.times[-1] for a, b in combinations(tracks, 2)
    )


def sorted_people(people: Iterable[list[ViewTrack]]) -> list[list[ViewTrack]]:
    """Sort people by the number of views and frames that show them, and their tracks by view."""
    ordered = [sorted(tracks, key=lambda track: (track.view, -len(track))) for tracks in people]
    return sorted(ordered, key=lambda tracks: (-len({t.view for t in tracks}), -sum(map(len, tracks))))


def clothes_factor(first: ViewTrack, second: ViewTrack) -> float:
    """Return a factor on a distance: below 1 for similar clothes, above 1 for different ones, 1 if unknown."""
    return float(np.exp(-_CLOTHES.between(first.clothes, second.clothes)))
