"""Who is in a picture: found by our detector, or given by the user's own."""

from __future__ import annotations

from types import TracebackType
from typing import Literal, Protocol

from humanpose_cli.detection.detector import PersonDetector
from humanpose_cli.detection.person import DetectedPerson
from humanpose_cli.io.input_items import Frame

__all__ = ["DetectedPeople", "People", "PeopleSource"]

People = Literal["all", "largest"]
Mode = Literal["thorough", "fast"]


class PeopleSource(Protocol):
    """Finds the people of frames; a context manager."""

    def in_picture(self, frame: Frame) -> list[DetectedPerson]:
        """Everybody in an independent picture, the largest box first."""

    def start_sequence(self) -> None:
        """The next frame begins a new sequence."""

    def in_next_frame(self, frame: Frame) -> list[DetectedPerson]:
        """Everybody in the next frame of a sequence."""

    def __enter__(self) -> PeopleSource: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DetectedPeople:
    """Our own detector; its models load when the first picture or sequence needs them.

    mode     'thorough', 'fast', or 'auto': thorough for pictures, fast for sequences
    threads  None: as many as there are cores (four at most)
    """

    def __init__(
        self, mode: Literal["auto", "thorough", "fast"] = "auto", people: People = "all", threads: int | None = None
    ) -> None:
        self._mode, self._people, self._threads = mode, people, threads
        self._detectors: dict[Mode, PersonDetector] = {}

    def _detector(self, usual: Mode) -> PersonDetector:
        mode: Mode = usual if self._mode == "auto" else self._mode
        if mode not in self._detectors:
            self._detectors[mode] = PersonDetector(mode, self._people, self._threads)
        return self._detectors[mode]

    def in_picture(self, frame: Frame) -> list[DetectedPerson]:
        return self._detector("thorough").detect(frame.pixels)

    def start_sequence(self) -> None:
        self._detector("fast").reset()

    def in_next_frame(self, frame: Frame) -> list[DetectedPerson]:
        return self._detector("fast").track(frame.pixels)

    def __enter__(self) -> DetectedPeople:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for detector in self._detectors.values():
            detector.close()
        self._detectors.clear()


def people_source(mode: Literal["auto", "thorough", "fast"], people: People, threads: int | None) -> PeopleSource:
    """Who finds the people."""
    return DetectedPeople(mode, people, threads)
