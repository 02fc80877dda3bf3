"""Figures are not worse than those stored with a commit; `python -m journeys.figures` stores them anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from journeys.figures import EVERYWHERE, OF_SHARED, SHARED, stored, worse

pytestmark = pytest.mark.posix("commands are typed in Bash")


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERYWHERE)
def test_figures_of_the_package(name: str, tmp_path: Path) -> None:
    assert worse(EVERYWHERE[name](tmp_path), stored()[name]) == []


@pytest.mark.extensive
@pytest.mark.skipif(SHARED is None, reason="no footage with truth lies beside the checkout")
@pytest.mark.parametrize("name", OF_SHARED)
def test_figures_of_real_footage(name: str, tmp_path: Path) -> None:
    assert worse(OF_SHARED[name](tmp_path), stored()[name]) == []


def test_a_worse_figure_is_found() -> None:
    before = {"mpjpe_mm": 80.0, "ssim": 0.8, "frames": 60.0}
    assert worse({"mpjpe_mm": 82.0, "ssim": 0.795, "frames": 100.0}, before) == []
    assert len(worse({"mpjpe_mm": 84.0, "ssim": 0.78, "frames": 58.0}, before)) == 3
    assert len(worse({"mpjpe_mm": float("nan"), "ssim": 0.8, "frames": 60.0}, before)) == 1
