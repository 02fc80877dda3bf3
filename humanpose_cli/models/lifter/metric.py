"""The lifter: landmarks of one person in the image → joints relative to the pelvis in metres, each with its noise.

The network takes directions instead of pixels: every landmark becomes a ray, rays are rotated to the axes of the
person's centre ray and scaled to unit size. So focal length, position in the image and crop do not change its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import Options, option
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.geometry.rotations import viewing_rotation
from humanpose_cli.networks.weights import fill, options_of, read_weights, shipped_weights

MODEL = "lifter"
"""Name of the model in weights files."""

_SIDES = ("left", "right")
INPUT_LANDMARKS = (
    "nose",
    *(
        f"{side}_{name}"
        for name in ("ear", "shoulder", "elbow", "wrist", "index", "hip", "knee", "ankle", "heel", "foot_index")
        for side in _SIDES
    ),
)
"""Names of the 21 landmarks that the lifter takes."""
_REQUIRED_LANDMARKS = tuple(f"{side}_{name}" for name in ("shoulder", "hip", "knee", "elbow") for side in _SIDES)

LIFTED_JOINTS = (
    *("neck", "head"),
    *(f"{side}_{name}" for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for side in _SIDES),
)
"""Names of the 14 joints of `SMPL24` that the lifter predicts, before BlazePose's 33 landmarks."""

_JOINTS, _POINTS = len(LIFTED_JOINTS), len(LIFTED_JOINTS) + len(BLAZEPOSE33)
_FEATURES = 3 * len(INPUT_LANDMARKS) + 1
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_USUAL_LOG_SIZE = -2.2  # of a standing person at 4 m
_REACH = 6.0  # unit sizes from the centre: points beyond are broken
_LOG_NOISE = (-5.5, 1.0)
# Rows of a batch. Matrix products of few rows are computed by other instructions, which round differently: with one
# size, the prediction for a person does not depend on the other people.
_BATCH = 32


def _mirrored_rows(names: tuple[str, ...]) -> list[int]:
    swap = {"left": "right", "right": "left"}
    mirrored = ["_".join((swap.get(side, side), *rest)) for side, *rest in (name.split("_") for name in names)]
    return [names.index(name) for name in mirrored]


_MIRROR_INPUT = _mirrored_rows(INPUT_LANDMARKS)
MIRRORED_POINTS = [*_mirrored_rows(LIFTED_JOINTS), *(_JOINTS + row for row in BLAZEPOSE33.mirror)]
"""Rows of the 47 points when left and right are swapped."""
_CENTRE_WEIGHTS = torch.tensor([1.0 if name.endswith(("hip", "shoulder")) else 0.1 for name in INPUT_LANDMARKS])


class NormalisedRays(NamedTuple):
    """The network's inputs for N people.

    Attributes:
        points: (N, 21, 2) float. Positions in the plane across the centre ray, with a root-mean-square size of 1; 0 if
            not visible.
        confidence: (N, 21) float, 0 to 1. Their confidence.
        log_size: (N, 1) float. Natural logarithm of the size, as tangent of an angle.
        to_camera: (N, 3, 3) float. Rotation from the axes of the centre ray (x level with the camera's x-z plane, z
            along the ray) to camera axes.
    """

    points: Tensor
    confidence: Tensor
    log_size: Tensor
    to_camera: Tensor

    def mirrored(self) -> NormalisedRays:
        """Mirror the people, swapping left and right; `to_camera` becomes that of the mirrored camera."""
        flip = self.points.new_tensor([-1.0, 1.0])
        flip_axes = torch.nn.functional.pad(flip, (0, 1), value=1.0)
        return NormalisedRays(
            self.points[:, _MIRROR_INPUT] * flip,
            self.confidence[:, _MIRROR_INPUT],
            self.log_size,
            self.to_camera * flip_axes * flip_axes[:, None],
        )


