"""The training loop: steps, validations, checkpoints; an interrupted run continues where it stopped.

`train` runs a recipe, and `plan_training` describes what it would do. A checkpoint is one file, written atomically,
with everything that decides the next step. Only run.json, lines of speed in metrics.jsonl and TensorBoard's events hold
durations: all else of an interrupted run has the bytes of an uninterrupted one.
"""

from __future__ import annotations

import copy
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from humanpose_cli.core.errors import InputError, UnavailableError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.io.images import write_image
from humanpose_cli.lab.cache.loader import LoaderOptions
from humanpose_cli.lab.train.checkpoint import SCHEMA, TrainProgress, read_checkpoint, seconds_before
from humanpose_cli.lab.train.events import EVENTS, Events
from humanpose_cli.lab.train.graphs import GraphedSteps, can_capture, map_tensors, tensors_in
from humanpose_cli.lab.train.history import HISTORY, TrainingHistory
from humanpose_cli.lab.train.kept import KEPT_FILE, Keep, kept_text, plot_caption, validation_cautions
from humanpose_cli.lab.train.processes import Processes, only_training, processes
from humanpose_cli.lab.train.recipe import Phase, Recipe, TrainOptions
from humanpose_cli.lab.train.speed import Speed, speed_text
from humanpose_cli.networks.precision import multiplies_bfloat16
from humanpose_cli.networks.weights import BEST, LAST, WeightsHeader, write_weights
from humanpose_cli.outputs.atomic import atomic_path, ensure_folder, write_json

CHECKPOINT, RUN, TRAINING = "checkpoint.pt", "run.json", "training.json"
WEIGHTS, SAMPLES = "weights", "samples"  # folders, of a file for each step
WRITTEN = (HISTORY, "losses.png", CHECKPOINT, BEST, LAST, RUN)
_OF_STEPS = (f"{SAMPLES}/step-*.png", f"{WEIGHTS}/step-*.safetensors", EVENTS)
_Losses = tuple[str, ...]  # names of the losses of a phase
_ASK_EVERY = 4  # steps after which several processes ask one another whether to stop or to save
_SHOW_EVERY = 1.0  # seconds
# Parameters from which `precision=auto` is mixed on a GPU. An H100 takes 1.2 to 2 times as long for mixed steps of
# networks with .5 to 3 million parameters, whose launches take most of the time (benchmarks/results).
_MIXED_FROM = 10_000_000


@dataclass(frozen=True)
class TrainResult:
    """The result of a run.

    Attributes:
        step: The number of steps done.
        steps: The number of all steps.
        finished: Whether all steps were done; otherwise the run can be resumed.
        seconds: The duration over all starts.
        best: The best criterion, None before the first validation.
        best_step: The step of the best criterion.
        metrics: The metrics of the last validation.
        outputs: The files of the run.
        unit: The unit of `step` and `steps`.
        kept: The weights to use and their choice, "" before the first validation.
        cautions: Sentences that say why the metrics may mean little.
        speed: `Speed.numbers` of the steps of this start, {} if there were none.
    """

    step: int
    steps: int
    finished: bool
    seconds: float
    best: float | None
    best_step: int
    metrics: Mapping[str, float]
    outputs: tuple[Path, ...]
    unit: str = "steps"
    kept: str = ""
    cautions: tuple[str, ...] = ()
    speed: Mapping[str, float] = field(default_factory=dict)


def train(
    recipe: Recipe[Any],
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    *,
    resume: bool = True,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
    group: Processes | None = None,
) -> TrainResult:
    """Train a recipe's model.

    Writes metrics.jsonl, losses.png, samples/, checkpoint.pt, last.safetensors, run.json and, unless the last weights
    are kept, best.safetensors; with `keep_every` weights/, and where the package `tensorboard` is installed its events.

    Args:
        recipe: The recipe.
        options: The settings of the loop.
        folder: The folder for all files of the run.
        device: The device to train on.
        resume: Whether to continue from a checkpoint in the folder; the result equals that of an uninterrupted run.
        progress: Called after every step; its text contains the loss.
        stop: Called after every step; True saves a checkpoint and ends.
        group: The processes that train together, if the caller has joined them. None means torchrun's.

    Returns:
        The result.

    Raises:
        InputError: If the checkpoint belongs to other settings, or if the loss is not finite.
        UsageError: If another training uses the folder.
        UnavailableError: If memory is full, or if another process has died.
    """
    with processes(device) if group is None else nullcontext(group) as processes_of_run:
        # It may refuse; then no folder is left.
        loop = _Loop(recipe, options, folder, device, processes_of_run, progress)
        with only_training(folder, processes_of_run, (*WRITTEN, TRAINING, *_OF_STEPS), CHECKPOINT):
            if resume and (folder / CHECKPOINT).exists():
                loop.load()
            else:
                loop.begin()
            return loop.run(stop)


