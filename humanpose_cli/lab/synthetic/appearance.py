"""Skin and faces, hair and headwear: painted texels, shells over the scalp, and grids that stand off from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.cloth_surface import ClothBase, Coordinates, ramp
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.lab.synthetic.atlas import ASPECT, TILES, AtlasTexels
from humanpose_cli.lab.synthetic.mesh import Grid, nearest_weights, revolve
from humanpose_cli.lab.synthetic.people import Hair, Headwear, Identity
from humanpose_cli.lab.synthetic.tiles import NOISE_SIZE, octave_noise, resample

Array = NDArray[Any]

_EAR_CENTRE = (0.075, 0.661, 0.036)  # metres on the average body
_CROWN = 0.788  # metres above the pelvis joint
_LONG_STYLES = ("bob", "long")
_HEAD_WEIGHTS = np.eye(len(SMPL24), dtype=np.float32)[SMPL24.index("head")]
_EDGE = -0.003  # metres by which painted hair extends past the hairline
_WRAPS = ("hood", "scarf")


def hair_field(hair: Hair, points: Coordinates) -> Array:
    """Return how far points lie inside the hairline: above a plane from brow to nape, outside the ears.

    Args:
        hair: The hair.
        points: n points.

    Returns:
        (n,) float32, metres.
    """
    lower = 0.012 if hair.style in ("long", "bob", "bun", "ponytail") else 0.0
    temple = 0.22 * np.maximum(np.abs(points.x) - 0.045, 0)
    field = (
        np.float32(0.74) * (points.y - 0.748 - hair.hairline) - np.float32(0.67) * (points.z - 0.128) + lower - temple
    )
    field = np.minimum(field, points.y - 0.592)
    # A hairline is not straight.
    field = field + np.float32(0.0025) * np.sin(310 * points.x + 40 * hair.parting) * np.sin(
        270 * points.z + 90 * points.y
    )
    if hair.style not in _LONG_STYLES and hair.style != "afro":
        ear = np.sqrt(
            (0.55 * (np.abs(points.x) - _EAR_CENTRE[0])) ** 2
            + (points.y - _EAR_CENTRE[1]) ** 2
            + (points.z - _EAR_CENTRE[2]) ** 2
        )
        field = np.minimum(field, ear - np.float32(0.036))
    return field.astype(np.float32)


def hair_thickness(hair: Hair, points: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """Return the distance of hair from the scalp.

    Args:
        hair: The hair.
        points: n points.
        field: (n,) float32, metres. The `hair_field`.
        random: Source of the random numbers.

    Returns:
        (n,) float32, metres.
    """
    volume = hair.volume
    depth = {
        "buzz": 0.003,
        "short": 0.007 + 0.018 * volume,
        "curly": 0.018 + 0.028 * volume,
        "bob": 0.013 + 0.014 * volume,
        "long": 0.011 + 0.014 * volume,
        "bun": 0.006 + 0.006 * volume,
        "ponytail": 0.006 + 0.006 * volume,
        "afro": 0.045 + 0.05 * volume,
    }[hair.style]
    top = 0.55 + 0.45 * ramp(points.y, 0.66, 0.76)
    edge = {"buzz": 0.004, "afro": 0.03}.get(hair.style, 0.018)
    rough = {"curly": 0.2, "afro": 0.06, "short": 0.14, "bob": 0.05, "long": 0.06}.get(hair.style, 0.03)
    waves = _random_waves(points, random, 3, 160)
    # A parting is a shallow valley from the brow to the crown.
    valley = np.exp(-(((points.x - 0.035 * hair.parting) / 0.007) ** 2)) * ramp(points.z, 0.0, 0.05) * 0.35
    if hair.style in ("curly", "afro", "buzz"):
        valley = np.float32(0)
    result = depth * top * (0.25 + 0.75 * ramp(field, 0.0, edge)) * (1 + rough * waves - valley)
    return np.maximum(result, 0.0015).astype(np.float32)


def _random_waves(points: Coordinates, random: np.random.Generator, count: int, steepest: float) -> Array:
    """Return a sum (n,) of plane waves of up to `steepest` radians per metre."""
    waves = np.zeros_like(points.x)
    for _ in range(count):
        kx, ky, kz = random.uniform(-steepest, steepest, 3).tolist()
        waves += np.sin(kx * points.x + ky * points.y + kz * points.z + random.uniform(0, 6.3))
    return waves


def hair_grids(hair: Hair, base: ClothBase, random: np.random.Generator, *, under_hat: bool) -> list[Grid]:
    """Return the hair that stands or hangs off the head: curtain, bun or tail."""
    if hair.style in _LONG_STYLES:
        return [_curtain(hair, base, random, 0.69 if under_hat else 0.745)]
    if hair.style == "bun":
        centre = (0.0, 0.79, -0.02) if random.random() < 0.5 else (0.0, 0.69, -0.085)
        return [_ball(np.asarray(centre), 0.03 + 0.018 * hair.volume, random)]
    if hair.style == "ponytail":
        return [_tail(hair, base, random)]
    return []


def ear_cover(hair: Hair, points: Coordinates) -> Array | None:
    """Return how far points (n,) lie inside hair over the ears in metres; None if the ears are free."""
    if hair.style not in _LONG_STYLES:
        return None
    ear = np.sqrt((points.y - _EAR_CENTRE[1]) ** 2 + (points.z - _EAR_CENTRE[2]) ** 2)
    return np.where(np.abs(points.x) > 0.06, np.clip(np.float32(0.045) - ear, -1, 0.02), np.float32(-1)).astype(
        np.float32
    )


def rigid_grid(points: Array, *, is_closed: bool) -> Grid:
    """Return a grid of points (R, C, 3) that moves with the head."""
    return Grid(points, is_closed, "head", np.tile(_HEAD_WEIGHTS, (points.shape[0] * points.shape[1], 1)))


def _curtain(hair: Hair, base: ClothBase, random: np.random.Generator, top: float) -> Grid:
    """Return hair that falls around the back of the head from temple to temple, and over the back."""
    bottom = _CROWN - hair.length
    rows, columns = max(6, math.ceil((top - bottom) / 0.03)), 30
    side = np.linspace(-1, 1, columns)
    # The tips are ragged, and shorter towards the face.
    tips = bottom + 0.035 * side**4 + 0.006 * random.normal(size=columns)
    y = top + np.linspace(0, 1, rows)[:, None] * (tips - top)
    level = y[:, columns // 2]
    open_head, open_back = math.radians(66 + 14 * random.random()), math.radians(118)
    # Below the shoulders, hair lies on the back.
    narrow = ramp(-level, -0.57, -0.5)[:, None]
    opening = open_head + narrow * (open_back - open_head)
    opening = opening + 0.05 * np.sin(25 * level + random.uniform(0, 6.3))[:, None]
    angles = math.pi + side * (math.pi - opening)
    distance = 0.008 + 0.014 * hair.volume
    radius = 1 / np.hypot(np.sin(angles) / (0.08 + distance), np.cos(angles) / (0.099 + distance))
    waves = np.sin(9 * angles + random.uniform(0, 6.3)) + np.sin(17 * angles + 30 * y + random.uniform(0, 6.3))
    # The curtain starts at the shell on the scalp, and its front edges lie against the cheeks.
    round_head = np.sqrt(np.clip(1 - (np.maximum(y - 0.685, 0) / 0.105) ** 2, 0.2, 1))
    radius = radius * round_head * (0.88 + 0.12 * ramp(-y, -top, 0.065 - top)) * (1 - 0.1 * np.abs(side) ** 5)
    fall = ramp(-y, -0.7, -0.6)
    radius = radius * (1 - 0.1 * fall * (1 - narrow)) + (0.003 + 0.003 * hair.volume) * waves * fall
    points = revolve(np.tile([0.0, 0.042], (rows, 1)), radius, y, angles)
    # It lies on the back, outside the surface of the trunk.
    on_back = (np.abs(base.template[:, 0]) < 0.12) & ~base.coordinates.is_arm & (base.template[:, 2] < 0.03)
    trunk = base.template[on_back]
    levels = np.arange(0.2, 0.62, 0.03)
    wall = [trunk[np.abs(trunk[:, 1] - height) < 0.03, 2].min() for height in levels]
    limit = np.interp(level, levels, wall)[:, None] - 0.012
    points[..., 2] = np.minimum(points[..., 2], np.where(level[:, None] < 0.57, limit, np.inf))
    return _hanging_grid(base, points, (0.49, 0.63), is_closed=False)


def _hanging_grid(base: ClothBase, points: Array, heights: tuple[float, float], *, is_closed: bool) -> Grid:
    """Return a grid of points (R, C, 3) that moves with the trunk below these heights and with the head above them."""
    hold = ramp(points[..., 1].reshape(-1, 1), *heights)
    trunk = nearest_weights(base, points.reshape(-1, 3))
    return Grid(points, is_closed, "head", hold * _HEAD_WEIGHTS + (1 - hold) * trunk)


def _ball(centre: Array, radius: float, random: np.random.Generator) -> Grid:
    angles = np.arange(12) * (2 * math.pi / 12)
    latitude = np.linspace(0.02, math.pi - 0.02, 8)
    radii = radius * np.sin(latitude)[:, None] * (1 + 0.06 * np.sin(5 * angles + random.uniform(0, 6.3)))
    middle = np.tile(centre[[0, 2]], (8, 1))
    points = revolve(middle, radii, centre[1] + 0.85 * radius * np.cos(latitude), angles)
    return rigid_grid(points, is_closed=True)


def _tail(hair: Hair, base: ClothBase, random: np.random.Generator) -> Grid:
    """Return a tube that starts at the back of the head and bends down."""
    start = np.array([0.0, float(random.choice([0.655, 0.705, 0.755])), -0.062])
    rows, length = 10, 0.6 * hair.length + 0.05
    t = np.linspace(0, 1, rows)
    spine = start + np.stack((np.zeros(rows), 0.02 * np.sin(3 * t) - length * t**1.2, -0.055 * np.sin(2.2 * t)), 1)
    spine[:, 2] = np.where(spine[:, 1] < 0.56, np.minimum(spine[:, 2], -0.112), spine[:, 2])
    thick = (0.014 + 0.018 * hair.volume) * np.sin(math.pi * (0.12 + 0.86 * t)) ** 0.7
    angles = np.arange(9) * (2 * math.pi / 9)
    points = revolve(spine[:, [0, 2]], np.repeat(thick[:, None], 9, 1), spine[:, 1], angles)
    return _hanging_grid(base, points, (0.46, 0.62), is_closed=True)


def paint_hair(hair: Hair, texels: AtlasTexels, image: NDArray[np.uint8], seed: int) -> None:
    """Paint hair onto the scalp's texels in place; the hairline fades into the skin."""
    head = np.flatnonzero(texels.head)
    field = hair_field(hair, texels.coordinates.take(head))
    inside = field > _EDGE
    positions = head[inside]
    field = field[inside]
    points = texels.points[positions]
    strand = np.arctan2(points[:, 0], points[:, 2] - np.float32(0.03)) * np.float32(NOISE_SIZE / 6.2832)
    shade = _strands(hair, strand, points[:, 1] * np.float32(400), seed)
    colour = np.asarray(hair.colour, np.float32) * shade[:, None]
    flat = image.reshape(-1, 3)
    rows = texels.rows[positions]
    share = ramp(field, _EDGE, 0.008 if hair.style == "buzz" else 0.002)
    if hair.style == "buzz":
        share = share * np.float32(0.55 + 0.35 * hair.volume)
    flat[rows] = np.clip(flat[rows] + share[:, None] * (colour - flat[rows]), 0, 255)


