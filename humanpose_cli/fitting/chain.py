"""Consecutive frames of one person as one least-squares problem: each frame's terms, and how its points move.

The terms of the motion are robust accelerations of points in world axes, and steps of standing points. An acceleration
involves three frames, so that the Hessian has blocks on the diagonal and on the two below it. Sequences and refinement
are such chains. Long chains are solved window by window, each beginning with the end of the window before, so that
memory does not grow.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.linearising.op import PosedRig
from humanpose_cli.fitting.residuals import FitState, RobustFunction, retract_state
from humanpose_cli.fitting.solver import NormalEquations, in_parallel

_OVERLAP = 2  # solved frames at the beginning of a window, which fix position and speed
_PART = 32  # frames per task of a thread; fixed, because rounding depends on it


Frames = TypeVar("Frames", bound="FramesProblem")


class FramesProblem(Protocol):
    """The terms of the frames of a chain.

    The parameters of a frame are 3 for each joint of `rig`, 3 for the root, and further ones that stay constant in a
    chain.
    """

    rig: LandmarkRig

    def linearise_posed(self, state: FitState) -> tuple[NormalEquations, PosedRig]:
        """Compute each frame's equations, and the points (N, M, 3) of `ChainMotion` with their Jacobian."""

    def select(self: Frames, rows: slice, /) -> Frames:
        """Restrict the problem to some frames."""


class ChainMotion(NamedTuple):
    """How M points of T frames of one person move in the world, and E means of these points.

    Attributes:
        to_world: (T, 3, 3). The rotations of x ↦ to_world x + origin, camera axes to world axes.
        origin: (T, 3) metres.
        bend: (T - 2, 3). Weights of a point in three frames, whose sum is its acceleration in standard deviations. Zero
            if the frames are not consecutive.
        robust: The robust function of accelerations.
        robust_scale: (T - 2, M + E) standard deviations.
        mean_acceleration: (T - 2, 3) standard deviations. The mean of all points: gravity in flight, else zero.
        means: (E, M). The share of each point in each mean.
        weights: (T - 2, M + E). Factors on the accelerations.
        standing: (T - 1, M) 1 / metres. 1 / σ of a point's step from a frame to the next. 0 leaves it free.
        held_count: The number of frames at the beginning that do not change.
    """

    to_world: Tensor
    origin: Tensor
    bend: Tensor
    robust: RobustFunction
    robust_scale: Tensor
    mean_acceleration: Tensor
    means: Tensor
    weights: Tensor
    standing: Tensor
    held_count: int = 0

    @classmethod
    def free(
        cls, world_to_camera: Tensor, bend: Tensor, means: Tensor, robust: RobustFunction, robust_scale: Tensor
    ) -> ChainMotion:
        """Make a motion in which no point stands or falls, and means have no weight.

        Args:
            world_to_camera: (T, 4, 4).
            bend: See `ChainMotion`.
            means: See `ChainMotion`.
            robust: See `ChainMotion`.
            robust_scale: See `ChainMotion`.
        """
        to_world = world_to_camera[:, :3, :3].mT
        weights = torch.ones_like(robust_scale)
        weights[:, means.shape[1] :] = 0
        return cls(
            to_world=to_world,
            origin=-(to_world @ world_to_camera[:, :3, 3:]).squeeze(-1),
            bend=bend,
            robust=robust,
            robust_scale=robust_scale,
            mean_acceleration=bend.new_zeros(len(bend), 3),
            means=means,
            weights=weights,
            standing=bend.new_zeros(max(len(to_world) - 1, 0), means.shape[1]),
        )

    def window(self, window: Window) -> ChainMotion:
        """Restrict the motion to a window, whose first frames are held."""
        first, stop = window.rows.start, window.stop
        between = slice(first, max(stop - 2, first))
        return self._replace(
            to_world=self.to_world[first:stop],
            origin=self.origin[first:stop],
            bend=self.bend[between],
            robust_scale=self.robust_scale[between],
            mean_acceleration=self.mean_acceleration[between],
            weights=self.weights[between],
            standing=self.standing[first : stop - 1],
            held_count=window.held_count,
        )

    def world(self, points: Tensor) -> Tensor:
        """Transform points (T, M, 3) from camera axes to world axes."""
        return points @ self.to_world.mT + self.origin[:, None]


