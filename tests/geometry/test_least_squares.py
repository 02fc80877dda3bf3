"""One least-squares problem with a known minimum, and the parts of its equations."""

from __future__ import annotations

import numpy as np
import pytest

from humanpose_cli.geometry.least_squares import DenseEquations, SolverOptions, huber, minimise


class Rosenbrock:
    """Residuals (1 − x, 10 (y − x²)), not a number where x exceeds 2; minimum at (1, 1)."""

    def linearise(self, state: np.ndarray) -> DenseEquations:
        x, y = state
        errors = np.array((1 - x, 10 * (y - x * x))) + (np.nan if x > 2 else 0.0)
        equations = DenseEquations(0.5 * float(np.square(errors).sum()), np.zeros(2), np.zeros((2, 2)))
        equations.add(errors, np.array(((-1, -20 * x), (0, 10))))
        return equations

    def stepped(self, state: np.ndarray, equations: DenseEquations, damping: float) -> np.ndarray | None:
        return state + equations.step(damping) if damping < 1e3 else None


@pytest.mark.parametrize("start", [(-1.9, 2.0), (1.9, -50.0)])
def test_the_minimum_is_found_and_no_step_raises_the_cost(start: tuple[float, float]) -> None:
    found = [minimise(Rosenbrock(), np.array(start), SolverOptions(n, tolerance=1e-12)) for n in (1, 3, 9, 200)]
    costs = [Rosenbrock().linearise(state).cost for state in found]
    assert costs == sorted(costs, reverse=True)
    np.testing.assert_allclose(found[-1], 1, atol=1e-5)


def test_parameters_that_nothing_constrains_stay() -> None:
    equations = DenseEquations(0.0, np.array((8.0, 0.0)), np.diag((4.0, 0.0)))
    np.testing.assert_allclose(equations.step(0.0), (-2, 0), atol=1e-6)


def test_errors_beyond_the_limit_cost_as_much_as_they_are_large() -> None:
    cost, weights = huber(np.array([(0.0, 0.0), (0.6, 0.8), (3.0, 4.0), (np.inf, 0.0)]), 2.0)
    assert cost.tolist() == pytest.approx([0, 0.5, 2 * 5 - 2, np.inf])
    assert weights.tolist() == pytest.approx([1, 1, 0.4, 0])
