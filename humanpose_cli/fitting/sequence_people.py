"""Gathers people and cameras of one sequence frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby

import numpy as np

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import ASSUMED_FRAME_RATE
from humanpose_cli.detect.camera_motion import STILL, CameraMotion, CameraPose
from humanpose_cli.detect.detector import hide_shared_joints
from humanpose_cli.detect.hands import HandDetector
from humanpose_cli.detect.linking import TrackLinker
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.user_people import user_tracks
from humanpose_cli.fitting.camera_walk import CameraWalk
from humanpose_cli.fitting.networks import Estimates
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import TrackMasks
from humanpose_cli.fitting.records import unfitted_detection
from humanpose_cli.fitting.tracks import FrameCamera, frame_times, largest_tracks
from humanpose_cli.io.inputs import Frame
from humanpose_cli.io.unfitted_detections import UnfittedDetection
from humanpose_cli.odometry.corners import CornerTracker
from humanpose_cli.odometry.reconstruction import reconstruct

_MAX_UNSOLVED = 0.1  # share of a shot's frames without turn and zoom, beyond which a path is reconstructed


@dataclass(frozen=True)
class SequencePeople:
    """N rows of people in the T frames of a sequence, with tracks, estimates and masks.

    Attributes:
        people: The rows.
        cameras: The camera of each frame.
        seconds: The time of each frame.
        has_times: Whether `seconds` come from the file, not from the frame rate.
        unfitted: Detections without a body.
        clothes: Track to the colours of the clothes.
        walks: Paths of the camera. `cameras` already have their rotations and focal lengths.
    """

    people: list[DetectedPerson]
    cameras: list[FrameCamera]
    seconds: list[float]
    has_times: bool
    unfitted: list[UnfittedDetection]
    clothes: dict[int, np.ndarray]
    walks: tuple[CameraWalk, ...] = ()


class SequencePeopleBuilder:
    """Follows the people and the camera of a sequence frame by frame, without keeping pixels."""

    def __init__(self, options: FitOptions, estimates: Estimates, masks: TrackMasks, hands: HandDetector) -> None:
        self._options, self._estimates, self._masks, self._hands = options, estimates, masks, hands
        self._tracks, self._motion = TrackLinker(), CameraMotion(may_walk=options.camera != "turning")
        self._cameras: list[FrameCamera] = []
        self._people: list[DetectedPerson] = []
        self._unfitted: list[UnfittedDetection] = []
        self._times: list[Fraction | None] = []
        self._numbers: list[int] = []  # of the frames in the input, where a range may skip some and some may be missing
        self._pixels: np.ndarray | None = None
        self._has_focal = False
        self._corners: list[tuple[int, CornerTracker]] = []  # and the first frame that each follows them in
        self._boxes: list[np.ndarray] = []  # of people in the last searched frame
        self._last: tuple[np.ndarray, list[np.ndarray], Camera] | None = None

    def add(self, frame: Frame, detections: Sequence[DetectedPerson] | None) -> None:
        """Take the next frame with all detections in it, or None if it was not searched."""
        index = len(self._cameras)
        searched = detections is not None
        detections = detections or []
        people = [person for person in detections if not person.not_fitted]
        if searched:
            self._boxes = [person.box for person in people]
        self._unfitted += [unfitted_detection(replace(p, frame=index)) for p in detections if p.not_fitted]
        # A damaged frame has wrong pixels, so tracks and camera use the last undamaged one.
        if self._pixels is None or not frame.damage:
            self._pixels = frame.pixels
        ids = self._tracks.add(people, self._pixels)
        camera = camera_of(frame, self._options, ids.shot_id)
        self._has_focal = bool(self._options.focal or frame.focal)
        turn = STILL
        if self._options.camera != "still":
            turn = self._motion.next_frame(self._pixels, self._boxes, camera.camera, ids.shot_id)
        lens = replace(camera.camera, focal=camera.camera.focal * turn.zoom)
        self._cameras.append(replace(camera, camera=lens, turn=turn, damaged=bool(frame.damage), searched=searched))
        if self._options.camera in ("auto", "walking"):
            self._follow_corners(index, self._boxes, camera.camera, ids.shot_id, turn)
        self._times.append(frame.time)
        self._numbers.append(frame.index if frame.number is None else frame.number)
        self._estimates.add(frame.pixels, people, lens)
        # Masks are not kept, because a long video has too many pixels.
        pairs = zip(people, ids.track_ids, strict=True)
        tracked = [replace(person, mask=None, frame=index, track=track) for person, track in pairs]
        self._masks.add(self._pixels, tracked, len(self._people))
        self._people += self._hands.add(self._pixels, tracked, follow=True) if searched else tracked

    def _follow_corners(self, index: int, boxes: list[np.ndarray], camera: Camera, shot: int, turn: CameraPose) -> None:
        """Follow the background's corners from the last frame with a still camera on."""
        assert self._pixels is not None
        if index == 0 or self._cameras[index - 1].shot != shot:
            self._last = None
        following = bool(self._corners) and self._cameras[self._corners[-1][0]].shot == shot
        if not following and not turn.is_still and self._last is not None:
            self._corners.append((index - 1, CornerTracker()))
            pixels, boxes_before, camera_before = self._last
            self._corners[-1][1].add(pixels, boxes_before, camera_before)
            following = True
        if following:
            self._corners[-1][1].add(self._pixels, boxes, camera)
        self._last = None if following else (self._pixels, boxes, camera)

    def finish(self, frame_rate: float | None, *, hide_shared: bool = False) -> SequencePeople:
        """Decide which tracks are one person and which are no person, when all frames are known.

        With `hide_shared`, joints are hidden that another person of the same frame claims more strongly.
        """
        numbers = self._tracks.tracks()
        numbers = user_tracks(self._people, [camera.shot for camera in self._cameras]) or numbers
        unfitted = self._unfitted + [
            unfitted_detection(replace(row, not_fitted=reason))
            for row, reason in zip(self._people, self._tracks.reasons(numbers), strict=True)
            if reason and self._options.people == "all"
        ]
        if hide_shared:
            self._hide_shared_joints(numbers)
        masks = self._masks.masks
        rows = enumerate(zip(self._people, self._estimates.all(), numbers, strict=True))
        people = [
            replace(row, estimate=estimate, track=track, mask=masks.get(index))
            for index, (row, estimate, track) in rows
            if track is not None
        ]
        if self._options.people == "largest":
            people = largest_tracks(people)
        step = max(1.0, float(np.diff(self._numbers).mean())) if len(self._numbers) > 1 else 1.0
        seconds = frame_times(self._times, frame_rate or ASSUMED_FRAME_RATE / step)
        has_times = bool(self._times) and all(time is not None for time in self._times)
        cameras = self._solved_cameras(seconds)
        walks = self._walks(cameras)
        for walk in walks:
            cameras, people = walk.turned(cameras, people)
        clothes = self._tracks.clothes(numbers)
        return SequencePeople(people, cameras, seconds, has_times, unfitted, clothes, tuple(walks))

    def _hide_shared_joints(self, numbers: Sequence[int | None]) -> None:
        """Hide shared joints as in images, but only between people of tracks: a second detection shares them all."""
        rows = [row for row, number in enumerate(numbers) if number is not None]
        for _, group in groupby(rows, key=lambda row: self._people[row].frame):
            of_frame = list(group)
            people = hide_shared_joints([self._people[row] for row in of_frame])
            for row, person in zip(of_frame, people, strict=True):
                self._people[row] = person

    def _walks(self, cameras: Sequence[FrameCamera]) -> list[CameraWalk]:
        """Reconstruct the path of the camera in shots in which it walks, or moves unlike a turn and zoom."""
        walks = []
        for first, corners in self._corners:
            turns = [camera.turn for camera in cameras[first : first + len(corners.frames)]]
            is_walk = any(turn.walks for turn in turns) or np.mean([not t.solved for t in turns]) > _MAX_UNSOLVED
            if is_walk or self._options.camera == "walking":
                path = reconstruct(corners, fixed_focal=self._has_focal)
                if path is not None and path.is_reliable:
                    walks.append(CameraWalk(first, cameras[first].shot, path))
        return walks

    def _solved_cameras(self, seconds: Sequence[float]) -> list[FrameCamera]:
        """Give each frame its time, and the turn and zoom that result from all frames together."""
        cameras = []
        turns = self._motion.poses() if self._options.camera != "still" else [STILL] * len(self._cameras)
        for camera, time, turn in zip(self._cameras, seconds, turns, strict=True):
            lens = replace(camera.camera, focal=camera.camera.focal * (turn.zoom / camera.turn.zoom))
            cameras.append(replace(camera, camera=lens, time=time, turn=turn))
        return cameras


def camera_of(frame: Frame, options: FitOptions, shot: int = 0) -> FrameCamera:
    """Make the camera of a frame from its size and the known properties of its lens."""
    camera = Camera.of_image(frame.size, options.focal or frame.focal or None, frame.principal_point)
    if frame.min_focal and not options.focal:
        camera = replace(camera, focal=max(camera.focal, frame.min_focal))
    return FrameCamera(frame.name, camera, shot=shot)
