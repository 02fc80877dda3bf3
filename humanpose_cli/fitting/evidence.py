"""Evidence and starts of the keypoint fit.

The noise of landmarks in metres at the person's distance, the landmarks that locate each joint, a closed-form position
before the camera, and, from observations, the weights and the starts of the solver. Several starts per row go through
the first
stage: the detector's depth, its mirror image along the viewing ray, and upright neutral poses. The best one survives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.joint_angles import rotations_to_angles
from humanpose_cli.body.limb_rotations import limb_rotations, neutral_rotations, upright_heading
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24, Skeleton
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.observations import KeypointObservations, OtherView
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.problem import PREDICTED_JOINTS, FitEvidence, bone_names, combination
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.geometry.rotations import viewing_rotation
from humanpose_cli.io.fit_files import FitRecord

# Metres, for skeletons of other detectors: about the agreement of annotators (mean of COCO's OKS constants).
_VISIBLE_NOISE, _HIDDEN_NOISE = 0.022, 0.08


@lru_cache(maxsize=8)
def landmark_noise(skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Return the standard deviations (L,) in metres of visible and hidden landmarks, double.

    BlazePose's were measured with the landmarks' positions on the default body by tools/build_landmarks.py.
    """
    if skeleton != BLAZEPOSE33:
        ones = torch.ones(len(skeleton), dtype=torch.float64)
        return _VISIBLE_NOISE * ones, _HIDDEN_NOISE * ones
    path = resources.files("humanpose_cli.body") / "data" / "blazepose_landmarks.npz"
    with resources.as_file(path) as real_path, np.load(real_path, allow_pickle=False) as file:
        noise = [torch.from_numpy(file[name]).double() for name in ("noise_in_sight", "noise_hidden")]
    return noise[0], torch.maximum(noise[0], noise[1])


def landmark_variance(skeleton: Skeleton, confidence: Tensor) -> Tensor:
    """Compute the variance (N, L) in square metres, between visible and hidden landmarks by confidence (N, L)."""
    visible_noise, hidden_noise = landmark_noise(skeleton)
    return confidence * visible_noise**2 + (1 - confidence) * hidden_noise**2


# Groups of landmarks that locate a joint, without their side. The most confident landmark of each group counts.
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


