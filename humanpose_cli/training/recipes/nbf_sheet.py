"""What a body network does with a person, as a picture: input, true body, predicted body."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.conventions import BLAZEPOSE33
from humanpose_cli.data.fixed_camera import NBF_CAMERA
from humanpose_cli.fitting.nbf.body_layer import BodyLayer
from humanpose_cli.fitting.nbf.colours import as_bytes
from humanpose_cli.fitting.nbf.evidence import Evidence
from humanpose_cli.fitting.nbf.inputs import InputOptions
from humanpose_cli.rendering.overlay import draw_keypoints, draw_overlay, person_colour

__all__ = ["body_sheet"]

_SIDE = 224


def body_sheet(
    evidence: Evidence,
    batch: Mapping[str, Tensor],
    inputs: InputOptions,
    true: Tensor,
    found: Tensor,
    layer: BodyLayer,
) -> NDArray[np.uint8]:
    """(224, 672, 3): the input, and the true and the predicted mesh (V, 3) as the fixed camera sees them."""
    assert evidence.picture is not None
    photo = _resized(evidence.picture)
    shown = _input(evidence, batch, inputs, photo)
    faces, focal, centre = layer.body.faces.cpu(), NBF_CAMERA.focal_at(_SIDE), (_SIDE / 2, _SIDE / 2)
    drawn = [
        draw_overlay(photo, mesh[None], faces, focal, centre, track_ids=[colour])
        for mesh, colour in ((true, 2), (found, 1))
    ]
    return np.concatenate((shown, *drawn), 1)


def _input(
    evidence: Evidence, batch: Mapping[str, Tensor], inputs: InputOptions, photo: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    if inputs.kind == "proxy" and evidence.landmarks is not None:
        points = evidence.landmarks * (_SIDE / evidence.size, _SIDE / evidence.size, 1.0)
        picture = photo.copy()
        if evidence.mask is not None:
            mask = cv2.resize(evidence.mask, (_SIDE, _SIDE))[..., None]
            picture = np.rint(picture * (0.35 + 0.65 * mask)).astype(np.uint8)
        draw_keypoints(picture, points, BLAZEPOSE33, person_colour(0))
        return picture
    if "image" in batch and inputs.kind != "rgb":
        image = as_bytes(batch["image"][0].permute(1, 2, 0).cpu().numpy())
        return np.asarray(cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)
    return photo


def _resized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    smaller = cv2.INTER_AREA if picture.shape[0] > _SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (_SIDE, _SIDE), interpolation=smaller), np.uint8)
