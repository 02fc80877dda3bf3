"""Skin and faces, painted per texel of the body's square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.synthetic.wardrobe.identity import Identity
from humanpose_cli.data.synthetic.wardrobe.noise import NOISE_SIZE, noise
from humanpose_cli.data.synthetic.wardrobe.shells import ramp
from humanpose_cli.data.synthetic.wardrobe.texels import ASPECT, BodyTexels

__all__ = ["paint_skin"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Masks:
    """Shares 0…1 of the n texels of the body's square; those of the face only for the rows of `face` (f,).

    warm    (n,) blood near the surface: joints, palms; shade (n,) brightness of folds and hollows
    noise   (n, 3) three fields of mean 0: slow, fine, finest
    """

    face: Array
    warm: Array
    shade: Array
    noise: Array
    lips: Array
    lip_line: Array
    brows: Array
    lids: Array
    lashes: Array
    cheeks: Array
    nostrils: Array
    beard: Array
    moustache: Array
    folds: Array
    white: Array
    iris: Array
    pupil: Array


_MASKS: WeakKeyDictionary[BodyTexels, _Masks] = WeakKeyDictionary()


def paint_skin(body: RiggedBody, identity: Identity, texels: BodyTexels, image: NDArray[np.uint8]) -> None:
    """Fill the body's square of the atlas (h, w, 3) with the skin and face of a person, in place."""
    if texels not in _MASKS:
        _MASKS[texels] = _build(body, texels)
    masks = _MASKS[texels]
    random = np.random.default_rng((identity.seed, 3))
    skin = np.asarray(identity.skin, np.float32)
    light = (1 + masks.noise[:, 0] * np.float32(0.035) + masks.noise[:, 1] * np.float32(0.02)) * masks.shade
    colour = light[:, None] * skin
    red = np.asarray((0.06, -0.09, -0.08), np.float32) * (12 + 0.75 * skin)
    colour += masks.warm[:, None] * red
    if identity.freckles > 0:
        spots = ramp(masks.noise[:, 2], 1.1, 1.9) * np.float32(0.35 * identity.freckles)
        colour *= (1 - spots)[:, None] * np.float32([1, 0.93, 0.86]) + spots[:, None] * np.float32([0.72, 0.6, 0.5])
    face = colour[masks.face]
    _paint_face(identity, masks, face, random, red)
    colour[masks.face] = face
    image.reshape(-1, 3)[texels.rows] = np.clip(colour, 0, 255)


def _paint_face(identity: Identity, masks: _Masks, face: Array, random: np.random.Generator, red: Array) -> None:
    """face (f, 3) float32 colours of the face's texels, changed in place."""
    fine = masks.noise[masks.face, 1]

    def lay(share: Array, colour: Any) -> None:
        face[:] = face + share[:, None].astype(np.float32) * (np.asarray(colour, np.float32) - face)

    face += (masks.cheeks * np.float32(0.25 + 0.75 * identity.blush))[:, None] * red
    face *= (1 - masks.folds * np.float32(0.1 + 0.22 * identity.wrinkles))[:, None]
    if identity.beard > 0:
        full = ramp(np.float32(identity.beard), 0.4, 0.6)
        strength = min(0.92, 0.25 + 0.7 * identity.beard) * np.clip(0.8 + 0.35 * fine, 0, 1)
        kind = int(random.integers(3))  # all of it, moustache alone, chin and moustache
        share = masks.moustache if kind == 1 else np.maximum(masks.moustache, masks.beard)
        lay(share * strength * (0.55 + 0.45 * full), np.asarray(identity.brows) * (1 + 0.1 * random.normal()))
    lay(masks.nostrils * 0.75, np.asarray(identity.skin) * 0.32)
    lay(masks.lips * np.float32(0.75), identity.lips)
    lay(masks.lip_line * 0.7, np.asarray(identity.lips) * 0.45)
    lay(
        masks.lids * np.float32(0.12 + 0.55 * identity.make_up),
        np.asarray(identity.skin) * (0.55 - 0.3 * identity.make_up),
    )
    lay(masks.lashes * np.float32(0.55 + 0.4 * identity.make_up), (28, 20, 18))
    lay(masks.brows * np.clip(0.75 + 0.25 * fine, 0, 1), identity.brows)
    lay(masks.white, (226, 220, 214))
    lay(masks.iris, identity.iris)
    lay(masks.pupil, (10, 8, 8))


