"""The result of reposing: images that are drawn on access, and their files.

reposed = hp.repose("photo.jpg", "arms_up.npy")
reposed.image                     # (H, W, 3) uint8
reposed.save("arms_up.png")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from humanpose_cli.avatar.person import Doubt
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.io.image_sequences import numbered_path, sequence_name
from humanpose_cli.io.images import (
    IMAGE_SUFFIXES,
    TRANSPARENT_SUFFIXES,
    WRITTEN_SUFFIXES,
    LightView,
    encode_image,
    read_light,
    write_image,
)
from humanpose_cli.io.inputs import InputItem, escaped
from humanpose_cli.io.plates import Plate
from humanpose_cli.io.video import VIDEO_SUFFIXES, VideoCodec, VideoWriter
from humanpose_cli.outputs.output_names import FIT_SUFFIX
from humanpose_cli.reposing.composition import ReposedImage
from humanpose_cli.reposing.driving import AnyMotion
from humanpose_cli.reposing.layers import Layers, layer_files, write_layers
from humanpose_cli.reposing.scene import ReposingScene

Form = Literal["image", "video", "numbered"]


class ImageDoubts:
    """The doubts about the people in the images of a motion: the largest of each person and kind."""

    def __init__(self) -> None:
        self._worst: dict[tuple[int, str], Doubt] = {}

    def add(self, person: int, doubts: Iterable[Doubt]) -> None:
        """Add the doubts about a person in one image."""
        for doubt in doubts:
            worst = self._worst.get((person, doubt.kind))
            if worst is None or doubt.amount > worst.amount:
                self._worst[person, doubt.kind] = doubt

    def sentences(self, *, several: bool) -> list[str]:
        """Return sentences for the user, with track ids if there are several people."""
        return [
            f"person {person}: {doubt.sentence}" if several else doubt.sentence
            for (person, _), doubt in self._worst.items()
        ]

    def reasons(self, person: int) -> list[str]:
        """Return the short reasons of a person, for a table."""
        return [doubt.reason for (track, _), doubt in self._worst.items() if track == person]


def named_doubts(by_person: dict[int, list[str]]) -> str:
    """Join reasons by track id, such as "70 % hidden; turned 120°"; "" for none."""
    sentences = {person: "; ".join(reasons) for person, reasons in by_person.items() if reasons}
    return "; ".join(text if len(by_person) == 1 else f"person {person}: {text}" for person, text in sentences.items())


class Reposed:
    """The people of a photograph in the poses of a target. Images are drawn on access.

    Attributes:
        visible_fraction: The share of a reposed person's surface that the photograph shows, the smallest so far.
        methods: How each person was drawn.
        people: The track ids of the reposed people in the photograph.
        moved: How each person was moved along the ground to stay in the image, such as "0.31 m to the left".
        target_people: The track ids of the target's people who drive them; None if the target has no people.
    """

    def __init__(
        self,
        scene: ReposingScene,
        target: AnyMotion,
        warnings: Sequence[str] = (),
        photo: tuple[Path, LightView] | None = None,
    ) -> None:
        self.scene = scene
        self.target = target
        self._photo = photo
        self._warnings = list(warnings)
        self._doubts = ImageDoubts()
        self.visible_fraction = 1.0
        self.methods: tuple[str, ...] = ()
        self.people = scene.tracks
        self.moved: tuple[str, ...] = ("",) * len(self.people)
        drivers = scene.drivers(target)
        self.target_people = tuple(getattr(driver, "person", None) for driver in drivers)
        self._fit_reasons = {person: [doubt.reason for doubt in doubts] for person, doubts in scene.doubts.items()}
        for person, driver in zip(self.people, drivers, strict=True):
            if doubt := getattr(driver, "doubt", ""):
                self._fit_reasons[person].append(f"target: {doubt}")

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self.target)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Draw an image for each pose: (H, W, 3) uint8, or (H, W, 4) if the background is transparent."""
        return (result.image for result in self.drawn())

    def drawn(self) -> Iterator[ReposedImage]:
        """Draw an image for each pose, with its layers if they are requested."""
        for result in self.scene.images(self.target):
            self.visible_fraction = min(self.visible_fraction, result.visible_fraction)
            self.methods = result.methods
            self.moved = tuple(map(str, result.moved))
            for person, doubts in zip(self.people, result.doubts, strict=True):
                self._doubts.add(person, doubts)
            yield result

    @cached_property
    def _plate(self) -> Plate | None:
        """The photograph as linear light, whose space EXR files have; None if it is no plate."""
        return read_light(*self._photo) if self._photo else None

    @property
    def warnings(self) -> list[str]:
        """Sentences about what may look wrong in the images drawn so far."""
        return [*self._warnings, *self._doubts.sentences(several=len(self.people) > 1)]

    @property
    def doubtful(self) -> str:
        """The warnings in a few words, such as "70% hidden in the photo; turned 120°"; "" for none."""
        return named_doubts({p: [*reasons, *self._doubts.reasons(p)] for p, reasons in self._fit_reasons.items()})

    @cached_property
    def images(self) -> list[np.ndarray]:
        """All images, kept in memory."""
        return list(self)

    @property
    def layers(self) -> Layers:
        """The layers of the first image, for compositing.

        Raises:
            UsageError: Unless `layers=True` was requested.
        """
        layers = next(self.drawn()).layers
        if layers is None:
            raise UsageError("layers", "were not requested", remedy="hp.repose(…, layers=True)")
        return layers

    @cached_property
    def image(self) -> np.ndarray:
        """The first image."""
        return self.__dict__["images"][0] if "images" in self.__dict__ else next(iter(self))

    def save(
        self, path: Path | str, progress: Progress = no_progress, *, video_codec: VideoCodec = "h264"
    ) -> tuple[Path, ...]:
        """Write an image, a video, or numbered images. Images are drawn one by one and not kept.

        Args:
            path: An image, a video (.mp4), a folder, or a numbered pattern such as `f_%04d.exr`. Numbers are the
                target's frame numbers: with `frames="60:72"` the first image is 000060.png.
            progress: Called with (done, total, unit).
            video_codec: The codec of a video.

        Returns:
            The paths.

        Raises:
            UsageError: For several poses in one image, or a transparent video.
        """
        path = Path(path)
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return self.write("video", [path], progress, video_codec)
        if path.suffix and _form_of_name(path) != "numbered":
            return self.write("image", [path], progress)
        return self.write("numbered", _numbered(path, self.target), progress)

    def write(
        self,
        form: Form,
        paths: Sequence[Path],
        progress: Progress = no_progress,
        video_codec: VideoCodec = "h264",
    ) -> tuple[Path, ...]:
        """Write into the given files, and the layers into the files of `files_of_layers`.

        Args:
            form: The form of the result.
            paths: One file, or one for each pose.
            progress: Called with (done, total, unit).
            video_codec: The codec of a video.

        Returns:
            The paths without layers.

        Raises:
            UsageError: For several poses in one image, or a transparent video.
        """
        if form == "image" and len(self) > 1:
            raise UsageError(paths[0], f"is one image for {len(self)} poses", remedy=_MANY)
        with ExitStack() as stack:
            video = None
            if form == "video":
                _refuse_transparent_video(self.scene.transparent)
                rate = self.target.frame_rate or DEFAULT_FRAME_RATE
                video = stack.enter_context(VideoWriter(paths[0], rate, codec=video_codec))
            for index, (image, layers, files) in enumerate(self._to_write(form, paths)):
                if video is None:
                    plate = self._plate if paths[index].suffix.lower() == ".exr" else None
                    write_image(paths[index], image, photograph=True, plate=plate)
                else:
                    video.write(image)
                if layers is not None:
                    write_layers(layers, image, files, self._plate)
                if video is not None or len(self) > 1:
                    progress(index + 1, len(self), "frames")
        return tuple(paths)

    def _to_write(
        self, form: Form, paths: Sequence[Path]
    ) -> Iterable[tuple[np.ndarray, Layers | None, tuple[Path, ...]]]:
        """Yield the images, from the cache if they are in it, their layers, and the layers' files."""
        cache = self.__dict__
        if self.scene.layered:
            files = files_of_layers(form, paths, self.target, transparent=self.scene.transparent)
            return ((result.image, result.layers, names) for result, names in zip(self.drawn(), files, strict=True))
        if "images" in cache:
            return ((image, None, ()) for image in cache["images"])
        if "image" in cache and len(self) == 1:
            return [(cache["image"], None, ())]
        return ((image, None, ()) for image in self)

    def __repr__(self) -> str:
        return f"<Reposed: {len(self)} {'image' if len(self) == 1 else 'images'}>"

    def _repr_png_(self) -> bytes:
        """Encode the first image, for notebooks."""
        return encode_image(self.image, ".png")