@lru_cache(maxsize=8)
def witnesses(skeleton: Skeleton) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return groups of landmark rows for each joint of SMPL24. The most confident of each group is its witness."""
    table = []
    for joint in SMPL24.joint_names:
        side = next((s for s in ("left_", "right_") if joint.startswith(s)), "")
        groups = []
        for group in _WITNESSES[joint.removeprefix(side)]:
            names = [f"{side}{name}" if f"{side}{name}" in skeleton else name for name in group]
            groups.append(tuple(skeleton.index(name) for name in names if name in skeleton))
        table.append(tuple(filter(None, groups)))
    return tuple(table)


def joint_evidence(skeleton: Skeleton, evidence: Tensor) -> Tensor:
    """Reduce evidence of landmarks (N, L), larger for better, to evidence of joints (N, 24). 0 without witnesses."""
    # A joint is as certain as the worst of its groups, and a group as its best landmark.
    columns = []
    for groups in witnesses(skeleton):
        best = [evidence[:, list(group)].amax(-1) for group in groups]
        columns.append(torch.stack(best, -1).amin(-1) if best else torch.zeros_like(evidence[:, 0]))
    return torch.stack(columns, -1)


def joint_visibility(record: FitRecord) -> NDArray[np.float32]:
    """Measure how visible (N, 24) the landmarks of each joint are, 0 to 1.

    Rows without keypoints, which other programs' fits have, get the confidence of the joints.
    """
    visible = joint_evidence(BLAZEPOSE33, torch.from_numpy(record.keypoints2d[..., 2])).numpy()
    has_keypoints = (record.keypoints2d[..., 2] > 0).any(1, keepdims=True)
    return np.where(has_keypoints, visible, record.joint_confidence)


_MIN_DEPTH = 0.3  # metres from the camera to the nearest landmark


def viewing_pixel(skeleton: Skeleton, keypoints: Tensor, confidence: Tensor, principal_point: Tensor) -> Tensor:
    """Find the pixel (N, 2) at which a camera looks that looks straight at the person.

    It is between the hips, or the mean of all keypoints (N, L, 2), weighted by confidence (N, L), if the hips have
    none.
    """
    hips = skeleton.indices(("left_hip", "right_hip"))
    # The hips are the body's middle. The mean of all landmarks moves with the limbs, but always exists.
    total = confidence.sum(1, keepdim=True)
    mean = (keypoints * confidence[..., None]).sum(1) / total.clamp_min(1e-9)
    mean = torch.where(total > 0, mean, principal_point)
    visible_hips = (confidence[:, hips] > 0).all(-1, keepdim=True)
    return torch.where(visible_hips, keypoints[:, hips].mean(1), mean)


def zero_joints(rig: LandmarkRig) -> Tensor:
    """Return the joints (24, 3) of the T pose in body axes."""
    still = torch.eye(3, dtype=rig.joints.dtype).expand(1, len(rig.joints), 3, 3)
    origin, shape = rig.joints.new_zeros(1, 3), rig.joints.new_zeros(1, rig.shape_count)
    return rig.pose(still, origin, shape).joints[0]


def place_before_camera(
    points: Tensor, keypoints: Tensor, weights: Tensor, focal: Tensor, principal_point: Tensor, default_depth: Tensor
) -> Tensor:
    """Find the translations that bring points under their pixels.

    Least squares on the equations (X + t_x) − u (Z + t_z) = 0 with the normalised image coordinate u, which are linear
    in t.

    Args:
        points: (N, L, 3) metres, relative to the root.
        keypoints: (N, L, 2) pixels.
        weights: (N, L).
        focal: (N,) pixels.
        principal_point: (N, 2) pixels.
        default_depth: (N,) metres. A faint equation, which decides if the landmarks do not.

    Returns:
        (N, 3) metres.
    """
    uv = (keypoints - principal_point[:, None]) / focal[:, None, None]
    zeros, ones = torch.zeros_like(uv[..., 0]), torch.ones_like(uv[..., 0])
    # Two rows of A t = b for each landmark, one for u and one for v.
    A = torch.stack((torch.stack((ones, zeros, -uv[..., 0]), -1), torch.stack((zeros, ones, -uv[..., 1]), -1)), -2)
    b = uv * points[..., 2:] - points[..., :2]
    # Confident landmarks count more; those without confidence drop out, and the faint prior keeps the system regular.
    A, b = A * weights[..., None, None], b * weights[..., None]
    A, b = A.flatten(1, 2), b.flatten(1, 2)
    faint = 1e-3
    prior = torch.tensor([1e-10, 1e-10, faint**2], dtype=points.dtype)
    # Sums: how a product of matrices rounds depends on where in memory a row of the batch begins.
    normal = (A[..., :, None] * A[..., None, :]).sum(-3) + torch.diag(prior)
    right = (A * b[..., None]).sum(-2)
    right[:, 2] += faint**2 * default_depth
    t = torch.linalg.solve(normal, right)
    # The solution of few or contradictory landmarks may lie behind the camera: hold the depth and fit the rest.
    behind = t[:, 2] + points[..., 2].amin(-1) < _MIN_DEPTH
    depth = torch.where(behind, default_depth, t[:, 2])
    sideways = right[:, :2] - normal[:, :2, 2] * depth[:, None]
    at_depth = torch.linalg.solve(normal[:, :2, :2], sideways)
    return torch.where(behind[:, None], torch.cat((at_depth, depth[:, None]), -1), t)


_PERSON_HEIGHT = 1.7  # metres
_IMAGE_SHARE = 0.8  # of the image's height that a person fills
_MIN_CONFIDENCE = 0.5  # of keypoints from which a distance is computed
_MIN_KEYPOINTS = 6  # with this confidence


def default_depth(focal: Tensor, image_height: Tensor) -> Tensor:
    """Compute the depth (N,) in metres at which a person fills four fifths of the image's height."""
    return focal * _PERSON_HEIGHT / (_IMAGE_SHARE * image_height)


