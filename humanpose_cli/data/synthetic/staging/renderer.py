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
from torch import Tensor

from humanpose_cli.bodies.rigged_body import RiggedBody
from humanpose_cli.data.label_maps import RENDERED_MAPS, BodyLabels, LabelledMesh, MeshStack, maps_of_raster
from humanpose_cli.data.synthetic.staging.backgrounds import Backdrop, look_up, paint_backdrop
from humanpose_cli.data.synthetic.staging.degradation import degrade
from humanpose_cli.data.synthetic.staging.lighting import encoded, irradiance
from humanpose_cli.data.synthetic.staging.scene import SceneDescription
from humanpose_cli.data.synthetic.staging.shadows import ContactShadow, ShadowMap
from humanpose_cli.data.synthetic.staging.tiles import TILE_SIDE, tile, tile_level
from humanpose_cli.data.synthetic.wardrobe.mesh import MATERIALS, DressedMesh, pose_dressed
from humanpose_cli.engine.rasterising import Raster, interpolate
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.view import View

__all__ = ["RenderedScene", "SceneRenderer", "render_scene"]

Array = NDArray[Any]

# Strength and sharpness of the highlights that materials throw, in order of MATERIALS.
_GLOSS: dict[str, tuple[float, float]] = {"skin": (0.10, 12), "eye": (0.3, 40), "hair": (0.22, 18), "shoe": (0.16, 16)}


@dataclass(frozen=True, eq=False)
class RenderedScene:
    """One picture of a scene.

    image    (H, W, 3) uint8
    maps     name → map as `LABEL_MAPS` says
    visible  (P,) pixels that each of the people is seen on
    """

    image: NDArray[np.uint8]
    maps: dict[str, NDArray[np.generic]]
    visible: NDArray[np.int64]


class _Skin:
    """What does not change of a mesh while it moves: texture coordinates as vertices, which vertex each stands for."""

    def __init__(self, mesh: DressedMesh) -> None:
        self.uv, self.uv_faces = mesh.uv, torch.from_numpy(mesh.uv_faces)
        self.faces = torch.from_numpy(mesh.faces)
        self.vertex = np.zeros(len(mesh.uv), np.int64)
        self.vertex[mesh.uv_faces.ravel()] = mesh.faces.ravel()
        table = np.array([_GLOSS.get(name, (0.0, 1.0)) for name in MATERIALS], np.float32)
        gloss = np.zeros((len(mesh.vertices), 2), np.float32)
        for corner in range(3):
            gloss[mesh.faces[:, corner]] = table[mesh.material]
        self.gloss, self.sharpness = gloss.T


