"""`hpc doctor`: what works on this machine, each missing thing with the line that mends it."""

from __future__ import annotations

from humanpose_cli.batch.failures import explain
from humanpose_cli.cli.command import command
from humanpose_cli.cli.session import Session
from humanpose_cli.errors import ExitCode, HpcError
from humanpose_cli.result import CommandResult, ItemResult, Status

_WORDS = {Status.SUCCESS: "ok", Status.PARTIAL: "optional", Status.ERROR: "missing"}


@command(columns=(("found", "found"),), words=_WORDS)
def doctor(session: Session) -> CommandResult:
    """Tell what works on this machine and how to mend the rest.

    Looks at versions, devices, the shipped body and models, video and folders, and runs the engine and the detector
    once. Exit code 0 if everything that is needed is there, else 5.
    """
    from humanpose_cli.cli.doctor_checks import CHECKS

    items, messages = [], []
    session.reporter.start(len(CHECKS))
    for check in CHECKS:
        session.reporter.item_started(check.name)
        found, remedy, status = "", "", Status.SUCCESS
        try:
            found = check.look()
        except Exception as error:  # whatever stands in the way is the finding
            found, remedy = _finding(error, check.remedy)
            status = Status.ERROR if check.needed else Status.PARTIAL
            messages.append(f"{check.name}: {remedy}")
            session.reporter.traceback(error)
        details = {"found": found, "remedy": remedy, "needed": check.needed}
        code = ExitCode.OK if status is Status.SUCCESS else ExitCode.UNAVAILABLE
        item = ItemResult(check.name, status, exit_code=code, details=details)
        session.reporter.item_finished(item)
        items.append(item)
    session.reporter.finish()
    if any(item.status is Status.ERROR for item in items):
        return CommandResult("doctor", Status.ERROR, tuple(items), tuple(messages), ExitCode.UNAVAILABLE)
    return CommandResult("doctor", Status.SUCCESS, tuple(items), tuple(messages))


def _finding(error: Exception, remedy: str) -> tuple[str, str]:
    """What was found instead, and what to do: the error's own remedy where it has one."""
    if isinstance(error, HpcError):
        return f"{error.problem}{', found ' + error.got if error.got else ''}", error.remedy or remedy
    if isinstance(error, ImportError):
        return str(error), remedy
    return explain(error).sentence, remedy
