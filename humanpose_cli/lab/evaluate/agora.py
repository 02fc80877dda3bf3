"""Evaluation on AGORA, where finding people is a part of the measure: F1, and errors divided by it (NMVE, NMJE).

After pixelite1201/agora_evaluation@8c9dece5, the metrics of SMPL. Predictions are matched with the true people by their
joints in the image (`lab.metrics.agora`), errors are of those matched, about the middle of the hips, and true people
count if 90 % of their body or less is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, InterruptedRun, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.npz_files import read_npy
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.samples import Person
from humanpose_cli.lab.datasets.agora import VERTICES, AgoraSource
from humanpose_cli.lab.datasets.common import project_points
from humanpose_cli.lab.evaluate.intervals import Clusters, summarise_figures
from humanpose_cli.lab.evaluate.people import PeopleSelection, cameras_of_images
from humanpose_cli.lab.evaluate.predictions import FoundBody
from humanpose_cli.lab.evaluate.protocols import PROTOCOLS, Protocol
from humanpose_cli.lab.evaluate.report import Cell, Report, Table
from humanpose_cli.lab.metrics.agora import HIPS, MAX_OCCLUSION, Detection, match_people
from humanpose_cli.lab.metrics.bodies import mpjpe, pve

_RESAMPLES = 1000
_FIGURES = ("nmve_mm", "nmje_mm", "mve_mm", "mpjpe_mm", "f1", "precision", "recall")
_J = len(SMPL24)


def is_agora(cache: Cache) -> bool:
    """Return whether a cache is of AGORA, whose metrics are these alone."""
    return cache.header.source == AgoraSource.name


@dataclass(frozen=True)
class EvaluatedImages:
    """Counts of I images and errors of N matched people.

    true, missed (I, 2)  people who count, and those of them without a prediction: all, and children
    false (I,)   predictions without a true person
    image, kid, mpjpe, mve (N,)  of each matched person; errors in metres, NaN where not known
    """

    true: NDArray[np.int64]
    missed: NDArray[np.int64]
    false: NDArray[np.int64]
    image: NDArray[np.int64]
    kid: NDArray[np.bool_]
    mpjpe: NDArray[np.float64]
    mve: NDArray[np.float64]

    def taken(self, images: NDArray[np.int64]) -> EvaluatedImages:
        """Select some images, repeated ones too."""
        rows = [np.flatnonzero(self.image == image) for image in range(len(self.false))]
        selected_rows = np.concatenate([np.zeros(0, np.int64), *(rows[image] for image in images.tolist())])
        of_images = {name: getattr(self, name)[images] for name in ("true", "missed", "false")}
        of_people = {name: getattr(self, name)[selected_rows] for name in ("image", "kid", "mpjpe", "mve")}
        return EvaluatedImages(**of_images, **of_people)

    def figures(self, *, kids: bool = False) -> dict[str, float]:
        """Return the figures by name of `_FIGURES`, of all or of children, all of whose false positives count."""
        group = int(kids)
        detection = Detection.of_counts(
            int(self.true[:, group].sum()), int(self.missed[:, group].sum()), int(self.false.sum())
        )
        mask = self.kid if kids else np.ones(len(self.kid), bool)
        mve, joints = (1e3 * float(values[mask].mean()) if mask.any() else np.nan for values in (self.mve, self.mpjpe))
        errors = (detection.normalised(mve), detection.normalised(joints), mve, joints)
        return dict(zip(_FIGURES, (*errors, detection.f1, detection.precision, detection.recall), strict=True))


def measure_images(
    selection: PeopleSelection,
    fit: Callable[[int], Sequence[FoundBody]],
    body: Body,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> EvaluatedImages:
    """Measure what `fit` finds in each image (row of an image → the people there), of which `body` is the model."""
    others = selection.regressor, selection.smplx_to_smpl, selection.visible
    if selection.joints not in (None, "smpl24") or selection.root not in (None, "hips") or any(others):
        problem = "are AGORA's own: smpl24 about the hips' middle, of all people who count"
        options = "joints, root, regressor, smplx_to_smpl and visible"
        raise UsageError("joints and people", problem, remedy=f"leave out {options}")
    cache = open_cache(selection.data)
    rows = selection.images(cache)
    focal, centre = (values.double().numpy() for values in cameras_of_images(cache, rows))
    vertices = _body_vertices(selection.body_vertices)
    rows_of_counts, people = [], []
    for number, row in enumerate(rows.tolist()):
        if stop():
            raise InterruptedRun()
        true = [cache.person(person) for person in cache.people_of(row)]
        predictions = [_posed(one, body) for one in fit(row)]
        pixels = [project_points(joints, focal[number], centre[number]) for joints, _ in predictions]
        counts_in = np.array([one.occlusion is not None and one.occlusion <= MAX_OCCLUSION for one in true], bool)
        pairs = match_people(
            np.array(pixels).reshape(-1, _J, 2),
            np.array([one.keypoints[SMPL24.name][:, :2] for one in true]).reshape(-1, _J, 2),
            np.array([one.box for one in true]).reshape(-1, 4),
            counts_in,
        )
        misses = counts_in.copy()
        misses[[index for _, index in pairs]] = False
        kids = np.array([one.kid for one in true], bool)
        rows_of_counts.append(
            (
                [counts_in.sum(), (counts_in & kids).sum()],
                [misses.sum(), (misses & kids).sum()],
                len(predictions) - len(pairs),
            )
        )
        people += [(number, true[j].kid, *_errors(predictions[i], true[j], vertices)) for i, j in pairs]
        progress(number + 1, len(rows), "images")
    true_counts, missed_counts, false = (np.array(column, np.int64) for column in zip(*rows_of_counts, strict=True))
    image, kid, joints, surface = np.array(people, np.float64).reshape(-1, 4).T
    return EvaluatedImages(true_counts, missed_counts, false, image.astype(np.int64), kid > 0, joints, surface)


def _body_vertices(path: Path | None) -> NDArray[np.int64] | slice:
    """Read the evaluator's file of vertices, without those of head and hands; all vertices without a file."""
    if path is None:
        return slice(None)
    vertices = read_npy(path)
    if (
        vertices.ndim != 1
        or not len(vertices)
        or vertices.dtype.kind not in "iu"
        or not 0 <= vertices.min() <= vertices.max() < VERTICES
    ):
        got = f"{vertices.dtype} {vertices.shape}"
        raise InputError(path, "lists no vertices of SMPL", expected="body_verts_smpl.npy of agora_evaluation", got=got)
    return vertices.astype(np.int64)


