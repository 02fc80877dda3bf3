"""Limbs that the photograph shows elsewhere than the fit has them.

A foot that is twisted as no prior expects is detected, but the body's own lies beside it. Its pixels then must not
become the texture of whatever the body has there, nor cloth beside it: the limb counts as unseen and is completed from
the other side, and its image counts as hidden.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24

Mask = NDArray[np.bool_]

# The end of each limb that a landmark tells of; landmarks of the trunk and the face tell of no limb.
_JOINT = {name: name for name in ("elbow", "wrist", "knee", "ankle")}
_JOINT |= {"pinky": "hand", "index": "hand", "thumb": "hand", "heel": "foot", "foot_index": "foot"}


def _joint_of(landmark: str) -> str:
    """The joint of SMPL24 at the end of the limb that a landmark of BLAZEPOSE33 lies on; "" for none."""
    side, _, name = landmark.partition("_")
    return f"{side}_{_JOINT[name]}" if name in _JOINT else ""


def without_strays(joint_confidence: NDArray[np.floating] | None, stray: Mask) -> NDArray[np.float32]:
    """Confidences (24,) of the joints: 0 for those whose limb is elsewhere, else as given (None: 1).

    stray  (33,) bool: the landmark was detected surely, and far from where the body has it
    """
    given = np.ones(len(SMPL24)) if joint_confidence is None else joint_confidence
    confidence = np.array(given, np.float32)
    for landmark in np.array(BLAZEPOSE33.joint_names)[stray].tolist():
        if joint := _joint_of(landmark):
            confidence[SMPL24.index(joint)] = 0
    return confidence


def image_of_strays(
    keypoints: NDArray[np.floating], stray: Mask, sure: Mask, size: tuple[int, int], radius: float
) -> Mask:
    """Pixels (H, W) about the detected segments that end or begin at the stray landmarks of limbs.

    keypoints  (33, 3) x, y pixels and confidence; stray, sure (33,) bool: far from the body; surely detected
    size       (H, W); radius: half the width of a limb, pixels
    """
    image = np.zeros(size, np.uint8)
    names = BLAZEPOSE33.joint_names
    for start, end in BLAZEPOSE33.bones:
        if (stray[start] and _joint_of(names[start])) or (stray[end] and _joint_of(names[end])):
            ends = [tuple(np.rint(keypoints[row, :2]).astype(int).tolist()) for row in (start, end) if sure[row]]
            cv2.line(image, ends[0], ends[-1], 1, max(1, round(2 * radius)))
    return image > 0
