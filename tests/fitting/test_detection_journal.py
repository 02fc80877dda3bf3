"""A sequence whose run was killed goes on where it was, to the very same people."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.detect import detector
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.detection_journal import DetectionJournal
from humanpose_cli.fitting.people import DetectedPeople, SequenceSearch
from humanpose_cli.io.inputs import Frame

FRAMES = 9
KEY = {"clip": [1, "a"]}


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """The astronaut drifts to the side."""
    image = skimage.data.astronaut()[::2, ::2]
    clip = [np.roll(image, 3 * n, 1) for n in range(FRAMES)]
    return [Frame(n, f"{n:06d}", pixels) for n, pixels in enumerate(clip)]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record every other frame."""
    monkeypatch.setattr(detector, "_STATE_EVERY", 2)


def assert_same(found: list[DetectedPerson] | None, expected: list[DetectedPerson] | None) -> None:
    assert (found is None) == (expected is None)
    assert len(found or []) == len(expected or [])
    for person, other in zip(found or [], expected or [], strict=True):
        for name in ("box", "keypoints", "world", "spread", "world_spread", "score", "confirmed"):
            np.testing.assert_array_equal(getattr(person, name), getattr(other, name))


@pytest.mark.extensive
@pytest.mark.parametrize("frame_rate", [None, 60.0])
def test_a_killed_run_goes_on_to_the_same_people(
    frames: list[Frame], often: None, tmp_path: Path, monkeypatch, frame_rate: float | None
) -> None:
    path = tmp_path / "clip.fit.npz"
    with DetectedPeople(threads=1) as source:
        uninterrupted = [people for _, people in source.in_sequence(frames, SequenceSearch(frame_rate=frame_rate))]
        journal = DetectionJournal(path, KEY)
        run = source.in_sequence(frames, SequenceSearch(journal, frame_rate=frame_rate))
        for _ in range(5):
            next(run)
        run.close()
        assert len(DetectionJournal(path, KEY).read().people) == 4
        looked: list[int] = []
        usual = detector.PersonDetector.track

        def track(self, images, **options):
            return usual(self, (looked.append(1) or image for image in images), **options)

        monkeypatch.setattr(detector.PersonDetector, "track", track)
        again = list(source.in_sequence(frames, SequenceSearch(DetectionJournal(path, KEY), frame_rate=frame_rate)))
    assert len(looked) == FRAMES - 4
    assert any(people is None for people in uninterrupted) == (frame_rate is not None)
    assert [frame.index for frame, _ in again] == list(range(FRAMES))
    for (_, people), expected in zip(again, uninterrupted, strict=True):
        assert_same(people, expected)
    assert any(uninterrupted)


def person(value: float) -> DetectedPerson:
    column = np.full(33, value, np.float32)
    points = np.full((33, 3), value, np.float32)
    return DetectedPerson(np.full(4, value, np.float32), points, points, column, column, None, value)


def test_records_add_up_and_a_torn_or_foreign_one_is_written_anew(tmp_path: Path) -> None:
    output = tmp_path / (242 * "n" + ".fit.npz")
    journal = DetectionJournal(output, KEY)
    assert journal.read() == ([], None)
    first, second = [[person(1.0)], []], [[person(2.0), person(3.0)]]
    journal.add(first, {"frames": 2})
    size = journal.path.stat().st_size
    journal.add(second, {"frames": 3})

    kept = DetectionJournal(output, KEY).read()
    assert [len(people) for people in kept.people] == [1, 0, 2]
    assert_same(kept.people[2], second[0])
    assert kept.state == {"frames": 3}
    assert DetectionJournal(output, {"clip": 2}).read() == ([], None)

    data = journal.path.read_bytes()
    journal.path.write_bytes(data[:-5])
    torn = DetectionJournal(output, KEY)
    assert len(torn.read().people) == 2
    torn.add(second, {"frames": 3})
    assert journal.path.read_bytes() == data
    newer = re.sub(rb"(?<=PK\x01\x02..).", b"\xff", data[:size], flags=re.DOTALL)  # of a ZIP that nobody reads yet
    for damage in (b"", b"nonsense\n", b"{}\n", data[:size].replace(b"NUMPY", b"PICKL"), newer):
        journal.path.write_bytes(damage)
        assert DetectionJournal(output, KEY).read() == ([], None)
    journal.remove()
    journal.remove()
    assert not journal.path.exists()


@pytest.mark.posix("makes symbolic links")
def test_no_link_is_written_through(tmp_path: Path) -> None:
    journal = DetectionJournal(tmp_path / "clip.fit.npz", KEY)
    (tmp_path / "file").write_text("text")
    journal.path.symlink_to(tmp_path / "file")
    with raises(UsageError, problem="is a symbolic link"):
        journal.add([[person(1.0)]], {})
    assert (tmp_path / "file").read_text() == "text"
