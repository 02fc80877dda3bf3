"""`hpc combine`: the fits of several cameras that film the same people, as one fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.fit import FitRun
from humanpose_cli.cli.options import (
    BatchFlags,
    ComputeFlags,
    FailIfDoubtful,
    Flags,
    Frames,
    Labels,
    Out,
    Overlay,
    VideoCodecOption,
    argument,
    option,
)
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.errors import ExitCode, InputError, UsageError
from humanpose_cli.core.progress import Progress
from humanpose_cli.core.result import CommandResult, Status, combine_status
from humanpose_cli.files.sniffing import check_readable
from humanpose_cli.fitting.options import MAX_HEIGHT, MIN_HEIGHT, FitOptions, FitOutputs
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.outputs.output_names import FIT_SUFFIX, fit_path
from humanpose_cli.views.options import ViewsOptions

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.io.calibrations import Calibration
    from humanpose_cli.io.fit_files import FitRecord
    from humanpose_cli.io.inputs import InputItem
    from humanpose_cli.outputs.desk import Desk
    from humanpose_cli.views.inputs import TakeInput
    from humanpose_cli.views.solver import TakeSolver

CAMERAS = "cameras"  # folder below the output for the fits of single cameras
_MAX_ERROR = 50.0  # pixels: maximum 2-D error of a take

_INPUTS = argument(
    "INPUT",
    "Videos, frame folders, photographs or fit files of cameras that film the same people; each folder of several "
    "is one take.",
)
_HEIGHT = option(
    "--height METRES",
    "Height of the largest person, which sets the scale, also of a calibration without a unit. Default: estimated.",
)
_OFFSETS = option(
    "--offsets SECONDS,SECONDS,…",
    "Clock offset of each camera relative to the first, which has 0. Default: found from the movements.",
)
_CALIBRATION = option(
    "--calibration FILE",
    "Camera calibration: cameras.json, or a file of Pose2Sim, Anipose, FreeMoCap, OpenCV, EasyMocap or Qualisys. "
    "Default: found from the people.",
)
_SAME = option("--same-cameras", "Use the first take's cameras, stored in OUT/cameras.json, for all takes.")


@dataclass(frozen=True)
class TakeFlags:
    """Options of the cameras of takes."""

    height: Annotated[float | None, _HEIGHT] = None
    offsets: Annotated[str | None, _OFFSETS] = None
    calibration: Annotated[Path | None, _CALIBRATION] = None
    same_cameras: Annotated[bool, _SAME] = False

    def check(self) -> None:
        """Check the values.

        Raises:
            UsageError: If a value is out of range.
        """
        if self.height is not None and not MIN_HEIGHT <= self.height <= MAX_HEIGHT:
            raise UsageError(
                "height", "is out of range", expected=f"{MIN_HEIGHT} to {MAX_HEIGHT} metres", got=f"{self.height:g}"
            )
        self.seconds(0)

    def seconds(self, count: int) -> list[float] | None:
        """Parse the clock offsets of the cameras.

        Args:
            count: Number of cameras; 0 for any number.

        Returns:
            Seconds relative to the first camera. None if there are no offsets.

        Raises:
            UsageError: If they are not numbers, or not `count` of them.
        """
        if self.offsets is None:
            return None
        try:
            values = [float(text) for text in self.offsets.split(",")]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)) or (count and len(values) != count):
            expected = f"{count or 'a'} number{'s' if count else ''} for each camera, such as 0,0.25"
            raise UsageError("offsets", "cannot be read", expected=expected, got=self.offsets)
        return [value - values[0] for value in values]

    @property
    def recorded(self) -> dict[str, Any]:
        """The values for the ledger."""
        recorded: dict[str, Any] = {"height": self.height, "offsets": self.offsets}
        if self.calibration is not None:
            from humanpose_cli.files.digests import digest_of_files

            folder = self.calibration.is_dir()
            files = sorted(self.calibration.glob("*.yml")) if folder else [self.calibration]
            recorded["calibration"] = digest_of_files(files)
        return {**recorded, "same_cameras": True} if self.same_cameras else recorded


def find_takes(
    session: Session, flags: BatchFlags, inputs: Sequence[str], out: Path, frames: FrameRange
) -> list[TakeInput]:
    """Find the takes that the arguments name.

    Each folder of several videos, sequences, images or fit files is a take, or each of its subfolders if all have
    several views. All other arguments together are one take.
    """
    from humanpose_cli.views.inputs import TakeInput, distinct_names

    folders: dict[Path, TakeInput] = {}
    loose: list[str] = []
    loose_fits: list[Path] = []
    arguments = [*inputs, *flags.listed()]
    for name in arguments:
        path = Path(name)
        if path.name.endswith(".npz"):
            check_readable(path)
            loose_fits.append(path)
        elif not path.is_dir():
            loose.append(name)
        elif fits := sorted(path.glob(f"*{FIT_SUFFIX}")):
            folders[path.resolve()] = TakeInput("", (), tuple(fits))
        else:
            views = flags.inputs(session, [name], out, sequence=None, frames=frames)
            if len(views) == 1 and len(arguments) == 1:
                # Images of one folder are one camera's frames, but without another camera photographs of one moment.
                views = flags.inputs(session, [name], out, sequence=False, frames=frames)
            if len(views) == 1:
                loose.append(name)
            else:
                folders |= {part.resolve(): TakeInput("", group) for part, group in _takes_below(path, views).items()}
    takes = []
    for name, take in zip(distinct_names(list(folders)), folders.values(), strict=True):
        takes.append(replace(take, key=name, views=tuple(replace(v, key=f"{name}/{v.key}") for v in take.views)))
    if loose or loose_fits:
        files = tuple(flags.inputs(session, loose, out, sequence=None, frames=frames)) if loose else ()
        error = next((view.error for view in files if view.error is not None), None)
        paths = Counter(Path(str(name)).resolve() for name in (*loose, *loose_fits))
        if twice := [path.name for path, count in paths.items() if count > 1]:
            error = error or InputError(twice[0], "is named twice", expected="one file for each camera")
        takes.insert(0, TakeInput("take", files, tuple(loose_fits), error))
    if not takes:
        raise UsageError("input", "is missing", expected="two videos or fit files or more, or a folder of them")
    return takes


def _takes_below(folder: Path, views: Sequence[InputItem]) -> dict[Path, tuple[InputItem, ...]]:
    """Return the views of each subfolder if all subfolders with views have several, otherwise all views as one take."""
    groups: dict[Path, tuple[InputItem, ...]] = {}
    for view in views:
        groups[view.path.parent] = (*groups.get(view.path.parent, ()), replace(view, key=view.path.name))
    if len(groups) > 1 and all(len(group) > 1 for group in groups.values()):
        return groups
    return {folder: tuple(views)}


@dataclass(frozen=True)
class _Takes:
    """The takes of a run with all options."""

    session: Session
    takes: Sequence[TakeInput]
    out: Path
    flags: TakeFlags
    options: ViewsOptions
    fitting: FitOptions
    calibration: Calibration | None
    outputs: FitOutputs
    fail_if_doubtful: bool
    frames: FrameRange
    first_is_done: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the results, for the ledger."""
        from humanpose_cli.fitting.options import body_identity

        identity = {"views": asdict(self.options), **self.flags.recorded, **self.outputs.identity}
        identity |= {"body": body_identity(self.fitting.body), "keypoints": asdict(self.fitting.keypoints)}
        if self.frames != ALL_FRAMES and any(take.fits for take in self.takes):
            identity["frames"] = str(self.frames)  # else the fits of the cameras have the range
        return {**identity, "fail_if_doubtful": True} if self.fail_if_doubtful else identity

    def checked(self, flags: BatchFlags, run: FitRun) -> _Takes:
        """Check the takes that are not finished; this opens their videos."""
        from humanpose_cli.outputs.desk import Desk

        combined = Desk(flags.batch(self.session, self.out, self.identity))
        done = {take.key: take for take in self.takes if _is_done(combined, self.item(take))}
        if any(take.views for take in done.values()):
            cameras = self.out / CAMERAS
            fitted = Desk(flags.batch(self.session, cameras, run.identity))
            done = {
                key: take
                for key, take in done.items()
                if all(_is_done(fitted, run.item(view, cameras)) for view in take.views)
            }
        takes = [done.get(take.key) or take.checked(self.calibration) for take in self.takes]
        return replace(self, takes=takes, first_is_done=self.takes[0].key in done)

    def fits(self, take: TakeInput) -> tuple[Path, ...]:
        """Return the fit files of the cameras of a take."""
        return (*(fit_path(view.key, self.out / CAMERAS) for view in take.views), *take.fits)

    def item(self, take: TakeInput) -> Item:
        """Make the item of a take."""
        from humanpose_cli.batch.items import Item
        from humanpose_cli.views.inputs import take_outputs, view_outputs

        output = self.out / f"{take.key}{FIT_SUFFIX}"
        paths = [output, *take_outputs(output)]
        for view, name in zip(take.views, take.names, strict=True) if not take.fits else ():
            paths += self.outputs.paths(view_outputs(output, name), sequence=view.is_sequence)
        return Item(take.key, self.fits(take), take.key, None, tuple(paths), payload=take, error=take.error)

    def read(self, take: TakeInput, *, overlay: bool) -> list[Fit]:
        """Read the fits of a take's cameras, with their frames if `overlay` and if they are available."""
        from humanpose_cli.fitting.fit_reading import in_range, read_fits
        from humanpose_cli.io.frame_files import FrameFiles

        fits = []
        problems = []
        views = {fit_path(view.key, self.out / CAMERAS): view for view in take.views}
        for path in self.fits(take):
            frames, problem = ((views[path],), "") if path in views else _frames_of(path)
            problems += [problem] if problem else []
            fit = read_fits(path, self.fitting.body, (frames or None) if overlay else None)
            fit = replace(fit, frame_files=(FrameFiles.from_items(frames),)) if frames else fit
            if len(fit.cameras) > 1:
                raise InputError(path, "is the fit of a take", expected="the fit of one camera")
            if path not in views and fit.frame_count > 1 and self.frames != ALL_FRAMES:
                fit = in_range(fit, self.frames)
            fits.append(fit)
        if problems:
            lost = "there are no overlays, and clocks come from movements, not from sound"
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            self.session.reporter.info(f"{take.key}: {lost}: {problems[0]}{more}")
        return fits

    def solver(self, take: TakeInput) -> TakeSolver:
        """Make the step that combines the fits of a take."""
        count = len(take.views) + len(take.fits)
        calibration = self.shared_calibration if self.flags.same_cameras else self.calibration
        height = None if self.flags.same_cameras else self.flags.height
        return self._solver(count, height, calibration)

    def _solver(self, count: int, height: float | None, calibration: Calibration | None) -> TakeSolver:
        from humanpose_cli.body.smpl import load_body
        from humanpose_cli.views.solver import TakeSolver

        return TakeSolver(
            self.options,
            self.fitting.keypoints,
            height,
            self.flags.seconds(count),
            calibration,
            load_body(self.fitting.body),
        )

    @cached_property
    def shared_calibration(self) -> Calibration:
        """The cameras of the first take, stored in OUT; earlier ones count if the first take is done."""
        from humanpose_cli.io.calibrations import read_calibration, write_calibration
        from humanpose_cli.outputs.atomic import folder_lock
        from humanpose_cli.views.calibrated import calibration_of

        path = self.out / "cameras.json"
        first = self.takes[0]
        with folder_lock(self.out):
            if not (self.first_is_done and path.exists()):
                fits = self.read(first, overlay=False)
                fit = self._solver(len(fits), self.flags.height, None)(fits, progress=self.session.reporter.step)
                write_calibration(path, calibration_of(fit))
        return read_calibration(path)

    def report(self, item: Item, fit: Fit) -> None:
        """Report cameras that are left out, and what sets the scale."""
        for message in fit.options.messages or ():
            self.session.reporter.warn(f"{item.short}: {message}")
        if (scale := fit.options.scale) is not None and scale["source"] == "bodies":
            sizes = f"sizes assume adults of average height, ±{scale['uncertainty']:.0%}; --height sets the scale"
            self.session.reporter.info(sizes)


