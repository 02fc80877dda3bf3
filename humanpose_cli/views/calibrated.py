"""Calibrated cameras for the views of a take, and a take's cameras as a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.calibrations import CalibratedCamera, Calibration, matched_cameras, undistorted
from humanpose_cli.views.cameras import ViewCamera
from humanpose_cli.views.tracks import Array

# Axes of a world whose z axis points up, in one whose y axis points down.
_Z_UP = np.array(((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))


@dataclass(frozen=True, eq=False)
class CalibratedViews:
    """The calibrated camera of each view.

    cameras  of the calibration, scaled to the views' images
    views    the same without distortion, the first one's axes being the take's
    to_first (4, 4) a world whose y axis points down to the first camera's axes; None if up is unknown
    notes    sentences for the user
    """

    cameras: list[CalibratedCamera]
    views: list[ViewCamera]
    to_first: Array | None
    notes: tuple[str, ...]

    def pinhole(self, fits: Sequence[Fit]) -> list[Fit]:
        """Replace the keypoints of the single fits by those of cameras without distortion."""
        result = []
        for fit, camera, view in zip(fits, self.cameras, self.views, strict=True):
            keypoints = fit.keypoints2d.copy()
            keypoints[..., :2] = undistorted(fit.keypoints2d[..., :2], camera, view.focal).astype(np.float32)
            result.append(replace(fit, keypoints2d=keypoints))
        return result


def calibrated_views(
    calibration: Calibration, paths: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> CalibratedViews:
    """Find the cameras of views by their names. Raises InputError if one is missing, or has images of another shape.

    paths  of the views' videos, by whose names and folders cameras are found; sizes: (width, height) of their images
    """
    match = matched_cameras(calibration, paths, sizes)
    cameras = list(match.cameras)
    first = cameras[0]
    views = []
    for camera, size in zip(cameras, sizes, strict=True):
        turn = camera.rotation @ first.rotation.T
        centre = (float(camera.matrix[0, 2]), float(camera.matrix[1, 2]))
        shift = camera.translation - turn @ first.translation
        views.append(ViewCamera(turn, shift, float(camera.matrix[0, 0]), centre, size, fixed_focal=True))
    to_first = None
    if calibration.up == "z":
        to_first = np.eye(4)
        to_first[:3, :3], to_first[:3, 3] = first.rotation @ _Z_UP.T, first.translation
    notes = [*calibration.notes, *([match.note] if match.note else [])]
    if any(camera.distortion.any() for camera in cameras):
        notes.append("lens distortion is taken off the keypoints; overlays show cameras without distortion")
    return CalibratedViews(cameras, views, to_first, tuple(notes))


def calibration_of(fit: Fit) -> list[CalibratedCamera]:
    """Convert the cameras of a take that stand still to a world whose z axis points up, as `write_calibration` takes
    them.
    """
    assert fit.views is not None
    cameras = []
    to_first = fit.world_to_camera[0].astype(np.float64)
    for number, name in enumerate(fit.views.names.tolist()):
        if fit.views.moves(number):
            continue
        matrix = fit.views.from_first[number].astype(np.float64) @ to_first
        focal, (x, y) = float(fit.views.focal[number]), fit.views.principal_point[number].tolist()
        width, height = fit.views.image_size[number].tolist()
        intrinsic = np.array(((focal, 0.0, x), (0.0, focal, y), (0.0, 0.0, 1.0)))
        rotation = matrix[:3, :3] @ _Z_UP
        cameras.append(CalibratedCamera(name, (width, height), intrinsic, np.zeros(5), rotation, matrix[:3, 3]))
    return cameras
