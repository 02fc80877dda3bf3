"""`hp.fit` and `hp.refine`: in one call what `Fitter` and `Refiner` do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.device import Precision
from humanpose_cli.core.progress import Progress
from humanpose_cli.fitting.fitter import Fitter, Source
from humanpose_cli.fitting.options import DetectorMode, FitMethod, FitOptions, PeopleChoice
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.registering import check_charts, check_registration, surface_registration
from humanpose_cli.fitting.result import Fit, fit_of
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.refining.correspondences import charted_points
from humanpose_cli.refining.frames import AnyFrames, frames_of_fit
from humanpose_cli.refining.refiner import CorrespondenceKind, Prior, RefineOptions, Refiner


def fit(
    source: Source,
    *,
    people: PeopleChoice = "all",
    method: FitMethod | Literal["register"] = "auto",
    body: str | Body = "default",
    detector: DetectorMode = "auto",
    focal: float | None = None,
    frames: str | FrameRange | None = None,
    sequence: bool | None = None,
    boxes: Path | str | None = None,
    keypoints: Path | str | None = None,
    pose_model: Path | str | None = None,
    densepose: Path | str | None = None,
    charts: Path | str | None = None,
    weights: str = "",
    segmenter: str = "",
    refine: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> Fit:
    """Everybody's 3-D pose and shape in an image, a video, a folder of images, or an array: `hp.fit("photo.jpg")`.

    source     a path, several paths of images, or (H, W, 3) or (T, H, W, 3) uint8 RGB
    people     "all", or only the "largest"
    method     "keypoints" (optimisation), "nbf" (a network's forward pass), "auto" (both), "register" (optimisation,
               then onto the surface points of `densepose`)
    body       "default", "smpl:FILE" or a Body
    detector   "thorough", "fast", or "auto": thorough for images, fast for sequences
    focal      pixels; None: from EXIF, else 0.9 times the longer side, in images more where somebody would be nearer
               than 2 m
    frames     "A:B": frames A to B - 1 of a sequence
    sequence   whether a folder's images are one sequence; None: one size and consecutive numbers are
    boxes, keypoints  files of people from your own detector
    pose_model        your own pose network (ONNX, RTMPose's kind), whose joints are used in place of ours
    densepose  where the pixels lie on the surface: a folder of NAME_IUV.png or .npz, a dump of apply_net.py, or
               annotations (JSON); charts  DensePose's UV_Processed.mat, for SMPL
    weights, segmenter  networks: files, runs of hpc train, or names of hpc weights list; "": the shipped ones
    refine     move the bodies onto the pixels afterwards, as `hp.refine` does
    device     auto, cpu or cuda:N
    precision  of the networks: full, tf32 or bfloat16; "auto": tf32 where the GPU has it, else full
    threads    of detection; None: as many as there are cores (four at most)
    progress   True draws a bar on stderr; a function is called with (done, total or None, unit)

    Loads the models each time: for loops there is `hp.Fitter`.
    """
    surface, known = (None if path is None else Path(path) for path in (densepose, charts))
    check_registration(method, surface, known, refine=refine)
    own: FitMethod = "keypoints" if method == "register" else method
    options = FitOptions(body.name if isinstance(body, Body) else body, people, detector, focal, method=own)
    register = None
    if surface is not None:
        register = surface_registration(body if isinstance(body, Body) else load_body(body), surface, known)
    with ExitStack() as stack:
        refiner = stack.enter_context(Refiner(threads=threads, device=device, precision=precision)) if refine else None
        fitter = stack.enter_context(
            Fitter(
                options,
                body=body,
                weights=weights,
                segmenter=segmenter,
                boxes=boxes,
                keypoints=keypoints,
                pose_model=pose_model,
                device=device,
                precision=precision,
                threads=threads,
                refine=register if refiner is None else refiner.refine_own,
            )
        )
        return fitter.fit(source, frames=frames, sequence=sequence, progress=progress)


def refine(
    fit: Fit | str | Path,
    frames: AnyFrames = None,
    *,
    correspondence: CorrespondenceKind = "auto",
    prior: Prior = "pose",
    weights: str | Path = "",
    densepose: Path | str | None = None,
    charts: Path | str | None = None,
    textures: Mapping[int, np.ndarray] | None = None,
    body: Body | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> Fit:
    """A fit moved onto the pixels of its frames, where that aligns better: `hp.refine(fit, "clip.mp4")`.

    fit             a Fit, or a fit file's path; fits of other programs come from `read_fits`
    frames          the video, folder, images or (F, H, W, 3) uint8 that it was made of; None: where the Fit came from
    correspondence  "network", "flow", "keypoints" or "densepose": what tells where the body really is; "auto":
                    densepose or the network where it is given, else flow
    prior           "pose": unusual poses cost; "none": only joint limits hold
    weights         of that network: a file, or a run of hpc train refiner; "": the shipped one
    densepose, charts  as those of `fit`: where the frames' pixels lie on the surface
    textures        of tracks, (512, 512, 4) uint8: colour and how far it is known; None: made from the frames
    body            needed for a SMPL fit that came from a file
    device, precision  of the networks, as those of `fit`
    threads         of the pose network; None: as many as there are cores (four at most)
    progress        True draws a bar on stderr; a function is called with (done, total or None, unit)

    `refined.options["refinement"]` tells for every track and frame how much was accepted and how it aligns.
    """
    known, found = frames_of_fit(fit_of(fit), frames)
    options, surface = RefineOptions(correspondence, prior), None
    points, charted = (None if path is None else Path(path) for path in (densepose, charts))
    check_charts(points, charted)
    if points is not None:
        surface = charted_points(known.body_model(body), points, charted)
    made = Refiner(options, weights=weights, surface=surface, threads=threads, device=device, precision=precision)
    with made as refiner, progress_of(progress) as report:
        return refiner.refine(known, found, body=body, textures=textures, progress=report)
