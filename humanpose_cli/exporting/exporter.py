"""Export of fits to formats of other programs, and the names of the files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.errors import HpcError, UnavailableError, UsageError
from humanpose_cli.core.extras import require_extra
from humanpose_cli.core.progress import Progress
from humanpose_cli.exporting.export import Export
from humanpose_cli.exporting.formats import FORMATS, OTHER_FORMATS, formats_with
from humanpose_cli.exporting.looks import Textures, available_frames, looks_of_fit, with_sources
from humanpose_cli.exporting.rigs import Rig, read_rig
from humanpose_cli.exporting.skins import people_in_world
from humanpose_cli.files.digests import file_digest
from humanpose_cli.files.npz_files import read_npz
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.result import Fit, fit_of
from humanpose_cli.io.frame_range import exact_rate
from humanpose_cli.outputs.output_names import FIT_SUFFIX
from humanpose_cli.refining.frames import AnyFrames

World = Literal["camera", "ground"]
"""World of exported positions."""


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


def write_formats(export: Export, formats: Sequence[str]) -> tuple[Path, ...]:
    """Write each of the formats, keys of `FORMATS`, atomically; return the files in the order written."""
    files: list[Path] = []
    for name in formats:
        kind = FORMATS[name]
        if kind.needs_frames and export.frames is None:
            raise _without_frames(name)
        try:
            files += kind.write(export)
        except BaseException:
            with suppress(OSError):  # there is no folder for this format, or it holds other files
                export.path(f".{name}").rmdir()
            raise
    return tuple(dict.fromkeys(files))


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
        progress: True draws a bar on stderr. A function is called with (done, total or None, unit).

    Returns:
        The files in the order written.

    Raises:
        UsageError: If formats, world or rate are unknown or unusable.
        UnavailableError: If a format needs an extra that is not installed, or more space than there is.
    """
    names = parse_formats(formats if isinstance(formats, str) else ",".join(formats))
    skeleton = rig_of(rig, names, Path(base).parent, in_place=in_place)
    fit = fit_of(fit)
    counts = fit.frame_count, len(fit.frame_index)
    for error in filter(None, (refusal_of(name, *counts, Path(base).parent, has_images=True) for name in names)):
        raise error
    textures = textures if any(FORMATS[name].has_surfaces for name in names) else "none"
    with progress_of(progress) as report:
        export = export_of(
            fit, base, frame_rate=frame_rate, world=world, textures=textures, progress=report, frames=frames, body=body
        )
        export = export.on_rig(skeleton, grounded=world == "ground")
        return write_formats(export.in_place() if in_place else export, names)


export = export_fit  # as the command is called


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


def rig_of(rig: str | None, formats: Sequence[str], folder: Path, *, in_place: bool) -> Rig | None:
    """Check the options of formats, and read their rig; a table to fill in goes into the folder.

    Raises UsageError for formats without the rig, and if people are to be in place where the frames are shown,
    UnavailableError if a format needs an extra that is not installed.
    """
    for extra in filter(None, {FORMATS[name].extra for name in formats}):
        require_extra(extra)
    if in_place and (others := [name for name in formats if FORMATS[name].shows_frames]):
        raise UsageError("in_place", f"has no effect on {', '.join(others)}")
    if rig is None:
        return None
    found = read_rig(rig, folder)
    possible = formats_with(lambda each: each.takes_rig(found, rig))
    if others := [name for name in formats if name not in possible]:
        raise UsageError("rig", f"has no effect on {', '.join(others)}", expected=", ".join(possible), got=rig)
    return found


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
    rate = fit.frame_rate or (exact_rate(frame_rate) if frame_rate else DEFAULT_FRAME_RATE)
    fit = replace(fit, frame_rate=rate, model=body)
    if (np.diff(fit.frame_numbers, 2) != 0).any():  # gaps stay in formats of one rate
        fit = replace(fit, frame_times=fit.seconds(fit.frame_rate))
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
