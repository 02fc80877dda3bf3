"""Volumetric heatmaps by their formula."""

import math

import numpy as np
import pytest
import torch

from humanpose_cli.models.warp3d.heatmaps import gaussian_heatmaps

SIZE = (6, 8, 10)


def random_joints(batch=2, count=5, size=SIZE, dtype=torch.float32):
    """Joints (batch, count, 3) inside the volume."""
    generator = torch.Generator().manual_seed(0)
    extent = torch.tensor(size[::-1], dtype=torch.float64)
    return (torch.rand((batch, count, 3), generator=generator, dtype=torch.float64) * extent).to(dtype)


def by_formula(joints, sigma, size):
    """exp(−½ Σ ((voxel − joint) / sigma)²), (B, J, D, H, W) in numpy."""
    z, y, x = np.mgrid[: size[0], : size[1], : size[2]] + 0.5
    voxels = np.stack((x, y, z), -1)
    offsets = (voxels - joints.cpu().double().numpy()[:, :, None, None, None]) / np.asarray(sigma)
    return np.exp(-0.5 * (offsets**2).sum(-1))


@pytest.mark.parametrize("sigma", [(1.5, 1.5, 1.5), (0.7, 1.5, 3.0), (2.0, 2.0, math.inf), (1e-3, 1.0, 1.0)])
def test_heatmaps_follow_the_formula_with_a_sigma_for_each_axis(sigma):
    joints = random_joints()
    found = gaussian_heatmaps(joints, sigma, SIZE)
    assert found.shape == (2, 5, *SIZE)
    np.testing.assert_allclose(found.cpu().numpy(), by_formula(joints, sigma, SIZE), rtol=2e-5, atol=1e-12)


@pytest.mark.parametrize(("batch", "count"), [(2, 5), (1, 1), (1, 19), (3, 1)])
def test_joints_are_the_channels_in_memory(batch, count):
    heatmaps = gaussian_heatmaps(random_joints(batch, count), (1.0, 1.0, 1.0), SIZE)
    assert heatmaps.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(heatmaps.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3), heatmaps)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sigma_z", [1.5, math.inf])
def test_joints_that_are_not_finite_have_empty_maps_and_no_gradient(value, axis, sigma_z):
    joints = random_joints()
    expected = gaussian_heatmaps(joints, (1.5, 1.5, sigma_z), SIZE)
    joints[0, 2, axis] = value
    joints.requires_grad_()
    found = gaussian_heatmaps(joints, (1.5, 1.5, sigma_z), SIZE)
    assert not found[0, 2].any()
    others = torch.ones(2, 5, dtype=torch.bool)
    others[0, 2] = False
    assert torch.equal(found[others], expected[others])
    (gradient,) = torch.autograd.grad(found.square().sum(), joints)
    assert not gradient[0, 2].any()
    assert gradient.isfinite().all()
    assert gradient[others][:, :2].all()


def test_joints_outside_show_what_reaches_in():
    joints = torch.tensor([[[-1.0, 4.0, 3.0], [-100.0, 4.0, 3.0], [1e15, 4.0, 3.0]]], requires_grad=True)
    heatmaps = gaussian_heatmaps(joints, (1.0, 1.0, 1.0), SIZE)
    np.testing.assert_allclose(
        heatmaps[:, :1].detach(), by_formula(joints[:, :1].detach(), (1.0,) * 3, SIZE), rtol=2e-5, atol=1e-12
    )
    assert not heatmaps[0, 1:].any()
    assert not torch.autograd.grad(heatmaps.sum(), joints)[0][0, 1:].any()


def test_no_value_is_denormal():
    heatmaps = gaussian_heatmaps(random_joints(size=(64, 64, 64), count=9), (1.5, 1.5, 1.5), (64, 64, 64))
    assert heatmaps[heatmaps > 0].min() >= torch.finfo(torch.float32).tiny


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [(1.0, 1.5, 0.8), (1.0, 1.5, math.inf)])
def test_gradcheck_of_heatmaps(sigma):
    joints = random_joints(2, 2, (2, 3, 4), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda j: gaussian_heatmaps(j, sigma, (2, 3, 4)), joints)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["channels_last_3d", "contiguous", "expanded"])
def test_gradients_do_not_depend_on_the_memory_format_that_comes_back(layout):
    joints = random_joints().requires_grad_()
    heatmaps = gaussian_heatmaps(joints, (1.5, 1.5, 1.5), SIZE)
    upstream = torch.randn(heatmaps.shape, generator=torch.Generator().manual_seed(3))
    if layout == "channels_last_3d":
        upstream = upstream.contiguous(memory_format=torch.channels_last_3d)
    elif layout == "expanded":
        upstream = upstream[:, :, :1, :1, :1].expand_as(heatmaps)
    (found,) = torch.autograd.grad(heatmaps, joints, upstream)
    exact = joints.detach().cpu().double().requires_grad_()
    z, y, x = (torch.arange(n).double() + 0.5 for n in SIZE)
    profiles = [torch.exp(-0.5 * ((c - exact[..., i, None]) / 1.5) ** 2) for i, c in enumerate((x, y, z))]
    dense = torch.einsum("bjw,bjh,bjd->bjdhw", *profiles)
    (expected,) = torch.autograd.grad(dense, exact, upstream.cpu().double())
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-4, atol=1e-5)
