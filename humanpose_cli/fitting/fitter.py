"""Bodies of everybody in images and sequences: detection, keypoint fit and fit record in one.

with Fitter(people="largest") as fitter:
    for path in paths:
        print(fitter.fit(path).joints3d)              # (N, 24, 3) metres, camera axes
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.device import ComputeOptions, Precision, resolve_device
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.options import explained
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.camera_motion import CameraMotion
from humanpose_cli.detect.linking import TrackLinker
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.detection_journal import DetectionJournal
from humanpose_cli.fitting.evidence import distance_of
from humanpose_cli.fitting.keypoints import KeypointFit, fit_keypoints
from humanpose_cli.fitting.networks import Estimates, PeopleNetwork, fit_of_estimates
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.options import (
    DetectorMode,
    EvidenceFiles,
    FitMethod,
    FitOptions,
    KeypointFitOptions,
    NetworkOptions,
    PeopleChoice,
)
from humanpose_cli.fitting.people import PeopleSource, find_people
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.records import FrameCamera, TrackedPerson, empty_record, fit_record, joined, motions
from humanpose_cli.fitting.result import Fit, FrameSource
from humanpose_cli.io.frame_range import FrameRange, parse_range
from humanpose_cli.io.inputs import Frame, InputItem, open_inputs
from humanpose_cli.io.video import VideoCodec, prefetch
from humanpose_cli.models.nbf.network import BodyEstimate
from humanpose_cli.version import __version__

Source: TypeAlias = "str | Path | Sequence[str | Path] | np.ndarray | InputItem"
"""What can be fitted: a path, paths of images, or (H, W, 3) or (T, H, W, 3) uint8 RGB."""


_USUAL_RATE = 30.0  # frames a second, of sequences that do not say
_CLOCK_ERROR = 0.1  # of an interval: how far the times of even frames are off
_TOGETHER, _TOGETHER_ON_GPU = 16, 64  # images: with more, little is gained and the first result comes late
_NO_EVIDENCE = 1e3  # metres: noise of what was not observed
# Metres. Photographs are seldom taken from nearer, but by telephones, which tell their lens. A head and shoulders taken
# through a long lens and read as through a usual one are at arm's length, where whatever moves becomes huge.
_LEAST_DISTANCE = 2.0
IMAGE_STEPS = 3  # of one image: finding people, fitting bodies, and drawing


@explained(FitOptions, NetworkOptions, EvidenceFiles, ComputeOptions)
class Fitter:
    """Fits bodies to images and sequences; loads its models once; a context manager.

    options        all of `FitOptions` at once; what else is given goes before it
    people_source  finds the people, in place of our detector
    refine         what is done to a fit before it is given back, such as `Refiner.refine_own`
    `body` may also be a `Body`. `batch_size` is 64 independent images on a GPU and 16 on the CPU by default.
    """

    def __init__(
        self,
        options: FitOptions | None = None,
        *,
        people: PeopleChoice | None = None,
        method: FitMethod | None = None,
        body: str | Body | None = None,
        detector: DetectorMode | None = None,
        focal: float | None = None,
        weights: str = "",
        segmenter: str = "",
        boxes: Path | str | None = None,
        keypoints: Path | str | None = None,
        pose_model: Path | str | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int | None = None,
        threads: int | None = None,
        people_source: PeopleSource | None = None,
        refine: Callable[[Fit, Progress], Fit] | None = None,
    ) -> None:
        given: dict[str, Any] = {"people": people, "method": method, "detector": detector, "focal": focal}
        given["body"] = body.name if isinstance(body, Body) else body
        given["network"] = NetworkOptions(str(weights), str(segmenter)) if weights or segmenter else None
        changes = {name: value for name, value in given.items() if value is not None}
        self.options = replace(options or FitOptions(), **changes)
        self.body = body if isinstance(body, Body) else load_body(self.options.body)
        on = resolve_device(device)
        self._network = _network(self.options, on, precision)
        self.batch_size = batch_size or (_TOGETHER if on == "cpu" else _TOGETHER_ON_GPU)
        self._prepared: dict[Path, Fit | Exception] = {}
        given_files = {"boxes": boxes, "keypoints": keypoints, "pose_model": pose_model}
        self._files = {name: Path(path) for name, path in given_files.items() if path is not None}
        self._people = people_source or find_people(
            self.options.detector, threads, boxes=boxes, keypoints=keypoints, pose_model=pose_model, device=device
        )
        self._refine = refine

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its fits, as JSON values: options, and files by their contents, wherever they lie."""
        return self.options.identity(self._files, self.network_identity)

    @property
    def network_identity(self) -> str:
        """What tells one body network from another, wherever its file lies; empty without one."""
        return "" if self._network is None else self._network.label

    @property
    def _computed_in(self) -> dict[str, str]:
        """What its network computes in, for the fit's options, where that is not float32."""
        if self._network is None or self._network.precision == "full":
            return {}
        return {"precision": self._network.precision}

    def for_driving(self) -> Fitter:
        """The same fitter, models shared, for whose pose others take: the largest person, whatever the camera."""
        other = copy.copy(self)
        other.options = replace(self.options, focal=None, people="largest")
        return other

    def fit(
        self,
        source: Source,
        *,
        frames: str | FrameRange | None = None,
        sequence: bool | None = None,
        progress: bool | Progress | None = None,
        journal: DetectionJournal | None = None,
    ) -> Fit:
        """Everybody in an image, a video, a folder of images, or an array.

        source    a path; several paths, of images; (H, W, 3) or (T, H, W, 3) uint8 RGB
        frames    "A:B": frames A to B - 1 of a sequence
        sequence  whether a folder's images are one sequence; None: one size and consecutive numbers are
        progress  True draws a bar on stderr; a function is called with (done, total or None, unit)
        journal   of one sequence, with which it goes on where it was
        Independent images make one fit, a frame each; nobody is taken for the same person in two of them.
        """
        wanted = parse_range(frames)
        with progress_of(progress) as report:
            if isinstance(source, InputItem):
                fit = self._fit_item(source, report, journal)
            elif isinstance(source, str | Path) or (isinstance(source, list | tuple) and _are_paths(source)):
                paths = [source] if isinstance(source, str | Path) else list(source)
                fit = self._fit_items(list(open_inputs(paths, sequence=sequence, frames=wanted)), report)
            else:
                fit = self._fit_array(check_image(source, sequence=True), wanted, report)
            return fit if self._refine is None else self._refine(fit, report)

    def _fit_item(
        self, item: InputItem, report: Progress = no_progress, journal: DetectionJournal | None = None
    ) -> Fit:
        if item.is_sequence:
            with closing(item.frames()) as decoded:
                rate, count = item.frame_rate, item.frame_count
                fit = self.fit_sequence(decoded, frame_rate=rate, frame_count=count, journal=journal, progress=report)
        else:
            known = self._prepared.pop(item.path, None)
            if isinstance(known, Exception):
                raise known
            fit = self._fit_frame(next(item.frames()), report) if known is None else known
        return replace(fit, images=FrameSource((item,)))

    def _fit_items(self, items: Sequence[InputItem], report: Progress) -> Fit:
        if len(items) == 1:
            return self._fit_item(items[0], report)
        if any(item.is_sequence for item in items):
            names = ", ".join(item.label for item in items[:4])
            raise UsageError("source", "holds several sequences", got=names, remedy="fit them one by one: hp.Fitter")
        fits = []
        for done, item in enumerate(items):
            if done % self.batch_size == 0:
                self.prepare(items[done : done + self.batch_size])
            fits.append(self._fit_item(item))
            report(done + 1, len(items), "images")
        return replace(joined(fits), images=FrameSource(tuple(items)), model=self.body)

    def _fit_array(self, pixels: np.ndarray, wanted: FrameRange, report: Progress) -> Fit:
        if pixels.ndim == 3:
            return replace(self.fit_image(pixels, progress=report), images=FrameSource(array=pixels[None]))
        chosen = pixels[wanted.start : wanted.stop]
        if not len(chosen):
            raise UsageError("frames", "holds no frame of the array", expected=f"0:{len(pixels)}", got=str(wanted))
        frames = (Frame(index, f"{index:06d}", image) for index, image in enumerate(chosen, wanted.start))
        fit = self.fit_sequence(frames, frame_count=len(chosen), progress=report)
        return replace(fit, images=FrameSource(array=chosen))

    def fit_image(
        self,
        pixels: np.ndarray,
        *,
        name: str = "image",
        focal: float | None = None,
        principal_point: tuple[float, float] | None = None,
        path: Path | None = None,
        progress: Progress = no_progress,
    ) -> Fit:
        """Everybody in one image (H, W, 3) uint8 RGB; track ids count from the largest person, who is 0.

        focal            pixels, from EXIF, if known; `FitOptions.focal` goes before it
        principal_point  pixels, of an image that was cut out of another; None for the middle
        path             the image's file, by which people given in a file are found
        Nobody found is a fit with no rows.
        """
        return self._fit_frame(Frame(0, name, pixels, focal, path=path, principal_point=principal_point), progress)

    def _fit_frame(self, frame: Frame, progress: Progress) -> Fit:
        progress(0, IMAGE_STEPS, "finding people")
        people = self._in_image(frame)
        progress(1, IMAGE_STEPS, "fitting bodies")
        return self._fit_frames([(frame, people)])[0]

    def prepare(self, items: Sequence[InputItem], progress: Progress = no_progress) -> None:
        """Look at images together, and fit them together: `fit` of each of them then is done already.

        A GPU, and the keypoint fit anywhere, take hardly longer for many people than for one. What goes wrong with an
        image is raised by its `fit`. Sequences are left alone. On the CPU, no bit of a result depends on the other
        images; on a GPU, where networks take people of several images in one batch, nothing beyond rounding.
        """
        images = [item for item in items if not item.is_sequence]
        self._prepared.clear()
        if len(images) < 2:
            return

        def look(item: InputItem) -> tuple[Frame, list[DetectedPerson]] | Exception:
            try:
                frame = next(item.frames())
                return frame, self._in_image(frame)
            except Exception as error:  # whatever it is, it is this image's own
                return error

        whole: list[Path] = []

        def looked() -> Iterator[tuple[Frame, list[DetectedPerson]]]:
            for done, (item, found) in enumerate(zip(images, pool.map(look, images), strict=True), 1):
                progress(done, len(images), "images looked at")
                if isinstance(found, Exception):
                    self._prepared[item.path] = found
                else:
                    whole.append(item.path)
                    yield found

        # What fails for all together may be one image's fault: then each is fitted alone.
        with ThreadPoolExecutor(min(len(images), self._people.at_once)) as pool, contextlib.suppress(Exception):
            self._prepared |= dict(zip(whole, self._fit_frames(looked()), strict=True))

    def _in_image(self, frame: Frame) -> list[DetectedPerson]:
        people = self._people.in_image(frame)
        return people[:1] if self.options.people == "largest" else people

    def _fit_frames(self, images: Iterable[tuple[Frame, Sequence[DetectedPerson]]]) -> list[Fit]:
        """Independent images and who is in them: one solve for everybody. No pixels are kept."""
        cameras: list[FrameCamera] = []
        seen: list[TrackedPerson] = []
        estimates = Estimates(self._network, independent=True)
        for row, (frame, people) in enumerate(images):
            cameras.append(self._camera_of_image(frame, people))
            estimates.add(frame.pixels, people, cameras[-1].camera)
            seen += [TrackedPerson(person, row, track) for track, person in enumerate(people)]
        seen = [replace(s, estimate=estimate) for s, estimate in zip(seen, estimates.all(), strict=True)]
        solved = self._solved(seen, cameras) if seen else None
        fits = []
        for number, camera in enumerate(cameras):
            rows = [row for row, s in enumerate(seen) if s.frame == number]
            own = None if solved is None or not rows else solved.rows(rows)
            fit = self._record([replace(seen[row], frame=0) for row in rows], [camera], own)
            # One frame, ids in order: its rows are in the order of its people.
            fits.append(replace(fit, detections=tuple(seen[row].person for row in rows)))
        return fits

    def fit_sequence(
        self,
        frames: Iterable[Frame],
        *,
        frame_rate: float | None = None,
        frame_count: int | None = None,
        journal: DetectionJournal | None = None,
        progress: Progress = no_progress,
    ) -> Fit:
        """Everybody in the frames of one sequence; one track is one person and has one shape.

        Frames are looked at one by one and not kept: memory grows with people and frames, not with pixels. Nobody is
        looked for in damaged frames, which show what has long gone; they count as the last whole one.
        """
        asked = self.options.method == "nbf" or bool(self.options.network.weights)
        tracks, motion, estimates = TrackLinker(), CameraMotion(), Estimates(self._network if asked else None)
        cameras: list[FrameCamera] = []
        seen: list[TrackedPerson] = []
        times: list[Fraction | None] = []
        whole: np.ndarray | None = None
        kept = None if asked else journal  # networks look at masks, which no journal keeps
        with closing(prefetch(self._people.in_sequence(frames, kept, masks=asked), 1)) as found:
            for place, (frame, people) in enumerate(found):
                whole = frame.pixels if whole is None or not frame.damage else whole
                ids = tracks.add(people, whole)
                camera = self._camera(frame, ids.shot_id)
                turn = motion.next_frame(whole, [p.box for p in people], camera.camera, ids.shot_id)
                lens = replace(camera.camera, focal=camera.camera.focal * turn.zoom)
                camera = replace(camera, camera=lens, turn=turn, damaged=bool(frame.damage))
                cameras.append(camera)
                times.append(frame.time)
                estimates.add(frame.pixels, people, camera.camera)
                seen += [
                    TrackedPerson(_without_mask(person), place, track)
                    for person, track in zip(people, ids.track_ids, strict=True)
                ]
                progress(place + 1, frame_count, "frames")
        seen = [
            replace(s, estimate=estimate, track=track)
            for s, estimate, track in zip(seen, estimates.all(), tracks.tracks(), strict=True)
            if track is not None
        ]
        if self.options.people == "largest":
            seen = _largest_tracks(seen)
        seconds = frame_times(times, frame_rate or _USUAL_RATE)
        timed = bool(times) and all(time is not None for time in times)
        cameras = [replace(c, time=time) for c, time in zip(cameras, seconds, strict=True)]
        if self.options.method != "nbf":
            seen = motions(seen, [camera.time for camera in cameras])
        solved = self._solved(seen, cameras, sequence=True) if seen else None
        return self._record(seen, cameras, solved, frame_rate, seconds if timed else None)

    def _camera(self, frame: Frame, shot: int = 0) -> FrameCamera:
        camera = Camera.of_image(frame.size, self._known_focal(frame), frame.principal_point)
        return FrameCamera(frame.name, camera, shot=shot)

    def _known_focal(self, frame: Frame) -> float | None:
        return self.options.focal or frame.focal or None

    def _camera_of_image(self, frame: Frame, people: Sequence[DetectedPerson]) -> FrameCamera:
        """An unknown lens is so long that nobody is nearer than `_LEAST_DISTANCE`.

        In a sequence it stays the usual one: it is one lens for all frames, and most people in it are yet to come.
        """
        camera = self._camera(frame)
        if self._known_focal(frame):
            return camera
        nearest = min((distance_of(person, camera.camera) for person in people), default=math.inf)
        longer = max(1.0, _LEAST_DISTANCE / nearest)
        return replace(camera, camera=replace(camera.camera, focal=camera.camera.focal * longer))

    def _solved(
        self, seen: Sequence[TrackedPerson], cameras: Sequence[FrameCamera], *, sequence: bool = False
    ) -> KeypointFit:
        """The bodies of N ≥ 1 rows, in their order."""
        if self.options.method == "nbf":
            parts = [list(seen)] if sequence else [list(rows) for _, rows in groupby(seen, lambda s: s.frame)]
            return KeypointFit.joined(
                [fit_of_estimates(self.body, part, cameras, shared_shape=sequence) for part in parts]
            )
        if sequence:
            return _fit_tracks(self.body, seen, cameras, self.options.keypoints)
        return _fit_rows(self.body, seen, cameras, self.options.keypoints)

    def _record(
        self,
        seen: Sequence[TrackedPerson],
        cameras: Sequence[FrameCamera],
        solved: KeypointFit | None,
        frame_rate: float | None = None,
        frame_times: Sequence[float] | None = None,
    ) -> Fit:
        """The fit of rows in frames; `solved` is None where there are no rows."""
        # The body by its name: where its file lies differs from machine to machine, and outputs must not.
        name = self.body.name
        whole = {
            "body": name,
            "gender": name.removeprefix("smpl-") if name.startswith("smpl-") else "neutral",
            "options": {
                **asdict(self.options),
                "body": name,
                "network": self.network_identity,
                **self._computed_in,
                "camera_unknown": [row for row, camera in enumerate(cameras) if not camera.turn.known],
                "damaged": [row for row, camera in enumerate(cameras) if camera.damaged],
            },
            "frame_rate": frame_rate or 0.0,
            "frame_times": frame_times,
            "model": self.body,
        }
        return empty_record(cameras, **whole) if solved is None else fit_record(seen, solved, cameras, **whole)

    def __enter__(self) -> Fitter:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._people.__exit__(*problem)


