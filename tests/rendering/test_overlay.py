"""Overlays over photos: colours by track, what stays untouched, keypoints."""

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.errors import UsageError
from humanpose_cli.rendering.overlay import (
    draw_dashed_box,
    draw_label,
    draw_overlay,
    label_size,
    person_colour,
    pushed_apart,
)

CAMERA = Camera(200.0, (80.0, 60.0), (160, 120))
FACES = torch.tensor([[0, 3, 2], [0, 2, 1]], dtype=torch.int32)


def people(*centres: tuple[float, float]) -> torch.Tensor:
    """Squares that face the camera at (x, depth): (P, 4, 3)."""
    corners = torch.tensor([[-0.2, -0.2, 0.0], [0.2, -0.2, 0.0], [0.2, 0.2, 0.0], [-0.2, 0.2, 0.0]])
    return torch.stack([corners + torch.tensor([x, 0.0, depth]) for x, depth in centres])


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (120, 160, 3)).astype(np.uint8)


def test_photo_is_untouched_outside_the_bodies_and_not_modified(photo: np.ndarray) -> None:
    before = photo.copy()
    drawn = draw_overlay(photo, people((0.0, 2.0)), FACES, CAMERA)
    np.testing.assert_array_equal(photo, before)
    inside = np.zeros((120, 160), bool)
    inside[40:80, 60:100] = True
    np.testing.assert_array_equal(drawn[~inside], before[~inside])
    assert (drawn[inside] != before[inside]).mean() > 0.9


def test_person_stays_visible_through_the_body(photo: np.ndarray) -> None:
    drawn = draw_overlay(photo, people((0.0, 2.0)), FACES, CAMERA)
    before, after = photo[42:78, 62:98].astype(float), drawn[42:78, 62:98].astype(float)
    for channel in range(3):
        slope = np.polyfit(before[..., channel].ravel(), after[..., channel].ravel(), 1)[0]
        assert abs(slope - 0.3) < 0.01


def test_colours_follow_the_track_not_the_row() -> None:
    grey = np.full((120, 160, 3), 127, np.uint8)
    bodies = people((-0.3, 2.0), (0.3, 2.0))
    one = draw_overlay(grey, bodies, FACES, CAMERA, track_ids=[4, 7])
    other = draw_overlay(grey, bodies.flip(0), FACES, CAMERA, track_ids=[7, 4])
    np.testing.assert_array_equal(one, other)
    assert abs(one[60, 50].astype(int) - one[60, 110]).max() > 20


def test_what_is_hatched_has_stripes_and_the_rest_none(photo: np.ndarray) -> None:
    """Of two squares the left one is hatched: stripes as without, gaps that the photo shows through, at an angle."""
    grey = np.full((240, 320, 3), 127, np.uint8)
    camera = Camera(400.0, (160.0, 120.0), (320, 240))
    bodies = people((-0.3, 2.0), (0.3, 2.0))
    hatched = torch.tensor([[True] * 4, [False] * 4])
    plain, drawn = draw_overlay(grey, bodies, FACES, camera), draw_overlay(grey, bodies, FACES, camera, hatched=hatched)
    np.testing.assert_array_equal(drawn[:, 160:], plain[:, 160:])
    left = slice(90, 150), slice(70, 130)
    stripe = (drawn[left] == plain[left]).all(-1)
    assert stripe.mean() == pytest.approx(0.5, abs=0.1)
    # The gaps are between: a fifth of the colour is left.
    expected = 127 + 0.2 * (plain[left].astype(float) - 127)
    assert np.abs(drawn[left] - expected)[~stripe].max() <= 1
    # The pattern moves one column to the left from row to row.
    np.testing.assert_array_equal(stripe[1:, :-1], stripe[:-1, 1:])


