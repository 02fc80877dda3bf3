"""Aligns fits to the pixels of their frames (Wehrbein et al. 2023, Personalized 3D Human Pose and Shape Refinement).

with Refiner() as refiner:
    refined = refiner.refine(fit, "clip.mp4")

Frames are not kept in memory: each round reads them for the textures, and again to compare rendering and photograph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.frame_texture import TextureSamples
from humanpose_cli.avatar.person_view import PersonView, bake_view, person_views, photo_tensor
from humanpose_cli.body.body import Body
from humanpose_cli.body.model_files import prior_identity
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.arguments import declared, given, taken
from humanpose_cli.core.blocks import made_in_threads, one_thread_each
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.device import ComputeArguments, ComputeOptions, Precision, resolve_device
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.files.digests import digest_of, file_digest
from humanpose_cli.fitting.chain import ChainMotion, second_differences
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.options import EvidenceFiles
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, body_vertices
from humanpose_cli.fitting.painted_masks import painted_masks
from humanpose_cli.fitting.people import user_people
from humanpose_cli.fitting.priors import load_prior
from humanpose_cli.fitting.records import body_columns
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.detections import UserPeople
from humanpose_cli.models.refiner.network import MODEL
from humanpose_cli.models.refiner.predictor import DisplacementPredictor
from humanpose_cli.networks.precision import precision_label
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.refining import acceptance
from humanpose_cli.refining.acceptance import OTHER_CLIP, accepted_share, masks_of_rows, overlap, overlap_at
from humanpose_cli.refining.anchor import SHAPE_NOISE, AnchorNoise, CameraTargets, anchor_noise
from humanpose_cli.refining.correspondences import (
    Correspondence,
    Displacements,
    FlowCorrespondence,
    NetworkCorrespondence,
    SurfacePoints,
    SurfaceSource,
)
from humanpose_cli.refining.frames import (
    AnyFrames,
    CameraFit,
    FitFrames,
    FramePeople,
    cameras_of,
    frame_batches,
    frames_of_fit,
    with_progress,
)
from humanpose_cli.refining.keypoints import check_frames_show, detected_keypoints, keypoints_of_file
from humanpose_cli.refining.options import RefineFiles, RefineOptions
from humanpose_cli.refining.problem import (
    AlignmentEvidence,
    AlignmentProblem,
    alignment_rig,
    independent_counts,
    joint_motion,
    solve_alignment,
)
from humanpose_cli.refining.pulls import Pulls, fit_state, keypoint_pulls, of_all_rows, pull_to_vertices, rig_points
from humanpose_cli.rendering.body_maps import rasterise_crops, render_bodies
from humanpose_cli.views.records import with_view_errors

if TYPE_CHECKING:
    from typing_extensions import Unpack

TEXELS = 512  # of a person's texture, along each side
_BATCH_SIZE, _BATCH_SIZE_ON_GPU = 8, 64  # people that the network compares at once
_TEXTURE_FRAMES = 16  # maximum number of frames of a person's texture
_KEYPOINT_NOISE = 1.2  # pixels of a crop of 256, of a keypoint with full confidence
_LANDMARK_NOISE = 3.5  # pixels of a crop of 256, distance of a true body's landmarks from keypoints
_LANDMARK_CORRELATION = 0.7  # of these distances on one part of the body
_FULL_AREA = 12.0  # pixels that show a surface point from which it counts fully
_ANCHOR_ROWS = 48  # of a track whose errors are estimated together
_MEASURED_METHODS = ("auto", "keypoints", "nbf")  # whose errors are at least `USUAL_ERRORS`


OnDisplacements: TypeAlias = Callable[[NDArray[np.integer], Sequence[PersonView], Displacements, Tensor], None]
"""Called with rows (P,) of a fit, their crops, the displacements from the fit to the photographs, and the masks
(P, 1, S, S) of the drawn bodies, in batches in the order of the frames."""


class Alignment(NamedTuple):
    """The result of a refinement before anything of it is accepted.

    Attributes:
        fit: The fit at the start, with the keypoints that were used.
        moved: The fit with all bodies moved.
        overlaps: (N, 3). The overlap with the silhouette of the fit, halfway, and of the moved bodies. NaN without a
            mask.
        locked: (N,). Rows with locked keypoints.
        other_clip: Whether the frames are probably not those of the fit. Then only the option `everything` accepts.
    """

    fit: Fit
    moved: Fit
    overlaps: NDArray[np.float64]
    locked: NDArray[np.bool_]
    other_clip: bool = False


class RefinerArguments(ComputeArguments, total=False):
    """Arguments of `Refiner` and `hp.refine`. `RefineFiles` and `EvidenceFiles` explain them."""

    weights: str | Path
    keypoints: UserPeople | None
    mask: Path | str | None


@declared(RefinerArguments, RefineFiles, EvidenceFiles, ComputeOptions)
class Refiner:
    """Refines fits and loads its models once. Use it as a context manager.

    Attributes:
        masks: Your masks of people in photographs; None for none.

    Args:
        options: The options of the refinement.
        surface: The vertex that each pixel shows, for the correspondence "densepose".

    Raises:
        UsageError: If a surface is missing, or if weights or a surface have no effect.

    Example:
        >>> with hp.Refiner() as refiner:
        ...     refined = refiner.refine(hp.fit("clip.mp4"))
    """

    def __init__(
        self,
        options: RefineOptions | None = None,
        *,
        surface: SurfaceSource | None = None,
        **arguments: Unpack[RefinerArguments],
    ) -> None:
        values = given(Refiner, arguments)
        compute = ComputeOptions(**taken(values, ComputeArguments.__annotations__))
        weights = values.get("weights", "")
        self.masks = painted_masks(values.get("mask"))
        self._surface, self._keypoints = surface, user_people(keypoints=values.get("keypoints"))
        options = options or RefineOptions()
        kind = options.correspondence
        if kind == "auto":
            kind = "densepose" if surface is not None else "network" if weights else "keypoints"
        if kind == "densepose" and surface is None:
            raise UsageError("densepose", "is missing", expected="DensePose's output on the frames")
        if surface is not None and kind != "densepose":
            raise UsageError("densepose", "has no effect", got=f"correspondence {kind}", remedy="densepose")
        if weights and kind != "network":
            raise UsageError("weights", "have no effect", got=f"correspondence {kind}", remedy="network")
        if self._keypoints is not None and not options.with_keypoints:
            raise UsageError("keypoints", "have no effect", got="with_keypoints False", remedy="leave out one of them")
        self.options = replace(options, correspondence=kind)
        self._prior = load_prior(options.prior)
        self._prior_identity = prior_identity(options.prior)
        self._correspondence: Correspondence | None = None
        self._weights: str | None = None
        self._precision: Precision = "full"
        self._batch_size = 1
        if kind == "flow":
            self._correspondence = FlowCorrespondence()
        elif kind == "network":
            path = find_weights(weights or MODEL)
            self._weights = digest_of(path)[:16] + precision_label(compute.precision)
            resolved = resolve_device(compute.device)
            network = DisplacementPredictor.load(path, resolved, compute.precision)
            self._correspondence = NetworkCorrespondence(network)
            self._precision = network.precision
            self._batch_size = compute.batch_size or (_BATCH_SIZE if resolved == "cpu" else _BATCH_SIZE_ON_GPU)
        self._pool = ModelPool(compute.threads or default_threads(), partial(PoseModels, compute.device))

    @property
    def identity(self) -> dict[str, Any]:
        """Everything besides fit and frames that determines the results, as JSON values."""
        network = {"network": self._weights} if self._weights else {}
        keypoints = {} if self._keypoints is None else {"keypoints": file_digest(self._keypoints.path)}
        mask = {} if self.masks is None else {"mask": self.masks.digest}
        return {**asdict(self.options), "prior": self._prior_identity, **network, **keypoints, **mask}

    @property
    def needs_textures(self) -> bool:
        """Whether the photographs are compared with textured renderings."""
        return self.options.correspondence in ("flow", "network")

    def check_compares(self, option: str) -> None:
        """Raise UsageError for an option that has no effect because no textured renderings are compared."""
        if self._correspondence is None:
            got = f"correspondence {self.options.correspondence}, which compares no images"
            raise UsageError(option, "has no effect", got=got, remedy="flow or network")

    def textures(
        self, fit: Fit, frames: FitFrames, *, body: Body | None = None, progress: Progress = no_progress
    ) -> dict[int, NDArray[np.uint8]]:
        """Make the texture of every track from the frames.

        Args:
            fit: The fit.
            frames: The frames of the fit.
            body: The body of the fit. Needed for SMPL fits that were read from files.
            progress: Called with (done, total, unit).

        Returns:
            Track to (512, 512, 4) uint8, colour and confidence.
        """
        body = fit.body_model(body)
        texels = TexelMap(body.uv, body.uv_faces, TEXELS)
        samples = {track: TextureSamples(TEXELS) for track in fit.tracks}
        for camera, report in with_progress(cameras_of(fit, frames), progress):
            selection = _texture_rows(camera.fit)
            for people in self._people(camera, body, report, "frames for textures", selection):
                for i, mask in enumerate(self._masks(camera.fit, people)):
                    view_texture = bake_view(people.views[i], body, people.vertices[i], mask, texels)
                    samples[int(camera.fit.track_id[people.rows[i]])].add(view_texture)
        return {track: sample.texture(texels.covered) for track, sample in samples.items()}

    def refine(
        self,
        fit: Fit,
        frames: AnyFrames = None,
        *,
        body: Body | None = None,
        textures: Mapping[int, NDArray[np.uint8]] | None = None,
        progress: Progress = no_progress,
        on_displacements: OnDisplacements | None = None,
    ) -> Fit:
        """Move every person onto the pixels as far as that aligns better.

        If the fit has no keypoints, they are detected. All cameras of a take count. `on_displacements` and a surface
        need a fit of one camera.

        Args:
            fit: The fit.
            frames: The frames of the fit, or of each view of a take. None opens the files that the fit names.
            body: The body of the fit. Needed for SMPL fits that were read from files.
            textures: Track to texture, as `textures` returns them. None makes them from the frames, and again after
                the first round.
            progress: Called with (done, total, unit).
            on_displacements: Called with the displacements of the first round.

        Returns:
            The refined fit. `options.refinement` says how much was accepted.

        Raises:
            InputError: If frames are missing, or show other people.
            UsageError: If an argument has no effect.
        """
        if self.masks is not None and (fit.frame_count > 1 or len(fit.cameras) > 1):
            self.masks.refuse_sequence()
        body = fit.body_model(body) if len(fit) else body
        fit, fit_frames = frames_of_fit(fit, frames)
        alignment = self.align(
            fit, fit_frames, body=body, textures=textures, progress=progress, on_displacements=on_displacements
        )
        refined = self.accept(alignment, body)
        if alignment.other_clip:
            return replace(refined, textures={})
        if textures is not None or self.needs_textures or not len(fit):
            return refined
        # Nothing was compared: the textures are baked under the refined bodies.
        return replace(refined, textures=self.textures(refined, fit_frames, body=body))

    def align(
        self,
        fit: Fit,
        frames: FitFrames,
        *,
        body: Body | None = None,
        textures: Mapping[int, NDArray[np.uint8]] | None = None,
        progress: Progress = no_progress,
        on_displacements: OnDisplacements | None = None,
    ) -> Alignment:
        """Move all bodies, and measure the overlaps by which `accept` decides. See `refine` for the arguments."""
        if not len(fit):
            return Alignment(fit, fit, np.zeros((0, 3)), np.zeros(0, bool))
        body = fit.body_model(body)
        single = {"densepose": self._surface, "keypoints": self._keypoints, "save_displacements": on_displacements}
        if len(fit.cameras) > 1 and (name := next((name for name in single if single[name] is not None), "")):
            raise UsageError(name, "is of one camera", got="a take of several cameras")
        check_frames_show(cameras_of(fit, frames), self._pool)
        locked = np.zeros(fit.keypoints2d.shape[:2], bool)
        if len(fit.cameras) == 1 and (self._keypoints is not None or not fit.keypoints2d[..., 2].any()):
            report = part_of(progress, 0, 0.1)
            if self._keypoints is not None:
                keypoints = keypoints_of_file(fit, frames, self._keypoints, report)
                locked = keypoints[..., 2] > 1
                keypoints[locked, 2] = 1
            else:
                keypoints = detected_keypoints(fit, frames, self._pool, report)
            fit = replace(fit, keypoints2d=keypoints)
            fit = _with_bodies(fit, body, fit_state(fit))
        rebake = self.needs_textures and textures is None
        if rebake:
            textures = self.textures(fit, frames, body=body, progress=part_of(progress, 0.1, 0.3))
        fit = fit if textures is None else replace(fit, textures=textures)
        surface = SurfacePoints(body, self.options.points)
        rig = alignment_rig(body, surface.landmarks)
        anchor = _anchor_noise(fit, rig, len(surface), self.options)
        moved_fit = fit
        for number in range(1, self.options.rounds + 1):
            share = 0.5 / self.options.rounds
            start = 0.3 + share * (number - 1)
            reading = part_of(progress, start, start + 0.6 * share)
            if rebake and number > 1:  # under the bodies moved so far
                textures = self.textures(moved_fit, frames, body=body)
            # Keypoints pull in every round, surface points as the photographs differ from the bodies moved so far.
            noise = _KEYPOINT_NOISE if self.options.with_keypoints else np.inf
            correlation = self.options.weights.surface_correlation
            all_pulls = []
            for camera, report in with_progress(cameras_of(moved_fit, frames), reading):
                pulls = keypoint_pulls(camera.fit, rig, len(surface), noise, locked[camera.rows])
                if self._surface is not None:
                    pull_to_vertices(camera.fit, body, self._surface, surface, rig, pulls, correlation)
                if self._correspondence is not None:
                    people = self._people(camera, body, report, f"frames of round {number}")
                    save = on_displacements if number == 1 else None
                    self._pull_to_photographs(camera.fit, people, body, surface, rig, textures or {}, pulls, save)
                all_pulls.append((camera, pulls))
            solving = part_of(progress, start + 0.6 * share, start + share)
            moved_fit = self._solved(fit, moved_fit, body, rig, all_pulls, anchor, solving)
        overlaps = self._overlaps(fit, moved_fit, frames, body, part_of(progress, 0.8, 1))
        other_clip = _other_clip(fit, frames, overlaps)
        return Alignment(fit, moved_fit, acceptance.mean_of_cameras(overlaps), np.asarray(locked.any(1)), other_clip)

    def _people(
        self, camera: CameraFit, body: Body, progress: Progress, what: str, selection: NDArray[np.bool_] | None = None
    ) -> Iterator[FramePeople]:
        """Yield a camera's frames with people. Rows that are not in `selection` (R,) only hide pixels."""
        fit = camera.fit
        with closing(camera.frames.read()) as reading:
            for count, (frame, pixels) in enumerate(reading, 1):
                rows = fit.rows_for(frame)
                if len(rows) and (selection is None or selection[rows].any()):
                    vertices = body_vertices(body, fit, rows)
                    views = person_views(pixels, vertices, body.faces, fit.camera(frame), self.options.size)
                    selected = np.arange(len(rows)) if selection is None else np.flatnonzero(selection[rows])
                    yield FramePeople(rows[selected], vertices[selected], [views[i] for i in selected], pixels)
                progress(count, fit.frame_count, what)

    def _masks(self, fit: Fit, people: FramePeople) -> list[NDArray[np.float32] | None]:
        """Return each person's mask in the crop."""
        masks = masks_of_rows(fit, people.rows, people.pixels, self._pool, self.masks)
        return [
            None if mask is None else mask.in_view(view.crop.affine, view.crop.size)
            for mask, view in zip(masks, people.views, strict=True)
        ]

    def _pull_to_photographs(
        self,
        fit: Fit,
        frames: Iterable[FramePeople],
        body: Body,
        surface: SurfacePoints,
        rig: LandmarkRig,
        textures: Mapping[int, NDArray[np.uint8]],
        pulls: Pulls,
        on_displacements: OnDisplacements | None = None,
    ) -> None:
        """Pull surface points by the displacements between textured renderings and photographs, in place."""
        assert self._correspondence is not None
        points = slice(0, len(surface))
        factor = self.options.weights.surface_noise
        correlation = self.options.weights.surface_correlation
        for people in frame_batches(frames, self._batch_size):
            cameras = [view.camera for view in people.views]
            person_textures = [textures[int(fit.track_id[row])] for row in people.rows]
            rendering = render_bodies(body, people.vertices, cameras, self.options.size, person_textures)
            estimate = self._correspondence(rendering, photo_tensor(people.views))
            # Pixels that another person covers are unknown.
            occlusion = torch.from_numpy(np.stack([view.hidden for view in people.views]))
            estimate = estimate._replace(noise=estimate.noise.masked_fill(occlusion[:, None], torch.inf))
            if on_displacements is not None:
                on_displacements(people.rows, people.views, estimate, rendering.mask.cpu())
            shift, noise, area = surface.displacements(rendering, estimate)
            counts = independent_counts(rig, points, (area / _FULL_AREA).clamp(max=1), correlation)
            surface_points = rig_points(fit, people.rows, rig)[:, points]
            for i, (row, view) in enumerate(zip(people.rows, people.views, strict=True)):
                camera = fit.camera(int(fit.frame_index[row]))
                scale = view.crop.scale
                pulls.pixels[row, points] = camera.project(surface_points[i]) + shift[i] / scale
                pulls.weights[row, points] = torch.where(area[i] > 0, scale / (factor * noise[i]), 0.0)
                pulls.counts[row, points] = counts[i]

    def _solved(
        self,
        fit: Fit,
        start: Fit,
        body: Body,
        rig: LandmarkRig,
        all_pulls: Sequence[tuple[CameraFit, Pulls]],
        anchor: AnchorNoise,
        progress: Progress,
    ) -> Fit:
        """Solve every track. `fit` is the anchor, `start` the solver's first state."""
        state = fit_state(start)
        row_count = 0
        for track in fit.tracks:
            rows = fit.rows_of(track)
            report = part_of(progress, row_count / len(fit), (row_count + len(rows)) / len(fit))
            report(0, len(rows), "frames aligned")
            row_count += len(rows)
            evidence = _evidence(fit, rows, all_pulls, anchor)
            # Points that no frame shows, half of a surface, need not be posed.
            points = evidence.pulled_points(rig.landmark_count - len(BLAZEPOSE33))
            problem = AlignmentProblem(
                rig.select(points), evidence.points(points), self.options.weights, prior=self._prior
            )
            motion = _motion(fit, rows, self.options.weights.acceleration)
            with one_thread_each():
                solution = solve_alignment(problem, motion, state.rows(rows), report)
            for values, solved_rows in zip(state, solution, strict=True):
                values[rows] = solved_rows
        return _with_bodies(fit, body, state)

    def _overlaps(self, fit: Fit, moved_fit: Fit, frames: FitFrames, body: Body, progress: Progress) -> NDArray[Any]:
        """Measure each camera's overlap (C, N, 3) with the silhouette of the fit, halfway, and moved. NaN: no mask."""
        half = _mixed(fit, moved_fit, body, np.full(len(fit), 0.5))
        cameras = cameras_of(fit, frames)
        moved_cameras = cameras_of(moved_fit, frames)
        overlaps = np.full((len(cameras), len(fit), 3), np.nan)

        def measure(number: int, people: FramePeople) -> None:
            camera = cameras[number]
            masks = self._masks(camera.fit, people)
            if any(mask is None for mask in masks):
                # If a fit is far off, the network may detect the pose of the moved body only.
                moved_masks = self._masks(moved_cameras[number].fit, people)
                masks = [moved if mask is None else mask for mask, moved in zip(masks, moved_masks, strict=True)]
            crop_cameras = [view.camera for view in people.views]
            stages = [people.vertices, *(camera.vertices(body, stage, people.rows) for stage in (half, moved_fit))]
            drawn = [rasterise_crops(body, each, crop_cameras, self.options.size).face.numpy() >= 0 for each in stages]
            for i, mask in enumerate(masks):
                if mask is not None:
                    values = [overlap(mask, silhouettes[i], people.views[i].hidden) for silhouettes in drawn]
                    overlaps[number, camera.rows[people.rows[i]]] = values

        for number, (camera, report) in enumerate(with_progress(cameras, progress)):
            people = self._people(camera, body, report, "frames compared")
            with made_in_threads(partial(measure, number), people) as ahead:
                list(ahead)
        return overlaps

    def accept(self, alignment: Alignment, body: Body | None = None) -> Fit:
        """Go to the moved bodies as far as that aligns better.

        Args:
            alignment: The result of `align`.
            body: The body of the fit. Needed for SMPL fits that were read from files.
        """
        fit, _, overlaps, locked, other_clip = alignment
        if not len(fit):
            return fit
        share = np.zeros(len(fit))
        seconds = fit.seconds(DEFAULT_FRAME_RATE)[fit.frame_index]
        for track in () if other_clip and not self.options.acceptance.everything else fit.tracks:
            rows = fit.rows_of(track)
            share[rows] = accepted_share(seconds[rows], overlaps[rows], self.options.acceptance, locked[rows])
        mixture = _mixed(fit, alignment.moved, fit.body_model(body), share)
        doubts = [doubt for doubt in fit.options.doubts or () if doubt != OTHER_CLIP] + [OTHER_CLIP] * other_clip
        report = self._report(fit, share, overlaps)
        return replace(mixture, options=replace(fit.options, doubts=doubts or None, refinement=report))

    def _report(self, fit: Fit, share: NDArray[Any], overlaps: NDArray[Any]) -> dict[str, Any]:
        """Make the entry of a fit file's options about its refinement."""

        def rounded(values: NDArray[Any]) -> list[float | None]:
            return [None if np.isnan(v) else round(float(v), 4) for v in values]

        tracks = {}
        for track in fit.tracks:
            rows = fit.rows_of(track)
            tracks[str(track)] = {
                "frames": fit.frame_index[rows].tolist(),
                "accepted": [round(float(s), 3) for s in share[rows]],
                "overlap_before": rounded(overlaps[rows, 0]),
                "overlap_after": rounded(overlap_at(overlaps[rows], share[rows])),
            }
        without = int((~fit.keypoints2d[..., 2].any(1)).sum())
        report = {"settings": self.identity, "measure": "silhouette", "tracks": tracks, "without_keypoints": without}
        return report if self._precision == "full" else {**report, "precision": self._precision}

    def __enter__(self) -> Refiner:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._pool.close()


