"""What the tests of several data sets share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.paper_trees import small_releases


@pytest.fixture
def tree(intact: Path, tmp_path: Path) -> Path:
    """A copy of the module's data set `intact`, which a test may damage."""
    return Path(shutil.copytree(intact, tmp_path / "tree"))


@pytest.fixture(autouse=True)
def _small_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    small_releases(monkeypatch)
