"""Options of a refinement. Needs no torch, so that `hpc refine --help` can read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from humanpose_cli.body.model_files import check_prior
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option

CorrespondenceKind = Literal["auto", "network", "flow", "keypoints", "densepose"]
RefinePreset = Literal["default", "paper"]


@dataclass(frozen=True)
class AlignmentWeights(Options):
    """Weights of the terms that align a body."""

    surface_noise: float = option(
        1.6, "Factor on the noise of displacements, because the errors of neighbouring parts are correlated.", above=0
    )
    surface_correlation: float = option(
        0.85, "Correlation of the errors of displacements on one part of the body.", minimum=0, maximum=1
    )
    anchor: bool = option(True, "Keep bodies near the fit; prior and joint limits act only on changes.")
    acceleration: float = option(20.0, "Standard deviation of the joints' acceleration.", unit="metres/second²")


@dataclass(frozen=True)
class AcceptanceOptions(Options):
    """How much of a refinement is accepted (`refining.acceptance`).

    The noise of the gain was chosen on rendered clips, as docs/research/refine.md describes.
    """

    everything: bool = option(False, "Accept every refinement completely.")
    gain_noise: float = option(
        0.25,
        "Gain in overlap with the silhouette at which half of a refinement is accepted.",
        unit="share of what the overlap lacks to 1",
        above=0,
    )


@dataclass(frozen=True)
class RefineOptions(Options):
    """Options of a refinement."""

    correspondence: CorrespondenceKind = option(
        "auto",
        "What bodies are aligned to: keypoints only, or also the texture (flow), `weights` (network) or DensePose; "
        "auto uses densepose or network if given, else keypoints.",
    )
    with_keypoints: bool = option(True, "Use keypoints in addition to the correspondence.")
    prior: str = option(
        "pose",
        "Penalty on unusual poses: none, pose (this package's prior) or gmm:FILE (SMPLify's gmm_08.pkl).",
        value="none|pose|gmm:FILE",
    )
    rounds: int = option(2, "Rounds of rendering, comparing and solving.", minimum=1)
    size: int = option(384, "Side of a person's crop.", unit="pixels", minimum=64)
    points: int = option(400, "Number of surface points that the body is aligned by.", minimum=50)
    weights: AlignmentWeights = option(AlignmentWeights(), "Noise levels of the solver.")
    acceptance: AcceptanceOptions = option(AcceptanceOptions(), "How much of a refinement is accepted.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prior(self.prior)
        if self.correspondence == "keypoints" and not self.with_keypoints:
            raise UsageError("with_keypoints", "leaves nothing to align to", remedy="another `correspondence`")


@dataclass(frozen=True)
class RefineFiles(Options):
    """Files that a refinement takes besides the fit, its frames, and `SurfaceFiles`."""

    weights: str = option(
        "", "Displacement network: a run of hpc train refiner.", value="FILE|RUN", unset="the shipped one"
    )
    keypoints: Path | None = option(
        None,
        "People's keypoints from your own detector, as in hpc fit.",
        value="FILE",
        unset="the fits' keypoints, else detected",
    )


PRESETS: dict[RefinePreset, RefineOptions] = {
    "default": RefineOptions(),
    "paper": RefineOptions(
        "network",
        with_keypoints=False,
        rounds=1,
        points=100_000,
        weights=AlignmentWeights(anchor=False, surface_noise=1.0, surface_correlation=0.0, acceleration=1e9),
        acceptance=AcceptanceOptions(everything=True),
    ),
}
"""`paper` is the procedure of Wehrbein et al. 2023: SMPLify (Bogo et al. 2016) with displacements at all visible
vertices in place of keypoints, frame by frame. With `correspondence=keypoints` it is SMPLify itself."""


def preset_options(
    preset: RefinePreset,
    correspondence: CorrespondenceKind = "auto",
    prior: str = "pose",
    *,
    with_keypoints: bool | None = None,
) -> RefineOptions:
    """Return the options of a preset with another correspondence and prior.

    Args:
        preset: The name of the preset.
        correspondence: "auto" is the preset's.
        prior: "none", "pose" or "gmm:FILE".
        with_keypoints: None is the preset's. Always true for the correspondence "keypoints".
    """
    options = PRESETS[preset]
    kind = options.correspondence if correspondence == "auto" else correspondence
    pulls = options.with_keypoints if with_keypoints is None else with_keypoints
    return replace(options, correspondence=kind, with_keypoints=pulls or kind == "keypoints", prior=prior)
