"""`hpc repose` with the poses of a driving video, from the command line; most runs end early: nobody is found in it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.blind_detector import BlindDetector
from helpers.tracked_fits import fit_of_tracks

import humanpose_cli.fitting.people
from humanpose_cli.batch.runner import Outcome
from humanpose_cli.cli.repose import ReposeWork
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.io.fit_files import write_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.pose_files import JointTarget
from humanpose_cli.reposing import targets
from humanpose_cli.reposing.reposer import Reposer


@pytest.fixture
def driving(tmp_path, monkeypatch) -> Path:
    """A folder of two frames, beside a photograph; the working folder holds both."""
    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", BlindDetector)
    for path in ("photo.png", "frames/f_0000.png", "frames/f_0001.png"):
        write_image(tmp_path / path, np.zeros((48, 64, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "frames"


def kept(folder: str) -> list[str]:
    """The targets whose fits a folder holds."""
    return sorted(path.name.rsplit(".", 3)[0] for path in Path(folder, "targets").glob("*.fit.npz"))


def drawn(work, item):
    """An item's work in place of drawing it."""
    write_image(item.outputs[0], np.zeros((8, 8, 3), np.uint8))
    return Outcome(item.outputs)


def test_the_fit_is_kept_beside_a_file_and_in_folders_of_any_name(hpc, driving):
    assert hpc("repose", "photo.png", "frames", "--out", "plan", "--dry-run").code == 0  # which fits nothing
    for out in ("file/new.mp4", "out.v2"):
        ran = hpc("repose", "photo.png", "frames", "--out", out)
        assert (ran.code, "frames: shows no person" in ran.err) == (3, True), ran.err
    assert kept("file") == kept("out.v2") == ["frames"]


@pytest.mark.slow
def test_of_an_image_it_is_kept_in_folders_alone(hpc, driving):
    for out in ("file/new.png", "out"):
        assert hpc("repose", "photo.png", "frames/f_0001.png", "--out", out).code == 3
    assert not Path("file").exists()
    assert kept("out") == ["f_0001.png"]


def test_progress_reports_the_driving_video_and_an_interrupt_that_work_was_done(hpc, driving, monkeypatch):
    def stopped(fitter, images, *, progress, **_):
        progress(1, 2, "frames")
        raise KeyboardInterrupt

    monkeypatch.setattr(Fitter, "fit", stopped)
    ran = hpc("repose", "photo.png", "frames", "--log-json")
    events = [json.loads(line) for line in ran.err.splitlines()]
    assert {"event": "item", "item": "frames", "status": "started"}.items() <= events[1].items()
    assert (ran.code, "before any work" in ran.err) == (130, False)


@pytest.mark.extensive
def test_the_fit_of_the_driving_video_counts_for_the_run_and_for_no_photograph(hpc, driving, monkeypatch):
    def slow_target(*_, **__):
        time.sleep(0.5)
        return JointTarget(np.zeros((1, len(SMPL24), 3)), SMPL24)

    monkeypatch.setattr(targets, "read_target", slow_target)
    monkeypatch.setattr(ReposeWork, "__call__", drawn)
    ran = hpc("repose", "photo.png", "frames", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["summary"]["seconds"] - ran.details["seconds"] >= 0.5


def test_a_numbered_pattern_is_a_driving_video(hpc, driving, monkeypatch):
    ran = hpc("repose", "photo.png", "frames/f_%04d.png", "--out", "file/new.mp4")
    assert (ran.code, "frames/f_%04d.png: shows no person" in ran.err) == (3, True), ran.err
    assert kept("file") == ["f.png"]
    ran = hpc("repose", "photo.png", "frames/g_%04d.png")
    assert (ran.code, "g_%04d.png: matches no file" in ran.err) == (3, True), ran.err


def test_numbered_images_have_the_numbers_of_the_shot_or_of_its_fit(hpc, driving):
    """In which gaps stay gaps, and which --frames means; names have no place of a number."""
    numbers = (1001, 1002, 1004)
    for number in numbers:
        write_image(driving / f"shot.{number}.png", np.full((48, 64, 3), number % 200, np.uint8))
    shown = replace(
        fit_of_tracks({0: [(t, 10, 20) for t in range(3)]}, 3), frame_names=np.array([f"a.{n}.png" for n in numbers])
    )
    write_fit(driving / "walk.fit.npz", shown)
    for target, name in (("frames/shot.####.png", "photo.shot"), ("frames/walk.fit.npz", "photo.walk")):
        for part, kept in ((":", numbers), ("1002:1005", (1002, 1004)), ("1004:", (1004,))):
            ran = hpc(
                "repose", "photo.png", target, "--out", f"{name}_%05d.exr", "--frames", part, "--dry-run", "--json"
            )
            assert ran.code == 0, ran.err
            assert ran.document["items"][0]["outputs"] == [f"{name}_{number:05d}.exr" for number in kept]
        ran = hpc("repose", "photo.png", target, "--numbered", "--dry-run", "--json")
        assert Path(ran.document["items"][0]["outputs"][2]) == Path("hpc-out/repose", name, "001004.png")


@pytest.mark.slow
def test_results_of_a_numbered_pattern_are_the_frames_of_that_number(hpc, driving, monkeypatch):
    """A rerun skips them until a frame is another."""
    monkeypatch.setattr(targets, "read_target", lambda *_, **__: JointTarget(np.zeros((1, len(SMPL24), 3)), SMPL24))
    monkeypatch.setattr(ReposeWork, "__call__", drawn)
    line = ("repose", "photo.png", "frames/f_%04d.png", "--json")
    assert [hpc(*line).details["status"] for _ in range(2)] == ["success", "skipped"]
    assert Path("hpc-out/repose/photo.f.png").exists()
    write_image(driving / "f_0001.png", np.ones((48, 64, 3), np.uint8))
    assert "another --target-pose" in hpc(*line).err


def test_doubtful_images_fail_if_that_is_requested(hpc, driving, monkeypatch):
    """Their files stay, the ledger has the reason, and the exit code is that of partly done items."""

    class Doubtful:
        people, target_people, methods, visible_fraction, warnings, moved = (0,), (None,), ("mesh",), 0.2, [], ("",)
        doubtful = "80% hidden in the photo"

        def write(self, form, paths, *_):
            write_image(paths[0], np.zeros((8, 8, 3), np.uint8))

    monkeypatch.setattr(targets, "read_target", lambda *_, **__: JointTarget(np.zeros((1, len(SMPL24), 3)), SMPL24))
    monkeypatch.setattr(ReposeWork, "prepare", lambda *_: {})
    monkeypatch.setattr(Reposer, "repose", lambda *_, **__: Doubtful())
    ran = hpc("repose", "photo.png", "frames", "--json")
    assert (ran.code, ran.details["status"], ran.details["doubtful"]) == (0, "success", "80% hidden in the photo")
    ran = hpc("repose", "photo.png", "frames", "--json", "--fail-if-doubtful", "--out", "strict")
    assert (ran.code, ran.details["status"]) == (4, "partial")
    assert ran.details["error"] == "doubtful: 80% hidden in the photo"
    assert Path("strict/photo.frames.png").exists()
    assert "80% hidden in the photo" in Path("strict/ledger.0-of-1.jsonl").read_text("utf-8")
