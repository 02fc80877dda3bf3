"""Similarity of two images: SSIM, of the complete image or of the person alone, overlap of masks, and LPIPS.

Images are float tensors (B, 3, H, W) with a known range. Results keep the batch: callers average, or
take confidence intervals over pairs.

The Inception Score is left out on purpose: it rewards images that are spread over ImageNet's classes, and
every reposed person should be of one class (Knoche, Sárándi, Leibe 2020, appendix A).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.digests import digest_of
from humanpose_cli.networks.backbones import AlexNet
from humanpose_cli.networks.weights import fill, read_tensors

SsimWindow = Literal["gaussian", "uniform"]
"""gaussian: 11 × 11, σ 1.5, population covariances, as Wang et al. 2004. uniform: 7 × 7, sample covariances, which is
scikit-image's default, and what the reposing papers' figures are of. They differ by one or two hundredths."""
_SIGMA = 1.5
_RADIUS: Mapping[SsimWindow, int] = {"gaussian": 5, "uniform": 3}
_K1, _K2 = 0.01, 0.03
_PATN_WIDTH = 176


def ssim_map(first: Tensor, second: Tensor, window: SsimWindow = "gaussian") -> Tensor:
    """Return the structural similarity at every pixel and channel (Wang et al. 2004); differentiable.

    Images are extended by reflection, so that every pixel has a value (as with scikit-image's `full=True`).

    Args:
        first: (B, C, H, W) float, 0 to 1. The first images.
        second: (B, C, H, W) float, 0 to 1. The second images.
        window: The window.

    Returns:
        (B, C, H, W) float. The similarity.
    """
    radius = _RADIUS[window]
    a, b, smooth = first, second, _smoother(window, first)
    mean_a, mean_b, square_a, square_b, product = (smooth(x) for x in (a, b, a * a, b * b, a * b))
    count = (2 * radius + 1) ** 2
    sample_factor = count / (count - 1) if window == "uniform" else 1.0
    var_a, var_b = sample_factor * (square_a - mean_a**2), sample_factor * (square_b - mean_b**2)
    covariance = sample_factor * (product - mean_a * mean_b)
    c1, c2 = _K1**2, _K2**2
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def ssim(first: Tensor, second: Tensor, window: SsimWindow = "gaussian") -> Tensor:
    """Return the mean structural similarity of each pair of images, without windows that leave the image.

    Args:
        first: (B, C, H, W) float, 0 to 1. The first images.
        second: (B, C, H, W) float, 0 to 1. The second images.
        window: The window.

    Returns:
        (B,) float. The similarity.
    """
    similarity, radius = ssim_map(first, second, window), _RADIUS[window]
    height, width = similarity.shape[2:]
    if min(height, width) <= 2 * radius:
        return similarity.mean((1, 2, 3))
    return similarity[:, :, radius : height - radius, radius : width - radius].mean((1, 2, 3))


def ssim_signed(image: Tensor, true: Tensor) -> Tensor:
    """Return SSIM as iPER's owners compute it (svip-lab/impersonator@b041dd41, metrics.py): uniform windows.

    Means of windows count from the middle grey, so it differs from the similarity of images from 0 to 1.

    Args:
        image: (B, C, H, W) float, −1 to 1. The images.
        true: (B, C, H, W) float, −1 to 1. The true images.

    Returns:
        (B,) float. The similarity.
    """
    return ssim(image / 2, true / 2, "uniform")


def ssim_patn(image: Tensor, true: Tensor) -> Tensor:
    """Return SSIM on DeepFashion as PATN's evaluator computes it.

    After tengteng95/Pose-Transfer@281ee2d3, getMetrics_fashion.py. The columns outside the middle 176 are white in both
    images. Windows are Gaussian. The range of values is that of the first image, so the order matters.

    Args:
        image: (B, 3, 256, 256) float, −1 to 1. The images.
        true: (B, 3, 256, 256) float, −1 to 1. The true images.

    Returns:
        (B,) float. The similarity.

    Raises:
        UsageError: If images are too narrow.
    """
    beyond = (image.shape[-1] - _PATN_WIDTH) // 2
    if image.ndim != 4 or beyond < 0:
        raise UsageError("images", "are narrower than PATN's", expected="(B, 3, 256, 256)", got=str(tuple(image.shape)))
    a, b = (
        torch.nn.functional.pad(x[..., beyond : x.shape[-1] - beyond], (beyond, beyond), value=1.0)
        for x in (image, true)
    )
    span = (a.amax((1, 2, 3), keepdim=True) - a.amin((1, 2, 3), keepdim=True)).clamp_min(torch.finfo(a.dtype).eps)
    # Constants go with the range, so that images over the range have the same similarity; offsets matter, so from 0.
    return ssim((a + 1) / span, (b + 1) / span)


def ssim_foreground(first: Tensor, second: Tensor, mask: Tensor, window: SsimWindow = "gaussian") -> Tensor:
    """Return the mean structural similarity over the person's pixels.

    Windows at the outline contain some background. (The warp3d paper's SSIM_fg "only evaluates the foreground"; its
    authors use the mask in `capsule_masks`.)

    Args:
        first: (B, C, H, W) float, 0 to 1. The first images.
        second: (B, C, H, W) float, 0 to 1. The second images.
        mask: (B, 1, H, W) float. The person in the true image, above 0.5, so that all methods are evaluated on the
            same pixels.
        window: The window.

    Returns:
        (B,) float. The similarity, NaN if the mask is empty.
    """
    inside = mask > 0.5
    values = ssim_map(first, second, window).mean(1, keepdim=True)
    return torch.where(inside, values, 0.0).sum((1, 2, 3)) / inside.sum((1, 2, 3))


def mask_iou(predictions: Tensor, true: Tensor) -> Tensor:
    """Return the intersection over union of masks, to which pixels above 0.5 belong.

    Args:
        predictions: (B, 1, H, W) float. The predicted masks.
        true: (B, 1, H, W) float. The true masks.

    Returns:
        (B,) float. The overlap, 1 if both masks are empty.
    """
    a, b = predictions > 0.5, true > 0.5
    intersection, union = (a & b).flatten(1).sum(1), (a | b).flatten(1).sum(1)
    return torch.where(union > 0, intersection / union.clamp_min(1), 1.0)


def _smoother(window: SsimWindow, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that averages images (B, C, H, W) over the window, extended by reflection (c b a | a b c)."""
    # A product with one matrix per axis: convolutions of single channels are several times slower, in both directions.
    rows, columns = (_smoothing(window, size, like) for size in like.shape[2:])
    return lambda images: rows @ images @ columns.T


def _smoothing(window: SsimWindow, size: int, like: Tensor) -> Tensor:
    """Return the weight (size, size) of each pixel of a row in each mean."""
    radius, along = _RADIUS[window], torch.arange(size, device=like.device)
    offsets = torch.arange(-radius, radius + 1, device=like.device)
    sources = along[:, None] + offsets
    sources = torch.where(sources < 0, -1 - sources, sources)
    sources = torch.where(sources >= size, 2 * size - 1 - sources, sources)
    distances = offsets.to(like.dtype)
    weights = torch.exp(-0.5 * (distances / _SIGMA) ** 2) if window == "gaussian" else torch.ones_like(distances)
    weights = (weights / weights.sum()).expand(size, -1)
    return torch.zeros((size, size), dtype=like.dtype, device=like.device).scatter_add_(1, sources, weights)


_CHANNELS = (64, 192, 384, 256, 256)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images −1 to 1
_SMALLEST = 64


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018, version 0.1) on AlexNet, which its authors recommend for evaluation.

    It is only LPIPS with the authors' weights, so both files are required.

    Args:
        backbone: The file of torchvision's AlexNet.
        linear: The file of the authors' lin0 … lin4.

    Raises:
        InputError: If a file does not hold these weights.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Path | str, linear: Path | str) -> None:
        super().__init__()
        self.network = AlexNet()
        state = {name: value for name, value in read_tensors(Path(backbone)).items() if name.startswith("features.")}
        fill(self.network, state, backbone)
        weights = _linear(Path(linear))
        self.weights = nn.ParameterList(nn.Parameter(w, requires_grad=False) for w in weights)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.sources = {name: digest_of(Path(path)) for name, path in (("backbone", backbone), ("linear", linear))}
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Measure the distance of images.

        Args:
            first: (B, 3, H, W) float, −1 to 1. The first images.
            second: (B, 3, H, W) float, −1 to 1. The second images.

        Returns:
            (B,) float. The distance.

        Raises:
            UsageError: If the images are too small.
        """
        if min(first.shape[2:]) < _SMALLEST:
            raise UsageError("images", "are too small", expected=f"{_SMALLEST} pixels or more", got=f"{first.shape}")
        total = first.new_zeros(len(first))
        features = (self.network((images - self.shift) / self.scale) for images in (first, second))
        for a, b, weight in zip(*features, self.weights, strict=True):
            total = total + ((_unit(a) - _unit(b)).square() * weight).sum(1).mean((1, 2))
        return total

    def describe(self) -> dict[str, Any]:
        """Return the network and its files' SHA-256, as plain values."""
        return {"network": "alex", **self.sources}


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _linear(path: Path) -> list[Tensor]:
    state = read_tensors(path)
    weights = []
    for number, count in enumerate(_CHANNELS):
        name = f"lin{number}.model.1.weight"
        if name not in state or state[name].shape != (1, count, 1, 1):
            got = str(tuple(state[name].shape)) if name in state else "nothing"
            raise InputError(path, f"does not fit at {name}", expected=f"(1, {count}, 1, 1)", got=got)
        weights.append(state[name].float())
    return weights
