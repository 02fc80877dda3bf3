"""`hpc train segmenter`: image → body parts, by cross entropy (Neural Body Fitting, section 4.2 and appendix B)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from humanpose_cli.core.options import Options, option
from humanpose_cli.lab.cache.augmentation import NO_AUGMENTATION, SEGMENTER_AUGMENTATION, Augmentation, random_crop
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions, Make, spread_evenly
from humanpose_cli.lab.metrics.bodies import class_f1, class_iou, confusion, mean_of_visible
from humanpose_cli.lab.recipes.crop_examples import evidence_of_example, imitate_errors
from humanpose_cli.lab.recipes.people import People, split_people, spread_out, validation_of_people, visible_people
from humanpose_cli.lab.recipes.segmenter.stored_crops import StoredCrops
from humanpose_cli.lab.train.recipe import (
    Phase,
    Recipe,
    TrainOptions,
    check_batch,
    held_out_batches,
    moved,
    two_columns,
)
from humanpose_cli.models.segmenter.inputs import as_bytes, code_colours, labels_of_parts
from humanpose_cli.models.segmenter.network import (
    IMAGENET,
    MAP_INPUTS,
    MODEL,
    NETWORKS,
    MapSegmenter,
    SegmenterOptions,
    backbone_file,
    build_segmenter,
    load_backbone,
    segmenter_config,
    segmenter_input,
)
from humanpose_cli.networks.weights import fill, find_weights, read_weights

_MAPS = ("parts", "persons")
# The labels of a person that examples need, without and with a guide.
_LABELS = ("box", "mask"), ("box", "mask", "keypoints/smpl24", "detected", "detected_world", "detected_mask")
_UNGUIDED = 0.15  # share of a guided segmenter's examples without a guide
_STORED_VARIANTS = 2  # crops of each person that garments learn from
_GUIDE_ERRORS = 0.3  # strength of the imitated errors of the guide, in addition to the detector's errors


@dataclass(frozen=True)
class SegmenterTraining(Options):
    """Options of the segmenter's training."""

    segmenter: SegmenterOptions = option(SegmenterOptions(), "The network and its crop.")
    augmentation: Augmentation = option(SEGMENTER_AUGMENTATION, "Augmentation of images.")
    learning_rate: float = option(2e-5, "Learning rate of Adam.", above=0)
    weight_decay: float = option(1e-4, "Weight decay of Adam.", minimum=0)
    background: float = option(
        1.0, "Weight of background pixels in the loss; parts have the weight 1 (the paper has no weights).", above=0
    )
    backbone: str = option(
        "",
        "Initial weights of the backbone: a file, a name of `hpc weights list`, or imagenet.",
        unset="random weights",
    )
    start: str = option("", "Initial weights from a network of the same kind.", unset="random weights")
    visible: float = option(0.0, "Minimum fraction of visible joints of a person, in training and validation.")
    people: int = option(0, "Maximum number of people to train on, evenly spaced; 0 for all.")
    protocol: str = option("", "Protocol of the cache.", unset="the usual one")
    validation: int = option(512, "Maximum number of people in a validation.", minimum=1)


# Small networks learn from scratch without ImageNet weights, which needs higher rates. The body network also asks for
# crops that show people smaller than their box would, if they sit or crouch.
_FROM_SCRATCH = Augmentation(math.radians(30), 0.3, 0.06, 0.5, 0.08, 0.3, 0.3, 12.0)

