"""Two fits of one clip as one HTML page: overlays before and after, a side view, and the course of their errors.

The page holds all of its images and needs nothing from outside: it opens offline and can be sent by mail. Of long clips
some frames are shown, so that it stays below about 8 MB; the charts have every frame.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.atomic import write_text
from humanpose_cli.rendering.html_page import css_colour, data_uri, html_page, jpeg_within, json_script, reduced
from humanpose_cli.rendering.overlay import draw_overlay
from humanpose_cli.rendering.side_view import SideView

_DATA = Path(__file__).parent / "data"
_MAX_FRAMES = 60  # shown of a clip
_BUDGET = 5_600_000  # bytes of all JPEGs together; base64 makes a third more of them
_SIDE, _SIDE_VIEW = 720, 260  # longer side of an overlay, and both of a side view, pixels
_BEFORE_ID, _AFTER_ID = 1, 0  # tracks whose colours the two bodies of a side view have
_WIDTH, _HEIGHT = 640, 90  # of a chart, in its own units
_TIMELINE = (  # of pages with several frames
    '<div class=bar><button id=play aria-label="play">▶</button>'
    '<input id=frame type=range min=0 value=0 aria-label="frame">\n<span id=name></span></div>\n'
)
_MOVED = 0.1  # of the refinement, from which a chart shows that it was kept


@dataclass(frozen=True, eq=False)
class Course:
    """One figure over the frames of a track, before and after: (R,) each, NaN where unknown."""

    name: str
    unit: str
    before: NDArray[np.float64]
    after: NDArray[np.float64]


def write_comparison_page(
    path: Path | str,
    before: Fit,
    after: Fit,
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    *,
    title: str = "",
    progress: Progress = no_progress,
) -> None:
    """Write the page completely or not at all.

    before, after  fits of the same rows; what `after.options["refinement"]` says of accepted frames and overlaps is
                   shown
    frames         pairs of a frame's number in the fits and its pixels (H, W, 3), in order; they are not kept

    UsageError where the fits are not of the same people and frames.
    """
    same = len(before) == len(after) and (before.track_id == after.track_id).all()
    if not (same and (before.frame_index == after.frame_index).all()):
        raise UsageError("after", "has other people or frames than before", expected="the rows of one clip")
    body = (after if after.model else before).body_model()
    shown = _shown_frames(before)
    images = []
    for done, (frame, pixels) in enumerate(frames, 1):
        if frame in shown:
            images.append(_images(before, after, pixels, frame, body, _BUDGET // max(len(shown), 1)))
        progress(done, before.frame_count, "page frames")
    tracks = [_Track.of(before, after, track) for track in before.tracks]
    rate = before.frame_rate or DEFAULT_FRAME_RATE
    data = {
        "frames": images,
        "rate": rate,
        "count": before.frame_count,
        "tracks": [track.document() for track in tracks],
    }
    text = _page(title or Path(path).stem, before, tracks, json_script(data), len(images))
    write_text(path, text)


def courses(before: Fit, after: Fit, track: int) -> list[Course]:
    """What is known over the frames of a track: overlap with the silhouette, reprojection error, acceleration."""
    rows = before.rows_of(track)
    report = after.options.get("refinement", {}).get("tracks", {}).get(str(track), {})
    found = []
    overlaps = [_column(report.get(f"overlap_{when}"), len(rows)) for when in ("before", "after")]
    if np.isfinite(overlaps).any():
        found.append(Course("silhouette overlap", "", *overlaps))
    errors = [
        np.where(fit.keypoints2d[rows, :, 2].any(1), fit.reprojection_error[rows], np.nan).astype(np.float64)
        for fit in (before, after)
    ]
    if np.isfinite(errors).any():  # fits of other programs come without keypoints
        found.append(Course("reprojection error", "px", *errors))
    if len(rows) > 2:
        found.append(Course("acceleration", "mm/frame²", *(accelerations(fit, rows) for fit in (before, after))))
    return found


def accelerations(fit: Fit, rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """(R,) millimetres a frame²: the joints' mean second difference in the world; NaN without both neighbours."""
    frames = fit.frame_index[rows]
    camera = fit.world_to_camera[frames].astype(np.float64)
    joints = np.einsum("rji,rkj->rki", camera[:, :3, :3], fit.joints3d[rows] - camera[:, None, :3, 3])
    result = np.full(len(rows), np.nan)
    if len(rows) > 2:
        second = np.linalg.norm(joints[2:] - 2 * joints[1:-1] + joints[:-2], axis=-1).mean(1)
        result[1:-1] = np.where(frames[2:] - frames[:-2] == 2, 1000 * second, np.nan)
    return result


