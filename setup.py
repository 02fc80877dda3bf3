"""The README as the package index shows it; everything else about the package stands in pyproject.toml.

Relative links and images lead nowhere on the index's page: there they become addresses of this version's files.
"""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
FILES = "https://github.com/humanpose-cli/humanpose-cli/blob"
IMAGES = "https://raw.githubusercontent.com/humanpose-cli/humanpose-cli"
IMAGE = re.compile(r"\.(png|jpe?g|webp|gif|svg)$", re.IGNORECASE)
RELATIVE = r"(?![a-z][a-z0-9+.-]*:|[#/])([^\s\")]+)"  # neither an address nor a place of the page itself
LINK = re.compile(rf"(\]\(|\b(?:src|srcset|href)=\"){RELATIVE}")


def with_absolute_links(text: str, version: str) -> str:
    """Markdown whose relative links lead to the files of a version's tag."""

    def absolute(found: re.Match[str]) -> str:
        base = IMAGES if IMAGE.search(found[2].partition("#")[0]) else FILES
        return f"{found[1]}{base}/v{version}/{found[2]}"

    return LINK.sub(absolute, text)


if __name__ == "__main__":
    readme = (ROOT / "README.md").read_text("utf-8")
    (version,) = re.findall(r'__version__ = "(.+)"', (ROOT / "humanpose_cli" / "version.py").read_text("utf-8"))
    setup(long_description=with_absolute_links(readme, version), long_description_content_type="text/markdown")
