"""COCO's keypoints, and the other data sets that come in COCO's form: people with joints in single images and videos.

Layout and licences: data/README.md. Annotations also lie in ROOT itself, in ROOT/json or ROOT/annotations, images also
below ROOT/images; both can be named by options. Layouts after the owners' pages, and MMPose's for what others
converted.

Labels: boxes, COCO's 17 joints as far as the file names them, the joints of CrowdPose, PoseTrack or MPII in their own
skeletons, masks of the outlines and their areas. Boxes and outlines are continuous pixels from the corner of the image;
keypoints name pixels, whose centres half is added for. Crowds are flagged and come after the people. Splits to evaluate
on have all of a file's images, as its owner's evaluator counts what is found in images without people too; of "train",
images without a labelled joint are left out. Frames that PoseTrack calls unlabelled are nowhere; its regions that are
not evaluated are crowds with a mask.
Protocol "coco": train, validation and test by the files' names. A group is an image, or a video where there are some.

MPII as MMPose offers it: mpii_val.json is a list with a record a person, its pixels counted from 1 as MATLAB does. The
box is the square of `scale` 200 pixels about `center`. Heads are in mpii_gt_val.mat beside it: headboxes_src (2, 2, N).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import COCO17, CROWDPOSE14, MPII16, POSETRACK15, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.checks import existing_file, existing_folder
from humanpose_cli.io.coco_annotations import (
    HIDDEN_CONFIDENCE,
    decode_run_lengths,
    flagged_keypoints,
    image_id,
    keypoint_names,
    numbers,
    records,
    to_coco17,
    to_skeleton,
)
from humanpose_cli.io.inputs import natural_order
from humanpose_cli.io.mat_files import read_mat
from humanpose_cli.io.text_files import json_object, read_json
from humanpose_cli.lab.cache.samples import SPLITS, Group, Person, Sample, split_name
from humanpose_cli.lab.datasets.common import FolderOptions, FolderSource, check_image_size, clip_box
from humanpose_cli.lab.datasets.published import PublishedCount
from humanpose_cli.lab.datasets.reading import encode_mask, stored_image

_FOLDERS = ("annotations", "json", "")
_FILES = (
    r"person_keypoints_(?P<split>train|val)(?P<year>\d{4})",
    r"ochuman_coco_format_(?P<split>val|test)_range_0\.00_1\.00",
    r"(?:mmpose_)?crowdpose_(?P<split>train|val|test)",
    r"(?P<split>training|validation)_humanart",
    r"mpii_(?P<split>train|val)",
    r"posetrack18_(?P<split>train|val)",
)
_FILE_NAME = re.compile("|".join(re.sub(r"\?P<\w+>", "?:", name) for name in _FILES))
_OF_VIDEOS = ("train", "val", "test")  # folders of PoseTrack's files
_SPLIT = re.compile(r"(train|val|test)")
_YEAR = re.compile(r"(?:train|val)(\d{4})$")
Array = NDArray[Any]


@dataclass(frozen=True)
class CocoOptions(FolderOptions):
    """allow_missing and split as for all sources.

    annotations  one annotation file, relative to the folder; "" for all known ones
    images       folder of the images, relative to the folder; "" where they usually are
    """

    annotations: str = ""
    images: str = ""


@dataclass(frozen=True, eq=False)
class _Annotation:
    """One person or crowd: (4,) x0 y0 x1 y1, keypoints (J, 3) by skeleton, area, outlines as in the file, who it is in
    a video, and the box of the head.
    """

    where: str
    box: Array
    keypoints: Mapping[str, Array]
    area: float | None = None
    outlines: Any = None
    track: str = ""
    crowd: bool = False
    head_box: Array | None = None

    @property
    def labelled(self) -> bool:
        """Whether it has a labelled joint."""
        return any(bool(points[:, 2].any()) for points in self.keypoints.values())


@dataclass(frozen=True, eq=False)
class _Image:
    """One image: its path, size (width, height; None where the file does not say), people, name, video ("" without),
    frame, and CrowdPose's index.
    """

    path: Path
    size: tuple[int, int] | None
    people: Sequence[_Annotation]
    name: str
    video: str = ""
    frame: int = 0
    crowd_index: float | None = None


class CocoSource(FolderSource):
    """Annotation files in COCO's form as samples with all of an image's people."""

    name = "coco"
    title = "COCO"
    contents = "annotations of COCO's kind"
    example = "annotations/person_keypoints_val2017.json"
    splits = SPLITS
    options: CocoOptions
    options_type = CocoOptions
    published = (
        PublishedCount(
            "images",
            5_000,
            "cocodataset.org/#download: 2017 Val images",
            "coco",
            "validation",
            "person_keypoints_val2017",
            optional=True,
        ),
        PublishedCount(
            "images",
            56_599,
            "ultralytics/ultralytics, ultralytics/cfg/datasets/coco-pose.yaml: images with joints",
            "coco",
            "train",
            "person_keypoints_train2017",
            optional=True,
        ),
    )

    def _list(self, notes: list[str]) -> Iterable[Group]:
        files = [path for path in self._files() if self._wants(_split_of(path))]
        return [group for path in files for group in self._groups(path, notes)]

    def _files(self) -> list[Path]:
        if self.options.annotations:
            return [existing_file(self.root / self.options.annotations, "an annotation file")]
        folders = [self.root / name for name in _FOLDERS]
        files = [path for folder in folders if folder.is_dir() for path in folder.glob("*.json")]
        files = [path for path in files if _FILE_NAME.fullmatch(path.stem)]
        for split in _OF_VIDEOS:
            files += (self.root / "annotations" / split).glob("[0-9]*_*.json")
        return sorted(files, key=natural_order)

    def _groups(self, path: Path, notes: list[str]) -> list[Group]:
        images, left_out = _read(path, everything=_split_of(path) != "train")
        if left_out:
            notes.append(f"{path}: {', '.join(left_out)} are joints of no skeleton; they are left out")
        folder = self._image_folder(path, images[0].path)
        files = [(image, folder / image.path) for image in images]
        present = self._present(files, path, "images", notes)
        videos: dict[str, list[_Image]] = {}
        for image in present:
            videos.setdefault(f"{path.stem}/{image.video or image.name}", []).append(image)
        key = {"split": _split_of(path), "folder": folder}
        return [
            Group(name, len(frames), key={**key, "images": sorted(frames, key=lambda image: image.frame)})
            for name, frames in videos.items()
        ]

    def _image_folder(self, path: Path, first: Path) -> Path:
        """Find the images of an annotation file: the first usual folder that has its first one."""
        if self.options.images:
            return existing_folder(self.root / self.options.images, "the folder of the images")
        year = _YEAR.search(path.stem)
        of_year = [year[0]] if year else []
        names = ["", "images", *of_year, *(f"images/{name}" for name in of_year), ".."]
        folders = [self.root / name for name in names]
        usual = self.root / (of_year[0] if of_year else "images")
        return next((folder for folder in folders if (folder / first).is_file()), usual)

    def read(self, group: Group) -> Iterator[Sample]:
        for entry in group.key["images"]:
            path = group.key["folder"] / entry.path
            image = stored_image(path)
            check_image_size(path, image.size, entry.size or image.size)
            video = group.name if entry.video else ""
            yield Sample(
                f"{video}/{entry.name}" if video else group.name,
                image.image,
                image.size,
                image.focal,
                people=[_person(person, image.size, video) for person in entry.people],
                sequence=video,
                frame=entry.frame,
                splits={"coco": group.key["split"]},
                crowd_index=entry.crowd_index,
            )


def _split_of(path: Path) -> str:
    """Name the split by the file, or by the folder of PoseTrack's: "training" is train, "validation" val."""
    folder = path.parent.name if path.parent.name in _OF_VIDEOS else ""
    match = _SPLIT.search(path.stem)
    return split_name(folder or (match[1] if match else "train"))


