"""`hpc fit` and `hpc repose` from the command line, on a real photograph."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import skimage.data
import torch
from helpers.blind_detector import BlindDetector
from helpers.deform_weights import deform_weights
from helpers.fit_values import record, values
from helpers.textured_room import blobs, room

import humanpose_cli as hp
import humanpose_cli.fitting.fitter
import humanpose_cli.fitting.people
from humanpose_cli.cli.fit import fit_rows
from humanpose_cli.cli.fit_work import FitWork
from humanpose_cli.cli.main import main
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.fitting.doubt import row_doubts
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.io.video import VideoWriter

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("meshes_made_once")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder as users have it: a person, a thing, a text that calls itself an image, and something else."""
    folder = tmp_path_factory.mktemp("my photos é")
    write_image(folder / "astronaut.png", skimage.data.astronaut()[::2, ::2])  # large enough for everything below
    write_image(folder / "coffee.jpg", skimage.data.coffee()[::2, ::2])
    (folder / "broken.jpg").write_text("no image")
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def fitted(photos, tmp_path_factory):
    """A folder with the astronaut's results, for whatever test comes first in its process."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            patch.setenv(name, "1")
        assert main(("fit", str(photos / "astronaut.png"), "--out", str(folder), "--detector", "fast", "--quiet")) == 0
    return folder


@pytest.mark.extensive
@pytest.mark.posix("names are UTF-8 elsewhere")
def test_a_rerun_in_a_locale_of_ascii_knows_what_is_done(hpc, tmp_path):
    """And does the rest, and its streams keep the locale's encoding."""
    for name in ("Zoë.png", "Åse.png"):
        write_image(tmp_path / "photos" / name, np.zeros((64, 64, 3), np.uint8))
    line = ("fit", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--detector", "fast", "--no-overlay")
    assert hpc(*line).code == 0
    (tmp_path / "out" / "Åse.png.fit.npz").unlink()
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "humanpose_cli", *line]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t")[:2] for line in done.stdout.splitlines() if ".png" in line]
    folder = tmp_path / "photos"
    assert rows == [[f"{folder}/Zo\\xeb.png", "done before"], [f"{folder}/\\xc5se.png", "done"]]
    assert {path.name for path in (tmp_path / "out").glob("*.npz")} == {"Zoë.png.fit.npz", "Åse.png.fit.npz"}


@pytest.mark.extensive
def test_the_progress_of_a_clip_counts_its_frames_where_there_is_no_terminal(hpc, tmp_path, monkeypatch):
    from humanpose_cli.cli.reporter import Reporter

    monkeypatch.setitem(Reporter.__init__.__kwdefaults__, "interval", 0.0)  # a line for each change
    with VideoWriter(tmp_path / "clip.mp4", 10.0) as video:
        for shift in range(8):
            video.write(np.roll(skimage.data.astronaut()[::2, ::2], shift, 1))
    monkeypatch.chdir(tmp_path)
    lines = hpc("fit", "clip.mp4", "--detector", "fast").err.splitlines()
    percents = [int(line.split()[1]) for line in lines if line.startswith("fit: ") and " % " in line.replace(",", " ")]
    inside = {percent for percent in percents if 0 < percent < 100}
    assert len(inside) >= 12  # frames searched and overlays drawn
    assert percents == sorted(percents)
    for work in ("loading models", "clip.mp4: 3/8 frames", "clip.mp4: fitting bodies", "clip.mp4: 3/8 overlay frames"):
        assert any(line.endswith(work) for line in lines), work


