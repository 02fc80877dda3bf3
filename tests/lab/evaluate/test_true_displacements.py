"""True displacements bring bodies to the truth, and only those of the people who are known."""

import numpy as np
import pytest

from humanpose_cli.lab.evaluate.true_displacements import TrueRefiner
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.options import RefineOptions


@pytest.mark.extensive
def test_bodies_come_to_the_truth_where_it_is_labelled(walk):
    start, truth = walk.off(), walk.fit()
    rows = np.arange(3)
    with TrueRefiner(RefineOptions("flow", prior="none"), threads=1, device="cpu") as refiner:
        moved = refiner.moved(start, truth, rows, FitFrames.of(start, walk.frames), walk.body)
        kept = refiner.moved(start, truth, rows[:0], FitFrames.of(start, walk.frames), walk.body)

    def errors(fit):
        return np.linalg.norm(fit.joints3d - truth.joints3d, axis=-1).mean(1)

    assert (errors(moved)[rows] < 0.4 * errors(start)[rows]).all()
    assert (errors(kept)[rows] > errors(moved)[rows] + 0.02).all()
