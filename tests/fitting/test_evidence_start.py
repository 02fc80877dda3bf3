"""Closed-form starts: limbs point where landmarks say, people stand where their pixels are."""

import numpy as np
import pytest
import torch

from humanpose_cli.body.limb_rotations import BODY_FACING_CAMERA, limb_rotations, neutral_rotations, upright_heading
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.evidence import place_before_camera, viewing_pixel, zero_joints
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.geometry.rotations import geodesic_angle, viewing_rotation

LIMBS = [
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
]


@pytest.fixture(scope="module")
def rig(body) -> LandmarkRig:
    return LandmarkRig(body, body.landmarks("blazepose33"))


def unit(vector: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vector, dim=-1)


def test_limbs_point_as_the_landmarks_do(rig, library_scene):
    scene = library_scene(6)
    world = scene.observations.world
    rotations = limb_rotations(zero_joints(rig), BLAZEPOSE33, world, torch.ones(6, 33))
    joints = rig.pose(rotations, torch.zeros(6, 3).double(), torch.zeros(6, 10).double()).joints
    for start, end in LIMBS:
        mine = unit(joints[:, SMPL24.index(end)] - joints[:, SMPL24.index(start)])
        direction = unit(world[:, BLAZEPOSE33.index(end)] - world[:, BLAZEPOSE33.index(start)])
        assert ((mine * direction).sum(-1) > 0.999).all(), (start, end)
    true_pelvis = scene.rotations[:, 0].double()
    assert geodesic_angle(rotations[:, 0], true_pelvis).max() < np.deg2rad(35)
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(rotations @ rotations.mT, identity.expand_as(rotations), atol=1e-9)


def test_knees_and_elbows_bend_the_way_they_can(rig, library_scene):
    scene = library_scene(12, seed=1)
    world = scene.observations.world
    rotations = limb_rotations(zero_joints(rig), BLAZEPOSE33, world, torch.ones(12, 33))
    for joint in ("left_knee", "right_knee", "left_elbow", "right_elbow"):
        true, mine = (r[:, SMPL24.index(joint)].double() for r in (scene.rotations, rotations))
        bent = geodesic_angle(true, torch.eye(3).double().expand_as(true)) > 0.6
        if bent.any():
            assert geodesic_angle(mine[bent], true[bent]).median() < 0.6, joint


def test_hidden_limbs_and_trunks_stay_neutral(rig, library_scene):
    world = library_scene(2).observations.world
    rotations = limb_rotations(zero_joints(rig), BLAZEPOSE33, world, torch.zeros(2, 33))
    neutral = neutral_rotations()
    assert torch.allclose(rotations[:, 1:], neutral[1:].expand(2, 23, 3, 3), atol=1e-6)
    assert torch.allclose(rotations[:, 0], BODY_FACING_CAMERA.expand(2, 3, 3))


def test_coincident_landmarks_give_rotations_all_the_same(rig):
    rotations = limb_rotations(zero_joints(rig), BLAZEPOSE33, torch.zeros(1, 33, 3).double(), torch.ones(1, 33))
    assert rotations.isfinite().all()
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(1, 24).double())


def test_headings_turn_to_the_persons_left():
    """Half way round one sees the back; a quarter to the left the face looks to the image's right."""
    forward = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.allclose(upright_heading(0.0) @ forward, torch.tensor([0.0, 0, -1]).double(), atol=1e-6)
    assert torch.allclose(upright_heading(np.pi / 2) @ forward, torch.tensor([1.0, 0, 0]).double(), atol=1e-6)
    assert torch.allclose(upright_heading(np.pi) @ forward, torch.tensor([0.0, 0, 1]).double(), atol=1e-6)


def test_viewing_rotation_turns_the_axis_to_the_pixel():
    pixel, focal = torch.tensor([[700.0, 100.0]]).double(), torch.tensor([500.0]).double()
    centre = torch.tensor([[320.0, 240.0]]).double()
    ray = viewing_rotation(pixel, focal, centre)[0] @ torch.tensor([0.0, 0, 1]).double()
    assert (500 * ray[:2] / ray[2] + centre[0]).tolist() == pytest.approx([700, 100])


@pytest.mark.slow
def test_the_ray_goes_through_the_hips_and_without_them_through_what_is_visible():
    keypoints = torch.randn(2, 33, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hips, nose = BLAZEPOSE33.indices(("left_hip", "right_hip")), BLAZEPOSE33.index("nose")
    confidence, centre = torch.full((2, 33), 0.5).double(), torch.ones(2, 2).double()
    confidence[1] = 0
    confidence[1, nose] = 0.3
    pixel = viewing_pixel(BLAZEPOSE33, keypoints, confidence, centre)
    torch.testing.assert_close(pixel, torch.stack((keypoints[0, hips].mean(0), keypoints[1, nose])))
    torch.testing.assert_close(viewing_pixel(BLAZEPOSE33, keypoints, 0 * confidence, centre), centre)


def placing(points: torch.Tensor, translation: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    focal, centre = torch.tensor([800.0]).double(), torch.tensor([[320.0, 240.0]]).double()
    moved = points + translation
    pixels = 800 * moved[..., :2] / moved[..., 2:] + centre
    return place_before_camera(points, pixels, weights, focal, centre, torch.tensor([3.0]).double())


def test_a_rigid_body_is_placed_exactly():
    generator = torch.Generator().manual_seed(0)
    points = 0.5 * torch.randn(1, 10, 3, generator=generator, dtype=torch.float64)
    translation = torch.tensor([[0.7, -0.2, 6.0]]).double()
    assert torch.allclose(placing(points, translation, torch.ones(1, 10).double()), translation, atol=1e-3)


def test_one_point_takes_the_usual_depth_and_none_the_middle():
    points = torch.zeros(1, 10, 3, dtype=torch.float64)
    translation = torch.tensor([[0.7, -0.2, 6.0]]).double()
    weights = torch.zeros(1, 10).double()
    assert placing(points, translation, weights)[0].tolist() == pytest.approx([0, 0, 3])
    weights[0, 0] = 1
    assert placing(points, translation, weights)[0].tolist() == pytest.approx([0.35, -0.1, 3], abs=1e-3)


def test_no_person_is_placed_behind_the_camera():
    """Mirrored pixels ask for a negative depth."""
    generator = torch.Generator().manual_seed(1)
    points = 0.5 * torch.randn(1, 10, 3, generator=generator, dtype=torch.float64)
    pixels = torch.tensor([[320.0, 240.0]]).double() - 150 * points[..., :2]
    focal, centre = torch.tensor([800.0]).double(), torch.tensor([[320.0, 240.0]]).double()
    placed = place_before_camera(
        points, pixels, torch.ones(1, 10).double(), focal, centre, torch.tensor([3.0]).double()
    )
    assert placed.isfinite().all()
    assert (placed[:, 2] + points[..., 2].amin()) > 0.2
