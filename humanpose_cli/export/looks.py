"""How the people of a fit look: their textures, and what clothes, shoes and hair add to their bodies.

People whose frames are at hand are dressed as `hpc repose` draws those of a photograph, but at rest and under usual
light: by one frame, with the colours of several (`avatar.many_frames`). Others have the texture that was given or lies
beside the fit, on the body itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.frame_texture import read_texture, texture_path
from humanpose_cli.avatar.loose import LooseCloth
from humanpose_cli.avatar.many_frames import dress_over_frames
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import Aligned, Completed, align
from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import HpcError, UsageError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.detect.models import ModelPool, PoseModels, default_threads
from humanpose_cli.fitting.people import detections_of_rows
from humanpose_cli.fitting.result import Fit
from humanpose_cli.refining.cameras import cameras_of
from humanpose_cli.refining.frames import AnyFrames, FitFrames, frames_of_fit
from humanpose_cli.refining.refiner import TEXELS
from humanpose_cli.refining.sightings import Sighting, sharpest_frames, sightings
from humanpose_cli.refining.steps import read_textures
from humanpose_cli.rendering.html_page import reduced
from humanpose_cli.reposing.scene import ReposeOptions, ReposingScene

Array = NDArray[Any]

_TEXELS = 1024  # of a texture at most, along each side
_FRAMES, _SIGHTINGS = 8, 64  # that a person's texture is made of at most, and those of all people together
_DRESSED = ReposeOptions(background="transparent", mesh=MeshOptions(max_texture_size=_TEXELS))


@dataclass(frozen=True, eq=False)
class Sheet:
    """Cloth or hair beside a body, which moves with its bones.

    rest   (N, 3) metres, beside the resting body; faces (M, 3)
    bones  (N, 4) rows of smpl24; weights (N, 4), whose rows sum to 1
    uv     (N, 2) in 0…1, v down; image (h, w, 3) uint8
    """

    rest: Array
    faces: Array
    bones: Array
    weights: Array
    uv: Array
    image: NDArray[np.uint8]

    @classmethod
    def of(cls, cloth: LooseCloth) -> Sheet:
        """Take the four strongest bones of each point."""
        weights = cloth.weights.double().cpu().numpy()
        bones = np.argsort(-weights, axis=1, kind="stable")[:, :4]
        weights = np.take_along_axis(weights, bones, 1)
        # The part of the photograph that the sheet shows.
        size, uv = np.array(cloth.image.shape[1::-1]), cloth.uv.double().cpu().numpy()
        low, high = np.floor(uv.min(0) * size).astype(int), np.ceil(uv.max(0) * size).astype(int)
        part = np.ascontiguousarray(cloth.image[low[1] : high[1], low[0] : high[0]])
        return cls(
            cloth.rest.double().cpu().numpy(),
            cloth.faces.cpu().numpy().astype(np.int64),
            bones,
            weights / weights.sum(1, keepdims=True),
            (uv * size - low) / (high - low),
            reduced(_eight_bit(part), _TEXELS),
        )


@dataclass(frozen=True, eq=False)
class Look:
    """What is drawn of one person in place of a body in one colour.

    texture  (H, W, 3 or 4) uint8, v down
    offsets  (V, 3) metres: what clothes, shoes and hair add to the resting body; None for nothing
    sheets   of cloth and hair beside the body
    """

    texture: NDArray[np.uint8]
    offsets: Array | None = None
    sheets: tuple[Sheet, ...] = ()

    @classmethod
    def of(cls, avatar: Completed, segment_scales: Array | None) -> Look:
        """Take a dressed person at rest, whose fit has these sizes of bones (24,)."""
        loose = avatar.dressed.loose
        sheets = () if loose is None or not len(loose.faces) else (Sheet.of(loose),)
        return cls(
            _eight_bit(avatar.texture.image[..., :3]), resting_offsets(avatar.dressed.body, segment_scales), sheets
        )


Textures: TypeAlias = Mapping[int, NDArray[np.uint8]] | Mapping[int, Look] | str | Path | None
"""Textures of tracks, (H, W, 3 or 4) uint8, v down, or their looks; "frames": made from the frames; "none"; a file or
folder as `refining.steps.read_textures` takes them; None: "frames" if they are at hand, else the fit's textures, or
those beside the file that it was read from."""


@torch.no_grad()
def resting_offsets(avatar_body: DressedBody, segment_scales: Array | None) -> Array:
    """Compute what clothes, shoes, hair and the size of the head add to the resting body, (V, 3) metres.

    Skinned by the bones of the fit, whose sizes are `segment_scales` (24,) or 1, the body with these offsets is where
    `DressedBody.pose` has it.
    """
    body, rest = avatar_body.body, avatar_body.body.rest(avatar_body.betas)
    scales = torch.ones(len(SMPL24)) if avatar_body.segment_scales is None else avatar_body.segment_scales
    bones, weights = body.bone_indices.long(), body.bone_weights
    usual = torch.ones_like(scales) if segment_scales is None else torch.from_numpy(segment_scales).to(scales)
    larger = (scales / usual)[bones] * weights  # (V, K): only the head's differ from the weights
    # Displacements have one length at all scales, which the bones multiply them by.
    offsets = (avatar_body.displacements / (usual[bones] * weights).sum(1))[:, None] * avatar_body.rest_directions
    if avatar_body.offsets is not None:
        offsets = offsets + larger.sum(1, keepdim=True) * avatar_body.offsets
    away = rest.vertices[0][:, None] - rest.joints[0][bones]  # (V, K, 3)
    return (offsets + ((larger - weights)[..., None] * away).sum(1)).double().cpu().numpy()


def _eight_bit(image: Array) -> NDArray[np.uint8]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def is_photograph(fit: Fit) -> bool:
    """Return whether a fit is of one image of one camera."""
    return fit.views is None and fit.frame_count == 1


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

    textures  see `Textures`
    frames    as of `available_frames`
    everyone  the fit with people who are not in `fit`, and may hide parts of those who are

    Raises UsageError if textures are not images, or there are no frames to make them from.
    """
    if textures == "none":
        return {}
    everyone = with_sources(everyone or fit, frames)
    has_frames = frames is not None and (everyone.views is None or len(everyone.sources) > 0)
    if textures == "frames" and not has_frames:
        raise UsageError("texture", "cannot be made of frames that are not given", remedy="name them with `frames`")
    if frames is not None and has_frames and (textures is None or textures == "frames"):
        return _dressed(everyone, fit.tracks, frames, progress)
    if isinstance(textures, str | Path):
        return _looks(read_textures(Path(textures), fit))
    if textures is not None or fit.textures or fit.path is None:
        return _looks(fit.textures if textures is None else textures)
    beside = {track: texture_path(fit.path, track) for track in fit.tracks}
    files = {track: path for track, path in beside.items() if os.path.isfile(path)}  # a name may be too long
    if not files:
        return {}
    body = fit.body_model()
    surface = TexelMap(body.uv, body.uv_faces, TEXELS).covered
    return _looks({track: read_texture(path, surface, body.name) for track, path in files.items()})


def _dressed(fit: Fit, tracks: list[int], frames: FitFrames, progress: Progress) -> dict[int, Look]:
    """Dress people by the frames that show them best."""
    body, cameras, mesh = fit.body_model(), cameras_of(fit, frames), _DRESSED.mesh
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
                alignments[sighting], scales[sighting] = align(person, body, mesh), person.fit.segment_scales
    looks = {}
    for done, (track, of_track) in enumerate(by_track.items(), 1):
        visible = [sighting for sighting in of_track if sighting in alignments]
        if visible:
            avatar = dress_over_frames([alignments[sighting] for sighting in visible], mesh)
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
