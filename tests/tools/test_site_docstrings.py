"""Docstrings with two columns as sections of the API pages."""

from __future__ import annotations

import pytest

pytest.importorskip("griffe")
from tools.site.docstrings import with_section

DOCSTRING = """Reads a file.

path       a file, or
           a folder
width, height  in pixels
a  line of prose with two spaces

None if it is empty.
"""


def test_columns_become_a_section_at_the_end():
    assert with_section(DOCSTRING, "Args", {"path", "width", "height"}) == (
        "Reads a file.\n\na  line of prose with two spaces\n\nNone if it is empty.\n\n"
        "Args:\n    path: a file, or a folder\n    width: in pixels\n    height: in pixels"
    )


def test_lines_that_name_no_argument_stay():
    assert with_section(DOCSTRING, "Args", {"file"}) == DOCSTRING


@pytest.mark.extensive
def test_sections_of_the_package():
    import griffe

    from tools.site.docstrings import ColumnDocstrings

    loader = griffe.GriffeLoader(extensions=griffe.load_extensions(ColumnDocstrings))
    package = loader.load("humanpose_cli")
    arguments = {"source", "frames", "method", "device"}  # of the function, and of the options that it takes
    for name, kind, names in (
        ("front_door.fit", "parameters", arguments),
        ("core.errors.HpcError", "parameters", {"subject", "expected", "got", "remedy"}),
        ("reposing.scene.ReposeOptions", "attributes", {"background", "mesh"}),
        ("body.body.PosedBody", "attributes", {"vertices"}),
    ):
        sections = package[name].docstring.parse("google")
        (table,) = [section for section in sections if section.kind.value == kind]
        assert names <= {row.name for row in table.value}
    assert str(package["reposing.scene.ReposeOptions"].parameters["background"].default) == "'keep'"
