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
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.tracks import Array, ViewTrack, about_pelvis, mirrored

STEP = 1 / 60
"""Seconds between the samples that clocks are compared on."""
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

    distance  metres: mean distance of the joints about the pelvis after the best rotation
    overlap   seconds that both show; 0 for one moment
    correlation  of their movements about the mean posture, −1 to 1; 0 for one moment
    flipped   whether one of the two is a mirror image
    alike     how well they agree, mirrored where `flipped`; 0 for not at all
    """

    distance: float
    overlap: float
    correlation: float = 0.0
    flipped: bool = False
    alike: float = 0.0


def best_rotation(source: Array, target: Array) -> Array:
    """(3, 3): the rotation that best turns points (..., 3) into others."""
    u, _, vt = np.linalg.svd(target.reshape(-1, 3).T @ source.reshape(-1, 3))
    sign = np.sign(np.linalg.det(u @ vt))
    return np.asarray(u @ np.diag((1.0, 1.0, sign)) @ vt)


def agreement(first: ViewTrack, second: ViewTrack, offset: float) -> Agreement | None:
    """How well two tracks are one person; None where they share too little time.

    offset  seconds that the second clock is ahead
    """
    found = _agreement(first, second, offset)
    if found is None:
        return None
    reversed_ = _agreement(first, replace(second, joints=mirrored(second.joints)), offset)
    assert reversed_ is not None  # for both share the same time
    if found.overlap:
        flipped = reversed_.correlation > max(found.correlation, 0.0) + _MIRROR_CORRELATION
        alike = found.overlap * max((reversed_ if flipped else found).correlation, 0.0)
    else:
        flipped = reversed_.distance < _MIRROR * found.distance
        alike = 1 / max((reversed_ if flipped else found).distance, _NEAREST)
    return found._replace(flipped=flipped, alike=alike)


def _agreement(first: ViewTrack, second: ViewTrack, offset: float) -> Agreement | None:
    if len(first) == 1 and len(second) == 1:
        pairs = about_pelvis(first.joints), about_pelvis(second.joints)
        rotation = best_rotation(*pairs)
        return Agreement(_apart(*pairs, rotation), 0.0)
    moved = second.moved(offset)
    shared = shared_times(first, moved)
    one, other = first.at(shared), moved.at(shared)
    shown = one.shown & other.shown
    overlap = float(shown.sum() * STEP)
    if overlap < _MIN_OVERLAP - 2 * STEP:
        return None
    a, b = about_pelvis(one.joints[shown]), about_pelvis(other.joints[shown])
    rotation = best_rotation(a, b)
    moves, others = (values[:, _MOVING] - values[:, _MOVING].mean(0) for values in (a @ rotation.T, b))
    spread = float(np.sqrt(np.square(moves).sum() * np.square(others).sum()))
    correlation = float((moves * others).sum()) / max(spread, 1e-9)
    return Agreement(_apart(a, b, rotation), overlap, correlation)


def _apart(a: Array, b: Array, rotation: Array) -> float:
    return float(np.linalg.norm(a @ rotation.T - b, axis=-1).mean())


def shared_times(first: ViewTrack, second: ViewTrack, step: float = STEP) -> Array:
    """Times, `step` apart, from when both have begun until one of them ends."""
    start, stop = max(first.times[0], second.times[0]), min(first.times[-1], second.times[-1])
    return start + step * np.arange(max(int((stop - start) / step) + 1, 0))


def clock_evidence(first: Sequence[ViewTrack], second: Sequence[ViewTrack], options: ViewsOptions) -> Array:
    """(2 M + 1,) how much speaks for each difference of two clocks, the second being ahead by −M to M times `STEP`.

    Summed over the people whose movements correlate best: −log(1 − ρ²), for a correlation of ρ, times the seconds that
    both cameras show; 0 where nothing moves. M steps are `options.max_offset`.
    """
    plain = _clock_evidence(first, second, options)
    # A mirror image has the same clock.
    mirror = _clock_evidence(first, [replace(t, joints=mirrored(t.joints)) for t in second], options)
    return mirror if mirror.max() > _MIRROR_EVIDENCE * plain.max() else plain


def _clock_evidence(first: Sequence[ViewTrack], second: Sequence[ViewTrack], options: ViewsOptions) -> Array:
    reach = round(options.max_offset / STEP)
    one, other = (sorted((t for t in tracks if len(t) > 1), key=len)[-_CLOCK_TRACKS:] for tracks in (first, second))
    if not one or not other:
        return np.zeros(2 * reach + 1)
    pairs = np.array([[_movement_evidence(a, b, reach) for b in other] for a in one])
    if min(len(one), len(other)) == 1:
        return np.asarray(pairs.max((0, 1)))
    return np.array([at[linear_sum_assignment(at, maximize=True)].sum() for at in np.moveaxis(pairs, -1, 0)])


class _Samples(NamedTuple):
    """Joints (K, 13, 3) about the pelvis at even times, zero where unknown; shown (K,) 0 or 1; squares (K,)."""

    joints: Array
    shown: Array
    squares: Array


def _sampled(track: ViewTrack, begin: float) -> _Samples:
    times = np.asarray(begin + STEP * np.arange(int((track.times[-1] - begin) / STEP) + 1), np.float64)
    moments = track.at(times)
    joints = np.where(moments.shown[:, None, None], about_pelvis(moments.joints)[:, _MOVING], 0.0)
    return _Samples(joints, moments.shown.astype(np.float64), np.square(joints).sum((1, 2)))


def _movement_evidence(first: ViewTrack, second: ViewTrack, reach: int) -> Array:
    """(2 reach + 1,) of two people's movements for each difference of the clocks."""
    begin = min(first.times[0], second.times[0])
    a, b = _sampled(first, begin), _sampled(second, begin)
    length = next_fast_len(len(a.shown) + len(b.shown))

    shifts = np.fft.fftfreq(length, 1 / length).round().astype(int)
    inside = np.abs(shifts) <= reach

    def spectrum(values: Array) -> Array:
        return np.asarray(rfft(values, length, axis=0))

    def over_shifts(products: Array) -> Array:
        """For each shift within reach the sum over k of a[k + shift] b[k], of a's spectrum times b's conjugate one."""
        return np.asarray(irfft(products, length, axis=0))[inside]

    shown_a, joints_a, squares_a = (spectrum(values) for values in (a.shown, a.joints, a.squares))
    shown_b, joints_b, squares_b = (spectrum(values).conj() for values in (b.shown, b.joints, b.squares))
    # Sums over the frames that both show: of frames, of joints, of squares, and of products of joints.
    frames = np.maximum(over_shifts(shown_a * shown_b), 0)
    count = np.maximum(frames, 1)
    sum_a = over_shifts(joints_a * shown_b[:, None, None])
    sum_b = over_shifts(shown_a[:, None, None] * joints_b)
    products = over_shifts(np.einsum("kni,knj->kij", joints_b, joints_a))
    means = np.einsum("sni,snj->sij", sum_b, sum_a) / count[:, None, None]
    spread_a = over_shifts(squares_a * shown_b) - np.square(sum_a).sum((1, 2)) / count
    spread_b = over_shifts(shown_a * squares_b) - np.square(sum_b).sum((1, 2)) / count
    u, _, vt = np.linalg.svd(products)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    common = np.einsum("sij,sij->s", u @ vt, products - means)
    correlation = common / np.sqrt(np.maximum(spread_a * spread_b, 1e-9))
    explained = -np.log1p(-np.square(np.clip(correlation, 0, _LARGEST_CORRELATION)))
    seconds = frames * STEP
    evidence = np.where(seconds >= _MIN_OVERLAP, np.maximum(seconds - _DEPENDENT, 0) * explained, 0.0)
    result = np.zeros(2 * reach + 1)
    result[reach - shifts[inside]] = evidence
    return result


