"""The texture of a person from many frames: a robust average of the colours at each surface point.

Each frame is baked by `body.texture.bake_photo`, with weights for the view angle and the distance to the outlines of
body and person: at an outline, a fit that is off by a few pixels reads the background. The colour of a texel with
samples x and weights w minimises Σ w ρ(|x − c|) with Geman and McClure's ρ. It is found by reweighted means, whose
scale shrinks from the spread of the colours to their noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.texture import BakedTexture, bleed_islands, fill_smoothly
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.images import encode_image, png_text, read_image
from humanpose_cli.outputs.output_names import beside_fit
from humanpose_cli.outputs.protection import protect

Array = NDArray[Any]

_BODY = "humanpose-cli body"  # the keyword of its name in a PNG
_ROWS = 64  # of texels averaged at once: bounds the memory
_SCALES = (0.5, 0.25, 0.12, 0.12)  # of colours in each round, robust; the first is wide for outliers' sake


class TextureSamples:
    """Samples of a person's texture, one per frame; 1 MB a frame at 512 texels.

    Args:
        size: The texels along each side.
        full_weight: The sum of weights from which a texel is fully trusted.
    """

    def __init__(self, size: int, full_weight: float = 0.5) -> None:
        self.size = size
        self.full_weight = full_weight
        self._samples: list[NDArray[np.uint8]] = []

    def add(self, baked_texture: BakedTexture) -> None:
        """Add a frame, a texture of `size` texels along each side."""
        sample = np.dstack((baked_texture.colour, baked_texture.confidence))
        self._samples.append(np.rint(np.clip(sample, 0, 1) * 255).astype(np.uint8))

    def mean(self) -> BakedTexture:
        """Return the robust average of all frames with its confidence."""
        result = np.zeros((self.size, self.size, 4), np.float32)
        for start in range(0, self.size if self._samples else 0, _ROWS):
            part = np.stack([sample[start : start + _ROWS] for sample in self._samples])
            shown = part[..., 3].any(0)
            values = part[:, shown].astype(np.float32) / 255
            colour, weight = robust_mean(values[..., :3], values[..., 3])
            result[start : start + _ROWS][shown] = np.column_stack((colour, np.clip(weight / self.full_weight, 0, 1)))
        return BakedTexture(np.ascontiguousarray(result[..., :3]), result[..., 3], result[..., 3] > 0)

    def texture(self, covered: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return the robust average as an image without holes.

        Args:
            covered: (size, size) bool. The texels on the surface.

        Returns:
            (size, size, 4) uint8. Straight colour and confidence; holes have the colours around them.
        """
        mean = self.mean()
        return _without_holes(np.dstack((mean.colour, mean.confidence)), covered)


def robust_mean(samples: Array, weights: Array) -> tuple[Array, Array]:
    """Average samples robustly.

    Args:
        samples: (K, ..., 3) float, 0…1.
        weights: (K, ...) float.

    Returns:
        The colours (..., 3), and the weight (...) of the samples that agree with them.
    """
    planes = np.ascontiguousarray(np.moveaxis(samples, -1, 0))  # (3, K, ...): sums over a short last axis are slow
    total = weights.sum(0)
    mean = (weights * planes).sum(1) / np.maximum(total, 1e-6)
    for scale in _SCALES:
        squares = np.square(planes - mean[:, None]).sum(0)
        robust = weights * np.square(scale**2 / (scale**2 + squares))
        total = robust.sum(0)
        mean = (robust * planes).sum(1) / np.maximum(total, 1e-6)
    return np.moveaxis(mean, 0, -1), total


def _without_holes(texture: Array, covered: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Spread colours into texels that are not known, and over the islands' borders."""
    weight = texture[..., 3] * covered
    colour = fill_smoothly(np.ascontiguousarray(texture[..., :3]), weight)
    result = np.ascontiguousarray(np.dstack((colour, weight)))
    bleed_islands(result, covered)
    return np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)


def texture_path(fit: Path, track: int) -> Path:
    """Return the path of a track's texture beside its fit file: `clip.mp4.person0.texture.png`."""
    return beside_fit(fit, f".person{track}.texture.png")


def texture_png(texture: NDArray[np.uint8], body: str) -> bytes:
    """Encode a texture (size, size, 4) uint8 as a PNG that holds the name of its body."""
    return encode_image(texture, ".png", text={_BODY: body})


def read_texture(path: Path | str, covered: NDArray[np.bool_], body: str) -> NDArray[np.uint8]:
    """Read a texture file.

    Args:
        path: The file. A file without the name of a body, from earlier versions, is accepted for any body.
        covered: (size, size) bool. The body's texels on the surface.
        body: The name of the body.

    Returns:
        (size, size, 4) uint8. Straight colour and confidence.

    Raises:
        InputError: If the file is no image, has another size, or belongs to another body.
    """
    protect([path])
    image = read_image(path)
    side = len(covered)
    file_body = png_text(path).get(_BODY, body)
    if file_body != body:
        remedy = "take one that was made with fits of this body"
        raise InputError(path, "is a texture of another body", expected=body, got=file_body, remedy=remedy)
    if image.pixels.shape[:2] != (side, side):
        height, width = image.pixels.shape[:2]
        form = f"{side} × {side} pixels, as hpc refine writes them"
        raise InputError(path, "is no texture of a body", expected=form, got=f"{width} × {height}")
    weight = np.ones((side, side), np.float32) if image.alpha is None else image.alpha.astype(np.float32) / 255
    over_white = image.pixels.astype(np.float32) / 255
    colour = 1 - (1 - over_white) / np.maximum(weight, 1 / 255)[..., None]
    return _without_holes(np.dstack((np.clip(colour, 0, 1), weight)), covered)
