"""`hpc train refiner`: displacements between the rendering of an imperfect fit and the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.options import Options, option
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions, spread_evenly
from humanpose_cli.lab.recipes.people import (
    People,
    require_model,
    split_people,
    spread_out,
    validation_of_people,
    visible_people,
)
from humanpose_cli.lab.recipes.refiner.examples import HELD_OUT, IN_TRAINING, RefinerExamples
from humanpose_cli.lab.recipes.refiner.losses import displacement_loss, endpoint_errors, nearer_share, weighted_means
from humanpose_cli.lab.train.recipe import Phase, Recipe, TrainOptions, check_batch, held_out_batches, two_columns
from humanpose_cli.models.refiner.network import (
    MODEL,
    DisplacementEstimate,
    DisplacementNetwork,
    DisplacementOptions,
    initialise_from,
    photo_input,
    sample_targets,
)
from humanpose_cli.networks.weights import fill, find_weights, read_weights

_NEEDS = ("poses", "box")
_WEIGHT_DECAY = 1e-5  # of Adam
_MIN_BOX = 40.0  # pixels of the longer side of a person's box


@dataclass(frozen=True)
class RefinerTraining(Options):
    """Options of the refiner's training."""

    network: DisplacementOptions = option(DisplacementOptions(), "The network and the renderings that it takes.")
    body: tuple[str, ...] = option(
        ("default",),
        "Body whose parameters the labels are: default, or smpl:FILE of each gender, separated by commas.",
    )
    learning_rate: float = option(5e-4, "Learning rate of Adam.", above=0)
    hidden: float = option(
        0.3,
        "Weight in the loss of points that the photograph does not show; visible points have the weight 1.",
        minimum=0,
        maximum=1,
    )
    encoder: str = option(
        "segmenter",
        "Initial weights of both encoders: of a segmenter with a ResNet-18 of its width; empty for random weights.",
    )
    start: str = option(
        "",
        "Initial weights of a refiner, without the renderings that the network does not take.",
        unset="random weights",
    )
    visible: float = option(
        0.5, "Minimum fraction of visible joints of a person, in training and validation.", minimum=0, maximum=1
    )
    people: int = option(0, "Maximum number of people to train on, evenly spaced; 0 for all.")
    protocol: str = option("", "Protocol of the cache.", unset="the usual one")
    validation: int = option(160, "Maximum number of people in a validation.", minimum=1)


_LOOP = TrainOptions(steps=6000, batch_size=4, clip=1.0, average=0.998, decay=1.0, validate_every=500, log_every=50)
REFINER_PRESETS: Mapping[str, tuple[RefinerTraining, TrainOptions]] = {
    "small": (RefinerTraining(), _LOOP),
    "ablation": (
        RefinerTraining(validation=96),
        replace(_LOOP, steps=1000, batch_size=8, average=0.99),
    ),
}
"""`small`: about two hours on one core. `ablation`: a quarter of an hour."""


