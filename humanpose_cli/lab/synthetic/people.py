"""Random identities and outfits of synthetic people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.cloth import TopEdges
from humanpose_cli.lab.synthetic.fabrics import RGB, Fabric, cloth_colour, sample_fabric, saturated_colour, vary

Array = NDArray[Any]

HAIR_STYLES = ("bald", "buzz", "short", "curly", "bob", "long", "bun", "ponytail", "afro")

# From light to dark; people have colours between two neighbours.
_SKIN = np.array(
    [
        (244, 213, 193),
        (232, 190, 164),
        (216, 168, 138),
        (196, 145, 112),
        (168, 118, 86),
        (138, 92, 64),
        (106, 68, 48),
        (78, 50, 38),
        (58, 38, 31),
    ],
    np.float64,
)
_HAIR = (
    ((22, 19, 18), 0.3),
    ((44, 31, 24), 0.22),
    ((78, 54, 38), 0.15),
    ((118, 86, 56), 0.09),
    ((176, 140, 92), 0.07),
    ((208, 178, 128), 0.04),
    ((126, 58, 32), 0.04),
    ((150, 148, 146), 0.05),
    ((214, 212, 208), 0.03),
)
_BETA_DEVIATION = 1.15  # standard deviation of betas
_MAX_BETA = 2.8


@dataclass(frozen=True)
class Hair:
    """Hair of a person.

    Attributes:
        style: Style in HAIR_STYLES.
        colour: RGB, 0 … 255.
        volume: 0 … 1.
        length: Metres below the crown, of hanging hair.
        parting: Position of the parting, −1 … 1.
        hairline: Metres above the average hairline.
    """

    style: str
    colour: RGB
    volume: float
    length: float
    parting: float
    hairline: float = 0.0


@dataclass(frozen=True, eq=False)
class Identity:
    """A person without clothes.

    Attributes:
        name: Name.
        betas: (10,) float32. Shape of the default body.
        skin: RGB, 0 … 255.
        lips: RGB, 0 … 255.
        iris: RGB, 0 … 255.
        brows: RGB, 0 … 255.
        hair: Hair.
        freckles: Strength, 0 … 1.
        blush: Strength, 0 … 1.
        wrinkles: Strength, 0 … 1.
        beard: 0 for none, below 0.5 for stubble, 1 for a full beard.
        make_up: Darkness around the eyes, 0 … 1.
        glasses: "", "clear" or "dark".
        seed: Seed of the person's textures.
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


def sample_identity(random: np.random.Generator, name: str) -> Identity:
    """Draw a person."""
    betas = np.clip(random.normal(0, _BETA_DEVIATION, 10), -_MAX_BETA, _MAX_BETA).astype(np.float32)
    skin = _skin_colour(random)
    hair = _sample_hair(random, sum(skin))
    made_up = random.random() < 0.3
    lips = tuple(0.74 * s + 0.26 * r for s, r in zip(skin, (172, 58, 62), strict=True))
    if made_up:
        lips = vary(random, (random.uniform(110, 200), random.uniform(20, 70), random.uniform(40, 90)), 8)
    iris = ((58, 38, 26), (88, 60, 36), (86, 98, 64), (88, 116, 146), (60, 84, 118))
    weights = [0.5, 0.25, 0.08, 0.1, 0.07] if sum(skin) > 420 else [0.8, 0.18, 0.02, 0.0, 0.0]
    dark_brows = tuple(0.65 * h for h in hair.colour) if sum(hair.colour) > 300 else hair.colour
    has_beard = not made_up and random.random() < 0.35
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
        beard=float(random.uniform(0.15, 1)) if has_beard else 0.0,
        make_up=float(random.uniform(0.2, 1)) if made_up else 0.0,
        glasses=str(random.choice(["", "clear", "dark"], p=[0.82, 0.13, 0.05])),
        seed=int(random.integers(2**31)),
    )


