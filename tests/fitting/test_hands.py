"""Fingers, wrists and forearms from landmarks of hands whose pose is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.fit_values import values
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.joint_angles import angles_from_named, angles_to_rotations, rotations_to_angles
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import FINGERS, HAND21, SMPL24
from humanpose_cli.detect.hands import FACE_LANDMARKS
from humanpose_cli.detect.person import DetectedPerson, Hand
from humanpose_cli.fitting.hands import articulate, hands_not_taken
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.records import joined, record_summary
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, geodesic_angle, matrix_to_axis_angle
from humanpose_cli.io.fit_options import StoredOptions

pytestmark = pytest.mark.slow

LENS = Camera.of_image((1280, 960), 1000.0)
WRISTS, ELBOWS = SMPL24.indices(["left_wrist", "right_wrist"]), SMPL24.indices(["left_elbow", "right_elbow"])
GRIP = {name: 0.3 + 0.2 * int(name[-1]) for name in FINGERS if not name.startswith("thumb")}
NEAR = 0.012  # metres: priors hold fingers back by so much at most
STANCE = {"shoulder.elevation": -60.0, "elbow.flexion": 70.0}


def hand_poses(body: Body, **flexions: float) -> Tensor:
    """(2, 15, 3): both hands with joints that flex by radians, across their bones and towards the palm."""
    assert body.fingers is not None
    points = body.fingers.points(torch.zeros(1, 10))[0]
    points = torch.einsum("sij,spj->spi", body.rest_rotations[WRISTS], points)
    angles = torch.zeros(2, 15, 3)
    for name, angle in flexions.items():
        row = HAND21.index(name) - 1
        along = torch.nn.functional.normalize(points[:, row + 1] - points[:, row], dim=-1)
        palm = torch.tensor([0.0, -1.0, 0.0]).expand(2, 3)
        side = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
        axis = side - (side * along).sum(-1, keepdim=True) * along
        assert ((torch.linalg.cross(axis, along) * palm).sum(-1) > 0).all()
        angles[:, FINGERS.index(name)] = angle * torch.nn.functional.normalize(axis, dim=-1)
    return angles


def bodies_of(body: Body, angles: dict[str, float], count: int = 1) -> KeypointFit:
    """A person who faces the camera, 3 m away and beside its axis, with joint angles in degrees."""
    rotations = angles_to_rotations(angles_from_named(angles))[None].repeat(count, 1, 1, 1)
    rotations[:, 0] = axis_angle_to_matrix(torch.tensor([np.pi, 0.0, 0.0]))
    betas, trans = torch.zeros(count, 10), torch.tensor([[0.8, 0.1, 3.0]]).repeat(count, 1)
    joints = body.pose(rotations, betas, trans, vertices=False).joints.numpy()
    ones = np.ones(count, np.float32)
    return KeypointFit(
        poses=matrix_to_axis_angle(rotations).flatten(1).numpy(),
        betas=betas.numpy(),
        trans=trans.numpy(),
        segment_scales=np.ones((count, 24), np.float32),
        joints3d=joints,
        joints2d=LENS.project(joints),
        confidence=ones,
        joint_confidence=np.ones((count, 24), np.float32),
        reprojection_error=ones,
    )


def rotations_of(bodies: KeypointFit) -> Tensor:
    return axis_angle_to_matrix(torch.from_numpy(bodies.poses).double().unflatten(1, (24, 3)))


def detected_hands(body: Body, true: KeypointFit, poses: Tensor, row: int = 0) -> tuple[Hand, Hand]:
    """The landmarks of a true body, as a network that looks straight at each hand gives them."""
    assert body.fingers is not None
    betas = torch.from_numpy(true.betas[row : row + 1])
    posed = body.pose(rotations_of(true)[row : row + 1].float(), betas, torch.from_numpy(true.trans[row : row + 1]))
    points = body.fingers.points(betas, axis_angle_to_matrix(poses)[None])[0]
    result = []
    for side, wrist in enumerate(WRISTS):
        rest = body.rest_joints(betas)[0, wrist]
        world = torch.cat((rest[None], points[side])) - rest
        in_camera = (world @ posed.linear[0, wrist].T + posed.joints[0, wrist]).double()
        pixels = LENS.project(in_camera.numpy())
        ray = in_camera[0] / in_camera[0].norm()
        axis = torch.linalg.cross(ray, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
        turn = axis_angle_to_matrix(axis / axis.norm() * torch.arccos(ray[2]))
        result.append(Hand(pixels, ((in_camera - in_camera[0]) @ turn.T).numpy(), 0.9))
    return result[0], result[1]


def person_with(hands: tuple[Hand, Hand] | None, frame: int = 0) -> DetectedPerson:
    nothing = np.zeros((33, 3), np.float32)
    return DetectedPerson(
        np.zeros(4, np.float32), nothing, None, nothing[:, 0], None, None, 1.0, hands=hands, frame=frame
    )


def distances(body: Body, poses: np.ndarray, true: Tensor) -> float:
    """The largest distance of a landmark of hands from where a true pose has it, metres."""
    assert body.fingers is not None
    both = torch.stack((torch.from_numpy(poses), true))
    points = body.fingers.points(torch.zeros(1, 10), axis_angle_to_matrix(both))
    return float((points[0] - points[1]).norm(dim=-1).max())


def detected_face(body: Body, true: KeypointFit) -> np.ndarray:
    """The landmarks of a true face, as a network that looks straight at it gives them."""
    posed = body.pose(rotations_of(true).float(), torch.from_numpy(true.betas), torch.from_numpy(true.trans))
    table = body.landmarks("face13")
    points = body.pose_landmarks(table, posed, torch.from_numpy(true.betas))[0].double()
    points = points[table.skeleton.indices(FACE_LANDMARKS)]
    ray = points.mean(0) / points.mean(0).norm()
    depths = (points - points.mean(0)) @ ray * LENS.focal / points.mean(0)[2]
    return np.concatenate((np.c_[LENS.project(points.numpy()), depths], np.zeros((2, 3))))


def cameras(count: int = 1) -> list[FrameCamera]:
    return [FrameCamera(str(frame), LENS, time=frame / 30) for frame in range(count)]


def mirrored_in_depth(hand: Hand) -> Hand:
    return replace(hand, world=hand.world * [1, 1, -1])


@pytest.mark.parametrize("change", [lambda hand: hand, mirrored_in_depth], ids=["seen", "mirrored in depth"])
def test_recovers_fingers_wrists_and_forearms(body: Body, change) -> None:
    true = bodies_of(body, STANCE | {"elbow.pronation": 40.0, "wrist.flexion": 25.0, "wrist.thumb_bend": -10.0})
    hands = detected_hands(body, true, hand_poses(body, **GRIP))
    fitted = bodies_of(body, STANCE)
    found = articulate(body, fitted, [person_with((change(hands[0]), change(hands[1])))], cameras())
    assert found.hand_poses is not None
    assert found.hand_confidence is not None
    angles = rotations_to_angles(rotations_of(found))[0]
    for side in ("left", "right"):
        elbow, wrist = (torch.rad2deg(angles[SMPL24.index(f"{side}_{joint}")]) for joint in ("elbow", "wrist"))
        torch.testing.assert_close(elbow[2].item(), 40.0, atol=3.0, rtol=0)
        torch.testing.assert_close(wrist[:2].tolist(), [25.0, -10.0], atol=3.0, rtol=0)
    assert distances(body, found.hand_poses[0], hand_poses(body, **GRIP)) < NEAR
    assert (found.hand_confidence > 0.5).all()


def test_only_forearms_wrists_and_hands_change(body: Body) -> None:
    hands = detected_hands(body, bodies_of(body, STANCE | {"elbow.pronation": 50.0}), hand_poses(body))
    before = bodies_of(body, STANCE)
    after = articulate(body, before, [person_with(hands)], cameras())
    arms = SMPL24.indices([f"{side}_{joint}" for side in ("left", "right") for joint in ("elbow", "wrist", "hand")])
    others = [row for row in range(24) if row not in arms]
    turned = geodesic_angle(rotations_of(before), rotations_of(after))[0]
    assert turned[others].max() < 1e-5
    assert (turned[ELBOWS] > 0.5).all()
    moved = np.abs(after.joints3d - before.joints3d)[0].max(-1)
    assert moved[: SMPL24.index("left_hand")].max() == 0
    assert set(after.columns) - set(before.columns) == {"hand_poses", "hand_confidence"}


def test_hands_that_are_not_detected_are_relaxed(body: Body) -> None:
    before = bodies_of(body, STANCE)
    missing = Hand.missing("hidden")
    after = articulate(body, before, [person_with((missing, missing))], cameras())
    assert after.hand_poses is not None
    np.testing.assert_array_equal(after.hand_confidence, np.zeros((1, 2)))
    np.testing.assert_allclose(after.poses, before.poses, atol=1e-6)
    flexion = after.hand_poses[0, 0, :12, 2]
    assert (flexion < -0.2).all(), "towards the palm"
    index, middle, pinky, _ = flexion.reshape(4, 3).sum(1)
    assert index > middle > pinky, "more so towards the little finger"
    np.testing.assert_allclose(after.hand_poses[0, 1], after.hand_poses[0, 0] * [1, -1, -1], atol=1e-6)


def test_a_hand_that_no_arm_could_hold_is_not_used(body: Body) -> None:
    hands = detected_hands(body, bodies_of(body, STANCE | {"wrist.thumb_bend": 120.0}), hand_poses(body))
    before = bodies_of(body, STANCE)
    after = articulate(body, before, [person_with(hands)], cameras())
    np.testing.assert_array_equal(after.hand_confidence, np.zeros((1, 2)))
    np.testing.assert_allclose(after.poses, before.poses, atol=1e-6)


def test_bodies_without_fingers_and_people_without_a_search_stay(body: Body) -> None:
    before = bodies_of(body, STANCE)
    assert articulate(body, before, [person_with(None)], cameras()) is before


def test_hands_are_held_between_detections_and_fade_at_the_ends(body: Body) -> None:
    """Three detections in a second: in between the hand stays closed, and long before and after it is relaxed."""
    count, seen = 90, (30, 40, 50)
    true = bodies_of(body, STANCE, count)
    hands = detected_hands(body, true, hand_poses(body, **GRIP))
    missing = Hand.missing("hidden")
    people = [person_with(hands if frame in seen else (missing, missing), frame) for frame in range(count)]
    poses = articulate(body, true, people, cameras(count), smooth=True).hand_poses
    assert poses is not None
    assert max(distances(body, held, hand_poses(body, **GRIP)) for held in poses[30:51]) < NEAR
    np.testing.assert_allclose(poses[[0, 89]], poses[[1, 88]], atol=1e-6)
    assert np.abs(np.diff(poses, 2, axis=0)).max() < 0.1, "without a jump"


def test_the_first_frames_are_means_of_their_neighbours_as_all_others(body: Body) -> None:
    """One wrong hand in the first frame of a clip: it counts once, whatever lies before the clip."""
    count = 12
    true = bodies_of(body, STANCE, count)
    right, wrong = detected_hands(body, true, hand_poses(body)), detected_hands(body, true, hand_poses(body, **GRIP))
    people = [person_with(wrong if frame == 0 else right, frame) for frame in range(count)]
    reverse = [replace(person, frame=count - 1 - person.frame) for person in reversed(people)]
    difference = distances(body, hand_poses(body).numpy(), hand_poses(body, **GRIP))
    for rows, end in ((people, 2), (reverse, count - 3)):
        poses = articulate(body, true, rows, cameras(count), smooth=True).hand_poses
        assert poses is not None
        assert distances(body, poses[end], hand_poses(body)) < 0.5 * difference


def test_two_people_of_one_frame_have_no_neighbours(body: Body) -> None:
    two = bodies_of(body, STANCE, 2)
    hands = detected_hands(body, two, hand_poses(body, **GRIP))
    people = [person_with(hands), replace(person_with(hands), track=1)]
    poses = articulate(body, two, people, cameras(), smooth=True).hand_poses
    assert poses is not None
    assert max(distances(body, each, hand_poses(body, **GRIP)) for each in poses) < NEAR


def test_fits_of_images_keep_their_hands_when_they_are_joined() -> None:
    with_hands = Fit.build(**values(tracks=[0], frames=[0], frame_count=1))
    poses = np.full((1, 2, 15, 3), 0.5, np.float32)
    with_hands = replace(with_hands, hand_poses=poses, hand_confidence=np.ones((1, 2), np.float32))
    nobody = Fit.empty(["b.jpg"], [(640, 480)], [768.0])
    both = joined([nobody, with_hands, with_hands])
    np.testing.assert_array_equal(both.hand_poses, np.concatenate((poses, poses)))
    np.testing.assert_array_equal(both.hand_confidence, np.ones((2, 2)))
    assert (both.track_id.tolist(), both.frame_index.tolist()) == ([0, 1], [1, 2])
    assert joined([nobody, nobody]).hand_poses is None


def test_counts_the_hands_that_are_not_taken_by_reason(body: Body) -> None:
    before = bodies_of(body, STANCE, 3)
    implausible = detected_hands(body, bodies_of(body, STANCE | {"wrist.thumb_bend": 120.0}), hand_poses(body))[0]
    hands = (Hand.missing("hidden"), Hand.missing("too small")), (Hand.missing("hidden"), implausible)
    people = [*(person_with(pair, frame) for frame, pair in enumerate(hands)), person_with(None, 2)]
    counts = hands_not_taken(people, articulate(body, before, people, cameras(3)))
    assert [tuple(entry.values()) for entry in counts] == [
        (0, "left", "hidden", 2),
        (0, "right", "implausible", 1),
        (0, "right", "too small", 1),
    ]
    fit = Fit.build(**values(tracks=[0, 0, 0], frames=[0, 1, 2], frame_count=3))
    fit = replace(fit, options=StoredOptions(hands_not_taken=counts))
    assert record_summary(fit)["hands_not_taken"] == "left hand: hidden; right hand: implausible"
    both = joined([fit, fit])
    assert {entry["person"] for entry in both.options.hands_not_taken} == {0, 1}
    assert record_summary(both)["hands_not_taken"].startswith("person 0, left hand: hidden; ")
    assert "hands_not_taken" not in record_summary(replace(fit, options=StoredOptions()))


NECK, HEAD = SMPL24.index("neck"), SMPL24.index("head")


def test_heads_turn_towards_faces_and_nothing_else_moves(body):
    angles = ({"head.turn": 25.0, "neck.flexion": 12.0}, {"head.turn": 5.0, "neck.flexion": 0.0})
    true, fit = (bodies_of(body, STANCE | each) for each in angles)
    person = replace(person_with((Hand.missing("hidden"),) * 2), face=detected_face(body, true))
    turned = articulate(body, fit, [person], cameras())
    relative = torch.cat([rotations_of(each) for each in (fit, turned, true)])
    posed = body.pose(relative.float(), torch.zeros(1, 10), torch.from_numpy(fit.trans), vertices=False)
    before, after = (geodesic_angle(posed.rotations[row, HEAD], posed.rotations[2, HEAD]) for row in (0, 1))
    assert after < np.deg2rad(2) < np.deg2rad(22) < before
    rest = [joint for joint in range(22) if joint not in (NECK, HEAD)]
    torch.testing.assert_close(relative[1, rest], relative[0, rest], atol=1e-6, rtol=0)
    np.testing.assert_allclose(turned.joints3d[0], posed.joints[1], atol=1e-5)


def test_a_face_far_from_the_fit_turns_nothing(body):
    true, fit = (bodies_of(body, STANCE | {"head.turn": turn}) for turn in (50.0, -5.0))
    person = replace(person_with((Hand.missing("hidden"),) * 2), face=detected_face(body, true))
    turned = articulate(body, fit, [person], cameras())
    torch.testing.assert_close(rotations_of(turned)[:, HEAD], rotations_of(fit)[:, HEAD], atol=1e-6, rtol=0)
