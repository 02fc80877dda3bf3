"""Chooses the frames that show a person best: clear, sharp, and from all sides of any camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.progress import Progress
from humanpose_cli.fitting.evidence import joint_visibility
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.refining.frames import CameraFit, with_progress

_FRONT = 1.5  # weight of the clearness over the frontal direction of the first sighting; 1: never from behind
_TIME = 0.1  # distance of a video's duration, relative to a half turn
_MIN_DISTANCE = 1e-3  # between sightings that do not show the same


class Sighting(NamedTuple):
    """Consecutive frames of one camera in which a person looks the same. The sharpest one is used.

    Attributes:
        track: The person.
        camera: The number of the camera.
        rows: The rows of the camera's fit, in the order of time.
    """

    track: int
    camera: int
    rows: tuple[int, ...]


def sightings(cameras: Sequence[CameraFit], track: int, count: int) -> list[Sighting]:
    """Choose up to `count` sightings of a person.

    The first is the clearest from the front. Each further one differs most from the previous ones in direction or time.
    """
    rows = [camera.fit.rows_of(track) for camera in cameras]
    numbers = np.repeat(np.arange(len(cameras)), [len(camera_rows) for camera_rows in rows])
    row_views = [_row_views(camera.fit, camera_rows) for camera, camera_rows in zip(cameras, rows, strict=True)]
    quality, directions, times = (np.concatenate(values) for values in zip(*row_views, strict=True))
    all_rows = np.concatenate(rows)
    distance = np.ones(len(numbers))  # from the sightings chosen so far
    score = quality * (_FRONT + directions[:, 2])
    result: list[Sighting] = []
    while len(result) < count and len(score) and score.max() > 0:
        best = int(score.argmax())
        camera = int(numbers[best])
        result.append(Sighting(track, camera, _neighbours(cameras[camera].fit, int(all_rows[best]))))
        angle = np.arccos(np.clip(directions @ directions[best], -1, 1)) / np.pi
        distance = np.minimum(distance, angle + _TIME * np.abs(times - times[best]))
        distance[(numbers == camera) & np.isin(all_rows, result[-1].rows)] = 0
        score = np.where(distance > _MIN_DISTANCE, quality * distance, 0)
    return result


def _row_views(fit: Fit, rows: NDArray[np.integer]) -> tuple[NDArray[np.float64], ...]:
    """Measure visibility (R,), direction (R, 3) in body axes, and time (R,) from 0 to 1 of rows."""
    part = fit.select(rows)
    heights = part.boxes[:, 3] - part.boxes[:, 1]
    quality = joint_visibility(part).mean(1) * np.sqrt(np.maximum(heights, 0)) * ~part.interpolated
    turn = axis_angle_to_matrix(torch.from_numpy(part.poses[:, :3].astype(np.float64))).numpy()
    pelvis = part.joints3d[:, SMPL24.index("pelvis")].astype(np.float64)
    towards = -pelvis / np.maximum(np.linalg.norm(pelvis, axis=1, keepdims=True), 1e-9)
    return quality, np.einsum("rij,ri->rj", turn, towards), part.frame_index / max(fit.frame_count - 1, 1)


def _neighbours(fit: Fit, row: int) -> tuple[int, ...]:
    """List a row and the rows of the frames before and after it."""
    frame = fit.frame_index[row]
    rows = fit.rows_of(int(fit.track_id[row]))
    near = np.abs(fit.frame_index[rows] - frame) <= 1
    return tuple(rows[near & (fit.shot_id[fit.frame_index[rows]] == fit.shot_id[frame])].tolist())


def sharpest_frames(
    cameras: Sequence[CameraFit], chosen: Sequence[Sighting], progress: Progress
) -> Iterator[tuple[Sighting, int, NDArray[np.uint8]]]:
    """Read the frames of sightings once, and yield each sighting with its sharpest row and that frame's pixels."""
    for number, (camera, report) in enumerate(with_progress(cameras, progress)):
        waiting = [sighting for sighting in chosen if sighting.camera == number]
        best: dict[Sighting, tuple[float, int, NDArray[np.uint8]]] = {}
        last = max((int(camera.fit.frame_index[sighting.rows[-1]]) for sighting in waiting), default=0)
        with closing(camera.frames.read()) as frames:
            for frame, pixels in frames if waiting else ():
                for sighting in waiting:
                    for row in sighting.rows:
                        if camera.fit.frame_index[row] == frame:
                            sharpness = _sharpness(pixels, camera.fit.boxes[row])
                            if sighting not in best or sharpness > best[sighting][0]:
                                best[sighting] = sharpness, row, pixels
                for sighting in [s for s in waiting if camera.fit.frame_index[s.rows[-1]] <= frame]:
                    waiting.remove(sighting)
                    _, row, sharpest = best.pop(sighting)
                    yield sighting, row, sharpest
                report(frame + 1, last + 1, "frames for textures")
                if not waiting:
                    break


def _sharpness(pixels: NDArray[np.uint8], box: NDArray[np.floating]) -> float:
    """Measure the contrast of fine detail in a box of an image."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = np.clip(box, 0, (width, height, width, height)).astype(int)
    part = pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return float(cv2.Laplacian(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var()) if part.size else 0.0
