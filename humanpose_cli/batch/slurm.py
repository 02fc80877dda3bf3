"""Commands as jobs of Slurm, submitted through submitit.

One array job does the shards, one process each; a job that depends on it writes `report.json`, what is done, failed
and left. A shard goes on with its ledger wherever it is started again: after preemption, after a time-out and after a
dead machine Slurm requeues it, and a process that was killed is started again in its job.

A command without shards is one job, whose own document is the report. On several nodes, or with several tasks a node,
its processes get the variables of a group that torchrun sets.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.core.extras import require_extra
from humanpose_cli.io.atomic import ensure_folder, write_json
from humanpose_cli.io.protected import refuse_input

JOB_FOLDER = "slurm"
"""Where scripts and logs of jobs lie in the output folder."""

REPORT = "report.json"
"""What the collecting job writes into the output folder: the JSON document that it prints."""

_TRIES = 3  # of a process that is killed, before its job fails
_MAX_TIMEOUTS = 100  # after each of which a job is requeued
_DEFAULT_MINUTES = 240
_GRACE = 30.0  # seconds for an orderly stop before a time-out
_WARNING = 90  # seconds before a time-out that Slurm tells of it; of the shortest jobs half of their time
_OF_GROUPS = {"nodes": "nodes", "ntasks-per-node": "ntasks_per_node"}  # options of sbatch → of submitit
_FIRST_PORT, _PORTS = 20000, 20000  # where the first process of a group waits for the others: by the job's number


_running: list[subprocess.Popen[str]] = []
"""The command of this process's job; no field of the job, which is pickled while it runs."""


@dataclass(frozen=True)
class CommandJob:
    """A command line as what submitit calls on the machine.

    Attributes:
        report: The file for the JSON document that it prints, with its exit code, if that is wanted.
    """

    line: tuple[str, ...]
    report: Path | None = None

    def __call__(self) -> int:
        """Run it, and again where it was killed; its exit code. Raises RuntimeError if it is killed every time.

        One of a group is not run again: the others have ended too.
        """
        group = group_environment()
        tries = 1 if group else _TRIES
        for _ in range(tries):
            code = self._run(group)
            if code >= 0:
                return code
        raise RuntimeError(f"{self.line[0]} was killed {tries} times, the last time by signal {-code}")

    def _run(self, group: Mapping[str, str]) -> int:
        # Before a time-out Slurm sends its signal to all processes; it is this one's to answer, and not the command's.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            process = subprocess.Popen(
                self.line,
                stdout=subprocess.PIPE if self.report else None,
                encoding="utf-8",
                env={**os.environ, **group},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _running.append(process)
        try:
            output, _ = process.communicate()
        finally:  # a time-out ends this process by an exception
            _running.remove(process)
            if process.poll() is None:
                process.kill()
        if self.report is not None and process.returncode >= 0 and output.startswith("{"):
            write_json(self.report, {**json.loads(output), "exit_code": process.returncode})
        return process.returncode

    def checkpoint(self) -> Any:
        """Return what submitit runs after a time-out or preemption: the same, which resumes.

        Called while the command runs, before the job is requeued. By then the command has ended in order: a second
        SIGTERM, which Slurm then sends to every process, would make it stop at once.
        """
        from submitit.helpers import DelayedSubmission

        for process in _running:
            process.terminate()
            end = time.monotonic() + _GRACE
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT  # its exit code is for who waits for it
            with suppress(ChildProcessError):
                while os.waitid(os.P_PID, process.pid, flags) is None and time.monotonic() < end:
                    time.sleep(0.05)
        return DelayedSubmission(self)


def group_environment() -> dict[str, str]:
    """Return the variables that torchrun sets for the processes of a group; none for the only task of a job."""
    environment = os.environ
    count, nodes = int(environment.get("SLURM_NTASKS", "1")), int(environment.get("SLURM_NNODES", "1"))
    if count == 1:
        return {}
    return {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count // nodes),
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        # srun runs on the first node, and so does the first task.
        "MASTER_ADDR": environment["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(_FIRST_PORT + int(environment["SLURM_JOB_ID"]) % _PORTS),
    }


@dataclass(frozen=True)
class SlurmJobs:
    """What was submitted.

    Attributes:
        work: Id of the array or job that does the work.
        collect: Id of the job that reports on it; "" without one.
    """

    work: str
    collect: str = ""

    def states(self) -> dict[str, str]:
        """State by id of all its jobs that wait or run, as squeue reports it; empty when they have ended."""
        ids = ",".join(filter(None, (self.work, self.collect)))
        command = ["squeue", "--noheader", "--array", f"--jobs={ids}", "--format=%i %T"]
        process = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)
        if process.returncode:
            if "Invalid job id" in process.stderr:  # forgotten, for it ended long ago
                return {}
            raise UnavailableError("slurm", "does not answer", got=process.stderr.strip(), remedy="see squeue")
        return dict(line.split(None, 1) for line in process.stdout.splitlines() if line.strip())


