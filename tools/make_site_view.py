"""Builds tools/site/view/: a clip, its fit and texture, of which `make site` makes the page that its home shows.

    python tools/make_site_view.py flip.mp4

The argument is the clip of a back flip of the demonstration data of Sports2D (BSD-3, see NOTICE), which is not part of
this project; only the frames of the jump are kept, at a reduced size. It is fitted and refined first: five minutes of
processor time. `--work` keeps those results for the next run.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from make_pictures import fitted
from PIL import Image

from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.video import VideoWriter

OUTPUT = Path(__file__).resolve().parent / "site" / "view"
FRAMES = range(112, 226)  # from the last step on the roof until he runs behind a tree
SIZE, CRF = (640, 360), 28
TEXELS, TEXTURE_QUALITY = 512, 85  # he is small in the clip


def excerpt(fit: Fit, frames: range, size: tuple[int, int]) -> Fit:
    """The largest person in some consecutive frames, as if these had been filmed with that size in pixels."""
    rows = fit.rows_of(fit.largest_track)
    fit = fit.select(rows[np.isin(fit.frame_index[rows], frames)])
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
        options={},
        images=None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="flip.mp4")
    parser.add_argument("--work", type=Path, help="keep the fit and the texture here")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        fit, textures = fitted(arguments.clip, work)
    assert fit.images is not None
    OUTPUT.mkdir(exist_ok=True)
    excerpt(fit, FRAMES, SIZE).save(OUTPUT / "flip.mp4.fit.npz")
    colours = cv2.resize(textures[fit.largest_track].image, (TEXELS, TEXELS), interpolation=cv2.INTER_AREA)
    Image.fromarray(colours).save(OUTPUT / "flip.webp", quality=TEXTURE_QUALITY, method=6)
    with VideoWriter(OUTPUT / "flip.mp4", fit.frame_rate, quality=CRF) as video:
        for number, frame in enumerate(fit.images.frames()):
            if number in FRAMES:
                video.write(cv2.resize(frame.pixels, SIZE, interpolation=cv2.INTER_AREA))
    print(*(f"{path.name}: {path.stat().st_size} bytes" for path in sorted(OUTPUT.iterdir())), sep="\n")


if __name__ == "__main__":
    main()
