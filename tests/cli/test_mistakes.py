"""Mistakes on the command line: each answer names the cause and the remedy."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from helpers.extensive import extensive
from helpers.moving_people import moving_people

from humanpose_cli.io.images import write_image


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A folder with the files that a newcomer has, and some that are wrong."""
    folder = tmp_path_factory.mktemp("box")
    for name in ("photo.jpg", "my photo.jpg", "photos/a.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_image(folder / name, np.full((48, 64, 3), 128, np.uint8))
    for name in ("empty", "docs", "fits"):
        (folder / name).mkdir()
    moving_people().save(folder / "fits" / "clip.mp4.fit.npz")
    for name in ("notes.txt", "taken", "docs/readme.txt", "text.mp4"):
        (folder / name).write_text("Buy milk and eggs today.\nCall Anna.\n" * 9)
    (folder / "page.html").write_text("<!doctype html><html></html>")
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    (folder / "broken.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:200])
    np.save(folder / "pose.npy", np.zeros((24, 3)))
    np.save(folder / "odd.npy", np.zeros((13, 3)))
    return folder


# A command line and a part of its answer. `{}` stands for "hpc fit photo.jpg".
MISTAKES = """
hpc photo.jpg                                   | hpc fit photo.jpg
hpc photos/                                     | name a command first: hpc fit photos/
hpc nowhere.mp4                                 | name a command first: hpc fit nowhere.mp4
hpc fits/clip.mp4.fit.npz                       | hpc view fits/clip.mp4.fit.npz
hpc ft photo.jpg                                | did you mean hpc fit photo.jpg?
hpc Fit photo.jpg                               | did you mean hpc fit photo.jpg?
hpc predict photo.jpg                           | did you mean hpc fit photo.jpg?
hpc convert clip.mp4.fit.npz                    | did you mean hpc export hpc-out/fit?
hpc retarget photo.jpg                          | did you mean hpc repose photo.jpg pose.npy?
hpc version                                     | did you mean hpc --version?
hpc install                                     | did you mean hpc doctor?
hpc download                                    | did you mean hpc weights fetch NAME?
hpc -v                                          | hpc --version prints the version
hpc --verbose fit photo.jpg                     | options stand behind the command
hpc --gpu photo.jpg                             | options stand behind the command
hpc help fitt                                   | did you mean hpc fit --help?
hpc evaluate fi                                 | did you mean hpc evaluate fit?
hpc fit                                         | expected an image, video, folder, glob
hpc fit help                                    | did you mean --help?
hpc fit -help                                   | did you mean --help?
hpc fit /?                                      | did you mean --help?
{} --world ground                               | hpc export --world
{} --format glb                                 | hpc export --format
{} --rig mixamo                                 | hpc export --rig
{} --background blue                            | hpc repose --background
{} --edit                                       | hpc view --edit
hpc view fits --format glb                      | hpc export --format
hpc view fits --device cuda                     | it is an option of hpc fit
hpc view fits --edit=yes                        | type --edit alone
hpc view fits --open                            | hpc view writes a page: open it in a browser
hpc export fits --refine                        | hpc fit --refine
hpc export fits --people largest                | did you mean --person?
hpc export fits --fps 30                        | did you mean --frame-rate?
hpc export fits --formats fbx                   | did you mean --format?
hpc export fits --z-up                          | y up, of AMASS z up
hpc fit -i photo.jpg                            | files need no option: hpc fit photo.jpg
hpc fit --input photo.jpg                       | files need no option: hpc fit photo.jpg
hpc fit --video clip.mp4                        | files need no option: hpc fit photo.jpg
{} --output-dir out                             | did you mean --out?
{} -O out                                       | did you mean --out?
{} --gpu                                        | did you mean --device cuda?
{} --cpu                                        | did you mean --device cpu?
{} --device gpu                                 | did you mean cuda?
{} --device 0                                   | did you mean cuda:0?
{} --device CPU                                 | did you mean cpu?
{} --fps 25                                     | did you mean --frame-rate?
{} --framerate 25                               | did you mean --frame-rate?
{} --start 10 --end 20                          | did you mean --frames A:B:STEP?
{} --person largest                             | did you mean --people?
{} -j 4                                         | did you mean --threads?
{} --force                                      | did you mean --overwrite?
{} --debug                                      | did you mean --verbose?
{} --recursive                                  | folders are read with all folders in them
{} --save-obj                                   | hpc export FITS --format glb,obj,fbx
{} --model smplx                                | did you mean --body smplx:FILE?
{} --smooth                                     | the motion of videos is smoothed always
{} --frames 60                                  | did you mean 0:60?
{} --frames 0-60                                | did you mean 0:60?
{} --frames 10..60                              | did you mean 10:60?
{} --frames 00:01                               | or seconds as 0.5s
{} --frames 10:5                                | expected A < B
{} --people biggest                             | is not one of 'all', 'largest'
{} --height 1,80                                | write 1.8, in metres with a point
{} --height 180                                 | write 1.8, in metres with a point
{} --height 180cm                               | write 1.8, in metres with a point
{} --height 1.80m                               | write 1.8, in metres with a point
{} --height "5'11"                              | expected metres, 0.5 to 2.6
{} --height -1.8                                | expected metres, 0.5 to 2.6
{} --height = 1.80                              | no spaces around it: --height=1.80
{} --height                                     | type --height METRES
{} --height --refine                            | --height: has no value, expected METRES
{} --hieght 1.8                                 | did you mean --height?
{} -refine                                      | did you mean --refine?
{} –refine                                      | type two hyphens: --refine
{} —refine                                      | type two hyphens: --refine
{} −-refine                                     | type two hyphens: --refine
{} /refine                                      | did you mean --refine?
{} refine                                       | did you mean --refine?
{} --refine true                                | options that are switches take no value
{} --refine=true                                | type --refine alone
{} --no-refine                                  | leave --refine out
{} --overlays                                   | did you mean --overlay?
{} --Refine                                     | did you mean --refine?
{} --no_overlay                                 | did you mean --no-overlay?
{} --min-confidence 0,4                         | write 0.4, with a point
{} --min-confidence 40%                         | write 0.4
{} --focal 35mm                                 | a number without a unit, in PIXELS
{} --focal -100                                 | expected above 0 (pixels)
{} --method fast                                | is not one of 'auto', 'keypoints'
{} --body smpl                                  | name its file: smpl:FILE
{} --body model.pkl                             | did you mean smpl:model.pkl?
{} --body smpl:model.pkl                        | register at https://smpl.is.tue.mpg.de
{} --body smplx:model.npz                       | register at https://smpl-x.is.tue.mpg.de
{} --shard 1/0                                  | expected i/N with 0 ≤ i < N
{} --shard 1                                    | expected i/N, such as 0/4
{} --side-view --no-overlay                     | has no effect without --overlay
{} --config notes.txt                           | is not a TOML file
{} --set refine                                 | expected key=value
hpc fit "~/photo.jpg"                           | ~ is the home folder outside of quotes only
hpc fit 'C:\\Photos\\photo.jpg'              | does not separate folders here
hpc fit 'photos\\b.jpg'                         | does not separate folders here: photos/b.jpg
hpc fit my photo.jpg                            | quote it: 'my photo.jpg'
hpc fit Photo.JPG                               | did you mean photo.jpg? (upper and lower case differ)
hpc fit phto.jpg                                | did you mean photo.jpg?
hpc fit pose                                    | did you mean pose.npy?
hpc fit nowhere/photo.jpg                       | there is no folder nowhere
hpc fit "*.jpeg"                                | matches no file; check the pattern
hpc fit photo.jpg,broken.jpg                    | separate files by spaces: photo.jpg broken.jpg
hpc fit file:///tmp/photo.jpg                   | its path is /tmp/photo.jpg
hpc fit https://example.com/photo.jpg           | download it first
hpc fit empty                                   | found an empty folder
hpc fit docs                                    | found only 1 other file (1 .txt)
hpc fit notes.txt                               | hpc fit --items notes.txt
hpc fit IMG_1.HEIC                              | humanpose-cli[heic]
hpc fit page.html                               | save the image or the video itself
hpc fit pose.npy                                | hpc repose photo.jpg pose.npy
hpc fit fits/clip.mp4.fit.npz                   | hpc view fits/clip.mp4.fit.npz
{} --out taken                                  | taken: is a file, not a folder
{} --out taken/below                            | taken: is a file, not a folder
{} --out out.glb                                | hpc export and hpc view make other files of the fit
{} --out out.mp4                                | expected a folder or NAME.npz
{} --out                                        | type --out FOLDER|FILE
{} --out ""                                     | `.` is the current folder
{} --keypoints empty                            | expected JSON of OpenPose
{} --keypoints lost.json                        | does not exist
{} --weights missing                            | a name that hpc weights list shows
hpc view                                        | expected fit files, folders of them
hpc view photo.jpg                              | hpc fit photo.jpg makes its fit file
hpc view empty                                  | hpc fit empty makes fits
hpc view fits --texture blue                    | expected an image file, frames or none
hpc view fits --frames 0:10                     | hpc fit --frames A:B fits a range
hpc export fits --format blend                  | glb: Blender opens it
hpc export fits --format fbx bvh                | did you mean --format fbx,bvh?
hpc export fits --format smpl                   | amass holds the parameters of SMPL
hpc export fits --out out.fbx --format glb      | leave --format out, or name the file out.glb
hpc export fits --out out.blend                 | glb: Blender opens it
hpc export fits --rig unreal                    | expected mixamo, ue5
hpc export fits --loop 60                       | expected A:B, two frames
hpc export fits --out taken                     | taken: is a file, not a folder
hpc refine photo.jpg                            | hpc fit photo.jpg makes its fit file
hpc refine fits --frames lost.mp4               | does not exist
hpc repose photo.jpg                            | hpc repose photo.jpg pose.npy
hpc repose pose.npy photo.jpg                   | photographs, then the pose
hpc repose photo.jpg notes.txt                  | expected a pose file (.bvh
hpc repose photo.jpg lost.npy                   | does not exist
hpc repose photo.jpg odd.npy                    | expected 24 (smpl24), 19
hpc repose photo.jpg pose.npy --background blu  | an image file, keep, transparent, or a colour
hpc repose photo.jpg pose.npy --pose pose.npy   | did you mean --target-pose?
hpc repose photo.jpg pose.npy --canvas big      | expected keep, fit, or W×H
hpc weights --download                          | hpc weights fetch NAME
hpc cache photo.jpg                             | expected a folder with index.h5
hpc ledger photo.jpg                            | expected the output folder of fit
hpc demo --out taken                            | taken: is a file, not a folder
hpc doctor --fix                                | hpc doctor prints the lines that repair
"""
# These load networks before they fail.
HEAVY = """
hpc fit text.mp4                                | has no readable video frame, found text
hpc fit broken.jpg                              | is a damaged or truncated image
{} --keypoints notes.txt                        | files of COCO's form, OpenPose, MMPose
{} --pose-model notes.txt                       | is no network that ONNX Runtime reads
"""


def rows(table: str) -> list[tuple[str, ...]]:
    return [tuple(part.strip() for part in line.split(" | ")) for line in table.strip().splitlines()]


@pytest.mark.parametrize(("line", "answer"), [*rows(MISTAKES), *extensive(*rows(HEAVY))])
def test_the_answer_names_the_remedy(hpc, box, monkeypatch, line, answer):
    monkeypatch.chdir(box)
    before = sorted(path for path in box.rglob("*") if "hpc-out" not in path.parts)
    ran = hpc(*shlex.split(line.replace("{}", "hpc fit photo.jpg"))[1:])
    assert ran.code in (2, 3, 5), ran
    assert answer in ran.err
    assert ran.err.count("error: ") == 1
    assert sorted(path for path in box.rglob("*") if "hpc-out" not in path.parts) == before


def test_results_among_several_inputs_are_left_out_with_a_count(hpc, box, monkeypatch, tmp_path):
    monkeypatch.chdir(box)
    (tmp_path / "x.overlay.jpg").touch()
    (tmp_path / "run.json").touch()
    names = ["photo.jpg", "fits", "fits/clip.mp4.fit.npz", *map(str, sorted(tmp_path.iterdir()))]
    ran = hpc("fit", *names, "--dry-run")
    assert ran.code == 0, ran.err
    assert "4 results of earlier runs left out" in ran.err
    assert ran.out.count("to do") == 1
