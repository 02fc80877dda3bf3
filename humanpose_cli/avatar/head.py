"""The head's turn: it keeps the side that the photograph shows, as far as the neck allows.

A face in profile that turned to the camera would consist of two mirrored halves. Therefore a target's head is turned
about its own axis towards the photograph's view of it, and away from the camera if the photograph has no face.
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

_HEAD = SMPL24.index("head")
_NECK = SMPL24.index("neck")


def head_yaw(posed_body: PosedBody) -> float:
    """Return the angle, radians, from which the camera sees the head: 0 the face, positive its left side."""
    towards = torch.nn.functional.normalize(-posed_body.joints[0, _HEAD], dim=0)
    x, _, z = (posed_body.rotations[0, _HEAD].mT @ towards).tolist()
    return math.atan2(x, z)


def shows_half_a_face(photo_yaw: float) -> bool:
    """Return whether a head with this `head_yaw` is in profile or seen from behind."""
    return abs(math.degrees(photo_yaw)) > _PROFILE


def shows_face(yaw: float) -> bool:
    """Return whether any of the face is visible for this `head_yaw`."""
    return abs(math.degrees(yaw)) < _FACE


def kept_head(rotations: Tensor, yaw: float, photo_yaw: float) -> Tensor:
    """Turn the head of a pose towards the photograph's view of it.

    Args:
        rotations: (24, 3, 3) float. Relative to parents.
        yaw: The `head_yaw` of the pose.
        photo_yaw: The `head_yaw` of the photograph.

    Returns:
        (24, 3, 3) float. The rotations with another neck and head.
    """
    if not shows_face(photo_yaw):
        return _turned_by(rotations, -_away(math.degrees(yaw)))
    difference = math.degrees(math.remainder(photo_yaw - yaw, 2 * math.pi))
    free = _FREE_TURN_OF_PROFILE if shows_half_a_face(photo_yaw) else _FREE_TURN
    amount = min(max(abs(difference) - free, 0.0), _MAX_TURN)
    start, end = _FADE
    amount *= min(max((end - abs(difference)) / (end - start), 0.0), 1.0)
    # A head that turns right is seen from further left.
    return _turned_by(rotations, -math.copysign(amount, difference))


def _away(yaw: float) -> float:
    """Return the degrees by which a head with this `head_yaw` turns its face away from the camera."""
    # No jump anywhere: in motions the head must not flip.
    start, end = _FADE
    share = min(max((yaw + 45.0) / 45.0, -1.0), 1.0)
    return _MAX_TURN * share * min(max((end - abs(yaw)) / (end - start), 0.0), 1.0)


def _turned_by(rotations: Tensor, degrees: float) -> Tensor:
    """Turn neck and head of rotations (24, 3, 3)."""
    if degrees == 0:
        return rotations
    angle = math.radians(degrees)
    result = rotations.clone()
    for joint, share in ((_NECK, _NECK_SHARE), (_HEAD, 1 - _NECK_SHARE)):
        result[joint] = rotations[joint] @ _about_y(share * angle).to(rotations)
    return result


def _about_y(angle: float) -> Tensor:
    c = math.cos(angle)
    s = math.sin(angle)
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
