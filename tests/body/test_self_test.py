"""SMPL's models against smplx: files of all three kinds agree, and a body posed otherwise does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from humanpose_cli.body import self_test
from humanpose_cli.body.body import Body
from humanpose_cli.body.self_test import difference_from_smplx
from humanpose_cli.body.smpl import load_smpl

pytest.importorskip("smplx")


@pytest.mark.extensive
def test_bodies_of_smpl_are_those_of_smplx(smpl_file: Path) -> None:
    assert 0 < difference_from_smplx(smpl_file) < 1e-5


@pytest.mark.extensive
def test_the_largest_distance_is_returned(smpl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(path: Path) -> Body:
        body: Any = load_smpl(path)
        body.template[[7, 9]] += torch.tensor([[0.0, 0.003, 0.004], [0.001, 0.0, 0.0]])
        return body

    monkeypatch.setattr(self_test, "load_smpl", moved)
    assert 0.004 < difference_from_smplx(smpl_file) < 0.00501  # blended rotations shorten a little
