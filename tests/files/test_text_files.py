"""Lists of paths in any encoding that has a mark, and TOML with keys of so many parts that it takes all memory."""

import io

import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.files.paths import found_path
from humanpose_cli.files.text_files import parse_toml, read_list
from humanpose_cli.io.inputs import open_inputs

NAMES = ["usb/IMG_0001.JPG", "Zoë/b c.jpg", "写真/一.jpg"]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("ending", ["\r\n", "\n", "\0"])
def test_a_list_is_decoded_by_its_mark(tmp_path, codec, ending):
    mark = "" if codec.startswith("utf-8") else "\ufeff"
    (tmp_path / "list").write_bytes((mark + ending.join([*NAMES, *NAMES, ""])).encode(codec))
    assert read_list(tmp_path / "list") == NAMES


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["a.jpg\r\nb.jpg\r\n", "usb/IMG_0001.JPG", "写真.jpg"])
def test_utf_16_without_a_mark_or_damaged_is_no_list_of_letters(codec, text):
    for data in (text.encode(codec), b"\xff\xfea\0b"):
        with raises(InputError, subject="stdin", remedy="UTF-8"):
            read_list(io.BytesIO(data))


@pytest.mark.parametrize("data", [b"a.jpg\nb.jpg\n\0\0\0", b"\0\0a.jpg\n", b"a.jpg\0b.jpg\n"])
def test_nul_bytes_end_each_name_or_none(data):
    with raises(InputError, problem="NUL"):
        read_list(io.BytesIO(data))
    assert read_list(io.BytesIO(b"a\nb.jpg\0")) == ["a\nb.jpg"]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b" \n\t\n", b"\0\0"])
def test_a_list_without_a_path_is_refused(data):
    with raises(InputError, problem="holds no path"):
        read_list(io.BytesIO(data))


def test_lists_name_what_the_disk_has(tmp_path, monkeypatch):
    """Whatever Unicode form, quotes and separators they have; comments are none of files that begin with #."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "u\u0308").mkdir()
    for name in ("u\u0308/o\u0308 1.jpg", "#2.jpg", "it's"):
        (tmp_path / name).touch()
    lines = ["# mine", '"ü\\ö 1.jpg"', ".\\ü\\ö 1.jpg", "#2.jpg", "it's", "ü/none.jpg"]
    found = ["u\u0308/o\u0308 1.jpg", "./u\u0308/o\u0308 1.jpg", "#2.jpg", "it's", "u\u0308/none.jpg"]
    assert [*map(found_path, lines[1:-1]), found_path("ü")] == [*found[:-1], "u\u0308"]
    assert read_list(io.BytesIO("\n".join(lines).encode()))[:-1] == found[:-1]
    for pattern in ("ü/ö*.jpg", "**/ö 1.jpg", "?/[ö] ?.jpg", "ü/ö %d.jpg"):
        assert open_inputs([pattern])[0].files == (tmp_path / found[0],)
    with raises(InputError, problem="matches no file"):
        open_inputs(["ü/ä*.jpg"])


LONG = ".".join("a" * 52)


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG} = 1",
        f"[{LONG}]",
        f"x = {{{LONG} = 1}}",
        " . ".join(['"a b"'] * 52) + " = 1",
        "\t.\t".join(["'a\"b'", "c"] * 26) + " = 1",
        f'x = {{y = """a"b"""", {LONG} = 1}}',
        f"x = {{y = '''a'b''', {LONG} = 1}}",
        f"# it's\n{LONG} = 1",
    ],
)
def test_keys_of_many_parts_are_refused_before_they_are_parsed(text, monkeypatch):
    monkeypatch.setattr("humanpose_cli.files.text_files.tomllib.loads", lambda text: pytest.fail("parsed"))
    with pytest.raises(ValueError, match="nested too deep"):
        parse_toml(text)


def test_dots_in_texts_comments_and_numbers_are_none_of_keys():
    numbers = ", ".join(["1.5"] * 200)
    text = f'# {LONG}\na = "{LONG}"\nb = """\n{LONG}\n"""\nc = \'{LONG}\'\nd = [{numbers}]\ne."f.g".h = 1'
    document = parse_toml(text)
    assert (document["a"], document["c"], len(document["d"]), document["e"]["f.g"]["h"]) == (LONG, LONG, 200, 1)
