"""Places on a body at rest, by which its clothes are cut."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Places:
    """Places on the average body at rest, in metres from the pelvis joint, in body axes: x left, y up, z forward.

    Attributes:
        body: The name of the body.
        waist: Height of the waist.
        armpit: Height of the armpits.
        armhole: Distance from the middle to the armholes of sleeveless tops above the armpits.
        collarbone: Height of the collarbones in front.
        neck_base: Height above which points belong to neck and head.
        collar: Height of the collar above the shoulders.
        neckline: Height of the neck's sides, from which necklines hang.
        turtle_collar: Height of a turtle-neck's collar.
        jaw: Height below which clothes may cover the body.
        face: Height of the middle of the face.
        face_reach: Half the width and height of the face.
        face_front: Depth in front of which points belong to the face.
        ear: Height and depth of the middle of the ears.
        ear_radius: Radius of the ears.
        ear_side: Distance from the middle of the head to the ears.
        hand: Distance from the shoulder joint along the arm at which the hand begins.
    """

    body: str = "default"
    waist: float = 0.1
    armpit: float = 0.36
    armhole: float = 0.128
    collarbone: float = 0.46
    neck_base: float = 0.5
    collar: float = 0.524
    neckline: float = 0.53
    turtle_collar: float = 0.572
    jaw: float = 0.62
    face: float = 0.655
    face_reach: tuple[float, float] = (0.045, 0.05)
    face_front: float = 0.06
    ear: tuple[float, float] = (0.661, 0.034)
    ear_radius: float = 0.045
    ear_side: float = 0.058
    hand: float = 0.56


PLACES = Places()
"""The places on the default body, which alone can be dressed."""
