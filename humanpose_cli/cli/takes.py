"""`hpc fit --views`: the videos of several cameras as one fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.cli.options import BatchFlags, option
from humanpose_cli.cli.session import Session
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress, part_of

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.fitting.fitter import Fitter
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.io.calibrations import Calibration
    from humanpose_cli.io.frame_range import FrameRange
    from humanpose_cli.io.inputs import InputItem
    from humanpose_cli.refining.refiner import Refiner
    from humanpose_cli.views.inputs import TakeInput
    from humanpose_cli.views.options import ViewsOptions

_PANEL = "Several cameras"
_VIEWS = option(
    "--views",
    "The inputs are cameras that film the same people at the same time: fit them as one. Of folders, each is a take.",
    _PANEL,
)
_HEIGHT = option(
    "--height METRES",
    "Height of the largest person, which sets the scale. Default: as the fits of the single cameras suggest.",
    _PANEL,
    show_default=False,
)
_OFFSETS = option(
    "--offsets SECONDS,SECONDS,…",
    "How far each camera's clock is ahead of the first one's, which has 0. Default: found from the movements.",
    _PANEL,
    show_default=False,
)
_CALIBRATION = option(
    "--calibration FILE",
    "The cameras: cameras.json as this command writes it, a .toml of Pose2Sim, Anipose or FreeMoCap, OpenCV's .yml or "
    ".xml, a folder of EasyMocap's intri.yml and extri.yml, Qualisys' export, or the "
    "files of Human3.6M and MPI-INF-3DHP. Default: found from the people.",
    _PANEL,
    show_default=False,
)
_SAME = option(
    "--same-cameras",
    "All takes have the cameras of the first one, which are kept in OUT/cameras.json.",
    _PANEL,
)
_LOWEST, _HIGHEST = 0.5, 2.6  # metres of a person


@dataclass(frozen=True)
class ViewsFlags:
    """Several cameras, as one parameter."""

    views: Annotated[bool, _VIEWS] = False
    height: Annotated[float | None, _HEIGHT] = None
    offsets: Annotated[str | None, _OFFSETS] = None
    calibration: Annotated[Path | None, _CALIBRATION] = None
    same_cameras: Annotated[bool, _SAME] = False

    def options(self, session: Session) -> ViewsOptions:
        """With the user's settings `views.…`; UsageError for these without `views`."""
        from humanpose_cli.views.options import ViewsOptions

        chosen = session.tune_part("views", ViewsOptions())
        if not self.views and chosen != ViewsOptions():
            raise UsageError("setting views", "has no effect without `views`")
        return chosen

    def check(self) -> None:
        """UsageError for values out of range."""
        if self.height is not None and not _LOWEST <= self.height <= _HIGHEST:
            raise UsageError("height", "is out of range", expected="0.5 to 2.6 metres", got=f"{self.height:g}")
        self.seconds(0)

    def seconds(self, count: int) -> list[float] | None:
        """The offsets of the cameras; UsageError where they are no numbers, or not as many as cameras (0: any)."""
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
        """What a ledger knows of it: nothing of fits of single cameras, as in earlier runs."""
        if not self.views:
            return {}
        from humanpose_cli.io.digests import digest_of_files

        found: dict[str, Any] = {"views": True, "height": self.height, "offsets": self.offsets}
        if self.calibration is not None:
            folder = self.calibration.is_dir()
            files = sorted(self.calibration.glob("*.yml")) if folder else [self.calibration]
            found["calibration"] = digest_of_files(files)
        return {**found, "same_cameras": True} if self.same_cameras else found


