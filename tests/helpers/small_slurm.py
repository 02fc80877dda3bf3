"""A Slurm of one machine for tests: Debian's slurmctld, slurmd and munge, started by root in a folder of their own.

The machine plays three nodes. On the third, jobs of the partition `high` preempt those of `low`, which are requeued.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from helpers.patience import PATIENCE

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue")
NODES = ("n1", "n2", "n3")
GRACE = 5.0  # seconds before a program is killed that was told to end

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmctldPort={controller_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000
ReturnToService=2
KillWait=5
MinJobAge=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first_port} CPUs=8 RealMemory=1000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second_port} CPUs=8 RealMemory=1000 State=UNKNOWN
NodeName=n3 NodeHostname={host} NodeAddr=127.0.0.1 Port={third_port} CPUs=8 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE PriorityTier=5 PreemptMode=OFF State=UP
PartitionName=low Nodes=n3 PriorityTier=1 State=UP
PartitionName=high Nodes=n3 PriorityTier=9 State=UP
"""


def missing() -> str:
    """Why Slurm cannot be started here; "" where it can."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"  # not all users look there
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian's slurmctld, slurmd, slurm-client and munge)"
    return "" if os.geteuid() == 0 else "only root can start Slurm's programs"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_slurm(folder: Path) -> Iterator[None]:
    """Slurm, found by its commands through SLURM_CONF, until the context ends."""
    folder.chmod(0o755)
    for name in ("state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    ports = {f"{name}_port": free_port() for name in ("controller", "first", "second", "third")}
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host, **ports))
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.sock", f"--key-file={folder}/key"]
    munge += [f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(configuration)
    with ExitStack() as stack:
        for command in (munge, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in NODES)):
            stack.enter_context(program(command))
            time.sleep(0.3)
        try:
            wait_for_nodes()
            yield
        finally:
            end_jobs()
            os.environ.pop("SLURM_CONF")
            if before is not None:
                os.environ["SLURM_CONF"] = before


@contextmanager
def program(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_jobs() -> None:
    """Kill what a failed test has left, so that no process stays."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        listed = subprocess.run(["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=False)
        if not listed.stdout.strip():
            return
        subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
        subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], check=False, capture_output=True)
        time.sleep(0.3)


def wait_for_nodes() -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        listing = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--partition=all,low", "--format=%T"],
            capture_output=True,
            text=True,
            check=False,
        )
        if listing.stdout.split() == ["idle"] * len(NODES):
            return
        time.sleep(0.1)
    raise TimeoutError(f"Slurm's nodes are {listing.stdout.strip() or listing.stderr.strip()} after {PATIENCE:.0f} s")