def _build(body: RiggedBody, texels: BodyTexels) -> _Masks:
    points = body.landmarks("face13")
    at = dict(zip(points.skeleton.joint_names, points.template.numpy(), strict=True))
    face = np.flatnonzero(texels.head | texels.eyes)
    place, eyes = texels.points[face], texels.eyes[face]
    skin = ~eyes
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
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
    lids = ellipse(middle[0], eye[1] + 0.003, 0.0215, 0.0125, 0.45)
    lashes = ellipse(middle[0], eye[1] + 0.0005, 0.0185, 0.0075, 0.2)
    beard = front * ramp(-y, -0.632, -0.618) * ramp(y, 0.565, 0.577) * ramp(z, 0.03, 0.055)
    beard = beard * np.maximum(1 - blob(0, mouth[1], 0.03, 0.014) * 1.2, 0)
    moustache = ellipse(0.0, mouth[1] + 0.0145, 0.031, 0.0062, 0.4)
    folds = blob(0.034, 0.625, 0.006, 0.016) + 0.6 * blob(0.03, eye[1] - 0.014, 0.018, 0.005)
    folds = folds + 0.5 * blob(0.0, eye[1] + 0.022, 0.006, 0.012) + 0.4 * blob(0, mouth[1] - 0.014, 0.022, 0.004)
    cheeks = blob(0.045, 0.645, 0.022, 0.016) + 0.7 * blob(0, at["nose"][1], 0.014, 0.012)
    cheeks = cheeks + 0.6 * ramp(x, 0.07, 0.078) * skin
    centre = place[eyes].copy()
    centre[:, 0] = np.abs(centre[:, 0])
    ball = (centre.min(0) + centre.max(0)) / 2 if len(centre) else eye
    off_axis = np.hypot(x - ball[0], y - ball[1])
    ahead = eyes & (z > ball[2])
    width = round(texels.size * ASPECT)
    return _Masks(
        face=face,
        warm=_warmth(body, texels),
        shade=_hollows(texels),
        noise=np.stack(
            [_field(texels, width, cells, steep) for cells, steep in ((16, 0.6), (128, 0.1), (128, 0.0))], 1
        ),
        lips=lips,
        lip_line=lip_line,
        brows=brows,
        lids=lids * skin,
        lashes=lashes * skin,
        cheeks=cheeks,
        nostrils=ellipse(0.0085, at["nose"][1] - 0.0105, 0.0052, 0.0042, 0.4),
        beard=beard,
        moustache=moustache,
        folds=np.clip(folds, 0, 1),
        white=eyes.astype(np.float32),
        iris=ramp(-off_axis, -0.0066, -0.0056) * ahead,
        pupil=ramp(-off_axis, -0.0029, -0.0021) * ahead,
    )


def _field(texels: BodyTexels, width: int, cells: int, steepness: float) -> Array:
    rows, columns = texels.rows // width, texels.rows % width
    return noise(cells, 1, steepness)[rows % NOISE_SIZE, columns % NOISE_SIZE]


def _warmth(body: RiggedBody, texels: BodyTexels) -> Array:
    """Redder skin on knees, elbows, hands and feet."""
    joints = body.joint_template.numpy()
    result = np.zeros(len(texels.rows), np.float32)
    folded = texels.points.copy()
    folded[:, 0] = np.abs(folded[:, 0])
    for name, radius in (("knee", 0.06), ("elbow", 0.05), ("hand", 0.07), ("foot", 0.06)):
        away = np.linalg.norm(folded - joints[SMPL24.index(f"left_{name}")], axis=1)
        result += np.exp(-((away / radius) ** 2)) * np.float32(0.6)
    return result


def _hollows(texels: BodyTexels) -> Array:
    """Less light between the legs, under the arms and chin."""
    x, y, z = np.abs(texels.points[:, 0]), texels.points[:, 1], texels.points[:, 2]
    crotch = np.exp(-((x / 0.05) ** 2) - ((y + 0.12) / 0.08) ** 2)
    armpit = np.exp(-(((x - 0.16) / 0.03) ** 2) - ((y - 0.37) / 0.04) ** 2)
    chin = np.exp(-(((y - 0.56) / 0.018) ** 2)) * (z > 0.03) * (x < 0.06)
    return (1 - 0.25 * crotch - 0.22 * armpit - 0.18 * chin).astype(np.float32)
