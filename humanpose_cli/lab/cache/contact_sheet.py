"""The contact sheet: images of a cache with their labels drawn in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from humanpose_cli.core.conventions import BLAZEPOSE33, GARMENTS, SKELETONS, SMPL24, Skeleton
from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.cache.drawing import draw_keypoints
from humanpose_cli.lab.cache.encoding import decode_image, decode_png, require_decoded
from humanpose_cli.lab.cache.samples import Person, Sample
from humanpose_cli.rendering.overlay import person_colour

Pixels = NDArray[np.uint8]
_PAPER = (250, 250, 248)
_INK = (30, 30, 34)
_FAINT = (120, 120, 126)
# pixels between images, and of the captions
_GAP = 10
_TEXT = 12
_INSETS = 3
_SKELETONS = ("smpl24", "coco17", "h36m17", "reposing19", "blazepose33")  # the first that a person has is drawn
_FARTHEST = 32_000.0  # pixels
_BRIGHT = 0.6  # share of the image's light that is left behind tinted parts


def pick_rows(cache: Cache, count: int, *, split: str | None = None, seed: int = 0) -> NDArray[np.int64]:
    """Draw rows of images at random.

    Args:
        cache: The cache.
        count: Number of images.
        split: Draw from this split, "PROTOCOL/SPLIT"; None for all images.
        seed: Seed of the draw.

    Returns:
        (N,) rows, ascending.

    Raises:
        UsageError: If `count` is below 1.
    """
    rows = np.arange(len(cache))
    if split is not None:
        protocol, _, name = split.partition("/")
        rows = cache.rows(protocol, name or None)
    if count < 1:
        raise UsageError("count", "is too small", expected="at least 1", got=str(count))
    positions = np.random.default_rng(seed).permutation(len(rows))[:count]
    return rows[np.sort(positions)]


def draw_contact_sheet(cache: Cache, rows: Sequence[int] | NDArray[np.int64], side: int = 256) -> Pixels:
    """Draw images with their labels: skeletons and outlines on the image, maps next to it.

    The caption of an image has its name, the activities and clothes of its people, and its splits.

    Args:
        cache: The cache.
        rows: (N,) rows of the images.
        side: Pixels of an image's longer side on the sheet.

    Returns:
        (H, W, 3) uint8. The sheet.
    """
    cells = [_cell(cache.sample(int(row)), side) for row in rows]
    # All cells are as wide as the widest: some images have maps where others have none.
    width = max((cell.shape[1] for cell in cells), default=side)
    height = cells[0].shape[0] if cells else side
    # About a square sheet.
    columns = min(max(1, round(math.sqrt(len(cells) * height / width * 1.3))), max(1, len(cells)))
    lines = max(1, math.ceil(len(cells) / columns))
    top = 3 * _TEXT + _GAP
    sheet = np.full((top + lines * (height + _GAP), _GAP + columns * (width + _GAP), 3), _PAPER, np.uint8)
    for number, cell in enumerate(cells):
        line, column = divmod(number, columns)
        y = top + line * (height + _GAP)
        x = _GAP + column * (width + _GAP)
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    header = cache.header
    counts = f"{len(cache):,} images, {cache.people.row_count:,} people, {len(cells)} of them shown"
    _write(sheet, (_GAP, _GAP), f"{header.source}: {counts}", round(1.4 * _TEXT), _INK)
    return sheet


def _cell(sample: Sample, side: int) -> Pixels:
    """Draw one image, its insets to the right, its caption below."""
    inset = (side - 2 * 4) // _INSETS
    tile = _Tile(sample, side)
    painters = [draw for name, draw in _INSET_PAINTERS.items() if name in sample.maps][:_INSETS]
    insets = [draw(_Tile(sample, inset)) for draw in painters]
    width = side + (4 + inset if insets else 0)
    cell = np.full((side + 3 * _TEXT + 4, width, 3), _PAPER, np.uint8)
    cell[:side, :side] = tile.annotated()
    for number, pixels in enumerate(insets):
        y = number * (inset + 4)
        cell[y : y + inset, side + 4 :] = pixels
    _write(cell, (0, side + 2), _shorten(sample.name, width), _TEXT, _INK)
    _write(cell, (0, side + 2 + round(1.35 * _TEXT)), _shorten(_about(sample), width))
    return cell


def _about(sample: Sample) -> str:
    people = [" · ".join(filter(None, (person.activity, person.clothing))) for person in sample.people[:2]]
    splits = sorted({"/".join(key) for key in sample.splits.items()})
    return "  |  ".join(filter(None, [*people, *splits])) or f"{len(sample.people)} people"


# Drawing an image in a square
class _Tile:
    """An image in a square of `side` pixels, and the drawings on it."""

    def __init__(self, sample: Sample, side: int) -> None:
        self.sample = sample
        self.side = side
        width, height = sample.size
        self.scale = side / max(width, height)
        self.size = max(1, round(width * self.scale)), max(1, round(height * self.scale))
        self.corner = (side - self.size[0]) // 2, (side - self.size[1]) // 2

    def annotated(self) -> Pixels:
        """Draw outlines, surface points and skeletons; boxes around people without any of them."""
        canvas = self.image()
        for number, (person, mask) in enumerate(zip(self.sample.people, self.masks(), strict=True)):
            colour = person_colour(number)
            has_drawing = False
            if mask is not None:
                self._outline(canvas, mask, colour)
                has_drawing = True
            if person.surface_points is not None:
                self._dots(canvas, person.surface_points)
                has_drawing = True
            points = _skeleton_points(person, self.sample)
            if points is not None:
                skeleton, coordinates = points
                canvas_points = coordinates.astype(float)
                canvas_points[:, :2] = self._positions(coordinates[:, :2])
                draw_keypoints(canvas, canvas_points, skeleton, colour, 1e-6)
            elif not has_drawing and person.box is not None:
                self._box(canvas, person.box, colour)
        return canvas

    def image(self) -> Pixels:
        """Decode the image and fit it into the square."""
        pixels = require_decoded(decode_image(self.sample.image), self.sample.name, "image")
        return self._fit_in_square(pixels, cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC)

    def map(self, name: str) -> NDArray[Any]:
        """Fit a label map into the square, without mixing neighbours."""
        pixels = require_decoded(decode_png(self.sample.maps[name]), self.sample.name, name)
        return self._fit_in_square(pixels, cv2.INTER_NEAREST)

    def masks(self) -> Iterator[NDArray[np.bool_] | None]:
        """Yield the mask of each person; None without one."""
        persons = self.map("persons") if "persons" in self.sample.maps else None
        for number, person in enumerate(self.sample.people):
            data = person.mask or person.detected_mask
            if persons is not None:
                yield persons == number + 1
            elif data is not None:
                pixels = require_decoded(decode_png(data), self.sample.name, "mask")
                yield self._fit_in_square(pixels, cv2.INTER_LINEAR) > 127
            else:
                yield None

    def _fit_in_square(self, pixels: NDArray[Any], how: int) -> NDArray[Any]:
        small = cv2.resize(pixels, self.size, interpolation=how)
        canvas = np.zeros((self.side, self.side, *small.shape[2:]), small.dtype)
        x, y = self.corner
        canvas[y : y + self.size[1], x : x + self.size[0]] = small
        return canvas

    def _positions(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Convert points (N, 2) of the image to the square, clipped to the range that OpenCV can draw."""
        return np.clip(points.astype(float) * self.scale + self.corner, -_FARTHEST, _FARTHEST)

    def _outline(self, canvas: Pixels, mask: NDArray[np.bool_], colour: NDArray[np.float32]) -> None:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        bright = tuple(int(v) for v in 255 - (255 - 255 * colour) * 0.5)
        shadow = canvas.copy()
        cv2.drawContours(shadow, contours, -1, (0, 0, 0), 2, cv2.LINE_AA)
        cv2.addWeighted(canvas, 0.5, shadow, 0.5, 0, canvas)  # so that it stands out from bright images too
        cv2.drawContours(canvas, contours, -1, bright, 1, cv2.LINE_AA)

    def _dots(self, canvas: Pixels, points: NDArray[Any]) -> None:
        origins = self._positions(points[:, :2]).round().astype(int).tolist()
        for origin, chart in zip(origins, points[:, 2], strict=True):
            cv2.circle(canvas, origin, 2, tuple(int(255 * v) for v in person_colour(int(chart))), -1, cv2.LINE_AA)

    def _box(self, canvas: Pixels, box: NDArray[Any], colour: NDArray[np.float32]) -> None:
        corners = self._positions(np.asarray(box).reshape(2, 2)).round().astype(int).tolist()
        cv2.rectangle(canvas, corners[0], corners[1], tuple(int(255 * v) for v in colour), 1, cv2.LINE_AA)


