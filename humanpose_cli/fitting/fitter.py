"""Fits the bodies of the people in images and sequences: detection, keypoint fit and fit record.

with Fitter(people="largest") as fitter:
    for path in paths:
        print(fitter.fit(path).joints3d)              # (N, 24, 3) metres, camera axes
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.body.estimate import ShapePrior
from humanpose_cli.body.smpl import load_body
from humanpose_cli.core.arguments import declared, given, taken
from humanpose_cli.core.device import ComputeArguments, ComputeOptions, resolve_device
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.heap import return_freed_memory
from humanpose_cli.core.options import changed, infos
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.detect.hands import HandDetector
from humanpose_cli.detect.identity import body_colours
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.batching import ImagePeople, fit_images_together
from humanpose_cli.fitting.detection_journal import DetectionJournal, journal_of
from humanpose_cli.fitting.evidence import distance_from_camera
from humanpose_cli.fitting.hands import articulate, hands_not_taken
from humanpose_cli.fitting.keypoints import KeypointFit, fit_keypoints
from humanpose_cli.fitting.networks import Estimates, PeopleNetwork, fit_of_estimates
from humanpose_cli.fitting.observations import SequenceObservations, observations_of, rows_by_evidence
from humanpose_cli.fitting.options import (
    EvidenceFiles,
    FitOptions,
    FitterArguments,
    NetworkOptions,
    PeopleChoice,
    parse_heights,
)
from humanpose_cli.fitting.outlines import outline_priors
from humanpose_cli.fitting.painted_masks import painted_masks
from humanpose_cli.fitting.people import (
    DetectedPeople,
    PeopleSource,
    SequenceSearch,
    TrackMasks,
    find_people,
)
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.records import confident, doubts_of_keypoints, fit_record, joined, unfitted_detection
from humanpose_cli.fitting.result import Fit, FrameSource
from humanpose_cli.fitting.sequence_people import SequencePeopleBuilder, camera_of
from humanpose_cli.fitting.stature import BodyStature
from humanpose_cli.fitting.tracks import FrameCamera, complete_tracks
from humanpose_cli.fitting.unsearched_frames import complete_bodies
from humanpose_cli.io.detections import UserDetections
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.frame_range import FrameRange, parse_range
from humanpose_cli.io.inputs import Frame, InputItem, open_inputs
from humanpose_cli.io.unfitted_detections import UnfittedDetection
from humanpose_cli.io.video import prefetch

if TYPE_CHECKING:
    from typing_extensions import Unpack

Source: TypeAlias = "str | Path | Sequence[str | Path] | np.ndarray | InputItem"
"""What can be fitted: a path, paths of images, or (H, W, 3) or (T, H, W, 3) uint8 RGB."""


_BATCH_SIZE, _BATCH_SIZE_ON_GPU = 16, 64  # images; larger batches gain little and delay the first result
# Metres. Photographs are seldom taken from nearer, except by telephones, whose EXIF states the lens. If a long lens is
# unknown, a head and shoulders would otherwise be at arm's length, where movements become huge.
_MIN_DISTANCE = 2.0
_DETECTION_SHARE = 0.75  # of the work on a sequence
_FRAMES_BETWEEN_RETURNS = 100  # of freed memory to the system
IMAGE_STEPS = 3  # progress of one image: detect people, fit bodies, and a step of the caller


@declared(FitterArguments, FitOptions, NetworkOptions, EvidenceFiles, ComputeOptions)
class Fitter:
    """Fits bodies to images and sequences and loads its models once. Use it as a context manager.

    Args:
        options: All options at once. The other arguments override them.
        people_source: Finds the people, in place of the shipped detector.

    Raises:
        UsageError: If an option is unusable, or has no effect.
        InputError: If one of the files is missing or damaged.

    Example:
        >>> with hp.Fitter(people="largest") as fitter:
        ...     fits = [fitter.fit(path) for path in paths]
    """

    def __init__(
        self,
        options: FitOptions | None = None,
        *,
        people_source: PeopleSource | None = None,
        **arguments: Unpack[FitterArguments],
    ) -> None:
        values = given(Fitter, arguments)
        self._compute = compute = ComputeOptions(**taken(values, ComputeArguments.__annotations__))
        files = taken(values, infos(EvidenceFiles))
        self._masks = painted_masks(files.pop("mask", None))
        body = values.get("body")
        if isinstance(body, Body):
            values["body"] = body.name
        if "height" in values:
            values["height"] = str(values["height"])
        if weights := values.pop("weights", ""):
            values["network.weights"] = str(weights)
        self.options = changed(options or FitOptions(), values)
        self.body = body if isinstance(body, Body) else load_body(self.options.body)
        self._shapes = {
            person: self._stature.prior(metres, self.options.keypoints.shape_noise)
            for person, metres in parse_heights(self.options.height).items()
        }
        resolved = resolve_device(compute.device)
        self._network: PeopleNetwork | None = None
        if self.options.uses_network:
            network, method = self.options.network, self.options.method
            self._network = PeopleNetwork(network, method, self.body, resolved, compute.precision)
        self.batch_size = compute.batch_size or (_BATCH_SIZE if resolved == "cpu" else _BATCH_SIZE_ON_GPU)
        self._prepared: dict[tuple[Path, FitOptions], Fit | Exception] = {}
        self._files = {
            name: file.path if isinstance(file, UserDetections) else Path(file) for name, file in files.items()
        }
        self._people = people_source or find_people(
            self.options.detector,
            compute.threads,
            min_score=self.options.min_score,
            min_box=self.options.detect.min_user_box,
            device=compute.device,
            **files,
        )
        self._hands = self._hand_detector()

    def begin_loading(self) -> None:
        """Load the body network in a thread of its own, while the first people are searched."""
        if self._network is not None:
            self._network.begin_loading()

    @property
    def identity(self) -> dict[str, Any]:
        """Options, and files by their contents, as JSON values. Fits of equal identity are equal."""
        identity = self.options.identity(self._files, self.network_identity)
        return identity if self._masks is None else {**identity, "mask": self._masks.digest}

    @property
    def network_identity(self) -> str:
        """The digest and precision of the body network. "" without a network."""
        return "" if self._network is None else self._network.label

    @property
    def network_files(self) -> tuple[Path, ...]:
        """The weights of the body network, and of its segmenter if it has one. () without a network."""
        return () if self._network is None else self._network.files

    def fit(
        self,
        source: Source,
        *,
        people: PeopleChoice | None = None,
        focal: float | Literal["auto"] | None = None,
        frames: str | FrameRange | None = None,
        sequence: bool | None = None,
        colour_space: str | None = None,
        progress: bool | Progress | None = None,
        journal: DetectionJournal | None = None,
    ) -> Fit:
        """Fit every person in an image, a video, a folder of images, or an array.

        Independent images make one fit with a frame each. People of different images have different ids.

        Args:
            source: A path, several paths of images, or (H, W, 3) or (T, H, W, 3) uint8 RGB.
            people: "all" or "largest". None takes the fitter's option.
            focal: Pixels. "auto" takes it from EXIF, else estimates it. None takes the fitter's option.
            frames: "A:B" or "A:B:STEP". The frames of a sequence that are fitted, A to B - 1, every STEP-th. Negative
                numbers count from the end, and "0.5s" is a time.
            sequence: Whether the images of a folder are one sequence. None decides: numbered images of one size that
                look alike are.
            colour_space: "acescg", "linear", "srgb" or "log". None takes the one that the images name.
            progress: True draws a bar on stderr. A function is called with (done, total or None, unit).
            journal: The journal of one sequence, from which the fit continues.

        Returns:
            The bodies of all people in all frames.

        Raises:
            InputError: If the source is missing or damaged.
            UsageError: If several sequences are given, or the range holds no frame.
        """
        options = self._options(people, focal)
        frame_range = parse_range(frames)
        with progress_of(progress) as report:
            if isinstance(source, InputItem):
                return self._fit_item(source, options, report, journal)
            paths = [source] if isinstance(source, str | Path) else source
            if isinstance(paths, list | tuple) and paths and all(isinstance(path, str | Path) for path in paths):
                items = list(open_inputs(list(paths), sequence=sequence, frames=frame_range, colour_space=colour_space))
                self._people.notes(items)  # raises InputError for a file that mentions none of the frames
                if self._masks is not None:
                    self._masks.check(items)
                return self._fit_items(items, options, report)
            return self._fit_array(check_pixels(source, sequence=True), frame_range, options, report)

    def _options(self, people: PeopleChoice | None, focal: float | Literal["auto"] | None = None) -> FitOptions:
        """Combine the fitter's options with the arguments of one call."""
        changes: dict[str, Any] = {} if people is None else {"people": people}
        if focal is not None:
            changes["focal"] = None if focal == "auto" else focal
        return replace(self.options, **changes)

    def _fit_item(
        self,
        item: InputItem,
        options: FitOptions,
        progress: Progress = no_progress,
        journal: DetectionJournal | None = None,
    ) -> Fit:
        if item.is_sequence:
            with closing(item.frames()) as decoded:
                rate, count = item.frame_rate, item.frame_count
                fit = self._fit_sequence(decoded, options, rate, count, journal, progress)
        else:
            prepared = self._prepared.pop((item.path, options), None)
            if isinstance(prepared, Exception):
                raise prepared
            fit = self._fit_image(next(item.frames()), options, progress) if prepared is None else prepared
        return replace(fit, sources=(FrameSource((item,)),))

    def _fit_items(self, items: Sequence[InputItem], options: FitOptions, report: Progress) -> Fit:
        if len(items) == 1:
            return self._fit_item(items[0], options, report)
        if any(item.is_sequence for item in items):
            names = ", ".join(item.label for item in items[:4])
            raise UsageError("source", "holds several sequences", got=names, remedy="fit them one by one: hp.Fitter")
        fits = []
        for done, item in enumerate(items):
            if done % self.batch_size == 0:
                self.prepare(items[done : done + self.batch_size], options=options)
            fits.append(self._fit_item(item, options))
            report(done + 1, len(items), "images")
        return replace(joined(fits), sources=(FrameSource(tuple(items)),), model=self.body)

    def _fit_array(self, pixels: np.ndarray, frames: FrameRange, options: FitOptions, report: Progress) -> Fit:
        if pixels.ndim == 3:
            fit = self._fit_image(Frame(0, "image", pixels), options, report)
            return replace(fit, sources=(FrameSource(array=pixels[None]),))
        frames = frames.resolved(len(pixels))
        chosen = pixels[frames.slice]
        if not len(chosen):
            raise UsageError("frames", "holds no frame of the array", expected=f"0:{len(pixels)}", got=str(frames))
        decoded = (Frame(index, f"{index:06d}", image) for index, image in list(enumerate(pixels))[frames.slice])
        fit = self._fit_sequence(decoded, options, None, len(chosen), None, report)
        return replace(fit, sources=(FrameSource(array=chosen),))

    def fit_image(
        self,
        pixels: np.ndarray,
        *,
        people: PeopleChoice | None = None,
        name: str = "image",
        focal: float | None = None,
        principal_point: tuple[float, float] | None = None,
        progress: Progress = no_progress,
    ) -> Fit:
        """Fit every person in one image. Ids count from the largest person, who is 0.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            people: "all" or "largest". None takes the fitter's option.
            name: The name of the frame in the fit.
            focal: Pixels. The focal length of EXIF, which the fitter's option overrides.
            principal_point: (x, y) pixels. The principal point of an image that was cut out of another one. None: the
                middle.
            progress: A function that is called with (done, total or None, unit).

        Returns:
            The bodies of all people. No rows if no person is found.
        """
        frame = Frame(0, name, pixels, focal, principal_point=principal_point)
        return self._fit_image(frame, self._options(people), progress)

    def _fit_image(self, frame: Frame, options: FitOptions, progress: Progress) -> Fit:
        progress(0, IMAGE_STEPS, "finding people")
        people = self._detect(frame, options)
        progress(1, IMAGE_STEPS, "fitting bodies")
        return self._fit_images([(frame, people)], options)[0]

    def _detect(self, frame: Frame, options: FitOptions) -> list[DetectedPerson]:
        people = self._people.in_image(frame)
        if self._masks is not None:
            people = self._masks.applied(people, frame.name, frame.pixels.shape[:2])
        detected = [person for person in people if not person.not_fitted]
        if options.people == "largest":
            return self._hands.add(frame.pixels, detected[:1])
        return [*self._hands.add(frame.pixels, detected), *(person for person in people if person.not_fitted)]

    def prepare(
        self, items: Sequence[InputItem], progress: Progress = no_progress, options: FitOptions | None = None
    ) -> Mapping[Path, float]:
        """Detect and fit the people of several images together, so that `fit` of each image returns at once.

        A GPU, and the keypoint fit anywhere, need little more time for many people than for one. Results on the CPU do
        not depend on the other images. On a GPU they can differ by rounding. Errors of an image are raised by its
        `fit`.

        Args:
            items: The next items. Sequences are ignored.
            progress: A function that is called with (done, total or None, unit).
            options: The options of the calls of `fit`. None: the fitter's.

        Returns:
            The seconds that each image took, by path. {} if all are left to `fit`.
        """
        options = options or self.options
        images = [item for item in items if not item.is_sequence]
        if len(images) < 2:
            return {}
        detect, fit = partial(self._detect, options=options), partial(self._fit_images, options=options)
        results, seconds = fit_images_together(images, detect, fit, self._people.at_once, progress)
        self._prepared |= {(path, options): result for path, result in results.items()}
        return seconds

    def _fit_images(self, images: Iterable[ImagePeople], options: FitOptions) -> list[Fit]:
        """Fit the people of independent images in one solve, without keeping pixels."""
        cameras: list[FrameCamera] = []
        people: list[DetectedPerson] = []
        unfitted: list[list[UnfittedDetection]] = []
        clothes: list[dict[int, np.ndarray]] = []
        estimates = Estimates(self._network, independent=True)
        for index, (frame, detections) in enumerate(images):
            detected = [person for person in detections if not person.not_fitted]
            clothes.append({track: body_colours(person, frame.pixels) for track, person in enumerate(detected)})
            unfitted.append([unfitted_detection(person) for person in detections if person.not_fitted])
            cameras.append(self._image_camera(frame, detected, options))
            estimates.add(frame.pixels, detected, cameras[-1].camera)
            people += [replace(person, frame=index, track=track) for track, person in enumerate(detected)]
        people = [
            replace(row, estimate=estimate, shape=self._measured_shape(row.track))
            for row, estimate in zip(people, estimates.all(), strict=True)
        ]
        solved = self._solve(people, cameras) if people else None
        if solved is not None:
            priors = self._outline_priors(people, solved, cameras, range(len(people)))
            people = [replace(person, shape=priors.get(row, person.shape)) for row, person in enumerate(people)]
            if priors:
                solved = solved.changed(list(priors), self._solve([people[row] for row in priors], cameras))
        fits = []
        for index, camera in enumerate(cameras):
            rows = [row for row, person in enumerate(people) if person.frame == index]
            fitted_people = tuple(replace(people[row], frame=0) for row in rows)
            bodies = None
            if solved is not None and rows:  # alone, so that no bit depends on the other images
                bodies = articulate(self.body, solved.rows(rows), fitted_people, [camera])
            fit = self._record(fitted_people, [camera], bodies, options, unfitted=unfitted[index])
            # With one frame and ids in order, its rows are in the order of its people.
            fit = replace(fit, detections=fitted_people, clothes=clothes[index])
            fits.append(confident(fit, options.min_confidence))
        return fits

    def fit_sequence(
        self,
        frames: Iterable[Frame],
        *,
        people: PeopleChoice | None = None,
        frame_rate: float | None = None,
        frame_count: int | None = None,
        progress: Progress = no_progress,
    ) -> Fit:
        """Fit every person in the frames of one sequence. A track is one person and has one shape.

        Frames are searched one by one and not kept, so that memory does not grow with pixels. Damaged frames are not
        searched. The last undamaged frame replaces their pixels.

        Args:
            frames: The frames in order, all of one size.
            people: "all" or "largest". None takes the fitter's option.
            frame_rate: Frames per second, if known.
            frame_count: The number of frames, for the progress.
            progress: A function that is called with (done, total or None, unit).

        Returns:
            The bodies of all people in all frames.
        """
        return self._fit_sequence(frames, self._options(people), frame_rate, frame_count, None, progress)

    def _fit_sequence(
        self,
        frames: Iterable[Frame],
        options: FitOptions,
        frame_rate: float | None,
        frame_count: int | None,
        journal: DetectionJournal | None,
        progress: Progress,
    ) -> Fit:
        """Fit the people of a sequence; see `fit_sequence`.

        The order of the solves, after all frames have been read:
        1. `_with_outline_shapes` solves rows with masks as independent images; the masks give each track a shape.
        2. `_solve` gives all searched rows to `keypoints._fit_motion`:
           a. `_between_key_frames`: key frames alone, coarse stage; interpolation gives the other frames a start.
           b. `_approach`: every frame alone, coarse stage; then each track has one shape, and the lifter's joints.
           c. `_move`: `sequences._solve_window` solves 240 frames together with free feet, and once more if feet
              stand or a body falls. The last frames of a window are solved again by the next one.
        3. `complete_bodies` interpolates the rows of frames that were not searched.
        4. If a walking camera's path has a scale, 2 and 3 are repeated with the moved cameras.
        network_alone takes the network's estimates instead of 1 to 4.
        """
        if self._masks is not None:
            self._masks.refuse_sequence()
        uses_network = options.network_alone or bool(options.network.weights)
        detecting = part_of(progress, 0, _DETECTION_SHARE)
        estimates = Estimates(self._network if uses_network else None)
        uses_outlines = options.outline.use and not options.network_alone
        search = SequenceSearch(
            None if uses_network else journal,  # networks need masks, which no journal keeps
            masks=uses_network,
            frame_rate=None if options.network_alone else frame_rate,  # the method nbf needs every frame
        )
        detections = prefetch(self._people.in_sequence(frames, search), 1)
        with (
            closing(detections) as decoded,
            TrackMasks(uses_outlines, self._compute.threads, self._compute.device) as masks,
            closing(self._hand_detector()) as hands,
        ):
            builder = SequencePeopleBuilder(options, estimates, masks, hands)
            for done, (frame, people) in enumerate(decoded, 1):
                builder.add(frame, people)
                if done % _FRAMES_BETWEEN_RETURNS == 0:
                    return_freed_memory()
                detecting(done, frame_count, "frames")
        return_freed_memory()
        solving = part_of(progress, _DETECTION_SHARE, 1)
        solving(0, None, "fitting bodies")
        sequence = builder.finish(frame_rate, hide_shared=isinstance(self._people, DetectedPeople))
        cameras = sequence.cameras
        rows = [replace(row, shape=self._measured_shape(row.track)) for row in sequence.people]
        if not options.network_alone:
            rows = self._with_outline_shapes(rows, cameras)
            rows = complete_tracks(rows, cameras, fill_gaps=self._people.fills_gaps)
        solved = self._solve(rows, cameras, solving, sequence=True) if rows else None
        # Feet determine the scale of a path, so bodies are solved before it is known, and again along it.
        paths = []
        for walk in sequence.walks:
            scale = None if solved is None else walk.scale(rows, solved, sequence.seconds)
            if scale is not None:
                cameras = walk.moved(cameras, scale)
                paths.append(walk.document(scale))
        if paths and not options.network_alone:
            solved = self._solve(rows, cameras, solving, sequence=True)
        if solved is not None:
            solved = articulate(self.body, solved, rows, cameras, smooth=True)
        return_freed_memory()
        times = sequence.seconds if sequence.has_times else None
        fit = self._record(rows, cameras, solved, options, frame_rate, times, sequence.unfitted)
        if paths:
            fit = replace(fit, options=replace(fit.options, camera_paths=paths))
        return confident(replace(fit, clothes=sequence.clothes), options.min_confidence)

    def _hand_detector(self) -> HandDetector:
        return HandDetector(
            self.options.hands and self.body.fingers is not None, self._compute.threads, self._compute.device
        )

    @cached_property
    def _stature(self) -> BodyStature:
        return BodyStature.of(self.body)

    def _measured_shape(self, track: int) -> ShapePrior | None:
        """Return the shape prior of a person whose height is given, else None."""
        return self._shapes.get(track, self._shapes.get(None))

    def _with_outline_shapes(
        self, people: list[DetectedPerson], cameras: Sequence[FrameCamera]
    ) -> list[DetectedPerson]:
        """Give the rows of each track the shape that their masks show, and drop the masks."""
        masked = [person for person in people if person.mask is not None]
        if masked:
            tracks = [person.track for person in masked]
            priors = self._outline_priors(masked, self._solve(masked, cameras), cameras, tracks)
            people = [replace(row, mask=None, shape=priors.get(row.track, row.shape)) for row in people]
        return people

    def _outline_priors(
        self,
        people: Sequence[DetectedPerson],
        bodies: KeypointFit,
        cameras: Sequence[FrameCamera],
        groups: Sequence[int],
    ) -> dict[int, ShapePrior]:
        """Find the shape that masks show for each group of rows, one person each."""
        if not self.options.outline.use or self.options.network_alone:
            return {}
        return outline_priors(self.body, people, bodies, cameras, groups, self._stature.component)

    def _image_camera(self, frame: Frame, people: Sequence[DetectedPerson], options: FitOptions) -> FrameCamera:
        """Choose the camera of an independent image. An unknown lens is so long that nobody is nearer than 2 m."""
        camera = camera_of(frame, options)
        if options.focal or frame.focal:
            return camera
        nearest = min((distance_from_camera(person, camera.camera) for person in people), default=math.inf)
        longer = max(1.0, _MIN_DISTANCE / nearest)
        return replace(camera, camera=replace(camera.camera, focal=camera.camera.focal * longer))

    def _solve(
        self,
        people: Sequence[DetectedPerson],
        cameras: Sequence[FrameCamera],
        progress: Progress = no_progress,
        *,
        sequence: bool = False,
    ) -> KeypointFit:
        """Solve the bodies of N ≥ 1 rows in their order."""
        if self.options.network_alone:
            if sequence:
                return fit_of_estimates(self.body, people, cameras, shared_shape=True)
            # Image by image, because rounding depends on the size of a batch.
            images = [list(rows) for _, rows in groupby(people, lambda row: row.frame)]
            return KeypointFit.joined([fit_of_estimates(self.body, p, cameras, shared_shape=False) for p in images])
        if sequence:
            searched = [row for row, person in enumerate(people) if cameras[person.frame].searched]
            rows_searched = SequenceObservations([people[row] for row in searched], cameras)
            bodies = fit_keypoints(self.body, rows_searched, self.options.keypoints, progress)
            return complete_bodies(self.body, people, cameras, searched, bodies)
        batches = rows_by_evidence(people)
        fits = []
        for rows in batches:
            observations = observations_of([people[row] for row in rows], cameras)
            fits.append(fit_keypoints(self.body, observations, self.options.keypoints))
        return KeypointFit.joined(fits).rows(np.argsort(np.concatenate(batches), kind="stable"))

    def _record(
        self,
        people: Sequence[DetectedPerson],
        cameras: Sequence[FrameCamera],
        bodies: KeypointFit | None,
        options: FitOptions,
        frame_rate: float | None = None,
        frame_times: Sequence[float] | None = None,
        unfitted: Sequence[UnfittedDetection] = (),
    ) -> Fit:
        """Make the fit of rows in frames. `bodies` is None if there are no rows."""
        absent = {p.frame for p in people if p.absent} - {p.frame for p in people if not p.absent}
        settings = {**asdict(options), "body": self.body.name, "network": self.network_identity}
        if self._network is not None and self._network.precision != "full":
            settings["precision"] = self._network.precision
        stored_options = replace(
            StoredOptions.of_document(settings),
            camera_unknown=[row for row, c in enumerate(cameras) if not c.turn.solved],
            damaged=[row for row, c in enumerate(cameras) if c.damaged],
            camera_walks=[row for row, c in enumerate(cameras) if c.turn.walks and not c.turn.solved] or None,
            not_searched=[row for row, c in enumerate(cameras) if not c.searched] or None,
            no_person=sorted(absent) or None,
            not_fitted=[detection.document() for detection in unfitted] or None,
            hands_not_taken=None if bodies is None else hands_not_taken(people, bodies) or None,
            **(doubts_of_keypoints(people) if len(cameras) > 1 else {}),
        )
        return fit_record(
            people,
            bodies,
            cameras,
            model=self.body,
            options=stored_options,
            frame_rate=frame_rate or 0.0,
            frame_times=frame_times,
        )

    def __enter__(self) -> Fitter:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._people.close()
        self._hands.close()


def fit_item(fitter: Fitter, item: InputItem, output: Path, progress: Progress = no_progress) -> Fit:
    """Fit the people of an item whose fit file will be `output`.

    The people of a sequence are kept in a journal, so that an interrupted run continues. The caller removes it when the
    item is recorded.
    """
    return fitter.fit(item, progress=progress, journal=journal_of(item, output, fitter.identity))


def check_pixels(source: Any, *, sequence: bool = False, name: str = "source") -> np.ndarray:
    """Return an image, or anything that converts to one, as an array.

    Args:
        source: (H, W, 3) uint8 RGB.
        sequence: Also accept (T, H, W, 3).
        name: What the error calls the source.

    Raises:
        InputError: If shape or type are different. The message has a remedy for floats, alpha and grey images.
    """
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
