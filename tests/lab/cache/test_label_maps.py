"""Label maps of posed bodies, their files, and which joints they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.cached_body import body, labels
from helpers.errors import raises

from humanpose_cli.body.body import PosedBody
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.label_maps import (
    RENDERED_MAPS,
    LabelledMesh,
    decode_map,
    landmark_visibility,
    render_label_maps,
    visible_joint_shares,
)
from humanpose_cli.lab.cache.samples import LABEL_MAPS
from humanpose_cli.lab.synthetic.scene import ball

VIEW = Camera(90.0, (32.0, 32.0), (64, 64))
TOWARDS_CAMERA = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def pose_body(*, turn: float = 0.0, at: tuple[float, float, float] = (0.0, 0.2, 3.0)) -> PosedBody:
    """The body in T pose that looks at the camera, turned about the vertical."""
    rotations = torch.eye(3).repeat(1, 24, 1, 1)
    rotations[:, 0] = TOWARDS_CAMERA @ axis_angle_to_matrix(torch.tensor([0.0, turn, 0.0]))
    with torch.no_grad():
        return body().pose(rotations, torch.zeros(1, 10), torch.tensor([at]))


def as_body(vertices: torch.Tensor, faces: torch.Tensor) -> LabelledMesh:
    """Any mesh, whose vertices all belong to the body's first one."""
    return LabelledMesh(vertices, faces, labels(), np.zeros(len(vertices), np.int32))


def square(depth: float, half: float = 0.4, slope: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    corners = torch.tensor([[-half, -half, 0.0], [half, -half, 0.0], [half, half, 0.0], [-half, half, 0.0]])
    corners[:, 2] = depth + slope * corners[:, 0]
    return corners, torch.tensor([[0, 3, 2], [0, 2, 1]], dtype=torch.int32)


def test_depth_of_a_slanted_plane():
    maps = render_label_maps([as_body(*square(2.0, half=2.0, slope=0.5))], VIEW, ("depth",))
    ray = (np.arange(64) + 0.5 - 32) / 90
    exact = 2.0 / (1 - 0.5 * ray)  # z = 2 + 0.5 x and x = ray z
    np.testing.assert_allclose(maps["depth"], np.broadcast_to(exact * 1000, (64, 64)), atol=0.5 + 1e-3)


def test_normals_of_a_ball():
    solid = ball((0.5, 0.5, 0.5), sides=96)
    vertices = torch.from_numpy(solid.vertices) + torch.tensor([0.0, 0.0, 2.5])
    maps = render_label_maps([as_body(vertices, torch.from_numpy(solid.faces))], VIEW, ("normals", "persons"))
    y, x = np.nonzero(maps["persons"])
    ray = np.stack(((x + 0.5 - 32) / 90, (y + 0.5 - 32) / 90, np.ones(len(x))), 1)
    centre = np.array([0, 0, 2.5])
    b, c = ray @ centre, centre @ centre - 0.25
    a = (ray * ray).sum(1)
    root = b * b - a * c
    clear = root > 0.03  # not at the very rim
    point = ray * ((b - np.sqrt(np.maximum(root, 0))) / a)[:, None]
    normal = (point - centre) / 0.5
    normals = maps["normals"][y, x] / 127.5 - 1
    assert clear.sum() > 500
    assert np.abs(normals - normal)[clear].max() < 0.03


def test_normals_look_at_the_camera_from_inside_too():
    vertices, faces = square(2.0)
    inside = render_label_maps([as_body(vertices, faces[:, [0, 2, 1]])], VIEW, ("normals",))["normals"]
    np.testing.assert_array_equal(inside[32, 32], (128, 128, 0))


@pytest.mark.slow
def test_parts_and_correspondences_equal_brute_force():
    vertices = pose_body(turn=0.4).vertices[0]
    view = Camera(30.0, (16.0, 16.0), (32, 32))
    maps = render_label_maps([LabelledMesh(vertices, body().faces, labels())], view)
    faces, uv_faces = body().faces.numpy(), body().uv_faces.numpy()
    corners = vertices.numpy().astype(np.float64)[faces]
    count = 0
    for y, x in zip(*np.nonzero(maps["persons"]), strict=True):
        ray = np.array([(x + 0.5 - 16) / 30, (y + 0.5 - 16) / 30, 1.0])
        volumes = np.stack([np.cross(corners[:, (k + 1) % 3], corners[:, (k + 2) % 3]) @ ray for k in range(3)], 1)
        weights = volumes / volumes.sum(1, keepdims=True)
        depth = np.where((weights >= 0).all(1), (weights * corners[..., 2]).sum(1), np.inf)
        face = int(depth.argmin())
        nearest = faces[face][weights[face].argmax()]
        uv = weights[face] @ body().uv.numpy()[uv_faces[face]] * 4095
        assert maps["correspondence"][y, x, 0] == nearest + 1
        assert maps["parts"][y, x] == body().part_labels[nearest] + 1
        np.testing.assert_allclose(maps["correspondence"][y, x, 1:], uv, atol=0.51)
        count += 1
    assert count > 50


def test_texture_positions_between_layers_are_those_of_the_nearest_vertex():
    far_apart = np.array([[0, 5000, 9000], [9000, 0, 5000]])
    weights = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]], np.float32)
    coordinates = labels().texture_coordinates(far_apart, weights)
    corner_coordinates = {
        tuple(uv) for uv in body().uv.numpy()[body().uv_faces.numpy()[(body().faces.numpy() == 5000)]].tolist()
    }
    zero = {tuple(uv) for uv in body().uv.numpy()[body().uv_faces.numpy()[(body().faces.numpy() == 0)]].tolist()}
    assert tuple(coordinates[0].tolist()) in corner_coordinates
    assert tuple(coordinates[1].tolist()) in zero


