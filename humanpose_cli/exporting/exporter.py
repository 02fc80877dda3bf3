"""Export of fits to formats of other programs, and the names of the files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import HpcError, UnavailableError, UsageError, one_line
from humanpose_cli.core.extras import EXTRAS, require_extra
from humanpose_cli.core.progress import Progress
from humanpose_cli.exporting.clips import Clip, with_motions
from humanpose_cli.exporting.formats import FORMATS, OTHER_FORMATS, formats_with
from humanpose_cli.exporting.looks import Textures, available_frames, looks_of_fit, with_sources
from humanpose_cli.exporting.motion import CameraPath, PersonMotion
from humanpose_cli.exporting.retarget import fitted, retargeted
from humanpose_cli.exporting.rigs import Rig, read_rig
from humanpose_cli.exporting.skins import AnimatedScene, SkinnedMesh, frame_meshes, people_in_world
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.result import Fit, fit_of
from humanpose_cli.io.atomic import removed_on_failure, write_bytes, write_text
from humanpose_cli.io.digests import file_digest
from humanpose_cli.io.inputs import escaped
from humanpose_cli.io.npz_files import read_npz
from humanpose_cli.io.output_names import FIT_SUFFIX
from humanpose_cli.refining.frames import AnyFrames, FitFrames

World = Literal["camera", "ground"]
"""World of exported positions."""


@dataclass(frozen=True, eq=False)
class Export:
    """The prepared parts of a fit.

    Attributes:
        fit: The fit, with a frame rate.
        body: Its body model.
        base: Path that the files' names begin with: `out/clip.mp4` makes `out/clip.mp4.glb`.
        people: Motions of its tracks.
        meshes: Resting meshes by track.
        progress: The listener.
        original: The fit in its own world, which projects onto the frames.
        frames: The frames; None if they are not available.
        rig: The rig of `people`; None for the body's bones.
        complete: The export of all frames that this one is a clip of, and the clip; None if it is none.
    """

    fit: Fit
    body: Body
    base: Path
    people: Sequence[PersonMotion]
    meshes: Mapping[int, SkinnedMesh]
    progress: Progress
    original: Fit
    frames: FitFrames | None
    rig: Rig | None = None
    complete: tuple[Export, Clip] | None = None

    def write(self, formats: Sequence[str]) -> tuple[Path, ...]:
        """Write each of the formats atomically; return the files in the order written."""
        files: list[Path] = []
        for name in formats:
            kind = FORMATS[name]
            if kind.needs_frames and self.frames is None:
                raise _without_frames(name)
            try:
                files += kind.write(self)
            except BaseException:
                with suppress(OSError):  # there is no folder for this format, or it holds other files
                    self.path(f".{name}").rmdir()
                raise
        return tuple(dict.fromkeys(files))

    def on_rig(self, rig: Rig | None, *, grounded: bool) -> Export:
        """Return the export with people on a rig, and with their surfaces if the rig has their proportions."""
        if rig is None:
            return self
        own = {p.track: fitted(rig, p, self.meshes[p.track]) for p in self.people if not len(rig.positions)}
        seconds, rigs = self.fit.seconds(DEFAULT_FRAME_RATE), {track: part for track, (part, _) in own.items()}
        people = [retargeted(p, rigs.get(p.track, rig), seconds, grounded=grounded) for p in self.people]
        return replace(self, people=people, meshes={track: mesh for track, (_, mesh) in own.items()}, rig=rig)

    def clipped(self, clip: Clip) -> Export:
        """Return the export of a clip. Raises UsageError for a loop that the fit does not have."""
        if clip == Clip():
            return self
        fit, up = clip.cut(self.fit), np.array((0.0, 1, 0)) @ (np.eye(3) if self.rig is None else self.rig.to_body)
        seconds, meshes = self.fit.seconds(1), {track: m for track, m in self.meshes.items() if track in fit.tracks}
        people = [clip.moved(person, seconds, up) for person in self.people if person.track in fit.tracks]
        fit = with_motions(fit, people, self.body) if self.rig is None else fit
        return replace(self, fit=fit, people=people, meshes=meshes, complete=(self, clip))

    @property
    def scene(self) -> AnimatedScene:
        """The people and the cameras."""
        fit = self.fit
        return AnimatedScene(self.people, self.meshes, CameraPath.all_of(fit), fit.seconds(1), fit.frame_rate)

    def path(self, ending: str) -> Path:
        """Return the path of a file with this ending."""
        return self.base.with_name(self.base.name + ending)

    @property
    def stem(self) -> str:
        """The base name for files that are named in other files, which must be UTF-8 and one line."""
        return one_line(escaped(self.base.name))

    def each_person(self, ending: str, content: Callable[[PersonMotion, str], str | bytes]) -> list[Path]:
        """Write one file for each person; `content` gets the person and the file's name."""
        paths = [self.path(f".{person.name}.{ending}") for person in self.people]
        with removed_on_failure(paths):
            for person, path in zip(self.people, paths, strict=True):
                data = content(person, path.name)
                if isinstance(data, bytes):
                    write_bytes(path, data)
                else:
                    write_text(path, data)
        return paths

    def each_frame(self, kind: str, write: Callable[[Path, Sequence[SkinnedMesh]], None]) -> list[Path]:
        """Write one file for an image, or a folder with a file for each frame of a sequence that shows a person."""
        frames = np.unique(self.fit.frame_index).tolist()
        folder, single = self.path(f".{kind}"), self.fit.frame_count == 1
        paths = [folder if single else folder / f"{frame:06d}.{kind}" for frame in frames]
        with removed_on_failure(paths):
            for number, (frame, path) in enumerate(zip(frames, paths, strict=True), 1):
                write(path, frame_meshes(self.fit, frame, self.body, self.people, self.meshes))
                self.progress(number, len(frames), f"frames as {kind}")
        return paths

    def images(self, folder: Path, stem: str) -> tuple[dict[str, str], dict[Path, bytes]]:
        """Encode the textures as PNG; return their names (`STEM.person0.png`) by mesh, and the bytes of each file."""
        names, files = {}, {}
        for mesh in self.meshes.values():
            if mesh.image is not None:
                names[mesh.name] = f"{stem}.{mesh.name}.png"
                files[folder / names[mesh.name]] = mesh.png
        return names, files


