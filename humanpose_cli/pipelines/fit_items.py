"""`hpc fit` for one item: a picture or a sequence in, a fit file and an overlay out."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from humanpose_cli.io.fit_files import FIT_SUFFIX, FitRecord, read_fit, write_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import InputItem, output_path
from humanpose_cli.pipelines.fit import BodyFitter
from humanpose_cli.pipelines.overlays import overlay_picture, overlay_video
from humanpose_cli.pipelines.steps import StepListener

__all__ = ["FittedItem", "fit_item", "fit_outputs"]


@dataclass(frozen=True, eq=False)
class FittedItem:
    """What came of an item: its record and the files written."""

    record: FitRecord
    outputs: tuple[Path, ...]

    @classmethod
    def read(cls, outputs: tuple[Path, ...]) -> FittedItem:
        """An item that an earlier run did."""
        return cls(read_fit(next(path for path in outputs if path.name.endswith(FIT_SUFFIX))), outputs)


def fit_outputs(item: InputItem, out: Path, *, overlay: bool = True) -> tuple[Path, ...]:
    """The files that `fit_item` will write: `a.jpg.fit.npz`, and `a.jpg.overlay.jpg` or `a.mp4.overlay.mp4`."""
    fit = output_path(item, out, FIT_SUFFIX)
    if not overlay:
        return (fit,)
    return fit, output_path(item, out, ".overlay.mp4" if item.is_sequence else ".overlay.jpg")


def fit_item(
    fitter: BodyFitter, item: InputItem, out: Path, *, overlay: bool = True, on_step: StepListener | None = None
) -> FittedItem:
    """Fit everybody in an item and write its files; each appears whole or not at all."""
    outputs = fit_outputs(item, out, overlay=overlay)
    if item.is_sequence:
        with closing(item.frames()) as frames:
            record = fitter.fit_sequence(
                frames, frame_rate=item.frame_rate, frame_count=item.frame_count, on_step=on_step
            )
        write_fit(outputs[0], record)
        if overlay:
            overlay_video(fitter.body, record, item, outputs[1], on_step)
    else:
        frame = next(item.frames())
        record = fitter.fit_picture(frame.pixels, name=frame.name, focal=frame.focal, path=frame.path).record
        write_fit(outputs[0], record)
        if overlay:
            write_image(outputs[1], overlay_picture(fitter.body, record, frame.pixels))
    return FittedItem(record, outputs)
