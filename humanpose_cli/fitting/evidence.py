"""What the keypoint fit compares a body with, and where it starts.

The noise of landmarks in metres at the person's distance; the confidence of fitted joints and people; a closed-form
position before the camera; and, from observations, the weights and the starting states of the solver. Several starts
per row go through the first stage together and the best one survives: the detector's depth as it is, its mirror image
along the viewing ray (depth read the wrong way round), and upright neutral poses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib import resources
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.joint_angles import rotations_to_angles
from humanpose_cli.body.limb_rotations import limb_rotations, neutral_rotations, upright_heading
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24, Skeleton
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.problem import PREDICTED_JOINTS, FitEvidence, bone_names, combination
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, rotation_between

# Detectors of other skeletons are the users' own; annotators agree to about this (COCO's OKS constants, mean).
_USUAL_IN_SIGHT, _USUAL_HIDDEN = 0.022, 0.08


@lru_cache(maxsize=8)
def landmark_noise(skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Standard deviations (L,) of landmarks in sight and hidden, double.

    BlazePose's were measured with its landmarks' positions on the default body by tools/build_landmarks.py.
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


def zero_joints(rig: LandmarkRig) -> Tensor:
    """(24, 3) joints of the T pose, body axes."""
    still = torch.eye(3, dtype=rig.joints.dtype).expand(1, len(rig.joints), 3, 3)
    origin, shape = rig.joints.new_zeros(1, 3), rig.joints.new_zeros(1, rig.shape_count)
    return rig.pose(still, origin, shape).joints[0]


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
    # Sums: how a product of matrices rounds depends on where in memory a row of the batch begins.
    normal = (A[..., :, None] * A[..., None, :]).sum(-3) + torch.diag(prior)
    right = (A * b[..., None]).sum(-2)
    right[:, 2] += faint**2 * usual_depth
    t = torch.linalg.solve(normal, right)
    # Few or contradictory landmarks may ask for a position behind the camera; hold the depth and fit the rest.
    behind = t[:, 2] + points[..., 2].amin(-1) < _NEAREST
    depth = torch.where(behind, usual_depth, t[:, 2])
    sideways = right[:, :2] - normal[:, :2, 2] * depth[:, None]
    held = torch.linalg.solve(normal[:, :2, :2], sideways)
    return torch.where(behind[:, None], torch.cat((held, depth[:, None]), -1), t)


_USUAL_HEIGHT, _USUAL_SHARE = 1.7, 0.8  # of a person in metres, and of the image's height that they fill
_SURE, _FEWEST = 0.5, 6  # confidence, and number of keypoints of it, that tell a distance


def usual_depth(focal: Tensor, image_height: Tensor) -> Tensor:
    """Metres at which people fill their share of images (N,)."""
    return focal * _USUAL_HEIGHT / (_USUAL_SHARE * image_height)


def distance_of(person: DetectedPerson, camera: Camera) -> float:
    """Metres from the camera at which the detector's own body lies under its keypoints; infinite where it has none."""
    confidence = person.keypoints[:, 2]
    if person.world is None or (confidence >= _SURE).sum() < _FEWEST:
        return math.inf
    points, pixels, weights = (
        torch.from_numpy(np.asarray(values, np.float64))[None]
        for values in (person.world, person.keypoints[:, :2], confidence)
    )
    view = Camera.stack([camera]).tensors(torch.float64)
    usual = usual_depth(view.focal, view.focal.new_tensor([camera.size[1]]))
    return float(place_before_camera(points, pixels, weights, view.focal, view.principal_point, usual)[0, 2])


# Turning a joint moves the next one: what tells about a rotation is how well its child is visible.
_CHILD = {"hip": "knee", "knee": "ankle", "ankle": "foot", "foot": "foot"}
_CHILD |= {"shoulder": "elbow", "elbow": "wrist", "wrist": "hand", "hand": "hand"}


@dataclass(frozen=True)
class _Given:
    """`KeypointObservations` as double tensors; confidence is zero where a landmark is not used.

    predicted_rotations  (N, 24, 3, 3) of predicted_poses; without them there are no other predictions
    """

    keypoints: Tensor
    confidence: Tensor
    focal: Tensor
    principal_point: Tensor
    image_size: Tensor
    world: Tensor | None
    spread: Tensor | None
    world_spread: Tensor | None
    predicted_rotations: Tensor | None
    predicted_betas: Any
    predicted_joints: Any
    predicted_noise: Any


