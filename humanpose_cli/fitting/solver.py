"""Levenberg–Marquardt for many small independent problems at once, each with its own damping and its own end.

No sample's result depends on its neighbours in the batch: steps, acceptance and convergence are decided per sample,
and finished samples leave the batch. Rotations are updated on their manifold by the problem's own `retract`.

Noise levels and schedule of the keypoint fit: standard deviations one can measure, and step counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from humanpose_cli.core.errors import UsageError

State = TypeVar("State", bound=tuple[Tensor, ...])


class NormalEquations(NamedTuple):
    """Cost (N,), gradient (N, P) and Gauss–Newton Hessian (N, P, P) of half the (robust) sum of squares."""

    cost: Tensor
    gradient: Tensor
    hessian: Tensor


class LeastSquaresProblem(Protocol[State]):
    """What the solver asks of a problem; states are named tuples of tensors with N rows."""

    def linearise(self, state: State) -> NormalEquations:
        """Cost and normal equations at a state."""

    def retract(self, state: State, step: Tensor) -> State:
        """The state after a step (N, P) in its tangent space."""

    def select(self, rows: Tensor) -> LeastSquaresProblem[State]:
        """The problem of some rows (int64)."""


@dataclass(frozen=True)
class SolverOptions:
    """When a sample is done, and how carefully it starts.

    iterations  most evaluations of a sample
    tolerance   done when an accepted step lowers the cost by less than this share of it
    damping     first damping, as a share of the Hessian's diagonal
    """

    iterations: int = 20
    tolerance: float = 1e-4
    damping: float = 1e-3


_LOWEST_DAMPING, _HIGHEST_DAMPING = 1e-9, 1e9


def solve_damped(equations: NormalEquations, damping: Tensor) -> Tensor:
    """The step −(H + λ diag H)⁻¹ g, (N, P), for damping λ (N,).

    A tiny share of the largest diagonal entry keeps parameters that nothing constrains where they are.
    """
    H = equations.hessian
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    floor = 1e-9 * diagonal.amax(-1, keepdim=True) + 1e-12
    damped = H + torch.diag_embed(damping[:, None] * diagonal + floor)
    factor, failed = torch.linalg.cholesky_ex(damped)
    sound = (failed == 0)[:, None]
    identity = torch.eye(H.shape[-1], dtype=H.dtype, device=H.device)
    factor = torch.where(sound[..., None], factor, identity)
    step = -torch.cholesky_solve(equations.gradient[..., None], factor).squeeze(-1)
    return torch.where(sound & step.isfinite().all(-1, keepdim=True), step, torch.zeros_like(step))


def _replace(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *[1] * (old.ndim - 1)), new, old)


def _build(state: State, values: list[Tensor]) -> State:
    return state._make(values)  # type: ignore[attr-defined, no-any-return]


class _Running(Generic[State]):
    """The samples still being solved."""

    def __init__(self, problem: LeastSquaresProblem[State], state: State, damping: float) -> None:
        self.problem, self.state = problem, state
        self.equations = problem.linearise(state)
        count = len(self.equations.cost)
        self.damping = self.equations.cost.new_full((count,), damping)
        self.growth = torch.full_like(self.damping, 2.0)
        self.rows = torch.arange(count)
        self.steps = torch.zeros(count, dtype=torch.int64)

    def advance(self, tolerance: float) -> Tensor:
        """One trial step of every sample; returns which samples are done."""
        old = self.equations
        step = solve_damped(old, self.damping)
        trial = self.problem.retract(self.state, step)
        new = self.problem.linearise(trial)
        gain = old.cost - new.cost
        better = gain > 0  # False for NaN
        # Nielsen's rule: damping follows how well the quadratic model foretold the gain.
        curvature = (old.hessian @ step[..., None]).squeeze(-1)
        foretold = -(step * (old.gradient + 0.5 * curvature)).sum(-1)
        ratio = gain / foretold.clamp_min(torch.finfo(gain.dtype).tiny)
        calmer = (1 - (2 * ratio - 1) ** 3).clamp(0.1, 1.0)
        self.damping = self.damping * torch.where(better, calmer, self.growth)
        self.growth = torch.where(better, 2.0, 2 * self.growth)
        stuck = ~better & (self.damping >= _HIGHEST_DAMPING)
        self.damping = self.damping.clamp(_LOWEST_DAMPING, _HIGHEST_DAMPING)
        self.state = _build(trial, [_replace(better, n, o) for n, o in zip(trial, self.state, strict=True)])
        self.equations = NormalEquations(*(_replace(better, n, o) for n, o in zip(new, old, strict=True)))
        self.steps = self.steps + better
        return (better & (gain <= tolerance * old.cost)) | stuck

    def keep(self, alive: Tensor) -> None:
        """Drops the samples that are done."""
        index = alive.nonzero().squeeze(-1)
        self.problem = self.problem.select(index)
        self.state = _build(self.state, [value[index] for value in self.state])
        self.equations = NormalEquations(*(value[index] for value in self.equations))
        self.damping, self.growth = self.damping[index], self.growth[index]
        self.rows, self.steps = self.rows[index], self.steps[index]


def levenberg_marquardt(
    problem: LeastSquaresProblem[State], state: State, options: SolverOptions
) -> tuple[State, NormalEquations, Tensor]:
    """Minimises every sample from its row of `state`.

    Returns the states, the normal equations there and the number of accepted steps (N,). The cost never rises; a
    sample whose equations are not finite stays where it started.
    """
    running = _Running(problem, state, options.damping)
    final = [value.clone() for value in state]
    equations = [value.clone() for value in running.equations]
    steps = running.steps.clone()

    def store(chosen: Tensor) -> None:
        rows = running.rows[chosen]
        for target, value in zip((*final, *equations), (*running.state, *running.equations), strict=True):
            target[rows] = value[chosen]
        steps[rows] = running.steps[chosen]

    for _ in range(options.iterations):
        if not len(running.rows):
            break
        done = running.advance(options.tolerance)
        if done.any():
            store(done)
            running.keep(~done)
    store(torch.ones(len(running.rows), dtype=torch.bool))
    return _build(state, final), NormalEquations(*equations), steps


_MAY_BE_ZERO = ("prior_strength", "least_confidence", "retry_cost")


@dataclass(frozen=True)
class KeypointFitOptions:
    """How `fit_keypoints` weighs its evidence. Numbers are finite.

    landmark_noise     factor on the known 2-D noise of landmarks (see noise.py)
    least_noise        pixels: no landmark is better than this
    robust_2d          noise levels at which a 2-D residual counts half as outlier
    bone_noise         metres across and along the viewing ray: world landmarks' noise of one bone's vector
    predicted_noise    factor on the noise that a body network claims for the joints it predicts
    lift               let the lifter judge where the joints are, in a last stage
    lifted_share       of the lifter in the mean with the fit before it, 0..1
    lifted_noise       metres by which the body may differ from that mean
    robust_position       like robust_2d, for predicted joints
    predicted_shape    standard deviation of a predicted shape's components
    robust_bone        like robust_2d, for the bones of the world landmarks
    prior_strength     factor on the pose prior's energy (0 switches it off)
    limit_noise        radians beyond a joint's range that cost as much as one noise level
    shape_noise        standard deviations of the body's shape components
    lean_noise         radians a standing person's trunk, or the line from feet to hips, leans in depth
    robust_lean        noise levels at which a lean is taken for real
    fallback_noise     radians by which an unseen limb may differ from its mirrored or neutral pose
    scale_noise        natural logarithm: world landmarks' scale against the body's
    least_confidence   below it a landmark is not used at all
    shape_evidence     most frames of a shape group that count as independent evidence of shape
    acceleration       metres per second²: standard deviation of the body's points in a sequence
    robust_motion      accelerations, in these units, from which they count linearly
    standing_noise     metres that a standing foot may move between two frames
    starts             starting poses tried per row at most
    retry_cost         robust cost of the first start's end above which a row tries the others; rows without depth
                       always do
    coarse, fine       solver's schedule of the first stage (all starts) and of the last of single frames
    motion             solver's schedule for the frames of a person together
    chunk              rows solved together; bounds the memory, changes no result
    """

    landmark_noise: float = 1.0
    least_noise: float = 0.5
    robust_2d: float = 3.0
    bone_noise: tuple[float, float] = (0.06, 0.09)
    predicted_noise: float = 3.0
    lift: bool = True
    lifted_share: float = 0.5
    lifted_noise: float = 0.03
    robust_position: float = 3.0
    predicted_shape: float = 0.7
    robust_bone: float = 3.0
    prior_strength: float = 1.0
    limit_noise: float = 0.05
    shape_noise: float = 1.0
    lean_noise: float = 0.15
    robust_lean: float = 2.0
    fallback_noise: float = 0.3
    scale_noise: float = 0.1
    least_confidence: float = 0.02
    shape_evidence: int = 10
    acceleration: float = 15.0
    robust_motion: float = 3.0
    standing_noise: float = 0.003
    starts: int = 5
    retry_cost: float = 30.0
    coarse: SolverOptions = field(default_factory=lambda: SolverOptions(iterations=8, tolerance=1e-2, damping=1e-2))
    fine: SolverOptions = field(default_factory=lambda: SolverOptions(iterations=25, tolerance=3e-4, damping=1e-3))
    motion: SolverOptions = field(default_factory=lambda: SolverOptions(iterations=10, tolerance=3e-3, damping=1e-6))
    chunk: int = 64

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, SolverOptions) and value.iterations < 1:
                got = str(value.iterations)
                raise UsageError(f"keypoints.{name}.iterations", "is out of range", expected="1 or more", got=got)
            if isinstance(value, bool | SolverOptions):
                continue
            zero = name in _MAY_BE_ZERO
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(n) and (n > 0 or (zero and n == 0)) for n in numbers):
                expected = "a finite number " + ("of 0 or more" if zero else "above 0")
                raise UsageError(f"keypoints.{name}", "is out of range", expected=expected, got=str(value))