def _skin_colour(random: np.random.Generator) -> RGB:
    """Draw a skin colour, with light colours somewhat more often, as in most images."""
    tone = float(random.beta(1.0, 1.35)) * (len(_SKIN) - 1)
    low = min(int(tone), len(_SKIN) - 2)
    colour = _SKIN[low] + (tone - low) * (_SKIN[low + 1] - _SKIN[low])
    # Variation between red and yellow.
    colour = colour * (1 + random.normal(0, 0.015, 3) + np.array([0.012, -0.01, -0.014]) * random.normal())
    return vary(random, colour, 2 + 0.012 * float(colour.mean()))


def _sample_hair(random: np.random.Generator, brightness: float) -> Hair:
    shares = np.array([0.05, 0.1, 0.29, 0.08, 0.12, 0.17, 0.07, 0.08, 0.04])
    if brightness < 320:
        shares = np.array([0.1, 0.26, 0.14, 0.14, 0.04, 0.08, 0.08, 0.06, 0.1])
    style = str(random.choice(HAIR_STYLES, p=shares / shares.sum()))
    if random.random() < 0.03:  # dyed
        colour = saturated_colour(random)
    else:
        frequency = np.array([share for _, share in _HAIR])
        colour = vary(random, _HAIR[int(random.choice(len(_HAIR), p=frequency / frequency.sum()))][0], 6)
    if brightness < 380 and random.random() < 0.9:
        dark = random.uniform(14, 42)
        colour = vary(random, (dark + 4, dark, dark - 2), 3)
    length = random.uniform(0.2, 0.3) if style == "bob" else random.uniform(0.32, 0.58)
    volume, parting, hairline = random.uniform(0, 1), random.uniform(-1, 1), random.normal(-0.004, 0.008)
    return Hair(style, colour, float(volume), float(length), float(parting), float(hairline))


@dataclass(frozen=True)
class Top:
    """A garment of trunk and arms; lengths on the average body.

    Attributes:
        fabric: Fabric.
        hem: Metres above the pelvis joint. Lower edge.
        sleeve: Metres from the shoulder joint along the arm (elbow 0.26, wrist 0.46); 0 for no sleeves.
        neckline: "crew", "scoop", "v", "boat", "turtle" or "strap".
        depth: Depth of the neckline, 0 … 1.
        looseness: Metres. Max distance from the body.
        thickness: Metres. Thickness of the cloth.
        collar: Whether there is a folded collar.
        closure: "", "buttons" or "zip", down the front.
        opening: Metres from the middle to each front edge at the hem of an open front; 0 for a closed front.
        hood: Whether a hood lies on the back.
        pockets: "", "chest" (shirts) or "belly" (hoodies).
        cuffs: Whether hem and sleeves have knitted bands.
        print_on: Position of a print: "", "front", "back" or "both".
    """

    fabric: Fabric
    hem: float
    sleeve: float
    neckline: str = "crew"
    depth: float = 0.3
    looseness: float = 0.02
    thickness: float = 0.006
    collar: bool = False
    closure: str = ""
    opening: float = 0.0
    hood: bool = False
    pockets: str = ""
    cuffs: bool = False
    print_on: str = ""

    @property
    def edges(self) -> TopEdges:
        """Its edges."""
        return TopEdges(self.hem, self.sleeve, self.neckline, self.depth, self.opening)


@dataclass(frozen=True)
class Bottom:
    """Trousers, shorts, leggings or briefs; lengths on the average body.

    Attributes:
        fabric: Fabric.
        waist: Metres above the pelvis joint. Upper edge.
        hem: Metres below the hip joint. Lower edge.
        looseness: Metres. Max distance from the body.
        thickness: Metres. Thickness of the cloth.
        pockets: Whether there are pockets.
        belt: RGB, 0 … 255; None for no belt.
        cuffs: Whether the legs are narrow at the hem.
        side_stripe: RGB, 0 … 255; None for no stripe.
        pleats: Number of pressed folds around each leg.
    """

    fabric: Fabric
    waist: float
    hem: float
    looseness: float
    thickness: float = 0.005
    pockets: bool = True
    belt: RGB | None = None
    cuffs: bool = False
    side_stripe: RGB | None = None
    pleats: int = 0


