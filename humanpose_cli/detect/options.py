"""Options of detection."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class DetectOptions(Options):
    """All options of detection."""

    min_user_box: float = option(
        16.0, "Minimum longer side of a box in the user's file for a body to be fitted.", unit="pixels", minimum=0
    )
