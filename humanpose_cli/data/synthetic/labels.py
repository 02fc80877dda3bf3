"""From a rendered scene to a sample: joints, landmarks, boxes and maps of everybody who is seen."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.label_maps import encode_map, joint_visibility, landmark_visibility
from humanpose_cli.data.samples import Person
from humanpose_cli.data.synthetic.staging.renderer import RenderedScene
from humanpose_cli.data.synthetic.staging.scene import StagedPerson
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.rendering.view import View

__all__ = ["LANDMARKS", "encoded_maps", "encoded_picture", "people_of_frame"]

Array = NDArray[Any]

LANDMARKS = ("reposing19", "blazepose33")
_MARGIN = 0.04  # of the box's longer side: flesh and clothes beyond the joints


def encoded_picture(image: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG bytes of (H, W, 3) RGB."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "an RGB picture can be encoded"
    return bytes(data.tobytes())


def encoded_maps(rendered: RenderedScene, seen: list[int]) -> dict[str, bytes]:
    """The maps as PNG bytes; `persons` renumbered to those people who are seen."""
    maps = dict(rendered.maps)
    if seen != list(range(len(rendered.visible))):
        number = np.zeros(len(rendered.visible) + 1, np.uint8)
        for new, place in enumerate(seen, 1):
            number[place + 1] = new
        maps["persons"] = number[maps["persons"]]
    return {name: encode_map(name, values) for name, values in maps.items()}


def people_of_frame(
    body: RiggedBody,
    people: list[StagedPerson],
    names: list[tuple[str, str]],
    frame: int,
    view: View,
    seen: RenderedScene,
) -> tuple[list[Person], list[int]]:
    """Labels of the people of one frame who are seen on any pixel, and their places on the stage.

    names  (identity, clothing) of each
    """
    shown = [place for place in range(len(people)) if seen.visible[place] > 0]
    if not shown:
        return [], []
    rotations = torch.stack([people[i].rotations[frame] for i in shown])
    betas = torch.stack([people[i].betas for i in shown])
    trans = torch.stack([people[i].trans[frame] for i in shown])
    with torch.no_grad():
        posed = body.pose(rotations, betas, trans, vertices=False)
        points = {name: body.pose_landmarks(name, posed, betas).numpy() for name in LANDMARKS}
    points[SMPL24.name] = posed.joints.numpy()
    poses = matrix_to_axis_angle(rotations).flatten(1).numpy()
    found = []
    for row, place in enumerate(shown):
        own = {name: its[row] for name, its in points.items()}
        keypoints = {name: _keypoints(body, name, its, place, view, seen) for name, its in own.items()}
        identity, clothing = names[place]
        found.append(
            Person(
                identity=identity,
                clothing=clothing,
                activity=people[place].activities[frame],
                gender="neutral",
                body=body.name,
                box=_box(np.concatenate([k[:, :2] for k in keypoints.values()]), place, seen),
                poses=poses[row],
                betas=betas[row].numpy(),
                trans=trans[row].numpy(),
                keypoints=keypoints,
                joints={name: _sure(its) for name, its in own.items()},
            )
        )
    return found, shown


def _sure(points: Array) -> Array:
    return np.concatenate((points, np.ones((len(points), 1), np.float32)), 1).astype(np.float32)


def _keypoints(body: RiggedBody, name: str, points: Array, place: int, view: View, seen: RenderedScene) -> Array:
    """(J, 3): pixels, and how much of the surface around each joint is seen."""
    if name == SMPL24.name:
        visible = joint_visibility(points, place, view, seen.maps)
    else:
        visible = landmark_visibility(body, name, points, place, view, seen.maps)
    pixels = view.project(torch.from_numpy(points)).numpy()
    return np.concatenate((pixels, visible[:, None]), 1).astype(np.float32)


def _box(pixels: Array, place: int, seen: RenderedScene) -> Array:
    """Round the joints with a margin and all pixels that show the person, cut at the picture's edges."""
    persons = seen.maps["persons"]
    height, width = persons.shape
    low, high = pixels.min(0), pixels.max(0)
    margin = _MARGIN * (high - low).max()
    rows, columns = np.nonzero(persons == place + 1)
    low = np.minimum(low - margin, (columns.min(), rows.min()))
    high = np.maximum(high + margin, (columns.max() + 1, rows.max() + 1))
    return np.concatenate((np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height)))).astype(np.float32)
