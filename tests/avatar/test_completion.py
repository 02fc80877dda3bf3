"""Whole textures from what was seen of a body."""

import numpy as np
import pytest
from helpers.repose_stage import Stage

from humanpose_cli.avatar.completion import complete_texture
from humanpose_cli.avatar.surface import BodyTexels, body_texels, scalp_and_face
from humanpose_cli.avatar.worn import Worn
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.body.texture import BakedTexture, paint_vertices

SKIN, HAIR, CLOTH = (0.9, 0.7, 0.6), (0.15, 0.1, 0.05), (0.1, 0.3, 0.7)


@pytest.fixture(scope="module")
def surface(stage: Stage) -> BodyTexels:
    return body_texels(stage.body, 512)


def baked(surface: BodyTexels, colours: np.ndarray, visible_vertices: np.ndarray) -> BakedTexture:
    """What a photo would show of vertex colours (V, 3) where vertices (V,) are seen."""
    colour = surface.fine.interpolate(colours, surface.faces)
    share = surface.fine.interpolate(visible_vertices.astype(np.float32)[:, None], surface.faces)[..., 0]
    visible = share > 0.99
    return BakedTexture(colour, visible.astype(np.float32), visible)


def on_vertices(surface: BodyTexels, image: np.ndarray) -> np.ndarray:
    weights = np.ones(image.shape[:2], np.float32)
    return paint_vertices(surface.fine, surface.rows, image[..., :3], weights)[0]


def part(stage: Stage, *names: str) -> np.ndarray:
    return parts_mask(stage.body.part_labels.numpy(), names)


def dressed_colours(stage: Stage) -> np.ndarray:
    colours = np.tile(np.array(CLOTH, np.float32), (len(stage.body.template), 1))
    colours[part(stage, "head", "left_wrist", "left_hand", "right_wrist", "right_hand")] = SKIN
    colours[scalp_and_face(stage.body)[0]] = HAIR
    return colours


@pytest.mark.extensive
def test_hidden_side_mirrors_the_visible_one(stage: Stage, surface: BodyTexels) -> None:
    x, y, z = stage.body.template.numpy().T
    colours = np.stack((0.5 + 0.4 * np.sin(30 * y), 0.5 + 0.4 * np.cos(40 * x) ** 2, 0.5 + 0.4 * np.sin(35 * z)), 1)
    texture = complete_texture(surface, baked(surface, colours.astype(np.float32), x > 0.004))
    got = on_vertices(surface, texture.image)
    hidden = part(stage, "right_shoulder", "right_hip", "right_knee") & (x < -0.02)
    assert np.abs(got - colours)[hidden].mean() < 0.03
    assert abs(texture.visible_fraction - 0.5) < 0.05
    assert abs(texture.visible_face - 0.5) < 0.1


@pytest.mark.slow
def test_back_of_the_head_gets_hair_and_hidden_hands_get_skin(stage: Stage, surface: BodyTexels) -> None:
    z = stage.body.template.numpy()[:, 2]
    head, hands = part(stage, "head"), part(stage, "left_hand", "right_hand")
    middle = 0.5 * (z[head].min() + z[head].max())
    visible = np.where(head, z > middle, True) & ~part(stage, "left_wrist", "left_hand", "right_wrist", "right_hand")
    texture = complete_texture(surface, baked(surface, dressed_colours(stage), visible))
    got = on_vertices(surface, texture.image)
    back = scalp_and_face(stage.body)[0] & (z < middle - 0.05)
    np.testing.assert_allclose(np.median(got[back], axis=0), HAIR, atol=0.06)
    np.testing.assert_allclose(np.median(got[hands], axis=0), SKIN, atol=0.08)
    face = scalp_and_face(stage.body)[1]
    np.testing.assert_allclose(np.median(got[face], axis=0), SKIN, atol=0.03)


@pytest.mark.slow
def test_hair_that_no_photo_shows_is_dark_and_no_hood_of_the_shirt(stage: Stage, surface: BodyTexels) -> None:
    visible = ~part(stage, "head")
    got = on_vertices(surface, complete_texture(surface, baked(surface, dressed_colours(stage), visible)).image)
    assert np.median(got[scalp_and_face(stage.body)[0]], axis=0).max() < 0.22