@pytest.mark.extensive
@pytest.mark.parametrize("source", ["file", "null", "stdin"])
def test_a_line_that_is_too_long_for_a_name_fails_alone(hpc, tmp_path, monkeypatch, source):
    """So does an input whose results have no space for their endings; a name of the longest kind is fine."""
    folder, end = tmp_path / "photos", b"\0" if source == "null" else b"\n"
    names = ["a.png", "x" * 300 + ".png", "n" * 244 + ".png", "o" * 239 + ".png"]
    for name in (names[0], *names[2:]):
        write_image(folder / name, np.zeros((16, 16, 3), np.uint8))
    listed = end.join(os.fsencode(folder / name) for name in names) + end
    (tmp_path / "items").write_bytes(listed)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    items = {"file": ("--items", f"{tmp_path}/items"), "null": ("--items", f"{tmp_path}/items"), "stdin": ("-",)}
    ran = hpc("fit", *items[source], "--out", str(tmp_path / "out"), "--detector", "fast", "--no-overlay", "--json")
    assert ran.code == 4
    items = {Path(item["input"]).name: item for item in ran.document["items"]}
    assert [items[name]["status"] for name in names] == ["success", "error", "error", "success"]
    assert "has too long a name for this file system; check the list" in items[names[1]]["error"]
    assert "name is too long for this file system, expected at most 255 bytes, found 256" in items[names[2]]["error"]
    written = sorted(path.name for path in (tmp_path / "out").glob("*.npz"))
    assert written == [f"{names[0]}.fit.npz", f"{names[3]}.fit.npz"]


def test_a_mixed_folder_is_done_in_part_and_a_rerun_skips_it(hpc, photos, out):
    line = ("fit", str(photos), "--out", str(out), "--detector", "fast", "--json")
    ran = hpc(*line)
    assert ran.code == 4
    document = json.loads(ran.out)
    assert (document["command"], document["status"]) == ("fit", "partial")
    items = {item["input"].rsplit("/", 1)[-1]: item for item in document["items"]}
    assert set(items) == {"astronaut.png", "coffee.jpg", "broken.jpg"}
    assert items["broken.jpg"]["status"] == "error"
    assert "broken.jpg" in items["broken.jpg"]["error"]
    assert (items["astronaut.png"]["people"], items["coffee.jpg"]["people"]) == (1, 0)
    assert "no person was found" in ran.err

    record = read_fit(out / "astronaut.png.fit.npz")
    (row,) = items["astronaut.png"]["rows"]
    np.testing.assert_allclose(row["joints3d"]["left_wrist"], record.joints3d[0, SMPL24.index("left_wrist")], atol=1e-4)
    # She faces the camera: her left shoulder is on the right of the image, her nose near (112, 57).
    left, right = (record.joints2d[0, SMPL24.index(f"{side}_shoulder"), 0] for side in ("left", "right"))
    assert left > right + 30
    assert abs(record.keypoints2d[0, 0, 0] - 112) < 8
    assert abs(record.keypoints2d[0, 0, 1] - 57) < 8
    assert read_image(out / "astronaut.png.overlay.jpg").size == (256, 256)
    assert len(read_fit(out / "coffee.jpg.fit.npz")) == 0
    assert not list(out.rglob("*.partial"))

    before = (out / "astronaut.png.fit.npz").stat().st_mtime_ns
    again = json.loads(hpc(*line).out)
    states = {item["input"].rsplit("/", 1)[-1]: item for item in again["items"]}
    assert states["astronaut.png"]["status"] == "skipped"
    assert states["astronaut.png"]["rows"] == items["astronaut.png"]["rows"]
    assert (out / "astronaut.png.fit.npz").stat().st_mtime_ns == before


@pytest.mark.extensive
def test_a_rerun_over_finished_fits_loads_no_torch(photos, fitted):
    code = (
        "import sys; from humanpose_cli.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "assert code == 0 and not {'torch', 'scipy', 'onnxruntime'} & set(sys.modules), set(sys.modules)"
    )
    line = ("fit", str(photos / "astronaut.png"), "--out", str(fitted), "--detector", "fast")
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "done before" in done.stdout


@pytest.mark.extensive
def test_a_fit_is_the_same_bytes_again(hpc, photos, fitted, tmp_path):
    line = ("fit", str(photos / "astronaut.png"), "--detector", "fast", "--threads", "1")
    assert hpc(*line, "--out", str(tmp_path)).code == 0
    first, second = ((folder / "astronaut.png.fit.npz").read_bytes() for folder in (fitted, tmp_path))
    assert first == second


