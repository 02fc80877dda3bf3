"""Fits registered to charts of the surface: the paper's registration (`models.deform_and_learn`), from other fits.

Registrations start from a network's predictions, as the paper's do, or from the keypoint fit, which takes their place.
The shipped lifter gives the depths of L_KP. Bodies have segment scales in place of betas. `models.deform_and_learn`
`.placing` leads to the weak-perspective camera of the registration and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.scaled_body import ScaledBody
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import best_pairs, box_overlap
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.confidence import explained_confidence, person_confidence
from humanpose_cli.fitting.records import body_columns
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import only_fit
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, viewing_rotation
from humanpose_cli.io.densepose_annotations import read_annotated_images
from humanpose_cli.io.densepose_files import DensePoseOutput
from humanpose_cli.io.digests import digest_of_files, file_digest
from humanpose_cli.models.deform_and_learn.correspondences import (
    NearestVertices,
    SurfaceCharts,
    read_densepose_charts,
    texture_charts,
)
from humanpose_cli.models.deform_and_learn.placing import (
    CropUnits,
    PlacedBodies,
    to_camera,
    to_crop,
)
from humanpose_cli.models.deform_and_learn.registration import (
    RegistrationEvidence,
    RegistrationOptions,
    normalised_frame,
    register,
)
from humanpose_cli.models.lifter.metric import shipped_lifter

_POINTS = 200  # correspondences of a person: more change nothing
_MIN_OVERLAP = 0.1  # of a body's box and the extent of a person's pixels, to be one person's
_NEAREST_RAY = 0.1  # cosine to the line of sight below which a pixel is taken for one at that angle
_PELVIS = SMPL24.index("pelvis")


def register_fit(fit: Fit, body: Body, charts: SurfaceCharts, surface: Mapping[int, NDArray[Any]]) -> Fit:
    """Register the bodies of a fit to the charts of its frames; rejected ones do not change.

    body     of the fit; charts  of that body
    surface  frame → (M, 6) of `SurfacePointFile.points`. Pixels of a numbered person are those of the body whose box is
             nearest to their extent; others are those of each body whose box they lie in

    `options["registered"]` of the result says of every row whether its registration was accepted.
    """
    scaled_body = ScaledBody(body)
    points, vertices, certain = _correspondences(fit, surface, NearestVertices(charts))
    if not certain.any():
        return replace(fit, options={**fit.options, "registered": [False] * len(fit)})
    frames = fit.frame_index
    focal = torch.from_numpy(fit.focal[frames]).float()
    centre = torch.from_numpy(fit.principal_point[frames]).float()
    pelvis = torch.from_numpy(fit.joints3d[:, _PELVIS]).float()
    # Pixels of a camera that looks straight at the person: away from the optical axis, images are stretched.
    towards = viewing_rotation(Camera(focal, centre).project(pelvis[:, None])[:, 0], focal, centre)

    def rectified(pixels: torch.Tensor) -> torch.Tensor:
        rays = torch.nn.functional.pad((pixels - centre[:, None]) / focal[:, None, None], (0, 1), value=1.0) @ towards
        return focal[:, None, None] * rays[..., :2] / rays[..., 2:].clamp_min(_NEAREST_RAY)

    camera, boxes = Camera(focal, torch.zeros_like(centre)), torch.from_numpy(fit.boxes).float()
    corners = rectified(boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].unflatten(1, (4, 2)))
    origin, unit = units = CropUnits(*normalised_frame(torch.cat((corners.amin(1), corners.amax(1)), 1)))
    keypoints = torch.from_numpy(fit.keypoints2d).float()
    poses = axis_angle_to_matrix(torch.from_numpy(fit.poses).float().unflatten(1, (len(SMPL24), 3)))
    start = to_crop(
        PlacedBodies(poses, pelvis).turned(towards.mT), torch.from_numpy(fit.segment_scales).float(), units, camera
    )
    lifter_joints = shipped_lifter()(keypoints[..., :2], keypoints[..., 2], focal, centre, BLAZEPOSE33)
    evidence = RegistrationEvidence(
        scaled_body.landmarks(BLAZEPOSE33.name),
        (rectified(keypoints[..., :2]) - origin[:, None]) / unit[:, None, None],
        keypoints[..., 2].clamp(0, 1),
        (rectified(points) - origin[:, None]) / unit[:, None, None],
        scaled_body.vertices(vertices),
        certain,
        (lifter_joints.landmarks @ towards)[..., 2] * start.scale[:, None],
    )
    registration = register(scaled_body, evidence, start)
    is_accepted = registration.accepted.numpy() & (certain > 0).any(1).numpy()
    bodies = to_camera(scaled_body, registration.pose, units, camera).turned(towards)
    largest = RegistrationOptions().largest_error * unit.numpy()
    return _with_registered(fit, body, bodies, registration.pose.segment_scales, is_accepted, largest)


def _correspondences(
    fit: Fit, surface: Mapping[int, NDArray[Any]], nearest: NearestVertices
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose pixels (N, P, 2), vertices (N, P) and confidence (N, P), evenly of those of each person."""
    points_of_rows = torch.zeros(len(fit), _POINTS, 5)
    for frame in np.unique(fit.frame_index).tolist():
        rows, points = np.flatnonzero(fit.frame_index == frame), surface.get(frame, np.zeros((0, 6)))
        for row, belongs in zip(rows, _points_of_bodies(fit.boxes[rows], points), strict=True):
            selected = points[belongs, :5]
            indices = np.unique(np.linspace(0, max(len(selected) - 1, 0), min(len(selected), _POINTS)).astype(int))
            points_of_rows[row, : len(indices)] = torch.from_numpy(selected[indices].astype(np.float32))
    vertices, valid = nearest(points_of_rows[..., 2].long(), points_of_rows[..., 3:])
    return points_of_rows[..., :2], vertices, valid.float()


