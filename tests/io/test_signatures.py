"""Whose fits may name frames in any folder: those that this user's hpc wrote, as the keyed digest in run.json shows."""

import json
import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.fit_values import record

from humanpose_cli.batch.items import Item
from humanpose_cli.batch.resuming import Batch
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.fit_files import named_inputs, read_fit, write_fit
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.io.images import write_image
from humanpose_cli.io.signatures import read_signatures, signature, user_key


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    """A user with a data folder of their own, who works elsewhere."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_image(path, np.zeros((8, 8, 3), np.uint8))
    return path


def fitted(out: Path, *names: str, photos: Path | None = None) -> Path:
    """Run a batch that writes fits of photographs in another folder, as `hpc fit photos --out OUT` does."""
    photos = photos or out.parent / "photos"

    def work(item: Item) -> Outcome:
        path = out / f"{item.key}.fit.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_fit(path, record(frame_files=(FrameFiles("image", (photos / item.key,)),)))
        return Outcome((path,))

    items = [Item(name, (image(photos / name),)) for name in names or ("a.png",)]
    assert run_items(items, work, Batch("fit", out)).exit_code == 0
    return out / f"{items[0].key}.fit.npz"


def path_of(fit: Path) -> Path:
    """The photograph that a fit names, through both readers."""
    (item,) = named_inputs(fit)
    assert read_fit(fit).frame_files[0].paths == (item.path,)
    return item.path


@pytest.fixture
def fit(tmp_path):
    """A fit of one's own."""
    return fitted(tmp_path / "fits")


def refused(fit: Path) -> None:
    """A fit is a stranger's: it names no frames."""
    with raises(InputError, subject=fit.name, problem="outside of its folder", remedy="`frames`"):
        named_inputs(fit)
    assert read_fit(fit).frame_files == ()


def test_ones_own_fit_names_frames_anywhere(tmp_path):
    """Also of an earlier run into the same folder, and in a folder below it."""
    first, second = fitted(tmp_path / "fits", "a.png"), fitted(tmp_path / "fits", "more/b.png")
    assert [path_of(first), path_of(second)] == [tmp_path / "photos/a.png", tmp_path / "photos/more/b.png"]


@pytest.mark.posix("modes of files")
def test_the_key_is_made_once_and_private(tmp_path):
    assert user_key() is None  # reading makes none
    fit = fitted(tmp_path / "fits")
    key = tmp_path / "data/humanpose-cli/key"
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_size) == (0o600, 32)
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert user_key(make=True) == key.read_bytes() == user_key()
    key.chmod(0o640)
    assert user_key() is None  # others might know it
    refused(fit)
    assert user_key(make=True) == key.read_bytes() == user_key()  # a new one
    refused(fit)


FORGED = [json.dumps({"signatures": {"a.png.fit.npz": value}}) for value in ("0" * 64, "", "é", 7, None, ["0" * 64])]


@pytest.mark.parametrize("text", [*FORGED, "", "[]", "{", '{"signatures": 3}', "[" * 100_000, "\0"])
def test_forged_digests_and_damaged_records(fit, text):
    (fit.parent / "run.json").write_text(text)
    refused(fit)


@pytest.mark.posix("pipes")
def test_a_pipe_as_record(fit):
    (fit.parent / "run.json").unlink()
    os.mkfifo(fit.parent / "run.json")
    refused(fit)


def test_another_users_key(tmp_path, monkeypatch, fit):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "theirs"))
    refused(fit)  # without a key
    user_key(make=True)
    refused(fit)
    forged = signature(fit, [tmp_path / "photos"], user_key())
    (fit.parent / "run.json").write_text(json.dumps({"signatures": {fit.name: forged}}))
    assert path_of(fit) == tmp_path / "photos/a.png"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    refused(fit)


def test_another_fit_under_the_digest(tmp_path):
    """A stranger's fit in place of one's own, which names private images of the same folder or of another one."""
    for folder in ("photos", "private"):
        image(tmp_path / folder / "secret.png")
        fit = fitted(tmp_path / "fits")
        files = (FrameFiles("image", (tmp_path / folder / "secret.png",)),)
        write_fit(fit, replace(read_fit(fit), frame_files=files))
        refused(fit)
        fit.unlink()


