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
    """The fit of each image, or what went wrong with it, and the seconds of each image. An image without a fit or an
    error has to be fitted alone.

    detect   people of a frame; called in threads
    fit      the fits of images and their people, in order; pixels are not kept

    The seconds add up to those that passed. The search takes them in proportion to what each image's took, the solve in
    proportion to the people of each image.
    """
    looks: dict[Path, float] = {}  # seconds in the threads
    people: dict[Path, int] = {}
    started = searched = time.perf_counter()

    def look(item: InputItem) -> ImagePeople | Exception:
        begun = time.perf_counter()
        try:
            frame = next(item.frames())
            return frame, detect(frame)
        except Exception as error:  # any error concerns this image alone
            return error
        finally:
            looks[item.path] = time.perf_counter() - begun

    results: dict[Path, Fit | Exception] = {}
    fitted: list[Path] = []

    def readable_images() -> Iterator[ImagePeople]:
        nonlocal searched
        for done, (item, found) in enumerate(zip(items, pool.map(look, items), strict=True), 1):
            progress(done, len(items), "images looked at")
            searched = time.perf_counter()
            if isinstance(found, Exception):
                results[item.path] = found
            else:
                fitted.append(item.path)
                people[item.path] = len(found[1])
                yield found

    # If the joint solve fails, one image may be the reason: each is fitted alone then, and reports its own error.
    with ThreadPoolExecutor(min(len(items), threads)) as pool, contextlib.suppress(Exception):
        results |= dict(zip(fitted, fit(readable_images()), strict=True))
    solved = time.perf_counter()
    shares = ((searched - started, looks), (solved - searched, people))
    return results, {
        item.path: sum(seconds * parts.get(item.path, 0) / (sum(parts.values()) or 1) for seconds, parts in shares)
        for item in items
    }
