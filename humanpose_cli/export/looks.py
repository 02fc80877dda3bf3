"""Looks of the people of a fit: their textures, and what clothes, shoes and hair add to their bodies.

People whose frames are at hand are dressed as `hpc repose` draws those of a photograph, but at rest and under usual
light: by one frame, with the colours of several (`avatar.stages.dress_over_frames`). Others have the texture that was
given or lies beside the fit, on the body itself.
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
from humanpose_cli.core.errors import HpcError, UsageError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.fitting.people import detections_of_rows
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import only_fit
from humanpose_cli.refining.frames import AnyFrames, FitFrames, cameras_of, frames_of_fit
from humanpose_cli.refining.refiner import TEXELS
from humanpose_cli.refining.sightings import Sighting, sharpest_frames, sightings
from humanpose_cli.refining.steps import read_textures
from humanpose_cli.reposing.scene import ReposeOptions, ReposingScene

Array = NDArray[Any]

_FRAMES, _SIGHTINGS = 8, 64  # that a person's texture is made of at most, and those of all people together
_DRESSED = ReposeOptions(background="transparent", mesh=MeshOptions(max_texture_size=MAX_TEXELS))


Textures: TypeAlias = Mapping[int, NDArray[np.uint8]] | Mapping[int, Look] | str | Path | None
"""Textures of tracks, (H, W, 3 or 4) uint8, v down, or their looks; "frames": made from the frames; "none"; a file or
folder as `refining.steps.read_textures` takes them; None: the fit's looks or those beside its file, else "frames" if
they are at hand, else the fit's textures or those beside its file."""


@dataclass(frozen=True)
class Dressing:
    """The step that makes the looks of a fit's people from its frames; `Fit.save` writes them."""

    @property
    def identity(self) -> dict[str, Any]:
        """No options: fits and their frames decide the results."""
        return {}

    def outputs(self, output: Path, tracks: Sequence[int] = ()) -> tuple[Path, ...]:
        """Return no file: those of looks belong to the fit."""
        return ()

    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Return the fit with the looks of its people."""
        fit = only_fit(fits)
        frames = available_frames(fit)
        if frames is None:
            return fit
        as_read = replace(fit, detections=())  # so that looks are those that are made of the fit file
        return replace(fit, looks=looks_of_fit(as_read, "frames", frames, progress))


def is_photograph(fit: Fit) -> bool:
    """Return whether a fit is of one image of one camera."""
    return len(fit.cameras) == fit.frame_count == 1


def available_frames(fit: Fit, frames: AnyFrames = None) -> FitFrames | None:
    """Return the given frames, else those that the fit knows or its file names; None if they are not at hand.

    Raises InputError if frames of the fit are missing among the given ones.
    """
    if isinstance(frames, FitFrames):
        return frames
    if frames is not None:
        return FitFrames.of(fit, frames)
    if fit.images is not None:
        return FitFrames(fit, fit.images, in_order=True)
    if fit.frame_files:
        with suppress(HpcError):  # they are gone, or others have their names
            named = frames_of_fit(fit, None)[1]
            return named if named.fit.frame_count == fit.frame_count else None
    return None


def with_sources(fit: Fit, frames: FitFrames | None) -> Fit:
    """Let a take read the frames of all its cameras, if these name them."""
    sources = frames.fit.sources if frames is not None and isinstance(frames.fit, Fit) else ()
    return replace(fit, sources=fit.sources or sources)


def looks_of_fit(
    fit: Fit,
    textures: Textures = None,
    frames: FitFrames | None = None,
    progress: Progress = no_progress,
    *,
    everyone: Fit | None = None,
) -> Mapping[int, Look]:
    """Read or make the looks of a fit's tracks; tracks without one have the colours of overlays.

    Raises UsageError if textures are not images, or there are no frames to make them from.

    Args:
        textures: See `Textures`.
        frames: As of `available_frames`.
        everyone: The fit with people who are not in `fit`, and may hide parts of those who are.
    """
    if textures == "none":
        return {}
    everyone = with_sources(everyone or fit, frames)
    has_frames = frames is not None and len(everyone.sources or (frames,)) == len(everyone.cameras)
    if textures == "frames" and not has_frames:
        raise UsageError("texture", "cannot be made of frames that are not given", remedy="name them with `frames`")
    looks = {**_stored_looks(fit), **fit.looks} if textures is None else {}
    if looks and looks.keys() >= set(fit.tracks):
        return looks
    if frames is not None and has_frames and (textures is None or textures == "frames"):
        return _dressed(everyone, fit.tracks, frames, progress)
    if isinstance(textures, str | Path):
        return _looks(read_textures(Path(textures), fit))
    if textures is not None or fit.textures or fit.path is None:
        return {**_looks(fit.textures if textures is None else textures), **looks}
    beside = {track: texture_path(fit.path, track) for track in fit.tracks}
    files = {track: path for track, path in beside.items() if os.path.isfile(path)}  # a name may be too long
    if not files:
        return looks
    body = fit.body_model()
    surface = TexelMap(body.uv, body.uv_faces, TEXELS).covered
    return {**_looks({track: read_texture(path, surface, body.name) for track, path in files.items()}), **looks}


def _stored_looks(fit: Fit) -> dict[int, Look]:
    """Read the looks beside a fit's file that are of its rows."""
    if fit.path is None:
        return {}
    paths = {track: look_path(fit.path, track) for track in fit.tracks}
    files = {track: path for track, path in paths.items() if os.path.isfile(path)}
    looks = {track: read_look(path, fit.body_model(), fit.rows_digest(track)) for track, path in files.items()}
    return {track: look for track, look in looks.items() if look is not None}


