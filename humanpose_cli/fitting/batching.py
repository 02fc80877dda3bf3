"""Independent images that are searched for people in threads and then fitted in one solve."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from humanpose_cli.core.progress import Progress
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.inputs import Frame, InputItem

ImagePeople: TypeAlias = tuple[Frame, Sequence[DetectedPerson]]


def fit_images_together(
    items: Sequence[InputItem],
    detect: Callable[[Frame], Sequence[DetectedPerson]],
    fit: Callable[[Iterable[ImagePeople]], Sequence[Fit]],
    threads: int,
    progress: Progress,
) -> dict[Path, Fit | Exception]:
    """The fit of each image, or what went wrong with it; an image without either has to be fitted alone.

    detect   people of a frame; called in threads
    fit      the fits of images and their people, in order; pixels are not kept
    """

    def look(item: InputItem) -> ImagePeople | Exception:
        try:
            frame = next(item.frames())
            return frame, detect(frame)
        except Exception as error:  # any error concerns this image alone
            return error

    results: dict[Path, Fit | Exception] = {}
    fitted: list[Path] = []

    def readable_images() -> Iterator[ImagePeople]:
        for done, (item, found) in enumerate(zip(items, pool.map(look, items), strict=True), 1):
            progress(done, len(items), "images looked at")
            if isinstance(found, Exception):
                results[item.path] = found
            else:
                fitted.append(item.path)
                yield found

    # If the joint solve fails, one image may be the reason: each is fitted alone then, and reports its own error.
    with ThreadPoolExecutor(min(len(items), threads)) as pool, contextlib.suppress(Exception):
        results |= dict(zip(fitted, fit(readable_images()), strict=True))
    return results
