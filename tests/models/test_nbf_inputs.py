"""What the regressor sees, from labels and from the detector alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.nbf_people import as_detected, labelled_example, rotations_of

from humanpose_cli.body.body import default_body
from humanpose_cli.body.parts import PARTS12
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.cache.augmentation import crop_example
from humanpose_cli.lab.cache.fixed_camera import to_fixed_camera
from humanpose_cli.lab.recipes.crop_examples import evidence_of_example, imitate_errors
from humanpose_cli.models.crops import (
    CropEvidence,
    evidence_of_person,
    frame_box,
    frame_landmarks,
    frame_person,
    root_pixel,
)
from humanpose_cli.models.nbf.inputs import JOINTS14, InputOptions, colour_coded, encode, encode_numbers, torso_frame
from humanpose_cli.models.segmenter.inputs import as_bytes, code_colours, labels_of_parts

KINDS = [
    InputOptions("rgb", size=48),
    *(InputOptions("parts", parts=p, size=48) for p in (1, 3, 6, 12, 24)),
    InputOptions("joints", joints=14, size=48),
    InputOptions("joints", joints=24, size=48),
    InputOptions("proxy", size=48),
]


@pytest.fixture(scope="module")
def example():
    return labelled_example()


@pytest.fixture(scope="module")
def crop(example):
    fixed = to_fixed_camera(example, default_body(), 96)
    return replace(fixed, person=replace(fixed.person, detected_world=example.person.detected_world))


def test_colours_are_fixed_and_far_apart():
    for count, apart in ((1, 3.4), (7, 2), (12, 1), (24, 1)):
        colours = code_colours(count)
        assert colours.shape == (count + 1, 3)
        np.testing.assert_array_equal(colours[0], -1)
        gaps = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 9 * np.eye(count + 1)
        assert gaps.min() >= apart
    np.testing.assert_array_equal(code_colours(12)[:4], code_colours(24)[:4])
    np.testing.assert_array_equal(as_bytes(code_colours(1)), [[0] * 3, [255] * 3])


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_shapes_and_ranges(crop, options):
    made = encode(evidence_of_example(crop), options)
    assert set(made) == ({"image", "vector"} if options.numbers else {"image"})
    assert made["image"].shape == (3, 48, 48)
    if options.kind != "rgb":
        assert made["image"].min() >= -1
        assert made["image"].max() <= 1
        assert made["image"].std() > 0.05
    if options.numbers:
        assert made["vector"].shape == (options.numbers,)
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in made.values())


@pytest.mark.parametrize(("options", "name"), [(KINDS[0], "image"), (KINDS[-1], "vector")], ids=str)
def test_training_and_use_make_the_same_input(example, options, name):
    """One person, once through the labels of a cache and once as the detector returns them."""
    person = as_detected(example)
    crop = frame_person(person, 96)
    make = encode if name == "image" else encode_numbers  # the parts are a segmenter's in use
    trained = make(evidence_of_example(crop_example(example, crop, default_body())), options)
    used = make(evidence_of_person(example.image, person, crop), options)
    np.testing.assert_allclose(used[name], trained[name], atol=2e-3)


def test_parts_have_their_colours_and_nothing_else():
    parts = np.zeros((4, 4), np.uint8)
    parts[0, 1] = 1 + SMPL24.index("head")
    parts[3, 2] = 1 + SMPL24.index("left_hand")
    image = encode(CropEvidence(4, parts=parts), InputOptions("parts", size=16))["image"]
    colours = code_colours(12)
    np.testing.assert_array_equal(image[:, :4, 4:8], np.broadcast_to(colours[1][:, None, None], (3, 4, 4)))
    hand = 1 + PARTS12.names.index("left_forearm")
    np.testing.assert_array_equal(image[:, 12:, 8:12], np.broadcast_to(colours[hand][:, None, None], (3, 4, 4)))
    assert (image[:, 4:12] == -1).all()
    np.testing.assert_array_equal(labels_of_parts(parts, PARTS12)[[0, 3], [1, 2]], [1, hand])


def test_resizing_takes_the_pixel_under_the_new_pixels_centre():
    labels = torch.arange(16, dtype=torch.uint8).view(1, 4, 4) % 12
    half = colour_coded(labels, 12, 2)
    centre = labels[0, [1, 3]][:, [1, 3]].numpy()  # (0.5 + i) · 2 lies in pixels 1 and 3
    np.testing.assert_array_equal(half[0].permute(1, 2, 0).numpy(), code_colours(12)[centre])


def test_joints_shine_where_they_are():
    joints = np.zeros((24, 3), np.float32)
    for name, pixel in (("left_wrist", (12.0, 36.0)), ("head", (40.0, 10.0))):
        joints[SMPL24.index(name)] = (*pixel, 1)
    for options, names in (
        (InputOptions("joints", size=96), SMPL24.joint_names),
        (InputOptions("joints", joints=14, size=96), JOINTS14),
    ):
        image = encode(CropEvidence(48, joints=joints), options)["image"]
        colour = code_colours(len(names))[1 + names.index("left_wrist")]
        np.testing.assert_allclose(image[:, 71:73, 23:25].mean((1, 2)), colour, atol=0.1)
        bright = image[:, 15:25, 75:85].max((1, 2))
        np.testing.assert_allclose(bright, code_colours(len(names))[1 + names.index("head")], atol=0.1)
        assert (image[:, 48:60, 60:] == -1).mean() > 0.9


def test_the_proxys_numbers():
    landmarks = np.full((33, 3), (24.0, 24.0, 0.0), np.float32)
    nose, wrist = BLAZEPOSE33.index("nose"), BLAZEPOSE33.index("left_wrist")
    landmarks[nose] = (36, 12, 0.5)
    landmarks[wrist] = (500, 24, 1.0)
    world = np.arange(99, dtype=np.float32).reshape(33, 3) / 100
    vector = encode_numbers(CropEvidence(48, landmarks=landmarks, world=world), InputOptions("proxy"))["vector"]
    np.testing.assert_allclose(vector[2 * nose : 2 * nose + 2], (0.5, -0.5))
    assert vector[2 * wrist] == 2  # kept within reach
    np.testing.assert_allclose(vector[99:198].reshape(33, 3), world)
    np.testing.assert_allclose(vector[198:297].reshape(33, 3), world @ torso_frame(world), atol=1e-6)
    assert vector[297] == 1
    without = encode_numbers(CropEvidence(48, landmarks=landmarks), InputOptions("proxy"))["vector"]
    assert (without[99:] == 0).all()


def test_the_torsos_frame_is_how_the_person_stands(example):
    """Its axes are those of the pelvis, about; a person who faces the camera has their left at its right."""
    world = np.zeros((2, 33, 3))
    for name, point in (("hip", (0.1, 0, 0)), ("shoulder", (0.2, -0.5, 0))):
        world[0, BLAZEPOSE33.index(f"left_{name}")] = point
        world[0, BLAZEPOSE33.index(f"right_{name}")] = np.array(point) * (-1, 1, 1)
    np.testing.assert_allclose(torso_frame(world), np.broadcast_to(np.diag([1, -1, -1]), (2, 3, 3)), atol=1e-9)
    frame = torso_frame(example.person.detected_world[:, :3])
    pelvis = rotations_of(example.person)[0, 0].numpy()
    assert np.linalg.det(frame) == pytest.approx(1)
    assert np.rad2deg(np.arccos((np.trace(frame.T @ pelvis) - 1) / 2)) < 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (InputOptions("proxy"), "body parts"),
        (InputOptions("parts"), "body parts"),
        (InputOptions("joints"), "joints of smpl24"),
        (InputOptions("rgb"), "an image"),
    ],
)
def test_what_is_missing_is_named(options, message):
    with raises(InputError, problem=message):
        encode(CropEvidence(32), options)


def test_unknown_encodings_are_refused():
    for wrong in ({"kind": "voxels"}, {"parts": 10}, {"joints": 17}, {"size": 4}):
        with pytest.raises(UsageError):
            InputOptions(**wrong)


def test_other_people_are_no_part_of_the_person(crop):
    evidence = evidence_of_example(replace(crop, mask=np.zeros_like(crop.mask)))
    assert not evidence.parts.any()
    assert evidence_of_example(crop).parts.any()


def test_imitated_errors_grow_with_their_strength_and_are_the_generators(crop):
    evidence = evidence_of_example(crop)
    assert imitate_errors(evidence, np.random.default_rng(0), 0.0) is evidence
    once, again = (imitate_errors(evidence, np.random.default_rng(5), 1.0) for _ in "ab")
    np.testing.assert_array_equal(once.landmarks, again.landmarks)
    np.testing.assert_array_equal(once.parts, again.parts)

    def error(strength):
        moved = [imitate_errors(evidence, np.random.default_rng(i), strength) for i in range(12)]
        pixels = np.mean([np.abs(m.landmarks - evidence.landmarks)[:, :2].mean() for m in moved])
        depth = np.mean([np.abs(m.world - evidence.world)[:, 2].mean() for m in moved])
        wrong = np.mean([(m.parts != evidence.parts).sum() / (evidence.parts > 0).sum() for m in moved])
        return np.array([pixels / evidence.size, depth, wrong])

    light, full = error(0.3), error(1.0)
    assert (light < full).all()
    assert 0.003 < full[0] < 0.03
    assert 0.01 < full[1] < 0.06
    assert 0.05 < full[2] < 0.5
    moved = imitate_errors(evidence, np.random.default_rng(1), 1.0)
    assert set(np.unique(moved.parts)) <= set(np.unique(evidence.parts)) | {0}
    assert (moved.landmarks[:, 2] <= evidence.landmarks[:, 2] + 1e-6).all()


def test_a_face_errs_as_one(crop):
    evidence = evidence_of_example(crop)
    moves = np.stack(
        [imitate_errors(evidence, np.random.default_rng(i), 1.0).landmarks - evidence.landmarks for i in range(40)]
    )
    nose, eye, knee = (BLAZEPOSE33.index(name) for name in ("nose", "left_eye", "left_knee"))
    alike = np.corrcoef(moves[:, [nose, eye, knee], 0].T)
    assert alike[0, 1] > 0.6
    assert abs(alike[0, 2]) < 0.5


def test_a_person_of_true_size_is_framed_as_the_labels_frame_them(example):
    """A perfect detector leads to the crop that training makes from the true body, up to perspective."""
    framed = frame_landmarks(example.person.detected, example.person.detected_world[:, :3], 96)
    fixed = to_fixed_camera(example, default_body(), 96)
    joints = framed.points(example.person.keypoints["smpl24"][:, :2])
    np.testing.assert_allclose(joints, fixed.person.keypoints["smpl24"][:, :2], atol=2.5)


def test_framing_falls_back_on_the_box(example):
    person = as_detected(example)
    hidden = replace(person, keypoints=person.keypoints * (1, 1, 0.1))
    assert frame_person(hidden, 96) == frame_box(person.box, 96)
    assert frame_person(replace(person, world=None), 96) == frame_box(person.box, 96)
    assert frame_landmarks(person.keypoints, np.zeros((33, 3)), 96) is None
    np.testing.assert_allclose(root_pixel(512), (253.05, 229.44), atol=0.01)