class SceneRenderer:
    """Renders the frames of a scene; the background is painted once."""

    def __init__(self, body: RiggedBody, scene: SceneDescription, labels: BodyLabels | None = None) -> None:
        self.body, self.scene = body, scene
        self.labels = labels or BodyLabels(body)
        self.backdrop: Backdrop = paint_backdrop(scene.background, scene.camera, scene.lighting, scene.pictures)
        self._skins = [_Skin(person.mesh) for person in scene.people]
        camera = scene.camera
        self._props = [
            torch.from_numpy(camera.to_camera(prop.solid.vertices).astype(np.float32)) for prop in scene.props
        ]

    def render(self, frame: int = 0, names: tuple[str, ...] = RENDERED_MAPS) -> RenderedScene:
        """One frame with the maps of these names (`persons` always, for `visible`)."""
        scene = self.scene
        with torch.no_grad():
            meshes = [
                LabelledMesh(
                    pose_dressed(self.body, p.mesh, p.rotations[frame : frame + 1], p.trans[frame : frame + 1])[0],
                    skin.faces,
                    self.labels,
                    p.mesh.body_vertex,
                )
                for p, skin in zip(scene.people, self._skins, strict=True)
            ]
            props = [(v, torch.from_numpy(p.solid.faces)) for v, p in zip(self._props, scene.props, strict=True)]
            stack = MeshStack([*((mesh.vertices, mesh.faces) for mesh in meshes), *props])
            raster = _doubled(stack, scene.camera.view)
            centres = Raster(*(part[:, 1::2, 1::2].contiguous() for part in raster))
            wanted = tuple(dict.fromkeys((*names, "persons")))
            maps = maps_of_raster(meshes, stack, centres, scene.camera.view, wanted)
            image = self._picture(stack, raster)
        noise = np.random.default_rng([scene.noise_seed, frame])
        visible = np.bincount(maps["persons"].ravel(), minlength=len(meshes) + 1)[1:]
        return RenderedScene(degrade(image, scene.degradation, noise), {name: maps[name] for name in names}, visible)

    def _picture(self, stack: MeshStack, raster: Raster) -> Array:
        casting = self._casting(stack)
        sun = self.scene.camera.rotation @ np.asarray(self.scene.lighting.sun.direction, np.float32)
        shadow = None
        if len(casting):
            used = stack.vertices[: stack.first_vertex[self._casters]]
            side = 256 if len(self.scene.people) <= 1 else 384
            shadow = ShadowMap(used, casting, sun, self.scene.lighting.penumbra, side=side)
        background = self._shaded_backdrop(stack, shadow)
        if self.scene.degradation.backdrop_blur > 0.3:
            background = np.asarray(
                cv2.GaussianBlur(background, (0, 0), self.scene.degradation.backdrop_blur), np.float32
            )
        colour, alpha = self._surfaces(stack, raster, shadow)
        return colour + (1 - alpha)[..., None] * background

    @property
    def _casters(self) -> int:
        """How many meshes, from the first, cast shadows: those of people, and things up to the first without."""
        return len(self.scene.people) + sum(prop.shadow for prop in self.scene.props)

    def _casting(self, stack: MeshStack) -> Tensor:
        return stack.faces[: stack.first_face[self._casters]]

    def _vertex_light(self, stack: MeshStack, shadow: ShadowMap | None) -> tuple[Array, Array]:
        """Factor on the encoded colour (V, 3), and encoded highlight (V,) at each vertex."""
        scene = self.scene
        points, normals = stack.vertices.numpy(), stack.normals.numpy()
        sunlit = np.ones(len(points), np.float32)
        if shadow is not None:
            count = int(stack.first_vertex[self._casters])
            sunlit[:count] = shadow.sunlit(points[:count], normals[:count])
        world = normals @ scene.camera.rotation
        gain = encoded(irradiance(world, scene.lighting, sunlit))
        shine = np.zeros(len(points), np.float32)
        if scene.people:
            gloss = np.concatenate([skin.gloss for skin in self._skins])
            sharp = np.concatenate([skin.sharpness for skin in self._skins])
            rows = np.flatnonzero(gloss)
            sun = scene.camera.rotation @ np.asarray(scene.lighting.sun.direction, np.float32)
            to_lens = -points[rows] / np.linalg.norm(points[rows], axis=1, keepdims=True)
            half = to_lens + sun
            half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
            facing = np.maximum(np.einsum("nk,nk->n", half, normals[rows]), 0)
            strength = scene.lighting.exposure * float(np.mean(scene.lighting.sun.colour))
            shine[rows] = 255 * gloss[rows] * np.minimum(strength, 1.5) * sunlit[rows] * facing ** sharp[rows]
        return gain, shine

    def _surfaces(self, stack: MeshStack, raster: Raster, shadow: ShadowMap | None) -> tuple[Array, Array]:
        """Colour (H, W, 3) times alpha, and alpha (H, W), of people and things."""
        gain, shine = self._vertex_light(stack, shadow)
        uv, vertex, faces = self._texture_vertices(stack)
        attributes = np.concatenate((uv, gain[vertex], shine[vertex, None]), 1)
        seen = interpolate(raster, faces, torch.from_numpy(attributes)[None])[0].numpy().reshape(-1, 6)
        face = raster.face[0].numpy()
        pixels = np.flatnonzero(face.ravel() >= 0)
        owner = stack.mesh_of_faces(face.ravel()[pixels])
        samples = np.zeros((face.size, 4), np.float32)
        for mesh in np.unique(owner).tolist():
            rows = pixels if len(stack.first_face) == 2 else pixels[owner == mesh]
            values = seen[rows]
            colour = self._texture_colours(mesh, stack, face.ravel()[rows], values[:, :2])
            samples[rows, :3] = np.minimum(colour * values[:, 2:5] + values[:, 5:6], 255)
            samples[rows, 3] = 1
        smooth = cv2.sepFilter2D(samples.reshape(*face.shape, 4), -1, _TENT, _TENT)[1::2, 1::2]
        return np.ascontiguousarray(smooth[..., :3]), np.ascontiguousarray(smooth[..., 3])

    def _texture_vertices(self, stack: MeshStack) -> tuple[Array, NDArray[np.int64], Tensor]:
        """Texture coordinates (T, 2) of the whole stack, the vertex (T,) of each, and faces (F, 3) of them."""
        uv, vertex, faces, start = [], [], [], 0
        for i, skin in enumerate(self._skins):
            uv.append(skin.uv)
            vertex.append(skin.vertex + stack.first_vertex[i])
            faces.append(skin.uv_faces + start)
            start += len(skin.uv)
        for i, prop in enumerate(self.scene.props, len(self._skins)):
            uv.append(prop.solid.uv / np.float32(prop.metres))
            vertex.append(np.arange(len(prop.solid.uv)) + stack.first_vertex[i])
            faces.append(torch.from_numpy(prop.solid.faces) + start)
            start += len(prop.solid.uv)
        if not uv:
            return np.zeros((0, 2), np.float32), np.zeros(0, np.int64), stack.faces
        return np.concatenate(uv).astype(np.float32), np.concatenate(vertex), torch.cat(faces)

    def _texture_colours(self, mesh: int, stack: MeshStack, face: NDArray[np.int32], uv: Array) -> Array:
        """Colours (N, 3) of samples of one mesh, from its texture made about as fine as the samples."""
        people = len(self._skins)
        first = face - stack.first_face[mesh]
        if mesh < people:
            picture, skin = self.scene.people[mesh].mesh.texture, self._skins[mesh]
            corners, places = skin.faces.numpy(), skin.uv[skin.uv_faces.numpy()[_some(first)]]
        else:
            prop = self.scene.props[mesh - people]
            picture, corners = tile(*prop.tile), prop.solid.faces
            places = prop.solid.uv[corners[_some(first)]] / np.float32(prop.metres)
        points = stack.vertices[stack.first_vertex[mesh] : stack.first_vertex[mesh + 1]].numpy()[corners[_some(first)]]
        level = _level(points, places, picture.shape[:2], self.scene.camera.view.focal * 2)
        if mesh < people:
            height, width = max(1, picture.shape[0] >> level), max(1, picture.shape[1] >> level)
            if level:
                picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            return look_up(picture, uv[:, 0], uv[:, 1])
        picture = tile_level(*prop.tile, min(level, TILE_SIDE.bit_length() - 3))
        return look_up(picture, uv[:, 0], uv[:, 1], wrap=True) * np.asarray(prop.tint, np.float32)

    def _shaded_backdrop(self, stack: MeshStack, shadow: ShadowMap | None) -> Array:
        """The background with the shadows that fall on it."""
        backdrop, scene = self.backdrop, self.scene
        if shadow is None or not backdrop.surface.any():
            return backdrop.image
        camera = scene.camera
        rows = np.flatnonzero((backdrop.surface.ravel() > 0) & (backdrop.depth.ravel() < 60))
        depth = backdrop.depth.ravel()[rows]
        y, x = np.divmod(rows, backdrop.depth.shape[1])
        cx, cy = camera.view.principal_point
        at = np.stack(
            ((x + 0.5 - cx) / camera.view.focal * depth, (y + 0.5 - cy) / camera.view.focal * depth, depth), 1
        )
        at = at.astype(np.float32)
        cover = shadow.cover(at, fall=0.8)
        lighting = scene.lighting
        floor = backdrop.surface.ravel()[rows] == 1
        up = np.array([[0, 1, 0]], np.float32)
        lit, dark = irradiance(up, lighting)[0], irradiance(up, lighting, 0.0)[0]
        ratio = encoded(dark / lit)
        loss = np.where(floor, np.float32(1), np.float32(0.7)) * cover
        factor = 1 - loss[:, None] * (1 - ratio)
        world = (
            stack.vertices[: stack.first_vertex[self._casters]].numpy()[::3] - camera.translation
        ) @ camera.rotation
        contact = ContactShadow(world)
        on_floor = np.flatnonzero(floor)
        places = (at[on_floor] - camera.translation) @ camera.rotation
        factor[on_floor] *= (1 - 0.55 * contact.darkness(places))[:, None]
        image = backdrop.image.copy()
        image.reshape(-1, 3)[rows] *= factor
        return image


