"""Outputs of the shipped pose networks, remembered for one session of tests: many tests look at the same images.

What a network finds in a crop is stored under a digest of everything that it depends on, in a folder that all workers
of pytest-xdist share. `tests/detect` runs the networks themselves, as do processes that tests start.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from humanpose_cli.detect import fusion, regions
from humanpose_cli.detect.models import PoseModels

T = TypeVar("T")


class RememberedNetworks:
    """The networks' functions with a memory in `folder`, once they are `installed`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._patch = pytest.MonkeyPatch()

    def install(self) -> None:
        for owner, name in (
            (PoseModels, "find"),
            (PoseModels, "landmarks"),
            (fusion, "single_pose"),
            (regions, "multi_pose"),
        ):
            self._patch.setattr(owner, name, self.remembering(getattr(owner, name)))

    def remove(self) -> None:
        self._patch.undo()

    @contextmanager
    def removed(self) -> Iterator[None]:
        """Let the networks run meanwhile."""
        self.remove()
        try:
            yield
        finally:
            self.install()

    def remembering(self, compute: Callable[..., T]) -> Callable[..., T]:
        """Return `compute` with a memory: equal arguments give a copy of the first result."""

        @wraps(compute)
        def remembered(*arguments: object, **options: object) -> T:
            digest = hashlib.blake2b(compute.__qualname__.encode(), digest_size=16)
            _add(digest, (arguments, sorted(options.items())))
            path = self._folder / digest.hexdigest()
            try:
                return pickle.loads(path.read_bytes())
            except FileNotFoundError:
                result = compute(*arguments, **options)
            # Complete or absent: other workers read it at any time.
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                pickle.dump(result, file, pickle.HIGHEST_PROTOCOL)
            os.replace(file.name, path)
            return result

        return remembered


def _add(digest: hashlib.blake2b, value: object) -> None:
    """Add a value to a digest: arrays by their bytes, models by their device."""
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value))
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)} of".encode())
        for part in value:
            _add(digest, part)
    elif isinstance(value, PoseModels):
        digest.update(value.device.encode())
    else:
        digest.update(f"{value!r},".encode())
