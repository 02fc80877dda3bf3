"""Damaged, foreign, older and newer files: what is said of them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import sys
import threading
from dataclasses import replace

import h5py
import numpy as np
import pytest
from helpers.cache_source import SmallSource, all_samples, assert_same, jpeg
from helpers.errors import raises
from helpers.extensive import extensive
from helpers.patience import PATIENCE

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.building import build_cache, write_index
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.verification import verify_cache

SOURCE = SmallSource(group_count=5)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    build_cache(SOURCE, folder, shard_size=6)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "cache")


def problems(path) -> list[str]:
    """What verification says of a cache, with the file's name in front."""
    return [f"{file.path.name}: {problem}" for file in verify_cache(path).files for problem in file.problems]


def offset_of(path, name) -> int:
    """Where a dataset's values begin."""
    with h5py.File(path) as file:
        return file[name].id.get_offset()


def flip(path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


@pytest.mark.slow
def test_a_good_cache_has_no_problems(original):
    reports = []
    verification = verify_cache(original, threads=2, progress=lambda *step: reports.append(step))
    assert not verification.damaged
    assert [file.path.name for file in verification.files] == [
        *("index.h5", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5")
    ]
    assert [(file.images, file.people) for file in verification.files] == [(15, 15), (6, 6), (6, 6), (3, 3)]
    assert sorted(reports) == [(number, None, "images") for number in range(1, 16)]
    assert not verify_cache(original / "shard-00001.h5").damaged
    assert not verify_cache(original / "index.h5").damaged


def test_flipped_bytes_are_named_by_record(folder):
    shard = folder / "shard-00001.h5"
    with h5py.File(shard) as file:
        image = file["pictures/image/offsets"][4] + 30
        mask = file["people/mask/offsets"][3] + 40
        depth = file["pictures/maps/depth/offsets"][2] + 50
    flip(shard, offset_of(shard, "pictures/image/values") + int(image))
    flip(shard, offset_of(shard, "people/mask/values") + int(mask))
    flip(shard, offset_of(shard, "pictures/maps/depth/values") + int(depth))
    flip(shard, offset_of(shard, "people/fit_trans") + 2 * 12)
    assert problems(folder) == [
        "shard-00001.h5: column people/fit_trans: does not match its checksum",
        "shard-00001.h5: image 'clip2/2': maps/depth does not match its checksum",
        "shard-00001.h5: image 'clip3/0', person 0: mask does not match its checksum",
        "shard-00001.h5: image 'clip3/1': image does not match its checksum",
    ]


@pytest.mark.extensive
def test_every_flipped_byte_is_found(original, tmp_path):
    """Anywhere in a shard, but for the space that HDF5 leaves between its parts."""
    shard = shutil.copy(original / "shard-00002.h5", tmp_path / "shard-00002.h5")
    size = shard.stat().st_size
    offsets = np.random.default_rng(0).integers(0, size, 60).tolist()
    values = []
    with h5py.File(shard) as file:
        file.visititems(
            lambda _, entry: (
                values.append((entry.id.get_offset(), entry.id.get_storage_size()))
                if isinstance(entry, h5py.Dataset) and entry.size
                else None
            )
        )
    misses = []
    for offset in offsets:
        flip(shard, offset)
        if not problems(shard):
            misses.append(offset)
        flip(shard, offset)
    assert not problems(shard)
    assert [offset for offset in misses if any(start <= offset < start + size for start, size in values)] == []
    assert len(misses) < 10


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_truncated_shards(folder, share):
    shard = folder / "shard-00001.h5"
    data = shard.read_bytes()
    shard.write_bytes(data[: int(share * len(data))])
    cache = open_cache(folder)
    assert_same(cache.sample(0), all_samples(SOURCE)[0])
    with pytest.raises(InputError, match=r"shard-00001.h5: is (truncated|no HDF5 file, or damaged at its beginning)"):
        cache.sample(6)
    (problem,) = problems(folder)
    assert problem.startswith("shard-00001.h5: is ")


@pytest.mark.slow
def test_a_truncated_index(folder):
    index = folder / "index.h5"
    index.write_bytes(index.read_bytes()[:3000])
    with raises(InputError, subject="index.h5"):
        open_cache(folder)
    assert problems(folder) == ["index.h5: is truncated; copy or make it again"]
    write_index(folder)
    assert problems(folder) == []


def test_a_missing_shard(folder):
    (folder / "shard-00001.h5").unlink()
    with raises(InputError, subject="shard-00001.h5"):
        open_cache(folder)
    (problem,) = problems(folder)
    assert problem.startswith("index.h5: ")
    assert "shard-00001.h5: is missing" in problem
    write_index(folder)
    assert len(open_cache(folder)) == 9


def test_a_cache_that_is_still_being_made(folder):
    (folder / "index.h5").unlink()
    (folder / "shard-00001.h5").unlink()
    verification = verify_cache(folder)
    assert not verification.damaged
    assert verification.missing == (1,)


def test_an_index_that_was_lost(folder):
    (folder / "index.h5").unlink()
    (problem,) = problems(folder)
    assert problem.startswith("index.h5: ")
    assert "run hpc preprocess with the same options again" in problem


def test_a_missing_link(folder):
    with h5py.File(folder / "index.h5", "r+") as index:
        del index["links/00002"]
    with raises(InputError, subject="index.h5"):
        open_cache(folder)


@pytest.mark.slow
def test_a_shard_of_another_time(folder, tmp_path):
    other = tmp_path / "other"
    build_cache(replace(SOURCE, seed=2), other, shard_size=6)
    shutil.copy(other / "shard-00002.h5", folder)
    cache = open_cache(folder)
    with raises(InputError, subject="shard-00002.h5"):
        cache.sample(14)
    assert "shard-00002.h5: is not the shard that the index was made for" in problems(folder)
    with raises(InputError, subject="shard-00002.h5"):
        write_index(folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("picture_count", 7, "pictures/name has 6 rows where the table has 7"),
        ("schema_version", 2, "was written by a newer version of this program, expected schema version 1 or older"),
        ("schema_version", -1, "has the unknown schema version -1"),
        ("format", "other", "is no file of a dataset cache"),
        ("kind", "index", "is no shard, found the index of a dataset cache"),
        ("content_digest", "0" * 64, "its contents do not match the digest in its header"),
        ("plan", None, "lacks the attribute plan"),
    ],
)
def test_headers_that_are_wrong(folder, name, value, message):
    shard = folder / "shard-00000.h5"
    with h5py.File(shard, "r+") as file:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else np.int64(value)
    assert any(message in problem for problem in problems(shard))


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("people/poses", None, ""),  # an optional column
        ("people/identity", None, "lacks people/identity"),
        ("pictures/image/offsets", None, "lacks pictures/image/offsets"),
        ("people/poses", lambda a: a[:5], "people/poses has 5 rows where the table has 6"),
        ("people/poses", lambda a: a.astype("f8"), "people/poses has another type (<f8 (6, 72))"),
        ("people/picture", lambda a: a[::-1], "people/picture does not name the image that lists the person"),
        ("pictures/first_person", lambda a: a + 1, "do not list each person once"),
        ("pictures/group", lambda a: a * 0, "pictures/group does not name the group that lists the image"),
        ("groups/picture_count", lambda a: a - 1, "groups do not list each image once"),
        ("pictures/sequence", lambda a: a * 0 - 1, "sequence 'video 0' does not list the images that name it"),
        ("pictures/frame", lambda a: -a, "sequence 'video 0' is not in the order of its frames"),
        ("protocols/pictures/values", lambda a: a + 1, "name an image that is not there"),
        ("pairs/pictures/values", lambda a: a - 1, "pairs pairs/train name an image that is not there"),
        ("people/surface_points/offsets", lambda a: a + 1, "people/surface_points/offsets do not fit the values"),
        ("pictures/name", lambda a: a[[0, 0, 2, 3, 4, 5]], "two images have one name"),
        ("people/poses", lambda a: a * np.inf, "poses holds a number that is not finite"),
        ("people/box", lambda a: a + 100, "lies outside the image of 48 × 40"),
        ("people/joints/smpl24", lambda a: a * [3, 1, 1, 1], "pixels from where the camera sees the joints"),
        ("people/keypoints/coco17", lambda a: a + 1, "keypoints/coco17 holds a confidence outside 0…1"),
        ("pictures/size", lambda a: a + 1, "image is 48 × 40 pixels, the table has 49 × 41"),
    ],
)
def test_contents_that_are_wrong(folder, path, change, message):
    shard = folder / "shard-00000.h5"
    with h5py.File(shard, "r+") as file:
        array = file[path][()]
        del file[path]
        if change is not None:
            file[path] = change(array).astype(
                array.dtype if path != "people/poses" or change(array).dtype != "f8" else "f8"
            )
    messages = problems(shard)
    assert any(message in problem for problem in messages), messages


