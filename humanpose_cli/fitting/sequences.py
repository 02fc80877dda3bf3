"""One solve for all frames of a person: every frame's evidence, and a body that moves as bodies do.

Minimises the sum of the frames' own costs (`KeypointProblem`) and of the accelerations of the body's points in world
axes, in units of what people reach; feet that stand do not move, and a body in the air falls. Frames that show nothing
have no evidence of their own and follow from their neighbours. Future frames count as past ones do, so there is no lag.
Long sequences are solved window by window, each beginning with the end of the one before: memory does not grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.fitting.flight import free_fall, masses_of, runs
from humanpose_cli.fitting.landmark_rig import PosedRig
from humanpose_cli.fitting.options import SolverOptions
from humanpose_cli.fitting.problem import KeypointProblem
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.solver import NormalEquations, in_parallel
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

_HIGHEST_DAMPING = 1e6
_WINDOW, _MARGIN = 240, 24  # frames solved at once, and those at the end that the next window solves anew
_STRETCH = 10  # windows whose frames are in memory at once
_OVERLAP = 2  # solved frames at the beginning of a window: they fix position and speed
_STANDING_SPEED, _STANDING_STEP = 0.6, 0.025  # metres a second, and a frame, below which a foot stands
_SHORTEST_STAND = 0.075  # seconds
_KEY_SPACING = 0.1  # seconds between frames that are solved alone before the others
_ROBUST_FALL = 100.0  # `robust` of the centre of mass in flight, in the same unit: nothing moves it but gravity
_PART = 32  # frames that a thread works on at a time: fixed, because rounding depends on it
_MEMORY = 0.5  # seconds before and after from which a hidden limb follows


class FramesInMotion(NamedTuple):
    """How T frames of one person hang together.

    to_world      (T, 3, 3) and origin (T, 3): camera axes to world axes, x ↦ to_world x + origin, metres
    bend          (T - 2, 3) weights of a point in three frames: their sum is its acceleration in standard deviations
    falling       (T - 2, 3) expected acceleration of all points, in the same unit: of gravity in flight, else zero
    fall_weight   how many times as exactly the centre of mass follows it in flight as a point does
    robust        acceleration, in that unit, that counts half as an outlier (Cauchy)
    standing      (T - 1, M) 1 / σ, in 1 / metres, of the way that a point goes from a frame to the next; 0 where free
    held          frames at the beginning that do not change
    """

    to_world: Tensor
    origin: Tensor
    bend: Tensor
    falling: Tensor
    fall_weight: float
    robust: float
    standing: Tensor
    held: int = 0


class Stretch(NamedTuple):
    """Some consecutive frames of one person, T of them.

    problem          the frames' evidence, in the order of time
    state            each frame solved alone; frames without evidence are overwritten
    world_to_camera  (T, 4, 4) of the frames; time (T,) seconds, rising
    """

    problem: KeypointProblem
    state: FitState
    world_to_camera: Tensor
    time: Tensor


def solve_person(
    read: Callable[[int, int], Stretch], shown: Tensor, time: Tensor, threads: int = 1
) -> Iterator[tuple[int, FitState]]:
    """The motion of one person in T consecutive frames, all frames solved together: numbers of frames, and the states
    of all frames from there up to the next number.

    read         gives the frames from one number to before another
    shown, time  (T,) whether a frame has evidence, and its seconds
    """
    count = len(time)
    # Long sequences in windows, each held at the end of the one before; its last frames are solved anew by the next.
    windows = list(range(0, max(count - _MARGIN, 1), _WINDOW - _MARGIN))
    solved: FitState | None = None  # at the end of the stretch before, from `done` on
    done = 0
    for number in range(0, len(windows), _STRETCH):
        starts, further = windows[number : number + _STRETCH], windows[number + _STRETCH :]
        stop = min(starts[-1] + _WINDOW, count)
        first, last = _neighbours(shown, time, done, stop)
        stretch = read(first, last)
        motion, state = _still_motion(stretch), _bridged(stretch.problem, stretch.state, stretch.time)
        problem = _remembering(stretch.problem, stretch.time)
        if solved is not None:
            state = _written_state(state, solved, done - first)
        for start in starts:
            held = _OVERLAP if start else 0
            window = slice(start - held - first, min(start + _WINDOW, count) - first)
            rows = motion._replace(
                to_world=motion.to_world[window],
                origin=motion.origin[window],
                bend=motion.bend[window.start : window.stop - 2],
                falling=motion.falling[window.start : window.stop - 2],
                standing=motion.standing[window.start : window.stop - 1],
                held=held,
            )
            part = _solve_window(problem.select(window), rows, state.rows(window), stretch.time[window], threads)
            state = _written_state(state, part, window.start)
        following = further[0] - _OVERLAP if further else count
        yield done, state.rows(slice(done - first, following - first))
        done, solved = following, state.rows(slice(following - first, stop - first))


def _neighbours(shown: Tensor, time: Tensor, begin: int, end: int) -> tuple[int, int]:
    """Frames begin ≤ i < end with those before and after that `_bridged` and `_remembering` look at: the nearest that
    show something, and all within twice `_MEMORY`.
    """
    first = int(torch.searchsorted(time, time[begin] - 2 * _MEMORY))
    last = int(torch.searchsorted(time, time[end - 1] + 2 * _MEMORY, right=True))
    before, after = shown[: begin + 1].nonzero(), shown[end - 1 :].nonzero()
    if len(before):
        first = min(first, int(before[-1]))
    if len(after):
        last = max(last, end + int(after[0]))
    return first, last


def _still_motion(stretch: Stretch) -> FramesInMotion:
    """Frames without feet that stand, or flight."""
    options, to_world = stretch.problem.options, stretch.world_to_camera[:, :3, :3].mT
    return FramesInMotion(
        to_world,
        -(to_world @ stretch.world_to_camera[:, :3, 3:]).squeeze(-1),
        second_differences(stretch.time) / options.acceleration,
        torch.zeros(max(len(to_world) - 2, 0), 3, dtype=torch.float64),
        options.acceleration / options.fall_noise,
        options.robust_motion,
        torch.zeros(len(to_world) - 1, len(stretch.problem.rig.template), dtype=torch.float64),
    )


def second_differences(time: Tensor) -> Tensor:
    """(T - 2, 3) weights of the values at three times, of T that rise, whose sum is the second derivative; exact for
    parabolas.
    """
    before, after = time.diff()[:-1], time.diff()[1:]
    both = before + after
    return torch.stack((2 / (before * both), -2 / (before * after), 2 / (after * both)), 1)


def _written_state(state: FitState, part: FitState, start: int) -> FitState:
    """The state with other rows from `start` on."""
    return FitState(
        *(torch.cat((all_[:start], new, all_[start + len(new) :])) for all_, new in zip(state, part, strict=True))
    )


def _solve_window(
    problem: KeypointProblem, motion: FramesInMotion, state: FitState, time: Tensor, threads: int
) -> FitState:
    """Solved with free feet, and again with those held that stand, and with flights that fall."""
    schedule = problem.options.motion
    state = solve_sequence(SequenceProblem(problem, motion, threads), state, schedule)
    points = problem.rig.pose(state.rotations, state.root, state.betas).points
    world = points @ motion.to_world.mT + motion.origin[:, None]
    standing = _standing(problem, motion, world, time)
    falling = free_fall(problem.rig, world, motion.to_world, time, standing.any(1))
    if not standing.any() and not falling.any():
        return state
    # At the top of a jump the feet are slow, too.
    in_flight = torch.nn.functional.pad(falling.any(1), (1, 1))
    standing[in_flight[1:] | in_flight[:-1]] = 0
    motion = motion._replace(standing=standing, falling=falling / problem.options.acceleration)
    return solve_sequence(SequenceProblem(problem, motion, threads), state, schedule)


def _standing(problem: KeypointProblem, motion: FramesInMotion, world: Tensor, time: Tensor) -> Tensor:
    """(T - 1, M) 1 / σ of the steps of visible feet that are slow for long enough; world (T, M, 3) the points."""
    names = problem.rig.landmark_skeleton.joint_names
    soles = [row for row, name in enumerate(names) if name.endswith(("heel", "foot_index"))]
    feet = soles or [row for row, name in enumerate(names) if name.endswith("ankle")]
    standing = torch.zeros_like(motion.standing)
    if not feet:
        return standing
    visible = problem.evidence.confidence[:, feet] > 0.5
    longest = (_STANDING_SPEED * time.diff()).clamp(max=_STANDING_STEP)[:, None]
    slow = (world[:, feet].diff(dim=0).norm(dim=-1) < longest) & visible[1:] & visible[:-1]
    for column, foot in enumerate(feet):
        for start, stop in runs(slow[:, column]):
            if stop - start > 1 and time[stop] - time[start] > _SHORTEST_STAND:
                standing[start:stop, foot] = 1 / problem.options.standing_noise
    return standing


def _bridged(problem: KeypointProblem, state: FitState, time: Tensor) -> FitState:
    """The state with frames without evidence between their neighbours; at the ends, as their only neighbour."""
    visible = (problem.evidence.confidence > 0).any(-1)
    rows = visible.nonzero().squeeze(-1)
    return state if len(rows) in (0, len(visible)) else between(state.rows(rows), time[rows], time)


def between(state: FitState, at: Tensor, time: Tensor) -> FitState:
    """States at some times (T,) between K ≥ 1 states at rising times (K,): turning and moving evenly from one to the
    next; equal to the first before it, and to the last behind it.
    """
    after = torch.searchsorted(at, time).clamp(max=len(at) - 1)
    before = (torch.searchsorted(at, time, right=True) - 1).clamp(min=0)
    low, high = state.rows(before), state.rows(after)
    share = ((time - at[before]) / (at[after] - at[before]).where(after > before, 1.0)).clamp(0, 1)
    turn = matrix_to_axis_angle(low.rotations.mT @ high.rotations)
    mixed = [torch.lerp(a, b, share[:, None]) for a, b in zip(low[1:], high[1:], strict=True)]
    return FitState(low.rotations @ axis_angle_to_matrix(share[:, None, None] * turn), *mixed)


def key_frames(visible: Tensor, time: Tensor) -> Tensor:
    """The frames (K,) of one person, of T, that are solved before the others: visible ones that begin a tenth of a
    second, and those before and behind gaps; the first if none is visible.
    """
    tenth = torch.div(time, _KEY_SPACING, rounding_mode="floor")
    begins = torch.nn.functional.pad(tenth.diff() > 0, (1, 0), value=True)
    padded = torch.nn.functional.pad(visible, (1, 1))
    keys = (visible & (begins | ~(padded[:-2] & padded[2:]))).nonzero().squeeze(-1)
    return keys if len(keys) else torch.zeros(1, dtype=torch.int64)


def _remembering(problem: KeypointProblem, time: Tensor) -> KeypointProblem:
    """The problem with hidden limbs that fall back on the neutral pose only if no frame within half a second, before or
    after, shows them.
    """
    weights = problem.evidence.fallback_weights
    smallest = weights.clone()
    for apart in range(1, len(time)):
        near = (time[apart:] - time[:-apart] <= _MEMORY)[:, None]
        if not near.any():
            break
        smallest[apart:] = smallest[apart:].minimum(weights[:-apart].where(near, torch.inf))
        smallest[:-apart] = smallest[:-apart].minimum(weights[apart:].where(near, torch.inf))
    return problem.changed(fallback_weights=smallest)


class _Blocks(NamedTuple):
    """Normal equations over T · P parameters: cost, gradient (T, P), and the blocks (T, P, P) on the diagonal and on
    the two below it; the last one and the last two of these are zero.
    """

    cost: Tensor
    gradient: Tensor
    diagonals: tuple[Tensor, Tensor, Tensor]


def _cauchy(squared: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Cauchy's ρ: squared residuals → (ρ, weight). Its heavy tails leave kicks, claps and landings their peaks."""
    ratio = squared / scale**2
    return scale**2 * ratio.log1p(), 1 / (1 + ratio)


