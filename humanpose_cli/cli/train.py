"""`hpc train`: train a model on a dataset cache."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.options import Device, DryRun, Threads, argument, option, out_option, use_threads
from humanpose_cli.cli.session import Session, command
from humanpose_cli.cli.settings import field_names, nearest
from humanpose_cli.core.device import resolve_device
from humanpose_cli.core.errors import ExitCode, UnavailableError, UsageError, shell_word
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status
from humanpose_cli.lab.recipes.registry import MODELS, ModelEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from humanpose_cli.lab.cache.cache import Cache
    from humanpose_cli.lab.train.recipe import TrainOptions
    from humanpose_cli.lab.train.trainer import TrainPlan, TrainResult


def _model(name: str) -> str:
    """Refuse an unknown model."""
    if name not in (*MODELS, _COMPARE):
        raise UsageError("MODEL", "there is no such model", got=name, remedy=nearest(name, MODELS))
    return name


_REPORTED = ("finished", "best", "best_step", "metrics", "kept", "cautions")  # values of a `TrainResult`
_FOREIGN_WEIGHTS = {"backbone": "", "perceptual": "pixels"}  # settings that name them, and values without them
_COMPARE = "compare"
_MODELS = {**{name: entry.help for name, entry in MODELS.items()}, _COMPARE: "curves of the runs that follow"}
_MODEL = argument("MODEL", ";\n".join(f"{name}: {text}" for name, text in _MODELS.items()) + ".", parser=_model)
_RUNS = argument("RUN", "Folders of runs, for compare.")
_DATA = option(
    "--data CACHE",
    "Cache of hpc preprocess; may be repeated for deform-and-learn; lifter: a pose library. Required except by lifter.",
)
_OUT = out_option("--out RUN", "Folder of the run. Default: runs/MODEL.", show_default=False)
_PRESET = option(
    "--preset NAME", "Model and training settings: small (for a CPU), paper or ablation; some models have others."
)
_EPOCHS = option("--epochs N", "Passes over the data. Default: the preset's.", min=1)
_BATCH = option("--batch-size N", "Examples per step; with accumulate, per batch. Default: the preset's.", min=1)
_WORKERS = option(
    "--workers N", "Processes that decode images. Default: 1; with a GPU, all cores but one, at most 16.", min=0
)
_SEED = option("--seed N", "Seed of weights, order and augmentation. Default: the preset's.", min=0)
_MINUTES = option(
    "--minutes N", "Stop after N minutes with exit code 0; rerun the command to continue. Default: never."
)
_RESUME = option("--resume/--no-resume", "Continue from the checkpoint in the run's folder.")


@command(
    columns=(
        ("steps", "steps", "Training steps, or rounds of deform-and-learn."),
        ("best", "best", "Best value of the criterion on held-out data, or of the last round of deform-and-learn."),
        ("criterion", "criterion", "Metric that chooses the best weights, if the best are kept."),
        ("minutes", "minutes", "Training time, including earlier parts of the run."),
        ("examples_per_second", "examples/s", "Speed without validations and checkpoints, since the last start."),
        ("waiting_percent", "waiting %", "Share of that time that waits for data."),
    ),
    labels={Status.INTERRUPTED: "not finished"},
    tunes=True,
    cluster="job",
    usual="--data --out --preset --epochs --batch-size --minutes --resume --dry-run --device --workers",
    examples=(
        "hpc train segmenter --data people",
        "hpc train nbf --data people --dry-run",
        "hpc train nbf --data people --preset small --minutes 60",
        "hpc train deform-and-learn --data people --set rounds=5",
        "hpc train deform-and-learn --data h36m --data densepose --set skeleton=h36m17",
        "hpc train warp3d --data pairs --out runs/warp3d --set learning_rate=1e-4",
        "hpc train compare runs/nbf runs/wide",
    ),
)
def train(
    session: Session,
    model: Annotated[str, _MODEL],
    runs: Annotated[list[Path] | None, _RUNS] = None,
    data: Annotated[list[Path] | None, _DATA] = None,
    out: Annotated[Path | None, _OUT] = None,
    variant: Annotated[str, _PRESET] = "small",
    epochs: Annotated[int | None, _EPOCHS] = None,
    batch_size: Annotated[int | None, _BATCH] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    seed: Annotated[int | None, _SEED] = None,
    minutes: Annotated[float | None, _MINUTES] = None,
    resume: Annotated[bool, _RESUME] = True,
    dry_run: DryRun = False,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Train a model on a dataset cache.

    Writes best.safetensors, a checkpoint, metrics.jsonl and losses.png. The same command continues a run.

    --dry-run shows what would be trained, on which data, for how many steps, and which weights are missing, with all
    checks of a training; it reads labels but no images, and writes nothing. Preset paper and deform-and-learn write
    last.safetensors, the weights of the last step; --set keep=best or keep=last chooses. An interrupted run, once
    resumed, gives the same files as an uninterrupted run, except for times and speeds. --set sets options without a
    flag; --set steps=N counts steps instead of epochs. Under torchrun, all processes train one model. hpc train compare
    RUN RUN draws the curves of runs in one picture.
    """
    if model == _COMPARE:
        return _comparison(session, runs or [], out or Path("runs") / model)
    if runs:
        raise UsageError("RUN", f"is for hpc train {_COMPARE}", got=str(runs[0]))
    entry = MODELS[model]
    if not data and entry.needs_data:
        raise UsageError("--data", "is missing", expected="a dataset cache of hpc preprocess")
    if minutes is not None and minutes <= 0:
        raise UsageError("--minutes", "is out of range", expected="above 0", got=str(minutes))
    if data and len(data) > 1 and not entry.several:
        raise UsageError("--data", f"takes one cache for {model}", got=str(len(data)))
    from humanpose_cli.lab.cache.cache import open_cache

    # Now, for torch takes seconds to import.
    caches = [(path, open_cache(path)) for path in data or () if entry.needs_data]
    use_threads(threads)

    import torch

    options, loop = entry.preset(variant)
    loop_names = set(field_names(loop))
    loop = session.tune(loop, loop_names.__contains__)
    options = session.tune(options, lambda key: key not in loop_names)
    flags: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    flags |= {"workers": workers, "seed": seed, "minutes": minutes}
    flags |= {} if epochs is None else {"steps": 0}
    loop = replace(loop, **{name: value for name, value in flags.items() if value is not None})
    make = partial(entry.make, data if entry.several or not data else data[0], seed=loop.seed)
    recipe, missing = _planned_recipe(make, options) if dry_run else (make(options=options), "")
    folder = out or Path("runs") / model
    if dry_run:
        plan = entry.plan(recipe, loop, folder, resume=resume)
        device = resolve_device(device)
        lines = tuple(_plan_lines(variant, loop, recipe, caches, plan, device))
        lines += (("missing", missing),) if missing else ()
        return _planned(model, lines, plan, {"preset": variant, "device": device, "batch_size": loop.batch_size})
    run = partial(entry.train, recipe, loop, folder, torch.device(resolve_device(device)), resume=resume)
    with session.item(model, grace=15.0):  # a step or a validation of a large network takes longer than an image
        result = run(progress=session.reporter.step, stop=lambda: session.stop.requested)
    use = entry.use.format(run=shell_word(folder), data=shell_word(data[0] if data else "")) if result.finished else ""
    return _result(session, model, folder, recipe.criterion, result, use and use + _force(entry, recipe, loop, result))


