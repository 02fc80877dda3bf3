"""`hpc preprocess`: labelled people, made or read from a data set's files, as a dataset cache."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from humanpose_cli.cli.command import command
from humanpose_cli.cli.options import BodyOption, Overwrite, Seed, ShardOption, nearest
from humanpose_cli.cli.session import Session
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult

if TYPE_CHECKING:
    from humanpose_cli.data.building import BuildResult
    from humanpose_cli.datasets.preprocess import SourceRequest

__all__ = ["preprocess"]

_OF_SYNTHETIC, _OF_SETS = "Synthetic people", "Data sets and your own images"
_FOR_SYNTHETIC = ("count", "size", "pairs", "clips", "backgrounds", "imperfect_fits")
_FOR_SETS = ("fits", "densepose", "model", "fit", "body", "allow_missing")

_SOURCE = typer.Argument(
    metavar="SOURCE",
    help="synthetic, images (your own), iper, deepfashion, up3d, h36m, humaneva, 3dpw, rich, densepose or "
    "densepose-posetrack.",
    show_default=False,
)
_ROOT = typer.Argument(metavar="ROOT", help="The data set's folder as its owner lays it out.", show_default=False)
_OUT = typer.Option("--out", metavar="CACHE", help="Folder for the cache.")
_COUNT = typer.Option("--count", metavar="N", min=1, help="Images to make.", rich_help_panel=_OF_SYNTHETIC)
_SIZE = typer.Option("--size", metavar="N", help="Pixels of an image's sides.", rich_help_panel=_OF_SYNTHETIC)
_PAIRS = typer.Option(
    "--pairs",
    help="Two images each of one person in one clothing before one background. Default: single images.",
    rich_help_panel=_OF_SYNTHETIC,
)
_CLIPS = typer.Option(
    "--clips",
    metavar="LENGTH",
    help="Clips of so many frames. Default: single images.",
    rich_help_panel=_OF_SYNTHETIC,
)
_BACKGROUNDS = typer.Option(
    "--backgrounds",
    metavar="FOLDER",
    help="Images to stand before, beside the made-up ones. Default: none.",
    rich_help_panel=_OF_SYNTHETIC,
)
_IMPERFECT = typer.Option(
    "--imperfect-fits",
    help="Add a fit with an estimator's errors to each person, for training refinement. Default: none.",
    rich_help_panel=_OF_SYNTHETIC,
)
_FITS = typer.Option(
    "--fits", metavar="FOLDER", help="Fit files of hpc fit for these images. Default: none.", rich_help_panel=_OF_SETS
)
_DENSEPOSE = typer.Option(
    "--densepose",
    metavar="PATH",
    help="DensePose's output for these images. Default: none.",
    rich_help_panel=_OF_SETS,
)
_MODELS = typer.Option(
    "--model",
    metavar="FILE",
    help="SMPL model of one gender; may be repeated. Labels are drawn from bodies whose model is given. Default: none.",
    rich_help_panel=_OF_SETS,
)
_FIT = typer.Option(
    "--fit/--no-fit", help="Find bodies that the data set lacks with our own fit.", rich_help_panel=_OF_SETS
)
_ALLOW_MISSING = typer.Option(
    "--allow-missing",
    help="Take what is there where listed files are missing. Default: refuse.",
    rich_help_panel=_OF_SETS,
)
_DETECTIONS = typer.Option(
    "--detections",
    help="Add what our detector sees of each person, for models that work on its output. Default: leave it out.",
)
_SHARD_SIZE = typer.Option(
    "--shard-size",
    metavar="N",
    min=1,
    help="Images of a file of the cache, about. Default: a sixteenth of all, 32 to 1024.",
)
_WORKERS = typer.Option("--workers", metavar="N", min=1, help="Processes. Default: every core there is.")
_RESUME = typer.Option("--resume/--no-resume", help="Keep the finished files of an interrupted run.")


@command(columns=(("pictures", "pictures"), ("people", "people"), ("files", "files"), ("kept", "kept")), tunes=True)
def preprocess(
    session: Session,
    source: Annotated[str, _SOURCE],
    root: Annotated[Path | None, _ROOT] = None,
    out: Annotated[Path, _OUT] = Path("hpc-out/preprocess"),
    count: Annotated[int, _COUNT] = 1000,
    size: Annotated[int, _SIZE] = 256,
    pairs: Annotated[bool, _PAIRS] = False,
    clips: Annotated[int | None, _CLIPS] = None,
    backgrounds: Annotated[Path | None, _BACKGROUNDS] = None,
    imperfect_fits: Annotated[bool, _IMPERFECT] = False,
    detections: Annotated[bool, _DETECTIONS] = False,
    seed: Seed = 0,
    fits: Annotated[Path | None, _FITS] = None,
    densepose: Annotated[Path | None, _DENSEPOSE] = None,
    model: Annotated[list[Path] | None, _MODELS] = None,
    fit: Annotated[bool, _FIT] = True,
    body: BodyOption = "default",
    allow_missing: Annotated[bool, _ALLOW_MISSING] = False,
    shard_size: Annotated[int | None, _SHARD_SIZE] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    shard: ShardOption = None,
    resume: Annotated[bool, _RESUME] = True,
    overwrite: Overwrite = False,
) -> CommandResult:
    """Make a dataset cache: synthetic people, or a data set's files.

    Further options of a source are set by name, such as --set companions=0.5 or --set every=10; data/README.md tells
    them. Several machines may build one cache with --shard i/N.
    """
    from humanpose_cli.cli.options import use_threads
    from humanpose_cli.datasets.preprocess import SYNTHETIC, build

    if pairs and clips is not None:
        raise UsageError("--pairs", "cannot be given together with --clips")
    _refuse_flags_for_others(session, source, _FOR_SETS if source == SYNTHETIC else _FOR_SYNTHETIC)
    if source == SYNTHETIC:
        made: dict[str, Any] = {
            "count": count,
            "size": size,
            "seed": seed,
            "backgrounds": backgrounds,
            "imperfect_fits": imperfect_fits,
        }
        if clips is not None:
            made |= {"structure": "clips", "clip_length": clips}
        request = _synthetic(session, {**made, **({"structure": "pairs"} if pairs else {})}, root)
    else:
        given = {"fits": fits, "densepose": densepose}
        options: dict[str, Any] = {name: str(path) for name, path in given.items() if path is not None}
        options |= {"allow_missing": True} if allow_missing else {}
        request = _of_folder(session, source, root, options, seed)
        request = replace(request, models=tuple(model or ()), fit=fit, fit_body=body)
    request = replace(request, detections=detections)
    started = time.monotonic()
    session.reporter.start(1)
    session.reporter.item_started(source)
    try:
        result = build(
            request,
            out,
            shard_size=shard_size,
            workers=workers or use_threads(None),
            shard=(shard.index, shard.count) if shard else (0, 1),
            resume=resume,
            overwrite=overwrite,
            progress=session.reporter.step,
            on_note=session.reporter.warn,
        )
    finally:
        session.reporter.finish()
    for failed in result.failed:
        session.reporter.debug(failed.trace)
    told = _result(source, result, time.monotonic() - started)
    for item in told.items:
        session.reporter.item_finished(item)  # says what failed, and why
    return told


def _refuse_flags_for_others(session: Session, source: str, others: tuple[str, ...]) -> None:
    """UsageError for a flag that the source would pass over. What comes from settings files may be meant for another
    run.
    """
    for name in others:
        if name in session.given:
            flag = "--no-fit" if name == "fit" else f"--{name.replace('_', '-')}"
            raise UsageError(flag, f"is not for {source}", remedy="leave it out")


def _synthetic(session: Session, made: dict[str, Any], root: Path | None) -> SourceRequest:
    from humanpose_cli.datasets.preprocess import SYNTHETIC, SourceRequest
    from humanpose_cli.synthetic.options import SyntheticOptions

    return SourceRequest(SYNTHETIC, root, synthetic=session.tune(SyntheticOptions(**made)))


def _of_folder(session: Session, source: str, root: Path | None, options: dict[str, Any], seed: int) -> SourceRequest:
    from humanpose_cli.datasets.preprocess import SYNTHETIC, SourceRequest
    from humanpose_cli.datasets.registry import SOURCES

    if source not in SOURCES:
        raise UsageError("SOURCE", "there is no such source", got=source, remedy=nearest(source, (SYNTHETIC, *SOURCES)))
    known = SOURCES[source].source_class().options_type
    for name in options:
        if name not in known.__dataclass_fields__:
            raise UsageError(f"--{name.replace('_', '-')}", f"is not for {source}")
    if "seed" in known.__dataclass_fields__:
        options = {**options, "seed": seed}
    tuned = session.tune(known(**options))
    return SourceRequest(source, root, {name: getattr(tuned, name) for name in known.__dataclass_fields__})


def _result(source: str, built: BuildResult, seconds: float) -> CommandResult:
    """One item for the cache, and one for each file that could not be written."""
    from humanpose_cli.core.errors import ExitCode
    from humanpose_cli.core.result import ItemResult, Status, combine_status
    from humanpose_cli.data.schema import shard_name

    details = {
        "pictures": built.images,
        "people": built.people,
        "files": len(built.built) + len(built.kept),
        "kept": len(built.kept),
    }
    numbers = sorted((*built.built, *built.kept))
    # The index stands for all files; a part of a cache has none yet.
    whole = [built.index] if built.index is not None else [built.folder / shard_name(number) for number in numbers]
    items = []
    if numbers or not built.failed:
        items.append(ItemResult(source, Status.SUCCESS, tuple(map(str, whole)), seconds, details=details))
    items += [
        ItemResult(shard_name(f.shard), Status.ERROR, error=f.problem, exit_code=ExitCode(f.exit_code))
        for f in built.failed
    ]
    status, code = combine_status(items)
    return CommandResult("preprocess", status, tuple(items), exit_code=code)