def paint_hair_tile(hair: Hair, image: NDArray[np.uint8], seed: int) -> None:
    """Paint the tile of hanging hair in place: strands from top to bottom."""
    part, v, u = TILES["hair"].pixels(len(image))
    shade = _strands(hair, u.ravel() * 1.7, v.ravel() * 0.8, seed).reshape(u.shape)
    # The tips get less light.
    shade *= 1.05 - 0.25 * v / len(v)
    image[part] = np.clip(np.asarray(hair.colour, np.float32) * shade[..., None], 0, 255)


def _strands(hair: Hair, across: Array, along: Array, seed: int) -> Array:
    """Return the brightness (n,) of strands at points in texels of noise."""
    shift = np.float32(seed % NOISE_SIZE)
    curl = {"curly": 9.0, "afro": 14.0}.get(hair.style, 2.0)
    bend = np.float32(curl) * np.sin(along * np.float32(0.06) + shift)
    unit = np.float32(1 / NOISE_SIZE)
    slow = resample(octave_noise(64, 0, 0.3), (across + bend + shift) * unit, along * (unit / 4))
    fine = resample(octave_noise(128, 1, 0.0), (2.3 * across + bend) * unit, along * (unit / 8))
    return 1 + np.float32(0.17) * slow + np.float32(0.16) * fine


