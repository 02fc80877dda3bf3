"""Files of older schema versions: turned into the present one while they are opened, in memory.

A migration takes what a file of its version holds, and a function that reads a dataset of it by its path, and gives
what the next version would hold: it may rename datasets, change attributes, or put arrays of its own in a place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from humanpose_cli.data.cache.schema import FORMAT, SCHEMA_VERSION
from humanpose_cli.data.cache.stored_file import Layout, StoredFile
from humanpose_cli.errors import InputError

Reading = Callable[[str], NDArray[Any]]

__all__ = ["MIGRATIONS", "migrated", "renamed"]

MIGRATIONS: dict[int, Callable[[Layout, Reading], Layout]] = {}
"""version → function that turns what a file of that version holds into what the next one would. There is one so far."""


def migrated(file: StoredFile) -> None:
    """Let a file of an older version appear as the present schema has it. InputError for a version nobody knows.

    A newer version, and what is no cache at all, pass unchanged: the header's reader refuses them.
    """
    version = file.attributes.get("schema_version")
    if file.attributes.get("format") != FORMAT or not isinstance(version, int) or version >= SCHEMA_VERSION:
        return
    layout = file.layout()

    def read(name: str) -> NDArray[Any]:
        place = layout.places[name]
        return file.read_rows(place, 0, place.shape[0])

    while version < SCHEMA_VERSION:
        if version not in MIGRATIONS:
            raise InputError(file.path, f"has the unknown schema version {version}", remedy="make it again")
        layout = MIGRATIONS[version](layout, read)
        version += 1
        layout = replace(layout, attributes={**layout.attributes, "schema_version": version})
    file.replace(layout)


def renamed(layout: Layout, names: dict[str, str]) -> Layout:
    """The layout with datasets under new paths (old → new); a column's parts follow it."""

    def new(path: str) -> str:
        for old, name in names.items():
            if path == old or path.startswith(old + "/"):
                return name + path[len(old) :]
        return path

    return replace(layout, places={new(path): place for path, place in layout.places.items()})
