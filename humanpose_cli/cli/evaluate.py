"""`hpc evaluate`: how good models are, on people they have not learned from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from humanpose_cli.cli.command import command
from humanpose_cli.cli.options import BatchSize, BodyOption, Device, Threads, resolve_device, use_threads
from humanpose_cli.cli.session import Session
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status

if TYPE_CHECKING:
    from humanpose_cli.evaluate.report import Report
    from humanpose_cli.evaluate.setup import PeopleSelection

__all__ = ["evaluate"]


What = Literal["segmenter", "fit", "repose"]
Method = Literal["auto", "keypoints", "nbf"]
Detections = Literal["stored", "auto", "thorough", "fast"]
Crops = Literal["labels", "segmenter"]

_WHAT = typer.Argument(
    metavar="segmenter|fit|repose",
    help="segmenter: image to body parts. fit: bodies, of hpc fit, of a network alone or of fit files. repose: "
    "images of pairs, of a network, of the mesh and of the input copied.",
    show_default=False,
)
_DATA = typer.Option("--data", metavar="CACHE", help="Dataset cache of hpc preprocess. Needed.", show_default=False)
_PROTOCOL = typer.Option("--protocol", metavar="NAME", help="Protocol of the cache. Default: its usual one.")
_SPLIT = typer.Option("--split", metavar="NAME", help="Split to judge by. Default: test, else validation.")
_SEEN = typer.Option(
    "--seen", metavar="SHARE", min=0, max=1, help="Judge by people of whom that share of the joints is in sight."
)
_LIMIT = typer.Option("--limit", metavar="N", min=1, help="People or pairs at most, spread evenly. Default: all.")
_WEIGHTS = typer.Option("--weights", metavar="FILE|RUN", help="What is judged. Default: the shipped weights.")
_SEGMENTER = typer.Option("--segmenter", metavar="FILE|RUN", help="For networks of body parts. Default: shipped.")
_METHOD = typer.Option("--method", help="With fit: how bodies are fitted to the images, as in hpc fit.")
_DETECTOR = typer.Option(
    "--detector", help="With fit: who finds the people. stored: what the cache holds of hpc preprocess --detections."
)
_CROPS = typer.Option(
    "--crops",
    help="With fit: judge the network alone, on crops made from labels, its body parts true ones (labels) or a "
    "segmenter's. Default: judge fits to images.",
)
_PREDICTIONS = typer.Option(
    "--predictions", metavar="FITS", help="With fit: judge these fit files. Default: fit now.", show_default=False
)
_ABLATION = typer.Option(
    "--ablation",
    metavar="NAME",
    help="Train and print one of the papers' tables. With fit: inputs, segmenters, losses or supervision; with repose: "
    "warping. Default: none.",
)
_PRESET = typer.Option("--preset", metavar="ablation|paper", help="With --ablation: minutes a training, or days.")
_PERCEPTUAL = typer.Option(
    "--perceptual",
    metavar="WEIGHTS",
    help="With repose: network whose features tell how alike images look: a file, a run's folder or a name of hpc "
    "weights list, or pixels. Default: imagenet-vgg19 if it is here, else the segmenter.",
)
_LPIPS = typer.Option("--lpips", help="With repose: LPIPS, from hpc weights fetch imagenet-alexnet lpips-alex.")
_POSE = typer.Option(
    "--pose/--no-pose", help="With repose: judge the pose by our own fit, which takes most of the time."
)
_SIZE = typer.Option(
    "--size", metavar="N", min=32, help="With repose: pixels of the crops that are judged. Default: the network's."
)
_PERSONALIZE = typer.Option("--personalize", metavar="N", hidden=True)  # removed; for one version it says so
_SEEDS = typer.Option(
    "--seeds", metavar="N", min=1, help="With --ablation: trainings of each network. Default: 1, of warping 2."
)
_OUT = typer.Option("--out", metavar="FOLDER", help="Folder for report.md, report.json and images.")
_IMAGES_ONLY = "is for fits to images"
_OF_REPOSE = {"perceptual", "lpips", "pose", "size"}


@dataclass(frozen=True)
class JudgedFlags:
    """Who is judged: the options that all models share, as one parameter."""

    data: Annotated[Path | None, _DATA] = None
    protocol: Annotated[str | None, _PROTOCOL] = None
    split: Annotated[str | None, _SPLIT] = None
    seen: Annotated[float, _SEEN] = 0.4
    limit: Annotated[int | None, _LIMIT] = None
    body: BodyOption = "default"


@dataclass(frozen=True)
class ReposeFlags:
    """How reposed images are judged, as one parameter."""

    perceptual: Annotated[str | None, _PERCEPTUAL] = None
    lpips: Annotated[bool, _LPIPS] = False
    pose: Annotated[bool, _POSE] = True
    size: Annotated[int | None, _SIZE] = None
    personalize: Annotated[int | None, _PERSONALIZE] = None


@command()
def evaluate(
    session: Session,
    what: Annotated[What, _WHAT],
    selection: JudgedFlags,
    images: ReposeFlags,
    weights: Annotated[str | None, _WEIGHTS] = None,
    segmenter: Annotated[str | None, _SEGMENTER] = None,
    method: Annotated[Method, _METHOD] = "auto",
    detector: Annotated[Detections, _DETECTOR] = "stored",
    crops: Annotated[Crops | None, _CROPS] = None,
    predictions: Annotated[Path | None, _PREDICTIONS] = None,
    ablation: Annotated[str | None, _ABLATION] = None,
    variant: Annotated[str, _PRESET] = "ablation",
    seeds: Annotated[int | None, _SEEDS] = None,
    out: Annotated[Path, _OUT] = Path("hpc-out/evaluate"),
    device: Device = "auto",
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> CommandResult:
    """Judge models on people they have not learned from.

    Prints tables, with the paper's figures beside ours where it has them, and writes a report with images: some of
    each quartile of the errors, and the worst. An interrupted ablation goes on with the same command.
    """
    if selection.data is None:
        raise UsageError("--data", "is missing", expected="a dataset cache of hpc preprocess")
    _check(session, what, crops, predictions, ablation)
    use_threads(threads)

    from humanpose_cli.evaluate.report import write_report

    on, started = resolve_device(device), time.monotonic()
    session.stop.grace, session.stop.hard_limit = 15.0, 25.0  # as a training
    session.reporter.start(1)
    session.reporter.item_started(ablation or what)
    try:
        with session.stop.item():
            if what == "repose":
                reposing = _Reposing(session, selection, images, weights or "", on, out)
                report = reposing.report() if ablation is None else reposing.ablation_report(variant, seeds or 2)
            else:
                given = weights or "", segmenter or ""
                bodies = _Bodies(session, selection, *given, on, batch_size, threads, out, method, detector)
                if what == "segmenter":
                    report = bodies.segmenter_report()
                elif ablation is not None:
                    report = bodies.ablation_report(ablation, variant, seeds or 1)
                else:
                    report = bodies.fit_report(crops, predictions)
            written = write_report(report, out)
    finally:
        session.reporter.finish()
    return _result(report, tuple(str(path) for path in written), time.monotonic() - started)


@dataclass(frozen=True)
class _Bodies:
    """What is judged of segmenters and bodies."""

    session: Session
    flags: JudgedFlags
    weights: str
    segmenter: str
    device: str
    batch_size: int | None
    threads: int | None
    out: Path
    method: Method
    detector: Detections

    @property
    def selection(self) -> PeopleSelection:
        return _whom(self.flags)

    @property
    def watch(self) -> dict[str, Any]:
        return _watch(self.session)

    def segmenter_report(self) -> Report:
        from humanpose_cli.evaluate.fits import evaluate_segmenter

        return evaluate_segmenter(
            self.selection, self.weights, self.device, **self.watch, batch_size=self.batch_size or 16
        )

    def ablation_report(self, name: str, preset: str, seeds: int) -> Report:
        from humanpose_cli.evaluate.fits import evaluate_ablation

        return evaluate_ablation(name, self.selection, preset, self.device, self.out, **self.watch, seeds=seeds)

    def fit_report(self, crops: Crops | None, predictions: Path | None) -> Report:
        from humanpose_cli.evaluate import fits as judging
        from humanpose_cli.fitting.fitter import FitOptions
        from humanpose_cli.fitting.networks import NetworkOptions

        network = NetworkOptions(self.weights, self.segmenter)
        if predictions is not None:
            return judging.evaluate_predictions(self.selection, predictions, self.flags.body, **self.watch)
        if crops is not None:
            return judging.evaluate_crops(
                self.selection, network, crops, self.device, self.out, batch_size=self.batch_size or 32
            )
        options = FitOptions(self.flags.body, method=self.method, network=network)
        return judging.evaluate_fits(
            self.selection, options, self.device, **self.watch, detections=self.detector, threads=self.threads
        )


@dataclass(frozen=True)
class _Reposing:
    """What is judged of reposed images."""

    session: Session
    flags: JudgedFlags
    images: ReposeFlags
    weights: str
    device: str
    out: Path

    def report(self) -> Report:
        from humanpose_cli.evaluate.repose import evaluate_reposing

        return evaluate_reposing(
            _whom(self.flags),
            self.weights,
            self.device,
            **_watch(self.session),
            perceptual=self.images.perceptual or "auto",
            lpips=("imagenet-alexnet", "lpips-alex") if self.images.lpips else None,
            pose=self.images.pose,
            size=self.images.size or 0,
        )

    def ablation_report(self, preset: str, seeds: int) -> Report:
        from humanpose_cli.evaluate.repose import evaluate_warping

        return evaluate_warping(
            _whom(self.flags), preset, self.device, self.out, **_watch(self.session), seeds=seeds, pose=self.images.pose
        )


def _whom(flags: JudgedFlags) -> PeopleSelection:
    from humanpose_cli.evaluate.setup import PeopleSelection

    assert flags.data is not None
    return PeopleSelection(
        flags.data, flags.protocol or "", flags.split or "", flags.seen, flags.limit or 0, flags.body
    )


def _watch(session: Session) -> dict[str, Any]:
    """How an evaluation reports its progress and learns that it shall stop."""
    return {"progress": session.reporter.step, "stop": lambda: session.stop.requested}


def _check(session: Session, what: What, crops: Crops | None, predictions: Path | None, ablation: str | None) -> None:
    """UsageError for options that say nothing about what is judged."""
    chosen = {"--crops": crops, "--predictions": predictions, "--ablation": ablation}
    given = [name for name, value in chosen.items() if value is not None]
    if len(given) > 1:
        raise UsageError(given[1], f"cannot be given together with {given[0]}")
    if (what == "segmenter" and given) or (what == "repose" and given not in ([], ["--ablation"])):
        raise UsageError(given[0], "is for fit", remedy="hpc evaluate fit")
    if what == "repose" and ablation not in (None, "warping"):
        raise UsageError("--ablation", "is not known", expected="warping", got=str(ablation))
    if "personalize" in session.given:
        raise UsageError("--personalize", "was removed: it brought nothing measurable", remedy="leave it out")
    for name in sorted(_OF_REPOSE & session.given):
        if what != "repose":
            raise UsageError(f"--{name}", "is for repose", remedy="hpc evaluate repose")
        if ablation is not None and name != "pose":
            raise UsageError(f"--{name}", "cannot be given together with --ablation")
    others = {"method", "detector"} & session.given
    if others and (given or what != "fit"):
        raise UsageError(f"--{min(others)}", _IMAGES_ONLY, remedy="leave it out")
    if ablation is None and {"variant", "seeds"} & session.given:
        raise UsageError("--preset" if "variant" in session.given else "--seeds", "is for --ablation")


def _result(report: Report, outputs: tuple[str, ...], seconds: float) -> CommandResult:
    document = report.document()
    tables = tuple(ResultTable(t.title, t.columns, t.texts(), t.notes) for t in report.tables)
    item = ItemResult(report.title, Status.SUCCESS, outputs, seconds, details={"facts": document["facts"]})
    extra = {"metrics": document["metrics"], "tables": document["tables"]}
    return CommandResult("evaluate", Status.SUCCESS, (item,), extra=extra, tables=tables)
