"""Export of fits to the formats of other programs, and the names of the files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.avatar.frame_texture import read_texture, texture_path
from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.export.blender import SCRIPT_SUFFIX, blender_script
from humanpose_cli.export.bvh import write_bvh
from humanpose_cli.export.gltf import glb_bytes
from humanpose_cli.export.meshes import frame_surfaces, materials_text, obj_text, write_ply
from humanpose_cli.export.motion import CameraPath, PersonMotion, person_motion
from humanpose_cli.export.usd import write_usd
from humanpose_cli.fitting.grounding import on_the_ground
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.result import Fit, fit_of
from humanpose_cli.io.atomic import (
    atomic_path,
    removed_on_failure,
    write_json,
    write_npz,
    write_together,
)
from humanpose_cli.io.images import encode_image
from humanpose_cli.io.inputs import escaped
from humanpose_cli.io.output_names import FIT_SUFFIX
from humanpose_cli.refining.frames import AnyFrames, FitFrames
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.refiner import TEXELS, Refiner
from humanpose_cli.refining.steps import read_textures

World = Literal["camera", "ground"]
"""The world that positions are in."""

Textures: TypeAlias = Mapping[int, NDArray[np.uint8]] | str | Path | None
"""Textures of tracks, (H, W, 3 or 4) uint8, v down; "frames": made from the frames; a file or folder as
`refining.steps.read_textures` takes them; None: the fit's own, or those beside the file that it was read from."""


@dataclass(frozen=True, eq=False)
class Export:
    """The parts of a fit to be written.

    fit       with a frame rate
    base      path that the files' names begin with: `out/clip.mp4` makes `out/clip.mp4.glb`
    people    motions of its tracks
    textures  of tracks, (H, W, 3 or 4) uint8
    """

    fit: Fit
    body: Body
    base: Path
    people: Sequence[PersonMotion]
    textures: Mapping[int, NDArray[np.uint8]]
    progress: Progress

    def write(self, formats: Sequence[str]) -> tuple[Path, ...]:
        """Write each of the formats, keys of `FORMATS`, atomically; returns the files in the order written."""
        files: list[Path] = []
        for name in formats:
            try:
                files += FORMATS[name](self)
            except BaseException:
                with suppress(OSError):  # it is none of those with a file a frame, or holds others
                    self.path(f".{name}").rmdir()
                raise
        return tuple(dict.fromkeys(files))

    def path(self, ending: str) -> Path:
        """Name a file beside the others."""
        return self.base.with_name(self.base.name + ending)

    @property
    def stem(self) -> str:
        """The name of files that another refers to; formats want it in UTF-8, whatever `base` is."""
        return escaped(self.base.name)

    def images(self, folder: Path, stem: str) -> tuple[dict[int, str], dict[Path, bytes]]:
        """Encode the textures as PNG: their names (`STEM.person0.png`) by track, and the bytes of each file."""
        names = {track: f"{stem}.person{track}.png" for track in self.textures}
        pixels = {name: np.ascontiguousarray(self.textures[track][..., :3]) for track, name in names.items()}
        return names, {folder / name: encode_image(image, ".png") for name, image in pixels.items()}


_FBX = "export glb, which Blender turns into FBX, or bvh for the motion alone"


def parse_formats(text: str) -> tuple[str, ...]:
    """Split names of `FORMATS` with commas between them. Raises UsageError for another name or none."""
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip().lower())))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        got, remedy = ", ".join(unknown) or "nothing", _FBX if "fbx" in unknown else ""
        raise UsageError("format", "is unknown", expected=",".join(FORMATS), got=got, remedy=remedy)
    return names


