"""Files of a cache made to do harm: what HDF5, numpy or OpenCV would follow, wait for or unpack is refused before."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.cache_source import SmallSource
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache import reading
from humanpose_cli.lab.cache.building import build_cache, write_index
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.contents import describe
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.reading import TableFile, read_attributes
from humanpose_cli.lab.cache.verification import verify_cache

SHARD = "shard-00000.h5"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    build_cache(SmallSource(group_count=2), folder, shard_size=3)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "cache")


def everything(folder: Path) -> None:
    """Open a cache, count it, and read every sample."""
    cache = open_cache(folder)
    describe(cache)
    for row in range(len(cache)):
        cache.sample(row)


def assert_refused(folder: Path, message: str) -> None:
    """Reading and verification say what is wrong, each in a sentence."""
    with raises(InputError, message):
        everything(folder)
    text = "\n".join(str(problem) for file in verify_cache(folder).files for problem in file.problems)
    assert message in text


def attribute(name: str, value: object, of: str = "/") -> Callable[[h5py.File], None]:
    return lambda file: file[of].attrs.__setitem__(name, value)


def dataset(name: str, shape: tuple[int, ...] = (4,), dtype: object = "<i8") -> Callable[[h5py.File], None]:
    def replace(file: h5py.File) -> None:
        file.pop(name, None)
        is_plain = not np.dtype(dtype).hasobject and 0 not in shape
        file.create_dataset(name, shape, dtype, data=np.zeros(shape, dtype) if is_plain else None)

    return replace


SINGLE, WIDTH = "is not a single value", "is neither a whole number nor a text of fixed width"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((attribute("picture_count", value), SINGLE) for value in (np.arange(5000), np.array([7]), h5py.Empty("S9"))),
        *((attribute("source", value), WIDTH) for value in ("text", 1.5, np.bool_(True), np.bytes_(b"x" * 65537))),
        (attribute("crc32", np.arange(4000), "people/box"), "the attribute crc32 is not a single value"),
        (dataset("pictures/image/offsets", dtype=h5py.ref_dtype), "pictures/image/offsets holds references"),
        (dataset("people/identity", dtype=h5py.string_dtype()), "people/identity holds references"),
        (dataset("people/more", dtype=np.dtype([("a", h5py.ref_dtype)])), "people/more holds references"),
        (dataset("pictures/image/offsets", dtype="<f8"), "pictures/image/offsets has another type (<f8 (4,))"),
        (dataset("pictures/image/offsets", (4, 1)), "pictures/image/offsets has another type (<i8 (4, 1))"),
        (dataset("people/mask/checksums", (3,), "<i4"), "people/mask/checksums has another type (<i4 (3,))"),
        (dataset("people/surface_points/values", (4, 4), "<f4"), "values has another type (<f4 (4, 4))"),
        (dataset("pictures/name", (3,)), "pictures/name has another type (<i8 (3,))"),
        (dataset("pictures/group", ()), "pictures/group has another type (<i8 ())"),
        (dataset("more", (2**40, 2**40, 0), "u1"), "is truncated: more reaches past its end"),
        (dataset("people/mask/checksums", (1,), "<u4"), "people/mask/checksums are not one for each of 3 rows"),
    ],
)
def test_shards_that_are_otherwise_made_are_refused(folder, change, message):
    with h5py.File(folder / SHARD, "r+") as file:
        change(file)
    assert message in str([problem for file in verify_cache(folder).files for problem in file.problems])
    if message not in ("is truncated: more reaches past its end", "the attribute crc32 is not a single value"):
        with raises(InputError, message):
            everything(folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "shard_count",
            10**12,
            {"problem": "has impossible counts", "expected": "at most 1,000,000 shards, no count below 0"},
        ),
        ("person_count", -1, {"problem": "has impossible counts"}),
        ("options", b"[1]", {"problem": "holds other JSON", "expected": "an object", "got": "list"}),
        ("options", b"{", {"problem": "its options are no JSON"}),
        ("options", b"[" * 60000, {"problem": "its options are no JSON"}),
        ("kind", b"other", {"problem": "is no shard or index", "got": "the other of a dataset cache"}),
    ],
)
def test_headers_that_no_cache_has_are_refused(folder, name, value, message):
    with h5py.File(folder / "index.h5", "r+") as file:
        del file.attrs[name]
        file.attrs[name] = np.int64(value) if isinstance(value, int) else np.bytes_(value)
    with raises(InputError, **message):
        open_cache(folder / "index.h5")


def test_counts_that_overflow_their_sum_are_found(folder):
    with h5py.File(folder / SHARD, "r+") as file:
        file["pictures/person_count"][...] = [2**63 - 1, 2**63 - 1, 5]  # 3 as 64 bits have it
        file["pictures/first_person"][...] = [0, 2**63 - 1, -2]
    assert "do not list each person once" in str(verify_cache(folder / SHARD).files[0].problems)


@pytest.mark.parametrize("counts", [[2**61, 1, 1], [-1, 1, 1], [4, 1, 1]])
def test_rows_beyond_a_table_are_refused_before_they_are_counted(folder, counts):
    with h5py.File(folder / SHARD, "r+") as file:
        file["pictures/person_count"][...] = counts
    with h5py.File(folder / "index.h5", "r+") as file:
        file["groups/picture_count"][0] = 2 * counts[0]
    cache = open_cache(folder)
    for read in (cache.people_of, cache.sample):
        with raises(InputError, problem=f"first_person names {counts[0]} rows from 0 on of a table of 3"):
            read(0)
    with raises(InputError, problem=("first_picture names", "rows from 0 on of a table of 6")):
        _ = cache.groups


def test_a_text_that_is_none_is_refused_in_every_view(folder):
    with h5py.File(folder / SHARD, "r+") as file:
        file["people/identity"][...] = np.array([b"\xff"] * 3, file["people/identity"].dtype)
    with raises(InputError, problem="people/identity holds a text that is not UTF-8"):
        open_cache(folder).people["identity"][:]


def test_values_that_break_their_rule_are_refused_and_named(folder):
    with h5py.File(folder / SHARD, "r+") as file:
        file["pictures/focal"][0] = np.inf
    assert_refused(folder, "focal holds a number that is not finite")


def test_columns_that_every_shard_has_need_no_entry_in_the_index(folder):
    with h5py.File(folder / "index.h5", "r+") as file:
        file["labels/name"][...] = np.array([b"people/none"] * len(file["labels/name"]), file["labels/name"].dtype)
    assert open_cache(folder).people["clothing"][0] == "red coat"


def test_shards_that_contradict_themselves_are_not_joined(folder):
    with h5py.File(folder / SHARD, "r+") as file:
        file["sequences/pictures/values"][0] = -(2**63)
    with raises(InputError, problem="sequence 'video 0' does not list the images that name it"):
        write_index(folder)


# What lies elsewhere, and what is no file

LINKS = [h5py.SoftLink("/people/poses"), h5py.SoftLink("/links/00000/people/poses"), h5py.ExternalLink("pipe.h5", "/")]


@pytest.mark.posix("needs POSIX pipes")
@pytest.mark.parametrize("link", LINKS, ids=["soft", "soft to another file", "external"])
@pytest.mark.parametrize("name", ["pictures", "pictures/image/values", "people/identity"])
def test_no_link_is_followed(folder, name, link):
    os.mkfifo(folder / "pipe.h5")
    with h5py.File(folder / SHARD, "r+") as file:
        file["links/00000"] = h5py.ExternalLink("pipe.h5", "/")
        del file[name]
        file[name] = link
    with pytest.raises(InputError, match=r"is behind a link|lacks p"):
        TableFile(folder / SHARD, "shard").check()


@pytest.mark.posix("needs POSIX pipes")
@pytest.mark.parametrize("name", ["index.h5", SHARD])
def test_pipes_are_refused_and_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert_refused(folder, "is a device or a pipe, which can be read only once or has no end")
    for read in (open_cache, verify_cache, TableFile, read_attributes):
        with raises(InputError, subject=name, problem="is a device or a pipe"):
            read(folder / name)
    if name == SHARD:
        with raises(InputError, problem="is a device or a pipe"):
            write_index(folder)
        build_cache(SmallSource(group_count=2), folder, shard_size=3)  # as any shard that is damaged
        everything(folder)


@pytest.mark.posix("needs devices")
def test_devices_are_refused(folder):
    (folder / SHARD).unlink()
    (folder / SHARD).symlink_to("/dev/zero")
    assert_refused(folder, "is a device or a pipe")


# Encoded images


def store(shard: Path, path: str, data: bytes) -> None:
    """Replace the first row of an encoded column, its checksum too."""
    with h5py.File(shard, "r+") as file:
        values, offsets, checksums = (file[f"{path}/{part}"][()] for part in ("values", "offsets", "checksums"))
        later = values[offsets[1] :]
        for part in ("values", "offsets"):
            del file[f"{path}/{part}"]
        file[f"{path}/values"] = np.concatenate([np.frombuffer(data, np.uint8), later])
        file[f"{path}/offsets"] = np.concatenate([[0], offsets[1:] - offsets[1] + len(data)])
        checksums[0] = zlib.crc32(data)
        file[f"{path}/checksums"][...] = checksums


def png_header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG that says that it is so large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunks + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((30_000, 30_000), "is too large, expected at most 256 million pixels, found 30000 × 30000"),
        ((15_000, 15_000), "is hardly a photograph, expected more than a byte for 100 pixels, found 15000 × 15000"),
        ((0, 40), "has no pixels, found 0 × 40"),
    ],
)
def test_images_that_unpack_to_far_more_than_their_size_are_refused(folder, size, message):
    store(folder / SHARD, "pictures/image", png_header(*size))
    assert_refused(folder, f"image is {size[0]} × {size[1]} pixels, the table has 48 × 40")
    with h5py.File(folder / SHARD, "r+") as file:
        file["pictures/size"][0] = size
    with raises(InputError, problem=message):
        open_cache(folder).image(0)
    assert f"image {message}" in str(verify_cache(folder).files[1].problems)
    for path in ("pictures/maps/parts", "people/mask"):  # as large as the image, which alone says how much that may be
        store(folder / SHARD, path, png_header(*size, colour=0))
        with raises(InputError, problem=message):
            TableFile(folder / SHARD).encoded(path, 0)


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("pictures/maps/parts", png_header(30_000, 30_000), "is 30000 × 30000 pixels, the table has 48 × 40"),
        (
            "pictures/maps/parts",
            png_header(48, 40),
            "has other pixels, expected PNG of 8 bits × 1, found PNG of 8 bits × 3",
        ),
        (
            "people/mask",
            encode_png(np.zeros((40, 48), np.uint16)),
            "expected PNG of 8 bits × 1, found PNG of 16 bits × 1",
        ),
        ("pictures/image", b"BM" + bytes(200), "is neither JPEG nor PNG"),
        ("pictures/image", b"", "image is missing"),
    ],
)
def test_what_is_not_what_its_column_holds_is_not_decoded(folder, path, data, message):
    store(folder / SHARD, path, data)
    assert_refused(folder, message)


def test_bytes_are_compared_with_their_checksum_wherever_they_are_read(folder):
    with h5py.File(folder / SHARD, "r+") as file:
        offsets = file["pictures/image/offsets"]
        offsets[...] = [0, 1, 2, offsets[-1]]
    cache = open_cache(folder)
    for read in (cache.sample, cache.image):
        with raises(InputError, problem="image 'clip0/0': image does not match its checksum"):
            read(0)


@pytest.mark.parametrize("small", [0, 1 << 16])
def test_a_shard_that_shrinks_while_it_is_open_is_damaged(folder, monkeypatch, small):
    """A copy over the file cuts it first; a file that is mapped into memory would end the process by a signal."""
    monkeypatch.setattr(reading, "_SMALL", small)
    cache = open_cache(folder)
    cache.sample(0)
    os.truncate(folder / SHARD, 0)
    with raises(InputError, subject=SHARD, problem="became shorter while it was being read"):
        cache.sample(1)
