"""TOML of strangers: keys of so many parts that the parser would take all memory."""

import pytest

from humanpose_cli.io.text_files import parse_toml

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
    monkeypatch.setattr("humanpose_cli.io.text_files.tomllib.loads", lambda text: pytest.fail("parsed"))
    with pytest.raises(ValueError, match="nested too deep"):
        parse_toml(text)


def test_dots_in_texts_comments_and_numbers_are_none_of_keys():
    numbers = ", ".join(["1.5"] * 200)
    text = f'# {LONG}\na = "{LONG}"\nb = """\n{LONG}\n"""\nc = \'{LONG}\'\nd = [{numbers}]\ne."f.g".h = 1'
    document = parse_toml(text)
    assert (document["a"], document["c"], len(document["d"]), document["e"]["f.g"]["h"]) == (LONG, LONG, 200, 1)
