"""The naked default body as somebody dressed, for tests of the stage that need no wardrobe."""

import functools

import numpy as np
import torch

from humanpose_cli.bodies.body import RiggedBody, default_body
from humanpose_cli.data.label_maps import BodyLabels
from humanpose_cli.data.synthetic.staging.motions import held_pose
from humanpose_cli.data.synthetic.staging.poses import PoseBank
from humanpose_cli.data.synthetic.staging.scene import Actor
from humanpose_cli.data.synthetic.wardrobe.mesh import DressedMesh


@functools.cache
def body() -> RiggedBody:
    return default_body()


@functools.cache
def labels() -> BodyLabels:
    return BodyLabels(body())


@functools.cache
def bank(seed: int = 3) -> PoseBank:
    return PoseBank(seed)


def naked(betas: torch.Tensor, grey: int = 180) -> DressedMesh:
    shaped = body().rest(betas[None])
    return DressedMesh(
        vertices=shaped.vertices[0].numpy(),
        faces=body().faces.numpy(),
        uv=body().uv.numpy(),
        uv_faces=body().uv_faces.numpy(),
        texture=np.full((64, 64, 3), grey, np.uint8),
        bone_indices=body().bone_indices.numpy(),
        bone_weights=body().bone_weights.numpy(),
        rest_joints=shaped.joints[0].numpy(),
        body_vertex=np.arange(len(body().template), dtype=np.int32),
        material=np.zeros(len(body().faces), np.uint8),
    )


def actor(number: int = 0, frames: int = 1) -> Actor:
    """Somebody in one or more poses that stand each for itself."""
    betas = torch.from_numpy(np.random.default_rng(number).normal(0, 1, 10).astype(np.float32))
    return Actor(naked(betas), betas, held_pose(*(bank().pose(number + k) for k in range(frames))))
