"""A journal of the people of a sequence, so that an interrupted run continues.

Detection takes most of the time of a video. The journal is a hidden file next to the output. At intervals it gets a
record with the people of the last frames and the state of the detector. A rerun reads the complete records and
continues behind them with identical results. The journal is removed when all outputs of the sequence are recorded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.files.npz_files import read_npz
from humanpose_cli.files.sniffing import read_bytes
from humanpose_cli.io.inputs import InputItem
from humanpose_cli.outputs.atomic import npz_bytes, writing_error
from humanpose_cli.outputs.output_names import people_journal
from humanpose_cli.outputs.protection import open_existing
from humanpose_cli.version import __version__

_NOT_SEARCHED = -1  # in place of the number of people
_ARRAYS = ("box", "keypoints", "world", "spread", "world_spread")


class JournalContent(NamedTuple):
    """The content of a journal.

    Attributes:
        people: The people of the first frames, without masks. None for frames that were not searched.
        state: The state of the detector behind these frames.
    """

    people: list[list[DetectedPerson] | None]
    state: dict[str, Any] | None


class DetectionJournal:
    """The journal of one sequence.

    Args:
        output: The file that is made from the sequence.
        key: JSON. What the people depend on. A journal with another key is overwritten.
    """

    def __init__(self, output: Path, key: Mapping[str, Any]) -> None:
        self.path = people_journal(output)
        self._key = json.loads(json.dumps(key))
        self._size = 0  # bytes of complete records

    def read(self) -> JournalContent:
        """Read the people of the frames that were searched before."""
        people: list[list[DetectedPerson] | None] = []
        state = None
        self._size = 0
        data = read_bytes(self.path) if self.path.is_file() else b""
        while (end := data.find(b"\n", self._size) + 1) > 0:
            try:
                head = json.loads(data[self._size : end])
                if head["key"] != self._key or end + head["bytes"] > len(data):
                    break
                people += _frames(read_npz(self.path, data=data[end : end + head["bytes"]]))
            except (InputError, ValueError, LookupError, TypeError):  # foreign or damaged: the rest is overwritten
                break
            self._size = end + head["bytes"]
            state = head["state"]
        return JournalContent(people, state)

    def add(self, frames: Sequence[Sequence[DetectedPerson] | None], state: Mapping[str, Any]) -> None:
        """Append the people of frames, and the state of the detector behind them.

        Raises:
            UnavailableError: If the disk is full.
        """
        payload = npz_bytes(_arrays(frames))
        head = json.dumps({"key": self._key, "bytes": len(payload), "state": state}).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(open_existing(self.path, os.O_RDWR), "r+b") as file:
                file.truncate(self._size)
                file.seek(self._size)
                file.write(head + payload)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise writing_error(self.path, error) from error
        self._size += len(head) + len(payload)

    def remove(self) -> None:
        """Remove the journal when the sequence is done."""
        self.path.unlink(missing_ok=True)


def journal_of(item: InputItem, output: Path, identity: Mapping[str, Any]) -> DetectionJournal | None:
    """Open the journal of a sequence's people.

    Args:
        item: The input.
        output: The fit file.
        identity: The identity of the fitter.

    Returns:
        The journal. None for an image.
    """
    if not item.is_sequence or item.error is not None:
        return None
    files = []
    for path in item.files:
        stat = path.stat()  # shows that a file has changed, without reading it
        files.append([path.name, stat.st_size, stat.st_mtime_ns])
    key = {"version": __version__, "fit": identity, "frames": str(item.range), "files": files}
    return DetectionJournal(output, key)


def _arrays(frames: Sequence[Sequence[DetectedPerson] | None]) -> dict[str, np.ndarray]:
    all_people = [person for people in frames for person in people or ()]
    arrays = {name: np.array([getattr(p, name) for p in all_people], np.float32) for name in _ARRAYS}
    return {
        **arrays,
        "score": np.array([p.score for p in all_people]),
        "confirmed": np.array([p.confirmed for p in all_people], bool),
        "count": np.array([_NOT_SEARCHED if people is None else len(people) for people in frames]),
    }


def _frames(arrays: Mapping[str, np.ndarray]) -> list[list[DetectedPerson] | None]:
    counts = arrays["count"]
    ends = np.cumsum(counts.clip(min=0))
    all_people = []
    for row in range(counts.clip(min=0).sum()):
        columns = {name: arrays[name][row] for name in _ARRAYS}
        score, is_confirmed = float(arrays["score"][row]), bool(arrays["confirmed"][row])
        all_people.append(DetectedPerson(**columns, mask=None, score=score, confirmed=is_confirmed))
    return [
        None if count == _NOT_SEARCHED else all_people[end - count : end]
        for end, count in zip(ends, counts, strict=True)
    ]
