"""The fit of a take: rows in the axes of the first camera, and the evidence of each view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import torch

from humanpose_cli.avatar.ground import straight_legs
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import BLAZEPOSE33, FINGERS, SMPL24
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.stature import statures
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.take_views import TakeViews
from humanpose_cli.views.bodies import PersonBodies, landmarks_of
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.take import Take
from humanpose_cli.views.tracks import Array, clock_times

SCALE_UNCERTAINTY = {"calibration": 0.0, "height": 0.01, "bodies": 0.06}
"""Uncertainty of a take's scale by its source. A calibration counts as exact, a height as measured to 1 %. Sizes from
bodies were wrong by 5.6 % (root mean square, 11 rendered takes of two adults), and by 1 to 3 % for a real man."""
_PELVIS, _NECK = SMPL24.indices(("pelvis", "neck"))
_KNUCKLES = SMPL24.indices(("left_hand", "right_hand"))
_ANKLES = list(SMPL24.indices(("left_ankle", "right_ankle")))
_SOLES = BLAZEPOSE33.indices([f"{side}_{end}" for side in ("left", "right") for end in ("heel", "foot_index")])
_CONFIDENT = 0.5  # confidence of the landmarks by which the error of a view is measured, if there are any
_MIN_DEPTH = 0.1  # metres
_LANDMARK_NOISE = 0.02  # metres, noise level of a confident landmark
_HALF_WEIGHT = 3.0  # noise levels at which a landmark counts half
_GROUND_QUANTILE = 0.8  # of the soles' depths, because some people leap and some frames are wrong


def take_fit(
    take: Take,
    fits: Sequence[Fit],
    names: Sequence[str],
    body: Body,
    options: ViewsOptions,
    height: float | None = None,
    to_first: Array | None = None,
    *,
    calibrated: bool = False,
) -> Fit:
    """Make the fit of a take in a world whose y axis points down and whose ground is y = 0.

    `options.scale` of the fit has the source of the scale and its uncertainty as a share.

    Args:
        take: The take.
        fits: The fits of all views. `take.used` are used.
        names: The names of all views.
        body: The body.
        options: The options that are stored in the fit.
        height: Metres. The height of the largest person when standing. None keeps the size that the bodies suggest.
        to_first: (4, 4). From a calibration's world, whose y axis points down, to the first camera's axes. None takes
            the world from the people.
        calibrated: Whether a calibration gives the scale.
    """
    fits = [fits[number] for number in take.used]
    names = [names[number] for number in take.used]
    frame_files = tuple(files for fit in fits for files in fit.current_frame_files[:1])
    first = fits[0]
    camera, count = take.cameras[0], first.frame_count
    scale = height / standing_height(body, take.people[0]) if height is not None and take.people else 1.0
    frames = [
        _nearest_frames(camera.on_clock(clock_times(fit)), take.times)
        for fit, camera in zip(fits, take.cameras, strict=True)
    ]
    parts = [_rows(person, track, take, fits, body, scale) for track, person in enumerate(take.people)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    view_columns = {name: columns.pop(name).swapaxes(0, 1) for name in list(columns) if name.startswith("view_")}
    views = TakeViews.build(
        names=names,
        image_size=[camera.size for camera in take.cameras],
        focal=[camera.focal for camera in take.cameras],
        principal_point=[camera.principal_point for camera in take.cameras],
        from_first=[_scaled(camera.matrix, scale) for camera in take.cameras],
        offset=[camera.offset for camera in take.cameras],
        frame=frames,
        frame_names=[np.where(row >= 0, fit.frame_names[row], "") for fit, row in zip(fits, frames, strict=True)],
        **{name.removeprefix("view_"): values for name, values in view_columns.items()},
    )
    world = _world_to_first(take.people, scale) if to_first is None else _scaled(to_first, scale)
    source = "calibration" if calibrated else "bodies" if height is None else "height"
    fit = Fit.build(
        **columns,
        views=views,
        frame_names=first.frame_names,
        shot_id=np.zeros(count),
        image_size=first.image_size,
        focal=np.full(count, camera.focal),
        principal_point=np.tile(camera.principal_point, (count, 1)),
        world_to_camera=np.tile(world, (count, 1, 1)),
        frame_rate=first.frame_rate,
        frame_times=first.frame_times,
        gender=first.gender,
        body=first.body,
        options=replace(
            first.options.without_frames(),
            settings={**first.options.settings, "views": asdict(options)},
            messages=take.messages,
            doubts=take.doubts or first.options.doubts,
            upright=True,
            scale={"source": source, "uncertainty": SCALE_UNCERTAINTY[source]},
        ),
        sources=tuple(fit.images for fit in fits),
        frame_files=frame_files if len(frame_files) == len(fits) else (),
        model=body,
    )
    return with_view_errors(fit, body)


def with_view_errors(fit: Fit, body: Body) -> Fit:
    """Add the reprojection errors and weights of the bodies to the views of a fit, and their median to its rows.

    The weight is that of a landmark in the solver (Geman and McClure), 0 to 1, averaged over a view's landmarks. A fit
    of one camera does not change.
    """
    if fit.views is None:
        return fit
    landmarks = landmarks_of(body, fit)
    errors, weights = (np.full((len(fit.cameras), len(fit)), np.nan) for _ in range(2))
    for number, camera in enumerate(fit.cameras):
        keypoints = camera.keypoints2d.astype(np.float64)
        points = camera.see(landmarks, fit.frame_index)
        distance = np.linalg.norm(camera.lens.project(points) - keypoints[..., :2], axis=-1)
        # Most doubtful landmarks are hidden, so that their positions are guesses.
        is_used = keypoints[..., 2] > _CONFIDENT
        is_used = np.where(is_used.any(1, keepdims=True), is_used, keypoints[..., 2] > 0)
        rows = is_used.any(1)
        levels = distance * points[:, :1, 2].clip(_MIN_DEPTH) / camera.focal[0] / _LANDMARK_NOISE
        weight = _HALF_WEIGHT**2 / (_HALF_WEIGHT**2 + levels**2)
        errors[number, rows] = np.nanmedian(np.where(is_used, distance, np.nan)[rows], axis=1)
        weights[number, rows] = np.nanmean(np.where(is_used, weight, np.nan)[rows], axis=1)
    median = np.zeros(len(fit))
    visible = np.isfinite(errors).any(0)
    median[visible] = np.nanmedian(errors[:, visible], axis=0)
    error, weight = (np.nan_to_num(values).astype(np.float32) for values in (errors, weights))
    views = replace(fit.views, reprojection_error=error, weight=weight)
    return replace(fit, views=views, reprojection_error=median.astype(np.float32))


def _world_to_first(people: Sequence[PersonBodies], scale: float) -> Array:
    """Find the matrix (4, 4) from the world, whose origin is below the first person, to the first camera."""
    matrix = np.eye(4)
    if not people:
        return matrix
    # Down is from the necks to the ankles if legs are straight, else to the pelvis, because the feet of sitting people
    # are in front of them.
    joints = np.concatenate([person.fit.joints3d for person in people]).astype(np.float64)
    straight = straight_legs(torch.from_numpy(joints)).numpy()
    lines = np.where(straight[:, None], joints[:, _ANKLES].mean(1), joints[:, _PELVIS]) - joints[:, _NECK]
    down = np.median(lines / np.linalg.norm(lines, axis=1, keepdims=True), axis=0)
    down /= np.linalg.norm(down)
    # Forward is where the first camera looks, or its upper edge if it looks down.
    forward = np.array((0.0, 0.0, 1.0)) - down[2] * down
    forward = np.array((0.0, -1.0, 0.0)) + down[1] * down if np.linalg.norm(forward) < 0.1 else forward
    forward /= np.linalg.norm(forward)
    soles = np.concatenate([person.landmarks[:, list(_SOLES)] @ down for person in people]) * scale
    origin = people[0].fit.joints3d[0, _PELVIS].astype(np.float64) * scale
    origin += (np.quantile(soles.max(1), _GROUND_QUANTILE) - origin @ down) * down
    matrix[:3, :3] = np.stack((np.cross(down, forward), down, forward), 1)  # columns: the world's axes
    matrix[:3, 3] = origin
    return matrix


def standing_height(body: Body, person: PersonBodies) -> float:
    """Measure the height in metres, from the soles to the crown, of a person's body at rest."""
    return float(statures(body, torch.from_numpy(person.fit.betas[:1])))