@pytest.mark.extensive
def test_methods_are_distinguished_and_recorded(hpc, photos, tmp_path):
    photo = str(photos / "astronaut.png")
    fits = {}
    for method in ("auto", "keypoints", "nbf"):
        folder = tmp_path / method
        line = ("fit", photo, "--detector", "fast", "--no-overlay", "--method", method)
        ran = hpc(*line, "--out", str(folder), "--json")
        assert ran.code == 0, ran.err
        fits[method] = read_fit(folder / "astronaut.png.fit.npz")
        assert fits[method].options.method == method
        assert bool(fits[method].options.settings["network"]) == (method != "keypoints")
    joints = {name: fit.joints3d for name, fit in fits.items()}
    assert not np.allclose(joints["auto"], joints["keypoints"], atol=1e-3)
    assert not np.allclose(joints["auto"], joints["nbf"], atol=1e-3)
    assert "tall" not in hpc(*line, "--out", str(tmp_path / "alone")).err  # --height is refused with nbf
    again = hpc(*line, "--out", str(tmp_path / "auto"))
    assert again.code == 0  # what hpc wrote is replaced
    assert "fitted again: --method nbf" in again.err


@pytest.mark.extensive
def test_a_run_of_deform_and_learn_gives_bodies_and_an_overlay(hpc, photos, tmp_path):
    run, photo = tmp_path / "run", str(photos / "astronaut.png")
    run.mkdir()
    deform_weights(run / "best.safetensors")
    line = ("fit", photo, "--method", "deform-and-learn", "--weights", str(run), "--detector", "fast")
    drawn = ("--labels", "reasons", "--out", str(tmp_path / "out"))
    ran = hpc(*line, *drawn, "--json")
    assert ran.code == 0, ran.err
    record = read_fit(tmp_path / "out" / "astronaut.png.fit.npz")
    assert (len(record), record.options.method) == (1, "deform-and-learn")
    assert (record.betas == 0).all()
    assert np.ptp(record.segment_scales) > 0.1
    width, height = read_image(tmp_path / "out" / "astronaut.png.overlay.jpg").size
    assert (width, height > 256, ran.details["doubtful"] != "") == (256, True, True)
    assert "done before" in hpc(*line, *drawn).out
    other = hpc(*line, *drawn[2:])
    assert (other.code, "fitted again" in other.err) == (0, True)
    same = hp.fit(photo, method="deform-and-learn", weights=run, detector="fast", device="cpu")
    np.testing.assert_array_equal(same.joints3d, record.joints3d)


def test_weights_that_do_not_serve_are_refused_in_a_sentence(hpc, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path / "fetched"))
    deform, unfinished = tmp_path / "deform", tmp_path / "unfinished"
    (unfinished / "round-1").mkdir(parents=True)
    deform.mkdir()
    deform_weights(deform / "best.safetensors")
    deform_weights(tmp_path / "smpl.safetensors", body="smpl-neutral")
    method = ("--method", "deform-and-learn")
    refused = {
        ("--weights", str(deform)): (3, "expected nbf, found deform-and-learn; --method deform-and-learn"),
        (*method, "--weights", "nbf-proxy"): (3, "expected deform-and-learn, found nbf; --method nbf"),
        (*method, "--weights", "warp3d"): (3, "holds another model, expected deform-and-learn, found warp3d"),
        (*method, "--weights", str(unfinished)): (3, "of deform-and-learn after its first round"),
        (*method, "--weights", f"{tmp_path}/smpl.safetensors"): (3, "expected smpl-neutral, found default; --body"),
        (*method, "--weights", f"{tmp_path}/none"): (3, "does not exist"),
        (*method, "--weights", "imagenet-resnet18"): (5, "hpc weights fetch imagenet-resnet18"),
        method: (2, "--weights: are missing, expected a run of hpc train deform-and-learn"),
        (*method, "--weights", str(deform), "--set", "network.segmenter=segmenter"): (2, "has no effect with --method"),
        ("--method", "register"): (2, "--method"),
        ("--labels", "reasons", "--no-overlay"): (2, "--labels: has no effect without --overlay"),
    }
    for options, (code, sentence) in refused.items():
        ran = hpc("fit", str(photos / "astronaut.png"), *options, "--out", str(tmp_path / "out"))
        assert (ran.code, sentence in " ".join(ran.err.split())) == (code, True), (options, ran.err)
    assert not list((tmp_path / "out").rglob("*.npz"))


