"""Fits aligned to the pixels of their frames (Wehrbein et al. 2023, Personalized 3D Human Pose and Shape Refinement).

with Refiner() as refiner:
    refined = refiner.refine(fit, "clip.mp4")

Frames are read again in passes and never kept: one for the textures, one a round to compare the rendering with the
photograph, after which every track is solved, and one to decide what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.frame_texture import TextureSamples
from humanpose_cli.avatar.person_view import PersonView, bake_view, person_views, photo_tensor
from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.device import ComputeOptions, Precision, resolve_device
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.options import explained
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.fitting.keypoints import one_thread_each
from humanpose_cli.fitting.landmark_rig import LandmarkRig
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, body_vertices
from humanpose_cli.fitting.residuals import FitState
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.sequences import second_differences
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.digests import digest_of
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.models.refiner.network import DisplacementPredictor
from humanpose_cli.networks.precision import precision_label
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.refining.acceptance import accepted_share, masks_of_rows, overlap, overlap_at
from humanpose_cli.refining.correspondences import (
    ChartedPoints,
    Correspondence,
    FlowCorrespondence,
    NetworkCorrespondence,
    SurfacePoints,
)
from humanpose_cli.refining.frames import AnyFrames, FitFrames, frames_of_fit
from humanpose_cli.refining.keypoints import detected_keypoints
from humanpose_cli.refining.options import CorrespondenceKind, RefineOptions
from humanpose_cli.refining.problem import (
    AlignmentEvidence,
    AlignmentProblem,
    alignment_rig,
    anchor_misfit,
    hold_share,
)
from humanpose_cli.rendering.body_maps import BODY_FILL, render_bodies

TEXELS = 512  # of a person's texture, along each side
_SHIPPED = "refiner"  # the displacement network's name among the package's weights
_TOGETHER, _TOGETHER_ON_GPU = 8, 64  # people whom the network compares at once
_FULL = 12.0  # summed confidence of a surface point's pixels from which it counts fully


def check_surface(kind: CorrespondenceKind, *, given: bool) -> None:
    """UsageError where DensePose's output is missing or of no use."""
    if kind == "densepose" and not given:
        raise UsageError("densepose", "is missing", expected="DensePose's output on the frames")
    if given and kind != "densepose":
        raise UsageError("densepose", "is of no use", got=f"correspondence {kind}", remedy="densepose")


class _Seen(NamedTuple):
    """A frame with people in it: its rows in the fit, their surfaces (P, V, 3) and crops, and its pixels."""

    rows: NDArray[np.integer]
    vertices: Tensor
    views: list[PersonView]
    pixels: NDArray[np.uint8]


class _Pulls(NamedTuple):
    """Where points of the alignment rig are pulled to: pixels (N, M, 2) of the frame, weights (N, M) = 1 / σ."""

    pixels: NDArray[np.float32]
    weights: NDArray[np.float32]


