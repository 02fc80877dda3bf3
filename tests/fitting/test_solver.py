"""The batched solver on problems with known minima."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from helpers.dispatched import Dispatched
from torch import Tensor

from humanpose_cli.fitting.solver import (
    NormalEquations,
    _Running,
    full_blocks,
    levenberg_marquardt,
    solve_damped,
)
from humanpose_cli.geometry.least_squares import SolverOptions


class Point(NamedTuple):
    xy: Tensor


class Rosenbrock:
    """Residuals (1 − x, c (y − x²)); minimum at (1, 1) whatever c (N,)."""

    def __init__(self, steepness: Tensor) -> None:
        self.steepness = steepness

    def linearise(self, state: Point) -> NormalEquations:
        x, y = state.xy.unbind(-1)
        residual = torch.stack((1 - x, self.steepness * (y - x * x)), -1)
        rows = torch.zeros(len(x), 2, 2, dtype=x.dtype)
        rows[:, 0, 0] = -1
        rows[:, 1, 0] = -2 * self.steepness * x
        rows[:, 1, 1] = self.steepness
        gradient = (rows.mT @ residual[..., None]).squeeze(-1)
        return NormalEquations(0.5 * residual.square().sum(-1), gradient, rows.mT @ rows)

    def retract(self, state: Point, step: Tensor) -> Point:
        return Point(state.xy + step)

    def select(self, rows: Tensor) -> Rosenbrock:
        return Rosenbrock(self.steepness[rows])


class BrokenBeyondTwo(Rosenbrock):
    """Not a number wherever x exceeds 2."""

    def linearise(self, state: Point) -> NormalEquations:
        equations = super().linearise(state)
        nan = torch.where(state.xy[:, 0] > 2, torch.nan, 0.0)
        return NormalEquations(equations.cost + nan, equations.gradient + nan[:, None], equations.hessian)

    def select(self, rows: Tensor) -> BrokenBeyondTwo:
        return BrokenBeyondTwo(self.steepness[rows])


OPTIONS = SolverOptions(iterations=200, tolerance=1e-12, damping=1e-2)


@pytest.fixture
def starts() -> tuple[Rosenbrock, Point]:
    generator = torch.Generator().manual_seed(1)
    xy = 4 * torch.randn(16, 2, generator=generator, dtype=torch.float64)
    return Rosenbrock(torch.linspace(1, 100, 16, dtype=torch.float64)), Point(xy)


def test_every_sample_finds_its_minimum(starts):
    problem, state = starts
    final, equations = levenberg_marquardt(problem, state, OPTIONS)
    assert torch.allclose(final.xy, torch.ones(16, 2, dtype=torch.float64), atol=1e-5)
    assert (equations.cost < 1e-9).all()


def test_a_step_launches_little(starts):
    running = _Running(*starts, damping=1e-3)
    with Dispatched() as operations:
        running.advance(1e-6)
    assert 0 < operations.kernels <= 75  # those of the problem included


def test_batches_are_full_blocks(starts):
    """From the first to the last, while more and more samples are done."""
    problem, state = starts
    sizes = []
    linearise = Rosenbrock.linearise

    class Counted(Rosenbrock):
        def linearise(self, state: Point) -> NormalEquations:
            sizes.append(len(state.xy))
            return linearise(self, state)

        def select(self, rows: Tensor) -> Counted:
            return Counted(self.steepness[rows])

    rows = torch.arange(13)
    final, equations = levenberg_marquardt(Counted(problem.steepness).select(rows), Point(state.xy[rows]), OPTIONS)
    assert (sizes[0], sizes[-1]) == (16, 8)
    assert set(sizes) == {16, 8}
    assert len(final.xy) == len(equations.cost) == 13
    assert full_blocks(torch.tensor([4, 2])).tolist() == [4, 2, 2, 2, 2, 2, 2, 2]


def test_cost_never_rises(starts):
    problem, state = starts
    cost = problem.linearise(state).cost
    for iterations in range(1, 6):
        _, equations = levenberg_marquardt(problem, state, SolverOptions(iterations=iterations))
        assert (equations.cost <= cost).all()
        cost = equations.cost


def test_reported_equations_belong_to_the_reported_state(starts):
    problem, state = starts
    final, equations = levenberg_marquardt(problem, state, SolverOptions(iterations=3))
    again = problem.linearise(final)
    assert torch.equal(equations.cost, again.cost)
    assert torch.equal(equations.gradient, again.gradient)


def test_steps_into_the_undefined_are_not_taken():
    problem = BrokenBeyondTwo(torch.tensor([1.0], dtype=torch.float64))
    state = Point(torch.tensor([[1.9, -50.0]], dtype=torch.float64))
    final, equations = levenberg_marquardt(problem, state, OPTIONS)
    assert final.xy.isfinite().all()
    assert equations.cost.isfinite().all()


def test_a_start_that_is_undefined_stays_where_it_is():
    problem = BrokenBeyondTwo(torch.tensor([1.0], dtype=torch.float64))
    state = Point(torch.tensor([[3.0, 0.0]], dtype=torch.float64))
    final, _ = levenberg_marquardt(problem, state, OPTIONS)
    assert torch.equal(final.xy, state.xy)


def test_parameters_that_nothing_constrains_stay():
    hessian = torch.diag_embed(torch.tensor([[4.0, 0.0]], dtype=torch.float64))
    equations = NormalEquations(torch.zeros(1), torch.tensor([[8.0, 0.0]], dtype=torch.float64), hessian)
    step = solve_damped(equations, torch.zeros(1, dtype=torch.float64))
    assert step[0, 0] == pytest.approx(-2, abs=1e-6)
    assert step[0, 1] == 0
