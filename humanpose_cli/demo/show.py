"""What `hpc demo` does: a photograph and a clip with known truth, each fitted and reposed, and the page about them."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor

from humanpose_cli.body.body import Body, PosedBody
from humanpose_cli.body.parts import PARTS12
from humanpose_cli.body.pose_library import key_poses, pose_library
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.items import fit_item
from humanpose_cli.fitting.options import fit_outputs
from humanpose_cli.fitting.overlays import body_vertices, overlay_image
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.atomic import write_npz, write_text
from humanpose_cli.io.fit_files import FitRecord, write_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.pose_files import AXES, RotationTarget
from humanpose_cli.io.video import VideoCodec, VideoWriter
from humanpose_cli.lab.metrics.bodies import mpjpe, pa_mpjpe, pve
from humanpose_cli.rendering.html_page import html_page
from humanpose_cli.rendering.shading import render_people
from humanpose_cli.rendering.surfaces import Lighting, Surface, Texture
from humanpose_cli.reposing.reposer import Reposer
from humanpose_cli.reposing.scene import ReposeOptions

Array = NDArray[Any]

_SKIN, _HAIR, _SHIRT, _STRIPE = (206, 160, 132), (66, 44, 32), (36, 78, 118), (226, 222, 208)
_TROUSERS, _SHOES, _LIPS, _IRIS, _WHITE = (74, 70, 66), (38, 34, 34), (176, 96, 90), (52, 40, 34), (236, 232, 226)
_STRIPE_METRES = 0.085
_BELT = 0.03  # metres above the pelvis joint, where the shirt ends
_SHIRT_PARTS = ("upper_torso", "left_upper_arm", "right_upper_arm")
_LEG_PARTS = ("pelvis", "left_thigh", "right_thigh", "left_shank", "right_shank")


def _paint_outfit(body: Body, size: int = 1024) -> NDArray[np.uint8]:
    """A texture (size, size, 3) uint8: striped shirt, trousers, shoes, hair, a face."""
    texels = TexelMap(body.uv, body.uv_faces, size)
    position = texels.interpolate(body.template.numpy(), body.faces)  # (size, size, 3) metres, on the resting body
    one_hot = np.eye(len(PARTS12), dtype=np.float32)[PARTS12.labels(body.part_labels).numpy()]
    part = texels.interpolate(one_hot, body.faces).argmax(-1)
    colour = np.full((size, size, 3), _SKIN, np.float32)
    colour[_among(part, _LEG_PARTS)] = _TROUSERS
    shirt = _among(part, _SHIRT_PARTS) | (_among(part, ("pelvis",)) & (position[..., 1] > _BELT))
    colour[shirt] = _SHIRT
    colour[shirt & ((position[..., 1] / _STRIPE_METRES) % 1 < 0.4)] = _STRIPE
    feet = SMPL24.indices(("left_ankle", "right_ankle", "left_foot", "right_foot"))
    is_foot = np.isin(body.part_labels.numpy(), feet).astype(np.float32)
    colour[texels.interpolate(is_foot[:, None], body.faces)[..., 0] > 0.5] = _SHOES
    _paint_head(body, colour, part, position)
    _weave(colour, position)
    texels.bleed(colour)
    return np.clip(colour, 0, 255).astype(np.uint8)


def _among(part: Array, names: tuple[str, ...]) -> Array:
    return np.isin(part, [PARTS12.names.index(name) for name in names])


def _paint_head(body: Body, colour: Array, part: Array, position: Array) -> None:
    points = body.landmarks("face13")
    at = dict(zip(points.skeleton.joint_names, points.template.numpy(), strict=True))
    head = _among(part, ("head", "neck"))
    ear, eye = at["left_ear"], at["left_eye"]
    behind = position[..., 2] < ear[2] + 0.015
    crown = position[..., 1] > eye[1] + 0.055
    colour[head & (position[..., 1] > ear[1] - 0.05) & (behind | crown)] = _HAIR
    for side in ("left", "right"):
        _dot(colour, head, position, at[f"{side}_eye"], (0.013, 0.006), _WHITE)
        _dot(colour, head, position, at[f"{side}_eye"], (0.006, 0.006), _IRIS)
        _dot(colour, head, position, at[f"{side}_eye"] + np.array([0, 0.022, 0]), (0.018, 0.004), _HAIR)
    mouth = (at["left_mouth"] + at["right_mouth"]) / 2
    _dot(colour, head, position, mouth, (abs(at["left_mouth"][0]), 0.007), _LIPS)


def _dot(
    colour: Array, head: Array, position: Array, centre: Array, radii: tuple[float, float], paint: tuple[int, int, int]
) -> None:
    """An ellipse on the front of the head, radii in metres along x and y."""
    offset = (position[..., :2] - centre[:2]) / np.asarray(radii, np.float32)
    colour[head & (position[..., 2] > 0.04) & ((offset**2).sum(-1) < 1)] = paint


def _weave(colour: Array, position: Array) -> None:
    """Slow and fast variations of brightness, as cloth and skin have; a function of the position on the body."""
    grid = np.random.default_rng(0).normal(0, 1, (64, 64, 2)).astype(np.float32)
    slow = gaussian_filter(grid[..., 0], 1.5, mode="wrap") * 3

    def cell(metres: float) -> tuple[Array, Array]:
        x, y = (np.floor(position[..., axis] / metres).astype(int) % 64 for axis in (0, 1))
        return y, x

    colour *= (1 + 0.05 * slow[cell(1 / 60)] + 0.03 * grid[..., 1][cell(1 / 400)])[..., None]


_CLIP, _FRAMES = "soccer_01", slice(14, 104, 2)
_SIZE = (480, 640)
_FOCAL = 700.0
_CAMERA_HEIGHT = 1.25
_DISTANCE = 5.0
_BETAS = (0.5, -0.6, 0.4, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0)
_LIGHT = Lighting(direction=(-0.5, -0.8, -0.5), ambient=0.45, rim=0.0)
_Y_UP_TO_CAMERA = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])


@dataclass(frozen=True)
class DemoClip:
    """The clip: its camera, its true bodies, and its frames, drawn one by one.

    frame_rate  frames a second; focal pixels; size (height, width)
    rotations   (T, 24, 3, 3) relative, the pelvis maps body to camera axes
    betas       (1, 10); trans (T, 3) metres, camera axes
    """

    body: Body
    frame_rate: float
    focal: float
    size: tuple[int, int]
    rotations: Tensor
    betas: Tensor
    trans: Tensor

    @classmethod
    def make(cls, body: Body) -> DemoClip:
        """Place the motion before the camera, viewed obliquely from its side."""
        motion = pose_library().clip(_CLIP)
        poses, pelvis = motion.poses[_FRAMES], motion.pelvis[_FRAMES]
        rotations = axis_angle_to_matrix(poses.view(len(poses), len(SMPL24), 3))
        path = pelvis[-1] - pelvis[0]
        heading = float(torch.atan2(path[0], path[2]))
        # Walking slightly towards the camera, from left to right.
        turn = axis_angle_to_matrix(torch.tensor([0.0, 1.35 - heading, 0.0]))
        world_to_camera = _Y_UP_TO_CAMERA @ turn
        rotations[:, SMPL24.index("pelvis")] = world_to_camera @ rotations[:, SMPL24.index("pelvis")]
        centre = (pelvis.amin(0) + pelvis.amax(0)) / 2
        offset = torch.tensor([centre[0], _CAMERA_HEIGHT, centre[2]])
        trans = (pelvis - offset) @ world_to_camera.mT + torch.tensor([0.0, 0.0, _DISTANCE])
        rate = motion.frame_rate / (_FRAMES.step or 1)
        return cls(body, rate, _FOCAL, _SIZE, rotations, torch.tensor([_BETAS]), trans)

    def __len__(self) -> int:
        return len(self.rotations)

    def posed(self, rows: slice = slice(None), *, vertices: bool = False) -> PosedBody:
        """The true bodies of some frames, camera axes."""
        return self.body.pose(self.rotations[rows], self.betas, self.trans[rows], vertices=vertices)

    @property
    def view(self) -> Camera:
        """The camera."""
        return Camera.of_image(self.size[::-1], self.focal)

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """The images (H, W, 3) uint8, one by one."""
        texture = Texture(_paint_outfit(self.body), self.body.uv, self.body.uv_faces)
        background = _street(self.size, self.focal)
        noise = np.random.default_rng(0)
        for rotations, trans in zip(self.rotations, self.trans, strict=True):
            image = self._compose(self._vertices(rotations, trans), texture, background)
            yield np.clip(image + noise.normal(0, 2.0, image.shape), 0, 255).astype(np.uint8)

    def image(self, rotations: Tensor, trans: Tensor) -> NDArray[np.uint8]:
        """The same person before the same background in another pose: the truth that a reposed frame is held to."""
        texture = Texture(_paint_outfit(self.body), self.body.uv, self.body.uv_faces)
        return self._compose(self._vertices(rotations, trans), texture, _street(self.size, self.focal))

    def silhouette(self, rotations: Tensor, trans: Tensor) -> NDArray[np.bool_]:
        """Where the person is in such an image: (H, W)."""
        return render_people([Surface(self._vertices(rotations, trans), self.body.faces)], self.view)[..., 3] > 0.5

    def _vertices(self, rotations: Tensor, trans: Tensor) -> Tensor:
        vertices = self.body.pose(rotations[None], self.betas, trans[None]).vertices
        assert vertices is not None
        return vertices[0]

    def _compose(self, vertices: Tensor, texture: Texture, background: NDArray[np.float32]) -> NDArray[np.uint8]:
        person = render_people(
            [Surface(vertices, self.body.faces, texture=texture)], self.view, supersampling=2, lighting=_LIGHT
        )
        alpha = person[..., 3:]
        # A soft dark patch on the ground below the person.
        feet = vertices[vertices[:, 1].argmax()]
        foot, radius = self.view.project(feet[None])[0].numpy(), 0.45 * self.focal / max(float(feet[2]), 0.5)
        y, x = np.mgrid[: self.size[0], : self.size[1]].astype(np.float32)
        distance = ((x - foot[0]) / radius) ** 2 + ((y - foot[1]) / (0.28 * radius)) ** 2
        image = background * (1 - 0.45 * np.exp(-distance))[..., None]
        return (person[..., :3] * 255 * alpha + image * (1 - alpha)).astype(np.uint8)


def _street(size: tuple[int, int], focal: float) -> NDArray[np.float32]:
    """A brick wall behind grass, in perspective, (H, W, 3) float32 in 0…255; photographs of scikit-image."""
    import skimage.data

    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    ray_x, ray_y = (x - width / 2) / focal, (y - height / 2) / focal
    wall_depth = _DISTANCE + 3.0
    on_wall = ray_y * wall_depth < _CAMERA_HEIGHT
    depth = np.where(on_wall, wall_depth, _CAMERA_HEIGHT / np.maximum(ray_y, 1e-3))
    across, up = ray_x * depth, np.where(on_wall, ray_y * depth, depth)
    bricks = _tile(skimage.data.brick().T, across, up, 2.4, wall_depth / focal)
    grass = _tile(skimage.data.grass(), across, up, 1.2, 2 * wall_depth / focal)
    wall = bricks * np.array([0.86, 0.66, 0.56], np.float32) + 40
    lawn = grass * np.array([0.62, 0.86, 0.45], np.float32) + 18
    return np.where(on_wall[..., None], wall, lawn).astype(np.float32)


def _tile(
    image: NDArray[np.uint8], u: NDArray[np.float32], v: NDArray[np.float32], metres: float, metres_per_pixel: float
) -> NDArray[np.float32]:
    """A grey image repeated every `metres`, as (H, W, 3)."""
    side = max(16, round(metres / metres_per_pixel))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    mapped = cv2.remap(
        np.pad(small, ((0, 1), (0, 1)), mode="wrap"),
        ((u / metres) % 1 * side).astype(np.float32),
        ((v / metres) % 1 * side).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    return np.asarray(mapped, np.float32)[..., None]


_STYLE = """
h2{margin-top:2.5rem}.row{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem;align-items:end}
figure{margin:0}img,video{width:100%;display:block;border-radius:4px}figcaption{font-size:.85rem;color:var(--dim)}
table{border-collapse:collapse;margin:1rem 0}td{padding:.2rem 1.2rem .2rem 0}
td.number{text-align:right;font-variant-numeric:tabular-nums}
pre{background:var(--panel);border-radius:3px;padding:.6rem;overflow-x:auto}
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
    """The page, with the files beside it."""
    facts = "People in images as 3-D bodies, and in new poses. Everything was made on this machine by hpc demo."
    return html_page("humanpose-cli", facts, _STYLE, "".join(map(_section, sections)))


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


