"""Reposing by mesh: the photo becomes a texture of the person's own body, which is drawn in the new pose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from humanpose_cli.avatar.doubts import Doubt
from humanpose_cli.avatar.dressing import LandmarkShifts, align_to_keypoints
from humanpose_cli.avatar.ground import contact_shadow, ground_under, standing_height, tilt_of
from humanpose_cli.avatar.head import head_yaw, kept_head, shows_face
from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.props import find_props
from humanpose_cli.avatar.stages import (
    FittedPerson,
    PhotographedPerson,
    align,
    bake,
    complete,
    dress,
    take_light_off,
)
from humanpose_cli.avatar.surface import FOREARMS, TRUNK, parts_mask
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.errors import UsageError
from humanpose_cli.rendering.boxes import NEAR, Box
from humanpose_cli.rendering.shading import Scene, rasterise_view
from humanpose_cli.rendering.surfaces import Surface, Texture, vertex_normals

Background = Literal["keep", "transparent"]
Props = Literal["carry", "keep", "remove"]


def arms_over_trunk(body: Body, vertices: Tensor, view: Camera) -> float:
    """Share of the trunk's image that forearms and hands lie over, 0…1."""
    small = view.scaled(min(1.0, 256 / max(view.size)))
    labels = body.part_labels.cpu().numpy()
    first = body.faces[:, 0].long().cpu().numpy()
    depths = []
    for names in (TRUNK, FOREARMS):
        faces = body.faces[torch.from_numpy(parts_mask(labels, names)[first])]
        depths.append(rasterise_view(vertices[None], faces, small).depth[0])
    trunk, front = depths
    shown = torch.isfinite(trunk)
    return float((shown & (front < trunk)).sum()) / max(float(shown.sum()), 1.0)


def draw_person(
    surfaces: Sequence[Surface], view: Camera, background: NDArray[np.uint8] | None, supersampling: int
) -> NDArray[np.uint8]:
    """The person over the background (H, W, 3), or on nothing: (H, W, 3) or (H, W, 4) uint8."""
    width, height = view.size
    scene = Scene(surfaces, view, supersampling=supersampling)
    image = np.zeros((height, width, 4), np.uint8) if background is None else background.copy()
    for tile in scene.tiles():
        layer = scene.draw(tile)
        target = image[tile.slices]
        colour, alpha = layer.colour, layer.alpha[..., None]
        if background is None:
            straight = colour / np.maximum(alpha, np.float32(1e-6))
            target[..., :3] = np.clip(straight * 255 + 0.5, 0, 255).astype(np.uint8)
            target[..., 3:] = np.clip(alpha * 255 + 0.5, 0, 255).astype(np.uint8)
        else:
            mixed = target.astype(np.float32) * (1 - alpha) + colour * np.float32(255)
            target[...] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return image


@dataclass(frozen=True, eq=False)
class DrawnPerson:
    """An image of the person in another pose.

    image          (H, W, 3) uint8 RGB, or (H, W, 4) with straight alpha where the background is transparent
    doubts         what may look wrong
    visible_fraction  share of the body's surface that the photo showed
    """

    image: NDArray[np.uint8]
    doubts: tuple[Doubt, ...]
    visible_fraction: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """The doubts as sentences."""
        return tuple(doubt.sentence for doubt in self.doubts)


class TargetPose(NamedTuple):
    """A pose to draw: rotations (24, 3, 3) relative to parents, trans (3,) metres; shifts of `MeshReposer.surfaces`."""

    rotations: Tensor
    trans: Tensor
    shifts: Tensor | None = None


