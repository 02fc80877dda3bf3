"""Refining a take of several cameras: all of them pull, each camera has its part of the result."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.errors import raises
from helpers.walking_take import TURN, walking_take

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting.fit_reading import on_views
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.refining.frames import cameras_of, frames_of_fit
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.views.records import with_view_errors

FARTHER = 0.015  # of the depth
QUICK = RefineOptions(correspondence="keypoints", size=128, points=60, rounds=1)


def error(fit, walk) -> float:
    """Mean distance of the joints from the true ones, metres."""
    return float(np.linalg.norm(fit.joints3d - walk.fit().joints3d, axis=-1).mean())


@pytest.mark.extensive
def test_the_second_camera_corrects_depth(walk):
    take = walking_take(walk, farther=FARTHER)
    with Refiner(QUICK) as refiner:
        moved = refiner.align(*frames_of_fit(take, None)).moved
        alone = refiner.align(*frames_of_fit(take.view("front.mp4"), None)).moved
    assert error(take, walk) > 0.04
    assert error(alone, walk) > 0.03
    assert error(moved, walk) < 0.015
    before = with_view_errors(take, walk.body).views
    assert before.reprojection_error[1].min() > 5 > 2.5 > moved.views.reprojection_error.max()
    assert moved.views.weight.min() > 0.9 > before.weight[1].max()


@pytest.mark.extensive
def test_what_is_kept_is_reported_of_each_view(walk):
    take = walking_take(walk, farther=0.01)
    views = replace(take.views, frame=np.array([[0, 1, 2, 3, 4], [-1, 0, 0, 1, 1]], np.int32))
    take = replace(take, views=views)
    assert [camera.rows.tolist() for camera in cameras_of(*frames_of_fit(take, None))] == [[0, 1, 2, 3, 4], [1, 3]]
    with Refiner(QUICK) as refiner:
        refined = refiner.refine(take)
    assert refined.options.refinement["tracks"]["0"]["frames"] == [0, 1, 2, 3, 4]
    right = refined.view("right.mp4")
    assert right.options.refinement["tracks"]["0"]["frames"] == [0, 1]
    assert len(right) == 2
    assert right.frame_rate == pytest.approx(12.5)


def test_a_slower_camera_has_its_frames(walk):
    take = walking_take(walk)
    frame = np.array([[0, 1, 2, 3, 4], [0, 0, 1, 1, 2]], np.int32)
    names = np.array([take.frame_names.tolist(), ["a", "a", "b", "b", "c"]])
    take = replace(take, views=replace(take.views, frame=frame, frame_names=names))
    right = take.view("right.mp4")
    assert right.frame_names.tolist() == ["a", "b", "c"]
    assert right.frame_index.tolist() == [0, 1, 2]
    assert right.images.order == (0, 1, 2)
    there = take.joints3d[[0, 2, 4]] @ TURN[:3, :3].T + TURN[:3, 3]
    np.testing.assert_allclose(right.joints3d, there, atol=1e-5)
    missing = replace(take.views, frame=np.array([[0, 1, 2, 3, 4], [-1] * 5], np.int32))
    with raises(InputError, problem="has no frame at the times"):
        replace(take, views=missing).view(1)
    alone = replace(take, views=missing)
    assert [camera.fit.focal[0] for camera in cameras_of(*frames_of_fit(alone, None))] == [500.0]


def test_a_take_finds_the_frames_of_its_views(walk, tmp_path):
    take, names = walking_take(walk), [f"{number:03d}.png" for number in range(8)]
    for view in ("front.mp4", "right.mp4"):
        (tmp_path / view).mkdir()
        for number, name in enumerate(names):
            write_image(tmp_path / view / name, np.full((360, 320, 3), 10 * number, np.uint8))
    shown = np.array([names[2:7], names[3:8]])
    take = replace(take, frame_names=shown[0], views=replace(take.views, frame_names=shown), sources=())
    stored = load_fit(take.save(tmp_path / "take.fit.npz"))
    inputs = open_inputs([tmp_path / "right.mp4", tmp_path / "front.mp4"], sequence=True)
    found = on_views(stored, inputs)
    assert [source.frame(0)[0, 0, 0] for source in found.sources] == [20, 30]
    assert [frame.pixels[0, 0, 0] for frame in found.view(1).images.frames()] == [30, 40, 50, 60, 70]
    assert len(list(found.images.frames())) == 5
    with raises(InputError, problem="lacks the frames of front.mp4"):
        on_views(stored, inputs[:1])
    covered = replace(inputs[0], key="covered/right.mp4")  # a file of that name in another folder
    assert [source.frame(0)[0, 0, 0] for source in on_views(stored, [*inputs, covered]).sources] == [20, 30]
    with raises(InputError, problem="lacks the frames of right.mp4"):
        on_views(stored, [covered, replace(covered, key="plain/right.mp4"), inputs[1]])
    (tmp_path / "right.mp4" / "007.png").unlink()
    with raises(InputError, problem="lacks frames of the fit"):
        on_views(stored, open_inputs([tmp_path / "right.mp4", tmp_path / "front.mp4"], sequence=True))
    write_image(tmp_path / "right.mp4" / "007.png", np.zeros((360, 320, 3), np.uint8))
    write_image(tmp_path / "front.mp4" / "000.png", np.zeros((36, 32, 3), np.uint8))
    with pytest.raises(InputError, match=r"36 × 32|32 × 36"):
        on_views(stored, inputs)


@pytest.mark.extensive
def test_what_is_of_one_camera_is_refused(walk):
    take = walking_take(walk)
    with Refiner(QUICK) as refiner:
        with raises(UsageError, subject="save_displacements"):
            refiner.align(*frames_of_fit(take, None), on_displacements=lambda *_: None)
        with raises(UsageError, remedy="pass those of every view"):
            refiner.refine(replace(take, sources=()))
        with raises(UsageError, problem="belong to one camera, and the fit has several"):
            refiner.refine(take, walk.frames)
