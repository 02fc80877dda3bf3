"""From any exception to one sentence and an exit code: the one place that decides what a failure means."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from humanpose_cli.errors import ExitCode, HpcError, UnavailableError
from humanpose_cli.version import __version__

__all__ = ["Failure", "explain"]

# A file that is not there is none of these: no user asked for it, so it is a bug.
_ABOUT_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


@dataclass(frozen=True)
class Failure:
    """sentence   what to tell the user
    exit_code  what the command exits with if this is all that happened
    everywhere  whether every further item would fail in the same way, so that a batch had better stop
    """

    sentence: str
    exit_code: ExitCode
    everywhere: bool = False

    @property
    def is_bug(self) -> bool:
        """Whether it is a fault of ours, whose traceback matters."""
        return self.exit_code is ExitCode.BUG


def explain(error: BaseException, inputs: Sequence[Path] = ()) -> Failure:
    """What an exception means.

    error   anything that a command or an item raised
    inputs  the files being read: no permission for one of them is the item's trouble, not the machine's
    """
    if isinstance(error, HpcError):
        return Failure(str(error), error.exit_code, everywhere=isinstance(error, UnavailableError))
    if isinstance(error, MemoryError) or _is_memory_error_of_a_library(error):
        return Failure(
            "memory: not enough for this item; a smaller one needs less, and so do fewer processes at once",
            ExitCode.UNAVAILABLE,
        )
    if isinstance(error, OSError) and (failure := _explain_os_error(error, inputs)):
        return failure
    text = str(error)
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Failure(f"{told}; this is a bug in hpc {__version__}, --verbose shows where: please report it", ExitCode.BUG)


def _is_memory_error_of_a_library(error: BaseException) -> bool:
    """torch's and OpenCV's, known by their names so that neither need be loaded."""
    kind = type(error)
    return kind.__name__ == "OutOfMemoryError" or (kind.__module__ == "cv2" and getattr(error, "code", None) == -4)


def _explain_os_error(error: OSError, inputs: Sequence[Path]) -> Failure | None:
    """A system error that nobody on the way turned into a sentence."""
    # Here and not above: the command line reads this file before it needs numpy, which io.atomic imports.
    from humanpose_cli.io.atomic import writing_error

    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if where and any(where == str(path) for path in inputs):
        return Failure(f"{where}: cannot be read, found {error.strerror}", ExitCode.BAD_INPUT)
    if error.errno not in _ABOUT_WRITING:
        return None
    told = writing_error(Path(where or "output"), error)
    return explain(told) if told is not None else None
