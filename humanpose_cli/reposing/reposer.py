"""Reposing of people in photographs: fit, texture, target and image in one.

with Reposer(person="largest") as reposer:
    for photo in photos:
        reposer.repose(photo, "arms_up.npy").save(f"{photo}.arms_up.png")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.arguments import declared, given, taken
from humanpose_cli.core.device import ComputeArguments, ComputeOptions, resolve_device
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.files.digests import digest_of
from humanpose_cli.fitting.fitter import IMAGE_STEPS, Fitter, check_pixels
from humanpose_cli.fitting.options import DetectorMode, EvidenceFiles, FitOptions
from humanpose_cli.fitting.painted_masks import painted_masks
from humanpose_cli.fitting.people import PeopleSource, detections_of_fit
from humanpose_cli.fitting.progress_bar import progress_of
from humanpose_cli.fitting.result import Fit, load_fit
from humanpose_cli.io.colours import named_colour
from humanpose_cli.io.frame_range import FrameRange, parse_range
from humanpose_cli.io.images import read_image
from humanpose_cli.io.inputs import InputItem, open_inputs
from humanpose_cli.models.warp3d.generator import Warp3d, load_warp3d
from humanpose_cli.networks.precision import precision_label
from humanpose_cli.networks.weights import find_weights
from humanpose_cli.reposing.driving import TargetPeople
from humanpose_cli.reposing.options import MIN_STEPS, ReposeMethod, ReposeOptions
from humanpose_cli.reposing.result import Reposed
from humanpose_cli.reposing.scene import POSES_ON_GPU, Backdrop, ReposingScene
from humanpose_cli.reposing.targets import AnyTarget, read_target

if TYPE_CHECKING:
    from typing_extensions import Unpack

AnyPerson: TypeAlias = "str | int | Mapping[int, int]"
"""People of a photograph: as `ReposeOptions.person`, an id, or a mapping to the ids of the target's people."""


class ReposerArguments(ComputeArguments, total=False):
    """Arguments of `Reposer` and `hp.repose`. `ReposeOptions` and the options of a fit explain them."""

    method: ReposeMethod
    person: AnyPerson
    target_person: str | int
    background: Backdrop
    size: int | None
    canvas: str
    absolute: bool
    in_place: bool
    weights: str
    layers: bool
    force: bool
    body: str | Body
    focal: float | None
    detector: DetectorMode
    mask: str | Path | None


