"""Commands as jobs of a real Slurm on this machine: arrays finish, killed parts are done again, stopped ones resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import linear_recipe, small_slurm
from helpers.errors import raises
from helpers.patience import PATIENCE, wait_until

from humanpose_cli.batch import slurm as slurm_jobs
from humanpose_cli.batch.slurm import CommandJob, SlurmJobs, SlurmSettings, read_report, submit
from humanpose_cli.cli.cluster import without_cluster_flags
from humanpose_cli.core.errors import UnavailableError, UsageError
from humanpose_cli.lab.train.trainer import BEST
from humanpose_cli.networks.weights import read_weights

pytest.importorskip("submitit", reason="submitit is not installed (extra slurm)")


# A batch of cheap items in place of hpc: what is tested is who runs it.
BATCH = """
import os, signal, sys, time
from pathlib import Path
from humanpose_cli.batch.items import Item, Shard
from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.batch.signals import StopSignals
from humanpose_cli.cli.render import json_text
from humanpose_cli.outputs.atomic import write_text

folder, manner = Path(sys.argv[1]), sys.argv[2]
shard = Shard.parse(sys.argv[sys.argv.index("--shard") + 1]) if "--shard" in sys.argv else Shard()

def worker(item):
    mark = folder / f"killed-{shard.file_part}"
    slow = manner == "slow" or (manner == "slow-once" and "SLURM_RESTART_COUNT" not in os.environ)
    time.sleep(PATIENCE if slow and item.key > "b" else 0.02)
    if manner == "killed" and item.key > "b" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    output = folder / "out" / f"{item.key}.txt"
    write_text(output, item.key)
    return Outcome((output,))

items = [Item(f"{letter}{number}", ()) for letter in "abcd" for number in range(3)]
batch = Batch("fit", folder / "out", shard=shard, dry_run="--dry-run" in sys.argv)
with StopSignals() as stop:
    result = run_items(items, worker, batch, stop=stop)
print(json_text(result))
sys.exit(result.exit_code)
"""


@pytest.fixture(scope="module", autouse=True)
def tested_package_on_path() -> Iterator[None]:
    """Jobs import the package that is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        yield


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if reason := small_slurm.missing():
        pytest.skip(reason)
    with small_slurm.running_slurm(tmp_path_factory.mktemp("slurm")):
        yield


def wait(jobs: SlurmJobs) -> None:
    wait_until(lambda: not jobs.states())


def outcomes(out: Path) -> Counter[str]:
    lines = [json.loads(row) for path in out.glob("ledger.*") for row in path.read_text().splitlines()]
    return Counter(line["path"] for line in lines if line["kind"] == "item" and line["outcome"] == "success")


ALL = {f"{letter}{number}": 1 for letter in "abcd" for number in range(3)}


def wait_for_items(out: Path, count: int) -> None:
    wait_until(lambda: sum(outcomes(out).values()) >= count)


def start(folder: Path, manner: str, shards: int = 3, **options: str) -> SlurmJobs:
    (folder / "batch.py").write_text(BATCH.replace("PATIENCE", repr(PATIENCE)))
    line = (sys.executable, str(folder / "batch.py"), str(folder), manner)
    settings = SlurmSettings(shards, {"mem": "10", **options})
    return submit("test", line, folder / "out", settings, ("--dry-run", "--json"))


def stop(work: str, how: str) -> None:
    """Preempt a job by one of a higher partition, or send it what Slurm sends before the time is over; start it again.

    It would wait for two minutes; started in the very second in which it was stopped, it would be refused.
    """
    if how == "preempted":
        subprocess.run(
            ["sbatch", "--partition=high", "--cpus-per-task=8", "--output=/dev/null", "--wrap=true"], check=True
        )
    else:
        subprocess.run(["scancel", "--signal=USR2", work], check=True)
    while SlurmJobs(work).states().get(work) != "PENDING":
        time.sleep(0.05)
    subprocess.run(["scontrol", "update", f"JobId={work}", "StartTime=now+2"], check=True)


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def statuses(out: Path) -> Counter[str]:
    return Counter(item["status"] for item in read_report(out)["items"])


def plain(folder: Path) -> None:
    wait(start(folder, "plain"))


def killed(folder: Path) -> None:
    wait(start(folder, "killed"))


def cancelled(folder: Path) -> None:
    jobs = start(folder, "slow", shards=1)
    wait_for_items(folder / "out", 3)
    subprocess.run(["scancel", jobs.work], check=True)
    wait(jobs)
    assert set(outcomes(folder / "out")) == {"a0", "a1", "a2"}
    assert not list((folder / "out").rglob("*.partial"))
    assert statuses(folder / "out") == {"skipped": 3, "planned": 9}
    wait(start(folder, "plain", shards=2))


def preempted(folder: Path) -> None:
    stopped(folder, "preempted", partition="low", cpus_per_task="8")


def out_of_time(folder: Path) -> None:
    stopped(folder, "out of time")


def stopped(folder: Path, how: str, **options: str) -> None:
    jobs = start(folder, "slow-once", shards=1, **options)
    wait_for_items(folder / "out", 3)
    stop(jobs.work, how)
    wait(jobs)


def trained(folder: Path) -> None:
    """On two nodes, and on one where it is stopped."""
    script = (sys.executable, linear_recipe.__file__)
    line, both = (*script, str(folder / "two")), {"nodes": "2", "ntasks-per-node": "1"}
    two = submit("train", line, folder / "two", SlurmSettings(options=both), None)
    again = submit("train", (*script, str(folder / "again"), "11"), folder / "again", SlurmSettings(), None)
    while not (folder / "again" / "checkpoint.pt").exists():
        time.sleep(0.05)
    stop(again.work, "out of time")
    for jobs in (two, again):
        wait(jobs)


