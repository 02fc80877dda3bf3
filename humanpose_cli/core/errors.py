"""Every error this project raises on purpose, and the exit code that each one means.

    HpcError                 a known problem, in one sentence
    ├── UsageError       2   the command line or an argument is wrong
    ├── InputError       3   a file or array is not what was expected
    ├── UnavailableError 5   this machine lacks something: weights, device, licensed file, space, permission
    └── InterruptedRun   130/143  SIGINT; SIGTERM or SIGHUP; a rerun resumes

Anything else that escapes is a bug of ours (exit code 1).
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `hpc`, the same for every command."""

    OK = 0
    BUG = 1
    USAGE = 2
    BAD_INPUT = 3
    PARTIAL = 4
    UNAVAILABLE = 5
    SIGINT = 130
    SIGTERM = 143


# Line ends and codes that terminals obey; what turns the direction of writing round, and line ends of Unicode; halves
# of surrogate pairs, as which Python hands out bytes of a name that are no UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """Escape what would not stay on the line of `text`: a file's name may hold anything."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def shell_word(text: object) -> str:
    """Quote an argument as a user types it in a command, if it has spaces or the like."""
    if os.name == "nt":  # whose shells do not know single quotes
        from subprocess import list2cmdline

        return list2cmdline([str(text)])
    return shlex.quote(str(text))


def reason_of(error: BaseException) -> str:
    """Return the first line of a library's exception, or its name if it has no text."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


_OF_A_FILE = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError
"""What the system says of a file alone, whatever the state of the machine."""


def is_system_fault(error: OSError) -> bool:
    """Return whether a system error is the machine's, and not about a file that is missing or in the way. Errors of
    libraries that only look like the system's have no number of it.
    """
    return error.errno in errno.errorcode and not isinstance(error, _OF_A_FILE)


class HpcError(Exception):
    """A problem in one sentence: what it is about, what was expected, what was found, what to do.

    Args:
        subject: The file, argument or field it is about.
        problem: What is wrong with it ("is not an image").
        expected, got, remedy: Optional clauses of the same sentence.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, subject: object, problem: str, *, expected: str = "", got: str = "", remedy: str = "") -> None:
        self.subject, self.problem = str(subject), problem
        self.expected, self.got, self.remedy = expected, got, remedy
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        clauses = [f"{self.subject}: {self.problem}"]
        if self.expected:
            clauses.append(f"expected {self.expected}")
        if self.got:
            clauses.append(f"found {self.got}")
        sentence = ", ".join(clauses)
        return one_line(f"{sentence}; {self.remedy}" if self.remedy else sentence)


class UsageError(HpcError):
    """The command line, an option or a function's argument is wrong."""

    exit_code = ExitCode.USAGE


class InputError(HpcError):
    """A file or an array that was given is missing, damaged or not of the expected kind."""

    exit_code = ExitCode.BAD_INPUT


class UnavailableError(HpcError):
    """This machine lacks something that is needed; `remedy` names the line that mends it."""

    exit_code = ExitCode.UNAVAILABLE


class InterruptedRun(HpcError):
    """A signal ended the work, SIGTERM by default; what is finished is kept and a rerun resumes."""

    def __init__(self, signal_number: int = signal.SIGTERM) -> None:
        super().__init__("interrupted", "what is finished is kept", remedy="the same command continues")
        self.exit_code = ExitCode.SIGTERM if signal_number == signal.SIGTERM else ExitCode.SIGINT
