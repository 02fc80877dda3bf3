"""Identities of people over a sequence: short tracks, joined over gaps and cut where people cross.

`TrackAssigner` follows people from frame to frame and starts a new track whenever it is in doubt. Once all frames are
known, tracks are cut where two people cover each other. The pieces are joined again by the best total evidence
(Hungarian method): the colours of the clothes, the movement, and whether the pieces were one track. No track continues
across a cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.detect.identity import (
    ClothesOdds,
    best_matches,
    body_colours,
    distinct_rows,
    median_colours,
    similarity_over_frames,
)
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.shots import ShotDetector
from humanpose_cli.io.unfitted_detections import POSE_NOT_CERTAIN

_SAME_FRAMES = 0.3  # similarity of boxes or keypoints of two frames that are one track
_MAX_GAP = 10  # frames that a track waits for its person
_DUPLICATE = -1  # tracklet of a second detection of one person

_COVER_SHARE = 0.4  # of the smaller box within another one, from which colours there may be the other person's
_LIKELY = 0.8  # median score from which an unconfirmed candidate counts as detection; a clamp has 0.6, a bystander 0.97
_BRIEF = 15  # frames: a shorter track, most of it within another's box, mixes two people who cross
_CLEAR_FRAMES = 40  # nearest to an end of a track, which give its colours
_CLOTHES = ClothesOdds(lightness=0.7, neutral=14.0, scale=3.0, largest=4.0)
_BEFORE = 1.5  # log-odds that pieces which were one track are one person
_SPEED_FRAMES = 10  # at an end of a track, which give the speed there
_STEP = 0.15  # heights: error of a prediction at once
_WANDER = 0.02  # heights: growth of the error with every frame
_HORIZON = 4.0  # frames that a prediction reaches at least
_LONGEST_GAP = 300  # frames: a person who was gone for longer is not recognised


@dataclass(frozen=True)
class FrameIds:
    """The numbers of a frame.

    Attributes:
        shot_id: The number of the shot.
        track_ids: The track id of each person.
    """

    shot_id: int
    track_ids: tuple[int, ...]


@dataclass
class _Track:
    number: int
    last: DetectedPerson
    lost_frames: int = 0


class TrackAssigner:
    """Assigns track numbers to people over the frames of a video.

    Each frame's people are matched to the tracks by the best total similarity of boxes and keypoints (Hungarian
    method). People without a match in the last ten frames start a track. A hard cut ends all tracks.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._next = 0
        self._shots = ShotDetector()

    def assign(self, people: Sequence[DetectedPerson], image: np.ndarray | None = None) -> FrameIds:
        """Assign numbers to the next frame's people; without its image (H, W, 3) uint8, cuts are not detected."""
        shot = self._shots.shot_id
        if image is not None and self._shots.next_frame(image) != shot:
            self._tracks = []
        numbers = [-1] * len(people)
        for row, track in self._matches(people):
            track.last = people[row]
            track.lost_frames = -1
            numbers[row] = track.number
        for row, person in enumerate(people):
            if numbers[row] < 0:
                numbers[row] = self._next
                self._tracks.append(_Track(self._next, person, -1))
                self._next += 1
        for track in self._tracks:
            track.lost_frames += 1
        self._tracks = [track for track in self._tracks if track.lost_frames <= _MAX_GAP]
        return FrameIds(self._shots.shot_id, tuple(numbers))

    def _matches(self, people: Sequence[DetectedPerson]) -> list[tuple[int, _Track]]:
        similarities = [[similarity_over_frames(track.last, person) for track in self._tracks] for person in people]
        pairs = best_matches(np.reshape(similarities, (len(people), len(self._tracks))), _SAME_FRAMES)
        return [(row, self._tracks[column]) for row, column in pairs]


@dataclass(frozen=True, eq=False)
class _Row:
    frame: int
    shot: int
    tracklet: int
    box: NDArray[np.float32]
    confirmed: bool
    colours: NDArray[np.float32]  # (spots, 4): Lab and weight
    score: float = 1.0


