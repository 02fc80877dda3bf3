"""The contents of `hpc demo`: fits, views in 3-D, reposed people, a failure, and the page."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError, shell_word
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.demo.clip import DATA, Y_UP_TO_CAMERA, DemoClip, drawn_pair, key_pose, photograph
from humanpose_cli.demo.page import Figure, Section, index_page
from humanpose_cli.exporting.looks import looks_of_fit
from humanpose_cli.exporting.viewing import view
from humanpose_cli.fitting.fitter import Fitter, fit_item
from humanpose_cli.fitting.options import FitOutputs
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.atomic import atomic_path, write_npz, write_text
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.output_names import fit_path, people_journal
from humanpose_cli.io.pose_files import AXES, RotationTarget, read_pose
from humanpose_cli.io.video import VIDEO_SUFFIXES, VideoCodec, VideoWriter
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe, pve
from humanpose_cli.lab.metrics.images import ssim_foreground
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.outputs import write_outputs
from humanpose_cli.reposing.options import ReposeOptions
from humanpose_cli.reposing.reposer import Reposer

Array = NDArray[Any]

NEXT = (
    "hpc fit your-photo.jpg",
    "hpc view hpc-out/fit/your-photo.jpg.fit.npz --frames your-photo.jpg --texture frames",
    "hpc repose your-photo.jpg traffic.npz",
)
"""Commands for the user's own photograph, in the folder of the demo."""

CLIP = DATA / "balance.mp4"
"""A man who balances, filmed from behind."""

_MOTION = "directing_traffic_01"
_MOTION_FRAMES = slice(0, 90, 2)
_POSES = ("hands_on_hips", "arms_up")
_LIMITS_POSE = "arms_wide_up"
_DRAWN = "drawn.mp4"


@dataclass(frozen=True)
class ClipErrors:
    """The errors of a fit over the frames of the clip, means in millimetres.

    Attributes:
        found: The share of frames in which the person was detected.
        mpjpe_mm: The error of 24 joints, pelvis on pelvis.
        pa_mpjpe_mm: The error of 24 joints after Procrustes alignment.
        pve_mm: The error of all vertices, pelvis on pelvis.
    """

    found: float
    mpjpe_mm: float
    pa_mpjpe_mm: float
    pve_mm: float


@dataclass(frozen=True)
class Demo:
    """The result of the demo.

    Attributes:
        page: The path of the page.
        outputs: All files in the order written.
        errors: The errors on the drawn clip.
        ssim_reposed: The SSIM of its first frame, reposed, to the true image.
        ssim_copied: The SSIM of its unchanged first frame to the true image.
    """

    page: Path
    outputs: tuple[Path, ...]
    errors: ClipErrors
    ssim_reposed: float
    ssim_copied: float


def run_demo(
    out: Path,
    progress: Progress = no_progress,
    *,
    clip: Path = CLIP,
    wrote: Callable[[Path], None] = lambda path: None,
    device: str = "auto",
    threads: int | None = None,
    video_codec: VideoCodec = "h264",
) -> Demo:
    """Make the demo in a folder; `index.html` shows it. It needs only the installed packages.

    Args:
        out: The folder.
        progress: Called with (done, total, unit).
        clip: A video of a person.
        wrote: Called with the path of each image, video and page once it is written.
        device: "auto", "cpu" or "cuda:N".
        threads: The number of threads of detection; None for the number of cores, at most four.
        video_codec: The codec of videos.

    Raises:
        InputError: If the clip shows nobody.
        UsageError: If the clip has the name of another video of the demo.
    """
    with Reposer(ReposeOptions(), device=device, threads=threads) as reposer:
        work = _Work(reposer, out, video_codec, progress, wrote, [])
        first, film = _clip(work.part(0.0, 0.22), clip)
        sections = [first, _in_3d(work.part(0.22, 0.29), film), _reposed(work.part(0.29, 0.43), film)]
        sections.append(_two_people(work.part(0.43, 0.5)))
        section, errors, (ssim_reposed, ssim_copied) = _drawn_clip(work.part(0.5, 0.87))
        sections += [section, _limits(work.part(0.87, 1.0))]
    page = work.path("index.html")
    write_text(page, index_page(sections, NEXT))
    wrote(page)
    return Demo(page, tuple(work.written), errors, ssim_reposed, ssim_copied)


@dataclass(frozen=True)
class _Fitted:
    """A video or an image, and its fit."""

    path: Path
    fit: Fit


