"""Who is who in several cameras, from tracks whose cameras, clocks and people are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from humanpose_cli.views import joining, people
from humanpose_cli.views.people import Clocks, propose_pose
from humanpose_cli.views.tracks import ViewTrack, about_neck, mirrored

TURN, SHIFT = Rotation.from_euler("yx", (70, 8), degrees=True).as_matrix(), np.array((0.4, -0.1, 2.0))
TURN_2, SHIFT_2 = Rotation.from_euler("yz", (-110, 5), degrees=True).as_matrix(), np.array((-0.3, 0.2, 1.5))
TIMES = np.arange(60) / 30


def movement(seed: int, at: tuple[float, float] = (0.0, 4.0)) -> np.ndarray:
    """Joints (60, 24, 3) of a person who stands at x, z metres before the first camera and moves on the spot."""
    random = np.random.default_rng(seed)
    rest, swing = random.normal(0, 0.35, (24, 3)), random.normal(0, 0.15, (3, 24, 3))
    phases = 2 * np.pi * TIMES[:, None] * (0.7, 1.1, 1.9) + random.uniform(0, 6, 3)
    joints = rest + np.einsum("tk,kjc->tjc", np.sin(phases), swing)
    return about_neck(joints) + np.array((at[0], 0.0, at[1]))


def track(joints: np.ndarray, view: int, number: int = 0, times: np.ndarray = TIMES, **more) -> ViewTrack:
    keypoints = np.ones((len(joints), 33, 3))
    seen = np.ones(joints.shape[:2])
    return ViewTrack(view, number, np.arange(len(joints)), times[: len(joints)], keypoints, joints, seen, **more)


def relate_views(views: Sequence[Sequence[ViewTrack]], offsets: Sequence[float] | None = None) -> people.RelatedViews:
    """Relate views with given clocks, or with clocks that movements show."""
    return people.relate_views(views, Clocks(offsets or [0.0] * len(views), given=offsets is not None))


def turned(joints: np.ndarray, turn: np.ndarray = TURN, shift: np.ndarray = SHIFT) -> np.ndarray:
    return joints @ turn.T + shift


def members(groups: Sequence[Sequence[ViewTrack]]) -> list[list[tuple[int, int]]]:
    """View and number of each person's tracks."""
    return [[(one.view, one.track) for one in tracks] for tracks in groups]


A, B, C = movement(1), movement(2, (1.2, 5.0)), movement(3, (-1.1, 4.4))


def test_one_person_shows_how_two_cameras_stand() -> None:
    pose = propose_pose([track(A, 0)], [track(turned(A), 1)], 0.0)
    assert pose is not None
    np.testing.assert_allclose(pose.rotation, TURN, atol=1e-12)
    np.testing.assert_allclose(pose.translation, SHIFT, atol=1e-12)
    ((first, second, distance),) = pose.pairs
    assert (first, second, pose.offset) == (0, 0, 0.0)
    assert distance == pytest.approx(0, abs=1e-12)
    # All of the allowed disagreement is left, for two seconds in steps of a 60th.
    assert pose.score == pytest.approx(people.MAX_DISAGREEMENT * 119 / 60)


def test_views_that_agree_are_related_although_the_first_shows_somebody_else() -> None:
    related = relate_views([[track(C, 0)], [track(A, 1)], [track(turned(A), 2)]])
    assert related.poses[0] is None
    assert related.used == [1, 2]
    assert related.poses[2] is not None
    np.testing.assert_allclose(related.poses[2][0], TURN, atol=1e-6)


def test_two_who_move_in_step_are_distinguished_by_where_they_stand() -> None:
    """Either could be either by movement: only one pairing has both in their positions."""
    twin = A + np.array((1.5, 0.0, 0.8))
    pose = propose_pose([track(A, 0), track(twin, 0, 1)], [track(turned(twin), 1), track(turned(A), 1, 1)], 0.0)
    assert pose is not None
    assert sorted(pair[:2] for pair in pose.pairs) == [(0, 1), (1, 0)]


def test_different_people_relate_no_cameras() -> None:
    assert propose_pose([track(A, 0)], [track(turned(B), 1)], 0.0) is None
    assert propose_pose([], [track(A, 1)], 0.0) is None
    related = relate_views([[track(A, 0)], [track(turned(B), 1)]])
    assert related.poses[1] is None
    assert members(related.people) == [[(0, 0)]]


