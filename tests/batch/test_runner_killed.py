"""Batches that are killed, run out of space or lose their clock: nothing missing, nothing twice, no rests."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import Item, Shard
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.core.errors import ExitCode
from humanpose_cli.core.result import CommandResult
from humanpose_cli.outputs.atomic import atomic_path

pytestmark = pytest.mark.posix("forks")


@pytest.fixture(autouse=True)
def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking git for the commit takes longer than all the work here."""
    monkeypatch.setattr("humanpose_cli.batch.run_record.commit_of_checkout", lambda: None)


@pytest.fixture
def photos(tmp_path: Path) -> list[Item]:
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for path in paths:
        path.write_bytes(path.name.encode() * 2000)
    return [Item(path.name, (path,), root=tmp_path) for path in paths]


def run(items: list[Item], out: Path, **changes: object) -> CommandResult:
    """Two files an item, written in two pieces."""

    def worker(item: Item) -> Outcome:
        outputs = (out / "sub" / f"{item.key}.fit.npz", out / "sub" / f"{item.key}.overlay.mp4")
        content = item.files[0].read_bytes()
        for output in outputs:
            with atomic_path(output) as temporary, temporary.open("wb") as file:
                for half in (content[:9], content[9:]):
                    file.write(half)
                    file.flush()
                    time.sleep(0.0005)
        return Outcome(outputs)

    return run_items(items, worker, Batch("fit", out, **changes))


def files(folder: Path) -> dict[str, bytes]:
    """Everything but what holds dates."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in found if not path.name.startswith(("ledger", "run"))}


def killed(items: list[Item], out: Path, after: float) -> None:
    child = os.fork()
    if child == 0:
        try:
            run(items, out)
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.extensive
@pytest.mark.parametrize("seed", range(5))
def test_fifty_kills_at_random_moments_lose_nothing_and_leave_nothing(tmp_path, photos, seed):
    moments = random.Random(seed)
    out = tmp_path / "out"
    for _ in range(10):
        killed(photos, out, moments.uniform(0.0, 0.05))
    assert run(photos, out).exit_code is ExitCode.OK
    run(photos, tmp_path / "undisturbed")
    assert files(out) == files(tmp_path / "undisturbed")  # also no *.partial
    lines = []
    for row in (out / "ledger.0-of-1.jsonl").read_text().split("\n"):
        try:
            lines.append(json.loads(row))
        except ValueError:
            continue  # torn by a kill
    assert Counter(line["path"] for line in lines if line["kind"] == "item") == {item.key: 1 for item in photos}


def test_a_small_file_system_that_fills_up_stops_the_run_and_the_rest_is_done_later(tmp_path, photos):
    out = tmp_path / "out"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(out)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        result = run(photos, out)
        assert result.exit_code is ExitCode.UNAVAILABLE
        assert any("No space left on device" in (item.error or "") for item in result.items)
        assert not list(out.rglob("*.partial"))
        subprocess.run(["mount", "-o", "remount,size=8m", str(out)], check=True)
        assert run(photos, out).exit_code is ExitCode.OK
        run(photos, tmp_path / "undisturbed")
        assert files(out) == files(tmp_path / "undisturbed")
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


@pytest.mark.slow
def test_shards_that_are_killed_are_finished_by_one_process(tmp_path, photos):
    out = tmp_path / "out"
    for index in range(3):
        child = os.fork()
        if child == 0:
            try:
                run(photos, out, shard=Shard(index, 3))
            finally:
                os._exit(0)
        time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert run(photos, out).exit_code is ExitCode.OK
    assert len(files(out)) == 24
