"""Points of the surface in images, from DensePose's output or annotations: what `--densepose` reads.

`surface_registration` makes of them what registers fits, for `hpc fit` and `hp.fit`; `charted_points` what refinement
pulls bodies to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.datasets.densepose import read_annotated_images
from humanpose_cli.datasets.images import DensePoseOutput
from humanpose_cli.fitting.options import FitMethod
from humanpose_cli.fitting.registering import register_fit
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.digests import digest_of_files, file_digest
from humanpose_cli.models.deform_and_learn.correspondences import SurfaceCharts, read_densepose_charts, texture_charts
from humanpose_cli.refining.correspondences import ChartedPoints


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
        charts, _ = self._output.of(name, name, size, True)
        if charts is None:
            stem = Path(name).stem
            expected = f"{stem}_IUV.png, {stem}_IUV.npz or a dump with {name}"
            raise InputError(self._path, f"has nothing about {name}", expected=expected, remedy="run DensePose on it")
        y, x = np.nonzero(charts[..., 0])
        values = charts[y, x].astype(np.float64)
        return np.column_stack((x + 0.5, y + 0.5, values[:, 0], values[:, 1:] / 255))


def points_identity(densepose: Path, charts: Path | None) -> dict[str, str | None]:
    """What of the points decides a result, for ledgers: the contents of both files, or of DensePose's in a folder."""
    files = [densepose]
    if densepose.is_dir():
        files = [path for path in sorted(densepose.rglob("*")) if path.suffix == ".pkl" or path.stem.endswith("_IUV")]
    return {"densepose": digest_of_files(files), "charts": None if charts is None else file_digest(charts)}


def surface_registration(body: Body, densepose: Path, charts: Path | None = None) -> Callable[[Fit, Progress], Fit]:
    """What registers fits of a body to the surface points of their images (`fitting.registering`).

    densepose  as `SurfacePointFile` reads it
    charts     DensePose's UV_Processed.mat, for SMPL; None: the charts are those of the body's own texture
    """
    file, known = SurfacePointFile(densepose), _charts_of(body, charts)

    def register(fit: Fit, progress: Progress) -> Fit:
        frames = enumerate(zip(fit.frame_names.tolist(), fit.image_size.tolist(), strict=True))
        return register_fit(fit, body, known, {n: file.points(name, (w, h)) for n, (name, (w, h)) in frames})

    return register


def charted_points(body: Body, densepose: Path, charts: Path | None = None) -> ChartedPoints:
    """Which pixels show which vertices of a body; arguments as those of `surface_registration`."""
    return ChartedPoints(_charts_of(body, charts), SurfacePointFile(densepose).points)


def _charts_of(body: Body, charts: Path | None) -> SurfaceCharts:
    return texture_charts(body) if charts is None else read_densepose_charts(charts, body)


def check_registration(method: str, densepose: Path | None, charts: Path | None, *, refine: bool) -> None:
    """UsageError where the arguments of a fit do not go together."""
    known = (*get_args(FitMethod), "register")
    if method not in known:
        raise UsageError("method", "is not known", expected=", ".join(known), got=method)
    if (method == "register") != (densepose is not None):
        raise UsageError("densepose", "goes with `method=register`", expected="both or neither")
    check_charts(densepose, charts)
    if refine and densepose is not None:
        raise UsageError("refine", "does not go with `method=register`", remedy="refine the fit afterwards")


def check_charts(densepose: Path | None, charts: Path | None) -> None:
    """UsageError where there are charts without the surface points that they are of."""
    if charts is not None and densepose is None:
        raise UsageError("charts", "are of no use without `densepose`")
