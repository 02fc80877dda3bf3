"""Who is in an image: found by our detector, or given by the user's own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.detector import PersonDetector, people_in_boxes, person_from_keypoints, watch_keypoints
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.pose_model import PoseModel, use_pose_model
from humanpose_cli.detect.runtime import asking, images_at_once, runtime_device
from humanpose_cli.detect.search import SCHEMES, Mode
from humanpose_cli.fitting.detection_journal import DetectionJournal, Kept
from humanpose_cli.fitting.options import DetectorMode
from humanpose_cli.io.detection_files import UserDetections, read_boxes, read_keypoints
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.inputs import Frame

# Views of a given person beside the first: what the averages of the detection rest on.
_FEWEST = 4  # keypoints by which a person is found again
_VIEWS = {"auto": 8, "thorough": 8, "fast": 2, "largest": 8}


FramesWithPeople: TypeAlias = Generator[tuple[Frame, list[DetectedPerson]], None, None]


class PeopleSource(Protocol):
    """Finds the people of frames; a context manager."""

    @property
    def at_once(self) -> int:
        """Threads that may ask `in_image` at once with some gain."""

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """Everybody in an independent image, the largest box first."""

    def in_sequence(
        self, frames: Iterable[Frame], journal: DetectionJournal | None = None, *, masks: bool = False
    ) -> FramesWithPeople:
        """Each frame of a sequence with everybody in it, the largest box first; nobody is looked for in damaged ones.

        Close it to stop early. Frames may be taken before their forerunners are given back.

        journal  where a source that takes its time keeps what it finds; not where masks are wanted
        masks    whether they are wanted
        """

    def __enter__(self) -> PeopleSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def _one_by_one(frames: Iterable[Frame], look: Callable[[Frame], list[DetectedPerson]]) -> FramesWithPeople:
    for frame in frames:
        yield frame, [] if frame.damage else look(frame)


class SingleImages(PeopleSource):
    """A source to which every frame is an image of its own, and that holds nothing open."""

    @property
    def at_once(self) -> int:
        return 1

    def in_sequence(
        self, frames: Iterable[Frame], journal: DetectionJournal | None = None, *, masks: bool = False
    ) -> FramesWithPeople:
        """As images."""
        return _one_by_one(frames, self.in_image)

    def __enter__(self) -> SingleImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def find_people(
    mode: DetectorMode = "auto",
    threads: int | None = None,
    *,
    boxes: Path | str | None = None,
    keypoints: Path | str | None = None,
    pose_model: Path | str | None = None,
    device: str = "auto",
) -> PeopleSource:
    """Our own detector, or people from a file of boxes or keypoints; UsageError if both are given.

    pose_model  an ONNX network whose joints replace ours; UsageError if keypoints are given
    device      of the networks: auto, cpu or cuda:N; UnavailableError where it is a GPU that ONNX Runtime cannot use
    """
    if pose_model is not None:
        if keypoints is not None:
            raise UsageError("pose_model", "cannot be given together with `keypoints`", remedy="leave one of them out")
        model = PoseModel(pose_model, device)
        return PosedPeople(find_people(mode, threads, boxes=boxes, device=device), model, threads)
    if boxes is not None and keypoints is not None:
        raise UsageError("boxes", "cannot be given together with `keypoints`", remedy="keypoints tell more")
    if device != "auto":
        device = runtime_device(device)
    if keypoints is not None:
        return PeopleFromFile(read_keypoints(Path(keypoints)), mode, threads, device)
    if boxes is not None:
        return PeopleFromFile(read_boxes(Path(boxes)), mode, threads, device)
    return DetectedPeople(mode, threads, device)


def people_of_fit(
    fit: FitRecord, pixels: np.ndarray, threads: int | None = None, device: str = "auto"
) -> list[DetectedPerson]:
    """The people of a fit of one image with the masks that a fit file does not keep; row by row."""
    people = []
    for box, keypoints, score in zip(fit.boxes, fit.keypoints2d, fit.confidence, strict=True):
        spread = np.zeros(len(keypoints), np.float32)
        people.append(DetectedPerson(box, keypoints, None, spread, None, None, float(score), BLAZEPOSE33))
    pool = ModelPool(threads or default_threads(), partial(PoseModels, device))
    try:
        known = [row for row, person in enumerate(people) if (person.keypoints[:, 2] > 0).sum() >= _FEWEST]
        for row, person in zip(
            known, watch_keypoints(pool, pixels, [people[r] for r in known], _VIEWS["auto"]), strict=True
        ):
            people[row] = person
    finally:
        pool.close()
    return people


class DetectedPeople:
    """Our own detector; its models load when the first image or sequence needs them.

    mode     'thorough', 'fast', or 'auto': thorough for images, fast for sequences; 'largest': the same, but as
             `PersonDetector` has it for images
    threads  None: as many as there are cores (four at most)
    device   of the networks: auto, cpu or cuda:N
    """

    def __init__(self, mode: DetectorMode = "auto", threads: int | None = None, device: str = "auto") -> None:
        self._mode, self._threads, self._device = mode, threads, device
        self._detectors: dict[str, PersonDetector] = {}
        self._lock = threading.Lock()

    @property
    def at_once(self) -> int:
        return images_at_once(self._device)

    def _detector(self, usual: Literal["thorough", "fast"]) -> PersonDetector:
        mode: Mode = self._mode if self._mode in ("thorough", "fast") else usual
        if self._mode == "largest" and usual == "thorough":
            mode = "largest"
        with self._lock:
            if mode not in self._detectors:
                self._detectors[mode] = PersonDetector(mode, self._threads, self._device)
            return self._detectors[mode]

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        return self._detector("thorough").detect(frame.pixels)

    def in_sequence(
        self, frames: Iterable[Frame], journal: DetectionJournal | None = None, *, masks: bool = False
    ) -> FramesWithPeople:
        frames = iter(frames)
        known, state = journal.read() if journal is not None else Kept([], None)
        for people, frame in zip(known, frames, strict=False):
            yield frame, people
        taken: deque[Frame] = deque()
        states: deque[dict[str, Any]] = deque()

        def images() -> Generator[np.ndarray | None, None, None]:
            for frame in frames:
                taken.append(frame)
                yield None if frame.damage else frame.pixels

        waiting: list[list[DetectedPerson]] = []
        save_state = states.append if journal is not None else None
        track = self._detector("fast").track
        with closing(track(images(), state=state, save_state=save_state, masks=masks)) as found:
            for count, people in enumerate(found, len(known) + 1):
                waiting.append(people)
                if journal is not None and states and states[0]["frames"] == count:
                    journal.add(waiting, states.popleft())
                    waiting = []
                yield taken.popleft(), people

    def __enter__(self) -> DetectedPeople:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for detector in self._detectors.values():
            detector.close()
        self._detectors.clear()


class PeopleFromFile:
    """People whom the user's own detector found; ours only adds what the file lacks: world landmarks and masks.

    An image that the file does not mention is an InputError: an empty list says that nobody is in it.
    """

    def __init__(
        self, given: UserDetections, mode: DetectorMode, threads: int | None = None, device: str = "auto"
    ) -> None:
        self._given, self._mode, self._views, self._device = given, mode, _VIEWS[mode], device
        self._pool = ModelPool(threads or default_threads(), partial(PoseModels, device))

    @property
    def at_once(self) -> int:
        return images_at_once(self._device)

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        with asking(self._device):
            return self._look(frame, None)

    def in_sequence(
        self, frames: Iterable[Frame], journal: DetectionJournal | None = None, *, masks: bool = False
    ) -> FramesWithPeople:
        return _one_by_one(frames, lambda frame: self._look(frame, frame.index))

    def _look(self, frame: Frame, index: int | None) -> list[DetectedPerson]:
        # By its path first: folders side by side often hold images of the same names.
        given = None if frame.path is None else self._given.people_in(frame.path.as_posix(), index)
        given = self._given.people_in(frame.name, index) if given is None else given
        if given is None:
            raise InputError(
                self._given.path,
                f"does not mention {frame.name}",
                expected="its name, or an empty list if nobody is in it",
            )
        width, height = frame.size
        with_keypoints = [person.keypoints for person in given if person.keypoints is not None]
        if with_keypoints:
            known = [person_from_keypoints(rows, COCO17, width, height) for rows in with_keypoints]
            people = watch_keypoints(self._pool, frame.pixels, known, self._views)
        else:
            boxes = [person.box for person in given if person.box is not None]
            fast = self._mode == "fast" or (self._mode == "auto" and index is not None)
            more = SCHEMES["fast" if fast else "thorough"]
            people = people_in_boxes(
                self._pool, frame.pixels, np.reshape(boxes, (-1, 4)), self._views, more.heavy, more.upright
            )
            people = [replace(p, score=given[i].score * p.score) for i, p in enumerate(people)]
        return sorted(people, key=lambda person: -person.area)

    def __enter__(self) -> PeopleFromFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()


class PosedPeople:
    """The people of another source, with the joints of the user's own pose network."""

    def __init__(self, source: PeopleSource, model: PoseModel, threads: int | None = None) -> None:
        self._source, self._model = source, model
        self._pool = ModelPool(threads or default_threads())

    @property
    def at_once(self) -> int:
        return self._source.at_once

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        return use_pose_model(self._pool, self._model, frame.pixels, self._source.in_image(frame))

    def in_sequence(
        self, frames: Iterable[Frame], journal: DetectionJournal | None = None, *, masks: bool = False
    ) -> FramesWithPeople:
        with closing(self._source.in_sequence(frames, journal, masks=masks)) as found:
            for frame, people in found:
                yield frame, use_pose_model(self._pool, self._model, frame.pixels, people)

    def __enter__(self) -> PosedPeople:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        self._source.__exit__(kind, value, trace)