def output_base(out: Path, formats: Sequence[str] | None) -> tuple[Callable[[str], Path], tuple[str, ...]]:
    """Choose the base of a fit's files, by the fit file's name, and the formats.

    out      a folder, or one file such as `dance.glb`, whose ending is the format
    formats  None: that of `out`, else glb

    Raises UsageError if `out` is a file of another format, or of one that makes several files.
    """
    kind = out.suffix.lower().removeprefix(".")
    if out.is_dir() or kind not in (*FORMATS, *_OTHERS):
        return lambda name: out / name.removesuffix(FIT_SUFFIX), tuple(formats or ("glb",))
    if kind not in ONE_FILE or tuple(formats or (kind,)) != (kind,):
        choices = f"a folder, or a file of one of {', '.join(ONE_FILE)}"
        problem = "cannot be one file for these formats" if kind in FORMATS else f"is no file that is written: .{kind}"
        raise UsageError("out", problem, expected=choices, got=str(out), remedy=_FBX if kind == "fbx" else "")
    return lambda _: out.with_suffix(""), (kind,)


def chosen_people(fit: Fit, person: str) -> Fit:
    """Select `all`, the `largest` person, or one by number from a fit. Raises UsageError if there is none."""
    if person == "all":
        return fit
    if person != "largest" and not (person.isdecimal() and int(person) in fit.tracks):
        choices = ", ".join(["all, largest", *map(str, fit.tracks)])
        raise UsageError("person", "is not in the fit", expected=choices, got=person)
    return fit.select(fit.rows_of(fit.largest_track if person == "largest" else int(person)))


def textures_of_fit(
    fit: Fit, textures: Textures = None, frames: FitFrames | None = None, progress: Progress = no_progress
) -> Mapping[int, NDArray[np.uint8]]:
    """Read or make textures of a fit's tracks, (H, W, 3 or 4) uint8.

    textures  see `Textures`; for tracks that have one

    Raises UsageError if they are not images, or there are no frames to make them from.
    """
    if textures == "frames":
        if frames is None:
            raise UsageError("texture", "cannot be made of frames that are not given", remedy="name them with `frames`")
        with Refiner(RefineOptions("flow")) as refiner:
            return refiner.textures(fit, frames, progress=progress)
    if isinstance(textures, str | Path):
        return read_textures(Path(textures), fit)
    if textures is not None or fit.textures or fit.path is None:
        return _checked(fit.textures if textures is None else textures)
    beside = {track: texture_path(fit.path, track) for track in fit.tracks}
    files = {track: path for track, path in beside.items() if os.path.isfile(path)}  # a name may be too long
    if not files:
        return {}
    body = fit.body_model()
    surface = TexelMap(body.uv, body.uv_faces, TEXELS).covered
    return {track: read_texture(path, surface, body.name) for track, path in files.items()}


def _checked(textures: Mapping[int, Any]) -> Mapping[int, NDArray[np.uint8]]:
    for track, texture in textures.items():
        shape, kind = np.shape(texture), getattr(texture, "dtype", type(texture).__name__)
        if kind != np.uint8 or len(shape) != 3 or shape[2] not in (3, 4):
            got = f"{shape} {kind} for person {track}"
            raise UsageError("textures", "are no images", expected="(H, W, 3 or 4) uint8", got=got)
    return textures


def available_frames(fit: Fit, frames: AnyFrames = None) -> FitFrames | None:
    """Return the given frames, else those that the fit knows. Raises InputError if frames of the fit are missing."""
    if isinstance(frames, FitFrames):
        return frames
    if frames is not None:
        return FitFrames.of(fit, frames)
    return None if fit.images is None else FitFrames(fit, fit.images, in_order=True)


def check_frame_rate(frame_rate: float | None) -> None:
    """Raise UsageError unless the frame rate is None or frames a second."""
    if frame_rate is not None and not 0 < frame_rate < math.inf:
        raise UsageError("frame_rate", "is unusable", expected="more than 0", got=str(frame_rate))


