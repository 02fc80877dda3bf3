"""Metrics of images against scikit-image and by hand."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from humanpose_cli.lab.metrics.images import mask_iou, ssim, ssim_foreground, ssim_map


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    smooth = np.cumsum(random.normal(size=(3, 40, 37, 3)), axis=2)
    first = (smooth - smooth.min()) / np.ptp(smooth)
    second = np.clip(first + 0.1 * random.normal(size=first.shape), 0, 1)
    return first, second


def as_tensors(images):
    return [torch.from_numpy(p).permute(0, 3, 1, 2) for p in images]


def scikit(a, b):
    return structural_similarity(
        a, b, channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )


def test_ssim_is_scikit_images(images):
    a, b = as_tensors(images)
    for one in range(3):
        mean, values = scikit(images[0][one], images[1][one])
        assert ssim(a, b)[one].item() == pytest.approx(mean, abs=1e-9)
        np.testing.assert_allclose(ssim_map(a, b)[one].permute(1, 2, 0).numpy(), values, atol=1e-9)


def test_uniform_windows_are_scikit_images_default(images):
    a, b = as_tensors(images)
    mean, values = structural_similarity(images[0][1], images[1][1], channel_axis=-1, data_range=1.0, full=True)
    assert ssim(a, b, "uniform")[1].item() == pytest.approx(mean, abs=1e-9)
    np.testing.assert_allclose(ssim_map(a, b, "uniform")[1].permute(1, 2, 0).numpy(), values, atol=1e-9)
    mask = torch.ones(3, 1, 40, 37)
    assert ssim_foreground(a, b, mask, "uniform")[1].item() == pytest.approx(values.mean())
    assert ssim(a, b, "uniform")[1].item() != pytest.approx(ssim(a, b)[1].item(), abs=1e-3)


def test_the_foreground_alone(images):
    a, b = as_tensors(images)
    mask = torch.zeros(3, 1, 40, 37)
    mask[0, 0, 10:20, 5:30] = 1
    mask[1] = 1
    found = ssim_foreground(a, b, mask)
    assert found[0].item() == pytest.approx(ssim_map(a, b)[0, :, 10:20, 5:30].mean().item())
    assert found[1].item() == pytest.approx(ssim_map(a, b)[1].mean().item())
    assert found[2].isnan()


@pytest.mark.slow
def test_ssim_has_gradients():
    a = torch.rand(1, 1, 12, 12, dtype=torch.float64, requires_grad=True)
    b = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim_map(x, b), a)


def test_overlap_of_masks():
    found, true = torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4)
    found[0, 0, :2], true[0, 0, 1:3] = 0.9, 1
    found[1, 0, 0] = 0.4
    true[1, 0, 0] = 1
    np.testing.assert_allclose(mask_iou(found, true), [1 / 3, 0, 1])
