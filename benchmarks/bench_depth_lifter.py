"""Depth lifter learned from 2-D joints alone (deform-and-learn): errors of its depths, and of registrations with them.

It learns the 24 joints of 6,000 bodies from all sides, in poses of other activities than the 200 bodies of
bench_registration.py on which it is evaluated. `depth_error` is the mean error of the joints' depths about the hips, as
a share of that of the mean depth, zero; `mirrored` the share of people whose depths are nearer to the truth with the
other sign; `registration_pa_mpjpe_mm` the error after Procrustes (mean over bodies) of registrations from the T pose to
joints and correspondences with these depths. Settings of the lifter follow as NAME=VALUE, and of the training as
steps=N and seed=N:

    python benchmarks/bench_depth_lifter.py width=256 learning_rate=5e-4 steps=4000 bones=1 consistency=0.3
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from bench_registration import BODIES, Scene, scene
from torch import Tensor

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.options import changed
from humanpose_cli.lab.metrics.bodies import pa_mpjpe
from humanpose_cli.lab.recipes.deform_and_learn.measure import bone_lengths
from humanpose_cli.lab.recipes.deform_and_learn.recipe import DEFORM_PRESETS
from humanpose_cli.lab.recipes.lifter.depth_recipe import DepthLifterRecipe, LifterData
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.lab.train.trainer import LAST, train
from humanpose_cli.models.deform_and_learn.registration import register
from humanpose_cli.models.lifter.depth import DepthLifter

PEOPLE, STEPS = 6000, 4000


def depths(known: Scene, lifter: DepthLifter | None) -> Tensor:
    """(B, 24) about the hips, in normalised units: of a lifter; None: true ones."""
    if lifter is not None:
        with torch.no_grad():
            return lifter.lift(known.evidence.keypoints)
    assert known.evidence.depths is not None
    hips = SMPL24.indices(("left_hip", "right_hip"))
    return known.evidence.depths - known.evidence.depths[:, hips].mean(1, keepdim=True)


def errors(known: Scene, lifter: DepthLifter) -> dict[str, float]:
    true, found = depths(known, None), depths(known, lifter)
    apart, mirrored = ((sign * found - true).abs().mean(1) for sign in (1, -1))
    registered = register(known.body, replace(known.evidence, depths=found))
    joints, truth = (known.body.points(pose, known.evidence.joints).numpy() for pose in (registered.pose, known.pose))
    return {
        "depth_error": float(apart.sum() / true.abs().mean(1).sum()),
        "mirrored": float((mirrored < apart).float().mean()),
        "registration_pa_mpjpe_mm": float(1e3 * pa_mpjpe(joints, truth).mean()),
    }


def main(arguments: Sequence[str]) -> None:
    given = {name: json.loads(value) for name, value in (argument.split("=") for argument in arguments)}
    steps, seed = given.pop("steps", STEPS), given.pop("seed", 0)
    options = changed(DEFORM_PRESETS["landmarks"][0].lifter, given)
    known, learned = scene(), scene(PEOPLE, "train").evidence.keypoints.numpy()
    bones = bone_lengths(known.body, SMPL24)
    data = LifterData(SMPL24, learned, known.evidence.keypoints.numpy(), bones, {"data": "poses of the split train"})
    loop = TrainOptions(steps=steps, batch_size=64, workers=0, seed=seed, decay=0.0, average=0.995, precision="full")
    with tempfile.TemporaryDirectory() as folder:
        recipe = DepthLifterRecipe(data, options, seed=seed)
        train(recipe, replace(loop, validate_every=steps), Path(folder), torch.device("cpu"))
        lifter = DepthLifter.load(Path(folder) / LAST)
    print(json.dumps({"settings": {**given, "steps": steps, "seed": seed}, "bodies": BODIES, **errors(known, lifter)}))


if __name__ == "__main__":
    main(sys.argv[1:])
