"""People of the user's own detector: which are fitted, as detections of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.crop import box_overlap
from humanpose_cli.detect.identity import SAME_DETECTIONS, PosePoints, distinct, same_person
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.io.detections import UserDetection
from humanpose_cli.io.detections.records import UNIT

_MIN_JOINTS = 2  # of a person who can be fitted
_MIN_COMMON_JOINTS = 4  # that two people both have, so that their poses can be compared
_PERCENT = 100
_SAME_BOXES = 0.7  # overlap of two boxes that may be of one person


@dataclass(frozen=True)
class UserSelection:
    """The people of an image who are fitted, and how many are left out.

    Attributes:
        people: The people, the highest score first.
        low_scores: The number of people with a low score.
        doubles: The number of second detections.
        few_joints: The number of people with too few joints.
    """

    people: tuple[UserDetection, ...]
    low_scores: int
    doubles: int
    few_joints: int


def select_people(entries: Sequence[UserDetection], min_score: float) -> UserSelection:
    """Leave out people with low scores or few joints, and second detections of a person.

    Args:
        entries: The file's people in an image.
        min_score: The minimum score, on the file's own scale.
    """
    with_joints = [e for e in entries if e.keypoints is None or int((e.keypoints[:, 2] > 0).sum()) >= _MIN_JOINTS]
    likely = sorted((entry for entry in with_joints if entry.score >= min_score), key=lambda entry: -entry.score)
    people = distinct(likely, _is_double)
    return UserSelection(
        tuple(people),
        low_scores=len(with_joints) - len(likely),
        doubles=len(likely) - len(people),
        few_joints=len(entries) - len(with_joints),
    )


def _is_double(a: UserDetection, b: UserDetection) -> bool:
    if a.keypoints is not None and b.keypoints is not None:
        poses = _pose(a.keypoints), _pose(b.keypoints)
        return same_person(*poses, SAME_DETECTIONS, min_confidence=0, min_joints=_MIN_COMMON_JOINTS)
    return a.box is not None and b.box is not None and float(box_overlap(a.box, b.box)) > _SAME_BOXES


def _pose(keypoints: np.ndarray) -> PosePoints:
    visible = keypoints[keypoints[:, 2] > 0, :2]
    size = float(np.ptp(visible, axis=0).max()) if len(visible) else 0.0
    return PosePoints(keypoints[:, :2], max(size, 1e-6), keypoints[:, 2], BLAZEPOSE33.mirror)


READINGS = ("as it stands", "y before x", "y upwards", "percent", "shares of a square", "turned left", "turned right")
"""Conventions of coordinates that are tried against the picture if nobody is at the keypoints."""


def read_as(entry: UserDetection, reading: str, width: int, height: int) -> UserDetection | None:
    """Convert keypoints by one of `READINGS` to pixels of an image. None if the file's range excludes the reading."""
    points = entry.keypoints
    assert points is not None
    if reading == "y before x":
        points = points[:, [1, 0, 2]]
    elif reading == "percent":
        if entry.canvas is not None or points[:, :2].max() > _PERCENT:
            return None
        points, entry = points / np.array([_PERCENT, _PERCENT, 1], np.float32), replace(entry, canvas=UNIT)
    elif reading == "shares of a square":
        if entry.canvas != UNIT:
            return None
        side = max(width, height)
        points = (points - [0.5, 0.5, 0]) * [side / width, side / height, 1] + [0.5, 0.5, 0]
    points = replace(entry, keypoints=points).in_image("", width, height).keypoints
    assert points is not None
    x, y, score = points.T
    if reading == "y upwards":
        y = height - y
    elif reading.startswith("turned"):  # a video's pixels before it was turned upright
        x, y = (y, height - x) if reading == "turned left" else (width - y, x)
    return replace(entry, keypoints=np.stack((x, y, score), 1).astype(np.float32) * (score[:, None] > 0), canvas=None)


def distances_of_readings(
    entries: Sequence[UserDetection], found: Sequence[DetectedPerson], width: int, height: int
) -> dict[str, float]:
    """Measure how far the keypoints of a file lie from the people of an image, for each of `READINGS` that is possible.

    Returns:
        The median distance of the joints from the nearest person, as a share of this person's longer side.
    """
    result = {}
    for reading in READINGS:
        nearest = []
        for entry in entries:
            if (person := read_as(entry, reading, width, height)) is not None and person.keypoints is not None:
                nearest.append(min(_distance(person.keypoints, other) for other in found))
        if nearest:
            result[reading] = float(np.median(nearest))
    return result


def _distance(keypoints: np.ndarray, person: DetectedPerson) -> float:
    names = [name for name in person.skeleton.joint_names if name in BLAZEPOSE33]
    own, other = keypoints[BLAZEPOSE33.indices(names)], person.keypoints[person.skeleton.indices(names)]
    seen = (own[:, 2] > 0) & (other[:, 2] > 0)
    size = float(np.ptp(person.keypoints[person.keypoints[:, 2] > 0, :2], axis=0).max())
    gaps = np.linalg.norm(own[seen, :2] - other[seen, :2], axis=1)
    return float(np.median(gaps)) / max(size, 1.0) if len(gaps) else np.inf


def selection_notes(name: str, selections: Iterable[UserSelection], min_score: float) -> list[str]:
    """Describe how many people of a file are left out of its images, and why."""
    parts = list(selections)
    counts = {
        f"of a score below {min_score:g} (`min_score`)": sum(part.low_scores for part in parts),
        "detected twice": sum(part.doubles for part in parts),
        f"with fewer than {_MIN_JOINTS} joints": sum(part.few_joints for part in parts),
    }
    left_out = sum(counts.values())
    total = left_out + sum(len(part.people) for part in parts)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    return [f"{left_out} of {total} people in {name} are left out: {reasons}"] if reasons else []


def unfitted_reason(box: np.ndarray, width: int, height: int, min_side: float) -> str:
    """Return why a box shows too little of a person to fit a body.

    Args:
        box: (4,) float, x0 y0 x1 y1 in pixels.
        width: The image's width, pixels.
        height: The image's height, pixels.
        min_side: The minimum longer side of the visible box, pixels.

    Returns:
        A few words; "" if a body can be fitted.
    """
    visible_box = np.clip(box, 0, [width, height, width, height])
    if (visible_box[2:] - visible_box[:2] < 1).any():
        return "outside the image"
    return "too small" if (visible_box[2:] - visible_box[:2]).max() < min_side else ""


def user_tracks(people: Sequence[DetectedPerson], shots: Sequence[int]) -> list[int | None]:
    """Return the numbers of a sequence's people in the user's own file.

    Numbers do not distinguish people if everyone has the same one, or if a number stays across a cut.

    Args:
        people: The people of all frames.
        shots: The number of each frame's shot.

    Returns:
        The numbers; empty if they do not distinguish people.
    """
    numbers = [person.number for person in people]
    if None in numbers or set(numbers) == {0}:
        return []
    in_frames = {(person.frame, person.number) for person in people}
    in_shots = {(shots[person.frame], person.number) for person in people}
    is_unique = len(in_frames) == len(people) and len(in_shots) == len(set(numbers))
    return list(numbers) if is_unique else []
