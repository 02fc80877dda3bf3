"""Random hands of synthetic people: rotations of the finger joints, drawn around the postures of a table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import FINGERS, SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.synthetic.scene import StagedPerson

_KNUCKLES = SMPL24.indices(["left_hand", "right_hand"])
_Angles = tuple[float, float, float]


class _Posture(NamedTuple):
    """A posture of a hand; angles in degrees, 0 for the hand of the template.

    Attributes:
        forefinger: Flexion of the index finger's joints 1 to 3.
        rest: Flexion of the joints of middle, ring and little finger.
        thumb: Opposition at the thumb's joint 1, flexion of its joints 2 and 3.
        spread: Angle between neighbouring fingers, added to the template's.
    """

    forefinger: _Angles
    rest: _Angles
    thumb: _Angles
    spread: float = 0.0


_POSTURES = {
    "open": _Posture((-6, -8, -10), (-6, -8, -10), (-10, -12, -8), 7),
    "fist": _Posture((62, 82, 45), (66, 84, 45), (30, 20, 32), -5),
    "pointing": _Posture((-4, -5, -6), (66, 84, 45), (30, 20, 32)),
    "holding": _Posture((32, 42, 22), (38, 46, 24), (22, 4, 12)),
    "pinching": _Posture((36, 44, 14), (22, 26, 12), (26, 6, 12)),
    "relaxed": _Posture((12, 16, 8), (20, 24, 12), (4, 2, 4)),
}
_NOISE = 7.0  # degrees, standard deviation of each angle
_LOW, _HIGH = (-20.0, -5.0, -10.0), (90.0, 105.0, 75.0)  # degrees of flexion
_SPREAD = 18.0  # degrees, max of either side
# Axes of the left hand in the T pose, palm down: fingers flex about -z and spread about y.
_OPPOSITION, _THUMB = (0.75, 0.6, 0.28), (0.66, 0.69, -0.28)
_SPREAD_OF = {"index": -1.0, "middle": -0.2, "ring": 0.5, "pinky": 1.3}
_MIRROR = (1.0, -1.0, -1.0)  # a mirrored rotation's axis-angle


def sample_hands(random: np.random.Generator) -> NDArray[np.float32]:
    """Draw the fingers of a person.

    Args:
        random: Source of the random numbers.

    Returns:
        (2, 15, 3) float32, radians. Axis-angles of the joints `FINGERS` of the left and the right hand, relative to the
        parent.
    """
    left, right = (_sample_hand(random, str(random.choice([*_POSTURES]))) for _ in range(2))
    return np.stack((left, right * _MIRROR)).astype(np.float32)


def _sample_hand(random: np.random.Generator, name: str) -> NDArray[np.float64]:
    """Draw a left hand (15, 3) in a posture."""
    posture, angles = _POSTURES[name], []
    together = random.normal(0, _NOISE)  # fingers bend together
    for finger in (joint[:-1] for joint in FINGERS[::3]):
        noise = random.normal(0, _NOISE, 3)
        if finger == "thumb":
            opposition, *flexion = np.deg2rad(posture.thumb + noise)
            angles += [opposition * np.array(_OPPOSITION), *(angle * np.array(_THUMB) for angle in flexion)]
            continue
        bent = np.clip((posture.forefinger if finger == "index" else posture.rest) + noise + together, _LOW, _HIGH)
        spread = _SPREAD_OF[finger] * posture.spread + random.normal(0, _NOISE / 3)
        turns = np.zeros((3, 3))
        turns[:, 2] = -np.deg2rad(bent)
        knuckle = Rotation.from_rotvec(turns[0]) * Rotation.from_rotvec(
            [0, math.radians(float(np.clip(spread, -_SPREAD, _SPREAD))), 0]
        )
        angles += [knuckle.as_rotvec(), *turns[1:]]
    return np.array(angles)


def with_hands(body: Body, person: StagedPerson, hands: NDArray[np.float32]) -> StagedPerson:
    """Bend the fingers of a person, whose knuckles then stay straight: in poses without fingers, they curl for these.

    Args:
        body: The body.
        person: The person.
        hands: (2, 15, 3) float32, radians. The fingers, see `sample_hands`.
    """
    assert body.fingers is not None
    with torch.no_grad():
        bent = body.fingers.bend(
            torch.from_numpy(person.mesh.vertices)[None],
            person.betas[None],
            axis_angle_to_matrix(torch.from_numpy(hands))[None],
            of=torch.from_numpy(person.mesh.body_vertex).long(),
        )
    rotations = person.rotations.clone()
    rotations[:, _KNUCKLES] = torch.eye(3)
    return replace(person, mesh=replace(person.mesh, vertices=bent[0].numpy()), rotations=rotations, hands=hands)
