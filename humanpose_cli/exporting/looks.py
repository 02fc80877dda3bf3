"""Looks of the people of a fit: textures, and the shapes of clothes, shoes and hair.

If frames are available, people are dressed as in `hpc repose`, but at rest and under usual light: by one frame, with
the colours of several (`avatar.stages.dress_over_frames`). Otherwise bodies have the given texture or the fit's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.frame_texture import read_texture, texture_path
from humanpose_cli.avatar.look import MAX_TEXELS, Look, look_path, read_look
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import Aligned, align, dress_over_frames
from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.blocks import made_in_threads
from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.fitting.painted_masks import PaintedMasks
from humanpose_cli.fitting.people import detections_of_rows
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import FitStep, only_fit
from humanpose_cli.refining.acceptance import OTHER_CLIP, overlap, shows_other_clip
from humanpose_cli.refining.frames import AnyFrames, FitFrames, cameras_of, frames_of_fit
from humanpose_cli.refining.keypoints import check_frames_show
from humanpose_cli.refining.refiner import TEXELS
from humanpose_cli.refining.sightings import Sighting, sharpest_frames, sightings
from humanpose_cli.refining.steps import read_textures
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.scene import ReposingScene

Array = NDArray[Any]

_FRAMES, _SIGHTINGS = 8, 64  # maximum for one person's texture, and for all people together
_DRESSED = ReposeOptions(background="transparent", mesh=MeshOptions(max_texture_size=MAX_TEXELS))


Textures: TypeAlias = Mapping[int, NDArray[np.uint8]] | Mapping[int, Look] | str | Path | None
"""(H, W, 3 or 4) uint8, v down, or looks by track; "frames" to make them from the frames; "none"; a file or folder for
`refining.steps.read_textures`. None uses the looks of the fit or its files, otherwise the frames if available,
otherwise the textures of the fit or its files."""


@dataclass(frozen=True)
class Dressing(FitStep):
    """A step that makes the looks of a fit's people from its frames; `Fit.save` writes them.

    Attributes:
        mask: The user's masks of people in a photograph.
    """

    mask: PaintedMasks | None = None

    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Return the fit with the looks of its people."""
        fit = only_fit(fits)
        frames = available_frames(fit)
        if frames is None or OTHER_CLIP in (fit.options.doubts or ()):
            return fit
        stored = replace(fit, detections=())  # for the same looks as from the fit file
        return replace(fit, looks=looks_of_fit(stored, "frames", frames, progress, mask=self.mask))


def is_photograph(fit: Fit) -> bool:
    """Return whether a fit has one frame and one camera."""
    return len(fit.cameras) == fit.frame_count == 1


def available_frames(fit: Fit, frames: AnyFrames = None) -> FitFrames | None:
    """Return the given frames, otherwise the frames of the fit or its file; None if they are not available.

    Raises InputError if given frames lack frames of the fit.
    """
    if isinstance(frames, FitFrames):
        return frames
    if frames is not None:
        return FitFrames.of(fit, frames)
    if fit.images is not None:
        return FitFrames(fit, fit.images, in_order=True)
    if fit.frame_files:
        with suppress(HpcError):  # they are missing or have been replaced
            named = frames_of_fit(fit, None)[1]
            return named if named.fit.frame_count == fit.frame_count else None
    return None


def with_sources(fit: Fit, frames: FitFrames | None) -> Fit:
    """Add the sources of the frames to a take, so that it can read the frames of all its cameras."""
    sources = frames.fit.sources if frames is not None and isinstance(frames.fit, Fit) else ()
    return replace(fit, sources=fit.sources or sources)


def looks_of_fit(
    fit: Fit,
    textures: Textures = None,
    frames: FitFrames | None = None,
    progress: Progress = no_progress,
    *,
    everyone: Fit | None = None,
    mask: PaintedMasks | None = None,
) -> Mapping[int, Look]:
    """Read or make the looks of a fit's tracks; tracks without a look have the colours of overlays.

    Args:
        fit: The fit.
        textures: See `Textures`.
        frames: The frames from `available_frames`.
        progress: The listener.
        everyone: The fit with further people, who may hide parts of the people in `fit`; None for no others.
        mask: The user's masks of people in a photograph.

    Returns:
        The looks by track.

    Raises:
        UsageError: If textures are not images, or if there are no frames to make them from.
    """
    if textures == "none":
        return {}
    everyone = with_sources(everyone or fit, frames)
    has_frames = frames is not None and len(everyone.sources or (frames,)) == len(everyone.cameras)
    if textures == "frames" and not has_frames:
        raise UsageError("texture", "cannot be made of frames that are not given", remedy="name them with `frames`")
    looks = stored_looks(fit) if textures is None else {}
    if looks and looks.keys() >= set(fit.tracks):
        return looks
    if frames is not None and has_frames and (textures is None or textures == "frames"):
        return _dressed(everyone, fit.tracks, frames, progress, mask)
    if isinstance(textures, str | Path):
        return _looks(read_textures(Path(textures), fit))
    if textures is not None or fit.textures or fit.path is None:
        return {**_looks(fit.textures if textures is None else textures), **looks}
    paths = {track: texture_path(fit.path, track) for track in fit.tracks}
    files = {track: path for track, path in paths.items() if os.path.isfile(path)}  # a name may be too long
    if not files:
        return looks
    body = fit.body_model()
    surface = TexelMap(body.uv, body.uv_faces, TEXELS).covered
    return {**_looks({track: read_texture(path, surface, body.name) for track, path in files.items()}), **looks}


