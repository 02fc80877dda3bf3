"""Registration to dense correspondences (deform-and-learn): bodies a second, and errors on 200 known bodies.

Held-out poses of the default body with segment scales that differ from joint to joint (5 % in mean), seen from all
sides by a weak-perspective camera; 24 joints and 128 surface points where they really are. Depths of L_KP are true, or
the shipped lifter's, or none. Two rounds of 200 steps: T poses, stiff for the first half, then from there with later
rounds' weights. Errors are of 24 joints after Procrustes alignment (mm, median over bodies), and of the segment scales
times the camera's (share, mean over joints, median over bodies; `scale_spread` is that of scales that are all 1). Speed
is that of batches of 64, by the clock and by the processor's time.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, gram_schmidt, in_image
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.lab.synthetic.poses import PoseBank
from humanpose_cli.models.deform_and_learn.registration import (
    Registration,
    RegistrationEvidence,
    RegistrationOptions,
    normalised_frame,
    register,
)
from humanpose_cli.models.lifter.metric import LIFTED_JOINTS, shipped_lifter

BODIES, POINTS, BATCH = 200, 128, 64
DISTANCE, FOCAL = 6.0, 1000.0  # what the lifter is told; metres and pixels


class Scene(NamedTuple):
    """Known bodies in normalised image units, and what is seen of them, with true depths."""

    body: ScaledBody
    pose: ScaledPose
    evidence: RegistrationEvidence


SIDES = ("all", "mostly front", "front")
"""Of bodies: turned from the camera by any angle, by 1 radian (standard deviation), or by up to 60 degrees."""


def scene(count: int = BODIES, split: str = "held_out", sides: str = "all") -> Scene:
    """`count` bodies in poses of a split; sides  one of `SIDES`."""
    body, random, bank = ScaledBody(default_body()), torch.Generator().manual_seed(0), PoseBank(0, split)
    rotations = torch.stack([bank.pose(number).rotations for number in range(count)])
    turn, pitch = torch.rand(count, generator=random), 0.3 * torch.randn(count, generator=random)
    yaws = (2 * torch.pi * turn, torch.special.ndtri(turn), (2 * turn - 1) * torch.pi / 3)
    yaw = yaws[SIDES.index(sides)]
    nought, start = torch.zeros(count), ScaledPose.t_pose(count)
    up, across = (axis_angle_to_matrix(torch.stack(v, -1)) for v in ((nought, yaw, nought), (pitch, nought, nought)))
    scales = 0.06 * torch.randn(count, len(SMPL24), generator=random)
    for child, parent in enumerate(SMPL24.parents):
        scales[:, child] += 0.7 * scales[:, parent] if parent >= 0 else 0
    scales = 1 + (scales + scales[:, list(SMPL24.mirror)]) / 2
    pose = start._replace(
        segment_scales=scales / scales.mean(1, keepdim=True),
        axis_angles=matrix_to_axis_angle(rotations[:, 1:]),
        orientation=(across @ gram_schmidt(start.orientation) @ up @ rotations[:, 0]).flatten(1),
    )
    joint_rows = body.landmarks("smpl24")
    flat = body.points(pose, joint_rows)[..., :2]
    origin, unit = normalised_frame(torch.cat((flat.amin(1) - 0.1, flat.amax(1) + 0.1), 1))
    pose = pose._replace(scale=1 / unit, translation=-origin / unit[:, None])
    rows = body.vertices(torch.randint(len(body.body.template), (count, POINTS), generator=random))
    joints, points = (in_image(body.points(pose, of), pose) for of in (joint_rows, rows))
    ones = torch.ones(count, len(SMPL24))
    evidence = RegistrationEvidence(
        joint_rows, joints[..., :2], ones, points[..., :2], rows, torch.ones(count, POINTS), joints[..., 2]
    )
    return Scene(body, pose, evidence)


def with_lifter(known: Scene) -> RegistrationEvidence:
    """The evidence with depths of the shipped lifter, of the joints that it predicts."""
    pixels = known.body.points(known.pose, known.body.landmarks(BLAZEPOSE33.name))[..., :2] * FOCAL / DISTANCE
    sure = torch.ones(BODIES, len(BLAZEPOSE33))
    lifted = shipped_lifter()(pixels, sure, torch.full((BODIES,), FOCAL), torch.zeros(BODIES, 2), BLAZEPOSE33)
    rows, own = SMPL24.indices(LIFTED_JOINTS), known.evidence
    return replace(
        own,
        joints=own.joints[rows],
        keypoints=own.keypoints[:, rows],
        confidence=own.confidence[:, rows],
        depths=lifted.joints[..., 2] * known.pose.scale[:, None],
    )


def errors(known: Scene, found: Registration) -> dict[str, float]:
    rows = known.evidence.joints
    joints, true = (known.body.points(pose, rows).numpy() for pose in (found.pose, known.pose))
    scales = found.pose.segment_scales * (found.pose.scale / known.pose.scale)[:, None]
    apart = (scales / known.pose.segment_scales - 1).abs().mean(1)
    determinant: Tensor = torch.linalg.det(gram_schmidt(found.pose.orientation))
    wrong = (determinant < 0) | (found.pose.scale <= 0) | (found.pose.segment_scales <= 0).any(1)
    return {
        "pa_mpjpe_mm": float(torch.from_numpy(1e3 * pa_mpjpe(joints, true)).median()),
        "scale_error": float(apart.median()),
        "scale_spread": float((1 / known.pose.segment_scales - 1).abs().mean(1).median()),
        "reflected_or_inside_out": int(wrong.sum()),
        "accepted": float(found.accepted.float().mean()),
    }


def main() -> None:
    known = scene()
    kinds = {"true": known.evidence, "lifter": with_lifter(known), "none": replace(known.evidence, depths=None)}
    for depths, evidence in kinds.items():
        first = register(known.body, evidence)
        second = register(known.body, evidence, first.pose)
        for number, found in enumerate((first, second), 1):
            print(json.dumps({"depths": depths, "round": number, "bodies": BODIES, **errors(known, found)}))
    names = ("keypoints", "confidence", "points", "point_rows", "point_confidence", "depths")
    batch = replace(known.evidence, **{name: getattr(known.evidence, name)[:BATCH] for name in names})
    wall, busy = time.perf_counter(), time.process_time()
    register(known.body, batch)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    steps = RegistrationOptions().steps
    print(json.dumps({"batch": BATCH, "steps": steps, "per_second": BATCH / wall, "per_cpu_second": BATCH / busy}))


if __name__ == "__main__":
    main()