def _scaled(matrix: Array, scale: float) -> Array:
    result = matrix.copy()
    result[..., :3, 3] *= scale
    return result


def _nearest_frames(moments: Array, times: Array) -> Array:
    """Find the frame (F,) of a view nearest to each time of the take. −1 if there is none within a frame."""
    if len(moments) == 1:
        return np.zeros(len(times), int)
    nearest = np.abs(moments - times[:, None]).argmin(1)
    distance = np.abs(moments[nearest] - times)
    return np.where(distance <= np.diff(moments).max(), nearest, -1)


def _rows(
    person: PersonBodies, track: int, take: Take, fits: Sequence[Fit], body: Body, scale: float
) -> dict[str, np.ndarray]:
    """Return the columns of one person. Columns of views begin with `view_` and have the rows first."""
    evidence = person.evidence
    hands = _hands(person, fits)
    fit = _with_straight_knuckles(body, person.fit) if hands else person.fit
    count = len(evidence.frames)
    joints = fit.joints3d.astype(np.float64) * scale
    rest = fit.joints3d[:, _PELVIS].astype(np.float64) - fit.trans
    boxes = np.stack([_boxes(person, view, fits[view], take) for view in range(len(take.cameras))])
    pixels = take.cameras[0].project(joints / scale)
    inside = np.clip(pixels, 0, take.cameras[0].size)
    joint_boxes = np.concatenate((inside.min(1), inside.max(1)), 1)
    view_zeros = np.zeros((count, len(take.cameras)))  # replaced by `with_view_errors`
    return {
        **hands,
        "track_id": np.full(count, track),
        "frame_index": evidence.frames,
        "interpolated": ~evidence.visible.any(0),
        "poses": fit.poses,
        "betas": fit.betas,
        "trans": joints[:, _PELVIS] - rest,
        "segment_scales": fit.segment_scales * np.float32(scale),
        "joints3d": joints,
        "joints2d": pixels.clip(-1e6, 1e6),
        "keypoints2d": evidence.keypoints[0],
        "boxes": np.where(evidence.visible[0][:, None], boxes[0], joint_boxes),
        "confidence": fit.confidence,
        "joint_confidence": fit.joint_confidence,
        "reprojection_error": np.zeros(count),
        "view_keypoints2d": evidence.keypoints.swapaxes(0, 1),
        "view_boxes": boxes.swapaxes(0, 1),
        "view_reprojection_error": view_zeros,
        "view_weight": view_zeros,
    }


