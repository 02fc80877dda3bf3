"""The frames of a fit, from the input that it was made from: of its only camera, or of all cameras of a take."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.person_view import PersonView
from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress, part_of
from humanpose_cli.fitting.fit_reading import items_of, on_frames, on_views
from humanpose_cli.fitting.fitter import check_pixels
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit, FrameSource
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.frame_files import frame_inputs
from humanpose_cli.io.inputs import Frame, InputItem

_LISTED = 5  # missing frames that a message lists


@dataclass(frozen=True, eq=False)
class FitFrames:
    """The source of a fit's frames, which are read as often as needed and not kept.

    Attributes:
        fit: The names and sizes of the frames.
        source: Images or one sequence with the frames.
        in_order: Whether the source has exactly these frames in this order. Else they are found by name.
    """

    fit: FitRecord
    source: FrameSource
    in_order: bool = False

    @classmethod
    def of(cls, fit: FitRecord, frames: str | Path | Sequence[str | Path] | np.ndarray | InputItem) -> FitFrames:
        """Find the frames of a fit.

        Args:
            fit: The fit.
            frames: A video, a folder, images, or an array (F, H, W, 3) or (H, W, 3) uint8 with the fit's frames in
                order.

        Raises:
            UsageError: If an array has another number of frames.
            InputError: If an input is missing.
        """
        if isinstance(frames, np.ndarray):
            pixels = check_pixels(frames, sequence=True, name="frames")
            pixels = pixels[None] if pixels.ndim == 3 else pixels
            if len(pixels) != fit.frame_count:
                raise UsageError("frames", "do not match the fit", expected=str(fit.frame_count), got=str(len(pixels)))
            return cls(fit, FrameSource(array=pixels), in_order=True)
        return cls(fit, FrameSource(tuple(items_of(frames, sequence=True if fit.frame_count > 1 else None))))

    def read(self) -> Generator[tuple[int, NDArray[np.uint8]], None, None]:
        """Yield the number of each frame in the fit and its pixels (H, W, 3). See `decoded`."""
        with closing(self.decoded()) as frames:
            for number, frame in frames:
                yield number, frame.pixels

    def decoded(self) -> Generator[tuple[int, Frame], None, None]:
        """Yield the number of each frame in the fit and the frame, in order. Close the generator to stop early.

        Raises:
            InputError: If frames are missing or have another size. The message names them.
        """
        if self.in_order:
            with closing(self.source.frames()) as decoded:
                for number, frame in enumerate(decoded):
                    yield number, self._checked(number, frame)
            return
        names = self.fit.frame_names.tolist()
        missing = {name: number for number, name in enumerate(names)}
        for item in self.source.items:
            with closing(item.frames()) as decoded:
                for frame in decoded:
                    if frame.name in missing:
                        number = missing.pop(frame.name)
                        yield number, self._checked(number, frame)
                    if not missing:
                        return
        listed = ", ".join(list(missing)[:_LISTED]) + (", …" if len(missing) > _LISTED else "")
        inputs = ", ".join(item.label for item in self.source.items[:_LISTED])
        problem = f"lacks {len(missing)} of the fit's {len(names)} frames: {listed}"
        raise InputError(inputs, problem, remedy="give the input that the fit was made from")

    def _checked(self, number: int, frame: Frame) -> Frame:
        width, height = self.fit.image_size[number].tolist()
        if frame.size != (width, height):
            got = f"{frame.size[0]} × {frame.size[1]}"
            name = str(self.fit.frame_names[number])
            raise InputError(name, "is not the frame that was fitted", expected=f"{width} × {height} pixels", got=got)
        return frame


AnyFrames: TypeAlias = "str | Path | Sequence[str | Path] | np.ndarray | InputItem | FitFrames | None"
"""A video, a folder, images, (F, H, W, 3) uint8, or the frames of a fit. None: the files that the fit names."""


def frames_of_fit(fit: Fit, frames: AnyFrames) -> tuple[Fit, FitFrames]:
    """Restrict a fit to the given frames, and return it with these frames.

    Args:
        fit: The fit.
        frames: The frames. For a take, the inputs of all views. None opens the files that the fit names.

    Raises:
        InputError: If a view of a take lacks frames.
        UsageError: If no frames are known, or a view has no frames.
    """
    if isinstance(frames, FitFrames):
        return fit, frames
    if isinstance(frames, np.ndarray):
        if len(fit.cameras) > 1:
            problem = "belong to one camera, and the fit has several"
            raise UsageError("frames", problem, expected="the inputs of all views of the take")
        fit = replace(fit, sources=(FitFrames.of(fit, frames).source,))
    else:
        items: Sequence[InputItem] = ()
        if frames is not None:
            items = items_of(frames, sequence=True if fit.frame_count > 1 else None)
        elif fit.images is None:
            items = frame_inputs(fit.frame_files, [camera.name for camera in fit.cameras])
        if items:
            fit = (on_frames if len(fit.cameras) == 1 else on_views)(fit, items)
    if fit.images is None or None in fit.camera_sources:
        raise UsageError("frames", "are missing: a fit file holds no pixels", remedy="pass those of every view")
    return fit, FitFrames(fit, fit.images, in_order=True)


class CameraFit(NamedTuple):
    """One camera of a fit: the only one, or one of a take.

    Attributes:
        fit: The fit of this camera, in its axes.
        rows: (R,) int. The rows in the fit of all cameras.
        frames: The frames of the camera.
        to_camera: (4, 4). Axes of the first camera to axes of this one.
    """

    fit: Fit
    rows: NDArray[np.integer]
    frames: FitFrames
    to_camera: NDArray[np.float64]

    def vertices(self, body: Body, fit: Fit, rows: NDArray[np.integer]) -> Tensor:
        """Compute the surfaces (P, V, 3) of some rows in a fit of all cameras, in metres and in this camera's axes."""
        matrix = torch.from_numpy(self.to_camera).float()
        return body_vertices(body, fit, self.rows[rows]) @ matrix[:3, :3].mT + matrix[:3, 3]


