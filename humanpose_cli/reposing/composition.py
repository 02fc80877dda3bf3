"""Composition of reposed images from people, background, and people in front.

From back to front: background, shadows, the reposed people from the farthest to the nearest, people of the photograph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.mesh import DrawnPerson, MeshReposer, PersonFrame, shaded
from humanpose_cli.avatar.person import Doubt, TargetPose
from humanpose_cli.core.blocks import made_in_threads
from humanpose_cli.rendering.boxes import Box
from humanpose_cli.reposing.canvas import Shift, put_on_canvas
from humanpose_cli.reposing.layers import Layers, lay_over
from humanpose_cli.reposing.options import check_drawn_size
from humanpose_cli.reposing.warping import WarpReposer

Plate: TypeAlias = "NDArray[np.uint8] | None"
"""A background (H, W, 3); None for transparent."""


@dataclass(frozen=True, eq=False)
class ReposedImage:
    """A reposed image.

    Attributes:
        image: (H, W, 3) uint8 RGB, or (H, W, 4) with straight alpha.
        doubts: The reasons why each of P people may look wrong.
        visible_fraction: The share of a person's surface that the photo shows, the smallest of all people.
        methods: How each of P people was drawn.
        moved: How each of P people was moved along the ground to stay in the image.
        layers: The layers; None unless `ReposeOptions.layers`.
    """

    image: np.ndarray
    doubts: tuple[tuple[Doubt, ...], ...]
    visible_fraction: float
    methods: tuple[Literal["mesh", "warp3d"], ...]
    moved: tuple[Shift, ...]
    layers: Layers | None = None


class PersonInFront(NamedTuple):
    """A person who is not redrawn and stands in front of the redrawn one.

    Attributes:
        distance: The distance from the camera, metres.
        box: The person's rectangle in the image.
        alpha: (h, w) uint8. The person's mask in the rectangle.
    """

    distance: float
    box: Box
    alpha: NDArray[np.uint8]

    def on_canvas(self, canvas: Box) -> PersonInFront | None:
        """Cut the person to a canvas, a rectangle in pixels of the photo; None if they are outside."""
        visible = self.box.intersect(canvas)
        if visible.empty:
            return None
        part = Box(visible.x0 - canvas.x0, visible.y0 - canvas.y0, visible.x1 - canvas.x0, visible.y1 - canvas.y0)
        return PersonInFront(self.distance, part, self.alpha[visible.slices_in(self.box)])


@dataclass(frozen=True, eq=False)
class Composition:
    """People and a background from which images of any poses are composed.

    Attributes:
        photo: (H, W, 3) uint8 RGB. The photo on the drawn frame.
        drawers: One for each reposed person.
        plate: The common background of several people; a single person's is in the drawer's frame.
        shadows: Whether people darken `plate`, which is the photo's.
        in_front: People of the photo who stay in front of the reposed one.
        size: The longer side of the results, pixels; None for the photo's.
        layered: Whether images come with their layers.
        poses_at_once: The number of poses that are drawn together.
    """

    photo: NDArray[np.uint8]
    drawers: Sequence[MeshReposer | WarpReposer]
    plate: Plate
    shadows: bool
    in_front: Sequence[PersonInFront]
    size: int | None
    layered: bool
    poses_at_once: int

    def on_canvas(self, canvas: Box, extended: Callable[[Plate], Plate]) -> Composition:
        """Move the people and the background to a canvas.

        Args:
            canvas: The rectangle in pixels of the photo.
            extended: Continues a background on the canvas.
        """
        frames = [
            replace(d.frame, view=d.frame.view.part(canvas), background=extended(d.frame.background))
            for d in self.drawers
        ]
        return replace(
            self,
            photo=np.asarray(put_on_canvas(self.photo, canvas), np.uint8),
            drawers=[replace(drawer, frame=frame) for drawer, frame in zip(self.drawers, frames, strict=True)],
            plate=extended(self.plate),
            in_front=[part for person in self.in_front if (part := person.on_canvas(canvas)) is not None],
        )

    def images(self, poses: Sequence[Sequence[TargetPose]], shifts: tuple[Shift, ...]) -> Iterator[ReposedImage]:
        """Draw an image for each of T poses of all people.

        Args:
            poses: For each image, the pose of each person.
            shifts: How each person was moved along the ground.
        """
        if self.target_size is not None:
            check_drawn_size("size", self.target_size, layers=self.layered)

        def batch(start: int) -> list[ReposedImage]:
            chunk = poses[start : start + self.poses_at_once]
            poses_by_person = zip(self.drawers, zip(*chunk, strict=True), strict=True)
            drawings = zip(*(drawer.render_all(list(motion)) for drawer, motion in poses_by_person), strict=True)
            return [
                self._composed(image_poses, people, shifts) for image_poses, people in zip(chunk, drawings, strict=True)
            ]

        starts = range(0, len(poses), self.poses_at_once)
        on_gpu = any(drawer.person.pose.rotations.is_cuda for drawer in self.drawers)
        if self.poses_at_once == 1 and min(len(starts), torch.get_num_threads()) > 1 and not on_gpu:
            with made_in_threads(batch, starts) as ahead:
                yield from chain.from_iterable(ahead)
        else:
            yield from chain.from_iterable(map(batch, starts))

    def _composed(
        self, poses: Sequence[TargetPose], people: Sequence[DrawnPerson], shifts: tuple[Shift, ...]
    ) -> ReposedImage:
        plate = self.plate
        if plate is not None and self.shadows:
            for drawer, pose in zip(self.drawers, poses, strict=True):
                plate = shaded(plate, drawer.person, pose, drawer.frame.view)
        depths = [float(pose.trans[2]) for pose in poses]
        image = self._together([person.image for person in people], depths, plate, poses)
        for person in self.in_front:
            if person.distance < depths[0]:
                share = (person.alpha / np.float32(255))[..., None]
                part = image[person.box.slices]
                part[...] = np.rint(self.photo[person.box.slices] * share + part * (1 - share))
        if (size := self.target_size) is not None:
            flags = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_CUBIC
            image = cv2.resize(image, size, interpolation=flags)
        return ReposedImage(
            image=image,
            doubts=tuple(person.doubts for person in people),
            visible_fraction=min(person.visible_fraction for person in people),
            methods=tuple("mesh" if isinstance(drawer, MeshReposer) else "warp3d" for drawer in self.drawers),
            moved=shifts,
            layers=self._layers(poses) if self.layered else None,
        )

    def _together(
        self, layers: Sequence[np.ndarray], depths: Sequence[float], plate: Plate, poses: Sequence[TargetPose]
    ) -> np.ndarray:
        """Compose people (H, W, 4) over the plate, or over the shadow of a transparent image."""
        transparent = layers[0].shape[2] == 4 and plate is None
        if len(layers) == 1 and not transparent:
            return layers[0]
        image = np.zeros((*self.photo.shape[:2], 4), np.float32)
        if plate is not None:
            image[..., :3] = plate
            image[..., 3] = 255
        else:
            image[..., 3] = 255 * self._shadow(poses)
        for index in np.argsort(depths)[::-1]:
            lay_over(image, layers[index].astype(np.float32))
        pixels = np.clip(image + 0.5, 0, 255).astype(np.uint8)
        return pixels if plate is None else pixels[..., :3]

    def _layers(self, poses: Sequence[TargetPose]) -> Layers:
        """Draw the layers of an image."""
        shape = self.photo.shape[:2]
        person = np.zeros((*shape, 4), np.float32)
        nearest = np.full(shape, np.inf, np.float32)
        for index in np.argsort([float(pose.trans[2]) for pose in poses])[::-1]:
            pose = poses[index]
            drawer = self.drawers[index]
            alone = replace(drawer, frame=PersonFrame(drawer.frame.view, None))
            lay_over(person, alone.render_all([pose])[0].image.astype(np.float32))
            depth = drawer.person.depth(pose, drawer.frame.view)
            np.minimum(nearest, np.where(depth > 0, depth, np.inf), out=nearest)
        front = self._front(float(poses[0].trans[2]))
        layers = Layers(
            person=np.rint(person).astype(np.uint8),
            shadow=self._shadow(poses),
            background=self.drawers[0].frame.background if len(poses) == 1 else self.plate,
            front=front,
            matte=(person[..., 3] / 255 * (1 - front[..., 3] / np.float32(255))).astype(np.float32),
            depth=np.where((person[..., 3] > 0) & np.isfinite(nearest), nearest, 0).astype(np.float32),
        )
        size = self.target_size
        return layers if size is None else layers.sized(size)

    def _shadow(self, poses: Sequence[TargetPose]) -> NDArray[np.float32]:
        """Return the share (H, W) of light that the people's shadows take; 0 over a user's background."""
        light = np.ones(self.photo.shape[:2], np.float32)
        for drawer, pose in zip(self.drawers, poses, strict=True):
            shadow = drawer.person.shadow(pose, drawer.frame.view) if self.shadows else None
            if shadow is not None:
                box, share = shadow
                light[box.slices] *= share
        return 1 - light

    def _front(self, distance: float) -> NDArray[np.uint8]:
        """Cut out the photo's people (H, W, 4), straight alpha, who are nearer than the redrawn one."""
        front = np.zeros((*self.photo.shape[:2], 4), np.float32)
        for person in self.in_front:
            if person.distance < distance:
                colours = np.dstack((self.photo[person.box.slices], person.alpha))
                lay_over(front[person.box.slices], colours.astype(np.float32))
        return np.rint(front).astype(np.uint8)

    @property
    def target_size(self) -> tuple[int, int] | None:
        """The width and height of the results if they differ from what is drawn."""
        height, width = self.photo.shape[:2]
        if self.size is None or max(height, width) == self.size:
            return None
        scale = self.size / max(height, width)
        return max(1, round(width * scale)), max(1, round(height * scale))
