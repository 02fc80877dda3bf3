"""Kill commands at random moments, run them again until they are done, and compare their files with undisturbed runs.

    python tools/kill_commands.py --out kills --cameras FOLDER
    python tools/kill_commands.py --out kills --only train-nbf export --kills 12 --seed 3

Every command is first run undisturbed. Then, in rounds, it is started in a new folder and ended by SIGKILL, every
second time, SIGTERM, SIGINT or SIGHUP at a random moment, up to three times, and run to its end. Its files must be
those of the undisturbed run byte by byte, except for the records of runs, which hold dates (run*.json,
ledger*.jsonl, .hpc.written); no hidden file, no process and no shared memory may stay behind, and without SIGKILL no
temporary file; a signal that can be handled must end it within its promise with its exit code, or as the system does
before it begins. --cameras is a folder of videos of one scene, for `hpc combine`; without it this is left out.
Exit code 1 where anything differed.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "humanpose_cli" / "cli" / "data" / "clip.mp4"
RECORDS = ("run*.json", "ledger*.jsonl", ".hpc.written")
SIGNALS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 143}
PROMISES = {"train": 25.0, "evaluate": 25.0}  # seconds from signal to end; of other commands 5
SLACK = 1.0  # seconds more on a busy machine
PATIENCE = 5.0  # seconds in which workers of a killed process end
FIRST = 0.3  # seconds after which Python has installed its handlers
KILLS_A_ROUND = 3

_SMALL = "--set texture_size=64 --set validation=0.3 --set test=0 --workers 1"
INPUTS = {
    "people": f"preprocess synthetic --count 32 --size 64 --detections {_SMALL}",
    "pairs": f"preprocess synthetic --pairs --count 24 --size 64 {_SMALL}",
    "clips": "preprocess synthetic --clips 4 --count 32 --size 160 --set frame_rate=1.5 "
    f"--set imperfect_fits=true {_SMALL}",
    "fits": f"fit {CLIP} --frames 0:12",
}
"""Folders that commands read, and how each is made."""

_ONE = "--workers 0 --threads 1"
COMMANDS = {
    "fit": f"fit {CLIP} --frames 0:130 --threads 1",
    "fit-refine": f"fit {CLIP} --frames 0:10 --refine --threads 1",
    "combine": "combine {cameras} --frames 0:70 --threads 1",
    "refine": f"refine fits --frames {CLIP} --threads 1",
    "repose": f"repose photo.png {CLIP} --frames 0:70 --threads 1",
    "export": "export fits --format glb",
    "view": "view fits",
    "preprocess": f"preprocess synthetic --count 24 --size 64 --shard-size 4 {_SMALL[:-1]}2",
    "evaluate-segmenter": "evaluate segmenter --data people --threads 1",
    "train-segmenter": f"train segmenter --data people --preset ablation --batch-size 4 {_ONE} --epochs 2",
    "train-nbf": f"train nbf --data people --preset ablation --batch-size 4 {_ONE} --epochs 3",
    "train-workers": "train nbf --data people --preset ablation --batch-size 4 --workers 2 --threads 1 --epochs 3",
    "train-lifter": "train lifter --set steps=400 --batch-size 32 --set poses=128 --set held_out=64 "
    f"--set network.blocks=1 --set validate_every=50 {_ONE}",
    "train-refiner": f"train refiner --data clips --preset ablation --batch-size 2 --set steps=6 {_ONE}",
    "train-deform": "train deform-and-learn --data people --batch-size 4 --epochs 1 --set rounds=2 "
    f"--set lifter_steps=4 {_ONE}",
    "train-warp3d": "train warp3d --data pairs --preset tiny --batch-size 2 --set steps=6 --set perceptual=pixels "
    f"--set validate_every=2 {_ONE}",
}
"""Commands by name, without --out; {cameras} stands for the videos of --cameras."""


@dataclass
class Undisturbed:
    """What a command makes undisturbed, and how long it takes."""

    arguments: list[str]
    folder: Path
    seconds: float


def start(arguments: Sequence[str], out: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start `hpc` in a folder, with its messages in a file next to its output."""
    line = [sys.executable, "-m", "humanpose_cli", *arguments, "--out", str(out), "--quiet"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    temporary = out.with_name(f"{out.name}-tmp")
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(line, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def remains(group: int) -> list[str]:
    """Return the processes of a group, and the shared memory of processes that have ended."""
    found, until = [], time.monotonic() + PATIENCE
    while time.monotonic() < until:
        alive = any(_is_in(path, group) for path in Path("/proc").glob("[0-9]*/stat"))
        names = [(name, re.search(r"_(\d+)_", name)) for name in os.listdir("/dev/shm")]
        shared = [name for name, pid in names if pid and not Path("/proc", pid[1]).exists()]
        if not (found := [f"processes of group {group}"] * alive + [f"/dev/shm/{name}" for name in shared]):
            break
        time.sleep(0.2)
    return found


def _is_in(path: Path, group: int) -> bool:
    try:
        state, _, number = path.read_text().rpartition(")")[2].split()[:3]
    except OSError:  # it has ended
        return False
    return int(number) == group and state != "Z"


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder by their names, but for the records of runs."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in sorted(paths.items())
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in RECORDS)
    }