def find_takes(
    session: Session, flags: BatchFlags, views: ViewsFlags, inputs: Sequence[str], out: Path, *, frames: FrameRange
) -> list[TakeInput]:
    """The takes that arguments name: each folder of several videos, sequences or images is one; all others are one.

    With a calibration, videos of one camera belong to different takes, see `takes_of`.
    """
    from humanpose_cli.io.calibrations import read_calibration
    from humanpose_cli.views.inputs import TakeInput, separate_takes

    folders: dict[Path, Sequence[InputItem]] = {}
    loose: list[str] = []
    arguments = [*inputs, *flags.listed()]
    for argument in arguments:
        folder = Path(argument)
        if not folder.is_dir():
            loose.append(argument)
            continue
        found = flags.inputs(session, [argument], out, sequence=None, frames=frames)
        if len(found) == 1 and len(arguments) == 1:
            # Images of one folder are one camera's frames, but photographs of one moment if there is no other camera.
            found = flags.inputs(session, [argument], out, sequence=False, frames=frames)
        if len(found) == 1:
            loose.append(argument)
            continue
        folders[folder.resolve()] = found
    takes = [TakeInput(name, tuple(folders[folder])) for folder, name in _names_of(folders).items()]
    if loose:
        found = flags.inputs(session, loose, out, sequence=None, frames=frames)
        error = next((view.error for view in found if view.error is not None), None)
        takes.insert(0, TakeInput("take", tuple(found), error))
    if not takes:
        raise UsageError("input", "is missing", expected="two videos or more, or a folder of them")
    calibration = None if views.calibration is None else read_calibration(views.calibration)
    if calibration is not None:
        takes = [part for take in takes for part in separate_takes(take, calibration)]
    # Of many takes, each is checked when it is its turn.
    return [take.checked(calibration) for take in takes] if flags.dry_run or len(takes) == 1 else takes


def _names_of(folders: Iterable[Path]) -> dict[Path, str]:
    """The folders' names, with those of the folders above where they are alike."""
    from humanpose_cli.io.inputs import escaped

    names = {folder: folder.name for folder in folders}
    above = {folder: folder.parent for folder in names}
    while len(set(names.values())) < len(names):
        counts = Counter(names.values())
        for folder, name in names.items():
            if counts[name] > 1:
                names[folder], above[folder] = f"{above[folder].name}/{name}", above[folder].parent
    return {folder: escaped(name) for folder, name in names.items()}


def take_item(take: TakeInput, out: Path, *, overlay: bool) -> Item:
    """The item of a take, with the journals of all its views."""
    from humanpose_cli.batch.items import Item
    from humanpose_cli.fitting.options import people_journal
    from humanpose_cli.views.inputs import take_outputs

    outputs = take_outputs(take, out, overlay=overlay)
    journals = tuple(people_journal(fit) for fit in outputs[3 : 3 + len(take.views)])
    return Item(take.key, take.files, take.key, None, outputs, journals, take, take.error)


@dataclass
class TakeWork:
    """What a batch does with its takes.

    fitter  makes the fitter of single cameras, once, when there is something to fit
    first  the first take, whose cameras all have with `same_cameras`
    drawn  how overlays are drawn, as of `Fit.save_overlay`
    """

    session: Session
    out: Path
    first: TakeInput
    fitter: Callable[[], Fitter]
    options: ViewsOptions
    flags: ViewsFlags
    overlay: bool
    drawn: Mapping[str, Any]
    fail_if_doubtful: bool
    refiner: Refiner | None = None

    def __call__(self, item: Item) -> Outcome:
        """Fit one, and write its files."""
        from humanpose_cli.batch.runner import Outcome
        from humanpose_cli.fitting.records import record_summary
        from humanpose_cli.io.calibrations import write_calibration
        from humanpose_cli.io.images import write_image
        from humanpose_cli.views.calibrated import calibration_of
        from humanpose_cli.views.fitting import fit_views
        from humanpose_cli.views.plan import draw_plan

        take: TakeInput = item.payload
        reporter = self.session.reporter
        count = len(take.views)
        fit_path, cameras_path, plan_path, *others = item.outputs
        single, rest = (0.4, 0.75) if self.refiner is not None else (0.8, 0.8)
        fitted = fit_views(
            self.fitter(),
            take.views,
            take.names,
            options=self.options,
            offsets=self.flags.seconds(count),
            calibration=self.calibration(),
            height=None if self.flags.same_cameras else self.flags.height,
            journals=others[:count],
            progress=part_of(reporter.step, 0, single),
        )
        fit, before, written = fitted.fit, None, [fit_path, cameras_path, plan_path]
        for message in fitted.take.messages:
            reporter.warn(f"{item.short}: {message}")
        if (scale := fit.options["scale"])["source"] == "bodies":
            reporter.info_once(f"sizes are those of usual adults, ±{scale['uncertainty']:.0%}; --height sets the scale")
        if self.refiner is None:
            fit.save(fit_path)
        else:
            from humanpose_cli.refining.items import refine_fit

            before = fit
            fit, refined = refine_fit(self.refiner, fit, (fit_path,), progress=part_of(reporter.step, single, rest))
            written += refined[1:]
        write_calibration(cameras_path, calibration_of(fit))
        write_image(plan_path, draw_plan(fit))
        drawing = part_of(reporter.step, rest, 1)
        written += write_views(fit, fit_path, before, overlay=self.overlay, progress=drawing, **self.drawn)
        documents = {"cameras": camera_documents(fitted.fit), "scale": scale}
        summary = {**record_summary(fit), "views": len(fitted.take.used)}
        problem = f"doubtful: {summary['doubtful']}" if self.fail_if_doubtful and summary["doubtful"] else None
        return Outcome(tuple(written), summary, documents, problem)

    def calibration(self) -> Calibration | None:
        """The user's calibration, or that of the first take, which the first process that needs it makes."""
        from humanpose_cli.io.atomic import folder_lock
        from humanpose_cli.io.calibrations import read_calibration, write_calibration
        from humanpose_cli.views.calibrated import calibration_of
        from humanpose_cli.views.fitting import fit_views
        from humanpose_cli.views.inputs import take_outputs

        if self.flags.calibration is not None:
            return read_calibration(self.flags.calibration)
        if not self.flags.same_cameras:
            return None
        path, count = self.out / "cameras.json", len(self.first.views)
        with folder_lock(self.out):
            if not path.exists():
                offsets, fits = self.flags.seconds(count), take_outputs(self.first, self.out)[3 : 3 + count]
                chosen: dict[str, Any] = {"options": self.options, "offsets": offsets, "height": self.flags.height}
                made = fit_views(self.fitter(), self.first.views, self.first.names, journals=fits, **chosen)
                write_calibration(path, calibration_of(made.fit))
        return read_calibration(path)


