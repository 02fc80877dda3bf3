"""Fits of the images of a cache, of any number of people each: made now, or read from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import DetectedPeople
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.evaluate.bodies import Detections, StoredPeople, fit_row
from humanpose_cli.lab.evaluate.intervals import Summary
from humanpose_cli.lab.evaluate.predictions import predictions_facts, records_from_files
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, figures_table
from humanpose_cli.lab.evaluate.weights import network_facts

Records = Callable[[int], tuple[FitRecord, NDArray[np.integer]] | None]
"""Row of an image → the fit file that is about it, and the rows of its people; None: no person was found."""


@dataclass(frozen=True)
class ImageFits:
    """Fits of images. body  whose parameters they are; facts  lines of a report about them."""

    of: Records
    body: Body
    facts: Mapping[str, Any]


@contextmanager
def fits_of_images(
    cache: Cache,
    rows: NDArray[np.integer],
    options: FitOptions,
    device: str,
    *,
    detections: Detections = "auto",
    predictions: Path | None = None,
    threads: int | None = None,
) -> Iterator[ImageFits]:
    """Open the fits in `predictions` if that is given, else those that `hpc fit` makes, each on request.

    rows  of the images that are evaluated
    Raises UsageError for detections "boxes": average precision is about who is found.
    """
    if predictions is not None:
        body = load_body(options.body)
        yield ImageFits(records_from_files(predictions, cache, body), body, predictions_facts(predictions))
        return
    if detections == "boxes":
        raise UsageError("detector", "finds no people", expected="auto, thorough, fast or stored", got="boxes")
    source = (
        StoredPeople(cache)
        if detections == "stored"
        else DetectedPeople(detections, threads, device if device == "cpu" else "auto")
    )
    with Fitter(options, people_source=source, device=device) as fitter:

        def fit(row: int) -> tuple[FitRecord, NDArray[np.integer]]:
            record = fit_row(fitter, cache, row)
            return record, np.arange(len(record))

        facts = {"method": options.method, "detector": detections, **network_facts(fitter, cache, rows)}
        yield ImageFits(fit, fitter.body, facts)


@torch.no_grad()
def posed_rows(
    record: FitRecord, rows: NDArray[np.integer], body: Body, *, vertices: bool
) -> tuple[PosedBody, Tensor, list[Camera]]:
    """Pose the bodies in some rows of a fit: the bodies, their betas, and the camera of each. vertices  False spares
    the meshes.
    """
    rotations = axis_angle_to_matrix(torch.from_numpy(record.poses[rows]).float().unflatten(1, (len(SMPL24), 3)))
    betas, trans, scales = (
        torch.from_numpy(np.asarray(getattr(record, name)[rows], np.float32))
        for name in ("betas", "trans", "segment_scales")
    )
    frames = record.frame_index[rows]
    cameras = [
        Camera(float(focal), (float(x), float(y)))
        for focal, (x, y) in zip(record.focal[frames], record.principal_point[frames], strict=True)
    ]
    return body.pose(rotations, betas, trans, scales, vertices=vertices), betas, cameras


def image_column(cache: Cache, row: int, name: str, *shape: int) -> NDArray[np.float64]:
    """Read a column (T, *shape) of the people of an image; NaN if the cache lacks it."""
    people = cache.people_of(row)
    if name not in cache.people or not len(people):
        return np.full((len(people), *shape), np.nan)
    return np.asarray(cache.people[name][people.start : people.stop], np.float64)


def image_report(
    title: str,
    facts: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Summary]],
    texts: Mapping[str, str],
    table: tuple[str, str, str],
) -> Report:
    """Report figures of images.

    metrics  of what is evaluated, then of others that stand beside it and have its name in their figures' names
    texts    name of a figure → what it is; table  its name, title and note
    """
    first, *others = metrics
    lines = {name: text for name, text in texts.items() if name in metrics[first]}
    rows: list[list[Cell]] = [
        [text, name, *(figures[name].value for figures in metrics.values())] for name, text in lines.items()
    ]
    figures = figures_table({(of, name): s for of, each in metrics.items() for name, s in each.items()}, digits=3)
    named = {f"{name}_of_{other}": summary for other in others for name, summary in metrics[other].items()}
    tables = [Table(table[0], table[1], ("what", "name", *metrics), rows, 3, [table[2]]), figures]
    return Report(title, facts, {**metrics[first], **named}, tables)
