"""Which limbs are doubtful, and how they are named."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fit_values import record

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.doubt import doubts_of_tracks, limb_doubts, losses_in_view, row_doubts
from humanpose_cli.fitting.records import doubts_of_keypoints
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.take_views import TakeViews


def people(*changes: dict) -> FitRecord:
    """A track, all certain and visible but for each frame's changes: joint → confidence, landmark → (x, y, c)."""
    count = len(changes)
    keypoints = np.tile(np.array([320.0, 240.0, 0.9]), (count, 33, 1))
    joints = np.full((count, 24), 0.8)
    for row, changed in enumerate(changes):
        for name, value in changed.items():
            if isinstance(value, tuple):
                keypoints[row, BLAZEPOSE33.index(name)] = value
            else:
                joints[row, SMPL24.index(name)] = value
    columns = {
        "poses": np.zeros((count, 72)), "betas": np.zeros((count, 10)), "trans": np.ones((count, 3)),
        "segment_scales": np.ones((count, 24)), "joints3d": np.ones((count, 24, 3)),
        "joints2d": np.tile([320.0, 240.0], (count, 24, 1)),
        "boxes": [[10.0, 20.0, 210.0, 420.0]] * count, "confidence": np.full(count, 0.8),
        "reprojection_error": np.ones(count), "interpolated": [False] * count, "track_id": [0] * count,
        "frame_index": np.arange(count), "frame_names": [str(row) for row in range(count)], "shot_id": [0] * count,
        "image_size": [[640, 480]] * count, "focal": [700.0] * count, "principal_point": [[320.0, 240.0]] * count,
        "world_to_camera": np.tile(np.eye(4), (count, 1, 1)),
    }  # fmt: skip
    return record(**columns, keypoints2d=keypoints, joint_confidence=joints)


HIDDEN = (320.0, 240.0, 0.1)
OUTSIDE = (700.0, 240.0, 0.9)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, ""),
        ({"left_wrist": 0.26}, ""),
        ({"right_wrist": 0.24}, "right arm uncertain"),
        ({"right_elbow": 0.24, "left_knee": 0.1}, "right arm uncertain; left leg uncertain"),
        ({"left_knee": HIDDEN}, ""),  # its ankle is visible
        ({"left_knee": HIDDEN, "left_ankle": OUTSIDE}, "left leg hidden, guessed"),
        (
            {"left_elbow": HIDDEN, "left_wrist": HIDDEN, "right_wrist": 0.1},
            "left arm hidden, guessed; right arm uncertain",
        ),
        ({"left_ankle": 0.1, "right_ankle": 0.2}, "both legs uncertain"),
        (
            {name: HIDDEN for side in ("left", "right") for name in (f"{side}_hip", f"{side}_knee", f"{side}_ankle")},
            "hips not visible; both legs hidden, guessed",
        ),
        ({"head": 0.0, "left_foot": 0.0, "left_hand": 0.0}, ""),
    ],
)
def test_doubts_name_the_limb(changed, named):
    assert row_doubts(people(changed, {})) == [named, ""]


@pytest.mark.parametrize(
    ("metres", "views", "doubtful"), [(0.9, (0, 1), True), (1.1, (0, 1), False), (0.9, (0, 0), False)]
)
def test_people_at_one_position_whom_no_view_shows_together_may_be_one(metres, views, doubtful):
    both = people({}, {})
    joints = both.joints3d.copy()
    joints[1] += (metres, 0, 0)
    keypoints = np.zeros((2, *both.keypoints2d.shape))
    for row, view in enumerate(views):
        keypoints[view, row] = both.keypoints2d[row]
    take = TakeViews.build(
        names=["a", "b"], image_size=[[640, 480]] * 2, focal=[700.0] * 2, principal_point=[[320.0, 240.0]] * 2,
        from_first=np.tile(np.eye(4), (2, 1, 1)), offset=[0.0, 0.0], frame=np.zeros((2, 2)),
        frame_names=[["0"] * 2] * 2,
        keypoints2d=keypoints, boxes=np.tile(both.boxes, (2, 1, 1)), reprojection_error=np.zeros((2, 2)),
        weight=np.ones((2, 2)),
    )  # fmt: skip
    track, frame = np.arange(2, dtype=np.int32), np.zeros(2, np.int32)
    fit = replace(both, track_id=track, frame_index=frame, joints3d=joints, views=take)
    expected = [f"may be one person with {other}" if doubtful else "" for other in (1, 0)]
    assert row_doubts(fit) == expected


@pytest.mark.parametrize(("pixels", "reason"), [(62, ""), (64, "head elsewhere")])
def test_a_head_beside_the_detected_ears_is_doubtful(pixels, reason):
    """700 pixels are a metre here, and the ears lie above the head's joint by 0.6 of the way from the neck."""
    ears = (320.0, 240.0 - 60 + pixels, 0.9)
    fit = people({"left_ear": ears, "right_ear": ears})
    fit.joints2d[0, SMPL24.index("neck"), 1] += 100
    assert row_doubts(fit) == [reason]
    uncertain = people({"left_ear": ears, "right_ear": (320.0, 600.0, 0.5)})
    assert row_doubts(uncertain) == [""]


