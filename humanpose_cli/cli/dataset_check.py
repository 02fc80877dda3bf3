"""`hpc preprocess NAME --check ROOT`: a data set's folder in numbers, counted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from humanpose_cli.cli.session import Session
from humanpose_cli.core.errors import ExitCode, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status

if TYPE_CHECKING:
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
    """Check the data set, write the report, and show it. Exit code 3 if something is missing or damaged."""
    from humanpose_cli.io.atomic import write_json
    from humanpose_cli.lab.datasets.checking import check_dataset

    path, start = report_path(request.name, out), time.monotonic()
    with session.item(request.name):
        check = check_dataset(request, session.reporter.step)
        document = check.document()
        write_json(path, document)
    for note in check.notes:
        session.reporter.warn(note)
    counts = document["counts"]
    details = {"pictures": counts["images"], "people": counts["people"]}
    status, code, error = Status.SUCCESS, ExitCode.OK, None
    if check.problems:
        status, code = Status.ERROR, ExitCode.BAD_INPUT
        error = f"{check.title}: {len(check.problems)} missing or damaged"
    item = ItemResult(request.name, status, (str(path),), time.monotonic() - start, error, code, details)
    messages = list(check.problems[:_MAX_MESSAGES])
    if len(check.problems) > _MAX_MESSAGES:
        messages.append(f"and {len(check.problems) - _MAX_MESSAGES} more; the report lists them")
    rows = [("all", _text(counts)), *((key, _text(tally)) for key, tally in document["splits"].items())]
    rows += [(f"pairs {key}", f"{count:,}") for key, count in document["pairs"].items()]
    rows.append(("digest", document["digest"]["value"]))
    table = ResultTable(f"{check.title} as found", ("contents", "found"), rows, justify="left")
    return CommandResult("preprocess", status, (item,), tuple(messages), code, {"check": document}, (table,))


def _text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "nothing"
