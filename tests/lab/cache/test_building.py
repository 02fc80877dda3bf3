"""Building a cache: resumed, shared, stopped and killed at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import TESTS
from helpers.cache_source import SmallSource, all_samples, assert_same
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.patience import PATIENCE, wait_until

from humanpose_cli.core.errors import ExitCode, InputError, UnavailableError, UsageError
from humanpose_cli.lab.cache.building import build_cache, make_plan
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.verification import verify_cache
from humanpose_cli.outputs.atomic import atomic_path

NAMES = ["index.h5", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def groups_read(marks: Path) -> Counter[int]:
    """Group → how many of its images were read."""
    return Counter(int(path.name.partition("-")[0]) for path in marks.iterdir())


@pytest.fixture
def marks(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_progress_and_result(tmp_path):
    reports = []
    source = SmallSource()
    result = build_cache(source, tmp_path / "out", shard_size=6, progress=lambda *step: reports.append(step))
    assert reports[0] == (0, 15, "images")
    assert reports[-1] == (15, 15, "images")
    assert sorted(reports) == reports
    assert (result.new_shards, result.earlier_shards, result.failures) == ((0, 1, 2), (), ())
    assert (result.images, result.people) == (15, 15)
    assert result.index == tmp_path / "out" / "index.h5"
    assert sorted(files(tmp_path / "out")) == NAMES


@pytest.mark.slow
def test_a_rerun_repeats_nothing(tmp_path, marks):
    source = SmallSource(marks=marks)
    out = tmp_path / "out"
    build_cache(source, out, shard_size=6)
    before = files(out)
    (out / "shard-00001.h5").unlink()
    (out / "shard-00002.h5").write_bytes(before["shard-00002.h5"][:-1000])
    result = build_cache(source, out, shard_size=6)
    assert (result.new_shards, result.earlier_shards) == ((1, 2), (0,))
    assert groups_read(marks) == {0: 3, 1: 3, 2: 6, 3: 6, 4: 6}
    assert files(out) == before
    again = build_cache(source, out, shard_size=6)
    assert (again.new_shards, again.earlier_shards, again.images, again.people) == ((), (0, 1, 2), 15, 15)
    assert sum(groups_read(marks).values()) == 24
    assert build_cache(source, out, shard_size=6, resume=False).new_shards == (0, 1, 2)
    assert files(out) == before


@pytest.mark.slow
def test_parts_for_several_machines(tmp_path):
    complete, parts = tmp_path / "whole", tmp_path / "parts"
    source = SmallSource()
    build_cache(source, complete, shard_size=6)
    first = build_cache(source, parts, shard_size=6, shard=(0, 2))
    assert (first.new_shards, first.index) == ((0, 2), None)
    with raises(InputError, problem="has shards but no index.h5", remedy="finish it with hpc preprocess, or"):
        open_cache(parts)
    second = build_cache(source, parts, shard_size=6, shard=(1, 2))
    assert (second.new_shards, second.index) == ((1,), parts / "index.h5")
    assert files(parts) == files(complete)


@pytest.mark.extensive
@pytest.mark.parametrize("parts", [((0, 2), (1, 2)), ((0, 1), (0, 1))], ids=["other parts", "same part"])
def test_two_processes_at_once(tmp_path, parts):
    complete, common = tmp_path / "whole", tmp_path / "parts"
    running = [start_build(common, shard=part) for part in parts]
    build_cache(SmallSource(group_count=8), complete, shard_size=6)
    assert [process.wait(PATIENCE) for process in running] == [0, 0]
    assert files(common) == files(complete)


@pytest.mark.posix("sends POSIX signals")
@pytest.mark.extensive
def test_two_caches_at_once(tmp_path, marks):
    """The second is refused, with --overwrite too, until the first has ended, also by being killed."""
    out = tmp_path / "out"
    running = start_build(out, workers=2, seconds=0.2, marks=marks)
    wait_until(lambda: any(marks.iterdir()))
    before = files(out)
    for overwrite in (False, True):
        with raises(UsageError, subject="out"):
            build_cache(SmallSource(seed=2), out, shard_size=6, overwrite=overwrite)
    assert before.items() <= files(out).items()
    running.kill()
    running.wait()
    build_cache(SmallSource(seed=2), out, shard_size=6, overwrite=True)
    complete = tmp_path / "whole"
    build_cache(SmallSource(seed=2), complete, shard_size=6)
    assert files(out) == files(complete)


@pytest.mark.slow
def test_two_caches_at_once_where_files_cannot_be_locked(tmp_path, monkeypatch):
    """The one that the other has overtaken is told when it ends."""
    monkeypatch.setattr("humanpose_cli.outputs.locks.lock_descriptor", lambda *_, **__: os.stat("/none"))

    class Overtaken(SmallSource):
        def read(self, group):
            build_cache(SmallSource(seed=2), tmp_path, shard_size=6, shard=(1, 3), overwrite=True)
            return super().read(group)

    with raises(UsageError, problem="holds a cache made with another seed"):
        build_cache(Overtaken(group_count=1), tmp_path, shard_size=6)


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("other", "fields"), [(SmallSource(seed=2), {"expected": "2", "got": "1"}), (SmallSource(group_count=6), {})]
)
def test_another_cache_is_not_mixed_in(tmp_path, other, fields):
    build_cache(SmallSource(), tmp_path, shard_size=6)
    before = files(tmp_path)
    with raises(UsageError, **fields):
        build_cache(other, tmp_path, shard_size=6)
    assert files(tmp_path) == before
    build_cache(other, tmp_path, shard_size=12, overwrite=True)
    build_cache(other, tmp_path / "fresh", shard_size=12)
    fresh = files(tmp_path / "fresh")
    for path in (tmp_path / "fresh").iterdir():
        path.unlink()
    (tmp_path / "fresh").rmdir()
    assert files(tmp_path) == fresh


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, *extensive(2)])
def test_a_group_that_fails_leaves_the_others(tmp_path, workers, monkeypatch):
    monkeypatch.setattr("humanpose_cli.lab.cache.workers._REPORT_EVERY", 0.0)  # in this process
    trouble = (("clip 0", "input"), ("clip 4", "bug"), ("clip 5", "contract"))
    source = SmallSource(group_count=7, trouble=trouble)
    reports = []
    result = build_cache(
        source, tmp_path, shard_size=6, workers=workers, progress=lambda count, total, what: reports.append(count)
    )
    assert (result.new_shards, result.index) == ((1, 3), None)
    assert reports[-1] == result.images == 9
    assert workers == 2 or sum(np.diff(reports) < 0) == 2  # what the failed had counted is taken back
    first, second = result.failures
    assert (first.shard, first.group, first.exit_code) == (0, "clip 0", ExitCode.BAD_INPUT)
    assert first.problem == "pose.txt: is damaged"
    assert (second.shard, second.group, second.exit_code) == (2, "clip 4", ExitCode.BUG)
    assert second.problem == "ZeroDivisionError: by nothing"
    assert "in _fail" in second.trace
    assert sorted(files(tmp_path)) == ["shard-00001.h5", "shard-00003.h5"]
    repaired_source = replace(source, trouble=())
    assert build_cache(repaired_source, tmp_path, shard_size=6).earlier_shards == (1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["contract", "short"])
def test_groups_that_break_the_contract(tmp_path, trouble):
    (failure,) = build_cache(SmallSource(trouble=(("clip 1", trouble),)), tmp_path, shard_size=6).failures
    assert (failure.group, failure.exit_code) == ("clip 1", ExitCode.BAD_INPUT)


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    source = SmallSource(group_count=5, seconds=0.25, trouble=(("clip 1", "die"), ("clip 2", "die")))
    reports = []
    result = build_cache(
        source, tmp_path, shard_size=3, workers=2, progress=lambda count, total, what: reports.append(count)
    )
    assert result.new_shards == (0, 3, 4)
    assert reports[-1] == result.images == 9
    assert sum(np.diff(reports) < 0) == 2  # what the dead had counted is taken back
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    assert [failure.shard for failure in result.failures] == [1, 2]
    assert "ended with code 9" in result.failures[0].problem


class Unreadable(SmallSource):
    """Cannot be loaded in another process."""

    def __reduce__(self):
        return os._exit, (3,)


@pytest.mark.slow
def test_workers_that_cannot_start_are_not_started_for_ever(tmp_path):
    with raises(UnavailableError, problem="ended with code 3"):
        build_cache(Unreadable(), tmp_path, shard_size=3, workers=2)


@pytest.mark.slow
def test_sources_that_make_no_sense(tmp_path):
    with raises(InputError, subject="small"):
        make_plan(SmallSource(group_count=0), 6)
    with raises(InputError, problem="has a group without images, 'clip 0'"):
        make_plan(SmallSource(count=0), 6)
    with raises(UsageError, subject="shard size"):
        make_plan(SmallSource(), 0)
    with raises(UsageError, subject="shard"):
        build_cache(SmallSource(), tmp_path, shard=(2, 2))

    class Twins(SmallSource):
        def read(self, group):
            yield from (replace(sample, name=f"a{i}") for i, sample in enumerate(super().read(group)))

    with raises(InputError, subject="shard-00001.h5"):
        build_cache(Twins(group_count=2), tmp_path, shard_size=3)


# Stopped and killed


def start_build(out: Path, *, workers: int = 1, seconds: float = 0.0, marks: Path | None = None, **options):
    """Build in a process of its own; exits with 130 after KeyboardInterrupt."""
    source = f"SmallSource(group_count=8, seconds={seconds}, marks={None if marks is None else str(marks)!r})"
    code = f"""
