"""The light and the colours of meshes in plain torch: the oracle for the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from humanpose_cli.engine.drawing.op import YUV, Lighting, MergedPaint, vertex_normals
from humanpose_cli.engine.rasterising.op import MergedMesh, SampledImage
from humanpose_cli.engine.rasterising.reference import interpolate

_GAP = 0.2  # share of the colour that is left in the gaps of stripes, so that the outline stays visible


def light_vertices(vertices: Tensor, faces: Tensor, lighting: Lighting) -> Tensor:
    """Compute `op.light_vertices` in plain torch."""
    normals = vertex_normals(vertices, faces)
    light = torch.nn.functional.normalize(vertices.new_tensor(lighting.direction), dim=0)
    lambert = ((normals @ light + lighting.wrap) / (1 + lighting.wrap)).clamp(0, 1)
    towards_camera = -torch.nn.functional.normalize(vertices, dim=-1)
    facing = (normals * towards_camera).sum(-1).clamp(0, 1)
    rim = lighting.rim * (1 - facing) ** 3
    return (lighting.ambient + (1 - lighting.ambient) * lambert + rim).clamp(0, 1)


def paint(image: SampledImage, meshes: MergedMesh, values: MergedPaint, target: Tensor) -> None:
    """Compute `op.paint` in plain torch."""
    face, weights, _ = image.raster
    lights = interpolate(face, weights, meshes.faces, values.lights[None])
    y, x = (torch.arange(n, device=face.device) for n in image.size)
    gaps = (values.phase + x + y[:, None]) // values.stripe % 2 == 1
    total = lights.new_zeros(*image.size, 4)
    for mesh, base in enumerate(values.paints):
        shown = meshes.faces_of(face, mesh) >= 0
        share = shown.to(lights.dtype).mean(0)[..., None]
        light, hatched = (lights * shown[..., None]).split(1, -1)
        if base[3]:
            colour = share * _ramp(base[:3], light.mean(0) / share.clamp_min(1e-6))
        else:
            colour = (light * values.samples).mean(0)
        is_gap = gaps[..., None] & (hatched.mean(0) > share / 2)
        total += torch.where(is_gap, _GAP, 1.0) * torch.cat((colour, share), -1)
    colour, alpha = total.split((3, 1), -1)
    if target.shape[2] == 3:
        blend = target * (1 - values.opacity * alpha) + 255 * values.opacity * colour
    else:
        blend = torch.where(alpha > 0, 255 * torch.cat((colour / alpha, alpha), -1), target)
    # Round half up: plain truncation would darken the photo where nothing is drawn.
    target.copy_((blend + 0.5).clamp_max(255))


def yuv420(image: Tensor) -> Tensor:
    """Compute `op.yuv420` in plain torch."""
    colours, weights = image.int(), YUV.to(image.device)
    squares = colours.unflatten(1, (-1, 2)).unflatten(0, (-1, 2)).sum((1, 3))
    luma = ((colours * weights[0]).sum(-1) + (33 << 14)) >> 15  # 16.5 and 128.5: whole numbers are rounded half up
    chroma = ((squares[..., None, :] * weights[1:]).sum(-1) + (257 << 16)) >> 17
    return torch.cat((luma.flatten(), chroma.movedim(-1, 0).flatten())).byte().view(-1, image.shape[1])


def _ramp(colour: Tensor, brightness: Tensor) -> Tensor:
    """Turn a colour from shadow to highlight: shadows keep their hue, the brightest part turns to white."""
    t = brightness.clamp_max(1)
    highlight = 0.35 * ((t - 0.801) / 0.2).clamp(0, 1) ** 2
    return (colour * (0.119 + 0.98 * t) * (1 - highlight) + highlight).clamp(0, 1)
