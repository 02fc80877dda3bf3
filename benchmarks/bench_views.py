"""Takes of three unknown cameras: two dressed bodies that move by held-out activities, rendered, with known truth.

The cameras stand all round, 2.5 m at least from everybody and 0.8 to 2.6 m high, with lenses of 0.75 to 1.3 times the
longer side, 45° at least from each other's lines of sight, and their clocks differ by up to a second in steps of a
quarter of a frame. Each is a video; `hpc combine`
gets no more than these. Joints are compared in the world after one similarity for the whole take, people where two
cameras or more show them. A body is switched where it lies nearer to the other person in a frame of the first camera;
a view's landmarks are where the view shows the other one.

    python benchmarks/bench_views.py [takes [seed]]      default: 20 2026
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.similarity import procrustes_align
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.lab.cache.label_maps import labels_of
from humanpose_cli.lab.synthetic.backgrounds import sample_background
from humanpose_cli.lab.synthetic.cameras import (
    CameraOptions,
    SceneCamera,
    sample_camera,
    sample_degradation,
    sample_lighting,
)
from humanpose_cli.lab.synthetic.dressing import dress_identity
from humanpose_cli.lab.synthetic.mesh import DressedMesh
from humanpose_cli.lab.synthetic.people import sample_identity, sample_outfit
from humanpose_cli.lab.synthetic.poses import on_floor, sample_motion, turn_motion
from humanpose_cli.lab.synthetic.renderer import SceneRenderer
from humanpose_cli.lab.synthetic.scene import SceneDescription, StagedPerson
from humanpose_cli.views.solver import TakeSolver

SIZE = (720, 960)  # height, width
RATE, FRAMES, FINE = 30, 60, 4  # frames a second, of a video; moments of the truth to a frame
CAMERA = CameraOptions(focal=(0.75, 1.3), fill=(0.55, 0.8), cut=0.0, roll=0.02, off_centre=0.0)
NEAREST, HEIGHTS = 2.5, (0.8, 2.6)  # metres from a joint to a camera, and above the floor
BETWEEN = math.radians(45)  # the least angle between two lines of sight, also of cameras that face each other
APART = 0.6  # metres between two pelvises
BODY, PELVIS = default_body(), SMPL24.index("pelvis")


@dataclass(frozen=True)
class Actor:
    """A person in a y-up world in metres, at `RATE * FINE` frames per second.

    Attributes:
        mesh: The dressed person.
        betas: (10,) float32. Shape.
        rotations: (T, 24, 3, 3) float32. Parent-relative rotations.
        trans: (T, 3) float32. Translation.
        joints: (T, 24, 3) float. Joints.
        landmarks: (T, 33, 3) float. BlazePose's landmarks.
    """

    mesh: DressedMesh
    betas: torch.Tensor
    rotations: torch.Tensor
    trans: torch.Tensor
    joints: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class RenderedTake:
    """V videos of one scene.

    Attributes:
        videos: The video files.
        actors: The people.
        cameras: The cameras.
        offsets: (V,) float, seconds. How far each clock is ahead of the first one.
        start: Row of the truth at the first frame of the first camera.
    """

    videos: list[Path]
    actors: list[Actor]
    cameras: list[SceneCamera]
    offsets: np.ndarray
    start: int

    def moments(self, view: int, frames: np.ndarray) -> np.ndarray:
        """Rows of the truth that a view's frames show."""
        return np.rint(self.start + FINE * frames - RATE * FINE * self.offsets[view]).astype(int)