@command(
    columns=(
        ("people", "people", "Number of people."),
        ("views", "cameras", "Number of cameras that were used.", False, True),
        ("error_px", "2-D error (px)", "Median distance in pixels between fitted and detected joints."),
        ("confidence", "confidence", "Median share of a body's limb joints expected within 10 cm."),
        ("doubtful", "doubtful", "Why a body or a limb may be wrong.", True),
        ("not_fitted", "not fitted", "Detections without a body, and why.", True, True),
    ),
    tunes=True,
    cluster="stages",
    usual="--out --height --calibration --offsets --same-cameras --frames --detector --overlay --overwrite --device",
    examples=(
        "hpc combine cam1.mp4 cam2.mp4 cam3.mp4 --height 1.78 --out take1",
        "hpc combine cam1.mp4.fit.npz cam2.mp4.fit.npz --calibration Calib.toml --out take1",
        "hpc combine takes/walk takes/jump --same-cameras --out takes-3d",
    ),
)
def combine(
    session: Session,
    flags: BatchFlags,
    inputs: Annotated[list[str] | None, _INPUTS] = None,
    *,
    takes: TakeFlags,
    fitting: Annotated[FitOptions, Flags("detector body focal")],
    fail_if_doubtful: FailIfDoubtful = False,
    overlay: Overlay = True,
    labels: Labels = "ids",
    out: Out = Path("hpc-out/combine"),
    frames: Frames = None,
    video_codec: VideoCodecOption = "h264",
    compute: ComputeFlags,
) -> CommandResult:
    """Combine several cameras that film the same people at the same time.

    Writes one fit file for each take, its cameras (NAME.cameras.json), and an overlay for each camera.

    First fits videos that are not fitted yet, as hpc fit does, into OUT/cameras; a different height, clock or
    calibration does not fit them again. Also writes a plan of the cameras (NAME.cameras.png) and a fit file for each
    camera.
    """
    from humanpose_cli.io.calibrations import read_calibration
    from humanpose_cli.io.frame_range import parse_range
    from humanpose_cli.views.inputs import separate_takes

    takes.check()
    fitting = session.tune(fitting, lambda key: not key.startswith("views."))
    options = session.tune_part("views", ViewsOptions())
    frame_range = parse_range(frames)
    take_inputs = find_takes(session, flags, inputs or (), out, frame_range)
    calibration = None if takes.calibration is None else read_calibration(takes.calibration)
    if calibration is not None:
        take_inputs = [part for take in take_inputs for part in separate_takes(take, calibration)]
    outputs = FitOutputs(overlay=overlay, video_codec=video_codec, labels=labels)
    work = _Takes(
        session, take_inputs, out, takes, options, fitting, calibration, outputs, fail_if_doubtful, frame_range
    )
    if not any(view.is_sequence for take in take_inputs for view in take.views):  # the range has no effect
        frame_range = ALL_FRAMES
    run = FitRun(session, flags, fitting, FitOutputs(overlay=False), compute, frame_range)
    work = work.checked(flags, run)
    for take in work.takes if flags.dry_run else ():
        session.reporter.info(take.order and f"{take.key}: {take.order}")

    views = [view for take in work.takes if take.error is None for view in take.views]
    fitted = CommandResult(session.command, Status.SUCCESS, ())
    if views:
        fitted = run.run(views, out / CAMERAS)
        if fitted.status is Status.INTERRUPTED or fitted.exit_code is ExitCode.UNAVAILABLE:
            return fitted
    return _joined(fitted, _run_takes(flags, work, fitted))


