"""The displacement fields of a refinement: saved as a file, and shown as contact sheets.

As in Figures 1 and 4 of Personalized 3D Human Pose and Shape Refinement (Wehrbein et al. 2023): the photograph, the
textured rendering of the fit, the displacements between them, and the refined body. The fields are those of the first
round, from the given fit to the photograph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.person_view import PersonView, person_views
from humanpose_cli.body.body import Body
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.overlays import body_vertices, drawn_from_the_side
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.atomic import removed_on_failure, write_files
from humanpose_cli.io.displacement_files import (
    DISPLACEMENTS_SUFFIX,
    DisplacementField,
    displacement_writer,
)
from humanpose_cli.io.images import encode_image
from humanpose_cli.io.output_names import beside_fit
from humanpose_cli.refining.correspondences import Displacements
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.rendering.flow_colours import colour_wheel, draw_arrows, flow_colours
from humanpose_cli.rendering.overlay import draw_label
from humanpose_cli.rendering.shading import render_people
from humanpose_cli.rendering.surfaces import Surface, Texture

SHEET_SUFFIX = ".displacements.jpg"
_ROWS = 8  # frames of a person on a sheet
_TILE, _GAP, _HEADING, _WHEEL = 264, 4, 26, 84  # pixels
_PART = 0.84  # of a crop's side, about its centre, in a tile
_GROUND = (236, 238, 240)  # colour behind tiles
_UNKNOWN = (150, 153, 158)  # colour of pixels without a displacement
_SPACING = 11  # pixels of a tile between arrows
_ARROW = 26  # pixels of a tile, length of an arrow at the edge of the wheel
_HALF = 0.03  # of the crop's side, noise at which half of a displacement is trusted
_MIN_CONFIDENCE = 0.1  # of a displacement that is drawn as an arrow and counts for the scale
_COLUMNS = ("photograph", "fit, textured", "displacements", "as arrows", "refined", "from the side")
_FIT, _REFINED = 1, 0  # tracks whose colours the two bodies have in the side view, as on the page


def sheet_path(displacements: Path, track: int) -> Path:
    """Return the path of the contact sheet of a person: `clip.mp4.person0.displacements.jpg`."""
    stem = displacements.name.removesuffix(".npz").removesuffix(".displacements")
    return displacements.with_name(f"{stem}.person{track}{SHEET_SUFFIX}")


def displacements_path(fit: Path) -> Path:
    """Return the path of the displacements of a refined fit: `clip.mp4.displacements.npz`."""
    return beside_fit(fit, DISPLACEMENTS_SUFFIX)


def _spread(numbers: NDArray[np.integer], count: int) -> frozenset[int]:
    positions = np.unique(np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int))
    return frozenset(numbers[positions].tolist())


def refine_with_displacements(
    refiner: Refiner,
    fit: Fit,
    frames: FitFrames,
    path: Path,
    *,
    max_frames: int,
    body: Body | None = None,
    textures: Mapping[int, NDArray[np.uint8]] | None = None,
    progress: Progress = no_progress,
) -> Fit:
    """Refine a fit, and write its displacements and a contact sheet (JPEG) of each person.

    No file stays after a failure.

    Args:
        refiner: A refiner that compares images.
        fit: The fit.
        frames: The frames of the fit.
        path: The file of displacements. Sheets are written next to it.
        max_frames: The maximum number of frames whose displacements are written.
        body: The body of the fit. Needed for SMPL fits that were read from files.
        textures: Track to texture. None makes them from the frames.
        progress: Called with (done, total, unit).

    Returns:
        The refined fit.

    Raises:
        UsageError: If the refiner does not compare images, or the path has the wrong suffix.
    """
    refiner.check_compares("save_displacements")
    rebake = textures is None and len(fit) > 0
    if rebake:
        textures = refiner.textures(fit, frames, body=body, progress=part_of(progress, 0, 0.2))
    selected_frames = _spread(np.unique(fit.frame_index), max_frames)
    saved_rows = np.flatnonzero(np.isin(fit.frame_index, sorted(selected_frames)))
    shown_rows = [_spread(saved_rows[fit.track_id[saved_rows] == track], _ROWS) for track in fit.tracks]
    shown = dict.fromkeys(row for rows in shown_rows for row in sorted(rows))
    fields: dict[int, DisplacementField] = {}
    with removed_on_failure([path, *(sheet_path(path, track) for track in fit.tracks)]):
        with displacement_writer(path, fit.frame_names.tolist(), fit.image_size, refiner.identity) as writer:

            def save(
                rows: NDArray[np.integer], views: Sequence[PersonView], estimate: Displacements, mask: Tensor
            ) -> None:
                for i, row in enumerate(rows):
                    if int(fit.frame_index[row]) in selected_frames:
                        field = _field(fit, int(row), views[i], estimate, mask, i)
                        writer.add(field)
                        if int(row) in shown:
                            fields[int(row)] = field

            result = refiner.refine(
                fit,
                frames,
                body=body,
                textures=textures,
                rebake=rebake,
                progress=part_of(progress, 0.2, 0.9),
                on_displacements=save,
            )
        drawing = part_of(progress, 0.9, 1)
        sheets = _sheets(fields, fit, result, frames, fit.body_model(body), textures or {}, drawing)
        write_files({sheet_path(path, track): sheet for track, sheet in sheets.items()})
    return result


def _field(fit: Fit, row: int, view: PersonView, estimate: Displacements, mask: Tensor, i: int) -> DisplacementField:
    silhouette = mask[i, 0].numpy() > 0
    return DisplacementField(
        int(fit.track_id[row]),
        int(fit.frame_index[row]),
        view.crop.affine.inverse().matrix,
        (estimate.pixels[i].numpy() * silhouette).astype(np.float16),
        (_confidence(estimate.noise[i, 0]).numpy() * silhouette).astype(np.float16),
        silhouette,
    )


def _confidence(noise: Tensor) -> Tensor:
    """Convert noise in pixels to confidence (S, S) 0 to 1, which is 1/2 at `_HALF` of the crop's side."""
    return 1 / (1 + (noise / (_HALF * noise.shape[-1])).square())


