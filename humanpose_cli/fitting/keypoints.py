"""Bodies from landmarks: pose, shape and position of many people and frames at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import SMPL24, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.evidence import gather_evidence, joint_confidence, limb_fallback, person_confidence
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.observations import KeypointObservations
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
from humanpose_cli.fitting.residuals import FitState, robust_scale
from humanpose_cli.fitting.sequences import between, key_frames, solve_person
from humanpose_cli.fitting.solver import BLOCK, NormalEquations, full_blocks, in_parallel, levenberg_marquardt
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.models.lifter.network import lifter_takes, shipped_lifter

_OUTLIER = 4.0  # noise levels from the fit beyond which a landmark is kept from the lifter
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
    """

    poses: NDArray[Any]
    betas: NDArray[Any]
    trans: NDArray[Any]
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


class _Rows(NamedTuple):
    """Rows that are being solved."""

    state: FitState
    evidence: FitEvidence


class _Started(NamedTuple):
    """Rows after the coarse stage, and what they say about shape."""

    rows: _Rows
    shape: ShapeEvidence


class _Setting(NamedTuple):
    """What is the same for all rows."""

    rig: LandmarkRig
    skeleton: Skeleton
    options: KeypointFitOptions

    @property
    def lifts(self) -> bool:
        """Whether there is a last stage with the lifter."""
        return self.options.lift and lifter_takes(self.skeleton)

    def problem(self, evidence: FitEvidence) -> KeypointProblem:
        return KeypointProblem(self.rig, self.skeleton, evidence, self.options)


def fit_keypoints(
    body: Body, observations: KeypointObservations, options: KeypointFitOptions | None = None
) -> KeypointFit:
    """Fit a body to every row of `observations`.

    Rows are independent but for `shape_group`, whose rows share betas, and with `frame` move as one body. Without
    groups, a row has the same bits whatever the other rows of the batch are. Rows that show nothing get a neutral pose
    before the camera, or one between their neighbours in time, and confidence 0. The result is deterministic, and
    independent of the number of threads. Works on the CPU in double precision, whatever device the body lives on, in as
    many threads as torch is set to use, a chunk of rows each.
    """
    count = len(observations)
    if observations.shape_group is None:
        observations = observations.rows(full_blocks(torch.arange(count)).numpy())
    options = options or KeypointFitOptions()
    skeleton = observations.names
    joints = UPRIGHT_JOINTS
    if observations.predicted_poses is not None:
        _check_shape(body, observations)
    if observations.predicted_poses is not None or (options.lift and lifter_takes(skeleton)):
        joints = tuple(dict.fromkeys((*UPRIGHT_JOINTS, *PREDICTED_JOINTS)))
    rig = LandmarkRig(body, body.landmarks(skeleton.name), joints, free_columns=1)
    setting = _Setting(rig, skeleton, options)
    threads = torch.get_num_threads()
    with torch.no_grad(), one_thread_each():
        if observations.frame is None or not len(observations):
            begun = _begin(setting, observations, threads)
            rows = _joined(in_parallel(partial(_finish, setting), begun, threads))
        else:
            people = _people(observations)
            begun = _begin_sequence(setting, observations, people, threads)
            rows = _joined(in_parallel(partial(_lift, setting), begun, threads))
            rows = _in_motion(setting, observations, people, rows, threads)
        return _report(setting, observations, *rows).rows(slice(count))


def _check_shape(body: Body, observations: KeypointObservations) -> None:
    told, known = observations.predicted_betas, body.joint_directions.shape[-1]
    if told is not None and told.shape[1] != known:
        raise InputError("predicted_betas", "are another body's", expected=f"{known} numbers", got=str(told.shape[1]))


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


def _joined(parts: Sequence[_Rows]) -> _Rows:
    return _Rows(cat_rows([part.state for part in parts]), FitEvidence.joined([part.evidence for part in parts]))


def _begin(setting: _Setting, observations: KeypointObservations, threads: int) -> list[_Rows]:
    """The coarse stage of every row, and the shapes that groups share, in chunks."""
    started = in_parallel(partial(_start, setting), _chunks(observations, setting.options.chunk), threads)
    return _with_common_shapes(setting, observations, started)


def _people(observations: KeypointObservations) -> list[Tensor]:
    """The rows of each person in consecutive frames, in the order of time."""
    groups, frames = observations.shape_group, observations.frame
    assert groups is not None
    assert frames is not None
    order = np.lexsort((frames, groups))
    ends = np.flatnonzero(np.diff(groups[order]) | (np.diff(frames[order]) != 1)) + 1
    return [torch.from_numpy(index) for index in np.split(order, ends) if len(index)]