def parse_formats(text: str) -> tuple[str, ...]:
    """Split a list of formats with commas. Raises UsageError for an unknown name, or without a name."""
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip().lower().lstrip("."))))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        remedy = OTHER_FORMATS.get(unknown[0], "") if unknown else ""
        got = ", ".join(unknown) or "nothing"
        raise UsageError("format", "is unknown", expected=",".join(FORMATS), got=got, remedy=remedy)
    return names


def output_base(out: Path, formats: str | None) -> tuple[Callable[[str], Path], tuple[str, ...]]:
    """Choose the formats, and the base of a fit's files.

    Args:
        out: A folder, or one file with the ending of its format, such as `dance.glb`.
        formats: Names with commas between them; None for the format of `out`, or glb.

    Returns:
        A function from the fit file's name to the base, and the formats.

    Raises:
        UsageError: If a format is unknown, or `out` is a file of another one, or of a format with several files.
    """
    names = None if formats is None else parse_formats(formats)
    kind = out.suffix.lower().removeprefix(".")
    if out.is_dir() or kind not in (*FORMATS, *OTHER_FORMATS):
        return lambda name: out / name.removesuffix(FIT_SUFFIX), names or ("glb",)
    one_file = formats_with(lambda each: each.is_one_file)
    if kind not in one_file or (names or (kind,)) != (kind,):
        choices = f"a folder, or a file of one of {', '.join(one_file)}"
        problem = "cannot be one file for these formats" if kind in FORMATS else f"is no file that is written: .{kind}"
        remedy = OTHER_FORMATS.get(kind, "")
        if kind in one_file and names is not None and len(names) == 1:
            problem = f"has the ending of {kind}, but `format` is {names[0]}"
            remedy = f"leave `format` out, or name the file {out.stem}.{names[0]}"
        raise UsageError("out", problem, expected=choices, got=str(out), remedy=remedy)
    return lambda _: out.with_suffix(""), (kind,)