@declared(ReposerArguments, ReposeOptions, FitOptions, EvidenceFiles, ComputeOptions)
class Reposer:
    """Draws the people of photographs in other poses. The models are loaded once; a context manager.

    Args:
        options: All options at once. Other arguments take precedence.
        people_source: Finds the people in place of our detector.
    """

    def __init__(
        self,
        options: ReposeOptions | None = None,
        *,
        people_source: PeopleSource | None = None,
        **arguments: Unpack[ReposerArguments],
    ) -> None:
        values = given(Reposer, arguments)
        compute = taken(values, ComputeArguments.__annotations__)
        fitting = {**compute, **taken(values, ("body", "focal", "detector"))}
        self._masks = painted_masks(values.pop("mask", None))
        self._plate, background = _plate_of(values.pop("background", None))
        if background is not None:
            values["background"] = background
        values |= {name: _as_option(value) for name, value in taken(values, ("person", "target_person")).items()}
        self.options = replace(options or ReposeOptions(), **values)
        self._compute = ComputeOptions(**compute)
        self._make_fitter = partial(Fitter, self.options.fit, people_source=people_source, **fitting)
        self.network: Warp3d | None = None
        if self.options.method == "warp3d":
            path = find_weights(self.options.weights)
            self.network = load_warp3d(path, resolve_device(self._compute.device), self._compute.precision)
            if not self.options.force:
                _refuse_untrained(self.network, path)

    @cached_property
    def fitter(self) -> Fitter:
        """The fitter of photographs; loads its models on first access."""
        return self._make_fitter(mask=None if self._masks is None else self._masks.path)

    @cached_property
    def target_fitter(self) -> Fitter:
        """The fitter of targets that are images, to which the masks of photographs do not belong."""
        return self.fitter if self._masks is None else self._make_fitter()

    @property
    def identity(self) -> dict[str, Any]:
        """The values that decide the images besides photograph and target, as JSON values; files by their contents."""
        weights = ""
        if self.network is not None:
            weights = digest_of(find_weights(self.options.weights))[:16] + precision_label(self._compute.precision)
        options = asdict(self.options)
        del options["force"]  # which decides whether there are images, and nothing about them
        # So that results of versions without these options are still known.
        usual = {"target_person": "largest", "canvas": "keep", "layers": False, "in_place": False}
        for name, value in usual.items():
            if options[name] == value:
                del options[name]
        return {**options, "fit": self.fitter.identity, "weights": weights}

    def check(self, photos: Sequence[InputItem]) -> None:
        """Check that the masks belong to the photographs, see `PaintedMasks.check`."""
        if self._masks is not None:
            self._masks.check([photo for photo in photos if not photo.is_sequence])

    def read(
        self,
        photo: np.ndarray,
        *,
        name: str = "photo",
        focal: float | None = None,
        fit: Fit | None = None,
        max_people: int | None = None,
        progress: Progress = no_progress,
    ) -> ReposingScene:
        """Fit the people of a photo, and make the textures of the reposed people.

        Args:
            photo: (H, W, 3) uint8 RGB.
            name: The photo's name in messages.
            focal: The focal length, pixels; None to estimate it.
            fit: An existing fit of this photo, or of a sequence that begins with it.
            max_people: The maximum number of reposed people: the largest of the chosen ones.
            progress: Called with (done, total or None, unit).

        Raises:
            InputError: If there are no people, or not the requested person.
        """
        if fit is None:
            record = self.fitter.fit_image(photo, name=name, focal=focal, progress=progress)
        else:
            record = self._checked(fit, photo, name)
        progress(IMAGE_STEPS - 1, IMAGE_STEPS, "making textures")
        rows = _chosen_rows(record, self.options, name)[:max_people]
        at_once = 1
        if self.network is not None:
            at_once = self._compute.batch_size or (1 if self.network.device.type == "cpu" else POSES_ON_GPU)
        body = record.body_model()
        return ReposingScene(photo, record, rows, body, self.options, self._plate, self.network, at_once)

    def _checked(self, fit: Fit, photo: np.ndarray, name: str) -> Fit:
        """Return a fit's first frame with masks of its people. Raises InputError if the photo has another size."""
        height, width = photo.shape[:2]
        if fit.image_size[0].tolist() != [width, height]:
            size = "{} × {} pixels".format(*fit.image_size[0])
            got = f"{width} × {height}"
            raise InputError(name, "is not the photograph of `fit`", expected=size, got=got)
        if fit.model is None and fit.body != "default":
            fit = replace(fit, model=self.fitter.body)
        if fit.model is not None and fit.model.name != fit.body:
            raise InputError(name, "was fitted with another `body`", expected=fit.model.name, got=fit.body)
        fit = fit.select(fit.rows_for(0))
        if not fit.detections and len(fit):
            fit = replace(
                fit, detections=tuple(detections_of_fit(fit, photo, self._compute.threads, self._compute.device))
            )
        if self._masks is not None:
            fit = replace(fit, detections=tuple(self._masks.applied(fit.detections, name, photo.shape[:2])))
        return fit

    def repose(
        self,
        photo: str | Path | np.ndarray | InputItem,
        target: AnyTarget,
        *,
        fit: Fit | str | Path | None = None,
        skeleton: str | None = None,
        axes: str | None = None,
        frames: str | FrameRange | None = None,
        progress: Progress = no_progress,
    ) -> Reposed:
        """Draw the people of a photograph in other poses. Images are drawn on access.

        Args:
            photo: A path, an item, or (H, W, 3) uint8 RGB. The first frame of a sequence.
            target: A pose file, an image or a video; joints (J, 3) or (T, J, 3) in metres; a fit, or a person of one;
                or the result of `read_target`.
            fit: An existing fit of this photo, or its path.
            skeleton: The skeleton of joints and pose files that do not name it, such as "smpl24".
            axes: The axes of joints and pose files that do not name them: "camera", "y-up" or "z-up".
            frames: "A:B". The frames of a motion or a driving video.
            progress: Called with (done, total or None, unit).
        """
        part = parse_range(frames)
        read = partial(read_target, skeleton=skeleton, axes=axes, frames=part, progress=progress)
        motion = read(target, lambda: self.target_fitter, drivers=self.options.drivers)
        max_people = len(motion.people) if isinstance(motion, TargetPeople) and not self.options.pairs else None
        fit = load_fit(fit) if isinstance(fit, str | Path) else fit
        if isinstance(photo, str | Path):
            photo = _one_photo(photo)
            self.check([photo])
        source = None
        if isinstance(photo, InputItem):
            frame = next(photo.frames(ahead=0))
            if fit is None and not photo.is_sequence:
                fit = self.fitter.fit(photo, progress=progress)
            pixels = frame.pixels
            source = (frame.path, photo.light_view) if frame.path else None
            name = photo.label
            focal = frame.focal
        else:
            pixels = check_pixels(photo)
            name = "photo"
            focal = None
        scene = self.read(pixels, name=name, focal=focal, fit=fit, max_people=max_people, progress=progress)
        reader_warnings = getattr(target, "warnings", ())  # by the reader of the target
        warnings = [doubt.sentence for of_person in scene.doubts.values() for doubt in of_person]
        if max_people and self.options.person == "all" and len(scene.record) > len(scene.rows):
            count = len(scene.record) - len(scene.rows)
            warnings.append(f"the target has {max_people} to drive them: {count} of the photograph's people stay")
        warnings += [warning for warning in motion.warnings if warning not in reader_warnings]
        return Reposed(scene, motion, warnings, source)

    def __enter__(self) -> Reposer:
        return self

    def __exit__(self, *problem: Any) -> None:
        made = [vars(self)[name] for name in ("fitter", "target_fitter") if name in vars(self)]
        for fitter in {id(fitter): fitter for fitter in made}.values():
            fitter.__exit__(*problem)


