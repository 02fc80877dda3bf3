"""People that the user has found already: boxes or keypoints of another detector, made into `DetectedPerson`s."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.detect.candidates import similarity_of_points
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.detect.observing import CropView, Observation, combine, jittered_views, observe_all
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.regions import Pyramid, Region, region_around_box, region_from_axis

__all__ = ["people_in_boxes", "person_from_keypoints", "watch_keypoints"]

_GIVEN_SPREAD = 0.01  # of the person's size: how well annotators and good detectors place a keypoint
_AGREEING = 0.4
_PRESENT = 0.5


def people_in_boxes(pool: ModelPool, image: np.ndarray, boxes: np.ndarray, views: int) -> list[DetectedPerson]:
    """One person for each of the user's boxes, in their order, looked at `views` + 1 times.

    image (H, W, 3) uint8; boxes (N, 4) x0 y0 x1 y1 pixels. The boxes are kept as given (cut to the image) and
    nobody is dropped: a box in which the landmark model sees nobody has a low score. InputError for boxes without
    area or outside the image.
    """
    height, width = image.shape[:2]
    boxes = _checked_boxes(boxes, width, height)
    pyramid = Pyramid(image)
    regions = _settled(pool, pyramid, [region_around_box(box) for box in boxes], boxes)
    people = []
    for box, passes in zip(boxes, _passes(pool, pyramid, regions, views), strict=True):
        presence = float(np.mean([o.presence for o in passes]))
        person = combine(passes, width, height, presence)
        people.append(_with(person, box=box.astype(np.float32)))
    return people


def _settled(pool: ModelPool, pyramid: Pyramid, regions: Sequence[Region], boxes: np.ndarray) -> list[Region]:
    """The model's own next region after a first pass, where it still shows the person of the box."""
    first = observe_all(pool, pyramid, [CropView(region) for region in regions])
    return [
        o.next_region if o.presence > _PRESENT and _about(o.next_region, box) else region
        for o, region, box in zip(first, regions, boxes, strict=True)
    ]


def _about(region: Region, box: np.ndarray) -> bool:
    """Whether a region's centre lies in the box, or below it where the box ends above the hips."""
    (x0, y0), (x1, y1) = box[:2], box[2:]
    sideways = x0 - 0.25 * (x1 - x0) <= region.x <= x1 + 0.25 * (x1 - x0)
    return bool(sideways and y0 <= region.y <= y1 + (y1 - y0) and region.side < 4 * max(x1 - x0, y1 - y0))


def _passes(pool: ModelPool, pyramid: Pyramid, regions: Sequence[Region], views: int) -> list[list[Observation]]:
    wanted = [[CropView(region), *jittered_views(region, views)] for region in regions]
    flat = observe_all(pool, pyramid, [view for group in wanted for view in group])
    return [flat[i * (views + 1) : (i + 1) * (views + 1)] for i in range(len(regions))]


def _checked_boxes(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    boxes = np.asarray(boxes, dtype=float)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise InputError("boxes", "have the wrong form", expected="(N, 4) finite numbers", got=str(boxes.shape))
    limits = np.array([width, height, width, height], dtype=float)
    cut = np.clip(boxes, 0, limits)
    for row, box in enumerate(cut):
        if (box[2:] - box[:2] < 1).any():
            got = " ".join(f"{value:g}" for value in boxes[row])
            raise InputError(f"box {row}", "has no area within the image", expected="x0 y0 x1 y1 in pixels", got=got)
    return cut


def person_from_keypoints(keypoints: np.ndarray, skeleton: Skeleton, width: int, height: int) -> DetectedPerson:
    """A person known by keypoints alone: (L, 3) x, y pixels and confidence 0..1 in the order of `skeleton`.

    A confidence of 0 marks a keypoint that was not found. There are no world landmarks and no mask; the spread is
    what annotators differ by. InputError if the shape is wrong, a number is not finite or nothing was found.
    """
    keypoints = np.asarray(keypoints, dtype=np.float32)
    if keypoints.shape != (len(skeleton), 3) or not np.isfinite(keypoints).all():
        expected = f"({len(skeleton)}, 3) finite numbers for {skeleton.name}"
        raise InputError("keypoints", "have the wrong form", expected=expected, got=str(keypoints.shape))
    found = keypoints[:, 2] > 0
    if found.sum() < 2:
        raise InputError("keypoints", "show nobody", expected="two or more with a confidence above 0")
    low, high = keypoints[found, :2].min(0), keypoints[found, :2].max(0)
    size = float(max(high - low))
    limits = np.array([width, height], dtype=np.float32)
    box = np.concatenate([np.clip(low - 0.1 * size, 0, limits), np.clip(high + 0.1 * size, 0, limits)])
    return DetectedPerson(
        box=box.astype(np.float32),
        keypoints=np.concatenate([keypoints[:, :2], np.clip(keypoints[:, 2:], 0, 1)], axis=1),
        world=None,
        spread=np.full(len(skeleton), _GIVEN_SPREAD * size, np.float32),
        world_spread=None,
        mask=None,
        score=float(np.clip(keypoints[found, 2], 0, 1).mean()),
        skeleton=skeleton,
    )


def watch_keypoints(
    pool: ModelPool, image: np.ndarray, people: Sequence[DetectedPerson], views: int
) -> list[DetectedPerson]:
    """Add what the landmark model sees around people known by keypoints: mask and world landmarks.

    The keypoints stay the user's. A person in whom the model sees another pose stays as it was.
    """
    height, width = image.shape[:2]
    pyramid = Pyramid(image)
    regions = [_region_around(person) for person in people]
    watched = []
    for person, passes in zip(people, _passes(pool, pyramid, regions, views), strict=True):
        seen = combine(passes, width, height, person.score)
        assert seen.world is not None
        assert seen.world_spread is not None
        shared = [name for name in person.skeleton.joint_names if name in BLAZEPOSE33]
        mine, theirs = person.skeleton.indices(shared), BLAZEPOSE33.indices(shared)
        sure = person.keypoints[mine, 2] > 0
        alike = similarity_of_points(
            person.keypoints[mine, :2][sure], seen.keypoints[theirs, :2][sure], passes[0].region.side
        )
        presence = float(np.mean([o.presence for o in passes]))
        if alike < _AGREEING or presence < _PRESENT:
            watched.append(person)
        elif len(shared) < len(person.skeleton):
            watched.append(_with(person, mask=seen.mask))
        else:
            world, spread = seen.world[theirs], seen.world_spread[theirs]
            watched.append(_with(person, mask=seen.mask, world=world, world_spread=spread))
    return watched


def _region_around(person: DetectedPerson) -> Region:
    """Upright in the person's own sense where shoulders and hips are known, around all known keypoints."""
    rows = person.keypoints
    found = rows[:, 2] > 0

    def middle(joint: str) -> np.ndarray | None:
        pair = person.skeleton.indices([f"left_{joint}", f"right_{joint}"])
        return rows[pair, :2].mean(0) if found[pair].all() else None

    hips, shoulders = middle("hip"), middle("shoulder")
    if hips is None or shoulders is None:
        return region_around_box(person.box)
    up = shoulders - hips
    length = math.hypot(*up)
    reach = 1.1 * float(np.linalg.norm(rows[found, :2] - hips, axis=1).max())
    return region_from_axis(hips, hips + up / max(length, 1e-6) * max(reach, 1.8 * length))


def _with(person: DetectedPerson, **changes: object) -> DetectedPerson:
    return replace(person, **changes)  # type: ignore[arg-type]
