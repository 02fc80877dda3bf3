"""What a batch tells the outside while it runs; the command line's reporter is one listener, silence another."""

from __future__ import annotations

from typing import Protocol

from humanpose_cli.result import ItemResult

__all__ = ["Progress", "SilentProgress"]


class Progress(Protocol):
    """Listener of a batch. Called from the thread that runs the batch."""

    def start(self, total: int) -> None:
        """The batch begins, with `total` items."""

    def item_started(self, name: str) -> None:
        """Work on an item begins."""

    def item_finished(self, result: ItemResult) -> None:
        """An item is done, failed or skipped."""

    def bug(self, error: BaseException) -> None:
        """An unexpected exception, with its traceback; the item's result tells it in a sentence."""

    def finish(self) -> None:
        """No more items; called whatever happened."""


class SilentProgress:
    """Says nothing."""

    def start(self, total: int) -> None: ...

    def item_started(self, name: str) -> None: ...

    def item_finished(self, result: ItemResult) -> None: ...

    def bug(self, error: BaseException) -> None: ...

    def finish(self) -> None: ...
