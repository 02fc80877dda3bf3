"""A dataset's folder in numbers, without a cache: for `hpc preprocess NAME --check ROOT`.

Everything is read as for a cache, except that only the sizes of images are read (`reading.labels_only`). The report can
be sent to others: it has no image, no name of a person and no path outside of the dataset's folder.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.lab.cache.samples import Group, Sample
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.preprocess import SourceRequest, chosen_groups, open_folder
from humanpose_cli.lab.datasets.reading import labels_only
from humanpose_cli.version import __version__

FORMAT = "humanpose-cli data set check"
SCHEMA_VERSION = 3
MAX_PROBLEMS = 50
_PROGRESS_EVERY = 16  # samples
_NAMES = ("sequences", "identities", "clothes")
_OF_SAMPLE = (
    *("name", "size", "sequence", "frame", "splits", "focal", "principal_point", "frame_rate"),
    "world_to_camera",
)
_OF_PERSON = (
    *("identity", "clothing", "activity", "gender", "body", "crowd", "box", "area"),
    *("poses", "betas", "trans", "segment_scales", "keypoints", "joints", "surface_points"),
)
_DIGEST_COVERS = (
    "of each group its name, its pairs by protocol and split, and of its samples in the adapter's order: "
    f"{', '.join(_OF_SAMPLE)}, and of the people in their order: {', '.join(_OF_PERSON)}; numbers rounded to "
    "1/1024, groups in the order of their names; no image, mask or label map"
)
_GRID = 1024.0  # a power of two: decimals of the owners' files are no ties between its points
_LIMIT = 2.0**62


@dataclass
class Tally:
    """Counts of some images and their people.

    Attributes:
        images: Number of images.
        people: Number of people, without crowds.
        crowds: Number of crowds.
        names: Kind of name → distinct names.
    """

    images: int = 0
    people: int = 0
    crowds: int = 0
    names: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in _NAMES})

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        self.images += 1
        self.names["sequences"].add(sample.sequence)
        for person in sample.people:
            self.crowds += person.crowd
            self.people += not person.crowd
            self.names["identities"].add(person.identity)
            self.names["clothes"].add(person.clothing)

    def document(self) -> dict[str, int]:
        """Return the counts as JSON values."""
        names = {name: len(values - {""}) for name, values in self.names.items()}
        return {"images": self.images, "people": self.people, "crowds": self.crowds, **names}


@dataclass
class LabelCounts:
    """Counts and digests of the labels of a folder.

    Attributes:
        total: Counts of all samples.
        splits: (protocol, split) → counts.
        pairs: (protocol, split) → number of pairs.
        digests: Name of each group without problems → digest of its labels.
    """

    total: Tally = field(default_factory=Tally)
    splits: dict[tuple[str, str], Tally] = field(default_factory=dict)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    digests: dict[str, bytes] = field(default_factory=dict)

    def add_group(self, group: Group, samples: Iterable[Sample]) -> None:
        """Count the labels of a group.

        Args:
            group: The group.
            samples: Its samples.

        Raises:
            InputError: At a damaged file; the samples before it are counted.
        """
        digest = hashlib.sha256(_encoded({"/".join(key): np.array(pairs) for key, pairs in group.pairs.items()}))
        for sample in samples:
            for tally in (self.total, *(self.splits.setdefault(key, Tally()) for key in sample.splits.items())):
                tally.add(sample)
            people = [{name: getattr(person, name) for name in _OF_PERSON} for person in sample.people]
            digest.update(_encoded({**{name: getattr(sample, name) for name in _OF_SAMPLE}, "people": people}))
        self.digests[group.name] = digest.digest()
        self.pairs.update({key: len(pairs) for key, pairs in group.pairs.items()})

    @property
    def digest(self) -> str:
        """SHA-256 of the labels, for any order of the groups, path of the folder and machine.

        Numbers count to 1/1024 of a pixel, metre or radian, so that other versions of numerical libraries agree.
        """
        total = hashlib.sha256()
        for name in sorted(self.digests, key=str.encode):
            total.update(_encoded(name) + self.digests[name])
        return total.hexdigest()


def _encoded(value: Any) -> bytes:
    """Encode a value of labels as bytes that differ for different values."""
    if value is None:
        return b"N"
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"T%d:" % len(text) + text
    if isinstance(value, Mapping):
        items = b"".join(_encoded(str(key)) + _encoded(value[key]) for key in sorted(value))
        return b"M%d:" % len(value) + items
    if isinstance(value, list):
        return b"L%d:" % len(value) + b"".join(map(_encoded, value))
    numbers = np.asarray(value, np.float64)
    grid_values = np.clip(np.rint(numbers * _GRID), -_LIMIT, _LIMIT)
    integers = np.where(np.isnan(grid_values), -(2.0**63), grid_values).astype("<i8")
    return b"A" + ",".join(map(str, numbers.shape)).encode() + b":" + integers.tobytes()


@dataclass(frozen=True)
class DatasetCheck:
    """The contents of a dataset's folder.

    Attributes:
        source: Name of the dataset.
        title: Its name in messages.
        options: Options of the source, without paths.
        groups: Number of groups.
        labels: Counts and digests of the labels.
        problems: Sentences about missing and damaged files.
        notes: Sentences about unusual files.
    """

    source: str
    title: str
    options: Mapping[str, Any]
    groups: int
    labels: LabelCounts
    problems: Sequence[str]
    notes: Sequence[str]

    def document(self) -> dict[str, Any]:
        """Return the check as JSON values: docs/reference/files.md describes them."""
        labels = self.labels
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "tool_version": __version__,
            "source": self.source,
            "title": self.title,
            "options": dict(self.options),
            "agrees": not self.problems,
            "counts": {"groups": self.groups, **labels.total.document()},
            "splits": {"/".join(key): tally.document() for key, tally in sorted(labels.splits.items())},
            "pairs": {"/".join(key): count for key, count in sorted(labels.pairs.items())},
            "problem_count": len(self.problems),
            "problems": list(self.problems[:MAX_PROBLEMS]),
            "notes": list(self.notes[:MAX_PROBLEMS]),
            "digest": {
                "algorithm": "sha256",
                "value": labels.digest,
                "complete": not self.problems,
                "covers": _DIGEST_COVERS,
            },
        }


def check_dataset(request: SourceRequest, progress: Progress = no_progress) -> DatasetCheck:
    """Read a dataset's folder and count its contents.

    Missing and damaged files, and counts that differ from the official ones, are problems of the result.

    Args:
        request: As for `make_source`, without its models. Nothing is fitted or detected.
        progress: Called with the number of images.

    Raises:
        UsageError: If parts of the request contradict each other.
        InputError: If nothing can be read.
    """
    root = None if request.root is None else Path(os.path.abspath(request.root))  # can be removed from messages
    strict, lenient = (
        replace(request, root=root, options={**request.options, "allow_missing": value}) for value in (False, True)
    )
    folder = open_folder(strict, SourceTools())
    problems: list[str] = []
    try:
        source = chosen_groups(folder, request.items)
        groups = source.groups()
    except InputError as error:
        # Report what is missing, and read the rest.
        problems.append(_sentence(error))
        folder = open_folder(lenient, SourceTools())
        source = chosen_groups(folder, request.items)
        groups = source.groups()
    labels = LabelCounts()
    total = sum(group.count for group in groups)

    def samples_of(group: Group) -> Iterator[Sample]:
        for sample in source.read(group):
            if labels.total.images % _PROGRESS_EVERY == 0:
                progress(labels.total.images, total, "images")
            yield sample

    with labels_only():
        for group in groups:
            try:
                labels.add_group(group, samples_of(group))
            except InputError as error:
                problems.append(_sentence(error))
    progress(total, total, "images")
    paths = _paths_of(folder.root, folder.info.options)
    return DatasetCheck(
        source=folder.name,
        title=folder.title,
        options={
            name: _without_paths(value, paths) for name, value in folder.info.options.items() if name != "allow_missing"
        },
        groups=len(groups),
        labels=labels,
        problems=[_without_paths(text, paths) for text in problems],
        notes=[_without_paths(text, paths) for text in folder.notes],
    )


# Sentences without this machine's paths and people's names


def _sentence(error: InputError) -> str:
    """Return what is wrong, without the remedy."""
    return str(InputError(error.subject, error.problem, expected=error.expected, got=error.got))


def _paths_of(root: Path, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List paths and their stand-ins, the longest first: the absolute root, and folders among the options."""
    labels = {str(path): "ROOT" for path in (root, root.resolve())}
    for value in options.values():
        if isinstance(value, str) and os.path.isabs(value):
            labels.setdefault(value, Path(value).name)
    return sorted(labels.items(), key=lambda item: -len(item[0]))


def _without_paths(value: Any, hidden: Iterable[tuple[str, str]]) -> Any:
    if isinstance(value, str):
        for path, label in hidden:
            value = value.replace(path, label)
    return value
