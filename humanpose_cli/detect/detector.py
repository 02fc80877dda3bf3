"""Finds everybody in an image: the public face of detection."""

from __future__ import annotations

from types import TracebackType
from typing import Literal

import numpy as np

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.given import people_in_boxes
from humanpose_cli.detect.models import ModelPool, default_threads
from humanpose_cli.detect.observing import combine
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid
from humanpose_cli.detect.searching import SCHEMES, Mode, search
from humanpose_cli.detect.tracking import Follower

__all__ = ["PersonDetector"]

People = Literal["all", "largest"]
_SMALLEST_SIDE = 16


class PersonDetector:
    """Finds people in images; a context manager that frees its models at the end.

    mode     'thorough' for stills, 'fast' for video
    people   'all', or only the 'largest' by the area of its box
    threads  model instances that run at once (None: as many as there are cores, four at most); the result does not
             depend on it
    """

    def __init__(self, mode: Mode = "thorough", people: People = "all", threads: int | None = None) -> None:
        if mode not in SCHEMES:
            raise UsageError("detector", "unknown mode", expected="thorough or fast", got=repr(mode))
        if people not in ("all", "largest"):
            raise UsageError("people", "unknown choice", expected="all or largest", got=repr(people))
        self.mode, self.people = mode, people
        self._scheme = SCHEMES[mode]
        self._pool = ModelPool(threads or default_threads())
        self._follower: Follower | None = None

    def detect(self, image: np.ndarray, boxes: np.ndarray | None = None) -> list[DetectedPerson]:
        """Everybody in an image (H, W, 3) uint8 that has nothing to do with the one before, largest box first.

        Nobody is an empty list; images with a side below 16 pixels have nobody. With `boxes` (N, 4) x0 y0 x1 y1,
        exactly the people in them, in their order. InputError for other arrays.
        """
        _check_image(image)
        height, width = image.shape[:2]
        if boxes is not None:
            return people_in_boxes(self._pool, image, boxes, self._scheme.views)
        if min(height, width) < _SMALLEST_SIDE:
            return []
        found = search(self._pool, Pyramid(image), self._scheme)
        return self._chosen([combine(f.passes, width, height, f.score) for f in found])

    def track(self, image: np.ndarray) -> list[DetectedPerson]:
        """Everybody in the next frame (H, W, 3) uint8 of a sequence, largest box first.

        Cheaper than `detect`: people are looked for where they were in the frame before. Who is who over the frames
        is for `tracks.TrackAssigner` to say. `reset` begins a new sequence.
        """
        _check_image(image)
        height, width = image.shape[:2]
        if min(height, width) < _SMALLEST_SIDE:
            return []
        if self._follower is None:
            self._follower = Follower(self._pool, self._scheme)
        seen = self._follower.see(Pyramid(image))
        return self._chosen([combine(s.passes, width, height, s.score) for s in seen])

    def reset(self) -> None:
        """Forget the frames seen: the next `track` begins a sequence."""
        self._follower = None

    def _chosen(self, found: list[DetectedPerson]) -> list[DetectedPerson]:
        found = sorted(found, key=lambda person: -person.area)
        return found[:1] if self.people == "largest" else found

    def close(self) -> None:
        """Free the models."""
        self._pool.close()

    def __enter__(self) -> PersonDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError("image", "has the wrong form", expected="(H, W, 3) uint8", got=f"{image.shape} {image.dtype}")
