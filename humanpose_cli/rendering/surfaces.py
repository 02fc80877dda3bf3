"""Triangle meshes to draw, in camera axes, with a colour, colours of vertices or a texture; and their lighting."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.drawing.op import Lighting as Lighting
from humanpose_cli.engine.drawing.op import vertex_normals as vertex_normals

Array = NDArray[np.float32]

_LARGE = 256  # rows of an image that is large


@dataclass(frozen=True)
class Texture:
    """An image on a mesh.

    Attributes:
        image: (h, w, 3 or more) float32, 0…1, or uint8. Further channels are not drawn.
        uv: (T, 2) float, 0…1, v down.
        uv_faces: (F, 3) int32. The rows of `uv` of the mesh's faces.
    """

    image: NDArray[np.float32] | NDArray[np.uint8]
    uv: Tensor
    uv_faces: Tensor


@dataclass(frozen=True)
class Surface:
    """A mesh to draw.

    Attributes:
        vertices: (V, 3) float, metres in camera axes.
        faces: (F, 3) int32, counter-clockwise from outside; only normals depend on it.
        colour: (3,) or (V, 3) float, 0…1, RGB. Unused with a texture.
        texture: The texture; None for the colour.
        lit: Whether to shade by the light. Textures with their own light are not lit.
        brightness: (V,) float. Factors on a texture in place of the light; None for none.
        hatched: (V,) bool. Drawn in diagonal stripes; None for nowhere.
    """

    vertices: Tensor
    faces: Tensor
    colour: NDArray[np.float32] | tuple[float, float, float] = (0.8, 0.8, 0.8)
    texture: Texture | None = None
    lit: bool = True
    brightness: Tensor | None = None
    hatched: Tensor | None = None

    def __post_init__(self) -> None:
        if self.vertices.ndim != 2 or self.vertices.shape[-1] != 3:
            raise UsageError("vertices", "have the wrong shape", expected="(V, 3)", got=str(tuple(self.vertices.shape)))


def _halved(image: NDArray[np.float32] | NDArray[np.uint8], levels: int) -> Array:
    """Halve the texture (h, w, C) at most `levels` times, as float32 in 0…1."""
    result = np.ascontiguousarray(image.reshape(*image.shape[:2], -1), np.float32)
    for _ in range(levels):
        height = result.shape[0] // 2
        width = result.shape[1] // 2
        if min(height, width) < 1:
            break
        smaller = cv2.resize(result, (width, height), interpolation=cv2.INTER_AREA)
        result = np.asarray(smaller, np.float32).reshape(height, width, -1)
    return result / np.float32(255) if image.dtype == np.uint8 else result


def _texels_per_pixel(uv: Array, mask: NDArray[np.bool_], size: tuple[int, int]) -> float:
    """Return the median distance in texels between neighbouring pixels in `mask`; 1 if unknown."""
    # Every fourth row of large images is enough.
    rows = slice(None, None, 4 if mask.shape[-2] > _LARGE else 1)
    uv = uv[..., rows, :, :]
    mask = mask[..., rows, :]
    inside = mask[..., 1:] & mask[..., :-1]
    if not inside.any():
        return 1.0
    step = (uv[..., 1:, :] - uv[..., :-1, :])[inside] * np.asarray([size[1], size[0]], np.float32)
    return float(np.median(np.hypot(step[:, 0], step[:, 1])))


def sample_texture(
    image: NDArray[np.float32] | NDArray[np.uint8], uv: Array, mask: NDArray[np.bool_], samples: int = 1
) -> Array:
    """Sample a texture bilinearly.

    A halved copy is used if the drawn image is coarser than the texture.

    Args:
        image: (h, w, C) float32, 0…1, or uint8.
        uv: (N, H, W, 2) float, 0…1, v down.
        mask: (N, H, W) bool. The pixels on the surface.
        samples: Samples per pixel.

    Returns:
        (N, H, W, C) float32.
    """
    ratio = _texels_per_pixel(uv, mask, (image.shape[0], image.shape[1])) / samples**0.5
    texture = _halved(image, max(0, round(float(np.log2(max(ratio, 1e-6))))))
    height, width, channels = texture.shape
    result = np.empty((*uv.shape[:-1], channels), np.float32)
    for coordinates, out in zip(uv, result, strict=True):
        x = coordinates[..., 0] * np.float32(width) - np.float32(0.5)
        y = coordinates[..., 1] * np.float32(height) - np.float32(0.5)
        out[...] = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(out.shape)
    return result
