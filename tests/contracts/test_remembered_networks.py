"""Tests get what the networks find in their images, if another test has looked at the same image, too."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import skimage.data
from helpers.remembered_networks import RememberedNetworks

from humanpose_cli.detect.models import DETECTOR_SIZE, PoseModels


@pytest.fixture
def runs(remembered_networks, monkeypatch, tmp_path):
    """The number of runs of the detector, whose memory is empty at first and is asked by `find`."""
    with remembered_networks.removed():
        compute, count = PoseModels.find, []

        def find(self, windows, threshold, same_box):
            count.append(threshold)
            return compute(self, windows, threshold, same_box)

        with monkeypatch.context() as patch:
            patch.setattr(PoseModels, "find", RememberedNetworks(tmp_path).remembering(find))
            yield count


def test_equal_inputs_run_a_network_once_and_others_run_it_again(runs):
    window = np.ascontiguousarray(skimage.data.astronaut()[:DETECTOR_SIZE, 100 : 100 + DETECTOR_SIZE])
    models = PoseModels("cpu")
    (first,) = models.find([window], 0.5, 0.3)
    (second,) = models.find([window.copy()], 0.5, 0.3)
    assert len(runs) == 1
    assert len(first) == 1
    assert pickle.dumps(first) == pickle.dumps(second)
    other = window.copy()
    other[100, 100, 0] ^= 128
    models.find([other], 0.5, 0.3)
    models.find([window], 0.4, 0.3)
    models.find([window, window], 0.5, 0.3)
    assert runs == [0.5, 0.5, 0.4, 0.5]


def test_results_are_copies(runs):
    window = np.ascontiguousarray(skimage.data.astronaut()[:DETECTOR_SIZE, 100 : 100 + DETECTOR_SIZE])
    models = PoseModels("cpu")
    models.find([window], 0.5, 0.3)
    copy, again = (models.find([window], 0.5, 0.3)[0] for _ in range(2))
    copy.boxes[:] = 0
    assert again.boxes.any()
