"""Files that unpack to far more than they are: refused, or read with the memory that was promised."""

from __future__ import annotations

import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from humanpose_cli.core.errors import InputError
from humanpose_cli.files import unpacking
from humanpose_cli.io.images import read_image
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.train.checkpoint import read_checkpoint
from humanpose_cli.networks.weights import read_tensors

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from peak_memory import peak_bytes

MANY = 16384  # of its square, a quarter of a thousand million
SIDE = 2000  # of images that are read
PER_PIXEL, BESIDE = 8, 48 << 20  # bytes of memory
ZEROS = (4096, 1024, 1024)  # as float64 34 GB


def gif(path: Path, side: int = MANY) -> None:
    """Nothing but the codes of a size and of an end: decoders fill the rest with the first colour."""
    screen = struct.pack("<6sHHBBB", b"GIF89a", side, side, 0x80, 0, 0) + bytes(6)
    path.write_bytes(screen + struct.pack("<BHHHHB", 0x2C, 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00;")


def png(path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", MANY - 1, MANY - 1, 16, 6, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 20))))


def tiff(path: Path) -> None:
    """Its one strip would be far longer than the file."""
    sizes = {256: MANY, 257: MANY, 258: 32, 259: 8, 262: 2, 273: 200, 277: 3, 278: MANY, 279: 9, 339: 3}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sizes.items())
    directory = struct.pack("<H", len(sizes)) + tags + bytes(4)
    path.write_bytes((b"II*\0" + struct.pack("<I", 8) + directory).ljust(200, b"\0") + zlib.compress(bytes(1 << 20)))


def hdf5(path: Path, name: str) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, ZEROS, np.float64, chunks=(1, 1024, 1024), compression="gzip")


def pth(path: Path) -> None:
    torch.save({"a": torch.zeros(8 << 20)}, path)
    with zipfile.ZipFile(path) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("x.gif", gif, read_image),
        ("x.png", png, read_image),
        ("x.tif", tiff, read_image),
        ("x.pth", pth, read_tensors),
        ("x.pt", pth, lambda path: read_checkpoint(path, {})),
        ("shard-00000.h5", lambda path: hdf5(path, "pictures/bytes"), open_cache),
    ],
)
def test_what_unpacks_to_gigabytes_is_refused_at_once(
    tmp_path: Path, name: str, write: Callable[[Path], object], read: Callable[[Path], object], monkeypatch
) -> None:
    monkeypatch.setattr(unpacking, "_ALWAYS_ALLOWED", 1 << 20)
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 1 << 20
    with pytest.raises(InputError):
        read(tmp_path / name)

    def attempt() -> None:
        with suppress(InputError):
            read(tmp_path / name)

    peak = peak_bytes(attempt)
    assert peak is None or peak < 12 << 20


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "jpg", "RGBA.png", "deep.png"])
def test_an_image_needs_no_more_memory_than_promised(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    mode = "RGBA" if suffix == "RGBA.png" else "I;16" if suffix == "deep.png" else "RGB"
    for side in (8, SIDE):
        Image.new(mode, (side, side)).save(path)
        if side < SIDE:
            read_image(path)  # loads what is loaded once
    peak = peak_bytes(lambda: read_image(path))
    each = 2.1 * PER_PIXEL if suffix == "webp" else PER_PIXEL
    assert peak is None or peak < each * SIDE**2 + BESIDE
