"""Errors of people in sequences: accelerations, and where fits that know the camera's path put them in the world.

Accelerations are of runs of consecutive frames of one person, roots on each other, as VIBE and WHAM take them. World
errors are those of SLAHMR, WHAM and EMDB 2 (`lab.metrics.trajectories`), of everything that was found of a person in a
sequence; they need the true camera's path in the cache and the predicted one in the fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, summarise
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.evaluate.report import Cell, Table, interval_note
from humanpose_cli.lab.metrics.bodies import Bodies
from humanpose_cli.lab.metrics.trajectories import acceleration_error, root_translation_error, w_mpjpe, wa_mpjpe

Floats = NDArray[np.float64]
_TEXTS = {
    "accel_mm": "acceleration of joints, mm a frame²",
    "accel_m_s2": "acceleration of joints, m/s²",
    "wa_mpjpe_mm": "joints in the world, 100 frames aligned as a whole",
    "w_mpjpe_mm": "joints in the world, aligned by the first two of 100 frames",
    "rte_percent": "root in the world, share of the path's length",
}
_CHUNK = 64  # people whose meshes are in memory at once
_FEWEST_WORLD = 3  # frames


def true_points(people: EvaluatedPeople, rows: NDArray[np.integer]) -> Floats:
    """(M, P, 3) metres, camera axes: `joints.points` of these people, NaN where not known."""
    if people.joints.measured:
        return people.measured_joints(rows)
    rigs = [people.rigs[number] if number >= 0 else people.body for number in people.rig[rows]]
    return body_points(people, people.bodies.taken(rows), rigs)


@torch.no_grad()
def body_points(people: EvaluatedPeople, bodies: Bodies, rigs: Sequence[Body]) -> Floats:
    """(M, P, 3) metres: `joints.points` of bodies, each of its own model."""
    joints, points = people.joints, np.full((len(rigs), len(people.joints.points), 3), np.nan)
    for rig in {id(one): one for one in rigs}.values():
        of_rig = np.flatnonzero([one is rig for one in rigs])
        for chosen in np.array_split(of_rig, max(1, -(-len(of_rig) // _CHUNK))):
            some = bodies.taken(chosen)
            posed = some.posed(rig, vertices=joints.of_mesh)
            points[chosen] = joints.of_body(rig, posed, some.betas).double().numpy()
    return points


def movement_summaries(
    people: EvaluatedPeople, rows: NDArray[np.int64], predicted: Floats, worlds: Floats | None
) -> dict[str, Summary]:
    """By name of `_TEXTS`, of what was found: rows of the people, their predicted points (M, P, 3) in camera axes, and
    world to camera (M, 4, 4) as their fits have it; empty without moving people.
    """
    images = people.people.cache.images
    found: dict[str, list[tuple[Floats, NDArray[np.int64]]]] = {}

    def add(name: str, values: Floats, row: int) -> None:
        found.setdefault(name, []).append((values, np.full(len(values), clusters.ids[row])))

    clusters = people.clusters.taken(rows)
    true, root = true_points(people, rows), people.joints.rows
    count = len(people.joints.joints)
    rates = np.asarray(images["frame_rate"][people.people.images[rows]]) if "frame_rate" in images else None
    for track, frames in _tracks(people, rows):
        for run in _runs(frames):
            chosen = track[run]
            a, b = (_about_root(points[chosen], root) for points in (predicted, true))
            error = acceleration_error(a[:, :count], b[:, :count])
            add("accel_mm", 1e3 * error, chosen[0])
            if rates is not None and np.isfinite(rates[chosen[0]]):
                add("accel_m_s2", error * rates[chosen[0]] ** 2, chosen[0])
        moved = _in_world(people, rows, track, predicted, true, worlds)
        if moved is not None:
            add("wa_mpjpe_mm", 1e3 * wa_mpjpe(moved[0][:, :count], moved[1][:, :count]), track[0])
            add("w_mpjpe_mm", 1e3 * w_mpjpe(moved[0][:, :count], moved[1][:, :count]), track[0])
            paths = (points[:, root or [0]].mean(1) for points in moved)
            add("rte_percent", 100 * root_translation_error(*paths), track[0])
    joined = {name: [np.concatenate(column) for column in zip(*parts, strict=True)] for name, parts in found.items()}
    return {name: summarise(values, Clusters(clusters.unit, ids)) for name, (values, ids) in joined.items()}


def _about_root(points: Floats, root: list[int]) -> Floats:
    return points - points[:, root].mean(1, keepdims=True) if root else points


def _tracks(people: EvaluatedPeople, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Each person in each sequence: indices among `rows`, by frame, and the frames."""
    table, cache = people.people, people.people.cache
    sequence = np.full(len(cache), -1)
    for number, name in enumerate(cache.sequences):
        sequence[cache.sequence(name)] = number
    names = table.column("identity") if "identity" in cache.people else np.full(len(table), "")
    frames = np.asarray(cache.images["frame"][table.images[rows]], np.int64)
    keys: dict[tuple[int, str], list[int]] = {}
    for i, row in enumerate(rows.tolist()):
        if sequence[table.images[row]] >= 0:
            name = str(names[row]) or str(table.indices[row])
            keys.setdefault((int(sequence[table.images[row]]), name), []).append(i)
    for track in keys.values():
        order = np.array(track)[np.argsort(frames[track], kind="stable")]
        yield order, frames[order]


def _runs(frames: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of consecutive frames, three or more."""
    parts = np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) != 1) + 1)
    return [part for part in parts if len(part) >= _FEWEST_WORLD]


def _in_world(
    people: EvaluatedPeople,
    rows: NDArray[np.int64],
    track: NDArray[np.int64],
    predicted: Floats,
    true: Floats,
    worlds: Floats | None,
) -> tuple[Floats, Floats] | None:
    """Predicted and true points (T, P, 3) of a person in world axes; None where a camera's path is not known."""
    images = people.people.cache.images
    if worlds is None or "world_to_camera" not in images or len(track) < _FEWEST_WORLD:
        return None
    path = np.asarray(images["world_to_camera"][people.people.images[rows[track]]], np.float64)
    finite = np.ones(len(track), bool)
    for values in (path, worlds[track], true[track]):
        finite &= np.isfinite(values).all((1, 2))
    if finite.sum() < _FEWEST_WORLD:
        return None
    chosen = track[finite]
    return _from_camera(predicted[chosen], worlds[chosen]), _from_camera(true[chosen], path[finite])


def _from_camera(points: Floats, world_to_camera: Floats) -> Floats:
    """Points (T, P, 3) in camera axes → the world's, with [R t] of each frame: X = Rᵀ (x − t)."""
    rotation, translation = world_to_camera[:, :3, :3], world_to_camera[:, :3, 3]
    return np.einsum("tji,tpj->tpi", rotation, points - translation[:, None])


def movement_table(summaries: Mapping[str, Summary]) -> Table:
    """As the table of errors."""
    rows: list[list[Cell]] = [
        [_TEXTS[name], name, s.value, s.median, s.low, s.high, s.n] for name, s in summaries.items()
    ]
    columns = ("what", "name", "mean", "median", "95 % from", "to", "n")
    return Table("movement", "Movement", columns, rows, 2, [interval_note(summaries.values())])