import signal, sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from dataclasses import replace
from helpers.cache_source import SmallSource, all_samples
from humanpose_cli.lab.cache.building import build_cache
def stop(*_): raise KeyboardInterrupt
if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # started by a shell in the background, Ctrl-C is ignored
        signal.signal(number, stop)
    all_samples(SmallSource(group_count=1))  # numpy's modules that load late swallow what interrupts them
    source = {source}
    if source.marks:
        source = replace(source, marks=Path(source.marks))
    try:
        build_cache(source, {str(out)!r}, shard_size=6, workers={workers}, **{options!r})
    except KeyboardInterrupt:
        sys.exit(130)
"""
    script = out.with_name(f"build_{len(list(out.parent.iterdir()))}.py")
    script.write_text(code)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(script)], start_new_session=True, env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.posix("sends POSIX signals")
@pytest.mark.extensive
@pytest.mark.parametrize("workers", [1, *extensive(2)])
def test_killed_at_any_moment(tmp_path, marks, workers):
    """Whatever has a shard's name is whole, and is not made again."""
    out = tmp_path / "out"
    out.mkdir()
    random = np.random.default_rng(workers)
    times: dict[str, int] = {}
    for _ in range(3):
        running = start_build(out, workers=workers, seconds=0.02, marks=marks)
        count = len(list(marks.iterdir()))
        wait_until(
            lambda count=count, running=running: len(list(marks.iterdir())) > count or running.poll() is not None
        )
        time.sleep(random.uniform(0, 0.25))
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        for name in times:
            assert (out / name).stat().st_mtime_ns == times[name]
        for path in out.glob("*.h5"):
            assert not verify_cache(path if path.name != "index.h5" else out).damaged
        times = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")}
    source = SmallSource(group_count=8)
    result = build_cache(source, out, shard_size=6)
    assert len(result.earlier_shards) == len(times)
    assert not verify_cache(out).damaged
    cache = open_cache(out)
    for row, sample in enumerate(all_samples(source)):
        assert_same(cache.sample(row), sample)