@explained(ComputeOptions)
class Refiner:
    """Refines fits; loads its models once; a context manager.

    options  all of `RefineOptions`
    weights  of the displacement network: a file, a run of `hpc train refiner`; "": the shipped one
    surface  which pixels show which vertices of the fits' body, for 'densepose'

    `batch_size` counts people, of one frame or several, that the displacement network compares at once, by default 64
    on a GPU and 8 on the CPU; flow compares them one by one.
    UsageError for weights or a surface that nothing would look at, and without the surface that is needed.
    """

    def __init__(
        self,
        options: RefineOptions | None = None,
        *,
        weights: str | Path = "",
        surface: ChartedPoints | None = None,
        threads: int | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | None = None,
    ) -> None:
        options = options or RefineOptions()
        kind = options.correspondence
        if kind == "auto":
            kind = "densepose" if surface is not None else "network" if weights else "flow"
        check_surface(kind, given=surface is not None)
        if weights and kind != "network":
            raise UsageError("weights", "are of no use", got=f"correspondence {kind}", remedy="network")
        self.options = replace(options, correspondence=kind)
        self._correspondence: Correspondence | None = None
        self._weights: str | None = None
        self._precision: Precision = "full"
        self._surface, self._together = surface, 1
        if kind == "flow":
            self._correspondence = FlowCorrespondence()
        elif kind == "network":
            path = find_weights(weights or _SHIPPED)
            self._weights = digest_of(path)[:16] + precision_label(precision)
            on = resolve_device(device)
            network = DisplacementPredictor.load(path, on, precision)
            self._correspondence, self._precision = NetworkCorrespondence(network), network.precision
            self._together = batch_size or (_TOGETHER if on == "cpu" else _TOGETHER_ON_GPU)
        self._pool = ModelPool(threads or default_threads(), partial(PoseModels, device))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its results beside fit and frames, as JSON values."""
        return {**asdict(self.options), **({"network": self._weights} if self._weights else {})}

    @property
    def needs_textures(self) -> bool:
        """Whether the photographs are compared with textured renderings."""
        return self.options.correspondence in ("flow", "network")

    def textures(
        self, fit: Fit, frames: FitFrames, *, body: Body | None = None, progress: Progress = no_progress
    ) -> dict[int, NDArray[np.uint8]]:
        """The texture of every track, (512, 512, 4) uint8: colours and how far they are known."""
        body = fit.body_model(body)
        texels = TexelMap(body.uv, body.uv_faces, TEXELS)
        chosen = _texture_rows(fit, self.options.texture_frames)
        samples = {track: TextureSamples(TEXELS) for track in fit.tracks}
        for seen in self._people(fit, frames, body, progress, "frames for textures", chosen):
            for row, vertices, view, mask in zip(
                seen.rows, seen.vertices, seen.views, self._masks(fit, seen), strict=True
            ):
                if chosen[row]:
                    samples[int(fit.track_id[row])].add(bake_view(view, body, vertices, mask, texels))
        return {track: taken.texture(texels.covered) for track, taken in samples.items()}

    def refine(
        self,
        fit: Fit,
        frames: AnyFrames = None,
        *,
        body: Body | None = None,
        textures: Mapping[int, NDArray[np.uint8]] | None = None,
        progress: Progress = no_progress,
    ) -> Fit:
        """The fit with every person moved onto the pixels where that aligns better; `options` say what was accepted.

        frames    those of the fit, see `AnyFrames`
        body      of the fit, where it came from a file
        textures  as `textures` gives them; None: made from the frames

        A fit without keypoints, as other programs' are, gets those of the landmark model around its joints.
        """
        return self.compared(*frames_of_fit(fit, frames), body=body, textures=textures, progress=progress)[1]

    def compared(
        self,
        fit: Fit,
        frames: FitFrames,
        *,
        body: Body | None = None,
        textures: Mapping[int, NDArray[np.uint8]] | None = None,
        progress: Progress = no_progress,
    ) -> tuple[Fit, Fit]:
        """All bodies moved, and what `refine` keeps of that."""
        if not len(fit):
            return fit, fit
        body = fit.body_model(body)
        if not fit.keypoints2d[..., 2].any():
            fit = replace(fit, keypoints2d=detected_keypoints(fit, frames, self._pool, progress))
            fit = _with_bodies(fit, body, *_state(fit)[:3])
        if textures is None and self.needs_textures:
            textures = self.textures(fit, frames, body=body, progress=progress)
        surface = SurfacePoints(body, self.options.points)
        rig = alignment_rig(body, surface.landmarks)
        moved = fit
        for number in range(self.options.rounds):
            what = f"frames of round {number + 1}"
            pulls = self._compare(moved, frames, body, surface, rig, textures or {}, progress, what)
            moved = self._solved(fit, moved, body, rig, pulls)
        return moved, self._kept(fit, moved, frames, body, progress)

    def _people(
        self,
        fit: Fit,
        frames: FitFrames,
        body: Body,
        progress: Progress,
        what: str,
        wanted: NDArray[np.bool_] | None = None,
    ) -> Iterator[_Seen]:
        """The frames with people, one after the other.

        wanted  (N,) rows; frames without any of them are left out
        """
        with closing(frames.read()) as reading:
            for done, (frame, pixels) in enumerate(reading, 1):
                rows = fit.rows_for(frame)
                if len(rows) and (wanted is None or wanted[rows].any()):
                    vertices = body_vertices(body, fit, rows)
                    views = person_views(pixels, vertices, body.faces, fit.camera(frame), self.options.size)
                    yield _Seen(rows, vertices, views, pixels)
                progress(done, fit.frame_count, what)

    def _masks(self, fit: Fit, seen: _Seen) -> list[NDArray[np.float32] | None]:
        """Each person's mask in their crop."""
        masks = masks_of_rows(fit, seen.rows, seen.pixels, self._pool)
        return [
            None if mask is None else mask.in_view(view.crop.affine, view.crop.size)
            for mask, view in zip(masks, seen.views, strict=True)
        ]

    def _compare(
        self,
        fit: Fit,
        frames: FitFrames,
        body: Body,
        surface: SurfacePoints,
        rig: LandmarkRig,
        textures: Mapping[int, NDArray[np.uint8]],
        progress: Progress,
        what: str,
    ) -> _Pulls:
        """Where the photographs have the points of the rig."""
        count, points = len(fit), rig.landmark_count
        pulls = _Pulls(np.zeros((count, points, 2), np.float32), np.zeros((count, points), np.float32))
        noise = self.options.weights.pixel_noise * self.options.size / 256
        _pull_to_keypoints(fit, surface, pulls, self.options.weights.keypoint_noise)
        if self._surface is not None:
            _pull_to_vertices(fit, body, self._surface, surface, rig, pulls, self.options.weights.pixel_noise)
        if self._correspondence is None:
            return pulls
        for seen in _together(self._people(fit, frames, body, progress, what), self._together):
            shown = [textures[int(fit.track_id[row])] for row in seen.rows]
            cameras = [view.camera for view in seen.views]
            rendering = render_bodies(body, seen.vertices, cameras, self.options.size, shown)
            found = self._correspondence(rendering, photo_tensor(seen.views))
            hidden = torch.from_numpy(np.stack([view.hidden for view in seen.views]))
            found = found._replace(confidence=found.confidence.masked_fill(hidden[:, None], 0))
            shift, confidence = surface.displacements(rendering, found)
            state = _state(fit.select(seen.rows))
            drawn = rig.pose(state.rotations, state.root, state.betas).points[:, : len(surface)]
            for i, (row, view) in enumerate(zip(seen.rows, seen.views, strict=True)):
                camera, scale = fit.camera(int(fit.frame_index[row])), view.crop.scale
                pulls.pixels[row, : len(surface)] = camera.project(drawn[i]) + shift[i] / scale
                pulls.weights[row, : len(surface)] = (confidence[i] / _FULL).clamp(max=1).sqrt() * scale / noise
        return pulls

    def _solved(self, fit: Fit, start: Fit, body: Body, rig: LandmarkRig, pulls: _Pulls) -> Fit:
        """Every track solved; `fit` is the anchor, `start` where the solver begins."""
        state, prior = _state(start), self.options.prior == "pose"
        for track in fit.tracks:
            rows = fit.rows_of(track)
            evidence, weights = _evidence(fit, rows, pulls), self.options.weights
            hold = hold_share(anchor_misfit(rig, evidence), prior=prior)
            weights = replace(
                weights, rotation_noise=hold * weights.rotation_noise, shape_noise=hold * weights.shape_noise
            )
            problem = AlignmentProblem(rig, evidence, weights, prior=prior)
            with one_thread_each():
                solved = problem.solve_in_windows(FitState(*(values[rows] for values in state)))
            for values, found in zip(state, solved, strict=True):
                values[rows] = found
        return _with_bodies(fit, body, state.rotations, state.root, state.betas)

    def _kept(self, fit: Fit, moved: Fit, frames: FitFrames, body: Body, progress: Progress) -> Fit:
        """As much of the way to the moved bodies as aligns better."""
        half = _mixed(fit, moved, body, np.full(len(fit), 0.5))
        overlaps = np.full((len(fit), 3), np.nan)
        for seen in self._people(fit, frames, body, progress, "frames compared"):
            cameras = [view.camera for view in seen.views]
            ways = [seen.vertices, *(body_vertices(body, each, seen.rows) for each in (half, moved))]
            drawn = [render_bodies(body, each, cameras, self.options.size).mask[:, 0].numpy() for each in ways]
            for i, mask in enumerate(self._masks(fit, seen)):
                if mask is not None:
                    overlaps[seen.rows[i]] = [overlap(mask, each[i], seen.views[i].hidden) for each in drawn]
        share = np.zeros(len(fit))
        for track in fit.tracks:
            rows = fit.rows_of(track)
            share[rows] = accepted_share(fit.frame_index[rows], overlaps[rows])
        mixed = _mixed(fit, moved, body, share)
        return replace(mixed, options={**fit.options, "refinement": self._report(fit, share, overlaps)})

    def _report(self, fit: Fit, share: NDArray[Any], overlaps: NDArray[Any]) -> dict[str, Any]:
        """What a fit file says of its refinement."""

        def told(values: NDArray[Any]) -> list[float | None]:
            return [None if np.isnan(v) else round(float(v), 4) for v in values]

        tracks = {}
        for track in fit.tracks:
            rows = fit.rows_of(track)
            tracks[str(track)] = {
                "frames": fit.frame_index[rows].tolist(),
                "accepted": [round(float(s), 3) for s in share[rows]],
                "overlap_before": told(overlaps[rows, 0]),
                "overlap_after": told(overlap_at(overlaps[rows], share[rows])),
            }
        report = {"settings": self.identity, "measure": "silhouette", "tracks": tracks}
        return report if self._precision == "full" else {**report, "precision": self._precision}

    def __enter__(self) -> Refiner:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._pool.close()


