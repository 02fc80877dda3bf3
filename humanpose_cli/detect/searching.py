"""How hard to look for people, and the whole way from windows to judged people in one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from humanpose_cli.detect.candidates import Odds, candidates_from, coarse_score, distinct_people, evidence, study
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.observing import Observation
from humanpose_cli.detect.proposals import propose, windows_over
from humanpose_cli.detect.regions import Pyramid, Region

__all__ = ["SCHEMES", "Found", "Mode", "Scheme", "search"]

Mode = Literal["thorough", "fast"]


@dataclass(frozen=True)
class Scheme:
    """How hard to look.

    shares     sides of the windows as shares of the image's longer side
    beyond     part of a window's side by which the outer windows reach over the image's edges
    threshold  score from which the detector's proposals are followed
    views      jittered views of a candidate in a search
    followed   jittered views of a person who is followed from the frame before
    glances    shares of the windows through which newcomers are looked for in a video, one a frame
    first      odds by which a candidate of two passes is worth studying
    studied    odds by which a studied candidate is a person
    """

    shares: tuple[float, ...]
    beyond: float
    threshold: float
    views: int
    followed: int
    glances: tuple[float, ...]
    first: Odds
    studied: Odds

    def windows(self, pyramid: Pyramid) -> list[Region]:
        """The windows of a full search, the whole image first."""
        return windows_over(pyramid.width, pyramid.height, self.shares, self.beyond)


# Fitted separately, for support grows with the number of windows and the spread with that of views.
SCHEMES: dict[str, Scheme] = {
    "thorough": Scheme(
        shares=(1.0, 1.35, 0.75, 0.6, 0.5, 0.42, 0.35, 0.3),
        beyond=0.25,
        threshold=0.3,
        views=8,
        followed=8,
        glances=(0.75, 0.5, 0.35),
        first=Odds(0.492, 0.88, 0.21, 0.985, -1.315, -5.75, least=-1.5),
        studied=Odds(0.392, 0.861, 0.213, 2.459, -1.152, -9.1, least=1.1),
    ),
    "fast": Scheme(
        shares=(1.0, 1.35, 0.75, 0.5),
        beyond=0.25,
        threshold=0.3,
        views=3,
        followed=1,
        glances=(0.75, 0.5, 0.35),
        first=Odds(0.726, 0.988, 0.263, 0.722, -1.406, -5.112, least=-1.0),
        studied=Odds(0.657, 0.906, 0.213, 1.993, -1.227, -8.327, least=0.5),
    ),
}


@dataclass(frozen=True)
class Found:
    """A person: the passes to average, and how likely it is one, 0..1."""

    passes: tuple[Observation, ...]
    score: float


def search(pool: ModelPool, pyramid: Pyramid, scheme: Scheme, more: Sequence[Region] = ()) -> list[Found]:
    """Look for everybody in an image through all windows of the scheme and `more`; the likeliest first."""
    proposals = propose(pool, pyramid, [*scheme.windows(pyramid), *more], scheme.threshold)
    candidates = candidates_from(pool, pyramid, proposals)
    worth_it = [c for c in candidates if scheme.first.of(coarse_score(c)) > scheme.first.least]
    judged = [(c, scheme.studied.of(evidence(c))) for c in study(pool, pyramid, worth_it, scheme.views)]
    people = distinct_people([(c, odds) for c, odds in judged if odds > scheme.studied.least])
    return [Found(c.passes, 1 / (1 + math.exp(-odds))) for c, odds in people]
