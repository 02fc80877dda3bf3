"""A changed image and its changed labels: what the changed camera would have seen of the changed body."""

import cv2
import numpy as np
import pytest
import torch

from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.camera import Camera, project
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.lab.cache.augmentation import crop_example, example_of
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.label_maps import BodyLabels, LabelledMesh, render_label_maps
from humanpose_cli.lab.cache.samples import Person, Sample

CROPS = {
    "nothing": Crop(1.0, 0.0, (0.0, 0.0), (200, 260)),
    "shifted": Crop(1.0, 0.0, (13.0, -9.0), (180, 220)),
    "turned": Crop(1.0, 0.6, (90.0, -40.0), (240, 240)),
    "larger": Crop(1.7, 0.0, (-60.0, -90.0), (220, 260)),
    "mirrored": Crop(1.0, 0.0, (0.0, 0.0), (200, 260), mirror=True),
    "all at once": Crop(1.3, -0.4, (-60.0, 40.0), (230, 250), mirror=True),
}
VIEW = Camera(300.0, (104.0, 121.0), (200, 260))


def pose_body(body, poses, betas, trans):
    rotations = axis_angle_to_matrix(torch.as_tensor(poses).float().view(1, 24, 3))
    return body.pose(rotations, torch.as_tensor(betas).float()[None], torch.as_tensor(trans).float()[None])


def label_body(body, view, poses, betas, trans):
    """(maps, joints (24, 3), pixels (24, 2)) of a body before a camera."""
    pose = pose_body(body, poses, betas, trans)
    maps = render_label_maps([LabelledMesh(pose.vertices[0], body.faces, BodyLabels(body))], view)
    centre = torch.tensor([view.principal_point])
    pixels = project(pose.joints, torch.tensor([view.focal]), centre)[0]
    return maps, pose.joints[0].numpy(), pixels.numpy()


@pytest.fixture(scope="module")
def example(body):
    generator = torch.Generator().manual_seed(4)
    rotations = sample_poses(1, generator)
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    poses = matrix_to_axis_angle(rotations)[0].reshape(72).numpy()
    betas = torch.randn(10, generator=generator).numpy()
    trans = np.array([-0.1, 0.1, 2.9], np.float32)
    maps, joints, pixels = label_body(body, VIEW, poses, betas, trans)
    image = cv2.imencode(".png", np.repeat(maps["parts"][..., None] * 10, 3, -1))[1].tobytes()
    ones = np.ones((24, 1), np.float32)
    person = Person(
        box=np.array([*pixels.min(0), *pixels.max(0)], np.float32),
        poses=poses,
        betas=betas,
        trans=trans,
        fit_poses=poses,
        fit_betas=betas,
        fit_trans=trans,
        hand_poses=0.3 * torch.randn(2, 15, 3, generator=generator).numpy(),
        keypoints={"smpl24": np.concatenate((pixels, ones), 1)},
        joints={"smpl24": np.concatenate((joints, ones), 1)},
        surface_points=np.concatenate((pixels, ones, pixels / 300), 1),
    )
    maps_as_png = {name: encode_png(values) for name, values in maps.items()}
    sample = Sample("one", image, (200, 260), VIEW.focal, VIEW.principal_point, (person,), maps_as_png)
    return example_of(sample)


@pytest.fixture(params=CROPS, scope="module")
def crop(request):
    return CROPS[request.param]


@pytest.fixture(scope="module")
def crop_result(example, crop, body):
    return crop_example(example, crop, body)


@pytest.fixture(scope="module")
def rendered_anew(crop_result, crop, body):
    view = Camera(crop_result.focal, crop_result.principal_point, crop.size)
    person = crop_result.person
    return label_body(body, view, person.poses, person.betas, person.trans)


def test_the_changed_body_has_the_changed_joints(crop_result, crop, rendered_anew):
    _, joints, pixels = rendered_anew
    if not crop.mirror:
        np.testing.assert_allclose(crop_result.person.joints["smpl24"][:, :3], joints, atol=1e-4)
        np.testing.assert_allclose(crop_result.person.keypoints["smpl24"][:, :2], pixels, atol=0.02)
    else:  # two bodies that mirror each other differ by the body's own asymmetry
        np.testing.assert_allclose(crop_result.person.joints["smpl24"][:, :3], joints, atol=4e-3)
        np.testing.assert_allclose(crop_result.person.keypoints["smpl24"][:, :2], pixels, atol=0.6)
    pelvis = SMPL24.index("pelvis")
    np.testing.assert_allclose(crop_result.person.joints["smpl24"][pelvis, :3], joints[pelvis], atol=1e-4)
    np.testing.assert_array_equal(crop_result.person.fit_poses, crop_result.person.poses)
    np.testing.assert_array_equal(crop_result.person.fit_trans, crop_result.person.trans)


