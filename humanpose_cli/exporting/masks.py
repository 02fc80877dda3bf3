"""The pixels of each person of a fit: images of each person or a video of all, and COCO's run lengths.

Generators read exports: ComfyUI's node SCAIL2ColoredMask (DEFAULT_PALETTE in comfy_extras/nodes_scail.py) gives people
six colours on black, in the order of their first frames and from left to right; SCAIL-2 was trained on them, and counts
channels above 225 of 255. Wan-Animate's `character_mask` (node WanAnimateToVideo) is white on black.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from humanpose_cli.avatar.garment_labels import GarmentLabels
from humanpose_cli.core.blocks import made_in_threads
from humanpose_cli.core.conventions import GARMENTS
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.exporting.looks import available_frames, scene_of_rows, stored_looks
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import FitStep, only_fit
from humanpose_cli.io.image_sequences import numbered_paths
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import Frame
from humanpose_cli.io.video import VideoCodec, VideoWriter
from humanpose_cli.models.segmenter.inputs import as_bytes, code_colours
from humanpose_cli.outputs.atomic import removed_on_failure, write_bytes, write_json
from humanpose_cli.outputs.output_names import beside_fit
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.rendering.overlay import person_colour
from humanpose_cli.reposing.segmentation import Claim, Palette, PeopleMap

_GARMENTS = (".garments.png", ".garments.%04d.png")  # ends of names, of photographs and of sequences
_QUALITY = 8  # of the video: edges of masks stay sharp
SCAIL_COLOURS = ((0, 0, 255), (255, 0, 0), (0, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 0))
"""SCAIL-2's colours of people, RGB, in its order; a seventh person has the first one's."""


@dataclass(frozen=True)
class MaskWriting(FitStep):
    """A step that writes the masks of a fit's people and leaves the fit as it is.

    Attributes:
        sequence: Whether the fit is of a sequence, whose masks become a video.
        video_codec: The codec of that video.
        numbered: Whether they become images with the frames' numbers instead.
    """

    sequence: bool
    video_codec: VideoCodec = "h264"
    numbered: bool = False

    def outputs(self, output: Path, tracks: Sequence[int] = ()) -> tuple[Path, ...]:
        """Return the run lengths, and the images and videos."""
        return beside_fit(output, ".masks.json"), *self._drawings(output, tracks)

    def _drawings(self, output: Path, tracks: Sequence[int]) -> dict[Path, Drawing]:
        """Return what is drawn: the people, and of images the matte, of 16 bits, and the garments of each track."""
        drawings: dict[Path, Drawing] = {}
        if self.sequence:
            colours = {track: np.rint(255 * person_colour(track)) for track in tracks}
            name = f".masks.{'%04d.png' if self.numbered else 'mp4'}"
            drawings[beside_fit(output, name)] = partial(_coloured, colours=colours)
        number = ".%04d" if self.sequence else ""
        for track in tracks if self.numbered or not self.sequence else ():
            if not self.sequence:
                drawings[beside_fit(output, f".person{track}.mask.png")] = partial(_white, tracks=[track])
            drawings[beside_fit(output, f".person{track}.matte{number}.png")] = partial(_matte, track=track)
            drawings[beside_fit(output, f".person{track}{_GARMENTS[self.sequence]}")] = partial(_garments, track=track)
        return drawings

    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Write the masks next to the fit file `output`.

        Raises:
            UsageError: If the fit's frames or the path of the fit file are not known.
        """
        fit = only_fit(fits)
        frames = available_frames(fit)
        if frames is None or output is None:
            raise UsageError("masks", "need the frames of the fit", remedy="name them with `frames`")
        path = self.outputs(output)[0]
        write_masks(fit, frames, path, self._drawings(output, fit.tracks), self.video_codec, progress)
        return fit


class FrameMasks(NamedTuple):
    """The people of a frame.

    Attributes:
        labels: (H, W) int32. The track that each pixel shows, −1 for none.
        mattes: By track, makes the share (H, W) float32, 0…1, of each pixel that shows them.
        pixels: (H, W, 3) uint8 RGB. The frame.
    """

    labels: NDArray[np.int32]
    mattes: Mapping[int, Callable[[], NDArray[np.float32]]]
    pixels: NDArray[np.uint8]


