"""The contact sheet and the contents of a dataset cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.cache_source import SmallSource, all_samples, random_sample
from helpers.errors import raises

from humanpose_cli.core.conventions import SKELETONS
from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.cache.contact_sheet import draw_contact_sheet, pick_rows
from humanpose_cli.lab.cache.contents import contents_lines, describe
from humanpose_cli.lab.cache.encoding import encode_png
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo
from humanpose_cli.rendering.overlay import person_colour

GREY, SIDE = 128, 64
TOP, LEFT = 3 * 12 + 10, 10  # of the first image on such a sheet


class FixedSamples:
    """A source of given samples."""

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples

    info = SourceInfo("given")

    def groups(self):
        return [Group(sample.name, 1, key=number) for number, sample in enumerate(self.samples)]

    def read(self, group):
        yield self.samples[group.key]


@pytest.fixture
def draw_sheet(tmp_path):
    """The first image of the sheet of one sample, and what is right of it."""

    def draw(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        build_cache(FixedSamples(sample), tmp_path)
        sheet = draw_contact_sheet(open_cache(tmp_path), [0], SIDE)
        rows = slice(TOP, TOP + SIDE)
        return sheet[rows, LEFT : LEFT + SIDE], sheet[rows, LEFT + SIDE + 4 : -LEFT]

    return draw


def grey(**labels) -> Sample:
    """An image of twice the width of its height; on the sheet it lies in rows 16 … 47."""
    return Sample("grey", encode_png(np.full((20, 40, 3), GREY, np.uint8)), (40, 20), **labels)


def is_near(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return np.abs(pixels.astype(float) - colour).max(-1) < 40


def test_images_keep_their_shape(draw_sheet):
    image, beside = draw_sheet(grey())
    assert (image[16:48] == GREY).all()
    assert (image[:16] == 0).all()
    assert (image[48:] == 0).all()
    assert beside.shape[1] == 0


def test_what_lies_far_outside_is_drawn_outside(draw_sheet):
    far = np.array([[1e30, -1e30, 3, 0.5, 0.5]], np.float32)
    for person in (Person(surface_points=far), Person(box=np.array([-1e30, -1e30, 1e30, 1e30]))):
        image, _ = draw_sheet(grey(people=(person,)))
        assert (image[16:48] == GREY).all()


@pytest.mark.parametrize(
    ("kind", "hip", "knee"), [("keypoints", (10, 10), (30, 10)), ("joints", (-1, 0, 4), (1, 0, 4))]
)
def test_skeletons_lie_where_the_key_points_are_and_joints_where_the_camera_sees_them(draw_sheet, kind, hip, knee):
    points = np.zeros((17, len(hip) + 1), np.float32)
    for name, point in {"left_hip": hip, "left_knee": knee}.items():
        points[SKELETONS["coco17"].index(name)] = (*point, 1)
    image, _ = draw_sheet(grey(focal=40.0, people=(Person(**{kind: {"coco17": points}}),)))
    is_drawn = (image != GREY).any(-1)[16:48]
    assert is_drawn[16, 18:46].all()  # the bone, at 1.6 times the image's size
    assert not is_drawn[:10].any()
    assert not is_drawn[22:].any()
    assert not is_drawn[:, 52:].any()


@pytest.mark.parametrize("kind", ["map", "mask"])
def test_outlines_go_around_people(draw_sheet, kind):
    mask = np.zeros((20, 40), np.uint8)
    mask[5:15, 10:30] = 1
    person = Person() if kind == "map" else Person(mask=encode_png(255 * mask))
    image, _ = draw_sheet(grey(people=(person,), maps={"persons": encode_png(mask)} if kind == "map" else {}))
    is_drawn = (image != GREY).any(-1)[16:48]
    assert is_drawn[8, 18:46].all()
    assert is_drawn[23, 18:46].all()
    assert not is_drawn[12:19, 22:42].any()
    assert not is_drawn[:5].any()


def test_a_box_where_there_is_nothing_else(draw_sheet):
    image, _ = draw_sheet(grey(people=(Person(box=np.array([10, 5, 30, 15.0])),)))
    assert is_near(image[24, 20:44], 255 * person_colour(0)).all()
    assert (image[28:36, 22:42] == GREY).all()


def test_insets(draw_sheet):
    parts, depth = np.zeros((20, 40), np.uint8), np.zeros((20, 40), np.uint16)
    parts[:, 20:], depth[:, :10], depth[:, 10:20] = 3, 1000, 3000
    normals = np.full((20, 40, 3), (255, 0, 128), np.uint8)
    maps = {name: encode_png(pixels) for name, pixels in {"parts": parts, "depth": depth, "normals": normals}.items()}
    _, beside = draw_sheet(grey(maps=maps))
    inset = (SIDE - 8) // 3
    assert beside.shape[1] == inset
    first, second, third = (beside[n * (inset + 4) :][:inset, :inset] for n in range(3))
    middle = inset // 2
    assert is_near(first[middle, -4:], 0.75 * 255 * person_colour(2) + 0.25 * GREY).all()
    assert is_near(first[middle, :4], np.full(3, 0.6 * GREY)).all()
    assert second[middle, 1].sum() > second[middle, 6].sum() > second[middle, -2].sum() == 0  # near is bright
    assert is_near(third[middle], np.array([255, 0, 128])).all()


def test_surface_points_are_dots(draw_sheet):
    points = np.array([[20, 10, 5, 0.5, 0.5]])
    image, _ = draw_sheet(grey(people=(Person(surface_points=points),)))
    assert is_near(image[32, 32], 255 * person_colour(5))
    assert (image[32, 40:] == GREY).all()


@pytest.mark.slow
def test_a_sheet_of_everything(tmp_path):
    """Of any number, with what some have and others lack."""
    source = SmallSource(group_count=4)
    build_cache(source, tmp_path)
    cache = open_cache(tmp_path)
    for count in (1, 2, 7, 12, 99):
        rows = pick_rows(cache, count)
        sheet = draw_contact_sheet(cache, rows, SIDE)
        assert sheet.dtype == np.uint8
        assert len(rows) == min(count, 12)
    assert draw_contact_sheet(cache, [], SIDE).shape[2] == 3
    long = replace(random_sample(np.random.default_rng(0), "name/" * 60), people=())
    build_cache(FixedSamples(long), tmp_path / "long")
    assert draw_contact_sheet(open_cache(tmp_path / "long"), [0], SIDE).shape[1] < 2 * SIDE


@pytest.mark.slow
def test_which_images_are_drawn(tmp_path):
    build_cache(SmallSource(), tmp_path)
    cache = open_cache(tmp_path)
    first = pick_rows(cache, 5, seed=1)
    assert first.tolist() == pick_rows(cache, 5, seed=1).tolist() != pick_rows(cache, 5, seed=2).tolist()
    assert sorted(set(first.tolist())) == first.tolist()
    test = cache.rows("small", "test").tolist()
    assert pick_rows(cache, 99, split="small/test").tolist() == test
    assert pick_rows(cache, 99, split="small").tolist() == list(range(15))
    with raises(UsageError, subject="small/validation"):
        pick_rows(cache, 3, split="small/val")
    with raises(UsageError, subject="count"):
        pick_rows(cache, 0)


@pytest.mark.slow
def test_contents(tmp_path):
    source = SmallSource()
    build_cache(source, tmp_path, shard_size=6)
    contents = describe(open_cache(tmp_path))
    samples = all_samples(source)
    people = [person for sample in samples for person in sample.people]
    numbers = [contents[name] for name in ("pictures", "people", "groups", "sequences", "shards", "shards_planned")]
    assert numbers == [15, len(people), 5, 3, 3, 3]
    assert contents["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("shard-*.h5"))
    assert contents["sizes"] == [{"width": 48, "height": 40, "pictures": 15}]
    assert contents["people_in_a_picture"] == {"0": 5, "1": 5, "2": 5}
    assert contents["different"] == {"identity": 2, "clothing": 1, "activity": 1}
    assert contents["splits"] == {"all/train": 15, "small/test": 6, "small/train": 9}
    assert contents["pairs"] == {"pairs/train": 10}
    labels = contents["labels"]
    pose_count = sum(person.poses is not None for person in people)
    assert labels["people/poses"] == labels["people/mask"] == labels["people/surface_points"] == pose_count
    assert labels["people/box"] == 15
    assert labels["pictures/maps/depth"] == labels["pictures/focal"] == 10
    lines = dict(contents_lines(contents))
    assert lines["protocol small"] == "test 6, train 9"
    assert lines["different"] == "2 identities, 1 outfit, 1 activity"
    assert lines["labels of people"].startswith("100 %: identity, box; 66 %: ")