def write_views(
    fit: Fit,
    path: Path,
    before: Fit | None = None,
    *,
    overlay: bool = True,
    progress: Progress = no_progress,
    **drawn: Any,
) -> list[Path]:
    """Write of each view of a take its fit, its overlay, and the page that compares it with the fit before refinement.

    path    of the take's fit file; before: None without pages
    drawn   how overlays are drawn, as of `Fit.save_overlay`
    """
    from humanpose_cli.io.fit_files import write_fit
    from humanpose_cli.refining.frames import FitFrames
    from humanpose_cli.refining.items import page_path, write_refined_page
    from humanpose_cli.views.inputs import view_outputs
    from humanpose_cli.views.plan import draw_plan

    assert fit.views is not None
    written, plan = [], None if before is None else draw_plan(fit)
    shown = fit.views.with_frames
    for index, number in enumerate(shown):
        share = part_of(progress, index / len(shown), (index + 1) / len(shown))
        view, name = fit.view(number), str(fit.views.names[number])
        assert view.images is not None
        fit_path, overlay_path = view_outputs(path, name, sequence=view.images.is_sequence)
        write_fit(fit_path, view)
        written.append(fit_path)
        if overlay:
            written.append(view.save_overlay(overlay_path, part_of(share, 0, 0.6), **drawn))
        if before is not None:
            frames, page = FitFrames(view, view.images, in_order=True), page_path(fit_path)
            described: dict[str, Any] = {"title": f"{name}, refined", "plan": plan, "progress": part_of(share, 0.6, 1)}
            write_refined_page(page, before.view(number), view, frames, **described)
            written.append(page)
    return written


def camera_documents(fit: Any) -> list[dict[str, Any]]:
    """The cameras of a take as JSON values, with how well each agrees with the bodies."""
    import numpy as np

    views, documents = fit.views, []
    for number, name in enumerate(views.names.tolist()):
        shown = (views.keypoints2d[number, ..., 2] > 0).any(1)
        matrix = views.from_first[number].astype(np.float64) @ fit.world_to_camera[0].astype(np.float64)
        documents.append(
            {
                "name": name,
                "focal": round(float(views.focal[number]), 3),
                "offset": round(float(views.offset[number]), 5),
                "world_to_camera": np.round(matrix, 6).tolist(),
                "error_px": round(float(np.median(views.reprojection_error[number][shown])), 3)
                if shown.any()
                else None,
                "weight": round(float(views.weight[number][shown].mean()), 4) if shown.any() else 0.0,
            }
        )
    return documents
