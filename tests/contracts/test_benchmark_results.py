"""RESULTS.md: what the benchmarks' lines become."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"


@pytest.fixture
def results(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "machine", lambda: "a slow one")
    monkeypatch.setattr(module, "software", lambda: "Commit 1.")
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


def test_other_machines_parts_stay(results):
    results.write("a fast one", "body 1")
    results.write("a slow one", "body 2")
    results.write("a fast one", "body 3")
    text = results.RESULTS.read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Results",
        "## a slow one",
        "## a fast one",
    ]
    assert "body 1" not in text
    assert "body 2" in text
    assert text.endswith("body 3\n")


def test_scripts_are_run_and_failures_named(results, tmp_path, capsys):
    (tmp_path / "bench_good.py").write_text(
        '"""Good: how good.\n\nMore."""\nprint(\'{"ratio": 2.0}\')\nprint("talk")\n'
    )
    (tmp_path / "bench_bad.py").write_text('"""Bad."""\nraise SystemExit(3)\n')
    (tmp_path / "helper.py").write_text("raise SystemExit(1)\n")
    assert results.main([]) == 1
    text = results.RESULTS.read_text()
    assert "## a slow one\nCommit 1.\n\n### bad\nBad.\n\nGave no result.\n\n### good\nGood: how good.\n" in text
    assert "helper" not in text
    assert "failed: bad" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="there are bad, good"):
        results.main(["nonsense"])
