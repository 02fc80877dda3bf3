"""Reposing by mesh: the photo becomes a texture of the person's own body, which is drawn in the new pose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.bodies.texture import PhotoSource, bake_photo
from humanpose_cli.conventions import SMPL24
from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import Surface, Texture, vertex_normals
from humanpose_cli.rendering.view import View
from humanpose_cli.reposing.alignment import AlignmentOptions, SeenLandmarks, align_to_keypoints, head_scale
from humanpose_cli.reposing.body_texels import body_texels
from humanpose_cli.reposing.completion import WholeTexture, complete_texture
from humanpose_cli.reposing.compositing import draw_person, film_grain
from humanpose_cli.reposing.dressing import DressedBody
from humanpose_cli.reposing.inpainting import InpaintOptions, inpaint
from humanpose_cli.reposing.regions import TRUNK, front_of_face
from humanpose_cli.reposing.silhouette import SilhouetteOptions, displacement_caps, silhouette_displacements
from humanpose_cli.reposing.source import PhotoCrop, arms_over_trunk, crop_photo, pixel_trust

__all__ = ["Background", "FittedPerson", "MeshReposer", "ReposeOptions", "Reposed", "cover_picture", "sure_vertices"]

Background = Literal["keep", "transparent"]


@dataclass(frozen=True, eq=False)
class FittedPerson:
    """One row of a fit file.

    poses            (72,) axis-angle, relative to parents, the pelvis maps body to camera axes
    betas            (S,); trans (3,) metres
    focal, principal_point  pixels of the photo
    segment_scales   (24,) or None for 1
    joint_confidence (24,) 0…1 or None for 1: limbs that nobody saw for sure neither hide others nor give a texture
    keypoints2d      (33, 3) the detector's x, y pixels of the photo and confidence, or None
    """

    poses: NDArray[np.floating]
    betas: NDArray[np.floating]
    trans: NDArray[np.floating]
    focal: float
    principal_point: tuple[float, float]
    segment_scales: NDArray[np.floating] | None = None
    joint_confidence: NDArray[np.floating] | None = None
    keypoints2d: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class ReposeOptions:
    """How a person is redrawn.

    supersampling   samples per pixel along each side
    texture_size    texels along each side; None: fine enough for the photo, 512 … 4096
    mask_margin     share of the person's height by which the mask is distrusted at its edge
    hole_margin     share of the person's height by which the removed person's hole exceeds the mask
    grain           give smooth made-up parts the photo's noise
    most_arms       share of the trunk that arms may cover in the photo without a warning
    least_seen      share of the surface that the photo should show
    least_confidence  joints seen less surely leave their limb out of the texture
    most_turn       degrees that the target may turn away from the side that the photo shows
    """

    supersampling: int = 2
    texture_size: int | None = None
    mask_margin: float = 0.008
    hole_margin: float = 0.018
    grain: bool = True
    most_arms: float = 0.06
    least_seen: float = 0.3
    least_confidence: float = 0.4
    most_turn: float = 50.0
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    silhouette: SilhouetteOptions = field(default_factory=SilhouetteOptions)
    inpainting: InpaintOptions = field(default_factory=InpaintOptions)


@dataclass(frozen=True, eq=False)
class Reposed:
    """A picture of the person in another pose.

    image          (H, W, 3) uint8 RGB, or (H, W, 4) with straight alpha where the background is transparent
    warnings       sentences about what may look wrong
    seen_fraction  share of the body's surface that the photo showed
    turn_degrees   how far the target turns away from the side that the photo showed
    """

    image: NDArray[np.uint8]
    warnings: tuple[str, ...]
    seen_fraction: float
    turn_degrees: float


class MeshReposer:
    """One person of one photo, ready to be drawn in any pose. The texture is baked once, at construction.

    photo        (H, W, 3) uint8 RGB
    mask         (H, W) 0…1 where the person is
    others       masks (H, W) of the other people in the photo
    background   'keep' the photo's, made up behind the person; 'transparent'; or a picture (h, w, 3) uint8, which is
                 scaled and cropped to the photo's size
    """

    def __init__(
        self,
        photo: NDArray[np.uint8],
        mask: NDArray[np.floating],
        person: FittedPerson,
        body: RiggedBody,
        *,
        others: Sequence[NDArray[np.floating]] = (),
        background: Background | NDArray[np.uint8] = "keep",
        options: ReposeOptions | None = None,
    ) -> None:
        _check(photo, mask, others, background)
        self.photo, self.body, self.options = photo, body, options or ReposeOptions()
        self.mask = np.asarray(mask, np.float32)
        self.others = _together(others, self.mask.shape)
        self._background_choice = background
        self.view = View(float(person.focal), _pair(person.principal_point), photo.shape[:2])
        with torch.no_grad():
            self._read(person)

    def _read(self, person: FittedPerson) -> None:
        """Dress the body and bake its texture."""
        place = self.body.template.device
        self.rotations = axis_angle_to_matrix(_tensor(person.poses, place).reshape(len(SMPL24), 3))
        self.trans = _tensor(person.trans, place)
        scales = None if person.segment_scales is None else _tensor(person.segment_scales, place)
        self.dressed = DressedBody(self.body, _tensor(person.betas, place), scales)
        self._sure = sure_vertices(self.body, person.joint_confidence, self.options.least_confidence)
        if person.keypoints2d is not None:
            self._fit_head(person.keypoints2d)
        naked = self.dressed.pose(self.rotations, self.trans)
        aligned = self._align(naked, person.keypoints2d)
        crop = crop_photo(self.photo, self.view, self.mask, self.others, aligned)
        pixels_per_metre = self.view.focal / max(float(naked[:, 2].mean()), 0.1)
        self.pixels_high = min(pixels_per_metre * self.dressed.height, float(max(crop.box.shape)))
        self._dress(crop, aligned)
        vertices = self.dressed.pose(self.rotations, self.trans) + (aligned - naked)
        surface_seen = self.body.faces[(self._sure > 0.5)[self.body.faces.long()].all(1)]
        depth = rasterise_view(vertices[None], surface_seen, crop.view).depth[0].cpu().numpy()
        trust = pixel_trust(crop, depth, max(1.5, self.options.mask_margin * self.pixels_high))
        size = self.options.texture_size or _texture_size(self.body, pixels_per_metre)
        surface = body_texels(self.body, size)
        source = PhotoSource(crop.pixels, crop.mask, trust, depth, crop.view.focal, crop.view.principal_point)
        normals = vertex_normals(vertices, self.body.faces)
        baked = bake_photo(source, vertices, normals, self.body.faces, surface.fine)
        sure = surface.fine.interpolate(self._sure.cpu().numpy()[:, None], self.body.faces)[..., 0]
        baked = baked._replace(
            confidence=baked.confidence * np.clip(2 * sure - 0.6, 0, 1), visible=baked.visible & (sure > 0.5)
        )
        grain = film_grain(crop.pixels, trust) if self.options.grain else 0.0
        self.texture: WholeTexture = complete_texture(surface, baked, grain)
        self.arms_over_trunk = arms_over_trunk(self.body, vertices, crop.view)

    def _fit_head(self, keypoints: NDArray[np.floating]) -> None:
        options = self.options.alignment
        seen = SeenLandmarks(self.dressed, self.rotations, self.trans, keypoints, self.view, options)
        self.dressed.scale_head(head_scale(seen, options))

    def _align(self, naked: Tensor, keypoints: NDArray[np.floating] | None) -> Tensor:
        """The fitted surface moved under the keypoints that were seen."""
        if keypoints is None:
            return naked
        options = self.options.alignment
        seen = SeenLandmarks(self.dressed, self.rotations, self.trans, keypoints, self.view, options)
        return align_to_keypoints(naked, self.dressed, seen, options)

    def _dress(self, crop: PhotoCrop, naked: Tensor) -> None:
        labels = self.body.part_labels.cpu().numpy()
        # The outline is followed on a reduced copy: its precision is a fraction of a pixel anyway.
        zoom = min(1.0, 640 / self.pixels_high)
        view = crop.view.crop(crop.view.box, zoom)
        size = view.size[::-1]
        displacements = silhouette_displacements(
            naked,
            self.dressed.directions(self.rotations, self.trans),
            self.body.faces,
            displacement_caps(labels, front_of_face(self.body), self.dressed.height),
            labels,
            self.body.mirror_vertices.cpu().numpy(),
            cv2.resize(crop.mask, size, interpolation=cv2.INTER_AREA),
            cv2.resize(crop.others.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0,
            view,
            sure=(self._sure > 0.5).cpu().numpy(),
            options=self.options.silhouette,
        )
        self.dressed.displacements = torch.from_numpy(displacements).to(naked)

    @cached_property
    def background(self) -> NDArray[np.uint8] | None:
        """What stands behind the person (H, W, 3); None for transparent."""
        if isinstance(self._background_choice, np.ndarray):
            return cover_picture(self._background_choice, self.view.size)
        if self._background_choice == "transparent":
            return None
        someone = (self.others > 0.5) & ~self.hole
        return inpaint(self.photo, self.hole, someone, self.options.inpainting)

    @cached_property
    def hole(self) -> NDArray[np.bool_]:
        """Pixels (H, W) of the photo that show this person or a fringe around them, and nobody else."""
        radius = max(2.0, self.options.hole_margin * self.pixels_high)
        seen = (self.mask > 0.3) & (self.mask >= self.others)
        if not seen.any():
            return seen
        someone = (self.others > 0.5) & ~seen
        away = cv2.distanceTransform((~seen).astype(np.uint8), cv2.DIST_L2, 5)
        return (away <= radius) & ~someone

    def render(self, rotations: Tensor, trans: Tensor | None = None) -> Reposed:
        """The picture with the person in another pose.

        rotations  (24, 3, 3) relative to parents, the pelvis mapping body to camera axes
        trans      (3,) metres; None: the pelvis stays where it is in the photo
        """
        with torch.no_grad():
            rotations = rotations.to(self.rotations)
            trans = self.trans if trans is None else trans.to(self.trans)
            vertices = self.dressed.pose(rotations, trans)
            uv = Texture(self.texture.image, self.body.uv, self.body.uv_faces)
            surface = Surface(vertices, self.body.faces, texture=uv, lit=True)
            image = draw_person(surface, self.view, self.background, self.options.supersampling)
            turn = self.turn(rotations, trans)
        return Reposed(image, tuple(self.warnings(turn)), self.texture.seen_fraction, turn)

    def render_sequence(self, rotations: Tensor, trans: Tensor | None = None) -> Iterator[Reposed]:
        """`render` for poses (T, 24, 3, 3) and places (T, 3), one by one."""
        for row in range(len(rotations)):
            yield self.render(rotations[row], None if trans is None else trans[row])

    def turn(self, rotations: Tensor, trans: Tensor) -> float:
        """Degrees between the sides of the trunk that face the camera in the photo and in the target."""
        before = self._facing_side(self.rotations, self.trans)
        after = self._facing_side(rotations, trans)
        return float(torch.rad2deg(torch.arccos((before * after).sum().clamp(-1, 1))))

    def _facing_side(self, rotations: Tensor, trans: Tensor) -> Tensor:
        absolute = self.dressed.absolute_rotations(rotations)
        towards_camera = torch.nn.functional.normalize(-trans, dim=0)
        sides = [absolute[SMPL24.index(name)].mT @ towards_camera for name in ("pelvis", "spine3")]
        return torch.nn.functional.normalize(sides[0] + sides[1], dim=0)

    def warnings(self, turn: float) -> Iterator[str]:
        """Sentences on what may look wrong in a pose that turns so many degrees away from the photo's."""
        options, seen = self.options, self.texture.seen_fraction
        if self.arms_over_trunk > options.most_arms:
            yield (
                f"arms cross the body in the photo (they hide {self.arms_over_trunk:.0%} of the trunk): their "
                "picture may stay on the clothes"
            )
        if seen < options.least_seen:
            yield f"the photo shows only {seen:.0%} of the person's surface: the rest is made up"
        if turn > options.most_turn:
            yield f"the target turns {turn:.0f}° away from the side that the photo shows: the rest is made up"


