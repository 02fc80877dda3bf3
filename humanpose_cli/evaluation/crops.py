"""Judging a body network alone, on crops made from labels: the setting of Neural Body Fitting's analysis (section 4.3).

The crop is the one in which the true body stands before the fixed camera, so nothing but the input and the network is
judged; `evaluation.fits` judges what a user gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.data.loader import BatchLoader, LoaderOptions
from humanpose_cli.errors import UsageError
from humanpose_cli.evaluation.people import JudgedPeople
from humanpose_cli.fitting.nbf.losses import LossOptions
from humanpose_cli.fitting.nbf.nbf import BodyNetwork, segmented_input
from humanpose_cli.fitting.nbf.parameters import BodyParameters
from humanpose_cli.geometry.rotations import geodesic_angle
from humanpose_cli.metrics.bodies import BodyErrors
from humanpose_cli.metrics.segmentation import class_f1, confusion, mean_of_seen
from humanpose_cli.training.recipes.nbf_examples import BodyExamples, needed_labels
from humanpose_cli.training.recipes.nbf_judging import Batch, crop_errors

__all__ = ["CropSource", "JudgedCrops", "crop_needs", "distance_to_mean", "judge_crops"]

CropSource = Literal["labels", "segmenter"]
"""Where body parts come from: the true ones, or a segmenter's. Other inputs know no difference."""


@dataclass(frozen=True)
class JudgedCrops:
    """N people.

    errors  of the bodies; f1 (N,) mean over the parts of what the network saw, None where it saw no segmenter's
    """

    errors: BodyErrors
    f1: NDArray[np.float64] | None


def crop_needs(network: BodyNetwork, source: CropSource) -> tuple[str, ...]:
    """Labels of `people.LABELS` that judging needs."""
    inputs = network.config.inputs
    framing: Literal["labels", "detector"] = "detector" if inputs.kind == "proxy" else "labels"
    needs = needed_labels(inputs, LossOptions(), segmented=False, framing=framing)
    return tuple(need for need in needs if need != "poses")


def judge_crops(
    people: JudgedPeople, network: BodyNetwork, source: CropSource = "labels", *, batch_size: int = 32
) -> JudgedCrops:
    """Errors of a network on those people; UsageError where its parts cannot come from there."""
    inputs = network.config.inputs
    segmenter = network.segmenter if source == "segmenter" else None
    if source == "segmenter" and (segmenter is None or not inputs.segmented):
        raise UsageError("segmenter", "has nothing to do", got=f"a network that sees {inputs.kind}", remedy="labels")
    examples = BodyExamples(
        people.people,
        inputs,
        LossOptions(),
        crop=network.config.crop,
        body=people.body_name,
        framing="detector" if inputs.kind == "proxy" else "labels",
        segmenter=None if segmenter is None else segmenter.options,
        truth=segmenter is not None,
    )
    loading = LoaderOptions(min(batch_size, len(people)), shuffle=False, drop_last=False)
    batches = BatchLoader(range(len(people)), examples, loading)
    quality: list[NDArray[np.float64]] = []
    predict = _predictor(network, quality)
    with torch.no_grad():
        errors = crop_errors(predict, batches, network.layer, network.layer.root)
    return JudgedCrops(errors, np.concatenate(quality) if quality else None)


def _predictor(network: BodyNetwork, quality: list[NDArray[np.float64]]) -> Callable[[Batch], BodyParameters]:
    """What the network says of a batch; the F1 of each person's parts is added to `quality`."""

    def predict(batch: Batch) -> BodyParameters:
        if "picture" not in batch:
            return network.regressor(batch)
        assert network.segmenter is not None
        probabilities = network.segmenter.probabilities(batch["picture"]).float()
        classes = probabilities.shape[1]
        counts = confusion(probabilities.argmax(1).cpu().numpy(), batch["parts"].long().cpu().numpy(), classes)
        quality.append(np.asarray(mean_of_seen(class_f1(counts))))
        return network.regressor({**batch, "image": segmented_input(probabilities, network.config.inputs)})

    return predict


def distance_to_mean(people: JudgedPeople) -> NDArray[np.float64]:
    """(N,) radians: mean angle of the parts' relative rotations, the pelvis left out, from those of an upright person
    with the arms by the sides, as Figure 3 measures how hard a pose is.
    """
    from humanpose_cli.bodies.limb_rotations import neutral_rotations

    neutral = neutral_rotations().float()
    return (
        geodesic_angle(people.bodies.rotations[:, 1:], neutral[1:].expand_as(people.bodies.rotations[:, 1:]))
        .mean(1)
        .double()
        .numpy()
    )
