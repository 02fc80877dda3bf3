"""A page on which the detected joints of a fit are corrected in the frames, and saved for `hpc fit --keypoints`."""

from __future__ import annotations

from typing import Any

import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, COCO21, LIMB_JOINTS, SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.exporting.looks import available_frames
from humanpose_cli.exporting.viewing import DATA, ViewPage, frames_element
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.video import VideoCodec
from humanpose_cli.refining.frames import AnyFrames
from humanpose_cli.rendering.html_page import css_colour, html_page, page_scripts, timeline_bar

_MIN_CONFIDENCE = 0.05  # of detected joints; others are shown where the body has them
_VIDEO_SIDE = 1280  # pixels, to be enlarged
# All landmarks are saved, so that frames without a correction are fitted as before. The page shows the first ones.
_JOINTS = (*COCO21.joint_names, *(name for name in BLAZEPOSE33.joint_names if name not in COCO21))


def edit_page(
    fit: Fit,
    frames: AnyFrames = None,
    *,
    title: str = "fit",
    video_codec: VideoCodec = "h264",
    progress: Progress = no_progress,
) -> ViewPage:
    """Make an HTML page that shows the frames with the joints, and saves corrected joints as COCO annotations.

    Args:
        fit: A fit of one camera.
        frames: The frames, see `exporting.viewing.view`.
        title: The heading; the saved file is `TITLE.keypoints.json`.
        video_codec: Codec of the frames' video.
        progress: The listener.

    Raises:
        UsageError: If the fit has several cameras, or its frames are missing.
    """
    if len(fit.cameras) > 1:
        raise UsageError("edit", "takes fits of one camera", got=f"{len(fit.cameras)} cameras")
    images = available_frames(fit, frames)
    if images is None:
        raise UsageError("edit", "has no frames to show", remedy="name them with `frames`")
    rate = fit.frame_rate or DEFAULT_FRAME_RATE
    seconds = fit.seconds(rate)
    element = frames_element(images, seconds, 0, video_codec, progress, _VIDEO_SIDE)
    document = {**_document(fit, title), "times": [*seconds.tolist(), float(seconds[-1]) + 1 / rate]}
    text = {name: (DATA / f"editor.{name}").read_text("utf-8") for name in ("css", "html", "js")}
    still = " hidden" if fit.frame_count == 1 else ""
    content = text["html"].format(timeline=timeline_bar(fit.frame_count), still=still, frames=element)
    facts = "Drag joints and save; then hpc fit --keypoints FILE, or hpc refine --keypoints FILE."
    return ViewPage(html_page(title, facts, text["css"], content + page_scripts(document, text["js"])))


def _document(fit: Fit, title: str) -> dict[str, Any]:
    """Collect the values of the page's script; joints that were not detected are the body's, with confidence 0."""
    points = fit.keypoints2d.astype(np.float64).copy()
    limbs, bodies = BLAZEPOSE33.indices(LIMB_JOINTS), SMPL24.indices(LIMB_JOINTS)
    unknown = points[:, limbs, 2] < _MIN_CONFIDENCE
    points[:, limbs] = np.where(
        unknown[..., None], np.pad(fit.joints2d[:, bodies], ((0, 0), (0, 0), (0, 1))), points[:, limbs]
    )
    rows = list(BLAZEPOSE33.indices(_JOINTS))
    points = np.round(points[:, rows], 2)
    people: dict[int, dict[int, Any]] = {track: {} for track in fit.tracks}
    for person, track, frame in zip(points.tolist(), fit.track_id.tolist(), fit.frame_index.tolist(), strict=True):
        people[track][frame] = person
    return {
        "sizes": fit.image_size.tolist(),
        "names": fit.frame_names.tolist(),
        "joints": _JOINTS,
        "shown": len(COCO21),
        "bones": list(COCO21.bones),
        "mirror": [rows.index(BLAZEPOSE33.mirror[row]) for row in rows],
        "people": people,
        "colours": {track: css_colour(track) for track in fit.tracks},
        "file": f"{title}.keypoints.json",
    }
