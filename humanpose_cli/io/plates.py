"""Film plates: OpenEXR, DPX and floating-point TIFF images, with the space of their colours.

FFmpeg decodes EXR and DPX, tifffile decodes TIFF; the space is in their headers, which are read here.

Sources: OpenEXR's file layout, openexr.com/en/latest/OpenEXRFileLayout.html; SMPTE ST 268-1 (DPX); the Cineon curve,
Kodak, "Conversion of 10-bit Log Film Data To 8-bit Linear or Video Data", 1995; AP1, Academy S-2014-004 (ACEScg).
"""

from __future__ import annotations

import logging
import math
import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.sniffing import FileKind, reading
from humanpose_cli.files.value_limits import refuse_image_size
from humanpose_cli.io.exr import LINEAR, linear_light

Primaries: TypeAlias = "tuple[float, ...]"
"""CIE 1931 x and y of red, green, blue and white: eight numbers, as OpenEXR's `chromaticities`."""
REC709: Primaries = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
AP1: Primaries = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
PLATE_KINDS: dict[FileKind, str] = {"an OpenEXR image": "exr_pipe", "a DPX image": "dpx_pipe"}
"""Kinds of files that FFmpeg decodes, with its readers."""

_log = logging.getLogger(__name__)


class ColourSpace(NamedTuple):
    """What the numbers of an image mean.

    Attributes:
        primaries: Chromaticities of the primaries and of white.
        transfer: 'linear' (light of the scene, 1 is white), 'srgb' (display values) or 'log' (Cineon).
    """

    primaries: Primaries = REC709
    transfer: Literal["linear", "srgb", "log"] = "linear"


COLOUR_SPACES = {
    "acescg": ColourSpace(AP1),
    "linear": ColourSpace(),
    "srgb": ColourSpace(transfer="srgb"),
    "log": ColourSpace(transfer="log"),
}
"""Spaces by the names that users give them."""


@dataclass(frozen=True, eq=False)
class Plate:
    """An image of more than 8 bits.

    Attributes:
        colours: (H, W, 3) float32 in `space`, not multiplied by alpha.
        alpha: (H, W) float32, 0 to 1; None if the file is opaque.
        space: The space of the colours.
    """

    colours: np.ndarray
    alpha: np.ndarray | None
    space: ColourSpace

    @property
    def light(self) -> np.ndarray:
        """(H, W, 3) float32. Linear light in the plate's primaries."""
        if self.space.transfer == "linear":
            return self.colours
        decode = linear_light if self.space.transfer == "srgb" else _cineon_light
        return decode(self.colours).astype(np.float32)

    @cached_property
    def exposure(self) -> float:
        """The factor by which the light is shown: 1 unless the median luminance is far from a picture's."""
        if self.space.transfer == "srgb":
            return 1.0
        luminance = self.light[::4, ::4] @ np.asarray(_LUMINANCE, np.float32)
        visible = luminance[luminance > _BLACK]
        median = float(np.median(visible)) if visible.size else _GREY
        return 1.0 if _USUAL[0] <= median <= _USUAL[1] else 2.0 ** round(math.log2(_GREY / median))

    def pixels(self, exposure: float | None = None) -> np.ndarray:
        """Return (H, W, 3), or (H, W, 4) with straight alpha, uint8: the plate in sRGB."""
        exposure = exposure or self.exposure
        if self.space == COLOUR_SPACES["srgb"]:
            shown = np.rint(255 * np.clip(np.nan_to_num(self.colours), 0, 1)).astype(np.uint8)
        else:
            light = self.light
            if self.space.primaries != REC709 or exposure != 1:
                light = light @ (exposure * primaries_matrix(self.space.primaries, REC709)).T.astype(np.float32)
            with np.errstate(over="ignore"):  # infinite halves are white
                shown = _display_levels()[np.ascontiguousarray(light, np.float16).view(np.uint16)]
        if self.alpha is None:
            return shown
        return np.dstack((shown, np.rint(255 * np.clip(self.alpha, 0, 1)).astype(np.uint8)))

    def light_of(self, pixels: np.ndarray) -> np.ndarray:
        """Return the light in the plate's primaries of an image that was made of what `pixels` returns.

        Pixels that are the plate's own get its values, also those above 1.

        Args:
            pixels: (H, W, 3) uint8, sRGB.

        Returns:
            (H, W, 3) float32.
        """
        to_plate = primaries_matrix(REC709, self.space.primaries).T.astype(np.float32)
        light = LINEAR[pixels] @ to_plate / np.float32(self.exposure)
        if pixels.shape == self.colours.shape:
            unchanged = (pixels == self.pixels()[..., :3]).all(-1)
            light[unchanged] = self.light[unchanged]
        return light


