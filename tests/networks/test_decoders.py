"""Partial convolutions against their definition, pixel by pixel."""

import numpy as np
import pytest
import torch

from humanpose_cli.networks.decoders import PartialConv2d


def brute_force(layer, x, mask, stride, padding):
    """Liu et al. 2018, equations 1 and 2, on one image; the mask of each channel is its group's."""
    weight, bias = layer.conv.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    outputs, channels, kernel, _ = weight.shape
    full = np.repeat(mask, layer.groups, axis=0)
    x, full = (np.pad(a, ((0, 0), (padding, padding), (padding, padding))) for a in (x, full))
    height, width = ((n - kernel) // stride + 1 for n in x.shape[1:])
    values, coverage = np.zeros((outputs, height, width)), np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            window = np.s_[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            m = full[window]
            if m.sum() > 0:
                inner = (weight * np.where(m > 0, x[window], 0)).sum((1, 2, 3))
                values[:, i, j] = inner * m.size / m.sum() + bias
                coverage[i, j] = 1
    assert channels == sum(layer.groups)
    return values, coverage


@pytest.mark.parametrize(
    ("groups", "kernel", "stride", "padding"), [((3,), 3, 1, 1), ((4,), 5, 2, 2), ((3, 2), 3, 1, 1), ((2, 5), 3, 2, 0)]
)
def test_it_is_what_the_paper_defines(groups, kernel, stride, padding):
    generator = torch.Generator().manual_seed(kernel + stride)
    torch.manual_seed(0)
    layer = PartialConv2d(groups, 4, kernel, stride=stride, padding=padding)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, sum(groups), 13, 11, generator=generator)
    mask = (torch.rand(2, len(groups), 13, 11, generator=generator) < 0.25).float()
    mask[:, :, :6, :6] = 0
    found, coverage = layer(x, mask)
    for one in range(2):
        values, expected = brute_force(layer, x[one].double().numpy(), mask[one].numpy(), stride, padding)
        np.testing.assert_allclose(found[one].detach().numpy(), values, atol=1e-5)
        np.testing.assert_array_equal(coverage[one, 0].numpy(), expected)
    assert 0 < coverage.mean() < 1


def test_what_is_missing_has_no_influence():
    torch.manual_seed(2)
    layer = PartialConv2d((3,), 2, 3, padding=1)
    x, mask = torch.randn(1, 3, 9, 9), (torch.rand(1, 1, 9, 9) < 0.5).float()
    poisoned = torch.where(mask > 0, x, torch.tensor(float("nan"))).requires_grad_()
    found, _ = layer(poisoned, mask)
    torch.testing.assert_close(found, layer(x, mask)[0])
    found.sum().backward()
    assert (poisoned.grad[(mask == 0).expand_as(poisoned.grad)] == 0).all()