def _tensors(observations: KeypointObservations, least: float) -> _Given:
    wanted = {f.name for f in fields(_Given)} | {"predicted_poses"}
    arrays = {name: value for name, value in vars(observations).items() if name in wanted}
    tensors: dict[str, Any] = {
        name: None if value is None else torch.from_numpy(value).double() for name, value in arrays.items()
    }
    poses = tensors.pop("predicted_poses")
    rotations = None if poses is None else axis_angle_to_matrix(poses.unflatten(1, (-1, 3)))
    given = _Given(predicted_rotations=rotations, **tensors)
    return replace(given, confidence=torch.where(given.confidence >= least, given.confidence, 0.0))


def gather_evidence(
    rig: LandmarkRig, skeleton: Skeleton, observations: KeypointObservations, options: KeypointFitOptions
) -> tuple[FitEvidence, list[FitState]]:
    """Evidence of all rows and their starting states, the likeliest start first."""
    given = _tensors(observations, options.least_confidence)
    pixel = viewing_pixel(skeleton, given.keypoints, given.confidence, given.principal_point)
    to_camera = viewing_rotation(pixel, given.focal, given.principal_point)
    candidates = islice(_candidates(rig, skeleton, given, to_camera), options.starts)
    starts = [_placed(rig, rotations, given) for rotations in candidates]
    pixel_weights = _pixel_weights(skeleton, given, starts[0].root[:, 2], options)
    bones, bone_weights = _bones(skeleton, given, options)
    rows = len(given.keypoints)
    neutral = rotations_to_angles(
        neutral_rotations() if given.predicted_rotations is None else given.predicted_rotations
    )
    positions, position_weights = _positions(given, to_camera, options)
    shape, shape_sigma = _shape(rig, given, options)
    evidence = FitEvidence(
        pixels=given.keypoints,
        pixel_weights=pixel_weights,
        focal=given.focal,
        centre=given.principal_point,
        bones=bones,
        bone_weights=bone_weights,
        to_ray=to_camera.mT,
        upright=_uprightness(skeleton, given) / options.lean_noise,
        positions=positions,
        position_weights=position_weights,
        confidence=given.confidence,
        shape=shape,
        shape_sigma=shape_sigma,
        fallback=neutral.expand(rows, -1, -1),
        fallback_weights=_unseen(skeleton, given.confidence) / options.fallback_noise,
        betas=torch.zeros(rows, rig.shape_count, dtype=torch.float64),
        beta_sigma=torch.full((rows, rig.shape_count), options.shape_noise, dtype=torch.float64),
    )
    return evidence, starts


def _candidates(rig: LandmarkRig, skeleton: Skeleton, given: _Given, to_camera: Tensor) -> Iterator[Tensor]:
    """Rotations (N, 24, 3, 3) to start from, the likeliest first."""
    rows, zero = len(given.keypoints), zero_joints(rig)
    flat = torch.nn.functional.pad(given.keypoints, (0, 1))
    if given.predicted_rotations is not None:
        yield given.predicted_rotations
    if given.world is not None:
        for depth in (1.0, -1.0):
            turned = (given.world * given.world.new_tensor([1.0, 1.0, depth])) @ to_camera.mT
            yield limb_rotations(zero, skeleton, turned, given.confidence)
    yield limb_rotations(zero, skeleton, flat, given.confidence)
    for yaw in (0.5, 1.5, 0.0, 1.0):
        heading = upright_heading(yaw * torch.pi).expand(rows, 3, 3)
        yield limb_rotations(zero, skeleton, flat, given.confidence, heading)


def _placed(rig: LandmarkRig, rotations: Tensor, given: _Given) -> FitState:
    rows = len(rotations)
    betas = (
        rotations.new_zeros(rows, rig.shape_count)
        if given.predicted_rotations is None
        else given.predicted_betas.clone()
    )
    origin = rotations.new_zeros(rows, 3)
    points = rig.pose(rotations, origin, betas).points[:, : rig.landmark_count]
    usual = usual_depth(given.focal, given.image_size[:, 1])
    root = place_before_camera(points, given.keypoints, given.confidence, given.focal, given.principal_point, usual)
    return FitState(rotations, root, betas, rotations.new_zeros(rows, 1))


