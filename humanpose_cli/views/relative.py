"""The relation of two cameras: rotation, difference of clocks, and which tracks are the same person.

Joints about the pelvis, from each camera's own fit, differ between two cameras by one rotation, which is the same for
all people and all frames. The best rotation, the remaining distance of the joints and the correlation of their
movements follow from sums of products of joints, for all differences of the clocks at once by a Fourier transform.

Clocks follow from movements about the mean posture, because fits of single cameras lean in different ways and a still
body has no information about time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import linear_sum_assignment

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.views.tracks import Array, ViewTrack, about_pelvis, mirrored

STEP = 1 / 60
"""Seconds between the samples by which clocks are compared."""
MAX_OFFSET = 10.0
"""Maximum number of seconds between two cameras' clocks."""
_MIN_GAIN = 0.15  # nats of evidence for a difference of clocks over none
_MIN_OVERLAP = 0.4  # seconds that two tracks must share
_DEPENDENT = 0.3  # seconds of an overlap that are explained by chance, because a rotation fits any short movement
_MIRROR_DISTANCE = 0.75  # of one moment's mirror image, relative to the distance without mirroring
_MIRROR_CORRELATION = 0.35  # gain of the correlation by mirroring; movements of one person correlate by 0.4 to 0.97
_MIRROR_EVIDENCE = 2.0  # factor by which a mirror image must increase the evidence for a clock
_MIN_DISTANCE = 1e-3  # metres between the joints of two views
_CLOCK_TRACKS = 4  # longest tracks of each camera whose movements are compared
_MAX_CORRELATION = 0.99
_CLOCK_ROUNDS = 2
_ALTERNATIVES = 3  # sets of clocks that are compared further
_MIN_EVIDENCE = 0.6  # of an alternative, relative to the best one
_ENDS = [
    f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
]
_MOVING = list(SMPL24.indices((*_ENDS, "head")))


