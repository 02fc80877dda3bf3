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
from humanpose_cli.rendering.html_page import reduced
from humanpose_cli.rendering.surfaces import Surface, Texture

if TYPE_CHECKING:
    from humanpose_cli.avatar.dressing import DressedBody
    from humanpose_cli.avatar.loose import LooseCloth
    from humanpose_cli.avatar.stages import Completed

Array = NDArray[Any]

MAX_TEXELS = 1024  # of a texture, along each side
_MAKE_AGAIN = "make it again with hpc fit --textures"


@dataclass(frozen=True, eq=False)
class Sheet:
    """Cloth or hair beside a body, which moves with its bones.

    Attributes:
        rest: (N, 3) metres, beside the resting body; faces (M, 3).
        bones: (N, 4) rows of smpl24; weights (N, 4), whose rows sum to 1.
        uv: (N, 2) in 0…1, v down; image (h, w, 3) uint8.
    """

    rest: Array
    faces: Array
    bones: Array
    weights: Array
    uv: Array
    image: NDArray[np.uint8]

    @classmethod
    def of(cls, cloth: LooseCloth) -> Sheet:
        """Take the four strongest bones of each point."""
        weights = cloth.weights.double().cpu().numpy()
        bones = np.argsort(-weights, axis=1, kind="stable")[:, :4]
        weights = np.take_along_axis(weights, bones, 1)
        # The part of the photograph that the sheet shows.
        size, uv = np.array(cloth.image.shape[1::-1]), cloth.uv.double().cpu().numpy()
        low, high = np.floor(uv.min(0) * size).astype(int), np.ceil(uv.max(0) * size).astype(int)
        part = np.ascontiguousarray(cloth.image[low[1] : high[1], low[0] : high[0]])
        return cls(
            cloth.rest.double().cpu().numpy(),
            cloth.faces.cpu().numpy().astype(np.int64),
            bones,
            weights / weights.sum(1, keepdims=True),
            (uv * size - low) / (high - low),
            reduced(_eight_bit(part), MAX_TEXELS),
        )


@dataclass(frozen=True, eq=False)
class Look:
    """The texture, clothes, shoes and hair of one person, drawn in place of a body in one colour.

    Attributes:
        texture: (H, W, 3 or 4) uint8, v down.
        offsets: (V, 3) metres: what clothes, shoes and hair add to the resting body; None for nothing.
        sheets: Of cloth and hair beside the body.
    """

    texture: NDArray[np.uint8]
    offsets: Array | None = None
    sheets: tuple[Sheet, ...] = ()

    @classmethod
    def of(cls, avatar: Completed, segment_scales: Array | None) -> Look:
        """Take a dressed person at rest, whose fit has these sizes of bones (24,)."""
        loose = avatar.dressed.loose
        sheets = () if loose is None or not len(loose.faces) else (Sheet.of(loose),)
        return cls(
            _eight_bit(avatar.texture.image[..., :3]), resting_offsets(avatar.dressed.body, segment_scales), sheets
        )

    def surfaces(self, body: Body, posed: Tensor, linear: Tensor, shifts: Tensor) -> list[Surface]:
        """Return what is drawn of the person: the body with what is worn, and sheets.

        Args:
            posed: (V, 3) the body without clothes, metres, camera axes.
            linear, shifts: (24, 3, 3) and (24, 3): bones map x at rest to `linear` x + `shifts`.
        """
        if self.offsets is not None:
            turned = torch.einsum("bij,vj->vbi", linear, torch.from_numpy(self.offsets).to(posed))  # (V, 24, 3)
            rows = body.bone_indices.long()[..., None].expand(-1, -1, 3)
            posed = posed + (body.bone_weights[..., None] * turned.gather(1, rows)).sum(1)
        result = [Surface(posed, body.faces, texture=Texture(self.texture, body.uv, body.uv_faces))]
        for sheet in self.sheets:
            rest, weights, uv = (torch.from_numpy(x).to(posed) for x in (sheet.rest, sheet.weights, sheet.uv))
            bones, faces = torch.from_numpy(sheet.bones).long(), torch.from_numpy(sheet.faces).int()
            vertices = (weights[..., None] * ((linear[bones] @ rest[:, None, :, None])[..., 0] + shifts[bones])).sum(1)
            result.append(Surface(vertices, faces, texture=Texture(sheet.image, uv, faces)))
        return result


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
    for number, sheet in enumerate(look.sheets):
        for name, kind in _SHEET.items():
            arrays[f"sheet{number}_{name}"] = getattr(sheet, name).astype(kind)
    return arrays


_SHEET = {"rest": "<f4", "faces": "<i4", "bones": "|u1", "weights": "<f4", "uv": "<f4", "image": "|u1"}


def read_look(path: Path, body: Body, rows: str) -> Look | None:
    """Read a look; None if it is of other rows (`rows_digest`) or another body. Raises InputError for damage."""
    protect([path])
    arrays = read_npz(path)
    if not {"body", "rows", "texture"} <= arrays.keys():
        raise InputError(path, "does not hold a person's look", got=", ".join(sorted(arrays)), remedy=_MAKE_AGAIN)
    if str(arrays["body"]) != body.name or str(arrays["rows"]) != rows:
        return None
    count, sheets = len(body.template), list[Sheet]()
    while f"sheet{len(sheets)}_rest" in arrays:
        prefix = f"sheet{len(sheets)}_"
        sheets.append(_checked_sheet(path, {n.removeprefix(prefix): a for n, a in arrays.items() if prefix in n}))
    offsets = arrays.get("offsets")
    wrong = offsets is not None and (offsets.shape != (count, 3) or not _finite(offsets))
    if wrong or not _is_image(arrays["texture"]):
        raise InputError(path, "is damaged", expected=f"offsets ({count}, 3) and a texture", remedy=_MAKE_AGAIN)
    return Look(arrays["texture"], None if offsets is None else offsets.astype(np.float64), tuple(sheets))


def _checked_sheet(path: Path, part: dict[str, Array]) -> Sheet:
    """Build a sheet. Raises InputError for arrays that do not fit together."""
    arrays = {name: array.astype(_SHEET[name]) for name, array in part.items() if _is_numeric(array)}
    if arrays.keys() == _SHEET.keys():
        count = len(arrays["rest"])
        shapes = {"rest": (count, 3), "bones": (count, 4), "weights": (count, 4), "uv": (count, 2)}
        fits = all(arrays[name].shape == shape and _finite(arrays[name]) for name, shape in shapes.items())
        faces = arrays["faces"]
        fits = fits and faces.shape[1:] == (3,) and bool(((faces >= 0) & (faces < count)).all())
        if fits and (arrays["bones"] < len(SMPL24)).all() and _is_image(arrays["image"]):
            float_arrays = {name: arrays[name].astype(np.float64) for name in ("rest", "weights", "uv")}
            return Sheet(
                rest=float_arrays["rest"],
                faces=faces.astype(np.int64),
                bones=arrays["bones"].astype(np.int64),
                weights=float_arrays["weights"],
                uv=float_arrays["uv"],
                image=arrays["image"],
            )
    raise InputError(path, "has a damaged sheet of cloth", remedy=_MAKE_AGAIN)


def _is_numeric(array: Array) -> bool:
    return array.ndim > 0 and array.dtype.kind in "fiu"


def _finite(array: Array) -> bool:
    return (array.dtype.kind == "f" and bool(np.isfinite(array).all())) or array.dtype.kind in "iu"


def _is_image(image: Array) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] in (3, 4) and min(image.shape) > 0


def _eight_bit(image: Array) -> NDArray[np.uint8]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
