"""Backgrounds of scenes: rooms, streets, fields, studios, abstract fields of colour, and given images.

Rooms, streets and fields are boxes in the world with the floor of the people, so that they are consistent for several
cameras, and shadows fall on them.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.texture import look_up
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.images import IMAGE_SUFFIXES, read_image
from humanpose_cli.lab.synthetic.cameras import SceneCamera, SceneLighting, encode_light, irradiance
from humanpose_cli.lab.synthetic.tiles import TILE_KINDS, TILE_SIDE, VARIANTS, tile, tile_level

Array = NDArray[Any]

_MAX_SIDE = 1024  # pixels, max longer side of a cached image
_MAX_CACHED = 32  # images, at most 96 MiB


class ImageFolder:
    """The images in a folder and its subfolders, in the order of their paths.

    Args:
        folder: The folder.

    Raises:
        InputError: If the folder does not exist or has no images, or later if an image cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(self.folder, "is not a folder", expected="a folder of background images")
        self.files = sorted(
            (path for path in self.folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()),
            key=lambda path: path.relative_to(self.folder).as_posix(),
        )
        if not self.files:
            raise InputError(self.folder, "holds no images", expected="JPEG or PNG files")
        self._image = lru_cache(maxsize=_MAX_CACHED)(self._read)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def summary(self) -> str:
        """The number of images, and a hash of their names and sizes."""
        digest = hashlib.sha256()
        for path in self.files:
            name = os.fsencode(path.relative_to(self.folder).as_posix())  # may not be UTF-8
            digest.update(b"%s\0%d\n" % (name, path.stat().st_size))
        return f"{len(self.files)} images ({digest.hexdigest()[:8]})"

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self.folder,)

    def crop(self, number: int, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
        """Return a random part of an image, perhaps mirrored, at least a third as large as possible.

        Args:
            number: Index of the image.
            size: Height and width of the result in pixels.
            random: Source of the random numbers.

        Returns:
            (height, width, 3) float32, 0 … 255.
        """
        image = self._image(number)
        scale = min(image.shape[0] / size[0], image.shape[1] / size[1]) * random.uniform(0.34, 1.0)
        height, width = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
        top = int(random.integers(image.shape[0] - height + 1))
        left = int(random.integers(image.shape[1] - width + 1))
        piece = image[top : top + height, left : left + width]
        if random.random() < 0.5:
            piece = piece[:, ::-1]
        interpolation = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(piece, size[::-1], interpolation=interpolation), np.float32)

    def _read(self, number: int) -> NDArray[np.uint8]:
        image = np.ascontiguousarray(read_image(self.files[number]).pixels)
        longest = max(image.shape[:2])
        if longest > _MAX_SIDE:
            scale = _MAX_SIDE / longest
            small = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        return image


def _sky_colours(random: np.random.Generator) -> tuple[Array, Array]:
    """Draw colours (3,) of the sky at horizon and zenith: clear, overcast, evening or night."""
    kind = random.random()
    if kind < 0.45:
        horizon, zenith = np.array([205, 218, 232]), np.array([95, 145, 215])
    elif kind < 0.8:
        grey = random.uniform(150, 245)
        horizon, zenith = np.array([grey, grey, grey + 4]), np.array([grey - 25, grey - 22, grey - 12])
    elif kind < 0.93:
        horizon, zenith = np.array([250, 190, 140]), np.array([110, 120, 175])
    else:
        horizon, zenith = np.array([60, 60, 80]), np.array([18, 20, 36])
    shift = random.normal(0, 10, 3)
    return np.asarray(horizon + shift, np.float32), np.asarray(zenith + shift, np.float32)


