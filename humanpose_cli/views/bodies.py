"""One body per person from all cameras that show the person: the keypoint fit with the evidence of every view.

The fit is in the axes of the camera that shows the person best. The other views are further rows of the same
least-squares problem. All rows are robust, so that a view with a wrong joint loses weight.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.keypoints import KeypointFit, fit_keypoints
from humanpose_cli.fitting.observations import NO_EVIDENCE, KeypointObservations, OtherView
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.views.cameras import ViewCamera
from humanpose_cli.views.tracks import Array, ViewTrack

_SHAPE_NOISE = 0.45  # standard deviation of the shape components about the mean of the single views
_SHAPE_EVIDENCE = 30  # maximum number of frames that count as independent evidence of shape
_MAX_GAP = 2.0  # seconds without a view of the person that are interpolated
_PELVIS = SMPL24.index("pelvis")
_FIT_COLUMNS = [field.name for field in fields(KeypointFit) if field.default is MISSING]
_CHUNK = 256  # bodies that are posed at once
_UNKNOWN_LEAN = 10.0  # radians; several cameras show the lean of a body, so that no expectation is needed


@dataclass(frozen=True, eq=False)
class PersonEvidence:
    """One person in N frames of a take, with V views. Gaps between visible frames are included.

    Attributes:
        frames: (N,) int. The numbers of the take's frames.
        times: (N,) seconds on the take's clock.
        visible: (V, N) bool. Whether a view shows the person.
        keypoints: (V, N, 33, 3). Pixels and confidence, zero if unknown.
        tracks: The person's tracks in the views.
    """

    frames: NDArray[Any]
    times: Array
    visible: NDArray[np.bool_]
    keypoints: Array
    tracks: list[ViewTrack]

    @property
    def best_view(self) -> int:
        """The view with the most confident keypoints."""
        return int(self.keypoints[..., 2].sum((1, 2)).argmax())

    @property
    def views(self) -> list[int]:
        """The views that show the person."""
        return np.flatnonzero(self.visible.any(1)).tolist()

    def nearest_rows(self, view: int) -> NDArray[Any] | None:
        """Return the rows (N,) of a view's own fit nearest in time; None if the view does not show the person."""
        tracks = [track for track in self.tracks if track.view == view]
        if not tracks or not self.visible[view].any():
            return None
        rows, times = (np.concatenate([getattr(track, name) for track in tracks]) for name in ("rows", "times"))
        return np.asarray(rows[np.abs(self.times[:, None] - times).argmin(1)])


@dataclass(frozen=True, eq=False)
class PersonBodies:
    """The bodies of one person in N frames, in the take's axes.

    Attributes:
        evidence: The evidence to which they were fitted.
        fit: The bodies. Poses and joints are in the take's axes.
        landmarks: (N, 33, 3) metres in the take's axes.
    """

    evidence: PersonEvidence
    fit: KeypointFit
    landmarks: Array


def gather_person(tracks: Sequence[ViewTrack], times: Array, views: int) -> PersonEvidence | None:
    """Gather the evidence of a person in the take's frames.

    Args:
        tracks: The person's tracks in the views.
        times: (F,) seconds. The times of the take's frames.
        views: The number of views.

    Returns:
        The evidence. None if no frame shows the person.
    """
    visible = np.zeros((views, len(times)), bool)
    keypoints = np.zeros((views, len(times), len(BLAZEPOSE33), 3))
    for track in tracks:
        # All photographs of a take show the same moment.
        moments = track.at(times if len(times) > 1 or len(track) > 1 else track.times)
        # If two tracks of a view meet, the one with more frames counts, which comes first.
        new = moments.visible & ~visible[track.view]
        visible[track.view] |= new
        keypoints[track.view][new] = moments.keypoints[new]
    visible_frames = np.flatnonzero(visible.any(0))
    if not len(visible_frames):
        return None
    # Short gaps are interpolated. Longer ones have no rows.
    frames = [visible_frames[:1]]
    for first, second in itertools.pairwise(visible_frames):
        gap = np.arange(first + 1, second + 1)
        frames.append(gap if times[second] - times[first] <= _MAX_GAP else gap[-1:])
    rows = np.concatenate(frames)
    return PersonEvidence(rows, times[rows], visible[:, rows], keypoints[:, rows], list(tracks))


