"""A data set's folder in numbers, without a cache: for `hpc preprocess NAME --check ROOT`.

Everything is read as for a cache, except that images are opened for their sizes alone (`reading.labels_only`). The
report can be sent to others: it has no image, no name of a person and no path outside of the data set's folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.io.atomic import write_json
from humanpose_cli.lab.cache.samples import Group, Sample, split_name
from humanpose_cli.lab.datasets.common import FolderSource
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.label_digest import DIGEST_COVERS, LabelDigest
from humanpose_cli.lab.datasets.preprocess import SourceRequest, chosen_groups, open_folder
from humanpose_cli.lab.datasets.published import PublishedCount
from humanpose_cli.lab.datasets.reading import labels_only
from humanpose_cli.version import __version__

FORMAT = "humanpose-cli data set check"
SCHEMA_VERSION = 2
MAX_PROBLEMS = 50
_PROGRESS_EVERY = 16  # samples


@dataclass
class Tally:
    """Counts of some images and their people. People are counted without crowds, names by how many differ."""

    images: int = 0
    people: int = 0
    crowds: int = 0
    surface_points: int = 0
    names: dict[str, set[str]] = field(
        default_factory=lambda: {"sequences": set(), "identities": set(), "clothes": set()}
    )

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        self.images += 1
        self.names["sequences"].add(sample.sequence)
        for person in sample.people:
            self.crowds += person.crowd
            self.people += not person.crowd
            self.surface_points += person.surface_points is not None
            self.names["identities"].add(person.identity)
            self.names["clothes"].add(person.clothing)

    def count(self, what: str) -> int:
        """Return what a `PublishedCount` names, except for pairs."""
        return len(self.names[what] - {""}) if what in self.names else int(getattr(self, what))

    def document(self) -> dict[str, int]:
        """Return the counts as JSON values."""
        return {name: self.count(name) for name in ("images", "people", "crowds", *self.names)}


@dataclass(frozen=True)
class ComparedCount:
    """A published count beside that of the folder.

    found         the folder's count
    not_compared  why they cannot be compared, "" if they can
    """

    published: PublishedCount
    found: int
    not_compared: str = ""

    @property
    def agrees(self) -> bool | None:
        """None if they are not compared."""
        return None if self.not_compared else self.found == self.published.value

    def document(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        fields = asdict(self.published)
        return {
            **{name: fields[name] for name in ("what", "protocol", "split", "part")},
            "published": self.published.value,
            "found": self.found,
            "agrees": self.agrees,
            "not_compared": self.not_compared,
            "source": self.published.source,
        }


@dataclass
class LabelCounts:
    """Counts and digest of the labels of a folder.

    total         of all samples; splits by (protocol, split), parts by the annotation files with published counts
    pairs         (protocol, split) → pairs
    digest        of the labels of the groups without problems
    """

    total: Tally = field(default_factory=Tally)
    splits: dict[tuple[str, str], Tally] = field(default_factory=dict)
    parts: dict[str, Tally] = field(default_factory=dict)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    digest: LabelDigest = field(default_factory=LabelDigest)

    def add_group(self, group: Group, samples: Iterable[Sample], folder: FolderSource) -> None:
        """Count the labels of a group. Raises InputError at a damaged file; what stands before it is counted."""
        parts = [self.parts.setdefault(part, Tally()) for part in _parts(folder) if group.name.startswith(f"{part}/")]
        digest = self.digest.group(group)
        for sample in samples:
            splits = (self.splits.setdefault(key, Tally()) for key in sample.splits.items())
            for tally in (self.total, *splits, *parts):
                tally.add(sample)
            digest.add(sample)
        digest.close()
        self.pairs.update({key: len(pairs) for key, pairs in group.pairs.items()})

    def count(self, published: PublishedCount) -> int:
        """Return the folder's number of what is published."""
        key = (published.protocol, published.split)
        if published.what == "pairs":
            return self.pairs[key]
        if not published.protocol and not published.part:
            return self.total.count(published.what)
        tally = self.parts.get(published.part) if published.part else self.splits.get(key)
        return 0 if tally is None else tally.count(published.what)


