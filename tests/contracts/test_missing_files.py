"""A file that is not there is said before anything else: of every command, for every argument that names a file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.main import main
from humanpose_cli.cli.table import command_names
from humanpose_cli.io.images import write_image

GOLDEN = next((Path(__file__).parents[1] / "io" / "data").glob("*.fit.npz"))
_NAMES_A_FILE = re.compile(r"\b(FILE|FOLDER|PATH|FITS|CACHE|INPUT|POSE|RUN|ROOT)\b")
_FIRST = {  # what a line needs before it is a command
    "preprocess": ["images"],
    "train": ["nbf"],
    "evaluate compare": ["there", "there"],
    "refine --frames": ["a.fit.npz"],
    "export --frames": ["a.fit.npz"],
    "export --rig": ["a.fit.npz"],
    "view --frames": ["a.fit.npz"],
    "repose --input": ["--target-pose", "pose.npy"],
    "repose --target-pose": ["a.png"],
}
_LAST = {"repose arguments": ["pose.npy"]}


def lines():
    for command in command_names():
        for parameter in build_command(command, lambda _: 0).params:
            if parameter.name in ("out", "runs") or not _NAMES_A_FILE.search(parameter.metavar or ""):
                continue
            name = parameter.opts[0]
            first = _FIRST.get(f"{command} {name}") or ([] if parameter.required else _FIRST.get(command, []))
            prefix = {"body": "smpl:", "prior": "gmm:"}.get(str(parameter.name), "")
            flag = [name] if parameter.param_type_name == "option" else []
            gone = "no-such.jpg" if command == "repose" else "no-such.glb" if name == "--rig" else "no-such.fit.npz"
            yield [*command.split(), *first, *flag, prefix + gone, *_LAST.get(f"{command} {name}", [])]


@pytest.mark.parametrize("line", list(lines()), ids=" ".join)
def test_a_missing_file_is_said_first(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    write_image(tmp_path / "a.png", np.zeros((16, 16, 3), np.uint8))
    np.save("pose.npy", np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32))
    shutil.copy(GOLDEN, "a.fit.npz")
    assert main(line) in (3, 5)
    assert re.search(r"no-such[.a-z]*: (does not exist|no .* is there)", capsys.readouterr().err)
