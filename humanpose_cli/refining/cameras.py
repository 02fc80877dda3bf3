"""The cameras that a fit is refined with: the only one, or those of a take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.progress import Progress, part_of
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.refining.frames import FitFrames


class CameraFit(NamedTuple):
    """One camera of a fit, the only one or one of a take.

    fit     as this camera shows it, in its axes
    rows    (R,) of the fit of all cameras, which its rows are
    frames  of the camera
    to_camera  (4, 4) axes of the first camera to its own
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
    if fit.views is None:
        return [CameraFit(fit, np.arange(len(fit)), frames, np.eye(4))]
    cameras = []
    for number in fit.views.with_frames:
        if fit.views.moves(number):
            continue
        view, rows = fit.view(number), fit.shown_by(number)
        assert view.images is not None
        of_view = FitFrames(view, view.images, in_order=True)
        cameras.append(CameraFit(view, rows, of_view, fit.views.from_first[number].astype(np.float64)))
    return cameras


def with_progress(cameras: Sequence[CameraFit], progress: Progress) -> Iterator[tuple[CameraFit, Progress]]:
    """Yield each camera with its share of the progress."""
    for number, camera in enumerate(cameras):
        yield camera, part_of(progress, number / len(cameras), (number + 1) / len(cameras))