class _PointTerms(NamedTuple):
    """Derivatives of the motion's cost by the points: first (T, M, 3), and second (T, M) of frame t with itself and
    with frames t + 1 and t + 2.
    """

    pull: Tensor
    same: Tensor
    one: Tensor
    two: Tensor


class _Part(NamedTuple):
    """Some of the frames: rows from `first` to before `last`, and the problem of these and two more."""

    first: int
    last: int
    problem: KeypointProblem


class SequenceProblem:
    """The frames of one person, in the order of time, with their evidence.

    threads  that share the frames; no result depends on their number
    """

    def __init__(self, problem: KeypointProblem, motion: FramesInMotion, threads: int = 1) -> None:
        self.problem, self.motion = problem, motion
        self.width = 3 * len(problem.rig.parents) + 3  # parameters of a frame: shape and scale do not change
        self._threads = threads
        self._masses = masses_of(problem.rig)
        count = len(motion.to_world)
        ends = [*range(0, count, _PART), count]
        self._parts = [_Part(first, last, problem.select(slice(first, last + 2))) for first, last in pairwise(ends)]

    def linearise(self, state: FitState) -> _Blocks:
        """Cost and normal equations at a state."""

        # Each frame's own terms, with the two frames behind a part, which its last frames share accelerations with.
        def frames_alone(part: _Part) -> tuple[NormalEquations, PosedRig]:
            return part.problem.linearise_posed(state.rows(slice(part.first, part.last + 2)))

        linearised = in_parallel(frames_alone, self._parts, self._threads)
        points, cost = [], torch.zeros(())
        for part, (equations, posed) in zip(self._parts, linearised, strict=True):
            count = part.last - part.first
            points.append(posed.points[:count])
            cost = cost + equations.cost[:count].sum()
        world = torch.cat(points) @ self.motion.to_world.mT + self.motion.origin[:, None]  # (T, M, 3)
        motion_costs, by_points = self._motion_terms(torch.cat((world, (self._masses @ world)[:, None]), 1))
        for motion_cost in motion_costs:
            cost = cost + motion_cost

        def chained(item: tuple[_Part, tuple[NormalEquations, PosedRig]]) -> tuple[Tensor, ...]:
            part, (equations, posed) = item
            return self._part_blocks(part, equations, posed, by_points)

        blocks = in_parallel(chained, list(zip(self._parts, linearised, strict=True)), self._threads)
        gradient, hessian, below, further_below = (torch.cat(column) for column in zip(*blocks, strict=True))
        # Frames that are held get no gradient and a huge diagonal.
        held = self.motion.held
        gradient[:held] = 0
        hessian[:held] += 1e9 * hessian.diagonal(dim1=1, dim2=2).amax() * torch.eye(self.width, dtype=hessian.dtype)
        return _Blocks(cost, gradient, (hessian, below, further_below))

    def _motion_terms(self, points: Tensor) -> tuple[tuple[Tensor, Tensor], _PointTerms]:
        """Costs of accelerations and of steps of standing feet, of points (T, M + 1, 3) in the world, the last of which
        is the centre of mass, and derivatives of their sum by the points.
        """
        standing = torch.nn.functional.pad(self.motion.standing.square(), (0, 1))  # (T - 1, M + 1)
        # The centre of mass counts in flight alone.
        falling = self.motion.falling
        exactness = torch.ones(len(falling), points.shape[1], dtype=points.dtype)
        exactness[:, -1] = self.motion.fall_weight * falling.any(1)
        robust = torch.full((points.shape[1],), self.motion.robust, dtype=points.dtype)
        robust[-1] = _ROBUST_FALL * self.motion.fall_weight
        bends = self.motion.bend.unbind(1)  # three of (T - 2,)
        # Accelerations in standard deviations: weighted sums over three frames, robust.
        acceleration = -falling[:, None]
        for first, bend in enumerate(bends):
            acceleration = acceleration + bend[:, None, None] * points[first : first + len(bend)]
        acceleration = exactness[..., None] * acceleration
        rho, weight = _cauchy(acceleration.square().sum(-1), robust)  # (T - 2, M + 1)
        step = points.diff(dim=0)
        costs = 0.5 * rho.sum(), 0.5 * (standing[..., None] * step.square()).sum()
        pull = torch.zeros_like(points)
        same, one, two = (torch.zeros_like(points[..., 0]) for _ in range(3))
        for first, share in enumerate(bend[:, None] for bend in bends):
            rows = slice(first, first + len(weight))
            pull[rows] += (share * weight * exactness)[..., None] * acceleration
            same[rows] += share**2 * weight * exactness**2
        for first, sign in enumerate((-1, 1)):
            rows = slice(first, first + len(standing))
            pull[rows] += sign * standing[..., None] * step
            same[rows] += standing
        weight = weight * exactness**2
        one[:-2] += (bends[0] * bends[1])[:, None] * weight
        one[1:-1] += (bends[1] * bends[2])[:, None] * weight
        one[:-1] -= standing
        two[:-2] += (bends[0] * bends[2])[:, None] * weight
        return costs, _PointTerms(pull, same, one, two)

    def _part_blocks(
        self, part: _Part, equations: NormalEquations, posed: PosedRig, terms: _PointTerms
    ) -> tuple[Tensor, ...]:
        """Gradient (F, P) of a part's frames, and their blocks (F, P, P) on the diagonal and on the two below it."""
        assert posed.jacobian is not None
        P, count, rows = self.width, part.last - part.first, slice(part.first, part.last)
        # Jacobian of the points in the world, coordinates of a point together.
        J = posed.jacobian[..., :P]
        J = torch.cat((J, torch.einsum("m,ncmp->ncp", self._masses, J)[:, :, None]), 2)
        turn = self.motion.to_world[part.first : part.first + len(J)]
        J = (turn @ J.flatten(2)).view(J.shape).transpose(1, 2).flatten(1, 2)  # (F + 2, 3 M, P)
        # Chain rule: frame t with itself, then with frames t + 1 and t + 2.
        weighted = J[:count] * terms.same[rows].repeat_interleave(3, 1)[..., None]
        gradient = equations.gradient[:count, :P] + (J[:count].mT @ terms.pull[rows].flatten(1)[..., None]).squeeze(-1)
        hessian = equations.hessian[:count, :P, :P] + J[:count].mT @ weighted
        below = []
        for offset, share in ((1, terms.one), (2, terms.two)):
            block, later = torch.zeros_like(hessian), J[offset:][:count]
            inside = slice(len(later))  # the last frames of the sequence have no later ones
            block[inside] = later.mT @ (J[inside] * share[rows][inside].repeat_interleave(3, 1)[..., None])
            below.append(block)
        return gradient, hessian, *below

    def retract(self, state: FitState, step: Tensor) -> FitState:
        """The state after a step (T, P)."""
        rest = state.betas.shape[1] + state.log_scale.shape[1]
        return self.problem.retract(state, torch.nn.functional.pad(step, (0, rest)))


