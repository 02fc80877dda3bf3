"""What a refinement depends on. Needs no torch, so that `hpc refine --help` can read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from humanpose_cli.body.model_files import check_prior
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import Options, option

CorrespondenceKind = Literal["auto", "network", "flow", "keypoints", "densepose"]
RefinePreset = Literal["default", "paper"]


@dataclass(frozen=True)
class AlignmentWeights(Options):
    """How refinement's terms are weighted."""

    surface_noise: float = option(
        1.6, "Factor on the noise of displacements: the errors of neighbouring parts are alike, too.", above=0
    )
    surface_correlation: float = option(
        0.85, "Correlation of the errors of displacements on one part of the body.", minimum=0, maximum=1
    )
    anchor: bool = option(True, "Whether the fit holds bodies, and its prior and limits pull only what leaves it.")
    acceleration: float = option(20.0, "Standard deviation of the joints' acceleration.", unit="metres/second²")


@dataclass(frozen=True)
class AcceptanceOptions(Options):
    """How much of a refinement is kept (`refining.acceptance`).

    `tools/measure_acceptance.py` chooses the noise of the gain.
    """

    everything: bool = option(False, "Keep all of every refinement.")
    gain_noise: float = option(
        0.25,
        "A gain in overlap with the silhouette of this size is trusted half.",
        unit="share of what the overlap lacks to 1",
        above=0,
    )


@dataclass(frozen=True)
class RefineOptions(Options):
    """What a refinement depends on."""

    correspondence: CorrespondenceKind = option(
        "auto",
        "What the bodies are aligned to. flow: the person's texture compared with the photograph, and keypoints. "
        "keypoints: those of the fit alone. network: a network of `weights` compares, and keypoints. densepose: "
        "DensePose's output, and keypoints. auto: densepose or network where it is given, else flow.",
    )
    with_keypoints: bool = option(True, "Whether keypoints pull beside the correspondence.")
    prior: str = option(
        "pose",
        "What unusual poses cost. none: nothing. pose: by this package's prior. gmm: by SMPLify's Gaussian mixture "
        "(gmm_08.pkl, or an .npz with weights, means and covars). vposer: by VPoser v2 (its folder V02_05, or a "
        "checkpoint). Joints stay within their limits in any case.",
        value="none|pose|gmm:FILE|vposer:FILE",
    )
    rounds: int = option(2, "Rounds of rendering, comparing and solving.", minimum=1)
    size: int = option(384, "Side of a person's crop.", unit="pixels", minimum=64)
    points: int = option(400, "Surface points that the body is aligned by.", minimum=50)
    weights: AlignmentWeights = option(AlignmentWeights(), "Noise levels of the solver.")
    acceptance: AcceptanceOptions = option(AcceptanceOptions(), "How much is kept.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prior(self.prior)
        if self.correspondence == "keypoints" and not self.with_keypoints:
            raise UsageError("with_keypoints", "leaves nothing to align to", remedy="another `correspondence`")


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
"""`paper`: Wehrbein et al. 2023: SMPLify's terms (Bogo et al. 2016) with displacements at all visible vertices in place
of keypoints, frame by frame; with `correspondence=keypoints` SMPLify itself."""


def preset_options(
    preset: RefinePreset,
    correspondence: CorrespondenceKind = "auto",
    prior: str = "pose",
    *,
    with_keypoints: bool | None = None,
) -> RefineOptions:
    """Return a preset's options with a correspondence and a prior.

    Args:
        correspondence: "auto": the preset's.
        with_keypoints: None: the preset's, and with correspondence "keypoints" always.
    """
    options = PRESETS[preset]
    kind = options.correspondence if correspondence == "auto" else correspondence
    pulls = options.with_keypoints if with_keypoints is None else with_keypoints
    return replace(options, correspondence=kind, with_keypoints=pulls or kind == "keypoints", prior=prior)
