"""Reading and writing of images.

`read_image` returns images turned as EXIF says, with 8 bits, sRGB and three channels, and the focal length in pixels
from EXIF. Formats: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PNM, QOI, TGA, and HEIC with the extra `heic`.

imageio writes images. Pillow and tifffile read them, because imageio drops the colour profile, does not limit formats
and sizes, and reads no float TIFFs with alpha.
"""

from __future__ import annotations

import io
import logging
import math
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import tifffile
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from humanpose_cli.core.errors import InputError, UsageError, reason_of
from humanpose_cli.core.extras import remedy_of
from humanpose_cli.files.notes import note_once
from humanpose_cli.files.sniffing import FileKind, file_kind, read_bytes, reading_error
from humanpose_cli.files.value_limits import MAX_PIXELS, refuse_image_size
from humanpose_cli.io.exr import colour_channels, exr_of_channels
from humanpose_cli.io.image_metadata import (
    DECODING_ERRORS,
    SIDEWAYS,
    TURNS,
    focal_from_exif,
    focal_of_panorama,
    is_cropped,
    orientation_from_exif,
    time_from_exif,
)
from humanpose_cli.io.plates import (
    PLATE_KINDS,
    REC709,
    ColourSpace,
    Plate,
    Primaries,
    known_primaries,
    plate_header,
    plate_of,
    read_plate,
)
from humanpose_cli.io.transparency import split_channels
from humanpose_cli.outputs.atomic import removed_on_failure, write_bytes

_NEARLY_BLACK = 16  # of 255: the maximum of 12 bits in 16
_SHADES = 0.8  # share of a float image's values up to 1; renderers' highlights are brighter
_BAND = 1 << 18  # pixels that are converted at once, so that conversions of huge images need little memory
_DEEP_MODES = ("I", "F")  # and their variants "I;16", "I;16B" …
_TRANSPARENT_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_PROFILED_MODES = {"RGB", "RGBA", "CMYK", "L", "LAB"}


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Convert numbers of any type to uint8.

    uint8 is unchanged. Otherwise the values decide: uint16 spans the smallest of 8, 10, 12 or 16 bits that holds the
    maximum. Floats span 0 to 1 if 80 % of them are at most 1 (highlights are clipped). Other values up to 255 span 0 to
    255, values up to 65535 span 0 to 65535, and larger values span 0 to their maximum. Negative numbers, infinities and
    NaN become 0.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    full = _range_of(values)
    eight_bits = np.empty(values.shape, np.uint8)
    for rows in _bands(values.shape):
        eight_bits[rows] = np.rint(np.clip(_finite(values[rows]) * np.float32(255.0 / full), 0, 255))
    return eight_bits


def read_light(path: Path, view: LightView) -> Plate | None:
    """Read an image as a plate if it holds linear light, or if `view` names its space; None otherwise.

    Raises InputError as `read_image`.
    """
    if (kind := file_kind(path)) in PLATE_KINDS:
        return read_plate(path, kind, view.space)
    if path.suffix.lower() in _TIFFS:
        with suppress(InputError):  # of a form that Pillow alone reads, which holds no floats
            return _light_of(path, view, *_read_deep_tiff(path))
    return None


def _light_of(path: Path, view: LightView, values: np.ndarray, primaries: Primaries = REC709) -> Plate | None:
    """Return numbers (H, W) or (H, W, C) as a plate: floats that span 0 to 1 are linear light, as renderers write."""
    is_light = values.dtype.kind == "f" and _range_of(values) == 1
    if not is_light and view.space is None:
        return None
    if view.space is None:
        note_once(path, "floating-point values, taken for linear light (sRGB's tone curve)")
    full = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    return plate_of(np.atleast_3d(_finite(values)) / np.float32(full), view.space or ColourSpace(primaries))