def export_fit(
    fit: Fit | str | Path,
    base: Path | str,
    formats: str | Sequence[str],
    *,
    frame_rate: float | None = None,
    world: World = "camera",
    textures: Textures = None,
    frames: AnyFrames = None,
    body: Body | None = None,
    progress: Progress = no_progress,
) -> tuple[Path, ...]:
    """Write a fit in each of the formats; returns the files in the order written.

    fit         a Fit, or a fit file's path
    base        path that the names begin with
    formats     keys of `FORMATS`, or their names with commas between them
    frame_rate  frame rate of a fit that has none; None: 25
    world       camera: the fit's own, of its first frame's camera if no other is known; ground: see
                `fitting.grounding.on_the_ground`
    textures    of tracks, (H, W, 3 or 4) uint8, v down; "frames": made from the frames; None: those of the refinement,
                also beside the fit file. People without one have the colours of overlays: {} for all
    frames      the video, folder, images or (F, H, W, 3) uint8 that the fit was made of; None: the Fit's source
    body        of the fit, if it came from a file of a SMPL fit

    Raises UsageError for unknown formats, worlds or rates, UnavailableError if `usd` is requested and usd-core
    is not installed.
    """
    names = parse_formats(formats if isinstance(formats, str) else ",".join(formats))
    export = export_of(
        fit, base, frame_rate=frame_rate, world=world, textures=textures, progress=progress, frames=frames, body=body
    )
    return export.write(names)


def export_of(
    fit: Fit | str | Path,
    base: Path | str,
    *,
    frame_rate: float | None,
    world: World,
    textures: Textures,
    progress: Progress,
    frames: AnyFrames = None,
    body: Body | None = None,
) -> Export:
    """Prepare what all formats share: the fit's world, and the motion of all people in it. Arguments as
    `export_fit`.
    """
    if world not in get_args(World):
        raise UsageError("world", "is not known", expected=", ".join(get_args(World)), got=str(world))
    check_frame_rate(frame_rate)
    fit = fit_of(fit)
    body = fit.body_model(body)
    fit = replace(fit, frame_rate=fit.frame_rate or frame_rate or DEFAULT_FRAME_RATE, model=body)
    available = available_frames(fit, frames)
    fit = fit if available is None else replace(fit, images=available.source)
    used_textures = {
        t: image for t, image in textures_of_fit(fit, textures, available, progress).items() if t in fit.tracks
    }
    if world == "ground":
        fit = on_the_ground(fit, body)
    people = [person_motion(fit, track, body) for track in fit.tracks]
    return Export(fit, body, Path(base), people, used_textures, progress)


def _amass(task: Export) -> list[Path]:
    paths = [task.path(f".{person.name}.amass.npz") for person in task.people]
    with removed_on_failure(paths):
        for person, path in zip(task.people, paths, strict=True):
            write_npz(path, task.fit.to_amass(person.track, body=task.body))
    return paths


def _bvh(task: Export) -> list[Path]:
    paths = [task.path(f".{person.name}.bvh") for person in task.people]
    with removed_on_failure(paths):
        for person, path in zip(task.people, paths, strict=True):
            write_bvh(path, person, task.fit.frame_rate)
    return paths


def _glb(task: Export) -> list[Path]:
    path, fit = task.path(".glb"), task.fit
    cameras = CameraPath.all_of(fit)
    data = glb_bytes(task.body, task.people, cameras, seconds=fit.seconds(fit.frame_rate), textures=task.textures)
    beside = {task.path(SCRIPT_SUFFIX): blender_script(fit, path.parent)}
    with removed_on_failure([*beside]):
        write_together({**beside, path: data})
    return [path, *beside]


def _usd(task: Export) -> list[Path]:
    path, fit = task.path(".usd"), task.fit
    names, images = task.images(path.parent, task.stem)
    codes = fit.seconds(fit.frame_rate) * fit.frame_rate
    beside = {**images, task.path(SCRIPT_SUFFIX): blender_script(fit, path.parent)}
    with removed_on_failure([*beside]), atomic_path(path) as temporary:
        cameras = CameraPath.all_of(fit)
        write_usd(temporary, task.body, task.people, cameras, codes, frame_rate=fit.frame_rate, textures=names)
        write_together(beside)
    return [path, *beside]


