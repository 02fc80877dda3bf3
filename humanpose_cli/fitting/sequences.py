"""One solve for all frames of a person: every frame's evidence, and a body that moves as bodies do.

Minimises the sum of the frames' own costs (`KeypointProblem`) and of the accelerations of the body's points in world
axes, in units of what people reach; feet that stand do not move, and a body in the air falls. Frames that show nothing
have no evidence of their own and follow from their neighbours. Future frames count as past ones do, so there is no lag.
Long sequences are solved window by window, each beginning with the end of the one before: memory does not grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.fitting.chain import Chain, ChainMotion, second_differences, solve_chain, windows_of
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.problem import KeypointProblem
from humanpose_cli.fitting.residuals import FitState, cauchy
from humanpose_cli.fitting.solver import SolverOptions

_WINDOW, _MARGIN = 240, 24  # frames solved at once, and those at the end that the next window solves anew
_STRETCH = 10  # windows whose frames are in memory at once
_STANDING_SPEED, _STANDING_STEP = 0.6, 0.025  # metres a second, and a frame, below which a foot stands
_SHORTEST_STAND = 0.075  # seconds
_KEY_SPACING = 0.1  # seconds between frames that are solved alone before the others
_ROBUST_FALL = 100.0  # `robust` of the centre of mass in flight, in the same unit: nothing moves it but gravity
_ACCELERATION = 15.0  # metres / second², standard deviation of that of the body's points
_ROBUST_MOTION = 2.0  # standard deviations at which an acceleration counts half as outlier
_FALL_NOISE = 0.5  # metres / second² of the centre of mass in flight, beside gravity
_STANDING_NOISE = 0.003  # metres by which a standing foot moves between two frames
_SCHEDULE = SolverOptions(iterations=10, tolerance=3e-3, damping=1e-6)
_MEMORY = 0.5  # seconds before and after from which a hidden limb follows


GRAVITY = 9.81  # metres / second²
_SHORTEST, _LONGEST = 0.25, 1.5  # seconds of a flight
_MISS = 0.03  # metres: root mean square distance of the centre of mass from a parabola
_TOLERANCE = 3.0  # metres / second² by which its acceleration may differ, because the person's size is a guess
_ENOUGH = 5  # frames of a flight, and standing frames that show where up is
# Shares of the body's mass (de Leva 1996, Table 4, mean of women and men) at the points that landmark sets have: each
# segment's, divided between its two ends so that its centre of mass stays where it is. Hands and feet end at wrists and
# ankles.
_MASSES = {
    "ear": 0.034,
    "shoulder": 0.11 + 0.42 * 0.026,
    "elbow": 0.58 * 0.026 + 0.54 * 0.015,
    "wrist": 0.46 * 0.015 + 0.006,
    "hip": 0.105 + 0.615 * 0.145,
    "knee": 0.385 * 0.145 + 0.56 * 0.046,
    "ankle": 0.44 * 0.046 + 0.013,
}


def masses_of(rig: LandmarkRig) -> Tensor:
    """Compute the shares (M,) of the body's mass at a rig's points: their mean is its centre of mass."""
    return mass_shares(rig.landmark_skeleton.joint_names, len(rig.template))


def mass_shares(names: Sequence[str], count: int) -> Tensor:
    """Compute the shares (M,) of the body's mass at `count` points, the first of which have these names."""
    masses = torch.zeros(count, dtype=torch.float64)
    for row, name in enumerate(names):
        masses[row] = _MASSES.get(name.removeprefix("left_").removeprefix("right_"), 0.0)
    return masses / masses.sum()


def runs(flags: Tensor) -> Iterator[tuple[int, int]]:
    """Yield first and behind the last of each run of true flags (T,)."""
    ends = torch.nn.functional.pad(flags.to(torch.int8), (1, 1)).diff().nonzero().squeeze(-1).tolist()
    yield from zip(ends[::2], ends[1::2], strict=True)


def free_fall(rig: LandmarkRig, world: Tensor, to_world: Tensor, time: Tensor, standing: Tensor) -> Tensor:
    """Compute the acceleration of gravity (T - 2, 3) in metres / second², world axes, of all frames but the first and
    the last, where they are in flight; else zero.

    Args:
        world: (T, M, 3) points of the rig in the world, metres.
        to_world: (T, 3, 3) camera axes to world axes; time (T,) seconds, rising.
        standing: (T - 1,) bool: whether a foot stands from a frame to the next, which shows where up is.
    """
    falling = torch.zeros(max(len(time) - 2, 0), 3, dtype=torch.float64)
    if len(time) < _ENOUGH:
        return falling
    up = _up(rig, world, standing, to_world)
    drop = -(masses_of(rig) @ world) @ up
    for takeoff, landing in flights(drop, time):
        # The feet may leave and touch the ground two frames farther inside, with many times gravity's acceleration.
        falling[takeoff + 2 : landing - 3] = -GRAVITY * up
    return falling


