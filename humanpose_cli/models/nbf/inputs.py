"""Inputs of the regressor: the encodings in Table 1 of Neural Body Fitting, and the detector's output as a proxy.

    rgb      the crop itself
    parts    its body parts in fixed colours, resized by nearest neighbours, in −1…1 (section 3.2)
    joints   Gaussians at joints in fixed colours
    proxy    body parts as above, and the detector's output on a photograph as numbers: 33 landmarks with
             visibility, and the same in space by the lifter

`encode` takes a `CropEvidence`, made from labels or from detections, so training and use share the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.parts import PART_MAPS, PartMap
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import Options, option
from humanpose_cli.models.crops import CropEvidence, normalised_image
from humanpose_cli.models.segmenter.inputs import code_colours, labels_of_parts

JOINTS14 = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("neck", "head"),
)
"""The joints of LSP by SMPL24's names."""

_UPRIGHT = np.diag([1.0, -1.0, -1.0])  # a person who faces the camera
_SPREAD = 0.025  # of the crop's side: standard deviation of a joint's Gaussian
_LANDMARKS = len(BLAZEPOSE33)
_TORSO = BLAZEPOSE33.indices(("left_hip", "right_hip", "left_shoulder", "right_shoulder"))


@dataclass(frozen=True)
class InputOptions(Options):
    """The encoding and its details."""

    kind: Literal["rgb", "parts", "joints", "proxy"] = option("parts", "The encoding.")
    parts: int = option(12, "Number of body parts of `kind=parts` and `kind=proxy`.", choices=(1, 3, 6, 12, 24))
    joints: int = option(24, "Number of joints of `kind=joints`.", choices=(14, 24))
    size: int = option(224, "Side of the network's input image.", unit="pixels", minimum=16, maximum=1024)

    @property
    def numbers(self) -> int:
        """The length of the vector; 0 without one."""
        return 9 * _LANDMARKS + 1 if self.kind == "proxy" else 0

    @property
    def segmented(self) -> bool:
        """Whether the input shows body parts."""
        return self.kind in ("parts", "proxy")

    @property
    def part_map(self) -> PartMap:
        """The partition of the 24 parts."""
        return PART_MAPS[self.parts]


def encode(evidence: CropEvidence, options: InputOptions) -> dict[str, NDArray[np.float32]]:
    """Encode a person as the network's inputs, in about −1…1.

    Args:
        evidence: The evidence about the person.
        options: The encoding.

    Returns:
        "image" (C, size, size) float32 and, if the encoding has one, "vector" (N,) float32.

    Raises:
        InputError: If the evidence lacks what the encoding shows.
    """
    if options.kind == "rgb":
        image = _required(evidence.image, "an image")
        small = image
        if evidence.size != options.size:
            smaller = cv2.INTER_AREA if evidence.size > options.size else cv2.INTER_LINEAR
            small = np.asarray(cv2.resize(image, (options.size, options.size), interpolation=smaller), np.uint8)
        return {"image": normalised_image(small)}
    if options.kind == "joints":
        names = JOINTS14 if options.joints == 14 else SMPL24.joint_names
        joints = _required(evidence.joints, "joints of smpl24")[SMPL24.indices(names)]
        return {"image": _coloured_joints(joints, evidence.size, options.size)}
    labels = torch.from_numpy(labels_of_parts(_required(evidence.parts, "body parts"), options.part_map))
    image = colour_coded(labels[None], options.parts, options.size)[0].numpy()
    return {"image": image, **encode_numbers(evidence, options)}


def encode_numbers(evidence: CropEvidence, options: InputOptions) -> dict[str, NDArray[np.float32]]:
    """Encode only the numbers of `encode`, for people whose body parts come from a segmenter.

    Args:
        evidence: The evidence about the person.
        options: The encoding.

    Raises:
        InputError: If the evidence has no landmarks.
    """
    if not options.numbers:
        return {}
    landmarks = _required(evidence.landmarks, "the detector's landmarks")
    frame = _UPRIGHT if evidence.world is None else torso_frame(evidence.world)
    return {"vector": _numbers(landmarks, evidence.world, frame, evidence.size)}


def _required(value: NDArray | None, name: str) -> NDArray:
    if value is None:
        raise InputError("the person", f"comes without {name}, which this input shows", remedy="use another input")
    return value


