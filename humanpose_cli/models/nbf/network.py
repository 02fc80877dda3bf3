"""The body network of Neural Body Fitting (sections 3.2, 4.2 and appendix B): the regressor, and its use on images.

`Regressor` maps an encoded input to shape and part rotations. `BodyNetwork` applies a trained one to the people of an
image, in one forward pass, and returns their bodies in camera axes. `load_nbf` reads it from a weights file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from humanpose_cli.body.body import Body
from humanpose_cli.body.estimate import BodyEstimate
from humanpose_cli.body.joint_angles import mirror_rotations
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.device import Precision
from humanpose_cli.core.errors import InputError, UnavailableError
from humanpose_cli.core.options import Options, option
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.geometry.rotations import project_to_rotation
from humanpose_cli.models.crops import CropEvidence, evidence_of_person, frame_person
from humanpose_cli.models.lifter.metric import lifted_people
from humanpose_cli.models.nbf.body import (
    BodyLayer,
    BodyParameters,
    part_frames,
    place_in_image,
    rotations_to_poses,
    zero_pose_joints,
)
from humanpose_cli.models.nbf.inputs import (
    InputOptions,
    colour_coded,
    encode,
    encode_numbers,
    stack_inputs,
    world_of_numbers,
)
from humanpose_cli.models.segmenter.network import Segmenter, segmenter_input
from humanpose_cli.networks.backbones import RESNETS, ResNet
from humanpose_cli.networks.precision import precision_context, resolve_precision
from humanpose_cli.networks.weights import WeightsHeader, fill, options_of, read_weights

_JOINTS = len(SMPL24)
_SHAPES = 10
_DROPOUT = 0.1  # share of the MLP's features left out in training
_FIRST_LOG_NOISE = -3.0  # 5 cm
_LOG_NOISE = (-5.0, 1.0)  # 7 mm to 2.7 m


@dataclass(frozen=True)
class RegressorOptions(Options):
    """The architecture of a regressor."""

    layers: int = option(50, "Layers of the ResNet for images.", choices=tuple(RESNETS))
    width: int = option(64, "Channels of the ResNet's first stage.", minimum=1)
    reduced: int = option(
        0,
        "Channels that the last map is reduced to before the fully-connected layer; 0 keeps all of them.",
        minimum=0,
    )
    hidden: int = option(
        384, "Features of the MLP behind image and vector; without a vector there is no MLP.", minimum=1
    )
    blocks: int = option(2, "Residual blocks of the MLP.", minimum=0)
    noise: bool = option(False, "Also predict the expected errors of the joints.")
    first_pool: int = option(
        3, "Side of the windows of the ResNet's first pooling (2 in the authors' code).", unit="pixels", choices=(2, 3)
    )


class Regressor(nn.Module):
    """Encoded inputs → `BodyParameters`; it learns the residual to the training data's mean.

    With numbers as inputs, there are two residuals. The first is relative to the parts' directions by the detector's
    landmarks and small if they are right. The second, of the rotations themselves, overrules them if the
    image contradicts them. Both are added before the projection.

    Rotations are projected to SO(3) by SVD, never to a reflection; the gradient is finite at equal singular values.
    """

    mean_betas: Tensor
    mean_rotations: Tensor
    zero_pose: Tensor

    def __init__(self, inputs: InputOptions, options: RegressorOptions) -> None:
        super().__init__()
        self.options = options
        self.reduce: nn.Module = nn.Identity()
        self.backbone = ResNet(options.layers, width=options.width, first_pool=options.first_pool)
        # Channels last: a third less time on a processor.
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        channels = self.backbone.channels[-1]
        if options.reduced:
            self.reduce = nn.Sequential(nn.Conv2d(channels, options.reduced, 1), nn.ReLU())
            channels = options.reduced
        features = channels * (-(-inputs.size // 32)) ** 2
        self.lift: nn.Module | None = None
        if inputs.numbers:
            self.lift = nn.Linear(features + inputs.numbers, options.hidden)
            features = options.hidden
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(features),
                nn.Linear(features, features),
                nn.GELU(),
                nn.Dropout(_DROPOUT),
                nn.Linear(features, features),
            )
            for _ in range(options.blocks if inputs.numbers else 0)
        )
        self.outputs = [_SHAPES, _JOINTS * 9, bool(inputs.numbers) * _JOINTS * 9, options.noise * _JOINTS * 2]
        self.head = nn.Linear(features, sum(self.outputs))
        nn.init.normal_(self.head.weight, std=0.1 / features**0.5)
        nn.init.zeros_(self.head.bias)
        if inputs.numbers:
            self.register_buffer("zero_pose", zero_pose_joints())
        self.register_buffer("mean_betas", torch.zeros(_SHAPES))
        self.register_buffer("mean_rotations", torch.eye(3).repeat(_JOINTS, 1, 1))

    def set_mean(self, betas: Tensor, rotations: Tensor) -> None:
        """Set the means that the network's residuals refer to.

        Args:
            betas: (10,) float. The mean shape of the training data.
            rotations: (24, 3, 3) float. The mean of the absolute rotation matrices; for inputs with numbers, of the
                rotations relative to `part_frames`.
        """
        self.mean_betas.copy_(betas)
        self.mean_rotations.copy_(rotations)

    def forward(self, inputs: Mapping[str, Tensor]) -> BodyParameters:
        """Predict bodies from "image" (B, 3, size, size), and "vector" (B, N) if the input has numbers."""
        image = inputs["image"].contiguous(memory_format=torch.channels_last)
        x = self.reduce(self.backbone.maps(image)[-1]).flatten(1).float()
        with torch.autocast(self.head.weight.device.type, enabled=False):  # half precision is too coarse
            if self.lift is not None:
                x = self.lift(torch.cat([x, inputs["vector"]], 1))
                for block in self.blocks:
                    x = x + block(x)
            betas, rotations, absolute, log_noise = self.head(x).split(self.outputs, 1)
            matrices = self.mean_rotations + rotations.unflatten(1, (_JOINTS, 3, 3))
            if self.lift is not None:
                frames = part_frames(self.zero_pose, *world_of_numbers(inputs["vector"]))
                matrices = frames @ matrices + absolute.unflatten(1, (_JOINTS, 3, 3))
            # LAPACK refuses numbers that are not finite; they go on into the loss instead, which reports them.
            invalid = ~torch.isfinite(matrices)
            rotation_matrices = project_to_rotation(torch.where(invalid, self.mean_rotations, matrices))
            rotation_matrices = rotation_matrices.masked_fill(invalid, torch.nan)
        noise = None
        if self.options.noise:
            noise = (log_noise.unflatten(1, (_JOINTS, 2)) + _FIRST_LOG_NOISE).clamp(*_LOG_NOISE)
        return BodyParameters(self.mean_betas + betas, rotation_matrices, noise)


MODEL = "nbf"
"""Name of the model in weights files."""
_REGRESSOR = "regressor."


@dataclass(frozen=True)
class NbfConfig:
    """The architecture of a trained network.

    Attributes:
        inputs: The encoding of its input.
        regressor: The architecture of its regressor.
        crop: The side in pixels of the crop that the input is made from.
        body: The kind of body that its shapes belong to, "default" or "smpl".
    """

    inputs: InputOptions
    regressor: RegressorOptions
    crop: int = 512
    body: str = "default"


class PreparedPerson(NamedTuple):
    """One person's inputs of the network, and the camera of their image."""

    crop: Crop
    evidence: CropEvidence
    camera: Camera


