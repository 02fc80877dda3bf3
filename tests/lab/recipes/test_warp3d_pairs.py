"""Where a known body's joints lie in the feature volume."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import warp3d_poses
from helpers.errors import raises

from humanpose_cli.body.body import default_body
from humanpose_cli.body.warping_parts import WarpingParts
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.crop import crop_around_box
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.augmentation import Example, random_crop
from humanpose_cli.lab.cache.samples import Person
from humanpose_cli.lab.recipes.warp3d.pairs import collated_pairs, frame_of_example
from humanpose_cli.models.warp3d.generator import Generator, frame_joints, generator_parts

FOCAL, DEPTH = 300.0, 4.0
CAMERA = Camera.of_image((256, 256), FOCAL)


@pytest.fixture(scope="module")
def standing() -> np.ndarray:
    """A body in the zero pose facing the camera, its pelvis 4 m before it on the optical axis: (19, 3)."""
    body = default_body()
    rotations = torch.eye(3).expand(1, 24, 3, 3).clone()
    rotations[0, 0] = axis_angle_to_matrix(torch.tensor([np.pi, 0.0, 0.0]))
    betas = torch.zeros(1, 10)
    posed = body.pose(rotations, betas, torch.zeros(1, 3), vertices=False)
    joints = body.pose_landmarks("reposing19", posed, betas)[0].numpy()
    return joints - joints[REPOSING19.index("pelvis")] + np.array([0, 0, DEPTH], np.float32)


def at(frame: np.ndarray, joint: str) -> np.ndarray:
    return frame[..., REPOSING19.index(joint), :]


def test_a_body_that_faces_the_camera(standing):
    frame = frame_joints(standing, CAMERA)
    np.testing.assert_allclose(at(frame, "pelvis"), [128, 128, 128], atol=1e-4)
    # Its left is the image's right, its nose nearer to the camera than its ears, its head above.
    assert at(frame, "left_wrist")[0] > 128 > at(frame, "right_wrist")[0]
    assert at(frame, "nose")[2] < at(frame, "left_ear")[2]
    assert at(frame, "nose")[1] < at(frame, "pelvis")[1] < at(frame, "left_ankle")[1]


def test_depth_is_in_pixels_as_at_the_person(standing):
    frame = frame_joints(standing, CAMERA)
    expected = 128 + (standing[:, 2] - DEPTH) * FOCAL / DEPTH
    np.testing.assert_allclose(frame[:, 2], expected, rtol=1e-5)
    # A step of 8 pixels is a voxel: half a metre forward is 300 / 4 / 2 = 37.5 pixels, 4.7 voxels.
    moved = standing.copy()
    moved[REPOSING19.index("left_wrist"), 2] -= 0.5
    step = at(frame_joints(moved, CAMERA), "left_wrist") - at(frame, "left_wrist")
    assert step[2] == pytest.approx(-37.5, abs=1e-3)


def test_every_pose_stands_in_the_middle_of_its_volume(standing):
    closer = standing - np.array([0.3, 0, 1.0], np.float32)
    frames = frame_joints(np.stack((standing, closer)), CAMERA)
    assert frames.shape == (2, 19, 3)
    assert at(frames, "pelvis")[:, 2].tolist() == [128, 128]
    assert at(frames, "pelvis")[1, 0] == pytest.approx(128 - 0.3 * FOCAL / 3)


def test_other_sizes_are_the_same_frame_scaled(standing):
    complete = frame_joints(standing, CAMERA)
    np.testing.assert_allclose(frame_joints(standing, Camera.of_image((64, 64), FOCAL / 4)), complete / 4, rtol=1e-5)


def test_missing_joints(standing):
    standing = standing.copy()
    standing[REPOSING19.index("nose")] = np.nan
    standing[REPOSING19.index("left_wrist"), 2] = -1
    frame = frame_joints(standing, CAMERA)
    lost = {REPOSING19.joint_names[i] for i in np.nonzero(np.isnan(frame).any(-1))[0]}
    assert lost == {"nose", "left_wrist"}


def test_hips_stand_in_for_the_pelvis(standing):
    standing = standing.copy()
    standing[REPOSING19.index("pelvis")] = np.nan
    frame = frame_joints(standing, CAMERA)
    assert at(frame, "left_hip")[2] + at(frame, "right_hip")[2] == pytest.approx(256)
    standing[REPOSING19.index("left_hip")] = np.nan
    assert np.isnan(frame_joints(standing, CAMERA)).all()


def test_no_camera_of_focal_length_zero(standing):
    with raises(UsageError, subject="focal"):
        frame_joints(standing, Camera.of_image((256, 256), 0))


def example(joints: np.ndarray, **labels) -> Example:
    points = np.concatenate((joints, np.ones((19, 1))), 1)
    person = Person(box=np.array([60.0, 20, 200, 240]), joints={"reposing19": points}, **labels)
    return Example("one", np.zeros((256, 256, 3), np.uint8), FOCAL, (128.0, 128.0), person)


def test_a_crop_moves_the_frame_with_its_pixels(standing):
    complete = frame_of_example(example(standing))
    cropped = random_crop(example(standing), 64, np.random.default_rng(0))
    crop = crop_around_box(np.array([60.0, 20, 200, 240]), 64)
    frame = frame_of_example(cropped)
    np.testing.assert_allclose(frame[:, :2], crop.points(complete[:, :2]), atol=1e-3)
    np.testing.assert_allclose(frame[:, 2] - 32, crop.scale * (complete[:, 2] - 128), atol=1e-3)


def test_unlabelled_joints_and_examples_without_any(standing):
    labelled = example(standing)
    labelled.person.joints["reposing19"][3, 3] = 0
    assert np.isnan(frame_of_example(labelled)[3]).all()
    labelled.person.joints.clear()
    with raises(InputError, problem="reposing19"):
        frame_of_example(labelled)


@pytest.mark.parametrize("changes", [{}, {"warping": "2d"}])
def test_parts_made_by_the_loader_are_those_of_the_generator(changes):
    config = replace(warp3d_poses.MINI, **changes)
    source, target = warp3d_poses.standing(config.size, 2), warp3d_poses.hand_raised(config.size, 2)
    examples = [{"source_joints": a.numpy(), "target_joints": b.numpy()} for a, b in zip(source, target, strict=True)]
    collated = collated_pairs(examples, config=config)
    parts = WarpingParts(collated["capsules"], collated["target_to_source"])
    torch.manual_seed(0)
    network, shown = Generator(config).eval(), warp3d_poses.images(2)
    with torch.no_grad():
        without_parts, with_parts = network(shown, source, target), network(shown, source, target, parts=parts)
    assert torch.equal(without_parts.image, with_parts.image)
    expected = generator_parts(config, source, target)
    assert torch.equal(parts.target_to_source, expected.target_to_source)
