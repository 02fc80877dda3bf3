"""Locks that refuse a second process."""

from __future__ import annotations

import pytest

from humanpose_cli.core.errors import UsageError
from humanpose_cli.io.locks import is_locked, locked_file, shared_file


@pytest.mark.posix("needs flock")
def test_a_lock_is_noticed_while_it_is_held(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    with locked_file(path) as alone:
        assert alone
        assert is_locked(path)
        with locked_file(path) as second:
            assert not second
    assert not is_locked(path)


@pytest.mark.posix("makes symbolic links")
@pytest.mark.parametrize("lock", [locked_file, lambda path: shared_file(path, "word")])
def test_no_link_is_written_through(tmp_path, lock):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(UsageError, match="link: is a symbolic link"), lock(tmp_path / "link"):
        pass
    assert (tmp_path / "file").read_text() == "text"
