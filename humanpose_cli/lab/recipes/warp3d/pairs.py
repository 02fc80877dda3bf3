"""Pairs of images of one person in the same clothes, the training data of reposing.

A pair comes from one group of the cache: a pair, a clip, or the images of one set of clothes. `listed_pairs` takes the
pairs that the protocol lists. `drawn_pairs` uses every image as an input once per epoch and draws its target from the
other images of its group.

`PairCrops` crops both images. If they have the same camera (size, focal length and principal point), they get the same
crop around both boxes of the person: static pixels are at the same position in both, so that the inpainted background
of the input is the target's. Other pairs, such as images of a catalogue, are cropped around each box. Both images get
the same random changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import REPOSING19
from humanpose_cli.core.crop import crop_around_box
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    Example,
    change_colour,
    crop_example,
    example_of,
    random_crop,
)
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.lab.cache.reading import Names
from humanpose_cli.models.warp3d.config import FILL, GeneratorConfig
from humanpose_cli.models.warp3d.generator import frame_joints, generator_parts

_MIN_JOINTS = 12
_MIN_BOX = 16.0  # pixels of the longer side
_JOINTS = "joints/reposing19"

PersonIndex = tuple[int, int]  # row of an image, and index of the person among its people
_NONE = -1


@dataclass(frozen=True, eq=False)
class Pairs:
    """N inputs, each with a range of M targets, from which one is drawn.

    Attributes:
        cache: The cache.
        inputs: (N, 2) int64. Row of the image and index of the person.
        targets: (M, 2) int64. Row of the image and index of the person.
        spans: (N, 2) int64. First target of each input, and the target after its last one.
        excluded: (N,) int64. Index of the input among the targets, with which it is not paired; −1 for none.
        missed: Rows of the two images of each pair that is left out, since one shows no usable person.
    """

    cache: Cache
    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    spans: NDArray[np.int64]
    excluded: NDArray[np.int64]
    missed: Sequence[tuple[int, int]] = ()

    @classmethod
    def listed(
        cls, cache: Cache, pairs: Sequence[tuple[PersonIndex, PersonIndex]], missed: Sequence[tuple[int, int]] = ()
    ) -> Pairs:
        """Make pairs of one target each."""
        inputs, targets = np.array(pairs, np.int64).reshape(-1, 2, 2).swapaxes(0, 1)
        first = np.arange(len(pairs))
        return cls(cache, inputs, targets, np.stack((first, first + 1), 1), np.full(len(pairs), _NONE), missed)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def lost(self) -> Pairs:
        """The pairs that are left out, with the first person of each image if there is one."""
        rows = [pair for pair in self.missed if all(self.cache.people_of(row) for row in pair)]
        return Pairs.listed(self.cache, [((a, 0), (b, 0)) for a, b in rows])

    def left_out(self, *more: Pairs) -> str:
        """Return a sentence part with the number of left out pairs, of these and more pairs; "" for none."""
        count = sum(len(pairs.missed) for pairs in (self, *more))
        total = count + sum(map(len, (self, *more)))
        return f"{count:,} of {total:,} pairs, without a usable person in one of the images" if count else ""

    def images(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of the images of these pairs, sorted, without repetitions."""
        pairs = np.asarray(numbers, np.int64)
        # A target belongs to one of the pairs if more spans start before it than end.
        changes = np.zeros(len(self.targets) + 1, np.int64)
        np.add.at(changes, self.spans[pairs, 0], 1)
        np.add.at(changes, self.spans[pairs, 1], -1)
        targets = self.targets[changes.cumsum()[:-1] > 0, 0]
        return np.unique(np.concatenate((self.inputs[pairs, 0], targets)))

    def examples(self, number: int, random: np.random.Generator, labels: Names = None) -> tuple[Example, Example]:
        """Decode an input and a random target, with the masks of the person, and with the named labels or all."""
        start, stop = self.spans[number].tolist()
        excluded = int(self.excluded[number])
        target = start + int(random.integers(stop - start - (excluded != _NONE)))
        target += excluded != _NONE and target >= excluded
        source, target_example = (
            example_of(self.cache.sample(row, person=person, maps=("persons",), labels=labels), person, maps=())
            for row, person in (self.inputs[number].tolist(), self.targets[target].tolist())
        )
        return source, target_example

    def groups_held_out(self, every: int) -> tuple[Pairs, Pairs]:
        """Hold out the pairs of every n-th group, so that no clothes are in both parts.

        Args:
            every: Number of groups of which one is held out.

        Returns:
            The training pairs and the held-out pairs.
        """
        starts = np.sort([group.start for group in self.cache.groups.values()])
        group = np.searchsorted(starts, self.inputs[:, 0], side="right")
        mask = np.unique(group, return_inverse=True)[1] % every == 0
        train, held_out = (
            replace(self, inputs=self.inputs[rows], spans=self.spans[rows], excluded=self.excluded[rows], missed=())
            for rows in (~mask, mask)
        )
        return replace(train, missed=self.missed), held_out