def test_a_clock_that_is_ahead_is_taken_off() -> None:
    first, second = track(A, 0), track(turned(A), 1, times=TIMES + 0.5)
    pose = propose_pose([first], [second], 0.5)
    assert pose is not None
    np.testing.assert_allclose(pose.rotation, TURN, atol=1e-9)
    related = relate_views([[first], [second]], [0.0, 0.5])
    assert related.offsets == [0.0, 0.5]
    ((one, other),) = related.people
    np.testing.assert_allclose(other.times, one.times, atol=1e-12)
    # Without given clocks, movements show it to a small part of a frame.
    assert relate_views([[first], [second]]).offsets[1] == pytest.approx(0.5, abs=0.005)


def test_photographs_have_no_clocks() -> None:
    first, second = track(A[:1], 0), track(turned(A[:1]), 1, times=np.array([9.0]))
    related = relate_views([[first], [second]])
    assert related.offsets == [0.0, 0.0]
    assert related.poses[1] is not None
    np.testing.assert_allclose(related.poses[1][0], TURN, atol=1e-12)


def test_cameras_without_a_common_person_are_related_through_a_third() -> None:
    """Camera 1 shows A and B, camera 0 only A, camera 2 only B."""
    views = [
        [track(A, 0)],
        [track(turned(A), 1), track(turned(B), 1, 1)],
        [track(turned(B, TURN_2, SHIFT_2), 2)],
    ]
    related = relate_views(views, [0.0, 0.0, 0.0])
    expected = ((np.eye(3), np.zeros(3)), (TURN, SHIFT), (TURN_2, SHIFT_2))
    for pose, (turn, shift) in zip(related.poses, expected, strict=True):
        assert pose is not None
        np.testing.assert_allclose(pose[0], turn, atol=1e-9)
        np.testing.assert_allclose(pose[1], shift, atol=1e-9)
    assert members(related.people) == [[(0, 0), (1, 0)], [(1, 1), (2, 0)]]


def test_cameras_are_chained_against_their_order() -> None:
    """Camera 2 shows A and B, camera 0 only A, camera 1 only B: camera 1 is related to a later one."""
    views = [
        [track(A, 0)],
        [track(turned(B, TURN_2, SHIFT_2), 1)],
        [track(turned(A), 2), track(turned(B), 2, 1)],
    ]
    poses = relate_views(views, [0.0, 0.0, 0.0]).poses
    for pose, (turn, shift) in zip(poses, ((np.eye(3), np.zeros(3)), (TURN_2, SHIFT_2), (TURN, SHIFT)), strict=True):
        assert pose is not None
        np.testing.assert_allclose(pose[0], turn, atol=1e-9)
        np.testing.assert_allclose(pose[1], shift, atol=1e-9)


def test_the_first_camera_that_shows_people_is_where_the_others_start() -> None:
    related = relate_views([[], [track(A, 1)], [track(turned(A), 2)]], [0.0, 0.0, 0.0])
    assert related.poses[0] is None
    assert related.poses[1] is not None
    assert related.poses[2] is not None
    np.testing.assert_array_equal(related.poses[1][0], np.eye(3))
    np.testing.assert_allclose(related.poses[2][1], SHIFT, atol=1e-9)


def test_people_with_more_views_come_first() -> None:
    views = [
        [track(B, 0), track(A, 0, 1)],
        [track(turned(A), 1), track(turned(C), 1, 1)],
        [track(turned(A, TURN_2, SHIFT_2), 2), track(turned(B, TURN_2, SHIFT_2), 2, 1)],
    ]
    related = relate_views(views, [0.0, 0.0, 0.0])
    assert members(related.people) == [[(0, 1), (1, 0), (2, 0)], [(0, 0), (2, 1)], [(1, 1)]]


def test_a_person_who_left_and_came_back_is_one_person_of_two_tracks() -> None:
    """Camera 1 loses them for ten frames; of cameras 0 and 2, one shows them before and one after. Tracks of one view
    at one time stay two people.
    """
    points = turned(A, TURN_2, SHIFT_2)
    views = [
        [track(A[:40], 0)],
        [track(turned(A)[:25], 1), track(turned(A)[35:], 1, 1, TIMES[35:])],
        [track(points[20:], 2, times=TIMES[20:])],
    ]
    assert members(relate_views(views, [0.0, 0.0, 0.0]).people) == [[(0, 0), (1, 0), (1, 1), (2, 0)]]
    again = track(A, 0, 1)
    related = relate_views([[track(A, 0), again], [track(turned(A), 1)]], [0.0, 0.0])
    assert sorted(map(len, related.people)) == [1, 2]


