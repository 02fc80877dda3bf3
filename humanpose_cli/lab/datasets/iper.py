"""iPER, the Impersonator data set: 206 videos of 30 people in 103 sets of clothes before a still camera.

Layout and licence: data/README.md, after the owners' documentation (svip-lab/impersonator: doc/train.md,
tools/unzip_iPER.py, data/imper_dataset.py, his_evaluators/protocols/iPER.py). Its only 3-D poses are HMR's. An
estimator makes better ones, and the reposing paper's authors estimated joints.

The protocol "iper" has the splits of the reposing paper's authors: "test" is the owners' val.txt, on which papers
evaluate; "validation" are 21 clothes of train.txt (`reposing_splits`); "train" are its others, or all of them,
depending on `learn`.

A group is one set of clothes with both of its videos, so that pairs stay within a group. Pair lists of "test":
- "random-pairs": clothes drawn uniformly, then two of their frames, 10,000 times (the reposing paper's appendix B).
- "three-frames": three frames of each video with each of its frames, as the owners evaluate. The three frames are
listed in iPER_protocol.json; without this file they are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.options import option
from humanpose_cli.files.checks import array_field, existing_file
from humanpose_cli.files.text_files import read_json_object
from humanpose_cli.lab.cache.samples import SPLITS, Group, Person, Sample
from humanpose_cli.lab.datasets.common import MAX_RADIANS, FolderSource, SequenceOptions, box_around
from humanpose_cli.lab.datasets.estimators import EstimatedImage
from humanpose_cli.lab.datasets.reading import (
    StoredImage,
    decode_pixels,
    encode_pixels,
    encode_view,
    list_files,
    read_lines,
    read_pickled_table,
    stored_image,
    video_frame_count,
    video_frames,
)
from humanpose_cli.lab.datasets.reposing_splits import IPER_VALIDATION, random_pairs

OFFICIAL_VIDEOS = {"train": 164, "val": 42}
"""The owners' lists → official number of videos."""
_SPLITS = {"train": ("train", "validation"), "val": ("test",)}  # splits of the videos in each list
_IMAGES = {".jpg", ".jpeg", ".png"}
_FRAME_FOLDERS = ("images", "images_HD")
_VIDEO_FOLDERS = ("iPER_1024_video_release", "iPER_256_video_release")
_ACTIVITIES = {"1": "turning in an A pose", "2": "random motion"}
_Clothes = dict[str, Any]  # the key of a group: its videos (name, number of frames) and its split


# HMR sees a square image of 224 pixels with a focal length of 500.
_HMR_FOCAL_FACTOR = 500 / 224
# The authors' own camera for iPER (pose3d_minimal/main.py), and the side of the images that their poses are pixels of.
_AUTHORS_FOCAL_FACTOR = 1125 / 1024
_AUTHORS_SIDE = 256


@dataclass(frozen=True)
class IperOptions(SequenceOptions):
    """Options of iPER."""

    poses: Literal["auto", "estimator", "smpls", "authors", "none"] = option(
        "auto",
        "Source of the bodies: estimator, smpls (the data set's), authors (poses.pkl, without bodies), or auto, the "
        "first of estimator and smpls that exists.",
    )
    release: Literal["auto", "images", "images_HD", "iPER_1024_video_release", "iPER_256_video_release"] = option(
        "auto", "Folder of the frames or videos; auto is the first that exists."
    )
    image_size: int = option(
        0,
        "Maximum longer side of the images in the cache; 0 keeps their size.",
        unit="pixels",
        minimum=0,
    )
    learn: Literal["train", "train+validation"] = option(
        "train",
        "Clothes of the split train: the authors' training clothes, or also their 21 clothes for validation, as in "
        "their published figures.",
    )
    random_pairs: int = option(10_000, "Number of random pairs.", minimum=0)
    seed: int = option(0, "Seed of all random choices.")