STORIES = (trained, preempted, cancelled, out_of_time, killed, plain)


@pytest.fixture(scope="module")
def after(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Callable[[Path], None]], Path]]:
    """The folder of a story when it has ended. All are told at once, for Slurm waits more than it works."""
    with ThreadPoolExecutor(len(STORIES)) as pool:
        folders = {story: tmp_path_factory.mktemp(story.__name__) for story in STORIES}
        jobs = {story: pool.submit(story, folder) for story, folder in folders.items()}

        def ended(story: Callable[[Path], None]) -> Path:
            jobs[story].result()
            return folders[story]

        yield ended


@pytest.mark.extensive
@pytest.mark.parametrize(("story", "kills"), [(plain, 0), (killed, 3)])
def test_an_array_finishes_and_a_killed_workers_items_are_done_again(after, story, kills):
    folder = after(story)
    assert outcomes(folder / "out") == ALL
    assert statuses(folder / "out") == {"skipped": 12}
    assert len(list(folder.glob("killed-*"))) == kills


@pytest.mark.extensive
def test_what_scancel_stops_goes_on_where_it_was(after):
    assert outcomes(after(cancelled) / "out") == ALL


@pytest.mark.extensive
@pytest.mark.parametrize("story", [preempted, out_of_time])
def test_a_job_that_is_stopped_is_requeued_and_goes_on(after, story):
    folder = after(story)
    assert outcomes(folder / "out") == ALL
    assert statuses(folder / "out") == {"skipped": 12}


@pytest.mark.extensive
def test_a_training_on_two_nodes_and_one_that_is_requeued_learn_the_same(after, tmp_path):
    folder = after(trained)
    linear_recipe.main(tmp_path)
    here = losses(tmp_path)
    assert losses(folder / "again") == here
    weights, same = (read_weights(run / BEST)[0]["line"].tolist() for run in (folder / "again", tmp_path))
    assert weights == same
    np.testing.assert_allclose(losses(folder / "two"), here, rtol=2e-4)


@pytest.mark.slow
def test_what_slurm_refuses_is_reported(slurm, tmp_path):
    with raises(UnavailableError, subject="slurm", problem="refuses the job", got="artition"):
        submit("test", ("true",), tmp_path, SlurmSettings(2, {"partition": "no-such"}), ())
    with raises(UsageError, problem="nodes is not for items"):
        submit("test", ("true",), tmp_path, SlurmSettings(2, {"nodes": "2"}), ())
    with raises(UsageError, expected="minutes"):
        submit("test", ("true",), tmp_path, SlurmSettings(2, {"time": "1:00"}), ())


def test_without_slurm_the_remedy_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with raises(UnavailableError, subject="slurm", problem="is not on this machine"):
        submit("test", ("true",), tmp_path, SlurmSettings(), ())


def test_a_process_that_is_always_killed_fails_in_the_end(tmp_path):
    job = CommandJob(("sh", "-c", f"echo x >> {tmp_path}/tries; kill -9 $$"))
    with pytest.raises(RuntimeError, match="killed 3 times, the last time by signal 9"):
        job()
    assert (tmp_path / "tries").read_text() == "x\n" * 3
    assert CommandJob(("sh", "-c", "exit 4"))() == 4


def test_a_report_of_the_user_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "_executor", lambda *_: None)
    monkeypatch.setattr(slurm_jobs, "_submitted", lambda _, jobs: [str(job()) for job in jobs])
    line, report = ["sh", "-c", "echo '{}'"], tmp_path / "report.json"
    for _ in range(2):  # the second replaces what the first has written
        submit("test", line, tmp_path, SlurmSettings(), None)
    report.write_text("mine")
    for act in (lambda: submit("test", line, tmp_path, SlurmSettings(), None), CommandJob(tuple(line), report)):
        with raises(UsageError, subject="report.json", problem="was changed since"):
            act()
    assert report.read_text() == "mine"
    submit("test", [*line, "--overwrite"], tmp_path, SlurmSettings(), None)
    assert report.read_text() != "mine"


SAVING = """
import signal, sys, time
from pathlib import Path
def stop(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # asked twice, hpc leaves everything
    time.sleep(0.3)
    (Path(sys.argv[1]) / "saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
(Path(sys.argv[1]) / "begun").touch()
time.sleep(60)
"""


@pytest.mark.posix("sends POSIX signals")
@pytest.mark.slow
def test_before_a_job_is_requeued_its_command_has_saved(tmp_path):
    job = CommandJob((sys.executable, "-c", SAVING, str(tmp_path)))

    def save_and_exit(*_: object) -> None:  # as submitit answers Slurm's signal
        assert job.checkpoint().function is job
        assert (tmp_path / "saved").exists()
        raise SystemExit

    def tell() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, save_and_exit)
    try:
        threading.Thread(target=tell, daemon=True).start()
        with pytest.raises(SystemExit):
            job()
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.slow
def test_a_command_line_without_what_concerns_the_cluster():
    line = ["fit", "a.jpg", "--cluster", "slurm", "--shards=3", "--wait", "--cluster-set", "mem=1", "--out", "x"]
    assert without_cluster_flags(line) == ["fit", "a.jpg", "--out", "x"]