def _points_of_bodies(boxes: NDArray[Any], points: NDArray[Any]) -> NDArray[np.bool_]:
    """Decide which points (M, 6) of an image belong to the bodies in boxes (R, 4): (R, M)."""
    inside = ((points[:, :2] >= boxes[:, None, :2]) & (points[:, :2] <= boxes[:, None, 2:])).all(2)
    belongs = inside & (points[:, 5] < 0)
    people = np.unique(points[points[:, 5] >= 0, 5])
    positions = [points[points[:, 5] == person, :2] for person in people]
    extents = np.array([(*xy.min(0), *xy.max(0)) for xy in positions]).reshape(-1, 4)
    for row, column in best_pairs(box_overlap(boxes[:, None], extents[None]), _MIN_OVERLAP):
        belongs[row] |= points[:, 5] == people[column]
    return belongs


def _with_registered(
    fit: Fit,
    body: Body,
    bodies: PlacedBodies,
    segment_scales: torch.Tensor,
    is_accepted: NDArray[np.bool_],
    largest: NDArray[Any],
) -> Fit:
    """Take over the accepted bodies that, before the perspective camera, are within `largest` (N,) pixels of the median
    keypoint: what fits a weak-perspective camera need not do so close to the lens. Their confidence is how well they
    explain the keypoints.
    """
    shape = torch.zeros(len(fit), body.shape_count)
    trans = body.translation_of_root(bodies.pelvis, shape)
    new_columns, apart = body_columns(fit, body, bodies.rotations, shape, trans, segment_scales)
    confident = fit.keypoints2d[..., 2] > 0.5
    error = np.array([np.median(a[c]) if c.any() else np.inf for a, c in zip(apart, confident, strict=True)])
    is_accepted = is_accepted & (error <= largest)
    focal = torch.from_numpy(fit.focal[fit.frame_index])
    detector_confidence = torch.from_numpy(fit.keypoints2d[..., 2])
    confidence = explained_confidence(
        detector_confidence, torch.from_numpy(apart), bodies.pelvis[:, 2:], focal[:, None]
    ).float()
    new_columns |= {"joint_confidence": confidence.numpy(), "confidence": person_confidence(confidence).numpy()}
    new_columns["reprojection_error"] = error
    columns: dict[str, Any] = {name: getattr(fit, name).copy() for name in new_columns}
    for name, values in new_columns.items():
        columns[name][is_accepted] = values[is_accepted]
    return replace(fit, **columns, options={**fit.options, "registered": is_accepted.tolist()})


