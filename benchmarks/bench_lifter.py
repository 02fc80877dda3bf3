"""The lifter on held-out poses: milliseconds a person, honesty of its noise, and steadiness.

Bodies in poses of held-out activities before random cameras, landmarks where bodies have them. Steadiness: landmarks
get independent noise of 1 % of the person's size in the image, many times; the standard deviation of the Procrustes-
aligned error of the limbs' twelve joints over the draws, root mean square over people, of the lifter alone, of the
keypoint fit without it and of the whole fit. World landmarks, which the fit also gets, err by 5 cm and stay.
"""

from __future__ import annotations

import json
import time

import numpy as np
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.fitting.keypoints import fit_keypoints
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.lab.recipes.lifter.examples import pose_pool
from humanpose_cli.models.lifter.metric import LIFTED_JOINTS, shipped_lifter

PEOPLE, DRAWS, TIMED = 100, 12, 512
SIDE, FOCAL, NOISE = 1000.0, 1100.0, 0.01
WORLD_NOISE = 0.05  # metres
JOINTS = len(LIFTED_JOINTS)


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


def main() -> None:
    torch.set_num_threads(1)
    body, limbs = default_body(), slice(LIFTED_JOINTS.index("left_hip"), JOINTS)
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
