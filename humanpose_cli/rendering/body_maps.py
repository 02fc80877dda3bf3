"""Bodies as maps of pixels, in square crops: for networks and flows that compare them with the photograph.

crop = crop_of_body(vertices, camera, 256)                       # around one body's projection
maps = render_bodies(body, vertices[None], [camera.cropped(crop)], 256, textures=[texture])
photo = crop.image(image)                                        # the same pixels of the photograph
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
from humanpose_cli.engine.rasterising.op import interpolate, rasterise
from humanpose_cli.rendering.boxes import NEAR
from humanpose_cli.rendering.surfaces import sample_texture, vertex_normals

# Share of the crop that a body's longer side takes: room for the person's true position, and for their clothes.
BODY_FILL = 0.75


@dataclass(frozen=True, eq=False)
class BodyRendering:
    """N bodies in crops of S pixels a side, one sample a pixel; float32, zero off the body.

    Attributes:
        rgb: (N, 3, S, S) colours of the texture, 0…1; zero without one.
        textured: (N, 1, S, S) how complete the texture is there, 0…1.
        depth: (N, 1, S, S) metres behind the middle of the pelvis.
        normals: (N, 3, S, S) unit vectors, camera axes.
        colours: (N, 3, S, S) each surface point's own colour, 0…1: its position in the resting template's box.
        mask: (N, 1, S, S) 1 on the body.
        faces: (N, S, S) int32 the visible face, −1 off the body.
        barycentrics: (N, S, S, 3) weights of its corners.
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
    """Make the upright square crop of `size` pixels with a body's points (V, 3), metres in camera axes, in its middle.

    Raises UsageError for points that are not finite.
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
        vertices: (N, V, 3) metres in the axes of the crops' cameras.
        cameras: N of crops of `size` pixels a side, as `Camera.cropped` gives them.
        textures: N images (h, w, 4) in the body's texture coordinates: colour, straight, and how complete it is;
            uint8 or 0…1.
    """
    if len(cameras) != len(vertices) or (textures is not None and len(textures) != len(vertices)):
        got = f"{len(cameras)} cameras" + ("" if textures is None else f", {len(textures)} textures")
        raise UsageError("cameras and textures", "do not match the bodies", expected=str(len(vertices)), got=got)
    vertices = vertices.detach().float().contiguous()
    view = Camera.stack(cameras).tensors(device=vertices.device)
    raster = rasterise(vertices, body.faces, view.focal, view.principal_point, (size, size), near=NEAR)
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
            one = slice(row, row + 1)
            samples = torch.from_numpy(sample_texture(texture, uv[one], body_mask[one])).movedim(-1, 1).to(vertices)
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


def position_colours(body: Body) -> Tensor:
    """Give each vertex a colour that no other has: (V, 3) in 0…1, its position in the resting template's box."""
    low, high = body.template.amin(0), body.template.amax(0)
    return (body.template - low) / (high - low)
