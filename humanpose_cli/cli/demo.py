"""`hpc demo`: fits and reposes people with nothing but what pip brings."""

from __future__ import annotations

from pathlib import Path

from humanpose_cli.cli.command import command
from humanpose_cli.cli.options import Out, Threads
from humanpose_cli.cli.session import Session
from humanpose_cli.core.result import CommandResult, ItemResult, Status

__all__ = ["demo"]


@command(
    columns=(
        ("found", "found"),
        ("mpjpe_mm", "MPJPE mm"),
        ("pa_mpjpe_mm", "PA-MPJPE mm"),
        ("pve_mm", "PVE mm"),
        ("ssim_reposed", "SSIM reposed"),
        ("ssim_copied", "SSIM copied"),
    )
)
def demo(session: Session, out: Out = Path("demo"), threads: Threads = None) -> CommandResult:
    """Fit and repose a photograph and a clip with known truth, and show them on a page.

    Prints how far the fit of the clip is from its truth, in millimetres, and how alike the reposed frame and the
    unchanged frame are to the true image of the new pose (SSIM; 1 is equal).
    """
    import time
    from dataclasses import asdict

    from humanpose_cli.demo.show import run_demo
    from humanpose_cli.io.atomic import ensure_folder

    started = time.perf_counter()
    session.reporter.start(1)
    session.reporter.item_started("demo")
    try:
        made = run_demo(ensure_folder(out), session.reporter.step, threads=threads)
    finally:
        session.reporter.finish()
    similarity = {"ssim_reposed": made.ssim_reposed, "ssim_copied": made.ssim_copied}
    outputs = tuple(str(path) for path in made.outputs)
    details = {**asdict(made.errors), **similarity}
    item = ItemResult("demo", Status.SUCCESS, outputs, time.perf_counter() - started, details=details)
    session.reporter.info(f"open {made.page} to look at it")
    return CommandResult("demo", Status.SUCCESS, (item,))
