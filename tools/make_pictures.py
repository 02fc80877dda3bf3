"""The images of the README, and the clip of `hpc demo`, from videos of a man who balances.

    python tools/make_pictures.py FOLDER             docs/assets/clip.webp, and the demo's clip
    python tools/make_pictures.py FOLDER --first     docs/assets/flip.webp and repose.webp, which README shows
    python tools/make_pictures.py FOLDER --take      docs/assets/take.webp, which README shows first

FOLDER holds cam01.mp4 to cam04.mp4 of the demonstration data of Pose2Sim, and for `--first` flip.mp4 of
that of Sports2D (both BSD-3, see NOTICE), which are not part of this project. The clip is fitted and refined first: two
minutes on two cores. `--work` keeps those results for the next run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from stage import Stage
from torch import Tensor

import humanpose_cli as hp
from humanpose_cli.avatar.frame_texture import read_texture, texture_png
from humanpose_cli.body.body import Body
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.cli.demo import CLIP as DEMO_CLIP
from humanpose_cli.exporting.looks import Dressing
from humanpose_cli.fitting.fit_reading import on_frames, on_views
from humanpose_cli.fitting.grounding import on_the_ground, world_vertices
from humanpose_cli.fitting.overlays import body_vertices, dressed_bodies
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.refiner import TEXELS, Refiner
from humanpose_cli.rendering.overlay import draw_overlay, person_colour
from humanpose_cli.rendering.surfaces import Surface, Texture

Image8 = NDArray[np.uint8]

CLIP = "cam04.mp4"
CLIP_SIZE = 240, 310  # of a panel, width and height in pixels
CROP = (120, 330, 1010, 1482)  # of the video's frames: left, top, right, bottom
GAP, RADIUS = 8, 10  # between panels and of their corners, pixels
FROM_THE_SIDE, IN_3D = 90.0, 35.0  # azimuths in degrees
CLIP_STEP, CLIP_RATE = 4, 10.0  # every fourth frame of 60 a second, in slow motion
NOISE = 11.0  # of the video, of 255
CLIP_QUALITY = 48
DEMO_SIZE, DEMO_STEP, DEMO_RATE, DEMO_QUALITY = (464, 600), 3, 20, 31  # every third frame of 60 a second, at its speed
LABEL = (125, 133, 144)
FLIP_SIZE, FLIP_CROP = (400, 331), (280, 0, 1480, 994)  # of a panel; of the video's frames as CROP
FLIP_FRAMES, FLIP_QUALITY = range(116, 208, 4), 42
REPOSED_FRAME, REPOSED_CROP = 176, (60, 394, 660, 994)  # of flip.mp4, around the woman who walks past
REPOSED_SIZE, REPOSED_PANEL = (290, 360), (0, 30, 460, 600)  # of a panel; of the crop as CROP
TAKE_FRAMES, TAKE_MOMENT, TAKE_PANEL, TAKE_TURNS = 40, 20, (150, 267), 20
REPOSED = (("kick", -75.0), ("arms_wide_up", -60.0), ("sitting_on_chair", -70.0))  # key pose, degrees of turn


def fitted(clip: Path, work: Path) -> tuple[Fit, dict[int, Texture]]:
    """Return the refined fit of a clip and the texture of each track, from `work` if available."""
    fit_path = work / f"{clip.stem}.fit.npz"
    (item,) = open_inputs([clip])
    if not fit_path.exists():
        first = hp.fit(clip, people="largest")
        first.save(work / f"{clip.stem}.unrefined.npz")
        assert first.images is not None
        frames = FitFrames(first, first.images, in_order=True)
        with Refiner() as refiner:
            textures = refiner.textures(first, frames)
            refined = refiner.refine(first, frames, textures=textures)
        for track, texture in textures.items():
            (work / f"{clip.stem}.{track}.png").write_bytes(texture_png(texture, first.body))
        refined.save(fit_path)
    fit = on_frames(load_fit(fit_path), [item])
    body = fit.body_model()
    covered = TexelMap(body.uv, body.uv_faces, TEXELS).covered
    painted = {}
    for track in fit.tracks:
        texture = read_texture(work / f"{clip.stem}.{track}.png", covered, body.name)
        painted[track] = Texture(texture[..., :3].copy(), body.uv, body.uv_faces)
    return replace(fit, model=body), painted


def on_stage(fit: Fit, body: Body) -> dict[int, Tensor]:
    """Compute the surfaces (R, V, 3) of each track's rows in a world with a floor."""
    grounded = on_the_ground(fit, body)
    return {track: world_vertices(grounded, grounded.rows_of(track), body) for track in grounded.tracks}


