"""Motion capture files: C3D and NASA's Common Data Format."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from helpers.dataset_files import write_cdf
from helpers.errors import raises
from helpers.humaneva_tree import LABELS, moving_points, write_c3d

from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.datasets.mocap_files import cdf_shape, read_c3d, read_cdf

POSITIONS = moving_points(5)


@pytest.mark.parametrize("machine", [84, 85, 86])
@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("analog", [0, 3])
def test_points_come_back(tmp_path, machine, floats, analog):
    path = tmp_path / "Walking_1.c3d"
    positions = POSITIONS if floats else POSITIONS / 10  # integers reach to 327 in hundredths
    write_c3d(path, positions, machine=machine, floats=floats, analog=analog)
    points = read_c3d(path)
    assert tuple(points.labels) == LABELS
    assert points.unit == "mm"
    np.testing.assert_allclose(points.positions, positions, atol=1e-3 if floats else 0.0051)


def test_labels_may_begin_with_the_actors_name(tmp_path):
    write_c3d(tmp_path / "a.c3d", POSITIONS[:, :2], labels=("S1:LSHO", "S1:PELO"))
    points = read_c3d(tmp_path / "a.c3d")
    assert points.find("PELO") == 1
    with raises(InputError, subject="a.c3d", got="S1:LSHO, S1:PELO"):
        points.find("TRXO")


def test_another_reader_of_c3d_agrees(tmp_path):
    ezc3d = pytest.importorskip("ezc3d")
    write_c3d(tmp_path / "a.c3d", POSITIONS, analog=0)
    points = ezc3d.c3d(str(tmp_path / "a.c3d"))["data"]["points"][:3]
    np.testing.assert_allclose(read_c3d(tmp_path / "a.c3d").positions, points.transpose(2, 1, 0), atol=1e-3)


def test_damaged_files_are_reported(tmp_path):
    path = tmp_path / "Box_1.c3d"
    write_c3d(path, POSITIONS)
    path.write_bytes(path.read_bytes()[:-5000])
    with raises(InputError, subject="Box_1.c3d"):
        read_c3d(path)


VALUES = np.random.default_rng(0).normal(size=(5, 96))


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("compression", [True, False])
@pytest.mark.parametrize("big", [True, False])
@pytest.mark.parametrize("majority", [1, 0])
def test_values_come_back(tmp_path, wide, compression, big, majority):
    path = tmp_path / "Directions 1.cdf"
    write_cdf(path, VALUES, wide=wide, packed=compression, big=big, majority=majority)
    assert cdf_shape(path, "Pose") == (1, 5, 96)
    np.testing.assert_array_equal(read_cdf(path, "Pose"), VALUES[None])


def test_another_reader_agrees(tmp_path):
    cdflib = pytest.importorskip("cdflib")
    path = tmp_path / "a.cdf"
    write_cdf(path, VALUES)
    np.testing.assert_array_equal(cdflib.CDF(str(path))["Pose"], VALUES[None])


@pytest.mark.parametrize("wide", [True, False])
def test_a_file_compressed_completely(tmp_path, wide):
    plain, path = tmp_path / "plain.cdf", tmp_path / "packed.cdf"
    write_cdf(plain, VALUES, wide=wide)
    content = plain.read_bytes()
    code = "q" if wide else "i"
    compressor = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    data = compressor.compress(content[8:]) + compressor.flush()
    head = struct.calcsize(f">{code}i{code}{code}i")
    parameters = 8 + head + len(data)
    record = struct.pack(f">{code}i{code}{code}i", head + len(data), 10, parameters, len(content), 0)
    method_record = struct.pack(f">{code}iiiii", struct.calcsize(f">{code}iiiii"), 11, 5, 0, 1, 9)
    path.write_bytes(content[:4] + struct.pack(">I", 0xCCCC0001) + record + data + method_record)
    np.testing.assert_array_equal(read_cdf(path, "Pose"), VALUES[None])


def test_a_file_without_the_variable_is_reported(tmp_path):
    write_cdf(tmp_path / "a.cdf", VALUES, name="Angles")
    with raises(InputError, subject="a.cdf", got="Angles"):
        read_cdf(tmp_path / "a.cdf", "Pose")
