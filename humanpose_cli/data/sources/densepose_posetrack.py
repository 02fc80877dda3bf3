"""DensePose-PoseTrack: people in videos of PoseTrack 2017, some frames of which have surface points.

    ROOT/densepose_posetrack_{train,val}2017.json   or densepose_only_posetrack_…, those with the annotated frames only;
                                                    also below ROOT/annotations/ or ROOT/DensePose_PoseTrack/
    ROOT/images/…                                   PoseTrack's pictures, where the annotations' file_name points, also
                                                    below ROOT/posetrack_data/ and ROOT/posetrack_data_2017/
    ROOT/images/train/000001_bonn_train/000000.jpg  or those of PoseTrack 2018, which hold the same videos

Layout after DensePose's PoseTrack/README.md, Detectron2's DENSEPOSE_DATASETS.md and PosePile.
densepose_posetrack_test2017.json has no public annotations and is not read.

Protocol "densepose": the files' train and val. A group is a video's annotated frames; a person is known by their track.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from humanpose_cli.data.estimators import SourceTools
from humanpose_cli.data.samples import Group, Sample
from humanpose_cli.data.sources.densepose_annotations import AnnotatedImage, person_of, read_annotated_images
from humanpose_cli.data.sources.folder_source import FolderOptions, FolderSource, Listing, check_count, keep_present
from humanpose_cli.data.sources.pictures import stored_picture
from humanpose_cli.data.sources.reading import existing_file
from humanpose_cli.errors import InputError

__all__ = ["OFFICIAL_COUNTS", "DensePosePoseTrackOptions", "DensePosePoseTrackSource"]

OFFICIAL_COUNTS: Mapping[str, tuple[int, int]] = {"train": (1680, 8274), "val": (782, 4753)}
"""Split → pictures and people with surface points."""

_FOLDERS = ("", "annotations", "DensePose_PoseTrack")
_FILES = ("densepose_only_posetrack_{}2017.json", "densepose_posetrack_{}2017.json")
_PICTURES = ("", "posetrack_data", "posetrack_data_2017")


@dataclass(frozen=True, eq=False)
class _Frame:
    """One annotated picture, its place in the video and its file."""

    image: AnnotatedImage
    number: int
    path: Path


@dataclass(frozen=True)
class DensePosePoseTrackOptions(FolderOptions):
    """allow_missing as for all sources."""


class DensePosePoseTrackSource(FolderSource):
    """DensePose-PoseTrack as samples with all of a picture's people."""

    name = "densepose-posetrack"
    title = "DensePose-PoseTrack"

    def __init__(
        self, root: Path | str, options: DensePosePoseTrackOptions | None = None, tools: SourceTools | None = None
    ) -> None:
        super().__init__(root, options or DensePosePoseTrackOptions(), tools)

    def _list(self) -> Listing:
        allow_missing = self.options.allow_missing
        groups: list[Group] = []
        notes: list[str] = []
        for split, (official_pictures, official_people) in OFFICIAL_COUNTS.items():
            path = self._annotations(split)
            if allow_missing and not path.exists():
                notes.append(f"{path}: does not exist")
                continue
            existing_file(path, f"DensePose-PoseTrack's annotations of {split}")
            images = read_annotated_images(path, flag_one=1.0)
            people = sum(image.surfaces for image in images)
            for what, official, found in (
                ("pictures with surface points", official_pictures, len(images)),
                ("people with surface points", official_people, people),
            ):
                notes += check_count(path, what, official, found, allow_missing=allow_missing)
            frames = [_Frame(image, _frame_number(path, image), self._picture(image, split)) for image in images]
            paths = [frame.path for frame in frames]
            present, missing = keep_present(frames, paths, path, "pictures", allow_missing=allow_missing)
            notes += missing
            groups += _by_video(present, split)
        if not groups:
            raise InputError(
                self.root, "holds no annotations of DensePose-PoseTrack", expected=_FILES[1].format("train")
            )
        return Listing(tuple(groups), tuple(notes))

    def _annotations(self, split: str) -> Path:
        places = [self.root / folder / name.format(split) for folder in _FOLDERS for name in _FILES]
        return next((place for place in places if place.exists()), self.root / _FILES[1].format(split))

    def _picture(self, image: AnnotatedImage, split: str) -> Path:
        """The picture's file; where file_name says, if it is nowhere."""
        places = [self.root / folder / image.file_name for folder in _PICTURES]
        video = re.fullmatch(r"0*(\d+)_([a-z]+)(?:_\w+)?", Path(image.file_name).parent.name)
        frame = image.record.get("frame_id")
        if video is not None and isinstance(frame, int):
            folder = f"{int(video[1]):06d}_{video[2]}_{split}"
            places += [self.root / f / "images" / split / folder / f"{frame:06d}.jpg" for f in _PICTURES]
        return next((place for place in places if place.is_file()), places[0])

    def read(self, group: Group) -> Iterator[Sample]:
        split: str
        frames: list[_Frame]
        split, frames = group.key
        for frame in frames:
            picture = stored_picture(frame.path)
            if picture.size != frame.image.size:
                raise InputError(
                    frame.path,
                    "has another size than its annotation",
                    expected=f"{frame.image.size}",
                    got=f"{picture.size}",
                )
            people = [
                person_of(person, picture.size, "" if person.track is None else f"{group.name}/{person.track}")
                for person in frame.image.people
            ]
            yield Sample(
                name=f"{group.name}/{Path(frame.image.file_name).stem}",
                image=picture.image,
                size=picture.size,
                people=people,
                sequence=group.name,
                frame=frame.number,
                splits={"densepose": split},
            )


def _frame_number(path: Path, image: AnnotatedImage) -> int:
    number = image.record.get("frame_id")
    if number is None:
        number = int(digits[-1]) if (digits := re.findall(r"\d+", Path(image.file_name).stem)) else None
    if not isinstance(number, int) or number < 0:
        raise InputError(f"{path}, {image.file_name}", "has no frame_id", got=str(number)[:40])
    return number


def _by_video(frames: list[_Frame], split: str) -> list[Group]:
    """A group for each folder of pictures, its frames in order."""
    videos: dict[str, list[_Frame]] = {}
    for frame in frames:
        videos.setdefault(Path(frame.image.file_name).parent.name, []).append(frame)
    return [
        Group(f"{split}/{video}", len(shown), key=(split, sorted(shown, key=lambda frame: frame.number)))
        for video, shown in videos.items()
    ]