def _together(people: Iterable[_Seen], count: int) -> Iterator[_Seen]:
    """Frames joined until they hold `count` people or more; pixels are those of the last one."""
    waiting: list[_Seen] = []

    def joined() -> _Seen:
        rows, vertices = np.concatenate([s.rows for s in waiting]), torch.cat([s.vertices for s in waiting])
        return _Seen(rows, vertices, [view for s in waiting for view in s.views], waiting[-1].pixels)

    for seen in people:
        waiting.append(seen)
        if sum(len(s.rows) for s in waiting) >= count:
            yield joined()
            waiting.clear()
    if waiting:
        yield joined()


def _texture_rows(fit: Fit, most: int) -> NDArray[np.bool_]:
    """(N,) the rows that textures are made from: of each track at most so many, spread over its frames."""
    chosen = np.zeros(len(fit), bool)
    for track in fit.tracks:
        rows = fit.rows_of(track)
        chosen[rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]] = True
    return chosen


def _state(fit: FitRecord) -> FitState:
    """The rows of a fit as the solver takes them."""
    rotations = axis_angle_to_matrix(torch.from_numpy(fit.poses).double().view(len(fit), -1, 3))
    root, betas = torch.from_numpy(fit.joints3d[:, 0]).double(), torch.from_numpy(fit.betas).double()
    return FitState(rotations, root, betas, torch.zeros(len(fit), 1, dtype=torch.float64))


