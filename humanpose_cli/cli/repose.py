"""`hpc repose`: the same people in another pose."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from humanpose_cli.cli.options import (
    BatchFlags,
    ColourSpaceFlag,
    ComputeFlags,
    FailIfDoubtful,
    Flags,
    Frames,
    OutOrFile,
    VideoCodecOption,
    argument,
    option,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import part_of
from humanpose_cli.core.result import CommandResult
from humanpose_cli.fitting.options import EvidenceFiles
from humanpose_cli.reposing.options import ReposeOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from humanpose_cli.batch.batch import Show
    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.io.frame_range import FrameRange
    from humanpose_cli.reposing.driving import AnyMotion
    from humanpose_cli.reposing.options import Drivers
    from humanpose_cli.reposing.reposer import Reposer
    from humanpose_cli.reposing.result import Form, Reposed

SkeletonName = Literal["smpl24", "reposing19", "h36m17", "coco17", "blazepose33"]
Axes = Literal["camera", "y-up", "z-up"]

_PLACED = argument("INPUT... POSE", "Photographs, folders or patterns, then the target pose.")
_INPUT = option(
    "--input INPUT",
    "Photograph, folder or pattern, or - for a list from stdin; may be repeated. Default: all arguments but the last.",
)
_TARGET = option(
    "--target-pose POSE",
    "Target pose: joints (.npy), a fit, .bvh, AMASS, other programs' results, an image or a video. Default: the "
    "last argument.",
)
_SKELETON = option("--skeleton", "Skeleton of a .npy target. Default: chosen by the number of joints; required for 17.")
_AXES = option(
    "--target-axes", "Axes of the target file. Default: by its format, unless the person stands along another axis."
)
_FIT = option("--fit FILE", "Fit file of the photograph. Default: fit it now.")
_BACKGROUND = option(
    "--background keep|FILE|COLOUR|transparent",
    "Background: keep (the photograph, filled in), an image file, a colour (white, #20ff40), or transparent.",
)
_PERSON = option(
    "--person ID|ID=ID|largest|all",
    "Who to repose: largest, all or a track id; 0=1 lets the target's person 1 drive person 0; may be repeated. "
    "Default: largest.",
)
_NUMBERED = option(
    "--numbered/--video",
    "Write numbered images or a video for a moving target. Default: a video; numbered if transparent.",
)


@dataclass
class ReposeWork:
    """The work on a photograph.

    Attributes:
        session: The session.
        reposer: Draws the people.
        target: The target poses.
        form: Whether results are images, numbered images or videos.
        video_codec: Codec of videos.
        fitted: The fit of the photograph, if it is given.
        fail_if_doubtful: Whether doubtful images count as partly done.
    """

    session: Session
    reposer: Reposer
    target: AnyMotion
    form: Form
    video_codec: Literal["h264", "vp9"]
    fitted: Fit | None
    fail_if_doubtful: bool = False

    @property
    def fitted_share(self) -> float:
        """Fraction of the work that is done before the images are drawn."""
        return 0.8 if len(self.target) == 1 else 0.1

    def prepare(self, coming: Sequence[Item], show: Show) -> Mapping[str, float]:
        """Detect the people of several photographs together."""
        if self.fitted is not None:
            return {}

        fitting = part_of(self.session.reporter.step, 0, self.fitted_share)
        seconds = self.reposer.fitter.prepare([item.payload for item in coming], partial(show, fitting))
        return {item.key: seconds.get(item.payload.path, 0.0) for item in coming}

    def __call__(self, item: Item) -> Outcome:
        """Draw the people of a photograph."""
        from humanpose_cli.batch.runner import Outcome

        reporter = self.session.reporter
        read = part_of(reporter.step, 0, self.fitted_share)
        drawing = part_of(reporter.step, self.fitted_share, 1)
        result = self.reposer.repose(item.payload, self.target, fit=self.fitted, progress=read)
        images = len(self.target) if self.form == "numbered" else 1
        result.write(self.form, item.outputs[:images], drawing, self.video_codec)
        for warning in result.warnings:
            reporter.warn(f"{item.short}: {warning}")
        details = {
            "poses": len(self.target),
            "person": _ids(result.people),
            "target_person": _ids(result.target_people),
            "method": ", ".join(sorted({*result.methods})),
            "visible": result.visible_fraction,
            "doubtful": result.doubtful,
            **({"moved": moves} if (moves := _moved(result)) else {}),
            "warnings": result.warnings,
        }
        problem = f"doubtful: {result.doubtful}" if self.fail_if_doubtful and result.doubtful else None
        return Outcome(item.outputs, details, problem=problem)


@command(
    columns=(
        ("poses", "poses", "Number of poses."),
        ("person", "person", "Track ids of the people who were reposed."),
        (
            "target_person",
            "target person",
            "Track ids of the target's people whose motion they took, in the same order.",
            True,
        ),
        ("method", "method", "Method: mesh or warp3d."),
        ("visible", "visible", "Share of the body's surface that the photograph shows."),
        ("doubtful", "doubtful", "Why an image may look wrong.", True),
        ("moved", "moved", "How people were moved along the ground to stay in the image.", False, True),
    ),
    tunes=True,
    cluster="array",
    usual="--out --fit --person --target-person --frames --background --canvas --size --layers --numbered "
    "--skeleton --target-axes --overwrite --device",
    examples=(
        "hpc repose photo.jpg arms_up.npy",
        "hpc repose photo.jpg dance.bvh --out dance.mp4",
        "hpc repose 'team/*.jpg' walk.npz --person all --background transparent",
        "hpc repose --input photo.jpg --target-pose clip.mp4",
        "hpc repose photos/ clip.mp4 --target-person 1 --fail-if-doubtful",
        "hpc repose photo.jpg jump.bvh --canvas fit",
        "hpc repose photo.jpg pose.npy --layers",
        "hpc repose photo.jpg pose.npy --fit hpc-out/fit/photo.jpg.fit.npz -o new.png",
    ),
)
def repose(
    session: Session,
    flags: BatchFlags,
    arguments: Annotated[list[str] | None, _PLACED] = None,
    *,
    input: Annotated[list[str] | None, _INPUT] = None,
    target_pose: Annotated[Path | None, _TARGET] = None,
    skeleton: Annotated[SkeletonName | None, _SKELETON] = None,
    axes: Annotated[Axes | None, _AXES] = None,
    fit: Annotated[Path | None, _FIT] = None,
    person: Annotated[list[str] | None, _PERSON] = None,
    options: Annotated[
        ReposeOptions,
        Flags("target_person size canvas method weights layers fit.detector fit.body fit.focal mesh.wears"),
    ],
    background: Annotated[str, _BACKGROUND] = "keep",
    numbered: Annotated[bool | None, _NUMBERED] = None,
    colour_space: ColourSpaceFlag = None,
    fail_if_doubtful: FailIfDoubtful = False,
    evidence: Annotated[EvidenceFiles, Flags("mask")],
    out: OutOrFile = Path("hpc-out/repose"),
    frames: Frames = None,
    video_codec: VideoCodecOption = "h264",
    compute: ComputeFlags,
) -> CommandResult:
    """Draw the people of photographs in another pose.

    One pose makes an image (photo.arms_up.png); a motion makes a video (photo.dance.mp4) or numbered images.

    --out may name a file instead of a folder: new.png, new.exr (half floats, linear light), dance.mp4, or numbered
    images such as f_%04d.exr. --frames selects frames of a motion; in the first one the person stands where they stood.
    Numbered images have the numbers of these frames: 60:72 begins with 000060.png, plates from 1001 with 001001.png.
    """
    from humanpose_cli.io.foreign_fits import check_fits

    listed_paths = flags.listed()
    photos, pose = _photos_and_pose([*(input or ())], [*(arguments or ())], target_pose, listed_paths)

    input_set = flags.inputs(session, photos, out, listed=listed_paths, sequence=False, colour_space=colour_space)
    for source in input_set:
        if source.is_sequence:
            session.reporter.info(f"{source.label}: of this sequence, the first frame is reposed")
    if fit is not None and len(input_set) > 1:
        raise UsageError("fit", "belongs to one photograph", got=f"{len(input_set)} inputs")
    if fit is not None:
        check_fits(fit)
    options = session.tune(replace(options, person=",".join(person or ("largest",))))
    file_target = _pose_of_file(pose, skeleton, axes, frames, options.drivers)

    # These import torch, which takes seconds, after everything else has been checked.
    from humanpose_cli.batch.items import item_of
    from humanpose_cli.files.digests import file_digest
    from humanpose_cli.fitting.result import load_fit
    from humanpose_cli.io.colours import named_colour
    from humanpose_cli.io.frame_range import parse_range
    from humanpose_cli.io.image_sequences import numbered_path
    from humanpose_cli.reposing.reposer import Reposer
    from humanpose_cli.reposing.result import files_of_layers, form_of, pose_name, repose_outputs, targets_folder
    from humanpose_cli.reposing.targets import planned_target, read_target, target_digest

    photo_fit = load_fit(fit) if fit is not None else None
    ready = photo_fit is not None and file_target is not None
    _check_unused(
        "`fit` is used",
        focal=ready and options.fit.focal,
        detector=ready and options.fit.detector != "auto",
        body=photo_fit is not None and photo_fit.body == "default" != options.fit.body,
    )
    _check_unused("a network draws", wears=options.method == "warp3d" and options.mesh.wears != "auto")
    session.reporter.step(0, None, "loading models")
    with Reposer(options, background=background, mask=evidence.mask, **vars(compute)) as reposer:
        reposer.check(list(input_set))
        is_plan = file_target is None and flags.dry_run
        target = planned_target(pose, parse_range(frames)) if is_plan else file_target
        fit_seconds = 0.0
        if target is None:
            start = time.perf_counter()
            fits = targets_folder(out, pose)
            with session.item(str(pose)):
                target = read_target(
                    pose,
                    lambda: reposer.target_fitter,
                    frames=parse_range(frames),
                    drivers=options.drivers,
                    fits=fits,
                    progress=session.reporter.step,
                )
            fit_seconds = time.perf_counter() - start
        for warning in target.warnings:
            session.reporter.warn(warning)
        form = form_of(len(target), numbered=numbered, transparent=background == "transparent", out=out)
        _check_unused("images are written", video_codec=form == "numbered" and video_codec != "h264")
        if len(target) == 1:
            session.reporter.info(_remark(form, numbered, out))
        name = pose_name(pose)
        outputs = repose_outputs(list(input_set), out, form, target, name)
        if options.layers:
            transparent = background == "transparent"
            outputs = [
                (*paths, *chain(*files_of_layers(form, paths, target, transparent=transparent))) for paths in outputs
            ]
        part = f", frames {frames}" if frames is not None and form == "numbered" else ""  # of a shot made in parts
        items = [
            replace(item_of(source, paths), key=f"{source.key} as {name}{part}")
            for source, paths in zip(input_set, outputs, strict=True)
        ]
        options_record: dict[str, Any] = {**reposer.identity, "skeleton": skeleton, "target_axes": axes}
        recorded = options_record.pop("fit")
        options_record |= {flag: recorded.pop(flag) for flag in ("body", "detector", "focal")} | {"fitting": recorded}
        options_record |= {"target_pose": target_digest(pose), "frames": str(frames or ":"), "form": form}
        options_record["video_codec"] = video_codec
        if background not in ("keep", "transparent"):
            options_record["background"] = named_colour(background) or file_digest(Path(background))
        if fail_if_doubtful:
            options_record["fail_if_doubtful"] = True
        options_record["fit"] = fit and file_digest(fit)
        work = ReposeWork(session, reposer, target, form, video_codec, photo_fit, fail_if_doubtful)
        # A folder has a ledger; a file, or numbered files, have none.
        is_file_pattern = bool(outputs) and numbered_path(out, (target.frame_numbers or (0,))[0]) in outputs[0]
        destination = outputs[0][0] if is_file_pattern else out
        return flags.run(
            session,
            items,
            work,
            destination,
            options_record,
            group_size=lambda: reposer.fitter.batch_size,
            prepare=work.prepare,
            past_seconds=fit_seconds,
        )


def _remark(form: Form, numbered: bool | None, out: Path) -> str:
    """Say what is made of a single pose if a video or numbered images are requested."""
    if form == "video":
        return f"the target is one pose: the video has one frame; --out {out.with_suffix('.png').name} writes an image"
    return "the target is one pose: one image is written" if form == "image" and numbered is not None else ""


def _check_unused(reason: str, **changed: object) -> None:
    """Refuse options that were changed and have no effect for this reason."""
    for name in filter(changed.__getitem__, changed):
        raise UsageError(name, f"has no effect: {reason}")


def _ids(people: Sequence[int | None]) -> str:
    """Join track ids with commas; empty if a target has no people."""
    return ", ".join(str(person) for person in people if person is not None)


def _moved(images: Reposed) -> str:
    """Describe how people were moved inwards; empty if nobody was."""
    pairs = zip(images.people, images.moved, strict=True)
    return "; ".join(f"person {person} by {shift}" for person, shift in pairs if shift)


def _pose_of_file(
    pose: Path, skeleton: str | None, axes: str | None, frames: FrameRange | None, drivers: Drivers
) -> AnyMotion | None:
    """Read the target of a pose file; None for images and videos, whose people have to be fitted."""
    from humanpose_cli.io.frame_range import parse_range
    from humanpose_cli.io.image_sequences import numbered_path
    from humanpose_cli.io.inputs import open_inputs
    from humanpose_cli.io.pose_files import POSE_SUFFIXES, is_pose, remedy_for

    if is_pose(pose):
        from humanpose_cli.reposing.driving import frames_of_motion, motion_of_file

        return frames_of_motion(motion_of_file(pose, skeleton, axes, drivers), parse_range(frames), pose)
    if not pose.exists() and numbered_path(pose, 0) is None:
        raise InputError(pose, "does not exist", expected="a pose file, an image or a video")
    try:
        open_inputs([pose])
    except InputError as error:
        if not pose.is_file() or not error.got:
            raise
        expected = f"a pose file ({', '.join(sorted(POSE_SUFFIXES))}), an image or a video"
        remedy = remedy_for(pose)
        raise InputError(pose, "is not a target pose", expected=expected, got=error.got, remedy=remedy) from error
    return None


def _photos_and_pose(
    inputs: list[str], arguments: list[str], pose: Path | None, listed_paths: list[str]
) -> tuple[list[str], Path]:
    """Separate the photographs from the pose, which is the last argument without --target-pose."""
    from humanpose_cli.io.pose_files import POSE_SUFFIXES

    usage = "photographs, then the pose: hpc repose photo.jpg pose.npy"
    if pose is None:
        if not arguments:
            raise UsageError("target_pose" if inputs else "input", "is missing", expected=usage)
        pose = Path(arguments.pop())
    photos = [*inputs, *arguments]
    if not photos and not listed_paths:
        missing = "target_pose" if pose.suffix.lower() not in POSE_SUFFIXES and not inputs else "input"
        raise UsageError(missing, "is missing", expected=usage, got=str(pose))
    for photo in (*photos, *listed_paths):
        if Path(photo).suffix.lower() in POSE_SUFFIXES:
            raise UsageError(photo, "is a pose file, not a photograph", expected=usage)
    return photos, pose
