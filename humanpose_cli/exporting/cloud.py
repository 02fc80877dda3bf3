"""Points of the background along the path of a walking camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.exporting.motion import TO_Y_UP, Array, CameraPath
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.atomic import write_bytes


class SceneCloud(NamedTuple):
    """The background of one shot.

    Attributes:
        points: (P, 3) float, metres in the world, y up. Points of the background.
        centres: (F, 3) float, metres in the world, y up. Positions of the camera.
    """

    points: Array
    centres: Array


def clouds_of(fit: Fit) -> Iterator[SceneCloud]:
    """Yield the background, in the fit's world, of each shot with a walking camera and a known path."""
    camera = next(iter(CameraPath.all_of(fit).values()))
    for path in fit.options.get("camera_paths", ()):
        frames = np.flatnonzero(fit.shot_id == path["shot"])
        if not len(frames) or not path.get("background"):
            continue
        centres = camera.positions[frames]
        points = np.asarray(path["background"]) @ TO_Y_UP.T @ camera.rotations[frames[0]].T + centres[0]
        yield SceneCloud(points, centres)


def write_cloud(path: Path | str, fit: Fit) -> None:
    """Write the backgrounds of a fit as one point cloud (PLY, binary). Raises InputError if it has none."""
    parts = [cloud.points for cloud in clouds_of(fit)]
    if not parts:
        remedy = "fit a clip of a walking camera with `camera` auto or walking"
        raise InputError("fit", "has no points of the background", expected="a camera that walks", remedy=remedy)
    points = np.concatenate(parts).astype("<f4")
    names = "".join(f"property float {axis}\n" for axis in "xyz")
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{names}end_header\n"
    write_bytes(path, head.encode("ascii") + points.tobytes())
