"""What `hpc demo` does: a photograph and a clip with known truth, each fitted and reposed, and the page about them."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.demo.clip import DemoClip
from humanpose_cli.fitting.fitter import Fitter, fit_item
from humanpose_cli.fitting.overlays import body_vertices, overlay_image
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.io.atomic import write_npz, write_text
from humanpose_cli.io.fit_files import FitRecord, write_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.pose_files import RotationTarget
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.metrics.bodies import mpjpe, pa_mpjpe, pve
from humanpose_cli.reposing.reposer import ReposeOptions, Reposer

__all__ = ["ClipErrors", "Demo", "Figure", "Section", "index_page", "run_demo"]


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.8rem; margin-bottom: 0; } h2 { margin-top: 2.5rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-end; }
figure { margin: 0; flex: 1 1 14rem; max-width: 32rem; } img, video { width: 100%; display: block; border-radius: 4px; }
figcaption { font-size: .85rem; color: #555; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { text-align: left; padding: .2rem 1.2rem .2rem 0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { background: #f3f3f3; border-radius: 3px; padding: .1rem .3rem; } pre { padding: .6rem; overflow-x: auto; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } figcaption { color: #aaa; }
  code, pre { background: #2a2a2a; } }
"""


@dataclass(frozen=True)
class Figure:
    """An image or video (.mp4) beside the page, with what it shows."""

    file: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page: heading, a paragraph, the command that gives the same, images, a table of figures."""

    title: str
    text: str
    command: str
    figures: Sequence[Figure]
    table: Sequence[tuple[str, str]] = ()


def index_page(sections: Sequence[Section]) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>humanpose-cli: demo</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>humanpose-cli</h1>\n"
        "<p>People in images as 3-D bodies, and in new poses. All of it was made here, just now.</p>\n"
        + "".join(map(_section, sections))
        + "</body></html>\n"
    )


def _section(section: Section) -> str:
    figures = "".join(_figure(figure) for figure in section.figures)
    rows = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="number">{html.escape(value)}</td></tr>'
        for name, value in section.table
    )
    table = f"<table>{rows}</table>\n" if rows else ""
    return (
        f"<h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.text)}</p>\n"
        f"<pre>{html.escape(section.command)}</pre>\n{table}"
        f'<div class="row">{figures}</div>\n'
    )


def _figure(figure: Figure) -> str:
    file, caption = html.escape(figure.file, quote=True), html.escape(figure.caption)
    if figure.file.endswith(".mp4"):
        shown = f'<video src="{file}" controls loop muted autoplay playsinline></video>'
    else:
        shown = f'<a href="{file}"><img src="{file}" alt="{caption}" loading="lazy"></a>'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>\n"


_STEPS = 7
_POSES = ("wave", "arms_up", "hands_on_hips")
# Key poses stand in a world whose y axis points up and face +z: turned to face the camera.
_FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


@dataclass(frozen=True)
class ClipErrors:
    """Fit against truth over the frames of the clip, means in millimetres.

    found         share of the frames in which the person was found
    mpjpe_mm      24 joints, pelvis on pelvis; pa_mpjpe_mm after Procrustes alignment; pve_mm all vertices
    """

    found: float
    mpjpe_mm: float
    pa_mpjpe_mm: float
    pve_mm: float


@dataclass(frozen=True)
class Demo:
    """What was made: the page, all files in the order written, and what was measured on the clip."""

    page: Path
    outputs: tuple[Path, ...]
    errors: ClipErrors
    ssim_reposed: float
    ssim_copied: float


def run_demo(out: Path, progress: Progress = no_progress, *, threads: int | None = None) -> Demo:
    """Make the demo in a folder; `index.html` shows it. Needs nothing but the installed packages.

    threads  of detection; None: as many as there are cores (four at most)
    """
    done = count(1)

    def step() -> None:
        progress(next(done), _STEPS, "steps")

    with Reposer(ReposeOptions(), threads=threads) as reposer:
        astronaut, written = _astronaut(reposer, out, step)
        clip, more, errors, similarity = _clip(reposer, out, step)
    page = out / "index.html"
    write_text(page, index_page([astronaut, clip]))
    return Demo(page, (*written, *more, page), errors, *similarity)


def _key_pose(name: str) -> BodyParams:
    """A key pose (1, 72) that faces the camera."""
    poses = key_poses()
    rotations = poses.rotations[poses.names.index(name)].clone()
    pelvis = SMPL24.index("pelvis")
    rotations[pelvis] = _FACING @ rotations[pelvis]
    return _one_pose(rotations, np.zeros((1, 3)))


def _one_pose(rotations: torch.Tensor, trans: NDArray[np.floating]) -> BodyParams:
    return BodyParams(matrix_to_axis_angle(rotations).reshape(1, -1).numpy(), np.zeros((1, 10)), trans)


def _astronaut(reposer: Reposer, out: Path, step: Callable[[], None]) -> tuple[Section, list[Path]]:
    import skimage.data

    photo = skimage.data.astronaut()
    scene = reposer.read(photo, name="astronaut.png")
    step()
    written = [out / "astronaut.png", out / "astronaut.png.fit.npz", out / "astronaut.png.overlay.jpg"]
    write_image(written[0], photo)
    write_fit(written[1], scene.record)
    write_image(written[2], overlay_image(reposer.fitter.body, scene.record, photo))
    figures = [Figure(written[0].name, "the photograph"), Figure(written[2].name, "the fitted body over it")]
    for name in _POSES:
        image = next(iter(scene.images(RotationTarget(_key_pose(name))))).image
        written.append(out / f"astronaut.{name}.png")
        write_image(written[-1], image)
        figures.append(Figure(written[-1].name, f"the same person: {name.replace('_', ' ')}"))
    step()
    section = Section(
        "A photograph",
        "Eileen Collins, photographed by NASA (public domain): only half of her is in the image, so the rest of the "
        "body is what is likely.",
        "hpc fit astronaut.png\nhpc repose --input astronaut.png --target-pose pose.npy",
        figures,
    )
    return section, written


def _clip(
    reposer: Reposer, out: Path, step: Callable[[], None]
) -> tuple[Section, list[Path], ClipErrors, tuple[float, float]]:
    clip = DemoClip.make(reposer.fitter.body)
    video, first = out / "clip.mp4", None
    with VideoWriter(video, clip.frame_rate) as writer:
        for frame in clip.frames():
            first = frame if first is None else first
            writer.write(frame)
    assert first is not None
    step()
    (item,) = open_inputs([video])
    fitted = fit_item(reposer.fitter, item, out)
    step()
    errors = clip_errors(fitted.record, clip, reposer.fitter)
    write_npz(out / "clip.truth.npz", {"joints3d": clip.posed().joints.numpy(), "betas": clip.betas.numpy()})
    step()
    reposed, truth, similarity = _repose_first_frame(reposer, clip, first, out)
    step()
    table = [
        ("frames in which the person was found", f"{errors.found:.0%}"),
        ("mean joint error, pelvis on pelvis (MPJPE)", f"{errors.mpjpe_mm:.0f} mm"),
        ("mean joint error after alignment (PA-MPJPE)", f"{errors.pa_mpjpe_mm:.0f} mm"),
        ("mean vertex error, pelvis on pelvis (PVE)", f"{errors.pve_mm:.0f} mm"),
        ("likeness of reposed image to its truth (SSIM at the person)", f"{similarity[0]:.3f}"),
        ("likeness of the unchanged frame to that truth", f"{similarity[1]:.3f}"),
    ]
    section = Section(
        "A clip whose truth is known",
        "A rendered person plays soccer, in a motion that nothing here was trained on. The fit sees only the video.",
        "hpc fit clip.mp4",
        [
            Figure(fitted.outputs[1].name, "the fitted body over the video"),
            Figure(reposed.name, "the first frame's person in another pose"),
            Figure(truth.name, "how that pose really looks"),
        ],
        table,
    )
    written = [video, *fitted.outputs, out / "clip.truth.npz", reposed, truth]
    return section, written, errors, similarity


def clip_errors(record: FitRecord, clip: DemoClip, fitter: Fitter) -> ClipErrors:
    """The person of a fit against the clip's truth; frames without the person count as not found only."""
    if not len(record):
        return ClipErrors(0.0, float("nan"), float("nan"), float("nan"))
    rows = record.rows_of(record.largest_track)
    frames = record.frame_index[rows].tolist()
    truth = clip.body.pose(clip.rotations[frames], clip.betas, clip.trans[frames])
    assert truth.vertices is not None
    joints, true_joints, pelvis = record.joints3d[rows], truth.joints.numpy(), SMPL24.index("pelvis")
    vertices = body_vertices(fitter.body, record, rows)
    return ClipErrors(
        len(rows) / len(clip),
        1000 * float(mpjpe(joints, true_joints).mean()),
        1000 * float(pa_mpjpe(joints, true_joints).mean()),
        1000 * float(pve(vertices, truth.vertices, joints[:, pelvis], true_joints[:, pelvis]).mean()),
    )


def _repose_first_frame(
    reposer: Reposer, clip: DemoClip, frame: NDArray[np.uint8], out: Path
) -> tuple[Path, Path, tuple[float, float]]:
    scene = reposer.read(frame, name="clip")
    rotations = _key_pose("wave").tensors().rotations[0]
    pelvis = SMPL24.index("pelvis")
    # Seen from the side that the frame shows, so that nothing has to be made up.
    rotations[pelvis] = clip.rotations[0, pelvis]
    target = RotationTarget(_one_pose(rotations, scene.record.trans[:1]))
    made = next(iter(scene.images(target))).image
    true = clip.image(rotations, clip.trans[0])
    paths = out / "clip.reposed.png", out / "clip.reposed.truth.png"
    write_image(paths[0], made)
    write_image(paths[1], true)
    where = clip.silhouette(rotations, clip.trans[0])
    return (*paths, (_ssim_at(made, true, where), _ssim_at(frame, true, where)))


def _ssim_at(made: NDArray[np.uint8], true: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """SSIM averaged over the true person's pixels."""
    _, everywhere = structural_similarity(made, true, channel_axis=2, full=True)
    return float(everywhere[where].mean())
