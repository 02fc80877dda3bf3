"""Joints that two people share: a network that does not find a hidden limb often reports the neighbour's.

If the same joint of two people is at one position, one of them shows it and the other borrowed it. In rendered crowds,
the owner is the one whose networks are more confident of it, and whose mask shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, LIMB_JOINTS
from humanpose_cli.detect.options import SharedJointOptions
from humanpose_cli.detect.person import DetectedPerson

_JOINTS = BLAZEPOSE33.indices(LIMB_JOINTS)
_MIRROR = np.array(BLAZEPOSE33.mirror)[_JOINTS]
_FOLLOWERS = {"wrist": ("pinky", "index", "thumb"), "ankle": ("heel", "foot_index")}  # landmarks beyond a joint


def hide_shared_joints(people: Sequence[DetectedPerson], options: SharedJointOptions) -> list[DetectedPerson]:
    """Set the confidence of a joint that another person claims more strongly to 0, and that of the landmarks of its
    hand or foot. A claim is the confidence, less of it beside the mask of a person. Left and right may
    be swapped between two people.
    """
    masks = [np.zeros(len(BLAZEPOSE33), bool) for _ in people]
    points, confidence = ([person.keypoints[:, part] for person in people] for part in (slice(0, 2), 2))
    claim = [_claims(person, options.off_mask) for person in people]
    size = [float(np.ptp(rows, axis=0).max()) for rows in points]
    for a, b in combinations(range(len(people)), 2):
        reach = options.reach * min(size[a], size[b])
        for others in (np.array(_JOINTS), _MIRROR):
            near = np.linalg.norm(points[a][_JOINTS] - points[b][others], axis=1) < reach
            both = np.minimum(confidence[a][_JOINTS], confidence[b][others])
            in_both = near & (both >= options.min_confidence)
            mine, theirs = claim[a][_JOINTS], claim[b][others]
            masks[a][np.array(_JOINTS)[in_both & (mine < theirs)]] = True
            masks[b][others[in_both & (mine > theirs)]] = True
    return [_without(person, rows) if rows.any() else person for person, rows in zip(people, masks, strict=True)]


def _claims(person: DetectedPerson, off_mask: float) -> np.ndarray:
    """Compute the claim (33,) on each landmark; without a mask all lie on the person."""
    confidence, mask = person.keypoints[:, 2], person.mask
    on_mask = np.ones(len(confidence)) if mask is None else mask.at(person.keypoints[:, :2])
    return confidence * (on_mask + off_mask)


def _without(person: DetectedPerson, mask: np.ndarray) -> DetectedPerson:
    """Hide these landmarks (33,) bool of a person, and those that follow them."""
    rows = mask.copy()
    for side in ("left", "right"):
        for joint, followers in _FOLLOWERS.items():
            if mask[BLAZEPOSE33.index(f"{side}_{joint}")]:
                rows[BLAZEPOSE33.indices([f"{side}_{name}" for name in followers])] = True
    keypoints = person.keypoints.copy()
    keypoints[rows, 2] = 0
    return replace(person, keypoints=keypoints)
