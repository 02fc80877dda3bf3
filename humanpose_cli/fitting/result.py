"""The result of a fit: pose and shape of all people, with methods to draw, save and convert them.

fit = hp.fit("photo.jpg")
fit.people[0].joints3d            # (1, 24, 3) metres, camera axes
fit.overlay()                     # (H, W, 3) uint8, the bodies drawn over the photograph
fit.save("photo.fit.npz")
"""

from __future__ import annotations

import base64
import html
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch

from humanpose_cli.avatar.frame_texture import texture_path, texture_png
from humanpose_cli.avatar.look import Look, look_arrays, look_path, rows_digest
from humanpose_cli.body.body import Body, default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.doubt import doubts_of_tracks
from humanpose_cli.fitting.labels import PeopleLabels
from humanpose_cli.fitting.options import OverlayLabels
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE, overlay_image, overlay_video
from humanpose_cli.fitting.times_between import TimesBetween
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.fit_files import FitRecord, fit_bytes, read_fit
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.frame_files import FrameFiles
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.image_sequences import numbered_paths
from humanpose_cli.io.images import ImageWriter, encode_image, write_image
from humanpose_cli.io.inputs import Frame, InputItem
from humanpose_cli.io.pose_files.target_pose import AXES
from humanpose_cli.io.video import VideoCodec, VideoWriter
from humanpose_cli.outputs.atomic import npz_bytes, removed_on_failure, write_files

_PREVIEW = 640  # longer side in pixels of the overlay that a notebook shows
_MAX_SCALE_DIFFERENCE = 1e-6  # between the segments of a body that is scaled as a whole
_BODY_POSE = 3 * SMPL24.index("left_hand")  # numbers of a pose before those of the hands
_MAX_LISTED = 12  # people that a notebook lists
_MIN_DEPTH = 0.1  # metres before a camera, of joints that it shows
_MAX_PIXEL = 1e6  # coordinates of joints are clipped to this


@dataclass(frozen=True, eq=False)
class FrameSource:
    """A source from which a fit's frames can be read again.

    Attributes:
        items: Independent images, one a frame, or a single image or sequence.
        array: (F, H, W, 3) uint8. The frames themselves, in place of `items`.
        order: The fit's frames as rising numbers of the source's frames. None: all frames.
    """

    items: tuple[InputItem, ...] = ()
    array: np.ndarray | None = None
    order: tuple[int, ...] | None = None

    @property
    def is_sequence(self) -> bool:
        """Whether the frames follow each other in time."""
        return len(self.array) > 1 if self.array is not None else len(self.items) == 1 and self.items[0].is_sequence

    @property
    def sound(self) -> Path | None:
        """The video that the frames come from. None for other sources."""
        return self.items[0].path if len(self.items) == 1 and self.items[0].kind == "video" else None

    def part(self, start: int, stop: int) -> FrameSource:
        """Restrict the source to frames start ≤ i < stop."""
        if self.array is not None:
            return FrameSource(array=self.array[start:stop])
        if not self.is_sequence:
            return FrameSource(self.items[start:stop])
        first, step = self.items[0].range.start, self.items[0].range.step
        part = FrameRange(first + start * step, first + (stop - 1) * step + 1, step)
        return FrameSource((replace(self.items[0], range=part),))

    def frames(self) -> Generator[Frame, None, None]:
        """Yield all frames in order. Close the generator to stop early."""
        if self.order is not None:
            yield from self._in_order(self.order)
        elif self.array is not None:
            yield from (Frame(index, f"{index:06d}", pixels) for index, pixels in enumerate(self.array))
        else:
            for item in self.items:
                with closing(item.frames()) as frames:
                    yield from frames

    def _in_order(self, order: tuple[int, ...]) -> Generator[Frame, None, None]:
        with closing(replace(self, order=None).frames()) as frames:
            numbers = set(order)
            for position, frame in zip(range(max(order, default=-1) + 1), frames, strict=False):
                if position in numbers:
                    yield replace(frame, time=None)

    def frame(self, index: int) -> np.ndarray:
        """Read one frame of the fit.

        Args:
            index: The number of the frame in the fit.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            InputError: If the file no longer exists.
        """
        if self.order is not None:
            return replace(self, order=None).frame(self.order[index])
        if self.array is not None:
            return self.array[index]
        item = self.items[index if len(self.items) > 1 else 0]
        if item.is_sequence:
            item = self.part(index, index + 1).items[0]
        with closing(item.frames(ahead=0)) as frames:
            return next(frames).pixels


