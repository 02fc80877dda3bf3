"""Which fits may be plainly wrong, and why: what tables, JSON documents and overlays mark as doubtful."""

from __future__ import annotations

from collections import Counter

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.io.fit_files import FitRecord

# Whole people in sharp photographs have a confidence of 0.8 to 0.95 and an error of at most 0.012 of their size; a
# seated man half behind his camera has 0.5.
_MIN_CONFIDENCE = 0.4
_MAX_ERROR = 0.03  # of the diagonal of the person's box
_MIN_VISIBILITY = 0.5  # of a hip
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))


def row_doubts(record: FitRecord) -> list[str]:
    """For each row why its fit is doubtful, "" where it is not.

    Without hips in the image nothing says how the trunk leans and where the legs are. Of rows without any keypoints,
    as other programs' fits are, that is not known.
    """
    unknown = (record.keypoints2d[..., 2] <= 0).all(1)
    hips = record.keypoints2d[:, _HIPS]
    size = record.image_size[record.frame_index][:, None]
    visible = (hips[..., 2] >= _MIN_VISIBILITY) & (hips[..., :2] >= 0).all(-1) & (hips[..., :2] < size).all(-1)
    diagonal = np.linalg.norm(record.boxes[:, 2:] - record.boxes[:, :2], axis=-1)
    reasons = (
        ("not detected here", record.interpolated),
        ("hips not visible", ~visible.any(1) & ~unknown),
        ("low confidence", record.confidence < _MIN_CONFIDENCE),
        ("far from the joints", record.reprojection_error > _MAX_ERROR * diagonal),
    )
    return [next((reason for reason, found in reasons if found[row]), "") for row in range(len(record))]


def doubt_of_track(record: FitRecord, track: int) -> str:
    """Why most frames that a person was detected in are doubtful: the most frequent reason; "" if most are not."""
    doubts = row_doubts(record)
    found = [doubts[row] for row in record.rows_of(track) if not record.interpolated[row]]
    return Counter(filter(None, found)).most_common(1)[0][0] if 2 * sum(map(bool, found)) > len(found) else ""
