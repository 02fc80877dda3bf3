"""What lenses, sensors and files do to a picture: blur, motion, noise, sharpening, vignette, rescaling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Degradation", "degrade", "sample_degradation"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Degradation:
    """Damage to a picture; the plain one does nothing but round.

    blur           Gaussian of the whole picture, pixels; backdrop_blur another one of what lies behind the people
    motion         (2,) pixels by which the camera moves while the shutter is open
    rescale        the picture is stored this many times smaller and enlarged again
    noise          deviation in grey levels at mid grey, stronger in the light as photons are counted; chroma: of colour
    sharpen        share of the detail that is added again
    vignette       how much darker the corners are, 0…1
    balance        (3,) factors of red, green and blue; contrast about mid grey; saturation
    jpeg_quality   at which a picture is compressed once before it is stored; 0 for not
    """

    blur: float = 0.0
    backdrop_blur: float = 0.0
    motion: tuple[float, float] = (0.0, 0.0)
    rescale: float = 1.0
    noise: float = 0.0
    chroma: float = 0.0
    sharpen: float = 0.0
    vignette: float = 0.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    jpeg_quality: int = 0


def sample_degradation(random: np.random.Generator, size: tuple[int, int], strength: float = 1.0) -> Degradation:
    """Random damage, none to severe; blur and motion grow with the picture's longer side."""
    scale = max(size) / 256 * strength

    def sometimes(probability: float, value: float) -> float:
        return value if random.random() < probability else 0.0

    motion = sometimes(0.12, random.uniform(1.0, 5.0)) * scale
    angle = random.uniform(0, math.pi)
    warmth, tint = random.normal(0, 0.05 * strength, 2)
    return Degradation(
        blur=sometimes(0.4, random.gamma(1.5, 0.3)) * scale,
        backdrop_blur=sometimes(0.55, random.gamma(1.3, 1.6)) * scale,
        motion=(motion * math.cos(angle), motion * math.sin(angle)),
        rescale=1 + sometimes(0.2, random.uniform(0.2, 1.3)) * strength,
        noise=sometimes(0.7, random.gamma(1.4, 1.9)) * strength,
        chroma=sometimes(0.35, random.gamma(1.4, 2.0)) * strength,
        sharpen=sometimes(0.25, random.uniform(0.2, 1.0)) * strength,
        vignette=sometimes(0.3, random.uniform(0.05, 0.45)) * strength,
        balance=(1 + float(warmth), 1 + 0.4 * float(tint), 1 - float(warmth)),
        contrast=float(np.clip(random.normal(1.0, 0.1 * strength), 0.7, 1.3)),
        saturation=float(np.clip(random.normal(1.0, 0.15 * strength), 0.4, 1.6)) * (random.random() > 0.03 * strength),
        jpeg_quality=int(sometimes(0.45, random.uniform(18, 90))) if strength > 0 else 0,
    )


def degrade(image: Array, damage: Degradation, random: np.random.Generator) -> NDArray[np.uint8]:
    """A picture (H, W, 3) float32 0…255 as a camera and its files leave it: uint8 of the same size."""
    height, width = image.shape[:2]
    result = image
    if damage.blur > 0.2:
        result = cv2.GaussianBlur(result, (0, 0), damage.blur)
    if math.hypot(*damage.motion) > 0.7:
        result = cv2.filter2D(result, -1, _streak(damage.motion), borderType=cv2.BORDER_REPLICATE)
    result = _toned(result, damage)
    if damage.rescale > 1.05:
        small = (max(8, round(width / damage.rescale)), max(8, round(height / damage.rescale)))
        result = cv2.resize(result, small, interpolation=cv2.INTER_AREA)
    result = _noisy(result, damage, random)
    if damage.sharpen > 0:
        result = result + damage.sharpen * (result - cv2.GaussianBlur(result, (0, 0), 1.0))
    levels = np.clip(np.rint(result), 0, 255).astype(np.uint8)
    if damage.jpeg_quality:
        done, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, damage.jpeg_quality])
        assert done, "pictures of any size can be compressed"
        levels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    if levels.shape[:2] != (height, width):
        how = cv2.INTER_CUBIC if damage.sharpen else cv2.INTER_LINEAR
        levels = np.asarray(cv2.resize(levels, (width, height), interpolation=how), np.uint8)
    return levels


def _streak(motion: tuple[float, float]) -> Array:
    """The kernel of a straight movement by (x, y) pixels."""
    reach = math.ceil(max(abs(motion[0]), abs(motion[1])) / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = 4 * reach + 1
    for t in np.linspace(-0.5, 0.5, steps):
        kernel[round(reach + t * motion[1]), round(reach + t * motion[0])] += 1
    return kernel / kernel.sum()


def _toned(image: Array, damage: Degradation) -> Array:
    # Balance, contrast about mid grey and saturation are one affine map of the colours.
    colours = damage.saturation * np.eye(3) + (1 - damage.saturation) * np.array([0.3, 0.59, 0.11])
    linear = colours * damage.contrast * np.asarray(damage.balance)
    affine = np.concatenate((linear, np.full((3, 1), 118 * (1 - damage.contrast))), 1)
    result = np.asarray(cv2.transform(image, affine.astype(np.float32)), np.float32)
    if damage.vignette > 0:
        height, width = image.shape[:2]
        x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
        fall = 1 - np.float32(damage.vignette / 2) * (x[None] ** 2 + y[:, None] ** 2)
        result = result * fall[..., None]
    return np.asarray(result, np.float32)


def _noisy(image: Array, damage: Degradation, random: np.random.Generator) -> Array:
    if damage.noise > 0:
        grain = random.standard_normal((*image.shape[:2], 1), dtype=np.float32)
        strength = np.sqrt(np.maximum(image[..., 1:2], 0) / np.float32(127) + np.float32(0.15))
        image = image + np.float32(damage.noise) * strength * grain
    if damage.chroma > 0:
        small = (image.shape[0] // 2 + 1, image.shape[1] // 2 + 1, 3)
        grain = random.standard_normal(small, dtype=np.float32)
        spread = cv2.resize(grain, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
        image = image + np.float32(damage.chroma) * spread
    return np.asarray(image, np.float32)
