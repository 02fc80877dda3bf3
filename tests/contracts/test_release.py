"""The version stands in few places, and they agree; files of a release are complete and can be parsed."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from datetime import date

import pytest
from helpers.python_sources import ROOT

from humanpose_cli.version import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
HEADS = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", CHANGELOG, re.MULTILINE)
REPOSITORY = "https://github.com/humanpose-cli/humanpose-cli"
SITE = "https://humanpose-cli.github.io/humanpose-cli/"


def value_in(name: str, key: str) -> str:
    """The value of a top-level key of a YAML file of plain lines."""
    (found,) = re.findall(rf"^{key}: \"?(.*?)\"?$", (ROOT / name).read_text("utf-8"), re.MULTILINE)
    return found


def test_the_changelog_begins_with_what_is_unreleased_and_then_has_this_version():
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert headings[1].startswith(f"[{__version__}] - ")
    assert len(HEADS) == len(headings) - 1  # every other one has a version and a date


def test_versions_and_dates_of_the_changelog_descend():
    versions = [tuple(map(int, version.split("."))) for version, _ in HEADS]
    dates = [date.fromisoformat(day) for _, day in HEADS]
    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_every_version_of_the_changelog_has_a_link():
    links = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", CHANGELOG, re.MULTILINE))
    assert links.pop("Unreleased") == f"{REPOSITORY}/compare/v{__version__}...HEAD"
    assert list(links) == [version for version, _ in HEADS]
    assert links[__version__] == f"{REPOSITORY}/releases/tag/v{__version__}"


def test_the_citation_names_this_version_and_its_day():
    assert value_in("CITATION.cff", "version") == __version__
    assert value_in("CITATION.cff", "date-released") == dict(HEADS)[__version__]
    assert value_in("CITATION.cff", "repository-code") == REPOSITORY
    assert value_in("CITATION.cff", "url") == SITE


def test_addresses_of_the_project_are_the_same_everywhere():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert {url for url in urls.values() if not url.startswith((REPOSITORY, SITE))} == set()
    assert urls["Source"] == REPOSITORY
    assert urls["Homepage"] == SITE


def test_workflows_try_every_python_that_the_package_claims():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    claimed = {line.rpartition(" :: ")[2] for line in classifiers if re.search(r"Python :: 3\.\d+$", line)}
    checks, release = ((ROOT / ".github/workflows" / name).read_text("utf-8") for name in ("checks.yml", "release.yml"))
    matrices = [set(re.findall(r"3\.\d+", line)) for line in re.findall(r"python: \[(.*)\]", checks)]
    assert [matrices[0], matrices[2]] == [claimed, claimed]  # the tests, and the distributions
    assert set(re.findall(r"\bpython(3\.\d+)", release)) == claimed


def test_the_package_index_shows_the_readme_with_links_that_lead_to_files_of_this_version():
    pytest.importorskip("setuptools")
    line = [sys.executable, "setup.py", "--quiet", "--long-description"]
    readme = subprocess.run(line, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    links = re.findall(r"\]\(([^)\s]+)|\b(?:src|srcset|href)=\"([^\"\s]+)", readme)
    targets = [first or second for first, second in links]
    assert [link for link in targets if not re.match(r"https?://|mailto:|#", link)] == []
    ours = [
        re.fullmatch(rf"https://[^/]+/humanpose-cli/humanpose-cli/(?:blob/)?v{__version__}/(.+)", url)
        for url in targets
    ]
    paths = [found[1].partition("#")[0] for found in ours if found]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("relative", "absolute"),
    [
        ("[a](docs/a.md#part)", f"[a]({REPOSITORY}/blob/v1.2.3/docs/a.md#part)"),
        ("![a](docs/a.webp)", "![a](https://raw.githubusercontent.com/humanpose-cli/humanpose-cli/v1.2.3/docs/a.webp)"),
        ('<img src="a.png">', '<img src="https://raw.githubusercontent.com/humanpose-cli/humanpose-cli/v1.2.3/a.png">'),
        ("[a](https://example.org/a.png) [b](#part)", "[a](https://example.org/a.png) [b](#part)"),
    ],
)
def test_relative_links_become_absolute(relative, absolute):
    assert runpy.run_path(str(ROOT / "setup.py"))["with_absolute_links"](relative, "1.2.3") == absolute