class SurfacePointFile:
    """DensePose's output (a folder of NAME_IUV.png or NAME_IUV.npz, or a dump) or an annotation file in COCO's format.

    Raises InputError if it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._annotations: dict[str, NDArray[Any]] | None = None
        if path.suffix.lower() == ".json":
            self._annotations = {}
            for image in read_annotated_images(path):
                points = [
                    np.insert(person.points, 5, number, axis=1)
                    for number, person in enumerate(image.people)
                    if person.points is not None
                ]
                self._annotations[Path(image.file_name).name] = np.concatenate(points)
        else:
            self._output = DensePoseOutput(path)

    def points(self, name: str, size: tuple[int, int]) -> NDArray[Any]:
        """Read x, y pixels, chart, U, V and the person (M, 6) of the image `name` of `size` (width, height). Dumps and
        annotations number the people of an image; the person is −1 if the file does not distinguish them.

        Raises InputError if there is nothing about it.
        """
        if self._annotations is not None:
            if name not in self._annotations:
                raise InputError(self._path, f"has no surface points of {name}", remedy="label it, or leave it out")
            return self._annotations[name]
        charts, people = self._output.of(name, name, size, True)
        if charts is None:
            stem = Path(name).stem
            expected = f"{stem}_IUV.png, {stem}_IUV.npz or a dump with {name}"
            raise InputError(self._path, f"has nothing about {name}", expected=expected, remedy="run DensePose on it")
        y, x = np.nonzero(charts[..., 0])
        values = charts[y, x].astype(np.float64)
        owner = np.full(charts.shape[:2], -1)
        for number, person in reversed(list(enumerate(people))):  # the most confident last, as charts are painted
            owner[person.mask(size)] = number
        return np.column_stack((x + 0.5, y + 0.5, values[:, 0], values[:, 1:] / 255, owner[y, x]))


def points_identity(densepose: Path, charts: Path | None) -> dict[str, str | None]:
    """Return the digests of what decides a result: the contents of both files, or of DensePose's in a folder."""
    files = [densepose]
    if densepose.is_dir():
        files = [path for path in sorted(densepose.rglob("*")) if path.suffix == ".pkl" or path.stem.endswith("_IUV")]
    return {"densepose": digest_of_files(files), "charts": None if charts is None else file_digest(charts)}


@dataclass(frozen=True)
class SurfaceRegistration:
    """Registers the bodies of a fit to the surface points of its frames.

    densepose  as `SurfacePointFile` reads it
    charts     DensePose's UV_Processed.mat, for SMPL; None: the charts are those of the body's own texture
    body       of fits that came from files; None for the default body
    """

    densepose: Path
    charts: Path | None = None
    body: Body | None = None

    @cached_property
    def _points(self) -> SurfacePointFile:
        return SurfacePointFile(self.densepose)

    @property
    def identity(self) -> dict[str, Any]:
        """The contents of the files."""
        return {"method": "registration", **points_identity(self.densepose, self.charts)}

    def outputs(self, output: Path, tracks: Sequence[int] = ()) -> tuple[Path, ...]:
        """Return no file."""
        return ()

    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Register a fit of one camera, see `register_fit`.

        Raises InputError if a frame has no surface points, UsageError for a take.
        """
        fit = only_fit(fits)
        if fit.views is not None:
            raise UsageError("method=registration", "is of one camera", got="a take of several")
        body, surface = fit.body_model(self.body), {}
        for frame, name in enumerate(fit.frame_names.tolist()):
            width, height = fit.image_size[frame].tolist()
            surface[frame] = self._points.points(name, (width, height))
            progress(frame + 1, fit.frame_count, "frames with surface points")
        return register_fit(fit, body, surface_charts(body, self.charts), surface)


def surface_charts(body: Body, charts: Path | None) -> SurfaceCharts:
    """Load the charts of DensePose's UV_Processed.mat, for SMPL; without a file those of the body's texture."""
    return texture_charts(body) if charts is None else read_densepose_charts(charts, body)
