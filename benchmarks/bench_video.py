"""Fitting 1080p videos of one person and of six: frames a second, and what solving a motion as one changes.

The person of the drawn clip, enlarged to 1080p and played to and fro; for six people, six such images of different
moments side by side, every second mirrored. Decoding, detection, the fit and writing of the fit file count, loading of
the models does not; beside it, decoding and detection alone. On a busy machine processor time tells more. Accuracy is
that of the clip as it is: errors of joints about the pelvis and of their accelerations, from the same detections solved
frame by frame and as one motion.

    python benchmarks/bench_video.py [frames]      default: 120
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import cv2
import numpy as np
from _drawn_clip import DrawnClip

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting import fitter as fitter_module
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.keypoints import fit_keypoints
from humanpose_cli.fitting.options import PeopleChoice
from humanpose_cli.fitting.people import DetectedPeople
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoWriter

FULL_HD = (1920, 1080)
PELVIS = SMPL24.index("pelvis")


def frame_by_frame(body, observed, *further):  # type: ignore[no-untyped-def]
    """Fit the same observations without their motion."""
    return fit_keypoints(body, replace(observed.rows(slice(None)), frame=None), *further)


def errors(joints: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Millimetres about the pelvis, and millimetres a frame² of the accelerations."""
    relative = (joints - joints[:, PELVIS, None]) - (truth - truth[:, PELVIS, None])
    bend = np.diff(relative, n=2, axis=0)
    return tuple(1e3 * float(np.linalg.norm(x, axis=-1).mean()) for x in (relative, bend))  # type: ignore[return-value]


def moment(images: list[np.ndarray], index: int, size: tuple[int, int] = FULL_HD) -> np.ndarray:
    """A frame of the images, played to and fro, enlarged."""
    there_and_back = [*range(len(images)), *range(len(images) - 2, 0, -1)]
    image = images[there_and_back[index % len(there_and_back)]]
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def write_video(path: Path, frame: Callable[[int], np.ndarray], count: int, rate: float) -> None:
    """Write `count` frames of a function of their number."""
    with VideoWriter(path, rate) as video:
        for index in range(count):
            video.write(frame(index))


def main() -> None:
    """Print a row for each way."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    with TemporaryDirectory() as folder, Fitter(people="largest") as fitter:
        clip = DrawnClip.make(fitter.body)
        images = list(clip.frames())
        truth = clip.posed().joints.numpy()
        plain = Path(folder) / "clip.mp4"
        write_video(plain, images.__getitem__, len(images), clip.frame_rate)
        for name, fit_rows in (("frame by frame", frame_by_frame), ("as one motion", fit_keypoints)):
            with patch.object(fitter_module, "fit_keypoints", fit_rows):
                found = fitter.fit(plain)
            joints, acceleration = errors(found.joints3d, truth[found.frame_index])
            row = {"solved": name, "error_mm": round(joints, 1), "acceleration_mm": round(acceleration, 2)}
            print(json.dumps(row), flush=True)

        def six(index: int) -> np.ndarray:
            tiles = [moment(images, index + 7 * person, (FULL_HD[0] // 3, FULL_HD[1] // 2)) for person in range(6)]
            tiles[1::2] = [tile[:, ::-1] for tile in tiles[1::2]]
            return np.vstack([np.hstack(tiles[:3]), np.hstack(tiles[3:])])

        one_and_six = {"one person": lambda index: moment(images, index), "six people": six}
        for who, frame in one_and_six.items():
            large = Path(folder) / f"{who}.mp4"
            write_video(large, frame, count, clip.frame_rate)
            speeds(fitter, large, count, who)


def speeds(fitter: Fitter, large: Path, count: int, who: str) -> None:
    """Print frames a second of detection, the fit, and the fit with its overlay, of a video of `count` frames."""
    people: PeopleChoice = "largest" if who == "one person" else "all"
    fitter.fit(large, frames="0:5", people=people)
    for what in ("detection", "fit", "fit and overlay"):
        start, busy = time.perf_counter(), time.process_time()
        if what == "detection":
            (item,) = open_inputs([large])
            with DetectedPeople() as source, closing(item.frames()) as frames:
                assert sum(len(shown) for _, shown in source.in_sequence(frames)) >= count // 2
        else:
            found = fitter.fit(large, people=people)
            found.save(large.with_suffix(".fit.npz"))
        if what == "fit and overlay":
            found.save_overlay(large.with_suffix(".overlay.mp4"))
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        row = {f"1080p, {who}": what}
        row |= {"frames_a_second": round(count / seconds, 1), "processor_ms_a_frame": round(1e3 * busy / count)}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
