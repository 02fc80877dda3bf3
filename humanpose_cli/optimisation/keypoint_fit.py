"""Bodies from landmarks: pose, shape and place of many people and frames at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.conventions import Skeleton
from humanpose_cli.geometry.cameras import project
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.optimisation.confidence import joint_confidence, person_confidence
from humanpose_cli.optimisation.evidence import gather_evidence, limb_fallback
from humanpose_cli.optimisation.landmark_rig import LandmarkRig
from humanpose_cli.optimisation.observations import KeypointObservations
from humanpose_cli.optimisation.options import KeypointFitOptions
from humanpose_cli.optimisation.problem import UPRIGHT_JOINTS, Evidence, KeypointProblem
from humanpose_cli.optimisation.residuals import FitState, robust_scale
from humanpose_cli.optimisation.shapes import ShapeEvidence, common_shapes, shape_evidence
from humanpose_cli.optimisation.solver import levenberg_marquardt

__all__ = ["KeypointFit", "fit_keypoints"]

Item = TypeVar("Item")

_HELD = 1e-4  # standard deviations of shape by which a shared shape may still move while poses adapt to it


@dataclass(frozen=True, eq=False)
class KeypointFit:
    """Bodies fitted to N rows of observations, float32.

    poses               (N, 72) axis-angle, relative to parents; the pelvis maps body to camera
    betas               (N, S)
    trans               (N, 3) metres, camera axes
    joints3d            (N, 24, 3) metres, camera axes
    joints2d            (N, 24, 2) pixels
    confidence          (N,) 0..1
    joint_confidence    (N, 24) 0..1
    reprojection_error  (N,) pixels: median over the landmarks seen with confidence above one half, or over all that
                        were used where there is none such; NaN where nothing was seen
    cost                (N,) the robust cost at the end, for comparing fits of the same observations
    """

    poses: NDArray[Any]
    betas: NDArray[Any]
    trans: NDArray[Any]
    joints3d: NDArray[Any]
    joints2d: NDArray[Any]
    confidence: NDArray[Any]
    joint_confidence: NDArray[Any]
    reprojection_error: NDArray[Any]
    cost: NDArray[Any]


class _Solved(NamedTuple):
    """Rows that have been solved; states and evidence carry what is needed to go on."""

    state: FitState
    evidence: Evidence
    shape: ShapeEvidence
    cost: Tensor


def fit_keypoints(
    body: RiggedBody, observations: KeypointObservations, options: KeypointFitOptions | None = None
) -> KeypointFit:
    """Fit a body to every row of `observations`.

    Rows are independent but for `shape_group`, whose rows share betas; no result depends on the other rows of the
    batch beyond rounding. Rows that show nothing get a neutral pose before the camera and confidence 0. The result is
    deterministic. Works on the CPU in double precision, whatever device the body lives on, in as many threads as torch
    is set to use, a chunk of rows each.
    """
    options = options or KeypointFitOptions()
    skeleton = observations.names
    rig = LandmarkRig(body, body.landmarks(skeleton.name), UPRIGHT_JOINTS, free_columns=1)
    threads = torch.get_num_threads()
    with torch.no_grad(), _one_thread_each():
        chunks = _chunks(len(observations), options.chunk)
        fit_rows = partial(_fit_rows, rig, skeleton, options)
        solved = _concatenate(_in_parallel(fit_rows, [observations.rows(rows) for rows in chunks], threads))
        if observations.shape_group is not None:
            groups = torch.from_numpy(observations.shape_group)
            solved = _share_shapes(rig, skeleton, solved, groups, options, threads)
        return _report(rig, skeleton, observations, solved, options)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """The solver's matrices are so small that a second thread only waits: on a busy machine it costs twentyfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_parallel(action: Callable[[Item], _Solved], items: Sequence[Item], threads: int) -> list[_Solved]:
    """Results of the items in order, each made by one thread."""

    def without_gradients(item: Item) -> _Solved:
        with torch.no_grad():  # a setting of the thread
            return action(item)

    if min(threads, len(items)) < 2:
        return [action(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(without_gradients, items))


def _chunks(count: int, size: int) -> list[slice]:
    """Slices of at most `size` rows; one empty slice where there are none."""
    return [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]


def _fit_rows(
    rig: LandmarkRig, skeleton: Skeleton, options: KeypointFitOptions, observations: KeypointObservations
) -> _Solved:
    """Rows with shapes of their own: all starts through the coarse stage, the best through the fine one."""
    evidence, starts = gather_evidence(rig, skeleton, observations, options)
    state = _best_start(rig, skeleton, evidence, starts, options)
    return _finish(rig, skeleton, state, evidence, options)


def _best_start(
    rig: LandmarkRig,
    skeleton: Skeleton,
    evidence: Evidence,
    starts: list[FitState],
    options: KeypointFitOptions,
) -> FitState:
    """The coarse stage: the first start everywhere, the others where it ends badly; the cheapest end of each row."""
    problem = KeypointProblem(rig, skeleton, evidence, options)
    state, equations, _ = levenberg_marquardt(problem, starts[0], options.coarse)
    depthless = (evidence.bone_weights == 0).flatten(1).all(-1)
    rows = (depthless | (equations.cost > options.retry_cost)).nonzero().squeeze(-1)
    others = starts[1:]
    if not len(rows) or not others:
        return state
    stacked = FitState(*(torch.cat([value[rows] for value in values]) for values in zip(*others, strict=True)))
    retried, again, _ = levenberg_marquardt(problem.select(rows.repeat(len(others))), stacked, options.coarse)
    costs = torch.cat((equations.cost[rows][None], again.cost.view(len(others), -1)))
    winner = costs.argmin(0)
    for target, value in zip(state, retried, strict=True):
        candidates = torch.cat((target[rows][None], value.view(len(others), len(rows), *value.shape[1:])))
        target[rows] = candidates[winner, torch.arange(len(rows))]
    return state


def _finish(
    rig: LandmarkRig, skeleton: Skeleton, state: FitState, evidence: Evidence, options: KeypointFitOptions
) -> _Solved:
    evidence = replace(evidence, fallback=limb_fallback(evidence, state.rotations))
    problem = KeypointProblem(rig, skeleton, evidence, options)
    state, equations, _ = levenberg_marquardt(problem, state, options.fine)
    columns = slice(problem.parameters - 1 - rig.shape_count, problem.parameters - 1)
    shape = shape_evidence(equations, state.betas, evidence.beta_sigma, columns)
    return _Solved(state, evidence, shape, equations.cost)


def _share_shapes(
    rig: LandmarkRig,
    skeleton: Skeleton,
    solved: _Solved,
    groups: Tensor,
    options: KeypointFitOptions,
    threads: int,
) -> _Solved:
    """Solves the rows of groups once more with the shape that suits all of the group."""
    sigma = torch.full((rig.shape_count,), options.shape_noise, dtype=torch.float64)
    betas, sizes = common_shapes(solved.shape, groups, sigma, options.shape_evidence)

    def solve(rows: Tensor) -> _Solved:
        held = torch.full_like(betas[rows], _HELD)
        evidence = replace(solved.evidence.rows(rows), betas=betas[rows], beta_sigma=held)
        state = FitState(*(value[rows] for value in solved.state))._replace(betas=betas[rows])
        return _finish(rig, skeleton, state, evidence, options)

    chunks = (sizes > 1).nonzero().squeeze(-1).split(options.chunk)
    for rows, again in zip(chunks, _in_parallel(solve, chunks, threads), strict=True):
        # Held, not almost held: every frame of a group has the very same numbers.
        final = again.state._replace(betas=betas[rows])
        for target, value in zip((*solved.state, solved.cost), (*final, again.cost), strict=True):
            target[rows] = value
    return solved


def _concatenate(parts: list[_Solved]) -> _Solved:
    def joined(values: list[tuple[Tensor, ...]]) -> list[Tensor]:
        return [torch.cat(column) for column in zip(*values, strict=True)]

    evidence = {f.name: torch.cat([getattr(p.evidence, f.name) for p in parts]) for f in fields(Evidence)}
    return _Solved(
        FitState(*joined([p.state for p in parts])),
        Evidence(**evidence),
        ShapeEvidence(*joined([p.shape for p in parts])),
        torch.cat([p.cost for p in parts]),
    )


def _report(
    rig: LandmarkRig,
    skeleton: Skeleton,
    observations: KeypointObservations,
    solved: _Solved,
    options: KeypointFitOptions,
) -> KeypointFit:
    state, evidence = solved.state, solved.evidence
    posed = rig.pose(state.rotations, state.root, state.betas)
    landmarks = project(posed.points[:, : rig.landmark_count], evidence.focal, evidence.centre)
    error = (landmarks - evidence.pixels).norm(dim=-1)
    _, agreement = robust_scale((error * evidence.pixel_weights).square(), options.robust_2d)
    confidence = torch.from_numpy(observations.confidence)
    joints = joint_confidence(skeleton, confidence * agreement)
    root = rig.skeleton.index("pelvis")
    values = {
        "poses": matrix_to_axis_angle(state.rotations).flatten(1),
        "betas": state.betas,
        "trans": state.root - rig.rest_joints(state.betas)[:, root],
        "joints3d": posed.joints,
        "joints2d": project(posed.joints, evidence.focal, evidence.centre),
        "confidence": person_confidence(joints),
        "joint_confidence": joints,
        "reprojection_error": _median_error(error, confidence, evidence.pixel_weights > 0),
        "cost": solved.cost,
    }
    return KeypointFit(**{name: value.float().numpy() for name, value in values.items()})


def _median_error(error: Tensor, confidence: Tensor, used: Tensor) -> Tensor:
    """(N,) median pixels over the confident landmarks, else over those used, else NaN."""
    confident = used & (confidence > 0.5)
    chosen = torch.where(confident.any(-1, keepdim=True), confident, used)
    return torch.where(chosen, error, torch.nan).nanmedian(-1).values
