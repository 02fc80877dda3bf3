"""The trainings of an ablation: each runs once, and can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.io.atomic import write_json
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.evaluate.weights import checkpoints_facts
from humanpose_cli.lab.recipes.nbf.examples import Memory
from humanpose_cli.lab.recipes.nbf.recipe import NbfRecipe, NbfTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SegmenterRecipe, SegmenterTraining
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST, TrainResult, plan_training, train
from humanpose_cli.networks.weights import WeightsHeader, read_header

_DONE = "finished.json"
Options = TypeVar("Options")


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
        recipe: (cache, options, seed=) → a `Recipe`, or what the trainer takes in its place.
        options: Options of the network.
        loop: Options of the training loop.
        seeds: Whether it is repeated from each seed.
    """

    recipe: Callable[..., Any]
    options: Any
    loop: TrainOptions
    seeds: bool = True


@dataclass
class Trainings:
    """The trainings of an ablation.

    Equal settings are trained once, and finished trainings are reused. All keep their last step, so that no held-out
    data chooses the weights that the ablation compares.

    Attributes:
        data: Cache to learn from.
        folder: Folder of the runs.
        device: Device of the networks.
        seeds: Number of trainings of each network, whose errors are averaged.
        planned: Number of trainings that tables will need, for the progress.
        progress: Called after every step of a training.
        stop: Called after every step; True ends with InterruptedRun, and the same call continues.
    """

    data: Path
    folder: Path
    device: torch.device | str
    seeds: int = 1
    planned: int = 0
    progress: Progress = no_progress
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._started = 0
        self._finished: list[WeightsHeader] = []  # of the weights of the trainings that finished
        # Examples of trainings that differ in losses and networks alone. Variants are ordered by input, so that one set
        # at a time suffices.
        self._memory: tuple[str, Memory] = ("", {})

    def check(self, trainings: Iterable[PlannedTraining], plan: Callable[..., Any] = plan_training) -> None:
        """Refuse what one of the trainings would refuse.

        Args:
            trainings: The trainings.
            plan: Plan of their trainer.
        """
        for recipe, options, loop, _ in trainings:
            last = replace(loop, keep="last")
            plan(recipe(self.data, options, seed=loop.seed), last, self.folder, resume=False)
        if self.stop():
            raise InterruptedRun()

    def segmenter(self, name: str, options: SegmenterTraining, loop: TrainOptions) -> Path:
        """Train a segmenter.

        Args:
            name: Name of the training.
            options: Options of the segmenter.
            loop: Options of the training loop.

        Returns:
            Its weights.
        """
        return self._train(name, options, loop, lambda seed: SegmenterRecipe(self.data, options, seed=seed))

    def networks(self, name: str, options: NbfTraining, loop: TrainOptions) -> list[Path]:
        """Train a body network from each seed.

        Args:
            name: Name of the trainings.
            options: Options of the network.
            loop: Options of the training loop.

        Returns:
            The weights of each seed.
        """
        settings = {**asdict(options), "losses": None, "regressor": None, "learning_rate": None, "weight_decay": None}
        key = json.dumps(settings, sort_keys=True, default=str)
        if key != self._memory[0]:
            self._memory = key, {}
        return self.each_seed(partial(NbfRecipe, memory=self._memory[1]), name, options, loop)

    def each_seed(
        self,
        recipe: Callable[..., Any],
        name: str,
        options: Any,
        loop: TrainOptions,
        trainer: Callable[..., TrainResult] = train,
    ) -> list[Path]:
        """Train from each seed.

        Args:
            recipe: See `PlannedTraining`.
            name: Name of the trainings.
            options: Options of the network.
            loop: Options of the training loop.
            trainer: Trains like `train`.

        Returns:
            The weights of each seed.
        """
        loops = [replace(loop, seed=loop.seed + number) for number in range(self.seeds)]
        return [
            self._train(name, options, each, lambda seed: recipe(self.data, options, seed=seed), trainer)
            for each in loops
        ]

    def _share(self, trainings: int) -> float:
        """Return the share of the work in some trainings; the evaluation counts as one more."""
        return min(trainings, self.planned) / (self.planned + 1)

    def facts(self, cache: Cache | None = None, images: NDArray[np.int64] | None = None) -> dict[str, str]:
        """Describe the weights of all trainings so far; see `checkpoints_facts`."""
        return checkpoints_facts(self._finished, cache, images)

    @property
    def evaluation(self) -> Progress:
        """Progress after the trainings."""
        return part_of(self.progress, self._share(self.planned), 1)

    def _train(
        self,
        name: str,
        options: Any,
        loop: TrainOptions,
        make: Callable[[int], Any],
        trainer: Callable[..., TrainResult] = train,
    ) -> Path:
        """Run a training unless it has finished; return its last weights."""
        self._started += 1
        loop = replace(loop, keep="last")
        # A moved cache is the same data, and another variant's name of the same settings the same training.
        data = open_cache(self.data).header.content_digest
        text = json.dumps([asdict(options), loop.result_settings, data], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        trained = sorted(self.folder.glob(f"*-{digest}"))
        folder = trained[0] if trained else self.folder / f"{name.replace(' ', '-')}-{digest}"
        if not (folder / _DONE).is_file() or not (folder / LAST).is_file():
            part = part_of(self.progress, self._share(self._started - 1), self._share(self._started))

            def progress(count: int, total: int | None, what: str) -> None:
                part(count, total, f"{name}, training {self._started} of {self.planned}: {what}")

            device = torch.device(self.device)
            result = trainer(make(loop.seed), loop, folder, device, progress=progress, stop=self.stop)
            if not result.finished:
                raise InterruptedRun()
            write_json(folder / _DONE, {"steps": result.step})
        self._finished.append(read_header(folder / LAST))
        return folder / LAST
