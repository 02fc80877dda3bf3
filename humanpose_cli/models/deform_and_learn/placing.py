"""Convert between the weak-perspective camera of a crop and the perspective camera of its image.

A crop shows a person as a distant camera does that looks straight at them. Its axes are the axes of the image's
camera, turned to the line of sight. Without that turn, the body of a person near the edge of a wide image would be
rotated by the angle between that line and the optical axis.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, in_image
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import viewing_rotation
from humanpose_cli.models.nbf.body import place_about_pixels

_MIN_SCALE = 0.02  # image units a metre: a person is at most some 90 m high in a crop


class CropUnits(NamedTuple):
    """Image units of B crops in pixels of their images: pixels = origin + unit · position.

    Attributes:
        origin: (B, 2) float, pixels. The position 0.
        unit: (B,) float, pixels. The length 1.
    """

    origin: Tensor
    unit: Tensor


class PlacedBodies(NamedTuple):
    """B bodies in camera axes of their images.

    Attributes:
        rotations: (B, 24, 3, 3) float. Rotations relative to the parent; the pelvis' from body to camera axes.
        pelvis: (B, 3) float, metres in camera axes. The pelvis.
    """

    rotations: Tensor
    pelvis: Tensor


def to_camera(body: ScaledBody, pose: ScaledPose, units: CropUnits, camera: Camera) -> PlacedBodies:
    """Move bodies from crops to the camera axes of their images.

    Their joints project to the same pixels, as nearly as a perspective camera allows.

    Args:
        body: The body.
        pose: The bodies in B crops.
        units: The image units of the crops.
        camera: Tensors (B,). The cameras of the images.
    """
    pose = pose._replace(scale=pose.scale.clamp_min(_MIN_SCALE))
    joints = body.points(pose, body.landmarks(SMPL24.name))
    pixels = units.origin[:, None] + units.unit[:, None, None] * in_image(joints, pose)[..., :2]
    pelvis_pixel = units.origin + units.unit[:, None] * pose.translation
    turn = viewing_rotation(pelvis_pixel, camera.focal, camera.principal_point)
    rotations = pose.rotations
    rotations = torch.cat((turn[:, None] @ rotations[:, :1], rotations[:, 1:]), 1)
    return PlacedBodies(rotations, place_about_pixels(joints @ turn.mT, pixels, camera))
