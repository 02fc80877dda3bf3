"""Trainings of evaluations draw no curves: the tests of the training loop look at those."""

import pytest

from humanpose_cli.lab.train.trainer import TrainingHistory


@pytest.fixture(autouse=True, scope="module")
def _no_curves():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingHistory, "plot", lambda history, path: None)
        yield
