"""Looks of people: their files, and what is drawn of them."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.avatar.look import Look, Sheet, look_arrays, look_path, read_look
from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.io.atomic import write_npz

BODY = default_body()


def sample_look() -> Look:
    generator = np.random.default_rng(0)
    sheet = Sheet(
        rest=generator.random((6, 3)).astype(np.float32),
        faces=np.array([[0, 1, 2], [3, 4, 5]]),
        bones=generator.integers(0, 24, (6, 4)),
        weights=np.full((6, 4), 0.25),
        uv=generator.random((6, 2)).astype(np.float32),
        image=generator.integers(0, 255, (5, 7, 3), np.uint8),
    )
    offsets = generator.normal(0, 0.01, BODY.template.shape).astype(np.float32)
    return Look(generator.integers(0, 255, (8, 8, 3), np.uint8), offsets, (sheet, sheet))


def test_a_file_holds_the_look_of_its_rows_and_body(tmp_path):
    path, look = look_path(tmp_path / "a.fit.npz", 3), sample_look()
    assert path.name == "a.person3.look.npz"
    write_npz(path, look_arrays(look, BODY.name, "rows"))
    same = read_look(path, BODY, "rows")
    np.testing.assert_array_equal(same.texture, look.texture)
    np.testing.assert_array_equal(same.offsets, look.offsets)
    for sheet, expected in zip(same.sheets, look.sheets, strict=True):
        for field in fields(Sheet):
            np.testing.assert_array_equal(getattr(sheet, field.name), getattr(expected, field.name))
    assert read_look(path, BODY, "other rows") is None
    write_npz(path, look_arrays(look, "smpl-neutral", "rows"))
    assert read_look(path, BODY, "rows") is None


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("offsets", np.zeros((9, 3), np.float32)),
        ("texture", np.zeros((8, 8), np.uint8)),
        ("sheet1_faces", np.array([[0, 1, 6]], np.int32)),
        ("sheet1_bones", np.full((6, 4), 24, np.uint8)),
        ("sheet0_rest", np.full((6, 3), np.nan, np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, name, array):
    path = tmp_path / "a.person0.look.npz"
    write_npz(path, {**look_arrays(sample_look(), BODY.name, "rows"), name: array})
    with raises(InputError, subject=path.name, remedy="--textures"):
        read_look(path, BODY, "rows")


def test_surfaces_move_with_the_bones():
    """Turned by a quarter about z and shifted by 5 m, offsets and sheets are, too."""
    look, turn = sample_look(), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    linear, shifts = turn.expand(len(SMPL24), 3, 3), torch.tensor([5.0, 0, 0]).expand(len(SMPL24), 3)
    template = BODY.template @ turn.mT + shifts[0]
    body, *sheets = look.surfaces(BODY, template, linear, shifts)
    expected = (BODY.template + torch.from_numpy(look.offsets)) @ turn.mT + shifts[0]
    assert (body.vertices - expected).abs().max() < 1e-5
    assert body.texture.image is look.texture
    rest = torch.from_numpy(look.sheets[0].rest)
    assert [sheet.texture.image.shape for sheet in sheets] == [(5, 7, 3)] * 2
    assert (sheets[0].vertices - (rest @ turn.mT + shifts[0])).abs().max() < 1e-5
