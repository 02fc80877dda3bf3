"""Displacement files: what is written is read, an unfinished file vanishes, and damage is named."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.displacement_files import DisplacementField, DisplacementFile, displacement_writer

NAMES, SIZES = ["a.png", "b.png", "c.png"], np.array([[640, 480]] * 3)
CROP = np.array([[2.0, 0.0, 100.0], [0.0, 2.0, 50.0]])


def field(track: int, frame: int, size: int = 8) -> DisplacementField:
    """A body in the upper left quarter that is 1 px to the left of the person, and `track` px above."""
    mask = np.zeros((size, size), bool)
    mask[: size // 2, : size // 2] = True
    pixels = np.stack((np.ones((size, size)), np.full((size, size), track))).astype(np.float32) * mask
    return DisplacementField(track, frame, CROP, pixels, mask * np.float32(0.5), mask)


def written(path: Path, rows=((0, 0), (3, 0), (0, 2))) -> Path:
    with displacement_writer(path, NAMES, SIZES, {"correspondence": "flow"}) as writer:
        for track, frame in rows:
            writer.add(field(track, frame))
    return path


def changed(path: Path, **arrays: np.ndarray | None) -> Path:
    """The file with other arrays, or without those that are None."""
    with np.load(written(path), allow_pickle=False) as stored:
        kept = {**stored, **arrays}
    np.savez_compressed(path, **{name: array for name, array in kept.items() if array is not None})
    return path


def test_rows_are_read_back_one_by_one(tmp_path):
    with DisplacementFile(written(tmp_path / "x.displacements.npz")) as file:
        assert (len(file), file.size, file.settings) == (3, 8, {"correspondence": "flow"})
        assert file.track_id.tolist() == [0, 3, 0]
        assert file.frame_index.tolist() == [0, 0, 2]
        assert file.frame_names.tolist() == NAMES
        np.testing.assert_array_equal(file.image_size, SIZES)
        for row, (track, frame) in zip(file, ((0, 0), (3, 0), (0, 2)), strict=True):
            expected = field(track, frame)
            assert (row.track, row.frame) == (track, frame)
            for name in ("crop_to_image", "pixels", "confidence", "mask"):
                np.testing.assert_array_equal(getattr(row, name), getattr(expected, name))
        assert file[-1].frame == 2
        with pytest.raises(IndexError):
            file[3]


def test_displacements_in_pixels_of_the_image(tmp_path):
    with DisplacementFile(written(tmp_path / "x.npz")) as file:
        positions, shifts, confidence = file[1].in_image()
        assert not len(file[1].in_image(0.5)[0])
    assert len(positions) == 16
    np.testing.assert_allclose(positions[[0, -1]], [[101, 51], [107, 57]])
    np.testing.assert_allclose(shifts, np.tile([2, 6], (16, 1)))
    np.testing.assert_allclose(confidence, 0.5)


def test_a_file_without_rows_is_complete(tmp_path):
    with DisplacementFile(written(tmp_path / "x.npz", ())) as file:
        assert (len(file), file.size, list(file)) == (0, 0, [])


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


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"displacements_version": None}, "is no displacement file"),
        ({"displacements_version": np.array(2)}, "was written by a newer version"),
        ({"displacements_version": np.array(0)}, "has the unknown schema version 0"),
        ({"track_id": None, "size": None}, "lacks size, track_id"),
        ({"track_id": np.zeros(2, np.int32)}, "frame_index has the wrong shape or type"),
        ({"track_id": np.zeros(3)}, "track_id has the wrong shape or type"),
        ({"track_id": np.array([0, -1, 0])}, "track_id points outside"),
        ({"track_id": np.zeros(3, int)}, "track_id repeats"),
        ({"frame_index": np.array([0, 0, 3])}, "frame_index points outside"),
        ({"frame_index": np.array([1, 1, 0])}, "frame_index goes back"),
        ({"crop_to_image": np.zeros((3, 2, 3))}, "crop_to_image holds impossible values"),
        ({"crop_to_image": np.full((3, 2, 3), np.nan)}, "crop_to_image holds impossible values"),
        ({"image_size": np.array([[640, 480], [0, 480], [1, 1]])}, "image_size holds impossible values"),
        ({"size": np.array(100_000)}, "size is impossible"),
        ({"settings": np.array("{")}, "settings are no JSON"),
        ({"settings": np.array("[]")}, "settings are no JSON object"),
    ],
)
def test_a_table_that_is_wrong_is_named(tmp_path, arrays, problem):
    with raises(InputError, problem=problem):
        DisplacementFile(changed(tmp_path / "x.npz", **arrays))


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"mask_000001": None}, "lacks mask_000001"),
        ({"mask_000001": np.zeros((8, 8), np.uint8)}, "mask_000001 has the wrong shape or type"),
        ({"pixels_000001": np.zeros((8, 8, 2), np.float16)}, "pixels_000001 has the wrong shape"),
        ({"pixels_000001": np.full((2, 8, 8), np.inf, np.float16)}, "pixels_000001 holds values that are not finite"),
        ({"confidence_000001": np.full((8, 8), 1.5, np.float16)}, "confidence_000001 holds impossible values"),
        ({"confidence_000001": np.full((8, 8), np.nan, np.float16)}, "confidence_000001 holds impossible values"),
    ],
)
def test_a_row_that_is_wrong_is_named_and_others_are_read(tmp_path, arrays, problem):
    with DisplacementFile(changed(tmp_path / "x.npz", **arrays)) as file:
        assert file[0].track == 0
        with raises(InputError, problem=problem):
            file[1]


def test_a_flipped_bit_is_found(tmp_path):
    path = written(tmp_path / "x.npz")
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("pixels_000002.npy").header_offset + 60
    data = bytearray(path.read_bytes())
    data[offset] ^= 8
    path.write_bytes(data)
    with DisplacementFile(path) as file:
        assert file[0].track == 0
        with raises(InputError, problem="damaged"):
            file[2]
