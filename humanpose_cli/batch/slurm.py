"""Commands as jobs of Slurm, submitted through submitit.

One array job does the shards, one process each; a job that depends on it writes `report.json` with finished, failed
and remaining items. A restarted shard continues with its ledger: Slurm requeues it after preemption, a time-out or a
machine failure, and a killed process is started again in its job.

A command without shards is one job; its JSON document is the report. On several nodes, or with several tasks a node,
its processes get the variables that torchrun sets.
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

from humanpose_cli.core.errors import HpcError, UnavailableError, UsageError
from humanpose_cli.core.extras import require_extra
from humanpose_cli.files.text_files import read_json_object
from humanpose_cli.outputs.atomic import ensure_folder, write_json
from humanpose_cli.outputs.ledger import Ledger, claim, recorded

JOB_FOLDER = "slurm"
"""Folder of scripts and logs of jobs in the output folder."""

REPORT = "report.json"
"""File in the output folder with the JSON document that the collecting job prints."""

_TRIES = 3  # starts of a process that is killed, before its job fails
_MAX_TIMEOUTS = 100  # a job is requeued after each time-out
_DEFAULT_MINUTES = 240
_GRACE = 30.0  # seconds for an orderly stop before a time-out
_WARNING = 90  # seconds before a time-out when Slurm sends its signal; at most half of a job's time
_GROUP_OPTIONS = {"nodes": "nodes", "ntasks-per-node": "ntasks_per_node"}  # options of sbatch → of submitit
_FIRST_PORT, _PORTS = 20000, 20000  # the first process of a group listens on a port by the job's number


_running: list[subprocess.Popen[str]] = []
"""The command of this process's job; not a field of the job, which is pickled while it runs."""


@dataclass(frozen=True)
class CommandJob:
    """A command line that submitit calls on the machine of the job.

    Attributes:
        line: The command line.
        report: The file for the JSON document that it prints, with its exit code; None for no file.
    """

    line: tuple[str, ...]
    report: Path | None = None

    def __call__(self) -> int:
        """Run the command, again if it was killed, and return its exit code.

        A process of a group is not run again, because the other processes have ended too. Raises RuntimeError if the
        command is killed every time.
        """
        group = group_environment()
        tries = 1 if group else _TRIES
        for _ in range(tries):
            code = self._run(group)
            if code >= 0:
                return code
        raise RuntimeError(f"{self.line[0]} was killed {tries} times, the last time by signal {-code}")

    def _run(self, group: Mapping[str, str]) -> int:
        # Before a time-out Slurm sends its signal to all processes; this process handles it, not the command.
        old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            stdout = subprocess.PIPE if self.report else None
            process = subprocess.Popen(self.line, stdout=stdout, encoding="utf-8", env={**os.environ, **group})
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        _running.append(process)
        try:
            output, _ = process.communicate()
        finally:  # a time-out raises an exception here
            _running.remove(process)
            if process.poll() is None:
                process.kill()
        if self.report is not None and process.returncode >= 0 and output.startswith("{"):
            with recorded(Ledger(self.report.parent)):
                write_json(self.report, {**json.loads(output), "exit_code": process.returncode})
        return process.returncode

    def checkpoint(self) -> Any:
        """Return the job that submitit runs after a time-out or preemption: this one, which resumes.

        It is called while the command runs, before the job is requeued, and ends the command first: a second SIGTERM,
        which Slurm then sends to every process, would stop it at once.
        """
        from submitit.helpers import DelayedSubmission

        for process in _running:
            process.terminate()
            end = time.monotonic() + _GRACE
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT  # leaves the exit code to `communicate`
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
    """The submitted jobs.

    Attributes:
        work: Id of the array or job that does the work.
        collect: Id of the job that writes the report; "" if there is none.
    """

    work: str
    collect: str = ""

    def states(self) -> dict[str, str]:
        """Return squeue's states of all waiting and running jobs by id; empty when they have ended."""
        ids = ",".join(filter(None, (self.work, self.collect)))
        command = ["squeue", "--noheader", "--array", f"--jobs={ids}", "--format=%i %T"]
        process = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)
        if process.returncode:
            if "Invalid job id" in process.stderr:  # it ended long ago
                return {}
            raise UnavailableError("slurm", "does not answer", got=process.stderr.strip(), remedy="see squeue")
        return dict(line.split(None, 1) for line in process.stdout.splitlines() if line.strip())


@dataclass(frozen=True)
class SlurmSettings:
    """Settings of jobs.

    Attributes:
        shards: Number of jobs in the array; 1 is a single job.
        options: sbatch's options by their long names, such as {"partition": "gpu", "time": "60"}; time in minutes.
    """

    shards: int = 1
    options: Mapping[str, str] = field(default_factory=dict)


def submit(
    name: str, line: Sequence[str], out: Path, settings: SlurmSettings, collect: Sequence[str] | None
) -> SlurmJobs:
    """Submit a command.

    Args:
        name: Name of the jobs.
        line: The command line without options of the cluster.
        out: The output folder.
        settings: Settings of the jobs.
        collect: Arguments added to the line for the job that reports on all shards; None for a command without shards,
            which prints its JSON document itself.

    Returns:
        The jobs.

    Raises:
        UnavailableError: If Slurm or submitit is missing, or if Slurm refuses the job.
        UsageError: If options cannot be used.
    """
    folder = ensure_folder(out / JOB_FOLDER)
    folder.chmod(0o700)  # submitit's pickles in it are run
    executor = _executor(folder, name, settings)
    with recorded(Ledger(out, overwrite="--overwrite" in line or None)):
        claim(out / REPORT)
    (out / REPORT).unlink(missing_ok=True)
    if collect is None:
        (job,) = _submitted(executor, [CommandJob(tuple(line), out / REPORT)])
        return SlurmJobs(job.split("_")[0])
    if groups := sorted(_GROUP_OPTIONS.keys() & _sbatch_options(settings)):
        raise UsageError("cluster_set", f"{groups[0]} is not for items: each part is one process")
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
        **{name: int(options.pop(key)) for key, name in _GROUP_OPTIONS.items() if options.get(key, "").isdigit()},
        additional_parameters={"requeue": True, **options},
    )
    return executor


def _sbatch_options(settings: SlurmSettings) -> dict[str, str]:
    return {key.replace("_", "-"): value for key, value in settings.options.items()}


def _submitted(executor: Any, jobs: Sequence[CommandJob]) -> list[str]:
    """Submit jobs and return their ids."""
    import submitit

    try:
        with executor.batch():
            submissions = [executor.submit(job) for job in jobs]
        return [str(job.job_id) for job in submissions]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
        reason = " ".join(str(error).split())[-300:]
        raise UnavailableError("slurm", "refuses the job", got=reason, remedy="see sbatch's options") from error


def read_report(out: Path) -> dict[str, Any]:
    """Read the collecting job's document; empty if there is none yet."""
    try:
        return read_json_object(out / REPORT)
    except HpcError:
        return {}
