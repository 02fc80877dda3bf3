"""Reads fits of any program as a fit record: this package's fit files, and results of others (`io.foreign_fits`).

fit = read_fits("wham_output.pkl", "smpl:SMPL_NEUTRAL.pkl", "clip.mp4")
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.linking import TrackAssigner
from humanpose_cli.detect.person import without_body
from humanpose_cli.files.npz_files import npz_names, read_npz
from humanpose_cli.files.value_limits import check_image_sizes, check_limits
from humanpose_cli.fitting.joints import fit_joints
from humanpose_cli.fitting.result import Fit, FrameSource, load_fit
from humanpose_cli.fitting.transfer import smplx_to_smpl
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_files import COLUMNS, GROUND_COLUMNS, ROW_COLUMNS
from humanpose_cli.io.fit_options import FRAME_LISTS, StoredOptions
from humanpose_cli.io.foreign_fits import ForeignFits, check_model, read_foreign_fits
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.images import IMAGE_SUFFIXES, image_size
from humanpose_cli.io.inputs import InputItem, open_inputs, printable
from humanpose_cli.io.pose_files.rotation_files import read_rotations
from humanpose_cli.io.pose_files.target_pose import AXES, RotationTarget
from humanpose_cli.io.video import video_times

_CHUNK = 64  # bodies posed together: bounds memory
_MAX_NAMES = 5  # missing frames that a message names


@dataclass(frozen=True, eq=False)
class FrameList:
    """The F frames that fits belong to.

    Attributes:
        numbers: (F,) int. The number of each frame in its video or list, from 0.
        names: (F,) str. File names, or the frame numbers of a video.
        sizes: (F, 2) int, pixels. Width and height.
        frame_rate: Frames per second. 0 if unknown.
        sequence: Whether the frames follow each other in time.
        total: The number of frames of the complete video or list.
    """

    numbers: np.ndarray
    names: np.ndarray
    sizes: np.ndarray
    frame_rate: float
    sequence: bool
    total: int

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.numbers)

    def part(self, start: int, stop: int) -> FrameList:
        """Restrict the list to frames start ≤ i < stop."""
        rows = {name: getattr(self, name)[start:stop] for name in ("numbers", "names", "sizes")}
        return replace(self, **rows)


def items_of(
    frames: str | Path | InputItem | Sequence[str | Path | InputItem], sequence: bool | None = None
) -> Sequence[InputItem]:
    """Open the inputs that paths name, or return items that are already open.

    Args:
        frames: Paths or input items.
        sequence: Whether a folder's images are one sequence, see `open_inputs`.
    """
    sources = [frames] if isinstance(frames, str | Path | InputItem) else list(frames)
    items = [source for source in sources if isinstance(source, InputItem)]
    return items or open_inputs([path for path in sources if not isinstance(path, InputItem)], sequence=sequence)


def list_frames(items: Sequence[InputItem]) -> FrameList:
    """List the frames of one sequence, or of independent images, without decoding them all.

    Raises:
        UsageError: If there are several sequences.
        InputError: If a file cannot be read, or the range holds no frame.
    """
    if len(items) > 1 and any(item.is_sequence for item in items):
        raise UsageError(
            "frames",
            "are several sequences",
            expected="one video, one folder of frames, or images",
            got=str(len(items)),
        )
    for item in items:
        if item.error is not None:
            raise item.error
    first = items[0]
    size = first.sequence_size
    if first.kind == "video":
        total = len(video_times(first.path))
        values = [(number, f"{number:06d}", size) for number in range(total)[first.range.slice]]
    else:
        files = [file for item in items for file in item.files]
        numbers_and_files = list(enumerate(files))[first.range.slice] if first.is_sequence else enumerate(files)
        values = [(number, printable(file.name), size or image_size(file)) for number, file in numbers_and_files]
        total = len(files)
    if not values:
        raise InputError(
            first.path, "has no frame in the range", expected=f"frames {first.range}", got=f"{total} frames"
        )
    numbers, names, sizes = (np.array(column) for column in zip(*values, strict=True))
    return FrameList(numbers, names, sizes.reshape(-1, 2), first.frame_rate or 0.0, first.is_sequence, total)


def read_fits(
    path: Path | str,
    body: str | Body = "default",
    frames: str | Path | InputItem | Sequence[str | Path | InputItem] | FrameList | None = None,
    *,
    camera: Path | str | None = None,
    smplx: Path | str | None = None,
) -> Fit:
    """Read the fits in a file of this package or of another program.

    The program is recognised by the contents, see `io.foreign_fits`. Rows of frames that a range leaves out are
    dropped. Rows of other programs have no keypoints and a reprojection error of 0.

    Args:
        path: The file, or a folder as TRAM writes it.
        body: The body of the fit. SMPL's parameters need "smpl:FILE", your own model file.
        frames: The frames that the fits were made from: paths, inputs or a list. The result has exactly these frames. A
            fit file of this package is restricted to them, from its first to its last one, and a take needs the inputs
            of all views, or of the first one, whose fit is then returned. None takes the sizes of images from the file.
        camera: For AMASS: an `.npz` with `focal` and `world_to_camera` (z-up world) of all frames, or the fit file from
            which the motion was exported. Must be None for other files.
        smplx: For GVHMR: your SMPL-X model file, to which its shapes and translations belong.

    Returns:
        The fit. It can read its frames again if paths or inputs were given.

    Raises:
        InputError: If the file is damaged or unknown, or frames of the fits are missing or have another size.
        UsageError: If an argument is missing or has no effect. The message names it.

    Example:
        >>> fit = hp.read_fits("wham_output.pkl", "smpl:SMPL_NEUTRAL.pkl", "clip.mp4")
    """
    path = Path(path)
    frames = frames if isinstance(frames, FrameList | None) else items_of(frames)
    model = body if isinstance(body, Body) else load_body(body)
    if _is_fit_file(path):
        fit = _read_fit_file(path, model)
        if len(fit.cameras) > 1 and not isinstance(frames, FrameList | None) and len(frames) > 1:
            return on_views(fit, frames, path)
        return fit if frames is None else on_frames(fit, frames, path)
    foreign = read_foreign_fits(path)
    if foreign is not None and camera is not None:
        raise UsageError("camera", f"has no effect: {foreign.program}'s file has cameras", remedy="leave it out")
    if foreign is not None:
        check_model(path, foreign, model.name, smplx)  # before the frames are counted
    frame_list = frames if isinstance(frames, FrameList | None) else list_frames(frames)
    sources = () if isinstance(frames, FrameList | None) else (FrameSource(tuple(frames)),)
    if foreign is None:
        fit = _amass(path, model, frame_list, camera)
    else:
        fit = _completed(path, foreign, model, frame_list, smplx)
        for note in foreign.notes:
            warnings.warn(note, stacklevel=2)
    return replace(fit, path=path, sources=sources)


def _is_fit_file(path: Path) -> bool:
    try:
        return not path.is_dir() and "schema_version" in npz_names(path)
    except InputError:
        return False  # the next reader reports the problem


def _read_fit_file(path: Path, body: Body) -> Fit:
    fit = load_fit(path)
    if fit.body != body.name:
        remedy = "--body smpl:FILE with that model" if fit.body != "default" else "leave out --body"
        raise UsageError(path, "holds fits of another body", expected=body.name, got=fit.body, remedy=remedy)
    return replace(fit, model=body)


def on_frames(fit: Fit, frames: Sequence[InputItem] | FrameList, path: Path | str = "fit") -> Fit:
    """Restrict a fit to the given frames, from its first to its last one.

    Its world is that of the first remaining camera, as if only these frames had been fitted, unless the world is
    upright (`FitRecord.options`).

    Args:
        fit: A fit of this package.
        frames: The frames. Further frames may stand before, between and after the fit's. If they are inputs, the result
            can read its pixels again.
        path: What errors call the fit.

    Raises:
        InputError: If frames of the fit are missing or have another size.
    """
    frame_list = frames if isinstance(frames, FrameList) else list_frames(frames)
    frame_of = _frame_of_each(path, fit.frame_names, np.arange(fit.frame_count), frame_list)
    present = np.flatnonzero(frame_of >= 0)
    wrong = [i for i in present if tuple(fit.image_size[i]) != tuple(frame_list.sizes[frame_of[i]])]
    if wrong:
        _refuse_size(path, fit.image_size[wrong[0]], frame_list, frame_of[wrong[0]])
    start = int(frame_of[present].min())
    stop = int(frame_of[present].max()) + 1
    frame_of = frame_of - start
    values = _columns_of_part(fit, frame_of, frame_list.part(start, stop))
    options = replace(fit.options, of_take=True) if fit.has_other_views else fit.options
    frame_lists: dict[str, Any] = {
        name: [int(row) for frame, row in enumerate(frame_of) if row >= 0 and frame in indices]
        for name in FRAME_LISTS
        if (indices := getattr(options, name)) is not None
    }
    options = replace(options, **frame_lists)
    if fit.unfitted:
        detections = [replace(u, frame=int(frame_of[u.frame])) for u in fit.unfitted if frame_of[u.frame] >= 0]
        options = replace(options, not_fitted=[detection.document() for detection in detections])
    fit = fit.select(np.flatnonzero(np.isin(fit.frame_index, present)))
    rows = fit.row_columns | {"frame_index": frame_of[fit.frame_index]}
    part = Fit.build(**values, **rows, frame_rate=fit.frame_rate, gender=fit.gender, body=fit.body, options=options)
    sources = () if isinstance(frames, FrameList) else (FrameSource(tuple(frames)).part(start, stop),)
    return replace(
        part,
        model=fit.model,
        sources=sources,
        detections=fit.detections,
        clothes=fit.clothes,
        textures=fit.textures,
        path=fit.path,
    )


def in_range(fit: Fit, frames: FrameRange) -> Fit:
    """Restrict the fit of one camera to a range of the frames of its video, or of its own frames if it names no video.

    Raises:
        UsageError: If the range holds no frame of the fit.
    """
    file = next(iter(fit.current_frame_files), None)
    fitted = file.range if file is not None else ALL_FRAMES
    count = fitted.start + fitted.step * fit.frame_count
    times = None if fit.frame_times is None or fitted.start or fitted.step > 1 else fit.frame_times.tolist()
    requested = range(count)[frames.resolved(count, fit.frame_rate * fitted.step, times).slice]
    rows = [row for row in range(fit.frame_count) if fitted.start + fitted.step * row in requested]
    if not rows:
        raise UsageError("frames", "holds no frame", expected=f"some of {fitted.start}:{count}", got=str(frames))
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    names = fit.frame_names[rows]
    frame_list = FrameList(np.array(rows), names, fit.image_size[rows], fit.frame_rate, True, fit.frame_count)
    part = replace(on_frames(fit, frame_list), frame_rate=fit.frame_rate / step)
    if file is None:
        return part
    first, last = (fitted.start + fitted.step * row for row in (rows[0], rows[-1]))
    part_range = FrameRange(first, last + 1, fitted.step * step)
    items = [replace(source.items[0], range=part_range) for source in fit.sources if source is not None]
    files = (replace(file, range=part_range),)
    return replace(part, sources=tuple(FrameSource((item,)) for item in items), frame_files=files)


def on_views(fit: Fit, inputs: Sequence[InputItem], path: Path | str = "fit") -> Fit:
    """Let a take read the pixels of its views again, from inputs that have the names of the views.

    Args:
        fit: A fit of several cameras.
        inputs: The input of each camera.
        path: What errors call the fit.

    Raises:
        InputError: If a view has no input, or an input lacks frames or has another size.
    """
    names = [camera.name for camera in fit.cameras]
    file_names = Counter(item.path.name for item in inputs)
    items = {item.path.name: item for item in inputs if file_names[item.path.name] == 1}
    items |= {item.key: item for item in inputs}  # the path that names the view, not a file of that name elsewhere
    if missing := [name for name in names if name not in items]:
        got = ", ".join(item.key for item in inputs[:_MAX_NAMES])
        raise InputError(path, f"lacks the frames of {', '.join(missing)}", expected=", ".join(names), got=got)
    sources = []
    for camera in fit.cameras:
        item = items[camera.name]
        frame_list = list_frames([item])
        position = camera.frame[camera.frame >= 0].tolist()
        frame_names = camera.frame_names[camera.frame >= 0].tolist()
        names_in_item = frame_list.names.tolist()
        count = len(names_in_item)
        first = next(iter(frame_names), None)
        start = names_in_item.index(first) - position[0] if first in names_in_item else 0
        if [names_in_item[start + index] if start + index < count else "" for index in position] != frame_names:
            raise InputError(item.path, "lacks frames of the fit", remedy="give the inputs that the take was made from")
        if camera.lens.size != tuple(frame_list.sizes[0].tolist()):
            _refuse_size(path, camera.lens.size, frame_list, 0)
        source = FrameSource((item,))
        sources.append(source.part(start, count) if item.is_sequence else source)
    return replace(fit, sources=tuple(sources))


def _columns_of_part(fit: Fit, frame_of: np.ndarray, frames: FrameList) -> dict[str, np.ndarray]:
    """Return the columns of a fit's frames for other frames, which `frame_of` maps them to."""
    source = _nearest_present(frame_of, len(frames))  # a frame without a fit has the camera of the nearest with one
    values = {name: getattr(fit, name)[source] for name in COLUMNS if name not in ROW_COLUMNS}
    values |= {"frame_names": frames.names, "image_size": frames.sizes}
    if not fit.options.upright:
        values["world_to_camera"] = _before_first_cameras(fit, source)
    if fit.ground is not None:
        values |= {name: getattr(fit, name)[source] for name in GROUND_COLUMNS}
    if fit.frame_times is not None and (frame_of[source] == np.arange(len(frames))).all():
        values["frame_times"] = fit.frame_times[source] - fit.frame_times[source[0]]
    return values


