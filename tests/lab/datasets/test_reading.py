"""What all sources read with: images kept as they are, damaged files named, tables, MATLAB, pickles, the registry."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises
from helpers.paper_datasets import Chumpy, image, python2_pickle, write
from PIL import Image, ImageCms

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.io.images import write_image
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.lab.datasets import reading
from humanpose_cli.lab.datasets.common import FolderOptions, FolderSource, box_around
from humanpose_cli.lab.datasets.registry import SOURCES, open_source


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def photo() -> Image.Image:
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("JPEG", "L"), ("PNG", "L")])
def test_plain_images_keep_their_bytes(tmp_path: Path, photo: Image.Image, kind: str, mode: str) -> None:
    content = encode(photo.convert(mode), kind)
    image = reading.stored_image(write(tmp_path / "a.jpg", content))
    assert image.image == content
    assert image.size == (40, 30)
    assert reading.decode_pixels(image).shape == (30, 40, 3)


def test_other_images_are_encoded_anew(tmp_path: Path, photo: Image.Image) -> None:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    see_through = photo.copy()
    see_through.putalpha(0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    contents = {
        "turned.jpg": encode(photo, "JPEG", exif=orientation.tobytes()),
        "alpha.png": encode(see_through, "PNG"),
        "palette.png": encode(photo.quantize(16), "PNG"),
        "a.bmp": encode(photo, "BMP"),
        "a.webp": encode(photo, "WEBP"),
        "cmyk.jpg": encode(photo.convert("CMYK"), "JPEG"),
        "profile.jpg": encode(photo, "JPEG", icc_profile=profile.tobytes()),
    }
    images = {name: reading.stored_image(write(tmp_path / name, data)) for name, data in contents.items()}
    assert all(images[name].image != content for name, content in contents.items())
    assert images["turned.jpg"].size == (30, 40)
    assert (reading.decode_pixels(images["alpha.png"]) == 255).all()  # seen over white
    np.testing.assert_array_equal(reading.decode_pixels(images["a.bmp"]), np.asarray(photo))
    assert all(each.image[:3] in {b"\xff\xd8\xff", b"\x89PN"} for each in images.values())


def test_the_focal_length_of_exif_is_used(tmp_path: Path, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50  # millimetres as on film
    image = reading.stored_image(write(tmp_path / "a.jpg", encode(photo, "JPEG", exif=exif.tobytes())))
    assert image.focal == pytest.approx(50 * 50 / np.hypot(36, 24))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("cut", [3, 20, 300, -60, -3])
def test_truncated_images_are_named(tmp_path: Path, photo: Image.Image, kind: str, cut: int) -> None:
    path = write(tmp_path / f"cut.{kind.lower()}", encode(photo, kind)[:cut])
    if kind == "PNG" and cut == -3:
        return  # all pixels and the end mark are there, only its check sum is not
    with raises(InputError, subject=f"cut.{kind.lower()}"):
        reading.stored_image(path)


def test_frames_of_videos(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25.0) as writer:
        for frame in range(7):
            writer.write(np.full((32, 32, 3), 30 * frame, np.uint8))
    assert reading.video_frame_count(path) == 7
    brightness = {number: int(pixels.mean()) for number, pixels in reading.video_frames(path, [1, 4])}
    assert brightness == {1: pytest.approx(30, abs=4), 4: pytest.approx(120, abs=4)}
    assert [number for number, _ in reading.video_frames(path)] == list(range(7))
    assert list(reading.video_frames(path, [])) == []
    with raises(InputError, subject="a.mp4", got="7 frames"):
        list(reading.video_frames(path, [2, 9]))
    with raises(InputError, subject="b.mp4"):
        reading.video_frame_count(write(tmp_path / "b.mp4", b"nothing"))


def test_files_and_folders(tmp_path: Path) -> None:
    for name in ("b10.jpg", "b9.JPG", ".hidden.jpg", "c.txt"):
        write(tmp_path / name, "x")
    (tmp_path / "d2").mkdir()
    assert [path.name for path in reading.list_files(tmp_path, {".jpg"}, "images")] == ["b9.JPG", "b10.jpg"]
    assert [path.name for path in reading.list_folders(tmp_path, "folders")] == ["d2"]
    with raises(InputError, subject="d2"):
        reading.list_files(tmp_path / "d2", {".jpg"}, "images")
    with raises(InputError, subject="d2"):
        reading.list_folders(tmp_path / "d2", "folders")


def test_tables(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "\ufeffa,b\n1, x\n\n2,\n".encode())
    assert reading.read_csv(path, ["b"]) == [{"a": "1", "b": "x"}, {"a": "2", "b": ""}]
    with raises(InputError, subject="t.csv, row 3", problem="is damaged", expected="2 columns", got="1"):
        reading.read_csv(write(tmp_path / "t.csv", "a,b\n1,2\n3\n"), ["b"])
    with raises(InputError, subject="z.txt"):
        reading.read_lines(write(tmp_path / "z.txt", b"\xff\xfe\x00"))


def test_pickles_of_python_2(tmp_path: Path) -> None:
    values = {"a": np.arange(4.0), "b": Chumpy(np.ones((2, 3))), "name": "m\u00fcller", "n": [1, 2.5, None], "t": (1,)}
    table = reading.read_pickled_table(write(tmp_path / "a.pkl", python2_pickle({**values, "name": "muller"})))
    np.testing.assert_array_equal(table["a"], np.arange(4.0))
    np.testing.assert_array_equal(table["b"], np.ones((2, 3)))
    assert (table["name"], table["n"], table["t"]) == ("muller", [1, 2.5, None], (1,))
    with raises(InputError, subject="none.pkl"):
        reading.read_pickled_table(tmp_path / "none.pkl")


def test_boxes_around_joints() -> None:
    points = np.array([[10.0, 20], [30, 70], [np.nan, 0]])
    np.testing.assert_allclose(box_around(points, (100, 72)), [5, 15, 35, 72])  # type: ignore[arg-type]
    assert box_around(points[2:], (100, 72)) is None
    assert box_around(points - 500, (100, 72)) is None


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_its_classes(name: str) -> None:
    entry = SOURCES[name]
    assert issubclass(entry.source_class(), FolderSource)
    assert issubclass(entry.source_class().options_type, FolderOptions)
    assert entry.source_class().name == name
    assert set(entry.needs) <= {"estimator", "joint_fitter", "bodies"}
    docstring = entry.source_class().options_type.__doc__ or ""
    assert all(field in docstring for field in entry.source_class().options_type.__dataclass_fields__)


def test_sources_are_opened_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", image((9, 9), 3))
    source = open_source("images", tmp_path, {"every": 2})
    assert source.info.name == "images"
    assert source.info.options["every"] == 2
    with raises(UsageError, subject="imagenet"):
        open_source("imagenet", tmp_path)
    with raises(UsageError, subject="each"):
        open_source("images", tmp_path, {"each": 2})
    with raises(InputError, subject="gone"):
        open_source("up3d", tmp_path / "gone")


def test_labels_only_opens_images_and_videos_for_their_sizes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((24, 32, 3), 9, np.uint8))
    with VideoWriter(tmp_path / "v.mp4", 25) as writer:
        for _ in range(5):
            writer.write(np.full((32, 48, 3), 200, np.uint8))
    with reading.labels_only():
        assert reading.stored_image(tmp_path / "a.png") == reading.StoredImage(b"", (32, 24))
        assert reading.image_pixels(tmp_path / "a.png").shape == (24, 32, 3)
        assert reading.encode_view(lambda: pytest.fail("pixels are made"), (7, 5)) == reading.StoredImage(b"", (7, 5))
        assert reading.encode_mask(np.ones((2, 2), bool)) == b""
        frames = list(reading.video_frames(tmp_path / "v.mp4", [1, 4]))
        assert [number for number, _ in frames] == [1, 4]
        assert all(pixels.shape == (32, 48, 3) and not pixels.any() for _, pixels in frames)
        with raises(InputError, problem="is shorter than its annotation", expected="frame 5", got="5 frames"):
            list(reading.video_frames(tmp_path / "v.mp4", [1, 5]))
        for read in (reading.stored_image, reading.image_pixels, lambda path: list(reading.video_frames(path, [0]))):
            with raises(InputError, subject="none"):
                read(tmp_path / "none.png")
    assert reading.stored_image(tmp_path / "a.png").image == (tmp_path / "a.png").read_bytes()
    assert reading.image_pixels(tmp_path / "a.png").max() == 9
    assert next(reading.video_frames(tmp_path / "v.mp4", [1]))[1].mean() > 150
