"""The demo: its clip repeats, its errors are those of the fit, its page shows what was written."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.demo import show
from humanpose_cli.demo.show import DemoClip, Figure, Section, clip_errors, index_page, run_demo
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.fit_files import FitRecord, read_fit
from humanpose_cli.io.images import read_image
from humanpose_cli.io.pose_files import read_pose


@pytest.fixture(scope="module")
def clip():
    return DemoClip.make(default_body())


def true_record(clip: DemoClip) -> FitRecord:
    count = len(clip)
    joints = clip.posed().joints.numpy()
    rows = {
        "poses": matrix_to_axis_angle(clip.rotations).flatten(1).numpy(),
        "betas": clip.betas.expand(count, -1).numpy(),
        "trans": clip.trans.numpy(),
        "joints3d": joints,
        "joints2d": joints[..., :2],
        "segment_scales": np.ones((count, 24)),
        "keypoints2d": np.zeros((count, 33, 3)),
        "boxes": np.tile([0, 0, 9, 9], (count, 1)),
        "joint_confidence": np.ones((count, 24)),
        **{name: np.zeros(count) for name in ("track_id", "interpolated", "confidence", "reprojection_error")},
    }
    names = [str(t) for t in range(count)]
    empty = FitRecord.empty(names, np.tile([640, 480], (count, 1)), np.full(count, clip.focal))
    frames = {name: getattr(empty, name) for name in ("shot_id", "image_size", "focal", "principal_point")}
    return FitRecord.build(
        frame_index=np.arange(count), frame_names=names, world_to_camera=empty.world_to_camera, **frames, **rows
    )


@pytest.mark.slow
def test_the_clip_is_the_same_every_time_and_shows_the_person_where_they_are(clip):
    first, again = next(clip.frames()), next(DemoClip.make(clip.body).frames())
    assert np.array_equal(first, again)
    rows, columns = np.nonzero(clip.silhouette(clip.rotations[0], clip.trans[0]))
    background = next(replace(clip, trans=clip.trans + torch.tensor([0.0, 0.0, 500.0])).frames())
    changed = np.abs(first.astype(int) - background).max(2) > 40
    inside = changed[rows, columns].mean()
    assert inside > 0.8
    assert (np.ptp(rows), np.ptp(columns)) > (100, 20)


def test_the_whole_person_stays_in_the_image(clip):
    """What the fit is measured on must be seen."""
    joints = clip.posed().joints
    pixels = clip.view.project(joints)
    assert (pixels > 5).all()
    assert (pixels[..., 0] < clip.size[1] - 5).all()
    assert (pixels[..., 1] < clip.size[0] - 5).all()


@pytest.mark.slow
def test_errors_are_zero_for_the_truth_and_right_for_a_known_fault(clip):
    record = true_record(clip)
    with Fitter() as fitter:
        perfect = clip_errors(record, clip, fitter)
        assert perfect.found == 1
        assert max(perfect.mpjpe_mm, perfect.pa_mpjpe_mm, perfect.pve_mm) < 0.05
        moved = record.joints3d.copy()
        moved[:, SMPL24.index("left_wrist"), 0] += 0.24
        wrong = clip_errors(replace(record, joints3d=moved), clip, fitter)
        assert wrong.mpjpe_mm == pytest.approx(10, abs=0.1)  # 240 mm at one of 24 joints
        half = clip_errors(record.select(np.arange(0, len(clip), 3)), clip, fitter)
        assert half.found == pytest.approx(15 / 45)


def test_the_page_shows_files_and_escapes_words():
    page = index_page([Section("A <b>", "x & y", "hpc fit", [Figure("a b.png", '"quoted"'), Figure("c.mp4", "v")])])
    assert "A &lt;b&gt;" in page
    assert "x &amp; y" in page
    assert '<img src="a b.png"' in page
    assert '<video src="c.mp4"' in page
    assert "http" not in page


@pytest.mark.slow
def test_the_demo_makes_what_its_page_shows(tmp_path, monkeypatch):
    frames = show._FRAMES
    monkeypatch.setattr(show, "_FRAMES", slice(frames.start, frames.stop, 3 * (frames.step or 1)))  # every third
    steps = []
    demo = run_demo(tmp_path, lambda *step: steps.append(step))
    shown = re.findall(r'src="([^"]+)"', demo.page.read_text("utf-8"))
    assert {path.name for path in demo.outputs} >= set(shown)
    assert all(path.stat().st_size > 1000 for path in demo.outputs if path.suffix != ".npz")
    poses = re.findall(r"--target-pose (\S+)\.npz", demo.page.read_text("utf-8"))
    assert poses == list(show._POSES)
    for name in poses:  # the command that is shown draws what is shown
        kept = read_pose(tmp_path / f"{name}.npz").params.tensors().rotations
        np.testing.assert_allclose(kept, show._key_pose(name).tensors().rotations, atol=1e-5)
    assert demo.errors.found > 0.9
    assert demo.errors.pa_mpjpe_mm < demo.errors.mpjpe_mm < 90
    assert demo.ssim_reposed > demo.ssim_copied
    record = read_fit(tmp_path / "astronaut.png.fit.npz")
    assert len(record) == 1
    assert np.abs(record.poses).max() < 7
    assert read_image(tmp_path / "astronaut.wave.png").size == (512, 512)
    assert [done for done, _, _ in steps] == sorted({done for done, _, _ in steps})
