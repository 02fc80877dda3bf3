"""Weights of a network of deform-and-learn that predicts one pose, whatever it sees."""

from __future__ import annotations

from pathlib import Path

import torch

from humanpose_cli.body.scaled_body import ScaledPose
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.models.deform_and_learn.regressor import MODEL, BodyRegressor, BodyRegressorOptions
from humanpose_cli.networks.weights import WeightsHeader, write_weights

IMAGE, POSE = BodyRegressorOptions(18, 4, 32), BodyRegressorOptions(1, 8, inputs="pose")


def bent_pose() -> ScaledPose:
    """A body that is no T pose: arms down, a knee bent, turned a little, long thighs, left of the crop's middle."""
    start = ScaledPose.t_pose(1)
    angles, scales = start.axis_angles.clone(), start.segment_scales.clone()
    for side, angle in (("left", -1.2), ("right", 1.1)):
        angles[0, SMPL24.index(f"{side}_shoulder") - 1, 2] = angle
    angles[0, SMPL24.index("left_knee") - 1, 0] = 0.8
    scales[0, SMPL24.indices(("left_hip", "right_hip"))] = 1.25
    turn = torch.tensor([[0.8, 0.0, -0.6], [0.0, -1.0, 0.0], [-0.6, 0.0, -0.8]])
    return ScaledPose(scales, angles, turn.flatten()[None], torch.tensor([0.9]), torch.tensor([[-0.06, 0.03]]))


def deform_weights(
    path: Path, pose: ScaledPose | None = None, options: BodyRegressorOptions = IMAGE, body: str = "default"
) -> Path:
    """Write them; `pose` in half precision."""
    network = BodyRegressor(options)
    if options.inputs == "image":  # others are as they begin
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.copy_((pose or bent_pose()).vector[0])
    config = {**network.config, "skeleton": "smpl24", "body": body, "round": 1}
    write_weights(path, network.state_dict(), WeightsHeader(MODEL, config))
    return path