def _skeleton_points(person: Person, sample: Sample) -> tuple[Skeleton, NDArray[Any]] | None:
    """Return the person's keypoints (J, 3), else their projected joints, else the detector's landmarks."""
    for name in _SKELETONS:
        if name in person.keypoints:
            return SKELETONS[name], person.keypoints[name]
    for name in _SKELETONS:
        if name in person.joints and sample.focal is not None:
            joints = person.joints[name]
            centre = np.array(sample.principal_point or (sample.size[0] / 2, sample.size[1] / 2))
            depth = np.maximum(joints[:, 2:3], 1e-3)
            in_front = joints[:, 2:3] > 1e-3
            return SKELETONS[name], np.concatenate(
                [joints[:, :2] / depth * sample.focal + centre, joints[:, 3:] * in_front], -1
            )
    return None if person.detected is None else (BLAZEPOSE33, person.detected)


# Insets
def _tinted(name: str, count: int) -> Callable[[_Tile], Pixels]:
    """Make a painter of labels 1…`count` in their colours over the grey image."""

    def draw(tile: _Tile) -> Pixels:
        values = tile.map(name)
        labels = np.minimum(values if values.ndim == 2 else values[..., 0], count)
        colours = np.stack([np.zeros(3), *(255 * person_colour(label) for label in range(count))])
        grey = cv2.cvtColor(tile.image(), cv2.COLOR_RGB2GRAY)[..., None].astype(float)
        blend = np.where(labels[..., None] > 0, 0.75 * colours[labels] + 0.25 * grey, _BRIGHT * grey)
        return blend.round().astype(np.uint8)

    return draw


