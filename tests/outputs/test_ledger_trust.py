"""Whose fits may name frames in any folder: those that this user's hpc wrote where they are, as the ledger shows."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.fit_values import record

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import Item
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.fit_files import named_inputs, read_fit, write_fit
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.io.images import write_image
from humanpose_cli.outputs import ledger


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """The user works in another folder."""
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


def ledger_of(fit: Path) -> Path:
    return fit.parent / "ledger.0-of-1.jsonl"


def test_an_archive_of_the_folder(tmp_path, fit):
    """A stranger's ledger may say anything, but not with which inode and time the archive will be unpacked."""
    for number, method in enumerate(("tar", "zip")):
        archive = shutil.make_archive(str(tmp_path / f"archive{number}"), method, fit.parent)
        if method == "tar":
            shutil.rmtree(fit.parent)
        shutil.unpack_archive(archive, fit.parent)
        refused(fit)


def test_few_guesses_of_an_archive_are_compared(fit):
    """Not even a ledger of all inodes and times opens the door."""
    status = fit.stat()
    lines = [line for line in ledger_of(fit).read_bytes().splitlines() if b'"kind": "item"' in line]
    entry = json.loads(lines[0])
    entry.pop("crc")

    def told(*places: tuple[int, int]) -> None:
        entries = ({**entry, "files": {fit.name: [status.st_size, 0, None, *place]}} for place in places)
        ledger_of(fit).write_text("".join(json.dumps(each) + "\n" for each in entries))
        ledger._own_ledger.cache_clear()

    true = status.st_ino, status.st_ctime_ns
    told(*[(number, status.st_ctime_ns) for number in range(20)], true)
    assert path_of(fit)
    told(true, *[(number, status.st_ctime_ns) for number in range(20)])
    refused(fit)


@pytest.mark.posix("modes and owners of files")
@pytest.mark.parametrize("name", ["a.png.fit.npz", "ledger.0-of-1.jsonl"])
def test_files_that_others_may_write(monkeypatch, fit, name):
    path = fit.parent / name
    path.chmod(0o666)
    refused(fit)
    if name.startswith("ledger"):
        path.chmod(0o644)
        assert path_of(fit)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        refused(fit)


DAMAGED_MARK = '{"kind": "file", "path": "a.png.fit.npz", "mark": [[], {}, [], [], []]}'


@pytest.mark.posix("makes a pipe")
@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": "item"}', DAMAGED_MARK, "[" * 100_000, "\0", None])
def test_damaged_ledgers(fit, text):
    ledger_of(fit).unlink()
    if text is not None:
        ledger_of(fit).write_text(text + "\n")
    else:
        os.mkfifo(ledger_of(fit))
    refused(fit)


def test_another_fit_in_its_place(tmp_path):
    """A stranger's fit that names private images of the same folder or of another one."""
    for folder in ("photos", "private"):
        image(tmp_path / folder / "secret.png")
        fit = fitted(tmp_path / "fits")
        files = (FrameFiles("image", (tmp_path / folder / "secret.png",)),)
        write_fit(fit, replace(read_fit(fit), frame_files=files))
        refused(fit)
        fit.unlink()


def test_a_fit_moved(tmp_path, fit):
    """A folder may be renamed, but its relative names then lead elsewhere; a copy is a stranger's."""
    shutil.copytree(fit.parent, tmp_path / "copies")
    refused(tmp_path / "copies" / fit.name)
    fit.parent.rename(tmp_path / "renamed")
    assert path_of(tmp_path / "renamed" / fit.name) == tmp_path / "photos/a.png"


@pytest.mark.posix("symbolic links")
def test_a_photograph_replaced_by_a_link(tmp_path, fit):
    photo, private = tmp_path / "photos/a.png", image(tmp_path / "private/a.png")
    photo.unlink()
    photo.symlink_to(private)
    with raises(InputError, subject="a.png", problem="is a link"):
        named_inputs(fit)


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
    shutil.rmtree(home)
    shutil.copytree(shutil.copytree(fitted(tmp_path / "first").parent, tmp_path / "second"), fit.parent)
    image(home / "work/photos/a.png")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    for folder in (tmp_path / "elsewhere", home, home.parent, Path(tmp_path.anchor)):
        monkeypatch.chdir(folder)
        refused(fit)
    monkeypatch.chdir(home / "work")
    assert path_of(fit) == path_of(Path("fits/a.png.fit.npz")) == home / "work/photos/a.png"
