"""Labels of overlays: people's numbers next to their bodies, and below the image why fits are doubtful."""

from __future__ import annotations

import textwrap
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.doubt import doubts_of_tracks
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.rendering.overlay import LABEL_GROUND, YELLOW, draw_label, label_corners, label_size, person_colour

Floats = NDArray[np.float64]

_GRID = 400  # cells along an image's longer side, in which people are kept free of labels
# Metres from joints to the surface of a body of usual size, with hair and clothes; the head's joint is at its base.
_REACHES = {"spine": 0.18, "pelvis": 0.18, "hip": 0.15, "foot": 0.1, "head": 0.26, "shoulder": 0.13, "hand": 0.14}
_REACH = np.array([next((r for part, r in _REACHES.items() if part in name), 0.11) for name in SMPL24.joint_names])
_TRUNK, _TRUNK_LENGTH = SMPL24.indices(("pelvis", "spine1", "spine2", "spine3", "neck")), 0.5  # metres, usual size
_BODY = [i for i, n in enumerate(SMPL24.joint_names) if not n.endswith(("elbow", "wrist", "hand"))]  # without arms
_DISCS = 5  # along a bone
_MIN_CONFIDENCE = 0.5  # of landmarks that labels must not cover
_SMOOTHING = 4.0  # frames, standard deviation of the smoothing of boxes next to which labels stand
_MIN_LETTERS = 9  # pixels; else a 20th of the person, at most a 50th of the image's longer side
_MAX_DISTANCE = 4.0  # heights of a label, from which on a line connects it to its person
_MAX_LINES = 12  # below an image


