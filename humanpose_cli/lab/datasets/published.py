"""Counts that papers and owners publish of a data set, as data beside each adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PublishedCount:
    """One count, and where it is published.

    what      "images"; "people" without crowds; "sequences", "identities" and "clothes" of different names;
              "surface_points": people who have some; or "pairs" that a protocol lists
    source    paper and section, the owner's page, or repository@commit
    protocol, split  of the images that are counted; "" for all
    part      counted are the groups whose names begin with it and a slash: those of one annotation file
    needs     option → the values with which the adapter reads what was counted; others are not compared
    optional  whether the owner's folder may lack it: nothing found is no disagreement
    """

    what: str
    value: int
    source: str
    protocol: str = ""
    split: str = ""
    part: str = ""
    needs: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    optional: bool = False
