"""Judging bodies that were fitted to pictures: `hpc fit`'s own methods, or fit files of any origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.evaluation.people import JudgedPeople
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.metrics.bodies import Bodies, BodyErrors, body_errors

__all__ = ["FoundBody", "JudgedFits", "judge_fits", "matched"]

_LEAST_OVERLAP = 0.3  # of the boxes, to be taken for the same person


class FoundBody(NamedTuple):
    """One fitted person: poses (72,), betas (S,), trans (3,) as in a fit file, and the box (4,) it was found in."""

    poses: NDArray[Any]
    betas: NDArray[Any]
    trans: NDArray[Any]
    box: NDArray[Any]


@dataclass(frozen=True)
class JudgedFits:
    """What became of N people.

    found   numbers of those who were found, M; errors of these, in that order; bodies what was found
    missed  N − M
    """

    found: NDArray[np.int64]
    errors: BodyErrors
    bodies: Bodies
    missed: int


def judge_fits(
    people: JudgedPeople,
    fit: Callable[[int], Sequence[FoundBody]],
    body: RiggedBody,
    *,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> JudgedFits | None:
    """Errors of what `fit` finds in each picture.

    fit   row of a picture → the people found there
    body  that they are of
    stop  asked after every picture; True ends with None
    """
    pictures = np.unique(people.people.pictures)
    truth, found, bodies = people.joints2d, [], []
    for done, picture in enumerate(pictures, 1):
        told = fit(int(picture))
        numbers = np.flatnonzero(people.people.pictures == picture)
        for number, place in matched([_box_of(truth[n]) for n in numbers], [one.box for one in told]):
            found.append(int(numbers[number]))
            bodies.append(told[place])
        on_step(done, len(pictures))
        if stop():
            return None
    rows = np.array(found, np.int64)
    predicted = _stacked(bodies, body)
    true = Bodies(*(values[rows] for values in people.bodies))
    errors = body_errors(body, predicted, true, people.focal[rows], people.centre[rows], true_body=people.body)
    return JudgedFits(rows, errors, predicted, len(people) - len(rows))


def _stacked(found: Sequence[FoundBody], body: RiggedBody) -> Bodies:
    if not found:
        return Bodies(torch.zeros(0, len(SMPL24), 3, 3), torch.zeros(0, body.shape_count), torch.zeros(0, 3))
    poses, betas, trans = (
        torch.from_numpy(np.stack([getattr(one, name) for one in found])).float()
        for name in ("poses", "betas", "trans")
    )
    root = body.rest_joints(betas)[:, SMPL24.index("pelvis")] + trans
    return Bodies(axis_angle_to_matrix(poses.unflatten(1, (len(SMPL24), 3))), betas, root)


def _box_of(points: NDArray[Any]) -> NDArray[Any]:
    """Round the joints that are known."""
    known = points[np.isfinite(points).all(1)]
    return np.concatenate((known.min(0), known.max(0)))


def matched(true: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> list[tuple[int, int]]:
    """Pairs (true, found) of boxes x0 y0 x1 y1 that show the same people: by overlap, the largest first, each once."""
    if not true or not found:
        return []
    table = np.array([[_overlap(a, b) for b in found] for a in true])
    pairs = []
    while table.max() >= _LEAST_OVERLAP:
        row, column = np.unravel_index(int(table.argmax()), table.shape)
        pairs.append((int(row), int(column)))
        table[row], table[:, column] = -1, -1
    return pairs


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
    inner = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(inner / max(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner, 1e-9))
