"""Rotations of necks and heads from the landmarks of faces, by Gauss-Newton steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.detect.faces import FACE_LANDMARKS
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, skew, viewing_rotation
from humanpose_cli.geometry.similarity import fit_similarity

_PAIR = SMPL24.indices(["neck", "head"])
# Standard deviations: metres of landmarks in the image, and radians of the neck, and of the head from the face.
_IMAGE, _ANGLES = 0.015, [math.radians(4)] * 3 + [math.radians(8)] * 3
_MAX_DIFFERENCE = math.radians(40)  # between fit and face; above it the network is wrong, as in profiles
_STEPS = 4


def solve_heads(body: Body, betas: Tensor, posed: PosedBody, faces: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Turn necks and heads so that the landmarks of the face have the positions and the rotation of the detected ones.

    Args:
        body: The body model.
        betas: (M, S) float. The shapes of the bodies.
        posed: The M bodies, in camera axes.
        faces: (M, 7, 3) double. The first rows of `DetectedPerson.face`.
        camera: The M cameras.

    Returns:
        (M, 2, 3, 3) double, the turns of neck and head after their absolute rotations, and (M,) double, 1 where the
        face's rotation is near the fitted one and 0 elsewhere.
    """
    table, (focal, centre) = body.landmarks("face13"), map(torch.from_numpy, (camera.focal, camera.principal_point))
    rows, eye = table.skeleton.indices(FACE_LANDMARKS), torch.eye(3).to(faces)
    in_view = fit_similarity(table.template[rows].to(faces).expand_as(faces), faces).rotation
    of_faces = viewing_rotation(faces[..., :2].mean(1), focal, centre) @ in_view
    neck, head = posed.joints[:, _PAIR].to(faces).unbind(1)
    fitted, still = posed.rotations[:, _PAIR].to(faces), eye.expand_as(of_faces)
    offsets = (body.pose_landmarks(table, posed, betas)[:, rows].to(faces) - head[:, None]) @ fitted[:, 1]
    target = (faces[..., :2] - centre[:, None]) / focal[:, None, None]
    towards, turned = torch.stack((still, of_faces), 1), torch.stack((still, fitted[:, 1]), 1)
    deviations = faces.new_tensor(_ANGLES)
    for _ in range(_STEPS):
        bone, around = ((head - neck)[:, None] @ turned[:, 0].mT), offsets @ turned[:, 1].mT
        points = neck[:, None] + bone + around
        image, scale = points[..., :2] / points[..., 2:], head[:, None, 2:] / points[..., 2:] / _IMAGE
        onto = scale[..., None] * torch.cat((eye[:2, :2].expand(*image.shape, 2), -image[..., None]), -1)
        moves = -torch.cat((onto @ skew(bone), onto @ skew(around)), -1).flatten(1, 2)
        residuals = ((image - target) * head[:, None, 2:] / _IMAGE).flatten(1)
        angles = matrix_to_axis_angle(turned @ towards.mT).flatten(1) / deviations
        jacobian = torch.cat((moves, torch.diag(1 / deviations).expand(len(faces), 6, 6)), 1)
        gradient = jacobian.mT @ torch.cat((residuals, angles), 1)[..., None]
        step = torch.linalg.solve(jacobian.mT @ jacobian, gradient)[..., 0].unflatten(1, (2, 3))
        turned = axis_angle_to_matrix(-step) @ turned
    difference = matrix_to_axis_angle(fitted[:, 1].mT @ of_faces).norm(dim=1)
    return fitted.mT @ turned @ torch.stack((fitted[:, 0], still), 1), (difference < _MAX_DIFFERENCE).to(faces)
