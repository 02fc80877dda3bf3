"""Errors of people in sequences: accelerations, and positions in the world of fits that know the camera's path.

Accelerations are measured on runs of consecutive frames of one person, with the roots aligned; public evaluators close
up frames that the owners call invalid before they take differences. World errors follow SLAHMR, WHAM and EMDB 2
(`lab.metrics.trajectories`) and include all predictions of a person in a sequence; they need the true camera's path in
the cache and the predicted one in the fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.lab.evaluate.intervals import Clusters, Summary, summarise
from humanpose_cli.lab.evaluate.people import EvaluatedPeople
from humanpose_cli.lab.metrics.bodies import Bodies
from humanpose_cli.lab.metrics.joints import JointSet
from humanpose_cli.lab.metrics.trajectories import (
    Cut,
    acceleration_error,
    foot_sliding,
    jitter,
    jitter_emdb,
    root_translation_error,
    root_velocity_error,
    w_mpjpe,
    wa_mpjpe,
)

Floats = NDArray[np.float64]
MOVEMENT_TEXTS = {
    "accel_mm": "acceleration of joints, mm a frame²",
    "accel_m_s2": "acceleration of joints, m/s²",
    "accel_trimmed_m_s2": "the same without the first and the last value of a sequence (WHAM, TRAM)",
    "wa_mpjpe_mm": "joints in the world, 100 frames aligned as a whole",
    "w_mpjpe_mm": "joints in the world, aligned by the first two of 100 frames",
    "rte_percent": "root in the world, share of the path's length",
    "erve_mm": "velocity of the root in its own frame, mm a frame",
    "jitter_10m_s3": "third derivative of predicted joints in the world, 10 m/s³",
    "true_jitter_10m_s3": "the same of true joints",
    "jitter_emdb_10m_s3": "third derivative of predicted joints without the body's translation, 10 m/s³ (EMDB)",
    "foot_sliding_mm": "path of predicted feet while the true ones stand, mm a frame",
}
RootPath = Literal["translation", "pelvis"]
"""Root of a path: SMPL's translation (WHAM), or joint 0 of the joints (TRAM, GVHMR)."""
_CHUNK = 64  # people whose meshes are in memory at once
_FEWEST_WORLD = 3  # frames
_FEET = BLAZEPOSE33.indices(("left_heel", "left_foot_index", "right_heel", "right_foot_index"))


