"""A fit as one self-contained HTML page: the bodies in 3-D, the frames and a timeline.

    page = view(fit, "clip.mp4")
    page.save("clip.html")

The page holds the glTF file of `exporting.gltf`, three.js and a small video, and opens offline.
"""

from __future__ import annotations

import base64
import gzip
import html
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from humanpose_cli.body.body import Body
from humanpose_cli.core.progress import Progress, part_of
from humanpose_cli.exporting.exporter import export_of
from humanpose_cli.exporting.gltf import glb_bytes
from humanpose_cli.exporting.looks import Textures
from humanpose_cli.exporting.motion import TO_Y_UP, CameraPath
from humanpose_cli.files.sniffing import read_bytes
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.result import Fit, fit_of
from humanpose_cli.io.video import VideoCodec, VideoWriter
from humanpose_cli.outputs.atomic import write_text
from humanpose_cli.refining.frames import AnyFrames, FitFrames, frames_of_fit
from humanpose_cli.rendering.html_page import (
    css_colour,
    data_uri,
    html_page,
    jpeg_within,
    page_scripts,
    plan_figure,
    reduced,
    timeline_bar,
)
from humanpose_cli.views.plan import draw_plan

DATA = Path(__file__).parent / "data"
_VIDEO_SIDE, _VIDEO_QUALITY = 640, 30  # longer side in pixels and rate factor: about 1 MB in 20 s
_IMAGE_SIDE, _IMAGE_BYTES = 1280, 400_000
_FOLLOW_SECONDS = 0.2  # standard deviation of the smoothing of the path that the view follows
_GROUP_RADIUS = 2.0  # metres from the main person, within which the first view shows other people
_MARGIN = 0.15  # metres around joints, for the head, hands and feet
_HEIGHT = 560  # pixels, height of the page in a notebook


@dataclass(frozen=True, repr=False)
class ViewPage:
    """An HTML page, which notebooks show.

    Attributes:
        text: Its text.
    """

    text: str

    def __repr__(self) -> str:
        return f'<ViewPage: {len(self.text) / 1e6:.1f} MB; save("NAME.html") writes it>'

    def save(self, path: Path | str) -> Path:
        """Write the page atomically and return its path."""
        write_text(path, self.text)
        return Path(path)

    def _repr_html_(self) -> str:
        """Embed the page in a frame, so that its scripts and style do not affect the notebook."""
        source = html.escape(self.text, quote=True)
        return f'<iframe srcdoc="{source}" style="width:100%;height:{_HEIGHT}px;border:0" allowfullscreen></iframe>'


def view(
    fit: Fit | str | Path,
    frames: AnyFrames = None,
    *,
    title: str = "",
    textures: Textures = None,
    body: Body | None = None,
    video_codec: VideoCodec = "h264",
    progress: bool | Progress | None = None,
) -> ViewPage:
    """Make an HTML page of a fit, which a notebook shows as the last line of a cell.

    Args:
        fit: A Fit, or the path of a fit file.
        frames: The video, folder, images or (F, H, W, 3) uint8 of the fit, for a take of all its cameras; None for the
            Fit's source, or the files that the fit file names. If they are missing, the page has no frames.
        title: Heading of the page; "" for "Fit".
        textures: (H, W, 3 or 4) uint8, v down, by track; or "frames" to make them, and clothes, from the frames; or
            "none" for the colours of overlays. None uses the frames if available, otherwise the textures of the
            refinement, also from its files. People without a texture have the colours of overlays.
        body: Body model of a SMPL fit that was read from a file.
        video_codec: Codec of the frames' video.
        progress: True draws a bar on stderr. A function is called with (done, total or None, unit).

    Returns:
        The page.

    Raises:
        InputError: If given frames lack frames of the fit.

    Example:
        hp.view(fit, "clip.mp4").save("clip.html")
    """
    fit = fit_of(fit)
    if len(fit.cameras) > 1 and frames is not None and not isinstance(frames, FitFrames):
        fit, frames = frames_of_fit(fit, frames)
    with progress_of(progress) as report:
        export = export_of(
            fit, "", frame_rate=None, world="ground", textures=textures, progress=report, frames=frames, body=body
        )
        fit, images, rate = export.fit, export.frames, export.fit.frame_rate
        cameras = export.scene.cameras
        glb = glb_bytes(export.scene)
        element = "" if images is None else _elements_of_cameras(fit, images, video_codec, report)
    facts = repr(fit)[6:-1] + (f", {rate:g} frames a second" if fit.frame_count > 1 else "")
    glb_text = base64.b64encode(gzip.compress(glb, 6, mtime=0)).decode("ascii")
    library = base64.b64encode((DATA / "three.js.gz").read_bytes()).decode("ascii")
    content = (
        f"<div class=panes><div id=stage></div>{element and f'<div id=frames>{element}</div>'}</div>\n"
        f"{_controls(fit)}\n"
        f"{plan_figure(draw_plan(fit)) if len(fit.cameras) > 1 else ''}"
        f'<script type="text/plain" id="people3d">{glb_text}</script>\n'
        f'<script type="text/plain" id="three">{library}</script>\n'
        f"<script>{'document.body.classList.add(`with-image`);' if element else ''}</script>\n"
        f"{page_scripts(_document(fit, cameras), (DATA / 'viewer.js').read_text('utf-8'))}"
    )
    return ViewPage(html_page(title or "Fit", facts, (DATA / "viewer.css").read_text("utf-8"), content))


