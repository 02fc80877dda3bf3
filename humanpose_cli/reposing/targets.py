"""Target poses: reading them, and posing a person's body like them.

`read_target` takes pose files, fit files, other images, driving videos and arrays. `motion_on` poses a person's body
like a target. `retarget_joints` turns joint positions of any skeleton into rotations: only directions between joints
count, not lengths, so a child takes over a giant's pose. The freedoms that the skeleton leaves (the twist of a straight
limb, hands, feet) stay close to the neutral pose and inside the joints' limits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from humanpose_cli.avatar.ground import tilt_of, turn_between
from humanpose_cli.body.body import Body
from humanpose_cli.body.limb_rotations import limb_rotations, neutral_rotations
from humanpose_cli.core.conventions import SMPL24, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.files.digests import digest_of_files, file_digest
from humanpose_cli.fitting.detection_journal import journal_of
from humanpose_cli.fitting.evidence import zero_joints
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.landmark_rig import LandmarkRig, rig_of_skeleton
from humanpose_cli.fitting.result import FitPerson
from humanpose_cli.fitting.solver import NormalEquations, levenberg_marquardt
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.least_squares import SolverOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.fit_files import FitRecord, read_fit, write_fit
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.image_sequences import numbered_path, sequence_name
from humanpose_cli.io.inputs import InputItem, escaped, open_inputs
from humanpose_cli.io.pose_files import JointTarget, RotationTarget, Target, is_pose
from humanpose_cli.io.pose_files.joint_arrays import joint_target
from humanpose_cli.outputs.atomic import folder_lock
from humanpose_cli.outputs.output_names import FIT_SUFFIX
from humanpose_cli.reposing.driving import (
    AnyMotion,
    TargetPeople,
    checked_motion,
    frames_of_motion,
    motion_of_file,
    motion_of_fit,
)
from humanpose_cli.reposing.options import Drivers

AnyTarget: TypeAlias = "str | Path | np.ndarray | FitRecord | FitPerson | AnyMotion"
"""A path, joints (J, 3) or (T, J, 3) in metres, an image (H, W, 3) uint8, a fit, a person of a fit, or a motion."""

# Bones in addition to the skeleton's: the width of hips and shoulders, and the sides of the trunk.
_CROSS_BONES = (
    ("left_hip", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "left_shoulder"),
    ("right_hip", "right_shoulder"),
    ("left_ear", "right_ear"),
    ("left_eye", "right_eye"),
)
_FACE = ("nose", "eye", "ear", "mouth", "head_top")


# Gauss–Newton on the directions of bones, which weigh 1 (radians).
_FACE_WEIGHT = 0.5  # of the face's bones, which are short and noisy
_NEUTRAL_WEIGHT = 0.02  # of staying near the neutral pose
_START_WEIGHT = 0.04  # of the closed-form start, which settles twists
_EASE = torch.full((len(SMPL24),), _NEUTRAL_WEIGHT, dtype=torch.float64)
_EASE[SMPL24.index("pelvis")] = 0  # which faces anywhere; trunk and collars move only as far as they must
_HOLD = torch.zeros_like(_EASE)
_HOLD[SMPL24.indices([f"{s}_{n}" for s in ("left", "right") for n in ("shoulder", "elbow", "hip", "knee")])] = (
    _START_WEIGHT
)
_SCHEDULE = SolverOptions(iterations=15, tolerance=1e-7)
_CHUNK = 256  # frames solved together: bounds memory
_STANDING_POSES = 24  # maximum number of poses from which the way down is found


def retarget_joints(
    body: Body,
    joints: NDArray[np.floating],
    skeleton: Skeleton,
    betas: NDArray[np.floating],
) -> Tensor:
    """Find rotations of a body whose limbs point as the target's joints do.

    Args:
        body: The body model.
        joints: (T, J, 3) float, metres in camera axes. Joints that are not finite are left out.
        skeleton: The skeleton of the joints.
        betas: (S,) float. The body's shape.

    Returns:
        (T, 24, 3, 3) float32. Relative to parents.

    Raises:
        InputError: If hips and shoulders, which give the body's direction, are missing.
    """
    points = torch.from_numpy(np.array(joints, np.float64))
    if points.ndim != 3 or points.shape[1:] != (len(skeleton), 3):
        raise InputError(
            "target pose", "has the wrong shape", expected=f"(T, {len(skeleton)}, 3)", got=str(tuple(points.shape))
        )
    finite = torch.isfinite(points).all(-1)
    required_joints = finite[:, skeleton.indices(("left_hip", "right_hip", "left_shoulder", "right_shoulder"))]
    if not required_joints.all():
        frame = int((~required_joints.all(1)).nonzero()[0])
        raise InputError("target pose", f"frame {frame} lacks a hip or a shoulder", expected="finite positions")
    points = torch.where(finite[..., None], points, points.new_zeros(()))
    with torch.no_grad():
        rig, span = rig_of_skeleton(body, skeleton)
        pairs = _bones(skeleton)
        upper, lower = torch.tensor(pairs).T
        limbs = points[:, lower] - points[:, upper]
        weights = torch.tensor([_weight(skeleton, pair) for pair in pairs], dtype=points.dtype)
        weights = weights * (finite[:, upper] & finite[:, lower] & (limbs.norm(dim=-1) > 1e-4))
        shape = torch.from_numpy(np.asarray(betas, np.float64))[None].expand(len(points), -1)
        solutions = [points.new_zeros(0, len(SMPL24), 3, 3)]
        for rows in torch.arange(len(points)).split(_CHUNK):
            start = limb_rotations(zero_joints(rig), skeleton, points[rows], finite[rows].double())
            values = shape[rows], normalize(limbs[rows], dim=-1), weights[rows], start
            problem = _Directions(rig, upper + span.start, lower + span.start, *values)
            solutions.append(levenberg_marquardt(problem, _Rotations(start), _SCHEDULE)[0].rotations)
    return torch.cat(solutions).float()


def motion_on(
    target: Target,
    body: Body,
    betas: NDArray[np.floating],
    start: NDArray[np.floating] | None = None,
    down: Tensor | None = None,
    *,
    in_place: bool = False,
) -> BodyParams:
    """Put a target's T poses on a person's body.

    Args:
        target: The target.
        body: The body model.
        betas: (S,) float. The person's shape.
        start: (3,) float, metres in camera axes. The pelvis in the first frame, from which the target's path goes on;
            None for the target's positions.
        down: (3,) float, unit vector. The photograph's downward direction, to which the target's (see `tilt_of`) is
            turned; only with `start`. None leaves the target in its own camera's axes.
        in_place: Whether to keep the pelvis at `start` except for its motion along `down`; only with `down`.

    Returns:
        T poses as float32 tensors.
    """
    shape = torch.from_numpy(np.array(betas, np.float32))[None]
    if isinstance(target, RotationTarget):  # bodies share a skeleton and the T pose: no rotation depends on the shape
        params = target.params.tensors()
        rotations = params.rotations
        roots = params.trans + torch.from_numpy(target.axes_rotation) @ body.rest_pelvis(shape)[0]
    else:
        joints = np.array(target.joints, np.float64)
        if target.joint_confidence is not None:
            joints[:, target.joint_confidence <= 0] = np.nan
        rotations = retarget_joints(body, joints, target.skeleton, betas)
        roots = torch.from_numpy(root_positions(joints, target.skeleton).astype(np.float32))
    if start is not None:
        path = roots - roots[:1]
        if down is not None:
            few = torch.linspace(0, len(rotations) - 1, min(len(rotations), _STANDING_POSES)).long()
            with torch.no_grad():
                trans = body.translation_of_root(roots[few], shape)
                posed_body = body.pose(rotations[few], shape.expand(len(few), -1), trans)
            turn = turn_between(tilt_of(posed_body.surface, posed_body.joints, body), down.to(rotations))
            rotations = torch.cat((turn @ rotations[:, :1], rotations[:, 1:]), 1)
            path = path @ turn.mT
            if in_place:
                path = (path @ down.to(path))[:, None] * down.to(path)
        roots = torch.from_numpy(start) + path
    trans = body.translation_of_root(roots, shape)
    return BodyParams.from_rotations(rotations, shape.expand(len(rotations), -1), trans)


def finger_rotations(target: Target) -> Tensor | None:
    """Return the rotations (T, 2, 15, 3, 3) of a target's fingers; None without them, as where all are 0."""
    if not isinstance(target, RotationTarget) or target.params.hand_poses is None or not target.params.hand_poses.any():
        return None
    return axis_angle_to_matrix(target.params.tensors().hand_poses)


