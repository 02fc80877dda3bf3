"""XML and OpenCV's YAML that would end the interpreter, or never end, and what is read."""

from pathlib import Path

import pytest
from helpers import calibration_files as calibrations
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.files import reader_process
from humanpose_cli.files.xml_files import parse_xml
from humanpose_cli.io.calibrations import read_calibration
from humanpose_cli.lab.datasets.h36m import read_cameras
from humanpose_cli.lab.datasets.rich import read_rich_camera

HEAD = "%YAML:1.0\n---\n"
DEEP = 200_000
ENTITIES = "".join(f'<!ENTITY a{n} "&a{n - 1};">' for n in range(1, 100_000))


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".yml", f"{HEAD}a: {'[' * DEEP}"),
        (".yml", f"{HEAD}a:\n   {'- ' * DEEP}1\n"),
        (".xml", f'<?xml version="1.0"?>\n<opencv_storage>{"<a>" * DEEP}{"</a>" * DEEP}</opencv_storage>'),
        pytest.param(".yml", f"{HEAD}a: 1\n...\n-\n", marks=pytest.mark.extensive),  # OpenCV never ends to read it
    ],
    ids=["brackets", "dashes", "tags", "endless"],
)
def test_what_would_end_the_interpreter_or_never_end_is_refused(tmp_path, monkeypatch, suffix, text):
    monkeypatch.setattr(reader_process, "_SECONDS", 1)
    path = tmp_path / f"x{suffix}"
    path.write_text(text)
    with raises(InputError, subject=path.name):
        read_calibration(path)


def test_both_files_of_a_pair_are_checked(tmp_path: Path) -> None:
    calibrations.write_easymocap(tmp_path)
    (tmp_path / "extri.yml").write_text(f"{HEAD}a: {'[' * DEEP}")
    for path in (tmp_path, tmp_path / "intri.yml"):
        with pytest.raises(InputError):
            read_calibration(path)
    (tmp_path / "extri.yml").write_text('{"a": 1}')  # which OpenCV would read as JSON
    with raises(InputError, expected="YAML or XML"):
        read_calibration(tmp_path)


@pytest.mark.extensive
@pytest.mark.parametrize("read", [read_cameras, read_rich_camera])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_hostile_xml_is_refused(tmp_path: Path, read, encoding: str) -> None:
    (tmp_path / "x.xml").write_text(f'<!DOCTYPE x [<!ENTITY a0 "l">{ENTITIES}]><x>&a99999;</x>', encoding)
    with raises(InputError, problem="has a document type", expected="plain XML"):
        read(tmp_path / "x.xml")
    for text in ("<a>" * DEEP + "</a>" * DEEP, "<?xml version='1.0' encoding='utfutf-8'?><x/>"):
        (tmp_path / "x.xml").write_text(text)
        with raises(InputError, problem="is no readable XML"):
            read(tmp_path / "x.xml")


def test_complete_descriptions_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text('<a b="1">ü<c d="2"/><c>3</c></a>')
    found = [(node.tag, node.attrib, node.text) for node in parse_xml(tmp_path / "x.xml").iter()]
    assert found == [("a", {"b": "1"}, "ü"), ("c", {"d": "2"}, None), ("c", {}, "3")]


def test_what_is_larger_than_a_calibration_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.yml").open("wb") as file:
        file.write(HEAD.encode())
        file.truncate((64 << 20) + (1 << 20))
    for read in (read_calibration, parse_xml):
        with raises(InputError, problem="is too large", expected="at most 64 MiB", got="65 MiB"):
            read(tmp_path / "x.yml")