class RefinerRecipe(Recipe[Mapping[str, Tensor]]):
    """Likelihood of displacements, evaluated by the endpoint error on held-out people.

    Args:
        data: Path of the cache.
        options: Options of the training.
        seed: Seed of the weights.
    """

    name, criterion = MODEL, "endpoint_percent"
    model: DisplacementNetwork

    def __init__(self, data: Path | str, options: RefinerTraining | None = None, *, seed: int = 0) -> None:
        o = self.options = options or RefinerTraining()
        torch.manual_seed(seed)
        split = split_people(data, _NEEDS, protocol=o.protocol)
        self.people, self.held_out = (_large(visible_people(people, o.visible)) for people in split)
        self.validation_data = validation_of_people(self.people, self.held_out, o.protocol, o.validation)
        self.bodies = tuple(load_body(body) for body in o.body)
        for people in (self.people, self.held_out):
            require_model(people, *self.bodies, remedy="`body=smpl:FILE`, a file for each gender, separated by commas")
        self.model = DisplacementNetwork(o.network)
        if o.start:
            initialise_from(self.model, find_weights(o.start))
        elif o.encoder:
            start_encoders(self.model, find_weights(o.encoder))
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def phases(self) -> Sequence[Phase]:
        parameters = list(self.model.parameters())
        return [Phase("align", parameters, self.options.learning_rate, weight_decay=_WEIGHT_DECAY)]

    def batches(self, options: LoaderOptions) -> BatchLoader:
        people = spread_out(self.people, self.options.people)
        check_batch(people.cache.path, len(people), options)
        make = RefinerExamples(people, self.bodies, self.options.network, IN_TRAINING)
        return BatchLoader(range(len(people)), make, options)

    def losses(self, phase: str, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        estimates = self._estimates(batch)
        weights = batch["visible"].float() + self.options.hidden * (batch["drawn"] & ~batch["visible"])
        loss, error, likelihood = displacement_loss(estimates, batch["truth"], weights)
        return {"loss": loss, "endpoint_px": error, "likelihood": likelihood}

    def validate(self, batch_size: int) -> Mapping[str, float]:
        """Return the means of `held_out_errors`."""
        return {name: float(values.nanmean()) for name, values in self.held_out_errors(batch_size).items()}

    @property
    def measured(self) -> People:
        """The N held-out people that `held_out_errors` measures, in that order."""
        return self.held_out.taken(np.array(self._measured_numbers))

    @property
    def _measured_numbers(self) -> Sequence[int]:
        return spread_evenly(len(self.held_out), self.options.validation)

    def held_out_errors(self, batch_size: int) -> Mapping[str, Tensor]:
        """Measure every person of `measured`.

        Args:
            batch_size: People per batch.

        Returns:
            (N,) float each. Endpoint errors in per cent of the person's size: endpoint_percent of visible points,
            hidden_percent of hidden points, unmoved_percent of visible points without displacements, sure_percent of
            the half of the visible points with the smallest predicted deviation. overconfidence: twice the mean of
            `nearer_share`, above 1 if predicted deviations are too small. nearer: 1 if displacements reduce the error
            of visible points, else 0.
        """
        columns: dict[str, list[Tensor]] = {}
        for batch in self._held_out_batches(batch_size):
            estimate = self._estimate(batch)
            truth = batch["truth"]
            visible = batch["visible"].float()
            hidden_weights = (batch["drawn"] & ~batch["visible"]).float()
            deviation = estimate.deviation
            median = deviation.masked_fill(~batch["visible"], torch.nan).flatten(1).nanmedian(1).values
            confident = visible * (deviation <= median[:, None, None, None])
            scale = 100 / batch["size"]
            for name, values in {
                "endpoint_percent": endpoint_errors(estimate.pixels, truth, visible) * scale,
                "unmoved_percent": endpoint_errors(torch.zeros_like(truth), truth, visible) * scale,
                "hidden_percent": endpoint_errors(estimate.pixels, truth, hidden_weights) * scale,
                "sure_percent": endpoint_errors(estimate.pixels, truth, confident) * scale,
                "overconfidence": 2 * weighted_means(nearer_share(estimate, truth), visible),
            }.items():
                columns.setdefault(name, []).append(values)
        errors = {name: torch.cat(values) for name, values in columns.items()}
        return {**errors, "nearer": (errors["endpoint_percent"] < errors["unmoved_percent"]).float()}

    def image(self) -> NDArray[np.uint8]:
        """Draw up to six held-out people: photograph, rendering, and the photograph moved by prediction and truth."""
        batch = next(iter(self._held_out_batches(6)))
        photo = batch["photo"].float() / 255
        mask = batch["drawn"].float()
        texture = batch["textured"][:, :3] * batch["textured"][:, 3:]
        moved = [sample_targets(photo, pixels) * mask for pixels in (self._estimate(batch).pixels, batch["truth"])]
        sheets = (torch.cat((photo, texture, *moved), 3).clamp(0, 1) * 255).byte().movedim(1, -1).numpy()
        return two_columns(list(sheets))

    def weights(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return self.model.state_dict(), asdict(self.options.network)

    def describe(self) -> Mapping[str, Any]:
        return {**self.people.describe(), "recipe": asdict(self.options)}

    def _estimates(self, batch: Mapping[str, Tensor]) -> list[DisplacementEstimate]:
        photo = photo_input(batch["photo"].float() / 255)
        photo, rendering = (
            values.contiguous(memory_format=torch.channels_last) for values in (photo, batch["rendering"])
        )
        estimates: list[DisplacementEstimate] = self.model(photo, rendering)
        return estimates

    def _held_out_batches(self, batch_size: int) -> BatchLoader:
        make = RefinerExamples(self.held_out, self.bodies, self.options.network, HELD_OUT, with_textured=True)
        return held_out_batches(make, self._measured_numbers, batch_size)

    @torch.no_grad()
    def _estimate(self, batch: Mapping[str, Tensor]) -> DisplacementEstimate:
        inputs = {name: batch[name].to(self.device) for name in ("photo", "rendering")}
        return DisplacementEstimate(*(values.cpu() for values in self._estimates(inputs)[-1]))


def start_encoders(network: DisplacementNetwork, path: Path) -> None:
    """Fill both encoders from the first three stages of a segmenter's ResNet, without the channels of its guide.

    The encoder of the rendering sees the texture as the segmenter sees images. Its other channels keep their random
    weights.

    Args:
        network: The network.
        path: Weights of a segmenter.

    Raises:
        InputError: If the weights belong to another model or have another width.
    """
    tensors, _ = read_weights(path, "segmenter")
    state = {
        name.removeprefix("backbone."): value
        for name, value in tensors.items()
        if name.startswith("backbone.") and not name.startswith("backbone.layer4.")
    }
    state["conv1.weight"] = state["conv1.weight"][:, :3].contiguous()
    fill(network.photo, state, path)
    first = network.rendering.conv1.weight.detach().clone()
    if network.options.texture:
        first[:, :3] = state["conv1.weight"]
    fill(network.rendering, {**state, "conv1.weight": first}, path)


def _large(people: People) -> People:
    """Select people whose box is not too small."""
    box = people.column("box")
    return people.taken((box[:, 2:] - box[:, :2]).max(1) >= _MIN_BOX)