def distance_from_camera(person: DetectedPerson, camera: Camera) -> float:
    """Compute the distance in metres of the world landmarks under the keypoints. Infinite without confident ones."""
    confidence = person.keypoints[:, 2]
    if person.world is None or (confidence >= _MIN_CONFIDENCE).sum() < _MIN_KEYPOINTS:
        return math.inf
    points, pixels, weights = (
        torch.from_numpy(np.asarray(values, np.float64))[None]
        for values in (person.world, person.keypoints[:, :2], confidence)
    )
    # The same placement as the fit's own start, so that both agree on how far away a person is.
    view = Camera.stack([camera]).tensors(torch.float64)
    depth = default_depth(view.focal, view.focal.new_tensor([camera.size[1]]))
    return float(place_before_camera(points, pixels, weights, view.focal, view.principal_point, depth)[0, 2])


_MIN_NOISE = 0.5  # pixels, of any landmark of distant people
_BONE_NOISE = (0.06, 0.06, 0.09)  # metres of a bone in world landmarks, across the viewing ray and along it
_PREDICTED_NOISE = 3.0  # factor on the noise that a body network predicts for its joints, which is too small
_FALLBACK_NOISE = 0.3  # radians, difference of a hidden limb from its mirrored or neutral pose
_MAX_STARTS = 5  # of a row
# A rotation is as certain as its child is visible, because turning a joint moves the next one.
_CHILD = {"hip": "knee", "knee": "ankle", "ankle": "foot", "foot": "foot"}
_CHILD |= {"shoulder": "elbow", "elbow": "wrist", "wrist": "hand", "hand": "hand"}


def gather_evidence(
    rig: LandmarkRig, observations: KeypointObservations, options: KeypointFitOptions
) -> tuple[FitEvidence, FitState, Iterator[FitState]]:
    """Gather the evidence of N rows, their most probable start, and the others, which are made when they are needed."""
    # Faint landmarks are not used at all.
    confidence = observations.confidence
    confidence = torch.where(confidence >= options.min_confidence, confidence, 0.0)
    observations = replace(observations, confidence=confidence)
    skeleton = observations.names
    # World landmarks are given on the axes of a camera that looks straight at the person.
    pixel = viewing_pixel(skeleton, observations.keypoints, confidence, observations.principal_point)
    to_camera = viewing_rotation(pixel, observations.focal, observations.principal_point)
    # The cost has several minima, such as a body that faces away. Each start leads to one of them.
    rotations = islice(_start_rotations(rig, observations, to_camera), _MAX_STARTS)
    starts = (_start(rig, rotation, observations) for rotation in rotations)
    first = next(starts)
    # Depth comes from the detector's world landmarks and from a network's prediction, each with its own noise.
    bones, bone_weights = _bones(observations)
    positions, position_weights = _predicted_positions(observations, to_camera)
    shape, shape_sigma = _predicted_shape(rig, observations, options)
    betas, beta_sigma = _shape_prior(rig, observations, options)
    # Hidden limbs fall back on the predicted pose, else on the neutral one.
    prediction = observations.predicted_rotations
    fallback = rotations_to_angles(neutral_rotations() if prediction is None else prediction)
    # A limb that any camera shows is not hidden.
    max_confidence = confidence
    for view in observations.views:
        max_confidence = max_confidence.maximum(view.weights)
    views = [_other_view(view, observations, first.root, options.min_confidence) for view in observations.views]
    evidence = FitEvidence(
        pixels=observations.keypoints,
        pixel_weights=_pixel_weights(observations, confidence, observations.focal, first.root[:, 2]),
        counts=torch.ones_like(confidence),
        focal=observations.focal,
        centre=observations.principal_point,
        bones=bones,
        bone_weights=bone_weights,
        to_ray=to_camera.mT,
        upright=_uprightness(observations) / options.lean_noise,
        positions=positions,
        position_weights=position_weights,
        confidence=max_confidence,
        shape=shape,
        shape_sigma=shape_sigma,
        fallback=fallback.expand(len(observations), -1, -1),
        fallback_weights=_hidden_limbs(skeleton, max_confidence) / _FALLBACK_NOISE,
        betas=betas,
        beta_sigma=beta_sigma,
        views=tuple(views),
    )
    return evidence, first, starts


