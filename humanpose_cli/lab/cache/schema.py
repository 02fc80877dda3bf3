"""Every table and column of a dataset cache, as data: writer, reader, checks and documentation share it.

A shard is an HDF5 file with one group per table. A plain column is one dataset with one row each. A ragged column is a
group of `values` and `offsets` (row i is values[offsets[i]:offsets[i + 1]]). An encoded column is a ragged column of
JPEG or PNG bytes with a CRC-32 for each row. All datasets are little-endian, contiguous and uncompressed, so a reader
knows where each row lies in the file. Texts are UTF-8 of fixed width, padded with zero bytes. Unknown numbers are NaN,
an unknown text or encoded image is empty, and a column without any value is left out. Row numbers count within the
file: within the shard in a shard, over the complete cache in the index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33, DENSEPOSE_CHARTS, FINGERS, SKELETONS, SMPL24, Skeleton
from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.files.text_files import json_object
from humanpose_cli.lab.cache.samples import LABEL_MAPS

Attributes = Mapping[str, str | int]
"""The attributes of a file's root or of a dataset."""

FORMAT = "humanpose-cli dataset cache"
SCHEMA_VERSION = 1
INDEX_NAME = "index.h5"
SHARD_PATTERN = "shard-*.h5"
MAX_SHARDS = 1_000_000
"""Folders with more files are unusable, and `missing` lists them one by one."""


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.h5"


def link_name(number: int) -> str:
    """Return the path of a shard's external link within the index."""
    return f"links/{number:05d}"


class Kind(Enum):
    """The storage of a column's rows."""

    PLAIN = "plain"
    RAGGED = "ragged"
    ENCODED = "encoded"


class Rule(Enum):
    """The condition that every known value of a column meets."""

    FINITE = "finite"
    POSITIVE = "finite and greater than 0"
    CONFIDENCE = "the last of each row 0…1, the others finite where it is not 0"
    BOX = "finite with x0 < x1 and y0 < y1"
    SURFACE = "finite, chart a whole number 1…24, U and V 0…1"
    GENDER = "neutral, male, female or empty"
    ANY = "any"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        table: Name of the table; the column lies at /table/name.
        name: Name within the table, with "/" for families such as "keypoints/smpl24".
        dtype: numpy's name of a value's type, or "text".
        meaning: Description that is stored with the values.
        shape: Shape of a row; in a ragged column, shape of one value of a row.
        units: Unit of the values.
        axes: Axes that coordinates refer to.
        skeleton: Name of the skeleton whose joints the rows list.
        kind: How the rows are stored.
        optional: Whether a row may lack a value, and the file the column.
        rule: Condition that every value meets.
    """

    table: str
    name: str
    dtype: str
    meaning: str
    shape: tuple[int, ...] = ()
    units: str = ""
    axes: str = ""
    skeleton: str = ""
    kind: Kind = Kind.PLAIN
    optional: bool = False
    rule: Rule = Rule.ANY

    @property
    def path(self) -> str:
        """Path in the file, without the leading slash."""
        return f"{self.table}/{self.name}"

    @property
    def is_text(self) -> bool:
        """Whether the values are texts."""
        return self.dtype == "text"

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Type of a value; texts have no fixed width here."""
        return np.dtype("S" if self.is_text else self.dtype)

    @property
    def attributes(self) -> dict[str, str]:
        """Attributes that are stored with the values."""
        texts = {"units": self.units, "axes": self.axes, "skeleton": self.skeleton, "description": self.meaning}
        return {name: text for name, text in texts.items() if text}


