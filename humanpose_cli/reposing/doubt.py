"""Which reposed images may look wrong, and why: what tables, JSON documents and ledgers mark as doubtful."""

from __future__ import annotations

from collections.abc import Iterable

from humanpose_cli.avatar.doubts import Doubt


class ImageDoubts:
    """The doubts about the people in the images of one motion, of each person and kind the largest."""

    def __init__(self) -> None:
        self._worst: dict[tuple[int, str], Doubt] = {}

    def add(self, person: int, doubts: Iterable[Doubt]) -> None:
        """Take in those of one image."""
        for doubt in doubts:
            worst = self._worst.get((person, doubt.kind))
            if worst is None or doubt.amount > worst.amount:
                self._worst[person, doubt.kind] = doubt

    def sentences(self, *, several: bool) -> list[str]:
        """List sentences for the user; of several people with their track ids."""
        return [
            f"person {person}: {doubt.sentence}" if several else doubt.sentence
            for (person, _), doubt in self._worst.items()
        ]

    def reasons(self, person: int) -> list[str]:
        """List those of one person, for a table."""
        return [doubt.reason for (track, _), doubt in self._worst.items() if track == person]


def named_doubts(by_person: dict[int, list[str]]) -> str:
    """Join reasons, such as "70 % hidden; turned 120°"; of several people with track ids; "" for none."""
    sentences = {person: "; ".join(reasons) for person, reasons in by_person.items() if reasons}
    return "; ".join(text if len(by_person) == 1 else f"person {person}: {text}" for person, text in sentences.items())