def _depth(tile: _Tile) -> Pixels:
    """Draw near pixels bright."""
    depth = tile.map("depth").astype(float)
    has_depth = depth > 0
    if not has_depth.any():
        return np.zeros((tile.side, tile.side, 3), np.uint8)
    near, far = np.percentile(depth[has_depth], (2, 98))
    share = np.clip((far - depth) / max(far - near, 1e-6), 0, 1)
    colours = cv2.applyColorMap((40 + 215 * share).astype(np.uint8), cv2.COLORMAP_MAGMA)[..., ::-1]
    return np.where(has_depth[..., None], colours, 0).astype(np.uint8)


def _correspondence(tile: _Tile) -> Pixels:
    """Show u and v as red and green."""
    codes = tile.map("correspondence").astype(float)
    colours = np.stack([codes[..., 1] / 16, codes[..., 2] / 16, np.full(codes.shape[:2], 128.0)], -1)
    return np.where(codes[..., :1] > 0, np.minimum(colours, 255), 0).astype(np.uint8)


_INSET_PAINTERS: dict[str, Callable[[_Tile], Pixels]] = {
    "parts": _tinted("parts", len(SMPL24)),
    "depth": _depth,
    "normals": lambda tile: tile.map("normals").astype(np.uint8),
    "densepose": _tinted("densepose", 24),
    "correspondence": _correspondence,
    "garments": _tinted("garments", len(GARMENTS)),
}


# Text
def _shorten(text: str, width: int) -> str:
    """Shorten a text to `width` pixels by leaving out its middle."""
    font: Any = ImageFont.load_default(_TEXT)
    if font.getlength(text) <= width:
        return text
    length = len(text)
    while length > 4 and font.getlength(text[: length // 2] + "…" + text[-(length // 2) :]) > width:
        length -= 1
    return text[: length // 2] + "…" + text[-(length // 2) :]


def _write(
    canvas: Pixels, origin: tuple[int, int], text: str, size: int = _TEXT, colour: tuple[int, ...] = _FAINT
) -> None:
    image = Image.fromarray(canvas)
    ImageDraw.Draw(image).text(origin, text, fill=colour, font=ImageFont.load_default(size))
    canvas[...] = np.asarray(image)
