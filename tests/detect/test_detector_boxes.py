"""The user's own boxes and keypoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO17
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.detector import people_in_boxes, person_from_keypoints, watch_keypoints
from humanpose_cli.detect.models import ModelPool

LIMBS = [f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "hip", "knee", "ankle")]


@pytest.fixture(scope="module")
def pool() -> Iterator[ModelPool]:
    with ModelPool(2) as models:
        yield models


def box_of(rendered) -> np.ndarray:
    rows, columns = np.nonzero(rendered.mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=float)


def coco_of(rendered) -> np.ndarray:
    points = rendered.points[BLAZEPOSE33.indices(COCO17.joint_names)]
    return np.concatenate([points, np.full((len(COCO17), 1), 0.9)], axis=1).astype(np.float32)


@pytest.mark.slow
def test_each_box_gives_its_person_in_order_and_none_is_dropped(pool: ModelPool, rendered) -> None:
    boxes = np.stack([[2.0, 400.0, 60.0, 600.0], box_of(rendered)])
    empty, person = people_in_boxes(pool, rendered.image, boxes, 3)
    np.testing.assert_array_equal(person.box, boxes[1])
    np.testing.assert_array_equal(empty.box, boxes[0])
    assert person.score > 0.9 > empty.score
    rows = BLAZEPOSE33.indices(LIMBS)
    apart = np.linalg.norm(person.keypoints[rows, :2] - rendered.points[rows], axis=1)
    assert apart.mean() < 0.04 * np.ptp(rendered.points[:, 1])


def test_no_boxes_are_no_people(pool: ModelPool, rendered) -> None:
    assert people_in_boxes(pool, rendered.image, np.zeros((0, 4)), 3) == []


@pytest.mark.parametrize(
    "boxes", [[[10, 10, 10, 50]], [[-50, 0, -10, 40]], [[0, 0, np.nan, 5]], [0, 0, 5, 5], [[50, 50, 20, 20]]]
)
def test_boxes_that_show_nothing_are_refused(pool: ModelPool, rendered, boxes: list) -> None:
    with raises(InputError, subject="box"):
        people_in_boxes(pool, rendered.image, np.array(boxes, dtype=float), 3)


@pytest.mark.slow
def test_a_box_beyond_the_edge_is_cut(pool: ModelPool, rendered) -> None:
    x0, y0, x1, y1 = box_of(rendered)
    (person,) = people_in_boxes(pool, rendered.image, np.array([[x0, y0, x1 + 5000, y1 + 5000]]), 3)
    height, width = rendered.image.shape[:2]
    np.testing.assert_array_equal(person.box, [x0, y0, width, height])


def test_keypoints_alone_make_a_person(rendered) -> None:
    keypoints = coco_of(rendered)
    keypoints[COCO17.index("left_ear")] = 0
    person = person_from_keypoints(keypoints, COCO17, 720, 640)
    assert person.skeleton is COCO17
    assert person.world is None
    assert person.mask is None
    np.testing.assert_array_equal(person.keypoints, keypoints)
    assert person.score == pytest.approx(0.9)
    found = keypoints[keypoints[:, 2] > 0]
    assert (person.box[:2] <= found[:, :2].min(0)).all()
    assert (person.box[2:] >= found[:, :2].max(0)).all()
    assert (person.spread > 0).all()


@pytest.mark.parametrize("damage", ["shape", "nan", "nobody"])
def test_keypoints_that_cannot_be_are_refused(damage: str) -> None:
    keypoints = np.ones((17, 3))
    if damage == "shape":
        keypoints = keypoints[:16]
    elif damage == "nan":
        keypoints[3, 0] = np.nan
    else:
        keypoints[:, 2] = 0
    with raises(InputError, subject="keypoints"):
        person_from_keypoints(keypoints, COCO17, 100, 100)


def test_the_model_adds_depth_and_mask_to_keypoints(pool: ModelPool, rendered) -> None:
    person = person_from_keypoints(coco_of(rendered), COCO17, 720, 640)
    (watched,) = watch_keypoints(pool, rendered.image, [person], views=2)
    np.testing.assert_array_equal(watched.keypoints, person.keypoints)
    swapped = replace(person, keypoints=person.keypoints[list(COCO17.mirror)])
    assert [each.exchanged for each in watch_keypoints(pool, rendered.image, [person, swapped], 0)] == [False, True]
    assert watched.world is not None
    assert watched.world.shape == (17, 3)
    assert watched.world[COCO17.index("left_wrist"), 0] > 0.4
    assert watched.mask is not None
    silhouette = watched.mask.in_image(640, 720) > 0.5
    assert (silhouette & rendered.mask).sum() / (silhouette | rendered.mask).sum() > 0.8


def test_keypoints_in_which_the_model_sees_nothing_stay_alone(pool: ModelPool, rendered) -> None:
    person = person_from_keypoints(coco_of(rendered) * [0.2, 0.2, 1] + [0, 400, 0], COCO17, 720, 640)
    (watched,) = watch_keypoints(pool, rendered.image, [person], views=2)
    assert watched.absent
    assert (watched.world, watched.mask) == (None, None)
