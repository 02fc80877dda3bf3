"""The kernels of normal equations against the reference, which differentiates automatically."""

from __future__ import annotations

import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.linearising import op
from humanpose_cli.fitting.linearising.op import AngleEnergy, PosedRig, Term
from humanpose_cli.fitting.priors import default_prior
from humanpose_cli.fitting.solver import NormalEquations
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

ROWS, PARAMETERS = 3, 86


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotations(length: float) -> torch.Tensor:
    return axis_angle_to_matrix(length * torch.nn.functional.normalize(normal(ROWS, 24, 3), dim=-1))


def assert_same_sums(add, width: int = PARAMETERS) -> None:
    """Compare what a function adds to normal equations with the kernel and with the reference."""
    sums = []
    for backend in ("kernel", "reference"):
        equations = NormalEquations.zeros(normal(ROWS), width)
        equations.gradient.fill_(1.0)  # terms are added to what is there
        add(equations, backend)
        sums.append(equations)
    for mine, expected in zip(*sums, strict=True):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(mine, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("jacobian", [False, True])
def test_posed_points_and_their_slopes(body, jacobian: bool) -> None:
    rig = LandmarkRig(body, body.landmarks("blazepose33"), ("neck", "left_ankle"), free_columns=1)
    state = (rotations(0.8), normal(ROWS, 3), normal(ROWS, 10), 1 + 0.1 * normal(ROWS, 24))
    mine, expected = (op.pose(rig, state, jacobian=jacobian, backend=b) for b in ("kernel", "reference"))
    assert (mine.jacobian is None) == (not jacobian)
    for value, reference in zip(mine, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("components", [1, 2, 3])
@pytest.mark.parametrize("grows", [False, True])
def test_terms(components: int, grows: bool) -> None:
    points, jacobian = normal(ROWS, 9, 3) + torch.tensor([0, 0, 4.0]).double(), normal(ROWS, 3, 9, PARAMETERS, seed=1)
    jacobian[..., 30:] *= normal(56, seed=2) > 0  # columns without slopes
    jacobian[..., -1] = 0
    weights = normal(ROWS, 5, components, seed=3).abs()
    weights[1, 2] = 0
    ends = torch.tensor([[0, 3], [1, 2], [4, 8], [6, 7], [5, 0]], dtype=torch.int32)
    shares = torch.tensor([[1.0, -1.0], [0.5, 0.5], [1.0, 0.0], [1.0, -1.0], [1.0, 1.0]]).double()
    turn, counts = rotations(0.5)[:, 0], normal(ROWS, 5, seed=4).abs()
    target = normal(ROWS, 5, components, seed=5)
    term = Term(ends, shares, turn, normal(ROWS, 3, seed=6), target, weights, counts, normal(5, seed=7).abs())
    posed = PosedRig(points, jacobian, rotations(1.0), normal(ROWS, 24, 3))
    logs = normal(ROWS, 1, seed=8) if grows and components == 3 else None
    assert_same_sums(lambda equations, backend: op.add_term(equations, term, posed, logs, backend=backend))


@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-4, 1e-3, 0.02, 1.0, 3.0])
@pytest.mark.parametrize("prior", [False, True])
def test_energies_of_angles(length: float, prior: bool) -> None:
    weights = normal(ROWS, 24, seed=2).abs()
    energy = AngleEnergy(normal(ROWS, 24, 3, seed=1), weights, default_prior() if prior else None, 0.7)
    turns = rotations(length)
    assert_same_sums(lambda equations, backend: op.add_angles(equations, turns, energy, backend=backend))


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_the_energy_of_a_row_that_is_not_a_number_is_none(backend: str) -> None:
    equations, turns = NormalEquations.zeros(normal(ROWS), PARAMETERS), rotations(1.0)
    turns[1, 3] = torch.nan
    energy = AngleEnergy(normal(ROWS, 24, 3, seed=1), normal(ROWS, 24, seed=2).abs(), default_prior(), 0.7)
    op.add_angles(equations, turns, energy, backend=backend)
    assert equations.cost.isfinite().tolist() == [True, False, True]


def test_kernels_read_double_numbers_alone() -> None:
    energy = AngleEnergy(torch.zeros(ROWS, 24, 3), torch.ones(ROWS, 24), None)
    with raises(UsageError, subject="backend", got="torch.float32"):
        op.add_angles(NormalEquations.zeros(normal(ROWS), 75), rotations(1.0).float(), energy, backend="kernel")