def _haze(random: np.random.Generator, image: Array, depth: Array, sky: NDArray[np.bool_], rays: Array) -> Array:
    """Fill in the sky (H, W) of an image (H, W, 3), and fade it with the depth (H, W) to the horizon's colour."""
    horizon, zenith = _sky_colours(random)
    reach = np.float32(random.uniform(60, 500))
    veil = (1 - np.exp(-np.minimum(depth, np.float32(1e4)) / reach)) * np.float32(random.uniform(0.4, 1.0))
    clear = cv2.merge([1 - veil] * 3)
    result = cv2.add(cv2.multiply(image, clear), cv2.merge([veil * value for value in horizon]))
    if sky.any():
        x, y, z = rays[:, sky]
        elevation = np.clip(y / np.hypot(x, z), 0, 4)
        colour = horizon + (zenith - horizon) * (1 - np.exp(-2.2 * elevation))[:, None]
        clouds = tile("plaster", int(random.integers(VARIANTS)))[..., 0].astype(np.float32)
        clouds = (clouds - clouds.mean()) / max(float(clouds.std()), 1e-3)
        # Clouds lie in a plane, so that they are dense near the horizon.
        distance = 40 / np.maximum(elevation, 0.06)
        azimuth = np.arctan2(x, z)
        column = (distance * np.sin(azimuth) + 128).astype(np.int64) % 256
        row = (distance * np.cos(azimuth) + 128).astype(np.int64) % 256
        amount = np.clip(random.normal(0.3, 0.5) + 0.45 * clouds[row, column], 0, 1)
        amount = amount * np.minimum(elevation * 5, 1) * random.uniform(0, 1)
        white = np.minimum(horizon + 40, 252)
        result[sky] = colour + amount[:, None].astype(np.float32) * (white - colour)
    return np.asarray(result, np.float32)


BACKGROUND_KINDS: dict[str, float] = {"room": 0.36, "street": 0.17, "field": 0.17, "studio": 0.1, "abstract": 0.2}
"""Kind → share of the backgrounds without images."""
INDOOR = ("room", "studio")
VIEWED_FROM_ANYWHERE = ("street", "field")
"""Kinds for moving cameras, since they are one scene in all directions."""


