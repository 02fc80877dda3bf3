"""How far off a fit may be, from its keypoints: limbs whose keypoints are far off become free, others are held."""

import pytest
import torch

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.refining.anchor import CameraTargets, anchor_noise, usual_errors
from humanpose_cli.refining.correspondences import SurfacePoints
from humanpose_cli.refining.options import AlignmentWeights
from humanpose_cli.refining.problem import (
    AlignmentEvidence,
    AlignmentProblem,
    alignment_rig,
    joint_motion,
    solve_alignment,
)

WEIGHTS = AlignmentWeights()
LEGS = SMPL24.indices(("left_hip", "right_hip", "left_knee", "right_knee"))
SHOULDERS_AND_ELBOWS = SMPL24.indices(("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"))
SIGMA = 3.0  # pixels


@pytest.fixture(scope="module")
def rig(body):
    return alignment_rig(body, SurfacePoints(body, 60).landmarks)


def state_of(walk, rotations) -> FitState:
    count = len(rotations)
    return FitState(rotations.double(), walk.trans.double(), torch.zeros(count, 10).double(), torch.zeros(count, 1))


def turned(walk, joints, radians: float):
    """The walk with some joints bent about the axis that runs sideways, forwards and backwards in turn."""
    noise = torch.zeros(len(walk.rotations), 24, 3)
    noise[:, joints, 0] = radians * torch.tensor([1.0, -1.0] * (len(joints) // 2))
    noise[:, joints, 2] = radians
    return walk.rotations @ axis_angle_to_matrix(noise)


def keypoints_of(rig, walk, sigma: float = SIGMA) -> CameraTargets:
    """The true landmarks, exactly."""
    points = rig.pose(*state_of(walk, walk.rotations)[:3]).points[:, rig.landmark_count - 33 : rig.landmark_count]
    ones = torch.ones(points.shape[:2], dtype=torch.float64)
    count = len(points)
    focal, centre = torch.full((count,), 500.0).double(), torch.full((count, 2), 160.0).double()
    pixels = 500 * points[..., :2] / points[..., 2:] + 160
    return CameraTargets(torch.eye(3).double(), torch.zeros(3).double(), focal, centre, pixels, ones / sigma, ones)


def noise_of(rig, walk, rotations, keypoints, measured=False):
    scales = torch.ones(len(rotations), 24, dtype=torch.float64)
    return anchor_noise(rig, state_of(walk, rotations), scales, keypoints, measured=measured)


def test_two_wrong_legs_are_free_and_the_rest_is_held(rig, walk):
    noise = noise_of(rig, walk, turned(walk, LEGS, 0.35), keypoints_of(rig, walk)).rotation / usual_errors()
    right = noise_of(rig, walk, walk.rotations, keypoints_of(rig, walk)).rotation / usual_errors()
    assert noise[:, LEGS].mean() > 1.4 * noise[:, SHOULDERS_AND_ELBOWS].mean()
    assert noise[:, LEGS].mean() > 3 * right[:, LEGS].mean()


def test_a_fit_on_its_keypoints_is_held_unless_it_was_made_from_them(rig, walk):
    keypoints = keypoints_of(rig, walk)
    foreign = noise_of(rig, walk, walk.rotations, keypoints)
    noise = noise_of(rig, walk, walk.rotations, keypoints, measured=True)
    assert (foreign.rotation < 0.3 * usual_errors()).all()
    torch.testing.assert_close(noise.rotation, usual_errors().expand_as(noise.rotation))
    torch.testing.assert_close(noise.root, torch.full_like(noise.root, 0.01))
    assert (foreign.root < 0.3 * noise.root).all()
    assert (foreign.shape < 0.3 * noise.shape).all()


def test_without_keypoints_a_fit_is_a_usual_one(rig, walk):
    keypoints = keypoints_of(rig, walk)
    unknown = keypoints._replace(weights=torch.zeros_like(keypoints.weights))
    noise = noise_of(rig, walk, turned(walk, LEGS, 0.3), unknown)
    torch.testing.assert_close(noise.rotation, usual_errors().expand_as(noise.rotation))


def test_noisier_keypoints_say_less(rig, walk):
    """The same distances are no evidence of an error when they lie within the keypoints' noise."""
    rotations = turned(walk, LEGS, 0.1)
    exact, blurred = (
        noise_of(rig, walk, rotations, keypoints_of(rig, walk, sigma)).rotation[:, LEGS].mean()
        for sigma in (1.0, 1000.0)
    )
    assert exact > 1.5 * noise_of(rig, walk, walk.rotations, keypoints_of(rig, walk, 1.0)).rotation[:, LEGS].mean()
    usual = usual_errors()[list(LEGS)].mean()
    assert abs(blurred - usual) < abs(exact - usual)


def test_a_keypoint_elsewhere_frees_no_joint(rig, walk):
    """No error of the fit brings the nose there."""
    keypoints = keypoints_of(rig, walk)
    keypoints.pixels[:, BLAZEPOSE33.index("left_eye")] += 150
    noise = noise_of(rig, walk, walk.rotations, keypoints)
    assert (noise.rotation < 0.5 * usual_errors()).all()


@pytest.mark.extensive
def test_two_wrong_legs_are_corrected(rig, walk):
    """By keypoints alone, though most of the landmarks lie on theirs; a perfect fit stays."""
    keypoints = keypoints_of(rig, walk)
    true = rig.pose(*state_of(walk, walk.rotations)[:3]).joints
    for radians, before, after in ((0.35, 0.05, 0.4), (0.0, 0.0, 0.0)):
        rotations = turned(walk, LEGS, radians)
        start = state_of(walk, rotations)
        noise = noise_of(rig, walk, rotations, keypoints)
        count, points = len(rotations), rig.landmark_count
        pixels, weights, counts = torch.zeros(count, points, 2), torch.zeros(count, points), torch.ones(count, points)
        pixels, weights, counts = pixels.double(), weights.double(), counts.double()
        pixels[:, -33:], weights[:, -33:] = keypoints.pixels, keypoints.weights
        camera = CameraTargets(
            rotation=torch.eye(3).double(),
            translation=torch.zeros(3).double(),
            focal=keypoints.focal,
            centre=keypoints.centre,
            pixels=pixels,
            weights=weights,
            counts=counts,
        )
        evidence = AlignmentEvidence(
            cameras=(camera,),
            rotations=start.rotations,
            joints=rig.pose(*start[:3]).joints,
            betas=start.betas,
            rotation_noise=noise.rotation,
            root_noise=noise.root,
            shape_noise=noise.shape,
            segment_scales=torch.ones(count, 24).double(),
        )
        cameras = torch.eye(4).double().expand(count, 4, 4)
        alone = joint_motion(cameras, torch.zeros(count - 2, 3).double(), WEIGHTS.acceleration)
        solved = solve_alignment(AlignmentProblem(rig, evidence, WEIGHTS, prior=None), alone, start)
        errors = [(rig.pose(*state[:3]).joints - true)[..., :2].norm(dim=-1).mean() for state in (start, solved)]
        assert errors[0] >= before
        assert errors[1] <= after * errors[0] + 1e-3