def _with_straight_knuckles(body: Body, fit: KeypointFit) -> KeypointFit:
    """Leave the bending of the fingers to `hand_poses`."""
    poses, joints = fit.poses.copy(), fit.joints3d.copy()
    poses.reshape(len(poses), -1, 3)[:, _KNUCKLES] = 0
    rotations = axis_angle_to_matrix(torch.from_numpy(poses).unflatten(1, (-1, 3)))
    values = (torch.from_numpy(each) for each in (fit.betas, fit.trans, fit.segment_scales))
    joints[:, _KNUCKLES] = body.pose(rotations, *values, vertices=False).joints[:, _KNUCKLES].numpy()
    return replace(fit, poses=poses, joints3d=joints)


def _boxes(person: PersonBodies, view: int, fit: Fit, take: Take) -> Array:
    """Select the boxes (N, 4) of a view's own fit nearest in time. Zeros if the view does not show the person."""
    rows = person.evidence.nearest_rows(view)
    if rows is None:
        return np.zeros((len(person.evidence.frames), 4))
    return np.where(person.evidence.visible[view][:, None], fit.boxes[rows], 0.0)


def _hands(person: PersonBodies, fits: Sequence[Fit]) -> dict[str, np.ndarray]:
    """Return the columns of hands, of the surer views, which blend where one takes over; {} if a view has none."""
    visible = person.evidence.visible
    total, best = np.zeros((2, visible.shape[1], 2))
    poses = np.zeros((*best.shape, len(FINGERS), 3))
    for view, fit in enumerate(fits):
        if fit.hand_poses is None or fit.hand_confidence is None:
            return {}
        if (rows := person.evidence.nearest_rows(view)) is not None:
            confidence = fit.hand_confidence[rows] * visible[view][:, None]
            weight = confidence**4.0 + np.where(visible[view][:, None], 1e-6, 1e-12)
            poses += weight[..., None, None] * fit.hand_poses[rows]
            total, best = total + weight, np.maximum(best, confidence)
    return {"hand_poses": (poses / total[..., None, None]).astype(np.float32), "hand_confidence": best}