def headwear_field(wear: Headwear, points: Coordinates) -> Array:
    """Return how far points (n,) lie inside the edge of the headwear in metres."""
    if wear.kind in _WRAPS:
        # Everything except the face, an oval opening in front.
        face = np.hypot(points.x / 0.062, (points.y - 0.662) / 0.086) - 1
        face = np.where(points.z > 0.015, face * 0.07, np.float32(0.3))
        low = points.y - np.float32(0.545 if wear.kind == "hood" else 0.53) - 0.25 * np.maximum(points.z, 0)
        return np.minimum(face, low).astype(np.float32)
    front, slope = {"beanie": (0.722, 0.26), "brim": (0.735, 0.16)}.get(wear.kind, (0.728, 0.16))
    if wear.kind == "backward cap":
        front, slope = 0.735, 0.1
    return (points.y - np.float32(front) + np.float32(slope) * (np.float32(0.13) - points.z)).astype(np.float32)


def headwear_thickness(wear: Headwear, points: Coordinates, field: Array, random: np.random.Generator) -> Array:
    """Return the distance of headwear from the head.

    Args:
        wear: The headwear.
        points: n points.
        field: (n,) float32, metres. The `headwear_field`.
        random: Source of the random numbers.

    Returns:
        (n,) float32, metres.
    """
    base, top = {
        "beanie": (0.012, random.uniform(0.0, 0.03)),
        "brim": (0.014, random.uniform(0.01, 0.03)),
        "hood": (0.02, 0.012),
        "scarf": (0.009, 0.004),
    }.get(wear.kind, (0.012, random.uniform(0.008, 0.02)))
    waves = _random_waves(points, random, 2, 90)
    rough = 0.0015 if wear.kind not in _WRAPS else 0.003
    result = base + top * ramp(points.y, 0.73, 0.785) + rough * waves
    if wear.kind == "beanie":
        result = result + 0.005 * ramp(-field, -0.045, -0.04)
    return result.astype(np.float32)


