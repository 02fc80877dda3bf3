"""The script beside a .glb or .usd sets up a scene of Blender, which a double of its module stands for here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from helpers import HELPERS
from helpers.moving_people import FRAMES, moving_people, one_frame
from helpers.walking_take import walking_take

from humanpose_cli.exporting.blender import SCRIPT_SUFFIX
from humanpose_cli.exporting.exporter import export_fit
from humanpose_cli.fitting.result import Fit, FrameSource
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.refining.frames import FitFrames

RATE = 30000 / 1001
FIT = replace(moving_people(), frame_rate=RATE)
PIXELS = np.tile(np.arange(FRAMES + 2, dtype=np.uint8)[:, None, None, None] * 30, (1, 480, 640, 3))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shot") / "clip one.mp4"
    with VideoWriter(path, RATE) as video:
        for pixels in PIXELS:
            video.write(pixels)
    return path


def on_clip(clip: Path, first: int = 2) -> Fit:
    """The fit of the clip's frames from number `first` on."""
    names = np.array([f"{first + frame:06d}" for frame in range(FRAMES)])
    source = FrameSource(tuple(open_inputs([clip]))).part(first, first + FRAMES)
    return replace(FIT, frame_names=names, sources=(source,))


def camera_object(name: str) -> SimpleNamespace:
    data = MagicMock()
    data.keys = []
    data.keyframe_insert = lambda attribute, frame: data.keys.append((attribute, frame, getattr(data, attribute)))
    return SimpleNamespace(name=name, type="CAMERA", data=data, animation_data=None)