def chosen_people(fit: Fit, person: str) -> Fit:
    """Select `all`, the `largest` person, or one by number from a fit. Raises UsageError if missing."""
    if person == "all":
        return fit
    if person != "largest" and not (person.isdecimal() and int(person) in fit.tracks):
        choices = ", ".join(["all, largest", *map(str, fit.tracks)])
        raise UsageError("person", "is not in the fit", expected=choices, got=person)
    return fit.select(fit.rows_of(fit.largest_track if person == "largest" else int(person)))


def check_frame_rate(frame_rate: float | None) -> None:
    """Raise UsageError unless the frame rate is None or positive and finite."""
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
    rig: str | None = None,
    in_place: bool = False,
    loop: str | None = None,
    progress: bool | Progress | None = None,
) -> tuple[Path, ...]:
    """Write a fit in each of the formats.

    Args:
        fit: A Fit, or the path of a fit file.
        base: Path that the files' names begin with.
        formats: Keys of `FORMATS`, or their names with commas between them.
        frame_rate: Frames per second of a fit without a rate; None for 25.
        world: "camera" is the fit's world, with the axes of its first frame's camera unless another world is known;
            "ground" stands on the ground, see `fitting.grounding.on_the_ground`.
        textures: (H, W, 3 or 4) uint8, v down, by track; or "frames" to make them, and clothes, from the frames; or
            "none" for the colours of overlays. None uses the frames if available, otherwise the textures of the
            refinement, also from its files. People without a texture have the colours of overlays.
        frames: The video, folder, images or (F, H, W, 3) uint8 of the fit; None for the Fit's source, or the files that
            the fit file names.
        body: Body model of a SMPL fit that was read from a file.
        rig: Skeleton of the files, see `rigs.read_rig`; None for the body's.
        in_place: Whether the pelvis stays above one point of the ground; feet then slide.
        loop: "A:B". The frames A to B as a clip that repeats without a jump, see `exporting.clips`; None for all.
        progress: True draws a bar on stderr. A function is called with (done, total or None, unit).

    Returns:
        The files in the order written.

    Raises:
        UsageError: If formats, world, rate or loop are unknown or unusable.
        UnavailableError: If a format needs an extra that is not installed, or more space than there is.
    """
    names = parse_formats(formats if isinstance(formats, str) else ",".join(formats))
    check_extras(names)
    skeleton, clip = rig_of(rig, names, Path(base).parent), clip_of(in_place, loop, names)
    fit = fit_of(fit)
    counts = fit.frame_count, len(fit.frame_index)
    for error in filter(None, (refusal_of(name, *counts, Path(base).parent, has_images=True) for name in names)):
        raise error
    textures = textures if any(FORMATS[name].has_surfaces for name in names) else "none"
    with progress_of(progress) as report:
        export = export_of(
            fit, base, frame_rate=frame_rate, world=world, textures=textures, progress=report, frames=frames, body=body
        )
        return export.on_rig(skeleton, grounded=world == "ground").clipped(clip).write(names)


export = export_fit  # as the command is called


def check_extras(formats: Collection[str]) -> None:
    """Raise UnavailableError if a format needs a package that is not installed."""
    for name in EXTRAS.keys() & {*formats}:
        require_extra(name)