def _joined(first: CommandResult, second: CommandResult) -> CommandResult:
    """Join the results of two batches."""
    items = (*first.items, *second.items)
    status, code = combine_status(items)
    if second.status in (Status.ERROR, Status.INTERRUPTED) or second.exit_code is ExitCode.UNAVAILABLE:
        status = second.status
        code = second.exit_code
    summaries = [result.extra["summary"] for result in (first, second) if "summary" in result.extra]
    summary = {name: round(sum(each[name] for each in summaries), 3) for name in (summaries[0] if summaries else ())}
    if summary.get("seconds"):
        worked = summary["done"] + summary["partial"] + summary["failed"]
        summary["items_per_second"] = round(worked / summary["seconds"], 3)
    extra = {"summary": summary} if summaries else {}
    messages = (*first.messages, *second.messages)
    return replace(second, items=items, status=status, exit_code=code, messages=messages, extra=extra)


def _run_takes(flags: BatchFlags, work: _Takes, fitted: CommandResult) -> CommandResult:
    """Combine the takes with fitted cameras."""
    from humanpose_cli.cli.fit_work import FitWork

    session = work.session
    failed = {result.input for result in fitted.items if result.status is Status.ERROR}
    items = []
    for take in work.takes:
        lost = [view for view in take.views if view.label in failed]
        if lost and take.error is None:
            problem = f"has no fit of {', '.join(view.path.name for view in lost)}"
            take = replace(take, error=InputError(take.key, problem, remedy="see the camera's own error"))
        waiting = [path for path in work.fits(take) if not path.exists()] if flags.shard and not flags.dry_run else []
        if waits := bool(waiting) and take.error is None:
            problem = f"{len(waiting)} cameras are not fitted yet"
            session.reporter.info(f"{take.key}: {problem}; when all parts have ended, the same command combines them")
        items.append(replace(work.item(take), waits=waits))

    def read(item: Item, progress: Progress) -> list[Fit]:
        return work.read(item.payload, overlay=work.outputs.overlay)

    def contents(fit: FitRecord) -> Mapping[str, Any]:
        return {"cameras": camera_documents(fit), "scale": fit.options.scale}

    worker = FitWork(
        session=session,
        read=read,
        outputs=work.outputs,
        steps=lambda item: (work.solver(item.payload),),
        report=work.report,
        contents=contents,
        share=0.0,
        fail_if_doubtful=work.fail_if_doubtful,
        max_error=_MAX_ERROR,
    )
    return flags.run(session, items, worker, work.out, work.identity)


