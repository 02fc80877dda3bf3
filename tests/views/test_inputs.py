"""Takes of folders, and the names of what is made of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from humanpose_cli.io.calibrations import CalibratedCamera, Calibration
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.views.inputs import TakeInput, distinct_names, separate_takes, take_outputs, view_outputs


def calibration_of(*names: str) -> Calibration:
    camera = {name: CalibratedCamera(name, None, np.eye(3), np.zeros(5), np.eye(3), np.zeros(3)) for name in names}
    return Calibration(camera, "m")


def take_of(folder: Path, *names: str) -> TakeInput:
    for name in names:
        assert cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))
    items = open_inputs([folder], sequence=False)
    return TakeInput("jump", tuple(items))


def test_a_folder_holds_several_takes_of_the_same_cameras(tmp_path: Path) -> None:
    take = take_of(tmp_path, "leap.c1.png", "leap.c2.png", "run 2.c1.png", "run 2.c2.png")
    leap, run = separate_takes(take, calibration_of("c1", "c2"))
    assert (leap.key, run.key) == ("jump/leap", "jump/run 2")
    assert [view.path.name for view in run.views] == ["run 2.c1.png", "run 2.c2.png"]


def test_files_of_a_take_stand_beside_its_fit(tmp_path: Path) -> None:
    output = tmp_path / "run 2.fit.npz"
    assert take_outputs(output) == (tmp_path / "run 2.cameras.json", tmp_path / "run 2.cameras.png")
    assert view_outputs(output, "a/c1.mp4") == tmp_path / "run 2.a.c1.mp4.fit.npz"


def test_one_video_of_each_camera_is_one_take(tmp_path: Path) -> None:
    take = take_of(tmp_path, "c1.png", "c2.png")
    assert separate_takes(take, calibration_of("c1", "c2", "c3")) == [take]


def test_folders_of_one_name_have_those_above_in_theirs() -> None:
    names = distinct_names([Path("/a/S1/Videos"), Path("/a/S5/Videos"), Path("/b/walk")])
    assert names == ["S1/Videos", "S5/Videos", "walk"]
    assert len(set(distinct_names([Path("/a/b")] * 2))) == 1, "one path twice has one name"
