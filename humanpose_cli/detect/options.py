"""Options of detection: how people are searched for, and how often in videos."""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class SearchOptions(Options):
    """How people are searched for in one image, beside what a `Scheme` decides."""

    small_window: float = option(
        0.45,
        "Windows below this side are searched only where a larger one shows a person who fits into them.",
        unit="the image's longer side",
        minimum=0,
        maximum=1,
    )
    crowd: int = option(
        6,
        "From so many people in large windows on, all windows are searched; without any, too.",
        unit="people",
        minimum=0,
    )


@dataclass(frozen=True)
class FollowOptions(Options):
    """How often newcomers are looked for in videos."""

    look_every: int = option(
        6,
        "Frames between two looks of MultiPose for newcomers, in turn at the full image and at a part; of more than 30 "
        "frames a second so many times as many.",
        unit="frames",
        minimum=1,
    )
    key_every: int = option(60, "Frames between two searches of the full image.", unit="frames", minimum=1)


@dataclass(frozen=True)
class DetectOptions(Options):
    """All options of detection."""

    search: SearchOptions = option(SearchOptions(), "The search in one image.")
    follow: FollowOptions = option(FollowOptions(), "People who are followed through a video.")
    rate: float = option(
        20.0,
        "Frames a second in which people are searched for, at least, in videos of twice as many or more; all where "
        "people move fast. Between them bodies follow from the frames before and after. 0: all frames.",
        minimum=0,
    )
    min_user_box: float = option(
        16.0, "Longer side of a box from the user's file that shows enough to fit a body.", unit="pixels", minimum=0
    )