def run_demo(
    out: Path,
    progress: Progress = no_progress,
    *,
    device: str = "auto",
    threads: int | None = None,
    video_codec: VideoCodec = "h264",
) -> Demo:
    """Make the demo in a folder; `index.html` shows it. Needs nothing but the installed packages.

    device   of the networks: auto, cpu or cuda:N
    threads  of detection; None: as many as there are cores (four at most)
    """
    done = count(1)

    def step() -> None:
        progress(next(done), _STEPS, "steps")

    with Reposer(ReposeOptions(), device=device, threads=threads) as reposer:
        astronaut, written = _astronaut(reposer, out, step)
        clip, more, errors, similarity = _clip(reposer, out, video_codec, step)
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


def _as_amass(pose: BodyParams) -> dict[str, Array]:
    """The arrays of a pose in camera axes as an AMASS file, whose z axis is up."""
    rotations = pose.tensors().rotations
    pelvis = SMPL24.index("pelvis")
    rotations[:, pelvis] = torch.from_numpy(AXES["z-up"].T.copy()).to(rotations) @ rotations[:, pelvis]
    return {"poses": matrix_to_axis_angle(rotations).flatten(1).numpy(), "trans": np.zeros((len(rotations), 3))}


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
        pose = _key_pose(name)
        written.append(out / f"{name}.npz")
        write_npz(written[-1], _as_amass(pose))
        image = next(iter(scene.images(RotationTarget(pose)))).image
        written.append(out / f"astronaut.{name}.png")
        write_image(written[-1], image)
        figures.append(Figure(written[-1].name, f"the same person: {name.replace('_', ' ')}"))
    step()
    section = Section(
        "A photograph",
        "Eileen Collins, photographed by NASA (public domain): only half of her is in the image, so the rest of the "
        "body is what is likely.",
        "hpc fit astronaut.png\n"
        + "\n".join(f"hpc repose --input astronaut.png --target-pose {name}.npz" for name in _POSES),
        figures,
    )
    return section, written