def _comparison(session: Session, runs: list[Path], folder: Path) -> CommandResult:
    """Draw the curves of runs in one picture."""
    from humanpose_cli.lab.train.comparison import CURVES, write_comparison

    without = {*session.on_command_line, *session.settings} - {"model", "runs", "out", "json", "quiet", "verbose"}
    session.refuse(sorted(without - {"log_json", "config", "set_"}), f"has no effect on {_COMPARE}")
    path = folder / CURVES
    table = ResultTable("Last validations", *write_comparison(runs, path))
    extra = {"runs": [dict(zip(table.columns, row, strict=True)) for row in table.rows], "outputs": [str(path)]}
    return CommandResult("train", Status.SUCCESS, messages=(f"curves: {path}",), extra=extra, tables=(table,))


def _planned_recipe(make: Callable[..., Any], options: Any) -> tuple[Any, str]:
    """Make a recipe for a plan, if necessary without weights of other owners; return it and what is missing."""
    from humanpose_cli.networks.weights import WEIGHTS

    try:
        return make(options=options), ""
    except UnavailableError as error:
        if error.subject not in WEIGHTS:
            raise
        names = set(field_names(options)) & _FOREIGN_WEIGHTS.keys()
        return make(options=replace(options, **{name: _FOREIGN_WEIGHTS[name] for name in names})), str(error)


