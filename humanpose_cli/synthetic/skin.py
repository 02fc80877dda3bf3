"""Skin and faces, painted per texel of the body's square."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.synthetic.atlas import ASPECT, AtlasTexels
from humanpose_cli.synthetic.cloth_surface import ramp
from humanpose_cli.synthetic.people import Identity
from humanpose_cli.synthetic.tiles import NOISE_SIZE, octave_noise

__all__ = ["paint_skin"]

Array = NDArray[Any]


class _Spot(NamedTuple):
    """Where on the face something is painted: texels (k,) counted among the head's, and how strongly (k,) 0…1."""

    rows: Array
    share: Array


@dataclass(frozen=True, eq=False)
class _Masks:
    """What is fixed about the n texels of the body's square, and the f of them on the head.

    basis   (n, 2) light on the skin (folds, hollows, mottling), and blood near its surface (joints, cheeks)
    head_basis (f, 2) the head's part of it, and head_places (f,) its flat pixel indices in the atlas
    fine    (f,) noise of mean 0 as fine as freckles and stubble
    spots   name → where it is painted on the head
    """

    basis: Array
    head_basis: Array
    head_flat: Array
    fine: Array
    spots: dict[str, _Spot]


def paint_skin(
    body: Body, identity: Identity, texels: AtlasTexels, image: NDArray[np.uint8], bare: NDArray[np.bool_]
) -> None:
    """Paint the skin and face of a person into the body's square of the atlas, in place, where `bare` (n,)."""
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
    """Colours that may be brighter than white, never darker than black; changes its argument."""
    return np.minimum(colour, np.float32(255), out=colour).astype(np.uint8)


def _paint_face(identity: Identity, masks: _Masks, face: Array, red: Array) -> None:
    """face (f, 3) float32 colours of the head's texels, changed in place."""
    random = np.random.default_rng((identity.seed, 3))
    skin = np.asarray(identity.skin, np.float32)

    def lay(name: str, strength: float, colour: Any, roughness: float = 0.0) -> None:
        rows, share = masks.spots[name]
        share = share * np.float32(strength)
        if roughness:
            share = np.clip(share * (1 - roughness + roughness * masks.fine[rows]), 0, 1)
        face[rows] += share[:, None] * (np.asarray(colour, np.float32) - face[rows])

    if identity.freckles > 0:
        lay("freckles", 0.4 * identity.freckles, skin * np.array([0.7, 0.55, 0.45], np.float32))
    rows, share = masks.spots["cheeks"]
    face[rows] += (share * np.float32(0.25 + 0.75 * identity.blush))[:, None] * red
    lay("folds", 0.1 + 0.22 * identity.wrinkles, skin * np.float32(0.1))
    if identity.beard > 0:
        full = float(ramp(np.float32(identity.beard), 0.4, 0.6))
        strength = min(0.92, 0.25 + 0.7 * identity.beard) * (0.55 + 0.45 * full)
        colour = np.asarray(identity.brows) * (1 + 0.1 * random.normal())
        lay("moustache", strength, colour, 0.25)
        if random.random() < 0.7:
            lay("beard", strength, colour, 0.25)
    made_up = identity.make_up
    lay("nostrils", 0.75, skin * 0.32)
    lay("lips", 0.75, identity.lips)
    lay("lip line", 0.7, np.asarray(identity.lips) * 0.45)
    lay("lids", 0.12 + 0.55 * made_up, skin * (0.55 - 0.3 * made_up))
    lay("lashes", 0.55 + 0.4 * made_up, (28, 20, 18))
    lay("brows", 0.9, identity.brows, 0.2)
    lay("white", 1.0, (226, 220, 214))
    lay("iris", 1.0, identity.iris)
    lay("pupil", 1.0, (10, 8, 8))


