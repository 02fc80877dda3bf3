"""An HTML page that compares several fits of one clip: overlays, a side view, and charts of their errors.

Two fits at a time stand under a slider. If there are more than two, or the truth is known, all overlays stand side by
side as well. With the truth there are charts of the joints' errors. The page contains all of its images and works
offline. Long clips show a selection of frames, so that the page stays below about 8 MB. The charts have every frame.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.look import Look
from humanpose_cli.body.body import Body
from humanpose_cli.core.blocks import made_in_threads
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.crop import box_overlap
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, body_vertices, drawn_from_the_side, dressed_bodies
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.side_views import side_views
from humanpose_cli.geometry.similarity import procrustes_align
from humanpose_cli.io.atomic import write_text
from humanpose_cli.rendering.html_page import (
    css_colour,
    data_uri,
    html_page,
    jpeg_within,
    page_scripts,
    plan_figure,
    reduced,
    timeline_bar,
)
from humanpose_cli.rendering.overlay import draw_overlay
from humanpose_cli.rendering.side_view import SideViews

Floats = NDArray[np.float64]

_DATA = Path(__file__).parent / "data"
_MAX_FRAMES = 60  # of a clip that are shown
_BUDGET = 5_600_000  # bytes of all JPEGs together, before base64 adds a third
_SIDE = 720  # pixels, longer side of an overlay
_SIDE_VIEW = 260  # pixels, both sides of a side view
_COLOURS = (1, 0, 2, 4, 5)  # tracks whose colours the fits have
_TRUTH_COLOUR = 3  # track whose colour the truth has
_OTHER_PEOPLE = 50  # added to the tracks of people who are not in the first fit
_MIN_OVERLAP = 0.1  # of the boxes around two bodies of one person
_WIDTH, _HEIGHT = 640, 90  # of a chart, in its own units
_MIN_SHARE = 0.1  # accepted share of the refinement that a chart marks


@dataclass(frozen=True, eq=False)
class Course:
    """One figure over the frames of a track.

    Attributes:
        name: The name of the figure.
        unit: Its unit.
        values: (R,) for each fit. NaN if unknown.
    """

    name: str
    unit: str
    values: tuple[Floats, ...]


@dataclass(frozen=True, eq=False)
class _PageFit:
    """A fit on the page.

    Attributes:
        name: The fit's name on the page.
        fit: The fit.
        rows: (N,) int. The fit's row for each row of the first fit. −1 if it has none.
        frames: (F,) int. The fit's frame for each frame of the first fit. −1 if it has none.
        colour: The track whose colour the fit has.
    """

    name: str
    fit: Fit
    rows: NDArray[np.int64]
    frames: NDArray[np.int64]
    colour: int

    @classmethod
    def of(cls, name: str, fit: Fit, first: Fit, colour: int) -> _PageFit:
        frames = _frames_of(first, fit)
        rows = matched_rows(first, fit)
        if len(first) and not (rows >= 0).any():
            raise UsageError(name, "shows none of the people", expected="fits of the people of one clip")
        return cls(name, fit, rows, frames, colour)

    @property
    def refinement(self) -> Mapping[str, Any]:
        """The report about each track in the fit's options, by number."""
        tracks = self.fit.options.get("refinement", {}).get("tracks", {})
        return tracks if isinstance(tracks, Mapping) else {}

    def select(self, values: NDArray[Any], rows: NDArray[np.integer]) -> Floats:
        """Select this fit's values (M, ...) for rows (R,) of the first fit: (R, ...), NaN if it has none."""
        indices = self.rows[rows]
        selected = np.full((len(rows), *values.shape[1:]), np.nan)
        selected[indices >= 0] = values[indices[indices >= 0]]
        return selected

    def recorded(self, name: str, rows: NDArray[np.integer]) -> Floats:
        """Return a column (R,) of the refinement's report for rows of the first fit."""
        values = np.full(len(self.fit), np.nan)
        for track in self.fit.tracks:
            report = self.refinement.get(str(track), {}).get(name) or ()
            if len(report) == len(self.fit.rows_of(track)):
                values[self.fit.rows_of(track)] = np.array(report, np.float64)  # None is NaN
        return self.select(values, rows)


