"""From what a photo shows of a person to a whole texture: by symmetry first, then smoothly over the surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.bodies.texture import BakedTexture, TexelMap, bleed_islands, mirror_uv_corners, paint_vertices
from humanpose_cli.reposing.mesh_fields import SurfaceOperator, spread
from humanpose_cli.reposing.regions import HANDS, parts_mask, scalp

__all__ = ["BodyTexels", "WholeTexture", "complete_texture"]

Array = NDArray[Any]


class WholeTexture(NamedTuple):
    """A texture without gaps.

    image          (S, S, 4) float32: RGB in 0…1 and how much of each texel comes from the photo, 0…1
    seen_fraction  share of the surface that the photo shows, by area
    """

    image: Array
    seen_fraction: float


@dataclass(frozen=True)
class BodyTexels:
    """What completing needs to know of a body, whatever the photo.

    texels    of the texture's size
    faces     (F, 3); operator of the rest body's surface
    mirror_uv (N, 2) texture coordinates of each texel's mirror image
    mirrored  (N,) whether it has one
    hair      (V,) vertices where hair grows
    """

    texels: TexelMap
    faces: NDArray[np.int64]
    operator: SurfaceOperator
    mirror_uv: Array
    mirrored: NDArray[np.bool_]
    hair: NDArray[np.bool_]
    part_labels: NDArray[np.integer]

    @classmethod
    def of(cls, body: RiggedBody, texels: TexelMap) -> BodyTexels:
        faces = body.faces.cpu().numpy().astype(np.int64)
        corners, found = mirror_uv_corners(
            faces,
            body.uv.cpu().numpy(),
            body.uv_faces.cpu().numpy().astype(np.int64),
            body.mirror_vertices.cpu().numpy(),
        )
        return cls(
            texels,
            faces,
            SurfaceOperator(body.template.cpu().numpy(), faces),
            texels.interpolate(corners),
            found[texels.face],
            scalp(body),
            body.part_labels.cpu().numpy(),
        )


def complete_texture(surface: BodyTexels, baked: BakedTexture) -> WholeTexture:
    """Fill what the photo does not show.

    Unseen texels take their mirror image's colour where that was seen, corrected by a smooth field so that the two
    agree where both were seen; the rest takes colours spread over the surface, hair from hair.
    """
    texels, faces = surface.texels, surface.faces
    own = _smooth_step(baked.confidence, 0.08, 0.55)
    mirror_colour, mirror_weight = _mirrored(surface, baked.colour, own)
    mirror_colour = mirror_colour + _difference(surface, baked.colour, own, mirror_colour, mirror_weight)
    weight = own + (1 - own) * mirror_weight
    share = np.where(weight > 0, own / np.maximum(weight, np.float32(1e-6)), 0)[:, None]
    colour = share * baked.colour + (1 - share) * mirror_colour
    vertex_colour, vertex_weight = paint_vertices(texels, faces, colour, weight)
    base = _spread_colours(surface, vertex_colour, vertex_weight)
    filled = texels.interpolate(base[faces].astype(np.float32))
    final = np.clip(weight[:, None] * colour + (1 - weight[:, None]) * filled, 0, 1)
    image = texels.to_image(np.concatenate((final, own[:, None]), 1).astype(np.float32))
    return WholeTexture(bleed_islands(image, texels), _seen_fraction(surface, own))


def _smooth_step(values: Array, low: float, high: float) -> Array:
    t = np.clip((values - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _mirrored(surface: BodyTexels, colour: Array, weight: Array) -> tuple[Array, Array]:
    """Each texel's mirror image: colours (N, 3) and weights (N,)."""
    texels = surface.texels
    image = texels.to_image(np.concatenate((colour * weight[:, None], weight[:, None]), 1))
    size = texels.size
    # OpenCV's maps must be less than 2¹⁵ long: look up as a picture.
    x = texels.to_image(surface.mirror_uv[:, 0] * size - 0.5)
    y = texels.to_image(surface.mirror_uv[:, 1] * size - 0.5)
    found = cv2.remap(image, x, y, cv2.INTER_LINEAR).reshape(size * size, 4)[texels.texel]
    found_weight = np.where(surface.mirrored, found[:, 3], 0).astype(np.float32)
    return found[:, :3] / np.maximum(found[:, 3:], np.float32(1e-6)), found_weight


def _difference(surface: BodyTexels, colour: Array, own: Array, mirror_colour: Array, mirror_weight: Array) -> Array:
    """A smooth correction (N, 3) of mirrored colours: what separates both sides' light where both are seen."""
    both = own * mirror_weight
    values, weight = paint_vertices(surface.texels, surface.faces, np.clip(colour - mirror_colour, -1, 1), both)
    weight = weight / max(float(weight.max()), 1e-6)
    operator = surface.operator
    # Differences fade within ten centimetres: farther away nothing is known of the light.
    field = spread(
        operator.stiffness(),
        weight * operator.areas / 0.01**2,
        values.astype(np.float64),
        operator.areas / 0.1**2,
        np.zeros(3),
    )
    return surface.texels.interpolate(field[surface.faces].astype(np.float32))


def _spread_colours(surface: BodyTexels, colour: Array, weight: Array) -> Array:
    """Colours of all vertices (V, 3) from those with weight: harmonic over the surface, hair and face apart."""
    operator = surface.operator
    known = np.minimum(weight / _full_weight(surface), 1).astype(np.float64)
    values = colour.astype(np.float64)
    for part, tone in _skin_guesses(surface, values, known):
        missing = part & (known < 0.05)
        values[missing], known[missing] = tone, 0.3
    if known.sum() == 0:
        return np.full_like(values, 0.5)
    mean = (values * (known * operator.areas)[:, None]).sum(0) / (known * operator.areas).sum()
    hair = surface.hair
    hair_seen = float((known * operator.areas)[hair].sum()) > 0.02 * float(operator.areas[hair].sum())
    cut = hair.astype(np.int64) if hair_seen else None
    return spread(
        operator.stiffness(cut, leak=0.01),
        known * operator.areas / 0.01**2,
        values,
        operator.areas * 1e-3,
        mean,
    )


def _full_weight(surface: BodyTexels) -> Array:
    """What a vertex's texels weigh together when all of them are seen."""
    ones = np.ones(len(surface.texels.texel), np.float32)
    return np.maximum(paint_vertices(surface.texels, surface.faces, ones[:, None], ones)[1], np.float32(1e-3))


def _skin_guesses(surface: BodyTexels, colour: Array, known: Array) -> list[tuple[NDArray[np.bool_], Array]]:
    """Bare parts that were not seen, with the colour of the skin that was: hands like the face, a face like hands."""
    face = parts_mask(surface.part_labels, ("head",)) & ~surface.hair
    hands = [parts_mask(surface.part_labels, names) for names in HANDS.values()]
    areas = surface.operator.areas

    def share_seen(part: NDArray[np.bool_]) -> float:
        return float((known * areas)[part].sum() / areas[part].sum())

    guesses = []
    sources = [part for part in (face, *hands) if share_seen(part) > 0.12]
    if not sources:
        return []
    bright = sources[0] & (known > 0.5)
    if not bright.any():
        return []
    tone = np.median(colour[bright], axis=0)
    for part in (face, *hands):
        if share_seen(part) <= 0.03:
            guesses.append((part, tone))
    return guesses


def _seen_fraction(surface: BodyTexels, own: Array) -> float:
    _, weight = paint_vertices(surface.texels, surface.faces, own[:, None], own)
    seen = np.minimum(weight / _full_weight(surface), 1)
    return float((seen * surface.operator.areas).sum() / surface.operator.areas.sum())
