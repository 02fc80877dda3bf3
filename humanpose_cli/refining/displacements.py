"""The displacement fields of a refinement: saved as a file, and shown as contact sheets.

As Figures 1 and 4 of Personalized 3D Human Pose and Shape Refinement (Wehrbein et al. 2023): the photograph, the
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
    DisplacementFile,
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
_PART = 0.84  # of a crop's side, about its centre, that a tile shows
_GROUND, _OFF = (236, 238, 240), (150, 153, 158)  # colours behind tiles, and of pixels without a displacement
_SPACING, _LONGEST = 11, 26  # pixels of a tile between arrows, and of an arrow at the edge of the wheel
_HALF = 0.03  # of the crop's side: noise of a displacement that is half trusted
_SHOWN = 0.1  # confidence from which a displacement is drawn as an arrow, and counts for the scale
_COLUMNS = ("photograph", "fit, textured", "displacements", "as arrows", "refined", "from the side")
_FIT, _REFINED = 1, 0  # tracks whose colours the two bodies have from the side, as on the page


def sheet_path(displacements: Path, track: int) -> Path:
    """Return the path of the contact sheet of a person: `clip.mp4.person0.displacements.jpg`."""
    stem = displacements.name.removesuffix(".npz").removesuffix(".displacements")
    return displacements.with_name(f"{stem}.person{track}{SHEET_SUFFIX}")


def displacements_path(fit: Path) -> Path:
    """Return the path of the displacements of a refined fit: `clip.mp4.displacements.npz`."""
    return beside_fit(fit, DISPLACEMENTS_SUFFIX)


def saved_frames(fit: Fit, max_frames: int) -> frozenset[int]:
    """Choose frames with people, at most so many, spread evenly."""
    return _spread(np.unique(fit.frame_index), max_frames)


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
    """Refine as `Refiner.refine`, write the displacements of at most `max_frames` frames to `path`, and the contact
    sheet (JPEG) of each person beside it. If it fails, no file stays.

    Raises UsageError for a refiner that does not compare images; for files `displacement_writer`.
    """
    refiner.check_compares("save_displacements")
    rebake = textures is None and len(fit) > 0
    if rebake:
        textures = refiner.textures(fit, frames, body=body, progress=part_of(progress, 0, 0.2))
    selected_frames = saved_frames(fit, max_frames)
    with removed_on_failure([path, *(sheet_path(path, track) for track in fit.tracks)]):
        with displacement_writer(path, fit.frame_names.tolist(), fit.image_size, refiner.identity) as writer:

            def save(
                rows: NDArray[np.integer], views: Sequence[PersonView], estimate: Displacements, mask: Tensor
            ) -> None:
                for i, row in enumerate(rows):
                    if int(fit.frame_index[row]) in selected_frames:
                        writer.add(_field(fit, int(row), views[i], estimate, mask, i))

            result = refiner.refine(
                fit,
                frames,
                body=body,
                textures=textures,
                rebake=rebake,
                progress=part_of(progress, 0.2, 0.9),
                on_displacements=save,
            )
        with DisplacementFile(path) as file:
            drawing = part_of(progress, 0.9, 1)
            sheets = _sheets(file, fit, result, frames, fit.body_model(body), textures or {}, drawing)
        write_files({sheet_path(path, track): sheet for track, sheet in sheets.items()})
    return result


def _field(fit: Fit, row: int, view: PersonView, estimate: Displacements, mask: Tensor, i: int) -> DisplacementField:
    silhouette = mask[i, 0].numpy() > 0
    return DisplacementField(
        int(fit.track_id[row]),
        int(fit.frame_index[row]),
        view.crop.affine.inverse().matrix,
        estimate.pixels[i].numpy() * silhouette,
        _confidence(estimate.noise[i, 0]).numpy() * silhouette,
        silhouette,
    )


def _confidence(noise: Tensor) -> Tensor:
    """Convert noise in pixels to confidence (S, S) 0…1: 1/2 where it is `_HALF` of the crop's side."""
    return 1 / (1 + (noise / (_HALF * noise.shape[-1])).square())


def _sheets(
    file: DisplacementFile,
    fit: Fit,
    result: Fit,
    frames: FitFrames,
    body: Body,
    textures: Mapping[int, NDArray[np.uint8]],
    progress: Progress,
) -> dict[int, bytes]:
    """Draw a JPEG of each person, with some of the saved frames below each other."""
    rows = _sheet_rows(file)
    reach = {track: _reach(file, numbers) for track, numbers in rows.items()}
    track_rows: dict[int, dict[int, int]] = {}  # frame → track → row of the file
    for track, numbers in rows.items():
        for row in numbers:
            track_rows.setdefault(int(file.frame_index[row]), {})[track] = row
    strips: dict[int, list[bytes]] = {track: [] for track in rows}  # encoded, so that many people need little memory
    with closing(frames.read()) as reading:
        for count, (frame, pixels) in enumerate(reading, 1):
            if frame in track_rows:
                for track, strip in _strips(track_rows[frame], file, reach, fit, result, body, textures, pixels, frame):
                    strips[track].append(encode_image(strip, ".png"))
            progress(count, fit.frame_count, "displacement sheets")
    return {track: _sheet(strips[track], reach[track], track) for track in rows}