def _pull_to_keypoints(fit: Fit, surface: SurfacePoints, pulls: _Pulls, noise: float) -> None:
    """Pulls the landmarks to the detector's keypoints, in place; `noise` in pixels of a crop of 256."""
    height = np.maximum(fit.boxes[:, 2:] - fit.boxes[:, :2], 1).max(1)
    sigma = noise * height / (BODY_FILL * 256)
    pulls.pixels[:, len(surface) :] = fit.keypoints2d[..., :2]
    pulls.weights[:, len(surface) :] = fit.keypoints2d[..., 2] / sigma[:, None]


def _pull_to_vertices(
    fit: Fit,
    body: Body,
    known: ChartedPoints,
    surface: SurfacePoints,
    rig: LandmarkRig,
    pulls: _Pulls,
    noise: float,
) -> None:
    """Pulls surface points as the pixels that show the vertices around them lie from these vertices, in place.

    noise  in pixels of a crop of 256. A pixel is of the person in whose box it lies, of several the one whose vertex is
    nearest for their size.
    """
    for frame in np.unique(fit.frame_index).tolist():
        rows, camera = fit.rows_for(frame), fit.camera(frame)
        width, height = fit.image_size[frame].tolist()
        pixels, vertices = known(str(fit.frame_names[frame]), (width, height))
        if not len(pixels):
            continue
        shift = pixels - camera.project(body_vertices(body, fit, rows)[:, vertices].double().numpy())  # (P, M, 2)
        boxes = fit.boxes[rows][:, None]
        size = np.maximum(boxes[..., 2:] - boxes[..., :2], 1).max(-1)
        inside = ((pixels >= boxes[..., :2]) & (pixels <= boxes[..., 2:])).all(-1)
        apart = np.where(inside, np.linalg.norm(shift, axis=-1) / size, np.inf)
        state = _state(fit.select(rows))
        drawn = camera.project(rig.pose(state.rotations, state.root, state.betas).points[:, : len(surface)].numpy())
        for i, row in enumerate(rows):
            own = inside[i] & (apart.argmin(0) == i)
            moved, found = surface.means(vertices[own], shift[i, own])
            pulls.pixels[row, : len(surface)] = drawn[i] + moved
            pulls.weights[row, : len(surface)] = found * BODY_FILL * 256 / (noise * size[i])


