"""An extension of griffe: the API pages list the fields that `Options` adds to docstrings when a module is imported.

Signatures show the defaults of options, not their declarations.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe


class ImportedOptions(griffe.Extension):
    """Replaces the docstrings of options classes by those of the imported classes."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        self._visit(pkg)

    def _visit(self, parent: Any) -> None:
        for member in [member for member in parent.members.values() if not member.is_alias]:
            if not member.is_attribute:
                self._visit(member)
            elif isinstance(member.value, griffe.ExprCall) and str(member.value.function) == "option":
                member.value = member.value.arguments[0]  # the default
        if parent.is_class and parent.docstring and any(str(base).endswith("Options") for base in parent.bases):
            imported = getattr(importlib.import_module(parent.module.path), parent.name)
            parent.docstring.value = inspect.getdoc(imported)
