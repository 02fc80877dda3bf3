"""Labels of overlays: beside everybody, and the reasons in a strip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.standing_people import StandingPeople

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting import labels as labels_module
from humanpose_cli.fitting.labels import PeopleLabels
from humanpose_cli.fitting.overlays import overlay_video
from humanpose_cli.fitting.result import Fit, FrameSource
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.inputs import Frame
from humanpose_cli.io.video import VideoReader, VideoWriter

CROWD = [(x + 60.0 * (row % 2), 420.0 + 110 * row) for row in range(4) for x in range(150, 1150, 180)]
POSES = ("attention", "arms_up", "lunge", "wave", "hands_on_hips")


def filmed(people: StandingPeople, frames: int = 1) -> Fit:
    """The fit of people who stand still in a clip."""
    bodies, count = people.bodies, len(people.spots)
    track, frame = np.repeat(np.arange(count), frames), np.tile(np.arange(frames), count)
    columns = {name: values[track].copy() for name, values in bodies.columns.items()}
    columns["joints2d"] = people.camera.project(columns["joints3d"])
    low, high = columns["joints2d"].min(1), columns["joints2d"].max(1)
    size = people.camera.size
    fit = Fit.build(
        **columns,
        track_id=track,
        frame_index=frame,
        interpolated=np.zeros(len(track), bool),
        keypoints2d=np.zeros((len(track), 33, 3)),
        boxes=np.concatenate((low, high), 1),
        frame_names=[f"{i:06d}" for i in range(frames)],
        shot_id=np.zeros(frames),
        image_size=[size] * frames,
        focal=[people.camera.focal] * frames,
        principal_point=[people.camera.principal_point] * frames,
        world_to_camera=np.tile(np.eye(4), (frames, 1, 1)),
        frame_rate=30.0,
    )
    pixels = np.full((frames, size[1], size[0], 3), 128, np.uint8)
    return replace(fit, sources=(FrameSource(array=pixels),), model=default_body())


def grounds(labels: PeopleLabels, frame: int = 0) -> list[np.ndarray]:
    """The rectangles x0 y0 x1 y1 of the labels that a frame has."""
    rows = np.flatnonzero(labels.frames == frame)
    return [np.append(labels.corners[row], labels.corners[row] + labels.sizes[row]).astype(int) for row in rows]


def covered(shape: tuple[int, int], rectangles: list[np.ndarray]) -> np.ndarray:
    """(H, W) how many rectangles lie on each pixel."""
    count = np.zeros(shape, int)
    for x0, y0, x1, y1 in rectangles:
        count[y0:y1, x0:x1] += 1
    return count


@pytest.mark.extensive
@pytest.mark.parametrize("sizes", [(1.0,), *extensive(((1.0, 0.6),))])
def test_the_labels_of_a_crowd_cover_no_other_label(sizes):
    fit = filmed(StandingPeople(spots=CROWD, poses=POSES, sizes=sizes))
    rectangles = grounds(PeopleLabels(fit))
    assert len(rectangles) == len(CROWD)
    on = covered((960, 1280), rectangles)
    assert on.sum() == sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in rectangles), "one leaves the image"
    assert on.max() == 1
    drawn = (fit.overlay() != fit.overlay(labels="none")).any(-1)
    assert drawn[on > 0].mean() > 0.95


def test_a_label_stands_beside_the_head_and_is_as_large_as_its_person():
    fit = filmed(StandingPeople(spots=((300.0, 800.0), (800.0, 420.0))))
    near, far = grounds(PeopleLabels(fit))
    for (x0, y0, _, y1), joints in zip((near, far), fit.joints2d, strict=True):
        (x, y), height = joints[SMPL24.index("head")], np.ptp(joints[:, 1])
        assert 0.03 * height < x0 - x < 0.2 * height
        assert 0 < y - (y0 + y1) / 2 < 0.2 * height
    assert (near[3] - near[1]) > 1.2 * (far[3] - far[1])


def test_ids_mark_doubtful_people_and_reasons_name_also_limbs_below(monkeypatch):
    fit = filmed(StandingPeople(spots=((300.0, 800.0), (800.0, 700.0))), 2)
    confidence = fit.joint_confidence.copy()
    confidence[fit.track_id == 1, SMPL24.index("left_wrist")] = 0.1
    keypoints = np.ones_like(fit.keypoints2d)
    keypoints[..., :2] = fit.joints2d[:, :1]
    keypoints[:, BLAZEPOSE33.indices(("left_ear", "right_ear")), 2] = 0  # heads are not compared with them
    fit = replace(fit, joint_confidence=confidence, keypoints2d=keypoints)
    written = []

    def noted(image, text, *others):
        written.append((image.shape[0], text))
        drawn(image, text, *others)

    drawn = labels_module.draw_label
    monkeypatch.setattr(labels_module, "draw_label", noted)
    plain, ids, reasons = (fit.overlay(labels=kind) for kind in ("none", "ids", "reasons"))
    high, low = plain.shape[0], reasons.shape[0] - plain.shape[0]
    assert written == [(high, "0"), (high, "1"), (high, "0"), (high, "1"), (low, "1: left arm uncertain")]
    np.testing.assert_array_equal(reasons[:high], ids)
    assert reasons.shape[0] > high
    assert (reasons[high:] != 32).any()
    np.testing.assert_array_equal(fit.overlay(1, labels="reasons")[high:], reasons[high:])
    no_limb = np.where(fit.track_id == 1, np.float32(0.1), np.float32(0.8))  # of the second person is certain
    mixed = replace(fit, confidence=(0.9 - no_limb), joint_confidence=np.repeat(no_limb[:, None], 24, 1))
    assert [label[0] for label in PeopleLabels(mixed).labels] == ["0?", "1?"]
    certain = replace(fit, joint_confidence=np.ones_like(confidence))
    assert certain.overlay(labels="reasons").shape == plain.shape
    with raises(UsageError, subject="labels", problem="is not known"):
        fit.overlay(labels="id")


def test_of_many_reasons_the_strip_shows_as_many_as_it_holds():
    fit = filmed(StandingPeople(spots=CROWD))
    low = replace(fit, confidence=np.full(len(fit), 0.1, np.float32))
    few = low.select(np.flatnonzero(low.track_id < 2))
    line = few.overlay(labels="reasons").shape[0] - 960
    assert low.overlay(labels="reasons").shape[0] - 960 == 6 * line


def test_the_strip_of_a_video_is_equally_high_in_all_shots(tmp_path):
    fit = filmed(StandingPeople(spots=((300.0, 800.0), (800.0, 700.0))), 2)
    doubtful = fit.select(np.flatnonzero(fit.frame_index == fit.track_id))  # each person in a frame of their own
    cut = replace(doubtful, shot_id=np.array([0, 1], np.int32), confidence=np.array([0.1, 0.9], np.float32))
    assert fit.images is not None
    frames = [Frame(i, f"{i}", pixels) for i, pixels in enumerate(fit.images.array)]
    labels = PeopleLabels(cut)
    with VideoWriter(tmp_path / "a.mp4", 25.0) as video:
        overlay_video(fit.body_model(), cut, frames, video, labels=labels, reasons=True)
    first, second = (pixels[960:].astype(int) for _, pixels in VideoReader(tmp_path / "a.mp4"))
    assert first.shape[0] > 0
    assert np.ptp(first) > 100
    assert np.ptp(second) < 20  # nothing is written


def test_the_strip_of_a_video_lists_a_reason_without_a_body_once():
    fit = filmed(StandingPeople(spots=((300.0, 800.0), (800.0, 700.0))), 3)
    box, reason = [560.0, 300.0, 700.0, 680.0], "pose not certain"
    listed = [{"frame": frame, "box": box, "score": 0.4, "reason": reason} for frame in (1, 1, 2)]
    labels = PeopleLabels(replace(fit, options=StoredOptions(not_fitted=listed)))
    assert [(text, why) for text, _, why in labels.labels[2:]] == [("not fitted", reason), *[("not fitted", "")] * 2]


def test_a_detection_without_a_body_is_labelled_beside_its_box():
    fit = filmed(StandingPeople(spots=((300.0, 800.0), (800.0, 700.0))))
    listed = [{"frame": 0, "box": [560.0, 300.0, 700.0, 680.0], "score": 0.4, "reason": "pose not certain"}]
    fit = replace(fit, options=StoredOptions(not_fitted=listed))
    labels = PeopleLabels(fit)
    assert [label[0] for label in labels.labels] == ["0", "1", "not fitted"]
    *_, (x0, y0, _, y1) = grounds(labels)
    assert (x0, (y0 + y1) // 2) == (700, 300)
    assert fit.overlay(labels="reasons").shape[0] > 960
