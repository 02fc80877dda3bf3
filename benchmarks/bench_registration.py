"""Registration to dense correspondences (deform-and-learn): bodies a second, and errors on known bodies.

Bodies with scales. Held-out poses of the default body with segment scales that differ from joint to joint (5 % in
mean), seen from all sides by a weak-perspective camera; 24 joints and 128 surface points where they really are. Depths
of L_KP are true, or the shipped lifter's. Two rounds of 200 steps: T poses, stiff for the first half, then
from there with later rounds' weights. Errors are of 24 joints after Procrustes alignment (mm, median over bodies), and
of the segment scales times the camera's (share, mean over joints, median over bodies; `scale_spread` is that of scales
that are all 1). Speed is that of batches of 64, by the clock and by the processor's time.

Bodies with shapes. Held-out poses with shapes as people have them, which no segment scales can reproduce, in images of
192 pixels by perspective cameras from all sides: 24 joints, and 128 of the pixels that show the body, as they are, with
the errors of `CorrespondenceErrors`, or none. MPJPE (bones scaled to the template's) and after Procrustes in mm, means
over all bodies, accepted or not, of two rounds with each kind of depths.

Settings follow as NAME=VALUE: fields of `RegistrationOptions`; `split=train` and `seed=N` for other bodies than the
published ones, to choose settings on; `bodies=N`; `lifter=FILE` for depths of an adversarial lifter, such as
round-1/lifter/last.safetensors of a run of deform-and-learn, in the place of the shipped one; `known=shapes` for the
second part alone:

    python benchmarks/bench_registration.py known=shapes dense=1000 outlier=0 depths=1
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose, gram_schmidt, in_image
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.options import changed
from humanpose_cli.engine.rasterising.op import rasterise
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.lab.recipes.deform_and_learn.evidence import CorrespondenceErrors
from humanpose_cli.lab.recipes.deform_and_learn.measure import canonical_length, joint_errors
from humanpose_cli.lab.recipes.deform_and_learn.recipe import joints_in_image
from humanpose_cli.lab.recipes.lifter.depth import DepthLifter
from humanpose_cli.lab.synthetic.poses import PoseBank
from humanpose_cli.models.deform_and_learn.inputs import FILL
from humanpose_cli.models.deform_and_learn.registration import (
    Registration,
    RegistrationEvidence,
    RegistrationOptions,
    register,
)
from humanpose_cli.models.lifter.metric import LIFTED_JOINTS, shipped_lifter

BODIES, POINTS, BATCH = 200, 128, 64
DISTANCE, FOCAL = 6.0, 1000.0  # what the lifter is told; metres and pixels
SIDE = 192  # pixels of an image of the bodies with shapes


class Scene(NamedTuple):
    """Known bodies in normalised image units, and their evidence with true depths."""

    body: ScaledBody
    pose: ScaledPose
    evidence: RegistrationEvidence


SIDES = ("all", "mostly front", "front")
"""Of bodies: turned from the camera by any angle, by 1 radian (standard deviation), or by up to 60 degrees."""


def normalised_frame(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Origins (B, 2) and units (B,), pixels, of the crops around boxes (B, 4), as networks take them."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return (low + high) / 2, ((high - low).amax(1) / (2 * FILL)).clamp_min(1e-3)


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


def with_lifter(truth: Scene) -> RegistrationEvidence:
    """The evidence with depths of the shipped lifter, of the joints that it predicts."""
    pixels = truth.body.points(truth.pose, truth.body.landmarks(BLAZEPOSE33.name))[..., :2] * FOCAL / DISTANCE
    confidence = torch.ones(BODIES, len(BLAZEPOSE33))
    lifted = shipped_lifter()(pixels, confidence, torch.full((BODIES,), FOCAL), torch.zeros(BODIES, 2), BLAZEPOSE33)
    return of_lifted_joints(truth.evidence, lifted.joints[..., 2] * truth.pose.scale[:, None])


def of_lifted_joints(evidence: RegistrationEvidence, depths: torch.Tensor) -> RegistrationEvidence:
    """The evidence of the joints that the shipped lifter predicts, with its depths (N, J) of them."""
    rows = SMPL24.indices(LIFTED_JOINTS)
    return replace(
        evidence,
        joints=evidence.joints[rows],
        keypoints=evidence.keypoints[:, rows],
        confidence=evidence.confidence[:, rows],
        depths=depths,
    )


def errors(truth: Scene, found: Registration) -> dict[str, float]:
    rows = truth.evidence.joints
    joints, true = (truth.body.points(pose, rows).numpy() for pose in (found.pose, truth.pose))
    scales = found.pose.segment_scales * (found.pose.scale / truth.pose.scale)[:, None]
    apart = (scales / truth.pose.segment_scales - 1).abs().mean(1)
    determinant: Tensor = torch.linalg.det(gram_schmidt(found.pose.orientation))
    wrong = (determinant < 0) | (found.pose.scale <= 0) | (found.pose.segment_scales <= 0).any(1)
    return {
        "pa_mpjpe_mm": float(torch.from_numpy(1e3 * pa_mpjpe(joints, true)).median()),
        "scale_error": float(apart.median()),
        "scale_spread": float((1 / truth.pose.segment_scales - 1).abs().mean(1).median()),
        "reflected_or_inside_out": int(wrong.sum()),
        "accepted": float(found.accepted.float().mean()),
    }


class ShapedScene(NamedTuple):
    """Bodies that segment scales cannot reproduce.

    joints    (B, 24, 3) true ones, metres, camera axes
    evidence  with true depths, by the quality of its correspondences
    landmarks (B, 33, 2) of BLAZEPOSE33 and focal (B,), in pixels; scale (B,) normalised units a metre
    """

    body: ScaledBody
    joints: Tensor
    evidence: dict[str, RegistrationEvidence]
    landmarks: Tensor
    focal: Tensor
    scale: Tensor


def shaped_scene(count: int = BODIES, split: str = "held_out", seed: int = 0) -> ShapedScene:
    """`count` bodies in poses of a split, each filling four fifths of its image."""
    body, random, bank = ScaledBody(default_body()), torch.Generator().manual_seed(seed), PoseBank(seed, split)
    rotations = torch.stack([bank.pose(number).rotations for number in range(count)])
    nought, yaw = torch.zeros(count), 2 * torch.pi * torch.rand(count, generator=random)
    pitch, roll = 0.2 * torch.randn(count, generator=random), 0.1 * torch.randn(count, generator=random)
    turns = ((nought, yaw, nought), (pitch, nought, nought), (nought, nought, roll))
    up, across, around = (axis_angle_to_matrix(torch.stack(turn, -1)) for turn in turns)
    rotations[:, 0] = around @ across @ gram_schmidt(ScaledPose.t_pose(1).orientation) @ up @ rotations[:, 0]
    betas = torch.randn(count, body.body.shape_count, generator=random).clamp(-2.5, 2.5)
    focal = (0.9 + 1.1 * torch.rand(count, generator=random)) * SIDE
    vertices = body.body.pose(rotations, betas).vertices
    assert vertices is not None
    low, high = vertices.amin(1), vertices.amax(1)
    away = focal * (high - low)[:, :2].amax(1) / (0.8 * SIDE) + (high - low)[:, 2] / 2
    posed = body.body.pose(rotations, betas, torch.nn.functional.pad(away[:, None], (2, 0)) - (low + high) / 2)

    def projected(points: Tensor) -> Tensor:
        return focal[:, None, None] * points[..., :2] / points[..., 2:] + SIDE / 2

    assert posed.vertices is not None
    pixels = projected(posed.vertices)
    origin, unit = normalised_frame(torch.cat((pixels.amin(1), pixels.amax(1)), 1))
    unit = unit / FILL  # as people stand in their crops
    scale = focal / posed.joints[:, 0, 2] / unit
    evidence = {}
    for quality, (points, index) in _visible(body, posed.vertices, focal, seed).items():
        evidence[quality] = RegistrationEvidence(
            body.landmarks("smpl24"),
            (projected(posed.joints) - origin[:, None]) / unit[:, None, None],
            torch.ones(count, len(SMPL24)),
            (points - origin[:, None]) / unit[:, None, None],
            body.vertices(index.clamp_min(0)),
            (index >= 0).float(),
            (posed.joints[..., 2] - posed.joints[:, :1, 2]) * scale[:, None],
        )
    landmarks = projected(body.body.pose_landmarks(BLAZEPOSE33.name, posed, betas))
    return ShapedScene(body, posed.joints, evidence, landmarks, focal, scale)


def _visible(body: ScaledBody, vertices: Tensor, focal: Tensor, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return, for each quality, pixels (B, POINTS, 2) and their vertices (B, POINTS), −1 for none."""
    random, errors, faces = np.random.default_rng(seed), CorrespondenceErrors(body.body), body.body.faces
    count, middle = len(vertices), torch.full((1, 2), SIDE / 2)
    points = {quality: torch.zeros(count, POINTS, 2) for quality in ("labels", "degraded")}
    index = {quality: torch.full((count, POINTS), -1) for quality in points}
    for row in range(count):
        raster = rasterise(vertices[row : row + 1], faces, focal[row : row + 1], middle, (SIDE, SIDE))
        y, x = torch.nonzero(raster.face[0] >= 0, as_tuple=True)
        chosen = torch.from_numpy(random.permutation(len(y))[:POINTS])
        y, x = y[chosen], x[chosen]
        corner = raster.barycentrics[0, y, x].argmax(1, keepdim=True)
        shown = faces.long()[raster.face[0, y, x].long()].gather(1, corner)[:, 0].numpy().astype(np.int32)
        pixels = torch.stack((x, y), 1).float().numpy() + np.float32(0.5)
        for quality, (at, of) in {"labels": (pixels, shown), "degraded": errors(pixels, shown, random)}.items():
            points[quality][row, : len(at)] = torch.from_numpy(at)
            index[quality][row, : len(of)] = torch.from_numpy(of.astype(np.int64))
    found = {quality: (points[quality], index[quality]) for quality in points}
    return {**found, "none": (points["labels"][:, :0], index["labels"][:, :0])}