def brim_grid(wear: Headwear, random: np.random.Generator) -> Grid | None:
    """Return the peak of a cap or the brim of a hat; None for other headwear."""
    if wear.kind not in ("cap", "backward cap", "brim"):
        return None
    is_closed = wear.kind == "brim"
    columns = 24 if is_closed else 15
    width = random.uniform(0.045, 0.1) if is_closed else random.uniform(0.06, 0.08)
    drop = random.uniform(-0.2, 0.5)
    half = math.pi if is_closed else 1.05
    angles = np.arange(columns) * (2 * math.pi / columns) if is_closed else np.linspace(-half, half, columns)
    share = np.ones(columns) if is_closed else np.sqrt(np.clip(1 - (angles / half) ** 2, 0, 1))
    turn = math.pi if wear.kind == "backward cap" else 0.0
    middle = 0.042
    inner = 1 / np.hypot(np.sin(angles) / 0.085, np.cos(angles) / 0.105)
    steps = np.array([0.0, 0.5, 1.0, 1.0, 0.0])
    lower = np.array([0.0, 0.0, 0.0, 0.004, 0.004])  # the thickness: upper face, then lower face
    radius = inner + steps[:, None] * share * width
    # The edge of the headwear as in `headwear_field`, lower at the back.
    facing = np.cos(angles + turn)
    level = 0.732 - 0.16 * (0.13 - (middle + radius * facing)) * (not is_closed) - 0.02 * is_closed
    y = level - drop * steps[:, None] * share * width - lower[:, None]
    points = revolve(np.tile([0.0, middle], (len(steps), 1)), radius, y, angles + turn)
    return rigid_grid(points, is_closed=is_closed)


class _Spot(NamedTuple):
    """Painted area of the face: rows (k,) among the head's texels, and opacity (k,), 0 … 1."""

    rows: Array
    share: Array


@dataclass(frozen=True, eq=False)
class _Masks:
    """Masks of the n texels of the body's square, f of them on the head.

    Attributes:
        basis: (n, 2) float32. Light on the skin (folds, hollows, mottling), and redness (joints, cheeks).
        head_basis: (f, 2) float32. The rows of `basis` on the head.
        head_flat: (f,) int. Flat pixel indices in the atlas.
        fine: (f,) float32. Noise of mean 0, as fine as freckles and stubble.
        spots: Name → painted area of the head.
    """

    basis: Array
    head_basis: Array
    head_flat: Array
    fine: Array
    spots: dict[str, _Spot]


