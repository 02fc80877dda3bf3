"""`hpc fit --views`: which inputs are a take, and what is refused before anything is fitted."""

import numpy as np
import pytest

from humanpose_cli.io.images import write_image


def photographs(folder, count):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        write_image(folder / f"{number:03d}.png", np.zeros((40, 30, 3), np.uint8))
    return str(folder)


def plan(hpc, *arguments):
    ran = hpc("fit", *arguments, "--views", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    return {item["input"]: item["outputs"] for item in ran.document["items"]}


def test_each_folder_of_cameras_is_a_take(hpc, tmp_path):
    for take in ("first", "second"):
        for camera in ("a", "b"):
            (tmp_path / take).mkdir(exist_ok=True)
            photographs(tmp_path / take / camera, 16)
    planned = plan(hpc, str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(tmp_path / "out"))
    assert set(planned) == {"first", "second"}


def test_photographs_of_one_folder_are_views(hpc, tmp_path):
    planned = plan(hpc, photographs(tmp_path / "moment", 3), "--out", str(tmp_path / "out"))
    assert set(planned) == {"moment"}


def test_folders_of_frames_are_one_take_together(hpc, tmp_path):
    cameras = [photographs(tmp_path / name, 16) for name in ("a", "b")]
    planned = plan(hpc, *cameras, "--out", str(tmp_path / "out"))
    assert set(planned) == {"take"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--height", "1.8"), "--height: has no effect without --views"),
        (("--offsets", "0,1"), "--offsets: has no effect without --views"),
        (("--views", "--height", "9"), "--height: is out of range, expected 0.5 to 2.6 metres, found 9"),
        (("--views", "--offsets", "0,x"), "--offsets: cannot be read"),
        (("--views", "--side-view"), "--side-view: cannot be combined with --views"),
        (("--views", "--refine", "--save-displacements"), "--save-displacements: cannot be combined with --views"),
        (("--views", "--sequence"), "--sequence: cannot be combined with --views"),
        (("--views", "--independent"), "--sequence: cannot be combined with --views"),
        (("--views", "--calibration", "c.toml", "--focal", "900"), "--focal: cannot be combined with --calibration"),
    ],
)
def test_what_does_not_go_together_is_refused(hpc, tmp_path, arguments, message):
    photo = photographs(tmp_path / "photos", 2)
    ran = hpc("fit", photo, *arguments, "--out", str(tmp_path / "out"))
    assert ran.code == 2
    assert message in ran.err


def test_one_view_fails_with_what_to_do(hpc, tmp_path):
    photo = photographs(tmp_path / "photos", 1)
    ran = hpc("fit", photo, "--views", "--out", str(tmp_path / "out"), "--json")
    assert ran.code == 2
    assert "are too few, expected two cameras or more, found 1" in ran.document["items"][0]["error"]


def test_a_dry_run_finds_what_is_wrong_with_a_take(hpc, tmp_path):
    for take in ("good", "bad"):
        for camera in ("a", "b"):
            (tmp_path / take).mkdir(exist_ok=True)
            photographs(tmp_path / take / camera, 16)
    photographs(tmp_path / "bad" / "c", 2)
    ran = hpc("fit", str(tmp_path / "good"), str(tmp_path / "bad"), "--views", "--dry-run", "--json")
    assert ran.code == 4
    errors = {item["input"]: item.get("error") for item in ran.document["items"]}
    assert errors["good"] is None
    assert "is too short" in errors["bad"]