def second_differences(time: Tensor) -> Tensor:
    """Compute weights of the values at three successive times whose sum is the second derivative. Exact for parabolas.

    Args:
        time: (T,) rising.

    Returns:
        (T - 2, 3).
    """
    before, after = time.diff()[:-1], time.diff()[1:]
    both = before + after
    return torch.stack((2 / (before * both), -2 / (before * after), 2 / (after * both)), 1)


class ChainEquations(NamedTuple):
    """Normal equations over T · P parameters.

    Attributes:
        cost: The sum over all frames.
        gradient: (T, P).
        diagonals: (T, P, P) each. The blocks on the diagonal and on the two below it. The last block of the second, and
            the last two of the third, are zero.
    """

    cost: float
    gradient: Tensor
    diagonals: tuple[Tensor, Tensor, Tensor]


class _PointTerms(NamedTuple):
    """The motion's cost and its derivatives by the points.

    Attributes:
        cost: The cost.
        slope: (T, M + E, 3). The first derivatives.
        same: (T, M + E). The second derivatives of frame t with itself.
        next: (T, M + E). The second derivatives of frame t with frame t + 1.
        second_next: (T, M + E). The second derivatives of frame t with frame t + 2.
    """

    cost: Tensor
    slope: Tensor
    same: Tensor
    next: Tensor
    second_next: Tensor


class _Part(NamedTuple):
    """Frames from `first` to before `last`, and the problem of these and two more."""

    first: int
    last: int
    problem: FramesProblem