def with_depths(truth: ShapedScene, quality: str, depths: str, lifter: DepthLifter | None) -> RegistrationEvidence:
    """Return the evidence with true depths, or with a lifter's depths (None: the shipped lifter)."""
    evidence = truth.evidence[quality]
    if depths == "true":
        return evidence
    if lifter is not None:
        with torch.no_grad():
            return replace(evidence, depths=lifter.lift(evidence.keypoints))
    confidence, middle = torch.ones(truth.landmarks.shape[:2]), torch.full((len(evidence), 2), SIDE / 2)
    lifted = shipped_lifter()(truth.landmarks, confidence, truth.focal, middle, BLAZEPOSE33)
    return of_lifted_joints(evidence, lifted.joints[..., 2] * truth.scale[:, None])


def grid(truth: ShapedScene, options: RegistrationOptions, lifter: DepthLifter | None) -> None:
    """Prints the errors of all kinds of depths and correspondences."""
    length = canonical_length(truth.body, SMPL24)
    for depths in ("true", "lifter"):
        for quality in ("labels", "degraded", "none"):
            evidence, pose = with_depths(truth, quality, depths, lifter), None
            for number in (1, 2):
                found = register(truth.body, evidence, pose, options)
                pose = found.pose
                joints = joints_in_image(truth.body, pose, SMPL24)
                facts = {"depths": depths, "correspondences": quality, "round": number, "bodies": len(evidence)}
                means = joint_errors(joints, truth.joints.double().numpy(), SMPL24, length).means()
                print(json.dumps({**facts, **means, "accepted": float(found.accepted.float().mean())}), flush=True)


