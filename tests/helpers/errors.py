"""Expect an error by its fields, not by its sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from humanpose_cli.core.errors import HpcError

Kind = TypeVar("Kind", bound=HpcError)
TEST_FOLDER = re.compile(r"^.*/pytest-\d+/(popen-gw\d+/)?[^/]+")
Texts = str | tuple[str, ...]


@contextmanager
def raises(
    kind: type[Kind] | tuple[type[Kind], ...],
    *texts: str,
    subject: Texts = (),
    problem: Texts = (),
    expected: Texts = (),
    got: Texts = (),
    remedy: Texts = (),
) -> Iterator[pytest.ExceptionInfo[Kind]]:
    """Expect an error of `kind` whose fields contain these texts, of several each; `texts` stand in any of them."""
    fields = {"subject": subject, "problem": problem, "expected": expected, "got": got, "remedy": remedy}
    with pytest.raises(kind) as info:
        yield info
    actual = {name: getattr(info.value, name) for name in fields}
    actual["subject"] = TEST_FOLDER.sub("", actual["subject"])  # whose name is the test's, and would contain many texts
    for name, parts in fields.items():
        for part in (parts,) if isinstance(parts, str) else parts:
            assert part in actual[name], f"{name} of {info.value!r}"
    for text in texts:
        assert any(text in field for field in actual.values()), f"{text!r} in {info.value!r}"
