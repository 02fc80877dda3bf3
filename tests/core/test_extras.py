"""How the package is installed again: from where it came."""

from __future__ import annotations

import json
import sys

import pytest
from helpers.python_sources import ROOT

from humanpose_cli.core import extras
from humanpose_cli.core.errors import shell_word

PIP = f"{shell_word(sys.executable)} -m pip install --force-reinstall --no-deps "
AGAIN = "install humanpose-cli again, from where you took it"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs nothing but the package's metadata, with where pip took it from; gives the folder."""
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "humanpose_cli" / "core" / "extras.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    about = tmp_path / "humanpose_cli-1.0.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: humanpose-cli\nVersion: 1.0.0\n")

    def note(origin) -> None:
        (about / "direct_url.json").write_text(json.dumps(origin))

    return note


def test_a_checkout_restores_its_files(monkeypatch, tmp_path):
    (tmp_path / ".git").touch()
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "humanpose_cli" / "core" / "extras.py"))
    assert extras.reinstall_line() == f"git -C {shell_word(tmp_path)} checkout -- humanpose_cli"


def test_a_folder_is_installed_again_while_it_is_there(installed, tmp_path):
    folder = tmp_path / "my clone"
    installed({"url": folder.as_uri(), "dir_info": {}})
    assert extras.reinstall_line() == AGAIN
    folder.mkdir()
    assert extras.reinstall_line() == f"{PIP}{folder.as_uri()}"


def test_a_repository_is_installed_again_at_its_commit(installed):
    installed({"url": "https://example.org/h.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}})
    assert extras.reinstall_line() == f"{PIP}git+https://example.org/h.git@c0ffee"


def test_without_a_note_of_pip_the_user_knows(installed):
    assert extras.reinstall_line() == AGAIN


def test_the_name_alone_is_no_remedy():
    """The package is in no index."""
    texts = [*ROOT.glob("humanpose_cli/**/*.py"), *ROOT.glob("docs/guides/*.md")]
    assert [path for path in texts if "reinstall humanpose-cli" in path.read_text("utf-8")] == []
