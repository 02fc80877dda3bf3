"""Decides how much of a refinement is accepted, by a measure that it did not use: the person's silhouette.

The pose network that detects people also segments them. Refinement compares colours inside the body's outline and never
uses that mask, so the overlap of mask and drawn body (intersection over union) is independent evidence. Clothes and
hair make the mask wider than the body, before and after alike.

A single frame is noisy, so the gain in overlap is averaged over neighbouring moments of the track. But no row moves to
where its own overlap is smaller than that of the fit. A small gain means little, because clothes and arms in front of
the trunk change the overlap, too. If the fit was nearly right, the moved body errs as much as the fit, the overlap is
largest halfway, and a body between the two is nearer to the truth than either. So the body goes towards the largest
overlap, farther if the gain is larger, as a noisy estimate is shrunk. If the overlap still grows at the end, as in real
videos, most or all of the refinement is accepted.

The constants are calibrated on rendered clips against the joints' error, and tested on others
(docs/research/refine.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.detect.detector import watch_keypoints
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.fitting.painted_masks import PaintedMasks
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.refining.options import AcceptanceOptions

Array = NDArray[Any]

_MAX_SHARE = 2.0  # at which the parabola through three overlaps can predict the largest overlap
_OVERLAP_SIGMA = 0.2  # seconds, of the Gaussian average of overlaps over a track
_SHARE_SIGMA = 0.05  # seconds, of the Gaussian average of the accepted share over a track
# In frames of the clips that were fitted, 3 % of the bodies have less overlap, at most 17 % of one clip's. Of the same
# clips mirrored, reversed or at another speed it is 42 % and more: most show another pose, which has no mask.
_MIN_OVERLAP = 0.6  # of a body and the mask of its person
_MAX_BELOW = 0.3  # share of bodies with less overlap or without a mask
_MIN_BELOW = 0.05  # of those with a mask, as small people and drawings have none
OTHER_CLIP = "the frames may be of another clip"
"""The doubt about bodies that do not overlap the people in their frames."""


def masks_of_rows(
    record: FitRecord,
    rows: NDArray[np.integer],
    image: NDArray[np.uint8],
    pool: ModelPool,
    painted: PaintedMasks | None = None,
) -> list[PersonMask | None]:
    """Segment the people of some rows in a frame. None if the network finds another pose than the row's."""
    people = watch_keypoints(pool, image, people_of_rows(record, rows), 0)
    if painted is not None:
        people = painted.applied(people, str(record.frame_names[record.frame_index[rows[0]]]), image.shape[:2])
    return [person.mask for person in people]


def people_of_rows(record: FitRecord, rows: NDArray[np.integer]) -> list[DetectedPerson]:
    """Describe some rows as people with their projected joints as keypoints."""
    people = []
    for row in rows:
        points = np.concatenate((record.joints2d[row], np.ones((len(SMPL24), 1), np.float32)), 1)
        spread = np.zeros(len(SMPL24), np.float32)
        people.append(DetectedPerson(record.boxes[row], points, None, spread, None, None, 1.0, SMPL24))
    return people


def overlap(mask: Array, silhouette: Array, outside: NDArray[np.bool_]) -> float:
    """Compute the intersection over union, 0 to 1, of a mask and a drawn body (S, S), without ignored pixels."""
    valid = ~outside
    both = np.minimum(mask, silhouette)[valid].sum()
    either = np.maximum(mask, silhouette)[valid].sum()
    return float(both / max(float(either), 1e-6))


def shows_other_clip(overlaps: Array) -> bool:
    """Return whether frames are probably not those of a fit.

    Args:
        overlaps: (R,). The overlap of each detected body in the frames of one camera. NaN if they show another pose.
    """
    below, missing = (overlaps < _MIN_OVERLAP).sum(), np.isnan(overlaps).sum()
    return bool(below > _MIN_BELOW * len(overlaps) and below + missing > _MAX_BELOW * len(overlaps))


def mean_of_cameras(overlaps: Array) -> Array:
    """Average overlaps (C, N, 3) over the cameras with a mask, to (N, 3)."""
    counts = np.isfinite(overlaps).all(-1).sum(0)
    mean = np.nansum(overlaps, axis=0) / np.maximum(counts, 1)[:, None]
    return np.where(counts[:, None] > 0, mean, np.nan)


