"""Locks of open files as POSIX and as Windows have them; Windows' are imitated where they are not there."""

import errno
import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.errors import raises
from helpers.patience import PATIENCE

from humanpose_cli.core.errors import UnavailableError
from humanpose_cli.io import atomic, file_locks
from humanpose_cli.io.atomic import folder_lock, remove_abandoned, write_text
from humanpose_cli.io.file_locks import WINDOWS_OFFSET, try_lock, wait_lock
from humanpose_cli.io.locks import is_locked, locked_file, shared_file


class Locking:
    """`msvcrt.locking`: an exclusive lock of bytes, for each open file."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.holders: dict[tuple[int, int], int] = {}

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert (mode, count, os.lseek(descriptor, 0, os.SEEK_CUR)) == (self.LK_NBLCK, 1, WINDOWS_OFFSET)
        status = os.fstat(descriptor)
        holder = self.holders.setdefault((status.st_dev, status.st_ino), descriptor)
        if holder != descriptor:
            raise PermissionError(errno.EACCES, "Permission denied")


@pytest.fixture
def windows(monkeypatch):
    """The locks of Windows; a closed file lets go of its own."""
    locking, close = Locking(), os.close

    def closing(descriptor: int) -> None:
        locking.holders = {file: holder for file, holder in locking.holders.items() if holder != descriptor}
        close(descriptor)

    monkeypatch.setattr(file_locks, "fcntl", None)
    monkeypatch.setattr(file_locks, "msvcrt", locking)
    monkeypatch.setattr(os, "close", closing)


@pytest.fixture
def two_files(tmp_path):
    """Two descriptors of one file."""
    (tmp_path / "file").write_bytes(b"0123456789")
    descriptors = [os.open(tmp_path / "file", os.O_RDWR) for _ in range(2)]
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_windows_locks_one_open_file_alone_and_leaves_its_position(windows, two_files):
    first, second = two_files
    os.lseek(first, 3, os.SEEK_SET)
    assert [try_lock(first), try_lock(second), try_lock(second, shared=True)] == [True, False, False]
    assert os.read(first, 2) == b"34"


def test_windows_waits_for_a_lock(windows, two_files, monkeypatch):
    first, second = two_files
    assert try_lock(first)
    waited = []
    monkeypatch.setattr(file_locks, "time", SimpleNamespace(sleep=lambda seconds: waited.append(seconds) or free()))
    free = file_locks.msvcrt.holders.clear
    wait_lock(second)
    assert len(waited) == 1


@pytest.mark.parametrize("system", ["windows", pytest.param("posix", marks=pytest.mark.posix("needs flock"))])
def test_a_second_process_is_noticed(system, request, tmp_path):
    if system == "windows":
        request.getfixturevalue("windows")
    path = tmp_path / "lock"
    assert not is_locked(path)
    with locked_file(path) as first, locked_file(path) as second:
        assert (first, second, is_locked(path)) == (True, False, True)
    assert not is_locked(path)
    with shared_file(path, "one") as first, shared_file(path, "other") as second:
        assert (first, second) == (True, system == "windows")  # Windows has no shared locks


def test_folders_are_locked_by_a_file_on_windows(windows, tmp_path):
    order = []

    def lock(name: str, then=lambda: None) -> None:
        with folder_lock(tmp_path / "fits"):
            then()
            order.append(name)

    thread = threading.Thread(target=lock, args=("second",))
    lock("first", lambda: thread.start() or time.sleep(0.2))
    thread.join(PATIENCE)
    assert order == ["first", "second"]
    assert [path.name for path in (tmp_path / "fits").iterdir()] == [".hpc.lock"]


def test_files_are_written_and_abandoned_ones_stay_on_windows(windows, tmp_path):
    abandoned = tmp_path / ".a.txt.hpc-01234567.partial"
    abandoned.touch()
    write_text(tmp_path / "a.txt", "text")
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [abandoned.name, "a.txt"]


@pytest.mark.parametrize(("refusals", "written"), [(2, "new"), (99, "old")])
def test_a_file_that_another_program_reads_is_replaced_a_little_later_on_windows(
    windows, tmp_path, monkeypatch, refusals, written
):
    path, attempts, replace = tmp_path / "a.txt", [], os.replace
    path.write_text("old")

    def replacing(source: Path, target: Path) -> None:
        attempts.append(target)
        if len(attempts) <= refusals:
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        replace(source, target)

    monkeypatch.setattr(atomic, "_RENAME_WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(os, "replace", replacing)
    with raises(UnavailableError, got="Access is denied") if refusals > 3 else nullcontext():
        write_text(path, "new")
    assert len(attempts) == min(refusals, 3) + 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == written


def test_a_file_system_without_locks_is_an_error_of_the_system(windows, two_files, monkeypatch):
    def locking(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_locks.msvcrt, "locking", locking, raising=False)
    with pytest.raises(OSError, match="No locks available"):
        try_lock(two_files[0])
