"""C++ code of kernels, read from header files.

A header holds complete functions with the parameters that Warp gives them, so editors, compilers and clang-format see
valid C++. Warp itself writes the function and takes only its body, which is part of the kernel's hash: a changed
header invalidates Warp's cache.
"""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import warp as wp

_INCLUDE = re.compile(r'^ *#include "(\w+\.h)"\n', re.MULTILINE)


def native_code(header: Path, function: str, **macros: float) -> str:
    """Read the body of a C++ function from a header, for `warp.func_native`.

    Includes inside the body are replaced by the contents of the files, which hold code that several bodies share.

    Args:
        header: The header file.
        function: The name of the function. Its definition starts at the beginning of a line and ends at the next line
            that is a single brace.
        **macros: Macros that are defined before the body and undefined after it.

    Returns:
        The body with its macros.

    Raises:
        ValueError: If the header does not define the function.
    """
    text = header.read_text("utf-8")
    match = re.search(rf"^\S[^\n]* {function}\([^)]*\) \{{\n(.*?)^\}}$", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"{header}: defines no function {function}")
    body = _INCLUDE.sub(lambda include: (header.parent / include[1]).read_text("utf-8"), match[1])
    definitions = "".join(f"#define {name} {value}\n" for name, value in macros.items())
    return f"\n{definitions}{body}" + "".join(f"#undef {name}\n" for name in macros)


def native_kernel(header: Path, function: str, **macros: float) -> Callable[[Callable[..., None]], Any]:
    """Make a Warp kernel of a C++ function from a header.

    The decorated function declares the parameters. To C++, the first one is the number of the thread; the kernel takes
    the number of its first thread instead.

    Args:
        header: The header file.
        function: The name of the C++ function.
        **macros: Macros of its body.

    Returns:
        A decorator that returns the kernel.
    """

    def decorate(declaration: Callable[..., None]) -> Any:
        work = wp.func_native(native_code(header, function, **macros))(declaration)

        def kernel() -> Any:
            return work, wp  # Warp looks the names of the source up here

        first, *others = inspect.signature(declaration).parameters
        kernel.__signature__ = inspect.signature(declaration)  # type: ignore[attr-defined]
        kernel.__annotations__ = inspect.get_annotations(declaration)
        kernel.__module__, kernel.__qualname__ = declaration.__module__, declaration.__qualname__
        head, call = ", ".join([first, *others]), ", ".join([f"{first} + wp.tid()", *others])
        source = f"def kernel({head}):\n    work({call})\n"
        return wp.Kernel(kernel, module=wp.get_module(declaration.__module__), source=source)

    return decorate
