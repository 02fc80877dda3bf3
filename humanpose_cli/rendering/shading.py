"""Drawing of people: several bodies in one image, with depth order and smooth edges.

All surfaces go through one z-buffer with several samples per pixel, so occlusion is decided sample by sample. Colours
and coverage are the means of the samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera
from humanpose_cli.engine.rasterising.op import (
    MergedMesh,
    Raster,
    SampledImage,
    coverage,
    draw_samples,
    interpolate,
    merge_meshes,
    rasterise,
)
from humanpose_cli.rendering.boxes import NEAR, Box, body_box
from humanpose_cli.rendering.surfaces import Lighting, Surface, sample_texture, shading_of_vertices

Array = NDArray[np.float32]

_MAX_SAMPLES = 8_400_000  # of one rasteriser call: bounds memory, with about 40 bytes a sample

_STRIP = 64  # rows of an image that are computed together
_STRIPES = 90  # diagonal stripes of hatched surfaces along the image's longer side, with as wide gaps
_MIN_STRIPE = 3  # pixels
_GAP = 0.2  # share of the colour that is left in the gaps, so that the outline stays visible


class Layer(NamedTuple):
    """A part of an image.

    Attributes:
        colour: (h, w, 3) float32, 0…1, multiplied by alpha.
        alpha: (h, w) float32, 0…1.
    """

    colour: Array
    alpha: Array


class _Region(NamedTuple):
    """A part of a drawn image, in which one of its meshes is read."""

    image: SampledImage
    meshes: MergedMesh
    mesh: int
    rows: slice
    columns: slice

    def means(self, values: torch.Tensor) -> Array:
        """Average vertex values (V, C) over each pixel's samples, after the mesh's share: (h, w, 1 + C)."""
        means = self.image.means(self.meshes, self.mesh, values[None], self.rows, self.columns)
        return np.asarray(means[0].cpu().numpy())

    def samples(self) -> Raster:
        """Return the mesh's own faces at all samples (S, h, w)."""
        inside = Raster(*(values[:, self.rows, self.columns] for values in self.image.raster))
        return inside._replace(face=self.meshes.faces_of(inside.face, self.mesh))


class Scene:
    """Surfaces in front of a camera, prepared once and drawn rectangle by rectangle.

    Args:
        surfaces: The surfaces.
        camera: The camera.
        supersampling: Samples per pixel along each side; 1 gives jagged edges.
        lighting: The light; None for the default.
    """

    def __init__(
        self, surfaces: Sequence[Surface], camera: Camera, *, supersampling: int = 2, lighting: Lighting | None = None
    ) -> None:
        self.camera = camera
        self.samples = max(1, int(supersampling)) ** 2
        light = lighting or Lighting()
        self.surfaces = list(surfaces)
        self.boxes = [body_box(surface.vertices, camera) for surface in surfaces]
        self._vertex_values = [
            None if box.empty else _vertex_values(surface, light)
            for surface, box in zip(self.surfaces, self.boxes, strict=True)
        ]

    def clusters(self) -> list[Box]:
        """Merge the surfaces' rectangles to disjoint ones."""
        clusters: list[Box] = []
        for box in (box for box in self.boxes if not box.empty):
            while touching := [cluster for cluster in clusters if not cluster.intersect(box).empty]:
                for cluster in touching:
                    clusters.remove(cluster)
                    box = box.union(cluster)
            clusters.append(box)
        return clusters

    def tiles(self) -> list[Box]:
        """Cut the clusters into pieces that `draw` can take."""
        max_pixels = _MAX_SAMPLES // self.samples
        return [tile for cluster in self.clusters() for tile in cluster.tiles(max_pixels)]

    def draw(self, tile: Box) -> Layer:
        """Draw everything inside a rectangle of the image."""
        height, width = tile.shape
        result = Layer(np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32))
        present = [i for i, box in enumerate(self.boxes) if not box.intersect(tile).empty]
        if not present:
            return result
        surfaces = [self.surfaces[i] for i in present]
        meshes = merge_meshes([surface.vertices[None] for surface in surfaces], [surface.faces for surface in surfaces])
        camera = self.camera.part(tile)
        focal, centre = _tensors(meshes.vertices, camera)
        size = camera.size[::-1]
        image = draw_samples(meshes.vertices, meshes.faces, focal, centre, size, samples=self.samples, near=NEAR)
        for mesh, i in enumerate(present):
            part = self.boxes[i].intersect(tile)
            region = part.slices_in(tile)
            layer = self._layer(i, part, _Region(image, meshes, mesh, *region))
            # A sample shows one surface, so the surfaces' colours add up.
            result.colour[region] += layer.colour
            result.alpha[region] += layer.alpha
        return result

    def _layer(self, i: int, part: Box, region: _Region) -> Layer:
        """Draw a surface in a part of the image."""
        surface = self.surfaces[i]
        values = self._vertex_values[i]
        if surface.texture is None and (values is None or values.shape[-1] == 1):
            means = region.means(surface.vertices[:, :0] if values is None else values)
            layer = Layer(_plain_colour(surface, means[..., -1], means[..., 0]), means[..., 0])
        else:
            layer = self._shade(i, region.samples())
        if surface.hatched is None or not bool(surface.hatched.any()):
            return layer
        # Cut gaps where it is hatched.
        stripes = region.means(surface.hatched.float()[:, None])[..., 1] > layer.alpha / 2
        opacity = np.where(stripes & stripe_gaps(part, self.camera.size), np.float32(_GAP), np.float32(1))
        return Layer(layer.colour * opacity[..., None], layer.alpha * opacity)

    def _shade(self, i: int, raster: Raster) -> Layer:
        """Draw a surface with a texture, or colours of vertices, at its samples (S, h, w)."""
        surface = self.surfaces[i]
        values = self._vertex_values[i]
        alpha = coverage(raster, self.samples)[0].cpu().numpy()
        values_at_samples = None if values is None else interpolate(raster, surface.faces, values[None])
        body_mask = (raster.face >= 0).cpu().numpy()
        if surface.texture is None:
            assert values_at_samples is not None  # colours of vertices are interpolated
            colour = values_at_samples[..., 1:].cpu().numpy()
        else:
            texture = surface.texture
            uv = interpolate(raster, texture.uv_faces, texture.uv[None]).cpu().numpy()
            colour = sample_texture(texture.image, uv, body_mask, samples=self.samples)
        light = body_mask[..., None].astype(np.float32)
        if surface.brightness is not None and values_at_samples is not None:
            light *= values_at_samples.cpu().numpy()
        elif surface.lit and values_at_samples is not None:
            light *= np.float32(0.1) + np.float32(0.9) * values_at_samples[..., :1].cpu().numpy()
        return Layer((colour[..., :3] * light).mean(0), alpha)


