"""Arms before a body of another colour."""

import numpy as np
import pytest

from humanpose_cli.avatar.untangle import mixed_up

SKIN, SHIRT = np.array([205, 150, 125]), np.array([40, 60, 130])


def picture(arm_colour: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A trunk with an arm across it; the fitted arm lies `shift` pixels too low."""
    body, arm, fitted = (np.zeros((200, 160), bool) for _ in range(3))
    body[20:180, 30:130] = True
    arm[80:100, 30:130] = True
    fitted[80 + shift : 100 + shift, 30:130] = True
    image = np.full((200, 160, 3), 128.0)
    image[body], image[arm] = SHIRT, arm_colour
    image += np.random.default_rng(0).normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), arm, fitted


@pytest.mark.parametrize("shift", [6, -6])
def test_what_the_fit_puts_on_the_wrong_side_is_found(shift: int) -> None:
    image, arm, fitted = picture(SKIN, shift)
    body = np.zeros_like(arm)
    body[20:180, 30:130] = True
    found = mixed_up(image, fitted, body & ~fitted, 0.005)
    wrong = arm ^ fitted
    assert found[wrong].mean() > 0.9
    assert found[~wrong].mean() < 0.06


@pytest.mark.parametrize(("colour", "shift"), [(SKIN, 0), (SHIRT, 6)])
def test_a_right_fit_and_sleeves_of_the_shirt_stay(colour: np.ndarray, shift: int) -> None:
    image, arm, fitted = picture(colour, shift)
    body = np.zeros_like(arm)
    body[20:180, 30:130] = True
    assert mixed_up(image, fitted, body & ~fitted, 0.005).mean() < 0.01


def test_without_an_arm_before_the_body_nothing_is_mixed_up() -> None:
    image, arm, _ = picture(SKIN, 0)
    assert not mixed_up(image, np.zeros_like(arm), arm, 0.005).any()
