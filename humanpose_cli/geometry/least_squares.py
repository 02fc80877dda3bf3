"""Levenberg–Marquardt for one least-squares problem, whatever the structure of its equations, in numpy or torch.

`fitting/solver.py` solves many small problems at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_MAX_DAMPING = 1e6


@dataclass(frozen=True)
class SolverOptions:
    """Termination and initial damping of a solver.

    Attributes:
        iterations: The maximum number of trial steps.
        tolerance: Share of the cost. An accepted step that lowers the cost by less is the last one.
        damping: The initial damping, as a share of the Hessian's diagonal.
    """

    iterations: int = 20
    tolerance: float = 1e-4
    damping: float = 1e-3


class Equations(Protocol):
    """Normal equations at a state."""

    @property
    def cost(self) -> float:
        """Half the robust sum of squares."""


State = TypeVar("State")
Linear = TypeVar("Linear", bound=Equations)


class Problem(Protocol[State, Linear]):
    """A problem that `minimise` can solve."""

    def linearise(self, state: State, /) -> Linear:
        """Compute cost and normal equations at a state."""

    def stepped(self, state: State, equations: Linear, damping: float, /) -> State | None:
        """Return the state after a damped step. None if the damped equations are not positive definite."""


def minimise(problem: Problem[State, Linear], state: State, options: SolverOptions) -> State:
    """Minimise the cost from a state. The cost never rises; a state whose cost is not finite is returned."""
    equations = problem.linearise(state)
    damping = options.damping
    for _ in range(options.iterations):
        trial = problem.stepped(state, equations, damping)
        # An accepted step lowers the damping tenfold; a rejected one, or none, raises it.
        if trial is not None:
            trial_equations = problem.linearise(trial)
            gain = equations.cost - trial_equations.cost
            if gain > 0:
                is_last = gain <= options.tolerance * equations.cost
                state, equations = trial, trial_equations
                damping /= 10
                if is_last:
                    break
                continue
        damping = max(damping, 1e-6) * 10
        if damping > _MAX_DAMPING:
            break
    return state


@dataclass
class DenseEquations:
    """Normal equations over P parameters.

    Attributes:
        cost: Half the robust sum of squares.
        gradient: (P,).
        hessian: (P, P).
    """

    cost: float
    gradient: Array
    hessian: Array

    def add(self, errors: Array, slopes: Array, weights: Array | float = 1.0) -> None:
        """Add errors (...) with slopes (P, ...) and weights, which are broadcast. Their robust cost is added apart."""
        slopes = slopes.reshape(len(self.gradient), -1)
        weighted = slopes * np.broadcast_to(weights, errors.shape).ravel()
        self.gradient += weighted @ errors.ravel()
        self.hessian += weighted @ slopes.T

    def step(self, damping: float) -> Array:
        """Compute the step −(H + λ diag H)⁻¹ g (P,). Parameters without constraints stay."""
        diagonal = self.hessian.diagonal()
        floor = 1e-9 * diagonal.max(initial=0) + 1e-12
        return np.asarray(-np.linalg.solve(self.hessian + np.diag(damping * diagonal + floor), self.gradient))


def huber(errors: Array, limit: float) -> tuple[Array, Array]:
    """Compute half of the squares of errors (..., D), growing linearly beyond a limit, and weights of the errors (...).

    Infinite errors have no weight.
    """
    length = np.linalg.norm(errors, axis=-1)
    near = np.minimum(length, limit)
    return near * (length - 0.5 * near), limit / np.maximum(length, limit)
