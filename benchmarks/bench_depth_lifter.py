"""Depth lifter learned from 2-D joints alone (deform-and-learn): errors of its depths, and of registrations with them.

Four lifters learn the 24 joints of 6,000 bodies each: of bodies from all sides, of bodies that mostly face the camera
(turned by 1 radian, standard deviation), and two of bodies that are turned by up to 60 degrees, the second of which
turns people by no more (`turn=60`). Each is evaluated on 200 bodies from the same sides, made as in
bench_registration.py, in poses of other activities. `depth_error` is the mean error of the joints' depths about the
hips, as a share of that of the mean depth, zero; `mirrored` the share of people whose depths are nearer to the truth
with the other sign; `registration_pa_mpjpe_mm` the error after Procrustes (mean over bodies) of registrations from the
T pose to joints and correspondences with these depths. The first lifter also gives the depths for registrations of 54
rendered people, who stand before a perspective camera and are partly hidden: `mpjpe_mm` with bones scaled to the
canonical skeleton, and `pa_mpjpe_mm`.

Settings of the lifter follow as NAME=VALUE, and of the training as steps=N and seed=N:

    python benchmarks/bench_depth_lifter.py width=256 learning_rate=5e-4 steps=4000 bones=1 consistency=0.3

`rescaled=false` gives the discriminator turned people at the size they have.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from bench_registration import BODIES, SIDES, Scene, scene
from torch import Tensor

from humanpose_cli.body.scaled_body import ScaledBody
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.options import changed
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.lab.recipes.deform_and_learn.evidence import people_evidence
from humanpose_cli.lab.recipes.deform_and_learn.measure import (
    bone_lengths,
    canonical_length,
    joint_errors,
    joint_truth,
)
from humanpose_cli.lab.recipes.deform_and_learn.recipe import (
    DEFORM_PRESETS,
    DeformAndLearn,
    DeformTraining,
    joints_in_image,
)
from humanpose_cli.lab.recipes.deform_and_learn.rounds import registration_evidence
from humanpose_cli.lab.recipes.lifter.depth import DepthLifter, DepthLifterOptions
from humanpose_cli.lab.recipes.lifter.depth_recipe import DepthLifterRecipe, LifterData
from humanpose_cli.lab.synthetic.generator import SyntheticSource
from humanpose_cli.lab.synthetic.options import SyntheticOptions
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST, train
from humanpose_cli.models.deform_and_learn.registration import register

PEOPLE, STEPS, RENDERED = 6000, 4000, 54


def depths(truth: Scene, lifter: DepthLifter | None) -> Tensor:
    """(B, 24) about the hips, in normalised units: of a lifter; None: true ones."""
    if lifter is not None:
        with torch.no_grad():
            return lifter.lift(truth.evidence.keypoints)
    assert truth.evidence.depths is not None
    hips = SMPL24.indices(("left_hip", "right_hip"))
    return truth.evidence.depths - truth.evidence.depths[:, hips].mean(1, keepdim=True)


def errors(people: Scene, lifter: DepthLifter) -> dict[str, float]:
    true, predicted = depths(people, None), depths(people, lifter)
    differences, mirrored = ((sign * predicted - true).abs().mean(1) for sign in (1, -1))
    registered = register(people.body, replace(people.evidence, depths=predicted))
    joints, truth = (
        people.body.points(pose, people.evidence.joints).numpy() for pose in (registered.pose, people.pose)
    )
    return {
        "depth_error": float(differences.sum() / true.abs().mean(1).sum()),
        "mirrored": float((mirrored < differences).float().mean()),
        "registration_pa_mpjpe_mm": float(1e3 * pa_mpjpe(joints, truth).mean()),
    }


def rendered_errors(folder: Path, lifter: DepthLifter) -> dict[str, float]:
    """Of registrations of the rendered people of a cache from the T pose, with correspondences as labelled."""
    plan = DeformAndLearn(folder, DeformTraining(people=RENDERED))
    body = ScaledBody(plan.body)
    truth = people_evidence(plan.people, plan.body, plan.skeleton, plan.options.points, "labels", plan.seed)
    assert truth.complete.all(), "joints that no image shows are known too"
    with torch.no_grad():
        lifted = lifter.lift(torch.from_numpy(truth.keypoints[..., :2]))
    evidence = registration_evidence(body, plan.skeleton, truth, lifted.numpy())
    joints = joints_in_image(body, register(body, evidence).pose, plan.skeleton)
    length = canonical_length(body, plan.skeleton)
    found = joint_errors(joints, joint_truth(plan.people, plan.skeleton), plan.skeleton, length)
    return {"people": len(found.mpjpe), **found.means()}


def trained(truth: Scene, learned: Scene, options: DepthLifterOptions, steps: int, seed: int) -> DepthLifter:
    """The lifter after it learned from the joints of some bodies, measured on others."""
    held_out, points = (one.evidence.keypoints.numpy() for one in (truth, learned))
    data = LifterData(SMPL24, points, held_out, bone_lengths(truth.body, SMPL24), {"data": "poses of the split train"})
    loop = TrainOptions(steps=steps, batch_size=64, workers=0, seed=seed, decay=0.0, average=0.995, precision="full")
    with tempfile.TemporaryDirectory() as folder:
        recipe = DepthLifterRecipe(data, options, seed=seed)
        train(recipe, replace(loop, validate_every=steps), Path(folder), torch.device("cpu"))
        return DepthLifter.load(Path(folder) / LAST)


def main(arguments: Sequence[str]) -> None:
    values = {name: json.loads(value) for name, value in (argument.split("=") for argument in arguments)}
    steps, seed = values.pop("steps", STEPS), values.pop("seed", 0)
    for sides, more in (*((sides, {}) for sides in SIDES), ("front", {"turn": 60.0})):
        options = changed(DEFORM_PRESETS["small"][0].lifter, {**values, **more})
        settings = {**values, **more, "steps": steps, "seed": seed}
        truth = scene(sides=sides)
        lifter = trained(truth, scene(PEOPLE, "train", sides), options, steps, seed)
        print(json.dumps({"settings": settings, "sides": sides, "bodies": BODIES, **errors(truth, lifter)}), flush=True)
        if sides == "all":
            with tempfile.TemporaryDirectory() as folder:
                build_cache(SyntheticSource(SyntheticOptions(count=2 * RENDERED, size=192)), Path(folder) / "cache")
                found = rendered_errors(Path(folder) / "cache", lifter)
            print(json.dumps({"settings": settings, "sides": sides, "rendered": True, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
