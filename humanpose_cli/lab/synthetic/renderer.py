"""Images and label maps of a scene: one z-buffer for all surfaces, composed over the background.

In this order: shadows on the background, textures (`Coat`) and light of the meshes, `SceneRenderer`, the labels of a
frame's people, and `imperfect_fit`, labels with the errors of a fit.

The z-buffer has a sample at each pixel's centre, at the middles of its edges and at its corners. Label maps use the
centres; a pixel's colour weights its nine samples 1-2-1 in both directions, which smooths edges. A surface's colour is
its texture, reduced to about the resolution of the samples, times the light at its vertices. Unlike
`rendering.shading`, which draws bodies over given images, this renderer casts shadows, keeps colours gamma encoded and
makes label maps. The kernel of `engine.drawing` cannot draw this: neighbouring pixels share samples here, light has a
colour, and highlights are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.joint_angles import joint_class
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import GARMENTS, SMPL24
from humanpose_cli.engine.dispatch import record_bounds
from humanpose_cli.engine.rasterising.op import Raster, interpolate
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.label_maps import (
    RENDERED_MAPS,
    BodyLabels,
    LabelledMesh,
    MeshStack,
    landmark_visibility,
    maps_of_raster,
    visible_joint_shares,
)
from humanpose_cli.lab.cache.samples import LABEL_MAPS, Person
from humanpose_cli.lab.synthetic.backgrounds import Backdrop, paint_backdrop
from humanpose_cli.lab.synthetic.camera_paths import expose
from humanpose_cli.lab.synthetic.cameras import (
    ContactShadow,
    SceneCamera,
    ShadowMap,
    degrade,
    encode_light,
    irradiance,
    view_from_sun,
)
from humanpose_cli.lab.synthetic.mesh import MATERIALS, DressedMesh, pose_dressed
from humanpose_cli.lab.synthetic.scene import Prop, SceneDescription
from humanpose_cli.lab.synthetic.tiles import TILE_SIDE, tile, tile_level
from humanpose_cli.rendering.boxes import Box, body_box
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]

_MAX_SHADOW_DEPTH = 60.0  # metres from the lens
_SHADOW_DISTANCE = 0.8  # metres between a person and the shadow, for the softness of edges
_CONTACT_CELLS = 128  # side of the contact shadow
_PATH_CONTACT_CELLS = 800  # side of the contact shadow around a camera's path
_CONTACT = 0.6  # share of the light that is missing under objects on the floor
_WALL_SHADOW = 0.7  # share of the sun's shadow on walls, which also get light from the floor


def _shade_backdrop(
    image: Array, backdrop: Backdrop, scene: SceneDescription, shadow: ShadowMap, vertices: Array
) -> None:
    """Darken a background's image in place in the shadow of the sun and of vertices (V, 3) in camera axes."""
    camera, lighting = scene.camera, scene.lighting
    rows = np.flatnonzero((backdrop.depth < _MAX_SHADOW_DEPTH) & (backdrop.surface > 0))
    if not len(rows):
        return
    points = _points(rows, backdrop.depth, camera)
    # In the sun's shadow on floor and walls, the light of the sky and the fills remains.
    up = np.array([[0, 1, 0]], np.float32)
    shade = encode_light(irradiance(up, lighting, 0.0)[0] / irradiance(up, lighting)[0])
    floor = backdrop.surface.ravel()[rows] == 1
    cover = shadow.cover(points, _SHADOW_DISTANCE) * np.where(floor, np.float32(1), np.float32(_WALL_SHADOW))
    # Under objects that touch the floor, the light of the sky is missing too.
    side = _PATH_CONTACT_CELLS if scene.path else _CONTACT_CELLS
    contact = ContactShadow((vertices[::3] - camera.translation) @ camera.rotation, side)
    sky = np.ones(len(rows), np.float32)
    sky[floor] -= np.float32(_CONTACT) * contact.darkness((points[floor] - camera.translation) @ camera.rotation)
    pixels = slice(None) if len(rows) == backdrop.depth.size else rows
    for channel, share in enumerate(shade):  # numpy multiplies rows of three numbers slowly
        image.reshape(-1, 3)[pixels, channel] *= (1 - cover * (1 - share)) * sky


