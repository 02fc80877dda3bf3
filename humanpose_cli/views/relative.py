"""How two cameras stand to each other, how their clocks differ, and who in one is who in the other.

Joints about the pelvis, as each camera's own fit has them, differ between two cameras by one rotation, which is the
same for all people and all frames. The best rotation, how far the joints then lie apart, and how their movements
correlate, follow from sums of products of joints: for all differences of the clocks at once by a Fourier transform.

Clocks follow from movements about the mean posture: fits of single cameras lean, each in its own way, and what does not
move says nothing about time.
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
"""Seconds between the samples that clocks are compared on."""
MAX_OFFSET = 10.0
"""Seconds between two cameras' clocks, at most, that are looked for."""
_CLEAR = 0.15  # nats by which movements must speak more for a difference of clocks than for none
_MIN_OVERLAP = 0.4  # seconds that two tracks must share
_DEPENDENT = 0.3  # seconds of an overlap that are explained by chance: a rotation and a shift fit any short movement
# Of one moment, times the distance of the joints as they are: below it the mirror image is the right one. Of movements,
# how much better they correlate with the mirror image's; those of one person correlate by 0.4 to 0.97.
_MIRROR, _MIRROR_CORRELATION = 0.75, 0.35
_MIRROR_EVIDENCE = 2.0  # times as much must speak for a clock as a mirror image shows it
_NEAREST = 1e-3  # metres between the joints of two views that are the same
_CLOCK_TRACKS = 4  # of each camera, the longest, whose movements are compared
_LARGEST_CORRELATION = 0.99
_CLOCK_ROUNDS = 2
_ALTERNATIVES, _NEARLY = 3, 0.6  # sets of clocks that are compared further, and the least share of the largest evidence
_ENDS = [
    f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
]
_MOVING = list(SMPL24.indices((*_ENDS, "head")))


class Agreement(NamedTuple):
    """How well a person of one camera is one of another.

    is_mirror whether one of the two is a mirror image

    Attributes:
        distance: Metres: mean distance of the joints about the pelvis after the best rotation.
        overlap: Seconds that both show; 0 for one moment.
        correlation: Of their movements about the mean posture, −1 to 1; 0 for one moment.
        similarity: How well they agree, as mirror images if they are some; 0 for not at all.
    """

    distance: float
    overlap: float
    correlation: float = 0.0
    is_mirror: bool = False
    similarity: float = 0.0


def best_rotation(source: Array, target: Array) -> Array:
    """Find the rotation (3, 3) that best turns points (..., 3) into others."""
    u, _, vt = np.linalg.svd(target.reshape(-1, 3).T @ source.reshape(-1, 3))
    sign = np.sign(np.linalg.det(u @ vt))
    return np.asarray(u @ np.diag((1.0, 1.0, sign)) @ vt)


def agreement(first: ViewTrack, second: ViewTrack, offset: float) -> Agreement | None:
    """Measure how well two tracks are one person; None if they share too little time.

    Args:
        offset: Seconds that the second clock is ahead.
    """
    plain = _agreement(first, second, offset)
    if plain is None:
        return None
    mirror = _agreement(first, replace(second, joints=mirrored(second.joints)), offset)
    assert mirror is not None  # for both share the same time
    # A moment may look alike from the wrong side by chance; movements hardly do.
    if plain.overlap:
        is_mirror = mirror.correlation > max(plain.correlation, 0.0) + _MIRROR_CORRELATION
        similarity = plain.overlap * max((mirror if is_mirror else plain).correlation, 0.0)
    else:
        is_mirror = mirror.distance < _MIRROR * plain.distance
        similarity = 1 / max((mirror if is_mirror else plain).distance, _NEAREST)
    return plain._replace(is_mirror=is_mirror, similarity=similarity)


def _agreement(first: ViewTrack, second: ViewTrack, offset: float) -> Agreement | None:
    if len(first) == 1 and len(second) == 1:
        a, b = about_pelvis(first.joints), about_pelvis(second.joints)
        return Agreement(_apart(a, b, best_rotation(a, b)), 0.0)
    on_clock = second.moved(offset)
    times = shared_times(first, on_clock)
    one, other = first.at(times), on_clock.at(times)
    in_both = one.visible & other.visible
    overlap = float(in_both.sum() * STEP)
    if overlap < _MIN_OVERLAP - 2 * STEP:
        return None
    a, b = about_pelvis(one.joints[in_both]), about_pelvis(other.joints[in_both])
    rotation = best_rotation(a, b)
    moves, others = (values[:, _MOVING] - values[:, _MOVING].mean(0) for values in (a @ rotation.T, b))
    spread = float(np.sqrt(np.square(moves).sum() * np.square(others).sum()))
    correlation = float((moves * others).sum()) / max(spread, 1e-9)
    return Agreement(_apart(a, b, rotation), overlap, correlation)


