"""How a pipeline tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["StepListener"]

StepListener = Callable[[int, "int | None", str], None]
"""Told (done, total or None if unknown, unit) while a sequence is worked on."""
