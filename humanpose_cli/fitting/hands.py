"""Fingers, wrists, the twist of forearms, and heads, from landmarks of hands and faces, after the bodies are fitted.

`fitting.hand_angles` gives the angles of each detected hand. They, and the turns of necks and heads, are averaged over
time. No other joint of the body moves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.body.joint_angles import rotations_to_angles
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import HAND21, SMPL24
from humanpose_cli.detect.hands import FACE_LANDMARKS, SIDES
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.hand_angles import HandEvidence, rotations_of_fingers, rotations_to_forearms, solve_hands
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    project_to_rotation,
    skew,
    viewing_rotation,
)
from humanpose_cli.geometry.similarity import fit_similarity
from humanpose_cli.io.fit_files import FitRecord

_NECK_HEAD = SMPL24.indices(["neck", "head"])
_ELBOWS, _WRISTS, _KNUCKLES = (SMPL24.indices([f"left_{n}", f"right_{n}"]) for n in ("elbow", "wrist", "hand"))
_USUAL_COST = 25.0  # of the angles of a hand that is right; 2.5 times as much is implausible
_KNOWN_WRIST = 0.25  # confidence of a wrist from which its hand counts fully
_MIN_PRESENCE = 0.1  # times the plausibility, of a hand that is used
# Seconds: standard deviation of the mean in time, and of the fading of hands that are no longer detected, and the reach
# of both. Between detections that are far apart, the tail of the weights interpolates.
_DEVIATION, _FADE, _REACH, _TAIL = 0.07, 0.25, 0.75, 1e-3
_CHUNK = 256  # rows whose neighbours are in memory
_MIN_CONFIDENCE = 0.05  # of a hand that is not just relaxed
_FULL_WEIGHT = 0.5  # presence from which the landmarks alone determine a hand
# Of faces: standard deviations, in metres of landmarks in the image, in radians of the neck from the fit and of the
# head from the face; and radians between head and face above which the network is wrong, as in profiles.
_FACE, _HEAD_ANGLES = 0.015, torch.tensor([4.0] * 3 + [8.0] * 3).double().deg2rad()
_MAX_DIFFERENCE, _HEAD_STEPS = math.radians(40), 4


def hand_rotations(record: FitRecord, rows: np.ndarray | slice) -> Tensor | None:
    """Return the finger rotations (R, 2, 15, 3, 3) of some rows of a fit, for `Body.pose`; None without hands."""
    if record.hand_poses is None:
        return None
    return axis_angle_to_matrix(torch.from_numpy(record.hand_poses[rows]))


def hands_not_taken(people: Sequence[DetectedPerson], bodies: KeypointFit) -> list[dict[str, Any]]:
    """Count the rows in which hands are relaxed, by person, side and reason, as JSON values.

    The reasons are those of `Hand`, and "implausible" for landmarks that no hand of this arm has.
    """
    counts: Counter[tuple[int, str, str]] = Counter()
    if bodies.hand_confidence is not None:
        for row, side in np.argwhere(bodies.hand_confidence == 0).tolist():
            if (hands := people[row].hands) is not None:
                counts[people[row].track, SIDES[side], hands[side].reason or "implausible"] += 1
    return [{"person": p, "side": s, "reason": r, "frames": n} for (p, s, r), n in sorted(counts.items())]


def articulate(
    body: Body,
    bodies: KeypointFit,
    people: Sequence[DetectedPerson],
    cameras: Sequence[FrameCamera],
    *,
    smooth: bool = False,
) -> KeypointFit:
    """Bend fingers and wrists and twist forearms as the detected hands do, and turn heads towards the detected faces.

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
    rest, (presence, turn, image, world) = _rest_hands(body, betas), _observed(people, cameras)
    absolute = body.pose(rotations.float(), betas, vertices=False).rotations.double()
    rows = [row for row, person in enumerate(people) if person.face is not None and _is_own(person, cameras)]
    if rows:
        heads, near = torch.eye(3).to(rotations).repeat(len(people), 1, 2, 1, 1), rotations.new_zeros(len(people), 1)
        posed = body.pose(rotations[rows].float(), betas[rows], trans[rows], scales[rows], vertices=False)
        heads[rows, 0], near[rows, 0] = _turns_to_faces(body, [people[r] for r in rows], cameras, betas[rows], posed)
        neck, head = _TimeMean(people, cameras, near, smooth=smooth).of(heads, torch.eye(3).to(heads))[:, 0].unbind(1)
        rotations[:, _NECK_HEAD[0]] = rotations[:, _NECK_HEAD[0]] @ neck
        rotations[:, _NECK_HEAD[1]] = neck.mT @ rotations[:, _NECK_HEAD[1]] @ head
    sign = torch.tensor([1.0, -1.0]).double().expand(len(rest), 2)
    relaxed = rotations_of_fingers(rest.flatten(0, 1), sign.flatten()).flatten(1, 2).unflatten(0, sign.shape)
    fingers, relative, cost = relaxed.clone(), rotations[:, _WRISTS].clone(), torch.zeros_like(sign)
    image = image * torch.from_numpy(bodies.joints3d)[:, _WRISTS].double().norm(dim=-1)[..., None, None]
    forearms, pronation = turn.mT @ absolute[:, _ELBOWS], rotations_to_angles(rotations)[:, _ELBOWS, 2]
    is_present = presence > 0
    hands = HandEvidence(*(values[is_present] for values in (rest, forearms, pronation, sign, image, world)))
    angles, cost[is_present] = solve_hands(hands)
    fingers[is_present] = rotations_of_fingers(hands.rest, hands.sign, angles).flatten(1, 2)
    relative[is_present] = rotations_to_forearms(hands, angles)
    # Where the fit does not know the wrist, an arm of another pose would take the hand.
    wrist_certainty = torch.from_numpy(bodies.joint_confidence[:, _WRISTS]).double() / _KNOWN_WRIST
    presence = presence * torch.exp(-0.5 * (cost / _USUAL_COST) ** 2) * wrist_certainty.clamp(max=1)
    presence = presence * (presence > _MIN_PRESENCE)
    mean = _TimeMean(people, cameras, presence, smooth=smooth)
    fingers = mean.of(fingers, relaxed)
    turned = _turned(rotations, mean.of(relative[:, :, None], rotations[:, _WRISTS, None])[:, :, 0])
    used = (mean.strength > 0)[..., None, None]
    for pair in (_ELBOWS, _WRISTS):
        rotations[:, pair] = torch.where(used, turned[:, pair], rotations[:, pair])
    rotations[:, _KNUCKLES] = torch.eye(3).to(rotations)  # fingers bend for these
    joints = body.pose(rotations.float(), betas, trans, scales, vertices=False).joints.numpy()
    joints3d, joints2d = bodies.joints3d.copy(), bodies.joints2d.copy()
    moved = [*_KNUCKLES, *_NECK_HEAD[1:]] if rows else _KNUCKLES
    joints3d[:, moved] = joints[:, moved]
    joints2d[:, moved] = _camera(people, cameras).project(joints[:, moved])
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


