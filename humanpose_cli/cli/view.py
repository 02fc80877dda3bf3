"""`hpc view`: fits in 3-D as HTML pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from humanpose_cli.cli.command import Session, command
from humanpose_cli.cli.options import (
    BatchFlags,
    BodyOption,
    FitCamera,
    FitFiles,
    FitSmplx,
    FitTextures,
    OutOrFile,
    option,
)
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult

_FRAMES = option(
    "--frames INPUT",
    "The video, folder, image or glob pattern that the fits were made of, to stand beside the bodies; may be repeated. "
    "Default: none.",
    show_default=False,
)
_PERSON = option("--person ID|largest|all", "Who is shown.")


@command(
    columns=(
        ("people", "people", "How many are shown."),
        ("frames", "frames", "How many frames the input has."),
        ("megabytes", "MB", "Size of the page in 10⁶ bytes."),
    ),
    examples=(
        "hpc view photo.jpg.fit.npz --frames photo.jpg",
        "hpc view clip.mp4.fit.npz --frames clip.mp4 --texture frames --out clip.html",
        "hpc view hpc-out/fit",
    ),
)
def view(
    session: Session,
    flags: BatchFlags,
    fits: FitFiles = None,
    frames: Annotated[list[str] | None, _FRAMES] = None,
    person: Annotated[str, _PERSON] = "all",
    texture: FitTextures = None,
    body: BodyOption = "default",
    camera: FitCamera = None,
    smplx: FitSmplx = None,
    out: OutOrFile = Path("hpc-out/view"),
) -> CommandResult:
    """Show fits in 3-D, with their frames, on a page that opens in any browser.

    Writes NAME.html for each fit file: one file that needs no network and can be sent by mail. Turn the view with the
    mouse, switch people on and off, play, step with the arrow keys, or look through the camera.
    """
    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.export.exporter import chosen_people, known_textures
    from humanpose_cli.export.viewing import view as view_page
    from humanpose_cli.fitting.fit_reading import read_fits
    from humanpose_cli.fitting.options import body_identity
    from humanpose_cli.fitting.result import FrameSource
    from humanpose_cli.io.digests import file_digest
    from humanpose_cli.io.fit_files import FIT_SUFFIX
    from humanpose_cli.refining.frames import FitFrames
    from humanpose_cli.refining.items import files_of_fit, fit_files, inputs_of_fit

    given = [*(fits or ()), *map(Path, flags.listed())]
    if not given:
        raise UsageError("fits", "are missing", expected="fit files, folders of them, or a list with `items`")
    found = list(flags.inputs(session, frames, out)) if frames else []
    named, items = fit_files(given), []
    for name, path in named:
        page = (
            out if out.suffix.lower() == ".html" and not out.is_dir() else out / f"{name.removesuffix(FIT_SUFFIX)}.html"
        )
        own, error = inputs_of_fit(name, path, found, alone=len(named) == 1) if found else ((), None)
        files = files_of_fit(path, own)
        items.append(Item(name, files, str(path), path.parent, (page,), payload=(path, own), error=error))

    def work(item: Item) -> Outcome:
        path, own = item.payload
        fit = chosen_people(read_fits(path, body, own or None, camera=camera, smplx=smplx), person)
        known = FitFrames(fit, FrameSource(own), in_order=True) if own else None
        title = item.key.removesuffix(FIT_SUFFIX)
        textures = known_textures(path, fit, texture, known, session.reporter.step)
        page = view_page(fit, known, title=title, textures=textures, progress=session.reporter.step)
        written = page.save(item.outputs[0])
        size = written.stat().st_size / 1e6
        return Outcome((written,), {"people": len(fit.tracks), "frames": fit.frame_count, "megabytes": size})

    recorded: dict[str, Any] = {"person": person, "body": body_identity(body), "frames": bool(found)}
    recorded["texture"] = file_digest(Path(texture)) if texture and Path(texture).is_file() else texture
    recorded |= {name: file and file_digest(file) for name, file in (("camera", camera), ("smplx", smplx))}
    return flags.run(session, items, work, out, recorded)