def sure_vertices(body: RiggedBody, joint_confidence: NDArray[np.floating] | None, least: float) -> Tensor:
    """Share (V,) of each vertex that belongs to parts whose two ends were both seen with confidence `least`.

    joint_confidence  (24,) 0…1, or None for 1
    """
    bones = body.bone_indices.long()
    if joint_confidence is None:
        return torch.ones(len(bones), device=bones.device)
    sure = np.asarray(joint_confidence) >= least
    trunk = SMPL24.indices(TRUNK)
    sure[trunk] |= sure[trunk].any()  # a trunk cut by the picture's edge is still seen where it is in the picture
    both = sure.copy()
    for upper, lower in SMPL24.bones:
        both[upper] &= sure[lower] or SMPL24.joint_names[upper] in TRUNK
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
        raise UsageError("background", "is unknown", expected="keep, transparent or a picture", got=background)


def _tensor(values: NDArray[np.floating], device: torch.device) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(device)


def _pair(values: Sequence[float]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _together(masks: Sequence[NDArray[np.floating]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    together = np.zeros(shape, np.float32)
    for one in masks:
        np.maximum(together, one.astype(np.float32), out=together)
    return together


def _texture_size(body: RiggedBody, pixels_per_metre: float) -> int:
    """Texels along each side, a power of two: also where the atlas is coarse, about as fine as the photo."""
    corners, flat = body.template[body.faces.long()], body.uv[body.uv_faces.long()]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    a, b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    widths_per_metre = ((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs() / area.clamp_min(1e-12)).sqrt()
    coarse = float(widths_per_metre[area > area.median()].quantile(0.1))
    return int(np.clip(2 ** np.round(np.log2(max(pixels_per_metre, 1) / max(coarse, 1e-3))), 512, 4096))


def cover_picture(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture scaled to fill `size` (height, width), cropped round its middle."""
    height, width = size
    scale = max(height / picture.shape[0], width / picture.shape[1])
    new = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    scaled = cv2.resize(picture, new, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (new[1] - height) // 2, (new[0] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width, :3])