@pytest.mark.extensive
def test_people_of_another_detector(hpc, photos, tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"astronaut.png": [[10, 5, 200, 256]]}))
    ran = hpc("fit", str(photos / "astronaut.png"), "--boxes", str(boxes), "--out", str(tmp_path), "--no-overlay")
    assert ran.code == 0, ran.err
    record = read_fit(tmp_path / "astronaut.png.fit.npz")
    np.testing.assert_allclose(record.boxes[0], [10, 5, 200, 256], atol=0.5)
    assert not (tmp_path / "astronaut.png.overlay.jpg").exists()
    boxes.write_text(json.dumps({"somebody-else.png": []}))
    refused = hpc("fit", str(photos / "astronaut.png"), "--boxes", str(boxes), "--out", str(tmp_path / "b"))
    assert refused.code == 3
    assert "boxes that do not mention astronaut.png" in " ".join(refused.err.split())


def test_a_network_of_another_kind_is_refused_before_anything_is_fitted(hpc, photos, tmp_path):
    from humanpose_cli.detect.runtime import network_model

    photo = str(photos / "astronaut.png")
    thunder = tmp_path / "thunder.onnx"
    thunder.write_bytes(network_model("movenet-thunder"))
    others = {
        thunder: "is another kind of network, expected an RTMPose network",
        photos / "notes.txt": "is no network that ONNX Runtime reads",
    }
    for file, problem in others.items():
        ran = hpc("fit", photo, "--pose-model", str(file), "--out", str(tmp_path))
        assert ran.code == 3
        assert f"{file}: {problem}" in ran.err.replace("\n", " ")
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.extensive
def test_repose_from_a_fit_file_and_from_joint_positions(hpc, photos, fitted, tmp_path):
    fit = fitted / "astronaut.png.fit.npz"
    np.save(tmp_path / "pose.npy", read_fit(fit).joints3d[0])
    fit_option, line = ("--fit", str(fit)), ("--detector", "fast")
    for name, target, options in (("a", fit, line), ("b", tmp_path / "pose.npy", fit_option)):
        ran = hpc(
            "repose", "--input", str(photos / "astronaut.png"), "--target-pose", str(target), *options,
            "--out", str(tmp_path / name), "--size", "256", "--json",
        )  # fmt: skip
        assert ran.code == 0, ran.err
        (item,) = json.loads(ran.out)["items"]
        assert 0.05 < item["visible"] < 0.9
        pose = {"a": "astronaut", "b": "pose"}[name]
        assert read_image(tmp_path / name / f"astronaut.{pose}.png").size == (256, 256)
    again = hpc("repose", str(photos / "astronaut.png"), str(tmp_path / "pose.npy"), *fit_option, *line)
    assert (again.code, "--detector: has no effect: --fit is used" in again.err) == (2, True)


@pytest.mark.extensive
def test_photograph_then_pose_into_one_file(hpc, photos, fitted, tmp_path):
    photo, fit = str(photos / "astronaut.png"), fitted / "astronaut.png.fit.npz"
    np.save(tmp_path / "pose.npy", read_fit(fit).joints3d[0])
    line = ("repose", photo, str(tmp_path / "pose.npy"), "--fit", str(fit), "--size", "128", "-o")
    ran = hpc(*line, str(tmp_path / "new.jpg"))
    assert ran.code == 0, ran.err
    assert read_image(tmp_path / "new.jpg").size == (128, 128)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hpc.written", "new.jpg", "pose.npy"]
    several = hpc(*line[:1], photo, *line[1:], str(tmp_path / "x.png"), str(tmp_path / "new2.png"))
    assert several.code == 2


