"""A user's own pose network, with small ONNX models whose joints are known exactly."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.errors import raises
from helpers.pose_networks import HEIGHT, WIDTH, fixed_peaks, peak_network, peaks, write_network
from onnx import helper

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.detector import person_from_keypoints
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.pose_model import open_pose_model, use_pose_model
from humanpose_cli.detect.regions import Pyramid
from humanpose_cli.detect.simcc import SimccModel
from humanpose_cli.files import unpacking
from humanpose_cli.files.digests import file_digest
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.people import find_people
from humanpose_cli.io.inputs import Frame

MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@pytest.fixture(scope="module")
def pool() -> Iterator[ModelPool]:
    with ModelPool(2) as models:
        yield models


@pytest.mark.parametrize(("joints", "ratio"), [(17, 2), (26, 2), (17, 3)])
def test_peaks_are_joints_in_the_image_and_the_lower_value_is_the_score(tmp_path, joints: int, ratio: int) -> None:
    path, bins, scores = peak_network(tmp_path / "pose.onnx", joints, ratio)
    # A tall box, whose crop is 1.25 times as high, and a wide one, whose crop is 1.25 times as wide.
    boxes = np.array([[100, 40, 130, 168], [10, 60, 202, 80]], np.float32)
    found = open_pose_model(path).joints(Pyramid(np.zeros((240, 320, 3), np.uint8)), boxes)
    assert found.shape == (2, joints, 3)
    for (x0, y0, x1, y1), rows, pixel in zip(boxes, found, (1.25 * 128 / HEIGHT, 1.25 * 192 / WIDTH), strict=True):
        corner = np.array([x0 + x1, y0 + y1]) / 2 - pixel * np.array([WIDTH, HEIGHT]) / 2
        np.testing.assert_allclose(rows[:, :2], corner + pixel * (bins / ratio + 0.5), atol=1e-4)
        np.testing.assert_array_equal(rows[:, 2], scores)


def looking_network(path: Path, **options: Any) -> Path:
    """Joint k = 0, 1, 2 is where channel k is brightest, with that brightness as its score; the others are nowhere."""
    nodes = []
    for name, side, axis, length in (("simcc_x", "x", 2, WIDTH), ("simcc_y", "y", 3, HEIGHT)):
        nodes += [
            helper.make_node("ReduceMax", ["input"], [f"{side}_max"], axes=[axis], keepdims=0),  # (N, 3, length)
            helper.make_node("Unsqueeze", [f"{side}_max", "end"], [f"{side}_column"]),
            helper.make_node("Pad", [f"{side}_column", "pads", "nothing"], [f"{side}_bins"]),  # odd bins are nowhere
            helper.make_node("Reshape", [f"{side}_bins", f"{side}_shape"], [name]),
        ]
        options.setdefault("constants", {})[f"{side}_shape"] = np.array([-1, 17, 2 * length])
    constants = {
        "end": np.array([3]),
        "pads": np.array([0, 0, 0, 0, 0, 14, 0, 1]),
        "nothing": np.array(-9, np.float32),
        **options.pop("constants"),
    }
    return write_network(path, nodes, constants, **options)


def test_the_network_sees_a_normalised_rgb_crop_where_it_is(tmp_path) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    pixels = np.array([[140, 60], [120, 130], [160, 90]])  # brightest pixels of red, green and blue
    levels = [124, 140, 150]
    for channel, ((x, y), level) in enumerate(zip(pixels, levels, strict=True)):
        image[y, x, channel] = level
    # The crop has the image's scale: 38.4 x 51.2 pixels are 48 x 64 with a quarter more.
    model = open_pose_model(looking_network(tmp_path / "pose.onnx"))
    for (x, y), level, channel in zip(pixels, levels, range(3), strict=True):
        box = np.array([x - 19.2 + 3, y - 25.6 - 4, x + 19.2 + 3, y + 25.6 - 4], np.float32)
        (found,) = model.joints(Pyramid(image), [box])
        np.testing.assert_allclose(found[channel, :2], [x + 0.5, y + 0.5], atol=1e-3)
        assert found[channel, 2] == pytest.approx((level - MEAN[channel]) / STD[channel], abs=1e-3)
        assert (found[3:, 2] == 0).all()


def test_beyond_the_image_it_sees_black(tmp_path) -> None:
    nodes = [helper.make_node("ReduceMin", ["input"], ["least"], axes=[2, 3], keepdims=0)]  # (N, 3)
    nodes += [
        helper.make_node("Neg", ["least"], ["most"]),
        helper.make_node("Unsqueeze", ["most", "end"], ["column"]),
    ]
    constants = {"end": np.array([2])}
    for side, length in (("x", WIDTH), ("y", HEIGHT)):
        nodes.append(helper.make_node("Pad", ["column", f"{side}_pads"], [f"simcc_{side}"]))
        constants[f"{side}_pads"] = np.array([0, 0, 0, 0, 14, length - 1])
    model = open_pose_model(write_network(tmp_path / "pose.onnx", nodes, constants))
    white = np.full((100, 100, 3), 255, np.uint8)
    inside, across = model.joints(Pyramid(white), np.array([[40, 40, 60, 60], [60, 40, 100, 60]], np.float32))
    assert (inside[:3, 2] == 0).all()  # negated white is below zero
    assert (across[:3, 2] == 1).all()  # negated black is 1.8 to 2.1, clipped


def test_a_network_for_single_images_serves_several_people(tmp_path) -> None:
    single = open_pose_model(peak_network(tmp_path / "1.onnx", shape=(1, 3, HEIGHT, WIDTH))[0])
    several = open_pose_model(peak_network(tmp_path / "n.onnx")[0])
    pyramid, boxes = Pyramid(np.zeros((99, 99, 3), np.uint8)), np.array([[5, 5, 40, 90], [30, 20, 90, 70]], np.float32)
    np.testing.assert_array_equal(single.joints(pyramid, boxes), several.joints(pyramid, boxes))


def heat_maps(path: Path) -> Path:
    nodes = [helper.make_node("MaxPool", ["input"], ["heatmap"], kernel_shape=[4, 4], strides=[4, 4])]
    return write_network(path, nodes, {}, outputs=("heatmap",))


OTHERS = {
    "one output": (heat_maps, "found 1 inputs and 1 outputs"),
    "133 joints": (lambda path: peak_network(path, 133)[0], r"found outputs of shapes \(1, 133, 96\)"),
    "other bins": (
        lambda path: fixed_peaks(path, np.zeros((17, 96), np.float32), np.zeros((17, 120), np.float32)),
        r"\(1, 17, 120\) for images of 48 x 64",
    ),
    "grey": (lambda path: peak_network(path, shape=(1, 1, HEIGHT, WIDTH))[0], r"of shape \[1, 1, 64, 48\]"),
    "any size": (lambda path: peak_network(path, shape=(1, 3, "h", "w"))[0], r"of shape \[1, 3, 'h', 'w'\]"),
    "batches of 4": (lambda path: peak_network(path, shape=(4, 3, HEIGHT, WIDTH))[0], r"of shape \[4, 3, 64, 48\]"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_refused_in_one_sentence(tmp_path, kind: str) -> None:
    make, problem = OTHERS[kind]
    path = make(tmp_path / "pose.onnx")
    with pytest.raises(InputError, match=problem) as refused:
        open_pose_model(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_outputs_that_are_not_finite_name_the_network(tmp_path) -> None:
    rows = [np.full((17, 2 * side), np.nan, np.float32) for side in (WIDTH, HEIGHT)]
    path = fixed_peaks(tmp_path / "pose.onnx", *rows)
    with raises(InputError, subject="pose.onnx", problem="gives outputs that are not finite"):
        open_pose_model(path)


def test_a_batch_of_other_outputs_names_the_network(tmp_path) -> None:
    """A row for one image, as an export with a fixed batch has for any number of them."""
    nodes = [helper.make_node("Identity", [f"{axis}_rows"], [f"simcc_{axis}"]) for axis in "xy"]
    rows = {f"{axis}_rows": np.zeros((1, 17, 2 * side), np.float32) for axis, side in (("x", WIDTH), ("y", HEIGHT))}
    model = open_pose_model(write_network(tmp_path / "pose.onnx", nodes, rows))
    box = np.array([100, 40, 130, 168], np.float32)
    assert model.joints(Pyramid(IMAGE), [box]).shape == (1, 17, 3)
    with raises(InputError, subject="pose.onnx", expected="(2, 17, 96)"):
        model.joints(Pyramid(IMAGE), [box, box])


def test_too_large_images_are_refused_before_there_is_one(tmp_path) -> None:
    path, _, _ = peak_network(tmp_path / "pose.onnx", shape=("batch", 3, 2**31, 2**31))
    with raises(InputError, problem="takes too large images", expected="at most 4,194,304 pixels"):
        open_pose_model(path)


def test_what_gzip_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch) -> None:
    path, _, _ = peak_network(tmp_path / "pose.onnx")
    (tmp_path / "pose.onnx.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert open_pose_model(tmp_path / "pose.onnx.gz").joint_names == COCO17.joint_names
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 1 << 20)
    (tmp_path / "pose.onnx.gz").write_bytes(gzip.compress(bytes(2 << 20)))
    with raises(InputError, subject="pose.onnx.gz", expected="at most 1 MiB"):
        open_pose_model(tmp_path / "pose.onnx.gz")


def test_damaged_networks_print_nothing(tmp_path, capfd) -> None:
    """Neither ONNX Runtime's code nor its Python, whose second attempt prints to the standard output."""
    path, _, _ = peak_network(tmp_path / "pose.onnx")
    content = path.read_bytes()
    model = onnx.load_from_string(content)
    model.graph.initializer[0].raw_data = b""
    other = "is another kind of network"
    renamed = content.replace(b"input", b"\xff\xfe\xfdut")
    for damaged, problem in ((model.SerializeToString(), "is no network that ONNX Runtime reads"), (renamed, other)):
        path.write_bytes(damaged)
        with raises(InputError, subject="pose.onnx", problem=problem):
            open_pose_model(path)
    nodes = [helper.make_node("Reshape", ["input", "size"], [name]) for name in ("simcc_x", "simcc_y")]
    with raises(InputError, subject="pose.onnx", problem="does not run"):
        open_pose_model(write_network(path, nodes, {"size": np.array([7, 7])}))
    assert capfd.readouterr() == ("", "")


