"""Executes the notebooks of docs/tutorials and stores their outputs in them.

    python tools/run_tutorials.py                    # all of them, with the values that readers find
    python tools/run_tutorials.py photograph --small # one, with the values of tests; stores nothing

A notebook runs in an empty folder beside a copy of docs/assets. The cell tagged `parameters` holds what a reader may
change, and `small` in the notebook's metadata the values that take their place in tests. Unlike in Jupyter, a line
`!hpc …` that fails stops the notebook. Stored outputs have no times of cells and no folders of this machine; of text
they have the lines that a terminal shows in the end, and images are small.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "tutorials"
LONGEST = 1800  # seconds that a cell may take, on a busy machine too
QUALITY, COLOURS = 66, 32  # of JPEG; of PNG
LARGEST_PREVIEW = 340  # longer side of the overlays that notebooks show beside a table, pixels
STOP_AT_FAILING_COMMANDS = """
def _checked(command, shell=get_ipython(), run=get_ipython().system):
    run(command)
    if shell.user_ns["_exit_code"]:
        raise RuntimeError(f"exit code {shell.user_ns['_exit_code']}: {command}")
get_ipython().system = _checked
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
EMBEDDED_PNG = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=\n]+)")


def tutorials() -> list[Path]:
    """List the notebooks in alphabetical order."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """Read a notebook of format 4."""
    return nbformat.read(path, as_version=4)


def executed(
    notebook: NotebookNode, folder: Path, *, small: bool = False, first_cell: str = STOP_AT_FAILING_COMMANDS
) -> NotebookNode:
    """Return a copy with the outputs of an execution. Raises CellExecutionError if a cell or a command fails.

    Args:
        notebook: The notebook.
        folder: An empty folder; the notebook runs in its folder `tutorials`.
        small: Whether to use the small values of tests.
        first_cell: The cell that is executed before those of the notebook.
    """
    copy = nbformat.from_dict(notebook)
    shutil.copytree(FOLDER.parent / "assets", folder / "assets")
    (folder / "tutorials").mkdir()
    if small:
        parameters = next(cell for cell in copy.cells if "parameters" in cell.metadata.get("tags", ()))
        parameters.source += "".join(f"\n{name} = {value!r}" for name, value in copy.metadata["small"].items())
    copy.cells.insert(0, new_code_cell(first_cell))
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    environment = os.environ | {"PATH": os.pathsep.join(paths)}
    environment.pop("MPLBACKEND", None)  # the kernel's own draws into the notebook
    resources = {"metadata": {"path": str(folder / "tutorials")}}
    client = NotebookClient(copy, timeout=LONGEST, record_timing=False, resources=resources)
    client.execute(env=environment)
    del copy.cells[0]
    return copy


def cleaned(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return a copy without outputs that differ between executions or machines."""
    copy = nbformat.from_dict(notebook)
    small = copy.metadata["small"]
    copy.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "small": small,
        }
    )
    number = 0
    for index, cell in enumerate(copy.cells):
        cell.id = f"cell-{index}"
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            cell.outputs = [_output(output, number, folder) for output in _joined(cell.outputs)]
            cell.metadata.pop("execution", None)
    return copy


def _joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Consecutive texts of stdout and stderr as one text each."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].output_type == "stream":
            joined[-1].text += output.text
        elif output.output_type == "stream":
            joined.append(new_output("stream", name="stdout", text=output.text))
        else:
            joined.append(output)
    return joined


def _output(output: NotebookNode, number: int, folder: Path) -> NotebookNode:
    if output.output_type == "stream":
        text, here = terminal_text(output.text), folder / "tutorials"
        output.text = text.replace(f"{here}{os.sep}", "").replace(str(here), ".").replace(str(folder), "..")
    if "execution_count" in output:
        output.execution_count = number
    data = output.get("data", {})
    if "image/png" in data:
        kind, encoded = _small_image(data.pop("image/png"))
        data[kind] = encoded
    if "text/html" in data:
        data["text/html"] = EMBEDDED_PNG.sub(
            lambda found: "data:{};base64,{}".format(*_small_image(found[1], LARGEST_PREVIEW)), data["text/html"]
        )
    if len(data) > 1:
        data.pop("text/plain", None)
    output.get("metadata", {}).clear()
    return output


def terminal_text(text: str) -> str:
    """Return the final text on a terminal after colours, rewritten lines and movements of the cursor."""
    lines = [""]
    for piece in re.split(r"(\r\n|\n|\r(?!\n)|\x1b\[\d*A|\x1b\[2K)", text):
        if piece in ("\n", "\r\n"):
            lines.append("")
        elif piece == "\r" or piece == "\x1b[2K":
            lines[-1] = ""
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            for _ in range(int(piece[2:-1] or 1)):
                lines.pop()
            lines = lines or [""]
        else:
            lines[-1] += CONTROL.sub("", piece)
    return "\n".join(line.rstrip() for line in lines)


def _small_image(png: str, largest: int = 10_000) -> tuple[str, str]:
    """Type and base64 of the smaller one of JPEG, for photographs, and PNG with few colours, for plots."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    flat.thumbnail((largest, largest))
    as_jpeg, as_png = io.BytesIO(), io.BytesIO()
    flat.save(as_jpeg, "JPEG", quality=QUALITY, optimize=True)
    flat.quantize(COLOURS).save(as_png, "PNG", optimize=True)
    kind, data = min(
        ("image/jpeg", as_jpeg.getvalue()), ("image/png", as_png.getvalue()), key=lambda each: len(each[1])
    )
    return kind, base64.b64encode(data).decode("ascii")


def processor_seconds() -> float:
    """Of the processes that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks without suffix; default: all")
    parser.add_argument("--small", action="store_true", help="with the values of tests; nothing is stored")
    options = parser.parse_args(arguments)
    for path in [FOLDER / f"{name}.ipynb" for name in options.names] or tutorials():
        started, used = time.perf_counter(), processor_seconds()
        with tempfile.TemporaryDirectory() as folder:
            result = executed(read(path), Path(folder).resolve(), small=options.small)
            if not options.small:
                nbformat.write(cleaned(result, Path(folder).resolve()), path)
        seconds, used = time.perf_counter() - started, processor_seconds() - used
        size = f", {path.stat().st_size / 1000:.0f} KB" if not options.small else ""
        print(f"{path.stem}: {seconds:.0f} s, {used:.0f} s of processors{size}")


if __name__ == "__main__":
    main(sys.argv[1:])
