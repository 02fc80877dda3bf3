"""How well a person in one camera agrees with one in another, by the joints of the cameras' own fits.

Joints about the neck differ by one rotation. They count by their confidence, so that hidden ones, which are guessed,
have no voice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from humanpose_cli.views.clocks import MIN_OVERLAP, MOVING, STEP
from humanpose_cli.views.tracks import Array, ViewTrack, about_neck, mirrored

_MIRROR_DISTANCE = 0.75  # of one moment's mirror image, relative to the distance without mirroring
_MIRROR_CORRELATION = 0.35  # gain of the correlation by mirroring; movements of one person correlate by 0.4 to 0.97
_MIN_DISTANCE = 1e-3  # metres between the joints of two views


class Agreement(NamedTuple):
    """The agreement of a person in one camera with one in another.

    Attributes:
        distance: Metres. The mean distance of the joints about the neck after the best rotation.
        overlap: Seconds that both show. 0 for one moment.
        correlation: −1 to 1. The correlation of their movements about the mean posture. 0 for one moment.
        is_mirror: Whether one of the two is a mirror image.
        similarity: The amount of agreement, after mirroring if `is_mirror`. 0 for none.
    """

    distance: float
    overlap: float
    correlation: float = 0.0
    is_mirror: bool = False
    similarity: float = 0.0


def best_rotation(source: Array, target: Array, weights: Array) -> Array:
    """Find the rotation (3, 3) that best maps points (..., 3) with weights (...) onto others."""
    u, _, vt = np.linalg.svd((weights[..., None] * target).reshape(-1, 3).T @ source.reshape(-1, 3))
    sign = np.sign(np.linalg.det(u @ vt))
    return np.asarray(u @ np.diag((1.0, 1.0, sign)) @ vt)


def mean_distance(first: Array, second: Array, weights: Array) -> float:
    """Compute the mean distance between points (..., 3) with weights (...)."""
    return float((weights * np.linalg.norm(first - second, axis=-1)).sum() / max(weights.sum(), 1e-9))


def agreement(first: ViewTrack, second: ViewTrack, offset: float) -> Agreement | None:
    """Measure the agreement of two tracks.

    Args:
        first: A track of the first camera.
        second: A track of the second camera.
        offset: Seconds that the second clock is ahead.

    Returns:
        The agreement. None if they share too little time.
    """
    plain = _agreement(first, second, offset)
    if plain is None:
        return None
    mirror = _agreement(first, replace(second, joints=mirrored(second.joints)), offset)
    assert mirror is not None  # because both share the same time
    # A moment may look the same from the wrong side by chance, but movements hardly do.
    if plain.overlap:
        is_mirror = mirror.correlation > max(plain.correlation, 0.0) + _MIRROR_CORRELATION
        similarity = plain.overlap * max((mirror if is_mirror else plain).correlation, 0.0)
    else:
        is_mirror = mirror.distance < _MIRROR_DISTANCE * plain.distance
        similarity = 1 / max((mirror if is_mirror else plain).distance, _MIN_DISTANCE)
    return plain._replace(is_mirror=is_mirror, similarity=similarity)


def _agreement(first: ViewTrack, second: ViewTrack, offset: float) -> Agreement | None:
    a, b, weights = shared_joints(first, second.moved(offset))
    a, b = about_neck(a), about_neck(b)
    is_moment = len(first) == len(second) == 1
    overlap = 0.0 if is_moment else len(a) * STEP
    if not is_moment and overlap < MIN_OVERLAP - 2 * STEP:
        return None
    a = a @ best_rotation(a, b, weights).T
    distance = mean_distance(a, b, weights)
    if is_moment:
        return Agreement(distance, overlap)
    weights = weights[:, MOVING, None]
    moves = [values[:, MOVING] for values in (a, b)]
    a, b = (values - (weights * values).sum(0) / weights.sum(0).clip(1e-9) for values in moves)
    spread = float(np.sqrt((weights * a**2).sum() * (weights * b**2).sum()))
    return Agreement(distance, overlap, float((weights * a * b).sum()) / max(spread, 1e-9))


def shared_joints(first: ViewTrack, second: ViewTrack) -> tuple[Array, Array, Array]:
    """Interpolate the joints (K, 24, 3) of two tracks at the times that both show, with weights (K, 24)."""
    one_moment = len(first) == len(second) == 1
    times = None if one_moment else shared_times(first, second)
    moments = [track.at(track.times if times is None else times) for track in (first, second)]
    in_both = moments[0].visible & moments[1].visible
    a, b = (moment.joints[in_both] for moment in moments)
    return a, b, moments[0].seen[in_both] * moments[1].seen[in_both]


def shared_times(first: ViewTrack, second: ViewTrack) -> Array:
    """Return times, `STEP` apart, from when both tracks have begun until one of them ends."""
    start = max(first.times[0], second.times[0])
    stop = min(first.times[-1], second.times[-1])
    return start + STEP * np.arange(max(int((stop - start) / STEP) + 1, 0))