def value_problem(column: Column, row: NDArray[Any]) -> str:
    """Describe how a row breaks the rule of its column.

    Args:
        column: The column.
        row: A row of it that has a value.

    Returns:
        The end of a sentence that begins with the row; "" if the row meets the rule.
    """
    rule = column.rule
    if rule in (Rule.ANY, Rule.GENDER):
        return ""
    if rule is Rule.CONFIDENCE:
        confidence = row[:, -1]
        if not ((confidence >= 0) & (confidence <= 1)).all():  # also where it is NaN
            return "holds a confidence outside 0…1"
        return "" if np.isfinite(row[confidence > 0]).all() else "holds a labelled number that is not finite"
    if not np.isfinite(row).all():
        return "holds a number that is not finite"
    if rule is Rule.POSITIVE and not (row > 0).all():
        return f"is {row.min():g}"
    if rule is Rule.BOX and not (row[:2] < row[2:]).all():
        return f"is empty ({', '.join(f'{edge:g}' for edge in row)})"
    if rule is Rule.SURFACE:
        chart = row[:, 2]
        uv = row[:, 3:]
        if not ((chart >= 1) & (chart <= DENSEPOSE_CHARTS) & (chart == np.round(chart))).all():
            return f"holds a chart outside 1…{DENSEPOSE_CHARTS}"
        if not ((uv >= 0) & (uv <= 1)).all():
            return "holds a U or V outside 0…1"
    return ""


_CAMERA = "x right, y down, z forward"
_PIXELS = "x right, y down from the upper left corner, pixel centres at +0.5"
_J = len(SMPL24)


def _image(table: str, name: str, meaning: str) -> Column:
    return Column(table, name, "u1", meaning, kind=Kind.ENCODED, optional=True)


def _images() -> list[Column]:
    column = partial(Column, "pictures")
    optional = partial(column, dtype="<f8", optional=True)
    centre = "where the camera's axis meets the picture; its centre where this is not known"
    pose = "rotation and translation from the world's axes to the camera's, of cameras that move"
    finite = Rule.FINITE
    positive = Rule.POSITIVE
    return [
        column("name", "text", "unique within the cache"),
        column("size", "<i4", "width, height", (2,), "pixels"),
        optional("focal", meaning="focal length", units="pixels", rule=positive),
        optional("principal_point", meaning=centre, shape=(2,), units="pixels", axes=_PIXELS, rule=finite),
        optional("world_to_camera", meaning=pose, shape=(3, 4), units="metres", axes=_CAMERA, rule=finite),
        optional("frame_rate", meaning="of the recording", units="frames per second", rule=positive),
        column("group", "<i8", "row of its group"),
        column("sequence", "<i8", "row of its sequence, -1 for a single picture"),
        column("frame", "<i8", "place in the sequence", (), "frames of the original recording"),
        column("first_person", "<i8", "row of the first of its people, who follow each other"),
        column("person_count", "<i8", "how many people are labelled"),
        column("image", "u1", "the picture as JPEG or PNG", kind=Kind.ENCODED),
        *(
            _image("pictures", f"maps/{name}", f"PNG of the picture's size, {pixels}: {spec.meaning}; 0: nothing")
            for name, spec in LABEL_MAPS.items()
            for pixels in [f"{np.dtype(spec.dtype).name} × {spec.channels}"]
        ),
    ]


