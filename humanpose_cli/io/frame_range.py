"""`--frames A:B`: which frames of a sequence are meant."""

from __future__ import annotations

import re
from dataclasses import dataclass

from humanpose_cli.core.errors import UsageError


@dataclass(frozen=True)
class FrameRange:
    """Frames `start`, `start` + 1, … up to but without `stop`; counted from 0; stop None = to the end."""

    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise UsageError("frames", "is empty", expected="0 ≤ A < B", got=str(self))

    def __str__(self) -> str:
        return f"{self.start}:{'' if self.stop is None else self.stop}"


ALL_FRAMES = FrameRange()


def parse_range(frames: str | FrameRange | None) -> FrameRange:
    """Parse a range as functions take it: text, a range, or None for all frames."""
    return parse_frame_range(frames) if isinstance(frames, str) else frames or ALL_FRAMES


def parse_frame_range(text: str) -> FrameRange:
    """Parse "A:B" (A up to but without B, from 0), "A:", ":B" or ":". Raises UsageError otherwise."""
    match = re.fullmatch(r"\s*([0-9]{0,15})\s*:\s*([0-9]{0,15})\s*", text)
    if match is None:
        raise UsageError("frames", "is no range", expected="A:B, A: or :B with A and B from 0", got=repr(text))
    start, stop = match.groups()
    return FrameRange(int(start or 0), int(stop) if stop else None)