def _clip(
    reposer: Reposer, out: Path, video_codec: VideoCodec, step: Callable[[], None]
) -> tuple[Section, list[Path], ClipErrors, tuple[float, float]]:
    clip = DemoClip.make(reposer.fitter.body)
    video, first = out / "clip.mp4", None
    with VideoWriter(video, clip.frame_rate, codec=video_codec) as writer:
        for frame in clip.frames():
            first = frame if first is None else first
            writer.write(frame)
    assert first is not None
    step()
    (item,) = open_inputs([video])
    outputs = fit_outputs(item, out)
    fitted = fit_item(reposer.fitter, item, outputs, video_codec=video_codec)
    step()
    errors = clip_errors(fitted, clip, reposer.fitter)
    write_npz(out / "clip.truth.npz", {"joints3d": clip.posed().joints.numpy(), "betas": clip.betas.numpy()})
    step()
    reposed, truth, similarity = _repose_first_frame(reposer, clip, first, out)
    step()
    table = [
        ("frames in which the person was found", f"{errors.found:.0%}"),
        ("mean joint error, pelvis on pelvis (MPJPE)", f"{errors.mpjpe_mm:.0f} mm"),
        ("mean joint error after alignment (PA-MPJPE)", f"{errors.pa_mpjpe_mm:.0f} mm"),
        ("mean vertex error, pelvis on pelvis (PVE)", f"{errors.pve_mm:.0f} mm"),
        (
            "likeness of the reposed image to its truth (SSIM at the person: 1 is equal, 0 is unlike)",
            f"{similarity[0]:.3f}",
        ),
        ("the same of the unchanged frame, as if nothing had been done", f"{similarity[1]:.3f}"),
    ]
    section = Section(
        "A clip whose truth is known",
        "A rendered person plays soccer, in a motion that nothing here was trained on. The fit sees only the video.",
        "hpc fit clip.mp4",
        [
            Figure(outputs[1].name, "the fitted body over the video"),
            Figure(reposed.name, "the first frame's person in another pose"),
            Figure(truth.name, "how that pose really looks"),
        ],
        table,
    )
    written = [video, *outputs, out / "clip.truth.npz", reposed, truth]
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
