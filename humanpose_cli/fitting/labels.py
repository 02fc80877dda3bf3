"""Labels of overlays: people's numbers next to their bodies, and below the image why fits are doubtful."""

from __future__ import annotations

import textwrap

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.doubt import doubts_of_tracks
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.rendering.overlay import LABEL_GROUND, YELLOW, draw_label, label_size, person_colour, pushed_apart

_HEAD = SMPL24.index("head")
_HEAD_RADIUS = 0.18  # metres, with hair; the head's joint is at its base
_MIN_LETTERS = 9  # pixels; else a 20th of the person, at most a 50th of the image's longer side
_MAX_LINES = 12  # below an image


class PeopleLabels:
    """The labels of all frames of a record.

    A person's label is the number, with a question mark if more than single limbs, which are hatched, is doubtful. The
    label of a detection without a body is "not fitted". Labels stand beside heads and cover no other label.

    Attributes:
        labels: Text, colour and reason of each label.
        frames: (R,) int. The frame of each row, which is a label in a frame.
        numbers: (R,) int. The index in `labels`.
        letters: (R,) pixels. The height of the letters.
        sizes: (R, 2) pixels.
        corners: (R, 2) pixels. The upper left corner.
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
        heads = record.joints2d[:, _HEAD]
        radii = _HEAD_RADIUS * record.focal[record.frame_index] / record.joints3d[:, _HEAD, 2].clip(0.1)
        boxes = np.reshape([detection.box for detection in detections], (-1, 4))
        # The middle of each label's left edge: beside the middle of the head, or at the upper right corner of the box.
        starts = np.concatenate((heads + radii[:, None] * (1, -1), boxes[:, [2, 1]]))
        extents = np.concatenate((np.ptp(record.joints2d, axis=1), boxes[:, 2:] - boxes[:, :2])).max(1)
        self.letters, self.sizes = np.zeros(len(self.frames), int), np.zeros((len(self.frames), 2), int)
        self._shots = record.shot_id
        for number, (text, *_) in enumerate(self.labels):
            rows = self.numbers == number
            largest = record.image_size[self.frames[rows]].max() / 50
            self.letters[rows] = letters = max(_MIN_LETTERS, round(min(np.median(extents[rows]) / 20, largest)))
            self.sizes[rows] = label_size(text, letters)
        self.corners = np.zeros((len(self.frames), 2), int)
        for frame in np.unique(self.frames):
            rows = self.frames == frame
            sizes = self.sizes[rows]
            self.corners[rows] = pushed_apart(starts[rows] - sizes * (0, 0.5), sizes, record.image_size[frame])

    def draw(self, image: NDArray[np.uint8], frame: int) -> None:
        """Draw the labels of a frame into its image, in place."""
        for row in np.flatnonzero(self.frames == frame):
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
