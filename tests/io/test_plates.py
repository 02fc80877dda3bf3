"""Plates against OpenEXR's own library, and against numbers that are known."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import tifffile
from helpers.dpx_files import write_dpx
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.exr import linear_light
from humanpose_cli.io.images import LightView, check_image_file, image_size, read_image, write_image
from humanpose_cli.io.plates import AP1, COLOUR_SPACES, REC709, plate_of, primaries_matrix, read_plate

openexr = pytest.importorskip("OpenEXR")
EXR, DPX = "an OpenEXR image", "a DPX image"
COLOURS = (np.random.default_rng(0).random((24, 40, 3)) * 2).astype(np.float16)
SMOOTH = np.stack(np.meshgrid(np.linspace(0, 2, 40), np.linspace(0, 1, 24), indexing="xy"), -1)[..., [0, 1, 0]]
WINDOW = np.array([0, 0], np.int32), np.array([59, 39], np.int32)


def write_exr(path, channels, compression="ZIP", kind="scanlineimage", **header):
    header |= {"compression": getattr(openexr, f"{compression}_COMPRESSION"), "type": getattr(openexr, kind)}
    openexr.File(header, channels).write(str(path))
    return path


def part(name, channels, **header):
    return openexr.Part({"name": name, "type": openexr.scanlineimage, **header}, channels)


@pytest.mark.parametrize(
    ("compression", "tolerance"),
    [*((name, 0) for name in ("NO", "RLE", "ZIPS", "ZIP", "PIZ")), ("PXR24", 0), ("B44", 0.02), ("DWAA", 0.02)],
)
def test_each_compression_is_read_as_by_openexr(tmp_path, compression, tolerance):
    path = write_exr(tmp_path / "x.exr", {"RGB": SMOOTH.astype(np.float16)}, compression)
    expected = openexr.File(str(path)).channels()["RGB"].pixels
    np.testing.assert_allclose(read_plate(path, EXR).colours, expected, atol=tolerance)


@pytest.mark.parametrize("form", ["tiles", "float", "layers", "layer", "parts", "grey"])
def test_each_form_is_read(tmp_path, form):
    path, expected = tmp_path / "x.exr", COLOURS
    depth = {"depth.Z": COLOURS[..., 0].copy().astype(np.float32)}
    if form == "tiles":
        write_exr(path, {"RGB": COLOURS}, kind="tiledimage", tiles=openexr.TileDescription())
    elif form == "float":
        write_exr(path, {"RGB": COLOURS.astype(np.float32)})
    elif form == "layers":
        write_exr(path, {"RGB": COLOURS, "diffuse.RGB": COLOURS / 2, **depth})
    elif form == "layer":
        write_exr(path, {"beauty.RGB": COLOURS, **depth})
    elif form == "parts":
        openexr.File([part("beauty", {"RGB": COLOURS}), part("depth", {"Z": depth["depth.Z"]})]).write(str(path))
    else:
        write_exr(path, {"Y": COLOURS[..., 0].copy()})
        expected = np.repeat(COLOURS[..., :1], 3, 2)
    np.testing.assert_array_equal(read_plate(path, EXR).colours, expected)


def test_a_data_window_within_the_display_window_keeps_its_place(tmp_path):
    window = np.array([10, 5], np.int32), np.array([49, 28], np.int32)
    path = write_exr(tmp_path / "x.exr", {"RGB": COLOURS}, dataWindow=window, displayWindow=WINDOW)
    colours = read_plate(path, EXR).colours
    np.testing.assert_array_equal(colours[5:29, 10:50], COLOURS)
    assert image_size(path) == colours.shape[1::-1] == (60, 40)
    assert colours.sum() == pytest.approx(COLOURS.astype(np.float32).sum(), rel=1e-5)


def test_alpha_is_divided_out(tmp_path):
    alpha = np.linspace(0, 1, 24 * 40).reshape(24, 40).astype(np.float16)
    path = write_exr(tmp_path / "x.exr", {"RGBA": np.dstack((COLOURS * alpha[..., None], alpha))})
    plate = read_plate(path, EXR)
    np.testing.assert_array_equal(plate.alpha, alpha)
    np.testing.assert_allclose(plate.colours[1:], COLOURS[1:], rtol=3e-3)
    assert read_image(path).alpha.max() == 255


def test_chromaticities_are_the_space(tmp_path):
    path = write_exr(tmp_path / "x.exr", {"RGB": COLOURS}, chromaticities=AP1)
    assert read_plate(path, EXR).space == COLOUR_SPACES["acescg"]
    assert read_plate(write_exr(tmp_path / "y.exr", {"RGB": COLOURS}), EXR).space == COLOUR_SPACES["linear"]


def test_acescg_becomes_rec_709_by_the_published_matrix():
    """The matrix of the ACES project's reference, with Bradford adaptation from its white to D65."""
    expected = [[1.70505, -0.62179, -0.08326], [-0.13026, 1.14080, -0.01055], [-0.02400, -0.12897, 1.15297]]
    np.testing.assert_allclose(primaries_matrix(AP1, REC709), expected, atol=1e-5)
    np.testing.assert_allclose(primaries_matrix(AP1, REC709) @ primaries_matrix(REC709, AP1), np.eye(3), atol=1e-12)


