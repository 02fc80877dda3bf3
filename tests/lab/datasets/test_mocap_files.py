"""Motion capture files: C3D and NASA's Common Data Format."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.dataset_files import write_cdf
from helpers.errors import raises
from helpers.humaneva_tree import LABELS, moving_points, write_c3d

from humanpose_cli.core.errors import InputError, UnavailableError
from humanpose_cli.lab.datasets.mocap_files import cdf_shape, read_c3d, read_cdf

POSITIONS = moving_points(5)
VALUES = np.random.default_rng(0).normal(size=(5, 96))


@pytest.mark.parametrize("analog", [0, 3])
def test_points_come_back(tmp_path, analog):
    path = tmp_path / "Walking_1.c3d"
    positions = POSITIONS.copy()
    positions[2, 7] = np.nan
    write_c3d(path, positions, analog=analog)
    points = read_c3d(path)
    assert tuple(points.labels) == LABELS
    assert points.unit == "mm"
    np.testing.assert_allclose(points.positions, np.nan_to_num(positions), atol=1e-3)


def test_labels_may_begin_with_the_actors_name(tmp_path):
    write_c3d(tmp_path / "a.c3d", POSITIONS[:, :2], labels=("S1:LSHO", "S1:PELO"))
    points = read_c3d(tmp_path / "a.c3d")
    assert points.find("PELO") == 1
    with raises(InputError, subject="a.c3d", got="S1:LSHO, S1:PELO"):
        points.find("TRXO")


def test_a_truncated_c3d_file_is_reported(tmp_path):
    path = tmp_path / "Box_1.c3d"
    write_c3d(path, POSITIONS)
    path.write_bytes(path.read_bytes()[:-5000])
    with raises(InputError, subject="Box_1.c3d", problem="is cut short", expected="5 frames"):
        read_c3d(path)


@pytest.mark.parametrize("compress", [0, 6])
def test_values_come_back(tmp_path, compress):
    path = tmp_path / "Directions 1.cdf"
    write_cdf(path, VALUES, compress=compress)
    assert cdf_shape(path, "Pose") == (1, 5, 96)
    np.testing.assert_array_equal(read_cdf(path, "Pose"), VALUES[None])


def test_a_truncated_cdf_file_is_reported(tmp_path):
    path = tmp_path / "a.cdf"
    write_cdf(path, VALUES)
    path.write_bytes(path.read_bytes()[:-100])
    with raises(InputError, subject="a.cdf", problem="is no CDF file, or a damaged one"):
        read_cdf(path, "Pose")


def test_a_file_without_the_variable_is_reported(tmp_path):
    write_cdf(tmp_path / "a.cdf", VALUES, name="Angles")
    with raises(InputError, subject="a.cdf", got="Angles"):
        read_cdf(tmp_path / "a.cdf", "Pose")


@pytest.mark.parametrize(
    ("name", "read", "module", "extra"),
    [("a.c3d", read_c3d, "ezc3d", "c3d"), ("a.cdf", lambda path: cdf_shape(path, "Pose"), "cdflib", "cdf")],
)
def test_readers_need_a_file_of_their_kind_and_an_extra(tmp_path, monkeypatch, name, read, module, extra):
    pytest.importorskip(module)
    with raises(InputError, subject=name):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(b"%PDF-1.7 \xff")
    with raises(InputError, subject=name, got="a PDF document"):
        read(tmp_path / name)
    monkeypatch.setattr("humanpose_cli.core.extras.find_spec", lambda _: None)
    with raises(UnavailableError, remedy=f'pip install "humanpose-cli[{extra}]"'):
        read(tmp_path / name)
