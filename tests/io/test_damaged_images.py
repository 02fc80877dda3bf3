"""Damaged pictures, and files that are no pictures: one sentence each, never a grey picture."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from humanpose_cli.errors import ExitCode, InputError
from humanpose_cli.io.images import picture_size, read_image


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".tif", ".bmp"])
def test_truncated_files_are_refused_not_grey(tmp_path, share, suffix):
    path = tmp_path / f"x{suffix}"
    noise = np.random.default_rng(3).integers(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"damaged|truncated") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_truncated_progressive_jpeg(tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (64, 80, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", progressive=True)
    (tmp_path / "x.jpg").write_bytes(buffer.getvalue()[:-200])
    with pytest.raises(InputError, match="truncated"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"Dear all,\nno picture here.\n" * 20, "text"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 40, "a video"),
        (bytes(5000), "zero bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (bytes(range(256)) * 8, "data of no known kind"),
    ],
)
def test_other_files_named_jpg(tmp_path, content, found):
    path = tmp_path / "a 'b' ü.jpg"
    path.write_bytes(content)
    for read in (read_image, picture_size):
        with pytest.raises(InputError, match=found) as caught:
            read(path)
        assert caught.value.exit_code is ExitCode.BAD_INPUT
        assert "\n" not in str(caught.value)


def test_heic_and_raw_name_the_way_out(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(InputError, match="heif-convert"):
        read_image(tmp_path / "x.jpg")
    Image.new("RGB", (160, 120)).save(tmp_path / "x.tif")
    (tmp_path / "x.tif").rename(tmp_path / "x.DNG")  # its thumbnail must not pass for the picture
    with pytest.raises(InputError, match="raw"):
        read_image(tmp_path / "x.DNG")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "x.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


def test_absurd_sizes_are_refused_from_the_header_alone(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    data += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT" + bytes(4)
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match="60000 × 60000"):
        read_image(tmp_path / "bomb.png")


def test_a_108_megapixel_picture_passes_without_a_word_and_without_changing_pillow(tmp_path, recwarn, monkeypatch):
    Image.new("1", (12000, 9000)).save(tmp_path / "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert picture_size(tmp_path / "big.png") == (12000, 9000)
    assert not recwarn.list
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_postscript_is_never_run(tmp_path):
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(InputError, match="PostScript"):
        read_image(tmp_path / "x.png")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_gives_a_picture_or_a_sentence(tmp_path):
    rng = np.random.default_rng(11)
    for suffix in (".jpg", ".png", ".webp", ".gif", ".tif", ".bmp", ".tga", ".jp2", ".qoi", ".ppm", ".avif"):
        path = tmp_path / f"x{suffix}"
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(path)
        data = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(25):
            broken = data.copy()
            at = rng.integers(0, min(len(broken), 200), 6)
            broken[at] = rng.integers(0, 256, 6)
            path.write_bytes(broken.tobytes())
            with contextlib.suppress(InputError):
                assert read_image(path).pixels.dtype == np.uint8