def overlaid(fit: Fit, body: Body, pixels: Image8, frame: int) -> Image8:
    """Draw the body over a frame."""
    rows = fit.rows_for(frame)
    return draw_overlay(pixels, body_vertices(body, fit, rows), body.faces, fit.camera(frame))


def key_pose(name: str, degrees: float) -> RotationTarget:
    """Turn a key pose by degrees about the vertical; 0 faces the camera."""
    rotations = key_poses()[name].clone()
    turn = axis_angle_to_matrix(torch.tensor([0.0, np.deg2rad(degrees), 0.0], dtype=rotations.dtype))
    rotations[0] = torch.diag(rotations.new_tensor([1.0, -1.0, -1.0])) @ turn @ rotations[0]
    pose = matrix_to_axis_angle(rotations).reshape(1, -1).numpy()
    return RotationTarget(BodyParams(pose, np.zeros((1, 10)), np.zeros((1, 3))))


def reposed(pixels: Image8, targets: Sequence[tuple[str, float]]) -> list[Image8]:
    """Draw the person of an image in key poses, turned by degrees about the vertical; 0 faces the camera."""
    images = []
    with hp.Reposer(person="largest") as reposer:
        scene = reposer.read(pixels)
        for name, degrees in targets:
            images.append(next(iter(scene.images(key_pose(name, degrees)))).image)
    return images


def cropped(pixels: Image8, size: tuple[int, int], crop: tuple[int, int, int, int] = CROP) -> Image8:
    """Cut the part of a frame that the pictures show."""
    left, top, right, bottom = crop
    return cv2.resize(pixels[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)


def row_of(panels: list[tuple[Image8, str]], text: int) -> Image.Image:
    """Panels side by side with labels below, on nothing; the labels can be read on white and on dark pages.

    text  height of the letters, pixels
    """
    height, width = panels[0][0].shape[:2]
    row = Image.new("RGBA", (len(panels) * (width + GAP) - GAP, height + 2 * text))
    font, mask = ImageFont.load_default(text), Image.new("L", (width, height))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width - 1, height - 1), RADIUS, 255)
    draw = ImageDraw.Draw(row)
    for number, (pixels, label) in enumerate(panels):
        left = number * (width + GAP)
        row.paste(Image.fromarray(pixels), (left, 0), mask)
        draw.text((left + width / 2, height + 1.1 * text), label, LABEL, font, anchor="mm")
    return row


