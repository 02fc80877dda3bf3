"""Commands as jobs of Slurm, submitted through submitit.

One array job does the shards, one process each; a job that depends on it writes `report.json`, what is done, failed
and left. A shard goes on with its ledger wherever it is started again: after preemption, after a time-out and after a
dead machine Slurm requeues it, and a process that was killed is started again in its job.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.io.atomic import ensure_folder, write_text

JOB_FOLDER = "slurm"
"""Where scripts and logs of jobs lie in the output folder."""

REPORT = "report.json"
"""What the collecting job writes into the output folder: the JSON document that it prints."""

_TRIES = 3  # of a process that is killed, before its job fails
_MOST_TIMEOUTS = 100  # after each of which a job is requeued
_DEFAULT_MINUTES = 240
_GRACE = 15.0  # seconds for an orderly stop before a time-out


@dataclass(frozen=True)
class CommandJob:
    """A command line as what submitit calls on the machine.

    report  the file for what it prints, if that is wanted
    """

    line: tuple[str, ...]
    report: Path | None = None

    def __call__(self) -> int:
        """Run it, and again where it was killed; its exit code. RuntimeError if it is killed every time."""
        for _ in range(_TRIES):
            code = self._run()
            if code >= 0:
                return code
        raise RuntimeError(f"{self.line[0]} was killed {_TRIES} times, the last time by signal {-code}")

    def _run(self) -> int:
        process = subprocess.Popen(self.line, stdout=subprocess.PIPE if self.report else None, text=True)
        try:
            printed, _ = process.communicate()
        finally:  # a time-out ends this process by an exception
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()
        if self.report is not None and process.returncode >= 0:
            write_text(self.report, printed)
        return process.returncode

    def checkpoint(self) -> Any:
        """What submitit is to run after a time-out or preemption: the same, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class SlurmJobs:
    """What was submitted.

    work     id of the array or job that does the work
    collect  id of the job that reports on it; "" without one
    """

    work: str
    collect: str = ""

    def states(self) -> dict[str, str]:
        """State by id of all its jobs that wait or run, as squeue tells it; empty when they have ended."""
        ids = ",".join(filter(None, (self.work, self.collect)))
        command = ["squeue", "--noheader", "--array", f"--jobs={ids}", "--format=%i %T"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            if "Invalid job id" in done.stderr:  # forgotten, for it ended long ago
                return {}
            raise UnavailableError("slurm", "does not answer", got=done.stderr.strip(), remedy="see squeue")
        return dict(line.split(None, 1) for line in done.stdout.splitlines() if line.strip())


@dataclass(frozen=True)
class SlurmSettings:
    """How jobs are submitted.

    shards   jobs of the array; 1 is a single job
    options  of sbatch, by their long names: {"partition": "gpu", "time": "60"}; time in minutes
    """

    shards: int = 1
    options: Mapping[str, str] = field(default_factory=dict)


def submit(
    name: str, line: Sequence[str], out: Path, settings: SlurmSettings, collect: Sequence[str] | None
) -> SlurmJobs:
    """Submit a command.

    name     of the jobs
    line     the command line, without what concerns the cluster
    out      its output folder
    collect  what the line ends with in the job that reports on all shards; None for a command without shards
    UnavailableError without Slurm or submitit, or if Slurm refuses; UsageError for options that it does not know.
    """
    folder = ensure_folder(out / JOB_FOLDER)
    folder.chmod(0o700)  # submitit's pickles in it are run
    executor = _executor(folder, name, settings)
    (out / REPORT).unlink(missing_ok=True)
    if collect is None:
        (job,) = _submitted(executor, [CommandJob(tuple(line))])
        return SlurmJobs(job.split("_")[0])
    shards = [CommandJob((*line, "--shard", f"{index}/{settings.shards}")) for index in range(settings.shards)]
    work = _submitted(executor, shards)[0].split("_")[0]
    executor.update_parameters(dependency=f"afterany:{work}", job_name=f"{name}-report")
    report = CommandJob((*line, *collect), out / REPORT)
    return SlurmJobs(work, _submitted(executor, [report])[0])


def _executor(folder: Path, name: str, settings: SlurmSettings) -> Any:
    try:
        import submitit
    except ImportError:
        remedy = "pip install 'humanpose-cli[slurm]'"
        raise UnavailableError("submitit", "is not installed", remedy=remedy) from None
    if shutil.which("sbatch") is None:
        remedy = "run this where Slurm's jobs are submitted, or start the parts with `shard`"
        raise UnavailableError("slurm", "is not on this machine", expected="sbatch", remedy=remedy)
    options = {key.replace("_", "-"): value for key, value in settings.options.items()}
    minutes = options.pop("time", str(_DEFAULT_MINUTES))
    if not minutes.isdigit():
        raise UsageError("cluster_set", "has a wrong time", expected="minutes, such as time=240", got=minutes)
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=_MOST_TIMEOUTS)
    executor.update_parameters(
        job_name=name,
        time=int(minutes),
        array_parallelism=settings.shards,
        additional_parameters={"requeue": True, **options},
    )
    return executor


def _submitted(executor: Any, jobs: Sequence[CommandJob]) -> list[str]:
    """Ids of the submitted jobs, of an array with the numbers in it."""
    import submitit

    try:
        with executor.batch():
            submitted = [executor.submit(job) for job in jobs]
        return [str(job.job_id) for job in submitted]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
        reason = " ".join(str(error).split())[-300:]
        raise UnavailableError("slurm", "refuses the job", got=reason, remedy="see sbatch's options") from error


def read_report(out: Path) -> dict[str, Any]:
    """The document of the collecting job; empty while there is none."""
    try:
        return dict(json.loads((out / REPORT).read_text("utf-8")))
    except (OSError, ValueError):
        return {}