class Chain(Generic[Frames]):
    """The frames of one person in the order of time, with their evidence and their motion.

    Args:
        problem: The terms of the frames.
        motion: How the points move.
        threads: The number of threads. It does not change results.
    """

    def __init__(self, problem: Frames, motion: ChainMotion, threads: int = 1) -> None:
        self.problem, self.motion, self.threads = problem, motion, threads
        self.width = 3 * len(problem.rig.parents) + 3  # parameters of a frame: shape and scale do not change

    def window(self, window: Window) -> Chain[Frames]:
        """Restrict the chain to a window."""
        return Chain(self.problem.select(window.rows), self.motion.window(window), self.threads)

    @cached_property
    def _parts(self) -> list[_Part]:
        count = len(self.motion.to_world)
        ends = [*range(0, count, _PART), count]
        return [_Part(first, last, self.problem.select(slice(first, last + 2))) for first, last in pairwise(ends)]

    def linearise(self, state: FitState) -> ChainEquations:
        """Compute cost and normal equations at a state."""

        # Each frame's own terms, with the two frames behind a part, which its last frames share accelerations with.
        def frames_alone(part: _Part) -> tuple[NormalEquations, PosedRig]:
            return part.problem.linearise_posed(state.rows(slice(part.first, part.last + 2)))

        linearisation = in_parallel(frames_alone, self._parts, self.threads)
        points, cost = [], 0.0
        for part, (equations, posed_rig) in zip(self._parts, linearisation, strict=True):
            count = part.last - part.first
            points.append(posed_rig.points[:count])
            cost += float(equations.cost[:count].sum())
        world = self.motion.world(torch.cat(points))  # (T, M, 3)
        terms = self._motion_terms(torch.cat((world, self.motion.means @ world), 1))

        def chained(item: tuple[_Part, tuple[NormalEquations, PosedRig]]) -> tuple[Tensor, ...]:
            part, (equations, posed_rig) = item
            return self._part_blocks(part, equations, posed_rig, terms)

        blocks = in_parallel(chained, list(zip(self._parts, linearisation, strict=True)), self.threads)
        gradient, hessian, below, further_below = (torch.cat(column) for column in zip(*blocks, strict=True))
        # Frames that are held are coupled with no others, and have no slope.
        held_rows = slice(self.motion.held_count)
        hessian[held_rows] = torch.eye(self.width, dtype=hessian.dtype)
        gradient[held_rows], below[held_rows], further_below[held_rows] = 0, 0, 0
        return ChainEquations(cost + float(terms.cost), gradient, (hessian, below, further_below))

    def _motion_terms(self, points: Tensor) -> _PointTerms:
        """Evaluate accelerations and steps of standing points, from points and means (T, M + E, 3) in the world."""
        motion = self.motion
        # Accelerations in standard deviations: weighted sums over three frames, robust.
        bends = motion.bend.unbind(1)  # three of (T - 2,)
        acceleration = -motion.mean_acceleration[:, None]
        for first, bend in enumerate(bends):
            acceleration = acceleration + bend[:, None, None] * points[first : first + len(bend)]
        acceleration = motion.weights[..., None] * acceleration
        rho, slope = motion.robust(acceleration.square().sum(-1), motion.robust_scale)  # (T - 2, M + E)
        standing = torch.nn.functional.pad(motion.standing.square(), (0, len(motion.means)))  # (T - 1, M + E)
        step = points.diff(dim=0)
        cost = 0.5 * rho.sum() + 0.5 * (standing[..., None] * step.square()).sum()
        gradient = torch.zeros_like(points)
        same, following, second_following = (torch.zeros_like(points[..., 0]) for _ in range(3))
        for first, share in enumerate(bend[:, None] for bend in bends):
            rows = slice(first, first + len(slope))
            gradient[rows] += (share * slope * motion.weights)[..., None] * acceleration
            same[rows] += share**2 * slope * motion.weights**2
        for first, sign in enumerate((-1, 1)):
            rows = slice(first, first + len(standing))
            gradient[rows] += sign * standing[..., None] * step
            same[rows] += standing
        slope = slope * motion.weights**2
        following[:-2] += (bends[0] * bends[1])[:, None] * slope
        following[1:-1] += (bends[1] * bends[2])[:, None] * slope
        following[:-1] -= standing
        second_following[:-2] += (bends[0] * bends[2])[:, None] * slope
        return _PointTerms(cost, gradient, same, following, second_following)

    def _part_blocks(
        self, part: _Part, equations: NormalEquations, posed_rig: PosedRig, terms: _PointTerms
    ) -> tuple[Tensor, ...]:
        """Compute the gradient (F, P) of a part's frames and their blocks (F, P, P) on three diagonals."""
        assert posed_rig.jacobian is not None
        P = self.width
        count = part.last - part.first
        rows = slice(part.first, part.last)
        # Jacobian of the points in the world, coordinates of a point together.
        J = posed_rig.jacobian[..., :P]
        J = torch.cat((J, self.motion.means @ J), 2)
        turn = self.motion.to_world[part.first : part.first + len(J)]
        J = (turn @ J.flatten(2)).view(J.shape).transpose(1, 2).flatten(1, 2)  # (F + 2, 3 (M + E), P)
        # Chain rule: frame t with itself, then with frames t + 1 and t + 2.
        weighted_jacobian = J[:count] * terms.same[rows].repeat_interleave(3, 1)[..., None]
        gradient = equations.gradient[:count, :P] + (J[:count].mT @ terms.slope[rows].flatten(1)[..., None]).squeeze(-1)
        hessian = equations.hessian[:count, :P, :P] + J[:count].mT @ weighted_jacobian
        below = []
        for offset, share in ((1, terms.next), (2, terms.second_next)):
            block = torch.zeros_like(hessian)
            later_J = J[offset:][:count]
            inside = slice(len(later_J))  # the last frames of the sequence have no later ones
            block[inside] = later_J.mT @ (J[inside] * share[rows][inside].repeat_interleave(3, 1)[..., None])
            below.append(block)
        return gradient, hessian, *below

    def stepped(self, state: FitState, equations: ChainEquations, damping: float) -> FitState | None:
        """Return the state after a damped step; see `minimise`."""
        step = damped_step(equations, damping)
        return None if step is None else self.retract(state, step)

    def retract(self, state: FitState, step: Tensor) -> FitState:
        """Return the state after a step (T, P)."""
        constant = state.betas.shape[1] + state.log_scale.shape[1]
        return retract_state(state, torch.nn.functional.pad(step, (0, constant)))