def _other_clip(fit: Fit, frames: FitFrames, overlaps: NDArray[Any]) -> bool:
    """Return whether a camera's frames are probably not those of a clip's fit, from overlaps (C, N, 3)."""
    if fit.frame_count == 1:  # in groups, others may hide a third of the people
        return False
    detected = fit.keypoints2d[..., 2].any(1) & ~fit.interpolated
    rows = [camera.rows[detected[camera.rows]] for camera in cameras_of(fit, frames)]
    best = overlaps[..., [0, 2]].max(-1)  # another program's body may be far off until it is moved
    return any(acceptance.shows_other_clip(values[shown]) for values, shown in zip(best, rows, strict=True))


def _texture_rows(fit: Fit) -> NDArray[np.bool_]:
    """Choose the rows (N,) for textures, spread over the frames of each track."""
    selection = np.zeros(len(fit), bool)
    for track in fit.tracks:
        rows = fit.rows_of(track)
        positions = np.linspace(0, len(rows) - 1, min(_TEXTURE_FRAMES, len(rows))).round().astype(int)
        selection[rows[positions]] = True
    return selection


def _anchor_noise(fit: Fit, rig: LandmarkRig, first: int, options: RefineOptions) -> AnchorNoise:
    """Estimate the noise of the fit's rows by its keypoints, which are the rig's landmarks from `first` on."""
    state = fit_state(fit)
    if not options.weights.anchor:
        free = torch.full((len(fit), len(SMPL24)), torch.inf, dtype=torch.float64)
        return AnchorNoise(free, free[:, 0], torch.full_like(free[:, 0], SHAPE_NOISE))
    pulls = keypoint_pulls(fit, rig, first, _LANDMARK_NOISE if options.with_keypoints else np.inf)
    visible = torch.from_numpy(pulls.weights[:, first:] > 0).double()
    landmarks = slice(first, rig.landmark_count)
    pulls.counts[:, landmarks] = independent_counts(rig, landmarks, visible, _LANDMARK_CORRELATION)
    landmark_rig = rig.select(torch.arange(first, rig.landmark_count))
    noise = AnchorNoise(*(torch.zeros(len(fit), *shape, dtype=torch.float64) for shape in ((len(SMPL24),), (), ())))
    scales = torch.from_numpy(fit.segment_scales).double()
    is_measured = fit.options.method in _MEASURED_METHODS
    for track in fit.tracks:
        track_rows = fit.rows_of(track)
        for rows in np.split(track_rows, range(_ANCHOR_ROWS, len(track_rows), _ANCHOR_ROWS)):
            part = Pulls(*(values[rows, first:] for values in pulls))
            keypoints = _targets(np.eye(4), fit, fit.frame_index[rows], part)
            row_noise = anchor_noise(landmark_rig, state.rows(rows), scales[rows], keypoints, measured=is_measured)
            for all_values, values in zip(noise, row_noise, strict=True):
                all_values[rows] = values
        noise.shape[track_rows] = noise.shape[track_rows].mean()
    return noise


