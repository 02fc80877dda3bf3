"""Who is where in a photograph: discs and bars whose owners and depths are known."""

import numpy as np
import pytest

from humanpose_cli.reposing import segmentation
from humanpose_cli.reposing.segmentation import BACKGROUND, Claim, Palette, PeopleMap, label_people

SIZE = (80, 120)
FOCAL = 100.0


@pytest.fixture(autouse=True)
def exact_outlines(monkeypatch):
    """Bodies count with sharp outlines."""
    monkeypatch.setattr(segmentation, "_BLUR", 1e-9)


def disc(x, y, radius=25):
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


def bar(rows, columns):
    where = np.zeros(SIZE, bool)
    where[slice(*rows), slice(*columns)] = True
    return where


def claim(shown, depth, body=None, value=0.9):
    """Somebody whose mask has a value where they are shown, and a flat body at a depth."""
    body = shown if body is None else body
    return Claim.of(np.where(shown, np.float32(value), 0), np.where(body, np.float32(depth), np.inf), FOCAL)


LEFT, RIGHT = disc(45, 40), disc(75, 40)
PHOTO = np.full((*SIZE, 3), 90, np.uint8)
PHOTO[RIGHT], PHOTO[LEFT] = (30, 40, 220), (220, 40, 30)


@pytest.mark.parametrize("nearer", [0, 1])
def test_pixels_that_two_equal_masks_claim_show_the_nearer_body(nearer):
    claims = [claim(LEFT, 2.0 + (nearer == 1)), claim(RIGHT, 2.0 + (nearer == 0))]
    expected = np.full(SIZE, BACKGROUND)
    for index, where in sorted(enumerate((LEFT, RIGHT)), key=lambda one: one[0] == nearer):
        expected[where] = index
    assert np.array_equal(label_people(claims, SIZE), expected)


def test_a_limb_that_is_not_seen_claims_no_pixels():
    """Those of the person behind it, who is seen there, and it connects no others with its body."""
    depth = np.where(LEFT, np.float32(2), np.inf)
    seen = np.where(LEFT & ~RIGHT, np.float32(2), np.inf)
    nearer = Claim.of(np.where(LEFT, np.float32(0.9), 0), depth, FOCAL, seen_depth=seen)
    assert np.array_equal(label_people([nearer, claim(RIGHT, 3)], SIZE) == 1, RIGHT)
    island = disc(92, 40, 4)  # which its mask claims within the other person
    masks = [np.where(LEFT & ~RIGHT | island, np.float32(0.9), 0), np.where(RIGHT, np.float32(0.6), 0)]
    everywhere = np.full(SIZE, 2, np.float32)
    claims = [Claim.of(masks[0], everywhere, FOCAL, seen_depth=seen), Claim.of(masks[1], everywhere + 1, FOCAL)]
    assert (label_people(claims, SIZE)[island & RIGHT] == 1).all()


def test_a_surer_mask_outweighs_a_nearer_body():
    claims = [claim(LEFT, 2, value=0.35), claim(RIGHT, 3)]
    assert np.array_equal(label_people(claims, SIZE) == 1, RIGHT)


def test_a_limb_before_another_person_is_its_owners_and_complete():
    """Also where the other's mask is as sure."""
    arm = bar((36, 44), (60, 96))
    labels = label_people([claim(LEFT | arm, 2), claim(RIGHT, 3)], SIZE)
    assert np.array_equal(labels == 0, LEFT | arm)
    assert np.array_equal(labels == 1, RIGHT & ~LEFT & ~arm)


def test_a_piece_far_from_its_body_is_that_of_whoever_else_claims_it():
    """A person's mask that holds a neighbour's boot; where nobody else claims it, it stays."""
    boot, alone = bar((50, 58), (85, 93)), bar((2, 8), (2, 8))
    body = disc(45, 40, 12)
    first = Claim.of(np.where(body | boot | alone, np.float32(0.95), 0), np.where(body, np.float32(2), np.inf), FOCAL)
    second = claim(RIGHT, 3, body=disc(75, 40, 10), value=0.6)
    labels = label_people([first, second], SIZE)
    assert (labels[boot & RIGHT] == 1).all()
    assert (labels[alone] == 0).all()


