"""Which people of a cache a recipe learns from: those whose labels it needs, by split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import model_for
from humanpose_cli.core.conventions import BLAZEPOSE33, SKELETONS, SMPL24, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.augmentation import Example, example_of
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.loader import spread_evenly
from humanpose_cli.lab.cache.schema import columns_of

_FEWEST_MEASURED = 12  # joints of h36m17, the root among them
_FEWEST_JOINTS = 6  # labelled ones, without which a person's position is unknown
_SAME = 0.2  # of a person's size: joints farther off on average are somebody else's
_SCALED = 1e-3  # of a segment's length
_HELD_OUT = 0.1  # share of the sequences, or else images, where a protocol has no validation split


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
    "unscaled": _Label(  # of other people, poses and betas alone are another body
        "", "unscaled segments", "take fits without scales, such as those of hpc fit --set ground.use=false"
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
"""What recipes may need of people: column, text, and how a cache gets it."""


def data_facts(cache: Cache) -> dict[str, str]:
    """Return source, options and digest of a cache, for a run's record."""
    return {"data": cache.header.source, "options": cache.header.options, "digest": cache.header.content_digest}


@dataclass(frozen=True)
class People:
    """Some people of a cache.

    images (N,) rows of images, indices (N,) of each person among the image's people, rows (N,) of people
    """

    cache: Cache
    images: NDArray[np.int64]
    indices: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def example(self, number: int, maps: tuple[str, ...] | None = None, **parts: bool) -> Example:
        """Decode a person; only the named maps. parts: see `example_of`."""
        sample = self.cache.sample(int(self.images[number]))
        return example_of(sample, int(self.indices[number]), maps=maps, **parts)

    def describe(self) -> dict[str, Any]:
        """Return source, options and digest of the data, for a run's record."""
        return {**data_facts(self.cache), "people": len(self)}

    def taken(self, numbers: NDArray[np.integer | np.bool_]) -> People:
        """Select some of them, by number or as booleans; repeated ones too."""
        return People(self.cache, self.images[numbers], self.indices[numbers], self.rows[numbers])

    def column(self, name: str) -> NDArray[Any]:
        """Read a column of the people table: (N, …), NaN where not known."""
        return np.asarray(self.cache.people[name][self.rows])


