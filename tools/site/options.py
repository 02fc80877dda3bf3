"""An extension of griffe: the API pages list the options that docstrings get when their module is imported.

`explained` and `Options` (humanpose_cli/core/options.py) add them. Signatures show the defaults of options, not their
declarations.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe


def declares_options(member: Any) -> bool:
    """Check whether the docstring of a class or function is complete only after its import."""
    bases = [str(base) for base in getattr(member, "bases", ())]
    decorators = [str(decorator.value) for decorator in getattr(member, "decorators", ())]
    return any(base.endswith("Options") for base in bases) or any(text.startswith("explained(") for text in decorators)


class ImportedOptions(griffe.Extension):
    """Replaces the docstrings of options and of what takes them by those of the imported objects."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        self._visit(pkg)

    def _visit(self, parent: Any) -> None:
        for member in [member for member in parent.members.values() if not member.is_alias]:
            if not member.is_attribute:
                self._visit(member)
            elif isinstance(member.value, griffe.ExprCall) and str(member.value.function) == "option":
                member.value = member.value.arguments[0]  # the default
        if not parent.is_module and parent.docstring is not None and declares_options(parent):
            imported = getattr(importlib.import_module(parent.module.path), parent.name)
            parent.docstring.value = inspect.getdoc(imported)
