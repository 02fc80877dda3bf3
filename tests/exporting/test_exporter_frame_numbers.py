"""Numbers of a shot's frames, and a gap in them, are those of every format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.moving_people import FRAMES, moving_people

from humanpose_cli.exporting.exporter import export_fit

RATE = 24000 / 1001
NUMBERS = [*range(1001, 1000 + FRAMES), 1001 + FRAMES]  # the one before the last is missing
SHOT = replace(moving_people(), frame_rate=RATE, frame_names=np.array([f"shot.{n}.exr" for n in NUMBERS]))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    export_fit(
        SHOT, tmp_path_factory.mktemp("shot") / "s", "usd,fbx,glb,trc,c3d,csv,json,obj,bvh,amass", textures="none"
    )
    return next(tmp_path_factory.getbasetemp().glob("shot*"))


def test_numbers_and_times_of_a_fit():
    assert SHOT.frame_numbers.tolist() == NUMBERS
    np.testing.assert_allclose(SHOT.seconds(25) * RATE, np.array(NUMBERS) - 1001)
    video = replace(SHOT, frame_names=np.array([f"{2 * n:06d}" for n in range(FRAMES)]))  # every second frame
    np.testing.assert_allclose(video.seconds(25) * RATE, range(FRAMES))
    assert replace(SHOT, frame_names=np.array([*"abcdefgh"][:FRAMES])).frame_numbers.tolist() == [*range(FRAMES)]


def test_usd_counts_time_codes_from_the_first_number(files):
    usd, skel = pytest.importorskip("pxr.Usd"), pytest.importorskip("pxr.UsdSkel")
    stage = usd.Stage.Open(str(files / "s.usd"))
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == pytest.approx((NUMBERS[0], NUMBERS[-1]))
    assert stage.GetTimeCodesPerSecond() == RATE
    animation = skel.Animation(stage.GetPrimAtPath("/people/person0/skeleton/motion"))
    assert animation.GetTranslationsAttr().GetTimeSamples() == pytest.approx(NUMBERS)


def test_fbx_curves_begin_at_the_first_number(files):
    ufbx = pytest.importorskip("ufbx")
    scene = ufbx.load_file(str(files / "s.fbx"))
    stack = scene.anim_stacks[0]
    assert (stack.time_begin * RATE, stack.time_end * RATE) == pytest.approx((NUMBERS[0], NUMBERS[-1]))
    assert scene.settings.frames_per_second == pytest.approx(RATE, rel=1e-12)


def test_tables_have_the_numbers(files):
    rows = (files / "s.person0.csv").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows[1:]] == NUMBERS
    lines = (files / "s.person0.trc").read_text().splitlines()
    assert [int(line.split("\t")[0]) for line in lines[6:]] == NUMBERS
    assert lines[2].split("\t")[6] == "1001"
    assert [frame["number"] for frame in json.loads((files / "s.json").read_text())["frames"]] == NUMBERS
    assert sorted(path.stem for path in (files / "s.obj").glob("*.obj")) == [f"{number:06d}" for number in NUMBERS]


def test_formats_of_one_rate_have_a_frame_in_the_gap(files):
    ezc3d = pytest.importorskip("ezc3d")
    header = ezc3d.c3d(str(files / "s.person0.c3d"))["header"]["points"]
    assert (header["first_frame"] + 1, header["last_frame"] + 1) == (NUMBERS[0], NUMBERS[-1])
    assert f"Frames: {FRAMES + 1}" in (files / "s.person0.bvh").read_text()
    with np.load(files / "s.person0.amass.npz") as motion:
        assert len(motion["poses"]) == FRAMES + 1


@pytest.mark.extensive
def test_blender_shows_the_numbers(files):
    bpy = pytest.importorskip("bpy")
    import runpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    runpy.run_path(str(files / "s.blender.py"))
    scene = bpy.data.scenes["s"]
    assert (scene.frame_start, scene.frame_end) == (NUMBERS[0], NUMBERS[-1])
    assert {tuple(action.frame_range) for action in bpy.data.actions} == {(NUMBERS[0], NUMBERS[-1])}


def test_usdz_is_one_file_that_opens_with_its_textures(tmp_path):
    usd, utils = pytest.importorskip("pxr.Usd"), pytest.importorskip("pxr.UsdUtils")
    (path,) = export_fit(SHOT, tmp_path / "s", "usdz", textures="none")
    stage = usd.Stage.Open(str(path))
    assert stage.GetDefaultPrim().GetTypeName() == "SkelRoot"
    assert stage.GetStartTimeCode() == NUMBERS[0]
    layers, _, missing = utils.ComputeAllDependencies(str(path))
    assert (len(layers), missing) == (1, [])


@pytest.mark.parametrize("kind", ["usd", "usdz"])
def test_validators_of_usd_find_nothing(tmp_path, kind):
    usd, validation = pytest.importorskip("pxr.Usd"), pytest.importorskip("pxr.UsdValidation")
    stage = usd.Stage.Open(str(export_fit(SHOT, tmp_path / "s", kind, textures="none")[0]))
    validators = validation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 10
    assert [error.GetErrorAsString() for error in validation.ValidationContext(validators).Validate(stage)] == []
