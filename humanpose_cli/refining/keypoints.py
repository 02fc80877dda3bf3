"""Keypoints for fits without any, because other programs store bodies only, or from the user's detector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.detector import predictions_for_keypoints
from humanpose_cli.detect.identity import SAME_KEYPOINTS, PosePoints, best_matches, similarity
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.regions import Pyramid
from humanpose_cli.detect.search import SCHEMES, search
from humanpose_cli.detect.user_people import select_people
from humanpose_cli.fitting.options import MIN_SCORE
from humanpose_cli.io.detections import FrameKey, UserDetection, UserDetections
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.refining.acceptance import people_of_rows
from humanpose_cli.refining.frames import CameraFit, FitFrames

_CHECK_EVERY = 4  # frames
_CHECKED_FRAMES = 5  # with other people, after which the check fails


def detected_keypoints(
    record: FitRecord, frames: FitFrames, pool: ModelPool, progress: Progress = no_progress
) -> NDArray[np.float32]:
    """Detect landmarks (N, 33, 3), x, y, confidence, around each row's joints. Zero if the pose is another one."""
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


def check_frames_show(cameras: Iterable[CameraFit], pool: ModelPool) -> None:
    """Check that the first frames of each camera show the fit's people.

    Fits without keypoints are not checked. Frames in which no person is detected, such as drawings, do not count.

    Raises:
        InputError: If the frames show other people.
    """
    for camera in cameras:
        if _shows_others(camera, pool):
            problem = f"shows other people than the fit in {_CHECKED_FRAMES} frames, as of another camera or clip"
            names = [item.label for item in camera.frames.source.items]
            raise InputError(", ".join(names) or "frames", problem, remedy="give the input that the fit was made from")


def _shows_others(camera: CameraFit, pool: ModelPool) -> bool:
    fit, count = camera.fit, 0
    is_detected = fit.keypoints2d[..., 2].any(1) & ~fit.interpolated
    with closing(camera.frames.read()) as reading:
        for frame, pixels in reading:
            rows = fit.rows_for(frame)
            rows = rows[is_detected[rows]]
            if frame % _CHECK_EVERY == 0 and len(rows):
                if any(predictions_for_keypoints(pool, pixels, people_of_rows(fit, rows), 0)):
                    return False
                count += bool(search(pool, Pyramid(pixels), SCHEMES["fast"]))
                if count == _CHECKED_FRAMES:
                    return True
    return False


def keypoints_of_file(
    record: FitRecord, frames: FitFrames, file: UserDetections, progress: Progress = no_progress
) -> NDArray[np.float32]:
    """Read each row's keypoints (N, 33, 3), x, y, confidence, from a file. Zero for bodies without a matching pose.

    Raises:
        InputError: If the file mentions none of the frames, or none of the fit's people.
    """
    keys: dict[int, FrameKey] = {}
    with closing(frames.decoded()) as reading:
        for number, decoded in reading:
            keys[number] = FrameKey.from_frame(decoded, decoded.index if record.frame_count > 1 else None)
            progress(len(keys), record.frame_count, "frames for keypoints")
    file.check_frames(list(keys.values()))
    keypoints = np.zeros((len(record), len(BLAZEPOSE33), 3), np.float32)
    for number, key in keys.items():
        people = select_people(file.people_of(key) or (), MIN_SCORE).people
        rows = record.rows_for(number)
        for row, person in best_matches(_similarities(record, rows, people), SAME_KEYPOINTS):
            keypoints[rows[row]] = people[person].keypoints
    if len(record) and not keypoints[..., 2].any():
        raise InputError(file.path, "shows none of the fit's people", expected="the keypoints of the fit's frames")
    return keypoints


def _similarities(record: FitRecord, rows: NDArray[np.integer], people: Sequence[UserDetection]) -> NDArray[np.float64]:
    """Compute the similarity (R, P) of bodies and people by their common joints."""
    names = [name for name in SMPL24.joint_names if name in BLAZEPOSE33]
    joints = record.joints2d[rows][:, SMPL24.indices(names)]
    sizes = np.ptp(record.joints2d[rows], axis=1).max(-1, initial=1)
    result = np.zeros((len(rows), len(people)))
    for j, person in enumerate(people):
        if person.keypoints is None:
            continue
        values = person.keypoints[BLAZEPOSE33.indices(names)]
        for i, (points, size) in enumerate(zip(joints, sizes, strict=True)):
            body, pose = PosePoints(points, size), PosePoints(values[:, :2], size, values[:, 2])
            result[i, j] = similarity(body, pose, min_confidence=0)
    return result
