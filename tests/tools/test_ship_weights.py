"""The tool that copies weights into the package: tensors stay, and the header says how their step was chosen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from humanpose_cli.networks.weights import WeightsHeader, read_header, read_weights, write_weights
from tools import ship_weights


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """Runs the tool on a file with that training; the file that it writes."""
    monkeypatch.setattr(ship_weights, "FOLDER", tmp_path / "data")

    def run(training: dict[str, object], *more: str) -> Path:
        source = tmp_path / "best.safetensors"
        metrics = {"pa_mpjpe_mm": 81.5}
        write_weights(source, {"a": torch.randn(5), "n": torch.arange(3)}, WeightsHeader("nbf", {}, training, metrics))
        monkeypatch.setattr(sys, "argv", ["ship_weights", str(source), "nbf-test", "--max-size", "1", *more])
        ship_weights.main()
        return tmp_path / "data" / "nbf_test.safetensors.planes.gz"

    return run


KEPT = {"rule": "best", "criterion": "pa_mpjpe_mm", "value": 81.5}


def test_what_the_training_recorded_is_kept(ship, tmp_path):
    path = ship({"steps": 3, "of": 4, "kept": KEPT, "start": "old/runs/a/last.safetensors"})
    assert read_header(path).training == {"steps": 3, "of": 4, "kept": KEPT, "start": "a/last.safetensors"}
    shipped, source = (read_weights(each)[0] for each in (path, tmp_path / "best.safetensors"))
    assert all(torch.equal(shipped[name], source[name]) for name in ("a", "n"))
    assert read_header(path).digest == read_header(tmp_path / "best.safetensors").digest


def test_a_header_that_does_not_say_how_its_step_was_chosen_is_completed(ship):
    for more in ((), ("--of", "4"), ("--kept", "last")):
        with pytest.raises(SystemExit, match="does not say how its step was chosen: --kept and --of do"):
            ship({"steps": 3}, *more)
    unrecorded = ship({"steps": 3}, "--kept", "unrecorded", "--of", "4")
    assert read_header(unrecorded).training["kept"] == {"rule": "unrecorded", "criterion": "pa_mpjpe_mm"}
    best = ship({"steps": 3}, "--kept", "best", "--of", "4")
    assert read_header(best).training == {"steps": 3, "of": 4, "kept": KEPT}
    last = ship({"steps": 4}, "--kept", "last", "--of", "4")
    assert read_header(last).training["kept"] == {"rule": "last"}