def _motion(fit: Fit, rows: NDArray[np.integer], acceleration: float) -> ChainMotion:
    """Make the motion of one track's rows. Accelerations count in consecutive frames of one shot."""
    frames = fit.frame_index[rows].astype(np.int64)
    shots = fit.shot_id[frames]
    follow = torch.from_numpy((frames[2:] - frames[:-2] == 2) & (shots[2:] == shots[:-2]))
    bend = second_differences(torch.from_numpy(fit.seconds(DEFAULT_FRAME_RATE)[frames]))
    to_camera = torch.from_numpy(fit.world_to_camera[frames]).double()
    return joint_motion(to_camera, bend.where(follow[:, None], 0.0), acceleration)


def _evidence(
    fit: Fit, rows: NDArray[np.integer], all_pulls: Sequence[tuple[CameraFit, Pulls]], noise: AnchorNoise
) -> AlignmentEvidence:
    """Gather the evidence of one track's rows with the pulls of each camera."""
    frames = fit.frame_index[rows].astype(np.int64)
    anchor = fit_state(fit.select(rows))
    cameras = []
    for camera, camera_pulls in all_pulls:
        # A camera of a take has one lens, and may have fewer frames than the fit.
        lens_rows = frames.clip(max=camera.fit.frame_count - 1)
        pulls = Pulls(*(values[rows] for values in of_all_rows(camera_pulls, camera.rows, len(fit))))
        cameras.append(_targets(camera.to_camera, camera.fit, lens_rows, pulls))
    return AlignmentEvidence(
        cameras=tuple(cameras),
        rotations=anchor.rotations,
        joints=torch.from_numpy(fit.joints3d[rows]).double(),
        betas=anchor.betas,
        rotation_noise=noise.rotation[rows],
        root_noise=noise.root[rows],
        shape_noise=noise.shape[rows],
        segment_scales=torch.from_numpy(fit.segment_scales[rows]).double(),
    )


