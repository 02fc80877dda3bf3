"""Giving somebody else's pose to a person: joint positions of any skeleton become rotations of their own body.

Only the directions between joints are asked for, never the lengths, so a child takes over a giant's pose. What the
skeleton leaves open (the twist of a straight limb, hands, feet) stays as near as it can to standing at ease and inside
the joints' limits.

Target poses in all their forms: pose files, fit files, other images, driving videos.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from humanpose_cli.body.body import Body
from humanpose_cli.body.limb_rotations import limb_rotations, neutral_rotations
from humanpose_cli.core.conventions import SMPL24, Skeleton
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.evidence import zero_joints
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.landmark_rig import LandmarkRig, rig_of_skeleton
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.inputs import InputItem, open_inputs
from humanpose_cli.io.pose_files import POSE_SUFFIXES, TargetPose, read_target_pose

__all__ = [
    "JointTarget",
    "RetargetOptions",
    "RotationTarget",
    "Target",
    "TargetMotion",
    "place_roots",
    "read_target",
    "retarget_joints",
    "root_positions",
    "target_of_pose",
    "target_of_record",
]


# Beside the skeleton's own bones: what gives hips and shoulders their width and the trunk its sides.
_CROSS_BONES = (
    ("left_hip", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "left_shoulder"),
    ("right_hip", "right_shoulder"),
    ("left_ear", "right_ear"),
    ("left_eye", "right_eye"),
)
_CHUNK = 256  # frames solved together: bounds memory
_FACE = ("nose", "eye", "ear", "mouth", "head_top")


class TargetMotion(NamedTuple):
    """A target for one person's body: rotations (T, 24, 3, 3) relative to parents, pelvis positions (T, 3) metres."""

    rotations: Tensor
    roots: Tensor


@dataclass(frozen=True)
class RetargetOptions:
    """How a pose is solved for.

    steps          Gauss–Newton steps
    at_ease        weight of staying near the neutral pose, against 1 for a bone's direction (radians)
    start          weight of staying near the closed-form start, which settles twists
    face_weight    weight of bones of the face, which are short and noisy
    """

    steps: int = 15
    at_ease: float = 0.02
    start: float = 0.04
    face_weight: float = 0.5


def retarget_joints(
    body: Body,
    joints: NDArray[np.floating],
    skeleton: Skeleton,
    betas: NDArray[np.floating],
    options: RetargetOptions | None = None,
) -> TargetMotion:
    """Rotations of a body of shape `betas` (S,) whose limbs point as the target's joints do.

    joints  (T, J, 3) metres, camera axes, of `skeleton`; joints that are not finite are left out

    InputError where hips and shoulders are missing: nothing then tells where the body faces.
    """
    options = options or RetargetOptions()
    points = torch.from_numpy(np.array(joints, np.float64))
    if points.ndim != 3 or points.shape[1:] != (len(skeleton), 3):
        raise InputError(
            "target pose", "has the wrong shape", expected=f"(T, {len(skeleton)}, 3)", got=str(tuple(points.shape))
        )
    known = torch.isfinite(points).all(-1)
    needed = known[:, skeleton.indices(("left_hip", "right_hip", "left_shoulder", "right_shoulder"))]
    if not needed.all():
        frame = int((~needed.all(1)).nonzero()[0])
        raise InputError("target pose", f"frame {frame} lacks a hip or a shoulder", expected="finite positions")
    points = torch.where(known[..., None], points, points.new_zeros(()))
    with torch.no_grad():
        rig, place = rig_of_skeleton(body, skeleton)
        shape = torch.from_numpy(np.asarray(betas, np.float64))[None].expand(len(points), -1)
        solved = [points.new_zeros(0, len(SMPL24), 3, 3)]
        for rows in torch.arange(len(points)).split(_CHUNK):
            start = limb_rotations(zero_joints(rig), skeleton, points[rows], known[rows].double())
            problem = _Directions(rig, place.start, skeleton, points[rows], known[rows], shape[rows], start, options)
            solved.append(problem.solve(start))
    return TargetMotion(torch.cat(solved).float(), root_positions(points, skeleton).float())


def root_positions(points: Tensor, skeleton: Skeleton) -> Tensor:
    """The pelvis (T, 3) of joints (T, J, 3): its own joint, or the middle of the hips."""
    if "pelvis" in skeleton:
        return points[:, skeleton.index("pelvis")]
    return points[:, skeleton.indices(("left_hip", "right_hip"))].mean(1)


def place_roots(roots: Tensor, person_root: Tensor, *, absolute: bool = False, scale: float = 1.0) -> Tensor:
    """Where the person's pelvis goes, (T, 3) metres: the target's path begun at the person's own place.

    roots        (T, 3) the target's pelvis; person_root (3,) the person's in the photo
    absolute     take the target's positions as they are
    scale        size of the person relative to the target's body: strides grow with the legs
    """
    if absolute:
        return roots
    return person_root + scale * (roots - roots[:1])


