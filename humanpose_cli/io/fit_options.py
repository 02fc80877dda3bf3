"""What a fit file says in words: the options that a fit was made with, and results that are no arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError

FRAME_LISTS = ("camera_unknown", "camera_walks", "damaged", "not_searched", "no_person")
"""Results that are lists of frames."""


@dataclass(frozen=True)
class StoredOptions:
    """Options and results in a fit file. Those that are None are not in the file.

    Attributes:
        settings: JSON values of all other options that the fit was made with, and of further entries of the file.
        method: The fitting method.
        detector: How thoroughly people were searched for.
        focal: The focal length that was given, in pixels, or how it is found.
        camera_unknown: Frames in which the camera's motion is unknown.
        camera_walks: Frames in which the camera's path is unknown.
        damaged: Damaged frames.
        not_searched: Frames between searched ones.
        no_person: Frames without a person at the user's keypoints.
        nobody: People of a sequence at whose keypoints no person is in a third of the frames.
        doubts: Why the input as a whole is doubtful, such as "the frames may be of another clip".
        messages: Sentences about the cameras of a take.
        camera_paths: One for each shot of a walking camera: `shot`, length in metres, `deviation` (relative standard
            deviation, without the uncertainty of people's sizes), `zoom` (ratio of largest and smallest focal length),
            `ground` (whether the background shows it), `background_error` (median, pixels) and `background` (points in
            metres, axes of the shot's first camera).
        not_fitted: Detections without a body, see `FitRecord.unfitted`.
        hands_not_taken: `person`, `side`, `reason` and number of `frames` of hands with confidence 0.
        left_out: Number of people below the minimum confidence.
        refinement: `settings`, `tracks`, `measure` and `without_keypoints` of a refinement.
        scale: `source` of the scale of a take, and its `uncertainty` as a share.
        of_take: Whether the fit is one view of a take.
        program: The other program that made the bodies.
        upright: Whether the world's y axis points down, as in results of programs with a world of their own. Otherwise
            the world has the axes of the first camera of each shot.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    method: str | None = None
    detector: str | None = None
    focal: float | str | None = None
    camera_unknown: Sequence[int] | None = None
    camera_walks: Sequence[int] | None = None
    damaged: Sequence[int] | None = None
    not_searched: Sequence[int] | None = None
    no_person: Sequence[int] | None = None
    nobody: Sequence[int] | None = None
    doubts: Sequence[str] | None = None
    messages: Sequence[str] | None = None
    camera_paths: Sequence[Mapping[str, Any]] | None = None
    not_fitted: Sequence[Mapping[str, Any]] | None = None
    hands_not_taken: Sequence[Mapping[str, Any]] | None = None
    left_out: int | None = None
    refinement: Mapping[str, Any] | None = None
    scale: Mapping[str, Any] | None = None
    of_take: bool | None = None
    program: str | None = None
    upright: bool | None = None

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> StoredOptions:
        """Make the options from JSON values."""
        values = {name: document[name] for name in _NAMES if document.get(name) is not None}
        return cls({name: value for name, value in document.items() if name not in values}, **values)

    def without_frames(self) -> StoredOptions:
        """Leave out the lists of frames and of detections in frames."""
        frame_lists: dict[str, Any] = dict.fromkeys(FRAME_LISTS)
        return replace(self, not_fitted=None, **frame_lists)

    def document(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return {**self.settings, **{name: value for name in _NAMES if (value := getattr(self, name)) is not None}}


_NAMES = [field.name for field in fields(StoredOptions) if field.name != "settings"]


def _are(values: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, list) and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)


def _is_path(path: Any) -> bool:
    if not isinstance(path, dict) or not isinstance(path.get("shot"), int):
        return False
    points = path.get("background") or []
    points_fit = isinstance(points, list) and all(_are(point, (int, float)) and len(point) == 3 for point in points)
    return points_fit and bool(np.isfinite(points).all())


def _is_refinement(report: Any) -> bool:
    if not isinstance(report, Mapping) or not isinstance(report.get("settings", {}), Mapping):
        return False
    tracks = report.get("tracks", {})
    return isinstance(tracks, Mapping) and all(
        isinstance(track, Mapping) and all(_are(values, (int, float, type(None))) for values in track.values())
        for track in tracks.values()
    )


_HAND = {"person": int, "side": str, "reason": str, "frames": int}


def _are_hands(hands: Any) -> bool:
    return _are(hands, dict) and all(isinstance(hand.get(k), kind) for hand in hands for k, kind in _HAND.items())


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(FRAME_LISTS, (lambda value: _are(value, int), "a list of frames")),
    "camera_paths": (lambda value: _are(value, dict) and all(map(_is_path, value)), "paths of the camera by shot"),
    "hands_not_taken": (_are_hands, "person, side, reason and frames of each"),
    "refinement": (_is_refinement, "settings, and lists of numbers for each track"),
    "nobody": (lambda value: _are(value, int), "a list of people"),
    "left_out": (lambda value: isinstance(value, int), "a whole number"),
    **dict.fromkeys(("messages", "doubts"), (lambda value: _are(value, str), "a list of texts")),
}


def read_options(text: str) -> StoredOptions:
    """Parse the JSON text of a fit file's options. Raises InputError for other text and for invalid values."""
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("options", f"are no JSON ({error})") from error
    if not isinstance(options, dict):
        raise InputError("options", "are no JSON object", got=type(options).__name__)
    for name, (is_right, expected) in _CHECKS.items():
        if name in options and not is_right(options[name]):
            raise InputError(f"options {name}", "are damaged", expected=expected, got=repr(options[name])[:80])
    return StoredOptions.of_document(options)
