"""Pictures and label maps of a scene: one z-buffer for everything that has a surface, composed over the background.

The z-buffer has a sample at every pixel's centre, at the middles of its edges and at its corners. Label maps are the
centres; a pixel's colour weighs its nine samples 1-2-1 along both sides, which smooths edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.data.label_maps import RENDERED_MAPS, BodyLabels, LabelledMesh, MeshStack, maps_of_raster
from humanpose_cli.data.synthetic.staging.backdrop_shadows import shade_backdrop
from humanpose_cli.data.synthetic.staging.backgrounds import Backdrop, paint_backdrop
from humanpose_cli.data.synthetic.staging.degradation import degrade
from humanpose_cli.data.synthetic.staging.scene import SceneDescription
from humanpose_cli.data.synthetic.staging.shadows import ShadowMap
from humanpose_cli.data.synthetic.staging.surface_colours import (
    coat_of_person,
    coat_of_prop,
    paint_surfaces,
    vertex_light,
)
from humanpose_cli.data.synthetic.wardrobe.mesh import pose_dressed
from humanpose_cli.engine.rasterising import Raster
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.view import Box, View, body_box

__all__ = ["RenderedScene", "SceneRenderer", "render_scene"]

Array = NDArray[Any]

_TENT = np.array([0.25, 0.5, 0.25], np.float32)
_BLUR_FROM = 0.3  # pixels
_ARM = 0.7  # metres that people reach around their pelvis


@dataclass(frozen=True, eq=False)
class RenderedScene:
    """One picture of a scene.

    image    (H, W, 3) uint8
    maps     name → map as `LABEL_MAPS` says
    visible  (P,) pixels that each of the people is seen on
    """

    image: NDArray[np.uint8]
    maps: dict[str, Array]
    visible: NDArray[np.int64]


class SceneRenderer:
    """Renders the frames of a scene; the background is painted once."""

    def __init__(self, body: RiggedBody, scene: SceneDescription, labels: BodyLabels | None = None) -> None:
        self.body, self.scene = body, scene
        self.labels = labels or BodyLabels(body)
        self.backdrop: Backdrop = paint_backdrop(
            scene.background, scene.camera, scene.lighting, scene.pictures, _places(scene)
        )
        # What casts no shadow comes last, so that all that does are the first meshes of the stack.
        props = sorted(scene.props, key=lambda prop: not prop.shadow)
        self._casting = len(scene.people) + sum(prop.shadow for prop in props)
        self._coats = [*(coat_of_person(p.mesh) for p in scene.people), *map(coat_of_prop, props)]
        to_camera = scene.camera.to_camera
        self._props = [torch.from_numpy(to_camera(prop.solid.vertices).astype(np.float32)) for prop in props]

    def render(self, frame: int = 0, names: tuple[str, ...] = RENDERED_MAPS) -> RenderedScene:
        """One frame with the maps of these names."""
        scene = self.scene
        with torch.no_grad():
            people = self._people(frame)
            things = [(v, coat.faces) for v, coat in zip(self._props, self._coats[len(people) :], strict=True)]
            stack = MeshStack([*((mesh.vertices, mesh.faces) for mesh in people), *things])
            box = body_box(stack.vertices, scene.camera.view)
            fine = None if box.empty else _doubled(stack, scene.camera.view.crop(box))
            centres = _centres(fine, box, scene.camera.view)
            maps = maps_of_raster(people, stack, centres, scene.camera.view, tuple({*names, "persons"}))
            image = self._picture(stack, fine, box)
        noise = np.random.default_rng([scene.noise_seed, frame])
        visible = np.bincount(maps["persons"].ravel(), minlength=len(people) + 1)[1:]
        return RenderedScene(degrade(image, scene.degradation, noise), {name: maps[name] for name in names}, visible)

    def _people(self, frame: int) -> list[LabelledMesh]:
        row = slice(frame, frame + 1)
        return [
            LabelledMesh(
                pose_dressed(self.body, person.mesh, person.rotations[row], person.trans[row])[0],
                coat.faces,
                self.labels,
                person.mesh.body_vertex,
            )
            for person, coat in zip(self.scene.people, self._coats, strict=False)
        ]

    def _picture(self, stack: MeshStack, fine: Raster | None, box: Box) -> Array:
        """The undamaged picture (H, W, 3) float32."""
        scene, casting = self.scene, int(stack.first_vertex[self._casting])
        shadow = None
        if casting:
            sun = scene.camera.rotation @ np.asarray(scene.lighting.sun.direction, np.float32)
            faces = stack.faces[: stack.first_face[self._casting]]
            side = 256 if len(scene.people) <= 1 else 384
            shadow = ShadowMap(stack.vertices[:casting], faces, sun, scene.lighting.penumbra, side=side)
        image = self.backdrop.image.copy()
        if shadow is not None:
            shade_backdrop(image, self.backdrop, scene.camera, scene.lighting, shadow, stack.vertices[:casting].numpy())
        if scene.degradation.backdrop_blur > _BLUR_FROM:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), scene.degradation.backdrop_blur), np.float32)
        if fine is not None:
            gain, shine = vertex_light(stack, self._coats, scene.camera, scene.lighting, shadow, casting)
            colour = _shrunk(paint_surfaces(stack, self._coats, fine, 2 * scene.camera.view.focal, gain, shine))
            cover = _shrunk((fine.face[0] >= 0).numpy().astype(np.float32))
            kept = 1 - cover
            part = image[box.slices]
            part[:] = cv2.add(cv2.multiply(part, cv2.merge([kept, kept, kept])), colour)
        return image


def _shrunk(samples: Array) -> Array:
    """Samples (2h + 1, 2w + 1[, C]) of a doubled raster as pixels (h, w[, C])."""
    smooth = cv2.sepFilter2D(samples, -1, _TENT, _TENT, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(smooth[1::2, 1::2])


def _places(scene: SceneDescription) -> Array:
    """Points (N, 3) metres in world axes between which everything stands."""
    camera = scene.camera
    pelvis = torch.cat([person.trans for person in scene.people]).numpy() if scene.people else np.zeros((0, 3))
    world = (pelvis - camera.translation) @ camera.rotation
    reach = np.array([[-_ARM, 0, -_ARM], [_ARM, 0, _ARM]])
    around = (world[:, None] + reach).reshape(-1, 3)
    things = [prop.solid.vertices[[0, -1]] for prop in scene.props if prop.shadow]
    return np.concatenate((around, *things))


def _doubled(stack: MeshStack, view: View) -> Raster:
    """The z-buffer of 2H + 1 rows and 2W + 1 columns whose odd ones are the pixels' centres."""
    height, width = view.size
    x, y = view.principal_point
    fine = View(view.focal * 2, (2 * x + 0.5, 2 * y + 0.5), (2 * height + 1, 2 * width + 1))
    return rasterise_view(stack.vertices[None], stack.faces, fine)


def _centres(fine: Raster | None, box: Box, view: View) -> Raster:
    """The raster of the whole picture at one sample a pixel, out of the doubled one of a part of it."""
    height, width = view.size
    face = torch.full((1, height, width), -1, dtype=torch.int32)
    weights, depth = torch.zeros(1, height, width, 3), torch.full((1, height, width), float("inf"))
    if fine is not None:
        rows, columns = box.slices
        for whole, part in zip((face, weights, depth), fine, strict=True):
            whole[:, rows, columns] = part[:, 1::2, 1::2]
    return Raster(face, weights, depth)


def render_scene(
    body: RiggedBody,
    scene: SceneDescription,
    frame: int = 0,
    *,
    names: tuple[str, ...] = RENDERED_MAPS,
    labels: BodyLabels | None = None,
) -> RenderedScene:
    """One frame of a scene: see `SceneRenderer`, which spares work where several are wanted."""
    return SceneRenderer(body, scene, labels).render(frame, names)
