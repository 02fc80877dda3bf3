"""The trainings of an ablation: each once, resumable, and judged on the same held-out people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.errors import InterruptedRun
from humanpose_cli.evaluation.crops import CropSource, judge_crops
from humanpose_cli.evaluation.people import JudgedPeople
from humanpose_cli.fitting.nbf.nbf import load_nbf
from humanpose_cli.fitting.nbf.segmenter import Segmenter
from humanpose_cli.metrics.bodies import BodyErrors
from humanpose_cli.training.options import TrainOptions
from humanpose_cli.training.recipe import Recipe
from humanpose_cli.training.recipes.nbf import NbfRecipe
from humanpose_cli.training.recipes.nbf_examples import Memory
from humanpose_cli.training.recipes.nbf_options import NbfTraining
from humanpose_cli.training.recipes.segmenter import SegmenterRecipe, SegmenterTraining
from humanpose_cli.training.recipes.warp3d import Warp3dRecipe, Warp3dTraining
from humanpose_cli.training.trainer import BEST, MACHINE_OPTIONS, train

__all__ = ["JudgedSeeds", "Trainings"]


class JudgedSeeds(NamedTuple):
    """Networks of several seeds on N people.

    errors  the mean over the seeds of each person's; f1 (N,) of the parts that were seen, None for true ones
    seeds   (seeds,) metres: mean joint error of each
    """

    errors: BodyErrors
    f1: NDArray[np.float64] | None
    seeds: NDArray[np.float64]


@dataclass
class Trainings:
    """Trains what tables ask for; equal settings are trained once, and finished ones are found again.

    data      cache to learn from; folder where runs go; device
    seeds     of each network; its error is the mean over them
    planned   trainings that will be asked for, to tell how far it is
    on_step   (training, of so many, its name, its step, its steps, words)
    stop      asked after every step; True ends with InterruptedRun, and the same call goes on later
    """

    data: Path
    folder: Path
    device: torch.device
    seeds: int = 1
    planned: int = 0
    on_step: Callable[[int, int, str, int, int, str], None] = lambda *_: None
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._memories: dict[str, Memory] = {}
        self._started = 0

    def segmenter(self, name: str, options: SegmenterTraining, loop: TrainOptions) -> Path:
        """Weights of a trained segmenter."""
        return self._train(name, options, loop, lambda seed: SegmenterRecipe(self.data, options, seed=seed))[0]

    def networks(self, name: str, options: NbfTraining, loop: TrainOptions) -> list[Path]:
        """Weights of a body network trained from each seed."""
        memory = self._memory(options)
        paths = []
        for seed in range(self.seeds):
            seeded = replace(loop, seed=loop.seed + seed)
            paths += self._train(
                name, options, seeded, lambda seed: NbfRecipe(self.data, options, seed=seed, memory=memory)
            )
        return paths

    def reposing(self, name: str, options: Warp3dTraining, loop: TrainOptions) -> list[Path]:
        """Weights of a reposing network trained from each seed."""
        paths = []
        for seed in range(self.seeds):
            seeded = replace(loop, seed=loop.seed + seed)
            paths += self._train(name, options, seeded, lambda seed: Warp3dRecipe(self.data, options, seed=seed))
        return paths

    def judged(
        self,
        people: JudgedPeople,
        weights: Sequence[Path],
        source: CropSource = "labels",
        segmenter: Segmenter | None = None,
    ) -> JudgedSeeds:
        """Errors of networks trained from several seeds."""
        parts = []
        for path in weights:
            network = load_nbf(path, segmenter=segmenter, body=people.body_name, device=self.device)
            parts.append(judge_crops(people, network, source))
        columns = [np.mean([part.errors[i] for part in parts], 0) for i in range(len(BodyErrors._fields))]
        seeds = np.array([part.errors.mpjpe.mean() for part in parts])
        return JudgedSeeds(BodyErrors(*columns), parts[0].f1, seeds)

    def _train(self, name: str, options: Any, loop: TrainOptions, make: Callable[[int], Recipe[Any]]) -> list[Path]:
        self._started += 1
        folder = self.folder / f"{name.replace(' ', '-')}-{_digest(self.data, options, loop)}"
        number = self._started
        if not _finished(folder):
            result = train(
                make(loop.seed),
                loop,
                folder,
                self.device,
                listener=lambda done, total, words: self.on_step(number, self.planned, name, done, total, words),
                stop=self.stop,
            )
            if not result.finished:
                raise InterruptedRun()
            (folder / _DONE).write_text(json.dumps({"seconds": result.seconds, "steps": result.step}))
        return [folder / BEST]

    def _memory(self, options: NbfTraining) -> Memory:
        """Examples that trainings share which differ in losses and networks alone."""
        seen = {**asdict(options), "losses": None, "regressor": None, "learning_rate": None, "weight_decay": None}
        key = json.dumps(seen, sort_keys=True, default=str)
        if key not in self._memories:
            self._memories.clear()  # tables go from input to input: one set at a time is enough
            self._memories[key] = {}
        return self._memories[key]


_DONE = "finished.json"


def _finished(folder: Path) -> bool:
    return (folder / _DONE).is_file() and (folder / BEST).is_file()


def _digest(data: Path, options: Any, loop: TrainOptions) -> str:
    """Eight digits that differ where settings do; not where only the place of the data does."""
    settings = [asdict(options), {k: v for k, v in asdict(loop).items() if k not in MACHINE_OPTIONS}, data.name]
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:8]
