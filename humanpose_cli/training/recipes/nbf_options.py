"""What `hpc train nbf` learns and from what: options and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from humanpose_cli.errors import UsageError
from humanpose_cli.fitting.nbf.inputs import InputOptions
from humanpose_cli.fitting.nbf.losses import LossOptions
from humanpose_cli.fitting.nbf.regressor import RegressorOptions
from humanpose_cli.training.options import TrainOptions
from humanpose_cli.training.recipes.nbf_examples import BodyAugmentation, Framing
from humanpose_cli.training.recipes.unrendered import POOL

__all__ = ["NBF_PRESETS", "NbfTraining", "nbf_preset"]


@dataclass(frozen=True)
class NbfTraining:
    """What is learned and from what.

    inputs, regressor, losses, augmentation  see there
    source         where body parts come from: "labels", or the "segmenter" that is given
    segmenter      its weights file; also what inputs of parts are judged by with source "segmenter"
    finetune       let the segmenter learn too, through `blended` inputs
    framing        see `Framing`
    unrendered     share of the examples of body parts or `proxy` that were never rendered: posed bodies' parts, with an
                   imitated detector's output
    unrendered_poses  from a pool of so many, drawn when the training begins, a few milliseconds each
    crop           pixels of the crop that inputs are made from; the segmenter's where one is given
    body           "default" or "smpl:FILE", whose parameters the labels are
    learning_rate, beta1, weight_decay  of Adam
    backbone       file with ImageNet weights of the regressor's ResNet; "" begins at random
    start          weights to begin with, as far as they are of networks built alike; "" begins at random
    seen           least share of a person's joints that must be visible, to learn from or to be judged by
    people         learn from that many at most, spread evenly; 0 for all
    variants       random views of each person, kept in memory; 0 for new ones in every epoch
    protocol       of the cache; "" for its own
    validation     people that a validation looks at, at most
    """

    inputs: InputOptions = field(default_factory=InputOptions)
    regressor: RegressorOptions = field(default_factory=RegressorOptions)
    losses: LossOptions = field(default_factory=LossOptions)
    augmentation: BodyAugmentation = field(default_factory=BodyAugmentation)
    source: Literal["labels", "segmenter"] = "labels"
    segmenter: str = ""
    finetune: bool = False
    framing: Framing = "labels"
    unrendered: float = 0.0
    unrendered_poses: int = POOL
    crop: int = 512
    body: str = "default"
    learning_rate: float = 4e-5
    beta1: float = 0.5
    weight_decay: float = 1e-4
    backbone: str = ""
    start: str = ""
    seen: float = 0.0
    people: int = 0
    variants: int = 0
    protocol: str = ""
    validation: int = 512

    def __post_init__(self) -> None:
        if self.source not in ("labels", "segmenter"):
            raise UsageError("source", "is not known", expected="labels or segmenter", got=self.source)
        if self.framing not in ("labels", "detector"):
            raise UsageError("framing", "is not known", expected="labels or detector", got=self.framing)
        if self.source == "segmenter" and not (self.segmenter and self.inputs.segmented):
            raise UsageError(
                "source", "needs a segmenter's weights and an input of body parts", remedy="--set segmenter=FILE"
            )
        if self.finetune and (self.source != "segmenter" or self.inputs.kind != "blended"):
            raise UsageError(
                "finetune", "reaches the segmenter through blended colours alone", expected="inputs.kind=blended"
            )
        shown = self.inputs.segmented or self.inputs.kind == "proxy"
        imagined = shown and self.body == "default" and self.source == "labels"
        if not 0 <= self.unrendered <= 1 or (self.unrendered and not imagined):
            expected = "0 to 1, with inputs of body parts or proxy, source=labels and our own body"
            raise UsageError("unrendered", "is not possible", expected=expected)
        if self.losses.noise and not self.regressor.noise:
            raise UsageError("losses.noise", "has nothing to learn", remedy="--set regressor.noise=true")
        if min(self.people, self.variants, self.unrendered_poses - 1) < 0 or not 0 <= self.seen <= 1:
            what = "people, variants, unrendered_poses or seen"
            raise UsageError(what, "are out of range", expected="0 or more, poses 1 or more, seen up to 1")
        if self.crop < 32 or self.learning_rate <= 0 or self.weight_decay < 0 or self.validation < 1:
            raise UsageError("nbf training", "is out of range", expected="crop of 32 or more, rate above 0")

    def plain(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


# Neural Body Fitting, appendix B; Adam's β1, the power of the decay and the camera from the authors' public code.
_PAPER = (NbfTraining(), TrainOptions(epochs=75, batch_size=5))

_SMALL_PARTS = NbfTraining(
    inputs=InputOptions("parts", size=128),
    regressor=RegressorOptions(layers=18, width=24, reduced=32),
    augmentation=BodyAugmentation(scale=0.15, errors=0.7),
    seen=0.4,
    losses=LossOptions(latent=1.0, points3d=30.0),
    crop=192,
    learning_rate=1e-3,
    beta1=0.9,
    weight_decay=0.0,
)
_SMALL_PROXY = replace(
    _SMALL_PARTS,
    inputs=InputOptions("proxy", proxy="parts", size=128),
    regressor=RegressorOptions(layers=18, width=24, reduced=32, hidden=256, blocks=1, noise=True),
    losses=LossOptions(latent=1.0, points3d=60.0, noise=2.0),
    augmentation=BodyAugmentation(scale=0.15, errors=0.5),  # beside the detector's own
    framing="detector",
    unrendered=0.25,
    learning_rate=7e-4,
)
_ABLATION = NbfTraining(
    inputs=InputOptions("parts", size=64),
    regressor=RegressorOptions(layers=18, width=12, reduced=32),
    augmentation=BodyAugmentation(),
    seen=0.4,
    people=3000,
    variants=3,
    crop=64,
    learning_rate=2e-3,
    beta1=0.9,
    weight_decay=0.0,
    validation=200,
)

_SMALL_LOOP: dict[str, Any] = {"batch_size": 32, "precision": "mixed", "clip": 5.0, "average": 0.999, "log_every": 50}

NBF_PRESETS: Mapping[str, tuple[NbfTraining, TrainOptions]] = {
    "paper": _PAPER,
    "small": (_SMALL_PARTS, TrainOptions(epochs=20, **_SMALL_LOOP)),
    "small-proxy": (_SMALL_PROXY, TrainOptions(epochs=24, **_SMALL_LOOP)),
    "ablation": (
        _ABLATION,
        # Without workers: examples are kept by the process that made them, for the next training too.
        TrainOptions(epochs=15, batch_size=32, workers=0, clip=5.0, average=0.99, validate_every=1000, log_every=20),
    ),
}
"""`paper`: appendix B. `small`, `small-proxy`: up to two hours on two cores. `ablation`: two to four minutes."""


def nbf_preset(name: str, kind: str = "") -> tuple[NbfTraining, TrainOptions]:
    """A preset for a kind of input: "parts", "rgb", "proxy" … or "" for the preset's own.

    `small` with proxy is `small-proxy`. UsageError for a name that is none.
    """
    if name == "small" and kind == "proxy":
        name = "small-proxy"
    if name not in NBF_PRESETS:
        raise UsageError("--preset", "is not known", expected=", ".join(NBF_PRESETS), got=name)
    options, training = NBF_PRESETS[name]
    if kind and kind != options.inputs.kind:
        options = replace(options, inputs=replace(options.inputs, kind=kind))  # type: ignore[arg-type]
    if kind == "proxy" and options.framing == "labels":
        options = replace(options, framing="detector")
    return options, training