def solve_block_pentadiagonal(diagonals: tuple[Tensor, Tensor, Tensor], right: Tensor) -> Tensor | None:
    """x (T, P) of H x = b (T, P), with H's blocks (T, P, P) on the diagonal and one and two below it.

    Block Cholesky over pairs of frames; None where H is not positive definite.
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
        factor, failed = torch.linalg.cholesky_ex(diagonal)
        if int(failed):
            return None
        factors.append(factor)
        forward.append(torch.linalg.solve_triangular(factor, rest, upper=False))
    x: list[Tensor] = []
    for k in reversed(range(len(H))):
        rest = forward[k] - low[k].mT @ x[-1] if x else forward[k]
        x.append(torch.linalg.solve_triangular(factors[k].mT, rest, upper=True))
    return torch.stack(x[::-1]).view(-1, width)[:count]


def _step(blocks: _Blocks, damping: float) -> Tensor | None:
    """−(H + λ diag H)⁻¹ g, (T, P); None where there is none."""
    same, one, two = blocks.diagonals
    diagonal = same.diagonal(dim1=1, dim2=2)
    damped = same + torch.diag_embed(damping * diagonal + 1e-9 * diagonal.amax(1, keepdim=True))
    step = solve_block_pentadiagonal((damped, one, two), -blocks.gradient)
    return step if step is not None and bool(step.isfinite().all()) else None


def solve_sequence(problem: SequenceProblem, state: FitState, options: SolverOptions) -> FitState:
    """Levenberg–Marquardt over all frames at once; the cost never rises."""
    blocks, damping = problem.linearise(state), options.damping
    for _ in range(options.iterations):
        step = _step(blocks, damping)
        # An accepted step lowers the damping tenfold; a rejected one, or none, raises it.
        if step is not None:
            trial = problem.retract(state, step)
            after = problem.linearise(trial)
            gain = float(blocks.cost - after.cost)
            if gain > 0:
                done = gain <= options.tolerance * float(blocks.cost)
                state, blocks, damping = trial, after, damping / 10
                if done:
                    break
                continue
        damping = max(damping, 1e-6) * 10
        if damping > _HIGHEST_DAMPING:
            break
    return state