def _dressed(fit: Fit, tracks: list[int], frames: FitFrames, progress: Progress) -> dict[int, Look]:
    """Dress people by the frames that show them best."""
    body, cameras = fit.body_model(), cameras_of(fit, frames)
    count = min(_FRAMES, max(1, _SIGHTINGS // max(len(tracks), 1)))
    by_track = {track: sightings(cameras, track, count) for track in tracks}
    # Only crops are kept: a crowd's masks and textures would not fit into memory.
    alignments: dict[Sighting, Aligned] = {}
    scales: dict[Sighting, Array | None] = {}
    reading = part_of(progress, 0, 0.5)
    every = [sighting for of_track in by_track.values() for sighting in of_track]
    with ModelPool(default_threads(), PoseModels) as pool:
        for sighting, row, pixels in sharpest_frames(cameras, every, reading):
            scene, number = _scene(cameras[sighting.camera].fit, row, pixels, body, pool)
            person = scene.photographed(number)
            if (person.mask >= 0.5).any():
                alignments[sighting], scales[sighting] = align(person, body), person.fit.segment_scales
    looks = {}
    for done, (track, of_track) in enumerate(by_track.items(), 1):
        visible = [sighting for sighting in of_track if sighting in alignments]
        if visible:
            avatar = dress_over_frames([alignments[sighting] for sighting in visible], _DRESSED.mesh)
            looks[track] = Look.of(avatar, scales[visible[0]])
        part_of(progress, 0.5, 1)(done, len(tracks), "people dressed")
    return looks


def _scene(fit: Fit, row: int, pixels: NDArray[np.uint8], body: Body, pool: ModelPool) -> tuple[ReposingScene, int]:
    """Find the people of a row's frame in its pixels; also return the row's number among them."""
    rows = fit.rows_for(int(fit.frame_index[row]))
    people = fit.select(rows)
    if not people.detections:
        detections = detections_of_rows(people, pixels, pool, alone=is_photograph(fit))
        people = replace(people, detections=tuple(detections))
    return ReposingScene(pixels, people, (), body, _DRESSED, None), int(np.flatnonzero(rows == row)[0])


def _looks(textures: Mapping[int, Any]) -> dict[int, Look]:
    """Check images. Raises UsageError for other arrays."""
    looks = {track: image if isinstance(image, Look) else Look(image) for track, image in textures.items()}
    for track, look in looks.items():
        shape, kind = np.shape(look.texture), getattr(look.texture, "dtype", type(look.texture).__name__)
        if kind != np.uint8 or len(shape) != 3 or shape[2] not in (3, 4):
            got = f"{shape} {kind} for person {track}"
            raise UsageError("textures", "are no images", expected="(H, W, 3 or 4) uint8", got=got)
    return looks
