"""Hands around wrists: crops, one hand for one wrist, and few crops in videos. Images tell their own coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pytest

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, HAND21, Skeleton
from humanpose_cli.detect.hands import HandDetector
from humanpose_cli.detect.models import FACE_SIZE, HAND_SIZE, PoseModels
from humanpose_cli.detect.person import DetectedPerson, Hand

SIDE = 512
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
IMAGE = np.stack((COLUMNS // 2, ROWS // 2, np.full((SIDE, SIDE), 255)), -1).astype(np.uint8)
# A hand that points up, 60 pixels long: the wrist below, five fingers of four joints.
SHAPE = np.array([(0.0, 0.0), *(((f - 2) * (4 + 3 * j), -20.0 - 13 * j) for f in range(5) for j in range(4))])


class FakeNetwork:
    """Finds hands at known positions, wherever a crop shows them near its middle, at a plausible size."""

    def __init__(self, *wrists: tuple[float, float]) -> None:
        self.hands = [SHAPE + wrist for wrist in wrists]
        self.crops = 0

    def __call__(self, models: PoseModels, crops: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, float]]:
        self.crops += len(crops)
        return [self._one(crop.astype(float)) for crop in crops]

    def _one(self, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        inside = np.argwhere(crop[..., 2] > 250)
        if len(inside) < 1000:
            return np.zeros((21, 2)), np.zeros((21, 3)), 0.0
        places = np.c_[2 * crop[inside[:, 0], inside[:, 1], :2] + 1, np.ones(len(inside))]
        to_crop = np.linalg.lstsq(places, inside[:, ::-1] + 0.5, rcond=None)[0]  # (3, 2)
        for hand in self.hands:
            points = np.c_[hand, np.ones(21)] @ to_crop
            off = np.abs(points.mean(0) - HAND_SIZE / 2).max() / HAND_SIZE
            size = np.ptp(points, axis=0).max() / HAND_SIZE
            if off < 0.3 and 0.2 < size < 0.9:
                return points, np.c_[points / 1000, np.zeros(21)], float(1 - off)
        return np.zeros((21, 2)), np.zeros((21, 3)), 0.1


def person(track: int = 0, skeleton: Skeleton = COCO17, **joints: tuple[float, float]) -> DetectedPerson:
    keypoints = np.zeros((len(skeleton), 3), np.float32)
    for name, point in joints.items():
        keypoints[skeleton.index(name)] = (*point, 0.9)
    zeros = np.zeros(len(skeleton), np.float32)
    return DetectedPerson(np.zeros(4, np.float32), keypoints, None, zeros, None, None, 1.0, skeleton, track=track)


def arm(x: float, y: float, side: str = "left", length: float = 80.0) -> dict[str, tuple[float, float]]:
    """An arm whose forearm points up to a wrist."""
    return {f"{side}_wrist": (x, y), f"{side}_elbow": (x, y + length), f"{side}_shoulder": (x, y + 2 * length)}


@pytest.fixture
def network(monkeypatch):
    def use(*wrists: tuple[float, float]) -> FakeNetwork:
        fake = FakeNetwork(*wrists)
        monkeypatch.setattr(PoseModels, "hands", lambda models, crops: fake(models, crops))
        return fake

    return use


def hands_of(*people: DetectedPerson) -> list[Hand]:
    with closing(HandDetector(True, threads=1)) as detector:
        found = detector.add(IMAGE, people)
    assert all(each.hands is not None for each in found)
    return [hand for each in found for hand in each.hands or ()]


@pytest.mark.parametrize("turn", [0.0, 2.0, -0.7])
def test_finds_the_hand_beyond_the_wrist_in_any_direction(network, turn):
    fake = network((256, 256))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    fake.hands = [SHAPE @ rotation.T + 256]
    elbow, shoulder = (256 + rotation @ (0, distance) for distance in (80, 160))
    left, right = hands_of(person(left_wrist=(256, 256), left_elbow=elbow, left_shoulder=shoulder))
    assert left.reason == ""
    np.testing.assert_allclose(left.points, fake.hands[0], atol=1.0)
    # World points are in the image's axes, whatever the crop's rotation: the shape of the hand in other units.
    world, image = ((points - points[0])[:, :2] for points in (left.world, left.points))
    scale = np.linalg.norm(world) / np.linalg.norm(image)
    np.testing.assert_allclose(world / scale, image, atol=1.5)
    assert right.reason == "hidden"


def test_a_hand_along_the_knuckles_is_found_behind_a_bent_wrist(network):
    """The forearm points up, the hand to the side: BlazePose's knuckles tell."""
    fake = network((256, 256))
    fake.hands = [SHAPE[:, ::-1] * [-1, 1] + 256]
    joints = {**arm(256, 256, length=100), "left_index": (310, 250), "left_pinky": (310, 270)}
    left, _ = hands_of(person(skeleton=BLAZEPOSE33, **joints))
    assert left.reason == ""
    assert left.points[HAND21.index("middle4"), 0] > 300