@dataclass(frozen=True)
class DatasetCheck:
    """The contents of a data set's folder beside what is published of it.

    options    of the source, without paths
    groups     how many there are
    compared   all counts that are published
    problems   sentences on what is missing or damaged; notes on what is unusual
    """

    source: str
    title: str
    options: Mapping[str, Any]
    groups: int
    labels: LabelCounts
    compared: Sequence[ComparedCount]
    problems: Sequence[str]
    notes: Sequence[str]

    @property
    def digest(self) -> str:
        """The digest of the labels, hexadecimal."""
        return self.labels.digest.hexdigest()

    @property
    def differing(self) -> list[ComparedCount]:
        """Counts that do not agree with the published ones."""
        return [count for count in self.compared if count.agrees is False]

    @property
    def agrees(self) -> bool:
        """Whether nothing is missing or damaged, and no count differs from a published one."""
        return not self.problems and not self.differing

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
            "agrees": self.agrees,
            "counts": {"groups": self.groups, **labels.total.document()},
            "splits": {"/".join(key): tally.document() for key, tally in sorted(labels.splits.items())},
            "parts": {name: tally.document() for name, tally in sorted(labels.parts.items())},
            "pairs": {"/".join(key): count for key, count in sorted(labels.pairs.items())},
            "published": [count.document() for count in self.compared],
            "problem_count": len(self.problems),
            "problems": list(self.problems[:MAX_PROBLEMS]),
            "notes": list(self.notes[:MAX_PROBLEMS]),
            "digest": {
                "algorithm": "sha256",
                "value": self.digest,
                "complete": not self.problems,
                "covers": DIGEST_COVERS,
            },
        }

    def write(self, path: Path) -> None:
        """Write the document as a file of JSON."""
        write_json(path, self.document())


def check_dataset(request: SourceRequest, progress: Progress = no_progress) -> DatasetCheck:
    """Read a data set's folder and count what it holds.

    Missing and damaged files are problems of the result. Raises UsageError if parts of the request do not agree,
    Raises InputError if nothing can be read.

    request   as for `make_source`, whose models are not used. Nothing is fitted or detected.
    progress  in images
    """
    root = None if request.root is None else Path(os.path.abspath(request.root))  # which messages can be freed of
    strict, lenient = (
        replace(request, root=root, options={**request.options, "allow_missing": value}) for value in (False, True)
    )
    folder = open_folder(strict, SourceTools())
    problems: list[str] = []
    try:
        source = chosen_groups(folder, request.items)
        groups = source.groups()
    except InputError as error:
        # What is missing is reported, and the rest is read.
        problems.append(_sentence(error))
        folder = open_folder(lenient, SourceTools())
        source = chosen_groups(folder, request.items)
        groups = source.groups()
    labels, total = LabelCounts(), sum(group.count for group in groups)

    def samples_of(group: Group) -> Iterator[Sample]:
        for sample in source.read(group):
            if labels.total.images % _PROGRESS_EVERY == 0:
                progress(labels.total.images, total, "images")
            yield sample

    with labels_only():
        for group in groups:
            try:
                labels.add_group(group, samples_of(group), folder)
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
        compared=[
            _compare(folder, published, labels.count(published), selection=request.items is not None)
            for published in folder.published
        ],
        problems=[_without_paths(text, paths) for text in problems],
        notes=[_without_paths(text, paths) for text in folder.notes],
    )


def _parts(folder: FolderSource) -> set[str]:
    return {published.part for published in folder.published if published.part}


def _compare(folder: FolderSource, published: PublishedCount, count: int, *, selection: bool) -> ComparedCount:
    """Compare a count with the published one, unless other data were read. selection: only some groups were read."""
    options = folder.options
    other = [name for name, values in published.needs.items() if getattr(options, name) not in values]
    reason = ""
    if selection:
        reason = "only chosen items were read"
    elif folder.splits and options.split and split_name(options.split) != published.split:
        reason = f"only {options.split} was read"
    elif other:
        reason = f"read with {other[0]}={getattr(options, other[0])}"
    elif published.optional and not count:
        reason = "not in this folder"
    return ComparedCount(published, count, reason)


# Sentences without this machine's paths and people's names


def _sentence(error: InputError) -> str:
    """Return what is wrong, without the remedy."""
    return str(InputError(error.subject, error.problem, expected=error.expected, got=error.got))


def _paths_of(root: Path, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List paths and their stand-ins, the longest first: the root, which is absolute, and folders among the options."""
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
