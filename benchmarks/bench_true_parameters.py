"""Network of deform-and-learn taught with true parameters, not registrations: what better labels could bring.

The preset `small` on a cache with body parameters, which are otherwise for evaluation alone: errors of the people held
out, of a constant pose beside them, and the difference of both, mm. `labels_pa_mpjpe_mm` is that of the true bodies by
segment scales, whose keypoints are nearest to the labelled ones. Settings follow as NAME=VALUE, epochs=N, seed=N and
people=N:

    python benchmarks/bench_true_parameters.py people epochs=9 seed=0
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from humanpose_cli.body.scaled_body import ScaledBody, ScaledPose
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.lab.evaluate.deform_and_learn import EvaluatedJoints
from humanpose_cli.lab.evaluate.intervals import paired_difference, summarise
from humanpose_cli.lab.evaluate.people import clusters_of
from humanpose_cli.lab.recipes.deform_and_learn.evidence import PeopleEvidence, people_evidence
from humanpose_cli.lab.recipes.deform_and_learn.measure import (
    canonical_length,
    joint_errors,
    joint_truth,
    line_of_sight,
    standing_pose,
)
from humanpose_cli.lab.recipes.deform_and_learn.recipe import (
    DEFORM_PRESETS,
    DeformAndLearn,
    RegressorRecipe,
    RoundData,
    joints_in_image,
    predict_people,
)
from humanpose_cli.lab.train.trainer import LAST, train
from humanpose_cli.models.deform_and_learn.regressor import BodyRegressor


def true_pose(plan: DeformAndLearn, evidence: PeopleEvidence) -> ScaledPose:
    """The true bodies by segment scales, which are the ratios of their bones to the template's, at their keypoints."""
    body, rig, people = ScaledBody(plan.body), plan.body, plan.people
    poses, betas = (torch.from_numpy(people.column(name)).float() for name in ("poses", "betas"))
    poses, rest, template = poses.unflatten(1, (24, 3)), rig.rest_joints(betas), rig.rest_joints(0 * betas[:1])
    turn = line_of_sight(people.column("joints/smpl24")[:, 0, :3].astype(np.float64)).float()
    scales = torch.ones(len(people), len(SMPL24))
    for joint, parent in enumerate(SMPL24.parents):
        children = [child for child, above in enumerate(SMPL24.parents) if above == joint]
        lengths = [(j[:, children] - j[:, [joint]]).norm(dim=-1) for j in (rest, template)]
        scales[:, joint] = (lengths[0] / lengths[1]).mean(1) if children else scales[:, parent]
    origin = ScaledPose.t_pose(len(people))._replace(
        segment_scales=scales,
        axis_angles=poses[:, 1:],
        orientation=(turn.mT @ axis_angle_to_matrix(poses[:, 0])).flatten(1),
    )
    joints = body.points(origin, body.landmarks("smpl24"))[..., :2]
    keypoints, weight = torch.from_numpy(evidence.keypoints).split((2, 1), -1)
    weight = weight / weight.sum(1, keepdim=True)
    middle, there = ((weight * points).sum(1, keepdim=True) for points in (joints, keypoints))
    spread = (weight * (joints - middle).square()).sum((1, 2))
    scale = (weight * (joints - middle) * (keypoints - there)).sum((1, 2)) / spread
    return origin._replace(scale=scale, translation=(there - scale[:, None, None] * middle)[:, 0])


def main(arguments: Sequence[str]) -> None:
    settings = {name: int(value) for name, value in (argument.split("=") for argument in arguments[1:])}
    seed, (options, loop) = settings.get("seed", 0), DEFORM_PRESETS["small"]
    plan = DeformAndLearn(arguments[0], replace(options, points=64, people=settings.get("people", 0)), seed=seed)
    evidence, held_out = (
        people_evidence(people, plan.body, plan.skeleton, 64, "labels", seed) for people in (plan.people, plan.held_out)
    )
    pose, body = true_pose(plan, evidence), ScaledBody(plan.body)
    joints = joints_in_image(body, pose, SMPL24)
    labels = joint_errors(joints, joint_truth(plan.people, SMPL24), SMPL24, canonical_length(body, SMPL24)).means()
    accepted = np.ones(len(plan.people), bool)
    hips = SMPL24.indices(("left_hip", "right_hip"))
    depths = np.asarray(joints[..., 2] - joints[:, hips, 2].mean(1, keepdims=True), np.float32)
    data = RoundData(plan.people, evidence, pose.vector.numpy(), accepted, depths, plan.held_out, held_out)
    recipe = RegressorRecipe(data, plan.body, plan.options, seed=seed)
    loop = replace(loop, epochs=settings.get("epochs", loop.epochs), workers=0, seed=seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        result = train(recipe, loop, Path(folder), torch.device("cpu"))
        network = BodyRegressor.load(Path(folder) / LAST)
    held_out_joints = EvaluatedJoints.of_landmarks(body, SMPL24)
    predicted, constant = (
        1000 * held_out_joints.errors(each, plan.held_out).pa_mpjpe
        for each in (predict_people(network, plan.held_out, 64), standing_pose(len(plan.held_out)))
    )
    clusters = clusters_of(plan.held_out.parts[0].taken(plan.held_out.numbers))
    facts = {"people": len(plan.people), "held_out": len(plan.held_out), "over": clusters.text, "epochs": loop.epochs}
    facts |= {"seed": seed, "steps": result.steps, "labels_pa_mpjpe_mm": labels["pa_mpjpe_mm"], **result.metrics}
    figures = {"network": summarise(predicted, clusters), "constant": summarise(constant, clusters)}
    figures["difference"] = paired_difference(predicted, constant, clusters)
    print(json.dumps({**facts, **{f"{name}_pa": summary.text(".1f") for name, summary in figures.items()}}))


if __name__ == "__main__":
    main(sys.argv[1:])