def with_straight_knuckles(motion: BodyParams) -> BodyParams:
    """Leave the bending of the fingers to a person's or a target's fingers."""
    rotations = motion.rotations.clone()
    rotations[:, SMPL24.indices(("left_hand", "right_hand"))] = torch.eye(3)
    return BodyParams.from_rotations(rotations, motion.betas, motion.trans, motion.segment_scales)


def root_positions(joints: NDArray[np.floating], skeleton: Skeleton) -> NDArray[np.floating]:
    """Return the pelvis (T, 3) of joints (T, J, 3): its own joint, 0 if not finite, or the middle of the hips."""
    if "pelvis" in skeleton:
        root = joints[:, skeleton.index("pelvis")]
        return np.where(np.isfinite(root).all(-1, keepdims=True), root, 0)
    return joints[:, skeleton.indices(("left_hip", "right_hip"))].mean(1)


class _Rotations(NamedTuple):
    """(T, 24, 3, 3). Relative to parents."""

    rotations: Tensor


@dataclass(frozen=True, eq=False)
class _Directions:
    """A `LeastSquaresProblem` of the directions of bones in T frames.

    Attributes:
        rig: The rig.
        upper: (B,) int64. The points at which the bones begin.
        lower: (B,) int64. The points at which they end.
        betas: (T, S). The shapes.
        wanted: (T, B, 3). The directions.
        weights: (T, B).
        start: (T, 24, 3, 3). The rotations at the start, near which limbs stay.
    """

    rig: LandmarkRig
    upper: Tensor
    lower: Tensor
    betas: Tensor
    wanted: Tensor
    weights: Tensor
    start: Tensor

    def select(self, rows: Tensor) -> _Directions:
        names = ("betas", "wanted", "weights", "start")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def retract(self, state: _Rotations, step: Tensor) -> _Rotations:
        return _Rotations(state.rotations @ axis_angle_to_matrix(step.unflatten(-1, (-1, 3))))

    def linearise(self, state: _Rotations) -> NormalEquations:
        (rotations,) = state
        count = rotations.shape[1] * 3
        root = self.betas.new_zeros(len(rotations), 3)
        pose = self.rig.pose(rotations, root, self.betas, jacobian=True)
        assert pose.jacobian is not None
        jacobian = pose.jacobian[..., :count].transpose(1, 2)  # (T, M, 3, 72)
        bone = pose.points[:, self.lower] - pose.points[:, self.upper]
        length = bone.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        direction = bone / length
        slopes = (jacobian[:, self.lower] - jacobian[:, self.upper]) / length[..., None]
        slopes = slopes - direction[..., None] * (direction[..., None] * slopes).sum(-2, keepdim=True)
        residual = direction - self.wanted
        pulls = slopes * self.weights[..., None, None]
        hessian = torch.einsum("tbci,tbcj->tij", pulls, slopes)
        gradient = torch.einsum("tbci,tbc->ti", pulls, residual)
        cost = 0.5 * (self.weights[..., None] * residual.square()).sum((1, 2))
        for reference, weight in ((neutral_rotations().to(rotations), _EASE), (self.start, _HOLD)):
            turns = matrix_to_axis_angle(reference.mT @ rotations)
            cost = cost + 0.5 * (weight[:, None] * turns.square()).sum((1, 2))
            gradient = gradient + (weight[:, None] * turns).flatten(1)
            hessian = hessian + torch.diag(weight.repeat_interleave(3))
        return NormalEquations(cost, gradient, hessian)


