"""Conversion of decoded video frames to images: upright, sRGB, progressive, with square pixels and of one size.

The order is: `deinterlaced`, before frames are numbered, because its filter needs the next frame; `ImageConverter`, for
each frame that is used, with the lookup table that maps HDR and wide colours to BT.709.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Generator, Iterable
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from humanpose_cli.files.notes import note_once
from humanpose_cli.io.packets import Decoded
from humanpose_cli.io.transparency import split_channels

# PyAV accepts flags besides the algorithm from version 18 on, which Python 3.10 lacks; there, 10-bit videos differ by a
# grey level or two.
_TO_RGB = Interpolation.BICUBIC
if hasattr(Interpolation, "BITEXACT"):
    _TO_RGB |= Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT

IMAGE_CODECS = ("gif", "apng")
"""FFmpeg's names of animated images without a rate; their transparent pixels are white, as in other images."""


def deinterlaced(path: Path, decoded: Iterable[Decoded]) -> Generator[Decoded, None, None]:
    """Fill in the lines of each interlaced frame's second field by FFmpeg's bwdif; the number of frames stays.

    From the first interlaced frame on, each frame comes one frame later.
    """
    for _, items in groupby(decoded, lambda item: (item.frame.width, item.frame.height, item.frame.format.name)):
        graph: Graph | None = None
        waiting = deque[Decoded]()
        for item in items:
            if graph is None and not item.frame.interlaced_frame:
                yield item
                continue
            if graph is None:
                note_once(path, "interlaced video, deinterlaced")
                graph = _filter_graph(item.frame, item.stream.time_base, "bwdif", mode="send_frame", deint="interlaced")
            waiting.append(item)
            graph.push(item.frame)
            yield from _finished(graph, waiting)
        if graph is not None:
            graph.push(None)
            yield from _finished(graph, waiting)
            yield from waiting


def _finished(graph: Graph, waiting: deque[Decoded]) -> Generator[Decoded, None, None]:
    while waiting:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield waiting.popleft()._replace(frame=frame)


def _filter_graph(frame: Any, time_base: Fraction, name: str, **options: str) -> Graph:
    """Make a graph of one filter for frames of the size and the format of `frame`."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    graph.link_nodes(source, graph.add(name, **options), graph.add("buffersink")).configure()
    return graph


class ImageConverter:
    """Converts the decoded frames of a video to (H, W, 3) uint8 sRGB of one size, and logs changes.

    Args:
        path: The video, for the log.
        size: (width, height) in pixels of the first frame, and of all converted frames.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path = path
        self._size = size
        self._has_resized = False
        self._scaler = VideoReformatter()
        self._rotation, self._matrix = math.nan, np.eye(2, dtype=int)
        self._tone_maps: dict[tuple[int, ...], Graph] = {}

    def pixels(self, decoded: Decoded, index: int) -> NDArray[np.uint8]:
        """Convert the frame with this index. Raises av.FFmpegError for invalid colour metadata."""
        frame = decoded.frame
        if frame.rotation != self._rotation:
            # Not for each frame: after its side data are read, a frame stays in memory until garbage is collected.
            self._rotation = frame.rotation
            self._matrix = display_matrix(frame)
        width, height = square_size(frame, decoded.stream)
        transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
        is_wide = transfer in _EOTFS or primaries == ColorPrimaries.BT2020
        is_image = decoded.stream.codec_context.name in IMAGE_CODECS
        kind = "rgb48le" if is_wide else "rgba" if is_image else "rgb24"
        rgb = self._scaler.reformat(frame, width, height, kind, interpolation=_TO_RGB)
        if is_wide:
            note_once(self._path, f"{_NAMES.get(transfer, 'BT.2020')}, mapped to the colours of BT.709")
            pixels = self._in_bt709(rgb, transfer, primaries)
        else:
            pixels = split_channels(rgb.to_ndarray())[0] if is_image else np.asarray(rgb.to_ndarray(), np.uint8)
        pixels = upright(pixels, self._matrix)
        if pixels.shape[1::-1] != self._size:
            if not self._has_resized:
                size = "{1} × {0}".format(*pixels.shape)
                first_size = "{} × {}".format(*self._size)
                note = f"another size from frame {index} on ({size}), resized to the first one's {first_size}"
                note_once(self._path, note)
                self._has_resized = True
            pixels = fitted_into(pixels, self._size)
        return pixels

    def _in_bt709(self, rgb: Any, transfer: int, primaries: int) -> NDArray[np.uint8]:
        key = (transfer, primaries, rgb.width, rgb.height)
        if key not in self._tone_maps:
            self._tone_maps[key] = _table_graph(rgb, _bt709_table(transfer, primaries))
        graph = self._tone_maps[key]
        rgb.pts = None
        graph.push(rgb)
        return np.asarray(cv2.convertScaleAbs(graph.pull().to_ndarray(), alpha=1 / 257))


