"""Figures of one colour, with landmarks on two columns, for what looks at the colours of clothes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.person import DetectedPerson

RED, BLUE, GREY = (200, 40, 40), (40, 60, 200), (120, 120, 120)


def person_at(x: float, **changes: object) -> DetectedPerson:
    """80 pixels tall with its feet at 120; joints on two columns, 10 and 20 pixels from the left."""
    heights = {"shoulder": 18, "elbow": 30, "wrist": 42, "hip": 45, "knee": 62, "ankle": 76, "ear": 5}
    rows = np.zeros((len(BLAZEPOSE33), 3), np.float32)
    for row, name in enumerate(BLAZEPOSE33.joint_names):
        side, _, joint = name.partition("_")
        rows[row] = x + (20 if side == "left" else 10), 40 + heights.get(joint, 5), 1.0
    box = np.array([x, 40, x + 30, 120], np.float32)
    spread = np.ones(len(BLAZEPOSE33), np.float32)
    return replace(DetectedPerson(box, rows, None, spread, None, None, 1.0), **changes)  # type: ignore[arg-type]


def frame_of(*people: tuple[float, tuple[int, int, int]], seed: int = 0) -> np.ndarray:
    """An image (160, 480, 3) with a coloured figure for each, the first in front."""
    random = np.random.default_rng(seed)
    image = cv2.resize(random.integers(0, 255, (8, 24, 3), dtype=np.uint8), (480, 160))
    for x, colour in reversed(people):
        cv2.rectangle(image, (int(x), 40), (int(x) + 30, 120), colour, -1)
    return image