SEGMENTER_PRESETS: dict[str, tuple[SegmenterTraining, TrainOptions]] = {
    "paper": (SegmenterTraining(backbone=IMAGENET), TrainOptions(epochs=20, batch_size=5, keep="last")),
    "small": (
        SegmenterTraining(
            SegmenterOptions("posed", crop=256, fill=0.72, guided=True),
            _FROM_SCRATCH,
            2e-3,
            1e-5,
            background=0.4,
            visible=0.4,
        ),
        TrainOptions(epochs=12, batch_size=8, clip=1.0, average=0.998, log_every=50),
    ),
    "garments": (
        SegmenterTraining(
            SegmenterOptions("garments", parts=6, crop=256, fill=0.72),
            Augmentation(math.radians(12), 0.2, 0.06, 0.5, 0.1, 0.3, 0.4, 12.0),
            2e-3,
            1e-5,
            background=0.3,
            visible=0.4,
            people=6000,
            validation=256,
        ),
        TrainOptions(epochs=60, batch_size=8, clip=1.0, average=0.998, log_every=50),
    ),
    "ablation": (
        SegmenterTraining(
            SegmenterOptions("tiny", crop=96, fill=0.72),
            _FROM_SCRATCH,
            4e-3,
            1e-5,
            background=0.4,
            visible=0.4,
            people=3000,
            validation=96,
        ),
        TrainOptions(epochs=6, batch_size=16, clip=1.0, average=0.99, validate_every=500, log_every=20),
    ),
}
"""`paper`: appendix B. `small`: minutes on a GPU, a night on two cores with 12,000 images. `garments`: labels of
garments, five hours on a core with 3,600 images. `ablation`: two to four minutes on a core."""


def segmenter_needs(options: SegmenterOptions) -> tuple[str, ...]:
    """Return the names in `people.LABELS` that training and evaluation need."""
    if options.labels_garments:
        return ("garments", "box")
    return ("parts", "box", "detected") if options.guided else ("parts", "box")


@dataclass(eq=False)
class SegmenterCrops:
    """Makes the crop of a person: segmenter_input (C, S, S), labels (S, S), and shown, the image, without training.

    Args:
        people: The people.
        options: Options of the network.
        training: Random changes; None for held-out people, who are not changed.
        guided: If False, a guided segmenter gets no guide.
    """

    people: People
    options: SegmenterOptions
    training: SegmenterTraining | None = None
    guided: bool = True

    def __post_init__(self) -> None:
        self.guided = self.guided and self.options.guided

    def __call__(self, number: int, random: np.random.Generator) -> dict[str, NDArray[Any]]:
        garments = self.options.labels_garments
        maps = ("garments",) if garments else _MAPS
        example = self.people.example(number, maps, _LABELS[self.guided], mask=not garments, detected_mask=self.guided)
        augmentation = NO_AUGMENTATION if self.training is None else self.training.augmentation
        crop = random_crop(example, self.options.crop, random, augmentation, fill=self.options.fill)
        evidence = evidence_of_example(crop)
        if garments:
            labels = crop.maps["garments"]
        else:
            assert evidence.parts is not None
            labels = labels_of_parts(evidence.parts, self.options.part_map)
        evidence = replace(evidence, parts=None)
        if not self.guided or (self.training is not None and random.random() < _UNGUIDED):
            evidence = replace(evidence, landmarks=None, world=None, mask=None)
        elif self.training is not None:
            evidence = imitate_errors(evidence, random, _GUIDE_ERRORS)
        arrays: dict[str, NDArray[Any]] = {"segmenter_input": segmenter_input(evidence, self.options), "labels": labels}
        return arrays if self.training is not None else {**arrays, "shown": crop.image}


