"""Pictures in and out.

`read_image` gives what the photographer saw: turned as EXIF says, 8 bits, sRGB, three channels, and with the focal
length in pixels where EXIF tells it. Formats: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PNM, QOI, TGA.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from humanpose_cli.errors import InputError, UsageError
from humanpose_cli.io.atomic import write_bytes
from humanpose_cli.io.deep_tiff import deep_tiff_size, read_deep_tiff
from humanpose_cli.io.exif import focal_from_exif, turn_upright, upright_size
from humanpose_cli.io.pixel_formats import split_channels, to_eight_bits, to_rgb, to_srgb
from humanpose_cli.io.sniffing import describe_file, file_kind, reading_error

__all__ = [
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "Picture",
    "encode_image",
    "picture_size",
    "read_image",
    "write_image",
]

MAX_PIXELS = 256_000_000
"""Larger pictures are refused: the largest phone sensors have 200 million pixels, and 256 need 0.8 GB as RGB."""

PICTURE_SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif"),
        *(".jp2", ".j2k", ".ppm", ".pgm", ".pnm", ".qoi", ".tga"),
    ]
)
"""Names by which a folder's pictures are told from its other files (lower case)."""

# Pillow's complaints about odd EXIF and TIFF tags would reach the user's terminal.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")

# Never the formats that run an interpreter (EPS, PDF) or that take nearly any bytes for a header (but TGA, by name).
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "QOI")
_RAW_SUFFIXES = frozenset([".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"])
_WRITERS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
_WITH_ALPHA = frozenset((".png", ".webp", ".tif", ".tiff"))
# What Pillow's decoders raise on damaged data.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
    ImageCms.PyCMSError,
    Image.DecompressionBombError,
)
_EXPECTED = "a JPEG, PNG, WebP, TIFF, BMP or AVIF picture"


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    pixels  (H, W, 3) uint8 sRGB, upright; where the file is transparent, seen over white
    alpha  (H, W) uint8, or None where the file is opaque
    focal_pixels  focal length in pixels from EXIF, or None
    note  what was left out ("the first of 12 frames"), or ""
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    focal_pixels: float | None = None
    note: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


_limit_lock = threading.Lock()


@contextmanager
def _own_size_limit() -> Iterator[None]:
    """Pillow's limit (89 million pixels, a warning on stderr) is lower than what phones take; ours applies instead."""
    with _limit_lock:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _open(path: Path) -> Image.Image | None:
    """The file's header as a Pillow image; None for a TIFF that Pillow has no mode for (see `deep_tiff`).

    Refuses what is no picture, a camera's raw file and absurd sizes.
    """
    kind = file_kind(path)
    if kind == "heic":
        raise InputError(
            path,
            "is a HEIC picture, which cannot be read here",
            remedy="convert it (heif-convert in.heic out.jpg), or let the phone save 'most compatible' pictures",
        )
    if path.suffix.lower() in _RAW_SUFFIXES:
        raise InputError(
            path,
            "is a camera's raw file",
            expected=_EXPECTED,
            remedy="develop it to JPEG or TIFF first",
        )
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    if path.suffix.lower() == ".tga":
        formats.append("TGA")
    try:
        with _own_size_limit():
            image = Image.open(path, formats=formats)
    except UnidentifiedImageError as error:
        if kind == "picture" and path.suffix.lower() in {".tif", ".tiff"}:
            return None
        raise _not_a_picture(path, kind) from error
    except _DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise reading_error(path, error) from error
        raise _damaged(path, error) from error
    try:
        _refuse_absurd_size(path, image.size)
    except InputError:
        image.close()
        raise
    return image


def _refuse_absurd_size(path: Path, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            path,
            "is too large",
            expected=f"at most {MAX_PIXELS // 1_000_000} million pixels",
            got=f"{size[0]} × {size[1]}",
            remedy="scale it down first",
        )


def _not_a_picture(path: Path, kind: str) -> InputError:
    if kind == "picture":
        return InputError(path, "is a damaged picture", expected=_EXPECTED, remedy="copy or save it again")
    return InputError(path, "is not a picture that can be read", expected=_EXPECTED, got=describe_file(path))


def _damaged(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(path, f"is a damaged or truncated picture ({reason})", remedy="copy or save it again")


def read_image(path: Path | str) -> Picture:
    """Read a picture file.

    Grey becomes three equal channels; 16-bit, 32-bit and float values are scaled to 8 bits (see
    `pixel_formats.to_eight_bits`); palette, CMYK and YCbCr become RGB, through the embedded colour profile where
    there is one; of an animation or a multi-page file the first frame is taken. InputError for what is no picture,
    damaged, truncated, or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    opened = _open(path)
    if opened is None:
        _refuse_absurd_size(path, deep_tiff_size(path))
        return Picture(*split_channels(to_eight_bits(read_deep_tiff(path))))
    with opened as image:
        try:
            animated = getattr(image, "is_animated", False) and image.format != "MPO"
            image.load()
            focal = focal_from_exif(image)
            pixels, alpha = to_rgb(to_srgb(turn_upright(image)))
        except _DECODING_ERRORS as error:
            raise _damaged(path, error) from error
    return Picture(pixels, alpha, focal, "only the first of its frames is used" if animated else "")


def picture_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels of the upright picture, from its header alone. InputError as `read_image`."""
    opened = _open(Path(path))
    if opened is None:
        return deep_tiff_size(Path(path))
    with opened as image:
        return upright_size(image)


def encode_image(pixels: np.ndarray, suffix: str, *, quality: int = 92) -> bytes:
    """A picture file's bytes. pixels (H, W, 3), (H, W, 4) with straight alpha or (H, W) uint8.

    suffix says the format: .jpg, .png, .webp, .tif, .bmp; quality 1–100 is for JPEG and WebP. JPEG keeps full colour
    resolution. UsageError for an unknown suffix, or for alpha where the format has none.
    """
    kind = _WRITERS.get(suffix.lower())
    if kind is None:
        named = suffix or "a name without an ending"
        raise UsageError(named, "is no picture format that can be written", expected=", ".join(_WRITERS))
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise UsageError(
            "picture", "cannot be written", expected="(H, W, 3) uint8", got=f"{pixels.shape} {pixels.dtype}"
        )
    if pixels.shape[-1] == 4 and pixels.ndim == 3 and suffix.lower() not in _WITH_ALPHA:
        raise UsageError(suffix, "cannot hold transparency", expected=", ".join(sorted(_WITH_ALPHA)))
    options: dict[str, object] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "PNG": {"compress_level": 4},  # 1080p in a third of the default's time for 3 % more bytes
        "WEBP": {"quality": quality},
    }.get(kind, {})  # type: ignore[assignment]
    buffer = io.BytesIO()
    # Encoded in memory: Pillow drops the system's error number (disk full) when it writes to a file itself.
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def write_image(path: Path | str, pixels: np.ndarray, *, quality: int = 92) -> None:
    """Write a picture whole or not at all; format by the name's suffix. See `encode_image` and `write_bytes`."""
    write_bytes(path, encode_image(pixels, Path(path).suffix, quality=quality))