def _points(pixels: NDArray[np.int64], depth: Array, camera: SceneCamera) -> Array:
    """Unproject flat pixel indices (N,) of a background to points (N, 3) float32 in camera axes."""
    y, x = np.divmod(pixels.astype(np.int32), depth.shape[1])
    z = depth.ravel()[pixels].astype(np.float32)
    cx, cy = camera.view.principal_point
    scale = z / np.float32(camera.view.focal)
    return np.stack(((x + np.float32(0.5 - cx)) * scale, (y + np.float32(0.5 - cy)) * scale, z), 1).astype(np.float32)


# Strength and sharpness of the highlights of materials.
_GLOSS: dict[str, tuple[float, float]] = {"skin": (0.08, 10), "eye": (0.3, 40), "hair": (0.16, 16), "shoe": (0.14, 14)}
_GARMENT = {"skin": "skin", "eye": "skin", "hair": "hair", "hat": "hair", "top": "upper", "outer": "upper"}
_GARMENT |= {"accessory": "upper", "skirt": "hanging", "tail": "hanging", "bottom": "trousers", "shoe": "shoes"}
_GARMENT_TABLE = np.array([1 + GARMENTS.index(_GARMENT[name]) for name in MATERIALS], np.uint8)
_GLOSS_TABLE = np.array([_GLOSS.get(name, (0.0, 1.0)) for name in MATERIALS], np.float32)


