"""People of images, found by the shipped detector or given by the user's own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.detector import PersonDetector, people_in_boxes, person_from_keypoints, watch_keypoints
from humanpose_cli.detect.identity import distinct_rows
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.detect.person import DetectedPerson, PersonMask, without_body
from humanpose_cli.detect.pose_model import PoseModel, open_pose_model, use_pose_model
from humanpose_cli.detect.runtime import asking, images_at_once, runtime_device
from humanpose_cli.detect.search import SCHEMES, Mode
from humanpose_cli.detect.user_people import (
    READINGS,
    distances_of_readings,
    read_as,
    select_people,
    selection_notes,
    unfitted_reason,
)
from humanpose_cli.files.notes import note_once
from humanpose_cli.fitting.detection_journal import DetectionJournal, JournalContent
from humanpose_cli.fitting.options import DetectorMode
from humanpose_cli.io.detections import FrameKey, UserDetection, UserDetections, UserPeople, read_boxes, read_keypoints
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.inputs import Frame, InputItem

_AT_PERSON = 0.1  # of a person's size, within which keypoints are on this person
_MISSES = 3  # frames of a sequence with people, but none at the keypoints, after which a file is refused
_MIN_KEYPOINTS = 4  # of a person for whom a mask is made
_MAX_MASKS = 8  # of a track in a sequence
_FRAMES_BETWEEN = 8  # the first masks of a track
_JITTERED_CROPS = {"auto": 8, "thorough": 8, "fast": 2}  # of a person known from a file, whose mean is steadier


FramesWithPeople: TypeAlias = Generator[tuple[Frame, list[DetectedPerson] | None], None, None]
"""Frames with their people. None for frames that were not searched."""


class SequenceSearch(NamedTuple):
    """How the people of a sequence are searched for.

    Attributes:
        journal: A journal in which a slow source stores its results. None if masks are needed.
        masks: Whether masks are needed.
        frame_rate: Frames per second, if known.
    """

    journal: DetectionJournal | None = None
    masks: bool = False
    frame_rate: float | None = None


SEARCH = SequenceSearch()
"""A search of every frame, without a journal and masks."""


class PeopleSource(ABC):
    """Finds the people of frames. A context manager.

    A subclass that overrides `in_image` alone searches the frames of a sequence as images and holds no resources.
    """

    fills_gaps = True
    """Whether people may be present in frames of a sequence in which they are not detected."""

    @property
    def at_once(self) -> int:
        """The number of threads that may usefully call `in_image` at the same time."""
        return 1

    def notes(self, items: Iterable[InputItem]) -> list[str]:
        """Return notes for the user before the people of some inputs are searched.

        Raises:
            InputError: If no person can be found.
        """
        return []

    @abstractmethod
    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        """Find all people in an independent image, the largest box first."""

    def in_sequence(self, frames: Iterable[Frame], search: SequenceSearch = SEARCH) -> FramesWithPeople:
        """Yield each frame of a sequence with all people in it, the largest box first.

        Close the generator to stop early. Frames may be read ahead. Damaged frames have no people.

        Args:
            frames: The frames in order.
            search: What slow sources need to know.

        Yields:
            Frame and people. None in place of people if the frame need not be searched.
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
    boxes: UserPeople | None = None,
    keypoints: UserPeople | None = None,
    pose_model: Path | str | None = None,
    min_score: float = 0.0,
    min_box: float = 0.0,
    device: str = "auto",
) -> PeopleSource:
    """Choose the shipped detector, or people from a file of boxes or keypoints.

    Args:
        mode: "auto", "thorough" or "fast".
        threads: The number of threads. None uses all cores.
        boxes: A file with the people's boxes.
        keypoints: A file with the people's keypoints.
        pose_model: An ONNX network whose joints replace or complement the shipped networks'.
        min_score: People in the file with a lower score are left out.
        min_box: Pixels. People of the file with a smaller box, by its longer side, get no body.
        device: "auto", "cpu" or "cuda:N". The device of the networks.

    Raises:
        UsageError: If arguments cannot be combined.
        UnavailableError: If ONNX Runtime cannot use the GPU.
    """
    if pose_model is not None:
        if keypoints is not None:
            raise UsageError("pose_model", "cannot be combined with `keypoints`", remedy="leave one of them out")
        model = open_pose_model(pose_model, device)
        source = find_people(mode, threads, boxes=boxes, min_score=min_score, min_box=min_box, device=device)
        return PosedPeople(source, model, threads)
    if boxes is not None and keypoints is not None:
        raise UsageError("boxes", "cannot be combined with `keypoints`", remedy="keypoints hold more")
    if device != "auto":
        device = runtime_device(device)
    file = user_people(boxes=boxes, keypoints=keypoints)
    if file is not None:
        return PeopleFromFile(file, mode, threads, device, min_box, min_score)
    return DetectedPeople(mode, threads, device)