@dataclass(frozen=True, eq=False)
class FitPerson:
    """One person (track) of a fit, in all frames that show the person: R rows.

    Attributes:
        fit: The fit that holds the person.
        id: The track's number. In an image, 0 is the largest person.
    """

    fit: Fit
    id: int

    @property
    def name(self) -> str:
        """The person's name, such as `person 0`."""
        return f"person {self.id}"

    @property
    def rows(self) -> np.ndarray:
        """(R,) int. The rows of the fit's columns that belong to the person."""
        return self.fit.rows_of(self.id)

    def _median(self, values: np.ndarray) -> float:
        """Return the median over the rows that were detected, else over all rows."""
        rows = self.rows
        detected_rows = rows[~self.fit.interpolated[rows]]
        return float(np.median(values[detected_rows if len(detected_rows) else rows]))

    @property
    def frames(self) -> np.ndarray:
        """(R,) int. The frame of each row."""
        return self.fit.frame_index[self.rows]

    @property
    def joints3d(self) -> np.ndarray:
        """(R, 24, 3) float32, metres in camera axes. The joints in the order of `Fit.joint_names`."""
        return self.fit.joints3d[self.rows]

    def joint(self, name: str) -> np.ndarray:
        """Return one joint of the person.

        Args:
            name: The name of a joint, such as "left_wrist".

        Returns:
            (R, 3) float32, metres in camera axes.

        Raises:
            UsageError: If there is no such joint. The message lists the names.
        """
        names = self.fit.joint_names
        if name not in names:
            raise UsageError("joint", "is not known", expected=", ".join(names), got=str(name))
        return self.joints3d[:, names.index(name)]

    @property
    def joints2d(self) -> np.ndarray:
        """(R, 24, 2) float32, pixels. The joints in the image."""
        return self.fit.joints2d[self.rows]

    @property
    def confidence(self) -> float:
        """0 to 1. The median over the frames that the person was detected in."""
        return self._median(self.fit.confidence)

    @property
    def reprojection_error(self) -> float:
        """Pixels. The median over the frames that the person was detected in."""
        return self._median(self.fit.reprojection_error)

    @property
    def doubt(self) -> str:
        """Why the fit is probably wrong in most frames, such as "hips not visible". "" if it is not doubtful."""
        return doubts_of_tracks(self.fit)[self.id]

    def __repr__(self) -> str:
        frames = f"{len(self.rows)} frames" if self.fit.frame_count > 1 else "1 frame"
        doubt = f", doubtful: {self.doubt}" if self.doubt else ""
        error = f"error {self.reprojection_error:.1f} px"
        return f"<{self.name}: {frames}, confidence {self.confidence:.2f}, {error}{doubt}>"