def main(arguments: Sequence[str]) -> None:
    settings = dict(argument.split("=", 1) for argument in arguments)
    split, seed, bodies = (
        settings.pop("split", "held_out"),
        int(settings.pop("seed", 0)),
        int(settings.pop("bodies", BODIES)),
    )
    weights, only = settings.pop("lifter", ""), settings.pop("known", "")
    options = changed(RegistrationOptions(), {name: json.loads(value) for name, value in settings.items()})
    if only != "shapes":
        bodies_with_scales()
    grid(shaped_scene(bodies, split, seed), options, DepthLifter.load(Path(weights)) if weights else None)


def bodies_with_scales() -> None:
    """Prints errors and speed of the bodies that scales can reproduce."""
    truth = scene()
    for depths, evidence in {"true": truth.evidence, "lifter": with_lifter(truth)}.items():
        first = register(truth.body, evidence)
        second = register(truth.body, evidence, first.pose)
        for number, found in enumerate((first, second), 1):
            print(json.dumps({"depths": depths, "round": number, "bodies": BODIES, **errors(truth, found)}))
    names = ("keypoints", "confidence", "points", "point_rows", "point_confidence", "depths")
    batch = replace(truth.evidence, **{name: getattr(truth.evidence, name)[:BATCH] for name in names})
    wall, busy = time.perf_counter(), time.process_time()
    register(truth.body, batch)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    steps = RegistrationOptions().steps
    print(json.dumps({"batch": BATCH, "steps": steps, "per_second": BATCH / wall, "per_cpu_second": BATCH / busy}))


if __name__ == "__main__":
    main(sys.argv[1:])