@dataclass(frozen=True)
class Skirt:
    """Cloth that hangs around both legs: a skirt, the lower part of a dress, or the tail of a coat.

    Attributes:
        fabric: Fabric.
        top: Metres above the pelvis joint. Upper edge.
        hem: Metres above the pelvis joint, negative. Lower edge.
        ease: Metres. Distance from the body.
        flare: Increase of the distance per height.
        folds: Metres. Depth of the folds.
        pleats: Number of folds.
        opening: Metres from the middle to each front edge; 0 for a closed front.
    """

    fabric: Fabric
    top: float
    hem: float
    ease: float
    flare: float
    folds: float
    pleats: int
    opening: float = 0.0


@dataclass(frozen=True)
class Shoes:
    """Shoes.

    Attributes:
        kind: "barefoot", "sandals", "shoes", "sneakers" or "boots".
        colour: RGB, 0 … 255.
        sole: RGB, 0 … 255.
        accent: RGB, 0 … 255.
        thickness: Metres. Thickness of the sole.
        shaft: Metres. Height of a boot's shaft.
    """

    kind: str
    colour: RGB
    sole: RGB
    accent: RGB
    thickness: float = 0.02
    shaft: float = 0.0


@dataclass(frozen=True)
class Headwear:
    """Headwear.

    Attributes:
        kind: "cap", "backward cap", "beanie", "brim", "hood" or "scarf" (around the head).
        fabric: Fabric.
        accent: RGB, 0 … 255. Brim, badge or band.
    """

    kind: str
    fabric: Fabric
    accent: RGB


@dataclass(frozen=True)
class Outfit:
    """The clothes of a person; None for missing garments.

    Attributes:
        name: Name.
        seed: Seed of the clothes' geometry and textures.
        top: Top.
        bottom: Bottom; a skirt hides the part that it covers.
        skirt: Skirt.
        outer: Jacket or coat.
        tail: Lower part of a coat.
        shoes: Shoes.
        socks: RGB, 0 … 255.
        gloves: Fabric.
        headwear: Headwear.
        scarf: Fabric.
    """

    name: str
    seed: int
    top: Top | None
    bottom: Bottom | None
    skirt: Skirt | None
    outer: Top | None
    tail: Skirt | None
    shoes: Shoes
    socks: RGB | None
    gloves: Fabric | None
    headwear: Headwear | None
    scarf: Fabric | None


_SOLID = {"plain": 0.78, "denim": 0.04, "knit": 0.08, "pinstripes": 0.05, "checks": 0.05}
_TROUSERS = {"plain": 0.55, "denim": 0.33, "pinstripes": 0.02, "checks": 0.04, "blotches": 0.04, "floral": 0.02}
_SKIRTS = {"plain": 0.45, "floral": 0.18, "checks": 0.1, "dots": 0.08, "stripes": 0.06, "denim": 0.05}
_SKIRTS |= {"geometric": 0.04, "blotches": 0.04}


def sample_outfit(random: np.random.Generator, name: str) -> Outfit:
    """Draw an outfit."""
    style = str(random.choice(["trousers", "shorts", "skirt", "dress", "sports"], p=[0.52, 0.14, 0.1, 0.14, 0.1]))
    top, bottom, skirt = _sample_top(random), None, None
    if style == "trousers":
        bottom = _sample_trousers(random)
    elif style == "shorts":
        bottom = replace(_sample_trousers(random), hem=float(random.uniform(0.14, 0.46)), cuffs=False)
    elif style == "sports":
        top, bottom = _sample_sports(random)
    else:
        top, skirt = _sample_skirt(random, top, dress=style == "dress")
        bottom = _sample_leggings(random)
    outer = tail = None
    if random.random() < (0.1 if style == "sports" else 0.27):
        outer, tail = _sample_outer(random)
        if skirt is not None:
            # Jackets end at the waist of a skirt; two hanging cloths would intersect.
            outer, tail = replace(outer, hem=max(outer.hem, skirt.top - 0.06)), None
    headwear = _sample_headwear(random) if random.random() < 0.2 else None
    hood_owner = outer if outer is not None and outer.hood else top
    if headwear is not None and headwear.kind == "hood" and hood_owner is not None:
        headwear = replace(headwear, fabric=hood_owner.fabric)
    return Outfit(
        name=name,
        seed=int(random.integers(2**31)),
        top=top,
        bottom=bottom,
        skirt=skirt,
        outer=outer,
        tail=tail,
        shoes=_sample_shoes(random),
        socks=cloth_colour(random) if random.random() < 0.5 else None,
        gloves=sample_fabric(random, _SOLID) if random.random() < 0.05 else None,
        headwear=headwear,
        scarf=sample_fabric(random) if random.random() < (0.2 if outer else 0.03) else None,
    )