def form_of(count: int, *, numbered: bool | None, transparent: bool, out: Path | None = None) -> Form:
    """Choose the form of results: an image for one pose, otherwise a video or numbered images.

    Args:
        count: The number of poses.
        numbered: True for numbered images, False for a video, None for a video unless it would be transparent.
        transparent: Whether the background is transparent.
        out: A folder, or a file whose name then decides; None for a folder.

    Raises:
        UsageError: If the form cannot hold the images.
    """
    form = None if out is None else _form_of_name(out)
    if transparent and out is not None and form in ("image", "numbered"):
        _refuse_opaque(out)
    if form == "image" and count > 1:
        raise UsageError("out", f"is one image for {count} poses", got=str(out), remedy=_MANY)
    if form == "video" or numbered is False:
        _refuse_transparent_video(transparent)
    if form is not None or count == 1:
        return form or "image"
    return "numbered" if numbered or (numbered is None and transparent) else "video"


_MANY = "name a video (.mp4), numbered images (f_%04d.png) or a folder"


def _form_of_name(path: Path) -> Form | None:
    """Return the form of a file's name; None for a folder or an unknown suffix."""
    if path.is_dir():
        return None
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES | WRITTEN_SUFFIXES:
        return "image" if numbered_path(path, 0) is None else "numbered"
    return "video" if suffix in VIDEO_SUFFIXES else None


