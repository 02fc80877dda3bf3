"""A data set's folder as `hpc preprocess --check` reports it, and as reading its images confirms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from humanpose_cli.lab.datasets.checking import DatasetCheck, LabelCounts, check_dataset
from humanpose_cli.lab.datasets.preprocess import SourceRequest
from humanpose_cli.lab.datasets.registry import open_source


def checked(name: str, root: Path, options: Mapping[str, Any] | None = None) -> DatasetCheck:
    """The check of a tree without damage: sizes and labels are those that are read with the images, and the report has
    no path.
    """
    check = check_dataset(SourceRequest(name, root, options=options or {}))
    assert not check.problems
    source, labels = open_source(name, root, options), LabelCounts()
    for group in source.groups():
        samples = list(source.read(group))
        assert all(sample.image for sample in samples)
        labels.add_group(group, samples)
    assert check.labels.digest == labels.digest
    assert str(root) not in json.dumps(check.document())
    return check


def total_of(check: DatasetCheck) -> dict[str, int]:
    """Groups, and what was counted in all of them."""
    counts = {"groups": check.groups, **check.labels.total.document()}
    return {name: count for name, count in counts.items() if count}


def images_of(check: DatasetCheck) -> dict[str, int]:
    """Protocol/split → images."""
    return {"/".join(key): tally.images for key, tally in check.labels.splits.items()}