class TrackLinker:
    """Links people over a sequence: `add` frame after frame, then `tracks`."""

    def __init__(self) -> None:
        self._assigner = TrackAssigner()
        self._rows: list[_Row] = []
        self._frame = -1

    def add(self, people: Sequence[DetectedPerson], image: NDArray[np.uint8]) -> FrameIds:
        """Add the next frame; neither people nor image are stored.

        Args:
            people: The people of the frame.
            image: (H, W, 3) uint8 RGB.

        Returns:
            Provisional numbers.
        """
        self._frame += 1
        # A track that slid onto another person ends here: it gets neither of the two detections.
        distinct = distinct_rows(people)
        ids = self._assigner.assign([people[row] for row in distinct], image)
        number_of = dict(zip(distinct, ids.track_ids, strict=True))
        numbers = tuple(number_of.get(row, _DUPLICATE) for row in range(len(people)))
        self._rows += [
            _Row(self._frame, ids.shot_id, number, p.box, p.confirmed, body_colours(p, image), p.score)
            for number, p in zip(numbers, people, strict=True)
        ]
        return FrameIds(ids.shot_id, numbers)

    def tracks(self) -> list[int | None]:
        """Return the number of every added person, in order; None for people without a body, see `reasons`.

        Tracks are numbered by their first frame, and within a frame by the order of people.
        """
        is_covered = _covered(self._rows)
        within = _covered(self._rows, within=True)
        links = _people(self._rows, _pieces(self._rows, is_covered), is_covered)
        numbers: list[int | None] = [None] * len(self._rows)
        people = []
        for rows in links:
            # Brief tracks mostly within another person's box are mixtures of two people who cross.
            is_confirmed = any(self._rows[row].confirmed for row in rows)
            is_mixture = len(rows) < _BRIEF and within[rows].mean() > 0.5
            if is_confirmed and not is_mixture and not self._is_fleeting(len(rows)):
                people.append(rows)
        for number, rows in enumerate(sorted(people, key=min)):
            for row in rows:
                numbers[row] = number
        return numbers

    def _is_fleeting(self, count: int) -> bool:
        """Return whether a track of `count` rows has one frame of a longer sequence."""
        # A pose fails in the frame in which somebody leaves the image.
        return count == 1 and self._frame >= _BRIEF

    def reasons(self, tracks: Sequence[int | None]) -> list[str]:
        """Return why each person has no body.

        Args:
            tracks: The result of `tracks`.

        Returns:
            A few words for each person; "" for people with a number, and for false detections.
        """
        scores: dict[int, list[float]] = {}
        for row in self._rows:
            scores.setdefault(row.tracklet, []).append(row.score)
        why = {number: POSE_NOT_CERTAIN if np.median(s) >= _LIKELY else "" for number, s in scores.items()}
        why |= {row.tracklet: "hidden by another person" for row in self._rows if row.confirmed}
        fleeting = [number for number, values in scores.items() if why[number] and self._is_fleeting(len(values))]
        why |= dict.fromkeys(fleeting, "in one frame alone")
        why[_DUPLICATE] = "detected twice"
        return ["" if n is not None else why[row.tracklet] for row, n in zip(self._rows, tracks, strict=True)]

    def clothes(self, tracks: Sequence[int | None]) -> dict[int, NDArray[np.float64]]:
        """Return the colours of each person's clothes, from uncovered rows if there are any.

        Args:
            tracks: The result of `tracks`.

        Returns:
            (6, 4) float64 by number.
        """
        is_covered = _covered(self._rows)
        rows_of: dict[int, list[int]] = {}
        for row, number in enumerate(tracks):
            if number is not None:
                rows_of.setdefault(number, []).append(row)
        result = {}
        for number, rows in rows_of.items():
            clear = [row for row in rows if not is_covered[row]] or rows
            result[number] = median_colours([self._rows[row].colours for row in clear])
        return result


def _covered(rows: Sequence[_Row], *, within: bool = False) -> NDArray[np.bool_]:
    """Select rows that another person covers or that cover one; with `within`, rows in another's box."""
    frames: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if row.tracklet != _DUPLICATE:
            frames.setdefault(row.frame, []).append(index)
    result = np.zeros(len(rows), bool)
    for indices in frames.values():
        for index in indices:
            boxes = [rows[neighbour].box for neighbour in indices if neighbour != index]
            result[index] = any(_overlap(rows[index].box, box, within=within) > _COVER_SHARE for box in boxes)
    return result


def _pieces(rows: Sequence[_Row], is_covered: NDArray[np.bool_]) -> list[list[int]]:
    """Cut each track's rows in the middle of every covered stretch."""
    from scipy.ndimage import binary_closing

    tracks: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if row.tracklet != _DUPLICATE:
            tracks.setdefault(row.tracklet, []).append(index)
    pieces: list[list[int]] = []
    for track in tracks.values():
        # Behind another person, a person may be lost for some frames of one crossing.
        covered = binary_closing(np.pad(is_covered[track], _BRIEF), np.ones(_BRIEF))[_BRIEF:-_BRIEF]
        flags = np.concatenate([[False], covered, [False]]).astype(int)
        starts = np.flatnonzero(np.diff(flags) == 1)
        ends = np.flatnonzero(np.diff(flags) == -1)
        cuts = [(s + e) // 2 for s, e in zip(starts, ends, strict=True) if s > 0 and e < len(track)]
        pieces += [part.tolist() for part in np.split(np.array(track), cuts) if len(part)]
    return pieces


def _overlap(a: NDArray[np.float32], b: NDArray[np.float32], *, within: bool = False) -> float:
    """Return the share of the smaller box within the other; with `within`, of the first one."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    areas = [np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])]
    return float(np.prod(np.clip(sides, 0, None)) / max(areas[0] if within else min(areas), 1e-6))


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows of a track between crossings, and the colours at its ends."""

    rows: Sequence[_Row]
    first_colours: NDArray[np.float64]
    last_colours: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[_Row]) -> _Piece:
        # Light changes over a long track: its ends are compared by the frames next to them.
        ends = rows[:_CLEAR_FRAMES], rows[-_CLEAR_FRAMES:]
        return cls(rows, *(median_colours([row.colours for row in end]) for end in ends))


