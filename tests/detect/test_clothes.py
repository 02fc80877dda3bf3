"""Colours of clothes: where they are taken, and how they are compared."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.coloured_figures import BLUE, RED, frame_of, person_at

from humanpose_cli.detect.clothes import body_colours, colour_difference, median_colours
from humanpose_cli.detect.linking import TrackLinker


def lab(colour: tuple[int, int, int]) -> np.ndarray:
    return cv2.cvtColor(np.float32([[colour]]) / 255, cv2.COLOR_RGB2LAB)[0, 0]


def test_colours_are_those_of_the_spots() -> None:
    colours = body_colours(person_at(100), frame_of((100, RED)))
    assert np.allclose(colours[:5, :3], lab(RED), atol=0.5)
    assert (colours[:5, 3] == 1).all()
    outside = body_colours(person_at(-200), frame_of())
    assert (outside[:, 3] == 0).all()


def test_medians_are_of_the_images_that_show_a_spot() -> None:
    red, blue = (body_colours(person_at(100), frame_of((100, colour))) for colour in (RED, BLUE))
    hidden = np.zeros_like(red)
    colours = median_colours([red, hidden, red, blue])
    assert np.allclose(colours[:5, :3], lab(RED), atol=0.5)
    assert np.allclose(colours[:5, 3], 0.75)


def test_differences_are_those_of_cielab_with_less_lightness() -> None:
    red, blue = (np.tile((*lab(colour), 1.0), (6, 1)) for colour in (RED, BLUE))
    darker = red - (20, 0, 0, 0)
    assert colour_difference(red, darker, 1.0) == pytest.approx(20)
    assert colour_difference(red, darker, 0.4) == pytest.approx(8)
    assert colour_difference(red, blue, 0.4) == 40  # and no more, however different
    assert colour_difference(red, red * (1, 1, 1, 0.01), 0.4) == 0
    assert colour_difference(red, red * (1, 1, 1, 0), 0.4) is None


def test_the_clothes_of_a_person_are_those_of_rows_that_no_other_person_covers() -> None:
    """Of two who meet, where one hides the other."""
    linker = TrackLinker()
    for t in range(40):
        people = [(100 + 5 * t, RED), (300 - 5 * t, BLUE)]
        linker.add([person_at(x) for x, _ in people], frame_of(*people))
    clothes = linker.clothes(linker.tracks())
    for number, colour in enumerate((RED, BLUE)):
        assert np.allclose(clothes[number][:5, :3], lab(colour), atol=0.5)