def test_mirrored_hands_mirror_each_other(example, crop, crop_result, body):
    (before, after), eye = (e.person.hand_poses for e in (example, crop_result)), torch.eye(3).expand(2, 24, 3, 3)
    hands = axis_angle_to_matrix(torch.from_numpy(np.stack((before, after))))
    vertices, changed = body.pose(eye, torch.zeros(1, 10), hands=hands).vertices
    if crop.mirror:
        vertices = vertices[body.mirror_vertices] * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(changed, vertices, atol=2e-3, rtol=0)


def test_the_changed_maps_are_those_of_the_changed_body(crop_result, rendered_anew):
    maps, _, _ = rendered_anew
    inside = cv2.erode((maps["persons"] > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert inside.sum() > 2000
    assert (crop_result.maps["persons"][inside] == 1).mean() > 0.995
    assert (crop_result.mask[inside] == 255).mean() > 0.995
    assert (crop_result.maps["parts"] == maps["parts"])[inside].mean() > 0.95
    depth = crop_result.maps["depth"][inside].astype(float) - maps["depth"][inside]
    assert np.quantile(np.abs(depth), 0.95) < 25
    normals = crop_result.maps["normals"][inside].astype(float) - maps["normals"][inside]
    assert np.quantile(np.abs(normals).max(-1), 0.9) < 40
    outside = cv2.dilate((maps["persons"] > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    assert (crop_result.maps["persons"][outside] == 0).all()


def test_the_changed_correspondences_are_those_of_the_changed_body(body, crop_result, rendered_anew):
    maps, _, _ = rendered_anew
    both = (crop_result.maps["correspondence"][..., 0] > 0) & (maps["correspondence"][..., 0] > 0)
    codes = crop_result.maps["correspondence"][both].astype(int)
    true = maps["correspondence"][both].astype(int)
    vertices = body.template.numpy()
    apart = np.linalg.norm(vertices[codes[:, 0] - 1] - vertices[true[:, 0] - 1], axis=-1)
    assert np.quantile(apart, 0.9) < 0.03  # metres on the resting body
    uv = np.abs(codes[:, 1:] - true[:, 1:]).max(-1) / 4095
    assert np.quantile(uv, 0.8) < 0.03


def test_the_image_moves_with_the_labels(example, body):
    shift_crop = crop_example(example, CROPS["shifted"], body)
    np.testing.assert_array_equal(shift_crop.image[..., 0] // 10, shift_crop.maps["parts"])
    inside = np.zeros((220, 180), np.uint8)
    inside[:, 13:] = 255  # shifted right by 13 pixels, and up by 9 of the 40 that are cut off
    np.testing.assert_array_equal(shift_crop.inside, inside)
    mirror_crop = crop_example(example, CROPS["mirrored"], body)
    np.testing.assert_array_equal(mirror_crop.image, example.image[:, ::-1])
    np.testing.assert_array_equal(mirror_crop.maps["depth"], example.maps["depth"][:, ::-1])


def test_a_change_of_nothing_keeps_every_number(example, body):
    same = crop_example(example, CROPS["nothing"], body)
    for name, values in example.maps.items():
        np.testing.assert_array_equal(same.maps[name], values)
    np.testing.assert_allclose(same.person.poses, example.person.poses, atol=1e-6)
    assert (same.focal, same.principal_point) == (example.focal, example.principal_point)
    np.testing.assert_array_equal(same.image, example.image)


def test_mirrored_twice_is_as_before(example, body):
    crop = CROPS["mirrored"]
    again = crop_example(crop_example(example, crop, body), crop, body)
    np.testing.assert_array_equal(again.maps["parts"], example.maps["parts"])
    np.testing.assert_allclose(again.person.joints["smpl24"], example.person.joints["smpl24"], atol=1e-6)
    np.testing.assert_allclose(again.person.poses, example.person.poses, atol=1e-6)
    np.testing.assert_allclose(again.person.trans, example.person.trans, atol=1e-6)


def test_what_cannot_be_mirrored_is_left_out(example, body):
    mirror_crop = crop_example(example, CROPS["mirrored"], body)
    assert mirror_crop.person.surface_points is None
    without_body = crop_example(example, CROPS["mirrored"])
    assert without_body.person.trans is None
    assert "correspondence" not in without_body.maps
    shift_crop = crop_example(example, CROPS["shifted"])  # needs no body
    np.testing.assert_array_equal(shift_crop.person.trans, example.person.trans)
    np.testing.assert_allclose(
        shift_crop.person.surface_points[:, 0], example.person.surface_points[:, 0] + 13, atol=1e-4
    )


def test_a_strongly_shrunk_image_is_averaged():
    """A checkerboard of single pixels turns grey, where a look-up would give black and white."""
    board = np.indices((256, 256)).sum(0) % 2 * np.uint8(255)
    image = np.repeat(board[..., None].astype(np.uint8), 3, -1)
    example = example_of(Sample("board", cv2.imencode(".png", image)[1].tobytes(), (256, 256), people=(Person(),)))
    small = crop_example(example, Crop(0.2, 0.3, (20.0, 0.0), (60, 60))).image
    assert abs(float(small[25:35, 25:35].mean()) - 127.5) < 4
    assert small[25:35, 25:35].std() < 30