def without_noise(shown: Image8, pixels: Image8) -> Image8:
    """Replace pixels that differ from the frame before only by noise, so that they need no space."""
    change = cv2.GaussianBlur(np.abs(pixels.astype(np.float32) - shown).max(2), (0, 0), 2)
    moved = cv2.dilate((change > NOISE).astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.where(moved[..., None] > 0, pixels, shown)


def write_demo_clip(video: Path, path: Path) -> None:
    """Write the clip of `hpc demo`: the cropped video, encoded slowly for a small file."""
    with av.open(str(path), "w") as container:
        options = {"crf": str(DEMO_QUALITY), "preset": "veryslow", "tune": "film"}
        stream = container.add_stream("libx264", rate=DEMO_RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *DEMO_SIZE, "yuv420p"
        (item,) = open_inputs([video])
        for frame in item.frames():
            if frame.index % DEMO_STEP == 0:
                pixels = np.ascontiguousarray(cropped(frame.pixels, DEMO_SIZE))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def write_animation(frames: list[Image.Image], path: Path, quality: int) -> None:
    """Write an animated image that repeats."""
    motion = {"save_all": True, "append_images": frames[1:], "duration": round(1000 / CLIP_RATE), "loop": 0}
    frames[0].save(path, quality=quality, method=6, minimize_size=True, **motion)


def make_first_images(folder: Path, out: Path, work: Path) -> None:
    """Draw the back flip over its frames, and the passing woman in other poses."""
    clip, path = folder / "flip.mp4", work / "flip.fit.npz"
    if not path.exists():
        hp.fit(clip).save(path)
    fit = on_frames(load_fit(path), list(open_inputs([clip])))
    body = fit.body_model()
    frames, over = [], None
    assert fit.images is not None
    for frame in FLIP_FRAMES:
        drawn = cropped(overlaid(fit, body, fit.images.frame(frame), frame), FLIP_SIZE, FLIP_CROP)
        over = drawn if over is None else without_noise(over, drawn)
        frames.append(row_of([(over, "one phone")], 20))
    write_animation(frames, out / "flip.webp", FLIP_QUALITY)
    left, top, right, bottom = REPOSED_CROP
    photo = np.ascontiguousarray(fit.images.frame(REPOSED_FRAME)[top:bottom, left:right])
    panels = [(photo, "photo"), *((image, "reposed") for image in reposed(photo, REPOSED))]
    small = [(cropped(image, REPOSED_SIZE, REPOSED_PANEL), label) for image, label in panels]
    row_of(small, 22).save(out / "repose.webp", quality=82, alpha_quality=80, method=6)


def make_take_image(folder: Path, out: Path, work: Path) -> None:
    """Draw the bodies over the frames of four cameras at one moment, and then the textured man, who turns."""
    path = work / "take.fit.npz"
    if not path.exists():
        clips = [folder / f"cam0{number}.mp4" for number in range(1, 5)]
        hp.combine([hp.fit(clip, frames=f"0:{TAKE_FRAMES}") for clip in clips]).save(path)
    take = load_fit(path)
    take = on_views(take, list(open_inputs([folder / camera.name for camera in take.cameras])))
    body, man = take.body_model(), take.largest_track
    moment = int(take.frame_index[take.rows_of(man)[TAKE_MOMENT]])
    panels = []
    for number in range(len(take.cameras)):
        view = take.view(number)
        view = view.select(view.rows_of(man))
        assert view.images is not None
        drawn = overlaid(view, body, view.images.frame(moment), moment)
        panels.append(cropped(drawn, TAKE_PANEL, (0, 0, drawn.shape[1], drawn.shape[0])))
    views = np.hstack(panels)
    looks = Dressing()([take]).looks
    (surfaces,) = dressed_bodies(body, take, take.rows_of(man)[[TAKE_MOMENT]], [looks.get(man)])[1]
    world = on_the_ground(take, body)
    camera = torch.from_numpy(world.world_to_camera[moment]).float()
    surfaces = [replace(each, vertices=(each.vertices - camera[:3, 3]) @ camera[:3, :3]) for each in surfaces]
    size = views.shape[1], views.shape[0]
    turns = [Stage.around(surfaces[0].vertices, size, azimuth) for azimuth in np.linspace(0, 360, TAKE_TURNS, False)]
    frames = [row_of([(views, "four cameras")], 20)]
    frames += [row_of([(stage.draw(surfaces), "one textured body")], 20) for stage in turns]
    durations = [1000, *[2000 // TAKE_TURNS] * TAKE_TURNS]
    motion = {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": 0}
    frames[0].save(out / "take.webp", quality=FLIP_QUALITY, method=6, minimize_size=True, **motion)


def main() -> None:
    """Make the images of the README, and the clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with cam01.mp4, cam02.mp4 and cam04.mp4")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "assets")
    parser.add_argument("--work", type=Path, help="keep the fit and the texture here")
    parser.add_argument("--first", action="store_true", help="make the images that README shows first")
    parser.add_argument("--take", action="store_true", help="make the image of four cameras that README shows first")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        arguments.out.mkdir(parents=True, exist_ok=True)
        if arguments.take:
            make_take_image(arguments.folder, arguments.out, work)
            return
        if arguments.first:
            make_first_images(arguments.folder, arguments.out, work)
            return
        write_demo_clip(arguments.folder / CLIP, DEMO_CLIP)
        fit, textures = fitted(arguments.folder / CLIP, work)
    body, track = fit.body_model(), fit.largest_track
    surfaces = on_stage(fit, body)[track]

    def plain(vertices: Tensor) -> Surface:
        return Surface(vertices, body.faces, tuple(person_colour(0)))

    def textured(vertices: Tensor) -> Surface:
        return Surface(vertices, body.faces, texture=textures[track], lit=False)

    assert fit.images is not None
    stages = [Stage.around(surfaces, CLIP_SIZE, azimuth) for azimuth in (FROM_THE_SIDE, IN_3D)]
    frames, over = [], None
    for number, frame in enumerate(fit.images.frames()):
        if number % CLIP_STEP:
            continue
        drawn = cropped(overlaid(fit, body, frame.pixels, number), CLIP_SIZE)
        over = drawn if over is None else without_noise(over, drawn)
        side, around = stages[0].draw([plain(surfaces[number])]), stages[1].draw([textured(surfaces[number])])
        frames.append(row_of([(over, "video"), (side, "from the side"), (around, "textured 3-D")], 20))
    write_animation(frames, arguments.out / "clip.webp", CLIP_QUALITY)


if __name__ == "__main__":
    main()