def _sheet_rows(file: DisplacementFile) -> dict[int, list[int]]:
    """Choose the rows of the file that a person's sheet shows, by their number."""
    result = {}
    for track in sorted(set(file.track_id.tolist())):
        result[track] = sorted(_spread(np.flatnonzero(file.track_id == track), _ROWS))
    return result


def _reach(file: DisplacementFile, rows: Sequence[int]) -> float:
    """Compute the pixels of the image at the edge of the colour wheel: of all shown frames, and 1 at least."""
    lengths = [np.hypot(*file[row].in_image(_SHOWN)[1].T) for row in rows]
    all_lengths = np.concatenate(lengths)
    return max(1.0, float(np.percentile(all_lengths, 98))) if len(all_lengths) else 1.0


def _strips(
    rows: Mapping[int, int],
    file: DisplacementFile,
    reach: Mapping[int, float],
    fit: Fit,
    after_fit: Fit,
    body: Body,
    textures: Mapping[int, NDArray[np.uint8]],
    pixels: NDArray[np.uint8],
    frame: int,
) -> list[tuple[int, NDArray[np.uint8]]]:
    """Draw track and strip of tiles of some people of a frame; `rows` has the file's row of each track."""
    of_frame = fit.rows_for(frame)
    before, after = (body_vertices(body, each, of_frame) for each in (fit, after_fit))
    views = person_views(pixels, before, body.faces, fit.camera(frame), file.size)
    result = []
    for i, row in enumerate(of_frame):
        track = int(fit.track_id[row])
        if track not in rows:
            continue
        view, field = views[i], file[rows[track]]
        texture = Texture(np.ascontiguousarray(textures[track][..., :3]), body.uv, body.uv_faces)
        images = [_textured(points[i], body, texture, view) for points in (before, after)]
        photo = _tile(view.photo)
        draw_label(photo, str(fit.frame_names[frame]), (0, 0))
        side = drawn_from_the_side(body, [before[i : i + 1], after[i : i + 1]], (_FIT, _REFINED), _TILE)
        tiles = (
            photo,
            images[0],
            _coloured(field, reach[track]),
            _arrows(field, view.photo, reach[track]),
            images[1],
            side,
        )
        result.append((track, _beside(tiles)))
    return result


def _textured(vertices: Tensor, body: Body, texture: Texture, view: PersonView) -> NDArray[np.uint8]:
    """Draw a tile with a body as its person's texture paints it, and nothing around it."""
    image = render_people([Surface(vertices, body.faces, texture=texture, lit=False)], view.camera)
    ground = np.array(_GROUND, np.float32) / 255
    return _tile(np.rint(255 * (image[..., :3] * image[..., 3:] + ground * (1 - image[..., 3:]))).astype(np.uint8))


def _coloured(field: DisplacementField, reach: float) -> NDArray[np.uint8]:
    """Draw a tile with the field in the colours of the wheel; grey on the body where nothing is known."""
    shift = np.moveaxis(field.pixels, 0, -1) @ field.crop_to_image[:, :2].T
    image = np.full((*field.mask.shape, 3), _GROUND, np.uint8)
    image[field.mask] = np.where(field.confidence[..., None] > 0, flow_colours(shift, reach), np.array(_OFF, np.uint8))[
        field.mask
    ]
    return _tile(image)


def _arrows(field: DisplacementField, photo: NDArray[np.uint8], reach: float) -> NDArray[np.uint8]:
    """Draw a tile with arrows over the photograph, from where the fit shows a point towards where it is."""
    tile = _tile(photo)
    tile[:] = np.rint(0.55 * tile + 0.45 * 255)
    centres = np.arange(_SPACING / 2, _TILE, _SPACING)
    positions = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    side = len(field.mask)
    x, y = (side * (0.5 + _PART * (positions / _TILE - 0.5))).astype(int).T
    reliable = field.mask[y, x] & (field.confidence[y, x] >= _SHOWN)
    shifts = field.pixels[:, y[reliable], x[reliable]].T @ field.crop_to_image[:, :2].T
    draw_arrows(tile, positions[reliable], shifts * (_LONGEST / reach), flow_colours(shifts, reach))
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
    """Put the strips under headings, and the legend below."""
    strip_images = (cv2.imdecode(np.frombuffer(strip, np.uint8), cv2.IMREAD_COLOR) for strip in strips)
    rows = [np.asarray(strip, np.uint8)[..., ::-1] for strip in strip_images]
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
    _write(legend, f"1 px of the image: {_LONGEST / reach:.1f} px here", (3 * (_TILE + _GAP) + 60, 26))
    _write(legend, "orange: fit, blue: refined", (5 * (_TILE + _GAP) + 2, 26))
    return encode_image(np.concatenate((heading, *rows, legend)), ".jpg")


def _write(image: NDArray[np.uint8], text: str, at: tuple[int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 44, 50), 1, cv2.LINE_AA)
