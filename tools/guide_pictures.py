"""The images of docs/guides but for view.webp, displacements.webp and take.webp.

    python tools/guide_pictures.py FOLDER    docs/assets/guides/*.webp

FOLDER and `--work` are those of make_pictures.py. view.webp is a screenshot of the page that `hpc view` makes of the
refined fit of cam04.mp4. take.webp shows frame 40 of the overlays that `hpc combine cam01.mp4 cam02.mp4 cam03.mp4
cam04.mp4` writes, and take.cameras.png.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import skimage.data
from make_pictures import FROM_THE_SIDE, IN_3D, Image8, fitted, key_pose, on_stage, overlaid, row_of
from PIL import Image
from stage import Stage

import humanpose_cli as hp
from humanpose_cli.fitting.fit_reading import on_frames
from humanpose_cli.fitting.result import load_fit
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.rendering.overlay import person_colour
from humanpose_cli.rendering.surfaces import Surface

FRAME = 40  # of the videos from which the photographs come
FIRST_FRAME, FIRST, FIRST_SIZE = 0, (150, 270, 690, 1230), (200, 356)  # of cam01, its part, and a panel of it
SIZE, TEXT, FIRST_TEXT = (240, 330), 25, 16  # of a panel, width and height in pixels; height of letters
QUALITY = 80
# Parts of the photographs that are shown or fitted alone: left, top, right, bottom.
FRONT, BEHIND, ASTRONAUT = (100, 200, 900, 1300), (120, 330, 1010, 1554), (140, 0, 512, 512)
BYSTANDER, UPPER_BODY = (0, 240, 400, 790), (445, 330, 745, 742)
POSES = (("wave", 0.0), ("arms_up", 0.0), ("hands_on_hips", 40.0), ("lunge", -30.0))
"""Key poses that photographs support, with their turn to the person's left in degrees."""
REFINED_FRAME, REFINED_PART = 36, (500, 620, 980, 1280)


def photograph(clip: Path, frame: int = FRAME) -> Image8:
    """One frame of a video."""
    (item,) = open_inputs([clip])
    return next(islice(item.frames(ahead=0), frame, None)).pixels


def panel(pixels: Image8, part: tuple[int, int, int, int]) -> Image8:
    """Cut a part of an image to the shape of a panel."""
    left, top, right, bottom = part
    cut = pixels[top:bottom, left:right]
    scale = max(SIZE[0] / cut.shape[1], SIZE[1] / cut.shape[0])
    size = (max(SIZE[0], round(cut.shape[1] * scale)), max(SIZE[1], round(cut.shape[0] * scale)))
    scaled = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    x, y = (size[0] - SIZE[0]) // 2, (size[1] - SIZE[1]) // 2
    return np.asarray(scaled[y : y + SIZE[1], x : x + SIZE[0]])


def labelled(pixels: Image8) -> Image8:
    """Draw the overlay of `hpc fit` with its labels of doubtful fits."""
    return hp.fit(pixels).overlay()


def first_row(frame: Image8) -> Image.Image:
    """Draw a person, the overlay of the fit, and the body from the side."""
    left, top, right, bottom = FIRST
    photo = np.ascontiguousarray(frame[top:bottom, left:right])
    fit = hp.fit(photo)
    body, track = fit.body_model(), fit.largest_track
    (vertices,) = on_stage(fit, body)[track]
    stage = Stage.around(vertices, FIRST_SIZE, FROM_THE_SIDE)
    side = stage.draw([Surface(vertices, body.faces, tuple(person_colour(track)))])
    panels = {"photo.jpg": photo, "overlay": fit.overlay(), "from the side": side}
    resized = [(cv2.resize(each, FIRST_SIZE, interpolation=cv2.INTER_AREA), name) for name, each in panels.items()]
    return row_of(resized, FIRST_TEXT)


def fit_row(front: Image8, behind: Image8, beside: Image8) -> Image.Image:
    """Draw fits that succeed, and fits that succeed in part."""
    left, top, right, bottom = UPPER_BODY
    upper = front[top:bottom, left:right]
    seat = skimage.data.astronaut()
    return row_of(
        [
            (panel(labelled(front), FRONT), "two people"),
            (panel(labelled(behind), BEHIND), "from behind"),
            (panel(labelled(beside), BYSTANDER), "far away"),
            (panel(labelled(upper), (0, 0, *upper.shape[1::-1])), "not fitted"),
            (panel(labelled(seat), (0, 0, 372, 512)), "cut off"),
        ],
        TEXT,
    )


def reposed_rows(front: Image8) -> tuple[Image.Image, Image.Image]:
    """Draw a photograph in poses that it supports, and in poses with a mostly invented surface."""
    with hp.Reposer(person="largest") as reposer:
        scene = reposer.read(front)

        def drawn(name: str, degrees: float) -> Image8:
            return panel(next(iter(scene.images(key_pose(name, degrees)))).image, FRONT)

        works = [(drawn(name, degrees), name.replace("_", " ")) for name, degrees in POSES]
        turned = [(drawn("a_pose", 90), "turned by 96°"), (drawn("wave", 180), "turned by 167°")]
        seat = skimage.data.astronaut()
        raised = next(iter(reposer.read(seat).images(key_pose("wave", 0)))).image
    photo = (panel(front, FRONT), "photograph")
    covered = [(panel(seat, ASTRONAUT), "photograph"), (panel(raised, ASTRONAUT), "hidden arm raised")]
    return row_of([photo, *works], TEXT), row_of([photo, *turned, *covered], TEXT)


def refined_row(folder: Path, work: Path) -> Image.Image:
    """Draw a part of a frame with the body before and after refinement, and the textured person."""
    clip = folder / "cam04.mp4"
    after, textures = fitted(clip, work)
    body = after.body_model()
    (item,) = open_inputs([clip])
    before = on_frames(load_fit(work / f"{clip.stem}.unrefined.npz"), [item])
    assert after.images is not None
    photo = after.images.frame(REFINED_FRAME)
    panels = [(panel(photo, REFINED_PART), "video")]
    for fit, label in ((before, "hpc fit"), (after, "hpc refine")):
        panels.append((panel(overlaid(fit, body, photo, REFINED_FRAME), REFINED_PART), label))
    track = after.largest_track
    vertices = on_stage(after, body)[track][REFINED_FRAME]
    surface = Surface(vertices, body.faces, texture=textures[track], lit=False)
    panels.append((Stage.around(vertices, SIZE, IN_3D).draw([surface]), "its texture"))
    return row_of(panels, TEXT)


def main() -> None:
    """Write the five images to docs/assets/guides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with cam01.mp4, cam02.mp4 and cam04.mp4")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "assets" / "guides")
    parser.add_argument("--work", type=Path, help="keep the fit and the texture here")
    arguments = parser.parse_args()
    folder, out = arguments.folder, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    beside, front, behind = (photograph(folder / f"cam0{number}.mp4") for number in (1, 2, 4))
    images = {"first": first_row(photograph(folder / "cam01.mp4", FIRST_FRAME)), "fit": fit_row(front, behind, beside)}
    images["repose"], images["repose-limits"] = reposed_rows(front)
    with TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        images["refine"] = refined_row(folder, work)
    for name, image in images.items():
        image.save(out / f"{name}.webp", quality=QUALITY, alpha_quality=80, method=6)


if __name__ == "__main__":
    main()
