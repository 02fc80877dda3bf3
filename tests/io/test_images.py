"""Images as users have them: turned, grey, deep, transparent, for print, animated, damaged, none at all."""

import math
import os
import re
import struct
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from helpers.dpx_files import write_dpx
from helpers.errors import raises
from PIL import ExifTags, Image, ImageCms, ImageFile

from humanpose_cli.core.errors import ExitCode, InputError, UsageError
from humanpose_cli.files import value_limits
from humanpose_cli.io import images
from humanpose_cli.io.exr import linear_light
from humanpose_cli.io.images import encode_image, image_size, read_image, to_eight_bits, write_image
from humanpose_cli.io.transparency import over_white


def corners_image(height=12, width=20) -> np.ndarray:
    """Four corners of different colours, so that every turn and flip shows."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    h, w = height // 2, width // 2
    pixels[:h, :w], pixels[:h, w:], pixels[h:, :w], pixels[h:, w:] = (250, 0, 0), (0, 250, 0), (0, 0, 250), (9, 9, 9)
    return pixels


def exif_bytes(orientation=None, **tags) -> Image.Exif:
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        inner[ExifTags.Base[name]] = value
    return exif


# What a camera stores so that a viewer, after the turn that EXIF names, sees the upright image.
STORED_FOR = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
def test_images_stand_upright(tmp_path, orientation, suffix):
    upright = corners_image()
    path = tmp_path / f"x{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(STORED_FOR[orientation](upright)))
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}
    stored.save(path, exif=exif_bytes(orientation), **options.get(suffix, {}))
    image = read_image(path)
    assert image.size == (20, 12) == image_size(path)
    assert np.abs(image.pixels.astype(int) - upright).max() <= (0 if suffix != ".jpg" else 3)


def test_phone_portrait_mode_is_orientation_six(tmp_path):
    """Pinned by hand: the sensor's left column becomes the top row (camera turned, grip down)."""
    stored = np.zeros((2, 4, 3), np.uint8)
    stored[:, 0] = 255
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif_bytes(6))
    assert read_image(tmp_path / "x.png").pixels[..., 0].tolist() == [[255, 255], [0, 0], [0, 0], [0, 0]]


FULL = {"ExifImageWidth": 400, "ExifImageHeight": 300}
PLANE = {"FocalLength": 50.0, "FocalPlaneXResolution": 400 / 2.23, "FocalPlaneResolutionUnit": 3}  # 22.3 mm


