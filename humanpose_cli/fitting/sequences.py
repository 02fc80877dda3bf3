"""One solve for all frames of a person: every frame's evidence, and a body that moves plausibly.

Minimises the sum of the frames' own costs (`KeypointProblem`) and of the accelerations of the body's points in world
axes, relative to human accelerations. Standing feet do not move, and a body in the air falls. Frames without evidence
follow from their neighbours. Future frames count like past ones, so that there is no lag. Long sequences are solved
window by window, each beginning with the end of the window before, so that memory does not grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.heap import return_freed_memory
from humanpose_cli.fitting.chain import Chain, ChainMotion, second_differences, windows_of
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.problem import KeypointProblem
from humanpose_cli.fitting.residuals import FitState, cauchy
from humanpose_cli.geometry.least_squares import SolverOptions, minimise

_WINDOW = 240  # frames solved at once
_MARGIN = 24  # frames at the end of a window that the next window solves again
_STRETCH = 10  # windows whose frames are in memory at once
_STANDING_SPEED = 0.6  # metres per second below which a foot stands
_STANDING_STEP = 0.025  # metres per frame below which a foot stands
_MIN_STAND = 0.075  # seconds
_KEY_SPACING = 0.1  # seconds between key frames, which are solved first
_ROBUST_FALL = 100.0  # robust scale of the centre of mass in flight, which only gravity moves
_ACCELERATION = 15.0  # metres / second², standard deviation of the body's points
_ROBUST_MOTION = 2.0  # standard deviations at which an acceleration counts half as outlier
_SEEN = 0.5  # confidence from which a point is seen
_MAX_STRAY = 0.05  # metres, largest standard deviation of a hidden point from an even course between frames
_LIMB_ENDS = ("elbow", "wrist", "pinky", "index", "thumb", "knee", "ankle", "heel", "foot_index")
_FALL_NOISE = 0.5  # metres / second², difference of the centre of mass in flight from gravity
_STANDING_NOISE = 0.003  # metres by which a standing foot moves between two frames
_SCHEDULE = SolverOptions(iterations=10, tolerance=3e-3, damping=1e-6)
_MEMORY = 0.5  # seconds before and after from which a hidden limb is known
_FASTEST_TURN = 15.0  # radians / second, of the chest in a somersault or a pirouette
_TURN_NOISE = 0.5  # radians, of the chest in a frame that was solved alone
_DROP_COST = 0.7  # radians of excess turn for which a frame is dropped
_MAX_DROPPED = 8  # successive frames


GRAVITY = 9.81  # metres / second²
_MIN_FLIGHT, _MAX_FLIGHT = 0.25, 1.5  # seconds
_MAX_MISS = 0.03  # metres, root mean square distance of the centre of mass from a parabola
_TOLERANCE = 3.0  # metres / second², difference of its acceleration from gravity, because the person's size is a guess
_MIN_FRAMES = 5  # of a flight, and standing frames that show the way up
# Shares of the body's mass (de Leva 1996, Table 4, mean of women and men) at points of landmark sets. A segment's mass
# is divided between its two ends so that its centre of mass stays. Hands and feet belong to wrists and ankles.
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
    """Compute the share (M,) of the body's mass at each point of a rig, whose weighted mean is the centre of mass."""
    return mass_shares(rig.landmark_skeleton.joint_names, len(rig.template))


def mass_shares(names: Sequence[str], count: int) -> Tensor:
    """Compute the share (M,) of the body's mass at `count` points, which begin with these names."""
    masses = torch.zeros(count, dtype=torch.float64)
    for row, name in enumerate(names):
        masses[row] = _MASSES.get(name.removeprefix("left_").removeprefix("right_"), 0.0)
    return masses / masses.sum()


def runs(flags: Tensor) -> Iterator[tuple[int, int]]:
    """Yield the first index of each run of true flags (T,), and the index behind its last one."""
    ends = torch.nn.functional.pad(flags.to(torch.int8), (1, 1)).diff().nonzero().squeeze(-1).tolist()
    yield from zip(ends[::2], ends[1::2], strict=True)


