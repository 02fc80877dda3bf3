"""Which refinements `hpc evaluate refine` compares, as options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from humanpose_cli.body.model_files import prior_file
from humanpose_cli.cli.options import DensePose, DensePoseCharts, option
from humanpose_cli.fitting.options import check_charts
from humanpose_cli.refining.options import RefinePreset

_WEIGHTS = option("--weights FILE|RUN", "The displacement network. Default: no network is compared.")
_BASE = option(
    "--base",
    "Only these initial fits. noise: the truth with an estimator's errors; truth+A: with A radians at every joint. "
    "Default: all.",
)
_CORRESPONDENCE = option(
    "--correspondence",
    "Only this correspondence. densepose needs --densepose, or a cache with surface points, as of rendered people. "
    "truth: true displacements, an upper bound. Default: all that are at hand, but truth.",
)
_KEYPOINTS = option(
    "--keypoints/--no-keypoints",
    "Only correspondences with keypoints beside them, or alone. Default: both.",
    show_default=False,
)
_PRIOR = option("--prior none|pose|gmm:FILE|vposer:FILE", "Only this prior, as in hpc refine. Default: none and pose.")
_PRESET = option("--refine-preset", "Of all refinements, as --preset of hpc refine.")
_BASE_FITS = option(
    "--predictions FITS",
    "Refine these: a folder of fit files, or results of 4D-Humans (PHALP), WHAM, TRAM, CameraHMR, GVHMR or SAM 3D Body "
    "on the cache's images, named after their sequence. Default: the initial fits of --base.",
    show_default=False,
)


@dataclass(frozen=True)
class RefineFlags:
    """Which refinements are compared, as one parameter. Fields are those of `RefineSelection`."""

    weights: Annotated[str | None, _WEIGHTS] = None
    base: Annotated[Literal["keypoints", "nbf", "noise", "truth+0.02", "truth+0.05", "truth+0.08"] | None, _BASE] = None
    predictions: Annotated[Path | None, _BASE_FITS] = None
    correspondence: Annotated[Literal["network", "flow", "densepose", "keypoints", "truth"] | None, _CORRESPONDENCE] = (
        None
    )
    keypoints: Annotated[bool | None, _KEYPOINTS] = None
    densepose: DensePose = None
    charts: DensePoseCharts = None
    prior: Annotated[str | None, _PRIOR] = None
    refine_preset: Annotated[RefinePreset, _PRESET] = "default"

    def files(self) -> list[Path]:
        """Read what is needed beside the weights. Errors for priors and charts as in hpc refine."""
        check_charts(self.densepose, self.charts)
        prior = prior_file(self.prior) if self.prior is not None else None
        return [path for path in (self.predictions, self.densepose, self.charts, prior) if path is not None]
