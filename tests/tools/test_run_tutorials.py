"""The tutorials: each runs without an error, and what is stored in it is complete and small."""

import base64
import io
import re
import sys
from pathlib import Path

import nbformat
import pytest
from helpers.python_sources import ROOT
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

FOLDER = ROOT / "docs" / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 230_000
MACHINE_PATH = re.compile(r"(?<![\w.~/:])/(?:work|root|home|Users|mnt|scratch|tmp|usr|opt)/\w|[A-Z]:\\\\")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    import run_tutorials

    return run_tutorials


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_holds_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell.outputs) for cell in code) >= len(code) / 2
    assert [output for cell in code for output in cell.outputs if output.output_type == "error"] == []
    assert notebook.cells[0].source.startswith("# ")
    assert {name for cell in code for name in cell.metadata} <= {"tags"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_names_no_folder_of_a_machine(path):
    # Without the images, whose base64 may look like anything.
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", path.read_text("utf-8"))
    assert MACHINE_PATH.findall(text) == []
    assert "\\u001b" not in text


def test_the_tutorials_are_small():
    assert sum(path.stat().st_size for path in NOTEBOOKS) <= MAX_BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_small_values_are_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    names = re.findall(r"^(\w+) = ", parameters.source, re.MULTILINE)
    assert set(notebook.metadata["small"]) <= set(names)
    assert len(names) == len(parameters.source.splitlines())


def notebook_of(*sources: str) -> nbformat.NotebookNode:
    parameters, *others = map(new_code_cell, sources)
    parameters.metadata["tags"] = ["parameters"]
    return new_notebook(cells=[new_markdown_cell("# Title"), parameters, *others], metadata={"small": {"COUNT": 2}})


@pytest.mark.extensive
def test_small_values_replace_parameters_and_a_failing_command_stops(tool, tmp_path):
    good = notebook_of("COUNT = 3", "print('in', __import__('os').getcwd(), COUNT)", "!echo $COUNT {COUNT}")
    once, twice, thrice = (tmp_path / name for name in ("once", "twice", "thrice"))
    stored = tool.cleaned(tool.executed(good, once, small=True), once)
    assert [cell.outputs[0].text.split() for cell in stored.cells[2:]] == [["in", ".", "2"], ["2", "2"]]
    assert stored.cells[1].source == good.cells[1].source + "\nCOUNT = 2"
    full = tool.executed(good, twice)
    assert full.cells[3].outputs[0].text.split() == ["3", "3"]
    with pytest.raises(CellExecutionError, match="exit code 3: exit 3"):
        tool.executed(notebook_of("COUNT = 3", "!exit 3", "print('reached')"), thrice)


def png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def test_stored_outputs_have_no_trace_of_the_run(tool):
    folder = Path("/somewhere/run7")
    plot, photograph = Image.new("RGBA", (600, 300), (255, 0, 0, 0)), Image.effect_noise((600, 300), 90).convert("RGBA")
    notebook = notebook_of("COUNT = 1", "run()")
    notebook.cells[2].outputs = [
        new_output("stream", name="stderr", text="fit 1/2\r\x1b[2Kfit 2/2\r\n\x1b[1A\x1b[2K"),
        new_output("stream", name="stdout", text=f"{folder}/tutorials/a.png\n"),
        new_output("stream", name="stdout", text=f"{folder}/assets/b\n"),
        new_output("display_data", {"image/png": png(plot), "text/plain": "<Image>"}, metadata={"needs": 1}),
        new_output(
            "execute_result", {"text/html": f'<img src="data:image/png;base64,{png(photograph)}">'}, execution_count=9
        ),
    ]
    notebook.cells[2].metadata["execution"] = {"iopub.status.busy": "2000-01-01"}
    text, image, table = tool.cleaned(notebook, folder).cells[2].outputs
    assert text.text == "a.png\n../assets/b\n"
    assert list(image.data) == ["image/png"]
    shown = Image.open(io.BytesIO(base64.b64decode(image.data["image/png"])))
    assert shown.size == (600, 300)
    assert shown.convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    kind, encoded = re.fullmatch('<img src="data:(.*);base64,(.*)">', table.data["text/html"]).groups()
    embedded = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert (kind, embedded.format, embedded.size) == ("image/jpeg", "JPEG", (340, 170))
    assert table.execution_count == 2
    assert image.metadata == {}
    assert "execution" not in tool.cleaned(notebook, folder).cells[2].metadata


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a\rb", "b"),
        ("a\r\nb\n", "a\nb\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("bar 1\r\x1b[2Kbar 2\n\x1b[1A\x1b[2Kdone\n", "done\n"),
        ("\x1b[?25lhidden\x1b[?25h  ", "hidden"),
        ("a\nb\nc\x1b[2A", "a"),
    ],
)
def test_what_a_terminal_shows_in_the_end(tool, written, shown):
    assert tool.terminal_text(written) == shown
