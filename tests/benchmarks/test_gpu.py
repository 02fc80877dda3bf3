"""What measures a GPU works, on the CPU in miniature; and its command runs what there is, within ten minutes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from helpers.linear_recipe import LineRecipe

from humanpose_cli.engine.self_test import _OPERATIONS
from humanpose_cli.lab.train.recipe import TrainOptions

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield
    for name in ("gpu", "gpu_engine", "gpu_tests", "gpu_training", "repeats", "run", "figures"):
        sys.modules.pop(name, None)


@pytest.mark.extensive
def test_the_engines_rows(monkeypatch, capsys):
    import gpu_engine

    rows = list(gpu_engine.measured(CPU))
    assert {row["what"] for row in rows} >= set(_OPERATIONS)
    assert all(row.get("ok", True) for row in rows)
    monkeypatch.setattr(sys, "argv", ["gpu_engine", "--device", "cpu"])
    monkeypatch.setattr(gpu_engine, "measured", lambda device: [{"what": "a"}, {"what": "b", "ok": False}])
    assert gpu_engine.main() == 1
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.extensive
def test_a_trainings_row(monkeypatch, tmp_path, capsys):
    import gpu_training

    class Line:
        def preset(self, name):
            return None, TrainOptions(batch_size=64)

        def make(self, cache, options, seed):
            return LineRecipe()

    monkeypatch.setattr(gpu_training, "MODELS", {"nbf": Line()})
    (row,) = gpu_training.measured(tmp_path, CPU, small=True)
    assert (row["batch"], row["workers"], row["precision"]) == (2, 0, "full")
    assert row["step_ms"] > 0
    assert row["examples_per_second"] > 0
    assert "aten::" in capsys.readouterr().err  # the operations that take longest


@pytest.mark.extensive
def test_the_command_runs_each_step_within_its_seconds(monkeypatch, tmp_path, capsys):
    import gpu
    import run

    assert sum(gpu.STEPS.values()) <= 600
    texts = {name: (BENCHMARKS / f"{name}.py").read_text("utf-8") for name in gpu.STEPS}
    assert all("--device" in text or "measured_devices(" in text for text in texts.values())
    assert all(("--small" in texts[name]) == (name in gpu._HAVE_SMALL) for name in gpu.STEPS)
    program = "import json, sys, time\nprint(json.dumps({'given': ' '.join(sys.argv[1:])}), flush=True)\n"
    (tmp_path / "gpu_engine.py").write_text(f'"""Starts."""\n{program}time.sleep(60)\n')
    (tmp_path / "gpu_training.py").write_text(f'"""Trains."""\n{program}')
    monkeypatch.setattr(gpu, "FOLDER", tmp_path)
    monkeypatch.setattr(run, "FOLDER", tmp_path / "benchmarks")
    (tmp_path / "README.md").write_text("# Readme\n")
    monkeypatch.setattr(run, "machine", lambda: "a GPU")
    monkeypatch.setattr(run, "checkout", lambda: ("1", ""))
    for seconds in (1, 5, 25):  # on a busy machine a process may take longer than a second to begin
        monkeypatch.setattr(gpu, "STEPS", {"gpu_engine": seconds, "gpu_training": 60})
        assert gpu.main(["--small"]) == 1
        assert "failed: gpu_engine\n" in capsys.readouterr().err
        if (tmp_path / "benchmarks/results/a-gpu/gpu_engine.json").exists():
            break
    engine, training = (
        json.loads((tmp_path / f"benchmarks/results/a-gpu/{name}.json").read_text())
        for name in ("gpu_engine", "gpu_training")
    )
    assert engine["purpose"] == "Starts."
    assert engine["rows"] == [{"given": "--device cuda"}]  # what it printed before its time was over
    assert training["rows"] == [{"given": "--device cuda --small"}]
    with pytest.raises(SystemExit):
        gpu.main(["nonsense"])
    assert "there are gpu_engine, gpu_training" in capsys.readouterr().err
    monkeypatch.setattr(gpu, "record", lambda runs: [(script.stem, seconds) for script, _, seconds in runs])
    assert gpu.main(["--quick"]) == [("gpu_quick", 240)]


def test_the_tests_that_need_a_gpu_are_counted(monkeypatch, capsys):
    import gpu_tests

    def ran(command, stdout, env, check):
        (report,) = [part.partition("=")[2] for part in command if part.startswith("--junitxml")]
        suite = '<testsuite tests="7" failures="2" errors="0" skipped="1" time="3.14" />'
        Path(report).write_text(f"<testsuites>{suite}</testsuites>")
        assert ("tests/engine" in command, env["HPC_TEST_DEVICE"]) == (True, "cuda:0")
        return type("Done", (), {"returncode": 1})

    monkeypatch.setattr(gpu_tests.subprocess, "run", ran)
    monkeypatch.setattr(sys, "argv", ["gpu_tests"])
    assert gpu_tests.main() == 1
    counts = {"tests": 7, "failures": 2, "errors": 0, "skipped": 1, "seconds": 3.1}
    assert json.loads(capsys.readouterr().out) == counts
