"""Images of the default body with known truth: random poses, shapes, clothes, cameras, light and backgrounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import SamplingOptions, sample_poses
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.rendering.shading import draw_people
from humanpose_cli.rendering.surfaces import Lighting, Surface

__all__ = ["RenderedPerson", "render_population"]

_SIDE = 640  # pixels
_CLOTHES = {
    "shirt": ("spine1", "spine2", "spine3", "left_collar", "right_collar", "left_shoulder", "right_shoulder"),
    "sleeves": ("left_elbow", "right_elbow"),
    "trousers": ("pelvis", "left_hip", "right_hip"),
    "legs": ("left_knee", "right_knee"),
    "shoes": ("left_ankle", "right_ankle", "left_foot", "right_foot"),
}
_SKIN = np.array([[0.95, 0.78, 0.68], [0.87, 0.67, 0.54], [0.68, 0.47, 0.35], [0.42, 0.28, 0.2]], np.float32)


@dataclass(frozen=True)
class RenderedPerson:
    """One image and its truth.

    image (H, W, 3) uint8; focal pixels; principal_point (2,) pixels; rotations (24, 3, 3) relative, the pelvis body to
    camera; betas (10,); trans (3,) metres; vertices (V, 3), joints (24, 3) metres in camera axes
    """

    image: np.ndarray
    focal: float
    principal_point: np.ndarray
    rotations: Tensor
    betas: Tensor
    trans: Tensor
    vertices: Tensor
    joints: Tensor


def render_population(
    count: int, seed: int, split: str, options: SamplingOptions | None = None
) -> Iterator[RenderedPerson]:
    """`count` images of 640×640 with one person each; `split` of the pose library as in `sample_poses`."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    for poses in sample_poses(count, generator, options, split=split).split(1):
        yield _render(poses[0], rng)


def _render(pose: Tensor, rng: np.random.Generator) -> RenderedPerson:
    body = default_body()
    focal = float(rng.uniform(0.9, 2.0) * _SIDE)
    centre = np.array([_SIDE / 2, _SIDE / 2])
    rotations = pose.clone()
    rotations[0] = _camera(rng) @ pose[0]
    betas = torch.from_numpy(rng.normal(size=(1, body.shape_count)).clip(-2.5, 2.5)).float()
    trans = _translation(body.pose(rotations[None], betas).vertices[0], focal, rng)
    posed = body.pose(rotations[None], betas, trans[None])
    surface = Surface(posed.vertices[0], body.faces, colour=_colours(body.part_labels.numpy(), rng))
    light = rng.normal(size=3) * [0.7, 0.4, 0.4] + [0, -0.6, -0.7]
    lighting = Lighting(direction=tuple(light), ambient=float(rng.uniform(0.25, 0.6)))
    view = Camera(focal, (float(centre[0]), float(centre[1])), (_SIDE, _SIDE))
    drawn = np.rint(255 * np.clip(_background(rng), 0, 1)).astype(np.uint8)
    draw_people(drawn, [surface], view, lighting=lighting)
    image = drawn / np.float64(255)
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 0.9)))
    image = image + rng.normal(scale=rng.uniform(0.002, 0.02), size=image.shape)
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return RenderedPerson(pixels, focal, centre, rotations, betas[0], trans, posed.vertices[0], posed.joints[0])


def _camera(rng: np.random.Generator) -> Tensor:
    """World (y up) to camera axes: any heading, a little pitch (mostly from above) and roll."""
    yaw, pitch, roll = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.normal(-4, 9)), np.deg2rad(rng.normal(0, 3))
    turns = torch.tensor([[0, yaw, 0], [-pitch, 0, 0], [0, 0, roll]], dtype=torch.float32)
    turn_yaw, turn_pitch, turn_roll = axis_angle_to_matrix(turns)
    return turn_roll @ turn_pitch @ torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn_yaw


def _translation(vertices: Tensor, focal: float, rng: np.random.Generator) -> Tensor:
    """A translation at which the body fills 40-95 % of the image and lies inside it or reaches a little out."""
    extent = (vertices.amax(0) - vertices.amin(0)).numpy()
    middle = ((vertices.amax(0) + vertices.amin(0)) / 2).numpy()
    size = max(extent[0], extent[1])
    depth = focal * size / (rng.uniform(0.4, 0.95) * _SIDE) + extent[2] / 2
    free = np.maximum(_SIDE - focal * extent[:2] / depth, 0.1 * _SIDE) / 2
    offset = rng.uniform(-1, 1, size=2) * free * 0.95 * depth / focal
    return torch.from_numpy(np.append(offset, depth) - middle).float()


def _colours(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return colours (V, 3) of skin and of clothes by body part; sleeves, legs and shoes may be missing."""
    skin = _SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.85, 1.05)
    colours = np.broadcast_to(skin, (len(labels), 3)).astype(np.float32).copy()
    shirt, trousers = rng.uniform(0.05, 0.95, size=(2, 3))
    paint = {
        "shirt": shirt,
        "sleeves": shirt if rng.random() < 0.5 else skin,
        "trousers": trousers,
        "legs": trousers if rng.random() < 0.75 else skin,
        "shoes": rng.uniform(0.05, 0.9, size=3),
    }
    for garment, joints in _CLOTHES.items():
        colours[np.isin(labels, SMPL24.indices(joints))] = paint[garment]
    return colours.clip(0, 1)


def _background(rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3): a floor, a wall and coloured rectangles, more or less blurred."""
    image = np.empty((_SIDE, _SIDE, 3), np.float32)
    horizon = int(rng.uniform(0.35, 0.8) * _SIDE)
    image[:horizon], image[horizon:] = rng.uniform(0.1, 0.95, size=(2, 3))
    for _ in range(rng.integers(0, 25)):
        x, y = rng.integers(0, _SIDE, size=2)
        w, h = (rng.uniform(0.02, 0.35, size=2) * _SIDE).astype(int)
        image[y : y + h, x : x + w] = rng.uniform(0, 1, size=3)
    blurred = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 6)))
    shade = np.linspace(rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.2), _SIDE, dtype=np.float32)
    return np.clip(blurred * shade[:, None, None], 0, 1)
