"""Sources around sources: the same pictures with more labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from humanpose_cli.data.samples import Group, Sample, Source, SourceInfo

__all__ = ["LabellingSource"]


class LabellingSource(ABC):
    """The groups of another source, each sample with what `labelled` adds to it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def info(self) -> SourceInfo:
        """The source's, and what was added."""
        told = self.source.info
        return SourceInfo(told.name, {**told.options, **self.added})

    @property
    def notes(self) -> tuple[str, ...]:
        """The source's notes."""
        return tuple(getattr(self.source, "notes", ()))

    def groups(self) -> Sequence[Group]:
        """The source's groups."""
        return self.source.groups()

    def read(self, group: Group) -> Iterator[Sample]:
        """The source's samples with their labels."""
        for sample in self.source.read(group):
            yield self.labelled(sample)

    @property
    @abstractmethod
    def added(self) -> Mapping[str, Any]:
        """What decides the added labels, as plain JSON values."""

    @abstractmethod
    def labelled(self, sample: Sample) -> Sample:
        """One sample with its labels."""
