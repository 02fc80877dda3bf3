"""Fabrics, prints and what is sampled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from helpers.cached_body import body
from helpers.synthetic_people import PLAIN, outfit, person, shirt

from humanpose_cli.lab.synthetic.atlas import ASPECT, TILES, atlas_texels
from humanpose_cli.lab.synthetic.dressing import dress_identity
from humanpose_cli.lab.synthetic.fabrics import (
    PATTERNS,
    PRINT,
    TILE,
    Fabric,
    cloth_colour,
    cloth_palette,
    draw_print,
    fabric_tile,
    wrinkle_tile,
)
from humanpose_cli.lab.synthetic.people import HAIR_STYLES, sample_identity, sample_outfit
from humanpose_cli.lab.synthetic.tiles import octave_noise


@pytest.mark.parametrize("pattern", PATTERNS)
def test_tiles_are_seamless(pattern):
    """The step over the edge is no larger than the steps inside."""
    for seed in range(3):
        colours = cloth_palette(np.random.default_rng(seed))
        tile = fabric_tile(Fabric(pattern, colours, 0.2, 0.5, seed)).astype(float)
        assert tile.shape == (TILE, TILE, 3)
        for axis in (0, 1):
            steps = np.abs(np.diff(tile, axis=axis)).mean((1 - axis, 2))
            over = np.abs(np.take(tile, 0, axis) - np.take(tile, -1, axis)).mean()
            assert over <= steps.max() + 1


def test_tiles_come_from_their_seed():
    assert (fabric_tile(PLAIN) == fabric_tile(PLAIN)).all()
    assert (fabric_tile(PLAIN) != fabric_tile(replace(PLAIN, seed=2))).any()
    assert wrinkle_tile(PLAIN).std() > wrinkle_tile(replace(PLAIN, wrinkles=0.1)).std()


def test_noise_is_seamless_and_normalised():
    field = octave_noise(32)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(field[0] - field[-1]).mean() < 1.5 * np.abs(np.diff(field, axis=0)).mean()


def test_prints_have_something_on_them():
    for seed in range(20):
        image = draw_print(np.random.default_rng(seed))
        assert image.shape == (PRINT, PRINT, 4)
        assert (image[..., 3] > 0).mean() > 0.01


def test_tiles_of_the_atlas_do_not_overlap():
    use = np.zeros((400, round(400 * ASPECT)), int)
    for tile in TILES.values():
        use[tile.slices(400)] += 1
    assert use.max() == 1


def test_a_shirt_is_painted_where_it_lies():
    """A red shirt on bare skin: trunk and arms are red in the texture, hands and legs are not."""
    identity = replace(person(1)[0], skin=(200.0, 160.0, 130.0))
    mesh = dress_identity(
        body(), identity, outfit(top=replace(shirt(), fabric=replace(PLAIN, wrinkles=0.0))), texture_size=128
    )
    texels = atlas_texels(body(), 128)
    colour = mesh.texture.reshape(-1, 3)[texels.rows].astype(int)
    red = (colour[:, 0] > 120) & (colour[:, 1] < 60)
    at = texels.coordinates
    trunk = ~at.is_arm & (at.y > 0.05) & (at.y < 0.4) & (np.abs(at.x) < 0.12)
    assert red[trunk & ~texels.head].mean() > 0.97
    assert red[at.is_arm & (at.arm < 0.4)].mean() > 0.95
    assert red[at.is_arm & (at.arm > 0.5)].mean() < 0.02
    assert red[~at.is_arm & (at.leg > 0.2)].mean() < 0.02


@pytest.mark.slow
def test_all_kinds_of_people_and_clothes_are_drawn():
    counts: Counter[str] = Counter()
    for seed in range(400):
        random = np.random.default_rng(seed)
        identity = sample_identity(random, "")
        outfit = sample_outfit(random, "")
        counts[identity.hair.style] += 1
        counts[outfit.shoes.kind] += 1
        counts.update(
            name for name in ("top", "bottom", "skirt", "outer", "tail", "headwear", "scarf") if getattr(outfit, name)
        )
    for kind in (*HAIR_STYLES, "barefoot", "boots", "skirt", "outer", "tail", "headwear", "scarf"):
        assert counts[kind] >= 8, kind
    assert counts["top"] > 380
    assert 230 < counts["bottom"] < 390


def test_shapes_are_wider_than_the_average_persons():
    betas = np.stack([sample_identity(np.random.default_rng(seed), "").betas for seed in range(400)])
    assert betas.dtype == np.float32
    assert 1.02 < betas.std() < 1.25
    assert abs(betas.mean()) < 0.06
    assert np.abs(betas).max() <= 2.8 + 1e-6


def test_clothes_have_the_brightness_of_clothes():
    """Many darks, some whites, not grey on average by chance alone."""
    random = np.random.default_rng(1)
    grey = np.array([np.mean(cloth_colour(random)) for _ in range(1500)])
    assert (grey < 70).mean() > 0.25
    assert (grey > 190).mean() > 0.1
    assert grey.std() > 55
