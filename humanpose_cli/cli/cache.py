"""`hpc cache`: show or verify a dataset cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.options import Threads, argument
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import ExitCode, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from humanpose_cli.lab.cache.verification import FileReport, Verification


_ACTIONS = ("show", "verify")
_ARGUMENTS = argument(
    "[show|verify] CACHE",
    "What to do with the cache's folder or file: show (default) its contents, or verify all data.",
)
_LABELS = {Status.SUCCESS: "ok", Status.PARTIAL: "unfinished", Status.ERROR: "damaged"}
_MAX_MESSAGES = 50
_MAX_IN_TABLE = 2


@command(
    columns=(("found", "found", "Contents of the file, or what is damaged."),),
    labels=_LABELS,
    examples=(
        "hpc cache people",
        "hpc cache verify people",
    ),
)
def cache(
    session: Session,
    arguments: Annotated[list[str], _ARGUMENTS],
    threads: Threads = None,
) -> CommandResult:
    """Show or verify a dataset cache.

    verify exits with 3 if anything is damaged, and with 4 if files are still missing.
    """
    action, path = _action_and_path(arguments)
    return _verify(session, path, threads) if action == "verify" else _show(path)


def _action_and_path(arguments: Sequence[str]) -> tuple[str, Path]:
    """Split the arguments into an action and a cache; without an action the cache is shown."""
    if len(arguments) == 1 and arguments[0] not in _ACTIONS:
        return "show", Path(arguments[0])
    if len(arguments) == 1:
        raise UsageError("CACHE", "is missing", expected=f"hpc cache {arguments[0]} CACHE")
    if len(arguments) > 2:
        raise UsageError(arguments[2], "is one argument too many", expected=f"hpc cache {arguments[0]} CACHE")
    if arguments[0] not in _ACTIONS:
        raise UsageError(arguments[0], "there is no such action", expected=", ".join(_ACTIONS))
    return arguments[0], Path(arguments[1])


def _verify(session: Session, path: Path, threads: int | None) -> CommandResult:
    from humanpose_cli.cli.options import use_threads
    from humanpose_cli.lab.cache.verification import verify_cache

    with session.item(str(path)):
        verification = verify_cache(path, threads=use_threads(threads), progress=session.reporter.step)
    items = tuple(_file_item(file) for file in verification.files)
    messages = tuple(f"{file.path}: {problem}" for file in verification.files for problem in file.problems)
    if len(messages) > _MAX_MESSAGES:
        messages = (*messages[:_MAX_MESSAGES], f"and {len(messages) - _MAX_MESSAGES} more; --json lists all")
    if verification.damaged:
        return CommandResult("cache", Status.ERROR, items, messages, ExitCode.BAD_INPUT)
    if verification.missing:
        return CommandResult("cache", Status.PARTIAL, items, (_missing(verification),), ExitCode.PARTIAL)
    return CommandResult("cache", Status.SUCCESS, items)


def _file_item(file: FileReport) -> ItemResult:
    problems = list(file.problems)
    more = f"; and {len(problems) - _MAX_IN_TABLE} more" if len(problems) > _MAX_IN_TABLE else ""
    counts = f"{file.images:,} images, {file.people:,} people"
    text = "; ".join(problems[:_MAX_IN_TABLE]) + more or counts
    details: dict[str, Any] = {"pictures": file.images, "people": file.people, "found": text, "problems": problems}
    if problems:
        return ItemResult(
            str(file.path), Status.ERROR, error=problems[0], exit_code=ExitCode.BAD_INPUT, details=details
        )
    return ItemResult(str(file.path), Status.SUCCESS, details=details)


def _missing(verification: Verification) -> str:
    numbers = ", ".join(str(number) for number in verification.missing[:10])
    more = " …" if len(verification.missing) > 10 else ""
    return f"missing files: {numbers}{more}; hpc preprocess with the same options makes them"


def _show(path: Path) -> CommandResult:
    from humanpose_cli.lab.cache.cache import open_cache
    from humanpose_cli.lab.cache.contents import contents_lines, describe

    dataset = open_cache(path)
    contents = describe(dataset)
    table = ResultTable(f"dataset cache {path}", ("contents", "found"), tuple(contents_lines(contents)), justify="left")
    return CommandResult("cache", Status.SUCCESS, (), extra={"contents": contents}, tables=(table,))
