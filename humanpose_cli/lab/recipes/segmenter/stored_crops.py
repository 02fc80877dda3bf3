"""Crops whose inputs to a `MapSegmenter` are computed once: the fixed pose network takes longer than what learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.lab.cache.loader import Make
from humanpose_cli.models.segmenter.network import MAP_INPUTS, map_inputs


class StoredCrops:
    """Makes examples of a `MapSegmenter`; each crop is computed at its first use and kept in a file.

    An example has `labels` (S // 2, S // 2) uint8, and `input0`, `input1` … float16, the `map_inputs`. The file has
    room for all crops, and takes space for those that were used.

    Args:
        make: Makes segmenter_input (3, S, S) and labels (S, S) of a person.
        path: The file.
        count: Number of people.
        side: Pixels. Side S of the crops.
        variants: Number of crops of each person, from which an example is drawn.
    """

    def __init__(self, make: Make, path: Path, count: int, side: int, variants: int = 1) -> None:
        self.make, self.path, self.count, self.side, self.variants = make, path, count, side, variants
        self._rows: NDArray[Any] | None = None

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.make, self.path, self.count, self.side, self.variants)

    @property
    def rows(self) -> NDArray[Any]:
        """(count · variants,) The file; `ready` is 1 for the crops that it holds."""
        if self._rows is None:
            inputs = [(f"input{k}", np.float16, shape) for k, shape in enumerate(MAP_INPUTS)]
            row = np.dtype([("ready", np.uint8), ("labels", np.uint8, (self.side // 2, self.side // 2)), *inputs])
            length = self.count * self.variants
            with self.path.open("ab") as file:  # several processes may begin at once
                file.truncate(length * row.itemsize)
            self._rows = np.memmap(self.path, row, "r+", shape=(length,))
        return self._rows

    def __call__(self, number: int, random: np.random.Generator) -> dict[str, NDArray[Any]]:
        variant = int(random.integers(self.variants))
        row = self.rows[number * self.variants + variant]
        names = row.dtype.names[1:]
        if not row["ready"]:
            crop = self.make(number, np.random.default_rng((number, variant)))
            row["labels"] = crop["labels"][1::2, 1::2]
            for name, values in zip(
                names[1:], map_inputs(torch.from_numpy(crop["segmenter_input"])[None]), strict=True
            ):
                row[name] = values[0].numpy()
            row["ready"] = 1  # last, for a process that ends before leaves it 0
        return {name: np.array(row[name]) for name in names}