@dataclass(frozen=True)
class SlurmSettings:
    """How jobs are submitted.

    Attributes:
        shards: Jobs of the array; 1 is a single job.
        options: Of sbatch, by their long names: {"partition": "gpu", "time": "60"}; time in minutes.
    """

    shards: int = 1
    options: Mapping[str, str] = field(default_factory=dict)


def submit(
    name: str, line: Sequence[str], out: Path, settings: SlurmSettings, collect: Sequence[str] | None
) -> SlurmJobs:
    """Submit a command.

    UnavailableError without Slurm or submitit, or if Slurm refuses; UsageError for options that it does not know.

    Args:
        name: Of the jobs.
        line: The command line, without what concerns the cluster.
        out: Its output folder.
        collect: What the line ends with in the job that reports on all shards; None for a command without shards,
            which prints its own JSON document.
    """
    folder = ensure_folder(out / JOB_FOLDER)
    folder.chmod(0o700)  # submitit's pickles in it are run
    executor = _executor(folder, name, settings)
    refuse_input(out / REPORT)
    (out / REPORT).unlink(missing_ok=True)
    if collect is None:
        (job,) = _submitted(executor, [CommandJob(tuple(line), out / REPORT)])
        return SlurmJobs(job.split("_")[0])
    if groups := sorted(_OF_GROUPS.keys() & _sbatch_options(settings)):
        raise UsageError("cluster_set", f"{groups[0]} is not for items, of which every part is one process")
    shards = [CommandJob((*line, "--shard", f"{index}/{settings.shards}")) for index in range(settings.shards)]
    work = _submitted(executor, shards)[0].split("_")[0]
    executor.update_parameters(dependency=f"afterany:{work}", job_name=f"{name}-report")
    report = CommandJob((*line, *collect), out / REPORT)
    return SlurmJobs(work, _submitted(executor, [report])[0])


def _executor(folder: Path, name: str, settings: SlurmSettings) -> Any:
    require_extra("slurm")
    import submitit

    if shutil.which("sbatch") is None:
        remedy = "run this where Slurm's jobs are submitted, or start the parts with `shard`"
        raise UnavailableError("slurm", "is not on this machine", expected="sbatch", remedy=remedy)
    options = _sbatch_options(settings)
    minutes = options.pop("time", str(_DEFAULT_MINUTES))
    if not minutes.isdigit():
        raise UsageError("cluster_set", "has a wrong time", expected="minutes, such as time=240", got=minutes)
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=_MAX_TIMEOUTS)
    executor.update_parameters(
        job_name=name,
        time=int(minutes),
        signal_delay_s=min(_WARNING, 30 * int(minutes)),
        array_parallelism=settings.shards,
        **{name: int(options.pop(key)) for key, name in _OF_GROUPS.items() if options.get(key, "").isdigit()},
        additional_parameters={"requeue": True, **options},
    )
    return executor


def _sbatch_options(settings: SlurmSettings) -> dict[str, str]:
    return {key.replace("_", "-"): value for key, value in settings.options.items()}


def _submitted(executor: Any, jobs: Sequence[CommandJob]) -> list[str]:
    """Parse the ids of the submitted jobs, of an array with the numbers in it."""
    import submitit

    try:
        with executor.batch():
            submissions = [executor.submit(job) for job in jobs]
        return [str(job.job_id) for job in submissions]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
        reason = " ".join(str(error).split())[-300:]
        raise UnavailableError("slurm", "refuses the job", got=reason, remedy="see sbatch's options") from error


def read_report(out: Path) -> dict[str, Any]:
    """Read the document of the collecting job; empty while there is none."""
    try:
        return dict(json.loads((out / REPORT).read_text("utf-8")))
    except (OSError, ValueError):
        return {}
