"""Keypoints of people, and such as are off by a known similarity."""

from __future__ import annotations

from typing import Any

import numpy as np

from humanpose_cli.core.conventions import COCO17
from humanpose_cli.lab.metrics.keypoints import SIGMAS

AREA = 6400.0


def people(count: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (T, 17, 3) of people 400 pixels apart, areas and boxes."""
    random = np.random.default_rng(seed)
    points = random.uniform(0, 100, (count, 17, 2)) + 400 * np.arange(count)[:, None, None]
    boxes = np.concatenate((points.min(1), points.max(1)), 1)
    return np.concatenate((points, np.ones((count, 17, 1))), -1), np.full(count, AREA), boxes


def shifted(true: np.ndarray, similarity: float) -> np.ndarray:
    """Joints to the right of the true ones, each by as much as makes its similarity that."""
    distance = np.sqrt(-np.log(similarity) * 2 * AREA) * 2 * SIGMAS
    return true[..., :2] + np.stack((distance, np.zeros(17)), -1)


SIZE = (640, 480)


def coco_document(seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An annotation file of COCO's form and results for it, in its pixels: images without people, crowds with several
    predictions, people without joints, and predictions where nobody is.
    """
    random, joints = np.random.default_rng(seed), len(COCO17)
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "width": SIZE[0], "height": SIZE[1]} for n in range(24)]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []

    def found(image: int, points: np.ndarray, spread: float) -> None:
        moved = (points + random.normal(0, spread, (joints, 2))).round(2)
        keypoints = np.column_stack((moved, np.ones(joints))).ravel().tolist()
        score = round(float(random.uniform()), 2)
        results.append({"image_id": image, "category_id": 1, "keypoints": keypoints, "score": score})

    for image in range(len(images)):
        for _ in range(0 if image % 4 == 0 else int(random.integers(1, 4))):
            low = random.uniform((20, 20), (400, 240))
            extent = random.uniform((60, 120), (180, 220))
            points = (low + extent * random.uniform(0, 1, (joints, 2))).round()
            flags = random.integers(0, 3, joints) * (random.random() > 0.2)
            crowd = int(random.random() < 0.2)
            flags = flags * (1 - crowd)
            labels = np.column_stack((points * (flags > 0)[:, None], flags)).astype(int)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "iscrowd": crowd,
                    "bbox": [*low.round(2).tolist(), *extent.round(2).tolist()],
                    "area": round(float(0.5 * extent.round(2).prod()), 2),
                    "keypoints": labels.ravel().tolist(),
                    "num_keypoints": int((flags > 0).sum()),
                }
            )
            for spread in (2, 6, 12)[: 3 if crowd else int(random.integers(0, 3))]:
                found(image, points, spread)
        if random.random() < 0.4:
            found(image, random.uniform((0, 0), SIZE, (joints, 2)), 0)
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17.joint_names), "skeleton": []}]
    return {"images": images, "annotations": annotations, "categories": categories}, results
