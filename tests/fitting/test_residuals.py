"""Normal equations of the keypoint fit against automatic differentiation of its cost."""

from __future__ import annotations

import pytest
import torch
from helpers.prior_files import write_mixture

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.fitting.evidence import gather_evidence
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.linearising.op import AngleEnergy
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.priors import load_prior
from humanpose_cli.fitting.problem import PREDICTED_JOINTS, UPRIGHT_JOINTS, KeypointProblem, bone_names, combination
from humanpose_cli.fitting.residuals import (
    FitState,
    add_pose_energy,
    retract_state,
    rotation_vector_jacobian,
)
from humanpose_cli.fitting.solver import NormalEquations
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "predicted"])
def problem_and_state(request, body, library_scene):
    """A problem with every term awake, away from its minimum; with what a body network predicts, or without."""
    scene = library_scene(3, seed=11)
    confidence = scene.observations.confidence.clone()
    confidence[0, BLAZEPOSE33.indices(("left_ankle", "left_knee"))] = 0
    prediction = scene.predicted(noise=0.05) if request.param else {}
    joints = tuple(dict.fromkeys((*UPRIGHT_JOINTS, *PREDICTED_JOINTS))) if prediction else UPRIGHT_JOINTS
    rig = LandmarkRig(body, body.landmarks("blazepose33"), joints, free_columns=1)
    observations = scene.changed(confidence=confidence, **prediction)
    evidence, start, _ = gather_evidence(rig, observations, KeypointFitOptions())
    assert evidence.positions.shape[1] == (len(PREDICTED_JOINTS) if prediction else 0)
    problem = KeypointProblem(rig, evidence)
    generator = torch.Generator().manual_seed(2)
    step = 0.1 * torch.randn(3, problem.parameters, generator=generator, dtype=torch.float64)
    return problem, retract_state(start, step)


@pytest.mark.extensive
def test_the_gradient_is_the_costs(problem_and_state):
    problem, state = problem_and_state
    gradient = problem.linearise(state).gradient
    count = problem.parameters
    size = 1e-6
    rows = torch.arange(3).repeat_interleave(count)  # each once for every parameter
    many, start = problem.select(rows), FitState(*(value[rows] for value in state))
    steps = size * torch.eye(count, dtype=torch.float64).repeat(3, 1)
    ahead, behind = (many.linearise(retract_state(start, sign * steps)).cost for sign in (1, -1))
    slopes = (ahead - behind).view(3, count) / (2 * size)
    assert torch.allclose(gradient, slopes, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))


@pytest.mark.parametrize("length", [0.0, 1e-3, 0.02, 1.0, 3.0])
def test_rotation_vector_jacobian_is_the_derivative(length):
    generator = torch.Generator().manual_seed(0)
    vectors = length * torch.nn.functional.normalize(torch.randn(2, 24, 3, generator=generator).double(), dim=-1)
    rotations = axis_angle_to_matrix(vectors)
    found, jacobian = rotation_vector_jacobian(rotations)
    assert torch.allclose(found, vectors, atol=1e-7)
    for axis in range(3):
        step = torch.zeros(24, 3, dtype=torch.float64)
        step[:, axis] = 1e-6
        moved = [matrix_to_axis_angle(rotations @ axis_angle_to_matrix(s * step)) for s in (1, -1)]
        assert torch.allclose(jacobian[..., axis], (moved[0] - moved[1]) / 2e-6, atol=1e-6)


@pytest.fixture(scope="module")
def prior_names(tmp_path_factory):
    mixture = write_mixture(tmp_path_factory.mktemp("priors") / "gmm_08.pkl")
    return {"none": "none", "pose": "pose", "gmm": f"gmm:{mixture}"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "pose", "gmm"])
def test_the_pose_energys_gradient_is_its_costs_whatever_the_prior(prior_names, kind):
    generator = torch.Generator().manual_seed(4)
    rotations = axis_angle_to_matrix(0.4 * torch.randn(2, 24, 3, generator=generator).double())
    prior, fallback = load_prior(prior_names[kind]), (torch.zeros(2, 24, 3).double(), torch.ones(2, 24).double())

    def equations(steps, strength=0.7):
        made = NormalEquations(*(torch.zeros(2, *[75] * dimensions).double() for dimensions in (0, 1, 2)))
        moved = rotations @ axis_angle_to_matrix(steps.view(2, 24, 3))
        add_pose_energy(made, moved, AngleEnergy(*fallback, prior, strength))
        return made

    still = torch.zeros(2, 72).double()
    direction, size = torch.randn(2, 72, generator=generator).double(), 1e-6
    ahead, behind = (equations(sign * size * direction).cost for sign in (1, -1))
    at = equations(still)
    slope = (at.gradient[:, :72] * direction).sum(1)
    torch.testing.assert_close((ahead - behind) / (2 * size), slope, rtol=1e-4, atol=1e-4)
    assert not at.gradient[:, 72:].any()
    assert torch.linalg.eigvalsh(at.hessian).min() > -1e-6
    shares = [equations(still, strength).cost - equations(still, 0.0).cost for strength in (0.7, 1.4)]
    torch.testing.assert_close(shares[1], 2 * shares[0])
    assert (shares[0] > 0).all() == (kind != "none")


def test_roots_scale_their_distance_and_never_pass_the_camera():
    state = FitState(
        torch.eye(3, dtype=torch.float64).expand(1, 24, 3, 3),
        torch.tensor([[1.0, 0.0, 10.0]], dtype=torch.float64),
        torch.zeros(1, 10, dtype=torch.float64),
        torch.zeros(1, 1, dtype=torch.float64),
    )
    step = torch.zeros(1, 86, dtype=torch.float64)
    step[0, 72], step[0, 74] = 0.01, -50.0
    assert retract_state(state, step).root[0].tolist() == pytest.approx([1.1 / torch.e, 0.0, 10 / torch.e])


@pytest.mark.parametrize("skeleton", [BLAZEPOSE33, COCO17])
def test_bones_are_differences_of_means(skeleton):
    bones = bone_names(skeleton)
    matrix = combination(skeleton.joint_names, bones)
    assert matrix.sum(1).abs().max() < 1e-12
    row = bones.index((("left_elbow",), ("left_shoulder",)))
    assert matrix[row, skeleton.index("left_elbow")] == 1
    assert matrix[row, skeleton.index("left_shoulder")] == -1
    assert (("left_foot_index",), ("left_heel",)) in bones or skeleton is COCO17