def _network(options: FitOptions, device: str, precision: Precision) -> PeopleNetwork | None:
    """The body network that the options want."""
    return PeopleNetwork(options.network, options.body, device, precision) if options.uses_network else None


def frame_times(times: Sequence[Fraction | None], frame_rate: float) -> list[float]:
    """Seconds from the first frame on, rising: as the video's clock has them where the rate varies, else even ones.

    Clocks count in steps, some in whole milliseconds: even frames are as much as a tenth of an interval off. Without a
    clock that rises, frames are even, too.
    """
    even = np.arange(len(times)) / frame_rate
    if len(times) < 3 or any(time is None for time in times):
        return even.tolist()
    clock = np.array([float(time - times[0]) for time in times])  # type: ignore[operator]
    step = clock[-1] / (len(clock) - 1)
    rises = bool((np.diff(clock) > 0).all())
    if not rises or np.abs(clock - step * np.arange(len(clock))).max() < _CLOCK_ERROR * step:
        return even.tolist()
    return clock.tolist()


def _largest_tracks(seen: Sequence[TrackedPerson]) -> list[TrackedPerson]:
    """The rows of one person at a time: tracks by the area of all their boxes, none that overlaps a larger one in time.

    Chosen as whole tracks, for in single frames the largest box may be another person's every time. The same person
    may come in several tracks, where they were lost for long or after a cut. Tracks are numbered anew, by time.
    """
    tracks: dict[int, list[TrackedPerson]] = {}
    for s in seen:
        tracks.setdefault(s.track, []).append(s)
    chosen: list[list[TrackedPerson]] = []
    for rows in sorted(tracks.values(), key=lambda rows: -sum(s.person.area for s in rows)):
        if all(rows[-1].frame < other[0].frame or rows[0].frame > other[-1].frame for other in chosen):
            chosen.append(rows)
    chosen.sort(key=lambda rows: rows[0].frame)
    return [replace(s, track=number) for number, rows in enumerate(chosen) for s in rows]