_DATASET_SKELETONS = (CROWDPOSE14, POSETRACK15, MPII16)
_ALIASES = {"top_head": "head_top", "head": "head_top"}  # CrowdPose's, by MMPose and by its owners


def _dataset_skeleton(names: Sequence[str]) -> Skeleton | None:
    """Return the data set's skeleton, all of whose joints have these names; None for COCO's."""
    return next((skeleton for skeleton in _DATASET_SKELETONS if set(skeleton.joint_names) <= set(names)), None)


def _read(path: Path, *, everything: bool) -> tuple[list[_Image], list[str]]:
    """Read the images, with all of their people and crowds; and joints that are left out.

    everything  also images without a labelled joint
    """
    document = read_json(path)
    left_out: list[str] = []
    if isinstance(document, list):
        entries = _mpii_images(path, document)
    else:
        entries, left_out = _coco_images(path, json_object(path, document))
    with_joints = [image for image in entries if any(person.labelled for person in image.people)]
    if not with_joints:
        raise InputError(
            path, "has no person with a labelled joint", expected=f"keypoints of {', '.join(COCO17.joint_names[:3])} …"
        )
    return entries if everything else with_joints, left_out


def _coco_images(path: Path, document: Mapping[str, Any]) -> tuple[list[_Image], list[str]]:
    images, annotations = records(path, document, "images"), records(path, document, "annotations")
    records_by_id = {image_id(f"{path}, images[{number}]", record): record for number, record in enumerate(images)}
    names = [_ALIASES.get(name, name) for name in keypoint_names(path, document)]
    dataset = _dataset_skeleton(names)
    # Where the flag 2 does not occur, as in PoseTrack, 1 means visible, else hidden.
    has_hidden = any(2 in (annotation.get("keypoints") or [])[2::3] for annotation in annotations)
    one = HIDDEN_CONFIDENCE if has_hidden else 1.0
    people: dict[Any, list[_Annotation]] = {}
    for number, annotation in enumerate(annotations):
        where, key = f"{path}, annotations[{number}]", annotation.get("image_id")
        if not isinstance(key, int | str) or key not in records_by_id:
            raise InputError(where, "belongs to no image", expected="the id of one of its images", got=str(key)[:40])
        person = _annotation(where, annotation, names, dataset, one)
        if person is not None:
            people.setdefault(key, []).append(person)
        annotations[number] = {}  # these files are large
    entries = [
        _image(path, record, sorted(people.get(key, ()), key=lambda person: person.crowd))
        for key, record in records_by_id.items()
        if record.get("is_labeled", True)
    ]
    return entries, [name for name in names if name not in COCO17 and (dataset is None or name not in dataset)]