class BodyMotion(NamedTuple):
    """M people in camera or world axes; NaN if unknown.

    Attributes:
        points: (M, P, 3) metres. The `joints.points`.
        feet: (M, 4, 3) metres. Heel and ball of the left and the right foot; on SMPL, the points of WHAM and GVHMR.
        facing: (M, 3, 3) rotations from the pelvis to the axes.
        root: (M, 3) metres. The joint that the pelvis turns about.
        rest: (M, 3) metres. The root in the resting body.
    """

    points: Floats
    feet: Floats
    facing: Floats
    root: Floats
    rest: Floats

    @classmethod
    @torch.no_grad()
    def of_bodies(cls, joints: JointSet, bodies: Bodies, rigs: Sequence[Body]) -> BodyMotion:
        """Take the motion of bodies.

        Args:
            joints: Joints that errors are measured on.
            bodies: M bodies.
            rigs: Model of each body.
        """
        count = len(rigs)
        points = np.full((count, len(joints.points), 3), np.nan)
        feet = np.full((count, len(_FEET), 3), np.nan)
        rest = np.full((count, 3), np.nan)
        for rig in dict.fromkeys(rigs):
            of_rig = np.flatnonzero([each is rig for each in rigs])
            for chunk in np.array_split(of_rig, max(1, -(-len(of_rig) // _CHUNK))):
                chunk_bodies = bodies.taken(chunk).of_model(rig)
                result = chunk_bodies.posed(rig, vertices=joints.of_mesh)
                points[chunk] = joints.of_body(rig, result, chunk_bodies.betas).double().numpy()
                landmarks = rig.pose_landmarks(BLAZEPOSE33.name, result, chunk_bodies.betas)
                feet[chunk] = landmarks[:, _FEET].double().numpy()
                rest[chunk] = result.rest_joints[:, SMPL24.index("pelvis")].double().numpy()
        facing, root = (values.double().numpy() for values in (bodies.rotations[:, 0], bodies.root))
        return cls(points, feet, facing, root, rest)

    @classmethod
    def of_truth(cls, people: EvaluatedPeople, rows: NDArray[np.integer]) -> BodyMotion:
        """Take the true motion of people, with measured joints if errors are measured on these.

        Args:
            people: People with their truth.
            rows: (M,) rows of the people.
        """
        rigs = [people.rigs[number] if number >= 0 else people.body for number in people.rig[rows]]
        of_bodies = cls.of_bodies(people.joints, people.bodies.taken(rows), rigs)
        return of_bodies._replace(points=people.measured_joints(rows)) if people.joints.measured else of_bodies

    def taken(self, rows: NDArray[np.integer]) -> BodyMotion:
        """Select some people."""
        return BodyMotion._make(values[rows] for values in self)

    def in_world(self, world_to_camera: Floats) -> BodyMotion:
        """Transform from camera to world axes.

        Args:
            world_to_camera: (M, 4, 4) [R t] of each person; X = Rᵀ (x − t).
        """
        rotation = world_to_camera[:, :3, :3]
        translation = world_to_camera[:, :3, 3]

        def move(points: Floats) -> Floats:
            return np.einsum("tji,tpj->tpi", rotation, points - translation[:, None])

        facing = np.einsum("tji,tjk->tik", rotation, self.facing)
        root = move(self.root[:, None])[:, 0]
        return BodyMotion(move(self.points), move(self.feet), facing, root, self.rest)

    @property
    def translation(self) -> Floats:
        """(M, 3) metres. SMPL's translation."""
        return self.root - self.rest

    def path(self, joints: JointSet, of: RootPath) -> Floats:
        """Return the path of the root in world axes.

        Args:
            joints: Joints that errors are measured on; their root, if they lack a pelvis.
            of: SMPL's translation, or the pelvis among the points.

        Returns:
            (M, 3) metres.
        """
        if of == "translation" and np.isfinite(self.root).all():
            return self.translation
        rows = [joints.points.index("pelvis")] if "pelvis" in joints.points else joints.rows or [0]
        return np.asarray(self.points[:, rows].mean(1))


def movement_summaries(
    people: EvaluatedPeople,
    rows: NDArray[np.int64],
    predicted: BodyMotion,
    worlds: Floats | None,
    cut: Cut = "short last",
    root_path: RootPath = "pelvis",
    *,
    without_translation: bool = False,
    closed_up: bool = False,
) -> dict[str, Summary]:
    """Summarise the movement of predicted people by name of `MOVEMENT_TEXTS`.

    Args:
        people: People with their truth.
        rows: (M,) rows of the predicted people.
        predicted: Their motion in camera axes.
        worlds: (M, 4, 4) world to camera of their fits.
        cut: Cut of the segments of world errors.
        root_path: Root that the error of the path is measured on.
        without_translation: Add EMDB's jitter of SMPL's joints, with all predictions of a person closed up.
        closed_up: Frames without a true person do not interrupt a run; frames whose person was missed do.

    Returns:
        Name → summary; empty without moving people.
    """
    images = people.people.cache.images
    values_by_name: dict[str, list[tuple[Floats, NDArray[np.int64]]]] = {}

    def add(name: str, values: Floats, row: int) -> None:
        values_by_name.setdefault(name, []).append((values, np.full(len(values), clusters.ids[row])))

    clusters = people.clusters.taken(rows)
    true = BodyMotion.of_truth(people, rows)
    root = people.joints.rows
    count = len(people.joints.joints)
    rates = np.full(len(rows), np.nan)
    if "frame_rate" in images:
        rates = np.asarray(images["frame_rate"][people.people.images[rows]], np.float64)
    # For a part of the people, or every n-th frame, it is unknown which of the missing frames are valid.
    complete = people.split and people.people.cache.header.options_values.get("every", 1) == 1
    for track, frames in _tracks(people, rows, closed_up=closed_up and bool(complete)):
        rate = float(rates[track[0]])
        a, b = (_about_root(motion.points[track], root)[:, :count] for motion in (predicted, true))
        if runs := _runs(frames):
            error = np.concatenate([acceleration_error(a[run], b[run]) for run in runs])
            add("accel_mm", 1e3 * error, track[0])
            if np.isfinite(rate):
                add("accel_m_s2", error * rate**2, track[0])
                add("accel_trimmed_m_s2", error[1:-1] * rate**2, track[0])
        if without_translation and len(track) > _FEWEST_WORLD and np.isfinite(rate):
            still = predicted.points[track] - predicted.translation[track, None]
            # One value per sequence: the evaluator averages over sequences.
            add("jitter_emdb_10m_s3", jitter_emdb(still, rate).mean(keepdims=True) / 10, track[0])
        world = _in_world(people, rows, track, predicted, true, worlds)
        if world is None:
            continue
        visible, *motions = world
        a, b = (motion.points[:, :count] for motion in motions)
        start = track[0]
        add("wa_mpjpe_mm", 1e3 * wa_mpjpe(a, b, cut), start)
        add("w_mpjpe_mm", 1e3 * w_mpjpe(a, b, cut), start)
        add("rte_percent", 100 * root_translation_error(*(m.path(people.joints, root_path) for m in motions)), start)
        paths = [motion.path(people.joints, "pelvis") for motion in motions]
        for run in _runs(frames[visible]):
            moving = [motion.taken(run) for motion in motions]
            first, second = moving
            velocity = root_velocity_error(paths[0][run], paths[1][run], first.facing, second.facing)
            add("erve_mm", 1e3 * velocity[np.isfinite(velocity)], start)
            add("foot_sliding_mm", 1e3 * foot_sliding(first.feet, second.feet), start)
            if np.isfinite(rate):
                for name, motion in zip(("jitter_10m_s3", "true_jitter_10m_s3"), moving, strict=True):
                    add(name, jitter(motion.points[:, :count], rate) / 10, start)
    columns = {
        name: [np.concatenate(column) for column in zip(*parts, strict=True)] for name, parts in values_by_name.items()
    }
    summaries = {name: summarise(columns[name][0], Clusters(clusters.unit, columns[name][1])) for name in columns}
    return {name: summaries[name] for name in MOVEMENT_TEXTS if name in summaries and summaries[name].n}


def _about_root(points: Floats, root: list[int]) -> Floats:
    return points - points[:, root].mean(1, keepdims=True) if root else points


def _tracks(
    people: EvaluatedPeople, rows: NDArray[np.int64], *, closed_up: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each person in each sequence: indices among `rows`, and frames or their ranks."""
    table = people.people
    cache = people.people.cache
    sequence = cache.sequence_numbers
    names = table.column("identity") if "identity" in cache.people else np.full(len(table), "")
    frames = np.asarray(cache.images["frame"][table.images], np.int64)
    index = np.full(len(table), -1)  # in `rows`
    index[rows] = np.arange(len(rows))
    keys: dict[tuple[int, str], list[int]] = {}
    for row, image in enumerate(table.images.tolist()):
        if sequence[image] >= 0:
            keys.setdefault((int(sequence[image]), str(names[row]) or str(table.indices[row])), []).append(row)
    for track in keys.values():
        order = np.array(track)[np.argsort(frames[track], kind="stable")]
        positions = np.arange(len(order)) if closed_up else frames[order]
        predicted = index[order] >= 0
        if predicted.any():
            yield index[order[predicted]], positions[predicted]


def _runs(frames: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split frames into runs of at least three consecutive ones, as indices."""
    parts = np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) != 1) + 1)
    return [part for part in parts if len(part) >= _FEWEST_WORLD]


def _in_world(
    people: EvaluatedPeople,
    rows: NDArray[np.int64],
    track: NDArray[np.int64],
    predicted: BodyMotion,
    true: BodyMotion,
    worlds: Floats | None,
) -> tuple[NDArray[np.bool_], BodyMotion, BodyMotion] | None:
    """Return a track's frames and motions in world axes; None if a camera's path is unknown."""
    images = people.people.cache.images
    if worlds is None or "world_to_camera" not in images or len(track) < _FEWEST_WORLD:
        return None
    finite = np.ones(len(track), bool)
    path = np.asarray(images["world_to_camera"][people.people.images[rows[track]]], np.float64)
    for values in (path, worlds[track], true.points[track]):
        finite &= np.isfinite(values).all((1, 2))
    if finite.sum() < _FEWEST_WORLD:
        return None
    chosen = track[finite]
    return finite, predicted.taken(chosen).in_world(worlds[chosen]), true.taken(chosen).in_world(path[finite])
