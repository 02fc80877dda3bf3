"""The demo: its errors are those of the fit, and its page shows what was written and the commands that write it."""

from __future__ import annotations

import html
import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.body import default_body
from humanpose_cli.cli.main import main
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import FractionalProgress
from humanpose_cli.demo import clip as drawing
from humanpose_cli.demo import show
from humanpose_cli.demo.clip import DemoClip
from humanpose_cli.demo.show import NEXT, clip_errors, run_demo
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.fit_files import FitRecord, read_fit
from humanpose_cli.io.pose_files import read_pose
from humanpose_cli.io.video import VideoWriter, count_frames


@pytest.fixture(scope="module")
def clip():
    return DemoClip.make(default_body())


POSES = (*show._POSES, show._LIMITS_POSE)


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
def test_errors_are_zero_for_the_truth_and_right_for_a_constructed_fault(clip):
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


@pytest.mark.parametrize("degrees", [0, 70, 180, -120])
def test_a_motion_begins_in_the_direction_that_the_person_faces(degrees, tmp_path):
    turned = axis_angle_to_matrix(torch.tensor([0.0, math.radians(degrees), 0.0]))
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turned
    pelvis = SMPL24.index("pelvis")
    for arrays in (show._motion(facing, default_body()), show._key_pose("wave", facing)):
        np.savez(tmp_path / "pose.npz", **arrays)
        front = read_pose(tmp_path / "pose.npz").params.tensors().rotations[0, pelvis, :, 2]
        level = torch.tensor([1.0, 0.0, 1.0])
        cosine = torch.nn.functional.cosine_similarity(front * level, facing[:, 2] * level, dim=0)
        assert cosine > 0.999


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A demo of a few frames, with a clip of its own."""
    folder, fractions, wrote = tmp_path_factory.mktemp("demo"), [], {}
    frames, motion = drawing._FRAMES, show._MOTION_FRAMES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "_FRAMES", slice(frames.start, frames.stop, 15 * (frames.step or 1)))
        patch.setattr(show, "_MOTION_FRAMES", slice(motion.start, motion.start + 2))
        with VideoWriter(folder / "own clip.mp4", 10) as video:
            for _, frame in zip(range(2), DemoClip.make(default_body()).frames(), strict=False):
                video.write(frame)
        progress = FractionalProgress(lambda fraction, *_: fractions.append(fraction))

        def note(path: Path) -> None:
            assert path not in wrote
            wrote[path] = path.stat().st_size

        demo = run_demo(folder / "out", progress, clip=folder / "own clip.mp4", wrote=note)
    return demo, html.unescape(demo.page.read_text("utf-8")), fractions, wrote


@pytest.mark.extensive
def test_the_demo_makes_what_its_page_shows(made):
    demo, page, fractions, _ = made
    shown = re.findall(r'src="([^"#]+)', page)
    assert {path.name for path in demo.outputs} >= {name.replace("%20", " ") for name in shown}
    assert len(set(demo.outputs)) == len(demo.outputs)
    assert all(path.stat().st_size > 1000 for path in demo.outputs if path.suffix != ".npz")
    assert demo.errors.found > 0.9
    assert demo.errors.pa_mpjpe_mm < demo.errors.mpjpe_mm < 90
    assert demo.ssim_reposed > demo.ssim_copied
    assert len(read_fit(demo.page.with_name("two.png.fit.npz"))) == 2
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 0.05
    assert fractions[-1] > 0.97
    assert max(np.diff(fractions)) < 0.12  # no part of the work is silent
    assert "warning: astronaut.png: the fit of person 0 is doubtful" in page
    assert "error: cat.png: no person was found" in page


@pytest.mark.extensive
def test_each_image_is_named_when_it_is_complete(made):
    demo, _, _, wrote = made
    clip = demo.page.with_name("own clip.mp4")  # the input
    assert set(wrote) == {path for path in demo.outputs if path.suffix != ".npz"} - {clip}
    assert wrote == {path: path.stat().st_size for path in wrote}
    assert next(iter(wrote)).name == "own clip.mp4.overlay.mp4"  # the user's before what takes longer


@pytest.mark.extensive
def test_the_commands_of_the_page_write_the_files_that_it_shows(made, capsys, monkeypatch):
    demo, page, *_ = made
    monkeypatch.chdir(demo.page.parent)
    commands = re.findall(r"<span>hpc (.*?)</span>", page)
    assert tuple(f"hpc {command}" for command in commands[-len(NEXT) :]) == NEXT
    planned = set()
    for command in commands[: -len(NEXT)]:
        assert main([*shlex.split(command), "--dry-run", "--json"]) == 0
        for item in json.loads(capsys.readouterr().out)["items"]:
            planned |= {Path(output).name for output in item["outputs"]}
    written = {path.name for path in demo.outputs}
    by_the_demo = {"drawn.mp4", "drawn.truth.npz", "photo.png", "two.png", "astronaut.png", "cat.png", "index.html"}
    by_the_demo |= {"own clip.mp4", "traffic.npz", "astronaut.overlay.jpg"} | {f"{name}.npz" for name in POSES}
    assert planned == (written - by_the_demo) | {"cat.arms_wide_up.png"}  # which fails, as the page says


def test_the_package_holds_a_clip():
    assert show.CLIP.is_relative_to(Path(show.__file__).parent)
    assert count_frames(show.CLIP) > 20


@pytest.mark.extensive
def test_a_clip_without_a_person_is_refused(tmp_path):
    with VideoWriter(tmp_path / "grey.MP4", 10) as video:
        for _ in range(3):
            video.write(np.full((120, 160, 3), 128, np.uint8))
    with raises(InputError, problem="shows no person"):
        run_demo(tmp_path / "out", clip=tmp_path / "grey.MP4")
    assert not (tmp_path / "out" / "index.html").exists()


def test_a_clip_is_not_mistaken_for_a_video_of_the_demo(tmp_path):
    (tmp_path / "drawn.mp4").write_bytes(b"")
    with raises(UsageError, problem="has the name of a video of the demo"):
        run_demo(tmp_path / "out", clip=tmp_path / "drawn.mp4")
