"""Errors of fitted hands: how many are found, and how far fingers, wrists and forearms are from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import HAND21, SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, geodesic_angle, matrix_to_quaternion
from humanpose_cli.lab.evaluate.intervals import Summary, summarise
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.evaluate.predictions import PredictedBody
from humanpose_cli.lab.metrics.bodies import Bodies

Floats = NDArray[np.float64]

_ELBOWS, _WRISTS, _HANDS = (SMPL24.indices([f"left_{n}", f"right_{n}"]) for n in ("elbow", "wrist", "hand"))
_THUMB = torch.tensor([name.startswith("thumb") for name in HAND21.joint_names[1:]])[:, None]
_MIN_SIZE = 40.0  # pixels, diagonal of the box around a hand's points
_MIN_VISIBLE = 0.5  # share of the surface around wrist and knuckles

HAND_TEXTS = {
    "hands_found": "share of the visible hands of 40 pixels and more",
    "hand_mm": "joints of a hand, wrist on wrist, mm",
    "finger_deg": "rotations of finger joints, degrees",
    "forearm_deg": "twist of forearms, degrees",
}


class HandErrors(NamedTuple):
    """Errors of N people's left and right hands, (N, 2) each.

    Attributes:
        position: Metres. Mean distance of the 20 joints and tips after aligning the wrists.
        finger: Radians. Mean angle between relative rotations of the finger joints.
        forearm: Radians, 0 to π. Angle between the forearms' absolute rotations about the forearm.
    """

    position: Floats
    finger: Floats
    forearm: Floats


def hand_points(body: Body, bodies: Bodies, hands: Tensor) -> Tensor:
    """Compute the landmarks of the hands of posed bodies.

    Args:
        body: A body with fingers.
        bodies: N bodies.
        hands: (N, 2, 15, 3, 3) float32. Rotations of the fingers, see `Body.pose`.

    Returns:
        (N, 2, 21, 3) float32, metres in camera axes. The landmarks `HAND21` of the left and the right hand.
    """
    assert body.fingers is not None
    posed = bodies.posed(body, vertices=False)
    rest = body.fingers.points(bodies.betas, hands)
    of_wrist, of_hand = (
        (posed.linear[:, joints, None] @ (rest - posed.rest_joints[:, joints, None])[..., None])[..., 0]
        + posed.joints[:, joints, None]
        for joints in (_WRISTS, _HANDS)
    )
    return torch.cat((posed.joints[:, _WRISTS, None], torch.where(_THUMB, of_wrist, of_hand)), 2)


def hand_errors(body: Body, predicted: Bodies, true: Bodies, hands: Tensor, true_hands: Tensor) -> HandErrors:
    """Measure the hands of N predicted people.

    Args:
        body: The body of both, with fingers.
        predicted: The predicted bodies.
        true: The true bodies.
        hands: (N, 2, 15, 3, 3) float32. The predicted rotations of the fingers.
        true_hands: (N, 2, 15, 3, 3) float32. The true ones.
    """
    points, true_points = (
        each - each[:, :, :1] for each in (hand_points(body, predicted, hands), hand_points(body, true, true_hands))
    )
    forearm, true_forearm = (each.posed(body, vertices=False).rotations[:, _ELBOWS] for each in (predicted, true))
    difference = matrix_to_quaternion((true_forearm.mT @ forearm).double())
    twist = 2 * torch.atan2(difference[..., 1].abs(), difference[..., 0].abs())  # about x, along the arms of the T pose
    return HandErrors(
        (points - true_points)[:, :, 1:].norm(dim=-1).mean(-1).double().numpy(),
        geodesic_angle(hands.double(), true_hands.double()).mean(-1).numpy(),
        twist.numpy(),
    )


@torch.no_grad()
def hand_summaries(
    people: EvaluatedPeople, rows: NDArray[np.int64], bodies: Bodies, predictions: Sequence[PredictedBody]
) -> dict[str, Summary]:
    """Summarise the errors of the visible hands that are large enough.

    Hands count as visible if all 21 points are in the image, and half of the surface around wrist and knuckles is
    visible. Errors are those of the found hands; of all if hands were not searched for.

    Args:
        people: People with their truth.
        rows: (M,) rows of the people.
        bodies: The M predicted bodies.
        predictions: The same.

    Returns:
        Name in the JSON result → summary; empty if there are no labels of hands.
    """
    body, columns = people.body, people.people.cache.people
    if body.fingers is None or "hand_poses" not in columns or not len(rows):
        return {}
    labels = np.asarray(people.people.column("hand_poses"), np.float32)[rows]
    own = np.array([prediction.body in (None, body) and prediction.joints is None for prediction in predictions])
    kept = np.flatnonzero(np.isfinite(labels).all((1, 2, 3)) & own)
    rows, true, predicted = rows[kept], people.bodies.taken(rows[kept]).of_model(body), bodies.taken(kept)
    template = np.zeros_like(labels[0]), np.full(2, np.nan)
    fits = [predictions[row].hands or template for row in kept.tolist()]
    hands, confidence = (
        np.array([fit[i] for fit in fits]).reshape(-1, *template[i].shape).astype(np.float32) for i in range(2)
    )
    fingers, true_fingers = (axis_angle_to_matrix(torch.from_numpy(v)) for v in (hands, labels[kept]))
    errors = hand_errors(body, predicted, true, fingers, true_fingers)
    mask = _visible(people, rows, hand_points(body, true, true_fingers))
    found = np.where(mask & np.isfinite(confidence), confidence > 0, np.nan)
    used = mask & (np.nan_to_num(confidence, nan=1) > 0)
    values = {"hands_found": found, "hand_mm": 1e3 * errors.position}
    values |= {"finger_deg": np.rad2deg(errors.finger), "forearm_deg": np.rad2deg(errors.forearm)}
    clusters = people.clusters.taken(np.repeat(rows, 2))
    return {
        name: summarise((each if name == "hands_found" else np.where(used, each, np.nan)).ravel(), clusters)
        for name, each in values.items()
    }


def _visible(people: EvaluatedPeople, rows: NDArray[np.int64], points: Tensor) -> NDArray[np.bool_]:
    """Return which hands (M, 2) with points (M, 2, 21, 3) are visible and large enough."""
    sizes = np.asarray(people.people.cache.images["size"])[people.people.images[rows]]
    pixels = project(points.flatten(1, 2), people.focal[rows], people.centre[rows]).unflatten(1, points.shape[1:3])
    inside = (pixels >= 0) & (pixels < torch.from_numpy(sizes)[:, None, None]) & (points[..., 2:] > 0)
    extent = (pixels.amax(2) - pixels.amin(2)).norm(dim=-1)
    mask = (inside.flatten(2).all(2) & (extent >= _MIN_SIZE)).numpy()
    if "keypoints/smpl24" in people.people.cache.people:
        shares = people.people.column("keypoints/smpl24")[rows, :, 2]
        mask &= np.minimum(shares[:, _WRISTS], shares[:, _HANDS]) >= _MIN_VISIBLE
    return mask
