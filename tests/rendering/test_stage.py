"""Stages: where the camera stands, that everything is in the image, and what lies on the floor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from humanpose_cli.rendering.stage import Stage
from humanpose_cli.rendering.surfaces import Surface

SIZE = (120, 160)
RED, FACES = (1.0, 0.0, 0.0), torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], dtype=torch.int32)


def tetrahedron(x: float, y: float, z: float) -> Surface:
    corners = torch.tensor([(1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0)])
    return Surface(0.1 * corners + torch.tensor((x, y, z)), FACES, RED)


def red(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels = image.astype(int)
    rows, columns = np.nonzero(pixels[..., 0] - pixels[..., 1] > 60)
    return columns, rows


@pytest.mark.parametrize(
    ("azimuth", "position", "side"),
    [(0, (0.5, 0, 0), "right"), (0, (-0.5, 0, 0), "left"), (90, (0, 0, 0.5), "right"), (-90, (0, 0, 0.5), "left")],
)
def test_the_camera_stands_where_the_azimuth_puts_it(azimuth, position, side):
    stage = Stage((0.0, -1.0, 0.0), 4.0, azimuth, 0.0, SIZE)
    x, y, z = position
    columns, rows = red(stage.draw([tetrahedron(x, y - 1, z)]))
    assert (columns.mean() > SIZE[0] / 2) == (side == "right")
    assert abs(rows.mean() - SIZE[1] / 2) < 2


def test_what_is_higher_is_drawn_above():
    stage = Stage((0.0, -1.0, 0.0), 4.0, 30.0, 10.0, SIZE)
    _, high = red(stage.draw([tetrahedron(0, -1.5, 0)]))
    _, low = red(stage.draw([tetrahedron(0, -0.5, 0)]))
    assert high.max() < low.min()


@pytest.mark.parametrize("azimuth", [0, 35, 90, 200])
def test_everything_is_in_the_image_and_fills_it(azimuth):
    vertices = torch.tensor([(-0.4, -1.8, 2.0), (0.4, -1.8, 2.6), (0.4, 0.0, 2.6), (-0.4, 0.0, 2.0)])
    stage = Stage.around(vertices, SIZE, azimuth)
    columns, rows = red(stage.draw([Surface(vertices, FACES, RED)]))
    assert columns.min() > 0
    assert columns.max() < SIZE[0] - 1
    assert rows.min() > 0
    assert rows.max() < SIZE[1] - 1
    assert np.ptp(rows) > 0.8 * SIZE[1]


def test_a_body_darkens_the_floor_below_it_and_leaves_the_rest():
    stage = Stage((0.0, -0.5, 0.0), 4.0, 0.0, 25.0, SIZE)
    empty, drawn = stage.draw([]).astype(int), stage.draw([tetrahedron(0, -1, 0)]).astype(int)
    darker = (empty - drawn).max(2) > 20
    columns, rows = red(drawn)
    below = darker.copy()
    below[: rows.max() + 1] = False
    assert below.any()
    assert abs(np.nonzero(below)[1].mean() - columns.mean()) < 4
    assert not darker[:, 0].any()
