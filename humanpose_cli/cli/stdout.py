"""Write to stdout, also if its reader has closed it. `hpc --help` loads this module without `cli.render`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from humanpose_cli.core.errors import UnavailableError


def write_stdout(text: str) -> None:
    """Write to stdout and flush.

    A closed pipe (`| head`) or a closed stdout is not an error.

    Args:
        text: The text, with its line ends.

    Raises:
        UnavailableError: If the text cannot be written for another reason, such as a full disk.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(escaped_for_stdout(text))
        sys.stdout.flush()
    except BrokenPipeError:
        _stop_writing_to_stdout()
    except OSError as error:
        raise unwritable_stdout(error) from error


def unwritable_stdout(error: OSError) -> UnavailableError:
    """Stop writing to stdout and return the error that explains why."""
    _stop_writing_to_stdout()
    reason = error.strerror or str(error)
    return UnavailableError("stdout", "cannot be written", got=reason, remedy="write it elsewhere")


def escaped_for_stdout(text: str) -> str:
    """Escape the characters that the encoding of stdout lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _stop_writing_to_stdout() -> None:
    """Redirect stdout to the null device; otherwise the rest of its buffer would fail again when Python ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stdout.flush()
