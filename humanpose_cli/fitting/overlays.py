"""Overlay images and videos of a fit record: the bodies of all people over the frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.avatar.look import BARE, Look
from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.core.blocks import made_in_threads
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.doubt import limb_doubts
from humanpose_cli.fitting.hands import hand_rotations
from humanpose_cli.fitting.labels import PeopleLabels
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.frame_conversion import fitted_into
from humanpose_cli.io.images import ImageWriter
from humanpose_cli.io.inputs import Frame
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.rendering.overlay import draw_dashed_box, draw_label, draw_overlay, person_colour
from humanpose_cli.rendering.surfaces import Surface

DEFAULT_FRAME_RATE = 25.0  # frames per second of videos made from images


def body_vertices(body: Body, record: FitRecord, rows: np.ndarray) -> Tensor:
    """Pose the surfaces (P, V, 3), metres in camera axes, of some rows of a record."""
    return posed_people(body, record, rows).surface


@torch.no_grad()
def posed_people(body: Body, record: FitRecord, rows: np.ndarray) -> PosedBody:
    """Pose the bodies of some rows of a record, metres in camera axes."""
    return body.pose(
        axis_angle_to_matrix(torch.from_numpy(record.poses[rows]).unflatten(1, (-1, 3))),
        torch.from_numpy(record.betas[rows]),
        torch.from_numpy(record.trans[rows]),
        torch.from_numpy(record.segment_scales[rows]),
        hands=hand_rotations(record, rows),
    )


def one_by_one(posed: PosedBody) -> list[PosedBody]:
    """Split posed bodies, with vertices, into batches of one."""
    rows = [slice(row, row + 1) for row in range(len(posed.joints))]
    return [PosedBody(*(values[row] for values in posed if values is not None)) for row in rows]


def dressed_bodies(
    body: Body, record: FitRecord, rows: np.ndarray, looks: Sequence[Look | None]
) -> tuple[Tensor, list[list[Surface]]]:
    """Pose the surfaces of some rows of a record, and dress those that have looks.

    Returns:
        (P, V, 3) metres in camera axes, and the dressed surfaces of each row, none without a look.
    """
    posed = posed_people(body, record, rows)
    people = zip(looks, one_by_one(posed), strict=True)
    return posed.surface, [[] if look is None else look.surfaces(body, one) for look, one in people]


def plain_surfaces(
    body: Body, posed: PosedBody, tracks: Sequence[int], looks: Mapping[int, Look]
) -> list[list[Surface]]:
    """Return the surfaces of posed bodies without offsets, and of their garments, in the colours of tracks."""
    people = []
    for track, one in zip(tracks, one_by_one(posed), strict=True):
        surfaces = replace(looks.get(track, BARE), offsets=None).surfaces(body, one)
        people.append([replace(each, texture=None, colour=person_colour(track)) for each in surfaces])
    return people


def doubtful_parts(body: Body, record: FitRecord) -> Tensor:
    """Mark the vertices (N, V) of each row's doubtful limbs."""
    parts = torch.zeros(len(record), len(SMPL24), dtype=torch.bool)
    for row, doubts in enumerate(limb_doubts(record)):
        for doubt in doubts:
            parts[row, doubt.parts] = True
    return parts[:, body.part_labels.long().cpu()]


def overlay_image(
    body: Body,
    record: FitRecord,
    pixels: np.ndarray,
    frame: int = 0,
    *,
    labels: PeopleLabels | None = None,
    looks: Mapping[int, Look] | None = None,
) -> np.ndarray:
    """Draw the bodies of one frame's people over its image.

    Doubtful limbs are hatched. Detections without a body have a dashed box.

    Args:
        body: The body.
        record: The fit.
        pixels: (H, W, 3) uint8. The image.
        frame: The number of the frame.
        labels: The labels of the record's people. None draws no labels.
        looks: Track to look, for people that are drawn with their clothes.

    Returns:
        (H, W, 3) uint8.
    """
    rows = record.rows_for(frame)
    detections = [detection for detection in record.unfitted if detection.frame == frame]
    if not len(rows) and not detections:
        return pixels
    people = record.select(rows)
    ids, hatched = people.track_id.tolist(), doubtful_parts(body, people)
    vertices, dressed = dressed_bodies(body, record, rows, [looks.get(track) if looks else None for track in ids])
    drawing = draw_overlay(
        pixels, vertices, body.faces, record.camera(frame), track_ids=ids, hatched=hatched, dressed=dressed
    )
    for detection in detections:
        draw_dashed_box(drawing, detection.box)
    if labels is not None:
        labels.draw(drawing, frame)
    return drawing


def overlay_video(
    body: Body,
    record: FitRecord,
    frames: Iterable[Frame],
    video: VideoWriter | ImageWriter,
    progress: Progress = no_progress,
    *,
    labels: PeopleLabels | None = None,
    reasons: bool = False,
    looks: Mapping[int, Look] | None = None,
) -> None:
    """Write a sequence with the bodies drawn over it. Frames keep their times.

    A video has one size, that of the first frame. Other frames are scaled into it, with black borders.

    Args:
        body: The body.
        record: The fit.
        frames: All frames in order.
        video: The video.
        progress: Called with (done, total, unit).
        labels: See `overlay_image`.
        reasons: Whether a strip below the frames says which fits are doubtful, and why.
        looks: See `overlay_image`.
    """

    def drawn(item: tuple[int, Frame]) -> tuple[np.ndarray, Fraction | None]:
        index, frame = item
        image = overlay_image(body, record, frame.pixels, index, labels=labels, looks=looks)
        if frame.damage:
            image = image.copy()
            draw_label(image, f"frame {frame.damage}", (0, 0))
        return image, frame.time

    size: tuple[int, int] | None = None
    with made_in_threads(drawn, enumerate(frames)) as ahead:
        for image, time in ahead:
            size = size or (image.shape[1], image.shape[0])
            image = image if image.shape[1::-1] == size else fitted_into(image, size)
            video.write(labels.with_reasons(image, video.frame_count) if labels and reasons else image, time)
            progress(video.frame_count, len(record.frame_names), "overlay frames")
