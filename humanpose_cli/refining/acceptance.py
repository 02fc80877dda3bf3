"""Whether a refined body aligns better, by a measure that refinement did not use: the person's silhouette.

The pose network that finds people also segments the pixels of each of them. Refinement looks at colours inside of the
body's own outline and never at that mask, so the overlap of mask and drawn body (intersection over union) is evidence
of its own. Clothes and hair make the mask wider than the body, alike before and after.

A frame alone is noise: what counts is the gain in overlap, averaged over neighbouring moments of the track; but no row
moves to where its own overlap is smaller than that of the fit. A small gain says little, since clothes and arms before
the trunk change the overlap, too. And what moves a fit that was nearly right errs as much as the fit itself: then the
overlap is largest halfway, and a body between the two is nearer to the truth than either. So the body goes towards
where the overlap is largest, the farther the more is gained there, as an estimate is shrunk that has noise of its own.
Where the overlap still grows at the end, as on real videos, most of the refinement or all of it is kept.

The constants are calibrated on rendered clips against the joints' error, and tried on others
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
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.refining.options import AcceptanceOptions

Array = NDArray[Any]

# Where the overlap would be largest, in the way to the moved bodies: the parabola through three overlaps foretells no
# more.
_FARTHEST = 2.0
# Seconds: standard deviations of the averages over a track, of overlaps and of the share that is kept.
_NEIGHBOURS, _FADE = 0.2, 0.05


def masks_of_rows(
    record: FitRecord, rows: NDArray[np.integer], image: NDArray[np.uint8], pool: ModelPool
) -> list[PersonMask | None]:
    """Find the pixels of a frame that show the people of some rows; None where the network finds another pose there."""
    return [person.mask for person in watch_keypoints(pool, image, people_of_rows(record, rows), 0)]


def people_of_rows(record: FitRecord, rows: NDArray[np.integer]) -> list[DetectedPerson]:
    """Describe some rows as people known by keypoints: their projected joints."""
    people = []
    for row in rows:
        points = np.concatenate((record.joints2d[row], np.ones((len(SMPL24), 1), np.float32)), 1)
        spread = np.zeros(len(SMPL24), np.float32)
        people.append(DetectedPerson(record.boxes[row], points, None, spread, None, None, 1.0, SMPL24))
    return people


def overlap(mask: Array, silhouette: Array, outside: NDArray[np.bool_]) -> float:
    """Compute intersection over union, 0…1, of a mask and a drawn body (S, S) 0…1, without ignored pixels."""
    valid = ~outside
    both = np.minimum(mask, silhouette)[valid].sum()
    either = np.maximum(mask, silhouette)[valid].sum()
    return float(both / max(float(either), 1e-6))


def accepted_share(seconds: Array, overlaps: Array, options: AcceptanceOptions | None = None) -> Array:
    """Compute how much of the refinement each row of a track keeps: (R,) 0…1.

    The parabola through a row's overlaps, averaged over neighbours in time, gives the share of the way at which the
    overlap would be largest, and its gain g there as a share of what was lacking, or that of the moved bodies if these
    come first. The row goes g / (g + noise) of that way. The share changes over some time, because a jump would be
    worse than either.

    Args:
        seconds: (R,) when the rows' frames were taken, increasing.
        overlaps: (R, 3) of the fit, of the bodies half of the way, and of those moved the whole way; NaN without a
            mask.
    """
    options = options or AcceptanceOptions()
    if options.everything:
        return np.ones(len(seconds))
    valid = np.isfinite(overlaps).all(1).astype(float)
    fit, half, full = (_average(seconds, np.where(valid > 0, column, 0), valid, _NEIGHBOURS) for column in overlaps.T)
    slope, bend = _parabola(fit, half, full)
    highest = np.where(bend < 0, np.maximum(slope, 0) / np.maximum(-2 * bend, 1e-9), np.inf)
    highest = np.minimum(highest, _FARTHEST)
    position = np.minimum(highest, 1)
    gain = (slope * position + bend * position**2) / np.maximum(1 - fit, 1e-6)
    trust = np.where(gain > 0, gain / (gain + options.gain_noise), 0)
    share = np.minimum(trust * highest, 1)
    share = _average(seconds, share, np.ones(len(seconds)), _FADE)
    return _without_losses(seconds, share, overlaps)


def _without_losses(seconds: Array, share: Array, overlaps: Array) -> Array:
    """Find the largest share (R,) of at most `share` at which no row's overlap is smaller than the fit's.

    A row that would lose has neighbours whose shares fall towards its own, by 1 in twice `_FADE`.
    """
    slope, bend = _parabola(*overlaps.T)
    # Where the overlap rises, then falls, a row may go to where it is the fit's again; where it falls first, nowhere.
    end = np.where((slope > 0) & (bend < 0), slope / np.maximum(-bend, 1e-9), 0.0)
    time = seconds / (2 * _FADE)
    while (loses := share * (slope + bend * share) < -1e-9).any():  # False without a mask; each pass settles a row
        share = np.where(loses, np.minimum(share, end * (1 - 1e-9)), share)
        share = np.minimum.accumulate(share - time) + time  # no faster up than 1 in that time, and no faster down
        share = np.minimum.accumulate((share + time)[::-1])[::-1] - time
    return share


def overlap_at(overlaps: Array, share: Array) -> Array:
    """Evaluate the overlap of each row at its share of the way: (R,), by the parabola through the three (R, 3)
    that were measured; exactly those at 0, a half and 1, and NaN where they are.
    """
    fit, half, full = overlaps.T
    slope, bend = _parabola(fit, half, full)
    return np.asarray(fit + slope * share + bend * share**2)


def _parabola(fit: Array, half: Array, full: Array) -> tuple[Array, Array]:
    """Fit slope and bend of fit + slope · share + bend · share² through the overlaps at 0, a half and 1."""
    bend = 2 * (full - 2 * half + fit)
    return full - fit - bend, bend


def _average(seconds: Array, values: Array, weights: Array, sigma: float) -> Array:
    """Compute the Gaussian average over the rows' times (R,); 0 where nothing has weight."""
    result = np.zeros(len(seconds))
    starts = np.searchsorted(seconds, seconds - 4 * sigma)
    stops = np.searchsorted(seconds, seconds + 4 * sigma, side="right")
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        near = slice(start, stop)
        kernel = weights[near] * np.exp(-0.5 * ((seconds[near] - seconds[row]) / sigma) ** 2)
        result[row] = (kernel * values[near]).sum() / max(kernel.sum(), 1e-9)
    return result