def _shown(path: Path, view: LightView, values: np.ndarray, primaries: Primaries = REC709) -> Image.Image:
    plate = _light_of(path, view, values, primaries)
    return Image.fromarray(to_eight_bits(values)) if plate is None else _in_srgb(plate, view)


def _in_srgb(plate: Plate, view: LightView) -> Image.Image:
    """Return a plate in sRGB, with its exposure in `info`."""
    exposure = view.exposure or plate.exposure
    image = Image.fromarray(plate.pixels(exposure))
    image.info["exposure"] = exposure
    return image


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of an image's rows."""
    rows = max(1, _BAND // max(1, math.prod(shape[1:])))
    return (slice(top, top + rows) for top in range(0, shape[0], rows))


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _range_of(values: np.ndarray) -> float:
    if values.dtype.kind == "f":
        fractions = sum(np.count_nonzero(_finite(values[rows]) <= 1) for rows in _bands(values.shape))
        if fractions >= _SHADES * values.size:
            return 1.0
    largest = max((float(_finite(values[rows]).max(initial=0)) for rows in _bands(values.shape)), default=0.0)
    ranges = (255.0, 1023.0, 4095.0, 65535.0) if values.dtype == np.uint16 else (255.0, 65535.0)
    return next((full for full in ranges if largest <= full), largest)


def to_rgb(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Convert a loaded Pillow image to sRGB (H, W, 3) uint8 over white, and alpha (H, W) uint8, None if opaque."""
    if image.mode.startswith(_DEEP_MODES):
        return split_channels(to_eight_bits(np.asarray(image)))
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    alpha = np.full((height, width), 255, np.uint8)
    for rows in _bands((height, width)):
        band = image.crop((0, rows.start, width, min(rows.stop, height)))
        srgb = to_srgb(band)
        if srgb.mode in _TRANSPARENT_MODES or "transparency" in srgb.info:
            pixels[rows], transparency = split_channels(np.array(srgb.convert("RGBA")))
            alpha[rows] = 255 if transparency is None else transparency
        else:
            pixels[rows] = np.array(srgb.convert("RGB"))
    return pixels, None if alpha.min() == 255 else alpha


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert colours from the embedded profile (Display P3 of phones, Adobe RGB, CMYK of print shops) to sRGB.

    A damaged or unsuitable profile is ignored, as in all viewers.
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
        srgb = ImageCms.profileToProfile(image, profile, target, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        if image.mode == "LAB":
            raise
        return image
    return srgb if srgb is not None else image


_READABLE = {"MINISBLACK", "RGB"}

_log = logging.getLogger(__name__)
# tifffile's messages about unusual tags are not shown: errors have messages of our own.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


def _unreadable_tiff(path: Path, error: Exception) -> InputError:
    remedy = "save it with 8 or 16 bits a channel, uncompressed or with deflate"
    return InputError(path, f"is a TIFF that cannot be read ({reason_of(error)})", remedy=remedy)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(path, f"is a damaged or truncated image ({reason_of(error)})", remedy="copy or save it again")


def _read_deep_tiff(path: Path) -> tuple[np.ndarray, Primaries]:
    """Read a TIFF's first page as (H, W) or (H, W, C) in the file's type, and the primaries of its colours.

    Raises InputError if it cannot be read.
    """
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            refuse_image_size(path, (int(page.imagewidth), int(page.imagelength)), path.stat().st_size)
            if page.nbytes > _MAX_DEEP_BYTES:
                expected, got = f"at most {_MAX_DEEP_BYTES >> 20} MiB unpacked", f"{page.nbytes >> 20}"
                raise InputError(path, "is too large", expected=expected, got=got, remedy="scale it down first")
            photometric = tifffile.PHOTOMETRIC(page.photometric).name
            if photometric not in _READABLE:
                raise ValueError(f"its colours are {photometric}")
            values = page.asarray()
            planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
            tags = [page.tags.valueof(name, ()) for name in ("PrimaryChromaticities", "WhitePoint")]
            fractions = np.reshape(tags[0] + tags[1], (-1, 2)).astype(float)
            primaries = known_primaries(fractions[:, 0] / fractions[:, 1]) if all(tags) else REC709
    except DECODING_ERRORS as error:
        raise _unreadable_tiff(path, error) from error
    if values.ndim == 3 and planar:
        values = np.moveaxis(values, 0, -1)
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiub":
        raise _unreadable_tiff(path, ValueError(f"its array is {values.shape} {values.dtype}"))
    values = values[..., 0] if values.shape[2:] == (1,) else values
    has_alpha = values.ndim == 3 and values.shape[2] == 4 and page.extrasamples
    return (values[..., :3] if values.ndim == 3 and values.shape[2] > 3 and not has_alpha else values), primaries


_MAX_DEEP_BYTES = 4 * MAX_PIXELS  # for numbers of more than 8 bits

IMAGE_SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".apng"),
        *(".jp2", ".j2k", ".ppm", ".pgm", ".pnm", ".qoi", ".tga", ".dpx", ".exr"),
    ]
)
"""Suffixes of images, in lower case."""

ANIMATED_SUFFIXES = frozenset((".gif", ".webp", ".png", ".apng", ".avif"))
"""Suffixes of images that may be animations, in lower case."""

_TIFFS = (".tif", ".tiff")
LIGHT_SUFFIXES = (".exr", ".dpx", *_TIFFS)
"""Suffixes of images that may hold linear light."""

_RAW_SUFFIXES = frozenset(
    [
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2", ".rwl"),
        *(".pef", ".srw", ".x3f", ".3fr", ".fff", ".iiq", ".gpr", ".dcr", ".kdc", ".mrw", ".erf", ".mef", ".mos"),
    ]
)
OTHER_IMAGE_SUFFIXES = _RAW_SUFFIXES | {".heic", ".heif", ".hif", ".jxl"}
"""Suffixes of photographs that need an extra or cannot be read: each becomes an item, which fails with the reason."""

# Pillow's warnings about unusual EXIF and TIFF tags would reach the user's terminal.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")

# Not formats that run an interpreter (EPS, PDF) or accept nearly any bytes as a header (TGA, which needs its suffix).
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "QOI")
_ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")  # further images of other formats are pages and previews
_WRITERS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
_WRITERS |= {".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
_WITH_ALPHA = frozenset((".png", ".webp", ".tif", ".tiff"))
TRANSPARENT_SUFFIXES = (*sorted(_WITH_ALPHA), ".exr")
"""Suffixes of the image formats with transparency."""

_EXPECTED = "a JPEG, PNG, WebP, TIFF, BMP, AVIF, OpenEXR or DPX image"


@dataclass(frozen=True)
class LightView:
    """How an image of more than 8 bits is shown.

    Attributes:
        space: The space of its colours; None for the one that the file names.
        exposure: Factor of its light; None for one by its median.
    """

    space: ColourSpace | None = None
    exposure: float | None = None


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8, sRGB. The upright image; transparent pixels are composited over white.
        alpha: (H, W) uint8. Opacity; None if the file is opaque.
        focal_pixels: Focal length in pixels from EXIF, or None.
        min_focal_pixels: Lower bound of a crop's focal length in pixels, from the EXIF of the complete image; or None.
        exposure: Factor by which linear light is shown; None for display values.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    focal_pixels: float | None = None
    min_focal_pixels: float | None = None
    exposure: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


_limit_lock = threading.Lock()
_replaced_limits: list[int | None] = []  # one entry for each thread that reads; the first is Pillow's limit


@contextmanager
def _pillow_limit_lifted() -> Iterator[None]:
    """Replace Pillow's limit of pixels by `MAX_PIXELS`."""
    # Pillow warns from 89 million pixels on and refuses 179, less than phones take. It checks when it opens a file, and
    # again when it loads a TIFF.
    with _limit_lock:
        _replaced_limits.append(Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _limit_lock:
            if len(_replaced_limits) == 1:
                Image.MAX_IMAGE_PIXELS = _replaced_limits[0]
            _replaced_limits.pop()


def open_image(path: Path, view: LightView = LightView()) -> Image.Image:
    """Open the file's header as a Pillow image; decode it if Pillow has no mode for a TIFF, or no reader.

    Raises InputError for other files, a camera's raw files and images that are too large.
    """
    kind = file_kind(path)
    if kind in PLATE_KINDS:
        return _in_srgb(read_plate(path, kind, view.space), view)
    if view.space is not None and path.suffix.lower() in _TIFFS:
        return _shown(path, view, *_read_deep_tiff(path))
    return _open_with_pillow(path, kind, view)


def _open_with_pillow(path: Path, kind: FileKind, view: LightView) -> Image.Image:
    suffix = path.suffix.lower()
    if kind == "a HEIC image":
        _register_heic(path)
    if kind == "a JPEG XL image":
        raise InputError(path, "is a JPEG XL image", expected=_EXPECTED, remedy="convert it (djxl in.jxl out.png)")
    if suffix in _RAW_SUFFIXES:
        remedy = "develop it to JPEG or TIFF first"
        raise InputError(path, "is a camera's raw file", expected=_EXPECTED, remedy=remedy)
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN] + (["TGA"] if suffix == ".tga" else [])
    formats = ["HEIF"] if kind == "a HEIC image" else formats
    try:
        with _pillow_limit_lifted():
            image = Image.open(path, formats=formats)
    except UnidentifiedImageError as error:
        if kind not in ("an image", "a HEIC image"):
            problem = "is not an image that can be read"
            raise InputError(path, problem, expected=_EXPECTED, got=kind) from error
        if suffix in _TIFFS:
            return _shown(path, view, *_read_deep_tiff(path))
        raise InputError(path, "is a damaged image", expected=_EXPECTED, remedy="copy or save it again") from error
    except DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise reading_error(path, error) from error
        raise _damaged(path, error) from error
    try:
        refuse_image_size(path, image.size, path.stat().st_size)
    except InputError:
        image.close()
        raise
    return image


def _register_heic(path: Path) -> None:
    """Let Pillow open HEIC. Raises InputError without the extra."""
    try:
        import pi_heif
    except ImportError as error:
        remedy = f"{remedy_of('heic')} reads it; or convert it (heif-convert in.heic out.jpg)"
        raise InputError(path, "is a HEIC image, which needs an extra", remedy=remedy) from error
    pi_heif.register_heif_opener()


def read_image(path: Path | str, view: LightView = LightView()) -> LoadedImage:
    """Read an image file.

    Grey becomes three equal channels. 16-bit and 32-bit values are scaled to 8 bits (see `to_eight_bits`). Linear light
    of EXR, DPX and floats gets an exposure by its median and sRGB's tone curve (see `Plate`).
    Palettes, CMYK and YCbCr become RGB, through the embedded colour profile if there is one. The first frame or page of
    a file is read, with a warning for animations.

    Raises InputError for other files and for images that are damaged, truncated, or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    with open_image(path, view) as image:
        try:
            lacks_bits = ";16" in str(getattr(image, "tile", "")) and not image.mode.startswith(_DEEP_MODES)
            with _pillow_limit_lifted():
                image.load()
            panorama_focal = focal_of_panorama(image)
            focal = panorama_focal or focal_from_exif(image)
            is_crop = panorama_focal is None and is_cropped(image)
            orientation = orientation_from_exif(image)  # Pillow turns a TIFF itself and then drops the tag
            shown = image
            if image.mode == "F" or (view.space is not None and "exposure" not in image.info):
                numbers = image if image.mode.startswith(_DEEP_MODES) else image.convert("RGB")
                shown = _shown(path, view, np.asarray(numbers))
            pixels, alpha = to_rgb(shown)
            exposure = shown.info.get("exposure")
            if exposure not in (None, 1, view.exposure):
                note_once(path, f"exposure {math.log2(exposure):+.0f} stops, by the median of its light")
            if lacks_bits and orientation == 1 and pixels.max() <= _NEARLY_BLACK:
                pixels = _from_sixteen_bits(path)
        except DECODING_ERRORS as error:
            raise _damaged(path, error) from error
        image_format = image.format
        if _is_animated(image):
            _log.warning(
                "%s: an animation: only the first frame is used; convert it to a video to use all frames", path
            )
    del image, shown  # pixels that are not needed any more
    if turn := TURNS.get(orientation):
        pixels = np.ascontiguousarray(turn(pixels))
        alpha = None if alpha is None else np.ascontiguousarray(turn(alpha))
    if (hdr := _hdr_pixels(path, image_format)) is not None and hdr.shape == pixels.shape:
        pixels = hdr
    if panorama_focal is not None:
        note_once(path, "a 360° picture: the focal length is that of its middle")
    if focal is not None and is_crop:
        _log.info("%s: cropped, so that EXIF's focal length, %.0f px, is the least that it may be", path, focal)
        return LoadedImage(pixels, alpha, min_focal_pixels=focal, exposure=exposure)
    return LoadedImage(pixels, alpha, focal, exposure=exposure)


def _hdr_pixels(path: Path, image_format: str | None) -> np.ndarray | None:
    """Return the pixels of an image in HDR, mapped as videos are; None for other images."""
    if image_format not in ("AVIF", "HEIF", "PNG"):
        return None
    from humanpose_cli.io.frame_conversion import hdr_image

    return hdr_image(path)


def _from_sixteen_bits(path: Path) -> np.ndarray:
    """Read all 16 bits of a PNG or TIFF; Pillow keeps only the upper 8."""
    import cv2

    values = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if values is None:
        raise ValueError("its 16 bits a channel are damaged")
    return to_eight_bits(values[..., ::-1])


def _is_animated(image: Image.Image) -> bool:
    """Return whether there are more frames."""
    try:
        return image.format in _ANIMATED_FORMATS and bool(getattr(image, "is_animated", False))
    except DECODING_ERRORS:
        return False


def is_animation(path: Path) -> bool:
    """Return whether an image has several frames in time; False if it is damaged. Raises InputError as `read_image`."""
    with open_image(path) as image:
        return _is_animated(image)


def image_size(path: Path | str) -> tuple[int, int]:
    """Read width and height in pixels of the upright image from its header. Raises InputError as `read_image`."""
    return image_size_and_time(Path(path))[0]


def image_size_and_time(path: Path) -> tuple[tuple[int, int], float | None]:
    """Read the size as `image_size`, and the time from EXIF: seconds since 1970, or None."""
    if (kind := file_kind(path)) in PLATE_KINDS:
        return plate_header(path, kind).size, None
    with open_image(path) as image:
        is_sideways = orientation_from_exif(image) in SIDEWAYS and image.format != "TIFF"  # which Pillow has turned
        return (image.size[::-1] if is_sideways else image.size), time_from_exif(image)


def thumbnail(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read an image as float32 grey levels (height, width) of `size` (width, height). Raises as `read_image`."""
    with open_image(path) as image:
        try:
            image.draft("L", (8 * size[0], 8 * size[1]))  # JPEG: an eighth of the work
            return np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), np.float32)
        except DECODING_ERRORS as error:
            raise _damaged(path, error) from error


