"""Pixels that show known points of the body's surface: DensePose's output and annotations, and the charts of bodies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.densepose_annotations import read_annotated_images
from humanpose_cli.io.densepose_files import DensePoseOutput
from humanpose_cli.io.digests import digest_of_files, file_digest
from humanpose_cli.models.deform_and_learn.correspondences import (
    SurfaceCharts,
    read_densepose_charts,
    texture_charts,
)


class SurfacePointFile:
    """DensePose's output (a folder of NAME_IUV.png or NAME_IUV.npz, or a dump) or an annotation file in COCO's format.

    Raises InputError if it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._annotations: dict[str, NDArray[Any]] | None = None
        if path.suffix.lower() == ".json":
            self._annotations = {}
            for image in read_annotated_images(path):
                points = [person.points for person in image.people if person.points is not None]
                self._annotations[Path(image.file_name).name] = np.concatenate(points)
        else:
            self._output = DensePoseOutput(path)

    def points(self, name: str, size: tuple[int, int]) -> NDArray[Any]:
        """Read x, y pixels, chart, U and V (M, 5) of the image `name` of `size` (width, height).

        Raises InputError if there is nothing about it.
        """
        if self._annotations is not None:
            if name not in self._annotations:
                raise InputError(self._path, f"has no surface points of {name}", remedy="label it, or leave it out")
            return self._annotations[name]
        charts, _ = self._output.of(name, name, size, True)
        if charts is None:
            stem = Path(name).stem
            expected = f"{stem}_IUV.png, {stem}_IUV.npz or a dump with {name}"
            raise InputError(self._path, f"has nothing about {name}", expected=expected, remedy="run DensePose on it")
        y, x = np.nonzero(charts[..., 0])
        values = charts[y, x].astype(np.float64)
        return np.column_stack((x + 0.5, y + 0.5, values[:, 0], values[:, 1:] / 255))


def points_identity(densepose: Path, charts: Path | None) -> dict[str, str | None]:
    """Return the digests of what decides a result: the contents of both files, or of DensePose's in a folder."""
    files = [densepose]
    if densepose.is_dir():
        files = [path for path in sorted(densepose.rglob("*")) if path.suffix == ".pkl" or path.stem.endswith("_IUV")]
    return {"densepose": digest_of_files(files), "charts": None if charts is None else file_digest(charts)}


def surface_charts(body: Body, charts: Path | None) -> SurfaceCharts:
    """Load the charts of DensePose's UV_Processed.mat, for SMPL; without a file those of the body's texture."""
    return texture_charts(body) if charts is None else read_densepose_charts(charts, body)
