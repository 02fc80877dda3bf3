"""Selection of the people of a cache that a recipe learns from: by the labels that it needs, and by split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import model_for
from humanpose_cli.core.camera import Camera, default_focal
from humanpose_cli.core.conventions import BLAZEPOSE33, SKELETONS, SMPL24, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.augmentation import Example, example_of
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.cache.reading import Names
from humanpose_cli.lab.cache.schema import columns_of
from humanpose_cli.models.lifter.metric import lifted_world

_MIN_MEASURED_JOINTS = 12  # of h36m17, including the root
_MIN_LABELLED_JOINTS = 6  # with fewer, a person's position is unknown
_MAX_DETECTION_ERROR = 0.2  # median error, relative to a person's size, above which a detection is another person's
_SCALE_TOLERANCE = 1e-3  # relative to a segment's length
_HELD_OUT_SHARE = 0.1  # of the sequences, or images, if a protocol has no validation split


class _Label(NamedTuple):
    column: str
    text: str
    remedy: str


LABELS: dict[str, _Label] = {
    "poses": _Label(
        "people/poses",
        "body parameters",
        "make it from a source that gives them, such as synthetic or up3d, or let hpc preprocess fit bodies",
    ),
    "unscaled": _Label(  # with scales, poses and betas alone do not define the body
        "", "unscaled segments", "take fits without scales, such as from hpc fit --set ground.use=false"
    ),
    "joints": _Label(
        "people/keypoints/smpl24", "joints of smpl24 in the image", "make it from a source that gives body parameters"
    ),
    "measured": _Label(
        "people/joints/h36m17", "joints of h36m17 in space", "make it from a source whose joints were measured"
    ),
    "box": _Label("people/box", "boxes", "make it again with a source that gives boxes"),
    "detected": _Label("people/detected", "detections", "make it again with hpc preprocess … --detections"),
    "parts": _Label(
        "pictures/maps/parts",
        "maps of body parts",
        "make it from a source that draws them: synthetic, or one of SMPL bodies with --model",
    ),
    "garments": _Label(
        "pictures/maps/garments", "maps of garments", "make it with hpc preprocess synthetic --set garments=true"
    ),
    "densepose": _Label(
        "pictures/maps/densepose",
        "DensePose's output",
        "make it again with hpc preprocess … --densepose, or from densepose, whose points are annotated",
    ),
    "correspondence": _Label(
        "pictures/maps/correspondence",
        "dense correspondences",
        "make it from a source that draws them: synthetic, or one of SMPL bodies with --model",
    ),
}
"""Labels that recipes may need: the column, its name in messages, and how a cache gets it."""


def data_facts(cache: Cache) -> dict[str, str]:
    """Return source, options and digest of a cache for the record of a run."""
    return {"data": cache.header.source, "options": cache.header.options, "digest": cache.header.content_digest}


@dataclass(frozen=True)
class People:
    """N people of a cache.

    Attributes:
        cache: The cache.
        images: (N,) int64. Rows of the images.
        indices: (N,) int64. Index of each person among the people of the image.
        rows: (N,) int64. Rows of the people table.
    """

    cache: Cache
    images: NDArray[np.int64]
    indices: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def example(self, number: int, maps: tuple[str, ...] | None = None, labels: Names = None, **parts: bool) -> Example:
        """Decode a person.

        Args:
            number: Index of the person, 0 … N − 1.
            maps: Names of the maps to decode; None for all.
            labels: Names of the person's columns to read, such as "keypoints/smpl24"; None for all.
            **parts: Further parts to decode, see `example_of`.
        """
        index = int(self.indices[number])
        needed_maps = None if maps is None else {*maps, "persons"}
        sample = self.cache.sample(int(self.images[number]), person=index, maps=needed_maps, labels=labels)
        return example_of(sample, index, maps=maps, **parts)

    def describe(self) -> dict[str, Any]:
        """Return source, options and digest of the data for the record of a run."""
        return {**data_facts(self.cache), "people": len(self)}

    def taken(self, numbers: NDArray[np.integer | np.bool_]) -> People:
        """Select people by index, which may repeat, or by a mask."""
        return People(self.cache, self.images[numbers], self.indices[numbers], self.rows[numbers])

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of the people table as (N, …), NaN for unknown values."""
        return np.asarray(self.cache.people[name][self.rows])


