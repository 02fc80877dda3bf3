"""The schema is pinned, and samples that break the contract are refused, with the sample's name and the field."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cache_source import SmallSource, jpeg, random_sample

from humanpose_cli.core.conventions import SKELETONS
from humanpose_cli.core.errors import InputError
from humanpose_cli.lab.cache.building import make_plan
from humanpose_cli.lab.cache.encoding import encode_png, read_image_header
from humanpose_cli.lab.cache.samples import LABEL_MAPS, Group, Person, Sample
from humanpose_cli.lab.cache.schema import (
    COLUMNS,
    FORMAT,
    INDEX_COLUMNS,
    SCHEMA_VERSION,
    Column,
    Kind,
    Rule,
    columns_of,
)
from humanpose_cli.lab.cache.writing import GroupError, as_row, write_shard

GOLDEN = Path(__file__).with_name("cache_schema.json")


def describe(column: Column) -> dict:
    fields = {"kind": column.kind.value, "dtype": column.dtype, "shape": list(column.shape)}
    return {**fields, "optional": column.optional, "rule": column.rule.value, **column.attributes}


def test_the_schema_is_fixed():
    """A change here is a change of files: raise SCHEMA_VERSION and write a migration, or add an optional column."""
    tables = {"shard": COLUMNS, "index": INDEX_COLUMNS}
    columns = {name: {column.path: describe(column) for column in table} for name, table in tables.items()}
    document = {"format": FORMAT, "schema_version": SCHEMA_VERSION, **columns}
    document = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    assert document == GOLDEN.read_text("utf-8")


def families(table: str) -> set[str]:
    return {column.name.partition("/")[0] for column in COLUMNS if column.table == table}


def test_every_field_of_a_sample_has_a_column():
    elsewhere = {"people", "splits"}  # tables of their own
    assert {field.name for field in fields(Sample)} - elsewhere <= families("pictures")


def test_every_field_of_a_person_has_a_column():
    assert {field.name for field in fields(Person)} == families("people") - {"picture"}


def test_every_map_and_skeleton_has_a_column():
    paths = {column.path for column in COLUMNS}
    assert {f"pictures/maps/{name}" for name in LABEL_MAPS} <= paths
    assert {f"people/keypoints/{name}" for name in SKELETONS} <= paths
    assert {f"people/joints/{name}" for name in SKELETONS} <= paths


def test_columns_say_what_their_numbers_mean():
    for column in COLUMNS:
        assert column.meaning
        if column.rule in (Rule.FINITE, Rule.CONFIDENCE, Rule.BOX, Rule.POSITIVE):
            assert column.units, column.path


def test_unknown_numbers_can_be_declared():
    """NaN marks them, so that optional plain columns are floats; every number is little-endian."""
    for column in COLUMNS:
        if column.optional and column.kind is Kind.PLAIN:
            assert column.numpy_dtype.kind == "f", column.path
        assert column.dtype in ("text", "u1") or column.dtype.startswith("<"), column.path


SAMPLE = random_sample(np.random.default_rng(3), "clip/7")
PERSON = SAMPLE.people[0]
SIZE = (40, 48)


@pytest.fixture
def refusal(tmp_path):
    """What the writer says of a sample; it leaves no file behind."""

    def said(sample) -> str:
        plan = make_plan(SmallSource(), 3)
        with pytest.raises(GroupError) as error:
            write_shard(tmp_path / "a.h5", plan.header, [Group("a", 1)], lambda group: [sample])
        assert isinstance(error.value.error, InputError)
        assert list(tmp_path.iterdir()) == []
        return str(error.value.error)

    return said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "sample '': has no name"),
        ({"image": b"GIF89a..."}, "image: is neither JPEG nor PNG"),
        ({"image": np.zeros((4, 4, 3))}, "image: is not encoded, expected JPEG or PNG bytes, found ndarray"),
        ({"image": SAMPLE.image[:-40]}, "image: is cut off, its end is missing"),
        ({"image": encode_png(np.zeros(SIZE, np.uint8))[:-8]}, "image: is cut off, its end is missing"),
        ({"size": (40, 48)}, "image: is 48 × 40 pixels, the table has 40 × 48"),
        ({"focal": -1.0}, "focal: is -1, expected finite and greater than 0"),
        ({"focal": float("nan")}, "focal: holds a number that is not finite"),
        ({"principal_point": (1.0, 2.0, 3.0)}, "principal_point: has another shape, expected (2,), found (3,)"),
        ({"maps": {"colours": b""}}, "maps: has a name that is not known, expected correspondence, densepose"),
        ({"maps": {"parts": jpeg(np.zeros((40, 48, 3), np.uint8))}}, "maps/parts: has other pixels, expected PNG of"),
        ({"maps": {"parts": encode_png(np.zeros((40, 47), np.uint8))}}, "maps/parts: is 47 × 40 pixels"),
        ({"maps": {"depth": encode_png(np.zeros(SIZE, np.uint8))}}, "expected PNG of 16 bits × 1, found PNG of 8 bits"),
        ({"maps": {"normals": encode_png(np.zeros(SIZE, np.uint8))}}, "expected PNG of 8 bits × 3, found PNG of 8"),
    ],
)
def test_images_and_maps(refusal, change, message):
    text = refusal(replace(SAMPLE, **change))
    assert text.startswith("sample ")
    assert message in text


def person_with(**change):
    return replace(SAMPLE, people=(replace(PERSON, **change),))


def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


COCO = PERSON.keypoints["coco17"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poses": PERSON.poses[:-1]}, "poses: has another shape, expected (72,), found (71,)"),
        ({"poses": with_value(PERSON.poses, 3, np.nan)}, "poses: holds a number that is not finite"),
        ({"poses": "many"}, "poses: holds no numbers, found str"),
        ({"trans": np.array([0, 0, 1e300])}, "trans: holds a number that is not finite"),
        ({"box": np.array([3, 3, 3, 9.0])}, "box: is empty (3, 3, 3, 9)"),
        ({"gender": "woman"}, "gender: is not known, expected neutral, male, female or empty, found 'woman'"),
        ({"identity": "a\0b"}, "identity: holds a character that is no text"),
        ({"identity": None}, "identity: is no text, found NoneType"),
        ({"keypoints": {"coco18": COCO}}, "keypoints: has a name that is not known"),
        ({"keypoints": {"coco17": COCO[:, :2]}}, "keypoints/coco17: has another shape, expected (17, 3)"),
        ({"keypoints": {"coco17": with_value(COCO, (0, 2), 1.5)}}, "keypoints/coco17: holds a confidence outside 0…1"),
        ({"keypoints": {"coco17": with_value(COCO, (0, 2), np.nan)}}, "holds a confidence outside 0…1"),
        (
            {"keypoints": {"coco17": with_value(with_value(COCO, (0, 2), 1), (0, 0), np.nan)}},
            "keypoints/coco17: holds a labelled number that is not finite",
        ),
        ({"surface_points": np.array([[1, 2, 25, 0.5, 0.5]])}, "surface_points: holds a chart outside 1…24"),
        ({"surface_points": np.array([[1, 2, 3.5, 0.5, 0.5]])}, "surface_points: holds a chart outside 1…24"),
        ({"surface_points": np.array([[1, 2, 3, 1.5, 0.5]])}, "surface_points: holds a U or V outside 0…1"),
        ({"surface_points": np.zeros(5)}, "surface_points: has another shape, expected ('M', 5), found (5,)"),
        ({"mask": b"no image"}, "mask: is neither JPEG nor PNG"),
        ({"detected_mask": encode_png(np.zeros((5, 5), np.uint8))}, "detected_mask: is 5 × 5 pixels"),
    ],
)
def test_people(refusal, change, message):
    text = refusal(person_with(**change))
    assert text.startswith("sample 'clip/7', person 0")
    assert message in text


def test_what_is_not_labelled_may_be_unknown():
    """NaN beside a confidence of 0, whole numbers, and no surface points at all."""
    column = columns_of("people")["keypoints/coco17"]
    points = with_value(with_value(COCO, (4, 2), 0), (4, slice(2)), np.nan)
    np.testing.assert_array_equal(as_row("a", column, points), points.astype(np.float32))
    assert as_row("a", columns_of("people")["surface_points"], np.zeros((0, 5))) is None
    box = as_row("a", columns_of("people")["box"], [1, 2, 3, 4])
    assert box.dtype == np.float32


def test_headers_of_images():
    """Grey, 16 bits, and a thumbnail that ends before the image does."""
    grey = jpeg(np.zeros((9, 5), np.uint8))
    assert (read_image_header(grey).size, read_image_header(grey).channels, read_image_header(grey).complete) == (
        (5, 9),
        1,
        True,
    )
    deep = read_image_header(encode_png(np.zeros((3, 4, 3), np.uint16)))
    assert (deep.format, deep.size, deep.bits, deep.channels) == ("png", (4, 3), 16, 3)
    segment = b"\xff\xe1" + (2 + len(grey)).to_bytes(2, "big") + grey
    with_thumbnail = grey[:2] + segment + grey[2:]
    assert read_image_header(with_thumbnail) == read_image_header(grey)
    assert not read_image_header(with_thumbnail[:-2]).complete
    for nothing in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x10" + b"x" * 30):
        assert read_image_header(nothing) is None
