"""Videos that appear whole or not at all: H.264 in MP4, as every player and browser shows it."""

from __future__ import annotations

import errno
import math
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from humanpose_cli.errors import UnavailableError, UsageError
from humanpose_cli.io.atomic import atomic_path
from humanpose_cli.io.ffmpeg import FfmpegProcess, start_ffmpeg

__all__ = ["VideoWriter"]

_SCALER = "bicubic+accurate_rnd+full_chroma_int+bitexact"
_COLOURS = f"scale=in_range=full:out_range=tv:out_color_matrix=bt709:flags={_SCALER}"
# How ffmpeg words the system errors that the user can mend; it gives no number.
_SYSTEM_ERRORS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "Permission denied": errno.EACCES,
    "Read-only file system": errno.EROFS,
    "Input/output error": errno.EIO,
}
_SIGXFSZ = 25


class VideoWriter:
    """Context that takes frames and leaves an MP4 (H.264, 4:2:0, BT.709) at its clean end; otherwise nothing.

    4:2:0 needs even sizes: an odd width or height is extended by its last column or row, so that no pixel moves.
    The same frames give the same bytes, whatever the number of cores.
    """

    def __init__(self, path: Path | str, frame_rate: float, *, quality: int = 20, threads: int = 4) -> None:
        """quality: x264's constant rate factor, 0 lossless … 51 worst. threads: part of what the bytes depend on."""
        self.path = Path(path)
        if not (math.isfinite(frame_rate) and 0 < frame_rate <= 1000):
            raise UsageError("frame rate", "is unusable", expected="between 0 and 1000 a second", got=str(frame_rate))
        self.frame_count = 0
        self._rate = Fraction(frame_rate).limit_denominator(1001)
        self._quality, self._threads = quality, threads
        self._shape: tuple[int, ...] = ()
        self._process: FfmpegProcess | None = None
        self._output = ExitStack()
        self._temporary = Path()

    def __enter__(self) -> VideoWriter:
        self._temporary = self._output.enter_context(atomic_path(self.path))
        return self

    def write(self, pixels: np.ndarray) -> None:
        """Append a frame: (H, W, 3) uint8 RGB, all of one size (UsageError otherwise).

        UnavailableError where ffmpeg is missing or the disk is full.
        """
        right_shape = pixels.shape == self._shape if self._shape else pixels.ndim == 3 and pixels.shape[2] == 3
        if pixels.dtype != np.uint8 or not right_shape:
            raise UsageError(
                self.path,
                "cannot take this frame",
                expected=f"{self._shape or '(H, W, 3)'} uint8",
                got=f"{pixels.shape} {pixels.dtype}",
            )
        self._shape = pixels.shape
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._process is None:
            self._process = start_ffmpeg(self._arguments(pixels.shape[1], pixels.shape[0]), feed=True)
        try:
            self._process.stdin.write(np.ascontiguousarray(pixels).data)
        except OSError as error:  # it went away: its messages know why
            raise self._failure(self._process) from error
        self.frame_count += 1

    def _arguments(self, width: int, height: int) -> list[str]:
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(self._rate), "-i", "-"]
        coder = ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(self._quality), "-threads", str(self._threads)]
        tags = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
        exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1"]
        target = ["-movflags", "+faststart", "-f", "mp4", "-y", f"file:{self._temporary}"]
        return ["-v", "error", *raw, "-vf", _COLOURS, "-pix_fmt", "yuv420p", *coder, *tags, *exact, *target]

    def _failure(self, process: FfmpegProcess) -> OSError | UnavailableError:
        """The system's error where ffmpeg's words name one (then `atomic_path` finds the sentence)."""
        status = process.wait()
        told = "\n".join(process.messages)
        for words, code in _SYSTEM_ERRORS.items():
            if words in told or (code == errno.EFBIG and status == -_SIGXFSZ):
                return OSError(code, words)
        reason = process.messages[-1] if process.messages else f"it ended with status {status}"
        return UnavailableError(self.path, f"ffmpeg could not write the video ({reason})", remedy="see hpc doctor")

    def _finish(self) -> None:
        if self._process is None:
            raise UsageError(self.path, "got no frame", expected="at least one")
        try:
            self._process.stdin.close()
        except BrokenPipeError as error:
            raise self._failure(self._process) from error
        if self._process.wait() != 0:
            raise self._failure(self._process)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One more context inside the file's, so that a failure to finish removes the temporary file as well.
        with self._output:
            try:
                if error is not None:
                    raise error
                self._finish()
            finally:
                if self._process is not None:
                    self._process.stop()