def free_fall(rig: LandmarkRig, world: Tensor, to_world: Tensor, time: Tensor, standing: Tensor) -> Tensor:
    """Compute the acceleration of gravity in frames in flight.

    Args:
        rig: The rig.
        world: (T, M, 3) metres. The points of the rig in the world.
        to_world: (T, 3, 3). Camera axes to world axes.
        time: (T,) seconds, rising.
        standing: (T - 1,) bool. Whether a foot stands from a frame to the next, which shows the way up.

    Returns:
        (T - 2, 3) metres / second² in world axes, for all frames except the first and the last. Zero outside of
        flights.
    """
    falling = torch.zeros(max(len(time) - 2, 0), 3, dtype=torch.float64)
    if len(time) < _MIN_FRAMES:
        return falling
    up = _up(rig, world, standing, to_world)
    drop = -(masses_of(rig) @ world) @ up
    for takeoff, landing in flights(drop, time):
        # The feet may leave and touch the ground two frames farther inside, with many times gravity's acceleration:
        # frames at the ends must continue the parabola of the others.
        inside = slice(takeoff + 2, landing - 1)
        moment = time - time[inside].mean()
        path = drop - 0.5 * GRAVITY * moment.square()
        speed = (path * moment)[inside].sum() / moment[inside].square().sum()
        continues = (path - path[inside].mean() - speed * moment).abs() < _MAX_MISS
        continues[inside] = True
        continues[:takeoff] = continues[landing + 1 :] = False
        first, stop = next(run for run in runs(continues) if run[1] > inside.start)
        falling[first : stop - 2] = -GRAVITY * up
    return falling


def flights(drop: Tensor, time: Tensor) -> list[tuple[int, int]]:
    """Find the longest stretches in which a point moves on a parabola with the acceleration of gravity.

    Args:
        drop: (T,) metres. How far the point is below some height.
        time: (T,) seconds, rising.

    Returns:
        The first and the last frame of each flight, in the order of time.
    """
    size = len(time)
    span = float(time[-1] - time[0])
    longest = min(size, int(_MAX_FLIGHT * (size - 1) / max(span, 1e-9)) + 1)
    for length in range(longest, _MIN_FRAMES - 1, -1):
        height = drop.unfold(0, length, 1)
        moment = time.unfold(0, length, 1)
        moment = moment - moment.mean(1, keepdim=True)
        powers = torch.stack((torch.ones_like(moment), moment, 0.5 * moment.square()), -1)
        acceleration = torch.linalg.lstsq(powers, height[..., None]).solution[:, 2, 0]
        linear_part = (height - 0.5 * GRAVITY * moment.square())[..., None]
        line = torch.linalg.lstsq(powers[..., :2], linear_part).solution
        miss = (powers[..., :2] @ line - linear_part).square().mean((1, 2)).sqrt()
        falls = ((acceleration - GRAVITY).abs() < _TOLERANCE) & (miss < _MAX_MISS)
        falls &= moment[:, -1] - moment[:, 0] >= _MIN_FLIGHT
        if falls.any():
            first = int(torch.where(falls, miss, torch.inf).argmin())
            last = first + length - 1
            earlier = flights(drop[: first + 1], time[: first + 1]) if first >= _MIN_FRAMES else []
            later = flights(drop[last:], time[last:]) if size - last > _MIN_FRAMES else []
            return [*earlier, (first, last), *((last + start, last + stop) for start, stop in later)]
    return []


def _up(rig: LandmarkRig, world: Tensor, standing: Tensor, to_world: Tensor) -> Tensor:
    """Find the way up (3,) in the world: from the ankles to the neck of a standing body, else up in the image."""
    rows = [rig.landmark_count + rig.joint_points.index(name) for name in ("neck", "left_ankle", "right_ankle")]
    frames = standing.nonzero().squeeze(-1)
    if len(frames) < _MIN_FRAMES:
        return -to_world[0, :, 1]
    neck, left, right = world[frames][:, rows].unbind(1)
    axis = torch.nn.functional.normalize(neck - (left + right) / 2, dim=-1)
    return torch.nn.functional.normalize(axis.median(0).values, dim=-1)


class Stretch(NamedTuple):
    """T consecutive frames of one person.

    Attributes:
        problem: The frames' evidence, in the order of time.
        state: Each frame solved alone. Frames without evidence are overwritten.
        world_to_camera: (T, 4, 4).
        time: (T,) seconds, rising.
    """

    problem: KeypointProblem
    state: FitState
    world_to_camera: Tensor
    time: Tensor


def steady_frames(rotations: Tensor, time: Tensor) -> Tensor:
    """Choose the frames between which the chest turns no faster than people can.

    A frame that was solved alone may face the wrong way.

    Args:
        rotations: (T, 24, 3, 3). The joints' rotations relative to their parents in T frames that were solved alone.
        time: (T,) seconds, rising.

    Returns:
        (K,) int64, rising.
    """
    pelvis, *spine = rotations[:, SMPL24.indices(("pelvis", "spine1", "spine2", "spine3"))].unbind(1)
    chest = reduce(torch.matmul, spine, pelvis)
    # The cheapest path through the frames: its excess turns, and a price for each frame that it leaves out.
    cost = _DROP_COST * torch.arange(len(time), dtype=torch.float64)
    previous = [-1] * len(time)
    for frame in range(1, len(time)):
        before = slice(max(frame - 1 - _MAX_DROPPED, 0), frame)
        cosine = ((chest[before] * chest[frame]).sum((1, 2)) - 1) / 2
        turn = cosine.clamp(-1, 1).acos() - _FASTEST_TURN * (time[frame] - time[before]) - _TURN_NOISE
        dropped = torch.arange(len(turn) - 1, -1, -1)
        total = cost[before] + turn.clamp_min(0) + _DROP_COST * dropped
        if total.min() < cost[frame]:
            cost[frame] = total.min()
            previous[frame] = before.start + int(total.argmin())
    path = [int((cost - _DROP_COST * torch.arange(len(time))).argmin())]
    while previous[path[-1]] >= 0:
        path.append(previous[path[-1]])
    return torch.tensor(path[::-1])


