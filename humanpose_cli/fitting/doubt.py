"""Which fits may be plainly wrong, and why: what tables, JSON documents and overlays mark as doubtful."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import ASSUMED_FRAME_RATE, BLAZEPOSE33, SMPL24
from humanpose_cli.io.fit_files import FitRecord

# A plainly visible man has 0.58 or more, and 3 % of his limbs in 20 photographs, 1 % in 120 frames of videos, are below
# 0.25. Of rendered crowds half of the limbs are below that, and 82 % of these are wrong.
_MIN_CONFIDENCE = 0.4  # of a person
_MIN_LIMB_CONFIDENCE = 0.25  # of the less certain of a limb's two joints
_MAX_ERROR = 0.03  # of the diagonal of the person's box; of whole people in sharp photographs at most 0.012
_MIN_VISIBILITY = 0.5  # of a landmark
# Metres from the middle of the detected ears to that of the fitted ones; in 20 photographs of 41 people at most 0.06.
_MAX_HEAD_ERROR = 0.09
_EARS = BLAZEPOSE33.indices(("left_ear", "right_ear"))
_EARS_ABOVE_HEAD = 0.6  # of the way from the neck's joint to the head's
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_OF_LIMB = {"arm": ("elbow", "wrist"), "leg": ("knee", "ankle")}  # joints and landmarks have the same names
_LOST_SECONDS = 0.2  # between a person's last frame and that of the shot; a shorter loss is one at the clip's end
_EDGE = 0.02  # of the image's width: people whose box is nearer to its left or right edge may have walked out
_PARTS_OF_LIMB = {"arm": ("shoulder", "elbow", "wrist", "hand"), "leg": ("hip", "knee", "ankle", "foot")}


class LimbDoubt(NamedTuple):
    """An arm or a leg that may be wrong: "left" or "right", "arm" or "leg", and whether it is hidden in the image."""

    side: str
    limb: str
    hidden: bool

    @property
    def parts(self) -> list[int]:
        """Rows of SMPL24 of the body's parts that the limb consists of."""
        return list(SMPL24.indices([f"{self.side}_{part}" for part in _PARTS_OF_LIMB[self.limb]]))

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        return "hidden, guessed" if self.hidden else "uncertain"


def limb_doubts(record: FitRecord) -> list[list[LimbDoubt]]:
    """List for each row the limbs with a joint of a confidence below 0.25, and those that the image does not show.

    A limb is hidden if its last landmark, wrist or ankle, and the one before have a confidence below 0.5 or lie outside
    the image. Rows that are interpolated, or without any keypoints, have no such limbs: nothing is known about theirs.
    """
    visible = _visible(record)
    is_detected: NDArray[Any] = ~_without_keypoints(record) & ~record.interpolated
    doubts: list[list[LimbDoubt]] = [[] for _ in range(len(record))]
    for limb, joints in _OF_LIMB.items():
        for side in ("left", "right"):
            names = [f"{side}_{joint}" for joint in joints]
            is_hidden = np.logical_not(visible[:, BLAZEPOSE33.indices(names)].any(1))
            confidence = record.joint_confidence[:, SMPL24.indices(names)].min(1)
            for row in np.flatnonzero(is_detected & (is_hidden | (confidence < _MIN_LIMB_CONFIDENCE))).tolist():
                doubts[row].append(LimbDoubt(side, limb, bool(is_hidden[row])))
    return doubts


def _visible(record: FitRecord) -> np.ndarray:
    """Mark landmarks (N, 33) that are confident and inside the image; of a take inside that of any view. Of one view of
    a take all are: what it hides, the others show.
    """
    if record.options.get("of_take"):
        return np.ones(record.keypoints2d.shape[:2], bool)
    sizes = [camera.image_size[record.frame_index][:, None] for camera in record.cameras]
    inside = [_inside(camera.keypoints2d, size) for camera, size in zip(record.cameras, sizes, strict=True)]
    return np.any(inside, axis=0)


def _inside(points: NDArray[Any], size: NDArray[Any]) -> NDArray[np.bool_]:
    within = (points[..., :2] >= 0).all(-1) & (points[..., :2] < size).all(-1)
    return np.asarray(within & (points[..., 2] >= _MIN_VISIBILITY))


