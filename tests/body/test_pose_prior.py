"""The pose prior: what people do costs less than what they do not; its forms agree with each other."""

import pytest
import torch

from humanpose_cli.body.joint_angles import (
    angles_from_named,
    angles_to_rotations,
    joint_limits,
    limit_excess,
    mirror_rotations,
    rotations_to_angles,
)
from humanpose_cli.body.pose_library import KEY_POSES, key_poses, pose_library
from humanpose_cli.body.pose_prior import pose_prior, sample_poses, self_penetration
from humanpose_cli.core.conventions import SMPL24


def within_limits(count: int, seed: int = 0) -> torch.Tensor:
    low, high = (limit.float().nan_to_num(posinf=0.0, neginf=0.0) for limit in joint_limits())  # the pelvis stays
    share = torch.rand(count, 72, generator=torch.Generator().manual_seed(seed)).unflatten(1, (24, 3))
    return angles_to_rotations(low + share * (high - low))


def pose(**degrees: float) -> torch.Tensor:
    named = {key.replace("__", "."): value for key, value in degrees.items()}
    return angles_to_rotations(angles_from_named(named))[None]


def test_held_out_activities_against_their_frames_shaken():
    """A harder question: the same frames with every angle off by 30° on average, inside the limits."""
    library, prior = pose_library(), pose_prior()
    true = library.rotations(library.frames("held_out")[::3])
    noise = torch.randn(len(true), 24, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    low, high = (limit.float() for limit in joint_limits())
    angles = torch.minimum(torch.maximum(rotations_to_angles(true) + noise, low), high)
    assert (prior.energy(true)[:, None] < prior.energy(angles_to_rotations(angles))).float().mean() > 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    ("usual", "odd"),
    [
        ({"knee__flexion": 60}, {"knee__flexion": -40}),
        ({"elbow__flexion": 60}, {"elbow__flexion": -40}),
        ({"hip__flexion": 60}, {"hip__flexion": -60}),
        ({"shoulder__forward": 60}, {"shoulder__forward": -90}),
        ({"neck__flexion": 15}, {"neck__flexion": -70}),
    ],
)
def test_usual_bends_cost_less_than_odd_ones(usual, odd):
    prior = pose_prior()
    down = {"shoulder__elevation": -70} if "shoulder__forward" not in usual else {}
    assert prior.energy(pose(**down, **usual)) + 2 < prior.energy(pose(**down, **odd))


def test_the_quadratic_is_the_energy_with_its_gradient():
    prior = pose_prior().double()
    angles = rotations_to_angles(within_limits(20).double()).requires_grad_()
    energy = prior.energy(angles_to_rotations(angles))
    gradient = torch.autograd.grad(energy.sum(), angles)[0]
    quadratic = prior.quadratic(angles.detach())
    torch.testing.assert_close(quadratic.energy, energy.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(quadratic.gradient, gradient.flatten(1), rtol=1e-3, atol=1e-3)
    assert torch.linalg.eigvalsh(quadratic.curvature).min() > -1e-6
    pelvis = 3 * SMPL24.index("pelvis")
    assert not quadratic.gradient[:, pelvis : pelvis + 3].any()


def test_energy_grows_like_a_logarithm_so_that_evidence_wins():
    """The pull towards the usual weakens with distance."""
    prior = pose_prior()
    slopes = []
    for degrees in (20.0, 90.0):
        quadratic = prior.quadratic(angles_from_named({"spine1.side_bend": degrees, "spine2.side_bend": degrees})[None])
        slopes.append(float(quadratic.gradient.norm()))
    assert slopes[1] < slopes[0]


def test_a_mirrored_pose_is_as_plausible():
    prior = pose_prior()
    poses = sample_poses(50, torch.Generator().manual_seed(0))
    sides = prior.energy(poses), prior.energy(mirror_rotations(poses))
    # The trunk's mixture is learned from both mirror images, but not tied.
    torch.testing.assert_close(*sides, rtol=0.1, atol=3.0)


def test_key_poses_are_possible_and_named():
    keys = key_poses()
    assert keys.names == tuple(KEY_POSES)
    assert limit_excess(rotations_to_angles(keys.rotations)).abs().max() < 0.044
    assert (self_penetration(keys.rotations) < 0.03).all()
    assert (keys["t_pose"] == torch.eye(3)).all()
    for needed in ("sitting_on_chair", "sitting_on_floor", "crouch", "bend_forward", "arms_crossed", "lying_on_back"):
        assert needed in keys.names
    assert (pose_prior().energy(keys.rotations) < 80).all()


@pytest.mark.slow
def test_samples_are_possible_varied_and_repeatable():
    first, second = (sample_poses(200, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (200, 24, 3, 3)
    torch.testing.assert_close(first @ first.mT, torch.eye(3).expand_as(first), atol=1e-4, rtol=0)
    assert limit_excess(rotations_to_angles(first)).abs().max() < 0.044
    assert (self_penetration(first) < 0.03).all()
    spread = rotations_to_angles(first).std(0)
    assert spread[SMPL24.index("left_knee"), 0] > 0.4
    assert sample_poses(0, torch.Generator()).shape == (0, 24, 3, 3)