def solve_block_pentadiagonal(diagonals: tuple[Tensor, Tensor, Tensor], right: Tensor) -> Tensor | None:
    """Solve H x = b by block Cholesky over pairs of frames.

    Args:
        diagonals: (T, P, P) each. The blocks of H on the diagonal and one and two below it.
        right: (T, P). b.

    Returns:
        x (T, P). None if H is not positive definite.
    """
    # Pairs of frames make a block-tridiagonal matrix; an odd last frame is paired with a row of the identity.
    count, width = right.shape
    same, one, two = (torch.nn.functional.pad(d, (0, 0, 0, 0, 0, count % 2)) for d in diagonals)
    if count % 2:
        same[-1] = torch.eye(width, dtype=right.dtype)
        right = torch.nn.functional.pad(right, (0, 0, 0, 1))
    first, second = slice(0, None, 2), slice(1, None, 2)
    H = torch.cat((torch.cat((same[first], one[first].mT), 2), torch.cat((one[first], same[second]), 2)), 1)
    upper, lower = (two[first], one[second]), (torch.zeros_like(two[first]), two[second])
    low = torch.cat((torch.cat(upper, 2), torch.cat(lower, 2)), 1)
    b = right.view(-1, 2 * width, 1)
    # Factor and forward substitution in one pass over the pairs, then backward substitution.
    factors: list[Tensor] = []
    forward: list[Tensor] = []
    for k in range(len(H)):
        diagonal, rest = H[k], b[k]
        if k:
            # The block left of the diagonal in the factor: L = E C⁻ᵀ.
            left = torch.linalg.solve_triangular(factors[-1], low[k - 1].mT, upper=False).mT
            diagonal, rest = diagonal - left @ left.mT, rest - left @ forward[-1]
            low[k - 1] = left
        factor, info = torch.linalg.cholesky_ex(diagonal)
        if int(info):
            return None
        factors.append(factor)
        forward.append(torch.linalg.solve_triangular(factor, rest, upper=False))
    x: list[Tensor] = []
    for k in reversed(range(len(H))):
        rest = forward[k] - low[k].mT @ x[-1] if x else forward[k]
        x.append(torch.linalg.solve_triangular(factors[k].mT, rest, upper=True))
    return torch.stack(x[::-1]).view(-1, width)[:count]


def damped_step(equations: ChainEquations, damping: float) -> Tensor | None:
    """Compute the step −(H + λ diag H)⁻¹ g (T, P). None if H is not positive definite."""
    same, one, two = equations.diagonals
    diagonal = same.diagonal(dim1=1, dim2=2)
    damped_diagonal = same + torch.diag_embed(damping * diagonal + 1e-9 * diagonal.amax(1, keepdim=True))
    step = solve_block_pentadiagonal((damped_diagonal, one, two), -equations.gradient)
    return step if step is not None and bool(step.isfinite().all()) else None


class Window(NamedTuple):
    """Frames start ≤ i < stop that are solved together, behind `held_count` frames that are already solved."""

    start: int
    stop: int
    held_count: int

    @property
    def rows(self) -> slice:
        """All frames of the window, including the held ones."""
        return slice(self.start - self.held_count, self.stop)

    def shifted(self, frames: int) -> Window:
        """Return the window `frames` frames later."""
        return Window(self.start + frames, self.stop + frames, self.held_count)


def windows_of(count: int, size: int, margin: int) -> list[Window]:
    """Divide `count` frames into windows of `size`, whose last `margin` frames the next window solves again."""
    starts = range(0, max(count - margin, 1), size - margin)
    return [Window(start, min(start + size, count), _OVERLAP if start else 0) for start in starts]
