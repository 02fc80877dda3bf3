"""The people of a target who drive the people of a photograph, and their motions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.fitting.doubt import doubts_of_tracks
from humanpose_cli.io.fit_files import FitRecord, read_fit
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.pose_files import RotationTarget, Target, is_fit_file, read_pose
from humanpose_cli.io.pose_files.target_pose import frames_of
from humanpose_cli.reposing.options import Drivers, ReposeOptions


@dataclass(frozen=True, eq=False, repr=False)
class TargetPeople:
    """The motions of several people of a target, each of whom drives a person.

    Attributes:
        people: The motions from left to right in the target, all of the same frames.
        areas: The sum of each person's boxes over all frames, square pixels.
    """

    people: tuple[RotationTarget, ...]
    areas: tuple[float, ...]

    @property
    def frame_rate(self) -> float | None:
        """Frames per second; None if the target does not say."""
        return self.people[0].frame_rate

    @property
    def frame_numbers(self) -> tuple[int, ...]:
        """The rising numbers of the frames in the target."""
        return self.people[0].frame_numbers

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user."""
        return tuple(warning for person in self.people for warning in person.warnings)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.people[0])

    def __repr__(self) -> str:
        return f"<TargetPeople: {', '.join(str(person.person) for person in self.people)} in {len(self)} frames>"


AnyMotion: TypeAlias = "Target | TargetPeople"
"""One motion for all people, or the motions of several people."""


def motion_of_fit(
    fit: FitRecord, drivers: Drivers, name: Path | str = "target", numbers: Sequence[int] = ()
) -> AnyMotion:
    """Return the motion of the people of a fit who drive.

    One person's motion begins with their first frame and ends with their last one. Several people's motions cover the
    frames of all of them: before and after their own frames, people hold their first and last pose.

    Args:
        fit: The fit.
        drivers: The people who drive.
        name: The target's name in errors and warnings.
        numbers: The rising numbers of the fit's frames; () takes those in their names.

    Raises:
        InputError: If a person is not in the fit.
    """
    from humanpose_cli.io.pose_files.rotation_files import target_of_fit  # which needs torch

    if not len(fit):
        raise InputError(name, "shows no person whose pose could be taken", remedy="choose another target")
    several = drivers == "all" or isinstance(drivers, tuple)
    selection = [fit.largest_track] if drivers == "largest" else fit.tracks if drivers == "all" else drivers
    tracks = [selection] if isinstance(selection, int) else list(selection)
    for track in tracks:
        if track not in fit.tracks:
            raise InputError(name, f"has no person {track}", expected=_listed(fit.tracks))
    first = min(int(fit.frame_index[fit.rows_of(track)[0]]) for track in tracks)
    last = max(int(fit.frame_index[fit.rows_of(track)[-1]]) for track in tracks)
    numbers = numbers or fit.frame_numbers.tolist()
    motions = []
    for track in tracks:
        target = target_of_fit(fit, track)
        begins = int(fit.frame_index[fit.rows_of(track)[0]])
        rows_held = np.clip(np.arange(first, last + 1) - begins, 0, len(target) - 1)
        warnings = _absences(fit, track, numbers, several=several)
        doubt = doubts_of_tracks(fit)[track]
        if doubt:
            warnings = (*warnings, f"the fit of person {track} of the target is doubtful ({doubt})")
        motion = replace(target.rows(rows_held), warnings=warnings, doubt=doubt)
        motions.append(replace(motion, frame_numbers=tuple(numbers[first : last + 1])))
    if not several:
        return motions[0]
    order = _from_left(fit, [fit.rows_of(track)[0] for track in tracks])
    areas = np.prod(fit.boxes[:, 2:] - fit.boxes[:, :2], axis=1, dtype=np.float64)
    sizes = tuple(float(areas[fit.rows_of(tracks[index])].sum()) for index in order)
    return TargetPeople(tuple(motions[index] for index in order), sizes)


def _absences(fit: FitRecord, track: int, numbers: Sequence[int], *, several: bool) -> tuple[str, ...]:
    """Describe how frames without the person are drawn; nothing if every frame shows them."""
    frames = fit.frame_index[fit.rows_of(track)]
    absent = fit.frame_count - len(frames)
    if not absent:
        return ()
    visible_frames = f"frames {numbers[frames[0]]} to {numbers[frames[-1]]}"
    rest = "before, between and after, a pose is held" if several else "the motion is these, with poses held between"
    return (
        f"person {track} of the target is not shown in {absent} of {fit.frame_count} frames, but in {visible_frames}: "
        f"{rest}",
    )


def motion_of_file(path: Path | str, skeleton: str | None, axes: str | None, drivers: Drivers) -> AnyMotion:
    """Read the motion of a pose file, or of the people of a fit file who drive."""
    if is_fit_file(path):
        return motion_of_fit(read_fit(path), drivers, path)
    track = drivers if isinstance(drivers, int) else None
    return checked_motion(read_pose(path, skeleton, axes, track=track), drivers)


def checked_motion(motion: AnyMotion, drivers: Drivers) -> AnyMotion:
    """Return the motion. Raises UsageError if `drivers` names people whom it does not have."""
    if not isinstance(motion, TargetPeople) and drivers not in ("largest", getattr(motion, "person", None)):
        expected = "a fit, an image or a video with several people"
        raise UsageError("target_person", "cannot be chosen: the target is one motion", expected=expected)
    return motion


def frames_of_motion(motion: AnyMotion, frames: FrameRange, name: Path | str) -> AnyMotion:
    """Return the frames `frames` of a motion, for each person."""
    if not isinstance(motion, TargetPeople):
        return frames_of(motion, frames, name)
    people = tuple(frames_of(person, frames, name) for person in motion.people)
    return replace(motion, people=tuple(person for person in people if isinstance(person, RotationTarget)))


def target_of_each(motion: AnyMotion, record: FitRecord, rows: Sequence[int], options: ReposeOptions) -> list[Target]:
    """Return the motion that each of the photograph's people takes.

    If `options` names no pairs, the largest people of the target are paired with the photograph's people from left to
    right.

    Args:
        motion: The target's motion.
        record: The photograph's fit.
        rows: The rows of the reposed people in the fit, at most as many as the target has people.
        options: Which people to repose.
    """
    if not isinstance(motion, TargetPeople):
        return [motion] * len(rows)
    if options.pairs:
        by_track = {person.person: person for person in motion.people}
        return [by_track[options.pairs[int(record.track_id[row])]] for row in rows]
    largest = sorted(np.argsort(motion.areas)[::-1][: len(rows)].tolist())
    targets: list[Target] = [motion.people[0]] * len(rows)
    for number, index in zip(largest, _from_left(record, rows), strict=True):
        targets[index] = motion.people[number]
    return targets


def _from_left(fit: FitRecord, rows: Sequence[int]) -> list[int]:
    """Order rows of a fit by the middle of their boxes."""
    return [int(index) for index in np.argsort(fit.boxes[np.asarray(rows)][:, [0, 2]].mean(1), kind="stable")]


def _listed(tracks: Sequence[int]) -> str:
    return f"{', '.join(map(str, tracks[:-1]))} or {tracks[-1]}" if len(tracks) > 1 else f"{tracks[0]}, the only one"
