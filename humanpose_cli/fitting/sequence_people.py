"""People and cameras of the frames of one sequence, gathered frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from humanpose_cli.core.camera import Camera
from humanpose_cli.detect.camera_motion import CameraMotion
from humanpose_cli.detect.linking import TrackLinker
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.user_people import user_tracks
from humanpose_cli.fitting.networks import Estimates
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import TrackMasks
from humanpose_cli.fitting.records import unfitted_detection
from humanpose_cli.fitting.tracks import FrameCamera, frame_times, largest_tracks
from humanpose_cli.io.inputs import Frame
from humanpose_cli.io.unfitted_detections import UnfittedDetection

_DEFAULT_FRAME_RATE = 30.0  # frames a second, of sequences without a known rate


@dataclass(frozen=True)
class SequencePeople:
    """N rows of people in the T frames of a sequence, with tracks, estimates and masks."""

    people: list[DetectedPerson]
    cameras: list[FrameCamera]
    seconds: list[float]
    """Times of the T frames."""
    has_times: bool
    """Whether `seconds` come from the file; they are made of the frame rate otherwise."""
    unfitted: list[UnfittedDetection]
    clothes: dict[int, np.ndarray]
    """Colours of the clothes of each track."""


class SequencePeopleBuilder:
    """Follows the people and the camera of a sequence, frame by frame; keeps no pixels."""

    def __init__(self, options: FitOptions, estimates: Estimates, masks: TrackMasks) -> None:
        self._options, self._estimates, self._masks = options, estimates, masks
        self._tracks, self._motion = TrackLinker(options.detect), CameraMotion()
        self._cameras: list[FrameCamera] = []
        self._people: list[DetectedPerson] = []
        self._unfitted: list[UnfittedDetection] = []
        self._times: list[Fraction | None] = []
        self._pixels: np.ndarray | None = None

    def add(self, frame: Frame, detections: Sequence[DetectedPerson]) -> None:
        """Take the next frame and all detections in it."""
        index = len(self._cameras)
        people = [person for person in detections if not person.not_fitted]
        self._unfitted += [unfitted_detection(replace(p, frame=index)) for p in detections if p.not_fitted]
        # A damaged frame shows outdated pixels: track and camera are followed on the last undamaged one.
        if self._pixels is None or not frame.damage:
            self._pixels = frame.pixels
        ids = self._tracks.add(people, self._pixels)
        camera = camera_of(frame, self._options, ids.shot_id)
        turn = self._motion.next_frame(self._pixels, [p.box for p in people], camera.camera, ids.shot_id)
        lens = replace(camera.camera, focal=camera.camera.focal * turn.zoom)
        self._cameras.append(replace(camera, camera=lens, turn=turn, damaged=bool(frame.damage)))
        self._times.append(frame.time)
        self._estimates.add(frame.pixels, people, camera.camera)
        # Masks are pixels: a long video could not keep them.
        pairs = zip(people, ids.track_ids, strict=True)
        tracked = [replace(person, mask=None, frame=index, track=track) for person, track in pairs]
        self._masks.add(self._pixels, tracked, len(self._people))
        self._people += tracked

    def finish(self, frame_rate: float | None) -> SequencePeople:
        """Decide which tracks are one person and which are no person; none of it is known before the last frame."""
        numbers = self._tracks.tracks()
        numbers = user_tracks(self._people, [camera.shot for camera in self._cameras]) or numbers
        unfitted = self._unfitted + [
            unfitted_detection(replace(row, not_fitted=reason))
            for row, reason in zip(self._people, self._tracks.reasons(numbers), strict=True)
            if reason and self._options.people == "all"
        ]
        masks = self._masks.masks
        rows = enumerate(zip(self._people, self._estimates.all(), numbers, strict=True))
        people = [
            replace(row, estimate=estimate, track=track, mask=masks.get(index))
            for index, (row, estimate, track) in rows
            if track is not None
        ]
        if self._options.people == "largest":
            people = largest_tracks(people)
        seconds = frame_times(self._times, frame_rate or _DEFAULT_FRAME_RATE)
        has_times = bool(self._times) and all(time is not None for time in self._times)
        return SequencePeople(
            people, self._solved_cameras(seconds), seconds, has_times, unfitted, self._tracks.clothes(numbers)
        )

    def _solved_cameras(self, seconds: Sequence[float]) -> list[FrameCamera]:
        """Give each frame its time, and the turn and zoom that all frames together show."""
        cameras = []
        for camera, time, turn in zip(self._cameras, seconds, self._motion.poses(), strict=True):
            lens = replace(camera.camera, focal=camera.camera.focal * (turn.zoom / camera.turn.zoom))
            cameras.append(replace(camera, camera=lens, time=time, turn=turn))
        return cameras


def camera_of(frame: Frame, options: FitOptions, shot: int = 0) -> FrameCamera:
    """Make the camera of a frame from its size and what is known of its lens."""
    camera = Camera.of_image(frame.size, options.focal or frame.focal or None, frame.principal_point)
    return FrameCamera(frame.name, camera, shot=shot)
