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


def pose_in_crop(landmarks: NDArray[Any], lifted: NDArray[Any], crop: Crop) -> NDArray[np.float32]:
    """Return the landmarks of a person in a crop, detected and lifted.

    Args:
        landmarks: (33, 3) float. x, y in pixels of the image and confidence of BLAZEPOSE33's landmarks.
        lifted: (33, 3) float, metres in axes of a camera that looks at the person, from `lifted_world`.
        crop: The crop. In a mirrored one, left and right landmarks change their names.

    Returns:
        (33, 6) float32. x, y in image units, confidence, and lifted landmarks in the crop's axes.
    """
    result = np.concatenate((landmarks_in_crop(landmarks, crop), crop.directions(lifted)), 1)
    return result[list(BLAZEPOSE33.mirror)] if crop.mirror else result
