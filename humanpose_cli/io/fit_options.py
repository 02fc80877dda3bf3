"""Checks of the options in a fit file: lists of frames, paths of the camera, and the report of a refinement."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError

FRAME_LISTS = ("camera_unknown", "camera_walks", "damaged", "not_searched", "no_person")
"""Options that are lists of frames."""


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
    "registered": (lambda value: _are(value, (bool, int, float)), "a list of numbers"),
    "left_out": (lambda value: isinstance(value, int), "a whole number"),
    **dict.fromkeys(("messages", "doubts"), (lambda value: _are(value, str), "a list of texts")),
}


def read_options(text: str) -> dict[str, Any]:
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
    return options
