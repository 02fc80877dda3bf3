"""RESULTS.md: what the benchmarks' lines become."""

from __future__ import annotations

import gc
import importlib.util
import json
import mmap
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"


def loaded_script():
    spec = importlib.util.spec_from_file_location("benchmark_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(tmp_path, monkeypatch):
    module = loaded_script()
    monkeypatch.setattr(module, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "machine", lambda: "a slow one")
    monkeypatch.setattr(module, "checkout", lambda: ("1", ""))
    monkeypatch.setattr(module, "software", "Commit {}.".format)
    return module


def test_rows_become_a_table(results):
    rows = [{"name": "a|b", "ratio": 2.34567, "ok": True}, {"name": "c", "ms": {"min": 1.0, "median": 2.0}}]
    assert results.table(rows).splitlines() == [
        "| name | ratio | ok | ms |",
        "| --- | --- | --- | --- |",
        "| a\\|b | 2.346 | yes |  |",
        "| c |  |  | min 1, median 2 |",
    ]
    assert results.table([{"a": 1, "b": "x"}]).splitlines()[2:] == ["| a | 1 |", "| b | x |"]


def test_two_sides_take_a_column_each(results):
    row = {"name": "a", "against": "b", "ratio": 2.5, "reach": 2.0, "ours_min_ms": 1.0, "ours_median_ms": 1.25}
    row |= {"theirs_min_ms": 2.5, "theirs_median_ms": 3.0, "threads": 2, "device": "cpu"}
    measured = {"ours_peak_mib": 1.5, "theirs_peak_mib": 12.0, "memory_ratio": 8.0, "memory_reach": 8}
    measured |= {"mbytes_moved": 1.0, "mflops": 2.0, "roofline_ms": 0.5, "of_roofline": 0.5, "limit": "memory"}
    lines = results.table([row, row | measured | {"device": "cuda", "note": "why"}]).splitlines()
    assert lines[0] == (
        "| name | times faster (reach) | ours, ms | theirs, ms | on | peak, MiB | roofline, ms | note |"
    )
    assert lines[2] == "| a, against b | 2.5 (2.0) | 1 (1.25) | 2.5 (3) | 2 threads |  |  |  |"
    assert lines[3] == (
        "| a, against b | 2.5 (2.0) | 1 (1.25) | 2.5 (3) | cuda | 1.5 / 12 (8.0×, reach 8) | 0.5 (memory): 50 % | why |"
    )


def test_sections_and_machines_not_measured_stay(results):
    results.write("a fast one", {"b": "body 1", "a": "body 2"})
    results.write("a slow one", {"b": "body 3"})
    results.write("a fast one", {"b": "body 4", "c": "body 5"})
    text = results.RESULTS.read_text()
    _, _, kept = text.partition("\n## ")
    assert kept == "a slow one\n\n### b\nbody 3\n\n## a fast one\n\n### a\nbody 2\n\n### b\nbody 4\n\n### c\nbody 5\n"


def test_scripts_are_run_and_failures_named(results, tmp_path, capsys):
    (tmp_path / "bench_good.py").write_text(
        '"""Good: how good.\n\nMore."""\nprint(\'{"ratio": 2.0}\')\nprint("talk")\n'
    )
    (tmp_path / "bench_bad.py").write_text('"""Bad."""\nraise SystemExit(3)\n')
    (tmp_path / "helper.py").write_text("raise SystemExit(1)\n")
    assert results.main([]) == 1
    text = results.RESULTS.read_text()
    assert "### bad\nBad.\n\nCommit 1.\n\nGave no result.\n\n### good\nGood: how good.\n\nCommit 1.\n\n|" in text
    assert "helper" not in text
    assert "failed: bad" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="there are bad, good"):
        results.main(["nonsense"])


