"""How far detectors' landmarks lie from where they should be, in metres at the person's distance.

How far to trust a fitted joint and a fitted person: what was seen there, and how well the body explains it.

Starting points in closed form: least squares gives the position in front of the camera.

Several starts per row go through the first stage of the fit together and the best one survives: the detector's depth
as it is, its mirror image along the viewing ray (depth read the wrong way round), and upright neutral poses.

From observations to what the solver compares with: weights in place of confidences, and the starting states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.joint_angles import rotations_to_angles
from humanpose_cli.body.limb_rotations import limb_rotations, neutral_rotations, upright_heading
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24, Skeleton
from humanpose_cli.fitting.depth_correction import CorrectedWorld, depth_correction
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.problem import PREDICTED_JOINTS, FitEvidence, bone_names, combination, offset_names
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.solver import KeypointFitOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, rotation_between

__all__ = [
    "gather_evidence",
    "joint_confidence",
    "landmark_noise",
    "limb_fallback",
    "person_confidence",
    "place_before_camera",
    "viewing_rotation",
    "witnesses",
    "zero_joints",
]


# Detectors of other skeletons are the users' own; annotators agree to about this (COCO's OKS constants, mean).
_USUAL_IN_SIGHT, _USUAL_HIDDEN = 0.022, 0.08


@lru_cache(maxsize=8)
def landmark_noise(skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Standard deviations (L,) of landmarks in sight and hidden, double.

    BlazePose's were measured with its landmarks' places on the default body by tools/build_landmarks.py.
    """
    if skeleton != BLAZEPOSE33:
        usual = torch.ones(len(skeleton), dtype=torch.float64)
        return _USUAL_IN_SIGHT * usual, _USUAL_HIDDEN * usual
    path = resources.files("humanpose_cli.body") / "data" / "blazepose_landmarks.npz"
    with resources.as_file(path) as real_path, np.load(real_path, allow_pickle=False) as file:
        visible_people, hidden = (torch.from_numpy(file[name]).double() for name in ("noise_in_sight", "noise_hidden"))
    return visible_people, torch.maximum(hidden, visible_people)


# The landmarks that tell where a joint is, without their side; the best seen of each group in parentheses counts.
_WITNESSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "pelvis": (("left_hip",), ("right_hip",)),
    "spine1": (("left_hip",), ("right_hip",)),
    "spine2": (("left_hip",), ("right_hip",), ("left_shoulder",), ("right_shoulder",)),
    "spine3": (("left_shoulder",), ("right_shoulder",)),
    "neck": (("left_shoulder",), ("right_shoulder",)),
    "head": (("nose", "left_ear", "right_ear", "left_eye", "right_eye", "head_top"),),
    "hip": (("hip",),),
    "knee": (("knee",),),
    "ankle": (("ankle",),),
    "foot": (("foot_index", "ankle"), ("ankle",)),
    "collar": (("shoulder",),),
    "shoulder": (("shoulder",),),
    "elbow": (("elbow",),),
    "wrist": (("wrist",),),
    "hand": (("index", "pinky", "wrist"), ("wrist",)),
}
_PERSON_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def _on_side(name: str, side: str, skeleton: Skeleton) -> str | None:
    for candidate in (f"{side}{name}", name):
        if candidate in skeleton:
            return candidate
    return None


