"""The frames that show a person best: clear, sharp, and from all sides of any camera."""

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

_FRONT = 1.5  # how little the first sighting must be from the front; 1: never from behind
_TIME = 0.1  # of a video's duration is as far apart as a half turn
_NEAR = 1e-3  # sightings that are no farther apart show the same


class Sighting(NamedTuple):
    """Consecutive frames of one camera that show a person alike, of which the sharpest is taken.

    Attributes:
        camera: Its number; rows of its fit, in order of time.
    """

    track: int
    camera: int
    rows: tuple[int, ...]


def sightings(cameras: Sequence[CameraFit], track: int, count: int) -> list[Sighting]:
    """Choose up to `count` sightings of a person: first the clearest from the front, then those that differ most from
    the ones before in direction or time.
    """
    rows = [camera.fit.rows_of(track) for camera in cameras]
    numbers = np.repeat(np.arange(len(cameras)), [len(of_camera) for of_camera in rows])
    quality, directions, times = (
        np.concatenate(values)
        for values in zip(*(_row_views(camera.fit, r) for camera, r in zip(cameras, rows, strict=True)), strict=True)
    )
    every, apart = np.concatenate(rows), np.ones(len(numbers))
    score = quality * (_FRONT + directions[:, 2])
    result: list[Sighting] = []
    while len(result) < count and len(score) and score.max() > 0:
        best = int(score.argmax())
        camera, row = int(numbers[best]), int(every[best])
        result.append(Sighting(track, camera, _neighbours(cameras[camera].fit, row)))
        away = np.arccos(np.clip(directions @ directions[best], -1, 1)) / np.pi + _TIME * np.abs(times - times[best])
        apart = np.minimum(apart, away)
        apart[(numbers == camera) & np.isin(every, result[-1].rows)] = 0
        score = np.where(apart > _NEAR, quality * apart, 0)
    return result


def _row_views(fit: Fit, rows: NDArray[np.integer]) -> tuple[NDArray[np.float64], ...]:
    """Measure how well rows (R,) are visible (R,), from which direction (R, 3) in body axes, and when (R,), 0…1."""
    part = fit.select(rows)
    heights = part.boxes[:, 3] - part.boxes[:, 1]
    quality = joint_visibility(part).mean(1) * np.sqrt(np.maximum(heights, 0)) * ~part.interpolated
    turn = axis_angle_to_matrix(torch.from_numpy(part.poses[:, :3].astype(np.float64))).numpy()
    pelvis = part.joints3d[:, SMPL24.index("pelvis")].astype(np.float64)
    towards = -pelvis / np.maximum(np.linalg.norm(pelvis, axis=1, keepdims=True), 1e-9)
    return quality, np.einsum("rij,ri->rj", turn, towards), part.frame_index / max(fit.frame_count - 1, 1)


def _neighbours(fit: Fit, row: int) -> tuple[int, ...]:
    """List a row and those of the frames before and after it."""
    frame = fit.frame_index[row]
    rows = fit.rows_of(int(fit.track_id[row]))
    near = np.abs(fit.frame_index[rows] - frame) <= 1
    return tuple(rows[near & (fit.shot_id[fit.frame_index[rows]] == fit.shot_id[frame])].tolist())


def sharpest_frames(
    cameras: Sequence[CameraFit], chosen: Sequence[Sighting], progress: Progress
) -> Iterator[tuple[Sighting, int, NDArray[np.uint8]]]:
    """Read the frames of sightings once; yield each sighting with its sharpest row and that frame's pixels."""
    for number, (camera, report) in enumerate(with_progress(cameras, progress)):
        waiting = [sighting for sighting in chosen if sighting.camera == number]
        best: dict[Sighting, tuple[float, int, NDArray[np.uint8]]] = {}
        last = max((int(camera.fit.frame_index[sighting.rows[-1]]) for sighting in waiting), default=0)
        with closing(camera.frames.read()) as frames:
            for frame, pixels in frames if waiting else ():
                for sighting in waiting:
                    for row in sighting.rows:
                        if camera.fit.frame_index[row] == frame:
                            sharp = _sharpness(pixels, camera.fit.boxes[row])
                            if sighting not in best or sharp > best[sighting][0]:
                                best[sighting] = sharp, row, pixels
                for sighting in [each for each in waiting if camera.fit.frame_index[each.rows[-1]] <= frame]:
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