class Coat:
    """The texture of a mesh.

    Args:
        image: (h, w, 3) uint8. The image.
        uv: (T, 2) float, in units of the image, v down. Texture vertices.
        uv_faces: (F, 3) int32. Texture vertices of the faces.
        faces: (F, 3) int32. Vertices of the faces.
        gloss: (V, 2) float32. Strength and sharpness of highlights; None for no highlights.
        tile: Kind and variant of the image if it is a tile; None for other images.
        tint: Factors on the tile's colours.
    """

    def __init__(
        self,
        image: NDArray[np.uint8],
        uv: Array,
        uv_faces: Array,
        faces: Array,
        *,
        gloss: Array | None = None,
        tile: tuple[str, int] | None = None,
        tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        self.image, self.uv = image, np.asarray(uv, np.float32)
        self.uv_faces, self.faces = torch.from_numpy(uv_faces), torch.from_numpy(faces)
        self.vertex = np.zeros(len(uv), np.int32)  # (T,) the vertex of each texture vertex
        self.vertex[uv_faces.T] = faces.T
        self.gloss, self.tile = gloss, tile
        self.tint = np.asarray(tint, np.float32)

    def halved(self, level: int) -> NDArray[np.uint8]:
        """Return the image halved `level` times, as far as possible."""
        if self.tile is not None:
            return tile_level(*self.tile, min(level, TILE_SIDE.bit_length() - 3))
        if not level:
            return self.image
        size = (max(1, self.image.shape[1] >> level), max(1, self.image.shape[0] >> level))
        return np.asarray(cv2.resize(self.image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _coat_of_person(mesh: DressedMesh) -> Coat:
    material = np.zeros(len(mesh.vertices), np.uint8)
    material[mesh.faces.T] = mesh.material
    return Coat(mesh.texture, mesh.uv, mesh.uv_faces, mesh.faces, gloss=_GLOSS_TABLE[material])


def _coat_of_prop(prop: Prop) -> Coat:
    faces = prop.solid.faces
    uv = prop.solid.uv / np.float32(prop.metres)
    return Coat(tile(*prop.tile), uv, faces, faces, tile=prop.tile, tint=prop.tint)


def _vertex_light(
    stack: MeshStack, coats: Sequence[Coat], scene: SceneDescription, shadow: ShadowMap, casting: int
) -> tuple[Array, Array]:
    """Return the factor (V, 3) on the encoded colour, and the encoded highlight (V,), at each vertex."""
    # The first `casting` vertices cast shadows and receive them.
    points, normals = stack.vertices.numpy(), stack.normals.numpy()
    camera, lighting = scene.camera, scene.lighting
    sunlit = np.ones(len(points), np.float32)
    sunlit[:casting] = shadow.sunlit(points[:casting], normals[:casting])
    gain = encode_light(irradiance(normals @ camera.rotation, lighting, sunlit))
    shine = np.zeros(len(points), np.float32)
    sun = camera.rotation @ np.asarray(lighting.sun.direction, np.float32)
    strength = np.float32(255 * min(lighting.exposure * float(np.mean(lighting.sun.colour)), 1.5))
    for coat, start in zip(coats, stack.first_vertex, strict=False):
        if coat.gloss is None:
            continue
        rows = np.flatnonzero(coat.gloss[:, 0])
        gloss, rows = coat.gloss[rows], rows + start
        half = sun - points[rows] / np.linalg.norm(points[rows], axis=1, keepdims=True)
        half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
        facing = np.maximum(np.einsum("nk,nk->n", half, normals[rows]), 0)
        shine[rows] = strength * gloss[:, 0] * sunlit[rows] * facing ** gloss[:, 1]
    return gain, shine


def _paint_surfaces(
    stack: MeshStack, coats: Sequence[Coat], raster: Raster, focal: float, gain: Array, shine: Array
) -> Array:
    """Return colours (h, w, 3) float32 of the samples of a raster (1, h, w), 0 without a surface."""
    face = raster.face[0].numpy()
    # The mesh that each sample shows.
    table = np.zeros(len(stack.faces) + 1, np.uint8)  # the last entry is for face −1
    table[:-1] = np.repeat(np.arange(1, len(stack.first_face)), np.diff(stack.first_face))
    owner = table[face]  # 1 + the mesh, 0 for none
    present = np.flatnonzero(np.bincount(owner.ravel(), minlength=len(coats) + 1)[1:]).tolist()
    starts = np.cumsum([0, *(len(coat.uv) for coat in coats)]).tolist()
    # Texture positions with highlights, and light, of all texture vertices; textures with the samples' resolution.
    texels, light = (np.zeros((starts[-1], 3), np.float32) for _ in range(2))
    images: dict[int, NDArray[np.uint8]] = {}
    masks = {mesh: owner == mesh + 1 for mesh in present}
    for mesh, mask in masks.items():
        coat, rows = coats[mesh], slice(starts[mesh], starts[mesh + 1])
        images[mesh] = coat.halved(_level(stack, coat, mesh, face[mask], focal))
        height, width = images[mesh].shape[:2]
        vertices = coat.vertex + int(stack.first_vertex[mesh])
        texels[rows, :2] = coat.uv * np.array([width, height], np.float32) - np.float32(0.5)
        texels[rows, 2] = shine[vertices]
        light[rows] = gain[vertices] * coat.tint
    faces = torch.cat([coat.uv_faces + start for coat, start in zip(coats, starts, strict=False)])
    x, y, glow = cv2.split(interpolate(raster, faces, torch.from_numpy(texels)[None])[0].numpy())
    sample_light = interpolate(raster, faces, torch.from_numpy(light)[None])[0].numpy()
    # Colours for each mesh in its rectangle; light and highlights for all meshes together.
    colour = np.zeros((*face.shape, 3), np.uint8)
    for mesh, mask in masks.items():
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        part = slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1)
        border = cv2.BORDER_REPLICATE if coats[mesh].tile is None else cv2.BORDER_WRAP
        pixels = cv2.remap(images[mesh], x[part], y[part], cv2.INTER_LINEAR, borderMode=border)
        cv2.copyTo(pixels, mask[part].view(np.uint8), colour[part])
    result = np.asarray(cv2.multiply(colour, sample_light, dtype=cv2.CV_32F), np.float32)
    if shine.any():
        result = np.asarray(cv2.add(result, cv2.merge([glow, glow, glow])), np.float32)
    return np.minimum(result, np.float32(255), out=result)


def _level(stack: MeshStack, coat: Coat, mesh: int, faces: NDArray[np.int32], focal: float) -> int:
    """Return how often to halve a texture to match the samples' resolution, from some of the visible faces."""
    # The faces' area in samples: metres squared, foreshortened, times the square of the focal length over the distance.
    rows = faces[:: max(1, len(faces) // 256)] - stack.first_face[mesh]
    corners: Tensor = coat.faces[rows] + int(stack.first_vertex[mesh])
    points = stack.vertices.numpy()[corners.numpy()]
    size = np.array([coat.image.shape[1], coat.image.shape[0]], np.float32)
    positions = coat.uv[coat.uv_faces[rows].numpy()] * size
    edges = points[:, 1:] - points[:, :1]
    normal = np.cross(edges[:, 0], edges[:, 1])
    area = np.linalg.norm(normal, axis=1)
    middle = points.mean(1)
    slant = np.abs(np.einsum("nk,nk->n", normal, middle))
    slant /= np.maximum(area * np.linalg.norm(middle, axis=1), 1e-12)
    samples = area * np.maximum(slant, 0.3) * (focal / np.maximum(middle[:, 2], 0.05)) ** 2
    # The faces' area in texels, which each halving of the texture divides by four.
    step = positions[:, 1:] - positions[:, :1]
    texels = np.abs(step[:, 0, 0] * step[:, 1, 1] - step[:, 0, 1] * step[:, 1, 0])
    ratio = float(np.median(texels / np.maximum(samples, 1e-9)))
    return int(np.clip(round(0.5 * float(np.log2(max(ratio, 1e-6)))), 0, 8))


_TENT = np.array([0.25, 0.5, 0.25], np.float32)
_MIN_BLUR = 0.3  # pixels
_MAX_SAMPLES = 1 << 24  # of the z-buffers that a GPU draws at once
_REACH = 0.7  # metres, horizontal extent of people around their pelvis


@dataclass(frozen=True, eq=False)
class RenderedScene:
    """One image of a scene.

    Attributes:
        image: (H, W, 3) uint8. The image.
        maps: Name → map, see `LABEL_MAPS`.
        visible: (P,) int64. Number of pixels that show each of the people.
    """

    image: NDArray[np.uint8]
    maps: dict[str, Array]
    visible: NDArray[np.int64]


class SceneRenderer:
    """Renders the frames of a scene; the background is painted once for each camera.

    The device poses people and draws z-buffers. The host, which has the textures, colours the samples. A GPU draws all
    frames of a camera at once, and is waited for once.

    Args:
        body: The body.
        scene: The scene.
        labels: Labels of the body.
        device: "cpu" or "cuda:N".
        garments: Whether to also make the map of garments.
    """

    def __init__(
        self, body: Body, scene: SceneDescription, labels: BodyLabels, device: str = "cpu", *, garments: bool = False
    ) -> None:
        self.body, self.scene = body, scene
        self.on_gpu = device != "cpu"
        # Points (N, 3) in world axes that must be inside the walls: around people and lenses, and of props.
        corners = np.array([[-_REACH, 0, -_REACH], [_REACH, 0, _REACH]])
        points = (scene.positions()[:, None] + corners).reshape(-1, 3)
        self._inside = np.concatenate((points, *(p.solid.vertices[[0, -1]] for p in scene.props if p.shadow)))
        # Props without shadows come last, so that the first meshes of the stack cast shadows.
        props = sorted(scene.props, key=lambda prop: not prop.shadow)
        self._coats = [*(_coat_of_person(p.mesh) for p in scene.people), *map(_coat_of_prop, props)]
        self._solids = [prop.solid.vertices for prop in props]
        rest = [torch.from_numpy(vertices) for vertices in (*(p.mesh.vertices for p in scene.people), *self._solids)]
        self._stack = MeshStack([(points, coat.faces) for points, coat in zip(rest, self._coats, strict=True)])
        self._people = [
            LabelledMesh(points, coat.faces, labels, person.mesh.body_vertex)
            for points, coat, person in zip(rest, self._coats, scene.people, strict=False)
        ]
        # The garment of each face, 0 for props and for no face (-1).
        self._garments = np.zeros(len(self._stack.faces) + 1, np.uint8) if garments else None
        if self._garments is not None:
            labels_of_faces = np.concatenate([_GARMENT_TABLE[person.mesh.material] for person in scene.people])
            self._garments[: len(labels_of_faces)] = labels_of_faces
        casting = len(scene.people) + sum(prop.shadow for prop in props)
        self._casting, faces = int(self._stack.first_vertex[casting]), int(self._stack.first_face[casting])
        self._faces = self._stack.faces.to(device, non_blocking=True)
        self._casting_faces = self._faces[:faces]
        for rows in (self._faces, self._casting_faces):
            record_bounds(rows, 0, len(self._stack.vertices) - 1)
        self._motions = [[v.to(device, non_blocking=True) for v in (p.rotations, p.trans)] for p in scene.people]
        self._drawings: dict[int, list[Tensor]] = {}
        self._look_from(scene.camera)

    def _look_from(self, camera: SceneCamera) -> None:
        """Paint the background of a camera, and transform the props to its axes."""
        scene = self.scene = replace(self.scene, camera=camera)
        self._sun = camera.rotation @ np.asarray(scene.lighting.sun.direction, np.float32)
        self.backdrop: Backdrop = paint_backdrop(scene.background, camera, scene.lighting, scene.images, self._inside)
        props = (torch.from_numpy(camera.to_camera(solid).astype(np.float32)) for solid in self._solids)
        self._props = [prop.to(self._faces.device, non_blocking=True) for prop in props]

    def render(self, frame: int = 0) -> RenderedScene:
        """Render the image and the label maps of a frame."""
        if (camera := self.scene.camera_at(frame)) is not self.scene.camera:
            self._look_from(camera)
        scene, people = self.scene, self._people
        with torch.no_grad():
            if frame not in self._drawings:
                self._drawings = self._draw(frame)
            vertices, normals, *buffers = self._drawings[frame]
            stack = copy(self._stack)
            stack.vertices, stack.normals = vertices[0], normals[0]
            names = (*RENDERED_MAPS, "garments") if self._garments is not None else RENDERED_MAPS
            maps = {name: _empty_map(name, scene.camera.view) for name in names}
            fine = None
            if not self._box.empty:
                fine = Raster(*buffers[:3])
                centres = Raster(*(values[:, 1::2, 1::2].contiguous() for values in fine))
                for name, values in maps_of_raster(people, stack, centres).items():
                    maps[name][self._box.slices] = values
                if self._garments is not None:
                    maps["garments"][self._box.slices] = self._garments[centres.face[0].numpy()]
            image = self._image(stack, fine, ShadowMap(buffers[-3:], self._sun, scene.lighting.penumbra))
        if scene.path:
            image = expose(image, scene.path, frame, scene.shutter)
        noise = np.random.default_rng([scene.noise_seed, frame])
        visible = np.bincount(maps["persons"].ravel(), minlength=len(people) + 1)[1:]
        return RenderedScene(degrade(image, scene.degradation, noise), maps, visible)

    def _draw(self, first: int) -> dict[int, list[Tensor]]:
        """Pose and rasterise a frame, on a GPU with the next ones of the same camera; return arrays of the host."""
        scene, view = self.scene, self.scene.camera.view
        together = max(1, _MAX_SAMPLES // (4 * view.size[0] * view.size[1])) if self.on_gpu and not scene.path else 1
        rows = slice(first, min(len(scene), first + together))
        people = [
            pose_dressed(self.body, person.mesh, *(values[rows] for values in motion))
            for person, motion in zip(scene.people, self._motions, strict=True)
        ]
        vertices = torch.cat([*people, *(prop.expand(rows.stop - first, -1, -1) for prop in self._props)], 1)
        tensors = [vertices, vertex_normals(vertices, self._faces)]
        # To know the part of the image that meshes cover, the host would have to wait for a GPU.
        self._box = Box.of_image(view) if self.on_gpu else body_box(vertices[0], view)
        if not self._box.empty:
            # A z-buffer of 2H + 1 rows and 2W + 1 columns; the odd ones are the pixels' centres.
            part = view.part(self._box)
            (width, height), (x, y) = part.size, part.principal_point
            double = Camera(part.focal * 2, (2 * x + 0.5, 2 * y + 0.5), (2 * width + 1, 2 * height + 1))
            tensors += rasterise_view(vertices, self._faces, double)
        side = 768 if scene.path else 256 if len(scene.people) <= 1 else 384
        tensors += view_from_sun(vertices[:, : self._casting], self._casting_faces, self._sun, side)
        host = _to_host(tensors)
        return {first + row: [values[row : row + 1] for values in host] for row in range(len(vertices))}

    def _image(self, stack: MeshStack, fine: Raster | None, shadow: ShadowMap) -> Array:
        """Compose the undamaged image (H, W, 3) float32."""
        scene, casting = self.scene, self._casting
        image = self.backdrop.image.copy()
        _shade_backdrop(image, self.backdrop, scene, shadow, stack.vertices[:casting].numpy())
        if scene.degradation.backdrop_blur > _MIN_BLUR:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), scene.degradation.backdrop_blur), np.float32)
        if fine is not None:
            gain, shine = _vertex_light(stack, self._coats, scene, shadow, casting)
            colour = _shrink(_paint_surfaces(stack, self._coats, fine, 2 * scene.camera.view.focal, gain, shine))
            cover = _shrink((fine.face[0] >= 0).numpy().astype(np.float32))
            part = image[self._box.slices]
            part[:] = cv2.add(cv2.multiply(part, cv2.merge([1 - cover] * 3)), colour)
        return image


def _to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors of one device to the host, which waits for a GPU once."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    if tensors[0].device.type == "cuda":
        torch.cuda.synchronize(tensors[0].device)
    return copies


def _shrink(samples: Array) -> Array:
    """Reduce samples (2h + 1, 2w + 1[, C]) of a doubled raster to pixels (h, w[, C])."""
    smooth = cv2.sepFilter2D(samples, -1, _TENT, _TENT, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(smooth[1::2, 1::2])


def _empty_map(name: str, view: Camera) -> Array:
    spec = LABEL_MAPS[name]
    return np.zeros((*view.size[::-1], spec.channels)[: 2 + (spec.channels > 1)], spec.dtype)


LANDMARKS = ("reposing19", "blazepose33")
_BOX_MARGIN = 0.04  # relative to the box's longer side, for the body beyond the joints


def encode_scene_image(image: NDArray[np.uint8], quality: int) -> bytes:
    """Encode an image (H, W, 3) uint8 RGB as JPEG."""
    success, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert success, "an RGB image can be encoded"
    return bytes(data.tobytes())


def encode_scene_maps(image: RenderedScene, visible: list[int]) -> dict[str, bytes]:
    """Encode the maps of an image as PNG.

    Args:
        image: The image.
        visible: Indices of the visible people; `persons` is renumbered to their order.
    """
    number = np.zeros(len(image.visible) + 1, np.uint8)
    number[np.array(visible, int) + 1] = np.arange(1, len(visible) + 1)
    maps = {**image.maps, "persons": number[image.maps["persons"]]}
    return {name: encode_png(values) for name, values in maps.items()}


def people_of_frame(
    body: Body, scene: SceneDescription, names: list[tuple[str, str]], frame: int, image: RenderedScene
) -> tuple[list[Person], list[int]]:
    """Return the labels of the people who are visible in a frame.

    Args:
        body: The body.
        scene: The scene.
        names: (identity, clothing) of all people.
        frame: Index of the frame.
        image: The rendered frame.

    Returns:
        The labels, and the people's indices in the scene.
    """
    people, view, maps = scene.people, scene.camera.view, image.maps
    indices = [index for index in range(len(people)) if image.visible[index] > 0]
    if not indices:
        return [], []
    rotations = torch.stack([people[i].rotations[frame] for i in indices])
    betas = torch.stack([people[i].betas for i in indices])
    trans = torch.stack([people[i].trans[frame] for i in indices])
    with torch.no_grad():
        bodies = body.pose(rotations, betas, trans, vertices=False)
        points = {name: body.pose_landmarks(name, bodies, betas).numpy() for name in LANDMARKS}
    points[SMPL24.name] = bodies.joints.numpy()
    poses = matrix_to_axis_angle(rotations).flatten(1).numpy()
    labels = []
    for row, index in enumerate(indices):
        person_points = {name: values[row].astype(np.float32) for name, values in points.items()}
        keypoints = {}  # (J, 3): pixels, and the visible share of the surface around each joint
        for name, joints in person_points.items():
            if name == SMPL24.name:
                visible = visible_joint_shares(joints, index, view, maps)
            else:
                visible = landmark_visibility(body, name, joints, index, view, maps)
            pixels = view.project(torch.from_numpy(joints)).numpy()
            keypoints[name] = np.concatenate((pixels, visible[:, None]), 1).astype(np.float32)
        identity, clothing = names[index]
        labels.append(
            Person(
                identity=identity,
                clothing=clothing,
                activity=people[index].activities[frame],
                gender="neutral",
                body=body.name,
                box=_person_box(np.concatenate([k[:, :2] for k in keypoints.values()]), maps["persons"] == index + 1),
                poses=poses[row],
                betas=betas[row].numpy(),
                trans=trans[row].numpy(),
                hand_poses=people[index].hands,
                keypoints=keypoints,
                joints={
                    name: np.c_[joints, np.ones(len(joints), np.float32)] for name, joints in person_points.items()
                },
            )
        )
    return labels, indices


def _person_box(pixels: Array, mask: NDArray[np.bool_]) -> Array:
    """Return the box of the joints with a margin and of all pixels that show the person, within the image."""
    height, width = mask.shape
    low, high = pixels.min(0), pixels.max(0)
    margin = _BOX_MARGIN * (high - low).max()
    rows, columns = np.nonzero(mask)
    low = np.minimum(low - margin, (columns.min(), rows.min()))
    high = np.maximum(high + margin, (columns.max() + 1, rows.max() + 1))
    return np.concatenate((np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height)))).astype(np.float32)


# Degrees, standard deviation for each kind of joint. Together with the other errors, joints are wrong by about 85 mm
# relative to the hips, like the keypoint fit of rendered people (benchmarks/RESULTS.md).
_DEGREES = {"trunk": 4.0, "neck": 6.0, "head": 7.0, "collar": 5.0, "shoulder": 10.0, "elbow": 11.0, "wrist": 10.0}
_DEGREES |= {"hand": 6.0, "hip": 7.0, "knee": 8.5, "ankle": 7.0, "foot": 4.0}


# Further standard deviations.
_LEAN = 0.09  # radians, of the body about the image's horizontal axis, which mostly changes depth
_TURN = 0.05  # radians, of the body about the two other axes
_DEPTH = 0.05  # of the logarithm of the distance
_PIXELS = 3.0  # pixels, of the root
_BETAS = 0.6  # of the betas
_CORRELATION = 0.85  # of consecutive frames of a clip


def imperfect_fit(
    random: np.random.Generator, poses: Array, betas: Array, trans: Array, rest_pelvis: Array, focal: Array
) -> tuple[Array, Array, Array]:
    """Add errors of 0.2 to 1.8 times the usual size to the parameters of one person.

    Args:
        random: Source of the random numbers.
        poses: (T, 72) float, axis-angle. True poses in T frames.
        betas: (S,) float. True shape.
        trans: (T, 3) float, metres. True translation.
        rest_pelvis: (3,) float, metres. Pelvis of this shape at rest.
        focal: (T,) float, pixels. Focal lengths.

    Returns:
        poses (T, 72), betas (S,) and trans (T, 3), float32.
    """
    frames = len(poses)
    strength = random.uniform(0.2, 1.8)
    # The error of the pelvis is the error of the complete body.
    classes = (name if name in _DEGREES else joint_class(name) for name in SMPL24.joint_names)
    degrees = np.array([_DEGREES.get(name, 0.0) for name in classes])
    joint_noise = _random_walk(random, (frames, len(SMPL24), 3)) * np.deg2rad(degrees)[:, None]
    joint_noise *= strength
    pelvis = SMPL24.index("pelvis")
    body_turn = _random_walk(random, (frames, 3)) * strength * (_LEAN, _TURN, _TURN)
    true = Rotation.from_rotvec(np.reshape(poses, (-1, 3)))
    noisy = (true * Rotation.from_rotvec(joint_noise.reshape(-1, 3))).as_rotvec().reshape(frames, -1, 3)
    noisy[:, pelvis] = (Rotation.from_rotvec(body_turn) * Rotation.from_rotvec(poses[:, :3])).as_rotvec()
    root = np.asarray(trans, np.float64) + rest_pelvis
    scale = np.exp(_random_walk(random, (frames, 1)) * strength * _DEPTH)
    shift = _random_walk(random, (frames, 2)) * strength * _PIXELS * root[:, 2:] / focal[:, None]
    new_root = (root + np.concatenate((shift, np.zeros((frames, 1))), 1)) * scale
    shape = betas + strength * _BETAS * random.standard_normal(np.shape(betas))
    return (
        noisy.reshape(frames, -1).astype(np.float32),
        shape.astype(np.float32),
        (new_root - rest_pelvis).astype(np.float32),
    )


def _random_walk(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw standard normal numbers that are correlated along the first axis."""
    steps = random.standard_normal(shape)
    for t in range(1, shape[0]):
        steps[t] = _CORRELATION * steps[t - 1] + np.sqrt(1 - _CORRELATION**2) * steps[t]
    return steps
