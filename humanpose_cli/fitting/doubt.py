"""Doubtful fits and the reasons, as tables, JSON documents and overlays report them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import ASSUMED_FRAME_RATE, BLAZEPOSE33, SMPL24
from humanpose_cli.io.fit_files import FitRecord

# A clearly visible man has 0.58 or more, and 3 % of his limbs in 20 photographs, 1 % in 120 frames of videos, are below
# 0.25. In rendered crowds half of the limbs are below 0.25, and 82 % of these are wrong.
_MIN_CONFIDENCE = 0.4  # of a person
_MIN_LIMB_CONFIDENCE = 0.25  # of the less certain of a limb's two joints
_MAX_ERROR = 0.03  # of the diagonal of the person's box; complete people in sharp photographs have 0.012 or less
_MIN_VISIBILITY = 0.5  # of a landmark
# Metres between the middles of the detected and the fitted ears; 0.06 or less in 20 photographs of 41 people.
_MAX_HEAD_ERROR = 0.09
_EARS = BLAZEPOSE33.indices(("left_ear", "right_ear"))
_EARS_ABOVE_HEAD = 0.6  # of the way from the neck's joint to the head's
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_LIMB_JOINTS = {"arm": ("elbow", "wrist"), "leg": ("knee", "ankle")}  # joints and landmarks have the same names
_LIMBS = 2 * len(_LIMB_JOINTS)
_LOST_SECONDS = 0.2  # between the last frames of a person and of the shot; a shorter loss is at the end of the clip
_EDGE = 0.02  # of the image's width: people nearer to its left or right edge may have walked out,
_DEEP_INSIDE = 1 / 3  # unless the middle of their box is so many image heights from every edge
_ONE_POSITION = 1.0  # metres between the pelvises of two people of a take who may be one; single views err by 0.5 m
_PELVIS = SMPL24.index("pelvis")
_MAX_SPEED = 12.0  # metres a second, of a pelvis; real people in our clips have 5.1 or less
_SPEED_SECONDS = 0.25  # in which a speed is measured
_FOCAL_LENGTHS = (0.3, 3.0)  # a user's or a calibration's, as shares of the image's longer side
_PARTS_OF_LIMB = {"arm": ("shoulder", "elbow", "wrist", "hand"), "leg": ("hip", "knee", "ankle", "foot")}


class LimbDoubt(NamedTuple):
    """An arm or a leg that is probably wrong.

    Attributes:
        side: "left" or "right".
        limb: "arm" or "leg".
        hidden: Whether the limb is hidden in the image.
    """

    side: str
    limb: str
    hidden: bool

    @property
    def parts(self) -> list[int]:
        """The rows of SMPL24 of the body parts that belong to the limb."""
        return list(SMPL24.indices([f"{self.side}_{part}" for part in _PARTS_OF_LIMB[self.limb]]))

    @property
    def reason(self) -> str:
        """The reason for the doubt."""
        return "hidden, guessed" if self.hidden else "uncertain"


def limb_doubts(record: FitRecord) -> list[list[LimbDoubt]]:
    """List the doubtful limbs of each row.

    A limb is doubtful if a joint has a confidence below 0.25, or if the limb is hidden: its last two landmarks have a
    confidence below 0.5 or lie outside the image. Interpolated rows, and rows without keypoints, have no doubtful
    limbs.
    """
    visible = _visible(record)
    is_detected: NDArray[Any] = ~_without_keypoints(record) & ~record.interpolated
    doubts: list[list[LimbDoubt]] = [[] for _ in range(len(record))]
    for limb, joints in _LIMB_JOINTS.items():
        for side in ("left", "right"):
            names = [f"{side}_{joint}" for joint in joints]
            is_hidden = np.logical_not(visible[:, BLAZEPOSE33.indices(names)].any(1))
            confidence = record.joint_confidence[:, SMPL24.indices(names)].min(1)
            for row in np.flatnonzero(is_detected & (is_hidden | (confidence < _MIN_LIMB_CONFIDENCE))).tolist():
                doubts[row].append(LimbDoubt(side, limb, bool(is_hidden[row])))
    return doubts


def _visible(record: FitRecord) -> np.ndarray:
    """Mark landmarks (N, 33) that are confident and inside the image of any camera."""
    if record.options.of_take:  # what one view of a take hides, the others show
        return np.ones(record.keypoints2d.shape[:2], bool)
    sizes = [camera.image_size[record.frame_index][:, None] for camera in record.cameras]
    inside = [_inside(camera.keypoints2d, size) for camera, size in zip(record.cameras, sizes, strict=True)]
    return np.any(inside, axis=0)


def _inside(points: NDArray[Any], size: NDArray[Any]) -> NDArray[np.bool_]:
    within = (points[..., :2] >= 0).all(-1) & (points[..., :2] < size).all(-1)
    return np.asarray(within & (points[..., 2] >= _MIN_VISIBILITY))


def _head_elsewhere(record: FitRecord) -> NDArray[np.bool_]:
    """Mark rows (N,) whose head is not between the detected ears. No rows of a take, which has several images."""
    if record.has_other_views:
        return np.zeros(len(record), bool)
    neck, head = (record.joints2d[:, SMPL24.index(name)] for name in ("neck", "head"))
    ears = record.keypoints2d[:, _EARS]
    away = np.linalg.norm(ears[..., :2].mean(1) - head - _EARS_ABOVE_HEAD * (head - neck), axis=-1)
    metres = away * record.joints3d[:, SMPL24.index("head"), 2] / record.focal[record.frame_index]
    return np.asarray((ears[..., 2] > _MIN_VISIBILITY).all(1) & (metres > _MAX_HEAD_ERROR))


def _has_unlikely_focal(record: FitRecord) -> NDArray[np.bool_]:
    """Mark all rows (N,) if a focal length that was given, or a take's, is far from those of usual lenses."""
    cameras = record.cameras if record.options.focal or record.views is not None else ()
    ratios = [camera.focal / camera.image_size.max(1) for camera in cameras]
    return np.full(len(record), any((ratio != ratio.clip(*_FOCAL_LENGTHS)).any() for ratio in ratios))