_TENT = np.array([0.25, 0.5, 0.25], np.float32)


def _doubled(stack: MeshStack, view: View) -> Raster:
    """The z-buffer of 2H + 1 rows and 2W + 1 columns whose odd ones are the pixels' centres."""
    height, width = view.size
    x, y = view.principal_point
    fine = View(view.focal * 2, (2 * x + 0.5, 2 * y + 0.5), (2 * height + 1, 2 * width + 1))
    return rasterise_view(stack.vertices[None], stack.faces, fine)


def _some(faces: NDArray[np.int32], most: int = 256) -> NDArray[np.int32]:
    """A few of the faces seen."""
    return faces[:: max(1, len(faces) // most)]


def _level(points: Array, places: Array, size: tuple[int, ...], focal: float) -> int:
    """How often a texture is halved to be as fine as the samples, from faces' corners (N, 3, 3) and uv (N, 3, 2)."""
    edges = points[:, 1:] - points[:, :1]
    z = np.maximum(points[..., 2].mean(1), 0.05)
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    slant = np.abs(np.einsum("nk,nk->n", np.cross(edges[:, 0], edges[:, 1]), points.mean(1)))
    slant /= np.maximum(area * np.linalg.norm(points.mean(1), axis=1), 1e-12)
    pixels = area * np.maximum(slant, 0.3) * (focal / z) ** 2
    step = (places[:, 1:] - places[:, :1]) * np.array([size[1], size[0]], np.float32)
    texels = np.abs(step[:, 0, 0] * step[:, 1, 1] - step[:, 0, 1] * step[:, 1, 0])
    ratio = float(np.median(texels / np.maximum(pixels, 1e-9)))
    return int(np.clip(round(0.5 * np.log2(max(ratio, 1e-6))), 0, 8))


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