def someone() -> DetectedPerson:
    """A person of BLAZEPOSE33 with random landmarks, depth and a box."""
    random = np.random.default_rng(3)
    count = len(BLAZEPOSE33)
    points = random.uniform(60, 180, (count, 2))
    return DetectedPerson(
        box=np.array([100, 40, 130, 168], np.float32),
        keypoints=np.concatenate([points, random.uniform(0.5, 1, (count, 1))], axis=1).astype(np.float32),
        world=random.normal(size=(count, 3)).astype(np.float32),
        spread=np.full(count, 2, np.float32),
        world_spread=np.full(count, 0.02, np.float32),
        mask=None,
        score=0.8,
    )


IMAGE = np.zeros((240, 320, 3), np.uint8)


def network_with(path: Path, points: np.ndarray, box: np.ndarray) -> tuple[SimccModel, np.ndarray]:
    """A network whose joints in the crop of `box` are within a bin of `points` (K, 2); its joints (K, 3)."""
    pixel = 1.25 * max((box[2] - box[0]) / WIDTH, (box[3] - box[1]) / HEIGHT)
    corner = (box[:2] + box[2:]) / 2 - pixel * np.array([WIDTH, HEIGHT]) / 2
    bins = np.rint(((points - corner) / pixel - 0.5) * 2).astype(int)
    scores = np.full(len(points), 0.75)
    limits = np.array([2 * WIDTH, 2 * HEIGHT])
    scores[((bins < 0) | (bins >= limits)).any(1)] = 0
    bins = np.clip(bins, 0, limits - 1)
    rows = peaks(bins[:, 0], 2 * WIDTH, scores), peaks(bins[:, 1], 2 * HEIGHT, scores)
    model = open_pose_model(fixed_peaks(path, *rows))
    return model, model.joints(Pyramid(IMAGE), [box])[0]


