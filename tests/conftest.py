"""What makes the tests fast, what ends them if a worker dies, and what they say at the end.

Modules, tests and their parameters stay to the end: the garbage collector need not look through them every time.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from helpers.drawn_clip import DrawnClip
    from helpers.reference_people import ReferencePeople
    from helpers.remembered_networks import RememberedNetworks
    from helpers.walking_person import Walk

    from humanpose_cli.avatar.mesh import MeshReposer
    from humanpose_cli.body.body import Body

gc.disable()
# Under nohup or as a job in the background, the processes of tests would inherit that these signals are ignored.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
if os.name == "posix" and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as humanpose_cli does, which some tests import after ONNX Runtime


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("extensive"):
            item.add_marker(pytest.mark.slow)
        for mark in item.iter_markers("posix") if os.name != "posix" else ():
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_handlecrashitem(crashitem: str) -> None:
    """End the run if a worker dies: xdist replaces it, and a corrupted heap would kill ten workers one by one."""
    pytest.exit(f"{crashitem}: the worker that ran this test died", returncode=1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line how many tests were skipped for which reasons."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        reasons[re.sub(r"could not import '([\w.]+)'.*", r"\1 is not installed", reason)] += 1
    if reasons:
        text = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"{reasons.total()} skipped: {text}; -rs lists them")
    reports = [report for status in ("passed", "failed") for report in terminalreporter.stats.get(status, ())]
    journeys = [value for report in reports for name, value in report.user_properties if name == "journey"]
    changed = [row for journey in journeys for row in journey["changed"]]
    if journeys:
        lines = [line for journey in journeys for line in journey["typed"]]
        absent = sum(not typed for _, typed, _ in changed)
        terminalreporter.write_line(
            f"journeys: {len(lines)} lines typed in {sum(time for _, time in lines):.0f} s of processor time, "
            f"{len(changed) - absent} of them changed; {absent} not typed; the longest:"
        )
        for text, time in sorted(lines, key=lambda line: -line[1])[:20]:
            terminalreporter.write_line(f"{time:6.0f} s  {text[:100]}")
    for text, typed, reason in changed:
        terminalreporter.write_line(f"  {text}\n    {'typed as ' + typed if typed else 'not typed'}: {reason}")


@pytest.fixture(scope="session", autouse=True)
def plot_of_losses() -> Iterator[Callable[..., None] | None]:
    """Trainings of a few steps do not draw their losses, which takes longer; for tests of the plot, what draws it."""
    history = sys.modules.get("humanpose_cli.lab.train.history")
    if history is None:
        yield None
        return
    with pytest.MonkeyPatch.context() as patch:
        drawn = history.TrainingHistory.plot
        patch.setattr(history.TrainingHistory, "plot", lambda *_: None)
        yield drawn


@pytest.fixture(scope="session")
def body() -> Body:
    from humanpose_cli.body.body import default_body

    return default_body()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session that all workers of pytest-xdist share."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return folder


@pytest.fixture(scope="session", autouse=True)
def remembered_networks(shared_folder: Path) -> Iterator[RememberedNetworks]:
    """Networks that run once for each image of a session; tests/detect runs them each time."""
    from helpers.remembered_networks import RememberedNetworks

    folder = shared_folder / "networks"
    folder.mkdir(exist_ok=True)
    networks = RememberedNetworks(folder)
    networks.install()
    yield networks
    networks.remove()


@pytest.fixture(scope="session")
def clip() -> DrawnClip:
    """The demo's clip: a drawn person whose truth is known."""
    from helpers.drawn_clip import DrawnClip

    from humanpose_cli.body.body import default_body

    return DrawnClip.make(default_body())


@pytest.fixture(scope="session")
def clip_frames(clip: DrawnClip) -> list[np.ndarray]:
    """The first frames of the clip."""
    frames = clip.frames()
    return [next(frames) for _ in range(4)]


@pytest.fixture
def reference_people(clip: DrawnClip) -> ReferencePeople:
    """A detector that knows where the person of the clip is."""
    from helpers.reference_people import ReferencePeople, true_person

    return ReferencePeople({t: [true_person(clip, t)] for t in range(4)})


@pytest.fixture(scope="session")
def walk() -> Walk:
    """A person who walks before a plain wall, drawn once."""
    from helpers.walking_person import drawn_walk

    from humanpose_cli.body.body import default_body

    return drawn_walk(default_body())


@pytest.fixture(scope="session")
def meshes_by_key() -> dict[tuple[object, ...], MeshReposer]:
    return {}


@pytest.fixture
def meshes_made_once(monkeypatch, meshes_by_key) -> None:
    """People of one photograph are wrapped in it once for all tests, which takes a second; each draws them anew."""
    from humanpose_cli.reposing.scene import ReposingScene

    made = ReposingScene._mesh

    def kept(scene, row, background):
        behind = background if isinstance(background, str) else background.tobytes()
        photo, poses = scene.photo.tobytes(), scene.record.poses.tobytes()
        key = (photo, poses, row, behind, scene._body.name, repr(scene._options.mesh))
        if key not in meshes_by_key:
            if len(meshes_by_key) > 5:
                meshes_by_key.pop(next(iter(meshes_by_key)))
            meshes_by_key[key] = made(scene, row, background)
        return meshes_by_key[key]

    monkeypatch.setattr(ReposingScene, "_mesh", kept)
