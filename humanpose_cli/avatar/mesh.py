"""Reposing by mesh: the photo becomes a texture of the person's own body, which is drawn in the new pose.

First the steps (cutting the person out, trust in pixels, drawing), then `MeshReposer`, which does them for one person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.completion import WholeTexture, complete_texture
from humanpose_cli.avatar.dressing import (
    AlignmentOptions,
    DetectedLandmarks,
    DressedBody,
    SilhouetteOptions,
    align_to_keypoints,
    head_scale,
    silhouette_displacements,
)
from humanpose_cli.avatar.ground import SINKS, contact_shadow, ground_under, standing_height, tilt_of
from humanpose_cli.avatar.head import head_yaw, kept_head, shows_half_a_face
from humanpose_cli.avatar.inpainting import InpaintOptions, inpaint
from humanpose_cli.avatar.light import PhotoLight, light_of
from humanpose_cli.avatar.loose import PhotoCrop, crop_photo, loose_cloth
from humanpose_cli.avatar.shoes import shoe_offsets, wears_shoes
from humanpose_cli.avatar.stray_limbs import FOOT_LANDMARKS, image_of_strays, stray_joints, without_strays
from humanpose_cli.avatar.surface import (
    FOREARMS,
    TRUNK,
    BodyTexels,
    body_texels,
    parts_mask,
)
from humanpose_cli.avatar.untangle import mixed_up
from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import BakedTexture, PhotoSource, bake_photo, paint_vertices, pixel_trust
from humanpose_cli.core.blocks import in_blocks
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.boxes import NEAR
from humanpose_cli.rendering.shading import Scene, rasterise_view
from humanpose_cli.rendering.surfaces import Surface, Texture, vertex_normals

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


def arms_over_trunk(body: Body, vertices: Tensor, view: Camera) -> float:
    """Share of the trunk's image that forearms and hands lie over, 0…1."""
    small = view.scaled(min(1.0, 256 / max(view.size)))
    labels = body.part_labels.cpu().numpy()
    first = body.faces[:, 0].long().cpu().numpy()
    trunk = body.faces[torch.from_numpy(parts_mask(labels, TRUNK)[first])]
    arms = body.faces[torch.from_numpy(parts_mask(labels, FOREARMS)[first])]
    behind = rasterise_view(vertices[None], trunk, small).depth[0]
    before = rasterise_view(vertices[None], arms, small).depth[0]
    trunk_pixels = torch.isfinite(behind)
    covered = trunk_pixels & (before < behind)
    return float(covered.sum()) / max(float(trunk_pixels.sum()), 1.0)


