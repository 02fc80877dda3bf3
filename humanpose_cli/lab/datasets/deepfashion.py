"""DeepFashion, In-shop Clothes Retrieval: 52,712 images of clothes on people, several of each garment.

Layout and licence: data/README.md. list_eval_partition.txt has a number, column names, then a name, an item and a split
per line. `Img` may be left out, and the optional files may lie in Anno or Eval as well. The pair lists are shared by
public reposing code under the misspelled name "fasion-resize-pairs", from Zhu et al. 2019 (tengteng95/Pose-Transfer,
"PATN"); GFLA, SPGNet, DPTN and NTED use them too: 101,966 and 8,570 pairs, protocol "patn". They write an image's path
without its separators and most underscores: fashionWOMENDressesid0000000202_1front.jpg. The official landmarks and
boxes (Anno) belong to clothes, not to people: they are not read. The protocol "warp3d" has the splits of the reposing
paper's authors: 2,061 clothes each for "validation" and "test" (`reposing_splits`), all others with at least two images
for "train"; and random pairs of "test", drawn as for iPER.

A group is one garment in one colour ("WOMEN/Dresses/id_00000002/02"). There are no 3-D poses: an estimator makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.checks import existing_file
from humanpose_cli.lab.cache.samples import Group, Sample
from humanpose_cli.lab.datasets.common import FolderOptions, FolderSource
from humanpose_cli.lab.datasets.estimators import EstimatedImage
from humanpose_cli.lab.datasets.reading import decode_pixels, read_csv, read_lines, stored_image
from humanpose_cli.lab.datasets.reposing_splits import deepfashion_clothes, random_pairs

OFFICIAL_IMAGES = 52_712
OFFICIAL_PAIRS = {("patn", "train"): 101_966, ("patn", "test"): 8_570}
_PAIR_FILE = "fasion-resize-pairs-{}.csv"
_AUTHORS = "warp3d"  # the protocol of the reposing paper's authors
_INSHOP = {"train": "train", "query": "test", "gallery": "test"}
_NAME = re.compile(r"img(?:_highres)?/(?:WOMEN|MEN)/[^/]+/id_\d{8}/\d{2}_\d+_[a-z]+\.jpg")


@dataclass(frozen=True)
class DeepFashionOptions(FolderOptions):
    """Options of DeepFashion; allow_missing and split as for all sources.

    Attributes:
        resolution: "low": img, "high": img_highres, "auto": the highest that exists.
        images: "all", or "paired" for images that the pair lists name.
        poses: "estimator", "none", or "auto" for the estimator if there is one.
        learn: Clothes of the split train of the protocol warp3d: "train" as in the authors' choice, or
            "train+validation" as for the figures that they publish.
        random_pairs: Number of random pairs of the protocol warp3d, which needs all images.
        seed: Seed of their draw.
    """

    resolution: Literal["auto", "low", "high"] = "auto"
    images: Literal["all", "paired"] = "all"
    poses: Literal["auto", "estimator", "none"] = "auto"
    learn: Literal["train", "train+validation"] = "train"
    random_pairs: int = 10_000
    seed: int = 0


class DeepFashionSource(FolderSource):
    """DeepFashion In-shop as samples with one person each."""

    name = "deepfashion"
    title = "DeepFashion In-shop Clothes Retrieval"
    options: DeepFashionOptions
    options_type = DeepFashionOptions

    def _prepare(self) -> None:
        self._check_estimator(self.options.poses, "none")
        names = {"low": ["img"], "high": ["img_highres"], "auto": ["img_highres", "img"]}[self.options.resolution]
        folders = [self.root / above / name for name in names for above in ("Img", "")]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            raise InputError(self.root, "holds no images", expected=" or ".join(f"Img/{name}" for name in names))
        # The folder that holds WOMEN and MEN: img_highres.zip unpacks with and without a folder of its own name inside.
        inner = folder / folder.name
        self._images = inner if inner.is_dir() else folder

    @property
    def _estimates(self) -> bool:
        return self.options.poses != "none" and self.tools.estimator is not None

    def _more_info(self) -> Mapping[str, Any]:
        return {
            **(self._estimator_info() if self._estimates else {"poses_by": None}),
            "folder": self._images.name,
            "pair_lists": [path.name for path in self._pair_lists.values()],
        }

    def _find(self, name: str) -> Path | None:
        files = (self.root / above / name for above in ("", "Anno", "Eval"))
        return next((file for file in files if file.is_file()), None)

    def _of_splits(self, pattern: str) -> dict[str, Path]:
        """Map splits to their existing files of that name."""
        files = {split: self._find(pattern.format(split)) for split in ("train", "test")}
        return {split: path for split, path in files.items() if path is not None}

    @cached_property
    def _pair_lists(self) -> Mapping[tuple[str, str], Path]:
        return {("patn", split): path for split, path in self._of_splits(_PAIR_FILE).items()}

    # Listing

    def _list(self, notes: list[str]) -> Iterable[Group]:
        path, rows = self._partition
        self._check_count(path, "images", OFFICIAL_IMAGES, len(rows), notes)
        present = self._present([(name, self._images / name) for name in rows], path, "images", notes)
        available = set(present)
        pairs = {key: self._pairs(key, file, available, notes) for key, file in self._pair_lists.items()}
        if not pairs:
            expected = _PAIR_FILE.format("{train,test}")
            notes.append(f"{self.root}: has no pair lists ({expected}): the cache cannot be used to evaluate reposing")
        if not self._estimates:
            notes.append("DeepFashion: the samples have no poses: it has none itself, and no pose estimator was given")
        return self._groups(rows, present, pairs)

    @cached_property
    def _partition(self) -> tuple[Path, Mapping[str, str]]:
        """The official list, and the split of each name such as "WOMEN/Dresses/id_00000002/02_1_front.jpg"."""
        path = self._find("list_eval_partition.txt") or existing_file(
            self.root / "Eval" / "list_eval_partition.txt", "the list of images"
        )
        lines = read_lines(path)
        if not lines[0].isdecimal() or int(lines[0]) != len(lines) - 2:
            expected = f"{lines[0]} images, as its first line says" if lines[0].isdecimal() else "their number first"
            raise InputError(path, "is cut short or damaged", expected=expected, got=str(len(lines) - 2))
        rows = [line.split() for line in lines[2:]]
        for row in rows:
            if len(row) != 3 or not _NAME.fullmatch(row[0]) or row[2] not in _INSHOP:
                text = f"has the strange row {' '.join(row)}"
                raise InputError(path, text, expected="img/…/id_…/….jpg and a number, then train, query or gallery")
        return path, {name.partition("/")[2]: split for name, _, split in rows}

    @cached_property
    def _squeezed_names(self) -> Mapping[str, str]:
        return {_squeeze(name): name for name in self._partition[1]}

    def _restore_name(self, path: Path, name: str) -> str:
        """Restore the official name from its squeezed form. Raises InputError for unknown images."""
        # fashionWOMENDressesid0000000202_1front.jpg becomes WOMEN/Dresses/id_00000002/02_1_front.jpg.
        official_name = self._squeezed_names.get(_squeeze(name.removeprefix("fashion")))
        if official_name is None:
            expected = "such as fashionWOMENDressesid0000000202_1front.jpg, of list_eval_partition.txt"
            raise InputError(path, f"names {name!r}, which is no image of DeepFashion", expected=expected)
        return official_name

    def _pairs(self, key: tuple[str, str], path: Path, available: set[str], notes: list[str]) -> list[tuple[str, str]]:
        rows = [
            (self._restore_name(path, row["from"]), self._restore_name(path, row["to"]))
            for row in read_csv(path, ("from", "to"))
        ]
        if key in OFFICIAL_PAIRS:
            self._check_count(path, "pairs", OFFICIAL_PAIRS[key], len(rows), notes)
        for source, target in rows:
            if _garment(source) != _garment(target):
                raise InputError(path, f"pairs different garments, {source} and {target}")
        missing = [name for pair in rows for name in pair if name not in available]
        if missing:  # of the official list, but missing: there is a note already
            notes.append(f"{path}: pairs with {len(set(missing))} images that are missing are left out")
        return [pair for pair in rows if pair[0] in available and pair[1] in available]

    def _groups(
        self,
        rows: Mapping[str, str],
        present: Sequence[str],
        pairs: Mapping[tuple[str, str], Sequence[tuple[str, str]]],
    ) -> Iterator[Group]:
        protocol_split = self._protocol_splits(pairs)
        garments: dict[str, list[str]] = {}
        for name in present:
            if self.options.images == "all" or name in protocol_split:
                garments.setdefault(_garment(name), []).append(name)
        numbers = {name: i for names in garments.values() for i, name in enumerate(names)}
        authors = {garment: self._authors_split(garment, names) for garment, names in garments.items()}
        counts = {g: len(garments[g]) for g, splits in authors.items() if splits == {_AUTHORS: "test"}}
        number = self.options.random_pairs if self.options.images == "all" else 0  # else only listed pairs
        draws = random_pairs(counts, number, self.options.seed) if number else {}
        pairs_of_garment: dict[str, dict[tuple[str, str], list[tuple[int, int]]]] = {}
        for key, names_of_pairs in pairs.items():
            for source, target in names_of_pairs:
                of_garment = pairs_of_garment.setdefault(_garment(source), {})
                of_garment.setdefault(key, []).append((numbers[source], numbers[target]))
        for garment, names in garments.items():
            images = [
                (name, {"inshop": _INSHOP[rows[name]], **protocol_split.get(name, {}), **authors[garment]})
                for name in names
            ]
            random = {(_AUTHORS, "test"): draws[garment]} if garment in draws else {}
            yield Group(garment, len(names), {**pairs_of_garment.get(garment, {}), **random}, images)

    def _authors_split(self, garment: str, names: Sequence[str]) -> dict[str, str]:
        """Return the reposing paper's split of a garment's images; {} for a single image."""
        split = deepfashion_clothes().get(garment, "train")
        learned = split == "validation" and self.options.learn == "train+validation"
        return {_AUTHORS: "train" if learned else split} if len(names) > 1 else {}

    def _protocol_splits(self, pairs: Mapping[tuple[str, str], Sequence[tuple[str, str]]]) -> dict[str, dict[str, str]]:
        """Map name → protocol → split, for images in pairs and in PATN's train.lst and test.lst."""
        splits: dict[str, dict[str, str]] = {}
        for split, path in self._of_splits("{}.lst").items():
            for line in read_lines(path):
                splits.setdefault(self._restore_name(path, line), {})["patn"] = split
        for (protocol, split), names_of_pairs in pairs.items():
            for name in {name for pair in names_of_pairs for name in pair}:
                splits.setdefault(name, {})[protocol] = split
        return splits

    # Reading

    def read(self, group: Group) -> Iterator[Sample]:
        images = [stored_image(self._images / name) for name, _ in group.key]
        estimates: Sequence[EstimatedImage] = [EstimatedImage()] * len(images)
        if self._estimates:
            estimates = self._estimate(map(decode_pixels, images), len(images), sequence=False)
        for (name, splits), image, estimate in zip(group.key, images, estimates, strict=True):
            person = estimate.person(identity=name.rpartition("/")[0], clothing=group.name)
            yield Sample(
                name.removesuffix(".jpg"),
                image.image,
                image.size,
                estimate.focal,
                estimate.principal_point,
                [person],
                splits=splits,
            )


def _garment(name: str) -> str:
    """Name the garment: WOMEN/Dresses/id_00000002/02_1_front.jpg → WOMEN/Dresses/id_00000002/02."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('_')[0]}"


def _squeeze(name: str) -> str:
    """Remove the characters from a name that pair lists leave out."""
    return name.replace("/", "").replace("_", "")
