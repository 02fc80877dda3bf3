"""A debugging image of reposing: the stages from a photograph to a textured body, side by side.

    python tools/show_avatar_stages.py photo.jpg stages.png [--person 1]

Columns are the stages of `avatar.stages`: the photograph with the mask's outline; aligned: the surface under the
keypoints; dressed: widened to the mask; baked: the photograph's colours where it shows them; lit:
the same without the photograph's light; completed: without gaps, under that light. The first row is the photograph's
view, the second the body turned by 180°.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from humanpose_cli.avatar.light import PhotoLight
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import (
    Aligned,
    Dressed,
    PhotographedPerson,
    align,
    bake,
    complete,
    dress,
    take_light_off,
)
from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import BakedTexture
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.rendering.overlay import draw_label
from humanpose_cli.rendering.shading import render_people
from humanpose_cli.rendering.surfaces import Surface, Texture, vertex_normals
from humanpose_cli.reposing.reposer import Reposer

Array = np.ndarray
_HIDDEN = np.array((1.0, 0.0, 1.0), np.float32)  # colour of texels that a photograph does not show


def sheet_of_stages(photographed: PhotographedPerson, body: Body, options: MeshOptions, height: int = 480) -> Array:
    """All stages of one person: (2 · height, W, 3) uint8, a column each."""
    with torch.no_grad():
        aligned = align(photographed, body)
        dressed = dress(aligned, options)
        baked = bake(dressed, options)
        lit = take_light_off(baked)
        completed = complete(lit)
        columns = {
            "photograph": _outlines(aligned),
            "aligned": _shape(aligned, aligned.vertices),
            "dressed": _shape(aligned, dressed.vertices),
            "baked": _textured(dressed, _trusted(baked.texture)),
            "lit": _textured(dressed, _trusted(lit.texture)),
            "completed": _textured(dressed, completed.texture.image, completed.light),
        }
    return np.concatenate([_column(name, views, height) for name, views in columns.items()], 1)


def _outlines(aligned: Aligned) -> list[Array]:
    """Draw the crop with outlines of the mask (green) and of other people (red), and the mask."""
    image, mask = aligned.crop.pixels.copy(), aligned.crop.mask >= 0.5
    for region, colour in ((mask, (0, 255, 0)), (aligned.crop.others, (255, 0, 0))):
        lines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, lines, -1, colour, 2)
    return [image, np.repeat(np.uint8(255) * mask[..., None], 3, 2)]


def _shape(aligned: Aligned, vertices: Tensor) -> list[Array]:
    """Draw the shaded surface over the photograph, and from behind; vertices of unknown position are red."""
    body = aligned.body.body
    reliable = (aligned.reliable > 0.5).cpu().numpy()[:, None]
    colour = np.where(reliable, np.float32((0.8, 0.8, 0.8)), np.float32((0.9, 0.2, 0.2)))
    front, back = (Surface(points, body.faces, colour) for points in (vertices, _turned(vertices)))
    return [_drawn(aligned, [front], aligned.crop.pixels), _drawn(aligned, [back])]


def _textured(dressed: Dressed, image: Array, light: PhotoLight | None = None) -> list[Array]:
    """Draw the body with a texture (S, S, C) over the photograph, and from behind."""
    body, views = dressed.body.body, []
    for vertices in (dressed.vertices, _turned(dressed.vertices)):
        bright = None if light is None else light.brightness_of(vertex_normals(vertices, body.faces))
        texture = Texture(image, body.uv, body.uv_faces)
        surface = Surface(vertices, body.faces, texture=texture, lit=False, brightness=bright)
        views.append(_drawn(dressed.aligned, [surface]))
    return views


def _trusted(texture: BakedTexture) -> Array:
    """Colours (S, S, 3) that fade to magenta as far as they are not trusted."""
    share = np.clip(texture.confidence, 0, 1)[..., None]
    return np.asarray(texture.colour * share + _HIDDEN * (1 - share), np.float32)


def _turned(vertices: Tensor) -> Tensor:
    """Vertices (V, 3) turned by 180° about the vertical through their middle."""
    middle = (vertices.amin(0) + vertices.amax(0)) / 2
    return (vertices - middle) @ axis_angle_to_matrix(vertices.new_tensor([0.0, np.pi, 0.0])).mT + middle


def _drawn(aligned: Aligned, surfaces: list[Surface], image: Array | None = None) -> Array:
    """Surfaces over the crop's image (h, w, 3), which shines through a little, or over white."""
    drawn = render_people(surfaces, aligned.crop.view)
    alpha = drawn[..., 3:] * (1 if image is None else 0.75)
    behind = 255 if image is None else image
    return np.rint(np.clip(drawn[..., :3], 0, 1) * 255 * alpha + behind * (1 - alpha)).astype(np.uint8)


def _column(name: str, views: list[Array], height: int) -> Array:
    width = max(1, round(views[0].shape[1] * height / views[0].shape[0]))
    column = np.concatenate([cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA) for view in views])
    draw_label(column, name, (0, 0))
    return column


def main() -> None:
    """Fit the photograph and draw the stages of a person."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--person", default="largest", help="largest, or a number; 0 is the largest")
    options = parser.parse_args()
    with Reposer(person=options.person) as reposer:
        person = reposer.read(read_image(options.photo).pixels, name=str(options.photo)).people[0]
    write_image(options.out, sheet_of_stages(person.photographed, person.body.body, person.options))


if __name__ == "__main__":
    main()