def user_people(*, boxes: UserPeople | None = None, keypoints: UserPeople | None = None) -> UserDetections | None:
    """Read the file of the user's detector, unless it is already read. None without a file."""
    if keypoints is not None:
        return keypoints if isinstance(keypoints, UserDetections) else read_keypoints(keypoints)
    return boxes if boxes is None or isinstance(boxes, UserDetections) else read_boxes(boxes)


def user_people_notes(file: UserDetections, items: Iterable[InputItem], min_score: float) -> list[str]:
    """Say how many frames of some inputs a file does not mention, and how many of its people are left out.

    Inputs that cannot be read are ignored, as are frames behind the file's last one in videos of unknown length.

    Raises:
        InputError: If the file mentions none of the frames.
    """
    frames = [key for item in items if item.error is None for key in _frame_keys(item, file)]
    notes = file.check_frames(frames)
    entries = (file.people_of(key) or () for key in frames)
    selections = (select_people(people, min_score) for people in entries)
    return notes + selection_notes(file.path.name, selections, min_score)


def _frame_keys(item: InputItem, file: UserDetections) -> list[FrameKey]:
    """List the keys by which the frames of an input are found in the user's file."""
    if item.kind != "video":
        numbered = list(enumerate(item.files))[item.range.slice if item.is_sequence else slice(None)]
        return [FrameKey(path.name, row if item.is_sequence else None, path.as_posix()) for row, path in numbered]
    first, step, count = item.range.start, item.range.step, item.frame_count
    last = first + count * step if count is not None else max(file.frame_numbers, default=0) + 1
    rate = item.frame_rate
    return [
        FrameKey(f"{index:06d}", index, time=index / rate if rate else None, clip=item.path.stem)
        for index in range(first, max(last, first + 1), step)
    ]


class TrackMasks:
    """Masks of some frames of each track, spread over its time. A context manager.

    If a track gets too many masks, every second one is dropped and the next ones are made half as often.

    Args:
        enabled: Whether masks are made.
        threads: The number of threads. None uses all cores.
        device: The device of the networks.
    """

    def __init__(self, enabled: bool, threads: int | None = None, device: str = "auto") -> None:
        self._enabled, self._threads, self._device = enabled, threads, device
        self._pool: ModelPool | None = None
        self._frames: Counter[int] = Counter()
        self._gaps: dict[int, int] = {}
        self._masks: dict[int, dict[int, PersonMask]] = {}

    def add(self, pixels: np.ndarray, people: Sequence[DetectedPerson], first_row: int) -> None:
        """Take the people of a frame with their tracks, whose rows begin with `first_row`."""
        if not self._enabled:
            return
        due = [
            row
            for row, person in enumerate(people)
            if self._frames[person.track] % self._gaps.setdefault(person.track, _FRAMES_BETWEEN) == 0
            and (person.keypoints[:, 2] > 0).sum() >= _MIN_KEYPOINTS
        ]
        self._frames.update(person.track for person in people)
        if not due:
            return
        if self._pool is None:
            self._pool = ModelPool(self._threads or default_threads(), partial(PoseModels, self._device))
        for row, person in zip(due, watch_keypoints(self._pool, pixels, [people[r] for r in due], 0), strict=True):
            if person.mask is not None:
                masks = self._masks.setdefault(people[row].track, {})
                masks[first_row + row] = person.mask
                if len(masks) > _MAX_MASKS:
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
    """Detect the people of a fit of one image again, row by row, with masks, which a fit file does not contain."""
    with ModelPool(threads or default_threads(), partial(PoseModels, device)) as pool:
        return detections_of_rows(fit, pixels, pool, alone=True)


def detections_of_rows(
    fit: FitRecord, pixels: np.ndarray, pool: ModelPool, *, alone: bool = False
) -> list[DetectedPerson]:
    """Detect the people of a fit's rows again, with masks.

    Args:
        fit: The rows.
        pixels: (H, W, 3) uint8. The frame of the rows.
        pool: The networks.
        alone: Whether this is the only frame, so that jittered crops should make the masks steadier.
    """
    people = []
    for box, keypoints, score in zip(fit.boxes, fit.keypoints2d, fit.confidence, strict=True):
        spread = np.zeros(len(keypoints), np.float32)
        people.append(DetectedPerson(box, keypoints, None, spread, None, None, float(score), BLAZEPOSE33))
    # A crop needs enough keypoints to know where the body is.
    rows = [row for row, person in enumerate(people) if (person.keypoints[:, 2] > 0).sum() >= _MIN_KEYPOINTS]
    jittered = _JITTERED_CROPS["auto"] if alone else 0
    with_masks = watch_keypoints(pool, pixels, [people[row] for row in rows], jittered)
    for row, person in zip(rows, with_masks, strict=True):
        people[row] = person
    return people