_MPII_SCALE = 200.0  # pixels of a person's height at scale 1


def _mpii_images(path: Path, entries: Sequence[Any]) -> list[_Image]:
    """Read the images of MMPose's list, each with all of its people."""
    heads = _mpii_heads(path, len(entries))
    people: dict[str, list[_Annotation]] = {}
    for number, entry in enumerate(entries):
        where = f"{path}, [{number}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise InputError(where, "names no image", expected="image, joints, joints_vis, center and scale")
        joints = np.stack([numbers(where, {"joints": pair}, "joints", 2) for pair in _listed(where, entry, "joints")])
        visible = numbers(where, entry, "joints_vis", len(MPII16))
        centre, scale = numbers(where, entry, "center", 2), numbers(where, {"scale": [entry.get("scale")]}, "scale", 1)
        points = np.column_stack((joints - 0.5, visible > 0))  # counted from 1: the first centre, 0.5, is called 1
        points[points[:, 2] == 0] = 0
        box = np.concatenate((centre - scale * _MPII_SCALE / 2, centre + scale * _MPII_SCALE / 2)) - 1
        if scale[0] <= 0:
            continue  # the owners' mark of a person without a position
        keypoints = {MPII16.name: points, COCO17.name: to_coco17(points, MPII16.joint_names)}
        head = None if heads is None else heads[number]
        people.setdefault(entry["image"], []).append(_Annotation(where, box, keypoints, head_box=head))
    return [
        _Image(_relative(path, name), None, persons, str(Path(name).with_suffix("")))
        for name, persons in people.items()
    ]


def _listed(where: str, entry: Mapping[str, Any], name: str) -> list[Any]:
    values = entry.get(name)
    if not isinstance(values, list) or len(values) != len(MPII16):
        raise InputError(where, f"has an unusable {name}", expected=f"{len(MPII16)} joints", got=str(values)[:40])
    return values


def _mpii_heads(path: Path, count: int) -> Array | None:
    """Read boxes (N, 4) of the heads, from the file beside the list, one for each record; None without it."""
    file = path.with_name(path.name.replace("mpii_", "mpii_gt_")).with_suffix(".mat")
    if not file.exists():
        return None
    boxes = read_mat(file, ("headboxes_src",))["headboxes_src"]
    if boxes.shape != (2, 2, count) or not np.isfinite(boxes).all():
        expected = f"(2, 2, {count}), as {path.name} has people"
        raise InputError(file, "headboxes_src has another shape", expected=expected, got=str(boxes.shape))
    return np.asarray(boxes, np.float64).transpose(2, 0, 1).reshape(count, 4) - 0.5


def _relative(path: Path, name: str) -> Path:
    """Return the path of an image below its folder. Raises InputError if it is outside."""
    file = Path(name)
    if file.is_absolute() or ".." in file.parts:
        raise InputError(path, "names an image outside of its folder", got=str(file)[:80])
    return file


def _image(path: Path, record: Mapping[str, Any], people: Sequence[_Annotation]) -> _Image:
    size = record["width"], record["height"]
    file = _relative(path, record["file_name"].removeprefix("HumanArt/"))
    video, frame = record.get("vid_id"), record.get("frame_id", 0)
    index = record.get("crowdIndex")
    crowd_index = float(index) if isinstance(index, int | float) and np.isfinite(index) else None
    if video is None:
        return _Image(file, size, people, str(file.with_suffix("")), crowd_index=crowd_index)
    digits = re.findall(r"\d+", file.stem)
    people = [*people, *_ignored_regions(f"{path}, {file}", record)]
    return _Image(file, size, people, file.stem, str(video), int(digits[-1]) if digits else int(frame))


