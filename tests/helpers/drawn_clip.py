"""A drawn clip of a person whose true bodies are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.body.parts import PARTS12
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.shading import draw_people, render_people
from humanpose_cli.rendering.surfaces import Lighting, Surface, Texture

Array = NDArray[Any]

Colour = tuple[int, int, int]


_SKIN = (206, 160, 132)  # colours are RGB
_HAIR = (66, 44, 32)
_SHIRT = (36, 78, 118)
_STRIPE = (226, 222, 208)
_TROUSERS = (74, 70, 66)
_SHOES = (38, 34, 34)
_LIPS = (176, 96, 90)
_IRIS = (52, 40, 34)
_WHITE = (236, 232, 226)
_STRIPE_METRES = 0.085  # height of a stripe and the gap below it
_BELT = 0.03  # metres above the pelvis joint, where the shirt ends
_SHIRT_PARTS = ("upper_torso", "left_upper_arm", "right_upper_arm")
_LEG_PARTS = ("pelvis", "left_thigh", "right_thigh", "left_shank", "right_shank")


def _paint_outfit(body: Body, size: int = 1024) -> NDArray[np.uint8]:
    """Paint a texture (size, size, 3) uint8: striped shirt, trousers, shoes, hair, a face."""
    texels = TexelMap(body.uv, body.uv_faces, size)
    position = texels.interpolate(body.template.numpy(), body.faces)  # (size, size, 3) metres, on the resting body
    one_hot = np.eye(len(PARTS12), dtype=np.float32)[PARTS12.labels(body.part_labels).numpy()]
    part = texels.interpolate(one_hot, body.faces).argmax(-1)
    colour = np.full((size, size, 3), _SKIN, np.float32)
    colour[_in_parts(part, _LEG_PARTS)] = _TROUSERS
    shirt = _in_parts(part, _SHIRT_PARTS) | (_in_parts(part, ("pelvis",)) & (position[..., 1] > _BELT))
    colour[shirt] = _SHIRT
    colour[shirt & ((position[..., 1] / _STRIPE_METRES) % 1 < 0.4)] = _STRIPE
    feet = SMPL24.indices(("left_ankle", "right_ankle", "left_foot", "right_foot"))
    is_foot = np.isin(body.part_labels.numpy(), feet).astype(np.float32)
    colour[texels.interpolate(is_foot[:, None], body.faces)[..., 0] > 0.5] = _SHOES
    _paint_head(body, colour, part, position)
    _weave(colour, position)
    texels.bleed(colour)
    return np.clip(colour, 0, 255).astype(np.uint8)


def _in_parts(part: Array, names: tuple[str, ...]) -> Array:
    return np.isin(part, [PARTS12.names.index(name) for name in names])


def _paint_head(body: Body, colour: Array, part: Array, position: Array) -> None:
    points = body.landmarks("face13")
    landmarks = dict(zip(points.skeleton.joint_names, points.template.numpy(), strict=True))
    head = _in_parts(part, ("head", "neck"))
    ear = landmarks["left_ear"]
    eye = landmarks["left_eye"]
    behind = position[..., 2] < ear[2] + 0.015
    crown = position[..., 1] > eye[1] + 0.055
    colour[head & (position[..., 1] > ear[1] - 0.05) & (behind | crown)] = _HAIR
    for side in ("left", "right"):
        _dot(colour, head, position, landmarks[f"{side}_eye"], (0.013, 0.006), _WHITE)
        _dot(colour, head, position, landmarks[f"{side}_eye"], (0.006, 0.006), _IRIS)
        _dot(colour, head, position, landmarks[f"{side}_eye"] + np.array([0, 0.022, 0]), (0.018, 0.004), _HAIR)
    mouth = (landmarks["left_mouth"] + landmarks["right_mouth"]) / 2
    _dot(colour, head, position, mouth, (abs(landmarks["left_mouth"][0]), 0.007), _LIPS)


def _dot(colour: Array, head: Array, position: Array, centre: Array, radii: tuple[float, float], paint: Colour) -> None:
    """Paint an ellipse on the front of the head, radii in metres along x and y."""
    offset = (position[..., :2] - centre[:2]) / np.asarray(radii, np.float32)
    colour[head & (position[..., 2] > 0.04) & ((offset**2).sum(-1) < 1)] = paint


def _weave(colour: Array, position: Array) -> None:
    """Vary the brightness slowly and fast with the position on the body, as on cloth and skin."""
    grid = np.random.default_rng(0).normal(0, 1, (64, 64, 2)).astype(np.float32)
    slow = gaussian_filter(grid[..., 0], 1.5, mode="wrap") * 3

    def cell(metres: float) -> tuple[Array, Array]:
        x, y = (np.floor(position[..., axis] / metres).astype(int) % 64 for axis in (0, 1))
        return y, x

    colour *= (1 + 0.05 * slow[cell(1 / 60)] + 0.03 * grid[..., 1][cell(1 / 400)])[..., None]


_CLIP = "soccer_01"
_FRAMES = slice(14, 104, 2)
_SIZE = (480, 640)  # pixels: height and width
_FOCAL = 700.0  # pixels
_CAMERA_HEIGHT = 1.25  # metres
_DISTANCE = 5.0  # metres
_BETAS = (0.5, -0.6, 0.4, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0)
_LIGHT = Lighting(direction=(-0.5, -0.8, -0.5), ambient=0.45, rim=0.0)
_Y_UP_TO_CAMERA = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
"""(3, 3) float. From a world with y up to camera axes."""


@dataclass(frozen=True)
class DrawnClip:
    """A drawn clip: its camera, its true bodies, and its frames.

    Attributes:
        body: The body model.
        frame_rate: Frames per second.
        focal: The focal length, pixels.
        size: The height and width, pixels.
        rotations: (T, 24, 3, 3) float. Relative to parents; the pelvis maps body to camera axes.
        betas: (1, 10) float. The shape.
        trans: (T, 3) float, metres in camera axes.
    """

    body: Body
    frame_rate: float
    focal: float
    size: tuple[int, int]
    rotations: Tensor
    betas: Tensor
    trans: Tensor

    @classmethod
    def make(cls, body: Body) -> DrawnClip:
        """Place the motion in front of the camera, seen obliquely from its side."""
        motion = pose_library().clip(_CLIP)
        poses = motion.poses[_FRAMES]
        pelvis = motion.pelvis[_FRAMES]
        rotations = axis_angle_to_matrix(poses.view(len(poses), len(SMPL24), 3))
        path = pelvis[-1] - pelvis[0]
        heading = float(torch.atan2(path[0], path[2]))
        # Walking slightly towards the camera, from left to right.
        turn = axis_angle_to_matrix(torch.tensor([0.0, 1.35 - heading, 0.0]))
        world_to_camera = _Y_UP_TO_CAMERA @ turn
        rotations[:, SMPL24.index("pelvis")] = world_to_camera @ rotations[:, SMPL24.index("pelvis")]
        centre = (pelvis.amin(0) + pelvis.amax(0)) / 2
        offset = torch.tensor([centre[0], _CAMERA_HEIGHT, centre[2]])
        trans = (pelvis - offset) @ world_to_camera.mT + torch.tensor([0.0, 0.0, _DISTANCE])
        rate = motion.frame_rate / (_FRAMES.step or 1)
        return cls(body, rate, _FOCAL, _SIZE, rotations, torch.tensor([_BETAS]), trans)

    def __len__(self) -> int:
        return len(self.rotations)

    def posed(self, rows: slice = slice(None), *, vertices: bool = False) -> PosedBody:
        """Return the true bodies of some frames, in camera axes."""
        return self.body.pose(self.rotations[rows], self.betas, self.trans[rows], vertices=vertices)

    @property
    def view(self) -> Camera:
        """The camera."""
        return Camera.of_image(self.size[::-1], self.focal)

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Draw the images (H, W, 3) uint8, one by one."""
        texture = _dressed(self.body)
        background = _street(self.size, self.focal)
        noise = np.random.default_rng(0)
        for rotations, trans in zip(self.rotations, self.trans, strict=True):
            image = _compose(self._surface(rotations, trans, texture), self.view, background)
            yield np.clip(image + noise.normal(0, 2.0, image.shape), 0, 255).astype(np.uint8)

    def image(self, rotations: Tensor, trans: Tensor) -> NDArray[np.uint8]:
        """Draw the person in another pose over the same background: the truth for a reposed frame."""
        surface = self._surface(rotations, trans, _dressed(self.body))
        return _compose(surface, self.view, _street(self.size, self.focal))

    def silhouette(self, rotations: Tensor, trans: Tensor) -> NDArray[np.bool_]:
        """Return the person's pixels (H, W) in such an image."""
        return render_people([self._surface(rotations, trans)], self.view)[..., 3] > 128

    def _surface(self, rotations: Tensor, trans: Tensor, texture: Texture | None = None) -> Surface:
        vertices = self.body.pose(rotations[None], self.betas, trans[None]).vertices
        assert vertices is not None
        return Surface(vertices[0], self.body.faces, texture=texture)