@pytest.mark.slow
def test_hair_that_no_photo_of_the_head_shows_has_the_colour_of_hair_elsewhere(
    stage: Stage, surface: BodyTexels
) -> None:
    photo = baked(surface, dressed_colours(stage), ~part(stage, "head"))
    got = on_vertices(surface, complete_texture(surface, photo, Worn(hair=np.array((0.5, 0.25, 0.1)))).image)
    np.testing.assert_allclose(np.median(got[scalp_and_face(stage.body)[0]], axis=0), (0.5, 0.25, 0.1), atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("size", [512, 1024])
def test_the_back_has_the_pattern_of_the_front(stage: Stage, size: int) -> None:
    surface = body_texels(stage.body, size)
    x, y, z = stage.body.template.numpy().T
    trunk = part(stage, "spine1", "spine2", "spine3")
    front = surface.fine.interpolate(np.stack((x, y), 1).astype(np.float32), surface.faces)
    squares = (np.floor(front / 0.04).sum(2) % 2)[..., None]
    photo = baked(surface, dressed_colours(stage), z > 0)
    cloth = np.linalg.norm(photo.colour - CLOTH, axis=2)[..., None] < 0.05
    patterned = photo._replace(colour=np.where(cloth & (squares > 0), np.float32((0.9, 0.9, 0.2)), photo.colour))
    back = surface.fine.interpolate((trunk & (z < -0.05)).astype(np.float32)[:, None], surface.faces)[..., 0] > 0.99
    plain, made = (complete_texture(surface, each).image[..., :3] for each in (photo, patterned))
    assert plain[back].std(0).max() < 0.03
    strip = patterned._replace(confidence=photo.confidence * (np.abs(front[..., 1] + 0.6) < 0.006))  # no whole cell
    assert complete_texture(surface, strip).image[back, :3].std(0).max() < 0.03
    noise = np.random.default_rng(0).normal(0, 0.02, photo.colour.shape).astype(np.float32)
    dark = photo._replace(colour=np.where(cloth, 0.1 + noise, photo.colour).clip(0, 1))
    assert complete_texture(surface, dark).image[back, :3].std(0).max() < 0.011
    same = np.linalg.norm(made[back] - patterned.colour[back], axis=1) < 0.25
    assert same.mean() > 0.75


@pytest.mark.slow
def test_skin_at_the_hairline_does_not_go_on_to_the_back_of_the_head(stage: Stage, surface: BodyTexels) -> None:
    """Three quarters of the visible scalp are hair, and skin is nearer to what is hidden."""
    z = stage.body.template.numpy()[:, 2]
    scalp = scalp_and_face(stage.body)[0]
    visible = ~scalp | (z > np.quantile(z[scalp], 0.3))
    colours = dressed_colours(stage)
    colours[scalp & visible & (z < np.quantile(z[scalp & visible], 0.25))] = SKIN
    got = on_vertices(surface, complete_texture(surface, baked(surface, colours, visible)).image)
    back = scalp & (z < np.quantile(z[scalp], 0.2))
    assert (np.abs(got[back] - SKIN).max(1) < 0.2).mean() < 0.02


@pytest.mark.extensive
def test_legs_below_a_skirt_are_bare(stage: Stage, surface: BodyTexels) -> None:
    legs = part(stage, "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle")
    photo = baked(surface, dressed_colours(stage), ~legs)
    middle = part(stage, "left_knee", "right_knee")
    for bare, colour in ((True, SKIN), (False, CLOTH)):
        got = on_vertices(surface, complete_texture(surface, photo, Worn(bare=bare)).image)
        np.testing.assert_allclose(np.median(got[middle], axis=0), colour, atol=0.1)


@pytest.mark.extensive
@pytest.mark.parametrize(("reach", "large"), [(0.01, False), (0.06, True)])
def test_a_cap_at_the_border_of_an_hidden_face_does_not_colour_it(
    stage: Stage, surface: BodyTexels, reach: float, large: bool
) -> None:
    z = stage.body.template.numpy()[:, 2]
    face, head = scalp_and_face(stage.body)[1], part(stage, "head")
    visible = ~head | (z < z[face].min() + reach)
    share = surface.operator.areas[face & visible].sum() / surface.operator.areas[face].sum()
    assert (share > 0.35) if large else (0.06 < share < 0.25)
    colours = dressed_colours(stage)
    colours[head] = CAP = np.float32((0.14, 0.37, 0.36))
    got = on_vertices(surface, complete_texture(surface, baked(surface, colours, visible)).image)
    middle = face & ~visible & (z > z[face].max() - 0.03)
    assert middle.any()
    np.testing.assert_allclose(np.median(got[middle], axis=0), CAP if large else SKIN, atol=0.08)


@pytest.mark.slow
def test_hidden_sleeves_and_waists_end_in_clear_edges(stage: Stage, surface: BodyTexels) -> None:
    sides = ("left", "right")
    arms = part(stage, *(f"{side}_{name}" for side in sides for name in ("elbow", "wrist", "hand")))
    legs = part(stage, *(f"{side}_{name}" for side in sides for name in ("hip", "knee", "ankle", "foot")))
    colours = dressed_colours(stage)
    colours[legs] = TROUSERS = np.float32((0.7, 0.6, 0.1))
    hips = part(stage, "pelvis") | legs
    y = stage.body.template.numpy()[:, 1]
    visible = ~arms & ~(hips & (np.abs(y - np.median(y[part(stage, "pelvis")])) < 0.15))
    image = complete_texture(surface, baked(surface, colours, visible)).image[..., :3]
    for region, materials in ((arms, (SKIN, CLOTH)), (hips & ~visible, (CLOTH, TROUSERS))):
        where = surface.fine.interpolate(region[:, None].astype(np.float32), surface.faces)[..., 0] > 0.99
        hue = image[where] / image[where].sum(1, keepdims=True)  # whatever folds do
        away = [np.abs(hue - np.float32(colour) / sum(colour)).max(1) for colour in materials]
        assert min(np.mean(one < 0.05) for one in away) > 0.1
        assert np.mean(np.minimum(*away) < 0.05) > 0.9


@pytest.mark.extensive
@pytest.mark.parametrize("trousers", [(0.55, 0.5, 0.3), (0.25, 0.45, 0.72)], ids=["brown", "a like blue"])
def test_hems_go_round_the_body_at_the_visible_height(stage: Stage, surface: BodyTexels, trousers) -> None:
    x, y, z = stage.body.template.numpy().T
    pelvis = part(stage, "pelvis")
    hem = float(np.median(y[pelvis]))
    sides = tuple(f"{side}_{name}" for side in ("left", "right") for name in ("hip", "knee"))
    below = part(stage, "pelvis", *sides) & (y < hem)
    colours = dressed_colours(stage)
    colours[below] = trousers
    visible = z > np.median(z[pelvis])
    got = on_vertices(surface, complete_texture(surface, baked(surface, colours, visible)).image)
    back = ~visible & part(stage, "pelvis", "spine1", *sides) & (np.abs(x) < 0.3)
    shirt, cloth = np.float32(CLOTH), np.float32(trousers)
    nearer = np.linalg.norm(got - cloth, axis=1) < np.linalg.norm(got - shirt, axis=1)
    clear = np.minimum(*(np.linalg.norm(got - one, axis=1) for one in (cloth, shirt))) < 0.1
    off = np.abs(y - hem) > 0.03
    assert (nearer == below)[back & off].mean() > 0.97
    assert clear[back & off].mean() > 0.98, "no mixture of the two"


@pytest.mark.extensive
@pytest.mark.parametrize("legs", [SKIN, CLOTH], ids=["bare", "in trousers"])
def test_hidden_shoes_are_dark_whatever_the_legs_wear(stage: Stage, surface: BodyTexels, legs) -> None:
    feet = part(stage, "left_ankle", "right_ankle", "left_foot", "right_foot")
    colours = dressed_colours(stage)
    colours[part(stage, "left_knee", "right_knee", "left_hip", "right_hip")] = legs
    got = {
        shod: on_vertices(surface, complete_texture(surface, baked(surface, colours, ~feet), Worn(shod=shod)).image)[
            feet
        ]
        for shod in (True, False)
    }
    assert got[True].max(1).mean() < 0.2
    np.testing.assert_allclose(np.median(got[False], axis=0), legs, atol=0.15)


@pytest.mark.slow
def test_hidden_legs_and_back_wear_what_was_visible(stage: Stage, surface: BodyTexels) -> None:
    normal_z = stage.body.template.numpy()[:, 2]
    legs = part(stage, *(f"{side}_{name}" for side in ("left", "right") for name in ("hip", "knee", "ankle", "foot")))
    trunk = part(stage, "spine1", "spine2", "spine3")
    middle = np.median(normal_z[trunk])
    colours = dressed_colours(stage)
    # A pale belt at the border of the seen part must not colour the legs.
    y = stage.body.template.numpy()[:, 1]
    belt = part(stage, "pelvis") & (y < y[part(stage, "pelvis")].min() + 0.06)
    colours[belt] = (0.95, 0.95, 0.9)
    visible = ~legs & (normal_z > middle)
    got = on_vertices(surface, complete_texture(surface, baked(surface, colours, visible)).image)
    shins = part(stage, "left_knee", "right_knee")
    np.testing.assert_allclose(np.median(got[shins], axis=0), CLOTH, atol=0.12)
    np.testing.assert_allclose(np.median(got[trunk & (normal_z < middle)], axis=0), CLOTH, atol=0.06)


@pytest.mark.extensive
def test_a_cap_of_the_user_covers_the_crown_and_has_hair_below_it(stage: Stage, surface: BodyTexels) -> None:
    _, y, z = stage.body.template.numpy().T
    scalp, face = scalp_and_face(stage.body)
    crown = scalp & (y > np.quantile(y[face], 0.7))
    colours = dressed_colours(stage)
    colours[crown] = CLOTH
    back = scalp & (z < np.quantile(z[scalp], 0.3))
    for cap, below in ((True, HAIR), (False, CLOTH)):
        got = on_vertices(surface, complete_texture(surface, baked(surface, colours, ~back), Worn(cap=cap)).image)
        np.testing.assert_allclose(np.median(got[back & crown], axis=0), CLOTH, atol=0.1)
        np.testing.assert_allclose(np.median(got[back & ~crown], axis=0), below, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("half", "coat"), [(0.08, False), (0.14, True)])
def test_ties_and_the_shirt_in_an_open_jacket_stay_in_front(stage: Stage, surface: BodyTexels, half, coat) -> None:
    x, y, z = stage.body.template.numpy().T
    trunk = part(stage, "pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
    front = z > np.median(z[trunk])
    far_back = trunk & (z < np.median(z[trunk]) - 0.03) & (np.abs(x) < 0.1) & (y > 0)  # above the crotch
    plain = np.tile(np.float32((0.6, 0.2, 0.2)), (len(x), 1))
    plain[(np.abs(x) < half) & trunk & front] = (0.1, 0.2, 0.7)
    got = on_vertices(surface, complete_texture(surface, baked(surface, plain, front | ~trunk), Worn(coat=coat)).image)
    np.testing.assert_allclose(got[far_back], np.broadcast_to((0.6, 0.2, 0.2), got[far_back].shape), atol=0.12)


@pytest.mark.extensive
def test_the_hidden_half_of_a_shirt_has_no_print_and_its_back_one_shade(stage: Stage, surface: BodyTexels) -> None:
    x, y, z = stage.body.template.numpy().T
    chest = part(stage, "spine1", "spine2", "spine3", "left_collar", "right_collar")
    colours, middle = dressed_colours(stage), np.median(z[chest])
    low = chest & (y < np.median(y[chest]))
    colours[low] = 0.55 * np.float32(CLOTH)  # in shadow
    colours[chest & (np.abs(x - 0.08) < 0.04) & (np.abs(y - np.median(y[chest])) < 0.06) & (z > middle)] = 0.9
    got = on_vertices(surface, complete_texture(surface, baked(surface, colours, (x > 0.02) & (z > middle))).image)
    assert got[chest & (x < -0.02)].min(1).max() < 0.3
    back = chest & (z < middle - 0.06) & (np.abs(x) < 0.1)
    assert np.ptp(np.median(got[back & low], axis=0) - np.median(got[back & ~low], axis=0)) < 0.1


@pytest.mark.extensive
def test_hidden_skin_of_a_hand_in_shadow_is_as_dark_as_the_rest_of_it(stage: Stage, surface: BodyTexels) -> None:
    hand, wrist = part(stage, "left_hand"), part(stage, "left_wrist")
    colours = dressed_colours(stage)
    colours[hand | wrist] = SHADE = 0.7 * np.float32(SKIN)
    others = ~part(stage, "right_wrist", "right_hand") & ~hand
    got = on_vertices(surface, complete_texture(surface, baked(surface, colours, others)).image)
    np.testing.assert_allclose(np.median(got[hand], axis=0), SHADE, atol=0.06)


@pytest.mark.extensive
def test_heels_below_trousers_are_shoes(stage: Stage, surface: BodyTexels) -> None:
    _, y, z = stage.body.template.numpy().T
    feet = part(stage, "left_ankle", "right_ankle", "left_foot", "right_foot")
    low, shoe = feet & (y < y[feet].min() + 0.05), feet & (z > 0.08)
    colours = dressed_colours(stage)
    colours[low | shoe] = 0.8
    visible = np.where(feet, shoe | (~low & (z > 0.03)), z > 0)
    got = on_vertices(surface, complete_texture(surface, baked(surface, colours, visible), Worn(shod=True)).image)
    heels = low & (z < 0.02) & (y < y[low].max() - 0.01) & (y > y[low].min() + 0.01)
    assert (np.ptp(got[heels], axis=1) < 0.1).mean() > 0.9


@pytest.mark.extensive
def test_shadows_below_a_dark_collar_do_not_stain_the_back(stage: Stage, surface: BodyTexels) -> None:
    _, y, z = surface.fine.interpolate(stage.body.template.numpy(), surface.faces).transpose(2, 0, 1)
    chest = part(stage, "spine1", "spine2", "spine3")
    heights = stage.body.template.numpy()[chest, 1]
    top, middle = heights.max(), np.median(stage.body.template.numpy()[chest, 2])
    colour = np.zeros((*y.shape, 3), np.float32)
    bright = np.clip((top - 0.08 - y) / 0.1, 0.02, 1)  # black at the neck, full ten centimetres further down
    colour[:] = np.float32((0.9, 0.4, 0.2)) * np.float32(bright)[..., None]
    trunk = part(stage, "pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
    on_trunk = surface.fine.interpolate(trunk[:, None].astype(np.float32), surface.faces)[..., 0] > 0.99
    visible = surface.fine.covered & on_trunk & (z > middle)
    got = complete_texture(surface, BakedTexture(colour, visible.astype(np.float32), visible)).image
    x, y, z = stage.body.template.numpy().T
    back = chest & (z < middle - 0.05) & (np.abs(x) < 0.1) & (y < top - 0.05)
    assert on_vertices(surface, got)[back].max(1).min() > 0.55


@pytest.mark.extensive
def test_half_a_face_keeps_its_features_to_itself(stage: Stage, surface: BodyTexels) -> None:
    x = stage.body.template.numpy()[:, 0]
    face = scalp_and_face(stage.body)[1]
    colours = dressed_colours(stage)
    colours[face & (np.abs(x) > 0.02)] = (0.2, 0.1, 0.4)
    shown = baked(surface, colours, x > 0.004)
    other = face & (x < -0.03)
    mirrored, alone = (
        np.abs(on_vertices(surface, complete_texture(surface, shown, mirror_face=m).image) - colours)[other].mean()
        for m in (True, False)
    )
    assert mirrored < 0.05
    assert alone > 0.1


@pytest.mark.extensive
def test_nothing_visible_gives_an_even_grey(stage: Stage, surface: BodyTexels) -> None:
    nothing = baked(surface, dressed_colours(stage), np.zeros(len(stage.body.template)))
    texture = complete_texture(surface, nothing)
    assert texture.visible_fraction == 0
    grey = texture.image[surface.fine.covered][:, :3]
    np.testing.assert_allclose(np.median(grey), 0.5, atol=0.01)
    assert np.ptp(grey, axis=1).max() < 1e-5


@pytest.mark.slow
def test_textures_are_kept_per_body_and_size(stage: Stage, surface: BodyTexels) -> None:
    assert body_texels(stage.body, 512) is surface
    assert body_texels(stage.body, 256) is not surface
