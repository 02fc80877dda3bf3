"""From a photograph and a fit to a textured body, in stages: aligned → dressed → baked → lit → completed.

Each stage is a frozen record that a function makes from the previous stage:

    aligned = align(photographed, body)    # the fitted surface under the keypoints, and the photo around it
    dressed = dress(aligned, options)      # widened to the mask, with shoes and garments
    baked = bake(dressed, options)         # the photo's colours on the visible surface
    lit = take_light_off(baked)            # the same colours without the photo's light
    completed = complete(lit)              # a texture without gaps

Shoes are recognised before the silhouette is followed, colours are looked up on the widened surface, and only colours
without light can be mirrored. A stage keeps the earlier stages that drawing needs, but not their textures of up to
300 MB.

The numbers of a stage are constants of its module. Lengths marked "at 1.7 m" are scaled to the person's height. Colours
are 0 to 1 of the photograph's white; their distance is the distance of `colours.cloth_features`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.colours import among_colours
from humanpose_cli.avatar.completion import CHEST, CompleteTexture, complete_texture, skin_tone
from humanpose_cli.avatar.dressing import (
    FOOT_LANDMARKS,
    DetectedLandmarks,
    DressedBody,
    align_to_keypoints,
    head_scale,
    image_of_strays,
    silhouette_displacements,
    stray_joints,
    without_strays,
)
from humanpose_cli.avatar.frame_texture import TextureSamples
from humanpose_cli.avatar.garment import Garment
from humanpose_cli.avatar.garment_labels import garments_mask
from humanpose_cli.avatar.head import head_yaw, shows_half_a_face
from humanpose_cli.avatar.light import PhotoLight, light_of, limb_light
from humanpose_cli.avatar.limbs import FoldedForearms, PartsInPhoto, folded_forearms
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.photo_crop import PhotoCrop, crop_photo
from humanpose_cli.avatar.piece import cover_of, cut_top, texels_of_top, top_edges
from humanpose_cli.avatar.ring import Ring
from humanpose_cli.avatar.shoes import photo_colours, shoe_offsets, wears_shoes
from humanpose_cli.avatar.skirt import SkirtPhoto
from humanpose_cli.avatar.surface import FOREARMS, HANDS, LEGS, SLEEVES, TRUNK, BodyTexels, body_texels
from humanpose_cli.avatar.worn import Worn, clothed_parts
from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.body.cloth import TopEdges
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.body.texture import BakedTexture, PhotoSource, bake_photo, paint_vertices, pixel_trust
from humanpose_cli.core.blocks import in_blocks, made_in_threads
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

_STRAY_RADIUS = 0.08  # metres at 1.7 m: half the width of a clothed stray limb
_MIN_CONFIDENCE = 0.4  # of joints whose limb is in the texture
_OUTLINE_HEIGHT = 480  # pixels: the person's height in the image whose outline the body follows
_MASK_MARGIN = 0.008  # heights of the person: width of the mask's edge without trust
_RIM = 3  # margins: width of a part's rim, which is trusted only in colours that the part has further inside
_HEM_MARGINS = (0.03, 0.15)  # metres below a hem whose pixels may still show cloth, the second ones if they look so
_MAX_BESIDE = 0.08  # share of the mask off the body, as of an open coat, beside which no top is cut
_FULL_WEIGHT = 1.0  # of many frames: a texel that one frame shows is as certain as in a photograph
_HAIR_RIM = 7  # pixels across: hair at its border is mixed with its surroundings
_MIN_HAIR = 0.0004  # of the crop's height squared: hair that decides the colour of a hidden scalp
_SIZES = (512, 768, 1024, 1536, 2048, 3072, 4096)  # few, so that the next photograph finds its texels made


@dataclass(frozen=True, eq=False)
class FittedPerson:
    """One row of a fit file.

    Attributes:
        poses: (72,) float, radians. Axis-angle relative to parents; the pelvis maps body to camera axes.
        betas: (S,) float. The shape.
        trans: (3,) float, metres.
        camera: The photo's camera.
        segment_scales: (24,) float; None for 1.
        joint_visibility: (24,) float, 0…1; None for 1. Hidden limbs hide nothing and give no texture.
        keypoints2d: (33, 3) float. The detector's x, y in pixels of the photo, and confidence; None without.
        hand_poses: (2, 15, 3) float, radians. Axis-angle of the fingers; None for the template's hands.
    """

    poses: NDArray[np.floating]
    betas: NDArray[np.floating]
    trans: NDArray[np.floating]
    camera: Camera
    segment_scales: NDArray[np.floating] | None = None
    joint_visibility: NDArray[np.floating] | None = None
    keypoints2d: NDArray[np.floating] | None = None
    hand_poses: NDArray[np.floating] | None = None


@dataclass(frozen=True, eq=False)
class PhotographedPerson:
    """A person in a photo, from which the stages begin. `PhotographedPerson.of` makes it.

    Attributes:
        photo: (H, W, 3) uint8 RGB.
        mask: (H, W) float32, 0…1. The person.
        others: (H, W) float32, 0…1. All other people.
        fit: The person's fitted body.
        view: The fit's camera, with the photo's size.
    """

    photo: NDArray[np.uint8]
    mask: Array
    others: Array
    fit: FittedPerson
    view: Camera

    @classmethod
    def of(
        cls,
        photo: NDArray[np.uint8],
        mask: NDArray[np.floating],
        fit: FittedPerson,
        others: Sequence[NDArray[np.floating]] = (),
    ) -> PhotographedPerson:
        """Combine the masks of other people.

        Args:
            photo: (H, W, 3) uint8 RGB.
            mask: (H, W) float, 0…1. The person.
            fit: The person's fitted body.
            others: (H, W) float, 0…1, each. The other people.
        """
        empty = np.zeros(mask.shape, np.float32)
        union = np.maximum.reduce([empty, *(np.asarray(layer, np.float32) for layer in others)])
        view = replace(fit.camera, size=photo.shape[1::-1])
        return cls(photo, np.asarray(mask, np.float32), union, fit, view)

    @property
    def silhouette(self) -> Array:
        """The confidence (H, W), 0…1, that a pixel shows this person; 0 if another is likelier."""
        return np.where(self.mask >= self.others, self.mask, np.float32(0))


@dataclass(frozen=True, eq=False)
class Aligned:
    """The fitted surface under the keypoints, and the photo around it. Made by `align`, read by `dress`.

    Attributes:
        body: The body without clothes, with the person's size of head.
        rotations: (24, 3, 3) float. The photo's pose, relative to parents.
        trans: (3,) float, metres.
        posed: (V, 3) float, metres in camera axes. The surface in that pose.
        vertices: (V, 3) float, metres in camera axes. The surface moved under the keypoints.
        crop: The photo around the person, whose `others` include stray limbs.
        reliable: (V,) float, 0…1. The share of each vertex that belongs to parts of known position.
        standing: (V,) float, 0…1. The same, but stray feet count as known: they are near their ankles.
        stray: The SMPL24 joints of limbs that the photo shows elsewhere than the fit.
        pixels_per_metre: The scale at the person's distance.
    """

    body: DressedBody
    rotations: Tensor
    trans: Tensor
    posed: Tensor
    vertices: Tensor
    crop: PhotoCrop
    reliable: Tensor
    standing: Tensor
    stray: tuple[str, ...]
    pixels_per_metre: float

    @property
    def height_pixels(self) -> float:
        """The person's height in the photo, pixels; at most the crop's longer side."""
        return min(self.pixels_per_metre * self.body.height, float(max(self.crop.box.shape)))

    @property
    def skirt_photo(self) -> SkirtPhoto:
        """The body and its photo, in which a skirt is looked for."""
        posed = self.body.posed(self.rotations, self.trans)
        return SkirtPhoto(self.body, posed, self.vertices, self.crop)

    @property
    def reliable_faces(self) -> Tensor:
        """The faces (F', 3) whose corners all have a known position."""
        faces = self.body.body.faces
        return faces[(self.reliable > 0.5)[faces.long()].all(1)]


@dataclass(frozen=True, eq=False)
class Dressed:
    """The surface in the shape of clothes. Made by `dress`, read by `bake`, `complete` and drawing.

    Attributes:
        aligned: The previous stage.
        body: The body with shoes, widened to the mask, in any pose.
        vertices: (V, 3) float, metres in camera axes. Its surface aligned with the photo.
        texels: The body's texels, as fine as the photo.
        garments: Meshes of their own, from the skin outwards.
        hidden: (F,) bool. The body's faces that garments hide.
        worn: Clothes and shoes.
        top: The edges of a shirt or jacket over trousers, which `complete` cuts out; None for none.
        anchors: The body's vertices (N,) that the vertices of each garment lie on; None for those of all legs.
        may_be_skirt: Whether the cloth across the legs may be a skirt or coat that was not recognised for certain.
    """

    aligned: Aligned
    body: DressedBody
    vertices: Tensor
    texels: BodyTexels
    garments: tuple[Garment, ...]
    hidden: Mask
    worn: Worn
    top: TopEdges | None = None
    anchors: tuple[NDArray[np.integer] | None, ...] = (None,)
    may_be_skirt: bool = False

    @property
    def visible_faces(self) -> tuple[Tensor, Tensor]:
        """The faces (F', 3) of the body, and of its texture, that no garment hides."""
        shown = torch.from_numpy(~self.hidden).to(self.body.body.faces.device)
        return self.body.body.faces[shown], self.body.body.uv_faces[shown]

    def garment_points(self, pose: PosedBody, shift: Tensor | None = None) -> list[Tensor]:
        """Return the vertices (N, 3), metres, of each garment on a posed body whose surface (V, 3) is shifted."""
        points = [garment.pose(pose) for garment in self.garments]
        if shift is None:
            return points
        legs = torch.from_numpy(parts_mask(self.body.body.part_labels.cpu().numpy(), LEGS)).to(shift.device)
        moved = [
            shift[legs].median(0).values if rows is None else shift[torch.from_numpy(rows)] for rows in self.anchors
        ]
        return [each + movement for each, movement in zip(points, moved, strict=True)]

    @cached_property
    def garments_in_photo(self) -> list[tuple[Tensor, Tensor]]:
        """The vertices (N, 3), metres in camera axes, and faces of the garments aligned with the photo."""
        pose = (self.aligned.rotations, self.aligned.trans)
        shift = (self.vertices - self.body.pose(*pose)) * self.vertices.new_tensor([1.0, 1.0, 0.0])
        points = self.garment_points(self.body.posed(*pose), shift)
        return [(p, torch.from_numpy(g.faces).to(p.device)) for p, g in zip(points, self.garments, strict=True)]

    @cached_property
    def uncovered(self) -> float:
        """The share of the person's mask, 0…1, that neither the body nor its clothes cover."""
        crop = self.aligned.crop
        view = crop.view.scaled(min(1.0, 256 / max(crop.view.size)))
        missing = cv2.resize(crop.mask, view.size, interpolation=cv2.INTER_AREA) >= 0.5
        area = float(missing.sum())
        for points, faces in [(self.vertices, self.visible_faces[0]), *self.garments_in_photo]:
            missing &= rasterise_view(points[None], faces, view).face[0].cpu().numpy() < 0
        return float(missing.sum()) / max(area, 1.0)


@dataclass(frozen=True, eq=False)
class Baked:
    """The photo's colours on the surface. Made by `bake`, read by `take_light_off`.

    Attributes:
        dressed: The previous stage.
        texture: The photo's colours, and the confidence that a texel shows this surface.
        normals: (V, 3) float, unit vectors in camera axes.
    """

    dressed: Dressed
    texture: BakedTexture
    normals: Tensor


@dataclass(frozen=True, eq=False)
class Lit:
    """The colours without the photo's light. Made by `take_light_off`, read by `complete`.

    Attributes:
        dressed: The surface.
        light: The photo's light.
        texture: The colours divided by the light; without confidence where the fit's position is unknown.
    """

    dressed: Dressed
    light: PhotoLight
    texture: BakedTexture


@dataclass(frozen=True, eq=False)
class Completed:
    """A body that can be drawn in any pose. Made by `complete`, read by `person.DressedPerson`.

    Attributes:
        dressed: The surface.
        light: The photo's light.
        texture: The texture without gaps.
        head_yaw: The photo's view of the head, radians, as `head.head_yaw` returns it.
    """

    dressed: Dressed
    light: PhotoLight
    texture: CompleteTexture
    head_yaw: float


def align(photographed: PhotographedPerson, body: Body) -> Aligned:
    """Move the fitted surface under the keypoints, and cut out the photo around it."""
    fit = photographed.fit
    view = photographed.view
    device = body.template.device
    rotations = axis_angle_to_matrix(_tensor(fit.poses, device).reshape(len(SMPL24), 3))
    trans = _tensor(fit.trans, device)
    scales = None if fit.segment_scales is None else _tensor(fit.segment_scales, device)
    shaped = DressedBody.of(body, _tensor(fit.betas, device), scales)
    if fit.hand_poses is not None:
        shaped = replace(shaped, hands=axis_angle_to_matrix(_tensor(fit.hand_poses, device)))
    if fit.keypoints2d is not None:
        # The fit knows no head sizes, which differ by more than a face bears.
        landmarks = DetectedLandmarks(shaped, rotations, trans, fit.keypoints2d, view)
        shaped = shaped.with_head_scaled(head_scale(landmarks))
    posed = shaped.pose(rotations, trans)
    pixels_per_metre = view.focal / max(float(posed[:, 2].mean()), 0.1)
    vertices = posed
    mask = photographed.mask
    others = photographed.others
    stray = None
    reliable = standing = fit.joint_visibility
    if fit.keypoints2d is not None:
        # Once more, as the scaled head has its landmarks elsewhere.
        landmarks = DetectedLandmarks(shaped, rotations, trans, fit.keypoints2d, view)
        vertices = align_to_keypoints(posed, shaped, landmarks)
        stray = landmarks.stray
        reliable = without_strays(reliable, stray)
        standing = without_strays(standing, stray & ~FOOT_LANDMARKS)
        if stray.any():
            # Pixels of a stray limb give the body no texture.
            width = _STRAY_RADIUS * shaped.height / 1.7 * pixels_per_metre
            strays = image_of_strays(fit.keypoints2d, stray, landmarks.confident, mask.shape, width)
            mask = np.where(strays, np.float32(0), mask)
            others = np.where(strays, np.float32(1), others)
    return Aligned(
        body=shaped,
        rotations=rotations,
        trans=trans,
        posed=posed,
        vertices=vertices,
        crop=crop_photo(photographed.photo, view, mask, others, vertices),
        reliable=reliable_vertices(body, reliable),
        standing=reliable_vertices(body, standing),
        stray=() if stray is None else tuple(stray_joints(stray)),
        pixels_per_metre=pixels_per_metre,
    )


def reliable_vertices(body: Body, joint_visibility: NDArray[np.floating] | None) -> Tensor:
    """Return the share of each vertex that belongs to parts with both ends visible.

    Args:
        body: The body model.
        joint_visibility: (24,) float, 0…1; None for 1.

    Returns:
        (V,) float, 0…1.
    """
    bones = body.bone_indices.long()
    if joint_visibility is None:
        return torch.ones(len(bones), device=bones.device)
    reliable = np.asarray(joint_visibility) >= _MIN_CONFIDENCE
    trunk = SMPL24.indices(TRUNK)
    # A trunk that the image's edge cuts still counts as visible.
    reliable[trunk] |= reliable[trunk].any()
    both = reliable.copy()
    for upper, lower in SMPL24.bones:
        both[upper] &= reliable[lower] or SMPL24.joint_names[upper] in TRUNK
    return (torch.from_numpy(both).to(bones.device)[bones] * body.bone_weights).sum(1)


def dress(aligned: Aligned, options: MeshOptions, others: Sequence[Aligned] = ()) -> Dressed:
    """Give the body shoes, the silhouette of its clothes, and a skirt.

    Args:
        aligned: The body in the frame that shows the clothes.
        options: What is worn.
        others: The body in further frames, which have a say about a skirt.
    """
    body = aligned.body
    posed = aligned.posed
    vertices = aligned.vertices
    size = options.texture_size or _texture_size(body.body, aligned.pixels_per_metre, options.max_texture_size)
    texels = body_texels(body.body, size)
    worn = _worn(aligned, texels, options)
    # A hand in a pocket is not visible, whatever the fit says.
    aligned = replace(aligned, reliable=aligned.reliable * torch.from_numpy(~worn.pocketed).to(aligned.reliable))
    name = "coat" if options.worn("coat") else "skirt"
    region, doubtful = None, False
    if choice := options.hem_choice(name):
        region = aligned.skirt_photo.named(choice)
    elif options.wears == "auto":
        reliable = (aligned.reliable > 0.5).cpu().numpy()
        region, doubtful = aligned.skirt_photo.region(reliable, (other.skirt_photo for other in others))
    # Hidden feet are bare below a skirt, as the legs; but other frames, which are not asked, may show shoes.
    shod = region is None or bool(others) if worn.shod is None else worn.shod
    worn = replace(worn, bare=region is not None, shod=shod)
    # Shoes come first: the outline that is followed is theirs.
    if worn.shod:
        offsets = shoe_offsets(body.body, body.rest().cpu().numpy())
        body = replace(body, offsets=torch.from_numpy(offsets).to(body.rest_directions))
    offset = vertices - posed
    posed = body.pose(aligned.rotations, aligned.trans)
    vertices = posed + offset
    # A skirt's outline is not that of legs: they are not widened to it.
    skirt_photo = replace(aligned.skirt_photo, dressed=body, vertices=vertices)
    blocked = aligned.crop.others
    if region is not None:
        blocked = blocked | _down_to_hem(region.pixels, aligned.crop, aligned.pixels_per_metre)
    displacements = _to_outline(aligned, body, vertices, blocked)
    ring = None if region is None else Ring(skirt_photo, region)
    if ring is not None:
        displacements = ring.give_way(displacements)
    body = replace(body, displacements=torch.from_numpy(displacements).to(vertices))
    vertices = body.pose(aligned.rotations, aligned.trans) + (vertices - posed)
    if ring is None:
        hidden = np.zeros(len(body.body.faces), bool)
        dressed = Dressed(aligned, body, vertices, texels, (), hidden, worn, anchors=(), may_be_skirt=doubtful)
        if options.wears == "none" or doubtful or dressed.uncovered > _MAX_BESIDE:
            return dressed
        like_skin = not worn.parts[SMPL24.indices(("spine1", "spine2"))].all()
        return replace(dressed, top=top_edges(skirt_photo, aligned.reliable_faces, like_skin=like_skin))
    ring = replace(ring, photo=replace(skirt_photo, dressed=body, vertices=vertices))
    return Dressed(aligned, body, vertices, texels, (ring.garment(name),), ring.hidden(), worn)


def _to_outline(
    aligned: Aligned, body: DressedBody, vertices: Tensor, blocked: Mask, part: Mask | bool = True
) -> NDArray[np.float64]:
    """Return the displacements (V,), metres, of a body to the mask's outline, or of the part (V,) to its outline."""
    # The outline is followed on a reduced copy: its precision is a fraction of a pixel anyway.
    view = aligned.crop.view.scaled(min(1.0, _OUTLINE_HEIGHT / aligned.height_pixels))
    return silhouette_displacements(
        body,
        vertices,
        body.directions(aligned.rotations, aligned.trans),
        cv2.resize(aligned.crop.mask, view.size, interpolation=cv2.INTER_AREA),
        cv2.resize(blocked.astype(np.uint8), view.size, interpolation=cv2.INTER_NEAREST) > 0,
        view,
        reliable=(aligned.reliable > 0.5).cpu().numpy() & part,
    )


def _down_to_hem(cloth: Mask, crop: PhotoCrop, pixels_per_metre: float) -> Mask:
    """Extend the pixels (h, w) of cloth down over the margin of its hem.

    Hems are uneven: further down, pixels of the cloth's colours belong to it, too.
    """
    near, far = (
        cv2.dilate(cloth.astype(np.uint8), np.ones((reach + 1, 1), np.uint8), anchor=(0, reach)) > 0
        for reach in (max(1, round(margin * pixels_per_metre)) for margin in _HEM_MARGINS)
    )
    far &= ~near & (crop.mask >= 0.5)
    near[far] = among_colours(crop.pixels[far] / 255, crop.pixels[cloth & (crop.mask >= 0.5)] / 255)
    return np.asarray(near)


def _worn(aligned: Aligned, texels: BodyTexels, options: MeshOptions) -> Worn:
    """Find the parts with clothes, shoes and hands in pockets."""
    body = aligned.body.body
    faces = aligned.reliable_faces
    crop = aligned.crop
    visible = photo_colours(aligned.vertices, faces, crop)
    tone = skin_tone(texels, visible.colour, visible.shown)
    shod = options.worn("shoes")
    return Worn(
        tone=tone,
        parts=clothed_parts(texels, visible, tone),
        shod=wears_shoes(texels, visible, tone) if shod is None else shod,
        pocketed=PartsInPhoto(body, aligned.vertices, faces, crop).pocketed(tone, aligned.pixels_per_metre),
        coat=bool(options.worn("coat")),
        cap=bool(options.worn("cap")),
        hair=_hair(crop),
    )


def bake(dressed: Dressed, options: MeshOptions) -> Baked:
    """Look up the photo's colours at each visible texel, and how far they can be trusted."""
    aligned = dressed.aligned
    body = dressed.body.body
    vertices = dressed.vertices
    crop = aligned.crop
    in_front = PartsInPhoto(body, vertices, aligned.reliable_faces, crop)
    worn = dressed.worn
    depth = in_front.depth
    margin = max(1.5, _MASK_MARGIN * aligned.height_pixels)
    trust = pixel_trust(crop.mask, depth, margin)
    # The position of a forearm in front of the body is inexact: its pixels must not become the shirt's.
    trust *= in_front.trust_near_forearms(worn.tone, worn.parts, aligned.pixels_per_metre)
    for points, faces in dressed.garments_in_photo:  # a pixel shows the outermost mesh
        cloth = rasterise_view(points[None], faces, crop.view).depth[0].cpu().numpy() < depth
        trust[_down_to_hem(cloth, crop, aligned.pixels_per_metre)] = 0
    gloved = options.worn("gloves")
    trust *= in_front.trust_of_hands(worn.tone, worn.parts, aligned.pixels_per_metre, gloved=gloved)
    arms = folded_forearms(body, vertices, aligned.reliable_faces, crop, worn.parts, aligned.pixels_per_metre)
    if arms is not None:
        trust[arms.hidden & ~in_front.shows(FOREARMS)] = 0
    rims = in_front.trust_of_rims(pixel_trust(crop.mask, depth, _RIM * margin) == 1)
    # The cloth behind bare arms must not become their skin.
    bare = tuple(name for name in SLEEVES + HANDS if not worn.parts[SMPL24.index(name)])
    rims[~garments_mask(crop.garments, "skin") & in_front.shows(bare)] = 0
    source = PhotoSource(crop.pixels, crop.mask, trust * rims, depth, crop.view)
    normals = vertex_normals(vertices, body.faces)
    texture = bake_photo(source, vertices, normals, body.faces, dressed.texels.fine)
    if arms is not None:
        _bake_behind(arms, dressed, trust, normals, texture)
    return Baked(dressed, texture, normals)


def _bake_behind(arms: FoldedForearms, dressed: Dressed, trust: Array, normals: Tensor, texture: BakedTexture) -> None:
    """Add the clothes behind crossed arms to a texture; they do not count as visible."""
    crop = dressed.aligned.crop
    body = dressed.body.body
    texels = dressed.texels
    pixels = arms.removed_from(crop, trust, dressed.aligned.pixels_per_metre)
    source = PhotoSource(pixels, crop.mask, arms.hidden.astype(np.float32), arms.depth, crop.view)
    behind = bake_photo(source, dressed.vertices, normals, body.faces, texels.fine)
    # The forearms themselves are in front of the hidden clothes.
    without_forearms = ~parts_mask(body.part_labels.cpu().numpy(), FOREARMS)
    share = texels.fine.interpolate(without_forearms[:, None].astype(np.float32), body.faces)[..., 0]
    better = behind.confidence * share > texture.confidence
    texture.colour[better] = behind.colour[better]
    texture.confidence[better] = behind.confidence[better]


def take_light_off(baked: Baked) -> Lit:
    """Estimate the photo's light on the surface, and remove it from the colours."""
    dressed = baked.dressed
    texels = baked.dressed.texels
    texture = baked.texture
    confidence = texels.reduce(texture.confidence)
    colours, weights = paint_vertices(texels.coarse, texels.rows, texels.reduce(texture.colour), confidence)
    normals = baked.normals.cpu().numpy()
    # The light changes slowly with the normal: vertices say as much as texels.
    light = light_of(colours, normals, texels.part_labels, weights)
    bright = light.brightness(normals)[:, None]
    bright = bright * limb_light(colours / bright, texels.part_labels, weights)
    values = texels.fine.interpolate(np.column_stack((bright, dressed.aligned.reliable.cpu().numpy())), texels.faces)
    result = BakedTexture(*(np.empty_like(layer) for layer in texture))

    def change(rows: slice) -> None:
        bright = values[rows, :, :3]
        reliable = values[rows, :, 3]
        result.colour[rows] = texture.colour[rows] / np.where(bright > 0, bright, np.float32(1))
        # Parts of unknown position give no colours.
        result.confidence[rows] = texture.confidence[rows] * np.clip(2 * reliable - np.float32(0.6), 0, 1)
        result.visible[rows] = texture.visible[rows] & (reliable > 0.5)

    in_blocks(change, values.shape)
    return Lit(dressed, light, result)


def complete(lit: Lit) -> Completed:
    """Fill the gaps of the texture."""
    dressed = lit.dressed
    yaw = head_yaw(dressed.body.posed(dressed.aligned.rotations, dressed.aligned.trans))
    # A profile's other half would be the same profile again.
    mirror_face = not shows_half_a_face(yaw)
    worn = dressed.worn
    photo_texture = lit.texture
    if dressed.top is not None:
        parts = dressed.texels.fine.interpolate(texels_of_top(dressed.top), dressed.texels.faces) > 0
        cloth, photo_texture = (
            photo_texture._replace(confidence=photo_texture.confidence * parts[..., k]) for k in (0, 1)
        )
        as_worn = Worn(tone=worn.tone, coat=worn.coat)
        image = complete_texture(dressed.texels, cloth, as_worn, chest=(*CHEST, "pelvis")).image
        dressed = _with_top(dressed, dressed.top, image)
    texture = complete_texture(dressed.texels, photo_texture, worn, mirror_face=mirror_face)
    if dressed.top is not None:  # so that the texture alone has the top, too
        texture.image[parts[..., 2]] = image[parts[..., 2]]
    return Completed(dressed, lit.light, texture, yaw)


def _hair(crop: PhotoCrop) -> Array | None:
    """Return the usual colour (3,) of hair or headwear, 0…1; None if the photo shows little of it."""
    shown = garments_mask(crop.garments, "hair") & (crop.mask >= 0.5)
    shown = cv2.erode(shown.astype(np.uint8), np.ones((_HAIR_RIM, _HAIR_RIM), np.uint8)) > 0
    if shown.sum() < _MIN_HAIR * crop.garments.shape[0] ** 2:
        return None
    return np.asarray(np.median(crop.pixels[shown] / 255, axis=0))


def _with_top(dressed: Dressed, top: TopEdges, image: Array) -> Dressed:
    """Cut a top out of a dressed person's surface; it and the body follow the outline where each is outermost."""
    aligned = dressed.aligned
    pose = (aligned.rotations, aligned.trans)
    cover = cover_of(top)
    body = replace(dressed.body, displacements=torch.zeros_like(dressed.body.displacements))
    offset = dressed.vertices - dressed.body.pose(*pose)
    vertices = body.pose(*pose) + offset
    outer, inner = (_to_outline(aligned, body, vertices, aligned.crop.others, part) for part in (cover > 0, cover <= 0))
    garment, anchors, displacements, hidden = cut_top(body, top, outer, inner, image)
    body = replace(body, displacements=torch.from_numpy(displacements).to(vertices))
    return replace(
        dressed,
        body=body,
        vertices=body.pose(*pose) + offset,
        garments=(garment,),
        anchors=(anchors,),
        hidden=hidden,
    )


def _tensor(values: NDArray[np.floating], device: torch.device) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(device)


def _texture_size(body: Body, pixels_per_metre: float, maximum: int) -> int:
    """Choose the texels along each side so that the texture is about as fine as the photo."""
    corners = body.template[body.faces.long()]
    flat = body.uv[body.uv_faces.long()]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    a = flat[:, 1] - flat[:, 0]
    b = flat[:, 2] - flat[:, 0]
    widths_per_metre = ((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs() / area.clamp_min(1e-12)).sqrt()
    coarse = float(widths_per_metre[area > area.median()].quantile(0.1))
    ideal = max(pixels_per_metre, 1) / max(coarse, 1e-3)
    return min(filter(maximum.__ge__, _SIZES), key=lambda size: abs(np.log(size / ideal)))


@torch.no_grad()
def dress_over_frames(alignments: Sequence[Aligned], options: MeshOptions) -> Completed:
    """Dress a person by several frames.

    Args:
        alignments: A person's aligned body in each frame. The first frame shows the shape of clothes, shoes and hair,
            and garments.
        options: How the person is dressed.
    """
    dressed = dress(alignments[0], options, alignments[1:])
    lit = take_light_off(bake(dressed, options))
    if len(alignments) > 1:
        samples = TextureSamples(dressed.texels.fine.size, _FULL_WEIGHT)
        samples.add(lit.texture)

        def colours_in(aligned: Aligned) -> BakedTexture:
            # What is worn in the first frame is moved to the body of another.
            vertices = dressed.body.pose(aligned.rotations, aligned.trans) + (aligned.vertices - aligned.posed)
            return take_light_off(bake(replace(dressed, aligned=aligned, vertices=vertices), options)).texture

        with made_in_threads(colours_in, alignments[1:]) as textures:
            for texture in textures:
                samples.add(texture)
        lit = replace(lit, texture=samples.mean())
    return complete(lit)