def colour_coded(labels: Tensor, parts: int, size: int) -> Tensor:
    """Colour label maps, resized by nearest neighbours.

    Args:
        labels: (B, H, W) integer, 0 to `parts`. 0 is the background.
        parts: The number of parts.
        size: The side of the result in pixels.

    Returns:
        (B, 3, size, size) float32, −1 to 1. The colours.
    """
    if labels.shape[-1] != size:
        nearest = ((torch.arange(size, device=labels.device) + 0.5) * labels.shape[-1] / size).long()
        labels = labels[:, nearest][:, :, nearest]
    colours = torch.from_numpy(code_colours(parts).copy()).to(labels.device)
    return colours[labels.long()].permute(0, 3, 1, 2).contiguous()


def _coloured_joints(joints: NDArray, crop: int, size: int) -> NDArray[np.float32]:
    """Draw the brightest of the joints' Gaussians (3, size, size), each in its colour, on black."""
    maps = _gaussians(joints, crop, size)
    paint = code_colours(len(joints))[1:] + 1
    image = np.full((3, size, size), -1, np.float32)
    for heatmap, colour in zip(maps, paint, strict=True):
        np.maximum(image, colour[:, None, None] * heatmap - 1, out=image)
    return image


def _gaussians(points: NDArray, crop: int, size: int) -> NDArray[np.float32]:
    """Draw Gaussians (J, size, size) of points (J, 3) x, y in pixels of the crop and confidence, their height."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    across, down = (
        np.exp(-0.5 * ((centres - (points[:, axis, None] / crop).astype(np.float32)) / _SPREAD) ** 2) for axis in (0, 1)
    )
    height = np.clip(points[:, 2], 0, 1).astype(np.float32)
    return np.asarray((height[:, None] * down)[:, :, None] * across[:, None, :], np.float32)


def torso_frame(world: NDArray) -> NDArray[np.float64]:
    """Return the orientation of hips and shoulders: y from the hips up to the shoulders, x to the person's left.

    Args:
        world: (..., 33, 3) float, metres in camera axes. World landmarks.

    Returns:
        (..., 3, 3) float64. Rotations from body to camera axes; upright if undefined.
    """
    left_hip, right_hip, left, right = (world[..., row, :].astype(np.float64) for row in _TORSO)
    up = left + right - left_hip - right_hip
    side = left_hip - right_hip + left - right
    y = up / np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-9)
    side = side - (side * y).sum(-1, keepdims=True) * y
    length = np.linalg.norm(side, axis=-1, keepdims=True)
    x = side / np.maximum(length, 1e-9)
    frame = np.stack((x, y, np.cross(x, y)), -1)
    valid = (length > 1e-3) & (np.linalg.norm(up, axis=-1, keepdims=True) > 1e-3)
    return np.where(valid[..., None], frame, _UPRIGHT)


def _numbers(landmarks: NDArray, world: NDArray | None, frame: NDArray, crop: int) -> NDArray[np.float32]:
    """Encode (298,) numbers: positions, confidence, world landmarks in camera axes and in the frame, and their flag."""
    # Points far outside the crop are errors of the detector; they are clipped.
    positions = np.clip(2 * landmarks[:, :2] / crop - 1, -2, 2)
    metres = np.zeros((_LANDMARKS, 3)) if world is None else np.clip(world, -2, 2)
    has_world = [0.0 if world is None else 1.0]
    parts = (positions.ravel(), landmarks[:, 2] - 0.5, metres.ravel(), (metres @ frame).ravel(), has_world)
    return np.concatenate(parts).astype(np.float32)


def world_of_numbers(vector: Tensor) -> tuple[Tensor, Tensor]:
    """Extract the world landmarks from encoded vectors.

    Args:
        vector: (B, N) float. Vectors of `encode_numbers`.

    Returns:
        (B, 33, 3) in metres, and (B, 33), 1 if they are known and 0 if not.
    """
    first = 3 * _LANDMARKS
    has_world = vector[:, -1:].expand(-1, _LANDMARKS)
    return vector[:, first : first + 3 * _LANDMARKS].unflatten(1, (_LANDMARKS, 3)), has_world


def stack_inputs(samples: list[Mapping[str, NDArray[np.float32]]]) -> dict[str, Tensor]:
    """Stack the encodings of several people to a batch."""
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