Drawing = Callable[[FrameMasks], NDArray[Any] | bytes]
"""Draws an image (H, W) or (H, W, 3), uint8 or uint16, of the people of a frame, or encodes it."""


def export_masks(fit: Fit, frames: FitFrames, folder: Path, progress: Progress = no_progress) -> list[Path]:
    """Write masks for generators into a folder: people in SCAIL-2's colours, all people in white, and run lengths."""
    first = {track: fit.rows_of(track)[0] for track in fit.tracks}
    left = fit.joints2d[..., 0].mean(1)
    order = sorted(first, key=lambda track: (int(fit.frame_index[first[track]]), float(left[first[track]])))
    colours = {track: np.array(SCAIL_COLOURS[k % len(SCAIL_COLOURS)]) for k, track in enumerate(order)}
    single = fit.frame_count == 1
    ending = "png" if single else "mp4"
    drawings: dict[Path, Drawing] = {
        folder / f"people.{ending}": partial(_coloured, colours=colours),
        folder / f"all.{ending}": partial(_white, tracks=order),
    }
    for track in order if single else ():
        drawings[folder / f"person{track}.png"] = partial(_white, tracks=[track])
    write_masks(fit, frames, folder / "coco.json", drawings, progress=progress)
    return [*drawings, folder / "coco.json"]


def write_masks(
    fit: Fit,
    frames: FitFrames,
    path: Path,
    drawings: Mapping[Path, Drawing],
    codec: VideoCodec = "h264",
    progress: Progress = no_progress,
) -> None:
    """Write COCO's annotations of all people to `path`, and each drawing as a video (.mp4) or an image of the frame."""
    document = _document(fit)
    if any(file.name.endswith(_GARMENTS) for file in drawings):
        document["garments"] = ["background", *GARMENTS]  # by their number
    with image_writers([*drawings], fit.frame_rate, _QUALITY, codec) as write:
        for number, time, people in _people(fit, frames):
            document["annotations"] += _annotations(fit, number, people.labels)
            for file, draw in drawings.items():
                (image,) = numbered_paths(file, fit.frame_numbers[[number]].tolist())
                write(image, draw(people), time)
            progress(number + 1, fit.frame_count, "masks")
    write_json(path, document, indent=None)


@contextmanager
def image_writers(
    files: Sequence[Path], rate: float | None, quality: int, codec: VideoCodec = "h264"
) -> Iterator[Callable[[Path, NDArray[Any] | bytes, Fraction | None], None]]:
    """Open videos (.mp4) and images; yields the function that writes an image, or the next frame of a video."""
    with ExitStack() as stack:
        stack.enter_context(removed_on_failure([file for file in files if file.suffix != ".mp4"]))
        video = partial(VideoWriter, frame_rate=rate or DEFAULT_FRAME_RATE, quality=quality, codec=codec)
        videos = {file: stack.enter_context(video(file)) for file in files if file.suffix == ".mp4"}

        def write(file: Path, image: NDArray[Any] | bytes, time: Fraction | None) -> None:
            if isinstance(image, bytes):
                write_bytes(file, image)
            elif file not in videos:
                write_image(file, image)
            else:
                videos[file].write(image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), time)

        yield write


