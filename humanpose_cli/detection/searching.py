"""How hard to look for people, and the whole way from windows to judged people in one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from humanpose_cli.detection.candidates import Candidate, candidates_from, study
from humanpose_cli.detection.judging import Evidence, Rule, distinct_people, evidence
from humanpose_cli.detection.models import ModelPool
from humanpose_cli.detection.observing import Observation
from humanpose_cli.detection.proposals import propose, windows_over
from humanpose_cli.detection.regions import Pyramid, Region

__all__ = ["SCHEMES", "Found", "Mode", "Scheme", "search"]

Mode = Literal["thorough", "fast"]


@dataclass(frozen=True)
class Scheme:
    """How hard to look.

    shares     sides of the windows as shares of the picture's longer side
    beyond     part of a window's side by which the outer windows reach over the picture's edges
    threshold  score from which the detector's proposals are followed
    views      jittered views of a candidate in a search
    followed   jittered views of a person who is followed from the frame before
    rules      a candidate that meets one of them is a person
    """

    shares: tuple[float, ...]
    beyond: float
    threshold: float
    views: int
    followed: int
    rules: tuple[Rule, ...]

    def windows(self, pyramid: Pyramid) -> list[Region]:
        """The windows of a full search, the whole picture first."""
        return windows_over(pyramid.width, pyramid.height, self.shares, self.beyond)


_RULES = (Rule(3, 0.03, 0.02, 0.85, np.inf), Rule(2, 0.018, np.inf, 0.9, 0.025))
SCHEMES: dict[str, Scheme] = {
    "thorough": Scheme((1.0, 1.35, 0.75, 0.5, 0.35), 0.25, 0.3, 8, 8, _RULES),
    "fast": Scheme((1.0, 1.35, 0.75, 0.5), 0.0, 0.4, 3, 1, _RULES),
}


@dataclass(frozen=True)
class Found:
    """A person: the passes to average, and how sure it is."""

    candidate: Candidate
    score: float

    @property
    def passes(self) -> tuple[Observation, ...]:
        """The passes on the model's own region and on its jittered copies."""
        assert self.candidate.third is not None
        return (self.candidate.third, *self.candidate.views)


def search(pool: ModelPool, pyramid: Pyramid, scheme: Scheme) -> list[Found]:
    """Look for everybody in a picture through all windows of the scheme."""
    proposals = propose(pool, pyramid, scheme.windows(pyramid), scheme.threshold)
    least = min(rule.support for rule in scheme.rules)
    candidates = [c for c in candidates_from(pool, pyramid, proposals) if c.support >= least]
    judged = [(c, evidence(c)) for c in study(pool, pyramid, candidates, scheme.views)]
    scores = {id(c): _score(e) for c, e in judged}
    people = distinct_people([c for c, e in judged if any(rule.holds(e) for rule in scheme.rules)])
    return [Found(c, scores[id(c)]) for c in people]


def _score(e: Evidence) -> float:
    """0..1: presence, less the more the joints move under jitter."""
    return e.presence * float(np.exp(-0.5 * (e.spread / 0.03) ** 2))