@dataclass(frozen=True)
class JoinedPeople:
    """People of several caches in one order, each with the labels that their cache has.

    Attributes:
        parts: Of the caches; sources (N,) the part of each person, numbers (N,) their number there.
    """

    parts: tuple[People, ...]
    sources: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, *parts: People) -> JoinedPeople:
        """Join all of the parts, one after the other."""
        counts = [len(part) for part in parts]
        numbers = np.concatenate([np.arange(count) for count in counts])
        return cls(parts, np.repeat(np.arange(len(parts)), counts), numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def taken(self, numbers: NDArray[np.integer | np.bool_]) -> JoinedPeople:
        """Select some of them, by number or as booleans; repeated ones too."""
        return JoinedPeople(self.parts, self.sources[numbers], self.numbers[numbers])

    def example(self, number: int, maps: tuple[str, ...] | None = None, **parts: bool) -> Example:
        """Decode a person, as of `People`."""
        return self.parts[self.sources[number]].example(int(self.numbers[number]), maps, **parts)

    def values(self, of_part: Callable[[People], NDArray[Any]]) -> NDArray[Any]:
        """Return (N, …) of a function that gives values (M, …) for people of one cache, of the same shape for each."""
        parts = [(self.sources == source, part) for source, part in enumerate(self.parts)]
        columns = [of_part(part.taken(self.numbers[mine])) for mine, part in parts]
        values = np.empty((len(self), *columns[0].shape[1:]), np.result_type(*columns))
        for (mine, _), column in zip(parts, columns, strict=True):
            values[mine] = column
        return values

    def column(self, name: str) -> NDArray[Any]:
        """Read a column of numbers of the people tables: (N, …), NaN where not known."""
        column = columns_of("people")[name]
        missing = np.full((1, *column.shape), np.nan, column.numpy_dtype)
        return self.values(
            lambda people: people.column(name) if name in people.cache.people else missing.repeat(len(people), 0)
        )

    @property
    def seeds(self) -> NDArray[np.int64]:
        """(N, 2) row in the cache, number of the cache: the same whichever other people are among them."""
        rows = self.values(lambda people: people.rows)
        return np.stack((rows, self.sources), 1)

    @property
    def path(self) -> Path:
        """What errors name: the cache, or the caches with commas between."""
        return Path(", ".join(str(part.cache.path) for part in self.parts))

    def describe(self) -> dict[str, Any]:
        """Return it as of `People`; of several caches, a list of those."""
        descriptions = [part.taken(self.numbers[self.sources == s]).describe() for s, part in enumerate(self.parts)]
        return descriptions[0] if len(descriptions) == 1 else {"caches": descriptions, "people": len(self)}


def split_people(
    path: Path | str, needs: Sequence[str], *, protocol: str = "", choosing: bool = True
) -> tuple[People, People]:
    """Select those to learn from and those held out, each with all the labels of `LABELS` that are needed.

    Where no split is for validation, about a tenth of "train" is held out: entire sequences, so that no
    clip is on both sides, and images that are of none; images of the only sequence; people of the only image. A name's
    digest decides, so that other images in the cache change nothing. InputError, which names the label and how to get
    it, where a cache lacks one, where the protocol has nothing to learn from, and where fewer than two people are left.

    Args:
        protocol: Of the cache; "" for its usual one.
        choosing: Whether weights may be chosen by those held out, which then are never of the split that
            evaluations take: see `validation_split`.
    """
    cache = open_cache(path)
    _check_columns(cache, needs)
    training = training_protocol(cache, protocol)
    train = with_labels(people_of_images(cache, cache.rows(training, "train")), needs)
    if validation_split(cache, training, choosing=choosing) == "validation":
        held_out = with_labels(people_of_images(cache, cache.rows(training, "validation")), needs)
    else:
        apart = _apart(train)
        train, held_out = train.taken(~apart), train.taken(apart)
    for people, what in ((train, "to learn from"), (held_out, "held out")):
        if len(people) == 0:
            raise InputError(
                cache.path,
                f"has no person {what}",
                expected=f"people with {_listed(needs)} in both splits, two or more in all",
                remedy="make a larger cache",
            )
    return train, held_out


def validation_split(cache: Cache, protocol: str, *, choosing: bool = True) -> str:
    """Return the split that validations take people of: "validation", or "train", a part of which is then held out.

    Args:
        choosing: Whether weights may be chosen by them. A protocol without a split "test" is evaluated on
            "validation", which therefore chooses nothing.
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
    """Return `Recipe.validation_data` of images (rows) that are learned from and held out.

    Args:
        protocol: As the user chose it; count  how many of `unit` are measured.
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
    """Return `validation_facts` of people; limit  the number that are measured at most"""
    return validation_facts(train.cache, protocol, train.images, validation.images, min(len(validation), limit))


def _apart(people: People) -> NDArray[np.bool_]:
    """Choose the people (N,) who are held out of a split: all or none of the same sequence or image, if there are
    several.
    """
    cache, images = people.cache, people.images
    names = {row: str(name) for row, name in zip(images.tolist(), cache.images["name"][images], strict=True)}
    clips = {row: name for name in cache.sequences for row in cache.sequence(name).tolist()}
    by_image = [f"image {names[row]}" for row in images.tolist()]
    by_clip = [
        f"sequence {clips[row]}" if row in clips else name for row, name in zip(images.tolist(), by_image, strict=True)
    ]
    by_person = [f"{name} {index}" for name, index in zip(by_image, people.indices.tolist(), strict=True)]
    units = next((keys for keys in (by_clip, by_image) if len(set(keys)) > 1), by_person)
    # A uniform number of each name; whichever it is, both sides get at least one.
    draws = {key: int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64 for key in set(units)}
    order = sorted(draws, key=draws.__getitem__)
    held_out = {key for key in order[1:-1] if draws[key] < _HELD_OUT} | set(order[:1])
    return np.array([key in held_out for key in units], bool)


def people_in(path: Path | str, needs: Sequence[str], protocol: str, split: str) -> People:
    """Select those of one split with all the labels that are needed. Raises InputError as `split_people`."""
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
    """Select people with at least that share of their joints visible; 0 for all.

    Who stands behind others or beyond the image's edge can be neither segmented nor predicted from a crop. Joints
    that a source calls labelled count as visible.
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
    """Raise InputError if a person's known parameters are of none of these models: betas mean another shape in
    another.
    """
    columns = people.cache.people
    if "poses" not in columns or "body" not in columns:
        return
    finite = np.isfinite(people.column("poses")).all(1)
    genders = people.column("gender") if "gender" in columns else np.full(len(people), "")
    kinds = set(zip(people.column("body")[finite].tolist(), genders[finite].tolist(), strict=True))
    models = {body.name: body for body in bodies}
    others = {f"{kind}-{gender or 'neutral'}" for kind, gender in kinds if kind and not model_for(models, kind, gender)}
    if others:
        raise InputError(
            people.cache.path,
            "has parameters of another body",
            expected=", ".join(models),
            got=", ".join(sorted(others)),
            remedy=remedy,
        )


def segment_scales(people: People) -> NDArray[np.float32]:
    """Return scales (N, 24) of the people's segments, 1 where they are not known."""
    if "segment_scales" not in people.cache.people:
        return np.ones((len(people), len(SMPL24)), np.float32)
    return np.nan_to_num(people.column("segment_scales"), nan=1.0)


_People = TypeVar("_People", People, JoinedPeople)


def spread_out(people: _People, count: int) -> _People:
    """Select that many of them at most, evenly; 0 for all."""
    if not 0 < count < len(people):
        return people
    return people.taken(np.array(spread_evenly(len(people), count), np.int64))


def _listed(needs: Sequence[str]) -> str:
    return " and ".join(LABELS[need].text for need in needs)


def usual_protocol(cache: Cache) -> str:
    """Return the protocol that is meant if none is named: "nbf" or the first; "" without any."""
    return "nbf" if "nbf" in cache.splits else next(iter(cache.splits), "")


def training_protocol(cache: Cache, protocol: str = "") -> str:
    """Return the protocol that is meant, or the usual one. Raises InputError if it has no split "train"."""
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
    """List the protocols and splits of a cache, as text."""
    return "; ".join(f"{name}: {', '.join(parts)}" for name, parts in cache.splits.items()) or "none"


def _check_columns(cache: Cache, needs: Sequence[str]) -> None:
    for need in needs:
        label = LABELS[need]
        if label.column and not cache.labels.get(label.column, 0):
            raise InputError(cache.path, f"lacks {label.text}", expected=label.column, remedy=label.remedy)


def people_of_images(cache: Cache, images: NDArray[np.int64]) -> People:
    """Select all people in these images; crowd regions are none."""
    ranges = [cache.people_of(int(row)) for row in images]
    rows = np.array([row for people in ranges for row in people], np.int64)
    indices = np.array([index for people in ranges for index in range(len(people))], np.int64)
    people_in_images = People(cache, np.repeat(images, [len(people) for people in ranges]), indices, rows)
    return (
        people_in_images.taken(~(people_in_images.column("crowd") > 0)) if "crowd" in cache.people else people_in_images
    )


def with_labels(people: People, needs: Sequence[str]) -> People:
    """Select those whose needed labels are finite; joints count if enough are labelled."""
    keep = np.ones(len(people), bool)
    for need in needs:
        table, _, name = LABELS[need].column.partition("/")
        if need == "unscaled":
            keep &= np.asarray(np.abs(segment_scales(people) - 1) < _SCALED).all(1)
            continue
        if table == "pictures":
            if people.cache.labels[LABELS[need].column] < len(people.cache):
                keep &= [bool(people.cache.map_bytes(int(row), need)) for row in people.images]
            continue
        values = people.column(name)
        mask = np.isfinite(values).reshape(len(values), -1).all(1)
        if need == "poses":
            mask &= np.isfinite(people.column("betas")).all(1) & np.isfinite(people.column("trans")).all(1)
        elif need == "measured":
            mask = np.isfinite(values[:, 0]).all(1) & ((np.nan_to_num(values[..., 3]) > 0).sum(1) >= _FEWEST_MEASURED)
        elif need == "joints":
            mask = (np.isfinite(values).all(2) & (values[..., 2] > 0)).sum(1) >= _FEWEST_JOINTS
        elif need == "detected":
            mask &= _is_same(values, people)
        elif need == "box":
            mask &= (values[:, 2:] - values[:, :2] >= 2).all(1)
        keep &= mask
    return people.taken(keep)


def _is_same(detections: NDArray[Any], people: People) -> NDArray[np.bool_]:
    """Return whether the detector found this person instead of another in front of them: (N,), by the joints that both
    name.

    detected (N, 33, 3). Detections of people whose joints are unknown are kept.
    """
    if "keypoints/smpl24" not in people.cache.people:
        return np.ones(len(people), bool)
    names = [name for name in SMPL24.joint_names if name in BLAZEPOSE33]
    true = people.column("keypoints/smpl24")[:, SMPL24.indices(names), :2]
    points = detections[:, BLAZEPOSE33.indices(names), :2]
    with np.errstate(invalid="ignore"):
        apart = np.median(np.linalg.norm(points - true, axis=-1), axis=1)
        size = np.max(true.max(1) - true.min(1), axis=1)
        return ~(apart > _SAME * size)


def keypoints_of(people: People, skeleton: Skeleton) -> NDArray[np.float64]:
    """Return pixels (N, J, 3) in this skeleton, and 1 where known: joints that a source projects from space are, where
    they are hidden too.

    A cache without keypoints of this skeleton gives those of the one that has the most joints of the same names; the
    others are unknown. Raises InputError if it has none with enough joints.
    """
    columns = people.cache.people
    there = [SKELETONS[name] for name in SKELETONS if f"keypoints/{name}" in columns]
    nearest = max(there, key=lambda other: (other == skeleton, len(_common(skeleton, other))), default=None)
    if nearest is None or len(_common(skeleton, nearest)) < _FEWEST_JOINTS:
        had = ", ".join(other.name for other in there) or "none"
        raise InputError(people.cache.path, "lacks keypoints", expected=skeleton.name, got=had)
    points = people.column(f"keypoints/{nearest.name}").astype(np.float64)
    finite = np.isfinite(points).all(-1)
    mask = finite & (np.nan_to_num(points[..., 2]) > 0)
    if f"joints/{nearest.name}" in columns:
        mask |= finite & (np.nan_to_num(people.column(f"joints/{nearest.name}")[..., 3]) > 0)
    names = _common(skeleton, nearest)
    keypoints = np.zeros((len(people), len(skeleton), 3))
    values = np.concatenate((np.where(mask[..., None], points[..., :2], 0), mask[..., None]), -1)
    keypoints[:, skeleton.indices(names)] = values[:, nearest.indices(names)]
    return keypoints


def _common(one: Skeleton, other: Skeleton) -> list[str]:
    return [name for name in one.joint_names if name in other]


def with_keypoints(people: People, skeleton: Skeleton) -> People:
    """Select those with enough labelled joints of this skeleton."""
    return people.taken(keypoints_of(people, skeleton)[..., 2].sum(1) >= _FEWEST_JOINTS)
