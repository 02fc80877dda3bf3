"""Bodies of everybody in images and sequences: detection, keypoint fit and fit record in one.

with Fitter(FitOptions(people="largest")) as fitter:
    fitted = fitter.fit_image(read_image("photo.jpg").pixels)
    print(fitted.record.joints3d)                     # (N, 24, 3) metres, camera axes

`hpc fit` for one item: an image or a sequence in, a fit file and an overlay out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import body_by_name
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import skeleton_by_name
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.detect.tracking import TrackAssigner
from humanpose_cli.fitting.keypoints import KeypointFit, fit_keypoints
from humanpose_cli.fitting.networks import Estimates, FitMethod, NetworkOptions, PeopleNetwork, fit_of_estimates
from humanpose_cli.fitting.observations import KeypointObservations
from humanpose_cli.fitting.overlays import overlay_image, overlay_video
from humanpose_cli.fitting.people import DetectedPeople, PeopleSource
from humanpose_cli.fitting.records import FrameCamera, TrackedPerson, empty_record, fit_record
from humanpose_cli.fitting.solver import KeypointFitOptions
from humanpose_cli.io.fit_files import FIT_SUFFIX, FitRecord, read_fit, write_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import Frame, InputItem, output_path
from humanpose_cli.models.nbf.network import BodyEstimate

__all__ = [
    "FitOptions",
    "FittedImage",
    "FittedItem",
    "Fitter",
    "fit_item",
    "fit_outputs",
]


@dataclass(frozen=True)
class FitOptions:
    """What a fit depends on.

    body       'default', or 'smpl:FILE'
    people     'all', or only the 'largest' by box: of a sequence, the track of the largest boxes altogether, and beside
               it only tracks of other times
    detector   'thorough', 'fast', or 'auto': thorough for images, fast for sequences
    focal      pixels; None takes EXIF's, else 1.2 times the longer side
    method     'keypoints', 'nbf' or 'auto'; see `FitMethod`. 'auto' is 'keypoints' for bodies that no network knows
    network    which body network
    keypoints  weights and schedule of the keypoint fit
    """

    body: str = "default"
    people: Literal["all", "largest"] = "all"
    detector: Literal["auto", "thorough", "fast"] = "auto"
    focal: float | None = None
    method: FitMethod = "auto"
    network: NetworkOptions = field(default_factory=NetworkOptions)
    keypoints: KeypointFitOptions = field(default_factory=KeypointFitOptions)

    def __post_init__(self) -> None:
        if self.method not in ("auto", "keypoints", "nbf"):
            raise UsageError("--method", "is not known", expected="auto, keypoints or nbf", got=self.method)
        if self.focal is not None and not 0 < self.focal < float("inf"):
            raise UsageError("--focal", "must be positive", expected="pixels", got=str(self.focal))


@dataclass(frozen=True, eq=False)
class FittedImage:
    """The record of one image (one frame) and the detections it was made from, row by row."""

    record: FitRecord
    people: tuple[DetectedPerson, ...]


class Fitter:
    """Fits bodies to images and sequences; loads models once; a context manager.

    people   who finds the people; None: our detector, as the options say
    device   of the body network
    threads  of detection; None: as many as there are cores (four at most)
    """

    def __init__(
        self,
        options: FitOptions | None = None,
        *,
        people: PeopleSource | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.options = options or FitOptions()
        self.body = body_by_name(self.options.body)
        self._network = _network(self.options, device)
        self._people = people or DetectedPeople(self.options.detector, threads)

    @property
    def network_identity(self) -> str:
        """What tells one body network from another, wherever its file lies; empty without one."""
        return "" if self._network is None else self._network.label

    def for_another_camera(self) -> Fitter:
        """The same fitter, models shared, without the focal length that was given for one camera."""
        other = copy.copy(self)
        other.options = replace(self.options, focal=None)
        return other

    def fit_image(
        self, pixels: np.ndarray, *, name: str = "image", focal: float | None = None, path: Path | None = None
    ) -> FittedImage:
        """Everybody in one image (H, W, 3) uint8 RGB; track ids count from the largest person, who is 0.

        focal  pixels, from EXIF, if known; `FitOptions.focal` goes before it
        path   the image's file, by which people given in a file are found
        Nobody found is a record with no rows.
        """
        frame = Frame(0, name, pixels, focal, path=path)
        people = self._people.in_image(frame)
        if self.options.people == "largest":
            people = people[:1]
        camera = self._camera(frame)
        estimates = Estimates(self._network)
        estimates.add(frame.pixels, people, camera.camera)
        seen = [
            TrackedPerson(person, 0, track, estimate)
            for track, (person, estimate) in enumerate(zip(people, estimates.all(), strict=True))
        ]
        record = self._fit(seen, [camera], frame_rate=None, shared_shape=False)
        return FittedImage(record, tuple(people))  # one frame, ids in order: rows are in order too

    def fit_sequence(
        self,
        frames: Iterable[Frame],
        *,
        frame_rate: float | None = None,
        frame_count: int | None = None,
        progress: Progress = no_progress,
    ) -> FitRecord:
        """Everybody in the frames of one sequence; one track is one person and has one shape.

        Frames are looked at one by one and not kept: memory grows with people and frames, not with pixels.
        """
        tracks, estimates = TrackAssigner(), Estimates(self._network)
        cameras: list[FrameCamera] = []
        seen: list[TrackedPerson] = []
        self._people.start_sequence()
        for place, frame in enumerate(frames):
            people = self._people.in_next_frame(frame)
            ids = tracks.assign(people, frame.pixels)
            camera = self._camera(frame, ids.shot_id)
            cameras.append(camera)
            estimates.add(frame.pixels, people, camera.camera)
            seen += [
                TrackedPerson(_without_mask(person), place, track)
                for person, track in zip(people, ids.track_ids, strict=True)
            ]
            progress(place + 1, frame_count, "frames")
        seen = [replace(s, estimate=estimate) for s, estimate in zip(seen, estimates.all(), strict=True)]
        if self.options.people == "largest":
            seen = _largest_tracks(seen)
        return self._fit(seen, cameras, frame_rate=frame_rate, shared_shape=True)

    def _camera(self, frame: Frame, shot: int = 0) -> FrameCamera:
        return FrameCamera(frame.name, Camera.of_image(frame.size, self.options.focal or frame.focal or None), shot)

    def _fit(
        self,
        seen: Sequence[TrackedPerson],
        cameras: Sequence[FrameCamera],
        *,
        frame_rate: float | None,
        shared_shape: bool,
    ) -> FitRecord:
        # The body by its name: where its file lies differs from machine to machine, and outputs must not.
        name = self.body.name
        whole = {
            "body": name,
            "gender": name.removeprefix("smpl-") if name.startswith("smpl-") else "neutral",
            "options": {**asdict(self.options), "body": name, "network": self.network_identity},
            "frame_rate": frame_rate or 0.0,
        }
        if not seen:
            return empty_record(cameras, **whole)
        if self.options.method == "nbf":
            fit = fit_of_estimates(self.body, seen, cameras, shared_shape=shared_shape)
        else:
            fit = _fit_rows(self.body, seen, cameras, self.options.keypoints, shared_shape)
        return fit_record(seen, fit, cameras, **whole)

    def __enter__(self) -> Fitter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._people.__exit__(kind, value, trace)


def _network(options: FitOptions, device: str) -> PeopleNetwork | None:
    """The body network that a method wants: of `auto`, none where it would be another body's."""
    if options.method == "keypoints":
        return None
    if options.method == "auto" and not options.network.weights and options.body != "default":
        return None
    return PeopleNetwork(options.network, options.body, device)


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
    body: Body,
    seen: Sequence[TrackedPerson],
    cameras: Sequence[FrameCamera],
    options: KeypointFitOptions,
    shared_shape: bool,
) -> KeypointFit:
    """Fit all rows; those with the same landmarks and the same kind of evidence in one batch."""
    batches: dict[tuple[str, bool, bool], list[int]] = {}
    for row, s in enumerate(seen):
        kind = (s.person.skeleton.name, s.person.world is not None, _tells_noise(s.estimate))
        batches.setdefault(kind, []).append(row)
    parts = []
    for (skeleton, with_world, predicted), rows in batches.items():
        chosen = [seen[row] for row in rows]
        observed = _observations(chosen, cameras, skeleton, with_world, shared_shape)
        if predicted:
            observed = replace(observed, **_predictions(chosen))
        parts.append(fit_keypoints(body, observed, options))
    place = np.argsort(np.concatenate([np.asarray(rows, int) for rows in batches.values()]), kind="stable")
    joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts])[place] for f in fields(KeypointFit)}
    return KeypointFit(**joined)