def listed_pairs(cache: Cache, protocol: str, split: str) -> Pairs:
    """Return the pairs that a protocol lists, except pairs without one usable person in both images.

    Args:
        cache: The cache.
        protocol: Protocol of the cache.
        split: Split of the protocol.
    """
    rows = cache.pairs(protocol, split)
    usable = _UsablePeople(cache, np.unique(rows))
    pairs: list[tuple[PersonIndex, PersonIndex]] = []
    missing: list[tuple[int, int]] = []
    for a, b in rows.tolist():
        if (name := usable.shared((a, b))) is not None:
            pairs.append((usable.indices[a][name], usable.indices[b][name]))
        else:
            missing.append((a, b))
    return Pairs.listed(cache, pairs, missing)


def drawn_pairs(cache: Cache, rows: NDArray[np.int64]) -> Pairs:
    """Pair every image with all other images of its group that show the same person.

    Args:
        cache: The cache.
        rows: (N,) int64. Rows of the images.
    """
    usable = _UsablePeople(cache, rows)
    row_set = set(rows.tolist())
    inputs: list[PersonIndex] = []
    spans: list[tuple[int, int]] = []
    missing: list[tuple[int, int]] = []
    for group in cache.groups.values():
        images = [row for row in group if row in row_set]
        name = usable.shared(images)
        indices = [usable.indices[row][name] for row in images if name in usable.indices[row]] if name else []
        spans += len(indices) * [(len(inputs), len(inputs) + len(indices))]
        inputs += indices
        paired_rows = {row for row, _ in indices}
        missing += [(row, images[i - 1]) for i, row in enumerate(images) if row not in paired_rows and len(images) > 1]
    people = np.array(inputs, np.int64).reshape(-1, 2)
    return Pairs(cache, people, people, np.array(spans, np.int64).reshape(-1, 2), np.arange(len(people)), missing)


class _UsablePeople:
    """The people of images with the labels for reposing, by row of the image and name, (identity, clothing)."""

    def __init__(self, cache: Cache, rows: NDArray[np.int64]) -> None:
        if not cache.labels.get(f"people/{_JOINTS}", 0):
            raise InputError(
                cache.path,
                "lacks joints of reposing19 in space",
                expected=f"people/{_JOINTS}",
                remedy="make it from a source that gives them, or let hpc preprocess fit bodies",
            )
        self.indices: dict[int, dict[tuple[str, str], PersonIndex]] = {}
        self.areas: dict[int, dict[tuple[str, str], float]] = {}
        for row in rows.tolist():
            people = cache.people_of(row)
            span = slice(people.start, people.stop)
            self.indices[row], self.areas[row] = {}, {}
            if not len(people):
                continue
            joints, boxes = np.asarray(cache.people[_JOINTS][span]), np.asarray(cache.people["box"][span])
            names = zip(cache.people["identity"][span], cache.people["clothing"][span], strict=True)
            for index, (name, points, box) in enumerate(zip(names, joints, boxes, strict=True)):
                sides = box[2:] - box[:2]
                joint_mask = np.isfinite(points).all(-1) & (points[:, 3] > 0)
                if joint_mask.sum() < _MIN_JOINTS or not max(sides) >= _MIN_BOX:
                    continue
                key = (str(name[0]), str(name[1]))
                area = float(np.prod(sides))
                if area > self.areas[row].get(key, 0):  # people without names share a key; the largest is used
                    self.indices[row][key] = (row, index)
                    self.areas[row][key] = area

    def shared(self, rows: Sequence[int]) -> tuple[str, str] | None:
        """Return the name of the largest person who is in two or more of these images; None if there is none."""
        areas: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            for name, area in self.areas[row].items():
                areas.setdefault(name, []).append(area)
        totals = {name: sum(values) for name, values in areas.items() if len(values) > 1}
        return max(totals, key=lambda name: (totals[name], name)) if totals else None


