"""A user's own body network with InstantHMR's interface: what it sees, and how its joints are joined with ours."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.pose_networks import BODY_SIDE, blazepose_body_network, body_network

from humanpose_cli.core.conventions import BLAZEPOSE33, MHR70_ROWS
from humanpose_cli.core.crop import Affine2D
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import DetectedPerson, PersonMask
from humanpose_cli.detect.pose_model import open_pose_model, use_pose_model
from humanpose_cli.detect.user_network import UserNetwork
from humanpose_cli.fitting.people import find_people
from humanpose_cli.io.inputs import Frame

WIDTH, HEIGHT = 320, 240
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
BOX = np.array([96, 40, 224, 168], np.float32)  # 128 pixels wide and high, in the middle across
SIDE = 1.2 * 128
COUNT = len(BLAZEPOSE33)
MINE = BLAZEPOSE33.indices(MHR70_ROWS)
ROWS = list(MHR70_ROWS.values())
RANDOM = np.random.default_rng(7)
POINTS = RANDOM.uniform((100, 45), (220, 165), (COUNT, 2)).astype(np.float32)
WORLD = RANDOM.normal(0, 0.4, (COUNT, 3)).astype(np.float32)
WORLD -= WORLD[BLAZEPOSE33.indices(["left_hip", "right_hip"])].mean(0)


@pytest.fixture(scope="module")
def pool() -> Iterator[ModelPool]:
    with ModelPool(2) as models:
        yield models


def someone() -> DetectedPerson:
    keypoints = np.column_stack((POINTS, np.full(COUNT, 0.8))).astype(np.float32)
    mask = PersonMask(np.full((8, 8), 255, np.uint8), Affine2D.identity())
    spread, world_spread = np.full(COUNT, 2, np.float32), np.full(COUNT, 0.02, np.float32)
    return DetectedPerson(BOX, keypoints, WORLD.copy(), spread, world_spread, mask, 0.9)


def in_crop(points: np.ndarray) -> np.ndarray:
    """joints_2d (70, 2) of points (33, 2) in pixels of the image."""
    result = np.zeros((70, 2), np.float32)
    result[ROWS] = (points[MINE] - (BOX[:2] + BOX[2:]) / 2) / (SIDE / 2)
    return result


def in_space(world: np.ndarray, shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    """joints_3d (70, 3) of world landmarks (33, 3)."""
    result = np.zeros((70, 3), np.float32)
    result[ROWS] = world[MINE] + shift
    return result


def posed(pool: ModelPool, path: Path, person: DetectedPerson, **options) -> DetectedPerson:
    (result,) = use_pose_model(pool, open_pose_model(path, "cpu"), IMAGE, [person], **options)
    return result


def test_rows_are_those_of_sam_3d_bodys_joints():
    """sam_3d_body/metadata/mhr70.py: fingers from the tip to the knuckle, the right hand first."""
    feet = [f"{side}_{part}" for side in ("left", "right") for part in ("foot_index", "small_toe", "heel")]
    fingers = ("thumb", "index", "middle", "ring", "pinky")
    hands = [
        [*(f"{side}_{finger}_{number}" for finger in fingers for number in range(4)), f"{side}_wrist"]
        for side in ("right", "left")
    ]
    names = [*list(MHR70_ROWS)[:15], *feet, *hands[0], *hands[1]]
    knuckles = {"thumb": 2, "index": 3, "pinky": 3}  # BlazePose's: the thumb's is the second
    for name, row in MHR70_ROWS.items():
        side, _, part = name.partition("_")
        assert names[row] == (f"{side}_{part}_{knuckles[part]}" if part in knuckles else name)
    assert list(MHR70_ROWS)[:15] == [n for n in names[:15] if n in BLAZEPOSE33]
    assert len(MHR70_ROWS) == COUNT - 6  # without corners of the eyes and mouth


@pytest.mark.parametrize(
    ("metadata", "focal", "condition"),
    [
        ({}, 500.0, [0.0, 2 * 104 / HEIGHT - 1, 128 / WIDTH]),  # its camera is its own
        ({"cliff_focal": "true"}, 500.0, [0.0, math.atan(-16 / 500), 128 / 500]),
        ({"cliff_focal": "true"}, None, [0.0, math.atan(-16 / 420), 128 / 420]),  # 1.05 times the diagonal of 400
    ],
)
def test_it_sees_the_crop_and_where_the_box_lies(tmp_path, monkeypatch, pool, metadata, focal, condition):
    image = IMAGE.copy()
    image[40:168, 96:224] = (255, 0, 128)
    path = body_network(tmp_path / "body.onnx", in_crop(POINTS), in_space(WORLD), metadata=metadata)
    model, inputs = open_pose_model(path, "cpu"), []
    rows = UserNetwork.rows
    monkeypatch.setattr(UserNetwork, "rows", lambda *values: inputs.append(values[3]) or rows(*values))
    use_pose_model(pool, model, image, [someone()], focal=focal)
    ((crop,), (condition_input,)) = inputs[0]["image"], inputs[0]["cliff_cond"]
    np.testing.assert_allclose(condition_input, condition, atol=1e-6)
    assert crop.shape == (3, BODY_SIDE, BODY_SIDE)
    colour = (np.array([255, 0, 128]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(crop[:, 112, 112], colour, atol=1e-4)
    edge = BODY_SIDE * (1 - 1 / 1.2) / 2  # the box begins here: 18.7 pixels
    np.testing.assert_allclose(crop[0, 112, [int(edge) - 1, int(edge) + 2]], [-0.485 / 0.229, colour[0]], atol=1e-4)


def test_joints_are_joined_by_noise_that_is_measured_on_their_distance(tmp_path, pool):
    others = POINTS + np.array([3, 4], np.float32)
    wrist, finger = BLAZEPOSE33.indices(["left_wrist", "left_index"])
    others[wrist] = POINTS[wrist] + [30, 40]
    person = posed(pool, body_network(tmp_path / "body.onnx", in_crop(others)), someone())
    # The mean square of both axes is 12.5, of which ours have 4; a median of two squares is 0.693 variances.
    variance = 12.5 / 0.693 - 4
    share = 4 / (4 + variance)
    moved = person.keypoints[:, :2] - POINTS
    rest = np.setdiff1d(MINE, [wrist])
    np.testing.assert_allclose(moved[rest], np.tile(share * np.array([3, 4]), (len(rest), 1)), atol=1e-3)
    np.testing.assert_allclose(moved[wrist], share * np.array([30, 40]), atol=1e-3)
    noise = math.sqrt(4 * variance / (4 + variance))
    np.testing.assert_allclose(person.spread[rest], noise, rtol=1e-4)
    np.testing.assert_allclose(person.spread[wrist], noise * math.sqrt(1250 / (4 + variance)), rtol=1e-4)
    np.testing.assert_allclose(person.keypoints[MINE, 2], 0.8, atol=1e-6)
    # Corners of the eyes and mouth follow; the confidence of the others is ours.
    corner, eye = BLAZEPOSE33.indices(["left_eye_inner", "nose"])
    np.testing.assert_allclose(moved[corner], moved[eye], atol=1e-4)
    assert person.keypoints[corner, 2] < 0.8
    assert moved[finger] == pytest.approx(share * np.array([3, 4]), abs=1e-3)


def test_the_noise_has_a_floor_of_a_hundredth_of_the_box(tmp_path, pool):
    person = posed(pool, body_network(tmp_path / "body.onnx", in_crop(POINTS)), someone())
    np.testing.assert_allclose(person.keypoints[:, :2], POINTS, atol=1e-3)
    np.testing.assert_allclose(person.spread[MINE], 1 / math.sqrt(1 / 4 + 1 / 1.28**2), rtol=1e-4)


def test_depth_is_joined_in_the_same_way(tmp_path, pool):
    others = WORLD + np.array([0, 0, 0.3], np.float32) * (np.arange(COUNT) % 2 * 2 - 1)[:, None]
    hips = BLAZEPOSE33.indices(["left_hip", "right_hip"])
    assert others[hips].mean(0) == pytest.approx(WORLD[hips].mean(0), abs=1e-6)
    # The middle of the hips in the middle of the image: no turn between the two cameras.
    points = POINTS + np.array([160, 120]) - POINTS[hips].mean(0)
    before = replace(someone(), keypoints=np.column_stack((points, np.full(COUNT, 0.8))).astype(np.float32))
    path = body_network(tmp_path / "body.onnx", in_crop(points), in_space(others, (0.1, 0.2, 0.3)))
    person = posed(pool, path, before)
    ours = 0.02**2 + 0.07**2
    theirs = 0.3**2 / 3 / 0.789 - ours
    share = ours / (ours + theirs)
    np.testing.assert_allclose((person.world - WORLD)[MINE], share * (others - WORLD)[MINE], atol=1e-4)
    np.testing.assert_allclose(person.world_spread[MINE], math.sqrt(ours * theirs / (ours + theirs)), rtol=1e-3)
    mouth, nose = BLAZEPOSE33.indices(["left_mouth", "nose"])
    np.testing.assert_allclose((person.world - WORLD)[mouth], (person.world - WORLD)[nose], atol=1e-5)
    assert person.world_spread[mouth] == np.float32(0.02)
    assert person.mask is before.mask


@pytest.mark.parametrize(("metadata", "focal", "length"), [({}, 500.0, 400.0), ({"cliff_focal": "true"}, 500.0, 500.0)])
def test_its_axes_are_the_images_cameras(tmp_path, pool, metadata, focal, length):
    """A body that looks straight at a camera is turned about y beside the middle of the image."""
    hips = BLAZEPOSE33.indices(["left_hip", "right_hip"])
    points = POINTS + np.array([200, 120]) - POINTS[hips].mean(0)
    angle = math.atan(40 / length)
    c, s = math.cos(angle), math.sin(angle)
    turned = WORLD @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
    path = body_network(tmp_path / "body.onnx", in_crop(points), in_space(turned), metadata=metadata)
    person = posed(pool, path, replace(someone(), world=None, world_spread=None), focal=focal)
    np.testing.assert_allclose(person.world[MINE], WORLD[MINE], atol=1e-4)
    np.testing.assert_allclose(person.world_spread[MINE], 0.04, rtol=1e-5)
    mouth = BLAZEPOSE33.index("left_mouth")
    np.testing.assert_allclose(person.world[mouth], WORLD[BLAZEPOSE33.index("nose")], atol=1e-4)
    assert person.world_spread[mouth] == 1.0


def test_another_pose_is_its_alone(tmp_path, pool):
    others = POINTS[::-1].copy()
    path = body_network(tmp_path / "body.onnx", in_crop(others), in_space(WORLD[::-1]))
    person = posed(pool, path, someone())
    np.testing.assert_allclose(person.keypoints[MINE, :2], others[MINE], atol=1e-3)
    np.testing.assert_allclose(person.spread[MINE], 1.28, rtol=1e-6)
    np.testing.assert_allclose(person.world_spread[MINE], 0.04, rtol=1e-6)
    assert person.mask is None


def test_without_joints_in_space_depth_stays_and_a_warning_names_them(tmp_path, pool, caplog):
    path = body_network(tmp_path / "body.onnx", in_crop(POINTS))
    with caplog.at_level(logging.WARNING, "humanpose_cli.detect"):
        person = posed(pool, path, someone())
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} gives no joints in space (joints_3d): it adds joints in the image only"
    ]
    np.testing.assert_array_equal(person.world, WORLD)
    assert posed(pool, body_network(path, in_crop(POINTS[::-1])), someone()).world is None


POINTS70, SPACE70 = np.zeros((70, 2), np.float32), np.zeros((70, 3), np.float32)
OTHERS = {
    "no place of the box": ({"condition": ("batch", 4)}, "input cliff_cond tensor(float) of shape ['batch', 4]"),
    "not square": ({"image": ("batch", 3, 256, 192)}, "images of 192 x 256 and outputs mhr_params, joints_2d"),
    "any size": ({"image": ("batch", 3, "h", "w")}, "input image tensor(float) of shape"),
    "other outputs": ({"names": ("kp2d", "kp3d")}, "outputs mhr_params, kp2d, kp3d"),
    "other joints": ({"points": POINTS70[:22]}, "outputs of shapes (1, 22, 2) and (1, 70, 3)"),
    "rows of quaternions": ({"space": np.zeros((70, 4), np.float32)}, "(1, 70, 4)"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_networks_are_refused_with_what_is_expected(tmp_path, kind):
    changes, got = OTHERS[kind]
    path = body_network(tmp_path / "body.onnx", **{"points": POINTS70, "space": SPACE70, **changes})
    with raises(InputError, subject="body.onnx", expected="cliff_cond", got=got):
        open_pose_model(path, "cpu")


@pytest.mark.extensive
def test_the_shipped_network_with_this_interface_agrees_with_itself(tmp_path, clip_frames: list[np.ndarray]) -> None:
    """In an image and in frames of a sequence: joints stay where they are, and their noise becomes less."""
    path = blazepose_body_network(tmp_path / "body.onnx")
    frames = [Frame(index, f"{index}.png", pixels) for index, pixels in enumerate(clip_frames[:2])]
    with find_people("fast", 2) as people:
        before = [people.in_image(frames[0]), *(found for _, found in people.in_sequence(frames))]
    with find_people("fast", 2, pose_model=path) as people:
        after = [people.in_image(frames[0]), *(found for _, found in people.in_sequence(frames))]
    for (old,), (new,) in zip(before, after, strict=True):
        size = float(max(old.box[2:] - old.box[:2]))
        assert 0 < np.linalg.norm((new.keypoints - old.keypoints)[:, :2], axis=1).max() < 0.03 * size
        assert 0.5 < np.median(new.spread / old.spread) < 0.95
        assert 0.01 < np.linalg.norm(new.world - old.world, axis=1).max() < 0.15
