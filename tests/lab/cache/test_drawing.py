from __future__ import annotations

import numpy as np

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.lab.cache.drawing import draw_keypoints
from humanpose_cli.rendering.overlay import person_colour


def test_keypoints_are_drawn_where_they_are() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    keypoints = np.zeros((len(COCO17), 3))
    keypoints[COCO17.index("left_shoulder")] = (40.5, 60.5, 0.9)
    keypoints[COCO17.index("left_elbow")] = (100.5, 60.5, 0.9)
    keypoints[COCO17.index("nose")] = (80.5, 20.5, 0.1)
    draw_keypoints(image, keypoints, COCO17, person_colour(0))
    drawn = image.any(-1)
    assert drawn[60, 38:103].all()
    assert not drawn[:50].any(), "an uncertain keypoint was drawn"
    ys, xs = np.nonzero(drawn)
    assert abs(ys.mean() - 60) < 0.1
    assert abs(xs.mean() - 70) < 0.5


def test_keypoints_that_are_nowhere_are_left_out() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    keypoints = np.full((len(COCO17), 2), np.nan)
    keypoints[0] = (1e12, -1e12)
    draw_keypoints(image, keypoints, COCO17, person_colour(0))
    assert not image.any()
