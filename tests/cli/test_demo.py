"""`hpc demo` hands on what it is asked for and tells what was made; what it makes is tested in tests/demo."""

from __future__ import annotations

import json

import pytest

from humanpose_cli.demo import show


@pytest.mark.parametrize("program", ["hpc", ".venv/bin/hpc"])
def test_the_demo_keeps_to_its_threads_and_names_its_page(hpc, tmp_path, monkeypatch, program):
    call = {}

    def made(out, progress=None, *, clip=None, wrote=None, device="auto", threads=None, video_codec=""):
        call.update(out=out, clip=clip, device=device, threads=threads, video_codec=video_codec)
        page = out / "index.html"
        wrote(out / "overlay.jpg")
        return show.Demo(page, (page,), show.ClipErrors(1.0, 50.0, 40.0, float("nan")), 0.5, 0.4)

    monkeypatch.setattr(show, "run_demo", made)
    monkeypatch.setattr("sys.argv", [program])
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/hpc" if program == "hpc" else None)
    ran = hpc(
        "demo", "--out", str(tmp_path / "d"), "--threads", "2", "--device", "cpu", "--video-codec", "vp9", "--json"
    )
    assert ran.code == 0
    assert f"{tmp_path / 'd' / 'overlay.jpg'}\n" in ran.err
    assert call == {"out": tmp_path / "d", "clip": show.CLIP, "device": "cpu", "threads": 2, "video_codec": "vp9"}
    assert "index.html" in json.loads(ran.out)["messages"][0]
    assert json.loads(ran.out)["messages"][-1].endswith(f": {program} fit your-photo.jpg")
    assert (ran.details["mpjpe_mm"], ran.details["pve_mm"]) == (50.0, None)


def test_a_clip_that_is_no_video_is_refused_before_models_load(hpc, tmp_path, monkeypatch):
    monkeypatch.setattr(show, "run_demo", None)
    (tmp_path / "notes.mp4").write_text("no video")
    ran = hpc("demo", "--out", str(tmp_path / "d"), str(tmp_path / "notes.mp4"))
    assert ran.code == 3
    assert "notes.mp4: has no readable video frame" in ran.err
    assert not (tmp_path / "d").exists()