def _column(values: Sequence[float | None] | None, count: int) -> NDArray[np.float64]:
    if values is None or len(values) != count:
        return np.full(count, np.nan)
    return np.array([np.nan if value is None else value for value in values], np.float64)


@dataclass(frozen=True, eq=False)
class _Track:
    """One person: frames (R,), how much of the refinement each keeps (R,) 0…1 or NaN, and the courses."""

    number: int
    frames: NDArray[np.integer]
    accepted: NDArray[np.float64]
    courses: Sequence[Course]

    @classmethod
    def of(cls, before: Fit, after: Fit, track: int) -> _Track:
        rows = before.rows_of(track)
        report = after.options.get("refinement", {}).get("tracks", {}).get(str(track), {})
        return cls(
            track, before.frame_index[rows], _column(report.get("accepted"), len(rows)), courses(before, after, track)
        )

    def document(self) -> dict[str, Any]:
        """As JSON values, for the read-out under the pointer."""

        def plain(values: NDArray[np.float64]) -> list[float | None]:
            return [round(float(v), 3) if np.isfinite(v) else None for v in values]

        return {
            "frames": self.frames.tolist(),
            "courses": [[plain(course.before), plain(course.after)] for course in self.courses],
        }


def _shown_frames(fit: Fit) -> frozenset[int]:
    """Frames with people, spread evenly."""
    frames = np.unique(fit.frame_index)
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(_MAX_FRAMES, len(frames))).round().astype(int))
    return frozenset(frames[chosen].tolist())


