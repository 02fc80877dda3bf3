"""Input → shape and part rotations: the second stage of Neural Body Fitting (sections 3.2, 4.2 and appendix B)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from humanpose_cli.conventions import SMPL24
from humanpose_cli.errors import UsageError
from humanpose_cli.fitting.nbf.inputs import InputOptions, world_of_numbers
from humanpose_cli.fitting.nbf.parameters import BodyParameters
from humanpose_cli.fitting.nbf.part_frames import part_frames, zero_pose_joints
from humanpose_cli.geometry.rotations import project_to_rotation
from humanpose_cli.networks.resnet import RESNETS, ResNet

__all__ = ["Regressor", "RegressorOptions"]

_JOINTS = len(SMPL24)
_SHAPES = 10
_FIRST_LOG_NOISE = -3.0  # 5 cm
_LOG_NOISE = (-5.0, 1.0)  # 7 mm to 2.7 m


@dataclass(frozen=True)
class RegressorOptions:
    """What a regressor is.

    layers, width  of the ResNet that looks at images: 18, 34, 50 or 101 layers, channels of its first stage
    reduced   channels that the last map is reduced to before all of it goes to the fully-connected layer; 0 keeps them
              (the paper replaces the pooling by a fully-connected layer)
    hidden, blocks, dropout  features and residual blocks of the MLP behind image and vector, and the share of its
              features left out in training; without a vector there is no MLP
    noise     tell the joints' expected errors too
    """

    layers: int = 50
    width: int = 64
    reduced: int = 0
    hidden: int = 384
    blocks: int = 2
    dropout: float = 0.1
    noise: bool = False

    def __post_init__(self) -> None:
        if self.layers not in RESNETS:
            raise UsageError("layers", "no such ResNet", expected=", ".join(map(str, RESNETS)), got=str(self.layers))
        if self.width < 1 or self.reduced < 0 or self.hidden < 1 or self.blocks < 0 or not 0 <= self.dropout < 1:
            raise UsageError("regressor", "cannot be built like this", expected="widths of 1 or more, dropout below 1")


class Regressor(nn.Module):
    """Encoded inputs → `BodyParameters`; what it learns is the residual to the training data's mean.

    Of inputs with numbers there are two of them: one relative to where the detector's landmarks say that each part
    points, which is small where they are right, and one of the rotations themselves, which overrules them where the
    picture says otherwise. Both are added before the projection.

    Rotations are projected to SO(3) by SVD, never to a reflection, whose gradient is finite at equal singular values.
    """

    mean_betas: Tensor
    mean_rotations: Tensor
    zero_pose: Tensor

    def __init__(self, inputs: InputOptions, options: RegressorOptions) -> None:
        super().__init__()
        self.options = options
        self.backbone: ResNet | None = None
        self.reduce: nn.Module = nn.Identity()
        features = 0
        if inputs.channels:
            self.backbone = ResNet(options.layers, inputs=inputs.channels, width=options.width)
            # Channels last: a third less time on a processor.
            self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            channels = self.backbone.channels[-1]
            if options.reduced:
                self.reduce = nn.Sequential(nn.Conv2d(channels, options.reduced, 1), nn.ReLU())
                channels = options.reduced
            side = -(-inputs.size // 32)
            features = channels * side * side
        self.lift: nn.Module | None = None
        if inputs.numbers:
            self.lift = nn.Linear(features + inputs.numbers, options.hidden)
            features = options.hidden
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(features),
                nn.Linear(features, features),
                nn.GELU(),
                nn.Dropout(options.dropout),
                nn.Linear(features, features),
            )
            for _ in range(options.blocks if inputs.numbers else 0)
        )
        own = _JOINTS * 9 if inputs.numbers else 0
        self.outputs = [_SHAPES, _JOINTS * 9, own, _JOINTS * 2 if options.noise else 0]
        self.head = nn.Linear(features, sum(self.outputs))
        nn.init.normal_(self.head.weight, std=0.1 / features**0.5)
        nn.init.zeros_(self.head.bias)
        if inputs.numbers:
            self.register_buffer("zero_pose", zero_pose_joints())
        self.register_buffer("mean_betas", torch.zeros(_SHAPES))
        self.register_buffer("mean_rotations", torch.eye(3).repeat(_JOINTS, 1, 1))

    def set_mean(self, betas: Tensor, rotations: Tensor) -> None:
        """The data's mean shape (10,) and the mean (24, 3, 3) of its absolute rotations' matrices.

        Of inputs with numbers, the mean of the rotations relative to `part_frames`.
        """
        self.mean_betas.copy_(betas)
        self.mean_rotations.copy_(rotations)

    def forward(self, inputs: Mapping[str, Tensor]) -> BodyParameters:
        """inputs  "image" (B, C, size, size) and "vector" (B, N), as far as the input has them."""
        seen = []
        if self.backbone is not None:
            image = inputs["image"].contiguous(memory_format=torch.channels_last)
            seen.append(self.reduce(self.backbone.maps(image).stage4).flatten(1).float())
        with torch.autocast(self.head.weight.device.type, enabled=False):  # half precision is too coarse for places
            if self.lift is not None:
                x = self.lift(torch.cat([*seen, inputs["vector"]], 1))
                for block in self.blocks:
                    x = x + block(x)
                seen = [x]
            betas, rotations, own, log_noise = self.head(seen[0]).split(self.outputs, 1)
            matrices = self.mean_rotations + rotations.unflatten(1, (_JOINTS, 3, 3))
            if self.lift is not None:
                frames = part_frames(self.zero_pose, *world_of_numbers(inputs["vector"]))
                matrices = frames @ matrices + own.unflatten(1, (_JOINTS, 3, 3))
            # Numbers that are not finite would end in LAPACK's words; they go on into the loss instead, which tells.
            broken = ~torch.isfinite(matrices)
            turned = project_to_rotation(torch.where(broken, self.mean_rotations, matrices))
            turned = turned.masked_fill(broken, torch.nan)
        noise = None
        if self.options.noise:
            noise = (log_noise.unflatten(1, (_JOINTS, 2)) + _FIRST_LOG_NOISE).clamp(*_LOG_NOISE)
        return BodyParameters(self.mean_betas + betas, turned, noise)
