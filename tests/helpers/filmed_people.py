"""People of the pose library before several cameras, and what fits of the single cameras would make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch

from helpers.fit_values import fit_of_rows
from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.calibrations import CalibratedCamera, Calibration
from humanpose_cli.views.calibrated import CalibratedViews, calibrated_views
from humanpose_cli.views.cameras import ViewCamera

RATE = 30.0  # frames a second of all cameras
SIZE = (1280, 720)
PELVIS = SMPL24.index("pelvis")


def camera_at(angle: float, distance: float = 4.5, focal: float = 1100.0, height: float = 1.5) -> ViewCamera:
    """One that looks at the middle of the world, 1 m above the floor, from `angle` degrees round it; y points down."""
    turn = np.radians(angle)
    centre = np.array((distance * np.sin(turn), -height, -distance * np.cos(turn)))
    ahead = np.array((0.0, -1.0, 0.0)) - centre
    ahead /= np.linalg.norm(ahead)
    right = np.cross((0.0, 1.0, 0.0), ahead)
    right /= np.linalg.norm(right)
    rotation = np.stack((right, np.cross(ahead, right), ahead))
    return ViewCamera(rotation, -rotation @ centre, focal, (SIZE[0] / 2, SIZE[1] / 2), SIZE)


@dataclass(frozen=True)
class Filmed:
    """A take with shown truth.

    fits     of the single cameras
    cameras  the true ones, world to camera
    offsets  seconds of their clocks
    joints   (P, F, 24, 3) metres in the world, at the frames of the first camera
    """

    fits: list[Fit]
    cameras: list[ViewCamera]
    joints: np.ndarray
    offsets: list[float] = field(default_factory=list)


@lru_cache(maxsize=8)
def _motion(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Poses, pelvises (y down), joints and landmarks of one clip of walking or the like, about the origin."""
    clips = [clip for clip in pose_library().clips if len(clip) / clip.frame_rate >= 3]
    clip, body = clips[number], default_body()
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotations = axis_angle_to_matrix(clip.poses.float().unflatten(1, (24, 3)))
    rotations[:, 0] = flip @ rotations[:, 0]
    pelvis = clip.pelvis.float() @ flip.T
    pelvis = pelvis - torch.cat((pelvis[:1, :1], torch.zeros(1, 1), pelvis[:1, 2:]), 1)
    betas = torch.zeros(len(clip), 10)
    trans = body.translation_of_root(pelvis, betas[:1])
    with torch.no_grad():
        posed = body.pose(rotations, betas, trans, vertices=False)
        landmarks = body.pose_landmarks(BLAZEPOSE33.name, posed, betas)
    poses = matrix_to_axis_angle(rotations).flatten(1).numpy()
    return poses, trans.numpy(), posed.joints.numpy(), landmarks.numpy(), clip.frame_rate


def film(
    cameras: Sequence[ViewCamera],
    people: Sequence[tuple[int, tuple[float, float]]] = ((0, (0.0, 0.0)),),
    *,
    frames: int = 40,
    offsets: Sequence[float] = (),
    noise: float = 0.5,
    lean: float = 6.0,
    hidden: Sequence[tuple[int, int]] = (),
    clothes: Sequence[tuple[float, float, float]] = (),
    seed: int = 0,
) -> Filmed:
    """Fits of single cameras whose bodies lean in depth by `lean` degrees, as those of one camera do.

    people   clip of the pose library and position on the floor of each
    offsets  seconds that the cameras' clocks are ahead; noise: pixels of the keypoints
    hidden   (view, person) that a camera does not show; clothes: CIELAB colour of each person
    """
    random, fits = np.random.default_rng(seed), []
    offsets = list(offsets) or [0.0] * len(cameras)
    start = max(max(offsets), 0.0) + 0.1
    truth = [_at(number, start + np.arange(frames) / RATE)[2] + _ground_point(position) for number, position in people]
    for view, camera in enumerate(cameras):
        # A clock that is ahead shows a later time at the same moment: frame k was taken at k / RATE − offset.
        times = start + np.arange(frames) / RATE - offsets[view]
        shown = [person for person in range(len(people)) if (view, person) not in hidden]
        rows = [_row(camera, *people[person], times, random, noise, lean) for person in shown]
        colours = {track: np.tile((*clothes[person], 1.0), (6, 1)) for track, person in enumerate(shown) if clothes}
        fits.append(replace(_fit(camera, rows, frames), clothes=colours))
    return Filmed(fits, list(cameras), np.stack(truth), offsets)


