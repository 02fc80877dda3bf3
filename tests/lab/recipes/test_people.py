"""Who is learned from, who is held out: the splits of a protocol, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.cache_source import SmallSource
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache import writing
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.recipes.people import People, people_of_images, split_people, validation_of_people

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
    if built.failures:
        raise InputError(built.folder, built.failures[0].problem)
    return folder


def test_all_of_train_is_learned_from_and_validation_held_out(tmp_path: Path) -> None:
    splits = [{"p": name} for name in ["train"] * 12 + ["validation"] * 3 + ["test"] * 2]
    train, held_out = split_people(cache_of(tmp_path / "c", *splits), ["box"])
    assert train.rows.tolist() == list(range(12))
    assert held_out.rows.tolist() == [12, 13, 14]


def test_a_protocol_without_validation_holds_out_a_tenth_of_train_alone(tmp_path: Path) -> None:
    splits = [{"p": "train"}] * 11 + [{"p": "test"}] * 4
    train, held_out = split_people(cache_of(tmp_path / "c", *splits), ["box"])
    assert 1 <= len(held_out) <= 4
    assert sorted([*train.rows.tolist(), *held_out.rows.tolist()]) == list(range(11))


def test_nothing_is_chosen_on_a_validation_split_that_is_evaluated(tmp_path: Path) -> None:
    """Without a split for testing, `hpc evaluate` takes the one for validation."""
    folder = cache_of(tmp_path / "c", *[{"p": "train"}] * 11, *[{"p": "validation"}] * 4)
    train, held_out = split_people(folder, ["box"])
    assert PeopleSelection(folder).protocol_and_split() == ("p", "validation")
    assert sorted([*train.rows.tolist(), *held_out.rows.tolist()]) == list(range(11))
    assert split_people(folder, ["box"], choosing=False)[1].rows.tolist() == [11, 12, 13, 14]
    facts = validation_of_people(train, held_out, "", 512)
    assert facts == {
        "count": len(held_out),
        "unit": "people",
        "data": "split",
        "digest": open_cache(folder).header.content_digest,
        "protocol": "p",
        "split": "train",
        "apart": True,
    }


def test_sequences_on_both_sides_are_counted(tmp_path: Path) -> None:
    train, held_out = split_footage(tmp_path / "c", ["only"], 6, 2)
    assert validation_of_people(train, held_out, "", 1)["shared_sequences"] == 1
    train, held_out = split_footage(tmp_path / "d", ["a", "b", "c"], 2, 1)
    assert "shared_sequences" not in validation_of_people(train, held_out, "", 1)


@pytest.mark.parametrize("splits", [[{}] * 4, [{"nbf": "test", "own": "train"}] * 4, [{"p": "validation"}] * 4])
def test_a_complete_cache_is_not_learned_from(tmp_path: Path, splits: Sequence[Mapping[str, str]]) -> None:
    with raises(InputError, problem="has nothing to learn from in protocol", expected="a split train"):
        split_people(cache_of(tmp_path / "c", *splits), ["box"])


def test_crowds_are_not_learned_from(tmp_path: Path) -> None:
    build_cache(SmallSource(), tmp_path, workers=1)
    cache = open_cache(tmp_path)
    crowds = np.flatnonzero(np.asarray(cache.people["crowd"][:]) == 1)
    assert len(crowds) == 5
    people = people_of_images(cache, np.arange(len(cache)))
    assert sorted([*people.rows.tolist(), *crowds.tolist()]) == list(range(cache.people.row_count))


def test_another_protocol_can_be_learned_from(tmp_path: Path) -> None:
    names = ("train", "train", "validation", "test")
    folder = cache_of(tmp_path / "c", *[{"nbf": "test", "own": name} for name in names])
    train, held_out = split_people(folder, ["box"], protocol="own")
    assert (train.rows.tolist(), held_out.rows.tolist()) == ([0, 1], [2])


def test_splits_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches that were made with the owners' names are read by ours."""
    splits = [{"p": name} for name in ("train", "train", "val", "test")]
    with raises(InputError, problem="expected train, validation, test, found val"):
        cache_of(tmp_path / "new", *splits)
    monkeypatch.setattr(writing, "SPLITS", ("train", "val", "test"))
    folder = cache_of(tmp_path / "old", *splits)
    cache = open_cache(folder)
    assert set(cache.splits["p"]) == {"train", "validation", "test"}
    assert cache.rows("p", "validation").tolist() == cache.rows("p", "val").tolist() == [2]
    assert cache.sample(2).splits == {"p": "validation"}
    assert split_people(folder, ["box"])[1].rows.tolist() == [2]


class Footage:
    """Images with several people each: `images` of every sequence, or single ones where it has no name."""

    def __init__(self, sequences: Sequence[str], images: int, people: int) -> None:
        self.sequences, self.images, self.people = sequences, images, people

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("footage", {})

    def groups(self) -> Sequence[Group]:
        return [Group(f"{number}{name}", self.images, key=name) for number, name in enumerate(self.sequences)]

    def read(self, group: Group) -> Iterator[Sample]:
        people = (Person(box=np.array([1, 1, 6, 6], np.float32)),) * self.people
        for frame in range(self.images):
            name, splits = f"{group.name}/{frame}", {"p": "train"}
            yield Sample(name, IMAGE, (8, 8), people=people, splits=splits, sequence=group.key, frame=frame)


def split_footage(folder: Path, sequences: Sequence[str], images: int, people: int) -> tuple[People, People]:
    assert not build_cache(Footage(sequences, images, people), folder, workers=1).failures
    return split_people(folder, ["box"])


def test_clips_are_held_out_as_a_unit(tmp_path: Path) -> None:
    train, held_out = split_footage(tmp_path / "c", [f"clip-{number}" for number in range(30)], 4, 2)
    assert not set(train.images.tolist()) & set(held_out.images.tolist())
    assert not set((train.images // 4).tolist()) & set((held_out.images // 4).tolist())
    assert len(train) + len(held_out) == 240
    assert 8 <= len(held_out) <= 48
    # What is held out does not depend on what else there is.
    fewer = split_footage(tmp_path / "d", [f"clip-{number}" for number in range(20)], 4, 2)[1]
    assert set(fewer.images.tolist()) == {row for row in held_out.images.tolist() if row < 80}


def test_images_without_sequence_are_held_out_with_all_their_people(tmp_path: Path) -> None:
    train, held_out = split_footage(tmp_path / "c", [""] * 5, 8, 3)
    assert not set(train.images.tolist()) & set(held_out.images.tolist())
    assert len(train) + len(held_out) == 120
    assert 3 <= len(held_out) <= 30


@pytest.mark.parametrize(("images", "people"), [(6, 2), (1, 5)])
def test_the_only_sequence_is_split_by_image_and_the_only_image_by_person(
    tmp_path: Path, images: int, people: int
) -> None:
    train, held_out = split_footage(tmp_path / "c", ["clip"], images, people)
    assert len(held_out) >= 1
    assert len(train) + len(held_out) == images * people
    assert images == 1 or not set(train.images.tolist()) & set(held_out.images.tolist())
