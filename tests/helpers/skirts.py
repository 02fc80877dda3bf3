"""Somebody in a green skirt, painted over the stage's person."""

import cv2
import numpy as np
import torch

from helpers.repose_stage import Stage, mesh_reposer
from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions

GREEN = (20, 190, 40)
APART = {"left_hip": (0.0, 0.0, 0.22), "right_hip": (0.0, 0.0, -0.22)}
Photo = tuple[np.ndarray, np.ndarray]


def in_a_skirt(stage: Stage, rotations: torch.Tensor) -> Photo:
    """Somebody in a green skirt from the hips to below the knees, wider than their legs."""
    photo, mask = stage.person(rotations)
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hips, knees = (stage.view.project(joints[[left, left + 1]]).numpy() for left in (1, 4))
    wide = 0.8 * abs(knees[0, 0] - knees[1, 0])
    top, bottom, middle = hips[:, 1].mean(), knees[:, 1].mean() + 12, hips[:, 0].mean()
    corners = [(middle - 24, top), (middle + 24, top), (middle + wide, bottom), (middle - wide, bottom)]
    skirt = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(skirt, [np.rint(corners).astype(np.int32)], 1)
    return np.where(skirt[..., None] > 0, np.uint8(GREEN), photo), np.maximum(mask, skirt).astype(np.float32)


def reposer_of(stage: Stage, photo: Photo, rotations: torch.Tensor) -> MeshReposer:
    options = MeshOptions()
    return mesh_reposer(*photo, stage.fitted(rotations), stage.body, background="transparent", options=options)


def green(image: np.ndarray) -> np.ndarray:
    return (image[..., 3] > 128) & (image[..., 1] > 150) & (image[..., 0] < 90) & (image[..., 2] < 90)
