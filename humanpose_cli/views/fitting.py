"""The fit of a take from its videos or photographs: each view by itself, then all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.detection_journal import journal_of
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.calibrations import Calibration
from humanpose_cli.io.frame_range import ALL_FRAMES
from humanpose_cli.io.inputs import InputItem
from humanpose_cli.views.calibrated import calibrated_views
from humanpose_cli.views.checks import check_views, view_paths
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.records import take_fit
from humanpose_cli.views.sound import heard_offsets
from humanpose_cli.views.take import Take, solve_take

_SINGLE = 0.85  # fraction of the work on a take that is done when its views are fitted by themselves


@dataclass(frozen=True, eq=False)
class FittedTake:
    """A take with its fit."""

    take: Take
    fit: Fit


def fit_views(
    fitter: Fitter,
    views: Sequence[InputItem],
    names: Sequence[str],
    *,
    options: ViewsOptions | None = None,
    calibration: Calibration | None = None,
    offsets: Sequence[float | None] | None = None,
    height: float | None = None,
    journals: Sequence[Path] = (),
    progress: Progress = no_progress,
) -> FittedTake:
    """Everyone in the views of one take.

    names     of the views, all different
    calibration  of their cameras, which are not changed then; offsets: seconds that each clock is ahead of the first
                 one's
    height    metres of the largest person; None: as the bodies' shapes suggest, or the calibration says
    journals  fit files of the views, in whose journals (`people_journal`) the people found are kept; () keeps nothing
    InputError where no two views show the same person, and both as `check_views`.
    """
    if calibration is not None and height is not None:
        raise UsageError("height", "does not go together with a calibration, which has the scale")
    check_views(views, names, calibration)
    options = options or ViewsOptions()
    fits = []
    for number, view in enumerate(views):
        share = part_of(progress, _SINGLE * number / len(views), _SINGLE * (number + 1) / len(views))
        journal = journal_of(view, journals[number], fitter.identity) if journals else None
        fits.append(fitter.fit(view, people="all", progress=share, journal=journal))
    together = part_of(progress, _SINGLE, 1)
    together(0, None, "putting the views together")
    calibrated = None
    if calibration is not None:
        sizes = [(int(width), int(height)) for width, height in (one.image_size[0] for one in fits)]
        calibrated = calibrated_views(calibration, view_paths(views, names), sizes)
        fits = calibrated.pinhole(fits)
    heard: list[float | None] = [None] * len(views)
    if offsets is None and all(view.range == ALL_FRAMES for view in views):
        heard = heard_offsets([view.path if view.kind == "video" else None for view in views], options)
    take = solve_take(
        fits,
        names,
        fitter.body,
        options=options,
        keypoint_options=fitter.options.keypoints,
        calibrated=None if calibrated is None else calibrated.views,
        offsets=offsets,
        heard=heard,
        progress=together,
    )
    to_first = None
    if calibrated is not None:
        take = replace(take, messages=[*calibrated.notes, *take.messages])
        to_first = calibrated.to_first if take.used[0] == 0 else None
    fit = take_fit(take, fits, names, fitter.body, options, height, to_first, calibrated=calibrated is not None)
    return FittedTake(take, fit)
