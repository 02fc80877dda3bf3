"""C++ code of kernels, read from header files.

A header holds complete functions with the parameters that Warp gives them, so editors, compilers and clang-format see
valid C++. Warp itself writes the function and takes only its body, which is part of the kernel's hash: a changed
header invalidates Warp's cache.
"""

import re
from pathlib import Path

_INCLUDE = re.compile(r'^ *#include "(\w+\.h)"\n', re.MULTILINE)


def native_code(header: Path, function: str, **macros: int) -> str:
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