def visible_parts(alpha: Array) -> Iterator[tuple[slice, slice]]:
    """Yield the rectangles of an image that contain visible pixels, in strips that fit into the processor's cache.

    Args:
        alpha: (h, w) float.
    """
    for top in range(0, len(alpha), _STRIP):
        columns = np.flatnonzero(alpha[top : top + _STRIP].any(0))
        if len(columns):
            yield slice(top, top + _STRIP), slice(int(columns[0]), int(columns[-1]) + 1)


def stripe_gaps(part: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Select the pixels (h, w) between stripes in a part of an image of `size` (width, height)."""
    width = max(_MIN_STRIPE, round(max(size) / _STRIPES / 2))
    rows, columns = np.ogrid[part.y0 : part.y1, part.x0 : part.x1]
    return np.asarray((rows + columns) // width % 2 == 1)


def _vertex_values(surface: Surface, lighting: Lighting) -> torch.Tensor | None:
    """Return the interpolated values: (V, 1) brightness, or (V, 4) brightness and colour."""
    if surface.brightness is not None:
        return surface.brightness[:, None].contiguous()
    has_colours = surface.texture is None and np.ndim(surface.colour) == 2
    if not surface.lit and not has_colours:
        return None
    if surface.lit:
        shade = shading_of_vertices(surface.vertices, surface.faces, lighting)[:, None]
    else:
        shade = torch.ones_like(surface.vertices[:, :1])
    if not has_colours:
        return shade
    colour = torch.as_tensor(np.asarray(surface.colour, np.float32)).to(surface.vertices.device)
    return torch.cat((shade, colour), 1).contiguous()


def rasterise_view(vertices: torch.Tensor, faces: torch.Tensor, camera: Camera) -> Raster:
    """Rasterise triangles of vertices (B, V, 3), metres in camera axes, with one camera for all."""
    focal, centre = _tensors(vertices, camera)
    return rasterise(vertices.contiguous(), faces, focal, centre, camera.size[::-1], near=NEAR)


def _tensors(vertices: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Repeat focal length (B,) and principal point (B, 2) for vertices (B, V, 3)."""
    batch = len(vertices)
    centre = torch.stack([vertices.new_full((batch,), value) for value in camera.principal_point], 1)
    return vertices.new_full((batch,), camera.focal), centre


def _plain_colour(surface: Surface, shade: Array, alpha: Array) -> Array:
    """Shade one colour: brightness is averaged over the samples and turned into colour once per pixel."""
    colour = np.asarray(surface.colour, np.float32)
    if not surface.lit:
        return colour * alpha[..., None]
    ramp = _colour_ramp(colour)
    result = np.zeros((*alpha.shape, 3), np.float32)
    for part in visible_parts(alpha):
        brightness = shade[part] / np.maximum(alpha[part], np.float32(1e-6))
        index = np.minimum(brightness * np.float32(len(ramp) - 1), len(ramp) - 1).astype(np.uint16)
        np.multiply(np.take(ramp, index, axis=0), alpha[part][..., None], out=result[part])
    return result


def _colour_ramp(colour: Array) -> Array:
    """Return colours (512, 3) from shadow to highlight."""
    # Shadows keep their hue, the brightest part turns to white.
    t = np.linspace(0, 1, 512, dtype=np.float32)[:, None]
    body = colour * (np.float32(0.12) + np.float32(0.98) * t)
    highlight = np.clip((t - 0.8) / 0.2, 0, 1) ** 2 * np.float32(0.35)
    return np.clip(body * (1 - highlight) + highlight, 0, 1).astype(np.float32)


def render_people(
    surfaces: Sequence[Surface], camera: Camera, *, supersampling: int = 2, lighting: Lighting | None = None
) -> Array:
    """Draw surfaces on a transparent background. Bodies may pass through each other.

    Args:
        surfaces: The surfaces.
        camera: The camera.
        supersampling: Samples per pixel along each side.
        lighting: The light; None for the default.

    Returns:
        (H, W, 4) float32, 0…1. RGBA with straight alpha.
    """
    width, height = camera.size
    image = np.zeros((height, width, 4), np.float32)
    scene = Scene(surfaces, camera, supersampling=supersampling, lighting=lighting)
    for tile in scene.tiles():
        layer = scene.draw(tile)
        target = image[tile.slices]
        target[..., 3] = np.minimum(layer.alpha, 1)
        np.divide(layer.colour, layer.alpha[..., None], out=target[..., :3], where=layer.alpha[..., None] > 0)
    return image