def _is_too_fast(record: FitRecord) -> NDArray[np.bool_]:
    """Mark the rows (N,) of tracks whose pelvis is faster in the world than any person runs."""
    seconds = record.seconds(ASSUMED_FRAME_RATE)[record.frame_index]
    camera = record.world_to_camera[record.frame_index].astype(np.float64)
    pelvis = np.einsum("nji,nj->ni", camera[:, :3, :3], record.joints3d[:, _PELVIS] - camera[:, :3, 3])
    is_fast = np.zeros(len(record), bool)
    for track in record.tracks:
        rows = record.rows_of(track)
        later = np.searchsorted(seconds[rows], seconds[rows] + _SPEED_SECONDS)
        starts, ends = rows[later < len(rows)], rows[later[later < len(rows)]]
        one_shot = record.shot_id[record.frame_index[starts]] == record.shot_id[record.frame_index[ends]]
        metres = np.linalg.norm(pelvis[ends] - pelvis[starts], axis=-1)
        is_fast[rows] = (one_shot & (metres > _MAX_SPEED * (seconds[ends] - seconds[starts]))).any()
    return is_fast


def _without_keypoints(record: FitRecord) -> NDArray[np.bool_]:
    """Mark rows (N,) without keypoints in any view."""
    return np.all([(camera.keypoints2d[..., 2] <= 0).all(1) for camera in record.cameras], axis=0)


def _named(doubts: Sequence[LimbDoubt]) -> list[str]:
    """Name limbs, such as "left arm uncertain" and "both legs hidden, guessed"."""
    phrases = []
    for limb in _LIMB_JOINTS:
        of_limb = [doubt for doubt in doubts if doubt.limb == limb]
        if len(of_limb) == 2 and of_limb[0].hidden == of_limb[1].hidden:
            phrases.append(f"both {limb}s {of_limb[0].reason}")
        else:
            phrases += [f"{doubt.side} {limb} {doubt.reason}" for doubt in of_limb]
    return phrases


