"""Who is in an image: found by our detector, or given by the user's own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.detector import PersonDetector, people_in_boxes, person_from_keypoints, watch_keypoints
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.detect.options import DetectOptions
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.detect.pose_model import PoseModel, use_pose_model
from humanpose_cli.detect.runtime import asking, images_at_once, runtime_device
from humanpose_cli.detect.search import SCHEMES, Mode
from humanpose_cli.fitting.detection_journal import DetectionJournal, Kept
from humanpose_cli.fitting.options import DetectorMode
from humanpose_cli.io.detection_files import UserDetections, read_boxes, read_keypoints
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.inputs import Frame

_MIN_KEYPOINTS = 4  # of a fit's person, for whom a mask is made again
# Jittered views of a person known from a file, beside the first; their means are steadier.
_GAP = 8  # frames of a track between its first masks
_VIEWS = {"auto": 8, "thorough": 8, "fast": 2}


FramesWithPeople: TypeAlias = Generator[tuple[Frame, list[DetectedPerson]], None, None]


class PeopleSource(ABC):
    """Finds the people of frames; a context manager. A source that overrides `in_image` alone takes the frames of a
    sequence as images, and holds nothing open.
    """

    @property
    def at_once(self) -> int:
        """Threads that may call `in_image` at once with some gain."""
        return 1

    @abstractmethod
    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """Find all people in an independent image, the largest box first."""

    def in_sequence(
        self, frames: Iterable[Frame], journal: DetectionJournal | None = None, *, masks: bool = False
    ) -> FramesWithPeople:
        """Yield each frame of a sequence with all people in it, the largest box first; damaged frames have none.

        Close it to stop early. Frames may be read before the ones before them are yielded.

        journal  in which a slow source keeps what it finds; None if masks are needed
        masks    whether they are needed
        """
        for frame in frames:
            yield frame, [] if frame.damage else self.in_image(frame)

    def close(self) -> None:  # noqa: B027 — many sources hold nothing
        """Free models and threads."""

    def __enter__(self) -> PeopleSource:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


def find_people(
    mode: DetectorMode = "auto",
    threads: int | None = None,
    *,
    boxes: Path | str | None = None,
    keypoints: Path | str | None = None,
    pose_model: Path | str | None = None,
    device: str = "auto",
    options: DetectOptions = DetectOptions(),
) -> PeopleSource:
    """Choose the package's detector, or people from a file of boxes or keypoints; both together raise UsageError.

    pose_model  an ONNX network whose joints replace ours; with keypoints it raises UsageError
    device      of the networks: auto, cpu or cuda:N; a GPU that ONNX Runtime cannot use raises UnavailableError
    """
    if pose_model is not None:
        if keypoints is not None:
            raise UsageError("pose_model", "cannot be given together with `keypoints`", remedy="leave one of them out")
        model = PoseModel(pose_model, device)
        source = find_people(mode, threads, boxes=boxes, device=device, options=options)
        return PosedPeople(source, model, threads, options)
    if boxes is not None and keypoints is not None:
        raise UsageError("boxes", "cannot be given together with `keypoints`", remedy="keypoints hold more")
    if device != "auto":
        device = runtime_device(device)
    if keypoints is not None:
        return PeopleFromFile(read_keypoints(Path(keypoints)), mode, threads, device, options)
    if boxes is not None:
        return PeopleFromFile(read_boxes(Path(boxes)), mode, threads, device, options)
    return DetectedPeople(mode, threads, device, options)


class TrackMasks:
    """Masks of some frames of each track, spread over its time; a context manager.

    count  masks of a track at most; of a track that goes on, every other one is dropped and the next come half as often
    """

    def __init__(self, count: int, threads: int | None = None, device: str = "auto") -> None:
        self._count, self._threads, self._device = count, threads, device
        self._pool: ModelPool | None = None
        self._frames: Counter[int] = Counter()
        self._gaps: dict[int, int] = {}
        self._masks: dict[int, dict[int, PersonMask]] = {}

    def add(self, pixels: np.ndarray, people: Sequence[DetectedPerson], first_row: int) -> None:
        """Take the people of a frame, with their tracks; their rows begin with `first_row`."""
        due = [row for row, p in enumerate(people) if self._frames[p.track] % self._gaps.setdefault(p.track, _GAP) == 0]
        self._frames.update(person.track for person in people)
        due = [row for row in due if (people[row].keypoints[:, 2] > 0).sum() >= _MIN_KEYPOINTS]
        if not due or not self._count:
            return
        if self._pool is None:
            self._pool = ModelPool(self._threads or default_threads(), partial(PoseModels, self._device))
        for row, person in zip(due, watch_keypoints(self._pool, pixels, [people[r] for r in due], 0), strict=True):
            if person.mask is not None:
                masks = self._masks.setdefault(people[row].track, {})
                masks[first_row + row] = person.mask
                if len(masks) > self._count:
                    self._masks[people[row].track] = dict(list(masks.items())[::2])
                    self._gaps[people[row].track] *= 2

    @property
    def masks(self) -> dict[int, PersonMask]:
        """The masks of all tracks, by their rows."""
        return {row: mask for masks in self._masks.values() for row, mask in masks.items()}

    def __enter__(self) -> TrackMasks:
        return self

    def __exit__(self, *problem: object) -> None:
        if self._pool is not None:
            self._pool.close()


def detections_of_fit(
    fit: FitRecord, pixels: np.ndarray, threads: int | None = None, device: str = "auto"
) -> list[DetectedPerson]:
    """Find the people of a fit of one image again, row by row, with masks, which a fit file does not keep."""
    people = []
    for box, keypoints, score in zip(fit.boxes, fit.keypoints2d, fit.confidence, strict=True):
        spread = np.zeros(len(keypoints), np.float32)
        people.append(DetectedPerson(box, keypoints, None, spread, None, None, float(score), BLAZEPOSE33))
    # Too few keypoints say too little of where the body is for a crop around them.
    rows = [row for row, person in enumerate(people) if (person.keypoints[:, 2] > 0).sum() >= _MIN_KEYPOINTS]
    with ModelPool(threads or default_threads(), partial(PoseModels, device)) as pool:
        with_masks = watch_keypoints(pool, pixels, [people[row] for row in rows], _VIEWS["auto"])
    for row, person in zip(rows, with_masks, strict=True):
        people[row] = person
    return people


class DetectedPeople(PeopleSource):
    """The package's detector; its models load when the first image or sequence needs them.

    mode     'thorough', 'fast', or 'auto': thorough for images, fast for sequences
    threads  None: as many as there are cores (four at most)
    device   of the networks: auto, cpu or cuda:N
    """

    def __init__(
        self,
        mode: DetectorMode = "auto",
        threads: int | None = None,
        device: str = "auto",
        options: DetectOptions = DetectOptions(),
    ) -> None:
        self._mode, self._threads, self._device, self._options = mode, threads, device, options
        self._detectors: dict[str, PersonDetector] = {}
        self._lock = threading.Lock()

    @property
    def at_once(self) -> int:
        return images_at_once(self._device)

    def _detector(self, default: Literal["thorough", "fast"]) -> PersonDetector:
        # Models load when they are needed first, and once, however many threads ask.
        mode: Mode = default if self._mode == "auto" else self._mode
        with self._lock:
            if mode not in self._detectors:
                self._detectors[mode] = PersonDetector(mode, self._threads, self._device, self._options)
            return self._detectors[mode]

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        return self._detector("thorough").detect(frame.pixels)

    def in_sequence(
        self, frames: Iterable[Frame], journal: DetectionJournal | None = None, *, masks: bool = False
    ) -> FramesWithPeople:
        frames = iter(frames)
        # First the frames that an earlier run kept in the journal.
        journal_people, state = journal.read() if journal is not None else Kept([], None)
        for people, frame in zip(journal_people, frames, strict=False):
            yield frame, people
        # The tracker reads some frames ahead of the one whose people it yields.
        ahead: deque[Frame] = deque()
        states: deque[dict[str, Any]] = deque()

        def images() -> Generator[np.ndarray | None, None, None]:
            for frame in frames:
                ahead.append(frame)
                yield None if frame.damage else frame.pixels

        # The journal gets people together with the state behind them, so that a rerun continues exactly there.
        waiting: list[list[DetectedPerson]] = []
        save_state = states.append if journal is not None else None
        track = self._detector("fast").track
        with closing(track(images(), state=state, save_state=save_state, masks=masks)) as tracking:
            for count, people in enumerate(tracking, len(journal_people) + 1):
                waiting.append(people)
                if journal is not None and states and states[0]["frames"] == count:
                    journal.add(waiting, states.popleft())
                    waiting = []
                yield ahead.popleft(), people

    def close(self) -> None:
        for detector in self._detectors.values():
            detector.close()
        self._detectors.clear()


class PeopleFromFile(PeopleSource):
    """People from a file of the user's detector; ours only adds what the file lacks: world landmarks and masks.

    An image that the file does not mention raises InputError; an image without people has an empty list.
    """

    def __init__(
        self,
        file: UserDetections,
        mode: DetectorMode,
        threads: int | None = None,
        device: str = "auto",
        options: DetectOptions = DetectOptions(),
    ) -> None:
        self._file, self._mode, self._views, self._device = file, mode, _VIEWS[mode], device
        self._options = options
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
        for frame in frames:
            yield frame, [] if frame.damage else self._look(frame, frame.index)

    def _look(self, frame: Frame, index: int | None) -> list[DetectedPerson]:
        # By its path first: folders side by side often hold images of the same names.
        entries = None if frame.path is None else self._file.people_in(frame.path.as_posix(), index)
        entries = self._file.people_in(frame.name, index) if entries is None else entries
        if entries is None:
            expected = "its name, or an empty list if it shows no person"
            raise InputError(self._file.path, f"does not mention {frame.name}", expected=expected)
        width, height = frame.size
        # Keypoints of the user's detector replace ours, which only adds depth and masks around them.
        with_keypoints = [person.keypoints for person in entries if person.keypoints is not None]
        if with_keypoints:
            people = [person_from_keypoints(rows, COCO17, width, height) for rows in with_keypoints]
            people = watch_keypoints(self._pool, frame.pixels, people, self._views, self._options)
        else:
            # In boxes our network looks for the joints, as hard as in images that it searches itself.
            boxes = [person.box for person in entries if person.box is not None]
            fast = self._mode == "fast" or (self._mode == "auto" and index is not None)
            scheme = replace(SCHEMES["fast" if fast else "thorough"], options=self._options)
            corners = np.reshape(boxes, (-1, 4))
            people = people_in_boxes(self._pool, frame.pixels, corners, self._views, scheme)
            # Both detectors may be wrong, independently.
            people = [replace(p, score=entries[i].score * p.score) for i, p in enumerate(people)]
        return sorted(people, key=lambda person: -person.area)

    def close(self) -> None:
        self._pool.close()


class PosedPeople(PeopleSource):
    """The people of another source, with the joints of the user's pose network."""

    def __init__(
        self,
        source: PeopleSource,
        model: PoseModel,
        threads: int | None = None,
        options: DetectOptions = DetectOptions(),
    ) -> None:
        self._source, self._model, self._options = source, model, options
        self._pool = ModelPool(threads or default_threads())

    @property
    def at_once(self) -> int:
        return self._source.at_once

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        detections = self._source.in_image(frame)
        # Detections that are not fitted keep what they are: joints of the user's network would make bodies of them.
        people = [person for person in detections if not person.not_fitted]
        with_joints = use_pose_model(self._pool, self._model, frame.pixels, people, self._options)
        return [*with_joints, *(person for person in detections if person.not_fitted)]

    def in_sequence(
        self, frames: Iterable[Frame], journal: DetectionJournal | None = None, *, masks: bool = False
    ) -> FramesWithPeople:
        with closing(self._source.in_sequence(frames, journal, masks=masks)) as source:
            for frame, people in source:
                yield frame, use_pose_model(self._pool, self._model, frame.pixels, people, self._options)

    def close(self) -> None:
        self._pool.close()
        self._source.close()