class MeshReposer:
    """One person of one photo, ready to be drawn in any pose. The texture is baked once, at construction, by the stages
    of `avatar.stages`, of which `avatar` is the last.

    photo        (H, W, 3) uint8 RGB
    mask         (H, W) 0…1 where the person is
    others       masks (H, W) of the other people in the photo
    background   'keep' the photo's, made up behind the person; 'transparent'; or an image (h, w, 3) uint8, which is
                 scaled and cropped to the photo's size
    props        'carry' moves long things with the hands that hold them, 'keep' leaves them in the background, 'remove'
                 makes up the background there
    """

    def __init__(
        self,
        photo: NDArray[np.uint8],
        mask: NDArray[np.floating],
        person: FittedPerson,
        body: Body,
        *,
        others: Sequence[NDArray[np.floating]] = (),
        background: Background | NDArray[np.uint8] = "keep",
        props: Props = "carry",
        options: MeshOptions | None = None,
    ) -> None:
        if isinstance(background, str) and background not in ("keep", "transparent"):
            raise UsageError("background", "is unknown", expected="keep, transparent or an image", got=background)
        self.photographed = photographed = PhotographedPerson.of(photo, mask, person, others)
        self.photo, self.mask, self.others, self.view = photo, photographed.mask, photographed.others, photographed.view
        self.body, self.options = body, options or MeshOptions()
        self._background_choice = background
        with torch.no_grad():
            aligned = align(photographed, body, self.options)
            self.rotations, self.trans, self._stray = aligned.rotations, aligned.trans, aligned.stray
            self._height_pixels = aligned.height_pixels
            found = find_props(photographed, aligned, self.options.props) if props != "keep" else ()
            self._gone, self.props = [prop.pixels for prop in found], found if props == "carry" else ()
            self._made_up = self._begin_background()
            dressed = dress(aligned, self.options)
            self.avatar = complete(take_light_off(bake(dressed, self.options), self.options), self.options)
            self.dressed, self.texture = dressed.body, self.avatar.texture
            # Of the body itself: close clothes reach as far out as arms that hang beside them.
            self.arms_over_trunk = arms_over_trunk(body, aligned.posed, aligned.crop.view)
            vertices, ground = self.dressed.pose(self.rotations, self.trans), self.options.ground
            joints = self.dressed.posed(self.rotations, self.trans).joints
            self.down = tilt_of(vertices[None], joints, body, aligned.standing, ground)
            self.ground = standing_height(vertices, body, aligned.standing, self.down, ground)
            self._outside = self._share_outside(vertices)

    def surfaces(
        self,
        rotations: Tensor,
        trans: Tensor,
        image: NDArray[np.float32] | None = None,
        shifts: Tensor | None = None,
    ) -> list[Surface]:
        """The dressed body and the cloth beside it in a pose, with their textures.

        image   in place of the texture (S, S, C)
        shifts  (33, 2) metres in the image plane: of landmarks, see `reposing.keypoint_shifts`
        """
        vertices, faces = self.dressed.pose(rotations, trans), self.body.faces
        moved = torch.zeros_like(vertices) if shifts is None else self._moved(vertices, rotations, trans, shifts)
        vertices = vertices + moved
        texture = Texture(self.texture.image if image is None else image, self.body.uv, self.body.uv_faces)
        bright = self.avatar.light.on(vertex_normals(vertices, faces)) if image is None else None
        drawn = [Surface(vertices, faces, texture=texture, lit=False, brightness=bright)]
        skirt, loose = self.avatar.dressed.skirt, self.avatar.dressed.loose
        if skirt is not None:
            tube, faces = skirt.pose(self.dressed.posed(rotations, trans)) + moved.mean(0), skirt.faces
            colours = skirt.image if image is None else np.ones((1, 1, image.shape[2]), np.float32)
            drawn.append(Surface(tube, faces, texture=Texture(colours, skirt.uv, faces), lit=False))
        for prop in self.props:
            thing = prop.pose(self.dressed.posed(rotations, trans)) + moved[self._hands[prop.side]].mean(0)
            colours = prop.image if image is None else np.ones((1, 1, image.shape[2]), np.float32)
            drawn.append(Surface(thing, prop.faces, texture=Texture(colours, prop.uv, prop.faces), lit=False))
        if loose is not None:
            sheet, faces = loose.pose(self.dressed.posed(rotations, trans)) + moved[self._beneath_cloth], loose.faces
            colours = loose.image if image is None else np.ones((1, 1, image.shape[2]), np.float32)
            drawn.append(Surface(sheet, faces, texture=Texture(colours, loose.uv, faces), lit=False))
        return drawn

    def _moved(self, vertices: Tensor, rotations: Tensor, trans: Tensor, shifts: Tensor) -> Tensor:
        """How far (V, 3) metres the shifts of landmarks move the surface; they do not scale the head."""
        points, shifts = self.dressed.landmark_points(rotations, trans), shifts.to(vertices)
        landmarks = LandmarkShifts(points, shifts, torch.isfinite(shifts).all(1))
        options = replace(self.options.alignment, head_scales=(1.0, 1.0))
        return align_to_keypoints(vertices, self.dressed, landmarks, options) - vertices

    @cached_property
    def _hands(self) -> dict[str, Tensor]:
        """The vertices of each hand."""
        labels = self.body.part_labels
        return {side: (labels == SMPL24.index(f"{side}_hand")).nonzero()[:, 0] for side in ("left", "right")}

    @cached_property
    def _beneath_cloth(self) -> Tensor:
        """The vertex (N,) of the body that is nearest to each point of the cloth beside it, at rest."""
        loose = self.avatar.dressed.loose
        assert loose is not None
        nearest = KDTree(self.dressed.rest().cpu().numpy()).query(loose.rest.cpu().numpy())[1]
        return torch.from_numpy(nearest).to(self.trans.device)

    @cached_property
    def background(self) -> NDArray[np.uint8] | None:
        """What stands behind the person (H, W, 3); None for transparent."""
        if isinstance(self._background_choice, np.ndarray):
            return cover_image(self._background_choice, self.view.size[::-1])
        return None if self._made_up is None else self._made_up.result()

    def _begin_background(self) -> Future[NDArray[np.uint8]] | None:
        """The photo without the person, where it is wanted, made in a thread beside the texture."""
        if isinstance(self._background_choice, np.ndarray) or self._background_choice == "transparent":
            return None
        others = (self.others > 0.5) & ~self.hole
        pool = ThreadPoolExecutor(1, "background")
        try:
            return pool.submit(inpaint, self.photo, self.hole, others, self.options.inpainting)
        finally:
            pool.shutdown(wait=False)

    def reframed(self, view: Camera, background: NDArray[np.uint8] | None) -> MeshReposer:
        """The same person drawn into another frame: the photo's camera with another principal point and size.

        background  (h, w, 3) of the frame; None for transparent
        """
        other = copy(self)
        other.view, other.__dict__["background"] = view, background
        return other

    @property
    def silhouette(self) -> NDArray[np.float32]:
        """(H, W) 0…1: confidence that a pixel of the photo shows this person; 0 where another is likelier."""
        return np.where(self.mask >= self.others, self.mask, np.float32(0))

    @cached_property
    def hole(self) -> NDArray[np.bool_]:
        """Pixels (H, W) of the photo that show this person or a fringe around them, and no other person."""
        radius = max(1.0, self.options.hole_margin * self._height_pixels)
        person = self.silhouette > 0.3
        if not person.any():
            return person
        others = (self.others > 0.5) & ~person
        away = cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, 5)
        hole = (away <= radius) & ~others
        for pixels in self._gone:
            hole |= (cv2.dilate(pixels.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & (self.others <= 0.5)
        return hole

    def render(self, rotations: Tensor, trans: Tensor | None = None, shifts: Tensor | None = None) -> DrawnPerson:
        """The image with the person in another pose.

        rotations  (24, 3, 3) relative to parents, the pelvis mapping body to camera axes
        trans      (3,) metres; None: the pelvis stays where it is in the photo
        shifts     as of `surfaces`
        """
        with torch.no_grad():
            rotations = rotations.to(self.rotations)
            trans = self.trans if trans is None else trans.to(self.trans)
            rotations = self._with_kept_head(rotations, trans)
            surfaces = self.surfaces(rotations, trans, shifts=shifts)
            outside = self._share_outside(surfaces[0].vertices)
            plate = self.backdrop(rotations, trans)
            image = draw_person(surfaces, self.view, plate, self.options.supersampling)
            doubts = tuple(self.doubts(rotations, trans, outside))
        return DrawnPerson(image, doubts, self.texture.visible_fraction)

    def render_all(self, poses: Sequence[TargetPose]) -> list[DrawnPerson]:
        """The images with the person in several poses."""
        return [self.render(*pose) for pose in poses]

    def depth(self, pose: TargetPose) -> NDArray[np.float32]:
        """Metres (H, W) along the camera's axis of what `render` draws; 0 where nothing is drawn."""
        with torch.no_grad():
            rotations, trans = pose.rotations.to(self.rotations), pose.trans.to(self.trans)
            nearest = np.full(self.view.size[::-1], np.inf, np.float32)
            for surface in self.surfaces(self._with_kept_head(rotations, trans), trans, shifts=pose.shifts):
                raster = rasterise_view(surface.vertices[None], surface.faces, self.view)
                np.minimum(nearest, raster.depth[0].cpu().numpy(), out=nearest)
        # Pixels that the surface covers in part have the depth of their neighbours.
        around = cv2.erode(nearest, np.ones((3, 3), np.uint8))
        nearest = np.where(np.isfinite(nearest), nearest, around)
        return np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)

    def _with_kept_head(self, rotations: Tensor, trans: Tensor) -> Tensor:
        yaw = head_yaw(self.dressed.posed(rotations, trans))
        return kept_head(rotations, yaw, self.avatar.head_yaw, self.options.head)

    def set_down(self, rotations: Tensor, trans: Tensor, frame_rate: float) -> Tensor:
        """The translations (T, 3) that put a motion onto the photo's ground: what touches the motion's own ground (see
        `ground_under`) touches the photo's.

        A single pose is put there if it stands, as is a motion too short to show contacts if it stands in some frame.
        Others, and a single pose whose feet are about there, keep their height: a pelvis is known more exactly than a
        sole, and a person who does not stand may leap or sit.
        """
        if self.ground is None:
            return trans
        down, options = self.down.to(self.trans), self.options.ground
        lowest, soles = [], []
        with torch.no_grad():
            # One by one: a long motion's vertices fill the memory.
            for pose in zip(rotations.to(self.rotations), trans.to(self.trans), strict=True):
                vertices = self.dressed.pose(*pose)
                lowest.append(self.ground - float((vertices @ down).max()))
                sole = standing_height(vertices, self.body, down=down, options=options)
                if sole is not None:
                    soles.append(sole)
        heights = np.array(lowest)
        lifts = np.zeros(len(heights))
        if len(heights) == 1:
            lift = soles[0] - self.ground if soles else 0.0
            lifts[0] = lift if abs(lift) >= options.max_error else 0.0
        elif soles or len(heights) >= options.max_flight * frame_rate:
            lifts = -ground_under(heights, frame_rate, options)
        lifts = np.maximum(lifts, -options.sinking - heights)
        return trans - torch.from_numpy(lifts).to(trans)[:, None] * down.to(trans)

    def backdrop(self, rotations: Tensor, trans: Tensor) -> NDArray[np.uint8] | None:
        """The background (H, W, 3) behind a pose, with its shadow where it is the photo's; None for transparent."""
        if isinstance(self._background_choice, str) and self.background is not None:
            return self.shadowed(self.background, rotations, trans)
        return self.background

    def shadowed(self, plate: NDArray[np.uint8], rotations: Tensor, trans: Tensor) -> NDArray[np.uint8]:
        """The photo's background (H, W, 3), darkened in a copy where the pose's feet stand on the ground."""
        shadow = self.shadow(rotations, trans)
        if shadow is None:
            return plate
        box, light = shadow
        darker = plate.copy()
        darker[box.slices] = (plate[box.slices] * light[..., None] + np.float32(0.5)).astype(np.uint8)
        return darker

    def shadow(self, rotations: Tensor, trans: Tensor) -> tuple[Box, NDArray[np.float32]] | None:
        """Where the feet of a pose darken the ground, and the share of light that it keeps; see `contact_shadow`."""
        if self.ground is None:
            return None
        with torch.no_grad():
            vertices = self.dressed.pose(rotations.to(self.rotations), trans.to(self.trans))
        return contact_shadow(vertices, self.ground, self.view, self.down, self.options.ground)

    def turn(self, rotations: Tensor, trans: Tensor) -> float:
        """Degrees between the sides of the trunk that face the camera in the photo and in the target."""
        before = self._facing_side(self.rotations, self.trans)
        after = self._facing_side(rotations, trans)
        return float(torch.rad2deg(torch.arccos((before * after).sum().clamp(-1, 1))))

    def _facing_side(self, rotations: Tensor, trans: Tensor) -> Tensor:
        absolute = self.body.pose(rotations[None], self.dressed.betas, vertices=False).rotations[0]  # body to camera
        towards_camera = torch.nn.functional.normalize(-trans, dim=0)
        sides = [absolute[SMPL24.index(name)].mT @ towards_camera for name in ("pelvis", "spine3")]
        return torch.nn.functional.normalize(sides[0] + sides[1], dim=0)

    def shows(self, rotations: Tensor, trans: Tensor) -> bool:
        """Whether any of T poses lies in the photo with a hundredth of its surface or more."""
        with torch.no_grad():
            poses = zip(rotations.to(self.rotations), trans.to(self.trans), strict=True)
            return any(self._share_outside(self.dressed.pose(*pose)) < 0.99 for pose in poses)

    def _share_outside(self, vertices: Tensor) -> float:
        """Share of the surface that lies outside the photo."""
        pixels = self.view.project(vertices).cpu().numpy()
        outside = ((pixels < 0) | (pixels > self.view.size)).any(1) | (vertices[:, 2].cpu().numpy() < NEAR)
        return float(outside @ self.dressed.operator.areas / self.dressed.operator.areas.sum())

    def doubts(self, rotations: Tensor, trans: Tensor, outside: float = 0.0) -> Iterator[Doubt]:
        """What may look wrong in a pose. outside: share of the surface outside the photo."""
        options, visible, crossed = self.options, self.texture.visible_fraction, self.arms_over_trunk
        if crossed > options.max_arm_share:
            sentence = (
                f"arms cross the body in the photo (they hide {crossed:.0%} of the trunk): their image may stay on the "
                "clothes"
            )
            yield Doubt("arms", crossed, "arms cross the body", sentence)
        if self._stray:
            names = [joint.replace("_", " ") for joint in self._stray]
            sentence = (
                f"the photo shows {' and '.join(f'the {name}' for name in names)} elsewhere than the fit: it is made up"
            )
            yield Doubt("stray", len(names), f"{' and '.join(names)} elsewhere", sentence)
        for prop in self.props:
            sentence = f"a thing of {prop.length:.1f} m in the {prop.side} hand is drawn with the hand; see `props`"
            yield Doubt("props", prop.length, f"thing in the {prop.side} hand", sentence)
        yaw = head_yaw(self.dressed.posed(rotations, trans))
        if shows_face(yaw, options.head) and not shows_face(self.avatar.head_yaw, options.head):
            sentence = "the photo does not show the face: it is made up without features"
            yield Doubt("face", math.pi - abs(yaw), "no face in the photo", sentence)
        if visible < options.min_visible:
            sentence = f"the photo shows only {visible:.0%} of the person's surface: the rest is made up"
            yield Doubt("hidden", 1 - visible, f"{1 - visible:.0%} hidden in the photo", sentence)
        if outside > self._outside + options.max_outside:
            sentence = f"{outside:.0%} of the person leaves the image in this pose; `canvas=fit` grows it"
            yield Doubt("outside", outside, "leaves the image", sentence)
        if (turn := self.turn(rotations, trans)) > options.max_turn:
            sentence = f"the target turns {turn:.0f}° away from the side that the photo shows: the rest is made up"
            yield Doubt("turned", turn, f"turned {turn:.0f}°", sentence)


def cover_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image scaled to fill `size` (height, width), cropped round its middle."""
    height, width = size
    scale = max(height / image.shape[0], width / image.shape[1])
    new = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    scaled = cv2.resize(image, new, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (new[1] - height) // 2, (new[0] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width, :3])


def mesh_drawing(mesh: MeshReposer, rotations: Tensor, trans: Tensor, crop: Crop | None = None) -> NDArray[np.float32]:
    """(5, S, S): colours −1 to 1, how much of the pixel is the person's, how much of that the photograph showed.

    rotations, trans  of the target, as `MeshReposer.render` takes them
    crop              the part of the photo that is drawn; None draws the photo's own frame
    """
    view = mesh.view if crop is None else mesh.view.cropped(crop)
    with torch.no_grad():
        shown = np.repeat(mesh.texture.image[..., 3:], 3, 2)
        drawn = []
        for image in (None, shown):
            surfaces = mesh.surfaces(rotations.to(mesh.rotations), trans.to(mesh.trans), image)
            pixels = draw_person(surfaces, view, None, mesh.options.supersampling)
            drawn.append(pixels.astype(np.float32) / np.float32(255))
    solid = drawn[0][..., 3:]
    colours = np.where(solid > 0, 2 * drawn[0][..., :3] - 1, np.float32(0))
    return np.ascontiguousarray(np.concatenate((colours, solid, drawn[1][..., :1] * (solid > 0)), 2).transpose(2, 0, 1))
