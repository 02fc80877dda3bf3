"""People in clothes for the tests of the wardrobe."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from humanpose_cli.bodies.body import RiggedBody, default_body
from humanpose_cli.data.synthetic.wardrobe.colours import RGB
from humanpose_cli.data.synthetic.wardrobe.dressing import dress
from humanpose_cli.data.synthetic.wardrobe.fabrics import Fabric
from humanpose_cli.data.synthetic.wardrobe.identity import Identity, sample_identity
from humanpose_cli.data.synthetic.wardrobe.mesh import MATERIALS, DressedMesh
from humanpose_cli.data.synthetic.wardrobe.outfit import Bottom, Outfit, Shoes, Top, sample_outfit

RED: RGB = (190.0, 30.0, 30.0)
PLAIN = Fabric("plain", (RED, RED, RED, RED), 0.2, 0.5, 1)
FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # body or world axes to camera axes


@lru_cache(maxsize=1)
def body() -> RiggedBody:
    return default_body()


def person(seed: int) -> tuple[Identity, Outfit]:
    random = np.random.default_rng(seed)
    identity = sample_identity(random, f"person {seed}")
    return identity, sample_outfit(random, f"clothes {seed}", identity)


@lru_cache(maxsize=32)
def dressed(seed: int, size: int = 64) -> DressedMesh:
    return dress(body(), *person(seed), texture_size=size)


def outfit(**worn: object) -> Outfit:
    """An outfit of the pieces given, barefoot and with nothing else."""
    nothing: dict[str, object] = dict.fromkeys(
        ("top", "bottom", "skirt", "outer", "tail", "socks", "gloves", "headwear", "scarf")
    )
    shoes = Shoes("barefoot", RED, RED, RED)
    return Outfit(**{"name": "test", "seed": 3, "shoes": shoes, **nothing, **worn})  # type: ignore[arg-type]


def shirt(sleeve: float = 0.45) -> Top:
    return Top(PLAIN, hem=-0.02, sleeve=sleeve)


def trousers() -> Bottom:
    return Bottom(PLAIN, waist=0.08, hem=0.8, looseness=0.01)


def vertices_of(mesh: DressedMesh, material: str) -> np.ndarray:
    """Rows of the vertices that faces of a material use."""
    return np.unique(mesh.faces[mesh.material == MATERIALS.index(material)])
