"""The lifter: landmarks of one person in the image → joints about the pelvis in metres, with a noise of each.

The network sees directions, not pixels: every landmark becomes a ray, rays are turned to the axes of the person's
centre ray and scaled to unit size. So neither focal length nor position in the image nor crop changes its input.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from humanpose_cli.core.conventions import BLAZEPOSE33, Skeleton
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.options import Options, option
from humanpose_cli.networks.weights import fill, options_of, read_weights, shipped_weights

MODEL = "lifter"
"""Its name in weights files."""

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
_USUAL_LOG_SIZE = -2.2  # of a standing person at 4 m
_REACH = 6.0  # unit sizes from the centre: points beyond are broken
_LOG_NOISE = (-5.5, 1.0)
# Rows of a batch. Matrix products of few rows are computed by other instructions, which round differently: with one
# size, the prediction for a person does not depend on the other people.
_BATCH = 32


def _mirrored_rows(names: tuple[str, ...]) -> list[int]:
    swap = {"left": "right", "right": "left"}
    other = ["_".join((swap.get(side, side), *rest)) for side, *rest in (name.split("_") for name in names)]
    return [names.index(name) for name in other]


_MIRROR_INPUT = _mirrored_rows(INPUT_LANDMARKS)
MIRRORED_POINTS = [*_mirrored_rows(LIFTED_JOINTS), *(_JOINTS + row for row in BLAZEPOSE33.mirror)]
"""Rows of the 47 points when left and right are swapped."""
_CENTRE_WEIGHTS = torch.tensor([1.0 if name.endswith(("hip", "shoulder")) else 0.1 for name in INPUT_LANDMARKS])


class NormalisedRays(NamedTuple):
    """The network's inputs for N people.

    Attributes:
        points: (N, 21, 2) in the plane across the centre ray, of unit root-mean-square size; zero where not
            visible.
        confidence: (N, 21) 0..1.
        log_size: (N, 1) natural logarithm of the size, as tangent of an angle.
        to_camera: (N, 3, 3) axes of the centre ray (x level with the camera's x-z plane, z along the ray) to camera
            axes.
    """

    points: Tensor
    confidence: Tensor
    log_size: Tensor
    to_camera: Tensor

    def mirrored(self) -> NormalisedRays:
        """Mirror the people: left and right swapped. `to_camera` becomes that of the mirrored camera."""
        flip = self.points.new_tensor([-1.0, 1.0])
        both = torch.nn.functional.pad(flip, (0, 1), value=1.0)
        return NormalisedRays(
            self.points[:, _MIRROR_INPUT] * flip,
            self.confidence[:, _MIRROR_INPUT],
            self.log_size,
            self.to_camera * both * both[:, None],
        )


def normalise_rays(rays: Tensor, confidence: Tensor) -> NormalisedRays:
    """Compute the network's inputs from directions.

    rays (N, 21, 2): x / z and y / z of the landmarks, camera axes; confidence (N, 21), 0 for not visible.

    Exact under a yaw of the camera about its own y axis, under mirroring, and under a change of size.
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
    """The network's size."""

    width: int = option(256, "Features of a layer.", minimum=1)
    blocks: int = option(3, "Residual blocks of two layers.", minimum=0)


class LifterNetwork(nn.Module):
    """A residual MLP: `NormalisedRays` → points (N, 47, 3) metres about the pelvis, axes of the centre ray, and the
    logarithm of their noise (N, 47, 2), across and along that ray.

    Points are `LIFTED_JOINTS`, then BLAZEPOSE33. Noise is the scale of a Laplace distribution; times `calibration`
    (47, 2) it is the σ that 68 % of held-out errors (of x and y, and of z) stay below.
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
        other, other_noise = self(rays.mirrored())
        flip = points.new_tensor([-1.0, 1.0, 1.0])
        return (points + other[:, MIRRORED_POINTS] * flip) / 2, (noise + other_noise[:, MIRRORED_POINTS]) / 2


class LiftedPose(NamedTuple):
    """The lifter's prediction for N people, about the pelvis.

    Attributes:
        joints: (N, 14, 3) metres, camera axes: `LIFTED_JOINTS`.
        landmarks: (N, 33, 3) metres, camera axes: BLAZEPOSE33 as the default body has them.
        sigma: (N, 47, 2) metres: σ of the joints, then of the landmarks; of each axis across the centre ray, and
            along it.
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
        """Lift joints of N people, float32; no gradients.

        keypoints (N, L, 2) pixels, confidence (N, L) 0..1, focal (N,) pixels, principal_point (N, 2) pixels, in the
        order of `skeleton`. Landmarks that are not finite or that the skeleton lacks count as not visible. UsageError
        for a skeleton that `lifter_takes` refuses.
        """
        if not lifter_takes(skeleton):
            raise UsageError(
                "skeleton", "has too few landmarks to lift", expected=", ".join(_REQUIRED_LANDMARKS), got=skeleton.name
            )
        rows = [skeleton.index(name) if name in skeleton else -1 for name in INPUT_LANDMARKS]
        available = torch.tensor([row >= 0 for row in rows])
        rays = ((keypoints - principal_point[:, None]) / focal[:, None, None]).float()[:, rows]
        confidence = confidence.float()[:, rows]
        sound = rays.isfinite().all(-1) & confidence.isfinite() & (rays.abs().amax(-1) < 100) & available
        confidence = torch.where(sound, confidence.clamp(0, 1), 0.0)
        inputs = normalise_rays(torch.where(sound[..., None], rays, 0.0), confidence)
        points, noise = self._predict(inputs)
        points = points @ inputs.to_camera.mT
        sigma = noise.exp() * self.network.calibration
        return LiftedPose(points[:, :_JOINTS], points[:, _JOINTS:], sigma)

    def _predict(self, rays: NormalisedRays) -> tuple[Tensor, Tensor]:
        """Run the network in batches of `_BATCH` rows, the last one filled up."""
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
    """Load a trained lifter from its weights file. Raises InputError if it is damaged, another model's or of other
    landmarks.
    """
    tensors, header = read_weights(path, MODEL)
    config = dict(header.config)
    for name, names in (("inputs", INPUT_LANDMARKS), ("joints", LIFTED_JOINTS)):
        if tuple(config.pop(name, ())) != names:
            raise InputError(path, f"has other {name} than this version's lifter", remedy="train it anew")
    network = LifterNetwork(options_of(LifterOptions, config, path))
    fill(network, tensors, path)
    return Lifter(network)


@lru_cache(maxsize=1)
def shipped_lifter() -> Lifter:
    """Load the lifter that comes with the package, once."""
    return load_lifter(shipped_weights(MODEL))