def _bones(skeleton: Skeleton) -> list[tuple[int, int]]:
    bones = list(skeleton.bones)
    for a, b in _CROSS_BONES:
        if a in skeleton and b in skeleton:
            pair = (skeleton.index(a), skeleton.index(b))
            if pair not in bones and pair[::-1] not in bones:
                bones.append(pair)
    return bones


def _weight(skeleton: Skeleton, pair: tuple[int, int]) -> float:
    names = [skeleton.joint_names[row] for row in pair]
    return _FACE_WEIGHT if any(part in name for part in _FACE for name in names) else 1.0


def _driving(drivers: Drivers) -> dict[str, Any]:
    """Return the fit options of a target's images; the photograph's focal length does not apply to them."""
    return {"people": "largest" if drivers == "largest" else "all", "focal": "auto"}


def read_target(
    target: AnyTarget,
    fitter: Callable[[], Fitter],
    *,
    skeleton: str | None = None,
    axes: str | None = None,
    frames: FrameRange = ALL_FRAMES,
    drivers: Drivers = "largest",
    fits: Path | None = None,
    progress: Progress = no_progress,
) -> AnyMotion:
    """Read a target in any of its forms; its `warnings` are for the user.

    Args:
        target: A pose file (see `read_pose`); an image, a video, or frames as a folder or a numbered pattern
            (`f_%04d.png`), which are fitted; or another `AnyTarget`.
        fitter: Returns the fitter of images when one is needed.
        skeleton: The skeleton of joints and pose files that do not name it.
        axes: The axes of joints and pose files that do not name them.
        frames: The frames of a motion or a video, counted from its first; of numbered frames and fits, their numbers.
        drivers: The people who drive, in a fit, an image or a video. Unless it is "largest", all people of images and
            videos are fitted.
        fits: A folder in which fits of images and videos are stored, so that parallel processes fit them once; None:
            they are not stored.
        progress: Called with (done, total or None, unit).

    Raises:
        InputError: If the target is none of these, shows no people, or has no frame in the range.
    """
    pose = _without_fitting(target, skeleton, axes, drivers)
    if pose is not None:
        return frames_of_motion(pose, frames, target if isinstance(target, str | Path) else "target")
    if isinstance(target, str | Path):
        images = _one_item(target, frames)
        fit = _kept_fit(Path(target), images, fitter(), drivers, fits, progress)
        return motion_of_fit(fit, drivers, target, _numbers(images, fit.frame_count))
    fit = fitter().fit(np.asarray(target), **_driving(drivers), frames=frames, progress=progress)
    return motion_of_fit(fit, drivers)


