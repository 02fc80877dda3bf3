"""No command replaces a file that a user has made or changed; what a command wrote itself it writes again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.moving_people import moving_people

from humanpose_cli.batch import runner
from humanpose_cli.batch.runner import Outcome
from humanpose_cli.body.body import default_body
from humanpose_cli.core.errors import UsageError
from humanpose_cli.exporting.formats import FORMATS as ALL_FORMATS
from humanpose_cli.io.images import write_image
from humanpose_cli.outputs.atomic import atomic_path, removed_on_failure, write_bytes
from humanpose_cli.outputs.protection import protected_inputs

FORMATS = [name for name in ALL_FORMATS if name not in ("bvh", "masks")]  # masks need frames
LIFTER = "--set steps=1 --batch-size 32 --set poses=128 --set held_out=64 --set network.blocks=1"
LINES = [
    "export clip.fit.npz --format bvh --out out",
    *extensive(*(f"export clip.fit.npz --format {name} --out out" for name in FORMATS)),
    "export clip.fit.npz --out out/one.glb",
    "view clip.fit.npz --out out",
    "view clip.fit.npz --out out/page.html",
    "evaluate motion clip.fit.npz --out out",
    "fit photos/a.png --masks --out out",
    *extensive("fit photos/a.png --out out/one.fit.npz"),
    *extensive("refine clip.fit.npz --frames clip --out out"),
    *extensive("repose photos/a.png pose.npy --layers --out out"),
    *extensive("combine photos --out out"),
    "preprocess images photos --no-fit --workers 1 --shard-size 1 --out out",
    *extensive(f"train lifter {LIFTER} --out out"),
]


class PlannedFiles(runner._Run):
    """Writes the planned files of items, whose work takes long."""

    def __init__(self, batch, ledger, worker, *others) -> None:
        super().__init__(replace(batch, prepare=None), ledger, self.write, *others)

    def write(self, item) -> Outcome:
        for path in item.outputs:
            write_bytes(path, item.key.encode())
        return Outcome(item.outputs)


@pytest.fixture
def inputs(hpc, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    replace(moving_people(), frame_names=np.array([f"{k}.png" for k in range(5)])).save("clip.fit.npz")
    np.save("pose.npy", default_body().joint_template.numpy())
    for folder, count in (("photos", 2), ("clip", 5)):
        for number in range(count):
            write_image(Path(folder, f"{'ab'[number] if count == 2 else number}.png"), np.zeros((64, 64, 3), np.uint8))
    return tmp_path


def files(folder: str) -> list[Path]:
    """List the results; nobody edits what only hpc reads, and a ledger is appended to."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [path for path in found if not path.name.startswith((".", "ledger"))]


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_bytes_of_the_user_stay(hpc, inputs, monkeypatch, line):
    if line.split()[0] in ("fit", "refine", "repose", "combine"):
        monkeypatch.setattr(runner, "_Run", PlannedFiles)
    ran = hpc(*line.split())
    assert ran.code == 0, ran.err
    assert hpc(*line.split()).code == 0
    shutil.copytree("out", "made")
    results = files("out")
    assert results
    for result in results:
        for text in ("edited", "put there"):
            shutil.rmtree("out")
            if text == "edited":
                shutil.copytree("made", "out")
            result.parent.mkdir(parents=True, exist_ok=True)
            with result.open("ab") as file:
                file.write(text.encode())
            before = result.read_bytes()
            ran = hpc(*line.split())
            assert result.read_bytes() == before, ran.err
            if "preprocess" not in line or text == "put there":  # which keeps whole files, with what is behind them
                assert ran.code in (2, 3), (result, ran.err)  # 3: combine reads the fits of its cameras
                assert ran.code == 3 or "--overwrite replaces it" in ran.err or "choose another --out" in ran.err
    shutil.rmtree("out")
    assert hpc(*line.split()).code == 0
    assert [path.read_bytes() for path in files("out") if path.name != "run.json"] == [
        path.read_bytes() for path in files("made") if path.name != "run.json"
    ]


@pytest.mark.slow
def test_results_of_other_options_are_replaced_with_a_line(hpc, inputs, monkeypatch):
    monkeypatch.setattr(runner, "_Run", PlannedFiles)
    for options, change in (
        ("", ""),
        ("--height 1.75 --masks", "--height 1.75, --masks"),
        ("--refine", "without --height, without --masks, --refine"),
        ("--textures", "--textures, without --refine"),
        ("", "without --textures"),
    ):
        ran = hpc("fit", "photos/a.png", *options.split(), "--out", "out")
        assert (ran.code, f"a.png: fitted again: {change}\n" in ran.err) == (0, bool(change)), ran.err
    assert sorted(path.name for path in files("out")) == ["a.png.fit.npz", "a.png.overlay.jpg", "run.json"]


@pytest.mark.slow
def test_one_result_is_replaced_by_any_command_until_the_user_changes_it(hpc, inputs, monkeypatch):
    monkeypatch.setattr(runner, "_Run", PlannedFiles)
    for line in ("a.png", "b.png", "a.png --height 1.7"):
        assert hpc("fit", *f"photos/{line} --out one.fit.npz".split()).code == 0
    Path("one.fit.npz").write_bytes(b"mine")
    for flag, code in (("", 2), ("--overwrite", 0)):
        ran = hpc("fit", *f"photos/b.png --out one.fit.npz {flag}".split())
        assert (ran.code, "was changed since; --overwrite replaces it" in ran.err) == (code, code == 2), ran.err


@pytest.mark.parametrize("before", ["", "first"])
def test_the_slower_of_two_processes_says_so(tmp_path, before):
    path = tmp_path / "D.glb"
    with protected_inputs():
        write_bytes(path, before.encode())
        slower = atomic_path(path)
        with raises(UsageError, problem="was written by another program meanwhile"), removed_on_failure([path]), slower:
            path.unlink()
            path.write_text("other")
    assert path.read_text() == "other"
