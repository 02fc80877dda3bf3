"""The order of batches: from a seed, over workers, processes and interruptions."""

import multiprocessing

import numpy as np
import pytest
from helpers.errors import raises
from helpers.patience import PATIENCE

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.cache.loader import BatchLoader, LoaderOptions, Position, spread_evenly


class Numbers:
    """Examples that show which row they are and which random numbers they were given."""

    def __call__(self, row, random):
        return np.array([row, random.integers(1 << 30)])


def batches(rows, epochs=1, position=None, **options):
    loader = BatchLoader(rows, Numbers(), LoaderOptions(**options))
    if position is not None:
        loader.resume(position)
    return [batch.numpy() for _ in range(epochs) for batch in loader]


def test_every_row_once_an_epoch_in_a_new_order():
    first, second = np.split(np.stack(batches(range(100, 124), epochs=2, batch_size=4)), 2)
    assert sorted(first[..., 0].ravel()) == sorted(second[..., 0].ravel()) == list(range(100, 124))
    assert (first[..., 0] != second[..., 0]).any()
    assert (first[..., 1] != second[..., 1]).all()  # new random numbers for the same row


@pytest.mark.slow
def test_the_order_depends_on_the_seed_alone():
    two_epochs = batches(range(30), 2, batch_size=3, seed=5)
    for workers in (1, 2):
        np.testing.assert_array_equal(two_epochs, batches(range(30), 2, batch_size=3, seed=5, workers=workers))
    assert not np.array_equal(two_epochs, batches(range(30), 2, batch_size=3, seed=6))


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_interrupted():
    options = {"batch_size": 4, "seed": 1}
    uninterrupted = batches(range(22), epochs=3, **options)
    loader = BatchLoader(range(22), Numbers(), LoaderOptions(**options, workers=2))
    numbers = []
    for epoch in range(2):
        for batch in loader:
            numbers.append(batch.numpy())
            if epoch == 1 and len(numbers) == 8:
                break
    assert loader.position == Position(1, 3)  # though workers are ahead of it
    rest = batches(range(22), epochs=2, position=loader.position, **options)
    np.testing.assert_array_equal(uninterrupted, numbers + rest)


def test_an_epoch_that_is_over_is_followed_by_the_next():
    loader = BatchLoader(range(8), Numbers(), LoaderOptions(batch_size=4))
    list(loader)
    assert loader.position == Position(1, 0)
    other = BatchLoader(range(8), Numbers(), LoaderOptions(batch_size=4))
    other.resume(Position(0, 2))
    np.testing.assert_array_equal(np.stack([b.numpy() for b in loader]), np.stack([b.numpy() for b in other]))


@pytest.mark.slow
def test_workers_begin_the_next_epoch_before_it_is_requested():
    made = multiprocessing.get_context("fork").Semaphore(0)

    def make(row, random):
        made.release()
        return np.array(row)

    loader = BatchLoader(range(8), make, LoaderOptions(batch_size=4, workers=1))
    assert len(list(loader)) == 2
    assert all(made.acquire(timeout=PATIENCE) for _ in range(16))


def test_an_example_that_fails_is_made_again():
    failures = iter([True])

    def make(row, random):
        if row == 5 and next(failures, False):
            raise ConnectionError
        return np.array(row)

    loader = BatchLoader(range(8), make, LoaderOptions(batch_size=4, shuffle=False))
    with pytest.raises(ConnectionError):
        list(loader)
    assert [batch.tolist() for batch in loader] == [[4, 5, 6, 7]]


def test_processes_together_make_the_batches_of_one():
    alone = batches(range(26), batch_size=6, seed=2)
    shares = [batches(range(26), batch_size=2, seed=2, rank=rank, world_size=3) for rank in range(3)]
    for batch, *parts in zip(alone, *shares, strict=True):
        np.testing.assert_array_equal(np.sort(batch[:, 0]), np.sort(np.concatenate(parts)[:, 0]))


def test_without_shuffling_rows_stay_in_order_and_none_is_lost():
    result = batches(range(10), batch_size=4, shuffle=False, drop_last=False)
    assert np.concatenate(result)[:, 0].tolist() == list(range(10))


def test_a_small_last_batch_has_a_row_for_every_process():
    options = {"batch_size": 2, "shuffle": False, "drop_last": False, "world_size": 3}
    last = [batches(range(8), rank=rank, **options)[-1][:, 0].tolist() for rank in range(3)]
    assert last == [[6], [7], [6]]


def test_impossible_wishes_are_refused():
    with raises(UsageError, problem="do not fill one batch"):
        BatchLoader(range(3), Numbers(), LoaderOptions(batch_size=4))
    with raises(UsageError, subject="position"):
        BatchLoader(range(8), Numbers(), LoaderOptions(batch_size=4)).resume(Position(0, 3))


def test_numbers_spread_evenly():
    assert spread_evenly(11, 3) == [0, 5, 10]
    assert spread_evenly(3, 8) == [0, 1, 2]
    assert spread_evenly(5, 1) == [0]
    assert spread_evenly(0, 4) == []


def test_memory_is_pinned_for_those_who_compute_on_a_gpu_alone(monkeypatch):
    """Pinning takes the first GPU's memory, which `--device cpu` must leave alone."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    pinned = [BatchLoader(range(8), Numbers(), LoaderOptions(pinned=pin))._batches.pin_memory for pin in (False, True)]
    assert pinned == [False, True]
