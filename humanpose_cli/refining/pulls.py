"""Targets of the alignment rig's points in one camera: keypoints, and pixels that show known vertices."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.fitting.keypoints import LOCKED_COUNT
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.refining.correspondences import SurfacePoints, SurfaceSource
from humanpose_cli.refining.problem import independent_counts
from humanpose_cli.rendering.body_maps import BODY_FILL

_LOCKED_NOISE = 0.2  # pixels of a crop of 256, of a locked keypoint
_DENSEPOSE_NOISE = 4.0  # pixels of a crop of 256, noise of a pixel's vertex in DensePose's output


class Pulls(NamedTuple):
    """Targets of the alignment rig's points in N rows.

    Attributes:
        pixels: (N, M, 2) pixels of the frame.
        weights: (N, M) 1 / pixels. 1 / σ.
        counts: (N, M). How many independent points each stands for.
    """

    pixels: NDArray[np.float64]
    weights: NDArray[np.float64]
    counts: NDArray[np.float64]


def fit_state(fit: FitRecord) -> FitState:
    """Convert the rows of a fit to states of the solver."""
    rotations = axis_angle_to_matrix(torch.from_numpy(fit.poses).double().view(len(fit), -1, 3))
    root, betas = torch.from_numpy(fit.joints3d[:, 0]).double(), torch.from_numpy(fit.betas).double()
    return FitState(rotations, root, betas, torch.zeros(len(fit), 1, dtype=torch.float64))


def rig_points(fit: Fit, rows: NDArray[np.integer], rig: LandmarkRig) -> Tensor:
    """Pose the rig's points (R, M, 3), metres in camera axes, of some rows."""
    state, scales = fit_state(fit.select(rows)), torch.from_numpy(fit.segment_scales[rows]).double()
    return rig.pose(state.rotations, state.root, state.betas, scales).points


def keypoint_pulls(fit: Fit, rig: LandmarkRig, first: int, noise: float, locked: NDArray[Any] | bool = False) -> Pulls:
    """Make the pulls of the landmarks to the detector's keypoints. Other points are not pulled.

    Args:
        fit: The fit.
        rig: The alignment rig.
        first: The index of the first landmark in the rig.
        noise: Pixels of a crop of 256. Infinite for no pull.
        locked: (N, 33). Keypoints that the body must be at.
    """
    shape = (len(fit), rig.landmark_count)
    pulls = Pulls(np.zeros((*shape, 2)), np.zeros(shape), np.zeros(shape))
    height = np.maximum(fit.boxes[:, 2:] - fit.boxes[:, :2], 1).max(1)
    sigma = noise * height / (BODY_FILL * 256)
    pulls.pixels[:, first:] = fit.keypoints2d[..., :2]
    locked_sigma = LOCKED_COUNT**0.5 * _LOCKED_NOISE * height / (BODY_FILL * 256)
    pulls.weights[:, first:] = np.where(locked, 1 / locked_sigma[:, None], fit.keypoints2d[..., 2] / sigma[:, None])
    pulls.counts[:, first:] = np.where(locked, LOCKED_COUNT, 1)
    return pulls


def pull_to_vertices(
    fit: Fit,
    body: Body,
    source: SurfaceSource,
    surface: SurfacePoints,
    rig: LandmarkRig,
    pulls: Pulls,
    correlation: float,
) -> None:
    """Pull surface points by the shifts between the vertices around them and the pixels that show these, in place.

    A pixel belongs to the person in whose box it lies. If there are several, it belongs to the one whose vertex is
    nearest, relative to the person's size.

    Args:
        fit: The fit.
        body: The body.
        source: The vertices that pixels show.
        surface: The surface points.
        rig: The alignment rig.
        pulls: The pulls, which are changed.
        correlation: Of the errors of points on one part of the body.
    """
    points = slice(0, len(surface))
    for frame in np.unique(fit.frame_index).tolist():
        rows, camera = fit.rows_for(frame), fit.camera(frame)
        width, height = fit.image_size[frame].tolist()
        pixels, vertices = source(str(fit.frame_names[frame]), (width, height))
        if not len(pixels):
            continue
        shift = pixels - camera.project(body_vertices(body, fit, rows)[:, vertices].double().numpy())  # (P, M, 2)
        boxes = fit.boxes[rows][:, None]
        size = np.maximum(boxes[..., 2:] - boxes[..., :2], 1).max(-1)
        inside = ((pixels >= boxes[..., :2]) & (pixels <= boxes[..., 2:])).all(-1)
        nearest = np.where(inside, np.linalg.norm(shift, axis=-1) / size, np.inf).argmin(0)
        points_in_image = camera.project(rig_points(fit, rows, rig)[:, points].numpy())
        for i, row in enumerate(rows):
            selected = inside[i] & (nearest == i)
            shifts, visible = surface.means(vertices[selected], shift[i, selected])
            counts = independent_counts(rig, points, torch.from_numpy(visible[None]).double(), correlation)
            pulls.pixels[row, points] = points_in_image[i] + shifts
            pulls.weights[row, points] = visible * BODY_FILL * 256 / (_DENSEPOSE_NOISE * size[i])
            pulls.counts[row, points] = counts[0]


def of_all_rows(pulls: Pulls, rows: NDArray[np.integer], count: int) -> Pulls:
    """Extend the pulls of some rows to all rows of a fit."""
    all_pulls = Pulls(*(np.zeros((count, *values.shape[1:])) for values in pulls))
    for all_values, values in zip(all_pulls, pulls, strict=True):
        all_values[rows] = values
    return all_pulls