@dataclass(frozen=True, eq=False, repr=False)
class Fit(FitRecord):
    """Pose and shape of all people in an image, a sequence or a take of several cameras.

    The columns are described at `FitRecord`. `hp.fit`, `hp.load_fit` and `hp.read_fits` return a `Fit`.

    Attributes:
        detections: The detections of one image, row by row. () for sequences.
        sources: Where the frames of each camera can be read, None where unknown. () for a fit read from a file.
        model: The body that was fitted. None for a fit read from a file.
        textures: Track to (512, 512, 4) uint8, colour and confidence. {} if the fit is not refined or was read from a
            file, next to which the textures lie.
        looks: Track to the person's look (body with clothes), as `hpc fit --textures` and `hpc refine` make it. {} for
            a fit read from a file.
        path: The file that the fit was read from.
    """

    detections: tuple[DetectedPerson, ...] = ()
    sources: tuple[FrameSource | None, ...] = ()
    model: Body | None = None
    textures: Mapping[int, np.ndarray] = field(default_factory=dict)
    looks: Mapping[int, Look] = field(default_factory=dict)
    path: Path | None = None

    @property
    def images(self) -> FrameSource | None:
        """The frames of the first camera, which are the fit's frames. None for a fit read from a file."""
        source = next(iter(self.sources), None)
        if source is None or len(self.sources) == 1 or not source.is_sequence:
            return source
        return source.part(0, self.frame_count)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The names of the 24 joints of `joints3d` and `joints2d`, in order."""
        return SMPL24.joint_names

    @property
    def people(self) -> tuple[FitPerson, ...]:
        """The people of the fit in the order of their ids."""
        return tuple(FitPerson(self, track) for track in self.tracks)

    def select(self, rows: np.ndarray | Sequence[int]) -> Fit:
        """Restrict the fit to some rows. All frames remain.

        Args:
            rows: Indices or a mask of rows. Their order does not matter.
        """
        indices = np.sort(np.arange(len(self))[np.asarray(rows)]) if len(rows) else np.zeros(0, int)
        detections = tuple(self.detections[row] for row in indices) if self.detections else ()
        return replace(super().select(rows), detections=detections)

    def shown_by(self, view: int) -> np.ndarray:
        """Return the rows that one camera shows, in the frames that it filmed.

        Args:
            view: The number of the camera.

        Returns:
            (R,) int.
        """
        camera = self.cameras[view]
        joints = camera.see(self.joints3d, self.frame_index)
        pixels = camera.lens.project(joints)
        in_front = joints[..., 2] > _MIN_DEPTH
        inside = (in_front & (pixels >= 0).all(-1) & (pixels < camera.lens.size).all(-1)).any(1) | camera.shows
        return np.flatnonzero(np.isin(self.frame_index, camera.frames) & in_front.all(1) & inside)

    def view(self, view: int | str) -> Fit:
        """Return the fit of one camera, as if there were no others.

        It is in the axes of that camera, with the rows that the camera shows and the camera's own frames. A fit of one
        camera has one view, which is the fit itself.

        Args:
            view: The number or the name of the camera.

        Raises:
            InputError: If there is no such camera, or it did not film at the same time as the first one.
        """
        names = [camera.name for camera in self.cameras]
        number = names.index(view) if view in names else int(view) if str(view).isdecimal() else len(names)
        if number >= len(names):
            raise InputError("view", f"there is no {view}", expected=", ".join(names))
        frames = self.cameras[number].frames
        count = len(frames)
        if not count:
            raise InputError(names[number], "has no frame at the times of the first camera's")
        if len(names) == 1:
            return self
        part = self.select(self.shown_by(number))
        camera = part.cameras[number]
        source = self.camera_sources[number]
        matrix = camera.to_camera(part.frame_index)
        joints = camera.see(part.joints3d, part.frame_index)
        pixels = camera.lens.project(joints)
        rest_pelvis = part.joints3d[:, SMPL24.index("pelvis")].astype(np.float64) - part.trans
        params = BodyParams(part.poses, part.betas, part.trans)
        params = params.in_axes(matrix[..., :3, :3], matrix[..., :3, 3], rest_pelvis)
        inside = np.clip(pixels, 0, camera.lens.size)
        boxes = np.concatenate((inside.min(1), inside.max(1)), 1)
        return replace(
            part,
            views=None,
            sources=() if source is None else (replace(source, order=tuple(camera.frame[frames].tolist())),),
            frame_files=self.frame_files[number : number + 1],
            clothes={},
            detections=(),
            frame_names=camera.frame_names[frames],
            frame_times=None if self.frame_times is None else self.frame_times[frames] - self.frame_times[frames[0]],
            frame_rate=self.frame_rate * (count - 1) / float(frames[-1] - frames[0]) if count > 1 else self.frame_rate,
            frame_index=np.searchsorted(frames, part.frame_index).astype(np.int32),
            shot_id=self.shot_id[frames],
            image_size=camera.image_size[frames],
            focal=camera.focal[frames],
            principal_point=camera.principal_point[frames],
            world_to_camera=camera.world_to_camera[frames].astype(np.float32),
            poses=params.poses.astype(np.float32),
            trans=params.trans.astype(np.float32),
            joints3d=joints.astype(np.float32),
            joints2d=pixels.clip(-_MAX_PIXEL, _MAX_PIXEL).astype(np.float32),
            keypoints2d=camera.keypoints2d,
            boxes=np.where(camera.shows[:, None], camera.boxes, boxes).astype(np.float32),
            reprojection_error=camera.reprojection_error,
            ground=None,
            focal_people=None,
            options=_options_of_view(self.options, part, frames),
        )

    def body_model(self, body: Body | None = None) -> Body:
        """Return the body of the fit.

        Args:
            body: A body that is returned in place of the fit's.

        Raises:
            UnavailableError: If the fit was read from a file with an SMPL body, which must be passed as `body`.
        """
        model = body or self.model or (default_body() if self.body == "default" else None)
        if model is None:
            raise UnavailableError(
                "body", f"{self.body} is not loaded", remedy='pass `body`, such as hp.load_body("smpl:FILE")'
            )
        return model

    def overlay(
        self,
        frame: int = 0,
        *,
        image: np.ndarray | None = None,
        body: Body | None = None,
        labels: OverlayLabels = "ids",
        dressed: bool = False,
    ) -> np.ndarray:
        """Draw one frame with the people's bodies over it.

        Args:
            frame: The number of the frame.
            image: (H, W, 3) uint8 RGB. The frame, if the fit was read from a file or its source no longer exists.
            body: The body of the fit. Needed for SMPL fits that were read from files.
            labels: "ids" writes the people's numbers, "reasons" also a strip below that says why a fit is doubtful,
                "none" nothing. A doubtful fit is marked `3?`.
            dressed: Draw people that have a look in `looks` with their clothes.

        Returns:
            (H, W, 3) uint8 RGB. Larger with "reasons".

        Raises:
            UsageError: If the frame does not exist, or no pixels are known.
            InputError: If `image` is not the frame that was fitted.
        """
        if not 0 <= frame < self.frame_count:
            raise UsageError("frame", "is not in the fit", expected=f"0 to {self.frame_count - 1}", got=str(frame))
        if image is None and self.images is None:
            raise UsageError("image", "is missing: a fit file holds no pixels", remedy="pass the frame as `image`")
        pixels = self.images.frame(frame) if image is None and self.images is not None else np.asarray(image)
        width, height = self.image_size[frame].tolist()
        if pixels.shape != (height, width, 3) or pixels.dtype != np.uint8:
            got = f"{pixels.shape} {pixels.dtype}"
            raise InputError(
                "image", "is not the frame that was fitted", expected=f"({height}, {width}, 3) uint8", got=got
            )
        model = self.body_model(body)
        people_labels = self._labels(labels)
        looks = self.looks if dressed else {}
        image = overlay_image(model, self, pixels, frame, labels=people_labels, looks=looks)
        return people_labels.with_reasons(image, frame) if people_labels and labels == "reasons" else image

    @cached_property
    def _people_labels(self) -> PeopleLabels:
        return PeopleLabels(self)

    def _labels(self, kind: OverlayLabels) -> PeopleLabels | None:
        if kind not in get_args(OverlayLabels):
            raise UsageError("labels", "is not known", expected=", ".join(get_args(OverlayLabels)), got=str(kind))
        return None if kind == "none" else self._people_labels

    @property
    def camera_sources(self) -> tuple[FrameSource | None, ...]:
        """The frame source of each camera. None where it is unknown."""
        return self.sources or (None,) * len(self.cameras)

    @property
    def current_frame_files(self) -> tuple[FrameFiles, ...]:
        """The files that hold the frames, one entry per camera: the files of `sources` if known, else `frame_files`."""
        files = [
            FrameFiles.from_items(source.items) for source in self.camera_sources if source is not None and source.items
        ]
        return tuple(files) if len(files) == len(self.cameras) else self.frame_files

    def save(self, path: Path | str) -> Path:
        """Write the fit file and, next to it, textures and looks. All files are written, or none.

        Args:
            path: The fit file, such as "photo.fit.npz". `hp.load_fit` reads it.

        Returns:
            The path.
        """
        path = Path(path)
        record = replace(self, frame_files=self.current_frame_files)
        images = {texture_path(path, track): texture_png(image, self.body) for track, image in self.textures.items()}
        for track, look in self.looks.items():
            arrays = look_arrays(look, self.body, self.rows_digest(track))
            images[look_path(path, track)] = npz_bytes(arrays)
        with removed_on_failure([*images]):
            write_files({**images, path: fit_bytes(record, path.parent)})
        return path

    def rows_digest(self, track: int) -> str:
        """Return a digest of a track's rows, by which a look is assigned to this fit."""
        rows = self.rows_of(track)
        return rows_digest((self.frame_index[rows], self.poses[rows], self.betas[rows], self.trans[rows]))

    def save_overlay(
        self,
        path: Path | str,
        progress: Progress = no_progress,
        *,
        video_codec: VideoCodec = "h264",
        labels: OverlayLabels = "ids",
        dressed: bool = False,
    ) -> Path:
        """Write the overlay of an image as an image, or of a sequence as a video with its sound, or numbered images.

        Args:
            path: The file to write, or the numbered pattern (f_%04d.jpg) of the frames' numbers.
            progress: A function that is called with (done, total or None, unit).
            video_codec: The codec of a video.
            labels: See `overlay`.
            dressed: See `overlay`.

        Returns:
            The path.

        Raises:
            UsageError: If the fit was read from a file. Pass each frame to `overlay` instead.
        """
        if self.images is None:
            raise UsageError("fit", "holds no pixels", remedy="pass each frame to `overlay` as `image`")
        path = Path(path)
        if not self.images.is_sequence:
            write_image(path, self.overlay(labels=labels, dressed=dressed))
            return path
        body = self.body_model()
        rate = self.frame_rate or DEFAULT_FRAME_RATE
        writer: VideoWriter | ImageWriter = VideoWriter(path, rate, sound=self.images.sound, codec=video_codec)
        if len(files := numbered_paths(path, self.frame_numbers.tolist())) > 1:
            writer = ImageWriter(files)
        with closing(self.images.frames()) as frames, writer as video:
            overlay_video(
                body,
                self,
                frames,
                video,
                progress,
                labels=self._labels(labels),
                reasons=labels == "reasons",
                looks=self.looks if dressed else {},
            )
        return path

    def to_amass(self, track: int | None = None, *, body: Body | None = None) -> dict[str, np.ndarray]:
        """Convert one person's motion to the arrays that AMASS stores, in a z-up world.

        Frames without the person, between the first and the last with it, repeat the last pose. If the frames are not
        evenly spaced in time, the motion is interpolated at the fit's frame rate.

        Args:
            track: The number of the person. None: the largest person.
            body: The body of the fit. Needed for SMPL fits that were read from files.

        Returns:
            `poses` (T, 72) radians: pelvis, the 21 joints that SMPL-H and SMPL-X share with SMPL, and two hands; of a
            fit with hands (T, 156): the same 22 joints, then the fingers of both hands in the order of SMPL-H.
            Its parts as `root_orient` (T, 3), `pose_body` (T, 63) and, with hands, `pose_hand` (T, 90). `trans` (T, 3)
            metres. `betas` (S,). `gender`. The rate, by the names of both generations of AMASS, `mocap_framerate` and
            `mocap_frame_rate`. And `world_to_camera` (T, 4, 4), which AMASS does not have: from the z-up world to the
            camera of each frame.

        Raises:
            UsageError: If there is no such person.
        """
        number = self.largest_track if track is None else track
        rows = self.rows_of(number)
        if not len(rows):
            raise UsageError("track", f"there is no person {number}", expected=", ".join(map(str, self.tracks)))
        rows_of_frames = self.held_rows(number)
        first = self.frame_index[rows[0]]
        world_to_camera = self.world_to_camera[first : first + len(rows_of_frames)].astype(np.float64)
        turn = AXES["z-up"].T @ world_to_camera[:, :3, :3].transpose(0, 2, 1)
        betas = self.betas[rows].mean(0)
        with torch.no_grad():
            rest_pelvis = self.body_model(body).rest_pelvis(torch.from_numpy(betas)[None])[0].numpy()
        # AMASS has no sizes beside betas. A body that is scaled as a whole looks the same nearer or farther away.
        scales = self.segment_scales[rows_of_frames]
        size = np.where(np.ptp(scales, axis=1) < _MAX_SCALE_DIFFERENCE, scales[:, 0], 1.0)[:, None]
        pelvis = self.joints3d[rows_of_frames, SMPL24.index("pelvis")] / size
        params = BodyParams(self.poses[rows_of_frames], betas, pelvis - rest_pelvis)
        origin = -(turn @ world_to_camera[:, :3, 3:])[..., 0]
        params = params.in_axes(turn, origin, rest_pelvis)
        world_to_camera[:, :3, :3] = turn.transpose(0, 2, 1)
        poses = params.poses
        if self.hand_poses is not None:
            poses = np.concatenate((poses[:, :_BODY_POSE], self.hand_poses[rows_of_frames].reshape(len(poses), -1)), 1)
        trans = params.trans
        if self.frame_times is not None and self.frame_rate:
            times = TimesBetween.evenly(self.frame_times[first : first + len(rows_of_frames)], self.frame_rate)
            poses, trans, world_to_camera = times.motion(poses, trans, world_to_camera)
        hands = {"pose_hand": poses[:, _BODY_POSE:]} if self.hand_poses is not None else {}
        return {
            "poses": poses,
            "root_orient": poses[:, :3],
            "pose_body": poses[:, 3:_BODY_POSE],
            **hands,
            "trans": trans,
            "betas": betas.astype(np.float64),
            "gender": np.array(self.gender),
            **dict.fromkeys(("mocap_framerate", "mocap_frame_rate"), np.array(self.frame_rate or 1.0)),
            "world_to_camera": world_to_camera,
        }

    def __repr__(self) -> str:
        return f"<Fit: {_count(len(self.tracks), 'person', 'people')} in {_count(self.frame_count, 'frame', 'frames')}>"

    def _repr_html_(self) -> str:
        """Show a small table and the overlay of the first frame in a notebook."""
        rows = [
            (p.name, str(len(p.rows)), f"{p.confidence:.2f}", f"{p.reprojection_error:.1f}", p.doubt)
            for p in self.people[:_MAX_LISTED]
        ]
        heading = ("", "frames", "confidence", "error (pixels)", "doubtful")
        lines = [_html_row("th", heading), *(_html_row("td", row) for row in rows)]
        if len(self.tracks) > _MAX_LISTED:
            lines.append(_html_row("td", (f"… and {len(self.tracks) - _MAX_LISTED} more", "", "", "", "")))
        summary = f"<div>{html.escape(repr(self)[1:-1])}</div><table>{''.join(lines)}</table>"
        try:
            image = self.overlay()
        except (InputError, UsageError, UnavailableError) as error:
            return summary + f"<div>{html.escape(str(error))}</div>"
        scale = min(1.0, _PREVIEW / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        png = base64.b64encode(encode_image(small, ".png")).decode("ascii")
        return summary + f'<img alt="overlay" src="data:image/png;base64,{png}">'


def _options_of_view(options: StoredOptions, visible_fit: FitRecord, frames_of_view: np.ndarray) -> StoredOptions:
    """Restrict a take's report of its refinement to the rows and frames of one camera."""
    view_options = replace(options, of_take=True)
    report = options.refinement
    if report is None:
        return view_options
    tracks = {}
    for track in visible_fit.tracks:
        frames = visible_fit.frame_index[visible_fit.rows_of(track)]
        columns = report["tracks"][str(track)]
        rows = np.flatnonzero(np.isin(columns["frames"], frames))
        tracks[str(track)] = {name: [values[row] for row in rows] for name, values in columns.items()}
        tracks[str(track)]["frames"] = np.searchsorted(frames_of_view, frames).tolist()
    return replace(view_options, refinement={**report, "tracks": tracks})


def load_fit(path: Path | str) -> Fit:
    """Read a fit file.

    A fit file holds no pixels: pass frames to `Fit.overlay` as `image`.

    Args:
        path: The fit file, such as "photo.fit.npz".

    Raises:
        InputError: If the file is missing, damaged, or not a fit file.
    """
    record = read_fit(path)
    return Fit(**{name: getattr(record, name) for name in FitRecord.__dataclass_fields__}, path=Path(path))


def fit_of(fit: Fit | str | Path) -> Fit:
    """Return a fit, or read it if a path is given.

    Raises:
        UsageError: If `fit` is neither a `Fit` nor a path.
    """
    if isinstance(fit, str | Path):
        return load_fit(fit)
    if not isinstance(fit, Fit):
        raise UsageError("fit", "is not a fit", expected="a Fit, or the path of a fit file", got=type(fit).__name__)
    return fit


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"


def _html_row(tag: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
