"""Reading motion capture files."""

from __future__ import annotations

import numpy as np
import pytest
from humaneva_tree import LABELS, moving_points, write_c3d

from humanpose_cli.core.errors import InputError
from humanpose_cli.datasets.mocap_files import read_c3d

PLACES = moving_points(5)


@pytest.mark.parametrize("machine", [84, 85, 86])
@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("analog", [0, 3])
def test_points_come_back(tmp_path, machine, floats, analog):
    path = tmp_path / "Walking_1.c3d"
    places = PLACES if floats else PLACES / 10  # integers reach to 327 in hundredths
    write_c3d(path, places, machine=machine, floats=floats, analog=analog)
    found = read_c3d(path)
    assert tuple(found.labels) == LABELS
    assert found.unit == "mm"
    np.testing.assert_allclose(found.positions, places, atol=1e-3 if floats else 0.0051)


def test_labels_may_begin_with_the_actors_name(tmp_path):
    write_c3d(tmp_path / "a.c3d", PLACES[:, :2], labels=("S1:LSHO", "S1:PELO"))
    found = read_c3d(tmp_path / "a.c3d")
    assert found.find("PELO") == 1
    with pytest.raises(InputError, match=r"a\.c3d: has no point TRXO, found S1:LSHO, S1:PELO"):
        found.find("TRXO")


def test_another_reader_agrees(tmp_path):
    ezc3d = pytest.importorskip("ezc3d")
    write_c3d(tmp_path / "a.c3d", PLACES, analog=0)
    points = ezc3d.c3d(str(tmp_path / "a.c3d"))["data"]["points"][:3]
    np.testing.assert_allclose(read_c3d(tmp_path / "a.c3d").positions, points.transpose(2, 1, 0), atol=1e-3)


def test_damaged_files_are_told(tmp_path):
    path = tmp_path / "Box_1.c3d"
    with pytest.raises(InputError, match=r"Box_1\.c3d: does not exist"):
        read_c3d(path)
    path.write_text("no motion capture" * 100)
    with pytest.raises(InputError, match=r"Box_1\.c3d: is no C3D file, found text"):
        read_c3d(path)
    write_c3d(path, PLACES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5000])
    with pytest.raises(InputError, match=r"Box_1\.c3d: is cut short, expected 5 frames, found \d;"):
        read_c3d(path)
    path.write_bytes(whole[:515] + b"\x01" + whole[516:])
    with pytest.raises(InputError, match=r"Box_1\.c3d: is a damaged C3D file \(of an unknown machine"):
        read_c3d(path)


def test_any_damage_gives_points_or_a_sentence(tmp_path):
    path = tmp_path / "damaged.c3d"
    write_c3d(path, PLACES[:2], analog=0)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        for place in random.integers(1200, size=3):
            broken[place] = random.integers(256)
        path.write_bytes(bytes(broken[: random.integers(600, len(whole) + 1)]))
        try:
            read_c3d(path)
        except InputError:
            refused += 1
    assert refused > 50