def _sheets(
    fields: Mapping[int, DisplacementField],
    fit: Fit,
    result: Fit,
    frames: FitFrames,
    body: Body,
    textures: Mapping[int, NDArray[np.uint8]],
    progress: Progress,
) -> dict[int, bytes]:
    """Draw a JPEG of each person with the fields of some rows of the fit."""
    of_track: dict[int, list[DisplacementField]] = {}
    for field in fields.values():
        of_track.setdefault(field.track, []).append(field)
    reach = {track: _reach(of_track[track]) for track in sorted(of_track)}
    shown_frames = {field.frame for field in fields.values()}
    strips: dict[int, list[bytes]] = {track: [] for track in reach}  # encoded, so that many people need little memory
    fits = (fit, result)
    with closing(frames.read()) as reading:
        for count, (frame, pixels) in enumerate(reading, 1):
            if frame in shown_frames:
                for track, strip in _strips(fields, reach, fits, body, textures, pixels, frame):
                    strips[track].append(encode_image(strip, ".png"))
            progress(count, fit.frame_count, "displacement sheets")
    return {track: _sheet(strips[track], reach[track], track) for track in reach}


def _reach(fields: Sequence[DisplacementField]) -> float:
    """Compute the pixels of the image at the edge of the colour wheel, for all shown frames. At least 1."""
    lengths = np.concatenate([np.hypot(*field.in_image(_MIN_CONFIDENCE)[1].T) for field in fields])
    return max(1.0, float(np.percentile(lengths, 98))) if len(lengths) else 1.0


def _strips(
    fields: Mapping[int, DisplacementField],
    reach: Mapping[int, float],
    fits: tuple[Fit, Fit],
    body: Body,
    textures: Mapping[int, NDArray[np.uint8]],
    pixels: NDArray[np.uint8],
    frame: int,
) -> list[tuple[int, NDArray[np.uint8]]]:
    """Draw track and strip of tiles of some people of a frame."""
    fit, _ = fits  # before and after
    frame_rows = fit.rows_for(frame)
    before, after = (body_vertices(body, each, frame_rows) for each in fits)
    size = len(next(iter(fields.values())).mask)
    views = person_views(pixels, before, body.faces, fit.camera(frame), size)
    result = []
    for i, row in enumerate(frame_rows):
        if (field := fields.get(int(row))) is None:
            continue
        view = views[i]
        texture = Texture(np.ascontiguousarray(textures[field.track][..., :3]), body.uv, body.uv_faces)
        images = [_textured(points[i], body, texture, view) for points in (before, after)]
        photo = _tile(view.photo)
        draw_label(photo, str(fit.frame_names[frame]), (0, 0))
        side = drawn_from_the_side(body, [before[i : i + 1], after[i : i + 1]], (_FIT, _REFINED), _TILE)
        tiles = (
            photo,
            images[0],
            _coloured(field, reach[field.track]),
            _arrows(field, view.photo, reach[field.track]),
            images[1],
            side,
        )
        result.append((field.track, _beside(tiles)))
    return result