@pytest.mark.parametrize(("neck", "owner"), [((39, 42), 1), ((28, 52), 0)])
def test_a_piece_nearer_to_a_neighbour_is_theirs_if_a_thin_neck_joins_it(neck, owner):
    """Also where the neighbour's mask lacks it: a hand that reaches into a mask; not a skirt or long hair."""
    left, right = disc(30, 40, 15), disc(78, 40, 15)
    hand = (disc(63, 40, 5) | bar(neck, (30, 66))) & ~right
    claims = [claim(left | hand, 2, body=left), claim(right, 2)]
    assert (label_people(claims, SIZE)[hand & disc(63, 40, 5)] == owner).all()
    shown = PeopleMap.of(claims, np.where((left | hand)[..., None], PHOTO * 0 + 200, PHOTO)).mask(0) >= 0.5
    assert shown[40, 62] == (owner == 0)


def test_masks_are_divided_and_end_at_the_edges_of_the_photograph():
    """Also where a mask, which comes from a coarse crop, ends beside them."""
    photo, left, right = (layer.repeat(5, 0).repeat(5, 1) for layer in (PHOTO, LEFT, RIGHT))
    shifted = np.roll(left, (2, -3), (0, 1))
    people = PeopleMap.of([claim(shifted, 2), claim(right & ~left, 3)], photo)
    for mask, before, truth in ((people.mask(0), shifted, left), (people.mask(1), right, right & ~left)):
        assert ((mask >= 0.5) ^ truth).sum() <= 0.2 * max((before ^ truth).sum(), 200)


@pytest.mark.parametrize(("foot", "neighbours", "shown"), [(66, 1, False), (66, 0, True), (80, 1, True)])
def test_a_limb_behind_something_among_people_is_none_of_the_mask(foot, neighbours, shown):
    """Where the photograph shows the surroundings, unless its edge cuts the limb, or nobody else is near."""
    trunk, legs, other = disc(30, 30, 14), bar((42, foot), (25, 36)), disc(57, 30, 14)
    photo = PHOTO * 0 + 90
    photo[trunk], photo[other] = (220, 40, 30), (30, 40, 220)
    depth, seen = (np.where(where, np.float32(2), np.inf) for where in (trunk | legs, trunk))
    first = Claim.of((trunk | legs).astype(np.float32), depth, FOCAL, seen_depth=seen)
    people = PeopleMap.of([first, claim(other, 2)][: 1 + neighbours], photo)
    assert (people.mask(0)[50:60, 28:33] >= 0.5).all() == shown


def test_pixels_that_two_people_claim_are_those_of_whom_they_look_like():
    """Although the body of the other one is nearer."""
    claims = [claim(LEFT, 3), claim(RIGHT, 2)]
    assert (label_people(claims, SIZE)[LEFT & RIGHT] == 1).all()
    people = PeopleMap.of(claims, PHOTO)
    assert (people.labels[LEFT & RIGHT] == 0).mean() > 0.95


def test_a_piece_of_the_surroundings_is_left_out():
    """And one that looks like nothing else there stays, such as a bag."""
    person, piece = bar((10, 70), (50, 62)), bar((30, 40), (62, 76))
    photo = np.full((*SIZE, 3), 90, np.uint8)
    photo[person] = (200, 40, 30)
    body = np.where(person, np.float32(2), np.inf)
    mask = np.where(person | piece, np.float32(0.9), np.float32(0))
    clean = PeopleMap.of([Claim.of(mask, body, FOCAL)], photo)
    assert ((clean.mask(0) >= 0.5) ^ person).sum() < 0.2 * piece.sum()  # what lies close to the body stays
    assert clean.claims[0].left_out == pytest.approx(piece.sum() / (person | piece).sum(), rel=0.3)
    photo[piece] = (20, 160, 40)
    kept = PeopleMap.of([Claim.of(mask, body, FOCAL)], photo)
    assert np.array_equal(kept.mask(0) >= 0.5, person | piece)
    assert kept.claims[0].left_out == 0