def _pixel_weights(skeleton: Skeleton, given: _Given, depth: Tensor, options: KeypointFitOptions) -> Tensor:
    """(N, L) 1 / σ in pixels: the noise in metres at the person's distance, and the detector's own spread."""
    visible_people, hidden = landmark_noise(skeleton)
    variance = given.confidence * visible_people**2 + (1 - given.confidence) * hidden**2
    variance = variance * (options.landmark_noise * given.focal / depth).square()[:, None] + options.least_noise**2
    if given.spread is not None:
        variance = variance + given.spread.square()
    return torch.where(given.confidence > 0, variance.rsqrt(), 0.0)


def _bones(skeleton: Skeleton, given: _Given, options: KeypointFitOptions) -> tuple[Tensor, Tensor]:
    """World landmarks' bones (N, B, 3) in the axes of the viewing ray, and 1 / σ (N, B, 3)."""
    bones = bone_names(skeleton)
    rows = len(given.keypoints)
    if given.world is None:
        empty = torch.zeros(rows, len(bones), 3, dtype=torch.float64)
        return empty, empty
    matrix = combination(skeleton.joint_names, bones)
    weakest = torch.where(matrix != 0, given.confidence[:, None], 1.0).amin(-1)
    across, along = options.bone_noise
    variance = torch.tensor([across, across, along], dtype=torch.float64).square().expand(rows, len(bones), 3)
    if given.world_spread is not None:
        own = (given.world_spread.square()[:, None] * matrix.square()).sum(-1)
        variance = variance + own[..., None]
    return matrix @ given.world, (weakest[..., None] / variance).sqrt()


def _positions(given: _Given, to_camera: Tensor, options: KeypointFitOptions) -> tuple[Tensor, Tensor]:
    """Predicted joints about the pelvis (N, K, 3) in the axes of the viewing ray, and 1 / σ (N, K, 3)."""
    if given.predicted_rotations is None:
        empty = torch.zeros(len(given.keypoints), 0, 3, dtype=torch.float64)
        return empty, empty
    rows, pelvis = SMPL24.indices(PREDICTED_JOINTS), SMPL24.index("pelvis")
    joints, noise = given.predicted_joints, given.predicted_noise[:, rows]
    positions = (joints[:, rows] - joints[:, pelvis : pelvis + 1]) @ to_camera
    return positions, 1 / (options.predicted_noise * _sigmas(noise))


def _shape(rig: LandmarkRig, given: _Given, options: KeypointFitOptions) -> tuple[Tensor, Tensor]:
    """Predicted betas (N, S) and their σ."""
    if given.predicted_rotations is None:
        betas = torch.zeros(len(given.keypoints), rig.shape_count, dtype=torch.float64)
        return betas, torch.full_like(betas, torch.inf)
    return given.predicted_betas, torch.full_like(given.predicted_betas, options.predicted_shape)


def _sigmas(noise: Tensor) -> Tensor:
    """Mean absolute errors (…, 2), across in a plane's two axes together and along the ray, as σ of three axes."""
    return torch.stack((0.8 * noise[..., 0], 0.8 * noise[..., 0], 1.25 * noise[..., 1]), -1)


def _uprightness(skeleton: Skeleton, given: _Given) -> Tensor:
    """(N, 2) 0..1: how upright trunk and legs look in the image; zero where they are not visible."""
    shares = []
    for top, bottom in (("shoulder", "hip"), ("hip", "ankle")):
        rows = [skeleton.indices((f"left_{name}", f"right_{name}")) for name in (top, bottom)]
        high, low = (given.keypoints[:, pair].mean(1) for pair in rows)
        down = low - high
        cosine = down[:, 1] / down.norm(dim=-1).clamp_min(1e-9)
        certain = torch.minimum(*(given.confidence[:, pair].amin(-1) for pair in rows))
        shares.append(((cosine - 0.8) / 0.15).clamp(0, 1) * certain)
    return torch.stack(shares, -1)


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
    """(N, 24, 3) angles that unseen limbs tend to: the other side's where that is visible, else the neutral pose's."""
    mirror = list(SMPL24.mirror)
    other_seen = evidence.fallback_weights[:, mirror] == 0
    sided = torch.tensor([m != j for j, m in enumerate(mirror)])
    # Anatomical angles are the same numbers on both sides.
    other = rotations_to_angles(rotations)[:, mirror]
    return torch.where((other_seen & sided)[..., None], other, evidence.fallback)
