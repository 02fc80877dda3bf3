"""Bodies from landmarks: pose, shape and position of many people and frames at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.confidence import (
    JointNoise,
    noise_of_joints,
    person_confidence,
    posterior_noise,
    probability_right,
)
from humanpose_cli.fitting.evidence import gather_evidence, joint_evidence, limb_fallback
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.observations import NO_EVIDENCE, KeypointObservations
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.problem import (
    PREDICTED_JOINTS,
    UPRIGHT_JOINTS,
    FitEvidence,
    KeypointProblem,
    ShapeEvidence,
    cat_rows,
    common_shapes,
    shape_evidence,
)
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.sequences import between, key_frames, solve_person
from humanpose_cli.fitting.solver import BLOCK, NormalEquations, full_blocks, in_parallel, levenberg_marquardt
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.models.lifter.metric import lifter_takes, shipped_lifter

_OUTLIER = 4.0  # noise levels from the fit beyond which a landmark is kept from the lifter
_HELD = 1e-4  # standard deviations of shape by which a shared shape may still move while poses adapt to it


@dataclass(frozen=True, eq=False)
class KeypointFit:
    """Bodies of N rows, float32: the columns of a fit file that a solver or a network computes.

    `fit_keypoints` and `networks.fit_of_estimates` make it; `records.fit_record` writes it into a `Fit`.

    poses               (N, 72) axis-angle, relative to parents; the pelvis maps body to camera
    betas               (N, S)
    trans               (N, 3) metres, camera axes
    segment_scales      (N, 24)
    joints3d            (N, 24, 3) metres, camera axes
    joints2d            (N, 24, 2) pixels
    confidence          (N,) 0..1: the mean of the next over the 12 joints of arms and legs
    joint_confidence    (N, 24) 0..1: the probability that a joint is within 10 cm of the true one, pelvis on pelvis
    reprojection_error  (N,) pixels: median over the landmarks of a confidence above one half, else over all that were
                        used; NaN without any
    """

    poses: NDArray[Any]
    betas: NDArray[Any]
    trans: NDArray[Any]
    segment_scales: NDArray[Any]
    joints3d: NDArray[Any]
    joints2d: NDArray[Any]
    confidence: NDArray[Any]
    joint_confidence: NDArray[Any]
    reprojection_error: NDArray[Any]

    @classmethod
    def joined(cls, parts: Sequence[KeypointFit]) -> KeypointFit:
        """The bodies of several, one after the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def rows(self, index: slice | Sequence[int] | NDArray[Any]) -> KeypointFit:
        """The bodies of some rows, in that order."""
        return KeypointFit(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def changed(self, index: Sequence[int], bodies: KeypointFit) -> KeypointFit:
        """The bodies with others in some rows."""
        columns = {f.name: getattr(self, f.name).copy() for f in fields(self)}
        for name, values in columns.items():
            values[list(index)] = getattr(bodies, name)
        return KeypointFit(**columns)


class _Chunk(NamedTuple):
    """Some rows between two stages of the solver.

    problem  their evidence
    state    where the last stage ended
    shape    what each row alone says about betas
    """

    problem: KeypointProblem
    state: FitState
    shape: ShapeEvidence


def fit_keypoints(
    body: Body,
    observations: KeypointObservations,
    options: KeypointFitOptions | None = None,
    progress: Progress = no_progress,
) -> KeypointFit:
    """Fit a body to every row of `observations`; of motions, progress is reported.

    Rows are independent but for `shape_group`, whose rows share betas, and with `frame` move as one body. Without
    groups, a row has the same bits whatever the other rows of the batch are. Rows that show nothing get a neutral pose
    before the camera, or one between their neighbours in time, and confidence 0. The result is deterministic, and
    independent of the number of threads. Works on the CPU in double precision, whatever device the body lives on, in as
    many threads as torch is set to use, a chunk of rows each.
    """
    count, options = len(observations), options or KeypointFitOptions()
    rig = _rig(body, observations, options)
    if observations.shape_group is None:
        observations = observations.rows(full_blocks(torch.arange(count)))
    threads = torch.get_num_threads()
    with torch.no_grad(), one_thread_each():
        if observations.frame is None or not count:
            chunks = _solve_coarsely(rig, observations, options, threads)
            problem, state = _joined(in_parallel(_solve_finely, chunks, threads))
        else:
            problem, state = _solve_motion(rig, observations, options, threads, progress)
        return _report(body, observations, problem, state, threads).rows(slice(count))


def _rig(body: Body, observations: KeypointObservations, options: KeypointFitOptions) -> LandmarkRig:
    """The landmarks of the observations, and the joints that terms of the fit refer to."""
    predicted, shapes = observations.predicted_betas, body.joint_directions.shape[-1]
    if predicted is not None and predicted.shape[1] != shapes:
        got = str(predicted.shape[1])
        raise InputError("predicted_betas", "are another body's", expected=f"{shapes} numbers", got=got)
    joints = UPRIGHT_JOINTS
    if predicted is not None or (options.lift and lifter_takes(observations.names)):
        joints = tuple(dict.fromkeys((*UPRIGHT_JOINTS, *PREDICTED_JOINTS)))
    return LandmarkRig(body, body.landmarks(observations.skeleton), joints, free_columns=1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """The solver's matrices are so small that a second thread only waits: on a busy machine it costs twentyfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chunks(observations: KeypointObservations, size: int) -> list[KeypointObservations]:
    """Rows that are solved together, in full blocks, without their motion; no rows are one chunk, too."""
    still, size = replace(observations, frame=None), size + -size % BLOCK
    return [still.rows(slice(start, start + size)) for start in range(0, max(len(still), 1), size)]


def _joined(chunks: Sequence[_Chunk]) -> tuple[KeypointProblem, FitState]:
    first = chunks[0].problem
    evidence = FitEvidence.joined([chunk.problem.evidence for chunk in chunks])
    return KeypointProblem(first.rig, evidence, first.options), cat_rows([chunk.state for chunk in chunks])


def _solve_coarsely(
    rig: LandmarkRig, observations: KeypointObservations, options: KeypointFitOptions, threads: int
) -> list[_Chunk]:
    """The coarse stage of every row, and the shapes that groups share, in chunks."""
    parts = _chunks(observations, options.chunk)
    chunks = in_parallel(lambda part: _solve_from_starts(rig, part, options), parts, threads)
    return _with_common_shapes(chunks, observations.shape_group)


def _solve_from_starts(rig: LandmarkRig, observations: KeypointObservations, options: KeypointFitOptions) -> _Chunk:
    """The coarse stage: the first start everywhere, the others where it ends badly; the cheapest end of each row."""
    evidence, starts = gather_evidence(rig, observations, options)
    problem = KeypointProblem(rig, evidence, options)
    state, equations, _ = levenberg_marquardt(problem, starts[0], options.coarse)
    # Without depth, all starts explain the pixels about as well: rows without bones try them all.
    depthless = (evidence.bone_weights == 0).flatten(1).all(-1)
    rows = (depthless | (equations.cost > options.retry_cost)).nonzero().squeeze(-1)
    if len(rows) and len(starts) > 1:
        others = cat_rows([start.rows(rows) for start in starts[1:]])
        count = len(starts) - 1
        retried, again, _ = levenberg_marquardt(problem.select(rows.repeat(count)), others, options.coarse)
        costs = torch.cat((equations.cost[rows][None], again.cost.unflatten(0, (count, len(rows)))))
        winner = costs.argmin(0)
        for target, value in zip((*state, *equations), (*retried, *again), strict=True):
            ends = torch.cat((target[rows][None], value.unflatten(0, (count, len(rows)))))
            target[rows] = ends[winner, torch.arange(len(rows))]
    shape = _shape_evidence(problem, equations, state)
    # From now on a hidden limb tends to the mirrored pose of the visible one.
    return _Chunk(problem.changed(fallback=limb_fallback(evidence, state.rotations)), state, shape)


def _shape_evidence(problem: KeypointProblem, equations: NormalEquations, state: FitState) -> ShapeEvidence:
    scale = problem.parameters - 1  # the last column, behind those of the betas
    columns = slice(scale - problem.rig.shape_count, scale)
    return shape_evidence(equations, state.betas, problem.evidence.beta_sigma, columns)


def _with_common_shapes(chunks: list[_Chunk], groups: Tensor | None) -> list[_Chunk]:
    """The rows of groups (N,) held at the shape that suits all of their group."""
    if groups is None:
        return chunks
    options, shape = chunks[0].problem.options, cat_rows([chunk.shape for chunk in chunks])
    sigma = torch.full(shape.pull.shape[1:], options.shape_noise, dtype=torch.float64)
    common, group_sizes = common_shapes(shape, groups, sigma, options.shape_evidence)
    lengths = [len(chunk.problem.evidence) for chunk in chunks]
    result = []
    for chunk, betas, sizes in zip(chunks, common.split(lengths), group_sizes.split(lengths), strict=True):
        shared, evidence = (sizes > 1)[:, None], chunk.problem.evidence
        problem = chunk.problem.changed(
            betas=torch.where(shared, betas, evidence.betas),
            beta_sigma=torch.where(shared, _HELD, evidence.beta_sigma),
        )
        state = chunk.state._replace(betas=torch.where(shared, betas, chunk.state.betas))
        result.append(_Chunk(problem, state, chunk.shape))
    return result


def _solve_finely(chunk: _Chunk) -> _Chunk:
    """The fine stage, once with the detector's evidence and, if the lifter takes the skeleton, again with the lifter's.

    The evidence of the result is that of its last solve.
    """
    problem, schedule = chunk.problem, chunk.problem.options.fine
    state, _, _ = levenberg_marquardt(problem, chunk.state, schedule)
    lifted = _with_lifted_joints(problem, state)
    if lifted is not problem:
        state, _, _ = levenberg_marquardt(lifted, state, schedule)
    # Shared betas are set, not only held tightly: all rows of a group have exactly the same numbers.
    held = problem.evidence.beta_sigma == _HELD
    state = state._replace(betas=torch.where(held, problem.evidence.betas, state.betas))
    return _Chunk(lifted, state, chunk.shape)


def _solve_motion(
    rig: LandmarkRig, observations: KeypointObservations, options: KeypointFitOptions, threads: int, progress: Progress
) -> tuple[KeypointProblem, FitState]:
    """The frames of each person solved together."""
    time, poses = observations.time, observations.world_to_camera
    assert time is not None
    people = _rows_of_people(observations)
    state = _between_key_frames(rig, observations, people, options, threads)
    starting, lifting, moving = (part_of(progress, *ends) for ends in ((0.2, 0.5), (0.5, 0.6), (0.6, 1)))

    # Each frame alone again, from between its key frames; then the shapes of groups, and the lifter.
    def approach(part: tuple[KeypointObservations, FitState]) -> _Chunk:
        observed, start = part
        evidence, _ = gather_evidence(rig, observed, replace(options, starts=1))
        fallback = limb_fallback(evidence, start.rotations)
        problem = KeypointProblem(rig, replace(evidence, fallback=fallback), options)
        near, equations, _ = levenberg_marquardt(problem, start, options.coarse)
        return _Chunk(problem, near, _shape_evidence(problem, equations, near))

    parts = _chunks(observations, options.chunk)
    starts = _split(state, [len(part) for part in parts])
    chunks = in_parallel(approach, list(zip(parts, starts, strict=True)), threads, starting)
    chunks = _with_common_shapes(chunks, observations.shape_group)
    lifted = in_parallel(
        lambda c: c._replace(problem=_with_lifted_joints(c.problem, c.state)), chunks, threads, lifting
    )
    problem, state = _joined(lifted)

    # All frames of a person at once.
    to_camera = torch.eye(4, dtype=torch.float64).expand(len(time), 4, 4) if poses is None else poses

    def solve(rows: Tensor) -> FitState:
        share = max(1, threads // len(people))
        return solve_person(problem.select(rows), state.rows(rows), to_camera[rows], time[rows], share)

    result = FitState(*(value.clone() for value in state))
    for rows, solved in zip(people, in_parallel(solve, people, threads, moving), strict=True):
        for target, value in zip(result, solved, strict=True):
            target[rows] = value
    return problem, result


def _rows_of_people(observations: KeypointObservations) -> list[Tensor]:
    """The rows of each person in consecutive frames, in the order of time."""
    groups, frames = observations.shape_group, observations.frame
    assert groups is not None
    assert frames is not None
    order = torch.from_numpy(np.lexsort((frames.numpy(), groups.numpy())))
    # A run ends where the person changes or a frame is missing.
    ends = (groups[order].diff().bool() | (frames[order].diff() != 1)).nonzero().squeeze(-1) + 1
    return [rows for rows in order.tensor_split(ends) if len(rows)]


def _between_key_frames(
    rig: LandmarkRig,
    observations: KeypointObservations,
    people: Sequence[Tensor],
    options: KeypointFitOptions,
    threads: int,
) -> FitState:
    """Starts of all rows: key frames by the coarse stage, the others between these."""
    assert observations.time is not None
    time, visible = observations.time, (observations.confidence > 0).any(-1)
    keys = [rows[key_frames(visible[rows], time[rows])] for rows in people]
    chunks = _solve_coarsely(rig, observations.rows(torch.cat(keys)), options, threads)
    solved = cat_rows([chunk.state for chunk in chunks])
    result = FitState(*(value.new_empty(len(time), *value.shape[1:]) for value in solved))
    for rows, key_rows, states in zip(people, keys, _split(solved, [len(k) for k in keys]), strict=True):
        for target, value in zip(result, between(states, time[key_rows], time[rows]), strict=True):
            target[rows] = value
    return result


def _split(state: FitState, sizes: Sequence[int]) -> list[FitState]:
    columns = [value.split(sizes) for value in state]
    return [FitState(*part) for part in zip(*columns, strict=True)]


def _with_lifted_joints(problem: KeypointProblem, state: FitState) -> KeypointProblem:
    """The problem with joints held tightly to the mean of their positions in the state and the lifter's; the problem
    itself if there is no last stage with the lifter.

    Two estimates with different errors: their mean is better than either, and steadier. The lifter does not get
    landmarks that are outliers of the fit; joints without visible landmarks, and people without visible hips, are left
    to the fit.
    """
    options, evidence, skeleton = problem.options, problem.evidence, problem.rig.landmark_skeleton
    if not (options.lift and lifter_takes(skeleton)):
        return problem
    posed = problem.rig.pose(state.rotations, state.root, state.betas)
    landmarks = project(posed.points[:, : problem.rig.landmark_count], evidence.focal, evidence.centre)
    error = (landmarks - evidence.pixels).norm(dim=-1) * evidence.pixel_weights
    confidence = torch.where(error > _OUTLIER, 0.0, evidence.confidence)
    lifted = shipped_lifter()(evidence.pixels, confidence, evidence.focal, evidence.centre, skeleton)
    joints, pelvis = SMPL24.indices(PREDICTED_JOINTS), SMPL24.index("pelvis")
    about_pelvis = posed.joints[:, joints] - posed.joints[:, pelvis, None]
    positions = torch.lerp(about_pelvis, lifted.joints.double(), options.lifted_share) @ evidence.to_ray.mT
    certain = joint_evidence(skeleton, confidence) > 0
    visible = (certain[:, joints] & certain[:, pelvis, None])[..., None]
    weights = torch.where(visible, 1 / options.lifted_noise, 0.0).expand_as(positions)
    return problem.changed(positions=positions, position_weights=weights)


def _report(
    body: Body, observations: KeypointObservations, problem: KeypointProblem, state: FitState, threads: int
) -> KeypointFit:
    """The bodies of solved rows, with how well they explain the landmarks."""
    rig, evidence = problem.rig, problem.evidence
    posed = rig.pose(state.rotations, state.root, state.betas)
    landmarks = project(posed.points[:, : rig.landmark_count], evidence.focal, evidence.centre)
    error = (landmarks - evidence.pixels).norm(dim=-1)
    joints = _joint_confidence(body, observations, problem, state, threads)
    pelvis = rig.skeleton.index("pelvis")
    values = {
        "poses": matrix_to_axis_angle(state.rotations).flatten(1),
        "betas": state.betas,
        "trans": state.root - rig.rest_joints(state.betas)[:, pelvis],
        "segment_scales": torch.ones_like(posed.joints[..., 0]),
        "joints3d": posed.joints,
        "joints2d": project(posed.joints, evidence.focal, evidence.centre),
        "confidence": person_confidence(joints),
        "joint_confidence": joints,
        "reprojection_error": _median_error(error, observations.confidence, evidence.pixel_weights > 0),
    }
    return KeypointFit(**{name: value.float().numpy() for name, value in values.items()})


def _joint_confidence(
    body: Body, observations: KeypointObservations, problem: KeypointProblem, state: FitState, threads: int
) -> Tensor:
    """(N, 24), from the posterior of the fit, the weights of the landmarks and the spread of the world landmarks; 0 for
    rows without a landmark.
    """
    skeleton, evidence = problem.rig.landmark_skeleton, problem.evidence
    all_joints = LandmarkRig(body, body.landmarks(skeleton.name), SMPL24.joint_names, free_columns=1)

    def posterior(rows: Tensor) -> Tensor:
        block = full_blocks(rows)
        part = state.rows(block)
        return posterior_noise(problem.select(block).linearise(part), all_joints, part)[: len(rows)]

    size = problem.options.chunk + -problem.options.chunk % BLOCK
    chunks = torch.arange(len(observations)).split(size)
    metres = state.root[:, 2:] / (evidence.focal[:, None] * evidence.pixel_weights)
    noise = JointNoise(
        torch.cat(in_parallel(posterior, chunks, threads)) if len(observations) else metres.new_zeros(0, len(SMPL24)),
        noise_of_joints(skeleton, metres),
        torch.full((len(observations), len(SMPL24)), torch.nan, dtype=torch.float64),
    )
    if observations.world_spread is not None:
        spread = observations.world_spread
        finite = (spread > 0) & (spread < NO_EVIDENCE)  # of a single pass there is none
        noise = noise._replace(depth=noise_of_joints(skeleton, torch.where(finite, spread, torch.nan)))
    return torch.where((evidence.confidence > 0).any(-1, keepdim=True), probability_right(noise), 0.0)


def _median_error(error: Tensor, confidence: Tensor, used: Tensor) -> Tensor:
    """(N,) median pixels over the confident landmarks, else over those used, else NaN."""
    confident = used & (confidence > 0.5)
    chosen = torch.where(confident.any(-1, keepdim=True), confident, used)
    return torch.where(chosen, error, torch.nan).nanmedian(-1).values
