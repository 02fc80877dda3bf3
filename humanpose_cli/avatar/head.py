"""A head keeps the side that the photograph shows, as far as the neck lets it.

A face seen in profile and turned to the camera would be made of mirrored halves. So a target's head is turned back,
about its own axis, towards the view that the photograph had of it. Somebody who turns their back keeps it turned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from humanpose_cli.body.body import PosedBody
from humanpose_cli.core.conventions import SMPL24

# Degrees: turns that need no help, where the photo shows a whole face, and a profile; the most that head and neck give
# together; where giving begins to fade, and ends.
_FREE, _FREE_PROFILE, _MOST, _FADES, _GONE = 35.0, 10.0, 55.0, 100.0, 150.0
_PROFILE = 45.0  # from which turn of the head on a photograph shows one half of the face alone
_HEAD, _NECK = SMPL24.index("head"), SMPL24.index("neck")
_OF_NECK = 0.4  # share of the turn that the neck gives


def head_yaw(posed: PosedBody) -> float:
    """Radians about the head's own axis at which the camera sees it: 0 the face, positive its left side."""
    towards = torch.nn.functional.normalize(-posed.joints[0, _HEAD], dim=0)
    x, _, z = (posed.rotations[0, _HEAD].mT @ towards).tolist()
    return math.atan2(x, z)


def shows_half_a_face(photo_yaw: float) -> bool:
    """Whether the photograph has the head in profile, or from behind."""
    return abs(math.degrees(photo_yaw)) > _PROFILE


def kept_head(rotations: Tensor, yaw: float, photo_yaw: float) -> Tensor:
    """Rotations (24, 3, 3) relative to parents whose head is turned towards the view of it that the photo has.

    yaw, photo_yaw  `head_yaw` of the pose and of the photo
    """
    apart = math.degrees(math.remainder(photo_yaw - yaw, 2 * math.pi))
    free = _FREE_PROFILE if shows_half_a_face(photo_yaw) else _FREE
    amount = min(max(abs(apart) - free, 0.0), _MOST)
    amount *= min(max((_GONE - abs(apart)) / (_GONE - _FADES), 0.0), 1.0)
    if amount == 0:
        return rotations
    # To be seen from further left, a head turns right.
    angle = -math.copysign(math.radians(amount), apart)
    turned = rotations.clone()
    for joint, share in ((_NECK, _OF_NECK), (_HEAD, 1 - _OF_NECK)):
        turned[joint] = rotations[joint] @ _about_y(share * angle).to(rotations)
    return turned


def _about_y(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
