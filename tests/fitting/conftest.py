"""Bodies with known pose and shape, and the landmarks a perfect detector would see of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.limb_rotations import BODY_FACING_CAMERA
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.core.camera import project
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, viewing_rotation

SIZE = 1024.0


@dataclass(frozen=True)
class Scene:
    """N bodies before N cameras: rotations (N, 24, 3, 3), betas, joints (N, 24, 3), and what is seen of them."""

    rotations: Tensor
    betas: Tensor
    joints: np.ndarray
    observations: KeypointObservations

    def changed(self, **fields: object) -> KeypointObservations:
        return replace(self.observations, **fields)

    def predicted(self, noise: float, seed: int = 0) -> dict[str, np.ndarray]:
        """What a body network would say that errs by about `noise` metres and radians, and knows it."""
        random = np.random.default_rng(seed)
        count = len(self.rotations)
        turned = matrix_to_axis_angle(self.rotations).numpy() + noise * random.normal(size=(count, 24, 3))
        return {
            "predicted_poses": turned.reshape(count, 72),
            "predicted_betas": self.betas.numpy(),
            "predicted_joints": self.joints + noise * random.normal(size=self.joints.shape),
            "predicted_noise": np.full((count, 24, 2), max(noise, 1e-3)),
        }


@pytest.fixture(scope="session")
def body() -> Body:
    return default_body()


def scene_of(
    body: Body,
    rotations: Tensor,
    betas: Tensor,
    depth: float | Tensor = 4.0,
    focal: float = 1200.0,
    skeleton: str = "blazepose33",
    moved: Tensor | float = 0.0,
    across: float = 0.1,
) -> Scene:
    """Bodies with pelvises `depth` metres before the camera, and their exact landmarks.

    moved   (N, 3) metres by which they are moved; across: half their way sideways, as a share of the depth
    """
    count = len(rotations)
    trans = torch.zeros(count, 3)
    trans[:, 2] = depth
    trans[:, 0] = torch.linspace(-across, across, count) * trans[:, 2]
    trans = trans + moved
    posed = body.pose(rotations, betas, trans, vertices=False)
    points = body.pose_landmarks(skeleton, posed, betas).double()
    focals, centre = torch.full((count,), focal).double(), torch.full((count, 2), SIZE / 2).double()
    pixels = project(points, focals, centre)
    names = body.landmarks(skeleton).skeleton
    hips = names.indices(("left_hip", "right_hip"))
    to_camera = viewing_rotation(pixels[:, hips].mean(1), focals, centre)
    world = (points - points[:, hips].mean(1, keepdim=True)) @ to_camera
    observations = KeypointObservations(
        keypoints=pixels.numpy(),
        confidence=np.ones(pixels.shape[:2]),
        focal=focals.numpy(),
        principal_point=centre.numpy(),
        image_size=np.full((count, 2), SIZE),
        skeleton=skeleton,
        world=world.numpy(),
    )
    return Scene(rotations, betas, posed.joints.numpy(), observations)


@pytest.fixture(scope="session")
def scene_of_bodies(body: Body) -> Callable[..., Scene]:
    """Makes a scene of given rotations and betas: `place` for the default body."""
    return partial(scene_of, body)


@pytest.fixture(scope="session")
def library_scene(body: Body) -> Callable[..., Scene]:
    """Makes a scene of held-out library poses with random headings and shapes."""

    def make(count: int, seed: int = 0, **placing: object) -> Scene:
        rng = np.random.default_rng(seed)
        library = pose_library()
        rows = library.frames("held_out")
        rotations = library.rotations(rows[torch.from_numpy(rng.choice(len(rows), count, replace=False))])
        yaw = torch.zeros(count, 3)
        yaw[:, 1] = torch.from_numpy(rng.uniform(0, 2 * np.pi, count))
        rotations[:, 0] = BODY_FACING_CAMERA.float() @ axis_angle_to_matrix(yaw) @ rotations[:, 0]
        betas = torch.from_numpy(rng.normal(size=(count, body.shape_count))).float()
        return scene_of(body, rotations, betas, **placing)

    return make
