"""From the detector's many overlapping proposals to one candidate a person, with all that speaks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from humanpose_cli.conventions import BLAZEPOSE33
from humanpose_cli.detection.models import ModelPool
from humanpose_cli.detection.observing import Observation, View, jittered_views, observe_all
from humanpose_cli.detection.proposals import Proposal
from humanpose_cli.detection.regions import Pyramid, Region

__all__ = ["Candidate", "candidates_from", "same_person", "similarity", "similarity_of_points", "study"]

BODY = BLAZEPOSE33.indices(
    ["nose"] + [f"{s}_{j}" for j in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for s in ("left", "right")]
)
_MIRROR = list(BLAZEPOSE33.mirror)
_OKS_WIDTH = 0.07  # of the region's side: how far two guesses of one joint may be apart
_SAME_PERSON = 0.5
_FIRST_PRESENCE, _SECOND_PRESENCE = 0.3, 0.5


@dataclass(frozen=True)
class Candidate:
    """Somebody who may be a person.

    first, second  landmark passes on the detector's region and on the model's own next region
    windows        numbers of the windows in which the detector saw this pose
    score          the detector's best score
    third, views   passes on the second's next region and on jittered copies of it (filled in by `study`)
    """

    first: Observation
    second: Observation
    windows: frozenset[int]
    score: float
    third: Observation | None = None
    views: tuple[Observation, ...] = ()

    @property
    def side(self) -> float:
        """Side of the region around the person, pixels."""
        return self.second.next_region.side

    @property
    def passes(self) -> tuple[Observation, ...]:
        """The third pass and those on the jittered views; only of a studied candidate."""
        if self.third is None:
            raise ValueError("the candidate has not been studied yet")
        return (self.third, *self.views)

    @property
    def points(self) -> np.ndarray:
        """(33, 2) the best guess so far."""
        return self.second.points if self.third is None else self.third.points

    @property
    def support(self) -> int:
        """Number of windows in which the detector saw this pose."""
        return len(self.windows)


def similarity(
    points: np.ndarray, others: np.ndarray, side: float, sure: tuple[np.ndarray, np.ndarray] | None = None
) -> float:
    """Object keypoint similarity 0..1 of two poses (33, 2) of body size `side`; blind to left and right swapped.

    sure: confidences (33,) of both; joints that only one of them sees then count little.
    """
    mine, theirs = sure if sure is not None else (np.ones(len(points)), np.ones(len(points)))
    return max(
        similarity_of_points(points[BODY], others[rows][BODY], side, np.sqrt(mine * theirs[rows])[BODY] + 0.02)
        for rows in (slice(None), _MIRROR)
    )


def similarity_of_points(
    points: np.ndarray, others: np.ndarray, side: float, weights: np.ndarray | None = None
) -> float:
    """Mean over (N, 2) points of how near each is to its counterpart, 0..1, on the scale of a body of `side`."""
    apart = np.sum((points - others) ** 2, axis=-1)
    return float(np.average(np.exp(-apart / (2 * (_OKS_WIDTH * side) ** 2)), weights=weights))


def same_person(a: Candidate, b: Candidate) -> bool:
    """Whether two candidates are guesses at one person."""
    return similarity(a.points, b.points, math.sqrt(a.side * b.side)) > _SAME_PERSON


def candidates_from(pool: ModelPool, pyramid: Pyramid, proposals: Sequence[Proposal]) -> list[Candidate]:
    """Two landmark passes on each distinct proposal; guesses at one person joined, best supported first."""
    groups = _group(proposals)
    firsts = observe_all(pool, pyramid, [View(group[0].region) for group in groups])
    kept = [(g, o) for g, o in zip(groups, firsts, strict=True) if o.presence > _FIRST_PRESENCE]
    seconds = observe_all(pool, pyramid, [View(first.next_region) for _, first in kept])
    found = [
        Candidate(first, second, frozenset(p.window for p in group), group[0].score)
        for (group, first), second in zip(kept, seconds, strict=True)
        if second.presence > _SECOND_PRESENCE
    ]
    return _join(found)


def study(pool: ModelPool, pyramid: Pyramid, candidates: Sequence[Candidate], views: int) -> list[Candidate]:
    """Look at each candidate again: once as the model would, and on `views` jittered copies of that region."""
    wanted = [[View(c.second.next_region), *jittered_views(c.second.next_region, views)] for c in candidates]
    flat = observe_all(pool, pyramid, [view for group in wanted for view in group])
    size = views + 1
    return [
        Candidate(c.first, c.second, c.windows, c.score, flat[i * size], tuple(flat[i * size + 1 : (i + 1) * size]))
        for i, c in enumerate(candidates)
    ]


def _group(proposals: Sequence[Proposal]) -> list[list[Proposal]]:
    """Nearly equal regions together, best score first: one landmark pass will do for them."""
    groups: list[list[Proposal]] = []
    for proposal in sorted(proposals, key=lambda p: -p.score):
        home = next((g for g in groups if _near(g[0].region, proposal.region)), None)
        if home is None:
            groups.append([proposal])
        else:
            home.append(proposal)
    return groups


def _near(a: Region, b: Region) -> bool:
    side = math.sqrt(a.side * b.side)
    turn = math.remainder(a.angle - b.angle, 2 * math.pi)
    close = math.hypot(a.x - b.x, a.y - b.y) < 0.12 * side
    return close and abs(math.log(a.side / b.side)) < math.log(1.25) and abs(turn) < math.radians(20)


def _join(candidates: Sequence[Candidate]) -> list[Candidate]:
    joined: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (-c.support, -c.score)):
        home = next((i for i, other in enumerate(joined) if same_person(other, candidate)), None)
        if home is None:
            joined.append(candidate)
        else:
            leader = joined[home]
            windows = leader.windows | candidate.windows
            score = max(leader.score, candidate.score)
            joined[home] = Candidate(leader.first, leader.second, windows, score)
    return sorted(joined, key=lambda c: (-c.support, -c.score))