def test_says_why_a_hand_was_not_taken(network):
    network((256, 256))
    hidden, small = hands_of(person(**arm(100, 400), **arm(300, 300, "right", length=20)))
    assert (hidden.reason, small.reason) == ("hidden", "too small")
    assert hidden.presence == small.presence == 0


def test_two_wrists_never_take_one_hand(network):
    """Crossed wrists of one person, and the wrists of two people: the nearer one keeps the hand."""
    network((256, 256))
    left, right = hands_of(person(**arm(270, 256), **arm(258, 256, "right")))
    assert (left.reason, right.reason) == ("another person's", "")
    first, _, second, _ = hands_of(person(0, **arm(256, 257)), person(1, **arm(275, 262)))
    assert (first.reason, second.reason) == ("", "another person's")
    of_the_other, _, too_large, _ = hands_of(person(0, **arm(275, 262)), person(1, **arm(256, 257, length=900)))
    assert (of_the_other.reason, too_large.reason) == ("another person's", "hidden")
    far, _ = hands_of(person(**arm(256, 320)))
    assert far.reason in ("another person's", "hidden")


def test_a_video_needs_one_crop_a_hand_and_follows_the_wrist(network):
    fake = network((200, 256))
    moving = [person(7, **arm(200 + 12 * frame, 256)) for frame in range(12)]
    counts = []
    with closing(HandDetector(True, threads=1)) as detector:
        for frame, each in enumerate(moving):
            fake.hands, before = [SHAPE + np.array((200 + 12 * frame, 256))], fake.crops
            (followed,) = detector.add(IMAGE, [each], follow=True)
            counts.append(fake.crops - before)
            assert followed.hands is not None
            np.testing.assert_allclose(followed.hands[0].points, fake.hands[0], atol=1.0)
    assert counts[1:] == [1] * 11


def test_a_lost_hand_costs_little_and_is_found_again(network):
    fake = network()
    still = person(7, **arm(256, 256))
    with closing(HandDetector(True, threads=1)) as detector:
        counts = []
        for frame in range(12):
            if frame == 8:
                fake.hands = [SHAPE + 256]
            before = fake.crops
            (followed,) = detector.add(IMAGE, [still], follow=True)
            counts.append(fake.crops - before)
    assert max(counts[1:8]) <= 2
    assert followed.hands is not None
    assert followed.hands[0].reason == ""


def test_people_stay_as_they_are_without_a_search():
    people = [person(**arm(256, 256))]
    assert HandDetector(False).add(IMAGE, people) == people


def test_the_network_sees_no_hand_in_grey():
    ((points, world, presence),) = PoseModels("cpu").hands([np.full((HAND_SIZE, HAND_SIZE, 3), 128, np.uint8)])
    assert (points.shape, world.shape) == ((21, 2), (21, 3))
    assert 0 <= presence < 0.5


# A person who faces the camera: eyes, mouth, ears and nose.
HEAD = {"left_eye": (270, 240), "right_eye": (242, 240), "left_mouth": (268, 270), "right_mouth": (244, 270)}
HEAD |= {"left_ear": (296, 250), "right_ear": (216, 250), "nose": (256, 254)}


def find_faces(monkeypatch, presence: float) -> None:
    """Find faces whose landmarks are in the middle of the crop, each a pixel behind the one before."""

    def faces(models: PoseModels, crops: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        points = np.full((468, 3), FACE_SIZE / 2) + np.arange(468)[:, None] * [0, 0, 1]
        return [(points, presence) for _ in crops]

    monkeypatch.setattr(PoseModels, "faces", faces)


def face_of(**joints: tuple[float, float]) -> np.ndarray | None:
    with closing(HandDetector(True, threads=1)) as detector:
        return detector.add(IMAGE, [person(skeleton=BLAZEPOSE33, **joints)])[0].face


def test_a_face_is_between_eyes_and_mouth(monkeypatch):
    find_faces(monkeypatch, 0.9)
    face = face_of(**HEAD)
    assert face is not None
    np.testing.assert_allclose(face[:, :2], [[256, 255]] * 9)
    # The crop is 1.4 distances between the ears wide.
    np.testing.assert_allclose(np.diff(face[[0, 7, 8], 2]), np.array([12, 1]) * 112 / FACE_SIZE)


@pytest.mark.parametrize(
    ("presence", "change"),
    [
        (0.4, {}),
        (0.9, {"nose": (370, 254)}),  # a profile
        (0.9, {"left_ear": (216, 250), "right_ear": (296, 250)}),  # from behind
        (0.9, {name: (256 + (x - 256) / 6, 255 + (y - 255) / 6) for name, (x, y) in HEAD.items()}),
    ],
)
def test_no_face_where_it_is_unsure_turned_away_or_small(monkeypatch, presence, change):
    find_faces(monkeypatch, presence)
    assert face_of(**HEAD | change) is None


def test_the_network_sees_no_face_in_grey():
    ((points, presence),) = PoseModels("cpu").faces([np.full((FACE_SIZE, FACE_SIZE, 3), 128, np.uint8)])
    assert points.shape == (468, 3)
    assert presence < 0.5
