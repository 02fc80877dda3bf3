"""MoveNet: 17 joints of the person in a crop (Thunder), or of up to six people in an image (MultiPose).

The decoding follows the end of the original TensorFlow graphs, for batches. Cells are four pixels wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from humanpose_cli.detect.runtime import run_network

THUNDER_SIZE = 256  # pixels of Thunder's square input
MULTIPOSE_STEP = 32  # pixels that divide the sides of MultiPose's input
_JOINTS = 17
_CELL = 4  # pixels

_NEAREST = np.float32(1.7998047)  # cells: how far from its regressed point a joint is not yet penalised much
_MAX_PEOPLE = 6  # of MultiPose
_SAME_PEAK = np.float32(1.0132789611816406e-06)
_WIDTH = np.float32(0.300048828125)  # of the shorter side: squared width of the window around a regressed joint
_MIN_SCORE = np.float32(0.126953125)  # score of a joint that counts for its person


def single_pose(crops: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Find the joints of the person nearest to the middle of each crop.

    Args:
        crops: (N, 256, 256, 3) uint8 RGB. The person is upright.
        device: "cpu" or "cuda:N".

    Returns:
        (N, 17, 3) float32, rows of COCO17. x, y in pixels of the crop, and score 0…1.
    """
    outputs = ("centre", "regression", "heatmap", "offset")
    centre, regression, heatmap, offset = run_network("movenet-thunder", outputs, crops, device)
    number = np.arange(len(crops))
    side = heatmap.shape[-1]
    y, x = np.divmod(centre.reshape(len(crops), -1).argmax(1), side)
    offsets = regression.reshape(-1, _JOINTS, 2, side, side)[number, ..., y, x]  # (N, 17, 2) y, x
    joints = offsets + np.stack([y, x], axis=1)[:, None].astype(np.float32)
    cells = np.arange(side, dtype=np.float32)
    rows = (cells - joints[..., :1]) ** 2
    columns = (cells - joints[..., 1:]) ** 2
    distances = np.sqrt(rows[..., :, None] + columns[..., None, :])  # (N, 17, S, S) cells
    best = (heatmap / (distances + _NEAREST)).reshape(len(crops), _JOINTS, -1).argmax(-1)
    rows, columns = np.divmod(best, side)
    joint_rows = number[:, None], np.arange(_JOINTS)
    offset = offset.reshape(-1, _JOINTS, 2, side, side)[joint_rows[0], joint_rows[1], :, rows, columns]
    points = (np.stack([columns, rows], axis=-1) + offset[..., ::-1]) * _CELL
    return np.concatenate([points, heatmap[joint_rows[0], joint_rows[1], rows, columns][..., None]], axis=-1).astype(
        np.float32
    )


@dataclass(frozen=True)
class MultiPosePeople:
    """The people in an image, best first; lengths in pixels of the network's input.

    Attributes:
        scores: (P,) float32, 0…1.
        boxes: (P, 4) float32, x0 y0 x1 y1.
        joints: (P, 17, 3) float32, rows of COCO17. x, y and score 0…1.
    """

    scores: np.ndarray
    boxes: np.ndarray
    joints: np.ndarray


def multi_pose(images: np.ndarray, device: str = "cpu") -> list[MultiPosePeople]:
    """Detect up to six people in each image.

    Args:
        images: (N, H, W, 3) uint8 RGB, whose sides are multiples of 32.
        device: "cpu" or "cuda:N".
    """
    outputs = ("centre", "regression", "heatmap", "offset", "box_offset", "box_size")
    maps = run_network("movenet-multipose", outputs, images, device)
    return [_people(**dict(zip(outputs, image, strict=True))) for image in zip(*maps, strict=True)]


def _people(
    centre: np.ndarray,
    regression: np.ndarray,
    heatmap: np.ndarray,
    offset: np.ndarray,
    box_offset: np.ndarray,
    box_size: np.ndarray,
) -> MultiPosePeople:
    """Decode the people of an image from maps (C, H, W)."""
    height, width = centre.shape[1:]
    peaks = cv2.dilate(centre[0], np.ones((5, 5), np.uint8), borderType=cv2.BORDER_REPLICATE)
    peak_scores = np.where(np.abs(centre[0] - peaks) < _SAME_PEAK, centre[0], np.float32(0)).ravel()
    order = np.argsort(-peak_scores, kind="stable")[:_MAX_PEOPLE]
    people = len(order)
    y, x = np.divmod(order, width)
    middle = np.stack([y, x], axis=1).astype(np.float32)  # (P, 2) y, x cells

    limits = np.array([height, width], np.float32)
    half = np.maximum(box_size[:, y, x].T, 0) / 2
    box_middle = middle + box_offset[:, y, x].T
    low = np.clip(box_middle - half, 0, limits)
    high = np.clip(box_middle + half, 0, limits)

    joint_positions = middle[:, None] + regression.reshape(_JOINTS, 2, height, width)[:, :, y, x].transpose(2, 0, 1)
    cells = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    variance = np.float32(min(height, width)) * _WIDTH
    rows = np.exp(-((cells[0] - joint_positions[..., :1]) ** 2) / variance)  # (P, 17, H)
    columns = np.exp(-((cells[1] - joint_positions[..., 1:]) ** 2) / variance)
    rows = rows * ((cells[0] >= low[:, :1]) & (cells[0] < high[:, :1]))[:, None]
    columns = columns * ((cells[1] >= low[:, 1:]) & (cells[1] < high[:, 1:]))[:, None]
    near = heatmap * rows[..., :, None] * columns[..., None, :]  # (P, 17, H, W)
    best = near.reshape(people, _JOINTS, -1).argmax(-1)
    row, column = np.divmod(best, width)
    joint = np.arange(_JOINTS)
    shift = offset.reshape(_JOINTS, 2, height, width)[joint, :, row, column]  # (P, 17, 2) y, x
    points = (np.stack([column, row], axis=-1) + shift[..., ::-1]) * _CELL
    joint_scores = near.max(0)[joint, row, column]  # a cell that two people claim counts for both

    visible = joint_scores > _MIN_SCORE
    scores = peak_scores[order] * np.where(visible, joint_scores, 0).sum(1) / np.maximum(visible.sum(1), 1)
    return MultiPosePeople(
        scores.astype(np.float32),
        np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1) * _CELL,
        np.concatenate([points, joint_scores[..., None]], axis=-1).astype(np.float32),
    )