def _shape_prior(
    rig: LandmarkRig, observations: KeypointObservations, options: KeypointFitOptions
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (N, S) of betas: the rows' own prior, else that of all people."""
    noise = torch.full((len(observations), rig.shape_count), options.shape_noise, dtype=torch.float64)
    mean = torch.zeros_like(noise)
    if observations.shape_mean is None or observations.shape_noise is None:
        return mean, noise
    has_prior = observations.shape_mean.isfinite()
    mean = torch.where(has_prior, observations.shape_mean, mean)
    return mean, torch.where(has_prior, observations.shape_noise, noise)


def _other_view(view: OtherView, observations: KeypointObservations, root: Tensor, min_confidence: float) -> OtherView:
    """Weight the landmarks before another camera by the distance of the person, whose pelvis is at root (N, 3)."""
    # The person may be much nearer to this camera, where the same metres are more pixels.
    depth = ((view.rotation @ root[..., None]).squeeze(-1) + view.translation)[:, 2].clamp_min(_MIN_DEPTH)
    confidence = torch.where(view.weights >= min_confidence, view.weights, 0.0)
    return view._replace(weights=_pixel_weights(observations, confidence, view.focal, depth))


def _start_rotations(rig: LandmarkRig, observations: KeypointObservations, to_camera: Tensor) -> Iterator[Tensor]:
    """Yield rotations (N, 24, 3, 3) of starts, the most probable first."""
    skeleton, confidence, zero = observations.names, observations.confidence, zero_joints(rig)
    # A network's pose is the most probable one, because it uses the image.
    if observations.predicted_rotations is not None:
        yield observations.predicted_rotations
    if observations.world is not None:
        # The detector's depth, then the depth mirrored.
        for depth in (1.0, -1.0):
            directions = (observations.world * observations.world.new_tensor([1.0, 1.0, depth])) @ to_camera.mT
            yield limb_rotations(zero, skeleton, directions, confidence)
    # Flat limbs, with the heading that the trunk's sides give; then upright with four headings.
    flat = torch.nn.functional.pad(observations.keypoints, (0, 1))
    yield limb_rotations(zero, skeleton, flat, confidence)
    for yaw in (0.5, 1.5, 0.0, 1.0):
        heading = upright_heading(yaw * torch.pi).expand(len(observations), 3, 3)
        yield limb_rotations(zero, skeleton, flat, confidence, heading)


def _start(rig: LandmarkRig, rotations: Tensor, observations: KeypointObservations) -> FitState:
    """Place the predicted shape, else the mean shape, in a pose, so that its landmarks lie under the keypoints."""
    rows, prediction = len(rotations), observations.predicted_betas
    betas = rotations.new_zeros(rows, rig.shape_count) if prediction is None else prediction.clone()
    origin = rotations.new_zeros(rows, 3)
    points = rig.pose(rotations, origin, betas).points[:, : rig.landmark_count]
    depth = default_depth(observations.focal, observations.image_size[:, 1])
    pixels, weights = observations.keypoints, observations.confidence
    root = place_before_camera(points, pixels, weights, observations.focal, observations.principal_point, depth)
    return FitState(rotations, root, betas, rotations.new_zeros(rows, 1))


def _pixel_weights(observations: KeypointObservations, confidence: Tensor, focal: Tensor, depth: Tensor) -> Tensor:
    """Compute 1 / σ (N, L) in pixels from the noise in metres and the detector's own spread."""
    # Errors are centimetres on the body, which are more pixels if the person is nearer.
    pixels_per_metre = focal / depth
    variance = landmark_variance(observations.names, confidence) * pixels_per_metre.square()[:, None] + _MIN_NOISE**2
    if observations.spread is not None:
        variance = variance + observations.spread.square()
    return torch.where(confidence > 0, variance.rsqrt(), 0.0)


def _bones(observations: KeypointObservations) -> tuple[Tensor, Tensor]:
    """Compute the bones (N, B, 3) of world landmarks in axes of the viewing ray, and 1 / σ (N, B, 3)."""
    names = observations.names
    bones, rows = bone_names(names), len(observations)
    if observations.world is None:
        empty = torch.zeros(rows, len(bones), 3, dtype=torch.float64)
        return empty, empty
    matrix = combination(names.joint_names, bones)
    # A bone is as certain as its least confident end.
    weakest = torch.where(matrix != 0, observations.confidence[:, None], 1.0).amin(-1)
    # A single image determines depth worse than directions across the ray.
    variance = torch.tensor(_BONE_NOISE, dtype=torch.float64).square().expand(rows, len(bones), 3)
    if observations.world_spread is not None:
        spread = (observations.world_spread.square()[:, None] * matrix.square()).sum(-1)
        variance = variance + spread[..., None]
    return matrix @ observations.world, (weakest[..., None] / variance).sqrt()


def _predicted_positions(observations: KeypointObservations, to_camera: Tensor) -> tuple[Tensor, Tensor]:
    """Compute predicted joints about the pelvis (N, K, 3) in axes of the viewing ray, and 1 / σ (N, K, 3)."""
    if observations.predicted_joints is None or observations.predicted_noise is None:
        empty = torch.zeros(len(observations), 0, 3, dtype=torch.float64)
        return empty, empty
    rows, pelvis = SMPL24.indices(PREDICTED_JOINTS), SMPL24.index("pelvis")
    joints, noise = observations.predicted_joints, observations.predicted_noise[:, rows]
    positions = (joints[:, rows] - joints[:, pelvis : pelvis + 1]) @ to_camera
    # σ of three axes from mean absolute errors, in the plane across the ray and along the ray.
    sigma = torch.stack((0.8 * noise[..., 0], 0.8 * noise[..., 0], 1.25 * noise[..., 1]), -1)
    return positions, 1 / (_PREDICTED_NOISE * sigma)


def _predicted_shape(
    rig: LandmarkRig, observations: KeypointObservations, options: KeypointFitOptions
) -> tuple[Tensor, Tensor]:
    """Return predicted betas (N, S) and their σ, which is infinite without a prediction."""
    prediction = observations.predicted_betas
    if prediction is None:
        betas = torch.zeros(len(observations), rig.shape_count, dtype=torch.float64)
        return betas, torch.full_like(betas, torch.inf)
    return prediction, torch.full_like(prediction, options.predicted_shape)


def _uprightness(observations: KeypointObservations) -> Tensor:
    """Measure how upright (N, 2) trunk and legs look in the image, 0 to 1. Zero if they are hidden."""
    shares = []
    for top, bottom in (("shoulder", "hip"), ("hip", "ankle")):
        rows = [observations.names.indices((f"left_{name}", f"right_{name}")) for name in (top, bottom)]
        high, low = (observations.keypoints[:, pair].mean(1) for pair in rows)
        down = low - high
        cosine = down[:, 1] / down.norm(dim=-1).clamp_min(1e-9)
        certain = torch.minimum(*(observations.confidence[:, pair].amin(-1) for pair in rows))
        # From 37° off the vertical in the image to 18°.
        shares.append(((cosine - 0.8) / 0.15).clamp(0, 1) * certain)
    return torch.stack(shares, -1)


def _hidden_limbs(skeleton: Skeleton, confidence: Tensor) -> Tensor:
    """Measure how hidden (N, 24) the part is that a limb's joint moves, 0 to 1. Zero for the trunk."""
    # Below a confidence of one half a limb fades over to its fallback, without a jump from frame to frame.
    joints = joint_evidence(skeleton, confidence)
    hidden_share = torch.zeros_like(joints)
    for column, joint in enumerate(SMPL24.joint_names):
        side, _, name = joint.partition("_")
        if name in _CHILD:
            child = joints[:, SMPL24.index(f"{side}_{_CHILD[name]}")]
            hidden_share[:, column] = (1 - child / 0.5).clamp(0, 1)
    return hidden_share


def limb_fallback(evidence: FitEvidence, rotations: Tensor) -> Tensor:
    """Choose fallback angles (N, 24, 3) of hidden limbs: the other side's if it is visible, else the neutral pose's."""
    mirror = list(SMPL24.mirror)
    mirror_visible = evidence.fallback_weights[:, mirror] == 0
    has_side = torch.tensor([m != j for j, m in enumerate(mirror)])
    # Anatomical angles are the same numbers on both sides.
    mirror_angles = rotations_to_angles(rotations)[:, mirror]
    return torch.where((mirror_visible & has_side)[..., None], mirror_angles, evidence.fallback)