def stored_looks(fit: Fit) -> dict[int, Look]:
    """Return the looks of a fit, or in its files if they match its rows."""
    paths = {} if fit.path is None else {track: look_path(fit.path, track) for track in fit.tracks}
    files = {track: path for track, path in paths.items() if os.path.isfile(path)}
    looks = {track: read_look(path, fit.body_model(), fit.rows_digest(track)) for track, path in files.items()}
    return {**{track: look for track, look in looks.items() if look is not None}, **fit.looks}


def _overlap(aligned: Aligned, body: Body) -> float:
    """Measure the overlap of an aligned body with the mask of its person."""
    face = rasterise_view(aligned.posed[None], body.faces, aligned.crop.view).face[0]
    return overlap(aligned.crop.mask, face.cpu().numpy() >= 0, aligned.crop.others)


def _dressed(
    fit: Fit, tracks: list[int], frames: FitFrames, progress: Progress, mask: PaintedMasks | None
) -> dict[int, Look]:
    """Make the looks of people from the frames that show them best."""
    body, cameras = fit.body_model(), cameras_of(fit, frames)
    count = min(_FRAMES, max(1, _SIGHTINGS // max(len(tracks), 1)))
    by_track = {track: sightings(cameras, track, count) for track in tracks}
    # Only crops stay in memory: a crowd's masks and textures would not fit.
    alignments: dict[Sighting, Aligned] = {}
    scales: dict[Sighting, Array | None] = {}
    overlaps = []
    may_differ = fit.path is not None and fit.frame_count > 1  # in groups, others may hide a third of the people
    candidates = [sighting for track_sightings in by_track.values() for sighting in track_sightings]
    with ModelPool(default_threads(), PoseModels) as pool:
        check_frames_show(cameras, pool)

        def photograph(frame: tuple[Sighting, int, NDArray[np.uint8]]) -> None:
            sighting, row, pixels = frame
            camera_fit = cameras[sighting.camera].fit
            rows = camera_fit.rows_for(int(camera_fit.frame_index[row]))
            scene = scene_of_rows(camera_fit, rows, pixels, body, pool, mask)
            place = int(np.flatnonzero(rows == row)[0])
            person = scene.photographed(place)
            if (person.mask >= 0.5).any():
                aligned = alignments[sighting] = align(person, body)
                scales[sighting] = person.fit.segment_scales
                if may_differ:
                    is_found = scene.record.detections[place].mask is not None
                    overlaps.append(_overlap(aligned, body) if is_found else np.nan)

        with made_in_threads(photograph, sharpest_frames(cameras, candidates, part_of(progress, 0, 0.5))) as ahead:
            list(ahead)
    if may_differ and shows_other_clip(np.array(overlaps)):
        names = ", ".join(item.label for camera in cameras for item in camera.frames.source.items)
        problem, remedy = "may be of another clip: people are elsewhere", "give the input that the fit was made from"
        raise InputError(names or "frames", problem, remedy=remedy)
    looks = {}
    for count, (track, track_sightings) in enumerate(by_track.items(), 1):
        visible = [sighting for sighting in track_sightings if sighting in alignments]
        if visible:
            avatar = dress_over_frames([alignments[sighting] for sighting in visible], _DRESSED.mesh)
            looks[track] = Look.of(avatar, scales[visible[0]])
        part_of(progress, 0.5, 1)(count, len(tracks), "people dressed")
    return looks


def scene_of_rows(
    fit: Fit,
    rows: NDArray[np.integer],
    pixels: NDArray[np.uint8],
    body: Body,
    pool: ModelPool,
    mask: PaintedMasks | None = None,
) -> ReposingScene:
    """Make the scene of some rows, all people of one frame (H, W, 3), in their order."""
    people = fit.select(rows)
    if not people.detections:
        detections = detections_of_rows(people, pixels, pool, alone=is_photograph(fit))
        if mask is not None:
            name = str(fit.frame_names[fit.frame_index[rows[0]]])
            detections = mask.applied(detections, name, pixels.shape[:2])
        people = replace(people, detections=tuple(detections))
    return ReposingScene(pixels, people, (), body, _DRESSED, None)


def _looks(textures: Mapping[int, Any]) -> dict[int, Look]:
    """Convert images to looks. Raises UsageError for other arrays."""
    looks = {track: image if isinstance(image, Look) else Look(image) for track, image in textures.items()}
    for track, look in looks.items():
        shape, kind = np.shape(look.texture), getattr(look.texture, "dtype", type(look.texture).__name__)
        if kind != np.uint8 or len(shape) != 3 or shape[2] not in (3, 4):
            got = f"{shape} {kind} for person {track}"
            raise UsageError("textures", "are no images", expected="(H, W, 3 or 4) uint8", got=got)
    return looks