def _textured(vertices: Tensor, body: Body, texture: Texture, view: PersonView) -> NDArray[np.uint8]:
    """Draw a tile with a textured body on a plain ground."""
    image = render_people([Surface(vertices, body.faces, texture=texture, lit=False)], view.camera)
    ground = np.array(_GROUND, np.float32) / 255
    return _tile(np.rint(255 * (image[..., :3] * image[..., 3:] + ground * (1 - image[..., 3:]))).astype(np.uint8))


def _coloured(field: DisplacementField, reach: float) -> NDArray[np.uint8]:
    """Draw a tile with the field in the colours of the wheel. Unknown displacements are grey."""
    shift = np.moveaxis(field.pixels, 0, -1) @ field.crop_to_image[:, :2].T
    unknown = np.array(_UNKNOWN, np.uint8)
    colours = np.where(field.confidence[..., None] > 0, flow_colours(shift, reach), unknown)
    return _tile(np.where(field.mask[..., None], colours, np.array(_GROUND, np.uint8)))


def _arrows(field: DisplacementField, photo: NDArray[np.uint8], reach: float) -> NDArray[np.uint8]:
    """Draw a tile with arrows over the photograph, from the fit's points to their positions."""
    tile = _tile(photo)
    tile[:] = np.rint(0.55 * tile + 0.45 * 255)
    centres = np.arange(_SPACING / 2, _TILE, _SPACING)
    positions = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    side = len(field.mask)
    x, y = (side * (0.5 + _PART * (positions / _TILE - 0.5))).astype(int).T
    reliable = field.mask[y, x] & (field.confidence[y, x] >= _MIN_CONFIDENCE)
    shifts = field.pixels[:, y[reliable], x[reliable]].T @ field.crop_to_image[:, :2].T
    draw_arrows(tile, positions[reliable], shifts * (_ARROW / reach), flow_colours(shifts, reach))
    return tile


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    margin = round(len(image) * (1 - _PART) / 2)
    inner = image[margin : len(image) - margin, margin : len(image) - margin]
    return np.array(cv2.resize(inner, (_TILE, _TILE), interpolation=cv2.INTER_AREA))


def _beside(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    strip = np.full((_TILE + _GAP, len(tiles) * (_TILE + _GAP) - _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        left = number * (_TILE + _GAP)
        strip[:_TILE, left : left + _TILE] = tile
    return strip


def _sheet(strips: Sequence[bytes], reach: float, track: int) -> bytes:
    """Put the strips under headings, with the legend below."""
    images = (cv2.imdecode(np.frombuffer(strip, np.uint8), cv2.IMREAD_COLOR) for strip in strips)
    rows = [np.asarray(image, np.uint8)[..., ::-1] for image in images]
    width = len(_COLUMNS) * (_TILE + _GAP) - _GAP
    heading = np.full((_HEADING, width, 3), 255, np.uint8)
    for number, name in enumerate(_COLUMNS):
        _write(heading, name, (number * (_TILE + _GAP) + 2, _HEADING - 8))
    legend = np.full((_WHEEL + 2 * _GAP, width, 3), 255, np.uint8)
    left = 2 * (_TILE + _GAP)
    legend[_GAP : _GAP + _WHEEL, left : left + _WHEEL] = colour_wheel(_WHEEL)
    lines = (f"edge: {reach:.1f} px of the image", "centre: 0; outside: darker", "grey: unknown or hidden")
    for number, line in enumerate(lines):
        _write(legend, line, (left + _WHEEL + 8, 26 + 24 * number))
    _write(legend, f"person {track}", (2, 26))
    _write(legend, f"1 px of the image: {_ARROW / reach:.1f} px here", (3 * (_TILE + _GAP) + 60, 26))
    _write(legend, "orange: fit, blue: refined", (5 * (_TILE + _GAP) + 2, 26))
    return encode_image(np.concatenate((heading, *rows, legend)), ".jpg")


def _write(image: NDArray[np.uint8], text: str, position: tuple[int, int]) -> None:
    cv2.putText(image, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 44, 50), 1, cv2.LINE_AA)
