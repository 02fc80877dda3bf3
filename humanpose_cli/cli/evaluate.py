"""`hpc evaluate`: how good models are, on people they have not learned from."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from humanpose_cli.cli.command import command
from humanpose_cli.cli.fit import Method
from humanpose_cli.cli.options import BatchSize, Body, Device, Threads, resolve_device, use_threads
from humanpose_cli.cli.session import Session
from humanpose_cli.errors import UsageError
from humanpose_cli.result import CommandResult, ItemResult, ResultTable, Status

if TYPE_CHECKING:
    from humanpose_cli.evaluation.report import Report

__all__ = ["evaluate"]


class What(str, Enum):
    """What can be judged."""

    segmenter = "segmenter"
    fit = "fit"


class Crops(str, Enum):
    """Where a network on crops has its body parts from."""

    labels = "labels"
    segmenter = "segmenter"


class Detections(str, Enum):
    """Who finds the people."""

    stored = "stored"
    auto = "auto"
    thorough = "thorough"
    fast = "fast"


_WHAT = typer.Argument(
    metavar="segmenter|fit",
    help="segmenter: picture to body parts. fit: bodies, of hpc fit, of a network alone or of fit files.",
    show_default=False,
)
_DATA = typer.Option("--data", metavar="CACHE", help="Dataset cache of hpc preprocess. Needed.", show_default=False)
_PROTOCOL = typer.Option("--protocol", metavar="NAME", help="Protocol of the cache. Default: its usual one.")
_SPLIT = typer.Option("--split", metavar="NAME", help="Split to judge by. Default: test, else validation.")
_SEEN = typer.Option(
    "--seen", metavar="SHARE", min=0, max=1, help="Judge by people of whom that share of the joints is in sight."
)
_LIMIT = typer.Option("--limit", metavar="N", min=1, help="People at most, spread evenly. Default: all.")
_WEIGHTS = typer.Option("--weights", metavar="FILE|RUN", help="What is judged. Default: the shipped weights.")
_SEGMENTER = typer.Option("--segmenter", metavar="FILE|RUN", help="For networks of body parts. Default: shipped.")
_METHOD = typer.Option("--method", help="With fit: how bodies are fitted to the pictures, as in hpc fit.")
_DETECTOR = typer.Option(
    "--detector", help="With fit: who finds the people. stored: what the cache holds of hpc preprocess --detections."
)
_CROPS = typer.Option(
    "--crops",
    help="With fit: judge the network alone, on crops made from labels, its body parts true ones (labels) or a "
    "segmenter's. Default: judge fits to pictures.",
)
_PREDICTIONS = typer.Option(
    "--predictions", metavar="FITS", help="With fit: judge these fit files. Default: fit now.", show_default=False
)
_ABLATION = typer.Option(
    "--ablation",
    metavar="inputs|segmenters|losses|supervision",
    help="With fit: train and print one of the paper's tables. Default: none.",
)
_PRESET = typer.Option("--preset", metavar="ablation|paper", help="With --ablation: minutes a training, or days.")
_SEEDS = typer.Option("--seeds", metavar="N", min=1, help="With --ablation: trainings of each network.")
_OUT = typer.Option("--out", metavar="FOLDER", help="Folder for report.md, report.json and pictures.")
_PICTURES_ONLY = "is for fits to pictures"


@command()
def evaluate(
    session: Session,
    what: Annotated[What, _WHAT],
    data: Annotated[Path | None, _DATA] = None,
    protocol: Annotated[str | None, _PROTOCOL] = None,
    split: Annotated[str | None, _SPLIT] = None,
    seen: Annotated[float, _SEEN] = 0.4,
    limit: Annotated[int | None, _LIMIT] = None,
    weights: Annotated[str | None, _WEIGHTS] = None,
    segmenter: Annotated[str | None, _SEGMENTER] = None,
    method: Annotated[Method, _METHOD] = Method.auto,
    detector: Annotated[Detections, _DETECTOR] = Detections.stored,
    crops: Annotated[Crops | None, _CROPS] = None,
    predictions: Annotated[Path | None, _PREDICTIONS] = None,
    body: Body = "default",
    ablation: Annotated[str | None, _ABLATION] = None,
    variant: Annotated[str, _PRESET] = "ablation",
    seeds: Annotated[int, _SEEDS] = 1,
    out: Annotated[Path, _OUT] = Path("hpc-out/evaluate"),
    device: Device = "auto",
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> CommandResult:
    """Judge models on people they have not learned from.

    Prints tables, with the paper's figures beside ours where it has them, and writes a report with pictures: some of
    each quartile of the errors, and the worst. An interrupted ablation goes on with the same command.
    """
    if data is None:
        raise UsageError("--data", "is missing", expected="a dataset cache of hpc preprocess")
    _check(session, what, crops, predictions, ablation)
    use_threads(threads)

    from humanpose_cli.evaluation.report import write_report
    from humanpose_cli.pipelines import evaluate as judging
    from humanpose_cli.pipelines.body_networks import NetworkOptions
    from humanpose_cli.pipelines.fit import FitOptions

    whom = judging.Whom(data, protocol or "", split or "", seen, limit or 0, body)
    watch = judging.Watch(
        lambda done, total, of: session.reporter.step(done, total, of), lambda: session.stop.requested
    )
    on, started = resolve_device(device), time.monotonic()
    network = NetworkOptions(weights or "", segmenter or "")
    session.stop.grace, session.stop.hard_limit = 15.0, 25.0  # as a training
    session.reporter.start(1)
    session.reporter.item_started(ablation or what.value)
    try:
        with session.stop.item():
            if what is What.segmenter:
                report = judging.evaluate_segmenter(whom, weights or "", on, watch, batch_size=batch_size or 16)
            elif ablation is not None:
                report = judging.evaluate_ablation(ablation, whom, variant, on, out, watch, seeds=seeds)
            elif predictions is not None:
                report = judging.evaluate_predictions(whom, predictions, body, watch)
            elif crops is not None:
                report = judging.evaluate_crops(whom, network, crops.value, on, out, batch_size=batch_size or 32)
            else:
                options = FitOptions(body, method=method.value, network=network)
                report = judging.evaluate_fits(whom, options, on, watch, detections=detector.value, threads=threads)
            written = write_report(report, out)
    finally:
        session.reporter.finish()
    return _result(report, tuple(str(path) for path in written), time.monotonic() - started)


def _check(session: Session, what: What, crops: Crops | None, predictions: Path | None, ablation: str | None) -> None:
    """UsageError for options that say nothing about what is judged."""
    chosen = {"--crops": crops, "--predictions": predictions, "--ablation": ablation}
    given = [name for name, value in chosen.items() if value is not None]
    if len(given) > 1:
        raise UsageError(given[1], f"cannot be given together with {given[0]}")
    if what is What.segmenter and given:
        raise UsageError(given[0], "is for fit", remedy="hpc evaluate fit")
    others = {"method", "detector"} & session.given
    if others and (given or what is What.segmenter):
        raise UsageError(f"--{min(others)}", _PICTURES_ONLY, remedy="leave it out")
    if ablation is None and {"variant", "seeds"} & session.given:
        raise UsageError("--preset" if "variant" in session.given else "--seeds", "is for --ablation")


def _result(report: Report, outputs: tuple[str, ...], seconds: float) -> CommandResult:
    document = report.document()
    tables = tuple(ResultTable(t.title, t.columns, t.texts(), t.notes) for t in report.tables)
    item = ItemResult(report.title, Status.SUCCESS, outputs, seconds, details={"facts": document["facts"]})
    extra = {"metrics": document["metrics"], "tables": document["tables"]}
    return CommandResult("evaluate", Status.SUCCESS, (item,), extra=extra, tables=tables)