def row_doubts(record: FitRecord, *, single_limbs: bool = True) -> list[str]:
    """Explain for each row why its fit is doubtful, such as "left leg hidden, guessed". "" if it is not.

    Without `single_limbs`, limbs count only if all four are doubtful.
    If the hips are outside of the image, neither the lean of the trunk nor the legs are known. Rows of other programs
    have no keypoints and are not checked for this.
    """
    unknown = _without_keypoints(record)
    absent = np.isin(record.frame_index, record.options.no_person or [])
    absent |= np.isin(record.track_id, record.options.nobody or [])
    diagonal = np.linalg.norm(record.boxes[:, 2:] - record.boxes[:, :2], axis=-1)
    reasons: tuple[tuple[str, Any], ...] = (
        ("not detected here", record.interpolated),
        ("no person at the keypoints", absent),
        ("hips not visible", ~_visible(record)[:, _HIPS].any(1) & ~unknown),
        ("low confidence", record.confidence < _MIN_CONFIDENCE),
        ("far from the joints", record.reprojection_error > _MAX_ERROR * diagonal),
        ("head elsewhere", _head_elsewhere(record)),
        ("unlikely focal length", _has_unlikely_focal(record)),
        ("faster than people", _is_too_fast(record)),
    )
    first = [[reason for reason, condition in reasons if condition[row]][:1] for row in range(len(record))]
    for row in np.flatnonzero(np.isin(record.frame_index, record.options.camera_walks or [])).tolist():
        first[row].append("the camera walks")
    for of_row in first:
        of_row += record.options.doubts or ()
    for a, b in _possible_duplicates(record):
        for track, other in ((a, b), (b, a)):
            for row in record.rows_of(track).tolist():
                first[row].append(f"may be one person with {other}")
    limbs = [doubts if single_limbs or len(doubts) == _LIMBS else [] for doubts in limb_doubts(record)]
    return ["; ".join([*reason, *_named(of_row)]) for reason, of_row in zip(first, limbs, strict=True)]


def _possible_duplicates(record: FitRecord) -> list[tuple[int, int]]:
    """List pairs of people of a take who are close to each other and whom no view shows in the same frame."""
    pairs = []
    for pair in combinations(record.tracks, 2) if record.views is not None else ():
        tracks = [record.rows_of(track) for track in pair]
        _, *indices = np.intersect1d(*(record.frame_index[rows] for rows in tracks), return_indices=True)
        a, b = (rows[index] for rows, index in zip(tracks, indices, strict=True))
        distances = np.linalg.norm(record.joints3d[a, _PELVIS] - record.joints3d[b, _PELVIS], axis=-1)
        shown = any((camera.shows[a] & camera.shows[b]).any() for camera in record.cameras)
        if len(a) and not shown and np.median(distances) < _ONE_POSITION:
            pairs.append(pair)
    return pairs


def doubts_of_tracks(record: FitRecord, *, single_limbs: bool = True) -> dict[int, str]:
    """Explain for each track why most frames that show the person are doubtful. "" if most are not.

    All reasons that hold for most of these frames are given, else the most frequent one. `single_limbs` as for
    `row_doubts`.
    """
    doubts, is_detected = row_doubts(record, single_limbs=single_limbs), ~record.interpolated
    rows = {track: np.flatnonzero(is_detected & (record.track_id == track)) for track in record.tracks}
    return {track: _usual([doubts[row] for row in of_track]) for track, of_track in rows.items()}


def losses_in_view(record: FitRecord) -> dict[int, float]:
    """Find the tracks of one camera that end inside the image before their shot ends, and the second of each end."""
    if record.has_other_views:
        return {}
    seconds = record.seconds(ASSUMED_FRAME_RATE)
    losses = {}
    for track in record.tracks:
        last = np.flatnonzero(record.track_id == track)[-1]
        frame = record.frame_index[last]
        shot_end = np.flatnonzero(record.shot_id == record.shot_id[frame])[-1]
        size, (low, high) = record.image_size[frame], record.boxes[last].reshape(2, 2)
        is_inside = min(low[0], size[0] - high[0]) > _EDGE * size[0]
        is_deep_inside = np.minimum(low + high, 2 * size - low - high).min() / 2 > _DEEP_INSIDE * size[1]
        if (is_inside or is_deep_inside) and seconds[shot_end] - seconds[frame] > _LOST_SECONDS:
            losses[track] = float(seconds[frame])
    return losses


def _usual(row_reasons: Sequence[str]) -> str:
    if 2 * sum(map(bool, row_reasons)) <= len(row_reasons):
        return ""
    counts = Counter(reason for row in row_reasons if row for reason in row.split("; "))
    usual = [reason for reason, count in counts.items() if 2 * count > len(row_reasons)]
    return "; ".join(usual) or counts.most_common(1)[0][0]