@dataclass(frozen=True)
class _Work:
    """The common state of the demo's parts: the models, the folder, and the files in the order written."""

    reposer: Reposer
    out: Path
    video_codec: VideoCodec
    progress: Progress
    wrote: Callable[[Path], None]
    written: list[Path]

    def part(self, start: float, end: float) -> _Work:
        """Restrict the progress to a part of this work, from one fraction of it to another."""
        return replace(self, progress=part_of(self.progress, start, end))

    def path(self, name: str) -> Path:
        """Note a file that is about to be written."""
        self.written.append(self.out / name)
        return self.written[-1]

    def fit(self, path: Path) -> Fit:
        """Fit as `hpc fit` does."""
        (item,) = open_inputs([path])
        output = fit_path(item.key, self.out)
        fit = fit_item(self.reposer.fitter, item, output, self.part(0.0, 0.6).progress)
        outputs = FitOutputs(video_codec=self.video_codec)
        self.written.extend(outputs.paths(output, sequence=item.is_sequence))
        _, overlay = write_outputs(fit, output, outputs, progress=self.part(0.6, 1.0).progress)
        people_journal(output).unlink(missing_ok=True)
        self.wrote(overlay)
        return fit

    def image(self, name: str, pixels: NDArray[np.uint8]) -> Path:
        """Write an image."""
        path = self.path(name)
        write_image(path, pixels)
        self.wrote(path)
        return path


def _fit_figures(path: Path, fit: Fit) -> list[Figure]:
    """List an input, and its overlay."""
    width, height = fit.image_size[0].tolist()
    overlay = f"{path.name}.overlay{'.mp4' if path.suffix in VIDEO_SUFFIXES else '.jpg'}"
    return [
        Figure(path.name, "the input", width / height),
        Figure(overlay, "the fitted bodies over it", width / height),
    ]


def _drawn_clip(work: _Work) -> tuple[Section, ClipErrors, tuple[float, float]]:
    """Fit and measure the clip with known truth, and repose and compare its first frame."""
    clip = DemoClip.make(work.reposer.fitter.body)
    path = work.path(_DRAWN)
    first = None
    with VideoWriter(path, clip.frame_rate, codec=work.video_codec) as writer:
        for number, frame in enumerate(clip.frames(), 1):
            first = frame if first is None else first
            writer.write(frame)
            work.part(0.0, 0.2).progress(number, len(clip), "frames drawn")
    assert first is not None
    work.wrote(path)
    fit = work.part(0.2, 0.8).fit(path)
    errors = clip_errors(fit, clip, work.reposer.fitter)
    write_npz(work.path("drawn.truth.npz"), {"joints3d": clip.posed().joints.numpy(), "betas": clip.betas.numpy()})
    similarity = _similarity(work.part(0.8, 1.0), clip, first)
    section = Section(
        "A drawn video, measured against the truth",
        "A drawn person plays soccer, in a motion that no network was trained on. The fit is given the video alone; "
        "the true body of each frame is known, so its errors can be measured.",
        [f"hpc fit {_DRAWN}"],
        _fit_figures(path, fit),
        table=[
            ("frames in which the person was found", f"{errors.found:.0%}"),
            ("mean joint error, pelvis on pelvis (MPJPE)", f"{errors.mpjpe_mm:.0f} mm"),
            ("mean joint error after alignment (PA-MPJPE)", f"{errors.pa_mpjpe_mm:.0f} mm"),
            ("mean vertex error, pelvis on pelvis (PVE)", f"{errors.pve_mm:.0f} mm"),
            ("similarity of the first frame, reposed, to the true image (SSIM; 1 is equal)", f"{similarity[0]:.2f}"),
            ("similarity of the unchanged frame to it", f"{similarity[1]:.2f}"),
        ],
    )
    return section, errors, similarity


def _clip(work: _Work, clip: Path) -> tuple[Section, _Fitted]:
    path = work.path(clip.stem + clip.suffix.lower())
    if path.name == _DRAWN:
        raise UsageError("clip", "has the name of a video of the demo", got=str(clip), remedy="rename it")
    if path.resolve() != clip.resolve():
        with atomic_path(path) as copy:
            shutil.copyfile(clip, copy)
    fit = work.fit(path)
    if not len(fit):
        raise InputError(clip, "shows no person", expected="a video of a person")
    section = Section(
        "A video of a person",
        "Pose and shape of the body in each frame, from a single camera.",
        [f"hpc fit {shell_word(path.name)}"],
        _fit_figures(path, fit),
    )
    return section, _Fitted(path, fit)