def test_a_plate_shows_what_its_png_does():
    levels = np.arange(256, dtype=np.uint8)
    light = np.repeat(linear_light(levels / 255)[None, :, None], 3, 2)
    np.testing.assert_array_equal(plate_of(light, COLOUR_SPACES["linear"]).pixels()[0, :, 0], levels)
    through = light @ primaries_matrix(REC709, AP1).T
    shown = plate_of(through, COLOUR_SPACES["acescg"]).pixels()[0, :, 0]
    assert np.abs(shown.astype(int) - levels).max() <= 1
    values = plate_of(np.array([[[np.nan], [-1.0], [1e9], [np.inf]]], np.float32), COLOUR_SPACES["linear"]).pixels()
    assert values[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(("median", "exposure"), [(0.18, 1), (0.02, 1), (0.5, 1), (0.0011, 128), (2.9, 1 / 16)])
def test_only_dark_and_bright_plates_get_another_exposure(median, exposure):
    light = np.full((8, 8, 3), median, np.float32)
    light[:4, :3] = 0  # empty pixels do not count
    assert plate_of(light, COLOUR_SPACES["linear"]).exposure == exposure


@pytest.mark.parametrize("form", ["gbrp10le", "gbrp10be", "gbrp12le", "rgb48le", "rgb48be", "rgb24"])
def test_dpx_of_all_depths(tmp_path, form):
    pixels = (COLOURS.astype(np.float32) / 2 * 65535).astype(np.uint16)
    write_dpx(tmp_path / "x.dpx", pixels, form)
    bits = {"gbrp10": 10, "gbrp12": 12, "rgb48l": 16, "rgb48b": 16, "rgb24": 8}[form[:6]]
    plate = read_plate(tmp_path / "x.dpx", DPX)
    codes = plate.colours * (2**bits - 1)
    np.testing.assert_allclose(codes, np.rint(codes), atol=2e-2)  # float32 holds 24 bits
    np.testing.assert_allclose(plate.colours, pixels / 65535, atol=2 / (2**bits - 1))
    assert plate.space.transfer == "srgb"
    assert image_size(tmp_path / "x.dpx") == (40, 24)


def test_the_transfer_of_dpx_is_its_code(tmp_path):
    path = tmp_path / "x.dpx"
    codes = np.zeros((1, 3, 3), np.uint16) + np.array([95, 685, 1023])[None, :, None]
    write_dpx(path, (codes << 6 | codes >> 4).astype(np.uint16), "gbrp10be", 3)
    plate = read_plate(path, DPX)
    np.testing.assert_allclose(plate.light[0, :, 0], [0, 1, 13.53], atol=0.01)  # Cineon: black, white, the brightest
    write_dpx(path, (codes << 6 | codes >> 4).astype(np.uint16), "gbrp10be", 2)
    np.testing.assert_allclose(read_plate(path, DPX).light[0, :, 0], [95 / 1023, 685 / 1023, 1], atol=1e-3)
    assert read_plate(path, DPX, COLOUR_SPACES["srgb"]).space.transfer == "srgb"


def test_tags_of_a_tiff_and_a_given_space(tmp_path):
    path = tmp_path / "x.tif"
    light = np.repeat(linear_light(np.arange(200) / 255)[None, :, None], 3, 2)
    pairs = [Fraction(value).limit_denominator(100_000) for value in AP1]
    numbers = [number for pair in pairs for number in (pair.numerator, pair.denominator)]
    tags = [(319, "2I", 6, tuple(numbers[:12]), False), (318, "2I", 2, tuple(numbers[12:]), False)]
    in_ap1 = (light @ primaries_matrix(REC709, AP1).T).astype(np.float32)
    tifffile.imwrite(path, in_ap1, photometric="rgb", extratags=tags)
    assert np.abs(read_image(path).pixels[0, :, 0].astype(int) - np.arange(200)).max() <= 1
    tifffile.imwrite(path, np.rint(65535 * light).astype(np.uint16), photometric="rgb")
    view = LightView(COLOUR_SPACES["linear"], 1.0)
    np.testing.assert_array_equal(read_image(path, view).pixels[0, :, 0], np.arange(200))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_plate_that_is_cut_is_refused_not_black(tmp_path, share):
    path = write_exr(tmp_path / "x.exr", {"RGB": np.tile(COLOURS, (20, 4, 1))})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with raises(InputError, subject="x.exr", problem="it is incomplete"):
        read_image(path)
    write_dpx(tmp_path / "x.dpx", np.full((24, 40, 3), 30000, np.uint16), "gbrp10be")
    (tmp_path / "x.dpx").write_bytes((tmp_path / "x.dpx").read_bytes()[:3000])
    with raises(InputError, subject="x.dpx"):
        read_image(tmp_path / "x.dpx")


def test_what_cannot_be_shown_is_named(tmp_path):
    path = write_exr(tmp_path / "x.exr", {"Z": COLOURS[..., 0]})
    with raises(InputError, subject="x.exr", problem="no colours: channels R, G and B, or Y"):
        check_image_file(path)
    parts = [part("depth", {"Z": COLOURS[..., 0].copy()}), part("beauty", {"RGB": COLOURS})]
    openexr.File(parts).write(str(path))
    with raises(InputError, subject="x.exr", problem="its colours are not in the first part"):
        read_image(path)
    impossible = write_exr(tmp_path / "y.exr", {"RGB": COLOURS}, chromaticities=(0.1, 0.1) * 4)
    with raises(InputError, subject="y.exr", problem="impossible chromaticities"):
        read_image(impossible)


def test_what_is_written_has_the_space_and_the_values_of_the_plate(tmp_path):
    """Unchanged pixels keep light above 1; changed ones come back within half a level of 8 bits."""
    path = write_exr(tmp_path / "x.exr", {"RGB": COLOURS}, chromaticities=AP1)
    plate = read_plate(path, EXR)
    changed = plate.pixels().copy()
    changed[:12] = 128
    write_image(tmp_path / "y.exr", changed, plate=plate)
    header = openexr.File(str(tmp_path / "y.exr"))
    np.testing.assert_allclose(header.header()["chromaticities"], AP1, atol=1e-6)
    written = header.channels()["RGB"].pixels
    np.testing.assert_array_equal(written[12:], COLOURS[12:])
    assert written[12:].max() > 1.5
    assert np.unique(read_plate(tmp_path / "y.exr", EXR).pixels(plate.exposure)[:12]).tolist() == [128]
