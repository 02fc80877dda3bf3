"""The history of a training as events of TensorBoard, where its package is installed (extra `tensorboard`)."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from humanpose_cli.files.sniffing import read_bytes
from humanpose_cli.io.images import read_image
from humanpose_cli.lab.train.history import OF_LINES, append

EVENTS = "events.out.tfevents.*"
"""Pattern of the files, one for each start of a run."""


class Events:
    """Writes scalars and contact sheets of a run.

    Args:
        folder: The folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None

    def begin(self, step: int) -> None:
        """Begin the events of a start; TensorBoard hides earlier ones from this step on.

        Args:
            step: The first step of this start.
        """
        if find_spec("tensorboard") is not None:
            from tensorboard.compat.proto.event_pb2 import SessionLog

            self._path = self._folder / EVENTS.replace("*", f"{step:010d}")
            if not self._path.exists():
                self._write(0, file_version="brain.Event:2")
            self._write(step, session_log=SessionLog(status=SessionLog.START))

    def add(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of a line of the history."""
        numbers = {name: value for name, value in line.items() if name not in OF_LINES}
        tags = [{"tag": f"{line['kind']}/{name}", "simple_value": value} for name, value in numbers.items()]
        self._write(line["step"], summary={"value": tags})

    def add_image(self, step: int, path: Path) -> None:
        """Write a contact sheet, the PNG file of a step."""
        height, width, colours = read_image(path).pixels.shape
        image = {"height": height, "width": width, "colorspace": colours, "encoded_image_string": read_bytes(path)}
        self._write(step, summary={"value": [{"tag": "samples", "image": image}]})

    def _write(self, step: int, **content: Any) -> None:
        if self._path is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), step=step, **content).SerializeToString())
        append(self._path, record.getvalue())