def _tells_noise(estimate: BodyEstimate | None) -> bool:
    """Whether an estimate says how sure it is, without which nobody knows how far to believe it."""
    return estimate is not None and estimate.noise is not None


def _predictions(seen: Sequence[TrackedPerson]) -> dict[str, Any]:
    """The rows' estimates as a keypoint fit takes them."""
    estimates = [s.estimate for s in seen if s.estimate is not None]
    names = ("poses", "betas", "joints", "noise")
    return {f"predicted_{name}": np.stack([getattr(e, name) for e in estimates]) for name in names}


def _observations(
    seen: Sequence[TrackedPerson],
    cameras: Sequence[FrameCamera],
    skeleton: str,
    with_world: bool,
    shared_shape: bool,
) -> KeypointObservations:
    people = [s.person for s in seen]
    views = [cameras[s.frame].camera for s in seen]
    count, landmarks = len(people), len(skeleton_by_name(skeleton))
    keypoints = _array([p.keypoints for p in people], count, landmarks, 3)
    return KeypointObservations(
        keypoints=keypoints[..., :2],
        confidence=keypoints[..., 2],
        focal=_array([v.focal for v in views], count),
        principal_point=_array([v.principal_point for v in views], count, 2),
        image_size=_array([v.size for v in views], count, 2),
        skeleton=skeleton,
        world=_array([p.world for p in people], count, landmarks, 3) if with_world else None,
        spread=_array([p.spread for p in people], count, landmarks),
        world_spread=_array([p.world_spread for p in people], count, landmarks) if with_world else None,
        shape_group=np.array([s.track for s in seen], np.int64) if shared_shape else None,
    )


