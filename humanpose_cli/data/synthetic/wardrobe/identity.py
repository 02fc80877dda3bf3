"""Who a synthetic person is: shape, skin, face and hair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.data.synthetic.wardrobe.colours import RGB, hair_colour, skin_colour, vary

__all__ = ["HAIR_STYLES", "Hair", "Identity", "sample_identity"]

Array = NDArray[Any]

HAIR_STYLES = ("bald", "buzz", "short", "curly", "bob", "long", "bun", "ponytail", "afro")

_SHAPE_SPREAD, _MOST_BETA = 1.15, 2.8


@dataclass(frozen=True)
class Hair:
    """style of HAIR_STYLES; colour RGB; volume 0…1; length metres below the crown for hair that hangs; parting −1…1.

    hairline  metres that it begins higher than usual on the brow
    """

    style: str
    colour: RGB
    volume: float
    length: float
    parting: float
    hairline: float = 0.0


@dataclass(frozen=True, eq=False)
class Identity:
    """A person without clothes. Colours RGB 0…255, shares 0…1.

    betas      (10,) float32 of the default body
    skin, lips, iris, brows  colours
    freckles, blush, wrinkles  how strong
    beard      share of stubble (below 0.5) to full beard; 0 for none
    make_up    darkness round the eyes; lips then take their own colour
    glasses    "", "clear" or "dark"
    seed       of everything drawn at random on this person
    """

    name: str
    betas: Array
    skin: RGB
    lips: RGB
    iris: RGB
    brows: RGB
    hair: Hair
    freckles: float
    blush: float
    wrinkles: float
    beard: float
    make_up: float
    glasses: str
    seed: int


def sample_identity(random: np.random.Generator, name: str, shape_count: int = 10) -> Identity:
    """A random adult."""
    betas = np.clip(random.normal(0, _SHAPE_SPREAD, shape_count), -_MOST_BETA, _MOST_BETA).astype(np.float32)
    skin = skin_colour(random)
    hair = _sample_hair(random, sum(skin))
    made_up = random.random() < 0.3
    lips = tuple(0.74 * s + 0.26 * r for s, r in zip(skin, (172, 58, 62), strict=True))
    if made_up:
        lips = vary(random, (random.uniform(110, 200), random.uniform(20, 70), random.uniform(40, 90)), 8)
    iris = ((58, 38, 26), (88, 60, 36), (86, 98, 64), (88, 116, 146), (60, 84, 118))
    weights = [0.5, 0.25, 0.08, 0.1, 0.07] if sum(skin) > 420 else [0.8, 0.18, 0.02, 0.0, 0.0]
    dark_brows = tuple(0.65 * h for h in hair.colour) if sum(hair.colour) > 300 else hair.colour
    bearded = not made_up and random.random() < 0.35
    return Identity(
        name=name,
        betas=betas,
        skin=skin,
        lips=lips,  # type: ignore[arg-type]
        iris=iris[int(random.choice(5, p=weights))],
        brows=dark_brows,  # type: ignore[arg-type]
        hair=hair,
        freckles=float(random.uniform(0.2, 0.8)) if random.random() < 0.15 else 0.0,
        blush=float(random.uniform(0, 1)),
        wrinkles=float(random.beta(1.2, 2.5)),
        beard=float(random.uniform(0.15, 1)) if bearded else 0.0,
        make_up=float(random.uniform(0.2, 1)) if made_up else 0.0,
        glasses=str(random.choice(["", "clear", "dark"], p=[0.82, 0.13, 0.05])),
        seed=int(random.integers(2**31)),
    )


def _sample_hair(random: np.random.Generator, brightness: float) -> Hair:
    shares = np.array([0.05, 0.1, 0.29, 0.08, 0.12, 0.17, 0.07, 0.08, 0.04])
    if brightness < 320:
        shares = np.array([0.1, 0.26, 0.14, 0.14, 0.04, 0.08, 0.08, 0.06, 0.1])
    style = str(random.choice(HAIR_STYLES, p=shares / shares.sum()))
    colour = hair_colour(random)
    if brightness < 380 and random.random() < 0.9:
        dark = random.uniform(14, 42)
        colour = vary(random, (dark + 4, dark, dark - 2), 3)
    length = random.uniform(0.2, 0.3) if style == "bob" else random.uniform(0.32, 0.58)
    return Hair(
        style,
        colour,
        float(random.uniform(0, 1)),
        float(length),
        float(random.uniform(-1, 1)),
        float(random.normal(-0.004, 0.008)),
    )
