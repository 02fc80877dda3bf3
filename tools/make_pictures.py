"""The images of the README and of the guides, and the clip of `hpc demo`, from videos of a man who balances.

    python tools/make_pictures.py FOLDER             docs/assets/hero.webp and clip.webp, and the demo's clip
    python tools/make_pictures.py FOLDER --guides    docs/assets/guides/*.webp

FOLDER holds cam01.mp4, cam02.mp4 and cam04.mp4 of the demonstration data of Pose2Sim (BSD-3, see NOTICE), which is not
part of this project. The clip is fitted and refined first: two minutes on two cores. `--work` keeps those results for
the next run.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import humanpose_cli as hp
from humanpose_cli.avatar.frame_texture import read_texture, texture_png
from humanpose_cli.body.body import Body
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.demo.show import CLIP as DEMO_CLIP
from humanpose_cli.export.grounding import on_the_ground, world_vertices
from humanpose_cli.fitting.fit_reading import on_frames
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.refiner import TEXELS, Refiner
from humanpose_cli.rendering.overlay import draw_overlay, person_colour
from humanpose_cli.rendering.stage import Stage
from humanpose_cli.rendering.surfaces import Surface, Texture

Image8 = NDArray[np.uint8]

CLIP = "cam04.mp4"
HERO_FRAME, HERO_POSE = 40, "wave"
HERO_SIZE, CLIP_SIZE = (340, 440), (240, 310)  # of a panel, width and height in pixels
CROP = (120, 330, 1010, 1482)  # of the video's frames: left, top, right, bottom
GAP, RADIUS = 8, 10  # between panels and of their corners, pixels
FROM_THE_SIDE, IN_3D = 90.0, 35.0  # azimuths in degrees
CLIP_STEP, CLIP_RATE = 4, 10.0  # every fourth frame of 60 a second, in slow motion
NOISE = 11.0  # of the video, of 255
CLIP_QUALITY = 48
DEMO_SIZE, DEMO_STEP, DEMO_RATE, DEMO_QUALITY = (464, 600), 3, 20, 31  # every third frame of 60 a second, at its speed
LABEL = (125, 133, 144)


def fitted(clip: Path, work: Path) -> tuple[Fit, Image8]:
    """The refined fit of the largest person and their texture, from `work` if they are there."""
    fit_path, texture_path = work / "fit.npz", work / "texture.png"
    (item,) = open_inputs([clip])
    if not texture_path.exists():
        first = hp.fit(clip, people="largest")
        first.save(work / "unrefined.npz")
        assert first.images is not None
        frames = FitFrames(first, first.images, in_order=True)
        with Refiner() as refiner:
            textures = refiner.textures(first, frames)
            refiner.refine(first, frames, textures=textures).save(fit_path)
        texture_path.write_bytes(texture_png(textures[first.largest_track], first.body))
    fit = on_frames(load_fit(fit_path), [item])
    body = fit.body_model()
    covered = TexelMap(body.uv, body.uv_faces, TEXELS).covered
    return replace(fit, model=body), read_texture(texture_path, covered, body.name)


def on_stage(fit: Fit, body: Body) -> Tensor:
    """The person's surfaces (T, V, 3) in a world with a floor."""
    grounded = on_the_ground(fit, body)
    return world_vertices(grounded, grounded.rows_of(grounded.largest_track), body)


def overlaid(fit: Fit, body: Body, pixels: Image8, frame: int) -> Image8:
    """The frame with the body over it."""
    rows = fit.rows_for(frame)
    return draw_overlay(pixels, body_vertices(body, fit, rows), body.faces, fit.camera(frame))


def reposed(pixels: Image8) -> Image8:
    """The person of a frame in a key pose, their back to the camera as in the frame."""
    rotations = key_poses()[HERO_POSE].clone()
    rotations[0] = torch.diag(torch.tensor([-1.0, -1.0, 1.0])) @ rotations[0]
    pose = BodyParams(matrix_to_axis_angle(rotations).reshape(1, -1).numpy(), np.zeros((1, 10)), np.zeros((1, 3)))
    with hp.Reposer(person="largest") as reposer:
        return next(iter(reposer.read(pixels).images(RotationTarget(pose)))).image


def cropped(pixels: Image8, size: tuple[int, int]) -> Image8:
    """The part of a frame that the pictures show."""
    left, top, right, bottom = CROP
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
    """A frame whose pixels are those of the frame before it where they differ by noise: they are then not stored."""
    change = cv2.GaussianBlur(np.abs(pixels.astype(np.float32) - shown).max(2), (0, 0), 2)
    moved = cv2.dilate((change > NOISE).astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.where(moved[..., None] > 0, pixels, shown)


def write_demo_clip(video: Path, path: Path) -> None:
    """The clip of `hpc demo`: the cropped video, encoded slowly for few bytes."""
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


def main() -> None:
    """Make the images of the README and the clip, or the images of the guides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with cam01.mp4, cam02.mp4 and cam04.mp4")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "assets")
    parser.add_argument("--work", type=Path, help="keep the fit and the texture here")
    parser.add_argument("--guides", action="store_true", help="make the images of docs/guides")
    arguments = parser.parse_args()
    if arguments.guides:
        from guide_pictures import make_guide_pictures

        make_guide_pictures(arguments.folder, arguments.out, arguments.work)
        return
    with TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_demo_clip(arguments.folder / CLIP, DEMO_CLIP)
        fit, texture = fitted(arguments.folder / CLIP, work)
    body = fit.body_model()
    surfaces = on_stage(fit, body)
    painted = Texture(texture[..., :3].copy(), body.uv, body.uv_faces)

    def plain(vertices: Tensor) -> Surface:
        return Surface(vertices, body.faces, tuple(person_colour(0)))

    def textured(vertices: Tensor) -> Surface:
        return Surface(vertices, body.faces, texture=painted, lit=False)

    assert fit.images is not None
    photo, vertices = fit.images.frame(HERO_FRAME), surfaces[HERO_FRAME]
    stages = [Stage.around(vertices, HERO_SIZE, azimuth) for azimuth in (FROM_THE_SIDE, IN_3D)]
    panels = [
        (cropped(photo, HERO_SIZE), "photo"),
        (cropped(overlaid(fit, body, photo, HERO_FRAME), HERO_SIZE), "fitted body"),
        (stages[0].draw([plain(vertices)]), "from the side"),
        (stages[1].draw([textured(vertices)]), "textured 3-D"),
        (cropped(reposed(photo), HERO_SIZE), "reposed"),
    ]
    row_of(panels, 28).save(arguments.out / "hero.webp", quality=87, alpha_quality=80, method=6)

    stages = [Stage.around(surfaces, CLIP_SIZE, azimuth) for azimuth in (FROM_THE_SIDE, IN_3D)]
    frames, over = [], None
    for number, frame in enumerate(fit.images.frames()):
        if number % CLIP_STEP:
            continue
        drawn = cropped(overlaid(fit, body, frame.pixels, number), CLIP_SIZE)
        over = drawn if over is None else without_noise(over, drawn)
        side, around = stages[0].draw([plain(surfaces[number])]), stages[1].draw([textured(surfaces[number])])
        frames.append(row_of([(over, "video"), (side, "from the side"), (around, "textured 3-D")], 20))
    motion = {"save_all": True, "append_images": frames[1:], "duration": round(1000 / CLIP_RATE), "loop": 0}
    frames[0].save(arguments.out / "clip.webp", quality=CLIP_QUALITY, method=6, minimize_size=True, **motion)


if __name__ == "__main__":
    main()