def _array(values: Sequence[Any], *shape: int) -> np.ndarray:
    return np.asarray(values, np.float64).reshape(shape)


@dataclass(frozen=True, eq=False)
class FittedItem:
    """What came of an item: its record and the files written."""

    record: FitRecord
    outputs: tuple[Path, ...]

    @classmethod
    def read(cls, outputs: tuple[Path, ...]) -> FittedItem:
        """An item that an earlier run did."""
        return cls(read_fit(next(path for path in outputs if path.name.endswith(FIT_SUFFIX))), outputs)


def fit_outputs(item: InputItem, out: Path, *, overlay: bool = True) -> tuple[Path, ...]:
    """The files that `fit_item` will write: `a.jpg.fit.npz`, and `a.jpg.overlay.jpg` or `a.mp4.overlay.mp4`."""
    fit = output_path(item, out, FIT_SUFFIX)
    if not overlay:
        return (fit,)
    return fit, output_path(item, out, ".overlay.mp4" if item.is_sequence else ".overlay.jpg")


def fit_item(
    fitter: Fitter, item: InputItem, out: Path, *, overlay: bool = True, progress: Progress = no_progress
) -> FittedItem:
    """Fit everybody in an item and write its files; each appears whole or not at all."""
    outputs = fit_outputs(item, out, overlay=overlay)
    if item.is_sequence:
        with closing(item.frames()) as frames:
            record = fitter.fit_sequence(
                frames, frame_rate=item.frame_rate, frame_count=item.frame_count, progress=progress
            )
        write_fit(outputs[0], record)
        if overlay:
            overlay_video(fitter.body, record, item, outputs[1], progress)
    else:
        frame = next(item.frames())
        record = fitter.fit_image(frame.pixels, name=frame.name, focal=frame.focal, path=frame.path).record
        write_fit(outputs[0], record)
        if overlay:
            write_image(outputs[1], overlay_image(fitter.body, record, frame.pixels))
    return FittedItem(record, outputs)