def write_comparison_page(
    path: Path | str,
    fits: Mapping[str, Fit],
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    *,
    truth: Fit | None = None,
    title: str = "",
    plan: NDArray[np.uint8] | None = None,
    looks: Mapping[int, Look] | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write the page. It is written completely or not at all.

    Args:
        path: The file to write.
        fits: Two or more fits by name. The page has the people and frames of the first one. People of the others are
            matched to these by their position in the image, frames by name. The accepted frames of the second fit's
            refinement are marked.
        frames: Pairs of a frame's number in the first fit and its pixels (H, W, 3), in order. They are not kept.
        truth: The true bodies, to which errors refer.
        title: The title. "" takes the file's name.
        plan: (H, W, 3) uint8. The plan of a take's cameras and people.
        looks: Track of the first fit to look, for people that are drawn with their clothes.
        progress: Called with (done, total, unit).

    Raises:
        UsageError: If a fit shows none of the people.
    """
    first = next(iter(fits.values()))
    page_fits = [
        _PageFit.of(name, fit, first, _COLOURS[i % len(_COLOURS)]) for i, (name, fit) in enumerate(fits.items())
    ]
    true = None if truth is None else _PageFit.of("truth", truth, first, _TRUTH_COLOUR)
    body = next((fit for fit in fits.values() if fit.model), first).body_model()
    frame_numbers = _shown_frames(first)
    views = side_views(body, first)
    with_truth = [*page_fits, *([true] if true else [])]
    budget = _BUDGET // max(len(frame_numbers), 1)
    images = []
    shown = (item for item in frames if item[0] in frame_numbers)
    with made_in_threads(partial(_images, with_truth, body, views, budget, looks or {}), shown) as ahead:
        for frame_images in ahead:
            images.append(frame_images)
            progress(len(images), len(frame_numbers), "page frames")
    tracks = [_Track.of(page_fits, true, track) for track in first.tracks]
    rate = first.frame_rate or DEFAULT_FRAME_RATE
    times = first.seconds(rate)[sorted(frame_numbers)].tolist()
    data = {
        "frames": images,
        "times": [*times, max(times, default=0.0) + 1 / rate],
        "count": first.frame_count,
        "tracks": [track.document() for track in tracks],
    }
    text = _page(title or Path(path).stem, page_fits, true, tracks, data, plan)
    write_text(path, text)


def matched_rows(first: Fit, second: Fit) -> NDArray[np.int64]:
    """Match the rows of two fits that show the same person in the same frame.

    Frames are matched by name, people by the overlap of the boxes around their joints. The two tracks that overlap most
    over all frames are matched first, so that people who cross are not exchanged.

    Args:
        first: N rows.
        second: The other fit.

    Returns:
        (N,) int. The row of the second fit, or −1.
    """
    frames = _frames_of(first, second)
    fits = (first, second)
    boxes = [np.concatenate((fit.joints2d.min(1), fit.joints2d.max(1)), 1).astype(np.float64) for fit in fits]
    pairs: dict[tuple[int, int], list[tuple[int, int, float]]] = {}
    for row, frame in enumerate(first.frame_index):
        for candidate in second.rows_for(int(frames[frame])) if frames[frame] >= 0 else ():
            overlap = float(box_overlap(boxes[0][row], boxes[1][candidate]))
            if overlap >= _MIN_OVERLAP:
                tracks = int(first.track_id[row]), int(second.track_id[candidate])
                pairs.setdefault(tracks, []).append((row, int(candidate), overlap))
    row_of = np.full(len(first), -1)
    is_used = np.zeros(len(second), bool)
    for pair in sorted(pairs.values(), key=lambda pair: -sum(overlap for *_, overlap in pair)):
        for row, candidate, _ in pair:
            if row_of[row] < 0 and not is_used[candidate]:
                row_of[row] = candidate
                is_used[candidate] = True
    return row_of


def _frames_of(first: Fit, second: Fit) -> NDArray[np.int64]:
    """Find the frame (F,) of the second fit with the name of each frame of the first, or −1."""
    frames = {name: frame for frame, name in enumerate(second.frame_names.tolist())}
    return np.array([frames.get(name, -1) for name in first.frame_names.tolist()], np.int64)


def _courses(page_fits: Sequence[_PageFit], true: _PageFit | None, rows: NDArray[np.integer]) -> list[Course]:
    """List the figures over rows of a track: joint errors, silhouette overlap, reprojection error and acceleration."""
    courses = []
    if true is not None:
        joints = true.select(true.fit.joints3d, rows)
        errors = [joint_distances(fit.select(fit.fit.joints3d, rows), joints) for fit in page_fits]
        courses.append(Course("joint error after Procrustes", "mm", tuple(error for error, _ in errors)))
        courses.append(Course("joint error about the pelvis", "mm", tuple(error for _, error in errors)))
    # Only a refinement measures overlaps. The second fit's refinement also measured the first fit.
    overlaps = [
        page_fits[1].recorded("overlap_before", rows),
        *(fit.recorded("overlap_after", rows) for fit in page_fits[1:]),
    ]
    if np.isfinite(overlaps).any():
        courses.append(Course("silhouette overlap", "", tuple(overlaps)))
    errors_2d = [
        fit.select(np.where(fit.fit.keypoints2d[..., 2].any(1), fit.fit.reprojection_error, np.nan), rows)
        for fit in page_fits
    ]
    if np.isfinite(errors_2d).any():  # fits of other programs have no keypoints
        courses.append(Course("reprojection error", "px", tuple(errors_2d)))
    if len(rows) > 2:
        motion = tuple(_accelerations(fit, page_fits[0].fit, rows) for fit in page_fits)
        courses.append(Course("acceleration", "mm/frame²", motion))
    return courses


def joint_distances(joints: Floats, true: Floats) -> tuple[Floats, Floats]:
    """Compute mean distances of joints from the true ones after Procrustes alignment, and with the pelvises aligned.

    Args:
        joints: (R, 24, 3) metres.
        true: (R, 24, 3) metres.

    Returns:
        (R,) millimetres each. NaN if either is unknown.
    """
    finite = np.isfinite(joints).all((1, 2)) & np.isfinite(true).all((1, 2))
    aligned_errors = np.full(len(joints), np.nan)
    pelvis_errors = np.full(len(joints), np.nan)
    if finite.any():
        points, true_points = (torch.from_numpy(values[finite]).double() for values in (joints, true))
        aligned = procrustes_align(points, true_points)
        aligned_errors[finite] = 1000 * (aligned - true_points).norm(dim=-1).mean(1).numpy()
        pelvis = SMPL24.index("pelvis")
        offset = (points - points[:, [pelvis]]) - (true_points - true_points[:, [pelvis]])
        pelvis_errors[finite] = 1000 * offset.norm(dim=-1).mean(1).numpy()
    return aligned_errors, pelvis_errors


def accelerations(joints: Floats, frames: NDArray[np.integer], camera: Floats) -> Floats:
    """Compute the joints' mean second difference in the world.

    Args:
        joints: (R, 24, 3) metres in camera axes.
        frames: (R,) int. The numbers of the frames.
        camera: (R, 4, 4). World to camera.

    Returns:
        (R,) millimetres / frame². NaN without both neighbours.
    """
    camera = camera.astype(np.float64)
    world = np.einsum("rji,rkj->rki", camera[:, :3, :3], joints - camera[:, None, :3, 3])
    result = np.full(len(frames), np.nan)
    if len(frames) > 2:
        second = np.linalg.norm(world[2:] - 2 * world[1:-1] + world[:-2], axis=-1).mean(1)
        result[1:-1] = np.where(frames[2:] - frames[:-2] == 2, 1000 * second, np.nan)
    return result


def _accelerations(page_fit: _PageFit, first: Fit, rows: NDArray[np.integer]) -> Floats:
    """Compute the accelerations of a fit in its own world for rows of the first fit."""
    cameras = page_fit.select(page_fit.fit.world_to_camera[page_fit.fit.frame_index], rows)
    return accelerations(page_fit.select(page_fit.fit.joints3d, rows), first.frame_index[rows], cameras)


@dataclass(frozen=True, eq=False)
class _Track:
    """One person on the page.

    Attributes:
        number: The number of the track.
        frames: (R,) int.
        shares: (R,) 0 to 1. The accepted share of the refinement. NaN if unknown.
        courses: The figures.
    """

    number: int
    frames: NDArray[np.integer]
    shares: NDArray[np.float64]
    courses: Sequence[Course]

    @classmethod
    def of(cls, page_fits: Sequence[_PageFit], true: _PageFit | None, track: int) -> _Track:
        first = page_fits[0].fit
        rows = first.rows_of(track)
        shares = page_fits[1].recorded("accepted", rows)
        return cls(track, first.frame_index[rows], shares, _courses(page_fits, true, rows))

    def document(self) -> dict[str, Any]:
        """Return the courses as JSON values, for the read-out under the pointer."""

        def plain(values: NDArray[np.float64]) -> list[float | None]:
            return [round(float(v), 3) if np.isfinite(v) else None for v in values]

        return {
            "frames": self.frames.tolist(),
            "courses": [[plain(values) for values in course.values] for course in self.courses],
        }


def _shown_frames(fit: Fit) -> frozenset[int]:
    """Choose frames with people, spread evenly."""
    frames = np.unique(fit.frame_index)
    indices = np.unique(np.linspace(0, len(frames) - 1, min(_MAX_FRAMES, len(frames))).round().astype(int))
    return frozenset(frames[indices].tolist())


def _images(
    page_fits: Sequence[_PageFit],
    body: Body,
    views: SideViews,
    budget: int,
    looks: Mapping[int, Look],
    numbered: tuple[int, NDArray[np.uint8]],
) -> dict[str, Any]:
    """Encode the overlays and the side view of a frame of the first fit as data URIs."""
    frame, pixels = numbered
    first = page_fits[0].fit
    rows = first.rows_for(frame)
    bodies = [views.upright(_bodies(fit, rows, body), frame) for fit in page_fits]
    side = jpeg_within(drawn_from_the_side(body, bodies, [fit.colour for fit in page_fits], _SIDE_VIEW), budget // 8)
    size = (budget - len(side)) // len(page_fits)
    small = reduced(pixels, _SIDE)
    overlays = [jpeg_within(_overlay(fit, first, small, frame, body, looks), size) for fit in page_fits]
    return {
        "frame": frame,
        "name": str(first.frame_names[frame]),
        "overlays": [data_uri(jpeg, "image/jpeg") for jpeg in overlays],
        "side": data_uri(side, "image/jpeg"),
    }


def _bodies(page_fit: _PageFit, rows: NDArray[np.integer], body: Body) -> torch.Tensor:
    """Pose the surfaces (R, V, 3) of a fit for rows of the first. NaN if it has none."""
    indices = page_fit.rows[rows]
    surfaces = torch.full((len(rows), len(body.template), 3), torch.nan)
    if (indices >= 0).any():
        surfaces[torch.from_numpy(indices >= 0)] = body_vertices(body, page_fit.fit, indices[indices >= 0])
    return surfaces


def _overlay(
    page_fit: _PageFit, first: Fit, small: NDArray[np.uint8], frame: int, body: Body, looks: Mapping[int, Look]
) -> NDArray[np.uint8]:
    """Draw all bodies of a fit over the reduced image of a frame of the first fit, in the colours of its people."""
    number = int(page_fit.frames[frame])
    fit = page_fit.fit
    rows = fit.rows_for(number) if number >= 0 else np.zeros(0, int)
    if not len(rows):
        return small
    track_of = {int(page_fit.rows[row]): int(first.track_id[row]) for row in first.rows_for(frame)}
    tracks = [track_of.get(int(row), _OTHER_PEOPLE + int(fit.track_id[row])) for row in rows]
    camera = fit.camera(number)
    view = camera.scaled(small.shape[1] / camera.size[0])
    vertices, dressed = dressed_bodies(body, fit, rows, [looks.get(track) for track in tracks])
    return draw_overlay(small, vertices, body.faces, view, track_ids=tracks, dressed=dressed)


def _page(
    title: str,
    page_fits: Sequence[_PageFit],
    true: _PageFit | None,
    tracks: Sequence[_Track],
    data: Mapping[str, Any],
    plan: NDArray[np.uint8] | None,
) -> str:
    fit = page_fits[0].fit
    people = f"{len(tracks)} {'person' if len(tracks) == 1 else 'people'}"
    summary = f"{people} in one image" if fit.frame_count == 1 else f"{people} in {fit.frame_count} frames"
    with_truth = [*page_fits, *([true] if true else [])]
    colours = "".join(f"--c{number}:{css_colour(fit.colour)};" for number, fit in enumerate(with_truth))
    style, script = ((_DATA / f"comparison.{kind}").read_text("utf-8") for kind in ("css", "js"))
    image_count = len(data["frames"])
    content = _viewer(with_truth, image_count) if image_count else "<p>No person was found.</p>\n"
    content += "" if plan is None else plan_figure(plan)
    content += "".join(_section(track, page_fits, fit.frame_count) for track in tracks)
    content += page_scripts(data, script if image_count else "")
    return html_page(title, summary, f":root{{{colours}}}\n{style}", content)


def _viewer(page_fits: Sequence[_PageFit], image_count: int) -> str:
    """Show the overlays under the slider, side by side if there are more than two, and the side view."""
    names = [html.escape(fit.name) for fit in page_fits]
    tags = [f"<span>{name}</span>" for name in names[:2]]
    overlays = ""
    if len(names) > 2:
        options = [
            "".join(f"<option value={i}{' selected' * (i == selected_number)}>{name}" for i, name in enumerate(names))
            for selected_number in (0, 1)
        ]
        tags = [
            f"<select aria-label={side}>{text}</select>" for side, text in zip(("left", "right"), options, strict=True)
        ]
        figures = (
            f'<figure><img data-fit={i} alt=""><figcaption>{_named(i, name)}</figcaption></figure>'
            for i, name in enumerate(names)
        )
        overlays = f"<div class=every>{''.join(figures)}</div>\n"
    key = ", ".join(_named(i, name) for i, name in enumerate(names))
    template = (_DATA / "comparison.html").read_text("utf-8")
    return template.format(left=tags[0], right=tags[1], timeline=timeline_bar(image_count), every=overlays, key=key)


def _named(number: int, name: str) -> str:
    """Show the escaped name of a fit in its colour."""
    return f"<b style=color:var(--c{number})>{name}</b>"


def _section(track: _Track, page_fits: Sequence[_PageFit], count: int) -> str:
    """Show a person's table and charts. A single image has no charts."""
    rows = "".join(
        f"<tr><th>{html.escape(course.name)}</th>"
        + "".join(
            f"<td style=color:var(--c{i})>{_number(values, course.unit)}</td>" for i, values in enumerate(course.values)
        )
        + "</tr>"
        for course in track.courses
    )
    shares = track.shares[np.isfinite(track.shares)]
    share = f" · {np.mean(shares):.0%} of the refinement kept" if len(shares) else ""
    charts = "".join(_chart(track, number, count) for number in range(len(track.courses))) if count > 1 else ""
    frames = f"{len(track.frames)} frames" if count > 1 else "one image"
    statistic = "median" if count > 1 else ""
    names = "".join(f"<td>{_named(i, html.escape(fit.name))}</td>" for i, fit in enumerate(page_fits))
    return (
        f"<section><h2>Person {track.number}</h2>\n<p class=facts>{frames}{share}</p>\n"
        f"<div class=table><table><tr><th>{statistic}</th>{names}</tr>{rows}</table></div>\n"
        f"{charts}</section>\n"
    )


def _number(values: NDArray[np.float64], unit: str) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "–"
    return f"{np.median(finite):.{1 if unit else 3}f} {unit}".strip()


def _chart(track: _Track, number: int, count: int) -> str:
    """Draw a course as SVG: frames to the right, moved stretches shaded, all lines on one scale."""
    course = track.courses[number]
    all_values = np.concatenate(course.values)
    finite = all_values[np.isfinite(all_values)]
    if not len(finite):
        return ""
    low = 0.0 if course.unit else max(0.0, float(np.percentile(finite, 1)) - 0.05)
    high = max(float(np.percentile(finite, 99)) * (1.1 if course.unit else 1.0), low + 1e-3)
    x = (track.frames + 0.5) / count * _WIDTH
    bands = "".join(
        f'<rect class=accepted x="{start:.1f}" y="0" width="{stop - start:.1f}" height="{_HEIGHT}"/>'
        for start, stop in _stretches(track, count)
    )
    lines = "".join(
        f'<path style="stroke:var(--c{i})" d="{_line(x, (values - low) / (high - low), track.frames)}"/>'
        for i, values in enumerate(course.values)
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
    """Find the ends of the moved stretches on the chart's axis."""
    frames = track.frames[np.nan_to_num(track.shares) > _MIN_SHARE]
    if not len(frames):
        return []
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    return [(part[0] / count * _WIDTH, (part[-1] + 1) / count * _WIDTH) for part in parts]


def _line(x: NDArray[np.float64], share: NDArray[np.float64], frames: NDArray[np.integer]) -> str:
    """Draw a path through the finite values, with gaps between the others."""
    commands = []
    last = -2  # frame of the last finite value
    for position, value, frame in zip(x, share, frames, strict=True):
        if np.isfinite(value):
            command = "L" if frame == last + 1 else "M"
            commands.append(f"{command}{position:.1f} {_HEIGHT * (1 - min(max(value, 0.0), 1.0)):.1f}")
            last = int(frame)
    return "".join(commands)
