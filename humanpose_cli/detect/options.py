"""Options of detection: the search for people, and its frequency in videos."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class SearchOptions(Options):
    """Options of the search in one image, in addition to a `Scheme`."""

    small_window: float = option(
        0.45,
        "Search windows smaller than this only where a larger window shows a person who fits into them.",
        unit="the image's longer side",
        minimum=0,
        maximum=1,
    )
    crowd: int = option(
        6,
        "Number of people in large windows from which all windows are searched; they are also searched if there is "
        "nobody.",
        unit="people",
        minimum=0,
    )


@dataclass(frozen=True)
class FollowOptions(Options):
    """Options of the search for newcomers in videos."""

    look_every: int = option(
        6,
        "Frames between two runs of MultiPose that look for newcomers, at 30 frames a second.",
        unit="frames",
        minimum=1,
    )
    key_every: int = option(60, "Frames between two searches of the full image.", unit="frames", minimum=1)


@dataclass(frozen=True)
class DetectOptions(Options):
    """All options of detection."""

    search: SearchOptions = option(SearchOptions(), "The search in one image.")
    follow: FollowOptions = option(FollowOptions(), "How people are followed through a video.")
    rate: float = option(
        20.0,
        "Minimum rate at which videos of at least twice this rate are searched for people; 0 searches all frames.",
        minimum=0,
    )
    min_user_box: float = option(
        16.0, "Minimum longer side of a box in the user's file for a body to be fitted.", unit="pixels", minimum=0
    )