def test_images_that_were_damaged_before_they_were_stored(tmp_path):
    """Whole by their ends, and so accepted; decoding finds them."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 48, 3)).astype(np.uint8)
    tables = jpeg(pixels).replace(b"\xff\xdb", b"\xff\xfe")  # its quantisation has become a comment
    data = encode_png(pixels)
    short = data[: len(data) // 2] + data[-12:]
    images = {"clip0/0": tables, "clip0/1": short}

    class BrokenSource(SmallSource):
        def read(self, group):
            yield from (replace(sample, image=images.get(sample.name, sample.image)) for sample in super().read(group))

    build_cache(BrokenSource(group_count=1), tmp_path)
    first, second = problems(tmp_path)
    assert "'clip0/0': image cannot be decoded (" in first
    assert "'clip0/1': image cannot be decoded (" in second
    cache = open_cache(tmp_path)
    with raises(InputError, subject="shard-00000.h5"):
        cache.image(0)


def test_maps_that_say_what_cannot_be(tmp_path):
    class EmptySource(SmallSource):
        def read(self, group):
            yield from (replace(sample, people=()) for sample in super().read(group))

    build_cache(EmptySource(group_count=1), tmp_path)
    said = "image 'clip0/0': maps/persons says 1 where 0 is the maximum"
    assert f"shard-00000.h5: {said}" in problems(tmp_path)


def test_what_is_no_cache(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    with raises(InputError, subject="text.h5", got="text"):
        open_cache(tmp_path / "text.h5")
    with raises(InputError, problem="is no dataset cache", expected="a folder with index.h5"):
        open_cache(tmp_path)
    with raises(InputError, problem="does not exist"):
        open_cache(tmp_path / "nothing")
    with raises(InputError, problem="is no dataset cache"):
        verify_cache(tmp_path)
    with raises(InputError, problem="holds no shards"):
        write_index(tmp_path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    with raises(InputError, subject="other.h5"):
        open_cache(tmp_path / "other.h5")


def test_a_shard_that_is_replaced_while_it_is_read(folder, tmp_path):
    cache = open_cache(folder, max_open=1)
    cache.image(0)
    cache.image(14)  # lets go of the first shard
    data = (folder / "shard-00000.h5").read_bytes()
    (folder / "shard-00000.h5").unlink()
    (folder / "shard-00000.h5").write_bytes(data + b"\0")
    with raises(InputError, subject="shard-00000.h5"):
        cache.image(0)


# Several readers


def read_all(cache: Cache, rows: list[int], results) -> None:
    results.put([pickle.dumps(cache.sample(row)) for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", *extensive("spawn")])
def test_readers_in_several_processes(original, method):
    """A fork shares the files that are open, and their places in them must not matter."""
    if method not in multiprocessing.get_all_start_methods() or sys.platform == "darwin":
        pytest.skip("not on this system")
    context = multiprocessing.get_context(method)
    cache = open_cache(original, max_open=2)
    samples = all_samples(SOURCE)
    assert_same(cache.sample(3), samples[3])
    results = context.Queue()
    rows = list(range(15)) * 3
    processes = [context.Process(target=read_all, args=(cache, rows, results)) for _ in range(2)]
    for process in processes:
        process.start()
    for row in rows:
        assert_same(cache.sample(row), samples[row])
    for _ in processes:
        for row, data in zip(rows, results.get(timeout=PATIENCE), strict=True):
            assert_same(pickle.loads(data), samples[row])
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0


@pytest.mark.extensive
def test_readers_in_several_threads(original):
    """With one file open at a time, each is let go all the time while others read from it."""
    cache, samples, wrong = open_cache(original, max_open=1), all_samples(SOURCE), []

    def read(seed: int) -> None:
        try:
            for row in np.random.default_rng(seed).integers(0, 15, 150).tolist():
                assert_same(cache.sample(row), samples[row])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.posix("reads Linux's own files")
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them")
def test_few_files_are_open_at_once(original):
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    cache = open_cache(original, max_open=2)
    for row in range(15):
        cache.image(row)
    assert open_files() - before <= 3  # two shards and the index
    del cache
    assert open_files() == before
