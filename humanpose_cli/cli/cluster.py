"""Submit a command to a cluster instead of running it (`--cluster slurm`), or print its parts (`--cluster print`)."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from humanpose_cli.cli.options import CLUSTER, option
from humanpose_cli.cli.stdout import write_stdout
from humanpose_cli.core.errors import ExitCode, UsageError
from humanpose_cli.core.result import CommandResult, ItemResult, Status, combine_status

if TYPE_CHECKING:
    from humanpose_cli.batch.slurm import SlurmJobs
    from humanpose_cli.cli.session import Session

_COLLECT = {"array": ("--dry-run", "--json"), "build": ("--json",), "stages": ("--json",), "job": None}
_POLL = 2.0  # seconds between two looks at the jobs

_CLUSTER = option("--cluster", "Run here (local), as Slurm jobs, or print a shell line for each part.", CLUSTER)
_SHARDS = option("--shards N", "Number of parts, one Slurm job or line each.", CLUSTER, min=1)
_CLUSTER_SET = option(
    "--cluster-set KEY=VALUE",
    "Option of sbatch, such as partition=gpu or time=60 (minutes); may be repeated. Default: time=240 and the "
    "cluster's.",
    CLUSTER,
)
_WAIT = option("--wait", "Wait for the jobs, show their progress and report the result.", CLUSTER)


@dataclasses.dataclass(frozen=True)
class ClusterFlags:
    """Options of every command that can be submitted."""

    cluster: Annotated[Literal["local", "slurm", "print"], _CLUSTER] = "local"
    shards: Annotated[int, _SHARDS] = 1
    cluster_set: Annotated[list[str] | None, _CLUSTER_SET] = None
    wait: Annotated[bool, _WAIT] = False


def without_cluster_flags(arguments: Sequence[str]) -> list[str]:
    """Remove the options of `ClusterFlags` from a command line."""
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, equals, _ = argument.partition("=")
        if flag in ("--cluster", "--shards", "--cluster-set"):
            if not equals:
                next(waiting, None)
        elif flag != "--wait":
            rest.append(argument)
    return rest


def check_submission(
    session: Session, flags: ClusterFlags, values: Mapping[str, Any], kind: str
) -> tuple[Path, tuple[str, ...] | None]:
    """Check whether a command can be submitted.

    Args:
        session: The session.
        flags: The options of the submission.
        values: The arguments of the command.
        kind: `CommandInfo.cluster` of the command.

    Returns:
        The output folder, and the flags of the job that collects the results of the parts (None for a single job).

    Raises:
        UsageError: If the command cannot be submitted.
    """
    batch = values.get("flags")
    lists = [value for value in values.values() if isinstance(value, list)]
    if any("-" in value for value in lists) or str(getattr(batch, "items", values.get("items"))) == "-":
        raise UsageError("cluster", "cannot read stdin", remedy="write the list to a file and give it with `items`")
    if (getattr(batch, "shard", None) or values.get("shard")) is not None:
        raise UsageError("shard", f"cannot be combined with `cluster={flags.cluster}`", remedy="use `shards`")
    if getattr(values.get("dataset"), "check", False):
        raise UsageError("check", f"cannot be combined with `cluster={flags.cluster}`", remedy="leave out `cluster`")
    collect = _COLLECT[kind]
    if flags.shards > 1 and collect is None:
        raise UsageError("shards", f"have no effect with hpc {session.command}", remedy="leave it out")
    out = Path(values.get("out") or Path("runs") / str(values.get("model", session.command)))
    if out.suffix and not out.is_dir():
        raise UsageError("out", "must be a folder on a cluster", got=str(out))
    return out, collect


def dry_submission(session: Session, flags: ClusterFlags, values: Mapping[str, Any], kind: str) -> str:
    """Describe the submission for a dry run; arguments and errors as in `check_submission`."""
    _, collect = check_submission(session, flags, values, kind)
    parts = "as one job" if collect is None else f"in {flags.shards} part{'s' if flags.shards > 1 else ''}"
    return f"dry run: it would be {'printed' if flags.cluster == 'print' else 'submitted to Slurm'} {parts}"


def submit_command(
    session: Session, flags: ClusterFlags, values: Mapping[str, Any], arguments: Sequence[str], kind: str
) -> CommandResult:
    """Submit the command to Slurm, and with --wait follow it, or print its parts; see `check_submission`."""
    from humanpose_cli.batch.slurm import SlurmSettings, submit
    from humanpose_cli.cli.settings import read_settings

    out, collect = check_submission(session, flags, values, kind)
    if flags.cluster == "print":
        whole = ["hpc", *without_cluster_flags(arguments)]
        shards = [["--shard", f"{part}/{flags.shards}"] for part in range(flags.shards)] if collect else [[]]
        lines = [shlex.join([*whole, *shard]) for shard in shards]
        if not session.json:
            write_stdout("".join(f"{line}\n" for line in lines))
        return CommandResult(session.command, Status.SUCCESS, extra={"lines": lines})
    line = [sys.executable, "-m", "humanpose_cli", *without_cluster_flags(arguments), "--cluster", "local"]
    line += ["--json"] if collect is None else []  # its report
    settings = SlurmSettings(flags.shards, read_settings(flags.cluster_set or []))
    jobs = submit(f"hpc-{session.command}", line, out, settings, collect)
    ids = " ".join(filter(None, (jobs.work, jobs.collect)))
    parts = f"job {jobs.work} of {flags.shards} parts" if collect is not None else f"job {jobs.work}"
    ledgers = {"array": f"hpc ledger {out}", "stages": f"hpc ledger {out}/cameras", "build": f"hpc cache show {out}"}
    watch = ledgers.get(kind, f"{out}/metrics.jsonl")
    session.reporter.info(f"submitted as {parts}; {watch} shows how far it is, scancel {ids} stops it")
    extra = {"jobs": dataclasses.asdict(jobs)}
    if not flags.wait:
        messages = ("when the jobs have ended, the same command continues",)
        return CommandResult(session.command, Status.SUCCESS, messages=messages, extra=extra)
    try:
        with session.reporter.paused():
            _follow(session, jobs, flags.shards, out)
    except KeyboardInterrupt:
        code = ExitCode(128 + (session.stop.signal_number or signal.SIGINT))
        messages = (f"the jobs go on; scancel {ids} stops them",)
        return CommandResult(session.command, Status.INTERRUPTED, messages=messages, exit_code=code, extra=extra)
    result = dataclasses.replace(_report(session.command, out, collected=collect is not None), extra=extra)
    for item in result.items:
        session.reporter.item_finished(item)  # reports what failed, and why
    return result


def _follow(session: Session, jobs: SlurmJobs, shards: int, out: Path) -> None:
    """Report changes of the progress until the jobs have ended or a signal arrives."""
    from humanpose_cli.outputs.ledger import Ledger

    reported = ""
    while job_states := jobs.states():
        entries = Ledger(out).entries.values()
        outcomes = Counter(entry.outcome for entry in entries if entry.command == session.command)
        states: Counter[str] = Counter()
        for index in range(shards):
            states[job_states.get(f"{jobs.work}_{index}", job_states.get(jobs.work, "ended")).lower()] += 1
        if jobs.collect:
            states[job_states.get(jobs.collect, "ended").lower()] += 1
        text = f"jobs: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}"
        if outcomes["success"] or outcomes["error"]:
            text += f"; {outcomes['success']} items done, {outcomes['error']} failed"
        if text != reported:
            session.reporter.info(text)
            reported = text
        time.sleep(_POLL)


def _report(command: str, out: Path, *, collected: bool) -> CommandResult:
    """Build the result of ended jobs; `collected` if the report comes from a job that collected the parts."""
    from humanpose_cli.batch.slurm import JOB_FOLDER, read_report

    report = read_report(out)
    if not report:
        message = f"the jobs ended without a report; {out / JOB_FOLDER} holds what they printed"
        return CommandResult(command, Status.ERROR, messages=(message,), exit_code=ExitCode.UNAVAILABLE)
    items = tuple(_item(document, collected=collected) for document in report["items"])
    if collected:
        status, code = combine_status(items)
        return CommandResult(command, status, items, exit_code=code)
    code = ExitCode(report["exit_code"])
    return CommandResult(command, Status(report["status"]), items, tuple(report["messages"]), code)


def _item(document: Mapping[str, Any], *, collected: bool) -> ItemResult:
    """Build the result of an item; a dry run has collected the parts: what it would skip is done, the rest is not."""
    status, error, code = Status(document["status"]), document["error"], ExitCode.OK
    if collected and status is Status.SKIPPED:
        status = Status.SUCCESS
    elif collected and status is Status.PLANNED:
        status, error = Status.ERROR, "is not done; the same command continues"
    if collected and status is Status.ERROR:
        code = ExitCode.PARTIAL
    outputs = tuple(document["outputs"])
    return ItemResult(document["input"], status, outputs, document["seconds"], error, code, document)
