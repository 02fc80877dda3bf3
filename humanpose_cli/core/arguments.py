"""Keyword arguments that are declared once: their types in a TypedDict, their texts and defaults in classes of options.

    @declared(FitterArguments, FitOptions, ComputeOptions)
    def fit(source: Source, *, frames: str | None = None, **arguments: Unpack[FitterArguments]) -> Fit:

Editors and type checkers read `Unpack`; `help`, notebooks and the API pages show what `declared` adds.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from humanpose_cli.core.option_rules import check_options
from humanpose_cli.core.options import KEY, Options, explained

Declared = TypeVar("Declared", bound=Callable[..., Any])


def declared(types: type, *kinds: type[Options]) -> Callable[[Declared], Declared]:
    """Add arguments to the signature and the docstring of a function, or a class, that takes them as `**arguments`.

    Args:
        types: The TypedDict.
        *kinds: The classes that have options of the arguments' names, in the order in which they are shown. The first
            one that has a name explains it.
    """
    fields: dict[str, Any] = {}
    for kind in kinds:
        for field in dataclasses.fields(kind):  # type: ignore[arg-type]
            if field.name in types.__annotations__ and not isinstance(field.default, Options):
                fields.setdefault(field.name, field)
    arguments = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_annotation(types.__annotations__[name]),
        )
        for name, field in fields.items()
    ]
    texts = explained({name: field.metadata[KEY] for name, field in fields.items()})

    def decorate(target: Declared) -> Declared:
        function: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[:-1]
        parameters = sorted([*arguments, *own], key=lambda parameter: parameter.kind)
        function.__signature__ = signature.replace(parameters=parameters)
        before, heading, after = (inspect.getdoc(target) or "").partition("\nArgs:\n")
        entries, blank, after = after.partition("\n\n")
        target.__doc__ = f"{before}{heading}{entries}\n{texts}{blank}{after}"
        return target

    return decorate


def _annotation(reference: typing.ForwardRef) -> str:
    """Return the type of an argument as its module writes it, but choices instead of their name."""
    name = reference.__forward_arg__
    kind = getattr(sys.modules[str(reference.__forward_module__)], name, None)
    return str(kind).removeprefix("typing.") if typing.get_origin(kind) is typing.Literal else name


def given(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that are not None.

    Raises:
        TypeError: If the function, or class, has no such argument; the message suggests the nearest one.
    """
    names = inspect.signature(function).parameters
    for name in arguments:
        if name not in names:
            near = "".join(f". Did you mean {each!r}?" for each in difflib.get_close_matches(name, names, n=1))
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}{near}")
    return {name: value for name, value in arguments.items() if value is not None}


def taken(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Move the values of some names out of a dictionary, which may lack them."""
    return {name: values.pop(name) for name in names if name in values}


def check_call(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Raise UsageError for an argument without effect, and TypeError for an unknown one.

    Args:
        function: The function that was called.
        values: Its `locals()`.
    """
    options = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    defaults = {option.name: option.default for option in options}
    check_options({**defaults, **values, **given(function, values.get("arguments", {}))}, defaults)
