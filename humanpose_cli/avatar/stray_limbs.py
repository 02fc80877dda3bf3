"""Limbs that the photograph shows elsewhere than the fit has them.

A foot that is twisted as no prior expects is detected, but the body's own lies beside it. Its pixels then must not
become the texture of whatever the body has there, nor cloth beside it: the limb counts as hidden and is completed from
the other side, and its image counts as hidden.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# The end of each limb that a landmark tells of; landmarks of the trunk and the face tell of no limb.
_JOINT = {name: name for name in ("elbow", "wrist", "knee", "ankle")}
_JOINT |= {"pinky": "hand", "index": "hand", "thumb": "hand", "heel": "foot", "foot_index": "foot"}


def _joint_of(landmark: str) -> str:
    """Find the joint of SMPL24 at the end of the limb that a landmark of BLAZEPOSE33 lies on; "" for none."""
    side, _, name = landmark.partition("_")
    return f"{side}_{_JOINT[name]}" if name in _JOINT else ""


LIMB_LANDMARKS = np.array([bool(_joint_of(name)) for name in BLAZEPOSE33.joint_names])
"""(33,) bool: landmarks of limbs, without shoulders and hips."""

FOOT_LANDMARKS = np.array([_joint_of(name).endswith("foot") for name in BLAZEPOSE33.joint_names])
"""(33,) bool: landmarks of heels and toes."""


def stray_joints(stray: Mask) -> list[str]:
    """Name the SMPL24 joints whose limb a stray landmark (33,) bool lies on, each once."""
    return list(dict.fromkeys(filter(None, map(_joint_of, np.array(BLAZEPOSE33.joint_names)[stray].tolist()))))


def without_strays(joint_visibility: NDArray[np.floating] | None, stray: Mask) -> NDArray[np.float32]:
    """Set the visibility (24,) of joints whose limb is elsewhere, and what hangs from them, to 0.

    joint_visibility  (24,) 0…1, or None for 1; stray (33,) bool: landmarks of limbs that are elsewhere
    """
    visibility = np.ones(len(SMPL24), np.float32)
    if joint_visibility is not None:
        visibility[:] = joint_visibility
    hidden_joints = set(stray_joints(stray))
    for row, (name, parent) in enumerate(zip(SMPL24.joint_names, SMPL24.parent_names, strict=True)):
        if name in hidden_joints or parent in hidden_joints:  # parents come first
            hidden_joints.add(name)
            visibility[row] = 0
    return visibility


def image_of_strays(keypoints: Array, stray: Mask, confident: Mask, size: tuple[int, int], radius: float) -> Mask:
    """Draw pixels (H, W) about the detected segments that end or begin at the stray landmarks of limbs.

    keypoints  (33, 3) x, y pixels and confidence
    stray      (33,) bool: far from the body; confident (33,) bool: detected with confidence
    size       (H, W); radius: half the width of a limb, pixels
    """
    image, longer = np.zeros(size, np.uint8), max(size)
    thickness = int(np.clip(round(2 * radius), 1, longer))
    # OpenCV takes neither lines nor widths far beyond an image.
    pixels = np.rint(np.clip(np.where(confident[:, None], keypoints[:, :2], 0), -longer, 2 * longer)).astype(int)
    for start, end in BLAZEPOSE33.bones:
        if (stray & LIMB_LANDMARKS)[[start, end]].any():
            ends = [tuple(pixels[row].tolist()) for row in (start, end) if confident[row]]
            cv2.line(image, ends[0], ends[-1], 1, thickness)
    return image > 0
