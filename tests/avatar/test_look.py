"""Looks of people: their files, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises
from helpers.garments import worn

from humanpose_cli.avatar.look import Look, look_arrays, look_path, read_look
from humanpose_cli.body.body import PosedBody, default_body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError
from humanpose_cli.outputs.atomic import write_npz

BODY = default_body()
SKIRT = worn(BODY, np.zeros(10)).garments[0]


def sample_look() -> Look:
    generator = np.random.default_rng(0)
    offsets = generator.normal(0, 0.01, BODY.template.shape).astype(np.float32)
    return replace(worn(BODY, np.zeros(10)), texture=generator.integers(0, 255, (8, 8, 3), np.uint8), offsets=offsets)


def test_a_file_holds_the_look_of_its_rows_and_body(tmp_path):
    path, look = look_path(tmp_path / "a.fit.npz", 3), sample_look()
    assert path.name == "a.person3.look.npz"
    write_npz(path, look_arrays(look, BODY.name, "rows"))
    same = read_look(path, BODY, "rows")
    np.testing.assert_array_equal(same.texture, look.texture)
    np.testing.assert_array_equal(same.offsets, look.offsets)
    np.testing.assert_array_equal(same.hidden, look.hidden)
    assert [garment.name for garment in same.garments] == ["skirt", "band"]
    for garment, expected in zip(same.garments, look.garments, strict=True):
        for name, array in vars(garment).items():
            np.testing.assert_array_equal(array, getattr(expected, name))
    assert read_look(path, BODY, "other rows") is None
    write_npz(path, look_arrays(look, "smpl-neutral", "rows"))
    assert read_look(path, BODY, "rows") is None


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("offsets", np.zeros((9, 3), np.float32)),
        ("texture", np.zeros((8, 8), np.uint8)),
        ("offsets", np.full(BODY.template.shape, 1e30, np.float32)),
        ("hidden", np.zeros(9, bool)),
        ("hidden", np.ones(len(BODY.faces), bool)),  # nothing would be left of the body
        ("garments", np.array(["skirt", "../band"])),
        ("garments", np.array(5)),
        ("skirt.vertices", np.full_like(SKIRT.vertices, 11)),
        ("skirt.vertices", np.full_like(SKIRT.vertices, np.nan)),
        ("skirt.faces", SKIRT.faces + 1),
        ("skirt.faces", SKIRT.faces[:0]),
        ("skirt.uv_faces", SKIRT.uv_faces[1:]),
        ("skirt.bones", SKIRT.bones - 1),
        ("skirt.weights", SKIRT.weights / 2),
        ("skirt.image", SKIRT.image[..., :2]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, name, array):
    path = tmp_path / "a.person0.look.npz"
    write_npz(path, {**look_arrays(sample_look(), BODY.name, "rows"), name: array})
    with raises(InputError, subject=path.name):
        read_look(path, BODY, "rows")


def test_offsets_turn_with_the_bones():
    """Turned by a quarter about z and shifted by 5 m."""
    look, turn = sample_look(), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    shift = torch.tensor([5.0, 0, 0])
    linear, joints = turn.expand(1, len(SMPL24), 3, 3), torch.zeros(1, len(SMPL24), 3)
    posed = PosedBody((BODY.template @ turn.mT + shift)[None], joints, linear, linear, joints)
    body, skirt, _ = look.surfaces(BODY, posed)
    expected = (BODY.template + torch.from_numpy(look.offsets)) @ turn.mT + shift
    assert (body.vertices - expected).abs().max() < 1e-5
    assert body.texture.image is look.texture
    assert len(body.faces) == len(body.texture.uv_faces) == (~look.hidden).sum()
    assert (skirt.vertices - torch.from_numpy(SKIRT.vertices) @ turn.mT).abs().max() < 1e-5
