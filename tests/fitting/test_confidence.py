"""The probability that a joint is right: monotone in each noise, the posterior that it comes from, and its mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.confidence import (
    MAX_NOISE,
    MIN_NOISE,
    JointNoise,
    explained_confidence,
    noise_of_joints,
    person_confidence,
    posterior_noise,
    probability_right,
)
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.solver import NormalEquations


def same(value: float, rows: int = 1) -> torch.Tensor:
    return torch.full((rows, len(SMPL24)), value, dtype=torch.float64)


@pytest.mark.parametrize("kind", JointNoise._fields)
def test_more_noise_of_any_kind_is_less_confidence(kind):
    levels = torch.linspace(np.log(MIN_NOISE), np.log(MAX_NOISE), 9, dtype=torch.float64).exp()
    noise = JointNoise(*(same(0.03, 9) for _ in range(3)))._replace(**{kind: levels[:, None].expand(-1, len(SMPL24))})
    found = probability_right(noise)
    assert (found.diff(dim=0) < 0).all()
    assert ((found > 0) & (found < 1)).all()
    assert not found[:, SMPL24.mirror].sub(found).any()


def test_an_unknown_noise_counts_as_the_usual_one_and_extremes_are_bounded():
    joint_noise = JointNoise(same(0.02), same(0.02), same(0.02))
    for kind in JointNoise._fields:
        ends = [
            probability_right(joint_noise._replace(**{kind: same(value)})) for value in (0.0, float("nan"), torch.inf)
        ]
        assert (ends[0] > ends[1]).all()
        assert (ends[1] > ends[2]).all()
        torch.testing.assert_close(ends[0], probability_right(joint_noise._replace(**{kind: same(MIN_NOISE)})))
        torch.testing.assert_close(ends[2], probability_right(joint_noise._replace(**{kind: same(MAX_NOISE)})))


def test_people_are_the_mean_of_their_limbs():
    joints = torch.zeros(2, 24)
    joints[1, SMPL24.indices(("left_wrist", "right_wrist", "left_knee"))] = 1
    joints[:, SMPL24.index("head")] = 1
    assert person_confidence(joints).tolist() == pytest.approx([0, 0.25])


def test_the_less_certain_witness_counts_and_without_one_noise_is_infinite():
    noise = torch.full((1, 33), 0.02, dtype=torch.float64)
    noise[0, BLAZEPOSE33.index("left_ankle")] = 0.2
    noise[0, BLAZEPOSE33.index("right_wrist")] = torch.inf
    found = noise_of_joints(BLAZEPOSE33, noise)[0]
    expected = dict.fromkeys(SMPL24.joint_names, 0.02) | dict.fromkeys(("left_ankle", "left_foot"), 0.2)
    expected |= dict.fromkeys(("right_wrist", "right_hand"), np.inf)
    np.testing.assert_allclose(found, [expected[name] for name in SMPL24.joint_names], rtol=1e-12)


def test_the_posterior_is_that_of_samples_of_the_parameters(body: Body):
    """One joint turns by σ about one axis: what hangs from it moves by σ times its distance from that axis."""
    rig = LandmarkRig(body, body.landmarks("coco17"), SMPL24.joint_names, free_columns=1)
    turned, sigma = SMPL24.index("left_elbow"), 0.1
    precision = torch.full((rig.parameter_count,), 1e8, dtype=torch.float64)
    precision[3 * turned + 1] = sigma**-2
    equations = NormalEquations(*(torch.zeros(1), torch.zeros(1, len(precision)), torch.diag(precision)[None]))
    still = torch.eye(3, dtype=torch.float64).expand(1, 24, 3, 3)
    state = FitState(still, torch.tensor([[0.1, 0.2, 3.0]]).double(), torch.zeros(1, rig.shape_count).double(), None)
    found = posterior_noise(equations, rig, state)[0].numpy()
    joints = rig.pose(*state[:3]).joints[0].numpy()
    below = list(SMPL24.indices(("left_wrist", "left_hand")))
    arm = joints[below] - joints[turned]
    np.testing.assert_allclose(found[below], sigma * np.hypot(arm[:, 0], arm[:, 2]), rtol=2e-3)
    others = [row for row in range(24) if row not in below]
    assert found[others].max() < 1e-3
    # Where the whole body is does not count.
    precision[3 * 24 : 3 * 24 + 3] = 1.0
    free = equations._replace(hessian=torch.diag(precision)[None])
    np.testing.assert_allclose(posterior_noise(free, rig, state)[0].numpy(), found, rtol=1e-9, atol=1e-12)


def test_a_parameter_that_nothing_constrains_is_no_certainty(body: Body):
    rig = LandmarkRig(body, body.landmarks("coco17"), SMPL24.joint_names, free_columns=1)
    hessian = torch.zeros(1, rig.parameter_count, rig.parameter_count, dtype=torch.float64)
    hessian[0, 0, 0] = 1.0
    equations = NormalEquations(torch.zeros(1), torch.zeros(1, rig.parameter_count), hessian)
    still = torch.eye(3, dtype=torch.float64).expand(1, 24, 3, 3)
    state = FitState(still, torch.zeros(1, 3).double(), torch.zeros(1, rig.shape_count).double(), None)
    found = posterior_noise(equations, rig, state)[0]
    assert found[SMPL24.index("left_wrist")] > 1.0


def test_bodies_far_from_the_landmarks_or_uncertain_to_their_network_are_less_confident():
    confidence, depth, focal = torch.ones(1, 33), torch.full((1, 1), 3.0), torch.full((1, 1), 600.0)
    near = torch.full((1, 33), 1.0)
    far = near.clone()
    far[0, BLAZEPOSE33.index("left_wrist")] = 60.0  # 30 cm
    at, away = (explained_confidence(confidence, apart, depth, focal)[0] for apart in (near, far))
    assert away[SMPL24.index("left_wrist")] < at[SMPL24.index("left_wrist")] - 0.2
    assert away[SMPL24.index("right_wrist")] == at[SMPL24.index("right_wrist")]
    certain, vague = (torch.full((1, 24, 2), value) for value in (0.01, 0.1))
    confident, unsure = (explained_confidence(confidence, near, depth, focal, noise)[0] for noise in (certain, vague))
    assert (unsure < confident).all()
    assert not explained_confidence(0 * confidence, near, depth, focal).any()