def _frames_of(path: Path) -> tuple[tuple[InputItem, ...], str]:
    """Open the inputs that a fit file names; () and the reason if they cannot be read."""
    from humanpose_cli.io.fit_files import stored_inputs

    try:
        frames = stored_inputs(path)
        if error := next((item.error for item in frames if item.error is not None), None):
            raise error
    except InputError as error:
        return (), f"{error.subject}: {error.problem}"  # whose remedy, `frames`, is another command's
    return frames, "" if frames else f"{path}: does not name the files of its frames"


def _is_done(desk: Desk, item: Item) -> bool:
    entry = desk.verdict(item).done
    return entry is not None and entry.done


def camera_documents(fit: Any) -> list[dict[str, Any]]:
    """Describe the cameras of a take as JSON values, with their 2-D errors and weights."""
    import numpy as np

    documents = []
    for camera in fit.cameras:
        error = camera.reprojection_error[camera.shows]
        weight = camera.weight[camera.shows]
        documents.append(
            {
                "name": camera.name,
                "focal": round(float(camera.focal[0]), 3),
                "offset": round(camera.offset, 5),
                "world_to_camera": np.round(camera.world_to_camera[0], 6).tolist(),
                "error_px": round(float(np.median(error)), 3) if len(error) else None,
                "weight": round(float(weight.mean()), 4) if len(weight) else 0.0,
            }
        )
    return documents
