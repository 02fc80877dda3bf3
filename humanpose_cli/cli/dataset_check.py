"""`hpc preprocess NAME --check ROOT`: a data set's folder in numbers, beside those that are published."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from humanpose_cli.cli.session import Session
from humanpose_cli.core.errors import ExitCode, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status

if TYPE_CHECKING:
    from humanpose_cli.lab.datasets.checking import ComparedCount, DatasetCheck, Tally
    from humanpose_cli.lab.datasets.preprocess import SourceRequest

_OF_A_CACHE = ("detections", "shard_size", "workers", "device", "shard", "resume", "overwrite", "dry_run")
_OF_BODIES = ("fit", "body")
_MAX_MESSAGES = 20


def refuse_flags_of_building(session: Session) -> None:
    """Refuse a flag that only a cache is built with. Settings from files may be meant for building."""
    for name in (*_OF_A_CACHE, *_OF_BODIES):
        if name in session.on_command_line:
            flag = "--fit/--no-fit" if name == "fit" else f"--{name.replace('_', '-')}"
            raise UsageError(flag, "is not for --check, which builds no cache", remedy="leave it out")


def report_path(source: str, out: Path) -> Path:
    """Return the path of the report: `out` itself if it names a file of JSON, else a file in that folder."""
    return out if out.suffix.lower() == ".json" and not out.is_dir() else out / f"{source}-check.json"


def check_folder(session: Session, request: SourceRequest, out: Path) -> CommandResult:
    """Check the data set, write the report, and show it. Exit code 3 if something is missing or differs."""
    from humanpose_cli.lab.datasets.checking import check_dataset

    path, start = report_path(request.name, out), time.monotonic()
    with session.item(request.name):
        check = check_dataset(request, session.reporter.step)
        check.write(path)
    for note in check.notes:
        session.reporter.warn(note)
    details = {"pictures": check.labels.total.images, "people": check.labels.total.people}
    status, code, error = Status.SUCCESS, ExitCode.OK, None
    if not check.agrees:
        status, code, error = Status.ERROR, ExitCode.BAD_INPUT, _difference(check)
    item = ItemResult(request.name, status, (str(path),), time.monotonic() - start, error, code, details)
    messages = list(check.problems[:_MAX_MESSAGES])
    if len(check.problems) > _MAX_MESSAGES:
        messages.append(f"and {len(check.problems) - _MAX_MESSAGES} more; the report lists them")
    return CommandResult(
        "preprocess", status, (item,), tuple(messages), code, {"check": check.document()}, tuple(_tables(check))
    )


def _difference(check: DatasetCheck) -> str:
    """Describe in one sentence what is not right."""
    parts = [f"{len(check.problems)} missing or damaged"] if check.problems else []
    if check.differing:
        comparisons = sum(count.agrees is not None for count in check.compared)
        parts.append(f"{len(check.differing)} of {comparisons} counts differ from the published ones")
    return f"{check.title}: {'; '.join(parts)}"


# Tables


def _tables(check: DatasetCheck) -> Iterator[ResultTable]:
    yield ResultTable(f"{check.title} as found", ("contents", "found"), tuple(_contents(check)), justify="left")
    sources = list(dict.fromkeys(count.published.source for count in check.compared))
    yield ResultTable(
        "published counts",
        ("count", "published", "found", "agrees", "source"),
        [
            (_subject(count), f"{count.published.value:,}", f"{count.found:,}", _verdict(count), f"[{number}]")
            for count in check.compared
            for number in [1 + sources.index(count.published.source)]
        ],
        [f"[{number}] {source}" for number, source in enumerate(sources, start=1)]
        or ["none is known that can be compared"],
    )


def _contents(check: DatasetCheck) -> Iterator[tuple[str, str]]:
    labels = check.labels
    yield "groups", f"{check.groups:,}"
    yield "all", _counts(labels.total)
    for key, tally in labels.splits.items():
        yield "/".join(key), _counts(tally)
    for name, tally in labels.parts.items():
        yield name, _counts(tally)
    for key, count in labels.pairs.items():
        yield f"pairs {'/'.join(key)}", f"{count:,}"
    yield "digest", check.digest


def _counts(tally: Tally) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in tally.document().items() if count) or "nothing"


def _subject(count: ComparedCount) -> str:
    published_count = count.published
    where = published_count.part or "/".join(filter(None, (published_count.protocol, published_count.split)))
    return f"{published_count.what.replace('_', ' ')} of {where or 'all'}"


def _verdict(count: ComparedCount) -> str:
    return count.not_compared or ("yes" if count.agrees else "NO")