def paint_skin(
    body: Body, identity: Identity, texels: AtlasTexels, image: NDArray[np.uint8], bare: NDArray[np.bool_]
) -> None:
    """Paint skin and face of a person into the body's square of the atlas in place.

    Args:
        body: The body.
        identity: The person.
        texels: n texels of the body's square.
        image: (h, w, 3) uint8. The atlas.
        bare: (n,) bool. Texels to paint; the head is always painted.
    """
    masks = _masks(body, texels)
    skin = np.asarray(identity.skin, np.float32)
    red = np.asarray((0.06, -0.09, -0.08), np.float32) * (12 + np.float32(0.75) * skin)
    mix = np.stack((skin, red))
    flat = image.reshape(-1, 3)
    rows = np.flatnonzero(bare & ~texels.head)
    flat[texels.rows[rows]] = _as_bytes(masks.basis.take(rows, 0) @ mix)
    face = masks.head_basis @ mix
    _paint_face(identity, masks, face, red)
    flat[masks.head_flat] = _as_bytes(face)


def _as_bytes(colour: Array) -> NDArray[np.uint8]:
    """Convert colours ≥ 0 to bytes, clipped at white; changes its argument."""
    return np.minimum(colour, np.float32(255), out=colour).astype(np.uint8)


def _paint_face(identity: Identity, masks: _Masks, face: Array, red: Array) -> None:
    """Paint colours (f, 3) float32 of the head's texels in place."""
    random = np.random.default_rng((identity.seed, 3))
    skin = np.asarray(identity.skin, np.float32)

    def paint(name: str, strength: float, colour: Any, roughness: float = 0.0) -> None:
        rows, share = masks.spots[name]
        share = share * np.float32(strength)
        if roughness:
            share = np.clip(share * (1 - roughness + roughness * masks.fine[rows]), 0, 1)
        face[rows] += share[:, None] * (np.asarray(colour, np.float32) - face[rows])

    if identity.freckles > 0:
        paint("freckles", 0.4 * identity.freckles, skin * np.array([0.7, 0.55, 0.45], np.float32))
    rows, share = masks.spots["cheeks"]
    face[rows] += (share * np.float32(0.25 + 0.75 * identity.blush))[:, None] * red
    paint("folds", 0.1 + 0.22 * identity.wrinkles, skin * np.float32(0.1))
    if identity.beard > 0:
        full = float(ramp(np.float32(identity.beard), 0.4, 0.6))
        strength = min(0.92, 0.25 + 0.7 * identity.beard) * (0.55 + 0.45 * full)
        colour = np.asarray(identity.brows) * (1 + 0.1 * random.normal())
        paint("moustache", strength, colour, 0.25)
        if random.random() < 0.7:
            paint("beard", strength, colour, 0.25)
    made_up = identity.make_up
    paint("nostrils", 0.75, skin * 0.32)
    paint("lips", 0.75, identity.lips)
    paint("lip line", 0.7, np.asarray(identity.lips) * 0.45)
    paint("lids", 0.12 + 0.55 * made_up, skin * (0.55 - 0.3 * made_up))
    paint("lashes", 0.55 + 0.4 * made_up, (28, 20, 18))
    paint("brows", 0.9, identity.brows, 0.2)
    paint("white", 1.0, (226, 220, 214))
    paint("iris", 1.0, identity.iris)
    paint("pupil", 1.0, (10, 8, 8))


