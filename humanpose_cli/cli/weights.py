"""`hpc weights`: which weights there are, fetched from their owners and checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from humanpose_cli.cli.command import command
from humanpose_cli.cli.options import nearest
from humanpose_cli.cli.session import Session
from humanpose_cli.core.errors import ExitCode, HpcError, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, Status, combine_status

if TYPE_CHECKING:
    from humanpose_cli.networks.weights import WeightsEntry

__all__ = ["weights"]


Action = Literal["list", "fetch", "verify"]

_ACTION = typer.Argument(
    metavar="list|fetch|verify",
    help="list: all there are. fetch: download from the owner. verify: compare with the digests.",
    show_default=False,
)
_NAMES = typer.Argument(
    metavar="[NAME]",
    help="Names of the list; list and verify also take files and runs of one's own. Default: all that are here.",
    show_default=False,
)
_WORDS = {Status.SUCCESS: "here", Status.PARTIAL: "not here", Status.ERROR: "failed"}


@command(
    columns=(("about", "what"), ("megabytes", "MB"), ("held_out", "held out"), ("licence", "licence")), words=_WORDS
)
def weights(
    session: Session, action: Annotated[Action, _ACTION], names: Annotated[list[str] | None, _NAMES] = None
) -> CommandResult:
    """List, fetch and verify weights.

    Shipped ones were trained by hpc train; their header says on what and how good they are. Downloads go to
    $HPC_WEIGHTS, or to the user's cache.
    """
    from humanpose_cli.networks.weights import WEIGHTS

    chosen = list(names or [])
    if action == "fetch" and not chosen:
        raise UsageError("NAME", "is missing", expected="what to fetch", remedy=nearest("", WEIGHTS))
    if not chosen:
        here = [name for name, entry in WEIGHTS.items() if entry.path.is_file()]
        chosen = list(WEIGHTS) if action == "list" else here
    items = []
    session.reporter.start(len(chosen))
    for name in chosen:
        session.reporter.item_started(name)
        items.append(_item(action, name, WEIGHTS.get(name)))
        session.reporter.item_finished(items[-1])
    session.reporter.finish()
    # What is not here yet is as good in a list as what is.
    listed = action == "list"
    told = [
        replace(item, status=Status.SUCCESS) if listed and item.status is Status.PARTIAL else item for item in items
    ]
    status, code = combine_status(told)
    return CommandResult("weights", status, tuple(items), exit_code=code)


def _item(action: Action, name: str, entry: WeightsEntry | None) -> ItemResult:
    from humanpose_cli.networks.weights import WEIGHTS, find_weights

    try:
        if entry is None:
            if action == "fetch":
                raise UsageError("NAME", "there are no such weights", got=name, remedy=nearest(name, WEIGHTS))
            path = find_weights(name)
            return ItemResult(name, Status.SUCCESS, (str(path),), details=_details(path, "one's own", ""))
        if action == "fetch":
            entry.fetch()
        elif action == "verify":
            entry.verify()
        if not entry.path.is_file():
            return ItemResult(name, Status.PARTIAL, details={"about": entry.about, "licence": entry.licence})
        return ItemResult(
            name, Status.SUCCESS, (str(entry.path),), details=_details(entry.path, entry.about, entry.licence)
        )
    except HpcError as error:
        return ItemResult(name, Status.ERROR, error=str(error), exit_code=ExitCode(error.exit_code))


def _details(path: Path, about: str, licence: str) -> dict[str, Any]:
    """What a file says about itself, where it has a header of ours."""
    from humanpose_cli.networks.weights import read_header

    details: dict[str, Any] = {"about": about, "licence": licence, "megabytes": path.stat().st_size / 2**20}
    try:
        header = read_header(path)
    except HpcError:
        return details  # somebody else's
    shown = {
        name: header.metrics[name]
        for name in ("iou", "pa_mpjpe_mm", "mpjpe_mm", "ssim_fg", "mask_iou")
        if name in header.metrics
    }
    told = ", ".join(f"{name} {value:.3g}" for name, value in shown.items())
    return {**details, "held_out": told, "model": header.model, "training": dict(header.training)}
