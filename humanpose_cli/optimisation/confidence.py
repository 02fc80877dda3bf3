"""How far to trust a fitted joint and a fitted person: what was seen there, and how well the body explains it."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from humanpose_cli.conventions import SMPL24, Skeleton

__all__ = ["joint_confidence", "person_confidence", "witnesses"]

# The landmarks that tell where a joint is, without their side; the best seen of each group in parentheses counts.
_WITNESSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "pelvis": (("left_hip",), ("right_hip",)),
    "spine1": (("left_hip",), ("right_hip",)),
    "spine2": (("left_hip",), ("right_hip",), ("left_shoulder",), ("right_shoulder",)),
    "spine3": (("left_shoulder",), ("right_shoulder",)),
    "neck": (("left_shoulder",), ("right_shoulder",)),
    "head": (("nose", "left_ear", "right_ear", "left_eye", "right_eye", "head_top"),),
    "hip": (("hip",),),
    "knee": (("knee",),),
    "ankle": (("ankle",),),
    "foot": (("foot_index", "ankle"), ("ankle",)),
    "collar": (("shoulder",),),
    "shoulder": (("shoulder",),),
    "elbow": (("elbow",),),
    "wrist": (("wrist",),),
    "hand": (("index", "pinky", "wrist"), ("wrist",)),
}
_PERSON_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def _on_side(name: str, side: str, skeleton: Skeleton) -> str | None:
    for candidate in (f"{side}{name}", name):
        if candidate in skeleton:
            return candidate
    return None


@lru_cache(maxsize=8)
def witnesses(skeleton: Skeleton) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Per joint of SMPL24: groups of landmark rows, of which the best seen of each group tells about the joint."""
    table = []
    for joint in SMPL24.joint_names:
        side = next((s for s in ("left_", "right_") if joint.startswith(s)), "")
        groups = []
        for group in _WITNESSES[joint.removeprefix(side)]:
            rows = [_on_side(name, side, skeleton) for name in group]
            found = tuple(skeleton.index(name) for name in rows if name is not None)
            if found:
                groups.append(found)
        table.append(tuple(groups))
    return tuple(table)


def joint_confidence(skeleton: Skeleton, evidence: Tensor) -> Tensor:
    """(N, L) evidence of landmarks, 0..1 → (N, 24): the weakest of the groups of witnesses of each joint."""
    columns = []
    for groups in witnesses(skeleton):
        best = [evidence[:, list(group)].amax(-1) for group in groups]
        columns.append(torch.stack(best, -1).amin(-1) if best else torch.zeros_like(evidence[:, 0]))
    return torch.stack(columns, -1)


def person_confidence(joints: Tensor) -> Tensor:
    """(N, 24) → (N,): mean over shoulders, elbows, wrists, hips, knees and ankles."""
    rows = [SMPL24.index(f"{side}_{name}") for name in _PERSON_JOINTS for side in ("left", "right")]
    return joints[:, rows].mean(-1)
