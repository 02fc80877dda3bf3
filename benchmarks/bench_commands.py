"""Whole commands as they are typed, from the process's start to its end: seconds, processor time and memory.

The 1080p photograph of bench_photographs.py, the video of one person of bench_video.py, and the photograph and pose of
bench_repose.py. Models are loaded and fit file and overlay written in each run. Of two runs the shorter counts: the
first on a machine compiles kernels.

    python benchmarks/bench_commands.py [frames]      default: 120
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _drawn_clip import DrawnClip
from bench_photographs import photographs
from bench_repose import photograph_and_pose
from bench_video import moment, write_video

from humanpose_cli.body.body import default_body

RUNS = 2


def spent(arguments: list[str], folder: Path, out: Path | None = None) -> dict[str, float]:
    """Measure seconds, processor seconds and memory of `hpc` with these arguments; without `out`, no result stays."""
    with TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "humanpose_cli", *arguments, "--out", out or scratch, "--quiet"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"hpc {' '.join(arguments)}: failed")
    row = {"seconds": round(seconds, 2), "processor_seconds": round(used.ru_utime + used.ru_stime, 2)}
    return row | {"peak_gb": round(1024 * used.ru_maxrss / 1e9, 2)}


def main() -> None:
    """Print a row for each command."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    clip = DrawnClip.make(default_body())
    with TemporaryDirectory() as name:
        folder = Path(name)
        photographs(folder)[0].rename(folder / "photo.jpg")
        (folder / "wave").mkdir()
        rotations = photograph_and_pose(folder / "wave" / "photo.jpg", clip)
        posed = default_body().pose(rotations[None], clip.betas, clip.trans[:1], vertices=False)
        np.save(folder / "wave" / "pose.npy", posed.joints[0].numpy())
        images = list(clip.frames())
        write_video(folder / "clip.mp4", lambda index: moment(images, index), count, clip.frame_rate)
        for line, where in (
            ("fit photo.jpg", folder),
            ("fit photo.jpg --detector fast", folder),
            ("fit clip.mp4", folder),
            ("fit clip.mp4 --no-overlay", folder),
            ("repose photo.jpg pose.npy", folder / "wave"),
        ):
            best = min((spent(line.split(), where) for _ in range(RUNS)), key=lambda row: row["seconds"])
            row: dict[str, object] = {"command": f"hpc {line}", **best}
            if "clip.mp4" in line:
                row |= {"frames": count, "frames_a_second": round(count / best["seconds"], 1)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