@lru_cache(maxsize=8)
def witnesses(skeleton: Skeleton) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Per joint of SMPL24: groups of landmark rows, of which the best seen of each group tells about the joint."""
    table = []
    for joint in SMPL24.joint_names:
        side = next((s for s in ("left_", "right_") if joint.startswith(s)), "")
        groups = []
        for group in _WITNESSES[joint.removeprefix(side)]:
            rows = [_on_side(name, side, skeleton) for name in group]
            found = tuple(skeleton.index(name) for name in rows if name is not None)
            if found:
                groups.append(found)
        table.append(tuple(groups))
    return tuple(table)


def joint_confidence(skeleton: Skeleton, evidence: Tensor) -> Tensor:
    """(N, L) evidence of landmarks, 0..1 → (N, 24): the weakest of the groups of witnesses of each joint."""
    columns = []
    for groups in witnesses(skeleton):
        best = [evidence[:, list(group)].amax(-1) for group in groups]
        columns.append(torch.stack(best, -1).amin(-1) if best else torch.zeros_like(evidence[:, 0]))
    return torch.stack(columns, -1)


def person_confidence(joints: Tensor) -> Tensor:
    """(N, 24) → (N,): mean over shoulders, elbows, wrists, hips, knees and ankles."""
    rows = [SMPL24.index(f"{side}_{name}") for name in _PERSON_JOINTS for side in ("left", "right")]
    return joints[:, rows].mean(-1)


_NEAREST = 0.3  # metres


def zero_joints(rig: LandmarkRig) -> Tensor:
    """(24, 3) joints of the T pose, body axes."""
    still = torch.eye(3, dtype=rig.joints.dtype).expand(1, len(rig.joints), 3, 3)
    origin, shape = rig.joints.new_zeros(1, 3), rig.joints.new_zeros(1, rig.shape_count)
    return rig.pose(still, origin, shape).joints[0]


def viewing_rotation(pixel: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """Rotation (N, 3, 3) that turns the optical axis to the ray through a pixel (N, 2)."""
    xy = (pixel - principal_point) / focal[:, None]
    ray = torch.cat((xy, torch.ones_like(xy[:, :1])), -1)
    return rotation_between(ray.new_tensor([0.0, 0.0, 1.0]).expand_as(ray), ray)


def place_before_camera(
    points: Tensor, keypoints: Tensor, weights: Tensor, focal: Tensor, principal_point: Tensor, usual_depth: Tensor
) -> Tensor:
    """Translations (N, 3) that bring root-relative points (N, L, 3) under their pixels (N, L, 2).

    Least squares on the equations (X + t_x) − u (Z + t_z) = 0 with u the normalised image coordinate, which are
    linear in t. `usual_depth` (N,) metres enters as one faint equation and decides where the landmarks do not.
    """
    uv = (keypoints - principal_point[:, None]) / focal[:, None, None]
    zeros, ones = torch.zeros_like(uv[..., 0]), torch.ones_like(uv[..., 0])
    A = torch.stack((torch.stack((ones, zeros, -uv[..., 0]), -1), torch.stack((zeros, ones, -uv[..., 1]), -1)), -2)
    b = uv * points[..., 2:] - points[..., :2]
    A, b = A * weights[..., None, None], b * weights[..., None]
    A, b = A.flatten(1, 2), b.flatten(1, 2)
    faint = 1e-3
    prior = torch.tensor([1e-10, 1e-10, faint**2], dtype=points.dtype)
    normal = A.mT @ A + torch.diag(prior)
    right = (A.mT @ b[..., None]).squeeze(-1)
    right[:, 2] += faint**2 * usual_depth
    t = torch.linalg.solve(normal, right)
    # Few or contradictory landmarks may ask for a place behind the camera; hold the depth and fit the rest.
    behind = t[:, 2] + points[..., 2].amin(-1) < _NEAREST
    depth = torch.where(behind, usual_depth, t[:, 2])
    sideways = right[:, :2] - normal[:, :2, 2] * depth[:, None]
    held = torch.linalg.solve(normal[:, :2, :2], sideways)
    return torch.where(behind[:, None], torch.cat((held, depth[:, None]), -1), t)


_USUAL_HEIGHT, _USUAL_SHARE = 1.7, 0.8  # of a person in metres, and of the image's height that they fill
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
    predicted: _Predicted | None


class _Predicted(NamedTuple):
    """What a body network says: relative rotations (N, 24, 3, 3), betas (N, S), joints (N, 24, 3), noise (N, 24, 2)."""

    rotations: Tensor
    betas: Tensor
    joints: Tensor
    noise: Tensor


def _tensors(observations: KeypointObservations, least: float) -> _Seen:
    def tensor(name: str) -> Tensor | None:
        value = getattr(observations, name)
        return None if value is None else torch.from_numpy(value).double()

    confidence = torch.from_numpy(observations.confidence).double()
    poses, predicted = tensor("predicted_poses"), None
    if poses is not None:
        betas, joints, noise = (tensor(f"predicted_{name}") for name in ("betas", "joints", "noise"))
        assert betas is not None  # observations come with all of a prediction or nothing
        assert joints is not None
        assert noise is not None
        predicted = _Predicted(axis_angle_to_matrix(poses.unflatten(1, (-1, 3))), betas, joints, noise)
    return _Seen(
        pixels=torch.from_numpy(observations.keypoints).double(),
        confidence=torch.where(confidence >= least, confidence, 0.0),
        focal=torch.from_numpy(observations.focal).double(),
        centre=torch.from_numpy(observations.principal_point).double(),
        size=torch.from_numpy(observations.image_size).double(),
        world=tensor("world"),
        spread=tensor("spread"),
        world_spread=tensor("world_spread"),
        predicted=predicted,
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
) -> tuple[FitEvidence, list[FitState]]:
    """Evidence of all rows and their starting states, the likeliest start first."""
    seen = _tensors(observations, options.least_confidence)
    to_camera = viewing_rotation(_viewing_pixel(skeleton, seen), seen.focal, seen.centre)
    corrected = _corrected(skeleton, seen, options)
    if corrected is not None and seen.world is not None:
        # Two opinions with different faults: their mean is better than either.
        seen = replace(seen, world=(_centred(skeleton, seen.world) + corrected.world.double()) / 2)
    starts = [_placed(rig, rotations, seen) for rotations in _candidates(rig, skeleton, seen, to_camera)]
    pixel_weights = _pixel_weights(skeleton, seen, starts[0].root[:, 2], options)
    bones, bone_weights = _bones(skeleton, seen, corrected, options)
    rows = len(seen.pixels)
    neutral = rotations_to_angles(neutral_rotations() if seen.predicted is None else seen.predicted.rotations)
    places, place_weights = _places(seen, to_camera, options)
    shape, shape_sigma = _shape(rig, seen, options)
    evidence = FitEvidence(
        pixels=seen.pixels,
        pixel_weights=pixel_weights,
        focal=seen.focal,
        centre=seen.centre,
        bones=bones,
        bone_weights=bone_weights,
        to_ray=to_camera.mT,
        upright=_uprightness(skeleton, seen) / options.lean_noise,
        places=places,
        place_weights=place_weights,
        shape=shape,
        shape_sigma=shape_sigma,
        fallback=neutral.expand(rows, -1, -1),
        fallback_weights=_unseen(skeleton, seen.confidence) / options.fallback_noise,
        betas=torch.zeros(rows, rig.shape_count, dtype=torch.float64),
        beta_sigma=torch.full((rows, rig.shape_count), options.shape_noise, dtype=torch.float64),
    )
    return evidence, starts[: options.starts]


def _centred(skeleton: Skeleton, world: Tensor) -> Tensor:
    """World landmarks (N, L, 3) with their origin between the hips."""
    return world - world[:, skeleton.indices(("left_hip", "right_hip"))].mean(1, keepdim=True)


def _candidates(rig: LandmarkRig, skeleton: Skeleton, seen: _Seen, to_camera: Tensor) -> list[Tensor]:
    """Rotations (N, 24, 3, 3) to start from."""
    rows, zero = len(seen.pixels), zero_joints(rig)
    flat = torch.nn.functional.pad(seen.pixels, (0, 1))
    candidates = [] if seen.predicted is None else [seen.predicted.rotations]
    if seen.world is not None:
        turned = seen.world @ to_camera.mT
        mirrored = (seen.world * seen.world.new_tensor([1.0, 1.0, -1.0])) @ to_camera.mT
        candidates += [limb_rotations(zero, skeleton, points, seen.confidence) for points in (turned, mirrored)]
    candidates.append(limb_rotations(zero, skeleton, flat, seen.confidence))
    for yaw in (0.5, 1.5, 0.0, 1.0):
        heading = upright_heading(yaw * torch.pi).expand(rows, 3, 3)
        candidates.append(limb_rotations(zero, skeleton, flat, seen.confidence, heading))
    return candidates


def _placed(rig: LandmarkRig, rotations: Tensor, seen: _Seen) -> FitState:
    rows = len(rotations)
    betas = rotations.new_zeros(rows, rig.shape_count) if seen.predicted is None else seen.predicted.betas.clone()
    origin = rotations.new_zeros(rows, 3)
    points = rig.pose(rotations, origin, betas).points[:, : rig.landmark_count]
    usual = seen.focal * _USUAL_HEIGHT / (_USUAL_SHARE * seen.size[:, 1])
    root = place_before_camera(points, seen.pixels, seen.confidence, seen.focal, seen.centre, usual)
    return FitState(rotations, root, betas, rotations.new_zeros(rows, 1))


def _pixel_weights(skeleton: Skeleton, seen: _Seen, depth: Tensor, options: KeypointFitOptions) -> Tensor:
    """(N, L) 1 / σ in pixels: the noise in metres at the person's distance, and the detector's own spread."""
    visible_people, hidden = landmark_noise(skeleton)
    variance = seen.confidence * visible_people**2 + (1 - seen.confidence) * hidden**2
    variance = variance * (options.landmark_noise * seen.focal / depth).square()[:, None] + options.least_noise**2
    if seen.spread is not None:
        variance = variance + seen.spread.square()
    return torch.where(seen.confidence > 0, variance.rsqrt(), 0.0)


def _corrected(skeleton: Skeleton, seen: _Seen, options: KeypointFitOptions) -> CorrectedWorld | None:
    """What the depth correction makes of BlazePose's world landmarks."""
    if seen.world is None or skeleton != BLAZEPOSE33 or not options.correct_depth:
        return None
    # The correction looks at every landmark; of those that were not seen at all it shall know nothing.
    unseen = seen.confidence == 0
    pixels, world = (_at_parents(skeleton, values, unseen) for values in (seen.pixels, seen.world))
    return depth_correction()(pixels, seen.confidence, world, seen.focal, seen.centre)