def _ground_point(position: tuple[float, float]) -> np.ndarray:
    return np.array((position[0], 0.0, position[1]))


def _at(number: int, times: np.ndarray) -> tuple[np.ndarray, ...]:
    """Poses (nearest), and trans, joints, landmarks (linear) at some times."""
    poses, *points, rate = _motion(number)
    at = times * rate
    low = np.floor(at).astype(int).clip(0, len(poses) - 2)
    share = at - low
    mixed = [
        (1 - share).reshape(-1, *[1] * (v.ndim - 1)) * v[low] + share.reshape(-1, *[1] * (v.ndim - 1)) * v[low + 1]
        for v in points
    ]
    return (poses[np.rint(at).astype(int).clip(0, len(poses) - 1)], *mixed)


def camera_landmarks(camera: ViewCamera, number: int, times: np.ndarray) -> np.ndarray:
    """Landmarks of a clip of the pose library about the hips, in the axes of a camera."""
    landmarks = _at(number, times)[3]
    hips = landmarks[:, [BLAZEPOSE33.index("left_hip"), BLAZEPOSE33.index("right_hip")]].mean(1, keepdims=True)
    return (landmarks - hips) @ camera.rotation.T


def _row(camera, number, position, times, random, noise, lean):
    poses, trans, joints, landmarks = _at(number, times)
    shift = _ground_point(position)
    pixels = camera.project(landmarks + shift) + random.normal(0, noise, (len(times), 33, 2))
    in_camera = camera.to_camera(joints + shift)
    root = axis_angle_to_matrix(torch.from_numpy(poses[:, :3])).numpy()
    tilt = axis_angle_to_matrix(torch.tensor([np.radians(lean * random.choice((-1, 1))), 0.0, 0.0])).double().numpy()
    pelvis = in_camera[:, [PELVIS]]
    leaning = (in_camera - pelvis) @ tilt.T + pelvis * random.uniform(0.93, 1.07)
    turned = matrix_to_axis_angle(torch.from_numpy(tilt @ camera.rotation @ root)).numpy()
    rest = joints[:, PELVIS] - trans
    low, high = pixels.min(1), pixels.max(1)
    return {
        "poses": np.concatenate((turned, poses[:, 3:]), 1),
        "trans": leaning[:, PELVIS] - rest,
        "joints3d": leaning,
        "joints2d": camera.focal * leaning[..., :2] / leaning[..., 2:] + np.asarray(camera.principal_point),
        "keypoints2d": np.concatenate((pixels, np.full((len(times), 33, 1), 0.9)), -1),
        "boxes": np.concatenate((low, high), 1),
    }


def _fit(camera: ViewCamera, people: list[dict[str, np.ndarray]], frames: int) -> Fit:
    names, count = [f"{i:06d}" for i in range(frames)], frames * len(people)
    if not people:
        return Fit.empty(names, [camera.size] * frames, [0.9 * SIZE[0]] * frames)
    return fit_of_rows(
        Fit,
        names,
        camera.size,
        0.9 * SIZE[0],
        **{name: np.concatenate([person[name] for person in people]) for name in people[0]},
        track_id=np.repeat(np.arange(len(people)), frames),
        frame_index=np.tile(np.arange(frames), len(people)),
        confidence=np.full(count, 0.8),
        joint_confidence=np.full((count, 24), 0.8),
        reprojection_error=np.ones(count),
        frame_rate=RATE,
    )


def calibration_of(cameras: Sequence[ViewCamera], names: Sequence[str], *, factor: float = 1.0) -> Calibration:
    """A calibration of cameras, whose lengths are so many times those in metres; its unit is unknown."""
    result = {}
    for name, camera in zip(names, cameras, strict=True):
        matrix = np.diag((camera.focal, camera.focal, 1.0))
        matrix[:2, 2] = camera.principal_point
        shift = camera.translation * factor
        result[name] = CalibratedCamera(name, camera.size, matrix, np.zeros(5), camera.rotation, shift)
    return Calibration(result, None, "z")


def calibrated(cameras: Sequence[ViewCamera], names: Sequence[str] = "abcd", *, factor: float = 1.0) -> CalibratedViews:
    """The calibrated cameras of the views a, b …; `names` of the cameras."""
    names, views = names[: len(cameras)], [view for view in "abcd" if view in names[: len(cameras)]]
    return calibrated_views(calibration_of(cameras, names, factor=factor), views, [SIZE] * len(views))
