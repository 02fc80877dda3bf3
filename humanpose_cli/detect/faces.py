"""Faces of detected people: landmarks in crops around eyes and mouth, where the face is turned towards the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from humanpose_cli.detect.models import FACE_SIZE, ModelPool
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid, Region

FACE_LANDMARKS = [
    "nose",
    *(f"{side}_{name}" for side in ("left", "right") for name in ("eye_inner", "eye_outer", "mouth")),
]
"""The first rows of `DetectedPerson.face`, as in a body's landmarks "face13"."""

_ROWS = [1, 362, 263, 291, 133, 33, 61, 13, 14]  # of the network's landmarks; the last two are the lips
_MIN_PRESENCE = 0.5  # of the network; on photographs, few presences are between .2 and .8
_MIN_CONFIDENCE = 0.3  # of the keypoints that determine the crop
_MIN_SIZE = 20.0  # pixels: side of a crop that shows a face
_KEYPOINTS = ["nose", *(f"{side}_{name}" for name in ("eye", "mouth", "ear") for side in ("left", "right"))]
_SIDES = (3.2, 1.4)  # of a crop: in distances from eyes to mouth, and from ear to ear
_MAX_OFFSET = 1.4  # distances from ear to ear between the nose and the middle of the ears, at 60°


def find_faces(pool: ModelPool, pyramid: Pyramid, people: Sequence[DetectedPerson]) -> list[np.ndarray | None]:
    """Find `DetectedPerson.face` of each person."""
    regions = {row: region for row, person in enumerate(people) if (region := _region(person)) is not None}
    crops = [pyramid.crop(region, FACE_SIZE) for region in regions.values()]
    results = pool.map(lambda models, part: models.faces(part), crops) if crops else []
    faces: list[np.ndarray | None] = [None] * len(people)
    for (row, region), (points, presence) in zip(regions.items(), results, strict=True):
        if presence >= _MIN_PRESENCE:
            centred = (points[_ROWS] - [FACE_SIZE / 2, FACE_SIZE / 2, 0]) * region.side / FACE_SIZE
            faces[row] = region.axes_to_image(centred) + np.array([region.x, region.y, 0.0])
    return faces


def _region(person: DetectedPerson) -> Region | None:
    """Return the crop around a face, or None if eyes, ears and nose show that it is turned away."""
    if any(name not in person.skeleton for name in _KEYPOINTS):
        return None
    keypoints = person.keypoints[person.skeleton.indices(_KEYPOINTS)].astype(float)
    (nose, *_, left_ear, right_ear), confidence = keypoints[:, :2], keypoints[:, 2]
    eyes, mouth, ears = keypoints[1:, :2].reshape(3, 2, 2).mean(1)
    up, between = eyes - mouth, left_ear - right_ear
    right = np.array([-up[1], up[0]]) / max(np.linalg.norm(up), 1e-6)
    if confidence.min() < _MIN_CONFIDENCE or abs((nose - ears) @ right) > _MAX_OFFSET * (between @ right):
        return None
    side = max(float(np.linalg.norm(length)) * factor for length, factor in zip((up, between), _SIDES, strict=True))
    x, y = ((eyes + mouth) / 2).tolist()
    return Region(x, y, side, math.atan2(up[0], -up[1])) if side >= _MIN_SIZE else None
