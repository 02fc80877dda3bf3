"""Drawing people: several bodies into one picture with transparency, depth order and smooth edges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.engine.rasterising import Raster, interpolate, rasterise
from humanpose_cli.rendering.surfaces import Lighting, Surface, shading_of_vertices
from humanpose_cli.rendering.texturing import sample_texture
from humanpose_cli.rendering.view import NEAR, Box, View, body_box

__all__ = ["Layer", "Scene", "render_people"]

Array = NDArray[np.float32]

# Samples of one rasteriser call: bounds memory on pictures of any size (about 40 bytes a sample).
_MOST_SAMPLES = 8_400_000


# Contrast of the light on textures that tell which part of them is not from a photo, and the usual brightness of a
# surface turned to the camera.
_MADE_UP_CONTRAST, _MEAN_SHADE = np.float32(0.45), np.float32(0.82)


class Layer(NamedTuple):
    """Part of a picture: colour (h, w, 3) already multiplied by alpha, alpha (h, w), depth (h, w) metres.

    depth  inf where nothing is; elsewhere the mean over the covered samples, or over a surface that nothing overlaps
    """

    colour: Array
    alpha: Array
    depth: Array


class Scene:
    """Surfaces before a camera, prepared once and drawn rectangle by rectangle.

    supersampling  samples per pixel along each side (1: jagged edges)
    """

    def __init__(
        self,
        surfaces: Sequence[Surface],
        view: View,
        *,
        supersampling: int = 2,
        lighting: Lighting | None = None,
    ) -> None:
        self.view, self.supersampling = view, max(1, int(supersampling))
        light = lighting or Lighting()
        self.surfaces = list(surfaces)
        self.boxes = [body_box(surface.vertices, view) for surface in surfaces]
        # Far ones first: the usual order then needs no second look at the depth.
        self._order = sorted(range(len(surfaces)), key=lambda i: -float(surfaces[i].vertices[:, 2].mean()))
        self._vertex_values = [
            None if box.empty else _vertex_values(surface, light)
            for surface, box in zip(self.surfaces, self.boxes, strict=True)
        ]

    def clusters(self) -> list[Box]:
        """Disjoint rectangles of the picture that hold everything there is to draw."""
        merged: list[Box] = []
        for box in (box for box in self.boxes if not box.empty):
            while True:
                touching = [other for other in merged if not other.intersect(box).empty]
                if not touching:
                    break
                for other in touching:
                    merged.remove(other)
                    box = box.union(other)
            merged.append(box)
        return merged

    def tiles(self) -> list[Box]:
        """The clusters cut into pieces that `draw` can take."""
        most = _MOST_SAMPLES // self.supersampling**2
        return [tile for cluster in self.clusters() for tile in cluster.tiles(most)]

    def draw(self, tile: Box) -> Layer:
        """Everything inside one rectangle of the picture."""
        height, width = tile.shape
        result = Layer(
            np.zeros((height, width, 3), np.float32),
            np.zeros((height, width), np.float32),
            np.full((height, width), np.inf, np.float32),
        )
        drawn: list[Box] = []
        for i in self._order:
            box = self.boxes[i].intersect(tile)
            if box.empty:
                continue
            layer = self._draw_surface(i, box)
            if box == tile and not drawn:
                result = layer
            else:
                _add(result, layer, box, tile, drawn)
            drawn.append(box)
        return result

    def _draw_surface(self, i: int, box: Box) -> Layer:
        surface = self.surfaces[i]
        raster = rasterise_view(surface.vertices[None], surface.faces, self.view.crop(box, self.supersampling))
        covered = (raster.face[0] >= 0).cpu().numpy()
        shade, colour = np.ones(covered.shape, np.float32), None
        values = self._vertex_values[i]
        if values is not None:
            seen = interpolate(raster, surface.faces, values[None])[0].cpu().numpy()
            shade, colour = seen[..., 0], seen[..., 1:] if seen.shape[-1] > 1 else None
        if surface.texture is not None:
            texture = surface.texture
            uv = interpolate(raster, texture.uv_faces, texture.uv[None])[0].cpu().numpy()
            colour = sample_texture(texture.image, uv, covered) * covered[..., None]
        alpha = _shrink(covered.astype(np.float32), box)
        if colour is None:
            shrunk = _plain_colour(surface, _shrink(np.ascontiguousarray(shade), box), alpha)
        elif surface.lit:
            shrunk = _shrink(_lit(colour, shade), box)
        else:
            shrunk = _shrink(colour[..., :3], box)
        if self._alone(box):
            # Nothing to compare with: one depth for all pixels will do.
            mean = np.float32(surface.vertices[:, 2].mean().item())
            return Layer(shrunk, alpha, np.where(alpha > 0, mean, np.float32(np.inf)))
        depth = np.where(covered, raster.depth[0].cpu().numpy(), np.float32(0))
        return Layer(shrunk, alpha, _mean_depth(_shrink(depth, box), alpha))

    def _alone(self, box: Box) -> bool:
        return sum(not box.intersect(other).empty for other in self.boxes) == 1


def _vertex_values(surface: Surface, lighting: Lighting) -> torch.Tensor | None:
    """What is interpolated over the surface: (V, 1) brightness or (V, 4) brightness and colour."""
    coloured = surface.texture is None and np.ndim(surface.colour) == 2
    if not surface.lit and not coloured:
        return None
    if surface.lit:
        shade = shading_of_vertices(surface.vertices, surface.faces, lighting)[:, None]
    else:
        shade = torch.ones_like(surface.vertices[:, :1])
    if not coloured:
        return shade
    colour = torch.as_tensor(np.asarray(surface.colour, np.float32)).to(surface.vertices.device)
    return torch.cat((shade, colour), 1).contiguous()


def rasterise_view(vertices: torch.Tensor, faces: torch.Tensor, view: View) -> Raster:
    """`rasterise` with one camera for all of vertices (B, V, 3)."""
    batch = len(vertices)
    focal = vertices.new_full((batch,), view.focal)
    centre = vertices.new_tensor(view.principal_point).expand(batch, 2).contiguous()
    return rasterise(vertices.contiguous(), faces, focal, centre, view.size, near=NEAR)


def _lit(colour: Array, shade: Array) -> Array:
    """Colours (h, w, 3) in the light; a fourth channel says how much light they hold already."""
    light = np.float32(0.1) + np.float32(0.9) * shade
    if colour.shape[-1] > 3:
        # Made-up surfaces get about the light that a photo's own ones have on average.
        light = 1 + (1 - colour[..., 3]) * _MADE_UP_CONTRAST * (shade - _MEAN_SHADE)
    return colour[..., :3] * light[..., None]


def _plain_colour(surface: Surface, shade: Array, alpha: Array) -> Array:
    """One colour: brightness is averaged over the samples and turned into colour once per pixel."""
    colour = np.asarray(surface.colour, np.float32)
    if not surface.lit:
        return colour * alpha[..., None]
    ramp = _colour_ramp(colour)
    brightness = shade / np.maximum(alpha, np.float32(1e-6))
    index = np.minimum(brightness * np.float32(len(ramp) - 1), len(ramp) - 1).astype(np.uint16)
    painted = np.take(ramp, index, axis=0)
    painted *= alpha[..., None]
    return painted


def _colour_ramp(colour: Array, steps: int = 512) -> Array:
    """Colours from shadow to highlight, (steps, 3): shadows keep their hue, the brightest part turns to white."""
    t = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    body = colour * (np.float32(0.12) + np.float32(0.98) * t)
    highlight = np.clip((t - 0.8) / 0.2, 0, 1) ** 2 * np.float32(0.35)
    return np.clip(body * (1 - highlight) + highlight, 0, 1).astype(np.float32)


def _shrink(samples: Array, box: Box) -> Array:
    """Samples averaged over each pixel of `box`."""
    height, width = box.shape
    if samples.shape[:2] == (height, width):
        return samples
    shrunk: Array = np.asarray(cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    return shrunk.reshape(height, width, *samples.shape[2:])


def _mean_depth(weighted: Array, alpha: Array) -> Array:
    """Depth of the covered samples from the average over all samples; inf where none is covered."""
    empty = alpha <= 0
    return np.where(empty, np.float32(np.inf), weighted / np.where(empty, np.float32(1), alpha))


def _add(result: Layer, layer: Layer, box: Box, tile: Box, drawn: Sequence[Box]) -> None:
    """Put a layer that covers `box` into the result of a whole tile; only where others lie is there anything to mix."""
    shared = [common for common in (box.intersect(other) for other in drawn) if not common.empty]
    place = box.slices_in(tile)
    if not shared:
        for part, new in zip(result, layer, strict=True):
            part[place] = new
        return
    overlap = reduce(Box.union, shared)
    where = overlap.slices_in(tile)
    present = Layer(*(part[where].copy() for part in result))
    for part, new in zip(result, layer, strict=True):
        part[place] = new
    _composite(result, present, where)


def _composite(below: Layer, layer: Layer, where: tuple[slice, slice]) -> None:
    """Put a layer into another in place, in front where it is nearer and behind elsewhere.

    Exact for two surfaces, also along smooth edges; with three, only edge pixels where all meet are approximate.
    """
    colour, alpha, depth = (part[where] for part in below)
    nearer = layer.depth < depth
    hidden_by_new = np.where(nearer, 1 - layer.alpha, np.float32(1))
    hidden_by_old = np.where(nearer, np.float32(1), 1 - alpha)
    colour *= hidden_by_new[..., None]
    colour += layer.colour * hidden_by_old[..., None]
    alpha *= hidden_by_new
    alpha += layer.alpha * hidden_by_old
    np.minimum(depth, layer.depth, out=depth)


def render_people(
    surfaces: Sequence[Surface], view: View, *, supersampling: int = 2, lighting: Lighting | None = None
) -> Array:
    """Surfaces on nothing: (H, W, 4) float32 RGBA in 0…1, colour not multiplied by alpha.

    Nearer surfaces hide farther ones pixel by pixel, so bodies may also pass through each other.
    """
    height, width = view.size
    picture = np.zeros((height, width, 4), np.float32)
    scene = Scene(surfaces, view, supersampling=supersampling, lighting=lighting)
    for tile in scene.tiles():
        if all(box.intersect(tile).empty for box in scene.boxes):
            continue
        layer = scene.draw(tile)
        target = picture[tile.slices]
        target[..., 3] = np.minimum(layer.alpha, 1)
        np.divide(layer.colour, layer.alpha[..., None], out=target[..., :3], where=layer.alpha[..., None] > 0)
    return picture
