"""The errors that this package raises, and their exit codes.

    HpcError                 a known problem, in one sentence
    ├── UsageError       2   the command line or an argument is wrong
    ├── InputError       3   a file or array is invalid
    ├── UnavailableError 5   this machine lacks something: weights, device, licensed file, space, permission
    └── InterruptedRun   130/143  SIGINT; SIGTERM or SIGHUP; a rerun resumes

Any other exception is a bug (exit code 1).
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


# Line ends and control codes; Unicode's line ends and changes of the direction of writing; lone surrogates, by which
# Python represents bytes of a name that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """Escape control characters and line ends in a text, which may hold a file's name."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


_LONGEST = 300


def shortened(text: str) -> str:
    """Cut the middle out of a text of more than 300 characters, which may come from a file."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 3]} … {text[3 - 2 * _LONGEST // 3 :]}"


def shell_word(text: object) -> str:
    """Quote an argument for a command line if necessary."""
    if os.name == "nt":  # its shells have no single quotes
        from subprocess import list2cmdline

        return list2cmdline([str(text)])
    return shlex.quote(str(text))


def reason_of(error: BaseException) -> str:
    """Return the first line of a library's exception, or its name if it has no text."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


_FILE_ERRORS = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError
"""System errors about a file, which do not depend on the state of the machine."""


def is_system_fault(error: OSError) -> bool:
    """Return whether a system error is about the machine, not about a file that is missing or exists already.

    Errors of libraries that derive from OSError have no system error number and return False.
    """
    return error.errno in errno.errorcode and not isinstance(error, _FILE_ERRORS)


class HpcError(Exception):
    """A problem in one sentence.

    Args:
        subject: The file, argument or field.
        problem: Its problem, such as "is not an image".
        expected: What was expected; "" to leave it out.
        got: What was found; "" to leave it out.
        remedy: What the user can do; "" to leave it out.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, subject: object, problem: str, *, expected: str = "", got: str = "", remedy: str = "") -> None:
        self.subject = str(subject)
        self.problem = problem
        self.expected = expected
        self.got = got
        self.remedy = remedy
        subject, problem, expected, got = map(shortened, (self.subject, problem, expected, got))
        sentence = f"{subject}: {problem}" + (f", expected {expected}" if expected else "")
        sentence += (f", found {got}" if got else "") + (f"; {remedy}" if remedy else "")
        super().__init__(one_line(sentence))


class UsageError(HpcError):
    """The command line, an option or a function's argument is wrong."""

    exit_code = ExitCode.USAGE


class InputError(HpcError):
    """A file or an array is missing, damaged or of another kind than expected."""

    exit_code = ExitCode.BAD_INPUT


class UnavailableError(HpcError):
    """This machine lacks something that is needed; `remedy` names the line that repairs it."""

    exit_code = ExitCode.UNAVAILABLE


class InterruptedRun(HpcError):
    """A signal, by default SIGTERM, ended the work; finished results are kept and a rerun resumes."""

    def __init__(self, signal_number: int = signal.SIGTERM) -> None:
        super().__init__("interrupted", "what is finished is kept", remedy="the same command continues")
        self.exit_code = ExitCode.SIGTERM if signal_number == signal.SIGTERM else ExitCode.SIGINT
