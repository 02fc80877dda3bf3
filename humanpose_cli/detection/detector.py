"""Finds everybody in a picture: the public face of detection."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import numpy as np

from humanpose_cli.detection.candidates import candidates_from, study
from humanpose_cli.detection.combining import combine
from humanpose_cli.detection.judging import Evidence, Rule, distinct_people, evidence
from humanpose_cli.detection.models import ModelPool, default_threads
from humanpose_cli.detection.person import DetectedPerson
from humanpose_cli.detection.proposals import propose, windows_over
from humanpose_cli.detection.regions import Pyramid
from humanpose_cli.errors import InputError, UsageError

__all__ = ["PersonDetector"]

Mode = Literal["thorough", "fast"]
People = Literal["all", "largest"]
_SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Scheme:
    """How hard to look.

    shares     sides of the windows as shares of the picture's longer side
    beyond     part of a window's side by which the outer windows reach over the picture's edges
    threshold  score from which the detector's proposals are followed
    views      jittered views of a candidate
    rules      a candidate that meets one of them is a person
    """

    shares: tuple[float, ...]
    beyond: float
    threshold: float
    views: int
    rules: tuple[Rule, ...]


_SCHEMES: dict[str, Scheme] = {
    "thorough": Scheme(
        (1.0, 1.35, 0.75, 0.5, 0.35),
        0.25,
        0.3,
        8,
        (Rule(3, 0.03, 0.02, 0.85, np.inf), Rule(2, 0.018, np.inf, 0.9, 0.025)),
    ),
    "fast": Scheme(
        (1.0, 1.35, 0.75, 0.5),
        0.0,
        0.4,
        3,
        (Rule(3, 0.03, 0.02, 0.85, np.inf), Rule(2, 0.018, np.inf, 0.9, 0.025)),
    ),
}


class PersonDetector:
    """Finds people in pictures; a context manager that frees its models at the end.

    mode     'thorough' for stills, 'fast' for video
    people   'all', or only the 'largest' by the area of its box
    threads  model instances that run at once (None: as many as there are cores, four at most); the result does not
             depend on it
    """

    def __init__(self, mode: Mode = "thorough", people: People = "all", threads: int | None = None) -> None:
        if mode not in _SCHEMES:
            raise UsageError("detector", "unknown mode", expected="thorough or fast", got=repr(mode))
        if people not in ("all", "largest"):
            raise UsageError("people", "unknown choice", expected="all or largest", got=repr(people))
        self.mode, self.people = mode, people
        self._scheme = _SCHEMES[mode]
        self._pool = ModelPool(threads or default_threads())

    def detect(self, image: np.ndarray) -> list[DetectedPerson]:
        """Everybody in a picture (H, W, 3) uint8, largest box first; nobody is an empty list.

        Pictures with a side below 16 pixels have nobody. InputError for other arrays.
        """
        _check_picture(image)
        height, width = image.shape[:2]
        if min(height, width) < _SMALLEST_SIDE:
            return []
        scheme, pyramid = self._scheme, Pyramid(image)
        windows = windows_over(width, height, scheme.shares, scheme.beyond)
        proposals = propose(self._pool, pyramid, windows, scheme.threshold)
        candidates = [c for c in candidates_from(self._pool, pyramid, proposals) if c.support >= 2]
        studied = study(self._pool, pyramid, candidates, scheme.views)
        judged = [(c, evidence(c)) for c in studied]
        people = distinct_people([c for c, e in judged if any(rule.holds(e) for rule in scheme.rules)])
        scores = {id(c): _score(e) for c, e in judged}
        found = [combine((c.third, *c.views), width, height, scores[id(c)]) for c in people if c.third is not None]
        return _chosen(found, self.people)

    def close(self) -> None:
        """Free the models."""
        self._pool.close()

    def __enter__(self) -> PersonDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _score(e: Evidence) -> float:
    """0..1: presence, less the more the joints move under jitter."""
    return e.presence * float(np.exp(-0.5 * (e.spread / 0.03) ** 2))


def _chosen(found: list[DetectedPerson], people: People) -> list[DetectedPerson]:
    def area(person: DetectedPerson) -> float:
        return float(np.prod(person.box[2:] - person.box[:2]))

    found = sorted(found, key=area, reverse=True)
    return found[:1] if people == "largest" else found


def _check_picture(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            "picture", "has the wrong form", expected="(H, W, 3) uint8", got=f"{image.shape} {image.dtype}"
        )
