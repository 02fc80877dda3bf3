"""The network of deform-and-learn (section 5): the crop of a person → the body's 105 parameters.

The paper's network takes the crop's pixels. This one can take the person's landmarks instead, by the shipped pose
network in the image and by the shipped lifter in space, and then does not have to learn from a few thousand images
where limbs are. Both have learned from 3-D labels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from humanpose_cli.body.scaled_body import ScaledPose, gram_schmidt
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.options import Options, option
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.networks.backbones import ResNet
from humanpose_cli.networks.weights import fill, options_of, read_weights

MODEL = "deform-and-learn"
"""Name of the model in weights files."""

_JOINTS = len(SMPL24)
_DROPOUT = 0.1  # share of a block's units, in training
_REFLECTED = (-1.0, 1.0, 1.0, -1.0, 1.0, 1.0)  # signs of the columns of `inputs.pose_in_crop` in a mirrored crop
_START = 0.01  # of the last layer's usual weights: an untrained network predicts the T pose


@dataclass(frozen=True)
class BodyRegressorOptions(Options):
    """The architecture of the network."""

    layers: int = option(50, "Layers of the ResNet, or residual blocks on the pose network's outputs.")
    width: int = option(64, "Channels of the ResNet's first stage, or units of a block.", minimum=1)
    size: int = option(224, "Side of the ResNet's crops.", unit="pixels", minimum=32)
    inputs: Literal["image", "pose"] = option(
        "image",
        "Input: image (a ResNet on crops) or pose (residual blocks on the detector's landmarks and the lifter's).",
    )

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that a cache must have, by the names in `lab.recipes.people.LABELS`."""
        return ("box", "detected") if self.inputs == "pose" else ("box",)


class PoseTrunk(nn.Module):
    """Residual blocks of two layers: `inputs.pose_in_crop` (B, 33, 6) → features (B, width).

    After Martinez et al. 2017, "A simple yet effective baseline for 3d human pose estimation", with layer
    normalisation.
    """

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(6 * len(BLAZEPOSE33), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Dropout(_DROPOUT), nn.Linear(width, width)
            )
            for _ in range(blocks)
        )

    def forward(self, landmarks: Tensor) -> Tensor:
        features = self.first(landmarks.flatten(1))
        for block in self.blocks:
            features = features + block(features)
        return torch.relu(features)


class BodyRegressor(nn.Module):
    """Crops (B, 3, S, S), normalised as for ImageNet, or `inputs.pose_in_crop` (B, 33, 6) → `ScaledPose` of B people.

    No body is reflected. If the network cannot distinguish front from back, the matrix is nearly singular and the sign
    of its determinant accidental; and a reflected body fits keypoints in the image as well as a turned one.
    Gram-Schmidt uses only the sign of the third column, so flipping that column makes the frame right-handed.
    """

    def __init__(self, options: BodyRegressorOptions | None = None) -> None:
        super().__init__()
        self.options = options or BodyRegressorOptions()
        layers, width = self.options.layers, self.options.width
        self.backbone: ResNet | PoseTrunk
        start = ScaledPose.t_pose(1).vector[0]
        if self.options.inputs == "pose":
            self.backbone = PoseTrunk(layers, width)
            facing = start[-12:-3].view(3, 3)[:, :2].flatten()
            start = torch.cat((start[:_JOINTS], facing.repeat(_JOINTS), start[-3:]))
        else:
            self.backbone = ResNet(layers, width=width)
            width = self.backbone.channels[-1]
        self.head = nn.Linear(width, len(start))
        with torch.no_grad():
            self.head.weight.mul_(_START)
            self.head.bias.copy_(start)

    def forward(self, inputs: Tensor) -> ScaledPose:
        if isinstance(self.backbone, ResNet):
            pose = ScaledPose.from_vector(self.head(self.backbone.maps(inputs)[-1].mean((2, 3))).float())
            matrix = pose.orientation.unflatten(1, (3, 3))
            side = torch.where(torch.linalg.det(matrix.detach()) < 0, -1.0, 1.0)
            proper = torch.cat((matrix[..., :2], side[:, None, None] * matrix[..., 2:]), -1)
            return pose._replace(orientation=proper.flatten(1))
        pose = from_absolute(self.head(self.backbone(inputs)).float())
        if self.training:
            return pose
        # In use, the mean with the body of the mirror image.
        reflection = inputs[:, list(BLAZEPOSE33.mirror)] * inputs.new_tensor(_REFLECTED)
        reflected = mirrored_pose(from_absolute(self.head(self.backbone(reflection)).float()))
        return orthonormalise(ScaledPose.from_vector((pose.vector + reflected.vector) / 2))

    @classmethod
    def load(cls, path: Path) -> BodyRegressor:
        """Load the network from a weights file.

        Raises:
            InputError: If the file is damaged or contains another model.
        """
        tensors, header = read_weights(path, MODEL)
        network = cls(options_of(BodyRegressorOptions, header.config.get("network"), path))
        fill(network, tensors, path)
        return network.eval()

    @property
    def config(self) -> dict[str, Any]:
        """The config for a weights file, as plain values."""
        return {"network": asdict(self.options)}


def from_absolute(vector: Tensor) -> ScaledPose:
    """Convert the outputs of a network that predicts absolute rotations, which errors of one joint do not pass on.

    Args:
        vector: (B, 171) float. Segment scales, the first two columns of each joint's rotation in camera axes, scale and
            translation.
    """
    scales, columns, camera = vector.split((_JOINTS, 6 * _JOINTS, 3), 1)
    pairs = columns.unflatten(1, (_JOINTS, 3, 2))
    third = torch.linalg.cross(pairs[..., 0], pairs[..., 1])
    matrices = torch.cat((pairs, third[..., None]), -1).flatten(2)
    rotations = gram_schmidt(matrices.flatten(0, 1)).unflatten(0, (-1, _JOINTS))
    relative = rotations[:, list(SMPL24.parents[1:])].mT @ rotations[:, 1:]
    return ScaledPose(scales, matrix_to_axis_angle(relative), rotations[:, 0].flatten(1), camera[:, 0], camera[:, 1:])


def mirrored_pose(pose: ScaledPose) -> ScaledPose:
    """Mirror bodies left to right: x becomes −x in the image and in the body."""
    flip = pose.scale.new_tensor([-1.0, 1.0, 1.0])  # rotations about y and z change their sign
    mirror = torch.tensor(SMPL24.mirror, device=flip.device)
    matrix = flip[:, None] * pose.orientation.unflatten(1, (3, 3)) * flip
    angles = -flip * pose.axis_angles[:, mirror[1:] - 1]
    return ScaledPose(
        pose.segment_scales[:, mirror], angles, matrix.flatten(1), pose.scale, flip[:2] * pose.translation
    )


def orthonormalise(pose: ScaledPose) -> ScaledPose:
    """Replace the nine free numbers of each orientation by a rotation, which a network can learn."""
    return pose._replace(orientation=gram_schmidt(pose.orientation).flatten(1))
