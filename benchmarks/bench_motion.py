"""Motions of one solve per person on motion capture: errors, standing feet and the peaks of sudden movements.

Up to sixty frames (30 a second) of motions of the pose library, held-out ones where an activity has some, 6 m before
the camera. Landmarks have Gaussian noise of 3 pixels and world landmarks of 3 cm, each smoothed over three frames as
errors of networks are; 3 % of the landmarks are off by 30 pixels. Errors in mm: of joints about the pelvis, of their
second differences a frame², and the way of the truth's standing feet (slower than .15 m/s) a frame. `peak` is the
largest acceleration of wrists and ankles over the true one.

`python benchmarks/bench_motion.py 2` gives the solver every second frame, and the others the bodies between.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.limb_rotations import BODY_FACING_CAMERA
from humanpose_cli.body.pose_library import Motion, pose_library
from humanpose_cli.core.camera import Camera, project
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.keypoints import fit_keypoints
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.fitting.unsearched_frames import complete_bodies
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, viewing_rotation

FRAMES, DISTANCE, FOCAL, SIDE = 60, 6.0, 1200.0, 1024
NOISE, WORLD_NOISE, OUTLIERS, OUTLIER = 3.0, 0.03, 0.03, 30.0
ACTIVITIES = ("walking", "running", "jumping", "soccer", "basketball", "directing_traffic")
FEET = SMPL24.indices([f"{side}_{name}" for side in ("left", "right") for name in ("ankle", "foot")])
ENDS = SMPL24.indices([f"{side}_{name}" for side in ("left", "right") for name in ("wrist", "ankle")])


def motion_of(activity: str) -> Motion:
    """The beginning of the first of the longest motions of an activity, of the held-out ones if there are some."""
    library = pose_library()
    motions = list(library.motions(activity=activity, split="held_out")) or list(library.motions(activity=activity))
    motion = max(motions, key=lambda one: min(len(one), FRAMES))
    return replace(motion, poses=motion.poses[:FRAMES], pelvis=motion.pelvis[:FRAMES])


def smoothed_noise(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Of unit standard deviation, over the first axis."""
    white = random.normal(size=(shape[0] + 2, *shape[1:]))
    return (0.5 * white[:-2] + white[1:-1] + 0.5 * white[2:]) / np.sqrt(1.5)


def scene(body: Body, motion: Motion) -> tuple[KeypointObservations, np.ndarray]:
    """What a detector sees of a motion, and its joints (T, 24, 3) in camera axes."""
    random, count = np.random.default_rng(0), len(motion)
    rotations = axis_angle_to_matrix(motion.poses.unflatten(-1, (len(SMPL24), 3)))
    turn = BODY_FACING_CAMERA.float() @ axis_angle_to_matrix(torch.tensor([0.0, 0.7, 0.0]))
    rotations[:, 0] = turn @ rotations[:, 0]
    path = (motion.pelvis - motion.pelvis.mean(0)) @ turn.mT + torch.tensor([0.0, 0.0, DISTANCE])
    betas = torch.zeros(count, body.shape_count)
    posed = body.pose(rotations, betas, path, vertices=False)
    points = body.pose_landmarks("blazepose33", posed, betas).double()
    focal, centre = torch.full((count,), FOCAL).double(), torch.full((count, 2), SIDE / 2).double()
    pixels = project(points, focal, centre)
    hips = BLAZEPOSE33.indices(("left_hip", "right_hip"))
    world = (points - points[:, hips].mean(1, keepdim=True)) @ viewing_rotation(pixels[:, hips].mean(1), focal, centre)
    keypoints = pixels.numpy() + NOISE * smoothed_noise(random, tuple(pixels.shape))
    wrong = random.random(keypoints.shape[:2]) < OUTLIERS
    keypoints[wrong] += OUTLIER * random.normal(size=(int(wrong.sum()), 2))
    values: dict[str, Any] = {
        "keypoints": keypoints,
        "confidence": np.ones(keypoints.shape[:2]),
        "focal": focal.numpy(),
        "principal_point": centre.numpy(),
        "image_size": np.full((count, 2), SIDE),
        "skeleton": BLAZEPOSE33.name,
        "world": world.numpy() + WORLD_NOISE * smoothed_noise(random, tuple(world.shape)),
        "shape_group": np.zeros(count, int),
        "frame": np.arange(count),
        "time": np.arange(count) / motion.frame_rate,
    }
    return KeypointObservations(**values), posed.joints.numpy()


def fit_with_gaps(body: Body, observed: KeypointObservations, gap: int) -> np.ndarray:
    """Joints (T, 24, 3) of a fit to every `gap`-th frame and the last."""
    assert observed.time is not None
    count = len(observed)
    searched = sorted({*range(0, count, gap), count - 1})
    rows = observed.rows(torch.tensor(searched))
    bodies = fit_keypoints(body, replace(rows, frame=torch.arange(len(rows))))
    views = [Camera.of_image((SIDE, SIDE), FOCAL)] * count
    cameras = [FrameCamera("", view, time) for view, time in zip(views, observed.time.tolist(), strict=True)]
    nothing = np.zeros(len(BLAZEPOSE33), np.float32)
    person = DetectedPerson(nothing[:4], np.zeros((len(nothing), 3)), None, nothing, None, None, 1.0)
    people = [replace(person, frame=frame) for frame in range(count)]
    return complete_bodies(body, people, cameras, searched, bodies).joints3d


def errors(fitted: np.ndarray, truth: np.ndarray, frame_rate: float) -> dict[str, float]:
    """Figures of a row."""
    relative = (fitted - fitted[:, :1]) - (truth - truth[:, :1])
    steps = np.linalg.norm(np.diff(fitted[:, FEET], axis=0), axis=-1)
    standing = np.linalg.norm(np.diff(truth[:, FEET], axis=0), axis=-1) * frame_rate < 0.15
    peaks = [np.linalg.norm(np.diff(joints[:, ENDS], 2, axis=0), axis=-1).max() for joints in (fitted, truth)]
    return {
        "mpjpe_mm": float(1e3 * np.linalg.norm(relative, axis=-1).mean()),
        "acceleration_mm": float(1e3 * np.linalg.norm(np.diff(fitted - truth, 2, axis=0), axis=-1).mean()),
        "standing_feet_mm": float(1e3 * steps[standing].mean()),
        "peak": float(peaks[0] / peaks[1]),
    }


def main() -> None:
    """One row an activity."""
    gap, body = int(sys.argv[1]) if len(sys.argv) > 1 else 1, default_body()
    for activity in ACTIVITIES:
        motion = motion_of(activity)
        observed, truth = scene(body, motion)
        joints = fit_with_gaps(body, observed, gap)
        print(json.dumps({"name": activity, **errors(joints, truth, motion.frame_rate)}), flush=True)


if __name__ == "__main__":
    main()
