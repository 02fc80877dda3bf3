"""Corrects BlazePose's world landmarks: a small network that knows the detector's habits.

The detector's depth leans, shrinks and guesses in ways that rendered people with known truth reveal. The network sees
what the detector says about one person (33 landmarks in the image, their confidences, the world landmarks) and
answers with better world landmarks and with how sure it is of each. It was trained by
tools/train_depth_correction.py; the header of the weights says on what and how well.

All of it happens in the axes of the viewing ray: a camera turned to look straight at the person, z along the ray. That
is where the detector's errors live and what `KeypointObservations.world` expects.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.core.conventions import BLAZEPOSE33, Skeleton
from humanpose_cli.geometry.rotations import rotation_between
from humanpose_cli.networks.weights import fill, read_weights, shipped_weights

MODEL = "depth-correction"
_COUNT = len(BLAZEPOSE33)
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_LEAST_CONFIDENCE = 0.1


class Normalised(NamedTuple):
    """What the network sees of N people, free of camera, place and size.

    points      (N, 33, 2) metres across the viewing ray at the person's distance, from between the hips
    world       (N, 33, 3) metres, axes of the viewing ray, origin between the hips
    confidence  (N, 33) 0..1
    nearness    (N, 1) one over the distance in metres, as far as the world landmarks' size tells it
    """

    points: Tensor
    world: Tensor
    confidence: Tensor
    nearness: Tensor

    def mirrored(self) -> Normalised:
        """The mirror image: left and right swapped."""
        mirror = list(BLAZEPOSE33.mirror)
        flip = self.world.new_tensor([-1.0, 1.0, 1.0])
        return Normalised(
            self.points[:, mirror] * flip[:2], self.world[:, mirror] * flip, self.confidence[:, mirror], self.nearness
        )


def viewing_pixel(skeleton: Skeleton, keypoints: Tensor, confidence: Tensor, principal_point: Tensor) -> Tensor:
    """The pixel (N, 2) at which a camera looks that looks straight at the person.

    Between the hips, or where their confidence is 0 the mean of all keypoints (N, L, 2), weighted by confidence (N, L).
    """
    hips = skeleton.indices(("left_hip", "right_hip"))
    total = confidence.sum(1, keepdim=True)
    mean = (keypoints * confidence[..., None]).sum(1) / total.clamp_min(1e-9)
    mean = torch.where(total > 0, mean, principal_point)
    visible_hips = (confidence[:, hips] > 0).all(-1, keepdim=True)
    return torch.where(visible_hips, keypoints[:, hips].mean(1), mean)


def viewing_rotation(pixel: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """Rotation (N, 3, 3) that turns the optical axis to the ray through a pixel (N, 2)."""
    ray = torch.nn.functional.pad((pixel - principal_point) / focal[:, None], (0, 1), value=1.0)
    return rotation_between(ray.new_tensor([0.0, 0.0, 1.0]).expand_as(ray), ray)


def viewing_ray(keypoints: Tensor, confidence: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """Rotation (N, 3, 3) from camera axes to those of a camera that looks straight at the person."""
    confidence = torch.where(confidence >= _LEAST_CONFIDENCE, confidence, 0.0)
    pixel = viewing_pixel(BLAZEPOSE33, keypoints, confidence, principal_point)
    return viewing_rotation(pixel, focal, principal_point).mT.contiguous()


def normalise(
    keypoints: Tensor, confidence: Tensor, world: Tensor, focal: Tensor, principal_point: Tensor
) -> Normalised:
    """keypoints (N, 33, 2) pixels, confidence (N, 33), world (N, 33, 3) metres in the axes of the viewing ray,
    focal (N,) pixels, principal_point (N, 2) pixels.
    """
    to_ray = viewing_ray(keypoints, confidence, focal, principal_point)
    rays = torch.nn.functional.pad((keypoints - principal_point[:, None]) / focal[:, None, None], (0, 1), value=1.0)
    rays = rays @ to_ray.mT
    flat = rays[..., :2] / rays[..., 2:].clamp_min(0.1)
    flat = flat - flat[:, _HIPS].mean(1, keepdim=True)
    world = world - world[:, _HIPS].mean(1, keepdim=True)
    # The size at which the world landmarks fit the image, as if seen from far away.
    weight = confidence.clamp_min(1e-3)[..., None]
    across = (weight * world[..., :2] * flat).sum((1, 2))
    own = (weight * world[..., :2].square()).sum((1, 2))
    nearness = (across / own.clamp_min(1e-6)).clamp(1e-3, 5.0)[:, None]
    return Normalised(flat / nearness[..., None], world, confidence, nearness)


class CorrectionNetwork(nn.Module):
    """An MLP with residual blocks: what `Normalised` holds → change of the world landmarks and log noise.

    width   features of the hidden layers; blocks of two layers each
    """

    def __init__(self, width: int = 256, blocks: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.lift = nn.Linear(_COUNT * 6 + 1, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
            )
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, _COUNT * 5)

    def forward(self, seen: Normalised) -> tuple[Tensor, Tensor]:
        """World landmarks (N, 33, 3) metres and the logarithm of their noise (N, 33, 2): across, along the ray."""
        # Points beyond a reasonable reach are the detector's confusion; they must not flood the network.
        features = (
            (seen.points - seen.world[..., :2]).clamp(-0.7, 0.7).flatten(1) * 4,
            seen.world.clamp(-2, 2).flatten(1),
            seen.confidence - 0.5,
            seen.nearness.clamp_max(1.5),
        )
        x = torch.cat(features, 1)
        x = self.lift(x)
        for block in self.blocks:
            x = x + block(x)
        change, noise = self.head(self.norm(x)).split((_COUNT * 3, _COUNT * 2), 1)
        change = change.unflatten(1, (_COUNT, 3)) * 0.1
        return seen.world + change, noise.unflatten(1, (_COUNT, 2)) - 3.0


class CorrectedWorld(NamedTuple):
    """world (N, 33, 3) metres, axes of the viewing ray, origin between the hips, size of a person of usual limbs;
    noise (N, 33, 2) metres: expected absolute error across (both axes together) and along the ray.
    """

    world: Tensor
    noise: Tensor


class DepthCorrection:
    """A trained network, asked about a person and about the mirror image."""

    def __init__(self, network: CorrectionNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    def __call__(
        self, keypoints: Tensor, confidence: Tensor, world: Tensor, focal: Tensor, principal_point: Tensor
    ) -> CorrectedWorld:
        """Correct the world landmarks of N people, float32; arguments as for `normalise`. No gradients."""
        with torch.no_grad():
            seen = normalise(*(x.float() for x in (keypoints, confidence, world, focal, principal_point)))
            mirror, flip = list(BLAZEPOSE33.mirror), seen.world.new_tensor([-1.0, 1.0, 1.0])
            own, own_noise = self.network(seen)
            other, other_noise = self.network(seen.mirrored())
            corrected = (own + other[:, mirror] * flip) / 2
            noise = ((own_noise + other_noise[:, mirror]) / 2).exp()
        return CorrectedWorld(corrected, noise)


@lru_cache(maxsize=1)
def depth_correction() -> DepthCorrection:
    """The correction shipped with the package, read once."""
    path = shipped_weights(MODEL)
    tensors, header = read_weights(path, MODEL)
    network = CorrectionNetwork(**header.config)
    fill(network, tensors, path)
    return DepthCorrection(network)
