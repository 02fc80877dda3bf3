"""What a fit file may name of the machine on which it is read: other people made it."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.fit_values import record

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.fit_files import named_inputs, read_fit, write_fit
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.io.images import write_image


def fit_naming(folder: Path, kind: str, *names: str, range_: str = "0:") -> Path:
    """A fit file whose text of the files of the frames is as somebody else wrote it."""
    path = folder / "x.fit.npz"
    write_fit(path, record(frame_files=(FrameFiles("image", (folder / "a.png",)),)))
    with np.load(path) as file:
        arrays = dict(file)
    text = json.dumps([{"kind": kind, "paths": list(names), "range": range_}])
    np.savez(path, **{**arrays, "frame_files": np.array(text)})
    return path


@pytest.fixture
def mail(tmp_path):
    """A folder with a fit's frames, beside one with private images."""
    for name in ("mail/a.png", "mail/more/b.png", "private/a.png", "work/hpc-out/fit/c.png", "work/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    return tmp_path / "mail"


@pytest.mark.posix("symbolic links")
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("image", "../private/a.png ABSOLUTE/a.png //server/share/a.png ../private/*.png link/a.png"),
        ("image", "more/../../private/a.png"),
        ("frames", "/ .. ../private/%d.png"),
        ("video", "/"),
    ],
)
def test_what_lies_outside_the_folder_of_a_fit_is_not_read(mail, kind, names):
    (mail / "link").symlink_to(mail.parent / "private")
    for name in names.split():
        path = fit_naming(mail, kind, name.replace("ABSOLUTE", str(mail.parent / "private")))
        with raises(InputError, subject="x.fit.npz", problem="outside of its folder", remedy="`frames`"):
            named_inputs(path)
        assert read_fit(path).frame_files == ()


@pytest.mark.posix("symbolic links")
@pytest.mark.parametrize(
    ("kind", "names"),
    [("image", "*.png more %d.png link.png"), ("video", "more a.png"), ("frames", "links */%d.png empty")],
)
def test_the_kind_decides_what_a_path_may_be(mail, kind, names):
    (mail / "link.png").symlink_to(mail / "a.png")
    for folder in ("empty", "links"):
        (mail / folder).mkdir()
    (mail / "links" / "1.png").symlink_to(mail.parent / "private" / "a.png")
    for name in names.split():
        with pytest.raises(InputError):
            named_inputs(fit_naming(mail, kind, name))


def test_frames_of_a_folder_are_those_in_it_and_not_below(mail):
    (item,) = named_inputs(fit_naming(mail, "frames", "."))
    assert (item.kind, item.path, item.files) == ("frames", mail, (mail / "a.png",))


def test_what_lies_below_hpc_out_may_name_what_lies_beside_it(mail):
    """As results of a command do that was started there."""
    fits = mail.parent / "work" / "hpc-out" / "fit"
    (item,) = named_inputs(fit_naming(fits, "image", "../../a.png"))
    assert item.path == mail.parent / "work" / "a.png"
    with raises(InputError, problem="outside of its folder"):
        named_inputs(fit_naming(fits, "image", "../../../private/a.png"))
