"""Knowledge about one person's body apart from keypoints: a network's estimate, and a prior of the shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.crop import Crop


class ShapePrior(NamedTuple):
    """The expected betas of one person.

    Attributes:
        mean: (S,) float64. The mean.
        noise: (S,) float64. The standard deviations.
    """

    mean: NDArray[np.float64]
    noise: NDArray[np.float64]


@dataclass(frozen=True)
class BodyEstimate:
    """One person's body in camera axes, as `models.nbf` or `models.deform_and_learn` predicts it.

    Attributes:
        poses: (72,) float32, radians. Axis-angles relative to the parent, the pelvis' from body to camera axes.
        betas: (10,) float32. The shape.
        trans: (3,) float32, metres. The translation.
        joints: (24, 3) float32, metres in camera axes. The joints.
        noise: (24, 2) float32, metres. Expected absolute error of each joint relative to the pelvis, across and along
            the line of sight. None if the network does not predict it.
        crop: The part of the image that the network took.
        segment_scales: (24,) float32. Segment scales, for a body with scales instead of betas. None means 1.
    """

    poses: NDArray[np.float32]
    betas: NDArray[np.float32]
    trans: NDArray[np.float32]
    joints: NDArray[np.float32]
    noise: NDArray[np.float32] | None
    crop: Crop
    segment_scales: NDArray[np.float32] | None = None
