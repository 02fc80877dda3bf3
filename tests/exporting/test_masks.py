"""Masks as files: COCO's run lengths, an image of each person, and a video of all."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.walking_person import CAMERA, Walk, drawn_walk
from PIL import Image

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import GARMENTS
from humanpose_cli.core.errors import UsageError
from humanpose_cli.exporting.masks import MaskWriting, run_lengths
from humanpose_cli.fitting.fit_reading import on_frames
from humanpose_cli.io.images import read_image, write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoReader
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.reposing.segmentation import Palette


def decoded(counts: str, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of COCO's compressed run lengths, read as its own C code reads them."""
    runs: list[int] = []
    at = 0
    while at < len(counts):
        value = shift = 0
        more = True
        while more:
            number = ord(counts[at]) - 48
            value |= (number & 0x1F) << shift
            more = bool(number & 0x20)
            at += 1
            shift += 5
            if not more and number & 0x10:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    flat = np.concatenate([np.full(run, number % 2 == 1) for number, run in enumerate(runs)])
    return flat.reshape(size, order="F")


def first_frames(count: int) -> Walk:
    walk = drawn_walk(default_body())
    return replace(walk, rotations=walk.rotations[:count], trans=walk.trans[:count], frames=walk.frames[:count])


def true_mask(walk: Walk, frame: int) -> np.ndarray:
    vertices = walk.body.pose(walk.rotations[[frame]], torch.zeros(1, 10), walk.trans[[frame]]).vertices
    return rasterise_view(vertices, walk.body.faces, CAMERA).face[0].numpy() >= 0


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_run_lengths_say_which_pixels_are_set(share):
    mask = np.random.default_rng(1).random((40, 33)) < share
    assert np.array_equal(decoded(run_lengths(mask), mask.shape), mask)


def test_run_lengths_are_those_of_the_tools_of_coco():
    """As pycocotools 2.0.10 encodes them: a disc, and a mask that begins with a set pixel."""
    y, x = np.mgrid[:40, :60]
    assert run_lengths((x - 20) ** 2 + (y - 15) ** 2 < 100) == "S>9n02M4N0O2N2O0000000000000001N2N102L3NVU1"
    assert run_lengths(x + y < 6) == "06R1O1O1O1O1OaS2"


def matte_in(path) -> np.ndarray:
    matte = np.asarray(Image.open(path))
    assert matte.dtype == np.uint16
    return matte


def test_a_photograph_gets_an_image_of_each_person(tmp_path):
    """And a soft matte, whose upper half is the mask."""
    walk = first_frames(1)
    write_image(tmp_path / "photo.png", walk.frames[0])
    fit = replace(walk.fit(), frame_names=np.array(["photo.png"]))
    fit = on_frames(fit, list(open_inputs([tmp_path / "photo.png"])))
    step = MaskWriting(sequence=False)
    path, image, matte, garments = step.outputs(tmp_path / "photo.png.fit.npz", fit.tracks)
    step([fit], output=tmp_path / "photo.png.fit.npz")
    mask = read_image(image).pixels[..., 0]
    assert image.name == "photo.png.person0.mask.png"
    assert set(np.unique(mask)) == {0, 255}
    assert matte.name == "photo.png.person0.matte.png"
    assert np.array_equal(matte_in(matte) >= 32768, mask > 0)
    assert len(np.unique(matte_in(matte))) > 256
    labels = Image.open(garments)
    assert (garments.name, labels.mode) == ("photo.png.person0.garments.png", "P")
    assert set(np.unique(np.asarray(labels)[mask == 0])) == {0}
    assert len(np.unique(np.asarray(labels))) > 2
    assert json.loads(path.read_text())["garments"] == ["background", *GARMENTS]
    truth = true_mask(walk, 0)
    assert ((mask > 0) & truth).sum() > 0.9 * ((mask > 0) | truth).sum()
    (annotation,) = json.loads(path.read_text())["annotations"]
    assert annotation["area"] == (mask > 0).sum()


def test_masks_need_frames(tmp_path):
    with raises(UsageError, subject="masks"):
        MaskWriting(sequence=True)([first_frames(1).fit()], output=tmp_path / "a.fit.npz")


def test_a_clip_gets_a_video_and_run_lengths_of_each_frame(tmp_path, monkeypatch):
    """In the colour of the overlay, and where the person is; their colours are remembered from frame to frame."""
    seen = []
    monkeypatch.setattr(Palette, "see", lambda palette, *_: seen.append(palette))
    walk = first_frames(2)
    for number, pixels in enumerate(walk.frames):
        write_image(tmp_path / "clip" / f"{number:06d}.png", pixels)
    fit = replace(walk.fit(), frame_names=np.array(["000000.png", "000001.png"]))
    fit = on_frames(fit, list(open_inputs([tmp_path / "clip"], sequence=True)))
    step = MaskWriting(sequence=True)
    path, video = step.outputs(tmp_path / "clip.fit.npz", fit.tracks)
    assert step([fit], output=tmp_path / "clip.fit.npz") is fit
    document = json.loads(path.read_text())
    assert [image["file_name"] for image in document["images"]] == fit.frame_names.tolist()
    assert seen[0] is seen[1]
    shown = [pixels for _, pixels in VideoReader(video)]
    assert len(shown) == len(document["annotations"]) == 2
    for number, (annotation, image) in enumerate(zip(document["annotations"], shown, strict=True)):
        truth = true_mask(walk, number)
        mask = decoded(annotation["segmentation"]["counts"], annotation["segmentation"]["size"])
        assert annotation["area"] == mask.sum()
        assert (mask & truth).sum() > 0.9 * (mask | truth).sum()
        assert ((image.max(2) > 60) ^ mask).mean() < 0.01


def test_a_matte_of_each_person_is_numbered_as_the_frames_are(tmp_path):
    """Black where the person is not in the frame."""
    walk = first_frames(2)
    for number, pixels in enumerate(walk.frames, 8):
        write_image(tmp_path / "clip" / f"{number:06d}.png", pixels)
    fit = replace(walk.fit(), frame_names=np.array(["000008.png", "000009.png"])).select([1])
    fit = on_frames(fit, list(open_inputs([tmp_path / "clip"], sequence=True)))
    step = MaskWriting(sequence=True, numbered=True)
    names = [path.name for path in step.outputs(tmp_path / "clip.fit.npz", fit.tracks)]
    person = [f"clip.person0.{kind}.%04d.png" for kind in ("matte", "garments")]
    assert names == ["clip.masks.json", "clip.masks.%04d.png", *person]
    step([fit], output=tmp_path / "clip.fit.npz")
    first, second = (matte_in(tmp_path / f"clip.person0.matte.{number:04d}.png") for number in (8, 9))
    truth = true_mask(walk, 1)
    assert not first.any()
    assert not np.asarray(Image.open(tmp_path / "clip.person0.garments.0008.png")).any()
    assert ((second >= 32768) & truth).sum() > 0.9 * ((second >= 32768) | truth).sum()
