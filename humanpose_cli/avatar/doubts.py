"""Why an image of a reposed person may look wrong: in a few words for tables, and in a sentence for the user."""

from __future__ import annotations

from typing import NamedTuple


class Doubt(NamedTuple):
    """One reason.

    kind      the same in all poses, such as "turned"
    amount    by which the doubts of one kind are compared: the largest counts
    reason    a few words, such as "turned 120°"
    sentence  what is wrong and what it leads to
    """

    kind: str
    amount: float
    reason: str
    sentence: str