def _without_mask(person: DetectedPerson) -> DetectedPerson:
    """Masks are pixels: a long video could not keep them."""
    return replace(person, mask=None)


def _fit_rows(
    body: Body, seen: Sequence[TrackedPerson], cameras: Sequence[FrameCamera], options: KeypointFitOptions
) -> KeypointFit:
    """Fit rows that have nothing to do with each other; those with the same kind of evidence in one batch."""
    batches: dict[tuple[str, bool, bool], list[int]] = {}
    for row, s in enumerate(seen):
        kind = (s.person.skeleton.name, s.person.world is not None, _tells_noise(s.estimate))
        batches.setdefault(kind, []).append(row)
    parts = [
        fit_keypoints(body, _observations([seen[row] for row in rows], cameras), options) for rows in batches.values()
    ]
    order = np.argsort(np.concatenate([np.asarray(rows, int) for rows in batches.values()]), kind="stable")
    return KeypointFit.joined(parts).rows(order)


def _fit_tracks(
    body: Body,
    seen: Sequence[TrackedPerson],
    cameras: Sequence[FrameCamera],
    options: KeypointFitOptions,
) -> KeypointFit:
    """Fit the rows of a sequence, sorted by track and frame: each track has one shape and one motion."""
    tracks, frames = (np.array([getattr(s, name) for s in seen]) for name in ("track", "frame"))
    observed = _observations(seen, cameras)
    turned = np.stack([cameras[frame].world_to_camera for frame in frames])
    time = np.array([cameras[frame].time for frame in frames])
    observed = replace(observed, shape_group=tracks, frame=frames, time=time, world_to_camera=turned)
    return fit_keypoints(body, observed, options)


