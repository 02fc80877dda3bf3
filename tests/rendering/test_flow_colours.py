"""The colour wheel of optical flow, and arrows."""

import numpy as np
import pytest

from humanpose_cli.rendering.flow_colours import colour_wheel, draw_arrows, flow_colours


@pytest.mark.parametrize(
    ("displacement", "colour"),
    [
        ((0, 0), (255, 255, 255)),
        ((4, 0), (255, 0, 0)),
        ((2, 0), (255, 128, 128)),
        ((8, 0), (191, 0, 0)),
        ((0, 4), (255, 232, 0)),  # a quarter of 55 steps: 13.75 of the 15 from red to yellow, 255 · 13.75 / 15 = 234
    ],
)
def test_reference_colours(displacement, colour):
    found = flow_colours(np.array(displacement, float), 4)
    np.testing.assert_allclose(found, colour, atol=2)


def test_opposite_directions_differ_and_the_wheel_closes():
    turn = np.linspace(0, 2 * np.pi, 361)
    colours = flow_colours(np.stack((np.cos(turn), np.sin(turn)), 1), 1).astype(int)
    assert np.abs(np.diff(colours, axis=0)).max() <= 12  # 360 steps of 1530 values, faster where hues are few
    np.testing.assert_array_equal(colours[0], colours[-1])
    assert np.abs(colours[:180] - colours[180:360]).sum(1).min() > 200


def test_the_legend_has_the_colours_of_the_displacements_it_shows():
    wheel = colour_wheel(41)
    assert wheel.shape == (41, 41, 3)
    np.testing.assert_array_equal(wheel[0, 0], 255)
    offset = (np.array([30, 12]) + 0.5) / 41 * 2 - 1
    np.testing.assert_array_equal(wheel[12, 30], flow_colours(offset, 1))


def test_an_arrow_leads_from_the_position_along_the_displacement():
    image = np.full((40, 60, 3), 255, np.uint8)
    draw_arrows(image, np.array([[10.5, 20.5]]), np.array([[30.0, 0.0]]), np.array([[255, 0, 0]]))
    y, x = np.nonzero((image != 255).any(-1))
    assert 7 <= x.min() <= 10
    assert 40 <= x.max() <= 43
    np.testing.assert_allclose(image[20, 25], [255, 0, 0], atol=30)  # its edges are smoothed
    assert y[x < 28].max() - y[x < 28].min() <= 6  # the shaft
    assert y[x > 32].max() - y[x > 32].min() >= 8  # the head