def test_its_joints_replace_the_shipped_ones_and_the_rest_follows(tmp_path, pool: ModelPool) -> None:
    person = someone()
    shared = BLAZEPOSE33.indices(COCO17.joint_names)
    person.keypoints[shared, :2] = np.random.default_rng(5).uniform((80, 40), (150, 165), (17, 2))
    model, joints = network_with(tmp_path / "pose.onnx", person.keypoints[shared, :2] + 2, person.box)
    (posed,) = use_pose_model(pool, model, IMAGE, [person])
    np.testing.assert_array_equal(posed.keypoints[shared], joints)
    np.testing.assert_allclose(posed.spread[shared], 1.28)  # a hundredth of the box's longer side
    for follower, joint in (
        ("left_index", "left_wrist"),
        ("right_heel", "right_ankle"),
        ("right_foot_index", "right_ankle"),
        ("left_eye_inner", "nose"),
        ("left_eye_outer", "left_eye"),
        ("left_mouth", "nose"),
    ):
        row, of = BLAZEPOSE33.index(follower), BLAZEPOSE33.index(joint)
        moved = posed.keypoints[of, :2] - person.keypoints[of, :2]
        np.testing.assert_allclose(posed.keypoints[row, :2] - person.keypoints[row, :2], moved, atol=1e-4)
        share = 1 / (1 + (np.linalg.norm(moved) / (0.05 * 128)) ** 2)
        assert posed.keypoints[row, 2] == pytest.approx(person.keypoints[row, 2] * share, rel=1e-4)
        assert posed.spread[row] == 2
    assert posed.world is person.world
    np.testing.assert_array_equal(posed.box, person.box)
    assert posed.score == person.score


