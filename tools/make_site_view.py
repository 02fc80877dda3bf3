"""Build tools/site/view/: videos, fits and textures for the two pages that the home of the site shows.

    python tools/make_site_view.py FOLDER

FOLDER holds flip.mp4 of the demonstration data of Sports2D, and cam01.mp4 … cam04.mp4 of that of Pose2Sim (both BSD-3,
see NOTICE), which are not part of this project. They are fitted first: five minutes on two cores. `--work` keeps the
fit of flip.mp4 for the next run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from make_pictures import dressed_fit

import humanpose_cli as hp
from humanpose_cli.exporting.looks import Dressing
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoWriter

OUTPUT = Path(__file__).resolve().parent / "site" / "view"
FRAMES = range(80, 226)  # of flip.mp4: a woman walks past, a man jumps from a roof and runs behind a tree
FLIP_SIZE, TAKE_SIZE, CRF = (640, 360), (360, 640), 28
TEXELS = 320  # of a texture, along each side
TAKE_STEP = 2  # every second frame of 60 a second
CAMERAS = ("cam01.mp4", "cam02.mp4", "cam03.mp4", "cam04.mp4")


def excerpt(fit: Fit, frames: range, size: tuple[int, int]) -> Fit:
    """Cut consecutive frames from a fit, scaled to images of `size` pixels."""
    fit = fit.select(np.flatnonzero(np.isin(fit.frame_index, frames)))
    part, scale = slice(frames.start, frames.stop), np.float32(size[0] / fit.image_size[0, 0])
    return replace(
        fit,
        shot_id=fit.shot_id[part],
        world_to_camera=fit.world_to_camera[part],
        frame_index=fit.frame_index - np.int32(frames.start),
        frame_names=fit.frame_names[: len(frames)],
        frame_times=None,
        image_size=np.tile(np.array(size, np.int32), (len(frames), 1)),
        focal=fit.focal[part] * scale,
        principal_point=fit.principal_point[part] * scale,
        joints2d=fit.joints2d * scale,
        keypoints2d=fit.keypoints2d * np.array([scale, scale, 1], np.float32),
        boxes=fit.boxes * scale,
        reprojection_error=fit.reprojection_error * scale,
        options=StoredOptions(),
        sources=(),
        path=None,
    )


def write_small(clip: Path, frames: Iterable[int], size: tuple[int, int], path: Path) -> None:
    """Write some frames of a video at a smaller size."""
    (item,) = open_inputs([clip])
    numbers = frozenset(frames)
    with VideoWriter(path, item.frame_rate / (TAKE_STEP if clip.name in CAMERAS else 1), quality=CRF) as video:
        for frame in item.frames():
            if frame.index in numbers:
                video.write(cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA))


def compress() -> None:
    """Compress the arrays of fits and textures for the repository; textures become smaller."""
    for path in OUTPUT.glob("*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        if "texture" in arrays:
            arrays["texture"] = cv2.resize(arrays["texture"], (TEXELS, TEXELS), interpolation=cv2.INTER_AREA)
            arrays["offsets"] = arrays["offsets"].round(4)  # metres
        np.savez_compressed(path, **arrays)


def make_flip(folder: Path, work: Path) -> None:
    """Make the page of the back flip, fitted at full size."""
    fit = dressed_fit(folder / "flip.mp4", work)
    excerpt(fit, FRAMES, FLIP_SIZE).save(OUTPUT / "flip.mp4.fit.npz")
    write_small(folder / "flip.mp4", FRAMES, FLIP_SIZE, OUTPUT / "flip.mp4")


def make_take(folder: Path) -> None:
    """Make the page of the take of four cameras, fitted at the size of the page."""
    for name in CAMERAS:
        write_small(folder / name, range(0, 100, TAKE_STEP), TAKE_SIZE, OUTPUT / name)
    take = hp.combine([hp.fit(OUTPUT / name) for name in CAMERAS])
    Dressing()([take]).save(OUTPUT / "take.fit.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with flip.mp4 and cam01.mp4 … cam04.mp4")
    parser.add_argument("--work", type=Path, help="keep the fit of flip.mp4 here")
    arguments = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)
    for path in OUTPUT.iterdir():
        path.unlink()
    with TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        make_flip(arguments.folder, work)
    make_take(arguments.folder)
    compress()
    print(*(f"{path.name}: {path.stat().st_size} bytes" for path in sorted(OUTPUT.iterdir())), sep="\n")


if __name__ == "__main__":
    main()
