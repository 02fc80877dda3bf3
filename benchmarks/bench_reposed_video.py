"""Reposed frames of real videos against the true frames: the mesh, warp3d and a copy of the input.

    python benchmarks/bench_reposed_video.py FOLDER [pairs [methods]]      default: 8 of each kind, mesh,warp3d

FOLDER holds videos of one person with a fit file beside each (`hpc fit FOLDER/*.mp4 --out FOLDER`). In time: a frame
reposed into the fitted pose of the frame 50 later. Across cameras, where the videos show the same moments: a frame
reposed into the same moment of the next video, which is brought to the first one's focal length.

Crops about the true person, 256 pixels. ssim_fg looks where the true frame shows the person, and for the features'
distance all other pixels are the true ones, for what stands behind differs between cameras. pose_auc is that of
`hpc evaluate repose`. The crops are written to FOLDER/reposed.png: input, truth, copy, methods.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.fitting.people import detections_of_fit
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.io.fit_files import COLUMNS
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.lab.evaluate.repose import FittedJoints, pose_auc_3d
from humanpose_cli.lab.metrics.images import ssim_foreground
from humanpose_cli.lab.recipes.warp3d.perceptual import perceptual_loss
from humanpose_cli.models.warp3d.generator import to_network
from humanpose_cli.outputs.output_names import FIT_SUFFIX
from humanpose_cli.reposing.reposer import Reposer

STEP, LATER, SIDE = 10, 50, 256
Pixels = NDArray[np.uint8]


class View(NamedTuple):
    """A frame (H, W, 3), the fit of its largest person, and the person's mask (H, W), 0 … 1."""

    pixels: Pixels
    fit: Fit
    mask: NDArray[np.float32]

    @property
    def camera(self) -> Camera:
        return self.fit.camera(0)


class Clip:
    """The frames of a video that has a fit file."""

    def __init__(self, video: Path) -> None:
        (item,) = open_inputs([video])
        self.frames = {frame.index: frame.pixels for frame in islice(item.frames(), 0, None, STEP)}
        self.fit = load_fit(video.with_name(video.name + FIT_SUFFIX))

    def view(self, index: int) -> View | None:
        """Fit one frame like a photograph; None if the detector returns no mask."""
        row = np.intersect1d(self.fit.rows_for(index), self.fit.rows_of(self.fit.largest_track))
        names = {name: [index] for name in COLUMNS} | dict.fromkeys(self.fit.row_columns, row)
        columns = {name: getattr(self.fit, name)[rows] for name, rows in names.items()}
        columns["frame_index"] = np.zeros(1, np.int32)
        fit = replace(self.fit, detections=(), frame_times=None, **columns)
        (person,) = detections_of_fit(fit, self.frames[index])
        if person.mask is None:
            return None
        return View(
            self.frames[index],
            replace(fit, detections=(person,)),
            person.mask.in_image(*self.frames[index].shape[:2]).astype(np.float32),
        )


def pairs_of(kind: str, clips: list[Clip], count: int) -> Iterator[tuple[View, View]]:
    """Frames of all clips and those 50 later, or the same moments of a clip and the next."""
    if kind == "in time":
        every = [(clip, clip, t, t + LATER) for clip in clips for t in clip.frames if t + LATER in clip.frames]
    else:
        every = [(a, b, t, t) for a, b in pairwise(clips) for t in a.frames if t in b.frames]
    for i in np.linspace(0, len(every) - 1, min(count, len(every))).astype(int):
        a, b, t, later = every[i]
        source, target = a.view(t), b.view(later)
        if source is not None and target is not None:
            yield source, target if a is b else as_taken_by(source.camera, target)


def as_taken_by(camera: Camera, view: View) -> View:
    """A view with the focal length, principal point and size of another camera at its position."""
    scale = camera.focal / view.camera.focal
    shift = np.array(camera.principal_point) - scale * np.array(view.camera.principal_point)
    crop = Crop(scale, 0.0, (float(shift[0]), float(shift[1])), camera.size)
    return View(crop.image(view.pixels), view.fit, crop.warp(view.mask, cv2.INTER_LINEAR))


def box_of(mask: NDArray[np.float32]) -> NDArray[np.float64]:
    ys, xs = np.nonzero(mask > 0.5)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)


def main() -> None:
    """Print a table for each kind of pairs."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 8
    methods = (sys.argv[3] if len(sys.argv) > 3 else "mesh,warp3d").split(",")
    clips = [Clip(video) for video in sorted(folder.glob("*.mp4"))]
    reposers = {method: Reposer(absolute=True, method=method) for method in methods}
    loss = perceptual_loss("auto")
    shown = []
    with FittedJoints() as joints:
        for kind in ("in time", "across cameras"):
            rows: dict[str, list[tuple[float, float, float]]] = {}
            for source, target in pairs_of(kind, clips, count):
                crop = crop_around_box(box_of(target.mask), SIDE, fill=0.86)
                source_crop = crop if kind == "in time" else crop_around_box(box_of(source.mask), SIDE, fill=0.86)
                true, mask = crop.image(target.pixels), crop.warp(target.mask, cv2.INTER_AREA) > 0.5
                made = {"copy": source_crop.image(source.pixels)}
                for method, reposer in reposers.items():
                    drawn = reposer.repose(source.pixels, target.fit, fit=source.fit).image
                    made[method] = crop.image(drawn)
                box = np.clip(crop.points(box_of(target.mask).reshape(2, 2)).ravel(), 0, SIDE)
                true_joints = joints(true, box)
                for method, image in made.items():
                    pasted = np.where(mask[..., None], image, true)
                    a, b = (to_network(torch.from_numpy(np.ascontiguousarray(x))[None]) for x in (pasted, true))
                    pixels = to_network(torch.from_numpy(np.ascontiguousarray(image))[None])
                    inside = torch.from_numpy(mask)[None, None].float()
                    similar = float(ssim_foreground(pixels / 2 + 0.5, b / 2 + 0.5, inside))
                    with torch.no_grad():
                        apart = float(loss(a, b))
                    found = joints(image, box)
                    pose = np.nan if true_joints is None else 0.0 if found is None else pose_auc_3d(found, true_joints)
                    rows.setdefault(method, []).append((similar, apart, pose))
                shown.append(np.concatenate([source_crop.image(source.pixels), true, *made.values()], 1))
            print(f"{kind}: {len(rows['copy'])} pairs      ssim_fg  distance  pose_auc")
            for method, values in rows.items():
                print(f"  {method:26}" + "".join(f"{x:10.3f}" for x in np.nanmean(values, 0)))
    write_image(folder / "reposed.png", np.concatenate(shown))


if __name__ == "__main__":
    main()