def _people() -> list[Column]:
    def texts(**meanings: str) -> list[Column]:
        return [Column("people", name, "text", meaning) for name, meaning in meanings.items()]

    def numbers(
        name: str, meaning: str, shape: tuple[int, ...], units: str = "", axes: str = "", **more: Any
    ) -> Column:
        options = {"rule": Rule.FINITE, **more}
        return Column("people", name, "<f4", meaning, shape, units, axes, optional=True, **options)

    def points(name: str, skeleton: Skeleton, width: int, meaning: str) -> Column:
        units, axes = ("pixels", _PIXELS) if width == 3 else ("metres", _CAMERA)
        more = {"skeleton": skeleton.name, "rule": Rule.CONFIDENCE}
        return numbers(name, meaning, (len(skeleton), width), units, axes, **more)

    relative = "the first three map body to camera axes, the others are relative to the parent"
    root = "root = pelvis of the shaped rest body + trans"
    surface = {"kind": Kind.RAGGED, "rule": Rule.SURFACE}
    keypoints = "x, y and confidence or visibility 0…1, 0: not labelled"
    joints = "x, y, z and confidence 0…1, 0: not labelled"
    mask_format = "PNG of the picture's size, 8 bits: "
    return [
        Column("people", "picture", "<i8", "row of the picture"),
        *texts(identity="who it is", clothing="what they wear", activity="what they do"),
        Column("people", "gender", "text", "of the body model: neutral, male, female", rule=Rule.GENDER),
        *texts(body="the body model whose parameters these are"),
        numbers("box", "x0, y0, x1, y1", (4,), "pixels", _PIXELS, rule=Rule.BOX),
        numbers("crowd", "1 for a region of several people, who are not labelled singly", (), "1", rule=Rule.POSITIVE),
        numbers("area", "of the person's outline, as its owner counts it", (), "square pixels", rule=Rule.POSITIVE),
        numbers("poses", f"axis-angle; {relative}", (3 * _J,), "radians", _CAMERA, skeleton=SMPL24.name),
        numbers("betas", "shape components", (10,), "the body model's"),
        numbers("trans", root, (3,), "metres", _CAMERA),
        numbers("segment_scales", "length of each segment", (_J,), "1: the body's own", "", skeleton=SMPL24.name),
        numbers("hand_poses", "axis-angle of the left and right fingers", (2, len(FINGERS), 3), "radians"),
        *(points(f"keypoints/{name}", skeleton, 3, keypoints) for name, skeleton in SKELETONS.items()),
        *(points(f"joints/{name}", skeleton, 4, joints) for name, skeleton in SKELETONS.items()),
        numbers("fit_poses", "poses of an imperfect fit", (3 * _J,), "radians", _CAMERA, skeleton=SMPL24.name),
        numbers("fit_betas", "betas of an imperfect fit", (10,), "the body model's"),
        numbers("fit_trans", "trans of an imperfect fit", (3,), "metres", _CAMERA),
        points("detected", BLAZEPOSE33, 3, "the detector's x, y and confidence 0…1"),
        points("detected_world", BLAZEPOSE33, 4, "the detector's world landmarks and confidence 0…1"),
        _image("people", "detected_mask", f"{mask_format}the detector's person mask × 255"),
        numbers("surface_points", "x, y, DensePose chart 1…24, U, V 0…1", (5,), "pixels, -, -, -", _PIXELS, **surface),
        _image("people", "mask", f"{mask_format}255 where this person is seen"),
    ]


def _joins() -> list[Column]:
    """List the tables that shards and the index share."""

    def rows(table: str, meaning: str, shape: tuple[int, ...] = ()) -> Column:
        return Column(table, "pictures", "<i8", meaning, shape, kind=Kind.RAGGED)

    return [
        Column("groups", "name", "text", "unique within the cache"),
        Column("groups", "first_picture", "<i8", "row of the first of its pictures, which follow each other"),
        Column("groups", "picture_count", "<i8", "how many pictures belong together"),
        Column("sequences", "name", "text", "unique within the cache"),
        rows("sequences", "rows of its pictures, by frame"),
        Column("protocols", "name", "text", "name of the protocol"),
        Column("protocols", "split", "text", "name of its split"),
        rows("protocols", "rows of the pictures in the split, ascending"),
        Column("pairs", "name", "text", "name of the protocol"),
        Column("pairs", "split", "text", "name of its split"),
        rows("pairs", "rows of the input and the target picture", (2,)),
    ]


COLUMNS: tuple[Column, ...] = (*_images(), *_people(), *_joins())
"""The columns of a shard, in the order of its tables."""
INDEX_COLUMNS: tuple[Column, ...] = (
    Column("shards", "number", "<i8", "of the plan; /links holds the external link of this name"),
    Column("shards", "picture_count", "<i8", "pictures in it"),
    Column("shards", "person_count", "<i8", "people in it"),
    Column("shards", "digest", "text", "its content digest"),
    Column("labels", "name", "text", "a column that at least one shard has"),
    Column("labels", "known", "<i8", "how many rows have a value"),
    *_joins(),
)
"""The columns of the index."""


class DatasetType(NamedTuple):
    """Content of a dataset's rows.

    Attributes:
        dtype: Type of a number; "S" of any width for texts.
        shape: Shape of a row.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def dataset_types(columns: tuple[Column, ...]) -> Mapping[str, DatasetType]:
    """Map the paths of the columns' datasets to their types."""
    types: dict[str, DatasetType] = {}
    for column in columns:
        plain = column.kind is Kind.PLAIN
        types[column.path if plain else f"{column.path}/values"] = DatasetType(column.numpy_dtype, column.shape)
        if not plain:
            types[f"{column.path}/offsets"] = DatasetType(np.dtype("<i8"), ())
        if column.kind is Kind.ENCODED:
            types[f"{column.path}/checksums"] = DatasetType(np.dtype("<u4"), ())
    return types


