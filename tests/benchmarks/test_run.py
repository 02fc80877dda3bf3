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
    monkeypatch.setattr(module, "FOLDER", tmp_path / "benchmarks")
    module.FOLDER.mkdir()
    (tmp_path / "README.md").write_text("# Readme\n")
    monkeypatch.setattr(module, "checkout", lambda: ("1" * 40, ""))
    return module


def test_scripts_are_run_and_failures_named(results, capsys):
    (results.FOLDER / "bench_good.py").write_text(
        '"""Good: how\ngood.\n\nMore."""\nprint(\'{"ratio": 2.0}\')\nprint("talk")\n'
    )
    (results.FOLDER / "bench_bad.py").write_text('"""Bad."""\nraise SystemExit(3)\n')
    (results.FOLDER / "helper.py").write_text("raise SystemExit(1)\n")
    assert results.main([]) == 1
    assert [path.name for path in results.FOLDER.glob("results/*/*")] == ["good.json"]
    kept = json.loads((results.FOLDER / "results" / "a-slow-one-2-cores" / "good.json").read_text())
    assert kept["rows"] == [{"ratio": 2.0}]
    assert (kept["benchmark"], kept["purpose"], kept["commit"]) == ("good", "Good: how good.", "1" * 40)
    assert {"machine", "date", "versions"} < set(kept)
    assert "failed: bad" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="there are bad, good"):
        results.main(["nonsense"])


def result(benchmark, *rows, machine="A, 2 cores", commit="a" * 40, date="2026-01-02"):
    versions = {"python": "3.11", "torch": "2.13"}
    fields = {"benchmark": benchmark, "machine": machine, "commit": commit, "date": date, "versions": versions}
    return {**fields, "rows": list(rows)}


def compared_row(name, ours, theirs, against="b"):
    return {"name": name, "against": against, "ours_min_ms": ours, "theirs_min_ms": theirs}


def lines_of(text):
    return {line.split(" | ")[0][2:]: line.split(" | ")[2:] for line in text.splitlines() if line.startswith("| ")}


def test_the_page_shows_each_figure_beside_its_peers(results):
    import figures

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
    assert list(lines) == ["figure", "---", *(figure.name for figure in figures.FIGURES)]
    assert f"at commit {'a' * 12} on 2026-01-02.\n" in page


VIDEO = {"1080p, one person": "fit", "frames_a_second": 10.0}
REPOSE = {"method": "mesh", "seconds": 2.0}


def test_the_page_is_of_the_machine_with_the_largest_number_of_figures_and_names_older_commits(results):
    page = results.page(
        [
            result("repose", REPOSE, machine="Z, 64 cores", date="2026-02-02"),
            result("video", {"no figure": 1}, machine="Z, 64 cores", date="2026-02-02"),
            result("repose", REPOSE),
            result("video", VIDEO, commit="b" * 40, date="2025-12-31"),
            result("crowds", commit="c" * 40),  # none of the figures
        ]
    )
    assert "\n\nA, 2 cores; torch 2.13, Python 3.11." in page
    assert f"on 2026-01-02. Measured before: video at {'b' * 12}.\n" in page
    assert "c" * 12 not in page


def test_of_two_machines_that_measured_as_much_the_page_is_of_the_last(results):
    older, newer = (result("video", VIDEO, machine=m, date=d) for m, d in (("Z", "2026-01-02"), ("A", "2026-01-03")))
    assert "\n\nA; torch" in results.page([newer, older])
    assert "\n\nZ; torch" in results.page([{**newer, "date": "2026-01-01"}, older])


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        ("video", "10"),
        ("video.peer", "20"),
        ("video.ratio", "0.5"),
        ("video.processor_ms_a_frame", "1,080"),
        ("machine", "A, 2 cores"),
        ("repose", "old"),  # not measured
    ],
)
def test_marks_within_a_line_hold_the_figure(results, mark, text):
    rows = [{"1080p, one person": "detection", "frames_a_second": 20.0}, {**VIDEO, "processor_ms_a_frame": 1080.4}]
    page = "at <!-- figure: {0} -->{1}<!-- /figure --> frames/s, <!-- figure: {0} -->{1}<!-- /figure --> as well"
    assert results.filled(page.format(mark, "old"), [result("video", *rows)]) == page.format(mark, text)


@pytest.mark.parametrize(
    "mark", ["figure: speed", "figure: video.seconds", "figure: video.peer", "figures: video speed"]
)
def test_marks_of_no_figure_are_refused(results, mark):
    page = f"<!-- {mark} -->\n<!-- /figures -->" if mark.startswith("figures") else f"<!-- {mark} -->1<!-- /figure -->"
    with pytest.raises(ValueError, match="expected one of"):
        results.filled(page, [result("video", VIDEO)])


def test_tables_hold_the_figures_that_were_measured(results):
    page = "before\n\n<!-- figures: {} -->\n{}<!-- /figures -->\n\nafter\n"
    people = {"method": "hpc fit (auto)", "people": 7, "pa_mpjpe_mm": 54.321, "mpjpe_mm": 80.0}
    found = [result("video", VIDEO), result("rendered_people", people)]
    new = results.filled(page.format("repose video accuracy", "old\n"), found)
    sentence, table = new.split("\n\n")[1:3]
    assert sentence.startswith("<!-- figures: repose video accuracy -->\nA, 2 cores; torch 2.13")
    rows = table.splitlines()
    assert rows[0] == "| what | ours | beside it | ratio |"
    assert rows[2].endswith(" | 10 frames/s |  |  |")
    assert "7 rendered people (80 mm about the hips) | 54.3 mm |" in rows[3]
    assert rows[4:] == ["<!-- /figures -->"]
    assert results.filled(new, found) == new
    assert "| what | ours |\n" in results.filled(page.format("overlay repose", ""), [result("repose", REPOSE)])
    assert results.filled(page.format("repose", "old\n"), found) == page.format("repose", "")