def flights(drop: Tensor, time: Tensor) -> list[tuple[int, int]]:
    """Find first and last frame of each flight, in the order of time: the longest stretches in which a point, `drop`
    (T,) metres below some height at rising times (T,) seconds, moves on a parabola as gravity has it.
    """
    size, span = len(time), float(time[-1] - time[0])
    longest = min(size, int(_LONGEST * (size - 1) / max(span, 1e-9)) + 1)
    for length in range(longest, _ENOUGH - 1, -1):
        at, height = time.unfold(0, length, 1), drop.unfold(0, length, 1)
        at = at - at.mean(1, keepdim=True)
        powers = torch.stack((torch.ones_like(at), at, 0.5 * at.square()), -1)
        free = torch.linalg.lstsq(powers, height[..., None]).solution[:, 2, 0]
        below = (height - 0.5 * GRAVITY * at.square())[..., None]
        line = torch.linalg.lstsq(powers[..., :2], below).solution
        miss = (powers[..., :2] @ line - below).square().mean((1, 2)).sqrt()
        falls = ((free - GRAVITY).abs() < _TOLERANCE) & (miss < _MISS) & (at[:, -1] - at[:, 0] >= _SHORTEST)
        if falls.any():
            first = int(torch.where(falls, miss, torch.inf).argmin())
            last = first + length - 1
            before = flights(drop[: first + 1], time[: first + 1]) if first >= _ENOUGH else []
            behind = flights(drop[last:], time[last:]) if size - last > _ENOUGH else []
            return [*before, (first, last), *((last + a, last + b) for a, b in behind)]
    return []


def _up(rig: LandmarkRig, world: Tensor, standing: Tensor, to_world: Tensor) -> Tensor:
    """Find where up (3,) is in the world: from the ankles to the neck of who stands, else up in the image."""
    rows = [rig.landmark_count + rig.joint_points.index(name) for name in ("neck", "left_ankle", "right_ankle")]
    frames = standing.nonzero().squeeze(-1)
    if len(frames) < _ENOUGH:
        return -to_world[0, :, 1]
    neck, left, right = world[frames][:, rows].unbind(1)
    axis = torch.nn.functional.normalize(neck - (left + right) / 2, dim=-1)
    return torch.nn.functional.normalize(axis.median(0).values, dim=-1)


class Stretch(NamedTuple):
    """Some consecutive frames of one person, T of them.

    Attributes:
        problem: The frames' evidence, in the order of time.
        state: Each frame solved alone; frames without evidence are overwritten.
        world_to_camera: (T, 4, 4) of the frames; time (T,) seconds, rising.
    """

    problem: KeypointProblem
    state: FitState
    world_to_camera: Tensor
    time: Tensor


def solve_sequence(
    read: Callable[[int, int], Stretch], visible: Tensor, time: Tensor, threads: int = 1
) -> Iterator[tuple[int, FitState]]:
    """Solve the motion of one person in T consecutive frames, all frames together. Yields numbers of frames, each with
    the states of the frames from there up to the next number.

    Args:
        read: Gives the frames from one number to before another.
        visible, time: (T,) whether a frame has evidence, and its seconds.
    """
    count = len(time)
    # Long sequences in windows, each held at the end of the one before; its last frames are solved anew by the next.
    windows = windows_of(count, _WINDOW, _MARGIN)
    end_state: FitState | None = None  # of the stretch before, from `solved_count` on
    solved_count = 0
    for number in range(0, len(windows), _STRETCH):
        in_stretch, further = windows[number : number + _STRETCH], windows[number + _STRETCH :]
        stop = in_stretch[-1].stop
        first, last = _neighbours(visible, time, solved_count, stop)
        stretch = read(first, last)
        state = _bridged(stretch.problem, stretch.state, stretch.time)
        chain = Chain(_remembering(stretch.problem, stretch.time), _free_motion(stretch), threads)
        if end_state is not None:
            state = state.changed(end_state, solved_count - first)
        for window in (window.shifted(-first) for window in in_stretch):
            rows = window.rows
            part = _solve_window(chain.window(window), state.rows(rows), stretch.time[rows])
            state = state.changed(part, rows.start)
        following = further[0].rows.start if further else count
        yield solved_count, state.rows(slice(solved_count - first, following - first))
        solved_count, end_state = following, state.rows(slice(following - first, stop - first))


def _neighbours(visible: Tensor, time: Tensor, begin: int, end: int) -> tuple[int, int]:
    """Extend the frames begin ≤ i < end by those before and after that `_bridged` and `_remembering` look at: the
    nearest visible ones, and all within twice `_MEMORY`.
    """
    first = int(torch.searchsorted(time, time[begin] - 2 * _MEMORY))
    last = int(torch.searchsorted(time, time[end - 1] + 2 * _MEMORY, right=True))
    before, after = visible[: begin + 1].nonzero(), visible[end - 1 :].nonzero()
    if len(before):
        first = min(first, int(before[-1]))
    if len(after):
        last = max(last, end + int(after[0]))
    return first, last


