"""A photographed person as textured surfaces, which reposing, layers and the lab draw.

    location = locate_person(photographed, body, options)  # their pose, and the hole that they leave in the photo
    person = dress_person(location, options)               # the resting body with clothes and a texture

Both are frozen. The stages between them are in `avatar.stages`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.completion import CompleteTexture
from humanpose_cli.avatar.dressing import DressedBody, LandmarkShifts, align_to_keypoints
from humanpose_cli.avatar.ground import (
    MAX_FLIGHT,
    MAX_SINKING,
    MAX_SOLE_ERROR,
    contact_shadow,
    ground_under,
    sole_height,
    tilt_of,
)
from humanpose_cli.avatar.head import head_yaw, kept_head, shows_face
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import (
    Aligned,
    Completed,
    PhotographedPerson,
    align,
    bake,
    complete,
    dress,
    take_light_off,
)
from humanpose_cli.avatar.surface import FOREARMS, TRUNK
from humanpose_cli.body.body import Body
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.boxes import NEAR, Box
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import Surface, Texture, vertex_normals

# What a drawing may show without a warning.
_MAX_ARM_SHARE = 0.06  # of the trunk that arms cover in the photo
_MIN_VISIBLE = 0.3  # share of the surface that the photo shows
_MIN_FACE = 0.35  # share of the face that the photo shows
_MAX_OUTSIDE = 0.01  # share of the surface that leaves the photo
_MAX_UNCOVERED = 0.08  # share of the mask off body and clothes
_MAX_TURN = 50.0  # degrees from the photographed side


class Doubt(NamedTuple):
    """A reason why an image of a reposed person may look wrong.

    Attributes:
        kind: The kind of reason, such as "turned", which does not depend on the pose.
        amount: The size, by which doubts of one kind are compared.
        reason: A few words, such as "turned 120°".
        sentence: The problem and its effect.
    """

    kind: str
    amount: float
    reason: str
    sentence: str


class TargetPose(NamedTuple):
    """A pose to draw.

    Attributes:
        rotations: (24, 3, 3) float. Relative to parents; the pelvis maps body to camera axes.
        trans: (3,) float, metres.
        shifts: (33, 2) float, metres in the image plane. The shifts of landmarks, see `reposing.keypoint_shifts`; None
            for no shifts.
        hands: (2, 15, 3, 3) float. Rotations of the fingers; None for the photo's.
    """

    rotations: Tensor
    trans: Tensor
    shifts: Tensor | None = None
    hands: Tensor | None = None


@dataclass(frozen=True, eq=False)
class PersonInPhoto:
    """A person before they are dressed. Made by `locate_person`, read by `dress_person`.

    Attributes:
        photographed: The photo, masks, fit and camera.
        aligned: The first stage.
        hole: (H, W) bool. The photo's pixels that show the person or a fringe around them, and no other person.
    """

    photographed: PhotographedPerson
    aligned: Aligned
    hole: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DressedPerson:
    """A person of a photo as textured surfaces that can be drawn in any pose. Made by `dress_person`.

    Attributes:
        photographed: The photo, masks, fit and camera.
        avatar: The resting body with clothes, the photo's light, and the texture with its confidence.
        hole: (H, W) bool. The photo's pixels that show the person or a fringe around them, and no other person.
        down: (3,) float, unit vector. The downward direction in the photo.
        ground: The distance along `down` to the ground below the person, metres; None if they do not stand.
        share_outside: The share of the surface outside the photo.
        arms_over_trunk: The share of the trunk's image behind forearms and hands, 0…1.
        options: How the person was made.
    """

    photographed: PhotographedPerson
    avatar: Completed
    hole: NDArray[np.bool_]
    down: Tensor
    ground: float | None
    share_outside: float
    arms_over_trunk: float
    options: MeshOptions

    @property
    def view(self) -> Camera:
        """The photo's camera."""
        return self.photographed.view

    @property
    def body(self) -> DressedBody:
        """The resting body with shoes and clothes."""
        return self.avatar.dressed.body

    @property
    def texture(self) -> CompleteTexture:
        """The body's colours without gaps."""
        return self.avatar.texture

    @property
    def pose(self) -> TargetPose:
        """The pose in the photo."""
        alignment = self.avatar.dressed.aligned
        return TargetPose(alignment.rotations, alignment.trans)

    def posed_as(self, pose: TargetPose) -> TargetPose:
        """Move a pose to the body's device, and turn its head towards the photo's view of it."""
        rotations = pose.rotations.to(self.pose.rotations)
        trans = pose.trans.to(self.pose.trans)
        yaw = head_yaw(self.body.posed(rotations, trans))
        return pose._replace(rotations=kept_head(rotations, yaw, self.avatar.head_yaw), trans=trans)

    def surfaces(self, pose: TargetPose) -> list[Surface]:
        """Return the surfaces of the body and its garments in a pose, with their textures."""
        rotations, trans, shifts, hands = pose
        body = self.body if hands is None else replace(self.body, hands=hands.to(trans))
        vertices = body.pose(rotations, trans)
        shift = torch.zeros_like(vertices) if shifts is None else self._moved(vertices, pose, shifts)
        vertices = vertices + shift
        dressed = self.avatar.dressed
        faces, uv_faces = dressed.visible_faces
        bright = self.avatar.light.brightness_of(vertex_normals(vertices, self.body.body.faces))
        texture = Texture(self.texture.image, self.body.body.uv, uv_faces)
        clothed = Surface(vertices, faces, texture=texture, lit=False, brightness=bright)
        points = dressed.garment_points(self.body.posed(rotations, trans), shift)
        cloth = [garment.surface(each, lit=False) for garment, each in zip(dressed.garments, points, strict=True)]
        if dressed.top is not None:  # like the body, its texture is without light
            normals = vertex_normals(cloth[0].vertices, cloth[0].faces)
            cloth = [replace(cloth[0], brightness=self.avatar.light.brightness_of(normals))]
        return [clothed, *cloth]

    def _moved(self, vertices: Tensor, pose: TargetPose, shifts: Tensor) -> Tensor:
        """Return the movement (V, 3), metres, of the surface by shifts of landmarks, without scaling the head."""
        points = self.body.landmark_points(pose.rotations, pose.trans)
        shifts = shifts.to(vertices)
        landmarks = LandmarkShifts(points, shifts, torch.isfinite(shifts).all(1))
        return align_to_keypoints(vertices, self.body, landmarks, head_scales=(1.0, 1.0)) - vertices

    @torch.no_grad()
    def depth(self, pose: TargetPose, view: Camera) -> NDArray[np.float32]:
        """Return the depth (H, W), metres, of the person drawn in a pose; 0 where nothing is drawn."""
        nearest = np.full(view.size[::-1], np.inf, np.float32)
        for surface in self.surfaces(self.posed_as(pose)):
            raster = rasterise_view(surface.vertices[None], surface.faces, view)
            np.minimum(nearest, raster.depth[0].cpu().numpy(), out=nearest)
        # Pixels that the surface covers in part have the depth of their neighbours.
        around = cv2.erode(nearest, np.ones((3, 3), np.uint8))
        nearest = np.where(np.isfinite(nearest), nearest, around)
        return np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)

    def set_down(self, rotations: Tensor, trans: Tensor, frame_rate: float) -> Tensor:
        """Put a motion onto the photo's ground.

        Contacts with the motion's own ground (see `ground_under`) become contacts with the photo's. A single pose is
        put there if it stands, and a motion too short to show contacts if it stands in some frame. Other motions, and a
        single pose whose feet are close to the ground, keep their height: a pelvis is known more exactly than a sole,
        and a person who does not stand may leap or sit.

        Args:
            rotations: (T, 24, 3, 3) float. Relative to parents.
            trans: (T, 3) float, metres.
            frame_rate: Frames per second.

        Returns:
            (T, 3) float, metres. The translations on the ground.
        """
        if self.ground is None:
            return trans
        lowest = []
        soles = []
        for vertices in self.vertices_of(rotations, trans):  # one by one: a long motion's vertices fill the memory
            lowest.append(self.ground - float((vertices @ self.down).max()))
            sole = sole_height(vertices, self.body.body, down=self.down)
            if sole is not None:
                soles.append(sole)
        heights = np.array(lowest)
        lifts = np.zeros(len(heights))
        if len(heights) == 1:
            lift = soles[0] - self.ground if soles else 0.0
            lifts[0] = lift if abs(lift) >= MAX_SOLE_ERROR else 0.0
        elif soles or len(heights) >= MAX_FLIGHT * frame_rate:
            lifts = -ground_under(heights, frame_rate)
        lifts = np.maximum(lifts, -MAX_SINKING - heights)
        return trans - torch.from_numpy(lifts).to(trans)[:, None] * self.down.to(trans)

    @torch.no_grad()
    def vertices_of(self, rotations: Tensor, trans: Tensor) -> Iterator[Tensor]:
        """Return the body's vertices (V, 3), metres, for each of T poses."""
        photo_trans = self.pose.trans
        for frame_rotations, frame_trans in zip(rotations.to(photo_trans), trans.to(photo_trans), strict=True):
            yield self.body.pose(frame_rotations, frame_trans)

    def shadow(self, pose: TargetPose, view: Camera) -> tuple[Box, NDArray[np.float32]] | None:
        """Return the box and the light of `contact_shadow` in a pose; None without a shadow."""
        if self.ground is None:
            return None
        (vertices,) = self.vertices_of(pose.rotations[None], pose.trans[None])
        return contact_shadow(vertices, self.ground, view, self.down)

    def turn(self, pose: TargetPose) -> float:
        """Return the angle, degrees, between the sides of the trunk that face the camera in the photo and in a pose."""
        cosine = (self._facing_side(self.pose) * self._facing_side(pose)).sum()
        return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))))

    def _facing_side(self, pose: TargetPose) -> Tensor:
        posed_body = self.body.body.pose(pose.rotations[None], self.body.betas, vertices=False)
        absolute = posed_body.rotations[0]  # body to camera
        towards_camera = torch.nn.functional.normalize(-pose.trans, dim=0)
        sides = [absolute[SMPL24.index(name)].mT @ towards_camera for name in ("pelvis", "spine3")]
        return torch.nn.functional.normalize(sides[0] + sides[1], dim=0)

    def shows(self, rotations: Tensor, trans: Tensor) -> bool:
        """Return whether any of T poses has a hundredth of its surface or more in the photo."""
        return any(outside(self.body, v, self.view) < 0.99 for v in self.vertices_of(rotations, trans))

    def doubts(self, pose: TargetPose, share_outside: float = 0.0) -> Iterator[Doubt]:
        """List the reasons why a pose may look wrong.

        Args:
            pose: The pose.
            share_outside: The share of the surface outside the image.
        """
        visible = self.texture.visible_fraction
        arms = self.arms_over_trunk
        if arms > _MAX_ARM_SHARE:
            sentence = (
                f"arms cross the body in the photo (they hide {arms:.0%} of the trunk): their image may stay on the "
                "clothes"
            )
            yield Doubt("arms", arms, "arms cross the body", sentence)
        if stray := self.avatar.dressed.aligned.stray:
            names = [joint.replace("_", " ") for joint in stray]
            sentence = (
                f"the photo shows {' and '.join(f'the {name}' for name in names)} elsewhere than the fit: it is made up"
            )
            yield Doubt("stray", len(names), f"{' and '.join(names)} elsewhere", sentence)
        yield from self._doubts_of_photo()
        yaw = head_yaw(self.body.posed(pose.rotations, pose.trans))
        if shows_face(yaw) and self.texture.visible_face < _MIN_FACE:
            sentence = "the photo hides much of the face: this is made up without features"
            yield Doubt("face", math.pi - abs(yaw), "face hidden in the photo", sentence)
        if visible < _MIN_VISIBLE:
            sentence = f"the photo shows only {visible:.0%} of the person's surface: the rest is made up"
            yield Doubt("hidden", 1 - visible, f"{1 - visible:.0%} hidden in the photo", sentence)
        if share_outside > self.share_outside + _MAX_OUTSIDE:
            sentence = f"{share_outside:.0%} of the person leaves the image in this pose; `canvas=fit` grows it"
            yield Doubt("outside", share_outside, "leaves the image", sentence)
        if (turn := self.turn(pose)) > _MAX_TURN:
            sentence = f"the target turns {turn:.0f}° away from the side that the photo shows: the rest is made up"
            yield Doubt("turned", turn, f"turned {turn:.0f}°", sentence)

    def _doubts_of_photo(self) -> Iterator[Doubt]:
        """List the reasons why all poses may look wrong."""
        stage = self.avatar.dressed
        labels = self.body.body.part_labels.cpu().numpy()
        reliable = stage.aligned.reliable.cpu().numpy()
        hands = [side for side in ("left", "right") if reliable[parts_mask(labels, (f"{side}_hand",))].mean() < 0.5]
        if hands:
            name, article = ("both hands", "") if len(hands) == 2 else (f"{hands[0]} hand", "the ")
            yield Doubt("hands", len(hands), f"{name} hidden", f"the photo does not show {article}{name}: made up")
        if stage.uncovered > _MAX_UNCOVERED:
            share = f"{stage.uncovered:.0%}"
            sentence = f"{share} of the person's image lie off the body and its clothes, and stay out of the drawing"
            yield Doubt("uncovered", stage.uncovered, f"{share} of the image off the body", sentence)
        if stage.may_be_skirt:
            sentence = "the cloth across the legs may be a skirt or coat: `wears=skirt` makes one"
            yield Doubt("skirt", 1.0, "may be a skirt", sentence)
        tilt = math.degrees(math.acos(min(1.0, float(self.down[1]))))
        if tilt > 0:
            sentence = f"the camera is taken as tilted by {tilt:.0f}°, from the balance of the person: they may lean"
            yield Doubt("tilt", tilt, f"camera tilted {tilt:.0f}°", sentence)


