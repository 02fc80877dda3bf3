"""Locks that refuse a second process."""

import os

import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.outputs.locks import _descriptors, locked_file, shared_folder


def test_a_second_process_is_noticed_and_no_file_stays(tmp_path):
    path = tmp_path / "lock"
    for _ in range(2):
        with locked_file(path) as first, locked_file(path) as second:
            assert (first, second) == (True, False)
        assert os.listdir(tmp_path) == []


def test_processes_of_a_group_agree(tmp_path):
    (tmp_path / ".running-fit.c.hpc-01234567.partial").touch()  # of a killed process
    with shared_folder(tmp_path, "fit", "a") as first, shared_folder(tmp_path, "fit", "a") as second:
        assert (first, second) == ("", "")
        with shared_folder(tmp_path, "fit", "b") as other, shared_folder(tmp_path, "view", "b") as of_another_group:
            assert (other, of_another_group) == ("a", "")
    assert os.listdir(tmp_path) == []


@pytest.mark.posix("needs flock")
def test_a_child_that_is_being_forked_keeps_no_lock(tmp_path):
    """Between the fork and the child's first line, it has the parent's open file."""
    before = set(_descriptors)
    with locked_file(tmp_path / "lock"):
        (descriptor,) = _descriptors - before
        of_child = os.dup(descriptor)
        os.link(tmp_path / "lock", tmp_path / "kept")
    try:
        with locked_file(tmp_path / "kept") as is_free:
            assert is_free
    finally:
        os.close(of_child)


@pytest.mark.posix("makes symbolic links")
def test_no_link_is_written_through(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    with raises(UsageError, subject="link", problem="is a symbolic link"), locked_file(tmp_path / "link"):
        pass
    assert (tmp_path / "file").read_text() == "text"
