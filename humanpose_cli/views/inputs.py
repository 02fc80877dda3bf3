"""Inputs of takes, and the names of their outputs. Needs no torch, because commands read it before they work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from humanpose_cli.core.errors import HpcError, InputError
from humanpose_cli.io.calibrations import Calibration, takes_of
from humanpose_cli.io.fit_files import stored_inputs
from humanpose_cli.io.inputs import InputItem, escaped
from humanpose_cli.outputs.output_names import FIT_SUFFIX, beside_fit
from humanpose_cli.views.checks import check_take, check_view_count


@dataclass(frozen=True)
class TakeInput:
    """The cameras of one take.

    Attributes:
        key: The key of the item in a batch, with which its files' names begin.
        views: Videos, folders of frames, or photographs of one moment.
        fits: Fit files of further cameras.
        error: The reason why the take cannot be fitted, if it is already known.
        order: The calibrated camera of each view, in words. "" without a calibration.
    """

    key: str
    views: tuple[InputItem, ...]
    fits: tuple[Path, ...] = ()
    error: HpcError | None = None
    order: str = ""

    def checked(self, calibration: Calibration | None) -> TakeInput:
        """Check videos and calibration. The result has either `error` or, with a calibration, `order`."""
        if self.error is not None:
            return self
        try:
            check_view_count(len(self.views) + len(self.fits))
            views = [*self.views]
            for fit in self.fits:
                with suppress(InputError):  # missing frames are reported when they are needed
                    views += stored_inputs(fit)[:1]
            if len(views) == len(self.views) + len(self.fits):
                names = distinct_names([view.path for view in views])
                cameras = check_take(views, names, calibration)
                pairs = zip(names, cameras, strict=False)
                return replace(self, order=", ".join(f"{name} is camera {camera.name}" for name, camera in pairs))
        except HpcError as error:
            return replace(self, error=error)
        return self

    @property
    def names(self) -> list[str]:
        """The names of the views."""
        return distinct_names([view.path for view in self.views])


def separate_takes(take: TakeInput, calibration: Calibration) -> list[TakeInput]:
    """Separate a folder into several takes if the calibration's cameras have several videos each."""
    groups = takes_of(calibration, [view.path.name for view in take.views])
    if list(groups) == [""]:
        return [take]
    return [
        replace(
            take, key=f"{take.key}/{escaped(name)}" if name else take.key, views=tuple(take.views[row] for row in rows)
        )
        for name, rows in groups.items()
    ]


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Name files or folders after themselves, with the folders above if names are equal."""
    parts = [tuple(escaped(part) for part in path.absolute().parts) for path in paths]
    depth = [1] * len(parts)
    while True:
        names = ["/".join(part[-count:]) for part, count in zip(parts, depth, strict=True)]
        counts = Counter(names)
        longer = [counts[name] > 1 and count < len(part) for name, count, part in zip(names, depth, parts, strict=True)]
        if not any(longer):
            return names
        depth = [count + is_longer for count, is_longer in zip(depth, longer, strict=True)]


def take_outputs(take: Path) -> tuple[Path, Path]:
    """Return the files of the cameras and of the plan next to the fit file of a take."""
    return beside_fit(take, ".cameras.json"), beside_fit(take, ".cameras.png")


def view_outputs(take: Path, name: str) -> Path:
    """Return the fit file of a view next to the fit file of its take."""
    return beside_fit(take, f".{name.replace('/', '.')}{FIT_SUFFIX}")
