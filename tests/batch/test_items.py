"""Items that would write the same files; shards: a stable partition of the items."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from helpers.errors import raises

from humanpose_cli.batch import items
from humanpose_cli.batch.items import UNSHARDED, Item, Shard, ignores_case, refuse_case_twins, shard_of
from humanpose_cli.core.errors import UsageError

KEYS = [f"scene {i // 40}/frame_{i:04d}.jpg" for i in range(2000)]


def test_the_choice_never_changes():
    # From sha256sum of the name, the digest modulo N: a farm that mixes versions relies on it.
    assert [shard_of("photos/a.jpg", n) for n in (2, 3, 4, 7, 64)] == [0, 0, 0, 4, 52]
    assert [shard_of("é.png", n) for n in (2, 3, 4, 7, 64)] == [1, 1, 1, 5, 53]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_every_item_belongs_to_exactly_one_shard(count):
    shards = [Shard(i, count) for i in range(count)]
    assert all(sum(shard.owns(key) for shard in shards) == 1 for key in KEYS)


def test_shards_are_about_equally_large():
    sizes = [sum(Shard(i, 8).owns(key) for key in KEYS) for i in range(8)]
    assert min(sizes) > 200
    assert max(sizes) < 300


def test_composed_and_decomposed_names_are_one_item():
    name = "Zoë/ångström.jpg"
    composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    assert composed != decomposed
    assert shard_of(composed, 1_000_003) == shard_of(decomposed, 1_000_003)


def test_an_undecodable_name_has_a_shard():
    assert 0 <= shard_of(b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), 5) < 5


def test_parsing():
    assert Shard.parse("0/4") == Shard(0, 4)
    assert str(Shard.parse(" 3/4 ")) == "3/4"
    assert (UNSHARDED.file_part, Shard(3, 4).file_part) == ("0-of-1", "3-of-4")


@pytest.mark.parametrize("text", [f"1/{'9' * 5000}", "", "1", "4/4", "-1/4", "1/0", "a/b", "1/2/3", "1.0/2"])
def test_nonsense_is_refused(text):
    with raises(UsageError, subject="shard"):
        Shard.parse(text)


TWINS = [Item("A.jpg", (Path("A.jpg"),)), Item("b.jpg", (Path("b.jpg"),)), Item("a.jpg", (Path("a.jpg"),))]


def test_names_that_differ_in_case_alone_are_refused_where_the_folder_cannot_distinguish_them(tmp_path, monkeypatch):
    refuse_case_twins(TWINS, tmp_path)
    monkeypatch.setattr(items, "ignores_case", lambda folder: True)
    with raises(UsageError, subject="a.jpg", problem="would write the same files as A.jpg in"):
        refuse_case_twins(TWINS, tmp_path)
    refuse_case_twins(TWINS[:2], tmp_path)


def test_whether_a_file_system_distinguishes_cases(tmp_path, monkeypatch):
    (tmp_path / "Photos").mkdir()
    new = tmp_path / "Photos" / "new" / "Folder"
    assert not ignores_case(new)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: exists(path) or exists(path.with_name(path.name.swapcase())))
    monkeypatch.setattr(Path, "samefile", lambda path, other: path.name.lower() == Path(other).name.lower())
    assert ignores_case(new)


@pytest.mark.parametrize(
    ("label", "root", "short"),
    [
        ("photos/sub/a.jpg", "photos", "sub/a.jpg"),
        ("/data/clips/a.mp4", "/data/clips", "a.mp4"),
        ("clip/frames", "clip/frames", "frames"),
        ("a.jpg", "/elsewhere", "a.jpg"),
        ("a.jpg", None, "a.jpg"),
    ],
)
def test_the_short_name_is_relative_to_the_input_root(label, root, short):
    assert Item("key", (), label, None if root is None else Path(root).absolute()).short == short
    assert Item("key", ()).short == "key"