def _film_grain(pixels: NDArray[np.uint8], trust: Array) -> float:
    """Standard deviation of the noise in the trusted part of a photo, 0…1 of full scale.

    The median absolute response of Immerkær's (1996) mask, which is blind to edges of first and second order.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    response = np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel))[trust > 0.5]
    if not len(response):
        return 0.0
    return float(np.median(response) / 0.6745 / 6 / 255)


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


Background = Literal["keep", "transparent"]


@dataclass(frozen=True, eq=False)
class FittedPerson:
    """One row of a fit file.

    poses            (72,) axis-angle, relative to parents, the pelvis maps body to camera axes
    betas            (S,); trans (3,) metres
    camera           the photo's
    segment_scales   (24,) or None for 1
    joint_confidence (24,) 0…1 or None for 1: limbs of low confidence neither hide others nor give a texture
    keypoints2d      (33, 3) the detector's x, y pixels of the photo and confidence, or None
    """

    poses: NDArray[np.floating]
    betas: NDArray[np.floating]
    trans: NDArray[np.floating]
    camera: Camera
    segment_scales: NDArray[np.floating] | None = None
    joint_confidence: NDArray[np.floating] | None = None
    keypoints2d: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class MeshOptions:
    """How a person is redrawn.

    supersampling   samples per pixel along each side
    texture_size    texels along each side; None: fine enough for the photo, 512 … 4096
    mask_margin     share of the person's height by which the mask is distrusted at its edge
    hole_margin     share of the person's height by which the removed person's hole exceeds the mask
    grain           give smooth made-up parts the photo's noise
    most_arms       share of the trunk that arms may cover in the photo without a warning
    least_visible   share of the surface that the photo should show
    least_confidence  joints of less confidence leave their limb out of the texture
    most_outside    share of the surface that may leave the photo, beside what does so in the photo, without a warning
    most_turn       degrees that the target may turn away from the side that the photo shows
    """

    supersampling: int = 2
    texture_size: int | None = None
    mask_margin: float = 0.008
    hole_margin: float = 0.018
    grain: bool = True
    most_arms: float = 0.06
    least_visible: float = 0.3
    least_confidence: float = 0.4
    most_outside: float = 0.01
    most_turn: float = 50.0
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    silhouette: SilhouetteOptions = field(default_factory=SilhouetteOptions)
    inpainting: InpaintOptions = field(default_factory=InpaintOptions)


@dataclass(frozen=True, eq=False)
class DrawnPerson:
    """An image of the person in another pose.

    image          (H, W, 3) uint8 RGB, or (H, W, 4) with straight alpha where the background is transparent
    warnings       sentences about what may look wrong
    visible_fraction  share of the body's surface that the photo showed
    """

    image: NDArray[np.uint8]
    warnings: tuple[str, ...]
    visible_fraction: float


_SIZES = (512, 768, 1024, 1536, 2048, 3072, 4096)  # few, so that the next photograph finds its texels made
_ON_THE_GROUND = 0.04  # metres between soles and ground that a fit's feet may be wrong
_LONGEST_FLIGHT = 1.0  # seconds that nobody stays in the air


class MeshReposer:
    """One person of one photo, ready to be drawn in any pose. The texture is baked once, at construction.

    photo        (H, W, 3) uint8 RGB
    mask         (H, W) 0…1 where the person is
    others       masks (H, W) of the other people in the photo
    background   'keep' the photo's, made up behind the person; 'transparent'; or an image (h, w, 3) uint8, which is
                 scaled and cropped to the photo's size
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
        options: MeshOptions | None = None,
    ) -> None:
        _check(photo, mask, others, background)
        self.photo, self.body, self.options = photo, body, options or MeshOptions()
        self.mask = np.asarray(mask, np.float32)
        nobody = np.zeros(self.mask.shape, np.float32)
        self.others = np.maximum.reduce([nobody, *(np.asarray(one, np.float32) for one in others)])
        self._background_choice = background
        self._elsewhere: list[str] = []  # joints whose limb the photo shows elsewhere than the fit
        self.view = replace(person.camera, size=photo.shape[1::-1])
        with torch.no_grad():
            self._read(person)

    def _read(self, person: FittedPerson) -> None:
        """Dress the body and bake its texture."""
        device = self.body.template.device
        self.rotations = axis_angle_to_matrix(_tensor(person.poses, device).reshape(len(SMPL24), 3))
        self.trans = _tensor(person.trans, device)
        scales = None if person.segment_scales is None else _tensor(person.segment_scales, device)
        self.dressed = DressedBody(self.body, _tensor(person.betas, device), scales)
        if person.keypoints2d is not None:
            self.dressed.scale_head(head_scale(self._landmarks(person.keypoints2d), self.options.alignment))
        naked = self.dressed.pose(self.rotations, self.trans)
        pixels_per_metre = self.view.focal / max(float(naked[:, 2].mean()), 0.1)
        aligned, crop = self._over_photo(person, naked, pixels_per_metre)
        reliable_faces = self.body.faces[(self._reliable > 0.5)[self.body.faces.long()].all(1)]
        self.pixels_high = min(pixels_per_metre * self.dressed.height, float(max(crop.box.shape)))
        self._made_up = self._begin_background()
        size = self.options.texture_size or _texture_size(self.body, pixels_per_metre)
        surface = body_texels(self.body, size)
        if wears_shoes(surface, aligned, reliable_faces, crop):
            offsets = shoe_offsets(self.body, self.dressed.rest().cpu().numpy())
            self.dressed.offsets = torch.from_numpy(offsets).to(naked)
            moved = aligned - naked
            naked = self.dressed.pose(self.rotations, self.trans)
            aligned = naked + moved
        self._dress(crop, aligned)
        vertices = self.dressed.pose(self.rotations, self.trans) + (aligned - naked)
        raster = rasterise_view(vertices[None], reliable_faces, crop.view)
        depth, face = (values[0].cpu().numpy() for values in (raster.depth, raster.face))
        trust = pixel_trust(crop.mask, depth, max(1.5, self.options.mask_margin * self.pixels_high))
        first = reliable_faces[:, 0].long().cpu().numpy()
        arm = parts_mask(self.body.part_labels.cpu().numpy(), FOREARMS)[first][np.maximum(face, 0)] & (face >= 0)
        shown = crop.mask >= 0.5
        trust[mixed_up(crop.pixels, arm & shown, (face >= 0) & ~arm & shown, 1 / pixels_per_metre)] = 0
        source = PhotoSource(crop.pixels, crop.mask, trust, depth, crop.view)
        normals = vertex_normals(vertices, self.body.faces)
        baked = bake_photo(source, vertices, normals, self.body.faces, surface.fine)
        self.light = self._light(surface, baked, normals)
        self._take_light_off(surface, baked, normals)
        self.loose = loose_cloth(self.body, self.dressed, self.rotations, self.trans, vertices, crop)
        self._head_yaw = head_yaw(self.dressed.posed(self.rotations, self.trans))
        grain = _film_grain(crop.pixels, trust) if self.options.grain else 0.0
        self.texture: WholeTexture = complete_texture(
            surface, baked, grain, mirror_face=not shows_half_a_face(self._head_yaw)
        )
        self.arms_over_trunk = arms_over_trunk(self.body, vertices, crop.view)
        dressed = self.dressed.pose(self.rotations, self.trans)
        self.down = tilt_of(dressed[None], self.body, self._standing)
        self.ground = standing_height(dressed, self.body, self._standing, self.down)
        self._outside = self._share_outside(dressed)

    def _over_photo(self, person: FittedPerson, naked: Tensor, pixels_per_metre: float) -> tuple[Tensor, PhotoCrop]:
        """The surface (V, 3) under the keypoints, and the photo around it; tells which vertices are where it is."""
        least, reliable, standing = self.options.least_confidence, person.joint_confidence, person.joint_confidence
        aligned, mask, hidden = naked, self.mask, self.others
        if person.keypoints2d is not None:
            options, landmarks = self.options.alignment, self._landmarks(person.keypoints2d)
            aligned = align_to_keypoints(naked, self.dressed, landmarks, options)
            reliable, self._elsewhere = without_strays(reliable, landmarks.stray), stray_joints(landmarks.stray)
            # A foot stays within reach of its ankle, so where only it is elsewhere it still tells of the ground.
            standing = without_strays(standing, landmarks.stray & ~FOOT_LANDMARKS)
            if landmarks.stray.any():
                width = options.stray_radius * self.dressed.height / 1.7 * pixels_per_metre
                strays = image_of_strays(person.keypoints2d, landmarks.stray, landmarks.confident, mask.shape, width)
                mask, hidden = np.where(strays, np.float32(0), mask), np.where(strays, np.float32(1), hidden)
        self._reliable, self._standing = (reliable_vertices(self.body, one, least) for one in (reliable, standing))
        return aligned, crop_photo(self.photo, self.view, mask, hidden, aligned)

    def _light(self, surface: BodyTexels, baked: BakedTexture, normals: Tensor) -> PhotoLight:
        """The photo's light, from what it shows of the body."""
        confidence = surface.reduce(baked.confidence)
        colours, weights = paint_vertices(surface.coarse, surface.rows, surface.reduce(baked.colour), confidence)
        return light_of(colours, normals.cpu().numpy(), surface.part_labels, weights)

    def _take_light_off(self, surface: BodyTexels, baked: BakedTexture, normals: Tensor) -> None:
        """Bring a texture, in place, to usual light, and leave out whatever is not where the fit says."""
        columns = torch.stack((self.light.on(normals), self._reliable.to(normals)), 1).cpu().numpy()
        values = surface.fine.interpolate(columns, self.body.faces)

        def change(rows: slice) -> None:
            light, reliable = values[rows, :, 0], values[rows, :, 1]
            baked.colour[rows] /= cv2.merge([np.where(light > 0, light, np.float32(1))] * 3)
            baked.confidence[rows] *= np.clip(2 * reliable - np.float32(0.6), 0, 1)
            baked.visible[rows] &= reliable > 0.5

        in_blocks(change, values.shape)

    def surfaces(self, rotations: Tensor, trans: Tensor, image: NDArray[np.float32] | None = None) -> list[Surface]:
        """The dressed body and the cloth beside it in a pose, with their textures.

        image  in place of the texture (S, S, C)
        """
        vertices, faces = self.dressed.pose(rotations, trans), self.body.faces
        texture = Texture(self.texture.image if image is None else image, self.body.uv, self.body.uv_faces)
        bright = self.light.on(vertex_normals(vertices, faces)) if image is None else None
        drawn = [Surface(vertices, faces, texture=texture, lit=False, brightness=bright)]
        if self.loose is not None:
            sheet, faces = self.loose.pose(self.dressed.posed(rotations, trans)), self.loose.faces
            colours = self.loose.image if image is None else np.ones((1, 1, image.shape[2]), np.float32)
            drawn.append(Surface(sheet, faces, texture=Texture(colours, self.loose.uv, faces), lit=False))
        return drawn

    def _landmarks(self, keypoints: NDArray[np.floating]) -> DetectedLandmarks:
        options = self.options.alignment
        return DetectedLandmarks(self.dressed, self.rotations, self.trans, keypoints, self.view, options)

    def _dress(self, crop: PhotoCrop, naked: Tensor) -> None:
        # The outline is followed on a reduced copy: its precision is a fraction of a pixel anyway.
        view = crop.view.scaled(min(1.0, 480 / self.pixels_high))
        size = view.size
        displacements = silhouette_displacements(
            self.dressed,
            naked,
            self.dressed.directions(self.rotations, self.trans),
            cv2.resize(crop.mask, size, interpolation=cv2.INTER_AREA),
            cv2.resize(crop.others.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0,
            view,
            reliable=(self._reliable > 0.5).cpu().numpy(),
            options=self.options.silhouette,
        )
        self.dressed.displacements = torch.from_numpy(displacements).to(naked)

    @cached_property
    def background(self) -> NDArray[np.uint8] | None:
        """What stands behind the person (H, W, 3); None for transparent."""
        if isinstance(self._background_choice, np.ndarray):
            return cover_image(self._background_choice, self.view.size[::-1])
        return None if self._made_up is None else self._made_up.result()

    def _begin_background(self) -> Future[NDArray[np.uint8]] | None:
        """The photo without the person, where it is asked for, made in a thread beside the texture."""
        if isinstance(self._background_choice, np.ndarray) or self._background_choice == "transparent":
            return None
        someone = (self.others > 0.5) & ~self.hole
        pool = ThreadPoolExecutor(1, "background")
        try:
            return pool.submit(inpaint, self.photo, self.hole, someone, self.options.inpainting)
        finally:
            pool.shutdown(wait=False)

    @property
    def silhouette(self) -> NDArray[np.float32]:
        """(H, W) 0…1: how surely a pixel of the photo shows this person; 0 where it rather shows another."""
        return np.where(self.mask >= self.others, self.mask, np.float32(0))

    @cached_property
    def hole(self) -> NDArray[np.bool_]:
        """Pixels (H, W) of the photo that show this person or a fringe around them, and nobody else."""
        radius = max(1.0, self.options.hole_margin * self.pixels_high)
        own = self.silhouette > 0.3
        if not own.any():
            return own
        someone = (self.others > 0.5) & ~own
        away = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, 5)
        return (away <= radius) & ~someone

    def render(self, rotations: Tensor, trans: Tensor | None = None) -> DrawnPerson:
        """The image with the person in another pose.

        rotations  (24, 3, 3) relative to parents, the pelvis mapping body to camera axes
        trans      (3,) metres; None: the pelvis stays where it is in the photo
        """
        with torch.no_grad():
            rotations = rotations.to(self.rotations)
            trans = self.trans if trans is None else trans.to(self.trans)
            rotations = kept_head(rotations, head_yaw(self.dressed.posed(rotations, trans)), self._head_yaw)
            surfaces = self.surfaces(rotations, trans)
            outside = self._share_outside(surfaces[0].vertices)
            plate = self.backdrop(rotations, trans)
            image = draw_person(surfaces, self.view, plate, self.options.supersampling)
            warnings = tuple(self.warnings(rotations, trans, outside))
        return DrawnPerson(image, warnings, self.texture.visible_fraction)

    def render_all(self, poses: Sequence[tuple[Tensor, Tensor]]) -> list[DrawnPerson]:
        """The images with the person in several poses (rotations, trans)."""
        return [self.render(*pose) for pose in poses]

    def set_down(self, rotations: Tensor, trans: Tensor, frame_rate: float) -> Tensor:
        """The translations (T, 3) that put a motion onto the photo's ground: what touches the motion's own ground (see
        `ground_under`) touches the photo's.

        A single pose is put there if it stands, as is a motion too short to tell contacts if it stands in some frame.
        Others, and a single pose whose feet are about there, keep their height: a pelvis is known more exactly than a
        sole, and who does not stand may leap or sit.
        """
        if self.ground is None:
            return trans
        down = self.down.to(self.trans)
        with torch.no_grad():
            poses = zip(rotations.to(self.rotations), trans.to(self.trans), strict=True)
            vertices = (self.dressed.pose(*pose) for pose in poses)  # one by one: a long motion's fill the memory
            told = [
                (self.ground - float((body @ down).max()), standing_height(body, self.body, down=down))
                for body in vertices
            ]
        heights, soles = np.array([lowest for lowest, _ in told]), [sole for _, sole in told if sole is not None]
        if len(heights) == 1:
            lift = soles[0] - self.ground if soles else 0.0
            lifts = np.array([lift if abs(lift) >= _ON_THE_GROUND else 0.0])
        elif soles or len(heights) >= _LONGEST_FLIGHT * frame_rate:
            lifts = -ground_under(heights, frame_rate)
        else:
            lifts = np.zeros(len(heights))
        lifts = np.maximum(lifts, -SINKS - heights)
        return trans - torch.from_numpy(lifts).to(trans)[:, None] * down.to(trans)

    def backdrop(self, rotations: Tensor, trans: Tensor) -> NDArray[np.uint8] | None:
        """The background (H, W, 3) behind a pose, with its shadow where it is the photo's; None for transparent."""
        keep = isinstance(self._background_choice, str)
        return (
            self.shadowed(self.background, rotations, trans)
            if keep and self.background is not None
            else self.background
        )

    def shadowed(self, plate: NDArray[np.uint8], rotations: Tensor, trans: Tensor) -> NDArray[np.uint8]:
        """The photo's background (H, W, 3), darkened in a copy where the pose's feet stand on the ground."""
        with torch.no_grad():
            vertices = self.dressed.pose(rotations.to(self.rotations), trans.to(self.trans))
        shadow = None if self.ground is None else contact_shadow(vertices, self.ground, self.view, self.down)
        if shadow is None:
            return plate
        box, light = shadow
        darker = plate.copy()
        darker[box.slices] = (plate[box.slices] * light[..., None] + np.float32(0.5)).astype(np.uint8)
        return darker

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

    def warnings(self, rotations: Tensor, trans: Tensor, outside: float = 0.0) -> Iterator[str]:
        """Sentences on what may look wrong in a pose. outside: share of the surface outside the photo."""
        options, visible = self.options, self.texture.visible_fraction
        if self.arms_over_trunk > options.most_arms:
            yield (
                f"arms cross the body in the photo (they hide {self.arms_over_trunk:.0%} of the trunk): their "
                "image may stay on the clothes"
            )
        if self._elsewhere:
            limbs = " and ".join(f"the {joint.replace('_', ' ')}" for joint in self._elsewhere)
            yield f"the photo shows {limbs} elsewhere than the fit: it is made up"
        if visible < options.least_visible:
            yield f"the photo shows only {visible:.0%} of the person's surface: the rest is made up"
        if outside > self._outside + options.most_outside:
            yield f"{outside:.0%} of the person leaves the image in this pose"
        if (turn := self.turn(rotations, trans)) > options.most_turn:
            yield f"the target turns {turn:.0f}° away from the side that the photo shows: the rest is made up"