def _targets(to_camera: NDArray[np.float64], fit: Fit, frames: NDArray[np.integer], pulls: Pulls) -> CameraTargets:
    """Return what pulls rows in some frames of a camera."""
    lens = fit.focal[frames], fit.principal_point[frames]
    values = (to_camera[:3, :3], to_camera[:3, 3], *lens, *pulls)
    return CameraTargets(*(torch.from_numpy(each).double() for each in values))


def _with_bodies(fit: Fit, body: Body, state: FitState) -> Fit:
    """Return the fit with the bodies of a state."""
    betas = state.betas.float()
    trans = body.translation_of_root(state.root.float(), betas)
    scales = torch.from_numpy(fit.segment_scales)
    columns, error = body_columns(fit, body, state.rotations, betas, trans, scales)
    # The error is the median over confident keypoints, else over all; without any, it does not change.
    confidence = fit.keypoints2d[..., 2]
    reliable = confidence > np.where((confidence > 0.5).any(1, keepdims=True), 0.5, 0)
    rows = reliable.any(1)
    median = fit.reprojection_error.copy()
    median[rows] = np.nanmedian(np.where(reliable, error, np.nan)[rows], axis=1)
    return with_view_errors(replace(fit, **columns, reprojection_error=median), body)


def _mixed(fit: Fit, moved_fit: Fit, body: Body, share: NDArray[Any]) -> Fit:
    """Mix the bodies of two fits by a share (N,), with one shape per track. 0 is the first fit, 1 the second."""
    if not (share > 0).any():
        return fit
    first, second = fit_state(fit), fit_state(moved_fit)
    betas = first.betas.clone()
    for track in fit.tracks:
        rows = fit.rows_of(track)
        betas[rows] = torch.lerp(first.betas[rows], second.betas[rows], float(share[rows].mean()))
    return _with_bodies(fit, body, first.towards(second, torch.from_numpy(share))._replace(betas=betas))