def reading_has_stopped(marks: Path) -> bool:
    """Whether no image of 24 is read for twice the time that one takes, at most."""
    read = len(list(marks.iterdir()))
    time.sleep(1.0)
    return len(list(marks.iterdir())) == read


@pytest.mark.posix("sends POSIX signals")
@pytest.mark.extensive
@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), *extensive((2, signal.SIGINT))])
def test_a_build_that_is_stopped_ends_before_its_work_is_done(tmp_path, marks, number, workers):
    out = tmp_path / "out"
    running = start_build(out, workers=workers, seconds=1.0, marks=marks)  # so that it cannot have ended before
    wait_until(lambda: any(marks.iterdir()))
    # Ctrl-C goes to everybody at the terminal, kill to one process.
    (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
    _, said = running.communicate(timeout=PATIENCE)
    assert (running.returncode, said) == (130, "")
    assert reading_has_stopped(marks)
    assert len(list(marks.iterdir())) < 24
    assert [path for path in out.iterdir() if path.suffix == ".partial"] == []


def test_an_interrupted_import_is_an_interruption(tmp_path):
    """Python makes a RuntimeError of what ends the body of an enumeration."""

    class Importing(SmallSource):
        def read(self, group):
            raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        build_cache(Importing(), tmp_path)


@pytest.mark.extensive
@pytest.mark.posix("sends POSIX signals")
def test_workers_do_not_outlive_who_started_them(tmp_path, marks):
    out = tmp_path / "out"
    running = start_build(out, workers=2, seconds=0.5, marks=marks)
    wait_until(lambda: any(marks.iterdir()))
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    wait_until(lambda: reading_has_stopped(marks))
    assert len(list(marks.iterdir())) < 24


def test_files_of_killed_writers_are_removed_and_not_those_being_written(tmp_path):
    left = tmp_path / ".shard-00000.h5.hpc-0123abcd.partial"
    left.touch()
    with atomic_path(tmp_path / "other") as writing:
        build_cache(SmallSource(group_count=1), tmp_path)
        assert writing.exists()
    assert not left.exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, *extensive(2)])
def test_a_file_that_cannot_grow(tmp_path, workers):
    """Stands for a full disk: a limit on the size of files, under which every write fails in the same way."""
    code = f"""
import resource, sys
sys.path.insert(0, {str(TESTS)!r})
from helpers.cache_source import SmallSource
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.core.errors import UnavailableError
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    try:
        build_cache(SmallSource(), {str(tmp_path / "out")!r}, shard_size=6, workers={workers})
    except UnavailableError as error:
        print(int(error.exit_code), error)
"""
    script = tmp_path / "limited.py"
    script.write_text(code)
    process = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert process.stdout.startswith("5 "), process.stderr
    assert "File too large" in process.stdout
    assert process.stderr == ""
    assert [path.name for path in (tmp_path / "out").iterdir()] == []
