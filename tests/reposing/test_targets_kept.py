"""Targets: fits of images are made once, also where several processes want them; parts of motions."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.tracked_fits import fit_of_tracks

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.detection_journal import DetectionJournal
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.images import write_image
from humanpose_cli.reposing.targets import planned_target, read_target


class SlowFitter:
    """Counts its fits."""

    def __init__(self, method: str = "auto") -> None:
        self.identity, self.fits = {"method": method}, 0

    def fit(self, images: object, **options: object) -> FitRecord:
        self.fits += 1
        time.sleep(0.05)
        return fit_of_tracks({0: [(0, 1, 4)]}, 1)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_image(tmp_path / "pose.png", np.zeros((8, 8, 3), np.uint8))
    return tmp_path / "pose.png"


def test_a_driving_shot_keeps_its_frame_numbers(tmp_path: Path) -> None:
    for number in (1001, 1002, 1004):
        write_image(tmp_path / "shot" / f"a.{number}.png", np.zeros((8, 8, 3), np.uint8))
    pattern, rest = tmp_path / "shot" / "a.####.png", FrameRange(1002, 1005)
    assert planned_target(pattern, rest).frame_numbers == (1002, 1004)
    for frames, numbers in ((rest, (1002,)), (FrameRange(1004, 1009), (1004,))):  # of people in the first frame
        target = read_target(pattern, SlowFitter, frames=frames, fits=tmp_path / "targets")
        assert target.frame_numbers == numbers
    names = {path.name.split(".fit")[0][:-13] for path in (tmp_path / "targets").glob("*.fit.npz")}
    assert names == {"a.png"}


def test_runs_side_by_side_make_one_fit(image: Path, tmp_path: Path) -> None:
    fitter, targets = SlowFitter(), []
    shards = [
        threading.Thread(target=lambda: targets.append(read_target(image, lambda: fitter, fits=tmp_path / "targets")))
        for _ in range(3)
    ]
    for shard in shards:
        shard.start()
    for shard in shards:
        shard.join()
    assert (fitter.fits, len(targets)) == (1, 3)
    (kept,) = (tmp_path / "targets").iterdir()
    assert kept.name.startswith("pose.png.")


def test_another_image_and_other_options_are_fitted_anew(image: Path, tmp_path: Path) -> None:
    fitter, other = SlowFitter(), SlowFitter("keypoints")
    for maker in (fitter, other, fitter):
        read_target(image, lambda maker=maker: maker, fits=tmp_path / "targets")
    write_image(image, np.ones((8, 8, 3), np.uint8))
    read_target(image, lambda: fitter, fits=tmp_path / "targets")
    read_target(image, lambda: fitter)
    assert (fitter.fits, other.fits) == (3, 1)
    assert len(list((tmp_path / "targets").iterdir())) == 3


class StoppedFitter(SlowFitter):
    """Finds nobody in two frames, and is stopped the first time."""

    def fit(self, images: object, *, journal: DetectionJournal, **options: object) -> FitRecord:
        self.people_in_journal = len(journal.read().people)
        if not self.people_in_journal:
            journal.add([[], []], {})
            raise KeyboardInterrupt
        return super().fit(images)


def test_the_fit_of_a_driving_video_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "frames" / f"{number:04d}.png", np.zeros((8, 8, 3), np.uint8))
    fitter, targets = StoppedFitter(), tmp_path / "targets"
    with pytest.raises(KeyboardInterrupt):
        read_target(tmp_path / "frames", lambda: fitter, fits=targets)
    assert [path.suffix for path in targets.iterdir()] == [".people"]
    read_target(tmp_path / "frames", lambda: fitter, fits=targets)
    assert (fitter.people_in_journal, fitter.fits) == (2, 1)
    assert [path.suffix for path in targets.iterdir()] == [".npz"]


def test_a_part_of_a_motion(tmp_path: Path) -> None:
    """Of joints and of rotations, from a file or at hand."""
    joints = (default_body().rest_joints(torch.zeros(1, 10)).numpy() + np.arange(6)[:, None, None]).astype(np.float32)
    np.save(tmp_path / "a.npy", joints)
    poses, trans = np.zeros((6, 66)), np.arange(18.0).reshape(6, 3)
    np.savez(tmp_path / "b.npz", poses=poses, trans=trans, betas=np.zeros(10), mocap_framerate=30.0)
    for frames, kept in (
        (FrameRange(2, 4), [2, 3]),
        (FrameRange(5), [5]),
        (FrameRange(0, 99), range(6)),
        (FrameRange(-4, None, 3), [2, 5]),
    ):
        for target in (tmp_path / "a.npy", joints):
            np.testing.assert_array_equal(read_target(target, SlowFitter, frames=frames).joints, joints[kept])
        complete, part = (read_target(tmp_path / "b.npz", SlowFitter, frames=each) for each in (FrameRange(), frames))
        np.testing.assert_array_equal(part.params.trans, complete.params.trans[kept])
        assert part.frame_rate == 30 / frames.step
    with raises(InputError, subject="a.npy", problem="has no frame in the range", expected="frames 6:", got="6 frames"):
        read_target(tmp_path / "a.npy", SlowFitter, frames=FrameRange(6))