def _at_parents(skeleton: Skeleton, values: Tensor, moved: Tensor) -> Tensor:
    """Landmarks (N, L, D) of which those in `moved` (N, L) are put where their parents in the skeleton are."""

    def distance_to_root(row: int) -> int:
        parent = skeleton.parents[row]
        return 0 if parent < 0 else 1 + distance_to_root(parent)

    values = values.clone()
    for row in sorted(range(len(skeleton)), key=distance_to_root):
        parent = skeleton.parents[row]
        if parent >= 0:
            values[:, row] = torch.where(moved[:, row, None], values[:, parent], values[:, row])
    return values


def _bones(
    skeleton: Skeleton, seen: _Seen, corrected: CorrectedWorld | None, options: KeypointFitOptions
) -> tuple[Tensor, Tensor]:
    """World landmarks' bones and offsets from the hips (N, B, 3) in the axes of the viewing ray, and 1 / σ (N, B, 3).

    Bones come with a usual noise; offsets only from corrected landmarks, whose noise is known one by one.
    """
    bones, offsets = bone_names(skeleton), offset_names(skeleton)
    rows = len(seen.pixels)
    if seen.world is None:
        empty = torch.zeros(rows, len(bones) + len(offsets), 3, dtype=torch.float64)
        return empty, empty
    matrix = combination(skeleton.joint_names, bones)
    weakest = torch.where(matrix != 0, seen.confidence[:, None], 1.0).amin(-1)
    across, along = options.bone_noise
    variance = torch.tensor([across, across, along], dtype=torch.float64).square().expand(rows, len(bones), 3)
    if seen.world_spread is not None:
        own = (seen.world_spread.square()[:, None] * matrix.square()).sum(-1)
        variance = variance + own[..., None]
    weights = (weakest[..., None] / variance).sqrt()
    vectors = matrix @ seen.world
    matrix = combination(skeleton.joint_names, offsets)
    if corrected is None:
        empty = torch.zeros(rows, len(offsets), 3, dtype=torch.float64)
        return torch.cat((vectors, empty), 1), torch.cat((weights, empty), 1)
    world, noise = corrected.world.double(), corrected.noise.double()
    placed = skeleton.indices(ends[0] for ends, _ in offsets)
    sigma = _sigmas(noise[:, placed])
    seen_at_all = torch.where(matrix != 0, seen.confidence[:, None], 1.0).amin(-1) > 0
    own = torch.where(seen_at_all[..., None], 1 / (options.correction_noise * sigma), 0.0)
    return torch.cat((vectors, matrix @ world), 1), torch.cat((weights, own), 1)