def _evidence(fit: Fit, rows: NDArray[np.integer], pulls: _Pulls) -> AlignmentEvidence:
    frames = fit.frame_index[rows].astype(np.int64)
    first = np.arange(max(len(rows) - 2, 0))
    shots = fit.shot_id[frames]
    follow = (frames[first + 2] - frames[first] == 2) & (shots[first + 2] == shots[first])
    triples = torch.from_numpy(first[follow])[:, None] + torch.arange(3)
    bend = second_differences(torch.from_numpy(fit.seconds(DEFAULT_FRAME_RATE)[frames]))[torch.from_numpy(follow)]
    anchor = _state(fit.select(rows))

    def tensor(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).double()

    return AlignmentEvidence(
        pixels=tensor(pulls.pixels[rows]),
        weights=tensor(pulls.weights[rows]),
        focal=tensor(fit.focal[frames]),
        centre=tensor(fit.principal_point[frames]),
        rotations=anchor.rotations,
        joints=tensor(fit.joints3d[rows]),
        betas=anchor.betas,
        triples=triples,
        bend=bend,
    )


def _with_bodies(fit: Fit, body: Body, rotations: Tensor, root: Tensor, betas: Tensor) -> Fit:
    """The fit with other bodies: rotations (N, 24, 3, 3), pelvises (N, 3) and betas (N, S)."""
    rest = body.rest_joints(betas.float())[:, SMPL24.index("pelvis")]
    trans = root.float() - rest
    posed = body.pose(rotations.float(), betas.float(), trans, torch.from_numpy(fit.segment_scales), vertices=False)
    joints = posed.joints.numpy()
    frames = fit.frame_index
    landmarks = body.pose_landmarks(BLAZEPOSE33.name, posed, betas.float()).numpy()
    cameras = Camera(fit.focal[frames], fit.principal_point[frames])
    error = np.linalg.norm(cameras.project(landmarks) - fit.keypoints2d[..., :2], axis=-1)
    confidence = fit.keypoints2d[..., 2]
    confident = confidence > np.where((confidence > 0.5).any(1, keepdims=True), 0.5, 0)
    known = confident.any(1)
    median = fit.reprojection_error.copy()
    median[known] = np.nanmedian(np.where(confident, error, np.nan)[known], axis=1)
    return replace(
        fit,
        poses=matrix_to_axis_angle(rotations).flatten(1).float().numpy(),
        betas=betas.float().numpy(),
        trans=trans.numpy(),
        joints3d=joints,
        joints2d=cameras.project(joints).astype(np.float32),
        reprojection_error=median,
    )


def _mixed(fit: Fit, moved: Fit, body: Body, share: NDArray[Any]) -> Fit:
    """Bodies between two fits: share (N,) 0 is the first, 1 the second. One shape a track."""
    if not (share > 0).any():
        return fit
    own, other = _state(fit), _state(moved)
    part = torch.from_numpy(share)[:, None]
    turn = matrix_to_axis_angle(own.rotations.mT @ other.rotations)
    rotations = own.rotations @ axis_angle_to_matrix(turn * part[..., None])
    betas = own.betas.clone()
    for track in fit.tracks:
        rows = fit.rows_of(track)
        betas[rows] = torch.lerp(own.betas[rows], other.betas[rows], float(share[rows].mean()))
    return _with_bodies(fit, body, rotations, torch.lerp(own.root, other.root, part), betas)
