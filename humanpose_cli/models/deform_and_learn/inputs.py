"""Inputs of the deform-and-learn network: a person in a square crop around their box, for training and for use.

Positions are in halves of the crop's side, −1 to 1, x right, y down. These are the image units of `ScaledPose`, in
which an upright person is about as large as in metres.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.crop import Crop

FILL = 0.86
"""Share of the crop that the longer side of a person's box takes."""


def landmarks_in_crop(landmarks: NDArray[Any], crop: Crop) -> NDArray[np.float32]:
    """Convert landmarks from pixels of the image to image units of the crop.

    Args:
        landmarks: (L, 3) float. x, y in pixels and confidence.
        crop: The crop.

    Returns:
        (L, 3) float32. x, y in image units and confidence.
    """
    result = np.array(landmarks, np.float32)
    result[:, :2] = crop.points(result[:, :2]) / (crop.size[0] / 2) - 1
    return result


def pose_in_crop(landmarks: NDArray[Any], world: NDArray[Any] | None, crop: Crop) -> NDArray[np.float32]:
    """Return what the pose network says of a person, in a crop.

    Args:
        landmarks: (33, 3) float. x, y in pixels of the image and confidence of BLAZEPOSE33's landmarks.
        world: (33, ≥ 3) float, metres in camera axes. The landmarks relative to the hips; None or NaN if unknown.
        crop: The crop. In a mirrored one, left and right landmarks change their names.

    Returns:
        (33, 6) float32. x, y in image units, confidence, and world landmarks in the crop's axes, 0 if unknown.
    """
    space = np.zeros((len(landmarks), 3)) if world is None else np.nan_to_num(world[:, :3])
    result = np.concatenate((landmarks_in_crop(landmarks, crop), crop.directions(space)), 1)
    return result[list(BLAZEPOSE33.mirror)] if crop.mirror else result
