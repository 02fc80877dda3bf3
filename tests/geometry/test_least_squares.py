"""One least-squares problem on problems with known minima, and its parts."""

from __future__ import annotations

import numpy as np
import pytest

from humanpose_cli.geometry.least_squares import DenseEquations, SolverOptions, huber, minimise

OPTIONS = SolverOptions(iterations=200, tolerance=1e-12, damping=1e-2)


class Rosenbrock:
    """Residuals (1 − x, 10 (y − x²)), not a number where x exceeds `limit`; minimum at (1, 1)."""

    limit = np.inf

    def linearise(self, state: np.ndarray) -> DenseEquations:
        x, y = state
        errors = np.array((1 - x, 10 * (y - x * x))) + (np.nan if x > self.limit else 0.0)
        equations = DenseEquations(0.5 * float(np.square(errors).sum()), np.zeros(2), np.zeros((2, 2)))
        equations.add(errors, np.array(((-1, -20 * x), (0, 10))))
        return equations

    def stepped(self, state: np.ndarray, equations: DenseEquations, damping: float) -> np.ndarray | None:
        return state + equations.step(damping) if damping < 1e3 else None


def test_the_minimum_is_found_and_no_step_raises_the_cost() -> None:
    problem, start = Rosenbrock(), np.array((-1.9, 2.0))
    np.testing.assert_allclose(minimise(problem, start, OPTIONS), 1, atol=1e-5)
    costs = [problem.linearise(minimise(problem, start, SolverOptions(iterations=n))).cost for n in range(1, 8)]
    assert costs == sorted(costs, reverse=True)


def test_a_start_that_no_step_improves_stays() -> None:
    problem = Rosenbrock()
    problem.limit = -2.0
    np.testing.assert_array_equal(minimise(problem, np.array((-1.9, 2.0)), OPTIONS), (-1.9, 2.0))


def test_parameters_that_nothing_constrains_stay() -> None:
    equations = DenseEquations(0.0, np.array((8.0, 0.0)), np.diag((4.0, 0.0)))
    np.testing.assert_allclose(equations.step(0.0), (-2, 0), atol=1e-6)


def test_errors_beyond_the_limit_cost_as_much_as_they_are_large() -> None:
    errors = np.array([(0.0, 0.0), (0.6, 0.8), (3.0, 4.0), (np.inf, 0.0)])
    cost, weights = huber(errors, 2.0)
    assert cost.tolist() == pytest.approx([0, 0.5, 2 * 5 - 2, np.inf])
    assert weights.tolist() == pytest.approx([1, 1, 0.4, 0])
