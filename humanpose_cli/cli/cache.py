"""`hpc cache`: show, verify or export a dataset cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.options import Seed, Threads, argument, option, out_option
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import ExitCode, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from humanpose_cli.lab.cache.verification import FileReport, Verification


_ACTIONS = ("show", "verify", "index", "export", "videos")
_ARGUMENTS = argument(
    "[show|verify|index|export|videos] CACHE",
    "What to do with the cache's folder or file: show (default), verify all data, rebuild the index, export "
    "images, or export clips as videos with their truth.",
)
_OUT = out_option(
    "--out FILE|FOLDER", "Contact sheet to write with show, or folder for the exported files. Default: none."
)
_COUNT = option("--count N", "Number of images on the contact sheet.", min=1)
_SPLIT = option("--split PROTOCOL/SPLIT", "Use only images of this split. Default: all.")
_LABELS = {Status.SUCCESS: "ok", Status.PARTIAL: "unfinished", Status.ERROR: "damaged"}
_MAX_MESSAGES = 50
_MAX_IN_TABLE = 2


@command(
    columns=(("found", "found", "Contents of the file, or what is damaged."),),
    labels=_LABELS,
    examples=(
        "hpc cache people",
        "hpc cache show people --out sheet.jpg",
        "hpc cache verify people",
        "hpc cache export 3dpw --split 3dpw/test --out images",
        "hpc cache videos walks --out clips",
    ),
)
def cache(
    session: Session,
    arguments: Annotated[list[str], _ARGUMENTS],
    out: Annotated[Path | None, _OUT] = None,
    count: Annotated[int, _COUNT] = 64,
    split: Annotated[str | None, _SPLIT] = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> CommandResult:
    """Show, verify or export a dataset cache.

    verify exits with 3 if anything is damaged, and with 4 if files are still missing.
    """
    action, path = _action_and_path(arguments)
    if action in ("verify", "index") and (out is not None or split is not None):
        raise UsageError("--out" if out is not None else "--split", "applies only to hpc cache show, export and videos")
    if action in ("export", "videos"):
        return _export(session, path, out, split, videos=action == "videos")
    if split is not None and out is None:
        raise UsageError("--split", "has no effect without --out", remedy="add --out sheet.png")
    if action == "verify":
        return _verify(session, path, threads)
    if action == "index":
        return _index(path)
    return _show(path, out, count, split, seed)


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


def _export(session: Session, path: Path, out: Path | None, split: str | None, *, videos: bool) -> CommandResult:
    from humanpose_cli.lab.cache.cache import open_cache
    from humanpose_cli.lab.cache.contact_sheet import pick_rows
    from humanpose_cli.lab.cache.export import export_images, export_videos

    if out is None:
        raise UsageError("--out", "is missing", expected="a folder for the images")
    dataset = open_cache(path)
    rows = pick_rows(dataset, len(dataset), split=split)
    with session.item(str(path)):
        export = export_videos if videos else export_images
        files = export(dataset, rows, out, progress=session.reporter.step, stop=lambda: session.stop.requested)
    outputs = files[::2] if videos else files[:1]
    found = f"{len(outputs)} videos" if videos else f"{len(files) - 1:,} images"
    item = ItemResult(str(path), Status.SUCCESS, tuple(map(str, outputs)), details={"found": found})
    return CommandResult("cache", Status.SUCCESS, (item,))


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


def _index(path: Path) -> CommandResult:
    from humanpose_cli.lab.cache.building import write_index

    summary = write_index(path)
    header = summary.header
    details: dict[str, Any] = {"pictures": header.picture_count, "people": header.person_count}
    text = f"{header.shard:,} of {header.shard_count:,} files, {header.picture_count:,} images"
    details |= {"found": text, "missing": list(summary.missing)}
    status = Status.PARTIAL if summary.missing else Status.SUCCESS
    code = ExitCode.PARTIAL if summary.missing else ExitCode.OK
    item = ItemResult(str(path), status, (str(summary.path),), exit_code=code, details=details)
    messages = ("some files are still missing; the others can be used",) if summary.missing else ()
    return CommandResult("cache", status, (item,), messages, code)


def _show(path: Path, out: Path | None, count: int, split: str | None, seed: int) -> CommandResult:
    from humanpose_cli.lab.cache.cache import open_cache
    from humanpose_cli.lab.cache.contents import contents_lines, describe

    dataset = open_cache(path)
    contents = describe(dataset)
    table = ResultTable(f"dataset cache {path}", ("contents", "found"), tuple(contents_lines(contents)), justify="left")
    items = []
    if out is not None:
        from humanpose_cli.io.images import write_image
        from humanpose_cli.lab.cache.contact_sheet import draw_contact_sheet, pick_rows

        rows = pick_rows(dataset, count, split=split, seed=seed)
        write_image(out, draw_contact_sheet(dataset, rows))
        items.append(ItemResult("sheet", Status.SUCCESS, (str(out),), details={"found": f"{len(rows)} images"}))
    extra = {"contents": contents}
    return CommandResult("cache", Status.SUCCESS, tuple(items), extra=extra, tables=(table,))