def solve_person_in_views(
    body: Body,
    evidence: PersonEvidence,
    fits: Sequence[Fit],
    cameras: Sequence[ViewCamera],
    keypoint_options: KeypointFitOptions,
    before: PersonBodies | None = None,
    progress: Progress = no_progress,
) -> PersonBodies:
    """Fit the bodies of one person to all views.

    Args:
        body: The body.
        evidence: The evidence of the person.
        fits: The fits of the single views, whose poses are the start.
        cameras: The cameras of the views.
        keypoint_options: Options of the keypoint fit.
        before: A solution with earlier cameras, which replaces the start.
        progress: Called with (done, total, unit).
    """
    # The problem is in the axes of the camera that shows the person best. The others are further rows of it.
    best = evidence.best_view
    main = cameras[best]
    start = _single_view(evidence, fits[best], best) if before is None else _turned(before.fit, main.matrix)
    fitting = replace(
        keypoint_options,
        lift=False,
        lean_noise=_UNKNOWN_LEAN,
        min_confidence=0.1,
        # The start's shape has no weight, because it would count in every frame, and again in every refinement.
        predicted_shape=NO_EVIDENCE,
        shape_evidence=_SHAPE_EVIDENCE,
    )
    count = len(evidence.frames)
    shape = _mean_shape(evidence, fits)
    observations = KeypointObservations(
        keypoints=_tensor(evidence.keypoints[best, ..., :2]),
        confidence=_tensor(evidence.keypoints[best, ..., 2]),
        focal=_tensor(np.full(count, main.focal)),
        principal_point=_tensor(np.tile(main.principal_point, (count, 1))),
        image_size=_tensor(np.tile(main.size, (count, 1))),
        predicted_poses=_tensor(start.poses),
        predicted_betas=_tensor(start.betas),
        predicted_joints=_tensor(start.joints3d),
        predicted_noise=_tensor(np.full((count, len(SMPL24), 2), NO_EVIDENCE)),  # a start alone, without weight
        shape_mean=_tensor(np.tile(shape, (count, 1))),
        shape_noise=_tensor(np.full((count, len(shape)), _SHAPE_NOISE)),
        views=tuple(_other_view(evidence, cameras[view], main, view) for view in evidence.views if view != best),
        shape_group=_tensor(np.zeros(count)) if count > 1 else None,
        frame=_tensor(evidence.frames) if count > 1 else None,
        time=_tensor(evidence.times) if count > 1 else None,
    )
    solution = fit_keypoints(body, observations, fitting, progress)
    fit = _turned(solution, _inverse(main.matrix))
    return PersonBodies(evidence, fit, landmarks_of(body, fit))


def moved_person(body: Body, evidence: PersonEvidence, fit: Fit, camera: ViewCamera) -> PersonBodies:
    """Move the bodies of a person that one camera alone shows from the fit of this camera to the take's axes.

    The take's camera may have another focal length than the fit's. Bodies keep their size and position in the image.
    """
    single = _single_view(evidence, fit, evidence.best_view)
    lens = fit.camera(0)
    pelvis = single.joints3d[:, _PELVIS].astype(np.float64)
    depth = pelvis[:, 2:] * camera.focal / lens.focal
    lateral = (lens.project(pelvis) - np.asarray(camera.principal_point)) / camera.focal * depth
    shift = (np.concatenate((lateral, depth), 1) - pelvis).astype(np.float32)
    in_camera = replace(single, joints3d=single.joints3d + shift[:, None], trans=single.trans + shift)
    in_take = _turned(in_camera, _inverse(camera.matrix))
    return PersonBodies(evidence, in_take, landmarks_of(body, in_take))


def _inverse(matrix: Array) -> Array:
    """Invert a rigid matrix (4, 4)."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = (-inverse[:3, :3] @ matrix[:3, 3:])[:, 0]
    return inverse


def _other_view(evidence: PersonEvidence, camera: ViewCamera, main: ViewCamera, view: int) -> OtherView:
    """Make the observations of a camera relative to the main one."""
    count = len(evidence.frames)
    relative = np.broadcast_to(camera.matrix @ _inverse(main.matrix), (count, 4, 4))
    return OtherView(
        rotation=_tensor(relative[:, :3, :3]),
        translation=_tensor(relative[:, :3, 3]),
        focal=_tensor(np.full(count, camera.focal)),
        principal_point=_tensor(np.tile(camera.principal_point, (count, 1))),
        keypoints=_tensor(evidence.keypoints[view, ..., :2]),
        weights=_tensor(evidence.keypoints[view, ..., 2]),
    )


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float64))


def _single_view(evidence: PersonEvidence, fit: Fit, view: int) -> KeypointFit:
    """Select the rows of a single view's fit that are nearest in time to the evidence's."""
    nearest = evidence.nearest_rows(view)
    return KeypointFit(**{name: getattr(fit, name)[nearest] for name in _FIT_COLUMNS})


def _mean_shape(evidence: PersonEvidence, fits: Sequence[Fit]) -> Array:
    """Average the betas (S,) of the single views' fits. Each of them has one shape for all frames."""
    shapes = [
        np.concatenate([fits[view].betas[track.rows] for track in evidence.tracks if track.view == view]).mean(0)
        for view in evidence.views
    ]
    return np.mean(shapes, axis=0, dtype=np.float64)


def _turned(fit: KeypointFit, matrix: Array) -> KeypointFit:
    """Move the bodies to other axes by a matrix (4, 4). Their pixels stay."""
    joints = fit.joints3d.astype(np.float64)
    rotation = matrix[:3, :3]
    shift = matrix[:3, 3]
    params = BodyParams(fit.poses, fit.betas, fit.trans).in_axes(rotation, shift, joints[:, _PELVIS] - fit.trans)
    return replace(
        fit,
        poses=params.poses.astype(np.float32),
        joints3d=(joints @ rotation.T + shift).astype(np.float32),
        trans=params.trans.astype(np.float32),
    )


def landmarks_of(body: Body, fit: KeypointFit | FitRecord) -> Array:
    """Compute BlazePose's landmarks (N, 33, 3), in metres, on the bodies."""
    parts: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, max(len(fit.poses), 1), _CHUNK):
            rows = slice(start, start + _CHUNK)
            betas = torch.from_numpy(fit.betas[rows])
            trans = torch.from_numpy(fit.trans[rows])
            scales = torch.from_numpy(fit.segment_scales[rows])
            rotations = axis_angle_to_matrix(torch.from_numpy(fit.poses[rows]).unflatten(1, (len(SMPL24), 3)))
            pose = body.pose(rotations, betas, trans, scales, vertices=False)
            parts.append(body.pose_landmarks(BLAZEPOSE33.name, pose, betas))
    return torch.cat(parts).double().numpy()