def fitted_into(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale an image into the middle of a canvas of `size` (width, height) with black margins."""
    width, height = size
    scale = fitting_scale(image.shape[1::-1], size)
    scaled_size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    resized_image = cv2.resize(image, scaled_size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left = (width - scaled_size[0]) // 2
    top = (height - scaled_size[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + scaled_size[1], left : left + scaled_size[0]] = resized_image
    return canvas


def fitting_scale(size: tuple[int, ...], into: tuple[int, int]) -> float:
    """Return the largest factor by which an image of `size` (width, height) fits into another."""
    return min(into[0] / size[0], into[1] / size[1])


def square_size(frame: Any, stream: Any) -> tuple[int, int]:
    """Return the stored width and height, with a stretched width if pixels are not square."""
    aspect = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    return (frame.width if aspect == 1 else 2 * round(frame.width * aspect / 2)), frame.height


def display_matrix(frame: Any) -> NDArray[np.int_]:
    """Return the map (2, 2) of −1, 0, 1 from stored (x, y), as a row, to displayed directions; by default identity."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.eye(2, dtype=int)
    matrix = np.frombuffer(data, "<i4").reshape(3, 3)[:2, :2] / 65536  # 16.16 fixed point
    is_quarter_turn = abs(matrix[0, 1]) > abs(matrix[0, 0])
    axes = np.eye(2)[::-1] if is_quarter_turn else np.eye(2)
    return np.where(axes > 0, np.sign(matrix), 0).astype(int)


def upright(pixels: NDArray[np.uint8], matrix: NDArray[np.int_]) -> NDArray[np.uint8]:
    """Turn pixels (H, W, 3) from the stored to the displayed orientation by `display_matrix`."""
    (xx, xy), (yx, yy) = matrix
    if xx == 0:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: -1 if yy + xy < 0 else 1, :: -1 if xx + yx < 0 else 1])


# cd/m² of white: BT.709's reference (BT.1886, BT.2035), in which SDR is converted to HLG, and PQ's (BT.2408).
_HLG_WHITE, _PQ_WHITE = 100.0, 203.0
_KNEE = 0.6  # share of this white up to which colours stay; HDR's brighter colours are compressed
_HEAD = 8192  # bytes of an image in which its colours are stated
_GRID = 33  # points of the table in each channel
_NAMES = {int(ColorTrc.ARIB_STD_B67): "HDR (HLG)", int(ColorTrc.SMPTE2084): "HDR (PQ)"}
_BT2020_LUMINANCE = np.array((0.2627, 0.678, 0.0593))
_BT2020_TO_BT709 = np.array(((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)))


def _light_of_hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert a signal (..., 3) of 0 to 1 to shares of white on a display of 1000 cd/m² (BT.2100, table 5)."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 / _HLG_WHITE * scene * (scene @ _BT2020_LUMINANCE)[..., None] ** 0.2


def _light_of_pq(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert a signal (..., 3) of 0 to 1 to shares of white (BT.2100, table 4)."""
    power = signal ** (32 / 2523)
    return 10000 / _PQ_WHITE * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (8192 / 1305)


_EOTFS = {int(ColorTrc.ARIB_STD_B67): _light_of_hlg, int(ColorTrc.SMPTE2084): _light_of_pq}


def hdr_image(path: Path) -> NDArray[np.uint8] | None:
    """Decode an image in HDR (AVIF, HEIF, PNG) as a video's frame is. None for other images."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    # Of the colour box of AVIF and HEIF, and of PNG's chunk: primaries, then transfer (ITU-T H.273).
    stated = re.search(rb"nclx..\0(.)|cICP.(.)", head, re.DOTALL)
    if stated is None or ord(stated[1] or stated[2]) not in _EOTFS:
        return None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        return ImageConverter(path, square_size(frame, stream)).pixels(Decoded(frame, stream, None, ""), 0)


def _bt709_table(transfer: int, primaries: int) -> NDArray[np.float64]:
    """Map every colour of a grid (33, 33, 33, 3), blue the slowest, to BT.709 for a display of BT.1886."""
    axis = np.linspace(0, 1, _GRID)
    signal = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)[..., ::-1]
    light = _EOTFS[transfer](signal) if transfer in _EOTFS else signal**2.4
    if primaries == ColorPrimaries.BT2020:
        light = np.maximum(light @ _BT2020_TO_BT709.T, 0)
    if transfer in _EOTFS:  # all channels by the brightest one's factor, so that hues stay
        peak = np.maximum(light.max(-1, keepdims=True), 1e-9)
        excess = np.maximum(peak - _KNEE, 0) / (1 - _KNEE)
        light *= (np.minimum(peak, _KNEE) + (1 - _KNEE) * excess / (1 + excess)) / peak
    return np.clip(light, 0, 1) ** (1 / 2.4)


def _table_graph(rgb: Any, table: NDArray[np.float64]) -> Graph:
    """Make a filter for frames like `rgb` of 16 bits a channel; FFmpeg reads tables only from files."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "table.cube")
        lines = (f"{red:.6f} {green:.6f} {blue:.6f}" for red, green, blue in table.reshape(-1, 3))
        path.write_text("\n".join((f"LUT_3D_SIZE {len(table)}", *lines, "")), encoding="ascii")
        return _filter_graph(rgb, Fraction(1, 25), "lut3d", file=str(path), interp="tetrahedral")
