"""How deep a text is nested, for parsers that end the interpreter where it is too deep.

OpenCV's FileStorage calls itself for each level, and expat for each entity inside another one.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from humanpose_cli.core.errors import InputError, reason_of
from humanpose_cli.io.sniffing import reading

_MAX_BYTES = 64 << 20
_MAX_TAGS = 1_000_000
_DEEPEST = 100
_EXPORT = "export or download it again"
_XML_TAG = re.compile(r"<!--.*?(?:-->|\Z)|</|<[^<>]*>?", re.DOTALL)
# Where OpenCV begins a list ("- ") or a table ("key: ") in the block style: a dash before a digit is a number's.
_YAML_BLOCK = re.compile(r"(?<![^\s:>-])-(?![\d.])|:")
_FLOW = re.compile(r"[\[{]")


def refuse_deep_yaml(path: Path, text: str) -> None:
    """Raise InputError if OpenCV could find YAML nested too deep; a bound from above, as all else depends on its
    parser.

    A line may go on within the lists in brackets of the lines before it if it stands farther to the right than the
    key of the first one does. Closing brackets do not count, because they may stand in texts and comments.

    Also for more than one table that begins in the first column: after another document OpenCV's parser may not end.
    """
    lines = [(len(line) - len(line.lstrip(" ")), line.strip(" \r")) for line in text.split("\n")]
    lines = [(column, line) for column, line in lines if line and line[0] != "#"]
    start = next((row for row, (_, line) in enumerate(lines) if line[0] != "%"), len(lines))
    body = lines[start:]
    body = body[1:] if body and body[0] == (0, "---") else body
    body = body[:-1] if body and body[-1] == (0, "...") else body
    first = (body[0][0], body[0][1][0]) if body else (0, "a")
    if first[0] or not (first[1].isalnum() or first[1] in '_"') or any(line.startswith("...") for _, line in body):
        expected = "one table whose names begin in the first column"
        raise InputError(path, "is YAML of another kind", expected=expected, remedy=_EXPORT)
    key = bracket_count = 0  # column of the key in whose value this line may be; brackets that may be open
    for column, line in body:
        if line[0] in "[{!":  # may be the value of a key in a line before
            key = min(key, column)
        elif not bracket_count:
            key = column
        if column <= key:
            key, bracket_count = column, 0
        bracket_count += len(_FLOW.findall(line))
        _refuse_depth(path, column + len(_YAML_BLOCK.findall(line)) + bracket_count)


def refuse_deep_xml(path: Path, text: str) -> None:
    """Raise InputError for XML nested too deep or of too many tags, and for document types, which declare entities."""
    if "<!DOCTYPE" in text or "<![" in text:
        raise InputError(path, "has a document type or CDATA", expected="plain XML", remedy=_EXPORT)
    depth = 0
    for number, tag in enumerate(_XML_TAG.finditer(text)):
        if number == _MAX_TAGS:
            raise InputError(path, "is too large", expected=f"at most {_MAX_TAGS:,} tags", remedy=_EXPORT)
        if tag[0] == "</":
            depth = max(depth - 1, 0)
        elif tag[0].startswith("<!--"):  # tags in it, too: not all parsers see comments in the same places
            depth += len(re.findall("<[^/!]", tag[0]))
        elif not tag[0].startswith("<?") and not tag[0].endswith("/>"):
            depth += 1
        _refuse_depth(path, depth)


def parse_xml(path: Path) -> ElementTree.Element:
    """Parse an XML file to its root. Raises InputError for damage, and as `refuse_deep_xml` and `check_file_size`."""
    check_file_size(path)
    with reading(path):
        data = path.read_bytes()
    refuse_deep_xml(path, data.replace(b"\0", b"").decode("latin-1"))  # so that UTF-16 is checked, too
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # of an unknown encoding
        raise InputError(path, f"is no readable XML ({reason_of(error)})", remedy=_EXPORT) from error


def check_file_size(path: Path) -> None:
    """Raise InputError for a file of more than 64 MiB, which no calibration has."""
    with reading(path):
        size = path.stat().st_size
    if size > _MAX_BYTES:
        expected, got = f"at most {_MAX_BYTES >> 20} MiB", f"{size >> 20} MiB"
        raise InputError(path, "is too large for a calibration", expected=expected, got=got)


def _refuse_depth(path: Path, depth: int) -> None:
    if depth > _DEEPEST:
        raise InputError(path, "is nested too deep", expected=f"at most {_DEEPEST} levels", remedy=_EXPORT)