def _begin_sequence(
    setting: _Setting, observations: KeypointObservations, people: Sequence[Tensor], threads: int
) -> list[_Rows]:
    """The coarse stage of key frames, then of all frames from between these, and the shapes of groups; in chunks."""
    assert observations.time is not None
    time, known = torch.from_numpy(observations.time), torch.from_numpy((observations.confidence > 0).any(-1))
    keys = [rows[key_frames(known[rows], time[rows])] for rows in people]
    key_rows = torch.cat(keys)
    states = cat_rows([part.state for part in _begin(setting, observations.rows(key_rows.numpy()), threads)])
    state = FitState(*(value.new_empty(len(time), *value.shape[1:]) for value in states))
    for rows, own, solved in zip(people, keys, _split(states, [len(own) for own in keys]), strict=True):
        for target, value in zip(state, between(solved, time[own], time[rows]), strict=True):
            target[rows] = value

    def approach(part: tuple[KeypointObservations, FitState]) -> _Started:
        observed, start = part
        evidence, _ = gather_evidence(setting.rig, setting.skeleton, observed, replace(setting.options, starts=1))
        evidence = replace(evidence, fallback=limb_fallback(evidence, start.rotations))
        near, equations, _ = levenberg_marquardt(setting.problem(evidence), start, setting.options.coarse)
        return _Started(_Rows(near, evidence), _shape_told(setting, equations, near, evidence))

    chunks = _chunks(observations, setting.options.chunk)
    starts = _split(state, [len(chunk) for chunk in chunks])
    started = in_parallel(approach, list(zip(chunks, starts, strict=True)), threads)
    return _with_common_shapes(setting, observations, started)


def _split(state: FitState, sizes: Sequence[int]) -> list[FitState]:
    return [FitState(*part) for part in zip(*(value.split(sizes) for value in state), strict=True)]


def _start(setting: _Setting, observations: KeypointObservations) -> _Started:
    """The coarse stage: the first start everywhere, the others where it ends badly; the cheapest end of each row."""
    options = setting.options
    evidence, starts = gather_evidence(setting.rig, setting.skeleton, observations, options)
    problem = setting.problem(evidence)
    state, equations, _ = levenberg_marquardt(problem, starts[0], options.coarse)
    depthless = (evidence.bone_weights == 0).flatten(1).all(-1)
    rows = (depthless | (equations.cost > options.retry_cost)).nonzero().squeeze(-1)
    if len(rows) and len(starts) > 1:
        others = cat_rows([FitState(*(value[rows] for value in start)) for start in starts[1:]])
        count = len(starts) - 1
        retried, again, _ = levenberg_marquardt(problem.select(rows.repeat(count)), others, options.coarse)
        costs = torch.cat((equations.cost[rows][None], again.cost.unflatten(0, (count, len(rows)))))
        winner = costs.argmin(0)
        for target, value in zip((*state, *equations), (*retried, *again), strict=True):
            ends = torch.cat((target[rows][None], value.unflatten(0, (count, len(rows)))))
            target[rows] = ends[winner, torch.arange(len(rows))]
    shape = _shape_told(setting, equations, state, evidence)
    fallback = limb_fallback(evidence, state.rotations)
    return _Started(_Rows(state, replace(evidence, fallback=fallback)), shape)


def _shape_told(setting: _Setting, equations: NormalEquations, state: FitState, evidence: FitEvidence) -> ShapeEvidence:
    last = setting.rig.parameter_count - 1  # the scale
    columns = slice(last - setting.rig.shape_count, last)
    return shape_evidence(equations, state.betas, evidence.beta_sigma, columns)


def _with_common_shapes(
    setting: _Setting, observations: KeypointObservations, started: Sequence[_Started]
) -> list[_Rows]:
    """The rows of groups held at the shape that suits all of the group."""
    parts, options = [part.rows for part in started], setting.options
    if observations.shape_group is None:
        return parts
    shape, groups = cat_rows([part.shape for part in started]), torch.from_numpy(observations.shape_group)
    sigma = torch.full(shape.pull.shape[1:], options.shape_noise, dtype=torch.float64)
    common, sizes = common_shapes(shape, groups, sigma, options.shape_evidence)
    lengths = [len(part.evidence) for part in parts]
    result = []
    for part, betas, size in zip(parts, common.split(lengths), sizes.split(lengths), strict=True):
        shared = (size > 1)[:, None]
        evidence = replace(
            part.evidence,
            betas=torch.where(shared, betas, part.evidence.betas),
            beta_sigma=torch.where(shared, _HELD, part.evidence.beta_sigma),
        )
        state = part.state._replace(betas=torch.where(shared, betas, part.state.betas))
        result.append(_Rows(state, evidence))
    return result