def _before_first_cameras(fit: Fit, frames: np.ndarray) -> np.ndarray:
    """Compute world to camera (C, 4, 4) of some frames, in the world of each shot's first remaining camera."""
    cameras, shots = fit.world_to_camera[frames].astype(np.float64), fit.shot_id[frames]
    for shot in np.unique(shots):
        rows = np.flatnonzero(shots == shot)
        if frames[rows[0]] != np.flatnonzero(fit.shot_id == shot)[0]:
            cameras[rows] = cameras[rows] @ np.linalg.inv(cameras[rows[0]])
    return cameras


def _nearest_present(frame_of: np.ndarray, count: int) -> np.ndarray:
    """Find for each of `count` frames the nearest frame that `frame_of` maps to one."""
    present = np.flatnonzero(frame_of >= 0)
    return present[np.abs(frame_of[present][None] - np.arange(count)[:, None]).argmin(1)]


def _frame_of_each(path: Path | str, names: np.ndarray, numbers: np.ndarray, frames: FrameList) -> np.ndarray:
    """Find the position of a file's frames in `frames` by name, else by number. −1 for frames outside the range."""
    by_name = {_stem(name): row for row, name in enumerate(frames.names)}
    if any(_stem(name) in by_name for name in names):
        positions = np.array([by_name.get(_stem(name), -1) for name in names])
        partial = len(frames) < frames.total
        missing = [] if partial else [str(name) for name, row in zip(names, positions, strict=True) if row < 0]
    else:
        by_number = {int(number): row for row, number in enumerate(frames.numbers)}
        positions = np.array([by_number.get(int(number), -1) for number in numbers], int)
        missing = [
            str(name) or f"{number:06d}" for name, number in zip(names, numbers, strict=True) if number >= frames.total
        ]
    if missing or not (positions >= 0).any():
        unique = list(dict.fromkeys(missing))
        listed = ", ".join(unique[:_MAX_NAMES]) or "all"
        rest = f" … ({len(unique)} frames)" if len(unique) > _MAX_NAMES else ""
        raise InputError(
            path,
            f"has fits of frames that are not there: {listed}{rest}",
            got=f"{frames.total} frames, {frames.names[0]} to {frames.names[-1]}",
            remedy="give the frames that the fits were made of",
        )
    return positions