def cameras_of(fit: Fit, frames: FitFrames) -> list[CameraFit]:
    """List the cameras of a fit with their frames. Cameras of a take that move are left out."""
    if len(fit.cameras) == 1:
        return [CameraFit(fit, np.arange(len(fit)), frames, np.eye(4))]
    cameras = []
    for number, camera in fit.cameras_with_frames.items():
        if not camera.is_moving:
            view = fit.view(number)
            assert view.images is not None
            view_frames = FitFrames(view, view.images, in_order=True)
            cameras.append(CameraFit(view, fit.shown_by(number), view_frames, camera.from_first))
    return cameras


def with_progress(cameras: Sequence[CameraFit], progress: Progress) -> Iterator[tuple[CameraFit, Progress]]:
    """Yield each camera with its share of the progress."""
    for number, camera in enumerate(cameras):
        yield camera, part_of(progress, number / len(cameras), (number + 1) / len(cameras))


class FramePeople(NamedTuple):
    """The people of a frame.

    Attributes:
        rows: (P,) int. The rows in the fit.
        vertices: (P, V, 3) metres. The surfaces.
        views: The crops.
        pixels: (H, W, 3) uint8. The frame.
    """

    rows: NDArray[np.integer]
    vertices: Tensor
    views: list[PersonView]
    pixels: NDArray[np.uint8]


def frame_batches(frames: Iterable[FramePeople], count: int) -> Iterator[FramePeople]:
    """Join frames until they have `count` people or more. The pixels are the last frame's."""
    waiting: list[FramePeople] = []

    def joined() -> FramePeople:
        rows, vertices = np.concatenate([f.rows for f in waiting]), torch.cat([f.vertices for f in waiting])
        return FramePeople(rows, vertices, [view for f in waiting for view in f.views], waiting[-1].pixels)

    for people in frames:
        waiting.append(people)
        if sum(len(f.rows) for f in waiting) >= count:
            yield joined()
            waiting.clear()
    if waiting:
        yield joined()
