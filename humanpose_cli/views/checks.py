"""Refuses takes whose videos or calibration cannot be used, before any of them is fitted. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import ASSUMED_FRAME_RATE
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.calibrations import CalibratedCamera, Calibration, matched_cameras
from humanpose_cli.io.calibrations.cameras import MAX_CAMERAS
from humanpose_cli.io.inputs import InputItem
from humanpose_cli.io.video import check_complete

_MIN_SECONDS = 0.5  # of a video, because shorter movements do not distinguish people
_MIN_DISTANCE = 0.01  # metres between two calibrated cameras
_THUMBNAIL = (48, 27)  # pixels
_SAME_IMAGE = 1.0  # mean difference of 255 below which two thumbnails show the same
_MIN_CONTRAST = 4.0  # standard deviation of 255 below which a frame, such as a black one, is not compared


def check_take(
    views: Sequence[InputItem], names: Sequence[str], calibration: Calibration | None = None
) -> list[CalibratedCamera]:
    """Check that a take can be fitted, from the first frame and the packets of each video.

    Args:
        views: The videos, folders of frames, or photographs.
        names: The names of the views.
        calibration: The calibration of the cameras. None: they are estimated.

    Returns:
        The calibrated camera of each view. [] without a calibration.

    Raises:
        UsageError: If there are fewer than two views, or too many.
        InputError: If a video has no readable frame, breaks off, or is shorter than half a second. If two videos show
            the same. If some views are photographs and others videos. If the calibration does not match the names or
            sizes of the images, or has two cameras at one position.
    """
    check_view_count(len(views))
    paths = view_paths([view.path for view in views], names)
    if calibration is not None:
        matched_cameras(calibration, paths)  # before the videos are read
    _check_kinds(views)
    thumbnails: list[NDArray[np.float32]] = []
    sizes: list[tuple[int, int]] = []
    for view in views:
        frame = view.first_frame()
        sizes.append(frame.size)
        thumbnails.append(cv2.resize(frame.pixels, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32))
        _check_length(view)
    for first, second in combinations(range(len(views)), 2):
        one_length = views[first].frame_count == views[second].frame_count
        if one_length and _show_the_same(thumbnails[first], thumbnails[second]):
            expected = "videos of different cameras"
            raise InputError(views[second].label, f"shows the same images as {names[first]}", expected=expected)
    cameras = [] if calibration is None else matched_cameras(calibration, paths, sizes).cameras
    _check_positions(cameras)
    return cameras


def check_view_count(count: int) -> None:
    """Raise UsageError for fewer than two views or more than `MAX_CAMERAS`."""
    if count < 2:
        remedy = "name two videos or fit files or more, or a folder of them"
        raise UsageError("input", "has too few cameras", expected="two or more", got=str(count), remedy=remedy)
    if count > MAX_CAMERAS:
        raise UsageError("input", "has too many cameras", expected=f"at most {MAX_CAMERAS}", got=str(count))


def view_paths(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Join the views' names to the folders of their files, by which some cameras are found."""
    return [str(path.absolute().parent / name) for path, name in zip(paths, names, strict=True)]


def _check_positions(cameras: Sequence[CalibratedCamera]) -> None:
    """Raise InputError if two cameras have the same position."""
    for first, second in combinations(cameras, 2):
        distance = float(np.linalg.norm(first.centre - second.centre))
        if distance < _MIN_DISTANCE:
            problem = f"has {first.name} and {second.name} at one position"
            expected, got = f"{_MIN_DISTANCE:g} m or more between two cameras", f"{distance:.3g} m"
            raise InputError("calibration", problem, expected=expected, got=got, remedy="calibrate the cameras again")


def _check_kinds(views: Sequence[InputItem]) -> None:
    """Raise InputError for a photograph next to videos."""
    photographs = [view for view in views if not view.is_sequence or view.frame_count == 1]
    if photographs and len(photographs) < len(views):
        expected = "only videos, or only photographs of one moment"
        raise InputError(photographs[0].label, "is a photograph next to videos", expected=expected)


def _check_length(view: InputItem) -> None:
    if view.kind == "video":
        check_complete(view.path, view.range)
    count = view.frame_count
    if not view.is_sequence or count is None or count == 1:
        return
    seconds = count / (view.frame_rate or ASSUMED_FRAME_RATE)
    if seconds < _MIN_SECONDS:
        got, remedy = f"{count} frames of {seconds:.2g} s", "more `frames`, or one photograph of each camera"
        raise InputError(view.label, "is too short", expected=f"{_MIN_SECONDS:g} s or more", got=got, remedy=remedy)


def _show_the_same(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    contrast = min(float(image.std()) for image in (first, second))
    return contrast >= _MIN_CONTRAST and float(np.abs(first - second).mean()) < _SAME_IMAGE