class Agreement(NamedTuple):
    """The agreement of a person in one camera with one in another.

    Attributes:
        distance: Metres. The mean distance of the joints about the pelvis after the best rotation.
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


def best_rotation(source: Array, target: Array) -> Array:
    """Find the rotation (3, 3) that best maps points (..., 3) onto others."""
    u, _, vt = np.linalg.svd(target.reshape(-1, 3).T @ source.reshape(-1, 3))
    sign = np.sign(np.linalg.det(u @ vt))
    return np.asarray(u @ np.diag((1.0, 1.0, sign)) @ vt)


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
    a, b = map(about_pelvis, shared_moments(first, second.moved(offset)))
    is_moment = len(first) == len(second) == 1
    overlap = 0.0 if is_moment else len(a) * STEP
    if not is_moment and overlap < _MIN_OVERLAP - 2 * STEP:
        return None
    rotation = best_rotation(a, b)
    distance = float(np.linalg.norm(a @ rotation.T - b, axis=-1).mean())
    if is_moment:
        return Agreement(distance, overlap)
    moves_a, moves_b = (values[:, _MOVING] - values[:, _MOVING].mean(0) for values in (a @ rotation.T, b))
    spread = float(np.sqrt(np.square(moves_a).sum() * np.square(moves_b).sum()))
    correlation = float((moves_a * moves_b).sum()) / max(spread, 1e-9)
    return Agreement(distance, overlap, correlation)


def shared_moments(first: ViewTrack, second: ViewTrack) -> tuple[Array, Array]:
    """Interpolate the joints (K, 24, 3) of two tracks at the times that both show."""
    if len(first) == 1 and len(second) == 1:
        return first.joints, second.joints
    times = shared_times(first, second)
    moments = first.at(times), second.at(times)
    in_both = moments[0].visible & moments[1].visible
    return moments[0].joints[in_both], moments[1].joints[in_both]


def shared_times(first: ViewTrack, second: ViewTrack) -> Array:
    """Return times, `STEP` apart, from when both tracks have begun until one of them ends."""
    start = max(first.times[0], second.times[0])
    stop = min(first.times[-1], second.times[-1])
    return start + STEP * np.arange(max(int((stop - start) / STEP) + 1, 0))


def clock_evidence(first: Sequence[ViewTrack], second: Sequence[ViewTrack]) -> Array:
    """Measure the evidence for each difference of two clocks.

    It is the sum, over the people whose movements correlate best, of −log(1 − ρ²) for a correlation ρ, times the
    seconds that both cameras show. It is 0 if nothing moves.

    Args:
        first: The tracks of the first camera.
        second: The tracks of the second camera.

    Returns:
        (2 M + 1,). The second clock is ahead by −M to M times `STEP`, up to `MAX_OFFSET`.
    """
    plain = _clock_evidence(first, second)
    # A mirror image has the same clock.
    mirror = _clock_evidence(first, [replace(t, joints=mirrored(t.joints)) for t in second])
    return mirror if mirror.max() > _MIRROR_EVIDENCE * plain.max() else plain


def _clock_evidence(first: Sequence[ViewTrack], second: Sequence[ViewTrack]) -> Array:
    reach = round(MAX_OFFSET / STEP)
    first, second = (sorted((t for t in tracks if len(t) > 1), key=len)[-_CLOCK_TRACKS:] for tracks in (first, second))
    if not first or not second:
        return np.zeros(2 * reach + 1)
    pairs = np.array([[_movement_evidence(a, b, reach) for b in second] for a in first])
    if min(len(first), len(second)) == 1:
        return np.asarray(pairs.max((0, 1)))
    return np.array([gain[linear_sum_assignment(gain, maximize=True)].sum() for gain in np.moveaxis(pairs, -1, 0)])


class _Samples(NamedTuple):
    """Joints about the pelvis at K even times.

    Attributes:
        joints: (K, 13, 3) metres. Zero if unknown.
        visible: (K,) 0 or 1.
        squares: (K,). The sums of squares of the joints.
    """

    joints: Array
    visible: Array
    squares: Array


def _samples(track: ViewTrack, begin: float) -> _Samples:
    times = np.asarray(begin + STEP * np.arange(int((track.times[-1] - begin) / STEP) + 1), np.float64)
    moments = track.at(times)
    joints = np.where(moments.visible[:, None, None], about_pelvis(moments.joints)[:, _MOVING], 0.0)
    return _Samples(joints, moments.visible.astype(np.float64), np.square(joints).sum((1, 2)))


def _movement_evidence(first: ViewTrack, second: ViewTrack, reach: int) -> Array:
    """Measure the evidence (2 reach + 1,) of two people's movements for each difference of the clocks."""
    begin = min(first.times[0], second.times[0])
    a, b = _samples(first, begin), _samples(second, begin)
    length = next_fast_len(len(a.visible) + len(b.visible))
    shifts = np.fft.fftfreq(length, 1 / length).round().astype(int)
    inside = np.abs(shifts) <= reach

    def spectrum(values: Array) -> Array:
        return np.asarray(rfft(values, length, axis=0))

    def over_shifts(products: Array) -> Array:
        """Sum a[k + shift] b[k] over k for each shift within reach, from a's spectrum times b's conjugate one."""
        return np.asarray(irfft(products, length, axis=0))[inside]

    visible_a, joints_a, squares_a = (spectrum(values) for values in (a.visible, a.joints, a.squares))
    visible_b, joints_b, squares_b = (spectrum(values).conj() for values in (b.visible, b.joints, b.squares))
    # Sums over the frames that both show: frames, joints, squares, and products of joints.
    frames = np.maximum(over_shifts(visible_a * visible_b), 0)
    count = np.maximum(frames, 1)
    sum_a = over_shifts(joints_a * visible_b[:, None, None])
    sum_b = over_shifts(visible_a[:, None, None] * joints_b)
    products = over_shifts(np.einsum("kni,knj->kij", joints_b, joints_a))
    means = np.einsum("sni,snj->sij", sum_b, sum_a) / count[:, None, None]
    spread_a = over_shifts(squares_a * visible_b) - np.square(sum_a).sum((1, 2)) / count
    spread_b = over_shifts(visible_a * squares_b) - np.square(sum_b).sum((1, 2)) / count
    # The best rotation of every shift (Kabsch), and the correlation after it, without rotating the joints.
    u, _, vt = np.linalg.svd(products)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    common = np.einsum("sij,sij->s", u @ vt, products - means)
    correlation = common / np.sqrt(np.maximum(spread_a * spread_b, 1e-9))
    # Logarithm of the remaining variance times seconds, the sum over independent moments.
    information = -np.log1p(-np.square(np.clip(correlation, 0, _MAX_CORRELATION)))
    seconds = frames * STEP
    evidence = np.where(seconds >= _MIN_OVERLAP, np.maximum(seconds - _DEPENDENT, 0) * information, 0.0)
    result = np.zeros(2 * reach + 1)
    result[reach - shifts[inside]] = evidence
    return result


