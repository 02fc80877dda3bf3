"""The upper bound of refinement: the true displacement of every visible surface point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.result import Fit
from humanpose_cli.refining.correspondences import Displacements, SurfacePoints
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.pulls import Pulls, rig_points
from humanpose_cli.refining.refiner import FramePeople, OnDisplacements, Refiner
from humanpose_cli.rendering.body_maps import render_bodies

_NOISE = 0.5  # pixels of a crop
_VISIBLE = 1.0  # pixels that show a point


class TrueRefiner(Refiner):
    """Moves bodies by true displacements of the surface points that their own rendering shows, and by keypoints.

    All of the way is kept, whatever the silhouettes say: what is measured is the solver.
    """

    def __init__(self, options: RefineOptions, *, threads: int | None, device: str) -> None:
        super().__init__(options, threads=threads, device=device)
        self._truth: Fit | None = None
        self._rows: NDArray[np.bool_] = np.zeros(0, bool)

    @property
    def needs_textures(self) -> bool:
        """False: nothing is compared."""
        return False

    def moved(self, fit: Fit, truth: Fit, rows: NDArray[np.integer], frames: FitFrames, body: Body) -> Fit:
        """Move all bodies of a fit; `truth` knows the people in some of its rows."""
        self._truth, self._rows = truth, np.isin(np.arange(len(fit)), rows)
        return self.align(fit, frames, body=body).moved

    def _pull_to_photographs(
        self,
        fit: Fit,
        frames: Iterable[FramePeople],
        body: Body,
        surface: SurfacePoints,
        rig: LandmarkRig,
        textures: Mapping[int, NDArray[np.uint8]],
        pulls: Pulls,
        on_displacements: OnDisplacements | None = None,
    ) -> None:
        assert self._truth is not None
        points, side = slice(0, len(surface)), self.options.size
        for people in frames:
            rendering = render_bodies(body, people.vertices, [view.camera for view in people.views], side)
            hidden_mask = torch.from_numpy(np.stack([view.hidden for view in people.views]))[:, None]
            visible_mask = (rendering.mask > 0) & ~hidden_mask
            noise = torch.where(visible_mask, _NOISE, torch.inf)
            no_displacements = Displacements(noise.new_zeros(len(visible_mask), 2, side, side), noise)
            area = surface.displacements(rendering, no_displacements).area
            true = rig_points(self._truth, people.rows, rig)[:, points]
            for i, (row, view) in enumerate(zip(people.rows, people.views, strict=True)):
                if self._rows[row]:
                    visible = (area[i] > _VISIBLE).double().numpy()
                    pulls.pixels[row, points] = fit.camera(int(fit.frame_index[row])).project(true[i])
                    pulls.weights[row, points] = visible * view.crop.scale / _NOISE
                    pulls.counts[row, points] = visible
