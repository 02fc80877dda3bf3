"""Bytes kept for gradients, against what autograd is known to keep."""

import torch
from torch import nn

from humanpose_cli.lab.train.processes import counted_activations


def test_what_is_kept_is_counted_once():
    model = nn.Linear(16, 16, bias=False)
    x = torch.randn(8, 16, requires_grad=True)
    with counted_activations(model) as kept:
        loss = (
            model(x) * x
        ).sum()  # x and the product's other factor, 8 × 16 floats each; x once, the weights not at all
        assert loss.requires_grad
    assert kept() == 2 * 8 * 16 * 4
    with counted_activations(model) as kept, torch.no_grad():
        model(x)
    assert kept() == 0


def test_gradients_are_as_without():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(2, 3, 8, 8)
    plain = torch.autograd.grad(model(x).sum(), tuple(model.parameters()))
    with counted_activations(model) as kept:
        loss = model(x).sum()
    assert kept() >= x.numel() * 4
    for a, b in zip(torch.autograd.grad(loss, tuple(model.parameters())), plain, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
    assert kept() == 0


def test_what_is_freed_in_the_pass_does_not_count():
    """Its address is free for the next tensor: what came of it depended on the process."""
    x = torch.randn(8, 16, requires_grad=True)
    with counted_activations(nn.Linear(1, 1)) as kept:
        for _ in range(5):
            assert x.exp().requires_grad
        loss = x.exp().sum()
    assert loss.requires_grad
    assert kept() == 8 * 16 * 4
