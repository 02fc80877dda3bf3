"""Textures from several frames: means without outliers, marked holes, files, and a known texture found again."""

import numpy as np
import pytest
from helpers.errors import raises
from helpers.walking_person import CAMERA, patchwork

from humanpose_cli.avatar.frame_texture import TextureSamples, read_texture, robust_mean, texture_png
from humanpose_cli.avatar.person_view import bake_view, person_views
from humanpose_cli.body.texture import BakedTexture
from humanpose_cli.core.errors import InputError
from humanpose_cli.fitting.overlays import body_vertices
from humanpose_cli.io.images import write_image


def test_an_outlier_among_samples_counts_for_nothing():
    samples = np.array([0.30, 0.32, 0.31, 0.95])[:, None, None] * np.ones((4, 1, 3))
    colour, weight = robust_mean(samples, np.ones((4, 1)))
    np.testing.assert_allclose(colour, 0.31, atol=0.005)
    assert weight[0] == pytest.approx(3, abs=0.1)


def test_weights_decide_where_samples_differ():
    samples = np.array([0.2, 0.9])[:, None, None] * np.ones((2, 1, 3))
    colour, _ = robust_mean(samples, np.array([[1.0], [0.1]]))
    np.testing.assert_allclose(colour, 0.2, atol=0.02)


def test_holes_are_marked_and_have_their_surroundings_colours():
    samples, confidence = TextureSamples(16), np.zeros((16, 16), np.float32)
    confidence[:, :8] = 1
    for _ in range(2):
        samples.add(BakedTexture(np.full((16, 16, 3), 0.6, np.float32), confidence, confidence > 0))
    texture = samples.texture(np.ones((16, 16), bool))
    assert (texture[:, :8, 3] == 255).all()
    assert (texture[:, 8:, 3] == 0).all()
    np.testing.assert_allclose(texture[..., :3], 0.6 * 255, atol=2)


def test_without_samples_everything_is_a_hole():
    assert not TextureSamples(8).texture(np.ones((8, 8), bool))[..., 3].any()


def test_a_file_gives_back_what_was_written(tmp_path, texels):
    texture = np.rint(patchwork(None) * 255).astype(np.uint8)
    texture[:100, :, 3] = 0
    write_image(tmp_path / "a.png", texture)
    again = read_texture(tmp_path / "a.png", texels.covered, "default")
    mask = texels.covered & (texture[..., 3] > 0)
    np.testing.assert_allclose(again[mask].astype(int), texture[mask], atol=1)
    assert not again[:100, :, 3][texels.covered[:100]].any()
    with raises(InputError, problem="no texture of a body"):
        read_texture(tmp_path / "a.png", np.ones((64, 64), bool), "default")


def test_a_texture_names_its_body_and_another_bodys_is_refused(tmp_path, texels):
    """Files of earlier versions, which tell none, are taken for any."""
    texture = np.rint(patchwork(None) * 255).astype(np.uint8)
    (tmp_path / "told.png").write_bytes(texture_png(texture, "smpl-neutral"))
    write_image(tmp_path / "untold.png", texture)
    texture_with_name = read_texture(tmp_path / "told.png", texels.covered, "smpl-neutral")
    np.testing.assert_array_equal(texture_with_name, read_texture(tmp_path / "untold.png", texels.covered, "default"))
    with raises(
        InputError, subject="told.png", problem="is a texture of another body", expected="default", got="smpl-neu"
    ):
        read_texture(tmp_path / "told.png", texels.covered, "default")


@pytest.mark.slow
def test_a_texture_is_recovered_although_a_frame_is_wrong(body, walk, texels):
    fit = walk.fit()
    samples = TextureSamples(256)
    for frame, pixels in enumerate(walk.frames):
        if frame == 2:
            pixels = np.full_like(pixels, 255)
        vertices = body_vertices(body, fit, np.array([frame]))
        (view,) = person_views(pixels, vertices, body.faces, CAMERA, 384)
        samples.add(bake_view(view, body, vertices[0], None, texels))
    texture = samples.texture(texels.covered).astype(float) / 255
    mask = texels.covered & (texture[..., 3] > 0.9)
    assert 0.15 < mask.sum() / texels.covered.sum() < 0.6  # the front, without its outline
    # Patches of 16 texels are some 12 pixels wide: their insides agree, their borders are smooth.
    error = np.abs(texture[mask][:, :3] - patchwork(body)[mask][:, :3]).max(1)
    assert np.median(error) < 0.05
