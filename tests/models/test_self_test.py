"""The short training of `hpc doctor`: right here, and wrong where a layer is."""

import pytest
import torch
from torch import nn

from humanpose_cli.models.self_test import training_errors
from humanpose_cli.networks.convolutions import PointwiseConv2d


@pytest.mark.slow
def test_networks_learn_here_what_they_learn_in_float64():
    errors = training_errors()
    assert errors.ok
    assert errors.loss < 1e-5
    assert errors.gradients < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "factor"), [(PointwiseConv2d, 1.1), (nn.BatchNorm2d, 1.1), (nn.GroupNorm, float("nan"))]
)
def test_a_layer_that_errs_in_float32_is_found(monkeypatch, layer, factor):
    forward = layer.forward
    errs = {torch.float32: factor, torch.float64: 1.0}
    monkeypatch.setattr(layer, "forward", lambda self, x: errs[x.dtype] * forward(self, x))
    errors = training_errors()
    assert not errors.ok
    assert not errors.loss < 1e-3
