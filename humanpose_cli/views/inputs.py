"""The inputs of takes, and the names of what is made of them. Needs no torch: commands read it before they work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from humanpose_cli.core.errors import HpcError
from humanpose_cli.io.calibrations import Calibration, takes_of
from humanpose_cli.io.fit_files import FIT_SUFFIX
from humanpose_cli.io.inputs import InputItem, escaped
from humanpose_cli.views.checks import check_views


@dataclass(frozen=True)
class TakeInput:
    """The views of one take.

    key    of the item in a batch: also the beginning of its files' names
    views  the videos, folders of frames, or photographs of one moment
    error  what is wrong with it already
    """

    key: str
    views: tuple[InputItem, ...]
    error: HpcError | None = None

    is_sequence = True  # its images are never looked at together with those of other items

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of all views."""
        return tuple(path for view in self.views for path in view.files)

    def checked(self, calibration: Calibration | None) -> TakeInput:
        """Look at the videos and the calibration as `check_views` does; what is wrong becomes the error."""
        if self.error is not None:
            return self
        try:
            check_views(self.views, self.names, calibration)
        except HpcError as error:
            return replace(self, error=error)
        return self

    @property
    def names(self) -> list[str]:
        """Of the views: their files' or folders' names, with those of the folders above where they are alike."""
        names = [view.path.name for view in self.views]
        return names if len(set(names)) == len(names) else [view.key for view in self.views]


def separate_takes(take: TakeInput, calibration: Calibration) -> list[TakeInput]:
    """A folder's takes: several where the calibration's cameras have several videos each."""
    groups = takes_of(calibration, [view.path.name for view in take.views])
    if list(groups) == [""]:
        return [take]
    return [
        replace(
            take, key=f"{take.key}/{escaped(name)}" if name else take.key, views=tuple(take.views[row] for row in rows)
        )
        for name, rows in groups.items()
    ]


def take_outputs(take: TakeInput, out: Path, *, overlay: bool = True) -> tuple[Path, ...]:
    """The files of a take in a folder: its fit and cameras, then of each view a fit, then of each an overlay."""
    fit, *cameras = (out / f"{take.key}{ending}" for ending in (FIT_SUFFIX, ".cameras.json", ".cameras.png"))
    views = [
        view_outputs(fit, name, sequence=view.kind != "image")
        for name, view in zip(take.names, take.views, strict=True)
    ]
    fits, drawn = zip(*views, strict=True)
    return (fit, *cameras, *fits, *(drawn if overlay else ()))


def view_outputs(take: Path, name: str, *, sequence: bool) -> tuple[Path, Path]:
    """The fit file and the overlay of a view, beside the fit file of its take."""
    stem = f"{take.name.removesuffix('.npz').removesuffix('.fit')}.{escaped(name)}"
    return take.with_name(stem + FIT_SUFFIX), take.with_name(f"{stem}.overlay.{'mp4' if sequence else 'jpg'}")
