"""Images of what was judged: some of each quartile of the errors, and the worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.data.loader import spread_evenly
from humanpose_cli.evaluate.people import EvaluatedPeople
from humanpose_cli.evaluate.report import quartiles
from humanpose_cli.metrics.bodies import Bodies
from humanpose_cli.models.segmenter.inputs import as_bytes, code_colours
from humanpose_cli.rendering.overlay import draw_overlay

__all__ = ["WORST", "body_panel", "quartile_contact_sheet", "segmentation_panel", "worst_contact_sheet"]

Image = NDArray[np.uint8]
Panel = Callable[[int], Image]

WORST = 4
_SIDE, _EACH, _MARGIN = 224, 3, 0.25
_TRUE_COLOUR, _FOUND_COLOUR = 2, 1
_BAR = 22


def quartile_contact_sheet(errors: NDArray[np.float64], panel: Panel, words: Callable[[int], str]) -> Image:
    """A row for each quartile, the smallest errors first, each with three people from its middle.

    panel  number of a person → image, all of one size; words what is written above it
    """
    rows = []
    for part in quartiles(errors):
        middle = part[spread_evenly(len(part), _EACH + 2)]
        chosen = middle[1:-1] if len(middle) > 2 else middle
        rows.append(_row([_titled(panel(int(number)), words(int(number))) for number in chosen]))
    return _column([row for row in rows if row.size])


def worst_contact_sheet(errors: NDArray[np.float64], panel: Panel, words: Callable[[int], str]) -> Image:
    """The four largest errors, the worst first."""
    order = np.argsort(np.where(np.isfinite(errors), -errors, np.inf), kind="stable")[:WORST]
    return _column([_titled(panel(int(number)), words(int(number))) for number in order if np.isfinite(errors[number])])


def body_panel(people: EvaluatedPeople, number: int, body: Body, found: Bodies, place: int) -> Image:
    """(224, 672, 3): the person, the true mesh and the found one over the image.

    number  of the person; place of the body among those found
    """
    people_of = people.people
    image = people_of.cache.image(int(people_of.images[number]))
    x, y = (float(value) for value in people.centre[number])
    camera = Camera(float(people.focal[number]), (x, y))
    window = _window(people.joints2d[number], image.shape)
    drawn = [image]
    for rig, bodies, row, colour in (
        (people.body, people.bodies, number, _TRUE_COLOUR),
        (body, found, place, _FOUND_COLOUR),
    ):
        mesh = _mesh(rig, bodies, row)
        drawn.append(draw_overlay(image, mesh, rig.faces.cpu(), camera, track_ids=[colour]))
    return np.concatenate([_cut(shown, window) for shown in drawn], 1)


def segmentation_panel(image: Image, truth: NDArray[np.integer], found: NDArray[np.integer], parts: int) -> Image:
    """(224, 672, 3): the crop, its true parts and those found, in the parts' colours."""
    colours = as_bytes(code_colours(parts))
    shown = (image, colours[truth], colours[found])
    return np.concatenate(
        [np.asarray(cv2.resize(one, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST)) for one in shown], 1
    )


@torch.no_grad()
def _mesh(body: Body, bodies: Bodies, row: int) -> torch.Tensor:
    """(1, V, 3) metres, camera axes."""
    rotations, betas, root = (values[row : row + 1] for values in bodies)
    rest = body.rest_joints(betas)[:, SMPL24.index("pelvis")]
    posed = body.pose(rotations, betas, root - rest)
    assert posed.vertices is not None
    return posed.vertices


def _window(joints: NDArray[np.floating], shape: Sequence[int]) -> tuple[int, int, int]:
    """x, y and side of the square of the image to show round joints."""
    height, width = shape[:2]
    inside = np.clip(joints[np.isfinite(joints).all(1)], 0, (width, height))
    low, high = inside.min(0), inside.max(0)
    side = max(16, round(float((high - low).max() * (1 + 2 * _MARGIN))))
    x, y = np.rint((low + high) / 2 - side / 2).astype(int)
    return int(x), int(y), side


def _cut(image: Image, window: tuple[int, int, int]) -> Image:
    x, y, side = window
    scale = _SIDE / side
    matrix = np.array([[scale, 0, -scale * x], [0, scale, -scale * y]])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(image, matrix, (_SIDE, _SIDE), flags=smooth), np.uint8)


def _titled(image: Image, words: str) -> Image:
    bar = np.full((_BAR, image.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, words, (4, _BAR - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate((bar, image))


def _row(images: Sequence[Image]) -> Image:
    return np.concatenate(images, 1) if images else np.zeros((0, 0, 3), np.uint8)


def _column(images: Sequence[Image]) -> Image:
    """One below the other, narrower ones filled up with white."""
    width = max((image.shape[1] for image in images), default=1)
    padded = [np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0)), constant_values=255) for one in images]
    return np.concatenate(padded) if padded else np.full((1, 1, 3), 255, np.uint8)