def _people(rows: Sequence[_Row], pieces: Sequence[list[int]], is_covered: NDArray[np.bool_]) -> list[list[int]]:
    """Join the rows of the pieces that show one person."""
    ends = [_Piece.of([rows[index] for index in piece]) for piece in pieces]
    # A brief piece within a crossing is often a mixture of both people. If it leads nowhere, it must not separate
    # the pieces before and behind the crossing: it joins afterwards, as an end of its track.
    # With all pieces first: a brief one that leads from a piece to another is a person's own.
    links = _links(ends)
    loose = [
        i
        for i, piece in enumerate(pieces)
        if len(piece) < _BRIEF and is_covered[piece].mean() > 0.5 and not (i in links and i in links.values())
    ]
    firm = [i for i in range(len(pieces)) if i not in loose]
    # Without the loose pieces, the pieces on both sides of a crossing are linked.
    links = _links([ends[i] for i in firm])
    people = []
    for first in set(range(len(firm))) - set(links.values()):
        chain = [first]
        while chain[-1] in links:
            chain.append(links[chain[-1]])
        people.append([row for i in chain for row in pieces[firm[i]]])
    for piece in (pieces[i] for i in loose):
        person = next((person for person in people if _continues(rows, person, piece)), None)
        if person is None:
            people.append(list(piece))
        else:
            person.extend(piece)
    return people


def _continues(rows: Sequence[_Row], person: Sequence[int], piece: Sequence[int]) -> bool:
    """Return whether a piece follows or precedes a person's rows in the same track, in other frames."""
    frames = [rows[row].frame for row in piece]
    if not set(frames).isdisjoint(rows[row].frame for row in person):
        return False
    near = set(range(frames[0] - 2, frames[-1] + 3))
    return any(rows[row].tracklet == rows[piece[0]].tracklet and rows[row].frame in near for row in person)


def _links(pieces: Sequence[_Piece]) -> dict[int, int]:
    """Link each piece to the one that continues its person."""
    odds = np.zeros((len(pieces), len(pieces)))
    for i, first in enumerate(pieces):
        for j, second in enumerate(pieces):
            gap = second.rows[0].frame - first.rows[-1].frame
            # No person is followed across a cut.
            if 0 < gap <= _LONGEST_GAP and first.rows[-1].shot == second.rows[0].shot:
                odds[i, j] = _log_odds(first, second, gap)
    # All links together: the best link of one piece may belong to another one.
    return dict(best_matches(odds))


def _log_odds(first_piece: _Piece, second_piece: _Piece, gap: int) -> float:
    """Return the log-odds that a piece that begins `gap` frames after another shows the same person."""
    last = first_piece.rows[-1]
    first = second_piece.rows[0]
    height = math.sqrt(_height(last) * _height(first))
    growth = abs(math.log(_height(first) / _height(last)))
    # People do not turn round at once: speeds are compared, too.
    horizon = max(gap / 2, _HORIZON)
    prediction = _ahead(first_piece.rows, horizon)
    distance = np.linalg.norm(prediction - _ahead(second_piece.rows[::-1], gap - horizon)) / height
    # Predictions miss by more the longer they reach, and after a long gap many people may have come.
    reach = _STEP + _WANDER * gap
    moves = 2.0 - 0.5 * (distance / reach) ** 2 - 0.5 * (growth / (0.15 + 0.01 * gap)) ** 2 - 2 * math.log1p(gap / 15)
    looks = _CLOTHES.between(first_piece.last_colours, second_piece.first_colours)
    return float(moves + looks + (_BEFORE if gap <= 2 and last.tracklet == first.tracklet else 0.0))


def _ahead(rows: Sequence[_Row], frames: float) -> NDArray[np.float64]:
    """Predict the middle of the box a number of frames after the last row, or before it."""
    # People turn and stop: their speed counts for a second at most.
    last = rows[-1]
    first = rows[max(len(rows) - _SPEED_FRAMES, 0)]
    speed = (_middle(last) - _middle(first)) / max(abs(last.frame - first.frame), 1)
    return _middle(last) + speed * min(frames, 15.0)


def _height(row: _Row) -> float:
    return max(float(row.box[3] - row.box[1]), 1.0)


def _middle(row: _Row) -> NDArray[np.float64]:
    return ((row.box[:2] + row.box[2:]) / 2).astype(np.float64)
