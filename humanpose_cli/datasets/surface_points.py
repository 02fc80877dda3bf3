"""Points of the surface in images, from DensePose's output or annotations: what `hpc fit --densepose` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError
from humanpose_cli.datasets.densepose import read_annotated_images
from humanpose_cli.datasets.images import DensePoseOutput


class SurfacePointFile:
    """DensePose's output (a folder of NAME_IUV.png or NAME_IUV.npz, or a dump) or an annotation file in COCO's format.

    InputError where it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._annotated: dict[str, NDArray[Any]] | None = None
        if path.suffix.lower() == ".json":
            self._annotated = {}
            for image in read_annotated_images(path):
                points = [person.points for person in image.people if person.points is not None]
                self._annotated[Path(image.file_name).name] = np.concatenate(points)
        else:
            self._output = DensePoseOutput(path)

    def points(self, name: str, size: tuple[int, int]) -> NDArray[Any]:
        """(M, 5) x, y pixels, chart, U, V of the image `name` of `size` (width, height).

        InputError where there is nothing about it.
        """
        if self._annotated is not None:
            if name not in self._annotated:
                raise InputError(self._path, f"has no surface points of {name}", remedy="another --method")
            return self._annotated[name]
        charts, _ = self._output.of(name, name, size, False)
        assert charts is not None
        y, x = np.nonzero(charts[..., 0])
        values = charts[y, x].astype(np.float64)
        return np.column_stack((x + 0.5, y + 0.5, values[:, 0], values[:, 1:] / 255))
