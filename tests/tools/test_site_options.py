"""API pages list the options that docstrings get at import."""

from __future__ import annotations

import pytest


@pytest.mark.extensive
def test_docstrings_are_those_of_the_imported_objects():
    griffe = pytest.importorskip("griffe")
    from tools.site.options import ImportedOptions

    package = griffe.load("humanpose_cli", extensions=griffe.load_extensions(ImportedOptions))
    options, fit = package["fitting.options.FitOptions"], package["front_door.fit"]
    assert "    min_score: " in options.docstring.value
    assert str(options["min_score"].value) == "MIN_SCORE"
    assert "    detector: " in fit.docstring.value
    assert "    source: " in fit.docstring.value
