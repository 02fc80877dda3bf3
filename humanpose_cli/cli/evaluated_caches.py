"""Evaluate dataset caches: select their people and report on each cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from humanpose_cli.cli.options import BatchFlags, Device, Threads, body_option, option, out_option
from humanpose_cli.cli.session import Session
from humanpose_cli.core.device import resolve_device
from humanpose_cli.core.errors import HpcError, InterruptedRun, UsageError
from humanpose_cli.core.result import CommandResult, ResultTable

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
    from humanpose_cli.lab.evaluate.report import Report
    from humanpose_cli.outputs.ledger import Entry

Options = TypeVar("Options")
JointNames = Literal[
    "smpl24", "smpl24-mesh", "smpl24-neutral", "h36m14", "h36m17", "hmr14", "lsp14", "mocap14", "mocap17"
]
PEOPLE_SETTINGS = ("visible", "root", "smplx_to_smpl", "straight_hands")  # fields of `PeopleSelection` without a flag

_DATA = option("--data CACHE", "Dataset cache of hpc preprocess. Required, or several with --items.")
_PROTOCOL = option(
    "--protocol NAME",
    "Protocol of docs/reference/protocols.md, such as 3dpw-camerahmr. Default: the cache's usual one.",
)
_SPLIT = option("--split NAME", "Split to evaluate. Default: test, else validation.")
_LIMIT = option("--limit N", "Maximum number of people (images, pairs, clips), evenly spaced. Default: all.", min=1)
_MODELS = option(
    "--model FILE", "SMPL model of one gender, for labels that are its parameters; may be repeated. Default: none."
)
_JOINTS = option(
    "--joints NAME",
    "Joints to compare: smpl24, smpl24-mesh, smpl24-neutral, h36m14, h36m17, hmr14, lsp14, mocap14 or mocap17. "
    "Default: measured joints, else smpl24.",
)
_JOINT_REGRESSOR = option(
    "--joint-regressor FILE", "SPIN's J_regressor_h36m.npy, or SMPL_to_J19.pkl of HMR 2.0 for hmr14. Default: none."
)
_TRAININGS = "Trainings"
_RUNS = option(
    "--runs FOLDER", "Folder of the trainings, which several tables can share. Default: OUT/runs.", _TRAININGS
)
_PRESET = option("--preset ablation|paper", "Length of the trainings: ablation (minutes) or paper (days).", _TRAININGS)
_SEEDS = option("--seeds N", "Trainings of each network. Default: 1; 2 for warping.", _TRAININGS, min=1)


def ablation_option(text: str) -> Any:
    """Declare `--ablation` with the meaning of its values in a command."""
    return option("--ablation", f"{text} Default: none.", _TRAININGS, show_default=False)


@dataclass(frozen=True)
class CacheFlags(BatchFlags):
    """Options of every sub-command that evaluates caches."""

    data: Annotated[Path | None, _DATA] = None
    protocol: Annotated[str | None, _PROTOCOL] = None
    split: Annotated[str | None, _SPLIT] = None
    limit: Annotated[int | None, _LIMIT] = None
    out: Annotated[Path, out_option("--out FOLDER", "Folder for report.md, report.json and images.")] = Path(
        "hpc-out/evaluate"
    )
    device: Device = "auto"
    threads: Threads = None


@dataclass(frozen=True)
class BodyFlags:
    """Options of the bodies and joints that are compared."""

    body: Annotated[str, body_option("Body model of the predictions")] = "default"
    models: Annotated[list[Path] | None, _MODELS] = None
    joints: Annotated[JointNames | None, _JOINTS] = None
    regressor: Annotated[Path | None, _JOINT_REGRESSOR] = None


def tuned(session: Session, options: Options, without: Sequence[str] = ()) -> Options:
    """Apply the settings that do not select people.

    Args:
        session: The session with the settings.
        options: The options to change.
        without: Names of further settings that belong to other options.
    """
    excluded = {*PEOPLE_SETTINGS, *without}
    return session.tune(options, lambda key: key not in excluded)


@dataclass(frozen=True)
class TrainingFlags:
    """Options of the trainings of an ablation."""

    preset: Annotated[str, _PRESET] = "ablation"
    seeds: Annotated[int | None, _SEEDS] = None
    runs: Annotated[Path | None, _RUNS] = None

    def evaluate(
        self,
        session: Session,
        name: str,
        run: EvaluationRun,
        *,
        seeds: int = 1,
        **measures: Any,
    ) -> Report:
        """Train the variants of a study, and report on them.

        Args:
            session: The session with the settings of the trainings.
            name: Name of the study.
            run: The people to evaluate on.
            seeds: Trainings of each network, if --seeds is not given.
            **measures: Settings that do not belong to the trainings, see `evaluate_study`.
        """
        from humanpose_cli.lab.evaluate.registry import evaluate_study

        def tune(shared: Any) -> Any:
            return tuned(session, shared, tuple(measures))

        return evaluate_study(name, run, self.preset, self.seeds or seeds, tune, self.runs, **measures)


@dataclass(frozen=True)
class Evaluation:
    """A call of a sub-command of `hpc evaluate`.

    Attributes:
        name: Name of the sub-command.
        report: Evaluates one cache. A dry run calls it and stops it at once, so that it makes the same checks.
        options: Everything that determines the figures, except the people; weights and segmenters are inputs.
        bodies: The bodies and joints that are compared.
        files: Further files and folders that are inputs.
        divides: Whether --shard divides the pairs of one cache.
    """

    name: str
    report: Callable[[EvaluationRun], Report]
    options: Mapping[str, Any]
    bodies: BodyFlags = BodyFlags()
    files: Sequence[Path] = ()
    divides: bool = False

    def selection(self, session: Session, flags: CacheFlags, cache: Path) -> PeopleSelection:
        """Select the people of a cache."""
        from humanpose_cli.lab.evaluate.people import PeopleSelection

        selection = PeopleSelection(
            cache,
            flags.protocol or "",
            flags.split or "",
            limit=flags.limit or 0,
            body=self.bodies.body,
            models=tuple(self.bodies.models or ()),
            joints=self.bodies.joints,
            regressor=self.bodies.regressor,
        )
        return session.tune(selection, PEOPLE_SETTINGS.__contains__)


def evaluate_caches(session: Session, flags: CacheFlags, evaluation: Evaluation) -> CommandResult:
    """Report on each cache; several caches are a batch, which a rerun continues."""
    from humanpose_cli.lab.cache.cache import open_cache

    options = evaluation.options
    out = flags.out
    caches = [*([] if flags.data is None else [flags.data]), *map(Path, flags.listed())]
    if not caches:
        raise UsageError("--data", "is missing", expected="a dataset cache of hpc preprocess")
    several = flags.items is not None
    if not several:
        open_cache(caches[0])  # now, for torch takes seconds to import

    from humanpose_cli.batch.run_record import commit_of_checkout
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.cli.render import json_values
    from humanpose_cli.lab.evaluate.people import EvaluationRun
    from humanpose_cli.lab.evaluate.report import read_metrics, write_report
    from humanpose_cli.version import __version__

    device = resolve_device(flags.device)
    part = (0, 1)
    selected = {"protocol": flags.protocol, "split": flags.split, "limit": flags.limit, **asdict(evaluation.bodies)}
    if evaluation.divides and not several and flags.shard is not None:
        part = (flags.shard.index, flags.shard.count)
        out = out / f"part-{flags.shard.file_part}"
        flags = replace(flags, shard=None)
    inputs = [*_weights_files(options.get("weights"), options.get("segmenter"))]
    for entry in evaluation.files:
        inputs += sorted(path for path in (entry, *entry.rglob("*")) if path.is_file())
    items = _items(caches, out, inputs, several=several)
    reports: dict[str, Report] = {}

    def stop() -> bool:
        return flags.dry_run or session.stop.requested

    def work(item: Item) -> Outcome:
        cache, folder = item.payload
        run = EvaluationRun(
            evaluation.selection(session, flags, cache), folder, device, session.reporter.step, stop, part
        )
        try:
            report = evaluation.report(run)
        except InterruptedRun:  # which is no failure of this cache
            raise KeyboardInterrupt from None
        reports[item.name] = report
        document = report.document()
        contents = {key: document[key] for key in ("metrics", "tables")}
        return Outcome(tuple(write_report(report, folder)), {"facts": document["facts"]}, contents)

    def recall(item: Item, entry: Entry) -> dict[str, Any]:
        return {"metrics": read_metrics(item.payload[1])}

    if not several:
        flags = replace(flags, resume=False)
    items = [_checked(item, work) for item in items] if flags.dry_run else items
    session.stop.allow(15.0)
    settings = {
        "what": evaluation.name,
        "selection": selected,
        **options,
        "settings": dict(session.settings),
        "version": __version__,
        "commit": commit_of_checkout(),
    }
    result = flags.run(session, items, work, out, json_values(settings), recall)
    return _with_reports(result, reports, several=several)


def _with_reports(result: CommandResult, reports: Mapping[str, Report], *, several: bool) -> CommandResult:
    """Add the tables, metrics and messages of the reports, with the names of several caches."""
    tables = [
        ResultTable(f"{item}: {t.title}" if several else t.title, t.columns, t.texts(), t.notes)
        for item, report in reports.items()
        for t in report.tables
    ]
    details = result.items[0].details if result.items and not several else {}
    extra = {**result.extra, **{key: details[key] for key in ("metrics", "tables") if key in details}}
    notes = [f"{item}: {line}" if several else line for item, each in reports.items() for line in _weights_notes(each)]
    return replace(result, tables=tuple(tables), extra=extra, messages=(*result.messages, *notes))


def _checked(item: Item, work: Callable[[Item], Outcome]) -> Item:
    """Return an item with the error of its work, which a dry run stops after the checks."""
    with suppress(KeyboardInterrupt):
        try:
            work(item)
        except HpcError as error:
            return replace(item, error=error)
    return item


def _weights_notes(report: Report) -> Iterator[str]:
    """Describe the evaluated weights, and cautions about the figures."""
    from humanpose_cli.lab.evaluate.weights import CHECKPOINT, CHECKPOINTS

    for fact in (CHECKPOINT, CHECKPOINTS):
        if fact in report.facts:
            yield f"{fact}: {report.facts[fact]}"
    yield from report.cautions


def _weights_files(*names: str | None) -> list[Path]:
    """List the files of weights that exist; the evaluation reports missing ones."""
    from humanpose_cli.networks.weights import find_weights

    files: list[Path] = []
    for name in filter(None, names):
        with suppress(HpcError):
            files.append(find_weights(name))
    return files


def _items(caches: Sequence[Path], out: Path, inputs: Sequence[Path], *, several: bool) -> list[Item]:
    """Make an item for each cache; with `several`, each has a folder for its report."""
    # The input is the index of a cache, which holds the digests of its files.
    from humanpose_cli.batch.items import Item
    from humanpose_cli.lab.cache.schema import INDEX_NAME
    from humanpose_cli.lab.evaluate.report import REPORTS

    paths = [Path(os.path.abspath(cache)) for cache in caches]
    root = Path(os.path.commonpath([cache.parent for cache in paths]))
    items = []
    for cache, path in zip(caches, paths, strict=True):
        key = path.relative_to(root).as_posix()
        folder = out / key if several else out
        files = [path / INDEX_NAME if os.path.isdir(path) else path, *inputs]
        outputs = tuple(folder / name for name in REPORTS)
        existing = tuple(filter(os.path.isfile, files))
        items.append(Item(key, existing, str(cache), root, outputs, payload=(cache, folder)))
    return items
