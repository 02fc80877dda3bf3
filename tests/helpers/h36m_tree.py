"""What a small Human3.6M holds, and fits of MoSh to it."""

from __future__ import annotations

import numpy as np

from helpers.dataset_files import write_python2_pickle
from humanpose_cli.lab.datasets.calibrated import Lens

SIZE, FRAMES = (300, 300), 23
# A fourth of the real lens, off centre, as MATLAB counts its pixels.
SMALL_LENS = (290.0, 286.0, 140.5, 150.5, -0.2071, 0.24778, -0.003075, -0.001424, -0.000976)
LENS_HERE = Lens((290.0, 286.0), (140.0, 150.0), (-0.2071, 0.24778, -0.003075), (-0.001424, -0.000976), 1.0)
SUBJECTS, ACTIONS = ("S1", "S8", "S11"), ("Directions", "WalkingDog 1")


def write_mosh(folder, rows=5, views=None):
    random = np.random.default_rng(3)
    poses, betas = random.normal(0, 0.3, (rows, 72)), random.normal(size=10)
    for subject in SUBJECTS:
        for action in ACTIONS:
            for row in range(4):
                path = folder / subject / f"{action}_cam{row}_aligned.pkl"
                write_python2_pickle(path, {"new_poses": poses, "betas": betas})
    return poses, betas