class PeopleLabels:
    """The labels of all frames of a record.

    A person's label is the number, with a question mark if more than single limbs, which are hatched, is doubtful. The
    label of a detection without a body is "not fitted". Labels cover no person. A label without space is left out.

    Attributes:
        labels: Text, colour and reason of each label.
        frames: (R,) int. The frame of each row, which is a label in a frame.
        numbers: (R,) int. The index in `labels`.
        boxes: (R, 4) pixels. The box next to which the label stands.
        letters: (R,) pixels. The height of the letters.
        sizes: (R, 2) pixels.
        corners: (R, 2) pixels. The upper left corner. NaN without space.
    """

    def __init__(self, record: FitRecord) -> None:
        doubts, detections = doubts_of_tracks(record), record.unfitted
        marked = doubts_of_tracks(record, single_limbs=False)
        self.labels = [(f"{i}{'?' if marked[i] else ''}", person_colour(i), doubt) for i, doubt in doubts.items()]
        shots = record.shot_id.tolist()
        listed: set[tuple[int, str]] = set()  # the strip lists each reason once a shot
        for u in detections:
            reason = shots[u.frame], u.reason
            self.labels.append(("not fitted", YELLOW, "" if reason in listed else u.reason))
            listed.add(reason)
        self.frames = np.append(record.frame_index, np.array([detection.frame for detection in detections], int))
        self.numbers = np.append(
            np.searchsorted(list(doubts), record.track_id), len(doubts) + np.arange(len(detections))
        )
        bodies, sizes = _bodies(record), record.image_size[record.frame_index]
        trunk = bodies[:, _BODY, :2]
        reach = bodies[:, _BODY, 2:] + 2 * sizes.max(1)[:, None, None] / _GRID
        boxes = np.clip(np.concatenate(((trunk - reach).min(1), (trunk + reach).max(1)), 1), 0, np.tile(sizes, 2))
        self.boxes = np.concatenate((boxes, np.reshape([detection.box for detection in detections], (-1, 4))))
        self.letters, self.sizes = np.zeros(len(self.frames), int), np.zeros((len(self.frames), 2), int)
        self._shots = record.shot_id
        for number, (text, *_) in enumerate(self.labels):
            rows = self.numbers == number
            if np.count_nonzero(rows) > 1:
                from scipy.ndimage import gaussian_filter1d  # not needed for photographs

                self.boxes[rows] = gaussian_filter1d(self.boxes[rows], _SMOOTHING, axis=0, mode="nearest")
            person = np.median(np.ptp(self.boxes[rows].reshape(-1, 2, 2), axis=1).max(1))
            largest = record.image_size[self.frames[rows]].max() / 50
            self.letters[rows] = letters = max(_MIN_LETTERS, round(min(person / 20, largest)))
            self.sizes[rows] = label_size(text, letters)
        occupancy = partial(_occupied, record, bodies)
        self.corners = label_corners(self.frames, self.boxes, self.sizes, self.numbers, occupancy, record.image_size)

    def draw(self, image: NDArray[np.uint8], frame: int) -> None:
        """Draw the labels of a frame into its image, in place."""
        rows = np.flatnonzero((self.frames == frame) & np.isfinite(self.corners[:, 0]))
        for row in rows:
            (x0, y0, x1, y1), middle = self.boxes[row], self.corners[row] + self.sizes[row] / 2
            nearest = np.array(((x0 + x1) / 2, np.clip(middle[1], 0.9 * y0 + 0.1 * y1, 0.1 * y0 + 0.9 * y1)))
            if np.linalg.norm(middle - nearest) > _MAX_DISTANCE * self.sizes[row, 1]:
                ends, colour = np.rint((middle, nearest)).astype(int).tolist(), 255 * self.labels[self.numbers[row]][1]
                cv2.line(image, ends[0], ends[1], colour.tolist(), max(1, int(self.letters[row]) // 8), cv2.LINE_AA)
        for row in rows:
            text, colour, _ = self.labels[self.numbers[row]]
            draw_label(image, text, self.corners[row].tolist(), int(self.letters[row]), colour)

    def with_reasons(self, image: NDArray[np.uint8], frame: int) -> NDArray[np.uint8]:
        """Add a strip below the image that says which fits of the frame's shot are doubtful, and why.

        The strip has the same height in all frames, and is missing if no fit is doubtful.
        """
        letters = max(_MIN_LETTERS, round(max(image.shape[:2]) / 80))
        columns = max(1, 50 * image.shape[1] // label_size(50 * "n", letters)[0])
        lines: dict[int, list[tuple[str, NDArray[np.float32]]]] = {int(shot): [] for shot in self._shots}
        for number, (text, colour, reason) in enumerate(self.labels):
            parts = textwrap.wrap(f"{text}: {reason}", columns) if reason else []
            lines[int(self._shots[self.frames[self.numbers == number][0]])] += [(part, colour) for part in parts]
        count = min(max(map(len, lines.values()), default=0), _MAX_LINES)
        frame_lines = lines[int(self._shots[frame])]
        if len(frame_lines) > count:
            frame_lines = [*frame_lines[: count - 1], (f"and {len(frame_lines) - count + 1} lines more", YELLOW)]
        strip = np.full((2 * letters * count, image.shape[1], 3), LABEL_GROUND, np.uint8)
        for number, (line, colour) in enumerate(frame_lines):
            draw_label(strip, line, (0, 2 * letters * number), letters, colour)
        return np.concatenate((image, strip))


def _bodies(record: FitRecord) -> Floats:
    """Compute the joints in the image (N, 24, 3): x, y, and the extent of the body around them, in pixels."""
    joints, frames = record.joints3d.astype(np.float64), record.frame_index
    size = np.linalg.norm(np.diff(joints[:, _TRUNK], axis=1), axis=-1).sum(1, keepdims=True) / _TRUNK_LENGTH
    pixels = Camera(record.focal[frames], record.principal_point[frames]).project(joints)
    return np.dstack((pixels, _REACH * size * record.focal[frames, None] / joints[..., 2].clip(0.1)))


def _occupied(record: FitRecord, bodies: Floats, frame: int) -> NDArray[np.bool_]:
    """Mark where people are in a frame: along bones, around landmarks, and in boxes of detections without a body."""
    size, rows = record.image_size[frame], record.rows_for(frame)
    cells = np.ceil(size * min(1.0, _GRID / size.max())).astype(int)
    body, (first, second) = bodies[rows], np.array(SMPL24.bones).T
    bones = [body[:, first] + share * (body[:, second] - body[:, first]) for share in np.linspace(0, 1, _DISCS)]
    landmarks = np.where(record.keypoints2d[rows, :, 2:] >= _MIN_CONFIDENCE, record.keypoints2d[rows], body[:, :1])
    landmarks[..., 2] = body[:, :1, 2] / 2
    discs = np.concatenate((*bones, landmarks), 1).reshape(-1, 3) * (*cells / size, max(cells / size))
    discs[:, :2], discs[:, 2] = np.floor(discs[:, :2]), np.ceil(discs[:, 2])
    near = (np.abs(discs[:, :2] - cells / 2) < cells / 2 + discs[:, 2:]).all(1)
    grid = np.zeros(cells[::-1], np.uint8)
    for x, y, radius in discs[near].clip(-2 * _GRID, 2 * _GRID).astype(int).tolist():
        cv2.circle(grid, (x, y), radius, 1, -1)
    for detection in record.unfitted:
        if detection.frame == frame:
            x0, y0, x1, y1 = (np.array(detection.box) * np.tile(cells / size, 2)).astype(int).tolist()
            cv2.rectangle(grid, (x0, y0), (x1, y1), 1, -1)
    return grid > 0
