"""The user's images: `hpc preprocess images ROOT`, with fits or DensePose output if they are given.

Layout: data/README.md. A group is an image, one sequence, or a take of several cameras. Without fits, an estimator that
is passed in detects the people; without an estimator, they come from a DensePose dump, if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.core.options import option
from humanpose_cli.files.checks import existing_folder
from humanpose_cli.io.densepose_files import DensePoseOutput, DensePosePerson, encode_densepose
from humanpose_cli.io.fit_files import FitRecord, read_fit
from humanpose_cli.io.inputs import OUTPUT_SUFFIXES, InputItem, escaped, open_inputs, printable
from humanpose_cli.lab.cache.samples import SPLITS, Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.common import FolderSource, SequenceOptions, clip_box, first_existing
from humanpose_cli.lab.datasets.estimators import EstimatedImage
from humanpose_cli.lab.datasets.laboratory_calibrations import read_take_calibration
from humanpose_cli.lab.datasets.reading import (
    StoredImage,
    decode_pixels,
    encode_mask,
    encode_pixels,
    stored_image,
    video_frame_count,
    video_frames,
)
from humanpose_cli.outputs.output_names import FIT_SUFFIX
from humanpose_cli.views.inputs import TakeInput, separate_takes

if TYPE_CHECKING:
    from humanpose_cli.fitting.result import Fit


@dataclass(frozen=True)
class ImagesOptions(SequenceOptions):
    """Options of images; `allow_missing` accepts images without a fit file or DensePose output."""

    fits: str | None = option(None, "Folder that `hpc fit` wrote.", unset="none")
    densepose: str | None = option(None, "Folder or dump file.", unset="none")
    sequence: bool | None = option(
        None, "Whether the images of each folder are one sequence.", unset="as `hpc fit` decides"
    )
    views: bool = option(
        False,
        "Whether each folder holds a take: videos of several cameras, or photographs of one moment.",
    )
    calibration: str | None = option(
        None,
        "Calibration file of the takes' cameras, or its name in each take's folder or a parent folder.",
        unset="found from the people",
    )
    split: str = option("train", "Split of the protocol `images` that all images belong to: train, validation or test.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if split_name(self.split) not in SPLITS:
            raise UsageError("split", "is not known", expected=", ".join(SPLITS), got=self.split)


class ImagesSource(FolderSource):
    """Images, sequences and videos of the user."""

    name = "images"
    title = "images"
    splits = None
    options: ImagesOptions
    options_type = ImagesOptions

    def _prepare(self) -> None:
        self.root = Path(os.path.abspath(self.root))  # as `open_inputs` names what it finds
        fits = self.options.fits
        densepose = self.options.densepose
        self._fits = None if fits is None else existing_folder(Path(fits), "the folder that hpc fit wrote")
        self._densepose = None if densepose is None else DensePoseOutput(Path(densepose))

    def _more_info(self) -> Mapping[str, Any]:
        return {
            "fits": self._fits is not None,
            "densepose": self._densepose is not None,
            **({"poses_by": "fit files"} if self._fits is not None else self._estimator_info()),
        }

    def _list(self, notes: list[str]) -> Iterable[Group]:
        result_folders = [path for path in (self.options.fits, self.options.densepose) if path is not None]
        exclude = [Path(path) for path in result_folders if Path(path).resolve() != self.root.resolve()]
        inputs = open_inputs(
            [self.root], sequence=self.options.sequence, exclude=exclude, output_suffixes=OUTPUT_SUFFIXES
        )
        items: Sequence[InputItem] = list(inputs)
        notes += inputs.messages
        if self.options.views:
            return self._takes(items, notes)
        if self._fits is not None:
            remedy = f"run hpc fit {self.root} --out {self._fits}, or go without them: `allow_missing`"
            fits = [(item, self._fit_file(item.key)) for item in items]
            self._present(fits, self._fits, "fit files", notes, remedy)
        elif self.tools.estimator is None:
            notes.append(f"{self.root}: the samples have no poses; give the folder that hpc fit made: `fits`")
        return [self._group(item) for item in items]

    def _takes(self, items: Sequence[InputItem], notes: list[str]) -> list[Group]:
        """List a group for each folder of cameras."""
        folders: dict[str, list[InputItem]] = {}
        for item in items:
            folders.setdefault(item.key.rpartition("/")[0], []).append(item)
        single_views = [folder or str(self.root) for folder, views in folders.items() if len(views) < 2]
        if single_views:
            expected = "two cameras or more in each folder"
            raise InputError(self.root / single_views[0], "holds what one camera shows", expected=expected)
        groups = []
        for folder, views in folders.items():
            calibration = self._calibration(folder)
            all_views = TakeInput(folder or self.root.name, tuple(views))
            for take in (
                [all_views] if calibration is None else separate_takes(all_views, read_take_calibration(calibration))
            ):
                parts = [self._group(item) for item in take.views]
                name = Path(all_views.key).name + take.key.removeprefix(all_views.key)
                fit = None if self._fits is None else self._take_file(name)
                key = {"views": parts, "take": take, "fit": fit, "calibration": calibration}
                files = [path for part in parts for path in part.files]
                files += [path for path in (fit, calibration) if path is not None]
                groups.append(Group(take.key, sum(part.count for part in parts), key=key, files=files))
        if self._fits is not None:
            takes = [(group, group.key["fit"]) for group in groups]
            remedy = f"run hpc combine, with --out {self._fits}, or go without them: `allow_missing`"
            self._present(takes, self._fits, "fit files", notes, remedy)
        elif self.tools.estimator is None:
            notes.append(f"{self.root}: the samples have no poses; give the folder that hpc combine made: `fits`")
        return groups

    def _calibration(self, folder: str) -> Path | None:
        """Find the file with the cameras of a folder's takes."""
        name = self.options.calibration
        if name is None or Path(name).exists():
            return None if name is None else Path(name)
        above = [self.root / folder, *(self.root / folder).parents]
        return first_existing(*(parent / name for parent in above[: above.index(self.root) + 1]))

    def _take_file(self, name: str) -> Path:
        """Find the fit file of a take; `hpc fit` names it `take` if its cameras were listed one by one."""
        assert self._fits is not None
        take_file, default = (self._fits / f"{escaped(file_name)}{FIT_SUFFIX}" for file_name in (name, "take"))
        return default if default.is_file() and not take_file.is_file() else take_file

    def _group(self, item: InputItem) -> Group:
        if item.error is not None:
            raise item.error
        count = video_frame_count(item.path) if item.kind == "video" else len(item.files)
        files = [str(path.relative_to(self.root)) for path in item.files]
        key = {"kind": item.kind, "files": files, "count": count}
        fit = [self._fit_file(item.key)] if self._fits is not None and not self.options.views else []
        all_files = (*item.files, *(path for path in fit if path.is_file()))
        return Group(item.key, len(self.options.every_nth(count)), key=key, files=all_files)

    def _fit_file(self, key: str) -> Path:
        assert self._fits is not None
        return self._fits / f"{key}{FIT_SUFFIX}"

    def read(self, group: Group) -> Iterator[Sample]:
        if not self.options.views:
            yield from self._samples(group, self._estimates(group))
            return
        fits = self._views_of_take(group)
        for view in group.key["views"]:
            fit = fits.get(view.name.rpartition("/")[2])
            path = group.key["fit"] or view.name
            people = [EstimatedImage()] * view.count if fit is None else _Fits(fit, path, view, group.name)
            yield from self._samples(view, people)

    def _views_of_take(self, group: Group) -> dict[str, Fit]:
        """Map the names of a take's cameras to their fits, read or estimated; {} without either."""
        # Cameras that show none of the people are left out, and so are bodies that one camera alone shows: they are no
        # better than their fits to that camera.
        path = group.key["fit"]
        views = group.key["take"].views
        names = [view.path.name for view in views]
        if path is None and self.tools.estimator is not None:
            take = self.tools.estimator.estimate_take(views, names, group.key["calibration"])
        elif path is not None and path.is_file():
            from humanpose_cli.fitting.result import load_fit

            take = load_fit(path)
        else:
            return {}
        take_names = [camera.name for camera in take.cameras]
        if not set(names) & set(take_names):
            raise InputError(path, "is of other cameras", expected=", ".join(sorted(names)), got=", ".join(take_names))
        visible_in_several = np.sum([(camera.keypoints2d[..., 2] > 0).any(1) for camera in take.cameras], axis=0) >= 2
        people = take.select(np.flatnonzero(visible_in_several))
        return {camera.name: people.view(number) for number, camera in take.cameras_with_frames.items()}

    def _samples(self, group: Group, estimates: _Fits | Sequence[EstimatedImage]) -> Iterator[Sample]:
        """Make the samples of an image or sequence."""
        sequence = group.key["kind"] != "image"
        for number, (frame, name, image) in enumerate(self._images(group)):
            estimate = estimates.at(name, image) if isinstance(estimates, _Fits) else estimates[number]
            maps: dict[str, bytes] = {}
            people = list(estimate.people)
            if self._densepose is not None:
                allow_missing = self.options.allow_missing
                charts, densepose_people = self._densepose.read(name, group.name, image.size, allow_missing)
                if charts is not None:
                    maps["densepose"] = encode_densepose(charts)
                people = people or [_person(person, image.size) for person in densepose_people]
            yield Sample(
                f"{group.name}/{name}" if sequence else group.name,
                image.image,
                image.size,
                estimate.focal or image.focal,
                estimate.principal_point,
                people,
                maps,
                sequence=group.name if sequence else "",
                frame=frame,
                world_to_camera=estimate.world_to_camera,
                splits={self.name: split_name(self.options.split)},
            )

    def _estimates(self, group: Group) -> _Fits | Sequence[EstimatedImage]:
        """Read the fit file, or estimate; empty without either."""
        path = None if self._fits is None else self._fit_file(group.name)
        if path is not None and path.is_file():
            return _Fits(read_fit(path), path, group)
        if path is not None or self.tools.estimator is None:
            return [EstimatedImage()] * group.count
        pixels: Iterator[NDArray[np.uint8]] = (decode_pixels(image) for _, _, image in self._images(group))
        sequence = group.key["kind"] != "image"
        return self.tools.estimator.estimate(pixels, sequence=sequence, single_person=False)

    def _images(self, group: Group) -> Iterator[tuple[int, str, StoredImage]]:
        """Read frame number, name (as in fit files) and image."""
        frames = self.options.every_nth(group.key["count"])
        files = [self.root / name for name in group.key["files"]]
        if group.key["kind"] == "video":
            for frame, pixels in video_frames(files[0], frames):
                yield frame, f"{frame:06d}", encode_pixels(pixels)
            return
        for frame in frames:
            yield frame, printable(files[frame].name), stored_image(files[frame])


