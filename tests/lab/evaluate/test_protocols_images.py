"""Published protocols of reposed images: each gives what the public evaluator's call of scikit-image gives.

The values for a pair of random images of 8 bits are frozen, so that neither side changes unnoticed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.errors import raises
from skimage.metrics import structural_similarity

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.metrics.images import ssim_patn, ssim_signed

UNIFORM, SIGNED, PATN = 0.9337621, 0.9275975, 0.9602160


def pair() -> tuple[np.ndarray, np.ndarray]:
    """A made and a true image (256, 256, 3) uint8."""
    random = np.random.default_rng(6)
    ramps = np.cumsum(random.normal(size=(256, 256, 3)), axis=1)
    true = np.interp(ramps, (ramps.min(), ramps.max()), (3, 255))
    made = np.clip(true + random.normal(0, 6, true.shape), 20, 240)
    return made.round().astype(np.uint8), true.round().astype(np.uint8)


def as_network(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None] / 127.5 - 1


def test_images_of_ipers_owners_have_signs() -> None:
    """svip-lab/impersonator, metrics.py: images −1 to 1 and no range, which scikit-image took for that of floats."""
    made, true = (image / 127.5 - 1 for image in pair())
    assert structural_similarity(true, made, channel_axis=-1, data_range=2.0) == pytest.approx(SIGNED, abs=1e-6)
    assert float(ssim_signed(*map(as_network, pair()))) == pytest.approx(SIGNED, abs=1e-6)


def test_patn_has_white_bars_and_the_range_of_the_made_image() -> None:
    """tengteng95/Pose-Transfer, getMetrics_fashion.py: addBounding to the middle 176 columns, then compare_ssim."""
    bounded = []
    for image in pair():
        white = np.full_like(image, 255)
        white[:, 40:216] = image[:, 40:216]
        bounded.append(white)
    made, true = bounded
    extent = int(made.max()) - int(made.min())
    windows = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    derived = structural_similarity(true, made, channel_axis=-1, data_range=extent, **windows)
    assert derived == pytest.approx(PATN, abs=1e-6)
    first, second = (as_network(image) for image in pair())
    assert float(ssim_patn(first, second)) == pytest.approx(PATN, abs=1e-6)
    assert float(ssim_patn(second, first)) != pytest.approx(PATN, abs=1e-6)
    with raises(UsageError, problem="are narrower than PATN's"):
        ssim_patn(first[..., :100], second[..., :100])