class IperSource(FolderSource):
    """iPER as samples with one person each."""

    name = "iper"
    title = "iPER"
    splits = SPLITS
    options: IperOptions
    options_type = IperOptions

    def _prepare(self) -> None:
        releases = (*_FRAME_FOLDERS, *_VIDEO_FOLDERS) if self.options.release == "auto" else (self.options.release,)
        folder = next((self.root / name for name in releases if (self.root / name).is_dir()), None)
        if folder is None:
            raise InputError(self.root, "holds neither frames nor videos", expected=" or ".join(releases))
        self._frames = folder if folder.name in _FRAME_FOLDERS else None
        self._videos = folder if self._frames is None else None
        self._check_estimator(self.options.poses, "smpls, authors or none")
        if self.options.poses == "authors":
            existing_file(self._authors_file, "the joints that the reposing paper's authors estimated")

    @cached_property
    def poses_from(self) -> str:
        """Origin of the poses: "estimator", "smpls", "authors" or "none"."""
        if self.options.poses != "auto":
            return self.options.poses
        if self.tools.estimator is not None:
            return "estimator"
        return "smpls" if (self.root / "smpls").is_dir() else "none"

    def _more_info(self) -> Mapping[str, Any]:
        names = {"smpls": "HMR, as iPER comes with", "authors": "the reposing paper's authors"}
        made_by = {name: {"name": text} for name, text in names.items()} | {"none": None}
        info = self._estimator_info() if self.poses_from == "estimator" else {"poses_by": made_by[self.poses_from]}
        return {**info, "three_frames": "official" if self._protocol_file.is_file() else "drawn"}

    # Listing

    def _list(self, notes: list[str]) -> Iterable[Group]:
        clothes: dict[str, _Clothes] = {}
        for list_name, official in OFFICIAL_VIDEOS.items():
            if not any(map(self._wants, _SPLITS[list_name])):
                continue
            path = existing_file(self.root / f"{list_name}.txt", f"the list of {list_name} videos")
            names = read_lines(path)
            self._check_count(path, "videos", official, len(names), notes)
            for name in names:
                parts = name.split("/")
                if len(parts) != 3 or not all(part.isalnum() for part in parts):
                    expected = "person/clothes/motion, such as 001/1/1"
                    raise InputError(path, f"names {name!r}, which is no video", expected=expected)
            names_of_split = [name for name in names if self._wants(self._split(name, list_name))]
            for name in self._present(
                [(name, self._video_path(name)) for name in names_of_split], path, "videos", notes
            ):
                key = name.rpartition("/")[0]
                split = self._split(name, list_name)
                group = clothes.setdefault(key, {"videos": [], "split": split})
                if group["split"] != split:
                    raise InputError(path, f"names {name}, whose clothes are in the other list as well")
                group["videos"].append((name, self._count(name)))
        if self.poses_from == "none":
            notes.append("iPER: the samples have no poses: let them be fitted (`fit=True`), or unpack smpls.zip")
        return self._with_pairs(clothes)

    def _split(self, video: str, list_name: str) -> str:
        """Return the split of a video that the owners list as "train" or "val"."""
        if list_name == "val":
            return "test"
        held_out = self.options.learn == "train" and video.rpartition("/")[0] in IPER_VALIDATION
        return "validation" if held_out else "train"

    def _video_path(self, video: str) -> Path:
        """Return the folder of a video's frames, or the video file."""
        if self._frames is not None:
            return self._frames / video
        assert self._videos is not None
        return self._videos / f"{video.replace('/', '_')}.mp4"

    def _count(self, video: str) -> int:
        path = self._video_path(video)
        return video_frame_count(path) if self._frames is None else len(list_files(path, _IMAGES, "frames"))

    def _with_pairs(self, clothes: Mapping[str, _Clothes]) -> Iterator[Group]:
        counts = {
            name: sum(len(self.options.every_nth(n)) for _, n in group["videos"]) for name, group in clothes.items()
        }
        of_test = {name: count for name, count in counts.items() if clothes[name]["split"] == "test" and count > 1}
        draws = random_pairs(of_test, self.options.random_pairs, self.options.seed)
        for name, group in clothes.items():
            pairs = {}
            if group["split"] == "test":
                three = self._three(group["videos"])
                pairs = {("random-pairs", "test"): draws.get(name, []), ("three-frames", "test"): three}
            yield Group(name, counts[name], pairs, group)

    @property
    def _authors_file(self) -> Path:
        return self.root / "poses.pkl"

    @property
    def _protocol_file(self) -> Path:
        return self.root / "iPER_protocol.json"

    @cached_property
    def _protocol(self) -> Mapping[str, Any]:
        return read_json_object(self._protocol_file).get("val", {}) if self._protocol_file.is_file() else {}

    def _three(self, videos: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
        """Pair three frames of each video with its frames: (source, target) numbers within the group."""
        pairs: list[tuple[int, int]] = []
        start = 0
        for video, count in videos:
            sources, targets = self._official_frames(video, count) or self._draw_frames(video, count)
            number = {frame: start + i for i, frame in enumerate(self.options.every_nth(count))}
            # The owners' ranges may end behind the video.
            pairs += [(number[s], number[t]) for s, t in product(sources, targets) if s in number and t in number]
            start += len(number)
        return pairs

    def _official_frames(self, video: str, count: int) -> tuple[list[int], range] | None:
        """Read the source frames and the range of target frames from the owners' protocol."""
        entry = self._protocol.get(video)
        if entry is None:
            return None
        try:  # "s_n" → "3" names files, "self_imitation" has both ends of the targets
            sources = [int(Path(name).stem) for name in entry["s_n"]["3"]]
            first, last = (int(n) for n in entry["self_imitation"]["range"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self._protocol_file} ({video})", "is damaged", got=repr(error)[:100]) from error
        if max(sources, default=0) >= count:
            problem = "is shorter than the protocol"
            raise InputError(self._video_path(video), problem, expected=f"frame {max(sources)}", got=f"{count}")
        return sources, range(first, last + 1)

    def _draw_frames(self, video: str, count: int) -> tuple[list[int], range]:
        frames = self.options.every_nth(count)
        random = np.random.default_rng([self.options.seed, *video.encode()])
        numbers = random.choice(len(frames), size=min(3, len(frames)), replace=False)
        return [frames[i] for i in sorted(numbers)], range(count)

    # Reading

    def read(self, group: Group) -> Iterator[Sample]:
        splits = {"iper": group.key["split"]}
        for video, count in group.key["videos"]:
            yield from self._read_video(video, count, self.options.every_nth(count), splits)

    def _read_video(self, video: str, count: int, frames: Sequence[int], splits: Mapping[str, str]) -> Iterator[Sample]:
        estimates = self._people(video, count, frames)
        clothing, _, kind = video.rpartition("/")
        for number, (frame, label, image) in enumerate(self._images(video, count, frames)):
            estimate = estimates[number] if isinstance(estimates, Sequence) else estimates.at(frame, image.size)
            image, estimate = _reduced(image, estimate, self.options.image_size)
            activity = _ACTIVITIES.get(kind, kind)
            yield Sample(
                f"{video}/{label}",
                image.image,
                image.size,
                estimate.focal,
                estimate.principal_point,
                [estimate.person(identity=clothing.split("/")[0], clothing=clothing, activity=activity)],
                sequence=video,
                frame=frame,
                splits=splits,
            )

    def _people(
        self, video: str, count: int, frames: Sequence[int]
    ) -> _HmrEstimates | _AuthorsJoints | Sequence[EstimatedImage]:
        if self.poses_from == "authors":
            return _AuthorsJoints(self._authors_file, video, count)
        if self.poses_from == "smpls":
            return _HmrEstimates(self.root / "smpls" / video / "pose_shape.pkl", count)
        if self.poses_from == "none":
            return [EstimatedImage()] * len(frames)
        pixels: Iterator[NDArray[np.uint8]]
        if self._frames is None:
            pixels = (frame for _, frame in video_frames(self._video_path(video), frames))
        else:
            pixels = (decode_pixels(image) for _, _, image in self._images(video, count, frames))
        return self._estimate(pixels, len(frames), sequence=isinstance(frames, range))

    def _images(self, video: str, count: int, frames: Sequence[int]) -> Iterator[tuple[int, str, StoredImage]]:
        """Read number, name and image of ascending frames."""
        path = self._video_path(video)
        if self._frames is None:
            for number, pixels in video_frames(path, frames):
                yield number, f"{number:08d}", encode_pixels(pixels)
            return
        files = list_files(path, _IMAGES, "frames")
        if len(files) != count:
            raise InputError(path, "has changed", expected=f"{count} frames", got=str(len(files)))
        for number in frames:
            yield number, files[number].stem, stored_image(files[number])


class _HmrEstimates:
    """iPER's estimates by HMR, with a weak perspective camera (s, x, y) and no depth."""

    # The weak perspective camera projects a point of the body to s (point + (x, y)), with the square image from −1 to
    # 1. The camera here is HMR's: a focal length of 500 pixels for 224 puts the body at the depth 2 f / (s size).

    def __init__(self, path: Path, count: int) -> None:
        fields = read_pickled_table(path)
        self.cameras = array_field(fields, "cams", path, (None, 3))
        self.poses = array_field(fields, "pose", path, (None, 72), largest=MAX_RADIANS)
        self.betas = array_field(fields, "shape", path, (None, 10))
        for name, values in {"cams": self.cameras, "pose": self.poses, "shape": self.betas}.items():
            if len(values) != count:
                where = f"{path} ({name})"
                raise InputError(where, "does not fit the frames", expected=f"{count} rows", got=str(len(values)))

    def at(self, frame: int, size: tuple[int, int]) -> EstimatedImage:
        scale, x, y = self.cameras[frame]
        if scale <= 0:
            return EstimatedImage()
        side = max(size)
        focal = _HMR_FOCAL_FACTOR * side
        trans = np.array([x, y, 2 * focal / (scale * side)])
        person = Person(gender="neutral", body="smpl", poses=self.poses[frame], betas=self.betas[frame], trans=trans)
        return EstimatedImage([person], focal)


class _AuthorsJoints:
    """Joints of a video that the reposing paper's authors estimated, from their pickle."""

    # As their code reads them (MKnoche/warp3d_reposing@522e783, dataset.py): a tree person → clothes → motion → frame
    # with (19, 3) of `REPOSING19` as leaves, pixels of the image at 256 × 256 and, in the same unit, depths. Their
    # distance is not known: joints are placed where their bones are together as long as the default body's, and
    # `models.warp3d.generator.frame_joints`, which takes depths from the pelvis, makes the same numbers again.

    def __init__(self, path: Path, video: str, count: int) -> None:
        tree: Any = _authors_table(path)
        for name in video.split("/"):
            tree = tree.get(name) if isinstance(tree, Mapping) else None
        if not isinstance(tree, Mapping) or not all(str(name).isdigit() for name in tree):
            raise InputError(path, f"has no frames of {video}", expected="person, clothes, motion, numbers of frames")
        if len(tree) != count:
            raise InputError(f"{path} ({video})", "does not fit the frames", expected=f"{count}", got=str(len(tree)))
        names = sorted(tree, key=int)
        self.joints = [array_field(tree, name, path, (len(REPOSING19), 3)) for name in names]

    def at(self, frame: int, size: tuple[int, int]) -> EstimatedImage:
        side = max(size)
        focal = _AUTHORS_FOCAL_FACTOR * side
        pixels = self.joints[frame] * side / _AUTHORS_SIDE
        depths = 1 + (pixels[:, 2:] - pixels[REPOSING19.index("pelvis"), 2]) / focal
        directions = np.concatenate(((pixels[:, :2] - np.array(size) / 2) / focal, np.ones_like(depths)), 1)
        points = directions * depths
        points *= _default_bones() / _bones(points)
        confidence = np.ones((len(points), 1))
        person = Person(
            box=box_around(pixels[:, :2], size),
            keypoints={REPOSING19.name: np.concatenate((pixels[:, :2], confidence), 1)},
            joints={REPOSING19.name: np.concatenate((points, confidence), 1)},
        )
        return EstimatedImage([person], focal)


@lru_cache(maxsize=1)
def _authors_table(path: Path) -> Mapping[str, Any]:
    return read_pickled_table(path)


def _bones(joints: NDArray[np.floating]) -> float:
    """Add up the lengths of the bones of joints (19, 3)."""
    first, second = np.array(REPOSING19.bones).T
    return float(np.linalg.norm(joints[first] - joints[second], axis=1).sum())


@cache
def _default_bones() -> float:
    body = default_body()
    betas = torch.zeros(1, 10)
    rest = body.pose(torch.eye(3).expand(1, 24, 3, 3), betas, vertices=False)
    return _bones(body.pose_landmarks(REPOSING19.name, rest, betas)[0].double().numpy())


def _reduced(image: StoredImage, estimate: EstimatedImage, side: int) -> tuple[StoredImage, EstimatedImage]:
    """Reduce an image whose longer side exceeds `side` pixels, with its estimates; 0 keeps any size."""
    factor = side / max(image.size)
    if not side or factor >= 1:
        return image, estimate
    width, height = (round(factor * length) for length in image.size)

    def pixels() -> NDArray[np.uint8]:
        return np.asarray(cv2.resize(decode_pixels(image), (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    people = [_scaled(person, factor) for person in estimate.people]
    focal = None if estimate.focal is None else factor * estimate.focal
    centre = estimate.principal_point
    centre = None if centre is None else (factor * centre[0], factor * centre[1])
    return encode_view(pixels, (width, height)), EstimatedImage(people, focal, centre)


def _scaled(person: Person, factor: float) -> Person:
    """Scale a person's pixels."""
    scales = np.array([factor, factor, 1.0])
    return replace(
        person,
        box=None if person.box is None else np.asarray(person.box) * factor,
        keypoints={name: np.asarray(points) * scales for name, points in person.keypoints.items()},
        detected=None if person.detected is None else np.asarray(person.detected) * scales,
    )