def _free_motion(stretch: Stretch) -> ChainMotion:
    """Make the motion of frames in which no foot stands and no body falls; the centre of mass is its mean."""
    rig = stretch.problem.rig
    robust = torch.full((len(rig.template) + 1,), _ROBUST_MOTION, dtype=torch.float64)
    robust[-1] = _ROBUST_FALL * (_ACCELERATION / _FALL_NOISE)
    bend = second_differences(stretch.time) / _ACCELERATION
    return ChainMotion.free(stretch.world_to_camera, bend, masses_of(rig)[None], cauchy, robust)


def _solve_window(chain: Chain[KeypointProblem], state: FitState, time: Tensor) -> FitState:
    """Solve a window with free feet, and again with those held that stand, and with flights that fall."""
    problem, motion = chain.problem, chain.motion
    state = solve_chain(chain, state, _SCHEDULE)
    world = motion.world(problem.rig.pose(state.rotations, state.root, state.betas).points)
    standing = _standing(problem, world, time)
    falling = free_fall(problem.rig, world, motion.to_world, time, standing.any(1))
    if not standing.any() and not falling.any():
        return state
    # At the top of a jump the feet are slow, too.
    in_flight = torch.nn.functional.pad(falling.any(1), (1, 1))
    standing[in_flight[1:] | in_flight[:-1]] = 0
    # The centre of mass counts in flight alone, and follows gravity more exactly than the body's points.
    weights = motion.weights.clone()
    weights[:, -1] = _ACCELERATION / _FALL_NOISE * falling.any(1)
    motion = motion._replace(standing=standing, mean_acceleration=falling / _ACCELERATION, weights=weights)
    return solve_chain(Chain(problem, motion, chain.threads), state, _SCHEDULE)


def _standing(problem: KeypointProblem, world: Tensor, time: Tensor) -> Tensor:
    """Compute 1 / σ (T - 1, M) of the steps of visible feet that are slow for long enough, of points (T, M, 3)."""
    names = problem.rig.landmark_skeleton.joint_names
    soles = [row for row, name in enumerate(names) if name.endswith(("heel", "foot_index"))]
    feet = soles or [row for row, name in enumerate(names) if name.endswith("ankle")]
    standing = world.new_zeros(len(world) - 1, world.shape[1])
    if not feet:
        return standing
    visible = problem.evidence.confidence[:, feet] > 0.5
    longest = (_STANDING_SPEED * time.diff()).clamp(max=_STANDING_STEP)[:, None]
    slow = (world[:, feet].diff(dim=0).norm(dim=-1) < longest) & visible[1:] & visible[:-1]
    for column, foot in enumerate(feet):
        for start, stop in runs(slow[:, column]):
            if stop - start > 1 and time[stop] - time[start] > _SHORTEST_STAND:
                standing[start:stop, foot] = 1 / _STANDING_NOISE
    return standing


def _bridged(problem: KeypointProblem, state: FitState, time: Tensor) -> FitState:
    """Set frames without evidence between their neighbours; at the ends, as their only neighbour."""
    visible = (problem.evidence.confidence > 0).any(-1)
    rows = visible.nonzero().squeeze(-1)
    return state if len(rows) in (0, len(visible)) else between(state.rows(rows), time[rows], time)


def between(state: FitState, at: Tensor, time: Tensor) -> FitState:
    """Interpolate states at times (T,) between K ≥ 1 states at rising times (K,): turning and moving evenly from one to
    the next; equal to the first before it, and to the last behind it.
    """
    after = torch.searchsorted(at, time).clamp(max=len(at) - 1)
    before = (torch.searchsorted(at, time, right=True) - 1).clamp(min=0)
    low, high = state.rows(before), state.rows(after)
    share = ((time - at[before]) / (at[after] - at[before]).where(after > before, 1.0)).clamp(0, 1)
    return low.towards(high, share)


def key_frames(visible: Tensor, time: Tensor) -> Tensor:
    """Choose the frames (K,) of one person, of T, that are solved before the others: visible ones that begin a tenth of
    a second, and those before and behind gaps; the first if none is visible.
    """
    tenth = torch.div(time, _KEY_SPACING, rounding_mode="floor")
    begins = torch.nn.functional.pad(tenth.diff() > 0, (1, 0), value=True)
    neighbours = torch.nn.functional.pad(visible, (1, 1))
    keys = (visible & (begins | ~(neighbours[:-2] & neighbours[2:]))).nonzero().squeeze(-1)
    return keys if len(keys) else torch.zeros(1, dtype=torch.int64)


def _remembering(problem: KeypointProblem, time: Tensor) -> KeypointProblem:
    """Let hidden limbs fall back on the neutral pose only if no frame within half a second, before or after, shows
    them.
    """
    weights = problem.evidence.fallback_weights
    smallest = weights.clone()
    for apart in range(1, len(time)):
        near = (time[apart:] - time[:-apart] <= _MEMORY)[:, None]
        if not near.any():
            break
        smallest[apart:] = smallest[apart:].minimum(weights[:-apart].where(near, torch.inf))
        smallest[:-apart] = smallest[:-apart].minimum(weights[apart:].where(near, torch.inf))
    return problem.with_evidence(replace(problem.evidence, fallback_weights=smallest))