def _is_own(person: DetectedPerson, cameras: Sequence[FrameCamera]) -> bool:
    """Return whether hands and face are this row's; rows between searched frames repeat those of others."""
    return cameras[person.frame].searched and not person.interpolated


def _camera(people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera]) -> Camera:
    """Return the cameras of N people as one."""
    return Camera.stack(cameras[person.frame].camera for person in people)


def _observed(people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera]) -> tuple[Tensor, ...]:
    """Return the detected hands of N people, in axes of cameras that look at them.

    Returns:
        The presences (N, 2); the rotations (N, 2, 3, 3) from these axes to those of the image's camera; the landmarks
        (N, 2, 21, 2) in the image at a distance of 1, relative to the wrist; and those in space (N, 2, 21, 3).
    """
    shape = (len(people), 2, len(HAND21))
    world, pixels, presence = np.zeros((*shape, 3)), np.zeros((*shape, 2)), np.zeros(shape[:2])
    for row, person in enumerate(people):
        pixels[row] = cameras[person.frame].camera.principal_point
        for side, hand in enumerate(person.hands or () if _is_own(person, cameras) else ()):
            if not hand.reason:
                world[row, side], pixels[row, side], presence[row, side] = hand.world, hand.points, hand.presence
    lenses = _camera(people, cameras)
    focal, centre = (torch.from_numpy(v).repeat_interleave(2, 0) for v in (lenses.focal, lenses.principal_point))
    points = torch.from_numpy(pixels).flatten(0, 1)
    turn = viewing_rotation(points[:, 0], focal, centre)
    rays = torch.nn.functional.pad((points - centre[:, None]) / focal[:, None, None], (0, 1), value=1.0) @ turn
    image = rays[..., :2] / rays[..., 2:]  # 0 for the wrist, which the cameras look at
    both = shape[:2]
    return torch.from_numpy(presence), turn.unflatten(0, both), image.unflatten(0, both), torch.from_numpy(world)


