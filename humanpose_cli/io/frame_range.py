"""Ranges of frames, `--frames A:B:STEP`."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass

from humanpose_cli.core.errors import UsageError


@dataclass(frozen=True)
class FrameRange:
    """Frames `start`, `start` + `step`, … up to but without `stop`.

    Bounds may be negative or in seconds; a range that `resolved` returns has neither.

    Attributes:
        start: Index of the first frame, from 0; a negative number counts from the end.
        stop: Index after the last frame; None for the end.
        step: Distance of the frames.
        seconds: Times that replace start and stop, seconds from the first frame; None if the index counts.
    """

    start: int = 0
    stop: int | None = None
    step: int = 1
    seconds: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        low, high = self.seconds
        in_frames = low is None and high is None and self.stop is not None and (self.start < 0) == (self.stop < 0)
        in_seconds = low is not None and high is not None and high <= low
        if self.step < 1 or in_seconds or (in_frames and self.stop is not None and self.stop <= self.start):
            raise UsageError("frames", "is empty", expected="A < B and a step of 1 or more", got=str(self))

    def __str__(self) -> str:
        bounds = (self.start, "" if self.stop is None else self.stop)
        pairs = zip(bounds, self.seconds, strict=True)
        low, high = (bound if seconds is None else f"{seconds:g}s" for bound, seconds in pairs)
        return f"{low}:{high}" + (f":{self.step}" if self.step > 1 else "")

    @property
    def is_resolved(self) -> bool:
        """Whether the range has neither negative bounds nor seconds."""
        return self.start >= 0 and (self.stop or 0) >= 0 and self.seconds == (None, None)

    def resolved(
        self,
        count: int,
        rate: float | None = None,
        times: Sequence[float] | None = None,
        numbers: Sequence[int] = (),
    ) -> FrameRange:
        """Return the range of indices for a sequence, without negative bounds and seconds.

        Args:
            count: Number of frames.
            rate: Frames per second, or None if unknown.
            times: Rising times of the frames in seconds; None if they follow from the rate.
            numbers: Rising numbers of the frames, which bounds from 0 mean; () if bounds are indices.

        Returns:
            The range.

        Raises:
            UsageError: If the range is in seconds and times are unknown, or if it holds no frame.
        """
        if self.is_resolved and (self == ALL_FRAMES or not numbers):
            return self
        times = [row / rate for row in range(count)] if rate and times is None else times
        bounds = [self.start, self.stop]
        for index, (bound, seconds) in enumerate(zip(bounds, self.seconds, strict=True)):
            if seconds is not None and times is None:
                raise UsageError("frames", "is in seconds, but the frames have no times", got=str(self))
            if seconds is not None and times is not None:
                bounds[index] = bisect.bisect_left(times, seconds - 1e-6)
            elif bound is not None:
                bounds[index] = (
                    max(0, count + bound) if bound < 0 else bisect.bisect_left(numbers or range(bound), bound)
                )
        start, stop = bounds
        if start is None or start >= count or (stop is not None and stop <= start):
            first, last = (numbers[0], numbers[-1] + 1) if numbers else (0, count)
            raise UsageError("frames", "holds no frame", expected=f"some of {first}:{last}", got=str(self))
        return FrameRange(start, stop, self.step)

    @property
    def slice(self) -> slice:
        """The frames of a resolved range as an index."""
        return slice(self.start, self.stop, self.step)


ALL_FRAMES = FrameRange()


def exact_rate(rate: float) -> float:
    """Return a rate that is written with few digits exactly: 24000/1001 frames a second for 23.976 and 23.98."""
    nominal = round(rate * 1.001)
    exact = nominal * 1000 / 1001
    return exact if nominal in (24, 30, 48, 60, 120) and abs(rate - exact) < 0.006 else rate


_FRAME, _SECONDS = r"-?(?:0|[1-9][0-9]{0,14})", r"[0-9]{0,9}\.?[0-9]{1,9}s"
_RANGE = re.compile(rf"\s*({_FRAME}|{_SECONDS})?\s*:\s*({_FRAME}|{_SECONDS})?\s*(?::\s*([0-9]{{1,15}})?\s*)?")


def parse_range(frames: str | FrameRange | None) -> FrameRange:
    """Return the range for an argument: text, a range, or None for all frames."""
    return parse_frame_range(frames) if isinstance(frames, str) else frames or ALL_FRAMES


def parse_frame_range(text: str) -> FrameRange:
    """Parse "A:B" (A up to but without B, from 0), "A:", ":B" or ":", each also with ":STEP".

    Negative numbers count from the end; "0.5s" is in seconds. Raises UsageError for other text.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        expected = "A:B, A:, :B or A:B:STEP with frames from 0, negative ones from the end, or seconds as 0.5s"
        near = re.fullmatch(r"\s*(?:(\d+)\s*(?:-|\.\.+|,|to)\s*)?(\d+)\s*", text)
        remedy = f"did you mean {near[1] or 0}:{near[2]}?" if near else ""
        raise UsageError("frames", "is no range", expected=expected, got=repr(text[:60]), remedy=remedy)
    start, stop, step = match.groups()
    seconds = tuple(float(bound[:-1]) if bound and bound.endswith("s") else None for bound in (start, stop))
    first, last = (int(bound) if bound and not bound.endswith("s") else None for bound in (start, stop))
    return FrameRange(first or 0, last, int(step or 1), (seconds[0], seconds[1]))
