"""Detects the people of independent images in threads, and fits them in one solve."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeAlias

from humanpose_cli.core.blocks import made_ahead
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
) -> tuple[dict[Path, Fit | Exception], dict[Path, float]]:
    """Fit independent images together.

    Args:
        items: The images.
        detect: Returns the people of a frame. Called in threads.
        fit: Returns the fits of images and their people, in order, without keeping pixels.
        threads: The maximum number of images searched at once.
        progress: Called with (done, total, unit).

    Returns:
        The fit of each image, or its error, by path, and the seconds of each image, which add up to the total. An image
        without a fit or an error must be fitted alone.
    """
    search_seconds: dict[Path, float] = {}  # in the threads
    people: dict[Path, int] = {}
    start_time = search_end = time.perf_counter()

    def search(item: InputItem) -> ImagePeople | Exception:
        start = time.perf_counter()
        try:
            frame = next(item.frames())
            return frame, detect(frame)
        except Exception as error:  # any error concerns this image alone
            return error
        finally:
            search_seconds[item.path] = time.perf_counter() - start

    results: dict[Path, Fit | Exception] = {}
    paths: list[Path] = []

    def readable_images() -> Iterator[ImagePeople]:
        nonlocal search_end
        for count, (item, outcome) in enumerate(zip(items, searched, strict=True), 1):
            progress(count, len(items), "images searched")
            search_end = time.perf_counter()
            if isinstance(outcome, Exception):
                results[item.path] = outcome
            else:
                paths.append(item.path)
                people[item.path] = len(outcome[1])
                yield outcome

    # If the joint solve fails, one image may be the reason. Each is then fitted alone and reports its own error.
    with suppress(Exception), closing(made_ahead(search, items, min(len(items), threads))) as searched:
        results |= dict(zip(paths, fit(readable_images()), strict=True))
    # The search time is divided by what each image took in its thread, the solve time by the people of each image.
    shares = ((search_end - start_time, search_seconds), (time.perf_counter() - search_end, people))
    return results, {
        item.path: sum(seconds * parts.get(item.path, 0) / (sum(parts.values()) or 1) for seconds, parts in shares)
        for item in items
    }
