"""The network of deform-and-learn (section 5): the crop of a person → the body's 105 parameters.

The paper's network takes the crop's pixels. This one can take the detector's landmarks in the crop instead, and then
does not have to learn from a few thousand images where limbs are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from humanpose_cli.body.scaled_body import POSE_SIZE, ScaledPose, gram_schmidt
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.options import Options, option
from humanpose_cli.networks.backbones import ResNet
from humanpose_cli.networks.weights import fill, options_of, read_weights

MODEL = "deform-and-learn"
"""Name of the model in weights files."""

_DROPOUT = 0.1  # share of a block's units, in training
_START = 0.01  # of the last layer's usual weights: an untrained network predicts the T pose


@dataclass(frozen=True)
class BodyRegressorOptions(Options):
    """The architecture of the network."""

    layers: int = option(50, "Layers of the ResNet, or residual blocks of the landmark network.")
    width: int = option(64, "Channels of the ResNet's first stage, or units of a block.", minimum=1)
    size: int = option(224, "Side of the ResNet's crops.", unit="pixels", minimum=32)
    cut_out: bool = option(
        False,
        "Mask the background of crops with the detector's mask, or the person's box if there is none.",
    )
    inputs: Literal["image", "landmarks"] = option(
        "image",
        "Input: image (a ResNet on crops) or landmarks (residual blocks on the detector's landmarks in the crop).",
    )

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that a cache must have, by the names in `lab.recipes.people.LABELS`."""
        return ("box", "detected") if self.inputs == "landmarks" else ("box",)


class LandmarkTrunk(nn.Module):
    """Residual blocks of two layers: landmarks (B, 33, 3) in image units with confidence → features (B, width).

    After Martinez et al. 2017, "A simple yet effective baseline for 3d human pose estimation", with layer
    normalisation.
    """

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(3 * len(BLAZEPOSE33), width)
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
    """Crops (B, 3, S, S), normalised as for ImageNet, or landmarks (B, 33, 3) → `ScaledPose` of B people.

    No body is reflected. If the network cannot distinguish front from back, the matrix is nearly singular and the sign
    of its determinant accidental; and a reflected body fits keypoints in the image as well as a turned one.
    Gram-Schmidt uses only the sign of the third column, so flipping that column makes the frame right-handed.
    """

    def __init__(self, options: BodyRegressorOptions | None = None) -> None:
        super().__init__()
        self.options = options or BodyRegressorOptions()
        layers, width = self.options.layers, self.options.width
        self.backbone: ResNet | LandmarkTrunk
        if self.options.inputs == "landmarks":
            self.backbone = LandmarkTrunk(layers, width)
        else:
            self.backbone = ResNet(layers, width=width)
            width = self.backbone.channels[-1]
        self.head = nn.Linear(width, POSE_SIZE)
        with torch.no_grad():
            self.head.weight.mul_(_START)
            self.head.bias.copy_(ScaledPose.t_pose(1).vector[0])

    def forward(self, inputs: Tensor) -> ScaledPose:
        if isinstance(self.backbone, ResNet):
            features = self.backbone.maps(inputs)[-1].mean((2, 3))
        else:
            features = self.backbone(inputs)
        pose = ScaledPose.from_vector(self.head(features).float())
        matrix = pose.orientation.unflatten(1, (3, 3))
        side = torch.where(torch.linalg.det(matrix.detach()) < 0, -1.0, 1.0)
        proper = torch.cat((matrix[..., :2], side[:, None, None] * matrix[..., 2:]), -1)
        return pose._replace(orientation=proper.flatten(1))

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


def orthonormalise(pose: ScaledPose) -> ScaledPose:
    """Replace the nine free numbers of each orientation by a rotation, which a network can learn."""
    return pose._replace(orientation=gram_schmidt(pose.orientation).flatten(1))