@dataclass(frozen=True)
class Background:
    """A background.

    Attributes:
        kind: Kind in BACKGROUND_KINDS, or "picture".
        seed: Seed of the random choices.
        image: Index of the image in the folder; −1 for none.
    """

    kind: str
    seed: int
    image: int = -1

    @property
    def indoor(self) -> bool:
        """Whether the light is indoor light."""
        return self.kind in INDOOR or (self.kind in ("abstract", "picture") and self.seed % 2 == 0)


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A painted background.

    Attributes:
        image: (H, W, 3) float32, 0 … 255. The lit image without shadows of people and objects.
        depth: (H, W) float32, metres along the camera's axis. Surfaces that receive shadows; inf elsewhere.
        surface: (H, W) int8. 0 for none, 1 for the floor, 2 for another surface.
    """

    image: Array
    depth: Array
    surface: NDArray[np.int8]


def sample_background(random: np.random.Generator, images: ImageFolder | None = None, share: float = 0.6) -> Background:
    """Draw a background.

    Args:
        random: Source of the random numbers.
        images: Folder of images.
        share: Probability of an image if there is a folder.
    """
    seed = int(random.integers(2**31))
    if images is not None and len(images) and random.random() < share:
        return Background("picture", seed, int(random.integers(len(images))))
    kinds = list(BACKGROUND_KINDS)
    weights = np.array([BACKGROUND_KINDS[kind] for kind in kinds])
    return Background(str(random.choice(kinds, p=weights / weights.sum())), seed)


def paint_backdrop(
    background: Background,
    camera: SceneCamera,
    lighting: SceneLighting,
    images: ImageFolder | None = None,
    inside: Array | None = None,
) -> Backdrop:
    """Paint a background.

    Args:
        background: The background.
        camera: The camera.
        lighting: The light.
        images: The folder of the background's image.
        inside: (N, 3) float, metres in world axes. Points inside the walls, such as people in all frames.
    """
    random = np.random.default_rng([background.seed, 77])
    if background.kind in ("abstract", "picture"):
        size = camera.view.size[::-1]
        if background.kind == "picture":
            assert images is not None, "a background from a folder needs the folder"
            image = images.crop(background.image, size, random)
        else:
            image = _abstract(random, size)
        image = np.asarray(image * np.float32(np.clip(random.normal(1.0, 0.12), 0.6, 1.3)), np.float32)
        depth, surface = np.full(size, np.inf, np.float32), np.zeros(size, np.int8)
        # In some images, people cast shadows as if there were a floor.
        if random.random() < 0.6:
            slope = camera.rays()[1]
            mask = slope < -0.02
            depth[mask] = np.float32(camera.position[1]) / -slope[mask]
            surface[mask] = 1
        return Backdrop(image, depth, surface)
    interior = np.zeros((1, 3)) if inside is None else np.concatenate((np.zeros((1, 3)), inside))
    return _paint_box(random, background.kind, camera, lighting, interior)


@dataclass(frozen=True)
class _Box:
    """Walls of a scene: bounds (3,) in axes rotated by `turn` about y, and (kind, variant, metres) of its tiles."""

    low: Array
    high: Array
    turn: float
    floor: tuple[str, int, float]
    walls: tuple[str, int, float]
    ceiling: tuple[str, int, float] | None
    skyline: float  # metres by which the walls' upper edge varies


def _sample_box(random: np.random.Generator, kind: str, inside: Array) -> _Box:
    """Draw a box around points (N, 3) in world axes."""
    uniform = random.uniform
    turn = float(uniform(-math.pi, math.pi) if kind == "room" else random.normal(0, 0.35))
    c, s = math.cos(turn), math.sin(turn)
    x, y, z = inside.T
    box_points = np.stack((c * x - s * z, y, s * x + c * z), 1)
    near_low, near_high = box_points.min(0), box_points.max(0)

    def pick(*kinds: str, metres: tuple[float, float]) -> tuple[str, int, float]:
        return str(random.choice(kinds)), int(random.integers(VARIANTS)), float(uniform(*metres))

    if kind == "room":
        low, high = near_low - uniform(0.7, 3.5, 3), near_high + uniform(0.7, 3.5, 3)
        top = max(uniform(2.3, 3.4), near_high[1] + 0.3)
        floor = pick("boards", "floor_tiles", "carpet", "concrete", "plaster", "stone", metres=(0.8, 2.5))
        walls = pick("plaster", "plaster", "wallpaper", "brick", "boards", "concrete", "shelf", metres=(0.8, 3.5))
        return _Box(
            _at_height(low, 0), _at_height(high, top), turn, floor, walls, pick("plaster", "boards", metres=(2, 4)), 0
        )
    if kind == "studio":
        low, high = near_low - uniform(1.2, 3.0, 3), near_high + uniform(1.2, 3.0, 3)
        plain = pick("plaster", metres=(3, 6))
        return _Box(_at_height(low, 0), _at_height(high, 60.0), turn, plain, plain, plain, 0)
    if kind == "street":
        stretch = np.array([1.0, 0, 5.0])
        low, high = near_low - uniform(2, 12, 3) * stretch, near_high + uniform(2, 12, 3) * stretch
        floor = pick("ground", "concrete", "stone", "floor_tiles", metres=(1.5, 4))
        walls = pick("facade", "facade", "facade", "brick", "foliage", "print", metres=(4, 12))
        return _Box(_at_height(low, 0), _at_height(high, uniform(4, 22)), turn, floor, walls, None, uniform(0, 5))
    low, high = near_low - uniform(10, 120, 3), near_high + uniform(10, 120, 3)
    floor = pick("grass", "grass", "ground", "ground", "stone", metres=(1.5, 5))
    walls = pick("foliage", "foliage", "grass", "ground", metres=(4, 14))
    return _Box(
        _at_height(low, 0), _at_height(high, max(uniform(0.5, 14), 0.2)), turn, floor, walls, None, uniform(0.3, 4)
    )


def _at_height(corner: Array, y: float) -> Array:
    return np.array([corner[0], y, corner[2]], np.float32)


def _paint_box(
    random: np.random.Generator, kind: str, camera: SceneCamera, lighting: SceneLighting, inside: Array
) -> Backdrop:
    lens = camera.position.astype(np.float32)
    scene = _sample_box(random, kind, np.concatenate((inside, lens[None])))
    c, s = np.float32(math.cos(scene.turn)), np.float32(math.sin(scene.turn))
    rays = camera.rays()
    x, y, z = c * rays[0] - s * rays[2], rays[1], s * rays[0] + c * rays[2]
    rx, ry, rz = (np.where(np.abs(r) < 1e-6, np.float32(1e-6), r) for r in (x, y, z))
    start = np.array([c * lens[0] - s * lens[2], lens[1], s * lens[0] + c * lens[2]], np.float32)
    reach = [np.where(r > 0, scene.high[k] - start[k], scene.low[k] - start[k]) / r for k, r in enumerate((rx, ry, rz))]
    # A lens above the top of the walls sees the sky over them.
    max_depth = np.float32(1e4)
    wall = np.minimum(reach[0], reach[2])
    vertical = np.where((ry > 0) & (reach[1] <= 0), max_depth, reach[1])
    depth = np.minimum(np.minimum(wall, np.where(ry > 0, max_depth, vertical)), max_depth)
    axis = np.where(reach[0] < reach[2], np.int8(0), np.int8(2))
    axis[(ry < 0) & (vertical < wall)] = 1
    height = start[1] + depth * ry
    position = np.where(axis == 0, start[2] + depth * rz, start[0] + depth * rx)
    top = scene.high[1] + (_skyline(random, position, scene.skyline) if scene.skyline else 0)
    over_wall = (axis != 1) & (height > top)
    image = np.zeros((*depth.shape, 3), np.float32)
    face = np.where(axis == 0, 2 - (rx > 0).view(np.int8), 4 - (rz > 0).view(np.int8))
    face[axis == 1] = 0
    face[over_wall] = 5
    if scene.ceiling is not None:
        depth = np.where(over_wall, vertical, depth)
    points = (start[0] + depth * rx, start[1] + depth * ry, start[2] + depth * rz)
    tints = [_tint(random, 0.06 if kind != "studio" else 0.2) for _ in range(3)]
    if kind == "studio":
        tints = [tints[0]] * 3
    for number in _present(face):
        rows, kind_of_face = np.flatnonzero(face.ravel() == number), 0 if number == 0 else 1 if number < 5 else 2
        material = (scene.floor, scene.walls, scene.ceiling)[kind_of_face]
        if material is None:
            continue
        tile_name, variant, metres = material
        normal_axis = (1, 0, 0, 2, 2, 1)[number]
        first, second = ((2, 1), (0, 2), (0, 1))[normal_axis]
        u, v = points[first].ravel()[rows], points[second].ravel()[rows]
        slant = np.maximum(np.abs((rx, ry, rz)[normal_axis].ravel()[rows]), 0.08)
        footprint = depth.ravel()[rows] / camera.view.focal / np.sqrt(slant)
        colour = _tile_colours((tile_name, variant), u / metres, -v / metres, footprint / metres * TILE_SIDE)
        colour = colour * tints[kind_of_face]
        if kind_of_face == 1 and scene.ceiling is not None and scene.walls != scene.floor:
            _decorate(random, colour, u, v, footprint, scene)
        # Inner unit normal of the face: 0 floor, 1 +x, 2 −x, 3 +z, 4 −z, 5 top.
        nx, ny, nz = [(0, 1, 0), (-1, 0, 0), (1, 0, 0), (0, 0, -1), (0, 0, 1), (0, -1, 0)][number]
        normal = np.array([[c * nx + s * nz, ny, -s * nx + c * nz]], np.float32)
        gain = encode_light(irradiance(normal, lighting))[0]
        image.reshape(-1, 3)[rows] = colour * np.minimum(gain, 1.5)
    if kind in ("room", "studio"):
        image = np.asarray(cv2.multiply(image, cv2.merge([_lamp_falloff(random, scene, points)] * 3)), np.float32)
    else:
        image = _haze(random, image, depth, face == 5, rays)
        depth = np.where(face == 5, np.inf, depth).astype(np.float32)
    surface = np.where(face == 0, 1, np.where((face == 5) & (scene.ceiling is None), 0, 2)).astype(np.int8)
    return Backdrop(image, depth.astype(np.float32), surface)


def _lamp_falloff(random: np.random.Generator, scene: _Box, points: tuple[Array, Array, Array]) -> Array:
    """Draw a lamp or window; return the factor (H, W) on the light, which falls with the distance."""
    lamp = random.uniform(scene.low * 0.8, np.minimum(scene.high, 3.0))
    squared_distance = sum((axis - np.float32(value)) ** 2 for axis, value in zip(points, lamp, strict=True))
    return np.asarray(0.55 + 0.6 / (1 + squared_distance / random.uniform(2.5, 7.0) ** 2), np.float32)


def _tint(random: np.random.Generator, spread: float) -> Array:
    return np.asarray(np.clip(random.uniform(0.65, 1.15) * np.exp(random.normal(0, spread, 3)), 0.3, 1.4), np.float32)


def _tile_colours(name: tuple[str, int], u: Array, v: Array, texels: Array) -> Array:
    """Return a tile's colours (N, 3) at points in tiles, at the level of pixels with this size in texels."""
    level = np.clip(np.rint(np.log2(np.maximum(texels, 1))), 0, 6).astype(np.int8)
    result = np.empty((len(u), 3), np.float32)
    for number in _present(level):
        rows = np.flatnonzero(level == number)
        image = tile_level(*name, number)
        size = np.float32(image.shape[0])
        x, y = ((points - np.floor(points)) * size - np.float32(0.5) for points in (u[rows], v[rows]))
        result[rows] = look_up(image, x, y, cv2.BORDER_WRAP)
    return result