def _finish(setting: _Setting, rows: _Rows) -> _Rows:
    """The fine stage; the evidence is that of its last solve."""
    evidence = rows.evidence
    state, _, _ = levenberg_marquardt(setting.problem(evidence), rows.state, setting.options.fine)
    if setting.lifts:
        evidence = _with_lifted_joints(setting, _Rows(state, rows.evidence))
        state, _, _ = levenberg_marquardt(setting.problem(evidence), state, setting.options.fine)
    # Held, not almost held: every frame of a group has the very same numbers.
    held = rows.evidence.beta_sigma == _HELD
    state = state._replace(betas=torch.where(held, rows.evidence.betas, state.betas))
    return _Rows(state, evidence)


def _lift(setting: _Setting, rows: _Rows) -> _Rows:
    """The rows with what the lifter says of them, where it takes them."""
    return rows._replace(evidence=_with_lifted_joints(setting, rows)) if setting.lifts else rows


def _in_motion(
    setting: _Setting, observations: KeypointObservations, people: Sequence[Tensor], rows: _Rows, threads: int
) -> _Rows:
    """The frames of each person solved together."""
    assert observations.time is not None
    time, poses = torch.from_numpy(observations.time), observations.world_to_camera
    to_camera = torch.eye(4, dtype=torch.float64).expand(len(time), 4, 4)
    if poses is not None:
        to_camera = torch.from_numpy(poses)

    def solve(index: Tensor) -> FitState:
        problem = setting.problem(rows.evidence.rows(index))
        state = rows.state.rows(index)
        return solve_person(problem, state, to_camera[index], time[index], max(1, threads // len(people)))

    result = FitState(*(value.clone() for value in rows.state))
    for index, solved in zip(people, in_parallel(solve, people, threads), strict=True):
        for target, value in zip(result, solved, strict=True):
            target[index] = value
    return _Rows(result, rows.evidence)


def _with_lifted_joints(setting: _Setting, rows: _Rows) -> FitEvidence:
    """Evidence that holds the joints tightly to the mean of where they are and where the lifter has them.

    Two estimates with different faults: their mean is better than either, and steadier. The lifter does not see
    landmarks that the fit takes for outliers; joints of which nothing is visible, and people without visible hips, are
    left to the fit.
    """
    (state, evidence), options, skeleton = rows, setting.options, setting.skeleton
    posed = setting.rig.pose(state.rotations, state.root, state.betas)
    landmarks = project(posed.points[:, : setting.rig.landmark_count], evidence.focal, evidence.centre)
    error = (landmarks - evidence.pixels).norm(dim=-1) * evidence.pixel_weights
    confidence = torch.where(error > _OUTLIER, 0.0, evidence.confidence)
    lifted = shipped_lifter()(evidence.pixels, confidence, evidence.focal, evidence.centre, skeleton)
    rows_of_joints = SMPL24.indices(PREDICTED_JOINTS)
    about = posed.joints[:, rows_of_joints] - posed.joints[:, SMPL24.index("pelvis"), None]
    positions = torch.lerp(about, lifted.joints.double(), options.lifted_share) @ evidence.to_ray.mT
    sure = joint_confidence(skeleton, confidence) > 0
    visible = (sure[:, rows_of_joints] & sure[:, SMPL24.index("pelvis"), None])[..., None]
    weights = torch.where(visible, 1 / options.lifted_noise, 0.0).expand_as(positions)
    return replace(evidence, positions=positions, position_weights=weights)


def _report(
    setting: _Setting, observations: KeypointObservations, state: FitState, evidence: FitEvidence
) -> KeypointFit:
    rig, skeleton, options = setting
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
    }
    return KeypointFit(**{name: value.float().numpy() for name, value in values.items()})


def _median_error(error: Tensor, confidence: Tensor, used: Tensor) -> Tensor:
    """(N,) median pixels over the confident landmarks, else over those used, else NaN."""
    confident = used & (confidence > 0.5)
    chosen = torch.where(confident.any(-1, keepdim=True), confident, used)
    return torch.where(chosen, error, torch.nan).nanmedian(-1).values