def _tells_noise(estimate: BodyEstimate | None) -> bool:
    """Whether an estimate has a confidence, without which it cannot be weighted."""
    return estimate is not None and estimate.noise is not None


def _observations(seen: Sequence[TrackedPerson], cameras: Sequence[FrameCamera]) -> KeypointObservations:
    """Rows of one skeleton. Where only some have world landmarks or an estimate, the others' say nothing."""
    people = [s.person for s in seen]
    views = [cameras[s.frame].camera for s in seen]
    skeleton = people[0].skeleton
    count, landmarks = len(people), len(skeleton)
    keypoints = _array([p.keypoints for p in people], count, landmarks, 3)
    observed = KeypointObservations(
        keypoints=keypoints[..., :2],
        confidence=keypoints[..., 2],
        focal=_array([v.focal for v in views], count),
        principal_point=_array([v.principal_point for v in views], count, 2),
        image_size=_array([v.size for v in views], count, 2),
        skeleton=skeleton.name,
        spread=_array([p.spread for p in people], count, landmarks),
    )
    known = np.array([p.world is not None for p in people])
    if known.any():
        like = _nearest(known)
        spread = _array([people[row].world_spread for row in like], count, landmarks)
        spread[~known] = _NO_EVIDENCE
        world = _array([people[row].world for row in like], count, landmarks, 3)
        observed = replace(observed, world=world, world_spread=spread)
    known = np.array([_tells_noise(s.estimate) for s in seen])
    if known.any():
        estimates = [seen[row].estimate for row in _nearest(known)]
        names = ("poses", "betas", "joints", "noise")
        told: dict[str, Any] = {f"predicted_{n}": np.stack([getattr(e, n) for e in estimates]) for n in names}
        told["predicted_noise"][~known] = _NO_EVIDENCE
        observed = replace(observed, **told)
    return observed