def _refuse_transparent_video(transparent: bool) -> None:
    """Raise UsageError if a video would be transparent."""
    if transparent:
        raise UsageError(
            "background", "cannot be transparent in a video", remedy="write numbered images, or name a background image"
        )


def _refuse_opaque(out: Path) -> None:
    """Raise UsageError for a format without transparency, before anything is drawn."""
    if out.suffix.lower() in WRITTEN_SUFFIXES and out.suffix.lower() not in TRANSPARENT_SUFFIXES:
        endings = f"`out` that ends in {', '.join(TRANSPARENT_SUFFIXES)}"
        raise UsageError("background", "cannot be transparent in this file", expected=endings, got=str(out))


def pose_name(target: Path) -> str:
    """Return the name of a target for results: `a` for `a.bvh`, `a.jpg`, `a.%04d.jpg` and `a.jpg.fit.npz`."""
    name = Path(sequence_name(target).removesuffix(FIT_SUFFIX))
    from_fit = name.name != target.name and name.suffix.lower() not in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return escaped(name.name if from_fit or target.is_dir() else name.stem)


def repose_outputs(
    items: Sequence[InputItem], out: Path, form: Form, target: AnyMotion, pose: str
) -> list[tuple[Path, ...]]:
    """List the files of each photograph: `a.POSE.png`, `a.POSE.mp4`, or `a.POSE/000000.png` and following.

    If the names of photographs differ only in the suffix, it is kept: `a.jpg.POSE.png`.

    Args:
        items: The photographs.
        out: A folder, one file, or the numbered pattern (f_%04d.exr) of one photograph's images.
        form: The form of the results.
        target: The target, whose frame numbers the images have.
        pose: The target's name.

    Raises:
        UsageError: If `out` is one numbered pattern for several photographs.
    """
    if _form_of_name(out) == "numbered":
        if len(items) > 1:
            raise UsageError("out", f"is one sequence for {len(items)} photographs", got=str(out), remedy=_MANY)
        return [_numbered(out, target)]
    if _form_of_name(out) is not None:
        return [(out,)] * len(items)
    stems = [str(PurePosixPath(item.key).with_suffix("")) if item.kind != "frames" else item.key for item in items]
    counts = Counter(stems)
    names = [stem if counts[stem] == 1 else item.key for stem, item in zip(stems, items, strict=True)]
    bases = [out / f"{name}.{pose}" for name in names]
    if form == "numbered":
        return [_numbered(base, target) for base in bases]
    ending = ".png" if form == "image" else ".mp4"
    return [(base.with_name(base.name + ending),) for base in bases]


def files_of_layers(
    form: Form, paths: Sequence[Path], target: AnyMotion, *, transparent: bool
) -> list[tuple[Path, ...]]:
    """List the files of the layers of each pose of a target.

    Args:
        form: The form of the results.
        paths: The images, or the video, whose layers are in a folder of its name.
        target: The target, whose frame numbers the files have.
        transparent: Whether there is no background.
    """
    if form == "video":
        paths = _numbered(paths[0].with_suffix(""), target)
    return [layer_files(path, numbered=form != "image", transparent=transparent) for path in paths]


def targets_folder(out: Path, target: Path) -> Path | None:
    """Return the folder of the fit of a target's image or video; None if it is not stored."""
    # Beside one output file, only the fit of a sequence, which takes minutes, is worth a folder.
    if _form_of_name(out) is None:
        return out / "targets"
    an_image = target.suffix.lower() in IMAGE_SUFFIXES and not target.is_dir() and numbered_path(target, 0) is None
    return None if an_image else out.parent / "targets"


def _numbered(out: Path, target: AnyMotion) -> tuple[Path, ...]:
    """Name files by frame number, after a numbered pattern, or `000000.png` and following in a folder."""
    pattern = out if _form_of_name(out) == "numbered" else out / "%06d.png"
    numbers = target.frame_numbers or range(len(target))
    return tuple(path for number in numbers if (path := numbered_path(pattern, number)) is not None)