@lru_cache(maxsize=2)
def _masks(body: Body, texels: AtlasTexels) -> _Masks:
    table = body.landmarks("face13")
    landmarks = dict(zip(table.skeleton.joint_names, table.template.numpy(), strict=True))
    face = np.flatnonzero(texels.head)
    point, eyes = texels.points[face], texels.eyes[face]
    skin = ~eyes
    x, y, z = np.abs(point[:, 0]), point[:, 1], point[:, 2]
    front = (z > 0.045) & skin
    eye, inner, outer = landmarks["left_eye"], landmarks["left_eye_inner"], landmarks["left_eye_outer"]
    mouth = (landmarks["left_mouth"] + landmarks["right_mouth"]) / 2
    half_mouth = abs(landmarks["left_mouth"][0]) - 0.003

    def blob(cx: float, cy: float, rx: float, ry: float) -> Array:
        return np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2) * front

    def ellipse(cx: float, cy: float, rx: float, ry: float, soft: float = 0.25) -> Array:
        return ramp(-np.hypot((x - cx) / rx, (y - cy) / ry), -1 - soft, -1 + soft) * front

    lip_height = 0.0095 * np.sqrt(np.clip(1 - (x / half_mouth) ** 2, 0, 1)) + 0.001
    lips = ramp(-np.abs(y - mouth[1]) / lip_height, -1.2, -0.8) * (x < half_mouth) * front
    lip_line = ramp(-np.abs(y - mouth[1]), -0.003, -0.001) * (x < half_mouth * 0.97) * front
    arch = eye[1] + 0.0215 + 0.004 * np.cos((x - 0.036) / 0.012)
    brow_height = 0.0042 * (1 - 0.5 * ramp(x, 0.03, 0.055))
    brows = ramp(-np.abs(y - arch) / brow_height, -1.3, -0.7) * ramp(x, 0.009, 0.014) * ramp(-x, -0.056, -0.048) * front
    middle = (inner[:2] + outer[:2]) / 2
    beard = front * ramp(-y, -0.632, -0.618) * ramp(y, 0.565, 0.577) * ramp(z, 0.03, 0.055)
    beard = beard * np.maximum(1 - blob(0, mouth[1], 0.03, 0.014) * 1.2, 0)
    folds = blob(0.034, 0.625, 0.006, 0.016) + 0.6 * blob(0.03, eye[1] - 0.014, 0.018, 0.005)
    folds = folds + 0.5 * blob(0.0, eye[1] + 0.022, 0.006, 0.012) + 0.4 * blob(0, mouth[1] - 0.014, 0.022, 0.004)
    cheeks = blob(0.045, 0.645, 0.022, 0.016) + 0.7 * blob(0, landmarks["nose"][1], 0.014, 0.012)
    cheeks = cheeks + 0.6 * ramp(x, 0.07, 0.078) * skin
    off_axis, ahead = _gaze(point, eyes)
    width = round(texels.size * ASPECT)
    fine = _field(texels, width, 128, 0.1)
    mottle = 1 + np.float32(0.035) * _field(texels, width, 16, 0.6) + np.float32(0.02) * fine
    shares = {
        "freckles": ramp(_field(texels, width, 128, 0.0)[face], 1.1, 1.9) * skin,
        "cheeks": cheeks,
        "folds": np.clip(folds, 0, 1),
        "moustache": ellipse(0.0, mouth[1] + 0.0145, 0.031, 0.0062, 0.4),
        "beard": beard,
        "nostrils": ellipse(0.0085, landmarks["nose"][1] - 0.0105, 0.0052, 0.0042, 0.4),
        "lips": lips,
        "lip line": lip_line,
        "lids": ellipse(middle[0], eye[1] + 0.003, 0.0215, 0.0125, 0.45),
        "lashes": ellipse(middle[0], eye[1] + 0.0005, 0.0185, 0.0075, 0.2),
        "brows": brows,
        "white": eyes.astype(np.float32),
        "iris": ramp(-off_axis, -0.0066, -0.0056) * ahead,
        "pupil": ramp(-off_axis, -0.0029, -0.0021) * ahead,
    }
    basis = np.stack((mottle * texels.hollow, _warmth(body, texels)), 1).astype(np.float32)
    rows = {name: np.flatnonzero(share > 0.01) for name, share in shares.items()}
    spots = {name: _Spot(rows[name], share[rows[name]].astype(np.float32)) for name, share in shares.items()}
    return _Masks(basis, basis[face], texels.rows[face], fine[face], spots)


def _gaze(point: Array, eyes: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the distance (f,) of points (f, 3) from the eyes' axes in metres, and whether they lie in front."""
    ball = point[eyes]
    if not len(ball):
        return np.ones(len(point)), eyes
    ball[:, 0] = np.abs(ball[:, 0])
    x, y, z = (ball.min(0) + ball.max(0)) / 2
    return np.hypot(np.abs(point[:, 0]) - x, point[:, 1] - y), eyes & (point[:, 2] > z)


def _field(texels: AtlasTexels, width: int, cells: int, steepness: float) -> Array:
    rows, columns = texels.rows // width, texels.rows % width
    return octave_noise(cells, 1, steepness)[rows % NOISE_SIZE, columns % NOISE_SIZE]


def _warmth(body: Body, texels: AtlasTexels) -> Array:
    """Return the additional redness (n,) of knees, elbows, hands and feet."""
    joints = body.joint_template.numpy()
    result = np.zeros(len(texels.rows), np.float32)
    points = texels.points.copy()
    points[:, 0] = np.abs(points[:, 0])
    for name, radius in (("knee", 0.06), ("elbow", 0.05), ("hand", 0.07), ("foot", 0.06)):
        distance = np.linalg.norm(points - joints[SMPL24.index(f"left_{name}")], axis=1)
        result += np.exp(-((distance / radius) ** 2)) * np.float32(0.6)
    return result
