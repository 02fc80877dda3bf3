"""How two cameras stand to each other, how their clocks differ, and who in one is who in the other.

Joints about the pelvis, as each camera's own fit has them, differ between two cameras by one rotation, which is the
same for all people and all frames. The best rotation, and how far the joints then lie apart, follow from 3 × 3 sums of
products of joints: for all differences of the clocks at once by a Fourier transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.tracks import Array, ViewTrack, about_pelvis, mirrored

_STEP = 1 / 60  # seconds between the samples that clocks are compared on
_MIN_OVERLAP = 0.4  # seconds that two tracks must share
_CLEAR = 0.98  # times the distance at no offset: an offset must explain more, else there is none
_MIRROR = 0.75  # times the distance of the joints as they are: below it the mirror image is the right one


class Agreement(NamedTuple):
    """How well a person of one camera is one of another.

    distance  metres: mean distance of the joints about the pelvis after the best rotation
    rotation  (3, 3) axes of the first camera to those of the second
    offset    seconds that the second camera's clock is ahead of the first one's
    overlap   seconds that both show; 0 for one moment
    flipped   whether one of the two is a mirror image
    """

    distance: float
    rotation: Array
    offset: float
    overlap: float
    flipped: bool = False


def best_rotation(source: Array, target: Array) -> Array:
    """(3, 3): the rotation that best turns points (..., 3) into others."""
    return _rotation_of(target.reshape(-1, 3).T @ source.reshape(-1, 3))


def _rotation_of(covariance: Array) -> Array:
    u, _, vt = np.linalg.svd(covariance)
    sign = np.sign(np.linalg.det(u @ vt))
    return np.asarray(u @ np.diag((1.0, 1.0, sign)) @ vt)


def agreement(
    first: ViewTrack, second: ViewTrack, options: ViewsOptions, *, offset: float | None = None
) -> Agreement | None:
    """How well two tracks are one person; None where they share too little time.

    offset  of the second clock, where it is known; None looks for the best one within `options.max_offset`
    """
    found = _agreement(first, second, options, offset)
    if found is None:
        return None
    reversed_ = _agreement(first, replace(second, joints=mirrored(second.joints)), options, offset)
    return found._replace(flipped=reversed_ is not None and reversed_.distance < _MIRROR * found.distance)


def _agreement(first: ViewTrack, second: ViewTrack, options: ViewsOptions, offset: float | None) -> Agreement | None:
    if len(first) == 1 and len(second) == 1:
        pairs = about_pelvis(first.joints), about_pelvis(second.joints)
        rotation = best_rotation(*pairs)
        return Agreement(_apart(*pairs, rotation), rotation, 0.0, 0.0)
    if offset is None:
        offset = _best_offset(first, second, options.max_offset)
    if offset is None:
        return None
    moved = second.moved(offset)
    shared = shared_times(first, moved)
    one, other = first.at(shared), moved.at(shared)
    shown = one.shown & other.shown
    overlap = float(shown.sum() * _STEP)
    if overlap < _MIN_OVERLAP - 2 * _STEP:
        return None
    a, b = about_pelvis(one.joints[shown]), about_pelvis(other.joints[shown])
    rotation = best_rotation(a, b)
    return Agreement(_apart(a, b, rotation), rotation, offset, overlap)


def _apart(a: Array, b: Array, rotation: Array) -> float:
    return float(np.linalg.norm(a @ rotation.T - b, axis=-1).mean())


def shared_times(first: ViewTrack, second: ViewTrack, step: float = _STEP) -> Array:
    """Times, `step` apart, from when both have begun until one of them ends."""
    start, stop = max(first.times[0], second.times[0]), min(first.times[-1], second.times[-1])
    return start + step * np.arange(max(int((stop - start) / step) + 1, 0))


def _best_offset(first: ViewTrack, second: ViewTrack, limit: float) -> float | None:
    """Seconds that the second clock is ahead; 0 unless another value explains the joints clearly better; None without
    an overlap.
    """
    begin = min(first.times[0], second.times[0])
    a, b = _sampled(first, begin), _sampled(second, begin)
    length = next_fast_len(len(a.shown) + len(b.shown))
    # Sums over the frames that both show, for every shift: of products of joints, of squares, of frames.
    products = _correlate(a.joints, b.joints, length)  # (lags, 3, 3)
    squares = _shifted_sums(a.squares, b.shown, length) + _shifted_sums(b.squares, a.shown, length, swapped=True)
    frames = _shifted_sums(a.shown, b.shown, length)
    lags = np.fft.fftfreq(length, 1 / length).round().astype(int)
    values = np.linalg.svd(products, compute_uv=False)
    values[:, 2] *= np.sign(np.linalg.det(products))
    usable = (frames * _STEP >= _MIN_OVERLAP) & (np.abs(lags) * _STEP <= limit + 0.5 * _STEP)
    if not usable.any():
        return None
    error = np.where(usable, (squares - 2 * values.sum(1)) / np.maximum(frames, 1), np.inf)
    best = int(error.argmin())
    zero = int(np.flatnonzero(lags == 0)[0])
    if error[best] > _CLEAR**2 * error[zero]:
        return 0.0
    return float(-_STEP * (lags[best] + _vertex(error, best, length)))


class _Samples(NamedTuple):
    """Joints (K, 24, 3) about the pelvis at even times, zero where unknown; shown (K,) 0 or 1; squares (K,)."""

    joints: Array
    shown: Array
    squares: Array


def _sampled(track: ViewTrack, begin: float) -> _Samples:
    times = np.asarray(begin + _STEP * np.arange(int((track.times[-1] - begin) / _STEP) + 1), np.float64)
    moments = track.at(times)
    joints = np.where(moments.shown[:, None, None], about_pelvis(moments.joints), 0.0)
    return _Samples(joints, moments.shown.astype(np.float64), np.square(joints).sum((1, 2)))


def _correlate(a: Array, b: Array, length: int) -> Array:
    """(L, 3, 3): for each shift the sum over k of b[k] ᵀ a[k + shift], by joints."""
    spectra = [rfft(values, length, axis=0) for values in (a, b)]
    products = np.einsum("kni,knj->kij", spectra[1].conj(), spectra[0])
    return np.asarray(irfft(products, length, axis=0))


def _shifted_sums(a: Array, b: Array, length: int, *, swapped: bool = False) -> Array:
    """(L,): for each shift the sum over k of a[k + shift] b[k]; swapped: of a[k] b[k + shift]."""
    one, other = rfft(a, length), rfft(b, length)
    product = one.conj() * other if swapped else one * other.conj()
    return np.asarray(irfft(product, length))


def _vertex(error: Array, best: int, length: int) -> float:
    """Where the parabola through the smallest of cyclic values and its neighbours has its vertex, −0.5 to 0.5."""
    before, here, after = error[(best - 1) % length], error[best], error[(best + 1) % length]
    bend = before - 2 * here + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if np.isfinite(bend) and bend > 0 else 0.0


def clock_offset(first: Sequence[ViewTrack], second: Sequence[ViewTrack], options: ViewsOptions) -> float:
    """Seconds that the second camera's clock is ahead: of the pair of people whose joints then lie nearest."""
    found = [agreement(a, b, options) for a in first for b in second]
    usable = [one for one in found if one is not None and not one.flipped]
    return min(usable, key=_doubtful_distance).offset if usable else 0.0


def _doubtful_distance(one: Agreement) -> float:
    """The distance with a surcharge for short overlaps, in which many movements look alike."""
    return one.distance * (1 + 0.5 / max(one.overlap, 0.1))
