"""A head keeps the side that the photograph shows, as far as the neck lets it.

A face in profile that is turned to the camera would be made of mirrored halves. So a target's head is turned back,
about its own axis, towards the view that the photograph had of it, and away from the camera where the photograph has
no face. Heads that are turned away stay so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from humanpose_cli.body.body import PosedBody
from humanpose_cli.core.conventions import SMPL24

_FREE_TURN = 35.0  # degrees: turn that changes nothing, from a face
_FREE_TURN_OF_PROFILE = 10.0  # degrees: turn that changes nothing, from a profile
_MAX_TURN = 55.0  # degrees: maximum turn that head and neck give together
_FADE = (100.0, 150.0)  # degrees: turns from the photograph from which the head gives less, and nothing
_FACE = 110.0  # degrees: turn from which no face is visible
_PROFILE = 45.0  # degrees: turn that hides one half of the face in the photograph
_NECK_SHARE = 0.4  # share of the turn that the neck gives

_HEAD, _NECK = SMPL24.index("head"), SMPL24.index("neck")


def head_yaw(posed_body: PosedBody) -> float:
    """Measure radians about the head's own axis from which the camera sees it: 0 the face, positive its left side."""
    towards = torch.nn.functional.normalize(-posed_body.joints[0, _HEAD], dim=0)
    x, _, z = (posed_body.rotations[0, _HEAD].mT @ towards).tolist()
    return math.atan2(x, z)


def shows_half_a_face(photo_yaw: float) -> bool:
    """Return whether the photograph has the head in profile, or from behind."""
    return abs(math.degrees(photo_yaw)) > _PROFILE


def shows_face(yaw: float) -> bool:
    """Return whether a head at this `head_yaw` shows any of its face."""
    return abs(math.degrees(yaw)) < _FACE


def kept_head(rotations: Tensor, yaw: float, photo_yaw: float) -> Tensor:
    """Turn the head of rotations (24, 3, 3) relative to parents towards the view of it that the photo has.

    Args:
        yaw, photo_yaw: `head_yaw` of the pose and of the photo.
    """
    if not shows_face(photo_yaw):
        return _turned_by(rotations, -_away(math.degrees(yaw)))
    apart = math.degrees(math.remainder(photo_yaw - yaw, 2 * math.pi))
    free = _FREE_TURN_OF_PROFILE if shows_half_a_face(photo_yaw) else _FREE_TURN
    amount = min(max(abs(apart) - free, 0.0), _MAX_TURN)
    start, end = _FADE
    amount *= min(max((end - abs(apart)) / (end - start), 0.0), 1.0)
    # A head that turns right is seen from further left.
    return _turned_by(rotations, -math.copysign(amount, apart))


def _away(yaw: float) -> float:
    """Return degrees by which a head at this `head_yaw` turns a face away that the photograph does not show.

    To its right where it faces the camera, and nowhere with a jump: in motions the head must not flip.
    """
    start, end = _FADE
    share = min(max((yaw + 45.0) / 45.0, -1.0), 1.0)
    return _MAX_TURN * share * min(max((end - abs(yaw)) / (end - start), 0.0), 1.0)


def _turned_by(rotations: Tensor, degrees: float) -> Tensor:
    """Turn neck and head of rotations (24, 3, 3); return those given for no turn."""
    if degrees == 0:
        return rotations
    angle, result = math.radians(degrees), rotations.clone()
    for joint, share in ((_NECK, _NECK_SHARE), (_HEAD, 1 - _NECK_SHARE)):
        result[joint] = rotations[joint] @ _about_y(share * angle).to(rotations)
    return result


def _about_y(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