# What confuses garment labels → its share: of the outfits, of the coats that hang, and of the trousers.
_CONFUSING = {"hanging": 0.5, "one light colour": 0.25, "closed coat": 0.6, "wide": 0.5, "pleated": 0.7, "satin": 0.3}


def sample_confusing_outfit(random: np.random.Generator, name: str) -> Outfit:
    """Draw an outfit in which garments that hang are as frequent as trousers, of which many look alike."""
    draw = {kind: bool(random.random() < share) for kind, share in _CONFUSING.items()}
    outfit = sample_outfit(random, name)
    while draw["hanging"] != (outfit.skirt is not None or outfit.tail is not None):
        outfit = sample_outfit(random, name)
    if outfit.outer is not None and outfit.tail is not None and draw["closed coat"]:
        tail = replace(outfit.tail, opening=0.0, hem=-float(random.uniform(0.15, 0.75)))
        outfit = replace(outfit, outer=replace(outfit.outer, opening=0.0, closure="buttons"), tail=tail)
    bottom = outfit.bottom
    if bottom is not None and outfit.skirt is None and bottom.hem > 0.1:
        if draw["wide"]:
            loosest = 0.15 if bottom.hem > 0.5 else 0.08
            bottom = replace(bottom, looseness=float(random.uniform(0.03, loosest)), thickness=0.006, cuffs=False)
            bottom = replace(bottom, pleats=int(random.integers(3, 8)) if draw["pleated"] else 0)
        if draw["satin"]:  # plain cloth with strong lights and shades
            satin = replace(bottom.fabric, pattern="plain", wrinkles=float(random.uniform(2, 5)))
            bottom = replace(bottom, fabric=satin, belt=None)
    if draw["one light colour"]:
        light = vary(random, (random.uniform(185, 245),) * 3, 9)
        fabric = replace(sample_fabric(random, {"plain": 0.8, "knit": 0.2}), colours=(light,) * 4)
        outfit = replace(
            outfit, **{part: _in_fabric(getattr(outfit, part), fabric) for part in ("top", "outer", "skirt", "tail")}
        )
        bottom = _in_fabric(bottom, fabric)
    return replace(outfit, bottom=bottom)


def _in_fabric(garment: Any, fabric: Fabric) -> Any:
    """Return a garment in a fabric, with its own wrinkles."""
    if garment is None:
        return None
    return replace(garment, fabric=replace(fabric, wrinkles=garment.fabric.wrinkles, seed=garment.fabric.seed))


def _sleeve(random: np.random.Generator) -> float:
    kind = random.choice(["short", "elbow", "long", "any"], p=[0.42, 0.08, 0.42, 0.08])
    low, high = {"short": (0.1, 0.2), "elbow": (0.22, 0.32), "long": (0.42, 0.49), "any": (0.1, 0.48)}[str(kind)]
    return float(random.uniform(low, high))