@torch.no_grad()
def locate_person(photo_person: PhotographedPerson, body: Body, options: MeshOptions) -> PersonInPhoto:
    """Align a person's body with the photo, and find the hole that they leave."""
    alignment = align(photo_person, body)
    hole = _hole(photo_person, max(1.0, options.hole_margin * alignment.height_pixels))
    return PersonInPhoto(photo_person, alignment, hole)


def _hole(photo_person: PhotographedPerson, radius: float) -> NDArray[np.bool_]:
    """Widen the silhouette by a radius in pixels, but not into other people."""
    person = photo_person.silhouette > 0.3
    if not person.any():
        return person
    distance = cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray((distance <= radius) & (person | (photo_person.others <= 0.5)))


@torch.no_grad()
def dress_person(location: PersonInPhoto, options: MeshOptions) -> DressedPerson:
    """Give a person clothes and a texture by the stages of `avatar.stages`, and find the ground below them."""
    alignment = location.aligned
    view = location.photographed.view
    avatar = complete(take_light_off(bake(dress(alignment, options), options)))
    body = avatar.dressed.body
    vertices = body.pose(alignment.rotations, alignment.trans)
    joints = body.posed(alignment.rotations, alignment.trans).joints
    down = tilt_of(vertices[None], joints, body.body, alignment.standing)
    return DressedPerson(
        location.photographed,
        avatar,
        location.hole,
        down,
        ground=sole_height(vertices, body.body, alignment.standing, down),
        share_outside=outside(body, vertices, view),
        # Of the body itself: close clothes reach as far out as arms that hang beside them.
        arms_over_trunk=arms_over_trunk(body.body, alignment.posed, alignment.crop.view),
        options=options,
    )


def outside(body: DressedBody, vertices: Tensor, view: Camera) -> float:
    """Return the share of a body's surface (V, 3) outside the image of a camera."""
    pixels = view.project(vertices).cpu().numpy()
    beyond = ((pixels < 0) | (pixels > view.size)).any(1) | (vertices[:, 2].cpu().numpy() < NEAR)
    return float(beyond @ body.operator.areas / body.operator.areas.sum())


def arms_over_trunk(body: Body, vertices: Tensor, view: Camera) -> float:
    """Return the share of the trunk's image behind forearms and hands, 0…1."""
    small = view.scaled(min(1.0, 256 / max(view.size)))
    labels = body.part_labels.cpu().numpy()
    first = body.faces[:, 0].long().cpu().numpy()
    depths = []
    for names in (TRUNK, FOREARMS):
        faces = body.faces[torch.from_numpy(parts_mask(labels, names)[first])]
        depths.append(rasterise_view(vertices[None], faces, small).depth[0])
    trunk, front = depths
    visible = torch.isfinite(trunk)
    return float((visible & (front < trunk)).sum()) / max(float(visible.sum()), 1.0)
