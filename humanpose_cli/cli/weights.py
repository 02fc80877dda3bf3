"""`hpc weights`: list, download and verify weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from humanpose_cli.cli.options import argument
from humanpose_cli.cli.session import Session, command
from humanpose_cli.cli.settings import nearest
from humanpose_cli.core.errors import ExitCode, HpcError, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, Status, combine_status

if TYPE_CHECKING:
    from humanpose_cli.networks.weights import WeightsEntry


Action = Literal["list", "fetch", "verify"]
_FOREIGN = (".pth", ".pt", ".tar")  # endings of checkpoints that torch writes

_ACTION = argument(
    "list|fetch|verify",
    "list: show all; fetch: download from the owner; verify: compare checksums, or read your own file completely.",
)
_NAMES = argument("NAME", "Names from the list, your own files or runs. Default: all.")
_LABELS = {Status.SUCCESS: "here", Status.PARTIAL: "not here", Status.ERROR: "failed"}


@command(
    columns=(
        ("about", "what", "What the weights compute or are used for."),
        ("megabytes", "MB", "Size of the file in MiB."),
        ("held_out", "held out", "Errors on people who were held out from training.", False, False, True),
        ("in_use", "in use", "What reads the weights, and how good that is.", False, False, True),
        ("licence", "licence", "Licence of the owner."),
    ),
    labels=_LABELS,
    examples=("hpc weights list", "hpc weights fetch imagenet-vgg19", "hpc weights list runs/nbf"),
)
def weights(
    session: Session, action: Annotated[Action, _ACTION], names: Annotated[list[str] | None, _NAMES] = None
) -> CommandResult:
    """List, download and verify weights.

    Downloads go to $HPC_WEIGHTS, or to the user's cache.

    hpc train made the shipped weights; their header holds the data set and the errors.
    """
    from humanpose_cli.networks.weights import WEIGHTS

    selected_names = list(names or [])
    if action == "fetch" and not selected_names:
        raise UsageError("NAME", "is missing", expected="the weights to fetch", remedy=nearest("", WEIGHTS))
    if not selected_names:
        installed = [name for name, entry in WEIGHTS.items() if entry.path.is_file()]
        selected_names = list(WEIGHTS) if action == "list" else installed
    items = []
    session.reporter.start(len(selected_names))
    for name in selected_names:
        session.reporter.item_started(name)
        items.append(_item(action, name, WEIGHTS.get(name)))
        session.reporter.item_finished(items[-1])
    session.reporter.finish()
    # Weights that are not here yet are no failure of a list.
    absent = Status.SUCCESS if action == "list" else Status.PARTIAL
    ends = [replace(item, status=absent) if item.status is Status.PARTIAL else item for item in items]
    status, code = combine_status(ends)
    return CommandResult("weights", status, tuple(items), exit_code=code)


def _item(action: Action, name: str, entry: WeightsEntry | None) -> ItemResult:
    from humanpose_cli.networks.weights import WEIGHTS, find_weights, read_tensors, read_weights

    try:
        if entry is None:
            if action == "fetch":
                raise UsageError("NAME", "there are no such weights", got=name, remedy=nearest(name, WEIGHTS))
            path = find_weights(name)
            if action == "verify":  # read completely, because the digest is unknown
                (read_tensors if path.suffix.lower() in _FOREIGN else read_weights)(path)
            return ItemResult(name, Status.SUCCESS, (str(path),), details=_details(path, "your own", ""))
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
    """Read the details in the header of a weights file, if it has one."""
    from humanpose_cli.networks.weights import read_header

    details: dict[str, Any] = {"about": about, "licence": licence, "megabytes": path.stat().st_size / 2**20}
    try:
        header = read_header(path)
    except HpcError:
        return details  # somebody else's
    names = ("iou", "pa_mpjpe_mm", "mpjpe_mm", "ssim_fg", "mask_iou", "endpoint_percent", "sure_percent")
    held_out = ", ".join(f"{name} {header.metrics[name]:.3g}" for name in names if name in header.metrics)
    if header.training.get("judged_on", {}).get("parts from") == "labels":
        held_out += ", with true parts"
    return {
        **details,
        "held_out": held_out,
        "in_use": header.training.get("in_use", ""),
        "model": header.model,
        "training": dict(header.training),
    }