def _sample_top(random: np.random.Generator) -> Top:
    kind = str(random.choice(["t-shirt", "shirt", "sweater", "tank", "hoodie"], p=[0.42, 0.2, 0.17, 0.11, 0.1]))
    loose = float(random.beta(1.5, 2.2)) * 0.055
    hem = float(random.uniform(-0.075, 0.05))
    print_on = str(random.choice(["", "front", "back", "both"], p=[0.5, 0.34, 0.06, 0.1]))
    if kind == "t-shirt":
        neckline = str(random.choice(["crew", "scoop", "v", "boat"], p=[0.6, 0.15, 0.17, 0.08]))
        depth, sleeve = float(random.uniform(0, 1)), _sleeve(random)
        return Top(sample_fabric(random), hem, sleeve, neckline, depth, loose, 0.005, print_on=print_on)
    if kind == "shirt":
        fabric, sleeve, depth = sample_fabric(random), _sleeve(random), float(random.uniform(0, 0.5))
        pockets = str(random.choice(["", "chest"]))
        return Top(fabric, hem, sleeve, "v", depth, loose, collar=True, closure="buttons", pockets=pockets)
    if kind == "sweater":
        neckline = str(random.choice(["crew", "turtle", "v"], p=[0.6, 0.2, 0.2]))
        fabric = sample_fabric(random, {"knit": 0.45, "plain": 0.3, "stripes": 0.15, "geometric": 0.1})
        sleeve = float(random.uniform(0.42, 0.49))
        return Top(fabric, hem, sleeve, neckline, 0.2, 0.008 + 0.6 * loose, 0.01, cuffs=True)
    if kind == "tank":
        neckline = str(random.choice(["scoop", "strap"]))
        return Top(sample_fabric(random), hem, 0.0, neckline, float(random.uniform(0, 1)), loose / 2, print_on=print_on)
    fabric, sleeve = sample_fabric(random, _SOLID), float(random.uniform(0.43, 0.49))
    hoodie = Top(fabric, hem, sleeve, "crew", 0.3, 0.01 + 0.7 * loose, 0.011, hood=True, pockets="belly", cuffs=True)
    return replace(hoodie, closure=str(random.choice(["", "zip"])), print_on=print_on)


def _sample_trousers(random: np.random.Generator) -> Bottom:
    looseness = float(random.choice([0.0, 0.012, 0.03, 0.06], p=[0.25, 0.35, 0.3, 0.1]) * random.uniform(0.7, 1.3))
    return Bottom(
        sample_fabric(random, _TROUSERS),
        waist=float(random.uniform(0.02, 0.13)),
        hem=float(random.uniform(0.68, 0.845)) if random.random() < 0.25 else float(random.uniform(0.77, 0.845)),
        looseness=looseness,
        belt=cloth_colour(random) if random.random() < 0.35 else None,
        pockets=random.random() < 0.8,
        cuffs=random.random() < 0.12,
    )


def _sample_sports(random: np.random.Generator) -> tuple[Top, Bottom]:
    """Draw a shirt with shorts or tights, or sometimes swimwear."""
    if random.random() < 0.12:
        top = Top(sample_fabric(random), 0.23, 0.0, "strap", 0.5, 0.0, 0.003)
        bottom = Bottom(sample_fabric(random), 0.03, float(random.uniform(0.02, 0.3)), 0.012, 0.004, pockets=False)
        return top, bottom
    fabric = sample_fabric(random, {"plain": 0.6, "stripes": 0.2, "geometric": 0.1, "blotches": 0.1})
    hem, sleeve = float(random.uniform(-0.05, 0.06)), float(random.choice([0.0, 0.14, 0.2, 0.47]))
    depth, looseness = float(random.uniform(0, 0.6)), float(random.uniform(0, 0.03))
    top = Top(fabric, hem, sleeve, "crew" if sleeve else "scoop", depth, looseness, print_on="both")
    tights = random.random() < 0.45
    bottom = Bottom(
        sample_fabric(random, {"plain": 0.8, "blotches": 0.1, "geometric": 0.1}),
        waist=float(random.uniform(0.05, 0.12)),
        hem=float(random.uniform(0.2, 0.84)) if tights else float(random.uniform(0.2, 0.42)),
        looseness=0.0 if tights else float(random.uniform(0.015, 0.04)),
        thickness=0.003 if tights else 0.005,
        pockets=False,
        side_stripe=cloth_colour(random) if random.random() < 0.4 else None,
    )
    return top, bottom


