"""People that were never rendered: posed bodies and what a detector would say about them, errors imitated.

Rendering and detecting a person takes 100 ms, posing one takes ten. A network that overfits the poses of a cache learns
from these besides; they have no picture, only landmarks, world landmarks and a silhouette.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import RiggedBody, default_body
from humanpose_cli.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.data.augmentation import Example
from humanpose_cli.data.samples import Person
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.view import View
from humanpose_cli.synthetic.poses import PoseBank

__all__ = ["POOL", "UnrenderedPeople"]

POOL = 4096
"""Poses to draw from, where nobody wants more."""

_SIZE = 128  # pixels of the sides of the picture that nobody took
_NEAR, _FAR = 2.2, 9.0  # metres
_TILT = np.deg2rad((-12.0, 25.0))  # of the camera: up, down
_ROLL = np.deg2rad(6.0)
_FLAT = (0.7, 1.05)  # the detector's depth against the true one
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_FADE = 0.03  # of the picture's side: how fast confidence falls outside it


class UnrenderedPeople:
    """Examples without end from a pool of poses of the training split.

    count  poses in the pool; shape, place, camera and errors are new every time
    masks  draw silhouettes and body parts too, which takes most of the time
    """

    def __init__(self, seed: int = 0, count: int = POOL, *, masks: bool = True) -> None:
        self.seed, self.count, self.masks = seed, count, masks

    @cached_property
    def poses(self) -> Tensor:
        """(count, 24, 3, 3) parent-relative, y up, facing +z; drawn at the first use, a few seconds."""
        bank = PoseBank(self.seed, "train")
        return torch.stack([bank.pose(number).rotations for number in range(self.count)])

    @cached_property
    def _body(self) -> RiggedBody:
        return default_body()

    @cached_property
    def _face_parts(self) -> NDArray[np.int64]:
        """(F,) 1 + the part of each triangle's first corner: what maps of parts hold."""
        return self._body.part_labels[self._body.faces[:, 0].long()].numpy().astype(np.int64) + 1

    def example(self, random: np.random.Generator) -> Example:
        """A person with true labels and with landmarks that are true but for confidence and flat depth."""
        rotations = self.poses[int(random.integers(self.count))].clone()
        rotations[0] = _camera(random) @ rotations[0]
        betas = torch.from_numpy(random.normal(size=(1, 10)).astype(np.float32))
        focal = _SIZE * random.uniform(0.9, 1.8)
        distance = random.uniform(_NEAR, _FAR)
        aside = random.uniform(-0.5, 0.5, 2) * _SIZE * distance / focal * (0.7, 0.5)
        rest = self._body.rest_joints(betas)[0, SMPL24.index("pelvis")]
        trans = torch.tensor([[*aside, distance]], dtype=torch.float32) - rest
        with torch.no_grad():
            posed = self._body.pose(rotations[None], betas, trans, vertices=self.masks)
            landmarks = self._body.pose_landmarks(BLAZEPOSE33.name, posed, betas)[0]
        view = View(focal, (_SIZE / 2, _SIZE / 2), (_SIZE, _SIZE))
        mask, maps = None, {}
        if posed.vertices is not None:
            face = rasterise_view(posed.vertices, self._body.faces, view).face[0].numpy()
            seen = face >= 0
            maps["parts"] = np.where(seen, self._face_parts[face], 0).astype(np.uint8)
            blur = random.uniform(0.5, 1.5)
            mask = np.asarray(cv2.GaussianBlur(np.where(seen, np.uint8(255), np.uint8(0)), (0, 0), blur), np.uint8)
        joints, pixels = posed.joints[0], view.project(landmarks).numpy()
        world = (landmarks - landmarks[_HIPS].mean(0)).numpy() * (1, 1, random.uniform(*_FLAT))
        sure = _confidence(pixels, random)
        person = Person(
            body=self._body.name,
            poses=matrix_to_axis_angle(rotations).flatten().numpy(),
            betas=betas[0].numpy(),
            trans=trans[0].numpy(),
            keypoints={SMPL24.name: _with(view.project(joints).numpy(), np.ones(len(joints)))},
            joints={SMPL24.name: _with(joints.numpy(), np.ones(len(joints)))},
            detected=_with(pixels, sure),
            detected_world=_with(world, sure),
        )
        nothing = np.zeros((_SIZE, _SIZE, 3), np.uint8)
        centre = (_SIZE / 2, _SIZE / 2)
        return Example("unrendered", nothing, focal, centre, person, maps, None, mask)


def _camera(random: np.random.Generator) -> Tensor:
    """(3, 3) from y-up world axes to those of a camera that sees the person from any side, and from above a little."""
    turns = np.array([[0, random.uniform(-np.pi, np.pi), 0], [random.uniform(*_TILT), 0, 0], [0, 0, 0]])
    turns[2, 2] = _ROLL * random.normal()
    yaw, tilt, roll = axis_angle_to_matrix(torch.from_numpy(turns.astype(np.float32)))
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    return roll @ upright @ tilt @ yaw


def _confidence(pixels: NDArray[np.floating], random: np.random.Generator) -> NDArray[np.floating]:
    """High within the picture, here and there a hidden point, none far outside."""
    outside = np.linalg.norm(pixels - np.clip(pixels, 0, _SIZE), axis=1)
    hidden = random.random(len(pixels)) < 0.2 * random.random()
    sure = np.where(hidden, random.uniform(0.1, 0.7, len(pixels)), random.uniform(0.85, 1.0, len(pixels)))
    return sure * np.exp(-outside / (_FADE * _SIZE))


def _with(points: NDArray[np.floating], confidence: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.concatenate((points, confidence[:, None]), 1).astype(np.float32)