def differences(folder: Path, expected: Path) -> list[str]:
    """Return the differences between the files of two runs."""
    found, right = files_of(folder), files_of(expected)
    missing = [f"{name} is missing" for name in right.keys() - found.keys()]
    more = [f"{name} stayed behind" for name in found.keys() - right.keys()]
    other = [f"{name} has other bytes" for name in right.keys() & found.keys() if found[name] != right[name]]
    return sorted((*missing, *more, *other))


def kill(
    undisturbed: Undisturbed, out: Path, folder: Path, number: signal.Signals, after: float
) -> tuple[float, int, list[str]] | None:
    """Start the command and end it; seconds from signal to end, exit code and remains, or None if it was done."""
    process = start(undisturbed.arguments, out, folder)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        began = time.monotonic()
        code = process.wait()
        if code != 0:
            return time.monotonic() - began, code, remains(process.pid)
    if process.returncode != 0:
        raise SystemExit(f"{out.name}: exit code {process.returncode}, see {out.with_suffix('.log')}")
    return None


def a_round(name: str, undisturbed: Undisturbed, folder: Path, number: int, chance: random.Random) -> Iterator[str]:
    """Kill a command a few times and let it finish; yields a line about each kill and about the result.

    Lines about faults begin with FAULT.
    """
    out = folder / f"{name}.{number}"
    promise = PROMISES.get(undisturbed.arguments[0], 5.0) + SLACK
    is_killed = False
    for _ in range(chance.randint(1, KILLS_A_ROUND)):
        which = signal.SIGKILL if chance.random() < 0.5 else chance.choice(list(SIGNALS)[1:])
        is_killed |= which is signal.SIGKILL
        after = max(FIRST, chance.uniform(0.05, 1.0) * undisturbed.seconds)
        ended = kill(undisturbed, out, folder, which, after)
        if ended is None:
            break
        seconds, code, left = ended
        yield from (f"FAULT {out.name}: {line} stayed behind" for line in left)
        yield f"{out.name}: {which.name} after {after:.1f} s, ended in {seconds:.2f} s with {code}"
        if code not in (SIGNALS[which], -which) or seconds > promise:
            yield f"FAULT {out.name}: expected {SIGNALS[which]} within {promise:g} s"
    if (code := start(undisturbed.arguments, out, folder).wait()) != 0:
        yield f"FAULT {out.name}: the last run ended with {code}, see {out.with_suffix('.log')}"
        return
    temporary = out.with_name(f"{out.name}-tmp")
    usual = {path.name for path in undisturbed.folder.with_name(f"{name}.whole-tmp").iterdir()}  # torch has one
    left = [] if is_killed else [f"{p} stayed behind" for p in temporary.iterdir() if p.name not in usual]
    wrong = differences(out, undisturbed.folder) + left
    yield from (f"FAULT {out.name}: {line}" for line in wrong)
    if not wrong:
        yield f"{out.name}: the same {len(files_of(out))} files"
        shutil.rmtree(out)
        shutil.rmtree(temporary)


def prepare(folder: Path, lines: Sequence[str]) -> None:
    """Make the inputs of the commands unless they exist."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {word for line in lines for word in line.split()}
    for name, line in INPUTS.items():
        if name in names and start(line.split(), folder / name, folder).wait() != 0:
            raise SystemExit(f"{name}: cannot be made, see {folder / name}.log")
    if not (folder / "photo.png").exists():
        sys.path.insert(0, str(ROOT))
        from humanpose_cli.io.images import write_image
        from humanpose_cli.io.video import VideoReader

        write_image(folder / "photo.png", next(iter(VideoReader(CLIP)))[1])


def main() -> int:
    """Run the kills; the exit code is 1 if files differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for all runs; it may be used again")
    parser.add_argument("--kills", type=int, default=60, help="kills in all (default 60)")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="commands to kill")
    parser.add_argument("--cameras", type=Path, help="folder of two videos or more of one scene")
    parser.add_argument("--seed", type=int, default=0, help="of commands' moments and signals")
    arguments = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # commands would inherit that nohup ignores it
    folder, chance = arguments.out.resolve(), random.Random(arguments.seed)
    prepare(folder, [COMMANDS[name] for name in arguments.only])
    cameras = sorted(map(str, arguments.cameras.resolve().glob("*.mp4"))) if arguments.cameras else []
    undisturbed: dict[str, Undisturbed] = {}
    kills = faults = rounds = 0
    names = [name for name in arguments.only if cameras or "{cameras}" not in COMMANDS[name]]
    while kills < arguments.kills:
        name = names[rounds % len(names)]
        if name not in undisturbed:
            command_line = [w for word in COMMANDS[name].split() for w in (cameras if word == "{cameras}" else [word])]
            complete, began = folder / f"{name}.whole", time.monotonic()
            shutil.rmtree(complete, ignore_errors=True)
            if (code := start(command_line, complete, folder).wait()) != 0:
                raise SystemExit(f"{name}: exit code {code}, see {complete.with_suffix('.log')}")
            undisturbed[name] = Undisturbed(command_line, complete, time.monotonic() - began)
            print(f"{name}: {undisturbed[name].seconds:.1f} s undisturbed", flush=True)
        shutil.rmtree(folder / f"{name}.{rounds}", ignore_errors=True)
        for line in a_round(name, undisturbed[name], folder, rounds, chance):
            print(line, flush=True)
            kills += " ended in " in line
            faults += line.startswith("FAULT")
        rounds += 1
    print(f"{kills} kills in {rounds} rounds of {min(rounds, len(names))} commands: {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    raise SystemExit(main())
