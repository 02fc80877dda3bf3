"""Items that would write the same files; shards: a stable partition of the items."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from helpers.errors import raises

from humanpose_cli.batch import items
from humanpose_cli.batch.items import UNSHARDED, Item, Shard, ignores_case, refuse_case_twins
from humanpose_cli.core.errors import UsageError

KEYS = [f"scene {i // 40}/frame_{i:04d}.jpg" for i in range(2000)]


def part(keys, index, count):
    return [item.key for item in Shard(index, count).part([Item(key, ()) for key in keys])]


def test_the_choice_never_changes():
    # Sorted by sha256sum of the name and dealt out in turn: a farm that mixes versions relies on it.
    names = ["photos/a.jpg", "photos/b.jpg", "photos/c.jpg", "é.png"]  # é, a, b, c by their digests
    assert [part(names, i, 3) for i in range(3)] == [["photos/c.jpg", "é.png"], ["photos/a.jpg"], ["photos/b.jpg"]]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 3000])
def test_shards_are_a_partition_into_equal_parts_in_any_order_of_the_items(count):
    parts = [part(KEYS, i, count) for i in range(min(count, 8))]
    sizes = {len(keys) for keys in parts}
    assert sizes <= {len(KEYS) // count, -(-len(KEYS) // count)}
    assert sum(map(len, parts)) == len({key for keys in parts for key in keys})
    assert count > 8 or sum(map(len, parts)) == len(KEYS)
    assert set(part(KEYS[::-1], 0, count)) == set(parts[0])


def test_composed_and_decomposed_names_are_one_item():
    names = ["Zoë/ångström.jpg", *KEYS[:40]]
    composed, decomposed = ([unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD"))
    assert composed != decomposed
    shares = [[unicodedata.normalize("NFC", key) for key in part(keys, 3, 5)] for keys in (composed, decomposed)]
    assert shares[0] == shares[1]


def test_an_undecodable_name_has_a_shard():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert [part([name], i, 2) for i in range(2)] == [[name], []]


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