def counts_of(fit: Path) -> tuple[int, int]:
    """Return the numbers of frames and bodies in a fit file; 0 for other files and damaged ones."""
    with suppress(HpcError, OSError):
        arrays = read_npz(fit, {"frame_names", "frame_index"}) if fit.suffix == ".npz" else {}
        return len(arrays.get("frame_names", ())), len(arrays.get("frame_index", ()))
    return 0, 0


def refusal_of(kind: str, frames: int, bodies: int, folder: Path, *, has_images: bool) -> HpcError | None:
    """Return why a fit cannot be exported; None if it can.

    Args:
        kind: The format.
        frames: Number of frames.
        bodies: Number of bodies of all frames.
        folder: The output folder, perhaps not made yet.
        has_images: Whether the images of the frames are known.
    """
    limits = FORMATS[kind]
    if limits.needs_frames and not has_images:
        return _without_frames(kind)
    count = frames if limits.counted == "frames" else bodies
    if count > limits.max_count:
        problem = f"holds at most {limits.max_count:,} frames, and there are {count:,}"
        return UsageError(kind, problem, remedy="bvh and trc hold any number; or fit parts, hpc fit --frames A:B")
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    needed, free = count * limits.bytes_each / 1e9, shutil.disk_usage(place).free / 1e9
    if needed > free:
        problem = f"has too little space for {count:,} bodies as {kind}"
        return UnavailableError(folder, problem, expected=f"about {needed:.0f} GB", got=f"{free:.0f} GB")
    return None


def _without_frames(kind: str) -> UsageError:
    return UsageError(kind, "need the frames of the fit", remedy="name them with `frames`")


def rig_of(rig: str | None, formats: Sequence[str], folder: Path) -> Rig | None:
    """Read a rig for formats. Raises UsageError for formats without it; a table to fill in goes into the folder."""
    if rig is None:
        return None
    found = read_rig(rig, folder)
    possible = formats_with(lambda each: each.takes_rig(found, rig))
    others = [name for name in formats if name not in possible]
    if others:
        raise UsageError("rig", f"has no effect on {', '.join(others)}", expected=", ".join(possible), got=rig)
    return found


def clip_of(in_place: bool, loop: str | None, formats: Sequence[str]) -> Clip:
    """Return the clip for formats. Raises UsageError for another range than A:B and for formats of the frames."""
    clip, others = Clip(in_place, loop), [name for name in formats if FORMATS[name].shows_frames]
    if clip != Clip() and others:
        raise UsageError("in_place" if in_place else "loop", f"has no effect on {', '.join(others)}")
    return clip


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
    """Prepare the data of all formats: the fit's world and the motion of all people; arguments as `export_fit`."""
    if world not in get_args(World):
        raise UsageError("world", "is not known", expected=", ".join(get_args(World)), got=str(world))
    check_frame_rate(frame_rate)
    fit = fit_of(fit)
    body = fit.body_model(body)
    fit = replace(fit, frame_rate=fit.frame_rate or frame_rate or DEFAULT_FRAME_RATE, model=body)
    available = available_frames(fit, frames)
    looks = looks_of_fit(fit, textures, available, progress)
    if available is not None:
        further = with_sources(fit, available).camera_sources[1:]
        fit = replace(fit, sources=(available.source, *further))
    grounded_fit, people, meshes = people_in_world(fit, body, looks, grounded=world == "ground")
    return Export(grounded_fit, body, Path(base), people, meshes, progress, fit, available)


def rig_identity(rig: str | None) -> str | None:
    """Return what identifies a rig: its name, or the checksum of its file."""
    return file_digest(Path(rig)) if rig is not None and Path(rig).is_file() else rig


def fit_document(fit: Fit) -> dict[str, Any]:
    """Convert a fit to JSON values: frames with their camera, and pose, shape and joints by name of all people.

    Lengths are in metres, angles in radians, image positions in pixels, times in seconds. Positions and poses are in
    the axes of each frame's camera: x right, y down, z forward; `world_to_camera` maps the world to them.
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