def test_left_hand_is_on_the_right_of_the_image():
    pose = pose_body()
    vertices, joints = pose.vertices[0], pose.joints[0]
    parts = render_label_maps([LabelledMesh(vertices, body().faces, labels())], VIEW, ("parts",))["parts"]
    for name, columns in (("left_hand", (48, 64)), ("right_hand", (0, 16))):
        y, x = np.nonzero(parts == 1 + SMPL24.index(name))
        assert len(x) > 1
        assert (x >= columns[0]).all()
        assert (x < columns[1]).all()
        pixel = VIEW.project(joints[SMPL24.index(name)][None])[0].numpy()
        assert np.hypot(x + 0.5 - pixel[0], y + 0.5 - pixel[1]).min() < 2


def test_people_in_order_nearer_ones_and_things_in_front():
    far, near = as_body(*square(3.0, half=0.7)), as_body(*square(2.0, half=0.25))
    maps = render_label_maps([far, near], VIEW)
    assert maps["persons"][32, 32] == 2
    assert maps["persons"][15, 15] == 1
    other_order = render_label_maps([near, far], VIEW)
    np.testing.assert_array_equal(np.array([0, 2, 1])[other_order["persons"]], maps["persons"])
    occluded = render_label_maps([far, near], VIEW, occluders=[square(1.0, half=0.1)])
    for name in RENDERED_MAPS:
        assert not np.any(occluded[name][32, 32])
        np.testing.assert_array_equal(occluded[name][15, 15], maps[name][15, 15])
    behind = render_label_maps([far, near], VIEW, occluders=[square(5.0, half=3.0)])
    for name in RENDERED_MAPS:
        np.testing.assert_array_equal(behind[name], maps[name])


def test_no_people_give_empty_maps():
    for name, values in render_label_maps([], VIEW).items():
        assert values.dtype == LABEL_MAPS[name].dtype
        assert not values.any()


def test_damaged_files_are_named():
    data = encode_png(np.zeros((4, 4), np.uint8))
    for content in (b"", data[:20], b"no image"):
        with raises(InputError, subject="parts"):
            decode_map("parts", content)


BODY_VIEW = Camera(110.0, (64.0, 64.0), (128, 128))
CARD = (torch.tensor([[-2.0, -2, 1], [2, -2, 1], [0, 3, 1]]), torch.tensor([[0, 1, 2]], dtype=torch.int32))


def standing(turn: float, at: tuple[float, float, float] = (0.0, 0.2, 3.0)):
    """Mesh, joints (24, 3) and landmarks (33, 3) of the body in T pose; no turn looks at the camera."""
    pose = pose_body(turn=turn, at=at)
    points = body().pose_landmarks("blazepose33", pose, torch.zeros(1, 10))[0]
    return LabelledMesh(pose.vertices[0], body().faces, labels()), pose.joints[0].numpy(), points.numpy()


@pytest.mark.parametrize("turn", [0.0, np.pi])
def test_everything_is_visible_of_a_person_who_stands_free(turn):
    mesh, joints, _ = standing(turn)
    assert visible_joint_shares(joints, 0, BODY_VIEW, render_label_maps([mesh], BODY_VIEW)).min() > 0.5


def test_what_lies_outside_the_image_or_behind_something_is_not_visible():
    mesh, joints, _ = standing(0.0, at=(1.3, 0.2, 3.0))
    visibility = visible_joint_shares(joints, 0, BODY_VIEW, render_label_maps([mesh], BODY_VIEW))
    assert visibility[SMPL24.index("right_elbow")] > 0.6
    assert visibility[SMPL24.index("left_wrist")] == 0
    assert not visible_joint_shares(joints, 0, BODY_VIEW, render_label_maps([mesh], BODY_VIEW, occluders=[CARD])).any()
    assert not visible_joint_shares(joints, 1, BODY_VIEW, render_label_maps([mesh], BODY_VIEW)).any()


def test_a_leg_hides_the_other_one():
    mesh, joints, _ = standing(np.pi / 2)
    visibility = dict(
        zip(
            SMPL24.joint_names,
            visible_joint_shares(joints, 0, BODY_VIEW, render_label_maps([mesh], BODY_VIEW)),
            strict=True,
        )
    )
    near, far = sorted(["left", "right"], key=lambda side: joints[SMPL24.index(f"{side}_knee"), 2])
    assert visibility[f"{near}_knee"] > 0.6
    assert visibility[f"{far}_knee"] < 0.3


@pytest.mark.slow
def test_a_nose_is_visible_from_the_front_only():
    visibilities = []
    for turn in (0.0, np.pi):
        mesh, _, points = standing(turn, at=(0.0, 0.7, 2.0))
        visibility = landmark_visibility(
            body(), "blazepose33", points, 0, BODY_VIEW, render_label_maps([mesh], BODY_VIEW)
        )
        visibilities.append(visibility[BLAZEPOSE33.index("nose")])
    assert visibilities[0] > 0.6
    assert visibilities[1] == 0
