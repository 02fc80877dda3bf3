"""A data set's folder in numbers, without a cache: for `hpc preprocess NAME --check ROOT`.

Everything is read as for a cache, except that images are opened for their sizes alone (`reading.labels_only`). The
report can be sent to others: it has no image, no name of a person and no path outside of the data set's folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.body.smpl import load_models
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.io.atomic import write_json
from humanpose_cli.lab.cache.samples import Group, Person, Sample, Source, split_name
from humanpose_cli.lab.datasets.common import FolderSource
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.label_statistics import (
    DIGEST_COVERS,
    Distribution,
    LabelDigest,
    Pairing,
    label_distances,
    label_values,
)
from humanpose_cli.lab.datasets.preprocess import SourceRequest, chosen_groups, open_folder
from humanpose_cli.lab.datasets.published import PublishedCount
from humanpose_cli.lab.datasets.reading import labels_only
from humanpose_cli.version import __version__

Array = NDArray[Any]
FORMAT = "humanpose-cli data set check"
SCHEMA_VERSION = 1
MAX_SIZES, MAX_PROBLEMS = 8, 50
_PROGRESS_EVERY = 16  # samples


class Tally:
    """Images and people of one split, counted. People are counted without crowds; names by how many differ."""

    def __init__(self) -> None:
        self.images = self.people = self.crowds = 0
        self.labels: Counter[str] = Counter()
        self.sizes: Counter[tuple[int, int]] = Counter()
        self._names: dict[str, set[str]] = {"sequences": set(), "identities": set(), "clothes": set()}

    def add(self, sample: Sample) -> None:
        """One sample."""
        self.images += 1
        self.sizes[sample.size] += 1
        self._names["sequences"].add(sample.sequence)
        self.labels.update(f"images/{name}" for name in _labels_of_image(sample))
        for person in sample.people:
            self.crowds += person.crowd
            self.people += not person.crowd
            self._names["identities"].add(person.identity)
            self._names["clothes"].add(person.clothing)
            self.labels.update(f"people/{name}" for name in _labels_of_person(person))

    def count(self, what: str) -> int:
        """What a `PublishedCount` names, except for pairs."""
        if what in self._names:
            return len(self._names[what] - {""})
        if what == "surface_points":
            return self.labels["people/surface_points"]
        return int(getattr(self, what))

    def document(self) -> dict[str, int]:
        """As JSON values."""
        return {name: self.count(name) for name in ("images", "people", "crowds", *self._names)}


def _labels_of_image(sample: Sample) -> Iterator[str]:
    labels = {name: getattr(sample, name) for name in ("focal", "world_to_camera", "frame_rate", "crowd_index")}
    labels |= {f"maps/{name}": label for name, label in sample.maps.items()}
    yield from (name for name, value in labels.items() if value is not None)


_OF_PERSON = (
    *("occlusion", "box", "head_box", "area", "poses", "betas", "more_betas", "trans", "segment_scales"),
    *("vertices", "surface_points", "mask"),
)


def _labels_of_person(person: Person) -> Iterator[str]:
    yield from (name for name in _OF_PERSON if getattr(person, name) is not None)
    yield from ("kid",) if person.kid else ()
    for kind in ("keypoints", "joints"):
        yield from (f"{kind}/{name}" for name, points in getattr(person, kind).items() if points[:, -1].any())


@dataclass(frozen=True)
class ComparedCount:
    """A published count beside what was found.

    not_compared  why they cannot be compared, "" where they are
    """

    published: PublishedCount
    found: int
    not_compared: str = ""

    @property
    def agrees(self) -> bool | None:
        """None where they are not compared."""
        return None if self.not_compared else self.found == self.published.value

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        published = self.published
        return {
            "what": published.what,
            "protocol": published.protocol,
            "split": published.split,
            "part": published.part,
            "published": published.value,
            "found": self.found,
            "agrees": self.agrees,
            "not_compared": self.not_compared,
            "source": published.source,
        }


@dataclass(frozen=True)
class DatasetCheck:
    """What a data set's folder holds.

    options    of the source, without paths; models: those that were posed
    total      of all samples; splits by (protocol, split), parts by the annotation files that have published counts
    pairs      (protocol, split) → pairs
    ranges     name with unit → numbers; distances between labels
    compared   all counts that are published
    problems   sentences on what is missing or damaged; notes on what is unusual
    digest     of the labels of the groups without problems, hexadecimal
    """

    source: str
    title: str
    options: Mapping[str, Any]
    models: Sequence[str]
    groups: int
    total: Tally
    splits: Mapping[tuple[str, str], Tally]
    parts: Mapping[str, Tally]
    pairs: Mapping[tuple[str, str], int]
    ranges: Mapping[str, Distribution]
    distances: Mapping[Pairing, Distribution]
    compared: Sequence[ComparedCount]
    problems: Sequence[str]
    notes: Sequence[str]
    digest: str

    @property
    def differing(self) -> list[ComparedCount]:
        """Counts that do not agree with the published ones."""
        return [count for count in self.compared if count.agrees is False]

    @property
    def agrees(self) -> bool:
        """Whether nothing is missing or damaged, and no count differs from a published one."""
        return not self.problems and not self.differing

    def document(self) -> dict[str, Any]:
        """As JSON values: docs/reference/files.md describes them."""
        sizes = self.total.sizes.most_common()
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "tool_version": __version__,
            "source": self.source,
            "title": self.title,
            "options": dict(self.options),
            "models": list(self.models),
            "agrees": self.agrees,
            "counts": {"groups": self.groups, **self.total.document()},
            "splits": {"/".join(key): tally.document() for key, tally in sorted(self.splits.items())},
            "parts": {name: tally.document() for name, tally in sorted(self.parts.items())},
            "pairs": {"/".join(key): count for key, count in sorted(self.pairs.items())},
            "sizes": [{"width": w, "height": h, "images": count} for (w, h), count in sizes[:MAX_SIZES]],
            "different_sizes": len(sizes),
            "labels": dict(sorted(self.total.labels.items())),
            "published": [count.document() for count in self.compared],
            "ranges": {name: numbers.summary() for name, numbers in sorted(self.ranges.items())},
            "distances": [
                {
                    "first": pairing.first,
                    "second": pairing.second,
                    "unit": pairing.unit,
                    "same_joints": pairing.same_joints,
                    **numbers.summary(),
                }
                for pairing, numbers in sorted(self.distances.items(), key=lambda item: (item[0].first, item[0].second))
            ],
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
        """The document as a file of JSON."""
        write_json(path, self.document())


def check_dataset(request: SourceRequest, progress: Progress = no_progress) -> DatasetCheck:
    """Read a data set's folder and count what it holds.

    request   as for `make_source`; its models are posed and compared with the data set's labels, which are the files'
              own. Nothing is fitted or detected.
    progress  in images

    Missing and damaged files are problems of the result. UsageError where the request does not fit together, InputError
    where nothing can be read.
    """
    root = None if request.root is None else Path(os.path.abspath(request.root))  # which messages can be freed of
    strict, lenient = (
        replace(request, root=root, options={**request.options, "allow_missing": value}) for value in (False, True)
    )
    folder = open_folder(strict, SourceTools())
    models = load_models(request.models, folder.shape_count, mean_hands=folder.mean_hands)
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
    walk = _Walk(folder, models, problems)
    with labels_only():
        walk.over(source, groups, progress)
    return walk.result(len(groups), chosen=request.items is not None)


@dataclass
class _Walk:
    """The statistics of the samples that were read."""

    folder: FolderSource
    models: Mapping[str, Body]
    problems: list[str]
    total: Tally = field(default_factory=Tally)
    splits: dict[tuple[str, str], Tally] = field(default_factory=dict)
    parts: dict[str, Tally] = field(default_factory=dict)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    ranges: dict[str, Distribution] = field(default_factory=dict)
    distances: dict[Pairing, Distribution] = field(default_factory=dict)
    digest: LabelDigest = field(default_factory=LabelDigest)

    def over(self, source: Source, groups: Sequence[Group], progress: Progress) -> None:
        """Read all groups. A damaged file is a problem, and ends its group."""
        total, done = sum(group.count for group in groups), 0
        part_names = {published.part for published in self.folder.published if published.part}
        for group in groups:
            part = next((name for name in part_names if group.name.startswith(f"{name}/")), "")
            digest = self.digest.group(group)
            count = 0
            try:
                for count, sample in enumerate(source.read(group), start=1):
                    self._add(sample, part)
                    digest.add(sample)
                    if (done + count) % _PROGRESS_EVERY == 0:
                        progress(done + count, total, "images")
                for first, second, apart in self.folder.label_residuals(group):
                    self._add_distances(Pairing(first, second), apart)
            except InputError as error:
                self.problems.append(_sentence(error))
            else:
                digest.close()
                self.pairs.update({key: len(pairs) for key, pairs in group.pairs.items()})
            done += group.count
        progress(total, total, "images")

    def _add(self, sample: Sample, part: str) -> None:
        tallies = [self.total]
        tallies += [self.splits.setdefault(key, Tally()) for key in sample.splits.items()]
        tallies += [self.parts.setdefault(part, Tally())] if part else []
        for tally in tallies:
            tally.add(sample)
        for name, values in label_values(sample):
            self.ranges.setdefault(name, Distribution()).add(values)
        for pairing, apart in label_distances(sample, self.models, self.folder.projected):
            self._add_distances(pairing, apart)

    def _add_distances(self, pairing: Pairing, apart: Array) -> None:
        if len(apart):
            self.distances.setdefault(pairing, Distribution()).add(apart)

    def result(self, groups: int, *, chosen: bool) -> DatasetCheck:
        """The check, without paths of this machine; chosen: only some groups were read."""
        folder = self.folder
        hidden = _paths_of(folder.root, folder.info.options)
        options = {name: value for name, value in folder.info.options.items() if name != "allow_missing"}
        return DatasetCheck(
            source=folder.name,
            title=folder.title,
            options={name: _without_paths(value, hidden) for name, value in options.items()},
            models=sorted(body.name for body in self.models.values()),
            groups=groups,
            total=self.total,
            splits=self.splits,
            parts=self.parts,
            pairs=dict(self.pairs),
            ranges=self.ranges,
            distances=self.distances,
            compared=[self._compared(published, chosen=chosen) for published in folder.published],
            problems=[_without_paths(text, hidden) for text in self.problems],
            notes=[_without_paths(text, hidden) for text in folder.notes],
            digest=self.digest.hexdigest(),
        )

    def _compared(self, published: PublishedCount, *, chosen: bool) -> ComparedCount:
        options, key = self.folder.options, (published.protocol, published.split)
        if published.what == "pairs":
            found = self.pairs[key]
        else:
            tally = self.parts.get(published.part) if published.part else self.splits.get(key)
            tally = tally if published.protocol else self.total
            found = 0 if tally is None else tally.count(published.what)
        other = [name for name, values in published.needs.items() if getattr(options, name) not in values]
        reason = ""
        if chosen:
            reason = "only chosen items were read"
        elif self.folder.splits and options.split and split_name(options.split) != published.split:
            reason = f"only {options.split} was read"
        elif other:
            reason = f"read with {other[0]}={getattr(options, other[0])}"
        elif published.optional and not found:
            reason = "not in this folder"
        return ComparedCount(published, found, reason)


# Sentences without this machine's paths and people's names


def _sentence(error: InputError) -> str:
    """What is wrong, without the remedy."""
    return str(InputError(error.subject, error.problem, expected=error.expected, got=error.got))


def _paths_of(root: Path, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(path, what stands for it), the longest first: the root, which is absolute, and folders among the options."""
    found = {str(path): "ROOT" for path in (root, root.resolve())}
    for value in options.values():
        if isinstance(value, str) and os.path.isabs(value):
            found.setdefault(value, Path(value).name)
    return sorted(found.items(), key=lambda item: -len(item[0]))


def _without_paths(value: Any, hidden: Iterable[tuple[str, str]]) -> Any:
    if isinstance(value, str):
        for path, label in hidden:
            value = value.replace(path, label)
    return value
