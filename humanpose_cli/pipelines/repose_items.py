"""`hpc repose` for one photograph: a picture, a video or numbered pictures out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import InputItem, output_path
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.pipelines.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.pipelines.repose import ReposedPicture, Reposer
from humanpose_cli.pipelines.steps import StepListener
from humanpose_cli.pipelines.targets import Target

__all__ = ["Form", "ReposedItem", "form_of", "repose_item", "repose_outputs"]

Form = Literal["picture", "video", "numbered"]


@dataclass(frozen=True)
class ReposedItem:
    """The files written, what may look wrong in them, the least share of a reposed person's surface seen, and how each
    person was drawn.
    """

    outputs: tuple[Path, ...]
    warnings: tuple[str, ...]
    seen_fraction: float
    methods: tuple[str, ...]


def form_of(target: Target, *, numbered: bool | None, transparent: bool) -> Form:
    """One pose makes a picture; several a video, or numbered pictures where asked for or transparent."""
    if len(target) == 1:
        return "picture"
    return "numbered" if numbered or (numbered is None and transparent) else "video"


def repose_outputs(item: InputItem, out: Path, form: Form, count: int) -> tuple[Path, ...]:
    """`a.jpg.reposed.png`, `a.jpg.reposed.mp4`, or `a.jpg.reposed/000000.png` and on."""
    if form == "picture":
        return (output_path(item, out, ".reposed.png"),)
    if form == "video":
        return (output_path(item, out, ".reposed.mp4"),)
    folder = output_path(item, out, ".reposed")
    return tuple(folder / f"{t:06d}.png" for t in range(count))


def repose_item(
    reposer: Reposer,
    item: InputItem,
    target: Target,
    out: Path,
    form: Form,
    *,
    background: np.ndarray | None = None,
    on_step: StepListener | None = None,
) -> ReposedItem:
    """Repose the people of a photograph (of a sequence, its first frame) and write what comes of it."""
    photo = next(item.frames(ahead=0))
    scene = reposer.read(photo.pixels, name=item.label, focal=photo.focal, background=background)
    outputs = repose_outputs(item, out, form, len(target))
    notes = _Notes(on_step, len(target))
    pictures = notes.listen(scene.pictures(target))
    if form == "video":
        with VideoWriter(outputs[0], target.frame_rate or DEFAULT_FRAME_RATE) as video:
            for picture in pictures:
                video.write(picture)
    else:
        for path, picture in zip(outputs, pictures, strict=True):
            write_image(path, picture)
    return ReposedItem(outputs, tuple(notes.warnings), notes.seen_fraction, notes.methods)


class _Notes:
    """Collects what the pictures of a motion say, without keeping them."""

    def __init__(self, on_step: StepListener | None, total: int) -> None:
        self._on_step, self._total = on_step, total
        self._kinds: set[str] = set()
        self.warnings: list[str] = []
        self.seen_fraction = 1.0
        self.methods: tuple[str, ...] = ()

    def listen(self, pictures: Iterator[ReposedPicture]) -> Iterator[np.ndarray]:
        for done, picture in enumerate(pictures, 1):
            yield picture.image
            self.seen_fraction = min(self.seen_fraction, picture.seen_fraction)
            self.methods = picture.methods
            for warning in picture.warnings:
                kind = "".join(c for c in warning if not c.isdigit())  # one turn of many degrees is one warning
                if kind not in self._kinds:
                    self._kinds.add(kind)
                    self.warnings.append(warning)
            if self._on_step is not None and self._total > 1:
                self._on_step(done, self._total, "frames")