def _apart(a: Array, b: Array, rotation: Array) -> float:
    return float(np.linalg.norm(a @ rotation.T - b, axis=-1).mean())


def shared_times(first: ViewTrack, second: ViewTrack, step: float = STEP) -> Array:
    """List times, `step` apart, from when both have begun until one of them ends."""
    start, stop = max(first.times[0], second.times[0]), min(first.times[-1], second.times[-1])
    return start + step * np.arange(max(int((stop - start) / step) + 1, 0))


def clock_evidence(first: Sequence[ViewTrack], second: Sequence[ViewTrack]) -> Array:
    """Measure how much speaks (2 M + 1,) for each difference of two clocks, the second ahead by −M to M times `STEP`.

    Summed over the people whose movements correlate best: −log(1 − ρ²), for a correlation of ρ, times the seconds that
    both cameras show; 0 if nothing moves. M steps are `MAX_OFFSET`.
    """
    plain = _clock_evidence(first, second)
    # A mirror image has the same clock.
    mirror = _clock_evidence(first, [replace(t, joints=mirrored(t.joints)) for t in second])
    return mirror if mirror.max() > _MIRROR_EVIDENCE * plain.max() else plain


def _clock_evidence(first: Sequence[ViewTrack], second: Sequence[ViewTrack]) -> Array:
    reach = round(MAX_OFFSET / STEP)
    one, other = (sorted((t for t in tracks if len(t) > 1), key=len)[-_CLOCK_TRACKS:] for tracks in (first, second))
    if not one or not other:
        return np.zeros(2 * reach + 1)
    pairs = np.array([[_movement_evidence(a, b, reach) for b in other] for a in one])
    if min(len(one), len(other)) == 1:
        return np.asarray(pairs.max((0, 1)))
    return np.array([at[linear_sum_assignment(at, maximize=True)].sum() for at in np.moveaxis(pairs, -1, 0)])


class _Samples(NamedTuple):
    """Joints (K, 13, 3) about the pelvis at even times, zero where unknown; visible (K,) 0 or 1; squares (K,)."""

    joints: Array
    visible: Array
    squares: Array


def _samples(track: ViewTrack, begin: float) -> _Samples:
    times = np.asarray(begin + STEP * np.arange(int((track.times[-1] - begin) / STEP) + 1), np.float64)
    moments = track.at(times)
    joints = np.where(moments.visible[:, None, None], about_pelvis(moments.joints)[:, _MOVING], 0.0)
    return _Samples(joints, moments.visible.astype(np.float64), np.square(joints).sum((1, 2)))


def _movement_evidence(first: ViewTrack, second: ViewTrack, reach: int) -> Array:
    """Measure how much two people's movements speak (2 reach + 1,) for each difference of the clocks."""
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
    # Sums over the frames that both show: of frames, of joints, of squares, and of products of joints.
    frames = np.maximum(over_shifts(visible_a * visible_b), 0)
    count = np.maximum(frames, 1)
    sum_a = over_shifts(joints_a * visible_b[:, None, None])
    sum_b = over_shifts(visible_a[:, None, None] * joints_b)
    products = over_shifts(np.einsum("kni,knj->kij", joints_b, joints_a))
    means = np.einsum("sni,snj->sij", sum_b, sum_a) / count[:, None, None]
    spread_a = over_shifts(squares_a * visible_b) - np.square(sum_a).sum((1, 2)) / count
    spread_b = over_shifts(visible_a * squares_b) - np.square(sum_b).sum((1, 2)) / count
    # Of every shift the best rotation (Kabsch), and the correlation after it, without any joint being rotated.
    u, _, vt = np.linalg.svd(products)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    common = np.einsum("sij,sij->s", u @ vt, products - means)
    correlation = common / np.sqrt(np.maximum(spread_a * spread_b, 1e-9))
    # The logarithm of the variance that is left, times the seconds: as independent moments add up.
    information = -np.log1p(-np.square(np.clip(correlation, 0, _LARGEST_CORRELATION)))
    seconds = frames * STEP
    evidence = np.where(seconds >= _MIN_OVERLAP, np.maximum(seconds - _DEPENDENT, 0) * information, 0.0)
    result = np.zeros(2 * reach + 1)
    result[reach - shifts[inside]] = evidence
    return result


