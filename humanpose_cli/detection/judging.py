"""Tells people from things that merely look like people to one crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from humanpose_cli.detection.candidates import BODY, TORSO, Candidate, same_person
from humanpose_cli.detection.combining import mean_mask, points_spread

__all__ = ["Evidence", "Rule", "distinct_people", "evidence"]


@dataclass(frozen=True)
class Evidence:
    """What speaks for a candidate; lengths in units of the region's side.

    support    windows in which the detector saw it
    presence   mean presence over the jittered views
    spread     median over the body's joints of their spread under jitter
    torso      median spread of shoulders and hips
    agreement  median distance of the joints between the second and the third pass
    """

    support: int
    presence: float
    spread: float
    torso: float
    agreement: float


@dataclass(frozen=True)
class Rule:
    """A candidate that meets all of these is a person."""

    support: int
    spread: float
    torso: float
    presence: float
    agreement: float

    def holds(self, e: Evidence) -> bool:
        """Whether the evidence meets every condition."""
        steady = e.spread < self.spread and e.torso < self.torso and e.agreement < self.agreement
        return steady and e.support >= self.support and e.presence > self.presence


def evidence(candidate: Candidate) -> Evidence:
    """Gather what speaks for a studied candidate."""
    assert candidate.third is not None
    views = (candidate.third, *candidate.views)
    spread = points_spread(views) / candidate.side
    moved = np.linalg.norm(candidate.third.points - candidate.second.points, axis=1) / candidate.side
    return Evidence(
        support=candidate.support,
        presence=float(np.mean([view.presence for view in views])),
        spread=float(np.median(spread[BODY])),
        torso=float(np.median(spread[TORSO])),
        agreement=float(np.median(moved[BODY])),
    )


def distinct_people(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Without second guesses at one person, and without poses that lie mostly within a stronger person's mask.

    candidates: studied and judged; the order of the answer is theirs: best supported first.
    """
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (-c.support, -c.score)):
        if not any(same_person(other, candidate) or _inside_mask(candidate, other) for other in kept):
            kept.append(candidate)
    return kept


def _inside_mask(candidate: Candidate, stronger: Candidate) -> bool:
    """Whether most of a candidate's joints lie on a person who has more than twice its support."""
    assert stronger.third is not None
    if 2 * candidate.support >= stronger.support:
        return False
    mask = mean_mask((stronger.third, *stronger.views), stronger.third.region)
    affine = np.vstack([mask.crop_to_picture, [0, 0, 1]])
    size = len(mask.crop)
    placed = np.concatenate([candidate.points[BODY], np.ones((len(BODY), 1))], axis=1) @ np.linalg.inv(affine).T
    columns, rows = np.floor(placed[:, :2]).astype(int).T
    seen = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    on_person = mask.crop[np.clip(rows, 0, size - 1), np.clip(columns, 0, size - 1)] > 127
    return float((seen & on_person).mean()) > 0.7