def sample_actor(random: np.random.Generator, name: str, spot: np.ndarray, length: int) -> Actor:
    identity = sample_identity(random, name)
    mesh = dress_identity(BODY, identity, sample_outfit(random, f"{name}-0"), texture_size=384)
    betas = torch.from_numpy(np.asarray(identity.betas, np.float32))
    motion = sample_motion(random, length, RATE * FINE, split="held_out")
    motion = turn_motion(on_floor(BODY, motion, betas), random.uniform(-math.pi, math.pi))
    shift = torch.from_numpy(spot.astype(np.float32)) - motion.pelvis[:1] * torch.tensor([1.0, 0.0, 1.0])
    trans = BODY.translation_of_root(motion.pelvis + shift, betas[None])
    with torch.no_grad():
        posed = BODY.pose(motion.rotations, betas[None], trans)
        landmarks = BODY.pose_landmarks(BLAZEPOSE33.name, posed, betas[None])
    return Actor(mesh, betas, motion.rotations, trans, posed.joints.numpy(), landmarks.numpy())


def sample_actors(random: np.random.Generator, name: str, length: int) -> list[Actor]:
    """Two who do not walk through each other."""
    while True:
        side = np.array([random.uniform(0.45, 0.9), 0.0, random.uniform(-0.5, 0.5)])
        actors = [sample_actor(random, f"{name}-{k}", (-1) ** k * side, length) for k in range(2)]
        a, b = (actor.joints[:, PELVIS, ::2] for actor in actors)
        if np.linalg.norm(a - b, axis=1).min() > APART:
            return actors


def sample_angles(random: np.random.Generator, count: int) -> np.ndarray:
    """Radians round the scene."""
    while True:
        angles = random.uniform(-math.pi, math.pi, count)
        lines = (angles[:, None] - angles)[np.triu_indices(count, 1)] % math.pi
        if np.minimum(lines, math.pi - lines).min() > BETWEEN:
            return angles


def placed_camera(random: np.random.Generator, joints: np.ndarray, angle: float) -> SceneCamera:
    """One that looks at joints (N, 3) from `angle` radians round them."""
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]], np.float32)
    while True:
        camera = sample_camera(random, joints @ turn.T, SIZE, CAMERA)
        distance = np.linalg.norm(joints @ turn.T - camera.position, axis=1).min()
        if distance > NEAREST and HEIGHTS[0] < camera.position[1] < HEIGHTS[1]:
            return replace(camera, rotation=camera.rotation @ turn)


def rendered_take(random: np.random.Generator, name: str, folder: Path) -> RenderedTake:
    offsets = np.array([0, *random.integers(-RATE * FINE, RATE * FINE + 1, 2)]) / (RATE * FINE)
    start, last = (round(RATE * FINE * value) for value in (offsets.max(), FRAMES / RATE - offsets.min()))
    actors = sample_actors(random, name, start + last + 1)
    background, degradation = sample_background(random), sample_degradation(random, SIZE, 0.3)
    lighting = sample_lighting(random, 0.0, indoor=background.indoor)
    joints = np.concatenate([actor.joints.reshape(-1, 3) for actor in actors])
    take = RenderedTake([folder / f"cam{k}.mp4" for k in range(3)], actors, [], offsets, start)
    for view, angle in enumerate(sample_angles(random, 3)):
        camera = placed_camera(random, joints, angle)
        take.cameras.append(camera)
        rows = torch.from_numpy(take.moments(view, np.arange(FRAMES)))
        staged = [_before(camera, actor, rows) for actor in actors]
        scene = SceneDescription(camera, lighting, background, (), tuple(staged), degradation, view)
        renderer = SceneRenderer(BODY, scene, labels_of(BODY))
        with VideoWriter(take.videos[view], RATE) as video:
            for frame in range(FRAMES):
                video.write(renderer.render(frame).image)
    return take


def _before(camera: SceneCamera, actor: Actor, rows: torch.Tensor) -> StagedPerson:
    to_camera, origin = torch.from_numpy(camera.rotation), torch.from_numpy(camera.translation)
    rotations = actor.rotations[rows].clone()
    rotations[:, 0] = to_camera @ rotations[:, 0]
    pelvis = (actor.trans[rows] + BODY.rest_pelvis(actor.betas[None])) @ to_camera.T + origin
    trans = BODY.translation_of_root(pelvis, actor.betas[None])
    return StagedPerson(actor.mesh, actor.betas, rotations, trans, ("",) * len(rows))


