"""Hands and faces of detected people: landmarks in crops around the wrists, and around eyes and mouth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np

from humanpose_cli.core.conventions import HAND21
from humanpose_cli.detect.models import FACE_SIZE, HAND_SIZE, ModelPool, PoseModels, default_threads
from humanpose_cli.detect.person import DetectedPerson, Hand
from humanpose_cli.detect.regions import Pyramid, Region

SIDES = ("left", "right")
HIDDEN, SMALL, OF_ANOTHER = "hidden", "too small", "another person's"
"""Why a hand was not taken."""
FACE_LANDMARKS = ["nose", *(f"{side}_{name}" for side in SIDES for name in ("eye_inner", "eye_outer", "mouth"))]
"""The first rows of `DetectedPerson.face`, as in a body's landmarks "face13"."""

_MIN_PRESENCE = 0.5  # of the networks; measured presences of hands are above .69 or below .24
_MIN_CONFIDENCE = 0.3  # of a wrist, and of the keypoints around a face
_MIN_SIZE = 20.0  # pixels of a hand whose fingers can be told apart, and of a face's crop
_HAND = 0.75  # length of a hand in forearms
_SCALES = (0.9, 1.3, 1.8)  # sides of the first crops in forearms
_CENTRE = 0.35  # forearms from the wrist to the middle of the hand
_MAX_SHIFT = 0.6  # forearms between the wrist of the person and that of the hand
_SAME_HAND = 0.5  # mean distance of two hands' points in hand sizes
_SHARES = 3  # frames of a video over which the crops of a search are spread
_NEAR = HAND21.indices(
    ["wrist", "thumb1", "thumb2", "thumb3"] + [f"{n}{k}" for n in ("index", "middle", "ring", "pinky") for k in (1, 2)]
)
_TOWARDS = HAND21.indices(["index1", "middle1", "ring1"])
_MARGIN = 2.0  # side of a crop in sizes of the points near the palm
_FORWARD = 0.1  # sides of a crop by which it is shifted towards the fingers
# Lengths in forearms, from which the forearm's length in the image follows if it points at the camera.
_BONES = (("elbow", "wrist", 1.0), ("shoulder", "elbow", 0.9))
_TORSO = 0.48  # forearms per distance from shoulder to hip
_FACE_ROWS = [1, 362, 263, 291, 133, 33, 61, 13, 14]  # of the network's landmarks; the last two are the lips
_AROUND_FACE = ["nose", *(f"{side}_{name}" for name in ("eye", "mouth", "ear") for side in SIDES)]
_FACE_SIDES = (3.2, 1.4)  # of a crop: in distances from eyes to mouth, and from ear to ear
_MAX_OFFSET = 1.4  # distances from ear to ear between the nose and the middle of the ears, at 60°


@dataclass(frozen=True)
class _Arm:
    """An arm in the image: the wrist (2,), the forearm's length in pixels, and directions (2,) to the fingers."""

    wrist: np.ndarray
    forearm: float
    directions: tuple[np.ndarray, ...]

    def regions(self) -> list[Region]:
        """Return the crops of a first search."""
        regions = []
        for direction in self.directions:
            x, y = (self.wrist + _CENTRE * self.forearm * direction).tolist()
            angle = math.atan2(direction[0], -direction[1])
            regions += [Region(x, y, scale * self.forearm, angle) for scale in _SCALES]
        return regions


