"""Keypoint fit of a batch of frames against LBFGS one by one on the same body, with the same residuals.

Frames are library poses of held-out activities, seen from all sides with the detector's kind of noise; detection is not
counted. The baseline minimises the fit's own robust cost by torch.optim.LBFGS with automatic differentiation through
the body's kinematics, from the same closed-form start, until it stops by itself; it is timed on some of the frames.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.joint_angles import limit_excess, rotations_to_angles
from humanpose_cli.body.limb_rotations import BODY_FACING_CAMERA
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.body.pose_prior import pose_prior
from humanpose_cli.core.camera import project
from humanpose_cli.fitting.evidence import FitEvidence, gather_evidence
from humanpose_cli.fitting.keypoints import fit_keypoints
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.linearising.op import LIMIT_NOISE
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.problem import (
    ROBUST,
    ROBUST_LEAN,
    SCALE_NOISE,
    UPRIGHT_JOINTS,
    bone_names,
    combination,
)
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, viewing_rotation
from humanpose_cli.lab.metrics.bodies import pa_mpjpe

FRAMES, PEOPLE, BASELINE, SIDE = 256, 16, 12, 1024.0


def observe(body: Body, count: int, seed: int) -> tuple[KeypointObservations, np.ndarray]:
    """Noisy landmarks of `count` library frames and the true joints (count, 24, 3)."""
    rng = np.random.default_rng(seed)
    library = pose_library()
    rows = library.frames("held_out")
    rotations = library.rotations(rows[torch.from_numpy(rng.choice(len(rows), count, replace=False))])
    yaw = torch.zeros(count, 3)
    yaw[:, 1] = torch.from_numpy(rng.uniform(0, 2 * np.pi, count))
    rotations[:, 0] = BODY_FACING_CAMERA.float() @ axis_angle_to_matrix(yaw) @ rotations[:, 0]
    betas = torch.from_numpy(rng.normal(size=(count, body.shape_count))).float()
    trans = torch.from_numpy(rng.uniform((-0.5, -0.2, 3.0), (0.5, 0.2, 6.0), size=(count, 3))).float()
    posed = body.pose(rotations, betas, trans, vertices=False)
    points = body.pose_landmarks("blazepose33", posed, betas).double()
    focal, centre = torch.full((count,), 1.2 * SIDE).double(), torch.full((count, 2), SIDE / 2).double()
    pixels = project(points, focal, centre)
    hips = body.landmarks("blazepose33").skeleton.indices(("left_hip", "right_hip"))
    world = (points - points[:, hips].mean(1, keepdim=True)) @ viewing_rotation(pixels[:, hips].mean(1), focal, centre)
    observations = KeypointObservations(
        keypoints=pixels.numpy() + rng.normal(scale=4, size=pixels.shape),
        confidence=rng.uniform(0.5, 1, size=pixels.shape[:2]),
        focal=focal.numpy(),
        principal_point=centre.numpy(),
        image_size=np.full((count, 2), SIDE),
        world=world.numpy() + rng.normal(scale=(0.03, 0.03, 0.08), size=world.shape),
    )
    return observations, posed.joints.numpy()


def robust(squared: Tensor, scale: float) -> Tensor:
    return 0.5 * (scale**2 * squared / (scale**2 + squared)).sum()


class Baseline:
    """One person's cost as a function of axis-angle rotations, root, betas and scale, through `Body`."""

    def __init__(self, body: Body, options: KeypointFitOptions) -> None:
        self.body, self.options, self.prior = body, options, pose_prior()
        self.landmarks = body.landmarks("blazepose33")
        names = self.landmarks.skeleton
        self.bones = combination(names.joint_names, bone_names(names)).float()
        lean = [(("neck",), ("pelvis",)), (("left_hip", "right_hip"), ("left_ankle", "right_ankle"))]
        self.upright = combination(body.skeleton.joint_names, lean).float()

    def cost(self, evidence: FitEvidence, turns: Tensor, root: Tensor, betas: Tensor, scale: Tensor) -> Tensor:
        """The same terms as `KeypointProblem` for one row of evidence in single precision."""
        rotations = axis_angle_to_matrix(turns)[None]
        posed = self.body.pose(rotations, betas[None], root[None], vertices=False)
        points = self.body.pose_landmarks(self.landmarks, posed, betas[None])[0]
        pixels = project(points[None], evidence.focal, evidence.centre)[0]
        reprojection = (pixels - evidence.pixels[0]).square().sum(-1) * evidence.pixel_weights[0].square()
        vectors = (self.bones @ points) @ evidence.to_ray[0].mT - scale.exp() * evidence.bones[0]
        bones = (vectors * evidence.bone_weights[0]).square().sum(-1)
        lean = self.upright @ posed.joints[0]
        sine = (lean[:, 2] / lean.norm(dim=-1) * evidence.upright[0]).square()
        options = self.options
        quadratic = (limit_excess(rotations_to_angles(rotations)) / LIMIT_NOISE).square().sum()
        quadratic = quadratic + (betas / options.shape_noise).square().sum() + (scale / SCALE_NOISE) ** 2
        return (
            robust(reprojection, ROBUST)
            + robust(bones, ROBUST)
            + robust(sine, ROBUST_LEAN)
            + self.prior.energy(rotations).sum()
            + 0.5 * quadratic
        )

    def fit(self, evidence: FitEvidence, start: FitState) -> np.ndarray:
        """Joints (24, 3) of one person."""
        turns = matrix_to_axis_angle(start.rotations[0]).float().requires_grad_()
        root, betas = start.root[0].float().requires_grad_(), start.betas[0].float().requires_grad_()
        scale = torch.zeros((), requires_grad=True)
        parameters = [turns, root, betas, scale]
        optimiser = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe", history_size=20)

        def closure() -> Tensor:
            optimiser.zero_grad()
            cost = self.cost(evidence, *parameters)
            cost.backward()
            return cost

        optimiser.step(closure)
        with torch.no_grad():
            posed = self.body.pose(axis_angle_to_matrix(turns)[None], betas[None], root[None], vertices=False)
        return posed.joints[0].numpy()


