"""Batches in a fixed random order: workers that decode ahead, exact resume, one order for any number of processes."""

from __future__ import annotations

import atexit
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from humanpose_cli.batch.signals import TERMINAL_SIGNALS
from humanpose_cli.core.errors import UsageError

Make = Callable[[int, np.random.Generator], Any]
_OPEN: WeakSet[BatchLoader] = WeakSet()  # loaders whose workers may run


def spread_evenly(total: int, count: int) -> list[int]:
    """Return numbers spread evenly over 0 … total − 1, with the first and the last.

    Args:
        total: Number of numbers to choose from.
        count: How many to return; all if there are fewer.
    """
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


@dataclass(frozen=True)
class LoaderOptions:
    """Options of batches.

    Attributes:
        batch_size: Rows of a batch of this process; all processes together load `world_size` times as many.
        workers: Processes that decode batches in advance; 0 decodes in this process.
        seed: Seed of order and augmentation.
        shuffle: Shuffle the rows in each epoch; False keeps their order.
        drop_last: Drop the incomplete batch at the end of an epoch.
        rank: Index of this process.
        world_size: Number of processes.
        pinned: Keep batches in pinned memory, so that torch can copy them to the GPU while it computes.
    """

    batch_size: int = 8
    workers: int = 0
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = True
    rank: int = 0
    world_size: int = 1
    pinned: bool = False


@dataclass(frozen=True)
class Position:
    """The next batch.

    Attributes:
        epoch: Its epoch.
        batch: Its index within the epoch.
    """

    epoch: int = 0
    batch: int = 0


class _Examples(Dataset[Any]):
    """Makes example (epoch, row) with random numbers that depend on nothing else."""

    def __init__(self, make: Make, seed: int) -> None:
        self.make = make
        self.seed = seed

    def __getitem__(self, item: Any) -> Any:
        epoch, row = item
        return self.make(row, np.random.default_rng((self.seed, epoch, row)))


class _Order:
    """The items of the batches of all epochs from a position on, as torch's DataLoader takes its batch sampler."""

    def __init__(self, rows: Sequence[int], options: LoaderOptions) -> None:
        self.rows = np.asarray(rows, np.int64)
        self.options = options
        self.position = Position()

    def __len__(self) -> int:
        rows_per_step = self.options.batch_size * self.options.world_size
        return len(self.rows) // rows_per_step if self.options.drop_last else -(-len(self.rows) // rows_per_step)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        options = self.options
        rows_per_step = options.batch_size * options.world_size
        first_batch = self.position.batch
        for epoch in count(self.position.epoch):
            order = self.rows
            if options.shuffle:
                order = np.random.default_rng((options.seed, epoch)).permutation(self.rows)
            for batch in range(first_batch, len(self)):
                together = order[batch * rows_per_step : (batch + 1) * rows_per_step]
                process_rows = together[options.rank :: options.world_size]
                yield [(epoch, int(row)) for row in (process_rows if len(process_rows) else together[:1])]
            first_batch = 0


class BatchLoader:
    """Yields the rest of the current epoch's batches; the next iteration yields the next epoch's.

    The order and every example depend on seed, epoch and row alone: not on the workers, the point of an interruption,
    or the number of processes, whose batches together are the batches of one process. To resume, pass the saved
    `position` to `resume`. `close` ends the workers; otherwise they end with the process.

    Args:
        rows: Rows to make examples of.
        make: (row, random generator) → an example of tensors or arrays; must be picklable if workers are spawned.
        options: Options of the batches.
        collate: Examples → batch.

    Example:
        loader = BatchLoader(cache.rows("all", "train"), make, LoaderOptions(batch_size=8, workers=2))
        for epoch in range(10):
            for batch in loader:  # loader.position is the batch after this one
                ...
    """

    def __init__(
        self,
        rows: Sequence[int],
        make: Make,
        options: LoaderOptions | None = None,
        collate: Callable[[list[Any]], Any] = default_collate,
    ) -> None:
        self.options = options or LoaderOptions()
        self._order = _Order(rows, self.options)
        if not len(self._order):
            expected = f"{self.options.batch_size * self.options.world_size} or more"
            raise UsageError("rows", "do not fill one batch", expected=expected, got=str(len(rows)))
        self._stream: Any = None  # over all epochs, so that workers prepare the next one in time
        self._batches = DataLoader(
            _Examples(make, self.options.seed),
            batch_sampler=self._order,  # type: ignore[arg-type]
            num_workers=self.options.workers,
            collate_fn=collate,
            worker_init_fn=_prepare_worker,
            pin_memory=self.options.pinned,
            # A separate generator: otherwise every new iteration would draw from the numbers that dropout uses.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self._order)

    @property
    def example_count(self) -> int:
        """Number of examples that an epoch draws from; an incomplete last batch is left out."""
        return len(self._order.rows)

    @property
    def position(self) -> Position:
        """Position of the next batch."""
        return self._order.position

    def resume(self, position: Position) -> None:
        """Continue at the position of another loader with the same rows and options.

        Args:
            position: The position.

        Raises:
            UsageError: If the loader has no such position.
        """
        if position.epoch < 0 or not 0 <= position.batch <= len(self):
            raise UsageError("position", "is not one of this loader's", expected=f"batch 0 to {len(self)}")
        self._order.position = position
        self.close()

    def close(self) -> None:
        """End the workers. A later iteration starts new ones."""
        stream, self._stream = self._stream, None
        if stream is not None and self.options.workers:
            # Dropping the stream is not enough: a cycle or a traceback may hold it until the process ends, and then
            # multiprocessing would wait forever for workers that ignore its SIGTERM.
            stream._shutdown_workers()

    def __iter__(self) -> Iterator[Any]:
        start = self._order.position
        if start.batch == len(self):
            start = self._order.position = Position(start.epoch + 1)
        if self._stream is None:
            self._stream = iter(self._batches)
            _OPEN.add(self)
        for number in range(start.batch + 1, len(self) + 1):
            try:
                batch = next(self._stream)
            except BaseException:  # the stream may have left out the batch
                self.close()
                raise
            # Set before the batch is yielded, so that an interruption during its use counts it as used.
            self._order.position = Position(start.epoch + 1) if number == len(self) else Position(start.epoch, number)
            yield batch


@atexit.register  # later than multiprocessing's own function, so that this one runs first
def _close_all() -> None:
    """End the workers of all loaders."""
    for loader in [*_OPEN]:
        loader.close()


def _prepare_worker(_: int) -> None:
    """Leave signals to the parent process, and use one core."""
    # Schedulers and terminals send a signal to all processes of a job. A worker that ended by it would end its parent,
    # too, before that could save; a worker ends when its parent asks it to, or is gone.
    for number in (*TERMINAL_SIGNALS, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    import cv2  # its threads would take the cores of other workers

    cv2.setNumThreads(0)