@pytest.mark.extensive
def test_two_poses_of_one_photograph_and_what_is_replaced(hpc, photos, fitted, tmp_path):
    photo, fit = str(photos / "astronaut.png"), fitted / "astronaut.png.fit.npz"
    joints = read_fit(fit).joints3d[0]
    for name in ("up", "down"):
        np.save(tmp_path / f"{name}.npy", joints)
        line = ("repose", photo, str(tmp_path / f"{name}.npy"), "--fit", str(fit), "-o", str(tmp_path / "out"))
        assert hpc(*line, "--size", "64").code == 0
        assert (tmp_path / "out" / f"astronaut.{name}.png").exists()
    again = hpc(*line, "--size", "32")
    assert (again.code, "--size 32" in again.err) == (0, True)
    assert max(read_image(tmp_path / "out" / "astronaut.down.png").size) == 32
    np.save(tmp_path / "down.npy", joints + np.float32(0.1))
    again = hpc(*line, "--size", "32")
    assert (again.code, "another --target-pose" in again.err) == (0, True)


@pytest.mark.extensive
def test_parts_of_one_motion_are_numbered_by_its_frames(hpc, photos, fitted, tmp_path):
    photo, fit = str(photos / "astronaut.png"), fitted / "astronaut.png.fit.npz"
    np.save(tmp_path / "dance.npy", np.repeat(read_fit(fit).joints3d[:1], 9, 0))
    line = ("repose", photo, str(tmp_path / "dance.npy"), "--fit", str(fit), "--size", "64", "--numbered", "-o")
    for part in ("4:6", "7:9"):
        ran = hpc(*line, str(tmp_path / "out"), "--frames", part)
        assert ran.code == 0, ran.err
    names = [path.name for path in sorted((tmp_path / "out" / "astronaut.dance").iterdir())]
    assert names == ["000004.png", "000005.png", "000007.png", "000008.png"]
    again = hpc(*line, str(tmp_path / "out"), "--frames", "5:8")
    names = [path.name for path in sorted((tmp_path / "out" / "astronaut.dance").iterdir())]
    assert (again.code, names) == (0, [f"{number:06d}.png" for number in range(4, 9)]), again.err
    for part in ("2:4", "4:5"):
        assert hpc(*line, str(tmp_path / "f_%03d.png"), "--frames", part).code == 0
    assert sorted(path.name for path in tmp_path.glob("f_*")) == ["f_002.png", "f_003.png", "f_004.png"]


def test_reposed_images_beside_their_photographs_are_not_taken_for_photographs(hpc, photos, fitted, tmp_path):
    fit = fitted / "astronaut.png.fit.npz"
    (tmp_path / "astronaut.png").write_bytes((photos / "astronaut.png").read_bytes())
    line = ("repose", str(tmp_path), str(fit), "--fit", str(fit), "--size", "64", "-o", str(tmp_path), "--json")
    for status in ("success", "skipped"):
        ran = hpc(*line)
        assert ran.code == 0, ran.err
        (item,) = json.loads(ran.out)["items"]
        assert (Path(item["input"]).name, item["status"]) == ("astronaut.png", status)
        assert (tmp_path / "astronaut.astronaut.png").exists()


@pytest.mark.extensive
def test_a_fit_into_one_file(hpc, photos, tmp_path):
    out = tmp_path / "x.npz"
    ran = hpc("fit", str(photos / "astronaut.png"), "-o", str(out), "--detector", "fast", "--json")
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hpc.written", "x.npz", "x.overlay.jpg"]
    (item,) = json.loads(ran.out)["items"]
    assert (item["people"], "both legs hidden, guessed" in item["doubtful"]) == (1, True)
    refused = hpc("fit", str(photos / "astronaut.png"), "-o", str(tmp_path / "x.png"))
    assert (refused.code, "--out: is not the name of a fit" in refused.err) == (2, True)