class DetectedPeople(PeopleSource):
    """The shipped detector. Its models load when the first image or sequence needs them.

    Args:
        mode: "thorough", "fast", or "auto", which is thorough for images and fast for sequences.
        threads: The number of threads. None uses all cores, four at most.
        device: "auto", "cpu" or "cuda:N". The device of the networks.
    """

    def __init__(self, mode: DetectorMode = "auto", threads: int | None = None, device: str = "auto") -> None:
        self._mode, self._threads, self._device = mode, threads, device
        self._detectors: dict[str, PersonDetector] = {}
        self._lock = threading.Lock()

    @property
    def at_once(self) -> int:
        return images_at_once(self._device)

    def _detector(self, default: Literal["thorough", "fast"]) -> PersonDetector:
        # Models load at the first use, and once for all threads.
        mode: Mode = default if self._mode == "auto" else self._mode
        with self._lock:
            if mode not in self._detectors:
                self._detectors[mode] = PersonDetector(mode, self._threads, self._device)
            return self._detectors[mode]

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        return self._detector("thorough").detect(frame.pixels)

    def in_sequence(self, frames: Iterable[Frame], search: SequenceSearch = SEARCH) -> FramesWithPeople:
        frames, journal = iter(frames), search.journal
        # First the frames that an earlier run stored in the journal.
        journal_people, state = journal.read() if journal is not None else JournalContent([], None)
        for people, frame in zip(journal_people, frames, strict=False):
            yield frame, people
        # The tracker reads some frames ahead of the one whose people it yields.
        ahead: deque[Frame] = deque()
        states: deque[dict[str, Any]] = deque()

        def images() -> Generator[np.ndarray | None, None, None]:
            for frame in frames:
                ahead.append(frame)
                yield None if frame.damage else frame.pixels

        # The journal gets people together with the state behind them, so that a rerun continues from there.
        waiting: list[list[DetectedPerson] | None] = []
        save_state = states.append if journal is not None else None
        track = partial(self._detector("fast").track, masks=search.masks, frame_rate=search.frame_rate)
        with closing(track(images(), state=state, save_state=save_state)) as tracking:
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
    """People from a file of the user's detector. The shipped detector adds world landmarks and masks.

    An image that the file does not mention shows no people.
    """

    fills_gaps = False

    def __init__(
        self,
        file: UserDetections,
        mode: DetectorMode,
        threads: int | None = None,
        device: str = "auto",
        min_box: float = 0.0,
        min_score: float = 0.0,
    ) -> None:
        self._file, self._mode, self._device = file, mode, device
        self._jittered = _JITTERED_CROPS[mode]
        self._min_box, self._min_score = min_box, min_score
        self._pool = ModelPool(threads or default_threads(), partial(PoseModels, device))
        self._reading = ""  # unknown until somebody is at the keypoints
        self._misses = 0

    @property
    def at_once(self) -> int:
        return images_at_once(self._device)

    def notes(self, items: Iterable[InputItem]) -> list[str]:
        return user_people_notes(self._file, items, self._min_score)

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        with asking(self._device):
            return self._detect(frame, None)

    def in_sequence(self, frames: Iterable[Frame], search: SequenceSearch = SEARCH) -> FramesWithPeople:
        for frame in frames:
            yield frame, [] if frame.damage else self._detect(frame, frame.index)

    def _detect(self, frame: Frame, index: int | None) -> list[DetectedPerson]:
        entries = self._file.people_of(FrameKey.from_frame(frame, index))
        selection = select_people(entries or (), self._min_score)
        with_keypoints = [entry for entry in selection.people if entry.keypoints is not None]
        if with_keypoints:
            detections = self._read_keypoints(frame, with_keypoints, is_sequence=index is not None)
        else:
            people = [entry.in_image(self._file.path, *frame.size) for entry in selection.people]
            detections = self._detect_in_boxes(frame, people, is_sequence=index is not None)
        fitted = [person for person in detections if not person.not_fitted]
        unfitted = [person for person in detections if person.not_fitted]
        return [*sorted(fitted, key=lambda person: -person.area), *unfitted]

    def _read_keypoints(
        self, frame: Frame, entries: Sequence[UserDetection], *, is_sequence: bool
    ) -> list[DetectedPerson]:
        """Make people of the user's keypoints, in the convention with which somebody is at them.

        Raises:
            InputError: If the search finds people, and no convention of coordinates puts the keypoints onto them.
        """
        if self._reading not in ("", READINGS[0]):
            read = (read_as(entry, self._reading, *frame.size) for entry in entries)
            return self._detect_around_keypoints(frame, [entry for entry in read if entry is not None])
        plain = [entry.in_image(self._file.path, *frame.size) for entry in entries]
        people = self._detect_around_keypoints(frame, plain)
        is_seen = any(person.mask is not None for person in people)  # the landmark model sees the same person
        if self._reading or is_seen:
            self._reading = READINGS[0]
            return people
        with DetectedPeople(self._mode, device=self._device) as source:
            found = source.in_image(frame)
        distances = distances_of_readings(entries, found, *frame.size) if found else {}
        near = [reading for reading, distance in distances.items() if distance < _AT_PERSON]
        if not near and distances:
            self._misses += 1
            if self._misses == (_MISSES if is_sequence else 1):
                distance = f"{distances[READINGS[0]]:.1f} times a person's size away"
                problem, expected = f"has keypoints that are not on the people of {frame.name}", "x and y in pixels"
                remedy = "other conventions were tried: " + ", ".join(READINGS[1:])
                raise InputError(self._file.path, problem, expected=expected, got=distance, remedy=remedy)
        if len(near) != 1:
            return people
        self._reading = near[0]
        if near[0] == READINGS[0]:
            return people
        note_once(self._file.path, f"the keypoints are on people if they are read as: {near[0]}")
        return self._read_keypoints(frame, entries, is_sequence=is_sequence)

    def _detect_around_keypoints(self, frame: Frame, entries: Sequence[UserDetection]) -> list[DetectedPerson]:
        """Make people of the user's keypoints, to which the shipped detector adds depth and masks."""
        width, height = frame.size
        skeleton = self._file.skeleton
        rows = BLAZEPOSE33.indices(skeleton.joint_names)
        people, unfitted = [], []
        for entry in entries:
            assert entry.keypoints is not None
            person = person_from_keypoints(entry.keypoints[rows], skeleton, width, height)
            if reason := unfitted_reason(person.box, width, height, self._min_box):
                unfitted.append(without_body(person.box, entry.score, reason, entry.track))
            else:
                people.append(replace(person, number=entry.track))
        return [*watch_keypoints(self._pool, frame.pixels, people, self._jittered), *unfitted]

    def _detect_in_boxes(
        self, frame: Frame, entries: Sequence[UserDetection], *, is_sequence: bool
    ) -> list[DetectedPerson]:
        """Find the joints in the user's boxes, as the shipped detector does in its own."""
        width, height = frame.size
        boxed, unfitted = [], []
        for entry in entries:
            assert entry.box is not None
            if reason := unfitted_reason(entry.box, width, height, self._min_box):
                unfitted.append(without_body(entry.box, entry.score, reason, entry.track))
            else:
                boxed.append(entry)
        fast = self._mode == "fast" or (self._mode == "auto" and is_sequence)
        scheme = SCHEMES["fast" if fast else "thorough"]
        corners = np.reshape([entry.box for entry in boxed], (-1, 4))
        people = people_in_boxes(self._pool, frame.pixels, corners, self._jittered, scheme)
        # The errors of both detectors are independent.
        people = [
            replace(person, score=min(entry.score, 1.0) * person.score, number=entry.track)
            for person, entry in zip(people, boxed, strict=True)
        ]
        distinct = distinct_rows(people)
        people = [p if row in distinct else replace(p, not_fitted="detected twice") for row, p in enumerate(people)]
        return [*people, *unfitted]

    def close(self) -> None:
        self._pool.close()


