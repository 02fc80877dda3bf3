"""`hpc preprocess`: make a dataset cache of synthetic people or of a data set."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.options import (
    Device,
    DryRun,
    Overwrite,
    Seed,
    ShardOption,
    argument,
    body_option,
    of,
    option,
    out_option,
    read_items,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.cli.settings import nearest
from humanpose_cli.core.errors import ExitCode, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status, combine_status
from humanpose_cli.lab.datasets.registry import SOURCES, SYNTHETIC
from humanpose_cli.lab.synthetic.options import Camera, SyntheticOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from humanpose_cli.lab.cache.building import BuildResult, PlannedShard
    from humanpose_cli.lab.datasets.preprocess import SourceRequest

_OF_SYNTHETIC, _OF_SETS = "Synthetic people", "Data sets and your own images"


def _source(name: str) -> str:
    """Refuse an unknown source."""
    if name in (SYNTHETIC, *SOURCES):
        return name
    remedy = nearest(name, (SYNTHETIC, *SOURCES))
    if Path(name).exists():
        remedy = f"hpc preprocess images {name if Path(name).is_dir() else 'FOLDER'} reads your own images"
    raise UsageError("SOURCE", "there is no such source", got=name, remedy=remedy)


_SOURCE = argument(
    "SOURCE",
    "synthetic, images (your own), or a data set: coco, iper, deepfashion, up3d, h36m, humaneva, 3dpw, emdb, rich,"
    " densepose or densepose-posetrack.",
    parser=_source,
)
_ROOT = argument("ROOT", "Folder of the data set, as its owner distributes it.")
_OUT = out_option("--out CACHE", "Folder for the cache; with --check, for the report.")
_PAIRS = option("--pairs", "Make pairs of images: one person and background in two poses.", _OF_SYNTHETIC)
_CLIPS = option("--clips LENGTH", "Make clips of LENGTH frames. Default: single images.", _OF_SYNTHETIC)
_DENSEPOSE = option("--densepose PATH", "DensePose output for these images. Default: none.", _OF_SETS)
_MODELS = option(
    "--model FILE", "SMPL model of one gender, used to render labels; may be repeated. Default: none.", _OF_SETS
)
_FIT = option("--fit/--no-fit", "Fit bodies if the data set has none, as hpc fit does.", _OF_SETS)
_BODY = body_option("Body model to fit if the data set has no bodies")
_SPLIT = option(
    "--split NAME", "Split to read; for your own images, the split to assign. Default: all; train.", _OF_SETS
)
_CHECK = option(
    "--check", "Count what the folder holds and write a report that can be shared; build no cache.", _OF_SETS
)
_DETECTIONS = option(
    "--detections", "Also store our detector's output for each person, for models that take it as input."
)
_SHARD_SIZE = option(
    "--shard-size N", "Approximate number of images per cache file. Default: 1/16 of all, 32 to 1024.", min=1
)
_WORKERS = option("--workers N", "Number of processes. Default: one per core.", min=1)
_ITEMS = option(
    "--items FILE|-",
    "List of images, sequences or folders to use, one per line, as --dry-run --json prints them; - is stdin. "
    "Default: all.",
    _OF_SETS,
)
_RESUME = option("--resume/--no-resume", "Keep the finished files of an interrupted run.")


@dataclass(frozen=True)
class GeneratorFlags:
    """Options of synthetic people."""

    count: Annotated[int, of(SyntheticOptions, "count", _OF_SYNTHETIC)] = 1000
    size: Annotated[int, of(SyntheticOptions, "size", _OF_SYNTHETIC)] = 256
    pairs: Annotated[bool, _PAIRS] = False
    clips: Annotated[int | None, _CLIPS] = None
    camera: Annotated[Camera, of(SyntheticOptions, "camera", _OF_SYNTHETIC)] = "still"

    def options(self, seed: int) -> SyntheticOptions:
        """Return the options of the generator.

        Raises:
            UsageError: If the flags exclude each other.
        """
        if self.pairs and self.clips is not None:
            raise UsageError("--pairs", "cannot be combined with --clips")
        values: dict[str, Any] = {"camera": self.camera}
        if self.pairs:
            values["structure"] = "pairs"
        elif self.clips is not None:
            values |= {"structure": "clips", "clip_length": self.clips}
        return SyntheticOptions(self.count, self.size, seed=seed, **values)


@dataclass(frozen=True)
class DatasetFlags:
    """Options of data sets."""

    densepose: Annotated[Path | None, _DENSEPOSE] = None
    model: Annotated[list[Path] | None, _MODELS] = None
    fit: Annotated[bool, _FIT] = True
    body: Annotated[str, _BODY] = "default"
    split: Annotated[str | None, _SPLIT] = None
    items: Annotated[Path | None, _ITEMS] = None
    check: Annotated[bool, _CHECK] = False

    def options(self) -> dict[str, Any]:
        """Return the given options that belong to the source, by name."""
        values = {"densepose": str(self.densepose or ""), "split": self.split or ""}
        return {name: value for name, value in values.items() if value}


@command(
    columns=(
        ("pictures", "images", "Number of images in the cache."),
        ("people", "people", "Number of people in the images."),
        ("files", "files", "Number of cache files."),
        ("kept", "kept", "Number of files that an earlier run had finished."),
    ),
    tunes=True,
    cluster="build",
    usual="--out --count --size --pairs --clips --camera --split --items --model --detections --seed "
    "--workers --dry-run --overwrite",
    examples=(
        "hpc preprocess synthetic --count 2000 --out people",
        "hpc preprocess images photos --set fits=hpc-out/fit --out mine",
        "hpc preprocess 3dpw data/3DPW --model SMPL_MALE.pkl --model SMPL_FEMALE.pkl",
        "hpc preprocess synthetic --pairs --count 2000 --out pairs",
        "hpc preprocess synthetic --clips 100 --camera walk --count 800 --size 960 --set frame_rate=30 --out walks",
        "hpc preprocess images photos --items chosen.txt --dry-run",
        "hpc preprocess images takes --set views=true --split test --out takes.cache",
        "hpc preprocess 3dpw --check data/3DPW",
    ),
)
def preprocess(
    session: Session,
    source: Annotated[str, _SOURCE],
    root: Annotated[Path | None, _ROOT] = None,
    out: Annotated[Path, _OUT] = Path("hpc-out/preprocess"),
    *,
    generator: GeneratorFlags,
    detections: Annotated[bool, _DETECTIONS] = False,
    seed: Seed = 0,
    dataset: DatasetFlags,
    shard_size: Annotated[int | None, _SHARD_SIZE] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    device: Device = "auto",
    shard: ShardOption = None,
    resume: Annotated[bool, _RESUME] = True,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> CommandResult:
    """Make a dataset cache of synthetic people or of a data set.

    hpc train and hpc evaluate read the cache. data/README.md describes the data sets and their options.

    --set sets further options of a source, such as --set companions=0.5, --set every=10, --set fits=FOLDER (for your
    own images) or --set allow_missing=true. Several machines can build one cache with --shard i/N. If your own images
    changed, a rerun writes their files again; --dry-run lists the files of the cache. --device cuda also draws
    synthetic people.

    --check exits with 3 if files are missing or damaged, or a count differs from a published one.
    """
    from humanpose_cli.cli.options import use_threads
    from humanpose_cli.lab.cache.building import build_cache, plan_build
    from humanpose_cli.lab.datasets.preprocess import SourceRequest, open_request

    excluded = DatasetFlags if source == SYNTHETIC else GeneratorFlags
    session.refuse((field.name for field in fields(excluded)), f"has no effect with {source}")
    request = SourceRequest(
        source,
        root,
        models=tuple(dataset.model or ()),
        fit=dataset.fit,
        fit_body=dataset.body,
        detections=detections,
        device=device,
        items=None if dataset.items is None else tuple(read_items(dataset.items)),
    )
    if source == SYNTHETIC:
        request = replace(request, synthetic=session.tune(generator.options(seed)))
    else:
        request = replace(request, options=_source_options(session, source, dataset.options(), seed))
    if dataset.check:
        session.refuse(_BUILD_FLAGS, "has no effect with --check, which builds no cache")
        return _check_folder(session, request, out)
    share = (shard.index, shard.count) if shard else (0, 1)
    start = time.monotonic()
    with session.item(source):
        source_files = open_request(request, session.reporter.warn)
        if dry_run:
            return _planned(
                plan_build(source_files, out, shard_size=shard_size, shard=share, resume=resume, overwrite=overwrite)
            )
        workers = workers or use_threads(None)
        build = build_cache(
            source_files,
            out,
            workers=workers,
            shard_size=shard_size,
            shard=share,
            resume=resume,
            overwrite=overwrite,
            progress=session.reporter.step,
        )
    for failure in build.failures:
        session.reporter.debug(failure.trace)
    result = _result(source, build, time.monotonic() - start)
    for item in result.items:
        session.reporter.item_finished(item)  # reports what failed, and why
    return result


def _source_options(session: Session, source: str, values: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the options of a data set by name, from flags and settings."""
    options_type = SOURCES[source].source_class().options_type
    names = options_type.__dataclass_fields__
    for name in values:
        if name not in names:
            raise UsageError(f"--{name.replace('_', '-')}", f"has no effect with {source}")
    if "seed" in names:
        values = {**values, "seed": seed}
    options = session.tune(options_type(**values))
    return {name: getattr(options, name) for name in names}