def seconds(action: Callable[[], object], repeats: int = 3) -> float:
    """The fastest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def single(evidence: FitEvidence, row: int) -> FitEvidence:
    chosen = evidence.rows(torch.tensor([row]))
    return replace(chosen, **{name: value.float() for name, value in vars(chosen).items() if name != "views"})


def main() -> None:
    body, options = default_body(), KeypointFitOptions()
    plain = KeypointFitOptions(lift=False)  # what the baseline minimises
    observations, truth = observe(body, FRAMES, seed=0)
    fit_keypoints(body, observations.rows(slice(0, 4)), options)  # loads what is loaded once
    batch = seconds(lambda: fit_keypoints(body, observations, options))
    without = seconds(lambda: fit_keypoints(body, observations, plain))
    people = seconds(lambda: fit_keypoints(body, observations.rows(slice(0, PEOPLE)), options))
    fit = fit_keypoints(body, observations, plain)
    rig = LandmarkRig(body, body.landmarks("blazepose33"), UPRIGHT_JOINTS, free_columns=1)
    evidence, starts = gather_evidence(rig, observations, plain)
    baseline = Baseline(body, plain)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices of one person: more threads only slow it down
    begin = time.perf_counter()
    joints = [
        baseline.fit(single(evidence, row), FitState(*(v[row : row + 1] for v in starts[0]))) for row in range(BASELINE)
    ]
    one_by_one = (time.perf_counter() - begin) / BASELINE
    print(
        json.dumps(
            {
                "frames": FRAMES,
                "threads": threads,
                "frames_per_second": FRAMES / batch,
                "frames_per_second_without_lifter": FRAMES / without,
                "seconds_per_person_in_16": people / PEOPLE,
                "lbfgs_frames_per_second": 1 / one_by_one,
                "pa_mpjpe_mm": 1e3 * float(pa_mpjpe(fit.joints3d[:BASELINE], truth[:BASELINE]).mean()),
                "lbfgs_pa_mpjpe_mm": 1e3 * float(pa_mpjpe(np.stack(joints), truth[:BASELINE]).mean()),
            }
        )
    )


if __name__ == "__main__":
    main()
