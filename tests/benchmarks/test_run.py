"""What the benchmarks' lines become: results as JSON, and the page of figures."""

from __future__ import annotations

import gc
import json
import mmap
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import run

    monkeypatch.setattr(run, "machine", lambda: "A slow one, 2 cores")
    yield run
    for name in ("run", "figures"):
        sys.modules.pop(name, None)


@pytest.fixture
def results(module, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "PAGE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("<!-- figures -->\n<!-- figures -->\n")
    monkeypatch.setattr(module, "checkout", lambda: ("1" * 40, ""))
    return module


def test_scripts_are_run_and_failures_named(results, tmp_path, capsys):
    (tmp_path / "bench_good.py").write_text(
        '"""Good: how\ngood.\n\nMore."""\nprint(\'{"ratio": 2.0}\')\nprint("talk")\n'
    )
    (tmp_path / "bench_bad.py").write_text('"""Bad."""\nraise SystemExit(3)\n')
    (tmp_path / "helper.py").write_text("raise SystemExit(1)\n")
    assert results.main([]) == 1
    assert [path.name for path in results.RESULTS.glob("*/*")] == ["good.json"]
    kept = json.loads((results.RESULTS / "a-slow-one-2-cores" / "good.json").read_text())
    assert kept["rows"] == [{"ratio": 2.0}]
    assert (kept["benchmark"], kept["purpose"], kept["commit"]) == ("good", "Good: how good.", "1" * 40)
    assert {"machine", "date", "versions"} < set(kept)
    assert "failed: bad" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="there are bad, good"):
        results.main(["nonsense"])


def result(benchmark, *rows, machine="A, 2 cores", commit="a" * 40, date="2026-01-02"):
    versions = {"python": "3.11", "torch": "2.13"}
    known = {"benchmark": benchmark, "machine": machine, "commit": commit, "date": date, "versions": versions}
    return {**known, "rows": list(rows)}


def compared_row(name, ours, theirs, against="b"):
    return {"name": name, "against": against, "ours_min_ms": ours, "theirs_min_ms": theirs}


def lines_of(text):
    return {line.split(" | ")[0][2:]: line.split(" | ")[2:] for line in text.splitlines() if line.startswith("| ")}


def test_the_page_shows_each_figure_beside_its_peers(results):
    skinning = [compared_row(f"skinning, batch {n}, with pose blend shapes", 2.0, 3.0 * n) for n in (1, 16, 64)]
    video = [
        {"1080p, one person": what, "frames_a_second": rate}
        for what, rate in (("detection", 20.0), ("fit", 12.0), ("fit and overlay", 4.0))
    ]
    command_line = [{"name": "hpc --help, seconds", "value": 0.25, "python_alone": 0.125}]
    page = results.page([result("skinning", *skinning), result("video", *video), result("command_line", *command_line)])
    lines = lines_of(page)
    assert lines["skinning-1"] == ["2 ms", "3 ms, `smplx.lbs`", "1.5×", "≥ 2.2×", "no |"]
    assert lines["skinning-64"] == ["2 ms", "192 ms, `smplx.lbs`", "96×", "≥ 2.5×", "yes |"]
    assert lines["video"] == ["12 frames/s", "20 frames/s, decoding and detection alone", "0.6×", "≥ 0.5×", "yes |"]
    assert lines["overlay"] == ["4 frames/s", "", "", "≥ 5 frames/s", "no |"]
    assert lines["help"] == ["0.25 s", "0.125 s, `python -c pass`", "0.5×", "≤ 0.3 s more", "yes |"]
    assert lines["cache"][0] == "not measured here"
    assert len(lines) == 15 + 2
    assert f"Measured at commit {'a' * 12} on 2026-01-02.\n" in page


def test_the_page_is_of_the_machine_that_measured_most_and_names_older_commits(results):
    page = results.page(
        [
            result("skinning", machine="Z, 64 cores"),
            result("skinning"),
            result("video", commit="b" * 40, date="2025-12-31"),
            result("nbf", commit="c" * 40),  # none of the figures
        ]
    )
    assert "\n\nA, 2 cores; torch 2.13, Python 3.11." in page
    assert f"on 2026-01-02. Measured before: video at {'b' * 12}.\n" in page
    assert "c" * 12 not in page


def test_the_page_in_the_repository_is_that_of_its_results(module):
    assert module.PAGE.read_text("utf-8") == module.page(module.read_results(module.RESULTS))


def test_the_readmes_table_is_that_of_the_results(module):
    readme = module.README.read_text("utf-8")
    assert module.with_summary(readme, module.read_results(module.RESULTS)) == readme


def test_the_table_replaces_what_is_between_its_marks(results):
    readme = "before\n<!-- figures -->\nold\n<!-- figures -->\nafter\n"
    new = results.with_summary(readme, [result("video", {"1080p, one person": "fit", "frames_a_second": 10.0})])
    assert new.startswith("before\n<!-- figures -->\n| what | ours |")
    assert new.endswith("\n<!-- figures -->\nafter\n")
    assert ("old" in new, "| 10 frames/s |" in new, "commit aaaaaaaaaaaa on" in new) == (False, True, True)
    with pytest.raises(ValueError, match="marks"):
        results.with_summary("before", [result("video")])


def test_every_result_was_measured_on_a_commit(module):
    found = module.read_results(module.RESULTS)
    assert [r["benchmark"] for r in found if not re.fullmatch("[0-9a-f]{40}", r["commit"]) or not r["rows"]] == []
    scripts = {path.stem.removeprefix("bench_") for path in SCRIPT.parent.glob("*.py")}
    assert {r["benchmark"] for r in found} <= scripts
    assert len(found) > 5


MEASURED = '"""Measured."""\nprint(\'{"ratio": 2.0}\')\n'


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(module, tmp_path, monkeypatch):
    """The script in a repository with one benchmark and RESULTS.md, all committed, and the commit."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "bench_one.py").write_text(MEASURED)
    (folder / "RESULTS.md").write_text("# Results\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "a")
    monkeypatch.setattr(module, "RESULTS", folder / "results")
    monkeypatch.setattr(module, "PAGE", folder / "RESULTS.md")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("<!-- figures -->\n<!-- figures -->\n")
    monkeypatch.setattr(module, "FOLDER", folder)
    return module, git(tmp_path, "rev-parse", "HEAD")


def test_results_name_their_commit_though_others_were_written_before(committed):
    module, commit = committed
    for _ in range(2):
        assert module.main(["one"]) == 0
        assert module.checkout() == (commit, "")
    (kept,) = module.read_results(module.RESULTS)
    assert (kept["commit"], kept["rows"]) == (commit, [{"ratio": 2.0}])


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
    assert module.PAGE.read_text() == "# Results\n"
    assert not module.RESULTS.exists()
    said = capsys.readouterr()
    assert '{"ratio": 2.0}' in said.out
    reasons = {"before": "not committed: benchmarks/bench_one.py", "without git": "this is no git checkout"}
    assert said.err == f"one …{f' not kept, {reasons[change]}' if change in reasons else ''}\n"


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