class HandDetector:
    """Finds hands and faces of people in images, and follows hands through the frames of a sequence.

    Args:
        enabled: Whether hands and faces are searched for.
        threads: The number of threads. None uses all cores, four at most.
        device: "auto", "cpu" or "cuda:N".
    """

    def __init__(self, enabled: bool, threads: int | None = None, device: str = "auto") -> None:
        self._enabled = enabled
        self._pool = ModelPool(threads or default_threads(), partial(PoseModels, device))
        self._last: dict[tuple[int, int], tuple[Region, np.ndarray]] = {}  # and the wrist's keypoint
        self._lost: Counter[tuple[int, int]] = Counter()  # frames since each hand was last detected

    def add(
        self, pixels: np.ndarray, people: Sequence[DetectedPerson], *, follow: bool = False
    ) -> list[DetectedPerson]:
        """Find hands and faces of the people of an image.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            people: The people.
            follow: Whether the image is the next frame of a sequence, in which hands are near their last positions.

        Returns:
            The people with `hands` and `face`.
        """
        if not self._enabled or not people:
            return list(people)
        pyramid = Pyramid(pixels)
        arms = {(row, side): _arm(person, name) for row, person in enumerate(people) for side, name in enumerate(SIDES)}
        crops: dict[tuple[int, int], list[Region]] = {}
        for (row, side), arm in arms.items():
            if isinstance(arm, _Arm):
                crops[row, side] = self._crops_in_video((people[row].track, side), arm) if follow else arm.regions()
        best = self._best(pyramid, crops)
        # A first crop may be askew: once more from the hand's own points.
        again = {
            key: [_region_of(best[key])]
            for key in crops
            if not best[key].reason and not (follow and (people[key[0]].track, key[1]) in self._last)
        }
        best |= {key: hand for key, hand in self._best(pyramid, again).items() if not hand.reason}
        hands = {key: best.get(key, Hand.missing(arm if isinstance(arm, str) else HIDDEN)) for key, arm in arms.items()}
        _remove_shared(hands, arms)
        for (row, side), hand in hands.items() if follow else ():
            key, arm = (people[row].track, side), arms[row, side]
            self._last.pop(key, None)
            self._lost[key] += 1
            if not hand.reason and isinstance(arm, _Arm):
                self._last[key], self._lost[key] = (_region_of(hand), arm.wrist), 0
        faces = self._faces(pyramid, {row: _face_region(person) for row, person in enumerate(people)})
        return [replace(p, hands=(hands[row, 0], hands[row, 1]), face=faces.get(row)) for row, p in enumerate(people)]

    def _faces(self, pyramid: Pyramid, regions: dict[int, Region | None]) -> dict[int, np.ndarray]:
        """Return `DetectedPerson.face` of the people whose face is in their region."""
        views = [(row, region) for row, region in regions.items() if region is not None]
        results = self._pool.map(
            lambda models, part: models.faces(part), [pyramid.crop(region, FACE_SIZE) for _, region in views]
        )
        return {
            row: region.axes_to_image((points[_FACE_ROWS] / FACE_SIZE - [0.5, 0.5, 0]) * region.side)
            + np.array([region.x, region.y, 0])
            for (row, region), (points, presence) in zip(views, results, strict=True)
            if presence >= _MIN_PRESENCE
        }

    def _crops_in_video(self, key: tuple[int, int], arm: _Arm) -> list[Region]:
        """Return the last crop, moved with the wrist, or a part of the first search's for a hand that is not known."""
        if key in self._last:
            region, wrist = self._last[key]
            return [replace(region, x=region.x + arm.wrist[0] - wrist[0], y=region.y + arm.wrist[1] - wrist[1])]
        regions = arm.regions()
        return regions if key not in self._lost else regions[self._lost[key] % _SHARES :: _SHARES]

    def _best(self, pyramid: Pyramid, crops: dict[tuple[int, int], list[Region]]) -> dict[tuple[int, int], Hand]:
        """Return the hand with the highest presence in the crops of each arm."""
        views = [(key, region) for key, regions in crops.items() for region in regions]
        images = [pyramid.crop(region, HAND_SIZE) for _, region in views]
        best = {key: Hand.missing(HIDDEN) for key in crops}
        for (key, region), (points, world, presence) in zip(
            views, self._pool.map(lambda models, part: models.hands(part), images), strict=True
        ):
            if presence >= _MIN_PRESENCE and presence > best[key].presence:
                in_image = region.to_image(HAND_SIZE).points(points)
                best[key] = Hand(in_image, region.axes_to_image(world), presence)
        return best

    def close(self) -> None:
        """Stop the threads."""
        self._pool.close()