def segmented_input(probabilities: Tensor, inputs: InputOptions) -> Tensor:
    """Convert a segmenter's probabilities (B, 1 + parts, H, W) to the network's image (B, 3, size, size)."""
    return colour_coded(probabilities.argmax(1), inputs.parts, inputs.size)


class BodyNetwork:
    """A trained regressor with its body, and a segmenter if its input needs one.

    Attributes:
        averaged: Whether bodies are the mean of the crop's and of its mirror image's, in 1.4 times the time.
    """

    def __init__(
        self,
        config: NbfConfig,
        regressor: Regressor,
        layer: BodyLayer,
        segmenter: Segmenter | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self.averaged = True
        self.config, self.segmenter, self.device = config, segmenter, torch.device(device)
        self.regressor = regressor.eval().requires_grad_(False).to(device)
        self.layer = layer.to(device)
        self.precision = resolve_precision(precision, device)

    @property
    def crop(self) -> int:
        """The side of the crop in pixels: the segmenter's, otherwise the one used in training."""
        return self.config.crop if self.segmenter is None else self.segmenter.options.crop

    def takes(self, person: DetectedPerson) -> bool:
        """Check whether a person has the network's inputs."""
        kind = self.config.inputs.kind
        if kind == "proxy":
            return person.skeleton.name == BLAZEPOSE33.name and person.world is not None
        return kind != "joints" or person.skeleton.name == SMPL24.name

    def prepare(
        self, image: NDArray[np.uint8], people: Sequence[DetectedPerson], camera: Camera
    ) -> list[PreparedPerson]:
        """Prepare the inputs of `finish`, so that people of several images can be processed together.

        Args:
            image: (H, W, 3) uint8. The image.
            people: The people.
            camera: The image's camera.

        Raises:
            InputError: If the people lack what the input needs, such as landmarks.
        """
        if not people:
            return []
        crops = [frame_person(person, self.crop) for person in people]
        pairs = zip(people, crops, strict=True)
        needs_image = self.config.inputs.segmented or self.config.inputs.kind == "rgb"
        evidence = [evidence_of_person(image, person, crop, with_image=needs_image) for person, crop in pairs]
        if self.config.inputs.kind == "proxy":
            # The crop keeps the detector's own: sizes by the lifter's are worse on rendered people (PA +2.7 mm).
            worlds = lifted_people(people, camera)
            evidence = [replace(item, world=world) for item, world in zip(evidence, worlds, strict=True)]
        return [PreparedPerson(crop, item, camera) for crop, item in zip(crops, evidence, strict=True)]

    def finish(self, people: Sequence[PreparedPerson]) -> list[BodyEstimate]:
        """Estimate the bodies of prepared people in one batch; they are placed in float32."""
        if not people:
            return []
        crops = [person.crop for person in people]
        with torch.no_grad():  # not inference_mode: constants that are made here for the first time serve fits too
            with precision_context(self.precision, self.device):
                parameters = self.regress([person.evidence for person in people])
            parameters = BodyParameters._make(None if values is None else values.float() for values in parameters)
            camera = Camera.stack(person.camera for person in people).tensors(device=self.device)
            with torch.autocast(self.device.type, enabled=False):
                bodies = place_in_image(parameters, self.layer, crops, camera)
                poses = rotations_to_poses(bodies.rotations)
        columns = [x.cpu().numpy() for x in (poses, parameters.betas, bodies.trans, bodies.joints)]
        noise = [None] * len(people) if parameters.log_noise is None else list(parameters.log_noise.exp().cpu().numpy())
        return list(map(BodyEstimate, *columns, noise, crops))

    def regress(self, evidence: Sequence[CropEvidence]) -> BodyParameters:
        """Predict the parameters of N people in the axes of the fixed camera.

        If `averaged`, the mean of the predictions for the crops and for their mirror images.
        """
        if not self.averaged:
            return self._regress(evidence)
        count = len(evidence)
        betas, rotations, noise = self._regress([*evidence, *(item.mirrored() for item in evidence)])
        if noise is not None:
            noise = (noise[:count] + noise[count:, list(SMPL24.mirror)]) / 2
        with torch.autocast(self.device.type, enabled=False):
            matrices = rotations[:count].float() + mirror_rotations(rotations[count:].float())
            return BodyParameters((betas[:count] + betas[count:]) / 2, project_to_rotation(matrices), noise)

    def _regress(self, evidence: Sequence[CropEvidence]) -> BodyParameters:
        inputs = self.config.inputs
        if inputs.segmented and any(item.parts is None for item in evidence):
            image = segmented_input(self._parts(evidence), inputs)
            numbers = stack_inputs([encode_numbers(item, inputs) for item in evidence])
            return self.regressor({"image": image, **{n: v.to(self.device) for n, v in numbers.items()}})
        batch = stack_inputs([encode(item, inputs) for item in evidence])
        return self.regressor({name: values.to(self.device) for name, values in batch.items()})

    def _parts(self, evidence: Sequence[CropEvidence]) -> Tensor:
        if self.segmenter is None:
            raise UnavailableError(
                "body network", "sees body parts and has no segmenter", remedy="give the weights of one: `segmenter`"
            )
        images = np.stack([segmenter_input(item, self.segmenter.options) for item in evidence])
        return self.segmenter.probabilities(torch.from_numpy(images).to(self.device))


def load_nbf(
    path: Path,
    *,
    segmenter: Path | Segmenter | None = None,
    body: str | Body = "default",
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
) -> BodyNetwork:
    """Load a trained body network from its weights file.

    Args:
        path: The weights file.
        segmenter: The segmenter or its weights file, for networks that take body parts.
        body: A body, "default" or "smpl:FILE", of the kind that the network was trained with.
        device: The device to run on.
        precision: The precision to compute in.

    Raises:
        InputError: If the file is damaged or contains another model, if the segmenter has another number of parts, or
            if the body is of another kind.
    """
    tensors, header = read_weights(path, MODEL)
    config = config_of(header, path)
    rig = load_body(body) if isinstance(body, str) else body
    if rig.name.partition("-")[0] != config.body:
        raise InputError(path, "was trained with another body", expected=config.body, got=rig.name, remedy="`body`")
    regressor = Regressor(config.inputs, config.regressor)
    fill(regressor, _regressor_tensors(tensors), path)
    if not config.inputs.segmented:
        segmenter = None
    elif isinstance(segmenter, Path):
        segmenter = Segmenter.load(segmenter, device, parts=config.inputs.parts)
    elif segmenter is not None and segmenter.options.parts != config.inputs.parts:
        raise InputError(path, "sees other parts than the segmenter", expected=f"{config.inputs.parts} parts")
    return BodyNetwork(config, regressor, BodyLayer(rig), segmenter, device, precision)


def fill_regressor(regressor: Regressor, path: Path) -> None:
    """Fill a regressor with the matching weights of a body network's file, such as the backbone of another input.

    Args:
        regressor: The regressor.
        path: The weights file.

    Raises:
        InputError: If no weights match.
    """
    tensors = _regressor_tensors(read_weights(path, MODEL)[0])
    state = regressor.state_dict()
    fitting = {name: values for name, values in tensors.items() if name in state and state[name].shape == values.shape}
    if not any(name.endswith("weight") for name in fitting):
        raise InputError(path, "has nothing of this network", expected="weights of a network that is built alike")
    fill(regressor, {**state, **fitting}, path)


def _regressor_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_REGRESSOR): value for name, value in tensors.items() if name.startswith(_REGRESSOR)}


def config_of(header: WeightsHeader, path: Path) -> NbfConfig:
    """Read the config of a body network.

    Args:
        header: The header of its weights file.
        path: The file, for messages.

    Raises:
        InputError: If the header does not have a valid config.
    """
    try:
        parts = dict(header.config)
        inputs = options_of(InputOptions, parts.pop("inputs"), path)
        regressor = options_of(RegressorOptions, parts.pop("regressor"), path)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"has a config without {error}", expected="a body network of hpc train nbf") from error
    return options_of(NbfConfig, {**parts, "inputs": inputs, "regressor": regressor}, path)
