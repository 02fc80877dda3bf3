"""Maps of bodies in square crops, for networks and flows that compare them with the photograph.

crop = crop_of_body(vertices, camera, 256)                       # around a body's projection
maps = render_bodies(body, vertices[None], [camera.cropped(crop)], 256, textures=[texture])
photo = crop.image(image)                                        # the same pixels of the photograph

They are numbers of each pixel's face, not images of bytes: networks compare them, and displacements need the faces and
barycentrics, neither of which `engine.drawing` keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.rasterising.op import Raster, interpolate, rasterise
from humanpose_cli.rendering.boxes import NEAR
from humanpose_cli.rendering.surfaces import sample_texture, vertex_normals

BODY_FILL = 0.75  # share of the crop that a body's longer side takes: room for errors of the fit and for clothes


@dataclass(frozen=True, eq=False)
class BodyRendering:
    """N bodies in crops of S pixels per side, with one sample per pixel; 0 off the body.

    Attributes:
        rgb: (N, 3, S, S) float32, 0…1. The texture's colours; 0 without a texture.
        textured: (N, 1, S, S) float32, 0…1. The completeness of the texture.
        depth: (N, 1, S, S) float32, metres behind the middle of the pelvis.
        normals: (N, 3, S, S) float32, unit vectors in camera axes.
        colours: (N, 3, S, S) float32, 0…1. The surface point's position in the resting template's box.
        mask: (N, 1, S, S) float32. 1 on the body.
        faces: (N, S, S) int32. The visible face; −1 off the body.
        barycentrics: (N, S, S, 3) float32. The weights of its corners.
    """

    rgb: Tensor
    textured: Tensor
    depth: Tensor
    normals: Tensor
    colours: Tensor
    mask: Tensor
    faces: Tensor
    barycentrics: Tensor

    def __len__(self) -> int:
        """Return the number of bodies."""
        return len(self.faces)


def crop_of_body(points: Tensor, camera: Camera, size: int) -> Crop:
    """Return the upright square crop with a body in its middle.

    Args:
        points: (V, 3) float, metres in camera axes.
        camera: The image's camera.
        size: The crop's side, pixels.

    Raises:
        UsageError: If a point is not finite.
    """
    if not bool(torch.isfinite(points).all()):
        raise UsageError("points", "are not finite", expected="(V, 3) metres", got="NaN or infinity")
    pixels = camera.project(points, near=NEAR)
    box = torch.cat((pixels.amin(0), pixels.amax(0))).double().cpu().numpy()
    return crop_around_box(box, size, fill=BODY_FILL)


def render_bodies(
    body: Body,
    vertices: Tensor,
    cameras: Sequence[Camera],
    size: int,
    textures: Sequence[NDArray[np.float32] | NDArray[np.uint8]] | None = None,
) -> BodyRendering:
    """Draw each body alone in its own crop.

    Args:
        body: The body model.
        vertices: (N, V, 3) float, metres in the axes of the crops' cameras.
        cameras: N cameras of the crops, as `Camera.cropped` returns them.
        size: The crops' side, pixels.
        textures: (h, w, 4) uint8 or float, 0…1, each. Straight colour and completeness in the body's texture
            coordinates; None for no colours.

    Raises:
        UsageError: If the numbers of bodies, cameras and textures differ.
    """
    if len(cameras) != len(vertices) or (textures is not None and len(textures) != len(vertices)):
        got = f"{len(cameras)} cameras" + ("" if textures is None else f", {len(textures)} textures")
        raise UsageError("cameras and textures", "do not match the bodies", expected=str(len(vertices)), got=got)
    vertices = vertices.detach().float().contiguous()
    raster = rasterise_crops(body, vertices, cameras, size)
    mask = raster.face >= 0
    pelvis = vertices[:, body.part_labels == SMPL24.index("pelvis"), 2].mean(1)
    depth = torch.where(mask, raster.depth - pelvis[:, None, None], 0)
    count, width = vertices.shape[:2]
    values = torch.cat((vertex_normals(vertices, body.faces), position_colours(body).expand(count, width, 3)), 2)
    normals, colours = interpolate(raster, body.faces, values).movedim(-1, 1).split(3, 1)
    rgb = torch.zeros_like(normals)
    texture_share = torch.zeros_like(depth)[:, None]
    if textures is not None:
        uv = interpolate(raster, body.uv_faces, body.uv[None]).cpu().numpy()
        body_mask = mask.cpu().numpy()
        for row, texture in enumerate(textures):  # one by one: each has its own scale
            samples = torch.from_numpy(sample_texture(texture, uv[[row]], body_mask[[row]])).movedim(-1, 1).to(vertices)
            rgb[row], texture_share[row] = samples[0].where(mask[row], 0).split((3, 1))
    return BodyRendering(
        rgb=rgb,
        textured=texture_share,
        depth=depth[:, None],
        normals=torch.nn.functional.normalize(normals, dim=1),
        colours=colours,
        mask=mask[:, None].float(),
        faces=raster.face,
        barycentrics=raster.barycentrics,
    )


def rasterise_crops(body: Body, vertices: Tensor, cameras: Sequence[Camera], size: int) -> Raster:
    """Rasterise each body (N, V, 3) alone in its own crop: the visible faces (N, size, size), without attributes."""
    view = Camera.stack(cameras).tensors(device=vertices.device)
    vertices = vertices.detach().float().contiguous()
    return rasterise(vertices, body.faces, view.focal, view.principal_point, (size, size), near=NEAR)


def position_colours(body: Body) -> Tensor:
    """Return a unique colour for each vertex, (V, 3) in 0…1: its position in the resting template's box."""
    low = body.template.amin(0)
    high = body.template.amax(0)
    return (body.template - low) / (high - low)
