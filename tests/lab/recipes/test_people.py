"""Who is learned from, who is held out: the splits of a protocol, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache import writing
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.lab.recipes.people import split_people

IMAGE = encode_png(np.zeros((8, 8, 3), np.uint8))


class SplitPeople:
    """A box in each image, which belongs to the given splits."""

    def __init__(self, splits: Sequence[Mapping[str, str]]) -> None:
        self.splits = splits

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("split", {})

    def groups(self) -> Sequence[Group]:
        return [Group(f"{number}", 1, key=number) for number in range(len(self.splits))]

    def read(self, group: Group) -> Iterator[Sample]:
        person = Person(box=np.array([1, 1, 6, 6], np.float32))
        yield Sample(group.name, IMAGE, (8, 8), people=(person,), splits=self.splits[group.key])


def cache_of(folder: Path, *splits: Mapping[str, str]) -> Path:
    built = build_cache(SplitPeople(splits), folder, workers=1)
    if built.failed:
        raise InputError(built.folder, built.failed[0].problem)
    return folder


def test_all_of_train_is_learned_from_and_validation_held_out(tmp_path: Path) -> None:
    splits = [{"p": name} for name in ["train"] * 12 + ["validation"] * 3 + ["test"] * 2]
    train, held = split_people(cache_of(tmp_path / "c", *splits), ["box"])
    assert train.rows.tolist() == list(range(12))
    assert held.rows.tolist() == [12, 13, 14]


def test_a_protocol_without_validation_holds_out_a_tenth_of_train_alone(tmp_path: Path) -> None:
    splits = [{"p": "train"}] * 11 + [{"p": "test"}] * 4
    train, held = split_people(cache_of(tmp_path / "c", *splits), ["box"])
    assert held.rows.tolist() == [0, 10]
    assert train.rows.tolist() == list(range(1, 10))


@pytest.mark.parametrize("splits", [[{}] * 4, [{"nbf": "test", "own": "train"}] * 4, [{"p": "validation"}] * 4])
def test_nobody_learns_from_a_whole_cache(tmp_path: Path, splits: Sequence[Mapping[str, str]]) -> None:
    with pytest.raises(InputError, match=r"has nothing to learn from in protocol .* expected a split train, found"):
        split_people(cache_of(tmp_path / "c", *splits), ["box"])


def test_another_protocol_can_be_learned_from(tmp_path: Path) -> None:
    folder = cache_of(tmp_path / "c", *[{"nbf": "test", "own": name} for name in ("train", "train", "validation")])
    train, held = split_people(folder, ["box"], protocol="own")
    assert (train.rows.tolist(), held.rows.tolist()) == ([0, 1], [2])


def test_splits_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches that were made with the owners' names are read by ours."""
    splits = [{"p": name} for name in ("train", "train", "val", "test")]
    with pytest.raises(InputError, match="expected train, validation, test, found val"):
        cache_of(tmp_path / "new", *splits)
    monkeypatch.setattr(writing, "SPLITS", ("train", "val", "test"))
    folder = cache_of(tmp_path / "old", *splits)
    cache = open_cache(folder)
    assert set(cache.splits["p"]) == {"train", "validation", "test"}
    assert cache.rows("p", "validation").tolist() == cache.rows("p", "val").tolist() == [2]
    assert cache.sample(2).splits == {"p": "validation"}
    assert split_people(folder, ["box"])[1].rows.tolist() == [2]
