"""The texture of a person over frames: every side as the frame that shows it has it, and nothing of what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.repose_stage import STANDING, Stage, painted_stage, pose

from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import (
    Aligned,
    PhotographedPerson,
    align,
    bake,
    complete,
    dress,
    dress_over_frames,
    take_light_off,
)
from humanpose_cli.avatar.surface import body_texels
from humanpose_cli.body.texture import bleed_islands

OPTIONS = MeshOptions(texture_size=256)
FRONT, BACK = (200, 60, 50), (40, 90, 190)
TURNS = (0.0, 2.1, 4.2)


@pytest.fixture(scope="module")
def two_coloured() -> Stage:
    """The stage's person, red before the middle and blue behind it."""
    stage = painted_stage()
    texels = body_texels(stage.body, 1024).fine
    depth = texels.interpolate(stage.body.template.numpy(), stage.body.faces)[..., 2]
    texture = np.where(depth[..., None] > 0, FRONT, BACK).astype(np.float32) / 255
    texture[~texels.covered] = 0
    bleed_islands(texture, texels.covered)
    return replace(stage, texture=texture)


def aligned(stage: Stage, turn: float) -> Aligned:
    photo, mask = stage.person(pose(turn, **STANDING))
    return align(PhotographedPerson.of(photo, mask, stage.fitted(pose(turn, **STANDING))), stage.body)


@pytest.mark.slow
def test_colours_of_all_sides_come_back(two_coloured):
    frames = [aligned(two_coloured, turn) for turn in TURNS]
    texture = dress_over_frames(frames, OPTIONS).texture
    again = dress_over_frames(frames, OPTIONS).texture
    assert (texture.image == again.image).all()
    covered = body_texels(two_coloured.body, 256).fine.covered
    certain = covered & (texture.image[..., 3] > 0.95)
    alone = dress_over_frames(frames[:1], OPTIONS).texture
    assert certain.sum() > 1.5 * (covered & (alone.image[..., 3] > 0.95)).sum()
    truth = two_coloured.texture[2::4, 2::4]
    error = 255 * np.abs(texture.image[..., :3] - truth).max(2)[certain]
    assert np.median(error) < 4
    assert np.quantile(error, 0.9) < 12


@pytest.mark.extensive
def test_one_frame_gives_what_a_photograph_gives(two_coloured):
    photograph = aligned(two_coloured, 0.3)
    texture = complete(take_light_off(bake(dress(photograph, OPTIONS), OPTIONS))).texture
    assert (dress_over_frames([photograph], OPTIONS).texture.image == texture.image).all()