def check_image_file(path: Path | str) -> None:
    """Raise InputError as `read_image` for a file that does not begin like an image; a damaged image may pass."""
    path = Path(path)
    if (kind := file_kind(path)) in PLATE_KINDS:
        plate_header(path, kind)
    elif kind != "an image":
        open_image(path).close()


def png_text(path: Path | str) -> dict[str, str]:
    """Read the texts in a PNG's header by keyword; {} for other formats. Raises InputError as `read_image`."""
    with open_image(Path(path)) as image:
        texts = image.info if image.format == "PNG" else {}
        return {str(key): value for key, value in texts.items() if isinstance(value, str)}


WRITTEN_SUFFIXES = frozenset((*_WRITERS, ".exr"))
"""Suffixes of the images that `write_image` writes."""


def encode_image(
    pixels: np.ndarray,
    suffix: str,
    *,
    quality: int = 92,
    text: Mapping[str, str] | None = None,
    photograph: bool = False,
    plate: Plate | None = None,
) -> bytes:
    """Encode an image file. JPEG keeps full colour resolution.

    Args:
        pixels: (H, W, 3), (H, W, 4) with straight alpha, or (H, W) uint8; for PNG also (H, W) uint16.
        suffix: The format: .jpg, .png, .webp, .tif, .bmp or .exr (half floats, linear light).
        quality: 1 to 100, for JPEG and WebP.
        text: Texts by keyword to store in a PNG, see `png_text`.
        photograph: Whether to encode PNG in half the time, which makes photographs no larger but drawings several times
            as large.
        plate: The plate that the image was made of, whose space and values EXR keeps.

    Returns:
        The bytes of the file.

    Raises:
        UsageError: If the suffix is unknown, or if the format has no alpha.
    """
    kind = _WRITERS.get(suffix.lower(), "")
    if suffix.lower() not in WRITTEN_SUFFIXES:
        format_name = suffix or "a name without an ending"
        raise UsageError(format_name, "is no image format that can be written", expected=", ".join((*_WRITERS, ".exr")))
    eight_bits = pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and pixels.ndim == 2 and kind == "PNG")
    if not eight_bits or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise UsageError("image", "cannot be written", expected="(H, W, 3) uint8", got=f"{pixels.shape} {pixels.dtype}")
    if suffix.lower() == ".exr":
        light_of, primaries = (plate.light_of, plate.space.primaries) if plate else (None, None)
        return exr_of_channels(colour_channels("", pixels, light_of), primaries)
    if pixels.shape[-1] == 4 and pixels.ndim == 3 and suffix.lower() not in _WITH_ALPHA:
        raise UsageError(suffix, "cannot hold transparency", expected=", ".join(TRANSPARENT_SUFFIXES))
    options: dict[str, Any] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        # Level 4 takes a third of the default's time for 3 % more bytes.
        "PNG": {"compress_type": zlib.Z_RLE} if photograph else {"compress_level": 4},
        "WEBP": {"quality": quality},
    }.get(kind, {})
    if text and kind == "PNG":
        options["pnginfo"] = info = PngInfo()
        for keyword, value in text.items():
            info.add_text(keyword, value)
    # Encoded in memory: a library that writes a file itself may drop the system's error number (disk full).
    return iio.imwrite("<bytes>", pixels, plugin="pillow", extension=suffix.lower(), is_batch=False, **options)


class ImageWriter:
    """Writes frames as images into files, one after the other, in place of a `VideoWriter`.

    Args:
        paths: The files. If an exception ends the context, they are removed.

    Attributes:
        frame_count: Number of frames written.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.frame_count, self._paths, self._removal = 0, paths, removed_on_failure(paths)

    def __enter__(self) -> ImageWriter:
        self._removal.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._removal.__exit__(*problem)

    def write(self, pixels: np.ndarray, time: object = None) -> None:
        """Write the next frame, (H, W, 3) uint8; images have no time."""
        write_image(self._paths[self.frame_count], pixels)
        self.frame_count += 1


def write_image(path: Path | str, pixels: np.ndarray, *, photograph: bool = False, plate: Plate | None = None) -> None:
    """Write an image in the format of the name's suffix. Raises as `encode_image` and `write_bytes`."""
    write_bytes(path, encode_image(pixels, Path(path).suffix, photograph=photograph, plate=plate))
