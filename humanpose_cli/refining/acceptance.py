"""Whether a refined body aligns better, by a measure that refinement did not use: the person's silhouette.

The pose network that finds people also tells which pixels show each of them. Refinement looks at colours inside of the
body's own outline and never at that mask, so the overlap of mask and drawn body (intersection over union) is evidence
of its own. Clothes and hair make the mask wider than the body, alike before and after.

A frame alone is noise: what counts is the gain in overlap, averaged over neighbouring frames of the track. And a small
gain says little, since clothes and arms before the trunk change the overlap, too: least gain and average are calibrated
on twelve rendered clips, with flow and with keypoints, all fits held alike (`problem.hold_share` 1), from any gain with
an average over 6 frames to these:

    start                           accepted      nearer to truth if accepted    joints' error against the start's
    truth, 0.02 rad off a joint     61 →  5 %       1 →  8 %                      +109 →  +6 %
    truth, 0.05 rad                 90 → 55 %      52 → 66 %                        +5 →  −4 %
    truth, 0.08 rad                 93 → 83 %      79 → 86 %                       −13 → −15 %
    an estimator's errors           93 → 77 %      80 → 94 %                       −23 → −24 %
    keypoint fits                  100 → 28 %      48 → 70 %                         0 →   0 %
    Neural Body Fitting's network  100 → 76 %      68 → 70 %                        −5 →  −4 %
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

Array = NDArray[Any]

_NEIGHBOURS = 12.0  # frames: standard deviation of the average over a track
_LEAST_GAIN = 0.12  # share of what the overlap lacks to 1
_FADE = 3.0  # frames over which a track goes from the fit to its refinement


def masks_of_rows(
    record: FitRecord, rows: NDArray[np.integer], image: NDArray[np.uint8], pool: ModelPool
) -> list[PersonMask | None]:
    """The pixels of a frame that show the people of some rows; None where the network finds another pose there."""
    return [person.mask for person in watch_keypoints(pool, image, people_of_rows(record, rows), 0)]


def people_of_rows(record: FitRecord, rows: NDArray[np.integer]) -> list[DetectedPerson]:
    """Some rows as people known by keypoints: their projected joints."""
    people = []
    for row in rows:
        points = np.concatenate((record.joints2d[row], np.ones((len(SMPL24), 1), np.float32)), 1)
        spread = np.zeros(len(SMPL24), np.float32)
        people.append(DetectedPerson(record.boxes[row], points, None, spread, None, None, 1.0, SMPL24))
    return people


def overlap(mask: Array, drawn: Array, ignored: NDArray[np.bool_]) -> float:
    """Intersection over union of a mask (S, S) 0…1 and a drawn body (S, S) 0…1, without ignored pixels; 0…1."""
    counted = ~ignored
    both = np.minimum(mask, drawn)[counted].sum()
    either = np.maximum(mask, drawn)[counted].sum()
    return float(both / max(float(either), 1e-6))


def accepted_share(frames: NDArray[np.integer], before: Array, after: Array) -> Array:
    """How much of the refinement each row of a track keeps: (R,) 0…1, 1 inside of accepted stretches.

    frames (R,) increasing; before, after (R,) overlaps, NaN where there is no mask

    The gain as a share of what was lacking, both averaged over neighbours in time, decides; between accepted and
    refused stretches the body goes over in some frames, since a jump would be worse than either.
    """
    known = np.isfinite(before) & np.isfinite(after)
    gain, lacking = (
        _average(frames, np.where(known, values, 0), known.astype(float), _NEIGHBOURS)
        for values in (after - before, 1 - before)
    )
    decided = (gain > _LEAST_GAIN * lacking).astype(float)
    return np.asarray(_average(frames, decided, np.ones(len(frames)), _FADE)) if len(frames) > 1 else decided


def _average(frames: NDArray[np.integer], values: Array, weights: Array, sigma: float) -> Array:
    """Gaussian average over frames (R,); 0 where nothing has weight."""
    reach = int(4 * sigma) + 1
    result = np.zeros(len(frames))
    starts, stops = np.searchsorted(frames, frames - reach), np.searchsorted(frames, frames + reach, side="right")
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        near = slice(start, stop)
        kernel = weights[near] * np.exp(-0.5 * ((frames[near] - frames[row]) / sigma) ** 2)
        result[row] = (kernel * values[near]).sum() / max(kernel.sum(), 1e-9)
    return result
