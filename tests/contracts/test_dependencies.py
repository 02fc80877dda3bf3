"""What a plain install holds: distributions whose licences allow commercial use, and all that the modules import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from email.message import Message
from importlib import metadata
from typing import Any

import numpy as np
import pytest
from helpers.python_sources import ROOT, git_files, modules
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from humanpose_cli.core import extras
from humanpose_cli.io.images import write_image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIRED, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]
USERS_EXTRAS = ("c3d", "cdf", "heic", "slurm", "tensorboard", "usd")  # the others are for work on the package itself

MODULES_OF_EXTRAS = {
    "c3d": ("humanpose_cli/exporting/laboratory.py", "humanpose_cli/lab/datasets/mocap_files.py"),
    "cdf": "humanpose_cli/lab/datasets/mocap_files.py",
    "heic": "humanpose_cli/io/images.py",
    "slurm": "humanpose_cli/batch/slurm.py",
    "tensorboard": "humanpose_cli/lab/train/events.py",
    "usd": "humanpose_cli/exporting/usd.py",
}
"""Where what an extra brings may be imported."""

FUNCTIONS = (ast.FunctionDef, ast.ClassDef)

FREE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "LLVM-exception", "MIT"),
    *("MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib"),
}
"""SPDX identifiers of licences that allow commercial use."""

REVIEWED = (
    ("protobuf", "3-Clause BSD License"),
    ("cdflib", "MIT License"),
    ("ezc3d", ""),  # LICENSE: MIT
    ("usd-core", "LicenseRef-TOST-1.0"),  # Apache-2.0 with another section on trademarks
    # What torch requires where it has CUDA. NVIDIA's agreements allow commercial use, and distribution of the libraries
    # inside applications; NOTICE says so.
    (r"nvidia-.+", "LicenseRef-NVIDIA-Proprietary"),
    (r"nvidia-.+", "NVIDIA Proprietary Software"),  # the same agreements, as older packages and cuSPARSELt state them
    (r"nvidia-nvtx", "Apache 2.0"),  # its classifier still says proprietary; its licence file is Apache's
    ("cuda-toolkit", ""),  # holds no files
    ("triton", ""),  # LICENSE: MIT
)
"""Patterns of names, and what the metadata state, of distributions whose licence files a person has read."""

DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "pi_heif": "pi-heif",
    "pxr": "usd-core",
    "typing_extensions": "typing-extensions",
    "warp": "warp-lang",
}
"""Where modules come from that are not called as their distribution."""


def distributions(requirements: Iterable[str], extras: Iterable[str] = ()) -> dict[str, metadata.Distribution]:
    """Installed distributions that requirements lead to on this machine, directly or not, by normalised name."""
    found: dict[str, metadata.Distribution] = {}
    pending = [(text, tuple(extras)) for text in requirements]
    visited = set()
    while pending:
        text, of_extras = pending.pop()
        requirement = Requirement(text)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in ("", *of_extras)):
            continue
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) not in visited:
                visited.add((name, extra))
                found[name] = metadata.distribution(name)
                pending += [(each, (extra,)) for each in found[name].requires or ()]
    return found


def licence_problem(name: str, about: Any) -> str:
    """What is wrong with the licence that metadata state; "" where it is known and allows commercial use."""
    stated = (about.get("License-Expression") or about.get("License") or "").strip()
    identifiers = set(re.findall(r"[\w.+-]+", stated)) - {"AND", "OR", "WITH"}
    classifiers = [each for each in about.get_all("Classifier") or () if each.startswith("License :: ")]
    approved = [each for each in classifiers if each.startswith("License :: OSI Approved :: ")]
    if approved == classifiers and (approved or (identifiers and identifiers <= FREE)):
        return ""
    title = stated.partition("\n")[0]  # some state the licence's whole text
    if any(re.fullmatch(pattern, name) and title == read for pattern, read in REVIEWED):
        return ""
    return f"{name}: {', '.join((stated[:80], *classifiers)).strip(', ') or 'states no licence'}"


def problems(requirements: Iterable[str]) -> list[str]:
    found = {name: licence_problem(name, each.metadata) for name, each in distributions(requirements).items()}
    return sorted(filter(None, found.values()))


def test_a_plain_install_holds_nothing_that_forbids_commercial_use():
    assert problems(REQUIRED) == []


@pytest.mark.parametrize("extra", USERS_EXTRAS)
def test_the_extras_for_users_hold_nothing_that_forbids_commercial_use(extra):
    try:
        found = problems(EXTRAS[extra])
    except metadata.PackageNotFoundError as error:
        pytest.skip(str(error))
    assert found == []


def test_the_walk_reaches_what_is_required_indirectly_and_by_extras():
    found = distributions(["imageio[pyav]", "matplotlib", "tomli; python_version < '3'"])
    assert {"imageio", "av", "matplotlib", "pyparsing", "numpy"} <= set(found)
    assert "tomli" not in found
    assert "av" not in distributions(["imageio"])


@pytest.mark.parametrize(
    ("stated", "allowed"),
    [
        ({"License-Expression": "MIT"}, True),
        ({"License": "Copyright …", "Classifier": "License :: OSI Approved :: BSD License"}, True),
        ({"License-Expression": "MIT AND CC-BY-NC-4.0"}, False),
        ({"License": "MIT", "Classifier": "License :: Free for non-commercial use"}, False),
        ({}, False),
    ],
)
def test_which_licences_pass(stated, allowed):
    about = Message()
    for name, value in stated.items():
        about[name] = value
    assert (licence_problem("anything", about) == "") == allowed


def test_a_reviewed_licence_that_changed_is_reviewed_again():
    about = Message()
    about["License"] = "3-Clause BSD License"
    assert licence_problem("protobuf", about) == ""
    about.replace_header("License", "LicenseRef-Other")
    assert licence_problem("protobuf", about) == "protobuf: LicenseRef-Other"


@pytest.mark.slow
def test_modules_import_only_what_is_required():
    """Or, in the modules of an extra, what it brings; what tests and tools need may be under any licence."""
    required = names_of(REQUIRED)
    of_extras = {path: names_of(EXTRAS[extra]) for extra, path in MODULES_OF_EXTRAS.items()}
    outside = set()
    for path, tree in modules().items():
        allowed = required.union(*(names for prefix, names in of_extras.items() if path.startswith(prefix)))
        found = imported(tree) - set(sys.stdlib_module_names) - {"humanpose_cli"}
        outside |= {f"{path}: {name}" for name in found if DISTRIBUTIONS.get(name, name) not in allowed}
    assert outside == set()


def test_what_extras_bring_is_imported_inside_functions():
    """So that `hpc fit` and all that a plain install offers does without it."""
    brought = set().union(*(names_of(EXTRAS[extra]) for extra in MODULES_OF_EXTRAS)) - names_of(REQUIRED)
    at_start = {
        f"{path}: {name}"
        for path, tree in modules().items()
        for name in imported(ast.Module([node for node in tree.body if not isinstance(node, FUNCTIONS)], []))
        if DISTRIBUTIONS.get(name, name) in {*brought, "matplotlib"}  # which takes a third of a second
    }
    assert at_start == set()


def test_extras_are_those_that_the_program_names():
    assert {name: names_of(EXTRAS[name]) for name in USERS_EXTRAS} == {
        name: {canonicalize_name(extra.distribution)} for name, extra in extras.EXTRAS.items()
    }


def test_every_extra_that_is_named_exists():
    texts = [path for path in git_files() if re.search(r"(file|\.(md|ipynb|py|toml|yml))$", path.name)]
    named = {
        (extra, path.relative_to(ROOT).as_posix())
        for path in texts
        if path.name != "CHANGELOG.md"  # names those of earlier versions, too
        for extras in re.findall(
            r"(?:humanpose-cli|install[^\n]* \W?\.|-e \.|/source)\[([a-z0-9,-]+)\]", path.read_text("utf-8")
        )
        for extra in extras.split(",")
    }
    assert {extra for extra, _ in named} >= {*USERS_EXTRAS, "dev", "docs"}
    assert [each for each in sorted(named) if each[0] not in EXTRAS] == []


@pytest.mark.extensive
def test_without_the_extras_fits_are_made_and_exported(tmp_path):
    write_image(tmp_path / "photo.png", np.zeros((64, 64, 3), np.uint8))
    program = f"""
import sys
for name in {[*(extra.module for extra in extras.EXTRAS.values()), "smplx", "skimage"]!r}:
    sys.modules[name] = None
from humanpose_cli.cli.main import main
print(main(["fit", "photo.png", "--detector", "fast"]), main(["export", "hpc-out/fit", "--format", "glb,bvh"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
    )
    (codes,) = [line for line in done.stdout.splitlines() if re.fullmatch(r"\d \d", line)]
    assert codes.startswith("0 ")


def names_of(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of all modules that a file imports anywhere."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names}