def _force(entry: ModelEntry, recipe: Any, loop: TrainOptions, result: TrainResult) -> str:
    """Return the setting that commands need for weights of few steps, counting earlier trainings; else ""."""
    earlier = recipe.describe().get("began_with", ())
    steps = (result.best_step if loop.keep == "best" else result.step) + sum(each["steps"] for each in earlier)
    return " --set force=true" if steps < entry.min_steps else ""


def _plan_lines(
    variant: str, loop: TrainOptions, recipe: Any, data: list[tuple[Path, Cache]], plan: TrainPlan, device: str
) -> Iterator[tuple[str, str]]:
    """Describe a planned training for people."""
    yield "preset", variant
    for path, cache in data:
        size = sum(shard.stat().st_size for shard in cache.shard_paths) / 1e6
        counts = f"{len(cache):,} images, {cache.people.row_count:,} people"
        yield "data", f"{path}: {counts}, {size:,.1f} MB, {cache.header.source}"
    if plan.examples is not None:
        yield "examples", f"{plan.examples:,} to train on, {plan.held_out:,} held out"
    passes = "" if plan.per_epoch is None or plan.examples is None else f" ({plan.per_epoch:,} for each pass)"
    yield plan.unit, f"{plan.steps:,}{passes}, batches of {loop.step_size}"
    if plan.validations is not None:
        rule = f"{recipe.criterion} chooses the best weights" if loop.keep == "best" else "the last weights are kept"
        yield "validations", f"{plan.validations:,}; {rule}"
    found = "a checkpoint is there" if plan.done else "there is no checkpoint to continue from"
    yield "begins at", f"{plan.done:,} of {plan.steps:,} {plan.unit}: {found}"
    if plan.parameters is not None and plan.weights_bytes is not None and plan.checkpoint_bytes is not None:
        yield "network", f"{plan.parameters:,} parameters to train"
        weights, checkpoint = (f"{size / 1e6:,.1f} MB" for size in (plan.weights_bytes, plan.checkpoint_bytes))
        files = "each (best and last)" if loop.keep == "best" else "(last)"
        yield "files", f"weights of {weights} {files}, a checkpoint of about {checkpoint}"
    yield "device", device
    if loop.minutes:
        yield "stops", f"after {loop.minutes:g} minutes; the same command continues"


def _planned(model: str, lines: Sequence[tuple[str, str]], plan: TrainPlan, settings: dict[str, Any]) -> CommandResult:
    """Show the plan as a table for people, and its values for programs."""
    values = {name: value for name, value in vars(plan).items() if name != "outputs"}
    details = {"steps": plan.steps, "plan": {**settings, **values}}
    item = ItemResult(model, Status.PLANNED, tuple(map(str, plan.outputs)), details=details)
    table = ResultTable(f"hpc train {model}", ("setting", "value"), lines, justify="left")
    return CommandResult("train", Status.SUCCESS, (item,), ("dry run: nothing was written",), tables=(table,))


def _result(session: Session, model: str, folder: Path, criterion: str, result: Any, use: str) -> CommandResult:
    """Build the result of a training; `use` is a command that uses the weights, or ""."""
    details = {
        "steps": result.step,
        "steps_in_all": result.steps,
        "criterion": criterion,
        "minutes": round(result.seconds / 60, 1),
        **{name: getattr(result, name) for name in _REPORTED},
        **result.speed,
    }
    outputs = tuple(str(path) for path in result.outputs)
    messages = (result.kept, *result.cautions, *((f"to use these weights: {use}",) if use else ()))
    status, code = Status.SUCCESS, ExitCode.OK
    if not result.finished:
        status = Status.INTERRUPTED
        messages = (f"{folder}: {result.step} of {result.steps} {result.unit} are done; the same command continues",)
    if session.stop.signal_number is not None and not result.finished:
        code = ExitCode(128 + session.stop.signal_number)
    item = ItemResult(model, status, outputs, result.seconds, exit_code=code, details=details)
    return CommandResult("train", status, (item,), messages, code)
