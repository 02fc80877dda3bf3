"""Tensors by name into a network."""

import pytest
import torch
from helpers.errors import raises
from torch import nn

from humanpose_cli.core.errors import InputError
from humanpose_cli.networks.weights import fill


def network():
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def test_everything_is_loaded_but_counters():
    a, b = network(), network()
    a(torch.randn(4, 2, 3, 3))
    fill(b, {name: value for name, value in a.state_dict().items() if "num_batches" not in name}, "file")
    for name, value in a.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, b.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.bias": None}, {"subject": "file", "expected": "(3,)", "got": "nothing"}),
        ({"2.bias": torch.zeros(1)}, {"problem": "2.bias", "expected": "nothing", "got": "(1,)"}),
        ({"0.weight": torch.zeros(3, 2, 3, 3)}, {"problem": "0.weight", "got": "(3, 2, 3, 3)"}),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    state = {name: value for name, value in {**network().state_dict(), **change}.items() if value is not None}
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with raises(InputError, **message):
        fill(model, state, "file")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