class _Directions:
    """Gauss–Newton on the directions of bones, all frames at once."""

    def __init__(
        self,
        rig: LandmarkRig,
        first: int,
        skeleton: Skeleton,
        points: Tensor,
        known: Tensor,
        betas: Tensor,
        start: Tensor,
        options: RetargetOptions,
    ) -> None:
        self.rig, self.betas, self.start, self.options = rig, betas, start, options
        self.root = points.new_zeros(len(points), 3)
        pairs = _bones(skeleton)
        upper, lower = (torch.tensor([pair[k] for pair in pairs]) for k in (0, 1))
        wanted = points[:, lower] - points[:, upper]
        length = wanted.norm(dim=-1)
        weights = torch.tensor([_weight(skeleton, pair, options) for pair in pairs], dtype=points.dtype)
        self.weights = weights * (known[:, upper] & known[:, lower] & (length > 1e-4))
        self.wanted = normalize(wanted, dim=-1)
        self.upper, self.lower = upper + first, lower + first
        self.at_ease = neutral_rotations().to(points)

    def solve(self, rotations: Tensor) -> Tensor:
        """The best rotations (T, 24, 3, 3), by steps that are kept per frame only where they help."""
        damping = torch.full_like(self.root[:, 0], 1e-3)
        cost, gradient, hessian = self._equations(rotations)
        for _ in range(self.options.steps):
            diagonal = torch.diag_embed(damping[:, None] * (1 + hessian.diagonal(dim1=1, dim2=2)))
            step = -torch.linalg.solve(hessian + diagonal, gradient).unflatten(-1, (-1, 3))
            tried = rotations @ axis_angle_to_matrix(step)
            new_cost, new_gradient, new_hessian = self._equations(tried)
            better = new_cost < cost
            choose = better[:, None, None]
            rotations = torch.where(choose[..., None], tried, rotations)
            gradient = torch.where(better[:, None], new_gradient, gradient)
            hessian, cost = torch.where(choose, new_hessian, hessian), torch.where(better, new_cost, cost)
            damping = torch.where(better, damping / 4, damping * 8).clamp(1e-6, 1e4)
        return rotations

    def _equations(self, rotations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cost (T,), gradient (T, 72) and Gauss–Newton matrix (T, 72, 72)."""
        count = rotations.shape[1] * 3
        posed = self.rig.pose(rotations, self.root, self.betas, jacobian=True)
        assert posed.jacobian is not None
        points, jacobian = posed.points, posed.jacobian[..., :count].transpose(1, 2)  # (T, M, 3, 72)
        bone = points[:, self.lower] - points[:, self.upper]
        length = bone.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        direction = bone / length
        moved = (jacobian[:, self.lower] - jacobian[:, self.upper]) / length[..., None]
        moved = moved - direction[..., None] * (direction[..., None] * moved).sum(-2, keepdim=True)
        residual = direction - self.wanted
        weighted = moved * self.weights[..., None, None]
        hessian = torch.einsum("tbci,tbcj->tij", weighted, moved)
        gradient = torch.einsum("tbci,tbc->ti", weighted, residual)
        cost = (self.weights[..., None] * residual.square()).sum((1, 2))
        for reference, weight in ((self.at_ease, self._ease_weights()), (self.start, self._start_weights())):
            away = matrix_to_axis_angle(reference.mT @ rotations)
            cost = cost + (weight[:, None] * away.square()).sum((1, 2))
            gradient = gradient + (weight[:, None] * away).flatten(1)
            hessian = hessian + torch.diag(weight.repeat_interleave(3))
        return cost, gradient, hessian

    def _ease_weights(self) -> Tensor:
        """(24,) The pelvis faces anywhere; trunk and collars move only as far as they must."""
        weights = self.root.new_full((len(SMPL24),), self.options.at_ease)
        weights[SMPL24.index("pelvis")] = 0
        return weights

    def _start_weights(self) -> Tensor:
        weights = torch.zeros_like(self._ease_weights())
        limbs = [f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "hip", "knee")]
        weights[SMPL24.indices(limbs)] = self.options.start
        return weights


def _bones(skeleton: Skeleton) -> list[tuple[int, int]]:
    bones = list(skeleton.bones)
    for a, b in _CROSS_BONES:
        if a in skeleton and b in skeleton:
            pair = (skeleton.index(a), skeleton.index(b))
            if pair not in bones and pair[::-1] not in bones:
                bones.append(pair)
    return bones


def _weight(skeleton: Skeleton, pair: tuple[int, int], options: RetargetOptions) -> float:
    names = [skeleton.joint_names[row] for row in pair]
    return options.face_weight if any(part in name for part in _FACE for name in names) else 1.0


@dataclass(frozen=True, eq=False)
class JointTarget:
    """Joint positions (T, J, 3) metres, camera axes; frame_rate frames a second, or None."""

    joints: np.ndarray
    skeleton: Skeleton
    frame_rate: float | None = None

    def __len__(self) -> int:
        return len(self.joints)

    def motion(self, body: Body, betas: np.ndarray) -> TargetMotion:
        """The pose on a person's own body of shape betas (S,)."""
        return retarget_joints(body, self.joints, self.skeleton, betas)


@dataclass(frozen=True, eq=False)
class RotationTarget:
    """Rotations of SMPL's joints: poses (T, 72) axis-angle, relative, the pelvis maps body to camera axes.

    trans          (T, 3) metres, camera axes: the pelvis is at `axes_rotation` · pelvis of the rest body + trans
    axes_rotation  (3, 3) from the file's axes to camera axes
    """

    poses: np.ndarray
    trans: np.ndarray
    axes_rotation: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    frame_rate: float | None = None

    def __len__(self) -> int:
        return len(self.poses)

    def motion(self, body: Body, betas: np.ndarray) -> TargetMotion:
        """The same rotations: bodies share a skeleton and the T pose, so none depends on the shape."""
        arrays = (self.poses, self.trans, self.axes_rotation, betas)
        poses, trans, axes, shape = (torch.from_numpy(np.array(array, np.float32)) for array in arrays)
        rotations = axis_angle_to_matrix(poses.unflatten(-1, (len(SMPL24), 3)))
        pelvis = body.rest(shape[None]).joints[0, SMPL24.index("pelvis")]
        return TargetMotion(rotations, trans + axes @ pelvis)


Target = JointTarget | RotationTarget


def target_of_record(record: FitRecord, track: int | None = None) -> RotationTarget:
    """One person of a record as a target, from the first frame that shows them to the last.

    track  None: the largest person. Frames between that do not show them hold the last pose seen.
    """
    chosen = record.largest_track if track is None else track
    rows = record.rows_of(chosen)
    if not len(rows):
        tracks = ", ".join(map(str, record.tracks)) or "nobody"
        raise InputError("target pose", f"has no person {chosen}", expected=tracks)
    frames = record.frame_index[rows]
    held = rows[np.searchsorted(frames, np.arange(frames[0], frames[-1] + 1), side="right") - 1]
    return RotationTarget(record.poses[held], record.trans[held], frame_rate=record.frame_rate or None)


def target_of_pose(pose: TargetPose) -> Target:
    """A pose file's contents as a target; joints that the file does not have are left out."""
    if pose.joints is None:
        assert pose.poses is not None
        assert pose.trans is not None
        assert pose.axes_rotation is not None
        return RotationTarget(pose.poses, pose.trans, pose.axes_rotation, pose.frame_rate)
    assert pose.skeleton is not None
    joints = pose.joints.copy()
    if pose.joint_confidence is not None:
        joints[:, pose.joint_confidence <= 0] = np.nan
    return JointTarget(joints, pose.skeleton, pose.frame_rate)


def read_target(
    path: Path | str,
    fitter: Fitter,
    *,
    skeleton: str | None = None,
    axes: str | None = None,
    frames: FrameRange = ALL_FRAMES,
    progress: Progress = no_progress,
) -> tuple[Target, tuple[str, ...]]:
    """A target in any of its forms, and what the user should know about it.

    path  a pose file (`.npy`, AMASS `.npz`, fit file, `.bvh`), or an image, a video or a folder of frames, whose
          largest person is fitted
    InputError for what is none of these, or shows nobody; UsageError for a range of a pose file.
    """
    if Path(path).suffix.lower() in POSE_SUFFIXES:
        if frames != ALL_FRAMES:
            raise UsageError("--frames", "is only for a driving video or folder of frames", got=str(path))
        pose = read_target_pose(path, skeleton, axes)
        return target_of_pose(pose), pose.warnings
    item = _one_item(path, frames)
    fitter = fitter.for_another_camera()
    with closing(item.frames()) as decoded:
        if item.is_sequence:
            record = fitter.fit_sequence(
                decoded, frame_rate=item.frame_rate, frame_count=item.frame_count, progress=progress
            )
        else:
            frame = next(decoded)
            record = fitter.fit_image(frame.pixels, name=frame.name, focal=frame.focal).record
    if not len(record):
        raise InputError(path, "shows nobody whose pose could be taken", remedy="choose another target")
    return target_of_record(record), ()


def _one_item(path: Path | str, frames: FrameRange) -> InputItem:
    """The one image or sequence that a path names; InputError if there is none, or several."""
    if not Path(path).exists():
        raise InputError(path, "does not exist", expected="a pose file, an image or a video")
    items = list(open_inputs([path], frames=frames))
    if len(items) != 1:
        raise InputError(
            path,
            "is not one pose",
            expected="a pose file, an image, a video or the frames of one sequence",
            got=f"{len(items)} independent images",
        )
    return items[0]
