"""`hpc export` and `hpc view` from the command line, on fit files of drawn bodies."""

from __future__ import annotations

import copy
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import foreign_files
from helpers.moving_people import moving_people

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.exporting import skins
from humanpose_cli.fitting import fit_reading
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.io.images import write_image


@pytest.fixture
def fits(tmp_path) -> Path:
    """A folder with the fit of an image with two people, and its larger one's texture."""
    joints = default_body().joint_template.numpy() + np.array((0, 0, 3))
    sizes = {"poses": 72, "betas": 10, "trans": 3, "boxes": 4}
    columns = {name: np.zeros((2, size)) for name, size in sizes.items()}
    columns["boxes"][:, 2:] = ((10, 10), (50, 50))
    fit = Fit.build(
        **columns,
        track_id=[0, 1],
        frame_index=[0, 0],
        interpolated=[False, False],
        segment_scales=np.ones((2, len(SMPL24))),
        joints3d=np.stack((joints, joints)),
        joints2d=np.zeros((2, 24, 2)),
        keypoints2d=np.zeros((2, 33, 3)),
        confidence=[1, 1],
        joint_confidence=np.ones((2, 24)),
        reprojection_error=[0, 0],
        frame_names=["a.png"],
        shot_id=[0],
        image_size=[(64, 64)],
        focal=[60],
        principal_point=[(32, 32)],
        world_to_camera=np.eye(4)[None],
    )
    (tmp_path / "fits").mkdir()
    fit.save(tmp_path / "fits" / "a.png.fit.npz")
    write_image(tmp_path / "fits" / "a.png.person1.texture.png", np.full((512, 512, 4), 200, np.uint8))
    return tmp_path / "fits"


def names(ran) -> list[str]:
    return [Path(path).name for path in ran.details["outputs"]]


def test_doubts_of_the_fit_are_reported(hpc, fits, tmp_path):
    path = fits / "a.png.fit.npz"
    fit = load_fit(path)
    fit = replace(fit, keypoints2d=fit.keypoints2d + np.float32(1), options=replace(fit.options, camera_walks=[0]))
    fit.save(path)
    ran = hpc("export", str(path), "--out", str(tmp_path / "out"), "--format", "json", "--json")
    assert "the camera walks" in ran.document["items"][0]["doubtful"]


@pytest.mark.slow
def test_formats_people_and_textures(hpc, fits, tmp_path):
    line = ("export", str(fits), "--out", str(tmp_path / "out"), "--json")
    ran = hpc(*line, "--format", "glb,bvh,obj,ply")
    assert ran.code == 0, ran.err
    assert [[Path(path).name for path in item["outputs"]] for item in ran.document["items"]] == [
        ["a.png.glb", "a.png.blender.py"],
        ["a.png.person0.bvh", "a.png.person1.bvh"],
        ["a.png.obj", "a.png.mtl", "a.png.person1.png"],
        ["a.png.ply"],
    ]
    assert "map_Kd a.png.person1.png" in (tmp_path / "out" / "a.png.mtl").read_text("utf-8")
    assert "people are shown without textures; --frames INPUT names them" in ran.err
    ran = hpc(*line, "--format", "bvh", "--person", "largest", "--overwrite")
    assert names(ran) == ["a.png.person1.bvh"]


