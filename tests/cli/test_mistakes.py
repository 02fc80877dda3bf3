"""Mistakes on the command line: each answer names the cause and the remedy."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from helpers.extensive import extensive
from helpers.moving_people import moving_people

from humanpose_cli.body.body import default_body
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
    np.save(folder / "pose.npy", default_body().joint_template.numpy())
    np.save(folder / "odd.npy", np.zeros((13, 3)))
    return folder


# A command line, its exit code and a part of its answer. `{}` stands for "hpc fit photo.jpg".
MISTAKES = """
hpc photo.jpg                                   | 2 | hpc fit photo.jpg
hpc nowhere.mp4                                 | 2 | name a command first: hpc fit nowhere.mp4
hpc fits/clip.mp4.fit.npz                       | 2 | hpc view fits/clip.mp4.fit.npz
hpc ft photo.jpg                                | 2 | did you mean hpc fit photo.jpg?
hpc Fit photo.jpg                               | 2 | did you mean hpc fit photo.jpg?
hpc predict photo.jpg                           | 2 | did you mean hpc fit photo.jpg?
hpc install                                     | 2 | did you mean hpc doctor?
hpc -v                                          | 2 | hpc --version prints the version
hpc --verbose fit photo.jpg                     | 2 | options stand behind the command
hpc --gpu photo.jpg                             | 2 | options stand behind the command
hpc help fitt                                   | 2 | did you mean hpc fit --help?
hpc evaluate fi                                 | 2 | did you mean hpc evaluate fit?
hpc fit                                         | 2 | expected an image, video, folder, glob
hpc fit help                                    | 3 | did you mean --help?
hpc fit -help                                   | 2 | did you mean --help?
hpc fit /?                                      | 3 | did you mean --help?
{} --world ground                               | 2 | hpc export --world
hpc view fits --format glb                      | 2 | hpc export --format
hpc view fits --device cuda                     | 2 | it is an option of hpc fit
hpc view fits --edit=yes                        | 2 | type --edit alone
hpc export fits --refine                        | 2 | hpc fit --refine
hpc export fits --people largest                | 2 | did you mean --person?
hpc export fits --formats fbx                   | 2 | did you mean --format?
hpc fit --input photo.jpg                       | 2 | files need no option: hpc fit photo.jpg
{} -O out                                       | 2 | did you mean --out?
{} --gpu                                        | 2 | did you mean --device cuda?
{} --device gpu                                 | 2 | did you mean cuda?
{} --fps 25                                     | 2 | did you mean --frame-rate?
{} --start 10 --end 20                          | 2 | did you mean --frames A:B:STEP?
{} --person largest                             | 2 | did you mean --people?
{} --save-obj                                   | 2 | hpc export FITS --format glb,obj,fbx
{} --smooth                                     | 2 | the motion of videos is smoothed always
{} --frames 60                                  | 2 | did you mean 0:60?
{} --frames 00:01                               | 2 | or seconds as 0.5s
{} --frames 10:5                                | 2 | expected A < B
{} --people biggest                             | 2 | is not one of 'all', 'largest'
{} --height 1,80                                | 2 | write 1.8, in metres with a point
{} --height 180cm                               | 2 | write 1.8, in metres with a point
{} --height "5'11"                              | 2 | expected metres, 0.5 to 2.6
{} --height -1.8                                | 2 | expected metres, 0.5 to 2.6
{} --height = 1.80                              | 2 | no spaces around it: --height=1.80
{} --height                                     | 2 | type --height METRES
{} --height --refine                            | 2 | --height: has no value, expected METRES
{} --hieght 1.8                                 | 2 | did you mean --height?
{} -refine                                      | 2 | did you mean --refine?
{} –refine                                      | 2 | type two hyphens: --refine
{} /refine                                      | 3 | did you mean --refine?
{} refine                                       | 3 | did you mean --refine?
{} --refine true                                | 3 | options that are switches take no value
{} --refine=true                                | 2 | type --refine alone
{} --no-refine                                  | 2 | leave --refine out
{} --overlays                                   | 2 | did you mean --overlay?
{} --min-confidence 0,4                         | 2 | write 0.4, with a point
{} --min-confidence 40%                         | 2 | write 0.4
{} --focal 35mm                                 | 2 | a number without a unit, in PIXELS
{} --focal -100                                 | 2 | expected above 0 (pixels)
{} --method fast                                | 2 | is not one of 'auto', 'keypoints'
{} --body smpl                                  | 2 | name its file: smpl:FILE
{} --body model.pkl                             | 2 | did you mean smpl:model.pkl?
{} --body smpl:model.pkl                        | 5 | register at https://smpl.is.tue.mpg.de
{} --body smplx:model.npz                       | 5 | register at https://smpl-x.is.tue.mpg.de
{} --shard 1/0                                  | 2 | expected i/N with 0 ≤ i < N
{} --shard 1                                    | 2 | expected i/N, such as 0/4
{} --labels reasons --no-overlay                | 2 | has no effect without --overlay
{} --config notes.txt                           | 3 | is not a TOML file
{} --set refine                                 | 2 | expected key=value
hpc fit "~/photo.jpg"                           | 3 | ~ is the home folder outside of quotes only
hpc fit 'C:\\Photos\\photo.jpg'                 | 3 | does not separate folders here
hpc fit 'photos\\b.jpg'                         | 3 | does not separate folders here: photos/b.jpg
hpc fit my photo.jpg                            | 2 | quote it: 'my photo.jpg'
hpc fit Photo.JPG                               | 3 | did you mean photo.jpg? (upper and lower case differ)
hpc fit phto.jpg                                | 3 | did you mean photo.jpg?
hpc fit pose                                    | 3 | did you mean pose.npy?
hpc fit nowhere/photo.jpg                       | 3 | there is no folder nowhere
hpc fit "*.jpeg"                                | 3 | matches no file; check the pattern
hpc fit photo.jpg,broken.jpg                    | 3 | separate files by spaces: photo.jpg broken.jpg
hpc fit file:///tmp/photo.jpg                   | 3 | its path is /tmp/photo.jpg
hpc fit https://example.com/photo.jpg           | 3 | download it first
hpc fit empty                                   | 3 | found an empty folder
hpc fit docs                                    | 3 | found only 1 other file (1 .txt)
hpc fit notes.txt                               | 3 | hpc fit --items notes.txt
hpc fit IMG_1.HEIC                              | 3 | humanpose-cli[heic]
hpc fit page.html                               | 3 | save the image or the video itself
{} --out taken                                  | 2 | taken: is a file, not a folder
{} --out out.glb                                | 2 | hpc export and hpc view make other files of the fit
{} --out out.mp4                                | 2 | expected a folder or NAME.npz
{} --out                                        | 2 | type --out FOLDER|FILE
{} --out ""                                     | 2 | `.` is the current folder
{} --keypoints empty                            | 3 | expected JSON of OpenPose
{} --keypoints lost.json                        | 3 | does not exist
{} --weights missing                            | 3 | a name that hpc weights list shows
hpc view                                        | 2 | expected fit files, folders of them
hpc view photo.jpg                              | 3 | hpc fit photo.jpg makes its fit file
hpc view empty                                  | 3 | hpc fit empty makes fits
hpc view fits --texture blue                    | 2 | expected an image file, frames or none
hpc view fits --frames 0:10                     | 2 | hpc fit --frames A:B fits a range
hpc export fits --format blend                  | 2 | glb: Blender opens it
hpc export fits --format fbx bvh                | 3 | did you mean --format fbx,bvh?
hpc export fits --format smpl                   | 2 | amass holds the parameters of SMPL
hpc export fits --out out.fbx --format glb      | 2 | leave --format out, or name the file out.glb
hpc export fits --rig unreal                    | 2 | expected mixamo, ue5
hpc export fits --out taken                     | 2 | taken: is a file, not a folder
hpc refine photo.jpg                            | 3 | hpc fit photo.jpg makes its fit file
hpc refine fits --frames lost.mp4               | 3 | does not exist
hpc repose photo.jpg                            | 2 | hpc repose photo.jpg pose.npy
hpc repose pose.npy photo.jpg                   | 2 | photographs, then the pose
hpc repose photo.jpg notes.txt                  | 3 | expected a pose file (.bvh
hpc repose photo.jpg lost.npy                   | 3 | does not exist
hpc repose photo.jpg odd.npy                    | 3 | expected 24 (smpl24), 19
hpc repose photo.jpg pose.npy --background blu  | 2 | an image file, keep, transparent, or a colour
hpc repose photo.jpg pose.npy --pose pose.npy   | 2 | did you mean --target-pose?
hpc repose photo.jpg pose.npy --canvas big      | 2 | expected keep, fit, or W×H
hpc weights --download                          | 2 | hpc weights fetch NAME
hpc cache photo.jpg                             | 3 | expected a folder with index.h5
hpc ledger photo.jpg                            | 3 | expected the output folder of fit
hpc demo --out taken                            | 2 | taken: is a file, not a folder
hpc evaluate --data photos fit                  | 2 | options stand behind the command: hpc evaluate COMMAND … --data
hpc evaluate fit --data photos --size 64        | 2 | it is an option of hpc evaluate repose
{} --body dragon                                | 2 | default or smpl:FILE
{} --method keypoints --weights nbf-proxy       | 2 | --method auto or nbf
{} --method nbf --weights segmenter             | 3 | holds another model
{} --weights imagenet-vgg19                     | 5 | hpc weights fetch imagenet-vgg19
{} --set refine.prior=none                      | 2 | setting refine: has no effect without --refine
{} --refine --set refine.prior=gmm              | 2 | is not known, expected none, pose, gmm:FILE
{} --threads 1000000000000000000000000000000    | 2 | --threads: is out of range
{} --batch-size 1000000000000000000000000000000 | 2 | --batch-size: is out of range
hpc combine photos --height 9                   | 2 | --height: is out of range, expected 0.5 to 2.6 metres, found 9
hpc combine photos --offsets 0,x                | 2 | --offsets: cannot be read
hpc combine photos --calibration notes.txt --focal 900 | 2 | --focal: cannot be combined with --calibration
hpc export fits --format pdf                    | 2 | amass,json
hpc export fits --person 7                      | 2 | expected all, largest, 0
hpc export fits --frame-rate 0                  | 2 | more than 0
hpc export fits --frame-rate nan                | 2 | --frame-rate: is out of range, expected a finite number
hpc export fits --out x.abc                     | 2 | a file of one of glb, fbx, usd, usdz, json, found x.abc
hpc export fits --texture frames                | 2 | name them with --frames
hpc repose --target-pose pose.npy               | 2 | --input: is missing, expected photographs, then the pose
hpc repose --input photo.jpg                    | 2 | --target-pose: is missing
hpc repose photo.jpg pose.npy --person bob      | 2 | --person
hpc repose photo.jpg pose.npy --frames 2:1      | 2 | --frames
hpc repose photo.jpg pose.npy --method warp3d --weights no | 3 | does not exist
hpc repose photo.jpg pose.npy --method mesh --set force=true | 2 | --method warp3d
hpc preprocess syntetic                         | 2 | did you mean synthetic?
hpc preprocess synthetic empty                  | 2 | ROOT
hpc preprocess iper empty                       | 3 | empty
hpc preprocess iper empty --densepose empty     | 2 | --densepose
hpc preprocess iper empty --count 1000          | 2 | --count
hpc preprocess synthetic --pairs --clips 8      | 2 | --pairs
hpc preprocess synthetic --camera walk          | 2 | camera: needs clips
hpc preprocess synthetic --size 7               | 2 | --size
hpc preprocess synthetic --set companion=1      | 2 | companions
hpc preprocess synthetic --no-fit               | 2 | --no-fit
hpc preprocess synthetic --items notes.txt      | 2 | --items
hpc preprocess deepfashion empty --check --workers 2 | 2 | --workers
hpc preprocess deepfashion empty --check --no-fit | 2 | --no-fit
hpc preprocess deepfashion empty --check --cluster slurm | 2 | --check: cannot be combined with --cluster slurm
hpc preprocess synthetic --check                | 2 | --check: has no effect with synthetic
hpc preprocess 3dpw --check                     | 2 | ROOT
"""
# These load networks before they fail.
HEAVY = """
hpc fit text.mp4                                | 3 | has no readable video frame, found text
hpc fit broken.jpg                              | 3 | is a damaged or truncated image
{} --keypoints notes.txt                        | 3 | files of COCO's form, OpenPose, MMPose
{} --pose-model notes.txt                       | 3 | is no network that ONNX Runtime reads
"""


def rows(table: str) -> list[tuple[str, ...]]:
    return [tuple(part.strip() for part in line.split(" | ")) for line in table.strip().splitlines()]


@pytest.mark.parametrize(("line", "code", "answer"), [*rows(MISTAKES), *extensive(*rows(HEAVY))])
def test_the_answer_names_the_remedy(hpc, box, monkeypatch, line, code, answer):
    monkeypatch.chdir(box)
    before = sorted(path for path in box.rglob("*") if "hpc-out" not in path.parts)
    ran = hpc(*shlex.split(line.replace("{}", "hpc fit photo.jpg"))[1:])
    assert ran.code == int(code), ran
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