@torch.no_grad()
def _posed(prediction: FoundBody, body: Body) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return joints (24, 3) and vertices (V, 3), or None, metres in camera axes."""
    if prediction.joints is not None:
        skeleton, points = prediction.joints
        if skeleton != SMPL24.name:
            raise UsageError("predictions", "have joints of another skeleton", expected=SMPL24.name, got=skeleton)
        return np.asarray(points, np.float64), None
    rig = prediction.body or body
    ones = np.ones(_J) if prediction.segment_scales is None else prediction.segment_scales
    poses, betas, trans, scales = (torch.as_tensor(np.asarray(x, np.float32))[None] for x in (*prediction[:3], ones))
    result = rig.pose(axis_angle_to_matrix(poses.unflatten(1, (_J, 3))), betas, trans, scales)
    assert result.vertices is not None
    mesh = result.vertices[0].double().cpu().numpy() if rig.name.startswith("smpl-") or rig.name == "smpl" else None
    return result.joints[0].double().cpu().numpy(), mesh


def _errors(
    prediction: tuple[NDArray[np.float64], NDArray[np.float64] | None],
    true: Person,
    vertices: NDArray[np.int64] | slice,
) -> tuple[float, float]:
    """Return MPJPE and MVE in metres."""
    joints, mesh = prediction
    truth, root = np.asarray(true.joints[SMPL24.name][:, :3], np.float64), list(HIPS)
    error = float(mpjpe(joints[None], truth[None], root=root)[0])
    if mesh is None or true.vertices is None:
        return error, np.nan
    meshes = (points[None, vertices] for points in (mesh, np.asarray(true.vertices)))
    first, second = meshes
    return error, float(pve(first, second, joints[None, root].mean(1), truth[None, root].mean(1))[0])


def agora_report(
    selection: PeopleSelection, errors: EvaluatedImages, facts: Mapping[str, Any], protocol: Protocol | None
) -> Report:
    """Report the figures of all people and of children."""
    cache, images = open_cache(selection.data), len(errors.false)

    def figures(images: NDArray[np.int64]) -> dict[str, float]:
        some = errors.taken(images)
        return some.figures() | {f"kid_{name}": value for name, value in some.figures(kids=True).items()}

    summaries = summarise_figures(figures, Clusters.single("images", images), _RESAMPLES)
    counts = errors.true.sum(0).tolist()  # of all, and of children
    metrics = {name: replace(one, n=counts[name.startswith("kid_")]) for name, one in summaries.items()}
    rows: list[list[Cell]] = [
        [title, *(metrics[prefix + name].value for name in _FIGURES), metrics[f"{prefix}f1"].n]
        for title, prefix in (("all", ""), ("children", "kid_"))
    ]
    digits = (0, 1, 1, 1, 1, 2, 2, 2, 0)
    notes = ["Errors are of matched people; NMVE and NMJE are MVE and MPJPE divided by F1. n: people who count."]
    if selection.body_vertices is None:
        notes.append("MVE is of all vertices; published figures are of those in body_verts_smpl.npy (`body_vertices`).")
    if not np.isfinite(metrics["mve_mm"].value):
        notes.append("MVE is known of SMPL bodies only (`body=smpl:FILE`).")
    tables = [Table("agora", "Detection and errors", ("people", *_FIGURES, "n"), rows, digits, notes)]
    protocol = protocol or PROTOCOLS["agora-smpl"]
    tables.append(protocol.table({"this evaluation": metrics}, cache.header, selection.full_split()))
    facts = {**facts, "joints": "smpl24, root hips", "truth": "the owners' joints and vertices", "images": images}
    return Report("Bodies found in images", {**facts, **protocol.facts}, metrics, tables)