def likely_clocks(
    evidence: Mapping[tuple[int, int], Array], fixed_clocks: Sequence[float | None]
) -> list[tuple[list[float], float]]:
    """Find by how many seconds the clocks of V views are ahead of the first one's, and how much speaks for them in all
    pairs: those for which most does, then others for which nearly as much does.

    Args:
        evidence: Of pairs of views, the lower number first, as `clock_evidence` has it.
        fixed_clocks: What is known of them.
    """
    clocks = _Clocks(evidence, fixed_clocks)
    scores: dict[tuple[float, ...], float] = {}
    for start in range(_ALTERNATIVES):
        solution = clocks.solve(start)
        # Rounded, so that equal sets are one and equal evidence keeps its order.
        values = (round(a, 3) if b is None else b for a, b in zip(solution, clocks.fixed_clocks, strict=True))
        scores.setdefault(tuple(values), round(clocks.total(solution), 6))
    largest = max(scores.values())
    likely = {values: score for values, score in scores.items() if score >= _NEARLY * largest}
    return [(list(values), likely[values]) for values in sorted(likely, key=lambda values: -likely[values])]


class _Clocks:
    """The clocks of several views, solved one after the other and then each again, given all others."""

    def __init__(self, evidence: Mapping[tuple[int, int], Array], fixed_clocks: Sequence[float | None]) -> None:
        self.evidence = evidence
        first_clock_alone = all(value is None for value in fixed_clocks)
        self.fixed_clocks = [0.0, *fixed_clocks[1:]] if first_clock_alone else list(fixed_clocks)
        self.reach = len(next(iter(evidence.values()))) // 2

    def solve(self, start: int) -> list[float]:
        """Find the clocks, of which the one that is solved first has the peak of number `start` of its evidence."""
        clocks = list(self.fixed_clocks)
        missing = [view for view, value in enumerate(clocks) if value is None]
        rank = start
        # The clock for which most speaks first: those that follow have more of the others to agree with.
        while missing:
            peaks_of = {view: self._peaks(clocks, view) for view in missing}
            view = max(missing, key=lambda number: peaks_of[number][0][0])
            clocks[view] = peaks_of[view][min(rank, len(peaks_of[view]) - 1)][1]
            missing.remove(view)
            rank = 0
        # The first clocks knew only few of the others: each again, at its nearest peak.
        for _ in range(_CLOCK_ROUNDS):
            for view, value in enumerate(self.fixed_clocks):
                if value is None:
                    before, peaks = clocks[view] or 0.0, self._peaks(clocks, view)
                    clocks[view] = min((clock for _, clock in peaks), key=lambda clock: abs(clock - before))
        return [0.0 if value is None else value for value in clocks]

    def total(self, clocks: Sequence[float]) -> float:
        """Sum how much speaks for all clocks."""
        steps = np.arange(-self.reach, self.reach + 1) * STEP
        return float(sum(np.interp(clocks[b] - clocks[a], steps, curve) for (a, b), curve in self.evidence.items()))

    def _peaks(self, clocks: Sequence[float | None], view: int) -> list[tuple[float, float]]:
        """List how much speaks for the likeliest clocks of a view, given those of others, and these clocks."""
        others = [(other, value) for other, value in enumerate(clocks) if value is not None and other != view]
        middle, reach = others[0][1], self.reach
        curve = np.zeros(2 * reach + 1)
        for other, value in others:
            pair = self.evidence[other, view] if other < view else self.evidence[view, other][::-1]
            curve += _shift(pair, value - middle)
        rising = np.concatenate(([True], curve[1:] > curve[:-1]))
        falling = np.concatenate((curve[:-1] >= curve[1:], [True]))
        peaks = sorted(np.flatnonzero(rising & falling).tolist(), key=lambda peak: -curve[peak])[:_ALTERNATIVES]
        result = [(float(curve[peak]), middle + STEP * (peak - reach + _vertex(curve, peak))) for peak in peaks]
        # Most cameras start together: only clear movements speak for another clock.
        unclear = curve[peaks[0]] < curve[reach] + _CLEAR
        return [(float(curve[reach]), middle), *result] if unclear else result


def _shift(curve: Array, offset: float) -> Array:
    """Shift the curve of a view about a clock that is `offset` seconds ahead to another clock; 0 beyond its ends."""
    at = np.arange(len(curve))
    return np.interp(at - offset / STEP, at, curve, left=0.0, right=0.0)


def _vertex(curve: Array, peak: int) -> float:
    """Find the vertex of the parabola through the largest value and its neighbours, −0.5 to 0.5; 0 at an end."""
    if not 0 < peak < len(curve) - 1:
        return 0.0
    before, here, after = curve[peak - 1 : peak + 2]
    bend = 2 * here - before - after
    return float(np.clip(0.5 * (after - before) / bend, -0.5, 0.5)) if bend > 0 else 0.0
