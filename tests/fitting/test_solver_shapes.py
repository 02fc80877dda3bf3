"""Shape shared by frames: eliminating poses, adding evidence, bounding what many frames may say."""

import pytest
import torch

from humanpose_cli.fitting.problem import common_shapes, shape_evidence
from humanpose_cli.fitting.solver import NormalEquations

SIGMA = torch.full((4, 2), 0.5, dtype=torch.float64)
MEAN = torch.tensor([[0.4, -1.2]], dtype=torch.float64).expand(4, 2)
COLUMNS = slice(3, 5)


@pytest.fixture
def quadratic():
    """Random least squares of 3 poses and 2 shapes a row, with a prior on shape; (rows, right sides)."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 9, 5, generator=generator, dtype=torch.float64)
    return rows, torch.randn(4, 9, 1, generator=generator, dtype=torch.float64)


def equations_at(rows, right, x):
    """Normal equations at x (4, 5, 1) with the prior's share."""
    prior = torch.zeros(5, dtype=torch.float64)
    prior[COLUMNS] = SIGMA[0] ** -2
    mean = torch.zeros(5, dtype=torch.float64)
    mean[COLUMNS] = MEAN[0]
    gradient = rows.mT @ (rows @ x - right) + prior[:, None] * (x - mean[:, None])
    return NormalEquations(torch.zeros(4), gradient.squeeze(-1), rows.mT @ rows + torch.diag(prior))


def test_evidence_is_the_same_wherever_the_equations_stand(quadratic):
    rows, right = quadratic
    zero = torch.zeros(4, 5, 1, dtype=torch.float64)
    minimum = -torch.linalg.solve(equations_at(rows, right, zero).hessian, equations_at(rows, right, zero).gradient)
    for x in (zero, minimum[..., None], torch.ones_like(zero)):
        evidence = shape_evidence(equations_at(rows, right, x), x[:, COLUMNS, 0], MEAN, SIGMA, COLUMNS)
        unconstrained = torch.linalg.lstsq(rows, right).solution[:, COLUMNS]
        mean = torch.linalg.solve(evidence.precision, evidence.pull[..., None])
        assert torch.allclose(mean, unconstrained, atol=1e-6)


def test_a_group_solves_the_joint_problem(quadratic):
    rows, right = quadratic
    zero = torch.zeros(4, 5, 1, dtype=torch.float64)
    evidence = shape_evidence(equations_at(rows, right, zero), zero[:, COLUMNS, 0], MEAN, SIGMA, COLUMNS)
    betas, is_shared = common_shapes([evidence], torch.tensor([5, 2, 5, 5]), max_rows=10)
    # One system of three rows: three poses of their own and the shape in common, with one prior.
    joint = torch.zeros(29, 11, dtype=torch.float64)
    target = torch.zeros(29, 1, dtype=torch.float64)
    for block, row in enumerate((0, 2, 3)):
        lines = slice(9 * block, 9 * block + 9)
        joint[lines, 3 * block : 3 * block + 3] = rows[row, :, :3]
        joint[lines, 9:] = rows[row, :, 3:]
        target[lines] = right[row]
    joint[27:, 9:] = torch.diag(1 / SIGMA[0])
    target[27:, 0] = MEAN[0] / SIGMA[0]
    assert is_shared.tolist() == [True, False, True, True]
    assert torch.allclose(betas[0], torch.linalg.lstsq(joint, target).solution[9:, 0], atol=1e-6)
    assert torch.equal(betas[0], betas[2])
    assert not torch.allclose(betas[0], betas[1])


def test_many_alike_frames_count_as_few(quadratic):
    rows, right = (value[:1].repeat(40, 1, 1) for value in quadratic)
    zero, sigma = torch.zeros(40, 5, 1, dtype=torch.float64), SIGMA[:1].repeat(40, 1)
    equations = equations_at(rows[:4], right[:4], zero[:4])
    equations = NormalEquations(*(value[:1].repeat(40, *[1] * (value.ndim - 1)) for value in equations))
    evidence = shape_evidence(equations, zero[:, COLUMNS, 0], MEAN[:1].repeat(40, 1), sigma, COLUMNS)
    everyone, ten = torch.zeros(40, dtype=torch.int64), torch.arange(40) // 10
    bounded, _ = common_shapes([evidence], everyone, max_rows=10)
    fewer, _ = common_shapes([evidence], ten, max_rows=10)
    assert torch.allclose(bounded[0], fewer[0])
    assert not torch.allclose(bounded[0], common_shapes([evidence], everyone, max_rows=40)[0][0])
