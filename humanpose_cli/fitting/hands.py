"""Fingers, wrists and the twist of forearms, from the landmarks of hands, after the bodies are fitted.

The palm's landmarks give the rotation of the hand. Its twist about the forearm's axis goes to the forearm, the rest to
the wrist; both stay within their limits, and no other joint of the body moves. Each finger joint then turns so that its
bone points as the landmarks do, within the limits of its angles: two angles at a knuckle, one at the other joints, and
a cone at those of the thumb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.joint_angles import angles_to_rotations, joint_limits, rotations_to_angles
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import FINGERS, HAND21, SMPL24
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    project_to_rotation,
    rotation_between,
    viewing_rotation,
)
from humanpose_cli.io.fit_files import FitRecord

_ELBOWS, _WRISTS, _KNUCKLES = (SMPL24.indices([f"left_{n}", f"right_{n}"]) for n in ("elbow", "wrist", "hand"))
_ARMS = _ELBOWS + _WRISTS
_PALM = HAND21.indices(["wrist", "thumb1", "index1", "middle1", "ring1", "pinky1"])
_PALM_WEIGHTS = (2.0, 0.5, 1.0, 1.0, 1.0, 1.0)
_NAMES = [name[:-1] for name in FINGERS[::3]]
_CHAINS = [HAND21.indices([f"{finger}{n}" for n in (1, 2, 3, 4)]) for finger in _NAMES]
_IS_THUMB = torch.tensor([finger == "thumb" for finger in _NAMES])[:, None, None]
# Degrees: flexion of the joints 1 to 3 of a finger, spread at the knuckle, and cones of the thumb's joints (passive
# ranges of Norkin and White, Measurement of Joint Motion, 2016).
_FLEXION = ((-25.0, 95.0), (-5.0, 115.0), (-10.0, 85.0))
_SPREAD = 22.0
_THUMB_CONES = (50.0, 70.0, 85.0)
_CURL = (18.0, 25.0, 15.0)  # flexion of a relaxed hand, degrees
# Radians: standard deviations of measured angles of arms beyond their ranges, and of the twist of forearms; and the sum
# of the angles of fingers beyond theirs at which the weight of a hand falls to 1 / e.
_EXCESS, _USUAL_TWIST, _FINGER_EXCESS = math.radians(20), math.radians(60), 1.5
_KNOWN_WRIST = 0.25  # confidence of a wrist from which its hand counts fully
_MIN_PRESENCE = 0.1  # times the plausibility, of a hand that is used
# Seconds: standard deviation of the mean in time, and of the fading of hands that are no longer detected, and the reach
# of both. Between detections that are far apart, the tail of the weights interpolates.
_DEVIATION, _FADE, _REACH, _TAIL = 0.07, 0.25, 0.75, 1e-3
_CHUNK = 256  # rows whose neighbours are in memory
_MIN_CONFIDENCE = 0.05  # of a hand that is not just relaxed
_FULL_WEIGHT = 0.5  # presence from which the landmarks alone determine a hand


def hand_rotations(record: FitRecord, rows: np.ndarray | slice) -> Tensor | None:
    """Return the finger rotations (R, 2, 15, 3, 3) of some rows of a fit, for `Body.pose`; None without hands."""
    if record.hand_poses is None:
        return None
    return axis_angle_to_matrix(torch.from_numpy(record.hand_poses[rows]))


def articulate(
    body: Body,
    bodies: KeypointFit,
    people: Sequence[DetectedPerson],
    cameras: Sequence[FrameCamera],
    *,
    smooth: bool = False,
) -> KeypointFit:
    """Bend fingers and wrists and twist forearms as the detected hands do.

    Hands that are not detected are relaxed and have confidence 0.

    Args:
        body: The body model.
        bodies: The bodies of N rows.
        people: The N rows.
        cameras: The cameras of the frames.
        smooth: Whether the rows of a track follow each other in time.

    Returns:
        The bodies with `hand_poses` and `hand_confidence`; the same if the body has no fingers or no hand was searched
        for.
    """
    if body.fingers is None or all(person.hands is None for person in people):
        return bodies
    with torch.no_grad():
        return _articulated(body, bodies, people, cameras, smooth)


def _articulated(
    body: Body, bodies: KeypointFit, people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera], smooth: bool
) -> KeypointFit:
    rotations = axis_angle_to_matrix(torch.from_numpy(bodies.poses).double().unflatten(1, (-1, 3)))
    betas, scales = torch.from_numpy(bodies.betas), torch.from_numpy(bodies.segment_scales)
    trans = torch.from_numpy(bodies.trans)
    rest = _rest_hands(body, betas)
    observed, presence = _observed(people, cameras)
    absolute = body.pose(rotations.float(), betas, vertices=False).rotations.double()
    relative, fingers, cost = _natural_hands(rest, observed, rotations, absolute[:, _ELBOWS])
    # Where the fit does not know the wrist, an arm of another pose would take the hand.
    known = torch.from_numpy(bodies.joint_confidence[:, _WRISTS]).double() / _KNOWN_WRIST
    presence = presence * torch.exp(-cost) * known.clamp(max=1)
    presence = presence * (presence > _MIN_PRESENCE)
    mean = _TimeMean(people, cameras, presence, smooth=smooth)
    fingers = mean.of(fingers, _relaxed().expand_as(fingers))
    turned = _limited(_turned(rotations, mean.of(relative[:, :, None], rotations[:, _WRISTS, None])[:, :, 0]))
    used = (mean.strength > 0)[..., None, None]
    for pair in (_ELBOWS, _WRISTS):
        rotations[:, pair] = torch.where(used, turned[:, pair], rotations[:, pair])
    rotations[:, _KNUCKLES] = torch.eye(3).to(rotations)  # fingers bend for these
    joints = body.pose(rotations.float(), betas, trans, scales, vertices=False).joints.numpy()
    lenses = [cameras[person.frame].camera for person in people]
    camera = Camera(np.array([c.focal for c in lenses]), np.array([c.principal_point for c in lenses]))
    joints3d, joints2d = bodies.joints3d.copy(), bodies.joints2d.copy()
    joints3d[:, _KNUCKLES] = joints[:, _KNUCKLES]
    joints2d[:, _KNUCKLES] = camera.project(joints[:, _KNUCKLES])
    return replace(
        bodies,
        poses=matrix_to_axis_angle(rotations).flatten(1).float().numpy(),
        joints3d=joints3d,
        joints2d=joints2d,
        hand_poses=matrix_to_axis_angle(fingers).float().numpy(),
        hand_confidence=(mean.presence * (mean.presence > _MIN_CONFIDENCE)).float().numpy(),
    )


def _rest_hands(body: Body, betas: Tensor) -> Tensor:
    """Return the landmarks (N, 2, 21, 3) of resting hands, relative to the wrist, in axes of the T pose."""
    assert body.fingers is not None
    wrists = body.rest_joints(betas)[:, _WRISTS, None]
    points = torch.cat((wrists, body.fingers.points(betas)), 2) - wrists
    return torch.einsum("sij,nspj->nspi", body.rest_rotations[_WRISTS], points).double()


def _observed(people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera]) -> tuple[Tensor, Tensor]:
    """Return the detected landmarks relative to the wrist, in camera axes, and the presences (N, 2).

    The landmarks are (2, N, 2, 21, 3): as the network sees them, and their mirror image along the line of sight.
    """
    count = len(people)
    world, pixels, presence = np.zeros((count, 2, len(HAND21), 3)), np.zeros((count, 2, 2)), np.zeros((count, 2))
    for row, person in enumerate(people):
        camera = cameras[person.frame]
        pixels[row] = camera.camera.principal_point
        # Rows between searched frames repeat the hands of others.
        for side, hand in enumerate(person.hands or () if camera.searched and not person.interpolated else ()):
            if not hand.reason:
                world[row, side], pixels[row, side], presence[row, side] = hand.world, hand.points[0], hand.presence
    lenses = [cameras[person.frame].camera for person in people for _ in range(2)]
    turn = viewing_rotation(
        torch.from_numpy(pixels).flatten(0, 1),
        torch.tensor([lens.focal for lens in lenses], dtype=torch.float64),
        torch.tensor([lens.principal_point for lens in lenses], dtype=torch.float64),
    ).unflatten(0, (count, 2))
    points = torch.from_numpy(world - world[:, :, :1])
    both = torch.stack((points, points * points.new_tensor([1.0, 1.0, -1.0])))
    return torch.einsum("nsij,mnspj->mnspi", turn, both), torch.from_numpy(presence)


def _hinge(along: Tensor) -> tuple[Tensor, Tensor]:
    """Return the axes about which bones (N, 2, 5, 3) of hands flex in the T pose, and the directions that they flex to.

    Palms look down, so left fingers flex about -z, right ones about z.
    """
    side = along.new_tensor([[[0.0, 0.0, -1.0]], [[0.0, 0.0, 1.0]]])
    axis = torch.nn.functional.normalize(side - (side * along).sum(-1, keepdim=True) * along, dim=-1)
    return axis, torch.linalg.cross(axis, along)


def _rotation(axis: Tensor, angle: Tensor) -> Tensor:
    return axis_angle_to_matrix(axis * angle[..., None])


def _natural_hands(
    rest: Tensor, observed: Tensor, rotations: Tensor, forearms: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Align resting hands (N, 2, 21, 3) with one of two observations each (2, N, 2, 21, 3).

    From the outline alone, the network may see a hand as its mirror image in depth, a palm as a back. Fingers bend only
    towards the palm, and forearms turn only so far: the more natural image is taken.

    Args:
        rest: The resting hands.
        observed: The observed hands.
        rotations: (N, 24, 3, 3). The body's rotations, relative to the parents.
        forearms: (N, 2, 3, 3). The absolute rotations of the forearms.

    Returns:
        The rotations (N, 2, 3, 3) of the hands to the forearms, those of the fingers (N, 2, 15, 3, 3), and a cost
        (N, 2) that is 0 for natural hands.
    """
    candidates = []
    weights = observed.new_tensor(_PALM_WEIGHTS)
    for points in observed:
        palm, rest_palm = (
            p[:, :, _PALM] - (p[:, :, _PALM] * weights[:, None]).sum(2, keepdim=True) / weights.sum()
            for p in (points, rest)
        )
        turn = project_to_rotation(torch.einsum("nspi,p,nspj->nsij", palm, weights, rest_palm))
        fingers, excess = _finger_rotations(rest, torch.einsum("nsji,nspj->nspi", turn, points))
        relative = forearms.mT @ turn
        candidates.append((relative, fingers, excess / _FINGER_EXCESS + _arm_cost(_turned(rotations, relative))))
    first, second = candidates
    better = first[2] <= second[2]
    return tuple(  # type: ignore[return-value]
        torch.where(better.view(*better.shape, *[1] * (a.ndim - 2)), a, b) for a, b in zip(first, second, strict=True)
    )