def solve_sequence(
    read: Callable[[int, int], Stretch], visible: Tensor, time: Tensor, threads: int = 1
) -> Iterator[tuple[int, FitState]]:
    """Solve the motion of one person in T consecutive frames, all frames together.

    Args:
        read: Returns the frames from one number to before another.
        visible: (T,) bool. Whether a frame has evidence.
        time: (T,) seconds, rising.
        threads: The number of threads. It does not change results.

    Yields:
        The number of a frame, and the states of the frames from there to before the next yielded number.
    """
    count = len(time)
    # A window is held at the end of the window before. Its last frames are solved again by the next window.
    windows = windows_of(count, _WINDOW, _MARGIN)
    end_state: FitState | None = None  # the end of the previous stretch, from `solved_count` on
    solved_count = 0
    for number in range(0, len(windows), _STRETCH):
        windows_of_stretch = windows[number : number + _STRETCH]
        next_windows = windows[number + _STRETCH :]
        stop = windows_of_stretch[-1].stop
        first, last = _neighbours(visible, time, solved_count, stop)
        stretch = read(first, last)
        state = stretch.state
        visible_rows = visible[first:last].nonzero().squeeze(-1)
        if len(visible_rows):  # the solver does not turn a body around
            visible_rows = visible_rows[steady_frames(state.rotations[visible_rows], stretch.time[visible_rows])]
        if 0 < len(visible_rows) < last - first:
            state = between(state.rows(visible_rows), stretch.time[visible_rows], stretch.time)
        chain = Chain(_remembering(stretch.problem, stretch.time), _free_motion(stretch), threads)
        if end_state is not None:
            state = state.changed(end_state, solved_count - first)
        for window in (window.shifted(-first) for window in windows_of_stretch):
            rows = window.rows
            part = _solve_window(chain.window(window), state.rows(rows), stretch.time[rows])
            state = state.changed(part, rows.start)
            if len(windows) > 1:
                return_freed_memory()
        next_start = next_windows[0].rows.start if next_windows else count
        yield solved_count, state.rows(slice(solved_count - first, next_start - first))
        end_state = state.rows(slice(next_start - first, stop - first))
        solved_count = next_start


def _neighbours(visible: Tensor, time: Tensor, begin: int, end: int) -> tuple[int, int]:
    """Extend begin ≤ i < end by the nearest visible frames, and all frames within twice `_MEMORY`."""
    first = int(torch.searchsorted(time, time[begin] - 2 * _MEMORY))
    last = int(torch.searchsorted(time, time[end - 1] + 2 * _MEMORY, right=True))
    before, after = visible[: begin + 1].nonzero(), visible[end - 1 :].nonzero()
    if len(before):
        first = min(first, int(before[-1]))
    if len(after):
        last = max(last, end + int(after[0]))
    return first, last


def _free_motion(stretch: Stretch) -> ChainMotion:
    """Make the motion of frames in which no foot stands and no body falls. Its mean is the centre of mass."""
    rig = stretch.problem.rig
    hidden = _hidden_points(stretch.problem)
    # Nobody has seen a hidden limb leave its course.
    robust = _ROBUST_MOTION / (1 - hidden).clamp_min(1e-3)
    robust = torch.nn.functional.pad(robust, (0, 1), value=_ROBUST_FALL * (_ACCELERATION / _FALL_NOISE))
    bend = second_differences(stretch.time) / _ACCELERATION
    motion = ChainMotion.free(stretch.world_to_camera, bend, masses_of(rig)[None], cauchy, robust)
    steps = (stretch.time[2:] - stretch.time[:-2]) / 2
    motion.weights[:, :-1] += (_ACCELERATION * steps.square() / _MAX_STRAY - 1).clamp_min(0)[:, None] * hidden
    return motion


def _hidden_points(problem: KeypointProblem) -> Tensor:
    """Measure how hidden (T - 2, M) the points of limbs are in one of three successive frames, 0 to 1."""
    names = problem.rig.landmark_skeleton.joint_names
    points = [*names, *problem.rig.joint_points]
    rows = [row for row, name in enumerate(points) if name.endswith(_LIMB_ENDS) and name in names]
    confidence = problem.evidence.confidence[:, [names.index(points[row]) for row in rows]]
    hidden = confidence.new_zeros(len(confidence), len(points))
    hidden[:, rows] = (1 - confidence / _SEEN).clamp_min(0)
    return hidden.unfold(0, 3, 1).amax(-1) if len(hidden) > 2 else hidden[:0]


