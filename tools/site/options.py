"""An extension of griffe: the API pages list what `Options` and `declared` add when a module is imported.

Signatures show the defaults of options, not their declarations.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe


class ImportedOptions(griffe.Extension):
    """Takes the docstrings of options classes, and the arguments that functions declare, from the imported objects."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        self._visit(pkg)

    def _visit(self, parent: Any) -> None:
        for member in [member for member in parent.members.values() if not member.is_alias]:
            if not member.is_attribute:
                self._visit(member)
            elif isinstance(member.value, griffe.ExprCall) and str(member.value.function) == "option":
                member.value = member.value.arguments[0]  # the default
        decorators = [str(each.value) for each in getattr(parent, "decorators", ())]
        takes_options = any(decorator.startswith("declared(") for decorator in decorators)
        is_options = parent.is_class and any(str(base).endswith("Options") for base in parent.bases)
        if parent.docstring and (is_options or takes_options):
            imported = getattr(importlib.import_module(parent.module.path), parent.name)
            parent.docstring.value = inspect.getdoc(imported)
        if takes_options:
            function = parent["__init__"] if parent.is_class else parent
            own = {parameter.name: parameter for parameter in function.parameters}
            named = inspect.signature(imported).parameters.values()
            function.parameters = griffe.Parameters(
                *[each for each in function.parameters if each.name == "self"],
                *[own.get(each.name) or _parameter(each) for each in named],
            )


def _parameter(parameter: inspect.Parameter) -> griffe.Parameter:
    kind = griffe.ParameterKind("keyword-only")
    return griffe.Parameter(parameter.name, annotation=parameter.annotation, kind=kind, default=repr(parameter.default))