def _head_elsewhere(record: FitRecord) -> NDArray[np.bool_]:
    """Mark rows (N,) whose head is not between the detected ears; none of a take, which has several images."""
    if record.has_other_views:
        return np.zeros(len(record), bool)
    neck, head = (record.joints2d[:, SMPL24.index(name)] for name in ("neck", "head"))
    ears = record.keypoints2d[:, _EARS]
    away = np.linalg.norm(ears[..., :2].mean(1) - head - _EARS_ABOVE_HEAD * (head - neck), axis=-1)
    metres = away * record.joints3d[:, SMPL24.index("head"), 2] / record.focal[record.frame_index]
    return np.asarray((ears[..., 2] > _MIN_VISIBILITY).all(1) & (metres > _MAX_HEAD_ERROR))


def _without_keypoints(record: FitRecord) -> NDArray[np.bool_]:
    """Mark rows (N,) that no detector's landmarks come with, in any view."""
    return np.all([(camera.keypoints2d[..., 2] <= 0).all(1) for camera in record.cameras], axis=0)


def _named(doubts: Sequence[LimbDoubt]) -> list[str]:
    """Name limbs, such as "left arm uncertain" and "both legs hidden, guessed"."""
    phrases = []
    for limb in _OF_LIMB:
        of_limb = [doubt for doubt in doubts if doubt.limb == limb]
        if len(of_limb) == 2 and of_limb[0].hidden == of_limb[1].hidden:
            phrases.append(f"both {limb}s {of_limb[0].reason}")
        else:
            phrases += [f"{doubt.side} {limb} {doubt.reason}" for doubt in of_limb]
    return phrases


def row_doubts(record: FitRecord) -> list[str]:
    """Explain for each row why its fit is doubtful, whether the camera walks, and which limbs are, such as "left leg
    hidden, guessed"; "" if it is not doubtful.

    Without hips in the image nothing says how the trunk leans and where the legs are. Of rows without any keypoints,
    as other programs' fits are, that is not known.
    """
    unknown = _without_keypoints(record)
    diagonal = np.linalg.norm(record.boxes[:, 2:] - record.boxes[:, :2], axis=-1)
    reasons: tuple[tuple[str, Any], ...] = (
        ("not detected here", record.interpolated),
        ("no person at the keypoints", np.isin(record.frame_index, record.options.get("no_person", []))),
        ("hips not visible", ~_visible(record)[:, _HIPS].any(1) & ~unknown),
        ("low confidence", record.confidence < _MIN_CONFIDENCE),
        ("far from the joints", record.reprojection_error > _MAX_ERROR * diagonal),
        ("head elsewhere", _head_elsewhere(record)),
    )
    first = [[reason for reason, condition in reasons if condition[row]][:1] for row in range(len(record))]
    for row in np.flatnonzero(np.isin(record.frame_index, record.options.get("camera_walks", []))).tolist():
        first[row].append("the camera walks")
    return ["; ".join([*reason, *_named(limbs)]) for reason, limbs in zip(first, limb_doubts(record), strict=True)]


def doubts_of_tracks(record: FitRecord) -> dict[int, str]:
    """Explain for each track why most frames that show the person are doubtful: all reasons that hold for most of them,
    or else the most frequent one; "" if most are not.
    """
    doubts, is_detected = row_doubts(record), ~record.interpolated
    rows = {track: np.flatnonzero(is_detected & (record.track_id == track)) for track in record.tracks}
    return {track: _usual([doubts[row] for row in of_track]) for track, of_track in rows.items()}


def losses_in_view(record: FitRecord) -> dict[int, float]:
    """Find the tracks of one camera that end within the image before their shot does, and the second of each end."""
    if record.has_other_views:
        return {}
    seconds, losses = record.seconds(ASSUMED_FRAME_RATE), {}
    for track in record.tracks:
        last = np.flatnonzero(record.track_id == track)[-1]
        frame = record.frame_index[last]
        shot_end = np.flatnonzero(record.shot_id == record.shot_id[frame])[-1]
        width, (left, right) = record.image_size[frame, 0], record.boxes[last, [0, 2]]
        is_inside = left > _EDGE * width and right < (1 - _EDGE) * width
        if is_inside and seconds[shot_end] - seconds[frame] > _LOST_SECONDS:
            losses[track] = float(seconds[frame])
    return losses


def _usual(row_reasons: Sequence[str]) -> str:
    if 2 * sum(map(bool, row_reasons)) <= len(row_reasons):
        return ""
    counts = Counter(reason for row in row_reasons if row for reason in row.split("; "))
    usual = [reason for reason, count in counts.items() if 2 * count > len(row_reasons)]
    return "; ".join(usual) or counts.most_common(1)[0][0]
