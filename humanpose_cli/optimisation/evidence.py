"""From observations to what the solver compares with: weights in place of confidences, and the starting states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from humanpose_cli.bodies.joint_angles import rotations_to_angles
from humanpose_cli.conventions import SMPL24, Skeleton
from humanpose_cli.optimisation.confidence import joint_confidence
from humanpose_cli.optimisation.initialisation import (
    limb_rotations,
    neutral_rotations,
    place_before_camera,
    upright_heading,
    viewing_rotation,
)
from humanpose_cli.optimisation.landmark_rig import LandmarkRig
from humanpose_cli.optimisation.noise import landmark_noise
from humanpose_cli.optimisation.observations import KeypointObservations
from humanpose_cli.optimisation.options import KeypointFitOptions
from humanpose_cli.optimisation.problem import Evidence, bone_names, combination
from humanpose_cli.optimisation.residuals import FitState

__all__ = ["gather_evidence", "limb_fallback"]

_USUAL_HEIGHT, _USUAL_SHARE = 1.7, 0.8  # of a person in metres, and of the picture's height that they fill
# Turning a joint moves the next one: what tells about a rotation is how well its child was seen.
_CHILD = {
    "hip": "knee",
    "knee": "ankle",
    "ankle": "foot",
    "foot": "foot",
    "shoulder": "elbow",
    "elbow": "wrist",
    "wrist": "hand",
    "hand": "hand",
}


@dataclass(frozen=True)
class _Seen:
    """Observations as double tensors; confidence is zero where a landmark is not used."""

    pixels: Tensor
    confidence: Tensor
    focal: Tensor
    centre: Tensor
    size: Tensor
    world: Tensor | None
    spread: Tensor | None
    world_spread: Tensor | None


def _tensors(observations: KeypointObservations, least: float) -> _Seen:
    def tensor(name: str) -> Tensor | None:
        value = getattr(observations, name)
        return None if value is None else torch.from_numpy(value).double()

    confidence = torch.from_numpy(observations.confidence).double()
    return _Seen(
        pixels=torch.from_numpy(observations.keypoints).double(),
        confidence=torch.where(confidence >= least, confidence, 0.0),
        focal=torch.from_numpy(observations.focal).double(),
        centre=torch.from_numpy(observations.principal_point).double(),
        size=torch.from_numpy(observations.image_size).double(),
        world=tensor("world"),
        spread=tensor("spread"),
        world_spread=tensor("world_spread"),
    )


def _viewing_pixel(skeleton: Skeleton, seen: _Seen) -> Tensor:
    """The pixel (N, 2) at which the detector's virtual camera looks: between the hips, or the mean of what is seen."""
    hips = skeleton.indices(("left_hip", "right_hip"))
    weight = seen.confidence[..., None]
    mean = (seen.pixels * weight).sum(1) / weight.sum(1).clamp_min(1e-9)
    mean = torch.where(weight.sum(1) > 0, mean, seen.centre)
    hips_seen = (seen.confidence[:, hips] > 0).all(-1, keepdim=True)
    return torch.where(hips_seen, seen.pixels[:, hips].mean(1), mean)


def gather_evidence(
    rig: LandmarkRig, skeleton: Skeleton, observations: KeypointObservations, options: KeypointFitOptions
) -> tuple[Evidence, list[FitState]]:
    """Evidence of all rows and their starting states, the likeliest start first."""
    seen = _tensors(observations, options.least_confidence)
    to_camera = viewing_rotation(_viewing_pixel(skeleton, seen), seen.focal, seen.centre)
    starts = [_placed(rig, rotations, seen) for rotations in _candidates(rig, skeleton, seen, to_camera)]
    pixel_weights = _pixel_weights(skeleton, seen, starts[0].root[:, 2], options)
    bones, bone_weights = _bones(skeleton, seen, options)
    rows = len(seen.pixels)
    neutral = rotations_to_angles(neutral_rotations())
    evidence = Evidence(
        pixels=seen.pixels,
        pixel_weights=pixel_weights,
        focal=seen.focal,
        centre=seen.centre,
        bones=bones,
        bone_weights=bone_weights,
        to_ray=to_camera.mT,
        upright=_uprightness(skeleton, seen) / options.lean_noise,
        fallback=neutral.expand(rows, -1, -1),
        fallback_weights=_unseen(skeleton, seen.confidence) / options.fallback_noise,
        betas=torch.zeros(rows, rig.shape_count, dtype=torch.float64),
        beta_sigma=torch.full((rows, rig.shape_count), options.shape_noise, dtype=torch.float64),
    )
    return evidence, starts[: options.starts]