def test_a_mirror_image_is_no_camera_of_the_take() -> None:
    reflected = track(mirrored(turned(A, TURN_2, SHIFT_2)), 2)
    related = relate_views([[track(A, 0)], [track(turned(A), 1)], [reflected]], [0.0, 0.0, 0.0])
    assert related.mirror_images == [2]
    assert related.poses[2] is None
    # Of two cameras it may be either: the second is called so.
    assert relate_views([[track(mirrored(A), 0)], [track(turned(A), 1)]], [0.0, 0.0]).mirror_images == [1]


@pytest.mark.parametrize(
    ("pairs", "count", "expected"),
    [
        ({(0, 1): False, (0, 2): True, (1, 2): True}, 3, [2]),
        ({(0, 1): True, (0, 2): True, (1, 2): False}, 3, [0]),
        ({(0, 1): True, (0, 2): True, (1, 2): True}, 3, []),  # which one is it?
        ({(0, 1): False, (0, 2): False, (1, 2): True}, 3, []),
        ({(0, 1): True}, 2, [1]),
        ({}, 2, []),
    ],
)
def test_which_views_are_mirror_images(pairs: dict[tuple[int, int], bool], count: int, expected: list[int]) -> None:
    assert people._mirror_images(pairs, count) == expected


def test_clothes_change_a_distance_by_a_quarter_of_its_logarithm_as_a_maximum() -> None:
    def dressed(lightness: float, weight: float = 1.0) -> ViewTrack:
        return track(A, 0, clothes=np.tile((lightness, 10.0, 20.0, weight), (6, 1)))

    def factor(one: ViewTrack, other: ViewTrack) -> float:
        return joining.clothes_factor(one, other)

    assert factor(dressed(50), dressed(50)) == pytest.approx(np.exp(-0.25))
    # Lightness counts 0.4: a difference of 45 is one of 18, where clothes say nothing.
    assert factor(dressed(20), dressed(65)) == pytest.approx(1.0)
    assert factor(dressed(0), dressed(100)) == pytest.approx(np.exp(0.25))
    assert factor(dressed(50), track(A, 0)) == 1.0
    assert factor(dressed(50, 0.0), dressed(50)) == 1.0


def test_distances_along_the_viewing_ray_do_not_count() -> None:
    positions = np.array([(0.0, 0.0, 4.0), (0.0, 3.0, 4.0)])
    assert people._lateral_distance(1.3 * positions, positions) == pytest.approx(0, abs=1e-12)
    assert people._lateral_distance(positions + np.array((0.25, 0.0, 0.0)), positions) == pytest.approx(0.25)


def test_clocks_by_sound_hold_unless_movements_contradict_them() -> None:
    views = [[track(A, 0)], [track(turned(A), 1, times=TIMES + 0.4)], [track(turned(A, TURN_2, SHIFT_2), 2)]]
    assert people.relate_views(views, Clocks([0.0, 0.41, 0.0])).offsets == [0.0, 0.41, 0.0]
    assert people.relate_views(views, Clocks([0.0, -0.6, 0.0])).offsets == pytest.approx([0.0, 0.4, 0.0], abs=0.005)


def test_joints_that_a_camera_does_not_see_have_no_voice() -> None:
    """One camera guesses another posture of the legs: without their weights, nobody is in both."""
    guessed = turned(A)
    legs = [1, 2, 4, 5, 7, 8, 10, 11]
    guessed[:, legs] += np.random.default_rng(2).normal(0, 0.6, (len(TIMES), len(legs), 3))
    hidden = track(guessed, 1)
    assert propose_pose([track(A, 0)], [hidden], 0.0) is None
    hidden.seen[:, legs] = 0.0
    pose = propose_pose([track(A, 0)], [hidden], 0.0)
    assert pose is not None
    np.testing.assert_allclose(pose.rotation, TURN, atol=1e-9)


def test_every_moment_without_a_second_camera_is_left_out_of_the_pose() -> None:
    """Of the second track, only the half that the first one shows, which alone is right, counts."""
    wrong = turned(A)
    wrong[30:] += np.random.default_rng(4).normal(0, 1, wrong[30:].shape)
    pose = propose_pose([track(A[:30], 0)], [replace(track(wrong, 1))], 0.0)
    assert pose is not None
    np.testing.assert_allclose(pose.rotation, TURN, atol=1e-12)