class SegmenterRecipe(Recipe[Mapping[str, Tensor]]):
    """Cross entropy over all pixels, evaluated by the mean IoU of the parts on held-out people.

    Args:
        data: Path of the cache.
        options: Options of the training.
        seed: Seed of the weights.
    """

    name, criterion, higher_is_better = MODEL, "iou", True

    def __init__(self, data: Path | str, options: SegmenterTraining | None = None, *, seed: int = 0) -> None:
        o = self.options = options or SegmenterTraining()
        torch.manual_seed(seed)
        train, held_out = split_people(data, segmenter_needs(o.segmenter), protocol=o.protocol)
        self.people = spread_out(visible_people(train, o.visible), o.people)
        self.held_out = visible_people(held_out, o.visible)
        self.validation_data = validation_of_people(self.people, self.held_out, o.protocol, o.validation)
        self.model = build_segmenter(o.segmenter)
        if not isinstance(self.model, MapSegmenter):
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if o.backbone:
            kind = NETWORKS[o.segmenter.network].backbone
            load_backbone(self.model.get_submodule("backbone"), backbone_file(o.backbone, kind))
        if o.start:
            path = find_weights(o.start)
            fill(self.model, read_weights(path, MODEL)[0], path)

    def phases(self) -> Sequence[Phase]:
        parameters = list(self.model.parameters())
        return [Phase("fit", parameters, self.options.learning_rate, weight_decay=self.options.weight_decay)]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        check_batch(self.people.cache.path, len(self.people), options)
        return BatchLoader(range(len(self.people)), self._crops(self.people, self.options), options)

    def _crops(self, people: People, training: SegmenterTraining | None = None) -> Make:
        """Return the function that makes the crops of people; those of a `MapSegmenter` are stored beside the cache."""
        crops = SegmenterCrops(people, self.options.segmenter, training)
        if not isinstance(self.model, MapSegmenter):
            return crops
        o = self.options
        key = (people.cache.header.content_digest, people.rows.tolist(), o.segmenter, training and o.augmentation)
        name = f"crops-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.bin"
        folder = people.cache.path if people.cache.path.is_dir() else people.cache.path.parent
        variants = 1 if training is None else _STORED_VARIANTS
        return StoredCrops(crops, folder / name, len(people), o.segmenter.crop, variants)

    def losses(self, phase: str, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        scores = self._scores(batch).float()
        weights = scores.new_ones(scores.shape[1])
        weights[:1].fill_(self.options.background)  # an assignment would synchronise with the GPU
        return {"loss": torch.nn.functional.cross_entropy(scores, batch["labels"].long(), weights)}

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return iou and f1, the means over the parts, iou_with_background, and f1_NAME of each part."""
        classes = self.options.segmenter.parts + 1
        total = np.zeros((classes, classes), np.int64)
        numbers = spread_evenly(len(self.held_out), self.options.validation)
        for batch in held_out_batches(self._crops(self.held_out), numbers, batch_size):
            labels = self._labels(batch)
            total += confusion(labels, batch["labels"].numpy(), classes).sum(0)
        iou, f1 = class_iou(total), class_f1(total)
        metrics = {
            "iou": float(mean_of_visible(iou)),
            "f1": float(mean_of_visible(f1)),
            "iou_with_background": float(mean_of_visible(iou, background=True)),
        }
        names = self.options.segmenter.class_names
        return {**metrics, **{f"f1_{name}": float(v) for name, v in zip(names, f1, strict=True) if np.isfinite(v)}}

    def image(self) -> NDArray[np.uint8]:
        """Draw up to six held-out people: photo, truth, prediction."""
        colours = as_bytes(code_colours(self.options.segmenter.parts))
        numbers = spread_evenly(len(self.held_out), self.options.validation)
        batch = next(iter(held_out_batches(SegmenterCrops(self.held_out, self.options.segmenter), numbers, 6)))
        labels = self._labels(batch)
        rows = zip(batch["shown"].numpy(), batch["labels"].numpy(), labels, strict=True)
        return two_columns([np.concatenate((photo, colours[a], colours[b]), 1) for photo, a, b in rows])

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return self.model.state_dict(), segmenter_config(self.options.segmenter)

    def describe(self) -> Mapping[str, Any]:
        recipe = {**asdict(self.options), "segmenter": segmenter_config(self.options.segmenter)}
        return {**self.people.describe(), "recipe": recipe}

    def _scores(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Score the classes of a batch's crops, of the size of its labels."""
        if "segmenter_input" in batch:
            return self.model(batch["segmenter_input"].contiguous(memory_format=torch.channels_last))
        assert isinstance(self.model, MapSegmenter)
        inputs = [batch[f"input{k}"] for k in range(len(MAP_INPUTS))]
        scores = self.model.scores(*(values.float() for values in inputs))
        return interpolate(scores, batch["labels"].shape[-2:], mode="bilinear", align_corners=False)

    @torch.no_grad()
    def _labels(self, batch: Mapping[str, Tensor]) -> NDArray[np.int64]:
        return self._scores(moved(batch, self.device)).argmax(1).cpu().numpy()