def _nearest(known: np.ndarray) -> np.ndarray:
    """(N,) for each row the row itself where `known`, else the nearest that is."""
    rows = np.flatnonzero(known)
    return rows[np.abs(np.arange(len(known))[:, None] - rows).argmin(1)]


def _array(values: Sequence[Any], *shape: int) -> np.ndarray:
    return np.asarray(values, np.float64).reshape(shape)


def fit_item(
    fitter: Fitter,
    item: InputItem,
    outputs: Sequence[Path],
    *,
    video_codec: VideoCodec = "h264",
    progress: Progress = no_progress,
) -> Fit:
    """Fit everybody in an item and write its fit file and, where there is a second path, the overlay."""
    journal = journal_of(fitter, item, outputs[0])
    fit = fitter.fit(item, progress=progress, journal=journal)
    fit.save(outputs[0])
    for path in outputs[1:]:
        if not item.is_sequence:
            progress(IMAGE_STEPS - 1, IMAGE_STEPS, "drawing the overlay")
        fit.save_overlay(path, progress, video_codec=video_codec)
    if journal is not None:
        journal.remove()
    return fit


def journal_of(fitter: Fitter, item: InputItem, output: Path) -> DetectionJournal | None:
    """What keeps the people of a sequence until `output`, its fit file, is written; None for an image."""
    if not item.is_sequence or item.error is not None:
        return None
    key = {
        "version": __version__,
        "fit": fitter.identity,
        "frames": str(item.range),
        "files": [_stamp(path) for path in item.files],
    }
    return DetectionJournal(output, key)