def _present(numbers: Array) -> list[int]:
    """Return the small integers that occur, ascending."""
    return np.flatnonzero(np.bincount(numbers.ravel())).tolist()


def _decorate(random: np.random.Generator, colour: Array, u: Array, v: Array, footprint: Array, scene: _Box) -> None:
    """Add images, windows, doors, a skirting board and a dado to a wall's colours (N, 3) at u, v metres."""
    top = float(scene.high[1])
    if random.random() < 0.7:
        colour[v < random.uniform(0.05, 0.16)] = random.uniform(40, 235) + random.normal(0, 12, 3)
    if random.random() < 0.2:
        colour[v < random.uniform(0.8, 1.2)] *= np.asarray(random.uniform(0.5, 1.2, 3), np.float32)
    low, high = float(u.min()), float(u.max())
    for _ in range(int(random.integers(0, 7))):
        width, height = random.uniform(0.3, 1.5, 2)
        left, bottom = random.uniform(low - 0.5, max(high, low + 0.1)), random.uniform(0.2, max(0.3, top - height))
        if random.random() < 0.25:
            bottom, height, width = 0.0, 2.0, 0.85  # a door
        a, b = (u - left) / width, (v - bottom) / height
        rows = np.flatnonzero((a > 0) & (a < 1) & (b > 0) & (b < 1))
        if not len(rows):
            continue
        edge = np.minimum(np.minimum(a, 1 - a)[rows] * width, np.minimum(b, 1 - b)[rows] * height)
        style = random.random()
        if style < 0.55:
            kind = str(random.choice(["print", "print", "foliage", "facade", "shelf", "wallpaper", "carpet"]))
            texels = footprint[rows] / width * TILE_SIDE
            inner = _tile_colours((kind, int(random.integers(VARIANTS))), a[rows], 1 - b[rows], texels)
        else:
            tone = random.uniform(30, 255) + random.normal(0, 20, 3)
            inner = np.asarray(tone + 40 * (b[rows] - 0.5)[:, None], np.float32)
        frame = random.uniform(20, 240) + random.normal(0, 15, 3)
        colour[rows] = np.where((edge < random.uniform(0.0, 0.06))[:, None], frame, inner)


