"""From detections and fitted bodies to a fit record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.detect.camera_motion import STILL, CameraPose
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.doubt import doubt_of_track
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.sides import settle_sides
from humanpose_cli.io.fit_files import COLUMNS, FitRecord
from humanpose_cli.models.nbf.network import BodyEstimate

_LONGEST_GAP = 2.0  # seconds for which a body that nobody sees is made up


@dataclass(frozen=True)
class FrameCamera:
    """A frame and the camera that it is taken to be seen by.

    name    the frame's name
    time    seconds from the first frame
    shot    number of the shot it belongs to, from 0
    turn    how it is turned from the first frame of the shot
    damaged  whether the file is damaged there
    """

    name: str
    camera: Camera
    time: float = 0.0
    shot: int = 0
    turn: CameraPose = STILL
    damaged: bool = False

    @property
    def world_to_camera(self) -> np.ndarray:
        """(4, 4); the world's axes are those of the shot's first frame."""
        pose = np.eye(4)
        pose[:3, :3] = self.turn.rotation
        return pose


@dataclass(frozen=True, eq=False)
class TrackedPerson:
    """One row to be: a person, the place of their frame in the list of frames, and their track's id.

    estimate      what a body network says of them, if one was asked
    interpolated  nobody was detected: the row comes from the frames before and after
    """

    person: DetectedPerson
    frame: int
    track: int
    estimate: BodyEstimate | None = None
    interpolated: bool = False


def motions(people: Sequence[TrackedPerson], times: Sequence[float]) -> list[TrackedPerson]:
    """The rows of a sequence sorted by track and frame, with left and right settled over time, and with a row for every
    frame of short gaps.

    times  of all frames, seconds

    A row of a gap has a box between its neighbours' and no visible keypoint.
    """
    rows: list[TrackedPerson] = []
    for _, track in groupby(sorted(people, key=lambda p: (p.track, p.frame)), key=lambda p: p.track):
        seen = list(track)
        settled = settle_sides([p.person for p in seen], [p.frame for p in seen])
        before: TrackedPerson | None = None
        for person, row in zip(settled, seen, strict=True):
            now = replace(row, person=person)
            if before is not None and times[now.frame] - times[before.frame] <= _LONGEST_GAP:
                rows += _between(before, now, times)
            rows.append(now)
            before = now
    return rows


def _between(before: TrackedPerson, after: TrackedPerson, times: Sequence[float]) -> Iterator[TrackedPerson]:
    for frame in range(before.frame + 1, after.frame):
        share = (times[frame] - times[before.frame]) / (times[after.frame] - times[before.frame])
        box = (1 - share) * before.person.box + share * after.person.box
        keypoints = before.person.keypoints * np.array([1, 1, 0], np.float32)
        hidden = replace(before.person, box=box.astype(np.float32), keypoints=keypoints, score=0.0)
        yield TrackedPerson(hidden, frame, before.track, interpolated=True)


def detector_keypoints(person: DetectedPerson) -> np.ndarray:
    """(33, 3) x, y, confidence in the order of blazepose33; landmarks that the person's skeleton lacks are zero."""
    if person.skeleton is BLAZEPOSE33:
        return person.keypoints
    rows = np.zeros((len(BLAZEPOSE33), 3))
    for row, name in enumerate(person.skeleton.joint_names):
        if name in BLAZEPOSE33:
            rows[BLAZEPOSE33.index(name)] = person.keypoints[row]
    return rows


def empty_record(frames: Sequence[FrameCamera], **whole: Any) -> Fit:
    """The record of frames in which nobody was found."""
    return Fit.empty(
        [f.name for f in frames], [f.camera.size for f in frames], [f.camera.focal for f in frames], **whole
    )


def fit_record(people: Sequence[TrackedPerson], fit: KeypointFit, frames: Sequence[FrameCamera], **whole: Any) -> Fit:
    """The record of N ≥ 1 rows in F frames; `people` and `fit` in the same order.

    whole  what `FitRecord` says of the whole file: body, options, frame_rate, frame_times
    """
    count = len(people)
    return Fit.build(
        poses=fit.poses,
        betas=fit.betas,
        trans=fit.trans,
        joints3d=fit.joints3d,
        joints2d=fit.joints2d,
        confidence=fit.confidence,
        joint_confidence=fit.joint_confidence,
        # A person without usable keypoints has no error, and a confidence of zero.
        reprojection_error=np.nan_to_num(fit.reprojection_error),
        track_id=[p.track for p in people],
        frame_index=[p.frame for p in people],
        interpolated=np.array([p.interpolated for p in people], bool),
        segment_scales=np.ones((count, len(SMPL24))),
        keypoints2d=np.reshape([detector_keypoints(p.person) for p in people], (count, len(BLAZEPOSE33), 3)),
        boxes=np.reshape([p.person.box for p in people], (count, 4)),
        frame_names=[f.name for f in frames],
        shot_id=[f.shot for f in frames],
        image_size=np.reshape([f.camera.size for f in frames], (len(frames), 2)),
        focal=[f.camera.focal for f in frames],
        principal_point=np.reshape([f.camera.principal_point for f in frames], (len(frames), 2)),
        world_to_camera=np.stack([f.world_to_camera for f in frames]),
        **whole,
    )


def joined(fits: Sequence[Fit]) -> Fit:
    """Fits of independent images as one, a frame and a shot each; people are numbered through."""
    columns: dict[str, list[np.ndarray]] = {name: [getattr(fit, name) for fit in fits] for name in COLUMNS}
    first = 0
    for number, fit in enumerate(fits):
        columns["track_id"][number] = fit.track_id + first
        columns["frame_index"][number] = fit.frame_index + number
        columns["shot_id"][number] = fit.shot_id + number
        first += len(fit.tracks)
    together = {name: np.concatenate(arrays) for name, arrays in columns.items()}
    last = fits[-1]
    return Fit.build(**together, gender=last.gender, body=last.body, options=last.options)


def record_summary(record: FitRecord) -> dict[str, Any]:
    """What a line of a table says of a record: people, frames, doubts, and the median reprojection error and
    confidence of rows that are not interpolated.

    doubtful  such as "hips not visible"; of several people with their numbers; "" where no fit is doubtful
    """
    tracks, detected = record.tracks, ~record.interpolated
    doubts = {track: doubt for track in tracks if (doubt := doubt_of_track(record, track))}
    named = [doubt if len(tracks) == 1 else f"person {track}: {doubt}" for track, doubt in doubts.items()]
    return {
        "people": len(tracks),
        "frames": record.frame_count,
        "error_px": float(np.median(record.reprojection_error[detected])) if detected.any() else None,
        "confidence": float(np.median(record.confidence[detected])) if detected.any() else None,
        "doubtful": "; ".join(named),
    }