def _in_3d(work: _Work, film: _Fitted) -> Section:
    """Make the page of `hpc view`, with a texture from the frames."""
    fit = film.fit
    name = film.path.name
    source = shell_word(name)
    fitted = shell_word(f"{name}.fit.npz")
    assert fit.images is not None
    images = FitFrames(fit, fit.images, in_order=True)
    textures = looks_of_fit(fit, "frames", images, work.part(0.0, 0.6).progress)
    progress = work.part(0.6, 1.0).progress
    page = view(fit, images, title=name, textures=textures, video_codec=work.video_codec, progress=progress)
    work.wrote(page.save(work.path(f"{name}.html")))
    return Section(
        "In 3-D, with the colours of the frames",
        "One file that opens in any browser without a network. Turn the person with the mouse; Through the camera puts "
        "the body back over the video. hpc export writes the same motion for Blender, and as glTF or USD.",
        [f"hpc view {fitted} --frames {source} --texture frames"],
        [Figure(f"{name}.html", "the page that hpc view wrote")],
    )


def _reposed(work: _Work, source: _Fitted) -> Section:
    """Repose the person of the last frame by a motion of the pose library and by key poses."""
    fit = source.fit
    assert fit.images is not None
    row = int(fit.rows_of(fit.largest_track)[-1])
    frame = int(fit.frame_index[row])
    photo = work.image("photo.png", fit.images.frame(frame))
    shape = float(fit.image_size[frame, 0] / fit.image_size[frame, 1])
    pelvis = SMPL24.index("pelvis")
    facing = axis_angle_to_matrix(torch.from_numpy(fit.poses[row : row + 1, 3 * pelvis : 3 * pelvis + 3]))[0]
    motion = work.path("traffic.npz")
    write_npz(motion, _motion(facing, work.reposer.fitter.body))
    commands = ["hpc repose photo.png traffic.npz"]
    figures = [Figure(photo.name, "the photograph", shape)]
    result = work.reposer.repose(photo, motion, progress=work.part(0.0, 0.3).progress)
    progress = work.part(0.3, 0.9).progress
    work.wrote(*result.save(work.path("photo.traffic.mp4"), progress, video_codec=work.video_codec))
    figures.append(Figure("photo.traffic.mp4", "the same person directs traffic", shape))
    for name in _POSES:
        pose = work.path(f"{name}.npz")
        write_npz(pose, _key_pose(name, facing))
        work.image(f"photo.{name}.png", next(iter(result.scene.images(read_pose(pose)))).image)
        commands.append(f"hpc repose photo.png {pose.name}")
        figures.append(Figure(f"photo.{name}.png", name.replace("_", " "), shape))
    return Section(
        "A photograph in other poses",
        "The person of one photograph, driven by a recorded motion. Poses may also come from another photograph, a "
        "video, a BVH or AMASS file. What the photograph hides is filled in.",
        commands,
        figures,
    )


def _two_people(work: _Work) -> Section:
    path = work.image("two.png", drawn_pair(work.reposer.fitter.body))
    fit = work.fit(path)
    return Section(
        "Two people in one image",
        "Each person has a body, a number and a colour of their own.",
        ["hpc fit two.png"],
        _fit_figures(path, fit),
    )


def _limits(work: _Work) -> Section:
    """Fit a photograph without hips, which gives a doubtful fit, and one without people."""
    astronaut = work.image("astronaut.png", photograph("astronaut"))
    cat = work.image("cat.png", photograph("cat"))
    pose = work.path(f"{_LIMITS_POSE}.npz")
    write_npz(pose, _key_pose(_LIMITS_POSE, Y_UP_TO_CAMERA))
    result = work.reposer.repose(astronaut, pose, progress=work.part(0.0, 0.6).progress)
    work.image("astronaut.overlay.jpg", result.scene.record.overlay(image=result.scene.photo))
    work.wrote(*result.save(work.path(f"astronaut.{_LIMITS_POSE}.png")))
    # The library names arguments, the command that the page shows has flags.
    warnings = [re.sub(r"`(\w+)=(\w+)`", r"--\1 \2", warning) for warning in result.warnings]
    lines = [f"warning: {astronaut.name}: {warning}" for warning in warnings]
    try:
        work.reposer.repose(cat, pose, progress=work.part(0.6, 1.0).progress)
    except InputError as error:
        lines.append(f"error: {error}".replace(str(cat), cat.name))
    return Section(
        "Where it stops",
        "Eileen Collins's hips and legs are outside of the photograph: the fit is marked as doubtful, and most of what "
        "is reposed is made up. In the photograph of a cat no person is found. What to do: take a photograph that "
        "shows the person from head to feet, sharp, with the arms away from the body. The table of hpc fit and the "
        "overlay mark doubtful fits.",
        [f"hpc repose astronaut.png cat.png {pose.name}"],
        [
            Figure("astronaut.overlay.jpg", "a fit that is marked as doubtful"),
            Figure(f"astronaut.{_LIMITS_POSE}.png", "what reposing makes of it"),
            Figure(cat.name, "no person", 1.5),
        ],
        printed="\n".join(lines),
    )


