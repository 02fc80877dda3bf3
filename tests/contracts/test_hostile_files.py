"""Files made to do harm: nesting without end, entities that multiply, names that a shell or a terminal would obey."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.calibration_files import write_toml
from safetensors.torch import save

from humanpose_cli.body.smpl import load_smpl
from humanpose_cli.cli.main import main
from humanpose_cli.cli.settings import read_config
from humanpose_cli.core.errors import InputError, UnavailableError, one_line
from humanpose_cli.files.digests import file_digest
from humanpose_cli.files.restricted_pickle import read_pickle
from humanpose_cli.files.text_files import read_json_object
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.io.calibrations import read_calibration
from humanpose_cli.io.detections import read_boxes, read_keypoints
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.foreign_fits import read_foreign_fits
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.io.pose_files import read_pose
from humanpose_cli.networks.weights import _KEY, read_header

DEEP = 200_000
NESTED = "[" * DEEP + "]" * DEEP


def fit_with_nested_options(path: Path) -> None:
    golden = next((Path(__file__).parents[1] / "io" / "data").glob("*.fit.npz"))
    with np.load(golden) as file:
        np.savez(path, **{**file, "options": np.array(NESTED)})


def calibration_with_nested_unit(path: Path) -> None:
    write_toml(path)
    headers = "".join(f"[[{'.'.join(['metadata', 'unit', *'a' * depth])}]]\n" for depth in range(600))
    path.write_text(path.read_text() + headers)


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("x.json", lambda path: path.write_text(NESTED), read_keypoints),
        ("x.json", lambda path: path.write_text(NESTED), read_json_object),
        ("x.toml", lambda path: path.write_text(f"a = {NESTED}"), lambda path: read_config(path, "fit", ["fit"])),
        ("x.toml", lambda path: path.write_text(f"[metadata]\nunit = {NESTED}"), read_calibration),
        ("x.toml", calibration_with_nested_unit, read_calibration),
        ("x.toml", lambda path: path.write_text(".".join("a" * 45_000) + "=1"), read_calibration),
        (
            "x.toml",
            lambda path: path.write_text(".".join("a" * 45_000) + "=1"),
            lambda path: read_config(path, "fit", []),
        ),
        ("x.fit.npz", fit_with_nested_options, read_fit),
        (
            "x.safetensors",
            lambda path: path.write_bytes(save({"a": torch.zeros(1)}, metadata={_KEY: NESTED})),
            read_header,
        ),
    ],
)
def test_nesting_without_end_is_refused(tmp_path, name, write, read):
    write(tmp_path / name)
    with pytest.raises(InputError):
        read(tmp_path / name)


@pytest.mark.posix("needs POSIX pipes")
@pytest.mark.parametrize(
    ("name", "read"),
    [(name, read_pose) for name in ("x.npy", "x.npz", "x.bvh")]
    + [("x.jpg", read_image), ("x.fit.npz", load_fit), ("x.json", read_keypoints), ("x.pkl", read_pickle)]
    + [("x.csv", read_boxes), ("x.pkl", read_foreign_fits), ("x.pkl", load_smpl), ("x.bin", file_digest)],
)
def test_pipes_are_refused_and_not_waited_for(tmp_path, name, read):
    os.mkfifo(tmp_path / name)
    with pytest.raises((InputError, UnavailableError)):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["$(touch ran).png", "`touch ran`.png", "; touch ran #.png", "a\x1b[2Jb\n\u202ec.png"])
def test_names_are_never_run_and_never_reach_a_terminal(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "x.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "x.png").rename(tmp_path / name)
    assert main(["fit", name, "--dry-run", "--threads", "1"]) == 0
    output = capsys.readouterr()
    assert one_line(name) in output.out
    assert not set("\x1b\u202e") & set(output.out + output.err)
    assert main(["fit", name, "--dry-run", "--json", "--threads", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["input"] == name
    assert not (tmp_path / "ran").exists()
