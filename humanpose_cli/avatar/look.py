"""Looks of people: the texture of the body and the offsets of clothes, shoes and hair; and their files.

`NAME.personK.look.npz` lies beside a fit file. The resting body with a look's offsets, skinned by the bones of the fit,
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
_LONGEST = 10  # metres of an offset
_MAKE_AGAIN = "make it again with hpc fit --textures"


@dataclass(frozen=True, eq=False)
class Look:
    """The texture and clothes of a person, drawn in place of a body in one colour.

    Attributes:
        texture: (H, W, 3 or 4) uint8, v down.
        offsets: (V, 3) float, metres. The displacement of the resting body by clothes, shoes and hair; None for none.
    """

    texture: NDArray[np.uint8]
    offsets: Array | None = None

    @classmethod
    def of(cls, avatar: Completed, segment_scales: Array | None) -> Look:
        """Return the look of a dressed person.

        Args:
            avatar: The person.
            segment_scales: (24,) float. The bone scales of the person's fit; None for 1.
        """
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
    """Return the displacement of the resting body by clothes, shoes, hair and the size of the head.

    The body with these offsets, skinned by the bones of the fit, equals `DressedBody.pose`.

    Args:
        avatar_body: The dressed body.
        segment_scales: (24,) float. The bone scales of the fit; None for 1.

    Returns:
        (V, 3) float64, metres.
    """
    body = avatar_body.body
    rest = avatar_body.body.rest(avatar_body.betas)
    scales = torch.ones(len(SMPL24)) if avatar_body.segment_scales is None else avatar_body.segment_scales
    bones = body.bone_indices.long()
    weights = body.bone_weights
    usual = torch.ones_like(scales) if segment_scales is None else torch.from_numpy(segment_scales).to(scales)
    larger = (scales / usual)[bones] * weights  # (V, K): only the head's differ from the weights
    # Displacements have one length at all scales, which the bones multiply them by.
    offsets = (avatar_body.displacements / (usual[bones] * weights).sum(1))[:, None] * avatar_body.rest_directions
    if avatar_body.offsets is not None:
        offsets = offsets + larger.sum(1, keepdim=True) * avatar_body.offsets
    arms = rest.vertices[0][:, None] - rest.joints[0][bones]  # (V, K, 3)
    return (offsets + ((larger - weights)[..., None] * arms).sum(1)).double().cpu().numpy()


def look_path(fit: Path, track: int) -> Path:
    """Return the path of a track's look beside its fit file: `clip.mp4.person0.look.npz`."""
    return beside_fit(fit, f".person{track}.look.npz")


def rows_digest(columns: Iterable[Array]) -> str:
    """Return a digest of a person's rows in a fit, by which a look is matched to them."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(column).tobytes() for column in columns)).hexdigest()


def look_arrays(look: Look, body: str, rows: str) -> dict[str, Array]:
    """Return the arrays of a look's file.

    Args:
        look: The look.
        body: The name of the fit's body.
        rows: The `rows_digest` of the person.
    """
    arrays: dict[str, Array] = {"body": np.array(body), "rows": np.array(rows), "texture": look.texture}
    if look.offsets is not None:
        arrays["offsets"] = look.offsets.astype(np.float32)
    return arrays


def read_look(path: Path, body: Body, rows: str) -> Look | None:
    """Read a look.

    Args:
        path: The file.
        body: The fit's body.
        rows: The `rows_digest` of the person.

    Returns:
        The look; None if it belongs to other rows or another body.

    Raises:
        InputError: If the file is damaged.
    """
    protect([path])
    arrays = read_npz(path)
    if not {"body", "rows", "texture"} <= arrays.keys():
        raise InputError(path, "does not hold a person's look", got=", ".join(sorted(arrays)), remedy=_MAKE_AGAIN)
    if str(arrays["body"]) != body.name or str(arrays["rows"]) != rows:
        return None
    count = len(body.template)
    offsets = arrays.get("offsets")
    wrong = offsets is not None and (
        offsets.shape != (count, 3) or offsets.dtype.kind not in "fiu" or not (np.abs(offsets) <= _LONGEST).all()
    )
    if wrong or not _is_image(arrays["texture"]):
        raise InputError(path, "is damaged", expected=f"offsets ({count}, 3) and a texture", remedy=_MAKE_AGAIN)
    return Look(arrays["texture"], None if offsets is None else offsets.astype(np.float64))


def _is_image(image: Array) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (3, 4) and min(image.shape) > 0