def test_another_pose_loses_depth_and_hidden_joints_keep_their_points(tmp_path, pool: ModelPool) -> None:
    person = someone()
    shared = BLAZEPOSE33.indices(COCO17.joint_names)
    points = np.random.default_rng(6).uniform((80, 40), (150, 165), (17, 2))
    points[COCO17.index("left_wrist")] = -500
    person.keypoints[shared, :2] = points[::-1]
    model, _ = network_with(tmp_path / "pose.onnx", points, person.box)
    (posed,) = use_pose_model(pool, model, IMAGE, [person])
    assert posed.world is None
    assert posed.world_spread is None
    wrist, thumb = BLAZEPOSE33.indices(["left_wrist", "left_thumb"])
    np.testing.assert_array_equal(posed.keypoints[[wrist, thumb], :2], person.keypoints[[wrist, thumb], :2])
    assert posed.keypoints[wrist, 2] == posed.keypoints[thumb, 2] == 0


def test_halpe_has_heels_and_toes(tmp_path, pool: ModelPool) -> None:
    person = someone()
    points = np.random.default_rng(7).uniform((80, 40), (150, 165), (26, 2))
    model, joints = network_with(tmp_path / "pose.onnx", points, person.box)
    (posed,) = use_pose_model(pool, model, IMAGE, [person])
    rows = BLAZEPOSE33.indices(["left_foot_index", "right_foot_index", "left_heel", "right_heel"])
    np.testing.assert_array_equal(posed.keypoints[rows], joints[[20, 21, 24, 25]])
    np.testing.assert_array_equal(posed.keypoints[BLAZEPOSE33.indices(COCO17.joint_names)], joints[:17])


def test_people_with_coco_joints_and_no_people(tmp_path, pool: ModelPool) -> None:
    keypoints = np.concatenate([np.random.default_rng(8).uniform(50, 150, (17, 2)), np.ones((17, 1))], axis=1)
    person = person_from_keypoints(keypoints, COCO17, 320, 240)
    model, joints = network_with(tmp_path / "pose.onnx", keypoints[:, :2], person.box)
    (posed,) = use_pose_model(pool, model, IMAGE, [person])
    np.testing.assert_array_equal(posed.keypoints, joints)
    assert use_pose_model(pool, model, IMAGE, []) == []


@pytest.mark.extensive
def test_everyone_who_is_found_or_boxed_has_its_joints(tmp_path, astronaut: np.ndarray) -> None:
    path, bins, scores = peak_network(tmp_path / "pose.onnx", 17)
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"astronaut": [[20, 10, 404, 506]]}')
    frame = Frame(0, "astronaut", astronaut)
    shared = BLAZEPOSE33.indices(COCO17.joint_names)
    for options in ({"boxes": boxes}, {}):
        with find_people("fast", 2, pose_model=path, **options) as people:
            (person,) = people.in_image(frame)
            ((_, (again,)),) = people.in_sequence([frame])
        for found in (person, again):
            pixel = 1.25 * float(max(*((found.box[2:] - found.box[:2]) / [WIDTH, HEIGHT])))
            corner = (found.box[:2] + found.box[2:]) / 2 - pixel * np.array([WIDTH, HEIGHT]) / 2
            np.testing.assert_allclose(found.keypoints[shared, :2], corner + pixel * (bins / 2 + 0.5), atol=1e-3)
            np.testing.assert_array_equal(found.keypoints[shared, 2], scores)


@pytest.mark.extensive
def test_a_fit_rests_on_its_joints_and_names_the_file_by_its_contents(tmp_path, astronaut: np.ndarray) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"image": [[20, 10, 404, 506]]}')
    with Fitter(method="keypoints", boxes=boxes) as plain:
        before = plain.fit(astronaut)
    shared = BLAZEPOSE33.indices(COCO17.joint_names)
    lowered = before.keypoints2d[0, shared, :2] + [0, 40]
    _, joints = network_with(tmp_path / "pose.onnx", lowered, before.boxes[0])
    with Fitter(method="keypoints", boxes=boxes, pose_model=tmp_path / "pose.onnx") as fitter:
        after = fitter.fit(astronaut)
    np.testing.assert_allclose(after.keypoints2d[0, shared], joints, atol=1e-3)
    shoulders = SMPL24.indices(["left_shoulder", "right_shoulder"])
    moved = after.joints2d[0, shoulders] - before.joints2d[0, shoulders]
    np.testing.assert_allclose(moved, [[0, 40], [0, 40]], atol=15)
    assert fitter.identity["pose_model"] == file_digest(tmp_path / "pose.onnx")
    assert "pose_model" not in plain.identity