def _json(task: Export) -> list[Path]:
    path = task.path(".json")
    write_json(path, fit_document(task.fit), indent=None)
    return [path]


def fit_document(fit: Fit) -> dict[str, Any]:
    """Convert a fit to JSON values: cameras, and pose, shape and joints by name of all people, frame by frame.

    Lengths are in metres, angles in radians, image positions in pixels. Positions and poses are in the axes of each
    frame's camera: x right, y down, z forward; `world_to_camera` leads there from the world. Times are in seconds.
    """
    seconds = fit.seconds(DEFAULT_FRAME_RATE)
    return {
        "format": "humanpose-cli fit",
        "version": 1,
        "units": {"length": "metre", "angle": "radian", "image": "pixel"},
        "axes": "camera: x right, y down, z forward",
        "frame_rate": fit.frame_rate,
        "body": fit.body,
        "gender": fit.gender,
        "skeleton": {"name": SMPL24.name, "joints": SMPL24.joint_names, "parents": SMPL24.parents},
        "frames": [
            {
                "name": str(fit.frame_names[frame]),
                "time": round(float(seconds[frame]), 6),
                "shot": int(fit.shot_id[frame]),
                "camera": {
                    "focal": float(fit.focal[frame]),
                    "principal_point": fit.principal_point[frame].tolist(),
                    "image_size": fit.image_size[frame].tolist(),
                    "world_to_camera": fit.world_to_camera[frame].tolist(),
                },
                "people": [fit.row_document(int(row)) for row in fit.rows_for(frame)],
            }
            for frame in range(fit.frame_count)
        ],
    }


def _obj(task: Export) -> list[Path]:
    single = task.fit.frame_count == 1
    folder, stem = (task.base.parent, task.stem) if single else (task.path(".obj"), "people")
    names, images = task.images(folder, stem)
    library = folder / f"{stem}.mtl"
    beside = {**images, library: materials_text(task.fit.tracks, names).encode()}

    def write(path: Path, surfaces: Mapping[int, Any]) -> None:
        mesh = {path: obj_text(task.body, surfaces, library.name).encode()}
        write_together({**beside, **mesh} if single else mesh)

    with removed_on_failure([*beside]):
        if not single and len(task.fit.frame_index):  # all frames refer to it; an image's mesh appears with it
            write_together(beside)
        paths = _meshes(task, "obj", write)
    return [*paths, library, *images] if paths else []


def _ply(task: Export) -> list[Path]:
    return _meshes(task, "ply", lambda path, surfaces: write_ply(path, task.body, surfaces, task.textures))


def _meshes(task: Export, kind: str, write: Callable[[Path, Mapping[int, Any]], None]) -> list[Path]:
    """Write one file of an image; of a sequence a folder with one for each frame that shows a person, by its number."""
    frames = np.unique(task.fit.frame_index).tolist()
    folder, single = task.path(f".{kind}"), task.fit.frame_count == 1
    paths = [folder if single else folder / f"{frame:06d}.{kind}" for frame in frames]
    with removed_on_failure(paths):
        for number, (frame, path) in enumerate(zip(frames, paths, strict=True), 1):
            write(path, frame_surfaces(task.fit, frame, task.body))
            task.progress(number, len(frames), f"frames as {kind}")
    return paths


FORMATS: Mapping[str, Callable[[Export], list[Path]]] = {
    "amass": _amass,
    "json": _json,
    "bvh": _bvh,
    "glb": _glb,
    "usd": _usd,
    "obj": _obj,
    "ply": _ply,
}
"""The function that writes each format, by the name that the user gives."""

_OTHERS = ("npz", "html", "fbx", "gltf", "abc", "dae", "stl", "usda", "usdc", "usdz")  # no folder is called so
ONE_FILE = ("json", "glb", "usd")
"""Formats that make one file of a fit."""
