"""Detections without a body in the options of a fit file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.value_limits import LIMITS

NOT_FITTED = "not_fitted"
"""Name of the option."""
POSE_NOT_CERTAIN = "pose not certain"
"""Reason for detections by one network that the other networks do not confirm."""


@dataclass(frozen=True)
class UnfittedDetection:
    """A detection without a body.

    Attributes:
        frame: Index of the frame.
        box: x0, y0, x1, y1 in pixels.
        score: Probability, 0 to 1, that it is a person with this pose.
        reason: Why there is no body, such as "hidden by another person".
    """

    frame: int
    box: tuple[float, float, float, float]
    score: float
    reason: str

    def document(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**vars(self), "box": list(self.box)}


def check_unfitted(listed: Any, frame_count: int) -> None:
    """Raise InputError for a list that holds anything but detections in these frames."""
    if not isinstance(listed, list):
        raise InputError(NOT_FITTED, "is no list", expected="a list of detections", got=type(listed).__name__)
    for number, entry in enumerate(listed):
        if not _is_unfitted(entry, frame_count):
            expected = f"frame 0–{frame_count - 1}, box x0 y0 x1 y1 in pixels, score 0–1 and reason"
            raise InputError(NOT_FITTED, "holds no detection", expected=expected, got=f"entry {number}: {entry}"[:200])


def _is_unfitted(entry: Any, frame_count: int) -> bool:
    match entry:
        case {"frame": int(frame), "box": [x0, y0, x1, y1] as box, "score": score, "reason": str()}:
            limit, numbers = LIMITS["principal_point"], (frame, score, *box)
            if not all(type(v) in (int, float) and limit.low <= v <= limit.high for v in numbers):
                return False
            return 0 <= frame < frame_count and 0 <= score <= 1 and x0 <= x1 and y0 <= y1
    return False