def _dressed(body: Body) -> Texture:
    return Texture(_paint_outfit(body), body.uv, body.uv_faces)


def _compose(person: Surface, view: Camera, background: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a person over a background (H, W, 3), with a soft dark patch on the ground below."""
    y, x = np.mgrid[: background.shape[0], : background.shape[1]].astype(np.float32)
    feet = person.vertices[person.vertices[:, 1].argmax()]
    foot = view.project(feet[None])[0].numpy()
    radius = 0.45 * view.focal / max(float(feet[2]), 0.5)
    distance = ((x - foot[0]) / radius) ** 2 + ((y - foot[1]) / (0.28 * radius)) ** 2
    image = background * (1 - 0.45 * np.exp(-distance))[..., None]
    drawn = image.astype(np.uint8)
    draw_people(drawn, [person], view, lighting=_LIGHT)
    return drawn


def _street(size: tuple[int, int], focal: float) -> NDArray[np.float32]:
    """Draw a brick wall behind grass in perspective, (H, W, 3) float32 in 0…255, from photographs of both."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    ray_x = (x - width / 2) / focal
    ray_y = (y - height / 2) / focal
    wall_depth = _DISTANCE + 3.0
    on_wall = ray_y * wall_depth < _CAMERA_HEIGHT
    depth = np.where(on_wall, wall_depth, _CAMERA_HEIGHT / np.maximum(ray_y, 1e-3))
    across = ray_x * depth
    up = np.where(on_wall, ray_y * depth, depth)
    bricks = _tile(skimage.data.brick().T, across, up, 2.4, wall_depth / focal)
    grass = _tile(skimage.data.grass(), across, up, 1.2, 2 * wall_depth / focal)
    wall = bricks * np.array([0.86, 0.66, 0.56], np.float32) + 40
    lawn = grass * np.array([0.62, 0.86, 0.45], np.float32) + 18
    return np.where(on_wall[..., None], wall, lawn).astype(np.float32)


def _tile(
    image: NDArray[np.uint8], u: NDArray[np.float32], v: NDArray[np.float32], metres: float, metres_per_pixel: float
) -> NDArray[np.float32]:
    """Repeat a grey image every `metres`, as (H, W, 1)."""
    side = max(16, round(metres / metres_per_pixel))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    plane = cv2.remap(
        np.pad(small, ((0, 1), (0, 1)), mode="wrap"),
        ((u / metres) % 1 * side).astype(np.float32),
        ((v / metres) % 1 * side).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    return np.asarray(plane, np.float32)[..., None]
