"""Evaluation of a body network alone, on crops made from labels.

As in Neural Body Fitting's analysis (section 4.3): in the crop, the true body stands before the fixed camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.limb_rotations import neutral_rotations
from humanpose_cli.core.errors import InterruptedRun, UsageError
from humanpose_cli.fitting.options import NetworkOptions
from humanpose_cli.geometry.rotations import geodesic_angle
from humanpose_cli.lab.evaluate.bodies import body_metrics, constant_pose, error_tables
from humanpose_cli.lab.evaluate.intervals import summarise
from humanpose_cli.lab.evaluate.people import EvaluatedPeople, EvaluationRun
from humanpose_cli.lab.evaluate.report import Image, Report, error_sheets, plot_quality
from humanpose_cli.lab.evaluate.weights import weights_facts
from humanpose_cli.lab.metrics.bodies import BodyErrors, class_f1, confusion, mean_of_visible
from humanpose_cli.lab.recipes.nbf.examples import BodyExamples, Framing, needed_labels
from humanpose_cli.lab.recipes.nbf.losses import LossOptions
from humanpose_cli.lab.recipes.nbf.recipe import Batch, crop_errors, crop_panel
from humanpose_cli.lab.train.recipe import held_out_batches
from humanpose_cli.models.nbf.body import BodyParameters
from humanpose_cli.models.nbf.network import BodyNetwork, load_nbf, segmented_input
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.outputs.atomic import ensure_folder

CropSource = Literal["labels", "segmenter"]
"""Source of the body parts: the true parts, or a segmenter. It makes no difference to other inputs."""


class NetworkOnCrops:
    """A body network on crops around labelled people of its model.

    Args:
        people: The people.
        network: The network.
        source: Source of the body parts.

    Attributes:
        f1: (M,) F1 of the M people predicted so far, averaged over a segmenter's parts; empty without one.
    """

    def __init__(self, people: EvaluatedPeople, network: BodyNetwork, source: CropSource) -> None:
        inputs = network.config.inputs
        self.network = network
        self.segmenter = network.segmenter if source == "segmenter" else None
        self.examples = BodyExamples(
            people.people,
            inputs,
            LossOptions(),
            crop=network.crop,
            body=people.body_name,
            framing=_framing(network),
            segmenter=None if self.segmenter is None else self.segmenter.options,
            truth=self.segmenter is not None,
        )
        self.f1: list[float] = []

    def predict(self, batch: Batch) -> BodyParameters:
        """Predict a batch, and add the F1 of each person's parts to `f1`."""
        return self.network.regressor(self._segmented(batch))

    def _segmented(self, batch: Batch) -> Batch:
        """Return the batch with the image of the segmenter's parts, if there is a segmenter."""
        if self.segmenter is None:
            return batch
        probabilities = self.segmenter.probabilities(batch["segmenter_input"]).float()
        classes = probabilities.shape[1]
        counts = confusion(probabilities.argmax(1).cpu().numpy(), batch["parts"].long().cpu().numpy(), classes)
        self.f1 += np.asarray(mean_of_visible(class_f1(counts))).tolist()
        return {**batch, "image": segmented_input(probabilities, self.network.config.inputs)}

    @torch.no_grad()
    def panel(self, number: int) -> Image:
        """Draw the input of one person, the true and the predicted body.

        Args:
            number: Index of the person.

        Returns:
            (224, 672, 3) uint8.
        """
        (batch,) = held_out_batches(self.examples, [number], 1)
        batch = self._segmented({name: values.to(self.network.device) for name, values in batch.items()})
        return crop_panel(self.examples, number, batch, self.network.regressor(batch), self.network.layer)


def _framing(network: BodyNetwork) -> Framing:
    return "detector" if network.config.inputs.kind == "proxy" else "labels"


Measurement = tuple[BodyErrors, NDArray[np.float64] | None]
"""Errors of N bodies, and their F1 (N,) averaged over a segmenter's parts; None without a segmenter."""


def measure_crops(crops: NetworkOnCrops, *, batch_size: int = 32) -> Measurement:
    """Measure a network on all people of its crops.

    Args:
        crops: The network and its crops.
        batch_size: People per batch.
    """
    crops.f1.clear()
    numbers = range(len(crops.examples.people))
    errors = crop_errors(crops.predict, held_out_batches(crops.examples, numbers, batch_size), crops.network.layer)
    return errors, np.array(crops.f1) if crops.f1 else None