def _elements_of_cameras(fit: Fit, frames: FitFrames, codec: VideoCodec, progress: Progress) -> str:
    """Embed the frames of all cameras with known sources; the first camera's are shown first."""
    seconds = fit.seconds(fit.frame_rate)
    if len(fit.cameras) == 1 or not fit.sources:
        return frames_element(frames, seconds, 0, codec, progress)
    elements = []
    count = len(fit.cameras)
    for number, camera in fit.cameras_with_frames.items():
        view, share = fit.view(number), part_of(progress, number / count, (number + 1) / count)
        if view.images is not None:
            images = FitFrames(view, view.images, in_order=True)
            elements.append(frames_element(images, seconds[camera.frames], number, codec, share))
    return "".join(elements)


def frames_element(
    frames: FitFrames,
    seconds: NDArray[np.float64],
    number: int,
    codec: VideoCodec,
    progress: Progress,
    side: int = _VIDEO_SIDE,
) -> str:
    """Embed a camera's frames with times (F,) as an image or a video; missing frames show the one before.

    `side` is the maximum length in pixels of a video's longer side.
    """
    fit, attributes = frames.fit, f"data-camera={number}{' hidden' * (number > 0)}"
    times = [Fraction(second).limit_denominator(90_000) for second in (0.0, *seconds[1:].tolist())]
    if fit.frame_count == 1:
        with closing(frames.read()) as frame_iterator:
            image = jpeg_within(reduced(next(frame_iterator)[1], _IMAGE_SIDE), _IMAGE_BYTES)
        return f'<img {attributes} alt="photograph" src="{data_uri(image, "image/jpeg")}">'
    with TemporaryDirectory() as folder:
        path = Path(folder, "frames.mp4")
        writer = VideoWriter(path, fit.frame_rate or DEFAULT_FRAME_RATE, quality=_VIDEO_QUALITY, codec=codec)
        with writer as video, closing(frames.read()) as frame_iterator:
            for frame, pixels in frame_iterator:
                video.write(reduced(pixels, side), times[frame])
                progress(frame + 1, fit.frame_count, "frames for the page")
        uri = data_uri(read_bytes(path), "video/mp4")
    return f'<video {attributes} muted playsinline preload=auto src="{uri}"></video>'


def _controls(fit: Fit) -> str:
    people = "".join(
        f"<label><input type=checkbox id=person{person.id} checked><span class=swatch "
        f'style="background:{css_colour(person.id)}"></span>{html.escape(person.name)}'
        f"{html.escape(f' (doubtful: {person.doubt})' if person.doubt else '')}</label>"
        for person in fit.people
    )
    cameras = "".join(f"<option value={i}>{html.escape(camera.name)}" for i, camera in enumerate(fit.cameras))
    choice = f'<select id=camera aria-label="camera">{cameras}</select>' if len(fit.cameras) > 1 else ""
    buttons = f"{choice}<button id=view>Through the camera</button><button id=home>Reset</button>"
    return f"{timeline_bar(fit.frame_count, buttons)}<div class=people>{people}</div>"