def _planned(shards: Sequence[PlannedShard]) -> CommandResult:
    """Make one item for each file of the cache."""

    def item(shard: PlannedShard) -> ItemResult:
        status = Status.SKIPPED if shard.exists else Status.PLANNED
        details = {"pictures": shard.images, "groups": shard.groups}
        return ItemResult(shard.path.name, status, (str(shard.path),), details=details)

    left = [shard for shard in shards if not shard.exists]
    images = sum(shard.images for shard in left)
    message = f"dry run: {len(left)} of {len(shards)} files to write, with {images} images"
    return CommandResult("preprocess", Status.SUCCESS, tuple(map(item, shards)), (message,))


def _result(source: str, build: BuildResult, seconds: float) -> CommandResult:
    """Make one item for the cache, and one for each file that could not be written."""
    from humanpose_cli.lab.cache.schema import shard_name

    numbers = sorted((*build.new_shards, *build.earlier_shards))
    details = {
        "pictures": build.images,
        "people": build.people,
        "files": len(numbers),
        "kept": len(build.earlier_shards),
    }
    # The index names all files; a part of a cache has none yet.
    outputs = [build.index] if build.index is not None else [build.folder / shard_name(number) for number in numbers]
    items = []
    if numbers or not build.failures:
        items.append(ItemResult(source, Status.SUCCESS, tuple(map(str, outputs)), seconds, details=details))
    items += [
        ItemResult(shard_name(f.shard), Status.ERROR, error=f.problem, exit_code=ExitCode(f.exit_code))
        for f in build.failures
    ]
    status, code = combine_status(items)
    return CommandResult("preprocess", status, tuple(items), exit_code=code)