def _stamp(path: Path) -> list[Any]:
    """What tells that a file has changed, without reading it."""
    about = path.stat()
    return [path.name, about.st_size, about.st_mtime_ns]


def _are_paths(source: Sequence[Any]) -> bool:
    return len(source) > 0 and all(isinstance(entry, str | Path) for entry in source)


def check_image(source: Any, *, sequence: bool = False, name: str = "source") -> np.ndarray:
    """(H, W, 3) uint8 from an array or anything that becomes one; (T, H, W, 3) as well where a sequence may stand."""
    pixels = np.asarray(source)
    dimensions = (3, 4) if sequence else (3,)
    if pixels.dtype != np.uint8 or pixels.ndim not in dimensions or pixels.shape[-1] != 3 or 0 in pixels.shape:
        expected = f"a path, or (H, W, 3) {'or (T, H, W, 3) ' if sequence else ''}uint8 RGB"
        remedy = ""
        if pixels.dtype.kind == "f":
            remedy = "of values from 0 to 1, (255 * image).astype(np.uint8)"
        elif pixels.dtype == np.uint8 and pixels.ndim in dimensions and pixels.shape[-1] == 4:
            remedy = "leave alpha out: image[..., :3]"
        elif pixels.dtype == np.uint8 and pixels.ndim == 2:
            remedy = "of grey, np.stack([image] * 3, -1)"
        got = f"{pixels.shape} {pixels.dtype}"
        raise InputError(name, "is no image", expected=expected, got=got, remedy=remedy)
    return pixels
