"""`hpc doctor`: what works on this machine."""

from __future__ import annotations

from humanpose_cli.cli.command import command
from humanpose_cli.cli.session import Session
from humanpose_cli.result import CommandResult, ItemResult, Status


@command(columns=(("found", "found"),))
def doctor(session: Session) -> CommandResult:
    """Tell what works on this machine and how to mend the rest."""
    return CommandResult("doctor", Status.SUCCESS, (ItemResult("python", Status.SUCCESS, details={"found": "3"}),))
