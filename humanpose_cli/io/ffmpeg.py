"""The one place that starts ffmpeg: quietly, out of reach of the terminal's Ctrl-C, and ended with its owner."""

from __future__ import annotations

import collections
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any

import imageio_ffmpeg

from humanpose_cli.errors import UnavailableError

__all__ = ["FfmpegProcess", "ffmpeg_program", "start_ffmpeg"]

_MESSAGE_LINES = 40
_END_SECONDS = 20.0


def ffmpeg_program() -> str:
    """Path of the ffmpeg program; UnavailableError where there is none."""
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise _missing() from error


def _missing() -> UnavailableError:
    return UnavailableError(
        "ffmpeg",
        "is not installed",
        remedy="run pip install --force-reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to an ffmpeg program",
    )


class FfmpegProcess:
    """A running ffmpeg: its pipes, and the last lines of what it says on stderr."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: collections.deque[str] = collections.deque(maxlen=_MESSAGE_LINES)
        assert process.stderr is not None
        self._listener = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
        self._listener.start()

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._lines.append(line.decode("utf-8", "replace").rstrip())

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def wait(self) -> int:
        """Exit status, once all messages are in."""
        status = self._process.wait()
        self._listener.join()
        return status

    @property
    def messages(self) -> list[str]:
        """The last lines of stderr so far."""
        return list(self._lines)

    def stop(self) -> None:
        """End it now if it still runs, and close the pipes. May be called twice."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(_END_SECONDS)
        self._listener.join(_END_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # what was left in the buffer has no reader any more


def start_ffmpeg(arguments: Sequence[str], *, feed: bool = False) -> FfmpegProcess:
    """Start ffmpeg with stdout as a pipe, and stdin too if `feed`. UnavailableError if it cannot be started."""
    # A Ctrl-C in the terminal goes to the whole foreground group: our process alone decides what becomes of ffmpeg.
    apart: dict[str, Any] = (
        {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        if sys.platform == "win32"
        else {"start_new_session": True}
    )
    try:
        process = subprocess.Popen(
            [ffmpeg_program(), "-hide_banner", "-nostdin", *arguments],
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=1 << 20,
            **apart,
        )
    except OSError as error:
        raise _missing() from error
    return FfmpegProcess(process)