LABEL_TABLES = ("pictures", "people")
"""Tables with one row per image and per person."""


def columns_of(table: str, columns: tuple[Column, ...] = COLUMNS) -> Mapping[str, Column]:
    """Map the names of one table's columns to the columns."""
    return {column.name: column for column in columns if column.table == table}


# The root attributes of a shard or of the index.


@dataclass(frozen=True)
class Header:
    """The root attributes of a shard or of the index.

    Attributes:
        kind: "shard" or "index".
        source: Name of the source.
        options: Options of the source as JSON with sorted keys.
        tool_version: Version of the program that wrote the file.
        plan: Digest of the source, its options, its groups, and their distribution over shards.
        shard: Number of the shard; in the index, number of shards that it joins.
        shard_count: Number of shards in the plan.
        picture_count: Rows of the table `pictures`; in the index, over all shards.
        person_count: Rows of the table `people`; in the index, over all shards.
        group_count: Rows of the table `groups`; in the index, over all shards.
        content_digest: SHA-256 over all datasets; see `writing.digest_of_arrays`.
        schema_version: Version of the schema.
    """

    kind: str
    source: str
    options: str
    tool_version: str
    plan: str
    shard: int
    shard_count: int
    picture_count: int
    person_count: int
    group_count: int
    content_digest: str
    schema_version: int = SCHEMA_VERSION

    @property
    def options_values(self) -> dict[str, Any]:
        """Options of the source as JSON values."""
        return dict(json.loads(self.options))

    @property
    def attributes(self) -> dict[str, str | int]:
        """Attributes to write."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of(cls, path: Path, attributes: Attributes, kind: str | None = None) -> Header:
        """Read the header from the root attributes of a file.

        Args:
            path: The file, for messages.
            attributes: Its root attributes.
            kind: "shard" or "index"; None accepts both.

        Returns:
            The header.

        Raises:
            InputError: If the file belongs to another program, is of the other kind, has a newer schema, lacks an
                attribute, or has impossible counts or options.
        """
        if attributes.get("format") != FORMAT:
            raise InputError(path, "is no file of a dataset cache", expected=f"the format {FORMAT!r}")
        version = attributes.get("schema_version")
        if not isinstance(version, int):
            raise InputError(path, "lacks the version of its schema", remedy="copy or make it again")
        if version < SCHEMA_VERSION:
            raise InputError(path, f"has the unknown schema version {version}", remedy="make it again")
        if version > SCHEMA_VERSION:
            problem = "was written by a newer version of this program"
            remedy = "run pip install --upgrade humanpose-cli"
            expected = f"schema version {SCHEMA_VERSION} or older"
            raise InputError(path, problem, expected=expected, got=str(version), remedy=remedy)
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = attributes.get(field.name)
            if (str if field.type == "str" else int) is not type(value):
                raise InputError(path, f"lacks the attribute {field.name}", remedy="copy or make it again")
            values[field.name] = value
        header = cls(**values)
        counts = header.shard, header.picture_count, header.person_count, header.group_count
        if min(counts) < 0 or not 0 <= header.shard_count <= MAX_SHARDS:
            expected = f"at most {MAX_SHARDS:,} shards, no count below 0"
            got = f"{header.shard_count:,} shards, {', '.join(map(str, counts))}"
            raise InputError(path, "has impossible counts", expected=expected, got=got, remedy="copy or make it again")
        try:
            json_object(path, json.loads(header.options))
        except (ValueError, RecursionError) as error:
            problem = f"its options are no JSON ({reason_of(error)})"
            raise InputError(path, problem, remedy="copy or make it again") from error
        if header.kind not in ((kind,) if kind is not None else ("shard", "index")):
            raise InputError(path, f"is no {kind or 'shard or index'}", got=f"the {header.kind} of a dataset cache")
        return header
