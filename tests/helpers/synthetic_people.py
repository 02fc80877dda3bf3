"""People for the tests of the generator: in clothes, and the naked default body as somebody dressed."""

from __future__ import annotations

import functools

import numpy as np
import torch

from helpers.cached_body import body
from humanpose_cli.lab.synthetic.dressing import dress_identity
from humanpose_cli.lab.synthetic.fabrics import RGB, Fabric
from humanpose_cli.lab.synthetic.mesh import MATERIALS, DressedMesh
from humanpose_cli.lab.synthetic.people import Bottom, Identity, Outfit, Shoes, Top, sample_identity, sample_outfit
from humanpose_cli.lab.synthetic.poses import PoseBank, held_pose
from humanpose_cli.lab.synthetic.scene import Actor


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


RED: RGB = (190.0, 30.0, 30.0)
PLAIN = Fabric("plain", (RED, RED, RED, RED), 0.2, 0.5, 1)
FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # body or world axes to camera axes


def person(seed: int) -> tuple[Identity, Outfit]:
    random = np.random.default_rng(seed)
    identity = sample_identity(random, f"person {seed}")
    return identity, sample_outfit(random, f"clothes {seed}")


@functools.lru_cache(maxsize=32)
def dressed(seed: int, size: int = 64) -> DressedMesh:
    return dress_identity(body(), *person(seed), texture_size=size)


def outfit(**worn: object) -> Outfit:
    """An outfit of the pieces given, barefoot and with nothing else."""
    pieces: dict[str, object] = dict.fromkeys(Outfit.__dataclass_fields__)
    pieces |= {"name": "test", "seed": 3, "shoes": Shoes("barefoot", RED, RED, RED)}
    return Outfit(**pieces | worn)  # type: ignore[arg-type]


def wearing(**worn: object) -> DressedMesh:
    """Person 1 in these clothes and nothing else."""
    return dress_identity(body(), person(1)[0], outfit(**worn), texture_size=64)


def shirt(sleeve: float = 0.45) -> Top:
    return Top(PLAIN, hem=-0.02, sleeve=sleeve)


def trousers() -> Bottom:
    return Bottom(PLAIN, waist=0.08, hem=0.8, looseness=0.01)


def vertices_of(mesh: DressedMesh, material: str) -> np.ndarray:
    """Rows of the vertices that faces of a material use."""
    return np.unique(mesh.faces[mesh.material == MATERIALS.index(material)])
