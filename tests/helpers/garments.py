"""Garments as meshes for tests: tubes round the resting body, a person who wears two of them, and where they are."""

from __future__ import annotations

import numpy as np
import torch

from humanpose_cli.avatar.garment import Garment
from humanpose_cli.avatar.look import Look
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.overlays import posed_people
from humanpose_cli.fitting.result import Fit

COLOURS = {"skirt": (200, 40, 40), "band": (40, 60, 200)}
_AROUND, _ROWS = 24, 5


def tube(body: Body, betas: np.ndarray, name: str, upper: str, lower: str, radius: float) -> Garment:
    """A tube from one joint down to the height of another; its lower rows move with both thighs."""
    rest = body.rest(torch.from_numpy(betas).float()[None])
    joints = rest.joints[0].double().numpy()
    top, bottom = (joints[SMPL24.index(joint)] for joint in (upper, lower))
    rows, angles = np.linspace(0, 1, _ROWS), np.arange(_AROUND) * 2 * np.pi / _AROUND
    ring = radius * np.stack((np.sin(angles), 0 * angles, np.cos(angles)), 1)
    middle = np.stack([(0 * rows + top[0]), top[1] + rows * (bottom[1] - top[1]), 0 * rows + top[2]], 1)
    vertices = (middle[:, None] + ring).reshape(-1, 3).astype(np.float32)
    row, column = np.divmod(np.arange((_ROWS - 1) * _AROUND), _AROUND)

    def triangles(width: int) -> np.ndarray:  # with a seam if `width` is a column more than the vertices have
        following = (column + 1) % width
        a, b = row * width + column, row * width + following
        return np.concatenate((np.stack((a, a + width, b), 1), np.stack((b, a + width, b + width), 1))).astype(np.int32)

    uv = np.stack(np.meshgrid(np.linspace(0, 1, _AROUND + 1), rows), -1).reshape(-1, 2).astype(np.float32)
    left, right, hips = (SMPL24.index(joint) for joint in ("left_hip", "right_hip", upper))
    bones = np.tile(np.int32([hips, left, right, 0]), (len(vertices), 1))
    down = np.repeat(rows, _AROUND)
    side = (1 + np.tile(np.sin(angles), _ROWS)) / 2
    weights = np.stack((1 - down, down * side, down * (1 - side), 0 * down), 1).astype(np.float32)
    image = np.tile(np.uint8(COLOURS[name]), (8, 16, 1))
    return Garment(name, vertices, triangles(_AROUND), uv, triangles(_AROUND + 1), bones, weights, image)


def worn(body: Body, betas: np.ndarray) -> Look:
    """A grey person with a skirt, which hides thighs, and a band round the trunk."""
    garments = (
        tube(body, betas, "skirt", "pelvis", "left_knee", 0.4),
        tube(body, betas, "band", "spine3", "spine1", 0.3),
    )
    labels = body.part_labels.numpy()[body.faces.numpy()]
    hidden = (labels == SMPL24.index("left_hip")).all(1)
    return Look(np.full((8, 8, 3), 128, np.uint8), None, garments, hidden)


def garment_in_world(fit: Fit, row: int, body: Body, garment: Garment) -> np.ndarray:
    """The vertices (N, 3) of a garment on a row of a fit, metres in the world, y up."""
    points = garment.pose(posed_people(body, fit, np.array([row]))).double().numpy()
    camera = fit.world_to_camera[fit.frame_index[row]].astype(np.float64)
    return (points - camera[:3, 3]) @ camera[:3, :3] * (1, -1, -1)
