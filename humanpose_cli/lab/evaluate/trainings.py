"""The trainings of an ablation: each runs once, and can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.evaluate.weights import checkpoints_facts
from humanpose_cli.lab.recipes.nbf.examples import Memory
from humanpose_cli.lab.recipes.nbf.recipe import NbfRecipe
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST, TrainResult, plan_training, train
from humanpose_cli.networks.weights import WeightsHeader, read_header
from humanpose_cli.outputs.atomic import write_json

_DONE = "finished.json"
Options = TypeVar("Options")
Weights = Mapping[str, Sequence[Path]]
"""Name of a training → its weights from each seed."""


@dataclass(frozen=True)
class SharedTraining(Generic[Options]):
    """Options that the trainings of an ablation share, apart from the changes of its variants.

    Attributes:
        network: Options of the network.
        loop: Options of the training loop.
    """

    network: Options
    loop: TrainOptions


class PlannedTraining(NamedTuple):
    """A training that an ablation will need.

    Attributes:
        name: Its name.
        recipe: (cache, options, seed=) → a `Recipe`, or what the trainer takes in its place.
        options: Options of the network.
        loop: Options of the training loop.
        seeds: Whether it is repeated from each seed.
        after: Weights of the trainings before it → changed fields of the options.
    """

    name: str
    recipe: Callable[..., Any]
    options: Any
    loop: TrainOptions
    seeds: bool = True
    after: Callable[[Weights], Mapping[str, Any]] = lambda weights: {}


@dataclass
class Trainings:
    """The trainings of an ablation.

    Equal settings are trained once, and finished trainings are reused. All keep their last step, so that no held-out
    data chooses the weights that the ablation compares.

    Attributes:
        data: Cache to learn from.
        folder: Folder of the runs.
        device: Device of the networks.
        planned: All trainings, in their order.
        seeds: Number of trainings of each network, whose errors are averaged.
        progress: Called after every step of a training.
        stop: Called after every step; True ends with InterruptedRun, and the same call continues.
    """

    data: Path
    folder: Path
    device: torch.device | str
    planned: Sequence[PlannedTraining] = ()
    seeds: int = 1
    progress: Progress = no_progress
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._count = sum(self.seeds if training.seeds else 1 for training in self.planned)
        self._finished: list[WeightsHeader] = []  # of the weights of the trainings that finished
        # Examples of trainings that differ in losses and networks alone. Variants are ordered by input, so that one set
        # at a time suffices.
        self._memory: tuple[str, Memory] = ("", {})

    def check(self, plan: Callable[..., Any] = plan_training) -> None:
        """Refuse what one of the trainings would refuse.

        Args:
            plan: Plan of their trainer.
        """
        for training in self.planned:
            last = replace(training.loop, keep="last")
            plan(training.recipe(self.data, training.options, seed=last.seed), last, self.folder, resume=False)
        if self.stop():
            raise InterruptedRun()

    def run(self, trainer: Callable[..., TrainResult] = train) -> dict[str, list[Path]]:
        """Train all.

        Args:
            trainer: Trains like `train`.

        Returns:
            Name of a training → its weights from each seed.
        """
        weights: dict[str, list[Path]] = {}
        for training in self.planned:
            planned = training._replace(options=replace(training.options, **training.after(weights)))
            weights[training.name] = [
                self._train(planned, replace(training.loop, seed=training.loop.seed + number, keep="last"), trainer)
                for number in range(self.seeds if training.seeds else 1)
            ]
        return weights

    def facts(self, cache: Cache | None = None, images: NDArray[np.int64] | None = None) -> dict[str, str]:
        """Describe the weights of all trainings so far; see `checkpoints_facts`."""
        return checkpoints_facts(self._finished, cache, images)

    @property
    def evaluation(self) -> Progress:
        """Progress after the trainings; the evaluation counts as one more."""
        return part_of(self.progress, self._count / (self._count + 1), 1)

    def _train(self, training: PlannedTraining, loop: TrainOptions, trainer: Callable[..., TrainResult]) -> Path:
        """Run a training unless it has finished; return its last weights."""
        number = len(self._finished)
        # A moved cache is the same data, and another variant's name of the same settings the same training.
        data = open_cache(self.data).header.content_digest
        text = json.dumps([asdict(training.options), loop.result_settings, data], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        trained = sorted(self.folder.glob(f"*-{digest}"))
        folder = trained[0] if trained else self.folder / f"{training.name.replace(' ', '-')}-{digest}"
        if not (folder / _DONE).is_file() or not (folder / LAST).is_file():
            part = part_of(self.progress, *((number + end) / (self._count + 1) for end in (0, 1)))

            def progress(count: int, total: int | None, what: str) -> None:
                part(count, total, f"{training.name}, training {number + 1} of {self._count}: {what}")

            recipe = self._recipe(training)(self.data, training.options, seed=loop.seed)
            device = torch.device(self.device)
            result = trainer(recipe, loop, folder, device, progress=progress, stop=self.stop)
            if not result.finished:
                raise InterruptedRun()
            write_json(folder / _DONE, {"steps": result.step})
        self._finished.append(read_header(folder / LAST))
        return folder / LAST

    def _recipe(self, training: PlannedTraining) -> Callable[..., Any]:
        """Return the recipe, of a body network with the examples of the trainings before it."""
        if training.recipe is not NbfRecipe:
            return training.recipe
        others = dict.fromkeys(("losses", "regressor", "learning_rate", "weight_decay"))
        key = json.dumps({**asdict(training.options), **others}, sort_keys=True, default=str)
        if key != self._memory[0]:
            self._memory = key, {}
        return partial(NbfRecipe, memory=self._memory[1])
