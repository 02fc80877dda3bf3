"""No command writes over one of its inputs, by whatever name the output reaches it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.io.images import write_image
from humanpose_cli.outputs.atomic import write_bytes
from humanpose_cli.outputs.ledger import RECORD
from humanpose_cli.outputs.protection import check_output, protect, protected_inputs


@pytest.fixture
def photo(tmp_path) -> Path:
    """An image, with other names for it and other files beside it."""
    path = tmp_path / "p.png"
    write_image(path, np.zeros((64, 64, 3), np.uint8))
    write_image(tmp_path / "other.png", np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "sub").mkdir()
    os.link(path, tmp_path / "sub" / "p.png")
    os.link(path, tmp_path / "hard.png")
    (tmp_path / "soft.png").symlink_to("p.png")
    (tmp_path / "linked").symlink_to(tmp_path)
    np.save(tmp_path / "pose.npy", default_body().joint_template.numpy())
    (tmp_path / "x.npz").write_bytes(b"")
    (tmp_path / "items.txt").write_text("p.png\n")
    return path


SPELLINGS = ("p.png", "sub/../p.png", "hard.png", "soft.png", "linked/p.png")
OVERWRITE = ("repose", "fit", "refine", "export", "view")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != RECORD}


@pytest.mark.parametrize("out", SPELLINGS)
@pytest.mark.parametrize(
    "line",
    [
        "repose --input p.png --target-pose pose.npy",
        "repose --input sub --target-pose pose.npy",
        "repose --input sub/*.png --target-pose pose.npy",
        "repose --items items.txt --target-pose pose.npy",
        "repose --input other.png --target-pose p.png",
        "repose --input other.png --target-pose pose.npy --background p.png",
        "repose --input other.png --target-pose pose.npy --fit p.png",
        "repose --input other.png --target-pose pose.npy --weights p.png",
        "fit p.png",
        "fit other.png --keypoints p.png",
        "fit other.png --body smpl:p.png",
        "refine x.npz --frames p.png",
        "refine x.npz --frames other.png --set network.weights=p.png",
        "export x.npz --frames p.png",
        "view x.npz --texture p.png",
        "preprocess images sub --items p.png",
        "train nbf --data p.png",
        "evaluate fit --data p.png",
        "evaluate fit --data cache --predictions p.png",
    ],
)
def test_an_output_that_is_an_input_is_refused(hpc, photo, monkeypatch, line, out):
    monkeypatch.chdir(photo.parent)
    before, arguments = contents(photo.parent), line.split()
    ran = hpc(*arguments, "--out", out, *(("--overwrite",) if arguments[0] in OVERWRITE else ()))
    assert ran.code == 2
    assert f"{out}: would replace the input " in ran.err
    assert "p.png" in ran.err
    assert "choose another file or folder with --out" in ran.err
    assert contents(photo.parent) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("view x.npz --items run.json", "run.json"),
        ("view x.npz --items ledger.0-of-1.jsonl", "ledger.0-of-1.jsonl"),
        ("evaluate fit --data x.npz --predictions run.json", "run.json"),
        ("evaluate fit --data x.npz --weights report.json", "report.json"),
    ],
)
def test_ledgers_and_records_of_runs_replace_no_input(hpc, photo, monkeypatch, line, output):
    monkeypatch.chdir(photo.parent)
    for name in ("run.json", "ledger.0-of-1.jsonl"):
        Path(name).write_text("x.npz\n")
    for name in ("x.npz", "report.json"):  # as of fits and weights, which are looked at before
        Path(name).write_bytes(b"PK\3\4")
    monkeypatch.setattr("humanpose_cli.lab.cache.cache.open_cache", lambda path: None)  # likewise caches
    before = contents(photo.parent)
    ran = hpc(*line.split(), "--out", ".")
    assert (ran.code, f"{output}: would replace the input {output}" in ran.err) == (2, True), ran.err
    assert contents(photo.parent) == before


def test_files_are_protected_while_a_command_runs(tmp_path):
    (tmp_path / "a").write_text("input")
    protect([tmp_path / "a"])
    write_bytes(tmp_path / "a", b"1")
    with protected_inputs():
        protect([tmp_path / "a", tmp_path, tmp_path / "missing", "n" * 300, "\0"])
        with raises(UsageError, subject="a", problem=("would replace the input", "a"), remedy="choose another"):
            write_bytes(tmp_path / "a", b"2")
        write_bytes(tmp_path / "b", b"2")
        write_bytes(tmp_path / "b", b"3")
    assert contents(tmp_path) == {"a": b"1", "b": b"3"}
    write_bytes(tmp_path / "a", b"2")


@pytest.mark.posix("makes symbolic links")
def test_a_linked_output_folder_is_refused(hpc, photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    Path("disk").mkdir()
    for name, target in (("out", "disk"), ("lost", "nothing"), ("loop", "loop")):
        Path(name).symlink_to(target)
    line = ("fit", "p.png", "--detector", "fast", "--no-overlay")
    for out, problem in (("lost", "nothing"), ("loop", "nothing"), ("out", "a folder")):
        ran = hpc(*line, "--out", out)
        assert (ran.code, f"{out}: is a link to {problem}" in ran.err) == (2, True), ran.err
    assert f"name the folder itself: {Path('disk').resolve()}" in ran.err
    assert os.listdir("disk") == []


@pytest.mark.posix("makes symbolic links")
def test_links_below_the_output_folder_lead_to_no_input(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "disk").symlink_to(tmp_path)
    (tmp_path / "a").write_text("input")
    with protected_inputs():
        protect([tmp_path / "a"])
        check_output(tmp_path / "out")
        write_bytes(tmp_path / "out" / "disk" / "b", b"1")
        with raises(UsageError, subject="a", problem="would replace the input"):
            write_bytes(tmp_path / "out" / "disk" / "a", b"2")
    assert contents(tmp_path) == {"a": b"input", "b": b"1"}