@dataclass(frozen=True)
class TrainPlan:
    """A description of a training.

    Attributes:
        steps: The number of all steps.
        done: The steps done by earlier starts of the run.
        outputs: The files, except sample images.
        examples: The number of training examples. None if the recipe creates its own.
        held_out: The number of held-out examples. None if the recipe creates its own.
        per_epoch: Steps per pass over the data.
        validations: The number of validations, with the one before the first step.
        parameters: The number of parameters.
        weights_bytes: The estimated size of a weights file.
        checkpoint_bytes: The estimated size of the checkpoint.
        unit: The unit of `steps` and `done`.
    """

    steps: int
    done: int
    outputs: tuple[Path, ...]
    examples: int | None = None
    held_out: int | None = None
    per_epoch: int | None = None
    validations: int | None = None
    parameters: int | None = None
    weights_bytes: int | None = None
    checkpoint_bytes: int | None = None
    unit: str = "steps"


def plan_training(recipe: Recipe[Any], options: TrainOptions, folder: Path, *, resume: bool = True) -> TrainPlan:
    """Describe what `train` would do in this process, without reading images or writing files.

    Args:
        recipe: The recipe.
        options: The settings of the loop.
        folder: The folder for the files of the run.
        resume: Whether to continue from a checkpoint in the folder.

    Raises:
        InputError: If the checkpoint belongs to other settings.
    """
    loader = recipe.batches(LoaderOptions(options.step_size, workers=0, seed=options.seed))
    steps, first_step = options.steps or len(loader) * options.epochs, 0
    if resume and (folder / CHECKPOINT).exists():
        first_step = read_checkpoint(folder / CHECKPOINT, _settings(recipe, options))[0].step
    parameter_count = _parameter_count(recipe.phases())
    state = sum(tensor.nbytes for tensor in recipe.model.state_dict().values())
    return TrainPlan(
        steps,
        first_step,
        tuple(folder / name for name in WRITTEN if name != BEST or options.keep == "best"),
        examples=None if recipe.held_out is None else loader.example_count,
        held_out=None if recipe.held_out is None else len(recipe.held_out),
        per_epoch=len(loader),
        validations=1 + -(-steps // (options.validate_every or len(loader))),
        parameters=parameter_count,
        weights_bytes=sum(2 * t.numel() if t.is_floating_point() else t.nbytes for t in recipe.weights()[0].values()),
        # The model, its average, and two numbers of each parameter in Adam's state.
        checkpoint_bytes=state * (2 if options.average else 1) + 2 * 4 * parameter_count,
    )


def _settings(recipe: Recipe[Any], options: TrainOptions) -> dict[str, Any]:
    """Return the settings that a resumed run must share with the interrupted one."""
    return {"model": recipe.name, **options.result_settings, "recipe": str(sorted(recipe.describe().items()))}


class _Loop:
    def __init__(
        self,
        recipe: Recipe[Any],
        options: TrainOptions,
        folder: Path,
        device: torch.device,
        group: Processes,
        report: Progress,
    ) -> None:
        self.recipe, self.options, self.folder = recipe, options, folder
        self.device, self.group, self.report = device, group, report
        torch.manual_seed(options.seed + group.rank)
        recipe.model.to(device)
        group.share(recipe.model)
        self.phases = list(recipe.phases())
        self.rates = {phase.name: torch.tensor(phase.learning_rate, device=device) for phase in self.phases}
        self.optimisers = {p.name: _optimiser(p, self.rates[p.name], options.optimiser) for p in self.phases}
        self.mixed = is_mixed(options.precision, device, self.phases)
        half_is_short = device.type == "cuda" and not multiplies_bfloat16(device)
        self.half = torch.float16 if half_is_short else torch.bfloat16
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.mixed and self.half == torch.float16)
        share = max(1, options.batch_size // group.count) * options.accumulate
        self.loader = recipe.batches(
            LoaderOptions(
                share,
                options.workers_for(device.type),
                seed=options.seed,
                rank=group.rank,
                world_size=group.count,
                pinned=device.type == "cuda",
            )
        )
        self.steps = options.steps or len(self.loader) * options.epochs
        self.average = copy.deepcopy(recipe.model).requires_grad_(False) if options.average else None
        self.follow = _Following(self.average, recipe.model) if self.average is not None else None
        captures = can_capture(device) and group.count == 1 and not self.scaler.is_enabled()
        self.run_step = GraphedSteps(self.compute, device, enabled=captures)
        self.history, self.events = TrainingHistory(folder / HISTORY), Events(folder)
        self.speed = Speed(share * group.count)
        self.progress = TrainProgress()
        self.seconds = 0.0  # spent training, over all starts
        # Sums of the losses since the last line of the history, on the device, by phase and names; those of them that
        # are in use; and by name those of before the run was resumed.
        self.sums: dict[_Losses, Tensor] = {}
        self.summed: dict[_Losses, None] = {}
        self.earlier: dict[str, float] = {}
        self.shown, self.shown_at = "", 0.0
        self.metrics: Mapping[str, float] = {}
        self.since_save = time.monotonic()
        self.between_steps = False  # whether model, optimisers and progress are of one step
        self.before_validation: tuple[TrainProgress, Mapping[str, Any]] | None = None  # saved if it is interrupted

    def begin(self) -> None:
        if self.group.first:
            for path in (self.history.path, *(path for names in _OF_STEPS for path in self.folder.glob(names))):
                path.unlink(missing_ok=True)  # of an earlier run
            self.history.go_back_to(-1)
            self.events.begin(0)
            settings = {"model": self.recipe.name, "loop": self.options.result_settings, **self.recipe.describe()}
            write_json(self.folder / TRAINING, settings)

    def load(self) -> None:
        self.progress, state = read_checkpoint(self.folder / CHECKPOINT, _settings(self.recipe, self.options))
        self.seconds = seconds_before(self.folder / RUN)
        self.recipe.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for name, optimiser in self.optimisers.items():
            optimiser_state = state["optimisers"][name]
            for group in optimiser_state["param_groups"]:  # not as earlier versions had them
                group |= {"fused": True, "capturable": True}
            # The names of Adam's code, not copies: pickle writes the same object once, and equal checkpoints are to be
            # equal bytes.
            optimiser_state["state"] = {
                index: {sys.intern(name): value for name, value in values.items()}
                for index, values in optimiser_state["state"].items()
            }
            optimiser.load_state_dict(optimiser_state)
            for group in optimiser.param_groups:
                group["lr"] = self.rates[name].fill_(group["lr"])
        if state["scaler"]:  # empty of a device that scales nothing
            self.scaler.load_state_dict(state["scaler"])
        self.recipe.load_state(state["recipe"])
        self.group.restore_random(state, self.device)
        self.earlier = dict(self.progress.sums)
        self.loader.resume(self.progress.position)
        if self.group.first:
            self.history.go_back_to(self.progress.step, validated=not self.progress.unvalidated)
            self.events.begin(self.progress.step + 1)

    def save(self) -> None:
        randoms = self.group.random_states(self.device)
        self.read_sums()
        if self.group.first:
            self.write(self.progress, randoms)
            self.plot()
        self.group.wait()
        self.since_save = time.monotonic()

    def plot(self) -> None:
        """Draw losses.png from the current history."""
        o, recipe = self.options, self.recipe
        caption = plot_caption(recipe.describe(), o.log_every, o.step_size, recipe.validation_data, self.kept_text)
        self.history.plot(self.folder / "losses.png", self.recipe.criterion, self.kept_step, caption)

    @property
    def kept_step(self) -> int | None:
        """The step of the weights in the file to use, None before the first validation."""
        if self.progress.best is None:
            return None
        steps, _ = self.history.column("validation", self.recipe.criterion)
        return self.progress.best_step if self.options.keep == "best" else steps[-1]

    @property
    def kept_text(self) -> str:
        """The choice of that step, "" before the first validation."""
        step = self.kept_step
        return "" if step is None else kept_text(self.training_of(self.options.keep, step, self.progress.best))

    def write(self, progress: TrainProgress, randoms: Mapping[str, Any]) -> None:
        """Write the checkpoint of the model's current state, and the duration of the run."""
        state = {
            "model": self.recipe.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "scaler": self.scaler.state_dict(),
            "recipe": self.recipe.state(),
            **randoms,
        }
        settings = _settings(self.recipe, self.options)
        document = {"schema": SCHEMA, "progress": asdict(progress), "state": state, "settings": settings}
        # A file and not its path, whose temporary name torch would write into the archive.
        with atomic_path(self.folder / CHECKPOINT) as temporary, temporary.open("wb") as file:
            torch.save(document, file)
        write_json(self.folder / RUN, {"seconds": round(self.seconds, 3)})

    def run(self, stop: Callable[[], bool]) -> TrainResult:
        """Run until it is finished or `stop` is true; an interruption between steps saves."""
        try:
            return self.steps_until(stop)
        except KeyboardInterrupt:
            if self.before_validation is not None and self.group.first:
                self.write(*self.before_validation)
            elif self.between_steps and self.group.count == 1:  # the others' random numbers are not here
                self.save()
            raise
        finally:
            self.loader.close()

    def steps_until(self, stop: Callable[[], bool]) -> TrainResult:
        start = time.monotonic()
        previous_seconds = self.seconds
        interval = self.options.validate_every or len(self.loader)
        if self.progress.unvalidated or not self.progress.step:
            self.validate()
        while not self.progress.finished:
            self.recipe.model.train()
            for batch in self.speed.waiting_for(self.loader):
                self.between_steps = False
                try:
                    self.step(batch)
                except torch.cuda.OutOfMemoryError as error:
                    problem = f"its memory is too small for a batch of {self.options.batch_size}"
                    remedy = "a smaller `batch_size`, with `accumulate=2` for half, a smaller preset, or smaller images"
                    raise UnavailableError(f"{self.device}", problem, remedy=remedy) from error
                self.progress.position = self.loader.position
                self.seconds = previous_seconds + time.monotonic() - start
                self.between_steps = True
                self.keep_step()
                if self.progress.step % interval == 0 or self.progress.step >= self.steps:
                    self.validate()
                self.show_progress()
                if self.progress.finished:
                    break
                if self.group.count > 1 and self.progress.step % _ASK_EVERY:
                    continue
                late = self.options.minutes and time.monotonic() - start > 60 * self.options.minutes
                stale = time.monotonic() - self.since_save > self.options.save_every
                stops, stale = self.group.agree(bool(late) or stop(), stale)
                if stops or stale:
                    self.save()
                if stops:
                    return self.result(finished=False)
        if self.progress.summed:
            self.log()  # the steps since the last line
        self.save()
        return self.result(finished=True)

    def step(self, batch: Any) -> None:
        """Run one step of every phase."""
        step, options = self.progress.step, self.options
        for phase in self.phases:
            self.rates[phase.name].fill_(phase.learning_rate * options.rate(step, self.steps))
        if self.follow is not None:
            self.follow.share.fill_(1 - min(options.average, (1 + step) / (10 + step)))
        self.summed |= dict.fromkeys(self.run_step(self.recipe.graph_key(step), batch))
        self.progress.step += 1
        self.progress.summed += 1
        if self.progress.summed == self.options.log_every:
            self.log()
        self.speed.step_done()

    def compute(self, batch: Any) -> Sequence[_Losses]:
        """Compute a step on the device: losses, gradients and updates of every phase, and the average."""
        parts = [batch]
        if (count := self.options.accumulate) > 1:
            size = len(tensors_in(batch)[0]) // count
            parts = [map_tensors(batch, itemgetter(slice(k * size, (k + 1) * size))) for k in range(count)]
        summed = [key for phase in self.phases if (key := self.update(phase, parts))]
        if self.follow is not None:
            self.follow()
        return summed

    def update(self, phase: Phase, parts: Sequence[Any]) -> _Losses:
        """Update a phase's parameters by the mean gradient of the parts of a batch, and sum its losses.

        Returns:
            The key of the sums, () if the phase is skipped.
        """
        optimiser = self.optimisers[phase.name]
        names: _Losses = ()
        values: list[Tensor] = []
        for part in parts:
            with torch.autocast(self.device.type, self.half, enabled=self.mixed):
                losses = self.recipe.losses(phase.name, part)
            if losses is None:
                return ()
            if not values:
                optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(losses["loss"] / len(parts)).backward()
            names = tuple(losses)
            values.append(torch.stack([value.detach() for value in losses.values()]))
        self.scaler.unscale_(optimiser)
        self.group.average_gradients(phase.parameters)
        if self.options.clip:
            nn.utils.clip_grad_norm_(phase.parameters, self.options.clip)
        self.scaler.step(optimiser)
        self.scaler.update()
        prefix = "" if len(self.phases) == 1 else f"{phase.name}_"
        key = tuple(prefix + name for name in names)
        if key not in self.sums:
            self.sums[key] = values[0].new_tensor([self.earlier.pop(name, 0.0) for name in key], dtype=torch.float64)
        self.sums[key] += torch.stack(values).mean(0)
        return key

    @property
    def epoch(self) -> int:
        """The epoch of the last step; the first one is 0."""
        return max(0, self.progress.step - 1) // len(self.loader)

    def read_sums(self) -> None:
        """Copy the sums of the losses from the device, as means over all processes; this waits for the device."""
        sums = Counter(self.earlier)
        if self.summed:
            means = self.group.mean(torch.cat([self.sums[key] for key in self.summed])).tolist()
            for name, mean in zip(chain.from_iterable(self.summed), means, strict=True):
                sums[name] += mean
            self.progress.sums = dict(sums)

    def log(self) -> None:
        """Add a line with the mean losses since the last one to the history."""
        self.read_sums()
        p = self.progress
        means = {name: total / p.summed for name, total in p.sums.items()}
        if any(value != value or abs(value) == float("inf") for value in means.values()):
            raise InputError(
                self.folder,
                f"the loss is not finite any more at step {p.step}",
                remedy="a lower learning rate, `clip=1`, or `precision=full`; the last checkpoint is undamaged",
            )
        if self.group.first:
            rate = {"learning_rate": self.phases[0].learning_rate * self.options.rate(p.step, self.steps)}
            self.record("train", {**means, **rate})
            self.record("speed", self.speed.line())
        for total in self.sums.values():
            total.zero_()
        p.sums, p.summed, self.summed, self.earlier = {}, 0, {}, {}

    def record(self, kind: str, numbers: Mapping[str, float]) -> None:
        """Write a line of the history."""
        line = self.history.add(kind, self.progress.step, self.epoch, numbers)
        self.events.add(line)

    def validate(self) -> None:
        """Evaluate the model (its average, if there is one); write weights, the history and a sheet of samples.

        The validation before the first step chooses no weights and changes no random numbers of the training.
        """
        self.read_sums()
        randoms = self.group.random_states(self.device)
        self.before_validation = replace(self.progress, unvalidated=True), randoms
        with self.averaged():
            self.evaluate()
        p = self.progress
        if not p.step:
            self.group.restore_random(randoms, self.device)
        p.unvalidated = False
        (p.finished,) = self.group.agree(p.step >= self.steps)
        self.before_validation = None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the model the averaged weights, if there are any."""
        if self.average is None:
            yield
            return
        model = self.recipe.model
        trained_weights = {name: value.clone() for name, value in model.state_dict().items()}
        try:
            model.load_state_dict(self.average.state_dict())
            yield
        finally:
            model.load_state_dict(trained_weights)

    def evaluate(self) -> None:
        """Run the first process's part of a validation."""
        if not self.group.first:
            return
        p, model = self.progress, self.recipe.model
        model.eval()
        with torch.no_grad():
            self.metrics = dict(self.recipe.validate(self.options.batch_size))
            sheet = self.recipe.image()
        if p.step:
            self.choose()
        self.record("validation", self.metrics)
        if sheet is not None:
            path = ensure_folder(self.folder / SAMPLES) / f"step-{p.step:07d}.png"
            write_image(path, sheet)
            self.events.add_image(p.step, path)
        model.train()

    def choose(self) -> None:
        """Write the weights that the last validation chooses."""
        p = self.progress
        criterion = self.metrics[self.recipe.criterion]
        better = p.best is None or (criterion > p.best if self.recipe.higher_is_better else criterion < p.best)
        if better:
            p.best, p.best_step = criterion, p.step
            if self.options.keep == "best":
                self.keep("best")
        self.keep("last")
        if self.options.keep == "last":
            (self.folder / BEST).unlink(missing_ok=True)  # of an earlier run: it would be taken for this one's

    def keep(self, rule: Keep) -> None:
        """Write the current weights, which were just validated, to the file of a rule."""
        training = self.training_of(rule, self.progress.step, self.metrics[self.recipe.criterion])
        self.write_weights(KEPT_FILE[rule], training, self.metrics)

    def write_weights(self, name: str, training: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write the current weights to a file of the folder, with these values in its header."""
        tensors, config = self.recipe.weights()
        write_weights(self.folder / name, tensors, WeightsHeader(self.recipe.name, config, training, metrics))

    def keep_step(self) -> None:
        """Write the current weights (their average, if there is one) to a file that stays."""
        step = self.progress.step
        if self.options.keep_every and step % self.options.keep_every == 0 and self.group.first:
            ensure_folder(self.folder / WEIGHTS)
            with self.averaged():
                self.write_weights(f"{WEIGHTS}/step-{step:07d}.safetensors", self.training_of("every", step, None), {})

    def training_of(self, rule: Keep | Literal["every"], step: int, value: float | None) -> dict[str, Any]:
        """Return the `training` values in the header of a step's weights."""
        choice = {"criterion": self.recipe.criterion, "value": value} if rule == "best" else {}
        return {
            "steps": step,
            "of": self.steps,
            "kept": {"rule": rule, **choice},
            "validation": dict(self.recipe.validation_data),
            "loop": self.options.result_settings,
            **self.recipe.describe(),
        }

    def show_progress(self) -> None:
        if not self.group.first:
            return
        now, key = time.monotonic(), next(iter(self.summed), ())
        if key and now - self.shown_at > _SHOW_EVERY:  # to read it is to wait for the device
            index = next(index for index, name in enumerate(key) if name.endswith("loss"))
            loss = self.sums[key][index].item() / self.progress.summed
            self.shown, self.shown_at = f", loss {loss:.4g}, {speed_text(self.speed.numbers)}", now
        self.report(self.progress.step, self.steps, f"steps{self.shown}")

    def result(self, *, finished: bool) -> TrainResult:
        p = self.progress
        outputs = tuple(self.folder / name for name in WRITTEN if (self.folder / name).exists())
        text = self.kept_text
        return TrainResult(
            step=p.step,
            steps=self.steps,
            finished=finished,
            seconds=self.seconds,
            best=p.best,
            best_step=p.best_step,
            metrics=self.metrics,
            outputs=outputs,
            kept=f"{KEPT_FILE[self.options.keep]}: {text}" if text else "",
            cautions=tuple(validation_cautions(self.recipe.validation_data)),
            speed=self.speed.numbers,
        )


def is_mixed(precision: str, device: torch.device, phases: Sequence[Phase]) -> bool:
    """Return whether a training computes in half precision where that is safe.

    Args:
        precision: "auto", "full" or "mixed".
        device: The device.
        phases: The phases of a step.
    """
    if precision != "auto":
        return precision == "mixed"
    return _parameter_count(phases) >= _MIXED_FROM if device.type == "cuda" else multiplies_bfloat16(device)


def _parameter_count(phases: Sequence[Phase]) -> int:
    return sum(parameter.numel() for phase in phases for parameter in phase.parameters)


def _optimiser(phase: Phase, rate: Tensor, name: Literal["adam", "adamw"]) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(phase.parameters, rate, betas=phase.betas, weight_decay=phase.weight_decay, fused=True, capturable=True)


class _Following:
    """Move the running average towards the model by a share; it is large in the first steps, which start at noise."""

    def __init__(self, average: nn.Module, model: nn.Module) -> None:
        self.share = torch.zeros((), device=next(average.parameters()).device)
        pairs = [*zip(average.state_dict().values(), model.state_dict().values(), strict=True)]
        self.slow, self.new = ([pair[side] for pair in pairs if pair[0].is_floating_point()] for side in (0, 1))
        self.old, self.counts = ([pair[side] for pair in pairs if not pair[0].is_floating_point()] for side in (0, 1))

    @torch.no_grad()
    def __call__(self) -> None:
        steps = torch._foreach_sub(self.new, self.slow)
        torch._foreach_mul_(steps, self.share)
        torch._foreach_add_(self.slow, steps)
        if self.old:
            torch._foreach_copy_(self.old, self.counts)
