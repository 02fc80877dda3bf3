"""Levenberg–Marquardt for many small independent problems at once, each with its own damping and termination.

No sample's result depends on its neighbours in the batch. Steps, acceptance and convergence are decided per sample,
finished samples leave the batch, and batches are full blocks of rows, so that rounding is the same in all of them.
Rotations are updated on their manifold by the problem's own `retract`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.geometry.least_squares import SolverOptions

State = TypeVar("State", bound=tuple[Tensor, ...])
Item = TypeVar("Item")
Result = TypeVar("Result")


class NormalEquations(NamedTuple):
    """Cost (N,), gradient (N, P) and Gauss–Newton Hessian (N, P, P) of half the robust sum of squares."""

    cost: Tensor
    gradient: Tensor
    hessian: Tensor

    @classmethod
    def zeros(cls, rows: Tensor, width: int) -> NormalEquations:
        """Make equations over P parameters without any term, for rows (N, …)."""
        return cls(*(rows.new_zeros(len(rows), *[width] * dimensions) for dimensions in range(3)))


class LeastSquaresProblem(Protocol[State]):
    """A problem that the solver can solve. States are named tuples of tensors with N rows."""

    def linearise(self, state: State) -> NormalEquations:
        """Compute cost and normal equations at a state."""

    def retract(self, state: State, step: Tensor) -> State:
        """Return the state after a step (N, P) in its tangent space."""

    def select(self, rows: Tensor) -> LeastSquaresProblem[State]:
        """Restrict the problem to some rows (int64)."""


BLOCK = 8
"""The number of rows of a batch is a multiple of this. Smaller or odd batches are computed by other instructions, which
round differently."""


def full_blocks(rows: Tensor) -> Tensor:
    """Repeat the last of row numbers (N,) up to a multiple of `BLOCK`. No rows stay no rows."""
    return torch.cat((rows, rows[-1:].expand(-len(rows) % BLOCK)))


def in_parallel(
    action: Callable[[Item], Result], items: Sequence[Item], threads: int, progress: Progress = no_progress
) -> list[Result]:
    """Apply an action to items, each in one thread, and return the results in order."""
    return list(made_in_parallel(action, items, threads, progress))


def made_in_parallel(
    action: Callable[[Item], Result], items: Sequence[Item], threads: int, progress: Progress = no_progress
) -> Iterator[Result]:
    """Yield the results of `in_parallel` one after the other, without keeping them."""

    def counted(results: Iterable[Result]) -> Iterator[Result]:
        for count, result in enumerate(results, 1):
            progress(count, len(items), "parts of the fit")
            yield result

    if min(threads, len(items)) < 2:
        yield from counted(map(action, items))
        return
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        yield from counted(pool.map(torch.no_grad()(action), items))


_MIN_DAMPING, _MAX_DAMPING = 1e-9, 1e9


def solve_damped(equations: NormalEquations, damping: Tensor) -> Tensor:
    """Compute the step −(H + λ diag H)⁻¹ g (N, P) for damping λ (N,).

    A tiny share of the largest diagonal entry holds parameters without constraints.
    """
    diagonal = equations.hessian.diagonal(dim1=-2, dim2=-1)
    floor = 1e-9 * diagonal.amax(-1, keepdim=True) + 1e-12
    damped_hessian = equations.hessian.clone()
    damped_hessian.diagonal(dim1=-2, dim2=-1).add_(damping[:, None] * diagonal + floor)
    factor, info = torch.linalg.cholesky_ex(damped_hessian)
    step = -torch.cholesky_solve(equations.gradient[..., None], factor).squeeze(-1)
    return step.masked_fill_(((info != 0) | ~step.isfinite().all(-1))[:, None], 0.0)


def _replace(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *[1] * (old.ndim - 1)), new, old)


def _build(state: State, values: list[Tensor]) -> State:
    return state._make(values)  # type: ignore[attr-defined, no-any-return]


class _Running(Generic[State]):
    """The samples that are still being solved, `rows`, with the rest of a block behind them in the other tensors."""

    def __init__(self, problem: LeastSquaresProblem[State], state: State, damping: float) -> None:
        self.rows = torch.arange(len(state[0]))
        index = full_blocks(self.rows)
        self.problem, self.state = problem.select(index), _build(state, [value[index] for value in state])
        self.equations = self.problem.linearise(self.state)
        self.damping = torch.full_like(self.equations.cost, damping)
        self.growth = torch.full_like(self.damping, 2.0)

    def advance(self, tolerance: float) -> Tensor:
        """Try one step of every sample and return which of `rows` are done."""
        old = self.equations
        step = solve_damped(old, self.damping)
        trial = self.problem.retract(self.state, step)
        new = self.problem.linearise(trial)
        gain = old.cost - new.cost
        better = gain > 0  # False for NaN
        # Nielsen's rule: damping follows how well the quadratic model predicted the gain.
        curvature = torch.bmm(old.hessian, step[..., None]).squeeze(-1)
        predicted_gain = -(step * (old.gradient + 0.5 * curvature)).sum(-1)
        ratio = gain / predicted_gain.clamp_min(torch.finfo(gain.dtype).tiny)
        reduction = (1 - (2 * ratio - 1) ** 3).clamp(0.1, 1.0)
        self.damping = self.damping * torch.where(better, reduction, self.growth)
        self.growth = torch.where(better, 2.0, 2 * self.growth)
        at_limit = ~better & (self.damping >= _MAX_DAMPING)
        self.damping = self.damping.clamp(_MIN_DAMPING, _MAX_DAMPING)
        if better.all():
            self.state, self.equations = trial, new
        else:
            self.state = _build(trial, [_replace(better, n, o) for n, o in zip(trial, self.state, strict=True)])
            self.equations = NormalEquations(*(_replace(better, n, o) for n, o in zip(new, old, strict=True)))
        return ((better & (gain <= tolerance * old.cost)) | at_limit)[: len(self.rows)]

    def keep(self, alive: Tensor) -> None:
        """Drop the samples that are done."""
        index = alive.nonzero().squeeze(-1)
        self.rows = self.rows[index]
        index = full_blocks(index)
        self.problem = self.problem.select(index)
        self.state = _build(self.state, [value[index] for value in self.state])
        self.equations = NormalEquations(*(value[index] for value in self.equations))
        self.damping, self.growth = self.damping[index], self.growth[index]


def levenberg_marquardt(
    problem: LeastSquaresProblem[State], state: State, options: SolverOptions
) -> tuple[State, NormalEquations]:
    """Minimise the cost of every sample from its row of `state`. The cost never rises.

    A sample whose equations are not finite stays at its start.

    Args:
        problem: The problem.
        state: The starts of N samples.
        options: Termination and damping.

    Returns:
        The states, and the normal equations at them.
    """
    running = _Running(problem, state, options.damping)
    count = len(running.rows)
    final = [value.clone() for value in state]
    equations = [value[:count].clone() for value in running.equations]

    def store(mask: Tensor) -> None:
        index = mask.nonzero().squeeze(-1)
        rows = running.rows[index]
        for target, value in zip((*final, *equations), (*running.state, *running.equations), strict=True):
            target[rows] = value[index]

    for _ in range(options.iterations):
        if not len(running.rows):
            break
        at_end = running.advance(options.tolerance)
        if at_end.any():
            store(at_end)
            running.keep(~at_end)
    store(torch.ones(len(running.rows), dtype=torch.bool))
    return _build(state, final), NormalEquations(*equations)
