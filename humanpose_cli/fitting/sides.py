"""Left and right of a person over a sequence, settled by the best path through the frames.

Pose networks mistake left for right for runs of frames, of the whole body or of the legs or arms alone. Each frame has
four hypotheses: its landmarks as detected, and with legs, arms or both swapped. The path through all frames that costs
least is found by dynamic programming: a swap costs a little in every frame, a limb that jumps costs
more, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.detect.person import DetectedPerson

_LEGS = ("hip", "knee", "ankle", "heel", "foot_index", "big_toe", "small_toe")
_UPPER_BODY = ("shoulder", "elbow", "wrist", "pinky", "index", "thumb", "eye_inner", "eye", "eye_outer", "ear", "mouth")
_SWAPS = ((), _LEGS, _UPPER_BODY, _LEGS + _UPPER_BODY)
_SWAP_COST = 0.6  # a frame, for each half of the body
_JUMP = 0.06  # of the person's size: a landmark that moves as far from one frame to the next has jumped
_MAX_JUMP_COST = 4.0  # of one landmark
_FORGET = 10  # frames after which an earlier position no longer counts


def settle_sides(people: Sequence[DetectedPerson], frames: Sequence[int]) -> list[DetectedPerson]:
    """Make left and right of the person of one track, in rising frames, consistent over the sequence.

    All people have the same skeleton.
    """
    if len(people) < 2:
        return list(people)
    skeleton = people[0].skeleton
    orders = np.array([_order(skeleton, names) for names in _SWAPS])
    side_rows = np.flatnonzero(orders[-1] != np.arange(len(skeleton)))
    size = np.array([max(float((p.box[2:] - p.box[:2]).max()), 1.0) for p in people])
    swap_cost = _SWAP_COST * np.array([0.0, 1.0, 1.0, 2.0])
    cost = np.tile(swap_cost, (len(people), 1))
    steps = []
    hypotheses = people[0].keypoints.astype(np.float64)[orders]  # (4, L, 3)
    for t in range(1, len(people)):
        gap = frames[t] - frames[t - 1]
        earlier, hypotheses = hypotheses, people[t].keypoints.astype(np.float64)[orders]
        before, now = earlier[:, None, side_rows], hypotheses[None, :, side_rows]
        apart = np.linalg.norm(before[..., :2] - now[..., :2], axis=-1) / (_JUMP * size[t] * np.sqrt(gap))
        weight = np.minimum(before[..., 2], now[..., 2]) * max(1 - gap / _FORGET, 0.0)
        steps.append((weight * _MAX_JUMP_COST * apart**2 / (_MAX_JUMP_COST + apart**2)).sum(-1))
    return [
        _swapped(person, orders[choice]) if choice else person
        for person, choice in zip(people, best_path(cost, steps), strict=True)
    ]


def best_path(costs: NDArray[np.float64], steps: Sequence[NDArray[np.float64]]) -> list[int]:
    """Find the choice in each of T frames with the lowest total: costs (T, K) of a choice, steps T − 1 (K, K) from a
    choice of one frame to that of the next. The first of equals.
    """
    total, came_from = costs[0], []
    for here, step in zip(costs[1:], steps, strict=True):
        through = total[:, None] + step
        came_from.append(through.argmin(0))
        total = through.min(0) + here
    path = [int(total.argmin())]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    return path[::-1]


def _order(skeleton: Skeleton, names: Sequence[str]) -> NDArray[np.int64]:
    """Order rows (L,) with left and right of some joints exchanged."""
    order = np.arange(len(skeleton))
    for row, (name, other) in enumerate(zip(skeleton.joint_names, skeleton.mirror, strict=True)):
        side, _, joint = name.partition("_")
        if side == "mouth":  # BlazePose: mouth_left
            joint = "mouth"
        if joint in names:
            order[row] = other
    return order


def _swapped(person: DetectedPerson, order: NDArray[np.int64]) -> DetectedPerson:
    """Reorder the rows of a person; the box stays."""
    fields = {name: getattr(person, name) for name in ("keypoints", "spread", "world", "world_spread")}
    return replace(person, **{name: value[order] for name, value in fields.items() if value is not None})
