"""What sources that read a folder have in common: options, tools, the listing made once, notes for the user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.estimators import EstimatedPicture, PoseEstimator, SourceTools
from humanpose_cli.data.samples import Group, Sample, SourceInfo
from humanpose_cli.data.sources.reading import existing_folder
from humanpose_cli.errors import InputError, UsageError

__all__ = ["FolderOptions", "FolderSource", "Listing", "check_count", "estimates", "keep_present"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class FolderOptions:
    """Options of every source that reads a data set's folder.

    allow_missing  take what is there where files that a list names are missing, or counts differ from the official
                   ones; what is missing is told in `notes`
    """

    allow_missing: bool = False


@dataclass(frozen=True)
class Listing:
    """What a folder holds: groups in a fixed order, and sentences that the user should read."""

    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


class FolderSource(ABC):
    """A data set in its owner's folder layout; see `samples.Source`. Instances can be pickled if their tools can.

    name   the data set's name on the command line
    title  its name in messages
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, root: Path | str, options: FolderOptions, tools: SourceTools | None = None) -> None:
        """InputError where `root` is no folder."""
        self.root = existing_folder(Path(root), f"the folder of {self.title}")
        self.options = options
        self.tools = tools or SourceTools()

    @property
    def info(self) -> SourceInfo:
        """Name, options and who made the poses; never the folder, which differs from machine to machine."""
        return SourceInfo(self.name, {**asdict(self.options), **self._more_info()})

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is missing or unusual in the folder, for the user to read; none for a whole one."""
        return self._listing.notes

    def groups(self) -> Sequence[Group]:
        """All groups in a fixed order. InputError names a missing or wrong file."""
        return self._listing.groups

    @abstractmethod
    def read(self, group: Group) -> Iterator[Sample]:
        """The group's samples. InputError names a damaged file."""

    @cached_property
    def _listing(self) -> Listing:
        return self._list()

    def __getstate__(self) -> Mapping[str, Any]:
        """Without the listing, which can be large: processes that read are given their groups."""
        return {name: value for name, value in vars(self).items() if name != "_listing"}

    @abstractmethod
    def _list(self) -> Listing:
        """Look through the folder, without decoding pictures."""

    def _more_info(self) -> Mapping[str, Any]:
        """Plain JSON values beside the options."""
        return {}

    def _estimator_info(self) -> Mapping[str, Any]:
        """For sources without poses of their own: who made them."""
        estimator = self.tools.estimator
        return {"poses_by": None if estimator is None else dict(estimator.info)}


def keep_present(
    items: Sequence[Item],
    paths: Sequence[Path],
    list_file: Path,
    what: str,
    *,
    allow_missing: bool,
    remedy: str = "unpack the data set again, or take what is there with --allow-missing",
) -> tuple[list[Item], list[str]]:
    """Those of `items` whose file or folder is there, and a note about the others.

    paths      where each of them is
    list_file  the file that names them
    what       they are, such as "pictures"
    InputError if any is missing and that is not allowed, or if all are.
    """
    present: list[Item] = []
    first_missing: Path | None = None
    for item, path in zip(items, paths, strict=True):
        if path.exists():
            present.append(item)
        elif first_missing is None:
            first_missing = path
    if first_missing is None:
        return present, []
    count = len(items) - len(present)
    if not allow_missing or not present:
        raise InputError(
            list_file,
            f"names {count} {what} that are not there, the first being {first_missing}",
            expected=f"all of its {len(items)}",
            remedy=remedy,
        )
    return present, [f"{list_file}: {count} of {len(items)} {what} are missing, the first being {first_missing}"]


def check_count(list_file: Path, what: str, official: int, found: int, *, allow_missing: bool) -> list[str]:
    """A note if `found` is not the official number of `what` (plural); InputError if that is not allowed."""
    if found == official:
        return []
    if not allow_missing:
        raise InputError(
            list_file,
            f"has not the official number of {what}",
            expected=str(official),
            got=str(found),
            remedy="download it again, or take what is there with --allow-missing",
        )
    return [f"{list_file}: {found} {what}, where the official release has {official}"]


def estimates(
    estimator: PoseEstimator, pictures: Iterable[NDArray[np.uint8]], count: int, *, sequence: bool
) -> Sequence[EstimatedPicture]:
    """What an estimator says about the one person in each of `count` pictures."""
    found = estimator.estimate(pictures, sequence=sequence, single_person=True)
    if len(found) != count:
        raise UsageError("pose estimator", "left pictures out", expected=f"{count} results", got=str(len(found)))
    return found
