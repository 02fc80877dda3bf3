"""Displacement files: numpy reads what is written, and an unfinished file vanishes."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np

from humanpose_cli.io.displacement_files import DisplacementField, displacement_writer

NAMES, SIZES = ["a.png", "b.png", "c.png"], np.array([[640, 480]] * 3)
CROP = np.array([[2.0, 0.0, 100.0], [0.0, 2.0, 50.0]])
ROWS = ((0, 0), (3, 0), (0, 2))


def field(track: int, frame: int, size: int = 8) -> DisplacementField:
    """A body in the upper left quarter that is 1 px to the left of the person, and `track` px above."""
    mask = np.zeros((size, size), bool)
    mask[: size // 2, : size // 2] = True
    pixels = np.stack((np.ones((size, size)), np.full((size, size), track))).astype(np.float16) * mask
    return DisplacementField(track, frame, CROP, pixels, mask * np.float16(0.5), mask)


def written(path: Path, rows=ROWS) -> Path:
    with displacement_writer(path, NAMES, SIZES, {"correspondence": "flow"}) as writer:
        for track, frame in rows:
            writer.add(field(track, frame))
    return path


def test_numpy_reads_the_table_and_every_row(tmp_path):
    with np.load(written(tmp_path / "x.displacements.npz"), allow_pickle=False) as file:
        assert (int(file["size"]), int(file["displacements_version"])) == (8, 1)
        assert json.loads(str(file["settings"])) == {"correspondence": "flow"}
        assert list(zip(file["track_id"], file["frame_index"], strict=True)) == list(ROWS)
        assert file["frame_names"].tolist() == NAMES
        np.testing.assert_array_equal(file["image_size"], SIZES)
        np.testing.assert_array_equal(file["crop_to_image"], [CROP] * 3)
        for row, (track, frame) in enumerate(ROWS):
            for name in ("pixels", "confidence", "mask"):
                np.testing.assert_array_equal(file[f"{name}_{row:06d}"], getattr(field(track, frame), name))


def test_displacements_in_pixels_of_the_image():
    positions, shifts, confidence = field(3, 0).in_image()
    assert not len(field(3, 0).in_image(0.5)[0])
    assert len(positions) == 16
    np.testing.assert_allclose(positions[[0, -1]], [[101, 51], [107, 57]])
    np.testing.assert_allclose(shifts, np.tile([2, 6], (16, 1)))
    np.testing.assert_allclose(confidence, 0.5)


def test_a_file_without_rows_is_complete(tmp_path):
    with np.load(written(tmp_path / "x.npz", ())) as file:
        assert (file["crop_to_image"].shape, int(file["size"])) == ((0, 2, 3), 0)


def test_equal_rows_give_equal_bytes(tmp_path):
    assert written(tmp_path / "a.npz").read_bytes() == written(tmp_path / "b.npz").read_bytes()


def test_an_unfinished_file_vanishes_and_the_old_one_stays(tmp_path):
    path = written(tmp_path / "x.npz")
    before = path.read_bytes()
    with suppress(KeyboardInterrupt), displacement_writer(path, NAMES, SIZES, {}) as writer:
        writer.add(field(0, 0))
        raise KeyboardInterrupt
    assert [each.name for each in tmp_path.iterdir()] == ["x.npz"]
    assert path.read_bytes() == before
