"""`hpc train nbf`: from body parts, joints, images or detections to shape and pose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import NBF_CAMERA, Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.lab.cache.drawing import draw_keypoints
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions, spread_evenly
from humanpose_cli.lab.metrics.bodies import Bodies, BodyErrors, body_errors
from humanpose_cli.lab.metrics.counts import counted
from humanpose_cli.lab.recipes.nbf.examples import (
    POOL,
    BodyAugmentation,
    BodyExamples,
    Framing,
    Memory,
    mean_parameters,
    needed_labels,
)
from humanpose_cli.lab.recipes.nbf.losses import LossOptions, keeps_3d, nbf_losses
from humanpose_cli.lab.recipes.people import (
    People,
    require_model,
    split_people,
    spread_out,
    validation_of_people,
    visible_people,
)
from humanpose_cli.lab.train.recipe import (
    Phase,
    Recipe,
    TrainOptions,
    check_batch,
    held_out_batches,
    moved,
    two_columns,
)
from humanpose_cli.models.crops import CropEvidence
from humanpose_cli.models.nbf.body import BodyLayer, BodyParameters, absolute_to_relative
from humanpose_cli.models.nbf.inputs import InputOptions
from humanpose_cli.models.nbf.network import (
    MODEL,
    NbfConfig,
    Regressor,
    RegressorOptions,
    fill_regressor,
    segmented_input,
)
from humanpose_cli.models.segmenter.inputs import as_bytes
from humanpose_cli.models.segmenter.network import IMAGENET, Segmenter, backbone_file, load_backbone
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.rendering.overlay import draw_overlay, person_colour


@dataclass(frozen=True)
class NbfTraining(Options):
    """Options of the body network's training."""

    inputs: InputOptions = option(InputOptions(), "The input of the network.")
    regressor: RegressorOptions = option(RegressorOptions(), "The network.")
    losses: LossOptions = option(LossOptions(), "Weights of the losses.")
    augmentation: BodyAugmentation = option(BodyAugmentation(), "Augmentation of examples.")
    source: Literal["labels", "segmenter"] = option(
        "labels", "Source of the body parts: the labels, or the `segmenter`."
    )
    segmenter: str = option(
        "", "Weights of the segmenter, also used in validation with `source=segmenter`.", unset="none"
    )
    framing: Framing = option("labels", "How the crop is framed; see `Framing`.")
    unrendered: float = option(
        0.0,
        "Fraction of posed bodies among the examples of body parts or `proxy`, with a simulated detector's output "
        "instead of an image.",
        minimum=0,
        maximum=1,
    )
    unrendered_poses: int = option(
        POOL, "Number of posed bodies in their pool, which is drawn when the training begins.", minimum=1
    )
    crop: int = option(
        512,
        "Side of the crop that inputs are made from; the segmenter's side if there is one.",
        unit="pixels",
        minimum=32,
    )
    body: str = option("default", "Body whose parameters the labels are: default or smpl:FILE.")
    learning_rate: float = option(4e-5, "Learning rate of Adam.", above=0)
    beta1: float = option(0.5, "β1 of Adam.")
    weight_decay: float = option(1e-4, "Weight decay of Adam.", minimum=0)
    backbone: str = option(
        "",
        "Initial weights of the regressor's ResNet: a file, a name of `hpc weights list`, or imagenet.",
        unset="random weights",
    )
    start: str = option("", "Initial weights, for layers with the same shapes.", unset="random weights")
    visible: float = option(
        0.0, "Minimum fraction of visible joints of a person, in training and validation.", minimum=0, maximum=1
    )
    people: int = option(0, "Maximum number of people to train on, evenly spaced; 0 for all.", minimum=0)
    variants: int = option(
        0, "Number of random views of each person that are kept in memory; 0 renders new ones in each epoch.", minimum=0
    )
    protocol: str = option("", "Protocol of the cache.", unset="the usual one")
    validation: int = option(512, "Maximum number of people in a validation.", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == "segmenter" and not (self.segmenter and self.inputs.segmented):
            remedy = "`segmenter=FILE`"
            raise UsageError("source", "needs a segmenter's weights and an input of body parts", remedy=remedy)
        if self.unrendered and not (self.inputs.segmented and self.body == "default" and self.source == "labels"):
            expected = "inputs of body parts or proxy, source=labels and the default body"
            raise UsageError("unrendered", "is not possible", expected=expected)
        if self.losses.noise and not self.regressor.noise:
            raise UsageError("losses.noise", "has no effect", remedy="`regressor.noise=true`")


# Neural Body Fitting, appendix B; Adam's β1, the power of the decay, the camera and the weights of the losses from the
# authors' public code, which takes means over the 226 parameters and the 24 joints. All three losses: the last row of
# Table 3, also in Table 2 (82.0 mm). The paper's 75 epochs count every example and its mirror image (11,406 in UP-3D,
# section 4.3); ours mirrors images at random.
_PAPER = (
    NbfTraining(
        regressor=RegressorOptions(first_pool=2),
        losses=LossOptions(latent=1 / 226, points3d=1 / 24, points2d=1 / 24, of_labelled=True),
        backbone=IMAGENET,
    ),
    TrainOptions(epochs=150, batch_size=5, keep="last"),
)

_SMALL_PARTS = NbfTraining(
    inputs=InputOptions("parts", size=128),
    regressor=RegressorOptions(layers=18, width=24, reduced=32),
    augmentation=BodyAugmentation(scale=0.15, errors=0.7),
    visible=0.4,
    losses=LossOptions(latent=1.0, points3d=30.0),
    crop=192,
    learning_rate=1e-3,
    beta1=0.9,
    weight_decay=0.0,
)
_SMALL_PROXY = replace(
    _SMALL_PARTS,
    inputs=InputOptions("proxy", size=128),
    regressor=RegressorOptions(layers=18, width=24, reduced=32, hidden=256, blocks=1, noise=True),
    losses=LossOptions(latent=1.0, points3d=60.0, noise=2.0),
    augmentation=BodyAugmentation(scale=0.15, errors=0.5),  # in addition to the detector's errors
    framing="detector",
    unrendered=0.25,
    learning_rate=7e-4,
)
_ABLATION = NbfTraining(
    inputs=InputOptions("parts", size=64),
    regressor=RegressorOptions(layers=18, width=12, reduced=32),
    augmentation=BodyAugmentation(),
    visible=0.4,
    people=3000,
    variants=3,
    crop=64,
    learning_rate=2e-3,
    beta1=0.9,
    weight_decay=0.0,
    validation=200,
)

_SMALL_LOOP = TrainOptions(epochs=20, batch_size=32, clip=5.0, average=0.999, log_every=50)

NBF_PRESETS: Mapping[str, tuple[NbfTraining, TrainOptions]] = {
    "paper": _PAPER,
    "small": (_SMALL_PARTS, _SMALL_LOOP),
    "small-proxy": (_SMALL_PROXY, replace(_SMALL_LOOP, epochs=24)),
    "ablation": (
        _ABLATION,
        # Without workers: the process keeps its examples for the next training.
        TrainOptions(epochs=15, batch_size=32, workers=0, clip=5.0, average=0.99, validate_every=1000, log_every=20),
    ),
}
"""`paper`: appendix B. `small`, `small-proxy`: up to two hours on two cores. `ablation`: two to four minutes."""


Batch = Mapping[str, Tensor]
_SIDE = 224  # pixels of a panel of the contact sheet
_PANELS = 6


@torch.no_grad()
def crop_errors(predict: Callable[[Batch], BodyParameters], batches: Iterable[Batch], layer: BodyLayer) -> BodyErrors:
    """Measure the people in batches of `BodyExamples`, before the fixed camera as in the paper's analysis.

    Args:
        predict: Function from a batch on the layer's device to the predicted bodies.
        batches: The batches.
        layer: The body.
    """
    parts = []
    for cpu_batch in batches:
        batch = moved(cpu_batch, layer.root.device)
        estimate = predict(batch)
        count = len(estimate.betas)
        root = layer.root.expand(count, 3)
        bodies = Bodies(absolute_to_relative(estimate.rotations), estimate.betas, root)
        true = Bodies(absolute_to_relative(batch["rotations"]), batch["betas"], root)
        # The camera of a crop of one pixel: shares of joints do not depend on the unit.
        focal = root.new_full((count,), NBF_CAMERA.focal / NBF_CAMERA.size)
        parts.append(body_errors(layer.body, bodies, true, focal, root.new_full((count, 2), 0.5)))
    return BodyErrors.joined(parts)


class NbfRecipe(Recipe[Batch]):
    """The losses of section 3.3, evaluated by the Procrustes-aligned error of held-out people's joints.

    Args:
        data: Path of the cache.
        options: Options of the training.
        seed: Seed of the weights.
        memory: Examples for `options.variants`; recipes that differ only in losses can share it.
    """

    name, criterion = MODEL, "pa_mpjpe_mm"
    model: Regressor

    def __init__(
        self, data: Path | str, options: NbfTraining | None = None, *, seed: int = 0, memory: Memory | None = None
    ) -> None:
        self.memory: Memory = {} if memory is None else memory
        options = options or NbfTraining()
        self.segmenter: Segmenter | None = None
        if options.source == "segmenter":
            self.segmenter = Segmenter.load(find_weights(options.segmenter), parts=options.inputs.parts)
            options = replace(options, crop=self.segmenter.options.crop)
        self.options = options
        torch.manual_seed(seed)
        rig = load_body(options.body)
        self.layer, self._body = BodyLayer(rig), rig.name.partition("-")[0]
        self.people, self.held_out, left_out = self._split(data)
        facts = validation_of_people(self.people, self.held_out, options.protocol, options.validation)
        self.validation_data = {**facts, **left_out}
        regressor = Regressor(options.inputs, options.regressor)
        if options.backbone:
            kind = f"resnet{options.regressor.layers}"
            load_backbone(regressor.backbone, backbone_file(options.backbone, kind))
        means = mean_parameters(self.people, options.body, options.inputs)
        if means is None:  # no pose is known: an upright person who faces the camera
            upright = torch.diag(torch.tensor([1.0, -1.0, -1.0])).repeat(len(SMPL24), 1, 1)
            means = {"betas": torch.zeros(10), "rotations": upright}
        if options.start:
            fill_regressor(regressor, find_weights(options.start))
        regressor.set_mean(means["betas"], means["rotations"])
        self.model = regressor

    def phases(self) -> Sequence[Phase]:
        o = self.options
        return [Phase("fit", list(self.model.parameters()), o.learning_rate, (o.beta1, 0.999), o.weight_decay)]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        people = self.people
        if not self.options.losses.extra_2d:
            # People with 3-D labels, repeated, so that an epoch has as many steps as with all people.
            rows = np.flatnonzero([keeps_3d(int(row), self.options.losses) for row in people.rows])
            if not len(rows):
                raise InputError(people.cache.path, "keeps no 3-D labels", remedy="a larger losses.fraction_3d")
            people = people.taken(np.resize(rows, len(people)))
        check_batch(people.cache.path, len(people), options)
        return BatchLoader(range(len(people)), self._examples(people, augmented=True), options)

    def losses(self, phase: str, batch: Batch) -> Mapping[str, Tensor]:
        estimate = self.predict(batch)
        layer = self.layer.to(estimate.betas.device)
        return nbf_losses(estimate, batch, layer, self.options.losses)

    def predict(self, batch: Batch) -> BodyParameters:
        """Predict the bodies of a batch on the network's device."""
        if "segmenter_input" not in batch:
            return self.model(batch)
        assert self.segmenter is not None
        self.segmenter.network.to(batch["segmenter_input"].device)
        with torch.no_grad():
            probabilities = self.segmenter.probabilities(batch["segmenter_input"]).float()
        return self.model({**batch, "image": segmented_input(probabilities, self.options.inputs)})

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return mpjpe_mm, pa_mpjpe_mm and its median, pve_mm, err_quat_rad, err_quat_absolute_rad, pckh."""
        errors = self.errors(batch_size)
        return {
            "pa_mpjpe_mm": 1000 * float(errors.pa_mpjpe.mean()),
            "pa_mpjpe_median_mm": 1000 * float(np.median(errors.pa_mpjpe)),
            "mpjpe_mm": 1000 * float(errors.mpjpe.mean()),
            "pve_mm": 1000 * float(errors.pve.mean()),
            "err_quat_rad": float(errors.rotation.mean()),
            "err_quat_absolute_rad": float(errors.absolute_rotation.mean()),
            "pckh": float(errors.pckh.mean()),
        }

    def errors(self, batch_size: int) -> BodyErrors:
        """Measure each held-out person without random changes; the model must be in evaluation mode."""
        examples = self._examples(self.held_out, augmented=False)
        batches = held_out_batches(examples, self._held_out_numbers(), batch_size)
        return crop_errors(self.predict, batches, self.layer.to(self.device))

    def image(self) -> NDArray[np.uint8]:
        """Draw up to six held-out people: input, true body, predicted body."""
        make = self._examples(self.held_out, augmented=False)
        return two_columns([self._panel(make, number) for number in self._held_out_numbers()[:_PANELS]])

    @torch.no_grad()
    def _panel(self, make: BodyExamples, number: int) -> NDArray[np.uint8]:
        example = make(number, np.random.default_rng(0))
        batch = {name: torch.as_tensor(values)[None].to(self.device) for name, values in example.items()}
        return crop_panel(make, number, batch, self.predict(batch), self.layer.to(self.device))

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        o = self.options
        tensors = {f"regressor.{name}": value for name, value in self.model.state_dict().items()}
        return tensors, asdict(NbfConfig(o.inputs, o.regressor, o.crop, self._body))

    def describe(self) -> Mapping[str, Any]:
        return {**self.people.describe(), "recipe": asdict(self.options)}

    def _split(self, data: Path | str) -> tuple[People, People, dict[str, str]]:
        """Select the training people, held-out people with known bodies, and describe the people left out."""
        o = self.options
        needs = needed_labels(o.inputs, o.losses, segmented=o.source == "segmenter", framing=o.framing)
        train, held_out = split_people(data, needs, protocol=o.protocol)
        with_scaled = split_people(data, [need for need in needs if need != "unscaled"], protocol=o.protocol)
        scaled_count = sum(map(len, with_scaled)) - len(train) - len(held_out)
        facts = {"left_out": f"{counted(scaled_count, 'people')} with scaled segments"} if scaled_count else {}
        train = spread_out(visible_people(train, o.visible), o.people)
        held_out = visible_people(held_out, o.visible)
        if "poses" in held_out.cache.people:
            held_out = held_out.taken(np.isfinite(held_out.column("poses")).all(1))
        else:
            held_out = held_out.taken(np.zeros(len(held_out), bool))
        if not len(held_out):
            expected = "poses to evaluate the network by"
            raise InputError(train.cache.path, "has no held-out person with a known body", expected=expected)
        for people in (train, held_out):
            require_model(people, self.layer.body)
        return train, held_out, facts

    def _examples(self, people: People, *, augmented: bool) -> BodyExamples:
        o = self.options
        settings: dict[str, Any] = {"crop": o.crop, "body": o.body, "framing": o.framing}
        if self.segmenter is not None:
            settings["segmenter"] = self.segmenter.options
        if augmented:
            settings |= {"augmentation": o.augmentation, "variants": o.variants, "memory": self.memory}
            settings |= {"unrendered": o.unrendered, "unrendered_poses": o.unrendered_poses}
            if self.segmenter is not None and o.variants:
                settings["segment"] = self._segment
        return BodyExamples(people, o.inputs, o.losses, **settings)

    @torch.no_grad()
    def _segment(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert one person's `segmenter_input` (C, S, S) to the regressor's image (3, size, size)."""
        assert self.segmenter is not None
        device = next(self.segmenter.network.parameters()).device
        probabilities = self.segmenter.probabilities(torch.from_numpy(image)[None].to(device)).float()
        return np.asarray(segmented_input(probabilities, self.options.inputs)[0].cpu().numpy(), np.float32)

    def _held_out_numbers(self) -> list[int]:
        """Return the indices of the `held_out` people that are evaluated, in the order of `errors`."""
        return spread_evenly(len(self.held_out), self.options.validation)


def crop_panel(
    make: BodyExamples, number: int, batch: Batch, estimate: BodyParameters, layer: BodyLayer
) -> NDArray[np.uint8]:
    """Draw the input, and the true and the predicted mesh before the fixed camera.

    Args:
        make: Examples of the people.
        number: Index of the person.
        batch: The person's example, as a batch.
        estimate: The prediction for that batch.
        layer: The body.

    Returns:
        (224, 672, 3) uint8.
    """
    random = np.random.default_rng(0)
    evidence = make.evidence(make.view(number, random, image=True), random, 0.0)
    assert evidence.image is not None
    smaller = cv2.INTER_AREA if evidence.size > _SIDE else cv2.INTER_LINEAR
    photo = np.asarray(cv2.resize(evidence.image, (_SIDE, _SIDE), interpolation=smaller), np.uint8)
    panels = [_input_panel(evidence, batch, make.inputs, photo)]
    faces, camera = layer.body.faces.cpu(), Camera.of_image((_SIDE, _SIDE), NBF_CAMERA.focal_at(_SIDE))
    for betas, rotations, colour in ((batch["betas"], batch["rotations"], 2), (estimate.betas, estimate.rotations, 1)):
        mesh = layer(betas, rotations, vertices=True).cpu()
        panels.append(draw_overlay(photo, mesh, faces, camera, track_ids=[colour]))
    return np.concatenate(panels, 1)


def _input_panel(
    evidence: CropEvidence, batch: Batch, inputs: InputOptions, photo: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Draw (224, 224, 3): landmarks over the photo, the coloured parts or joints, or the photo itself."""
    if inputs.kind == "proxy" and evidence.landmarks is not None:
        points = evidence.landmarks * (_SIDE / evidence.size, _SIDE / evidence.size, 1.0)
        image = photo.copy()
        draw_keypoints(image, points, BLAZEPOSE33, person_colour(0))
        return image
    if "image" in batch and inputs.kind != "rgb":
        image = as_bytes(batch["image"][0].permute(1, 2, 0).cpu().numpy())
        return np.asarray(cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)
    return photo