def planned_target(path: Path, frames: FrameRange) -> RotationTarget:
    """Return a target without movement, of as many frames as an image or a video has, which is not fitted.

    Raises InputError as `read_target`.
    """
    images = _one_item(path, frames)
    count = images.frame_count or 1
    rest = BodyParams(*(np.zeros((count, width), np.float32) for width in (72, 10, 3)))
    return RotationTarget(rest, frame_numbers=_numbers(images, count))


def _numbers(images: InputItem, count: int) -> tuple[int, ...]:
    """Return the numbers of the first `count` frames that are read of a sequence."""
    return tuple((images.numbers or range(images.start, 1 << 31))[images.range.slice][:count])


def _without_fitting(target: AnyTarget, skeleton: str | None, axes: str | None, drivers: Drivers) -> AnyMotion | None:
    """Return the target if no fit is needed; None for images and videos."""
    if isinstance(target, FitRecord):
        return motion_of_fit(target, drivers)
    if isinstance(target, str | Path) and is_pose(target):
        return motion_of_file(target, skeleton, axes, drivers)
    if isinstance(target, FitPerson):
        target = motion_of_fit(target.fit, target.id)
    if isinstance(target, JointTarget | RotationTarget | TargetPeople):
        return checked_motion(target, drivers)
    if isinstance(target, str | Path) or np.asarray(target).dtype == np.uint8:
        return None
    return checked_motion(joint_target(np.asarray(target), "target", skeleton, axes), drivers)


def _kept_fit(
    path: Path, images: InputItem, fitter: Fitter, drivers: Drivers, fits: Path | None, progress: Progress
) -> FitRecord:
    """Read the fit of an image or a sequence if the folder has it; otherwise make it under a lock."""
    driving = _driving(drivers)
    if fits is None:
        return fitter.fit(images, **driving, progress=progress)
    identity = {**fitter.identity, "people": driving["people"], "focal": None}
    decisive = json.dumps([target_digest(path), str(images.range), identity], sort_keys=True, default=str)
    fit_path = fits / f"{escaped(sequence_name(path))}.{hashlib.sha256(decisive.encode()).hexdigest()[:12]}{FIT_SUFFIX}"
    with folder_lock(fits):
        if not fit_path.exists():
            journal = journal_of(images, fit_path, fitter.identity)
            write_fit(fit_path, fitter.fit(images, **driving, progress=progress, journal=journal))
            if journal is not None:
                journal.remove()
    return read_fit(fit_path)


def target_digest(path: Path) -> str:
    """Return a hash of the contents of a target: a file, a folder, or the files of a numbered pattern."""
    return file_digest(path) if path.exists() else digest_of_files(_one_item(path, ALL_FRAMES).files)


def _one_item(path: Path | str, frames: FrameRange) -> InputItem:
    """Return the one image or sequence that a path names. Raises InputError if there is none, or several."""
    if not Path(path).exists() and numbered_path(Path(path), 0) is None:
        raise InputError(path, "does not exist", expected="a pose file, an image or a video")
    items = list(open_inputs([path], frames=frames))
    if len(items) != 1:
        expected = "a pose file, an image, a video or the frames of one sequence"
        raise InputError(path, "is not one pose", expected=expected, got=f"{len(items)} independent images")
    return items[0]