@dataclass(frozen=True)
class JoinedPeople:
    """N people of several caches in one order, each with the labels of their cache.

    Attributes:
        parts: The people of each cache.
        sources: (N,) int64. Index of each person's part.
        numbers: (N,) int64. Index of each person in that part.
    """

    parts: tuple[People, ...]
    sources: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, *parts: People) -> JoinedPeople:
        """Join all people of the parts, one part after the other."""
        counts = [len(part) for part in parts]
        numbers = np.concatenate([np.arange(count) for count in counts])
        return cls(parts, np.repeat(np.arange(len(parts)), counts), numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def taken(self, numbers: NDArray[np.integer | np.bool_]) -> JoinedPeople:
        """Select people by index, which may repeat, or by a mask."""
        return JoinedPeople(self.parts, self.sources[numbers], self.numbers[numbers])

    def example(self, number: int, maps: tuple[str, ...] | None = None, **parts: bool) -> Example:
        """Decode a person, like `People.example`."""
        return self.parts[self.sources[number]].example(int(self.numbers[number]), maps, **parts)

    def values(self, of_part: Callable[[People], NDArray[Any]]) -> NDArray[Any]:
        """Evaluate a function for each cache and return its values in the order of the people.

        Args:
            of_part: Function from M people of one cache to values (M, …), of the same shape for each cache.

        Returns:
            (N, …). The values.
        """
        masks = [self.sources == source for source in range(len(self.parts))]
        columns = [of_part(part.taken(self.numbers[mask])) for mask, part in zip(masks, self.parts, strict=True)]
        values = np.empty((len(self), *columns[0].shape[1:]), np.result_type(*columns))
        for mask, column in zip(masks, columns, strict=True):
            values[mask] = column
        return values

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of numbers of the people tables as (N, …), NaN for unknown values."""
        column = columns_of("people")[name]
        missing = np.full((1, *column.shape), np.nan, column.numpy_dtype)
        return self.values(
            lambda people: people.column(name) if name in people.cache.people else missing.repeat(len(people), 0)
        )

    @property
    def seeds(self) -> NDArray[np.int64]:
        """(N, 2) int64. Row in the cache and index of the cache, which do not depend on the selected people."""
        rows = self.values(lambda people: people.rows)
        return np.stack((rows, self.sources), 1)

    @property
    def path(self) -> Path:
        """The path for error messages: the cache, or the caches separated by commas."""
        return Path(", ".join(str(part.cache.path) for part in self.parts))

    def describe(self) -> dict[str, Any]:
        """Return the description of the people like `People.describe`, with a list if there are several caches."""
        descriptions = [part.taken(self.numbers[self.sources == s]).describe() for s, part in enumerate(self.parts)]
        return descriptions[0] if len(descriptions) == 1 else {"caches": descriptions, "people": len(self)}


def split_people(
    path: Path | str, needs: Sequence[str], *, protocol: str = "", choosing: bool = True
) -> tuple[People, People]:
    """Select the training people and the held-out people that have all the needed labels.

    Without a split for validation, about a tenth of "train" is held out: complete sequences and single images; if there
    is one sequence, images of it; if there is one image, people of it. The digest of the name decides, so that other
    images in the cache change nothing.

    Args:
        path: Path of the cache.
        needs: Names in `LABELS`.
        protocol: Protocol of the cache; "" for `usual_protocol`.
        choosing: Whether weights are chosen by the held-out people. If so, they are never from the split that
            evaluations use, see `validation_split`.

    Returns:
        The training people and the held-out people.

    Raises:
        InputError: If the cache lacks a label, the protocol has no split "train", or fewer than two people remain.
    """
    cache = open_cache(path)
    _check_columns(cache, needs)
    training = training_protocol(cache, protocol)
    train = with_labels(people_of_images(cache, cache.rows(training, "train")), needs)
    if validation_split(cache, training, choosing=choosing) == "validation":
        held_out = with_labels(people_of_images(cache, cache.rows(training, "validation")), needs)
    else:
        mask = _held_out_mask(train)
        train, held_out = train.taken(~mask), train.taken(mask)
    for people, role in ((train, "to learn from"), (held_out, "held out")):
        if len(people) == 0:
            raise InputError(
                cache.path,
                f"has no person {role}",
                expected=f"people with {_listed(needs)} in both splits, two or more in all",
                remedy="make a larger cache",
            )
    return train, held_out


def validation_split(cache: Cache, protocol: str, *, choosing: bool = True) -> str:
    """Return the split for validation: "validation", or "train", of which a part is then held out.

    Args:
        cache: The cache.
        protocol: Protocol of the cache.
        choosing: Whether weights are chosen by the validation. A protocol without a split "test" is evaluated on
            "validation", which therefore must not choose weights.
    """
    splits = cache.splits.get(protocol, ())
    return "validation" if "validation" in splits and ("test" in splits or not choosing) else "train"


def validation_facts(
    cache: Cache,
    protocol: str,
    train: NDArray[np.integer],
    validation: NDArray[np.integer],
    count: int,
    unit: str = "people",
) -> dict[str, Any]:
    """Return the value of `Recipe.validation_data`.

    Args:
        cache: The cache.
        protocol: Protocol that the user chose; "" for `usual_protocol`.
        train: (N,) int. Rows of the training images.
        validation: (M,) int. Rows of the held-out images.
        count: Number of units that are measured.
        unit: Plural noun for what is counted.
    """
    training = training_protocol(cache, protocol)
    split = validation_split(cache, training)
    facts: dict[str, Any] = {
        "count": count,
        "unit": unit,
        "data": cache.header.source,
        "digest": cache.header.content_digest,
        "protocol": training,
        "split": split,
        "apart": split == "train",
    }
    common = np.intersect1d(cache.sequence_numbers[train], cache.sequence_numbers[validation])
    if count := int((common >= 0).sum()):
        facts["shared_sequences"] = count
    return facts


def validation_of_people(train: People, validation: People, protocol: str, limit: int) -> dict[str, Any]:
    """Return `validation_facts` of people, of whom at most `limit` are measured."""
    return validation_facts(train.cache, protocol, train.images, validation.images, min(len(validation), limit))


def _held_out_mask(people: People) -> NDArray[np.bool_]:
    """Choose the held-out people (N,): all or none of a sequence, or of an image if there is one sequence."""
    cache = people.cache
    images = people.images
    names = {row: str(name) for row, name in zip(images.tolist(), cache.images["name"][images], strict=True)}
    clips = {row: name for name in cache.sequences for row in cache.sequence(name).tolist()}
    by_image = [f"image {names[row]}" for row in images.tolist()]
    by_clip = [
        f"sequence {clips[row]}" if row in clips else name for row, name in zip(images.tolist(), by_image, strict=True)
    ]
    by_person = [f"{name} {index}" for name, index in zip(by_image, people.indices.tolist(), strict=True)]
    units = next((keys for keys in (by_clip, by_image) if len(set(keys)) > 1), by_person)
    # One uniform number per name; both sides get at least one unit.
    draws = {key: int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64 for key in set(units)}
    order = sorted(draws, key=draws.__getitem__)
    held_out = {key for key in order[1:-1] if draws[key] < _HELD_OUT_SHARE} | set(order[:1])
    return np.array([key in held_out for key in units], bool)


def people_in(path: Path | str, needs: Sequence[str], protocol: str, split: str) -> People:
    """Select the people of one split that have all the needed labels.

    Args:
        path: Path of the cache.
        needs: Names in `LABELS`.
        protocol: Protocol of the cache.
        split: Split of the protocol.

    Raises:
        InputError: If the cache lacks a label or no person remains.
    """
    cache = open_cache(path)
    _check_columns(cache, needs)
    people = with_labels(people_of_images(cache, cache.rows(protocol, split)), needs)
    if len(people) == 0:
        raise InputError(
            cache.path,
            f"has no person with {_listed(needs)} in {split}",
            remedy="make a larger cache, or choose `split`",
        )
    return people


def visible_people(people: People, share: float) -> People:
    """Select people with at least this share of their joints visible.

    People who are mostly hidden can be neither segmented nor predicted from a crop. Joints that a source calls
    labelled count as visible.

    Args:
        people: The people.
        share: Share of the joints, 0 … 1; 0 selects all people.

    Raises:
        InputError: If no person remains.
    """
    if share <= 0:
        return people
    visible = people.taken(np.nan_to_num(people.column("keypoints/smpl24")[..., 2]).mean(1) >= share)
    if len(visible) == 0:
        raise InputError(
            people.cache.path,
            "shows too little of all people",
            expected=f"{share:.0%} of the joints",
            remedy="a smaller share",
        )
    return visible


ONE_MODEL = "`body=smpl:FILE` of that gender, and a cache of people of one gender"


def require_model(people: People, *bodies: Body, remedy: str = ONE_MODEL) -> None:
    """Check that the known parameters of all people belong to one of these models, since betas depend on the model.

    Args:
        people: The people.
        *bodies: The models.
        remedy: Remedy in the error message.

    Raises:
        InputError: If parameters belong to another model.
    """
    columns = people.cache.people
    if "poses" not in columns or "body" not in columns:
        return
    finite = np.isfinite(people.column("poses")).all(1)
    genders = people.column("gender") if "gender" in columns else np.full(len(people), "")
    kinds = set(zip(people.column("body")[finite].tolist(), genders[finite].tolist(), strict=True))
    models = {body.name: body for body in bodies}
    unknown = {
        f"{kind}-{gender or 'neutral'}" for kind, gender in kinds if kind and not model_for(models, kind, gender)
    }
    if unknown:
        raise InputError(
            people.cache.path,
            "has parameters of another body",
            expected=", ".join(models),
            got=", ".join(sorted(unknown)),
            remedy=remedy,
        )


def segment_scales(people: People) -> NDArray[np.float32]:
    """Return the scales (N, 24) of the people's segments, 1 if they are unknown."""
    if "segment_scales" not in people.cache.people:
        return np.ones((len(people), len(SMPL24)), np.float32)
    return np.nan_to_num(people.column("segment_scales"), nan=1.0)


_People = TypeVar("_People", People, JoinedPeople)


def spread_out(people: _People, count: int) -> _People:
    """Select at most `count` people, spread evenly; 0 selects all."""
    if not 0 < count < len(people):
        return people
    return people.taken(np.array(spread_evenly(len(people), count), np.int64))


def _listed(needs: Sequence[str]) -> str:
    return " and ".join(LABELS[need].text for need in needs)


def usual_protocol(cache: Cache) -> str:
    """Return the default protocol of a cache: "nbf", or the first, or "" if there is none."""
    return "nbf" if "nbf" in cache.splits else next(iter(cache.splits), "")


def training_protocol(cache: Cache, protocol: str = "") -> str:
    """Return the named protocol or `usual_protocol`.

    Args:
        cache: The cache.
        protocol: Name of a protocol; "" for the usual one.

    Raises:
        InputError: If the protocol has no split "train".
    """
    name = protocol or usual_protocol(cache)
    if "train" not in cache.splits.get(name, ()):
        raise InputError(
            cache.path,
            f"has nothing to learn from in protocol {name or 'any'}",
            expected="a split train",
            got=listed_splits(cache),
            remedy="`protocol` chooses; a part of the cache is for evaluation",
        )
    return name


def listed_splits(cache: Cache) -> str:
    """Return the protocols and splits of a cache as text."""
    return "; ".join(f"{name}: {', '.join(parts)}" for name, parts in cache.splits.items()) or "none"


def _check_columns(cache: Cache, needs: Sequence[str]) -> None:
    for need in needs:
        label = LABELS[need]
        if label.column and not cache.labels.get(label.column, 0):
            raise InputError(cache.path, f"lacks {label.text}", expected=label.column, remedy=label.remedy)


def people_of_images(cache: Cache, images: NDArray[np.int64]) -> People:
    """Select all people in these images (rows), without crowd regions."""
    ranges = [cache.people_of(int(row)) for row in images]
    rows = np.array([row for span in ranges for row in span], np.int64)
    indices = np.array([index for span in ranges for index in range(len(span))], np.int64)
    people = People(cache, np.repeat(images, [len(span) for span in ranges]), indices, rows)
    return people.taken(~(people.column("crowd") > 0)) if "crowd" in cache.people else people


def with_labels(people: People, needs: Sequence[str]) -> People:
    """Select the people with finite values of all needed labels, and with enough labelled joints."""
    selected = np.ones(len(people), bool)
    for need in needs:
        table, _, name = LABELS[need].column.partition("/")
        if need == "unscaled":
            selected &= np.asarray(np.abs(segment_scales(people) - 1) < _SCALE_TOLERANCE).all(1)
            continue
        if table == "pictures":
            if people.cache.labels[LABELS[need].column] < len(people.cache):
                selected &= [bool(people.cache.map_bytes(int(row), need)) for row in people.images]
            continue
        values = people.column(name)
        mask = np.isfinite(values).reshape(len(values), -1).all(1)
        if need == "poses":
            mask &= np.isfinite(people.column("betas")).all(1) & np.isfinite(people.column("trans")).all(1)
        elif need == "measured":
            measured = (np.nan_to_num(values[..., 3]) > 0).sum(1)
            mask = np.isfinite(values[:, 0]).all(1) & (measured >= _MIN_MEASURED_JOINTS)
        elif need == "joints":
            mask = (np.isfinite(values).all(2) & (values[..., 2] > 0)).sum(1) >= _MIN_LABELLED_JOINTS
        elif need == "detected":
            mask &= _shows_person(values, people)
        elif need == "box":
            mask &= (values[:, 2:] - values[:, :2] >= 2).all(1)
        selected &= mask
    return people.taken(selected)


def _shows_person(detections: NDArray[Any], people: People) -> NDArray[np.bool_]:
    """Return (N,) whether detections (N, 33, 3) show the labelled person instead of another in front of them."""
    # The joints that both skeletons have decide; without labelled joints, all detections are accepted.
    if "keypoints/smpl24" not in people.cache.people:
        return np.ones(len(people), bool)
    names = [name for name in SMPL24.joint_names if name in BLAZEPOSE33]
    true = people.column("keypoints/smpl24")[:, SMPL24.indices(names), :2]
    points = detections[:, BLAZEPOSE33.indices(names), :2]
    with np.errstate(invalid="ignore"):
        error = np.median(np.linalg.norm(points - true, axis=-1), axis=1)
        size = np.max(true.max(1) - true.min(1), axis=1)
        return ~(error > _MAX_DETECTION_ERROR * size)


def keypoints_of(people: People, skeleton: Skeleton) -> NDArray[np.float64]:
    """Return the people's keypoints in a skeleton.

    If the cache has no keypoints of this skeleton, they come from the skeleton with the most joints of the same names,
    and the other joints are unknown. Joints that the source projected from space are known even if they are hidden.

    Args:
        people: N people.
        skeleton: The skeleton, J joints.

    Returns:
        (N, J, 3) float64, pixels. x, y, and 1 for known joints, else 0.

    Raises:
        InputError: If no skeleton of the cache has enough joints of the same names.
    """
    columns = people.cache.people
    available = [SKELETONS[name] for name in SKELETONS if f"keypoints/{name}" in columns]
    nearest = max(
        available,
        key=lambda candidate: (candidate == skeleton, len(_common_joints(skeleton, candidate))),
        default=None,
    )
    if nearest is None or len(_common_joints(skeleton, nearest)) < _MIN_LABELLED_JOINTS:
        names = ", ".join(candidate.name for candidate in available) or "none"
        raise InputError(people.cache.path, "lacks keypoints", expected=skeleton.name, got=names)
    points = people.column(f"keypoints/{nearest.name}").astype(np.float64)
    finite = np.isfinite(points).all(-1)
    mask = finite & (np.nan_to_num(points[..., 2]) > 0)
    if f"joints/{nearest.name}" in columns:
        mask |= finite & (np.nan_to_num(people.column(f"joints/{nearest.name}")[..., 3]) > 0)
    common = _common_joints(skeleton, nearest)
    keypoints = np.zeros((len(people), len(skeleton), 3))
    values = np.concatenate((np.where(mask[..., None], points[..., :2], 0), mask[..., None]), -1)
    keypoints[:, skeleton.indices(common)] = values[:, nearest.indices(common)]
    return keypoints


def _common_joints(first: Skeleton, second: Skeleton) -> list[str]:
    return [name for name in first.joint_names if name in second]


def with_keypoints(people: People, skeleton: Skeleton) -> People:
    """Select the people with enough labelled joints of this skeleton."""
    return people.taken(keypoints_of(people, skeleton)[..., 2].sum(1) >= _MIN_LABELLED_JOINTS)


def cameras_of_images(cache: Cache, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the cameras of images, with usual values for unknown ones.

    Args:
        cache: The cache.
        rows: (N,) rows of the images.

    Returns:
        (N,) focal lengths and (N, 2) principal points, pixels.
    """
    images = cache.images
    sizes = np.asarray(images["size"][rows], np.float64)
    focal = np.array([default_focal(int(width), int(height)) for width, height in sizes])
    centre = sizes / 2
    if "focal" in images:
        values = np.asarray(images["focal"][rows])
        focal = np.where(np.isfinite(values), values, focal)
    if "principal_point" in images:
        values = np.asarray(images["principal_point"][rows])
        centre = np.where(np.isfinite(values), values, centre)
    return torch.from_numpy(focal).float(), torch.from_numpy(centre).float()


def lifted_detections(people: People) -> NDArray[np.float32]:
    """Lift the detected landmarks of N people in their images' cameras: (N, 33, 3), as `lifted_world` returns them."""
    return lifted_world(people.column("detected"), Camera(*cameras_of_images(people.cache, people.images)))
