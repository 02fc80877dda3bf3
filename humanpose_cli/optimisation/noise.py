"""How far detectors' landmarks lie from where they should be, in metres at the person's distance."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.conventions import BLAZEPOSE33, Skeleton

__all__ = ["landmark_noise"]

# Detectors of other skeletons are the users' own; annotators agree to about this (COCO's OKS constants, mean).
_USUAL_IN_SIGHT, _USUAL_HIDDEN = 0.022, 0.08


@lru_cache(maxsize=8)
def landmark_noise(skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Standard deviations (L,) of landmarks in sight and hidden, double.

    BlazePose's were measured with its landmarks' places on the default body by tools/build_landmarks.py.
    """
    if skeleton != BLAZEPOSE33:
        usual = torch.ones(len(skeleton), dtype=torch.float64)
        return _USUAL_IN_SIGHT * usual, _USUAL_HIDDEN * usual
    path = resources.files("humanpose_cli.bodies") / "data" / "blazepose_landmarks.npz"
    with resources.as_file(path) as real_path, np.load(real_path, allow_pickle=False) as file:
        in_sight, hidden = (torch.from_numpy(file[name]).double() for name in ("noise_in_sight", "noise_hidden"))
    return in_sight, torch.maximum(hidden, in_sight)
