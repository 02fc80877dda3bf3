"""Detection of people: `PersonDetector`, and people from another detector's boxes or keypoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any, get_args

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, LIMB_JOINTS, Skeleton
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.fusion import fused_people
from humanpose_cli.detect.identity import SAME_KEYPOINTS, PosePoints, similarity
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.detect.person import CropView, DetectedPerson, combine, observe_all, observe_jittered
from humanpose_cli.detect.regions import Pyramid, Region, region_around_box, region_from_axis
from humanpose_cli.detect.runtime import asking
from humanpose_cli.detect.search import SCHEMES, Candidate, Mode, Scheme, search
from humanpose_cli.detect.second_look import search_twice
from humanpose_cli.detect.tracking import FollowedFrame, Follower
from humanpose_cli.io.video import prefetch

_MIN_SIDE = 16  # pixels of an image that can show a person
_STATE_EVERY = 60  # frames between two states of `PersonDetector.track`
_KEYPOINT_SPREAD = 0.01  # of the person's size: standard deviation of annotators' and good detectors' keypoints
_MIN_PRESENCE = 0.5  # of the landmark model in the crop of a person

_JOINTS = BLAZEPOSE33.indices(LIMB_JOINTS)
_JOINT_MIRROR = np.array(BLAZEPOSE33.mirror)[_JOINTS]
_FOLLOWERS = {"wrist": ("pinky", "index", "thumb"), "ankle": ("heel", "foot_index")}  # landmarks beyond a joint
_SHARED_REACH = 0.05  # sizes of the smaller person: two joints this close are at one position
_SHARED_CONFIDENCE = 0.3  # of joints that both people claim
_OFF_MASK = 0.2  # weight of the confidence of a joint beside the person's mask; one on it has 1 more


class PersonDetector:
    """A detector of people in images; a context manager that frees its models at the end.

    Args:
        mode: "thorough" for images, "fast" for videos.
        threads: The number of model instances that run at once; None for the number of cores, at most four. Results do
            not depend on it.
        device: "auto", "cpu" or "cuda:N".

    Raises:
        UsageError: If the mode is unknown.
    """

    def __init__(self, mode: Mode = "thorough", threads: int | None = None, device: str = "auto") -> None:
        if mode not in get_args(Mode):
            raise UsageError("detector", "unknown mode", expected=", ".join(get_args(Mode)), got=repr(mode))
        self._scheme = SCHEMES[mode]
        self._mode = mode
        self._pool = ModelPool(threads or default_threads(), partial(PoseModels, device))
        self._device = device

    def detect(self, image: np.ndarray) -> list[DetectedPerson]:
        """Detect all people in an image.

        Args:
            image: (H, W, 3) uint8 RGB. An image with a side below 16 pixels shows nobody.

        Returns:
            The people, the largest box first. In mode "thorough", detections without a body
            (`DetectedPerson.not_fitted`) follow.

        Raises:
            InputError: If the array has another form.
        """
        if _too_small(image):
            return []
        with asking(self._device):
            pyramid = Pyramid(image)
            if self._mode == "fast":
                return self._people(pyramid, search(self._pool, pyramid, self._scheme), self._scheme)
            result = search_twice(self._pool, pyramid, self._scheme)
            people = [p for source, candidates in result.people for p in self._people(source, candidates, self._scheme)]
            people = hide_shared_joints(sorted(people, key=lambda person: -person.area))
            return [*people, *result.without_body]

    def track(
        self,
        images: Iterable[np.ndarray | None],
        *,
        state: Mapping[str, Any] | None = None,
        save_state: Callable[[dict[str, Any]], None] | None = None,
        masks: bool = False,
        frame_rate: float | None = None,
    ) -> Generator[list[DetectedPerson] | None, None, None]:
        """Detect people in each frame of a sequence.

        This is cheaper than `detect`, because people are searched for near their position in the previous frame.
        `TrackAssigner` numbers them over the frames. Frames are read, and people followed, a few frames ahead of the
        yielded one. Close the generator to stop early.

        Args:
            images: (H, W, 3) uint8 RGB each; None for a frame without people.
            state: A state from `save_state`, to continue after its frames.
            save_state: Called with the state, as JSON values, after every sixtieth frame; its `frames` is the number of
                frames so far.
            masks: Whether people come with masks, which take a tenth of the time.
            frame_rate: Frames per second. In mode "fast", frames are searched at 20 Hz while people move
                evenly, or at 15 Hz while they move slowly. None searches all frames.

        Yields:
            The people, the largest box first; None for a frame that need not be searched.
        """
        first = state["frames"] if state else 0
        rate = frame_rate if self._mode == "fast" else None
        follower = Follower(self._pool, self._scheme, state, masks=masks, frame_rate=rate)
        with closing(prefetch(self._followed(follower, images, first, save_state), 1)) as frames:
            for pyramid, candidates, number in frames:
                if pyramid is None or candidates is None:
                    yield None if candidates is None else []
                else:
                    yield self._people(pyramid, candidates, self._scheme.turn(number), with_mask=masks)

    def _followed(
        self,
        follower: Follower,
        images: Iterable[np.ndarray | None],
        first: int,
        save_state: Callable[[dict[str, Any]], None] | None,
    ) -> Generator[FollowedFrame, None, None]:
        pyramids = (None if image is None or _too_small(image) else Pyramid(image) for image in images)
        for number, frame in enumerate(follower.follow(pyramids), first + 1):
            if save_state is not None and number % _STATE_EVERY == 0:
                save_state({"frames": number, **follower.state})
            yield frame

    def _people(
        self, pyramid: Pyramid, candidates: Sequence[Candidate], scheme: Scheme, *, with_mask: bool = True
    ) -> list[DetectedPerson]:
        return sorted(fused_people(self._pool, pyramid, candidates, scheme, with_mask=with_mask), key=lambda p: -p.area)

    def close(self) -> None:
        """Free the models."""
        self._pool.close()

    def __enter__(self) -> PersonDetector:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _too_small(image: np.ndarray) -> bool:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError("image", "has the wrong form", expected="(H, W, 3) uint8", got=f"{image.shape} {image.dtype}")
    return min(image.shape[:2]) < _MIN_SIDE


def hide_shared_joints(people: Sequence[DetectedPerson]) -> list[DetectedPerson]:
    """Hide a joint that another person claims more strongly, with the landmarks of its hand or foot.

    A claim is the confidence, reduced if the joint lies beside the person's mask. Left and right may be swapped between
    two people.

    Args:
        people: The people of an image.

    Returns:
        The people, with confidence 0 at hidden landmarks.
    """
    masks = [np.zeros(len(BLAZEPOSE33), bool) for _ in people]
    points, confidence = ([person.keypoints[:, part] for person in people] for part in (slice(0, 2), 2))
    claim = [_claims(person) for person in people]
    size = [float(np.ptp(rows, axis=0).max()) for rows in points]
    for a, b in combinations(range(len(people)), 2):
        reach = _SHARED_REACH * min(size[a], size[b])
        for joints in (np.array(_JOINTS), _JOINT_MIRROR):
            near = np.linalg.norm(points[a][_JOINTS] - points[b][joints], axis=1) < reach
            shared = near & (np.minimum(confidence[a][_JOINTS], confidence[b][joints]) >= _SHARED_CONFIDENCE)
            masks[a][np.array(_JOINTS)[shared & (claim[a][_JOINTS] < claim[b][joints])]] = True
            masks[b][joints[shared & (claim[a][_JOINTS] > claim[b][joints])]] = True
    return [_without(person, rows) if rows.any() else person for person, rows in zip(people, masks, strict=True)]


def _claims(person: DetectedPerson) -> np.ndarray:
    """Return the claim (33,) on each landmark; without a mask, all lie on the person."""
    confidence = person.keypoints[:, 2]
    mask = person.mask
    on_mask = np.ones(len(confidence)) if mask is None else mask.values_at(person.keypoints[:, :2])
    return confidence * (on_mask + _OFF_MASK)


def _without(person: DetectedPerson, mask: np.ndarray) -> DetectedPerson:
    """Hide landmarks (33,) bool of a person, and the landmarks beyond them."""
    rows = mask.copy()
    for side in ("left", "right"):
        for joint, followers in _FOLLOWERS.items():
            if mask[BLAZEPOSE33.index(f"{side}_{joint}")]:
                rows[BLAZEPOSE33.indices([f"{side}_{name}" for name in followers])] = True
    keypoints = person.keypoints.copy()
    keypoints[rows, 2] = 0
    return replace(person, keypoints=keypoints)


def people_in_boxes(
    pool: ModelPool, image: np.ndarray, boxes: np.ndarray, views: int, scheme: Scheme | None = None
) -> list[DetectedPerson]:
    """Detect a person for each of the user's boxes.

    Args:
        pool: The networks.
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float, x0 y0 x1 y1 in pixels. They are cut to the image.
        views: The number of jittered views of each box.
        scheme: The search, whose crops of BlazePose heavy and Thunder are used as well; None for neither.

    Returns:
        A person for each box, in order. A box in which the landmark model finds no person has a low score.

    Raises:
        InputError: If a box has no area, or lies outside the image.
    """
    height, width = image.shape[:2]
    boxes = _checked_boxes(boxes, width, height)
    pyramid = Pyramid(image)
    regions = [region_around_box(box) for box in boxes]
    # The region that the model predicts after a first pass, if it still shows the person of the box.
    first = observe_all(pool, pyramid, [CropView(region) for region in regions], masks=False)
    for row, (o, box) in enumerate(zip(first, boxes, strict=True)):
        if o.presence > _MIN_PRESENCE and _about(o.next_region, box):
            regions[row] = o.next_region
    groups = observe_jittered(pool, pyramid, regions, views)
    candidates = [Candidate(tuple(passes), float(np.mean([o.presence for o in passes]))) for passes in groups]
    if scheme is not None:
        people = fused_people(pool, pyramid, candidates, scheme)
    else:
        people = [combine(c.passes, pyramid.size, c.probability) for c in candidates]
    return [replace(person, box=box.astype(np.float32)) for person, box in zip(people, boxes, strict=True)]


def _about(region: Region, box: np.ndarray) -> bool:
    """Return whether a region's centre lies in the box, or below it if the box ends above the hips."""
    x0, y0, x1, y1 = box
    sideways = x0 - 0.25 * (x1 - x0) <= region.x <= x1 + 0.25 * (x1 - x0)
    return bool(sideways and y0 <= region.y <= y1 + (y1 - y0) and region.side < 4 * max(x1 - x0, y1 - y0))