def _places(seen: _Seen, to_camera: Tensor, options: KeypointFitOptions) -> tuple[Tensor, Tensor]:
    """Predicted joints about the pelvis (N, K, 3) in the axes of the viewing ray, and 1 / σ (N, K, 3)."""
    if seen.predicted is None:
        empty = torch.zeros(len(seen.pixels), 0, 3, dtype=torch.float64)
        return empty, empty
    rows, pelvis = SMPL24.indices(PREDICTED_JOINTS), SMPL24.index("pelvis")
    joints, noise = seen.predicted.joints, seen.predicted.noise[:, rows]
    places = (joints[:, rows] - joints[:, pelvis : pelvis + 1]) @ to_camera
    return places, 1 / (options.predicted_noise * _sigmas(noise))


def _shape(rig: LandmarkRig, seen: _Seen, options: KeypointFitOptions) -> tuple[Tensor, Tensor]:
    """Predicted betas (N, S) and their σ."""
    if seen.predicted is None:
        betas = torch.zeros(len(seen.pixels), rig.shape_count, dtype=torch.float64)
        return betas, torch.full_like(betas, torch.inf)
    return seen.predicted.betas, torch.full_like(seen.predicted.betas, options.predicted_shape)


def _sigmas(noise: Tensor) -> Tensor:
    """Mean absolute errors (…, 2), across in a plane's two axes together and along the ray, as σ of three axes."""
    return torch.stack((0.8 * noise[..., 0], 0.8 * noise[..., 0], 1.25 * noise[..., 1]), -1)


def _uprightness(skeleton: Skeleton, seen: _Seen) -> Tensor:
    """(N, 2) 0..1: how upright trunk and legs look in the image; zero where they are not seen."""
    return torch.stack(
        [_vertical(skeleton, seen, top, bottom) for top, bottom in (("shoulder", "hip"), ("hip", "ankle"))], -1
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


def limb_fallback(evidence: FitEvidence, rotations: Tensor) -> Tensor:
    """(N, 24, 3) angles that unseen limbs tend to: the other side's where that was seen, else the neutral pose's."""
    mirror = list(SMPL24.mirror)
    other_seen = evidence.fallback_weights[:, mirror] == 0
    sided = torch.tensor([m != j for j, m in enumerate(mirror)])
    # Anatomical angles are the same numbers on both sides.
    other = rotations_to_angles(rotations)[:, mirror]
    return torch.where((other_seen & sided)[..., None], other, evidence.fallback)
