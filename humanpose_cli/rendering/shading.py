"""Drawing of people: several bodies in one image, with depth order and smooth edges.

All surfaces go through one z-buffer with several samples per pixel, so occlusion is decided sample by sample. Colours
and coverage are the means of the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera
from humanpose_cli.engine.drawing.op import Lighting, MeshPaint, light_vertices, paint
from humanpose_cli.engine.rasterising.op import Raster, draw_samples, interpolate, merge_meshes, rasterise
from humanpose_cli.rendering.boxes import NEAR, Box, body_box
from humanpose_cli.rendering.surfaces import Surface, sample_texture

_MAX_SAMPLES = 8_400_000  # of one rasteriser call: bounds memory, with about 40 bytes a sample

_STRIPES = 90  # diagonal stripes of hatched surfaces along the image's longer side, with as wide gaps
_MIN_STRIPE = 3  # pixels


class _Drawn(NamedTuple):
    surface: Surface
    box: Box
    paint: MeshPaint


def draw_people(
    image: NDArray[np.uint8],
    surfaces: Sequence[Surface],
    camera: Camera,
    *,
    opacity: float = 1.0,
    supersampling: int = 2,
    lighting: Lighting | None = None,
) -> None:
    """Draw surfaces into an image, in place. Bodies may pass through each other.

    Args:
        image: (H, W, 3) uint8, RGB, that the surfaces are blended into; or zeros (H, W, 4), which become RGBA with
            straight alpha.
        surfaces: The surfaces.
        camera: The image's camera.
        opacity: The opacity of the surfaces in an RGB image.
        supersampling: Samples per pixel along each side; 1 gives jagged edges.
        lighting: The light; None for the default.
    """
    camera = replace(camera, size=image.shape[1::-1])
    boxes = [body_box(surface.vertices, camera) for surface in surfaces]
    light = lighting or Lighting()
    people = [_Drawn(s, box, _paint_of(s, light)) for s, box in zip(surfaces, boxes, strict=True) if not box.empty]
    samples = max(1, int(supersampling)) ** 2
    for cluster in _clusters([person.box for person in people]):
        for tile in cluster.tiles(_MAX_SAMPLES // samples):
            inside = [person for person in people if not person.box.intersect(tile).empty]
            if inside:  # else a corner of the rectangle around people who overlap
                pixels = torch.from_numpy(image[tile.slices])
                target = pixels.to(surfaces[0].vertices.device)
                _draw_tile(inside, tile, camera, samples, target, opacity)
                pixels.copy_(target)


def _clusters(boxes: Sequence[Box]) -> list[Box]:
    """Merge rectangles to disjoint ones."""
    clusters: list[Box] = []
    for box in boxes:
        while touching := [cluster for cluster in clusters if not cluster.intersect(box).empty]:
            for cluster in touching:
                clusters.remove(cluster)
                box = box.union(cluster)
        clusters.append(box)
    return clusters


def _draw_tile(
    people: Sequence[_Drawn], tile: Box, camera: Camera, samples: int, target: torch.Tensor, opacity: float
) -> None:
    """Draw people into a rectangle of the camera's image."""
    meshes = merge_meshes([each.surface.vertices[None] for each in people], [each.surface.faces for each in people])
    focal, centre = _tensors(meshes.vertices, camera.part(tile))
    image = draw_samples(meshes.vertices, meshes.faces, focal, centre, tile.shape, samples=samples, near=NEAR)
    colours = None  # of the samples
    if any(each.paint.colour is None for each in people):
        colours = meshes.vertices.new_zeros(samples, *tile.shape, 3)
        for mesh, (surface, box, paint_of_mesh) in enumerate(people):
            if paint_of_mesh.colour is None:
                region = (slice(None), *box.intersect(tile).slices_in(tile))
                inside = Raster(*(values[region] for values in image.raster))
                inside = inside._replace(face=meshes.faces_of(inside.face, mesh))
                _colour_samples(surface, inside, colours[region])
    stripe = max(_MIN_STRIPE, round(max(camera.size) / _STRIPES / 2))
    paints = [each.paint for each in people]
    paint(image, meshes, paints, target, colours, opacity=opacity, stripe=stripe, phase=tile.x0 + tile.y0)


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
    torch.where(shown[..., None], colours, out, out=out)


def rasterise_view(vertices: torch.Tensor, faces: torch.Tensor, camera: Camera) -> Raster:
    """Rasterise triangles of vertices (B, V, 3), metres in camera axes, with one camera for all."""
    focal, centre = _tensors(vertices, camera)
    return rasterise(vertices.contiguous(), faces, focal, centre, camera.size[::-1], near=NEAR)


def _tensors(vertices: torch.Tensor, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Repeat focal length (B,) and principal point (B, 2) for vertices (B, V, 3)."""
    batch = len(vertices)
    centre = torch.stack([vertices.new_full((batch,), value) for value in camera.principal_point], 1)
    return vertices.new_full((batch,), camera.focal), centre


def render_people(surfaces: Sequence[Surface], camera: Camera) -> NDArray[np.uint8]:
    """Draw surfaces on a transparent background: (H, W, 4) uint8, RGBA with straight alpha."""
    image = np.zeros((*camera.size[::-1], 4), np.uint8)
    draw_people(image, surfaces, camera)
    return image