def _turns_to_faces(
    body: Body, people: Sequence[DetectedPerson], cameras: Sequence[FrameCamera], betas: Tensor, posed: PosedBody
) -> tuple[Tensor, Tensor]:
    """Turn necks and heads so that the landmarks of the face have the positions and the rotation of the detected ones.

    Returns:
        The turns (M, 2, 3, 3) of neck and head after their absolute rotations, by Gauss-Newton steps; and (M,) 1 where
        the face's rotation is near the fitted one, 0 elsewhere.
    """
    camera = _camera(people, cameras)
    landmarks = [person.face[: len(FACE_LANDMARKS)] for person in people if person.face is not None]
    faces = torch.from_numpy(np.stack(landmarks))
    table, (focal, centre) = body.landmarks("face13"), map(torch.from_numpy, (camera.focal, camera.principal_point))
    rows, eye = table.skeleton.indices(FACE_LANDMARKS), torch.eye(3).to(faces)
    in_view = fit_similarity(table.template[rows].to(faces).expand_as(faces), faces).rotation
    of_faces = viewing_rotation(faces[..., :2].mean(1), focal, centre) @ in_view
    neck, head = posed.joints[:, _NECK_HEAD].to(faces).unbind(1)
    fitted, still = posed.rotations[:, _NECK_HEAD].to(faces), eye.expand_as(of_faces)
    offsets = (body.pose_landmarks(table, posed, betas)[:, rows].to(faces) - head[:, None]) @ fitted[:, 1]
    target = (faces[..., :2] - centre[:, None]) / focal[:, None, None]
    towards, turned = torch.stack((still, of_faces), 1), torch.stack((still, fitted[:, 1]), 1)
    for _ in range(_HEAD_STEPS):
        bone, around = ((head - neck)[:, None] @ turned[:, 0].mT), offsets @ turned[:, 1].mT
        points = neck[:, None] + bone + around
        image, scale = points[..., :2] / points[..., 2:], head[:, None, 2:] / points[..., 2:] / _FACE
        onto = scale[..., None] * torch.cat((eye[:2, :2].expand(*image.shape, 2), -image[..., None]), -1)
        moves = -torch.cat((onto @ skew(bone), onto @ skew(around)), -1).flatten(1, 2)
        residuals = ((image - target) * head[:, None, 2:] / _FACE).flatten(1)
        angles = matrix_to_axis_angle(turned @ towards.mT).flatten(1) / _HEAD_ANGLES
        jacobian = torch.cat((moves, torch.diag(1 / _HEAD_ANGLES).expand(len(faces), 6, 6)), 1)
        gradient = jacobian.mT @ torch.cat((residuals, angles), 1)[..., None]
        step = torch.linalg.solve(jacobian.mT @ jacobian, gradient)[..., 0].unflatten(1, (2, 3))
        turned = axis_angle_to_matrix(-step) @ turned
    difference = matrix_to_axis_angle(fitted[:, 1].mT @ of_faces).norm(dim=1)
    return fitted.mT @ turned @ torch.stack((fitted[:, 0], still), 1), (difference < _MAX_DIFFERENCE).to(faces)


def _turned(rotations: Tensor, relative: Tensor) -> Tensor:
    """Return rotations (N, 24, 3, 3) whose hands have the rotations `relative` (N, 2, 3, 3) to the forearms.

    The twist about the forearm, the x axis of the T pose, goes to the forearm.
    """
    quaternion = matrix_to_quaternion(relative)
    twist = 2 * torch.atan2(quaternion[..., 1], quaternion[..., 0])
    about_forearm = axis_angle_to_matrix(torch.nn.functional.pad(twist[..., None], (0, 2)))
    turned = rotations.clone()
    turned[:, _ELBOWS] = rotations[:, _ELBOWS] @ about_forearm
    turned[:, _WRISTS] = about_forearm.mT @ relative
    return turned


class _TimeMean:
    """Means of rotations over the detections near in time of the same track, weighted by the presence of a part.

    The S parts of a person are the hands, or the face.

    Attributes:
        presence: (N, S), 0…1. The presence of the parts, which fades where they are no longer detected.
        strength: (N, S). 1 where landmarks determine a part, 0 where none is near in time.
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
            for side in range(presence.shape[1]):
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
        lag = seconds[near] - seconds[rows, None]
        weights = (index < last[:, None]) * presence[near]
        fading = weights * torch.exp(-0.5 * (lag / _FADE) ** 2)
        self.presence[rows, side] = torch.nn.functional.pad(fading, (0, 1)).amax(1)
        gaussian = torch.exp(-0.5 * (lag / _DEVIATION) ** 2) + _TAIL * torch.exp(-lag.abs() / _FADE)
        self._near.append((rows, side, near, weights * gaussian))

    def of(self, rotations: Tensor, default: Tensor) -> Tensor:
        """Return the means of rotations (N, S, K, 3, 3), towards `default` where no part is near in time."""
        mean = torch.zeros_like(rotations)
        for rows, side, near, weights in self._near:
            for part in torch.arange(len(rows)).split(_CHUNK):  # a long video's neighbours would fill the memory
                total = torch.einsum("nw,nwkij->nkij", weights[part], rotations[near[part], side])
                mean[rows[part], side] = total / weights[part].sum(1).clamp_min(1e-12)[:, None, None, None]
        strength = self.strength[..., None, None, None]
        return project_to_rotation(strength * mean + (1 - strength) * default)
