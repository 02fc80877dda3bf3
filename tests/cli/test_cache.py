"""`hpc cache`: what it prints, writes and exits with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo


@dataclass(frozen=True)
class Squares:
    """Three images of two people."""

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("squares", {"colour": "red"})

    def groups(self):
        return [Group(f"square {number}", 1, key=number) for number in range(3)]

    def read(self, group):
        pixels = np.full((24, 32, 3), 80 * group.key, np.uint8)
        people = tuple(Person(identity=name, box=np.array([2, 2, 20, 20])) for name in ("Ann", "Bob"))
        split = "test" if group.key == 2 else "train"
        yield Sample(f"s{group.key}", encode_png(pixels), (32, 24), people=people, splits={"p": split})


@pytest.fixture
def folder(tmp_path):
    build_cache(Squares(), tmp_path / "cache", shard_size=1)
    return tmp_path / "cache"


def damage(folder) -> None:
    path = folder / "shard-00001.h5"
    data = bytearray(path.read_bytes())
    offset = data.index(b"IDAT")
    data[offset + 12] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
def test_a_good_cache_is_verified(hpc, folder):
    ran = hpc("cache", "verify", str(folder), "--json")
    assert (ran.code, ran.document["status"], ran.document["command"]) == (0, "success", "cache")
    items = ran.document["items"]
    assert [item["input"].rpartition("/")[2] for item in items] == [
        *("index.h5", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5")
    ]
    assert items[1]["found"] == "1 images, 2 people"
    assert items[1]["problems"] == []
    people = hpc("cache", "verify", str(folder))
    assert people.code == 0
    assert people.err == "4 items: 4 ok\n"


@pytest.mark.slow
def test_damage_is_exit_code_3(hpc, folder):
    damage(folder)
    ran = hpc("cache", "verify", str(folder), "--json")
    problem = "image 's1': image does not match its checksum"
    assert (ran.code, ran.document["status"]) == (3, "error")
    assert [item["status"] for item in ran.document["items"]] == ["success", "success", "error", "success"]
    assert ran.document["items"][2]["problems"] == [problem]
    assert ran.document["messages"] == [f"{folder}/shard-00001.h5: {problem}"]
    people = hpc("cache", "verify", str(folder))
    assert people.code == 3
    assert f"shard-00001.h5\tdamaged\t{problem}\t" in people.out
    assert "4 items: 3 ok, 1 damaged" in people.err
    assert people.err.splitlines()[-1] == f"{folder}/shard-00001.h5: {problem}"


@pytest.mark.slow
def test_an_unfinished_cache(hpc, tmp_path):
    folder = tmp_path / "part"
    build_cache(Squares(), folder, shard_size=1, shard=(0, 2))
    ran = hpc("cache", "verify", str(folder), "--json")
    assert (ran.code, ran.document["status"]) == (4, "partial")
    assert "missing files: 1;" in ran.document["messages"][0]
    ran = hpc("cache", "verify", str(folder), "--json")
    assert (ran.code, ran.document["status"]) == (4, "partial")
    assert ran.document["messages"] == ["missing files: 1; hpc preprocess with the same options makes them"]


def test_contents_are_shown(hpc, folder):
    ran = hpc("cache", "show", str(folder), "--json")
    assert (ran.code, ran.document["status"]) == (0, "success")
    contents = ran.document["contents"]
    assert (contents["source"], contents["options"]) == ("squares", {"colour": "red"})
    assert (contents["pictures"], contents["people"], contents["shards"]) == (3, 6, 3)
    assert contents["splits"] == {"p/test": 1, "p/train": 2}
    assert contents["sizes"] == [{"width": 32, "height": 24, "pictures": 3}]
    assert contents["labels"] == {"people/identity": 6, "people/box": 6}
    assert hpc("cache", str(folder), "--json").document["contents"] == contents
    people = hpc("cache", str(folder / "shard-00002.h5"))
    assert people.code == 0
    assert people.out.startswith(f"# dataset cache {folder / 'shard-00002.h5'}\ncontents\tfound\nsource\tsquares\n")
    assert "\nimages\t1 (32 × 24 pixels)\n" in people.out
    assert "\nprotocol p\ttest 1\n" in people.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "nothing"], 3, "nothing: does not exist"),
        (["verify", "nothing"], 3, "nothing: is no dataset cache"),
        (["mend", "CACHE"], 2, "mend: there is no such action, expected show, verify"),
        (["verify"], 2, "CACHE: is missing, expected hpc cache verify CACHE"),
        (["show", "CACHE", "more"], 2, "more: is one argument too many"),
        (["nothing"], 3, "nothing: does not exist"),
        ([__file__], 3, "is no dataset cache, expected a folder with index.h5, found text; hpc preprocess"),
    ],
)
def test_what_cannot_be_done(hpc, folder, arguments, code, message):
    ran = hpc("cache", *(str(folder) if argument == "CACHE" else argument for argument in arguments))
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
