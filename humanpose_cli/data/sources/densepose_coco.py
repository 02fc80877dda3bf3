"""DensePose-COCO: about 49,000 people on COCO's pictures of 2014, some hundred surface points each.

    ROOT/annotations/densepose_coco_2014_{train,minival,valminusminival}.json    as the first release names them, or
    ROOT/annotations/densepose_{train2014,minival2014,valminusminival2014}.json  as Detectron2's documentation does
    ROOT/train2014/COCO_train2014_000000000036.jpg, ROOT/val2014/…               COCO's pictures, also below images/

Layout after DensePose's INSTALL.md and Detectron2's DENSEPOSE_DATASETS.md.

Protocols: "densepose": training on train and valminusminival, validation on minival, as both do; "files": which file a
picture is listed in. Pictures are kept whole, with the people who have surface points and others with keypoints.
"""

from __future__ import annotations

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

__all__ = ["OFFICIAL_COUNTS", "DensePoseCocoOptions", "DensePoseCocoSource"]

OFFICIAL_COUNTS: Mapping[str, tuple[int, int]] = {
    "train": (26437, 39210),
    "valminusminival": (5984, 7297),
    "minival": (1508, 2243),
}
"""File → pictures and people with surface points."""

_DENSEPOSE = {"train": "train", "valminusminival": "train", "minival": "val"}
_PICTURES = {"train": "train2014", "valminusminival": "val2014", "minival": "val2014"}


@dataclass(frozen=True)
class DensePoseCocoOptions(FolderOptions):
    """allow_missing as for all sources."""


class DensePoseCocoSource(FolderSource):
    """DensePose-COCO as samples with all of a picture's people; a group is a picture."""

    name = "densepose"
    title = "DensePose-COCO"

    def __init__(
        self, root: Path | str, options: DensePoseCocoOptions | None = None, tools: SourceTools | None = None
    ) -> None:
        super().__init__(root, options or DensePoseCocoOptions(), tools)

    def _list(self) -> Listing:
        allow_missing = self.options.allow_missing
        groups: list[Group] = []
        notes: list[str] = []
        for part, (official_pictures, official_people) in OFFICIAL_COUNTS.items():
            path = self._annotations(part)
            if allow_missing and not path.exists():
                notes.append(f"{path}: does not exist")
                continue
            images = read_annotated_images(existing_file(path, f"DensePose-COCO's annotations of {part}"))
            people = sum(image.surfaces for image in images)
            for what, official, found in (
                ("pictures with surface points", official_pictures, len(images)),
                ("people with surface points", official_people, people),
            ):
                notes += check_count(path, what, official, found, allow_missing=allow_missing)
            folder = self._folder(part)
            paths = [folder / image.file_name for image in images]
            present, missing = keep_present(images, paths, path, "pictures", allow_missing=allow_missing)
            notes += missing
            groups += [Group(f"{part}/{Path(image.file_name).stem}", 1, key=(part, image)) for image in present]
        if not groups:
            raise InputError(
                self.root, "holds no annotations of DensePose-COCO", expected="annotations/densepose_….json"
            )
        return Listing(tuple(groups), tuple(notes))

    def _annotations(self, part: str) -> Path:
        first = self.root / "annotations" / f"densepose_coco_2014_{part}.json"
        second = first.with_name(f"densepose_{part}2014.json")
        return second if second.exists() and not first.exists() else first

    def _folder(self, part: str) -> Path:
        name = _PICTURES[part]
        places = [self.root / name, self.root / "images" / name, self.root / f"coco_{name}"]
        return next((place for place in places if place.is_dir()), places[0])

    def read(self, group: Group) -> Iterator[Sample]:
        image: AnnotatedImage
        part, image = group.key
        path = self._folder(part) / image.file_name
        picture = stored_picture(path)
        if picture.size != image.size:
            raise InputError(
                path, "has another size than its annotation", expected=f"{image.size}", got=f"{picture.size}"
            )
        yield Sample(
            name=group.name,
            image=picture.image,
            size=picture.size,
            people=[person_of(person, picture.size) for person in image.people],
            splits={"densepose": _DENSEPOSE[part], "files": part},
        )