def _motion(facing: Tensor, body: Body) -> dict[str, Array]:
    """Write a motion of the pose library as an AMASS file that begins as the pelvis `facing` (3, 3), camera axes."""
    motion = pose_library().clip(_MOTION)
    rotations = axis_angle_to_matrix(motion.poses[_MOTION_FRAMES].unflatten(-1, (len(SMPL24), 3)))
    turn = _turn_towards(rotations[0, SMPL24.index("pelvis")], facing)
    path = body.translation_of_root(motion.pelvis[_MOTION_FRAMES] @ turn.mT, torch.zeros(1, 10))
    rate = motion.frame_rate / (_MOTION_FRAMES.step or 1)
    return {**_amass(turn, rotations, path), "mocap_framerate": np.float64(rate)}


def _key_pose(name: str, facing: Tensor) -> dict[str, Array]:
    """Write a key pose as an AMASS file, turned as the pelvis `facing` (3, 3), camera axes."""
    rotations = key_pose(name)[None]
    turn = _turn_towards(rotations[0, SMPL24.index("pelvis")], facing)
    return _amass(turn, rotations, torch.zeros(1, 3))


def _turn_towards(pelvis: Tensor, facing: Tensor) -> Tensor:
    """Return the rotation (3, 3) about the vertical after which a pelvis (3, 3) faces as `facing` does."""
    front = pelvis[:, 2]
    aim = Y_UP_TO_CAMERA.mT @ facing[:, 2]
    angle = torch.atan2(aim[0], aim[2]) - torch.atan2(front[0], front[2])
    return axis_angle_to_matrix(torch.stack((torch.zeros(()), angle, torch.zeros(()))))


def _amass(turn: Tensor, rotations: Tensor, path: Tensor) -> dict[str, Array]:
    """Turn poses in a world with y up, and return the arrays of an AMASS file, whose z axis is up."""
    pelvis = SMPL24.index("pelvis")
    rotations = rotations.clone()
    to_z_up = torch.from_numpy(AXES["z-up"].T.copy()).to(rotations) @ Y_UP_TO_CAMERA
    rotations[:, pelvis] = to_z_up @ turn @ rotations[:, pelvis]
    return {"poses": matrix_to_axis_angle(rotations).flatten(1).numpy(), "trans": (path @ to_z_up.mT).numpy()}


def clip_errors(record: FitRecord, clip: DemoClip, fitter: Fitter) -> ClipErrors:
    """Compare the person of a fit with the clip's truth.

    Args:
        record: The fit.
        clip: The clip.
        fitter: The fitter, whose body the fit has.
    """
    if not len(record):
        return ClipErrors(0.0, float("nan"), float("nan"), float("nan"))
    rows = record.rows_of(record.largest_track)
    frames = record.frame_index[rows].tolist()
    truth = clip.body.pose(clip.rotations[frames], clip.betas, clip.trans[frames])
    assert truth.vertices is not None
    joints = record.joints3d[rows]
    true_joints = truth.joints.numpy()
    pelvis = SMPL24.index("pelvis")
    vertices = body_vertices(fitter.body, record, rows)
    return ClipErrors(
        found=len(rows) / len(clip),
        mpjpe_mm=1000 * float(mpjpe(joints, true_joints).mean()),
        pa_mpjpe_mm=1000 * float(pa_mpjpe(joints, true_joints).mean()),
        pve_mm=1000 * float(pve(vertices, truth.vertices, joints[:, pelvis], true_joints[:, pelvis]).mean()),
    )


def _similarity(work: _Work, clip: DemoClip, frame: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the SSIM of the reposed first frame, and of the unchanged one, to the true image of the pose."""
    scene = work.reposer.read(frame, name="drawn", progress=work.progress)
    rotations = key_pose("wave")
    pelvis = SMPL24.index("pelvis")
    # From the side that the frame shows, so that nothing has to be made up.
    rotations[pelvis] = clip.rotations[0, pelvis]
    pose = BodyParams(matrix_to_axis_angle(rotations).reshape(1, -1).numpy(), np.zeros((1, 10)), scene.record.trans[:1])
    reposed_image = next(iter(scene.images(RotationTarget(pose)))).image
    truth = clip.image(rotations, clip.trans[0])
    silhouette = clip.silhouette(rotations, clip.trans[0])
    return _ssim_at(reposed_image, truth, silhouette), _ssim_at(frame, truth, silhouette)


def _ssim_at(image: NDArray[np.uint8], truth: NDArray[np.uint8], silhouette: NDArray[np.bool_]) -> float:
    """Average SSIM over the true person's pixels."""
    first, second = (torch.from_numpy(pixels).double().permute(2, 0, 1)[None] / 255 for pixels in (image, truth))
    return float(ssim_foreground(first, second, torch.from_numpy(silhouette)[None, None], "uniform"))