def normalise_rays(rays: Tensor, confidence: Tensor) -> NormalisedRays:
    """Compute the network's inputs from directions.

    The result is invariant to a yaw of the camera about its y axis, and equivariant to mirroring and to a change of
    size.

    Args:
        rays: (N, 21, 2) float. x / z and y / z of the landmarks in camera axes.
        confidence: (N, 21) float. Their confidence, 0 if not visible.
    """
    visible = (confidence > 0)[..., None]  # (N, 21, 1)
    # Unit directions, and their weighted mean: the centre ray. Trunk landmarks decide it.
    unit = torch.nn.functional.pad(torch.where(visible, rays, 0.0), (0, 1), value=1.0)
    unit = unit / unit.norm(dim=-1, keepdim=True)
    weight = confidence[..., None] * _CENTRE_WEIGHTS.to(rays)[:, None]
    centre = (weight * unit).sum(1)
    centre[:, 2] += 1e-9 * (weight.sum((1, 2)) == 0)  # nothing is visible: straight ahead
    forward = centre / centre.norm(dim=-1, keepdim=True)
    # Axes of the centre ray: z along it, x level with the camera's x-z plane, so that yaw of the camera has no effect.
    level = torch.stack((forward[:, 2], torch.zeros_like(forward[:, 0]), -forward[:, 0]), -1)
    right = level / level.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    to_camera = torch.stack((right, torch.linalg.cross(forward, right), forward), -1)
    directions = unit @ to_camera  # (N, 21, 3) in these axes
    # Projected onto the plane across the centre ray and divided by the root mean square size.
    flat = torch.where(visible, directions[..., :2] / directions[..., 2:].clamp_min(0.1), 0.0)
    total = confidence.sum(1).clamp_min(1e-9)
    size = ((confidence * flat.square().sum(-1)).sum(1) / total).sqrt().clamp_min(1e-5)
    points = (flat / size[:, None, None]).clamp(-_REACH, _REACH)
    return NormalisedRays(points, confidence, size.log()[:, None], to_camera)


@dataclass(frozen=True)
class LifterOptions(Options):
    """The size of the network."""

    width: int = option(256, "Features of a layer.", minimum=1)
    blocks: int = option(3, "Residual blocks of two layers.", minimum=0)


class LifterNetwork(nn.Module):
    """A residual MLP from `NormalisedRays` to points and their noise.

    Points (N, 47, 3) are `LIFTED_JOINTS`, then BLAZEPOSE33, in metres relative to the pelvis, in axes of the centre
    ray. Noise (N, 47, 2) is the logarithm of the scale of a Laplace distribution, across and along that ray. The scale
    times `calibration` (47, 2) is the σ that 68 % of held-out errors (of x and y, and of z) stay below.
    """

    calibration: Tensor

    def __init__(self, options: LifterOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.lift = nn.Linear(_FEATURES, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(options.blocks)
        )
        for block in self.blocks:
            nn.init.zeros_(block[-1].weight)  # type: ignore[index, arg-type]
            nn.init.zeros_(block[-1].bias)  # type: ignore[index, arg-type]
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, _POINTS * 5)
        self.direct = nn.Linear(_FEATURES, _POINTS * 3, bias=False)
        nn.init.zeros_(self.direct.weight)
        self.register_buffer("calibration", torch.ones(_POINTS, 2))

    def forward(self, rays: NormalisedRays) -> tuple[Tensor, Tensor]:
        with torch.autocast(rays.points.device.type, enabled=False):  # half precision is too coarse for positions
            size = (rays.log_size - _USUAL_LOG_SIZE).clamp(-3, 3)
            features = torch.cat((rays.points.flatten(1), 2 * rays.confidence - 1, size), 1)
            x, direct = self.lift(features), self.direct(features)
        for block in self.blocks:
            x = x + block(x)
        with torch.autocast(rays.points.device.type, enabled=False):
            points, noise = self.head(self.norm(x)).split((_POINTS * 3, _POINTS * 2), 1)
        points = (points + direct).unflatten(1, (_POINTS, 3)) * 0.2
        return points, (noise.unflatten(1, (_POINTS, 2)) - 2.5).clamp(*_LOG_NOISE)

    def symmetric(self, rays: NormalisedRays) -> tuple[Tensor, Tensor]:
        """Average the predictions for a person and for the mirror image, which makes them exactly symmetric."""
        points, noise = self(rays)
        mirrored, mirrored_noise = self(rays.mirrored())
        flip = points.new_tensor([-1.0, 1.0, 1.0])
        return (points + mirrored[:, MIRRORED_POINTS] * flip) / 2, (noise + mirrored_noise[:, MIRRORED_POINTS]) / 2


class LiftedPose(NamedTuple):
    """The lifter's prediction for N people, relative to the pelvis.

    Attributes:
        joints: (N, 14, 3) float, metres in camera axes. `LIFTED_JOINTS`.
        landmarks: (N, 33, 3) float, metres in camera axes. BLAZEPOSE33 as the default body has them.
        sigma: (N, 47, 2) float, metres. σ of the joints, then of the landmarks, for each axis across the centre ray,
            and along it.
    """

    joints: Tensor
    landmarks: Tensor
    sigma: Tensor


