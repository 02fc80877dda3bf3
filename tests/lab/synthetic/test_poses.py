"""Poses and motions of the stage: families, splits, limits, floors."""

import numpy as np
import pytest
import torch
from helpers.cached_body import body
from helpers.synthetic_people import bank

from humanpose_cli.body.joint_angles import limit_excess, rotations_to_angles
from humanpose_cli.body.pose_library import KEY_POSES, pose_library
from humanpose_cli.body.pose_prior import self_penetration, vary_poses
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.lab.synthetic import poses
from humanpose_cli.lab.synthetic.poses import (
    FAMILIES,
    PoseBank,
    activities,
    held_pose,
    on_floor,
    sample_motion,
    turn_motion,
)


def test_splits_share_no_activity_and_hold_every_family_for_training():
    train, held_out = (
        {name for names in activities(split).values() for name in names} for split in ("train", "held_out")
    )
    assert not train & held_out
    assert train | held_out == set(KEY_POSES) | {clip.activity for clip in pose_library().clips}
    assert set(activities("train")) == set(FAMILIES)


@pytest.mark.extensive
def test_poses_that_are_drawn_together_are_those_of_their_numbers(monkeypatch):
    """Up to rounding; in no more calls for many blocks than for one, which draws again what penetrates itself."""
    calls = []

    def count_calls(*arguments):
        calls.append(len(arguments[0]))
        return vary_poses(*arguments)

    monkeypatch.setattr(poses, "vary_poses", count_calls)
    together = PoseBank(3).poses(62, 600)
    assert len(calls) <= 2 * poses._TRIES
    singly = [bank(3).pose(number) for number in range(62, 600)]
    assert [(pose.activity, pose.family) for pose in together] == [(pose.activity, pose.family) for pose in singly]
    both = [torch.stack([pose.rotations for pose in each_pose]) for each_pose in (together, singly)]
    torch.testing.assert_close(*both, atol=1e-6, rtol=0)


def test_a_number_stays_the_same_pose_in_every_version():
    """Trainings that go on, and what is compared with shipped weights, have the poses that they had."""
    poses = PoseBank(3).poses(62, 72)
    names = ["half_squat", "hand_to_chin", "bend_forward", "reading", "hands_clasped_in_front"]
    names += ["jumping", "hands_behind_head", "basketball", "lunge", "basketball_signal"]
    assert [pose.activity for pose in poses] == names
    elbows = [0.86154, 1.34055, 2.88737, 0.58973, 2.68187, 1.86784, 0.17712, 2.90423, 2.87591, 2.39135]
    assert [float(pose.rotations[18].trace()) for pose in poses] == pytest.approx(elbows, abs=1e-4)


@pytest.mark.slow
def test_poses_are_plausible_and_varied():
    poses = [bank().pose(i) for i in range(256)]
    rotations = torch.stack([pose.rotations for pose in poses])
    assert (self_penetration(rotations) > 0.03).float().mean() < 0.06
    bends = rotations_to_angles(rotations)
    limbs = SMPL24.indices(("left_elbow", "left_knee", "left_shoulder"))
    assert limit_excess(bends)[:, limbs, 0].abs().max() < 0.648  # the recordings may stray a little
    shares = {family: sum(pose.family == family for pose in poses) / len(poses) for family in FAMILIES}
    for family, share in FAMILIES.items():
        assert abs(shares[family] - share) < 0.11
    assert all(pose.activity in activities("train")[pose.family] for pose in poses)
    held_out = PoseBank(0, "held_out")
    assert all(held_out.pose(i).activity in activities("held_out")[held_out.pose(i).family] for i in range(64))


@pytest.mark.slow
def test_lying_people_lie():
    flat = [pose for pose in map(bank().pose, range(600)) if pose.family == "lying"]
    assert len(flat) > 5
    up = torch.stack([pose.rotations[0, :, 1] for pose in flat])
    assert up[:, 1].abs().max() < 0.6


@pytest.mark.parametrize("rate", [30.0, 12.5])
def test_motions_are_smooth_at_any_frame_rate(rate):
    motion = sample_motion(np.random.default_rng(5), 20, rate)
    assert len(motion) == 20
    assert set(motion.activities) <= set(activities("train")["library"])
    step = (motion.pelvis[1:] - motion.pelvis[:-1]).norm(dim=-1)
    assert step.max() * rate < 8  # metres a second
    turn = torch.linalg.matrix_norm(motion.rotations[1:] - motion.rotations[:-1])
    assert turn.max() * rate < 60
    forward = motion.rotations[0, 0, :, 2]
    assert abs(float(torch.atan2(forward[0], forward[2]))) < 1e-4
    assert motion.pelvis[0, [0, 2]].abs().max() < 1e-5


def test_a_motions_legs_are_the_recordings():
    motion = sample_motion(np.random.default_rng(2), 5, 30.0)
    knees = torch.stack([_knee(pose_library().rotations(), 0), _knee(pose_library().rotations(), 1)], 1)
    knee_angles = torch.stack([_knee(motion.rotations, 0), _knee(motion.rotations, 1)], 1)
    mirror = knee_angles.flip(1)
    assert min(torch.cdist(knee_angles, knees).amin(1).max(), torch.cdist(mirror, knees).amin(1).max()) < 0.02


def _knee(rotations: torch.Tensor, side: int) -> torch.Tensor:
    row = SMPL24.index(("left_knee", "right_knee")[side])
    return torch.acos(((rotations[:, row].diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))


def test_held_poses_sway_a_little():
    pose = bank().pose(1)
    motion = sample_motion(np.random.default_rng(0), 16, 15.0, pose=pose)
    assert set(motion.activities) == {pose.activity}
    assert len(motion.activities) == len(motion)
    change = torch.linalg.matrix_norm(motion.rotations[1:] - motion.rotations[:-1]).amax()
    assert 0 < change < 0.4


def test_the_lowest_point_touches_the_floor():
    betas = torch.full((10,), 0.7)
    separate = on_floor(body(), held_pose(bank().pose(0), bank().pose(5)), betas)
    motion = on_floor(body(), sample_motion(np.random.default_rng(1), 6, 10.0), betas)
    lows = [_lowest(separate, betas), _lowest(motion, betas)]
    assert lows[0].abs().max() < 1e-4
    assert abs(float(lows[1].min())) < 1e-4


def _lowest(motion, betas):
    root = body().rest(betas[None]).joints[:, 0]
    with torch.no_grad():
        vertices = body().pose(motion.rotations, betas[None], motion.pelvis - root).vertices
    return vertices[..., 1].amin(1)


def test_turning_keeps_the_motion():
    motion = sample_motion(np.random.default_rng(3), 4, 10.0)
    quarter = turn_motion(motion, np.pi / 2)
    offset = motion.pelvis[3] - motion.pelvis[0]
    expected = torch.stack((offset[2], offset[1], -offset[0]))
    torch.testing.assert_close(quarter.pelvis[3] - quarter.pelvis[0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(quarter.rotations[:, 1:], motion.rotations[:, 1:])