def test_a_fit_moved(tmp_path, fit):
    """Its relative names would lead to other images there; with the photographs beside it, its folder allows them."""
    image(tmp_path / "deep/photos/a.png")
    shutil.copytree(fit.parent, tmp_path / "deep/fits")
    refused(tmp_path / "deep/fits" / fit.name)
    shutil.copytree(fit.parent, tmp_path / "copies")  # the same photographs from there
    assert path_of(tmp_path / "copies" / fit.name) == tmp_path / "photos/a.png"


@pytest.mark.posix("symbolic links")
def test_links(tmp_path, fit):
    """A photograph replaced by a link is refused; a key behind a link is none."""
    photo, private = tmp_path / "photos/a.png", image(tmp_path / "private/a.png")
    photo.unlink()
    photo.symlink_to(private)
    with raises(InputError, subject="a.png", problem="is a link"):
        named_inputs(fit)
    key = tmp_path / "data/humanpose-cli/key"
    key.rename(tmp_path / "key")
    key.symlink_to(tmp_path / "key")
    refused(fit)


@pytest.mark.posix("symbolic links")
def test_a_link_below_the_working_directory_leads_nowhere_else(tmp_path, monkeypatch):
    image(tmp_path / "private/a.png")
    (tmp_path / "work/fits").mkdir(parents=True)
    (tmp_path / "work/photos").symlink_to(tmp_path / "private")
    fit = tmp_path / "work/fits/x.fit.npz"
    write_fit(fit, record(frame_files=(FrameFiles("image", (tmp_path / "work/photos/a.png",)),)))
    monkeypatch.chdir(tmp_path / "work")
    refused(fit)


def test_below_the_working_directory(tmp_path, monkeypatch):
    """Any fit may name what lies there, but not if that is the home, a folder around it, or the root."""
    home = tmp_path / "home/user"
    fit = fitted(home / "work/fits")
    shutil.rmtree(tmp_path / "data")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    for folder in (tmp_path / "elsewhere", home, home.parent, Path(tmp_path.anchor)):
        monkeypatch.chdir(folder)
        refused(fit)
    monkeypatch.chdir(home / "work")
    assert path_of(fit) == path_of(Path("fits/a.png.fit.npz")) == home / "work/photos/a.png"


def without_home(monkeypatch, entry_of) -> None:
    for name in ("XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", entry_of)


@pytest.mark.posix("modes of folders")
@pytest.mark.parametrize("case", ["file", "no home"])
def test_no_key_can_be_made(tmp_path, monkeypatch, case):
    """Fits are then read like a stranger's."""
    if case == "file":  # as a read-only home, also for root
        (tmp_path / "data").write_bytes(b"")
    else:
        without_home(monkeypatch, {}.__getitem__)
    fit = fitted(tmp_path / "fits")
    assert read_signatures(fit.parent / "run.json") == {}
    assert user_key(make=True) is None
    refused(fit)


@pytest.mark.posix("needs the user database")
def test_without_home_the_system_knows_it(tmp_path, monkeypatch):
    pwd = pytest.importorskip("pwd")
    entry = pwd.getpwuid(os.getuid())
    without_home(monkeypatch, lambda _: pwd.struct_passwd((*entry[:5], str(tmp_path / "home"), entry[6])))
    assert path_of(fitted(tmp_path / "fits")) == tmp_path / "photos/a.png"
    assert (tmp_path / "home").is_dir()


def test_signatures_outlive_a_killed_run(tmp_path, monkeypatch):
    """run.json is written now and then, and a later run that skips the finished fit keeps its signature."""
    with monkeypatch.context() as killed:
        killed.setattr("humanpose_cli.batch.runner._RECORD_SECONDS", 0.0)
        killed.setattr("humanpose_cli.batch.runner._Run._close_record", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            fitted(tmp_path / "fits")
    assert path_of(fitted(tmp_path / "fits")) == tmp_path / "photos/a.png"


def test_what_an_earlier_run_wrote_is_not_signed_again(tmp_path, monkeypatch, fit):
    """A stranger's folder may hold a ledger that calls their fits finished."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "theirs"))
    fitted(tmp_path / "fits")
    refused(fit)