def _finger_rotations(rest: Tensor, hands: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the bones of resting hands (N, 2, 21, 3) to the observed ones.

    Returns:
        The rotations (N, 2, 15, 3, 3) of `FINGERS`, and the radians (N, 2) by which fingers are out of their ranges.
    """
    rest_bones, bones = (
        torch.nn.functional.normalize(points[:, :, _CHAINS].diff(dim=3), dim=-1) for points in (rest, hands)
    )
    rotations = []
    above = torch.eye(3).to(rest).expand(*rest.shape[:2], len(_CHAINS), 3, 3)
    excess = rest.new_zeros(rest.shape[:2])
    for joint, limits in enumerate(_FLEXION):
        along = rest_bones[..., joint, :]
        axis, inward = _hinge(along)
        bone = (above.mT @ bones[..., joint, :, None])[..., 0]
        measured = torch.atan2((bone * inward).sum(-1), (bone * along).sum(-1))
        flexion = measured.clamp(*map(math.radians, limits))
        excess = excess + ((flexion - measured).abs() * ~_IS_THUMB[:, 0, 0]).sum(-1)
        finger = _rotation(axis, flexion)
        if joint == 0:
            spread = torch.asin((bone * axis).sum(-1).clamp(-1, 1))
            limit = math.radians(_SPREAD)
            finger = finger @ _rotation(torch.linalg.cross(along, axis), spread.clamp(-limit, limit))
        swing = matrix_to_axis_angle(rotation_between(along, bone))
        angle = swing.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        thumb = axis_angle_to_matrix(swing * (math.radians(_THUMB_CONES[joint]) / angle).clamp_max(1))
        rotations.append(torch.where(_IS_THUMB, thumb, finger))
        above = above @ rotations[-1]
    return torch.stack(rotations, 3).flatten(2, 3), excess


def _relaxed() -> Tensor:
    """Return the rotations (1, 2, 15, 3, 3) of relaxed hands."""
    angles = torch.zeros(2, 5, 3, 3, dtype=torch.float64)
    angles[..., 2] = torch.tensor(_CURL).deg2rad() * torch.tensor([-1.0, 1.0])[:, None, None]
    angles[:, _NAMES.index("thumb")] = 0
    return axis_angle_to_matrix(angles.flatten(1, 2))[None]


def _turned(rotations: Tensor, relative: Tensor) -> Tensor:
    """Return rotations (N, 24, 3, 3) whose hands have the rotations `relative` (N, 2, 3, 3) to the forearms.

    The twist about the forearm, the x axis of the T pose, goes to the forearm.
    """
    quaternion = matrix_to_quaternion(relative)
    twist = 2 * torch.atan2(quaternion[..., 1], quaternion[..., 0])
    about_forearm = _rotation(relative.new_tensor([1.0, 0.0, 0.0]), twist)
    turned = rotations.clone()
    turned[:, _ELBOWS] = rotations[:, _ELBOWS] @ about_forearm
    turned[:, _WRISTS] = about_forearm.mT @ relative
    return turned


def _arm_cost(rotations: Tensor) -> Tensor:
    """Return how unusual (N, 2) the twists of forearms are, and how far they and the wrists are out of their ranges."""
    angles = rotations_to_angles(rotations)
    excess = (angles - angles.clamp(*joint_limits()))[:, [_ELBOWS, _WRISTS]]  # (N, 2 joints, 2 sides, 3)
    squares = excess[:, 0, :, 2] ** 2 + (excess[:, 1] ** 2).sum(-1)
    return 0.5 * (squares / _EXCESS**2 + (angles[:, _ELBOWS, 2] / _USUAL_TWIST) ** 2)


def _limited(rotations: Tensor) -> Tensor:
    """Return the rotations with forearms' twists and wrists within their ranges."""
    angles = rotations_to_angles(rotations)
    within = angles.clamp(*joint_limits())
    angles[:, _WRISTS] = within[:, _WRISTS]
    angles[:, _ELBOWS, 2] = within[:, _ELBOWS, 2]
    limited = rotations.clone()
    limited[:, _ARMS] = angles_to_rotations(angles)[:, _ARMS]
    return limited


class _TimeMean:
    """Means of rotations over the detections near in time of the same track, weighted by the presence of the hands.

    Attributes:
        presence: (N, 2), 0…1. The presence of the hands, which fades where they are no longer detected.
        strength: (N, 2). 1 where landmarks determine a hand, 0 where none is near in time.
    """

    def __init__(
        self, people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera], presence: Tensor, *, smooth: bool
    ) -> None:
        self.presence = torch.zeros_like(presence)
        self._near: list[tuple[Tensor, int, Tensor, Tensor]] = []  # rows, side, rows of detections, weights
        seconds = torch.tensor([cameras[person.frame].time for person in people], dtype=torch.float64)
        tracks: dict[int, list[int]] = {}
        for row, person in enumerate(people):
            tracks.setdefault(person.track if smooth else row, []).append(row)
        for numbers in tracks.values():
            rows = torch.tensor(numbers)[seconds[numbers].argsort()]
            for side in range(2):
                detected = rows[presence[rows, side] > 0]
                if len(detected):
                    self._add(rows, side, detected, seconds, presence[:, side])
        share = (self.presence / _FULL_WEIGHT).clamp(max=1)
        self.strength = share**2 * (3 - 2 * share)

    def _add(self, rows: Tensor, side: int, detected: Tensor, seconds: Tensor, presence: Tensor) -> None:
        """Weight the detections of a track around each of its rows."""
        times = seconds[detected]
        first = torch.searchsorted(times, seconds[rows] - _REACH)
        last = torch.searchsorted(times, seconds[rows] + _REACH, right=True)
        index = first[:, None] + torch.arange(int((last - first).max()))
        near = detected[index.clamp(max=len(detected) - 1)]
        apart = seconds[near] - seconds[rows, None]
        weights = (index < last[:, None]) * presence[near]
        fading = weights * torch.exp(-0.5 * (apart / _FADE) ** 2)
        self.presence[rows, side] = torch.nn.functional.pad(fading, (0, 1)).amax(1)
        gaussian = torch.exp(-0.5 * (apart / _DEVIATION) ** 2) + _TAIL * torch.exp(-apart.abs() / _FADE)
        self._near.append((rows, side, near, weights * gaussian))

    def of(self, rotations: Tensor, default: Tensor) -> Tensor:
        """Return the means of rotations (N, 2, K, 3, 3), towards `default` where no hand is near in time."""
        mean = torch.zeros_like(rotations)
        for rows, side, near, weights in self._near:
            for part in torch.arange(len(rows)).split(_CHUNK):  # a long video's neighbours would fill the memory
                total = torch.einsum("nw,nwkij->nkij", weights[part], rotations[near[part], side])
                mean[rows[part], side] = total / weights[part].sum(1).clamp_min(1e-12)[:, None, None, None]
        strength = self.strength[..., None, None, None]
        return project_to_rotation(strength * mean + (1 - strength) * default)
