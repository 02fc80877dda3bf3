"""The two BlazePose models behind one interface, and the pool that runs several of them in threads."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np

from humanpose_cli.detection.anchors import Detections

__all__ = ["LANDMARK_SIZE", "CropLandmarks", "ModelPool", "PoseModels", "default_threads", "start_models"]

LANDMARK_SIZE = 256
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class CropLandmarks:
    """What the landmark model says about one square crop.

    points (35, 2) pixels of the 256-pixel crop: the rows of `blazepose33`, then hip centre and the point on the
    circle around the body that together define the next region; visibility (33,) and inside (33,) 0..1: not hidden,
    and within the crop; presence 0..1: somebody is there; world (33, 3) metres, hip centre origin, axes of the
    crop (x right, y down, z away from the camera); mask (256, 256) float32 0..1.
    """

    points: np.ndarray
    visibility: np.ndarray
    inside: np.ndarray
    presence: float
    world: np.ndarray
    mask: np.ndarray


class PoseModels(Protocol):
    """One running instance of both models; not to be used by two threads at once."""

    name: str

    def find(self, window: np.ndarray, threshold: float) -> Detections:
        """People in a (224, 224, 3) uint8 window."""

    def landmarks(self, crop: np.ndarray) -> CropLandmarks:
        """The person around whom the (256, 256, 3) uint8 crop was cut, upright."""

    def close(self) -> None:
        """Give the models' memory back."""


def start_models() -> PoseModels:
    """The models inside mediapipe's wheel; UnavailableError if they cannot be started."""
    from humanpose_cli.detection.graphs import GraphModels

    return GraphModels()


def default_threads() -> int:
    """As many model instances as this process has cores, four at most (more bring little for one picture)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(4, len(os.sched_getaffinity(0))))
    return max(1, min(4, os.cpu_count() or 1))


class ModelPool:
    """`threads` instances of the models, started when first needed; results never depend on their number."""

    def __init__(self, threads: int, start: Callable[[], PoseModels] = start_models) -> None:
        self.threads = threads
        self._start = start
        self._idle: queue.LifoQueue[PoseModels | None] = queue.LifoQueue()
        for _ in range(threads):
            self._idle.put(None)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="detection") if threads > 1 else None

    def map(self, work: Callable[[PoseModels, Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """`work(models, item)` for each item, spread over the threads, in the order of the items."""
        items = list(items)
        if self._executor is None or len(items) < 2:
            return [self._run(work, item) for item in items]
        return list(self._executor.map(lambda item: self._run(work, item), items))

    def _run(self, work: Callable[[PoseModels, Item], Answer], item: Item) -> Answer:
        models = self._idle.get()
        try:
            models = models or self._start()
            return work(models, item)
        finally:
            self._idle.put(models)

    def close(self) -> None:
        """Stop the threads and free the models; a closed pool cannot be used again."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        for _ in range(self.threads):
            models = self._idle.get()
            if models is not None:
                models.close()

    def __enter__(self) -> ModelPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