@pytest.mark.extensive
def test_doubtful_bodies_can_fail_and_unsure_people_be_left_out(hpc, photos, tmp_path):
    """The photograph's legs are outside: it counts as partly done, for reruns too, and its files are written."""
    write_image(tmp_path / "bust.png", read_image(photos / "astronaut.png").pixels[:170])
    line = ("fit", str(tmp_path / "bust.png"), "--detector", "fast", "--no-overlay", "--json", "--out")
    failing = (*line, str(tmp_path / "a"), "--fail-if-doubtful")
    for error in ("doubtful: ", "doubtful: "):
        ran = hpc(*failing)
        (item,) = json.loads(ran.out)["items"]
        assert (ran.code, item["status"], item["people"]) == (4, "partial", 1), ran.err
        assert item["error"].startswith(error)
        assert "both legs hidden, guessed" in item["doubtful"]
        assert item["doubtful"] in item["error"]
    assert read_fit(tmp_path / "a" / "bust.png.fit.npz").tracks == [0]
    again = hpc(*line, str(tmp_path / "a"))
    assert (again.code, "without --fail-if-doubtful" in again.err) == (0, True), again.err
    passing = hpc(*line, str(tmp_path / "b"))
    (item,) = json.loads(passing.out)["items"]
    assert (passing.code, item["rows"][0]["doubtful"]) == (0, item["doubtful"])
    empty = (*line, str(tmp_path / "c"), "--min-confidence", "0.99", "--fail-if-doubtful")
    for status in ("success", "skipped"):
        ran = hpc(*empty)
        (item,) = json.loads(ran.out)["items"]
        assert (ran.code, item["status"], item["people"], item["left_out"]) == (0, status, 0, 1)
    assert len(read_fit(tmp_path / "c" / "bust.png.fit.npz")) == 0
    assert hpc(*line, str(tmp_path / "c"), "--min-confidence", "1.5").code == 2


def test_a_person_lost_in_view_is_doubtful(monkeypatch):
    fit = record(**{**values(frame_count=30), "boxes": [[100.0, 20.0, 200.0, 220.0]] * 3})
    monkeypatch.setattr("humanpose_cli.refining.outputs.apply_steps", lambda *_, **__: (fit, ()))
    monkeypatch.setattr("humanpose_cli.fitting.doubt.row_doubts", lambda *_, **__: [""] * 3)
    work = FitWork(MagicMock(), lambda *_: (), MagicMock(), fail_if_doubtful=True)
    lost = [f"person {track} last seen at 0.04 s, still in view" for track in (0, 2)]
    assert work(MagicMock(outputs=[Path("a")])).problem == f"doubtful: {'; '.join(lost)}"


@pytest.mark.extensive
def test_results_beside_their_inputs_are_not_taken_for_inputs(hpc, tmp_path):
    write_image(tmp_path / "coffee.png", skimage.data.coffee()[::4, ::4])
    line = ("fit", str(tmp_path), "--out", str(tmp_path), "--detector", "fast", "--json")
    assert hpc(*line).code == 0
    assert (tmp_path / "coffee.png.overlay.jpg").exists()
    assert [item["status"] for item in json.loads(hpc(*line).out)["items"]] == ["skipped"]


def test_repose_needs_somebody(hpc, photos, fitted, tmp_path):
    target = str(fitted / "astronaut.png.fit.npz")
    line = ("repose", "--input", str(photos / "coffee.jpg"), "--target-pose", target, "--out", str(tmp_path))
    ran = hpc(*line, "--detector", "fast")
    assert ran.code == 3
    assert "no person was found" in ran.err
    assert not list(tmp_path.glob("*.png"))


def test_repose_of_a_video_reports_that_its_first_frame_is_taken(hpc, tmp_path):
    np.save(tmp_path / "pose.npy", np.random.default_rng(0).normal(size=(24, 3)))
    with VideoWriter(tmp_path / "clip.mp4", 25) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
    line = ("repose", "--input", str(tmp_path / "clip.mp4"), "--target-pose", str(tmp_path / "pose.npy"))
    ran = hpc(*line, "--detector", "fast", "--out", str(tmp_path / "out"))
    assert ran.code == 3
    assert "clip.mp4: of this sequence, the first frame is reposed" in ran.err


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("options", "in_photograph", "in_video"),
    [
        ((), "thorough", "fast"),
        (("--detector", "fast"), "fast", "fast"),
        (("--detector", "thorough"), *["thorough"] * 2),
    ],
)
def test_repose_looks_longer_for_people_in_photographs_than_in_driving_videos(
    hpc, tmp_path, monkeypatch, options, in_photograph, in_video
):
    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", BlindDetector)
    monkeypatch.setattr(BlindDetector, "modes", [])
    write_image(tmp_path / "photo.png", np.zeros((48, 64, 3), np.uint8))
    upright = torch.eye(3).repeat(1, 24, 1, 1)
    np.save(tmp_path / "pose.npy", hp.Body.default().pose(upright, torch.zeros(1, 10)).joints[0].numpy())
    with VideoWriter(tmp_path / "dance.mp4", 25) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
    cases = (("pose.npy", in_photograph, "no person was found"), ("dance.mp4", in_video, "shows no person"))
    for target, mode, message in cases:
        line = ("repose", str(tmp_path / "photo.png"), str(tmp_path / target), "--out", str(tmp_path / "out"))
        ran = hpc(*line, *options)
        assert (ran.code, message in ran.err) == (3, True), ran.err
        assert BlindDetector.modes == [mode]
        BlindDetector.modes.clear()