def _stem(name: object) -> str:
    """Strip folders and an image's suffix from a frame's name."""
    path = PurePath(str(name))
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def _refuse_size(path: Path | str, size: Any, frames: FrameList, frame: int) -> None:
    width, height = (round(float(side)) for side in size)
    got = "{} × {} ({})".format(*frames.sizes[frame], frames.names[frame])
    raise InputError(path, "belongs to images of another size", expected=f"{width} × {height}", got=got)


class _Cameras(NamedTuple):
    """The cameras of F frames, and the frame of each of N rows.

    Attributes:
        frames: The frames.
        frame: (N,) int. The frame of each row. −1 for rows that are left out.
        focal: (F,) pixels.
        centre: (F, 2) pixels. The principal points.
        world_to_camera: (F, 4, 4).
    """

    frames: FrameList
    frame: np.ndarray
    focal: np.ndarray
    centre: np.ndarray
    world_to_camera: np.ndarray


def _completed(path: Path, foreign: ForeignFits, body: Body, frames: FrameList | None, smplx: Any) -> Fit:
    """Make the record of another program's rows."""
    frames = frames or _frames_of_file(foreign)
    frame = _frame_of_each(path, foreign.names, foreign.frame, frames)
    rows = np.flatnonzero(frame >= 0)
    foreign, frame = _rows_of(foreign, rows), frame[rows]
    size = frames.sizes[frame].astype(float)
    for row in np.flatnonzero(np.isfinite(foreign.image_size).all(1) & (foreign.image_size != size).any(1))[:1]:
        _refuse_size(path, foreign.image_size[row], frames, int(frame[row]))
    focal = np.where(np.isfinite(foreign.focal), foreign.focal, np.hypot(*size.T))
    centre = np.where(np.isfinite(foreign.principal_point), foreign.principal_point, size / 2)
    for row in np.flatnonzero(((centre < 0) | (centre > size)).any(1))[:1]:
        _refuse_size(path, 2 * centre[row], frames, int(frame[row]))
    focal, centre = _frame_cameras(path, frames, frame, focal, centre)
    params = _parameters(foreign, body, smplx)
    world = np.tile(np.eye(4), (len(frames), 1, 1))
    if foreign.world_to_camera is not None:
        present = frames.numbers < len(foreign.world_to_camera)
        world[present] = foreign.world_to_camera[frames.numbers[present]]
    options = StoredOptions(program=foreign.program, upright=foreign.world_to_camera is not None)
    cameras = _Cameras(frames, frame, focal, centre, world)
    return _record(params, body, cameras, foreign.track, foreign.confidence, options)


