"""Looks of people: the texture of the body, the offsets of clothes, shoes and hair, garments; and their files.

`NAME.personK.look.npz` lies beside a fit file. The resting body with a look's offsets, and the garments, skinned by the
bones of the fit, are the dressed person in every frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.garment import Garment
from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.npz_files import read_npz
from humanpose_cli.files.value_limits import Columns, check_arrays
from humanpose_cli.outputs.output_names import beside_fit
from humanpose_cli.outputs.protection import protect
from humanpose_cli.rendering.surfaces import Surface, Texture

if TYPE_CHECKING:
    from humanpose_cli.avatar.dressing import DressedBody
    from humanpose_cli.avatar.stages import Completed

Array = NDArray[Any]

MAX_TEXELS = 1024  # of a texture, along each side
_LONGEST = 10  # metres of an offset, or of a garment from the middle of the body
_VERTICES: Columns = {"vertices": (("N", 3), "<f4"), "bones": (("N", 4), "<i4"), "weights": (("N", 4), "<f4")}
_FACES: Columns = {"faces": (("F", 3), "<i4"), "uv_faces": (("F", 3), "<i4"), "uv": (("T", 2), "<f4")}
_MAKE_AGAIN = "make it again with hpc fit --textures"


@dataclass(frozen=True, eq=False)
class Look:
    """The texture and clothes of a person, drawn in place of a body in one colour.

    Attributes:
        texture: (H, W, 3 or 4) uint8, v down.
        offsets: (V, 3) float, metres. The displacement of the resting body by clothes, shoes and hair; None for none.
        garments: Clothes with meshes of their own.
        hidden: (F,) bool. The body's faces that garments hide and that are not drawn; None for none.
    """

    texture: NDArray[np.uint8]
    offsets: Array | None = None
    garments: tuple[Garment, ...] = ()
    hidden: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, avatar: Completed, segment_scales: Array | None) -> Look:
        """Return the look of a dressed person.

        Args:
            avatar: The person.
            segment_scales: (24,) float. The bone scales of the person's fit; None for 1.
        """
        texture = np.rint(np.clip(avatar.texture.image[..., :3], 0, 1) * 255).astype(np.uint8)
        dressed = avatar.dressed
        offsets = resting_offsets(dressed.body, segment_scales)
        return cls(texture, offsets, dressed.garments, dressed.hidden if dressed.garments else None)

    @property
    def shown(self) -> Any:
        """The index of the body's faces that are drawn."""
        return slice(None) if self.hidden is None else ~self.hidden

    def surfaces(self, body: Body, posed: PosedBody) -> list[Surface]:
        """Return the surface of the body with clothes and texture, and those of the garments.

        Args:
            body: The fit's body.
            posed: The body without clothes, a batch of one, metres in camera axes.
        """
        points = posed.surface[0]
        if self.offsets is not None:
            turned = torch.einsum("bij,vj->vbi", posed.linear[0], torch.from_numpy(self.offsets).to(points))
            rows = body.bone_indices.long()[..., None].expand(-1, -1, 3)
            points = points + (body.bone_weights[..., None] * turned.gather(1, rows)).sum(1)
        faces, uv_faces = body.faces, body.uv_faces  # the same tensors for every pose: memos of drawing know them
        if self.hidden is not None:
            faces, uv_faces = faces[self.shown], uv_faces[self.shown]
        clothed = Surface(points, faces, texture=Texture(self.texture, body.uv, uv_faces))
        return [clothed, *(garment.surface(garment.pose(posed)) for garment in self.garments)]

    def part_labels(self, body: Body) -> Tensor:
        """Return the joint (…,) that moves each vertex of the `surfaces` most."""
        strongest = [np.take_along_axis(each.bones, each.weights.argmax(1)[:, None], 1) for each in self.garments]
        return torch.cat([body.part_labels, *(torch.from_numpy(bones[:, 0]) for bones in strongest)])


BARE = Look(np.full((1, 1, 3), 255, np.uint8))
"""No clothes; its texture stands for a person's colour."""


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
    if look.hidden is not None:
        arrays["hidden"] = look.hidden
    if look.garments:
        arrays["garments"] = np.array([garment.name for garment in look.garments])
    for garment in look.garments:
        arrays |= {f"{garment.name}.{each.name}": getattr(garment, each.name) for each in fields(Garment)[1:]}
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
    count, face_count = len(body.template), len(body.faces)
    offsets, hidden = arrays.get("offsets"), arrays.get("hidden")
    wrong = offsets is not None and (
        offsets.shape != (count, 3) or offsets.dtype.kind not in "fiu" or not (np.abs(offsets) <= _LONGEST).all()
    )
    wrong |= hidden is not None and bool(hidden.shape != (face_count,) or hidden.dtype != bool or hidden.all())
    if wrong or not _is_image(arrays["texture"]):
        expected = f"offsets ({count}, 3), a texture, and which of {face_count} faces are hidden"
        raise InputError(path, "is damaged", expected=expected, remedy=_MAKE_AGAIN)
    garments = tuple(_garment(path, str(name), arrays) for name in np.ravel(arrays.get("garments", ())))
    return Look(arrays["texture"], None if offsets is None else offsets.astype(np.float64), garments, hidden)


def _garment(path: Path, name: str, arrays: Mapping[str, Any]) -> Garment:
    """Return a garment of a look's file. Raises InputError if it is damaged."""
    values: list[Any] = [arrays.get(f"{name}.{each.name}") for each in fields(Garment)[1:]]
    garment, sizes = Garment(name, *values), dict[str, int]()
    check_arrays(garment, {**_VERTICES, **_FACES}, sizes, f"{path}, {name}.")
    highest = {"faces": sizes["N"] - 1, "uv_faces": sizes["T"] - 1, "bones": len(SMPL24) - 1, "uv": 1, "weights": 1}
    is_valid = all(sizes.values()) and _is_image(np.asarray(garment.image)) and name.isascii() and name.isidentifier()
    for column, high in highest.items():
        is_valid &= bool(((arrays[f"{name}.{column}"] >= 0) & (arrays[f"{name}.{column}"] <= high)).all())
    is_valid &= bool((np.abs(garment.vertices) <= _LONGEST).all()) and np.allclose(garment.weights.sum(1), 1, atol=1e-3)
    if not is_valid:
        raise InputError(path, f"holds impossible values of {name}", remedy=_MAKE_AGAIN)
    return garment


def _is_image(image: Array) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (3, 4) and min(image.shape) > 0