def _lens(path: CameraPath) -> dict[str, Any]:
    """Describe a camera's zoom and principal point in all frames, in pixels of the first frame."""
    scale = (path.size[0] / path.size).min(1, keepdims=True)
    centre = path.centre * scale + (path.size[0] - path.size * scale) / 2
    focal = np.round(path.focal * scale[:, 0], 2).tolist()
    return {"size": path.size[0].tolist(), "focal": focal, "centre": np.round(centre, 2).tolist()}


def _document(fit: Fit, cameras: Mapping[str, CameraPath]) -> dict[str, Any]:
    """Collect the values of the page's script."""
    camera = fit.world_to_camera[fit.frame_index].astype(np.float64)
    joints = np.einsum("nji,nkj->nki", camera[:, :3, :3], fit.joints3d - camera[:, None, :3, 3]) @ TO_Y_UP.T
    if not len(joints):
        joints = np.array([[(-0.5, 0.0, -3.5), (0.5, 1.8, -2.5)]])
    # The box of nearly all joints, so that one wrong fit far away does not make the others small.
    low, high = np.percentile(joints.reshape(-1, 3), (3, 97), axis=0)
    target, radius = (low + high) / 2, max(1.0, float(np.linalg.norm(high - low)) / 2)
    seconds = fit.seconds(fit.frame_rate)
    return {
        "times": [*np.round(seconds, 6).tolist(), round(float(seconds[-1]) + 1 / fit.frame_rate, 6)],
        "count": fit.frame_count,
        "names": fit.frame_names.tolist(),
        "cameras": [_lens(path) for path in cameras.values()],
        "people": [{"track": track} for track in fit.tracks],
        "target": np.round(target, 3).tolist(),
        "radius": round(radius, 3),
        "person": _main_person(fit, joints),
        **_walk(fit, next(iter(cameras.values()))),
    }


def _walk(fit: Fit, camera: CameraPath) -> dict[str, Any]:
    """Return the path of a camera that walks, in the first such shot, and points of the background; {} without one."""
    for path in fit.options.camera_paths or ():
        frames = np.flatnonzero(fit.shot_id == path["shot"])
        if len(frames) and path.get("background"):
            centres = camera.positions[frames]
            points = np.asarray(path["background"]) @ TO_Y_UP.T @ camera.rotations[frames[0]].T + centres[0]
            return {"background": np.round(points, 2).tolist(), "walk": np.round(centres, 2).tolist()}
    return {}


def _main_person(fit: Fit, joints: NDArray[np.float64]) -> dict[str, Any]:
    """Find the view's target: a smoothed path of the main person's centre, and half of the visible width and height."""
    # The path is moved to the centre of the people near the main person in the first frame.
    rows = fit.rows_of(fit.largest_track) if len(fit) else np.zeros(1, int)
    first, frames = (int(fit.frame_index[rows[0]]), fit.frame_index[rows]) if len(fit) else (0, rows)
    low, high = joints[rows].min(1), joints[rows].max(1)
    centres = np.stack([np.interp(range(fit.frame_count), frames, axis) for axis in ((low + high) / 2).T], 1)
    path = gaussian_filter1d(centres, _FOLLOW_SECONDS * fit.frame_rate, axis=0, mode="nearest")
    group = joints[fit.rows_for(first)] if len(fit) else joints
    group = group[np.linalg.norm(group[:, 0] - joints[rows[0], 0], axis=1) < _GROUP_RADIUS]
    lowest, highest = group.min((0, 1)), group.max((0, 1))
    path += (lowest + highest) / 2 - path[first]
    half = np.maximum(np.percentile(high - low, 90, axis=0), highest - lowest) / 2
    width, height = np.hypot(half[0], half[2]) + _MARGIN, half[1] + _MARGIN
    path, width, height = (np.round(value, 3).tolist() for value in (path, width, height))
    return {"first": first, "path": path, "width": width, "height": height}