_LUMINANCE = (0.2126, 0.7152, 0.0722)
_BLACK, _GREY, _USUAL = 1e-4, 0.18, (0.01, 0.6)  # luminances: of empty pixels, of middle grey, of pictures' medians


@lru_cache
def _display_levels() -> np.ndarray:
    """Return (65536,) uint8: the level of sRGB for the bits of each half float."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    light = np.clip(np.nan_to_num(halves, nan=0.0), 0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * shown).astype(np.uint8)


def _cineon_light(values: np.ndarray) -> np.ndarray:
    """Convert Cineon's code values 0…1 to light: code 95 of 1023 is black, 685 is white, 0.002 density a code."""
    density = (1023 * np.asarray(values, np.float32) - 685) * (0.002 / 0.6)
    black = 10 ** ((95 - 685) * 0.002 / 0.6)
    return (10**density - black) / (1 - black)


def primaries_matrix(source: Primaries, target: Primaries) -> np.ndarray:
    """Return (3, 3): linear RGB of one set of primaries to another's, whites adapted by Bradford's cone responses."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

    def to_cones(primaries: Primaries) -> np.ndarray:
        x, y = np.reshape(primaries, (4, 2)).T
        columns = np.stack((x / y, np.ones(4), (1 - x - y) / y))  # XYZ of luminance 1
        xyz = columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
        return bradford @ xyz / (bradford @ columns[:, 3])[:, None]

    matrix: np.ndarray = np.linalg.solve(to_cones(target), to_cones(source))
    return matrix


def read_plate(path: Path, kind: FileKind, space: ColourSpace | None = None) -> Plate:
    """Read an EXR or DPX image.

    Args:
        path: The file.
        kind: Its kind, of `PLATE_KINDS`.
        space: The space of its colours; None for the one that the header names. Unnamed EXR is linear light with
            Rec. 709's primaries, unnamed DPX holds display values.

    Raises:
        InputError: If the file is damaged, too large, or of a form that FFmpeg does not read.
    """
    import av

    header = plate_header(path, kind)
    try:
        with av.open(path, format=PLATE_KINDS[kind]) as container:
            container.streams.video[0].codec_context.options = {"layer": header.layer} if header.layer else {}
            values = _channels(next(container.decode(video=0)))
    except (av.FFmpegError, StopIteration, ValueError, TypeError, IndexError) as error:
        remedy = "save it with ZIP, PIZ or DWAA compression" if "EXR" in kind else "copy or save it again"
        raise InputError(path, f"is {kind} that cannot be read ({error})"[:200], remedy=remedy) from error
    return plate_of(values, space or header.space, premultiplied="EXR" in kind)


def plate_of(values: np.ndarray, space: ColourSpace, *, premultiplied: bool = False) -> Plate:
    """Return channels (H, W, 1 to 4) of grey, or red, green and blue, each also with alpha, as a plate."""
    count = values.shape[2]
    colours = np.repeat(values[..., :1], 3, 2) if count < 3 else values[..., :3]
    alpha = values[..., -1] if count in (2, 4) and values[..., -1].min() < 1 else None
    if alpha is not None and premultiplied:
        colours = colours / np.where(alpha > 0, alpha, 1)[..., None]
    return Plate(np.ascontiguousarray(colours, np.float32), alpha, space)


def _channels(frame: Any) -> np.ndarray:
    """Return a frame of FFmpeg as (H, W, C) float32 in the order red, green, blue, alpha, or grey."""
    name, parts = frame.format.name, frame.format.components
    if name.startswith(("abgr", "bgr", "argb")):
        return _channels(frame.reformat(format="rgba"))
    if not name.startswith(("gbr", "gray", "rgb")):
        raise ValueError(f"its pixels are {name}")
    bits, each = parts[0].bits, len(parts) // len(frame.planes)
    is_float = "f16" in name or "f32" in name
    order = ">" if frame.format.is_big_endian else "<"
    kind = np.dtype(f"{order}{'f' if is_float else 'u'}{(bits + 7) // 8}")
    layers = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        used = rows[:, : plane.width * each * kind.itemsize].copy().view(kind)
        layers.append(used.reshape(plane.height, plane.width, each).astype(np.float32))
    values = np.concatenate([layers[i] for i in ((2, 0, 1, 3) if name.startswith("gbr") else (0,))[: len(layers)]], 2)
    return values if is_float else values / np.float32((1 << bits) - 1)


class PlateHeader(NamedTuple):
    """What the header of an EXR or DPX image says.

    Attributes:
        size: Width and height in pixels.
        space: The space of the colours.
        layer: Name of the EXR layer with the colours; "" for the channels without a layer.
    """

    size: tuple[int, int]
    space: ColourSpace
    layer: str = ""


def plate_header(path: Path, kind: FileKind) -> PlateHeader:
    """Read the header of an EXR or DPX image. Raises InputError if it is damaged or the image too large."""
    with reading(path), open(path, "rb") as file:
        head = file.read(_MAX_HEADER)
        try:
            header = _exr_header(head, file) if "EXR" in kind else _dpx_header(head)
        except (struct.error, ValueError, LookupError) as error:
            remedy = "copy it again, or save it with R, G and B in the first part"
            raise InputError(path, f"is {kind} that cannot be read ({error})"[:200], remedy=remedy) from error
    refuse_image_size(path, header.size, path.stat().st_size)
    return header


_MAX_HEADER = 1 << 20  # bytes; previews and metadata of renderers take some tens of kilobytes


def _dpx_header(head: bytes) -> PlateHeader:
    order = ">" if head[:4] == b"SDPX" else "<"
    size: tuple[int, int] = struct.unpack_from(f"{order}2I", head, 772)
    transfer: Literal["linear", "srgb", "log"] = {1: "log", 2: "linear", 3: "log"}.get(head[801], "srgb")  # type: ignore[assignment]
    return PlateHeader(size, ColourSpace(transfer=transfer))


def _exr_header(head: bytes, file: IO[bytes]) -> PlateHeader:
    flags = struct.unpack_from("<I", head, 4)[0]
    if flags & _DEEP:
        raise ValueError("deep pixels")
    for number, (part, end) in enumerate(_exr_parts(head, 8, several=bool(flags & _MULTIPART))):
        names = {name.decode("latin-1") for name in _CHANNEL.findall(part["channels"])}
        layers = sorted(n[:-1] for n in names if n[-1:] == "R" and {n[:-1] + "G", n[:-1] + "B"} <= names)
        if not layers and "Y" not in names:
            continue
        if number:  # FFmpeg reads these as black
            raise ValueError("its colours are not in the first part")
        if not flags & _MULTIPART and part["lineOrder"] == b"\0":  # FFmpeg shows missing chunks as black
            first = struct.unpack_from("<Q", head, end)[0]
            chunks = np.frombuffer(head[end:first], "<u8")  # where each begins
            file.seek(int(chunks.max()) + (16 if flags & _TILED else 4))  # behind where it belongs: the chunk's size
            length = int.from_bytes(file.read(4), "little")
            if chunks.min() < first or file.tell() + length > file.seek(0, os.SEEK_END) or not length:
                raise ValueError("it is incomplete")
        left, top, right, bottom = struct.unpack("<4i", part["displayWindow"])
        primaries = struct.unpack("<8f", part["chromaticities"]) if "chromaticities" in part else REC709
        layer = layers[0].rstrip(".") if layers else ""
        return PlateHeader((right - left + 1, bottom - top + 1), ColourSpace(known_primaries(primaries)), layer)
    raise ValueError("no colours: channels R, G and B, or Y")


_TILED, _DEEP, _MULTIPART = 0x200, 0x800, 0x1000
_CHANNEL = re.compile(rb"([^\0]+)\0.{16}", re.DOTALL)  # a name, and how its values are stored


def known_primaries(numbers: Iterable[float]) -> Primaries:
    """Return a file's primaries, those of Rec. 709 and AP1 without rounding. Raises ValueError if they cannot be."""
    primaries = tuple(map(float, numbers))
    points = np.reshape(primaries, (4, 2))
    if not np.isfinite(points).all() or points[:, 1].min() <= 0:
        raise ValueError("impossible chromaticities")
    if abs(np.linalg.det(points[1:3] - points[0])) <= 1e-3:  # no triangle
        raise ValueError("impossible chromaticities")
    return next((known for known in (REC709, AP1) if np.allclose(primaries, known, atol=1e-4)), primaries)


def _exr_parts(head: bytes, at: int, *, several: bool) -> Iterator[tuple[dict[str, bytes], int]]:
    """Yield the attributes of each part of an EXR file, and where they end."""
    while head[at]:
        part = {}
        while head[at]:
            name, kind, _ = head[at : at + 520].split(b"\0", 2)
            at += len(name) + len(kind) + 2
            size = struct.unpack_from("<i", head, at)[0]
            if size < 0:
                raise ValueError("a negative size")
            part[name.decode("latin-1")] = head[at + 4 : at + 4 + size]
            at += 4 + size
        at += 1
        yield part, at
        if not several:
            return