def _arm(person: DetectedPerson, side: str) -> _Arm | str:
    """Return the arm of one side, or the reason why its hand is not searched for."""

    def point(joint: str) -> np.ndarray | None:
        name = f"{side}_{joint}"
        if name not in person.skeleton:
            return None
        row = person.keypoints[person.skeleton.index(name)]
        return row[:2].astype(float) if row[2] >= _MIN_CONFIDENCE else None

    points = {joint: point(joint) for joint in ("wrist", "elbow", "shoulder", "hip", "index", "pinky")}
    wrist, elbow = points["wrist"], points["elbow"]
    if wrist is None:
        return HIDDEN
    lengths = [
        factor * float(np.linalg.norm(a - b))
        for first, second, factor in (*_BONES, ("shoulder", "hip", _TORSO))
        if (a := points[first]) is not None and (b := points[second]) is not None
    ]
    if not lengths:
        return HIDDEN
    forearm = max(lengths)
    if _HAND * forearm < _MIN_SIZE:
        return SMALL
    directions = []
    if elbow is not None:
        directions.append(wrist - elbow)
    if (index := points["index"]) is not None and (pinky := points["pinky"]) is not None:
        directions.append((index + pinky) / 2 - wrist)
    long_enough = [d / length for d in directions if (length := float(np.linalg.norm(d))) > 0.05 * forearm]
    return _Arm(wrist, forearm, tuple(long_enough or [np.array([0.0, 1.0])]))


def _region_of(hand: Hand) -> Region:
    """Return the crop around a hand in which its fingers point up."""
    wrist = hand.points[0]
    towards = hand.points[_TOWARDS].mean(0) - wrist
    angle = math.atan2(towards[0], -towards[1])
    upright = Region(0, 0, 1, -angle).axes_to_image(np.pad(hand.points, ((0, 0), (0, 1))))[:, :2]
    low, high = upright[_NEAR].min(0), upright[_NEAR].max(0)
    side = _MARGIN * float(max(high - low))
    centre = (low + high) / 2 - [0, _FORWARD * side]
    x, y, _ = Region(0, 0, 1, angle).axes_to_image(np.array([*centre, 0.0]))
    return Region(float(x), float(y), max(side, 1e-3), angle)


def _face_region(person: DetectedPerson) -> Region | None:
    """Return the crop around a face, or None if eyes, ears and nose show that it is turned away."""
    if any(name not in person.skeleton for name in _AROUND_FACE):
        return None
    keypoints = person.keypoints[person.skeleton.indices(_AROUND_FACE)].astype(float)
    (nose, *_, left, right), (eyes, mouth, ears) = keypoints[:, :2], keypoints[1:, :2].reshape(3, 2, 2).mean(1)
    up = eyes - mouth
    across = np.array([-up[1], up[0]]) / max(np.linalg.norm(up), 1e-6)
    side = max(_FACE_SIDES[0] * float(np.linalg.norm(up)), _FACE_SIDES[1] * float(np.linalg.norm(left - right)))
    turned_away = abs((nose - ears) @ across) > _MAX_OFFSET * ((left - right) @ across)
    if turned_away or side < _MIN_SIZE or keypoints[:, 2].min() < _MIN_CONFIDENCE:
        return None
    x, y = ((eyes + mouth) / 2).tolist()
    return Region(x, y, side, math.atan2(up[0], -up[1]))


def _remove_shared(hands: dict[tuple[int, int], Hand], arms: dict[tuple[int, int], _Arm | str]) -> None:
    """Leave a hand to the nearest wrist, and drop hands that are far from their own or on another person's."""

    def distance(key: tuple[int, int], of: tuple[int, int]) -> float:
        own_arm, arm = arms[key], arms[of]
        assert isinstance(own_arm, _Arm)
        shift = math.inf if isinstance(arm, str) else float(np.linalg.norm(hands[key].points[0] - arm.wrist))
        return shift / own_arm.forearm

    taken = [key for key, hand in hands.items() if not hand.reason]
    nearest = {key: min((distance(key, of) for of in arms if of[0] != key[0]), default=math.inf) for key in taken}
    for key in taken:
        if distance(key, key) > min(_MAX_SHIFT, nearest[key]):
            hands[key] = Hand.missing(OF_ANOTHER)
    for a, b in combinations(taken, 2):
        if hands[a].reason or hands[b].reason:
            continue
        difference = np.linalg.norm(hands[a].points - hands[b].points, axis=1).mean()
        if difference < _SAME_HAND * min(hands[a].size, hands[b].size):
            hands[max(a, b, key=lambda key: distance(key, key))] = Hand.missing(OF_ANOTHER)