class TestFocalLength:
    @pytest.mark.parametrize(
        ("size", "tags", "expected"),
        [
            # 3:2 film and a 3:2 image: 26 of 36 mm wide, hence 26/36 of the width.
            ((300, 200), {"FocalLengthIn35mmFilm": 26}, 300 * 26 / 36),
            ((400, 300), {"FocalLengthIn35mmFilm": 26}, 26 * 500 / math.hypot(36, 24)),
            ((400, 300), PLANE, 400 * 50 / 22.3),
            (
                (400, 300),
                PLANE | {"FocalPlaneXResolution": 455.605, "FocalPlaneResolutionUnit": 2},
                455.605 * 50 / 25.4,
            ),
            ((400, 300), PLANE | FULL, 400 * 50 / 22.3),
            ((200, 150), PLANE | FULL, 200 * 50 / 22.3),  # a scaled-down copy
            *(((400, 300), {"FocalLengthIn35mmFilm": absurd}, None) for absurd in (0, 1, 60000)),
            *(((400, 300), {"FocalLength": 50.0} | more, None) for more in ({}, {"FocalPlaneXResolution": 0.0})),
            ((400, 300), {}, None),
        ],
    )
    def test_film_focal_plane_and_what_is_unknown_or_absurd(self, tmp_path, size, tags, expected):
        Image.new("L", size).save(tmp_path / "x.jpg", quality=10, exif=exif_bytes(6, **tags))
        assert read_image(tmp_path / "x.jpg").focal_pixels == (expected and pytest.approx(expected, rel=1e-6))

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_malformed_exif_does_not_refuse_the_image(self, tmp_path):
        path = tmp_path / "x.jpg"
        Image.new("RGB", (40, 30)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
        image = read_image(path)
        assert (image.focal_pixels, image.size) == (None, (40, 30))


class TestPixelFormats:
    @pytest.fixture(autouse=True, params=[images._BAND, 40], ids=["whole", "in bands"])
    def band(self, request, monkeypatch):
        monkeypatch.setattr(images, "_BAND", request.param)

    def check(self, path, expected, tolerance=0, alpha=None):
        image = read_image(path)
        assert (image.pixels.dtype, image.pixels.flags.c_contiguous) == (np.uint8, True)
        np.testing.assert_allclose(image.pixels, expected, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(image.alpha, alpha)

    def grey_as_rgb(self, grey):
        return np.repeat(grey[..., None], 3, -1)

    @pytest.fixture
    def ramp(self):
        return np.arange(240, dtype=np.uint8).reshape(12, 20)

    def test_grey_and_one_bit(self, tmp_path, ramp):
        Image.fromarray(ramp).save(tmp_path / "g.png")
        self.check(tmp_path / "g.png", self.grey_as_rgb(ramp))
        Image.fromarray(ramp > 99).save(tmp_path / "b.png")
        self.check(tmp_path / "b.png", self.grey_as_rgb((ramp > 99).astype(np.uint8) * 255))

    @pytest.mark.parametrize(("bits", "shift"), [(16, 0), (12, 0), (10, 0), (8, 0), (8, 4)])
    @pytest.mark.parametrize("name", ["grey.png", "rgb.png", "grey.tif", "rgb.tif"])
    def test_fewer_bits_in_sixteen(self, tmp_path, name, bits, shift):
        """As cameras of laboratories write them; all 16 bits span their type."""
        largest = (2**bits - 1) << shift
        values = np.linspace(0, largest, 16 * 16 * 3).round().astype(np.uint16).reshape(16, 16, 3)
        if name.startswith("grey"):
            Image.fromarray(values[..., 2].copy()).save(tmp_path / name)
            values = values[..., 2:]
        elif name == "rgb.png":
            (tmp_path / name).write_bytes(sixteen_bit_png(values))
        else:
            tifffile.imwrite(tmp_path / name, values, photometric="rgb")
        expected = values * (255 / (2 ** (bits + shift) - 1)) * np.ones(3)
        assert np.abs(read_image(tmp_path / name).pixels - expected).max() <= 1

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("colour", [True, False])
    def test_float_tiff_from_zero_to_one_with_highlights_and_nan(self, tmp_path, ramp, dtype, colour):
        expected = corners_image() if colour else self.grey_as_rgb(ramp)
        values = linear_light((expected if colour else ramp) / 255)
        values[0, 0] = np.nan
        values[-1, -1] = 7.5
        expected[0, 0], expected[-1, -1] = 0, 255
        tifffile.imwrite(tmp_path / "x.tif", values.astype(dtype), photometric="rgb" if colour else "minisblack")
        self.check(tmp_path / "x.tif", expected, 1 if dtype == np.float16 else 0)
        assert image_size(tmp_path / "x.tif") == (20, 12)

    def test_planar_float_tiff_with_alpha(self, tmp_path):
        rgba = np.dstack((corners_image(), np.full((12, 20), 255, np.uint8)))
        values = np.moveaxis(np.dstack((linear_light(rgba[..., :3] / 255), rgba[..., 3:] / 255)), -1, 0).astype("f4")
        options = {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
        tifffile.imwrite(tmp_path / "x.tif", values, **options)
        self.check(tmp_path / "x.tif", rgba[..., :3])

    def test_alpha_is_kept_and_shown_over_white(self, tmp_path, ramp):
        rgba = np.dstack((corners_image(), ramp))
        for name in ("x.png", "x.tif", "x.webp"):
            Image.fromarray(rgba).save(tmp_path / name, **({"lossless": True, "exact": True} if "webp" in name else {}))
            self.check(tmp_path / name, over_white(rgba[..., :3], ramp), alpha=ramp)

    def test_full_alpha_is_no_alpha(self, tmp_path):
        Image.fromarray(corners_image()).convert("RGBA").save(tmp_path / "x.png")
        self.check(tmp_path / "x.png", corners_image())

    @pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, (0, 100, 255)), (51, (204, 224, 255))])
    def test_over_white_reference_values(self, alpha, expected):
        shown = over_white(np.array([[[0, 100, 255]]], np.uint8), np.array([[alpha]], np.uint8))
        np.testing.assert_array_equal(shown[0, 0], expected)
        rounded = over_white(np.array([[[1, 101, 0]]], np.uint8), np.array([[128]], np.uint8))
        assert rounded.tolist() == [[[128, 178, 127]]]  # 177.7

    def test_grey_with_alpha_and_palette_with_transparency(self, tmp_path, ramp):
        half = np.full_like(ramp, 128)
        Image.fromarray(np.dstack((ramp, half)), "LA").save(tmp_path / "la.png")
        self.check(tmp_path / "la.png", over_white(self.grey_as_rgb(ramp), half), alpha=half)
        palette = Image.fromarray(corners_image()).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
        palette.save(tmp_path / "p.png")
        self.check(tmp_path / "p.png", corners_image())
        palette.save(tmp_path / "t.png", transparency=palette.getpixel((0, 0)))
        is_red = corners_image()[..., 0] == 250
        self.check(tmp_path / "t.png", np.where(is_red[..., None], 255, corners_image()), alpha=255 * ~is_red)

    @pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
    def test_cmyk(self, tmp_path, name):
        Image.fromarray(corners_image()).convert("CMYK").save(tmp_path / name, quality=100)
        self.check(tmp_path / name, corners_image(), 4 if name == "x.jpg" else 0)

    def test_an_embedded_profile_is_applied_and_a_broken_one_passed_over(self, tmp_path):
        pixels = np.full((8, 8, 3), (120, 60, 200), np.uint8)
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ"))
        Image.fromarray(pixels).save(tmp_path / "broken.png", icc_profile=b"not a profile")
        self.check(tmp_path / "broken.png", pixels)
        Image.fromarray(pixels).save(tmp_path / "unfit.png", icc_profile=lab.tobytes())
        assert read_image(tmp_path / "unfit.png").pixels.shape == (8, 8, 3)
        Image.fromarray(pixels).save(tmp_path / "swapped.png", icc_profile=red_and_blue_swapped_profile())
        self.check(tmp_path / "swapped.png", pixels[..., ::-1], 2)

    def test_lab_tiff(self, tmp_path):
        rgb = Image.fromarray(np.full((8, 8, 3), (120, 60, 200), np.uint8))
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        ImageCms.profileToProfile(rgb, *profiles, outputMode="LAB").save(tmp_path / "x.tif")
        self.check(tmp_path / "x.tif", np.asarray(rgb), 3)

    @pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
    def test_of_an_animation_the_first_frame(self, tmp_path, caplog, suffix):
        frames = [Image.new("RGB", (16, 8), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
        options = {"lossless": True} if suffix == ".webp" else {}
        frames[0].save(tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:], **options)
        image = read_image(tmp_path / f"x{suffix}")
        assert (image.pixels == (255, 0, 0)).all()
        notes = [record.getMessage().count("an animation: only the first frame is used") for record in caplog.records]
        assert notes == [1] * (suffix != ".tif")
        frames[0].save(tmp_path / f"one{suffix}", **options)
        read_image(tmp_path / f"one{suffix}")
        assert len(caplog.records) == len(notes)


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """Hand-made, because Pillow cannot write it: (H, W, 3) uint16."""
    header = struct.pack(">IIBBBBB", *values.shape[1::-1], 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in values))
    chunks = [b"IHDR" + header, b"IDAT" + rows, b"IEND"]
    packed = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def red_and_blue_swapped_profile() -> bytes:
    """sRGB whose red and blue primaries are exchanged: a reader that applies profiles exchanges the channels."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ", "sRGB".encode("utf-16-be"): "swap".encode("utf-16-be")}
    return re.sub(b"|".join(names), lambda match: names[match[0]], data)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 32768, 65535], np.uint16, [0, 128, 255]),
        ([0, 128, 255], np.int32, [0, 128, 255]),
        ([-5, 0, 65535], np.int32, [0, 0, 255]),
        ([0, 600_000, 1_000_000], np.int32, [0, 153, 255]),
        ([0, 0.5, 1], np.float64, [0, 128, 255]),
        ([0, 100.0, 255.0], np.float32, [0, 100, 255]),
        ([1, 1, 1], np.float32, [255, 255, 255]),
        ([], np.float32, []),
    ],
)
def test_to_eight_bits_ranges(values, dtype, expected):
    assert to_eight_bits(np.array(values, dtype)).tolist() == expected


class TestWriting:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".PNG"])
    def test_lossless_round_trip(self, tmp_path, suffix):
        path = tmp_path / "new folder" / f"x{suffix}"
        write_image(path, corners_image())
        np.testing.assert_array_equal(read_image(path).pixels, corners_image())
        assert os.listdir(path.parent) == [path.name]

    def test_jpeg_keeps_colour_resolution_and_has_a_quality(self, tmp_path):
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[:, ::2] = (255, 0, 0)
        write_image(tmp_path / "x.jpg", pixels)
        assert np.abs(read_image(tmp_path / "x.jpg").pixels.astype(int) - pixels).max() < 16
        assert len(encode_image(corners_image(), ".jpg", quality=20)) < len(encode_image(corners_image(), ".jpg"))

    def test_transparent_images_round_trip(self, tmp_path):
        alpha = np.arange(240, dtype=np.uint8).reshape(12, 20)
        write_image(tmp_path / "x.png", np.dstack((corners_image(), alpha)))
        np.testing.assert_array_equal(read_image(tmp_path / "x.png").alpha, alpha)

    @pytest.mark.parametrize(
        ("name", "channels", "dtype"),
        [("x.jpg", 4, "u1"), ("x.png", 3, "f4"), ("x.png", 2, "u1"), ("x.xyz", 3, "u1"), ("x", 3, "u1")],
    )
    def test_unusable_arguments_are_usage_errors(self, tmp_path, name, channels, dtype):
        with pytest.raises(UsageError):
            write_image(tmp_path / name, np.zeros((4, 4, channels), dtype))
        assert os.listdir(tmp_path) == []


def test_every_image_suffix_is_read(tmp_path):
    for suffix in images.IMAGE_SUFFIXES:
        path = tmp_path / f"x{suffix}"
        if suffix == ".exr":
            write_image(path, np.zeros((6, 8, 3), np.uint8))
        elif suffix == ".dpx":
            write_dpx(path, np.zeros((6, 8, 3), np.uint16))
        else:
            Image.new("L" if suffix == ".pgm" else "RGB", (8, 6)).save(path)
        assert read_image(path).size == (8, 6)


# Damaged images, and files that are no images: one sentence each, never a grey image.


@pytest.mark.parametrize("share", [0.3, 0.97])
@pytest.mark.parametrize("name", ["x.jpg", "progressive.jpg", "x.png", "x.webp", "x.gif", "x.tif", "x.bmp"])
def test_truncated_files_are_refused_not_grey(tmp_path, share, name):
    noise = np.random.default_rng(3).integers(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / name, progressive=name.startswith("progressive"))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with raises(InputError, subject=name):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"Dear all,\nno image here.\n" * 20, "text"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 40, "a video"),
        (bytes(5000), "zero bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (bytes(range(256)) * 8, "data of no known kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),  # is never run
    ],
)
def test_other_files_named_jpg(tmp_path, content, found):
    path = tmp_path / "a 'b' ü.jpg"
    path.write_bytes(content)
    for read in (read_image, image_size):
        with raises(InputError, got=found) as caught:
            read(path)
        assert caught.value.exit_code is ExitCode.BAD_INPUT
        assert "\n" not in str(caught.value)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_raw_and_jpeg_xl_name_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    (tmp_path / "x.jpg").write_bytes(HEIC)
    with raises(InputError, problem="is a HEIC image", remedy='pip install "humanpose-cli[heic]"'):
        read_image(tmp_path / "x.jpg")
    for start in (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"):
        (tmp_path / "x.jxl").write_bytes(start + bytes(40))
        with raises(InputError, problem="is a JPEG XL image", remedy="djxl"):
            read_image(tmp_path / "x.jxl")
    Image.new("RGB", (160, 120)).save(tmp_path / "x.tif")
    (tmp_path / "x.tif").rename(tmp_path / "x.DNG")  # its thumbnail must not pass for the image
    with raises(InputError, "raw"):
        read_image(tmp_path / "x.DNG")


def test_heic_is_read_by_the_plugin_of_the_extra(tmp_path, monkeypatch):
    """A stand-in for pi-heif, which makes no files: it opens what begins as HEIC."""

    class Plugin(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._size, self._mode = (6, 4), "RGB"
            self.info["exif"] = exif_bytes(FocalLengthIn35mmFilm=26).tobytes()

        def load(self):
            self.im = Image.new("RGB", (6, 4), (1, 2, 3)).im

    def register() -> None:
        Image.register_open("HEIF", Plugin, lambda head: head[4:12] == b"ftypheic")

    monkeypatch.setitem(sys.modules, "pi_heif", SimpleNamespace(register_heif_opener=register))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    (tmp_path / "x.heic").write_bytes(HEIC)
    image = read_image(tmp_path / "x.heic")
    assert (image.pixels[0, 0].tolist(), image.size, image_size(tmp_path / "x.heic")) == ([1, 2, 3], (6, 4), (6, 4))
    assert image.focal_pixels == pytest.approx(26 * math.hypot(6, 4) / math.hypot(36, 24))
    (tmp_path / "x.heic").write_bytes(HEIC.replace(b"heic", b"mif1"))
    with raises(InputError, problem="is a damaged image"):
        read_image(tmp_path / "x.heic")


@pytest.mark.parametrize(
    ("size", "taken", "is_part"),
    [
        ((400, 300), None, False),
        ((300, 400), (4000, 3000), False),
        ((300, 200), None, False),
        ((192, 108), None, False),
        ((1088, 1920), None, False),  # a multiple of 16 is no crop
        ((211, 100), None, True),
        ((300, 300), None, True),
        ((400, 300), (6000, 4000), True),  # a camera's shape, but not of this one
    ],
)
def test_focal_lengths_of_crops_are_lower_bounds(tmp_path, size, taken, is_part):
    tags = {} if taken is None else dict(zip(("ExifImageWidth", "ExifImageHeight"), taken, strict=True))
    Image.new("RGB", size).save(tmp_path / "x.jpg", exif=exif_bytes(FocalLengthIn35mmFilm=33, **tags))
    image, focal = read_image(tmp_path / "x.jpg"), pytest.approx(33 * math.hypot(*size) / math.hypot(36, 24))
    assert (image.focal_pixels, image.min_focal_pixels) == ((None, focal) if is_part else (focal, None))


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_tiled_tiffs_beyond_pillows_limit_are_read(tmp_path, monkeypatch, recwarn, compression):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", pixels, tile=(16, 16), photometric="rgb", compression=compression)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # an error from twice as many on, a warning from as many on
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").pixels, pixels)
    assert image_size(tmp_path / "x.tif") == (64, 48)
    assert (Image.MAX_IMAGE_PIXELS, len(recwarn.list)) == (1000, 0)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".webp", ".jp2"])
def test_a_large_image_of_next_to_nothing_is_refused(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(value_limits, "_LARGE", 500_000)
    Image.new("RGB", (1000, 1000)).save(tmp_path / f"x{suffix}")
    monkeypatch.setattr(value_limits, "_MIN_BYTES_PER_PIXEL", 0.1)
    with raises(InputError, got="1000 × 1000 pixels in"):
        read_image(tmp_path / f"x{suffix}")


def test_a_deep_tiff_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((100, 100, 3), np.float32), photometric="rgb", compression="zlib")
    monkeypatch.setattr(images, "_MAX_DEEP_BYTES", 100_000)
    with raises(InputError, problem="too large"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("transfer", [16, 13])
def test_png_in_hdr_is_mapped_as_videos_are(tmp_path, caplog, transfer):
    """100 cd/m² in PQ, the signal 0.508, are 190 where white is 203 cd/m². sRGB stays."""
    path = tmp_path / "a.png"
    Image.new("RGB", (32, 32), (round(0.508 * 255),) * 3).save(path)
    chunk = b"cICP" + bytes((9, transfer, 0, 1))
    data, after_header = path.read_bytes(), 33  # signature, and IHDR with its length and checksum
    stated = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(data[:after_header] + stated + data[after_header:])
    expected = 190 if transfer == 16 else round(0.508 * 255)
    assert np.abs(read_image(path).pixels.astype(int) - expected).max() <= 3


@pytest.mark.parametrize(("part", "focal"), [("", 640 / math.tau), ("full", 1280 / math.tau)])
def test_a_panorama_has_the_focal_length_of_its_middle(tmp_path, part, focal):
    tags = 'GPano:ProjectionType="equirectangular"'
    if part:  # half of the circle, at half of its size
        tags += ' GPano:FullPanoWidthPixels="2560" GPano:CroppedAreaImageWidthPixels="1280"'
    path = tmp_path / "a.jpg"
    Image.new("RGB", (640, 320)).save(path, xmp=f"<x:xmpmeta><rdf:Description {tags}/></x:xmpmeta>".encode())
    image = read_image(path)
    assert image.focal_pixels == pytest.approx(focal)
    assert image.min_focal_pixels is None