@dataclass(frozen=True, eq=False)
class PairCrops:
    """Makes the arrays of a pair.

    input, target                (S, S, 3) uint8
    source_joints, target_joints (19, 3) float32, pixels of the volume's frame, NaN if unknown
    source_mask, target_mask     (S, S) float32, 0 or 1, the visible person
    masks_known                  () float32, 1 if the masks are known, else 0

    Args:
        pairs: The pairs.
        size: Side of the crops in pixels.
        augmentation: Random changes of both images.
        depth_jitter: Pixels. Max displacement of all the target's joints in depth.
        full_images: Use complete images instead of crops.
    """

    pairs: Pairs
    size: int
    augmentation: Augmentation = NO_AUGMENTATION
    depth_jitter: float = 0.0
    full_images: bool = False

    def __call__(self, number: int, random: np.random.Generator) -> dict[str, NDArray[Any]]:
        return self.arrays(*self.crops(number, random, ("box", _JOINTS, "mask")), random)

    def crops(self, number: int, random: np.random.Generator, labels: Names = None) -> tuple[Example, Example]:
        """Crop both images of a pair with the same random changes, and with the named labels or all."""
        first, second = self.pairs.examples(number, random, labels)
        if self.full_images:
            return self._full_image(first), self._full_image(second)
        if one_camera(first, second) and first.person.box is not None and second.person.box is not None:
            a, b = first.person.box, second.person.box
            box = np.concatenate((np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])))
            first, second = (replace(e, person=replace(e.person, box=box)) for e in (first, second))
        geometry = replace(self.augmentation, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
        seed = int(random.integers(1 << 62))
        a_crop, b_crop = (
            random_crop(example, self.size, np.random.default_rng(seed), geometry, fill=FILL)
            for example in (first, second)
        )
        return a_crop, b_crop

    def arrays(self, first: Example, second: Example, random: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Return the arrays of two crops."""
        # Both images as one array, so that contrast changes about their common mean.
        colour = self.augmentation.colour(*random.uniform(-1, 1, 4))
        images = change_colour(np.concatenate((first.image, second.image)), colour)
        result: dict[str, NDArray[Any]] = {"input": images[: self.size], "target": images[self.size :]}
        for name, crop in (("source", first), ("target", second)):
            result[f"{name}_joints"] = frame_of_example(crop)
            empty = np.zeros((self.size, self.size), np.float32)
            result[f"{name}_mask"] = empty if crop.mask is None else (crop.mask > 127).astype(np.float32)
        result["masks_known"] = np.float32(first.mask is not None and second.mask is not None)
        if self.depth_jitter:
            result["target_joints"][:, 2] += np.float32(random.uniform(-self.depth_jitter, self.depth_jitter))
        return result

    def _full_image(self, example: Example) -> Example:
        """Scale the complete image to the longer side of the crop."""
        frame = np.array([0.0, 0.0, *example.size])
        return crop_example(example, crop_around_box(frame, self.size, fill=1.0))


def collated_pairs(examples: list[dict[str, NDArray[Any]]], *, config: GeneratorConfig) -> dict[str, Tensor]:
    """Collate a batch and add the `generator_parts` of its poses.

    Args:
        examples: Examples of `PairCrops`.
        config: Shape of the generator.

    Returns:
        The arrays of the examples, with capsules (B, K, 7) and target_to_source (B, 10, 3, 4).
    """
    batch: dict[str, Tensor] = default_collate(examples)
    parts = generator_parts(config, batch["source_joints"], batch["target_joints"])
    return {**batch, "capsules": parts.capsules, "target_to_source": parts.target_to_source}


def one_camera(first: Example, second: Example) -> bool:
    """Return whether two images have the same size, focal length and principal point."""
    return (
        first.size == second.size
        and bool(np.isclose(first.focal, second.focal, rtol=1e-4))
        and bool(np.allclose(first.principal_point, second.principal_point, atol=0.01))
    )


def frame_of_example(example: Example) -> NDArray[np.float32]:
    """Return the joints of a crop's person in the volume's frame.

    Args:
        example: A square crop.

    Returns:
        (19, 3) float32, pixels; NaN if not labelled.

    Raises:
        InputError: If the person has no joints of reposing19.
    """
    points = example.person.joints.get(REPOSING19.name)
    if points is None:
        raise InputError(
            example.name,
            f"has no person with joints of {REPOSING19.name} in space",
            remedy="make its cache again, with `fits` if the source has no 3-D poses",
        )
    joints = np.where(points[:, 3:] > 0, points[:, :3], np.nan)
    width, height = example.size
    assert width == height
    return frame_joints(joints, Camera(example.focal, example.principal_point, example.size))