def distance_to_mean(people: EvaluatedPeople) -> NDArray[np.float64]:
    """Measure the difficulty of each pose, as in Figure 3.

    Args:
        people: N people.

    Returns:
        (N,) radians. Mean angle between the parts' relative rotations, without the pelvis, and those of an upright
        person with the arms by the sides.
    """
    rotations = people.bodies.rotations[:, 1:]
    neutral = neutral_rotations().float()[1:]
    return geodesic_angle(rotations, neutral.expand_as(rotations)).mean(1).double().numpy()


def evaluate_crops(run: EvaluationRun, options: NetworkOptions, source: CropSource, *, batch_size: int = 32) -> Report:
    """Evaluate a body network alone, on crops made from labels.

    Args:
        run: The evaluation.
        options: The network and its segmenter.
        source: Source of the body parts.
        batch_size: People per batch.

    Raises:
        UsageError: If a segmenter is requested and the network takes no parts.
    """
    selection = run.selection
    path = find_weights(options.weights or "nbf-parts")
    segmenter = find_weights(options.segmenter or "segmenter") if source == "segmenter" else None
    network = load_nbf(path, segmenter=segmenter, body=selection.body, device=run.device)
    inputs = network.config.inputs
    losses = LossOptions(0, points2d=1)
    people = selection.people(*needed_labels(inputs, losses, segmented=False, framing=_framing(network)))
    people.require_one_model()
    if source == "segmenter" and not (network.segmenter and inputs.segmented):
        raise UsageError("segmenter", "has nothing to do", got=f"a network that sees {inputs.kind}", remedy="labels")
    if run.stop():
        raise InterruptedRun()
    crops = NetworkOnCrops(people, network, source)
    evaluated = measure_crops(crops, batch_size=batch_size)
    facts = {**selection.facts(), "parts from": source}
    facts |= weights_facts(path, people.people.cache, people.people.images, segmenter)
    return crops_report(people, evaluated, facts, run.folder, crops)


def crops_report(
    people: EvaluatedPeople, evaluated: Measurement, facts: Mapping[str, Any], folder: Path, crops: NetworkOnCrops
) -> Report:
    """Report on a network alone, with people of each quartile (Figure 4) and the worst (Figures 5 and 6).

    Args:
        people: The people.
        evaluated: Their errors and F1; with F1, Figure 3 is drawn into the folder.
        facts: Lines of the report.
        folder: Folder of the report.
        crops: The network and its crops.
    """
    errors, f1 = evaluated
    metrics = body_metrics(errors, people.clusters)
    plots = {}
    constant = body_metrics(constant_pose(people, people.body), people.clusters)
    tables = error_tables(errors, metrics, people.joints.root_name, constant)
    if f1 is not None:
        metrics["f1"] = summarise(f1, people.clusters)
        plot_quality(ensure_folder(folder) / "f1-error.png", f1, errors.mpjpe, distance_to_mean(people))
        plots["f1-error.png"] = "F1 of the parts against the error of the joints, darker for harder poses (Figure 3)"

    images = crop_sheets(crops, errors.mpjpe, errors.pa_mpjpe)
    return Report("Body network on crops", {**facts, **people.facts}, metrics, tables, images, plots)


def crop_sheets(
    crops: NetworkOnCrops, mpjpe: NDArray[np.float64], pa_mpjpe: NDArray[np.float64]
) -> dict[str, tuple[Image, str]]:
    """Draw people of each quartile of the errors, and the worst.

    Args:
        crops: The network and its crops.
        mpjpe: (N,) metres.
        pa_mpjpe: (N,) metres.

    Returns:
        File name → image, and a line about it.
    """

    def title(index: int) -> str:
        return f"{1e3 * mpjpe[index]:.0f} mm, PA {1e3 * pa_mpjpe[index]:.0f} mm"

    caption = "from left to right the network's input, the true body (green), the predicted body (orange)"
    return error_sheets(crops.panel, title, caption, mpjpe, {"worst-mpjpe.jpg": (mpjpe, "Largest errors")})
