"""Locks that refuse a second process."""

import os

import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.io.locks import _descriptors, is_locked, locked_file, shared_file


@pytest.mark.posix("needs flock")
def test_a_child_that_is_being_forked_keeps_no_lock(tmp_path):
    """Between the fork and the child's first line, it has the parent's open file."""
    before = set(_descriptors)
    with locked_file(tmp_path / "lock"):
        (descriptor,) = _descriptors - before
        of_child = os.dup(descriptor)
    try:
        assert not is_locked(tmp_path / "lock")
    finally:
        os.close(of_child)


@pytest.mark.posix("makes symbolic links")
@pytest.mark.parametrize("lock", [locked_file, lambda path: shared_file(path, "word")])
def test_no_link_is_written_through(tmp_path, lock):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    with raises(UsageError, subject="link", problem="is a symbolic link"), lock(tmp_path / "link"):
        pass
    assert (tmp_path / "file").read_text() == "text"