def _people(fit: Fit, frames: FitFrames) -> Iterator[tuple[int, Fraction | None, FrameMasks]]:
    """Yield each frame's number, time and people."""
    body, fit = fit.body_model(), replace(fit, looks=stored_looks(fit))
    palettes: dict[int, Palette] = defaultdict(Palette)

    def claimed(item: tuple[int, Frame]) -> tuple[int, Frame, list[int], list[Claim]]:
        number, frame = item
        rows = fit.rows_for(number)
        claims = scene_of_rows(fit, rows, frame.pixels, body, pool).claims if len(rows) else []
        return number, frame, fit.track_id[rows].tolist(), claims

    with (
        ModelPool(default_threads(), PoseModels) as pool,
        closing(frames.decoded()) as decoded,
        made_in_threads(claimed, decoded) as ahead,
    ):
        for number, frame, tracks, claims in ahead:  # in order: earlier frames show the people's colours
            labels = np.full(frame.pixels.shape[:2], -1, np.int32)
            people = PeopleMap.of(claims, frame.pixels, [palettes[track] for track in tracks])
            mattes = {track: partial(people.mask, row) for row, track in enumerate(tracks)}
            for track, matte in mattes.items():
                labels[matte() >= 0.5] = track
            yield number, frame.time, FrameMasks(labels, mattes, frame.pixels)


def _coloured(people: FrameMasks, colours: Mapping[int, NDArray[Any]]) -> NDArray[np.uint8]:
    """Draw each track in its colour (3,), 0 to 255, on black."""
    image = np.zeros((people.labels.size, 3), np.uint8)
    for track in np.unique(people.labels[people.labels >= 0]).tolist():
        image[np.flatnonzero(people.labels == track)] = colours[track]
    return image.reshape(*people.labels.shape, 3)


def _white(people: FrameMasks, tracks: Sequence[int]) -> NDArray[np.uint8]:
    """Draw tracks in white on black."""
    return np.where(np.isin(people.labels, tracks), np.uint8(255), np.uint8(0))


def _matte(people: FrameMasks, track: int) -> NDArray[np.uint16]:
    """Draw how `repose --layers` cuts a track out, in 16 bits; black if it is not in the frame."""
    matte = people.mattes.get(track)
    share = np.zeros(people.labels.shape, np.float32) if matte is None else matte()
    return np.rint(65535 * share).astype(np.uint16)


def _garments(people: FrameMasks, track: int) -> bytes:
    """Encode the garments of a track as a PNG with a palette, black if it is not in the frame."""
    mask = people.labels == track
    labels = np.zeros(mask.shape, np.uint8)
    if mask.any():
        found = GarmentLabels.of_mask(people.pixels, mask.astype(np.float32)).in_image(mask.shape[::-1])
        labels[mask] = found[mask]
    image = Image.frombytes("P", mask.shape[::-1], labels.tobytes())
    image.putpalette(as_bytes(code_colours(len(GARMENTS))).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _document(fit: Fit) -> dict[str, Any]:
    """Return COCO's document of a fit's frames, without annotations."""
    sizes = enumerate(zip(fit.frame_names.tolist(), fit.image_size.tolist(), strict=True))
    images = [{"id": number, "file_name": name, "width": w, "height": h} for number, (name, (w, h)) in sizes]
    return {"images": images, "categories": [{"id": 1, "name": "person"}], "annotations": []}


def _annotations(fit: Fit, number: int, labels: NDArray[np.int32]) -> Iterator[dict[str, Any]]:
    """Return COCO's annotations of the people who are visible in a frame."""
    for row in fit.rows_for(number).tolist():
        track = int(fit.track_id[row])
        mask = labels == track
        if mask.any():
            yield {
                "id": row + 1,  # COCO's tools take 0 for none
                "image_id": number,
                "category_id": 1,
                "track_id": track,
                "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
            }


def run_lengths(mask: NDArray[np.bool_]) -> str:
    """Encode a mask (H, W) as COCO's compressed run lengths, column by column."""
    flat = cv2.transpose(mask.view(np.uint8)).ravel()
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    values = np.diff([0, *([0] if flat[0] else []), *ends])  # the first run is of background
    values[3:] -= values[1:-2].copy()
    text = np.zeros((len(values), 7), np.uint8)
    is_unfinished = np.ones(len(values), bool)
    for column in text.T:  # five bits of each number at a time, to the last one that differs from its sign
        bits = values & 0x1F
        values >>= 5
        last = values == np.where(bits & 0x10, -1, 0)
        np.copyto(column, bits + np.where(last, 48, 80), where=is_unfinished, casting="unsafe")
        is_unfinished &= ~last
    return text[text > 0].tobytes().decode("ascii")