def _sample_skirt(random: np.random.Generator, top: Top, *, dress: bool) -> tuple[Top, Skirt]:
    fabric = sample_fabric(random, _SKIRTS)
    waist = float(random.uniform(0.05, 0.14))
    hem = -float(random.choice([random.uniform(0.2, 0.38), random.uniform(0.38, 0.6), random.uniform(0.6, 0.8)]))
    ease = float(random.uniform(0.004, 0.03))
    flare = float(random.choice([0.0, 0.1, 0.25, 0.45], p=[0.3, 0.3, 0.25, 0.15]))
    folds, pleats = float(random.uniform(0.0, 0.05)), int(random.integers(7, 16))
    skirt = Skirt(fabric, waist, hem, ease, flare, folds, pleats)
    if not dress:
        if random.random() < 0.6:  # tucked in
            top = replace(top, hem=waist - 0.03, looseness=min(top.looseness, 0.02), cuffs=False)
        return top, skirt
    sleeve = float(random.choice([0.0, 0.12, 0.2, 0.45], p=[0.4, 0.2, 0.2, 0.2]))
    neckline = str(random.choice(["scoop", "v", "crew", "boat"] if sleeve else ["scoop", "strap"]))
    depth, looseness = float(random.uniform(0, 1)), float(random.uniform(0, 0.02))
    return Top(fabric, waist - 0.02, sleeve, neckline, depth, looseness, 0.004), skirt


def _sample_leggings(random: np.random.Generator) -> Bottom | None:
    """Draw tights or leggings under a skirt, or mostly none."""
    if random.random() < 0.55:
        return None
    fabric = replace(sample_fabric(random, {"plain": 0.85, "dots": 0.05, "stripes": 0.1}), wrinkles=0.05)
    hem = 0.9 if random.random() < 0.7 else float(random.uniform(0.5, 0.8))
    return Bottom(fabric, 0.1, hem, 0.0, 0.002, pockets=False)


def _sample_outer(random: np.random.Generator) -> tuple[Top, Skirt | None]:
    """Draw a jacket, cardigan or coat, and the tail of a coat, which hangs below the hip."""
    fabric = sample_fabric(random, _SOLID)
    coat = random.random() < 0.35
    is_open = random.random() < 0.55
    opening = float(random.uniform(0.02, 0.11)) if is_open else 0.0
    looseness, thickness = float(random.uniform(0.008, 0.04)), float(random.uniform(0.006, 0.016))
    outer = Top(
        fabric,
        hem=-0.04 if coat else float(random.uniform(-0.06, 0.06)),
        sleeve=float(random.uniform(0.43, 0.5)) if random.random() < 0.93 else 0.0,
        neckline="v" if is_open or random.random() < 0.5 else "crew",
        depth=float(random.uniform(0.1, 1)),
        looseness=looseness,
        thickness=thickness,
        collar=random.random() < 0.7,
        closure="" if is_open else str(random.choice(["buttons", "zip"])),
        opening=opening,
        hood=random.random() < 0.25,
        pockets="belly" if random.random() < 0.3 else "",
        cuffs=not coat and random.random() < 0.3,
        print_on="back" if random.random() < 0.1 else "",
    )
    if not coat:
        return outer, None
    hem = -float(random.uniform(0.15, 0.6))
    flare = float(random.uniform(0, 0.18)) * (0.4 if is_open else 1.0)
    ease, folds = float(random.uniform(0.008, 0.025)), float(random.uniform(0, 0.02))
    tail = Skirt(fabric, 0.0, hem, ease, flare, folds, 8, 0.6 * opening)
    return outer, tail


def _sample_shoes(random: np.random.Generator) -> Shoes:
    kind = str(random.choice(["barefoot", "sandals", "shoes", "sneakers", "boots"], p=[0.1, 0.08, 0.32, 0.36, 0.14]))
    colour = cloth_colour(random)
    if kind in ("shoes", "boots") and random.random() < 0.7:
        dark = random.uniform(12, 60)
        colour = (dark * 1.2, dark, dark * 0.85)
    light = random.uniform(190, 245)
    sole = (light, light, light) if kind == "sneakers" and random.random() < 0.7 else (28.0, 26.0, 25.0)
    shaft = float(random.uniform(0.04, 0.36)) if kind == "boots" else 0.0
    return Shoes(kind, colour, sole, cloth_colour(random), float(random.uniform(0.012, 0.03)), shaft)


def _sample_headwear(random: np.random.Generator) -> Headwear:
    kinds = ["cap", "backward cap", "beanie", "brim", "hood", "scarf"]
    kind = str(random.choice(kinds, p=[0.34, 0.1, 0.24, 0.14, 0.1, 0.08]))
    fabric = sample_fabric(random, {"knit": 0.7, "plain": 0.3} if kind == "beanie" else _SOLID)
    return Headwear(kind, fabric, cloth_colour(random))
