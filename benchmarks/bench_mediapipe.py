"""Landmarks of MediaPipe's own tracker beside `hpc fit`, on one 1080p video of one person: frames and processor time.

    python -m venv tracker && tracker/bin/pip install mediapipe==0.10.14 "numpy<2"
    python benchmarks/bench_mediapipe.py tracker/bin/python [frames]      default: 120

The video is that of bench_video.py. The tracker has the full network that its wheel brings (model_complexity 1), and
runs it once a frame on the person of the frame before; it gives landmarks of one person and no body. Ours decodes and
searches for people, and then also fits bodies. Decoding counts, loading does not; both may use all cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from _drawn_clip import DrawnClip
from bench_video import moment, speeds, write_video

from humanpose_cli.fitting.fitter import Fitter

TRACKER = """
import json, sys, time
import cv2, mediapipe
with mediapipe.solutions.pose.Pose(model_complexity=1) as tracker:
    for warm in (True, False):
        video, count, found = cv2.VideoCapture(sys.argv[1]), 0, 0
        start, busy = time.perf_counter(), time.process_time()
        while (read := video.read())[0] and not (warm and count == 5):
            count += 1
            found += tracker.process(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)).pose_landmarks is not None
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
assert found > count // 2, f"{found} of {count} frames have landmarks"
print(json.dumps({"frames_a_second": round(count / seconds, 1), "processor_ms_a_frame": round(1e3 * busy / count)}))
"""


def main() -> None:
    """Print a row for the tracker, and those of `hpc fit`."""
    python, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 120
    with TemporaryDirectory() as folder, Fitter(people="largest") as fitter:
        clip = DrawnClip.make(fitter.body)
        images = list(clip.frames())
        path = Path(folder) / "one person.mp4"
        write_video(path, lambda index: moment(images, index), count, clip.frame_rate)
        measured = subprocess.check_output([python, "-c", TRACKER, str(path)], text=True, stderr=subprocess.DEVNULL)
        row = {"1080p, one person": "landmarks of MediaPipe's tracker", **json.loads(measured.splitlines()[-1])}
        print(json.dumps(row), flush=True)
        speeds(fitter, path, count, "one person")


if __name__ == "__main__":
    main()