def _images(before: Fit, after: Fit, pixels: NDArray[np.uint8], frame: int, body: Body, budget: int) -> dict[str, Any]:
    """A frame's overlays and side view as data URIs."""
    side = jpeg_within(_side_view(before, after, frame, body), budget // 8)
    rest, small = (budget - len(side)) // 2, reduced(pixels, _SIDE)
    overlays = [jpeg_within(_overlay(fit, small, frame, body), rest) for fit in (before, after)]
    uris = [data_uri(jpeg, "image/jpeg") for jpeg in (*overlays, side)]
    return {
        "frame": frame,
        "name": str(before.frame_names[frame]),
        "before": uris[0],
        "after": uris[1],
        "side": uris[2],
    }


def _overlay(fit: Fit, small: NDArray[np.uint8], frame: int, body: Body) -> NDArray[np.uint8]:
    """The bodies of a frame over its reduced image."""
    rows, camera = fit.rows_for(frame), fit.camera(frame)
    view = camera.scaled(small.shape[1] / camera.size[0])
    return draw_overlay(small, body_vertices(body, fit, rows), body.faces, view, track_ids=fit.track_id[rows].tolist())


def _side_view(before: Fit, after: Fit, frame: int, body: Body) -> NDArray[np.uint8]:
    """The bodies of a frame from the side: both fits in two colours."""
    rows = before.rows_for(frame)
    bodies = torch.cat([body_vertices(body, fit, rows) for fit in (before, after)])
    colours = [_BEFORE_ID] * len(rows) + [_AFTER_ID] * len(rows)
    return SideView.around(bodies).draw((_SIDE_VIEW,) * 2, bodies, body.faces, track_ids=colours)


def _page(title: str, fit: Fit, tracks: Sequence[_Track], data: str, image_count: int) -> str:
    kept = np.concatenate([track.accepted for track in tracks]) if tracks else np.zeros(0)
    finite = kept[np.isfinite(kept)]
    people = f"{len(tracks)} {'person' if len(tracks) == 1 else 'people'}"
    summary = f"{people} in one image" if fit.frame_count == 1 else f"{people} in {fit.frame_count} frames"
    if len(finite):
        summary += f" · {np.mean(finite):.0%} of the refinement kept"
    colours = [f"--{name}:{css_colour(number)};" for name, number in (("before", _BEFORE_ID), ("after", _AFTER_ID))]
    viewer, style, script = ((_DATA / f"comparison.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    viewer = viewer.format(timeline=_TIMELINE if image_count > 1 else "")
    if not image_count:
        viewer = "<p>No person was found.</p>\n"
    content = viewer + "".join(_section(track, fit.frame_count) for track in tracks)
    content += f"{data}<script>\n{script}</script>"
    return html_page(title, summary, f":root{{{''.join(colours)}}}\n{style}", content)


def _section(track: _Track, count: int) -> str:
    """A person's table and charts; of a single image there are no charts."""
    rows = "".join(
        f"<tr><th>{html.escape(course.name)}</th>"
        + "".join(f"<td>{_number(values, course.unit)}</td>" for values in (course.before, course.after))
        + "</tr>"
        for course in track.courses
    )
    accepted = track.accepted[np.isfinite(track.accepted)]
    share = f" · {np.mean(accepted):.0%} of the refinement kept" if len(accepted) else ""
    charts, frames, statistic = "", "one image", ""
    if count > 1:
        charts = "".join(_chart(track, number, count) for number in range(len(track.courses)))
        frames, statistic = f"{len(track.frames)} frames", "median"
    return (
        f"<section><h2>Person {track.number}</h2>\n<p class=facts>{frames}{share}</p>\n"
        f"<table><tr><th>{statistic}</th><td class=before>before</td><td class=after>after</td></tr>{rows}</table>\n"
        f"{charts}</section>\n"
    )


def _number(values: NDArray[np.float64], unit: str) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "–"
    return f"{np.median(finite):.{1 if unit else 3}f} {unit}".strip()


def _chart(track: _Track, number: int, count: int) -> str:
    """A course as SVG: frames to the right, stretches that were moved shaded, both lines on one scale."""
    course = track.courses[number]
    both = np.concatenate((course.before, course.after))
    finite = both[np.isfinite(both)]
    low = 0.0 if course.unit else max(0.0, float(np.percentile(finite, 1)) - 0.05)
    high = max(float(np.percentile(finite, 99)) * (1.1 if course.unit else 1.0), low + 1e-3)
    x = (track.frames + 0.5) / count * _WIDTH
    bands = "".join(
        f'<rect class=accepted x="{start:.1f}" y="0" width="{stop - start:.1f}" height="{_HEIGHT}"/>'
        for start, stop in _stretches(track, count)
    )
    lines = "".join(
        f'<path class={name} d="{_line(x, (values - low) / (high - low), track.frames)}"/>'
        for name, values in (("before", course.before), ("after", course.after))
    )
    unit = f" [{course.unit}]" if course.unit else ""
    digits = 0 if high >= 10 else 2
    return (
        f'<figure class=chart data-track="{track.number}" data-course="{number}"><figcaption>{html.escape(course.name)}'
        f"{unit}<output></output></figcaption>"
        f"<div class=scale><span>{high:.{digits}f}</span><span>{low:.{digits}f}</span></div>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(course.name)} over {count} frames">{bands}{lines}'
        f'<line class=cursor x1="0" x2="0" y1="0" y2="{_HEIGHT}"/></svg></figure>\n'
    )


def _stretches(track: _Track, count: int) -> list[tuple[float, float]]:
    """Ends of the stretches that were moved on the chart's axis."""
    wanted = track.frames[np.nan_to_num(track.accepted) > _MOVED]
    if not len(wanted):
        return []
    parts = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
    return [(part[0] / count * _WIDTH, (part[-1] + 1) / count * _WIDTH) for part in parts]


def _line(x: NDArray[np.float64], share: NDArray[np.float64], frames: NDArray[np.integer]) -> str:
    """A path through the known points; gaps stay open."""
    commands, drawing, last = [], False, -2
    for at, value, frame in zip(x, share, frames, strict=True):
        if not np.isfinite(value):
            drawing = False
            continue
        command = "L" if drawing and frame == last + 1 else "M"
        commands.append(f"{command}{at:.1f} {_HEIGHT * (1 - min(max(value, 0.0), 1.0)):.1f}")
        drawing, last = True, int(frame)
    return "".join(commands)
