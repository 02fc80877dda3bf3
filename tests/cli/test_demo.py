"""`hpc demo` hands on what it is asked for and tells what was made; what it makes is tested in tests/demo."""

from __future__ import annotations

from humanpose_cli.demo import show


def test_the_demo_keeps_to_its_threads_and_names_its_page(hpc, tmp_path, monkeypatch):
    asked = {}

    def made(out, progress=None, *, device="auto", threads=None, video_codec=""):
        asked.update(out=out, device=device, threads=threads, video_codec=video_codec)
        page = out / "index.html"
        return show.Demo(page, (page,), show.ClipErrors(1.0, 50.0, 40.0, float("nan")), 0.5, 0.4)

    monkeypatch.setattr(show, "run_demo", made)
    ran = hpc(
        "demo", "--out", str(tmp_path / "d"), "--threads", "2", "--device", "cpu", "--video-codec", "vp9", "--json"
    )
    assert ran.code == 0
    assert asked == {"out": tmp_path / "d", "device": "cpu", "threads": 2, "video_codec": "vp9"}
    assert "index.html" in ran.err
    assert (ran.details["mpjpe_mm"], ran.details["pve_mm"]) == (50.0, None)