def test_a_reflection_below_the_soles_is_left_out():
    """A cloth that reaches below them stays."""
    person, below = bar((10, 60), (50, 62)), bar((60, 76), (50, 62))
    photo = np.where(person[..., None], np.uint8([200, 40, 30]), np.uint8(90))
    photo[below] = (20, 160, 40)
    photo[below & bar((68, 76), (50, 62))] = 80  # half of it is like the ground
    mask = np.where(person | below, np.float32(0.9), np.float32(0))
    reflected = Claim.of(mask, np.where(person, np.float32(2), np.inf), FOCAL)
    clean = PeopleMap.of([reflected], photo).mask(0) >= 0.5
    assert (clean ^ bar((10, 65), (50, 62))).sum() <= below.sum() / 8  # 0.1 m for shoes
    photo[below | bar((50, 60), (50, 62))] = (200, 160, 40)
    assert np.array_equal(PeopleMap.of([reflected], photo).mask(0) >= 0.5, person | below)


def test_a_mask_of_the_user_is_taken_as_it_is():
    """Its pixels are nobody else's, also where another mask is higher and another body nearer."""
    painted = disc(60, 40, 20)
    mine = Claim.of(painted.astype(np.float32), np.full(SIZE, np.inf, np.float32), FOCAL, exact=True)
    people = PeopleMap.of([claim(LEFT | RIGHT, 2, value=1.0), mine], PHOTO)
    assert np.array_equal(people.mask(1) > 0, painted)
    assert not (people.mask(0) > 0)[painted].any()


def test_what_a_hole_hides_of_a_neighbour_is_where_their_body_goes_on():
    two = PeopleMap.of([claim(LEFT, 2), claim(RIGHT & ~LEFT, 3, body=RIGHT)], PHOTO)
    hidden = two.hidden(LEFT, [0])
    assert list(hidden) == [1]
    assert np.array_equal(hidden[1], LEFT & RIGHT)
    assert np.array_equal(two.hidden(np.ones(SIZE, bool), [0])[1], LEFT & RIGHT)  # what shows them stays
    assert two.hidden(LEFT, [0, 1]) == {}
    assert two.hidden(disc(20, 40, 5), [0]) == {}


def test_hidden_neighbours_come_with_the_nearest_last():
    claims = [claim(LEFT, 2), claim(RIGHT & ~LEFT, 3, body=RIGHT), claim(disc(45, 70) & ~LEFT, 4, body=disc(45, 70))]
    assert list(PeopleMap.of(claims, PHOTO).hidden(LEFT, [0])) == [2, 1]


def test_a_neighbour_of_little_visibility_is_not_completed():
    visible = RIGHT & bar((0, 80), (80, 120))
    claims = [claim(LEFT | RIGHT & ~visible, 2), claim(visible, 3, body=RIGHT)]
    assert list(PeopleMap.of(claims, PHOTO).hidden(LEFT | RIGHT, [0])) == []
    visible = RIGHT & bar((0, 80), (70, 120))
    claims = [claim(LEFT | RIGHT & ~visible, 2), claim(visible, 3, body=RIGHT)]
    assert list(PeopleMap.of(claims, PHOTO).hidden(LEFT | RIGHT, [0])) == [1]


def test_colours_of_earlier_frames_tell_people_apart_who_hide_each_other():
    """Each mask claims both, and the nearer body is the wrong one's."""
    palettes = [Palette(), Palette()]
    PeopleMap.of([claim(LEFT & ~RIGHT, 3), claim(RIGHT & ~LEFT, 2)], PHOTO, palettes)
    claims = [claim(LEFT | RIGHT, depth) for depth in (3, 2)]
    assert (PeopleMap.of(claims, PHOTO).labels[LEFT] == 1).all()
    assert (PeopleMap.of(claims, PHOTO, palettes).labels[disc(45, 40, 22)] == 0).all()
