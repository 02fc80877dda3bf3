"""Options, declared once: a dataclass field holds its default, meaning, unit and range.

    @dataclass(frozen=True)
    class RefineOptions(Options):
        size: int = option(384, "Side of a person's crop.", unit="pixels", minimum=64)

Checks, the docstring of the class, `hpc --help` and docs/reference/commands.md come from these declarations.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import textwrap
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from humanpose_cli.core.errors import UsageError

KEY = "humanpose_cli.option"  # in the metadata of fields
_MAX_INTEGER = 2**31 - 1  # the largest whole number for native code
_WIDTH = 116  # characters of a line in a docstring
Record = TypeVar("Record")


@dataclass(frozen=True)
class OptionInfo:
    """The declaration of an option, without its type and default.

    Attributes:
        text: Its meaning in one sentence, with other options in backticks.
        unit: Unit of the value, such as "pixels".
        unset: The meaning of the default None or "".
        value: Name of the value in help, such as FILE; "" for its unit.
        minimum: Smallest number, also for each number of a tuple.
        maximum: Largest number, also for each number of a tuple.
        above: Lower bound that is not allowed itself.
        below: Upper bound that is not allowed itself.
        choices: The allowed values; not needed for a Literal type.
        flag: Whether commands have a flag for it; otherwise `--set` sets it.
    """

    text: str
    unit: str = ""
    unset: str = ""
    value: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    flag: bool = True

    @property
    def range(self) -> str:
        """The range of numbers, such as `0 to 1` or `above 0`; "" if there is none."""
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum} to {self.maximum}"
        parts = [
            f"{self.minimum} or more" if self.minimum is not None else "",
            f"above {self.above}" if self.above is not None else "",
            f"below {self.below}" if self.below is not None else "",
            f"{self.maximum} or less" if self.maximum is not None else "",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def help(self) -> str:
        """Meaning, unit, range and default in sentences."""
        measure = ", ".join(part for part in (self.unit and f"in {self.unit}", self.range) if part)
        parts = (self.text, measure and f"{measure[0].upper()}{measure[1:]}.", self.unset and f"Default: {self.unset}.")
        return " ".join(part for part in parts if part)

    def allows(self, number: float) -> bool:
        """Return whether a number is finite and in the range."""
        return (
            math.isfinite(number)
            and (self.minimum is None or number >= self.minimum)
            and (self.maximum is None or number <= self.maximum)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )


def option(default: Any, text: str, **declaration: Any) -> Any:
    """Declare a field of an `Options` class with a default, a text, and other fields of `OptionInfo`."""
    return dataclasses.field(default=default, metadata={KEY: OptionInfo(text, **declaration)})


class Options:
    """Base of dataclasses with options: it checks values and lists the fields in the docstring.

    A class with rules about several fields calls `super().__post_init__()` in its own method.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        class_infos: dict[str, OptionInfo] = dict(infos(cls)) if dataclasses.is_dataclass(cls) else {}
        fields = {name: field for name, field in vars(cls).items() if isinstance(field, dataclasses.Field)}
        class_infos |= {name: field.metadata[KEY] for name, field in fields.items() if KEY in field.metadata}
        _extend_docstring(cls, class_infos)

    def __post_init__(self) -> None:
        """Raise UsageError for a number that is not finite or out of its range, and for a value that is no choice."""
        kind: Any = type(self)
        choices = _choices(kind)
        for name, info in infos(kind).items():
            value = getattr(self, name)
            allowed = choices.get(name, (value,))
            if value not in allowed and not (float in allowed and _is_number(value)):
                texts = ["a number" if choice is float else str(choice) for choice in allowed if choice is not None]
                raise UsageError(name, "is not known", expected=", ".join(texts), got=str(value))
            check_integers(name, value)
            numbers = [n for n in (value if isinstance(value, tuple) else (value,)) if _is_number(n)]
            if not all(info.allows(number) for number in numbers):
                requirement = f"{info.range or 'a finite number'}{f' ({info.unit})' if info.unit else ''}"
                raise UsageError(name, "is out of range", expected=requirement, got=str(value))


def check_integers(name: str, value: object) -> None:
    """Raise UsageError if a value, or a value in a tuple, is a whole number of more than 32 bits."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int) and abs(number) > _MAX_INTEGER:
            got = f"a number of {number.bit_length()} bits"  # Python refuses to print longer numbers
            raise UsageError(name, "is out of range", expected=f"a whole number up to {_MAX_INTEGER}", got=got)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def infos(kind: type[Options]) -> Mapping[str, OptionInfo]:
    """Return the declared options of a class by name."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return {field.name: field.metadata[KEY] for field in fields if KEY in field.metadata}


@functools.cache
def _choices(kind: type[Options]) -> Mapping[str, tuple[Any, ...]]:
    """Return the allowed values of fields with a Literal type, also in a union with None or float, or with choices."""
    types, choices = typing.get_type_hints(kind), {}
    for name, info in infos(kind).items():
        kinds = (types[name], *typing.get_args(types[name]))
        literals = [part for part in kinds if typing.get_origin(part) is typing.Literal]
        values = info.choices or tuple(choice for part in literals for choice in typing.get_args(part))
        if values:
            choices[name] = (*values, *(value for kind, value in ((type(None), None), (float, float)) if kind in kinds))
    return choices


def _extend_docstring(kind: type, option_infos: Mapping[str, OptionInfo]) -> None:
    """Add an entry for each option to the section `Attributes:` of a class."""
    if not option_infos:
        return
    text = inspect.cleandoc(kind.__doc__ or "")
    heading = "" if "\nAttributes:\n" in text else "\nAttributes:\n"
    kind.__doc__ = f"{text}\n{heading}{explained(option_infos)}"


def explained(option_infos: Mapping[str, OptionInfo]) -> str:
    """Return an entry for each option, as docstrings have them below `Args:` and `Attributes:`."""
    entries = [f"{name}: {info.help}" for name, info in option_infos.items()]
    return "\n".join(textwrap.fill(e, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8) for e in entries)


def changed(options: Record, changes: Mapping[str, Any], path: str = "") -> Record:
    """Copy a dataclass with some fields changed, also in nested dataclasses.

    Args:
        options: The dataclass.
        changes: Values by dotted name, such as `keypoints.lean_noise`. Changes of one dataclass are made at once,
            because values may only be allowed together.
        path: Prefix of the names in errors, such as `keypoints.`.

    Returns:
        The copy.

    Raises:
        UsageError: If a value is not allowed.
    """
    by_field: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        name, _, rest = key.partition(".")
        by_field.setdefault(name, {})[rest] = value
    values = {
        name: inner[""] if "" in inner else changed(getattr(options, name), inner, f"{path}{name}.")
        for name, inner in by_field.items()
    }
    try:
        return dataclasses.replace(options, **values)  # type: ignore[type-var]
    except UsageError as error:
        if not path or error.subject not in {field.name for field in dataclasses.fields(options)}:  # type: ignore[arg-type]
            raise
        details = {"expected": error.expected, "got": error.got, "remedy": error.remedy}
        raise UsageError(path + error.subject, error.problem, **details) from error