def _ignored_regions(where: str, record: Mapping[str, Any]) -> Iterator[_Annotation]:
    """Yield PoseTrack's regions: polygons in the pixels of its joints, whose centres are half a pixel further."""
    columns = [record.get(f"ignore_regions_{axis}") or [] for axis in "xy"]
    if not all(isinstance(column, list) for column in columns) or len(columns[0]) != len(columns[1]):
        raise InputError(where, "has unusable ignore_regions", expected="as many x as y", got=str(columns)[:40])
    for xs, ys in zip(*columns, strict=True):
        count = len(xs) if isinstance(xs, list) else 0
        polygon = np.stack([numbers(where, {"ignore_regions": axis}, "ignore_regions", count) for axis in (xs, ys)], 1)
        if len(polygon) > 2:
            polygon += 0.5
            box = np.concatenate((polygon.min(0), polygon.max(0)))
            yield _Annotation(where, box, {}, outlines=[polygon.ravel().tolist()], crowd=True)


def _annotation(
    where: str, annotation: Mapping[str, Any], names: Sequence[str], dataset: Skeleton | None, one: float
) -> _Annotation | None:
    """Read one person or crowd; None for one with neither a box nor joints.

    dataset  the data set's own skeleton; one: the confidence that the flag 1 stands for
    """
    keypoints = flagged_keypoints(where, annotation, names, one)
    points = keypoints[keypoints[:, 2] > 0, :2]
    if annotation.get("bbox"):
        x, y, width, height = numbers(where, annotation, "bbox", 4)
        box = np.array([x, y, x + width, y + height])
    elif len(points) > 1:  # some of PoseTrack's have none
        box = np.concatenate((points.min(0) - 0.5, points.max(0) + 0.5))
    else:
        return None
    if not (box[2:] > box[:2]).all():
        return None
    area = annotation.get("area")
    has_area = isinstance(area, int | float) and np.isfinite(area) and area > 0
    return _Annotation(
        where,
        box,
        {COCO17.name: to_coco17(keypoints, names)}
        | ({} if dataset is None else {dataset.name: to_skeleton(keypoints, names, dataset)}),
        float(area) if has_area and area is not None else None,
        annotation.get("segmentation") or None,
        str(annotation.get("track_id", "")),
        bool(annotation.get("iscrowd", 0)),
        _head_box(where, annotation),
    )


def _head_box(where: str, annotation: Mapping[str, Any]) -> Array | None:
    """Read PoseTrack's box of the head."""
    if not annotation.get("bbox_head"):
        return None
    x, y, width, height = numbers(where, annotation, "bbox_head", 4)
    return np.array([x, y, x + width, y + height])


def _person(person: _Annotation, size: tuple[int, int], video: str) -> Person:
    box = clip_box(person.box, size)
    return Person(
        identity=f"{video}/{person.track}" if video and person.track else "",
        box=box if (box[2:] > box[:2]).all() else None,
        area=person.area,
        crowd=person.crowd,
        head_box=person.head_box,
        keypoints={name: points for name, points in person.keypoints.items() if points[:, 2].any()},
        mask=None if person.outlines is None else encode_mask(_mask(person, size)),
    )


def _mask(person: _Annotation, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the outlines of a person, polygons or run lengths, as a mask of the image's size (width, height)."""
    if isinstance(person.outlines, dict):
        mask = decode_run_lengths(person.outlines, person.where)
        if mask.shape != (size[1], size[0]):
            got = f"{mask.shape[1]} × {mask.shape[0]}"
            raise InputError(person.where, "has a mask of another size", expected=f"{size[0]} × {size[1]}", got=got)
        return mask
    try:
        polygons = [np.asarray(outline, np.float64).reshape(-1, 2) for outline in person.outlines]
    except (TypeError, ValueError) as error:
        raise InputError(person.where, "has a damaged outline", got=str(error)[:80]) from error
    mask = np.zeros((size[1], size[0]), bool)
    for polygon in polygons:
        mask |= _inside(polygon, size)
    return mask


def _inside(polygon: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Find the pixels with centres inside a polygon (N, 2): an odd number of its edges lies to their left."""
    width, height = size
    (x0, y0), (x1, y1) = polygon.T[:, None], np.roll(polygon, -1, 0).T[:, None]  # [1, N]
    centres = np.arange(height)[:, None] + 0.5
    crosses = (y0 <= centres) != (y1 <= centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (centres - y0) * (x1 - x0) / (y1 - y0)
    rows, edges = np.nonzero(crosses)
    columns = np.clip(np.ceil(at[rows, edges] - 0.5), 0, width).astype(np.int64)
    crossings = np.zeros((height, width + 1), np.int64)
    np.add.at(crossings, (rows, columns), 1)
    return crossings.cumsum(1)[:, :width] % 2 == 1
