"""People for synthetic pictures: identities, clothes, hair, and the textured, skinned mesh made of them.

`sample_identity` and `sample_outfit` draw who a person is and what they wear, `dress` makes the mesh, `pose_dressed`
poses it. Geometry: `base` (the surface that clothes follow), `cutting` (hems), `shells`, `lofts` (skirts, coat tails),
`scalp` and `headwear`, `footwear`, `extras`. Textures: `texels`, `fabrics`, `prints`, `skin`, `painting`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from humanpose_cli.data.synthetic.wardrobe.dressing import dress
    from humanpose_cli.data.synthetic.wardrobe.identity import Identity, sample_identity
    from humanpose_cli.data.synthetic.wardrobe.mesh import MATERIALS, DressedMesh, pose_dressed
    from humanpose_cli.data.synthetic.wardrobe.outfit import Outfit, sample_outfit

__all__ = [
    "MATERIALS",
    "DressedMesh",
    "Identity",
    "Outfit",
    "dress",
    "pose_dressed",
    "sample_identity",
    "sample_outfit",
]

_HOMES = {
    "MATERIALS": "mesh",
    "DressedMesh": "mesh",
    "Identity": "identity",
    "Outfit": "outfit",
    "dress": "dressing",
    "pose_dressed": "mesh",
    "sample_identity": "identity",
    "sample_outfit": "outfit",
}


def __getattr__(name: str) -> Any:
    """Public names, loaded when they are first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
