"""Independent images that are searched for people in threads and then fitted in one solve."""

from __future__ import annotations

import contextlib
import time
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
) -> tuple[dict[Path, Fit | Exception], dict[Path, float]]:
    """Fit independent images: the fit of each, or what went wrong with it, and its seconds. An image without a fit or
    an error has to be fitted alone.

    The seconds add up to those that passed. The search takes them in proportion to what each image's took, the solve in
    proportion to the people of each image.

    Args:
        detect: People of a frame; called in threads.
        fit: The fits of images and their people, in order; pixels are not kept.
    """
    looks: dict[Path, float] = {}  # seconds in the threads
    people: dict[Path, int] = {}
    start_time = search_end = time.perf_counter()

    def look(item: InputItem) -> ImagePeople | Exception:
        look_start = time.perf_counter()
        try:
            frame = next(item.frames())
            return frame, detect(frame)
        except Exception as error:  # any error concerns this image alone
            return error
        finally:
            looks[item.path] = time.perf_counter() - look_start

    results: dict[Path, Fit | Exception] = {}
    paths: list[Path] = []

    def readable_images() -> Iterator[ImagePeople]:
        nonlocal search_end
        for count, (item, outcome) in enumerate(zip(items, pool.map(look, items), strict=True), 1):
            progress(count, len(items), "images looked at")
            search_end = time.perf_counter()
            if isinstance(outcome, Exception):
                results[item.path] = outcome
            else:
                paths.append(item.path)
                people[item.path] = len(outcome[1])
                yield outcome

    # If the joint solve fails, one image may be the reason: each is fitted alone then, and reports its own error.
    with ThreadPoolExecutor(min(len(items), threads)) as pool, contextlib.suppress(Exception):
        results |= dict(zip(paths, fit(readable_images()), strict=True))
    solve_end = time.perf_counter()
    shares = ((search_end - start_time, looks), (solve_end - search_end, people))
    return results, {
        item.path: sum(seconds * parts.get(item.path, 0) / (sum(parts.values()) or 1) for seconds, parts in shares)
        for item in items
    }