def _checked_boxes(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    boxes = np.asarray(boxes, dtype=float)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise InputError("boxes", "have the wrong form", expected="(N, 4) finite numbers", got=str(boxes.shape))
    cut = np.clip(boxes, 0, np.array([width, height, width, height], dtype=float))
    for row, box in enumerate(cut):
        if (box[2:] - box[:2] < 1).any():
            got = " ".join(f"{value:g}" for value in boxes[row])
            raise InputError(f"box {row}", "has no area within the image", expected="x0 y0 x1 y1 in pixels", got=got)
    return cut


def person_from_keypoints(keypoints: np.ndarray, skeleton: Skeleton, width: int, height: int) -> DetectedPerson:
    """Make a person from keypoints alone, without world landmarks and mask.

    Args:
        keypoints: (L, 3) float. x, y in pixels, and confidence 0…1; 0 for a missing keypoint, more than 1 for a locked
            one.
        skeleton: The skeleton of the keypoints.
        width: The image's width, pixels.
        height: The image's height, pixels.

    Raises:
        InputError: If the shape is wrong, a number is not finite, or fewer than two keypoints are there.
    """
    keypoints = np.asarray(keypoints, dtype=np.float32)
    if keypoints.shape != (len(skeleton), 3) or not np.isfinite(keypoints).all():
        form = f"({len(skeleton)}, 3) finite numbers for {skeleton.name}"
        raise InputError("keypoints", "have the wrong form", expected=form, got=str(keypoints.shape))
    visible = keypoints[:, 2] > 0
    if visible.sum() < 2:
        raise InputError("keypoints", "show no person", expected="two or more with a confidence above 0")
    points = keypoints[visible, :2]
    size = float(np.ptp(points, axis=0).max())
    box = np.clip([points.min(0) - 0.1 * size, points.max(0) + 0.1 * size], 0, [width, height]).ravel()
    return DetectedPerson(
        box=box.astype(np.float32),
        keypoints=np.concatenate([keypoints[:, :2], np.clip(keypoints[:, 2:], 0, 1)], axis=1),
        world=None,
        spread=np.full(len(skeleton), _KEYPOINT_SPREAD * size, np.float32),
        world_spread=None,
        mask=None,
        score=float(np.clip(keypoints[visible, 2], 0, 1).mean()),
        skeleton=skeleton,
        locked=keypoints[:, 2] > 1,
    )


def predictions_for_keypoints(
    pool: ModelPool,
    image: np.ndarray,
    people: Sequence[DetectedPerson],
    views: int,
) -> list[DetectedPerson | None]:
    """Run the landmark model around people with keypoints.

    Args:
        pool: The networks.
        image: (H, W, 3) uint8 RGB.
        people: The people with keypoints.
        views: The number of jittered views of each person.

    Returns:
        The predictions in blazepose33; None if the model shows another pose.
    """
    looks = _look_around(pool, image, people, views)
    return [prediction if likeness > SAME_KEYPOINTS else None for prediction, likeness, _ in looks]


def _look_around(
    pool: ModelPool, image: np.ndarray, people: Sequence[DetectedPerson], views: int
) -> Iterator[tuple[DetectedPerson, float, float]]:
    """Yield the landmark model's prediction for each person, and its similarity, 0 without a person.

    The second similarity is that of the person with left and right exchanged.
    """
    pyramid = Pyramid(image)
    regions = [_region_around(person) for person in people]
    for person, passes in zip(people, observe_jittered(pool, pyramid, regions, views), strict=True):
        prediction = combine(passes, pyramid.size, person.score)
        common_names = [name for name in person.skeleton.joint_names if name in BLAZEPOSE33]
        common = person.skeleton.indices(common_names)
        size = passes[0].region.side
        pose = PosePoints(prediction.keypoints[BLAZEPOSE33.indices(common_names), :2], size)
        presence = float(np.mean([o.presence for o in passes]))
        sides = (person.keypoints[common], person.keypoints[list(person.skeleton.mirror)][common])
        user_poses = [PosePoints(rows[:, :2], size, rows[:, 2]) for rows in sides]
        plain, exchanged = (similarity(each, pose, min_confidence=0) for each in user_poses)
        yield prediction, *((plain, exchanged) if presence >= _MIN_PRESENCE else (0.0, 0.0))


def watch_keypoints(
    pool: ModelPool,
    image: np.ndarray,
    people: Sequence[DetectedPerson],
    views: int,
) -> list[DetectedPerson]:
    """Add the landmark model's mask and world landmarks to people with keypoints alone.

    The keypoints do not change. A person for whom the model predicts another pose does not change either, but is marked
    as absent if it is a very different one. A person is marked as exchanged if the model's left side is the right one.

    Args:
        pool: The networks.
        image: (H, W, 3) uint8 RGB.
        people: The people with keypoints.
        views: The number of jittered views of each person.
    """
    result = []
    looks = _look_around(pool, image, people, views)
    for each, (prediction, likeness, exchanged) in zip(people, looks, strict=True):
        person = replace(each, exchanged=exchanged > max(likeness, SAME_KEYPOINTS))
        if likeness <= SAME_KEYPOINTS:
            result.append(replace(person, absent=likeness < SAME_KEYPOINTS / 2))
        elif any(name not in BLAZEPOSE33 for name in person.skeleton.joint_names):
            result.append(replace(person, mask=prediction.mask))
        else:
            rows = BLAZEPOSE33.indices(person.skeleton.joint_names)
            assert prediction.world is not None
            assert prediction.world_spread is not None
            world = prediction.world[rows]
            spread = prediction.world_spread[rows]
            result.append(replace(person, mask=prediction.mask, world=world, world_spread=spread))
    return result


def _region_around(person: DetectedPerson) -> Region:
    """Return a region around all visible keypoints, upright if shoulders and hips are visible."""
    rows = person.keypoints
    visible = rows[:, 2] > 0

    def middle(joint: str) -> np.ndarray | None:
        pair = person.skeleton.indices([f"left_{joint}", f"right_{joint}"])
        return rows[pair, :2].mean(0) if visible[pair].all() else None

    hips = middle("hip")
    shoulders = middle("shoulder")
    if hips is None or shoulders is None:
        return region_around_box(person.box)
    up = shoulders - hips
    length = math.hypot(*up)
    reach = 1.1 * float(np.linalg.norm(rows[visible, :2] - hips, axis=1).max())
    return region_from_axis(hips, hips + up / max(length, 1e-6) * max(reach, 1.8 * length))
