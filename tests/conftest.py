"""What makes the tests fast, and what ends them if a worker dies.

Modules, tests and their parameters stay to the end: the garbage collector need not look through them every time.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator

import pytest

gc.disable()
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as humanpose_cli does, which some tests import after ONNX Runtime


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_handlecrashitem(crashitem: str) -> None:
    """End the run if a worker dies: xdist replaces it, and a corrupted heap would kill ten workers one by one."""
    pytest.exit(f"{crashitem}: the worker that ran this test died", returncode=1)


@pytest.fixture(scope="session", autouse=True)
def plot_of_losses() -> Iterator[Callable[..., None] | None]:
    """Trainings of a few steps do not draw their losses, which takes longer; for tests of the plot, what draws it."""
    trainer = sys.modules.get("humanpose_cli.lab.train.trainer")
    if trainer is None:
        yield None
        return
    with pytest.MonkeyPatch.context() as patch:
        drawn = trainer.TrainingHistory.plot
        patch.setattr(trainer.TrainingHistory, "plot", lambda *_: None)
        yield drawn