@lru_cache(maxsize=2)
def _masks(body: Body, texels: AtlasTexels) -> _Masks:
    points = body.landmarks("face13")
    at = dict(zip(points.skeleton.joint_names, points.template.numpy(), strict=True))
    face = np.flatnonzero(texels.head)
    point, eyes = texels.points[face], texels.eyes[face]
    skin = ~eyes
    x, y, z = np.abs(point[:, 0]), point[:, 1], point[:, 2]
    front = (z > 0.045) & skin
    eye, inner, outer = at["left_eye"], at["left_eye_inner"], at["left_eye_outer"]
    mouth = (at["left_mouth"] + at["right_mouth"]) / 2
    half_mouth = abs(at["left_mouth"][0]) - 0.003

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
    cheeks = blob(0.045, 0.645, 0.022, 0.016) + 0.7 * blob(0, at["nose"][1], 0.014, 0.012)
    cheeks = cheeks + 0.6 * ramp(x, 0.07, 0.078) * skin
    off_axis, ahead = _gaze(point, eyes)
    width = round(texels.size * ASPECT)
    fine = _field(texels, width, 128, 0.1)
    mottled = 1 + np.float32(0.035) * _field(texels, width, 16, 0.6) + np.float32(0.02) * fine
    shares = {
        "freckles": ramp(_field(texels, width, 128, 0.0)[face], 1.1, 1.9) * skin,
        "cheeks": cheeks,
        "folds": np.clip(folds, 0, 1),
        "moustache": ellipse(0.0, mouth[1] + 0.0145, 0.031, 0.0062, 0.4),
        "beard": beard,
        "nostrils": ellipse(0.0085, at["nose"][1] - 0.0105, 0.0052, 0.0042, 0.4),
        "lips": lips,
        "lip line": lip_line,
        "lids": ellipse(middle[0], eye[1] + 0.003, 0.0215, 0.0125, 0.45),
        "lashes": ellipse(middle[0], eye[1] + 0.0005, 0.0185, 0.0075, 0.2),
        "brows": brows,
        "white": eyes.astype(np.float32),
        "iris": ramp(-off_axis, -0.0066, -0.0056) * ahead,
        "pupil": ramp(-off_axis, -0.0029, -0.0021) * ahead,
    }
    basis = np.stack((mottled * texels.hollow, _warmth(body, texels)), 1).astype(np.float32)
    rows = {name: np.flatnonzero(share > 0.01) for name, share in shares.items()}
    spots = {name: _Spot(rows[name], share[rows[name]].astype(np.float32)) for name, share in shares.items()}
    return _Masks(basis, basis[face], texels.rows[face], fine[face], spots)


def _gaze(point: Array, eyes: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Metres from the eye's axis, which points ahead, for points (f, 3); which of them lie on an eyeball's front."""
    ball = point[eyes]
    if not len(ball):
        return np.ones(len(point)), eyes
    ball = np.stack((np.abs(ball[:, 0]), ball[:, 1], ball[:, 2]), 1)
    x, y, z = (ball.min(0) + ball.max(0)) / 2
    return np.hypot(np.abs(point[:, 0]) - x, point[:, 1] - y), eyes & (point[:, 2] > z)


def _field(texels: AtlasTexels, width: int, cells: int, steepness: float) -> Array:
    rows, columns = texels.rows // width, texels.rows % width
    return octave_noise(cells, 1, steepness)[rows % NOISE_SIZE, columns % NOISE_SIZE]


def _warmth(body: Body, texels: AtlasTexels) -> Array:
    """Redder skin on knees, elbows, hands and feet."""
    joints = body.joint_template.numpy()
    result = np.zeros(len(texels.rows), np.float32)
    folded = texels.points.copy()
    folded[:, 0] = np.abs(folded[:, 0])
    for name, radius in (("knee", 0.06), ("elbow", 0.05), ("hand", 0.07), ("foot", 0.06)):
        away = np.linalg.norm(folded - joints[SMPL24.index(f"left_{name}")], axis=1)
        result += np.exp(-((away / radius) ** 2)) * np.float32(0.6)
    return result
