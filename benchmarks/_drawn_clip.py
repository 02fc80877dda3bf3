"""The drawn clip of tests/helpers, whose true bodies are known."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.drawn_clip import DrawnClip

__all__ = ["DrawnClip"]