def likely_clocks(
    evidence: Mapping[tuple[int, int], Array], fixed_clocks: Sequence[float | None]
) -> list[tuple[list[float], float]]:
    """Estimate by how many seconds the clocks of V views are ahead of the first one's.

    Args:
        evidence: The result of `clock_evidence` for pairs of views, the lower number first.
        fixed_clocks: The known clocks. None if unknown.

    Returns:
        Sets of clocks with their evidence in all pairs. The best one first, then others with nearly as much evidence.
    """
    clocks = _Clocks(evidence, fixed_clocks)
    scores: dict[tuple[float, ...], float] = {}
    for start in range(_ALTERNATIVES):
        solution = clocks.solve(start)
        # Rounded, so that equal sets are merged and equal evidence keeps its order.
        values = (round(a, 3) if b is None else b for a, b in zip(solution, clocks.fixed_clocks, strict=True))
        scores.setdefault(tuple(values), round(clocks.total(solution), 6))
    largest = max(scores.values())
    likely = {values: score for values, score in scores.items() if score >= _MIN_EVIDENCE * largest}
    return [(list(values), likely[values]) for values in sorted(likely, key=lambda values: -likely[values])]


class _Clocks:
    """The clocks of several views, solved one after the other, and then each again with all others known."""

    def __init__(self, evidence: Mapping[tuple[int, int], Array], fixed_clocks: Sequence[float | None]) -> None:
        self.evidence = evidence
        all_unknown = all(value is None for value in fixed_clocks)
        self.fixed_clocks = [0.0, *fixed_clocks[1:]] if all_unknown else list(fixed_clocks)
        self.reach = len(next(iter(evidence.values()))) // 2

    def solve(self, start: int) -> list[float]:
        """Estimate the clocks. The one that is solved first gets the peak of number `start` of its evidence."""
        clocks = list(self.fixed_clocks)
        missing = [view for view, value in enumerate(clocks) if value is None]
        rank = start
        # The clock with most evidence first. The following ones have more clocks to agree with.
        while missing:
            peaks_of = {view: self._peaks(clocks, view) for view in missing}
            view = max(missing, key=lambda number: peaks_of[number][0][0])
            clocks[view] = peaks_of[view][min(rank, len(peaks_of[view]) - 1)][1]
            missing.remove(view)
            rank = 0
        # The first clocks were solved with few others. Each is solved again, at its nearest peak.
        for _ in range(_CLOCK_ROUNDS):
            for view, value in enumerate(self.fixed_clocks):
                if value is None:
                    current = clocks[view] or 0.0
                    peaks = self._peaks(clocks, view)
                    clocks[view] = min((clock for _, clock in peaks), key=lambda clock: abs(clock - current))
        return [0.0 if value is None else value for value in clocks]

    def total(self, clocks: Sequence[float]) -> float:
        """Sum the evidence for all clocks."""
        steps = np.arange(-self.reach, self.reach + 1) * STEP
        return float(sum(np.interp(clocks[b] - clocks[a], steps, curve) for (a, b), curve in self.evidence.items()))

    def _peaks(self, clocks: Sequence[float | None], view: int) -> list[tuple[float, float]]:
        """List the evidence for the likeliest clocks of a view, given the known clocks, and these clocks."""
        known_clocks = [(number, value) for number, value in enumerate(clocks) if value is not None and number != view]
        reach = self.reach
        middle = known_clocks[0][1]
        curve = np.zeros(2 * reach + 1)
        for number, value in known_clocks:
            pair = self.evidence[number, view] if number < view else self.evidence[view, number][::-1]
            curve += _shift(pair, value - middle)
        rising = np.concatenate(([True], curve[1:] > curve[:-1]))
        falling = np.concatenate((curve[:-1] >= curve[1:], [True]))
        peaks = sorted(np.flatnonzero(rising & falling).tolist(), key=lambda peak: -curve[peak])[:_ALTERNATIVES]
        result = [(float(curve[peak]), middle + STEP * (peak - reach + _vertex(curve, peak))) for peak in peaks]
        # Most cameras start together, so that another clock needs clear movements.
        unclear = curve[peaks[0]] < curve[reach] + _MIN_GAIN
        return [(float(curve[reach]), middle), *result] if unclear else result


def _shift(curve: Array, offset: float) -> Array:
    """Shift the curve of a view about a clock that is `offset` seconds ahead to another clock. 0 beyond its ends."""
    positions = np.arange(len(curve))
    return np.interp(positions - offset / STEP, positions, curve, left=0.0, right=0.0)


def _vertex(curve: Array, peak: int) -> float:
    """Find the vertex, −0.5 to 0.5, of the parabola through the largest value and its neighbours. 0 at an end."""
    if not 0 < peak < len(curve) - 1:
        return 0.0
    left, top, right = curve[peak - 1 : peak + 2]
    bend = 2 * top - left - right
    return float(np.clip(0.5 * (right - left) / bend, -0.5, 0.5)) if bend > 0 else 0.0