def _skyline(random: np.random.Generator, position: Array, spread: float) -> Array:
    """Return the height variation of a skyline, stepped like roofs or wavy like trees, at positions in metres."""
    if random.random() < 0.5:
        width = random.uniform(4, 12)
        steps = random.normal(0, 1, 64).astype(np.float32)
        return np.asarray(spread * steps[np.floor(position / width).astype(np.int64) % 64], np.float32)
    result = np.zeros_like(position)
    for wave in (31.0, 11.0, 4.7, 1.9, 0.8):
        phase = np.float32(random.uniform(0, 6.28))
        result += np.sin(position * np.float32(6.283 / wave) + phase) * (wave / 31) ** 0.6
    return np.asarray(spread * 0.8 * result, np.float32)


def _abstract(random: np.random.Generator, size: tuple[int, int]) -> Array:
    """Compose materials with soft borders, coloured shapes, and discs of light out of focus."""
    height, width = size
    image = _sample_tile(random, size)
    for _ in range(int(random.integers(1, 4))):
        cells = int(random.choice([2, 3, 5, 8]))
        field = cv2.resize(random.normal(0, 1, (cells, cells)).astype(np.float32), (width, height), interpolation=2)
        sharp = np.float32(random.choice([0.7, 3.0, 20.0]))
        share = np.clip(0.5 + sharp * (field - np.float32(random.normal(0, 0.5))), 0, 1)[..., None]
        image = image + share * (_sample_tile(random, size) - image)
    for _ in range(int(random.integers(0, 4)) * int(random.integers(0, 10))):
        colour = (random.uniform(0, 255) + random.normal(0, 45, 3)).clip(0, 255).tolist()
        centre = tuple(int(value) for value in random.uniform(0, 1, 2) * [width, height])
        extent = random.uniform(0.02, 0.25, 2) * max(size)
        if random.random() < 0.5:
            corner = (int(centre[0] + extent[0]), int(centre[1] + extent[1]))
            cv2.rectangle(image, centre, corner, colour, -1 if random.random() < 0.8 else 2, cv2.LINE_AA)
        else:
            axes = (int(extent[0] / 2) + 1, int(extent[1] / 2) + 1)
            cv2.ellipse(image, centre, axes, float(random.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    if random.random() < 0.3:
        image = _bokeh(random, image)
    return np.asarray(image, np.float32)


def _sample_tile(random: np.random.Generator, size: tuple[int, int]) -> Array:
    """Rotate, scale and tint a random tile."""
    kind, variant = str(random.choice(TILE_KINDS)), int(random.integers(VARIANTS))
    scale, angle = math.exp(random.uniform(math.log(0.35), math.log(3.0))) * max(size) / 256, random.uniform(0, 6.28)
    level = max(0, round(-math.log2(scale)))
    image = tile_level(kind, variant, level) if level else tile(kind, variant)
    scale *= 2**level
    c, s = math.cos(angle) / scale, math.sin(angle) / scale
    matrix = np.array([[c, -s, random.uniform(0, 256)], [s, c, random.uniform(0, 256)]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    pixels = cv2.warpAffine(image, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_WRAP)
    return np.asarray(pixels * _tint(random, 0.12), np.float32)


def _bokeh(random: np.random.Generator, image: Array) -> Array:
    height, width = image.shape[:2]
    light = np.zeros_like(image)
    radius = random.uniform(0.015, 0.06) * max(height, width)
    for _ in range(int(random.integers(8, 50))):
        centre = (int(random.uniform(0, width)), int(random.uniform(0, height)))
        colour = (random.uniform(20, 130) * np.exp(random.normal(0, 0.4, 3))).tolist()
        disc = np.zeros_like(light)
        cv2.circle(disc, centre, max(2, int(radius * random.uniform(0.6, 1.3))), colour, -1, cv2.LINE_AA)
        light = np.maximum(light, disc)
    soft = cv2.GaussianBlur(image, (0, 0), radius * 0.6)
    return np.asarray(soft * random.uniform(0.3, 0.9) + light, np.float32)