def likely_clocks(
    evidence: Mapping[tuple[int, int], Array], fixed: Sequence[float | None], clear: float
) -> list[tuple[list[float], float]]:
    """Seconds that the clocks of V views are ahead of the first one's, and how much speaks for them in all pairs: those
    for which most does, then others for which nearly as much does.

    evidence  of pairs of views, the lower number first, as `clock_evidence` has it
    fixed     what is known of them; clear: how much more must speak for a difference than for none
    """
    clocks = _Clocks(evidence, fixed, clear)
    found: dict[tuple[float, ...], float] = {}
    for start in range(_ALTERNATIVES):
        solved = clocks.solved(start)
        # Rounded, so that equal sets are one and equal evidence keeps its order.
        values = (round(a, 3) if b is None else b for a, b in zip(solved, clocks.fixed, strict=True))
        found.setdefault(tuple(values), round(clocks.total(solved), 6))
    largest = max(found.values())
    likely = {values: score for values, score in found.items() if score >= _NEARLY * largest}
    return [(list(values), likely[values]) for values in sorted(likely, key=lambda values: -likely[values])]


class _Clocks:
    """The clocks of several views, solved one after the other and then each again, given all others."""

    def __init__(self, evidence: Mapping[tuple[int, int], Array], fixed: Sequence[float | None], clear: float) -> None:
        self.evidence, self.clear = evidence, clear
        self.fixed = [0.0, *fixed[1:]] if all(value is None for value in fixed) else list(fixed)
        self.reach = len(next(iter(evidence.values()))) // 2

    def solved(self, start: int) -> list[float]:
        """The clocks, of which the one that is solved first has the peak of number `start` of its evidence."""
        clocks = list(self.fixed)
        missing = [view for view, value in enumerate(clocks) if value is None]
        rank = start
        while missing:
            peaks_of = {view: self._peaks(clocks, view) for view in missing}
            view = max(missing, key=lambda number: peaks_of[number][0][0])
            clocks[view] = peaks_of[view][min(rank, len(peaks_of[view]) - 1)][1]
            missing.remove(view)
            rank = 0
        for _ in range(_CLOCK_ROUNDS):
            for view, value in enumerate(self.fixed):
                if value is None:
                    before, peaks = clocks[view] or 0.0, self._peaks(clocks, view)
                    clocks[view] = min((clock for _, clock in peaks), key=lambda clock: abs(clock - before))
        return [0.0 if value is None else value for value in clocks]

    def total(self, clocks: Sequence[float]) -> float:
        """How much speaks for all clocks."""
        steps = np.arange(-self.reach, self.reach + 1) * STEP
        return float(sum(np.interp(clocks[b] - clocks[a], steps, curve) for (a, b), curve in self.evidence.items()))

    def _peaks(self, clocks: Sequence[float | None], view: int) -> list[tuple[float, float]]:
        """How much speaks for the clocks of a view for which most does, given those of others, and these clocks."""
        others = [(other, value) for other, value in enumerate(clocks) if value is not None and other != view]
        middle, reach = others[0][1], self.reach
        curve = np.zeros(2 * reach + 1)
        for other, value in others:
            pair = self.evidence[other, view] if other < view else self.evidence[view, other][::-1]
            curve += _shifted(pair, value - middle)
        rising = np.concatenate(([True], curve[1:] > curve[:-1]))
        falling = np.concatenate((curve[:-1] >= curve[1:], [True]))
        peaks = sorted(np.flatnonzero(rising & falling).tolist(), key=lambda peak: -curve[peak])[:_ALTERNATIVES]
        found = [(float(curve[peak]), middle + STEP * (peak - reach + _vertex(curve, peak))) for peak in peaks]
        unclear = curve[peaks[0]] < curve[reach] + self.clear
        return [(float(curve[reach]), middle), *found] if unclear else found


def _shifted(curve: Array, offset: float) -> Array:
    """The curve of a view about a clock that is `offset` seconds ahead, about another clock; 0 beyond its ends."""
    at = np.arange(len(curve))
    return np.interp(at - offset / STEP, at, curve, left=0.0, right=0.0)


def _vertex(curve: Array, peak: int) -> float:
    """Where the parabola through the largest value and its neighbours has its vertex, −0.5 to 0.5; 0 at an end."""
    if not 0 < peak < len(curve) - 1:
        return 0.0
    before, here, after = curve[peak - 1 : peak + 2]
    bend = 2 * here - before - after
    return float(np.clip(0.5 * (after - before) / bend, -0.5, 0.5)) if bend > 0 else 0.0