class _Fits:
    """The fit at `path` of an image or sequence. Raises InputError if it belongs to another one."""

    def __init__(self, record: FitRecord, path: Path, group: Group, people_of: str = "") -> None:
        self.path = path
        self.group = people_of or group.name
        self.record = record
        self.frames = {str(name): frame for frame, name in enumerate(self.record.frame_names)}
        if group.key["kind"] == "video":
            names = {f"{frame:06d}" for frame in range(group.key["count"])}
        else:
            names = {printable(Path(name).name) for name in group.key["files"]}
        if not names & self.frames.keys():
            got = ", ".join(list(self.frames)[:3])
            raise InputError(path, "belongs to other images", expected=min(names), got=got or "no frames")

    def at(self, name: str, image: StoredImage) -> EstimatedImage:
        """Return the people in the image of that name; none if the fit left it out (--frames)."""
        frame = self.frames.get(name)
        if frame is None:
            return EstimatedImage()
        width, height = (int(n) for n in self.record.image_size[frame])
        if (width, height) != image.size:
            got = f"{width} × {height}"
            expected = f"{image.size[0]} × {image.size[1]} as {name} has now"
            raise InputError(self.path, "was made of an image of another size", expected=expected, got=got)
        return EstimatedImage.of_fit(self.record, frame, self.group)


def _person(person: DensePosePerson, size: tuple[int, int]) -> Person:
    return Person(box=clip_box(person.box, size), mask=encode_mask(person.mask(size)))
