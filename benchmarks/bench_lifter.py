"""The lifter on held-out poses: milliseconds a person, honesty of its noise, and steadiness.

Bodies in poses of held-out activities before random cameras, landmarks where bodies have them. Steadiness: landmarks
get independent noise of 1 % of the person's size in the image, many times; the standard deviation of the Procrustes-
aligned error of the limbs' twelve joints over the draws, root mean square over people, of the lifter alone, of the
keypoint fit without it and of the whole fit. World landmarks, which the fit also gets, err by 5 cm and stay.

    python benchmarks/bench_lifter.py LIBRARY.npz [WEIGHTS]

prints instead the Procrustes-aligned errors with imitated detection errors on sets of held-out motions of a library of
tools/build_pose_library.py, and on the held-out key poses; with other weights, also the difference to them, in mm. The
95 % intervals are over clips. Motions that the shipped library's training activities contain are not used.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.body.pose_prior import face_forward
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.keypoints import fit_keypoints
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.lab.evaluate.intervals import Clusters, summarise
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.lab.recipes.lifter.examples import (
    CameraRanges,
    DetectionErrors,
    LifterBatch,
    PosePool,
    lifter_batch,
    pose_pool,
)
from humanpose_cli.lab.synthetic.poses import LIBRARY, PoseBank
from humanpose_cli.models.lifter.metric import LIFTED_JOINTS, Lifter, NormalisedRays, load_lifter, shipped_lifter

PEOPLE, DRAWS, TIMED = 100, 12, 512
SIDE, FOCAL, NOISE = 1000.0, 1100.0, 0.01
WORLD_NOISE = 0.05  # metres
JOINTS = len(LIFTED_JOINTS)
LIMBS = slice(LIFTED_JOINTS.index("left_hip"), JOINTS)
SETS = {"karate": "karate", "washwindow": "washing windows", "soccer": "soccer"}
SETS |= dict.fromkeys(("dance", "cartwheel", "balancing", "hanging_on_ropes", "leaping"), "dance, acrobatics")
KNOWN = ("walking", "running", "jumping", "hopping", "directing_traffic")  # partly in the shipped library's training
STRIDE, KEY_POSES = 4, 4096  # every fourth frame of a motion; number of varied key poses


def scene(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 14, 3) and landmarks (N, 33, 3) metres, camera axes, of people at 3 to 6 m from all sides."""
    random = np.random.default_rng(seed)
    pool = pose_pool(1024, 7, "held_out")
    points = pool.points[pool.draw(count, random)]
    yaw, pitch = random.uniform(-np.pi, np.pi, (count, 1)), random.uniform(-0.1, 0.4, (count, 1))
    x, y, z = np.moveaxis(points, -1, 0)
    x, z = np.cos(yaw) * x + np.sin(yaw) * z, np.cos(yaw) * z - np.sin(yaw) * x
    down, away = -np.cos(pitch) * y - np.sin(pitch) * z, -np.sin(pitch) * y + np.cos(pitch) * z
    # The person faces +z, which is away from a camera that looks along it: half a turn more or less does not matter.
    placed = np.stack((-x, down, away + random.uniform(3, 6, (count, 1))), -1)
    return placed[:, :JOINTS], placed[:, JOINTS:]


def observe(
    landmarks: np.ndarray, noise: float, random: np.random.Generator, world: np.ndarray
) -> KeypointObservations:
    """Landmarks in the image with Gaussian noise, a share of the person's size."""
    count = len(landmarks)
    pixels = FOCAL * landmarks[..., :2] / landmarks[..., 2:] + SIDE / 2
    size = np.ptp(pixels, axis=1).max(-1)[:, None, None]
    return KeypointObservations(
        keypoints=pixels + noise * size * random.normal(size=pixels.shape),
        confidence=np.full((count, 33), 0.95),
        focal=np.full(count, FOCAL),
        principal_point=np.full((count, 2), SIDE / 2),
        image_size=np.full((count, 2), SIDE),
        world=world,
    )


def lifted(observed: KeypointObservations) -> np.ndarray:
    """(N, 14, 3) joints about the pelvis."""
    values = (observed.keypoints, observed.confidence, observed.focal, observed.principal_point)
    return shipped_lifter()(*values, BLAZEPOSE33).joints.numpy()


def held_out(library: Path) -> Iterator[tuple[str, Tensor, list[str]]]:
    """Name, rotations (N, 24, 3, 3) and clip of each pose, of the sets of motions and of the key poses."""
    poses: dict[str, list[Tensor]] = {}
    clips: dict[str, list[str]] = {}
    start = 0
    for clip in pose_library(library).clips:
        rows = torch.arange(start, start + len(clip), STRIDE)
        start += len(clip)
        if clip.split == "held_out" and clip.activity not in KNOWN:
            name = SETS.get(clip.activity, "everyday")
            poses.setdefault(name, []).append(pose_library(library).rotations(rows))
            clips.setdefault(name, []).extend([clip.name] * len(rows))
    for name, rotations in poses.items():
        yield name, torch.cat(rotations), clips[name]
    keys = [pose for pose in PoseBank(1, "held_out").poses(0, KEY_POSES) if pose.family != LIBRARY]
    yield "key poses", torch.stack([pose.rotations for pose in keys]), [pose.activity for pose in keys]


