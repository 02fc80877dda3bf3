"""Drawing of people: several bodies in one image, with depth order and smooth edges.

All surfaces go through one z-buffer with several samples per pixel, so occlusion is decided sample by sample. Colours
and coverage are the means of the samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera
from humanpose_cli.engine.drawing.op import Lighting, MeshPaint, light_vertices, paint
from humanpose_cli.engine.rasterising.op import Raster, draw_samples, interpolate, merge_meshes, rasterise
from humanpose_cli.rendering.boxes import NEAR, Box, body_box
from humanpose_cli.rendering.surfaces import Surface, sample_texture

Array = NDArray[np.float32]

_MAX_SAMPLES = 8_400_000  # of one rasteriser call: bounds memory, with about 40 bytes a sample

_STRIPES = 90  # diagonal stripes of hatched surfaces along the image's longer side, with as wide gaps
_MIN_STRIPE = 3  # pixels


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
        self.surfaces = list(surfaces)
        self.boxes = [body_box(surface.vertices, camera) for surface in surfaces]
        light = lighting or Lighting()
        visible = [i for i, box in enumerate(self.boxes) if not box.empty]
        self._paints = {i: _paint_of(self.surfaces[i], light) for i in visible}

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
        """Cut the clusters into pieces that are drawn at once."""
        max_pixels = _MAX_SAMPLES // self.samples
        return [tile for cluster in self.clusters() for tile in cluster.tiles(max_pixels)]

    def draw(self, image: NDArray[np.uint8] | Array, opacity: float = 1.0) -> None:
        """Draw everything into an image, in place.

        Args:
            image: (H, W, 3) uint8, RGB, that the surfaces are blended into; or zeros (H, W, 4) float32, which become
                RGBA, 0…1, with colours multiplied by alpha.
            opacity: The opacity of the surfaces in an RGB image.
        """
        for tile in self.tiles():
            pixels = torch.from_numpy(image[tile.slices])
            target = pixels.to(self.surfaces[0].vertices.device)
            self._draw_tile(tile, target, opacity)
            pixels.copy_(target)

    def _draw_tile(self, tile: Box, target: torch.Tensor, opacity: float) -> None:
        """Draw everything inside a rectangle of the image."""
        parts = [(i, part) for i, box in enumerate(self.boxes) if not (part := box.intersect(tile)).empty]
        if not parts:  # a corner of the rectangle around people who overlap
            return
        surfaces = [self.surfaces[i] for i, _ in parts]
        meshes = merge_meshes([surface.vertices[None] for surface in surfaces], [surface.faces for surface in surfaces])
        camera = self.camera.part(tile)
        focal, centre = _tensors(meshes.vertices, camera)
        size = camera.size[::-1]
        image = draw_samples(meshes.vertices, meshes.faces, focal, centre, size, samples=self.samples, near=NEAR)
        paints = [self._paints[i] for i, _ in parts]
        colours = None  # of the samples
        if any(mesh.colour is None for mesh in paints):
            colours = meshes.vertices.new_zeros(self.samples, *size, 3)
            for mesh, (i, part) in enumerate(parts):
                if paints[mesh].colour is None:
                    region = (slice(None), *part.slices_in(tile))
                    inside = Raster(*(values[region] for values in image.raster))
                    inside = inside._replace(face=meshes.faces_of(inside.face, mesh))
                    _colour_samples(self.surfaces[i], inside, colours[region])
        stripe = max(_MIN_STRIPE, round(max(self.camera.size) / _STRIPES / 2))
        phase = tile.x0 + tile.y0
        paint(image, meshes, paints, target, colours, opacity=opacity, stripe=stripe, phase=phase)


def _paint_of(surface: Surface, lighting: Lighting) -> MeshPaint:
    """Return the light and the colour of a surface; None for colours of its samples."""
    if surface.brightness is not None:
        return MeshPaint(surface.brightness, None, surface.hatched)
    if not surface.lit:
        return MeshPaint(torch.ones_like(surface.vertices[:, 0]), None, surface.hatched)
    light = light_vertices(surface.vertices, surface.faces, lighting)
    if surface.texture is not None or np.ndim(surface.colour) == 2:
        return MeshPaint(0.1 + 0.9 * light, None, surface.hatched)
    return MeshPaint(light, np.asarray(surface.colour).tolist(), surface.hatched)


def _colour_samples(surface: Surface, raster: Raster, out: torch.Tensor) -> None:
    """Write a surface's colours into those of its samples, (S, h, w, 3)."""
    texture = surface.texture
    shown = raster.face >= 0
    if texture is None:
        colour = torch.as_tensor(np.asarray(surface.colour, np.float32)).to(out.device)
        colours = interpolate(raster, surface.faces, colour.expand(len(surface.vertices), 3)[None])
    else:
        uv = interpolate(raster, texture.uv_faces, texture.uv[None]).cpu().numpy()
        looked_up = sample_texture(texture.image, uv, shown.cpu().numpy(), samples=len(uv))
        colours = torch.from_numpy(looked_up[..., :3]).to(out.device)
    out[shown] = colours[shown]


def rasterise_view(vertices: torch.Tensor, faces: torch.Tensor, camera: Camera) -> Raster:
    """Rasterise triangles of vertices (B, V, 3), metres in camera axes, with one camera for all."""
    focal, centre = _tensors(vertices, camera)
    return rasterise(vertices.contiguous(), faces, focal, centre, camera.size[::-1], near=NEAR)


def _tensors(vertices: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Repeat focal length (B,) and principal point (B, 2) for vertices (B, V, 3)."""
    batch = len(vertices)
    centre = torch.stack([vertices.new_full((batch,), value) for value in camera.principal_point], 1)
    return vertices.new_full((batch,), camera.focal), centre


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
    scene.draw(image)
    for tile in scene.tiles():
        colour, alpha = image[tile.slices][..., :3], image[tile.slices][..., 3:]
        np.divide(colour, alpha, out=colour, where=alpha > 0)
        np.minimum(alpha, 1, out=alpha)
    return image
