"""What tests share: drawn people, small data sets in their owners' layouts, scenes, fresh processes."""

from pathlib import Path

HELPERS = Path(__file__).parent
TESTS = HELPERS.parent