def test_the_boundary_of_a_hatched_part_is_on_the_surface() -> None:
    """A square whose right vertices are hatched: its left half is plain."""
    grey = np.full((240, 320, 3), 127, np.uint8)
    camera = Camera(800.0, (160.0, 120.0), (320, 240))
    body, hatched = people((0.0, 2.0)), torch.tensor([[False, True, True, False]])
    plain, drawn = draw_overlay(grey, body, FACES, camera), draw_overlay(grey, body, FACES, camera, hatched=hatched)
    changed = (plain != drawn).any(-1)
    assert not changed[:, :159].any()
    assert changed[60:180, 162:238].mean() == pytest.approx(0.5, abs=0.1)


def test_palette_is_stable_and_distinct() -> None:
    colours = np.stack([person_colour(i) for i in range(60)])
    assert colours.min() >= 0
    assert colours.max() <= 1
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)[:12, :12]
    assert distance[~np.eye(12, dtype=bool)].min() > 0.15
    np.testing.assert_array_equal(person_colour(37), person_colour(37))


def test_no_people_and_bodies_without_a_position_leave_the_photo(photo: np.ndarray) -> None:
    np.testing.assert_array_equal(draw_overlay(photo, people((0, 2))[:0], FACES, CAMERA), photo)
    nowhere = torch.full((1, 4, 3), float("nan"))
    np.testing.assert_array_equal(draw_overlay(photo, nowhere, FACES, CAMERA, track_ids=[3]), photo)


def test_wrong_input_is_refused(photo: np.ndarray) -> None:
    with raises(UsageError, problem="not RGB"):
        draw_overlay(photo[..., 0], people((0, 2)), FACES, CAMERA)
    with raises(UsageError, problem="do not match the bodies"):
        draw_overlay(photo, people((0, 2)), FACES, CAMERA, track_ids=[1, 2])


def test_a_dashed_box_is_drawn_within_the_image() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    draw_dashed_box(image, (50, 60, 250, 500))
    drawn = image.any(-1)
    rows, columns = np.nonzero(drawn)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (50, 250, 60, 299)
    inside = drawn[62:298, 52:249]
    assert not inside.any()
    top = drawn[60, 50:251]
    assert 0.4 < top.mean() < 0.9  # dashes, and gaps between them
    draw_dashed_box(image, (-500, -500, -100, -100))


@pytest.mark.parametrize("side", [300, 1280, 4000])
@pytest.mark.parametrize("text", ["0", "12?", "(gjpqy|Ag)"])
def test_a_label_is_inside_its_ground(side: int, text: str) -> None:
    image = np.full((side // 4, side, 3), 255, np.uint8)
    draw_label(image, text, (side // 8, side // 16))
    drawn = (image != 255).any(-1)
    rows, columns = np.nonzero(drawn)
    part = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert drawn.sum() == part[..., 0].size, "what is drawn is no rectangle"
    edges = (part[:1], part[-1:], part[:, :1], part[:, -1:])
    assert all((edge == 32).all() for edge in edges), "text touches the edge of its ground"
    assert ((part > 100).any(-1)).sum() > 0.02 * part[..., 0].size


def test_a_label_has_its_size_and_stays_in_the_image() -> None:
    image = np.full((200, 300, 3), 255, np.uint8)
    draw_label(image, "12?", (290, -20), 20, person_colour(1))
    drawn = (image != 255).any(-1)
    width, height = label_size("12?", 20)
    assert drawn[:height, -width:].all()
    assert drawn.sum() == width * height


def test_labels_are_pushed_apart_in_the_image() -> None:
    """The first stays, the next ones go to the nearest free height, and none where there is no room at all."""
    sizes = np.tile((30, 20), (5, 1))
    corners = np.array([(100, 50), (110, 55), (95.4, 45), (200, 50), (290, -30)], float)
    moved = pushed_apart(corners, sizes, np.array((300, 200)))
    assert moved.tolist() == [[100, 50], [110, 70], [95, 30], [200, 50], [270, 0]]
    crowded = pushed_apart(np.tile((10.0, 10.0), (4, 1)), sizes[:4], np.array((40, 50)))
    assert crowded.tolist() == [[10, 10], [10, 30], [10, 10], [10, 10]]