def _rows_of(foreign: ForeignFits, rows: np.ndarray) -> ForeignFits:
    names = ("track", "frame", "names", "poses", "betas", "trans", "focal", "principal_point", "image_size")
    columns = {name: getattr(foreign, name)[rows] for name in (*names, "confidence")}
    joints = None if foreign.joints is None else foreign.joints[rows]
    return replace(foreign, **columns, joints=joints)


def _frames_of_file(foreign: ForeignFits) -> FrameList:
    """List the frames as the file itself describes them."""
    size = np.where(np.isfinite(foreign.image_size), foreign.image_size, np.round(2 * foreign.principal_point))
    if not np.isfinite(size).all():
        problem = f"are missing: {foreign.program}'s file does not hold their size"
        raise UsageError("frames", problem, expected="--frames")
    count = max(foreign.frame_count or 0, int(foreign.frame.max()) + 1)
    sizes = np.tile(size[0], (count, 1))
    sizes[foreign.frame] = size
    names = np.array([f"{number:06d}" for number in range(count)], dtype=object)
    has_name = foreign.names != ""
    names[foreign.frame[has_name]] = foreign.names[has_name]
    return FrameList(np.arange(count), names.astype(str), sizes.astype(int), 0.0, True, count)


def _frame_cameras(
    path: Path, frames: FrameList, frame: np.ndarray, focal: np.ndarray, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find focal lengths (F,) and principal points (F, 2). Frames without people copy the nearest frame."""
    rows = np.concatenate((focal[:, None], centre), 1)
    present = np.unique(frame)
    first = np.array([np.flatnonzero(frame == f)[0] for f in present])
    for row, of_frame in enumerate(rows[first][np.searchsorted(present, frame)]):
        if np.abs(rows[row] - of_frame).max() > 0.5:
            got = f"focal lengths {of_frame[0]:.0f} and {rows[row][0]:.0f} in {frames.names[frame[row]]}"
            raise InputError(path, "has people of one image with different cameras", got=got)
    nearest = first[np.abs(present[None] - np.arange(len(frames))[:, None]).argmin(1)]
    return rows[nearest, 0], rows[nearest, 1:]


def _parameters(foreign: ForeignFits, body: Body, smplx: Any) -> BodyParams:
    if foreign.model == "smpl":
        return BodyParams(foreign.poses, foreign.betas, foreign.trans)
    if foreign.model == "smplx":
        return smplx_to_smpl(Path(smplx), BodyParams(foreign.poses, foreign.betas, foreign.trans), body)
    assert foreign.joints is not None
    joint_fit = fit_joints(body, foreign.joints, BLAZEPOSE33, shared_shape=False)
    return BodyParams(joint_fit.poses, joint_fit.betas, joint_fit.trans)


def _record(
    params: BodyParams,
    body: Body,
    cameras: _Cameras,
    track: np.ndarray,
    confidence: np.ndarray,
    options: StoredOptions,
) -> Fit:
    frames, frame, count = cameras.frames, cameras.frame, len(cameras.frame)
    joints3d, joints2d, boxes = (np.concatenate(parts) for parts in zip(*_drawn(params, body, cameras), strict=True))
    tracks = np.where(track >= 0, track, _linked(frames, frame, boxes))
    gender = body.name.partition("-")[2] or "neutral"
    fit = Fit.build(
        track_id=tracks,
        frame_index=frame,
        interpolated=np.zeros(count, bool),
        frame_names=frames.names,
        shot_id=np.zeros(len(frames)) if frames.sequence else np.arange(len(frames)),
        image_size=frames.sizes,
        focal=cameras.focal,
        principal_point=cameras.centre,
        world_to_camera=cameras.world_to_camera,
        poses=params.poses,
        betas=params.betas,
        trans=params.trans,
        segment_scales=np.ones((count, len(SMPL24))),
        joints3d=joints3d,
        joints2d=joints2d,
        keypoints2d=np.zeros((count, len(BLAZEPOSE33), 3)),
        boxes=boxes,
        confidence=confidence,
        joint_confidence=np.tile(confidence[:, None], (1, len(SMPL24))),
        reprojection_error=np.zeros(count),
        frame_rate=frames.frame_rate,
        gender=gender,
        body=body.name,
        options=options,
    )
    return replace(fit, model=body)


def _drawn(params: BodyParams, body: Body, cameras: _Cameras) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the joints in space and in the image, and the boxes of the meshes, chunk by chunk."""
    tensors = params.tensors()
    for start in range(0, len(cameras.frame), _CHUNK):
        rows = slice(start, start + _CHUNK)
        with torch.no_grad():
            part = tensors.rows(rows)
            posed_body = body.pose(part.rotations, part.betas, part.trans)
        frame = cameras.frame[rows]
        view = Camera(cameras.focal[frame], cameras.centre[frame], (0, 0))
        joints = posed_body.joints.numpy()
        outline = view.project(posed_body.surface.numpy())
        limit = cameras.frames.sizes[frame].astype(float)
        boxes = np.concatenate((outline.min(1).clip(0, limit), outline.max(1).clip(0, limit)), 1)
        yield joints, view.project(joints), boxes


def _linked(frames: FrameList, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Assign numbers to people (N,) without any: by overlapping boxes in sequences, else one per row."""
    if not frames.sequence:
        return np.arange(len(frame))
    track, assigner = np.zeros(len(frame), np.int64), TrackAssigner()
    for number in range(len(frames)):
        rows = np.flatnonzero(frame == number)
        track[rows] = assigner.assign([without_body(box, 1.0, "") for box in boxes[rows]]).track_ids
    return track


def _amass(path: Path, body: Body, frames: FrameList | None, camera: Path | str | None) -> Fit:
    """Read one person's motion in the world before the cameras that `camera` describes."""
    motion = read_rotations(path, "camera")
    poses = read_npz(path, {"poses"}).get("poses")
    if body.name == "default" and (poses is None or poses[0].size != 72):
        problem = "holds SMPL parameters of a motion"
        raise UsageError(path, problem, expected="SMPL's model file", remedy="give `body` smpl:FILE")
    if motion.person is not None:
        raise InputError(path, "has an axis of people", expected="one person's motion, (T, 66 or more)")
    if camera is None:
        expected = "--camera FILE with focal and world_to_camera"
        raise UsageError(path, "holds a motion that has no camera", expected=expected)
    upright = True
    if _is_fit_file(Path(camera)):
        fit = load_fit(camera)
        cameras, upright = _before_fit(path, len(motion), fit, frames), bool(fit.options.upright)
    else:
        cameras = _before_cameras(path, motion, camera, frames)
    rows = np.flatnonzero(cameras.frame >= 0)
    cameras, world = cameras._replace(frame=cameras.frame[rows]), cameras.world_to_camera
    params, to_camera = motion.params.rows(rows), world[cameras.frame]
    rest_pelvis = body.rest_pelvis(torch.from_numpy(np.array(params.betas, np.float32)))
    params = params.in_axes(to_camera[:, :3, :3], to_camera[:, :3, 3], rest_pelvis)
    world[:, :3, :3] = world[:, :3, :3] @ AXES["z-up"].T  # a fit's world is y down
    options = StoredOptions(program="AMASS", upright=upright)
    return _record(params, body, cameras, np.zeros(len(rows), int), np.ones(len(rows)), options)


def _before_cameras(path: Path, motion: RotationTarget, camera: Path | str, frames: FrameList | None) -> _Cameras:
    """Place a motion before the cameras of a file, which has them for all frames."""
    camera_file, count = read_npz(camera), len(motion)
    missing = sorted({"focal", "world_to_camera"} - camera_file.keys())
    if missing:
        raise InputError(camera, f"lacks {', '.join(missing)}", expected="an .npz with focal and world_to_camera")
    if frames is None:
        if "image_size" not in camera_file:
            raise UsageError("frames", "are missing: the camera's file has no image_size", expected="--frames")
        names = np.array([f"{number:06d}" for number in range(count)])
        sizes = _per_frame(camera, "image_size", camera_file["image_size"], (2,), count).astype(int)
        frames = FrameList(np.arange(count), names, sizes, motion.frame_rate or 0.0, True, count)
    frame = _frame_of_each(path, np.full(count, ""), np.arange(count), frames)
    focal = _per_frame(camera, "focal", camera_file["focal"], (), frames.total)[frames.numbers]
    centre = frames.sizes / 2.0
    if "principal_point" in camera_file:
        centre = _per_frame(camera, "principal_point", camera_file["principal_point"], (2,), frames.total)[
            frames.numbers
        ]
    world = _per_frame(camera, "world_to_camera", camera_file["world_to_camera"], (4, 4), frames.total)[frames.numbers]
    return _Cameras(frames, frame, focal, centre, world)


def _before_fit(path: Path, count: int, fit: Fit, frames: FrameList | None) -> _Cameras:
    """Place a motion of `count` frames before the cameras of the fit from which it was exported."""
    rows_of_tracks = [fit.held_rows(track) for track in fit.tracks]
    spans = [(0, fit.frame_count), *((int(fit.frame_index[rows[0]]), len(rows)) for rows in rows_of_tracks)]
    starts = list(dict.fromkeys(start for start, length in spans if length == count))
    if len(starts) != 1:
        problem = "is a motion whose frames the fit does not identify"
        expected = f"{' or '.join(map(str, sorted({length for _, length in spans})))} frames"
        remedy = "give `camera` the fit that the motion was exported from"
        raise InputError(path, problem, expected=expected, got=f"{count} frames", remedy=remedy)
    if frames is None:
        numbers = np.arange(fit.frame_count)
        frames = FrameList(numbers, fit.frame_names, fit.image_size, fit.frame_rate, True, fit.frame_count)
    of_fit = _frame_of_each(path, fit.frame_names, np.arange(fit.frame_count), frames)
    nearest = _nearest_present(of_fit, len(frames))
    world = _world_of_motion(path, count, fit, starts[0])[nearest]
    focal, centre = (values[nearest].astype(np.float64) for values in (fit.focal, fit.principal_point))
    return _Cameras(frames, of_fit[starts[0] : starts[0] + count], focal, centre, world)


def _world_of_motion(path: Path, count: int, fit: Fit, start: int) -> np.ndarray:
    """Compute (C, 4, 4) from the z-up world of a motion that begins at frame `start` to each of a fit's cameras."""
    of_fit = fit.world_to_camera.astype(np.float64)
    world_to_camera = read_npz(path, {"world_to_camera"}).get("world_to_camera")
    if world_to_camera is None:
        of_fit[:, :3, :3] = of_fit[:, :3, :3] @ AXES["z-up"]
        return of_fit
    world_to_camera = _per_frame(path, "world_to_camera", world_to_camera, (4, 4), count)
    row = (np.arange(fit.frame_count) - start).clip(0, count - 1)
    return of_fit @ np.linalg.inv(of_fit[start + row]) @ world_to_camera[row]


def _per_frame(path: Path | str, name: str, values: np.ndarray, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Broadcast one value for all frames, or a value per frame, to (count, *shape) float64."""
    if values.dtype.kind not in "fiu" or values.shape not in (shape, (1, *shape), (count, *shape)):
        raise InputError(
            path, f"{name} has the wrong shape", expected=f"{shape} or {(count, *shape)}", got=str(values.shape)
        )
    if name == "image_size":
        check_image_sizes(values.reshape(-1, 2), path)
    else:
        check_limits(name, values.reshape(-1, *shape), path)
    return np.broadcast_to(values.reshape(-1, *shape), (count, *shape)).astype(np.float64)