class Lifter:
    """A trained network for keypoints in pixels."""

    def __init__(self, network: LifterNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(
        self, keypoints: Tensor, confidence: Tensor, focal: Tensor, principal_point: Tensor, skeleton: Skeleton
    ) -> LiftedPose:
        """Lift joints of N people, without gradients.

        Args:
            keypoints: (N, L, 2) float, pixels. The keypoints. Missing ones and ones that are not finite count as not
                visible.
            confidence: (N, L) float, 0 to 1. Their confidence.
            focal: (N,) float, pixels. The focal lengths.
            principal_point: (N, 2) float, pixels. The principal points.
            skeleton: The skeleton of the keypoints, which `lifter_takes`.
        """
        rows = [skeleton.index(name) if name in skeleton else -1 for name in INPUT_LANDMARKS]
        available = torch.tensor([row >= 0 for row in rows])
        rays = ((keypoints - principal_point[:, None]) / focal[:, None, None]).float()[:, rows]
        confidence = confidence.float()[:, rows]
        valid = rays.isfinite().all(-1) & confidence.isfinite() & (rays.abs().amax(-1) < 100) & available
        confidence = torch.where(valid, confidence.clamp(0, 1), 0.0)
        inputs = normalise_rays(torch.where(valid[..., None], rays, 0.0), confidence)
        points, noise = self._predict(inputs)
        points = points @ inputs.to_camera.mT
        sigma = noise.exp() * self.network.calibration
        return LiftedPose(points[:, :_JOINTS], points[:, _JOINTS:], sigma)

    def _predict(self, rays: NormalisedRays) -> tuple[Tensor, Tensor]:
        """Run the network in batches of `_BATCH` rows, padding the last one."""
        count = len(rays.points)
        full = NormalisedRays._make(torch.cat((x, x[-1:].expand(-count % _BATCH, *x.shape[1:]))) for x in rays)
        batches = zip(*(x.split(_BATCH) for x in full), strict=True)
        points, noise = zip(*(self.network.symmetric(NormalisedRays._make(batch)) for batch in batches), strict=True)
        return torch.cat(points)[:count], torch.cat(noise)[:count]


def lifter_takes(skeleton: Skeleton) -> bool:
    """Check whether a skeleton has the landmarks that lifting needs: shoulders, elbows, hips and knees."""
    return all(name in skeleton for name in _REQUIRED_LANDMARKS)


def lifter_config(options: LifterOptions) -> dict[str, Any]:
    """Convert the options to plain JSON values, with the names of the network's inputs and outputs."""
    return {**asdict(options), "inputs": list(INPUT_LANDMARKS), "joints": list(LIFTED_JOINTS)}


def load_lifter(path: Path) -> Lifter:
    """Load a trained lifter from its weights file.

    Args:
        path: The weights file.

    Raises:
        InputError: If the file is damaged, contains another model, or has other landmarks.
    """
    tensors, header = read_weights(path, MODEL)
    config = dict(header.config)
    for name, names in (("inputs", INPUT_LANDMARKS), ("joints", LIFTED_JOINTS)):
        if tuple(config.pop(name, ())) != names:
            raise InputError(path, f"has other {name} than this version's lifter", remedy="train it again")
    network = LifterNetwork(options_of(LifterOptions, config, path))
    fill(network, tensors, path)
    return Lifter(network)


@lru_cache(maxsize=1)
def shipped_lifter() -> Lifter:
    """Load the lifter that comes with the package, once."""
    return load_lifter(shipped_weights(MODEL))


@torch.autocast("cpu", enabled=False)  # half precision is too coarse for positions
def lifted_world(landmarks: NDArray[Any], camera: Camera) -> NDArray[np.float32]:
    """Lift landmarks with the shipped lifter, in the form of a pose network's world landmarks.

    Args:
        landmarks: (N, 33, 3) float. x, y in pixels of the image and confidence of BLAZEPOSE33's landmarks.
        camera: Arrays (N,). The cameras of the images.

    Returns:
        (N, 33, 3) float32, metres relative to the middle of the hips, in axes of a camera that looks there.
    """
    points, view = torch.as_tensor(landmarks).float(), camera.tensors()
    lifted = shipped_lifter()(points[..., :2], points[..., 2], view.focal, view.principal_point, BLAZEPOSE33).landmarks
    to_camera = viewing_rotation(points[:, _HIPS, :2].mean(1), view.focal, view.principal_point)
    return np.asarray(((lifted - lifted[:, _HIPS].mean(1, keepdim=True)) @ to_camera).numpy(), np.float32)


def lifted_people(people: Sequence[DetectedPerson], camera: Camera) -> NDArray[np.float32]:
    """Lift the landmarks of one or more people of an image, as `lifted_world` does: (N, 33, 3) float32, metres."""
    return lifted_world(np.stack([person.keypoints for person in people]), Camera.stack([camera] * len(people)))
