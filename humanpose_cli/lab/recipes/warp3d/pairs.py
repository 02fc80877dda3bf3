"""Pairs of images of one person in one clothing, cropped alike: what reposing learns from.

A pair comes from one group of the cache: a pair, a clip, or the images of one set of clothes. `listed_pairs` takes the
pairs that the protocol lists. `drawn_pairs` takes every image as an input once an epoch and draws its target anew from
the others of its group.

`PairCrops` cuts both images out. Where they are of one camera (same size, focal length and principal point), both get
the same crop, about both boxes of the person together: what stands still lies on the same pixels in both, so the
inpainted background of the input is the target's. Other pairs, such as images of a catalogue, are cropped about each
box. Augmentation is drawn once for a pair: both are turned, scaled, shifted, mirrored and recoloured alike.
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
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.cache.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    ColourChange,
    Example,
    change_colour,
    crop_example,
    example_of,
    random_crop,
)
from humanpose_cli.lab.cache.cache import Cache
from humanpose_cli.models.warp3d.config import FILL, GeneratorConfig
from humanpose_cli.models.warp3d.generator import frame_joints, generator_parts

_FEWEST_JOINTS, _SMALLEST_BOX = 12, 16.0
_JOINTS = "joints/reposing19"

PersonIndex = tuple[int, int]  # row of an image, and index of the person among its people
_NONE = -1


@dataclass(frozen=True, eq=False)
class Pairs:
    """Inputs, each with the targets that it may be paired with. Arrays: pairs of all images of large groups are many
    more than the images, and every worker of a loader gets them.

    excluded (N,) number of the input itself among the targets, which it is not paired with; −1 if it is not there

    Attributes:
        inputs: (N, 2) image and person of each.
        targets: (M, 2) the same of all that are a target of some.
        spans: (N, 2) from which to before which target those of each input are.
        missed: Rows of the images of pairs that are left out: one of them shows no usable person.
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
        """The pairs that are left out, of the first person in each image, as far as there is one."""
        rows = [pair for pair in self.missed if all(self.cache.people_of(row) for row in pair)]
        return Pairs.listed(self.cache, [((a, 0), (b, 0)) for a, b in rows])

    def left_out(self, *more: Pairs) -> str:
        """Say how many of these and more pairs are left out, for reports; "" for none."""
        count = sum(len(one.missed) for one in (self, *more))
        total = count + sum(map(len, (self, *more)))
        return f"{count:,} of {total:,} pairs, without a usable person in one of the images" if count else ""

    def targets_of(self, number: int) -> NDArray[np.int64]:
        """List image and person (K, 2) of all targets of an input."""
        numbers = np.arange(*self.spans[number])
        return self.targets[numbers[numbers != self.excluded[number]]]

    def images(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """List rows of the images of these pairs, each once, ascending."""
        pairs = np.asarray(numbers, np.int64)
        # A target belongs to one of the pairs if more spans have begun before it than have ended.
        begun = np.zeros(len(self.targets) + 1, np.int64)
        np.add.at(begun, self.spans[pairs, 0], 1)
        np.add.at(begun, self.spans[pairs, 1], -1)
        targets = self.targets[begun.cumsum()[:-1] > 0, 0]
        return np.unique(np.concatenate((self.inputs[pairs, 0], targets)))

    def examples(self, number: int, random: np.random.Generator) -> tuple[Example, Example]:
        """Decode an input and a target of it, with the masks of the person."""
        first, last = self.spans[number].tolist()
        excluded = int(self.excluded[number])
        target = first + int(random.integers(last - first - (excluded != _NONE)))
        target += excluded != _NONE and target >= excluded
        one, other = (
            example_of(self.cache.sample(row), person, maps=())
            for row, person in (self.inputs[number].tolist(), self.targets[target].tolist())
        )
        return one, other

    def groups_held_out(self, every: int) -> tuple[Pairs, Pairs]:
        """Divide into those of most groups, and those of every n-th group: no clothing is in both."""
        starts = np.sort([group.start for group in self.cache.groups.values()])
        group = np.searchsorted(starts, self.inputs[:, 0], side="right")
        apart = np.unique(group, return_inverse=True)[1] % every == 0
        others, held_out = (
            replace(self, inputs=self.inputs[rows], spans=self.spans[rows], excluded=self.excluded[rows], missed=())
            for rows in (~apart, apart)
        )
        return replace(others, missed=self.missed), held_out


def listed_pairs(cache: Cache, protocol: str, split: str) -> Pairs:
    """List the pairs of a protocol; those that do not show one usable person in both images are left out."""
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
    """Pair every image of these rows with all others of its group that show the same person."""
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
        rows_in_use = {row for row, _ in indices}
        missing += [(row, images[i - 1]) for i, row in enumerate(images) if row not in rows_in_use and len(images) > 1]
    people = np.array(inputs, np.int64).reshape(-1, 2)
    return Pairs(cache, people, people, np.array(spans, np.int64).reshape(-1, 2), np.arange(len(people)), missing)


class _UsablePeople:
    """The people of images that have the labels which reposing needs, by name: (identity, clothing).

    indices  row of an image → name → `PersonIndex`; areas  likewise → pixels of the person's box
    """

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
                if joint_mask.sum() < _FEWEST_JOINTS or not max(sides) >= _SMALLEST_BOX:
                    continue
                key, area = (str(name[0]), str(name[1])), float(np.prod(sides))
                if area > self.areas[row].get(key, 0):  # of people without names, the largest
                    self.indices[row][key], self.areas[row][key] = (row, index), area

    def shared(self, rows: Sequence[int]) -> tuple[str, str] | None:
        """Return the name of the person who is in two or more of these images, the largest in all; None: there is
        none.
        """
        total: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            for name, area in self.areas[row].items():
                total.setdefault(name, []).append(area)
        several = {name: sum(areas) for name, areas in total.items() if len(areas) > 1}
        return max(several, key=lambda name: (several[name], name)) if several else None


class PairCrops:
    """Makes the arrays of a pair, of which a batch is collated; with `full_images`, of complete images. With
    `depth_jitter`, all the target's joints are moved in depth by one draw of up to so many pixels.

    input, target                (S, S, 3) uint8
    source_joints, target_joints (19, 3) float32 pixels of the volume's frame, NaN where not known
    source_mask, target_mask     (S, S) float32 0 or 1: where the person is visible
    masks_known                  () float32 1 where the masks are known, else 0
    """

    def __init__(
        self,
        pairs: Pairs,
        size: int,
        augmentation: Augmentation = NO_AUGMENTATION,
        *,
        depth_jitter: float = 0.0,
        full_images: bool = False,
    ) -> None:
        self.pairs, self.size, self.augmentation = pairs, size, augmentation
        self.depth_jitter, self.full_images = depth_jitter, full_images

    def __call__(self, number: int, random: np.random.Generator) -> dict[str, NDArray[Any]]:
        return self.arrays(*self.crops(number, random), random)

    def crops(self, number: int, random: np.random.Generator) -> tuple[Example, Example]:
        """Cut both images of a pair out alike."""
        return self._crops(*self.pairs.examples(number, random), random)

    def arrays(self, first: Example, second: Example, random: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Return the arrays of two crops."""
        both = self._recoloured(np.concatenate((first.image, second.image)), random)
        result: dict[str, NDArray[Any]] = {"input": both[: self.size], "target": both[self.size :]}
        for name, crop in (("source", first), ("target", second)):
            result[f"{name}_joints"] = frame_of_example(crop)
            empty = np.zeros((self.size, self.size), np.float32)
            result[f"{name}_mask"] = empty if crop.mask is None else (crop.mask > 127).astype(np.float32)
        result["masks_known"] = np.float32(first.mask is not None and second.mask is not None)
        if self.depth_jitter:
            result["target_joints"][:, 2] += np.float32(random.uniform(-self.depth_jitter, self.depth_jitter))
        return result

    def _crops(self, first: Example, second: Example, random: np.random.Generator) -> tuple[Example, Example]:
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

    def _full_image(self, example: Example) -> Example:
        """Return all of the image, its longer side as long as the crop's."""
        frame = np.array([0.0, 0.0, *example.size])
        return crop_example(example, crop_around_box(frame, self.size, fill=1.0))

    def _recoloured(self, both: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Change both images as one: contrast changes about their common mean."""
        a = self.augmentation
        bright, contrast, saturation, hue = random.uniform(-1, 1, 4)
        change = ColourChange(
            a.hue * hue, 1 + a.saturation * saturation, 1 + a.contrast * contrast, a.brightness * bright
        )
        return change_colour(both, change)


def collated_pairs(examples: list[dict[str, NDArray[Any]]], *, config: GeneratorConfig) -> dict[str, Tensor]:
    """Collate a batch of what `PairCrops` makes, and with it the `generator_parts` of its poses: `capsules` (B, K, 7)
    and `target_to_source` (B, 10, 3, 4).
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
    """Return (19, 3) pixels of a crop's person; joints that are not labelled are NaN. Raises InputError without such
    joints.
    """
    points = example.person.joints.get(REPOSING19.name)
    if points is None:
        raise InputError(
            example.name,
            f"has no person with joints of {REPOSING19.name} in space",
            remedy="make its cache again, with `fits` where the source has no 3-D poses",
        )
    joints = np.where(points[:, 3:] > 0, points[:, :3], np.nan)
    width, height = example.size
    if width != height:
        raise UsageError(example.name, "is no square crop", got=f"{width} × {height}")
    return frame_joints(joints, Camera(example.focal, example.principal_point, example.size))