@pytest.mark.extensive
def test_a_camera_that_walks_is_said(hpc, monkeypatch, tmp_path):
    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", BlindDetector)
    texture = blobs()
    with VideoWriter(tmp_path / "walk.mp4", 25) as video:
        for t in range(10):
            video.write(room(texture, (0.06 * t, 0, 0)))
    ran = hpc("fit", str(tmp_path / "walk.mp4"), "--out", str(tmp_path / "out"), "--no-overlay", "--json")
    walks = read_fit(tmp_path / "out" / "walk.mp4.fit.npz").options.camera_walks
    said = f"walk.mp4: the camera walks in {len(walks)} of 10 frames; its path is not found"
    assert said in ran.err
    assert any(message.startswith(said) for message in json.loads(ran.out)["messages"])


def test_json_lists_detections_without_a_body():
    hidden = {"frame": 1, "box": [10.0, 20.0, 60.5, 200.0], "score": 0.4, "reason": "hidden by another person"}
    listed = record(options=StoredOptions(not_fitted=[hidden]))
    rows = [{**row, "doubtful": doubt} for row, doubt in zip(listed.documents(), row_doubts(listed), strict=True)]
    assert fit_rows(listed) == {"rows": rows, "unfitted": [hidden]}
    assert fit_rows(record()) == {"rows": rows}


def test_a_dry_run_opens_the_first_frame_of_a_sequence(hpc, tmp_path):
    for number in (1001, 1002, 1003):
        write_image(tmp_path / "plates" / f"shot.{number}.exr", np.full((24, 32, 3), number % 200, np.uint8))
    whole = hpc("fit", str(tmp_path / "plates"), "--dry-run", "--frames", "1002:1004", "--start-frame", "5")
    assert (whole.code, whole.err.count("numbers 1001 to 1003")) == (0, 1)
    first = tmp_path / "plates" / "shot.1001.exr"
    first.write_bytes(first.read_bytes()[:400])
    ran = hpc("fit", str(tmp_path / "plates"), "--dry-run")
    assert ran.code == 3
    assert "shot.1001.exr: is an OpenEXR image that cannot be read" in ran.err


@pytest.mark.slow
def test_overlays_and_masks_of_a_sequence_are_numbered_images(hpc, monkeypatch, tmp_path):
    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", BlindDetector)
    for number in (1001, 1002, 1004):
        write_image(tmp_path / "plates" / f"shot.{number}.exr", np.full((48, 64, 3), number - 900, np.uint8))
    line = ("fit", str(tmp_path / "plates" / "shot.####.exr"), "--out", str(tmp_path / "out"), "--numbered", "--masks")
    assert hpc(*line).code == 0
    images = {
        path.name.removeprefix("shot.exr.") for path in (tmp_path / "out").iterdir() if path.suffix in (".jpg", ".png")
    }
    numbers = (1001, 1002, 1004)
    assert images == {*(f"overlay.{n}.jpg" for n in numbers), *(f"masks.{n}.png" for n in numbers)}
    assert read_image(tmp_path / "out" / "shot.exr.overlay.1004.jpg").pixels.mean() == pytest.approx(104, abs=2)
    with VideoWriter(tmp_path / "a.mp4", 25) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
    ran = hpc("fit", str(tmp_path / "a.mp4"), "--numbered")
    assert (ran.code, "--numbered: is for sequences of images" in ran.err) == (2, True)
