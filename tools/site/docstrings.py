"""Docstrings of this package as mkdocstrings renders them: arguments and fields as tables, the rest as Markdown.

The package writes arguments and fields in two columns, and `explained` and `Options` add those that are declared as
options when a module is imported:

    source     a path, or (H, W, 3) uint8 RGB
    frames     "A:B": frames A to B - 1 of a sequence
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import griffe

ENTRY = re.compile(r"([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*) {2,}(\S.*)")


def with_section(text: str, section: str, names: set[str]) -> str:
    """A docstring whose columns stand in a section of Google's style, at its end.

    section  such as Args
    names    of what the section may hold: other lines with two columns stay, as code
    """
    prose: list[str] = []
    entries: list[tuple[str, list[str]]] = []
    within = False
    for line in text.splitlines():
        entry = ENTRY.fullmatch(line)
        if entry and set(entry[1].split(", ")) <= names:
            entries.append((entry[1], [entry[2]]))
            within = True
        elif within and re.match(r" {2,}\S", line):
            entries[-1][1].append(line.strip())
        else:
            within = False
            prose.append(line)
    if not entries:
        return text
    lines = [f"    {name}: {' '.join(meaning)}" for joined, meaning in entries for name in joined.split(", ")]
    return "\n".join([*prose, "", f"{section}:", *lines]).replace("\n\n\n", "\n\n")


def declares_options(found: Any) -> bool:
    """Whether the docstring of a class or function is complete only after its import."""
    bases = [str(base) for base in getattr(found, "bases", ())]
    decorators = [str(decorator.value) for decorator in getattr(found, "decorators", ())]
    return any(base.endswith("Options") for base in bases) or any(text.startswith("explained(") for text in decorators)


class ColumnDocstrings(griffe.Extension):
    """Gives griffe each docstring as Google's style has it."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        self._visit(pkg)

    def _visit(self, found: Any) -> None:
        for member in tuple(found.members.values()):
            if member.is_alias:
                continue
            if not member.is_attribute:
                self._visit(member)
            elif isinstance(member.value, griffe.ExprCall) and str(member.value.function) == "option":
                member.value = member.value.arguments[0]  # the default; the table has the rest
        if found.is_module or found.docstring is None:
            return
        if declares_options(found):
            imported = getattr(importlib.import_module(found.module.path), found.name)
            found.docstring.value = inspect.getdoc(imported) or found.docstring.value
        fields = found.is_class and "__init__" not in found.members
        names = set(found.members) if fields else {parameter.name for parameter in found.parameters}
        found.docstring.value = with_section(found.docstring.value, "Attributes" if fields else "Args", names)