def test_another_option_of_ours_is_no_peer_with_a_ratio(results):
    rows = [
        {"command": "hpc fit clip.mp4", "frames": 120, "seconds": 12.0, "frames_a_second": 10.0},
        {"command": "hpc fit clip.mp4 --no-overlay", "frames_a_second": 15.0},
    ]
    new = results.filled("<!-- figures: fit-video -->\n<!-- /figures -->", [result("commands", *rows)])
    assert ": 120 frames of 1080p, one person, 12 s | 10 frames/s | 15 frames/s, `--no-overlay` |  |\n" in new


def test_a_figure_without_its_peer_has_no_ratio(results):
    one_pass = {"what": "one pass", "preset": "small", "device": "cuda", "ms": 26.1}
    lines = lines_of(results.page([result("warp3d", one_pass)]))
    assert lines["warp3d"] == ["26.1 ms", "", "", "≥ 0.5×", "no |"]


def test_pages_are_filled_all_at_once(results, tmp_path):
    """Without measuring anything; a page with a wrong mark leaves all of them as they were."""
    (results.FOLDER / "results" / "m").mkdir(parents=True)
    (results.FOLDER / "results" / "m" / "video.json").write_text(json.dumps(result("video", VIDEO)))
    mark = "a <!-- figure: video -->old<!-- /figure -->\n"
    pages = [tmp_path / name for name in ("README.md", "docs/a.md", "docs/guides/b.md")]
    for page in pages:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(mark)
    assert results.main(["--pages"]) == 0
    assert [page.read_text() for page in pages] == [mark.replace("old", "10")] * 3
    pages[0].write_text(mark)
    pages[2].write_text("a <!-- figure: vide -->old<!-- /figure -->\n")
    with pytest.raises(ValueError, match=r"docs/guides/b\.md: vide"):
        results.main(["--pages"])
    assert pages[0].read_text() == mark


def test_benchmarks_on_videos_of_the_users_get_their_folder(results, tmp_path, monkeypatch):
    for name in ("real_video", "reposed_video", "one"):
        (results.FOLDER / f"bench_{name}.py").touch()
    monkeypatch.chdir(tmp_path)
    records = []
    monkeypatch.setattr(
        results, "record", lambda runs: records.append([(path.stem, *options) for path, options, _ in runs])
    )
    for arguments in ([], ["--real", "clips"], ["--real", "clips", "real_video"], ["--real", "clips", "one"]):
        results.main(arguments)
    real = ("bench_real_video", str(tmp_path / "clips"))
    assert records == [[("bench_one",)], [("bench_one",), real], [real], [("bench_one",)]]
    for arguments in (["real_video"], ["--real", "clips", "reposed_video"]):
        with pytest.raises(SystemExit, match="videos: are needed"):
            results.main(arguments)


def test_every_result_was_measured_on_a_commit(module):
    found = module.read_results(module.FOLDER / "results")
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
    (tmp_path / "README.md").write_text("# Readme\n")
    (tmp_path / "docs" / "guides").mkdir(parents=True)
    for page in ("index.md", "guides/video.md"):
        (tmp_path / "docs" / page).write_text("<!-- figures: video -->\n<!-- /figures -->\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "a")
    monkeypatch.setattr(module, "FOLDER", folder)
    return module, git(tmp_path, "rev-parse", "HEAD")


def test_results_name_their_commit_though_others_were_written_before(committed, tmp_path):
    """Pages with figures change meanwhile: what a page shows is of the same commit."""
    module, commit = committed
    (module.FOLDER / "results" / "m").mkdir(parents=True)
    (module.FOLDER / "results" / "m" / "video.json").write_text(json.dumps(result("video", VIDEO)))
    for _ in range(2):
        assert module.main(["one"]) == 0
        assert module.checkout() == (commit, "")
    (kept,) = (each for each in module.read_results(module.FOLDER / "results") if each["benchmark"] == "one")
    assert (kept["commit"], kept["rows"]) == (commit, [{"ratio": 2.0}])
    changed = git(tmp_path, "status", "--porcelain", "--untracked-files=no")
    assert changed.split()[1::2] == ["benchmarks/RESULTS.md", "docs/guides/video.md", "docs/index.md"]
    assert "| 10 frames/s |" in (tmp_path / "docs" / "index.md").read_text()


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
        monkeypatch.setattr(module, "run", lambda *arguments: (run(*arguments), script.write_text("changed"))[0])
    else:
        (tmp_path / ".git").rename(tmp_path / "git")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert module.main(["one"]) == 0
    assert (module.FOLDER / "RESULTS.md").read_text() == "# Results\n"
    assert not (module.FOLDER / "results").exists()
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
    monkeypatch.setattr(roofline, "_MAX_BYTES", 1 << 24)
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


@pytest.mark.extensive
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
    milliseconds, bound = roofline.min_ms(work)
    assert bound == limit
    assert line["roofline_ms"] == pytest.approx(milliseconds, rel=1e-2)
    assert line["of_roofline"] > 0


def test_processors_with_and_without_avx512_are_distinguished(module):
    lines = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse4_2 avx2{}\n"
    assert module.processor(lines.format(" avx512f avx512dq")) == ("AMD EPYC",)
    assert module.processor(lines.format("")) == ("AMD EPYC", "no AVX-512")
    assert module.processor("model name : Cortex-A76\nFeatures : asimd\n") == ("Cortex-A76",)
    assert len(module.processor("")) == 1