def test_of_rows_without_keypoints_no_limb_is_doubted():
    nothing = dict.fromkeys(BLAZEPOSE33.joint_names, (0.0, 0.0, 0.0))
    assert limb_doubts(people(nothing | {"left_hand": 0.0, "left_wrist": (0.0, 0.0, 0.0)})) == [[]]


def test_a_track_has_the_doubts_of_the_majority_of_its_frames():
    hidden = {"left_knee": HIDDEN, "left_ankle": HIDDEN}
    mostly = people(hidden, {**hidden, "right_wrist": 0.1}, hidden, {})
    assert doubts_of_tracks(mostly)[0] == "left leg hidden, guessed"
    assert doubts_of_tracks(people(hidden, {}, {}))[0] == ""
    once = people(hidden, {"right_wrist": 0.1}, {"left_wrist": 0.1})
    assert doubts_of_tracks(once) == {0: "left leg hidden, guessed"}


def test_a_camera_that_walks_is_a_reason_beside_the_others():
    rows = people({}, {"right_wrist": 0.1}, {})
    walks = replace(rows, options=StoredOptions(camera_walks=[0, 1]))
    assert row_doubts(walks) == ["the camera walks", "the camera walks; right arm uncertain", ""]
    assert doubts_of_tracks(walks) == {0: "the camera walks"}
    assert doubts_of_tracks(replace(people({}, {}, {}), options=StoredOptions(camera_walks=[2]))) == {0: ""}


def test_frames_without_a_person_at_the_keypoints_are_doubtful():
    fit = replace(people({}, {}, {}), options=StoredOptions(no_person=[0, 2]))
    assert row_doubts(fit) == ["no person at the keypoints", "", "no person at the keypoints"]
    assert doubts_of_tracks(fit) == {0: "no person at the keypoints"}
    assert doubts_of_tracks(replace(fit, options=StoredOptions(nobody=[0]))) == {0: "no person at the keypoints"}


def test_a_whole_fit_may_be_doubtful():
    rows = people(*[{}] * 10)
    strangers = StoredOptions(doubts=["the views may show different people"])
    assert doubts_of_tracks(replace(rows, options=strangers)) == {0: "the views may show different people"}
    for pixels, doubt in ((1900.0, ""), (2000.0, "unlikely focal length"), (180.0, "unlikely focal length")):
        given = replace(rows, focal=np.full(10, pixels, np.float32), options=StoredOptions(focal=pixels))
        assert doubts_of_tracks(given) == {0: doubt}
        assert doubts_of_tracks(replace(given, options=StoredOptions())) == {0: ""}
    for metres, doubt in ((0.4, ""), (0.5, "faster than people")):  # a frame, 25 a second
        path = rows.joints3d + np.arange(10, dtype=np.float32)[:, None, None] * np.float32([metres, 0, 0])
        assert doubts_of_tracks(replace(rows, joints3d=path)) == {0: doubt}
        assert doubts_of_tracks(replace(rows, joints3d=path, shot_id=np.arange(10, dtype=np.int32))) == {0: ""}


def test_the_landmark_model_may_find_sides_exchanged_or_nobody():
    usual = SimpleNamespace(track=0, absent=False, exchanged=False, interpolated=False)
    right, absent, exchanged = (SimpleNamespace(**{**vars(usual), name: True}) for name in ("_", "absent", "exchanged"))
    assert doubts_of_keypoints([right] * 5 + [absent] * 2 + [exchanged] * 4) == {}
    assert doubts_of_keypoints([right] * 4 + [absent] * 2) == {"nobody": [0]}
    assert doubts_of_keypoints([right, exchanged, exchanged]) == {"doubts": ["left and right may be exchanged"]}


@pytest.mark.parametrize(
    ("box", "frames", "losses"),
    [
        ([200.0, 20.0, 400.0, 420.0], range(20), {0: 19 / 25}),
        ([200.0, 20.0, 400.0, 420.0], range(26), {}),  # too near the end
        ([200.0, 300.0, 400.0, 470.0], range(20), {0: 19 / 25}),  # at the bottom
        ([326.0, 20.0, 636.0, 420.0], range(20), {}),  # at the right edge, its middle 159 pixels away,
        ([324.0, 20.0, 634.0, 420.0], range(20), {0: 19 / 25}),  # and 161, more than a third of the height
        ([4.0, 20.0, 634.0, 298.0], range(20), {}),  # likewise from the top
        ([4.0, 20.0, 634.0, 302.0], range(20), {0: 19 / 25}),
    ],
)
def test_a_track_that_ends_in_the_middle_of_the_image_is_lost(box, frames, losses):
    fit = people(*({} for _ in range(30))).select(np.isin(np.arange(30), frames))
    fit = replace(fit, boxes=np.tile(np.float32(box), (len(frames), 1)))
    assert losses_in_view(fit) == pytest.approx(losses)
    # The next shot is another matter.
    cut = replace(fit, shot_id=(np.arange(30) >= 20).astype(fit.shot_id.dtype))
    assert losses_in_view(cut) == {}
