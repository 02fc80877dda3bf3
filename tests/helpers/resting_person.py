"""Joints of a person at rest."""

from __future__ import annotations

import numpy as np

from humanpose_cli.core.conventions import Skeleton

# A standing adult, arms spread, metres, y up, facing +z (x to the person's left): joints of all skeletons by name.
RIGHT_HALF = {
    "pelvis": (0, 0.95, 0), "spine1": (0, 1.06, 0), "spine2": (0, 1.19, 0), "spine3": (0, 1.25, 0),
    "spine": (0, 1.19, 0), "thorax": (0, 1.45, 0), "neck": (0, 1.47, 0), "head": (0, 1.56, 0.03),
    "nose": (0, 1.6, 0.12), "head_top": (0, 1.78, 0),
    "left_hip": (0.08, 0.88, 0), "left_knee": (0.1, 0.5, 0), "left_ankle": (0.09, 0.08, -0.02),
    "left_foot": (0.11, 0.02, 0.1), "left_heel": (0.09, 0.03, -0.06), "left_foot_index": (0.11, 0.02, 0.12),
    "left_collar": (0.08, 1.4, 0), "left_shoulder": (0.17, 1.43, 0), "left_elbow": (0.43, 1.42, 0),
    "left_wrist": (0.68, 1.42, 0), "left_hand": (0.76, 1.41, 0), "left_pinky": (0.76, 1.4, -0.03),
    "left_index": (0.77, 1.41, 0.02), "left_thumb": (0.73, 1.41, 0.05), "left_eye": (0.03, 1.64, 0.09),
    "left_eye_inner": (0.015, 1.64, 0.1), "left_eye_outer": (0.045, 1.64, 0.08), "left_ear": (0.07, 1.61, 0),
    "left_mouth": (0.02, 1.56, 0.1),
}  # fmt: skip


def person(skeleton: Skeleton) -> np.ndarray:
    """(J, 3) y up."""
    positions = dict(RIGHT_HALF)
    for name, (x, y, z) in RIGHT_HALF.items():
        if name.startswith("left_"):
            positions["right_" + name[5:]] = (-x, y, z)
    return np.array([positions[name] for name in skeleton.joint_names], float)