MEASURED = '"""Measured."""\nprint(\'{"ratio": 2.0}\')\n'


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """The script in a repository with one benchmark and RESULTS.md, all committed, and the commit."""
    module, folder = loaded_script(), tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "bench_one.py").write_text(MEASURED)
    (folder / "RESULTS.md").write_text("# Results\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "a")
    monkeypatch.setattr(module, "RESULTS", folder / "RESULTS.md")
    monkeypatch.setattr(module, "FOLDER", folder)
    monkeypatch.setattr(module, "machine", lambda: "a slow one")
    return module, git(tmp_path, "rev-parse", "HEAD")


def test_sections_name_their_commit_though_others_were_written_before(committed):
    module, commit = committed
    for _ in range(2):
        assert module.main(["one"]) == 0
    text = module.RESULTS.read_text()
    assert text.count(f"Measured.\n\nCommit {commit}, Python ") == text.count("Commit") == 1


@pytest.mark.parametrize("change", ["before", "meanwhile", "without git"])
def test_what_was_measured_on_changed_files_is_printed_and_not_written(
    committed, tmp_path, monkeypatch, capsys, change
):
    module, _ = committed
    script = module.FOLDER / "bench_one.py"
    if change == "before":
        script.write_text(MEASURED + "\n")
    elif change == "meanwhile":
        run = module.run
        monkeypatch.setattr(module, "run", lambda *given: (run(*given), script.write_text("changed"))[0])
    else:
        (tmp_path / ".git").rename(tmp_path / "git")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert module.main(["one"]) == 0
    assert module.RESULTS.read_text() == "# Results\n"
    said = capsys.readouterr()
    assert "| ratio | 2 |" in said.out
    reasons = {"before": "not committed: benchmarks/bench_one.py", "without git": "this is no git checkout"}
    assert said.err == f"one …{f' not for RESULTS.md, {reasons[change]}' if change in reasons else ''}\n"


def test_every_section_was_measured_on_a_commit():
    _, *machines = (SCRIPT.parent / "RESULTS.md").read_text("utf-8").split("\n## ")
    sections = [section for part in machines for section in part.split("\n### ")[1:]]
    measured = re.compile(r"\nCommit [0-9a-f]{40}, Python 3\.")  # with a + behind the commit, files differed from it
    assert [section.partition("\n")[0] for section in sections if not measured.search(section)] == []
    assert len(sections) > 5


@pytest.fixture
def compared(monkeypatch, capsys):
    """Runs `side_by_side.compare` and gives its line."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import roofline
    import side_by_side

    monkeypatch.setattr(roofline, "_SECONDS", 0)
    monkeypatch.setattr(roofline, "_REPEATS", 2)
    monkeypatch.setattr(roofline, "_MOST_BYTES", 1 << 24)
    monkeypatch.setattr(roofline, "_SIDE", {"cpu": 64, "cuda": 64})

    gc.freeze()  # each measurement collects garbage, and the other tests' objects are none

    def run(*arguments, **options):
        side_by_side.compare(*arguments, **options)
        return json.loads(capsys.readouterr().out)

    yield run
    for name in ("peak_memory", "roofline", "side_by_side"):
        sys.modules.pop(name, None)


def test_a_comparison_is_a_line_of_json(compared):
    line = compared("a", lambda: sum(range(100)), lambda: sum(range(200)), against="b", reach=2, repeats=3)
    assert line["reach"] == 2
    assert {"name", "against", "ratio", "reach", "threads", "device"} <= set(line)
    assert {f"{side}_{kind}_ms" for side in ("ours", "theirs") for kind in ("min", "median")} <= set(line)
    assert "roofline_ms" not in line


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are told by Linux")
def test_peaks_of_memory_are_those_of_the_call(compared):
    sizes = {"ours": 64, "theirs": 256}  # MiB
    kept = torch.ones(1 << 22)  # is not counted
    runs = [lambda size=size: torch.zeros(size << 18) for size in sizes.values()]
    line = compared("a", *runs, against="b", reach=1, repeats=1, memory_reach=4)
    for side, size in sizes.items():
        assert line[f"{side}_peak_mib"] == pytest.approx(size, abs=4)  # the allocator's own
    assert line["memory_ratio"] == pytest.approx(4, abs=0.5)
    assert line["memory_reach"] == 4
    assert len(kept)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are told by Linux")
def test_pages_of_files_that_come_in_are_not_memory_of_the_call(compared, tmp_path):
    from peak_memory import peak_bytes

    (tmp_path / "library").write_bytes(bytes(32 << 20))
    with open(tmp_path / "library", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:

        def run():
            pages[:: mmap.PAGESIZE]  # they stay after the first call
            return torch.zeros(64 << 18)

        assert peak_bytes(run) / 2**20 == pytest.approx(64, abs=4)


@pytest.mark.parametrize(("moved", "flops", "limit"), [(1e9, 1, "memory"), (1, 1e12, "multipliers")])
def test_the_roofline_is_the_larger_of_both_limits(compared, moved, flops, limit):
    import roofline

    work = roofline.Work(moved, flops)
    line = compared("a", lambda: None, lambda: None, against="b", reach=1, repeats=1, work=work)
    assert line["limit"] == limit
    least, told = roofline.least_ms(work)
    assert told == limit
    assert line["roofline_ms"] == pytest.approx(least, rel=1e-2)
    assert line["of_roofline"] > 0