def _plate_of(background: Backdrop | None) -> tuple[NDArray[np.uint8] | None, Any]:
    """Read the background if it is an image; also return the option `background`."""
    if background is None or (isinstance(background, str) and background in ("keep", "transparent")):
        return None, background
    if isinstance(background, str) and (colour := named_colour(background)) is not None:
        return np.full((1, 1, 3), colour, np.uint8), None
    return read_image(background).pixels if isinstance(background, str | Path) else check_pixels(background), None


def _one_photo(path: str | Path) -> InputItem:
    items = list(open_inputs([path], sequence=False))
    if len(items) != 1:
        raise UsageError("photo", "is several", got=f"{len(items)} images", remedy="repose them one by one: hp.Reposer")
    return items[0]


def _refuse_untrained(network: Warp3d, path: Path) -> None:
    """Raise UsageError for a network that was trained for fewer steps than `MIN_STEPS`."""
    training = network.header.training
    steps = training.get("steps")
    if steps is None:
        return
    steps += sum(earlier["steps"] for earlier in training.get("began_with", ()))
    if steps < MIN_STEPS:
        minimum = f"{MIN_STEPS:,} steps or more"
        remedy = "train on, or try it with `force`"
        problem = f"has hardly been trained ({path})"
        raise UsageError("weights", problem, expected=minimum, got=f"{steps:,}", remedy=remedy)


def _as_option(person: AnyPerson) -> str:
    """Write people as the option `person`."""
    if isinstance(person, Mapping):
        return ",".join(f"{person_id}={driver}" for person_id, driver in person.items())
    return str(person)


def _chosen_rows(record: Fit, options: ReposeOptions, name: str) -> list[int]:
    if not len(record):
        raise InputError(name, "no person was found", remedy="a larger, sharper or less covered person may be")
    if options.person == "all":
        return list(range(len(record)))
    if options.person == "largest":
        return [0]  # an image's people come with the largest first
    for person in options.chosen:
        if person not in record.tracks:
            track_ids = f"0 to {len(record) - 1}, the largest first" if len(record) > 1 else "0, the only one"
            raise InputError(name, f"has no person {person}", expected=track_ids)
    return [int(row) for person in options.chosen for row in record.rows_of(person)]


@declared(ReposerArguments, ReposeOptions, FitOptions, EvidenceFiles, ComputeOptions)
def repose(
    photo: str | Path | np.ndarray,
    target: AnyTarget,
    *,
    fit: Fit | str | Path | None = None,
    skeleton: str | None = None,
    axes: str | None = None,
    frames: str | FrameRange | None = None,
    progress: bool | Progress | None = None,
    **arguments: Unpack[ReposerArguments],
) -> Reposed:
    """Draw the people of a photograph in other poses.

    The models are loaded at every call. `hp.Reposer` keeps them loaded, for loops.

    Args:
        photo: A path, or (H, W, 3) uint8 RGB.
        target: A pose file (.npy, AMASS .npz, fit file, .bvh), an image or a video; joints (J, 3) or (T, J, 3) in
            metres, camera axes; a fit, or one of its `people`.
        fit: An existing fit of this photo, or its path.
        skeleton: The skeleton of joints and pose files that do not name it.
        axes: The axes of joints and pose files that do not name them.
        frames: "A:B". The frames of a motion or a driving video.
        progress: True draws a bar on stderr. A function is called with (done, total or None, unit).

    Raises:
        InputError: If a file is missing or damaged, or shows nobody.
        UsageError: If an option is unusable, or cannot be combined with another one.

    Example:
        hp.repose("photo.jpg", "dance.bvh").save("dance.mp4")
    """
    reposer = Reposer(**given(repose, arguments))
    with reposer, progress_of(progress) as report:
        return reposer.repose(photo, target, fit=fit, skeleton=skeleton, axes=axes, frames=frames, progress=report)