def score(take: RenderedTake, fit: Fit) -> dict[str, float]:
    """The figures of one take."""
    assert fit.views is not None
    numbers = [int(name[3]) for name in fit.views.names]
    rows = np.flatnonzero(fit.views.keypoints2d[..., 2].any(2).sum(0) >= 2)
    at = take.moments(numbers[0], fit.frame_index)
    truth = np.stack([actor.joints[at.clip(0, len(actor.joints) - 1)] for actor in take.actors])
    flip = np.array([1.0, -1.0, -1.0])  # the truth's axes are y up
    best: tuple[float, np.ndarray] = (np.inf, np.empty(0, int))
    tracks = np.unique(fit.track_id[rows])
    for order in ([0, 1], [1, 0]):
        of = np.zeros(len(fit), int)
        for number, track in enumerate(tracks):
            of[fit.track_id == track] = order[number % 2]
        pair = fit.joints3d[rows].astype(float), truth[of[rows], rows] * flip
        aligned, true = (torch.from_numpy(points.reshape(1, -1, 3)) for points in pair)
        error = (procrustes_align(aligned, true) - true).norm(dim=-1).mean()
        best = min(best, (1e3 * float(error), of), key=lambda one: one[0])
    error, of = best
    switched = shown = 0
    for view, number in enumerate(numbers):
        frames = fit.views.frame[view, fit.frame_index]
        keypoints = fit.views.keypoints2d[view]
        camera, moments = take.cameras[number], take.moments(number, frames)
        for row in np.flatnonzero(keypoints[..., 2].any(1) & (frames >= 0)):
            reliable = keypoints[row, :, 2] > 0.5
            if reliable.sum() < 8:
                continue
            points = [camera.view.project(camera.to_camera(actor.landmarks[moments[row]])) for actor in take.actors]
            medians = [np.median(np.linalg.norm(p - keypoints[row, :, :2], axis=1)[reliable]) for p in points]
            shown += 1
            switched += medians[of[row]] > medians[1 - of[row]] and abs(medians[0] - medians[1]) > 20
    clocks = np.abs(fit.views.offset - (take.offsets[numbers] - take.offsets[numbers[0]]))
    focal = [abs(math.log(fit.views.focal[v] / take.cameras[n].view.focal)) for v, n in enumerate(numbers)]
    return {
        "joints_mm": error,
        "offset_frames": float(clocks.max()) * RATE,
        "focal": float(np.mean(focal)),
        "people": len(tracks),
        "views": len(numbers),
        "switched": switched,
        "views_of_people": shown,
    }


def takes(count: int, seed: int) -> Iterator[tuple[RenderedTake, Fit]]:
    fitter = Fitter()
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            take = rendered_take(np.random.default_rng((seed, number)), f"{seed}-{number}", Path(folder))
            items = list(open_inputs(take.videos))
            yield take, TakeSolver()([fitter.fit(item) for item in items])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 2026
    scores = []
    for number, (take, fit) in enumerate(takes(count, seed)):
        scores.append(score(take, fit))
        print(number, {k: round(v, 3) for k, v in scores[-1].items()}, fit.options.messages, file=sys.stderr)
    table = {name: np.array([one[name] for one in scores]) for name in scores[0]}
    row = {
        "takes": count,
        "joints_mm": round(float(table["joints_mm"].mean()), 1),
        "joints_mm_median": round(float(np.median(table["joints_mm"])), 1),
        "takes_below_15_mm": int((table["joints_mm"] < 15).sum()),
        "offset_frames": round(float(table["offset_frames"].mean()), 2),
        "offsets_within_half_a_frame": int((table["offset_frames"] <= 0.5).sum()),
        "focal_error": round(float(table["focal"].mean()), 3),
        "takes_with_two_people": int((table["people"] == 2).sum()),
        "switched_views_of_people": f"{int(table['switched'].sum())} of {int(table['views_of_people'].sum())}",
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