def opened(script: Path, *cameras: str, text: Path | None = None) -> tuple[MagicMock, SimpleNamespace]:
    """Run the script in a double of Blender whose importers find these cameras; returns the double and the scene.

    text  the script's file, as the Text editor knows it
    """
    bpy, scene = MagicMock(), SimpleNamespace(render=SimpleNamespace(), objects=[], camera=None, frame_set=MagicMock())
    bpy.context.scene = scene
    bpy.context.space_data = None if text is None else SimpleNamespace(text=SimpleNamespace(filepath=str(text)))
    bpy.path.abspath = lambda path: path

    def imported(filepath: str) -> None:
        scene.imported, scene.rate_of_import = filepath, scene.render.fps * scene.render.fps_base
        scene.objects = [
            SimpleNamespace(name="person0", type="MESH", animation_data=None),
            *map(camera_object, cameras),
        ]

    bpy.ops.import_scene.gltf = bpy.ops.wm.usd_import = imported
    names = {"__file__": "/gone/Text" if text else str(script), "__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "bpy", bpy)
        exec(script.read_text("utf-8"), names)
    return bpy, scene


def projected(scene: SimpleNamespace, camera: SimpleNamespace, point: np.ndarray) -> np.ndarray:
    """Pixels (2,) of a point in camera axes, by Blender's lens in millimetres and shift in image widths."""
    width, height = scene.render.resolution_x, scene.render.resolution_y
    lens = camera.data
    focal = lens.lens / lens.sensor_width * width
    centre = width / 2 - lens.shift_x * width, height / 2 + lens.shift_y * width
    return focal * point[:2] / point[2] + centre


@pytest.mark.extensive
def test_the_scene_has_rate_range_camera_and_frames(clip, tmp_path):
    fit = on_clip(clip)
    glb, script = export_fit(fit, tmp_path / "out" / "dance", "glb")
    assert script == tmp_path / "out" / f"dance{SCRIPT_SUFFIX}"
    bpy, scene = opened(script, "camera.001")
    assert scene.imported == str(glb)
    assert scene.rate_of_import == pytest.approx(RATE, rel=1e-9)  # the importer multiplies
    assert (scene.render.fps, scene.render.fps_base) == (30, pytest.approx(1.001))
    assert (scene.frame_start, scene.frame_end) == (2, FRAMES + 1)  # the clip's numbers
    assert (scene.render.resolution_x, scene.render.resolution_y) == (640, 480)
    assert scene.camera.name == "camera.001"
    for joint in fit.joints3d[0, :3].astype(float):
        np.testing.assert_allclose(projected(scene, scene.camera, joint), fit.camera(0).project(joint), atol=0.01)
    assert scene.camera.data.keys == []
    (loaded,) = bpy.data.images.load.call_args.args
    assert Path(loaded).resolve() == clip.resolve()
    assert str(clip.parent) not in script.read_text("utf-8")  # relative
    plate = scene.camera.data.background_images.new()
    assert plate.image.source == "MOVIE"
    user = plate.image_user
    assert (user.frame_start, user.frame_offset, user.frame_duration) == (2, 2, FRAMES)
    assert opened(script, "camera", text=script)[1].imported == str(glb)  # from the Text editor


def test_both_formats_share_one_script_with_the_same_bytes_again(tmp_path):
    pytest.importorskip("pxr", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
    written = export_fit(FIT, tmp_path / "a", "usd,glb")
    assert [path.name for path in written] == ["a.usd", "a.blender.py", "a.glb"]
    script = written[1].read_bytes()
    assert export_fit(FIT, tmp_path / "b", "usd")[1].read_bytes() == script
    assert opened(tmp_path / "a.blender.py", "camera")[1].imported == str(tmp_path / "a.glb")
    bpy, scene = opened(tmp_path / "b.blender.py", "camera")
    assert scene.imported == str(tmp_path / "b.usd")
    bpy.data.images.load.assert_not_called()
    (tmp_path / "b.usd").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.glb"):
        opened(tmp_path / "b.blender.py", "camera")


def test_a_lens_that_zooms_has_keys(tmp_path):
    focal = np.linspace(600, 900, FRAMES, dtype=np.float32)
    _, script = export_fit(replace(FIT, focal=focal), tmp_path / "a", "glb")
    keys = opened(script, "camera")[1].camera.data.keys
    lenses = [(frame, value) for attribute, frame, value in keys if attribute == "lens"]
    np.testing.assert_allclose(lenses, [(frame, 36 * focal[frame] / 640) for frame in range(FRAMES)], rtol=1e-6)


@pytest.mark.extensive
@pytest.mark.parametrize("shape", ["folder", "image", "array", "gone"])
def test_frames_of_every_kind(tmp_path, shape):
    from humanpose_cli.io.images import write_image

    files = [tmp_path / "shot" / f"f_{number:04d}.png" for number in range(7, 7 + FRAMES)]
    for file in files:
        write_image(file, np.zeros((480, 640, 3), np.uint8))
    fit = replace(FIT, frame_names=np.array([file.name for file in files]))
    if shape == "image":
        fit = one_frame(fit, 0)
    frames = {"folder": tmp_path / "shot", "image": files[0], "array": PIXELS[:FRAMES], "gone": tmp_path / "shot"}[
        shape
    ]
    _, script = export_fit(fit, tmp_path / "out", "glb", frames=frames)
    if shape == "gone":
        shutil.rmtree(tmp_path / "shot")
    bpy, scene = opened(script, "camera")
    if shape in ("array", "gone"):
        bpy.data.images.load.assert_not_called()
        return
    assert Path(bpy.data.images.load.call_args.args[0]).resolve() == files[0].resolve()
    plate = scene.camera.data.background_images.new()
    assert plate.image.source == {"folder": "SEQUENCE", "image": "FILE"}[shape]
    if shape == "folder":
        assert (plate.image_user.frame_start, plate.image_user.frame_offset) == (7, 6)  # frame 7 shows number 7


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "names"), [("glb", ["2.mp4.001", "1.mp4.001"]), ("usd", ["_2_mp4", "_1_mp4"])])
def test_each_camera_of_a_take_has_its_lens_and_frames(walk, clip, tmp_path, kind, names):
    """By the names that Blender gives them, in any order; the second camera starts two frames late."""
    take = walking_take(walk)
    frames = np.array([f"{number:06d}" for number in range(len(walk.frames))])
    late = np.array(["", "", *(f"{number:06d}" for number in range(5, len(walk.frames) + 3))])
    views = replace(take.views, names=np.array(["1.mp4", "2.mp4"]), frame_names=np.array([frames, late]))
    views = replace(views, focal=np.float32([600, 700]))
    source = FrameSource(tuple(open_inputs([clip])))
    take = replace(take, views=views, sources=(source, source))
    if kind == "usd":
        pytest.importorskip("pxr", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
    stored = replace(take, sources=()) if kind == "glb" else take  # as read from a fit file, whose frames are found
    of_all = FitFrames(take, source, in_order=True)
    script = export_fit(stored, tmp_path / "take", kind, frames=of_all, textures={})[-1]  # they show another person
    _, scene = opened(script, *names)
    second, first = scene.objects[1:]
    assert scene.camera is first
    for camera, focal, width, offset in zip((first, second), (600, 700), views.image_size[:, 0], (0, 3), strict=True):
        assert camera.data.lens == pytest.approx(36 * focal / width, rel=1e-5)
        assert camera.data.background_images.new().image_user.frame_offset == offset


@pytest.mark.parametrize("kind", ["glb", "usd"])
def test_blender_runs_it(clip, tmp_path, kind):
    blender = shutil.which("blender")
    if blender is None:
        pytest.skip("Blender is not installed")
    if kind == "usd":
        pytest.importorskip("pxr", reason='usd-core is not installed: pip install "humanpose-cli[usd]"')
    fit = on_clip(clip)
    script = export_fit(fit, tmp_path / "dance", kind)[-1]
    line = [blender, "--background", "--factory-startup", "--python", str(script)]
    ran = subprocess.run([*line, "--python", str(HELPERS / "blender_scene.py")], capture_output=True, text=True)
    lines = [line.removeprefix("SCENE ") for line in ran.stdout.splitlines() if line.startswith("SCENE ")]
    assert lines, ran.stdout + ran.stderr
    found = json.loads(lines[0])
    assert found["scene"] == "dance"
    assert found["range"] == [0, FRAMES - 1]
    assert found["rate"] == pytest.approx(RATE, rel=1e-6)
    assert found["last_key"] == pytest.approx(FRAMES - 1, abs=1e-3)
    assert found["resolution"] == [640, 480]
    assert Path(found["plate"]).resolve() == clip.resolve()
    assert found["plate_frames"] >= FRAMES
    for frame, rows in enumerate(fit.rows_for(frame) for frame in range(FRAMES)):
        pixels = fit.camera(frame).project(fit.joints3d[rows[0]].astype(float))
        drawn = np.array(found["pixels"][frame]) * (640, -480) + (0, 480)
        np.testing.assert_allclose(drawn, pixels[:3], atol=0.3)
