"""`hpc cache`: what it prints, writes and exits with."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np
import pytest
from PIL import Image

from humanpose_cli.io.video import VideoReader
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


@pytest.mark.parametrize("part", ["image", "offsets", "name"])
def test_damaged_shards_are_not_exported(hpc, folder, tmp_path, part):
    if part == "image":
        damage(folder)
    else:
        with h5py.File(folder / "shard-00001.h5", "r+") as file:
            dataset = file["pictures/image/offsets" if part == "offsets" else "pictures/name"]
            dataset[...] = [0, 1] if part == "offsets" else [b"t1"]
    ran = hpc("cache", "export", str(folder), "--out", str(tmp_path / "out"))
    assert (ran.code, ran.out) == (3, "")
    assert "shard-00001.h5: " in ran.err
    assert "does not match its checksum" in ran.err
    assert not (tmp_path / "out" / "pictures.json").exists()


class Pans(Squares):
    """A clip of three frames whose camera goes along x, of Ann, who is missing in the second."""

    def groups(self):
        return [Group("pan/a", 3)]

    def read(self, group):
        joints = np.c_[np.tile(np.arange(24.0)[:, None], 3), np.ones(24)].astype(np.float32)
        for frame in range(3):
            path = np.column_stack((np.diag([1.0, -1, -1]), [-0.5 * frame, 0, 0])).astype(np.float32)
            people = () if frame == 1 else (Person(identity="Ann", joints={"smpl24": joints}),)
            pixels = encode_png(np.full((24, 32, 3), 60 * frame, np.uint8))
            values = {"people": people, "sequence": "pan/a", "frame": frame, "frame_rate": 5.0, "focal": 40.0}
            yield Sample(f"pan/a/{frame}", pixels, (32, 24), world_to_camera=path, **values)


@pytest.mark.slow
def test_clips_are_exported_with_their_truth(hpc, tmp_path):
    build_cache(Pans(), tmp_path / "cache")
    ran = hpc("cache", "videos", str(tmp_path / "cache"), "--out", str(tmp_path / "out"), "--json")
    assert (ran.code, ran.document["items"][0]["found"]) == (0, "1 videos")
    levels = [int(pixels.mean()) for _, pixels in VideoReader(tmp_path / "out" / "pan" / "a.mp4")]
    np.testing.assert_allclose(levels, [0, 60, 120], atol=3)
    truth = np.load(tmp_path / "out" / "pan" / "a.truth.npz")
    np.testing.assert_allclose(truth["R"], np.tile(np.diag([1, -1, -1]), (3, 1, 1)))
    np.testing.assert_allclose(truth["C"], [[0, 0, 0], [0.5, 0, 0], [1, 0, 0]])
    assert float(truth["focal"]) == 40
    points = np.arange(24.0)[:, None] * [1, -1, -1]
    np.testing.assert_allclose(truth["joints"][[0, 2]], [points, points + np.array([1, 0, 0])])
    assert np.isnan(truth["joints"][1]).all()


@pytest.mark.posix("needs flock")
def test_what_a_killed_export_or_index_left_half_written_is_removed(hpc, folder, tmp_path):
    rests = [tmp_path / "out" / "deep" / ".s0.png.hpc-1a2b3c4d.partial", folder / ".index.h5.hpc-1a2b3c4d.partial"]
    for rest in rests:
        rest.parent.mkdir(parents=True, exist_ok=True)
        rest.write_bytes(b"half")
    assert hpc("cache", "export", str(folder), "--out", str(tmp_path / "out")).code == 0
    assert hpc("cache", "index", str(folder)).code == 0
    assert [rest for rest in rests if rest.exists()] == []


@pytest.mark.slow
def test_an_unfinished_cache(hpc, tmp_path):
    folder = tmp_path / "part"
    build_cache(Squares(), folder, shard_size=1, shard=(0, 2))
    ran = hpc("cache", "verify", str(folder), "--json")
    assert (ran.code, ran.document["status"]) == (4, "partial")
    assert "missing files: 1;" in ran.document["messages"][0]
    ran = hpc("cache", "index", str(folder), "--json")
    assert (ran.code, ran.document["status"]) == (4, "partial")
    assert ran.details["missing"] == [1]
    assert ran.details["found"] == "2 of 3 files, 2 images"
    assert ran.details["outputs"] == [f"{folder}/index.h5"]
    ran = hpc("cache", "verify", str(folder), "--json")
    assert (ran.code, ran.document["status"]) == (4, "partial")
    assert ran.document["messages"] == ["missing files: 1; hpc preprocess with the same options makes them"]
    build_cache(Squares(), folder, shard_size=1)
    assert hpc("cache", "index", str(folder), "--json").code == 0


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


@pytest.mark.slow
def test_a_sheet_is_drawn(hpc, folder, tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "deep" / "b.png"
    ran = hpc("cache", "show", str(folder), "--out", str(first), "--json")
    assert ran.document["items"][-1]["outputs"] == [str(first)]
    assert ran.document["items"][-1]["found"] == "3 images"
    ran = hpc("cache", "show", str(folder), "--out", str(second), "--split", "p/test", "--count", "9", "--json")
    assert ran.document["items"][-1]["found"] == "1 images"
    assert Image.open(first).size[0] > Image.open(second).size[0] > 256
    hpc("cache", "show", str(folder), "--out", str(tmp_path / "again.png"))
    assert (tmp_path / "again.png").read_bytes() == first.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "nothing"], 3, "nothing: does not exist"),
        (["verify", "nothing"], 3, "nothing: is no dataset cache"),
        (["index", "nothing"], 3, "nothing: holds no shards"),
        (["show", "CACHE", "--split", "p/test"], 2, "--split: has no effect without --out; add --out sheet.png"),
        (["show", "CACHE", "--split", "p/none", "--out", "a.png"], 2, "p/none: is no protocol of this cache, expected"),
        (["videos", "CACHE", "--out", "clips"], 3, "holds no sequences, expected clips"),
        (["verify", "CACHE", "--out", "a.png"], 2, "--out: applies only to hpc cache show"),
        (["index", "CACHE", "--split", "p"], 2, "--split: applies only to hpc cache show"),
        (["mend", "CACHE"], 2, "mend: there is no such action, expected show, verify, index, export"),
        (["verify"], 2, "CACHE: is missing, expected hpc cache verify CACHE"),
        (["show", "CACHE", "more"], 2, "more: is one argument too many"),
        (["nothing"], 3, "nothing: does not exist"),
        ([__file__], 3, "is no dataset cache, expected a folder with index.h5, found text; hpc preprocess"),
        (["show", "CACHE", "--out", "a.gif"], 2, ".gif: is no image format that can be written"),
    ],
)
def test_what_cannot_be_done(hpc, folder, arguments, code, message):
    ran = hpc("cache", *(str(folder) if argument == "CACHE" else argument for argument in arguments))
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err


@pytest.mark.posix("makes symbolic links")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["index.h5", "shard-00001.h5"])
def test_a_contact_sheet_replaces_no_file_of_its_cache(hpc, folder, tmp_path, name):
    (tmp_path / "hard.png").hardlink_to(folder / name)
    (tmp_path / "soft.png").symlink_to(folder / name)
    for out in ("hard.png", "soft.png"):
        ran = hpc("cache", "show", str(folder), "--out", str(tmp_path / out))
        assert (ran.code, f"{out}: would replace the input {folder / name}" in ran.err) == (2, True)
    assert (tmp_path / "hard.png").samefile(folder / name)
