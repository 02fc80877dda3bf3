"""The variants of all ablations, and their trainings.

`VARIANTS` is the one table: what each variant changes of the options that its ablation's trainings share, and the
figures that its paper prints. `Trainings` trains them; each training runs once and can be resumed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import InterruptedRun
from humanpose_cli.core.options import changed
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.io.atomic import write_json
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.evaluate.bodies import CropSource, EvaluatedCrops, measure_crops
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.evaluate.report import Cell
from humanpose_cli.lab.evaluate.weights import checkpoints_facts
from humanpose_cli.lab.metrics.bodies import BodyErrors
from humanpose_cli.lab.recipes.nbf.examples import Memory
from humanpose_cli.lab.recipes.nbf.recipe import NbfRecipe, NbfTraining
from humanpose_cli.lab.recipes.segmenter.recipe import SegmenterRecipe, SegmenterTraining
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST, TrainResult, plan_training, train
from humanpose_cli.models.nbf.network import load_nbf
from humanpose_cli.models.segmenter.network import Segmenter
from humanpose_cli.networks.weights import WeightsHeader, read_header

_DONE = "finished.json"
Floats = NDArray[np.float64]
Options = TypeVar("Options")


class Variant(NamedTuple):
    """One setting of an ablation.

    name     of its trainings
    cells    that its row begins with
    changes  dotted field of the shared options → value
    paper    the paper's figures, in the order of its columns
    """

    name: str
    cells: tuple[Cell, ...]
    changes: Mapping[str, Any]
    paper: tuple[float, ...] = ()

    def of(self, shared: Options) -> Options:
        """The shared options with the changes."""
        return changed(shared, self.changes)


def _inputs(kind: str, paper: Mapping[int, tuple[float, float]]) -> list[Variant]:
    """Variants with so many parts or joints."""
    return [
        Variant(f"{kind} {count}", (f"{kind} {count}",), {"inputs.kind": kind, f"inputs.{kind}": count}, figures)
        for count, figures in paper.items()
    ]


def _losses(name: str, without: Sequence[str], paper: tuple[float, float, float]) -> Variant:
    """All losses but those without."""
    return Variant(name, (name,), {f"losses.{term}": 0.0 for term in without}, paper)


def _labels(share: int, paper: tuple[float, float]) -> Variant:
    """3-D labels of some samples, per cent, and 2-D labels of all."""
    changes = {"losses.points3d": 0.0, "losses.fraction_3d": share / 100}
    return Variant(f"labels {share}", (share,), changes if share else {**changes, "losses.latent": 0.0}, paper)


def _only(share: int) -> Variant:
    """The same 3-D labels, and nothing of the other samples."""
    changes = {"losses.points3d": 0.0, "losses.fraction_3d": share / 100, "losses.extra_2d": False}
    return Variant(f"only {share}", (share,), changes)


def _segmenter(name: str, changes: Mapping[str, Any], paper: tuple[float, ...] = ()) -> Variant:
    return Variant(f"segmenter {name}", (name,), {f"segmenter.{key}": value for key, value in changes.items()}, paper)


_WARPING = {
    ("2d", "2d"): (0.872, 0.566, 0.698),
    ("2d", "3d"): (0.875, 0.578, 0.749),
    ("3d", "2d"): (0.877, 0.607, 0.749),
    ("3d", "3d"): (0.883, 0.626, 0.777),
}
VARIANTS: dict[str, Sequence[Variant]] = {
    # Table 1 of Neural Body Fitting: err_joints3D in millimetres on UP-3D and Human3.6M.
    "inputs": [
        Variant("rgb", ("rgb",), {"inputs.kind": "rgb"}, (98.5, 48.9)),
        *_inputs("parts", {1: (95.5, 43.0), 3: (36.5, 37.5), 6: (29.4, 36.2), 12: (27.8, 33.5), 24: (28.8, 31.8)}),
        *_inputs("joints", {14: (28.8, 33.4), 24: (27.7, 33.4)}),
    ],
    # Table 2 and section 4.3: IoU in percent on UP-3D's validation set; err_joints3D of networks trained with VGG,
    # ResNet, RefineNet and true parts. Table 2 makes ResNet the better of the DeepLabs; the sentence lists the figures
    # 67.1, 57.0 and 53.2 for RefineNet, VGG and ResNet. The worst comes first.
    "segmenters paper": [
        _segmenter("VGG", {"network": "deeplab-vgg16"}, (57.0, 107.2, 119.9, 135.5, 140.7)),
        _segmenter("ResNet", {"network": "deeplab-resnet101"}, (53.2, 97.1, 96.3, 112.2, 115.6)),
        _segmenter("RefineNet", {"network": "refinenet-resnet101"}, (67.1, 89.6, 89.9, 82.0, 83.3)),
    ],
    "segmenters ablation": [
        _segmenter("DeepLab", {"network": "tiny-deeplab"}),
        _segmenter("light", {"network": "tiny"}),
        _segmenter("guided", {"network": "tiny", "guided": True}),
    ],
    "true parts": [Variant("parts 12", ("GT",), {}, (100.0, 62.3, 60.5, 35.7, 27.8))],
    # Table 3: err_joints3D, PCKh, err_quat.
    "losses": [
        _losses("lat", ("points3d", "points2d"), (83.7, 93.1, 0.278)),
        _losses("lat + 3D", ("points2d",), (82.3, 93.4, 0.280)),
        _losses("lat + 2D", ("points3d",), (83.1, 93.5, 0.278)),
        _losses("lat + 3D + 2D", (), (82.0, 93.5, 0.279)),
        _losses("3D", ("latent", "points2d"), (83.7, 93.5, 1.962)),
        _losses("2D", ("latent", "points3d"), (198.0, 94.0, 1.971)),
    ],
    # Table 4: percentage of samples with 3-D labels → err_joints3D, err_quat. Controls, which have no figures, follow.
    "supervision": [
        _labels(100, (83.1, 0.28)),
        _labels(50, (82.8, 0.28)),
        _labels(20, (82.8, 0.27)),
        _only(20),
        _labels(10, (83.6, 0.28)),
        _labels(5, (84.5, 0.29)),
        _only(5),
        _labels(2, (88.1, 0.30)),
        _only(2),
        _labels(1, (93.9, 0.33)),
        _labels(0, (198.0, 1.97)),
    ],
    # Table 1 of the reposing paper: (warping, target pose) → SSIM, SSIM_fg, pose AUC on iPER.
    "warping": [
        Variant(f"warp {warp} pose {pose}", (warp, pose), {"generator.warping": warp, "generator.pose": pose}, paper)
        for (warp, pose), paper in _WARPING.items()
    ],
    # Figure 2 of deform-and-learn and its control; `deform_and_learn_ablations` makes trainings in one round as long.
    "deform rounds": [
        Variant("rounds", ("rounds",), {}),
        Variant("no handover", ("rounds without handover",), {"handover": "none"}),
        Variant("long network", ("one round, network as long",), {"rounds": 1}),
        Variant("long lifter", ("one round, lifter and network as long",), {"rounds": 1}),
    ],
    # Its equation 5 term by term, and the loss of equation 6 beside L2.
    "deform losses": [
        Variant("all", ("parameters + dense + keypoints",), {}),
        Variant("parameters", ("parameters",), {"losses.dense": 0.0, "losses.keypoints": 0.0}),
        Variant("parameters + dense", ("parameters + dense",), {"losses.keypoints": 0.0}),
        Variant("parameters + keypoints", ("parameters + keypoints",), {"losses.dense": 0.0}),
        Variant("dense + keypoints", ("dense + keypoints",), {"losses.regress": 0.0}),
        Variant("all L2", ("all, parameters by L2",), {"losses.parameters": "l2"}),
    ],
    # Its dense correspondences, of the registration and of the network's losses.
    "deform correspondence": [
        Variant("labels", ("labels",), {"correspondence": "labels"}),
        Variant("degraded", ("degraded",), {"correspondence": "degraded"}),
        Variant(
            "degraded paper",
            ("degraded, the paper's registration",),
            {"correspondence": "degraded", "registration.paper": True},
        ),
        Variant("none", ("none",), {"correspondence": "none", "charts": ""}),
    ],
    # Inputs of the displacement network, each of which one variant lacks; the first row is that of all of them.
    "refine": [
        Variant("all inputs", ("all inputs",), {}),
        Variant("without texture", ("without texture",), {"network.texture": False}),
        Variant("without depth", ("without depth",), {"network.depth": False}),
        Variant("without normals", ("without normals",), {"network.normals": False}),
        Variant("without vertex colours", ("without vertex colours",), {"network.colours": False}),
    ],
}
"""Ablation → its variants, in the order of its rows."""


@dataclass(frozen=True)
class SharedTraining(Generic[Options]):
    """What the trainings of an ablation share, but for the changes of its variants."""

    network: Options
    loop: TrainOptions


class EvaluatedSeeds(NamedTuple):
    """Networks of several seeds on N people.

    each  of every seed; f1 (N,) of a segmenter's parts, None for true ones; clusters of the people
    """

    each: Sequence[BodyErrors]
    f1: Floats | None
    clusters: Clusters

    @property
    def errors(self) -> BodyErrors:
        """The mean over the seeds of each person's."""
        return BodyErrors(*(np.mean(columns, 0) for columns in zip(*self.each, strict=True)))

    @property
    def seeds(self) -> Floats:
        """(seeds,) metres: mean joint error of each."""
        return np.array([errors.mpjpe.mean() for errors in self.each])

    def of(self, name: str) -> Floats:
        """A column of the errors (seeds, N)."""
        return np.stack([getattr(errors, name) for errors in self.each])


