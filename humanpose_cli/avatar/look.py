"""Looks of people: the texture of the body and what clothes, shoes and hair add to it; and their files.

`NAME.personK.look.npz` lies beside a fit file. Skinned by the bones of the fit, the resting body with a look's offsets
is the dressed person in every frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.npz_files import read_npz
from humanpose_cli.io.output_names import beside_fit
from humanpose_cli.io.protected import protect
from humanpose_cli.rendering.surfaces import Surface, Texture

if TYPE_CHECKING:
    from humanpose_cli.avatar.dressing import DressedBody
    from humanpose_cli.avatar.stages import Completed

Array = NDArray[Any]

MAX_TEXELS = 1024  # of a texture, along each side
_MAKE_AGAIN = "make it again with hpc fit --textures"


@dataclass(frozen=True, eq=False)
class Look:
    """The texture, clothes, shoes and hair of one person, drawn in place of a body in one colour.

    Attributes:
        texture: (H, W, 3 or 4) uint8, v down.
        offsets: (V, 3) metres: what clothes, shoes and hair add to the resting body; None for nothing.
    """

    texture: NDArray[np.uint8]
    offsets: Array | None = None

    @classmethod
    def of(cls, avatar: Completed, segment_scales: Array | None) -> Look:
        """Take a dressed person at rest, whose fit has these sizes of bones (24,)."""
        texture = np.rint(np.clip(avatar.texture.image[..., :3], 0, 1) * 255).astype(np.uint8)
        return cls(texture, resting_offsets(avatar.dressed.body, segment_scales))

    def surface(self, body: Body, posed: Tensor, linear: Tensor) -> Surface:
        """Return the surface of the body with clothes and texture.

        Args:
            body: The fit's body.
            posed: (V, 3) float, metres in camera axes. The body without clothes.
            linear: (24, 3, 3) float. The matrices by which the bones turn and scale vectors at rest.
        """
        if self.offsets is not None:
            turned = torch.einsum("bij,vj->vbi", linear, torch.from_numpy(self.offsets).to(posed))  # (V, 24, 3)
            rows = body.bone_indices.long()[..., None].expand(-1, -1, 3)
            posed = posed + (body.bone_weights[..., None] * turned.gather(1, rows)).sum(1)
        return Surface(posed, body.faces, texture=Texture(self.texture, body.uv, body.uv_faces))


@torch.no_grad()
def resting_offsets(avatar_body: DressedBody, segment_scales: Array | None) -> Array:
    """Compute what clothes, shoes, hair and the size of the head add to the resting body, (V, 3) metres.

    Skinned by the bones of the fit, whose sizes are `segment_scales` (24,) or 1, the body with these offsets is where
    `DressedBody.pose` has it.
    """
    body, rest = avatar_body.body, avatar_body.body.rest(avatar_body.betas)
    scales = torch.ones(len(SMPL24)) if avatar_body.segment_scales is None else avatar_body.segment_scales
    bones, weights = body.bone_indices.long(), body.bone_weights
    usual = torch.ones_like(scales) if segment_scales is None else torch.from_numpy(segment_scales).to(scales)
    larger = (scales / usual)[bones] * weights  # (V, K): only the head's differ from the weights
    # Displacements have one length at all scales, which the bones multiply them by.
    offsets = (avatar_body.displacements / (usual[bones] * weights).sum(1))[:, None] * avatar_body.rest_directions
    if avatar_body.offsets is not None:
        offsets = offsets + larger.sum(1, keepdim=True) * avatar_body.offsets
    away = rest.vertices[0][:, None] - rest.joints[0][bones]  # (V, K, 3)
    return (offsets + ((larger - weights)[..., None] * away).sum(1)).double().cpu().numpy()


def look_path(fit: Path, track: int) -> Path:
    """Name the look of a track beside its fit file: `clip.mp4.person0.look.npz`."""
    return beside_fit(fit, f".person{track}.look.npz")


def rows_digest(columns: Iterable[Array]) -> str:
    """Compute a digest of the rows of a person in a fit, which says whether a look is of them."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(column).tobytes() for column in columns)).hexdigest()


def look_arrays(look: Look, body: str, rows: str) -> dict[str, Array]:
    """List the arrays of a look's file.

    Args:
        body: The name of the fit's body; rows as of `rows_digest`.
    """
    arrays: dict[str, Array] = {"body": np.array(body), "rows": np.array(rows), "texture": look.texture}
    if look.offsets is not None:
        arrays["offsets"] = look.offsets.astype(np.float32)
    return arrays


def read_look(path: Path, body: Body, rows: str) -> Look | None:
    """Read a look; None if it is of other rows (`rows_digest`) or another body. Raises InputError for damage."""
    protect([path])
    arrays = read_npz(path)
    if not {"body", "rows", "texture"} <= arrays.keys():
        raise InputError(path, "does not hold a person's look", got=", ".join(sorted(arrays)), remedy=_MAKE_AGAIN)
    if str(arrays["body"]) != body.name or str(arrays["rows"]) != rows:
        return None
    count = len(body.template)
    offsets = arrays.get("offsets")
    wrong = offsets is not None and (
        offsets.shape != (count, 3) or offsets.dtype.kind not in "fiu" or not np.isfinite(offsets).all()
    )
    if wrong or not _is_image(arrays["texture"]):
        raise InputError(path, "is damaged", expected=f"offsets ({count}, 3) and a texture", remedy=_MAKE_AGAIN)
    return Look(arrays["texture"], None if offsets is None else offsets.astype(np.float64))


def _is_image(image: Array) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (3, 4) and min(image.shape) > 0
