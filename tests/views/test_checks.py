"""Takes that are refused before anything is fitted."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.io.calibrations import CalibratedCamera, Calibration
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import InputItem, open_inputs
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.views.checks import check_take, check_view_count

SIZE = (64, 48)
RATE = 25


def video(path: Path, seed: int, frames: int = 25) -> Path:
    """Write a video of noise."""
    images = np.random.default_rng(seed).integers(0, 256, (frames, SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8)
    with VideoWriter(path, RATE) as writer:
        for image in images:
            writer.write(image.repeat(8, 0).repeat(8, 1))
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [video(folder / f"cam{number}.mp4", number) for number in range(3)]


def camera(name: str, x: float, size: tuple[int, int] = SIZE) -> CalibratedCamera:
    matrix = np.array(((60.0, 0, size[0] / 2), (0, 60.0, size[1] / 2), (0, 0, 1)))
    return CalibratedCamera(name, size, matrix, np.zeros(5), np.eye(3), np.array((x, 0.0, 0.0)))


def calibration(*cameras: CalibratedCamera) -> Calibration:
    return Calibration({camera.name: camera for camera in cameras}, "m")


def check(paths: list[Path], cameras: Calibration | None = None, frames: FrameRange | None = None) -> None:
    items: list[InputItem] = list(open_inputs([str(path) for path in paths], sequence=False))
    if frames is not None:
        items = [dataclasses.replace(item, range=frames) for item in items]
    check_take(items, [item.path.name for item in items], cameras)


def error(*arguments: object, **options: object) -> HpcError:
    with pytest.raises(HpcError) as caught:
        check(*arguments, **options)  # type: ignore[arg-type]
    return caught.value


def test_a_take_of_videos_passes(videos: list[Path]) -> None:
    check(videos)
    check(videos, calibration(*(camera(f"cam{number}", float(number)) for number in range(3))))


def test_a_camera_without_a_video_of_its_name(videos: list[Path]) -> None:
    problem = error(videos, calibration(camera("left", 0.0), camera("right", 1.0)))
    assert (problem.subject, problem.problem) == ("calibration", "does not match the videos")


def test_images_of_other_proportions(videos: list[Path]) -> None:
    names = [camera(f"cam{number}", float(number)) for number in range(2)]
    problem = error(videos, calibration(*names, camera("cam2", 2.0, (48, 64))))
    assert Path(problem.subject).name == "cam2.mp4"
    assert (problem.expected, problem.got) == ("48 × 64 pixels", "64 × 48 pixels")


def test_two_calibrated_cameras_at_one_position(videos: list[Path]) -> None:
    at = calibration(camera("cam0", 0.0), camera("cam1", 1.0), camera("cam2", 1.009))
    assert error(videos, at).problem == "has cam1 and cam2 at one position"
    check(videos, calibration(camera("cam0", 0.0), camera("cam1", 1.0), camera("cam2", 1.011)))


def test_an_empty_video(videos: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "cam9.mp4"
    empty.touch()
    assert isinstance(error([*videos, empty]), InputError)


def test_a_video_that_breaks_off(videos: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "cam9.mp4"
    data = video(cut, 9, frames=60).read_bytes()
    cut.write_bytes(data[: int(0.6 * len(data))])
    problem = error([videos[0], cut]).problem
    assert problem.startswith("breaks off after frame ")
    last = int(problem.rpartition(" ")[2])
    assert 20 < last < 59
    check([videos[0], cut], frames=FrameRange(0, 15))  # what is there


def test_parts_under_half_a_second(videos: list[Path]) -> None:
    problem = error(videos, frames=FrameRange(0, 12))
    assert (problem.problem, problem.got) == ("is too short", "12 frames of 0.48 s")
    check(videos, frames=FrameRange(3, 16))
    check(videos, frames=FrameRange(3, 4))  # one moment


def test_a_copied_video(videos: list[Path], tmp_path: Path) -> None:
    copy = Path(shutil.copy(videos[1], tmp_path / "copy.mp4"))
    problem = error([*videos, copy])
    assert (Path(problem.subject).name, problem.problem) == ("copy.mp4", "shows the same images as cam1.mp4")


def test_a_photograph_next_to_videos(videos: list[Path], tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((48, 64, 3), np.uint8))
    problem = error([*videos, tmp_path / "a.png"])
    assert (Path(problem.subject).name, problem.problem) == ("a.png", "is a photograph next to videos")


def test_black_first_frames_are_no_copies(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, np.zeros((40, 30, 3), np.uint8))
    check([tmp_path / "a.png", tmp_path / "b.png"])


def test_too_many_cameras() -> None:
    check_view_count(1000)
    with raises(UsageError, problem="has too many cameras", got="1001"):
        check_view_count(1001)
