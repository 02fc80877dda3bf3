"""`hpc demo`: fit and repose people with the files of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from humanpose_cli.cli.options import Device, Out, Threads, VideoCodecOption, argument
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.result import CommandResult, ItemResult, Status

_CLIP = argument("CLIP", "Video of a person to show first. Default: the package's clip.")


@command(
    columns=(
        ("mpjpe_mm", "MPJPE mm", "Mean distance between fitted and true joints of the clip, in millimetres."),
        ("pa_mpjpe_mm", "PA-MPJPE mm", "MPJPE after aligning position, rotation and scale."),
        ("pve_mm", "PVE mm", "Mean distance between fitted and true vertices, in millimetres."),
        ("ssim_reposed", "SSIM reposed", "Similarity of the reposed frame to the true image of that pose; 1 is equal."),
        ("ssim_copied", "SSIM copied", "Similarity of the unchanged frame to that image."),
    ),
    usual="--out --device",
    examples=("hpc demo", "hpc demo clip.mp4 --out /tmp/demo"),
)
def demo(
    session: Session,
    clip: Annotated[Path | None, _CLIP] = None,
    out: Out = Path("demo"),
    video_codec: VideoCodecOption = "h264",
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Fit, view and repose example people on a page.

    Writes index.html, which names the command for each result.

    Prints the path of each image once it is written, the errors of the fit of a drawn clip, and the similarity of a
    reposed frame to the true image of its pose.
    """
    import shutil
    import sys
    import time
    from dataclasses import asdict

    from humanpose_cli.io.video import probe_video

    if clip is not None:
        probe_video(clip)  # now, for torch takes seconds to import

    from humanpose_cli.demo.show import CLIP, NEXT, run_demo
    from humanpose_cli.io.atomic import ensure_folder

    start = time.perf_counter()
    with session.item("demo"):
        reporter = session.reporter
        report = run_demo(
            ensure_folder(out),
            reporter.step,
            clip=clip or CLIP,
            wrote=lambda path: reporter.info(str(path)),
            device=device,
            threads=threads,
            video_codec=video_codec,
        )
    details = {**asdict(report.errors), "ssim_reposed": report.ssim_reposed, "ssim_copied": report.ssim_copied}
    outputs = tuple(str(path) for path in report.outputs)
    item = ItemResult("demo", Status.SUCCESS, outputs, time.perf_counter() - start, details=details)
    command_name = sys.argv[0]  # such as .venv/bin/hpc, where no environment is active
    program = command_name if not shutil.which("hpc") and Path(command_name).stem == "hpc" else "hpc"
    following = NEXT[0].replace("hpc", program, 1)
    messages = (f"open {report.page} in a browser", f"next, with a photograph of yours: {following}")
    return CommandResult("demo", Status.SUCCESS, (item,), messages)
