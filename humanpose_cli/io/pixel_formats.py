"""Every pixel format that files hold, as 8-bit sRGB and alpha."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

__all__ = ["over_white", "split_channels", "to_eight_bits", "to_rgb", "to_srgb"]

_DEEP_MODES = ("I", "F")  # and their variants "I;16", "I;16B" …
_TRANSPARENT_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_PROFILED_MODES = {"RGB", "RGBA", "CMYK", "L", "LAB"}


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Numbers of any type → uint8, over the range their type or their values say.

    uint8 stays; uint16 spans 0–65535. Other types do not tell their range, so the values do: floats of which 99 %
    are at most 1 span 0–1 (highlights clip), anything up to 255 spans 0–255, up to 65535 spans 0–65535, beyond that
    0–maximum. Negative numbers, infinities and NaN become 0. No gamma is applied.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    numbers = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    full = 65535.0 if values.dtype == np.uint16 else _range_of(numbers, fractions=values.dtype.kind == "f")
    return np.rint(np.clip(numbers * np.float32(255.0 / full), 0, 255)).astype(np.uint8)


def _range_of(numbers: np.ndarray, *, fractions: bool) -> float:
    if numbers.size == 0 or (fractions and np.percentile(numbers, 99) <= 1):
        return 1.0
    largest = float(numbers.max())
    return next((full for full in (255.0, 65535.0) if largest <= full), largest)


def over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with straight alpha (H, W) uint8, seen over white: what a viewer on a page shows."""
    opacity = alpha[..., None].astype(np.uint16)
    blended = pixels.astype(np.uint16) * opacity + 255 * (255 - opacity)
    return ((blended + 127) // 255).astype(np.uint8)


def split_channels(channels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W), or (H, W, C) of 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha, uint8 → pixels over white and alpha."""
    if channels.ndim == 2:
        channels = channels[..., None]
    count = channels.shape[-1]
    alpha = channels[..., -1] if count in (2, 4) else None
    pixels = np.repeat(channels[..., :1], 3, axis=-1) if count < 3 else channels[..., :3]
    if alpha is None or alpha.min(initial=255) == 255:
        return np.ascontiguousarray(pixels), None
    return over_white(pixels, alpha), np.ascontiguousarray(alpha)


def to_rgb(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """A loaded Pillow picture of any mode → (H, W, 3) uint8 over white, and (H, W) alpha or None if opaque."""
    if image.mode.startswith(_DEEP_MODES):
        return split_channels(to_eight_bits(np.asarray(image)))
    if image.mode in _TRANSPARENT_MODES or "transparency" in image.info:
        return split_channels(np.array(image.convert("RGBA")))
    return np.array(image.convert("RGB")), None


def to_srgb(image: Image.Image) -> Image.Image:
    """Colours through the embedded profile (Display P3 of phones, Adobe RGB, CMYK of print shops) into sRGB.

    A damaged or unfit profile is passed over, as every viewer does: the plain conversion remains.
    """
    try:
        if image.mode == "LAB":
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif image.mode in _PROFILED_MODES and image.info.get("icc_profile"):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        else:
            return image
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return image
        target = ImageCms.createProfile("sRGB")
        mode = image.mode if image.mode in {"RGB", "RGBA"} else "RGB"
        converted = ImageCms.profileToProfile(image, profile, target, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        if image.mode == "LAB":
            raise
        return image
    return converted if converted is not None else image