def reliable_vertices(body: Body, joint_confidence: NDArray[np.floating] | None, least: float) -> Tensor:
    """Share (V,) of each vertex that belongs to parts whose two ends both have confidence `least`.

    joint_confidence  (24,) 0…1, or None for 1
    """
    bones = body.bone_indices.long()
    if joint_confidence is None:
        return torch.ones(len(bones), device=bones.device)
    reliable = np.asarray(joint_confidence) >= least
    trunk = SMPL24.indices(TRUNK)
    # A trunk cut by the image's edge is still visible where it is in the image.
    reliable[trunk] |= reliable[trunk].any()
    both = reliable.copy()
    for upper, lower in SMPL24.bones:
        both[upper] &= reliable[lower] or SMPL24.joint_names[upper] in TRUNK
    return (torch.from_numpy(both).to(bones.device)[bones] * body.bone_weights).sum(1)


def _check(
    photo: NDArray[np.uint8],
    mask: NDArray[np.floating],
    others: Sequence[NDArray[np.floating]],
    background: str | NDArray[np.uint8],
) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise UsageError("photo", "is not RGB", expected="(H, W, 3) uint8", got=f"{photo.shape} {photo.dtype}")
    for one in (mask, *others):
        if one.shape != photo.shape[:2]:
            raise UsageError("mask", "has another size", expected=str(photo.shape[:2]), got=str(one.shape))
    if isinstance(background, str) and background not in ("keep", "transparent"):
        raise UsageError("background", "is unknown", expected="keep, transparent or an image", got=background)


def _tensor(values: NDArray[np.floating], device: torch.device) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(device)


def _texture_size(body: Body, pixels_per_metre: float) -> int:
    """Texels along each side, of `_SIZES`: also where the atlas is coarse, about as fine as the photo."""
    corners, flat = body.template[body.faces.long()], body.uv[body.uv_faces.long()]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    a, b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    widths_per_metre = ((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs() / area.clamp_min(1e-12)).sqrt()
    coarse = float(widths_per_metre[area > area.median()].quantile(0.1))
    wanted = max(pixels_per_metre, 1) / max(coarse, 1e-3)
    return min(_SIZES, key=lambda size: abs(np.log(size / wanted)))


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
