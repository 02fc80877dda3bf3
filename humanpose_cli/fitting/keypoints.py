"""Fits bodies to landmarks: pose, shape and position of many people and frames at once."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.blocks import one_thread_each
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UnavailableError
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
from humanpose_cli.fitting.observations import NO_EVIDENCE, KeypointObservations, SequenceObservations
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
from humanpose_cli.fitting.sequences import Stretch, between, key_frames, solve_sequence
from humanpose_cli.fitting.solver import (
    NormalEquations,
    full_blocks,
    in_parallel,
    levenberg_marquardt,
    made_in_parallel,
)
from humanpose_cli.geometry.least_squares import SolverOptions
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.models.lifter.metric import lifter_takes, shipped_lifter

_OUTLIER = 4.0  # noise levels from the fit beyond which the lifter does not get a landmark
_REPORT_ROWS = 2048  # rows of a motion that are in memory at once outside of the solver
_COARSE = SolverOptions(iterations=8, tolerance=1e-2, damping=1e-2)  # first stage, from all starts
_FINE = SolverOptions(iterations=25, tolerance=3e-4, damping=1e-3)  # last stage of single frames
_CHUNK = 64  # rows solved together, a multiple of `BLOCK`: limits the memory, does not change results
_RETRY_COST = 30.0  # cost after the first start above which a row tries the other starts
_LIFTED_SHARE = 0.5  # weight of the lifter in its mean with the fit before it
_LIFTED_NOISE = 0.03  # metres, of that mean
_SHAPE_TOLERANCE = 1e-4  # standard deviation of a shared shape while poses adapt to it
_LOCKED_NOISE = 0.002  # metres, of a locked landmark
LOCKED_COUNT = 1e4  # independent points that a locked landmark stands for
"""The noise of each is a hundredfold, so that the cost is quadratic up to decimetres, and finite for wrong pixels."""


_IN_MEMORY = 32 << 20  # bytes of a file that stay in memory, some thousand rows
_BYTES = torch.finfo(torch.float64).bits // 8


class RowFile:
    """Columns of N rows, double, in a temporary file that the context manager removes.

    The first `write` decides the shapes of the columns. Threads may read and write at the same time.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 — closed by `__exit__`
        self._lock = threading.Lock()
        self._shapes: list[torch.Size] = []

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._file.close()

    def write(self, first: int, columns: Sequence[Tensor]) -> None:
        """Store rows from number `first` on.

        Args:
            first: The number of the first row.
            columns: (n, …) each.

        Raises:
            UnavailableError: If the disk is full.
        """
        rows = torch.cat([column.reshape(len(column), math.prod(column.shape[1:])) for column in columns], 1)
        with self._lock:
            self._shapes = self._shapes or [column.shape[1:] for column in columns]
            try:
                self._file.seek(first * rows.shape[1] * _BYTES)
                self._file.write(rows.numpy().tobytes())
                self._file.flush()
            except OSError as error:
                remedy = "free some space there, or name another folder by the variable TMPDIR"
                problem, got = "a temporary file cannot be written", error.strerror or str(error)
                raise UnavailableError(tempfile.gettempdir(), problem, got=got, remedy=remedy) from error

    def read(self, first: int, last: int) -> list[Tensor]:
        """Read the columns of rows first ≤ i < last, which have been written before."""
        sizes = [math.prod(shape) for shape in self._shapes]
        width = sum(sizes)
        with self._lock:
            self._file.seek(first * width * _BYTES)
            content = self._file.read((last - first) * width * _BYTES)
        rows = torch.frombuffer(bytearray(content), dtype=torch.float64).view(last - first, width)
        ends = pairwise(accumulate(sizes, initial=0))
        return [
            rows[:, start:end].reshape(last - first, *shape).contiguous()
            for (start, end), shape in zip(ends, self._shapes, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class KeypointFit:
    """Bodies of N rows, float32: the columns of a fit file that a solver or a network computes.

    `fit_keypoints` and `networks.fit_of_estimates` make it. `records.fit_record` writes it into a `Fit`.

    Attributes:
        poses: (N, 72) radians. Axis-angle rotations relative to the parents. The pelvis maps body to camera axes.
        betas: (N, S). The shapes.
        trans: (N, 3) metres in camera axes.
        segment_scales: (N, 24). Factors on the segments' sizes.
        joints3d: (N, 24, 3) metres in camera axes.
        joints2d: (N, 24, 2) pixels.
        confidence: (N,) 0 to 1. The mean of `joint_confidence` over the 12 joints of arms and legs.
        joint_confidence: (N, 24) 0 to 1. The probability that a joint is within 10 cm of the true one if the pelvises
            are aligned.
        reprojection_error: (N,) pixels. The median over the landmarks with a confidence above one half, else over all
            that were used, else NaN.
        hand_poses: (N, 2, 15, 3) radians. Axis-angle rotations of the finger joints, see `Body.pose`; None if hands
            were not searched for.
        hand_confidence: (N, 2) 0 to 1; None if hands were not searched for.
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
    hand_poses: NDArray[Any] | None = None
    hand_confidence: NDArray[Any] | None = None

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The fields that are known, by name."""
        return {name: values for name, values in vars(self).items() if values is not None}

    @classmethod
    def joined(cls, parts: Sequence[KeypointFit]) -> KeypointFit:
        """Concatenate the bodies of several fits."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in parts[0].columns})

    def rows(self, index: slice | Sequence[int] | NDArray[Any]) -> KeypointFit:
        """Select the bodies of some rows, in the order of `index`."""
        return KeypointFit(**{name: values[index] for name, values in self.columns.items()})

    def changed(self, index: Sequence[int], bodies: KeypointFit) -> KeypointFit:
        """Return the fit with other bodies in some rows."""
        columns = {name: values.copy() for name, values in self.columns.items()}
        for name, values in columns.items():
            values[list(index)] = getattr(bodies, name)
        return KeypointFit(**columns)


_Rows = tuple[KeypointProblem, FitState]  # evidence and states of some rows


class _Chunk(NamedTuple):
    """Some rows between two stages of the solver.

    Attributes:
        problem: The evidence.
        state: The state at the end of the last stage.
        shape: Each row's own evidence of betas.
    """

    problem: KeypointProblem
    state: FitState
    shape: ShapeEvidence


def fit_keypoints(
    body: Body,
    observations: KeypointObservations | SequenceObservations,
    options: KeypointFitOptions | None = None,
    progress: Progress = no_progress,
) -> KeypointFit:
    """Fit a body to every row of the observations.

    Rows are independent, and no bit of a row depends on the other rows of the batch. If the observations have `frame`,
    the rows of one `shape_group` share betas and are solved as one motion. Rows without visible landmarks get a neutral
    pose, or one between their neighbours in time, and confidence 0.

    The fit runs on the CPU in double precision, in as many threads as torch is set to use. The result does not depend
    on the number of threads. Motions of more than some thousand rows are stored in temporary files between the stages,
    so that memory hardly grows with their length.

    Args:
        body: The body.
        observations: Landmarks and cameras of N rows.
        options: Noise levels. None: the defaults.
        progress: Called with (done, total, unit). Only motions report progress.

    Raises:
        UnavailableError: If there is no space for the temporary files.
    """
    count, options = len(observations), options or KeypointFitOptions()
    threads = torch.get_num_threads()
    with torch.no_grad(), one_thread_each():
        if isinstance(observations, SequenceObservations) or (observations.frame is not None and count):
            return _fit_motion(body, observations, options, threads, progress)
        rig = _rig(body, observations, options)
        observations = observations.rows(full_blocks(torch.arange(count)))
        chunks = [observations.rows(slice(*ends)) for ends in _parts(len(observations), _CHUNK)]
        parts = in_parallel(lambda rows: _solve_alone(rig, rows, options), chunks, threads)
        problem = KeypointProblem(rig, FitEvidence.joined([problem.evidence for problem, _ in parts]))
        state = cat_rows([state for _, state in parts])
        return _report(body, observations, problem, state, threads).rows(slice(count))


def _rig(body: Body, observations: KeypointObservations, options: KeypointFitOptions) -> LandmarkRig:
    """Make the rig of the landmarks of the observations and the joints that terms of the fit need."""
    joints = UPRIGHT_JOINTS
    if observations.predicted_betas is not None or (options.lift and lifter_takes(observations.names)):
        joints = tuple(dict.fromkeys((*UPRIGHT_JOINTS, *PREDICTED_JOINTS)))
    return LandmarkRig(body, body.landmarks(observations.skeleton), joints, free_columns=1)


def _solve_from_starts(rig: LandmarkRig, observations: KeypointObservations, options: KeypointFitOptions) -> _Chunk:
    """Solve the coarse stage from the first start, or from all starts if the cost stays high."""
    evidence, start, alternative_starts = gather_evidence(rig, observations, options)
    problem = KeypointProblem(rig, evidence)
    state, equations = levenberg_marquardt(problem, start, _COARSE)
    # Without depth all starts explain the pixels about equally well, so rows without bones try all of them.
    depthless = (evidence.bone_weights == 0).flatten(1).all(-1)
    rows = (depthless | (equations.cost > _RETRY_COST)).nonzero().squeeze(-1)
    if len(rows) and (retried_starts := [start.rows(rows) for start in alternative_starts]):
        count = len(retried_starts)
        repeated = problem.select(rows.repeat(count))
        end_states, end_equations = levenberg_marquardt(repeated, cat_rows(retried_starts), _COARSE)
        costs = torch.cat((equations.cost[rows][None], end_equations.cost.unflatten(0, (count, len(rows)))))
        winner = costs.argmin(0)
        for target, value in zip((*state, *equations), (*end_states, *end_equations), strict=True):
            ends = torch.cat((target[rows][None], value.unflatten(0, (count, len(rows)))))
            target[rows] = ends[winner, torch.arange(len(rows))]
    shape = _shape_evidence(problem, equations, state)
    # From now on a hidden limb falls back on the mirrored pose of the visible one.
    evidence = replace(evidence, fallback=limb_fallback(evidence, state.rotations))
    return _Chunk(problem.with_evidence(evidence), state, shape)


def _shape_evidence(problem: KeypointProblem, equations: NormalEquations, state: FitState) -> ShapeEvidence:
    scale = problem.parameters - 1  # the last column, behind the betas
    columns = slice(scale - problem.rig.shape_count, scale)
    return shape_evidence(equations, state.betas, problem.evidence.betas, problem.evidence.beta_sigma, columns)


def _at_shape(start: _Rows, betas: Tensor, is_shared: Tensor) -> _Rows:
    """Hold rows that share their shape with further rows at betas (N, S)."""
    problem, state = start
    is_shared = is_shared[:, None]
    evidence = replace(
        problem.evidence,
        betas=torch.where(is_shared, betas, problem.evidence.betas),
        beta_sigma=torch.where(is_shared, _SHAPE_TOLERANCE, problem.evidence.beta_sigma),
    )
    return problem.with_evidence(evidence), state._replace(betas=torch.where(is_shared, betas, state.betas))


def _solve_alone(rig: LandmarkRig, observations: KeypointObservations, options: KeypointFitOptions) -> _Rows:
    """Solve both stages of rows that do not move, the fine stage once more with the lifter's joints."""
    problem, start, _ = _solve_from_starts(rig, observations, options)
    state, _ = levenberg_marquardt(problem, start, _FINE)
    problem, state = _with_locks((problem, state), observations.locked)
    with_lifter = _with_lifted_joints(problem, state) if options.lift else problem
    if with_lifter is not problem:
        state, _ = levenberg_marquardt(with_lifter, state, _FINE)
    return with_lifter, state


def _fit_motion(
    body: Body,
    observations: KeypointObservations | SequenceObservations,
    options: KeypointFitOptions,
    threads: int,
    progress: Progress,
) -> KeypointFit:
    """Solve the frames of each person together."""
    groups, frames, _ = _columns_of_motion(observations)
    order = torch.from_numpy(np.lexsort((frames.numpy(), groups.numpy())))
    if not torch.equal(order, torch.arange(len(order))):
        sorted_rows = observations.rows(order)
        return _fit_motion(body, sorted_rows, options, threads, progress).rows(order.argsort().numpy())
    rig = _rig(body, observations.rows(slice(1)), options)
    with RowFile() as alone_file, RowFile() as evidence_file, RowFile() as state_file:
        visible = _approach(rig, observations, options, alone_file, evidence_file, threads, progress)
        part = partial(_read_part, rig, evidence_file)
        _move(observations, visible, part, state_file, threads, part_of(progress, 0.6, 1))
        reports = []
        for first, last in _parts(len(observations), _REPORT_ROWS):
            rows = slice(first, last)
            problem, state = part(rows)[0], FitState._make(state_file.read(first, last))
            reports.append(_report(body, observations.rows(rows), problem, state, threads))
    return KeypointFit.joined(reports)


def _columns_of_motion(observations: KeypointObservations | SequenceObservations) -> tuple[Tensor, Tensor, Tensor]:
    """Return `shape_group`, `frame` and `time`, which every motion has."""
    assert observations.shape_group is not None
    assert observations.frame is not None
    assert observations.time is not None
    return observations.shape_group, observations.frame, observations.time


def _people(observations: KeypointObservations | SequenceObservations) -> list[tuple[int, int]]:
    """Return the first row, and the row behind the last one, of each person in consecutive frames of sorted rows."""
    groups, frames, _ = _columns_of_motion(observations)
    # A run ends where the person changes or a frame is missing.
    ends = (groups.diff().bool() | (frames.diff() != 1)).nonzero().squeeze(-1) + 1
    return list(pairwise([0, *ends.tolist(), len(groups)]))


def _parts(count: int, size: int) -> list[tuple[int, int]]:
    """Divide `count` rows into parts of `size`, as first row and row behind the last. No rows are one part, too."""
    return [(start, min(start + size, count)) for start in range(0, max(count, 1), size)]


def _read_part(rig: LandmarkRig, file: RowFile, rows: slice) -> _Rows:
    """Read the evidence and the states of some rows."""
    columns, split = file.read(rows.start, rows.stop), len(FitState._fields)
    return KeypointProblem(rig, FitEvidence.of_columns(columns[:-split])), FitState._make(columns[-split:])


def _approach(
    rig: LandmarkRig,
    observations: KeypointObservations | SequenceObservations,
    options: KeypointFitOptions,
    alone_file: RowFile,
    evidence_file: RowFile,
    threads: int,
    progress: Progress,
) -> Tensor:
    """Solve each frame alone, then with the shape of its group and the lifter; return which rows (N,) have evidence."""
    starting, lifting = part_of(progress, 0.2, 0.5), part_of(progress, 0.5, 0.6)
    parts = _parts(len(observations), _CHUNK)
    with RowFile() as starts:
        _between_key_frames(rig, observations, options, starts, threads)

        def approach(part: tuple[int, int]) -> _Chunk:
            evidence, *_ = gather_evidence(rig, observations.rows(slice(*part)), options)
            start = FitState._make(starts.read(*part))
            problem = KeypointProblem(rig, replace(evidence, fallback=limb_fallback(evidence, start.rotations)))
            state, equations = levenberg_marquardt(problem, start, _COARSE)
            return _Chunk(problem, state, _shape_evidence(problem, equations, state))

        shapes = []
        chunks = made_in_parallel(approach, parts, threads, starting)
        for (first, _), chunk in zip(parts, chunks, strict=True):
            alone_file.write(first, [*chunk.problem.evidence.columns(), *chunk.state])
            shapes.append(chunk.shape)
    betas, is_shared = common_shapes(shapes, _columns_of_motion(observations)[0], options.shape_evidence)

    def lift(part: tuple[int, int]) -> tuple[FitEvidence, FitState]:
        rows = slice(*part)
        start = _at_shape(_read_part(rig, alone_file, rows), betas[rows], is_shared[rows])
        problem, state = _with_locks(start, observations.rows(rows).locked)
        return (_with_lifted_joints(problem, state) if options.lift else problem).evidence, state

    visible = torch.zeros(len(observations), dtype=torch.bool)
    for part, (evidence, state) in zip(parts, made_in_parallel(lift, parts, threads, lifting), strict=True):
        evidence_file.write(part[0], [*evidence.columns(), *state])
        visible[slice(*part)] = (evidence.confidence > 0).any(-1)
    return visible


def _between_key_frames(
    rig: LandmarkRig,
    observations: KeypointObservations | SequenceObservations,
    options: KeypointFitOptions,
    starts: RowFile,
    threads: int,
) -> None:
    """Write the starts of all rows: key frames by the coarse stage, the others interpolated between them."""
    groups, _, time = _columns_of_motion(observations)
    blocks = (slice(*part) for part in _parts(len(observations), _REPORT_ROWS))
    visible = torch.cat([(observations.rows(rows).confidence > 0).any(-1) for rows in blocks])
    people = _people(observations)
    keys = torch.cat([first + key_frames(visible[first:last], time[first:last]) for first, last in people])

    def coarse(rows: Tensor) -> tuple[FitState, ShapeEvidence]:
        chunk = _solve_from_starts(rig, observations.rows(rows), options)
        return chunk.state, chunk.shape

    parts = in_parallel(coarse, keys.split(_CHUNK), threads)
    state = cat_rows([chunk for chunk, _ in parts])
    betas, is_shared = common_shapes([shape for _, shape in parts], groups[keys], options.shape_evidence)
    state = state._replace(betas=torch.where(is_shared[:, None], betas, state.betas))
    for first, last in people:
        key_rows = slice(*torch.searchsorted(keys, torch.tensor((first, last))).tolist())
        for begin, end in _parts(last - first, _REPORT_ROWS):
            times = time[first + begin : first + end]
            starts.write(first + begin, between(state.rows(key_rows), time[keys[key_rows]], times))


def _move(
    observations: KeypointObservations | SequenceObservations,
    visible: Tensor,
    part: Callable[[slice], _Rows],
    state_file: RowFile,
    threads: int,
    progress: Progress,
) -> None:
    """Write the states of all rows, solved with all frames of a person at once."""
    people = _people(observations)
    *_, times = _columns_of_motion(observations)

    def solve(person: tuple[int, int]) -> None:
        first = person[0]
        time = times[slice(*person)]

        def stretch(begin: int, end: int) -> Stretch:
            rows = slice(first + begin, first + end)
            poses = observations.rows(rows).world_to_camera
            if poses is None:
                poses = torch.eye(4, dtype=torch.float64).expand(end - begin, 4, 4)
            problem, state = part(rows)
            return Stretch(problem, state, poses, time[begin:end])

        for begin, states in solve_sequence(stretch, visible[slice(*person)], time, max(1, threads // len(people))):
            state_file.write(first + begin, states)

    in_parallel(solve, people, threads, progress)


def _with_locks(start: _Rows, locked: Tensor | None) -> _Rows:
    """Hold the body at locked landmarks (N, L), and solve the rows that have any once more."""
    problem, state = start
    if locked is None or not locked.any():
        return start
    evidence = problem.evidence
    held = (locked > 0) & (evidence.confidence > 0)
    weights = state.root[:, 2:] / (_LOCKED_NOISE * evidence.focal[:, None])
    pixel_weights = torch.where(held, weights, evidence.pixel_weights)
    counts = torch.where(held, LOCKED_COUNT, evidence.counts)
    problem = problem.with_evidence(replace(evidence, pixel_weights=pixel_weights, counts=counts))
    rows = held.any(-1).nonzero().squeeze(-1)
    solution, _ = levenberg_marquardt(problem.select(rows), state.rows(rows), _FINE)
    return problem, FitState._make(old.index_copy(0, rows, new) for old, new in zip(state, solution, strict=True))


def _with_lifted_joints(problem: KeypointProblem, state: FitState) -> KeypointProblem:
    """Hold joints at the mean of the state's and the lifter's positions. Return the problem itself without a lifter."""
    # Two estimates with different errors: their mean is better and steadier than either. The lifter does not get
    # landmarks that are outliers of the fit. Joints without visible landmarks, and people without visible hips, are
    # left to the fit.
    evidence = problem.evidence
    skeleton = problem.rig.landmark_skeleton
    if not lifter_takes(skeleton):
        return problem
    posed_rig = problem.rig.pose(state.rotations, state.root, state.betas)
    landmarks = project(posed_rig.points[:, : problem.rig.landmark_count], evidence.focal, evidence.centre)
    error = (landmarks - evidence.pixels).norm(dim=-1) * evidence.pixel_weights
    confidence = torch.where(error > _OUTLIER, 0.0, evidence.confidence)
    lifter_joints = shipped_lifter()(evidence.pixels, confidence, evidence.focal, evidence.centre, skeleton)
    joints, pelvis = SMPL24.indices(PREDICTED_JOINTS), SMPL24.index("pelvis")
    about_pelvis = posed_rig.joints[:, joints] - posed_rig.joints[:, pelvis, None]
    positions = torch.lerp(about_pelvis, lifter_joints.joints.double(), _LIFTED_SHARE) @ evidence.to_ray.mT
    certain = joint_evidence(skeleton, confidence) > 0
    visible = (certain[:, joints] & certain[:, pelvis, None])[..., None]
    weights = (visible / _LIFTED_NOISE).double().expand_as(positions)
    return problem.with_evidence(replace(evidence, positions=positions, position_weights=weights))


def _report(
    body: Body, observations: KeypointObservations, problem: KeypointProblem, state: FitState, threads: int
) -> KeypointFit:
    """Make the bodies of solved rows and measure how well they explain the landmarks."""
    rig, evidence = problem.rig, problem.evidence
    posed_rig = rig.pose(state.rotations, state.root, state.betas)
    landmarks = project(posed_rig.points[:, : rig.landmark_count], evidence.focal, evidence.centre)
    error = (landmarks - evidence.pixels).norm(dim=-1)
    joints = _joint_confidence(body, observations, problem, state, threads)
    # The median error over the confident landmarks, else over the used ones, else NaN.
    is_used = evidence.pixel_weights > 0
    confident = is_used & (observations.confidence > 0.5)
    mask = torch.where(confident.any(-1, keepdim=True), confident, is_used)
    values = {
        "poses": matrix_to_axis_angle(state.rotations).flatten(1),
        "betas": state.betas,
        "trans": rig.translation_of_root(state.root, state.betas),
        "segment_scales": torch.ones_like(posed_rig.joints[..., 0]),
        "joints3d": posed_rig.joints,
        "joints2d": project(posed_rig.joints, evidence.focal, evidence.centre),
        "confidence": person_confidence(joints),
        "joint_confidence": joints,
        "reprojection_error": torch.where(mask, error, torch.nan).nanmedian(-1).values,
    }
    return KeypointFit(**{name: value.float().numpy() for name, value in values.items()})


def _joint_confidence(
    body: Body, observations: KeypointObservations, problem: KeypointProblem, state: FitState, threads: int
) -> Tensor:
    """Compute the confidence (N, 24) of joints. 0 for rows without a landmark."""
    skeleton, evidence = problem.rig.landmark_skeleton, problem.evidence
    all_joints = LandmarkRig(body, body.landmarks(skeleton.name), SMPL24.joint_names, free_columns=1)

    def posterior(rows: Tensor) -> Tensor:
        block = full_blocks(rows)
        part = state.rows(block)
        return posterior_noise(problem.select(block).linearise(part), all_joints, part)[: len(rows)]

    chunks = torch.arange(len(observations)).split(_CHUNK)
    metres = state.root[:, 2:] / (evidence.focal[:, None] * evidence.pixel_weights)
    noise = JointNoise(
        torch.cat(in_parallel(posterior, chunks, threads)) if len(observations) else metres.new_zeros(0, len(SMPL24)),
        noise_of_joints(skeleton, metres),
        torch.full((len(observations), len(SMPL24)), torch.nan, dtype=torch.float64),
    )
    if observations.world_spread is not None:
        spread = observations.world_spread
        finite = (spread > 0) & (spread < NO_EVIDENCE)  # a single pass has no spread
        noise = noise._replace(depth=noise_of_joints(skeleton, torch.where(finite, spread, torch.nan)))
    return torch.where((evidence.confidence > 0).any(-1, keepdim=True), probability_right(noise), 0.0)