class PosedPeople(PeopleSource):
    """The people of another source, with the joints of the user's pose network."""

    def __init__(self, source: PeopleSource, model: PoseModel, threads: int | None = None) -> None:
        self._source, self._model = source, model
        self.fills_gaps = source.fills_gaps
        self._pool = ModelPool(threads or default_threads())

    @property
    def at_once(self) -> int:
        return self._source.at_once

    def notes(self, items: Iterable[InputItem]) -> list[str]:
        return self._source.notes(items)

    def in_image(self, frame: Frame) -> list[DetectedPerson]:
        return self._posed(frame, self._source.in_image(frame))

    def in_sequence(self, frames: Iterable[Frame], search: SequenceSearch = SEARCH) -> FramesWithPeople:
        with closing(self._source.in_sequence(frames, search)) as source:
            for frame, people in source:
                yield frame, None if people is None else self._posed(frame, people)

    def _posed(self, frame: Frame, detections: Sequence[DetectedPerson]) -> list[DetectedPerson]:
        # Detections that are not fitted get no joints, which would make bodies of them.
        people = [person for person in detections if not person.not_fitted]
        with_joints = use_pose_model(self._pool, self._model, frame.pixels, people, frame.focal)
        return [*with_joints, *(person for person in detections if person.not_fitted)]

    def close(self) -> None:
        self._pool.close()
        self._source.close()
