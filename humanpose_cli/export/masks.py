"""The pixels of each person of a fit: an image of each person or a video of all, and COCO's run lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.export.looks import available_frames, scene_of_rows
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import only_fit
from humanpose_cli.io.atomic import write_json
from humanpose_cli.io.images import write_image
from humanpose_cli.io.output_names import beside_fit
from humanpose_cli.io.video import VideoCodec, VideoWriter
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.rendering.overlay import person_colour

_QUALITY = 8  # of the video: edges of masks stay sharp


@dataclass(frozen=True)
class MaskWriting:
    """A step that writes the masks of a fit's people and leaves the fit as it is.

    Attributes:
        sequence: Whether the fit is of a sequence, whose masks become a video.
        video_codec: The codec of that video.
    """

    sequence: bool
    video_codec: VideoCodec = "h264"

    @property
    def identity(self) -> dict[str, Any]:
        """No options: results depend only on fits and their frames."""
        return {}

    def outputs(self, output: Path, tracks: Sequence[int] = ()) -> tuple[Path, ...]:
        """Return the run lengths, and the video or the image of each track."""
        images = [beside_fit(output, f".person{track}.mask.png") for track in tracks]
        return beside_fit(output, ".masks.json"), *([beside_fit(output, ".masks.mp4")] if self.sequence else images)

    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Write the masks next to the fit file `output`.

        Raises:
            UsageError: If the fit's frames or the path of the fit file are not known.
        """
        fit = only_fit(fits)
        frames = available_frames(fit)
        if frames is None or output is None:
            raise UsageError("masks", "need the frames of the fit", remedy="name them with `frames`")
        path, *images = self.outputs(output, fit.tracks)
        document = _document(fit)
        if self.sequence:
            rate = fit.frame_rate or DEFAULT_FRAME_RATE
            with VideoWriter(images[0], rate, quality=_QUALITY, codec=self.video_codec) as video:
                for number, time, labels in _labels(fit, frames):
                    document["annotations"] += _annotations(fit, number, labels)
                    video.write(_coloured(labels), time)
                    progress(number + 1, fit.frame_count, "masks")
        else:
            for number, _, labels in _labels(fit, frames):
                document["annotations"] += _annotations(fit, number, labels)
                for track, image in zip(fit.tracks, images, strict=True):
                    write_image(image, np.where(labels == track, np.uint8(255), np.uint8(0)))
        write_json(path, document, indent=None)
        return fit


def _labels(fit: Fit, frames: FitFrames) -> Iterator[tuple[int, Fraction | None, NDArray[np.int64]]]:
    """Yield each frame's number, time, and the track (H, W) that each pixel shows, −1 for none."""
    body = fit.body_model()
    with ModelPool(default_threads(), PoseModels) as pool, closing(frames.decoded()) as decoded:
        for number, frame in decoded:
            labels = np.full(frame.pixels.shape[:2], -1)
            rows = fit.rows_for(number)
            if len(rows):
                people = scene_of_rows(fit, rows, frame.pixels, body, pool).people_map
                for row, track in enumerate(fit.track_id[rows].tolist()):
                    labels[people.mask(row) >= 0.5] = track
            yield number, frame.time, labels


def _coloured(labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draw each track (H, W) in its colour of overlays, on black."""
    image = np.zeros((*labels.shape, 3), np.uint8)
    for track in np.unique(labels[labels >= 0]).tolist():
        image[labels == track] = np.rint(255 * person_colour(track))
    return image


def _document(fit: Fit) -> dict[str, Any]:
    """Return COCO's document of a fit's frames, without annotations."""
    sizes = enumerate(zip(fit.frame_names.tolist(), fit.image_size.tolist(), strict=True))
    images = [{"id": number, "file_name": name, "width": w, "height": h} for number, (name, (w, h)) in sizes]
    return {"images": images, "categories": [{"id": 1, "name": "person"}], "annotations": []}


def _annotations(fit: Fit, number: int, labels: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Return COCO's annotations of the people who are visible in a frame."""
    for row in fit.rows_for(number).tolist():
        track = int(fit.track_id[row])
        mask = labels == track
        if mask.any():
            columns = np.flatnonzero(mask.any(0))
            lines = np.flatnonzero(mask.any(1))
            x, y = int(columns[0]), int(lines[0])
            yield {
                "id": row + 1,  # COCO's tools take 0 for none
                "image_id": number,
                "category_id": 1,
                "track_id": track,
                "bbox": [x, y, int(columns[-1]) + 1 - x, int(lines[-1]) + 1 - y],
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
            }


def run_lengths(mask: NDArray[np.bool_]) -> str:
    """Encode a mask (H, W) as COCO's compressed run lengths, column by column."""
    flat = mask.ravel(order="F")
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    runs = np.diff([0, *([0] if flat[0] else []), *ends]).tolist()  # the first run is of background
    text = []
    for index, run in enumerate(runs):
        value = run - (runs[index - 2] if index > 2 else 0)
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr(bits + 0x20 * more + 48))
    return "".join(text)
