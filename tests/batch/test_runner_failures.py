"""What each kind of exception means."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2
import pytest

from humanpose_cli.batch.runner import Failure, explain
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


@pytest.mark.parametrize(
    "code", ["ESTALE", "ETIMEDOUT", "EREMOTEIO", "ENOTCONN", "EBUSY", "ENOLCK", "EMFILE", "ENFILE"]
)
@pytest.mark.parametrize("name", [None, "/elsewhere/x", "in/a.jpg"])
def test_stale_handles_are_the_machines_fault_whatever_they_are_about(code, name):
    error = OSError(getattr(errno, code), os.strerror(getattr(errno, code)), name)
    failure = explain(error, [Path("in/a.jpg")])
    assert (failure.exit_code, failure.everywhere) == (ExitCode.UNAVAILABLE, True)


@pytest.mark.parametrize(
    ("code", "name", "exit_code"),
    [
        ("EINVAL", "/out/x", ExitCode.UNAVAILABLE),
        ("ENOENT", "/out/sub/x", ExitCode.UNAVAILABLE),
        ("EINVAL", "/out", ExitCode.UNAVAILABLE),
        ("EISDIR", "/out/x", ExitCode.UNAVAILABLE),
        ("ENAMETOOLONG", "/out/x", ExitCode.BAD_INPUT),
        ("EACCES", "/out/in/a.jpg", ExitCode.BAD_INPUT),
        ("EIO", "/out/in/a.jpg", ExitCode.BAD_INPUT),
        ("EAGAIN", "/out/x", ExitCode.UNAVAILABLE),
        ("EAGAIN", None, ExitCode.UNAVAILABLE),
        ("EINVAL", None, ExitCode.UNAVAILABLE),
        ("ENOENT", "/outside/x", ExitCode.BUG),
        ("EISDIR", None, ExitCode.BUG),
    ],
)
def test_errors_below_the_output_folder_are_the_machines_unless_they_are_those_of_an_input(code, name, exit_code):
    error = OSError(getattr(errno, code), os.strerror(getattr(errno, code)), name)
    failure = explain(error, [Path("/out/in/a.jpg")], Path("/out"))
    assert failure.exit_code == exit_code
    assert failure.everywhere == (exit_code is ExitCode.UNAVAILABLE)


def test_a_bug_is_called_one():
    failure = explain(KeyError("hip"))
    assert failure.exit_code is ExitCode.BUG
    assert failure.sentence.startswith("KeyError: 'hip'; this is a bug in hpc")


def test_expected_errors_keep_their_sentence():
    error = InputError("a.jpg", "is not an image", expected="JPEG", got="text", remedy="convert it")
    assert explain(error).sentence == str(error)


FOR_AN_ITEM = "memory: not enough for this item; a smaller one needs less, and so do fewer processes at once"
FOR_LIBRARIES = (
    "memory: not enough to load a library or to start a thread; raise the limit (ulimit -v), or run fewer processes "
    "at once"
)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), FOR_AN_ITEM),
        (RuntimeError("could not create a primitive"), FOR_AN_ITEM),
        (RuntimeError("Failed to allocate memory for requested buffer of size 12582912"), FOR_AN_ITEM),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), FOR_AN_ITEM),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), FOR_LIBRARIES),
        (OSError("libwarp.so: failed to map segment from shared object"), FOR_LIBRARIES),
        (RuntimeError("can't start new thread"), FOR_LIBRARIES),
    ],
)
def test_exhausted_memory_is_no_bug(error, sentence):
    assert explain(error) == Failure(sentence, ExitCode.UNAVAILABLE)
    wrapped = InputError("a.onnx", "is no network")
    wrapped.__cause__ = error
    assert explain(wrapped) == Failure(sentence, ExitCode.UNAVAILABLE)


def test_text_about_memory_in_a_name_or_another_error_is_no_exhausted_memory():
    assert explain(InputError("bad_alloc.png", "is not an image")).exit_code is ExitCode.BAD_INPUT
    assert explain(ValueError("not enough memory cells")).exit_code is ExitCode.BUG
