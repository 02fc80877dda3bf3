"""Files that parsers of other programs would end the interpreter for."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import calibration_files as calibrations
from helpers.dataset_files import write_metadata
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.calibrations import read_calibration
from humanpose_cli.io.calibrations.opencv_files import _parsed
from humanpose_cli.io.nesting import parse_xml, refuse_deep_xml, refuse_deep_yaml
from humanpose_cli.lab.datasets.h36m import read_cameras
from humanpose_cli.lab.datasets.rich import read_rich_camera

HEAD = "%YAML:1.0\n---\n"
XML = '<?xml version="1.0"?>\n'


def yaml_texts(depth: int) -> dict[str, str]:
    """Every way in which OpenCV's parser of YAML nests, and what could hide it."""
    return {
        "brackets": f"{HEAD}a: {'[' * depth}{']' * depth}\n",
        "braces": f"{HEAD}a: {'{b: ' * depth}1{'}' * depth}\n",
        "tags": f"{HEAD}a: {'!!seq [ ' * depth}\n",
        "dashes": f"{HEAD}a:\n   {'- ' * depth}1\n",
        "dashes without spaces": f"{HEAD}a:\n   {'-' * depth} 1\n",
        "keys in a line": f"{HEAD}{'a: ' * depth}1\n",
        "indentation": HEAD + "".join(f"{' ' * level}a:\n" for level in range(depth)),
        "a line each": f"{HEAD}a: [\n" + "   [\n" * depth,
        "of the root": "%YAML:1.0\n--- [\n" + " [\n" * depth,
        "below the key": f"{HEAD}a:\n{' ' * 60}[\n" + "  [\n" * depth,
        "tag lines": f"{HEAD}a:\n !!seq\n" + " [\n" * depth,
        "comments between": f"{HEAD}a: [\n" + "# ]\n  [\n" * depth,
        "closed in texts": f"{HEAD}a: [\n" + "  ']', [\n" * depth,
        "key of a bracket": f"{HEAD}a:\n        q: 1\n" + "[y: [\n" + "   [\n" * depth,
        "carriage returns": f"{HEAD}a: [\r\n" + "   [\r\n" * depth,
    }


def xml_texts(depth: int) -> dict[str, str]:
    closing = "</a>" * depth
    return {
        "tags": f"{XML}<opencv_storage>{'<a>' * depth}{closing}</opencv_storage>",
        "closed in comments": f"{XML}<opencv_storage>{'<a><!-- </a> -->' * depth}{closing}</opencv_storage>",
        "nameless": f"{XML}<opencv_storage>{'<_>' * depth}{'</_>' * depth}</opencv_storage>",
    }


@pytest.mark.parametrize("name", yaml_texts(1))
def test_deep_yaml_is_refused(name: str) -> None:
    kind = "is YAML of another kind" if name == "of the root" else "is nested too deep"
    with raises(InputError, subject="x.yml", problem=kind):
        refuse_deep_yaml(Path("x.yml"), yaml_texts(101)[name])


@pytest.mark.parametrize("rest", ["a: 1\n...\n-\n", "a: 1\n... -\n", " c: 1\n-\n", "[ 1 ]\n-\n", "!!map a: 1\n"])
def test_yaml_that_opencv_would_never_end_to_read_is_refused(rest: str) -> None:
    with raises(InputError, problem="is YAML of another kind", expected="one table whose names begin"):
        refuse_deep_yaml(Path("x.yml"), HEAD + rest)


@pytest.mark.parametrize("name", xml_texts(1))
def test_deep_xml_is_refused(name: str) -> None:
    with raises(InputError, subject="x.xml", problem="is nested too deep", expected="at most 100 levels"):
        refuse_deep_xml(Path("x.xml"), xml_texts(101)[name])


DEEP_YAML, DEEP_XML = HEAD + "a: " + "[" * 200_000, xml_texts(200_000)["tags"]


@pytest.mark.parametrize(("suffix", "text"), [(".yml", DEEP_YAML), (".xml", DEEP_XML)], ids=["yml", "xml"])
def test_calibrations_that_would_end_the_interpreter_are_refused(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text(text)
    with raises(InputError, problem="is nested too deep"):
        read_calibration(path)


def test_both_files_of_a_pair_are_checked(tmp_path: Path) -> None:
    calibrations.write_easymocap(tmp_path)
    (tmp_path / "extri.yml").write_text(DEEP_YAML)
    for path in (tmp_path, tmp_path / "intri.yml"):
        with raises(InputError, problem="is nested too deep"):
            read_calibration(path)
    (tmp_path / "extri.yml").write_text('{"a": ' * 200_000)  # which OpenCV would read as JSON
    with raises(InputError, expected="YAML or XML"):
        read_calibration(tmp_path)


def test_many_cameras_are_not_deep() -> None:
    """As OpenCV and EasyMocap write them, with lists of lists and names with dashes and colons."""
    lists = "".join(f"points_{row}:\n" + "   - [ -1.5e-03, -2, 3. ]\n" * 300 for row in range(3))
    items = "".join(f"   - name: cam-{row}\n     K: [ 1., 2. ]\n     D: [ -1., 2. ]\n" for row in range(300))
    matrices = "".join(calibrations.opencv_matrix(f"K_{row}", calibrations.RIG[0].matrix) for row in range(300))
    names = "names:\n" + "".join(f'   - "C:/a-{row}:b"\n' for row in range(300))
    text = f"{HEAD}{lists}cameras:\n{items}{matrices}{names}"
    refuse_deep_yaml(Path("x.yml"), text)
    assert _parsed(Path("x.yml"), text).getNode("names").size() == 300
    text = f"{XML}<opencv_storage>{'<!-- a --><b><c>1</c></b>' * 300}</opencv_storage>"
    refuse_deep_xml(Path("x.xml"), text)


ENTITIES = "".join(f'<!ENTITY a{n} "&a{n - 1};">' for n in range(1, 100_000))


@pytest.mark.parametrize("read", [read_calibration, read_cameras, read_rich_camera])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_expat_follows_them(tmp_path: Path, read, encoding: str) -> None:
    if (read, encoding) == (read_calibration, "utf-16"):
        pytest.skip("calibrations are in UTF-8")
    (tmp_path / "x.xml").write_text(f'<!DOCTYPE x [<!ENTITY a0 "l">{ENTITIES}]><x>&a99999;</x>', encoding)
    with raises(InputError, problem="has a document type or CDATA", expected="plain XML"):
        read(tmp_path / "x.xml")


def test_complete_descriptions_are_read(tmp_path: Path) -> None:
    write_metadata(tmp_path / "metadata.xml")
    assert read_cameras(tmp_path / "metadata.xml")
    assert parse_xml(tmp_path / "metadata.xml").find("w0") is not None


def test_what_is_larger_than_a_calibration_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.yml").open("wb") as file:
        file.write(HEAD.encode())
        file.truncate((64 << 20) + (1 << 20))
    for read in (read_calibration, parse_xml):
        with raises(InputError, problem="is too large for a calibration", expected="at most 64 MiB", got="65 MiB"):
            read(tmp_path / "x.yml")


def test_too_many_tags_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(f"<x>{'<a/>' * 1_000_000}</x>")
    with raises(InputError, problem="is too large", expected="at most 1,000,000 tags"):
        parse_xml(tmp_path / "x.xml")