@pytest.mark.extensive
@pytest.mark.parametrize("command", ["export", "view"])
def test_frames_that_cannot_be_read_leave_the_body(hpc, fits, tmp_path, command):
    path, frame = fits / "a.png.fit.npz", fits / "a.png"
    write_image(frame, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    frame.write_bytes(frame.read_bytes()[:-6000])
    replace(load_fit(path), frame_files=(FrameFiles("image", (frame,)),)).save(path)
    line = (command, str(path), "--json", "--out", str(tmp_path / "out"))
    ran = hpc(*line)
    assert ran.code == 0, ran.err
    (note,) = [each for each in ran.err.splitlines() if "the frames are not used" in each]
    assert "a.png" in note
    ran = hpc(*line, "--texture", "frames", "--overwrite")
    assert ran.code == 3


@pytest.mark.slow
def test_formats_one_after_another_stand_beside_each_other(hpc, fits, tmp_path, monkeypatch):
    """And a fit is read, and its ground found, once for all that are asked for together."""
    called = []

    def count(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments, **named: called.append(name) or real(*arguments, **named))

    count(fit_reading, "read_fits")
    count(skins, "on_the_ground")
    line = ("export", str(fits), "--out", str(tmp_path / "out"), "--world", "ground", "--json")
    assert names(hpc(*line)) == ["a.png.glb", "a.png.blender.py"]
    ran = hpc(*line, "--format", "glb,json,ply")
    assert [item["status"] for item in ran.document["items"]] == ["skipped", "success", "success"]
    assert called == 2 * ["read_fits", "on_the_ground"]
    assert hpc(*line, "--format", "json", "--frame-rate", "30").document["items"][0]["status"] == "success"


@pytest.mark.parametrize(("late", "notice"), [(0.001, False), (0.02, True)])
def test_frames_that_are_not_evenly_spaced_are_named(hpc, tmp_path, late, notice):
    """Times that files round to thousandths are even."""
    fit = moving_people()
    times = np.arange(fit.frame_count) / fit.frame_rate
    times[1] += late
    replace(fit, frame_times=times).save(tmp_path / "clip.fit.npz")
    ran = hpc("export", str(tmp_path / "clip.fit.npz"), "--out", str(tmp_path / "out"), "--format", "bvh")
    assert ran.code == 0
    assert ("its frames are not evenly spaced" in ran.err) == notice


@pytest.mark.extensive
def test_the_frames_are_the_background_in_blender(hpc, fits, tmp_path):
    """Also of what was exported without them before, and the script replaces no input."""
    write_image(tmp_path / "shot" / "a.png", np.zeros((64, 64, 3), np.uint8))
    script = tmp_path / "out" / "a.png.blender.py"
    line = ("export", str(fits / "a.png.fit.npz"), "--json", "--out")
    assert hpc(*line, str(script.parent)).code == 0
    assert "shot" not in script.read_text("utf-8")
    ran = hpc(*line, str(script.parent), "--frames", str(tmp_path / "shot" / "a.png"))
    assert (ran.code, names(ran)) == (0, ["a.png.glb", "a.png.blender.py"]), ran.err
    assert "('../shot/a.png', 'FILE', 0)" in script.read_text("utf-8")
    os.link(fits / "a.png.fit.npz", tmp_path / "b.blender.py")
    refused = hpc(*line, str(tmp_path / "b.glb"))
    assert "would replace the input" in refused.err + refused.out
    assert (tmp_path / "b.blender.py").read_bytes() == (fits / "a.png.fit.npz").read_bytes()
    assert not (tmp_path / "b.glb").exists()


def test_the_name_of_one_file_gives_its_format(hpc, fits, tmp_path):
    ran = hpc("export", str(fits / "a.png.fit.npz"), "--out", str(tmp_path / "people.json"), "--json")
    assert ran.code == 0, ran.err
    assert names(ran) == ["people.json"]


@pytest.mark.extensive
def test_pages_for_fits_with_and_without_frames(hpc, fits, tmp_path):
    ran = hpc("view", str(fits), "--out", str(tmp_path / "out"), "--json")
    assert ran.code == 0, ran.err
    assert names(ran) == ["a.png.html"]
    write_image(tmp_path / "a.png", np.zeros((64, 64, 3), np.uint8))
    page = tmp_path / "people.html"
    ran = hpc("view", str(fits), "--frames", str(tmp_path / "a.png"), "--out", str(page), "--json")
    assert ran.code == 0, ran.err
    assert 'alt="photograph"' in page.read_text("utf-8")
    assert ran.details["megabytes"] < 3


def test_a_missing_extra_is_reported_once_in_pipes(hpc, fits, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    ran = hpc("export", str(fits), "--format", "glb,usd", "--out", str(tmp_path / "out"))
    assert (ran.code, (tmp_path / "out").exists()) == (5, False), "before any fit is read"
    sentence = 'usd-core: is not installed, and USD files need it; pip install "humanpose-cli[usd]"'
    assert (ran.err.count(sentence), ran.out.count(sentence)) == (1, 0)


@pytest.mark.slow
def test_results_of_other_programs(hpc, tmp_path, monkeypatch):
    """TRAM's whole folder, and a SMPL-X result with its model file."""
    body = copy.copy(default_body())
    body.name = "smpl-neutral"
    monkeypatch.setattr(fit_reading, "load_body", lambda _: body)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"only its digest is looked at")
    person = foreign_files.true_person()
    track, camera = foreign_files.tram(person)
    (tmp_path / "tram/hps").mkdir(parents=True)
    np.save(tmp_path / "tram/hps/hps_track_0.npy", track)
    np.save(tmp_path / "tram/camera.npy", camera)
    torch.save(foreign_files.gvhmr(person), tmp_path / "hmr4d_results.pt")
    model = {
        "J_regressor": np.eye(55, 24),
        "v_template": body.joint_template.numpy(),
        "shapedirs": np.zeros((24, 3, 15)),
    }
    np.savez(tmp_path / "SMPLX.npz", **model)
    line = ("--body", "smpl:SMPL_NEUTRAL.pkl", "--out", "out", "--json")
    assert names(hpc("export", "tram", *line)) == ["tram.glb", "tram.blender.py"]
    refused = hpc("export", "hmr4d_results.pt", *line)
    assert (refused.code, "--model" in refused.details["error"]) == (2, True)
    line += ("--model", "SMPLX.npz", "--overwrite")
    written = ["hmr4d_results.pt.glb", "hmr4d_results.pt.blender.py"]
    assert names(hpc("export", "hmr4d_results.pt", *line)) == written
    assert names(hpc("view", "hmr4d_results.pt", *line)) == ["hmr4d_results.pt.html"]
    np.save(tmp_path / "tram/camera.npy", {"img_focal": 1.0})
    damaged = hpc("export", "tram", *line)
    assert (damaged.code, "has not the documented layout" in damaged.details["error"]) == (3, True)


@pytest.mark.extensive
def test_names_that_are_no_utf8_are_escaped_in_all_results(hpc, fits, tmp_path):
    pytest.importorskip("pxr", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
    raw = os.fsdecode(b"lat\xe9in.jpg")
    fit = (fits / "a.png.fit.npz").rename(tmp_path / f"{raw}.fit.npz")
    (fits / "a.png.person1.texture.png").rename(tmp_path / f"{raw}.person1.texture.png")
    out = tmp_path / os.fsdecode(b"l\xe9")  # a folder of the user's keeps its name
    ran = hpc("export", str(fit), "--out", str(out), "--format", "obj,usd,glb", "--json")
    assert ran.code == 0, ran.err
    names = {Path(path).name for item in ran.document["items"] for path in item["outputs"]}
    shown = r"lat\xe9in.jpg"
    assert names == {f"{shown}.{ending}" for ending in ("obj", "mtl", "person1.png", "usd", "glb", "blender.py")}
    assert f"mtllib {shown}.mtl" in (out / f"{shown}.obj").read_text("utf-8")
    assert f"map_Kd {shown}.person1.png" in (out / f"{shown}.mtl").read_text("utf-8")
    assert (out / f"{shown}.usd").read_bytes().startswith(b"PXR-USDC")
    assert json.loads((out / "run.json").read_bytes())["arguments"][1] == str(fit)
    usd = tmp_path / os.fsdecode(b"l\xe9.usd")  # a file of the user's too, and what it refers to is in UTF-8
    ran = hpc("export", str(fit), "--out", str(usd), "--json")
    assert [Path(path).name for path in ran.details["outputs"]] == [
        *(usd.name, r"l\xe9.person1.png", f"{usd.stem}.blender.py")
    ]
    assert usd.exists()
    page = tmp_path / f"{raw}.html"
    assert hpc("view", str(fit), "--out", str(page)).code == 0
    assert f"<title>{shown}</title>" in page.read_text("utf-8")


LONG = "n" * 300


@pytest.mark.slow
@pytest.mark.parametrize("command", ["export", "view"])
def test_a_line_that_is_too_long_for_a_name_fails_alone(hpc, fits, tmp_path, command):
    lines = [str(fits / "a.png.fit.npz"), LONG, "d/" * 3000 + "y.npz", "missing.npz"]
    (tmp_path / "items.txt").write_text("\n".join(lines))
    ran = hpc(command, "--items", str(tmp_path / "items.txt"), "--out", str(tmp_path / "out"), "--json")
    assert ran.code == 4
    assert [item["status"] for item in ran.document["items"]] == ["success", "error", "error", "error"]
    said = [item["error"] for item in ran.document["items"][1:]]
    assert said[0].startswith(f"{LONG}: has too long a name for this file system; ")
    assert "has too long a name for this file system; " in said[1]
    assert said[2].startswith("missing.npz: does not exist")


@pytest.mark.slow
def test_a_name_with_no_space_for_an_ending_fails_alone(hpc, fits, tmp_path):
    """Of 248 bytes there is space for the texture's name nowhere, and for some of the outputs' names."""
    name = "n" * 240 + ".fit.npz"
    (fits / name).write_bytes((fits / "a.png.fit.npz").read_bytes())
    line = ("export", str(fits), "--out", str(tmp_path / "out"), "--json", "--person", "0", "--format")
    ran = hpc(*line, "amass,glb")
    assert ran.code == 4
    found = {item["input"].rpartition("/")[2]: item for item in ran.document["items"] if item["error"]}
    assert list(found) == [name]
    message = (
        "name is too long for this file system, expected at most 255 bytes, found 258 bytes; shorten the input's name"
    )
    assert message in found[name]["error"]
    assert [Path(path).name for item in ran.document["items"] for path in item["outputs"]] == [
        *("a.png.person0.amass.npz", "a.png.glb", "a.png.blender.py", "n" * 240 + ".glb", "n" * 240 + ".blender.py")
    ]


def test_motions_of_games_are_in_place(hpc, tmp_path):
    moving_people().save(tmp_path / "clip.fit.npz")
    line = ("export", str(tmp_path / "clip.fit.npz"), "--out", str(tmp_path / "out"), "--format", "json", "--json")
    (path,) = map(Path, hpc(*line, "--in-place").details["outputs"])
    in_place = path.read_bytes()
    assert hpc(*line).code == 0  # it replaces its own file
    assert path.read_bytes() != in_place
