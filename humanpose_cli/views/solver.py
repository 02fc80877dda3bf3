"""The step that combines the fits of several cameras into the fit of a take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from humanpose_cli.body.body import Body
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.options import KeypointFitOptions
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import FitStep
from humanpose_cli.io.calibrations import Calibration
from humanpose_cli.io.frame_range import ALL_FRAMES
from humanpose_cli.outputs.output_names import FIT_SUFFIX
from humanpose_cli.views.calibrated import calibrated_views
from humanpose_cli.views.checks import check_view_count, view_paths
from humanpose_cli.views.inputs import distinct_names
from humanpose_cli.views.options import ViewsOptions
from humanpose_cli.views.records import take_fit
from humanpose_cli.views.sound import offsets_by_sound
from humanpose_cli.views.take import solve_take


@dataclass(frozen=True)
class TakeSolver(FitStep):
    """Combines the fits of cameras that film the same people at the same time.

    Attributes:
        options: How cameras are estimated and bodies solved.
        keypoints: Options of the keypoint fit.
        height: Metres. The height of the largest person when standing, which sets the scale, or shows the unit of a
            calibration.
            None: the size that the bodies suggest.
        offsets: Seconds that each camera's clock is ahead of the first one's. None: they are estimated.
        calibration: The calibration of the cameras. None: they are estimated.
        body: The body of fits that were read from files. None: the default body.
    """

    options: ViewsOptions = field(default_factory=ViewsOptions)
    keypoints: KeypointFitOptions = field(default_factory=KeypointFitOptions)
    height: float | None = None
    offsets: Sequence[float] | None = None
    calibration: Calibration | None = None
    body: Body | None = None

    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Combine the fits of the single cameras. The take has the frames of the first one.

        Cameras are named after their videos or, if these are unknown, after their fit files. `options.messages` of
        the result says which cameras are left out.

        Args:
            fits: The fits.
            output: The fit file that will be written. Unused.
            progress: Called with (done, total, unit).

        Raises:
            UsageError: If there are fewer than two fits.
            InputError: If no two views show the same person, or the calibration lacks a camera.
        """
        check_view_count(len(fits))
        progress(0, None, "combining the cameras")
        body = fits[0].body_model(self.body)
        paths = [camera_path(fit, number) for number, fit in enumerate(fits)]
        names = distinct_names(paths)
        calibrated = None
        if self.calibration is not None:
            sizes = [(int(width), int(height)) for width, height in (fit.image_size[0] for fit in fits)]
            calibrated = calibrated_views(self.calibration, view_paths(paths, names), sizes, self.height)
            fits = calibrated.pinhole(fits)
        sound_offsets: list[float | None] = [None] * len(fits)
        files = [fit.current_frame_files for fit in fits]
        # The sound of a video begins with its first frame.
        if self.offsets is None and all(file and file[0].range == ALL_FRAMES for file in files):
            sound_offsets = offsets_by_sound([f[0].paths[0] if f[0].kind == "video" else None for f in files])
        take = solve_take(
            fits,
            names,
            body,
            options=self.options,
            keypoint_options=self.keypoints,
            calibrated=calibrated,
            offsets=self.offsets,
            sound_offsets=sound_offsets,
            progress=progress,
        )
        to_first = None
        has_scale = False
        if take.calibration is not None:
            has_scale = take.calibration.unit is not None
            to_first = take.calibration.to_first if take.used[0] == 0 else None
            take = replace(take, messages=[*take.calibration.notes, *take.messages])
        height = None if has_scale else self.height
        return take_fit(take, fits, names, body, self.options, height, to_first, calibrated=has_scale)


def camera_path(fit: Fit, number: int) -> Path:
    """Return the path after which the camera of a fit is named: of its frames, else of its file."""
    if fit.current_frame_files:
        return fit.current_frame_files[0].paths[0]
    if fit.path is not None:
        return fit.path.with_name(fit.path.name.removesuffix(FIT_SUFFIX))
    return Path(f"camera{number}")
