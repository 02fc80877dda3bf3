"""Which offsets fill a hole, and which pixel takes which."""

import numpy as np

from humanpose_cli.avatar.shift_map import choose_offsets, likely_offsets


def test_the_period_of_a_pattern_is_the_likeliest_offset() -> None:
    y, x = np.mgrid[:90, :120].astype(np.float32)
    value = 120 + 60 * np.sin(2 * np.pi * x / 20) * np.sin(2 * np.pi * y / 14)
    image = np.repeat(value[..., None], 3, 2) + np.random.default_rng(0).normal(0, 1, (90, 120, 3)).astype(np.float32)
    hole = np.zeros((90, 120), bool)
    hole[30:60, 45:75] = True
    likely = likely_offsets(image.astype(np.float32), ~hole, hole)[:4]
    assert (np.abs(likely) > 0).any(1).all()
    np.testing.assert_array_equal(likely[:, 0] % 7, 0)  # half periods in both directions are a period of the product
    np.testing.assert_array_equal(likely[:, 1] % 10, 0)


def test_a_post_has_more_influence_than_the_wall_beside_it() -> None:
    """The likeliest offsets lead along the slanted post, though nine tenths of the image are plain."""
    y, x = np.mgrid[:80, :100]
    post = np.abs(x - 50 + 0.5 * (y - 40)) < 5
    image = np.where(post[..., None], np.float32(70), np.float32(200)) * np.ones(3, np.float32)
    hole = (np.abs(x - 50) < 12) & (np.abs(y - 40) < 12)
    likely = likely_offsets(image, ~hole, hole)[:4]
    np.testing.assert_array_equal(likely[:, 1], -0.5 * likely[:, 0])


def test_every_missing_pixel_has_an_offset_to_a_present_one() -> None:
    """Also where nothing but a corner is known, and nothing resembles itself."""
    usable = np.zeros((60, 80), bool)
    usable[:24, :30] = True
    offsets = likely_offsets(np.full((60, 80, 3), 90, np.float32), usable, ~usable)
    ys, xs = np.nonzero(~usable)
    reached = np.zeros(len(ys), bool)
    for dy, dx in offsets:
        y, x = ys + dy, xs + dx
        inside = (y >= 0) & (y < 60) & (x >= 0) & (x < 80)
        reached[inside] |= usable[y[inside], x[inside]]
    assert reached.all()


def test_a_seam_runs_where_both_copies_agree() -> None:
    """Two plains and a hole over their border: the border goes on straight, at the cost of no seam at all."""
    image = np.full((40, 60, 3), 200, np.float32)
    image[:, 30:] = 60
    hole = np.zeros((40, 60), bool)
    hole[12:28, 22:38] = True
    truth = image.copy()
    image[hole] = 0
    offsets = np.array([(0, 12), (0, -12), (14, 0), (-14, 0), (0, 20), (0, -20)])
    numbers = choose_offsets(image, ~hole, hole, offsets)
    ys, xs = np.nonzero(hole)
    shown = image[ys + offsets[numbers[hole], 0], xs + offsets[numbers[hole], 1]]
    np.testing.assert_array_equal(shown, truth[hole])