def examples(rotations: Tensor) -> LifterBatch:
    """Bodies of random shape in these poses before random cameras, with detection errors."""
    random, body = np.random.default_rng(2), default_body()
    shape = torch.from_numpy(np.clip(random.normal(size=(len(rotations), body.shape_count)), -2.5, 2.5)).float()
    rotations = rotations.clone()
    rotations[:, 0] = face_forward(rotations[:, 0])
    with torch.no_grad():
        posed = body.pose(rotations, shape, vertices=False)
        joints = posed.joints[:, SMPL24.indices(LIFTED_JOINTS)]
        points = torch.cat((joints, body.pose_landmarks(BLAZEPOSE33.name, posed, shape)), 1)
    pool = PosePool((points - posed.joints[:, :1]).numpy(), np.zeros(0), ())
    return lifter_batch(pool, np.arange(len(rotations)), random, CameraRanges(), DetectionErrors())


def errors_of(lifter: Lifter, batch: LifterBatch) -> np.ndarray:
    """Procrustes-aligned errors (N,) of the limbs in mm."""
    parts = zip(*(values.split(4096) for values in batch.rays), strict=True)
    points = torch.cat([lifter.network.symmetric(NormalisedRays._make(part))[0] for part in parts])
    return 1e3 * pa_mpjpe(points[:, LIMBS].numpy(), batch.points[:, LIMBS].numpy())


def motions(library: Path, weights: Sequence[str]) -> None:
    """Print a line for each set, and one for their mean."""
    means = []
    for name, rotations, clips in held_out(library):
        batch = examples(rotations)
        shipped = errors_of(shipped_lifter(), batch)
        clusters = Clusters("clips", np.unique(clips, return_inverse=True)[1])
        line = {"set": name, "clips": clusters.count, "poses": len(clips), "pa_mpjpe_mm": float(shipped.mean())}
        for path in weights:
            others = errors_of(load_lifter(Path(path)), batch)
            change = summarise(shipped - others, clusters)
            line |= {"other_mm": float(others.mean()), "change_mm": change.value, "ci95": [change.low, change.high]}
        print(json.dumps(line))
        means.append([line[key] for key in ("pa_mpjpe_mm", "other_mm") if key in line])
    print(json.dumps({"set": "mean", "pa_mpjpe_mm, other_mm": np.mean(means, 0).tolist()}))


def main() -> None:
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        motions(Path(sys.argv[1]), sys.argv[2:3])
        return
    body, limbs = default_body(), LIMBS
    rows = SMPL24.indices(LIFTED_JOINTS)
    joints, landmarks = scene(PEOPLE, 0)
    random = np.random.default_rng(1)
    hips = landmarks[:, BLAZEPOSE33.indices(("left_hip", "right_hip"))].mean(1, keepdims=True)
    world = landmarks - hips + WORLD_NOISE * random.normal(size=landmarks.shape)
    fits = {"without the lifter": KeypointFitOptions(lift=False), "fit": KeypointFitOptions()}
    errors: dict[str, list[np.ndarray]] = {"lifter": [], **{name: [] for name in fits}}
    for _ in range(DRAWS):
        observed = observe(landmarks, NOISE, random, world)
        errors["lifter"].append(pa_mpjpe(lifted(observed)[:, limbs], joints[:, limbs]))
        for name, options in fits.items():
            found = fit_keypoints(body, observed, options).joints3d[:, rows]
            errors[name].append(pa_mpjpe(found[:, limbs], joints[:, limbs]))
    many = observe(np.resize(landmarks, (TIMED, 33, 3)), NOISE, random, np.resize(world, (TIMED, 33, 3)))
    alone = many.rows(slice(0, 1))
    times = {}
    for name, rows_ in (("ms_a_person", alone), ("ms_a_person_in_512", many)):
        lifted(rows_)
        start = time.perf_counter()
        for _ in range(5):
            lifted(rows_)
        times[name] = 1e3 * (time.perf_counter() - start) / 5 / len(rows_)
    for name, found_errors in errors.items():
        table = 1e3 * np.stack(found_errors)
        line = {"method": name, "people": PEOPLE, "draws": DRAWS, "noise": NOISE}
        line |= {"pa_mpjpe_mm": float(table.mean()), "steadiness_mm": float(np.sqrt(table.var(0, ddof=1).mean()))}
        print(json.dumps(line | (times if name == "lifter" else {})))


if __name__ == "__main__":
    main()
