"""Memory of commands on long videos: peaks of `hpc fit` with its overlay, and of `hpc view` with the video's frames.

The demo's walking person at 480 × 270, played to and fro, found with `--detector fast`, 1,000 and 10,000 frames.

    python benchmarks/bench_long_video.py [frames ...]      default: 1000 10000
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench_commands import spent
from bench_video import moment, write_video

from humanpose_cli.body.body import default_body
from humanpose_cli.demo.clip import DemoClip

SIZE = (480, 270)


def main() -> None:
    """Print a row for each command and length."""
    counts = [int(text) for text in sys.argv[1:]] or [1000, 10000]
    clip = DemoClip.make(default_body())
    images = list(clip.frames())
    for count in counts:
        with TemporaryDirectory() as name:
            folder = Path(name)
            write_video(folder / "clip.mp4", lambda index: moment(images, index, SIZE), count, clip.frame_rate)
            for line in ("fit clip.mp4 --detector fast", "view out/clip.mp4.fit.npz --frames clip.mp4"):
                row = {"command": f"hpc {line}", "frames": count, **spent(line.split(), folder, folder / "out")}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
