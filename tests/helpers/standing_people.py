"""People who stand on one plane before a tilted camera, and what a perfect detector says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

# Pixels of soles in 1280 × 960: near and far, left and right.
SPOTS = ((200.0, 800.0), (1080.0, 760.0), (420.0, 560.0), (860.0, 520.0), (640.0, 880.0), (150.0, 480.0))


@dataclass(frozen=True)
class StandingPeople:
    """Bodies of the mean shape, one at each of `spots`, the pixels above which their pelvises are.

    poses   their names in the pose library, repeated
    sizes   of the bodies, repeated; raised metres that their soles are above the plane, repeated
    tilt, height  of the camera: radians, metres
    """

    tilt: float = 0.5
    height: float = 4.0
    focal: float = 900.0
    spots: Sequence[tuple[float, float]] = SPOTS
    poses: Sequence[str] = ("attention",)
    sizes: Sequence[float] = (1.0,)
    raised: Sequence[float] = (0.0,)

    @property
    def camera(self) -> Camera:
        return Camera(self.focal, (640.0, 480.0), (1280, 960))

    @property
    def up(self) -> np.ndarray:
        return np.array((0.0, -np.cos(self.tilt), -np.sin(self.tilt)))

    def _repeated(self, values: Sequence) -> list:
        return [values[row % len(values)] for row in range(len(self.spots))]

    @cached_property
    def bodies(self) -> KeypointFit:
        """The true bodies."""
        body, count = default_body(), len(self.spots)
        rotations = torch.stack([key_poses()[name] for name in self._repeated(self.poses)]).float()
        to_camera = np.stack((np.cross(self.up, (0, np.sin(self.tilt), -np.cos(self.tilt))), self.up, np.zeros(3)), 1)
        to_camera[:, 2] = np.cross(to_camera[:, 0], self.up)
        headings = torch.zeros(count, 3)
        headings[:, 1] = torch.arange(count)
        turn = torch.from_numpy(to_camera).float() @ axis_angle_to_matrix(headings)
        rotations[:, 0] = turn @ rotations[:, 0]
        betas, scales = (
            torch.zeros(count, 10),
            torch.tensor(self._repeated(self.sizes), dtype=torch.float32)[:, None].expand(count, 24),
        )
        vertices = body.pose(rotations, betas, None, scales).vertices
        assert vertices is not None
        low = (vertices.double() @ torch.from_numpy(self.up)).amin(1).numpy()
        pelvis = body.pose(rotations, betas, None, scales, vertices=False).joints[:, 0].double().numpy()
        rays = np.column_stack(((np.array(self.spots) - (640, 480)) / self.focal, np.ones(count)))
        feet = rays * (self.height / -(rays @ self.up))[:, None]
        # The pelvis goes above the foot, the lowest vertex onto the plane.
        level = low + np.array([-raised for raised in self._repeated(self.raised)])
        trans = feet - pelvis + (pelvis @ self.up - level)[:, None] * self.up
        posed = body.pose(rotations, betas, torch.from_numpy(trans).float(), scales, vertices=False)
        return KeypointFit(
            poses=matrix_to_axis_angle(rotations).flatten(1).numpy(),
            betas=betas.numpy(),
            trans=trans.astype(np.float32),
            segment_scales=scales.numpy().copy(),
            joints3d=posed.joints.numpy(),
            joints2d=self.camera.project(posed.joints.numpy()),
            confidence=np.ones(count, np.float32),
            joint_confidence=np.ones((count, 24), np.float32),
            reprojection_error=np.zeros(count, np.float32),
        )

    @property
    def landmarks(self) -> Tensor:
        """(N, 33, 3) metres, camera axes."""
        body, fit = default_body(), self.bodies
        rotations = axis_angle_to_matrix(torch.from_numpy(fit.poses).unflatten(1, (-1, 3)))
        trans, scales = torch.from_numpy(fit.trans), torch.from_numpy(fit.segment_scales)
        posed = body.pose(rotations, torch.from_numpy(fit.betas), trans, scales, vertices=False)
        return body.pose_landmarks(BLAZEPOSE33.name, posed, torch.from_numpy(fit.betas))

    def detected(self) -> list[DetectedPerson]:
        """What a perfect detector says, without world landmarks."""
        people = []
        for points in self.landmarks.numpy():
            pixels = self.camera.project(points)
            box = np.concatenate((pixels.min(0) - 10, pixels.max(0) + 10)).astype(np.float32)
            keypoints = np.column_stack((pixels, np.full(33, 0.95))).astype(np.float32)
            hips = points[list(BLAZEPOSE33.indices(("left_hip", "right_hip")))].mean(0)
            spread = np.full(33, 1.0, np.float32), np.full(33, 0.01, np.float32)
            people.append(DetectedPerson(box, keypoints, points - hips, *spread, None, 0.9))
        return people