def _solve_window(chain: Chain[KeypointProblem], state: FitState, time: Tensor) -> FitState:
    """Solve a window with free feet, and again with standing feet and flights."""
    problem = chain.problem
    motion = chain.motion
    state = minimise(chain, state, _SCHEDULE)
    world = motion.world(problem.rig.pose(state.rotations, state.root, state.betas).points)
    standing = _standing(problem, world, time)
    falling = free_fall(problem.rig, world, motion.to_world, time, standing.any(1))
    if not standing.any() and not falling.any():
        return state
    # Feet in flight do not stand, although they are slow at the top of a jump.
    in_flight = torch.nn.functional.pad(falling.any(1), (1, 1))
    standing[in_flight[1:] | in_flight[:-1]] = 0
    # The centre of mass counts in flight alone, and follows gravity more exactly than the body's points.
    weights = motion.weights.clone()
    weights[:, -1] = _ACCELERATION / _FALL_NOISE * falling.any(1)
    motion = motion._replace(standing=standing, mean_acceleration=falling / _ACCELERATION, weights=weights)
    return minimise(Chain(problem, motion, chain.threads), state, _SCHEDULE)


def _standing(problem: KeypointProblem, world: Tensor, time: Tensor) -> Tensor:
    """Compute 1 / σ (T - 1, M) of the steps of visible feet that are slow for long enough."""
    names = problem.rig.landmark_skeleton.joint_names
    soles = [row for row, name in enumerate(names) if name.endswith(("heel", "foot_index"))]
    feet = soles or [row for row, name in enumerate(names) if name.endswith("ankle")]
    standing = world.new_zeros(len(world) - 1, world.shape[1])
    if not feet:
        return standing
    visible = problem.evidence.confidence[:, feet] > 0.5
    max_step = (_STANDING_SPEED * time.diff()).clamp(max=_STANDING_STEP)[:, None]
    slow = (world[:, feet].diff(dim=0).norm(dim=-1) < max_step) & visible[1:] & visible[:-1]
    for column, foot in enumerate(feet):
        for start, stop in runs(slow[:, column]):
            if stop - start > 1 and time[stop] - time[start] > _MIN_STAND:
                standing[start:stop, foot] = 1 / _STANDING_NOISE
    return standing


def between(state: FitState, state_time: Tensor, time: Tensor) -> FitState:
    """Interpolate states in time, turning and moving evenly.

    Args:
        state: K ≥ 1 states.
        state_time: (K,) seconds, rising.
        time: (T,) seconds. Times outside of `state_time` get the first or the last state.

    Returns:
        T states.
    """
    after = torch.searchsorted(state_time, time).clamp(max=len(state_time) - 1)
    before = (torch.searchsorted(state_time, time, right=True) - 1).clamp(min=0)
    step = (state_time[after] - state_time[before]).where(after > before, 1.0)
    share = ((time - state_time[before]) / step).clamp(0, 1)
    return state.rows(before).towards(state.rows(after), share)


def key_frames(visible: Tensor, time: Tensor) -> Tensor:
    """Choose the frames of one person that are solved first.

    These are visible frames that begin a tenth of a second, and visible frames before and behind gaps. If no frame is
    visible, it is the first one.

    Args:
        visible: (T,) bool.
        time: (T,) seconds, rising.

    Returns:
        (K,) int64.
    """
    tenth = torch.div(time, _KEY_SPACING, rounding_mode="floor")
    begins = torch.nn.functional.pad(tenth.diff() > 0, (1, 0), value=True)
    neighbours = torch.nn.functional.pad(visible, (1, 1))
    keys = (visible & (begins | ~(neighbours[:-2] & neighbours[2:]))).nonzero().squeeze(-1)
    return keys if len(keys) else torch.zeros(1, dtype=torch.int64)


def _remembering(problem: KeypointProblem, time: Tensor) -> KeypointProblem:
    """Let hidden limbs fall back on the neutral pose only if no frame within `_MEMORY` shows them."""
    weights = problem.evidence.fallback_weights
    smallest = weights.clone()
    for offset in range(1, len(time)):
        near = (time[offset:] - time[:-offset] <= _MEMORY)[:, None]
        if not near.any():
            break
        smallest[offset:] = smallest[offset:].minimum(weights[:-offset].where(near, torch.inf))
        smallest[:-offset] = smallest[:-offset].minimum(weights[offset:].where(near, torch.inf))
    return problem.with_evidence(replace(problem.evidence, fallback_weights=smallest))