def _candidates(rig: LandmarkRig, skeleton: Skeleton, seen: _Seen, to_camera: Tensor) -> list[Tensor]:
    """Rotations (N, 24, 3, 3) to start from."""
    rows = len(seen.pixels)
    flat = torch.nn.functional.pad(seen.pixels, (0, 1))
    candidates = []
    if seen.world is not None:
        turned = seen.world @ to_camera.mT
        mirrored = (seen.world * seen.world.new_tensor([1.0, 1.0, -1.0])) @ to_camera.mT
        candidates += [limb_rotations(rig, skeleton, points, seen.confidence) for points in (turned, mirrored)]
    candidates.append(limb_rotations(rig, skeleton, flat, seen.confidence))
    for yaw in (0.5, 1.5, 0.0, 1.0):
        heading = upright_heading(yaw * torch.pi).expand(rows, 3, 3)
        candidates.append(limb_rotations(rig, skeleton, flat, seen.confidence, heading))
    return candidates


def _placed(rig: LandmarkRig, rotations: Tensor, seen: _Seen) -> FitState:
    rows = len(rotations)
    betas = rotations.new_zeros(rows, rig.shape_count)
    origin = rotations.new_zeros(rows, 3)
    points = rig.pose(rotations, origin, betas).points[:, : rig.landmark_count]
    usual = seen.focal * _USUAL_HEIGHT / (_USUAL_SHARE * seen.size[:, 1])
    root = place_before_camera(points, seen.pixels, seen.confidence, seen.focal, seen.centre, usual)
    return FitState(rotations, root, betas, rotations.new_zeros(rows, 1))


def _pixel_weights(skeleton: Skeleton, seen: _Seen, depth: Tensor, options: KeypointFitOptions) -> Tensor:
    """(N, L) 1 / σ in pixels: the noise in metres at the person's distance, and the detector's own spread."""
    in_sight, hidden = landmark_noise(skeleton)
    variance = seen.confidence * in_sight**2 + (1 - seen.confidence) * hidden**2
    variance = variance * (options.landmark_noise * seen.focal / depth).square()[:, None] + options.least_noise**2
    if seen.spread is not None:
        variance = variance + seen.spread.square()
    return torch.where(seen.confidence > 0, variance.rsqrt(), 0.0)


def _bones(skeleton: Skeleton, seen: _Seen, options: KeypointFitOptions) -> tuple[Tensor, Tensor]:
    """World landmarks' bone vectors (N, B, 3) in the axes of their own camera, and 1 / σ (N, B, 3)."""
    names = bone_names(skeleton)
    rows = len(seen.pixels)
    if seen.world is None:
        empty = torch.zeros(rows, len(names), 3, dtype=torch.float64)
        return empty, empty
    matrix = combination(skeleton.joint_names, names)
    involved = matrix != 0
    weakest = torch.where(involved, seen.confidence[:, None], 1.0).amin(-1)
    across, along = options.bone_noise
    variance = torch.tensor([across, across, along], dtype=torch.float64).square().expand(rows, len(names), 3)
    if seen.world_spread is not None:
        own = (seen.world_spread.square()[:, None] * matrix.square()).sum(-1)
        variance = variance + own[..., None]
    return matrix @ seen.world, (weakest[..., None] / variance).sqrt()


def _uprightness(skeleton: Skeleton, seen: _Seen) -> Tensor:
    """(N, 2) 0..1: how upright trunk and legs look in the picture; zero where they are not seen."""
    return torch.stack(
        [_vertical(skeleton, seen, top, bottom) for top, bottom in (("shoulder", "hip"), ("hip", "ankle"))],
        -1,
    )


def _vertical(skeleton: Skeleton, seen: _Seen, top: str, bottom: str) -> Tensor:
    rows = [skeleton.indices((f"left_{name}", f"right_{name}")) for name in (top, bottom)]
    high, low = (seen.pixels[:, pair].mean(1) for pair in rows)
    down = low - high
    cosine = down[:, 1] / down.norm(dim=-1).clamp_min(1e-9)
    share = ((cosine - 0.8) / 0.15).clamp(0, 1)
    certain = torch.minimum(*(seen.confidence[:, pair].amin(-1) for pair in rows))
    return share * certain


def _unseen(skeleton: Skeleton, confidence: Tensor) -> Tensor:
    """(N, 24) 0..1: how little was seen of what a limb's joint moves; zero for the trunk."""
    joints = joint_confidence(skeleton, confidence)
    unseen = torch.zeros_like(joints)
    for column, joint in enumerate(SMPL24.joint_names):
        side, _, name = joint.partition("_")
        if name in _CHILD:
            child = joints[:, SMPL24.index(f"{side}_{_CHILD[name]}")]
            unseen[:, column] = (1 - child / 0.5).clamp(0, 1)
    return unseen


def limb_fallback(evidence: Evidence, rotations: Tensor) -> Tensor:
    """(N, 24, 3) angles that unseen limbs tend to: the other side's where that was seen, else the neutral pose's."""
    mirror = list(SMPL24.mirror)
    other_seen = evidence.fallback_weights[:, mirror] == 0
    sided = torch.tensor([m != j for j, m in enumerate(mirror)])
    # Anatomical angles are the same numbers on both sides.
    other = rotations_to_angles(rotations)[:, mirror]
    return torch.where((other_seen & sided)[..., None], other, evidence.fallback)