# --check: a data set's folder in numbers

_BUILD_FLAGS = (
    "detections",
    "shard_size",
    "workers",
    "device",
    "shard",
    "resume",
    "overwrite",
    "dry_run",
    "fit",
    "body",
)
_MAX_MESSAGES = 20


def _check_folder(session: Session, request: SourceRequest, out: Path) -> CommandResult:
    """Check a data set, write the report, and show it; exit code 3 if there are problems."""
    from humanpose_cli.lab.datasets.checking import check_dataset
    from humanpose_cli.outputs.atomic import write_json

    is_file = out.suffix.lower() == ".json" and not out.is_dir()
    path = out if is_file else out / f"{request.name}-check.json"
    start = time.monotonic()
    with session.item(request.name):
        check = check_dataset(request, session.reporter.step)
        document = check.document()
        write_json(path, document)
    for note in check.notes:
        session.reporter.warn(note)
    counts = document["counts"]
    details = {"pictures": counts["images"], "people": counts["people"]}
    status = Status.ERROR if check.problems else Status.SUCCESS
    code = ExitCode.BAD_INPUT if check.problems else ExitCode.OK
    error = f"{check.title}: {len(check.problems)} missing or damaged" if check.problems else None
    item = ItemResult(request.name, status, (str(path),), time.monotonic() - start, error, code, details)
    messages = list(check.problems[:_MAX_MESSAGES])
    if len(check.problems) > _MAX_MESSAGES:
        messages.append(f"and {len(check.problems) - _MAX_MESSAGES} more; the report lists them")
    rows = [("all", _counts_text(counts)), *((key, _counts_text(tally)) for key, tally in document["splits"].items())]
    rows += [(f"pairs {key}", f"{count:,}") for key, count in document["pairs"].items()]
    rows.append(("digest", document["digest"]["value"]))
    table = ResultTable(f"{check.title} as found", ("contents", "found"), rows, justify="left")
    return CommandResult("preprocess", status, (item,), tuple(messages), code, {"check": document}, (table,))


def _counts_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "nothing"
