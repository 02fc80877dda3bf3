"""A head keeps the side that the photograph shows, as far as the neck lets it.

A face in profile that is turned to the camera would be made of mirrored halves. So a target's head is turned back,
about its own axis, towards the view that the photograph had of it, and away from the camera where the photograph has
no face. Heads that are turned away stay so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from humanpose_cli.avatar.options import HeadOptions
from humanpose_cli.body.body import PosedBody
from humanpose_cli.core.conventions import SMPL24

_HEAD, _NECK = SMPL24.index("head"), SMPL24.index("neck")
_DEFAULTS = HeadOptions()


def head_yaw(posed_body: PosedBody) -> float:
    """Measure radians about the head's own axis from which the camera sees it: 0 the face, positive its left side."""
    towards = torch.nn.functional.normalize(-posed_body.joints[0, _HEAD], dim=0)
    x, _, z = (posed_body.rotations[0, _HEAD].mT @ towards).tolist()
    return math.atan2(x, z)


def shows_half_a_face(photo_yaw: float, options: HeadOptions = _DEFAULTS) -> bool:
    """Return whether the photograph has the head in profile, or from behind."""
    return abs(math.degrees(photo_yaw)) > options.profile


def shows_face(yaw: float, options: HeadOptions = _DEFAULTS) -> bool:
    """Return whether a head at this `head_yaw` shows any of its face."""
    return abs(math.degrees(yaw)) < options.face


def kept_head(rotations: Tensor, yaw: float, photo_yaw: float, options: HeadOptions = _DEFAULTS) -> Tensor:
    """Turn the head of rotations (24, 3, 3) relative to parents towards the view of it that the photo has.

    yaw, photo_yaw  `head_yaw` of the pose and of the photo
    """
    if not shows_face(photo_yaw, options):
        return _turned_by(rotations, -_away(math.degrees(yaw), options), options)
    apart = math.degrees(math.remainder(photo_yaw - yaw, 2 * math.pi))
    free = options.free_profile if shows_half_a_face(photo_yaw, options) else options.free
    amount = min(max(abs(apart) - free, 0.0), options.max_turn)
    start, end = options.fade
    amount *= min(max((end - abs(apart)) / (end - start), 0.0), 1.0)
    # A head that turns right is seen from further left.
    return _turned_by(rotations, -math.copysign(amount, apart), options)


def _away(yaw: float, options: HeadOptions) -> float:
    """Return degrees by which a head at this `head_yaw` turns a face away that the photograph does not show.

    To its right where it faces the camera, and nowhere with a jump: in motions the head must not flip.
    """
    start, end = options.fade
    share = min(max((yaw + 45.0) / 45.0, -1.0), 1.0)
    return options.max_turn * share * min(max((end - abs(yaw)) / (end - start), 0.0), 1.0)


def _turned_by(rotations: Tensor, degrees: float, options: HeadOptions) -> Tensor:
    """Turn neck and head of rotations (24, 3, 3); return those given for no turn."""
    if degrees == 0:
        return rotations
    angle, result = math.radians(degrees), rotations.clone()
    for joint, share in ((_NECK, options.neck_share), (_HEAD, 1 - options.neck_share)):
        result[joint] = rotations[joint] @ _about_y(share * angle).to(rotations)
    return result


def _about_y(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
