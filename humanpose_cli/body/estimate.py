"""What is known of one person's body beside the keypoints: a network's estimate, and a prior of the shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.crop import Crop


class ShapePrior(NamedTuple):
    """What betas of one person are expected: mean (S,), and their standard deviations, noise (S,)."""

    mean: NDArray[np.float64]
    noise: NDArray[np.float64]


@dataclass(frozen=True)
class BodyEstimate:
    """One person's body before the image's camera: what `models.nbf` or `models.deform_and_learn` predicts, and the
    keypoint fit starts from.

    Attributes:
        poses: (72,) axis-angle, parent-relative, the pelvis body to camera; betas (10,); trans (3,) metres.
        joints: (24, 3) metres, camera axes.
        noise: (24, 2) metres: expected absolute error of each joint relative to the pelvis, across and along the
            line of sight; None if the network does not predict it.
        crop: The part of the image that the network took.
        segment_scales: (24,) of a body with scales in place of betas; None if all are 1.
    """

    poses: NDArray[np.float32]
    betas: NDArray[np.float32]
    trans: NDArray[np.float32]
    joints: NDArray[np.float32]
    noise: NDArray[np.float32] | None
    crop: Crop
    segment_scales: NDArray[np.float32] | None = None
