"""The frames of a fit, found again in the input that it was made from: of its only camera, or of those of a take."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
        fit: The frames' names and sizes.
        source: Images, or one sequence, that hold them.
        in_order: The source gives just these frames in this order; else they are found by name, and others left
            out.
    """

    fit: FitRecord
    source: FrameSource
    in_order: bool = False

    @classmethod
    def of(cls, fit: FitRecord, frames: str | Path | Sequence[str | Path] | np.ndarray | InputItem) -> FitFrames:
        """Read a video, a folder, images, or an array (F, H, W, 3) or (H, W, 3) uint8 with the fit's frames in order.

        Raises InputError if frames of the fit are missing there.
        """
        if isinstance(frames, np.ndarray):
            pixels = check_pixels(frames, sequence=True, name="frames")
            pixels = pixels[None] if pixels.ndim == 3 else pixels
            if len(pixels) != fit.frame_count:
                raise UsageError("frames", "do not match the fit", expected=str(fit.frame_count), got=str(len(pixels)))
            return cls(fit, FrameSource(array=pixels), in_order=True)
        return cls(fit, FrameSource(tuple(items_of(frames, sequence=True if fit.frame_count > 1 else None))))

    def read(self) -> Generator[tuple[int, NDArray[np.uint8]], None, None]:
        """Yield pairs of a frame's number in the fit and its pixels (H, W, 3), as `decoded`."""
        with closing(self.decoded()) as frames:
            for frame, each in frames:
                yield frame, each.pixels

    def decoded(self) -> Generator[tuple[int, Frame], None, None]:
        """Yield pairs of a frame's number in the fit and the frame, in order; close it to stop early.

        Raises InputError that names frames which are missing or have another size.
        """
        if self.in_order:
            with closing(self.source.frames()) as decoded:
                for frame, each in enumerate(decoded):
                    yield frame, self._checked(frame, each)
            return
        names = self.fit.frame_names.tolist()
        waiting = {name: frame for frame, name in enumerate(names)}
        for item in self.source.items:
            with closing(item.frames()) as decoded:
                for each in decoded:
                    if each.name in waiting:
                        frame = waiting.pop(each.name)
                        yield frame, self._checked(frame, each)
                    if not waiting:
                        return
        shown = ", ".join(list(waiting)[:_LISTED]) + (", …" if len(waiting) > _LISTED else "")
        where = ", ".join(item.label for item in self.source.items[:_LISTED])
        problem = f"lacks {len(waiting)} of the fit's {len(names)} frames: {shown}"
        raise InputError(where, problem, remedy="give the input that the fit was made from")

    def _checked(self, frame: int, decoded: Frame) -> Frame:
        width, height = self.fit.image_size[frame].tolist()
        if decoded.size != (width, height):
            got = f"{decoded.size[0]} × {decoded.size[1]}"
            name = str(self.fit.frame_names[frame])
            raise InputError(name, "is not the frame that was fitted", expected=f"{width} × {height} pixels", got=got)
        return decoded


AnyFrames: TypeAlias = "str | Path | Sequence[str | Path] | np.ndarray | InputItem | FitFrames | None"
"""A video, a folder, images, (F, H, W, 3) uint8, or frames that were found before; None: where the fit came from."""


def frames_of_fit(fit: Fit, frames: AnyFrames) -> tuple[Fit, FitFrames]:
    """Restrict a fit to those of the frames that it knows; also return these frames.

    Raises InputError if a view of a take lacks frames, UsageError if a fit that came from a file does not name its
    frames and `frames` is None, and for a take without the frames of all its views.
    """
    if isinstance(frames, FitFrames):
        return fit, frames
    if isinstance(frames, np.ndarray):
        if len(fit.cameras) > 1:
            raise UsageError("frames", "are of one camera", expected="the inputs of all views of the take")
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
    """One camera of a fit, the only one or one of a take.

    Attributes:
        fit: As this camera shows it, in its axes.
        rows: (R,) of the fit of all cameras, which its rows are.
        frames: Of the camera.
        to_camera: (4, 4) axes of the first camera to its own.
    """

    fit: Fit
    rows: NDArray[np.integer]
    frames: FitFrames
    to_camera: NDArray[np.float64]

    def vertices(self, body: Body, fit: Fit, rows: NDArray[np.integer]) -> Tensor:
        """Compute the surfaces (P, V, 3) of some of its rows in another fit of all cameras, metres in its axes."""
        matrix = torch.from_numpy(self.to_camera).float()
        return body_vertices(body, fit, self.rows[rows]) @ matrix[:3, :3].mT + matrix[:3, 3]


def cameras_of(fit: Fit, frames: FitFrames) -> list[CameraFit]:
    """List the cameras of a fit: one with these frames, or those of a take with theirs, without those that move."""
    if len(fit.cameras) == 1:
        return [CameraFit(fit, np.arange(len(fit)), frames, np.eye(4))]
    cameras = []
    for number, camera in fit.cameras_with_frames.items():
        if not camera.is_moving:
            view = fit.view(number)
            assert view.images is not None
            of_view = FitFrames(view, view.images, in_order=True)
            cameras.append(CameraFit(view, fit.shown_by(number), of_view, camera.from_first))
    return cameras


def with_progress(cameras: Sequence[CameraFit], progress: Progress) -> Iterator[tuple[CameraFit, Progress]]:
    """Yield each camera with its share of the progress."""
    for number, camera in enumerate(cameras):
        yield camera, part_of(progress, number / len(cameras), (number + 1) / len(cameras))
