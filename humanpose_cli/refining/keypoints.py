"""Keypoints of people whose fits come without any: other programs store bodies only."""

from __future__ import annotations

from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.detector import predictions_for_keypoints
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.refining.acceptance import people_of_rows
from humanpose_cli.refining.frames import FitFrames


def detected_keypoints(
    record: FitRecord, frames: FitFrames, pool: ModelPool, progress: Progress = no_progress
) -> NDArray[np.float32]:
    """Detect landmarks (N, 33, 3) x, y, confidence around each row's joints; zero where the pose is another one."""
    keypoints = np.zeros((len(record), len(BLAZEPOSE33), 3), np.float32)
    with closing(frames.read()) as reading:
        for count, (frame, pixels) in enumerate(reading, 1):
            rows = record.rows_for(frame)
            predictions = predictions_for_keypoints(pool, pixels, people_of_rows(record, rows), 0)
            for row, person in zip(rows, predictions, strict=True):
                if person is not None:
                    keypoints[row] = person.keypoints
            progress(count, record.frame_count, "frames for keypoints")
    return keypoints
