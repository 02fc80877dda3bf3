"""How alike two pictures are: SSIM, of the whole picture or of the person alone, and the overlap of masks.

Pictures are tensors (B, 3, H, W) of any float type with a known range. Results keep the batch: callers average, or
take confidence intervals over pairs.

The Inception Score is left out on purpose: it rewards a set of pictures for being spread over ImageNet's classes, and
every reposed person should be of one (Knoche, Sárándi, Leibe 2020, appendix A).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from humanpose_cli.errors import UsageError

__all__ = ["mask_iou", "ssim", "ssim_foreground", "ssim_map"]

_SIGMA, _RADIUS = 1.5, 5
_K1, _K2 = 0.01, 0.03


def ssim_map(first: Tensor, second: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Structural similarity at every pixel and channel (Wang et al. 2004): (B, C, H, W) twice → (B, C, H, W).

    Gaussian windows of 11 × 11 with σ 1.5 and population covariances, as in the paper; pictures are continued by their
    reflection, so that every pixel has a value (as scikit-image's `full=True`). Differentiable.
    """
    if first.shape != second.shape or first.ndim != 4 or min(first.shape[2:]) < _RADIUS:
        expected = f"(B, C, H, W) twice, {_RADIUS} pixels or more"
        raise UsageError("pictures", "do not match", expected=expected, got=f"{first.shape} and {second.shape}")
    a, b = _reflected(first), _reflected(second)
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def ssim(first: Tensor, second: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Mean structural similarity of each pair of pictures, windows that leave the picture left out: (B,)."""
    whole = ssim_map(first, second, data_range=data_range)
    height, width = whole.shape[2:]
    if min(height, width) <= 2 * _RADIUS:
        return whole.mean((1, 2, 3))
    return whole[:, :, _RADIUS : height - _RADIUS, _RADIUS : width - _RADIUS].mean((1, 2, 3))


def ssim_foreground(first: Tensor, second: Tensor, mask: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Mean structural similarity over the person's pixels: (B,); NaN where the mask is empty.

    mask  (B, 1, H, W), above 0.5 where the true picture shows the person: that of the truth, not of what is judged, so
          that all methods are judged on the same pixels. Windows at the outline see some background too. (The warp3d
          paper's SSIM_fg "only evaluates the foreground"; it does not say whose.)
    """
    inside = mask > 0.5
    values = ssim_map(first, second, data_range=data_range).mean(1, keepdim=True)
    return torch.where(inside, values, 0.0).sum((1, 2, 3)) / inside.sum((1, 2, 3))


def mask_iou(found: Tensor, true: Tensor, threshold: float = 0.5) -> Tensor:
    """Intersection over union of masks (B, 1, H, W): (B,); 1 where both are empty."""
    if found.shape != true.shape:
        raise UsageError("masks", "do not match", got=f"{tuple(found.shape)} and {tuple(true.shape)}")
    a, b = found > threshold, true > threshold
    both, either = (a & b).flatten(1).sum(1), (a | b).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)


def _reflected(picture: Tensor) -> Tensor:
    """Continued by its reflection about the edges (d c b a | a b c d), wide enough for the window."""
    for axis in (2, 3):
        size = picture.shape[axis]
        places = torch.arange(-_RADIUS, size + _RADIUS, device=picture.device)
        places = torch.where(places < 0, -1 - places, places)
        places = torch.where(places >= size, 2 * size - 1 - places, places)
        picture = picture.index_select(axis, places)
    return picture


def _smooth(picture: Tensor) -> Tensor:
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, device=picture.device, dtype=picture.dtype)
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights = weights / weights.sum()
    # Channels as pictures of their own: a grouped convolution would be slower.
    flat = picture.flatten(0, 1)[:, None]
    smooth = conv2d(conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return smooth[:, 0].unflatten(0, picture.shape[:2])
