"""What each kind of exception means."""

from __future__ import annotations

import errno
from pathlib import Path

import cv2
import pytest

from humanpose_cli.batch.runner import explain
from humanpose_cli.core.errors import ExitCode, InputError, UnavailableError, UsageError


class OutOfMemoryError(RuntimeError):
    """Stands for torch's, which is known by its name."""


OPENCV_OUT_OF_MEMORY = cv2.error("Failed to allocate")
OPENCV_OUT_OF_MEMORY.code = cv2.Error.StsNoMem  # as OpenCV sets it


@pytest.mark.parametrize(
    ("error", "code", "everywhere"),
    [
        (InputError("a.jpg", "is empty"), ExitCode.BAD_INPUT, False),
        (UsageError("--size", "is too small"), ExitCode.USAGE, False),
        (UnavailableError("gpu", "is missing"), ExitCode.UNAVAILABLE, True),
        (MemoryError(), ExitCode.UNAVAILABLE, False),
        (OutOfMemoryError("CUDA"), ExitCode.UNAVAILABLE, False),
        (OPENCV_OUT_OF_MEMORY, ExitCode.UNAVAILABLE, False),
        (cv2.error("wrong size"), ExitCode.BUG, False),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.UNAVAILABLE, True),
        (PermissionError(errno.EACCES, "Permission denied", "/out/x"), ExitCode.UNAVAILABLE, True),
        (PermissionError(errno.EACCES, "Permission denied", "in/a.jpg"), ExitCode.BAD_INPUT, False),
        (FileNotFoundError(errno.ENOENT, "No such file", "ours.npz"), ExitCode.BUG, False),
        (OSError(errno.ENAMETOOLONG, "File name too long", "y" * 300), ExitCode.BAD_INPUT, False),
        (ValueError("math"), ExitCode.BUG, False),
        (RuntimeError(), ExitCode.BUG, False),
    ],
)
def test_codes(error, code, everywhere):
    failure = explain(error, [Path("in/a.jpg")])
    assert (failure.exit_code, failure.everywhere) == (code, everywhere)
    assert "\n" not in failure.sentence


def test_a_bug_is_called_one():
    failure = explain(KeyError("hip"))
    assert failure.is_bug
    assert failure.sentence.startswith("KeyError: 'hip'; this is a bug in hpc")


def test_known_errors_keep_their_sentence():
    error = InputError("a.jpg", "is not an image", expected="JPEG", got="text", remedy="convert it")
    assert explain(error).sentence == str(error)