@dataclass
class Trainings:
    """The trainings of an ablation. Equal settings are trained once, and finished trainings are reused. All keep their
    last step, so that no held-out data chooses the weights that the ablation compares.

    data      cache to learn from; folder where runs go; device
    seeds     of each network; its error is the mean over them
    planned   number of trainings that tables will need, for the progress
    progress  called after every step of a training
    stop      called after every step; True ends with InterruptedRun, and the same call continues
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
        # Examples of trainings that differ in losses and networks alone: variants are ordered by input, so that one set
        # at a time is enough.
        self._memory: tuple[str, Memory] = ("", {})

    def check(self, each: Iterable[tuple[Callable[..., Any], Any, TrainOptions]], plan: Any = plan_training) -> None:
        """Refuse what one of these trainings would refuse, each a recipe, options and loop; plan  of their trainer."""
        for recipe, options, loop in each:
            last = replace(loop, keep="last")
            plan(recipe(self.data, options, seed=loop.seed), last, self.folder, resume=False)
        if self.stop():
            raise InterruptedRun()

    def segmenter(self, name: str, options: SegmenterTraining, loop: TrainOptions) -> Path:
        """Weights of a trained segmenter."""
        return self._train(name, options, loop, lambda seed: SegmenterRecipe(self.data, options, seed=seed))

    def networks(self, name: str, options: NbfTraining, loop: TrainOptions) -> list[Path]:
        """Weights of a body network trained from each seed."""
        shared = {**asdict(options), "losses": None, "regressor": None, "learning_rate": None, "weight_decay": None}
        key = json.dumps(shared, sort_keys=True, default=str)
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
        """Weights trained from each seed.

        recipe   (cache, options, seed=) → what is trained, a `Recipe` or what the trainer takes in its place
        trainer  `train`, or a function of its signature
        """
        loops = [replace(loop, seed=loop.seed + number) for number in range(self.seeds)]
        return [
            self._train(name, options, one, lambda seed: recipe(self.data, options, seed=seed), trainer)
            for one in loops
        ]

    def evaluate(
        self,
        people: EvaluatedPeople,
        weights: Sequence[Path],
        source: CropSource = "labels",
        segmenter: Segmenter | None = None,
    ) -> EvaluatedSeeds:
        """Errors of body networks trained from several seeds."""
        parts: list[EvaluatedCrops] = []
        for path in weights:
            network = load_nbf(path, segmenter=segmenter, body=people.body_name, device=self.device)
            parts.append(measure_crops(people, network, source))
        return EvaluatedSeeds([part.errors for part in parts], parts[0].f1, people.clusters)

    def _share(self, trainings: int) -> float:
        """Fraction of the work that is done after so many trainings; the evaluation counts as one more."""
        return min(trainings, self.planned) / (self.planned + 1)

    def facts(self, cache: Cache | None = None, images: NDArray[np.int64] | None = None) -> dict[str, str]:
        """The lines of a report about the weights of all trainings until now; see `checkpoints_facts`."""
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
        """The last weights of one training; `make` turns its seed into a recipe where it has not finished before."""
        self._started += 1
        loop = replace(loop, keep="last")
        # A moved cache is the same data.
        text = json.dumps([asdict(options), loop.result_settings, self.data.name], sort_keys=True, default=str)
        folder = self.folder / f"{name.replace(' ', '-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        if not (folder / _DONE).is_file() or not (folder / LAST).is_file():
            part = part_of(self.progress, self._share(self._started - 1), self._share(self._started))

            def progress(done: int, total: int | None, what: str) -> None:
                part(done, total, f"{name}, training {self._started} of {self.planned}: {what}")

            on = torch.device(self.device)
            result = trainer(make(loop.seed), loop, folder, on, progress=progress, stop=self.stop)
            if not result.finished:
                raise InterruptedRun()
            write_json(folder / _DONE, {"steps": result.step})
        self._finished.append(read_header(folder / LAST))
        return folder / LAST