def accepted_share(
    seconds: Array, overlaps: Array, options: AcceptanceOptions | None = None, locked: Array | bool = False
) -> Array:
    """Compute how much of the refinement each row of a track accepts.

    Args:
        seconds: (R,) rising. The times of the rows' frames.
        overlaps: (R, 3). The overlap of the fit, of the bodies halfway, and of the moved bodies. NaN without a mask.
        options: None: the defaults.
        locked: (R,) bool. Rows with locked joints, which accept all of it.

    Returns:
        (R,) 0 to 1.
    """
    options = options or AcceptanceOptions()
    if options.everything:
        return np.ones(len(seconds))
    valid = np.isfinite(overlaps).all(1).astype(float)
    averages = (_average(seconds, np.where(valid > 0, column, 0), valid, _OVERLAP_SIGMA) for column in overlaps.T)
    fit, half, full = averages
    # The parabola through a row's averaged overlaps gives the share at which the overlap would be largest.
    slope, bend = _parabola(fit, half, full)
    best_share = np.where(bend < 0, np.maximum(slope, 0) / np.maximum(-2 * bend, 1e-9), np.inf)
    best_share = np.minimum(best_share, _MAX_SHARE)
    # Its gain g there, at most at the moved bodies, is relative to the missing overlap. The row goes g / (g + noise) of
    # that way.
    position = np.minimum(best_share, 1)
    gain = (slope * position + bend * position**2) / np.maximum(1 - fit, 1e-6)
    trust = np.where(gain > 0, gain / (gain + options.gain_noise), 0)
    share = np.minimum(trust * best_share, 1)
    share = _average(seconds, share, np.ones(len(seconds)), _SHARE_SIGMA)  # without jumps
    share = _without_losses(seconds, share, overlaps)
    time = seconds / (2 * _SHARE_SIGMA)
    floor = np.maximum.accumulate(np.where(locked, 1.0, -np.inf) + time) - time
    floor = np.maximum.accumulate((floor - time)[::-1])[::-1] + time
    return np.maximum(share, floor)


def _without_losses(seconds: Array, share: Array, overlaps: Array) -> Array:
    """Find the largest share (R,) of at most `share` at which no row's overlap is smaller than the fit's."""
    slope, bend = _parabola(*overlaps.T)
    # If the overlap rises and then falls, a row may go until it is the fit's again. If it falls first, it stays.
    end = np.where((slope > 0) & (bend < 0), slope / np.maximum(-bend, 1e-9), 0.0)
    time = seconds / (2 * _SHARE_SIGMA)
    while (loses := share * (slope + bend * share) < -1e-9).any():  # False without a mask; each pass settles a row
        share = np.where(loses, np.minimum(share, end * (1 - 1e-9)), share)
        # The shares of neighbours change by at most 1 in twice `_SHARE_SIGMA`.
        share = np.minimum.accumulate(share - time) + time
        share = np.minimum.accumulate((share + time)[::-1])[::-1] - time
    return share


def overlap_at(overlaps: Array, share: Array) -> Array:
    """Evaluate the overlap (R,) of each row at its share, on the parabola through its measured overlaps (R, 3)."""
    slope, bend = _parabola(*overlaps.T)
    return np.asarray(overlaps[:, 0] + slope * share + bend * share**2)


def _parabola(fit: Array, half: Array, full: Array) -> tuple[Array, Array]:
    """Fit slope and bend of fit + slope · share + bend · share² through the overlaps at 0, a half and 1."""
    bend = 2 * (full - 2 * half + fit)
    return full - fit - bend, bend


def _average(seconds: Array, values: Array, weights: Array, sigma: float) -> Array:
    """Compute the Gaussian average over the rows' times (R,). 0 without weight."""
    result = np.zeros(len(seconds))
    starts = np.searchsorted(seconds, seconds - 4 * sigma)
    stops = np.searchsorted(seconds, seconds + 4 * sigma, side="right")
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        near = slice(start, stop)
        kernel = weights[near] * np.exp(-0.5 * ((seconds[near] - seconds[row]) / sigma) ** 2)
        result[row] = (kernel * values[near]).sum() / max(kernel.sum(), 1e-9)
    return result
