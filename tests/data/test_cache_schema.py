"""The schema of the dataset cache: pinned, and in step with what a sample is."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from humanpose_cli.core.conventions import SKELETONS
from humanpose_cli.data.samples import LABEL_MAPS, Person, Sample
from humanpose_cli.data.schema import COLUMNS, Kind, Rule, schema_document

GOLDEN = Path(__file__).with_name("cache_schema.json")


def test_the_schema_is_fixed():
    """A change here is a change of files: raise SCHEMA_VERSION and write a migration, or add an optional column."""
    document = json.dumps(schema_document(), indent=1, ensure_ascii=False) + "\n"
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
    assert {f"people/{family}/{name}" for family in ("keypoints", "joints") for name in SKELETONS} <= paths


def test_columns_say_what_their_numbers_mean():
    for column in COLUMNS:
        assert column.meaning
        if column.rule in (Rule.FINITE, Rule.CONFIDENCE, Rule.BOX, Rule.POSITIVE):
            assert column.units, column.path


def test_unknown_numbers_can_be_told():
    """NaN marks them, so that optional plain columns are floats; every number is little-endian."""
    for column in COLUMNS:
        if column.optional and column.kind is Kind.PLAIN:
            assert column.numpy_dtype.kind == "f", column.path
        assert column.dtype in ("text", "u1") or column.dtype.startswith("<"), column.path
