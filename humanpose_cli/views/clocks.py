"""The differences between the clocks of cameras, from the movements of the people that they see.

Joints about the neck, from each camera's own fit, differ between two cameras by one rotation. The correlation of their
movements after the best rotation follows from sums of products of joints, for all differences of two clocks at once by
a Fourier transform. Joints count by their confidence, so that hidden ones, which are guessed, have no voice. Movements
are about the mean posture, because fits of single cameras lean in different ways and a still body has no information
about time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import linear_sum_assignment

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.views.tracks import Array, ViewTrack, about_neck, mirrored

STEP = 1 / 60
"""Seconds between the samples by which clocks are compared."""
MIN_OVERLAP = 0.4
"""Seconds that two tracks must share."""
_MIRROR_EVIDENCE = 2.0  # factor by which a mirror image must increase the evidence for a clock
_TRACKS = 4  # longest tracks of each camera whose movements are compared
_MAX_CORRELATION = 0.99
_ROUNDS = 2
_ALTERNATIVES = 3  # sets of clocks that are compared further
_MIN_EVIDENCE = 0.6  # of an alternative, relative to the best one
_ENDS = [
    f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
]
MOVING = list(SMPL24.indices((*_ENDS, "head")))
"""Joints whose movements are compared."""


def likely_clocks(
    views: Sequence[Sequence[ViewTrack]], expected: Sequence[float]
) -> list[tuple[tuple[float, ...], float]]:
    """Estimate by how many seconds the clocks of V views are ahead of the first one's.

    Another clock than the expected one needs evidence that beats its evidence by more than chance gives over all
    differences that are tried: by the logarithm of the number of independent ones.

    Args:
        views: The tracks of each view, on its own clock.
        expected: (V,) seconds. The clocks by sound, or zeros.

    Returns:
        Sets of clocks with their evidence in all pairs of views. The best one first, then others with nearly as much.
    """
    moving = [[track for track in tracks if len(track) > 1] for tracks in views]
    if not any(moving):
        return [(tuple(expected), 1.0)]
    lengths = [max((track.times[-1] for track in tracks), default=0.0) for tracks in moving]
    reach = round(max(lengths) / STEP)
    pairs = combinations(range(len(views)), 2)
    clocks = _Clocks({(a, b): clock_evidence(moving[a], moving[b], reach) for a, b in pairs}, expected)
    scores: dict[tuple[float, ...], float] = {}
    for start in range(_ALTERNATIVES):
        solution = clocks.solve(start)
        # Rounded, so that equal sets are merged and equal evidence keeps its order.
        values = (round(a, 3) if a != b else b for a, b in zip(solution, expected, strict=True))
        scores.setdefault(tuple(values), round(clocks.total(solution), 6))
    largest = max(scores.values())
    likely = [item for item in scores.items() if item[1] >= _MIN_EVIDENCE * largest]
    return sorted(likely, key=lambda item: -item[1])


class ClockEvidence(NamedTuple):
    """The evidence for each difference of two clocks.

    Attributes:
        curve: (2 M + 1,) nats. The second clock is ahead by −M to M times `STEP`. 0 if nothing moves.
        shifts: The number of independent differences among them.
    """

    curve: Array
    shifts: float


def clock_evidence(first: Sequence[ViewTrack], second: Sequence[ViewTrack], reach: int) -> ClockEvidence:
    """Measure the evidence for each difference of two clocks, up to `reach` times `STEP`.

    It is the sum, over the people whose movements correlate best, of −n log(1 − ρ²) / 2 for a correlation ρ and n
    independent moments that both cameras show.
    """
    plain = _clock_evidence(first, second, reach)
    # A mirror image has the same clock.
    mirror = _clock_evidence(first, [replace(t, joints=mirrored(t.joints)) for t in second], reach)
    return mirror if mirror.curve.max() > _MIRROR_EVIDENCE * plain.curve.max() else plain


def _clock_evidence(first: Sequence[ViewTrack], second: Sequence[ViewTrack], reach: int) -> ClockEvidence:
    first, second = (sorted(tracks, key=len)[-_TRACKS:] for tracks in (first, second))
    if not first or not second:
        return ClockEvidence(np.zeros(2 * reach + 1), 1.0)
    results = [[_movement_evidence(a, b, reach) for b in second] for a in first]
    shifts = max(result.shifts for row in results for result in row)
    pairs = np.array([[result.curve for result in row] for row in results])
    if min(len(first), len(second)) == 1:
        return ClockEvidence(np.asarray(pairs.max((0, 1))), shifts)
    best = [gain[linear_sum_assignment(gain, maximize=True)].sum() for gain in np.moveaxis(pairs, -1, 0)]
    return ClockEvidence(np.array(best), shifts)


class _Samples(NamedTuple):
    """Joints about the neck at K even times.

    Attributes:
        joints: (K, 13, 3) metres.
        weights: (K, 13). The confidence, zero where the camera does not show the person.
    """

    joints: Array
    weights: Array

    @property
    def autocorrelation(self) -> Array:
        """(K,). The correlation of the movements with themselves after 0, 1, … steps."""
        weights = self.weights[..., None]
        mean = (weights * self.joints).sum(0) / weights.sum(0).clip(1e-9)
        length = next_fast_len(2 * len(weights))
        powers = np.square(np.abs(rfft(weights * (self.joints - mean), length, axis=0))).sum((1, 2))
        products = irfft(powers, length)[: len(weights)]
        return np.asarray(products / max(products[0], 1e-9))


def _samples(track: ViewTrack, begin: float) -> _Samples:
    moments = track.at(np.asarray(begin + STEP * np.arange(int((track.times[-1] - begin) / STEP) + 1)))
    weights = np.where(moments.visible[:, None], moments.seen[:, MOVING], 0.0)
    return _Samples(about_neck(moments.joints)[:, MOVING], weights)


def _movement_evidence(first: ViewTrack, second: ViewTrack, reach: int) -> ClockEvidence:
    """Measure the evidence of two people's movements for each difference of the clocks."""
    begin = min(first.times[0], second.times[0])
    a, b = _samples(first, begin), _samples(second, begin)
    length = next_fast_len(len(a.weights) + len(b.weights))
    shifts = np.fft.fftfreq(length, 1 / length).round().astype(int)
    inside = np.abs(shifts) <= reach

    def spectrum(values: Array) -> Array:
        return np.asarray(rfft(values, length, axis=0))

    def over_shifts(products: Array) -> Array:
        """Sum a[k + shift] b[k] over k for each shift within reach, from a's spectrum times b's conjugate one."""
        return np.asarray(irfft(products, length, axis=0))[inside]

    spectra = []
    for sample in (a, b):
        weights, joints = sample.weights, sample.joints
        shown = weights.any(1).astype(np.float64)
        squares = weights * np.square(joints).sum(-1)
        values = (shown, weights, weights[..., None] * joints, squares)
        spectra.append([spectrum(np.asarray(value)) for value in values])
    shown_a, weights_a, joints_a, squares_a = spectra[0]
    shown_b, weights_b, joints_b, squares_b = (values.conj() for values in spectra[1])
    # Sums over the frames that both show: frames, weights, joints, squares, and products of joints.
    seconds = np.maximum(over_shifts(shown_a * shown_b), 0) * STEP
    count = np.maximum(over_shifts(weights_a * weights_b), 1e-6)  # (S, 13)
    sum_a = over_shifts(joints_a * weights_b[..., None])
    sum_b = over_shifts(weights_a[..., None] * joints_b)
    products = over_shifts(np.einsum("kni,knj->kij", joints_b, joints_a))
    means = np.einsum("sni,snj->sij", sum_b / count[..., None], sum_a)
    spread_a = (over_shifts(squares_a * weights_b) - np.square(sum_a).sum(-1) / count).sum(-1)
    spread_b = (over_shifts(weights_a * squares_b) - np.square(sum_b).sum(-1) / count).sum(-1)
    # The best rotation of every shift (Kabsch), and the correlation after it, without rotating the joints.
    u, _, vt = np.linalg.svd(products)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    common = np.einsum("sij,sij->s", u @ vt, products - means)
    correlation = common / np.sqrt(np.maximum(spread_a, 1e-9) * np.maximum(spread_b, 1e-9))
    # Slow movements have few independent moments (Bartlett's formula).
    both = min(len(a.weights), len(b.weights))
    dependent = STEP * (1 + 2 * float((a.autocorrelation[1:both] * b.autocorrelation[1:both]).sum().clip(0)))
    information = -0.5 * np.log1p(-np.square(np.clip(correlation, 0, _MAX_CORRELATION)))
    enough = seconds >= MIN_OVERLAP
    curve = np.zeros(2 * reach + 1)
    curve[reach - shifts[inside]] = np.where(enough, seconds / dependent * information, 0.0)
    return ClockEvidence(curve, max(float(enough.sum()) * STEP / dependent, 1.0))


