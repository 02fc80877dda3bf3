"""C++ of kernels: read whole from the headers beside them, valid, packaged, and part of a kernel's identity."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import warp as wp

from humanpose_cli import engine
from humanpose_cli.engine.native import native_code, native_kernel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(engine.__file__).parents[1]
HEADERS = sorted(PACKAGE.rglob("*.h"))
SELF_CONTAINED = [header for header in HEADERS if "#pragma once" in header.read_text("utf-8")]
HEADER = """#pragma once
#include "builtin.h"

// Adds.
inline float add(float a,
                 float b) {
    if (a) {
#include "shared.h"
    }
    return SCALE * c;
}

inline float other(float a) {
    return a;
}
"""


@pytest.fixture
def header(tmp_path) -> Path:
    (tmp_path / "shared.h").write_text("float c = a;\n")
    path = tmp_path / "adding.h"
    path.write_text(HEADER)
    return path


def test_a_functions_body_is_read_with_what_it_includes_and_its_macros(header):
    body = "    if (a) {\nfloat c = a;\n    }\n    return SCALE * c;\n"
    assert native_code(header, "add") == "\n" + body
    assert native_code(header, "add", SCALE=2) == f"\n#define SCALE 2\n{body}#undef SCALE\n"
    assert native_code(header, "other") == "\n    return a;\n"
    with pytest.raises(ValueError, match=r"adding\.h: defines no function subtract"):
        native_code(header, "subtract")


def test_a_changed_header_makes_another_kernel(header):
    """Warp's cache knows a module by a hash: the native code, and what that includes, is in it."""

    def hash_of_module() -> bytes:
        def declaration(a: float): ...

        declaration.__module__ = "tests.native"
        module = native_kernel(header, "add")(declaration).module
        module.mark_modified()
        return module.get_module_hash(1)

    before = hash_of_module()
    assert hash_of_module() == before
    (header.parent / "shared.h").write_text("float c = a + 1;\n")
    assert hash_of_module() != before


def test_every_header_is_packaged():
    """The patterns of `package-data` are relative to the package's folder; setuptools takes ** as pathlib does."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["humanpose_cli"]
    packaged = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert HEADERS
    assert set(HEADERS) <= packaged


def test_every_header_is_used():
    """By a kernel of its folder, or by a header that is."""
    for header in HEADERS:
        beside = "".join(path.read_text("utf-8") for path in header.parent.iterdir() if path.is_file())
        assert f'"{header.name}"' in beside, header


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("header", SELF_CONTAINED, ids=lambda header: header.name)
def test_headers_are_valid_cpp(header):
    """As an editor sees them: with Warp's own headers, and macros at their defaults."""
    native = Path(wp.__file__).parent / "native"
    options = ["-std=c++17", "-fsyntax-only", "-x", "c++", "-DWP_NO_CRT", "-DWP_TILE_BLOCK_DIM=1", f"-I{native}"]
    done = subprocess.run(["g++", *options, str(header)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
