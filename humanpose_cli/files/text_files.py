"""Reading of text, JSON, TOML and lists of paths; errors name the file, and the line if possible."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.paths import found_path
from humanpose_cli.files.sniffing import file_kind, read_bytes, refuse_pipes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HEAD = 4096  # bytes that show the form of a file
_MAX_TEXT = 1 << 30  # bytes
_MAX_LIST = 128 << 20  # bytes: a million paths
_DEEPEST = 50  # nested tables and arrays; Python's limit differs between versions
_TOML_TEXT = re.compile(
    r""" "{3} (?: [^\\] | \\. )*? (?: "{3,5} | \Z ) | '{3} .*? (?: '{3,5} | \Z )
    | " (?: [^"\\\n] | \\. )* "? | ' [^'\n]* '? | \#[^\n]* """,
    re.DOTALL | re.VERBOSE,
)
# A key of N parts, for which the parser would store N² / 2 parts.
_DEEP_KEY = re.compile(rf"(?<![\w-])[\w-]+(?:[ \t]*\.[ \t]*[\w-]+){{{_DEEPEST}}}")


def file_head(path: Path) -> str:
    """Read the beginning of a file as text; "" if it cannot be read. Raises InputError for pipes."""
    refuse_pipes(path)
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return ""


def read_text(path: Path, *, kind: str = "text", remedy: str = "", limit: int = _MAX_TEXT) -> str:
    """Read text in UTF-8, or in UTF-16 or UTF-32 as `json.detect_encoding` finds it, without its byte order mark.

    Raises InputError that it is no `kind` file.
    """
    if (text := decoded(read_bytes(path, limit))) is None:
        raise InputError(path, f"is no {kind} file", got=file_kind(path), remedy=remedy)
    return text


def decoded(content: bytes) -> str | None:
    """Decode text without its byte order mark; None if the bytes are none."""
    try:
        return content.decode(json.detect_encoding(content)).removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None


def read_json(path: Path, *, remedy: str = "") -> Any:
    """Read a JSON document or JSON lines, which become a list. Raises InputError with the line of an error."""
    return parse_json(path, read_text(path, kind="JSON", remedy=remedy), remedy=remedy)


def parse_json(path: Path, text: str, *, remedy: str = "") -> Any:
    """Parse the text of a JSON file as `read_json`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines: list[Any] = []
        row = error.lineno
        with suppress(ValueError, RecursionError):
            for number, line in enumerate(text.splitlines(), 1):
                row = number if lines else row
                lines += [json.loads(line)] if line.strip() else []
            if len(lines) > 1:
                return lines
        problem = f"is no JSON from line {row} on ({error.msg})" if text.strip() else "is empty"
        raise InputError(path, problem, remedy=remedy) from error
    except (RecursionError, ValueError) as error:
        raise InputError(path, f"is no JSON that can be read ({error})", remedy=remedy) from error


def read_json_object(path: Path, *, remedy: str = "") -> dict[str, Any]:
    """Read a JSON document that is an object. Raises InputError otherwise."""
    return json_object(path, read_json(path, remedy=remedy))


def json_object(path: Path, document: Any) -> dict[str, Any]:
    """Return a file's document, which must be an object. Raises InputError otherwise."""
    if not isinstance(document, dict):
        raise InputError(path, "holds other JSON", expected="an object", got=type(document).__name__)
    return document


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document. Raises ValueError with a short message."""
    try:
        if _DEEP_KEY.search(_TOML_TEXT.sub("x", text)):
            raise RecursionError
        document = tomllib.loads(text)
        level: list[Any] = [document]
        for _ in range(_DEEPEST):
            values = (value for table in level for value in (table.values() if isinstance(table, dict) else table))
            level = [value for value in values if isinstance(value, dict | list)]
        if level:
            raise RecursionError
        repr(document)  # fails for very long hexadecimal numbers
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError("tables nested too deep") from None
    except ValueError:
        raise ValueError("a number of thousands of digits") from None
    return document


_WIDE_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_PATHS = "paths, one a line or separated by NUL bytes"


def read_list(source: IO[Any] | Path | None) -> list[str]:
    """Read the different paths in a file or on a stream: one a line, or each ended by a NUL byte, as by `find -print0`.

    Paths are those of `found_path`; a line that begins with # and names no file is a comment.

    UTF-16, as PowerShell writes it, is recognised by its byte order mark. Raises InputError if there is no path, and
    for NUL bytes between lines or after each letter, UsageError without a stream.
    """
    if source is None:
        raise UsageError("-", "needs a list on stdin", expected=_PATHS)
    what = source if isinstance(source, Path) else "stdin"
    if isinstance(source, Path):
        content = read_bytes(source, _MAX_LIST)
    elif len(content := getattr(source, "buffer", source).read(_MAX_LIST + 1)) > _MAX_LIST:
        raise InputError(what, "is too long a list", expected=f"at most {_MAX_LIST >> 20} MiB", got="more")
    data = _narrow(what, content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
    nul = b"\0" in data
    found = (match[0] for match in re.finditer(rb"[^\0]+" if nul else rb"[^\n]+", data))
    names = Counter(name for match in found if (name := match if nul else match.rstrip(b"\r")).strip())
    letters = sum(count for name, count in names.items() if len(name) == 1)
    lines = b"\n" in data and (b"\n\0" in data or not data.endswith(b"\0"))
    if nul and (lines or letters > max(1, names.total() / 2)):
        problem = "mixes NUL bytes with letters or line ends, as UTF-16 without a mark and damaged files do"
        remedy = "save the list as UTF-8"
        raise InputError(what, problem, expected=_PATHS, remedy=remedy)
    paths = [found_path(os.fsdecode(name)) for name in names]
    if not (paths := [path for path in paths if path[0] != "#" or os.path.lexists(path)]):
        raise InputError(what, "holds no path", expected=_PATHS)
    return list(dict.fromkeys(paths))


def _narrow(what: Path | str, data: bytes) -> bytes:
    """Convert text with a byte order mark to UTF-8 without it; other bytes stay."""
    encoding = next((name for mark, name in _WIDE_MARKS.items() if data.startswith(mark)), "")
    try:
        return data.decode(encoding).encode() if encoding else data.removeprefix(codecs.BOM_UTF8)
    except UnicodeError as error:
        problem = f"begins as a list in {encoding} and does not go on as one"
        raise InputError(what, problem, remedy="save the list as UTF-8") from error