class _Clocks:
    """The clocks of several views, solved one after the other, and then each again with all others known."""

    def __init__(self, evidence: Mapping[tuple[int, int], ClockEvidence], expected: Sequence[float]) -> None:
        self.evidence = evidence
        self.expected = expected
        self.reach = len(next(iter(evidence.values())).curve) // 2

    def solve(self, start: int) -> list[float]:
        """Estimate the clocks. The one that is solved first gets the peak of number `start` of its evidence."""
        clocks: list[float | None] = [self.expected[0]] + [None] * (len(self.expected) - 1)
        missing = list(range(1, len(clocks)))
        rank = start
        # The clock with most evidence first. The following ones have more clocks to agree with.
        while missing:
            peaks_of = {view: self._peaks(clocks, view) for view in missing}
            view = max(missing, key=lambda number: peaks_of[number][0][0])
            clocks[view] = peaks_of[view][min(rank, len(peaks_of[view]) - 1)][1]
            missing.remove(view)
            rank = 0
        # The first clocks were solved with few others. Each is solved again, at its nearest peak.
        solved = [0.0 if clock is None else clock for clock in clocks]
        for _ in range(_ROUNDS):
            for view in range(1, len(solved)):
                candidates = [clock for _, clock in self._peaks(solved, view)]
                solved[view] = min(candidates, key=lambda clock: abs(clock - solved[view]))
        return solved

    def total(self, clocks: Sequence[float]) -> float:
        """Sum the evidence for all clocks."""
        return float(sum(_at(pair.curve, clocks[b] - clocks[a]) for (a, b), pair in self.evidence.items()))

    def _peaks(self, clocks: Sequence[float | None], view: int) -> list[tuple[float, float]]:
        """List the evidence for the likeliest clocks of a view, given the known clocks, and these clocks."""
        known_clocks = [(number, value) for number, value in enumerate(clocks) if value is not None and number != view]
        pairs = [self.evidence[min(number, view), max(number, view)] for number, _ in known_clocks]
        curves = [
            _shift(pair.curve if number < view else pair.curve[::-1], value - self.expected[view])
            for (number, value), pair in zip(known_clocks, pairs, strict=True)
        ]
        # The noise of this view is in all its pairs, so that they count as one.
        curve = np.mean(curves, axis=0)
        reach = self.reach
        rising = np.concatenate(([True], curve[1:] > curve[:-1]))
        falling = np.concatenate((curve[:-1] >= curve[1:], [True]))
        peaks = sorted(np.flatnonzero(rising & falling).tolist(), key=lambda peak: -curve[peak])[:_ALTERNATIVES]
        chance = curve[reach] + np.log(max(pair.shifts for pair in pairs))
        expected = self.expected[view]
        if curve[peaks[0]] < chance:
            return [(float(curve[reach]), expected)]
        return [(float(curve[p]), expected + STEP * (p - reach + _vertex(curve, p))) for p in peaks]


def _at(curve: Array, seconds: float) -> float:
    """Interpolate a curve at a difference of clocks. 0 beyond its ends."""
    position = seconds / STEP + len(curve) // 2
    return float(np.interp(position, np.arange(len(curve)), curve, left=0.0, right=0.0))


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
