"""Folders of photographs against frames: times in EXIF, names of cameras, views of neighbours."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import ExifTags, Image

from humanpose_cli.io.image_sequences import check_sequence, frame_numbers_of, numbered_sequence
from humanpose_cli.io.inputs import open_inputs

COUNT = 6


def save(folder, pattern="f_%04d.jpg", *, moving=True, seconds=None, count=COUNT) -> list:
    """Images of random blocks: of one view that moves by 2 pixels an image, or each of another one; taken `seconds`
    apart by EXIF.
    """
    rng, files = np.random.default_rng(0), []
    for i in range(count):
        if i == 0 or not moving:
            view = np.kron(rng.integers(0, 255, (12, 20)), np.ones((16, 16)))
        image = Image.fromarray(view[:96, 2 * i : 2 * i + 128].astype(np.uint8)).convert("RGB")
        exif = Image.Exif()
        if seconds is not None:
            time = datetime(2026, 5, 1, 11) + timedelta(seconds=i * seconds)
            tags = exif.get_ifd(ExifTags.IFD.Exif)
            tags[ExifTags.Base.DateTimeOriginal] = f"{time:%Y:%m:%d %H:%M:%S}"
            tags[ExifTags.Base.SubsecTimeOriginal] = f"{time:%f}"
        files.append(folder / (pattern % (i + 1)))
        image.save(files[-1], exif=exif)
    return files


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, ""),
        ({"seconds": 0.04}, ""),
        *(({"seconds": seconds}, "more than a second apart") for seconds in (2, 86400)),
        ({"moving": False}, "different views"),
        ({"moving": False, "pattern": "%06d.png"}, "different views"),
        *(({"pattern": f"{name}d.JPG"}, "a camera's names") for name in ("IMG_%04", "DSC%05", "P%07", "DSCF%04")),
        ({"pattern": "img_%04d.png"}, ""),
        ({"pattern": "IMG_%04d.JPG", "seconds": 0.1}, ""),  # a burst
        ({"pattern": "IMG_%04d.JPG", "seconds": 0.1, "moving": False}, "different views"),
    ],
)
def test_photographs_are_independent_and_frames_are_a_sequence(tmp_path, options, reason):
    verdict = check_sequence(save(tmp_path, **options))
    assert verdict.is_sequence == (not reason)
    assert reason in verdict.reason
    assert verdict.is_sequence or verdict.pattern == options.get("pattern", "f_%04d.jpg")


def test_the_user_decides(tmp_path):
    save(tmp_path, "IMG_%04d.JPG", moving=False, seconds=90)
    assert [item.kind for item in open_inputs([tmp_path])] == ["image"] * COUNT
    assert [item.kind for item in open_inputs([tmp_path], sequence=True)] == ["frames"]
    assert [item.kind for item in open_inputs([tmp_path / "IMG_%04d.JPG"])] == ["frames"]


def test_a_cut_does_not_split_frames_and_flat_images_do_not_decide(tmp_path):
    (tmp_path / "cut").mkdir()
    files = save(tmp_path / "cut", count=8)
    other = save(tmp_path, moving=False, count=1)[0]
    other.replace(files[4])
    assert check_sequence(files).is_sequence
    for i, file in enumerate(files):
        Image.new("RGB", (128, 96), (30 * i, 0, 0)).save(file)
    assert check_sequence(files).is_sequence


def test_numbers_of_a_clock_are_no_frame_numbers(tmp_path):
    """Cameras of robots name images by nanoseconds; they are a sequence in the order of their names."""
    files = [tmp_path / f"{1_403_636_579_763_555_584 + 50_000_000 * n}.png" for n in range(3)]
    verdict = numbered_sequence({file: int(file.stem) for file in files}, "by their numbered pattern")
    assert (verdict.files, verdict.numbers, verdict.reason) == (tuple(files), (), "by their numbered pattern")
    assert frame_numbers_of(files) == ()
    many = numbered_sequence({tmp_path / "f_1.png": 1, tmp_path / "f_9999999.png": 9_999_999}, "by their pattern")
    assert many.reason == "by their pattern, numbers 1 to 9999999 without 2, 3, 4, 5, 6 …"
