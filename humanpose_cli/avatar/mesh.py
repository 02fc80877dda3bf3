"""Reposing by mesh: a dressed person, drawn in a new pose over a background."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.person import Doubt, DressedPerson, TargetPose, dress_person, locate_person, outside
from humanpose_cli.avatar.stages import PhotographedPerson
from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.rendering.shading import draw_people

Background = Literal["keep", "transparent"]


@dataclass(frozen=True, eq=False)
class DrawnPerson:
    """An image of the person in another pose.

    Attributes:
        image: (H, W, 3) uint8 RGB, or (H, W, 4) with straight alpha if the background is transparent.
        doubts: The reasons why it may look wrong.
        visible_fraction: The share of the body's surface that the photo shows.
    """

    image: NDArray[np.uint8]
    doubts: tuple[Doubt, ...]
    visible_fraction: float


@dataclass(frozen=True, eq=False)
class PersonFrame:
    """The image that a person is drawn into.

    Attributes:
        view: The photo's camera, possibly with another principal point and size.
        background: (H, W, 3) uint8 RGB; None for transparent.
        shadows: Whether feet darken the background, which is the photo's.
    """

    view: Camera
    background: NDArray[np.uint8] | None
    shadows: bool = True

    def backdrop(self, person: DressedPerson, pose: TargetPose) -> NDArray[np.uint8] | None:
        """Return the background with a pose's shadow; None for transparent."""
        if self.background is None or not self.shadows:
            return self.background
        return shaded(self.background, person, pose, self.view)


def shaded(background: NDArray[np.uint8], person: DressedPerson, pose: TargetPose, view: Camera) -> NDArray[np.uint8]:
    """Return a background (H, W, 3) with the shadow of a pose whose feet stand on the ground."""
    shadow = person.shadow(pose, view)
    if shadow is None:
        return background
    box, light = shadow
    darker = background.copy()
    darker[box.slices] = (background[box.slices] * light[..., None] + np.float32(0.5)).astype(np.uint8)
    return darker


@dataclass(frozen=True, eq=False)
class MeshReposer:
    """A person who can be drawn in any pose. `MeshReposer.of` makes one from a photo.

    Attributes:
        person: The person.
        frame: The image that they are drawn into.
    """

    person: DressedPerson
    frame: PersonFrame

    @classmethod
    def of(
        cls,
        photo_person: PhotographedPerson,
        body: Body,
        *,
        background: Background | NDArray[np.uint8] = "keep",
        options: MeshOptions | None = None,
    ) -> MeshReposer:
        """Dress a person, and make the background in a thread at the same time.

        Args:
            photo_person: The person in the photo.
            body: The body model.
            background: "keep" for the photo's, "transparent", or an image (h, w, 3) uint8, which is scaled and cropped
                to the photo's size.
            options: How the person is made; None for the defaults.
        """
        photo = photo_person.photo
        options = options or MeshOptions()
        location = locate_person(photo_person, body, options)
        if isinstance(background, np.ndarray):
            plate = cover_image(background, photo.shape[:2])
            return cls(dress_person(location, options), PersonFrame(photo_person.view, plate, shadows=False))
        if background == "transparent":
            return cls(dress_person(location, options), PersonFrame(photo_person.view, None))
        with ThreadPoolExecutor(1, "background") as pool:
            others = (photo_person.others > 0.5) & ~location.hole
            made_up = pool.submit(inpaint, photo, location.hole, others)
            return cls(dress_person(location, options), PersonFrame(photo_person.view, made_up.result()))

    def render(self, rotations: Tensor, trans: Tensor | None = None) -> DrawnPerson:
        """Draw a pose.

        Args:
            rotations: (24, 3, 3) float. Relative to parents.
            trans: (3,) float, metres; None for the photo's.
        """
        return self.render_all([TargetPose(rotations, self.person.pose.trans if trans is None else trans)])[0]

    @torch.no_grad()
    def render_all(self, poses: Sequence[TargetPose]) -> list[DrawnPerson]:
        """Draw several poses."""
        return [self._rendered(self.person.posed_as(pose)) for pose in poses]

    def _rendered(self, pose: TargetPose) -> DrawnPerson:
        person = self.person
        view = self.frame.view
        surfaces = person.surfaces(pose)
        share_outside = outside(person.body, surfaces[0].vertices, view)
        plate = self.frame.backdrop(person, pose)
        image = np.zeros((*view.size[::-1], 4), np.uint8) if plate is None else plate.copy()
        draw_people(image, surfaces, view)
        return DrawnPerson(image, tuple(person.doubts(pose, share_outside)), person.texture.visible_fraction)


def cover_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale an image to fill `size` (height, width), cropped round its middle."""
    height, width = size
    scale = max(height / image.shape[0], width / image.shape[1])
    new = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    larger = cv2.resize(image, new, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top = (new[1] - height) // 2
    left = (new[0] - width) // 2
    return np.ascontiguousarray(larger[top : top + height, left : left + width, :3])
